//! The bytes by which a value of PostgreSQL and one read from MySQL are compared.
//!
//! ```text
//! Value ──to_mysql──▶ Param ─┐
//!                            ├──[`push_normal`]──▶ tag · length · content, equal where the values are
//! MySQL's binary protocol ──▶┘
//! ```
//!
//! Invariant: equal bytes mean that MySQL holds what would be written to it now. What MySQL itself
//! rewrites is brought to one form on both sides: a decimal's zeros at the end, and on MySQL the
//! spelling of JSON. Everything else is compared as it was sent.

use mysql_async::Value as Param;

use super::{json, text};
use crate::value::{Flavor, TargetType, Unrepresentable, Value};

impl Value {
    /// Appends the bytes of this value as a column of type `target` holds it.
    pub fn push_normal(
        &self,
        target: &TargetType,
        flavor: Flavor,
        out: &mut Vec<u8>,
    ) -> Result<(), Unrepresentable> {
        push_normal(&self.to_mysql(target, flavor)?, target, flavor, out);
        Ok(())
    }
}

/// Appends the bytes of a value as it goes to, or comes from, a column of type `target`.
pub fn push_normal(param: &Param, target: &TargetType, flavor: Flavor, out: &mut Vec<u8>) {
    match (param, target) {
        (Param::NULL, _) => out.push(b'N'),
        (Param::Bytes(bytes), TargetType::Decimal { .. }) => {
            push(b'D', decimal(&String::from_utf8_lossy(bytes)).as_bytes(), out);
        }
        (Param::Bytes(bytes), TargetType::Json) if flavor == Flavor::MySql => {
            push(b'J', &json::normal(bytes), out);
        }
        (Param::Bytes(bytes), _) => push(b'B', bytes, out),
        (Param::Int(value), _) => push(b'I', &i128::from(*value).to_be_bytes(), out),
        (Param::UInt(value), _) => push(b'I', &i128::from(*value).to_be_bytes(), out),
        (Param::Float(value), _) => push(b'F', &f64::from(*value).to_bits().to_be_bytes(), out),
        (Param::Double(value), _) => push(b'F', &value.to_bits().to_be_bytes(), out),
        (Param::Date(year, month, day, hour, minute, second, micro), _) => {
            let seconds = (u64::from(*hour) * 60 + u64::from(*minute)) * 60 + u64::from(*second);
            out.push(b'd');
            out.extend_from_slice(&year.to_be_bytes());
            out.extend_from_slice(&[*month, *day]);
            out.extend_from_slice(&(seconds * 1_000_000 + u64::from(*micro)).to_be_bytes());
        }
        (Param::Time(negative, days, hour, minute, second, micro), _) => {
            let hours = u64::from(*days) * 24 + u64::from(*hour);
            let seconds = (hours * 60 + u64::from(*minute)) * 60 + u64::from(*second);
            let micros = seconds * 1_000_000 + u64::from(*micro);
            debug_assert!(micros < 900 * text::MICROS_PER_DAY.unsigned_abs(), "MySQL's own limit");
            out.extend_from_slice(&[b't', u8::from(*negative)]);
            out.extend_from_slice(&micros.to_be_bytes());
        }
    }
}

/// The next value of bytes that [`push_normal`] wrote, as MySQL would send it: the same bytes come of it
/// again. `None` at their end, and for what was never written there.
#[must_use]
pub fn take_normal(bytes: &mut &[u8]) -> Option<Param> {
    let param = match take::<1>(bytes)? {
        [b'N'] => Param::NULL,
        [b'D' | b'B' | b'J'] => Param::Bytes(content(bytes)?.to_vec()),
        [b'I'] => {
            let value = i128::from_be_bytes(content(bytes)?.try_into().ok()?);
            match i64::try_from(value) {
                Ok(value) => Param::Int(value),
                Err(_) => Param::UInt(value.try_into().ok()?),
            }
        }
        [b'F'] => {
            Param::Double(f64::from_bits(u64::from_be_bytes(content(bytes)?.try_into().ok()?)))
        }
        [b'd'] => {
            let (year, [month, day]) = (u16::from_be_bytes(take(bytes)?), take(bytes)?);
            let (hours, minute, second, micro) = clock(u64::from_be_bytes(take(bytes)?))?;
            Param::Date(year, month, day, hours.try_into().ok()?, minute, second, micro)
        }
        [b't'] => {
            let [negative] = take(bytes)?;
            let (hours, minute, second, micro) = clock(u64::from_be_bytes(take(bytes)?))?;
            let hour = u8::try_from(hours % 24).ok()?;
            Param::Time(negative != 0, hours / 24, hour, minute, second, micro)
        }
        _ => return None,
    };
    Some(param)
}

/// Hours, minutes, seconds, microseconds.
fn clock(micros: u64) -> Option<(u32, u8, u8, u32)> {
    let (seconds, micro) = (micros / 1_000_000, u32::try_from(micros % 1_000_000).ok()?);
    let part = |value: u64| u8::try_from(value % 60).ok();
    Some((u32::try_from(seconds / 3600).ok()?, part(seconds / 60)?, part(seconds)?, micro))
}

fn take<const N: usize>(bytes: &mut &[u8]) -> Option<[u8; N]> {
    let (first, rest) = bytes.split_first_chunk()?;
    *bytes = rest;
    Some(*first)
}

