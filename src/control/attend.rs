//! A sidecar's part in a change of the primary: it holds its clients, says how far it is, lets them go on.
//!
//! ```text
//! crossfade.attempts ──poll──▶ [`Attendant`] ──begin, end──▶ Hold ─▶ sessions
//!                                  │   ▲──────drained───────┘
//!                                  └──announced, held, drained, flipped, resumed──▶ crossfade.attempt_sidecars
//! ```
//!
//! Invariant: a hold ends, whatever happens: when the attempt has ended and the new situation is published
//! here, or after the attempt's deadline. By then the epoch may have moved, on either side, a moment before:
//! so clients go on only once the primary has said, asked after the deadline, that it has not, or once the
//! lease has run out, without which nobody is answered. That no write slips through is not its business:
//! see [`crate::control::store`] and the guards.

use std::sync::Arc;
use std::time::{Duration, Instant as Moment};

use tokio::sync::{oneshot, watch};
use tokio::time::{Instant, sleep, sleep_until, timeout};
use tokio_postgres::{Client, Error};
use tracing::{info, warn};

use super::store::Nudge;
use crate::answer::serves;
use crate::backend::postgres::connect::{Connector, Link};
use crate::handoff::Handoff;
use crate::hold::Hold;
use crate::lease::Lease;
use crate::phase::{Phase, Situation};

/// Between two looks while an attempt is under way.
const QUICK: Duration = Duration::from_millis(20);
/// Until the next look where the record is not there yet.
const LATER: Duration = Duration::from_secs(30);
/// Longest time for one statement of ours.
const ANSWER_TIME_MAX: Duration = Duration::from_secs(5);
/// Longest wait for the queue in memory; what is left stands in the outbox.
const QUEUE_TIME_MAX: Duration = Duration::from_secs(2);
/// How long the new situation of an attempt that is done is waited for without a lease: clients would wait
/// for it all the same, and be refused in the end.
const FLIP_TIME_MAX: Duration = Duration::from_secs(10);

/// The one that is under way, among others that were refused since; or the one that was.
const LOOK: &str = "SELECT a.id, a.state, a.terminate, a.epoch, \
       pg_catalog.date_part('epoch', a.deadline - pg_catalog.clock_timestamp()) \
     FROM crossfade.attempts a WHERE CASE WHEN $1::pg_catalog.int8 IS NULL \
       THEN a.state IN ('announced', 'held') ELSE a.id = $1 END ORDER BY a.id DESC LIMIT 1";
const ANNOUNCE: &str = "INSERT INTO crossfade.attempt_sidecars (attempt, sidecar) VALUES ($1, $2) \
     ON CONFLICT DO NOTHING";

/// What the last attempt is at.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Stage {
    Announced,
    Held,
    Done,
    /// Undone or refused.
    Over,
}

#[derive(Clone, Debug)]
struct Attempt {
    id: i64,
    stage: Stage,
    terminate: bool,
    /// The epoch that it ends.
    epoch: u64,
    deadline: Instant,
}

/// How an attempt ended, as far as its record says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ending {
    Done,
    Undone,
    /// Its time was up.
    Late,
}

/// The task.
#[derive(Debug)]
pub struct Attendant {
    /// As in `crossfade.sidecars`.
    pub id: String,
    pub primary: Connector,
    pub hold: Hold,
    /// What carries writes to MySQL, and to PostgreSQL.
    pub forth: Handoff,
    pub back: Handoff,
    pub situation: watch::Receiver<Arc<Situation>>,
    pub lease: Lease,
    pub nudge: Nudge,
    /// How often it looks while nothing is going on.
    pub poll: Duration,
}

impl Attendant {
    /// Attends until it is aborted.
    pub async fn run(self) {
        let mut link = Link::new(self.primary.clone());
        loop {
            match self.look(&mut link, None).await {
                Ok(Some(attempt)) if matches!(attempt.stage, Stage::Announced | Stage::Held) => {
                    link.settled();
                    self.attend(&mut link, attempt).await;
                    self.hold.end();
                    sleep(QUICK).await;
                }
                Ok(_) => {
                    link.settled();
                    sleep(self.poll).await;
                }
                Err(()) => {
                    link.discard();
                    link.back_off().await;
                }
            }
        }
    }

    /// The attempt that is under way, or the one with this number; none where it is past its deadline, or
    /// nothing is set up.
    async fn look(&self, link: &mut Link, id: Option<i64>) -> Result<Option<Attempt>, ()> {
        if matches!(self.situation.borrow().phase, Phase::Setup | Phase::Complete) {
            link.discard();
            return Ok(None);
        }
        let client = timeout(ANSWER_TIME_MAX, link.get()).await.map_err(drop)?.map_err(drop)?;
        let found = timeout(ANSWER_TIME_MAX, client.query_opt(LOOK, &[&id])).await.map_err(drop)?;
        let row = match found {
            Ok(row) => row,
            Err(error) if error.code().is_some() => {
                // Set up by a version that had no such table: `setup` brings it.
                sleep(LATER).await;
                return Ok(None);
            }
            Err(_) => return Err(()),
        };
        Ok(row.and_then(|row| {
            let left: f64 = row.get(4);
            let stage = match row.get::<_, &str>(1) {
                "announced" => Stage::Announced,
                "held" => Stage::Held,
                "done" => Stage::Done,
                _ => Stage::Over,
            };
            Some(Attempt {
                id: row.get(0),
                stage,
                terminate: row.get(2),
                epoch: u64::try_from(row.get::<_, i64>(3)).unwrap_or(0),
                deadline: Instant::now() + Duration::try_from_secs_f64(left).ok()?,
            })
        }))
    }

