//! Results as PostgreSQL sends them: RowDescription, DataRow, CommandComplete.
//!
//! ```text
//! MySQL's row ──of_result(type)──▶ Value ──format──▶ DataRow ──▶ client, or kept for the portal's next turn
//! ```
//!
//! Invariant: rows leave as they come; no more than [`FLUSH`] bytes, and of a suspended portal no more
//! than its bound, wait here.

use bytes::{BufMut as _, BytesMut};
use mysql_async::Value as Param;

use crate::answer::bind::Format;
use crate::answer::error::PgError;
use crate::dialect::{ResultColumn, Type};
use crate::door::peer::Peer;
use crate::value::style::Style;
use crate::value::{PgType, Value, element_of};
use crate::wire::{self, write};

/// Bytes that wait before they are sent, where nobody asked for them yet.
const FLUSH: usize = 32 * 1024;

/// Why a statement stops.
#[derive(Debug)]
pub(super) enum Stop {
    Error(Box<PgError>),
    /// The client is gone.
    Client(std::io::Error),
}

impl From<PgError> for Stop {
    fn from(error: PgError) -> Self {
        Self::Error(Box::new(error))
    }
}

/// Rows of a portal that the client has not asked for yet, as whole messages.
#[derive(Debug, Default)]
pub(super) struct Kept {
    rows: BytesMut,
    bytes_max: usize,
}

impl Kept {
    pub(super) fn new(bytes_max: usize) -> Self {
        Self { rows: BytesMut::new(), bytes_max }
    }

    /// Moves rows to `out`, as many as wanted; returns how many there were.
    pub(super) fn give(&mut self, limit: u64, out: &mut BytesMut) -> u64 {
        let mut given = 0;
        while given < limit {
            let Ok(Some(header)) = wire::header(&self.rows) else { break };
            out.extend_from_slice(&self.rows.split_to(header.size));
            given += 1;
        }
        given
    }
}

/// Where rows go.
pub(super) struct Sink<'a> {
    pub(super) client: &'a mut Peer,
    pub(super) out: &'a mut BytesMut,
    pub(super) columns: &'a [ResultColumn],
    pub(super) formats: &'a [Format],
    pub(super) style: &'a Style,
    /// Rows that the client wants now.
    pub(super) wanted: u64,
    pub(super) kept: &'a mut Kept,
    /// Rows that went to the client.
    pub(super) sent: u64,
}

impl Sink<'_> {
    /// Takes one row, of which more columns than wanted are left out.
    pub(super) async fn row(&mut self, row: Vec<Param>) -> Result<(), Stop> {
        if self.sent < self.wanted {
            data_row(self.out, row, self.columns, self.formats, self.style)?;
            self.sent += 1;
            if FLUSH < self.out.len() {
                self.flush().await?;
            }
            return Ok(());
        }
        let kept = &mut *self.kept;
        data_row(&mut kept.rows, row, self.columns, self.formats, self.style)?;
        if kept.bytes_max < kept.rows.len() {
            let text = "a portal that is read in parts holds too many rows";
            return Err(PgError::new("54000", text)
                .hint("Fetch all rows at once, or fewer rows with LIMIT.")
                .into());
        }
        Ok(())
    }

    async fn flush(&mut self) -> Result<(), Stop> {
        self.client.stream.write_all(&self.out.split()).await.map_err(Stop::Client)
    }
}

/// RowDescription.
pub(super) fn description(out: &mut BytesMut, columns: &[ResultColumn], formats: &[Format]) {
    write::message(out, b'T', |out| {
        out.put_u16(u16::try_from(columns.len()).unwrap_or(u16::MAX));
        for (at, column) in columns.iter().enumerate() {
            let (table, number) = column.origin.unwrap_or((0, 0));
            out.put_slice(column.name.as_bytes());
            out.put_u8(0);
            out.put_u32(table);
            out.put_i16(number);
            out.put_u32(column.ty.oid);
            out.put_i16(size(&column.ty));
            out.put_i32(column.ty.typmod);
            out.put_u16(formats.get(at).map_or(0, |format| format.code()));
        }
    });
}

/// `pg_type.typlen`.
fn size(ty: &Type) -> i16 {
    match ty.kind {
        PgType::Bool => 1,
        PgType::Int2 => 2,
        PgType::Int4 | PgType::Oid | PgType::Float4 | PgType::Date | PgType::Enum(_) => 4,
        PgType::Macaddr => 6,
        PgType::Int8 | PgType::Float8 | PgType::Time | PgType::Timestamp | PgType::TimestampTz => 8,
        PgType::TimeTz => 12,
        PgType::Uuid | PgType::Interval => 16,
        PgType::Name => 64,
        PgType::Unsupported(_) => match ty.oid {
            VOID => 4,
            XID => 4,
            TID => 6,
            CHAR => 1,
            UNKNOWN => -2,
            _ => -1,
        },
        _ => -1,
    }
}

const VOID: u32 = 2278;
const XID: u32 = 28;
const TID: u32 = 27;
const CHAR: u32 = 18;
const UNKNOWN: u32 = 705;

/// ParameterDescription.
pub(super) fn parameters(out: &mut BytesMut, types: &[Type]) {
    write::message(out, b't', |out| {
        out.put_u16(u16::try_from(types.len()).unwrap_or(u16::MAX));
        types.iter().for_each(|ty| out.put_u32(ty.oid));
    });
}

/// DataRow of a row of MySQL's. What was appended of a row that fails is taken back.
pub(super) fn data_row(
    out: &mut BytesMut,
    row: Vec<Param>,
    columns: &[ResultColumn],
    formats: &[Format],
    style: &Style,
) -> Result<(), PgError> {
    let fields = row.into_iter().zip(columns).map(|(param, column)| {
        let mut value = Value::of_result(param, &column.ty.kind).ok_or_else(|| wrong(column))?;
        pad(&mut value, &column.ty);
        Ok(value)
    });
    push(out, fields, columns, formats, style)
}

