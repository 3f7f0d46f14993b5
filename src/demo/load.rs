//! The demo's application: clients that sign up, log in, refresh, change and leave.
//!
//! ```text
//! client 1 … n ──tokio-postgres──▶ Crossfade      each does one flow after another until told to stop
//! ```
//!
//! A client keeps its one connection, whatever becomes of the database behind it.
//!
//! Invariant: an error that the flows do not provoke ends the load and is shown. The ones they do
//! provoke (a unique clash under a savepoint, two clients in each other's way) are part of the story.
//!
//! Flows are in [`flows`]; nothing in here knows of Crossfade or of MySQL.

mod flows;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use rand::SeedableRng;
use rand::rngs::StdRng;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_postgres::error::SqlState;
use tokio_postgres::{Client, Config, Error, NoTls};

/// What all clients have done so far.
#[derive(Debug, Default)]
pub(super) struct Done {
    /// Flows that ended well.
    pub(super) flows: AtomicU64,
    /// Flows that another client was in the way of.
    pub(super) retried: AtomicU64,
    /// Of these: logins.
    pub(super) logins: AtomicU64,
    /// The longest login since it was last asked for, in microseconds.
    longest_login: AtomicU64,
}

impl Done {
    /// The longest login since this was last called.
    pub(super) fn take_longest_login(&self) -> Duration {
        Duration::from_micros(self.longest_login.swap(0, Ordering::Relaxed))
    }
}

/// Clients at work, or at rest between two flows.
#[derive(Debug)]
pub(super) struct Load {
    working: JoinSet<Result<Worker, Error>>,
    resting: Vec<Worker>,
    stop: watch::Sender<bool>,
    done: Arc<Done>,
}

impl Load {
    /// Connects `clients` clients and sets them to work.
    pub(super) async fn start(config: &Config, clients: u64) -> Result<Self, Error> {
        connect(config).await?.batch_execute(flows::ROLES).await?;
        let mut resting = Vec::new();
        for number in 0..clients {
            resting.push(Worker {
                client: connect(config).await?,
                random: StdRng::seed_from_u64(number),
                number,
                signed_up: 0,
                users: Vec::new(),
                sessions: Vec::new(),
            });
        }
        let (working, done) = (JoinSet::new(), Arc::new(Done::default()));
        let mut load = Self { working, resting, stop: watch::channel(false).0, done };
        load.go_on();
        Ok(load)
    }

    /// Lets all that rest work again, over the connections they have.
    pub(super) fn go_on(&mut self) {
        self.stop.send_replace(false);
        for worker in self.resting.drain(..) {
            self.working.spawn(worker.run(self.stop.subscribe(), Arc::clone(&self.done)));
        }
    }

    pub(super) fn done(&self) -> &Arc<Done> {
        &self.done
    }

    /// The error that ended a client, if one has ended.
    pub(super) fn failed(&mut self) -> Option<Error> {
        match self.working.try_join_next() {
            Some(Ok(Err(error))) => Some(error),
            _ => None,
        }
    }

    /// Lets every client end the flow it is in, and rest.
    pub(super) async fn rest(&mut self) -> Result<(), Error> {
        self.stop.send_replace(true);
        while let Some(ended) = self.working.join_next().await {
            // A task that panicked has said so itself, and its transaction is undone.
            if let Ok(result) = ended {
                self.resting.push(result?);
            }
        }
        Ok(())
    }
}

/// A connection whose other half runs until the client is dropped.
pub(super) async fn connect(config: &Config) -> Result<Client, Error> {
    let (client, connection) = config.connect(NoTls).await?;
    tokio::spawn(connection);
    Ok(client)
}

/// One client of the application, and what it remembers.
#[derive(Debug)]
struct Worker {
    client: Client,
    random: StdRng,
    number: u64,
    signed_up: u64,
    users: Vec<flows::User>,
    sessions: Vec<flows::Session>,
}

impl Worker {
    async fn run(mut self, stopped: watch::Receiver<bool>, done: Arc<Done>) -> Result<Self, Error> {
        while !*stopped.borrow() {
            let began = Instant::now();
            match self.flow().await {
                Ok(flow) => {
                    done.flows.fetch_add(1, Ordering::Relaxed);
                    if flow == Flow::Login {
                        done.logins.fetch_add(1, Ordering::Relaxed);
                        let took = began.elapsed().as_micros().try_into().unwrap_or(u64::MAX);
                        done.longest_login.fetch_max(took, Ordering::Relaxed);
                    }
                }
                Err(error) if is_passing(&error) => {
                    self.client.batch_execute("ROLLBACK").await?;
                    done.retried.fetch_add(1, Ordering::Relaxed);
                }
                Err(error) => return Err(error),
            }
        }
        Ok(self)
    }
}

/// What is told apart on the screen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Flow {
    Login,
    Other,
}

/// Two clients were in each other's way; an application tries again.
fn is_passing(error: &Error) -> bool {
    let passing = [SqlState::T_R_DEADLOCK_DETECTED, SqlState::T_R_SERIALIZATION_FAILURE];
    error.code().is_some_and(|code| passing.contains(code))
}
