//! Errors as PostgreSQL reports them, made of what MySQL says and what the catalogue knows.
//!
//! ```text
//! 1062 "… for key 'users.users_email_key'" ──[`PgError::of_mysql`]──▶ 23505, constraint, table, DETAIL
//! ```
//!
//! Invariant: the SQLSTATE is the one that PostgreSQL has for the same fault, or XX000 where MySQL
//! complains of SQL that we wrote. MySQL's own message, which quotes values, goes nowhere; of it names
//! are taken that the catalogue has, and the value of a duplicate key.

use bytes::BytesMut;

use crate::catalog::naming::shorten;
use crate::catalog::{Catalog, Column, Table, Unique};
use crate::dialect::Refused;
use crate::value::input::InputError;
use crate::value::style::Style;
use crate::value::{Unrepresentable, Value};
use crate::wire::write;

/// Longest construct that is kept, in bytes.
const CONSTRUCT_MAX: usize = 200;
/// MySQL may have cut a duplicate value that is as long as this.
const ENTRY_CHARS_MAX: usize = 63;

/// An ErrorResponse of severity ERROR. Printed without what may quote a value.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct PgError {
    pub code: &'static str,
    pub message: String,
    pub detail: Option<String>,
    pub hint: Option<String>,
    /// Boxed, so that results with an error in them stay small.
    pub named: Option<Box<Named>>,
    /// MySQL has undone the whole transaction, savepoints included.
    pub undone: bool,
    /// The session ends with it.
    pub fatal: bool,
}

/// What an error is about, in PostgreSQL's names.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Named {
    pub schema: Option<String>,
    pub table: Option<String>,
    pub column: Option<String>,
    pub constraint: Option<String>,
    /// MySQL's name of the unique key that was violated.
    pub key: Option<String>,
}

impl std::fmt::Debug for PgError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PgError")
            .field("code", &self.code)
            .field("named", &self.named)
            .finish_non_exhaustive()
    }
}

/// What a failed statement was about.
#[derive(Clone, Copy, Debug)]
pub struct About<'a> {
    pub catalog: &'a Catalog,
    /// The table that was written, if one was.
    pub table: Option<&'a Table>,
}

/// MySQL does not say what it was.
pub(super) const READ_ONLY: &str = "cannot execute a write in a read-only transaction";

impl PgError {
    #[must_use]
    pub fn new(code: &'static str, message: impl Into<String>) -> Self {
        Self { code, message: message.into(), ..Self::default() }
    }

    /// A construct that is not served while MySQL answers.
    #[must_use]
    pub fn unsupported(what: &str) -> Self {
        Self::new("0A000", format!("{what} is not supported while MySQL answers"))
    }

    /// What was not served, in words that hold no value; nothing where it is another error.
    #[must_use]
    pub fn construct(&self) -> Option<&str> {
        if self.code != "0A000" {
            return None;
        }
        // The one message of ours that begins with what the client has sent.
        if self.message.contains("\" for parameter \"") {
            return Some("this value of a parameter");
        }
        let construct = self
            .message
            .trim_end_matches(" cannot be translated for MySQL")
            .trim_end_matches(" is not supported while MySQL answers");
        let mut ends = (0..=CONSTRUCT_MAX.min(construct.len())).rev();
        let end = ends.find(|at| construct.is_char_boundary(*at));
        Some(&construct[..end.unwrap_or(0)])
    }

    /// Something that should have been impossible.
    #[must_use]
    pub fn internal(what: impl Into<String>) -> Self {
        Self::new("XX000", what)
    }

    #[must_use]
    pub fn detail(mut self, detail: impl Into<String>) -> Self {
        self.detail = Some(detail.into());
        self
    }

    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    #[must_use]
    pub fn fatal(mut self) -> Self {
        self.fatal = true;
        self
    }

    fn names(&mut self) -> &mut Named {
        self.named.get_or_insert_default()
    }

