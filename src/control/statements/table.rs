//! The SQL of `crossfade.statements` and `crossfade.descriptions`.
//!
//! Invariant: lines are written in the order of their fingerprints, so that sidecars that write the
//! same ones wait for each other and never in a circle.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde_json::{Value as Json, json};
use tokio_postgres::{Client, Error, Row};

use crate::backend::postgres::records::{CROSSINGS, DESCRIPTIONS, STATEMENTS};
use crate::plan::seen::described::Column;
use crate::plan::seen::record::{KeptShape, Untold};
use crate::plan::seen::{Compared, Crossing, Described, Fingerprint, Line, Readiness, Shape};

/// Statements that the table holds; past it those go that were not seen for longest.
const KEPT_MAX: i64 = 10_000;
/// Tellings between two looks for statements too many.
const PRUNE_EVERY: u32 = 100;
/// What other transactions commit may bear a time of up to this long before.
const OVERLAP: Duration = Duration::from_secs(60);

const ADD: &str = "\
INSERT INTO crossfade.statements AS s (fingerprint, text, kind, reason, count, first_seen, last_seen,
    readiness, matched, mismatched, undetermined, failed, primary_micros, secondary_micros, at)
SELECT n.*, pg_catalog.clock_timestamp() FROM unnest($1::text[], $2::text[], $3::text[], $4::text[],
    $5::bigint[], $6::timestamptz[], $7::timestamptz[], $8::text[], $9::bigint[], $10::bigint[],
    $11::bigint[], $12::bigint[], $13::bigint[], $14::bigint[]) AS n
ON CONFLICT (fingerprint) DO UPDATE SET
    kind = excluded.kind, reason = excluded.reason, count = s.count + excluded.count,
    first_seen = least(s.first_seen, excluded.first_seen),
    last_seen = greatest(s.last_seen, excluded.last_seen),
    readiness = coalesce(excluded.readiness, nullif(s.readiness, 'forgotten')),
    matched = s.matched + excluded.matched, mismatched = s.mismatched + excluded.mismatched,
    undetermined = s.undetermined + excluded.undetermined, failed = s.failed + excluded.failed,
    primary_micros = s.primary_micros + excluded.primary_micros,
    secondary_micros = s.secondary_micros + excluded.secondary_micros, at = excluded.at
WHERE s.readiness IS DISTINCT FROM 'forgotten' OR s.at < excluded.last_seen";

/// What a sidecar has counted before and not told yet brings none of them back.
const FORGET: &str = "\
UPDATE crossfade.statements SET count = 0, readiness = 'forgotten', matched = 0, mismatched = 0,
    undetermined = 0, failed = 0, primary_micros = 0, secondary_micros = 0,
    at = pg_catalog.clock_timestamp()
WHERE fingerprint = ANY ($1) AND readiness IS DISTINCT FROM 'forgotten' RETURNING fingerprint";

const DESCRIBE: &str = "\
INSERT INTO crossfade.descriptions AS d (fingerprint, shape, parameters, columns, at)
SELECT n.fingerprint, n.shape, n.parameters::bigint[], n.columns::jsonb, pg_catalog.clock_timestamp()
FROM unnest($1::text[], $2::bigint[], $3::text[], $4::text[])
    AS n (fingerprint, shape, parameters, columns)
ON CONFLICT (fingerprint, shape) DO UPDATE SET columns = excluded.columns, at = excluded.at,
    parameters = CASE WHEN excluded.parameters IS NULL AND d.columns IS NOT DISTINCT FROM excluded.columns
        THEN d.parameters ELSE excluded.parameters END";

const LINES: &str = "\
SELECT fingerprint, text, kind, reason, count, first_seen, last_seen, readiness, matched, mismatched,
    undetermined, failed, primary_micros, secondary_micros
FROM crossfade.statements WHERE $1::timestamptz IS NULL OR $1 <= at
ORDER BY last_seen DESC, fingerprint LIMIT $2";

