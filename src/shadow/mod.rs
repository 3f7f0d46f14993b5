//! Reads tried on the secondary before it has to answer them, off the clients' path.
//!
//! ```text
//! session ──handoff::reads──▶ [`run`], a place each ──▶ [`reading`]: may it be run again?
//!                                                          ├─▶ [`primary`] ───┐
//!                                                          └─▶ [`secondary`] ─┴─▶ [`compare`] ─▶ counts
//!                                                                ▲                    │ different?
//!                                                                └── settle, again ◀──┘
//! texts of statements ──[`ready`]──▶ translated, or which construct is not
//! ```
//!
//! Both sides are read again, on connections of ours, rather than keeping what the client was answered.
//! A copy of its rows would have to be made on the client's path, would be in whatever format it asked for,
//! and would be older than what the secondary is asked for, so that a difference had to be read again
//! anyway. So the client's path costs a copy of its text and parameters, both times are measured in the
//! same way, and the price is a second read of the share on the primary. What a client's own transaction
//! saw (its writes, an older snapshot) is not asked for here; those reads are not taken.
//!
//! The secondary is asked through a session of `answer`: what is compared is what a client would get, its
//! translation, its types and its formats included.
//!
//! Invariant: a read counts as a mismatch only if the secondary still differed after everything that the
//! primary had then was applied, and the primary still said the same after that. Nothing waits for a place;
//! no value is logged or counted.

mod compare;
mod primary;
mod reading;
pub mod ready;
mod secondary;
mod sides;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tokio::sync::{Mutex, mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout};
use tracing::{debug, warn};

use crate::answer::{AnswerConfig, AnswerLimits, Cancels, PgError, Plans, Services, Shelf, Users};
use crate::backend::mysql::ToUrl;
use crate::backend::postgres::connect::Connector;
use crate::handoff::{Reads, ShadowRead};
use crate::hold::Hold;
use crate::lease::Lease;
use crate::phase::{Phase, Situation};
use crate::plan::seen::{Compared, Tally};

use compare::{Verdict, compare};
use primary::Primary;
use reading::Reading;
use secondary::Secondary;
pub use sides::ShadowLimits;
use sides::{Failure, Parameters, Question, Rows};

/// Translations kept, of all places together.
const PLANS_MAX: usize = 1024;
/// Statements kept prepared on the secondary.
const PREPARED_MAX: usize = 256;
/// A place that was not needed for so long closes its connections.
const IDLE: Duration = Duration::from_secs(30);
/// Between two looks at a difference, at first; it doubles.
const LOOK_AGAIN: Duration = Duration::from_millis(20);
const LOOK_AGAIN_MAX: Duration = Duration::from_millis(500);

/// All that a place needs.
#[derive(Clone, Debug)]
pub struct Ground {
    pub reads: Reads,
    pub from: Connector,
    pub to: ToUrl,
    /// The one database that clients name.
    pub database: String,
    pub connect_timeout: Duration,
    pub lease: Lease,
    pub situation: watch::Receiver<Arc<Situation>>,
    pub limits: watch::Receiver<ShadowLimits>,
}

impl Ground {
    /// For sessions in which the secondary answers, while it does not.
    fn services(
        &self,
        situation: watch::Receiver<Arc<Situation>>,
        shutdown: watch::Receiver<bool>,
    ) -> Services {
        let config = AnswerConfig {
            tls: None,
            users: Users::new(BTreeMap::new(), self.to.clone()),
            database: self.database.clone(),
            url: self.to.clone(),
            login_timeout: self.connect_timeout,
            connect_timeout: self.connect_timeout,
            login_bytes_max: 0,
            limits: AnswerLimits::default(),
        };
        Services {
            config: watch::channel(Arc::new(config)).1,
            situation,
            lease: self.lease.clone(),
            hold: Hold::default(),
            reported: watch::channel(Arc::default()).1,
            plans: Arc::new(Plans::new(PLANS_MAX)),
            shelf: Shelf::new(PREPARED_MAX, None),
            cancels: Cancels::default(),
            handoff: None,
            metrics: None,
            seen: None,
            shutdown,
        }
    }
}

/// Tries what comes, in `pool` places, until it is dropped.
pub async fn run(ground: Ground, pool: usize) {
    let Some(receiver) = ground.reads.open(pool) else { return };
    let receiver = Arc::new(Mutex::new(receiver));
    let (as_if, supposed) = watch::channel(supposed(&ground.situation));
    // Its sessions end with this task.
    let (_shutdown, ends) = watch::channel(false);
    let services = ground.services(supposed, ends);
    let mut places = JoinSet::new();
    for _ in 0..pool {
        let place = Place::new(ground.clone(), services.clone());
        places.spawn(place.run(Arc::clone(&receiver)));
    }
    let mut situation = ground.situation.clone();
    while situation.changed().await.is_ok() {
        as_if.send_replace(self::supposed(&situation));
    }
}

/// What the situation is like once the secondary answers.
fn supposed(situation: &watch::Receiver<Arc<Situation>>) -> Arc<Situation> {
    let situation = Arc::clone(&situation.borrow());
    Arc::new(Situation { phase: Phase::Switched, ..Situation::clone(&situation) })
}

/// One read at a time, on a connection to each side.
struct Place {
    ground: Ground,
    primary: Primary,
    secondary: Secondary,
}

impl Place {
    fn new(ground: Ground, services: Services) -> Self {
        let primary = Primary::new(ground.from.clone());
        let secondary = Secondary::new(services);
        Self { ground, primary, secondary }
    }

