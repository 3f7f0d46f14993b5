//! The demo's application: clients that sign up, log in, refresh, change and leave.
//!
//! ```text
//! client 1 … n ──tokio-postgres──▶ Crossfade      each does one flow after another until told to stop
//! ```
//!
//! Invariant: an error that the flows do not provoke ends the load and is shown. The ones they do
//! provoke (a unique clash under a savepoint, two clients in each other's way) are part of the story.
//!
//! Flows are in [`flows`]; nothing in here knows of Crossfade or of MySQL.

mod flows;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

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
}

/// Clients at work.
#[derive(Debug)]
pub(super) struct Load {
    clients: JoinSet<Result<(), Error>>,
    stop: watch::Sender<bool>,
    done: Arc<Done>,
}

impl Load {
    /// Connects `clients` clients and sets them to work.
    pub(super) async fn start(config: &Config, clients: u64) -> Result<Self, Error> {
        let (stop, stopped) = watch::channel(false);
        let done = Arc::new(Done::default());
        let mut tasks = JoinSet::new();
        connect(config).await?.batch_execute(flows::ROLES).await?;
        for number in 0..clients {
            let client = connect(config).await?;
            let worker = Worker {
                client,
                random: StdRng::seed_from_u64(number),
                number,
                signed_up: 0,
                users: Vec::new(),
                sessions: Vec::new(),
            };
            tasks.spawn(worker.run(stopped.clone(), Arc::clone(&done)));
        }
        Ok(Self { clients: tasks, stop, done })
    }

    pub(super) fn done(&self) -> &Done {
        &self.done
    }

    /// The error that ended a client, if one has ended.
    pub(super) fn failed(&mut self) -> Option<Error> {
        match self.clients.try_join_next() {
            Some(Ok(Err(error))) => Some(error),
            _ => None,
        }
    }

    /// Lets every client end the flow it is in.
    pub(super) async fn stop(&mut self) -> Result<(), Error> {
        self.stop.send_replace(true);
        while let Some(ended) = self.clients.join_next().await {
            // A task that panicked has said so itself, and its transaction is undone.
            if let Ok(result) = ended {
                result?;
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
struct Worker {
    client: Client,
    random: StdRng,
    number: u64,
    signed_up: u64,
    users: Vec<flows::User>,
    sessions: Vec<flows::Session>,
}

impl Worker {
    async fn run(mut self, stopped: watch::Receiver<bool>, done: Arc<Done>) -> Result<(), Error> {
        while !*stopped.borrow() {
            match self.flow().await {
                Ok(()) => done.flows.fetch_add(1, Ordering::Relaxed),
                Err(error) if is_passing(&error) => {
                    self.client.batch_execute("ROLLBACK").await?;
                    done.retried.fetch_add(1, Ordering::Relaxed)
                }
                Err(error) => return Err(error),
            };
        }
        Ok(())
    }
}

/// Two clients were in each other's way; an application tries again.
fn is_passing(error: &Error) -> bool {
    let passing = [SqlState::T_R_DEADLOCK_DETECTED, SqlState::T_R_SERIALIZATION_FAILURE];
    error.code().is_some_and(|code| passing.contains(code))
}
