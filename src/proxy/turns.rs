//! What serves clients while it is MySQL's turn, and what changes whose turn it is.
//!
//! Invariant: both ends stand ready in every phase; which of them is asked is up to the situation alone.

use std::collections::BTreeMap;
use std::sync::Arc;

use tokio::sync::watch as channel;

use crate::answer::{AnswerConfig, AnswerLimits, Users};
use crate::backend::postgres::connect::{Connector, Link};
use crate::backend::tls::{ServerTls, TlsError};
use crate::config::Config;

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

/// Asks PostgreSQL, once, what it tells its clients, so that MySQL's end can tell them the same.
pub(super) async fn learn(primary: Connector, reported: channel::Sender<Reported>) {
    const ASK: &str = "SELECT s.name, pg_catalog.current_setting(s.name) FROM pg_catalog.pg_settings s \
                       WHERE s.name IN ('server_version', 'TimeZone')";
    let mut link = Link::new(primary);
    loop {
        if let Ok(client) = link.get().await
            && let Ok(rows) = client.query(ASK, &[]).await
        {
            let told = rows.iter().map(|row| (row.get(0), row.get(1))).collect();
            reported.send_replace(Arc::new(told));
            return;
        }
        link.discard();
        link.back_off().await;
    }
}
