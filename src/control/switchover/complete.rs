//! `crossfade complete`: PostgreSQL is left for good, and MySQL answers alone.
//!
//! ```text
//! gates ─▶ verifiers once more ─▶ crossfade_state row 3 ─▶ writes still noted have ended ─▶ outbox, fence dropped
//!   └─▶ refused                        │
//!                       sidecars see it: nothing is noted, nothing is carried, PostgreSQL is not asked
//! ```
//!
//! The row is the whole change: before it all is as it was, after it there is no way back, and whoever runs
//! it again drops what is left. It is written with the state's row shared, which whoever gives the lead
//! back wants alone: so it is one of the two.
//!
//! A transaction that has noted a write goes on to note its others; one that begins after the row notes
//! nothing, whatever its sidecar has heard. So the tables are dropped under nobody.
//!
//! Invariant: nothing is written to PostgreSQL.

use std::collections::BTreeMap;

use tokio::time::{Duration, Instant, sleep};
use tokio_postgres::Client;

use super::facts::{ask_turn, sidecars, standing, verifiers};
use super::gates::{Left, behind, unknown_sidecars};
use super::standing::Standing;
use super::{Ended, Outcome, SwitchError, own};
use crate::backend::mysql::control::{self as mysql, Completed, Turn};
use crate::backend::mysql::outbox::Outbox;
use crate::backend::mysql::{Link, kept, switch, verifiers as kept_verifiers};
use crate::backend::postgres::attempts;
use crate::control::{Ends, layout};
use crate::outbox::STUCK_ATTEMPTS;

/// Between two looks at whether writes that are noted have ended.
const POLL: Duration = Duration::from_millis(50);
/// Tables that are named.
const DIRTY_MAX: i64 = 50;

const DIRTY: &str = "SELECT t.schema || '.' || t.name || ' (' || t.dirty_reason || ')' \
     FROM crossfade.tables t WHERE t.dirty_reason IS NOT NULL ORDER BY 1 LIMIT $1";

/// What is wanted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Completion {
    /// Look only.
    pub dry_run: bool,
    /// Although PostgreSQL does not answer, or does not have everything.
    pub force: bool,
    /// How long transactions that still note their writes are waited for.
    pub timeout: Duration,
}

/// What is against it.
#[derive(Debug, Default)]
struct Reasons {
    /// Whatever is said.
    always: Vec<String>,
    /// Unless it is forced: the old primary is behind, and will stay so.
    unforced: Vec<String>,
}

/// Leaves PostgreSQL, or says why not. `users` are verifiers that proxy.yaml names.
pub async fn complete(
    ends: &Ends,
    users: &BTreeMap<String, String>,
    wanted: &Completion,
) -> Result<Outcome, SwitchError> {
    let (mut link, found, complete) = ask_turn(ends).await?;
    let epoch = found.map_or(0, |turn| turn.epoch);
    let ended = |outcome, reasons| Outcome::new(outcome, epoch, reasons);
    if complete {
        let left = if wanted.dry_run { None } else { drop_all(&mut link, wanted).await? };
        return Ok(ended(Ended::Done, left.into_iter().collect()));
    }
    let postgres = ends.from.connect().await.map_err(|error| error.to_string());
    let reasons = look(ends, &mut link, found, postgres.as_ref()).await?;
    let forced = if wanted.force { Vec::new() } else { reasons.unforced };
    let reasons: Vec<String> = reasons.always.into_iter().chain(forced).collect();
    if !reasons.is_empty() {
        return Ok(ended(Ended::Refused, reasons));
    }
    if wanted.dry_run {
        let would = would(&mut link, postgres.as_ref().ok()).await?;
        return Ok(Outcome { would, ..ended(Ended::Ready, Vec::new()) });
    }
    if postgres.is_ok() {
        // Passwords may have changed since the switchover.
        kept_verifiers::keep(link.conn(), &verifiers(&ends.from, users).await?).await?;
    }
    if let Some(reason) = flip(&mut link, epoch, wanted.timeout).await? {
        return Ok(ended(Ended::Refused, vec![reason]));
    }
    let left = drop_all(&mut link, wanted).await?;
    Ok(ended(Ended::Done, left.into_iter().collect()))
}

/// What is dropped, and what is left, by name.
async fn would(link: &mut Link, postgres: Option<&Client>) -> Result<Vec<String>, SwitchError> {
    let (drops, keeps) = mysql::own_tables(link.conn(), mysql::LEAVE).await?;
    let mut would = Vec::new();
    would.extend(drops.iter().map(|table| format!("drop {table} on MySQL")));
    would.extend(keeps.iter().map(|table| format!("leave {table} on MySQL, which it answers by")));
    match postgres {
        Some(client) => would.extend(
            own::on_postgres(client)
                .await?
                .into_iter()
                .map(|what| format!("leave {what} on PostgreSQL")),
        ),
        None => would.push("leave PostgreSQL as it is, which does not answer".to_owned()),
    }
    Ok(would)
}

