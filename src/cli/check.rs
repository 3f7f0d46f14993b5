//! `crossfade check`: what stands in the way of a migration.

use std::io::Write;

use crate::catalog::check::{Obstacle, Severity};
use crate::catalog::naming::Naming;
use crate::config::Config;
use crate::control::preflight;

use super::setup::{ends, failure, wanted};
use super::{Failure, Format, Outcome};

/// Look at both databases, every table and type, and list what would not migrate.
#[derive(Debug, clap::Args)]
pub(super) struct Check {}

impl Check {
    /// Exits 0 when nothing but warnings was found, 1 otherwise, 3 when a database could not be
    /// reached.
    pub(super) async fn run(
        self,
        config: &Config,
        format: Format,
        out: &mut impl Write,
    ) -> Result<Outcome, Failure> {
        let (ends, naming) = (ends(config)?, Naming::default());
        let found = preflight::check(&ends, &config.tables, &naming, wanted(config)).await;
        let found = found.map_err(failure)?;
        match format {
            Format::Text => {
                found.iter().try_for_each(|obstacle| writeln!(out, "{obstacle}"))?;
                if found.is_empty() {
                    writeln!(out, "nothing stands in the way")?;
                }
            }
            Format::Json => {
                writeln!(out, "{}", found.iter().map(json).collect::<serde_json::Value>())?;
            }
        }
        let bad = found.iter().any(|obstacle| obstacle.severity != Severity::Warning);
        Ok(if bad { Outcome::Found } else { Outcome::Well })
    }
}

fn json(obstacle: &Obstacle) -> serde_json::Value {
    serde_json::json!({
        "severity": obstacle.severity.as_str(),
        "table": obstacle.table.as_ref().map(ToString::to_string),
        "what": obstacle.what,
        "advice": obstacle.advice,
    })
}
