//! The schema of MySQL and MariaDB, made from the catalogue.
//!
//! ```text
//! Catalog ──[`create`]──▶ CREATE TABLE …, then ALTER TABLE … ADD FOREIGN KEY …   (cycles need no order)
//!    └─────[`alter`]────▶ what a schema that exists lacks, told by comparing [`shape`]s
//! ```
//!
//! Text compares byte by byte without padding, as PostgreSQL's does; MySQL never makes up a value
//! (no ON UPDATE, no implicit default). What has no exact equal is left out and said in a warning:
//! a constraint that MySQL read differently would refuse rows that the primary has accepted.
//!
//! Invariant: the same catalogue gives the same text, so that `setup --dry-run` shows what runs.

pub mod alter;
pub mod brief;
mod column;
pub mod expression;
mod foreign;
mod index;
pub mod shape;
mod widen;

use std::collections::HashSet;

use crate::catalog::naming::shorten;
use crate::catalog::{Capture, Catalog, Column, Table, TargetType};
use crate::names::{TableName, quote_mysql};

pub use crate::value::Flavor;
pub use column::type_name;
pub use foreign::ForeignShape;

/// A statement for the secondary, and what it could not carry over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Statement {
    pub table: TableName,
    pub sql: String,
    pub warnings: Vec<String>,
}

/// What the text of the statements relies on; runs first.
#[must_use]
pub fn prelude() -> &'static str {
    "SET SESSION sql_mode = 'STRICT_TRANS_TABLES,NO_ZERO_IN_DATE,NO_ZERO_DATE,\
     ERROR_FOR_DIVISION_BY_ZERO,NO_ENGINE_SUBSTITUTION,NO_BACKSLASH_ESCAPES,NO_AUTO_VALUE_ON_ZERO'"
}

/// True for tables that have an image in MySQL.
#[must_use]
pub fn migrates(table: &Table) -> bool {
    match table.capture {
        Capture::Returning | Capture::Trigger | Capture::Impossible("trigger_missing") => true,
        Capture::Off | Capture::Elsewhere | Capture::Impossible(_) => false,
    }
}

/// The column that MySQL numbers by itself, if there is one.
#[must_use]
pub fn counter(table: &Table) -> Option<&Column> {
    table.columns.iter().find(|column| column::increments(table, column))
}

/// All statements for an empty database.
#[must_use]
pub fn create(catalog: &Catalog, flavor: Flavor) -> Vec<Statement> {
    let mut names = Names::default();
    let mut statements: Vec<Statement> =
        definitions(catalog, flavor, &mut names).iter().map(Definition::create).collect();
    for table in sorted(catalog) {
        statements.extend(foreign::Keys::of(catalog, table, flavor, &mut names).add_all());
    }
    statements
}

/// Every table that migrates; the names of their CHECKs are taken first, those of foreign keys after.
fn definitions<'a>(catalog: &'a Catalog, flavor: Flavor, names: &mut Names) -> Vec<Definition<'a>> {
    sorted(catalog).into_iter().map(|table| Definition::new(table, flavor, names)).collect()
}

/// Tables that migrate, by name.
pub(super) fn sorted(catalog: &Catalog) -> Vec<&Table> {
    let mut tables: Vec<&Table> =
        catalog.tables.values().map(|table| &**table).filter(|table| migrates(table)).collect();
    tables.sort_by(|a, b| a.name.cmp(&b.name));
    tables
}

/// One table's lines of a CREATE TABLE.
struct Definition<'a> {
    table: &'a Table,
    flavor: Flavor,
    columns: Vec<String>,
    /// Generated columns that only indexes use.
    hidden: Vec<String>,
    primary: String,
    keys: Vec<String>,
    checks: Vec<String>,
    warnings: Vec<String>,
}

impl<'a> Definition<'a> {
    fn new(table: &'a Table, flavor: Flavor, names: &mut Names) -> Self {
        let mut lines = index::Lines::default();
        table.uniques.iter().for_each(|unique| index::unique(table, unique, &mut lines));
        table.indexes.iter().for_each(|plain| index::plain(table, plain, &mut lines));
        let carried = table.columns.iter().filter(|column| column.target != TargetType::None);
        let columns = carried.map(|column| column::definition(table, column, flavor)).collect();
        let key: Vec<String> =
            table.key_columns().map(|column| quote_mysql(&column.name)).collect();
        let primary = format!("PRIMARY KEY ({})", key.join(", "));
        let index::Lines { columns: hidden, keys, mut warnings } = lines;
        let checks = checks(table, names, &mut warnings);
        columns_as_they_are(table, &mut warnings);
        Self { table, flavor, columns, hidden, primary, keys, checks, warnings }
    }

