//! Foreign keys, added once all tables are there: tables may reference each other in circles.
//!
//! They stay on while rows are applied, so that MySQL's cascades do what PostgreSQL's did. Where the
//! action is one that InnoDB lacks, the plain constraint is taken: the changed children arrive as
//! rows of their own.
//!
//! InnoDB wants the referenced columns in the order of an index of theirs, PostgreSQL in any: they are
//! named in the order of the key that they are.
//!
//! Invariant: a foreign key is added only where both sides have the same type, or MySQL would refuse.

use std::collections::HashSet;

use crate::catalog::ddl::{Flavor, Names, Statement, migrates, type_name};
use crate::catalog::map::{KEY_BYTES_MAX, index_bytes};
use crate::catalog::{Action, Catalog, ForeignKey, Table, TargetType, Unique};
use crate::names::{TableName, quote_mysql};

/// A foreign key as both servers' `information_schema` tell it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ForeignShape {
    pub table: String,
    pub columns: Vec<String>,
    pub references: String,
    pub referenced: Vec<String>,
    /// `CASCADE`, `SET NULL` or `NO ACTION`; RESTRICT is the last to InnoDB.
    pub on_delete: String,
    pub on_update: String,
}

impl ForeignShape {
    /// True where one of the columns, on either side, is in `columns`.
    pub(super) fn touches(&self, columns: &HashSet<(String, String)>) -> bool {
        let side = |table: &String, names: &[String]| {
            names.iter().any(|name| columns.contains(&(table.clone(), name.clone())))
        };
        side(&self.table, &self.columns) || side(&self.references, &self.referenced)
    }
}

/// The foreign keys of a table that MySQL can have, by name, and what it cannot.
pub(super) struct Keys {
    pub(super) table: TableName,
    target: String,
    pub(super) wanted: Vec<(String, ForeignShape)>,
    warnings: Vec<String>,
}

impl Keys {
    pub(super) fn of(catalog: &Catalog, table: &Table, flavor: Flavor, names: &mut Names) -> Self {
        let (mut wanted, mut warnings) = (Vec::new(), Vec::new());
        for key in &table.foreign_keys {
            match constraint(catalog, table, key, flavor, &mut warnings) {
                Ok(shape) => wanted.push((names.take(table, &key.name), shape)),
                Err(reason) => {
                    warnings.push(format!("foreign key \"{}\" is left out: {reason}", key.name));
                }
            }
        }
        Self { table: table.name.clone(), target: table.target.clone(), wanted, warnings }
    }

    /// `ALTER TABLE … ADD …` for all of them; `None` if there is nothing to say.
    pub(super) fn add_all(&self) -> Option<Statement> {
        self.add(|_| true)
    }

    /// The same for some of them, by name.
    pub(super) fn add(&self, is_missing: impl Fn(&str) -> bool) -> Option<Statement> {
        let missing = self.wanted.iter().filter(|(name, _)| is_missing(name));
        let parts: Vec<String> = missing.map(|(name, shape)| add(name, shape)).collect();
        if parts.is_empty() && self.warnings.is_empty() {
            return None;
        }
        let sql = if parts.is_empty() {
            String::new()
        } else {
            format!("ALTER TABLE {}\n    {}", quote_mysql(&self.target), parts.join(",\n    "))
        };
        Some(Statement { table: self.table.clone(), sql, warnings: self.warnings.clone() })
    }
}

fn add(name: &str, shape: &ForeignShape) -> String {
    let quoted = |names: &[String]| {
        names.iter().map(|name| quote_mysql(name)).collect::<Vec<_>>().join(", ")
    };
    format!(
        "ADD CONSTRAINT {} FOREIGN KEY ({}) REFERENCES {} ({}) ON DELETE {} ON UPDATE {}",
        quote_mysql(name),
        quoted(&shape.columns),
        quote_mysql(&shape.references),
        quoted(&shape.referenced),
        shape.on_delete,
        shape.on_update,
    )
}

fn constraint(
    catalog: &Catalog,
    table: &Table,
    key: &ForeignKey,
    flavor: Flavor,
    warnings: &mut Vec<String>,
) -> Result<ForeignShape, &'static str> {
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
    let (columns, referenced) = in_order(table, parent, key);
    Ok(ForeignShape {
        table: table.target.clone(),
        columns,
        references: parent.target.clone(),
        referenced,
        on_delete: action(table, key, key.on_delete, warnings).to_owned(),
        on_update: action(table, key, key.on_update, warnings).to_owned(),
    })
}

/// The columns of both sides, in the order of the key that the parent's are: the primary key, where
/// several have the same columns.
fn in_order(table: &Table, parent: &Table, key: &ForeignKey) -> (Vec<String>, Vec<String>) {
    let mut pairs: Vec<(&str, &str)> = key
        .columns
        .iter()
        .map(|at| table.columns[*at].name.as_str())
        .zip(key.referenced.iter().map(String::as_str))
        .collect();
    let name = |at: &usize| parent.columns[*at].name.as_str();
    let whole = |unique: &&Unique| unique.predicate.is_none() && unique.expressions.is_none();
    let uniques = parent.uniques.iter().filter(whole).map(|unique| &unique.columns);
    let mut keys = std::iter::once(&parent.key).chain(uniques);
    let places = |columns: &Vec<usize>| {
        let place = |(_, of): &(&str, &str)| columns.iter().position(|at| name(at) == *of);
        let places: Option<Vec<usize>> = pairs.iter().map(place).collect();
        places.filter(|places| places.len() == columns.len())
    };
    if let Some(places) = keys.find_map(places) {
        let mut placed: Vec<_> = places.into_iter().zip(pairs).collect();
        placed.sort_unstable();
        pairs = placed.into_iter().map(|(_, pair)| pair).collect();
    }
    pairs.into_iter().map(|(own, of)| (own.to_owned(), of.to_owned())).unzip()
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
        // InnoDB checks at once either way.
        Action::NoAction | Action::Restrict => "NO ACTION",
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
