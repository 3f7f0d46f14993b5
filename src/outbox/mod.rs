//! The primary's outbox, as PostgreSQL keeps it: claim, read again, settle.
//!
//! ```text
//! client's transaction ──entry──▶ crossfade.outbox ──[`Outbox::claim`]──▶ Entry
//!                                       ▲                                   │ [`reader`]: row under
//!                                       └──settle, fail── apply ◀── image ──┘ lock, with its LSN
//! ```
//!
//! How order is known: the LSN that versions an image is read while the row's lock is held and
//! after the row's own change is in the log. Whoever changes the row next has waited for that lock,
//! and writes more log first; so for one row a later change has a larger LSN, whoever reads it.
//!
//! Invariant: an entry is deleted only once the secondary has its change, or a newer one.
//!
//! Entries are claimed and deleted only on the server, and in the epoch, that they are known of: a
//! standby that was promoted gives numbers out again that the primary before it had given out.
//!
//! A claim is a lease: the entry is left alone until `next_try`, so any number of sidecars can drain
//! at once; one that dies gives its claims back by doing nothing.
//!
//! Not here: who drains, how often, and what the secondary is told (`apply`).

pub mod lost;
pub mod reader;
pub mod stuck;

use std::time::Duration;

use bytes::Bytes;
use tokio_postgres::types::ToSql;
use tokio_postgres::{Client, Error, Row, Statement};

use crate::change::{Operation, Version};
use crate::names::{EntryId, Oid, TableId};

pub use reader::{Peek, Reader, Reading, Reference};

/// A claimed entry is another sidecar's again after this long.
const LEASE: Duration = Duration::from_secs(30);
/// Longest pause after a failure; pauses double from a second.
const PAUSE_MAX: Duration = Duration::from_secs(60);
/// An entry that failed this often is shown as stuck.
pub const STUCK_ATTEMPTS: i32 = 3;

/// A plan that was kept from the time when the outbox was empty would read the whole of it for each entry.
const SETTINGS: &str = "SET plan_cache_mode = force_custom_plan";
/// Whether this is the server, and the database, that the epoch was set for, and still that epoch.
const AT_HOME: &str = "(SELECT e.last_value = $EPOCH::int8 * 2 AND NOT EXISTS ( \
       SELECT FROM crossfade.settings s JOIN (SELECT 'timeline', \
         pg_catalog.substr(pg_catalog.pg_walfile_name(pg_catalog.pg_current_wal_insert_lsn()), 1, 8) \
         UNION ALL SELECT 'system_identifier', c.system_identifier::text \
         FROM pg_catalog.pg_control_system() c \
         UNION ALL SELECT 'database', d.oid::text FROM pg_catalog.pg_database d \
         WHERE d.datname = pg_catalog.current_database()) i(key, value) USING (key) WHERE s.value <> i.value) \
     FROM crossfade.epoch e)";
const CLAIM: &str = "UPDATE crossfade.outbox o \
     SET next_try = pg_catalog.clock_timestamp() + pg_catalog.make_interval(secs => $2) \
     FROM (SELECT id FROM crossfade.outbox \
           WHERE (CASE WHEN next_try IS NULL \
                  THEN at <= pg_catalog.clock_timestamp() - pg_catalog.make_interval(secs => $3) \
                  ELSE next_try <= pg_catalog.clock_timestamp() END) AND NOT (SELECT $4::text::int8multirange) @> id AND $HOME \
           ORDER BY id LIMIT $1 FOR UPDATE SKIP LOCKED) c \
     WHERE o.id = c.id \
     RETURNING o.id, o.table_id, o.op::text, o.key, o.epoch, o.counter, o.n";
const SETTLE: &str = "DELETE FROM crossfade.outbox WHERE id = ANY ($1) AND $HOME";
const FAIL: &str = "UPDATE crossfade.outbox SET attempts = attempts + 1, last_error = $2, \
     next_try = pg_catalog.clock_timestamp() + pg_catalog.make_interval(secs => \
     LEAST($3, pg_catalog.power(2, LEAST(attempts, 20)))) WHERE id = ANY ($1)";
const RELEASE: &str = "UPDATE crossfade.outbox \
     SET next_try = pg_catalog.clock_timestamp() + pg_catalog.make_interval(secs => $2) \
     WHERE id = ANY ($1)";
/// A record that is flushed takes all the log before it along.
const FLUSH: &str = "SELECT pg_catalog.pg_logical_emit_message(true, 'crossfade', '')";
const LSN: &str =
    "SELECT pg_catalog.pg_wal_lsn_diff(pg_catalog.pg_current_wal_insert_lsn(), '0/0')::bigint";
