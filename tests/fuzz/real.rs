//! Generated statements on a real PostgreSQL: the client's text and ours are taken alike and do the
//! same, and no write of a migrated table is taken for anything else.

use std::collections::BTreeMap;

use crossfade::phase::Situation;
use crossfade::plan::{Applied, Plan, Planned, SearchPath, Step, plan};
use tokio_postgres::error::ErrorPosition;
use tokio_postgres::{Client, SimpleQueryMessage};

use super::harness::Run;
use super::statements::{SCHEMA, statement};
use crate::support::inside;

/// All that the migrated tables hold, and the one that is not migrated.
const CONTENT: &str = "SELECT concat_ws('#', \
     (SELECT string_agg(t::text, '|' ORDER BY t::text) FROM public.users t), \
     (SELECT string_agg(t::text, '|' ORDER BY t::text) FROM public.members t), \
     (SELECT string_agg(t::text, '|' ORDER BY t::text) FROM auth.codes t), \
     (SELECT string_agg(t::text, '|' ORDER BY t::text) FROM public.\"Odd \"\"na;me\" t), \
     (SELECT string_agg(t::text, '|' ORDER BY t::text) FROM public.\"Étage\" t)), \
     (SELECT coalesce(string_agg(t::text, '|' ORDER BY t::text), '') FROM public.plain t)";

/// So many are shown at once.
const FINDINGS_MAX: usize = 8;

#[tokio::test]
async fn postgresql_takes_the_rewritten_statement_as_it_takes_the_clients() {
    let world = inside::start("fuzzed", SCHEMA, &[]).await;
    let situation = std::sync::Arc::clone(&world.situation.borrow());
    let client = world.direct().await;
    let before = content(&client).await;
    let mut done: BTreeMap<&str, u32> = BTreeMap::new();
    let mut found = Vec::new();
    let run = Run::new(1_500);
    for mut random in run.cases() {
        let sql = statement(&mut random);
        let what = compare(&client, &situation, &sql, &before).await;
        match what {
            Ok(what) => *done.entry(what).or_default() += 1,
            Err(wrong) => found.push(format!("{wrong}\n{}\n", sql.escape_debug())),
        }
        if FINDINGS_MAX <= found.len() {
            break;
        }
    }
    assert!(found.is_empty(), "CROSSFADE_SEED={}\n{}", run.seed, found.join("\n"));
    eprintln!("{done:?}");
    let number = |what| done.get(what).copied().unwrap_or(0);
    assert!(number("fails") < 4 * number("captured") && 0 < number("fails"), "{done:?}");
}

/// How a statement ended: its error, or its rows and what the tables hold then.
#[derive(Debug, PartialEq, Eq)]
enum Outcome {
    Failed { code: String, position: Option<usize> },
    Done { rows: Vec<Vec<Option<String>>>, count: u64, content: [String; 2] },
}

async fn compare(
    client: &Client,
    situation: &Situation,
    sql: &str,
    before: &[String; 2],
) -> Result<&'static str, String> {
    let plan = plan(sql, situation, &SearchPath::Known(vec!["public".to_owned()]));
    let parsed = client.prepare(sql).await;
    let several = parsed.as_ref().err().and_then(|error| error.as_db_error());
    if several.is_some_and(|error| error.message().starts_with("cannot insert multiple")) {
        return match plan.statements.len() {
            0 | 1 => Err("PostgreSQL sees several statements".to_owned()),
            _ => Ok("several"),
        };
    }
    if parsed.is_ok() && 1 < plan.statements.len() {
        return Err(format!("PostgreSQL sees one statement: {:?}", plan.statements));
    }
    let direct = run(client, sql, 0, None).await;
    let Some(applied) = plan.apply(sql) else {
        return unchanged(&plan, &direct, before);
    };
    let added = plan.single().map_or(0, |step| match step {
        Step::Capture(capture) if capture.returning => capture.columns.len(),
        _ => 0,
    });
    let silent = matches!(plan.single(), Some(Step::Capture(capture)) if !capture.returning);
    let mut ours = run(client, &applied.text, added, Some(&applied)).await;
    if let (true, Outcome::Done { rows, .. }) = (silent, &mut ours) {
        rows.clear();
    }
    if ours != direct {
        return Err(format!("{direct:?}\nbut rewritten\n{ours:?}\n{}", applied.text));
    }
    Ok(if let Outcome::Failed { .. } = direct { "fails" } else { "captured" })
}

/// A statement that is passed on as it is may only write what its step says.
fn unchanged(plan: &Plan, direct: &Outcome, before: &[String; 2]) -> Result<&'static str, String> {
    let Outcome::Done { content, .. } = direct else { return Ok("fails unchanged") };
    let flagged = |planned: &Planned| match &planned.step {
        Step::Uncaptured { tables, .. } => !tables.is_empty(),
        Step::Entered(_) => true,
        _ => false,
    };
    match (content[0] == before[0], plan.statements.iter().any(flagged)) {
        (false, false) => Err(format!("a write that nobody noticed: {:?}", plan.statements)),
        (_, true) => Ok("flagged"),
        (true, false) => Ok("read"),
    }
}

/// Runs a statement and takes it back; the last `added` columns are not looked at.
async fn run(client: &Client, sql: &str, added: usize, applied: Option<&Applied>) -> Outcome {
    client.batch_execute("BEGIN").await.unwrap();
    let outcome = match client.simple_query(sql).await {
        Ok(messages) => {
            let (mut rows, mut count) = (Vec::new(), 0);
            for message in messages {
                match message {
                    SimpleQueryMessage::Row(row) => {
                        let columns = 0..row.len() - added;
                        rows.push(columns.map(|at| row.get(at).map(str::to_owned)).collect());
                    }
                    SimpleQueryMessage::CommandComplete(number) => count = number,
                    _ => {}
                }
            }
            rows.sort();
            Outcome::Done { rows, count, content: content(client).await }
        }
        Err(error) => {
            let error = error.as_db_error().unwrap_or_else(|| panic!("{error:?}"));
            let position = match error.position() {
                Some(ErrorPosition::Original(at)) => Some(usize::try_from(*at).unwrap()),
                _ => None,
            };
            let position = position.map(|at| applied.map_or(at, |map| map.client_position(at)));
            Outcome::Failed { code: error.code().code().to_owned(), position }
        }
    };
    client.batch_execute("ROLLBACK").await.unwrap();
    outcome
}

async fn content(client: &Client) -> [String; 2] {
    let row = client.query_one(CONTENT, &[]).await.unwrap();
    [row.get(0), row.get(1)]
}