fn content<'a>(bytes: &mut &'a [u8]) -> Option<&'a [u8]> {
    let length = usize::try_from(u64::from_be_bytes(take(bytes)?)).ok()?;
    let (content, rest) = bytes.split_at_checked(length)?;
    *bytes = rest;
    Some(content)
}

pub(super) fn push(tag: u8, content: &[u8], out: &mut Vec<u8>) {
    out.push(tag);
    out.extend_from_slice(&(content.len() as u64).to_be_bytes());
    out.extend_from_slice(content);
}

/// Without the zeros that say nothing: `-001.500` is `-1.5`, `-0.0` is `0`.
fn decimal(text: &str) -> String {
    let (sign, digits) = text.strip_prefix('-').map_or(("", text), |rest| ("-", rest));
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    let whole = whole.trim_start_matches('0');
    let fraction = fraction.trim_end_matches('0');
    match (whole, fraction) {
        ("", "") => "0".to_owned(),
        ("", fraction) => format!("{sign}0.{fraction}"),
        (whole, "") => format!("{sign}{whole}"),
        (whole, fraction) => format!("{sign}{whole}.{fraction}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn normal(param: &Param, target: &TargetType, flavor: Flavor) -> Vec<u8> {
        let mut out = Vec::new();
        push_normal(param, target, flavor, &mut out);
        out
    }

    fn bytes(text: &str) -> Param {
        Param::Bytes(text.as_bytes().to_vec())
    }

    #[test]
    fn a_decimal_is_compared_by_its_value() {
        let target = TargetType::Decimal { precision: 10, scale: 3 };
        let of = |text| normal(&bytes(text), &target, Flavor::MySql);
        for (left, right) in
            [("1.5", "1.500"), ("-0", "0.000"), ("007", "7"), ("-.5", "-0.50"), ("100", "100.0")]
        {
            assert!(of(left) == of(right), "{left} {right}");
        }
        for (left, right) in [("1.5", "-1.5"), ("10", "1"), ("0.1", "0.01")] {
            assert!(of(left) != of(right), "{left} {right}");
        }
    }

    #[test]
    fn a_document_is_compared_as_mysql_keeps_it_and_as_text_on_mariadb() {
        let (left, right) = (r#"{"b":1.0,"a":[1e2,"x\u00e9"]}"#, r#"{"a": [100, "xé"], "b": 1}"#);
        let of = |text, flavor| normal(&bytes(text), &TargetType::Json, flavor);
        assert!(of(left, Flavor::MySql) == of(right, Flavor::MySql));
        assert!(of(left, Flavor::MariaDb) != of(right, Flavor::MariaDb));
        for other in [r#"{"b":1.1,"a":[100,"xé"]}"#, r#"{"a":[100,"xé"]}"#, "null", "\"null\""] {
            assert!(of(left, Flavor::MySql) != of(other, Flavor::MySql), "{other}");
        }
    }

    #[test]
    fn what_was_written_is_read_back() {
        let decimal = TargetType::Decimal { precision: 10, scale: 3 };
        let mut all = Vec::new();
        let values = [
            (Param::NULL, TargetType::Int),
            (bytes("é\0'"), TargetType::LongText),
            (bytes(""), TargetType::LongText),
            (bytes("-1.500"), decimal),
            (Param::Int(i64::MIN), TargetType::BigInt),
            (Param::UInt(u64::MAX), TargetType::BigInt),
            (Param::Double(-0.0), TargetType::Double),
            (Param::Float(1.25), TargetType::Double),
            (Param::Date(9999, 12, 31, 23, 59, 58, 999_999), TargetType::LongText),
            (Param::Time(true, 34, 22, 59, 58, 1), TargetType::LongText),
        ];
        for (param, target) in &values {
            push_normal(param, target, Flavor::MySql, &mut all);
        }
        let (mut rest, mut again) = (&*all, Vec::new());
        for (_, target) in &values {
            let param = take_normal(&mut rest).expect("it was written");
            push_normal(&param, target, Flavor::MySql, &mut again);
        }
        assert!(all == again && rest.is_empty());
        assert!(take_normal(&mut rest).is_none());
        for wrong in [&b"?"[..], b"B\0\0\0\0\0\0\0\x09short", b"I\0\0\0\0\0\0\0\x01x", b"d\0"] {
            assert!(take_normal(&mut &*wrong).is_none());
        }
    }

    #[test]
    fn neighbours_cannot_be_taken_for_one_another() {
        let of = |params: &[Param]| {
            let mut out = Vec::new();
            let target = TargetType::LongText;
            params.iter().for_each(|param| push_normal(param, &target, Flavor::MySql, &mut out));
            out
        };
        assert!(of(&[bytes("a"), bytes("b")]) != of(&[bytes("ab"), bytes("")]));
        assert!(of(&[Param::NULL]) != of(&[bytes("")]));
        assert!(of(&[Param::Double(0.0)]) != of(&[Param::Double(-0.0)]));
        let midnight = Param::Time(false, 1, 0, 0, 0, 0);
        assert!(of(&[midnight]) == of(&[Param::Time(false, 0, 24, 0, 0, 0)]));
    }
}
