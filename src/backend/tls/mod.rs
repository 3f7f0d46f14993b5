//! TLS on both sides: what is shown to clients, and whom to believe upstream.
//!
//! ```text
//! client ⇄ [`ServerTls`] (cert, key) ⇄ Crossfade ⇄ [`ClientTls`] (sslmode, sslrootcert) ⇄ PostgreSQL
//!                  └──────── [`end_point`]: channel binding data of either certificate ────────┘
//! ```
//!
//! Invariant: one crypto provider (ring), given explicitly, so that no other library's choice of a
//! process-wide default can change it.

mod binding;
mod client;
mod server;
mod verify;

use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

pub use self::binding::end_point;
pub use self::client::{ClientTls, postgres_tls};
pub use self::server::{Identity, ServerTls, TlsFiles};

/// The protocol name of direct TLS, without SSLRequest.
pub const ALPN: &[u8] = b"postgresql";

/// A certificate or key that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    #[error("could not read certificate file \"{}\"", path.display())]
    Certificate { path: PathBuf, source: rustls::pki_types::pem::Error },
    #[error("certificate file \"{}\" contains no certificate", path.display())]
    NoCertificate { path: PathBuf },
    #[error("could not read private key file \"{}\"", path.display())]
    Key { path: PathBuf, source: rustls::pki_types::pem::Error },
    #[error("certificate \"{}\" cannot be used", path.display())]
    Unusable { path: PathBuf, source: rustls::Error },
    #[error("no root certificates of the operating system were found")]
    NoSystemRoots,
    #[error("sslmode \"{mode}\" needs sslrootcert")]
    NoRoot { mode: &'static str },
}

fn provider() -> Arc<CryptoProvider> {
    static PROVIDER: OnceLock<Arc<CryptoProvider>> = OnceLock::new();
    Arc::clone(PROVIDER.get_or_init(|| Arc::new(rustls::crypto::ring::default_provider())))
}

/// The certificates of a PEM file, at least one.
fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let failed = |source| TlsError::Certificate { path: path.to_owned(), source };
    let chain: Vec<_> = CertificateDer::pem_file_iter(path)
        .and_then(Iterator::collect::<Result<_, _>>)
        .map_err(failed)?;
    if chain.is_empty() {
        return Err(TlsError::NoCertificate { path: path.to_owned() });
    }
    Ok(chain)
}

fn private_key(path: &Path) -> Result<PrivateKeyDer<'static>, TlsError> {
    PrivateKeyDer::from_pem_file(path)
        .map_err(|source| TlsError::Key { path: path.to_owned(), source })
}
