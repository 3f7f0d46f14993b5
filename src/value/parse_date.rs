//! Dates, times and intervals as PostgreSQL reads them, in the forms that programs write.
//!
//! ```text
//! 2024-02-01T00:00:00+02:00 ──▶ TimestampTz      1 day 02:00:00, P1DT2H ──▶ Interval
//! ```
//!
//! Invariant: ISO forms only; words that depend on the day (`now`, `tomorrow`), and forms that depend on
//! DateStyle, are unclear.

use super::parse::{InputError, Zone};
use super::text::{MICROS_PER_DAY, days_from_civil};
use crate::value::Value;

const SECOND: i64 = 1_000_000;
const MINUTE: i64 = 60 * SECOND;
const HOUR: i64 = 60 * MINUTE;

fn out_of_range() -> InputError {
    let message = "date/time field value out of range".to_owned();
    InputError::Bad { code: "22008", message }
}

/// A text without a digit is a word or nothing at all.
fn unclear(text: &str, name: &'static str) -> InputError {
    const WORDS: &[&str] =
        &["now", "today", "tomorrow", "yesterday", "epoch", "allballs", "infinity"];
    let known = WORDS.iter().any(|word| text.to_ascii_lowercase().contains(word));
    if known || text.bytes().any(|byte| byte.is_ascii_digit()) {
        return InputError::Unclear(name);
    }
    let message = format!("invalid input syntax for type {name}");
    InputError::Bad { code: "22007", message }
}

pub(super) fn date(text: &str) -> Result<Value, InputError> {
    match text.to_ascii_lowercase().as_str() {
        "infinity" => return Ok(Value::Date(i32::MAX)),
        "-infinity" => return Ok(Value::Date(i32::MIN)),
        "epoch" => return Ok(Value::Date(-10_957)),
        _ => {}
    }
    let (days, rest) = day(text).ok_or_else(|| unclear(text, "date"))??;
    if rest.is_empty() {
        return Ok(Value::Date(days));
    }
    // A time of day, and a zone, are read and left out.
    let (_, _) = after_day(rest).ok_or_else(|| unclear(text, "date"))??;
    Ok(Value::Date(days))
}

pub(super) fn timestamp(text: &str) -> Result<Value, InputError> {
    moment(text, "timestamp")
        .map(|moment| Value::Timestamp(moment.map_or_else(|edge| edge, |m| m.0)))
}

pub(super) fn timestamp_tz(text: &str, zone: Zone) -> Result<Value, InputError> {
    Ok(Value::TimestampTz(match moment(text, "timestamptz")? {
        Err(edge) => edge,
        Ok((micros, Some(east))) => micros - east,
        Ok((micros, None)) if zone == Zone::Utc => micros,
        Ok((_, None)) => return Err(InputError::Unclear("a time without its zone")),
    }))
}

/// Microseconds since 2000-01-01, and those east of UTC; or ±infinity.
type Moment = Result<(i64, Option<i64>), i64>;

fn moment(text: &str, name: &'static str) -> Result<Moment, InputError> {
    match text.to_ascii_lowercase().as_str() {
        "infinity" => return Ok(Err(i64::MAX)),
        "-infinity" => return Ok(Err(i64::MIN)),
        "epoch" => return Ok(Ok((-946_684_800 * SECOND, Some(0)))),
        _ => {}
    }
    let (days, rest) = day(text).ok_or_else(|| unclear(text, name))??;
    let (micros, east) = match rest {
        "" => (0, None),
        rest => after_day(rest).ok_or_else(|| unclear(text, name))??,
    };
    Ok(Ok((i64::from(days) * MICROS_PER_DAY + micros, east)))
}

