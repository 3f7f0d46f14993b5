//! What the applier hears from sessions and only the primary can be told: dirty marks, a changed schema.
//!
//! Invariant: a mark is answered once it is durable on the primary, and marks are written in the order
//! they came, so that a session that was answered can rely on it.

use tokio::sync::mpsc;
use tracing::{error, warn};

use crate::apply::Signal;
use crate::backend::postgres::connect::{Connector, Link};
use crate::backend::postgres::control;
use crate::control::store::Nudge;
use crate::names::TableName;

/// Acts on signals until their senders are gone, or until it is aborted.
pub(super) async fn run(
    primary: Connector,
    mut signals: mpsc::UnboundedReceiver<Signal>,
    nudge: Nudge,
) {
    let mut link = Link::new(primary);
    while let Some(signal) = signals.recv().await {
        match signal {
            Signal::Reload => nudge.look_now(),
            Signal::Dirty { tables, reason, done } => {
                mark(&mut link, &tables, reason).await;
                // The session may have given up waiting; the mark stands all the same.
                let _ = done.send(());
                nudge.look_now();
            }
        }
    }
}

/// Tries until it is written: a mark that is lost would hide a difference.
async fn mark(link: &mut Link, tables: &[TableName], reason: &'static str) {
    loop {
        match link.get().await {
            Ok(client) => match control::mark_dirty(client, tables, reason).await {
                Ok(_) => {
                    for table in tables {
                        error!(%table, reason, "table is dirty: its two sides may differ");
                    }
                    return;
                }
                Err(error) => {
                    let code = error.code().map(|code| code.code().to_owned());
                    warn!(?code, "could not mark a table dirty, will retry");
                    link.discard();
                }
            },
            Err(error) => warn!(%error, "could not mark a table dirty, will retry"),
        }
        link.back_off().await;
    }
}