    /// MySQL's name of the unique key that was violated.
    pub(super) fn key(&self) -> Option<&String> {
        self.named.as_ref()?.key.as_ref()
    }

    fn of_table(mut self, table: &Table) -> Self {
        self.names().schema = Some(table.name.schema().to_owned());
        self.names().table = Some(table.name.name().to_owned());
        self
    }

    fn of_constraint(mut self, name: &str) -> Self {
        self.names().constraint = Some(name.to_owned());
        self
    }

    fn of_column(mut self, name: &str) -> Self {
        self.names().column = Some(name.to_owned());
        self
    }

    /// Appends the message as the client gets it.
    pub fn encode(&self, out: &mut BytesMut) {
        let severity = if self.fatal { "FATAL" } else { "ERROR" };
        let nothing = Named::default();
        let named = self.named.as_deref().unwrap_or(&nothing);
        let fields = [
            (b'S', severity),
            (b'V', severity),
            (b'C', self.code),
            (b'M', self.message.as_str()),
            (b'D', self.detail.as_deref().unwrap_or_default()),
            (b'H', self.hint.as_deref().unwrap_or_default()),
            (b's', named.schema.as_deref().unwrap_or_default()),
            (b't', named.table.as_deref().unwrap_or_default()),
            (b'c', named.column.as_deref().unwrap_or_default()),
            (b'n', named.constraint.as_deref().unwrap_or_default()),
        ];
        write::error_fields(out, &fields);
    }

    /// What a driver's error means. Anything but the server's word ends the session.
    #[must_use]
    pub fn of_driver(error: mysql_async::Error, about: About<'_>) -> Self {
        match error {
            mysql_async::Error::Server(server) => {
                Self::of_mysql(server.code, &server.message, about)
            }
            _ => Self::new("08006", "lost connection to the database server").fatal(),
        }
    }

    /// What an error of the server's means, by its number.
    #[must_use]
    pub fn of_mysql(code: u16, message: &str, about: About<'_>) -> Self {
        match code {
            1062 | 1586 | 1761 | 1762 => duplicate(message, about),
            1452 | 1216 => orphan(message, about),
            1451 | 1217 => still_referenced(message, about),
            1048 | 1364 => missing(message, about),
            3819 | 4025 => violated(message, about),
            1406 => too_long(message, about),
            1264 | 1690 | 1367 => {
                let name = column(message, about).map(|column| column.type_name.clone());
                match name.as_deref() {
                    Some(name @ ("smallint" | "integer" | "bigint")) => {
                        Self::new("22003", format!("{name} out of range"))
                    }
                    Some(name) if name.starts_with("numeric") => {
                        Self::new("22003", "numeric field overflow")
                    }
                    _ => Self::new("22003", "value out of range"),
                }
            }
            1265 | 1366 => Self::new("22P02", "invalid input value"),
            1292 => Self::new("22007", "invalid input syntax for a date or time"),
            3140 | 3141 | 3143 | 4036..=4038 => {
                Self::new("22P02", "invalid input syntax for type json")
            }
            1365 => Self::new("22012", "division by zero"),
            1242 => {
                Self::new("21000", "more than one row returned by a subquery used as an expression")
            }
            1213 => Self { undone: true, ..Self::new("40P01", "deadlock detected") },
            3058 => Self::new("40P01", "deadlock detected"),
            1205 => Self::new("55P03", "canceling statement due to lock timeout"),
            3572 => Self::new("55P03", "could not obtain lock on row"),
            1020 => Self::new("40001", "could not serialize access due to concurrent update"),
            1317 => Self::new("57014", "canceling statement due to user request"),
            3024 | 1969 => Self::new("57014", "canceling statement due to statement timeout"),
            1146 | 1051 => Self::new("42P01", "relation does not exist"),
            1054 => Self::new("42703", "column does not exist"),
            1305 => Self::new("42883", "function does not exist"),
            1290 | 1836 => Self::new("25006", "the database server is read-only"),
            1792 => Self::new("25006", READ_ONLY),
            1461 => Self::new("53400", "MySQL's max_prepared_stmt_count is reached"),
            1040 | 1203 | 1226 => Self::new("53300", "sorry, too many clients already"),
            1021 | 1114 => Self::new("53100", "could not extend file: no space left on device"),
            1037 | 1038 | 1041 => Self::new("53200", "out of memory"),
            1153 | 1301 => Self::new("54000", "value is larger than max_allowed_packet of MySQL"),
            1142 | 1143 | 1044 | 1045 => Self::new("42501", "permission denied on MySQL"),
            1049 => Self::new("3D000", "database does not exist on MySQL"),
            1053 | 1927 | 2006 | 2013 | 3169 => {
                Self::new("57P01", "terminating connection due to administrator command").fatal()
            }
            _ => Self::internal(format!("MySQL refused a translated statement with error {code}")),
        }
    }
}