/// `2024-02-01`, and what follows.
fn day(text: &str) -> Option<Result<(i32, &str), InputError>> {
    let (year, rest) = number(text)?;
    let (month, rest) = number(rest.strip_prefix('-')?)?;
    let (day, rest) = number(rest.strip_prefix('-')?)?;
    // Two digits may be a day or a year, by DateStyle.
    if text.find('-')? < 4 {
        return None;
    }
    if year == 0 || year > 9999 {
        return Some(if year == 0 || year > 294_276 {
            Err(out_of_range())
        } else {
            Err(InputError::Unclear("a year past 9999"))
        });
    }
    let date =
        (|| days_from_civil(year.try_into().ok()?, month.try_into().ok()?, day.try_into().ok()?))();
    Some(date.map(|days| (days, rest)).ok_or_else(out_of_range))
}

/// A time of day after a date, and its zone in microseconds east.
fn after_day(rest: &str) -> Option<Result<(i64, Option<i64>), InputError>> {
    let rest = rest.strip_prefix(['T', 't']).or_else(|| rest.strip_prefix(' '))?.trim_start();
    let (micros, rest) = match clock(rest)? {
        Ok(found) => found,
        Err(error) => return Some(Err(error)),
    };
    match rest.trim_start() {
        "" => Some(Ok((micros, None))),
        zone => Some(Ok((micros, Some(offset(zone)?)))),
    }
}

/// `12:30[:15[.25]]`
fn clock(text: &str) -> Option<Result<(i64, &str), InputError>> {
    let (hour, rest) = number(text)?;
    let (minute, rest) = number(rest.strip_prefix(':')?)?;
    let (second, rest) = match rest.strip_prefix(':') {
        Some(rest) => number(rest)?,
        None => (0, rest),
    };
    let (micro, rest) = match rest.strip_prefix('.') {
        Some(rest) => fraction(rest)?,
        None => (0, rest),
    };
    let micros = hour * HOUR + minute * MINUTE + second * SECOND + micro;
    if hour > 24 || minute > 59 || second > 60 || micros > MICROS_PER_DAY {
        return Some(Err(out_of_range()));
    }
    Some(Ok((micros, rest)))
}

/// Digits after the point, rounded to microseconds.
fn fraction(text: &str) -> Option<(i64, &str)> {
    let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let digits = &text[..end];
    let value: f64 = format!("0.{digits}").parse().ok()?;
    #[expect(clippy::cast_possible_truncation, reason = "it is between 0 and 1,000,000")]
    let micros = (value * 1e6).round_ties_even() as i64;
    Some((micros, &text[end..]))
}

/// `Z`, `+02`, `+0530`, `-03:30`, `+01:00:01`, in microseconds east of UTC.
fn offset(text: &str) -> Option<i64> {
    if ["z", "utc", "gmt"].contains(&text.to_ascii_lowercase().as_str()) {
        return Some(0);
    }
    let sign = if text.starts_with('-') { -1 } else { 1 };
    let body = text.strip_prefix(['+', '-'])?;
    let digits: String = body.chars().filter(|c| *c != ':').collect();
    if !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let (hours, minutes, seconds) = match digits.len() {
        1 | 2 => (digits.parse::<i64>().ok()?, 0, 0),
        4 => (digits[..2].parse().ok()?, digits[2..].parse().ok()?, 0),
        6 => (digits[..2].parse().ok()?, digits[2..4].parse().ok()?, digits[4..].parse().ok()?),
        _ => return None,
    };
    (hours < 16 && minutes < 60 && seconds < 60)
        .then_some(sign * (hours * HOUR + minutes * MINUTE + seconds * SECOND))
}

pub(super) fn time(text: &str) -> Result<Value, InputError> {
    let (micros, rest) = clock(text).ok_or_else(|| unclear(text, "time"))??;
    // A zone is read and left out.
    if rest.is_empty() || offset(rest.trim_start()).is_some() {
        return Ok(Value::Time(micros));
    }
    Err(unclear(text, "time"))
}

pub(super) fn time_tz(text: &str, zone: Zone) -> Result<Value, InputError> {
    let (micros, rest) = clock(text).ok_or_else(|| unclear(text, "timetz"))??;
    let east = match rest.trim_start() {
        "" if zone == Zone::Utc => 0,
        rest => offset(rest).ok_or_else(|| unclear(text, "timetz"))?,
    };
    let west = i32::try_from(-east / SECOND).map_err(|_| out_of_range())?;
    Ok(Value::TimeTz(micros, west))
}

