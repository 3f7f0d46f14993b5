//! What `/metrics` shows of phase and state.

use prometheus::{IntGauge, IntGaugeVec, Opts, Registry};

use crate::phase::Phase;

/// Gauges that the store sets with each look.
#[derive(Clone, Debug)]
pub struct StoreMetrics {
    phase: IntGaugeVec,
    pub(super) epoch: IntGauge,
    pub(super) dirty_tables: IntGauge,
    pub(super) watched_tables: IntGauge,
    pub(super) sidecars: IntGauge,
    pub(super) catalog_version: IntGauge,
}

impl StoreMetrics {
    /// Starts every phase at zero but the first.
    pub fn register(registry: &Registry) -> prometheus::Result<Self> {
        let gauge = |name: &str, help: &str| {
            let gauge = IntGauge::new(name, help)?;
            registry.register(Box::new(gauge.clone()))?;
            Ok::<_, prometheus::Error>(gauge)
        };
        let opts = Opts::new("phase", "1 for the phase that the migration is in.");
        let phase = IntGaugeVec::new(opts, &["phase"])?;
        registry.register(Box::new(phase.clone()))?;
        let metrics = Self {
            phase,
            epoch: gauge("epoch", "Grows with each switchover, rollback and failover.")?,
            dirty_tables: gauge("dirty_tables", "Tables of which the two sides may differ.")?,
            watched_tables: gauge(
                "watched_tables",
                "Tables without triggers of which writes past all sidecars would be noticed now, as this one judges.",
            )?,
            sidecars: gauge("sidecars", "Sidecars whose lease is current, this one included.")?,
            catalog_version: gauge("catalog_version", "Schemas this sidecar has seen so far.")?,
        };
        metrics.set_phase(Phase::Setup);
        Ok(metrics)
    }

    pub(super) fn set_phase(&self, phase: Phase) {
        for known in Phase::ALL {
            self.phase.with_label_values(&[known.as_str()]).set(i64::from(known == phase));
        }
    }
}
