//! A text of a program with its values put in: SQL with question marks, and parameters.
//!
//! ```text
//! Text + parameters of the client + sets kept by earlier steps ──[`Places::fill`]──▶ (sql, params)
//! ```
//!
//! Invariant: no value becomes SQL. A text that names an empty set is not run ([`None`]).

use mysql_async::Value as Param;
use rand::Rng as _;

use crate::answer::error::PgError;
use crate::dialect::Type;
use crate::dialect::program::{Form, Piece, Program, Set, Slot, Source, TableColumn, Text};
use crate::value::{Array, Flavor, TargetType, Value};

/// MySQL's bound for one statement.
const PARAMETERS_MAX: usize = 65_535;
/// Rows that one statement may keep between its steps.
const KEPT_ROWS_MAX: usize = 100_000;

/// Rows that a step kept.
pub(super) type Rows = Vec<Vec<Param>>;

/// All that values come from, for one run of a program.
pub(super) struct Places<'a> {
    flavor: Flavor,
    /// The client's, decoded at Bind.
    values: &'a [Value],
    /// The transaction's time, in microseconds since 2000-01-01 UTC.
    now: i64,
    uuids: Vec<[u8; 16]>,
    sets: Vec<Rows>,
    /// Upserts that found a row, by their `found`.
    replaced: Vec<bool>,
    kept: usize,
}

impl<'a> Places<'a> {
    pub(super) fn new(program: &Program, values: &'a [Value], now: i64, flavor: Flavor) -> Self {
        let uuids = (0..program.uuids).map(|_| random_uuid()).collect();
        let sets = vec![Rows::new(); program.sets];
        let replaced = vec![false; program.sets];
        Self { flavor, values, now, uuids, sets, replaced, kept: 0 }
    }

    pub(super) fn set(&self, set: Set) -> &Rows {
        &self.sets[set]
    }

    /// A set's rows, to which more are to come.
    pub(super) fn take(&mut self, set: Set) -> Rows {
        std::mem::take(&mut self.sets[set])
    }

    /// Puts rows in a set's place.
    pub(super) fn keep(&mut self, set: Set, rows: Rows) -> Result<(), PgError> {
        self.kept += rows.len();
        if KEPT_ROWS_MAX < self.kept {
            return Err(too_many());
        }
        self.sets[set] = rows;
        Ok(())
    }

    pub(super) fn set_replaced(&mut self, set: Set, replaced: bool) {
        self.replaced[set] = replaced;
    }

    /// The text's SQL and its parameters.
    pub(super) fn fill(&self, text: &Text) -> Result<Option<(String, Vec<Param>)>, PgError> {
        let fixed = |piece: &Piece| if let Piece::Sql(sql) = piece { sql.len() } else { 1 };
        let length = text.0.iter().map(fixed).sum();
        let mut filled = Filled { sql: String::with_capacity(length), params: Vec::new() };
        if !self.push(text, &mut filled)? {
            return Ok(None);
        }
        if PARAMETERS_MAX < filled.params.len() {
            return Err(too_many());
        }
        Ok(Some((filled.sql, filled.params)))
    }

    /// False where a set that it names is empty.
    fn push(&self, text: &Text, out: &mut Filled) -> Result<bool, PgError> {
        for piece in &text.0 {
            match piece {
                Piece::Sql(sql) => out.sql.push_str(sql),
                Piece::Value(slot) => out.value(self.param(slot)?),
                Piece::Any { left, array, array_type, element, negated } => {
                    let array = self.value(array, array_type)?;
                    if !self.any(left, &array, element, *negated, out)? {
                        return Ok(false);
                    }
                }
                Piece::WithoutKeys { document, object } => {
                    if !self.without_keys(document, object, out)? {
                        return Ok(false);
                    }
                }
                Piece::Keys { set, at } => {
                    let rows = &self.sets[*set];
                    if rows.is_empty() {
                        return Ok(false);
                    }
                    out.list(rows, |out, row| out.keys(&cells(row, at)));
                }
                Piece::Outside { left, set, width } => {
                    let rows = &self.sets[*set];
                    if rows.is_empty() {
                        out.sql.push_str("TRUE");
                        continue;
                    }
                    if !self.push(left, out)? {
                        return Ok(false);
                    }
                    out.sql.push_str(" NOT IN (");
                    out.list(rows, |out, row| out.keys(&row[..(*width).min(row.len())]));
                    out.sql.push(')');
                }
                Piece::Rows { set, extra } => {
                    let rows = &self.sets[*set];
                    if rows.is_empty() {
                        return Ok(false);
                    }
                    let mut fine = true;
                    for (at, row) in rows.iter().enumerate() {
                        out.sql.push_str(if at > 0 { ", (" } else { "(" });
                        out.list(row, |out, value| out.value(value.clone()));
                        fine &= self.push(extra, out)?;
                        out.sql.push(')');
                    }
                    if !fine {
                        return Ok(false);
                    }
                }
                Piece::Table { set, at, columns } => {
                    let rows: Rows = self.sets[*set].iter().map(|row| cells(row, at)).collect();
                    out.table(&rows, columns);
                }
            }
        }
        Ok(true)
    }

