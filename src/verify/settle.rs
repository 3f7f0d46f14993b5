//! Looks at candidates again and again, until each is equal, is a difference, or time is up.
//!
//! ```text
//! candidates ──batches──▶ primary's rows ─▶ outbox ─▶ secondary's rows, fence ─▶ outbox ─▶ primary's
//!      ▲                                                                                       │
//!      └──────────── a growing pause ◀──────── Again ◀────────────[`judge`]◀───────────────────┘
//! ```
//!
//! Invariant: nothing is locked, and no more than one batch of rows is held. What was found of a batch is
//! kept when a connection is lost after it: looks in a row need not be looks of one connection.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use tokio::time::Instant;
use tokio_postgres::Client;

use super::VerifyError;
use super::judge::{self, Finding, Look, Mark, Memory, Verdict};
use super::scan::Progress;
use crate::backend::mysql::{Link, Sight, outbox};
use crate::catalog::{Capture, Column, Table};
use crate::change::{Key, KeyHash, RowImage};
use crate::outbox::{Peek, Reader};
use crate::phase::Leads;
use crate::value::PgType;

/// Keys looked at together.
const BATCH: usize = 200;
/// Looks that have to find the same, in a row. A table with `outbox: false` has no entries that say
/// what is on its way: there only time can tell.
const TIMES: u32 = 2;
const TIMES_LOOSE: u32 = 5;
/// Between two rounds; doubles.
const PAUSE_MIN: Duration = Duration::from_millis(250);
const PAUSE_MAX: Duration = Duration::from_secs(4);

const PENDING: &str = "SELECT DISTINCT key FROM crossfade.outbox \
     WHERE table_id = $1 AND (key IS NULL OR key = ANY ($2))";
/// Where one key can be written in several ways, entries are known only once they are read.
const PENDING_SPELLED: &str =
    "SELECT DISTINCT key FROM crossfade.outbox WHERE table_id = $1 LIMIT $2";
/// Entries that are read so; where there are more, each row might be on its way.
const SPELLED_MAX: usize = 100_000;

/// What the outbox has entries for.
#[derive(Default)]
struct Pending {
    /// A TRUNCATE, or more than can be told apart.
    all: bool,
    keys: HashSet<KeyHash>,
}

/// How candidates ended.
#[derive(Default)]
pub(super) struct Settled {
    pub(super) differences: Vec<(Key, Finding)>,
    /// Still on their way, or moving, when time was up.
    pub(super) unsettled: u64,
}

/// What is looked at, and how far that has come. It outlives the connections.
pub(super) struct Candidates {
    /// Of this round; and of the next.
    left: Vec<(Key, Memory)>,
    again: Vec<(Key, Memory)>,
    pause: Duration,
    deadline: Instant,
    settled: Settled,
    progress: Arc<Progress>,
}

impl Candidates {
    /// `patience` bounds the rounds; the first is made whole, so that what is equal by now is not unsettled.
    pub(super) fn new(keys: Vec<Key>, patience: Duration, progress: Arc<Progress>) -> Self {
        let left = keys.into_iter().map(|key| (key, Memory::default())).collect();
        let (again, settled, deadline) =
            (Vec::new(), Settled::default(), Instant::now() + patience);
        Self { left, again, pause: PAUSE_MIN, deadline, settled, progress }
    }

    /// Time is up.
    pub(super) fn is_late(&self) -> bool {
        self.deadline <= Instant::now()
    }

    pub(super) fn into_settled(self) -> Settled {
        let unsettled = (self.left.len() + self.again.len()) as u64;
        Settled { unsettled, ..self.settled }
    }

    /// Keys to look at together: the last of those that are left.
    fn batch(&self) -> Vec<Key> {
        let from = self.left.len().saturating_sub(BATCH);
        self.left.iter().skip(from).map(|(key, _)| key.clone()).collect()
    }

    /// What was found of the last batch.
    fn judge(&mut self, looks: Vec<Look>, times: u32) {
        self.progress.looked.fetch_add(looks.len() as u64, Ordering::Relaxed);
        let from = self.left.len().saturating_sub(looks.len());
        for ((key, mut memory), look) in self.left.drain(from..).zip(looks) {
            match judge::judge(&mut memory, look, times) {
                Verdict::Equal => {}
                Verdict::Real(finding) => self.settled.differences.push((key, finding)),
                Verdict::Again => self.again.push((key, memory)),
            }
        }
    }
}

/// Both databases, for looking at single rows.
pub(super) struct Looker<'a> {
    pub(super) table: &'a Arc<Table>,
    pub(super) version: u64,
    pub(super) client: &'a Client,
    pub(super) reader: &'a mut Reader,
    pub(super) link: &'a mut Link,
    pub(super) leads: Leads,
}

