//! `crossfade repair` and `POST /repair`: what is stuck in the outbox is tried again at once.
//!
//! ```text
//! keys that `verify` found different ──entered──▶┐
//! all | a table | a key ──▶ entries that failed ──retry──▶ a sidecar's drain ──▶ carried | failed again
//!                  └─ none for this key: one is entered, and the row read again       └──[`compared`]──▶ equal?
//! ```
//!
//! Either side may lead: see [`entries`].
//!
//! Invariant: rows are carried by the sidecars alone; this asks, watches for a while, and compares what was
//! carried. Keys are shown to whoever asks for them, no other values are. What `verify` found is entered a
//! page at a time, and the next page once the sidecars have carried the one before.
//!
//! Not here: finding rows that differ without an entry (`verify`).

mod compared;
mod entries;
mod key;

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;
use tokio::time::{Instant, sleep};
use tokio_postgres::{Client, Error};

use crate::backend::mysql::WriteError;
use crate::catalog::{Catalog, Table};
use crate::change::Key;
use crate::names::TableName;
use crate::outbox::stuck::{self, Reached, Stuck};
use crate::phase::{Situation, Views};

use super::{Ends, layout};
pub use compared::Compared;
use compared::Comparer;
use entries::Entries;

/// How long the sidecars' answer is waited for.
const WATCH_TIME: Duration = Duration::from_secs(10);
const LOOK_AGAIN: Duration = Duration::from_millis(100);
/// Entries that are listed, and watched, at once; what is more is tried again all the same.
const LISTED_MAX: usize = 1000;

/// What is asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Wanted {
    pub table: Option<TableName>,
    /// As [`key`] has it; goes with a table.
    pub key: Option<String>,
    /// One entry of the outbox alone, by its number.
    pub entry: Option<i64>,
    /// Only list.
    pub dry_run: bool,
}

/// One entry, as it is shown.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Line {
    /// Its number in the outbox.
    pub entry: i64,
    pub table: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    pub operation: String,
    pub attempts: i32,
    /// How long it has been waiting.
    pub seconds: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// What came of it.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Repaired {
    pub dry_run: bool,
    /// Entries that were found.
    pub found: u64,
    /// Gone since: the secondary has what the primary has.
    pub carried: u64,
    /// Failed again; in a dry run, those that were found.
    pub stuck: Vec<Line>,
    /// Not tried in the time that was watched, or not watched at all.
    pub waiting: u64,
    /// How the carried rows compare; nothing in a dry run, and where none was carried.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub compared: Option<Compared>,
}

