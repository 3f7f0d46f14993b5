//! Dates and times of day.
//!
//! Read are ISO 8601 in all its mixtures, `1/2/2024` by the session's DateStyle, names of months,
//! and the words for infinity and the epoch. What stands for the present moment (`now`, `today`) has
//! no meaning apart from a transaction and is not read here.

use super::calendar::{checked, foreign, month};
use super::{InputError, blank};
use crate::value::Value;
use crate::value::style::{DateOrder, Style, Zone};
use crate::value::text::MICROS_PER_DAY;

const SECOND: i64 = 1_000_000;
/// 294277-01-01, past which no timestamp is.
const TIMESTAMP_END: i64 = 9_223_371_331_200_000_000;
/// What a text said, before it becomes a value.
#[derive(Default)]
struct Parts {
    day: Option<i64>,
    /// Microseconds since midnight.
    clock: Option<i64>,
    /// Seconds east of UTC.
    zone: Option<At>,
    special: Option<Special>,
}

#[derive(Clone, Copy)]
enum At {
    East(i32),
    In(Zone),
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Special {
    Infinity,
    MinusInfinity,
    Epoch,
}

enum Wrong {
    Syntax,
    Range,
    Displacement,
    Unknown,
}

pub(super) fn date(text: &str, style: &Style) -> Result<Value, InputError> {
    let parts = parts(text, "date", style)?;
    let day = match parts.special {
        Some(Special::Infinity) => i32::MAX,
        Some(Special::MinusInfinity) => i32::MIN,
        Some(Special::Epoch) => -10_957,
        None => parts
            .day
            .ok_or_else(|| syntax("date", text))
            .and_then(|day| i32::try_from(day).map_err(|_| range(text)))?,
    };
    Ok(Value::Date(day))
}

pub(super) fn timestamp(text: &str, style: &Style) -> Result<Value, InputError> {
    const NAME: &str = "timestamp";
    let parts = parts(text, NAME, style)?;
    local(&parts, text, NAME).map(Value::Timestamp)
}

pub(super) fn timestamptz(text: &str, style: &Style) -> Result<Value, InputError> {
    const NAME: &str = "timestamp with time zone";
    let parts = parts(text, NAME, style)?;
    let local = local(&parts, text, NAME)?;
    if parts.special.is_some() {
        return Ok(Value::TimestampTz(local));
    }
    let east = match parts.zone.unwrap_or(At::In(style.zone)) {
        At::East(east) => east,
        At::In(zone) => zone.east_of_local(local),
    };
    local.checked_sub(i64::from(east) * SECOND).map(Value::TimestampTz).ok_or_else(|| range(text))
}

pub(super) fn time(text: &str) -> Result<Value, InputError> {
    const NAME: &str = "time";
    let parts = parts(text, NAME, &Style::default())?;
    parts.clock.map(Value::Time).ok_or_else(|| syntax(NAME, text))
}

pub(super) fn timetz(text: &str, style: &Style) -> Result<Value, InputError> {
    const NAME: &str = "time with time zone";
    let parts = parts(text, NAME, style)?;
    let clock = parts.clock.ok_or_else(|| syntax(NAME, text))?;
    let east = match (parts.zone, style.zone) {
        (Some(At::East(east)), _) | (None, Zone::Fixed(east)) => east,
        (None, Zone::Named(chrono_tz::Tz::UTC)) => 0,
        // The offset is that of today, or of a day that is not there.
        _ => return Err(InputError::unknown_spelling(NAME)),
    };
    Ok(Value::TimeTz(clock, -east))
}

/// Microseconds since 2000-01-01, zone left aside.
fn local(parts: &Parts, text: &str, name: &str) -> Result<i64, InputError> {
    match parts.special {
        Some(Special::Infinity) => return Ok(i64::MAX),
        Some(Special::MinusInfinity) => return Ok(i64::MIN),
        Some(Special::Epoch) => return Ok(-10_957 * MICROS_PER_DAY),
        None => {}
    }
    let day = parts.day.ok_or_else(|| syntax(name, text))?;
    let micros = day.checked_mul(MICROS_PER_DAY);
    let micros = micros.and_then(|day| day.checked_add(parts.clock.unwrap_or(0)));
    micros
        .filter(|micros| *micros < TIMESTAMP_END)
        .ok_or_else(|| InputError::new("22008", format!("timestamp out of range: \"{text}\"")))
}

fn syntax(name: &str, text: &str) -> InputError {
    InputError::new("22007", format!("invalid input syntax for type {name}: \"{text}\""))
}

fn range(text: &str) -> InputError {
    InputError::new("22008", format!("date/time field value out of range: \"{text}\""))
}

fn parts(text: &str, name: &str, style: &Style) -> Result<Parts, InputError> {
    let mut reader = Reader {
        rest: text.trim_matches(blank),
        order: style.order,
        bare_clock: name.starts_with("time") && !name.starts_with("timestamp"),
        parts: Parts::default(),
    };
    reader.run().map_err(|wrong| match wrong {
        Wrong::Syntax if !foreign(text) => syntax(name, text),
        Wrong::Range => range(text),
        Wrong::Displacement => {
            InputError::new("22009", format!("time zone displacement out of range: \"{text}\""))
        }
        Wrong::Syntax | Wrong::Unknown => InputError::unknown_spelling(name),
    })?;
    Ok(reader.parts)
}

struct Reader<'a> {
    rest: &'a str,
    order: DateOrder,
    /// Digits alone are a time of day.
    bare_clock: bool,
    parts: Parts,
}

