//! What serves clients while it is MySQL's turn, and what changes whose turn it is.
//!
//! Invariant: both ends stand ready in every phase; which of them is asked is up to the situation alone.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch as channel;

use crate::answer::{AnswerConfig, AnswerLimits, Users, serves};
use crate::backend::mysql::kept::{keep_reported, load_reported};
use crate::backend::mysql::{self, WriteError};
use crate::backend::pauses::Pauses;
use crate::backend::postgres::connect::Link;
use crate::backend::tls::{ServerTls, TlsError};
use crate::config::Config;
use crate::control::Ends;
use crate::phase::{Phase, Situation};

/// Longest pause before MySQL is asked again to keep it.
const KEEP_AGAIN: Duration = Duration::from_secs(30);
/// Our own session has other settings than its clients'.
const ASK: &str = "SELECT s.name, s.reset_val FROM pg_catalog.pg_settings s \
                   WHERE s.name IN ('server_version', 'TimeZone')";

/// What a server tells its clients of itself.
pub(super) type Reported = Arc<BTreeMap<String, String>>;

/// What MySQL's end needs of proxy.yaml.
pub(super) fn config(config: &Config) -> Result<AnswerConfig, TlsError> {
    let users = config.listen.users.iter();
    let users: BTreeMap<String, String> =
        users.map(|(name, secret)| (name.clone(), secret.reveal().to_owned())).collect();
    Ok(AnswerConfig {
        tls: config.listen.tls.as_ref().map(ServerTls::read).transpose()?,
        users: Users::new(users, config.to.clone()),
        database: config.from.database.clone(),
        url: config.to.clone(),
        login_timeout: config.limits.login_timeout,
        connect_timeout: config.limits.connect_timeout,
        login_bytes_max: config.limits.login_bytes,
        limits: AnswerLimits {
            message_bytes_max: config.limits.message_bytes,
            portal_bytes_max: config.limits.portal_bytes,
            hold: config.limits.hold,
        },
    })
}

/// Asks PostgreSQL, once, what it tells its clients, so that MySQL's end can tell them the same. Where it
/// does not answer while it is MySQL's turn, MySQL has kept it.
pub(super) async fn learn(
    ends: Ends,
    mut situation: channel::Receiver<Arc<Situation>>,
    reported: channel::Sender<Reported>,
) {
    let mut link = Link::new(ends.from.clone());
    loop {
        let (complete, on_mysql) = {
            let now = situation.borrow();
            (now.phase == Phase::Complete, serves(&now))
        };
        if !complete
            && let Ok(client) = link.get().await
            && let Ok(rows) = client.query(ASK, &[]).await
        {
            let told = rows.iter().map(|row| (row.get(0), row.get(1))).collect();
            reported.send_replace(Arc::new(told));
            break;
        }
        link.discard();
        if on_mysql && let Some(kept) = kept(&ends).await {
            reported.send_replace(Arc::new(kept));
            return;
        }
        link.back_off().await;
    }
    drop(link);
    // Before `setup` there is nowhere to keep it.
    let mut pauses = Pauses::up_to(KEEP_AGAIN);
    while situation.wait_for(|now| now.phase != Phase::Setup).await.is_ok() {
        let told = Arc::clone(&reported.borrow());
        match keep(&ends, &told).await {
            Ok(()) => return,
            Err(_) => pauses.wait().await,
        }
    }
}

async fn keep(ends: &Ends, told: &BTreeMap<String, String>) -> Result<(), WriteError> {
    let mut link = mysql::Link::connect(&ends.to, &ends.limits).await?;
    keep_reported(link.conn(), told).await
}

async fn kept(ends: &Ends) -> Option<BTreeMap<String, String>> {
    let mut link = mysql::Link::connect(&ends.to, &ends.limits).await.ok()?;
    load_reported(link.conn()).await.ok()?
}
