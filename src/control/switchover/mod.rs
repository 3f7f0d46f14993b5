//! `crossfade switchover` and `crossfade rollback`: the coordinator, over any number of sidecars.
//!
//! ```text
//! gates ─▶ prepare ─▶ announced ─▶ held ─▶ drained ─▶ lock alone, outbox empty ─▶ old primary's epoch
//!   │         │           └──────────┴────────┴────────────┴─▶ undone                   │ lease
//!   └─────────┴─▶ refused                                      done ◀── new primary's epoch
//! ```
//!
//! Sidecars and coordinator meet over `crossfade.attempts` alone ([`attempts`]): the coordinator can run
//! anywhere, and sidecars hold nothing that it would have to give back.
//!
//! The process that runs this may die anywhere, and nothing is lost. Before the old primary's epoch has
//! moved, all that it has done is harmless: tables that are not used yet, triggers that let everybody
//! pass, a line that sidecars disregard after its deadline; its lock goes with its connection. After, the
//! change has happened: whoever comes next, a sidecar or another run, brings the new primary's epoch up
//! ([`finish`]), having waited for one lease, since it does not know who had drained. In between there is
//! no moment: the epoch is one value, and it moves in a transaction in which the attempt's line is locked,
//! as it is for whoever undoes it.
//!
//! Invariant: at no time do both sides take writes of clients. The old primary's epoch comes first, so it
//! refuses before the other one accepts.

mod abandon;
mod back;
mod complete;
mod counters;
mod facts;
mod finish;
mod forward;
mod gates;
mod group;
mod hold;
mod look;
mod others;
mod own;
mod prepare;
mod stall;
mod standing;
mod undo;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::time::Instant;
use tokio_postgres::Client;

use super::Ends;
use super::layout::{self, UnknownLayout};
use crate::backend::mysql::WriteError;
use crate::backend::postgres::attempts::{self, Attempt};
use crate::backend::postgres::connect::ConnectError;
use crate::backend::postgres::introspect;
use crate::backend::tls::TlsError;
use crate::catalog::{Catalog, Table};
use crate::names::TableId;
use crate::plan::seen::{Line, Readiness};
use crate::policy::Policies;

pub use crate::backend::postgres::attempts::Direction;
pub use abandon::{Abandon, abandon};
pub use complete::{Completion, complete};
use finish::Since;
use forward::Given;
pub use gates::{Facts, Gate, Left, Login, SidecarFacts, TableFacts, gates, shut};
pub use group::GroupFacts;
use hold::Held;
pub use look::{Looked, look};
pub use standing::Standing;
use undo::Undone;

/// How long clients may be held, where nothing else is said; and the bounds of what can be said.
pub const TIMEOUT: Duration = Duration::from_secs(30);
pub const TIMEOUT_MIN: Duration = Duration::from_secs(1);
pub const TIMEOUT_MAX: Duration = Duration::from_secs(600);

/// Longest wait for sidecars to judge what they have just seen.
const JUDGED_TIME_MAX: Duration = Duration::from_secs(10);
/// Longest wait for sidecars to say that their clients go on.
const RESUME_TIME_MAX: Duration = Duration::from_secs(1);
const LOOK_AGAIN: Duration = Duration::from_millis(250);

/// Reads `30s`, `1500ms` or `2m`.
pub fn timeout(text: &str) -> Result<Duration, String> {
    let digits = text.trim_end_matches(|letter: char| letter.is_ascii_alphabetic());
    let millis = match &text[digits.len()..] {
        "ms" => 1,
        "s" => 1_000,
        "m" | "min" => 60_000,
        _ => 0,
    };
    let wanted = digits.parse::<u64>().ok().and_then(|number| number.checked_mul(millis));
    let wanted = Duration::from_millis(wanted.unwrap_or(0));
    match (TIMEOUT_MIN..=TIMEOUT_MAX).contains(&wanted) {
        true => Ok(wanted),
        false => Err("a time from 1s to 10m is wanted, for instance 30s".to_owned()),
    }
}

/// What is wanted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    pub direction: Direction,
    /// Of a switchover: only the tables of this group.
    pub group: Option<String>,
    /// Look only.
    pub dry_run: bool,
    /// Past it everything is undone.
    pub timeout: Duration,
    /// Fingerprints of statements, names of tables, `all` statements, or roles that need not log in again.
    pub accept: Vec<String>,
    /// End sessions that cannot be moved.
    pub terminate: bool,
}

