//! Obstacles of one table, and of tables that get in each other's way.

use std::collections::HashMap;

use crate::catalog::check::{Found, PrimaryFacts, Severity};
use crate::catalog::choose::{Circumstances, needs_trigger, wanted};
use crate::catalog::map::{KEY_BYTES_MAX, index_bytes};
use crate::catalog::{Capture, Catalog, Table, ddl};
use crate::names::{TableName, quote_pg};
use crate::policy::{CaptureChoice, Mode};
use crate::value::PgType;

/// Two tables with one name in MySQL.
pub(super) fn names(catalog: &Catalog, folds_case: bool, found: &mut Found) {
    let fold = |name: &str| match folds_case {
        false => name.to_owned(),
        true => name.to_lowercase(),
    };
    let mut taken: HashMap<String, Vec<&TableName>> = HashMap::new();
    for table in catalog.tables.values().filter(|table| ddl::migrates(table)) {
        taken.entry(fold(&table.target)).or_default().push(&table.name);
    }
    for (target, mut tables) in taken {
        tables.sort();
        if let [first, rest @ ..] = tables.as_slice()
            && !rest.is_empty()
        {
            let others: Vec<String> = rest.iter().map(ToString::to_string).collect();
            let what = format!("is called \"{target}\" in MySQL, as is {}", others.join(", "));
            let advice = "Rename one of them, or set `mode: off` for it.";
            found.add(Severity::Blocker, Some(first), what, advice);
        }
    }
}

pub(super) fn one(
    table: &Table,
    circumstances: &Circumstances,
    primary: &PrimaryFacts,
    found: &mut Found,
) {
    if table.policy.mode == Mode::Off {
        return;
    }
    let capture = wanted(table, circumstances);
    if let Capture::Impossible(reason) = capture {
        let (what, advice) = excluded(table, reason);
        found.add(Severity::Excluded, Some(&table.name), what, advice);
        return;
    }
    key(table, found);
    columns(table, found);
    collations(table, found);
    captured(table, circumstances, &capture, primary, found);
    rights(table, circumstances, &capture, primary, found);
}

fn excluded(table: &Table, reason: &str) -> (String, String) {
    let name = table.name.quoted();
    let off = "or set `mode: off` for it.";
    match reason {
        "no_primary_key" => (
            "it has no primary key".to_owned(),
            format!("ALTER TABLE {name} ADD PRIMARY KEY (…);  {off}"),
        ),
        "unlogged" => {
            ("it is unlogged".to_owned(), format!("ALTER TABLE {name} SET LOGGED;  {off}"))
        }
        "deferrable_key" => (
            "its primary key is deferrable".to_owned(),
            format!("Make the primary key NOT DEFERRABLE, {off}"),
        ),
        "key_type" => (
            format!("its key has a type that MySQL cannot compare: {}", key_columns(table)),
            format!(
                "Equal intervals may be written differently, and MySQL indexes no documents. Take another key, {off}"
            ),
        ),
        "key_collation" => (
            format!("its key has a collation that is not deterministic: {}", key_columns(table)),
            format!(
                "MySQL compares it letter by letter: keys that are equal only by the collation would \
                 be two rows. ALTER TABLE {name} ALTER COLUMN … TYPE text COLLATE \"default\";  {off}"
            ),
        ),
        "inheritance" => (
            "it takes part in table inheritance".to_owned(),
            format!("Use declarative partitioning instead, {off}"),
        ),
        "unsupported_type" => {
            let odd =
                table.columns.iter().filter_map(|column| match column.type_ref.pg_type.element() {
                    PgType::Unsupported(_) | PgType::Array(_) => {
                        Some(format!("{} ({})", column.name, column.type_name))
                    }
                    _ => None,
                });
            let odd: Vec<String> = odd.collect();
            (
                format!("types that MySQL has no equal for: {}", odd.join(", ")),
                format!("Change or drop these columns, {off}"),
            )
        }
        other => (other.replace('_', " "), "Set `mode: off` for it.".to_owned()),
    }
}

/// The key's columns with their types.
fn key_columns(table: &Table) -> String {
    let columns =
        table.key_columns().map(|column| format!("{} ({})", column.name, column.type_name));
    columns.collect::<Vec<_>>().join(", ")
}

/// A key whose columns have lengths of their own can be longer than InnoDB takes.
fn key(table: &Table, found: &mut Found) {
    let bytes: u32 = table.key_columns().filter_map(|column| index_bytes(&column.target)).sum();
    let whole = table.key_columns().all(|column| index_bytes(&column.target).is_some());
    if KEY_BYTES_MAX < bytes || !whole {
        let what = "its primary key is too long for MySQL, or of a type that cannot be one";
        let advice = format!(
            "Shorten the key's columns to {} characters in all, or set `mode: off` for it.",
            KEY_BYTES_MAX / 4
        );
        found.add(Severity::Blocker, Some(&table.name), what, advice);
    }
}

