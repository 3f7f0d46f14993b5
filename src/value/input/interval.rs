//! Intervals: `1 day 02:00:00`, `90 minutes`, `-1 mons +3 days`, `P1DT2H`.

use super::{InputError, blank};
use crate::value::Value;
use crate::value::text::MICROS_PER_DAY;

/// Months, days and microseconds, added up wider than they are kept.
#[derive(Clone, Copy, Default)]
struct Sum {
    months: i128,
    days: i128,
    micros: i128,
}

/// What a unit is made of.
#[derive(Clone, Copy)]
enum Unit {
    Months(i128),
    Days(i128),
    Micros(i128),
}

const SECOND: i128 = 1_000_000;

pub(super) fn read(text: &str) -> Result<Value, InputError> {
    let wrong =
        || InputError::new("22007", format!("invalid input syntax for type interval: \"{text}\""));
    let bare = text.trim_matches(blank);
    let sum = match bare.strip_prefix('P') {
        Some(rest) => iso(rest),
        None => verbose(bare),
    };
    let sum = sum.ok_or_else(wrong)?;
    let interval = || {
        let (months, days) = (i32::try_from(sum.months).ok()?, i32::try_from(sum.days).ok()?);
        Some(Value::Interval { months, days, micros: i64::try_from(sum.micros).ok()? })
    };
    interval().ok_or_else(|| {
        InputError::new("22015", format!("interval field value out of range: \"{text}\""))
    })
}

/// An amount of a unit: whole, and billionths with the sign of the whole.
#[derive(Clone, Copy)]
struct Amount {
    whole: i128,
    nanos: i128,
}

fn amount(text: &str) -> Option<Amount> {
    let (negative, digits) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    let (whole, decimals) = digits.split_once('.').unwrap_or((digits, ""));
    let digits_only = |part: &str| part.bytes().all(|digit| digit.is_ascii_digit());
    if whole.is_empty() && decimals.is_empty()
        || !digits_only(whole)
        || !digits_only(decimals)
        || 9 < decimals.len()
        || 19 < whole.len()
    {
        return None;
    }
    let whole = if whole.is_empty() { 0 } else { whole.parse::<i128>().ok()? };
    let nanos: i128 = format!("{decimals:0<9}").parse().ok()?;
    let sign = if negative { -1 } else { 1 };
    Some(Amount { whole: sign * whole, nanos: sign * nanos })
}

impl Sum {
    /// Fractions go down to the next smaller part: years to months, months to days of which there are
    /// thirty, days to time.
    fn add(&mut self, amount: Amount, unit: Unit) {
        const NANOS: i128 = 1_000_000_000;
        match unit {
            Unit::Months(of) => {
                self.months += amount.whole * of;
                if of > 1 {
                    self.months += round(amount.nanos * of, NANOS);
                } else {
                    let days = amount.nanos * 30;
                    self.days += days / NANOS;
                    self.micros += round(days % NANOS * i128::from(MICROS_PER_DAY), NANOS);
                }
            }
            Unit::Days(of) => {
                self.days += amount.whole * of;
                let days = amount.nanos * of;
                self.days += days / NANOS;
                self.micros += round(days % NANOS * i128::from(MICROS_PER_DAY), NANOS);
            }
            Unit::Micros(of) => {
                self.micros += amount.whole * of + round(amount.nanos * of, NANOS);
            }
        }
    }
}

/// To the nearest, half to even.
fn round(value: i128, unit: i128) -> i128 {
    let (whole, rest) = (value.div_euclid(unit), value.rem_euclid(unit));
    match (2 * rest).cmp(&unit) {
        std::cmp::Ordering::Less => whole,
        std::cmp::Ordering::Greater => whole + 1,
        std::cmp::Ordering::Equal => whole + whole.rem_euclid(2),
    }
}

/// What follows the P of ISO 8601's form with designators.
fn iso(text: &str) -> Option<Sum> {
    let mut sum = Sum::default();
    let (mut rest, mut in_time, mut any) = (text, false, false);
    while !rest.is_empty() {
        if let Some(after) = rest.strip_prefix('T').filter(|_| !in_time) {
            (rest, in_time) = (after, true);
            continue;
        }
        let at = rest.find(|letter: char| letter.is_ascii_alphabetic())?;
        let amount = amount(&rest[..at])?;
        let unit = match (rest.as_bytes()[at], in_time) {
            (b'Y', false) => Unit::Months(12),
            (b'M', false) => Unit::Months(1),
            (b'W', false) => Unit::Days(7),
            (b'D', false) => Unit::Days(1),
            (b'H', true) => Unit::Micros(3600 * SECOND),
            (b'M', true) => Unit::Micros(60 * SECOND),
            (b'S', true) => Unit::Micros(SECOND),
            _ => return None,
        };
        sum.add(amount, unit);
        any = true;
        rest = &rest[at + 1..];
    }
    any.then_some(sum)
}

