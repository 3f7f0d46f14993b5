//! What clients see: certificate and key of `listen.tls`, read again on reload.
//!
//! Invariant: certificate, key and channel binding data change together. A connection keeps the
//! [`Identity`] it began with.

use std::path::PathBuf;
use std::sync::Arc;

use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::NoServerSessionStorage;
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::{InconsistentKeys, ServerConfig};

use super::verify::public_key;
use super::{ALPN, TlsError, certificates, end_point, private_key, provider};

/// `listen.tls` of proxy.yaml.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsFiles {
    /// The server's certificate, then those between it and the root, in PEM.
    pub cert: PathBuf,
    pub key: PathBuf,
    /// Refuse clients on TCP that do not use TLS.
    pub required: bool,
}

/// TLS as the listener offers it.
#[derive(Clone, Debug)]
pub struct ServerTls {
    pub required: bool,
    pub identity: Identity,
}

/// One certificate with its key.
#[derive(Clone, Debug)]
pub struct Identity {
    pub config: Arc<ServerConfig>,
    /// Its channel binding data; `None` where its kind has none.
    pub end_point: Option<Arc<[u8]>>,
}

impl ServerTls {
    /// Reads the files. A reload makes a new one, and keeps the old one if that fails.
    pub fn read(files: &TlsFiles) -> Result<Self, TlsError> {
        let chain = certificates(&files.cert)?;
        let key = private_key(&files.key)?;
        let end_point = end_point(&chain[0]).map(Into::into);
        let mut config = config(chain, key)
            .map_err(|source| TlsError::Unusable { path: files.cert.clone(), source })?;
        config.alpn_protocols = vec![ALPN.to_vec()];
        // PostgreSQL's clients never resume a session, so there is none to remember.
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.send_tls13_tickets = 0;
        let identity = Identity { config: Arc::new(config), end_point };
        Ok(Self { required: files.required, identity })
    }
}

/// As rustls' `with_single_cert`, except that a certificate of version 1 will do.
fn config(
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
) -> Result<ServerConfig, rustls::Error> {
    let provider = provider();
    let key = provider.key_provider.load_private_key(key)?;
    let shown = public_key(&chain[0])?;
    if key.public_key().is_some_and(|own| own != shown) {
        return Err(InconsistentKeys::KeyMismatch.into());
    }
    let resolver = SingleCertAndKey::from(CertifiedKey::new(chain, key));
    Ok(ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_cert_resolver(Arc::new(resolver)))
}
