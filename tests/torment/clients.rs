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

use rand::rngs::StdRng;
use rand::seq::{IndexedRandom as _, SliceRandom as _};
use rand::{Rng as _, SeedableRng as _};
use tokio_postgres::{Client, Config, Error, NoTls, SimpleQueryMessage};

use super::crossing;
use super::forms::{Broken, FORMS, Form, While as _, Write};
use super::hour::Hour;
use super::journal::{Journal, Told};
use crate::random;
use crate::support::ROLE;

/// A transaction that takes longer than this hangs. No fault lasts a tenth of it.
const STUCK: Duration = Duration::from_secs(120);
const LOGIN: Duration = Duration::from_secs(20);
/// What no table is needed for.
const LOGIN_ONLY: &str = "login";
/// Numbers of one client; its own number says where they begin. Old rows have those of client 0.
pub const NUMBERS: i64 = 1_000_000_000;
/// What PostgreSQL says when it, the way to it, or the sidecar itself goes away.
const GONE: [&str; 8] = ["57P01", "57P02", "57P03", "08006", "08001", "08003", "53300", "28P01"];

/// What a sidecar says that has not heard from the primary in time.
const UNCONFIRMED: [&str; 3] = [
    "Crossfade cannot confirm on PostgreSQL",
    "Crossfade cannot confirm on MySQL",
    "Crossfade does not know the migration's state yet",
];

/// What it says where the primary has changed under a transaction: that it waits for, unless it is cut off.
const MOVED: [&str; 2] =
    ["Crossfade's epoch has changed", "could not serialize access: the migration"];
/// What MySQL says when it goes away, beside [`GONE`], has no room left, or takes no writes.
const TROUBLED: [&str; 3] = ["57014", "53100", "25006"];
/// What nobody may hear, whatever goes wrong: it was for the other database to answer.
const OLD_PRIMARY: &str = "this database is not the primary";

/// The tables with numbers; `triggered` is captured by trigger, so COPY into it is seen.
pub const KINDS: [&str; 4] = ["async", "blocking", "strict", "triggered"];

/// Groups that move without the rest, where the primary changes: no client's transaction and no foreign key
/// crosses their edge. One has tables that are captured by trigger, and tables that are not.
pub const GROUPS: [&str; 2] = ["several", "single"];

/// That of the tables which a transaction of this kind is about.
pub fn group(kind: &str) -> Option<&'static str> {
    match kind {
        "blocking" | "triggered" => Some(GROUPS[0]),
        "strict" => Some(GROUPS[1]),
        _ => None,
    }
}

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