impl From<InputError> for PgError {
    fn from(error: InputError) -> Self {
        Self { detail: error.detail, ..Self::new(error.code, error.message) }
    }
}

impl From<Refused> for PgError {
    fn from(refused: Refused) -> Self {
        Self::new(refused.code, refused.message)
    }
}

impl From<Unrepresentable> for PgError {
    fn from(error: Unrepresentable) -> Self {
        match error.reason {
            "longer than its column" => Self::new("22001", "value too long for its column"),
            "more digits than its column" => Self::new("22003", "numeric field overflow"),
            _ => Self::new("0A000", error.to_string()),
        }
    }
}

/// The text between the last pair of quotes of this kind.
fn last_quoted(message: &str, quote: char) -> Option<&str> {
    let end = message.rfind(quote)?;
    let start = message[..end].rfind(quote)?;
    Some(&message[start + 1..end])
}

/// The column that a message names: MySQL's `column 'c'`, MariaDB's `` `db`.`t`.`c` ``.
fn column<'a>(message: &str, about: About<'a>) -> Option<&'a Column> {
    let (_, rest) = message.split_once("olumn ")?;
    let rest = rest.split(" at row").next()?.split(" cannot ").next()?;
    let name = rest.trim_end_matches(['\'', '`']).rsplit(['\'', '`']).next()?;
    about.table?.columns.iter().find(|column| column.name == name)
}

fn duplicate(message: &str, about: About<'_>) -> PgError {
    let key = last_quoted(message, '\'').unwrap_or_default();
    // MySQL puts the table in front.
    let tables = |name: &str| about.catalog.tables.values().find(|table| table.target == name);
    let (table, key) = match key.split_once('.') {
        Some((table, key)) if about.table.is_none_or(|own| own.target != table) => {
            (tables(table).map(|table| &**table).or(about.table), key)
        }
        Some((_, key)) => (about.table, key),
        None => (about.table, key),
    };
    let Some(table) = table else { return PgError::new("23505", "duplicate key value") };
    let mysql_key = Some(key.to_owned());
    let (name, columns) = match table.uniques.iter().find(|unique| shorten(&unique.name) == key) {
        Some(unique) => (unique.name.clone(), Some(&unique.columns).filter(|_| is_plain(unique))),
        None => (primary_key(table), Some(&table.key)),
    };
    let text = format!("duplicate key value violates unique constraint \"{name}\"");
    let mut error = PgError::new("23505", text).of_table(table).of_constraint(&name);
    error.names().key = mysql_key;
    let entry = message.split_once("entry '").and_then(|(_, rest)| rest.rsplit_once("' for key"));
    if let (Some(columns), Some((entry, _))) = (columns, entry)
        && let Some(values) = split_entry(entry, table, columns)
    {
        let names: Vec<&str> = columns.iter().map(|at| table.columns[*at].name.as_str()).collect();
        let detail = format!("Key ({})=({}) already exists.", names.join(", "), values.join(", "));
        error.detail = Some(detail);
    }
    error
}