/// A number of our own. A snapshot's xmax is past what has *completed*: whoever runs with the newest
/// number of all is not below it.
const OWN_NUMBER: &str = "SELECT pg_catalog.pg_current_xact_id()::text::bigint";
const ENDED: &str =
    "SELECT pg_catalog.pg_snapshot_xmin(pg_catalog.pg_current_snapshot())::text::bigint >= $1";
/// Numbers of transactions go round: the older of two is less than half of all behind the other.
const ENDED_ON: &str = "SELECT NOT EXISTS (SELECT FROM pg_catalog.pg_locks l \
     JOIN pg_catalog.pg_locks x ON x.virtualtransaction = l.virtualtransaction AND x.locktype = 'transactionid' \
       AND x.mode = 'ExclusiveLock' AND x.granted \
     WHERE l.locktype = 'relation' AND l.granted AND l.relation = ANY ($1::oid[]) \
       AND l.database = (SELECT d.oid FROM pg_catalog.pg_database d WHERE d.datname = current_database()) \
       AND l.mode IN ('RowExclusiveLock', 'ShareUpdateExclusiveLock', 'ShareRowExclusiveLock', 'ExclusiveLock', \
         'AccessExclusiveLock') \
       AND 0 < (($2::int8 - x.transactionid::text::int8) & 4294967295) \
       AND (($2::int8 - x.transactionid::text::int8) & 4294967295) < 2147483648)";
const BACKLOG: &str = "SELECT pg_catalog.count(*) FILTER (WHERE attempts < $1), \
     pg_catalog.count(*) FILTER (WHERE attempts >= $1), \
     COALESCE(EXTRACT(epoch FROM pg_catalog.clock_timestamp() - pg_catalog.min(at)), 0)::float8, \
     pg_catalog.min(epoch), pg_catalog.min(counter) FROM crossfade.outbox";

/// One claimed entry.
#[derive(Clone, Debug)]
pub struct Entry {
    pub id: EntryId,
    pub table: TableId,
    pub operation: Operation,
    /// `record_send(ROW(key columns))`; `None` for TRUNCATE.
    pub key: Option<Bytes>,
    pub version: Version,
}

/// What is still in the outbox.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Backlog {
    pub pending: i64,
    /// Entries that failed [`STUCK_ATTEMPTS`] times or more.
    pub stuck: i64,
    /// Age of the oldest entry; 0 if there is none.
    pub oldest_seconds: f64,
    /// No open entry is below this; `None` if there is none.
    pub lowest: Option<Version>,
}

/// A moment of the primary: everything that runs then has ended once [`Outbox::ended`] says so.
#[derive(Clone, Copy, Debug)]
pub struct Moment {
    pub lsn: u64,
    /// Whoever had a number then has a smaller one.
    pub next_transaction: i64,
}

impl Moment {
    /// The position is read first, in a statement of its own: whoever wrote below it has a number by
    /// then, and ours is a later one.
    pub async fn note(client: &Client) -> Result<Self, Error> {
        let lsn: i64 = client.query_one(LSN, &[]).await?.try_get(0)?;
        let next_transaction = client.query_one(OWN_NUMBER, &[]).await?.try_get(0)?;
        Ok(Self { lsn: lsn.unsigned_abs(), next_transaction })
    }

    /// Whether every transaction that ran then has ended. Ask over the connection that noted it.
    pub async fn ended(self, client: &Client) -> Result<bool, Error> {
        client.query_one(ENDED, &[&self.next_transaction]).await?.try_get(0)
    }
}

/// The outbox, over one connection of Crossfade's own, which commits synchronously.
pub struct Outbox {
    client: Client,
    claim: Statement,
    settle: Statement,
    fail: Statement,
    release: Statement,
}

impl std::fmt::Debug for Outbox {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Outbox")
    }
}

