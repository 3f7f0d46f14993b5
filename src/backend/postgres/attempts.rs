//! The record of attempts to change the primary, over which coordinator and sidecars meet.
//!
//! ```text
//! coordinator ──announced, held──▶ crossfade.attempts ──▶ sidecars
//!      ▲                                                   │
//!      └────────── crossfade.attempt_sidecars ◀──held, drained, obstacles, flipped, resumed
//! ```
//!
//! Invariant: one attempt at a time is under way, and one that is over stays as it ended. Whoever moves
//! the epoch, or ends an attempt, holds its line locked meanwhile.

use std::time::Duration;

use super::moved;
use serde::{Deserialize, Serialize};
use tokio_postgres::error::SqlState;
use tokio_postgres::{Client, Error, Row};

/// Attempts kept and shown; the oldest go first.
const KEPT_MAX: i64 = 200;

const ANNOUNCE: &str = "\
INSERT INTO crossfade.attempts (direction, epoch, state, terminate, deadline)
SELECT $1::text, $2::bigint, 'announced', $3::boolean,
    pg_catalog.clock_timestamp() + $4::float8 * interval '1 second'
WHERE NOT EXISTS (SELECT FROM crossfade.settings WHERE key = 'abandon') RETURNING id";
const REFUSED: &str = "\
INSERT INTO crossfade.attempts (direction, epoch, state, terminate, deadline, ended, reasons)
VALUES ($1, $2, 'refused', $3, pg_catalog.clock_timestamp(), pg_catalog.clock_timestamp(), $4)";
const PRUNE: &str = "\
WITH gone AS (
    DELETE FROM crossfade.attempts WHERE state NOT IN ('announced', 'held')
        AND id NOT IN (SELECT a.id FROM crossfade.attempts a ORDER BY a.id DESC LIMIT $1)
    RETURNING id
)
DELETE FROM crossfade.attempt_sidecars s USING gone WHERE s.attempt = gone.id";
const UNDER_WAY: &str = "\
SELECT id, direction, epoch, pg_catalog.clock_timestamp() < deadline
FROM crossfade.attempts WHERE state IN ('announced', 'held')";
const HOLD: &str = "UPDATE crossfade.attempts SET state = 'held' \
     WHERE id = $1 AND state = 'announced' AND pg_catalog.clock_timestamp() < deadline";
const LOOK: &str = "\
SELECT a.state, pg_catalog.clock_timestamp() < a.deadline, e.last_value
FROM crossfade.attempts a CROSS JOIN crossfade.epoch e WHERE a.id = $1";
const MUSTER: &str = "\
SELECT coalesce(s.id, l.sidecar), s.id IS NOT NULL AND pg_catalog.now() < s.lease_until,
    s.id IS NOT NULL, coalesce(s.lease_ms, 0), l.sidecar IS NOT NULL, l.drained IS NOT NULL,
    coalesce(l.obstacles, '{}'), coalesce(s.address, '')
FROM crossfade.sidecars s
FULL JOIN (SELECT * FROM crossfade.attempt_sidecars WHERE attempt = $1) l ON l.sidecar = s.id
ORDER BY 1";
/// For whoever moves the epoch: nobody ends the attempt before this transaction has ended.
pub const STILL_HELD: &str = "SELECT FROM crossfade.attempts WHERE id = $1 AND state = 'held' \
     AND pg_catalog.clock_timestamp() < deadline FOR UPDATE";
const LOCK: &str = "SELECT state FROM crossfade.attempts WHERE id = $1 FOR UPDATE";
const END: &str = "UPDATE crossfade.attempts SET state = $2, reasons = $3, \
     ended = pg_catalog.clock_timestamp() WHERE id = $1 AND state IN ('announced', 'held')";
const DONE: &str = "UPDATE crossfade.attempts SET state = 'done', \
     ended = pg_catalog.clock_timestamp() WHERE state IN ('announced', 'held') AND epoch < $1";
const HELD: &str = "\
SELECT coalesce(pg_catalog.max(extract(epoch FROM
        coalesce(l.resumed, pg_catalog.clock_timestamp()) - l.held)), 0)::float8,
    coalesce(pg_catalog.bool_or(l.resumed IS NULL AND pg_catalog.now() < s.lease_until), false)
FROM crossfade.attempt_sidecars l LEFT JOIN crossfade.sidecars s ON s.id = l.sidecar
WHERE l.attempt = $1 AND l.held IS NOT NULL";
const EPOCH: &str = "SELECT last_value FROM crossfade.epoch";
const LIST: &str = "\
SELECT a.id, a.direction, a.state, a.epoch, shown.started, shown.ended, shown.deadline, a.reasons,
    (SELECT pg_catalog.max(extract(epoch FROM s.resumed - s.held))::float8
     FROM crossfade.attempt_sidecars s WHERE s.attempt = a.id)