fn columns(table: &Table, found: &mut Found) {
    let mut seen: HashMap<String, &str> = HashMap::new();
    for column in &table.columns {
        if let Some(other) = seen.insert(column.name.to_lowercase(), &column.name) {
            let what = format!(
                "columns \"{other}\" and \"{}\" are one name to MySQL, which ignores case",
                column.name
            );
            found.add(Severity::Blocker, Some(&table.name), what, "Rename one of them.");
        }
        if !is_name(&column.name) {
            let what = format!("column \"{}\" has a name that MySQL does not allow", column.name);
            found.add(Severity::Blocker, Some(&table.name), what, "Rename it.");
        }
    }
    if !is_name(&table.target) {
        let what = "it has a name that MySQL does not allow";
        found.add(
            Severity::Blocker,
            Some(&table.name),
            what,
            "Rename it, or set `mode: off` for it.",
        );
    }
    if COLUMNS_MAX < table.columns.len() {
        let what = format!("it has {} columns, MySQL takes {COLUMNS_MAX}", table.columns.len());
        let advice = "Drop some, or set `mode: off` for it.";
        found.add(Severity::Blocker, Some(&table.name), what, advice);
    }
}

/// InnoDB's most columns in a table.
const COLUMNS_MAX: usize = 1017;

/// MySQL's names end in no blank and hold no character past U+FFFF.
fn is_name(name: &str) -> bool {
    !name.ends_with(' ') && name.chars().all(|letter| letter <= '\u{ffff}')
}

/// A unique column whose collation finds more equal than MySQL will.
fn collations(table: &Table, found: &mut Found) {
    let positions = table.uniques.iter().flat_map(|unique| &unique.columns);
    let columns = positions.map(|at| &table.columns[*at]).filter(|column| column.nondeterministic);
    let mut names: Vec<&str> = columns.map(|column| column.name.as_str()).collect();
    names.dedup();
    for name in names {
        let what = format!("unique column \"{name}\" has a collation that is not deterministic");
        let advice = "MySQL compares it letter by letter: after switchover it would take as two what \
                      PostgreSQL takes as one. citext, or an index on lower(), goes over.";
        found.add(Severity::Warning, Some(&table.name), what, advice);
    }
}

fn captured(
    table: &Table,
    circumstances: &Circumstances,
    capture: &Capture,
    primary: &PrimaryFacts,
    found: &mut Found,
) {
    let reason = needs_trigger(table, circumstances);
    match (capture, reason, table.policy.capture) {
        (Capture::Trigger, Some(reason), CaptureChoice::Auto) => {
            let what = format!("captured by a trigger, since {reason}");
            found.add(Severity::Warning, Some(&table.name), what, "");
        }
        (Capture::Returning, Some(reason), _) => {
            let what = format!("`capture: returning` does not see every write: {reason}");
            found.add(Severity::Warning, Some(&table.name), what, "Leave `capture` at auto.");
        }
        _ => {}
    }
    if circumstances.triggers || circumstances.rules {
        let advice = "They run on PostgreSQL alone: have the application do what they do before MySQL answers. A \
                      switchover is refused until the table is accepted by name.";
        found.add(Severity::Warning, Some(&table.name), "has triggers or rules", advice);
    }
    if circumstances.row_security && !primary.superuser && !primary.bypasses_row_security {
        let what = "row-level security hides rows from Crossfade's role";
        let advice = format!("ALTER ROLE {} BYPASSRLS;", quote_pg(&primary.role));
        found.add(Severity::Blocker, Some(&table.name), what, advice);
    }
}

fn rights(
    table: &Table,
    circumstances: &Circumstances,
    capture: &Capture,
    primary: &PrimaryFacts,
    found: &mut Found,
) {
    let Some(rights) = primary.rights.get(&table.oid) else { return };
    let role = quote_pg(&primary.role);
    if !rights.usage {
        let advice = format!("GRANT USAGE ON SCHEMA {} TO {role};", quote_pg(table.name.schema()));
        found.add(Severity::Blocker, Some(&table.name), "the role may not use its schema", advice);
    }
    let trigger = *capture == Capture::Trigger && !circumstances.trigger_installed;
    let missing: Vec<&str> = [
        ("SELECT", rights.select),
        // FOR SHARE, with which a row is read again, wants it.
        ("UPDATE", rights.update),
        ("TRIGGER", rights.trigger || !trigger),
    ]
    .into_iter()
    .filter_map(|(name, held)| (!held).then_some(name))
    .collect();
    if !missing.is_empty() {
        let list = missing.join(", ");
        let advice = format!("GRANT {list} ON {} TO {role};", table.name.quoted());
        let what = format!("the role lacks {list} on it");
        found.add(Severity::Blocker, Some(&table.name), what, advice);
    }
    // Whatever blocks dual writes is named above.
    let later: Vec<&str> = [
        ("INSERT", rights.insert),
        ("DELETE", rights.delete),
        ("TRIGGER", rights.trigger || missing.contains(&"TRIGGER")),
    ]
    .into_iter()
    .filter_map(|(name, held)| (!held).then_some(name))
    .collect();
    if !later.is_empty() {
        let list = later.join(", ");
        let what = format!("the role lacks {list} on it");
        let advice = format!(
            "Needed for a switchover, after which PostgreSQL is the secondary: GRANT {list} ON {} TO {role};",
            table.name.quoted()
        );
        found.add(Severity::Warning, Some(&table.name), what, advice);
    }
    if trigger && !rights.owner {
        let what = "changes that logical replication applies here are not captured";
        let advice = format!(
            "Only where something replicates into it: as its owner, ALTER TABLE {} ENABLE ALWAYS \
             TRIGGER crossfade_capture;",
            table.name.quoted()
        );
        found.add(Severity::Warning, Some(&table.name), what, advice);
    }
}