    /// From the announcement to the end of the attempt, or past its deadline.
    async fn attend(&self, link: &mut Link, attempt: Attempt) {
        info!(attempt = attempt.id, "a change of the primary is announced");
        let ending = tokio::select! {
            ending = self.follow(link, &attempt) => ending,
            () = sleep_until(attempt.deadline) => Ending::Late,
        };
        if ending == Ending::Late {
            warn!(attempt = attempt.id, "the attempt is past its deadline");
        }
        let done = match ending {
            Ending::Undone => false,
            Ending::Late => self.moved(&attempt, Duration::ZERO).await,
            Ending::Done => self.moved(&attempt, FLIP_TIME_MAX).await,
        };
        if done {
            self.say(link, &attempt, "flipped = pg_catalog.clock_timestamp()").await;
        }
        self.hold.end();
        self.hold.count(done);
        self.say(link, &attempt, "resumed = pg_catalog.clock_timestamp()").await;
        info!(attempt = attempt.id, done, "clients go on");
    }

    /// Waits for the new situation; false where the primary is confirmed to be the old one from now on, or
    /// nothing has been confirmed for a lease, and for `patience` longer.
    async fn moved(&self, attempt: &Attempt, patience: Duration) -> bool {
        let now = Moment::now();
        let mut situation = self.situation.clone();
        let mut moved =
            std::pin::pin!(situation.wait_for(|situation| attempt.epoch < situation.epoch));
        let mut confirmed = std::pin::pin!(self.lease.confirmed_since(now));
        let mut lost = std::pin::pin!(async {
            self.lease.lost().await;
            sleep(patience).await;
        });
        loop {
            self.nudge.look_now();
            tokio::select! {
                biased;
                moved = &mut moved => return moved.is_ok(),
                () = &mut confirmed => return self.is_over(attempt),
                () = &mut lost => {
                    warn!(attempt = attempt.id, "who is the primary is not known here");
                    return false;
                }
                () = sleep(QUICK) => {}
            }
        }
    }

    /// Does what the attempt asks for, to its end.
    async fn follow(&self, link: &mut Link, attempt: &Attempt) -> Ending {
        let (mut announced, mut drained) = (false, false);
        loop {
            let now = match self.look(link, Some(attempt.id)).await {
                Ok(now) => now,
                // Until the deadline it may come back.
                Err(()) if self.is_over(attempt) => return Ending::Done,
                Err(()) => {
                    link.discard();
                    self.nudge.look_now();
                    sleep(QUICK).await;
                    continue;
                }
            };
            // Past its deadline it is not shown any more.
            let Some(now) = now else { return Ending::Late };
            match now.stage {
                Stage::Announced if !announced => {
                    announced = self.announce(link, attempt).await;
                }
                Stage::Announced => {}
                Stage::Held => {
                    announced = announced || self.announce(link, attempt).await;
                    if !self.hold.is_on() {
                        self.hold.begin(attempt.terminate);
                        self.say(link, attempt, "held = pg_catalog.clock_timestamp()").await;
                    }
                    drained = drained || self.drain(link, attempt).await;
                }
                Stage::Done => return Ending::Done,
                Stage::Over => return Ending::Undone,
            }
            self.nudge.look_now();
            sleep(QUICK).await;
        }
    }

    /// The epoch that the attempt ends has ended.
    fn is_over(&self, attempt: &Attempt) -> bool {
        attempt.epoch < self.situation.borrow().epoch
    }

    async fn announce(&self, link: &mut Link, attempt: &Attempt) -> bool {
        let id = self.id.clone();
        self.tell(link, async |client| client.execute(ANNOUNCE, &[&attempt.id, &id]).await).await
    }

    /// Whether no client has a transaction open, and nothing is left in memory, and it is said so. Waits a
    /// moment only, so that the attempt's end is noticed.
    async fn drain(&self, link: &mut Link, attempt: &Attempt) -> bool {
        let Ok(obstacles) = timeout(QUICK, self.hold.drained()).await else { return false };
        let (serves, parted) = {
            let now = self.situation.borrow();
            (serves(&now), now.is_parted())
        };
        for (handoff, carries) in [(&self.back, serves || parted), (&self.forth, !serves)] {
            let (done, settled) = oneshot::channel();
            if carries {
                handoff.drain(Some(done));
                // In vain: what is left stands in the outbox, and whoever flips waits for that.
                drop(timeout(QUEUE_TIME_MAX, settled).await);
            }
        }
        let told: Vec<String> =
            obstacles.iter().map(|(what, count)| format!("{count} with {what}")).collect();
        let drained = "UPDATE crossfade.attempt_sidecars SET drained = pg_catalog.clock_timestamp(), \
                       obstacles = $3 WHERE attempt = $1 AND sidecar = $2";
        let id = self.id.clone();
        self.tell(link, async |client| client.execute(drained, &[&attempt.id, &id, &told]).await)
            .await
    }

    /// Notes a step. What cannot be noted is missing from the record, and nothing else.
    async fn say(&self, link: &mut Link, attempt: &Attempt, step: &str) {
        let sql = format!(
            "UPDATE crossfade.attempt_sidecars SET {step} WHERE attempt = $1 AND sidecar = $2"
        );
        let id = self.id.clone();
        self.tell(link, async |client| client.execute(&sql, &[&attempt.id, &id]).await).await;
    }

    async fn tell(
        &self,
        link: &mut Link,
        statement: impl AsyncFnOnce(&Client) -> Result<u64, Error>,
    ) -> bool {
        let told = async {
            let client = link.get().await.map_err(drop)?;
            statement(client).await.map_err(drop)
        };
        let told = timeout(ANSWER_TIME_MAX, told).await;
        let told = matches!(told, Ok(Ok(_)));
        if !told {
            link.discard();
        }
        told
    }
}
