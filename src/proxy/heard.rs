//! What only the primary can be told: dirty marks, and that its schema may have changed.
//!
//! Invariant: a mark is answered once it is durable on the primary; until then it is tried again,
//! since a mark that is lost would hide a difference.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::timeout;
use tracing::{error, warn};

use crate::backend::postgres::connect::{Connector, Link};
use crate::backend::postgres::control;
use crate::control::store::Nudge;
use crate::handoff::Notices;
use crate::names::TableName;

/// Acts on notices until it is aborted.
pub(super) async fn run(primary: Connector, notices: Arc<Notices>, nudge: Nudge, answer: Duration) {
    let mut link = Link::new(primary);
    loop {
        let gathered = notices.next().await;
        for (reason, tables) in gathered.by_reason() {
            mark(&mut link, &tables, reason, answer).await;
        }
        // There is seldom something to mark.
        link.discard();
        for waiting in gathered.waiting {
            // The session may have given up waiting; the mark stands all the same.
            let _ = waiting.send(());
        }
        nudge.look_now();
    }
}

async fn mark(link: &mut Link, tables: &[TableName], reason: &'static str, answer: Duration) {
    loop {
        match link.get().await {
            Ok(client) => {
                match timeout(answer, control::mark_dirty(client, tables, reason)).await {
                    Err(_) => {
                        warn!("could not mark a table dirty in time, will retry");
                        link.discard();
                    }
                    Ok(Ok(_)) => {
                        for table in tables {
                            error!(%table, reason, "table is dirty: its two sides may differ");
                        }
                        return;
                    }
                    Ok(Err(error)) => {
                        let code = error.code().map(|code| code.code().to_owned());
                        warn!(?code, "could not mark a table dirty, will retry");
                        link.discard();
                    }
                }
            }
            Err(error) => warn!(%error, "could not mark a table dirty, will retry"),
        }
        link.back_off().await;
    }
}