#[derive(Debug, thiserror::Error)]
pub enum RepairError {
    #[error("there is no table \"{0}\" that is carried over")]
    Table(TableName),
    #[error("--key goes with --table")]
    NoTable,
    #[error("--entry goes with --table while the databases lead different tables")]
    WhoseEntry,
    #[error("that is no key of table \"{table}\": {why}")]
    Key { table: TableName, why: String },
    #[error(transparent)]
    Layout(#[from] layout::UnknownLayout),
    #[error("nothing to repair in phase {0}: only one of the databases has the rows")]
    Phase(&'static str),
    #[error("PostgreSQL refused to repair")]
    Postgres(#[from] Error),
    #[error("MySQL refused to repair ({})", .0.code())]
    MySql(#[from] WriteError),
}

impl RepairError {
    /// True where whoever asked has to ask otherwise.
    #[must_use]
    pub fn is_usage(&self) -> bool {
        matches!(self, Self::Table(_) | Self::NoTable | Self::WhoseEntry | Self::Key { .. })
    }
}

impl Repaired {
    /// Both together.
    fn and(mut self, other: Self) -> Self {
        self.found += other.found;
        self.carried += other.carried;
        self.waiting += other.waiting;
        self.stuck.extend(other.stuck);
        self.compared = match (self.compared, other.compared) {
            (Some(one), Some(other)) => Some(one.and(other)),
            (one, other) => one.or(other),
        };
        self
    }

    /// Nothing is left that failed, and what was carried is equal.
    #[must_use]
    pub fn is_well(&self) -> bool {
        let equal = self.compared.as_ref().is_none_or(Compared::is_equal);
        self.stuck.is_empty() && self.waiting == 0 && equal
    }
}

/// Does what is wanted, on the tables of either database. `client` is a connection of Crossfade's own to
/// PostgreSQL.
pub async fn repair(
    ends: &Ends,
    client: &Client,
    views: &Views,
    wanted: &Wanted,
) -> Result<Repaired, RepairError> {
    if !views.postgres.is_parted() {
        return repair_led(ends, client, &views.postgres, wanted).await;
    }
    match &wanted.table {
        Some(name) if captured(&views.mysql.catalog, name).is_ok() => {
            repair_led(ends, client, &views.mysql, wanted).await
        }
        Some(_) => repair_led(ends, client, &views.postgres, wanted).await,
        // Both outboxes number their entries.
        None if wanted.entry.is_some() => Err(RepairError::WhoseEntry),
        None if wanted.key.is_some() => Err(RepairError::NoTable),
        None => repair_each(ends, client, views, wanted).await,
    }
}

/// Every table on the side that leads it.
async fn repair_each(
    ends: &Ends,
    client: &Client,
    views: &Views,
    wanted: &Wanted,
) -> Result<Repaired, RepairError> {
    let mut all = Repaired { dry_run: wanted.dry_run, ..Repaired::default() };
    for view in [&views.postgres, &views.mysql] {
        for table in view.catalog.captured() {
            let wanted = Wanted { table: Some(table.name.clone()), ..wanted.clone() };
            all = all.and(repair_led(ends, client, view, &wanted).await?);
        }
    }
    Ok(all)
}

async fn repair_led(
    ends: &Ends,
    client: &Client,
    situation: &Situation,
    wanted: &Wanted,
) -> Result<Repaired, RepairError> {
    let catalog = &*situation.catalog;
    if let Some(unknown) = layout::check(client).await? {
        return Err(unknown.into());
    }
    let table = match &wanted.table {
        Some(name) => Some(captured(catalog, name)?),
        None if wanted.key.is_some() => return Err(RepairError::NoTable),
        None => None,
    };
    let key = match (&table, &wanted.key) {
        (Some(table), Some(text)) => Some(key::read(client, table, text).await?),
        _ => None,
    };
    let entries = &mut Entries::open(ends, client, situation).await?;
    let all = key.is_none() && wanted.entry.is_none();
    let mut found = find(entries, table, key.as_ref(), wanted).await?;
    let mut repaired = Repaired { dry_run: wanted.dry_run, ..Repaired::default() };
    if wanted.dry_run {
        let dirty = if all { dirty(client, table).await? } else { 0 };
        repaired.found = found.count + dirty;
        repaired.waiting = repaired.found - found.first.len() as u64;
        repaired.stuck = lines(client, catalog, found.first).await?;
        return Ok(repaired);
    }
    if let (Some(table), Some(key), 0, None) = (&table, &key, found.count, wanted.entry) {
        found = Found { count: 1, first: vec![entered(entries, table, key).await?] };
    }
    let mut comparer = Comparer::new(ends, catalog, entries.leads());
    follow(entries, catalog, found, &mut comparer, &mut repaired).await?;
    let mut reached = Reached::default();
    while all && repaired.waiting == 0 && repaired.stuck.len() < LISTED_MAX {
        let page = different(entries, catalog, table, &mut reached).await?;
        if page.is_empty() {
            break;
        }
        let page = Found { count: page.len() as u64, first: page };
        follow(entries, catalog, page, &mut comparer, &mut repaired).await?;
    }
    if all {
        // A page that was not carried in time is followed by no other.
        let left = dirty(client, table).await?.saturating_sub(comparer.compared.differing());
        repaired.found += left;
        repaired.waiting += left;
    }
    repaired.compared = (0 < comparer.compared.rows).then_some(comparer.compared);
    Ok(repaired)
}

/// Waits for some entries, and compares what was carried.
async fn follow(
    entries: &mut Entries<'_>,
    catalog: &Catalog,
    found: Found,
    comparer: &mut Comparer<'_>,
    repaired: &mut Repaired,
) -> Result<(), RepairError> {
    repaired.found += found.count;
    let carried = watch(entries, catalog, found, repaired).await?;
    repaired.carried += carried.len() as u64;
    comparer.compare(&carried).await;
    Ok(())
}

fn captured<'a>(catalog: &'a Catalog, name: &TableName) -> Result<&'a Arc<Table>, RepairError> {
    let mut tables = catalog.captured().filter(|table| table.id.is_some());
    tables.find(|table| table.name == *name).ok_or_else(|| RepairError::Table(name.clone()))
}

#[derive(Default)]
struct Found {
    count: u64,
    /// At most [`LISTED_MAX`] of them.
    first: Vec<Stuck>,
}

/// Goes through all that failed, a page at a time.
async fn find(
    entries: &mut Entries<'_>,
    table: Option<&Arc<Table>>,
    key: Option<&Key>,
    wanted: &Wanted,
) -> Result<Found, RepairError> {
    let (mut found, mut after) = (Found::default(), i64::MIN);
    loop {
        let mut page = entries.list(table.and_then(|table| table.id), after).await?;
        let Some(last) = page.last() else { return Ok(found) };
        after = last.id;
        if let (Some(table), Some(key)) = (table, key) {
            page.retain(|entry| {
                let raw = entry.key.clone();
                raw.and_then(|raw| Key::decode(raw, table).ok()).is_some_and(|k| k.hash == key.hash)
            });
        }
        page.retain(|entry| wanted.entry.is_none_or(|wanted| entry.id == wanted));
        if !wanted.dry_run {
            let ids: Vec<i64> = page.iter().map(|entry| entry.id).collect();
            entries.retry(&ids).await?;
        }
        found.count += page.len() as u64;
        page.truncate(LISTED_MAX.saturating_sub(found.first.len()));
        found.first.append(&mut page);
    }
}

/// How many keys are left that `verify` found different.
async fn dirty(client: &Client, table: Option<&Arc<Table>>) -> Result<u64, Error> {
    stuck::dirty(client, table.and_then(|table| table.id)).await
}

/// A page of what `verify` found different, entered to be read again.
async fn different(
    entries: &mut Entries<'_>,
    catalog: &Catalog,
    table: Option<&Arc<Table>>,
    reached: &mut Reached,
) -> Result<Vec<Stuck>, RepairError> {
    let mut page = entries.enter_dirty(table.and_then(|table| table.id), reached).await?;
    for entry in &mut page {
        entry.name = catalog.by_id(entry.table).map(|table| table.name.clone());
    }
    Ok(page)
}

async fn entered(
    entries: &mut Entries<'_>,
    table: &Table,
    key: &Key,
) -> Result<Stuck, RepairError> {
    let id = table.id.ok_or_else(|| RepairError::Table(table.name.clone()))?;
    Ok(Stuck {
        id: entries.enter(id, key).await?,
        table: id,
        name: Some(table.name.clone()),
        operation: None,
        key: Some(key.raw.clone()),
        attempts: 0,
        reason: None,
        seconds: 0.0,
    })
}

/// Waits until each entry is gone or has failed once more; those that are gone.
async fn watch(
    entries: &mut Entries<'_>,
    catalog: &Catalog,
    found: Found,
    repaired: &mut Repaired,
) -> Result<Vec<Stuck>, RepairError> {
    let unwatched = found.count - found.first.len() as u64;
    let mut open: BTreeMap<i64, Stuck> =
        found.first.into_iter().map(|entry| (entry.id, entry)).collect();
    let (mut carried, mut failed) = (Vec::new(), Vec::new());
    let deadline = Instant::now() + WATCH_TIME;
    loop {
        let ids: Vec<i64> = open.keys().copied().collect();
        let mut now: HashMap<_, _> = entries
            .look(&ids)
            .await?
            .into_iter()
            .map(|(id, attempts, reason)| (id, (attempts, reason)))
            .collect();
        for id in ids {
            let before = open.get(&id).map_or(0, |entry| entry.attempts);
            match now.remove(&id) {
                None => carried.extend(open.remove(&id)),
                Some((attempts, reason)) if before < attempts => {
                    let entry = open.remove(&id);
                    failed.extend(entry.map(|entry| Stuck { attempts, reason, ..entry }));
                }
                Some(_) => {}
            }
        }
        if open.is_empty() || deadline <= Instant::now() {
            break;
        }
        sleep(LOOK_AGAIN).await;
    }
    repaired.waiting += unwatched + open.len() as u64;
    repaired.stuck.extend(lines(entries.client(), catalog, failed).await?);
    Ok(carried)
}

async fn lines(
    client: &Client,
    catalog: &Catalog,
    entries: Vec<Stuck>,
) -> Result<Vec<Line>, Error> {
    let (mut printer, mut lines) = (key::Printer::default(), Vec::with_capacity(entries.len()));
    for entry in entries {
        let key = match (catalog.by_id(entry.table), &entry.key) {
            (Some(table), Some(raw)) => printer.print(client, table, raw).await?,
            _ => None,
        };
        let operation = entry.operation.map_or("read again", |operation| operation.as_str());
        lines.push(Line {
            entry: entry.id,
            table: entry.name.map_or_else(|| entry.table.to_string(), |name| name.to_string()),
            key,
            operation: operation.to_owned(),
            attempts: entry.attempts,
            seconds: entry.seconds.max(0.0),
            reason: entry.reason,
        });
    }
    Ok(lines)
}

/// As `crossfade repair` prints it.
impl fmt::Display for Repaired {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for line in &self.stuck {
            let (table, key) = (&line.table, line.key.as_deref().unwrap_or("-"));
            let reason = line.reason.as_deref().unwrap_or("-");
            let (operation, attempts, seconds) = (&line.operation, line.attempts, line.seconds);
            writeln!(
                f,
                "{table}  key {key}  {operation}  attempts {attempts}  for {seconds:.0} s  {reason}"
            )?;
        }
        let Self { found, carried, waiting, .. } = self;
        match (self.dry_run, found) {
            (_, 0) => writeln!(f, "nothing is stuck"),
            (true, found) => writeln!(f, "stuck or different {found}"),
            (false, found) => writeln!(
                f,
                "tried again {found}   carried {carried}   failed {}   waiting {waiting}",
                self.stuck.len()
            ),
        }?;
        self.compared.as_ref().map_or(Ok(()), |compared| writeln!(f, "{compared}"))
    }
}
