//! The outbox of MySQL as the primary: claim, settle, and rows read again.
//!
//! ```text
//! a write's transaction ──entry, fence entry raised──▶ crossfade_outbox ──[`Outbox::claim`]──▶ [`Claimed`]
//!                                                            ▲                                   │
//!                                                            └─── settle, fail ◀── [`read`]: the row, as of
//!                                                                                  its fence entry
//! ```
//!
//! How order is known: every write raises the fence entry of its key by one, in its own transaction. So
//! for one row a later change has a larger counter. Reading a row again takes the entry first, locked, and
//! then the row as it is committed: it is as of that counter or later. The row itself is not locked: a
//! session locks it before its entry, and would deadlock with us.
//!
//! A claim is a lease, as on PostgreSQL. What InnoDB has committed is seen before it is on disk, and may
//! be lost with a crash: nothing that was read is used before [`Outbox::flush`].
//!
//! Invariant: entries are claimed and deleted only in the epoch that they are known of.

use std::time::Duration;

use bytes::Bytes;
use mysql_async::prelude::Queryable as _;
use mysql_async::{Params, Row, Value as Param};

use super::connect::Link;
use super::error::WriteError;
use super::rows;
use crate::catalog::{Table, TargetType};
use crate::change::{Key, Operation, RowImage, Version};
use crate::names::{EntryId, TableId, quote_mysql};
use crate::value::Value;

/// Statements that create the tables; each can be run again.
pub const CREATE: &[&str] = &[
    "CREATE TABLE IF NOT EXISTS `crossfade_outbox` (\
     `id` bigint NOT NULL AUTO_INCREMENT PRIMARY KEY, \
     `table_id` int NOT NULL, \
     `op` char(1) CHARACTER SET ascii COLLATE ascii_bin NOT NULL, \
     `key` mediumblob NULL, \
     `epoch` bigint unsigned NOT NULL, \
     `counter` bigint unsigned NOT NULL, \
     `n` int unsigned NOT NULL DEFAULT 0, \
     `at` timestamp(6) NOT NULL DEFAULT CURRENT_TIMESTAMP(6), \
     `attempts` int NOT NULL DEFAULT 0, \
     `last_error` varchar(255) NULL, \
     `next_try` timestamp(6) NULL\
     ) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4",
    "CREATE TABLE IF NOT EXISTS `crossfade_flush` (\
     `id` tinyint NOT NULL PRIMARY KEY, `number` bigint unsigned NOT NULL) ENGINE=InnoDB",
    "INSERT INTO `crossfade_flush` VALUES (1, 0) ON DUPLICATE KEY UPDATE `number` = `number`",
];

pub const DROP: &str = "DROP TABLE IF EXISTS `crossfade_outbox`";
pub const DROP_FLUSH: &str = "DROP TABLE IF EXISTS `crossfade_flush`";

/// A claimed entry is another sidecar's again after this long.
const LEASE: Duration = Duration::from_secs(30);
/// Longest pause after a failure, in seconds; pauses double from one.
const PAUSE_MAX_SECONDS: u32 = 60;
/// Ranges of numbers that a claim leaves out; where there are more, neighbours are left out together.
const RANGES_MAX: usize = 200;
/// Entries given back at once.
const RECALLED_MAX: usize = 100_000;
/// Numbers of one statement.
const IDS_AT_ONCE: usize = 1000;
/// Lock not had in time, deadlock, NOWAIT, MariaDB's "record has changed".
const BUSY: [u16; 4] = [1205, 1213, 3572, 1020];
/// No such table, no such column.
const STALE: [u16; 2] = [1146, 1054];
const HOME: &str = "SELECT `epoch` FROM `crossfade_state` WHERE `id` = 1 LOCK IN SHARE MODE";

/// One claimed entry.
#[derive(Clone, Debug)]
pub struct Claimed {
    pub id: EntryId,
    pub table: TableId,
    pub operation: Operation,
    /// `record_send(ROW(key columns))`; `None` for TRUNCATE.
    pub key: Option<Bytes>,
    pub version: Version,
}

/// What is left: entries pending and stuck, the age of the oldest in seconds, the lowest version.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Left {
    pub pending: i64,
    pub stuck: i64,
    pub oldest_seconds: f64,
    pub lowest: Option<Version>,
}

/// What reading one key again brought.
#[derive(Debug)]
pub enum Read {
    /// The row, as of this counter or later.
    Present { image: RowImage, counter: u64 },
    /// No row, as of this counter or later.
    Gone { counter: u64 },
    /// Somebody holds a lock.
    Busy,
    /// The table is not as the catalogue has it.
    Stale,
}

