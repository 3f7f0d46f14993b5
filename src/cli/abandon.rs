//! `crossfade abandon`: the migration is given up, and PostgreSQL is as it was before.

use std::io::Write;
use std::time::Duration;

use crate::config::Config;
use crate::control::switchover::{
    Abandon as Wanted, Ended, Outcome as Abandoned, abandon, timeout,
};

use super::ask::{Asked, ask};
use super::setup::ends;
use super::switchover::failure;
use super::{Failure, Format, Outcome};

/// What has to be agreed to.
const QUESTION: &str = "Nothing will be carried to MySQL any more, and what Crossfade knows of it is dropped. \
     Give the migration up?";

/// Give the migration up: nothing of Crossfade's is left on PostgreSQL, and the rows on MySQL are left as
/// they are.
#[derive(Debug, clap::Args)]
pub(super) struct Abandon {
    /// Look whether anything is against it, and change nothing.
    #[arg(long)]
    dry_run: bool,
    /// Do not ask.
    #[arg(long)]
    yes: bool,
    /// How long clients may be held until none of them is in a transaction; past it all is undone.
    #[arg(long, value_name = "TIME", default_value = "30s", value_parser = timeout)]
    timeout: Duration,
}

impl Abandon {
    /// Exits 0 when nothing is left, 1 when it was refused or undone, or MySQL keeps something, 2 where nobody
    /// could be asked, 3 when PostgreSQL could not be reached.
    pub(super) async fn run(
        self,
        config: &Config,
        format: Format,
        out: &mut impl Write,
    ) -> Result<Outcome, Failure> {
        let Self { dry_run, yes, timeout } = self;
        let ends = ends(config)?;
        if !dry_run && !yes {
            // What would be refused anyway is not asked about.
            let looked =
                abandon(&ends, Wanted { dry_run: true, timeout }).await.map_err(failure)?;
            if looked.outcome == Ended::Refused {
                return told(&looked, format, out);
            }
            if ask(QUESTION)? == Asked::No {
                return Err(Failure::Usage("nothing was changed".to_owned()));
            }
        }
        let abandoned = abandon(&ends, Wanted { dry_run, timeout }).await.map_err(failure)?;
        told(&abandoned, format, out)
    }
}

fn told(abandoned: &Abandoned, format: Format, out: &mut impl Write) -> Result<Outcome, Failure> {
    let Abandoned { outcome, reasons, .. } = abandoned;
    match format {
        Format::Text => {
            match outcome {
                Ended::Done => writeln!(out, "nothing of Crossfade's is left on PostgreSQL"),
                Ended::Ready => {
                    writeln!(out, "nothing is against it; nothing was changed. It would:")
                }
                Ended::Refused => writeln!(out, "refused, nothing was changed:"),
                Ended::Undone => {
                    writeln!(out, "undone, dual writes go on; every table is to be verified:")
                }
            }?;
            for line in reasons.iter().chain(&abandoned.would) {
                writeln!(out, "  {line}")?;
            }
        }
        Format::Json => {
            let text = serde_json::to_string(abandoned).map_err(std::io::Error::from)?;
            writeln!(out, "{text}")?;
        }
    }
    Ok(match outcome {
        Ended::Done | Ended::Ready if reasons.is_empty() => Outcome::Well,
        _ => Outcome::Found,
    })
}
