//! `crossfade verify` and `POST /verify`: which tables, their schema, then their rows.
//!
//! ```text
//! situation ─▶ captured tables ─┬─▶ schema on MySQL against the catalogue, AUTO_INCREMENT ─┐
//!                               └─▶ [`Verifier`], table by table ◀─────────────────────────┘
//! ```
//!
//! Invariant: nothing of the application's is changed on either side, and a table whose schema differs
//! is not clean.

use std::collections::HashMap;
use std::sync::Arc;

use super::{ControlError, Ends, layout, setup, store};
use crate::backend::mysql::{Link, facts};
use crate::catalog::ddl::alter::{self, Existing};
use crate::catalog::ddl::brief::brief;
use crate::catalog::ddl::counter;
use crate::catalog::naming::Naming;
use crate::catalog::{Catalog, Table, TargetType};
use crate::names::TableName;
use crate::phase::{Phase, Situation};
use crate::policy::Policies;
use crate::verify::{Options, Progress, Report, Verifier, VerifyError};

/// Why nothing was compared.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    #[error("table {0} is not migrated")]
    Table(TableName),
    #[error("nothing to compare in phase {0}: only one of the databases has the rows")]
    Phase(&'static str),
    #[error(transparent)]
    Verify(#[from] VerifyError),
    #[error(transparent)]
    Schema(#[from] ControlError),
}

impl Failure {
    #[must_use]
    pub fn is_unreachable(&self) -> bool {
        match self {
            Self::Verify(error) => error.is_unreachable(),
            Self::Schema(ControlError::Facts(error)) => error.breaks_connection(),
            Self::Schema(ControlError::MySql { source, .. }) => {
                matches!(source, mysql_async::Error::Io(_))
            }
            Self::Schema(error) => error.is_unreachable(),
            Self::Table(_) | Self::Phase(_) => false,
        }
    }
}

/// One pass over some tables.
#[derive(Debug)]
pub struct Pass {
    /// One for each database that leads tables.
    sides: Vec<Side>,
    tables: Vec<Arc<Table>>,
    /// What differs, by name; nothing for a table that is as it should be.
    schema: HashMap<TableName, Vec<String>>,
}

/// The tables that one database leads.
#[derive(Debug)]
struct Side {
    verifier: Verifier,
    catalog: Arc<Catalog>,
}

impl Side {
    async fn connect(ends: &Ends, now: &Situation, options: Options) -> Result<Self, Failure> {
        let mut phase = now.phase;
        if phase == Phase::Switched
            && !now.is_parted()
            && store::observe_alone(ends).await.map_err(VerifyError::from)?.is_some()
        {
            phase = Phase::Complete;
        }
        let leads = phase.leads().ok_or(Failure::Phase(phase.as_str()))?;
        let verifier = Verifier::connect(&ends.from, &ends.to, &ends.limits, options, leads);
        Ok(Self { verifier: verifier.await?, catalog: Arc::clone(&now.catalog) })
    }

    fn has(&self, table: &Table) -> bool {
        self.catalog.captured().any(|own| own.oid == table.oid)
    }
}

impl Pass {
    /// Over these tables, or all that are captured where none is named.
    pub async fn begin(
        ends: &Ends,
        policies: &Policies,
        names: &[TableName],
        options: Options,
    ) -> Result<Self, Failure> {
        let client = ends.from.connect().await.map_err(VerifyError::from)?;
        let views = store::observe_both(&client, policies, &Naming::default()).await;
        let views = views.map_err(VerifyError::from)?;
        if let Some(unknown) = layout::check(&client).await.map_err(VerifyError::from)? {
            return Err(ControlError::from(unknown).into());
        }
        drop(client);
        let mut sides = vec![Side::connect(ends, &views.postgres, options).await?];
        if views.postgres.is_parted() {
            sides.push(Side::connect(ends, &views.mysql, options).await?);
        }
        let captured = || sides.iter().flat_map(|side| side.catalog.captured());
        let wanted = |table: &&Arc<Table>| names.is_empty() || names.contains(&table.name);
        let mut tables: Vec<Arc<Table>> = captured().filter(wanted).cloned().collect();
        if let Some(name) = names.iter().find(|name| tables.iter().all(|t| t.name != **name)) {
            return Err(Failure::Table(name.clone()));
        }
        tables.sort_by(|a, b| a.name.cmp(&b.name));
        let mut found = HashMap::new();
        for side in &sides {
            let own: Vec<_> = tables.iter().filter(|table| side.has(table)).cloned().collect();
            found.extend(schema(ends, &side.catalog, &own).await?);
        }
        Ok(Self { sides, tables, schema: found })
    }

    #[must_use]
    pub fn tables(&self) -> Vec<Arc<Table>> {
        self.tables.clone()
    }

    /// In what the table's schema on MySQL is not what it should be.
    #[must_use]
    pub fn schema(&self, table: &Table) -> &[String] {
        self.schema.get(&table.name).map_or(&[], Vec::as_slice)
    }

    /// Rows of the table, as the statistics have it.
    pub async fn estimate(&self, table: &Table) -> Result<u64, VerifyError> {
        self.side(table).verifier.estimate(table).await
    }

    fn side(&self, table: &Table) -> &Side {
        self.sides.iter().find(|side| side.has(table)).unwrap_or(&self.sides[0])
    }

    pub async fn table(
        &mut self,
        table: &Arc<Table>,
        progress: &Arc<Progress>,
    ) -> Result<Report, VerifyError> {
        let schema = self.schema(table).to_vec();
        let at = self.sides.iter().position(|side| side.has(table)).unwrap_or(0);
        let Side { verifier, catalog } = &mut self.sides[at];
        verifier.table(table, catalog, schema, progress).await
    }
}

/// Compares what MySQL has with what setup would make, and its counters with its rows.
async fn schema(
    ends: &Ends,
    catalog: &Catalog,
    tables: &[Arc<Table>],
) -> Result<HashMap<TableName, Vec<String>>, ControlError> {
    let to = |source| ControlError::To { place: ends.to.to_string(), source };
    let mut link = Link::connect(&ends.to, &ends.limits).await.map_err(to)?;
    let existing = setup::compared(&mut link, catalog).await?;
    let mut found: HashMap<TableName, Vec<String>> = HashMap::new();
    for change in alter::changes(catalog, &existing, link.flavor()) {
        let parts = found.entry(change.statement.table.clone()).or_default();
        for part in brief(&change) {
            if !parts.contains(&part) {
                parts.push(part);
            }
        }
    }
    for table in tables {
        if counts_too_low(&mut link, table, &existing).await? {
            let parts = found.entry(table.name.clone()).or_default();
            parts.push("AUTO_INCREMENT: not above every id".to_owned());
        }
    }
    found.retain(|_, parts| !parts.is_empty());
    Ok(found)
}

/// MySQL would give an id that a row has already.
async fn counts_too_low(
    link: &mut Link,
    table: &Table,
    existing: &Existing,
) -> Result<bool, ControlError> {
    let Some(column) = counter(table) else { return Ok(false) };
    let found = existing.tables.get(&table.target).and_then(|t| t.found.columns.get(&column.name));
    if !found.is_some_and(|line| line.contains("AUTO_INCREMENT")) {
        // Its definition differs, or it is not there: that is said already.
        return Ok(false);
    }
    let counted = facts::counted(link.conn(), &table.target, &column.name).await;
    let action = format!("say what it counts for {}", table.name);
    let (highest, next) = counted.map_err(|source| ControlError::MySql { action, source })?;
    // Past its type's last value MariaDB counts on, and MySQL stays.
    let last = match column.target {
        TargetType::SmallInt => i128::from(i16::MAX),
        TargetType::Int => i128::from(i32::MAX),
        _ => i128::from(i64::MAX),
    };
    Ok(highest.is_some_and(|highest| i128::from(next).min(last) <= highest))
}