/// The outbox, over one connection of Crossfade's own.
#[derive(Debug)]
pub struct Outbox {
    link: Link,
}

impl Outbox {
    #[must_use]
    pub fn new(link: Link) -> Self {
        Self { link }
    }

    /// Leases up to `limit` entries that are older than `grace` or whose next try has come, the oldest
    /// first; `except` are numbers whose images are still under way here. None where the server is at
    /// another epoch.
    pub async fn claim(
        &mut self,
        limit: i64,
        grace: Duration,
        except: &[(i64, i64)],
        epoch: u64,
    ) -> Result<Vec<Claimed>, WriteError> {
        let conn = self.link.conn();
        conn.query_drop("BEGIN").await?;
        let home: Option<u64> = conn.query_first(HOME).await?;
        let mut claimed = Vec::new();
        if home == Some(epoch) {
            let sql = format!(
                "SELECT `id`, `table_id`, `op`, `key`, `epoch`, `counter`, `n` FROM `crossfade_outbox` \
                 WHERE (CASE WHEN `next_try` IS NULL THEN `at` <= NOW(6) - INTERVAL {} MICROSECOND \
                 ELSE `next_try` <= NOW(6) END) AND {} ORDER BY `id` LIMIT {limit} FOR UPDATE SKIP LOCKED",
                grace.as_micros(),
                left_out(except)
            );
            let rows: Vec<Row> = conn.query(sql).await?;
            claimed = rows.into_iter().filter_map(entry).collect();
            let ids: Vec<i64> = claimed.iter().map(|entry| entry.id.0).collect();
            self.postpone(&ids, LEASE).await?;
        }
        self.link.conn().query_drop("COMMIT").await?;
        Ok(claimed)
    }

    /// Deletes entries whose changes the secondary has, and which were made or claimed in `epoch`.
    pub async fn settle(&mut self, ids: &[i64], epoch: u64) -> Result<(), WriteError> {
        for part in ids.chunks(IDS_AT_ONCE) {
            let sql = format!(
                "DELETE FROM `crossfade_outbox` WHERE `id` IN ({}) \
                 AND (SELECT `epoch` FROM `crossfade_state` WHERE `id` = 1) = {epoch}",
                list(part)
            );
            self.link.conn().query_drop(sql).await?;
        }
        Ok(())
    }

    /// Notes a failure: `error` is a code and a column's name, never a value.
    pub async fn fail(&mut self, ids: &[i64], error: &str) -> Result<(), WriteError> {
        let error: String = error.chars().take(255).collect();
        for part in ids.chunks(IDS_AT_ONCE) {
            // MySQL assigns from left to right: the pause is of the attempts before this one.
            let sql = format!(
                "UPDATE `crossfade_outbox` SET `next_try` = NOW(6) + INTERVAL \
                 LEAST({PAUSE_MAX_SECONDS}, POW(2, LEAST(`attempts`, 20))) SECOND, \
                 `attempts` = `attempts` + 1, `last_error` = ? WHERE `id` IN ({})",
                list(part)
            );
            let statement = self.link.conn().prep(sql).await?;
            self.link.conn().exec_drop(&statement, (&error,)).await?;
            self.link.conn().close(statement).await?;
        }
        Ok(())
    }

    /// Gives entries back that were not tried, or that only have to wait.
    pub async fn release(&mut self, ids: &[i64], pause: Duration) -> Result<(), WriteError> {
        self.postpone(ids, pause).await
    }

    /// Gives all entries back that wait for their next try, also those of somebody who may be gone.
    pub async fn recall(&mut self) -> Result<(), WriteError> {
        let conn = self.link.conn();
        conn.query_drop("BEGIN").await?;
        let sql = format!(
            "SELECT `id` FROM `crossfade_outbox` WHERE NOW(6) < `next_try` \
             ORDER BY `id` LIMIT {RECALLED_MAX} FOR UPDATE SKIP LOCKED"
        );
        let ids: Vec<i64> = conn.query(sql).await?;
        self.postpone(&ids, Duration::ZERO).await?;
        Ok(self.link.conn().query_drop("COMMIT").await?)
    }

    async fn postpone(&mut self, ids: &[i64], pause: Duration) -> Result<(), WriteError> {
        for part in ids.chunks(IDS_AT_ONCE) {
            let sql = format!(
                "UPDATE `crossfade_outbox` SET `next_try` = NOW(6) + INTERVAL {} MICROSECOND \
                 WHERE `id` IN ({})",
                pause.as_micros(),
                list(part)
            );
            self.link.conn().query_drop(sql).await?;
        }
        Ok(())
    }

