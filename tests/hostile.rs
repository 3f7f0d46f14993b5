//! Clients that mean harm, or look like it: none of them reaches our statements.
//!
//! ```text
//! the same words ─┬─▶ Crossfade ─▶ database ──▶ secondary, equal
//!                 └─────────────▶ its twin, without Crossfade: the same answers
//! ```

mod names;
mod paths;
mod privileges;
mod session;
mod text;

use tokio_postgres::error::ErrorPosition;
use tokio_postgres::{Client, SimpleQueryMessage};

use crate::support::{self, Target, World};

/// A world, and beside it a database of the same schema that Crossfade has nothing to do with.
struct Twins {
    world: World,
    ours: Client,
    theirs: Client,
}

impl Twins {
    /// `schema` is run by the application's role, `grants` by a superuser.
    async fn start(schema: &str, grants: &str) -> Self {
        let mut world = World::bare(Target::MariaDb, "").await;
        let (admin, twin) = (world.admin().await, format!("{}_twin", world.database));
        admin
            .batch_execute(&format!("CREATE DATABASE {twin} OWNER {}", support::ROLE))
            .await
            .unwrap();
        let connect =
            |user, password| support::connect(world.postgres_port(), user, password, &twin);
        let theirs = connect(support::ROLE, support::ROLE_PASSWORD).await;
        let superuser = connect("postgres", crossfade::demo::servers::PASSWORD).await;
        let direct = world.direct().await;
        for (client, admin) in [(&direct, &admin), (&theirs, &superuser)] {
            client.batch_execute(schema).await.unwrap();
            admin.batch_execute(grants).await.unwrap();
        }
        world.setup();
        world.run().await;
        let ours = world.client().await;
        Self { world, ours, theirs }
    }

    /// Runs a query string on both; the answers have to be the same.
    #[track_caller]
    fn both<'a>(&'a self, sql: &'a str) -> impl Future<Output = String> + 'a {
        let place = std::panic::Location::caller();
        async move {
            let (ours, theirs) = (answer(&self.ours, sql).await, answer(&self.theirs, sql).await);
            assert_eq!(ours, theirs, "{place}: {sql}\n{}", self.world.log());
            ours
        }
    }

    /// All was carried over: both sides are equal, and no table is dirty but these.
    async fn carried(&self, dirty: &[&str]) {
        self.world.drained().await;
        let sql = "SELECT name || ' ' || dirty_reason FROM crossfade.tables \
                   WHERE dirty_reason IS NOT NULL AND dirty_reason <> 'backfill' ORDER BY 1";
        let rows = self.world.admin().await.query(sql, &[]).await.unwrap();
        let found: Vec<String> = rows.iter().map(|row| row.get(0)).collect();
        assert_eq!(found, dirty, "{}", self.world.log());
        if dirty.is_empty() {
            self.world.assert_all_equal().await;
        }
    }
}

/// All that a client gets to see of a query string's answer.
async fn answer(client: &Client, sql: &str) -> String {
    match client.simple_query(sql).await {
        Ok(messages) => {
            let lines = messages.iter().map(|message| match message {
                SimpleQueryMessage::RowDescription(columns) => {
                    let names: Vec<_> = columns.iter().map(|column| column.name()).collect();
                    format!("columns {}", names.join("|"))
                }
                SimpleQueryMessage::Row(row) => {
                    let values: Vec<_> =
                        (0..row.len()).map(|at| row.get(at).unwrap_or("∅")).collect();
                    format!("row {}", values.join("|"))
                }
                SimpleQueryMessage::CommandComplete(count) => format!("done {count}"),
                _ => "?".to_owned(),
            });
            lines.collect::<Vec<_>>().join("\n")
        }
        Err(error) => failure(&error),
    }
}

fn failure(error: &tokio_postgres::Error) -> String {
    let Some(error) = error.as_db_error() else { return format!("broken: {error:?}") };
    let position = match error.position() {
        Some(ErrorPosition::Original(at)) => *at,
        _ => 0,
    };
    format!("{} {} at {position}", error.code().code(), error.message())
}