/// Everything that is against it, at once.
async fn look(
    ends: &Ends,
    link: &mut Link,
    found: Option<Turn>,
    postgres: Result<&Client, &String>,
) -> Result<Reasons, SwitchError> {
    let mut reasons = Reasons::default();
    let standing = match postgres {
        Ok(client) => {
            if let Some(unknown) = layout::check(client).await? {
                return Err(unknown.into());
            }
            standing(client, ends).await?.0
        }
        Err(error) => {
            reasons.unforced.push(format!("whether others are at it cannot be told: {error}"));
            match found {
                Some(Turn { epoch, mysql_is_primary: true, .. }) => Standing::MySql { epoch },
                _ => Standing::NotSetUp,
            }
        }
    };
    if let Some(reason) = phase(standing) {
        reasons.always.push(reason);
        return Ok(reasons);
    }
    if let Ok(client) = postgres {
        ask_postgres(client, &mut reasons).await?;
    }
    if kept::load(link.conn()).await?.is_none() {
        let reason = "MySQL does not keep the catalogue yet, without which no sidecar could start";
        reasons.always.push(reason.to_owned());
    }
    let outbox = Link::connect(&ends.to, &ends.limits).await?;
    let left = Outbox::new(outbox).left(STUCK_ATTEMPTS).await?;
    let left = Left { stuck: left.stuck, oldest_seconds: left.oldest_seconds };
    reasons.unforced.extend(behind(left));
    Ok(reasons)
}

fn phase(standing: Standing) -> Option<String> {
    match standing {
        Standing::MySql { .. } | Standing::Complete { .. } => None,
        Standing::Parted { .. } => {
            Some("MySQL leads a group of tables only: run `crossfade rollback`, then `crossfade switchover`".to_owned())
        }
        Standing::HalfSwitched { .. }
        | Standing::HalfBack { .. }
        | Standing::HalfParted { .. }
        | Standing::HalfJoined { .. } => {
            Some("a change of the primary is not finished: sidecars finish it".to_owned())
        }
        Standing::NotSetUp | Standing::Postgres { .. } => {
            Some("MySQL is not the primary: run `crossfade switchover` first".to_owned())
        }
        Standing::Apart { postgres, mysql } => Some(format!(
            "PostgreSQL is at epoch {postgres} and MySQL at {mysql}: one of them is of another past"
        )),
        Standing::Unknown { .. } => {
            Some("whose turn it is cannot be told while MySQL does not answer".to_owned())
        }
    }
}

async fn ask_postgres(client: &Client, reasons: &mut Reasons) -> Result<(), SwitchError> {
    if attempts::exist(client).await?
        && let Some(attempt) = attempts::under_way(client).await?
        && attempt.in_time
    {
        reasons.always.push(format!("attempt {} is under way", attempt.id));
    }
    reasons.always.extend(unknown_sidecars(&sidecars(client).await?));
    for row in client.query(DIRTY, &[&DIRTY_MAX]).await? {
        reasons.unforced.push(format!("table {} is dirty", row.get::<_, String>(0)));
    }
    Ok(())
}

/// The moment from which there is no way back; a reason where it did not come.
async fn flip(
    link: &mut Link,
    epoch: u64,
    patience: Duration,
) -> Result<Option<String>, SwitchError> {
    let until = Instant::now() + patience;
    loop {
        match mysql::complete(link.conn(), epoch).await? {
            Completed::Yes => return Ok(None),
            Completed::Moved => {
                return Ok(Some(format!("MySQL has given the lead of epoch {epoch} back")));
            }
            Completed::Busy if until <= Instant::now() => {
                return Ok(Some("a serializable transaction that has written does not end".into()));
            }
            Completed::Busy => sleep(POLL).await,
        }
    }
}

/// Drops what nobody needs any more; a reason where somebody was in the way until the time was up.
async fn drop_all(link: &mut Link, wanted: &Completion) -> Result<Option<String>, SwitchError> {
    let until = Instant::now() + wanted.timeout;
    while !switch::noted_writes_ended(link.conn()).await? {
        if until <= Instant::now() {
            let reason = "a transaction that has written before does not end, so outbox and fence are left \
                          for now: run it again";
            return Ok(Some(reason.to_owned()));
        }
        sleep(POLL).await;
    }
    let dropped = own::drop_on_mysql(link.conn(), mysql::LEAVE, until).await;
    Ok(dropped
        .err()
        .map(|error| format!("outbox and fence are left for now ({}): run it again", error.code())))
}
