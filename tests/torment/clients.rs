//! One client of the application: random transactions with a number each, and an ear for the answers.
//!
//! ```text
//! log in by any sidecar ──▶ transaction after transaction ──▶ journal
//!        ▲                            │ connection lost
//!        └────────────────────────────┘
//! ```
//!
//! Invariant: what a client hears is noted as it was said. Only an error that PostgreSQL gives of
//! itself, or that a fault of the hour excuses, is no failure of the run.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use futures_util::SinkExt as _;
use rand::rngs::StdRng;
use rand::seq::{IndexedRandom as _, SliceRandom as _};
use rand::{Rng as _, SeedableRng as _};
use tokio_postgres::{Client, Config, Error, NoTls};

use super::hour::Hour;
use super::journal::{Journal, Told};
use crate::random;
use crate::support::ROLE;

/// A transaction that takes longer than this hangs. No fault lasts a tenth of it.
const STUCK: Duration = Duration::from_secs(120);
const LOGIN: Duration = Duration::from_secs(20);
/// Numbers of one client; its own number says where they begin.
const NUMBERS: i64 = 1_000_000_000;
/// What PostgreSQL says when it, the way to it, or the sidecar itself goes away.
const GONE: [&str; 9] =
    ["57P01", "57P02", "57P03", "08006", "08001", "08003", "53300", "28P01", "57014"];

/// What a sidecar says that has not heard from PostgreSQL in time. On a busy machine that happens with
/// no fault at all; the secondary is never the reason.
const UNCONFIRMED: &str = "Crossfade cannot confirm on PostgreSQL";

/// How a numbered write is put.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Form {
    Text,
    Prepared,
    Block,
    Savepoints,
    Batch,
    RolledBack,
    Copy,
    TwoPhase,
    Big,
    Update,
    Unnumbered,
}

const FORMS: [(Form, u32); 11] = [
    (Form::Text, 4),
    (Form::Prepared, 4),
    (Form::Block, 6),
    (Form::Savepoints, 3),
    (Form::Batch, 2),
    (Form::RolledBack, 1),
    (Form::Copy, 2),
    (Form::TwoPhase, 1),
    (Form::Big, 1),
    (Form::Update, 2),
    (Form::Unnumbered, 6),
];

/// The tables with numbers; `triggered` is captured by trigger, so COPY into it is seen.
pub const KINDS: [&str; 4] = ["async", "blocking", "strict", "triggered"];

pub fn schema() -> String {
    let journals = KINDS.map(|kind| {
        format!(
            "CREATE TABLE {kind}_journal (number bigint, half int, client int NOT NULL, body text, \
             PRIMARY KEY (number, half));"
        )
    });
    random::schema() + &journals.concat()
}

pub fn journals() -> Vec<String> {
    KINDS.iter().map(|kind| format!("{kind}_journal")).collect()
}

/// What a step ended with: the failure, and whether a commit was under way.
struct Broken {
    error: Error,
    committing: bool,
}

trait While<T> {
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

pub struct Worker {
    client: i64,
    next: i64,
    random: StdRng,
    hour: Arc<Hour>,
    journal: Journal,
    /// Committed numbers that may still be removed, with their kind.
    old: Vec<(i64, &'static str)>,
    /// A prepared transaction whose end was not heard.
    prepared: Option<i64>,
}

impl Worker {
    pub fn new(number: u32, seed: u64, hour: Arc<Hour>) -> Self {
        Self {
            client: i64::from(number),
            next: i64::from(number) * NUMBERS,
            random: StdRng::seed_from_u64(seed.wrapping_add(u64::from(number))),
            hour,
            journal: Journal::default(),
            old: Vec::new(),
            prepared: None,
        }
    }

    /// Works until the hour is over.
    pub async fn run(mut self) -> Journal {
        let mut open: Option<Client> = None;
        while !self.hour.is_over() {
            let client = match open.take().filter(|client| !client.is_closed()) {
                Some(client) => client,
                None => match self.log_in().await {
                    Some(client) => client,
                    None => {
                        let pause = self.random.random_range(20..300);
                        tokio::time::sleep(Duration::from_millis(pause)).await;
                        continue;
                    }
                },
            };
            let began = Instant::now();
            match tokio::time::timeout(STUCK, self.one(&client)).await {
                Ok(true) => open = Some(client),
                Ok(false) => {}
                Err(_) => self.hour.stuck(),
            }
            self.hour.waited(began);
            // Now and then it goes, and comes back by another sidecar.
            if self.random.random_bool(0.01) {
                open = None;
            }
        }
        self.journal
    }

