//! `POST /repair`: asks and watches beside everything else, a few at once.
//!
//! Invariant: whoever asks is answered, and one that ends with the sidecar is told so.

use tokio::sync::oneshot;
use tokio::task::JoinSet;

use crate::admin::Denial;
use crate::config::Config;
use crate::control::Ends;
use crate::control::repair::{self, RepairError, Repaired, Wanted};
use crate::phase::Views;

/// Repairs under way at once, each with a connection.
const REPAIRS_MAX: usize = 2;

#[derive(Debug, Default)]
pub(super) struct Repairs(JoinSet<()>);

impl Repairs {
    pub(super) fn start(
        &mut self,
        config: &Config,
        views: Views,
        wanted: Wanted,
        reply: oneshot::Sender<Result<Repaired, Denial>>,
    ) {
        while self.0.try_join_next().is_some() {}
        if REPAIRS_MAX <= self.0.len() {
            // Whoever asked may have given up waiting; so below.
            drop(reply.send(Err(Denial::Later("busy with other repairs".to_owned()))));
            return;
        }
        let ends = config.ends().map_err(|error| Denial::Later(error.to_string()));
        self.0.spawn(async move {
            let repaired = match ends {
                Ok(ends) => run(&ends, &views, &wanted).await,
                Err(denial) => Err(denial),
            };
            drop(reply.send(repaired));
        });
    }
}

async fn run(ends: &Ends, views: &Views, wanted: &Wanted) -> Result<Repaired, Denial> {
    let client = ends.from.connect().await.map_err(|error| Denial::Later(error.to_string()))?;
    repair::repair(ends, &client, views, wanted).await.map_err(|error| match &error {
        RepairError::Postgres(source) => {
            let code = source.code().map_or("no connection", |code| code.code());
            Denial::Later(format!("{error} ({code})"))
        }
        RepairError::Layout(_) | RepairError::Phase(_) | RepairError::MySql(_) => {
            Denial::Later(error.to_string())
        }
        _ => Denial::Unknown(error.to_string()),
    })
}