    fn create(&self) -> Statement {
        let head = format!("CREATE TABLE {}", quote_mysql(&self.table.target));
        let sql = self.sql(&head);
        Statement { table: self.table.name.clone(), sql, warnings: self.warnings.clone() }
    }

    /// An empty table of the same shape, for this session only.
    fn temporary(&self) -> String {
        self.sql(&format!("CREATE TEMPORARY TABLE {}", quote_mysql(shape::TEMPORARY)))
    }

    fn sql(&self, head: &str) -> String {
        let mut parts = self.columns.clone();
        parts.extend_from_slice(&self.hidden);
        parts.push(self.primary.clone());
        parts.extend_from_slice(&self.keys);
        parts.extend_from_slice(&self.checks);
        let collation = match self.flavor {
            Flavor::MySql => "utf8mb4_0900_bin",
            Flavor::MariaDb => "utf8mb4_nopad_bin",
        };
        let comment = self.comment().map_or(String::new(), |text| format!(" COMMENT = {text}"));
        format!(
            "{head} (\n    {}\n) ENGINE = InnoDB ROW_FORMAT = DYNAMIC \
             DEFAULT CHARACTER SET = utf8mb4 COLLATE = {collation}{comment}",
            parts.join(",\n    "),
        )
    }

    /// The table's comment as a literal.
    fn comment(&self) -> Option<String> {
        let comment = self.table.comment.as_ref()?;
        let comment: String = comment.chars().take(TABLE_COMMENT_CHARS_MAX).collect();
        Some(quote_text(&comment))
    }
}

/// Says which columns are less in MySQL than they are in PostgreSQL.
fn columns_as_they_are(table: &Table, warnings: &mut Vec<String>) {
    for column in table.columns.iter().filter(|column| column.target != TargetType::None) {
        let name = &column.name;
        if column.generated.is_some() {
            warnings.push(format!(
                "generated column \"{name}\" is a plain one in MySQL, with the values that PostgreSQL \
                 has worked out"
            ));
        }
        if column.serial && !column::increments(table, column) {
            warnings.push(format!(
                "column \"{name}\" is fed by a sequence, and no AUTO_INCREMENT: MySQL has that for the \
                 first column of the key only"
            ));
        }
        if column
            .comment
            .as_ref()
            .is_some_and(|text| column::COMMENT_CHARS_MAX < text.chars().count())
        {
            warnings.push(format!("the comment of column \"{name}\" is cut to MySQL's length"));
        }
    }
    let comment = table.comment.as_ref().map_or(0, |text| text.chars().count());
    if TABLE_COMMENT_CHARS_MAX < comment {
        warnings.push("the table's comment is cut to MySQL's length".to_owned());
    }
}

/// MySQL's longest table comment, in characters.
const TABLE_COMMENT_CHARS_MAX: usize = 2048;

fn checks(table: &Table, names: &mut Names, warnings: &mut Vec<String>) -> Vec<String> {
    let mut parts = Vec::new();
    let own = table.checks.iter().map(|check| {
        let body = expression::check_body(&check.definition);
        (check.name.clone(), body.and_then(|body| expression::translate(body, &table.columns)))
    });
    let domains = table.columns.iter().flat_map(|column| {
        column.domain_checks.iter().map(move |check| {
            let body = expression::check_body(&check.definition);
            let translated = body.and_then(|body| expression::translate_domain(body, column));
            (format!("{}_{}", column.name, check.name), translated)
        })
    });
    let cascades = foreign::cascading_columns(table);
    for (name, translated) in own.chain(domains) {
        match translated {
            // MySQL allows no CHECK on a column that a foreign key's action writes (3823).
            Some(sql) if cascades.iter().any(|name| sql.contains(&quote_mysql(name))) => {
                warnings.push(format!(
                    "CHECK \"{name}\" is left out: a foreign key's action writes its column"
                ));
            }
            Some(sql) => {
                let name = names.take(table, &name);
                parts.push(format!("CONSTRAINT {} CHECK ({sql})", quote_mysql(&name)));
            }
            None => warnings
                .push(format!("constraint \"{name}\" is left out: MySQL has no equal for it")),
        }
    }
    parts
}

/// Names of constraints, which MySQL wants unique in a database and without regard to case.
#[derive(Debug, Default)]
pub(super) struct Names(HashSet<String>);

impl Names {
    /// The constraint's own name, or one with the table in front if that is taken.
    fn take(&mut self, table: &Table, name: &str) -> String {
        let plain = shorten(name);
        if self.0.insert(plain.to_lowercase()) {
            return plain;
        }
        let mut long = shorten(&format!("{}_{name}", table.target));
        while !self.0.insert(long.to_lowercase()) {
            long = shorten(&format!("{long}_"));
        }
        long
    }
}

/// A string literal under `NO_BACKSLASH_ESCAPES`.
#[must_use]
pub fn quote_text(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

#[cfg(test)]
mod tests;
