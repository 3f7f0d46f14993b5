//! `POST /verify`: compares in this sidecar, beside everything else, one pass at a time.
//!
//! Invariant: whoever asks is answered at once; what was found stands in `/migration-status`, table by
//! table. A pass ends with the sidecar; what it has not written by then, it has not found.

use std::sync::Arc;

use tokio::task::JoinHandle;
use tracing::{info, warn};

use crate::config::Config;
use crate::control::Ends;
use crate::control::verify::{Failure, Pass};
use crate::names::TableName;
use crate::policy::Policies;
use crate::verify::{Options, Progress};

#[derive(Debug, Default)]
pub(super) struct Verifying(Option<JoinHandle<()>>);

impl Verifying {
    /// Over these tables, or all that are captured where none is named.
    pub(super) fn start(
        &mut self,
        config: &Config,
        policies: Policies,
        tables: Vec<TableName>,
    ) -> Result<(), String> {
        if self.0.as_ref().is_some_and(|task| !task.is_finished()) {
            return Err("a verify pass runs in this sidecar already".to_owned());
        }
        let ends = config.ends().map_err(|error| error.to_string())?;
        let options = config.verify.options();
        self.0 = Some(tokio::spawn(async move {
            match run(&ends, &policies, &tables, options).await {
                Ok(differ) => info!(tables_that_differ = differ, "verify ended"),
                Err(error) => warn!(%error, "verify ended early"),
            }
        }));
        Ok(())
    }

    /// Nothing is half done: what a pass finds is written in one transaction.
    pub(super) fn finish(self) {
        if let Some(task) = self.0 {
            task.abort();
        }
    }
}

/// How many tables are not equal.
async fn run(
    ends: &Ends,
    policies: &Policies,
    names: &[TableName],
    options: Options,
) -> Result<u64, Failure> {
    let mut pass = Pass::begin(ends, policies, names, options).await?;
    let mut differ = 0;
    for table in pass.tables() {
        let schema = pass.schema(&table).join(", ");
        if !schema.is_empty() {
            warn!(table = %table.name, parts = %schema, "the schema differs");
        }
        match pass.table(&table, &Arc::new(Progress::default())).await {
            Ok(report) => differ += u64::from(!report.is_equal()),
            Err(error) if error.is_unreachable() => return Err(error.into()),
            Err(error) => {
                warn!(table = %table.name, %error, "not compared");
                differ += 1;
            }
        }
    }
    Ok(differ)
}
