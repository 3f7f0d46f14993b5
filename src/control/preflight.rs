//! `crossfade check`: both databases looked at, every obstacle at once.
//!
//! Invariant: nothing is changed on either side.

use tokio_postgres::Client;

use crate::backend::mysql::{Link, WriteError, facts as mysql};
use crate::backend::postgres::facts as primary;
use crate::backend::postgres::introspect::{self, Reading};
use crate::catalog::check::{self, Obstacle, Severity, Wanted};
use crate::catalog::ddl::migrates;
use crate::catalog::naming::Naming;
use crate::control::setup::postgres;
use crate::control::{ControlError, Ends};
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
        Ok(link) => link,
        Err(WriteError::Settings) => return Ok(vec![settings()]),
        Err(source) => return Err(ControlError::To { place: ends.to.to_string(), source }),
    };
    let reading = introspect::read(&client, policies, naming).await;
    let reading = reading.map_err(|source| postgres("read the catalogue", source))?;
    obstacles(&client, &mut link, &reading, wanted).await
}

/// As [`check`], for a catalogue that was read already.
pub(super) async fn obstacles(
    client: &Client,
    link: &mut Link,
    reading: &Reading,
    wanted: Wanted,
) -> Result<Vec<Obstacle>, ControlError> {
    let catalog = &reading.catalog;
    let tables = catalog.tables.values().filter(|table| migrates(table));
    let targets: Vec<&str> = tables.map(|table| table.target.as_str()).collect();
    let from = primary::facts(client).await;
    let mut from = from.map_err(|source| postgres("read its settings", source))?;
    from.recorded_types.clone_from(&reading.recorded_types);
    let to = mysql::facts(link, &targets).await.map_err(ControlError::Facts)?;
    Ok(check::check(catalog, &reading.circumstances, &from, &to, wanted))
}

/// The server, or something before it, takes our session settings differently.
fn settings() -> Obstacle {
    Obstacle {
        severity: Severity::Blocker,
        table: None,
        what: "MySQL does not keep the session settings that exact values need".to_owned(),
        advice: "Connect to the server itself rather than through a pooler or proxy.".to_owned(),
    }
}
