//! What has to be known all the time while rows are copied.
//!
//! ```text
//! MySQL: the lock of the one run ─▶ lost: the run ends
//! PostgreSQL: a moment noted ─▶ what ran then has ended ─▶ bound of the chunks to come ─▶ the next moment
//!             paused? outbox, lag, answer time ─▶ Hold │ go          progress ─▶ crossfade.backfill
//! ```
//!
//! Invariant: a bound is published only once every transaction has ended that ran when it was noted. So
//! a delete below it is seen by every snapshot taken afterwards, and its tombstone is not needed.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, sleep};
use tokio_postgres::Client;

use super::pace::{Bounds, Hold, Pulse};
use super::progress::{Activity, Progress, TableProgress};
use super::{Backfill, BackfillError};
use crate::backend::mysql::Link;
use crate::backend::postgres::records::BACKFILL;
use crate::backend::postgres::session::unhurried;
use crate::catalog::Table;
use crate::change::Version;
use crate::outbox::Moment;

const LOOK: Duration = Duration::from_millis(250);
/// How often progress is written to PostgreSQL, and the lock looked at.
const NOTE: Duration = Duration::from_secs(1);

const KEEP: &str = "INSERT INTO crossfade.backfill \
     (table_id, state, activity, rows, expected, refused, rate, at) \
     VALUES ($1, $2, $3, $4, $5, $6, $7, pg_catalog.clock_timestamp()) ON CONFLICT (table_id) DO UPDATE \
     SET state = excluded.state, activity = excluded.activity, rows = excluded.rows, \
       expected = excluded.expected, refused = excluded.refused, rate = excluded.rate, at = excluded.at";
/// Entries that nobody has tried yet: one that fails again and again would hold the copying that might
/// bring what it waits for.
const PULSE: &str = "SELECT EXISTS (SELECT FROM crossfade.settings s \
       WHERE s.key = 'backfill' AND s.value = 'paused'), pg_catalog.count(*), \
     COALESCE(EXTRACT(epoch FROM pg_catalog.clock_timestamp() - pg_catalog.min(o.at)), 0)::float8 \
     FROM (SELECT at FROM crossfade.outbox WHERE attempts = 0 ORDER BY id LIMIT $1) o";
const OLDEST: &str = "SELECT w.who, w.seconds FROM ( \
     SELECT 'process ' || a.pid || ' (' || COALESCE(a.state, 'unknown') || ')', \
       EXTRACT(epoch FROM pg_catalog.clock_timestamp() - a.xact_start)::float8 \
     FROM pg_catalog.pg_stat_activity a \
     WHERE a.backend_xid IS NOT NULL AND a.pid <> pg_catalog.pg_backend_pid() \
     UNION ALL SELECT 'a prepared transaction', \
       EXTRACT(epoch FROM pg_catalog.clock_timestamp() - p.prepared)::float8 \
     FROM pg_catalog.pg_prepared_xacts p) w(who, seconds) ORDER BY w.seconds DESC LIMIT 1";

/// What the runner hears.
pub(super) struct Seen {
    pub(super) bound: watch::Receiver<Option<Version>>,
    pub(super) hold: watch::Receiver<Option<Hold>>,
}

pub(super) struct Watch {
    client: Client,
    keeper: Link,
    epoch: u64,
    bounds: Bounds,
    progress: Progress,
    moment: Moment,
    bound: watch::Sender<Option<Version>>,
    hold: watch::Sender<Option<Hold>>,
    noted: Instant,
}

impl Watch {
    /// Fails where another run has the lock.
    pub(super) async fn open(
        backfill: &Backfill,
        tables: &[Arc<Table>],
        epoch: u64,
    ) -> Result<(Self, Seen), BackfillError> {
        let client = backfill.from.connect().await?;
        unhurried(&client).await?;
        BACKFILL.ensure(&client).await?;
        let mut keeper = Link::connect(&backfill.to, &backfill.limits).await?;
        if !keeper.lock_backfill().await? {
            return Err(BackfillError::Busy);
        }
        let progress = backfill.progress.clone();
        progress.tables(tables.iter().map(|table| &**table));
        let moment = Moment::note(&client).await?;
        let (bound, bound_seen) = watch::channel(None);
        let (hold, hold_seen) = watch::channel(None);
        let bounds = backfill.options.bounds;
        let noted = Instant::now();
        let watch = Self { client, keeper, epoch, bounds, progress, moment, bound, hold, noted };
        Ok((watch, Seen { bound: bound_seen, hold: hold_seen }))
    }

    pub(super) async fn run(&mut self) -> Result<(), BackfillError> {
        loop {
            self.advance().await?;
            self.pulse().await?;
            if NOTE <= self.noted.elapsed() {
                self.noted = Instant::now();
                if !self.keeper.holds_backfill().await? {
                    return Err(BackfillError::Busy);
                }
                self.keep().await?;
            }
            sleep(LOOK).await;
        }
    }

    /// Writes down how the run ended.
    pub(super) async fn last(&mut self) -> Result<(), BackfillError> {
        self.progress.activity(Activity::Ended);
        self.keep().await
    }

    async fn advance(&mut self) -> Result<(), BackfillError> {
        if self.moment.ended(&self.client).await? {
            let version = Version { epoch: self.epoch, counter: self.moment.lsn, n: 0 };
            self.bound.send_replace(Some(version));
            self.moment = Moment::note(&self.client).await?;
        }
        if self.bound.borrow().is_none() {
            let oldest = self.client.query_opt(OLDEST, &[]).await?;
            let (who, seconds): (String, f64) = match oldest {
                Some(row) => (row.try_get(0)?, row.try_get(1)?),
                None => return Ok(()),
            };
            let text = format!("{who}, {seconds:.0} s old");
            self.progress.activity(Activity::WaitsFor(text));
        }
        Ok(())
    }

    async fn pulse(&mut self) -> Result<(), BackfillError> {
        let start = Instant::now();
        self.client.batch_execute("SELECT 1").await?;
        let latency = start.elapsed();
        let most = i64::try_from(self.bounds.outbox).unwrap_or(i64::MAX).saturating_add(1);
        let row = self.client.query_one(PULSE, &[&most]).await?;
        let (entries, age): (i64, f64) = (row.try_get(1)?, row.try_get(2)?);
        let pulse = Pulse {
            paused: row.try_get(0)?,
            outbox: usize::try_from(entries).unwrap_or(usize::MAX),
            lag: Duration::from_secs_f64(age.clamp(0.0, 1e9)),
            latency,
        };
        let hold = self.bounds.judge(&pulse);
        self.hold.send_if_modified(|old| std::mem::replace(old, hold) != hold);
        if self.bound.borrow().is_some() {
            self.progress.activity(hold.map_or(Activity::Copies, Activity::Holds));
        }
        Ok(())
    }

    async fn keep(&mut self) -> Result<(), BackfillError> {
        let snapshot = self.progress.snapshot();
        let activity = match &snapshot.activity {
            Activity::Holds(hold) => hold.to_string(),
            _ => String::new(),
        };
        for table in &snapshot.tables {
            let signed = |number: u64| i64::try_from(number).unwrap_or(i64::MAX);
            let TableProgress { rows, expected, refused, .. } = table;
            let (rows, expected, refused) = (signed(*rows), signed(*expected), signed(*refused));
            let (state, rate) = (table.state.as_str(), table.rate());
            self.client
                .execute(KEEP, &[&table.id.0, &state, &activity, &rows, &expected, &refused, &rate])
                .await?;
        }
        Ok(())
    }
}