fn number(text: &str) -> Option<(i64, &str)> {
    let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    if end == 0 || end > 9 {
        return None;
    }
    Some((text[..end].parse().ok()?, &text[end..]))
}

/// Numbers with units, a clock, or ISO 8601's `P…`.
pub(super) fn interval(text: &str) -> Result<Value, InputError> {
    let unclear = || unclear(text, "interval");
    if let Some(rest) = text.strip_prefix('P') {
        return iso(rest).ok_or_else(unclear);
    }
    let mut total = Span::default();
    let lower = text.to_ascii_lowercase();
    let mut words = lower.split_whitespace().peekable();
    let mut ago = false;
    while let Some(word) = words.next() {
        match word {
            "@" => {}
            "ago" if words.peek().is_none() => ago = true,
            clock if clock.contains(':') => total.clock(clock).ok_or_else(unclear)?,
            _ => {
                let split = word.find(|c: char| c.is_ascii_alphabetic()).unwrap_or(word.len());
                let (amount, unit) = word.split_at(split);
                let unit = match unit {
                    "" => match words
                        .next_if(|next| next.starts_with(|c: char| c.is_ascii_alphabetic()))
                    {
                        Some(unit) => unit,
                        // A bare number at the end is seconds.
                        None if words.peek().is_none() => "second",
                        None => return Err(unclear()),
                    },
                    unit => unit,
                };
                total.add(amount, unit).ok_or_else(unclear)?;
            }
        }
    }
    if text.is_empty() {
        return Err(unclear());
    }
    let sign = if ago { -1 } else { 1 };
    total.value(sign).ok_or_else(unclear)
}

/// An interval under construction.
#[derive(Default)]
struct Span {
    months: i64,
    days: i64,
    micros: i64,
}

impl Span {
    fn add(&mut self, amount: &str, unit: &str) -> Option<()> {
        let unit = unit.strip_suffix('s').filter(|unit| unit.len() > 1).unwrap_or(unit);
        let (months, days, micros) = match unit {
            "millennium" | "mil" => (12_000, 0, 0),
            "century" | "c" => (1_200, 0, 0),
            "decade" | "dec" => (120, 0, 0),
            "year" | "yr" | "y" => (12, 0, 0),
            "month" | "mon" => (1, 0, 0),
            "week" | "w" => (0, 7, 0),
            "day" | "d" => (0, 1, 0),
            "hour" | "hr" | "h" => (0, 0, HOUR),
            "minute" | "min" | "m" => (0, 0, MINUTE),
            "second" | "sec" | "s" => (0, 0, SECOND),
            "millisecond" | "msec" | "ms" => (0, 0, 1000),
            "microsecond" | "usec" | "us" => (0, 0, 1),
            _ => return None,
        };
        let (sign, digits) = match amount.strip_prefix('-') {
            Some(digits) => (-1, digits),
            None => (1, amount.strip_prefix('+').unwrap_or(amount)),
        };
        let (whole, part) = digits.split_once('.').unwrap_or((digits, ""));
        let whole: i64 = if whole.is_empty() { 0 } else { whole.parse().ok()? };
        self.months = self.months.checked_add(sign * whole.checked_mul(months)?)?;
        self.days = self.days.checked_add(sign * whole.checked_mul(days)?)?;
        self.micros = self.micros.checked_add(sign * whole.checked_mul(micros)?)?;
        // Parts of a month or a day spill over in ways of their own.
        if !part.is_empty() {
            if micros == 0 || part.len() > 6 || !part.bytes().all(|b| b.is_ascii_digit()) {
                return None;
            }
            let scaled: i64 = format!("{part:0<6}").parse().ok()?;
            let exact = scaled.checked_mul(micros)?;
            if exact % SECOND != 0 {
                return None;
            }
            self.micros = self.micros.checked_add(sign * (exact / SECOND))?;
        }
        Some(())
    }

