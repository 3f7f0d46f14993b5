//! A session's settings: what drivers SET, SHOW and expect to be told of.
//!
//! ```text
//! startup parameters, SET ──check──▶ [`Settings`] ──▶ Style, search_path, timeouts
//!                                        └─changes──▶ ParameterStatus
//! ```
//!
//! Invariant: a setting that changes answers is obeyed or refused; one that changes none is kept and
//! shown. What a transaction sets it takes back when it is rolled back, and LOCAL always.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::answer::error::PgError;
use crate::answer::obeyed::Obeyed;
use crate::answer::setting_values::{boolean, milliseconds, shown_time, startup_settings, zone};
use crate::answer::verbs::{Isolation, Scope};

/// Settings kept for one session, its own `app.x` among them.
const SETTINGS_MAX: usize = 1_000;

/// Those that clients are told of, spelled as PostgreSQL does it.
const REPORTED: &[&str] = &[
    "application_name",
    "client_encoding",
    "DateStyle",
    "default_transaction_read_only",
    "in_hot_standby",
    "integer_datetimes",
    "IntervalStyle",
    "is_superuser",
    "server_encoding",
    "server_version",
    "session_authorization",
    "standard_conforming_strings",
    "TimeZone",
];

/// What every session begins with; names in lower case.
const DEFAULTS: &[(&str, &str)] = &[
    ("application_name", ""),
    ("bytea_output", "hex"),
    ("check_function_bodies", "on"),
    ("client_encoding", "UTF8"),
    ("client_min_messages", "notice"),
    ("datestyle", "ISO, MDY"),
    ("default_transaction_deferrable", "off"),
    ("default_transaction_isolation", "read committed"),
    ("default_transaction_read_only", "off"),
    ("enable_seqscan", "on"),
    ("extra_float_digits", "1"),
    ("idle_in_transaction_session_timeout", "0"),
    ("idle_session_timeout", "0"),
    ("in_hot_standby", "off"),
    ("integer_datetimes", "on"),
    ("intervalstyle", "postgres"),
    ("is_superuser", "off"),
    ("jit", "on"),
    ("lc_collate", "C"),
    ("lc_ctype", "C.UTF-8"),
    ("lc_messages", "C"),
    ("lc_monetary", "C"),
    ("lc_numeric", "C"),
    ("lc_time", "C"),
    ("lock_timeout", "0"),
    ("max_identifier_length", "63"),
    ("max_index_keys", "32"),
    ("plan_cache_mode", "auto"),
    ("row_security", "on"),
    ("search_path", "\"$user\", public"),
    ("server_encoding", "UTF8"),
    ("standard_conforming_strings", "on"),
    ("statement_timeout", "0"),
    ("synchronous_commit", "on"),
    ("timezone", "UTC"),
    ("transaction_deferrable", "off"),
    ("transaction_isolation", "read committed"),
    ("transaction_read_only", "off"),
    ("work_mem", "4MB"),
    ("xmloption", "content"),
];

/// Those that nobody may set.
const FIXED: &[&str] = &[
    "in_hot_standby",
    "integer_datetimes",
    "is_superuser",
    "lc_collate",
    "lc_ctype",
    "max_identifier_length",
    "max_index_keys",
    "server_encoding",
    "server_version",
    "server_version_num",
];

type Values = BTreeMap<String, String>;
/// Names and values.
type Pairs = Vec<(String, String)>;

/// One session's settings.
#[derive(Clone, Debug)]
pub(super) struct Settings {
    /// With those of the startup packet: what RESET goes back to.
    defaults: Values,
    /// Names of those of the startup packet.
    given: Vec<String>,
    level: Level,
    /// At BEGIN, then at each savepoint.
    saved: Vec<Level>,
    obeyed: Obeyed,
    /// Since the client was told last.
    changed: bool,
    /// What the client was told last.
    told: Values,
}

/// Values set since the session began.
#[derive(Clone, Debug, Default)]
struct Level {
    session: Arc<Values>,
    local: Arc<Values>,
}

impl Level {
    /// Whether nothing was set between the two.
    fn is(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.session, &other.session) && Arc::ptr_eq(&self.local, &other.local)
    }
}