impl<'a> Reader<'a> {
    fn run(&mut self) -> Result<(), Wrong> {
        match self.rest.to_ascii_lowercase().as_str() {
            "infinity" | "+infinity" => self.parts.special = Some(Special::Infinity),
            "-infinity" => self.parts.special = Some(Special::MinusInfinity),
            "epoch" => self.parts.special = Some(Special::Epoch),
            "" => return Err(Wrong::Syntax),
            _ => return self.fields(),
        }
        Ok(())
    }

    fn fields(&mut self) -> Result<(), Wrong> {
        let mut date: Option<(i32, u32, u32)> = None;
        let mut before_christ = false;
        while let Some(first) = self.rest.chars().next() {
            match first {
                letter if blank(letter) || letter == ',' => self.rest = &self.rest[1..],
                'T' | 't' if date.is_some() && self.parts.clock.is_none() => {
                    self.rest = &self.rest[1..];
                }
                '0'..='9' if self.is_clock(self.bare_clock || date.is_some()) => self.clock()?,
                '0'..='9' if date.is_none() => date = Some(self.date()?),
                '+' | '-' if self.parts.clock.is_some() || date.is_some() => self.offset()?,
                letter if letter.is_ascii_alphabetic() => {
                    self.word(&mut date, &mut before_christ)?;
                }
                _ => return Err(Wrong::Syntax),
            }
        }
        if let Some((year, month, day)) = date {
            if year == 0 {
                return Err(Wrong::Range);
            }
            let year = if before_christ { 1 - year } else { year };
            self.parts.day = Some(checked(year, month, day).ok_or(Wrong::Range)?);
        }
        Ok(())
    }

    fn word(
        &mut self,
        date: &mut Option<(i32, u32, u32)>,
        before_christ: &mut bool,
    ) -> Result<(), Wrong> {
        let end = |letter: char| !(letter.is_ascii_alphanumeric() || "/_+-".contains(letter));
        let plain = |letter: char| !letter.is_ascii_alphabetic();
        let short = &self.rest[..self.rest.find(plain).unwrap_or(self.rest.len())];
        let word = short.to_ascii_lowercase();
        match word.as_str() {
            "z" | "utc" | "gmt" | "zulu" => self.parts.zone = Some(At::East(0)),
            "ad" => {}
            "bc" => *before_christ = true,
            "am" | "pm" => self.half(&word)?,
            name if date.is_none() && month(name).is_some() => {
                *date = Some(self.named(month(name).unwrap_or_default(), short.len())?);
                return Ok(());
            }
            _ => {
                let long = &self.rest[..self.rest.find(end).unwrap_or(self.rest.len())];
                let zone = Zone::named(long).ok_or(Wrong::Syntax)?;
                self.parts.zone = Some(At::In(zone));
                self.rest = &self.rest[long.len()..];
                return Ok(());
            }
        }
        self.rest = &self.rest[short.len()..];
        Ok(())
    }

