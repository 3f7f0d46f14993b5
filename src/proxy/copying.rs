//! `POST /backfill`: copies in this sidecar, beside everything else, one run at a time.
//!
//! Invariant: whoever asks is answered at once; how far it is stands in `/migration-status`. A run ends
//! with the sidecar, and another sidecar, or the command line, goes on where it was.

use tokio::sync::{oneshot, watch};
use tokio::task::{JoinHandle, JoinSet};
use tracing::{info, warn};

use crate::admin::{BackfillWanted, Teller};
use crate::backend::postgres::connect::Connector;
use crate::backfill::Progress;
use crate::config::Config;
use crate::control::backfill::{backfill, set_paused};
use crate::policy::Policies;

/// Requests to pause or resume under way at once, each with a connection.
const PAUSES_MAX: usize = 2;

#[derive(Debug)]
pub(super) struct Copying {
    teller: Teller,
    run: Option<(JoinHandle<()>, watch::Sender<bool>)>,
    pauses: JoinSet<()>,
}

impl Copying {
    pub(super) fn new(teller: Teller) -> Self {
        Self { teller, run: None, pauses: JoinSet::new() }
    }

    pub(super) fn start(
        &mut self,
        config: &Config,
        policies: Policies,
        wanted: BackfillWanted,
    ) -> Result<(), String> {
        if self.run.as_ref().is_some_and(|(task, _)| !task.is_finished()) {
            return Err("a backfill runs in this sidecar already".to_owned());
        }
        let ends = config.ends().map_err(|error| error.to_string())?;
        let mut options = config.backfill.options();
        options.max_rate = wanted.max_rate.or(options.max_rate);
        options.again = wanted.again;
        let (stop, stopped) = watch::channel(false);
        let teller = self.teller.clone();
        teller.begin();
        let task = tokio::spawn(async move {
            let progress = Progress::default();
            let tables = &wanted.tables[..];
            let ended = backfill(&ends, &policies, tables, options, &progress, stopped).await;
            match &ended {
                Ok(()) => info!("backfill ended"),
                Err(error) => warn!(%error, "backfill ended early"),
            }
            let rows: u64 = progress.snapshot().tables.iter().map(|table| table.rows).sum();
            let ended = ended.map_err(|error| error.to_string());
            teller.end(ended.map(|()| format!("looked at {rows} rows")));
        });
        self.run = Some((task, stop));
        Ok(())
    }

    /// For whichever process copies.
    pub(super) fn pause(
        &mut self,
        config: &Config,
        paused: bool,
        reply: oneshot::Sender<Result<(), String>>,
    ) {
        while self.pauses.try_join_next().is_some() {}
        if PAUSES_MAX <= self.pauses.len() {
            // Whoever asked may have given up waiting; so below.
            drop(reply.send(Err("busy with earlier requests".to_owned())));
            return;
        }
        let from = config.from.clone();
        self.pauses.spawn(async move {
            let done = async {
                let connector = Connector::new(from).map_err(|error| error.to_string())?;
                let client = connector.connect().await.map_err(|error| error.to_string())?;
                // The server's own words are not needed: this statement holds no value of a row.
                set_paused(&client, paused).await.map_err(|error| error.to_string())
            };
            drop(reply.send(done.await));
        });
    }

    /// Lets the chunks under way end.
    pub(super) async fn finish(self, limit: std::time::Duration) {
        let Some((task, stop)) = self.run else { return };
        stop.send_replace(true);
        if tokio::time::timeout(limit, task).await.is_err() {
            warn!("backfill was still copying at the end of limits.shutdown");
        }
    }
}
