//! Bind: parameters as values, and the formats that results are wanted in.
//!
//! ```text
//! Bind ──[`Bind::parse`]──▶ formats, fields ──[`Bind::values`](types)──▶ Values, or PostgreSQL's error
//! ```
//!
//! Invariant: a value that comes out is the one that PostgreSQL would have read; jsonb is in jsonb's form.

use bytes::Bytes;

use crate::answer::error::PgError;
use crate::catalog::Catalog;
use crate::dialect::{Type, enum_name};
use crate::value::style::Style;
use crate::value::{Array, PgType, Value};
use crate::wire::Body;

/// Text or binary.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Format {
    Text,
    Binary,
}

impl Format {
    fn of(code: u16) -> Result<Self, PgError> {
        match code {
            0 => Ok(Self::Text),
            1 => Ok(Self::Binary),
            code => Err(PgError::new("08P01", format!("invalid format code: {code}"))),
        }
    }

    pub(super) fn code(self) -> u16 {
        match self {
            Self::Text => 0,
            Self::Binary => 1,
        }
    }
}

/// A Bind message, cut up.
pub(super) struct Bind<'a> {
    pub(super) portal: String,
    pub(super) statement: String,
    formats: Vec<Format>,
    fields: Vec<Option<&'a [u8]>>,
    results: Vec<Format>,
}

impl<'a> Bind<'a> {
    pub(super) fn parse(body: &'a [u8]) -> Result<Self, PgError> {
        let short = || PgError::new("08P01", "insufficient data left in message");
        let mut body = Body::new(body);
        let portal = text(body.text().ok_or_else(short)?)?;
        let statement = text(body.text().ok_or_else(short)?)?;
        let formats = formats(&mut body)?;
        let count = body.u16().ok_or_else(short)?;
        let mut fields = Vec::with_capacity(count.min(64).into());
        for _ in 0..count {
            let length = body.i32().ok_or_else(short)?;
            fields.push(match usize::try_from(length) {
                Ok(length) => Some(body.take(length).ok_or_else(short)?),
                Err(_) => None,
            });
        }
        let results = self::formats(&mut body)?;
        Ok(Self { portal, statement, formats, fields, results })
    }

    /// Reads the parameters by their types.
    pub(super) fn values(
        &self,
        types: &[Type],
        style: &Style,
        (catalog, path): (&Catalog, &[String]),
    ) -> Result<Vec<Value>, PgError> {
        if self.fields.len() != types.len() {
            let text = format!(
                "bind message supplies {} parameters, but prepared statement \"{}\" requires {}",
                self.fields.len(),
                self.statement,
                types.len()
            );
            return Err(PgError::new("08P01", text));
        }
        let formats = self.formats.len();
        if 1 < formats && formats != self.fields.len() {
            let text = format!(
                "bind message has {formats} parameter formats but {} parameters",
                self.fields.len()
            );
            return Err(PgError::new("08P01", text));
        }
        let format = |at: usize| match &self.formats[..] {
            [] => Format::Text,
            [all] => *all,
            each => each[at],
        };
        let read = |(at, (field, ty)): (usize, (&Option<&[u8]>, &Type))| match field {
            None => Ok(Value::Null),
            Some(field) => {
                let name = enum_name(ty, catalog, path);
                read(field, format(at), (&ty.kind, &name), at, style)
            }
        };
        self.fields.iter().zip(types).enumerate().map(read).collect()
    }

    /// One format for each of so many columns.
    pub(super) fn results(&self, columns: usize) -> Result<Vec<Format>, PgError> {
        match &self.results[..] {
            [] => Ok(vec![Format::Text; columns]),
            [all] => Ok(vec![*all; columns]),
            each if each.len() == columns => Ok(each.to_vec()),
            each => Err(PgError::new(
                "08P01",
                format!(
                    "bind message has {} result formats but query has {columns} columns",
                    each.len()
                ),
            )),
        }
    }
}

fn formats(body: &mut Body<'_>) -> Result<Vec<Format>, PgError> {
    let short = || PgError::new("08P01", "insufficient data left in message");
    let count = body.u16().ok_or_else(short)?;
    (0..count).map(|_| Format::of(body.u16().ok_or_else(short)?)).collect()
}

/// Names and texts are UTF-8 without NUL.
pub(super) fn text(bytes: &[u8]) -> Result<String, PgError> {
    match str::from_utf8(bytes) {
        Ok(text) => Ok(text.to_owned()),
        Err(error) => {
            let bad = &bytes[error.valid_up_to()..];
            let shown: Vec<String> =
                bad.iter().take(2).map(|byte| format!("0x{byte:02x}")).collect();
            let text = format!("invalid byte sequence for encoding \"UTF8\": {}", shown.join(" "));
            Err(PgError::new("22021", text))
        }
    }
}

fn read(
    field: &[u8],
    format: Format,
    (kind, name): (&PgType, &str),
    at: usize,
    style: &Style,
) -> Result<Value, PgError> {
    if format == Format::Text {
        let text = text(field)?;
        if text.contains('\0') {
            return Err(nul());
        }
        return Ok(kind.read(&text, name, style)?);
    }
    let wrong = || {
        let text = format!("incorrect binary data format in bind parameter {}", at + 1);
        PgError::new("22P03", text)
    };
    let kind = match kind {
        // Unknown types are sent as text in either format.
        PgType::Unsupported(_) => &PgType::Text,
        kind => kind,
    };
    let value =
        kind.decode(&Bytes::copy_from_slice(field)).map_err(|_| match str::from_utf8(field) {
            Err(_) if is_text(kind) => text(field).err().unwrap_or_else(wrong),
            _ => wrong(),
        })?;
    checked(value, kind, name, style)
}

