//! Looks at both databases now and then, so that the admin port can answer without asking them.
//!
//! ```text
//! PostgreSQL ──SELECT──▶ Health.primary, Ledger (outbox, dirty tables, sidecars)
//! MySQL ──────ping─────▶ Health.secondary; of the tables that it leads, its outbox in Ledger
//! ```
//!
//! Invariant: each look is bounded in time and in rows. A database that is down costs one attempt
//! per pause, and its last error is shown without a value or a secret.

use std::sync::Arc;
use std::time::{Duration, Instant};

use mysql_async::prelude::Queryable;
use tokio::sync::watch;
use tokio::time::timeout;
use tracing::{info, warn};

use crate::admin::{Fresh, Health, Ledger, Looker, Side};
use crate::backend::from_url::FromUrl;
use crate::backend::mysql;
use crate::backend::mysql::ToUrl;
use crate::backend::mysql::connect::LinkLimits;
use crate::backend::postgres::connect::{Connector, Link};

use crate::phase::{Phase, Situation, Views};

use super::ledger;

/// Longest time for one look.
const LOOK_TIME_MAX: Duration = Duration::from_secs(5);

/// What is said of PostgreSQL once it is not asked any more.
const LEFT: &str = "left for good";

/// Where the databases are; replaced by a reload, for passwords that changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Databases {
    pub(super) from: FromUrl,
    pub(super) to: ToUrl,
}

/// What both lookers share.
#[derive(Debug)]
pub(super) struct Watcher {
    pub(super) databases: watch::Receiver<Arc<Databases>>,
    /// Between two looks.
    pub(super) pause: Duration,
    pub(super) health: watch::Sender<Arc<Health>>,
    pub(super) ledger: watch::Sender<Arc<Ledger>>,
    pub(super) situation: watch::Receiver<Arc<Situation>>,
    pub(super) beyond: watch::Receiver<Arc<Situation>>,
    pub(super) fresh: Fresh,
}

impl Watcher {
    /// Says whether PostgreSQL answers and what the outbox holds, until it is aborted.
    pub(super) async fn primary(mut self) {
        loop {
            let from = self.databases.borrow_and_update().from.clone();
            let mut link = match Connector::new(from) {
                Ok(connector) => Link::new(connector),
                Err(error) => {
                    note(&self.health, Which::Primary, Some(chain(&error)));
                    self.wait(Looker::PostgreSql).await;
                    continue;
                }
            };
            while !self.databases.has_changed().unwrap_or(false) {
                let began = Instant::now();
                let phase = self.situation.borrow().phase;
                if phase == Phase::Complete {
                    link.discard();
                    left(&self.health);
                    self.ledger.send_replace(Arc::default());
                    self.fresh.published(Looker::PostgreSql, began);
                    self.wait(Looker::PostgreSql).await;
                    continue;
                }
                match look(&mut link).await {
                    Ok(mut seen) => {
                        note(&self.health, Which::Primary, None);
                        link.settled();
                        // What waits of its tables is MySQL's to say.
                        ledger::keep_beyond(&mut seen, &self.views(), &self.ledger.borrow());
                        self.ledger.send_replace(Arc::new(seen));
                        self.fresh.published(Looker::PostgreSql, began);
                        self.wait(Looker::PostgreSql).await;
                    }
                    Err(error) => {
                        note(&self.health, Which::Primary, Some(error));
                        link.discard();
                        link.back_off().await;
                    }
                }
            }
        }
    }

    /// Says whether MySQL answers, until it is aborted.
    pub(super) async fn secondary(mut self, limits: LinkLimits) {
        let mut link: Option<mysql::Link> = None;
        loop {
            if self.databases.has_changed().unwrap_or(false) {
                link = None;
            }
            let to = self.databases.borrow_and_update().to.clone();
            let began = Instant::now();
            let asked = timeout(LOOK_TIME_MAX, ping(&mut link, &to, &limits)).await;
            let error = match asked {
                Ok(Ok(())) => None,
                Ok(Err(error)) => Some(error),
                Err(_) => Some("no answer in time".to_owned()),
            };
            if error.is_some() {
                link = None;
            }
            note(&self.health, Which::Secondary, error);
            let views = self.views();
            let leads = views.mysql.phase == Phase::Switched;
            if let Some(open) = link.as_mut().filter(|_| leads) {
                match timeout(LOOK_TIME_MAX, ledger::read_beyond(open)).await {
                    Ok(Ok(beyond)) => self.ledger.send_modify(|ledger| {
                        ledger::take_beyond(Arc::make_mut(ledger), &views, beyond);
                    }),
                    Ok(Err(_)) | Err(_) => link = None,
                }
            }
            self.fresh.published(Looker::MySql, began);
            self.wait(Looker::MySql).await;
        }
    }

    fn views(&self) -> Views {
        Views {
            postgres: Arc::clone(&self.situation.borrow()),
            mysql: Arc::clone(&self.beyond.borrow()),
        }
    }

    /// Sleeps, or wakes up early for other addresses, or since somebody asks. A closed channel means that
    /// the end is near.
    async fn wait(&self, looker: Looker) {
        let mut other = self.databases.clone();
        tokio::select! {
            changed = timeout(self.pause, other.changed()) => drop(changed),
            () = self.fresh.wanted(looker) => {}
        }
    }
}

async fn look(link: &mut Link) -> Result<Ledger, String> {
    let client = link.get().await.map_err(|error| chain(&error))?;
    match timeout(LOOK_TIME_MAX, ledger::read(client)).await {
        Ok(Ok(ledger)) => Ok(ledger),
        // The server's own words could quote a value; its code cannot.
        Ok(Err(error)) => Err(match error.code() {
            Some(code) => format!("statement failed with {}", code.code()),
            None => "lost the connection".to_owned(),
        }),
        Err(_) => Err("no answer in time".to_owned()),
    }
}

async fn ping(
    link: &mut Option<mysql::Link>,
    to: &ToUrl,
    limits: &LinkLimits,
) -> Result<(), String> {
    if link.is_none() {
        *link = Some(mysql::Link::connect(to, limits).await.map_err(|error| chain(&error))?);
    }
    let Some(link) = link else { return Ok(()) };
    link.conn().ping().await.map_err(|_| "lost the connection".to_owned())
}

#[derive(Clone, Copy)]
enum Which {
    Primary,
    Secondary,
}

/// PostgreSQL is not asked any more, and nobody minds.
fn left(health: &watch::Sender<Arc<Health>>) {
    let side = Side { product: "postgresql", answers: false, error: Some(LEFT.to_owned()) };
    health.send_if_modified(|health| {
        if health.primary == side {
            return false;
        }
        *health = Arc::new(Health { primary: side.clone(), ..Health::clone(health) });
        true
    });
}

/// Publishes, and logs where it changed.
fn note(health: &watch::Sender<Arc<Health>>, which: Which, error: Option<String>) {
    health.send_if_modified(|health| {
        let mut seen = Health::clone(health);
        let side = match which {
            Which::Primary => &mut seen.primary,
            Which::Secondary => &mut seen.secondary,
        };
        let before = std::mem::replace(
            side,
            Side { product: side.product, answers: error.is_none(), error: error.clone() },
        );
        if before == *side {
            return false;
        }
        match &error {
            None => info!(database = before.product, "database answers"),
            Some(error) => warn!(database = before.product, %error, "database does not answer"),
        }
        *health = Arc::new(seen);
        true
    });
}

/// An error with its causes. Only for those that hold places, codes and roles.
pub(super) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}
