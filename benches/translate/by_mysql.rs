//! Statements sent to MySQL itself.

use std::collections::BTreeMap;

use mysql_async::prelude::Queryable as _;
use mysql_async::{Conn, Row, Value};
use tokio_postgres::Client;
use tokio_postgres::types::Type;

use crate::place::Place;
use crate::{Outcome, TABLES, by_postgres, value};

pub struct Direct {
    conn: Conn,
    /// Of each table's columns, on PostgreSQL.
    types: BTreeMap<&'static str, Vec<Type>>,
}

impl Direct {
    pub async fn new(place: &Place, postgres: &Client) -> Self {
        let mut types = BTreeMap::new();
        for table in TABLES {
            let text = format!("SELECT * FROM {table}");
            types.insert(table, by_postgres::types(postgres, &text).await);
        }
        Self { conn: place.mysql().await, types }
    }

    /// Both servers number new rows from here on: neither takes numbers back with a transaction.
    pub async fn count_from(&mut self, postgres: &Client, tables: &[&str], first: usize) {
        for table in tables {
            let text = format!("SELECT setval('{table}_id_seq', {first}, false)");
            postgres.batch_execute(&text).await.expect("a sequence is set");
            let text = format!("ALTER TABLE {table} AUTO_INCREMENT = {first}");
            self.conn.query_drop(text).await.expect("a counter is set");
        }
    }

    /// Runs it in a transaction of its own; `types` are those of PostgreSQL's columns.
    pub async fn run(&mut self, text: &str, types: &[Type], writes: bool) -> Outcome {
        self.conn.query_drop("BEGIN").await.expect("a transaction begins");
        let mut outcome = self.one(text, types).await;
        if writes && outcome.error.is_none() {
            for table in TABLES {
                let types = self.types[table].clone();
                let mut rows = self.one(&format!("SELECT * FROM {table}"), &types).await.rows;
                rows.sort();
                outcome.tables.insert(table, rows);
            }
        }
        self.conn.query_drop("ROLLBACK").await.expect("it is taken back");
        outcome
    }

    async fn one(&mut self, text: &str, types: &[Type]) -> Outcome {
        let rows: Vec<Row> = match self.conn.query(text).await {
            Ok(rows) => rows,
            Err(_) => return Outcome { error: Some("?".to_owned()), ..Outcome::default() },
        };
        let count = match rows.len() {
            0 => self.conn.affected_rows(),
            rows => rows as u64,
        };
        let rows = rows.into_iter().map(|row| {
            let cells = row.unwrap().into_iter().enumerate();
            cells.map(|(at, cell)| shown(&cell, types.get(at).unwrap_or(&Type::TEXT))).collect()
        });
        Outcome { rows: rows.collect(), count, ..Outcome::default() }
    }
}

fn shown(cell: &Value, ty: &Type) -> Option<String> {
    match cell {
        Value::NULL => None,
        Value::Bytes(bytes) => Some(value::of_mysql(bytes, ty)),
        other => Some(value::of_mysql(other.as_sql(true).trim_matches('\'').as_bytes(), ty)),
    }
}
