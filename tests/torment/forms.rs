//! Every form that a numbered write can take: each protocol, alone and in transactions of all kinds.
//!
//! Invariant: an error says at which point it came. Before the commit was asked for, nothing was
//! written; after that, the client cannot know unless it is told.

use std::time::Duration;

use futures_util::SinkExt as _;
use rand::Rng as _;
use rand::rngs::StdRng;
use tokio_postgres::types::ToSql;
use tokio_postgres::{Client, Error, NoTls};

use super::BODY;
use super::clients::{NUMBERS, mode};
use super::crossing;
use super::journal::Told;
use crate::random;

/// Numbers of its own, of which [`Form::Update`] writes a seventh.
const TOUCHED: i64 = 150;

#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Form {
    /// One statement, simple protocol.
    Text,
    /// One statement, extended protocol.
    Prepared,
    Block,
    Savepoints,
    /// Several statements in one query string.
    Batch,
    /// BEGIN, the statement and COMMIT are sent at once.
    Pipelined,
    RolledBack,
    /// Someone cancels it, at a moment of its own.
    Cancelled,
    /// The client goes while the commit is under way.
    Vanish,
    Copy,
    TwoPhase,
    Big,
    /// Many rows of the client's.
    Update,
    /// Statements of [`random`] alone.
    Unnumbered,
    /// A look for what another client has written.
    Look,
}

/// With how often each is drawn where the primary stays, and where it changes: there COPY and two-phase
/// commits would be PostgreSQL's alone.
pub const FORMS: [(Form, u32, u32); 15] = [
    (Form::Text, 4, 4),
    (Form::Prepared, 4, 4),
    (Form::Block, 6, 6),
    (Form::Savepoints, 3, 3),
    (Form::Batch, 2, 2),
    (Form::Pipelined, 2, 2),
    (Form::RolledBack, 1, 1),
    (Form::Cancelled, 2, 2),
    (Form::Vanish, 1, 1),
    (Form::Copy, 2, 0),
    (Form::TwoPhase, 1, 0),
    (Form::Big, 1, 1),
    (Form::Update, 2, 2),
    (Form::Unnumbered, 6, 4),
    (Form::Look, 0, 8),
];

impl Form {
    /// Whether it can delete an older number as well.
    pub fn removes(self) -> bool {
        matches!(
            self,
            Self::Block | Self::Savepoints | Self::Batch | Self::Cancelled | Self::Vanish
        )
    }
}

/// What a step ended with: the failure, and whether a commit was under way.
pub struct Broken {
    pub error: Error,
    pub committing: bool,
}

pub trait While<T> {
    fn working(self) -> Result<T, Broken>;
    fn committing(self) -> Result<T, Broken>;
}

impl<T> While<T> for Result<T, Error> {
    fn working(self) -> Result<T, Broken> {
        self.map_err(|error| Broken { error, committing: false })
    }

    fn committing(self) -> Result<T, Broken> {
        self.map_err(|error| Broken { error, committing: true })
    }
}

/// One number that is written.
pub struct Write<'a> {
    pub client: &'a Client,
    pub random: &'a mut StdRng,
    pub kind: &'a str,
    pub number: i64,
    pub owner: i64,
    pub removes: Option<i64>,
    /// Only what MySQL can answer as well.
    pub crosses: bool,
    /// Whether a prepared transaction may have been left.
    pub prepared: bool,
}