    /// The document without the keys that the object has.
    fn without_keys(
        &self,
        document: &Text,
        object: &Source,
        out: &mut Filled,
    ) -> Result<bool, PgError> {
        let ty = jsonb();
        let keys: Vec<String> = match self.value(object, &ty)? {
            Value::Jsonb(text) | Value::Json(text) => match serde_json::from_str(&text) {
                Ok(serde_json::Value::Object(fields)) => fields.keys().cloned().collect(),
                _ => Vec::new(),
            },
            _ => Vec::new(),
        };
        out.sql.push_str(if keys.is_empty() { "" } else { "JSON_REMOVE(" });
        if !self.push(document, out)? {
            return Ok(false);
        }
        for key in &keys {
            out.sql.push_str(", ");
            out.value(Param::Bytes(format!("$.{}", quoted(key)).into_bytes()));
        }
        out.sql.push_str(if keys.is_empty() { "" } else { ")" });
        Ok(true)
    }

    fn any(
        &self,
        left: &Text,
        array: &Value,
        element: &TargetType,
        negated: bool,
        out: &mut Filled,
    ) -> Result<bool, PgError> {
        let Value::Array(Array { elements, .. }) = array else {
            out.sql.push_str("NULL");
            return Ok(true);
        };
        if elements.is_empty() {
            out.sql.push_str(if negated { "TRUE" } else { "FALSE" });
            return Ok(true);
        }
        if !self.push(left, out)? {
            return Ok(false);
        }
        out.sql.push_str(if negated { " NOT IN (" } else { " IN (" });
        let params: Vec<Param> = elements
            .iter()
            .map(|value| value.to_mysql(element, self.flavor))
            .collect::<Result<_, _>>()?;
        out.list(&params, |out, param| out.value(param.clone()));
        out.sql.push(')');
        Ok(true)
    }

    /// One slot's parameter.
    pub(super) fn param(&self, slot: &Slot) -> Result<Param, PgError> {
        if let Source::Cell { set, column } = &slot.source {
            let row = self.sets[*set].first();
            return Ok(row.and_then(|row| row.get(*column)).cloned().unwrap_or(Param::NULL));
        }
        let value = self.value(&slot.source, &slot.ty)?;
        let value = assigned(value, &slot.ty)?;
        self.formed(&value, &slot.form)
    }

    fn value(&self, source: &Source, ty: &Type) -> Result<Value, PgError> {
        Ok(match source {
            Source::Parameter(at) => self.values.get(*at).cloned().unwrap_or(Value::Null),
            Source::Constant(value) => value.clone(),
            Source::Now => Value::TimestampTz(self.now),
            Source::Clock => Value::TimestampTz(clock()),
            Source::Uuid(at) => Value::Uuid(self.uuids[*at]),
            Source::Replaced(set) => Value::Int(self.replaced[*set].into()),
            Source::Zip(arrays) => self.zip(arrays)?,
            Source::Cell { .. } => {
                let oid = ty.oid;
                return Err(PgError::internal(format!(
                    "a kept value of type {oid} is out of place"
                )));
            }
        })
    }

