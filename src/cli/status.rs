//! `crossfade status`: what the sidecar at `admin.address` says about itself, or what the databases say.
//!
//! ```text
//! admin.address answers ──▶ /migration-status, /statements
//!          └──no answer──▶ PostgreSQL (and a note on standard error)
//! ```

use std::io::{IsTerminal, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use anyhow::{Context, anyhow};
use serde::de::DeserializeOwned;

use crate::admin::client;
use crate::admin::{Ledger, Report, StatementReport};
use crate::backend::mysql::Link;
use crate::catalog::naming::Naming;
use crate::config::Config;
use crate::control::{statements, store};
use crate::proxy::ledger;

use super::setup::ends;
use super::{Failure, Format, Outcome};

/// Between two looks of `--watch`.
const LOOK_AGAIN: Duration = Duration::from_secs(1);
/// Clears a terminal and moves to its first line.
const CLEAR: &str = "\x1b[2J\x1b[H";

/// Phase, per-table state, lag and errors: of the running sidecar, or as the databases have them.
#[derive(Debug, clap::Args)]
pub(super) struct Status {
    /// Look again every second, until interrupted.
    #[arg(long)]
    watch: bool,
    /// List the statements that all sidecars have seen, without their values, and what becomes of each.
    #[arg(long)]
    statements: bool,
}

/// Why there is no answer from a sidecar.
enum Silence {
    /// Nobody is there.
    Nobody(anyhow::Error),
    /// Somebody else is.
    Stranger(anyhow::Error),
}

impl Status {
    /// Exits 0 when all is well, 1 when there is a problem, there are stuck entries or dirty tables, or a database does
    /// not answer; errors that are over leave only their count (with `--statements`: a write that is not carried over), 3 when neither a sidecar nor the primary
    /// answers (with `--statements`: when no sidecar does and the primary has no list).
    pub(super) async fn run(
        self,
        config: &Config,
        format: Format,
        out: &mut impl Write,
    ) -> Result<Outcome, Failure> {
        loop {
            let (text, outcome, note) = self.look(config, format).await?;
            if self.watch && format == Format::Text && std::io::stdout().is_terminal() {
                write!(out, "{CLEAR}")?;
            }
            if let Some(note) = note {
                writeln!(std::io::stderr(), "{note}")?;
            }
            out.write_all(text.as_bytes())?;
            out.flush()?;
            if !self.watch {
                return Ok(outcome);
            }
            tokio::time::sleep(LOOK_AGAIN).await;
        }
    }

    /// What to print, the exit code it would mean, and what to tell beside it.
    async fn look(
        &self,
        config: &Config,
        format: Format,
    ) -> Result<(String, Outcome, Option<String>), Failure> {
        let address = config.admin.address;
        if self.statements {
            let list: Result<Vec<StatementReport>, _> = ask(address, "/statements").await;
            let (list, note) = match list {
                Ok(list) => (list, None),
                Err(Silence::Stranger(error)) => return Err(Failure::Unreachable(error)),
                Err(Silence::Nobody(error)) => {
                    let note = format!("{error:#}; this is what PostgreSQL's list says");
                    (read_statements(config, error).await?, Some(note))
                }
            };
            return Ok((print_statements(&list, format)?, lost(&list), note));
        }
        let (report, note) = match ask::<Report>(address, "/migration-status?fresh=true").await {
            Ok(report) => (report, None),
            Err(Silence::Stranger(error)) => return Err(Failure::Unreachable(error)),
            Err(Silence::Nobody(error)) => {
                (read(config).await?, Some(format!("{error:#}; this is what the databases say")))
            }
        };
        let text = match format {
            Format::Text => report.to_string(),
            Format::Json => serde_json::to_string(&report).map_err(std::io::Error::from)? + "\n",
        };
        Ok((text, outcome(&report), note))
    }
}

async fn ask<T: DeserializeOwned>(address: SocketAddr, path: &str) -> Result<T, Silence> {
    let address = reachable(address);
    let answer = client::get(address, path).await;
    let answer = answer
        .with_context(|| format!("no sidecar answers at {address}"))
        .map_err(Silence::Nobody)?;
    serde_json::from_str(&answer.body)
        .map_err(|_| Silence::Stranger(anyhow!("what answers at {address} is not Crossfade")))
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

/// The list on the primary; `silence` where there is none.
async fn read_statements(
    config: &Config,
    silence: anyhow::Error,
) -> Result<Vec<StatementReport>, Failure> {
    let ends = ends(config)?;
    let client = ends.from.connect().await.map_err(|error| Failure::Unreachable(anyhow!(error)))?;
    let refused = |error: tokio_postgres::Error| {
        Failure::Refused(
            anyhow!(error).context("PostgreSQL refused to show its list of statements"),
        )
    };
    let lines = statements::read(&client).await.map_err(refused)?;
    let lines = lines.ok_or(Failure::Unreachable(silence))?;
    Ok(lines.into_iter().map(StatementReport::from).collect())
}

/// As the databases have it: counts of errors are a sidecar's own.
async fn read(config: &Config) -> Result<Report, Failure> {
    let ends = ends(config)?;
    if let Ok(Some(situation)) = store::observe_alone(&ends).await {
        // PostgreSQL has no say any more.
        let read = Report::new(&situation.views(&[]), &Ledger::default(), &[]);
        return Ok(Report { source: Some("databases".to_owned()), ..read });
    }
    let client = ends.from.connect().await.map_err(|error| Failure::Unreachable(anyhow!(error)))?;
    let refused = |error: tokio_postgres::Error| {
        Failure::Refused(anyhow!(error).context("PostgreSQL refused to say where things stand"))
    };
    let views = store::observe_both(&client, &config.tables, &Naming::default()).await;
    let views = views.map_err(refused)?;
    let mut ledger = ledger::read(&client).await.map_err(refused)?;
    let beyond = async {
        let mut link = Link::connect(&ends.to, &ends.limits).await?;
        match views.led_by_mysql().is_empty() {
            true => Ok(None),
            false => ledger::read_beyond(&mut link).await.map(Some),
        }
    };
    let mysql = match beyond.await {
        Ok(beyond) => {
            if let Some(beyond) = beyond {
                ledger::take_beyond(&mut ledger, &views, beyond);
            }
            None
        }
        Err(error) => {
            let error = anyhow!(error).context(format!("MySQL at {} does not answer", ends.to));
            Some(format!("{error:#}"))
        }
    };
    let read = Report::new(&views, &ledger, &[]);
    let unanswered = mysql.into_iter().collect();
    Ok(Report { source: Some("databases".to_owned()), unanswered, ..read })
}

fn outcome(report: &Report) -> Outcome {
    let dirty = report.tables.values().any(|table| table.dirty.is_some());
    let down = !report.unanswered.is_empty();
    match report.problem.is_some() || report.lag.stuck > 0 || dirty || down {
        true => Outcome::Found,
        false => Outcome::Well,
    }
}

fn print_statements(list: &[StatementReport], format: Format) -> std::io::Result<String> {
    Ok(match format {
        Format::Text => list.iter().map(|line| format!("{line}\n")).collect(),
        Format::Json => serde_json::to_string(list)? + "\n",
    })
}

fn lost(list: &[StatementReport]) -> Outcome {
    match list.iter().any(|line| line.reason.is_some()) {
        true => Outcome::Found,
        false => Outcome::Well,
    }
}