/// DataRow of values.
pub(super) fn value_row(
    out: &mut BytesMut,
    row: &[Value],
    columns: &[ResultColumn],
    formats: &[Format],
    style: &Style,
) -> Result<(), PgError> {
    push(out, row.iter().cloned().map(Ok), columns, formats, style)
}

fn push(
    out: &mut BytesMut,
    fields: impl Iterator<Item = Result<Value, PgError>>,
    columns: &[ResultColumn],
    formats: &[Format],
    style: &Style,
) -> Result<(), PgError> {
    let start = out.len();
    let mut failed = None;
    write::message(out, b'D', |out| {
        out.put_u16(u16::try_from(columns.len()).unwrap_or(u16::MAX));
        let mut text = String::new();
        for ((value, column), format) in fields.zip(columns).zip(formats) {
            let pushed =
                value.and_then(|value| field(out, &value, column, *format, style, &mut text));
            if let Err(error) = pushed {
                failed = Some(error);
                break;
            }
        }
    });
    match failed {
        None => Ok(()),
        Some(error) => {
            out.truncate(start);
            Err(error)
        }
    }
}

fn wrong(column: &ResultColumn) -> PgError {
    let name = &column.name;
    PgError::internal(format!("MySQL's value of column \"{name}\" is not one of its type"))
}

fn field(
    out: &mut BytesMut,
    value: &Value,
    column: &ResultColumn,
    format: Format,
    style: &Style,
    text: &mut String,
) -> Result<(), PgError> {
    if *value == Value::Null {
        out.put_i32(-1);
        return Ok(());
    }
    let length = |length: usize| i32::try_from(length).map_err(|_| wrong(column));
    match (format, value, &column.ty.kind) {
        // What most columns are of, without a copy.
        (Format::Text, Value::Text(text), _)
        | (Format::Binary, Value::Text(text), PgType::Text) => {
            out.put_i32(length(text.len())?);
            out.put_slice(text.as_bytes());
        }
        (Format::Binary, Value::Int(value), PgType::Int4) => {
            out.put_i32(4);
            out.put_i32(i32::try_from(*value).map_err(|_| wrong(column))?);
        }
        (Format::Binary, Value::Int(value), PgType::Int8)
        | (Format::Binary, Value::TimestampTz(value), PgType::TimestampTz) => {
            out.put_i32(8);
            out.put_i64(*value);
        }
        (Format::Text, ..) => {
            text.clear();
            value.print(style, text);
            out.put_i32(length(text.len())?);
            out.put_slice(text.as_bytes());
        }
        (Format::Binary, ..) => {
            let element = element_of(column.ty.oid);
            let field = value.send(&column.ty.kind, element).ok_or_else(|| wrong(column))?;
            out.put_i32(length(field.len())?);
            out.put_slice(&field);
        }
    }
    Ok(())
}

/// MySQL keeps char(n) without its blanks.
fn pad(value: &mut Value, ty: &Type) {
    if let (Value::Text(text), PgType::Bpchar, 5..) = (value, &ty.kind, ty.typmod) {
        let length = usize::try_from(ty.typmod - 4).unwrap_or_default();
        let missing = length.saturating_sub(text.chars().count());
        text.extend(std::iter::repeat_n(' ', missing));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn column(name: &str, typmod: i32) -> ResultColumn {
        let (oid, kind) = PgType::named(name).unwrap();
        ResultColumn { name: "c".to_owned(), ty: Type { oid, typmod, kind }, origin: None }
    }

    fn row(param: Param, column: ResultColumn, format: Format) -> Result<Vec<u8>, PgError> {
        let mut out = BytesMut::new();
        data_row(&mut out, vec![param], &[column], &[format], &Style::default())?;
        Ok(out[11..].to_vec())
    }

    #[test]
    fn a_field_is_sent_in_the_format_that_was_asked_for() {
        let text = row(Param::Int(1), column("bool", -1), Format::Text).unwrap();
        assert_eq!(text, b"t");
        let binary = row(Param::Int(258), column("int8", -1), Format::Binary).unwrap();
        assert_eq!(binary, [0, 0, 0, 0, 0, 0, 1, 2]);
        let padded = row(Param::Bytes(b"ab".to_vec()), column("bpchar", 8), Format::Text).unwrap();
        assert_eq!(padded, b"ab  ");
    }

    #[test]
    fn a_row_that_cannot_be_sent_leaves_nothing_behind() {
        let mut out = BytesMut::from(&b"before"[..]);
        let columns = [column("int4", -1)];
        let params = vec![Param::Bytes(b"x".to_vec())];
        let style = Style::default();
        let error = data_row(&mut out, params, &columns, &[Format::Text], &style).unwrap_err();
        assert_eq!((error.code, &out[..]), ("XX000", &b"before"[..]));
    }

    #[test]
    fn kept_rows_are_given_out_in_their_order() {
        let mut kept = Kept::new(100);
        for n in 0..3 {
            let (columns, row) = ([column("int4", -1)], [Value::Int(n)]);
            value_row(&mut kept.rows, &row, &columns, &[Format::Text], &Style::default()).unwrap();
        }
        let mut out = BytesMut::new();
        assert_eq!(kept.give(2, &mut out), 2);
        assert_eq!(kept.give(2, &mut out), 1);
        assert!(kept.rows.is_empty());
        assert_eq!(out.iter().filter(|byte| (b'0'..=b'2').contains(byte)).count(), 3);
    }
}
