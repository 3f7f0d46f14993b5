//! `/metrics` of the comparing of both sides, whichever process compares: as the ledger has it.
//!
//! Invariant: nothing is counted here; each scrape shows what was last read from the primary.

use std::sync::Arc;

use prometheus::core::{Collector, Desc};
use prometheus::proto::MetricFamily;
use prometheus::{IntCounterVec, IntGaugeVec, Opts, Registry};
use tokio::sync::watch;

use super::report::Ledger;

/// Shows the ledger's lines.
struct Verified {
    ledger: watch::Receiver<Arc<Ledger>>,
    descriptions: Vec<Desc>,
}

fn vectors() -> prometheus::Result<(IntCounterVec, IntGaugeVec)> {
    let rows = Opts::new("verify_rows_total", "Rows that verify has compared, by what it found.");
    let at = Opts::new("verified_timestamp_seconds", "When the last pass over the table ended.");
    Ok((IntCounterVec::new(rows, &["table", "outcome"])?, IntGaugeVec::new(at, &["table"])?))
}

pub(super) fn register(
    registry: &Registry,
    ledger: watch::Receiver<Arc<Ledger>>,
) -> prometheus::Result<()> {
    let (rows, at) = vectors()?;
    let descriptions = [rows.desc(), at.desc()].into_iter().flatten().cloned().collect();
    registry.register(Box::new(Verified { ledger, descriptions }))
}

impl Collector for Verified {
    fn desc(&self) -> Vec<&Desc> {
        self.descriptions.iter().collect()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        // The same was built once when it was registered.
        let Ok((rows, at)) = vectors() else { return Vec::new() };
        let ledger = Arc::clone(&self.ledger.borrow());
        for (table, line) in &ledger.tables {
            let Some(verified) = &line.verified else { continue };
            let sums = &verified.sums;
            for (outcome, sum) in [
                ("match", sums.equal),
                ("missing", sums.missing),
                ("extra", sums.extra),
                ("different", sums.different),
            ] {
                rows.with_label_values(&[table.as_str(), outcome]).inc_by(sum);
            }
            at.with_label_values(&[table]).set(verified.timestamp);
        }
        [rows.collect(), at.collect()].concat()
    }
}
