//! Compares every row and column of a table on both sides, while both are written to.
//!
//! ```text
//! both sides whole ──[`scan`]──▶ sums ──[`sieve`]──▶ keys of rows that differ, while they are few
//!                                  └───[`digest`]──▶ buckets that differ still ──▶ all keys in these
//!        report ◀── differences ◀──[`settle`, `judge`]◀──────────── keys ◀───────────────┘
//!          └──▶ [`marks`]: dirty keys, the table's mark; [`record`]: how the pass ended
//! ```
//!
//! For thin links [`checksum`] takes the place of the scans, where [`texts`] says that it can.
//!
//! Either side may be the primary ([`Leads`]): the scans are the same, and so are the marks, which stay on
//! PostgreSQL; what is on its way is in the outbox of the one that leads.
//!
//! Values are read in binary on both sides and compared as MySQL would hold them
//! ([`crate::value::push_normal`]); nothing is sampled, and no order of rows has to be the same.
//!
//! Invariant: what is reported as a difference was found twice, with nothing on its way to it; what is
//! reported as equal was equal at a moment of this pass. Memory is bounded by the number of buckets and
//! of candidates, not by the table. Nothing is locked.
//!
//! Not here: repairing (`repair`), when to verify and what to print (`cli`).

mod checksum;
mod digest;
mod judge;
mod marks;
mod pace;
mod record;
mod scan;
mod settle;
mod sieve;
mod texts;
mod turn;

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Mutex;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_postgres::Client;

use crate::backend::mysql::connect::LinkLimits;
use crate::backend::mysql::{Link, ToUrl, WriteError};
use crate::backend::postgres::connect::{ConnectError, Connector};
use crate::backend::postgres::facts;
use crate::backend::postgres::records::VERIFIED;
use crate::backend::postgres::session::unhurried;
use crate::catalog::{Catalog, Table};
use crate::change::{Key, KeyHash};
use crate::outbox::{Outbox, Reader};
use crate::phase::Leads;

use checksum::Checksum;
use digest::{Digest, Scheme};
use judge::Finding;
use scan::Scan;
pub use scan::{Moment, Progress};
use settle::{Candidates, Looker};
use turn::Turn;

/// Candidates looked at one by one in one pass; where more rows differ, the report says so.
const CANDIDATES_MAX: u64 = 200_000;
const ENDED_LOOK: Duration = Duration::from_millis(50);
/// Before a connection that was lost while rows were looked at is made again.
const RECONNECT_PAUSE: Duration = Duration::from_millis(500);
/// A scan may take long between two statements of one connection.
const IDLE: Duration = Duration::from_secs(8 * 3600);
/// Why a table could not be compared.
#[derive(Debug, thiserror::Error)]
pub enum VerifyError {
    #[error("could not reach PostgreSQL")]
    From(#[from] ConnectError),
    /// The server's own words could quote a value; its code cannot.
    #[error("PostgreSQL could not be read: {}", .0.code().map_or("lost the connection", |code| code.code()))]
    Postgres(#[from] tokio_postgres::Error),
    #[error("MySQL could not be read: {}", .0.code())]
    MySql(#[from] WriteError),
    #[error("the table is not as it was when the catalogue was read")]
    Stale,
    #[error("the key has a type that is not read back from MySQL")]
    Key,
    #[error("the primary has changed meanwhile")]
    Turned,
    #[error("it was stopped")]
    Stopped,
}

impl VerifyError {
    /// True where a database was not reached, or went away.
    #[must_use]
    pub fn is_unreachable(&self) -> bool {
        match self {
            Self::From(_) => true,
            // 57P01 to 57P03: it ends, has crashed, or does not take connections yet.
            Self::Postgres(error) => error
                .as_db_error()
                .is_none_or(|answer| error.is_closed() || answer.code().code().starts_with("57P0")),
            Self::MySql(error) => error.breaks_connection(),
            Self::Stale | Self::Key | Self::Turned | Self::Stopped => false,
        }
    }
}

/// What a pass over one table found.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Report {
    /// Rows on the primary and on the secondary, as the scans met them.
    pub rows: u64,
    pub rows_secondary: u64,
    pub missing: u64,
    pub extra: u64,
    pub different: u64,
    /// Rows in which each column differs.
    pub columns: BTreeMap<String, u64>,
    /// Rows that were still on their way, or moving, when patience ran out.
    pub unsettled: u64,
    /// Rows that were looked at one by one, on both sides.
    pub looked: u64,
    /// Why the table was read whole although hashes were asked for.
    pub read_whole: Option<String>,
    /// Rows only the secondary has whose keys cannot be written in PostgreSQL's form.
    pub unjudged: u64,
    /// In what the table's schema differs, by name.
    pub schema: Vec<String>,
    /// False where more rows differ than one pass looks at.
    pub complete: bool,
    /// It was dirty before, and is not any more.
    pub cleared: bool,
    /// It is dirty after this pass.
    pub dirty: bool,
    pub elapsed: Duration,
    /// The keys that differ, for repair and for `--show-values`.
    pub differences: Vec<(Key, Kind)>,
}

/// How a row differs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Missing,
    Extra,
    Different,
}

impl Kind {
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Missing => "missing",
            Self::Extra => "extra",
            Self::Different => "different",
        }
    }
}