impl Outbox {
    /// Fails where the outbox is not there, or Crossfade's role may not use it.
    pub async fn open(client: Client) -> Result<Self, Error> {
        client.batch_execute(SETTINGS).await?;
        let claim = client.prepare(&at_home(CLAIM, 5)).await?;
        let settle = client.prepare(&at_home(SETTLE, 2)).await?;
        let fail = client.prepare(FAIL).await?;
        let release = client.prepare(RELEASE).await?;
        Ok(Self { client, claim, settle, fail, release })
    }

    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.client.is_closed()
    }

    /// Leases up to `limit` entries that are older than `grace` or whose next try has come, the
    /// oldest first; `except`, first and last of each run, are those whose images are still under way
    /// here.
    /// None where the server is at another epoch.
    pub async fn claim(
        &self,
        limit: i64,
        grace: Duration,
        except: &[(i64, i64)],
        epoch: u64,
    ) -> Result<Vec<Entry>, Error> {
        let except = multirange(except);
        let (lease, grace) = (LEASE.as_secs_f64(), grace.as_secs_f64());
        let epoch = signed(epoch);
        let params: [&(dyn ToSql + Sync); 5] = [&limit, &lease, &grace, &except, &epoch];
        let rows = self.client.query(&self.claim, &params).await?;
        let mut entries: Vec<Entry> = rows.iter().filter_map(entry).collect();
        entries.sort_unstable_by_key(|entry| entry.id);
        Ok(entries)
    }

    /// Deletes entries whose changes the secondary has, and which were made or claimed in `epoch`.
    pub async fn settle(&self, ids: &[i64], epoch: u64) -> Result<u64, Error> {
        self.client.execute(&self.settle, &[&ids, &signed(epoch)]).await
    }

    /// Notes a failure: `error` is a code and a column's name, never a value.
    pub async fn fail(&self, ids: &[i64], error: &str) -> Result<u64, Error> {
        let pause_max = PAUSE_MAX.as_secs_f64();
        self.client.execute(&self.fail, &[&ids, &error, &pause_max]).await
    }

    /// Gives entries back that were not tried, or that only have to wait.
    pub async fn release(&self, ids: &[i64], pause: Duration) -> Result<u64, Error> {
        self.client.execute(&self.release, &[&ids, &pause.as_secs_f64()]).await
    }

    /// Returns once all that the primary has logged so far would survive its crash. No version is
    /// used on the secondary before.
    pub async fn flush(&self) -> Result<(), Error> {
        flush(&self.client).await
    }

    pub async fn note(&self) -> Result<Moment, Error> {
        Moment::note(&self.client).await
    }

    /// Whether every transaction that ran at `moment` has ended.
    pub async fn ended(&self, moment: Moment) -> Result<bool, Error> {
        moment.ended(&self.client).await
    }

    /// Whether everyone who ran at `moment` and writes to one of these tables has ended. Whoever has a
    /// row inserted holds such a lock until then.
    pub async fn ended_on(&self, moment: Moment, tables: &[Oid]) -> Result<bool, Error> {
        let row = self.client.query_one(ENDED_ON, &[&tables, &moment.next_transaction]).await?;
        row.try_get(0)
    }

    pub async fn backlog(&self) -> Result<Backlog, Error> {
        let row = self.client.query_one(BACKLOG, &[&STUCK_ATTEMPTS]).await?;
        let (epoch, counter): (Option<i64>, Option<i64>) = (row.try_get(3)?, row.try_get(4)?);
        let lowest = epoch.zip(counter).map(|(epoch, counter)| Version {
            epoch: epoch.unsigned_abs(),
            counter: counter.unsigned_abs(),
            n: 0,
        });
        Ok(Backlog {
            pending: row.try_get(0)?,
            stuck: row.try_get(1)?,
            oldest_seconds: row.try_get(2)?,
            lowest,
        })
    }
}

/// The same over any connection that commits synchronously.
pub async fn flush(client: &Client) -> Result<(), Error> {
    client.query(FLUSH, &[]).await.map(drop)
}

fn at_home(statement: &str, epoch: usize) -> String {
    statement.replace("$HOME", &AT_HOME.replace("$EPOCH", &format!("${epoch}")))
}

/// The text of an `int8multirange`.
fn multirange(ranges: &[(i64, i64)]) -> String {
    let ranges: Vec<String> =
        ranges.iter().map(|(first, last)| format!("[{first},{last}]")).collect();
    format!("{{{}}}", ranges.join(","))
}

/// PostgreSQL's numbers have a sign; an epoch never gets that far.
fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

/// An entry that is none of ours (forged: any application role may insert) is not looked at.
fn entry(row: &Row) -> Option<Entry> {
    let operation: String = row.try_get(2).ok()?;
    let key: Option<Vec<u8>> = row.try_get(3).ok()?;
    let (epoch, counter, n): (i64, i64, i32) =
        (row.try_get(4).ok()?, row.try_get(5).ok()?, row.try_get(6).ok()?);
    Some(Entry {
        id: EntryId(row.try_get(0).ok()?),
        table: TableId(row.try_get(1).ok()?),
        operation: Operation::from_letter(operation.chars().next()?)?,
        key: key.map(Bytes::from),
        version: Version {
            epoch: u64::try_from(epoch).ok()?,
            counter: u64::try_from(counter).ok()?,
            n: u32::try_from(n).ok()?,
        },
    })
}
