//! A person with a real Chromium: says what to click, and what has to be seen then.
//!
//! ```text
//! Browser ──a line of JSON──▶ tests/drivers/browser.mjs ──▶ headless Chromium ──▶ the admin port
//! ```

use std::env;
use std::path::PathBuf;
use std::process::Stdio;

use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout};

use super::PATIENCE;

/// Where Debian has it; `CROSSFADE_CHROMIUM` names another.
const CHROMIUM: &str = "/usr/bin/chromium";

/// The browser ends with the test.
#[derive(Debug)]
pub struct Browser {
    _child: Child,
    orders: ChildStdin,
    answers: Lines<BufReader<ChildStdout>>,
}

impl Browser {
    /// Of whoever looks at this admin port.
    pub fn start(admin_port: u16) -> Self {
        let named = env::var_os("CROSSFADE_CHROMIUM").filter(|path| !path.is_empty());
        let chromium = named.map_or_else(|| PathBuf::from(CHROMIUM), PathBuf::from);
        assert!(chromium.exists(), "no Chromium at {}; `make setup` brings it", chromium.display());
        let mut child = crate::drivers::node("browser.mjs")
            .env("CHROMIUM", chromium)
            .env("SITE", format!("http://127.0.0.1:{admin_port}"))
            .env("PATIENCE_MS", PATIENCE.as_millis().to_string())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap_or_else(|error| panic!("node: {error}; `make setup` brings it"));
        let (orders, answers) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
        Self { _child: child, orders, answers: BufReader::new(answers).lines() }
    }

    /// Has it done, and returns what came of it.
    pub async fn order(&mut self, order: Value) -> Value {
        self.orders.write_all(format!("{order}\n").as_bytes()).await.unwrap();
        let answer = tokio::time::timeout(PATIENCE * 3, self.answers.next_line()).await;
        let answer = answer.unwrap_or_else(|_| panic!("{order}: no answer")).unwrap();
        let answer = answer.unwrap_or_else(|| panic!("{order}: the browser's driver ended"));
        let answer: Value = serde_json::from_str(&answer).unwrap();
        match answer.get("failed") {
            Some(why) => panic!("{order}: {}", why.as_str().unwrap_or_default()),
            None => answer["ok"].clone(),
        }
    }

    pub async fn open(&mut self, width: u32, scheme: &str) {
        self.order(json!({ "do": "open", "width": width, "scheme": scheme })).await;
    }

    pub async fn click(&mut self, button: &str) {
        self.order(json!({ "do": "click", "role": "button", "name": button })).await;
    }

    /// Waits until the section of this name says this.
    pub async fn sees(&mut self, section: &str, text: &str) {
        self.order(json!({ "do": "sees", "name": section, "text": text })).await;
    }

    /// Waits until the line of a table says this.
    pub async fn sees_row(&mut self, table: &str, text: &str) {
        self.order(json!({ "do": "sees", "role": "row", "name": table, "text": text })).await;
    }

    /// Waits until this stands anywhere.
    pub async fn reads(&mut self, text: &str) {
        self.order(json!({ "do": "reads", "text": text })).await;
    }

    pub async fn fill(&mut self, label: &str, text: &str) {
        self.order(json!({ "do": "fill", "label": label, "text": text })).await;
    }

    /// Waits until the button cannot be pressed.
    pub async fn shut(&mut self, button: &str) {
        self.order(json!({ "do": "disabled", "role": "button", "name": button })).await;
    }

    /// Nothing that a machine finds wrong: roles, names, contrast, width, errors, requests to elsewhere.
    pub async fn is_sound(&mut self, what: &str) {
        let axe = self.order(json!({ "do": "axe" })).await;
        assert_eq!(axe, json!([]), "{what}: {axe:#}");
        let contrast = self.order(json!({ "do": "contrast" })).await;
        assert!(contrast["texts"].as_u64() > Some(10), "{what}: hardly a text: {contrast}");
        assert_eq!(contrast["found"], json!([]), "{what}: {contrast:#}");
        let wide = self.order(json!({ "do": "sticksOut" })).await;
        assert_eq!(wide, json!([]), "{what}: sticks out");
        let complaints = self.order(json!({ "do": "complaints" })).await;
        assert_eq!(complaints, json!([]), "{what}");
    }
}
