//! The coordinator in a sidecar: `POST /switchover`, `/rollback` and `/complete`, and what is shown about them.
//!
//! Invariant: whoever asks is answered. One that ends with the sidecar is undone, or finished by others:
//! the coordinator may die anywhere ([`crate::control::switchover`]).

use std::collections::BTreeMap;
use std::future::Future;
use std::sync::Arc;

use tokio::sync::oneshot;
use tokio::task::JoinSet;
use tracing::info;

use crate::admin::Switching as Wanted;
use crate::config::Config;
use crate::control::statements;
use crate::control::switchover::{self, SwitchError};
use crate::plan::seen::{Fingerprint, Seen};
use crate::policy::Policies;

/// Looks and changes under way at once, each with a few connections.
const UNDER_WAY_MAX: usize = 4;

#[derive(Debug, Default)]
pub(super) struct Switching(JoinSet<()>);

impl Switching {
    pub(super) fn start(&mut self, config: &Config, policies: Policies, wanted: Wanted) {
        while self.0.try_join_next().is_some() {}
        let busy = UNDER_WAY_MAX <= self.0.len();
        let ends = match config.ends() {
            _ if busy => Err("busy with others".to_owned()),
            ends => ends.map_err(|error| error.to_string()),
        };
        let users = config.listen.users.iter();
        let users: BTreeMap<String, String> =
            users.map(|(name, secret)| (name.clone(), secret.reveal().to_owned())).collect();
        match (wanted, ends) {
            (Wanted::Look { group, reply }, Ok(ends)) => self
                .run(reply, async move { switchover::look(&ends, &policies, &users, group).await }),
            (Wanted::Record { reply }, Ok(ends)) => {
                self.run(reply, async move { switchover::record(&ends).await });
            }
            (Wanted::Change { options, reply }, Ok(ends)) => self.run(reply, async move {
                let direction = options.direction.as_str();
                let tell = |told: &switchover::Told| info!(direction, "{told}");
                switchover::run(&ends, &policies, &users, &options, &tell).await
            }),
            (Wanted::Complete { wanted, reply }, Ok(ends)) => {
                self.run(reply, async move { switchover::complete(&ends, &users, &wanted).await });
            }
            // Whoever asked may have given up waiting.
            (Wanted::Look { reply, .. }, Err(error)) => drop(reply.send(Err(error))),
            (Wanted::Record { reply }, Err(error)) => drop(reply.send(Err(error))),
            (Wanted::Change { reply, .. } | Wanted::Complete { reply, .. }, Err(error)) => {
                drop(reply.send(Err(error)));
            }
        }
    }

    /// Takes statements off the list, which stands in the way of a switchover.
    pub(super) fn forget(
        &mut self,
        config: &Config,
        seen: Arc<Seen>,
        fingerprints: Vec<Fingerprint>,
        reply: oneshot::Sender<Result<Vec<Fingerprint>, String>>,
    ) {
        while self.0.try_join_next().is_some() {}
        let ends = match config.ends() {
            _ if UNDER_WAY_MAX <= self.0.len() => Err("busy with others".to_owned()),
            ends => ends.map_err(|error| error.to_string()),
        };
        self.0.spawn(async move {
            let done = async {
                let client = ends?.from.connect().await.map_err(|error| error.to_string())?;
                // The server's own words are not needed: its code says enough.
                let code = |error: tokio_postgres::Error| {
                    let code = error.code().map_or("lost the connection", |code| code.code());
                    format!("PostgreSQL refused: {code}")
                };
                let gone = statements::forget(&client, &fingerprints).await.map_err(code)?;
                seen.forget(&fingerprints);
                Ok(gone.unwrap_or_default())
            };
            drop(reply.send(done.await));
        });
    }

    fn run<T: Send + 'static>(
        &mut self,
        reply: oneshot::Sender<Result<T, String>>,
        work: impl Future<Output = Result<T, SwitchError>> + Send + 'static,
    ) {
        self.0.spawn(async move {
            let done = work.await.map_err(|error| error.to_string());
            drop(reply.send(done));
        });
    }
}