    async fn log_in(&mut self) -> Option<Client> {
        let began = Instant::now();
        let port = *self.hour.fronts.choose(&mut self.random)?;
        let mut config = Config::new();
        config.host("127.0.0.1").port(port).user(ROLE).dbname(&self.hour.database);
        config.password(self.hour.password()).connect_timeout(LOGIN);
        let connected = tokio::time::timeout(LOGIN, config.connect(NoTls)).await;
        let Ok(Ok((client, connection))) = connected else {
            self.hour.counts.refused_logins.fetch_add(1, Ordering::Relaxed);
            return None;
        };
        tokio::spawn(connection);
        if self.random.random_bool(0.3)
            && client.batch_execute("SET synchronous_commit = off").await.is_err()
        {
            return None;
        }
        if let Some(number) = self.prepared {
            let sql = format!("ROLLBACK PREPARED 'n{number}'");
            match client.batch_execute(&sql).await {
                Ok(()) => self.journal.told(number, Told::Failed),
                // Never prepared, or committed after all: that stays unknown.
                Err(error) if error.code().is_some_and(|code| code.code() == "42704") => {}
                Err(error) => {
                    self.hear("async", began, &error);
                    return None;
                }
            }
            self.prepared = None;
        }
        Some(client)
    }

    /// One transaction; whether the connection can go on.
    async fn one(&mut self, client: &Client) -> bool {
        let began = Instant::now();
        let kind = *KINDS.choose(&mut self.random).unwrap();
        let (form, _) = FORMS.choose_weighted(&mut self.random, |(_, weight)| *weight).unwrap();
        let form = match form {
            Form::Copy if kind != "triggered" => Form::Text,
            // What is prepared commits through anyone, so `strict` could not wait for it.
            Form::TwoPhase if kind == "strict" => Form::Block,
            form => *form,
        };
        if form == Form::Unnumbered {
            let outcome = self.unnumbered(client, kind).await;
            return self.go_on(client, kind, began, outcome.working()).await;
        }
        let number = self.next;
        self.next += 1;
        let removable = matches!(form, Form::Block | Form::Savepoints | Form::Batch);
        let removes =
            if removable && self.random.random_bool(0.8) { self.candidate(kind) } else { None };
        self.journal.begin(number, &format!("{kind}_journal"), removes);
        let outcome = self.write(client, kind, form, number, removes).await;
        let told = match &outcome {
            Ok(committed) if *committed => Told::Committed,
            Ok(_) => Told::Failed,
            Err(broken) => told(broken),
        };
        if form != Form::TwoPhase || told != Told::Failed {
            self.journal.told(number, told);
        }
        if told == Told::Committed {
            self.old.push((number, kind));
            self.prepared = None;
        }
        self.go_on(client, kind, began, outcome.map(drop)).await
    }

    /// A number of ours that nobody has removed; it is not tried twice.
    fn candidate(&mut self, kind: &str) -> Option<i64> {
        self.old.shuffle(&mut self.random);
        let at = self.old.iter().position(|(_, its)| *its == kind)?;
        Some(self.old.swap_remove(at).0)
    }

    /// Hears an error, and makes the connection usable again if it can be.
    async fn go_on(
        &self,
        client: &Client,
        kind: &str,
        began: Instant,
        outcome: Result<(), Broken>,
    ) -> bool {
        let Err(broken) = outcome else { return true };
        self.hear(kind, began, &broken.error);
        // What may be prepared is looked for at the next login.
        self.prepared.is_none()
            && !client.is_closed()
            && client.batch_execute("ROLLBACK").await.is_ok()
    }

    /// Whether the error is one that this client may get now.
    fn hear(&self, kind: &str, began: Instant, error: &Error) {
        let Some(db) = error.as_db_error() else {
            return self.hour.lost(kind, began, &format!("{error:?}"));
        };
        let (code, message) = (db.code().code(), db.message());
        let told = format!("{} {code} {message}", db.severity());
        if message.starts_with("secondary") {
            return self.hour.secondary_error(kind, &told);
        }
        if random::EXPECTED.contains(&code) {
            return self.hour.conflict(code);
        }
        if message.starts_with(UNCONFIRMED) {
            return self.hour.unconfirmed();
        }
        if GONE.contains(&code) {
            return self.hour.lost(kind, began, &told);
        }
        self.hour.wrong(kind, &told);
    }

    async fn unnumbered(&mut self, client: &Client, kind: &str) -> Result<(), Error> {
        let mode = mode(kind);
        match self.random.random_range(0..10) {
            0..5 => random::statement(client, mode, &mut self.random).await,
            5..9 => random::transaction(client, mode, &mut self.random).await,
            _ => random::batch(client, mode, &mut self.random).await,
        }
    }

