//! Tables change their mode while the sidecar runs: by a reload, or one at a time by a POST.
//!
//! Invariant: a table that is no longer migrated is marked dirty before its writes stop being carried
//! over; the mark outlives this process, so turning it on again cannot hide what was missed.

use std::sync::Arc;

use tracing::{info, warn};

use crate::names::TableName;
use crate::policy::{Mode, Policies};

use super::Running;

impl Running {
    /// Another mode for one table until the next reload or restart.
    pub(super) fn set_mode(&self, table: &TableName, mode: Mode) -> Result<(), String> {
        let policies = Arc::clone(&self.parts.policies.borrow());
        let before = policies.of(table).mode;
        if (before == Mode::Off) != (mode == Mode::Off) {
            return Err(
                "what is migrated is decided in proxy.yaml, and by `crossfade setup`".into()
            );
        }
        self.parts.policies.send_replace(Arc::new(policies.with_mode(table, mode)));
        info!(%table, mode = mode.as_str(), before = before.as_str(), "mode changed");
        Ok(())
    }

    /// The policies of a file that was read again.
    pub(super) fn take_policies(&self, policies: Policies) {
        let before = Arc::clone(&self.parts.policies.borrow());
        if *before == policies {
            return;
        }
        let situation = Arc::clone(&self.parts.situation.borrow());
        let left: Vec<TableName> = situation
            .catalog
            .carried()
            .filter(|table| policies.of(&table.name).mode == Mode::Off)
            .map(|table| table.name.clone())
            .collect();
        if !left.is_empty() {
            warn!(tables = left.len(), "tables are no longer migrated");
            // Nobody waits: the store publishes the policies at its next look, after the mark.
            self.parts.flow.handoff.notices().dirty(left, "mode_off", None);
        }
        self.parts.policies.send_replace(Arc::new(policies));
    }
}
