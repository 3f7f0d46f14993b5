//! How a session wants its values written: the settings of PostgreSQL that its output obeys.
//!
//! Only what every driver can read is offered: dates are ISO, reals are the shortest that is exact.
//!
//! Invariant: a zone knows every offset it ever had, so local times turn into instants and back as
//! PostgreSQL does it.

use std::str::FromStr as _;

use chrono::{MappedLocalTime, NaiveDateTime, Offset as _, TimeDelta, TimeZone as _};
use chrono_tz::Tz;

use super::text::MICROS_PER_DAY;

/// Settings that change how values are printed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Style {
    pub zone: Zone,
    pub interval: IntervalStyle,
    pub bytea: ByteaOutput,
    pub order: DateOrder,
}

/// `IntervalStyle`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum IntervalStyle {
    #[default]
    Postgres,
    Iso8601,
}

/// `bytea_output`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ByteaOutput {
    #[default]
    Hex,
    Escape,
}

/// How `1/2/2024` is read; output is ISO always.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum DateOrder {
    #[default]
    Mdy,
    Dmy,
    Ymd,
}

/// `TimeZone`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Zone {
    Named(Tz),
    /// Seconds east of UTC.
    Fixed(i32),
}

impl Default for Zone {
    fn default() -> Self {
        Self::Named(Tz::UTC)
    }
}

impl Zone {
    /// A zone by its name in any case.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        let exact = Tz::from_str(name).ok();
        let any =
            || chrono_tz::TZ_VARIANTS.iter().find(|zone| zone.name().eq_ignore_ascii_case(name));
        exact.or_else(|| any().copied()).map(Self::Named)
    }

    /// Its name, as SHOW and ParameterStatus have it.
    #[must_use]
    pub fn name(&self) -> String {
        match self {
            Self::Named(zone) => zone.name().to_owned(),
            // POSIX counts west, hence the other sign behind.
            Self::Fixed(east) => {
                let text = |east: i32| {
                    let sign = if east < 0 { '-' } else { '+' };
                    let (hours, minutes) = (east.abs() / 3600, east.abs() / 60 % 60);
                    if minutes == 0 {
                        format!("{sign}{hours:02}")
                    } else {
                        format!("{sign}{hours:02}:{minutes:02}")
                    }
                };
                format!("<{}>{}", text(*east), text(-*east))
            }
        }
    }

    /// Whether it is UTC always, under whatever name.
    #[must_use]
    pub fn is_utc(&self) -> bool {
        matches!(
            self,
            Self::Named(Tz::UTC | Tz::Etc__UTC | Tz::UCT | Tz::Etc__UCT | Tz::Zulu | Tz::Etc__Zulu)
                | Self::Named(Tz::GMT | Tz::Etc__GMT | Tz::Universal | Tz::Etc__Universal)
                | Self::Fixed(0)
        )
    }

    /// Seconds east of UTC at an instant of microseconds since 2000-01-01 UTC.
    #[must_use]
    pub fn east_at(&self, micros: i64) -> i32 {
        match self {
            Self::Fixed(east) => *east,
            utc if utc.is_utc() => 0,
            Self::Named(zone) => match moment(micros) {
                Some(utc) => zone.offset_from_utc_datetime(&utc).fix().local_minus_utc(),
                None => 0,
            },
        }
    }

    /// Seconds east of UTC for a local time. PostgreSQL takes standard time where a clock was set
    /// back, and where it was set forward the offset from before.
    #[must_use]
    pub fn east_of_local(&self, local_micros: i64) -> i32 {
        match self {
            Self::Fixed(east) => *east,
            utc if utc.is_utc() => 0,
            Self::Named(zone) => match moment(local_micros) {
                Some(local) => match zone.offset_from_local_datetime(&local) {
                    MappedLocalTime::Single(offset) => offset.fix().local_minus_utc(),
                    MappedLocalTime::Ambiguous(_, later) => later.fix().local_minus_utc(),
                    MappedLocalTime::None => self.east_at(local_micros - MICROS_PER_DAY),
                },
                None => 0,
            },
        }
    }
}

/// The last year that zones are known for by their tables; the rules of the years before go on after it.
const TABLES_END: i32 = 2069;

/// A point of the calendar, from microseconds since 2000-01-01. One past the tables becomes the same day
/// of a year in them that has the same weekdays and the same February; there is one in any 28 years.
fn moment(micros: i64) -> Option<NaiveDateTime> {
    use chrono::Datelike as _;
    let start = chrono::NaiveDate::from_ymd_opt(2000, 1, 1)?.and_hms_opt(0, 0, 0)?;
    let moment = start.checked_add_signed(TimeDelta::microseconds(micros))?;
    if moment.year() <= TABLES_END {
        return Some(moment);
    }
    let first = |year| chrono::NaiveDate::from_ymd_opt(year, 1, 1);
    let own = first(moment.year())?;
    let like = (TABLES_END - 27..=TABLES_END).find(|year| {
        first(*year)
            .is_some_and(|day| day.weekday() == own.weekday() && day.leap_year() == own.leap_year())
    });
    moment.with_year(like?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_zone_is_found_in_any_case_and_has_its_own_name() {
        assert_eq!(Zone::named("europe/BERLIN").unwrap().name(), "Europe/Berlin");
        assert_eq!(Zone::named("UTC").unwrap().name(), "UTC");
        assert_eq!(Zone::named("Nowhere/Land"), None);
        assert_eq!(Zone::Fixed(-5 * 3600 - 1800).name(), "<-05:30>+05:30");
    }

    /// What PostgreSQL 15 answers for Europe/Berlin, 2024.
    #[test]
    fn local_times_that_are_there_twice_or_never_are_read_as_postgresql_reads_them() {
        let berlin = Zone::named("Europe/Berlin").unwrap();
        let local = |month, day, hour: i64| {
            let days = super::super::text::days_from_civil(2024, month, day).unwrap();
            i64::from(days) * MICROS_PER_DAY + hour * 3_600_000_000
        };
        assert_eq!(berlin.east_of_local(local(7, 1, 12)), 7200);
        assert_eq!(berlin.east_of_local(local(10, 27, 2)), 3600);
        assert_eq!(berlin.east_of_local(local(3, 31, 2)), 3600);
    }
}
