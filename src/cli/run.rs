//! `crossfade run`: the sidecar, until it is told to end.

use std::path::Path;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::{mpsc, oneshot};
use tracing::info;

use crate::admin::Request;
use crate::config::Config;
use crate::proxy::Proxy;
use crate::telemetry::Telemetry;

use super::{Failure, Outcome};

/// The sidecar itself. SIGHUP reads the configuration again; SIGTERM ends it.
#[derive(Debug, clap::Args)]
pub(super) struct Run {}

impl Run {
    /// Exits 0 after SIGTERM or SIGINT, 2 when it cannot start as configured.
    pub(super) async fn run(self, config: Config, file: &Path) -> Result<Outcome, Failure> {
        let signals = Signals::listen()?;
        let telemetry = Telemetry::start(&config.log).map_err(|error| Failure::Start {
            file: file.to_owned(),
            error: anyhow::Error::new(error).context("log.file"),
        })?;
        let proxy = Proxy::start(config, file.to_owned(), Some(telemetry)).await;
        let proxy = proxy.map_err(|error| Failure::Start {
            file: file.to_owned(),
            error: anyhow::Error::new(error),
        })?;
        let stop = proxy.stopper();
        let requests = proxy.published().requests.clone();
        tokio::select! {
            () = proxy.ended() => {}
            // The second signal to end does not wait for anyone.
            () = signals.serve(requests, || {
                stop.send_replace(true);
            }) => {}
        }
        Ok(Outcome::Well)
    }
}

struct Signals {
    hang_up: Signal,
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    fn listen() -> std::io::Result<Self> {
        Ok(Self {
            hang_up: signal(SignalKind::hangup())?,
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
        })
    }

    /// Returns at the second signal to end.
    async fn serve(mut self, requests: mpsc::Sender<Request>, end: impl Fn()) {
        let mut ending = false;
        loop {
            tokio::select! {
                _ = self.hang_up.recv() => {
                    // The answer is in the log; a reload already waiting serves this one too.
                    drop(requests.try_send(Request::Reload { reply: oneshot::channel().0 }));
                    continue;
                }
                _ = self.terminate.recv() => {}
                _ = self.interrupt.recv() => {}
            }
            if ending {
                return;
            }
            info!("ending: open transactions may finish");
            ending = true;
            end();
        }
    }
}
