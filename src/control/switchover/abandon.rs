//! `crossfade abandon`: the migration is given up while PostgreSQL leads, and nothing of ours is left on it.
//!
//! ```text
//! gates ─▶ mark ─▶ sidecars hold, go transparent, leave ─▶ the lock alone: DROP SCHEMA ─▶ control tables on MySQL
//!   └─▶ refused    └────────── not in time: undone ──────────┘
//! ```
//!
//! Every trigger and function of ours is in one schema, so that dropping it is all there is to do; by then
//! no statement that calls them is under way, since every sidecar had its clients between two
//! transactions when it became transparent.
//!
//! The process that runs it may die anywhere: the mark stays, sidecars that are transparent stay so, and
//! another run goes on. Rows on MySQL are left; they are worth nothing from then on.
//!
//! Invariant: nothing is dropped while MySQL leads, or while somebody may still write by our functions.

use tokio::time::{Duration, Instant, sleep};
use tokio_postgres::Client;

use super::facts::{self, sidecars};
use super::gates::unknown_sidecars;
use super::{Ended, Outcome, SwitchError, others, own};
use crate::backend::mysql::control::{self as mysql, Turn};
use crate::backend::mysql::{Link, WriteError};
use crate::backend::postgres::abandon::{self as postgres, Dropped};
use crate::backend::postgres::control::Presence;
use crate::control::{Ends, layout};

/// Between two looks at who is still there.
const POLL: Duration = Duration::from_millis(50);

const LEADS: &str =
    "MySQL is the primary: `crossfade rollback` first, for what it has taken PostgreSQL may lack";

/// What is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Abandon {
    /// Look only.
    pub dry_run: bool,
    /// How long sidecars are waited for; past it all is undone.
    pub timeout: Duration,
}

/// Where PostgreSQL stands.
struct There {
    /// Something of ours may be there.
    schema: bool,
    /// What `crossfade.epoch` holds, where it is there.
    turn: Option<u64>,
    presence: Presence,
}

/// Takes everything of ours off both databases, or says why not.
pub async fn abandon(ends: &Ends, wanted: Abandon) -> Result<Outcome, SwitchError> {
    let mut client = ends.from.connect().await?;
    if let Some(unknown) = layout::check(&client).await? {
        return Err(unknown.into());
    }
    let mut asked = facts::ask_turn(ends).await;
    let there = there(&client).await?;
    let epoch = there.turn.unwrap_or(0) / 2;
    let ended = |outcome, reasons| Outcome::new(outcome, epoch, reasons);
    let found = asked.as_ref().map(|(_, found, _)| *found);
    let reasons = look(&client, &there, found).await?;
    if !reasons.is_empty() {
        return Ok(ended(Ended::Refused, reasons));
    }
    if wanted.dry_run {
        let link = asked.as_mut().ok().map(|(link, ..)| link);
        let would = would(&client, link).await?;
        return Ok(Outcome { would, ..ended(Ended::Ready, Vec::new()) });
    }
    let until = Instant::now() + wanted.timeout;
    if there.schema
        && let Err(reasons) = clear(&mut client, &there, wanted.timeout).await?
    {
        return Ok(ended(Ended::Undone, reasons));
    }
    let left = match asked {
        Ok((link, found, _)) => drop_on_mysql(link, found, until).await,
        Err(error) => Some(format!("MySQL does not answer ({})", error.code())),
    };
    let left = left.map(|why| format!("MySQL keeps its tables crossfade_…: {why}; run it again"));
    Ok(ended(Ended::Done, left.into_iter().collect()))
}

/// What is dropped, and what is left, by name.
async fn would(client: &Client, link: Option<&mut Link>) -> Result<Vec<String>, SwitchError> {
    let on_postgres = own::on_postgres(client).await?;
    let mut would: Vec<String> =
        on_postgres.into_iter().map(|what| format!("drop {what} on PostgreSQL")).collect();
    match link {
        Some(link) => {
            let (drops, _) = mysql::own_tables(link.conn(), mysql::DROP).await?;
            would.extend(drops.iter().map(|table| format!("drop {table} on MySQL")));
            would.push("leave the application's tables on MySQL, with their rows".to_owned());
        }
        None => would.push("leave MySQL as it is, which does not answer".to_owned()),
    }
    Ok(would)
}