    /// `[[1, "a"], [2, null]]`
    fn zip(&self, arrays: &[(Box<Source>, Type)]) -> Result<Value, PgError> {
        let mut columns = Vec::with_capacity(arrays.len());
        for (source, ty) in arrays {
            columns.push(match self.value(source, ty)? {
                Value::Array(array) => array.elements,
                _ => Vec::new(),
            });
        }
        let length = columns.iter().map(Vec::len).max().unwrap_or(0);
        let mut text = String::from("[");
        for at in 0..length {
            text.push_str(if at > 0 { ", [" } else { "[" });
            for (number, column) in columns.iter().enumerate() {
                text.push_str(if number > 0 { ", " } else { "" });
                text.push_str(&self.member(column.get(at).unwrap_or(&Value::Null))?);
            }
            text.push(']');
        }
        text.push(']');
        Ok(Value::Json(text))
    }

    /// A value as a member of a JSON array.
    fn member(&self, value: &Value) -> Result<String, PgError> {
        let array = Array { dimensions: vec![(1, 1)], elements: vec![value.clone()] };
        let list = Value::Array(array).to_mysql(&TargetType::LongText, self.flavor)?;
        let Param::Bytes(list) = list else { return Err(PgError::internal("a list is no text")) };
        let list = String::from_utf8_lossy(&list).into_owned();
        let inner = list.strip_prefix('[').and_then(|list| list.strip_suffix(']'));
        Ok(inner.unwrap_or("null").to_owned())
    }

    fn formed(&self, value: &Value, form: &Form) -> Result<Param, PgError> {
        match (value, form) {
            (Value::Null, Form::Limit) => return Ok(Param::UInt(u64::MAX)),
            (Value::Null, Form::Offset) => return Ok(Param::Int(0)),
            (Value::Null, _) => return Ok(Param::NULL),
            _ => {}
        }
        let text = |text: String| Ok(Param::Bytes(text.into_bytes()));
        let odd = || PgError::internal("a value does not have the form that its place needs");
        match (form, value) {
            (Form::Column(target), value) => Ok(value.to_mysql(target, self.flavor)?),
            (Form::PathStep, Value::Text(key)) => text(format!("$.{}", quoted(key))),
            (Form::PathStep, Value::Int(at)) => text(format!("${}", position(*at))),
            (Form::Path, Value::Array(array)) => text(path(array)),
            (Form::Limit, Value::Int(count)) if *count < 0 => {
                Err(PgError::new("2201W", "LIMIT must not be negative"))
            }
            (Form::Offset, Value::Int(count)) if *count < 0 => {
                Err(PgError::new("2201X", "OFFSET must not be negative"))
            }
            (Form::Limit | Form::Offset, Value::Int(count)) => Ok(Param::Int(*count)),
            // As PostgreSQL compares them: a month has 30 days, a day 24 hours.
            (Form::Micros, Value::Interval { months, days, micros }) => {
                let days = i64::from(*months) * 30 + i64::from(*days);
                let all = days.checked_mul(86_400_000_000).and_then(|d| d.checked_add(*micros));
                all.map(Param::Int).ok_or_else(|| PgError::new("22008", "interval out of range"))
            }
            (Form::ClockMicros, Value::Interval { micros, .. }) => Ok(Param::Int(*micros)),
            (Form::Months, Value::Interval { months, .. }) => Ok(Param::Int((*months).into())),
            (Form::Days, Value::Interval { days, .. }) => Ok(Param::Int((*days).into())),
            _ => Err(odd()),
        }
    }
}

struct Filled {
    sql: String,
    params: Vec<Param>,
}

impl Filled {
    fn value(&mut self, param: Param) {
        self.sql.push('?');
        self.params.push(param);
    }

    fn list<T>(&mut self, items: &[T], mut push: impl FnMut(&mut Self, &T)) {
        for (at, item) in items.iter().enumerate() {
            self.sql.push_str(if at > 0 { ", " } else { "" });
            push(self, item);
        }
    }

    fn keys(&mut self, key: &[Param]) {
        if key.len() == 1 {
            return self.list(key, |out, value| out.value(value.clone()));
        }
        self.sql.push('(');
        self.list(key, |out, value| out.value(value.clone()));
        self.sql.push(')');
    }

