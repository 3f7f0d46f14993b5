//! An expression of PostgreSQL with its type, and MySQL's text for it.
//!
//! ```text
//! '7' ──Unknown──coerce(int4)──▶ Constant(7) ──[`render`]──▶ ?        $1 ──▶ ?1
//! ```
//!
//! Invariant: a node that has no type yet is an unknown literal, an untyped parameter, or NULL; whatever
//! is rendered has one.

use crate::dialect::Type;
use crate::dialect::program::{Form, Slot, Source, Text};
use crate::dialect::refuse::{Refused, unsupported};
use crate::value::{Array, Flavor, Numeric, PgType, TargetType, Value};

#[derive(Clone, Debug)]
pub(super) struct Typed {
    pub(super) node: Node,
    pub(super) ty: Type,
    pub(super) nullable: bool,
    pub(super) repr: Repr,
}

#[derive(Clone, Debug)]
pub(super) enum Node {
    Sql(Text),
    /// A quoted literal without a type.
    Unknown(String),
    Null,
    Constant(Value),
    /// `$n` from 0. Its type is unknown where `ty` is.
    Parameter(usize),
    /// A value that the proxy makes: the time, a UUID.
    Source(Source),
    /// `ARRAY[…]`
    List(Vec<Typed>),
    /// `(a, b)`
    Row(Vec<Typed>),
}

/// How MySQL holds the value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Repr {
    /// As the type's usual column.
    Plain,
    /// In a form that may be given back and tested for NULL, and not compared or computed with.
    Kept,
    /// A uuid in 16 bytes.
    Binary,
    /// An enum column: ordered by position.
    Enum,
    /// A decimal that has the scale which PostgreSQL would print.
    Scaled,
    /// An interval as an integer: microseconds; those of a difference, of which whole days are days;
    /// days; months.
    Micros,
    Span,
    Days,
    Months,
}

impl Typed {
    pub(super) fn sql(text: Text, ty: Type, nullable: bool) -> Self {
        Self { node: Node::Sql(text), ty, nullable, repr: Repr::Plain }
    }

    pub(super) fn constant(value: Value, ty: Type) -> Self {
        Self { nullable: value == Value::Null, node: Node::Constant(value), ty, repr: Repr::Plain }
    }

    pub(super) fn unknown(text: String) -> Self {
        Self { node: Node::Unknown(text), ty: Type::unknown(), nullable: false, repr: Repr::Plain }
    }

    pub(super) fn null(ty: Type) -> Self {
        Self { node: Node::Null, ty, nullable: true, repr: Repr::Plain }
    }

    pub(super) fn with_repr(self, repr: Repr) -> Self {
        Self { repr, ..self }
    }

    pub(super) fn is_unknown(&self) -> bool {
        self.ty.is_unknown()
    }

    pub(super) fn value(&self) -> Option<&Value> {
        match &self.node {
            Node::Constant(value) => Some(value),
            _ => None,
        }
    }

    /// A value that is known before the text runs.
    pub(super) fn source(&self) -> Option<Source> {
        match &self.node {
            Node::Constant(value) => Some(Source::Constant(value.clone())),
            Node::Null => Some(Source::Constant(Value::Null)),
            Node::Parameter(at) => Some(Source::Parameter(*at)),
            Node::Source(source) => Some(source.clone()),
            Node::List(items) => {
                let values: Option<Vec<Value>> = items
                    .iter()
                    .map(|item| match &item.node {
                        Node::Null => Some(Value::Null),
                        Node::Constant(value) => Some(value.clone()),
                        _ => None,
                    })
                    .collect();
                Some(Source::Constant(Value::Array(flat(values?))))
            }
            _ => None,
        }
    }
}

/// An array of one dimension.
pub(super) fn flat(elements: Vec<Value>) -> Array {
    let length = i32::try_from(elements.len()).unwrap_or(i32::MAX);
    let dimensions = if elements.is_empty() { Vec::new() } else { vec![(length, 1)] };
    Array { dimensions, elements }
}

/// The collation by which text compares as PostgreSQL's does.
pub(super) fn collation(flavor: Flavor) -> &'static str {
    match flavor {
        Flavor::MySql => "utf8mb4_0900_bin",
        Flavor::MariaDb => "utf8mb4_nopad_bin",
    }
}

/// What a JSON function returns as text, comparable with columns and literals: its own collation is
/// another one, and on MariaDB the character set of some is, too.
pub(super) fn json_text(template: &str, flavor: Flavor) -> String {
    format!("(CONVERT({template} USING utf8mb4) COLLATE {})", collation(flavor))
}