impl Write<'_> {
    /// Writes both halves, unless the form is one that takes them back.
    pub async fn run(&mut self, form: Form) -> Result<Told, Broken> {
        let client = self.client;
        match form {
            Form::Text | Form::Unnumbered | Form::Look => {
                client.batch_execute(&self.both(10)).await.committing()?;
            }
            Form::Big => {
                let bytes = self.random.random_range(100_000..1_500_000);
                client.batch_execute(&self.both(bytes)).await.committing()?;
            }
            Form::Prepared => self.with_parameters().await?,
            Form::Update => self.many().await?,
            Form::Batch => {
                let text = if self.crosses { crossing::text } else { random::text };
                let other = text(mode(self.kind), self.random);
                let delete = self.delete().map(|delete| delete + ";").unwrap_or_default();
                let (first, second) = (self.insert(1), self.insert(2));
                let batch = format!("{first}; {delete} {other}; {second}");
                client.batch_execute(&batch).await.committing()?;
            }
            Form::Pipelined => self.pipelined().await?,
            Form::Block | Form::Savepoints => {
                self.block(form).await?;
                client.batch_execute("COMMIT").await.committing()?;
            }
            Form::RolledBack => {
                self.block(form).await?;
                client.batch_execute("ROLLBACK").await.working()?;
                return Ok(Told::Failed);
            }
            Form::Cancelled => {
                let (token, pause) = (client.cancel_token(), self.moment(30));
                tokio::spawn(async move {
                    tokio::time::sleep(pause).await;
                    // One that does not arrive cancels nothing.
                    drop(token.cancel_query(NoTls).await);
                });
                self.block(form).await?;
                client.batch_execute("COMMIT").await.committing()?;
            }
            Form::Vanish => {
                self.block(form).await?;
                let pause = self.moment(8);
                let commit = tokio::time::timeout(pause, client.batch_execute("COMMIT"));
                let Ok(heard) = commit.await else { return Ok(Told::Unknown) };
                heard.committing()?;
            }
            Form::Copy => self.copy().await?,
            Form::TwoPhase => self.two_phase().await?,
        }
        Ok(Told::Committed)
    }

    fn moment(&mut self, most_ms: u64) -> Duration {
        Duration::from_millis(self.random.random_range(0..most_ms))
    }

    async fn with_parameters(&self) -> Result<(), Broken> {
        let rows = match self.crosses {
            true => "VALUES ($1::bigint, 1, $2::int, $3::text), ($1, 2, $2, $3)",
            false => "SELECT $1, half, $2, $3 FROM generate_series(1, 2) half",
        };
        let sql = format!("INSERT INTO {}_journal {rows}", self.kind);
        let statement = self.client.prepare(&sql).await.working()?;
        let owner = i32::try_from(self.owner).expect("clients are few");
        let values: [&(dyn ToSql + Sync); 3] = [&self.number, &owner, &BODY];
        self.client.execute(&statement, &values).await.committing().map(drop)
    }

    async fn many(&mut self) -> Result<(), Broken> {
        let (kind, owner, number) = (self.kind, self.owner, self.number);
        let part = self.random.random_range(0..7);
        let body = match self.crosses {
            true => format!("'{BODY} {number}'"),
            false => format!("'{BODY}' || {number}"),
        };
        // So many as ever, however long it has gone on: else the writes grow with the square of time.
        let first = number - number % NUMBERS;
        let from = self.random.random_range(first..=number);
        let to = from + TOUCHED;
        let update = format!(
            "UPDATE {kind}_journal SET body = {body} WHERE client = {owner} AND number % 7 = {part} \
             AND (number < {NUMBERS} OR number BETWEEN {from} AND {to})"
        );
        self.client.batch_execute("BEGIN").await.working()?;
        let all = format!("{}; {update}; {}", self.insert(1), self.insert(2));
        self.client.batch_execute(&all).await.working()?;
        self.client.batch_execute("COMMIT").await.committing()
    }

    async fn pipelined(&self) -> Result<(), Broken> {
        let both = self.both(10);
        let (began, wrote, committed) = tokio::join!(
            self.client.batch_execute("BEGIN"),
            self.client.batch_execute(&both),
            self.client.batch_execute("COMMIT"),
        );
        wrote.committing()?;
        // Where BEGIN was refused, the statement was a transaction of its own.
        if began.is_ok() { committed.committing() } else { Ok(()) }
    }

    /// Everything of a transaction but its end.
    async fn block(&mut self, form: Form) -> Result<(), Broken> {
        let (client, second) = (self.client, self.insert(2));
        client.batch_execute("BEGIN").await.working()?;
        client.batch_execute(&self.insert(1)).await.working()?;
        if let Some(delete) = self.delete() {
            client.batch_execute(&delete).await.working()?;
        }
        self.between(form, &second).await.working()?;
        client.execute(&second, &[]).await.working().map(drop)
    }

    /// What a transaction does besides its numbers.
    async fn between(&mut self, form: Form, second: &str) -> Result<(), Error> {
        let client = self.client;
        for _ in 0..self.random.random_range(0..3) {
            client.batch_execute("SAVEPOINT s").await?;
            let outcome = match self.crosses {
                true => crossing::statement(client, mode(self.kind), self.random).await,
                false => random::statement(client, mode(self.kind), self.random).await,
            };
            if outcome.is_err() {
                client.batch_execute("ROLLBACK TO s").await?;
            }
        }
        if form == Form::Savepoints {
            client.batch_execute("SAVEPOINT mine").await?;
            client.batch_execute(second).await?;
            client.batch_execute("ROLLBACK TO mine").await?;
        }
        Ok(())
    }

    async fn copy(&self) -> Result<(), Broken> {
        let (number, owner) = (self.number, self.owner);
        let copy = format!("COPY {}_journal FROM STDIN", self.kind);
        let mut sink = Box::pin(self.client.copy_in(&copy).await.working()?);
        let rows = format!("{number}\t1\t{owner}\t{BODY}\n{number}\t2\t{owner}\t\\N\n");
        sink.send(bytes::Bytes::from(rows)).await.working()?;
        sink.close().await.committing()
    }

    async fn two_phase(&mut self) -> Result<(), Broken> {
        let (client, number) = (self.client, self.number);
        client.batch_execute("BEGIN").await.working()?;
        let both = format!("{}; {}", self.insert(1), self.insert(2));
        client.batch_execute(&both).await.working()?;
        self.prepared = true;
        client.batch_execute(&format!("PREPARE TRANSACTION 'n{number}'")).await.committing()?;
        client.batch_execute(&format!("COMMIT PREPARED 'n{number}'")).await.committing()?;
        self.prepared = false;
        Ok(())
    }

    fn delete(&self) -> Option<String> {
        let old = self.removes?;
        Some(format!("DELETE FROM {}_journal WHERE number = {old}", self.kind))
    }

    fn insert(&self, half: u8) -> String {
        let (kind, number, owner) = (self.kind, self.number, self.owner);
        format!("INSERT INTO {kind}_journal VALUES ({number}, {half}, {owner}, '{BODY}')")
    }

    fn both(&self, bytes: usize) -> String {
        let (kind, number, owner) = (self.kind, self.number, self.owner);
        let body = BODY.repeat(1 + bytes / BODY.len());
        format!(
            "INSERT INTO {kind}_journal VALUES ({number}, 1, {owner}, '{body}'), \
             ({number}, 2, {owner}, 'é')"
        )
    }
}