    /// `Feb 29, 2024`
    fn named(&mut self, month: u32, length: usize) -> Result<(i32, u32, u32), Wrong> {
        self.rest = self.rest[length..].trim_start_matches(blank);
        let day = self.number(2)?;
        self.rest = self.rest.trim_start_matches([' ', ',']);
        let year =
            self.number(6).ok().filter(|_| !self.rest.starts_with(':')).ok_or(Wrong::Unknown)?;
        Ok((i32::try_from(year).map_err(|_| Wrong::Range)?, month, day))
    }

    fn half(&mut self, word: &str) -> Result<(), Wrong> {
        const NOON: i64 = MICROS_PER_DAY / 2;
        let clock = self.parts.clock.ok_or(Wrong::Syntax)?;
        let hours = clock / (3600 * SECOND);
        if 12 < hours {
            return Err(Wrong::Range);
        }
        self.parts.clock = Some(match (word, hours) {
            ("am", 12) => clock - NOON,
            ("pm", hours) if hours < 12 => clock + NOON,
            _ => clock,
        });
        Ok(())
    }

    /// Digits up to `most` of them.
    fn number(&mut self, most: usize) -> Result<u32, Wrong> {
        let digits = self.digits();
        if digits.is_empty() || most < digits.len() {
            return Err(Wrong::Syntax);
        }
        digits.parse().map_err(|_| Wrong::Range)
    }