    /// Returns once all that could be read so far would survive the server's crash: a commit that is
    /// flushed takes all of the log before it along.
    pub async fn flush(&mut self) -> Result<(), WriteError> {
        let sql = "UPDATE `crossfade_flush` SET `number` = `number` + 1 WHERE `id` = 1";
        Ok(self.link.conn().query_drop(sql).await?)
    }

    /// An entry that failed `stuck` times or more counts as stuck.
    pub async fn left(&mut self, stuck: i32) -> Result<Left, WriteError> {
        let sql = format!(
            "SELECT CAST(COALESCE(SUM(`attempts` < {stuck}), 0) AS SIGNED), \
             CAST(COALESCE(SUM(`attempts` >= {stuck}), 0) AS SIGNED), \
             COALESCE(TIMESTAMPDIFF(MICROSECOND, MIN(`at`), NOW(6)), 0), MIN(`epoch`), MIN(`counter`) \
             FROM `crossfade_outbox`"
        );
        type Counts = (i64, i64, i64, Option<u64>, Option<u64>);
        let found: Option<Counts> = self.link.conn().query_first(sql).await?;
        let (pending, stuck, micros, epoch, counter) = found.unwrap_or_default();
        let age = u64::try_from(micros).unwrap_or(0);
        let lowest = epoch.zip(counter).map(|(epoch, counter)| Version { epoch, counter, n: 0 });
        let oldest_seconds = Duration::from_micros(age).as_secs_f64();
        Ok(Left { pending, stuck, oldest_seconds, lowest })
    }
}

/// What there is of one table.
#[derive(Clone, Debug, PartialEq)]
pub struct Waiting {
    pub table: TableId,
    pub pending: u64,
    pub stuck: u64,
    pub last_error: Option<String>,
    pub oldest_seconds: f64,
}

/// Of each table, as of the oldest entries: after a long outage there may be millions.
pub async fn waiting(link: &mut Link, stuck: i32) -> Result<Vec<Waiting>, WriteError> {
    let sql = format!(
        "SELECT `table_id`, COUNT(*), CAST(SUM(`attempts` >= {stuck}) AS UNSIGNED), MAX(`last_error`), \
         GREATEST(COALESCE(TIMESTAMPDIFF(MICROSECOND, MIN(`at`), NOW(6)), 0), 0) FROM (\
           SELECT `table_id`, `attempts`, `last_error`, `at` FROM `crossfade_outbox` \
           ORDER BY `id` LIMIT 100000) `oldest` GROUP BY `table_id`"
    );
    let rows: Vec<(i32, u64, u64, Option<String>, u64)> = link.conn().query(sql).await?;
    let waiting = rows.into_iter().map(|(table, pending, stuck, last_error, micros)| {
        let oldest_seconds = Duration::from_micros(micros).as_secs_f64();
        Waiting { table: TableId(table), pending, stuck, last_error, oldest_seconds }
    });
    Ok(waiting.collect())
}

/// Keys of a table's entries, each once: among these, or of all up to `limit`; `None` is a TRUNCATE.
pub async fn entered(
    link: &mut Link,
    table: TableId,
    among: Option<&[&[u8]]>,
    limit: usize,
) -> Result<Vec<Option<Vec<u8>>>, WriteError> {
    let which = match among {
        None => "TRUE".to_owned(),
        Some([]) => "`key` IS NULL".to_owned(),
        Some(keys) => {
            // Parameters would be taken for text, which not every key is.
            let keys: Vec<String> = keys.iter().map(|key| super::lock::hex(key)).collect();
            format!("(`key` IS NULL OR `key` IN ({}))", keys.join(", "))
        }
    };
    let sql = format!(
        "SELECT DISTINCT `key` FROM `crossfade_outbox` WHERE `table_id` = {} AND {which} LIMIT {limit}",
        table.0
    );
    Ok(link.conn().query(sql).await?)
}

/// Reads each key in a transaction of its own.
pub async fn read(link: &mut Link, keys: &[(&Table, &Key)]) -> Result<Vec<Read>, WriteError> {
    let mut found = Vec::with_capacity(keys.len());
    for (table, key) in keys {
        let read = match read_one(link, table, key).await {
            Ok(read) => read,
            Err(WriteError::Server { code, .. }) if BUSY.contains(&code) => Read::Busy,
            Err(WriteError::Server { code, .. }) if STALE.contains(&code) => Read::Stale,
            Err(error) => return Err(error),
        };
        link.conn().query_drop("ROLLBACK").await?;
        found.push(read);
    }
    Ok(found)
}