    /// `SELECT CAST(? AS …) AS `a` UNION ALL SELECT CAST(? AS …)`
    fn table(&mut self, rows: &Rows, columns: &[TableColumn]) {
        let nothing = vec![vec![Param::NULL; columns.len()]];
        for (at, row) in if rows.is_empty() { &nothing } else { rows }.iter().enumerate() {
            self.sql.push_str(if at > 0 { " UNION ALL SELECT " } else { "SELECT " });
            let cells: Vec<_> = columns.iter().zip(row).collect();
            self.list(&cells, |out, (column, value)| {
                match &column.cast {
                    Some(cast) => {
                        out.sql.push_str("CAST(");
                        out.value((*value).clone());
                        out.sql.push_str(&format!(" AS {cast})"));
                    }
                    None => out.value((*value).clone()),
                }
                if at == 0 {
                    out.sql.push_str(" AS ");
                    out.sql.push_str(&crate::names::quote_mysql(&column.name));
                }
            });
        }
        if rows.is_empty() {
            self.sql.push_str(" FROM DUAL WHERE FALSE");
        }
    }
}

fn jsonb() -> Type {
    Type { oid: 3802, typmod: -1, kind: crate::value::PgType::Jsonb }
}

/// Some cells of a row.
fn cells(row: &[Param], at: &[usize]) -> Vec<Param> {
    at.iter().map(|at| row.get(*at).cloned().unwrap_or(Param::NULL)).collect()
}

fn too_many() -> PgError {
    PgError::new("54000", "one statement touches too many rows to be carried out in steps")
}

/// `"key"` as a step of a path.
fn quoted(key: &str) -> String {
    format!("\"{}\"", key.replace('\\', "\\\\").replace('"', "\\\""))
}

/// `[2]`, or counted from the end.
fn position(at: i64) -> String {
    match at {
        -1 => "[last]".to_owned(),
        negative if negative < 0 => format!("[last-{}]", -(negative + 1)),
        at => format!("[{at}]"),
    }
}

fn path(array: &Array) -> String {
    let mut path = String::from("$");
    for element in &array.elements {
        let Value::Text(step) = element else { continue };
        match step.parse::<i64>() {
            Ok(at) => path.push_str(&position(at)),
            Err(_) => {
                path.push('.');
                path.push_str(&quoted(step));
            }
        }
    }
    path
}

/// RFC 4122, version 4.
fn random_uuid() -> [u8; 16] {
    let mut bytes: [u8; 16] = rand::rng().random();
    bytes[6] = bytes[6] & 0x0f | 0x40;
    bytes[8] = bytes[8] & 0x3f | 0x80;
    bytes
}

/// An instant that is written as a date or a local time is one in UTC.
fn assigned(value: Value, ty: &Type) -> Result<Value, PgError> {
    Ok(crate::dialect::assign(value, ty)?)
}

