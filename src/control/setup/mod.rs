//! `crossfade setup`: the schema on MySQL, Crossfade's own tables on both, and dual writes begin.
//!
//! ```text
//! read both ──[`Plan`]──▶ MySQL: tables, fence ──▶ PostgreSQL: one transaction ──▶ sidecars see it
//! ```
//!
//! Invariant: PostgreSQL's transaction comes last and is what starts dual writes, so a setup that was
//! cut short has started nothing. Running it again does what is still missing, and no more.

mod plan;

use std::collections::{HashMap, HashSet};

use mysql_async::prelude::Queryable as _;
use tokio_postgres::Client;

use crate::backend::mysql::{Link, facts};
use crate::backend::postgres::abandon;
use crate::backend::postgres::introspect::{self, Reading};
use crate::catalog::Catalog;
use crate::catalog::check::{Obstacle, Severity, Wanted};
use crate::catalog::ddl::alter::{self, Existing};
use crate::catalog::naming::Naming;
use crate::control::{ControlError, Ends, preflight, store};
use crate::names::{TableId, TableName, quote_pg};
use crate::policy::Policies;

use plan::Standing;
pub use plan::{Plan, Step};

/// Two setups at once would choose the same numbers for different tables.
const ONE_AT_A_TIME: &str = "SELECT pg_catalog.pg_advisory_lock(1129467731, 2)";
/// Locks that a trigger or a grant needs are waited for this long, then setup says so and ends.
const LOCK_WAIT: &str = "SET lock_timeout = '10s'";

/// How far to go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Extent {
    /// Only plan.
    DryRun,
    /// Create what is missing; show what would change tables that exist.
    Create,
    /// As `Create`, and run the safe changes.
    Apply,
}

/// What was planned, and whether it ran.
#[derive(Clone, Debug)]
pub struct Report {
    pub plan: Plan,
    pub extent: Extent,
    /// Safe changes that MySQL refused, with its error's number: rows of its own are against them.
    pub refused: Vec<(Step, u16)>,
    /// `from` and `to`, for people.
    pub database: String,
    /// Names of the tables that are migrated.
    pub tables: Vec<TableName>,
}

impl Report {
    /// Changes that were shown and not run.
    pub fn pending(&self) -> impl Iterator<Item = &Step> {
        let changes = match self.extent {
            Extent::Apply => &[],
            Extent::DryRun | Extent::Create => self.plan.changes.as_slice(),
        };
        let refused = self.refused.iter().map(|(step, _)| step);
        changes.iter().chain(refused).chain(&self.plan.unsafe_changes)
    }
}

/// Reads both sides, plans, and runs the plan as far as `extent` says.
pub async fn setup(
    ends: &Ends,
    policies: &Policies,
    naming: &Naming,
    extent: Extent,
) -> Result<Report, ControlError> {
    let client = ends.from.connect().await?;
    let to = |source| ControlError::To { place: ends.to.to_string(), source };
    let mut link = Link::connect(&ends.to, &ends.limits).await.map_err(to)?;
    if store::observe_alone(ends).await.map_err(ControlError::Facts)?.is_some() {
        return Err(ControlError::Complete);
    }
    let marked = abandon::is_marked(&client).await;
    if marked.map_err(|source| postgres("read its state", source))? {
        return Err(ControlError::Abandoned);
    }
    if extent != Extent::DryRun {
        run_postgres(&client, "take the setup lock", ONE_AT_A_TIME).await?;
    }
    let reading = introspect::read(&client, policies, naming).await;
    let reading = reading.map_err(|source| postgres("read the catalogue", source))?;
    // What the limits ask for makes warnings only, which are `check`'s to show.
    let wanted = Wanted { connections: 0, workers: 0, strict: 0, types: policies.types() };
    let obstacles = preflight::obstacles(&client, Some(&mut link), &reading, wanted).await?;
    let blockers: Vec<Obstacle> =
        obstacles.into_iter().filter(|o| o.severity == Severity::Blocker).collect();
    if !blockers.is_empty() {
        return Err(ControlError::Blocked(blockers));
    }
    let standing = standing(&client).await.map_err(|source| postgres("read its state", source))?;
    let existing = existing(&mut link, &reading, naming, &standing).await?;
    let plan = Plan::new(&reading, &existing, link.flavor(), &standing, policies.types());
    let mut refused = Vec::new();
    if extent != Extent::DryRun {
        refused = run(&plan, extent, &client, &mut link).await?;
    }
    let database = ends.to.database.clone();
    Ok(Report { plan, extent, refused, database, tables: migrated(&reading) })
}

/// What MySQL has of what is migrated, compared by MySQL itself.
async fn existing(
    link: &mut Link,
    reading: &Reading,
    naming: &Naming,
    standing: &Standing,
) -> Result<Existing, ControlError> {
    let catalog = &reading.catalog;
    let mut existing = compared(link, catalog).await?;
    let taken: HashSet<&str> = catalog.tables.values().map(|table| table.target.as_str()).collect();
    let gone = standing.registered.keys().filter(|name| catalog.by_name(name).is_none());
    let gone = gone.map(|name| (name.clone(), naming.target(name)));
    let is_left = |(_, target): &(TableName, String)| {
        existing.tables.contains_key(target) && !taken.contains(target.as_str())
    };
    let mut dropped: Vec<(TableName, String)> = gone.filter(is_left).collect();
    dropped.sort();
    existing.dropped = dropped;
    Ok(existing)
}

/// As [`existing`], without the tables that PostgreSQL has no more.
pub(super) async fn compared(link: &mut Link, catalog: &Catalog) -> Result<Existing, ControlError> {
    let flavor = link.flavor();
    let mut existing = facts::existing(link.conn()).await.map_err(ControlError::Facts)?;
    let probes = alter::probes(catalog, &existing, flavor);
    let action = "show what its tables look like".to_owned();
    let shapes = facts::shapes(link.conn(), &probes, &mut existing).await;
    shapes.map_err(|source| ControlError::MySql { action, source })?;
    Ok(existing)
}