/// How it ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Ended {
    Done,
    /// In a dry run: it could begin.
    Ready,
    /// A gate is shut, and nobody was held.
    Refused,
    /// Clients were held, and go on where they were.
    Undone,
}

/// What came of it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Outcome {
    pub outcome: Ended,
    /// The epoch of now.
    pub epoch: u64,
    pub reasons: Vec<String>,
    /// How long clients were held: the longest of the sidecars', each from when it began to hold to when it let
    /// its clients go on.
    pub hold_seconds: f64,
    /// In a dry run of what drops things: what it would drop, and what it would leave.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub would: Vec<String>,
    /// What can be done about reasons that do not say it themselves.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub advice: Option<String>,
}

impl Outcome {
    /// Of what holds nobody.
    fn new(outcome: Ended, epoch: u64, reasons: Vec<String>) -> Self {
        Self { outcome, epoch, reasons, hold_seconds: 0.0, would: Vec::new(), advice: None }
    }

    fn held(self, hold_seconds: f64) -> Self {
        Self { hold_seconds, ..self }
    }
}

/// Why there is no outcome.
#[derive(Debug, thiserror::Error)]
pub enum SwitchError {
    #[error(transparent)]
    Connect(#[from] ConnectError),
    /// The server's own words may quote a value; its code cannot.
    #[error("PostgreSQL refused: {}", .0.code().map_or("lost the connection", |code| code.code()))]
    Postgres(#[from] tokio_postgres::Error),
    #[error("MySQL: {0}")]
    MySql(#[from] WriteError),
    #[error("certificates")]
    Tls(#[from] TlsError),
    #[error(transparent)]
    Layout(#[from] UnknownLayout),
    #[error(
        "whether MySQL has given the lead back cannot be told while it does not answer ({0}); run it again"
    )]
    Doubtful(String),
    #[error("others keep the lock of PostgreSQL")]
    Locked,
    #[error(
        "the {} to epoch {epoch} has happened on one side and could not be finished on the other \
         ({why}); nothing is lost: sidecars finish it, and so does running it again",
        direction.as_str()
    )]
    Unfinished { direction: Direction, epoch: u64, why: String },
}

impl SwitchError {
    #[must_use]
    pub fn is_unreachable(&self) -> bool {
        match self {
            Self::Connect(_) => true,
            Self::Postgres(error) => error.is_closed(),
            Self::MySql(error) => error.breaks_connection(),
            Self::Doubtful(_) => true,
            Self::Tls(_) | Self::Layout(_) | Self::Locked | Self::Unfinished { .. } => false,
        }
    }
}

/// How far it is, for whoever watches.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Told {
    /// One that somebody else has begun.
    Finishes {
        direction: Direction,
        epoch: u64,
    },
    Prepared,
    Announced {
        attempt: i64,
    },
    Held {
        sidecars: usize,
    },
    Drained,
    Alone,
    Empty,
    Moved {
        epoch: u64,
    },
    WaitsLease(Duration),
    Repeats(String),
}

impl fmt::Display for Told {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Finishes { direction, epoch } => {
                write!(f, "a {} to epoch {epoch} was begun: finishing it", direction.as_str())
            }
            Self::Prepared => f.write_str("prepared on both sides"),
            Self::Announced { attempt } => write!(f, "attempt {attempt} announced"),
            Self::Held { sidecars } => write!(f, "{sidecars} sidecars hold their clients"),
            Self::Drained => f.write_str("every transaction through a sidecar has ended"),
            Self::Alone => f.write_str("every other writer is over, or refused from here on"),
            Self::Empty => f.write_str("both sides have everything"),
            Self::Moved { epoch } => write!(f, "epoch {epoch}: the lead is given, it goes forward"),
            Self::WaitsLease(lease) => {
                let seconds = lease.as_secs_f64();
                write!(f, "a sidecar may be cut off: waiting for one lease ({seconds:.1} s)")
            }
            Self::Repeats(why) => write!(f, "{why}; trying again"),
        }
    }
}

/// Hears how far it is.
pub type Tell<'a> = &'a (dyn Fn(&Told) + Send + Sync);

/// One run, from gates to end.
struct Run<'a> {
    ends: &'a Ends,
    users: &'a BTreeMap<String, String>,
    options: &'a Options,
    tell: Tell<'a>,
    client: Client,
    /// The tables that the change concerns, where it does not concern them all.
    part: Option<Vec<TableId>>,
    /// What `crossfade.epoch` holds before the change.
    turn: u64,
    /// The attempt's deadline, or a moment before it.
    until: Instant,
}

