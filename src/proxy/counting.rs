//! Counts each table's rows on both sides now and then, for status and dashboard.
//!
//! ```text
//! captured tables ──each side──▶ counted up to a bound │ else what the server's statistics say ──▶ Counts
//! ```
//!
//! Invariant: a round is bounded in time, and reads no more than [`COUNTED_MAX`] rows of a table. What one
//! side does not say is left out; nothing waits for it, and it waits for no lock: the servers are told so,
//! since one that waits does not see that whoever asked is gone.

use std::sync::Arc;
use std::time::Duration;

use mysql_async::prelude::Queryable as _;
use tokio::sync::watch;
use tokio::time::{sleep, timeout};
use tokio_postgres::Client;

use crate::admin::{Counted, Counts};
use crate::backend::mysql;
use crate::backend::postgres::connect::Connector;
use crate::backend::postgres::facts;
use crate::catalog::{Catalog, Table};
use crate::control::Ends;
use crate::names::quote_mysql;
use crate::phase::{Phase, Situation};

/// Rows of a table that are counted one by one; beyond, statistics have to do.
const COUNTED_MAX: u64 = 10_000;
/// Between two rounds.
const ROUND_EVERY: Duration = Duration::from_secs(10);
/// Least pause, however often the catalogue changes.
const ROUND_PAUSE: Duration = Duration::from_millis(200);
/// Longest time for one side of a round; tables that it does not come to keep no number.
const SIDE_TIME_MAX: Duration = Duration::from_secs(5);
/// What each server is to give up after by itself. A setting that it does not have is passed over.
const POSTGRES_BOUNDS: &str = "SET lock_timeout = '200ms'; SET statement_timeout = '4s'";
const MYSQL_BOUNDS: [&str; 4] = [
    "SET SESSION lock_wait_timeout = 1",
    "SET SESSION max_execution_time = 4000",
    "SET SESSION max_statement_time = 4",
    // Statistics of yesterday would be shown otherwise.
    "SET SESSION information_schema_stats_expiry = 0",
];

/// Counts until it is aborted.
pub(super) async fn run(
    ends: Ends,
    situation: watch::Receiver<Arc<Situation>>,
    counts: watch::Sender<Arc<Counts>>,
) {
    loop {
        let now = Arc::clone(&situation.borrow());
        let (catalog, complete) = (Arc::clone(&now.catalog), now.phase == Phase::Complete);
        let (mut of_primary, mut of_secondary) = (Vec::new(), Vec::new());
        tokio::join!(
            async {
                if !complete {
                    primary(&ends.from, &catalog, &mut of_primary).await;
                }
            },
            secondary(&ends, &catalog, &mut of_secondary),
        );
        let mut counted = Counts::new();
        for (table, rows) in of_primary {
            counted.entry(table).or_default().postgresql = Some(rows);
        }
        for (table, rows) in of_secondary {
            counted.entry(table).or_default().mysql = Some(rows);
        }
        counts.send_replace(Arc::new(counted));
        // Right after `setup` and after DDL there are other tables to count.
        let mut other = situation.clone();
        let changed = other.wait_for(|now| now.catalog.version != catalog.version);
        drop(timeout(ROUND_EVERY, changed).await);
        sleep(ROUND_PAUSE).await;
    }
}

type Found = Vec<(String, Counted)>;

async fn primary(from: &Connector, catalog: &Catalog, found: &mut Found) {
    let round = async {
        // Health says why, where there is no connection.
        let Ok(client) = from.connect().await else { return };
        if client.batch_execute(POSTGRES_BOUNDS).await.is_err() {
            return;
        }
        for table in catalog.carried() {
            if let Ok(rows) = on_postgres(&client, table).await {
                found.push((table.name.to_string(), rows));
            }
        }
    };
    drop(timeout(SIDE_TIME_MAX, round).await);
}

async fn on_postgres(client: &Client, table: &Table) -> Result<Counted, tokio_postgres::Error> {
    let name = table.name.quoted();
    let sql = format!(
        "SELECT pg_catalog.count(*) FROM (SELECT FROM {name} LIMIT {}) counted",
        COUNTED_MAX + 1
    );
    let rows = client.query_one(&sql, &[]).await?.try_get::<_, i64>(0)?.unsigned_abs();
    if rows <= COUNTED_MAX {
        return Ok(Counted { rows, exact: true });
    }
    let estimate = facts::estimate(client, table.oid).await?;
    Ok(Counted { rows: estimate.max(rows), exact: false })
}

async fn secondary(ends: &Ends, catalog: &Catalog, found: &mut Found) {
    let round = async {
        let Ok(mut link) = mysql::Link::connect(&ends.to, &ends.limits).await else { return };
        for bound in MYSQL_BOUNDS {
            drop(link.conn().query_drop(bound).await);
        }
        for table in catalog.carried() {
            if let Ok(rows) = on_mysql(&mut link, table).await {
                found.push((table.name.to_string(), rows));
            }
        }
    };
    drop(timeout(SIDE_TIME_MAX, round).await);
}

async fn on_mysql(link: &mut mysql::Link, table: &Table) -> Result<Counted, mysql_async::Error> {
    let name = quote_mysql(&table.target);
    let sql =
        format!("SELECT COUNT(*) FROM (SELECT 1 FROM {name} LIMIT {}) counted", COUNTED_MAX + 1);
    let rows: u64 = link.conn().query_first(sql).await?.unwrap_or(0);
    if rows <= COUNTED_MAX {
        return Ok(Counted { rows, exact: true });
    }
    let sql = "SELECT CAST(TABLE_ROWS AS UNSIGNED) FROM information_schema.TABLES \
         WHERE TABLE_SCHEMA = DATABASE() AND TABLE_NAME = ?";
    let estimate: Option<Option<u64>> = link.conn().exec_first(sql, (&table.target,)).await?;
    Ok(Counted { rows: estimate.flatten().unwrap_or(0).max(rows), exact: false })
}
