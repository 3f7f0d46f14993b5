//! PostgreSQL's types, as far as a statement can name them or yield them.
//!
//! ```text
//! `int[]`, `user_status`, `varchar(3)` ──[`Types::named`]──▶ Type { oid, typmod, kind }
//! int4, numeric ──[`common`]──▶ numeric
//! ```
//!
//! Invariant: an OID is one that PostgreSQL has for the type; a type without a known OID is not made.

use sqlparser::ast::{ArrayElemTypeDef, CharacterLength, DataType, ExactNumberInfo, TimezoneInfo};

use crate::catalog::{Catalog, Column};
use crate::dialect::refuse::{Refused, unsupported};
use crate::names::Oid;
use crate::value::PgType;

/// A type with its modifier, as RowDescription has them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Type {
    pub oid: Oid,
    /// `atttypmod`: −1 for none.
    pub typmod: i32,
    pub kind: PgType,
}

/// `unknown`: a quoted literal or a parameter that nothing has given a type yet.
pub(super) const UNKNOWN: Oid = 705;
pub(super) const RECORD: Oid = 2249;
pub(super) const TID: Oid = 27;
pub(super) const XID: Oid = 28;

/// Element and array.
const ARRAYS: &[(Oid, Oid)] = &[
    (16, 1000),
    (17, 1001),
    (19, 1003),
    (20, 1016),
    (21, 1005),
    (23, 1007),
    (25, 1009),
    (26, 1028),
    (114, 199),
    (650, 651),
    (700, 1021),
    (701, 1022),
    (829, 1040),
    (869, 1041),
    (1042, 1014),
    (1043, 1015),
    (1082, 1182),
    (1083, 1183),
    (1114, 1115),
    (1184, 1185),
    (1186, 1187),
    (1266, 1270),
    (1700, 1231),
    (2950, 2951),
    (3802, 3807),
];

impl Type {
    /// A built-in type; panics at another name, which is a mistake in the dialect itself.
    pub(super) fn builtin(name: &str) -> Self {
        let (oid, kind) = PgType::named(name).expect("a built-in type");
        Self { oid, typmod: -1, kind }
    }

    pub(super) fn text() -> Self {
        Self::builtin("text")
    }

    pub(super) fn bool() -> Self {
        Self::builtin("bool")
    }

    pub(super) fn int4() -> Self {
        Self::builtin("int4")
    }

    pub(super) fn int8() -> Self {
        Self::builtin("int8")
    }

    pub(super) fn numeric() -> Self {
        Self::builtin("numeric")
    }

    pub(super) fn unknown() -> Self {
        Self { oid: UNKNOWN, typmod: -1, kind: PgType::Unsupported("unknown".to_owned()) }
    }

    pub(super) fn special(oid: Oid, name: &str) -> Self {
        Self { oid, typmod: -1, kind: PgType::Unsupported(name.to_owned()) }
    }

    pub(super) fn of(column: &Column) -> Self {
        let typmod = match &column.type_ref.pg_type {
            PgType::Text | PgType::Bpchar => {
                column.length.map_or(-1, |length| i32::try_from(length).unwrap_or(-5) + 4)
            }
            PgType::Numeric => column.precision.map_or(-1, |(precision, scale)| {
                (i32::try_from(precision).unwrap_or(0) << 16 | (scale & 0x7ff)) + 4
            }),
            PgType::Timestamp | PgType::TimestampTz | PgType::Time | PgType::TimeTz => {
                digits_of(&column.type_name)
            }
            _ => -1,
        };
        // RowDescription has a domain's base type.
        Self { oid: column.type_ref.base_oid, typmod, kind: column.type_ref.pg_type.clone() }
    }

    pub(super) fn plain(mut self) -> Self {
        self.typmod = -1;
        self
    }

    pub(super) fn is_unknown(&self) -> bool {
        self.oid == UNKNOWN
    }

    /// smallint, integer, bigint.
    pub(super) fn is_integer(&self) -> bool {
        matches!(self.kind, PgType::Int2 | PgType::Int4 | PgType::Int8)
    }

