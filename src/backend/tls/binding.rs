//! `tls-server-end-point` channel binding (RFC 5929): the hash of the server's certificate.
//!
//! Invariant: both ends must come to the same bytes by themselves, so where the certificate's
//! signature names no single hash (Ed25519, say) there is no binding rather than a guess.

use ring::digest;
use rustls::pki_types::CertificateDer;
use x509_cert::Certificate;
use x509_cert::der::asn1::ObjectIdentifier;
use x509_cert::der::oid::db::rfc5912::{
    ECDSA_WITH_SHA_256, ECDSA_WITH_SHA_384, ECDSA_WITH_SHA_512, ID_RSASSA_PSS, ID_SHA_1,
    ID_SHA_256, ID_SHA_384, ID_SHA_512, MD_5_WITH_RSA_ENCRYPTION, SHA_1_WITH_RSA_ENCRYPTION,
    SHA_256_WITH_RSA_ENCRYPTION, SHA_384_WITH_RSA_ENCRYPTION, SHA_512_WITH_RSA_ENCRYPTION,
};
use x509_cert::der::{AnyRef, Decode, Reader, SliceReader, Tagged};
use x509_cert::spki::AlgorithmIdentifierRef;

/// The binding data of a server's own certificate, or `None` where RFC 5929 defines none.
#[must_use]
pub fn end_point(certificate: &CertificateDer<'_>) -> Option<Vec<u8>> {
    let parsed = Certificate::from_der(certificate).ok()?;
    let signature = parsed.signature_algorithm;
    let parameters = signature.parameters.as_ref().map(AnyRef::from);
    let algorithm = match signature.oid {
        ID_RSASSA_PSS => hash(pss_hash(parameters?)?)?,
        oid => hash(oid)?,
    };
    Some(digest::digest(algorithm, certificate).as_ref().to_vec())
}

/// MD5 and SHA-1 are replaced by SHA-256, says the RFC.
fn hash(oid: ObjectIdentifier) -> Option<&'static digest::Algorithm> {
    match oid {
        MD_5_WITH_RSA_ENCRYPTION
        | SHA_1_WITH_RSA_ENCRYPTION
        | ECDSA_WITH_SHA_1
        | ID_SHA_1
        | SHA_256_WITH_RSA_ENCRYPTION
        | ECDSA_WITH_SHA_256
        | ID_SHA_256 => Some(&digest::SHA256),
        SHA_384_WITH_RSA_ENCRYPTION | ECDSA_WITH_SHA_384 | ID_SHA_384 => Some(&digest::SHA384),
        SHA_512_WITH_RSA_ENCRYPTION | ECDSA_WITH_SHA_512 | ID_SHA_512 => Some(&digest::SHA512),
        _ => None,
    }
}

const ECDSA_WITH_SHA_1: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.4.1");

/// RSASSA-PSS names its hash in its parameters: `SEQUENCE { [0] AlgorithmIdentifier, … }`, SHA-1
/// where it is left out.
fn pss_hash(parameters: AnyRef<'_>) -> Option<ObjectIdentifier> {
    let mut reader = SliceReader::new(parameters.value()).ok()?;
    if reader.is_finished() {
        return Some(ID_SHA_1);
    }
    let first = AnyRef::decode(&mut reader).ok()?;
    if first.tag().octet() != 0xa0 {
        return Some(ID_SHA_1);
    }
    Some(AlgorithmIdentifierRef::from_der(first.value()).ok()?.oid)
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustls::pki_types::pem::PemObject;

    /// The expected hashes are those of `openssl x509 -outform der | sha256sum`.
    #[track_caller]
    fn check(pem: &str, expected: Option<&str>) {
        let certificate = CertificateDer::from_pem_slice(pem.as_bytes()).unwrap();
        let hash = end_point(&certificate)
            .map(|hash| hash.iter().map(|byte| format!("{byte:02x}")).collect::<String>());
        assert_eq!(hash.as_deref(), expected);
    }

    #[test]
    fn the_hash_is_that_of_the_signature() {
        check(
            include_str!("../../../tests/certificates/sha256.pem"),
            Some("caa95f7f07553a5bc3ab309a032b5922cf237345df8dc7d1af0dabdf8f4e0468"),
        );
        check(
            include_str!("../../../tests/certificates/sha384.pem"),
            Some(
                "67be66c56c72555f5223fea29c6bc6b1e24453c69dd62fb5\
                 682ee2d97da9cab88e9f2b16c79804560939dc42422392a3",
            ),
        );
    }

    #[test]
    fn sha1_is_replaced_by_sha256() {
        check(
            include_str!("../../../tests/certificates/sha1.pem"),
            Some("61a522a3cefd099049ad72fd608330acbb5e476bbafc3cee2269fbb5c8e83f6b"),
        );
    }

    #[test]
    fn rsa_pss_names_its_hash_in_its_parameters() {
        check(
            include_str!("../../../tests/certificates/pss.pem"),
            Some(
                "78392e5bd8e0c45bb3a4f177c44f984c75c502a3dddee3016f3d2f9f8ba07bb2\
                 2801df6c55c918fc0cd531a98bc4e8e6e5998f7ff493e5bb24e74ee4c7c2faea",
            ),
        );
    }

    #[test]
    fn a_signature_without_a_hash_has_no_binding() {
        check(include_str!("../../../tests/certificates/ed25519.pem"), None);
    }
}
