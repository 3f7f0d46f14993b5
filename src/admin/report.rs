//! What `/migration-status` and `crossfade status` say.
//!
//! ```text
//! Views + Ledger + sync_errors_total ──[`Report::new`]──▶ JSON, or text for a terminal
//! ```
//!
//! Invariant: names, counts, codes and times only. The first three fields are a contract with the
//! dashboards of the applications that are migrated; the rest may grow.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use prometheus::proto::MetricFamily;
use serde::{Deserialize, Serialize};

use crate::admin::{Counts, Published, Rows, SidecarReport, StuckReport};
use crate::catalog::{Capture, Table};
use crate::phase::{Phase, Views};

/// The name of the counter that `errorsByEntity` is made of, as it is gathered.
const ERRORS: &str = "crossfade_sync_errors_total";

/// Answer of `GET /migration-status`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Report {
    pub status: Status,
    pub total_errors: u64,
    /// `users.update` → errors since this sidecar started.
    pub errors_by_entity: BTreeMap<String, u64>,
    pub phase: String,
    pub primary: String,
    pub epoch: u64,
    pub lag: Lag,
    /// What stops the migration, and what to do.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub problem: Option<String>,
    /// Which database does not answer, and why: what is said of the migration may be old then.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub unanswered: Vec<String>,
    pub tables: BTreeMap<String, TableReport>,
    /// `databases` where no sidecar was asked: errors are not known then.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub source: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    Healthy,
    Errors,
}

/// How far whoever follows is behind: over both outboxes, where the databases lead different tables.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Lag {
    /// Age of the oldest outbox entry.
    pub seconds: f64,
    /// Outbox entries that wait for their first or next attempt.
    pub pending: u64,
    /// Those of them that keep failing.
    pub stuck: u64,
}

/// One table's state.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct TableReport {
    pub mode: String,
    /// `returning`, `trigger`, `off`, or why it cannot be migrated.
    pub capture: String,
    /// Its name in MySQL.
    pub target: String,
    /// Who answers for it, where the databases lead different tables.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub primary: Option<String>,
    /// Why the two sides may differ, until a verify pass is clean.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub dirty: Option<String>,
    pub pending: u64,
    pub stuck: u64,
    /// Age of its oldest outbox entry.
    #[serde(default)]
    pub lag_seconds: f64,
    /// How many rows either side has, as of a few seconds ago.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub rows: Option<Rows>,
    /// Code and column of the latest failure among the stuck entries.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub last_error: Option<String>,
    /// How far the copying of its old rows is, once that was begun.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub backfill: Option<CopyReport>,
    /// What the last pass of verify over it found.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub verified: Option<VerifyReport>,
}

/// What the last pass of verify over a table found.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct VerifyReport {
    /// When it ended.
    pub at: String,
    /// Seconds ago, as of the last look.
    pub age: f64,
    /// How long it took.
    pub seconds: f64,
    pub rows: u64,
    pub equal: u64,
    pub missing: u64,
    pub extra: u64,
    pub different: u64,
    /// Rows that were on their way when patience ran out.
    pub unsettled: u64,
    /// Nothing differed, and all of it was looked at.
    pub clean: bool,
    /// `at`, in seconds since 1970.
    #[serde(skip)]
    pub timestamp: i64,
    #[serde(skip)]
    pub sums: VerifySums,
}

/// Rows over all passes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct VerifySums {
    pub equal: u64,
    pub missing: u64,
    pub extra: u64,
    pub different: u64,
}

/// How far the copying of a table's old rows is.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CopyReport {
    /// `waiting`, `sweeping`, `copying`, `done`, `done before`, `stopped`; `interrupted` where whoever
    /// copied has not said anything for a while.
    pub state: String,
    pub rows: u64,
    /// As the statistics had it.
    pub expected: u64,
    /// Rows that MySQL did not take; they are in the outbox.
    pub refused: u64,
    /// Rows a second.
    pub rate: f64,
    /// Why it waits.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub waits: Option<String>,
}

/// What the outboxes, `crossfade.tables` and `crossfade.sidecars` say, as of the last look.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Ledger {
    /// As [`Report::problem`].
    pub problem: Option<String>,
    /// By the table's name, as it is printed.
    pub tables: BTreeMap<String, LedgerLine>,
    /// Entries that have failed, the oldest first; a bounded number of them.
    pub stuck: Vec<StuckReport>,
    /// Whoever copies old rows was told to wait.
    pub paused: bool,
    /// This one included; none before `setup`.
    pub sidecars: Vec<SidecarReport>,
}

