//! `crossfade completions`: what a shell wants to know to complete our arguments.

use std::io::Write;

use clap_complete::{Shell, generate};

use super::{Failure, Outcome};

/// Print a script that has a shell complete the arguments.
#[derive(Debug, clap::Args)]
pub(super) struct Completions {
    /// For bash: crossfade completions bash > /etc/bash_completion.d/crossfade
    #[arg(value_enum)]
    shell: Shell,
}

impl Completions {
    /// Exits 0.
    pub(super) fn run(
        self,
        command: &mut clap::Command,
        out: &mut impl Write,
    ) -> Result<Outcome, Failure> {
        // Into memory first: what generates it takes a broken pipe for impossible.
        let mut script = Vec::new();
        generate(self.shell, command, "crossfade", &mut script);
        out.write_all(&script)?;
        Ok(Outcome::Well)
    }
}