fn is_plain(unique: &Unique) -> bool {
    unique.predicate.is_none() && unique.expressions.is_none() && !unique.nulls_not_distinct
}

/// PostgreSQL's own choice of a name, which most schemas keep.
fn primary_key(table: &Table) -> String {
    let bare = |unique: &&Unique| unique.columns == table.key && is_plain(unique);
    let named = table.uniques.iter().find(bare).map(|unique| unique.name.clone());
    named.unwrap_or_else(|| format!("{}_pkey", table.name.name()))
}

/// The values of a duplicate entry, which MySQL joins with hyphens; `None` where they can be cut in
/// more ways than one, or may have been cut off.
fn split_entry(entry: &str, table: &Table, columns: &[usize]) -> Option<Vec<String>> {
    if ENTRY_CHARS_MAX < entry.chars().count() {
        return None;
    }
    let mut found = Vec::new();
    let mut ways = 0;
    cut(entry, table, columns, &mut Vec::new(), &mut found, &mut ways);
    (ways == 1).then_some(found)
}

fn cut(
    entry: &str,
    table: &Table,
    columns: &[usize],
    taken: &mut Vec<String>,
    found: &mut Vec<String>,
    ways: &mut usize,
) {
    let Some((first, others)) = columns.split_first() else { return };
    if others.is_empty() {
        if let Some(value) = shown(entry, &table.columns[*first]) {
            *ways += 1;
            found.clone_from(taken);
            found.push(value);
        }
        return;
    }
    for (at, _) in entry.match_indices('-') {
        if let Some(value) = shown(&entry[..at], &table.columns[*first]) {
            taken.push(value);
            cut(&entry[at + 1..], table, others, taken, found, ways);
            taken.pop();
        }
    }
}

/// A value as PostgreSQL prints it; `None` where the text is none of the type.
fn shown(text: &str, column: &Column) -> Option<String> {
    let param = mysql_async::Value::Bytes(text.as_bytes().to_vec());
    let value = Value::of_result(param, &column.type_ref.pg_type)?;
    let mut out = String::new();
    value.print(&Style::default(), &mut out);
    Some(out)
}

/// The names in "CONSTRAINT `x` FOREIGN KEY (`a`, `b`) REFERENCES `p`", and the child's in front.
struct ForeignNames<'a> {
    child: &'a str,
    constraint: &'a str,
    columns: Vec<&'a str>,
}

fn foreign_names(message: &str) -> Option<ForeignNames<'_>> {
    let (front, rest) = message.split_once("CONSTRAINT `")?;
    let (constraint, rest) = rest.split_once('`')?;
    let (_, rest) = rest.split_once("FOREIGN KEY (")?;
    let (columns, _) = rest.split_once(')')?;
    let columns = columns.split(", ").map(|name| name.trim_matches('`')).collect();
    // `database`.`table`,
    let child = front.rsplit('`').nth(1)?;
    Some(ForeignNames { child, constraint, columns })
}

/// Child, name of the constraint in PostgreSQL, and parent. The columns tell which constraint it is:
/// its name in MySQL may have been made unique.
fn foreign<'a>(message: &str, about: About<'a>) -> Option<(&'a Table, String, Option<&'a Table>)> {
    let names = foreign_names(message)?;
    let tables = || about.catalog.tables.values();
    let child = tables().find(|table| table.target == names.child)?;
    let columns = |at: &Vec<usize>| -> Vec<&str> {
        let mut columns: Vec<&str> = at.iter().map(|at| child.columns[*at].name.as_str()).collect();
        columns.sort_unstable();
        columns
    };
    let mut wanted = names.columns.clone();
    wanted.sort_unstable();
    let mut fitting = child.foreign_keys.iter().filter(|key| columns(&key.columns) == wanted);
    let exact = child.foreign_keys.iter().find(|key| key.name == names.constraint);
    let key = exact.or_else(|| fitting.next())?;
    Some((child, key.name.clone(), about.catalog.table(key.references).map(|table| &**table)))
}

