//! Foreign keys, added once all tables are there: tables may reference each other in circles.
//!
//! They stay on while rows are applied, so that MySQL's cascades do what PostgreSQL's did. Where the
//! action is one that InnoDB lacks, the plain constraint is taken: the changed children arrive as
//! rows of their own.
//!
//! Invariant: a foreign key is added only where both sides have the same type, or MySQL would refuse.

use std::collections::HashSet;

use crate::catalog::ddl::{Flavor, Names, Statement, migrates, type_name};
use crate::catalog::map::{KEY_BYTES_MAX, index_bytes};
use crate::catalog::{Action, Catalog, ForeignKey, Table, TargetType};
use crate::names::quote_mysql;

/// `ALTER TABLE … ADD …` for all foreign keys of a table; `None` if there is nothing to say.
pub(super) fn add(
    catalog: &Catalog,
    table: &Table,
    flavor: Flavor,
    names: &mut Names,
    present: &HashSet<String>,
) -> Option<Statement> {
    let (mut parts, mut warnings) = (Vec::new(), Vec::new());
    for key in &table.foreign_keys {
        let before = warnings.len();
        match constraint(catalog, table, key, flavor, names, &mut warnings) {
            Ok((name, _)) if present.contains(&name) => warnings.truncate(before),
            Ok((_, part)) => parts.push(part),
            Err(reason) => {
                warnings.push(format!("foreign key \"{}\" is left out: {reason}", key.name));
            }
        }
    }
    if parts.is_empty() && warnings.is_empty() {
        return None;
    }
    let sql = if parts.is_empty() {
        String::new()
    } else {
        format!("ALTER TABLE {}\n    {}", quote_mysql(&table.target), parts.join(",\n    "))
    };
    Some(Statement { table: table.name.clone(), sql, warnings })
}

fn constraint(
    catalog: &Catalog,
    table: &Table,
    key: &ForeignKey,
    flavor: Flavor,
    names: &mut Names,
    warnings: &mut Vec<String>,
) -> Result<(String, String), &'static str> {
    let parent = catalog.table(key.references).filter(|parent| migrates(parent));
    let parent = parent.ok_or("the table that it references is not migrated")?;
    let mut bytes = 0;
    for (at, name) in key.columns.iter().zip(&key.referenced) {
        let child = &table.columns[*at].target;
        let referenced = parent.columns.iter().find(|column| column.name == *name);
        let referenced = &referenced.ok_or("the columns that it references are not there")?.target;
        if !compatible(child, referenced, flavor) {
            return Err("its columns have another type than those that they reference");
        }
        bytes += index_bytes(child).ok_or("MySQL cannot index its columns")?;
    }
    if bytes > KEY_BYTES_MAX {
        return Err("it is too long for MySQL");
    }
    if key.deferrable {
        warnings.push(format!(
            "foreign key \"{}\" is deferrable in PostgreSQL, and checked row by row in MySQL",
            key.name
        ));
    }
    let quoted = |names: Vec<&str>| {
        names.iter().map(|name| quote_mysql(name)).collect::<Vec<_>>().join(", ")
    };
    let own = key.columns.iter().map(|at| table.columns[*at].name.as_str()).collect();
    let theirs = key.referenced.iter().map(String::as_str).collect();
    let name = names.take(table, &key.name);
    let part = format!(
        "ADD CONSTRAINT {} FOREIGN KEY ({}) REFERENCES {} ({}) ON DELETE {} ON UPDATE {}",
        quote_mysql(&name),
        quoted(own),
        quote_mysql(&parent.target),
        quoted(theirs),
        action(table, key, key.on_delete, warnings),
        action(table, key, key.on_update, warnings),
    );
    Ok((name, part))
}

/// Lengths of text may differ between the two sides, everything else may not.
fn compatible(child: &TargetType, parent: &TargetType, flavor: Flavor) -> bool {
    match (child, parent) {
        (TargetType::VarChar { .. }, TargetType::VarChar { .. })
        | (TargetType::CitextVarChar { .. }, TargetType::CitextVarChar { .. })
        | (TargetType::VarBinary { .. }, TargetType::VarBinary { .. })
        | (TargetType::Char { .. }, TargetType::Char { .. }) => true,
        _ => type_name(child, flavor) == type_name(parent, flavor),
    }
}

fn action(
    table: &Table,
    key: &ForeignKey,
    action: Action,
    warnings: &mut Vec<String>,
) -> &'static str {
    let nullable = key.columns.iter().all(|at| !table.columns[*at].not_null);
    match action {
        Action::NoAction => "NO ACTION",
        Action::Restrict => "RESTRICT",
        Action::Cascade => "CASCADE",
        Action::SetNull if nullable => "SET NULL",
        Action::SetNull | Action::SetDefault => {
            warnings.push(format!(
                "foreign key \"{}\" has an action that InnoDB lacks: NO ACTION is taken, the \
                 changed rows are carried over one by one",
                key.name
            ));
            "NO ACTION"
        }
    }
}

/// Columns that some action of a foreign key may write.
pub(super) fn cascading_columns(table: &Table) -> Vec<&str> {
    let keys = table.foreign_keys.iter();
    let writing = keys.filter(|key| key.on_delete == Action::SetNull || key.on_update.writes());
    let positions = writing.flat_map(|key| &key.columns);
    positions.map(|at| table.columns[*at].name.as_str()).collect()
}
