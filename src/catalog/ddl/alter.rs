//! What a schema that exists on the secondary lacks, or has too much of.
//!
//! ```text
//! Catalog + [`Existing`] ──[`changes`]──▶ Vec<Change>   CREATE, ADD COLUMN: safe;  MODIFY, DROP: a person decides
//! ```
//!
//! Invariant: a safe change loses nothing and refuses no row. After any change the table is dirty
//! until a verify pass is clean, so a column that is added may hold the wrong values for a while.

use std::collections::{HashMap, HashSet};

use crate::catalog::ddl::{Flavor, Statement, column, create_without, sorted, type_name};
use crate::catalog::{Catalog, Table, TargetType};
use crate::names::{TableName, quote_mysql};

/// What the secondary has.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Existing {
    /// Tables by name, with their visible columns: name → `COLUMN_TYPE`.
    pub tables: HashMap<String, HashMap<String, String>>,
    /// Names of foreign keys.
    pub foreign_keys: HashSet<String>,
}

/// One statement that brings the secondary nearer to the catalogue.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    pub statement: Statement,
    /// Runs under `--apply`, and at the first setup; the others are only shown.
    pub safe: bool,
}

/// Everything to do, in order.
#[must_use]
pub fn changes(catalog: &Catalog, existing: &Existing, flavor: Flavor) -> Vec<Change> {
    let missing: HashSet<&TableName> = sorted(catalog)
        .into_iter()
        .filter(|table| !existing.tables.contains_key(&table.target))
        .map(|table| &table.name)
        .collect();
    let (created, foreign) = create_without(catalog, flavor, &existing.foreign_keys);
    let created = created.into_iter().filter(|statement| missing.contains(&statement.table));
    let safe = |statement| Change { statement, safe: true };
    let mut changes: Vec<Change> = created.map(safe).collect();
    for table in sorted(catalog) {
        if let Some(columns) = existing.tables.get(&table.target) {
            changes.extend(table_changes(table, columns, flavor));
        }
    }
    // A setup that was cut short may have left tables without them.
    changes.extend(foreign.into_iter().map(safe));
    changes
}

fn table_changes(table: &Table, existing: &HashMap<String, String>, flavor: Flavor) -> Vec<Change> {
    let mut changes = Vec::new();
    let name = quote_mysql(&table.target);
    let mut change = |sql: String, safe: bool, warning: Option<&str>| {
        let warnings = warning.map(str::to_owned).into_iter().collect();
        let statement = Statement { table: table.name.clone(), sql, warnings };
        changes.push(Change { statement, safe });
    };
    for column in table.columns.iter().filter(|column| column.target != TargetType::None) {
        let definition = column::definition(table, column, flavor);
        match existing.get(&column.name) {
            None if column.not_null && column::default(column).is_none() => {
                let nullable = definition.replacen(" NOT NULL", " NULL", 1);
                change(
                    format!("ALTER TABLE {name} ADD COLUMN {nullable}"),
                    true,
                    Some("the new column may be null until every row has been repaired"),
                );
            }
            None => change(format!("ALTER TABLE {name} ADD COLUMN {definition}"), true, None),
            Some(found) if !same_type(found, &column.target, flavor) => {
                change(format!("ALTER TABLE {name} MODIFY COLUMN {definition}"), false, None);
            }
            Some(_) => {}
        }
    }
    let known: HashSet<&str> = table.columns.iter().map(|column| column.name.as_str()).collect();
    let mut gone: Vec<&String> = existing.keys().filter(|c| !known.contains(c.as_str())).collect();
    gone.sort();
    for column in gone {
        change(format!("ALTER TABLE {name} DROP COLUMN {}", quote_mysql(column)), false, None);
    }
    changes
}

/// Compares `information_schema`'s words with ours: integers may have a display width, MariaDB's
/// JSON is longtext, and collations are told elsewhere.
fn same_type(found: &str, target: &TargetType, flavor: Flavor) -> bool {
    let wanted = type_name(target, flavor);
    let wanted = wanted.split(" COLLATE").next().unwrap_or(&wanted);
    let wanted = wanted.split(" CHARACTER SET").next().unwrap_or(wanted);
    let found = match found.split_once('(') {
        Some((name @ ("smallint" | "int" | "bigint"), _)) => name,
        _ => found,
    };
    let json = *target == TargetType::Json && flavor == Flavor::MariaDb && found == "longtext";
    json || found.eq_ignore_ascii_case(wanted)
}
