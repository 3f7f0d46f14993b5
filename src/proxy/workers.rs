//! The tasks beside the sessions: what applies, what knows where things stand, what looks.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{oneshot, watch as channel};
use tokio::task::JoinSet;

use crate::admin::Fresh;
use crate::apply::{self, Applier, ApplyLimits, ApplyMetrics};
use crate::backend::mysql::connect::LinkLimits;
use crate::backend::postgres::connect::Connector;
use crate::catalog::naming::Naming;
use crate::config::{Config, LimitsConfig};
use crate::control::Ends;
use crate::control::attend::Attendant;
use crate::control::statements::{Recorder, StatementMetrics};
use crate::control::store::{Nudge, Published, Sidecar, Store, StoreMetrics};
use crate::handoff::{Jobs, LOST, Notices};
use crate::metrics::Metrics;
use crate::phase::Situation;
use crate::shadow::{self, Ground};

use super::watch::Watcher;
use super::{Parts, StartError, counting, heard, turns};

/// Tasks under way.
#[derive(Debug)]
pub(super) struct Workers {
    applier: Applier,
    /// From MySQL to PostgreSQL; it rests in every phase but one.
    reversed: Applier,
    /// Tasks that are ended as they are: nothing depends on their last step.
    others: JoinSet<()>,
    store: tokio::task::JoinHandle<()>,
    statements: tokio::task::JoinHandle<()>,
    stop_store: channel::Sender<bool>,
    notices: Arc<Notices>,
}

impl Workers {
    pub(super) fn start(
        config: &Config,
        parts: &Parts,
        metrics: &Metrics,
        [jobs, back]: [Jobs; 2],
    ) -> Result<Self, StartError> {
        let limits = &config.limits;
        let primary = Connector::new(config.from.clone())?;
        let apply_metrics = ApplyMetrics::register(metrics.own())?;
        let notices = jobs.notices();
        let applier = apply::start(
            primary.clone(),
            config.to.clone(),
            apply_limits(limits),
            parts.situation.subscribe(),
            jobs,
            apply_metrics.clone(),
        );
        let notices_back = back.notices();
        let reversed = apply::start_reversed(
            config.to.clone(),
            primary.clone(),
            apply_limits(limits),
            parts.beyond.subscribe(),
            back,
            apply_metrics.back(),
        );
        let ends = Ends { from: primary.clone(), to: config.to.clone(), limits: link(limits) };
        let recorder = Recorder::new(
            parts.flow.planners.seen(),
            parts.situation.subscribe(),
            ends.clone(),
            limits.poll,
            StatementMetrics::register(metrics.own())?,
        );
        let sidecar = sidecar(config, parts);
        let (store, nudge) = Store::new(
            ends.clone(),
            Naming::default(),
            parts.policies.subscribe(),
            Published {
                situation: parts.situation.clone(),
                beyond: parts.beyond.clone(),
                part_lease: parts.part_lease.clone(),
            },
            sidecar.clone(),
            StoreMetrics::register(metrics.own())?,
            Arc::clone(&parts.flow),
        );
        let (stop_store, store_stopped) = channel::channel(false);
        let mut others = JoinSet::new();
        let patience = limits.primary_timeout;
        others.spawn(heard::run(primary.clone(), Arc::clone(&notices), nudge.clone(), patience));
        others.spawn(heard::run(primary.clone(), notices_back, nudge.clone(), patience));
        let told = parts.reported.clone();
        others.spawn(turns::learn(ends.clone(), parts.situation.subscribe(), told));
        others.spawn(nudge_when_asked(nudge.clone(), parts.fresh.clone()));
        others.spawn(attendant(sidecar, primary, nudge, parts).run());
        others.spawn(parts.flow.lease.clone().watch());
        others.spawn(start_at_zero(apply_metrics.clone(), parts.situation.subscribe()));
        others.spawn(start_at_zero(apply_metrics, parts.beyond.subscribe()));
        let ground = ground(config, parts)?;
        others.spawn(shadow::run(ground, config.shadow.pool));
        look(&mut others, config, parts);
        others.spawn(counting::run(ends, parts.situation.subscribe(), parts.counts.clone()));
        let statements = tokio::spawn(recorder.run(store_stopped.clone()));
        let store = tokio::spawn(store.run(store_stopped));
        Ok(Self { applier, reversed, others, store, statements, stop_store, notices })
    }

