//! What a failover may have taken from the primary: noted in good times, looked up afterwards.
//!
//! ```text
//! [`settled`] every few seconds ─▶ settings 'settled' ──failover──▶ settings 'lost_after' ──[`Lost`]──▶ entries
//! ```
//!
//! A position of the log is settled once every transaction that had written below it has ended. A
//! server that has the row which says so also has the end of each of them, whether it got there by the
//! log or from a dump. So what the primary lost has versions above it: not above the point where
//! the timelines part, since a transaction may write before that point and commit after it.
//!
//! Invariant: 'lost_after' is removed only after each such key is in the outbox, in the same epoch.

use std::collections::HashSet;
use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt as _;
use tokio::time::timeout;
use tokio_postgres::types::ToSql;
use tokio_postgres::{Client, Error};

use super::signed;
use crate::catalog::Table;
use crate::change::{Key, KeyHash, Version};
use crate::names::quote_pg;

/// The settings' key of the latest settled position.
pub const SETTLED: &str = "settled";
/// The settings' key of the position after which something may be lost.
pub const LOST_AFTER: &str = "lost_after";

/// Sidecars note side by side: the position only grows, but for a new epoch.
const SETTLE: &str = "INSERT INTO crossfade.settings AS s (key, value) \
     VALUES ('settled', $1::int8 || ':' || $2::int8) ON CONFLICT (key) DO UPDATE SET value = excluded.value \
     WHERE split_part(s.value, ':', 1) <> $1::int8::text OR split_part(s.value, ':', 2)::numeric < $2::int8";
const FIND: &str = "SELECT value FROM crossfade.settings WHERE key = 'lost_after'";
const ALONE: &str = "SELECT pg_catalog.pg_try_advisory_lock(pg_catalog.hashtext('crossfade.lost'))";
const ENTER: &str = "INSERT INTO crossfade.outbox (table_id, op, key, epoch, counter) \
     SELECT $1, 'U', key, $2, pg_catalog.pg_wal_lsn_diff(pg_catalog.pg_current_wal_insert_lsn(), '0/0')::int8 \
     FROM pg_catalog.unnest($3::bytea[]) key";
const DONE: &str = "DELETE FROM crossfade.settings WHERE key = 'lost_after' AND value = $1 \
     AND (SELECT last_value FROM crossfade.epoch) = $2::int8 * 2";

/// Notes that all below this position has been decided.
pub async fn settled(client: &Client, epoch: u64, lsn: u64) -> Result<(), Error> {
    client.execute(SETTLE, &[&signed(epoch), &signed(lsn)]).await.map(drop)
}

/// What may be lost, over a connection that is the only one to look for it.
#[derive(Debug)]
pub struct Lost {
    client: Client,
    text: String,
    /// Nothing up to here is.
    pub after: Version,
}

/// How the question went.
#[derive(Debug)]
pub enum Found {
    Nothing,
    /// Another sidecar is at it.
    Taken,
    Lost(Box<Lost>),
}

impl Lost {
    pub async fn find(client: Client) -> Result<Found, Error> {
        let Some(row) = client.query_opt(FIND, &[]).await? else { return Ok(Found::Nothing) };
        if !client.query_one(ALONE, &[]).await?.try_get::<_, bool>(0)? {
            return Ok(Found::Taken);
        }
        let text: String = row.try_get(0)?;
        let after = position(&text);
        Ok(Found::Lost(Box::new(Self { client, text, after })))
    }

    /// Has keys of a table read again.
    pub async fn enter(&self, table: &Table, keys: &[Bytes], epoch: u64) -> Result<u64, Error> {
        let keys: Vec<&[u8]> = keys.iter().map(|key| &key[..]).collect();
        let id = table.id.map_or(0, |id| id.0);
        let params: [&(dyn ToSql + Sync); 3] = [&id, &signed(epoch), &keys];
        self.client.execute(ENTER, &params).await
    }

    /// True where it was this epoch's to say.
    pub async fn done(&self, epoch: u64) -> Result<bool, Error> {
        Ok(self.client.execute(DONE, &[&self.text, &signed(epoch)]).await? == 1)
    }
}

/// Reads a table's keys on the primary until each wanted one is found; those are taken out of the set.
/// Holds one snapshot for as long as it takes. `None` where a row did not come in time.
pub async fn find_keys(
    client: &Client,
    table: &Table,
    wanted: &mut HashSet<KeyHash>,
    row_time_max: Duration,
) -> Result<Option<Vec<Bytes>>, Error> {
    let columns: Vec<String> =
        table.key_columns().map(|column| format!("t.{}", quote_pg(&column.name))).collect();
    let sql = format!(
        "SELECT pg_catalog.record_send(ROW({})) FROM {} t",
        columns.join(", "),
        table.name.quoted()
    );
    let none: [&(dyn ToSql + Sync); 0] = [];
    let Ok(rows) = timeout(row_time_max, client.query_raw(&sql, none)).await else {
        return Ok(None);
    };
    let mut rows = Box::pin(rows?);
    let mut found = Vec::new();
    while !wanted.is_empty() {
        let Ok(next) = timeout(row_time_max, rows.next()).await else { return Ok(None) };
        let Some(row) = next else { break };
        let raw = Bytes::from(row?.try_get::<_, Vec<u8>>(0)?);
        if let Ok(key) = Key::decode(raw, table)
            && wanted.remove(&key.hash)
        {
            found.push(key.raw);
        }
    }
    Ok(Some(found))
}

/// What cannot be read is taken for the beginning of all: more is read again, never less.
fn position(text: &str) -> Version {
    let numbers = text.split_once(':').and_then(|(epoch, counter)| {
        Some((epoch.parse::<u64>().ok()?, counter.parse::<u64>().ok()?))
    });
    let (epoch, counter) = numbers.unwrap_or_default();
    Version { epoch, counter, n: u32::MAX }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_position_that_cannot_be_read_is_the_first() {
        let after = |text| (position(text).epoch, position(text).counter);
        assert_eq!(after("3:17"), (3, 17));
        for text in ["", ":", "3", "3:x", "x:1"] {
            assert_eq!(after(text), (0, 0), "{text}");
        }
    }
}