/// MySQL's text for a node.
pub(super) fn render(typed: &Typed, flavor: Flavor) -> Result<Text, Refused> {
    Ok(match &typed.node {
        Node::Sql(text) => text.clone(),
        Node::Null => Text::sql("NULL"),
        Node::Constant(Value::Null) => Text::sql("NULL"),
        Node::Constant(Value::Bool(value)) => Text::sql(if *value { "TRUE" } else { "FALSE" }),
        Node::Unknown(text) => {
            wrapped(Source::Constant(Value::Text(text.clone())), &Type::text(), flavor)?
        }
        Node::Constant(value) => wrapped(Source::Constant(value.clone()), &typed.ty, flavor)?,
        Node::Parameter(at) => wrapped(Source::Parameter(*at), &typed.ty, flavor)?,
        Node::Source(source) => wrapped(source.clone(), &typed.ty, flavor)?,
        Node::List(items) => match typed.source() {
            Some(source) => wrapped(source, &typed.ty, flavor)?,
            None => {
                let mut text = Text::sql("JSON_ARRAY(");
                for (at, item) in items.iter().enumerate() {
                    text.push(if at > 0 { ", " } else { "" });
                    text.append(super::json::element(item, flavor)?);
                }
                text.push(")");
                text
            }
        },
        Node::Row(items) => {
            let mut text = Text::sql("(");
            for (at, item) in items.iter().enumerate() {
                text.push(if at > 0 { ", " } else { "" });
                text.append(render(item, flavor)?);
            }
            text.push(")");
            text
        }
    })
}

/// A value's place, with the type that MySQL must take it for.
fn wrapped(source: Source, ty: &Type, flavor: Flavor) -> Result<Text, Refused> {
    let form = form_of(ty, &source)?;
    let cast = match (&ty.kind, flavor) {
        (PgType::Date, _) => Some("DATE".to_owned()),
        (PgType::Time, _) => Some("TIME(6)".to_owned()),
        (PgType::Timestamp | PgType::TimestampTz, _) => Some("DATETIME(6)".to_owned()),
        (PgType::Numeric, _) => match &form {
            TargetType::Decimal { precision, scale } => {
                Some(format!("DECIMAL({precision},{scale})"))
            }
            _ => None,
        },
        (PgType::Jsonb | PgType::Array(_), Flavor::MySql) => Some("JSON".to_owned()),
        _ => None,
    };
    let slot = Text::value(Slot { source, ty: ty.clone(), form: Form::Column(form) });
    Ok(match cast {
        None => slot,
        Some(cast) => around("CAST(", slot, &format!(" AS {cast})")),
    })
}

/// The column that a value of the type is bound as.
pub(super) fn form_of(ty: &Type, source: &Source) -> Result<TargetType, Refused> {
    Ok(match &ty.kind {
        PgType::Bool => TargetType::Bool,
        PgType::Int2 | PgType::Int4 | PgType::Int8 | PgType::Oid => TargetType::BigInt,
        PgType::Float4 | PgType::Float8 => TargetType::Double,
        PgType::Numeric => match (source, ty.scale()) {
            (Source::Constant(Value::Numeric(Numeric::Finite(text))), _) => digits(text)?,
            (_, Some((precision, scale))) => TargetType::Decimal { precision, scale },
            _ => TargetType::Decimal { precision: 65, scale: 30 },
        },
        PgType::Text | PgType::Bpchar | PgType::Citext | PgType::Name | PgType::Enum(_) => {
            TargetType::LongText
        }
        PgType::Bytea => TargetType::LongBlob,
        PgType::Uuid => TargetType::Uuid,
        PgType::Date => TargetType::Date,
        PgType::Time => TargetType::Time,
        PgType::Timestamp | PgType::TimestampTz => TargetType::DateTime,
        PgType::Json | PgType::Inet | PgType::Cidr | PgType::Macaddr => TargetType::LongText,
        PgType::TimeTz | PgType::Interval => TargetType::LongText,
        PgType::Jsonb | PgType::Array(_) => TargetType::Json,
        PgType::Unsupported(name) => return Err(unsupported(&format!("a value of type {name}"))),
    })
}

/// The narrowest decimal that holds the digits as they are written.
fn digits(text: &str) -> Result<TargetType, Refused> {
    let unsigned = text.trim_start_matches('-');
    let (whole, decimals) = unsigned.split_once('.').unwrap_or((unsigned, ""));
    let scale = u32::try_from(decimals.len()).unwrap_or(u32::MAX);
    let precision = u32::try_from(whole.len()).unwrap_or(u32::MAX).saturating_add(scale);
    if precision > 65 || scale > 30 {
        return Err(unsupported("a numeric of so many digits"));
    }
    Ok(TargetType::Decimal { precision, scale })
}

/// `before` text `after`.
pub(super) fn around(before: &str, text: Text, after: &str) -> Text {
    let mut out = Text::sql(before);
    out.append(text);
    out.push(after);
    out
}

/// Fills `{0}`, `{1}`, … of a template.
pub(super) fn fill(template: &str, parts: &[Text]) -> Text {
    let mut out = Text::default();
    let mut rest = template;
    while let Some(at) = rest.find('{') {
        out.push(&rest[..at]);
        let number = rest.as_bytes().get(at + 1).copied().filter(u8::is_ascii_digit);
        match number {
            Some(digit) if rest.as_bytes().get(at + 2) == Some(&b'}') => {
                out.append(parts[usize::from(digit - b'0')].clone());
                rest = &rest[at + 3..];
            }
            _ => {
                out.push("{");
                rest = &rest[at + 1..];
            }
        }
    }
    out.push(rest);
    out
}

/// Texts with a separator between them.
pub(super) fn join(parts: Vec<Text>, separator: &str) -> Text {
    let mut out = Text::default();
    for (at, part) in parts.into_iter().enumerate() {
        out.push(if at > 0 { separator } else { "" });
        out.append(part);
    }
    out
}
