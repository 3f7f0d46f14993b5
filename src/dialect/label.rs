//! The name of a result column, as PostgreSQL finds one where none is given.
//!
//! Invariant: that of `FigureColname`: a column's own, a function's, the word of a construct, the type of
//! a cast of something that has no name of its own; else `?column?`.

use sqlparser::ast::{DataType, Expr, SelectItem, SetExpr, TrimWhereField};

use crate::dialect::names::{fold, parts};

pub(super) fn label(expr: &Expr) -> String {
    found(expr).map_or_else(|| "?column?".to_owned(), |(name, _)| name)
}

/// The name, and whether it is a good one: a weak one gives way to that of a cast.
fn found(expr: &Expr) -> Option<(String, bool)> {
    let good = |name: &str| Some((name.to_owned(), true));
    let weak = |name: &str| Some((name.to_owned(), false));
    match expr {
        Expr::Identifier(ident) => good(&fold(ident)),
        Expr::CompoundIdentifier(idents) => good(&fold(idents.last()?)),
        Expr::CompoundFieldAccess { root, .. } => found(root),
        Expr::Nested(inner) | Expr::Collate { expr: inner, .. } => found(inner),
        Expr::Function(function) => {
            let name = parts(&function.name).ok()?.pop()?;
            match name.as_str() {
                "coalesce" | "greatest" | "least" | "nullif" | "array" => good(&name),
                _ => good(&name),
            }
        }
        Expr::Cast { expr, data_type, .. } => match found(expr) {
            Some((name, true)) => Some((name, true)),
            _ => weak(&type_name(data_type)),
        },
        Expr::TypedString(string) => weak(&type_name(&string.data_type)),
        Expr::Interval(_) => weak("interval"),
        Expr::Value(value) => match value.value {
            sqlparser::ast::Value::Boolean(_) => weak("bool"),
            _ => None,
        },
        Expr::Case { else_result, .. } => match else_result.as_deref().and_then(found) {
            Some((name, true)) => Some((name, true)),
            _ => weak("case"),
        },
        Expr::Exists { negated: false, .. } => good("exists"),
        Expr::Subquery(query) => match &*query.body {
            SetExpr::Select(select) => match select.projection.first()? {
                SelectItem::UnnamedExpr(expr) => found(expr).map(|(name, _)| (name, true)),
                SelectItem::ExprWithAlias { alias, .. } => good(&fold(alias)),
                _ => None,
            },
            _ => None,
        },
        Expr::Array(_) => good("array"),
        Expr::Tuple(_) => good("row"),
        Expr::Extract { .. } => good("extract"),
        Expr::Position { .. } => good("position"),
        Expr::Substring { .. } => good("substring"),
        Expr::Ceil { .. } => good("ceil"),
        Expr::Floor { .. } => good("floor"),
        Expr::AtTimeZone { .. } => good("timezone"),
        Expr::Trim { trim_where, .. } => good(match trim_where {
            Some(TrimWhereField::Leading) => "ltrim",
            Some(TrimWhereField::Trailing) => "rtrim",
            _ => "btrim",
        }),
        _ => None,
    }
}

/// The last part of a type's name as the catalogue has it.
fn type_name(data_type: &DataType) -> String {
    match data_type {
        DataType::Custom(name, _) => {
            parts(name).ok().and_then(|mut parts| parts.pop()).unwrap_or_default()
        }
        DataType::Bool | DataType::Boolean => "bool".to_owned(),
        DataType::SmallInt(_) | DataType::Int2(_) => "int2".to_owned(),
        DataType::Int(_) | DataType::Integer(_) | DataType::Int4(_) => "int4".to_owned(),
        DataType::BigInt(_) | DataType::Int8(_) => "int8".to_owned(),
        DataType::Real | DataType::Float4 => "float4".to_owned(),
        DataType::DoublePrecision | DataType::Float8 | DataType::Float(_) | DataType::Double(_) => {
            "float8".to_owned()
        }
        DataType::Numeric(_) | DataType::Decimal(_) | DataType::Dec(_) => "numeric".to_owned(),
        DataType::Varchar(_) | DataType::CharacterVarying(_) | DataType::CharVarying(_) => {
            "varchar".to_owned()
        }
        DataType::Char(_) | DataType::Character(_) => "bpchar".to_owned(),
        DataType::Timestamp(
            _,
            sqlparser::ast::TimezoneInfo::WithTimeZone | sqlparser::ast::TimezoneInfo::Tz,
        ) => "timestamptz".to_owned(),
        DataType::Timestamp(..) => "timestamp".to_owned(),
        DataType::Time(
            _,
            sqlparser::ast::TimezoneInfo::WithTimeZone | sqlparser::ast::TimezoneInfo::Tz,
        ) => "timetz".to_owned(),
        DataType::Time(..) => "time".to_owned(),
        DataType::Interval { .. } => "interval".to_owned(),
        DataType::Array(
            sqlparser::ast::ArrayElemTypeDef::SquareBracket(element, _)
            | sqlparser::ast::ArrayElemTypeDef::AngleBracket(element),
        ) => type_name(element),
        other => other.to_string().to_ascii_lowercase(),
    }
}