#[derive(Clone, Debug, Default, PartialEq)]
pub struct LedgerLine {
    pub dirty: Option<String>,
    pub pending: u64,
    pub stuck: u64,
    /// Age of the oldest entry.
    pub oldest_seconds: f64,
    pub last_error: Option<String>,
    pub backfill: Option<CopyReport>,
    pub verified: Option<VerifyReport>,
}

impl Ledger {
    /// Age of the oldest entry.
    #[must_use]
    pub fn oldest_seconds(&self) -> f64 {
        self.tables.values().map(|line| line.oldest_seconds).fold(0.0, f64::max)
    }
}

impl Published {
    /// What both ends go by.
    fn views(&self) -> Views {
        Views {
            postgres: Arc::clone(&self.situation.borrow()),
            mysql: Arc::clone(&self.beyond.borrow()),
        }
    }

    /// What `/migration-status` says.
    #[must_use]
    pub fn report(&self) -> Report {
        let (views, ledger) = (self.views(), Arc::clone(&self.ledger.borrow()));
        let unanswered = self.health.borrow().unanswered(views.postgres.phase);
        let report = Report::new(&views, &ledger, &self.gather());
        Report { unanswered, ..report.counted(&self.counts.borrow()) }
    }
}

impl Report {
    #[must_use]
    pub fn new(views: &Views, ledger: &Ledger, gathered: &[MetricFamily]) -> Self {
        let situation = &*views.postgres;
        let errors_by_entity = errors(gathered);
        let total_errors = errors_by_entity.values().sum();
        let lines = || ledger.tables.values();
        let healthy = total_errors == 0 && ledger.problem.is_none();
        Self {
            status: if healthy { Status::Healthy } else { Status::Errors },
            total_errors,
            errors_by_entity,
            phase: situation.phase.as_str().to_owned(),
            primary: primary(situation.phase).to_owned(),
            epoch: situation.epoch,
            lag: Lag {
                seconds: ledger.oldest_seconds(),
                pending: lines().map(|line| line.pending).sum(),
                stuck: lines().map(|line| line.stuck).sum(),
            },
            problem: ledger.problem.clone(),
            unanswered: Vec::new(),
            tables: situation
                .catalog
                .tables
                .values()
                .map(|table| line(table, views, ledger))
                .collect(),
            source: None,
        }
    }

    /// The same with the rows that were counted.
    #[must_use]
    pub fn counted(mut self, counts: &Counts) -> Self {
        for (name, table) in &mut self.tables {
            table.rows = counts.get(name).copied();
        }
        self
    }
}

pub const POSTGRES: &str = "postgresql";
pub const MYSQL: &str = "mysql";

/// Who answers the clients.
#[must_use]
pub fn primary(phase: Phase) -> &'static str {
    match phase {
        Phase::Setup | Phase::DualWrite => POSTGRES,
        Phase::Switched | Phase::Complete => MYSQL,
    }
}

fn line(table: &Table, views: &Views, ledger: &Ledger) -> (String, TableReport) {
    let name = table.name.to_string();
    let beyond = matches!(table.capture, Capture::Elsewhere).then_some(&views.mysql);
    let table =
        beyond.and_then(|view| view.catalog.tables.get(&table.oid)).map_or(table, |led| led);
    let leader = match (beyond, &table.capture) {
        (Some(view), _) => Some(primary(view.phase)),
        (None, Capture::Returning | Capture::Trigger) => Some(primary(views.postgres.phase)),
        (None, _) => None,
    };
    let known = ledger.tables.get(&name).cloned().unwrap_or_default();
    let capture = match &table.capture {
        Capture::Returning => "returning".to_owned(),
        Capture::Trigger => "trigger".to_owned(),
        Capture::Off => "off".to_owned(),
        Capture::Elsewhere => "elsewhere".to_owned(),
        Capture::Impossible(reason) => format!("impossible: {reason}"),
    };
    let report = TableReport {
        mode: table.policy.mode.as_str().to_owned(),
        capture,
        target: table.target.clone(),
        primary: leader.filter(|_| views.postgres.is_parted()).map(str::to_owned),
        dirty: known.dirty,
        pending: known.pending,
        stuck: known.stuck,
        lag_seconds: known.oldest_seconds,
        rows: None,
        last_error: known.last_error,
        backfill: known.backfill,
        verified: known.verified,
    };
    (name, report)
}