/// The present, in microseconds since 2000-01-01 UTC.
pub(super) fn clock() -> i64 {
    const FROM_1970: i64 = 946_684_800_000_000;
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    since.map_or(0, |since| i64::try_from(since.as_micros()).unwrap_or(i64::MAX)) - FROM_1970
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::value::PgType;

    fn ty(name: &str) -> Type {
        let (oid, kind) = PgType::named(name).unwrap();
        Type { oid, typmod: -1, kind }
    }

    fn slot(at: usize, target: TargetType) -> Piece {
        let form = Form::Column(target);
        Piece::Value(Slot { source: Source::Parameter(at), ty: ty("int4"), form })
    }

    fn places<'a>(values: &'a [Value], sets: &[Rows]) -> Places<'a> {
        let program = Program { sets: sets.len(), uuids: 1, ..Program::default() };
        let mut places = Places::new(&program, values, 0, Flavor::MySql);
        for (at, rows) in sets.iter().enumerate() {
            places.keep(at, rows.clone()).unwrap();
        }
        places
    }

    #[track_caller]
    fn fills(places: &Places<'_>, pieces: Vec<Piece>, sql: Option<&str>, count: usize) {
        let filled = places.fill(&Text(pieces)).unwrap();
        assert_eq!(filled.as_ref().map(|(sql, _)| sql.as_str()), sql);
        assert_eq!(filled.map_or(0, |(_, params)| params.len()), count);
    }

    #[test]
    fn every_value_is_a_question_mark() {
        let rows = vec![vec![Param::Int(1), Param::Int(2)], vec![Param::Int(3), Param::Int(4)]];
        let values = [Value::Int(7)];
        let places = places(&values, &[rows, Rows::new()]);
        let sql = |text: &str| Piece::Sql(text.to_owned());
        fills(&places, vec![sql("SELECT "), slot(0, TargetType::Int)], Some("SELECT ?"), 1);
        let keys = |set, at: &[usize]| Piece::Keys { set, at: at.to_vec() };
        fills(&places, vec![keys(0, &[1])], Some("?, ?"), 2);
        fills(&places, vec![keys(0, &[0, 1])], Some("(?, ?), (?, ?)"), 4);
        fills(&places, vec![keys(1, &[0])], None, 0);
        let outside = |set| Piece::Outside { left: Box::new(Text::sql("a")), set, width: 1 };
        fills(&places, vec![outside(0)], Some("a NOT IN (?, ?)"), 2);
        fills(&places, vec![outside(1)], Some("TRUE"), 0);
        let extra = Box::new(Text(vec![sql(", "), slot(0, TargetType::Int)]));
        fills(&places, vec![Piece::Rows { set: 0, extra }], Some("(?, ?, ?), (?, ?, ?)"), 6);
        let column = |name: &str, cast: Option<&str>| TableColumn {
            name: name.to_owned(),
            cast: cast.map(str::to_owned),
        };
        let columns = vec![column("a", Some("SIGNED")), column("b", None)];
        fills(
            &places,
            vec![Piece::Table { set: 0, at: vec![0, 1], columns: columns.clone() }],
            Some("SELECT CAST(? AS SIGNED) AS `a`, ? AS `b` UNION ALL SELECT CAST(? AS SIGNED), ?"),
            4,
        );
        fills(
            &places,
            vec![Piece::Table { set: 1, at: vec![0, 1], columns }],
            Some("SELECT CAST(? AS SIGNED) AS `a`, ? AS `b` FROM DUAL WHERE FALSE"),
            2,
        );
    }

    #[test]
    fn any_becomes_a_list_or_what_no_list_can_say() {
        let array = |elements: Vec<Value>| {
            let length = i32::try_from(elements.len()).unwrap();
            Value::Array(Array { dimensions: vec![(length, 1)], elements })
        };
        for (value, negated, sql, count) in [
            (array(vec![Value::Int(1), Value::Null]), false, "a IN (?, ?)", 2),
            (array(vec![Value::Int(1)]), true, "a NOT IN (?)", 1),
            (array(Vec::new()), false, "FALSE", 0),
            (array(Vec::new()), true, "TRUE", 0),
            (Value::Null, false, "NULL", 0),
        ] {
            let values = [value];
            let piece = Piece::Any {
                left: Box::new(Text::sql("a")),
                array: Source::Parameter(0),
                array_type: ty("int4"),
                element: TargetType::Int,
                negated,
            };
            fills(&places(&values, &[]), vec![piece], Some(sql), count);
        }
    }

    #[test]
    fn paths_are_quoted_and_counted_from_either_end() {
        assert_eq!(quoted("a\"b\\"), "\"a\\\"b\\\\\"");
        assert_eq!(
            (position(-1), position(-3), position(2)),
            ("[last]".into(), "[last-2]".into(), "[2]".into())
        );
        let steps = ["a", "1", "x y"].map(|step| Value::Text(step.to_owned()));
        let array = Array { dimensions: vec![(3, 1)], elements: steps.to_vec() };
        assert_eq!(path(&array), "$.\"a\"[1].\"x y\"");
    }

    #[test]
    fn arrays_side_by_side_become_one_list_of_lists() {
        let array = |elements: Vec<Value>| Value::Array(Array { dimensions: vec![], elements });
        let values =
            [array(vec![Value::Int(1), Value::Int(2)]), array(vec![Value::Text("a\"".to_owned())])];
        let places = places(&values, &[]);
        let arrays = [0, 1].map(|at| (Box::new(Source::Parameter(at)), ty("int4")));
        let zipped = places.value(&Source::Zip(arrays.to_vec()), &ty("json")).unwrap();
        assert!(zipped == Value::Json("[[1, \"a\\\"\"], [2, null]]".to_owned()));
    }
}