    fn digits(&mut self) -> &'a str {
        let end =
            self.rest.find(|letter: char| !letter.is_ascii_digit()).unwrap_or(self.rest.len());
        let (digits, rest) = self.rest.split_at(end);
        self.rest = rest;
        digits
    }

    fn take(&mut self, letter: char) -> bool {
        let taken = self.rest.strip_prefix(letter);
        self.rest = taken.unwrap_or(self.rest);
        taken.is_some()
    }

    /// Digits with a colon behind, or six of them after a date.
    fn is_clock(&self, dated: bool) -> bool {
        if self.parts.clock.is_some() {
            return false;
        }
        let end =
            self.rest.find(|letter: char| !letter.is_ascii_digit()).unwrap_or(self.rest.len());
        self.rest[end..].starts_with(':') && end <= 2 || dated && matches!(end, 4 | 6)
    }

    fn clock(&mut self) -> Result<(), Wrong> {
        let digits = self.digits();
        let (hours, minutes, seconds);
        if let Some((packed, rest)) =
            digits.split_at_checked(4).filter(|_| !self.rest.starts_with(':'))
        {
            (hours, minutes) = (two(&packed[..2])?, two(&packed[2..])?);
            seconds = if rest.is_empty() { None } else { Some(two(rest)?) };
        } else {
            hours = two(digits)?;
            if !self.take(':') {
                return Err(Wrong::Syntax);
            }
            minutes = i64::from(self.number(2)?);
            seconds = match self.take(':') {
                true => Some(i64::from(self.number(2)?)),
                false => None,
            };
        }
        let fraction = if seconds.is_some() && self.take('.') { self.fraction()? } else { 0 };
        let seconds = seconds.unwrap_or(0);
        let micros = (hours * 3600 + minutes * 60 + seconds) * SECOND + fraction;
        if 24 < hours || 59 < minutes || 60 < seconds || MICROS_PER_DAY < micros {
            return Err(Wrong::Range);
        }
        self.parts.clock = Some(micros);
        Ok(())
    }

    /// Microseconds, rounded to the nearest.
    fn fraction(&mut self) -> Result<i64, Wrong> {
        let digits = self.digits();
        if digits.is_empty() {
            return Ok(0);
        }
        let read: f64 = format!("0.{digits}").parse().map_err(|_| Wrong::Syntax)?;
        #[expect(clippy::cast_possible_truncation, reason = "a million at most")]
        Ok((read * 1e6).round_ties_even() as i64)
    }

    fn date(&mut self) -> Result<(i32, u32, u32), Wrong> {
        let first = self.digits();
        let small = |digits: &str| digits.parse::<u32>().map_err(|_| Wrong::Range);
        let year = |digits: &str| digits.parse::<i32>().map_err(|_| Wrong::Range);
        let separator = self.rest.chars().next().filter(|letter| matches!(letter, '-' | '/' | '.'));
        let Some(separator) = separator else {
            // 20240229
            return match first.len() {
                8 => Ok((year(&first[..4])?, small(&first[4..6])?, small(&first[6..])?)),
                _ => Err(Wrong::Syntax),
            };
        };
        self.take(separator);
        if self.rest.starts_with(|letter: char| letter.is_ascii_alphabetic()) {
            // 29-Feb-2024
            let end = self.rest.find(|letter: char| !letter.is_ascii_alphabetic());
            let (word, rest) = self.rest.split_at(end.ok_or(Wrong::Syntax)?);
            let month = month(&word.to_ascii_lowercase()).ok_or(Wrong::Syntax)?;
            self.rest = rest;
            if !self.take(separator) || 2 < first.len() {
                return Err(Wrong::Syntax);
            }
            let last = self.digits();
            return if last.len() < 3 {
                Err(Wrong::Unknown)
            } else {
                Ok((year(last)?, month, small(first)?))
            };
        }
        let second = self.digits();
        if second.is_empty() {
            return Err(Wrong::Syntax);
        }
        if !self.take(separator) {
            return Err(Wrong::Syntax);
        }
        let third = self.digits();
        if third.is_empty() {
            return Err(Wrong::Syntax);
        }
        if 3 <= first.len() {
            return Ok((year(first)?, small(second)?, small(third)?));
        }
        if third.len() < 3 {
            // Two digits of a year: which they are depends on more than we know.
            return Err(Wrong::Unknown);
        }
        match self.order {
            DateOrder::Dmy => Ok((year(third)?, small(second)?, small(first)?)),
            DateOrder::Mdy => Ok((year(third)?, small(first)?, small(second)?)),
            DateOrder::Ymd => Err(Wrong::Range),
        }
    }

    /// `+02`, `-0330`, `+05:45:10`
    fn offset(&mut self) -> Result<(), Wrong> {
        if self.parts.zone.is_some() {
            return Err(Wrong::Syntax);
        }
        let sign = if self.take('-') { -1 } else { 1 };
        self.take('+');
        let digits = self.digits();
        let (hours, mut minutes, mut seconds) = match digits.len() {
            1 | 2 => (two(digits)?, 0, 0),
            3 => (two(&digits[..1])?, two(&digits[1..])?, 0),
            4 => (two(&digits[..2])?, two(&digits[2..])?, 0),
            _ => return Err(Wrong::Syntax),
        };
        if digits.len() <= 2 && self.take(':') {
            minutes = i64::from(self.number(2)?);
            if self.take(':') {
                seconds = i64::from(self.number(2)?);
            }
        }
        if 15 < hours || 59 < minutes || 59 < seconds {
            return Err(Wrong::Displacement);
        }
        let east =
            i32::try_from(hours * 3600 + minutes * 60 + seconds).map_err(|_| Wrong::Range)?;
        self.parts.zone = Some(At::East(sign * east));
        Ok(())
    }
}

fn two(digits: &str) -> Result<i64, Wrong> {
    if digits.is_empty() || 2 < digits.len() {
        return Err(Wrong::Syntax);
    }
    digits.parse().map_err(|_| Wrong::Syntax)
}