    pub(super) fn is_float(&self) -> bool {
        matches!(self.kind, PgType::Float4 | PgType::Float8)
    }

    pub(super) fn is_number(&self) -> bool {
        self.is_integer() || self.is_float() || self.kind == PgType::Numeric
    }

    /// Types that text operators take as they are, or by an implicit cast.
    pub(super) fn is_text(&self) -> bool {
        matches!(self.kind, PgType::Text | PgType::Bpchar | PgType::Citext | PgType::Name)
    }

    pub(super) fn is_json(&self) -> bool {
        matches!(self.kind, PgType::Json | PgType::Jsonb)
    }

    pub(super) fn is_time(&self) -> bool {
        matches!(self.kind, PgType::Date | PgType::Timestamp | PgType::TimestampTz)
    }

    pub(super) fn element(&self) -> Option<Self> {
        let PgType::Array(element) = &self.kind else { return None };
        let known = ARRAYS.iter().find(|(_, array)| *array == self.oid);
        let oid = known.map_or(0, |(oid, _)| *oid);
        Some(Self { oid, typmod: -1, kind: (**element).clone() })
    }

    /// Digits of a second that the type keeps.
    pub(super) fn precision(&self) -> i32 {
        match (&self.kind, self.typmod) {
            (PgType::Timestamp | PgType::TimestampTz | PgType::Time | PgType::TimeTz, 0..=6) => {
                self.typmod
            }
            _ => 6,
        }
    }

    /// Scale of a numeric(p,s).
    pub(super) fn scale(&self) -> Option<(u32, u32)> {
        (self.kind == PgType::Numeric && self.typmod >= 4).then(|| {
            let packed = (self.typmod - 4).unsigned_abs();
            (packed >> 16, packed & 0x7ff)
        })
    }

    /// As messages name it.
    pub(super) fn name(&self) -> String {
        match (&self.kind, self.oid) {
            (_, 1043) => "character varying".to_owned(),
            (PgType::Bpchar, _) => "character".to_owned(),
            (PgType::Timestamp, _) => "timestamp without time zone".to_owned(),
            (PgType::TimestampTz, _) => "timestamp with time zone".to_owned(),
            (PgType::Time, _) => "time without time zone".to_owned(),
            (PgType::Array(_), _) => {
                self.element().map_or(String::new(), |element| element.name() + "[]")
            }
            (PgType::Unsupported(name), _) => name.clone(),
            (kind, _) => kind.name().to_owned(),
        }
    }
}

/// The digits in `timestamp(3) with time zone`.
fn digits_of(type_name: &str) -> i32 {
    let inside = type_name.split_once('(').and_then(|(_, rest)| rest.split_once(')'));
    inside.and_then(|(digits, _)| digits.parse().ok()).unwrap_or(-1)
}

/// What PostgreSQL calls an enum in messages, without its schema where that is in the path; nothing for other
/// types.
#[must_use]
pub fn enum_name(ty: &Type, catalog: &Catalog, path: &[String]) -> String {
    if !matches!(ty.kind.element(), PgType::Enum(_)) {
        return String::new();
    }
    let found = columns(catalog).find(|column| column.type_ref.base_oid == ty.oid);
    let Some(column) = found else { return String::new() };
    let name = column.type_name.trim_end_matches("[]");
    let bare = path.iter().find_map(|schema| {
        let quoted = name.strip_prefix('"').and_then(|rest| rest.strip_prefix(schema.as_str()));
        let quoted = quoted.and_then(|rest| rest.strip_prefix("\"."));
        quoted.or_else(|| name.strip_prefix(schema.as_str())?.strip_prefix('.'))
    });
    bare.unwrap_or(name).to_owned()
}