/// Sums the counter over its codes; entities without an error are left out.
fn errors(gathered: &[MetricFamily]) -> BTreeMap<String, u64> {
    let mut entities = BTreeMap::new();
    let family = gathered.iter().find(|family| family.name() == ERRORS);
    for metric in family.into_iter().flat_map(MetricFamily::get_metric) {
        let label = |name: &str| {
            metric.get_label().iter().find(|label| label.name() == name).map_or("", |l| l.value())
        };
        // A counter of whole numbers, far from the 2^53 where a float would round.
        let count = metric.get_counter().get_value() as u64;
        if count > 0 {
            let entity = format!("{}.{}", label("table"), label("operation"));
            *entities.entry(entity).or_insert(0) += count;
        }
    }
    entities
}

/// As `crossfade status` prints it.
impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { phase, primary, epoch, lag, .. } = self;
        writeln!(f, "phase {phase}   primary {primary}   epoch {epoch}")?;
        write!(f, "lag {:.1} s   pending {}   stuck {}", lag.seconds, lag.pending, lag.stuck)?;
        match &self.source {
            None => writeln!(f, "   errors {}", self.total_errors)?,
            Some(source) => writeln!(f, "   from the {source}, without a sidecar")?,
        }
        for line in self.unanswered.iter().chain(&self.problem) {
            writeln!(f, "{line}")?;
        }
        let width = self.tables.keys().map(String::len).max().unwrap_or(0).max("table".len());
        writeln!(f, "\n{:width$}  mode      capture    pending  stuck  state", "table")?;
        for (name, table) in &self.tables {
            let TableReport { pending, stuck, .. } = table;
            let [mode, capture, state] = table.shown(phase);
            writeln!(f, "{name:width$}  {mode:8}  {capture:9}  {pending:>7}  {stuck:>5}  {state}")?;
        }
        for (entity, count) in &self.errors_by_entity {
            writeln!(f, "errors {entity}: {count}")?;
        }
        Ok(())
    }
}

impl TableReport {
    /// Mode, capture and state, where they mean something: before `setup` nothing is captured yet, and in the
    /// end nothing is any more.
    fn shown(&self, phase: &str) -> [String; 3] {
        let none = || "-".to_owned();
        let migrated = matches!(&*self.capture, "returning" | "trigger");
        match phase {
            "setup" if migrated => [self.mode.clone(), none(), "not set up".to_owned()],
            "complete" if migrated => [none(), none(), "MySQL alone".to_owned()],
            _ => {
                let state = self.state(phase == Phase::DualWrite.as_str());
                [self.mode.clone(), self.capture.clone(), state]
            }
        }
    }

    /// Its old rows, all of them.
    fn is_copied(&self) -> bool {
        self.backfill.as_ref().is_some_and(|copy| matches!(&*copy.state, "done" | "done before"))
    }

    /// The last column of a table's line.
    fn state(&self, dual_write: bool) -> String {
        let mut state = match (&self.dirty, &self.last_error) {
            (Some(reason), _) if reason == "backfill" && self.is_copied() => "copied".to_owned(),
            (Some(reason), _) => format!("dirty: {reason}"),
            (None, Some(error)) => error.clone(),
            (None, None) => "ok".to_owned(),
        };
        if let Some(copy) = &self.backfill
            && !self.is_copied()
        {
            state += &format!("; {copy}");
        }
        match &self.verified {
            Some(verified) => state += &format!("; {verified}"),
            None if dual_write && matches!(&*self.capture, "returning" | "trigger") => {
                state += "; never verified";
            }
            None => {}
        }
        match &self.primary {
            Some(primary) if primary == MYSQL => "led by MySQL; ".to_owned() + &state,
            _ => state,
        }
    }
}

impl fmt::Display for VerifyReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let age = self.age;
        match age {
            0.0..60.0 => write!(f, "verified {age:.0} s ago")?,
            60.0..3600.0 => write!(f, "verified {:.0} min ago", (age / 60.0).floor())?,
            3600.0..172_800.0 => write!(f, "verified {:.0} h ago", (age / 3600.0).floor())?,
            _ => write!(f, "verified {:.0} days ago", (age / 86400.0).floor())?,
        }
        let differ = self.missing + self.extra + self.different;
        match (self.clean, differ) {
            (true, _) => Ok(()),
            (false, 0) => write!(f, ", not clean"),
            (false, _) => write!(f, ", {differ} rows differed"),
        }
    }
}

