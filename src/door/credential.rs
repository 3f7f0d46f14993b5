//! What a client has shown of its password, so that it can be logged in elsewhere without being asked again.
//!
//! ```text
//! login ──▶ [`Credential`] ──(with the verifier)──▶ SCRAM's client key, or an MD5 hash ──▶ another login
//! ```
//!
//! Invariant: no password is kept. What is kept lives as long as the connection, in memory only, and is
//! worth something only to who can read the server's verifiers already, or has ended the exchange itself.

use std::fmt;

use bytes::Bytes;
use md5::{Digest as _, Md5};

use super::scram::{Answer, ScramVerifier, Transcript};

/// See the module.
#[derive(Default)]
pub(crate) enum Credential {
    /// Nobody asked for any.
    #[default]
    None,
    /// An exchange that ended here.
    Keys(Box<Answer>),
    /// An exchange between the client and PostgreSQL that passed through.
    Heard(Box<Transcript>),
    /// It has answered to an MD5 challenge: the kept hash can, too.
    Md5,
    /// By a means that cannot be repeated.
    Other,
}

impl fmt::Debug for Credential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Credential")
    }
}

impl Credential {
    /// SCRAM's keys, by the verifier that they were checked against.
    pub(crate) fn keys(self, verifier: Option<&ScramVerifier>) -> Option<Answer> {
        match self {
            Self::Keys(answer) => Some(*answer),
            Self::Heard(transcript) => transcript.keys(verifier?),
            Self::None | Self::Md5 | Self::Other => None,
        }
    }
}

/// The answer to AuthenticationMD5Password, without its NUL: a hash of the kept hash, in hexadecimal digits,
/// and of four random bytes.
pub(crate) fn md5_answer(hash: &str, salt: &[u8]) -> String {
    let digest = Md5::new().chain_update(hash).chain_update(salt).finalize();
    let digits: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
    format!("md5{digits}")
}

/// What passes through during a login, as far as it is needed again.
#[derive(Default)]
pub(crate) struct Ear {
    asked: Option<u32>,
    client: Vec<Bytes>,
    challenge: Option<Bytes>,
    ended: Option<Box<Answer>>,
}

/// Messages of a client during a login that are worth keeping: SCRAM has two.
const HEARD_MAX: usize = 2;

impl Ear {
    /// The server has asked for a proof of this kind.
    pub(crate) fn asked(&mut self, code: u32, body: &Bytes) {
        match code {
            super::sasl::OK | super::sasl::SASL_FINAL => {}
            super::sasl::SASL_CONTINUE => self.challenge = Some(Bytes::copy_from_slice(body)),
            code => self.asked = Some(code),
        }
    }

    pub(crate) fn answered(&mut self, body: &Bytes) {
        if self.asked == Some(super::sasl::SASL) && self.client.len() < HEARD_MAX {
            self.client.push(Bytes::copy_from_slice(body));
        }
    }

    /// The exchange ended here, with these keys.
    pub(crate) fn ended(&mut self, answer: Answer) {
        self.ended = Some(Box::new(answer));
    }

    pub(crate) fn credential(self) -> Credential {
        const MD5: u32 = 5;
        if let Some(answer) = self.ended {
            return Credential::Keys(answer);
        }
        match (self.asked, &self.client[..], &self.challenge) {
            (None, ..) => Credential::None,
            (Some(MD5), ..) => Credential::Md5,
            (Some(super::sasl::SASL), [first, last], Some(challenge)) => {
                let first = super::sasl::read_initial_response(first);
                let heard = first.and_then(|(_, first)| Transcript::new(&first, challenge, last));
                heard.map_or(Credential::Other, |heard| Credential::Heard(Box::new(heard)))
            }
            _ => Credential::Other,
        }
    }
}
