//! Reads `pg_catalog` into a [`Catalog`].
//!
//! ```text
//! [`sql`] ─rows─▶ [`types`] [`tables`] [`paths`] [`server_side`] ──▶ Reading { Catalog, Circumstances }
//! ```
//!
//! The questions are asked in one pipeline, each in a snapshot of its own. A DDL that commits between
//! two of them could be seen by halves: whoever publishes a catalogue compares [`digest`] before and
//! after, and reads again if it moved.
//!
//! Invariant: a relation that is not described in full is not in `tables`.

mod paths;
mod server_side;
mod sql;
mod tables;
mod types;

use std::collections::HashMap;

use tokio_postgres::{Client, Error};

use crate::catalog::choose::Circumstances;
use crate::catalog::naming::Naming;
use crate::catalog::{Catalog, Relation, RelationKind};
use crate::names::{Oid, TableId, TableName};
use crate::policy::Policies;

/// The catalogue, and why each table is captured as it is.
#[derive(Debug, Default)]
pub struct Reading {
    pub catalog: Catalog,
    /// By root table.
    pub circumstances: HashMap<Oid, Circumstances>,
}

/// The catalogue as of now; the caller numbers its version.
pub async fn introspect(
    client: &Client,
    policies: &Policies,
    naming: &Naming,
) -> Result<Catalog, Error> {
    read(client, policies, naming).await.map(|reading| reading.catalog)
}

/// As [`introspect`], with the circumstances that `check` and `setup` explain.
pub async fn read(client: &Client, policies: &Policies, naming: &Naming) -> Result<Reading, Error> {
    let ask = |question| client.query(question, &[]);
    let (relations, inheritance, columns, types, constraints, indexes) = tokio::try_join!(
        ask(sql::RELATIONS),
        ask(sql::INHERITANCE),
        ask(sql::COLUMNS),
        ask(sql::TYPES),
        ask(sql::CONSTRAINTS),
        ask(sql::INDEXES),
    )?;
    let (triggers, rules, views, functions, write_only, settings, own_schemas, default) = tokio::try_join!(
        ask(sql::TRIGGERS),
        ask(sql::RULES),
        ask(sql::VIEWS),
        ask(sql::FUNCTIONS),
        ask(sql::WRITE_ONLY),
        ask(sql::PATH_SETTINGS),
        ask(sql::OWN_SCHEMAS),
        client.query_one(sql::PATH_DEFAULT, &[]),
    )?;
    let registered = registered(client).await?;
    let answers = tables::Answers {
        relations,
        inheritance,
        columns,
        types,
        constraints,
        indexes,
        triggers,
        rules,
        functions,
        write_only,
    };
    let mut reading = answers.assemble(&registered, policies, naming);
    reading.catalog.relations = names(&answers);
    reading.catalog.views = views.iter().map(|row| (row.get(0), row.get(1))).collect();
    reading.catalog.search_paths = paths::read(&settings, &own_schemas, &default);
    Ok(reading)
}

/// `crossfade.tables`, where `setup` has been.
async fn registered(client: &Client) -> Result<HashMap<TableName, TableId>, Error> {
    if !client.query_one(sql::IS_SET_UP, &[]).await?.get::<_, bool>(0) {
        return Ok(HashMap::new());
    }
    let rows = client.query(sql::REGISTERED, &[]).await?;
    Ok(rows
        .iter()
        .map(|row| (TableName::new(row.get(1), row.get(2)), TableId(row.get(0))))
        .collect())
}

fn names(answers: &tables::Answers) -> HashMap<String, Vec<Relation>> {
    let mut relations: HashMap<String, Vec<Relation>> = HashMap::new();
    for row in &answers.relations {
        let kind = match row.get::<_, &str>(3) {
            "r" | "p" => RelationKind::Table,
            "v" => RelationKind::View,
            _ => RelationKind::Other,
        };
        let relation = Relation { oid: row.get(0), schema: row.get(1), kind };
        relations.entry(row.get(2)).or_default().push(relation);
    }
    relations
}

/// A number that changes whenever the schema may have changed. One statement, cheap enough to poll.
pub async fn digest(client: &Client) -> Result<String, Error> {
    Ok(client.query_one(sql::DIGEST, &[]).await?.get(0))
}
