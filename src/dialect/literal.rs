//! Literals as they stand in a statement, and what types make of them.
//!
//! ```text
//! 'it''s'  E'a\n'  $$x$$  U&'\0041' ──▶ unknown      1 ──▶ integer      1.50 ──▶ numeric
//! ```
//!
//! Invariant: the parser was told to leave quotes doubled (`sql::parse`), so they are undone here, once.

use sqlparser::ast::Value as Literal;

use crate::dialect::Type;
use crate::dialect::refuse::{Refused, unsupported};
use crate::dialect::typed::{Typed, flat};
use crate::dialect::{Surroundings, types};
use crate::value::style::Style;
use crate::value::{Array, Numeric, PgType, Value};

/// A literal of the tree; `None` for a placeholder.
pub(super) fn literal(value: &Literal) -> Result<Option<Typed>, Refused> {
    Ok(Some(match value {
        Literal::Number(digits, false) => number(digits)?,
        Literal::SingleQuotedString(text) => Typed::unknown(text.replace("''", "'")),
        Literal::DollarQuotedString(text) => Typed::unknown(text.value.clone()),
        Literal::EscapedStringLiteral(text) | Literal::UnicodeStringLiteral(text) => {
            Typed::unknown(text.clone())
        }
        Literal::Boolean(value) => Typed::constant(Value::Bool(*value), Type::bool()),
        Literal::Null => Typed::null(Type::unknown()),
        Literal::Placeholder(_) => return Ok(None),
        _ => return Err(unsupported("a literal of this kind")),
    }))
}

/// Digits without a point are an integer if they fit one.
fn number(digits: &str) -> Result<Typed, Refused> {
    if digits.bytes().all(|byte| byte.is_ascii_digit())
        && let Ok(value) = digits.parse::<i64>()
    {
        let ty = if i32::try_from(value).is_ok() { Type::int4() } else { Type::int8() };
        return Ok(Typed::constant(Value::Int(value), ty));
    }
    let value = PgType::Numeric.read(digits, "numeric", &Style::default())?;
    Ok(Typed::constant(value, Type::numeric()))
}

/// A quoted literal as a value of a type, with the type's modifier applied as an explicit cast does.
pub(super) fn read(text: &str, ty: &Type, around: &Surroundings<'_>) -> Result<Value, Refused> {
    cast_value(parse(text, ty, around)?, ty)
}

/// The same without the modifier.
pub(super) fn parse(text: &str, ty: &Type, around: &Surroundings<'_>) -> Result<Value, Refused> {
    let style = Style { zone: around.zone, ..Style::default() };
    Ok(ty.kind.read(text, &types::enum_name(ty, around.catalog, around.path), &style)?)
}

/// Applies a type's modifier as an explicit cast does: text is cut, numbers are rounded.
pub(super) fn cast_value(value: Value, ty: &Type) -> Result<Value, Refused> {
    let length = usize::try_from(ty.typmod - 4).ok();
    Ok(match (value, &ty.kind) {
        (Value::Text(text), PgType::Text | PgType::Bpchar) if length.is_some() => {
            Value::Text(text.chars().take(length.unwrap_or(0)).collect())
        }
        (value, _) => assign(value, ty)?,
    })
}

/// Applies a type's modifier as an assignment does: text that is too long is an error.
///
/// # Errors
/// As PostgreSQL's: 22001, 22003.
pub fn assign(value: Value, ty: &Type) -> Result<Value, Refused> {
    let length = usize::try_from(ty.typmod - 4).ok();
    Ok(match (value, &ty.kind) {
        (Value::Text(text), PgType::Text | PgType::Bpchar) => match length {
            Some(length) if text.chars().count() > length => {
                Value::Text(shortened(&text, length, ty)?)
            }
            _ => Value::Text(text),
        },
        (Value::Numeric(Numeric::Finite(text)), PgType::Numeric) => match ty.scale() {
            Some((precision, scale)) => {
                Value::Numeric(Numeric::Finite(round(&text, precision, scale)?))
            }
            None => Value::Numeric(Numeric::Finite(text)),
        },
        (Value::Timestamp(micros), _) => Value::Timestamp(rounded(micros, ty.precision())),
        (Value::TimestampTz(micros), _) => Value::TimestampTz(rounded(micros, ty.precision())),
        (Value::Time(micros), _) => Value::Time(rounded(micros, ty.precision())),
        (Value::TimeTz(micros, west), _) => Value::TimeTz(rounded(micros, ty.precision()), west),
        (value, _) => value,
    })
}

/// Blanks past the length are cut; anything else is an error.
fn shortened(text: &str, length: usize, ty: &Type) -> Result<String, Refused> {
    if text.chars().skip(length).all(|letter| letter == ' ') {
        return Ok(text.chars().take(length).collect());
    }
    let name = if ty.kind == PgType::Bpchar { "character" } else { "character varying" };
    Err(Refused::error("22001", format!("value too long for type {name}({length})")))
}

/// Microseconds to the digits that the type keeps, half away from zero as PostgreSQL's integers are.
fn rounded(micros: i64, digits: i32) -> i64 {
    if micros == i64::MAX || micros == i64::MIN || digits >= 6 {
        return micros;
    }
    let unit = 10_i64.pow(6 - digits.unsigned_abs());
    let half = unit / 2;
    let moved = if micros >= 0 { micros.saturating_add(half) } else { micros.saturating_sub(half) };
    moved / unit * unit
}