FROM crossfade.attempts a CROSS JOIN LATERAL (SELECT
    pg_catalog.to_char(a.started AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.MS\"Z\"'),
    pg_catalog.to_char(a.ended AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.MS\"Z\"'),
    pg_catalog.to_char(a.deadline AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.MS\"Z\"'))
    shown (started, ended, deadline)
ORDER BY a.id DESC LIMIT $1";
const LIST_SIDECARS: &str = "\
SELECT s.attempt, s.sidecar, shown.a, shown.h, shown.d, shown.f, shown.r, s.obstacles
FROM crossfade.attempt_sidecars s CROSS JOIN LATERAL (SELECT
    pg_catalog.to_char(s.announced AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.MS\"Z\"'),
    pg_catalog.to_char(s.held AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.MS\"Z\"'),
    pg_catalog.to_char(s.drained AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.MS\"Z\"'),
    pg_catalog.to_char(s.flipped AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.MS\"Z\"'),
    pg_catalog.to_char(s.resumed AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.MS\"Z\"'))
    shown (a, h, d, f, r)
WHERE s.attempt = ANY ($1) ORDER BY s.attempt, s.sidecar";

/// Which way the primary changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Direction {
    /// From PostgreSQL to MySQL.
    Switchover,
    /// Back again.
    Rollback,
}

impl Direction {
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Switchover => "switchover",
            Self::Rollback => "rollback",
        }
    }

    fn parse(text: &str) -> Self {
        if text == "rollback" { Self::Rollback } else { Self::Switchover }
    }
}

/// The attempt that is under way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UnderWay {
    pub id: i64,
    pub direction: Direction,
    /// Before the change.
    pub epoch: u64,
    /// Its deadline has not passed.
    pub in_time: bool,
}

/// An attempt, as of now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Look {
    pub state: String,
    pub in_time: bool,
    /// What `crossfade.epoch` holds: twice the epoch, and one more while MySQL is the primary.
    pub turn: u64,
}

/// A sidecar, in an attempt or not.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Present {
    pub id: String,
    /// Where clients reach it.
    pub address: String,
    /// Its lease has not run out.
    pub is_live: bool,
    /// It has not ended in good order.
    pub is_known: bool,
    pub lease: Duration,
    /// It has heard of the attempt.
    pub has_answered: bool,
    pub has_drained: bool,
    pub obstacles: Vec<String>,
}

/// How an attempt is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Closed {
    /// The primary is the one that it was, and nobody goes on with the attempt.
    Undone,
    /// The epoch has moved, so it is to be finished.
    Moved,
    /// Somebody else has ended it.
    Before,
    /// Whether it has happened cannot be told now.
    Unknown,
}

/// Whether there is a record at all: dual writes may have begun with a version that had none.
pub async fn exist(client: &Client) -> Result<bool, Error> {
    let there = "SELECT pg_catalog.to_regclass('crossfade.attempts') IS NOT NULL \
         AND pg_catalog.to_regclass('crossfade.attempt_sidecars') IS NOT NULL";
    client.query_one(there, &[]).await?.try_get(0)
}

/// Records an attempt, and with that has all sidecars hold; `None` where another is under way, or the
/// migration is being given up.
pub async fn announce(
    client: &Client,
    direction: Direction,
    epoch: u64,
    terminate: bool,
    timeout: Duration,
) -> Result<Option<i64>, Error> {
    client.execute(PRUNE, &[&KEPT_MAX]).await?;
    let (direction, epoch) = (direction.as_str(), signed(epoch));
    let seconds = timeout.as_secs_f64();
    match client.query_opt(ANNOUNCE, &[&direction, &epoch, &terminate, &seconds]).await {
        Ok(row) => Ok(row.map(|row| row.get(0))),
        Err(error) if error.code() == Some(&SqlState::UNIQUE_VIOLATION) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Records one that was not begun.
pub async fn refused(
    client: &Client,
    direction: Direction,
    epoch: u64,
    terminate: bool,
    reasons: &[String],
) -> Result<(), Error> {
    let (direction, epoch) = (direction.as_str(), signed(epoch));
    client.execute(REFUSED, &[&direction, &epoch, &terminate, &reasons]).await.map(drop)
}

pub async fn under_way(client: &Client) -> Result<Option<UnderWay>, Error> {
    let row = client.query_opt(UNDER_WAY, &[]).await?;
    Ok(row.map(|row| UnderWay {
        id: row.get(0),
        direction: Direction::parse(row.get(1)),
        epoch: unsigned(row.get(2)),
        in_time: row.get(3),
    }))
}

/// Every sidecar has heard of it; false where it is over, or too late.
pub async fn hold(client: &Client, id: i64) -> Result<bool, Error> {
    Ok(client.execute(HOLD, &[&id]).await? == 1)
}

/// `None` where there is no such attempt any more.
pub async fn look(client: &Client, id: i64) -> Result<Option<Look>, Error> {
    let row = client.query_opt(LOOK, &[&id]).await?;
    Ok(row.map(|row| Look { state: row.get(0), in_time: row.get(1), turn: unsigned(row.get(2)) }))
}

/// Every sidecar that there is, with what it has said about the attempt.
pub async fn muster(client: &Client, id: i64) -> Result<Vec<Present>, Error> {
    let rows = client.query(MUSTER, &[&id]).await?;
    Ok(rows.iter().map(present).collect())
}

/// Ends an attempt that began in this turn, unless somebody else leads since, or leads other tables: then it has
/// happened. A failover's epoch alone is none of its. `mysql_moved` is asked while the line is locked, and may not
/// know.
pub async fn undo(
    client: &mut Client,
    id: i64,
    turn: u64,
    reasons: &[String],
    mysql_moved: impl Future<Output = Option<bool>>,
) -> Result<Closed, Error> {
    let transaction = client.transaction().await?;
    let state = transaction.query_opt(LOCK, &[&id]).await?;
    let state: Option<String> = state.map(|row| row.get(0));
    if !matches!(state.as_deref(), Some("announced" | "held")) {
        return Ok(Closed::Before);
    }
    let now = unsigned(transaction.query_one(EPOCH, &[]).await?.get(0));
    if now % 2 != turn % 2 || !moved::same(&transaction, turn / 2, now / 2).await? {
        return Ok(Closed::Moved);
    }
    match mysql_moved.await {
        Some(false) => {}
        Some(true) => return Ok(Closed::Moved),
        None => return Ok(Closed::Unknown),
    }
    moved::forget_planned(&transaction).await?;
    transaction.execute(END, &[&id, &"undone", &reasons]).await?;
    transaction.commit().await?;
    Ok(Closed::Undone)
}

/// How long clients were held so far, and whether a sidecar that lives still holds its own.
pub async fn held(client: &Client, id: i64) -> Result<(f64, bool), Error> {
    let row = client.query_one(HELD, &[&id]).await?;
    Ok((row.try_get(0)?, row.try_get(1)?))
}

/// Both sides have this epoch: whatever attempt led to it is done.
pub async fn done(client: &Client, epoch: u64) -> Result<(), Error> {
    client.execute(DONE, &[&signed(epoch)]).await.map(drop)
}

/// One attempt of `GET /attempts`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Attempt {
    pub id: i64,
    pub direction: String,
    pub state: String,
    pub epoch: u64,
    pub started: String,
    pub ended: Option<String>,
    pub deadline: String,
    pub reasons: Vec<String>,
    /// How long clients were held: the longest of the sidecars', each from its `held` to its `resumed`.
    #[serde(default)]
    pub hold_seconds: Option<f64>,
    pub sidecars: Vec<Took>,
}

/// When a sidecar came how far in it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Took {
    pub sidecar: String,
    pub announced: Option<String>,
    pub held: Option<String>,
    pub drained: Option<String>,
    pub flipped: Option<String>,
    pub resumed: Option<String>,
    pub obstacles: Vec<String>,
}

/// The latest first.
pub async fn list(client: &Client) -> Result<Vec<Attempt>, Error> {
    let mut attempts: Vec<Attempt> =
        client.query(LIST, &[&KEPT_MAX]).await?.iter().map(line).collect();
    let ids: Vec<i64> = attempts.iter().map(|attempt| attempt.id).collect();
    for row in client.query(LIST_SIDECARS, &[&ids]).await? {
        let id: i64 = row.get(0);
        if let Some(attempt) = attempts.iter_mut().find(|attempt| attempt.id == id) {
            attempt.sidecars.push(took(&row));
        }
    }
    Ok(attempts)
}

fn present(row: &Row) -> Present {
    let lease_ms: i64 = row.get(3);
    Present {
        id: row.get(0),
        is_live: row.get(1),
        is_known: row.get(2),
        lease: Duration::from_millis(unsigned(lease_ms)),
        has_answered: row.get(4),
        has_drained: row.get(5),
        obstacles: row.get(6),
        address: row.get(7),
    }
}

fn line(row: &Row) -> Attempt {
    Attempt {
        id: row.get(0),
        direction: row.get(1),
        state: row.get(2),
        epoch: unsigned(row.get(3)),
        started: row.get(4),
        ended: row.get(5),
        deadline: row.get(6),
        reasons: row.get(7),
        hold_seconds: row.get(8),
        sidecars: Vec::new(),
    }
}

fn took(row: &Row) -> Took {
    Took {
        sidecar: row.get(1),
        announced: row.get(2),
        held: row.get(3),
        drained: row.get(4),
        flipped: row.get(5),
        resumed: row.get(6),
        obstacles: row.get(7),
    }
}

fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

fn unsigned(number: i64) -> u64 {
    u64::try_from(number).unwrap_or(0)
}
