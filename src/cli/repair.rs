//! `crossfade repair`: what is stuck in the outbox, or was found different, is tried again at once, and
//! compared.

use std::io::Write;

use anyhow::anyhow;

use crate::catalog::naming::Naming;
use crate::config::Config;
use crate::control::repair::{RepairError, Wanted, repair};
use crate::control::store;
use crate::names::TableName;

use super::setup::ends;
use super::{Failure, Format, Outcome};

/// What a whole table would take is not done here.
const NO_COMPARISON: &str = "this carries what `crossfade verify` found different and tries again what is \
     stuck, and compares these rows; it does not look for others that differ";

/// Try again at once what could not be carried over.
#[derive(Debug, clap::Args)]
pub(super) struct Repair {
    /// Only what is stuck of this table.
    #[arg(long, value_name = "T")]
    table: Option<String>,
    /// Only this row, whether or not it is stuck: the key's value, or a JSON array of several columns'.
    #[arg(long, value_name = "K", requires = "table", allow_hyphen_values = true)]
    key: Option<String>,
    /// Only this entry of the outbox, by the number that is listed.
    #[arg(long, value_name = "N", conflicts_with = "key")]
    entry: Option<i64>,
    /// List what is stuck, and why.
    #[arg(long)]
    dry_run: bool,
}

impl Repair {
    /// Exits 0 when nothing is stuck (any more) and what was carried is equal on both sides, 1 when
    /// something is stuck or differs, 2 where there is no such table or key, 3 when the primary could not
    /// be reached. The work is the running sidecars'; the comparing is done here.
    pub(super) async fn run(
        self,
        config: &Config,
        format: Format,
        out: &mut impl Write,
    ) -> Result<Outcome, Failure> {
        let ends = ends(config)?;
        let client = ends.from.connect().await;
        let client = client.map_err(|error| Failure::Unreachable(anyhow!(error)))?;
        let views = store::observe_both(&client, &config.tables, &Naming::default()).await;
        let views = views.map_err(|error| refused(RepairError::Postgres(error)))?;
        if format == Format::Text && self.table.is_some() && self.key.is_none() {
            writeln!(std::io::stderr(), "{NO_COMPARISON}")?;
        }
        let table = self.table.as_deref().map(TableName::parse);
        let Self { key, entry, dry_run, .. } = self;
        let wanted = Wanted { table, key, entry, dry_run };
        let repaired = repair(&ends, &client, &views, &wanted).await.map_err(refused)?;
        match format {
            Format::Text => write!(out, "{repaired}")?,
            Format::Json => {
                let text = serde_json::to_string(&repaired).map_err(std::io::Error::from)?;
                writeln!(out, "{text}")?;
            }
        }
        Ok(if repaired.is_well() { Outcome::Well } else { Outcome::Found })
    }
}

/// The server's own words may quote a value: its code is shown.
fn refused(error: RepairError) -> Failure {
    match &error {
        RepairError::Postgres(source) => {
            let code = source.code().map_or("no connection", |code| code.code());
            Failure::Refused(anyhow!("{error} ({code})"))
        }
        RepairError::Layout(_) | RepairError::Phase(_) | RepairError::MySql(_) => {
            Failure::Refused(anyhow!(error))
        }
        _ => Failure::Usage(error.to_string()),
    }
}
