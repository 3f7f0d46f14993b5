//! Statements over PostgreSQL's protocol: to PostgreSQL, or through Crossfade.

use crossfade::demo::servers::PASSWORD;
use tokio_postgres::types::Type;
use tokio_postgres::{Client, NoTls, SimpleQueryMessage};

use crate::{Outcome, TABLES, value};

pub async fn connect(port: u16) -> Client {
    let mut config = tokio_postgres::Config::new();
    config.host("127.0.0.1").port(port).user("postgres").password(PASSWORD).dbname("postgres");
    let (client, connection) = config.connect(NoTls).await.expect("a connection");
    tokio::spawn(connection);
    client.batch_execute("SET TimeZone = 'UTC'").await.expect("an answer");
    client
}

/// Of the columns that it answers with; none where it is refused.
pub async fn types(client: &Client, text: &str) -> Vec<Type> {
    let prepared = client.prepare(text).await;
    prepared.map_or(Vec::new(), |p| p.columns().iter().map(|c| c.type_().clone()).collect())
}

/// Runs it in a transaction of its own, and leaves nothing of it.
pub async fn run(client: &Client, text: &str, writes: bool) -> Outcome {
    client.batch_execute("BEGIN").await.expect("a transaction begins");
    let mut outcome = one(client, text).await;
    if writes && outcome.error.is_none() {
        for table in TABLES {
            let mut rows = one(client, &format!("SELECT * FROM {table}")).await.rows;
            rows.sort();
            outcome.tables.insert(table, rows);
        }
    }
    client.batch_execute("ROLLBACK").await.expect("it is taken back");
    outcome
}

async fn one(client: &Client, text: &str) -> Outcome {
    let failed = |error: &tokio_postgres::Error| Outcome {
        error: Some(error.code().map_or("?", |code| code.code()).to_owned()),
        ..Outcome::default()
    };
    let types: Vec<Type> = match client.prepare(text).await {
        Ok(prepared) => prepared.columns().iter().map(|c| c.type_().clone()).collect(),
        Err(error) => return failed(&error),
    };
    let messages = match client.simple_query(text).await {
        Ok(messages) => messages,
        Err(error) => return failed(&error),
    };
    let mut outcome = Outcome::default();
    for message in messages {
        match message {
            SimpleQueryMessage::Row(row) => {
                let cell = |(at, ty)| row.get(at).map(|text| value::of_postgres(text, ty));
                outcome.rows.push(types.iter().enumerate().map(cell).collect());
            }
            SimpleQueryMessage::CommandComplete(count) => outcome.count = count,
            _ => {}
        }
    }
    outcome
}
