//! Waits until every sidecar holds its clients, and none of them is in the middle of something.
//!
//! ```text
//! announced ──each live sidecar has a line──▶ held ──each line is drained──▶ nobody writes any more
//!     └── deadline, an obstacle, somebody else's end of it ──▶ reasons to undo
//! ```
//!
//! A sidecar whose lease runs out meanwhile answers nobody, and is not waited for; that it has not
//! drained is remembered, and one lease is waited out later for it.
//!
//! Invariant: [`Held::Drained`] says that every sidecar that could still answer has drained.

use std::collections::BTreeSet;

use tokio::time::{Duration, sleep};
use tokio_postgres::Client;

use super::{Run, SwitchError, Told, others};
use crate::backend::postgres::attempts::{self, Direction, Present};

/// Between two looks at what the sidecars have said.
pub(super) const POLL: Duration = Duration::from_millis(20);

/// How the hold went.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Held {
    /// `everyone`: also those whose lease has run out meanwhile.
    Drained {
        everyone: bool,
    },
    Undo(Vec<String>),
}

/// What the sidecars' lines say.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Verdict {
    /// These have not heard of it.
    Unheard(Vec<String>),
    Obstructed(Vec<String>),
    /// In these, transactions are still open.
    Open(Vec<String>),
    Drained,
}

/// Waits for them all; the attempt's deadline bounds it.
pub(super) async fn wait(
    run: &Run<'_>,
    id: i64,
    direction: Direction,
    terminate: bool,
) -> Result<Held, SwitchError> {
    let (client, tell) = (&run.client, run.tell);
    let mut seen = BTreeSet::new();
    let mut held = false;
    // One that has lost PostgreSQL cannot answer by it; by MySQL it does.
    let may_answer =
        |one: &&Present| one.is_live || one.is_known && direction == Direction::Rollback;
    loop {
        let present = attempts::muster(client, id).await?;
        seen.extend(present.iter().filter(may_answer).map(|one| one.id.clone()));
        let verdict = judge(&present, terminate);
        if let Verdict::Obstructed(mut reasons) = verdict {
            if direction == Direction::Switchover {
                reasons.extend(others::keeps(client).await?);
            }
            return Ok(Held::Undo(reasons));
        }
        if !held && !matches!(verdict, Verdict::Unheard(_)) {
            held = attempts::hold(client, id).await?;
            if held {
                let sidecars = present.iter().filter(|one| one.is_live).count();
                tell(&Told::Held { sidecars });
            }
        }
        if held && verdict == Verdict::Drained {
            return Ok(Held::Drained { everyone: everyone(&present, &seen) });
        }
        if let Some(mut reasons) = over(client, id, &verdict).await? {
            if matches!(verdict, Verdict::Open(_)) {
                reasons.extend(match direction {
                    Direction::Switchover => others::open(client).await?,
                    Direction::Rollback => others::open_on_mysql(run.ends).await,
                });
            }
            return Ok(Held::Undo(reasons));
        }
        sleep(POLL).await;
    }
}

/// Why it cannot go on, if it cannot.
async fn over(
    client: &Client,
    id: i64,
    verdict: &Verdict,
) -> Result<Option<Vec<String>>, SwitchError> {
    if let Some(reason) = ended(client, id).await? {
        let told = match verdict {
            Verdict::Unheard(ids) => each(ids, "did not answer in time"),
            Verdict::Open(ids) => each(ids, "has transactions that did not end in time"),
            Verdict::Obstructed(_) | Verdict::Drained => Vec::new(),
        };
        return Ok(Some(if told.is_empty() { vec![reason] } else { told }));
    }
    Ok(None)
}

/// The attempt was ended by somebody else, or its time is up.
pub(super) async fn ended(client: &Client, id: i64) -> Result<Option<String>, SwitchError> {
    Ok(match attempts::look(client, id).await? {
        None => Some("the record of the attempt is gone".to_owned()),
        Some(look) if !matches!(look.state.as_str(), "announced" | "held") => {
            Some(format!("somebody else has ended the attempt: {}", look.state))
        }
        Some(look) if !look.in_time => Some("the time was up".to_owned()),
        Some(_) => None,
    })
}

fn each(ids: &[String], what: &str) -> Vec<String> {
    ids.iter().map(|id| format!("sidecar {id} {what}")).collect()
}

/// No sidecar of these can still answer by the old epoch.
fn everyone(present: &[Present], seen: &BTreeSet<String>) -> bool {
    seen.iter().all(|id| {
        let one = present.iter().find(|one| one.id == *id);
        // One that ended in good order has taken its line away.
        one.is_none_or(|one| one.has_drained || !one.is_known)
    })
}

/// Where somebody would look for it.
fn named(one: &Present) -> String {
    match one.address.as_str() {
        "" => one.id.clone(),
        address => format!("{} at {address}", one.id),
    }
}

fn judge(present: &[Present], terminate: bool) -> Verdict {
    let live = || present.iter().filter(|one| one.is_live);
    let ids =
        |which: fn(&&Present) -> bool| -> Vec<String> { live().filter(which).map(named).collect() };
    let unheard = ids(|one| !one.has_answered);
    let obstacles: Vec<String> = live()
        .filter(|one| !one.has_drained)
        .flat_map(|one| one.obstacles.iter().map(|what| format!("sidecar {}: {what}", named(one))))
        .collect();
    let open = ids(|one| !one.has_drained);
    match () {
        () if !terminate && !obstacles.is_empty() => Verdict::Obstructed(obstacles),
        () if !unheard.is_empty() => Verdict::Unheard(unheard),
        () if !open.is_empty() => Verdict::Open(open),
        () => Verdict::Drained,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(id: &str, is_live: bool, has_answered: bool, has_drained: bool) -> Present {
        let id = id.to_owned();
        Present { id, is_live, is_known: true, has_answered, has_drained, ..Present::default() }
    }

    #[test]
    fn only_live_sidecars_are_waited_for() {
        let present = [one("a", true, true, true), one("b", false, false, false)];
        assert_eq!(judge(&present, false), Verdict::Drained);
        assert!(everyone(&present, &BTreeSet::from(["a".to_owned()])));
        let seen = BTreeSet::from(["a".to_owned(), "b".to_owned()]);
        assert!(!everyone(&present, &seen), "b was cut off, and may not have heard");
        assert!(everyone(&present[..1], &seen), "b has ended in good order");
    }

    #[test]
    fn each_must_hear_and_then_drain() {
        let mut present = [one("a", true, true, true), one("b", true, false, false)];
        assert_eq!(judge(&present, false), Verdict::Unheard(vec!["b".to_owned()]));
        present[1].has_answered = true;
        assert_eq!(judge(&present, false), Verdict::Open(vec!["b".to_owned()]));
        present[1].obstacles = vec!["a temporary table".to_owned()];
        let obstructed = Verdict::Obstructed(vec!["sidecar b: a temporary table".to_owned()]);
        assert_eq!(judge(&present, false), obstructed);
        assert_eq!(judge(&present, true), Verdict::Open(vec!["b".to_owned()]));
        present[1].has_drained = true;
        assert_eq!(judge(&present, false), Verdict::Drained);
    }
}
