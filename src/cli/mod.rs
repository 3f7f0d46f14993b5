//! The command line: one verb, one file; results on standard output, messages on standard error.
//!
//! ```text
//! arguments ──clap──▶ Verb ──run(config, out)──▶ Outcome ──▶ exit code
//!                                   └──▶ Failure ──▶ message and exit code
//! ```
//!
//! Invariant: the exit code says what happened, whatever the output format: 0 done and well, 1 done
//! and something found, 2 usage or configuration, 3 a database (or the sidecar) was not reached.

mod abandon;
mod ask;
mod backfill;
mod check;
mod complete;
mod completions;
mod demo;
mod forget;
mod man;
mod repair;
mod run;
mod setup;
mod status;
mod switchover;
mod verify;

use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{CommandFactory, Parser, Subcommand, ValueEnum};

use crate::config::{Config, ConfigError};

/// Carries an auth service's data from PostgreSQL to MySQL while the service runs.
#[derive(Debug, Parser)]
#[command(name = "crossfade", version = VERSION)]
struct Arguments {
    #[command(subcommand)]
    verb: Verb,
    #[command(flatten)]
    shared: Shared,
}

/// What runs: the number, the commit it was built from, and what was chosen at build time.
const VERSION: &str = concat!(
    env!("CARGO_PKG_VERSION"),
    " (",
    env!("CROSSFADE_BUILT_FROM"),
    "; features: ",
    env!("CROSSFADE_FEATURES"),
    ")"
);

/// What every verb takes.
#[derive(Debug, clap::Args)]
struct Shared {
    /// The configuration; proxy.yaml in the project is its commented reference.
    #[arg(long, global = true, env = "CROSSFADE_CONFIG", value_name = "FILE")]
    #[arg(default_value = "proxy.yaml")]
    config: PathBuf,
    /// How results are printed.
    #[arg(long, global = true, value_enum, default_value_t = Format::Text)]
    format: Format,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Format {
    Text,
    Json,
}

#[derive(Debug, Subcommand)]
enum Verb {
    Abandon(abandon::Abandon),
    Backfill(backfill::Backfill),
    Check(check::Check),
    Complete(complete::Complete),
    Completions(completions::Completions),
    Man(man::Man),
    Run(run::Run),
    Setup(setup::Setup),
    Demo(demo::Demo),
    Forget(forget::Forget),
    Repair(repair::Repair),
    Rollback(switchover::Rollback),
    Status(status::Status),
    Switchover(switchover::Switchover),
    Verify(verify::Verify),
}

/// How a verb that did its work ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outcome {
    Well,
    /// Something was found: a difference, an obstacle, an error.
    Found,
}

/// Why a verb could not do its work.
#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// What the configuration asks for cannot be had: a port in use, a certificate that is none.
    #[error("{}: {error:#}", file.display())]
    Start { file: PathBuf, error: anyhow::Error },
    /// What the arguments name is not there.
    #[error("{0}")]
    Usage(String),
    /// A database or the sidecar could not be reached, or refused the login.
    #[error("{0:#}")]
    Unreachable(anyhow::Error),
    /// A database said no.
    #[error("{0:#}")]
    Refused(anyhow::Error),
    #[error("{0}")]
    Output(#[from] io::Error),
}

impl Failure {
    /// No `_` arm: a new failure has to choose its code.
    fn code(&self) -> u8 {
        match self {
            Self::Output(_) | Self::Refused(_) => 1,
            Self::Config(_) | Self::Start { .. } | Self::Usage(_) => 2,
            Self::Unreachable(_) => 3,
        }
    }
}

/// Reads the process's arguments and does what they say.
#[must_use]
pub fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return complain(&format!("could not start the runtime: {error}"), 1),
    };
    match runtime.block_on(dispatch(arguments, &mut io::stdout())) {
        Ok(Outcome::Well) => ExitCode::SUCCESS,
        Ok(Outcome::Found) => ExitCode::from(1),
        // Whoever read the output has had enough of it.
        Err(Failure::Output(error)) if error.kind() == io::ErrorKind::BrokenPipe => {
            ExitCode::SUCCESS
        }
        Err(failure) => complain(&failure.to_string(), failure.code()),
    }
}

async fn dispatch(arguments: Arguments, out: &mut impl Write) -> Result<Outcome, Failure> {
    let Arguments { verb, shared } = arguments;
    let config = || Config::load(&shared.config);
    match verb {
        Verb::Abandon(abandon) => abandon.run(&config()?, shared.format, out).await,
        Verb::Backfill(backfill) => backfill.run(&config()?, shared.format, out).await,
        Verb::Check(check) => check.run(&config()?, shared.format, out).await,
        Verb::Complete(complete) => complete.run(&config()?, shared.format, out).await,
        Verb::Completions(completions) => completions.run(&mut Arguments::command(), out),
        Verb::Man(man) => man.run(Arguments::command(), out),
        Verb::Run(run) => run.run(config()?, &shared.config).await,
        Verb::Setup(setup) => setup.run(&config()?, shared.format, out).await,
        Verb::Demo(demo) => demo.run(out).await,
        Verb::Forget(forget) => forget.run(&config()?, shared.format, out).await,
        Verb::Repair(repair) => repair.run(&config()?, shared.format, out).await,
        Verb::Rollback(rollback) => rollback.run(&config()?, shared.format, out).await,
        Verb::Switchover(switchover) => switchover.run(&config()?, shared.format, out).await,
        Verb::Status(status) => status.run(&config()?, shared.format, out).await,
        Verb::Verify(verify) => verify.run(config, shared.format, out).await,
    }
}

fn complain(message: &str, code: u8) -> ExitCode {
    // Nothing is left to tell that standard error is closed.
    drop(writeln!(io::stderr(), "{message}"));
    ExitCode::from(code)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_arguments_are_consistent() {
        Arguments::command().debug_assert();
    }
}
