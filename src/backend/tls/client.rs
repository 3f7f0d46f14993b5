//! TLS to PostgreSQL, by libpq's rules for `sslmode` and `sslrootcert`.
//!
//! | `sslmode` | server without TLS | certificate |
//! |---|---|---|
//! | `disable` | plain | – |
//! | `prefer` | plain | anything |
//! | `require` | refused | anything; as `verify-ca` where `sslrootcert` is given |
//! | `verify-ca` | refused | signed by `sslrootcert` |
//! | `verify-full` | refused | also names the host |

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::pki_types::ServerName;
use rustls::{ClientConfig, RootCertStore};
use tokio_postgres_rustls::MakeRustlsConnect;

use super::verify::{Trust, Verifier};
use super::{TlsError, certificates, private_key, provider};
use crate::backend::from_url::{FromUrl, Host, RootSource, SslMode};

/// Where operating systems keep the certificates they came with.
const SYSTEM_ROOTS: [&str; 4] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
];

/// How to speak TLS with the primary, if at all.
#[derive(Clone, Debug)]
pub struct ClientTls {
    pub config: Arc<ClientConfig>,
    /// What the certificate has to name (with `verify-full`), and the name sent with SNI.
    pub name: ServerName<'static>,
    /// Whether to go on in the clear where the server has no TLS.
    pub optional: bool,
}

impl ClientTls {
    /// `None` where the connection is never encrypted: `sslmode=disable`, or a unix socket.
    pub fn read(url: &FromUrl) -> Result<Option<Self>, TlsError> {
        let Host::Name(host) = &url.host else { return Ok(None) };
        if url.ssl_mode == SslMode::Disable {
            return Ok(None);
        }
        let name = server_name(host);
        let config = Arc::new(client_config(url)?);
        Ok(Some(Self { config, name, optional: url.ssl_mode == SslMode::Prefer }))
    }
}

/// A host that is no valid name for TLS cannot be in a certificate either; it still has to be
/// called something where nobody compares the name.
fn server_name(host: &str) -> ServerName<'static> {
    ServerName::try_from(host.to_owned()).unwrap_or_else(|_| {
        ServerName::try_from("invalid").expect("\"invalid\" is a valid DNS name")
    })
}

/// TLS for Crossfade's own statements through `tokio_postgres`; goes with [`FromUrl::config`].
pub fn postgres_tls(url: &FromUrl) -> Result<MakeRustlsConnect, TlsError> {
    Ok(MakeRustlsConnect::new(client_config(url)?))
}

fn client_config(url: &FromUrl) -> Result<ClientConfig, TlsError> {
    let verifier = Arc::new(Verifier::new(provider(), trust(url)?));
    let builder = ClientConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .map_err(|source| TlsError::Unusable { path: PathBuf::new(), source })?
        .dangerous()
        .with_custom_certificate_verifier(verifier);
    match &url.ssl_identity {
        None => Ok(builder.with_no_client_auth()),
        Some((cert, key)) => builder
            .with_client_auth_cert(certificates(cert)?, private_key(key)?)
            .map_err(|source| TlsError::Unusable { path: cert.clone(), source }),
    }
}

fn trust(url: &FromUrl) -> Result<Trust, TlsError> {
    let named = match (url.ssl_mode, &url.ssl_root) {
        (SslMode::Disable | SslMode::Prefer, _) | (SslMode::Require, None) => {
            return Ok(Trust::Anyone);
        }
        (SslMode::VerifyCa | SslMode::VerifyFull, None) => {
            return Err(TlsError::NoRoot { mode: url.ssl_mode.as_str() });
        }
        (SslMode::Require | SslMode::VerifyCa, Some(_)) => false,
        (SslMode::VerifyFull, Some(_)) => true,
    };
    let path = match &url.ssl_root {
        Some(RootSource::File(path)) => path.clone(),
        _ => system_roots()?,
    };
    let given = certificates(&path)?;
    let mut roots = RootCertStore::empty();
    // One bad certificate among the system's hundred is no reason to trust none of them.
    let (taken, _) = roots.add_parsable_certificates(given.iter().cloned());
    if taken == 0 {
        return Err(TlsError::NoCertificate { path });
    }
    Ok(Trust::Roots { roots: Arc::new(roots), given, named })
}

fn system_roots() -> Result<PathBuf, TlsError> {
    let named = std::env::var_os("SSL_CERT_FILE").map(PathBuf::from);
    named
        .into_iter()
        .chain(SYSTEM_ROOTS.iter().map(PathBuf::from))
        .find(|path| Path::exists(path))
        .ok_or(TlsError::NoSystemRoots)
}