fn verbose(text: &str) -> Option<Sum> {
    let mut sum = Sum::default();
    let words = words(text);
    let mut words = words.iter().map(String::as_str).peekable();
    let (mut any, mut ago) = (false, false);
    while let Some(word) = words.next() {
        match word {
            "@" => continue,
            "ago" if any && words.peek().is_none() => ago = true,
            word if word.contains(':') => sum.micros += clock(word)?,
            word => {
                let amount = amount(word)?;
                // A number alone is seconds.
                let unit = words.next().map_or(Some(Unit::Micros(SECOND)), unit)?;
                sum.add(amount, unit);
            }
        }
        any = true;
    }
    if ago {
        sum = Sum { months: -sum.months, days: -sum.days, micros: -sum.micros };
    }
    any.then_some(sum)
}

/// Lower-case words; a unit may follow its number without a blank.
fn words(text: &str) -> Vec<String> {
    let mut words: Vec<String> = Vec::new();
    let mut last = ' ';
    for letter in text.chars() {
        let starts = blank(last) || last == '@' || last.is_ascii_digit() && letter.is_alphabetic();
        if !blank(letter) {
            match words.last_mut().filter(|_| !starts) {
                Some(word) => word.push(letter.to_ascii_lowercase()),
                None => words.push(letter.to_ascii_lowercase().to_string()),
            }
        }
        last = letter;
    }
    words
}

fn unit(name: &str) -> Option<Unit> {
    Some(match name {
        "millennium" | "millennia" | "mil" | "mils" => Unit::Months(12_000),
        "century" | "centuries" | "cent" | "c" => Unit::Months(1200),
        "decade" | "decades" | "dec" | "decs" => Unit::Months(120),
        "year" | "years" | "yr" | "yrs" | "y" => Unit::Months(12),
        "month" | "months" | "mon" | "mons" => Unit::Months(1),
        "week" | "weeks" | "w" => Unit::Days(7),
        "day" | "days" | "d" => Unit::Days(1),
        "hour" | "hours" | "hr" | "hrs" | "h" => Unit::Micros(3600 * SECOND),
        "minute" | "minutes" | "min" | "mins" | "m" => Unit::Micros(60 * SECOND),
        "second" | "seconds" | "sec" | "secs" | "s" => Unit::Micros(SECOND),
        "millisecond" | "milliseconds" | "msec" | "msecs" | "ms" => Unit::Micros(1000),
        "microsecond" | "microseconds" | "usec" | "usecs" | "us" => Unit::Micros(1),
        _ => return None,
    })
}

/// `[-]hh:mm[:ss[.ffffff]]`
fn clock(text: &str) -> Option<i128> {
    let (sign, text) = match text.strip_prefix('-') {
        Some(rest) => (-1, rest),
        None => (1, text.strip_prefix('+').unwrap_or(text)),
    };
    let mut parts = text.split(':');
    let hours = amount(parts.next()?).filter(|hours| hours.nanos == 0)?;
    let minutes = amount(parts.next()?).filter(|minutes| (0..60).contains(&minutes.whole))?;
    let mut sum = Sum::default();
    sum.add(hours, Unit::Micros(3600 * SECOND));
    match parts.next() {
        Some(seconds) => {
            let seconds = amount(seconds).filter(|seconds| (0..=60).contains(&seconds.whole))?;
            sum.add(minutes, Unit::Micros(60 * SECOND));
            sum.add(seconds, Unit::Micros(SECOND));
        }
        // `mm:ss.f` where the last has a fraction.
        None if minutes.nanos != 0 => {
            sum.micros /= 60;
            sum.add(minutes, Unit::Micros(SECOND));
        }
        None => sum.add(minutes, Unit::Micros(60 * SECOND)),
    }
    parts.next().is_none().then_some(sign * sum.micros)
}
