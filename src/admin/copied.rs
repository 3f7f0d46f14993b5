//! `/metrics` of the copying of old rows, whichever process copies: as the ledger has it.
//!
//! Invariant: nothing is counted here; each scrape shows what was last read from the primary.

use std::sync::Arc;

use prometheus::core::{Collector, Desc};
use prometheus::proto::MetricFamily;
use prometheus::{IntCounterVec, IntGaugeVec, Opts, Registry};
use tokio::sync::watch;

use super::report::Ledger;

/// Shows the ledger's lines.
struct Copied {
    ledger: watch::Receiver<Arc<Ledger>>,
    descriptions: Vec<Desc>,
}

type Vectors = (IntCounterVec, IntCounterVec, IntGaugeVec);

fn vectors() -> prometheus::Result<Vectors> {
    let counter = |name: &str, help: &str| IntCounterVec::new(Opts::new(name, help), &["table"]);
    let waits =
        Opts::new("backfill_waits", "1 while copying waits, for a bound or because it is paused.");
    Ok((
        counter(
            "backfill_rows_total",
            "Rows that were there before, looked at and copied if absent.",
        )?,
        counter(
            "backfill_refused_total",
            "Rows that were there before and that MySQL did not take: they are in the outbox.",
        )?,
        IntGaugeVec::new(waits, &["table"])?,
    ))
}

pub(super) fn register(
    registry: &Registry,
    ledger: watch::Receiver<Arc<Ledger>>,
) -> prometheus::Result<()> {
    let (rows, refused, waits) = vectors()?;
    let descriptions = [rows.desc(), refused.desc(), waits.desc()];
    let descriptions = descriptions.into_iter().flatten().cloned().collect();
    registry.register(Box::new(Copied { ledger, descriptions }))
}

impl Collector for Copied {
    fn desc(&self) -> Vec<&Desc> {
        self.descriptions.iter().collect()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        // The same was built once when it was registered.
        let Ok((rows, refused, waits)) = vectors() else { return Vec::new() };
        let ledger = Arc::clone(&self.ledger.borrow());
        for (table, line) in &ledger.tables {
            let Some(copied) = &line.backfill else { continue };
            rows.with_label_values(&[table]).inc_by(copied.rows);
            refused.with_label_values(&[table]).inc_by(copied.refused);
            waits.with_label_values(&[table]).set(i64::from(copied.waits.is_some()));
        }
        [rows.collect(), refused.collect(), waits.collect()].concat()
    }
}
