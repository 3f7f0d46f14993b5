//! The texts that stand for a value where MySQL has no type of its own for it.
//!
//! ```text
//! date, time, timestamp ──▶ ISO, as PostgreSQL prints with DateStyle ISO     (array elements)
//! interval              ──▶ ISO 8601, as with IntervalStyle iso_8601         (varchar)
//! timetz                ──▶ 12:00:00.5+02                                    (varchar)
//! ```
//!
//! Invariant: equal text means equal value, and the value can be read back from it.

use crate::value::Unrepresentable;

pub(super) const MICROS_PER_DAY: i64 = 86_400_000_000;
const MICROS_PER_SECOND: i64 = 1_000_000;

/// A date and time of day that MySQL can hold: years 1 to 9999.
pub(super) struct Civil {
    pub(super) year: u16,
    pub(super) month: u8,
    pub(super) day: u8,
    pub(super) clock: Clock,
}

/// A time of day, up to 24:00:00.
pub(super) struct Clock {
    pub(super) hour: u8,
    pub(super) minute: u8,
    pub(super) second: u8,
    pub(super) micro: u32,
}

/// Days from 0001-01-01 (day 1) to PostgreSQL's day 0, 2000-01-01.
const EPOCH_FROM_COMMON_ERA: i32 = 730_120;

/// Reads a date; `kind` names the type in the refusal.
pub(super) fn civil_from_days(days: i32, kind: &'static str) -> Result<Civil, Unrepresentable> {
    use chrono::Datelike as _;
    let refuse = |reason| Unrepresentable { kind, reason };
    if days == i32::MAX || days == i32::MIN {
        return Err(refuse("infinite"));
    }
    let date = days
        .checked_add(EPOCH_FROM_COMMON_ERA)
        .and_then(chrono::NaiveDate::from_num_days_from_ce_opt)
        .ok_or_else(|| refuse(if days < 0 { "year before 1" } else { "year past 9999" }))?;
    match u16::try_from(date.year()) {
        Ok(year @ 1..=9999) => Ok(Civil {
            year,
            month: u8::try_from(date.month()).unwrap_or_default(),
            day: u8::try_from(date.day()).unwrap_or_default(),
            clock: clock(0),
        }),
        _ if date.year() < 1 => Err(refuse("year before 1")),
        _ => Err(refuse("year past 9999")),
    }
}

/// Reads a timestamp of microseconds since 2000-01-01.
pub(super) fn civil_from_micros(micros: i64, kind: &'static str) -> Result<Civil, Unrepresentable> {
    if micros == i64::MAX || micros == i64::MIN {
        return Err(Unrepresentable { kind, reason: "infinite" });
    }
    let days = micros.div_euclid(MICROS_PER_DAY);
    let days = i32::try_from(days).expect("2^63 microseconds are fewer than 2^31 days");
    let civil = civil_from_days(days, kind)?;
    Ok(Civil { clock: clock(micros.rem_euclid(MICROS_PER_DAY)), ..civil })
}

/// Splits microseconds since midnight, which are between 0 and a day.
pub(super) fn clock(micros: i64) -> Clock {
    let seconds = micros / MICROS_PER_SECOND;
    let part = |value: i64| u8::try_from(value).unwrap_or_default();
    Clock {
        hour: part(seconds / 3600),
        minute: part(seconds / 60 % 60),
        second: part(seconds % 60),
        micro: u32::try_from(micros % MICROS_PER_SECOND).unwrap_or_default(),
    }
}

pub(super) fn date(civil: &Civil) -> String {
    format!("{:04}-{:02}-{:02}", civil.year, civil.month, civil.day)
}

pub(super) fn timestamp(civil: &Civil) -> String {
    format!("{} {}", date(civil), time(&civil.clock))
}

pub(super) fn time(clock: &Clock) -> String {
    let whole = format!("{:02}:{:02}:{:02}", clock.hour, clock.minute, clock.second);
    whole + &fraction(clock.micro)
}

/// `west` counts seconds west of UTC, as PostgreSQL keeps it; text has them east.
pub(super) fn timetz(micros: i64, west: i32) -> String {
    time(&clock(micros)) + &offset(west)
}

/// `+02`, `-03:30`: what follows a time with a zone.
pub(super) fn offset(west: i32) -> String {
    let sign = if west > 0 { '-' } else { '+' };
    let seconds = west.unsigned_abs();
    let (hours, minutes, seconds) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    let mut text = format!("{sign}{hours:02}");
    if minutes != 0 || seconds != 0 {
        text.push_str(&format!(":{minutes:02}"));
    }
    if seconds != 0 {
        text.push_str(&format!(":{seconds:02}"));
    }
    text
}

