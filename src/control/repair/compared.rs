//! What was repaired is compared again, by the looks that `verify` takes.
//!
//! ```text
//! entries that are gone ──keys, by table──▶ [`Verifier::keys`] ──▶ equal | differs still ──▶ dirty keys again
//! ```
//!
//! Invariant: a row counts as equal only once both sides were seen to have the same; one that could not be
//! compared, or is on its way once more, does not.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;

use crate::catalog::Catalog;
use crate::change::Key;
use crate::control::Ends;
use crate::names::TableId;
use crate::outbox::stuck::Stuck;
use crate::phase::Leads;
use crate::verify::{Options, Verifier, VerifyError};

/// How long rows that are written meanwhile are waited for.
const PATIENCE: Duration = Duration::from_secs(10);

/// How the rows that were carried compare.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Compared {
    pub rows: u64,
    pub equal: u64,
    pub missing: u64,
    pub extra: u64,
    pub different: u64,
    /// Written once more, and on their way.
    pub unsettled: u64,
    /// Why some were not compared: no more than one reason is kept.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

impl Compared {
    /// Both together.
    pub(super) fn and(self, other: Self) -> Self {
        Self {
            rows: self.rows + other.rows,
            equal: self.equal + other.equal,
            missing: self.missing + other.missing,
            extra: self.extra + other.extra,
            different: self.different + other.different,
            unsettled: self.unsettled + other.unsettled,
            error: self.error.or(other.error),
        }
    }

    /// Every row was seen to be equal.
    #[must_use]
    pub fn is_equal(&self) -> bool {
        self.rows == self.equal && self.error.is_none()
    }

    /// Seen to differ still: they are dirty keys again.
    pub(super) fn differing(&self) -> u64 {
        self.missing + self.extra + self.different
    }
}

/// As `crossfade repair` prints it.
impl fmt::Display for Compared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "compared {}   equal {}", self.rows, self.equal)?;
        for (count, what) in [
            (self.missing, "missing"),
            (self.extra, "extra"),
            (self.different, "different"),
            (self.unsettled, "on their way again"),
        ] {
            if 0 < count {
                write!(f, "   {what} {count}")?;
            }
        }
        self.error.as_ref().map_or(Ok(()), |error| write!(f, "   not all: {error}"))
    }
}

/// Connects once there is something to compare.
pub(super) struct Comparer<'a> {
    ends: &'a Ends,
    catalog: &'a Catalog,
    leads: Leads,
    verifier: Option<Verifier>,
    pub(super) compared: Compared,
}

impl<'a> Comparer<'a> {
    pub(super) fn new(ends: &'a Ends, catalog: &'a Catalog, leads: Leads) -> Self {
        Self { ends, catalog, leads, verifier: None, compared: Compared::default() }
    }

    pub(super) async fn compare(&mut self, carried: &[Stuck]) {
        let mut tables: BTreeMap<TableId, BTreeMap<[u8; 16], Key>> = BTreeMap::new();
        for entry in carried {
            // A TRUNCATE has no key; a key of another shape is of no row that is there now.
            let key = self.catalog.by_id(entry.table).zip(entry.key.clone());
            let key = key.and_then(|(table, raw)| Key::decode(raw, table).ok());
            if let Some(key) = key {
                tables.entry(entry.table).or_default().insert(key.hash.0, key);
            }
        }
        for (table, keys) in tables {
            self.compared.rows += keys.len() as u64;
            if let Err(error) = self.table(table, keys.into_values().collect()).await {
                // The next one connects anew.
                self.verifier = None;
                self.compared.error = Some(error.to_string());
            }
        }
    }

    async fn table(&mut self, table: TableId, keys: Vec<Key>) -> Result<(), VerifyError> {
        let Some(table) = self.catalog.by_id(table).map(Arc::clone) else { return Ok(()) };
        let verifier = match &mut self.verifier {
            Some(verifier) => verifier,
            missing => {
                let options = Options { patience: PATIENCE, max_rate: None, checksum: false };
                let Ends { from, to, limits } = self.ends;
                missing.insert(Verifier::connect(from, to, limits, options, self.leads).await?)
            }
        };
        let report = verifier.keys(&table, self.catalog, keys).await?;
        self.compared.equal += report.equal().saturating_sub(report.extra);
        self.compared.missing += report.missing;
        self.compared.extra += report.extra;
        self.compared.different += report.different;
        self.compared.unsettled += report.unsettled;
        Ok(())
    }
}
