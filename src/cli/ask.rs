//! Asks before what cannot be taken back.

use std::io::{self, BufRead as _, IsTerminal as _, Write as _};

use super::Failure;

/// What was answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Asked {
    Yes,
    No,
}

/// Asks on the terminal; where there is none, nobody can agree.
pub(super) fn ask(question: &str) -> Result<Asked, Failure> {
    if !io::stdin().is_terminal() {
        let said = "nobody can be asked here, so nothing was changed: say --yes";
        return Err(Failure::Usage(said.to_owned()));
    }
    write!(io::stderr(), "{question} (yes/no) ")?;
    io::stderr().flush()?;
    let mut answer = String::new();
    io::stdin().lock().read_line(&mut answer)?;
    Ok(match answer.trim() {
        "yes" => Asked::Yes,
        _ => Asked::No,
    })
}
