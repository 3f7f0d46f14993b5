//! `crossfade switchover` and `crossfade rollback`: the coordinator runs here, the sidecars anywhere.

use std::collections::BTreeMap;
use std::io::Write;
use std::time::Duration;

use anyhow::anyhow;

use crate::config::Config;
use crate::control::switchover::{
    Direction, Ended, Options, Outcome as Switched, SwitchError, Told, run, timeout,
};

use super::setup::ends;
use super::{Failure, Format, Outcome};

/// Have MySQL answer, with PostgreSQL kept in step behind it.
#[derive(Debug, clap::Args)]
pub(super) struct Switchover {
    #[command(flatten)]
    shared: Shared,
    /// Only the tables that proxy.yaml gives this group; PostgreSQL goes on to answer for the others.
    #[arg(long, value_name = "G")]
    group: Option<String>,
    /// Go on in spite of this: a statement's fingerprint, `all` statements, a table, a role that need not log
    /// in again, or a function that a group's tables stand in; may be given several times.
    #[arg(long, value_name = "ITEM")]
    accept: Vec<String>,
    /// End sessions that cannot be moved (temporary tables, LISTEN, WITH HOLD cursors, advisory locks, PREPARE,
    /// SET ROLE).
    #[arg(long)]
    terminate: bool,
}

/// Have PostgreSQL answer again.
#[derive(Debug, clap::Args)]
pub(super) struct Rollback {
    #[command(flatten)]
    shared: Shared,
    /// End sessions that cannot be moved.
    #[arg(long)]
    terminate: bool,
}

#[derive(Debug, clap::Args)]
struct Shared {
    /// Look at everything that could be against it, and change nothing.
    #[arg(long)]
    dry_run: bool,
    /// How long clients may be held; past it all is undone.
    #[arg(long, value_name = "TIME", default_value = "30s", value_parser = timeout)]
    timeout: Duration,
}

impl Switchover {
    /// Exits 0 when MySQL is the primary, 1 when it was refused or undone, 2 for what cannot be asked,
    /// 3 when a database could not be reached.
    pub(super) async fn run(
        self,
        config: &Config,
        format: Format,
        out: &mut impl Write,
    ) -> Result<Outcome, Failure> {
        let Self { shared: Shared { dry_run, timeout }, group, accept, terminate } = self;
        let direction = Direction::Switchover;
        let options = Options { direction, group, dry_run, timeout, accept, terminate };
        change(config, options, format, out).await
    }
}

impl Rollback {
    /// As [`Switchover::run`].
    pub(super) async fn run(
        self,
        config: &Config,
        format: Format,
        out: &mut impl Write,
    ) -> Result<Outcome, Failure> {
        let Shared { dry_run, timeout } = self.shared;
        let (accept, terminate, group) = (Vec::new(), self.terminate, None);
        let direction = Direction::Rollback;
        let options = Options { direction, group, dry_run, timeout, accept, terminate };
        change(config, options, format, out).await
    }
}

async fn change(
    config: &Config,
    options: Options,
    format: Format,
    out: &mut impl Write,
) -> Result<Outcome, Failure> {
    let ends = ends(config)?;
    let users = config.listen.users.iter();
    let users: BTreeMap<String, String> =
        users.map(|(name, secret)| (name.clone(), secret.reveal().to_owned())).collect();
    let tell = |told: &Told| {
        if format == Format::Text {
            // Whoever closed standard error does not want to hear it.
            drop(writeln!(std::io::stderr(), "{told}"));
        }
    };
    let switched = run(&ends, &config.tables, &users, &options, &tell).await.map_err(failure)?;
    match format {
        Format::Text => print(&switched, &options, out)?,
        Format::Json => {
            let text = serde_json::to_string(&switched).map_err(std::io::Error::from)?;
            writeln!(out, "{text}")?;
        }
    }
    Ok(match switched.outcome {
        Ended::Done | Ended::Ready => Outcome::Well,
        Ended::Refused | Ended::Undone => Outcome::Found,
    })
}

pub(super) fn failure(error: SwitchError) -> Failure {
    // Its sources hold the server's own words, which may quote a value.
    match error.is_unreachable() {
        true => Failure::Unreachable(anyhow!("{error}")),
        false => Failure::Refused(anyhow!("{error}")),
    }
}

fn print(switched: &Switched, options: &Options, out: &mut impl Write) -> std::io::Result<()> {
    let Switched { outcome, epoch, reasons, hold_seconds, advice, .. } = switched;
    let (from, to) = match options.direction {
        Direction::Switchover => ("PostgreSQL", "MySQL"),
        Direction::Rollback => ("MySQL", "PostgreSQL"),
    };
    match outcome {
        Ended::Done => {
            let of =
                options.group.as_ref().map_or(String::new(), |name| format!(" of group {name}"));
            writeln!(
                out,
                "{to} is the primary{of}, epoch {epoch}; clients were held for {hold_seconds:.2} s"
            )
        }
        Ended::Ready => writeln!(out, "nothing is against it; nothing was changed"),
        Ended::Refused => writeln!(out, "refused, nobody was held:"),
        Ended::Undone => {
            let held = format!("clients were held for {hold_seconds:.2} s");
            writeln!(out, "undone, {from} is the primary as before; {held}:")
        }
    }?;
    if *outcome == Ended::Ready && !reasons.is_empty() {
        writeln!(out, "what may keep sessions back:")?;
    }
    reasons.iter().chain(advice).try_for_each(|line| writeln!(out, "  {line}"))
}