/// Year (0 is 1 BC), month and day of a day number, for all of PostgreSQL's range.
pub(super) fn civil(days: i32) -> (i32, u32, u32) {
    // Counted from 0000-03-01 in eras of 400 years, so that leap days come last.
    let days = i64::from(days) + 730_425;
    let (era, of_era) = (days.div_euclid(146_097), days.rem_euclid(146_097));
    let of_year = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let day = of_era - (365 * of_year + of_year / 4 - of_year / 100);
    let shifted = (5 * day + 2) / 153;
    let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
    let year = of_year + era * 400 + i64::from(month <= 2);
    let small = |value: i64| u32::try_from(value).unwrap_or_default();
    (
        i32::try_from(year).unwrap_or_default(),
        small(month),
        small(day - (153 * shifted + 2) / 5 + 1),
    )
}

/// The inverse of [`civil`]; the day must be one of the month's.
pub(super) fn day_number(year: i32, month: u32, day: u32) -> i64 {
    let year = i64::from(year) - i64::from(month <= 2);
    let (era, of_era) = (year.div_euclid(400), year.rem_euclid(400));
    let shifted = i64::from(if month > 2 { month - 3 } else { month + 9 });
    let of_year = (153 * shifted + 2) / 5 + i64::from(day) - 1;
    era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 730_425
}

/// `P1Y2M3DT4H5M6.7S`; every part carries its own sign, parts that are zero are left out.
pub(super) fn interval(months: i32, days: i32, micros: i64) -> String {
    let mut text = String::from("P");
    let push = |text: &mut String, amount: i64, unit: char| {
        if amount != 0 {
            text.push_str(&format!("{amount}{unit}"));
        }
    };
    push(&mut text, i64::from(months / 12), 'Y');
    push(&mut text, i64::from(months % 12), 'M');
    push(&mut text, i64::from(days), 'D');
    if micros != 0 {
        text.push('T');
        let seconds = micros / MICROS_PER_SECOND;
        push(&mut text, seconds / 3600, 'H');
        push(&mut text, seconds / 60 % 60, 'M');
        let (second, micro) = (seconds % 60, micros % MICROS_PER_SECOND);
        if second != 0 || micro != 0 {
            let sign = if second < 0 || micro < 0 { "-" } else { "" };
            let micro = u32::try_from(micro.unsigned_abs()).unwrap_or_default();
            text.push_str(&format!("{sign}{}{}S", second.unsigned_abs(), fraction(micro)));
        }
    }
    if text.len() == 1 { String::from("PT0S") } else { text }
}

/// `.5` for 500,000 microseconds; nothing for none.
pub(super) fn fraction(micro: u32) -> String {
    if micro == 0 {
        return String::new();
    }
    format!(".{micro:06}").trim_end_matches('0').to_owned()
}

/// `0123abcd-…`, lower case.
pub(super) fn uuid(bytes: &[u8; 16]) -> String {
    uuid_digits(bytes).iter().copied().map(char::from).collect()
}

/// The same, as bytes.
pub(super) fn uuid_digits(bytes: &[u8; 16]) -> [u8; 36] {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let mut text = [b'-'; 36];
    let mut at = 0;
    for (number, byte) in bytes.iter().enumerate() {
        if matches!(number, 4 | 6 | 8 | 10) {
            at += 1;
        }
        text[at] = DIGITS[usize::from(byte >> 4)];
        text[at + 1] = DIGITS[usize::from(byte & 15)];
        at += 2;
    }
    text
}

/// Days from 2000-01-01; `None` for a day that no calendar has.
pub(super) fn days_from_civil(year: u16, month: u8, day: u8) -> Option<i32> {
    use chrono::Datelike as _;
    let date = chrono::NaiveDate::from_ymd_opt(year.into(), month.into(), day.into())?;
    Some(date.num_days_from_ce() - EPOCH_FROM_COMMON_ERA)
}

/// Reads what [`uuid`] wrote.
pub(super) fn parse_uuid(text: &str) -> Option<[u8; 16]> {
    let digits: String = text.chars().filter(|c| *c != '-').collect();
    let mut bytes = [0; 16];
    if digits.len() != 32 || !digits.is_ascii() {
        return None;
    }
    for (at, byte) in bytes.iter_mut().enumerate() {
        *byte = u8::from_str_radix(&digits[2 * at..2 * at + 2], 16).ok()?;
    }
    Some(bytes)
}

/// Reads what [`timetz`] wrote.
pub(super) fn parse_timetz(text: &str) -> Option<(i64, i32)> {
    let (clock, zone) = text.split_at_checked(text.find(['+', '-'])?)?;
    let (clock, fraction) = clock.split_once('.').unwrap_or((clock, ""));
    let micros: i64 = format!("{fraction:0<6}").parse().ok()?;
    let west = if zone.starts_with('-') { 1 } else { -1 };
    let seconds = |text: &str| {
        let mut parts = text.split(':').map(|part| part.parse::<i64>().ok());
        let mut part = || parts.next().unwrap_or(Some(0));
        Some(part()? * 3600 + part()? * 60 + part()?)
    };
    let zone = i32::try_from(seconds(zone.get(1..)?)?).ok()?;
    Some((seconds(clock)? * MICROS_PER_SECOND + micros, west * zone))
}