async fn read_one(link: &mut Link, table: &Table, key: &Key) -> Result<Read, WriteError> {
    let Some(id) = table.id else { return Ok(Read::Stale) };
    let fence = format!(
        "BEGIN; SELECT s.`epoch`, f.`epoch`, f.`counter` FROM `crossfade_state` s \
         LEFT JOIN `crossfade_fence` f FORCE INDEX (PRIMARY) \
         ON f.`table_id` = {id} AND f.`key_hash` = {} WHERE s.`id` = 1 LOCK IN SHARE MODE",
        super::lock::literal(key.hash)
    );
    let mut result = link.conn().query_iter(fence).await?;
    let _begun: Vec<Row> = result.collect().await?;
    let mut entries: Vec<(u64, Option<u64>, Option<u64>)> = result.collect().await?;
    result.drop_result().await?;
    let (now, epoch, counter) = entries.pop().ok_or(WriteError::NotSetUp)?;
    let counter = counter.filter(|_| epoch == Some(now)).unwrap_or(0);
    let flavor = link.flavor();
    let columns: Vec<_> = rows::carried(table).collect();
    let names: Vec<String> = columns.iter().map(|(_, column)| quote_mysql(&column.name)).collect();
    let sql = format!(
        "SELECT {} FROM {} WHERE {}",
        names.join(", "),
        quote_mysql(&table.target),
        rows::by_key(table)
    );
    let params = Params::Positional(rows::key_params(table, key, flavor)?);
    let row: Option<Row> = link.conn().exec_first(sql, params).await?;
    let Some(row) = row else { return Ok(Read::Gone { counter }) };
    let image = image(table, row.unwrap());
    Ok(image.map_or(Read::Stale, |image| Read::Present { image, counter }))
}

/// The row, from its [`rows::carried`] columns.
fn image(table: &Table, fields: Vec<Param>) -> Option<RowImage> {
    let mut fields = fields.into_iter();
    let value = |column: &crate::catalog::Column| match column.target {
        TargetType::None => Some(Value::Null),
        _ => Value::of_result(fields.next()?, &column.type_ref.pg_type),
    };
    let values: Option<Vec<Value>> = table.columns.iter().map(value).collect();
    Some(RowImage { values: values? })
}

fn entry(row: Row) -> Option<Claimed> {
    type Fields = (i64, i32, String, Option<Vec<u8>>, u64, u64, u32);
    let (id, table, op, key, epoch, counter, n): Fields = mysql_async::from_row_opt(row).ok()?;
    Some(Claimed {
        id: EntryId(id),
        table: TableId(table),
        operation: Operation::from_letter(op.chars().next()?)?,
        key: key.map(Bytes::from),
        version: Version { epoch, counter, n },
    })
}

/// `NOT (id BETWEEN 1 AND 3 OR …)`. What lies between two ranges may be left out as well: it is claimed
/// another time.
fn left_out(ranges: &[(i64, i64)]) -> String {
    let size = ranges.len().div_ceil(RANGES_MAX).max(1);
    let spans = ranges.chunks(size).filter_map(|part| Some((part.first()?.0, part.last()?.1)));
    let terms: Vec<String> =
        spans.map(|(first, last)| format!("`id` BETWEEN {first} AND {last}")).collect();
    match terms.is_empty() {
        true => "TRUE".to_owned(),
        false => format!("NOT ({})", terms.join(" OR ")),
    }
}

fn list(ids: &[i64]) -> String {
    let ids: Vec<String> = ids.iter().map(ToString::to_string).collect();
    ids.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn neighbours_are_left_out_together_where_there_are_too_many() {
        assert_eq!(left_out(&[]), "TRUE");
        assert_eq!(
            left_out(&[(1, 3), (7, 7)]),
            "NOT (`id` BETWEEN 1 AND 3 OR `id` BETWEEN 7 AND 7)"
        );
        let many: Vec<(i64, i64)> = (0..1000).map(|at| (at * 10, at * 10 + 1)).collect();
        let text = left_out(&many);
        assert_eq!(text.matches("BETWEEN").count(), RANGES_MAX);
        assert!(text.starts_with("NOT (`id` BETWEEN 0 AND 41 OR `id` BETWEEN 50 AND 91"), "{text}");
    }
}