async fn there(client: &Client) -> Result<There, SwitchError> {
    let question = format!(
        "SELECT {}, pg_catalog.to_regnamespace('crossfade') IS NOT NULL, \
         pg_catalog.to_regclass('crossfade.epoch') IS NOT NULL",
        Presence::question()
    );
    let row = client.query_one(&question, &[]).await?;
    let presence = Presence::new(&row.get::<_, Vec<String>>(0));
    let turn = match row.get(2) {
        true => {
            let turn = client.query_one("SELECT last_value FROM crossfade.epoch", &[]).await?;
            u64::try_from(turn.get::<_, i64>(0)).ok()
        }
        false => None,
    };
    Ok(There { schema: row.get(1), turn, presence })
}

/// Everything that is against it. `found` is what MySQL says of its turn.
async fn look(
    client: &Client,
    there: &There,
    found: Result<Option<Turn>, &WriteError>,
) -> Result<Vec<String>, SwitchError> {
    let leads = |turn: &Turn| turn.mysql_is_primary || turn.leads_part;
    let mysql_leads = matches!(&found, Ok(Some(turn)) if leads(turn));
    match there.turn {
        Some(turn) if turn % 2 == 1 => return Ok(vec![LEADS.to_owned()]),
        // PostgreSQL is told first when it loses the lead, and last when it gets it back.
        _ if mysql_leads => return Ok(vec![LEADS.to_owned()]),
        None if found.is_err() => {
            let unknown = "whose turn it is cannot be told while MySQL does not answer";
            return Ok(vec![unknown.to_owned()]);
        }
        _ => {}
    }
    let mut reasons = Vec::new();
    match &there.presence {
        Presence::Foreign(owner) => {
            reasons.push(format!(
                "the role {owner} owns the schema crossfade: it is not ours to drop"
            ));
        }
        Presence::Complete => reasons.extend(unknown_sidecars(&sidecars(client).await?)),
        Presence::Absent | Presence::Damaged(_) => {}
    }
    Ok(reasons)
}

/// Has every sidecar go transparent, and drops the schema; reasons where it was not done in time.
async fn clear(
    client: &mut Client,
    there: &There,
    patience: Duration,
) -> Result<Result<(), Vec<String>>, SwitchError> {
    let until = Instant::now() + patience;
    let known = there.presence == Presence::Complete;
    if known {
        if !postgres::mark(client, patience).await? {
            return Ok(Err(vec!["a change of the primary is under way".to_owned()]));
        }
        loop {
            let left = sidecars(client).await?;
            if left.is_empty() {
                break;
            }
            if until <= Instant::now() {
                postgres::unmark(client).await?;
                let open = left.iter().map(|one| {
                    format!(
                        "sidecar {} at {}: its clients did not come to rest",
                        one.id, one.address
                    )
                });
                return Ok(Err(open.chain(others::open(client).await?).collect()));
            }
            sleep(POLL).await;
        }
    }
    loop {
        match postgres::drop_all(client, there.turn).await? {
            Dropped::Yes => return Ok(Ok(())),
            Dropped::Busy if Instant::now() < until => sleep(POLL).await,
            dropped => {
                if known {
                    postgres::unmark(client).await?;
                }
                let busy = "a transaction that uses a table with a trigger of ours did not end";
                return Ok(Err(match dropped {
                    Dropped::Moved => vec!["the epoch has moved meanwhile".to_owned()],
                    _ => {
                        let open = others::open(client).await?;
                        [busy.to_owned()].into_iter().chain(open).collect()
                    }
                }));
            }
        }
    }
}

/// Says why something is left.
async fn drop_on_mysql(mut link: Link, found: Option<Turn>, until: Instant) -> Option<String> {
    if matches!(found, Some(Turn { mysql_is_primary: true, .. })) {
        return Some("it is the primary".to_owned());
    }
    let dropped = own::drop_on_mysql(link.conn(), mysql::DROP, until).await;
    dropped.err().map(|error| error.code())
}