impl Settings {
    /// `reported` is what the old primary told its clients; `user` the one that logged in; `given` the startup packet's, of
    /// which those that are no settings are left out.
    pub(super) fn new(
        reported: &Values,
        user: &str,
        path: Option<&str>,
        given: &BTreeMap<String, String>,
    ) -> Result<Self, PgError> {
        let owned = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
        let mut defaults: Values = DEFAULTS.iter().map(owned).collect();
        for (name, value) in reported {
            let name = name.to_ascii_lowercase();
            // What a session has of its own is not the server's.
            if name == "server_version" || name == "timezone" && zone(value).is_some() {
                defaults.insert(name, value.clone());
            }
        }
        let version = defaults.get("server_version").map_or(String::new(), |v| version_number(v));
        defaults.insert("server_version_num".to_owned(), version);
        defaults.insert("session_authorization".to_owned(), user.to_owned());
        if let Some(path) = path {
            defaults.insert("search_path".to_owned(), path.to_owned());
        }
        let mut settings = Self {
            obeyed: Obeyed::of(|_| None),
            defaults,
            given: Vec::new(),
            level: Level::default(),
            saved: Vec::new(),
            changed: true,
            told: Values::new(),
        };
        for (name, value) in startup_settings(given)? {
            let value = settings.checked(&name, &value)?;
            settings.given.push(name.clone());
            settings.defaults.insert(name, value);
        }
        settings.refresh();
        Ok(settings)
    }

    /// What they mean.
    pub(super) fn obeyed(&self) -> &Obeyed {
        &self.obeyed
    }

    pub(super) fn get(&self, name: &str) -> Option<&str> {
        let level = &self.level;
        let kept = level.local.get(name).or_else(|| level.session.get(name));
        kept.or_else(|| self.defaults.get(name)).map(String::as_str)
    }

    /// A setting as SHOW prints it.
    pub(super) fn show(&self, name: &str) -> Result<&str, PgError> {
        self.get(name).ok_or_else(|| unknown(name))
    }

    /// All of them, in the order of their names.
    pub(super) fn all(&self) -> Vec<(String, String)> {
        let level = &self.level;
        let names = self.defaults.keys().chain(level.session.keys()).chain(level.local.keys());
        let mut names: Vec<&String> = names.filter(|name| !is_own(name)).collect();
        names.sort_unstable();
        names.dedup();
        let value = |name: &String| self.get(name).unwrap_or_default().to_owned();
        names.into_iter().map(|name| (name.clone(), value(name))).collect()
    }

    /// Those that whoever serves the client next has to set: what was asked for, and not what only happens
    /// to be so here. First what the session began with, then what it has set.
    pub(super) fn carried(&self) -> (Pairs, Pairs) {
        let fixed = |name: &str| {
            FIXED.contains(&name)
                || name == "session_authorization"
                || name.starts_with("transaction_")
        };
        let first = |name: &String| self.defaults.get(name).cloned().unwrap_or_default();
        let given = self.given.iter().filter(|name| !fixed(name));
        let given: Pairs = given.map(|name| (name.clone(), first(name))).collect();
        let own = self.defaults.keys().filter(|name| is_own(name) && !self.given.contains(name));
        let mut names: Vec<&String> = self.level.session.keys().chain(own).collect();
        names.retain(|name| !fixed(name));
        names.sort_unstable();
        names.dedup();
        let value = |name: &String| self.get(name).unwrap_or_default().to_owned();
        (given, names.into_iter().map(|name| (name.clone(), value(name))).collect())
    }

    /// What the session has set while another served it.
    pub(super) fn set_again(&mut self, set: &[(String, String)]) -> Result<(), PgError> {
        set.iter().try_for_each(|(name, value)| self.set(name, Some(value), Scope::Session))
    }

