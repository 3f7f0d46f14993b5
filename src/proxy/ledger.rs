//! Reads what Crossfade's own tables say: outbox, dirty marks, sidecars; and MySQL's outbox.
//!
//! ```text
//! PostgreSQL ──[`read`]─────▶ every table's line ──[`Ledger`]
//! MySQL ──────[`read_beyond`]─▶ of the tables that it leads ──[`take_beyond`]──▶ instead of PostgreSQL's
//! ```
//!
//! Invariant: seven statements there and two here, bounded in rows however large the tables are. What a table
//! has waiting is said by the outbox of whoever leads it, and by no other.

use std::collections::{BTreeMap, BTreeSet};

use tokio_postgres::{Client, Error, Row};

use crate::admin::report::{MYSQL, POSTGRES};
use crate::admin::{
    CopyReport, Ledger, LedgerLine, SidecarReport, StuckReport, VerifyReport, VerifySums,
};
use crate::backend::mysql::outbox::{Waiting, waiting};
use crate::backend::mysql::stuck::{self, Failed};
use crate::backend::mysql::{Link, WriteError};
use crate::backend::postgres::control::Presence;
use crate::catalog::Catalog;
use crate::change::Operation;
use crate::control::layout;
use crate::names::{TableId, TableName};
use crate::outbox::STUCK_ATTEMPTS;
use crate::phase::Views;

/// Sidecars shown at once, the latest first.
const SIDECARS_MAX: i64 = 1000;

/// Entries shown at once, the oldest first.
const STUCK_MAX: u8 = 100;

/// Counts at most this many of the oldest entries: after a long outage there may be millions.
const LEDGER: &str = "
    WITH oldest AS (
        SELECT table_id, attempts, last_error, at FROM crossfade.outbox ORDER BY id LIMIT 100000
    ), counted AS (
        SELECT table_id, count(*) AS pending, count(*) FILTER (WHERE attempts >= $1) AS stuck,
               max(last_error) AS last_error, min(at) AS since
        FROM oldest GROUP BY table_id
    )
    SELECT t.schema, t.name, t.dirty_reason, coalesce(c.pending, 0), coalesce(c.stuck, 0),
           c.last_error, greatest(0, extract(epoch FROM clock_timestamp() - c.since))::float8
    FROM crossfade.tables t LEFT JOIN counted c ON c.table_id = t.id";

/// Of the same oldest entries those that have failed; a key is no business of whoever looks.
const STUCK: &str = "
    SELECT o.id, t.schema, t.name, o.op::text, o.attempts, o.last_error,
           greatest(0, extract(epoch FROM clock_timestamp() - o.at))::float8,
           greatest(0, extract(epoch FROM o.next_try - clock_timestamp()))::float8
    FROM (SELECT * FROM crossfade.outbox ORDER BY id LIMIT 100000) o
         JOIN crossfade.tables t ON t.id = o.table_id
    WHERE o.attempts > 0 ORDER BY o.id LIMIT $1";

/// There since the first copying or comparing, or the first setup of a version that has them.
const EXIST: &str = "SELECT pg_catalog.to_regclass('crossfade.backfill') IS NOT NULL, \
     pg_catalog.to_regclass('crossfade.verified') IS NOT NULL, \
     EXISTS (SELECT FROM crossfade.settings WHERE key = 'backfill' AND value = 'paused'), \
     EXISTS (SELECT FROM crossfade.settings WHERE key = 'abandon')";
const ABANDONED: &str =
    "the migration is being given up: run `crossfade abandon`, which finishes it";
/// Whoever copies says so each second.
const COPIED: &str = "
    SELECT t.schema, t.name,
           CASE WHEN b.state IN ('waiting', 'sweeping', 'copying')
                 AND b.at < clock_timestamp() - interval '15 s' THEN 'interrupted' ELSE b.state END,
           b.rows, b.expected, b.refused, b.rate, nullif(b.activity, '')
    FROM crossfade.backfill b JOIN crossfade.tables t ON t.id = b.table_id";