impl fmt::Display for CopyReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { state, rows, expected, rate, .. } = self;
        write!(f, "backfill {state}: {rows} of about {expected} rows, {rate:.0}/s")?;
        match &self.waits {
            Some(waits) => write!(f, ", {waits}"),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use prometheus::{IntCounterVec, Opts, Registry};

    use super::*;
    use crate::phase::Situation;

    fn gathered(errors: &[(&str, &str, &str, u64)]) -> Vec<MetricFamily> {
        let registry = Registry::new_custom(Some("crossfade".to_owned()), None).unwrap();
        let labels = ["table", "operation", "code"];
        let counter = IntCounterVec::new(Opts::new("sync_errors_total", "."), &labels).unwrap();
        registry.register(Box::new(counter.clone())).unwrap();
        for (table, operation, code, count) in errors {
            counter.with_label_values(&[table, operation, code]).inc_by(*count);
        }
        registry.gather()
    }

    #[test]
    fn errors_are_summed_by_entity_over_their_codes() {
        let errors = gathered(&[
            ("users", "update", "1062", 2),
            ("users", "update", "1205", 1),
            ("auth.codes", "insert", "1062", 4),
            ("logs", "delete", "1062", 0),
        ]);
        let views = Situation::transparent().views(&[]);
        let report = Report::new(&views, &Ledger::default(), &errors);
        let json = serde_json::to_value(&report).unwrap();
        assert_eq!(
            json.to_string(),
            r#"{"status":"errors","totalErrors":7,"errorsByEntity":{"auth.codes.insert":4,"users.update":3},"phase":"setup","primary":"postgresql","epoch":0,"lag":{"seconds":0.0,"pending":0,"stuck":0},"tables":{}}"#
        );
    }

    #[test]
    fn how_long_ago_it_was_verified_is_said_in_the_largest_unit() {
        for (age, clean, missing, expected) in [
            (0.0, true, 0, "verified 0 s ago"),
            (59.2, true, 0, "verified 59 s ago"),
            (200.0, true, 0, "verified 3 min ago"),
            (7300.0, false, 2, "verified 2 h ago, 2 rows differed"),
            (260_000.0, false, 0, "verified 3 days ago, not clean"),
        ] {
            let report = VerifyReport { age, clean, missing, ..VerifyReport::default() };
            assert_eq!(report.to_string(), expected);
        }
    }

    #[test]
    fn what_is_not_captured_does_not_look_so() {
        let table = |capture: &str| TableReport {
            mode: "blocking".into(),
            capture: capture.into(),
            target: "users".into(),
            primary: None,
            dirty: None,
            pending: 0,
            stuck: 0,
            lag_seconds: 0.0,
            rows: None,
            last_error: None,
            backfill: None,
            verified: None,
        };
        let shown = |phase, capture| table(capture).shown(phase).join(" ");
        assert_eq!(shown("setup", "returning"), "blocking - not set up");
        assert_eq!(shown("setup", "off"), "blocking off ok");
        assert_eq!(shown("dual_write", "trigger"), "blocking trigger ok; never verified");
        assert_eq!(shown("switched", "trigger"), "blocking trigger ok");
        assert_eq!(shown("complete", "trigger"), "- - MySQL alone");
        let old = |state: &str| {
            let backfill = Some(CopyReport { state: state.to_owned(), ..CopyReport::default() });
            let dirty = Some("backfill".to_owned());
            TableReport { dirty, backfill, ..table("trigger") }.state(true)
        };
        assert_eq!(old("done"), "copied; never verified");
        assert!(old("copying").starts_with("dirty: backfill; backfill copying"));
        let led = TableReport { primary: Some(MYSQL.to_owned()), ..table("trigger") };
        let line = "blocking trigger led by MySQL; ok; never verified";
        assert_eq!(led.shown("dual_write").join(" "), line);
    }

    #[test]
    fn without_an_error_it_is_healthy() {
        let views = Situation::transparent().views(&[]);
        let report = Report::new(&views, &Ledger::default(), &gathered(&[]));
        assert_eq!((report.status, report.total_errors), (Status::Healthy, 0));
    }
}