fn is_text(kind: &PgType) -> bool {
    matches!(
        kind,
        PgType::Text
            | PgType::Bpchar
            | PgType::Citext
            | PgType::Name
            | PgType::Enum(_)
            | PgType::Json
            | PgType::Jsonb
    )
}

fn nul() -> PgError {
    PgError::new("22021", "invalid byte sequence for encoding \"UTF8\": 0x00")
}

/// What a type's binary input checks beyond the layout of the bytes.
fn checked(value: Value, kind: &PgType, name: &str, style: &Style) -> Result<Value, PgError> {
    match (value, kind) {
        (Value::Text(text) | Value::Json(text) | Value::Jsonb(text), _) if text.contains('\0') => {
            Err(nul())
        }
        (Value::Text(text), PgType::Enum(_)) => Ok(kind.read(&text, name, style)?),
        (Value::Json(text), _) => Ok(PgType::Json.read(&text, "json", style)?),
        (Value::Jsonb(text), _) => Ok(PgType::Jsonb.read(&text, "jsonb", style)?),
        (Value::Array(array), PgType::Array(element)) => {
            let check = |value| checked(value, element, name, style);
            let elements = array.elements.into_iter().map(check).collect::<Result<_, _>>()?;
            Ok(Value::Array(Array { dimensions: array.dimensions, elements }))
        }
        (value, _) => Ok(value),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ty(name: &str) -> Type {
        let (oid, kind) = PgType::named(name).unwrap();
        Type { oid, typmod: -1, kind }
    }

    /// Portal `p`, statement `s`.
    fn body(formats: &[u16], fields: &[Option<&[u8]>], results: &[u16]) -> Vec<u8> {
        let mut body = b"p\0s\0".to_vec();
        let codes = |codes: &[u16], body: &mut Vec<u8>| {
            body.extend(u16::try_from(codes.len()).unwrap().to_be_bytes());
            codes.iter().for_each(|code| body.extend(code.to_be_bytes()));
        };
        codes(formats, &mut body);
        body.extend(u16::try_from(fields.len()).unwrap().to_be_bytes());
        for field in fields {
            let length = field.map_or(-1, |field| i32::try_from(field.len()).unwrap());
            body.extend(length.to_be_bytes());
            body.extend(field.unwrap_or_default());
        }
        codes(results, &mut body);
        body
    }

    fn values(
        formats: &[u16],
        fields: &[Option<&[u8]>],
        types: &[Type],
    ) -> Result<Vec<Value>, PgError> {
        Bind::parse(&body(formats, fields, &[]))?.values(
            types,
            &Style::default(),
            (&Catalog::default(), &[]),
        )
    }

    #[test]
    fn each_parameter_is_read_in_its_format() {
        let read = values(
            &[0, 1, 1],
            &[Some(b"7"), Some(&[0, 0, 0, 9]), None],
            &[ty("int4"), ty("int4"), ty("text")],
        );
        assert!(read.unwrap() == [Value::Int(7), Value::Int(9), Value::Null]);
        let jsonb = values(&[1], &[Some(b"\x01{\"b\":1,\"a\":2}")], &[ty("jsonb")]).unwrap();
        assert!(jsonb == [Value::Jsonb("{\"a\": 2, \"b\": 1}".to_owned())]);
    }

    #[test]
    fn what_is_no_value_is_refused_as_postgresql_refuses_it() {
        let code = |formats: &[u16], field: &[u8], name: &str| {
            values(formats, &[Some(field)], &[ty(name)]).unwrap_err().code
        };
        assert_eq!(code(&[], b"x", "uuid"), "22P02");
        assert_eq!(code(&[0], b"300000", "int2"), "22003");
        assert_eq!(code(&[1], &[0, 9], "int4"), "22P03");
        assert_eq!(code(&[1], b"\xff", "text"), "22021");
        assert_eq!(code(&[0], b"a\0", "text"), "22021");
        assert_eq!(code(&[1], b"\x01{", "jsonb"), "22P02");
        assert_eq!(values(&[], &[], &[ty("int4")]).unwrap_err().code, "08P01");
        assert_eq!(code(&[2], b"1", "int4"), "08P01");
        for end in 0..8 {
            let body = body(&[], &[Some(b"1")], &[]);
            assert_eq!(Bind::parse(&body[..end]).err().unwrap().code, "08P01", "{end}");
        }
    }

    #[test]
    fn result_formats_are_none_one_or_one_each() {
        let results =
            |codes: &[u16], columns| Bind::parse(&body(&[], &[], codes)).unwrap().results(columns);
        assert_eq!(results(&[], 2).unwrap(), [Format::Text; 2]);
        assert_eq!(results(&[1], 2).unwrap(), [Format::Binary; 2]);
        assert_eq!(results(&[0, 1], 2).unwrap(), [Format::Text, Format::Binary]);
        assert_eq!(results(&[0, 1], 3).unwrap_err().code, "08P01");
    }
}