const SHAPES: &str = "\
SELECT d.fingerprint, d.shape, d.parameters, d.columns::text FROM crossfade.descriptions d
JOIN (SELECT s.fingerprint FROM crossfade.statements s ORDER BY s.last_seen DESC LIMIT $2) s
    USING (fingerprint)
WHERE $1::timestamptz IS NULL OR $1 <= d.at";

const NOW: &str = "SELECT pg_catalog.clock_timestamp(), (SELECT count(*) FROM crossfade.statements), \
     pg_catalog.current_setting('server_encoding') = 'UTF8'";

const CROSS: &str = "INSERT INTO crossfade.crossings (fingerprint, groups) VALUES ($1, $2) \
     ON CONFLICT (fingerprint, groups) DO UPDATE SET at = pg_catalog.clock_timestamp()";
const CROSSED: &str =
    "SELECT c.fingerprint, c.groups FROM crossfade.crossings c ORDER BY c.at DESC LIMIT $1";
/// Crossings that are looked at; where there are more, that is a crossing of its own.
const CROSSED_MAX: usize = 10_000;

const PRUNE: &str = "\
WITH gone AS (
    DELETE FROM crossfade.statements WHERE fingerprint IN (
        SELECT fingerprint FROM crossfade.statements ORDER BY last_seen DESC, fingerprint OFFSET $1
    ) RETURNING fingerprint
)
DELETE FROM crossfade.descriptions d USING gone WHERE d.fingerprint = gone.fingerprint";

/// What is known about the table.
#[derive(Debug, Default)]
pub(super) struct Table {
    /// The connection on which it was found to be there.
    ensured: Option<u64>,
    /// The primary's time of the last look.
    looked: Option<SystemTime>,
    lines: i64,
    tellings: u32,
}

impl Table {
    /// Dual writes have ended, and the table with them; true where there was one.
    pub(super) fn forget(&mut self) -> bool {
        let was = self.looked.is_some();
        *self = Self::default();
        was
    }

    /// Lines that it holds.
    pub(super) fn lines(&self) -> i64 {
        self.lines
    }

    /// Makes the table where it is missing; true where it was there before, so that what it held is lost.
    pub(super) async fn ensure(&mut self, client: &Client, generation: u64) -> Result<bool, Error> {
        if self.ensured == Some(generation) {
            return Ok(false);
        }
        let there = STATEMENTS.exists(client).await? && DESCRIPTIONS.exists(client).await?;
        if !there {
            STATEMENTS.ensure(client).await?;
            DESCRIPTIONS.ensure(client).await?;
        }
        CROSSINGS.ensure(client).await?;
        let lost = !there && self.forget();
        self.ensured = Some(generation);
        Ok(lost)
    }

    /// Adds what is untold, and reads what all sidecars have added since the last look.
    pub(super) async fn tell(
        &mut self,
        client: &mut Client,
        untold: &[Untold],
        most: usize,
    ) -> Result<(Vec<Line>, Vec<KeptShape>), Error> {
        let transaction = client.transaction().await?;
        let now = transaction.query_one(NOW, &[]).await?;
        let utf8 = now.get(2);
        if !untold.is_empty() {
            add(transaction.client(), untold, utf8).await?;
            describe(transaction.client(), untold).await?;
        }
        let since = self.looked.map(|looked| looked - OVERLAP);
        let most = i64::try_from(most).unwrap_or(i64::MAX);
        let lines = transaction.query(LINES, &[&since, &most]).await?;
        let shapes = transaction.query(SHAPES, &[&since, &most]).await?;
        if self.tellings.is_multiple_of(PRUNE_EVERY) {
            transaction.execute(PRUNE, &[&KEPT_MAX]).await?;
        }
        transaction.commit().await?;
        self.tellings = self.tellings.wrapping_add(1);
        (self.looked, self.lines) = (Some(now.get(0)), now.get(1));
        let lines = lines.iter().filter_map(line).collect();
        Ok((lines, shapes.iter().filter_map(shape).collect()))
    }
}

/// Adds groups that were used together.
pub(super) async fn tell_crossings(client: &Client, found: &[Crossing]) -> Result<(), Error> {
    for Crossing { fingerprint, groups } in found {
        let fingerprint = fingerprint.map(|found| found.to_string()).unwrap_or_default();
        client.execute(CROSS, &[&fingerprint, groups]).await?;
    }
    Ok(())
}

