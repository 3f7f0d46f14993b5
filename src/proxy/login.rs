//! What a login needs, out of proxy.yaml; built anew by a reload.

use crate::backend::dial::Dialer;
use crate::backend::tls::{ServerTls, TlsError};
use crate::backend::verifiers::Verifiers;
use crate::config::Config;
use crate::session::LoginConfig;

/// Reads the certificates that `config` names.
pub(super) fn config(config: &Config) -> Result<LoginConfig, TlsError> {
    let users = config.listen.users.iter();
    let users = users.map(|(name, secret)| (name.clone(), secret.reveal().to_owned())).collect();
    Ok(LoginConfig {
        tls: config.listen.tls.as_ref().map(ServerTls::read).transpose()?,
        dialer: Dialer::new(config.from.clone())?,
        verifiers: Verifiers::new(&config.from, users)?,
        timeout: config.limits.login_timeout,
        connect_timeout: config.limits.connect_timeout,
        message_bytes_max: config.limits.login_bytes,
    })
}
