//! Names of months, days of the calendar, and words that only PostgreSQL knows.

use crate::value::text::day_number;

const MONTHS: [&str; 12] =
    ["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"];
/// Words of PostgreSQL's own that are not read here: to whoever writes them it has to be said.
const KNOWN: &[&str] = &[
    "now",
    "today",
    "tomorrow",
    "yesterday",
    "allballs",
    "julian",
    "jd",
    "j",
    "y",
    "m",
    "d",
    "h",
    "mm",
    "s",
    "dst",
    "est",
    "edt",
    "cst",
    "cdt",
    "mst",
    "mdt",
    "pst",
    "pdt",
    "cet",
    "cest",
    "eet",
    "eest",
    "wet",
    "west",
    "bst",
    "ist",
    "msk",
    "jst",
    "sun",
    "mon",
    "tue",
    "wed",
    "thu",
    "fri",
    "sat",
    "sunday",
    "monday",
    "tuesday",
    "wednesday",
    "thursday",
    "friday",
    "saturday",
];

/// Whether every word of a text that was not understood may mean something to PostgreSQL.
pub(super) fn foreign(text: &str) -> bool {
    let mut words =
        text.split(|letter: char| !letter.is_alphabetic()).filter(|word| !word.is_empty());
    let known = |word: &str| {
        let word = word.to_ascii_lowercase();
        KNOWN.contains(&word.as_str()) || month(&word).is_some()
    };
    let numbers = text.contains(|letter: char| letter.is_ascii_digit());
    let all = words.clone().all(known);
    all && (words.next().is_some() || numbers && text.contains(['/', '.']))
}

pub(super) fn month(word: &str) -> Option<u32> {
    const LONG: [&str; 12] = [
        "january",
        "february",
        "march",
        "april",
        "may",
        "june",
        "july",
        "august",
        "september",
        "october",
        "november",
        "december",
    ];
    let at = MONTHS.iter().position(|month| *month == word);
    let at = at.or_else(|| LONG.iter().position(|month| *month == word));
    at.or_else(|| (word == "sept").then_some(8)).and_then(|at| u32::try_from(at + 1).ok())
}

/// The day's number, if the calendar has it and PostgreSQL's timestamps reach it.
pub(super) fn checked(year: i32, month: u32, day: u32) -> Option<i64> {
    let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    let last = match month {
        2 if leap => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        1..=12 => 31,
        _ => return None,
    };
    if day == 0 || last < day || !(-4712..=5_874_897).contains(&year) {
        return None;
    }
    Some(day_number(year, month, day))
}
