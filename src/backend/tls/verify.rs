//! Whether to believe a server's certificate, as libpq would.
//!
//! rustls alone is stricter than libpq in two ways that PostgreSQL's installations rely on: it
//! refuses a self-signed certificate that is itself the `sslrootcert`, and it does not look at the
//! common name of a certificate without alternative names.
//!
//! Invariant: the signature of the handshake is verified in every mode, so the peer always holds
//! the key of the certificate it shows, and channel binding means something.

use std::sync::Arc;
use std::time::Duration;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{verify_server_cert_signed_by_trust_anchor, verify_server_name};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature_with_raw_key};
use rustls::pki_types::{CertificateDer, ServerName, SubjectPublicKeyInfoDer, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{CertificateError, DigitallySignedStruct, Error, RootCertStore, SignatureScheme};
use x509_cert::Certificate;
use x509_cert::der::asn1::{PrintableStringRef, TeletexStringRef, Utf8StringRef};
use x509_cert::der::oid::db::rfc4519::COMMON_NAME;
use x509_cert::der::oid::db::rfc5280::ID_CE_SUBJECT_ALT_NAME;
use x509_cert::der::{Decode, Encode, Tag, Tagged};

/// Whom to believe.
#[derive(Debug)]
pub(super) enum Trust {
    /// Whoever answers: encrypted, but not authenticated.
    Anyone,
    Roots {
        roots: Arc<RootCertStore>,
        /// The same certificates as they were given.
        given: Vec<CertificateDer<'static>>,
        /// Whether the certificate has to name the host.
        named: bool,
    },
}

#[derive(Debug)]
pub(super) struct Verifier {
    provider: Arc<CryptoProvider>,
    trust: Trust,
}

impl Verifier {
    pub(super) fn new(provider: Arc<CryptoProvider>, trust: Trust) -> Self {
        Self { provider, trust }
    }
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let Trust::Roots { roots, given, named } = &self.trust else {
            return Ok(ServerCertVerified::assertion());
        };
        if given.iter().any(|root| root.as_ref() == end_entity.as_ref()) {
            verify_dates(end_entity, now)?;
        } else {
            let algorithms = self.provider.signature_verification_algorithms.all;
            let parsed = ParsedCertificate::try_from(end_entity)?;
            verify_server_cert_signed_by_trust_anchor(
                &parsed,
                roots,
                intermediates,
                now,
                algorithms,
            )?;
        }
        if *named {
            verify_name(end_entity, server_name)?;
        }
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls12_signature(message, cert, signature, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        // By the bare key, since webpki refuses to look at certificates of version 1, which OpenSSL
        // makes where no extension is asked for. Nothing but the key counts here.
        let algorithms = &self.provider.signature_verification_algorithms;
        let key = public_key(cert)?;
        verify_tls13_signature_with_raw_key(message, &key, signature, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

/// What remains to be checked of a certificate that was given as its own root.
fn verify_dates(certificate: &CertificateDer<'_>, now: UnixTime) -> Result<(), Error> {
    let validity = parse(certificate)?.tbs_certificate.validity;
    let now = Duration::from_secs(now.as_secs());
    if now < validity.not_before.to_unix_duration() {
        return Err(CertificateError::NotValidYet.into());
    }
    if validity.not_after.to_unix_duration() < now {
        return Err(CertificateError::Expired.into());
    }
    Ok(())
}

/// The alternative names decide; where there are none, the common name does.
fn verify_name(certificate: &CertificateDer<'_>, name: &ServerName<'_>) -> Result<(), Error> {
    let parsed = ParsedCertificate::try_from(certificate)?;
    let Err(refused) = verify_server_name(&parsed, name) else { return Ok(()) };
    match common_name(certificate)? {
        Some(common_name) if fits(&common_name, &name.to_str()) => Ok(()),
        _ => Err(refused),
    }
}

/// The common name of a certificate without alternative names.
fn common_name(certificate: &CertificateDer<'_>) -> Result<Option<String>, Error> {
    let certificate = parse(certificate)?.tbs_certificate;
    let mut extensions = certificate.extensions.iter().flatten();
    if extensions.any(|extension| extension.extn_id == ID_CE_SUBJECT_ALT_NAME) {
        return Ok(None);
    }
    let attributes = certificate.subject.0.iter().flat_map(|name| name.0.iter());
    let value = attributes.filter(|one| one.oid == COMMON_NAME).map(|one| &one.value).next_back();
    Ok(value.and_then(|value| match value.tag() {
        Tag::Utf8String => Some(Utf8StringRef::try_from(value).ok()?.as_str().to_owned()),
        Tag::PrintableString => Some(PrintableStringRef::try_from(value).ok()?.as_str().to_owned()),
        Tag::TeletexString => Some(TeletexStringRef::try_from(value).ok()?.as_str().to_owned()),
        _ => None,
    }))
}

/// `*` stands for one label, the first.
fn fits(pattern: &str, host: &str) -> bool {
    match pattern.strip_prefix("*.") {
        None => pattern.eq_ignore_ascii_case(host),
        Some(domain) => host
            .split_once('.')
            .is_some_and(|(label, rest)| !label.is_empty() && domain.eq_ignore_ascii_case(rest)),
    }
}

/// The key of a certificate, in the form that names its algorithm.
pub(super) fn public_key(
    certificate: &CertificateDer<'_>,
) -> Result<SubjectPublicKeyInfoDer<'static>, Error> {
    let key = parse(certificate)?.tbs_certificate.subject_public_key_info.to_der();
    key.map(Into::into).map_err(|_| CertificateError::BadEncoding.into())
}

fn parse(certificate: &CertificateDer<'_>) -> Result<Certificate, Error> {
    Certificate::from_der(certificate).map_err(|_| CertificateError::BadEncoding.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    use rustls::pki_types::pem::PemObject;

    const ROOT: &str = include_str!("../../../tests/certificates/root.pem");
    /// Signed by `ROOT`; named `db.example.org` by its common name alone.
    const LEAF: &str = include_str!("../../../tests/certificates/leaf.pem");
    /// Self-signed; named `db.example.org` by its common name alone.
    const COMMON: &str = include_str!("../../../tests/certificates/sha256.pem");
    /// Self-signed; common name `other.example.org`, alternative name `db.example.org`.
    const ALTERNATIVE: &str = include_str!("../../../tests/certificates/sha384.pem");

    /// Verifies `shown`, as of `year`, against the one root `given`.
    fn verify(given: &str, shown: &str, host: Option<&str>, year: u64) -> Result<(), String> {
        let pem = |text: &str| CertificateDer::from_pem_slice(text.as_bytes()).unwrap();
        let mut roots = RootCertStore::empty();
        roots.add(pem(given)).unwrap();
        let roots = Arc::new(roots);
        let trust = Trust::Roots { roots, given: vec![pem(given)], named: host.is_some() };
        let name = ServerName::try_from(host.unwrap_or("any").to_owned()).unwrap();
        let now = UnixTime::since_unix_epoch(Duration::from_secs((year - 1970) * 31_557_600));
        Verifier::new(super::super::provider(), trust)
            .verify_server_cert(&pem(shown), &[], &name, &[], now)
            .map(drop)
            .map_err(|error| match error {
                Error::InvalidCertificate(why) => format!("{why:?}"),
                other => other.to_string(),
            })
    }

    #[test]
    fn a_self_signed_certificate_can_be_its_own_root() {
        assert_eq!(verify(COMMON, COMMON, None, 2030), Ok(()));
        assert!(verify(COMMON, ALTERNATIVE, None, 2030).is_err());
    }

    #[test]
    fn a_certificate_that_is_its_own_root_still_expires() {
        assert_eq!(verify(COMMON, COMMON, None, 2200).unwrap_err(), "Expired");
        assert_eq!(verify(COMMON, COMMON, None, 2020).unwrap_err(), "NotValidYet");
    }

    #[test]
    fn the_common_name_counts_where_there_is_no_other() {
        assert_eq!(verify(COMMON, COMMON, Some("db.example.org"), 2030), Ok(()));
        assert!(verify(COMMON, COMMON, Some("evil.example.org"), 2030).is_err());
        assert_eq!(verify(ALTERNATIVE, ALTERNATIVE, Some("db.example.org"), 2030), Ok(()));
        assert_eq!(verify(ALTERNATIVE, ALTERNATIVE, Some("127.0.0.1"), 2030), Ok(()));
        assert!(verify(ALTERNATIVE, ALTERNATIVE, Some("other.example.org"), 2030).is_err());
    }

    #[test]
    fn a_chain_to_the_root_is_followed() {
        assert_eq!(verify(ROOT, LEAF, Some("db.example.org"), 2030), Ok(()));
        assert!(verify(ROOT, LEAF, Some("evil.example.org"), 2030).is_err());
        assert!(verify(ROOT, LEAF, None, 2200).is_err());
        assert!(verify(COMMON, LEAF, None, 2030).is_err());
    }

    #[test]
    fn a_star_in_a_common_name_is_one_label() {
        assert!(fits("db.example.org", "DB.example.org"));
        assert!(fits("*.example.org", "db.example.org"));
        assert!(!fits("*.example.org", "a.db.example.org"));
        assert!(!fits("*.example.org", "example.org"));
        assert!(!fits("*.example.org", ".example.org"));
    }
}