impl Looker<'_> {
    /// Until every candidate is settled, or time is up. After an error another [`Looker`] may go on.
    pub(super) async fn settle(&mut self, candidates: &mut Candidates) -> Result<(), VerifyError> {
        let loose = self.leads == Leads::Postgres
            && !self.table.policy.outbox
            && self.table.capture == Capture::Returning;
        let times = if loose { TIMES_LOOSE } else { TIMES };
        loop {
            while !candidates.left.is_empty() {
                let looks = self.look(&candidates.batch()).await?;
                candidates.judge(looks, times);
            }
            if candidates.again.is_empty() || candidates.is_late() {
                return Ok(());
            }
            tokio::time::sleep(candidates.pause).await;
            candidates.left = std::mem::take(&mut candidates.again);
            candidates.pause = (candidates.pause * 2).min(PAUSE_MAX);
        }
    }

    async fn look(&mut self, keys: &[Key]) -> Result<Vec<Look>, VerifyError> {
        match self.leads {
            Leads::Postgres => self.look_forth(keys).await,
            Leads::MySql => self.look_back(keys).await,
        }
    }

    /// The same with the sides changed: MySQL's row and its fence entry, which every write raises, say
    /// whether it moved.
    async fn look_back(&mut self, keys: &[Key]) -> Result<Vec<Look>, VerifyError> {
        let before = self.link.look(self.table, keys).await?;
        let mut pending = self.pending(keys).await?;
        let peeks = self.reader.peek(self.table, keys, self.version).await?;
        let more = self.pending(keys).await?;
        pending.all |= more.all;
        pending.keys.extend(more.keys);
        let after = self.link.look(self.table, keys).await?;
        let flavor = self.link.flavor();
        let rows = keys.iter().zip(before).zip(after).zip(peeks);
        rows.map(|(((key, before), after), peek)| {
            let (image, identity) = present(peek)?;
            let moving = pending.all || pending.keys.contains(&key.hash) || before != after;
            let finding = judge::compare(self.table, image.as_ref(), &after, flavor);
            Ok(Look { finding: finding.reversed(), mark: self.mark(identity, &after), moving })
        })
        .collect()
    }

    async fn look_forth(&mut self, keys: &[Key]) -> Result<Vec<Look>, VerifyError> {
        let before = self.reader.peek(self.table, keys, self.version).await?;
        let mut pending = self.pending(keys).await?;
        let sights = self.link.look(self.table, keys).await?;
        let more = self.pending(keys).await?;
        pending.all |= more.all;
        pending.keys.extend(more.keys);
        let after = self.reader.peek(self.table, keys, self.version).await?;
        let flavor = self.link.flavor();
        let rows = keys.iter().zip(before).zip(after).zip(sights);
        rows.map(|(((key, before), after), sight)| {
            let (image, identity) = present(before)?;
            let (_, later) = present(after)?;
            let moving = pending.all || pending.keys.contains(&key.hash) || identity != later;
            let finding = judge::compare(self.table, image.as_ref(), &sight, flavor);
            Ok(Look { finding, mark: self.mark(identity, &sight), moving })
        })
        .collect()
    }

    fn mark(&self, identity: Option<String>, sight: &Sight) -> Mark {
        let secondary = judge::fingerprint(self.table, sight, self.link.flavor());
        Mark { identity, fence: sight.fence, secondary }
    }

    /// What the primary's outbox has entries for, these keys at least; one without a key is a TRUNCATE.
    async fn pending(&mut self, keys: &[Key]) -> Result<Pending, VerifyError> {
        let mut pending = Pending::default();
        if !self.table.key_columns().any(is_spelled_in_several_ways) {
            let by_raw: HashMap<&[u8], KeyHash> =
                keys.iter().map(|key| (&*key.raw, key.hash)).collect();
            let raw: Vec<&[u8]> = by_raw.keys().copied().collect();
            for entry in self.entries(Some(&raw)).await? {
                match entry {
                    None => pending.all = true,
                    Some(found) => pending.keys.extend(by_raw.get(&*found)),
                }
            }
            return Ok(pending);
        }
        let entries = self.entries(None).await?;
        pending.all = SPELLED_MAX <= entries.len();
        for entry in entries {
            match entry {
                None => pending.all = true,
                // A key of another shape than the table's is of no row that is compared.
                Some(raw) => {
                    let key = Key::decode(Bytes::from(raw), self.table);
                    pending.keys.extend(key.ok().map(|key| key.hash));
                }
            }
        }
        Ok(pending)
    }

    /// Keys of the table's entries, each once: among these, or of all up to a bound; `None` is one without.
    async fn entries(
        &mut self,
        among: Option<&[&[u8]]>,
    ) -> Result<Vec<Option<Vec<u8>>>, VerifyError> {
        let Some(table) = self.table.id else { return Ok(Vec::new()) };
        if self.leads == Leads::MySql {
            return Ok(outbox::entered(self.link, table, among, SPELLED_MAX).await?);
        }
        let limit = i64::try_from(SPELLED_MAX).unwrap_or(i64::MAX);
        let rows = match among {
            Some(among) => self.client.query(PENDING, &[&table.0, &among]).await?,
            None => self.client.query(PENDING_SPELLED, &[&table.0, &limit]).await?,
        };
        Ok(rows.iter().map(|row| row.try_get(0)).collect::<Result<_, _>>()?)
    }
}

/// Whether equal keys may differ as bytes: 1.0 and 1.00, blanks at the end, a domain's number in place
/// of its base type's.
fn is_spelled_in_several_ways(column: &Column) -> bool {
    let one = matches!(
        column.type_ref.pg_type,
        PgType::Bool
            | PgType::Int2
            | PgType::Int4
            | PgType::Int8
            | PgType::Oid
            | PgType::Text
            | PgType::Name
            | PgType::Enum(_)
            | PgType::Bytea
            | PgType::Uuid
            | PgType::Date
            | PgType::Time
            | PgType::Timestamp
            | PgType::TimestampTz
    );
    !one || column.type_ref.oid != column.type_ref.base_oid
}

fn present(peek: Peek) -> Result<(Option<RowImage>, Option<String>), VerifyError> {
    match peek {
        Peek::Present { image, identity } => Ok((Some(image), Some(identity))),
        Peek::Absent => Ok((None, None)),
        Peek::Stale => Err(VerifyError::Stale),
    }
}
