//! What eighteen applications sent to PostgreSQL: every statement is translated, or refused by name.
//!
//! The schema of each is made of the DDL in its own file, as far as PostgreSQL takes it; MySQL prepares what
//! is translated.

use std::collections::BTreeMap;

use crossfade::backend::postgres::introspect;
use crossfade::catalog::Catalog;
use crossfade::catalog::naming::Naming;
use crossfade::dialect::{Surroundings, translate};
use crossfade::policy::{Mode, Policies};
use crossfade::value::Flavor;
use crossfade::value::style::Zone;

use crate::support::{Target, World, inside};

const FILES: &[(&str, &str)] = &[
    ("authhero", include_str!("corpus/authhero.sql")),
    ("authjs-connect-pg-simple", include_str!("corpus/authjs-connect-pg-simple.sql")),
    ("authjs-drizzle-pg", include_str!("corpus/authjs-drizzle-pg.sql")),
    ("authjs-drizzle-postgresjs", include_str!("corpus/authjs-drizzle-postgresjs.sql")),
    ("authjs-kysely", include_str!("corpus/authjs-kysely.sql")),
    ("authjs-lucia-pg", include_str!("corpus/authjs-lucia-pg.sql")),
    ("authjs-lucia-postgresjs", include_str!("corpus/authjs-lucia-postgresjs.sql")),
    ("authjs-pg", include_str!("corpus/authjs-pg.sql")),
    ("authjs-sequelize", include_str!("corpus/authjs-sequelize.sql")),
    ("authjs-typeorm", include_str!("corpus/authjs-typeorm.sql")),
    ("axum-login", include_str!("corpus/axum-login.sql")),
    ("better-auth", include_str!("corpus/better-auth.sql")),
    ("fastapi-users-asyncpg", include_str!("corpus/fastapi-users-asyncpg.sql")),
    ("fastapi-users-psycopg3", include_str!("corpus/fastapi-users-psycopg3.sql")),
];

struct Captured {
    kind: String,
    sql: String,
}

/// `-- [KIND …] …` and the text up to the next comment or blank line.
fn parse(text: &str) -> Vec<Captured> {
    let mut found = Vec::new();
    let mut kind: Option<String> = None;
    let mut sql = String::new();
    let mut flush = |kind: &Option<String>, sql: &mut String| {
        if let (Some(kind), false) = (kind, sql.trim().is_empty()) {
            found.push(Captured { kind: kind.clone(), sql: sql.trim().to_owned() });
        }
        sql.clear();
    };
    for line in text.lines() {
        if let Some(header) = line.strip_prefix("-- [") {
            flush(&kind, &mut sql);
            kind = header.split([' ', ']']).next().map(str::to_owned);
        } else if line.starts_with("--") {
            if sql.is_empty() {
                continue;
            }
            sql.push('\n');
        } else {
            sql.push_str(line);
            sql.push('\n');
        }
    }
    flush(&kind, &mut sql);
    found
}

async fn catalog(world: &World) -> Catalog {
    let policies = Policies::new(Vec::new(), inside::policy(Mode::Blocking));
    introspect::introspect(&world.admin().await, &policies, &Naming::default()).await.unwrap()
}

#[tokio::test]
async fn captured_statements_are_translated_or_refused_by_name() {
    let (mut translated, mut total) = (0, 0);
    let mut refusals: BTreeMap<String, (usize, String)> = BTreeMap::new();
    for (name, text) in FILES {
        let captured = parse(text);
        let world = World::bare(Target::MariaDb, "").await;
        let direct = world.direct().await;
        world.admin().await.batch_execute("CREATE EXTENSION IF NOT EXISTS citext").await.unwrap();
        for statement in captured.iter().filter(|statement| statement.kind == "DDL") {
            // Some undo others, some are of roles that are not there.
            let _ = direct.batch_execute(&statement.sql).await;
        }
        let catalog = catalog(&world).await;
        for statement in &captured {
            if !matches!(statement.kind.as_str(), "DML" | "READ") || is_catalogue(&statement.sql) {
                continue;
            }
            for flavor in [Flavor::MySql, Flavor::MariaDb] {
                total += 1;
                let path = vec!["public".to_owned()];
                let around = Surroundings {
                    catalog: &catalog,
                    path: &path,
                    flavor,
                    zone: Zone::default(),
                    declared: &[],
                };
                match translate(&statement.sql, around) {
                    Ok(_) => translated += 1,
                    Err(refused) => {
                        let key = format!("{} {}", refused.code, refused.message);
                        let entry = refusals
                            .entry(key)
                            .or_insert((0, format!("{name}: {}", statement.sql)));
                        entry.0 += 1;
                    }
                }
            }
        }
    }
    let mut table: Vec<_> = refusals.into_iter().collect();
    table.sort_by_key(|(_, (count, _))| std::cmp::Reverse(*count));
    let lines = table.iter().map(|(why, (count, example))| {
        let example: String = example.chars().take(240).collect();
        format!("{count:5} {why}\n        {example}\n")
    });
    eprintln!("{translated} of {total} translated\n{}", lines.collect::<String>());
    assert!(total > 0 && translated * 100 >= total * 80, "{translated} of {total}");
}

/// Asked of PostgreSQL's own catalogue, or of the server: not the dialect's.
fn is_catalogue(sql: &str) -> bool {
    let lower = sql.to_lowercase();
    [
        "pg_",
        "information_schema",
        "version()",
        "current_schema",
        "set_config",
        "current_setting",
        "nextval",
        "setval",
        "lastval",
    ]
    .iter()
    .any(|word| lower.contains(word))
}
