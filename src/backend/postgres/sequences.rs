//! The sequences that number rows, and how far they have counted.
//!
//! ```text
//! serial and identity columns ──▶ [`Sequence`]: what it would give next ──[`raise`]──▶ past MySQL's
//! ```
//!
//! Invariant: a sequence only moves on.

use tokio_postgres::{Client, Error};

use crate::names::Oid;

/// By ownership, or by the column's default.
const OF: &str = "\
SELECT DISTINCT w.at, s.seqrelid::pg_catalog.regclass::text, s.seqincrement, s.seqmax
FROM unnest($1::oid[], $2::int2[]) WITH ORDINALITY w(relation, number, at)
CROSS JOIN LATERAL (
    SELECT d.objid FROM pg_catalog.pg_depend d
    WHERE d.classid = 'pg_catalog.pg_class'::pg_catalog.regclass AND d.deptype IN ('a', 'i')
      AND d.refclassid = 'pg_catalog.pg_class'::pg_catalog.regclass
      AND d.refobjid = w.relation AND d.refobjsubid = w.number
    UNION SELECT d.refobjid FROM pg_catalog.pg_attrdef f JOIN pg_catalog.pg_depend d
      ON d.classid = 'pg_catalog.pg_attrdef'::pg_catalog.regclass AND d.objid = f.oid
      AND d.refclassid = 'pg_catalog.pg_class'::pg_catalog.regclass
    WHERE f.adrelid = w.relation AND f.adnum = w.number) used(oid)
JOIN pg_catalog.pg_sequence s ON s.seqrelid = used.oid WHERE 0 < s.seqincrement";

/// One that counts upwards.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sequence {
    /// Position of its column in what was asked for.
    pub at: usize,
    /// Quoted, with its schema.
    pub name: String,
    /// What it would give next.
    pub next: i64,
    increment: i64,
    highest: i64,
}

/// The sequences of columns, each by its table and number.
pub async fn of(client: &Client, columns: &[(Oid, i16)]) -> Result<Vec<Sequence>, Error> {
    let tables: Vec<Oid> = columns.iter().map(|(table, _)| *table).collect();
    let numbers: Vec<i16> = columns.iter().map(|(_, number)| *number).collect();
    let mut found = Vec::new();
    for row in client.query(OF, &[&tables, &numbers]).await? {
        let at = usize::try_from(row.get::<_, i64>(0) - 1).unwrap_or(0);
        let (name, increment, highest): (String, i64, i64) = (row.get(1), row.get(2), row.get(3));
        let state = format!("SELECT last_value, is_called FROM {name}");
        let state = client.query_one(&state, &[]).await?;
        let (last, called): (i64, bool) = (state.get(0), state.get(1));
        let next = if called { last.saturating_add(increment) } else { last };
        found.push(Sequence { at, name, next, increment, highest });
    }
    Ok(found)
}

/// Has the sequence give nothing below `next` any more.
pub async fn raise(client: &Client, sequence: &Sequence, next: i64) -> Result<(), Error> {
    let Sequence { name, increment, highest, .. } = sequence;
    let last = next.saturating_sub(1).min(*highest);
    // Nobody else counts here, but a value that is higher by now must stay.
    let raise = format!(
        "SELECT pg_catalog.setval('{}', {last}) FROM {name} WHERE \
         CASE WHEN is_called THEN last_value::numeric + {increment} ELSE last_value END <= {last}",
        name.replace('\'', "''")
    );
    client.batch_execute(&raise).await
}