    /// SET, and RESET where there is no value.
    pub(super) fn set(
        &mut self,
        name: &str,
        value: Option<&str>,
        scope: Scope,
    ) -> Result<(), PgError> {
        let count = self.level.session.len() + self.level.local.len() + self.defaults.len();
        if SETTINGS_MAX <= count {
            return Err(PgError::new("54000", "too many settings in one session"));
        }
        if is_own(name) {
            // Once it has been set it is there, and empty, whatever becomes of the transaction.
            self.defaults.entry(name.to_owned()).or_default();
        }
        let value = match value {
            Some(value) => self.checked(name, value)?,
            None => {
                if FIXED.contains(&name) {
                    return Err(fixed(name));
                }
                self.defaults.get(name).cloned().unwrap_or_default()
            }
        };
        let level = &mut self.level;
        match scope {
            Scope::Local => {
                Arc::make_mut(&mut level.local).insert(name.to_owned(), value);
            }
            Scope::Session => {
                Arc::make_mut(&mut level.local).remove(name);
                Arc::make_mut(&mut level.session).insert(name.to_owned(), value);
            }
        }
        self.refresh();
        Ok(())
    }

    pub(super) fn reset_all(&mut self) {
        self.level = Level::default();
        self.refresh();
    }

    pub(super) fn begin(&mut self) {
        self.saved = vec![self.level.clone()];
    }

    pub(super) fn savepoint(&mut self) {
        self.saved.push(self.level.clone());
    }

    /// Back to the savepoint at this place, counted from 0.
    pub(super) fn rollback_to(&mut self, place: usize) {
        if let Some(level) = self.saved.get(place + 1) {
            self.level = level.clone();
            self.saved.truncate(place + 2);
            self.refresh();
        }
    }

    /// Forgets the savepoint at this place, and those after it.
    pub(super) fn release(&mut self, place: usize) {
        self.saved.truncate(place + 1);
    }

    pub(super) fn commit(&mut self) {
        self.saved.clear();
        if !self.level.local.is_empty() {
            self.level.local = Arc::default();
            self.refresh();
        }
    }

    pub(super) fn rollback(&mut self) {
        let first = self.saved.drain(..).next();
        if let Some(level) = first.filter(|level| !level.is(&self.level)) {
            self.level = level;
            self.refresh();
        }
        self.commit();
    }

    /// What the client has to be told of since it was asked last: name and value.
    pub(super) fn news(&mut self) -> Vec<(&'static str, String)> {
        let mut news = Vec::new();
        if !std::mem::take(&mut self.changed) {
            return news;
        }
        for name in REPORTED {
            let key = name.to_ascii_lowercase();
            let value = self.get(&key).unwrap_or_default().to_owned();
            if self.told.get(&key) != Some(&value) {
                self.told.insert(key, value.clone());
                news.push((*name, value));
            }
        }
        news
    }

    fn refresh(&mut self) {
        self.obeyed = Obeyed::of(|name| self.get(name));
        self.changed = true;
    }

    /// The value as SHOW would print it, or why it cannot be.
    fn checked(&self, name: &str, value: &str) -> Result<String, PgError> {
        if FIXED.contains(&name) {
            return Err(fixed(name));
        }
        let invalid = || {
            let name = spelled(name);
            let text = format!("invalid value for parameter \"{name}\": \"{value}\"");
            PgError::new("22023", text)
        };
        let obeyed = |fine: bool| if fine { Ok(()) } else { Err(not_obeyed(name, value)) };
        let lower = value.to_ascii_lowercase();
        let value = match name {
            "client_encoding" => {
                let plain: String = lower.chars().filter(char::is_ascii_alphanumeric).collect();
                obeyed(matches!(plain.as_str(), "utf8" | "unicode" | "auto"))?;
                "UTF8".to_owned()
            }
            "datestyle" => self.date_style(&lower).ok_or_else(|| not_obeyed(name, value))?,
            "intervalstyle" => {
                obeyed(matches!(lower.as_str(), "postgres" | "iso_8601"))?;
                lower
            }
            "bytea_output" => match lower.as_str() {
                "hex" | "escape" => lower,
                _ => return Err(invalid()),
            },
            "extra_float_digits" => {
                let digits: i32 = value.parse().map_err(|_| invalid())?;
                obeyed(0 < digits)?;
                digits.to_string()
            }
            "standard_conforming_strings" => {
                obeyed(boolean(&lower).ok_or_else(invalid)?)?;
                "on".to_owned()
            }
            "timezone" => zone(value).map(|zone| zone.name()).ok_or_else(invalid)?,
            "default_transaction_isolation" => {
                Isolation::named(value).ok_or_else(invalid)?.as_str().to_owned()
            }
            "default_transaction_read_only" | "default_transaction_deferrable" => {
                if boolean(&lower).ok_or_else(invalid)? { "on" } else { "off" }.to_owned()
            }
            "statement_timeout"
            | "lock_timeout"
            | "idle_in_transaction_session_timeout"
            | "idle_session_timeout" => shown_time(milliseconds(&lower).ok_or_else(invalid)?),
            "session_authorization" | "role" => return Err(PgError::unsupported("another role")),
            // Ignored: it only plans PostgreSQL's work, or is the application's own.
            _ if self.defaults.contains_key(name) || is_own(name) || is_planning(name) => {
                value.to_owned()
            }
            _ => return Err(unknown(name)),
        };
        Ok(value)
    }