impl Report {
    /// Every row is equal on both sides, and so is the schema.
    #[must_use]
    pub fn is_equal(&self) -> bool {
        self.complete
            && self.schema.is_empty()
            && self.missing + self.extra + self.different + self.unsettled + self.unjudged == 0
    }

    /// Rows of the primary that are the same on the secondary.
    #[must_use]
    pub fn equal(&self) -> u64 {
        self.rows.saturating_sub(self.missing + self.different + self.unsettled)
    }
}

/// Both databases, connected to for comparing.
pub struct Verifier {
    /// For the scan; the others are for single rows.
    client: Client,
    reader: Reader,
    outbox: Outbox,
    scan: Arc<Mutex<Link>>,
    look: Link,
    options: Options,
    leads: Leads,
    turn: Turn,
    places: (Connector, ToUrl, LinkLimits),
}

/// How a pass goes about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Options {
    /// How long rows that are on their way are waited for.
    pub patience: Duration,
    /// Rows a second that are read on each side; `None` is as fast as it goes.
    pub max_rate: Option<u64>,
    /// Have the servers hash rows, instead of sending them, where that is exact.
    pub checksum: bool,
}

impl std::fmt::Debug for Verifier {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Verifier")
    }
}

impl Verifier {
    pub async fn connect(
        from: &Connector,
        to: &ToUrl,
        limits: &LinkLimits,
        options: Options,
        leads: Leads,
    ) -> Result<Self, VerifyError> {
        let client = from.connect().await?;
        unhurried(&client).await?;
        VERIFIED.ensure(&client).await?;
        let turn = Turn::note(&client, leads).await?;
        let places = (from.clone(), to.clone(), *limits);
        let limits = LinkLimits { idle: IDLE, ..*limits };
        Ok(Self {
            client,
            reader: Reader::open(from.connect().await?).await?,
            outbox: Outbox::open(from.connect().await?).await?,
            scan: Arc::new(Mutex::new(Link::connect(to, &limits).await?)),
            look: Link::connect(to, &limits).await?,
            options,
            leads,
            turn,
            places,
        })
    }

