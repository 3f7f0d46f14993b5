//! Reads proxy.yaml again and hands each part what changed, without dropping a connection.
//!
//! Invariant: all or nothing. Whatever can fail (the file, certificates, the log) is made first; only
//! then is anything handed out, and until then the old settings hold.

use std::sync::Arc;

use tracing::{info, warn};

use crate::config::Config;

use super::watch::Databases;
use super::{Running, login};

impl Running {
    /// Takes what changed in the file; says what cannot be taken without a restart.
    pub(super) fn reload(&mut self) -> Result<(), String> {
        let config = Config::load(&self.file).map_err(|error| error.to_string())?;
        let login = login::config(&config).map_err(|error| super::watch::chain(&error))?;
        if let Some(telemetry) = &self.telemetry {
            telemetry.reload(&config.log).map_err(|error| super::watch::chain(&error))?;
        }
        for key in fixed(&self.config, &config) {
            warn!(key, "changed in proxy.yaml; takes a restart");
        }
        self.parts.login.send_replace(Arc::new(login));
        self.parts.token.send_replace(config.admin.token.clone());
        let databases = Databases { from: config.from.clone(), to: config.to.clone() };
        self.parts.databases.send_if_modified(|known| {
            let changed = **known != databases;
            if changed {
                *known = Arc::new(databases);
            }
            changed
        });
        self.take_policies(config.tables.clone());
        self.seats.set_max(config.limits.max_connections);
        self.parts.flow.handoff.set_bytes_max(config.limits.queue_bytes);
        self.config = config;
        info!(file = %self.file.display(), "configuration taken");
        Ok(())
    }
}

/// Keys whose change waits for the next start.
fn fixed(old: &Config, new: &Config) -> Vec<&'static str> {
    let place = |config: &Config| (config.from.to_string(), config.from.database.clone());
    let keys = [
        ("listen.address", old.listen.address == new.listen.address),
        ("admin.address", old.admin.address == new.admin.address),
        ("from.url (host, port or database)", place(old) == place(new)),
        ("log.format", old.log.format == new.log.format),
        ("limits.poll", old.limits.poll == new.limits.poll),
        ("limits.workers", old.limits.workers == new.limits.workers),
    ];
    keys.into_iter().filter(|(_, same)| !same).map(|(key, _)| key).collect()
}
