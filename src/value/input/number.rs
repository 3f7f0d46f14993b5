//! Numbers: integers within their range, reals, exact decimals.

use super::{InputError, blank};
use crate::value::{Numeric, Value};

/// PostgreSQL's own bounds for digits before and after the point.
const WHOLE_MAX: i64 = 131_072;
const SCALE_MAX: i64 = 16_383;

pub(super) fn integer(
    text: &str,
    name: &'static str,
    least: i64,
    most: i64,
) -> Result<Value, InputError> {
    let bare = text.trim_matches(blank);
    let digits = bare.strip_prefix(['-', '+']).unwrap_or(bare);
    if digits.is_empty() || !digits.bytes().all(|digit| digit.is_ascii_digit()) {
        return Err(InputError::syntax(name, text));
    }
    match bare.parse::<i64>() {
        Ok(value) if (least..=most).contains(&value) => Ok(Value::Int(value)),
        _ => Err(range(name, text)),
    }
}

fn range(name: &str, text: &str) -> InputError {
    InputError::new("22003", format!("value \"{text}\" is out of range for type {name}"))
}

/// A negative one counts from the end, as C's strtoul has it.
pub(super) fn oid(text: &str) -> Result<Value, InputError> {
    let Value::Int(value) = integer(text, "oid", i64::MIN, i64::MAX)? else {
        return Err(InputError::syntax("oid", text));
    };
    match u32::try_from(value) {
        Ok(value) => Ok(Value::Int(value.into())),
        Err(_) => match i32::try_from(value) {
            Ok(value) => Ok(Value::Int(value.cast_unsigned().into())),
            Err(_) => Err(range("oid", text)),
        },
    }
}

pub(super) fn float4(text: &str) -> Result<Value, InputError> {
    let (value, zero) = float::<f32>(text, "real")?;
    let lost = value.is_infinite() || value == 0.0;
    if lost && !zero {
        return Err(too_far(text, "real"));
    }
    Ok(Value::Float4(value))
}

pub(super) fn float8(text: &str) -> Result<Value, InputError> {
    let (value, zero) = float::<f64>(text, "double precision")?;
    let lost = value.is_infinite() || value == 0.0;
    if lost && !zero {
        return Err(too_far(text, "double precision"));
    }
    Ok(Value::Float8(value))
}

fn too_far(text: &str, name: &str) -> InputError {
    InputError::new("22003", format!("\"{}\" is out of range for type {name}", text.trim()))
}

/// The number, and whether zero or infinity is what was written.
fn float<F: std::str::FromStr>(text: &str, name: &str) -> Result<(F, bool), InputError> {
    let wrong = || InputError::syntax(name, text);
    let bare = text.trim_matches(blank);
    let word = bare.to_ascii_lowercase();
    let word = word.strip_prefix(['-', '+']).unwrap_or(&word);
    if word.starts_with("0x") {
        return Err(InputError::unknown_spelling(name));
    }
    let named = matches!(word, "inf" | "infinity" | "nan");
    let letters = word.bytes().all(|byte| byte.is_ascii_digit() || b".e+-".contains(&byte));
    if word.is_empty() || !(named || letters) {
        return Err(wrong());
    }
    let mantissa = word.split('e').next().unwrap_or_default();
    let zero = mantissa.bytes().all(|byte| matches!(byte, b'0' | b'.'));
    let value = bare.parse().map_err(|_| wrong())?;
    Ok((value, zero || named))
}

/// `name` is the type that a message names.
pub(super) fn numeric(text: &str, name: &str) -> Result<Numeric, InputError> {
    let wrong = || InputError::syntax(name, text);
    let bare = text.trim_matches(blank);
    let (negative, digits) = match bare.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, bare.strip_prefix('+').unwrap_or(bare)),
    };
    match digits.to_ascii_lowercase().as_str() {
        "nan" if digits.len() == bare.len() => return Ok(Numeric::NaN),
        "inf" | "infinity" if negative => return Ok(Numeric::NegativeInfinity),
        "inf" | "infinity" => return Ok(Numeric::PositiveInfinity),
        _ => {}
    }
    let (mantissa, exponent) = digits.split_once(['e', 'E']).unwrap_or((digits, "0"));
    let (whole, decimals) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let all_digits = |part: &str| part.bytes().all(|digit| digit.is_ascii_digit());
    if whole.is_empty() && decimals.is_empty() || !all_digits(whole) || !all_digits(decimals) {
        return Err(wrong());
    }
    let unsigned = exponent.strip_prefix(['-', '+']).unwrap_or(exponent);
    if unsigned.is_empty() || !all_digits(unsigned) {
        return Err(wrong());
    }
    let overflow = || InputError::new("22003", "value overflows numeric format".to_owned());
    let exponent: i64 = exponent.parse().map_err(|_| overflow())?;
    finite(negative, whole, decimals, exponent).map(Numeric::Finite).ok_or_else(overflow)
}

/// Plain digits, with the scale that PostgreSQL gives them.
fn finite(negative: bool, whole: &str, decimals: &str, exponent: i64) -> Option<String> {
    let size = |part: &str| i64::try_from(part.len()).ok();
    let scale = size(decimals)?.checked_sub(exponent)?.max(0);
    let digits = format!("{whole}{decimals}");
    let significant = digits.trim_start_matches('0');
    let zero = significant.is_empty();
    let point = size(whole)?.checked_add(exponent)?;
    let before = point.checked_sub(size(&digits)? - size(significant)?)?;
    if SCALE_MAX < scale || (!zero && WHOLE_MAX < before) {
        return None;
    }
    let count = |number: i64| usize::try_from(number).unwrap_or_default();
    // As many zeros as the point needs on either side.
    let padded = match (zero, point) {
        (true, _) => format!("0{}", "0".repeat(count(scale))),
        (false, point) if point <= 0 => format!("0{}{digits}", "0".repeat(count(-point))),
        (false, point) => {
            let missing = count((point + scale) - size(&digits)?);
            format!("{digits}{}", "0".repeat(missing))
        }
    };
    let cut = padded.len().checked_sub(count(scale))?;
    let (whole, decimals) = padded.split_at(cut);
    let whole = whole.trim_start_matches('0');
    let whole = if whole.is_empty() { "0" } else { whole };
    let sign = if negative && !zero { "-" } else { "" };
    Some(match decimals {
        "" => format!("{sign}{whole}"),
        decimals => format!("{sign}{whole}.{decimals}"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn is(text: &str, expected: &str) {
        match numeric(text, "numeric") {
            Ok(Numeric::Finite(found)) => assert_eq!(found, expected, "{text}"),
            _ => panic!("{text}"),
        }
    }

    #[test]
    fn a_decimal_keeps_its_scale_and_loses_its_exponent() {
        for (text, expected) in [
            ("1e2", "100"),
            ("1.50", "1.50"),
            ("1.5e1", "15"),
            ("1.505e1", "15.05"),
            ("1e-3", "0.001"),
            ("-0.00", "0.00"),
            (".5", "0.5"),
            ("5.", "5"),
            ("007", "7"),
            (" +1 ", "1"),
            ("0e5", "0"),
            ("0e-3", "0.000"),
            ("-12.5e-2", "-0.125"),
        ] {
            is(text, expected);
        }
        for text in ["", "1e", "e1", "--1", "1.2.3", "0x1", "+nan"] {
            assert_eq!(numeric(text, "numeric").err().unwrap().code, "22P02", "{text}");
        }
        assert_eq!(numeric("1e200000", "numeric").err().unwrap().code, "22003");
    }
}
