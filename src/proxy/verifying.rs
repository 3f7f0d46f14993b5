//! `POST /verify`: compares in this sidecar, beside everything else, one pass at a time.
//!
//! Invariant: whoever asks is answered at once; what was found stands in `/migration-status`, table by
//! table. A pass ends with the sidecar; what it has not written by then, it has not found.

use std::sync::Arc;

use tokio::task::JoinHandle;
use tracing::{info, warn};

use crate::admin::Teller;
use crate::config::Config;
use crate::control::Ends;
use crate::control::verify::{Failure, Pass};
use crate::names::TableName;
use crate::policy::Policies;
use crate::verify::{Options, Progress};

#[derive(Debug)]
pub(super) struct Verifying {
    task: Option<JoinHandle<()>>,
    teller: Teller,
}

impl Verifying {
    pub(super) fn new(teller: Teller) -> Self {
        Self { task: None, teller }
    }

    /// Over these tables, or all that are captured where none is named.
    pub(super) fn start(
        &mut self,
        config: &Config,
        policies: Policies,
        tables: Vec<TableName>,
    ) -> Result<(), String> {
        if self.task.as_ref().is_some_and(|task| !task.is_finished()) {
            return Err("a verify pass runs in this sidecar already".to_owned());
        }
        let ends = config.ends().map_err(|error| error.to_string())?;
        let options = config.verify.options();
        let teller = self.teller.clone();
        teller.begin();
        self.task = Some(tokio::spawn(async move {
            let ended = run(&ends, &policies, &tables, options, &teller).await;
            match &ended {
                Ok(outcome) => info!(tables_that_differ = outcome.differ, "verify ended"),
                Err(error) => warn!(%error, "verify ended early"),
            }
            teller.end(ended.map_err(|error| error.to_string()).and_then(Outcome::told));
        }));
        Ok(())
    }

    /// Nothing is half done: what a pass finds is written in one transaction.
    pub(super) fn finish(self) {
        if let Some(task) = self.task {
            task.abort();
        }
    }
}

/// What a pass came to.
#[derive(Debug, Default)]
struct Outcome {
    tables: usize,
    /// Tables that are not equal.
    differ: u64,
    /// Of these, those that could not be compared, and why not.
    failed: Vec<String>,
}

impl Outcome {
    fn told(self) -> Result<String, String> {
        match (self.failed.is_empty(), self.differ) {
            (false, _) => Err(self.failed.join("; ")),
            (true, 0) => Ok(format!("{} compared, all equal", tables(self.tables))),
            (true, differ) => Ok(format!("{} compared, {differ} not equal", tables(self.tables))),
        }
    }
}

fn tables(number: usize) -> String {
    if number == 1 { "1 table".to_owned() } else { format!("{number} tables") }
}

async fn run(
    ends: &Ends,
    policies: &Policies,
    names: &[TableName],
    options: Options,
    teller: &Teller,
) -> Result<Outcome, Failure> {
    let mut pass = Pass::begin(ends, policies, names, options).await?;
    let tables = pass.tables();
    let mut outcome = Outcome { tables: tables.len(), ..Outcome::default() };
    for table in tables {
        let schema = pass.schema(&table).join(", ");
        if !schema.is_empty() {
            warn!(table = %table.name, parts = %schema, "the schema differs");
        }
        let progress = Arc::new(Progress::default());
        teller.table(table.name.to_string(), Arc::clone(&progress));
        match pass.table(&table, &progress).await {
            Ok(report) => outcome.differ += u64::from(!report.is_equal()),
            Err(error) if error.is_unreachable() => return Err(error.into()),
            Err(error) => {
                warn!(table = %table.name, %error, "not compared");
                outcome.differ += 1;
                outcome.failed.push(format!("{}: not compared: {error}", table.name));
            }
        }
    }
    Ok(outcome)
}