/// Groups that were used together since they were first looked at; nothing where there is no such table.
pub async fn crossings(client: &Client) -> Result<Vec<Crossing>, Error> {
    if !CROSSINGS.exists(client).await? {
        return Ok(Vec::new());
    }
    let crossing =
        |row: &Row| Crossing { fingerprint: Fingerprint::parse(row.get(0)), groups: row.get(1) };
    let rows = client.query(CROSSED, &[&(CROSSED_MAX as i64 + 1)]).await?;
    let mut found: Vec<Crossing> = rows.iter().map(crossing).collect();
    if CROSSED_MAX < found.len() {
        found.truncate(CROSSED_MAX);
        found.push(Crossing { fingerprint: None, groups: Vec::new() });
    }
    Ok(found)
}

/// Every line, for whoever is no sidecar; `None` where there is no such table.
pub async fn read(client: &Client) -> Result<Option<Vec<Line>>, Error> {
    if !STATEMENTS.exists(client).await? {
        return Ok(None);
    }
    let lines = client.query(LINES, &[&None::<SystemTime>, &KEPT_MAX]).await?;
    let lines = lines.iter().filter_map(line);
    let lines = lines.filter(|line| line.readiness != Readiness::Forgotten);
    let mut lines: Vec<Line> = lines.map(Line::as_seen).collect();
    lines.sort_by(|a, b| b.count.cmp(&a.count).then_with(|| a.text.cmp(&b.text)));
    Ok(Some(lines))
}

/// Takes statements off the list that are sent no more; one that is sent again is listed again. Answers with
/// those that were listed; `None` where there is no list.
pub async fn forget(
    client: &Client,
    fingerprints: &[Fingerprint],
) -> Result<Option<Vec<Fingerprint>>, Error> {
    if !STATEMENTS.exists(client).await? {
        return Ok(None);
    }
    let texts: Vec<String> = fingerprints.iter().map(ToString::to_string).collect();
    let gone = client.query(FORGET, &[&texts]).await?;
    Ok(Some(gone.iter().filter_map(|row| Fingerprint::parse(row.get(0))).collect()))
}

async fn add(client: &Client, untold: &[Untold], utf8: bool) -> Result<(), Error> {
    let lines = || untold.iter().map(|untold| &untold.line);
    let numbers = |of: fn(&Line) -> u64| -> Vec<i64> {
        lines().map(|line| i64::try_from(of(line)).unwrap_or(i64::MAX)).collect()
    };
    let texts = |of: fn(&Line) -> &String| -> Vec<&str> { lines().map(|l| &of(l)[..]).collect() };
    let fingerprints: Vec<_> = lines().map(|line| line.fingerprint.to_string()).collect();
    let statements: Vec<_> = lines().map(|line| within(&line.text, utf8)).collect();
    let reasons: Vec<_> = lines().map(|line| line.reason.as_deref()).collect();
    let times = |of: fn(&Line) -> i64| -> Vec<_> { lines().map(|line| time(of(line))).collect() };
    let verdict = |untold: &Untold| untold.judged.then(|| untold.line.readiness.to_string());
    let readiness: Vec<_> = untold.iter().map(verdict).collect();
    client
        .execute(
            ADD,
            &[
                &fingerprints,
                &statements,
                &texts(|line| &line.kind),
                &reasons,
                &numbers(|line| line.count),
                &times(|line| line.first),
                &times(|line| line.last),
                &readiness,
                &numbers(|line| line.compared.matched),
                &numbers(|line| line.compared.mismatched),
                &numbers(|line| line.compared.undetermined),
                &numbers(|line| line.compared.failed),
                &numbers(|line| line.compared.primary_micros),
                &numbers(|line| line.compared.secondary_micros),
            ],
        )
        .await?;
    Ok(())
}

