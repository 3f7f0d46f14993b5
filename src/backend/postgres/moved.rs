//! Which tables MySQL leads while PostgreSQL leads the others.
//!
//! ```text
//! coordinator ──[`plan`]: "from epoch 7 on tables 1 and 2"──▶ crossfade.settings 'moved'
//! crossfade.epoch reaches 7 ──▶ it holds ([`Moved::at`])       the attempt is undone ──[`forget_planned`]──▶ gone
//! ```
//!
//! Invariant: a line is written before the epoch that it is for, and means nothing until `crossfade.epoch`
//! holds that epoch. So both change in one moment, that of the sequence, which no snapshot hides.

use std::fmt;

use tokio_postgres::{Client, Error, GenericClient};

use super::refuse;
use crate::names::TableId;

const READ: &str = "SELECT (SELECT s.value FROM crossfade.settings s WHERE s.key = 'moved'), e.last_value / 2 \
     FROM crossfade.epoch e";
const WRITE: &str = "INSERT INTO crossfade.settings (key, value) VALUES ('moved', $1) \
     ON CONFLICT (key) DO UPDATE SET value = excluded.value";

/// What holds from which epoch on, in their order: `7=1,2;9=`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Moved(Vec<(u64, Vec<TableId>)>);

impl Moved {
    /// As it stands in `crossfade.settings`; what is no such text says that nothing has moved.
    #[must_use]
    pub fn parse(text: &str) -> Self {
        let line = |line: &str| {
            let (epoch, ids) = line.split_once('=')?;
            let ids = ids.split(',').filter(|id| !id.is_empty()).map(|id| id.parse().map(TableId));
            Some((epoch.parse().ok()?, ids.collect::<Result<Vec<_>, _>>().ok()?))
        };
        Self(text.split(';').map(line).collect::<Option<_>>().unwrap_or_default())
    }

    /// The tables that MySQL leads in this epoch, while PostgreSQL leads the rest.
    #[must_use]
    pub fn at(&self, epoch: u64) -> &[TableId] {
        let held = self.0.iter().rev().find(|(since, _)| *since <= epoch);
        held.map_or(&[], |(_, ids)| ids)
    }

    /// With these tables from `epoch` on, instead of whatever was planned from there on.
    fn planned(mut self, epoch: u64, tables: &[TableId]) -> Self {
        self.0.retain(|(since, _)| *since < epoch);
        // Of the past only what held last can still matter.
        let past = self.0.len().saturating_sub(1);
        self.0.drain(..past);
        self.0.push((epoch, tables.to_vec()));
        self
    }

    /// Without what is planned for a later epoch.
    fn unplanned(mut self, epoch: u64) -> Self {
        self.0.retain(|(since, _)| *since <= epoch);
        self
    }
}

impl fmt::Display for Moved {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, (epoch, ids)) in self.0.iter().enumerate() {
            let ids: Vec<String> = ids.iter().map(ToString::to_string).collect();
            let between = if at == 0 { "" } else { ";" };
            write!(f, "{between}{epoch}={}", ids.join(","))?;
        }
        Ok(())
    }
}

/// The line, and the epoch of now.
async fn read(client: &impl GenericClient) -> Result<(Moved, u64), Error> {
    let row = client.query_one(READ, &[]).await?;
    let moved = row.get::<_, Option<&str>>(0).map(Moved::parse).unwrap_or_default();
    Ok((moved, u64::try_from(row.get::<_, i64>(1)).unwrap_or(0)))
}

/// The tables that MySQL leads now, while PostgreSQL leads the rest.
pub async fn now(client: &Client) -> Result<Vec<TableId>, Error> {
    let (moved, epoch) = read(client).await?;
    Ok(moved.at(epoch).to_vec())
}

/// The tables that MySQL leads in this epoch, or is planned to, while PostgreSQL leads the rest.
pub async fn at(client: &Client, epoch: u64) -> Result<Vec<TableId>, Error> {
    let (moved, _) = read(client).await?;
    Ok(moved.at(epoch).to_vec())
}

/// Whether MySQL leads the same tables in both epochs, while PostgreSQL leads the rest.
pub(super) async fn same(client: &impl GenericClient, one: u64, other: u64) -> Result<bool, Error> {
    let (moved, _) = read(client).await?;
    Ok(moved.at(one) == moved.at(other))
}

/// From `epoch` on MySQL leads these tables and PostgreSQL the rest. Does nothing where that epoch has come
/// already: whoever finishes a change late must not touch what others have planned since.
pub async fn plan(client: &Client, epoch: u64, tables: &[TableId]) -> Result<(), Error> {
    let (moved, now) = read(client).await?;
    if epoch <= now {
        return Ok(());
    }
    client.execute(WRITE, &[&moved.planned(epoch, tables).to_string()]).await.map(drop)
}

/// No change that was begun leads anywhere any more, and triggers that were made for it refuse nobody.
pub async fn forget_planned(client: &impl GenericClient) -> Result<(), Error> {
    let (moved, epoch) = read(client).await?;
    let kept = moved.clone().unplanned(epoch);
    if kept != moved {
        client.execute(WRITE, &[&kept.to_string()]).await?;
    }
    match kept.at(epoch).is_empty() {
        true => refuse::let_pass(client, epoch + 1).await,
        false => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ids(ids: &[i32]) -> Vec<TableId> {
        ids.iter().copied().map(TableId).collect()
    }

    #[test]
    fn a_line_means_nothing_before_its_epoch() {
        let moved = Moved::default().planned(7, &ids(&[1, 2]));
        assert_eq!(moved.to_string(), "7=1,2");
        assert_eq!(
            (moved.at(6), moved.at(7), moved.at(9)),
            (&[][..], &ids(&[1, 2])[..], &ids(&[1, 2])[..])
        );
        let back = moved.clone().planned(9, &[]);
        assert_eq!(back.to_string(), "7=1,2;9=");
        assert_eq!((back.at(8), back.at(9)), (&ids(&[1, 2])[..], &[][..]));
        assert_eq!(back.clone().unplanned(8), moved, "undone");
        assert_eq!(back.planned(11, &ids(&[3])).to_string(), "9=;11=3");
        assert_eq!(moved.planned(7, &ids(&[3])).to_string(), "7=3", "planned anew");
    }

    #[test]
    fn it_is_read_as_it_is_written() {
        for text in ["7=1,2", "7=1,2;9=", "9="] {
            assert_eq!(Moved::parse(text).to_string(), text);
        }
        for wrong in ["", "x", "7=a", "=1"] {
            assert_eq!(Moved::parse(wrong), Moved::default(), "{wrong}");
        }
    }
}