    /// Connects anew, as long as candidates may still be settled.
    async fn reconnect(&mut self, candidates: &Candidates) -> Result<(), VerifyError> {
        loop {
            tokio::time::sleep(RECONNECT_PAUSE).await;
            let (from, to, limits) = &self.places;
            match Self::connect(from, to, limits, self.options, self.leads).await {
                Ok(anew) => {
                    *self = Self { turn: self.turn, ..anew };
                    return Ok(());
                }
                Err(error) if error.is_unreachable() && !candidates.is_late() => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// Compares one table's rows and notes what it found. `schema` says in what else it differs.
    pub async fn table(
        &mut self,
        table: &Arc<Table>,
        catalog: &Catalog,
        schema: Vec<String>,
        progress: &Arc<Progress>,
    ) -> Result<Report, VerifyError> {
        let start = Instant::now();
        let before = marks::before(&self.client, table).await?;
        let ended = self.older_ended().await?;
        let mut report = Report { schema, ..Report::default() };
        let keys = self.suspects(table, progress, &mut report).await?;
        if !keys.is_empty() {
            let keys = keys.into_values().collect();
            let progress = Arc::clone(progress);
            self.candidates(table, catalog, (keys, progress), &mut report).await?;
        }
        self.turn.holds(&self.client).await?;
        self.note(table, &before, ended, &mut report).await?;
        report.elapsed = start.elapsed();
        record::keep(&self.client, table, &report).await?;
        Ok(report)
    }

    /// The keys of all rows that may differ, as far as one pass looks at them.
    async fn suspects(
        &mut self,
        table: &Arc<Table>,
        progress: &Arc<Progress>,
        report: &mut Report,
    ) -> Result<HashMap<KeyHash, Key>, VerifyError> {
        let (rows, flavor) = (self.estimate(table).await?, self.look.flavor());
        if self.options.checksum {
            // Of a column of another type nobody knows what its text says.
            let hashable = match report.schema.is_empty() {
                true => Checksum::of(table, flavor, rows).map_err(|why| why.to_string()),
                false => Err("the schema differs".to_owned()),
            };
            match hashable {
                Ok(checksum) => return self.by_hashes(table, &checksum, report).await,
                Err(why) => report.read_whole = Some(why),
            }
        }
        let (table, progress) = (Arc::clone(table), Arc::clone(progress));
        let (scheme, rate) = (Scheme::new(rows), self.options.max_rate);
        self.by_reading(&Scan { table, scheme, flavor, rate, progress }, report).await
    }

    async fn by_reading(
        &mut self,
        scan: &Scan,
        report: &mut Report,
    ) -> Result<HashMap<KeyHash, Key>, VerifyError> {
        let (mut left, mut right) = self.digests(scan).await?;
        let mut keys = scan::named(&scan.table, &mut left, &mut right);
        let (buckets, complete) = left.differing(&right, CANDIDATES_MAX);
        (report.rows, report.rows_secondary) = self.sides(left.rows, right.rows);
        report.complete = complete;
        drop((left, right));
        if !buckets.is_empty() {
            report.unjudged = self.candidate_keys(scan, &Arc::new(buckets), &mut keys).await?;
        }
        Ok(keys)
    }

    /// Of PostgreSQL and of MySQL: of the primary and of the secondary.
    fn sides<T>(&self, postgres: T, mysql: T) -> (T, T) {
        match self.leads {
            Leads::Postgres => (postgres, mysql),
            Leads::MySql => (mysql, postgres),
        }
    }

    async fn by_hashes(
        &mut self,
        table: &Table,
        checksum: &Checksum,
        report: &mut Report,
    ) -> Result<HashMap<KeyHash, Key>, VerifyError> {
        let link = Arc::clone(&self.scan);
        let link = &mut *link.lock().await;
        // Both to their ends, as below.
        let (left, right) = tokio::join!(
            checksum.primary_sums(&mut self.client, table),
            checksum.secondary_sums(link, table)
        );
        let (left, right) = (left?, right?);
        (report.rows, report.rows_secondary) = self.sides(left.rows(), right.rows());
        let (buckets, complete) = left.differing(&right, CANDIDATES_MAX);
        report.complete = complete;
        if buckets.is_empty() {
            return Ok(HashMap::new());
        }
        let found = checksum.candidates(&mut self.client, link, table, &buckets).await?;
        report.unjudged = found.1;
        Ok(found.0)
    }

    /// Both sides' sums. The secondary is read by a task of its own, so that no processor waits.
    async fn digests(&mut self, scan: &Scan) -> Result<(Digest, Digest), VerifyError> {
        let (link, theirs) = (Arc::clone(&self.scan), scan.clone());
        let mut beside = JoinSet::new();
        beside.spawn(async move { scan::secondary_digest(&mut *link.lock().await, &theirs).await });
        // Both to their ends: a connection that was left in the middle of an answer is of no more use.
        let left = scan::primary_digest(&mut self.client, scan).await;
        let right = joined(beside).await;
        Ok((left?, right?))
    }

    /// Adds the keys of both sides in these buckets; says how many of the secondary's cannot be looked up.
    async fn candidate_keys(
        &mut self,
        scan: &Scan,
        buckets: &Arc<HashSet<u32>>,
        keys: &mut HashMap<KeyHash, Key>,
    ) -> Result<u64, VerifyError> {
        let (link, theirs, chosen) = (Arc::clone(&self.scan), scan.clone(), Arc::clone(buckets));
        let mut beside = JoinSet::new();
        beside.spawn(async move {
            scan::secondary_keys(&mut *link.lock().await, &theirs, &chosen).await
        });
        let ours = scan::primary_keys(&mut self.client, scan, buckets).await;
        let others = joined(beside).await;
        let (ours, (others, unwritten)) = (ours?, others?);
        let unjudged = unwritten.iter().filter(|hash| !ours.contains_key(*hash)).count();
        keys.extend(others);
        keys.extend(ours);
        Ok(unjudged as u64)
    }

    /// Looks at some keys of a table only; those that differ become dirty keys, beside what is there.
    pub async fn keys(
        &mut self,
        table: &Arc<Table>,
        catalog: &Catalog,
        keys: Vec<Key>,
    ) -> Result<Report, VerifyError> {
        let start = Instant::now();
        let mut report = Report { rows: keys.len() as u64, complete: true, ..Report::default() };
        let progress = Arc::default();
        self.candidates(table, catalog, (keys, progress), &mut report).await?;
        self.turn.holds(&self.client).await?;
        if !report.differences.is_empty() {
            marks::more(&mut self.client, table, &report.differences).await?;
        }
        report.elapsed = start.elapsed();
        Ok(report)
    }

    async fn candidates(
        &mut self,
        table: &Arc<Table>,
        catalog: &Catalog,
        (keys, progress): (Vec<Key>, Arc<Progress>),
        report: &mut Report,
    ) -> Result<(), VerifyError> {
        report.looked = keys.len() as u64;
        let mut candidates = Candidates::new(keys, self.options.patience, progress);
        loop {
            let mut looker = Looker {
                table,
                version: catalog.version,
                client: &self.client,
                reader: &mut self.reader,
                link: &mut self.look,
                leads: self.leads,
            };
            match looker.settle(&mut candidates).await {
                Ok(()) => break,
                // What the scans and the looks so far have found is worth more than a connection.
                Err(error) if error.is_unreachable() && !candidates.is_late() => {
                    self.reconnect(&candidates).await?;
                }
                Err(error) => return Err(error),
            }
        }
        let settled = candidates.into_settled();
        report.unsettled = settled.unsettled;
        for (key, finding) in settled.differences {
            let kind = match finding {
                Finding::Equal => continue,
                Finding::Missing => Kind::Missing,
                Finding::Extra => Kind::Extra,
                Finding::Different(columns) => {
                    judge::count_columns(table, columns, &mut report.columns);
                    Kind::Different
                }
            };
            match kind {
                Kind::Missing => report.missing += 1,
                Kind::Extra => report.extra += 1,
                Kind::Different => report.different += 1,
            }
            report.differences.push((key, kind));
        }
        Ok(())
    }

    async fn note(
        &mut self,
        table: &Table,
        before: &marks::Before,
        ended: bool,
        report: &mut Report,
    ) -> Result<(), VerifyError> {
        let found = report.missing + report.extra + report.different + report.unjudged > 0;
        marks::found(&mut self.client, table, &report.differences, found || !report.complete)
            .await?;
        if before.dirty && ended && report.is_equal() {
            report.cleared = marks::clear(&self.client, table, before).await?;
        }
        report.dirty = marks::before(&self.client, table).await?.dirty;
        Ok(())
    }

    /// Waits for what runs now: a write that is not captured is marked before it runs, and may come
    /// to light after a pass that began before it had ended. False if it did not end in time.
    async fn older_ended(&self) -> Result<bool, VerifyError> {
        if self.leads == Leads::MySql {
            // There every write is captured, or refused.
            return Ok(true);
        }
        let moment = self.outbox.note().await?;
        let deadline = Instant::now() + self.options.patience;
        while !self.outbox.ended(moment).await? {
            if deadline <= Instant::now() {
                return Ok(false);
            }
            tokio::time::sleep(ENDED_LOOK).await;
        }
        Ok(true)
    }

    /// Rows, as the statistics have it.
    pub async fn estimate(&self, table: &Table) -> Result<u64, VerifyError> {
        Ok(facts::estimate(&self.client, table.oid).await?)
    }
}

/// What the one task came to. It ends with the set, should whoever waits for it give up.
async fn joined<T: 'static>(mut beside: JoinSet<Result<T, VerifyError>>) -> Result<T, VerifyError> {
    match beside.join_next().await {
        Some(Ok(outcome)) => outcome,
        Some(Err(error)) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
        Some(Err(_)) | None => Err(VerifyError::Stopped),
    }
}