/// A decimal text at a scale, half away from zero; 22003 where it needs more digits than there are.
fn round(text: &str, precision: u32, scale: u32) -> Result<String, Refused> {
    let (sign, unsigned) = text.strip_prefix('-').map_or(("", text), |rest| ("-", rest));
    let (whole, decimals) = unsigned.split_once('.').unwrap_or((unsigned, ""));
    let scale = scale as usize;
    let up = decimals.as_bytes().get(scale).is_some_and(|digit| *digit >= b'5');
    let mut digits: Vec<u8> = whole.bytes().chain(decimals.bytes().take(scale)).collect();
    digits.resize(whole.len() + scale, b'0');
    if up {
        let mut carry = true;
        for digit in digits.iter_mut().rev() {
            if carry {
                carry = *digit == b'9';
                *digit = if carry { b'0' } else { *digit + 1 };
            }
        }
        if carry {
            digits.insert(0, b'1');
        }
    }
    let point = digits.len() - scale;
    let text: String = digits.iter().copied().map(char::from).collect();
    let whole = text[..point].trim_start_matches('0');
    if whole.len() + scale > precision as usize {
        return Err(Refused::error("22003", "numeric field overflow"));
    }
    let whole = if whole.is_empty() { "0" } else { whole };
    let sign = if text.bytes().all(|byte| byte == b'0') { "" } else { sign };
    let dot = if scale == 0 { "" } else { "." };
    Ok(format!("{sign}{whole}{dot}{}", &text[point..]))
}

/// A constant of one type as another, where that needs no server; `None` where it does.
pub(super) fn convert(value: &Value, from: &Type, to: &Type) -> Result<Option<Value>, Refused> {
    let range = |value: i64, least: i64, most: i64| {
        if (least..=most).contains(&value) {
            Ok(Some(Value::Int(value)))
        } else {
            Err(Refused::error("22003", format!("{} out of range", to.kind.name())))
        }
    };
    let whole = |value: i64| match to.kind {
        PgType::Int2 => range(value, i16::MIN.into(), i16::MAX.into()),
        PgType::Int4 => range(value, i32::MIN.into(), i32::MAX.into()),
        _ => range(value, i64::MIN, i64::MAX),
    };
    match (value, &to.kind) {
        (Value::Null, _) => Ok(Some(Value::Null)),
        (Value::Int(value), _) if to.is_integer() => whole(*value),
        (Value::Int(value), PgType::Numeric) => {
            let text = Value::Numeric(Numeric::Finite(value.to_string()));
            cast_value(text, to).map(Some)
        }
        #[expect(
            clippy::cast_precision_loss,
            reason = "a bigint past 2^53 is rounded by PostgreSQL too"
        )]
        (Value::Int(value), PgType::Float8) => Ok(Some(Value::Float8(*value as f64))),
        (Value::Numeric(Numeric::Finite(text)), PgType::Float8) => {
            Ok(text.parse().ok().map(Value::Float8))
        }
        (Value::Numeric(Numeric::Finite(text)), PgType::Float4) => {
            Ok(text.parse().ok().map(Value::Float4))
        }
        (Value::Numeric(_), PgType::Numeric) => cast_value(value.clone(), to).map(Some),
        (Value::Numeric(Numeric::Finite(text)), _) if to.is_integer() => {
            let rounded = round(text, 65, 0)?;
            whole(rounded.parse().map_err(|_| Refused::error("22003", "integer out of range"))?)
        }
        (Value::Text(_), PgType::Text | PgType::Bpchar) if from.is_text() => {
            cast_value(value.clone(), to).map(Some)
        }
        (Value::Text(_), PgType::Citext) if from.is_text() => Ok(Some(value.clone())),
        (Value::Array(array), PgType::Array(_)) if from.kind == to.kind => {
            Ok(Some(Value::Array(array.clone())))
        }
        (Value::Array(array), PgType::Array(element)) => convert_array(array, element, from, to),
        _ if from.kind == to.kind => cast_value(value.clone(), to).map(Some),
        _ => Ok(None),
    }
}

/// Element by element; texts are read as the new type's.
fn convert_array(
    array: &Array,
    element: &PgType,
    from: &Type,
    to: &Type,
) -> Result<Option<Value>, Refused> {
    let (Some(from), Some(to)) = (from.element(), to.element()) else { return Ok(None) };
    let mut elements = Vec::with_capacity(array.elements.len());
    for value in &array.elements {
        let converted = match value {
            Value::Text(text) if from.is_text() => {
                Some(element.read(text, "", &Style::default())?)
            }
            value => convert(value, &from, &to)?,
        };
        match converted {
            Some(value) => elements.push(value),
            None => return Ok(None),
        }
    }
    let dimensions = array.dimensions.clone();
    Ok(Some(Value::Array(if dimensions.is_empty() {
        flat(elements)
    } else {
        Array { dimensions, elements }
    })))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modifiers_round_cut_or_refuse() {
        assert_eq!(round("1.005", 12, 2).unwrap(), "1.01");
        assert_eq!(round("-0.004", 12, 2).unwrap(), "0.00");
        assert_eq!(round("999.995", 5, 2).unwrap_err().code, "22003");
        assert_eq!(round("12345.678", 10, 1).unwrap(), "12345.7");
        assert_eq!(rounded(1_499_999, 0), 1_000_000);
        assert_eq!(rounded(1_234_500, 3), 1_235_000);
        let two = Type { typmod: 6, ..Type::builtin("varchar") };
        assert!(cast_value(Value::Text("abc".into()), &two).unwrap() == Value::Text("ab".into()));
        assert_eq!(assign(Value::Text("abc".into()), &two).unwrap_err().code, "22001");
        assert!(assign(Value::Text("ab ".into()), &two).unwrap() == Value::Text("ab".into()));
    }
}
