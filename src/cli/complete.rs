//! `crossfade complete`: PostgreSQL is left for good.

use std::collections::BTreeMap;
use std::io::Write;
use std::time::Duration;

use crate::config::Config;
use crate::control::switchover::{Completion, Ended, Outcome as Completed, complete, timeout};

use super::ask::{Asked, ask};
use super::setup::ends;
use super::switchover::failure;
use super::{Failure, Format, Outcome};

/// What has to be agreed to.
const QUESTION: &str =
    "PostgreSQL will not follow any more, and there is no way back. Leave it for good?";

/// Leave PostgreSQL for good: MySQL answers alone, outbox and fence are dropped.
#[derive(Debug, clap::Args)]
pub(super) struct Complete {
    /// Look at everything that could be against it, and change nothing.
    #[arg(long)]
    dry_run: bool,
    /// Do not ask.
    #[arg(long)]
    yes: bool,
    /// Although PostgreSQL does not answer, or does not have everything: it will not get it any more.
    #[arg(long)]
    force: bool,
    /// How long transactions that have begun before are waited for, before outbox and fence are dropped.
    #[arg(long, value_name = "TIME", default_value = "30s", value_parser = timeout)]
    timeout: Duration,
}

impl Complete {
    /// Exits 0 when MySQL answers alone, 1 when it was refused or something is left to drop, 2 where nobody
    /// could be asked, 3 when MySQL could not be reached.
    pub(super) async fn run(
        self,
        config: &Config,
        format: Format,
        out: &mut impl Write,
    ) -> Result<Outcome, Failure> {
        let Self { dry_run, yes, force, timeout } = self;
        let ends = ends(config)?;
        let users = config.listen.users.iter();
        let users: BTreeMap<String, String> =
            users.map(|(name, secret)| (name.clone(), secret.reveal().to_owned())).collect();
        if !dry_run && !yes {
            // What would be refused anyway is not asked about.
            let look = Completion { dry_run: true, force, timeout };
            let looked = complete(&ends, &users, &look).await.map_err(failure)?;
            if looked.outcome == Ended::Refused {
                return told(&looked, format, out);
            }
            if ask(QUESTION)? == Asked::No {
                return Err(Failure::Usage("nothing was changed".to_owned()));
            }
        }
        let wanted = Completion { dry_run, force, timeout };
        let completed = complete(&ends, &users, &wanted).await.map_err(failure)?;
        told(&completed, format, out)
    }
}

fn told(completed: &Completed, format: Format, out: &mut impl Write) -> Result<Outcome, Failure> {
    match format {
        Format::Text => print(completed, out)?,
        Format::Json => {
            let text = serde_json::to_string(completed).map_err(std::io::Error::from)?;
            writeln!(out, "{text}")?;
        }
    }
    Ok(match completed.outcome {
        Ended::Done | Ended::Ready if completed.reasons.is_empty() => Outcome::Well,
        _ => Outcome::Found,
    })
}

fn print(completed: &Completed, out: &mut impl Write) -> std::io::Result<()> {
    let Completed { outcome, epoch, reasons, .. } = completed;
    match outcome {
        Ended::Done => {
            writeln!(out, "MySQL answers alone, epoch {epoch}; PostgreSQL is not used any more")
        }
        Ended::Ready => writeln!(out, "nothing is against it; nothing was changed. It would:"),
        Ended::Refused | Ended::Undone => writeln!(out, "refused, nothing was changed:"),
    }?;
    reasons.iter().chain(&completed.would).try_for_each(|line| writeln!(out, "  {line}"))
}