fn orphan(message: &str, about: About<'_>) -> PgError {
    let Some((child, name, _)) = foreign(message, about) else {
        return PgError::new("23503", "insert or update violates a foreign key constraint");
    };
    let table = child.name.name();
    let text =
        format!("insert or update on table \"{table}\" violates foreign key constraint \"{name}\"");
    PgError::new("23503", text).of_table(child).of_constraint(&name)
}

fn still_referenced(message: &str, about: About<'_>) -> PgError {
    let Some((child, name, parent)) = foreign(message, about) else {
        return PgError::new("23503", "update or delete violates a foreign key constraint");
    };
    let table = child.name.name();
    let parent = parent.or(about.table).map(|table| table.name.name()).unwrap_or_default();
    let text = format!(
        "update or delete on table \"{parent}\" violates foreign key constraint \"{name}\" on table \"{table}\""
    );
    PgError::new("23503", text).of_table(child).of_constraint(&name)
}

fn missing(message: &str, about: About<'_>) -> PgError {
    // "Column 'c' cannot be null", "Field 'c' doesn't have a default value"
    let name = message.split('\'').nth(1).unwrap_or_default();
    let Some(table) = about.table else {
        let text = format!("null value in column \"{name}\" violates not-null constraint");
        return PgError::new("23502", text).of_column(name);
    };
    let relation = table.name.name();
    let text = format!(
        "null value in column \"{name}\" of relation \"{relation}\" violates not-null constraint"
    );
    PgError::new("23502", text).of_table(table).of_column(name)
}

fn violated(message: &str, about: About<'_>) -> PgError {
    // "Check constraint 'x' is violated.", "CONSTRAINT `x` failed for `database`.`table`"
    let mut quoted = message.split(['\'', '`']);
    let name = quoted.nth(1).unwrap_or_default();
    // MariaDB's own check of a json column is named after it: `table.column`.
    let named_after = |table: &Table| {
        table.columns.iter().any(|column| {
            name == format!("{}.{}", table.target, column.name) || name == column.name
        })
    };
    let own = about.table;
    if own.is_some_and(|table| !has_check(table, name) && named_after(table)) {
        return PgError::new("22P02", "invalid input syntax for type json");
    }
    let others = || about.catalog.tables.values().map(|table| &**table);
    let table = own.filter(|table| has_check(table, name));
    let table = table.or_else(|| others().find(|table| has_check(table, name))).or(own);
    let Some(table) = table else { return PgError::new("23514", "a check constraint is violated") };
    let name = check_name(table, name);
    let relation = table.name.name();
    let text = format!("new row for relation \"{relation}\" violates check constraint \"{name}\"");
    PgError::new("23514", text).of_table(table).of_constraint(&name)
}

fn checks(table: &Table) -> impl Iterator<Item = &str> {
    let domains = table.columns.iter().flat_map(|column| &column.domain_checks);
    table.checks.iter().chain(domains).map(|check| check.name.as_str())
}

/// In MySQL a CHECK's name is one of the whole database: the table may stand in front of it.
fn has_check(table: &Table, name: &str) -> bool {
    checks(table).any(|own| is_check(table, own, name))
}

fn is_check(table: &Table, own: &str, name: &str) -> bool {
    shorten(own) == name || shorten(&format!("{}_{own}", table.target)) == name
}

fn check_name(table: &Table, name: &str) -> String {
    let own = checks(table).find(|own| is_check(table, own, name));
    own.unwrap_or(name).to_owned()
}

fn too_long(message: &str, about: About<'_>) -> PgError {
    let Some(column) = column(message, about) else {
        return PgError::new("22001", "value too long for its column");
    };
    PgError::new("22001", format!("value too long for type {}", column.type_name))
}