/// The array of a type. Its OID is 0 where no column tells it: then it may not be a result's.
pub(super) fn array_of(element: &Type, catalog: &Catalog) -> Result<Type, Refused> {
    let kind = PgType::Array(Box::new(element.kind.clone()));
    if let Some((_, oid)) = ARRAYS.iter().find(|(of, _)| *of == element.oid) {
        return Ok(Type { oid: *oid, typmod: -1, kind });
    }
    let found = columns(catalog).find(|column| column.type_ref.pg_type == kind);
    let oid = found.map_or(0, |column| column.type_ref.base_oid);
    Ok(Type { oid, typmod: -1, kind })
}

fn columns(catalog: &Catalog) -> impl Iterator<Item = &Column> {
    catalog.tables.values().flat_map(|table| &table.columns)
}

/// The type of an OID that a client declared for a parameter.
pub(super) fn by_oid(oid: Oid, catalog: &Catalog) -> Option<Type> {
    if let Some(kind) = PgType::builtin(oid) {
        return Some(Type { oid, typmod: -1, kind });
    }
    if let Some((element, _)) = ARRAYS.iter().find(|(_, array)| *array == oid) {
        let kind = PgType::Array(Box::new(PgType::builtin(*element)?));
        return Some(Type { oid, typmod: -1, kind });
    }
    let column = columns(catalog)
        .find(|column| column.type_ref.base_oid == oid || column.type_ref.oid == oid)?;
    Some(Type { oid, typmod: -1, kind: column.type_ref.pg_type.clone() })
}

/// The type that a cast names.
pub(super) fn named(data_type: &DataType, catalog: &Catalog) -> Result<Type, Refused> {
    let plain = |name: &str| Ok(Type::builtin(name));
    let sized = |name: &str, typmod: i32| Ok(Type { typmod, ..Type::builtin(name) });
    let length = |length: &Option<CharacterLength>| match length {
        Some(CharacterLength::IntegerLength { length, .. }) => {
            i32::try_from(*length).map_or(-1, |length| length + 4)
        }
        _ => -1,
    };
    let digits = |digits: &Option<u64>| digits.map_or(-1, |d| i32::try_from(d.min(6)).unwrap_or(6));
    match data_type {
        DataType::Bool | DataType::Boolean => plain("bool"),
        DataType::SmallInt(None) | DataType::Int2(None) => plain("int2"),
        DataType::Int(None) | DataType::Integer(None) | DataType::Int4(None) => plain("int4"),
        DataType::BigInt(None) | DataType::Int8(None) => plain("int8"),
        DataType::Real | DataType::Float4 => plain("float4"),
        DataType::DoublePrecision | DataType::Float8 => plain("float8"),
        DataType::Float(info) | DataType::Double(info) => match info {
            ExactNumberInfo::None => plain("float8"),
            ExactNumberInfo::Precision(digits) if *digits <= 24 => plain("float4"),
            _ => plain("float8"),
        },
        DataType::Numeric(info) | DataType::Decimal(info) | DataType::Dec(info) => {
            let (precision, scale) = match info {
                ExactNumberInfo::None => return plain("numeric"),
                ExactNumberInfo::Precision(precision) => (*precision, 0),
                ExactNumberInfo::PrecisionAndScale(precision, scale) => (*precision, *scale),
            };
            let precision = i32::try_from(precision).unwrap_or(0);
            let scale = i32::try_from(scale).unwrap_or(0);
            sized("numeric", (precision << 16 | (scale & 0x7ff)) + 4)
        }
        DataType::Text | DataType::String(None) => plain("text"),
        DataType::Varchar(size)
        | DataType::CharacterVarying(size)
        | DataType::CharVarying(size) => sized("varchar", length(size)),
        DataType::Char(None) | DataType::Character(None) => sized("bpchar", 5),
        DataType::Char(size) | DataType::Character(size) => sized("bpchar", length(size)),
        DataType::Bytea => plain("bytea"),
        DataType::Uuid => plain("uuid"),
        DataType::JSON => plain("json"),
        DataType::JSONB => plain("jsonb"),
        DataType::Date => plain("date"),
        DataType::Time(size, TimezoneInfo::WithTimeZone | TimezoneInfo::Tz) => {
            sized("timetz", digits(size))
        }
        DataType::Time(size, _) => sized("time", digits(size)),
        DataType::Timestamp(size, TimezoneInfo::WithTimeZone | TimezoneInfo::Tz) => {
            sized("timestamptz", digits(size))
        }
        DataType::Timestamp(size, _) => sized("timestamp", digits(size)),
        DataType::Interval { fields: None, precision: None } => plain("interval"),
        DataType::Regclass => Err(unsupported("regclass")),
        DataType::Array(
            ArrayElemTypeDef::SquareBracket(element, _) | ArrayElemTypeDef::AngleBracket(element),
        ) => {
            // PostgreSQL does not tell int[] from int[][].
            let element = named(element, catalog)?;
            match element.kind {
                PgType::Array(_) => Ok(element),
                _ => array_of(&element.plain(), catalog),
            }
        }
        DataType::Custom(name, modifiers) if modifiers.is_empty() => custom(name, catalog),
        other => Err(unsupported(&format!("type {other}"))),
    }
}