/// How the last passes of verify ended.
const VERIFIED: &str = "
    SELECT t.schema, t.name, v.rows, v.equal, v.missing, v.extra, v.different, v.unsettled,
           v.equal_sum, v.missing_sum, v.extra_sum, v.different_sum, v.seconds, v.clean,
           to_char(v.at AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS\"Z\"'),
           greatest(0, extract(epoch FROM clock_timestamp() - v.at))::float8,
           extract(epoch FROM v.at)::bigint
    FROM crossfade.verified v JOIN crossfade.tables t ON t.id = v.table_id";

/// Times as `/statements` writes them.
const SIDECARS: &str = "
    SELECT s.id, s.address, s.version, s.epoch, s.lease_ms, now() < s.lease_until,
           to_char(s.started_at AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS\"Z\"'),
           to_char(s.lease_until AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS\"Z\"')
    FROM crossfade.sidecars s ORDER BY s.started_at DESC, s.id LIMIT $1";

/// What there is now; nothing before `setup`.
pub async fn read(client: &Client) -> Result<Ledger, Error> {
    let missing = format!("SELECT {}", Presence::question());
    match Presence::new(&client.query_one(&missing, &[]).await?.get::<_, Vec<String>>(0)) {
        Presence::Complete => {}
        Presence::Absent => return Ok(Ledger::default()),
        Presence::Damaged(missing) => {
            let problem = format!("{missing} is gone from PostgreSQL: run `crossfade setup`");
            return Ok(Ledger { problem: Some(problem), ..Ledger::default() });
        }
        Presence::Foreign(owner) => {
            let problem =
                format!("the role {owner} owns the schema crossfade: see `crossfade check`");
            return Ok(Ledger { problem: Some(problem), ..Ledger::default() });
        }
    }
    if let Some(unknown) = layout::check(client).await? {
        return Ok(Ledger { problem: Some(unknown.to_string()), ..Ledger::default() });
    }
    let rows = client.query(LEDGER, &[&STUCK_ATTEMPTS]).await?;
    let sidecars = client.query(SIDECARS, &[&SIDECARS_MAX]).await?;
    let mut tables = rows.iter().map(line).collect::<BTreeMap<_, _>>();
    let exist = client.query_one(EXIST, &[]).await?;
    if exist.get(0) {
        for row in client.query(COPIED, &[]).await? {
            let (name, copied) = copied(&row);
            if let Some(line) = tables.get_mut(&name) {
                line.backfill = Some(copied);
            }
        }
    }
    if exist.get(1) {
        for row in client.query(VERIFIED, &[]).await? {
            let (name, verified) = verified(&row);
            if let Some(line) = tables.get_mut(&name) {
                line.verified = Some(verified);
            }
        }
    }
    // Without an entry there is none that failed.
    let stuck = match tables.values().any(|line| 0 < line.pending) {
        true => client.query(STUCK, &[&i64::from(STUCK_MAX)]).await?,
        false => Vec::new(),
    };
    Ok(Ledger {
        problem: exist.get::<_, bool>(3).then(|| ABANDONED.to_owned()),
        tables,
        stuck: stuck.iter().map(failed).collect(),
        paused: exist.get(2),
        sidecars: sidecars.iter().map(sidecar).collect(),
    })
}

/// What MySQL's outbox holds.
#[derive(Debug)]
pub struct Beyond {
    waiting: Vec<Waiting>,
    failed: Vec<Failed>,
}

/// For whoever looks while MySQL leads tables.
pub async fn read_beyond(link: &mut Link) -> Result<Beyond, WriteError> {
    let waiting = waiting(link, STUCK_ATTEMPTS).await?;
    let failed = match waiting.is_empty() {
        true => Vec::new(),
        false => stuck::list(link, None, i64::MIN, usize::from(STUCK_MAX)).await?,
    };
    Ok(Beyond { waiting, failed })
}

/// What waits on MySQL of the tables that it leads.
pub fn take_beyond(ledger: &mut Ledger, views: &Views, beyond: Beyond) {
    let (led, catalog) = (views.led_by_mysql(), &views.mysql.catalog);
    clear(ledger, &led);
    for of in beyond.waiting {
        let Some(name) = name(catalog, of.table).filter(|name| led.contains(name)) else {
            continue;
        };
        let line = ledger.tables.entry(name).or_default();
        (line.pending, line.stuck, line.last_error) = (of.pending, of.stuck, of.last_error);
        line.oldest_seconds = of.oldest_seconds;
    }
    let failed = beyond.failed.into_iter().filter_map(|failed| {
        let table = name(catalog, failed.table).filter(|name| led.contains(name))?;
        Some(failed_beyond(failed, table))
    });
    ledger.stuck.extend(failed);
}

/// Keeps what the last look at MySQL has found.
pub(super) fn keep_beyond(ledger: &mut Ledger, views: &Views, before: &Ledger) {
    let led = views.led_by_mysql();
    clear(ledger, &led);
    for name in &led {
        let (Some(line), Some(old)) = (ledger.tables.get_mut(name), before.tables.get(name)) else {
            continue;
        };
        (line.pending, line.stuck, line.oldest_seconds) =
            (old.pending, old.stuck, old.oldest_seconds);
        line.last_error.clone_from(&old.last_error);
    }
    let kept = before.stuck.iter().filter(|entry| entry.primary == MYSQL);
    ledger.stuck.extend(kept.filter(|entry| led.contains(&entry.table)).cloned());
}

/// These tables have nothing waiting.
fn clear(ledger: &mut Ledger, led: &BTreeSet<String>) {
    for (_, line) in ledger.tables.iter_mut().filter(|(name, _)| led.contains(*name)) {
        (line.pending, line.stuck, line.last_error) = (0, 0, None);
        line.oldest_seconds = 0.0;
    }
    ledger.stuck.retain(|entry| !led.contains(&entry.table));
}

fn name(catalog: &Catalog, id: TableId) -> Option<String> {
    Some(catalog.by_id(id)?.name.to_string())
}

fn count(row: &Row, at: usize) -> u64 {
    u64::try_from(row.get::<_, i64>(at)).unwrap_or(0)
}

fn line(row: &Row) -> (String, LedgerLine) {
    let name = TableName::new(row.get(0), row.get(1));
    let (pending, stuck) = (count(row, 3), count(row, 4));
    let (dirty, last_error) = (row.get(2), row.get(5));
    let oldest_seconds = row.get::<_, Option<f64>>(6).unwrap_or(0.0);
    let line =
        LedgerLine { dirty, pending, stuck, oldest_seconds, last_error, ..LedgerLine::default() };
    (name.to_string(), line)
}

/// A letter that is none of ours was entered to have the row read again.
fn operation(letter: Option<char>) -> String {
    let operation = letter.and_then(Operation::from_letter);
    operation.map_or("read again", |operation| operation.as_str()).to_owned()
}

fn failed_beyond(failed: Failed, table: String) -> StuckReport {
    let Failed { id, attempts, reason, seconds, next_seconds, .. } = failed;
    let operation = operation(Some(failed.operation));
    StuckReport {
        entry: id,
        primary: MYSQL,
        table,
        operation,
        attempts,
        seconds,
        next_seconds,
        reason,
    }
}

fn failed(row: &Row) -> StuckReport {
    StuckReport {
        entry: row.get(0),
        primary: POSTGRES,
        table: TableName::new(row.get(1), row.get(2)).to_string(),
        operation: operation(row.get::<_, String>(3).chars().next()),
        attempts: row.get(4),
        reason: row.get(5),
        seconds: row.get(6),
        next_seconds: row.get(7),
    }
}

fn copied(row: &Row) -> (String, CopyReport) {
    let name = TableName::new(row.get(0), row.get(1));
    let report = CopyReport {
        state: row.get(2),
        rows: count(row, 3),
        expected: count(row, 4),
        refused: count(row, 5),
        rate: row.get(6),
        waits: row.get(7),
    };
    (name.to_string(), report)
}

fn verified(row: &Row) -> (String, VerifyReport) {
    let name = TableName::new(row.get(0), row.get(1));
    let report = VerifyReport {
        rows: count(row, 2),
        equal: count(row, 3),
        missing: count(row, 4),
        extra: count(row, 5),
        different: count(row, 6),
        unsettled: count(row, 7),
        sums: VerifySums {
            equal: count(row, 8),
            missing: count(row, 9),
            extra: count(row, 10),
            different: count(row, 11),
        },
        seconds: row.get(12),
        clean: row.get(13),
        at: row.get(14),
        age: row.get(15),
        timestamp: row.get(16),
    };
    (name.to_string(), report)
}

fn sidecar(row: &Row) -> SidecarReport {
    SidecarReport {
        id: row.get(0),
        address: row.get(1),
        version: row.get(2),
        epoch: count(row, 3),
        started_at: row.get(6),
        lease_ms: count(row, 4),
        lease_until: row.get(7),
        current: row.get(5),
    }
}
