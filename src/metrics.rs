//! All metrics of the process, composed.
//!
//! ```text
//! each module's metrics ──register──▶ [`Metrics`] ──gather──▶ GET /metrics, /migration-status
//! ```
//!
//! Invariant: every name that is Crossfade's own starts with `crossfade_`; the process's own
//! (`process_cpu_seconds_total`, …) keep the names that all exporters give them.

use prometheus::process_collector::ProcessCollector;
use prometheus::{IntGauge, Opts, Registry};

/// The registries, and the structs through which each module counts.
#[derive(Clone, Debug)]
pub struct Metrics {
    own: Registry,
    process: Registry,
}

impl Metrics {
    pub fn new() -> prometheus::Result<Self> {
        let own = Registry::new_custom(Some("crossfade".to_owned()), None)?;
        let process = Registry::new();
        process.register(Box::new(ProcessCollector::for_self()))?;
        build_info(&own)?;
        Ok(Self { own, process })
    }

    /// Where a module registers its struct.
    #[must_use]
    pub fn own(&self) -> &Registry {
        &self.own
    }

    /// Everything that GET /metrics shows.
    #[must_use]
    pub fn registries(&self) -> [Registry; 2] {
        [self.own.clone(), self.process.clone()]
    }
}

fn build_info(registry: &Registry) -> prometheus::Result<()> {
    let version = env!("CARGO_PKG_VERSION");
    let info = Opts::new("build_info", "Always 1; the label says which version runs.")
        .const_label("version", version);
    let gauge = IntGauge::with_opts(info)?;
    gauge.set(1);
    registry.register(Box::new(gauge))
}