    /// Output is ISO; the order of input may be chosen.
    fn date_style(&self, wanted: &str) -> Option<String> {
        let mut order = self.get("datestyle").unwrap_or_default().rsplit(", ").next()?.to_owned();
        for word in wanted.split(',').map(str::trim).filter(|word| !word.is_empty()) {
            match word.trim_matches('"') {
                "iso" | "default" => {}
                "mdy" | "us" | "noneuro" | "noneuropean" => order = "MDY".to_owned(),
                "dmy" | "euro" | "european" => order = "DMY".to_owned(),
                "ymd" => order = "YMD".to_owned(),
                _ => return None,
            }
        }
        Some(format!("ISO, {order}"))
    }
}

/// A setting's name as PostgreSQL spells it.
pub(super) fn spelled(name: &str) -> &str {
    REPORTED.iter().find(|known| known.eq_ignore_ascii_case(name)).copied().unwrap_or(name)
}

/// A setting of the application's own, which PostgreSQL does not list.
fn is_own(name: &str) -> bool {
    name.contains('.')
}

/// Settings of the planner and of resources, which change no answer.
fn is_planning(name: &str) -> bool {
    const BEGINNINGS: &[&str] =
        &["enable_", "cpu_", "geqo", "jit_", "parallel_", "log_", "max_parallel_"];
    const NAMES: &[&str] = &[
        "effective_cache_size",
        "effective_io_concurrency",
        "from_collapse_limit",
        "hash_mem_multiplier",
        "join_collapse_limit",
        "maintenance_work_mem",
        "random_page_cost",
        "seq_page_cost",
        "temp_buffers",
        "tcp_keepalives_idle",
        "tcp_keepalives_interval",
        "tcp_keepalives_count",
        "tcp_user_timeout",
        "transaction_timeout",
        "commit_delay",
    ];
    NAMES.contains(&name) || BEGINNINGS.iter().any(|beginning| name.starts_with(beginning))
}

/// `150018` of `15.18 (Debian …)`.
fn version_number(version: &str) -> String {
    let mut numbers = version.split(|letter: char| !letter.is_ascii_digit());
    let mut number = || numbers.next().and_then(|text| text.parse::<u32>().ok()).unwrap_or(0);
    let (major, minor) = (number(), number());
    (major * 10_000 + minor).to_string()
}

fn unknown(name: &str) -> PgError {
    PgError::new("42704", format!("unrecognized configuration parameter \"{name}\""))
}

fn fixed(name: &str) -> PgError {
    PgError::new("55P02", format!("parameter \"{name}\" cannot be changed"))
}

