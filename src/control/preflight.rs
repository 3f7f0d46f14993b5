//! `crossfade check`: both databases looked at, every obstacle at once.
//!
//! Invariant: nothing is changed on either side.

use tokio_postgres::Client;

use crate::backend::mysql::{Link, WriteError, control, facts as mysql};
use crate::backend::postgres::facts as primary;
use crate::backend::postgres::introspect::{self, Reading};
use crate::catalog::check::{self, Obstacle, Severity, Wanted};
use crate::catalog::ddl::migrates;
use crate::catalog::naming::Naming;
use crate::control::setup::postgres;
use crate::control::{ControlError, Ends, layout};
use crate::policy::Policies;

/// Connects to both sides and lists what stands in the way.
pub async fn check(
    ends: &Ends,
    policies: &Policies,
    naming: &Naming,
    wanted: Wanted,
) -> Result<Vec<Obstacle>, ControlError> {
    let client = ends.from.connect().await?;
    let mut link = match Link::connect(&ends.to, &ends.limits).await {
        Ok(link) => Some(link),
        Err(WriteError::Settings) => None,
        Err(source) => return Err(ControlError::To { place: ends.to.to_string(), source }),
    };
    let reading = introspect::read(&client, policies, naming).await;
    let reading = reading.map_err(|source| postgres("read the catalogue", source))?;
    obstacles(&client, link.as_mut(), &reading, wanted).await
}

/// As [`check`], for a catalogue that was read already. Without a link MySQL takes no session of ours.
pub(super) async fn obstacles(
    client: &Client,
    link: Option<&mut Link>,
    reading: &Reading,
    wanted: Wanted,
) -> Result<Vec<Obstacle>, ControlError> {
    let catalog = &reading.catalog;
    let tables = catalog.tables.values().filter(|table| migrates(table));
    let targets: Vec<&str> = tables.map(|table| table.target.as_str()).collect();
    let from = primary::facts(client).await;
    let mut from = from.map_err(|source| postgres("read its settings", source))?;
    from.recorded_types.clone_from(&reading.recorded_types);
    let (to, number) = match link {
        Some(link) => {
            let facts = mysql::facts(link, &targets).await.map_err(ControlError::Facts)?;
            (Some(facts), control::layout(link.conn()).await.map_err(ControlError::Facts)?)
        }
        None => (None, None),
    };
    let mut found = check::check(catalog, &reading.circumstances, &from, to.as_ref(), wanted);
    found.extend(unknown(client, number).await?);
    found.sort();
    Ok(found)
}

/// Tables of ours that another version of this program has made.
async fn unknown(client: &Client, number: Option<u64>) -> Result<Option<Obstacle>, ControlError> {
    let found = layout::check(client).await;
    let found = found.map_err(|source| postgres("read its version", source))?;
    let Some(unknown) = found.or(layout::numbered(number).err()) else { return Ok(None) };
    let advice = "Two neighbouring versions work with the same tables, no others.".to_owned();
    let severity = Severity::Blocker;
    Ok(Some(Obstacle { severity, table: None, what: unknown.to_string(), advice }))
}
