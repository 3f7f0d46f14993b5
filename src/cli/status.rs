//! `crossfade status`: what the sidecar at `admin.address` says about itself.

use std::io::{IsTerminal, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use anyhow::{Context, anyhow};
use serde::de::DeserializeOwned;

use crate::admin::client;
use crate::admin::{Report, StatementReport, Status as Verdict};
use crate::config::Config;

use super::{Failure, Format, Outcome};

/// Between two looks of `--watch`.
const LOOK_AGAIN: Duration = Duration::from_secs(1);
/// Clears a terminal and moves to its first line.
const CLEAR: &str = "\x1b[2J\x1b[H";

/// Phase, per-table state, lag and errors of the running sidecar.
#[derive(Debug, clap::Args)]
pub(super) struct Status {
    /// Look again every second, until interrupted.
    #[arg(long)]
    watch: bool,
    /// List the statements that the sidecar has seen, without their values, and what becomes of each.
    #[arg(long)]
    statements: bool,
}

impl Status {
    /// Exits 0 when all is well, 1 when there are errors, stuck entries or dirty tables (with
    /// `--statements`: a write that is not carried over), 3 when no sidecar answers.
    pub(super) async fn run(
        self,
        config: &Config,
        format: Format,
        out: &mut impl Write,
    ) -> Result<Outcome, Failure> {
        loop {
            let address = config.admin.address;
            let (text, outcome) = if self.statements {
                let list: Vec<StatementReport> =
                    ask(address, "/statements").await.map_err(Failure::Unreachable)?;
                statements(&list, format)?
            } else {
                let report: Report =
                    ask(address, "/migration-status").await.map_err(Failure::Unreachable)?;
                (print(&report, format)?, outcome(&report))
            };
            if self.watch && format == Format::Text && std::io::stdout().is_terminal() {
                write!(out, "{CLEAR}")?;
            }
            out.write_all(text.as_bytes())?;
            out.flush()?;
            if !self.watch {
                return Ok(outcome);
            }
            tokio::time::sleep(LOOK_AGAIN).await;
        }
    }
}

async fn ask<T: DeserializeOwned>(address: SocketAddr, path: &str) -> anyhow::Result<T> {
    let address = reachable(address);
    let answer = client::get(address, path).await;
    let answer = answer.with_context(|| format!("no sidecar answers at {address}"))?;
    serde_json::from_str(&answer.body)
        .map_err(|_| anyhow!("what answers at {address} is not Crossfade"))
}

/// Where a server that listens on every address is reached from here.
fn reachable(address: SocketAddr) -> SocketAddr {
    let ip = match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::new(ip, address.port())
}

fn print(report: &Report, format: Format) -> std::io::Result<String> {
    Ok(match format {
        Format::Text => report.to_string(),
        Format::Json => serde_json::to_string(report)? + "\n",
    })
}

fn outcome(report: &Report) -> Outcome {
    let dirty = report.tables.values().any(|table| table.dirty.is_some());
    match report.status == Verdict::Errors || report.lag.stuck > 0 || dirty {
        true => Outcome::Found,
        false => Outcome::Well,
    }
}

fn statements(list: &[StatementReport], format: Format) -> std::io::Result<(String, Outcome)> {
    let text = match format {
        Format::Text => list.iter().map(|line| format!("{line}\n")).collect(),
        Format::Json => serde_json::to_string(list)? + "\n",
    };
    let lost = list.iter().any(|line| line.reason.is_some());
    Ok((text, if lost { Outcome::Found } else { Outcome::Well }))
}