/// A type by its name: a few built-in ones, and those that columns have.
fn custom(name: &sqlparser::ast::ObjectName, catalog: &Catalog) -> Result<Type, Refused> {
    let parts = super::names::parts(name)?;
    let last = parts.last().cloned().unwrap_or_default();
    if matches!(&parts[..], [_] | [_, _]) && parts.len() == 1 || parts[0] == "pg_catalog" {
        match last.as_str() {
            "citext" => {}
            other => {
                if let Some((oid, kind)) = PgType::named(other) {
                    return Ok(Type { oid, typmod: -1, kind });
                }
            }
        }
    }
    let full = parts.join(".");
    let fits = |column: &&Column| {
        let bare = column.type_name.replace('"', "");
        let base = bare.split('(').next().unwrap_or(&bare);
        base == full || base.rsplit('.').next() == Some(&last)
    };
    let found = columns(catalog).filter(|column| column.type_ref.oid == column.type_ref.base_oid);
    found
        .filter(|column| !matches!(column.type_ref.pg_type, PgType::Array(_)))
        .find(fits)
        .map(|column| Type {
            oid: column.type_ref.oid,
            typmod: -1,
            kind: column.type_ref.pg_type.clone(),
        })
        .ok_or_else(|| unsupported(&format!("type {full}")))
}

/// The type that UNION, CASE, COALESCE and the like give to values of two types.
pub(super) fn common(a: &Type, b: &Type) -> Result<Type, Refused> {
    if a.oid == b.oid && a.kind == b.kind {
        let typmod = if a.typmod == b.typmod { a.typmod } else { -1 };
        return Ok(Type { typmod, ..a.clone() });
    }
    let rank = |ty: &Type| match ty.kind {
        PgType::Int2 => Some(1),
        PgType::Int4 => Some(2),
        PgType::Int8 => Some(3),
        PgType::Numeric => Some(4),
        PgType::Float4 => Some(5),
        PgType::Float8 => Some(6),
        _ => None,
    };
    if let (Some(left), Some(right)) = (rank(a), rank(b)) {
        return Ok(if left < right { b.clone().plain() } else { a.clone().plain() });
    }
    if a.is_unknown() {
        return Ok(b.clone());
    }
    if b.is_unknown() {
        return Ok(a.clone());
    }
    if a.is_text() && b.is_text() {
        // text is the preferred type of its category; of the others the first one stays.
        return Ok(match (a.oid, b.oid) {
            (25, _) | (_, 25) => Type::text(),
            _ => a.clone().plain(),
        });
    }
    match (&a.kind, &b.kind) {
        (PgType::TimestampTz, _) if b.is_time() => Ok(a.clone().plain()),
        (_, PgType::TimestampTz) if a.is_time() => Ok(b.clone().plain()),
        (PgType::Timestamp, PgType::Date) => Ok(a.clone().plain()),
        (PgType::Date, PgType::Timestamp) => Ok(b.clone().plain()),
        _ => Err(Refused::error(
            "42804",
            format!("types {} and {} cannot be matched", a.name(), b.name()),
        )),
    }
}