/// The record of attempts, the latest first; nothing before `setup`.
pub async fn record(ends: &Ends) -> Result<Vec<Attempt>, SwitchError> {
    let client = ends.from.connect().await?;
    match facts::turn(&client).await? {
        Some(_) => Ok(attempts::list(&client).await?),
        None => Ok(Vec::new()),
    }
}

/// Changes the primary, or says why not. `users` are verifiers that proxy.yaml names.
pub async fn run(
    ends: &Ends,
    policies: &Policies,
    users: &BTreeMap<String, String>,
    options: &Options,
    tell: Tell<'_>,
) -> Result<Outcome, SwitchError> {
    let client = match ends.from.connect().await {
        Ok(client) => client,
        // Then nobody minds that it is gone.
        Err(error) => return facts::left_for_good(ends).await.ok_or_else(|| error.into()),
    };
    if let Some(unknown) = layout::check(&client).await? {
        return Err(unknown.into());
    }
    let (standing, _) = facts::standing(&client, ends).await?;
    let until = Instant::now() + options.timeout;
    let mut run = Run { ends, users, options, tell, client, part: None, turn: 0, until };
    if !options.dry_run {
        if let Some((direction, epoch)) = standing.unfinished() {
            let outcome = run.resume(policies, direction, epoch).await?;
            if direction == options.direction {
                return Ok(outcome);
            }
        }
        run.close_old(standing.epoch()).await?;
    }
    let (facts, catalog) = run.gather(policies).await?;
    let epoch = facts.standing.epoch();
    let found = gates(&facts, &options.accept);
    let mut reasons = shut(&found);
    // Otherwise nothing was read that it could name.
    if facts.standing.next().is_some() {
        reasons.extend(gates::unknown_items(&options.accept, &facts, &catalog));
    }
    if !reasons.is_empty() {
        let refused = run.refuse(epoch, reasons, facts.has_record && !options.dry_run).await?;
        return Ok(Outcome { advice: gates::advice(&found), ..refused });
    }
    if options.dry_run {
        let reasons = facts.sessions;
        return Ok(Outcome::new(Ended::Ready, epoch, reasons));
    }
    run.part = facts::concerned(&run.client, &catalog, options.group.as_deref()).await?;
    run.turn = match (options.direction, &run.part) {
        (Direction::Rollback, None) => epoch * 2 + 1,
        _ => epoch * 2,
    };
    if let Some(reason) = prepare::prepare(&run, &catalog, epoch + 1).await? {
        return run.refuse(epoch, vec![reason], true).await;
    }
    tell(&Told::Prepared);
    run.change(&catalog, epoch).await
}

/// Finishes a change that is half done, one lease after this call at the earliest; does nothing where there
/// is none.
pub async fn finish_half_done(ends: &Ends, policies: &Policies) -> Result<(), SwitchError> {
    let client = ends.from.connect().await?;
    let (standing, _) = facts::standing(&client, ends).await?;
    let Some((direction, epoch)) = standing.unfinished() else { return Ok(()) };
    let options = Options {
        direction,
        group: None,
        dry_run: false,
        timeout: TIMEOUT,
        accept: Vec::new(),
        terminate: false,
    };
    let (users, tell) = (BTreeMap::new(), |_: &Told| {});
    let until = Instant::now() + TIMEOUT;
    let (users, options, tell) = (&users, &options, &tell);
    let run = Run { ends, users, options, tell, client, part: None, turn: 0, until };
    run.resume(policies, direction, epoch).await.map(drop)
}