    /// Applies what the sessions handed over, for `patience` at most, and ends everything.
    pub(super) async fn finish(mut self, patience: Duration) {
        // One that gave images up leaves its line, as one that died does: others say what is lost.
        let applied = self.applier.finish(patience).await;
        let applied = self.reversed.finish(patience).await && applied;
        let in_good_order = marked(&self.notices, patience).await && applied;
        if in_good_order {
            self.stop_store.send_replace(true);
        } else {
            self.store.abort();
            self.statements.abort();
        }
        if tokio::time::timeout(patience, &mut self.store).await.is_err() {
            self.store.abort();
        }
        if tokio::time::timeout(patience, &mut self.statements).await.is_err() {
            self.statements.abort();
        }
        self.others.shutdown().await;
    }
}

/// What does this sidecar's part when the primary changes.
fn attendant(sidecar: Sidecar, primary: Connector, nudge: Nudge, parts: &Parts) -> Attendant {
    Attendant {
        id: sidecar.id,
        primary,
        hold: parts.flow.hold.clone(),
        forth: parts.flow.handoff.clone(),
        back: parts.reverse.clone(),
        situation: parts.situation.subscribe(),
        lease: sidecar.lease,
        nudge,
        poll: sidecar.poll,
    }
}

/// What shadow reads need.
fn ground(config: &Config, parts: &Parts) -> Result<Ground, StartError> {
    Ok(Ground {
        reads: parts.flow.handoff.reads().clone(),
        from: Connector::new(config.from.clone())?,
        to: config.to.clone(),
        database: config.from.database.clone(),
        connect_timeout: config.limits.connect_timeout,
        lease: parts.flow.lease.clone(),
        situation: parts.situation.subscribe(),
        limits: parts.shadow.subscribe(),
    })
}

/// Waits until what was to be marked dirty so far is; false where the primary does not take it.
async fn marked(notices: &Notices, patience: Duration) -> bool {
    let (done, marked) = oneshot::channel();
    notices.dirty(Vec::new(), LOST, Some(done));
    matches!(tokio::time::timeout(patience, marked).await, Ok(Ok(())))
}

/// Every captured table's series are there before the first failure, which is then a rise.
async fn start_at_zero(metrics: ApplyMetrics, mut situation: channel::Receiver<Arc<Situation>>) {
    loop {
        let catalog = Arc::clone(&situation.borrow_and_update().catalog);
        metrics.start_at_zero(&catalog);
        if situation.changed().await.is_err() {
            return;
        }
    }
}

/// Health and ledger, for the admin port.
fn look(tasks: &mut JoinSet<()>, config: &Config, parts: &Parts) {
    let poll = config.limits.poll;
    let watcher = || Watcher {
        databases: parts.databases.subscribe(),
        pause: poll,
        health: parts.health.clone(),
        ledger: parts.ledger.clone(),
        situation: parts.situation.subscribe(),
        beyond: parts.beyond.subscribe(),
        fresh: parts.fresh.clone(),
    };
    tasks.spawn(watcher().primary());
    tasks.spawn(watcher().secondary(link(&config.limits)));
}

/// Somebody wants to know where the migration stands now.
async fn nudge_when_asked(nudge: Nudge, fresh: Fresh) {
    loop {
        fresh.phase_wanted().await;
        nudge.look_now();
    }
}

fn sidecar(config: &Config, parts: &Parts) -> Sidecar {
    Sidecar {
        id: parts.sidecar.to_string(),
        address: config.listen.address.to_string(),
        lease: parts.flow.lease.clone(),
        poll: config.limits.poll,
    }
}

fn link(limits: &LimitsConfig) -> LinkLimits {
    LinkLimits { connect_timeout: limits.connect_timeout, ..LinkLimits::default() }
}

fn apply_limits(limits: &LimitsConfig) -> ApplyLimits {
    ApplyLimits {
        workers: limits.workers,
        batch_rows: limits.batch_rows,
        strict: limits.strict,
        grace: limits.grace,
        write_timeout: limits.write_timeout,
        primary_timeout: limits.primary_timeout,
        backoff_max: limits.backoff_max,
        poll: limits.poll,
        fence_keep: limits.fence_keep,
        link: link(limits),
    }
}
