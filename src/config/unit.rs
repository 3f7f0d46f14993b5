//! Plain values of proxy.yaml: durations, sizes, numbers, words.
//!
//! Each function takes the text and answers with the value or with what is wrong with it; the
//! place in the file is added by [`super::reader`]. None of them is used for a secret, so the
//! message may quote the text.

use std::time::Duration;

/// `500ms`, `2s`, `5m`, `1h`: more than nothing, at most a day.
pub(super) fn duration(text: &str) -> Result<Duration, String> {
    let wanted = || format!("\"{text}\" is not a duration; write for instance 500ms, 2s, 5m or 1h");
    let (number, unit) = number_and_unit(text).ok_or_else(wanted)?;
    let unit_ms = match unit {
        "ms" => 1,
        "s" => 1_000,
        "m" | "min" => 60_000,
        "h" => 3_600_000,
        _ => return Err(wanted()),
    };
    let millis = number.checked_mul(unit_ms).ok_or_else(wanted)?;
    match millis {
        0 => Err("must be more than 0".to_owned()),
        1..=86_400_000 => Ok(Duration::from_millis(millis)),
        _ => Err(format!("\"{text}\" is more than a day")),
    }
}

/// `64MiB`, `512KiB`, `1GiB`, `100MB`, or a plain number of bytes.
pub(super) fn size(text: &str) -> Result<usize, String> {
    let wanted = || format!("\"{text}\" is not a size; write for instance 64MiB, 512KiB or 4096");
    let (number, unit) = number_and_unit(text).ok_or_else(wanted)?;
    let factor: u64 = match unit {
        "" | "B" => 1,
        "KiB" => 1 << 10,
        "MiB" => 1 << 20,
        "GiB" => 1 << 30,
        "kB" | "KB" => 1_000,
        "MB" => 1_000_000,
        "GB" => 1_000_000_000,
        _ => return Err(wanted()),
    };
    let bytes = number.checked_mul(factor).and_then(|bytes| usize::try_from(bytes).ok());
    match bytes.ok_or_else(wanted)? {
        0 => Err("must be more than 0".to_owned()),
        bytes => Ok(bytes),
    }
}

/// A whole number between the two, both included.
pub(super) fn between(low: usize, high: usize) -> impl Fn(&str) -> Result<usize, String> {
    move |text| match text.parse() {
        Ok(number) if (low..=high).contains(&number) => Ok(number),
        _ => Err(format!("\"{text}\" is not a whole number from {low} to {high}")),
    }
}

/// `unlimited`, or a whole number above zero.
pub(super) fn rate(text: &str) -> Result<Option<u64>, String> {
    match text.parse() {
        _ if text == "unlimited" => Ok(None),
        Ok(number) if number > 0 => Ok(Some(number)),
        _ => Err(format!("\"{text}\" is neither \"unlimited\" nor a number of rows per second")),
    }
}

/// A share from 0 (none) to 1 (all).
pub(super) fn share(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(share) if (0.0..=1.0).contains(&share) => Ok(share),
        _ => Err(format!("\"{text}\" is not a number from 0 to 1")),
    }
}

pub(super) fn switch(text: &str) -> Result<bool, String> {
    match text {
        "true" => Ok(true),
        "false" => Ok(false),
        _ => Err(format!("\"{text}\" is neither true nor false")),
    }
}

/// One of a closed set of words.
pub(super) fn word<T: Copy>(words: &[(&str, T)], text: &str) -> Result<T, String> {
    if let Some((_, value)) = words.iter().find(|(word, _)| *word == text) {
        return Ok(*value);
    }
    let known: Vec<&str> = words.iter().map(|(word, _)| *word).collect();
    Err(format!("\"{text}\" is not one of {}", known.join(", ")))
}

fn number_and_unit(text: &str) -> Option<(u64, &str)> {
    let digits = text.find(|letter: char| !letter.is_ascii_digit()).unwrap_or(text.len());
    let number = text[..digits].parse().ok()?;
    Some((number, text[digits..].trim_start()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_have_a_unit_and_a_bound() {
        assert_eq!(duration("500ms"), Ok(Duration::from_millis(500)));
        assert_eq!(duration("2s"), Ok(Duration::from_secs(2)));
        assert_eq!(duration("5m"), Ok(Duration::from_secs(300)));
        for wrong in ["2", "s", "-1s", "1.5s", "2 parsecs", "0s", "25h", "99999999999999999999s"] {
            assert!(duration(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn sizes_are_powers_of_two_or_of_ten() {
        assert_eq!(size("64MiB"), Ok(64 << 20));
        assert_eq!(size("100MB"), Ok(100_000_000));
        assert_eq!(size("4096"), Ok(4096));
        for wrong in ["64Mib", "MiB", "0", "-1", "99999999999GiB"] {
            assert!(size(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_rate_may_be_unlimited() {
        assert_eq!(rate("unlimited"), Ok(None));
        assert_eq!(rate("100"), Ok(Some(100)));
        assert!(rate("0").is_err() && rate("fast").is_err());
    }
}
