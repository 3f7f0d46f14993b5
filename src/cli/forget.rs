//! `crossfade forget`: statements that are sent no more are taken off the list.

use std::io::Write;

use anyhow::anyhow;
use serde_json::json;

use crate::config::Config;
use crate::control::statements;
use crate::plan::seen::Fingerprint;

use super::setup::ends;
use super::{Failure, Format, Outcome};

/// Take statements off the list that the application does not send any more; one that is sent again is
/// listed again.
#[derive(Debug, clap::Args)]
pub(super) struct Forget {
    /// As `crossfade status --statements` lists it.
    #[arg(required = true, value_name = "FINGERPRINT", value_parser = fingerprint)]
    fingerprints: Vec<Fingerprint>,
}

fn fingerprint(text: &str) -> Result<Fingerprint, String> {
    let wanted =
        || "16 hexadecimal digits are wanted, as `status --statements` lists them".to_owned();
    Some(text).filter(|text| text.len() == 16).and_then(Fingerprint::parse).ok_or_else(wanted)
}

impl Forget {
    /// Exits 0 when all of them were listed, 1 when one was not, 3 when PostgreSQL could not be reached.
    pub(super) async fn run(
        self,
        config: &Config,
        format: Format,
        out: &mut impl Write,
    ) -> Result<Outcome, Failure> {
        let ends = ends(config)?;
        let client =
            ends.from.connect().await.map_err(|error| Failure::Unreachable(anyhow!(error)))?;
        let gone = statements::forget(&client, &self.fingerprints).await.map_err(|error| {
            Failure::Refused(anyhow!(error).context("PostgreSQL refused to change its list"))
        })?;
        let gone = gone.unwrap_or_default();
        let unknown: Vec<String> = self
            .fingerprints
            .iter()
            .filter(|one| !gone.contains(one))
            .map(ToString::to_string)
            .collect();
        match format {
            Format::Text => {
                for one in &gone {
                    writeln!(out, "{one} is forgotten until it is sent again")?;
                }
                for one in &unknown {
                    writeln!(out, "{one} is not listed")?;
                }
            }
            Format::Json => {
                let gone: Vec<String> = gone.iter().map(ToString::to_string).collect();
                writeln!(out, "{}", json!({ "forgotten": gone, "unknown": unknown }))?;
            }
        }
        Ok(if unknown.is_empty() { Outcome::Well } else { Outcome::Found })
    }
}
