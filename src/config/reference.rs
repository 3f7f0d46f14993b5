//! docs/configuration.md, made of what the sections ask for and of the commented proxy.yaml.
//!
//! ```text
//! [`Reader::asked`] ──▶ keys        a file with `?` for each value ──▶ mistakes ──▶ what a value may be
//! proxy.yaml ──▶ defaults (which a test holds to those of the types), comments
//! ```
//!
//! `UPDATE_EXPECT=1 cargo test --lib config` writes the page anew.

use std::collections::BTreeMap;
use std::path::Path;

use super::reader::{Reader, Section};
use super::yaml::{self, Content, Node};
use super::{Config, top};

const REFERENCE: &str = include_str!("../../proxy.yaml");
const URLS: &str = "from: { url: 'postgres://u@h/d' }\nto: { url: 'mysql://u@h/d' }\n";
/// Comments behind a value begin left of this column, and what goes on with them right of it.
const MARGIN: usize = 20;

#[test]
fn the_page_is_up_to_date() {
    expect_test::expect_file!["../../docs/configuration.md"].assert_eq(&page());
}

fn page() -> String {
    let keys = keys();
    let (accepted, defaults) = (accepted(&keys), yaml::parse(REFERENCE).unwrap());
    let (preface, sections) = comments();
    let mut page = format!("# Configuration\n\n{}", prose(&preface));
    page += "\nThis page is made of the sections' types and of [proxy.yaml](../proxy.yaml); a test holds it to them.\n";
    for section in keys.iter().filter(|key| !key.contains('.')) {
        let (head, meanings) = sections.get(section.as_str()).cloned().unwrap_or_default();
        page += &format!("\n## {section}\n\n{}\n", prose(&head));
        page += "| key | value | default | what it is |\n|---|---|---|---|\n";
        for key in leaves(&keys).filter(|key| key.starts_with(&format!("{section}."))) {
            let name = key[section.len() + 1..].replace("t.", "*.");
            let last = key.rsplit('.').next().unwrap();
            let value = accepted.get(key).map_or("text", String::as_str);
            let default =
                default(&defaults, key).map_or("–".to_owned(), |text| format!("`{text}`"));
            let meaning = meanings.get(last).map_or("", String::as_str);
            page += &format!("| `{name}` | {} | {default} | {} |\n", cell(value), cell(meaning));
        }
    }
    page
}

/// Every key that a file may have, in full; a table is called `t`.
fn keys() -> Vec<String> {
    let text = format!("{URLS}listen: {{ tls: {{}} }}\ntables: {{ t: {{}} }}\n");
    let reader = Reader::new(&|_| None, Path::new(""));
    top(&reader, Section::new(&reader, "", yaml::parse(&text).unwrap()));
    let mut keys = Vec::new();
    for key in reader.asked() {
        if !keys.contains(&key) {
            keys.push(key);
        }
    }
    keys
}

fn leaves(keys: &[String]) -> impl Iterator<Item = &String> {
    let inner = |key: &str| keys.iter().any(|other| other.starts_with(&format!("{key}.")));
    keys.iter().filter(move |key| !inner(key))
}

/// What the mistakes of a file say in which no value is right.
fn accepted(keys: &[String]) -> BTreeMap<String, String> {
    let mut text = String::new();
    let mut written: Vec<&str> = Vec::new();
    for key in leaves(keys).filter(|key| *key != "listen.users") {
        let steps: Vec<&str> = key.split('.').collect();
        let same = steps.iter().zip(&written).take_while(|(step, last)| step == last).count();
        for (depth, step) in steps.iter().enumerate().skip(same) {
            let value = if depth + 1 == steps.len() { " '?'" } else { "" };
            text += &format!("{}{step}:{value}\n", "  ".repeat(depth));
        }
        written = steps;
    }
    let error = Config::parse(&text, "", Path::new("/nowhere"), &|_| None).unwrap_err();
    let said = error.mistakes.iter().map(|mistake| (mistake.key.clone(), wanted(&mistake.message)));
    let mut accepted: BTreeMap<String, String> = said.collect();
    accepted.insert("listen.users".to_owned(), "names, each with its verifier".to_owned());
    accepted
}

/// From a complaint about `?` to what would be right.
fn wanted(message: &str) -> String {
    if message.starts_with("file ") {
        return "a file that is there".to_owned();
    }
    let message = message.split("; write for instance").next().unwrap();
    let message = message.strip_prefix("\"?\" is ").unwrap_or(message);
    let message = message.strip_prefix("must be ").unwrap_or(message);
    let message = message.strip_prefix("must ").unwrap_or(message);
    match message.strip_prefix("neither ") {
        Some(both) => both.replacen(" nor ", " or ", 1),
        None => message.strip_prefix("not ").unwrap_or(message).to_owned(),
    }
}

fn default(reference: &Node, key: &str) -> Option<String> {
    let mut node = reference;
    for step in key.split('.') {
        let Content::Map(entries) = &node.content else { return None };
        let step = if step == "t" { "*" } else { step };
        node = &entries.iter().find(|(key, _)| key.name == step)?.1;
    }
    match &node.content {
        Content::Text(text) => Some(text.clone()),
        _ => None,
    }
}

/// By key, what it means.
type Meanings = BTreeMap<String, String>;
/// By section: what stands before it, and behind its keys.
type Comments = BTreeMap<String, (Vec<String>, Meanings)>;

/// The comment at the top, and for each section the one before it and those behind its keys.
fn comments() -> (Vec<String>, Comments) {
    let mut sections = Comments::new();
    let (mut preface, mut head, mut section, mut key) =
        (None, Vec::new(), String::new(), String::new());
    for line in REFERENCE.lines() {
        let indent = line.len() - line.trim_start().len();
        match line.trim_start().strip_prefix('#') {
            Some(text) if indent == 0 => {
                head.push(text.strip_prefix(' ').unwrap_or(text).to_owned());
            }
            None if line.is_empty() => {
                preface.get_or_insert_with(|| std::mem::take(&mut head));
            }
            None if indent == 0 => {
                section = line.split(':').next().unwrap().to_owned();
                sections.insert(section.clone(), (std::mem::take(&mut head), Meanings::new()));
            }
            Some(text) if MARGIN < indent => {
                let meanings = &mut sections.get_mut(&section).unwrap().1;
                *meanings.entry(key.clone()).or_default() += &format!(" {}", text.trim());
            }
            commented => {
                let text = commented.unwrap_or(line).trim_start();
                let (name, rest) = text.split_once(':').unwrap_or((text, ""));
                name.clone_into(&mut key);
                if let Some((_, comment)) = rest.split_once('#') {
                    let meanings = &mut sections.get_mut(&section).unwrap().1;
                    meanings.insert(key.clone(), comment.trim().to_owned());
                }
            }
        }
    }
    (preface.unwrap_or_default(), sections)
}

/// Lines as paragraphs; what is indented stays as it is.
fn prose(lines: &[String]) -> String {
    let (mut text, mut block) = (String::new(), false);
    for line in lines {
        let indented = line.starts_with("  ");
        if indented != block {
            text += if indented { "\n```text\n" } else { "```\n\n" };
            block = indented;
        }
        text += &format!("{}\n", if indented { line.as_str() } else { line.trim() });
    }
    text + if block { "```\n" } else { "" }
}

fn cell(text: &str) -> String {
    text.replace('|', "\\|").replace('<', "&lt;")
}