fn not_obeyed(name: &str, value: &str) -> PgError {
    let text = format!("\"{value}\" for parameter \"{name}\" is not supported while MySQL answers");
    PgError::new("0A000", text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(given: &[(&str, &str)]) -> Result<Settings, PgError> {
        let given = given.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        let version = ("server_version".to_owned(), "15.18 (Debian)".to_owned());
        let zone = ("TimeZone".to_owned(), "UTC".to_owned());
        Settings::new(&Values::from([version, zone]), "app", None, &given.collect())
    }

    #[test]
    fn what_a_transaction_sets_goes_with_it() {
        let mut settings = settings(&[]).unwrap();
        settings.begin();
        settings.set("app.x", Some("1"), Scope::Session).unwrap();
        settings.set("work_mem", Some("1MB"), Scope::Local).unwrap();
        settings.savepoint();
        settings.set("app.x", Some("2"), Scope::Session).unwrap();
        settings.rollback_to(0);
        assert_eq!(settings.show("app.x").unwrap(), "1");
        settings.commit();
        assert_eq!((settings.get("app.x"), settings.get("work_mem")), (Some("1"), Some("4MB")));
        settings.begin();
        settings.set("app.x", Some("3"), Scope::Session).unwrap();
        settings.rollback();
        assert_eq!(settings.get("app.x"), Some("1"));
    }

    #[test]
    fn a_client_is_told_what_changed_once() {
        let mut settings =
            settings(&[("application_name", "x"), ("TimeZone", "europe/berlin")]).unwrap();
        let first = settings.news();
        assert_eq!(first.len(), REPORTED.len());
        assert!(first.contains(&("TimeZone", "Europe/Berlin".to_owned())));
        assert!(settings.news().is_empty());
        settings.set("datestyle", Some("DMY"), Scope::Session).unwrap();
        assert_eq!(settings.news(), [("DateStyle", "ISO, DMY".to_owned())]);
    }

    #[test]
    fn values_are_shown_as_postgresql_shows_them_or_refused() {
        let mut settings =
            settings(&[("options", "-c statement_timeout=90000 --geqo=off")]).unwrap();
        assert_eq!(settings.show("statement_timeout").unwrap(), "90s");
        assert_eq!(settings.obeyed().statement_timeout, 90_000);
        for (name, value, shown) in [
            ("timezone", "interval +00:00", "<+00>+00"),
            ("timezone", "interval -5", "<-05>+05"),
            ("timezone", "utc", "UTC"),
            ("extra_float_digits", "3", "3"),
            ("lock_timeout", "2s", "2s"),
            ("client_encoding", "unicode", "UTF8"),
            ("datestyle", "iso, dmy", "ISO, DMY"),
        ] {
            settings.set(name, Some(value), Scope::Session).unwrap();
            assert_eq!(settings.show(name).unwrap(), shown, "{name}");
        }
        for (name, value, code) in [
            ("datestyle", "SQL", "0A000"),
            ("client_encoding", "LATIN1", "0A000"),
            ("standard_conforming_strings", "off", "0A000"),
            ("extra_float_digits", "0", "0A000"),
            ("timezone", "Nowhere", "22023"),
            ("server_version", "1", "55P02"),
            ("nonsense", "1", "42704"),
            ("role", "x", "0A000"),
        ] {
            let found = settings.set(name, Some(value), Scope::Session).unwrap_err();
            assert_eq!(found.code, code, "{name}");
        }
        assert_eq!(settings.get("server_version_num"), Some("150018"));
    }

    #[test]
    fn whoever_takes_a_session_over_has_its_settings() {
        let mut settings = settings(&[("TimeZone", "Europe/Berlin")]).unwrap();
        settings.set("statement_timeout", Some("1500"), Scope::Session).unwrap();
        settings.set("app.x", Some("y"), Scope::Session).unwrap();
        settings.set("app.local", Some("z"), Scope::Local).unwrap();
        settings.commit();
        let (given, set) = settings.carried();
        let given = given.into_iter().collect();
        let mut next = Settings::new(&Values::new(), "app", None, &given).unwrap();
        next.set_again(&set).unwrap();
        assert_eq!(next.get("app.local"), Some(""));
        for name in ["timezone", "statement_timeout", "app.x", "search_path", "datestyle"] {
            assert_eq!(next.get(name), settings.get(name), "{name}");
        }
        next.reset_all();
        assert_eq!(next.get("timezone"), Some("Europe/Berlin"));
        assert_eq!((next.get("statement_timeout"), next.get("app.x")), (Some("0"), Some("")));
    }

    #[test]
    fn a_path_is_split_as_postgresql_splits_it() {
        let mut settings = settings(&[]).unwrap();
        assert_eq!(settings.obeyed().path, ["app", "public"]);
        settings.set("search_path", Some("A, \"B\", ''"), Scope::Session).unwrap();
        assert_eq!(settings.obeyed().path, ["a", "B"]);
        settings.set("search_path", Some(""), Scope::Session).unwrap();
        assert!(settings.obeyed().path.is_empty());
    }
}
