//! Tables of ours in which long work says how far it is, how it ended, and what was seen.
//!
//! ```text
//! backfill ──▶ crossfade.backfill ─┐
//! verify ────▶ crossfade.verified ─┴──▶ status, /migration-status, /metrics
//! sessions ──▶ crossfade.statements, crossfade.descriptions ──▶ status --statements, /statements
//! ```
//!
//! Invariant: they are there where dual writes were begun by a version that has them, or since the first
//! work that writes them. Nothing depends on what they hold.

use tokio_postgres::{Client, Error};

/// One of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Record {
    pub name: &'static str,
    pub(super) create: &'static str,
}

/// How far the copying of each table's old rows is.
pub const BACKFILL: Record = Record {
    name: "crossfade.backfill",
    create: "\
CREATE TABLE IF NOT EXISTS crossfade.backfill (
    table_id integer PRIMARY KEY,
    state    text NOT NULL,
    activity text NOT NULL,
    rows     bigint NOT NULL,
    expected bigint NOT NULL,
    refused  bigint NOT NULL,
    rate     double precision NOT NULL,
    at       timestamptz NOT NULL DEFAULT pg_catalog.clock_timestamp()
)",
};

/// How the last comparison of each table ended, and sums over all of them.
pub const VERIFIED: Record = Record {
    name: "crossfade.verified",
    create: "\
CREATE TABLE IF NOT EXISTS crossfade.verified (
    table_id      integer PRIMARY KEY,
    at            timestamptz NOT NULL DEFAULT pg_catalog.clock_timestamp(),
    rows          bigint NOT NULL,
    equal         bigint NOT NULL,
    missing       bigint NOT NULL,
    extra         bigint NOT NULL,
    different     bigint NOT NULL,
    unsettled     bigint NOT NULL,
    seconds       double precision NOT NULL,
    clean         boolean NOT NULL,
    equal_sum     bigint NOT NULL,
    missing_sum   bigint NOT NULL,
    extra_sum     bigint NOT NULL,
    different_sum bigint NOT NULL
)",
};

/// Every statement that a client has run, its literals taken out; each sidecar adds what it counts.
pub const STATEMENTS: Record = Record {
    name: "crossfade.statements",
    create: "\
CREATE TABLE IF NOT EXISTS crossfade.statements (
    fingerprint      text PRIMARY KEY,
    text             text NOT NULL,
    kind             text NOT NULL,
    reason           text,
    count            bigint NOT NULL,
    first_seen       timestamptz NOT NULL,
    last_seen        timestamptz NOT NULL,
    readiness        text,
    matched          bigint NOT NULL,
    mismatched       bigint NOT NULL,
    undetermined     bigint NOT NULL,
    failed           bigint NOT NULL,
    primary_micros   bigint NOT NULL,
    secondary_micros bigint NOT NULL,
    at               timestamptz NOT NULL
)",
};

/// Parameters and columns of each, as PostgreSQL described them; `shape` tells apart what the kinds of
/// the literals, the types that the client gave and the search path make different.
pub const DESCRIPTIONS: Record = Record {
    name: "crossfade.descriptions",
    create: "\
CREATE TABLE IF NOT EXISTS crossfade.descriptions (
    fingerprint text NOT NULL,
    shape       bigint NOT NULL,
    parameters  bigint[],
    columns     jsonb,
    at          timestamptz NOT NULL,
    PRIMARY KEY (fingerprint, shape)
)",
};

/// Groups of tables that were used in one transaction, by the statement that came last; an empty name
/// stands for tables of no group, and no groups at all for more than were written down.
pub const CROSSINGS: Record = Record {
    name: "crossfade.crossings",
    create: "\
CREATE TABLE IF NOT EXISTS crossfade.crossings (
    fingerprint text NOT NULL,
    groups      text[] NOT NULL,
    at          timestamptz NOT NULL DEFAULT pg_catalog.clock_timestamp(),
    PRIMARY KEY (fingerprint, groups)
)",
};

pub(super) const ALL: [Record; 5] = [BACKFILL, VERIFIED, STATEMENTS, DESCRIPTIONS, CROSSINGS];

const EXISTS: &str = "SELECT pg_catalog.to_regclass($1) IS NOT NULL";

impl Record {
    pub async fn exists(&self, client: &Client) -> Result<bool, Error> {
        client.query_one(EXISTS, &[&self.name]).await?.try_get(0)
    }

    /// Makes it where it is missing; where it is not, no right to make it is needed.
    pub async fn ensure(&self, client: &Client) -> Result<(), Error> {
        match self.exists(client).await? {
            true => Ok(()),
            false => client.batch_execute(self.create).await,
        }
    }
}
