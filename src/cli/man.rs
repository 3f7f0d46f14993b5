//! `crossfade man`: the manual pages, from the same definition as `--help`.

use std::io::Write;

use clap_mangen::Man as Page;

use super::{Failure, Outcome};

/// Print the manual page, or that of one verb.
#[derive(Debug, clap::Args)]
pub(super) struct Man {
    /// To read it: crossfade man setup | man -l -
    verb: Option<String>,
}

impl Man {
    /// Exits 0, or 2 where there is no such verb.
    pub(super) fn run(
        self,
        mut command: clap::Command,
        out: &mut impl Write,
    ) -> Result<Outcome, Failure> {
        // So that the verbs' pages have the arguments that every verb takes.
        command.build();
        let page = match self.verb {
            None => Page::new(command),
            Some(name) => {
                let verb = command.find_subcommand(&name).cloned();
                let verb =
                    verb.ok_or_else(|| Failure::Usage(format!("there is no verb {name}")))?;
                Page::new(verb)
            }
        };
        page.render(out)?;
        Ok(Outcome::Well)
    }
}