fn migrated(reading: &Reading) -> Vec<TableName> {
    let tables = reading.catalog.tables.values();
    let mut names: Vec<TableName> = tables
        .filter(|table| crate::catalog::ddl::migrates(table))
        .map(|table| table.name.clone())
        .collect();
    names.sort();
    names
}

async fn run(
    plan: &Plan,
    extent: Extent,
    client: &Client,
    link: &mut Link,
) -> Result<Vec<(Step, u16)>, ControlError> {
    let action = |step: &Step| {
        let about = step.table.as_ref().map(TableName::to_string);
        format!("create or change {}", about.as_deref().unwrap_or("its control tables"))
    };
    for step in &plan.mysql {
        let run = link.conn().query_drop(&step.sql).await;
        run.map_err(|source| ControlError::MySql { action: action(step), source })?;
    }
    let mut refused = Vec::new();
    let changes = if extent == Extent::Apply { plan.changes.as_slice() } else { &[] };
    for step in changes {
        match link.conn().query_drop(&step.sql).await {
            Ok(()) => {}
            // Its message may hold a row's value; the number does not.
            Err(mysql_async::Error::Server(error)) => refused.push((step.clone(), error.code)),
            Err(source) => return Err(ControlError::MySql { action: action(step), source }),
        }
    }
    run_postgres(client, "set a lock timeout", LOCK_WAIT).await?;
    let mut statements = plan.postgres.clone();
    statements.extend(plan.record_types(extent == Extent::Apply && refused.is_empty()));
    let script = format!("BEGIN; {}; COMMIT", statements.join(";\n"));
    run_postgres(client, "create Crossfade's schema", &script).await?;
    Ok(refused)
}

async fn run_postgres(client: &Client, action: &str, sql: &str) -> Result<(), ControlError> {
    client.batch_execute(sql).await.map_err(|source| postgres(action, source))
}

pub(super) fn postgres(action: &str, source: tokio_postgres::Error) -> ControlError {
    ControlError::Postgres { action: action.to_owned(), source }
}

/// Reads what is there of ours.
async fn standing(client: &Client) -> Result<Standing, tokio_postgres::Error> {
    let present = "SELECT pg_catalog.to_regnamespace('crossfade') IS NOT NULL, \
         pg_catalog.to_regclass('crossfade.tables') IS NOT NULL, \
         pg_catalog.to_regclass('crossfade.epoch') IS NOT NULL, \
         pg_catalog.to_regclass('crossfade.outbox') IS NULL";
    let present = client.query_one(present, &[]).await?;
    let mut standing = Standing { schema: present.get(0), ..Standing::default() };
    if present.get(1) {
        standing.registered = registered(client).await?;
        standing.outbox_lost = present.get(3);
    }
    if present.get(2) {
        let epoch = client.query_one("SELECT last_value FROM crossfade.epoch", &[]).await?;
        standing.epoch = u64::try_from(epoch.get::<_, i64>(0) / 2).ok();
    }
    standing.writers = writers(client).await?;
    standing.owned = owned(client).await?;
    Ok(standing)
}

async fn registered(
    client: &Client,
) -> Result<HashMap<TableName, (TableId, String)>, tokio_postgres::Error> {
    let question = "SELECT t.schema, t.name, t.id, t.capture FROM crossfade.tables t";
    let rows = client.query(question, &[]).await?;
    Ok(rows
        .iter()
        .map(|row| (TableName::new(row.get(0), row.get(1)), (TableId(row.get(2)), row.get(3))))
        .collect())
}

/// Owners and grantees that may write some table; superusers need no grant.
async fn writers(client: &Client) -> Result<Vec<String>, tokio_postgres::Error> {
    let question = "SELECT DISTINCT r.rolname::text FROM pg_catalog.pg_class c \
         JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace \
         CROSS JOIN LATERAL (SELECT g.grantee, g.privilege_type FROM pg_catalog.aclexplode( \
             coalesce(c.relacl, pg_catalog.acldefault('r', c.relowner))) g \
           UNION ALL SELECT g.grantee, g.privilege_type FROM pg_catalog.pg_attribute a \
             CROSS JOIN LATERAL pg_catalog.aclexplode(a.attacl) g WHERE a.attrelid = c.oid) held \
         LEFT JOIN pg_catalog.pg_roles r ON r.oid = held.grantee \
         WHERE c.relkind IN ('r', 'p', 'v') AND NOT coalesce(r.rolsuper, false) \
           AND held.privilege_type IN ('INSERT', 'UPDATE', 'DELETE', 'TRUNCATE') \
           AND n.nspname NOT IN ('pg_catalog', 'information_schema', 'crossfade') \
           AND n.nspname NOT LIKE 'pg\\_t%' ORDER BY 1";
    let rows = client.query(question, &[]).await?;
    let quoted = |name: Option<String>| name.map_or("PUBLIC".to_owned(), |name| quote_pg(&name));
    Ok(rows.iter().map(|row| quoted(row.get(0))).collect())
}

async fn owned(client: &Client) -> Result<Vec<TableName>, tokio_postgres::Error> {
    let question = "SELECT n.nspname::text, c.relname::text FROM pg_catalog.pg_class c \
         JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace WHERE c.relkind IN ('r', 'p') \
         AND pg_catalog.pg_has_role(c.relowner, 'USAGE')";
    let rows = client.query(question, &[]).await?;
    Ok(rows.iter().map(|row| TableName::new(row.get(0), row.get(1))).collect())
}
