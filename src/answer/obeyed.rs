//! What settings mean to the session, worked out when one changes and not for each statement.
//!
//! ```text
//! SET, RESET, a transaction's end ──values──▶ [`Obeyed`] ──▶ output, names, timeouts, transactions
//! ```
//!
//! Invariant: it is of the values of now: whoever changes one works it out anew.

use crate::answer::setting_values::{milliseconds, zone};
use crate::answer::verbs::Isolation;
use crate::value::style::{ByteaOutput, DateOrder, IntervalStyle, Style};

/// Timeouts are in milliseconds; 0 for none.
#[derive(Clone, Debug)]
pub(super) struct Obeyed {
    pub(super) style: Style,
    /// Schemas in which bare names are looked up, `$user` replaced.
    pub(super) path: Vec<String>,
    pub(super) isolation: Isolation,
    pub(super) read_only: bool,
    pub(super) statement_timeout: u64,
    pub(super) lock_timeout: u64,
    pub(super) idle_timeout: u64,
    pub(super) idle_in_transaction_timeout: u64,
}

impl Obeyed {
    /// Of settings by their names in lower case.
    pub(super) fn of<'a>(get: impl Fn(&str) -> Option<&'a str>) -> Self {
        let text = |name: &str| get(name).unwrap_or_default();
        let timeout = |name: &str| milliseconds(text(name)).unwrap_or(0);
        let style = Style {
            zone: zone(text("timezone")).unwrap_or_default(),
            interval: match text("intervalstyle") {
                "iso_8601" => IntervalStyle::Iso8601,
                _ => IntervalStyle::Postgres,
            },
            bytea: match text("bytea_output") {
                "escape" => ByteaOutput::Escape,
                _ => ByteaOutput::Hex,
            },
            order: match text("datestyle").rsplit(", ").next() {
                Some("DMY") => DateOrder::Dmy,
                Some("YMD") => DateOrder::Ymd,
                _ => DateOrder::Mdy,
            },
        };
        Self {
            style,
            path: path(text("search_path"), text("session_authorization")),
            isolation: Isolation::named(text("default_transaction_isolation"))
                .unwrap_or(Isolation::ReadCommitted),
            read_only: text("default_transaction_read_only") == "on",
            statement_timeout: timeout("statement_timeout"),
            lock_timeout: timeout("lock_timeout"),
            idle_timeout: timeout("idle_session_timeout"),
            idle_in_transaction_timeout: timeout("idle_in_transaction_session_timeout"),
        }
    }
}

fn path(text: &str, user: &str) -> Vec<String> {
    let names = text.split(',').map(|name| {
        let name = name.trim();
        match name.strip_prefix('"').and_then(|name| name.strip_suffix('"')) {
            Some(quoted) => quoted.replace("\"\"", "\""),
            None => name.trim_matches('\'').to_ascii_lowercase(),
        }
    });
    let names = names.filter(|name| !name.is_empty());
    names.map(|name| if name == "$user" { user.to_owned() } else { name }).collect()
}