pub struct Worker {
    client: i64,
    next: i64,
    /// The sidecar that it came by last.
    by: usize,
    /// What its transaction is about.
    kind: &'static str,
    random: StdRng,
    hour: Arc<Hour>,
    journal: Journal,
    /// Committed numbers that may still be removed, with their kind.
    old: Vec<(i64, &'static str)>,
    /// A prepared transaction whose end was not heard.
    prepared: Option<i64>,
}

impl Worker {
    /// `old` are numbers that were there before.
    pub fn new(number: u32, seed: u64, hour: Arc<Hour>, old: Vec<(i64, &'static str)>) -> Self {
        Self {
            client: i64::from(number),
            next: i64::from(number) * NUMBERS,
            by: 0,
            kind: LOGIN_ONLY,
            random: StdRng::seed_from_u64(seed.wrapping_add(u64::from(number))),
            hour,
            journal: Journal::default(),
            old,
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
            self.kind = *KINDS.choose(&mut self.random).unwrap();
            match tokio::time::timeout(STUCK, self.one(&client)).await {
                Ok(true) => open = Some(client),
                Ok(false) => {}
                Err(_) => self.hour.stuck(),
            }
            self.hour.waited(self.client, (self.kind, self.by), began);
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
        self.by = self.hour.fronts.iter().position(|front| *front == port)?;
        let mut config = Config::new();
        config.host("127.0.0.1").port(port).user(ROLE).dbname(&self.hour.database);
        config.password(self.hour.password()).connect_timeout(LOGIN);
        let connected = tokio::time::timeout(LOGIN, config.connect(NoTls)).await;
        let (client, connection) = match connected {
            Ok(Ok(connected)) => connected,
            refused => {
                self.hour.counts.refused_logins.fetch_add(1, Ordering::Relaxed);
                if self.hour.crosses {
                    let what = format!("{:?}", refused.map(|refused| refused.err()));
                    self.hour.lost(LOGIN_ONLY, self.by, began, &what);
                }
                return None;
            }
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
        let (kind, crosses) = (self.kind, self.hour.crosses);
        let weight =
            |(_, stays, changes): &(Form, u32, u32)| if crosses { *changes } else { *stays };
        let (form, ..) = FORMS.choose_weighted(&mut self.random, weight).unwrap();
        let form = match form {
            Form::Copy if kind != "triggered" => Form::Text,
            // What is prepared commits through anyone, so `strict` could not wait for it.
            Form::TwoPhase if kind == "strict" => Form::Block,
            form => *form,
        };
        if matches!(form, Form::Unnumbered | Form::Look) {
            let outcome = match form {
                Form::Look => self.look(client).await,
                _ => self.unnumbered(client, kind).await,
            };
            return self.go_on(client, self.kind, began, outcome.working()).await;
        }
        let number = self.next;
        self.next += 1;
        let removes = if form.removes() && self.random.random_bool(0.8) {
            self.candidate(kind)
        } else {
            None
        };
        self.journal.begin(number, &format!("{kind}_journal"), removes);
        let mut write = Write {
            client,
            random: &mut self.random,
            kind,
            number,
            owner: self.client,
            removes,
            crosses: self.hour.crosses,
            prepared: false,
        };
        let outcome = write.run(form).await;
        if write.prepared {
            self.prepared = Some(number);
        }
        let told = outcome.as_ref().map_or_else(told, |told| *told);
        if self.prepared.is_none() || told == Told::Committed {
            self.journal.told(number, told);
        }
        if told == Told::Committed {
            // Of what stays, everybody knows.
            match self.hour.crosses && self.random.random_bool(0.3) {
                true => self.hour.keep(kind, number),
                false => self.old.push((number, kind)),
            }
            self.prepared = None;
        }
        form != Form::Vanish && self.go_on(client, kind, began, outcome.map(drop)).await
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
            return self.hour.lost(kind, self.by, began, &format!("{error:?}"));
        };
        let (code, message) = (db.code().code(), db.message());
        let told = format!("{} {code} {message}", db.severity());
        if message.starts_with("secondary") {
            return self.hour.secondary_error(kind, &told);
        }
        if self.hour.crosses && MOVED.iter().any(|words| message.starts_with(words)) {
            return self.hour.lost(kind, self.by, began, &told);
        }
        let asked = message == "canceling statement due to user request";
        if asked || random::EXPECTED.contains(&code) {
            return self.hour.conflict(code);
        }
        if UNCONFIRMED.iter().any(|words| message.starts_with(words)) {
            return self.hour.unconfirmed(kind, self.by, began, &told);
        }
        let troubled = self.hour.crosses && TROUBLED.contains(&code);
        if (GONE.contains(&code) || troubled) && !message.starts_with(OLD_PRIMARY) {
            return self.hour.lost(kind, self.by, began, &told);
        }
        self.hour.wrong(kind, &told);
    }

    /// Looks for a number that some client, by some sidecar, was told of before: it must be there.
    async fn look(&mut self, client: &Client) -> Result<(), Error> {
        let Some((kind, number)) = self.hour.kept(&mut self.random) else { return Ok(()) };
        self.kind = kind;
        let table = format!("{kind}_journal");
        let found = match self.random.random() {
            true => {
                let sql = format!("SELECT half FROM {table} WHERE number = $1");
                client.query(&sql, &[&number]).await?.len()
            }
            false => {
                let sql = format!("SELECT half FROM {table} WHERE number = {number}");
                let said = client.simple_query(&sql).await?;
                let row = |said: &SimpleQueryMessage| matches!(said, SimpleQueryMessage::Row(_));
                said.iter().filter(|said| row(said)).count()
            }
        };
        self.hour.looked(found == 2, || {
            format!("by sidecar {}: {found} halves of {table} {number}", self.by)
        });
        Ok(())
    }

    async fn unnumbered(&mut self, client: &Client, kind: &str) -> Result<(), Error> {
        let mode = mode(kind);
        if self.hour.crosses {
            return crossing::statements(client, mode, &mut self.random).await;
        }
        match self.random.random_range(0..10) {
            0..5 => random::statement(client, mode, &mut self.random).await,
            5..9 => random::transaction(client, mode, &mut self.random).await,
            _ => random::batch(client, mode, &mut self.random).await,
        }
    }
}

/// Tables captured by trigger are in mode `blocking`; the random ones have no such kind.
pub fn mode(kind: &str) -> &str {
    if kind == "triggered" { "blocking" } else { kind }
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