    /// Writes the number's two halves; false where the client itself took them back.
    async fn write(
        &mut self,
        client: &Client,
        kind: &str,
        form: Form,
        number: i64,
        removes: Option<i64>,
    ) -> Result<bool, Broken> {
        let (first, second) = (self.insert(kind, number, 1), self.insert(kind, number, 2));
        let delete = removes.map(|old| format!("DELETE FROM {kind}_journal WHERE number = {old}"));
        match form {
            Form::Text | Form::Unnumbered => {
                let both = self.both(kind, number, 10);
                client.batch_execute(&both).await.committing()?;
            }
            Form::Big => {
                let bytes = self.random.random_range(100_000..1_500_000);
                let both = self.both(kind, number, bytes);
                client.batch_execute(&both).await.committing()?;
            }
            Form::Prepared => {
                let sql = format!(
                    "INSERT INTO {kind}_journal SELECT $1, half, $2, $3 FROM generate_series(1, 2) half"
                );
                let statement = client.prepare(&sql).await.working()?;
                let owner = i32::try_from(self.client).unwrap();
                let values: [&(dyn tokio_postgres::types::ToSql + Sync); 3] =
                    [&number, &owner, &super::BODY];
                client.execute(&statement, &values).await.committing()?;
            }
            Form::Update => {
                let part = self.random.random_range(0..7);
                let update = format!(
                    "UPDATE {kind}_journal SET body = '{}' || {number} WHERE client = {} AND number % 7 = {part}",
                    super::BODY,
                    self.client
                );
                client.batch_execute("BEGIN").await.working()?;
                client.batch_execute(&format!("{first}; {update}; {second}")).await.working()?;
                client.batch_execute("COMMIT").await.committing()?;
            }
            Form::Batch => {
                let other = random::text(mode(kind), &mut self.random);
                let delete = delete.map(|delete| format!("{delete};")).unwrap_or_default();
                let batch = format!("{first}; {delete} {other}; {second}");
                client.batch_execute(&batch).await.committing()?;
            }
            Form::Block | Form::Savepoints | Form::RolledBack => {
                client.batch_execute("BEGIN").await.working()?;
                client.batch_execute(&first).await.working()?;
                if let Some(delete) = delete {
                    client.batch_execute(&delete).await.working()?;
                }
                self.between(client, kind, form, &second).await.working()?;
                client.execute(&second, &[]).await.working()?;
                let committed = form != Form::RolledBack;
                let end = if committed { "COMMIT" } else { "ROLLBACK" };
                client
                    .batch_execute(end)
                    .await
                    .map_err(|error| Broken { error, committing: committed })?;
                return Ok(committed);
            }
            Form::Copy => copy(client, kind, number, self.client).await?,
            Form::TwoPhase => {
                client.batch_execute(&format!("BEGIN; {first}; {second}")).await.working()?;
                self.prepared = Some(number);
                client
                    .batch_execute(&format!("PREPARE TRANSACTION 'n{number}'"))
                    .await
                    .committing()?;
                client.batch_execute(&format!("COMMIT PREPARED 'n{number}'")).await.committing()?;
            }
        }
        Ok(true)
    }

    /// What a transaction does besides its numbers.
    async fn between(
        &mut self,
        client: &Client,
        kind: &str,
        form: Form,
        second: &str,
    ) -> Result<(), Error> {
        for _ in 0..self.random.random_range(0..3) {
            client.batch_execute("SAVEPOINT s").await?;
            let outcome = random::statement(client, mode(kind), &mut self.random).await;
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

    fn insert(&self, kind: &str, number: i64, half: u8) -> String {
        format!(
            "INSERT INTO {kind}_journal VALUES ({number}, {half}, {}, '{}')",
            self.client,
            super::BODY
        )
    }

    fn both(&self, kind: &str, number: i64, bytes: usize) -> String {
        let owner = self.client;
        let body = super::BODY.repeat(1 + bytes / super::BODY.len());
        format!(
            "INSERT INTO {kind}_journal VALUES ({number}, 1, {owner}, '{body}'), ({number}, 2, {owner}, 'é')"
        )
    }
}

/// Tables captured by trigger are in mode `blocking`; the random ones have no such kind.
fn mode(kind: &str) -> &str {
    if kind == "triggered" { "blocking" } else { kind }
}

async fn copy(client: &Client, kind: &str, number: i64, owner: i64) -> Result<(), Broken> {
    let sink = client.copy_in(&format!("COPY {kind}_journal FROM STDIN")).await.working()?;
    let rows = format!("{number}\t1\t{owner}\t{}\n{number}\t2\t{owner}\t\\N\n", super::BODY);
    let mut sink = Box::pin(sink);
    sink.send(bytes::Bytes::from(rows)).await.working()?;
    sink.close().await.committing()
}

/// What the client knows of its transaction after an error.
fn told(broken: &Broken) -> Told {
    if !broken.committing {
        return Told::Failed;
    }
    let Some(db) = broken.error.as_db_error() else { return Told::Unknown };
    let ended = matches!(db.severity(), "FATAL" | "PANIC");
    // PostgreSQL's own words for "it may have been committed".
    let unsure = matches!(db.code().code(), "08007" | "40003");
    if ended || unsure { Told::Unknown } else { Told::Failed }
}
