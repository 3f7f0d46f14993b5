//! What no server tells of a session: settings of the application's own, and what the session began with.
//!
//! ```text
//! SET app.x, set_config('app.x', …) ──names──▶ [`Own`] ──asked for by name──▶ survey ──▶ hand-over
//! ```
//!
//! Invariant: a setting that may be there under a name that was not seen is an obstacle, never left out.
//! One that a function or DO has set for the session is not seen.

use std::collections::{BTreeMap, BTreeSet};

use crate::answer::startup_settings;
use crate::plan::{Plan, Step, own_settings};

/// Names kept for one session.
const NAMES_MAX: usize = 1_000;

#[derive(Debug, Default)]
pub(super) struct Own {
    names: BTreeSet<String>,
    /// There may be others.
    pub(super) others: bool,
    /// Of the startup message: what RESET goes back to.
    pub(super) startup: Vec<(String, String)>,
}

impl Own {
    /// `parameters` are those of the startup message, `set` what the session has set before.
    pub(super) fn new(parameters: &BTreeMap<String, String>, set: &[(String, String)]) -> Self {
        let startup = startup_settings(parameters).unwrap_or_default();
        let mut own = Self { startup, ..Self::default() };
        let names = own.startup.iter().chain(set).map(|(name, _)| name);
        own.names = names.filter(|name| name.contains('.')).cloned().collect();
        own
    }

    /// A text is about to be run, or prepared; `body` begins with it.
    pub(super) fn note(&mut self, plan: &Plan, body: &[u8]) {
        let sets =
            |step: &Step| matches!(step, Step::Other | Step::SearchPath(_) | Step::Prepare { .. });
        if !plan.statements.iter().any(|planned| sets(&planned.step)) {
            return;
        }
        let text = body.split(|byte| *byte == 0).next().unwrap_or_default();
        let found = own_settings(&String::from_utf8_lossy(text));
        self.others |= found.others;
        for name in found.names {
            // In another encoding than ours it may be another name.
            if name.is_ascii() && self.names.len() < NAMES_MAX {
                self.names.insert(name);
            } else {
                self.others = true;
            }
        }
    }

    /// What the survey asks for beside what the server lists.
    pub(super) fn question(&self) -> String {
        if self.names.is_empty() {
            return String::new();
        }
        let quoted = |name: &String| format!("E'{}'", escaped(name));
        let names: Vec<String> = self.names.iter().map(quoted).collect();
        format!(
            " UNION ALL SELECT 't', n, pg_catalog.current_setting(n, true), '' \
             FROM pg_catalog.unnest(ARRAY[{}]::pg_catalog.text[]) n \
             WHERE pg_catalog.current_setting(n, true) IS NOT NULL",
            names.join(", ")
        )
    }
}

/// As it stands in `E''`, whatever `standard_conforming_strings` says.
pub(super) fn escaped(text: &str) -> String {
    text.replace('\\', "\\\\").replace('\'', "''")
}