    /// `-12:34:56.7`, hours past 24 included.
    fn clock(&mut self, text: &str) -> Option<()> {
        let (sign, rest) = match text.strip_prefix('-') {
            Some(rest) => (-1, rest),
            None => (1, text.strip_prefix('+').unwrap_or(text)),
        };
        let (hour, rest) = number(rest)?;
        let (minute, rest) = number(rest.strip_prefix(':')?)?;
        let (second, rest) = match rest.strip_prefix(':') {
            Some(rest) => number(rest)?,
            None => (0, rest),
        };
        let (micro, rest) = match rest.strip_prefix('.') {
            Some(rest) => fraction(rest)?,
            None => (0, rest),
        };
        if !rest.is_empty() || minute > 59 || second > 59 {
            return None;
        }
        self.micros += sign * (hour * HOUR + minute * MINUTE + second * SECOND + micro);
        Some(())
    }

    fn value(&self, sign: i64) -> Option<Value> {
        Some(Value::Interval {
            months: i32::try_from(sign * self.months).ok()?,
            days: i32::try_from(sign * self.days).ok()?,
            micros: sign.checked_mul(self.micros)?,
        })
    }
}

/// What follows the `P` of `P1Y2M3DT4H5M6.7S`.
fn iso(text: &str) -> Option<Value> {
    let mut total = Span::default();
    let (mut rest, mut clock) = (text, false);
    while !rest.is_empty() {
        if let Some(after) = rest.strip_prefix('T') {
            (rest, clock) = (after, true);
            continue;
        }
        let end = rest.find(|c: char| c.is_ascii_alphabetic())?;
        let unit = match (&rest[end..=end], clock) {
            ("Y", false) => "year",
            ("M", false) => "month",
            ("W", false) => "week",
            ("D", false) => "day",
            ("H", true) => "hour",
            ("M", true) => "minute",
            ("S", true) => "second",
            _ => return None,
        };
        total.add(&rest[..end], unit)?;
        rest = &rest[end + 1..];
    }
    (!text.is_empty()).then(|| total.value(1)).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::value::PgType;

    fn micros(text: &str) -> i64 {
        match PgType::TimestampTz.parse(text, Zone::Utc) {
            Ok(Value::TimestampTz(micros)) => micros,
            other => panic!("{text}: {other:?}"),
        }
    }

    #[test]
    fn moments_are_read_with_their_zone_and_rounded() {
        assert_eq!(micros("2000-01-01 00:00:00+00"), 0);
        assert_eq!(micros("2000-01-01T02:00:00.25+02:00"), 250_000);
        assert_eq!(micros("1999-12-31 23:59:59.9999999Z"), 0);
        assert_eq!(micros("2000-01-01 05:30+0530"), 0);
        assert_eq!(micros("epoch"), -946_684_800_000_000);
        let code = |text: &str| match PgType::TimestampTz.parse(text, Zone::Utc) {
            Err(InputError::Bad { code, .. }) => code,
            Err(InputError::Unclear(_)) => "unclear",
            Ok(_) => "read",
        };
        assert_eq!(code("2024-02-30 00:00:00"), "22008");
        assert_eq!(code("soon"), "22007");
        assert_eq!(code("tomorrow"), "unclear");
        assert_eq!(code("01/02/2024"), "unclear");
    }

    #[test]
    fn intervals_are_read_in_the_forms_that_are_printed() {
        let read = |text: &str| match PgType::Interval.parse(text, Zone::Utc) {
            Ok(Value::Interval { months, days, micros }) => (months, days, micros / SECOND),
            other => panic!("{text}: {other:?}"),
        };
        assert_eq!(read("1 day 2 hours"), (0, 1, 7200));
        assert_eq!(read("1 year 2 mons -3 days 04:05:06"), (14, -3, 14706));
        assert_eq!(read("P1Y2M3DT4H5M6S"), (14, 3, 14706));
        assert_eq!(read("15 minutes"), (0, 0, 900));
        assert_eq!(read("1.5 hours ago"), (0, 0, -5400));
        assert_eq!(read("90"), (0, 0, 90));
        assert_eq!(read("30d"), (0, 30, 0));
    }
}
