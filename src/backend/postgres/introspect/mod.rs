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

use tokio_postgres::{Client, Error, Row};

use crate::catalog::choose::Circumstances;
use crate::catalog::naming::Naming;
use crate::catalog::{Catalog, Relation, RelationKind};
use crate::names::{Oid, TableId, TableName};
use crate::policy::{Policies, TypeChoices};

/// The catalogue, and why each table is captured as it is.
#[derive(Debug, Default)]
pub struct Reading {
    pub catalog: Catalog,
    /// By root table.
    pub circumstances: HashMap<Oid, Circumstances>,
    /// The types that `setup` recorded, as text; `None` before it.
    pub recorded_types: Option<String>,
}

/// Whose types a catalogue has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Typing {
    /// What proxy.yaml asks for: for those who bring MySQL in line.
    Asked,
    /// What `setup` recorded, so that all who write agree.
    Recorded,
}

/// The catalogue as of now; the caller numbers its version.
pub async fn introspect(
    client: &Client,
    policies: &Policies,
    naming: &Naming,
) -> Result<Catalog, Error> {
    read_typed(client, policies, naming, Typing::Recorded).await.map(|reading| reading.catalog)
}

/// As [`introspect`], with the types that proxy.yaml asks for, and the circumstances that `check` and
/// `setup` explain.
pub async fn read(client: &Client, policies: &Policies, naming: &Naming) -> Result<Reading, Error> {
    read_typed(client, policies, naming, Typing::Asked).await
}

async fn read_typed(
    client: &Client,
    policies: &Policies,
    naming: &Naming,
    typing: Typing,
) -> Result<Reading, Error> {
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
    let orders_by_bytes = client.query_one(sql::ORDERS_BY_BYTES, &[]).await?.get(0);
    let (registered, recorded_types) = registered(client).await?;
    let choices = match (typing, &recorded_types) {
        (Typing::Recorded, Some(recorded)) => TypeChoices::parse(recorded),
        _ => Some(policies.types()),
    };
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
    let mut reading = answers.assemble(&registered, policies, naming, choices);
    reading.recorded_types = recorded_types;
    reading.catalog.relations = names(&answers);
    reading.catalog.views = views.iter().map(|row| (row.get(0), row.get(1))).collect();
    reading.catalog.search_paths = paths::read(&settings, &own_schemas, &default);
    reading.catalog.orders_by_bytes = orders_by_bytes;
    Ok(reading)
}

/// `crossfade.tables` and the recorded types, where `setup` has been.
async fn registered(
    client: &Client,
) -> Result<(HashMap<TableName, TableId>, Option<String>), Error> {
    if !client.query_one(&sql::is_set_up(), &[]).await?.get::<_, bool>(0) {
        return Ok((HashMap::new(), None));
    }
    let rows = client.query(sql::REGISTERED, &[]).await?;
    let named = |row: &Row| (TableName::new(row.get(1), row.get(2)), TableId(row.get(0)));
    let types = client.query_opt(sql::RECORDED_TYPES, &[]).await?;
    // Nothing recorded means the defaults, which the empty text is.
    let types = types.map_or(String::new(), |row| row.get(0));
    Ok((rows.iter().map(named).collect(), Some(types)))
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
