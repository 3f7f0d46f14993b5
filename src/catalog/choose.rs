//! How a table's writes are captured: what `capture: auto` means for it, and where nothing will do.
//!
//! ```text
//! Table + Circumstances + Policy ──[`choose`]──▶ Capture
//! ```
//!
//! Invariant: `returning` is chosen only where every write crosses the wire as a statement that
//! names the table. Whatever the server itself may write (cascades, triggers, rules), or may not
//! show (row-level security, no SELECT), is left to a trigger.

use crate::catalog::{Capture, Table};
use crate::policy::{CaptureChoice, Mode};
use crate::value::PgType;

/// What PostgreSQL says about a table beside its columns and constraints.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Circumstances {
    /// Not in the log: no LSN orders its changes, and a crash empties it.
    pub unlogged: bool,
    /// Old-style inheritance (not partitioning), as parent or child.
    pub inherits: bool,
    /// The primary key's constraint is DEFERRABLE.
    pub deferrable_key: bool,
    /// Some partition has its columns in another order than the root.
    pub partitions_differ: bool,
    /// User triggers on the table or one of its partitions.
    pub triggers: bool,
    /// Rules on the table.
    pub rules: bool,
    /// Some trigger function or rule of another relation may write it.
    pub written_by_server: bool,
    pub row_security: bool,
    /// A role may write the table and not read it.
    pub write_only_role: bool,
    /// Crossfade's own trigger is on the table and enabled.
    pub trigger_installed: bool,
}

/// The capture of one table. Its columns' types and its key must be filled in.
#[must_use]
pub fn choose(table: &Table, circumstances: &Circumstances) -> Capture {
    if table.policy.mode == Mode::Off {
        return Capture::Off;
    }
    if let Some(reason) = impossible(table, circumstances) {
        return Capture::Impossible(reason);
    }
    if circumstances.trigger_installed {
        return Capture::Trigger; // What is on the server decides; `setup` brings it in line.
    }
    match wanted(table, circumstances) {
        Capture::Trigger if table.id.is_some() => Capture::Impossible("trigger_missing"),
        wanted => wanted,
    }
}

/// What `setup` should bring about: as [`choose`], whatever is installed now.
#[must_use]
pub fn wanted(table: &Table, circumstances: &Circumstances) -> Capture {
    if table.policy.mode == Mode::Off {
        return Capture::Off;
    }
    if let Some(reason) = impossible(table, circumstances) {
        return Capture::Impossible(reason);
    }
    match table.policy.capture {
        CaptureChoice::Returning => Capture::Returning,
        CaptureChoice::Trigger => Capture::Trigger,
        CaptureChoice::Auto if needs_trigger(table, circumstances).is_some() => Capture::Trigger,
        CaptureChoice::Auto => Capture::Returning,
    }
}

/// Why no capture can work, as a metric label.
fn impossible(table: &Table, circumstances: &Circumstances) -> Option<&'static str> {
    if table.key.is_empty() {
        return Some("no_primary_key");
    }
    let unkeyed = |kind: &PgType| {
        let text_only = matches!(kind, PgType::Interval | PgType::TimeTz);
        text_only || matches!(kind, PgType::Json | PgType::Jsonb | PgType::Array(_))
    };
    if table.key_columns().any(|column| unkeyed(&column.type_ref.pg_type)) {
        return Some("key_type");
    }
    if table.key_columns().any(|column| column.nondeterministic) {
        return Some("key_collation");
    }
    if circumstances.unlogged {
        return Some("unlogged");
    }
    if circumstances.deferrable_key {
        return Some("deferrable_key");
    }
    if circumstances.inherits {
        return Some("inheritance");
    }
    let unsupported =
        |kind: &PgType| matches!(kind.element(), PgType::Unsupported(_) | PgType::Array(_));
    if table.columns.iter().any(|column| unsupported(&column.type_ref.pg_type)) {
        return Some("unsupported_type");
    }
    None
}

/// Why RETURNING would not see every write, for `check`; `None` where it does.
#[must_use]
pub fn needs_trigger(table: &Table, circumstances: &Circumstances) -> Option<&'static str> {
    let cascades =
        table.foreign_keys.iter().any(|key| key.on_delete.writes() || key.on_update.writes());
    let reasons = [
        (cascades, "a foreign key's action changes its rows"),
        (circumstances.triggers, "it has triggers"),
        (circumstances.rules, "it has rules"),
        (circumstances.written_by_server, "a trigger function or a rule may write it"),
        (circumstances.row_security, "it has row-level security"),
        (circumstances.write_only_role, "a role may write it and not read it"),
        (circumstances.partitions_differ, "its partitions order their columns differently"),
    ];
    reasons.into_iter().find_map(|(holds, reason)| holds.then_some(reason))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalog::Catalog;
    use crate::names::TableName;

    fn table(change: impl FnOnce(&mut Table)) -> Table {
        let catalog = Catalog::for_test(&[("users", "id:int4*,email:text")]);
        let mut table = (**catalog.by_name(&TableName::parse("users")).unwrap()).clone();
        table.policy.capture = CaptureChoice::Auto;
        change(&mut table);
        table
    }

    #[test]
    fn a_plain_table_is_captured_by_returning() {
        assert_eq!(choose(&table(|_| ()), &Circumstances::default()), Capture::Returning);
    }

    #[test]
    fn what_the_server_writes_needs_a_trigger() {
        let circumstances = Circumstances { written_by_server: true, ..Circumstances::default() };
        let fresh = table(|table| table.id = None);
        assert_eq!(choose(&fresh, &circumstances), Capture::Trigger);
        // Registered, and the trigger is gone: whatever is written now is not seen.
        assert_eq!(choose(&table(|_| ()), &circumstances), Capture::Impossible("trigger_missing"));
        let installed = Circumstances { trigger_installed: true, ..circumstances };
        assert_eq!(choose(&table(|_| ()), &installed), Capture::Trigger);
    }

    #[test]
    fn off_comes_before_every_obstacle() {
        let off = table(|table| {
            table.policy.mode = Mode::Off;
            table.key.clear();
        });
        assert_eq!(choose(&off, &Circumstances::default()), Capture::Off);
        let keyless = table(|table| table.key.clear());
        let capture = choose(&keyless, &Circumstances::default());
        assert_eq!(capture, Capture::Impossible("no_primary_key"));
    }

    #[test]
    fn an_unsupported_type_stops_the_table() {
        let odd = table(|table| {
            table.columns[1].type_ref.pg_type =
                PgType::Array(Box::new(PgType::Unsupported("tsvector".to_owned())));
        });
        let capture = choose(&odd, &Circumstances::default());
        assert_eq!(capture, Capture::Impossible("unsupported_type"));
    }
}
