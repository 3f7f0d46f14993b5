//! Reads proxy.yaml again and hands each part what changed, without dropping a connection.
//!
//! Invariant: all or nothing. Whatever can fail (the file, certificates, the log) is made first; only
//! then is anything handed out, and until then the old settings hold.

use std::sync::Arc;

use tracing::{info, warn};

use crate::backend::from_url::FromUrl;
use crate::backend::mysql::ToUrl;
use crate::config::{Config, LimitsConfig};

use super::watch::Databases;
use super::{Running, login, turns};

impl Running {
    /// Takes what changed in the file; says what cannot be taken without a restart.
    pub(super) fn reload(&mut self) -> Result<(), String> {
        let mut config = Config::load(&self.file).map_err(|error| error.to_string())?;
        for key in self.keep_fixed(&mut config) {
            warn!(key, "changed in proxy.yaml; takes a restart");
        }
        let login = login::config(&config).map_err(|error| super::watch::chain(&error))?;
        let answer = turns::config(&config).map_err(|error| super::watch::chain(&error))?;
        if let Some(telemetry) = &self.telemetry {
            telemetry.reload(&config.log).map_err(|error| super::watch::chain(&error))?;
        }
        self.take_passwords(&mut config);
        self.parts.login.send_replace(Arc::new(login));
        self.parts.answer.send_replace(Arc::new(answer));
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
        self.take_limits(&config.limits);
        self.parts.take_shadow(&config.shadow);
        self.config = config;
        info!(file = %self.file.display(), "configuration taken");
        Ok(())
    }
}

impl Running {
    fn take_limits(&self, limits: &LimitsConfig) {
        let flow = &self.parts.flow;
        self.seats.set_max(limits.max_connections);
        flow.handoff.set_bytes_max(limits.queue_bytes);
        self.parts.reverse.set_bytes_max(limits.queue_bytes);
        flow.lease.set_length(limits.lease);
        self.parts.part_lease.set_length(limits.lease);
        flow.planners.set_plans_max(limits.plans);
        flow.planners.seen().set_max(limits.statements);
        flow.set_limits(super::flow_limits(limits));
        self.parts.limits.show(limits);
    }

    /// The tasks that connect hold the old URLs: their passwords are replaced in place.
    fn take_passwords(&self, config: &mut Config) {
        for (key, held, new) in [
            ("from.url", &self.config.from.password, &mut config.from.password),
            ("to.url", &self.config.to.password, &mut config.to.password),
        ] {
            if held.replace(new) {
                info!(key, "password changed");
            }
            *new = held.clone();
        }
    }
}

impl Running {
    /// Keys whose change waits for the next start. The URLs stay as they were but for their
    /// passwords: half of the tasks at another server would be worse than none.
    fn keep_fixed(&self, config: &mut Config) -> Vec<&'static str> {
        let old = &self.config;
        let from = FromUrl { password: config.from.password.clone(), ..old.from.clone() };
        let to = ToUrl { password: config.to.password.clone(), ..old.to.clone() };
        let keys = [
            ("listen.address", old.listen.address == config.listen.address),
            ("admin.address", old.admin.address == config.admin.address),
            ("from.url", from == config.from),
            ("to.url", to == config.to),
            ("log.format", old.log.format == config.log.format),
            ("shadow.pool", old.shadow.pool == config.shadow.pool),
        ];
        (config.from, config.to) = (from, to);
        config.shadow.pool = old.shadow.pool;
        let limits = config.limits.keep_fixed(&old.limits);
        let keys = keys.into_iter().filter(|(_, same)| !same).map(|(key, _)| key);
        keys.chain(limits).collect()
    }
}