impl Run<'_> {
    /// The facts, once the statements that were seen a moment ago are judged; in vain they are a reason.
    async fn gather(&self, policies: &Policies) -> Result<(Facts, Arc<Catalog>), SwitchError> {
        let until = Instant::now() + JUDGED_TIME_MAX;
        loop {
            let Options { direction, accept, group, .. } = self.options;
            let asked = (*direction, group.as_deref());
            let (facts, catalog) =
                facts::gather(&self.client, self.ends, policies, self.users, asked).await?;
            let unjudged = |line: &Line| {
                line.readiness == Readiness::Unknown && !gates::is_accepted(line, accept)
            };
            // No statement is in the way back.
            let waits =
                *direction == Direction::Switchover && facts.statements.iter().any(unjudged);
            if until <= Instant::now() || !waits {
                return Ok((facts, catalog));
            }
            tokio::time::sleep(LOOK_AGAIN).await;
        }
    }

    async fn refuse(
        &self,
        epoch: u64,
        reasons: Vec<String>,
        record: bool,
    ) -> Result<Outcome, SwitchError> {
        if record {
            let Options { direction, terminate, .. } = *self.options;
            attempts::refused(&self.client, direction, epoch, terminate, &reasons).await?;
        }
        Ok(Outcome::new(Ended::Refused, epoch, reasons))
    }

    /// Finishes what somebody else has begun.
    async fn resume(
        &self,
        policies: &Policies,
        direction: Direction,
        epoch: u64,
    ) -> Result<Outcome, SwitchError> {
        (self.tell)(&Told::Finishes { direction, epoch });
        let began = Instant::now();
        let naming = crate::catalog::naming::Naming::default();
        let catalog = introspect::introspect(&self.client, policies, &naming).await?;
        let since = Since { given: began, drained: None };
        finish::finish(self, &self.tables(&catalog), direction, epoch, since).await?;
        let hold_seconds = began.elapsed().as_secs_f64();
        Ok(Outcome::new(Ended::Done, epoch, Vec::new()).held(hold_seconds))
    }

    async fn change(mut self, catalog: &Catalog, epoch: u64) -> Result<Outcome, SwitchError> {
        let Options { direction, terminate, timeout, .. } = *self.options;
        let began = Instant::now();
        self.until = began + timeout;
        let announced =
            attempts::announce(&self.client, direction, epoch, terminate, timeout).await?;
        let Some(id) = announced else {
            let reasons = vec!["another attempt has just begun".to_owned()];
            return self.refuse(epoch, reasons, true).await;
        };
        (self.tell)(&Told::Announced { attempt: id });
        let tables = self.tables(catalog);
        let next = epoch + 1;
        let given = self.give(catalog, &tables, id, next).await;
        let (holder, since) = match given {
            Ok((Given::Yes(holder, given), everyone)) => {
                // Past the deadline sidecars let their clients go on, for as long as they have a lease.
                let late = self.until <= given;
                (holder, Since { given, drained: Some(id).filter(|_| everyone && !late) })
            }
            Ok((Given::No(reasons), _)) => {
                let undone = Undone { id, epoch, reasons, certain: true };
                return self.undo(undone, &tables, began).await;
            }
            Err(error) => {
                // What was sent last may have arrived all the same.
                let reasons = vec![error.to_string()];
                let undone = Undone { id, epoch, reasons, certain: false };
                return self.undo(undone, &tables, began).await;
            }
        };
        (self.tell)(&Told::Moved { epoch: next });
        finish::finish(&self, &tables, direction, next, since).await?;
        // Until here it kept whoever writes to the old primary waiting.
        drop(holder);
        let hold_seconds = self.held(id, began).await;
        Ok(Outcome::new(Ended::Done, next, Vec::new()).held(hold_seconds))
    }

    /// How long clients were held, once every sidecar has let them go on; where the record does not tell, the
    /// whole attempt.
    async fn held(&self, id: i64, began: Instant) -> f64 {
        let whole = began.elapsed().as_secs_f64();
        let until = Instant::now() + RESUME_TIME_MAX;
        loop {
            match attempts::held(&self.client, id).await {
                Ok((seconds, holds)) if !holds || until <= Instant::now() => return seconds,
                Ok(_) => tokio::time::sleep(hold::POLL).await,
                Err(_) => return whole,
            }
        }
    }

    /// Up to the moment from which it goes forward only; with it, whether everyone has drained.
    async fn give(
        &self,
        catalog: &Catalog,
        tables: &[&Arc<Table>],
        id: i64,
        next: u64,
    ) -> Result<(Given, bool), SwitchError> {
        let Options { direction, terminate, .. } = *self.options;
        let held = hold::wait(self, id, direction, terminate).await?;
        let everyone = match held {
            Held::Undo(reasons) => return Ok((Given::No(reasons), false)),
            Held::Drained { everyone } => everyone,
        };
        (self.tell)(&Told::Drained);
        let given = match direction {
            Direction::Switchover => forward::give(self, catalog, tables, id, next).await?,
            Direction::Rollback => back::give(self, tables, id, next).await?,
        };
        Ok((given, everyone))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_has_a_unit_and_bounds() {
        assert_eq!(timeout("30s"), Ok(Duration::from_secs(30)));
        assert_eq!(timeout("1500ms"), Ok(Duration::from_millis(1500)));
        assert_eq!(timeout("10m"), Ok(TIMEOUT_MAX));
        for wrong in ["", "30", "s", "0s", "999ms", "11m", "30 s", "-1s", "18446744073709551615m"] {
            assert!(timeout(wrong).is_err(), "{wrong}");
        }
    }
}
