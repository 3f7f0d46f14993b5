//! How values of settings are read and shown: switches, times, zones, and those of the startup packet.
//!
//! Invariant: what is shown reads as the same value.

use std::collections::BTreeMap;

use crate::answer::error::PgError;
use crate::value::style::Zone;

pub(super) fn boolean(text: &str) -> Option<bool> {
    match text {
        "on" | "true" | "yes" | "1" | "t" | "y" => Some(true),
        "off" | "false" | "no" | "0" | "f" | "n" => Some(false),
        _ => None,
    }
}

/// `500`, `2s`, `1min`; plain numbers are milliseconds.
pub(super) fn milliseconds(text: &str) -> Option<u64> {
    let text = text.trim();
    let end = text.find(|letter: char| !(letter.is_ascii_digit() || letter == '.'));
    let (number, unit) = text.split_at(end.unwrap_or(text.len()));
    let number: f64 = number.parse().ok()?;
    let factor = match unit.trim() {
        "" | "ms" => 1.0,
        "us" => 0.001,
        "s" => 1000.0,
        "min" => 60_000.0,
        "h" => 3_600_000.0,
        "d" => 86_400_000.0,
        _ => return None,
    };
    let value = (number * factor).round();
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "in its range")]
    (0.0..=f64::from(i32::MAX)).contains(&value).then_some(value as u64)
}

/// As SHOW prints it: the largest unit that divides it.
pub(super) fn shown_time(value: u64) -> String {
    let units = [(86_400_000, "d"), (3_600_000, "h"), (60_000, "min"), (1000, "s"), (1, "ms")];
    let unit = units.iter().find(|(size, _)| 0 < value && value.is_multiple_of(*size));
    unit.map_or_else(|| value.to_string(), |(size, name)| format!("{}{name}", value / size))
}

/// A zone's name, or what SET TIME ZONE made of a number or an interval.
pub(super) fn zone(text: &str) -> Option<Zone> {
    if let Some(zone) = Zone::named(text) {
        return Some(zone);
    }
    if let Some(rest) = text.strip_prefix('<') {
        // As it is shown: `<+02>-02`.
        return east(rest.split_once('>')?.0);
    }
    east(text.strip_prefix("interval ").unwrap_or(text).trim())
}

/// `-5`, `+05:30`, `5.5`
fn east(text: &str) -> Option<Zone> {
    let (sign, digits) = match text.strip_prefix('-') {
        Some(rest) => (-1, rest),
        None => (1, text.strip_prefix('+').unwrap_or(text)),
    };
    let seconds = match digits.split_once(':') {
        Some((hours, minutes)) => {
            let (hours, minutes): (i32, i32) = (hours.parse().ok()?, minutes.parse().ok()?);
            hours * 3600 + minutes * 60
        }
        #[expect(clippy::cast_possible_truncation, reason = "bounded below")]
        None => (digits.parse::<f64>().ok().filter(|hours| hours.abs() < 168.0)? * 3600.0) as i32,
    };
    let east = sign * seconds;
    if east == 0 && text.contains(':') {
        return Some(Zone::Fixed(0));
    }
    (east.abs() < 168 * 3600).then_some(Zone::Fixed(east))
}

/// Settings of the startup packet, `options` included.
pub(crate) fn startup_settings(
    given: &BTreeMap<String, String>,
) -> Result<Vec<(String, String)>, PgError> {
    let mut found = Vec::new();
    for (name, value) in given {
        match name.as_str() {
            "user" | "database" | "replication" => {}
            name if name.starts_with("_pq_.") => {}
            "options" => found.extend(options(value)?),
            name => found.push((name.to_ascii_lowercase(), value.clone())),
        }
    }
    Ok(found)
}

/// `-c name=value --name=value`
fn options(text: &str) -> Result<Vec<(String, String)>, PgError> {
    let refused = || PgError::new("0A000", "this form of \"options\" is not supported");
    let mut words = text.split_whitespace();
    let mut found = Vec::new();
    while let Some(word) = words.next() {
        let setting = match word {
            "-c" => words.next().ok_or_else(refused)?,
            word => {
                word.strip_prefix("-c").or_else(|| word.strip_prefix("--")).ok_or_else(refused)?
            }
        };
        let (name, value) = setting.split_once('=').ok_or_else(refused)?;
        if value.contains('\\') {
            return Err(refused());
        }
        found.push((name.to_ascii_lowercase().replace('-', "_"), value.to_owned()));
    }
    Ok(found)
}