    async fn run(mut self, reads: Arc<Mutex<mpsc::UnboundedReceiver<ShadowRead>>>) {
        loop {
            let next = async { reads.lock().await.recv().await };
            match timeout(IDLE, next).await {
                Ok(Some(read)) => self.try_one(read).await,
                Ok(None) => return,
                Err(_) => {
                    self.primary.rest();
                    self.secondary.rest();
                }
            }
        }
    }

    async fn try_one(&mut self, read: ShadowRead) {
        let situation = Arc::clone(&self.ground.situation.borrow());
        let parameters = match &read.bind {
            Some(bind) => Parameters::of(bind),
            None => Some(Parameters::default()),
        };
        let reading = Reading::of(&read.statement.text);
        let (Some(parameters), Some(reading)) = (parameters, reading) else { return };
        // What MySQL answers already need not be tried there.
        if situation.phase != Phase::DualWrite || situation.is_parted() {
            return;
        }
        let ShadowRead { tally, statement, shown, path, place: _place, .. } = read;
        let question = Question { statement, parameters, shown, path };
        let limits = *self.ground.limits.borrow();
        let outcome = self.outcome(&question, &reading, &situation, &limits).await;
        self.ground.reads.count(outcome.as_str());
        note(&tally, &outcome);
    }

    async fn outcome(
        &mut self,
        question: &Question,
        reading: &Reading,
        situation: &Situation,
        limits: &ShadowLimits,
    ) -> Outcome {
        match self.settled(question, reading, situation, limits).await {
            Ok(outcome) => outcome,
            Err(Failure::TooLarge) => Outcome::Undetermined(Times::default()),
            Err(Failure::Refused { code, message }) if code == UNSUPPORTED => {
                Outcome::Untranslated(message)
            }
            Err(Failure::Refused { code, .. }) => {
                debug!(code, "a read could not be tried on both sides");
                Outcome::Error
            }
            Err(Failure::Lost) => {
                debug!("a read could not be tried: no answer");
                Outcome::Error
            }
        }
    }

    /// Reads both sides, until they agree or it is sure that they do not.
    async fn settled(
        &mut self,
        question: &Question,
        reading: &Reading,
        situation: &Situation,
        limits: &ShadowLimits,
    ) -> Result<Outcome, Failure> {
        let catalog = &situation.catalog;
        let (mut ours, mut moment) = self.primary.read(question, limits).await?;
        let mut theirs = self.secondary.read(question, limits).await?;
        let times = Times::of(&ours, &theirs);
        if compare(reading, catalog, &ours, &theirs) == Verdict::Same {
            return Ok(Outcome::Match(times));
        }
        let (deadline, mut pause) = (Instant::now() + limits.settle, LOOK_AGAIN);
        while Instant::now() < deadline {
            sleep(pause).await;
            pause = (pause * 2).min(LOOK_AGAIN_MAX);
            let arrived = !self.primary.is_pending(moment).await?;
            theirs = self.secondary.read(question, limits).await?;
            match compare(reading, catalog, &ours, &theirs) {
                Verdict::Same => return Ok(Outcome::Match(times)),
                verdict if arrived => {
                    let (again, later): (Rows, SystemTime) =
                        self.primary.read(question, limits).await?;
                    if compare(reading, catalog, &ours, &again) == Verdict::Same {
                        return Ok(match verdict {
                            Verdict::Open => Outcome::Undetermined(times),
                            _ => Outcome::Mismatch(times),
                        });
                    }
                    (ours, moment) = (again, later);
                }
                _ => {}
            }
        }
        Ok(Outcome::Undetermined(times))
    }
}

/// SQLSTATE of what is not translated.
const UNSUPPORTED: &str = "0A000";

/// How long the first read took on both sides.
#[derive(Clone, Copy, Debug, Default)]
struct Times {
    primary: Duration,
    secondary: Duration,
}

impl Times {
    fn of(ours: &Rows, theirs: &Rows) -> Self {
        Self { primary: ours.took, secondary: theirs.took }
    }
}

#[derive(Debug)]
enum Outcome {
    Match(Times),
    Mismatch(Times),
    Undetermined(Times),
    /// Why; holds no value.
    Untranslated(String),
    Error,
}

impl Outcome {
    fn as_str(&self) -> &'static str {
        match self {
            Self::Match(_) => "match",
            Self::Mismatch(_) => "mismatch",
            Self::Undetermined(_) => "undetermined",
            Self::Untranslated(_) => "untranslated",
            Self::Error => "error",
        }
    }
}

/// Counts for the statement, and says so aloud the first time that it differs.
fn note(tally: &Tally, outcome: &Outcome) {
    let timed = |compared: &mut Compared, times: &Times| {
        let micros = |time: Duration| u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
        compared.primary_micros += micros(times.primary);
        compared.secondary_micros += micros(times.secondary);
    };
    let mut first = false;
    tally.compare(|compared| match outcome {
        Outcome::Match(times) => {
            compared.matched += 1;
            timed(compared, times);
        }
        Outcome::Mismatch(times) => {
            first = compared.mismatched == 0;
            compared.mismatched += 1;
            timed(compared, times);
        }
        Outcome::Undetermined(times) => {
            compared.undetermined += 1;
            timed(compared, times);
        }
        Outcome::Untranslated(_) => {}
        Outcome::Error => compared.failed += 1,
    });
    if let Outcome::Untranslated(why) = outcome {
        tally.judge(ready::refused(&PgError::new(UNSUPPORTED, why)));
    }
    if first {
        let fingerprint = tally.fingerprint();
        warn!(%fingerprint, "the secondary answers a read otherwise, see `status --statements`");
    }
}