async fn describe(client: &Client, untold: &[Untold]) -> Result<(), Error> {
    let (mut fingerprints, mut shapes) = (Vec::new(), Vec::new());
    let (mut parameters, mut columns) = (Vec::new(), Vec::new());
    for untold in untold {
        let mut of_one: Vec<_> = untold.shapes.iter().collect();
        of_one.sort_by_key(|(shape, _)| *shape);
        for (shape, described) in of_one {
            fingerprints.push(untold.line.fingerprint.to_string());
            shapes.push(shape.number());
            parameters.push(described.parameters.as_ref().map(|types| {
                let types: Vec<_> = types.iter().map(ToString::to_string).collect();
                format!("{{{}}}", types.join(","))
            }));
            columns.push(described.columns.as_deref().map(columns_text));
        }
    }
    if !shapes.is_empty() {
        client.execute(DESCRIBE, &[&fingerprints, &shapes, &parameters, &columns]).await?;
    }
    Ok(())
}

/// One array for each column: name, table, number, type, its size and its modifier.
fn columns_text(columns: &[Column]) -> String {
    let column =
        |c: &Column| json!([c.name, c.table, c.number, c.type_oid, c.type_size, c.type_modifier]);
    Json::Array(columns.iter().map(column).collect()).to_string()
}

fn columns_of(text: &str) -> Option<Vec<Column>> {
    type Parts = (String, u32, i16, u32, i16, i32);
    let columns: Vec<Parts> = serde_json::from_str(text).ok()?;
    let column = |(name, table, number, type_oid, type_size, type_modifier): Parts| Column {
        name,
        table,
        number,
        type_oid,
        type_size,
        type_modifier,
    };
    Some(columns.into_iter().map(column).collect())
}

fn line(row: &Row) -> Option<Line> {
    let count = |at: usize| u64::try_from(row.get::<_, i64>(at)).unwrap_or(0);
    let readiness: Option<String> = row.get(7);
    Some(Line {
        fingerprint: Fingerprint::parse(row.get(0))?,
        text: row.get(1),
        kind: row.get(2),
        reason: row.get(3),
        count: count(4),
        first: micros(row.get(5)),
        last: micros(row.get(6)),
        readiness: readiness.map(|text| Readiness::parse(&text)).unwrap_or_default(),
        compared: Compared {
            matched: count(8),
            mismatched: count(9),
            undetermined: count(10),
            failed: count(11),
            primary_micros: count(12),
            secondary_micros: count(13),
        },
        refused: None,
    })
}

fn shape(row: &Row) -> Option<KeptShape> {
    let parameters: Option<Vec<i64>> = row.get(2);
    let oid = |number: &i64| u32::try_from(*number).ok();
    let parameters = match parameters {
        Some(types) => Some(types.iter().map(oid).collect::<Option<Vec<_>>>()?),
        None => None,
    };
    let columns: Option<String> = row.get(3);
    let columns = match columns {
        Some(text) => Some(columns_of(&text)?),
        None => None,
    };
    Some(KeptShape {
        fingerprint: Fingerprint::parse(row.get(0))?,
        shape: Shape::from(row.get::<_, i64>(1)),
        described: Described { parameters, columns },
    })
}

/// What stands for a cut and for a control character is in no encoding but Unicode's.
fn within(text: &str, utf8: bool) -> String {
    if utf8 { text.to_owned() } else { text.replace('…', "...").replace('\u{fffd}', "?") }
}

fn time(micros: i64) -> SystemTime {
    UNIX_EPOCH + Duration::from_micros(u64::try_from(micros).unwrap_or(0))
}

fn micros(time: SystemTime) -> i64 {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_micros()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_read_as_they_were_written() {
        let column = Column {
            name: "a \"b\" ü".to_owned(),
            table: u32::MAX,
            number: -1,
            type_oid: 1043,
            type_size: -1,
            type_modifier: 259,
        };
        let columns = vec![column.clone(), Column { name: String::new(), ..column }];
        assert_eq!(columns_of(&columns_text(&columns)), Some(columns));
        assert_eq!(columns_of("[]"), Some(Vec::new()));
        assert_eq!(columns_of("[[1]]"), None);
    }
}
