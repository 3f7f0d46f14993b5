//! SCRAM-SHA-256 (RFC 5802, RFC 7677), both roles, without ever knowing the password.
//!
//! ```text
//! client ──proof──▶ [`Server`] ──ClientKey──▶ [`Client`] ──proof──▶ PostgreSQL
//! ```
//!
//! With TLS on both legs the exchange cannot pass through: it is bound to each leg's certificate.
//! So the proxy answers the client from the verifier that PostgreSQL has for the user, recovers
//! ClientKey from the client's proof, and proves itself upstream with it.
//!
//! Invariant: a client is let in by PostgreSQL alone. The key that a wrong proof yields is sent up
//! all the same, and PostgreSQL refuses it with its own words; salt and iterations are those
//! PostgreSQL named for this user in this very login, so a user that does not exist looks like any
//! other.
//!
//! Not here: the messages around these (`auth`), where verifiers come from.

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use rand::Rng;
use ring::{digest, hmac};

use super::fatal::Fatal;

pub(crate) const PLAIN: &str = "SCRAM-SHA-256";
pub(crate) const PLUS: &str = "SCRAM-SHA-256-PLUS";

const KEY_BYTES: usize = digest::SHA256_OUTPUT_LEN;
type Key = [u8; KEY_BYTES];

/// Bytes of randomness in a nonce; as many as PostgreSQL takes.
const NONCE_BYTES: usize = 18;

/// What PostgreSQL takes for a new password.
const SALT_BYTES: usize = 16;
const ITERATIONS: u32 = 4096;

/// What a server keeps of a password: `SCRAM-SHA-256$iterations:salt$StoredKey:ServerKey`.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct ScramVerifier {
    iterations: u32,
    salt: String,
    stored_key: Key,
    server_key: Key,
}

impl ScramVerifier {
    /// Reads `pg_authid.rolpassword`. An MD5 hash, say, is no verifier.
    #[must_use]
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let (head, keys) = text.strip_prefix("SCRAM-SHA-256$")?.split_once('$')?;
        let (iterations, salt) = head.split_once(':')?;
        let (stored_key, server_key) = keys.split_once(':')?;
        BASE64.decode(salt).ok()?;
        Some(Self {
            iterations: iterations.parse().ok().filter(|iterations| 0 < *iterations)?,
            salt: salt.to_owned(),
            stored_key: key(stored_key)?,
            server_key: key(server_key)?,
        })
    }

    /// For a user that has none, where nobody else names a salt: the same at each try, so that it looks
    /// like a real one.
    pub(crate) fn invented(user: &str) -> Self {
        static SECRET: std::sync::OnceLock<Key> = std::sync::OnceLock::new();
        let salt = sign(SECRET.get_or_init(|| rand::rng().random()), user);
        let salt = BASE64.encode(&salt[..SALT_BYTES]);
        Self { iterations: ITERATIONS, salt, ..Self::impossible() }
    }

    /// For a user that has none: no proof fits it.
    pub(crate) fn impossible() -> Self {
        let random = || rand::rng().random();
        let (stored_key, server_key) = (random(), random());
        Self { iterations: 1, salt: String::new(), stored_key, server_key }
    }
}

fn key(base64: &str) -> Option<Key> {
    BASE64.decode(base64).ok()?.try_into().ok()
}

/// What a side says about channel binding in front of its first message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Binding {
    /// `n`: does not know of it.
    Unsupported,
    /// `y`: knows of it, and believes that the server does not.
    Unoffered,
    /// `p`: bound to this certificate hash.
    EndPoint(Vec<u8>),
}

impl Binding {
    fn header(&self) -> &'static str {
        match self {
            Self::Unsupported => "n,,",
            Self::Unoffered => "y,,",
            Self::EndPoint(_) => "p=tls-server-end-point,,",
        }
    }

    /// The value of `c=`.
    fn proof(&self) -> String {
        let mut bytes = self.header().as_bytes().to_vec();
        if let Self::EndPoint(hash) = self {
            bytes.extend_from_slice(hash);
        }
        BASE64.encode(bytes)
    }
}

/// Challenge of the server, as both ends know it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Challenge {
    nonce: String,
    salt: String,
    iterations: u32,
}

impl Challenge {
    /// Salt and iterations of a verifier, for whoever ends the exchange here.
    pub(crate) fn of(verifier: &ScramVerifier) -> Self {
        let ScramVerifier { salt, iterations, .. } = verifier;
        Self { nonce: String::new(), salt: salt.clone(), iterations: *iterations }
    }

    fn parse(text: &str) -> Option<Self> {
        let mut fields = text.split(',');
        let nonce = fields.next()?.strip_prefix("r=")?.to_owned();
        let salt = fields.next()?.strip_prefix("s=")?.to_owned();
        let iterations = fields.next()?.strip_prefix("i=")?.parse().ok()?;
        Some(Self { nonce, salt, iterations })
    }
}

impl Answer {
    /// Whether the proof was made with the password. The comparison takes as long either way.
    pub(crate) fn is_right(&self) -> bool {
        let digest = digest::digest(&digest::SHA256, &self.client_key);
        let differing =
            digest.as_ref().iter().zip(&self.stored_key).fold(0, |all, (a, b)| all | (a ^ b));
        differing == 0
    }
}

/// The server's role, towards the client.
pub(crate) struct Server {
    binding: Binding,
    client_first: String,
    server_first: String,
    nonce: String,
    verifier: ScramVerifier,
}

/// What a client's last message came to.
pub(crate) struct Answer {
    /// Right or wrong; PostgreSQL finds out which.
    pub(crate) client_key: Key,
    pub(crate) stored_key: Key,
    /// Checks that the primary knows the password, too.
    pub(crate) server_key: Key,
    /// SASLFinal for the client, once PostgreSQL has let it in.
    pub(crate) server_final: String,
}

impl Server {
    /// Takes the client's first message. `end_point` is our certificate's hash, if PLUS was
    /// offered; `challenge` is PostgreSQL's, of which salt and iterations are shown on.
    pub(crate) fn begin(
        mechanism: &str,
        first: &[u8],
        end_point: Option<&[u8]>,
        challenge: &Challenge,
        verifier: ScramVerifier,
    ) -> Result<Self, Fatal> {
        let first = std::str::from_utf8(first).map_err(|_| malformed())?;
        let (binding, bare) = header(mechanism, first, end_point)?;
        let mut fields = bare.split(',');
        if fields.next().is_none_or(|user| !user.starts_with("n=")) {
            return Err(malformed());
        }
        let nonce = fields.next().and_then(|field| field.strip_prefix("r=")).unwrap_or_default();
        if nonce.is_empty() || !printable(nonce) {
            return Err(malformed());
        }
        let nonce = format!("{nonce}{}", nonce_text());
        let Challenge { salt, iterations, .. } = challenge;
        let server_first = format!("r={nonce},s={salt},i={iterations}");
        Ok(Self { binding, client_first: bare.to_owned(), server_first, nonce, verifier })
    }

    /// SASLContinue for the client.
    pub(crate) fn first(&self) -> &str {
        &self.server_first
    }

    /// Takes the client's last message.
    pub(crate) fn finish(&self, last: &[u8]) -> Result<Answer, Fatal> {
        let last = std::str::from_utf8(last).map_err(|_| malformed())?;
        let (without_proof, proof) = last.rsplit_once(",p=").ok_or_else(malformed)?;
        let mut fields = without_proof.split(',');
        let bound =
            fields.next().and_then(|field| field.strip_prefix("c=")).ok_or_else(malformed)?;
        let nonce =
            fields.next().and_then(|field| field.strip_prefix("r=")).ok_or_else(malformed)?;
        if bound != self.binding.proof() {
            return Err(Fatal::new("28000", "SCRAM channel binding check failed"));
        }
        if nonce != self.nonce {
            return Err(Fatal::protocol("invalid SCRAM response").detail("Nonce does not match."));
        }
        let mut client_key = key(proof).ok_or_else(malformed)?;
        let message = format!("{},{},{without_proof}", self.client_first, self.server_first);
        exclusive_or(&mut client_key, &sign(&self.verifier.stored_key, &message));
        let server_final =
            format!("v={}", BASE64.encode(sign(&self.verifier.server_key, &message)));
        let ScramVerifier { stored_key, server_key, .. } = self.verifier;
        Ok(Answer { client_key, stored_key, server_key, server_final })
    }
}

/// Reads what stands in front of the client's first message, by PostgreSQL's rules.
fn header<'a>(
    mechanism: &str,
    first: &'a str,
    end_point: Option<&[u8]>,
) -> Result<(Binding, &'a str), Fatal> {
    let (flag, rest) = first.split_once(',').ok_or_else(malformed)?;
    let (identity, bare) = rest.split_once(',').ok_or_else(malformed)?;
    if !identity.is_empty() {
        return Err(Fatal::new(
            "0A000",
            "client uses authorization identity, but it is not supported",
        ));
    }
    let binding = match (flag, mechanism, end_point) {
        ("n", PLAIN, _) => Binding::Unsupported,
        ("y", PLAIN, None) => Binding::Unoffered,
        ("y", PLAIN, Some(_)) => {
            return Err(Fatal::new("28000", "SCRAM channel binding negotiation error").detail(
                "The client supports SCRAM channel binding but thinks the server does not. \
                 However, this server does support channel binding.",
            ));
        }
        ("p=tls-server-end-point", PLUS, Some(hash)) => Binding::EndPoint(hash.to_vec()),
        (flag, PLUS, Some(_)) if flag.starts_with("p=") => {
            return Err(Fatal::protocol("unsupported SCRAM channel-binding type"));
        }
        _ => return Err(malformed()),
    };
    Ok((binding, bare))
}

/// An exchange that passed by, without its secrets: what they are made of with the verifier.
pub(crate) struct Transcript {
    /// The client's first message without its header, the server's, and the client's last without proof.
    message: String,
    proof: Key,
}

impl Transcript {
    pub(crate) fn new(first: &[u8], challenge: &[u8], last: &[u8]) -> Option<Self> {
        let texts = [first, challenge, last].map(std::str::from_utf8);
        let [Ok(first), Ok(challenge), Ok(last)] = texts else { return None };
        let (_, bare) = first.split_once(',')?.1.split_once(',')?;
        let (without_proof, proof) = last.rsplit_once(",p=")?;
        let message = format!("{bare},{challenge},{without_proof}");
        Some(Self { message, proof: key(proof)? })
    }

    /// The keys, if the verifier is the one that the exchange was about.
    pub(crate) fn keys(&self, verifier: &ScramVerifier) -> Option<Answer> {
        let mut client_key = self.proof;
        exclusive_or(&mut client_key, &sign(&verifier.stored_key, &self.message));
        let ScramVerifier { stored_key, server_key, .. } = *verifier;
        let answer = Answer { client_key, stored_key, server_key, server_final: String::new() };
        answer.is_right().then_some(answer)
    }
}

/// The client's role, towards PostgreSQL.
pub(crate) struct Client {
    binding: Binding,
    first: String,
    nonce: String,
}

impl Client {
    pub(crate) fn new(binding: Binding) -> Self {
        let nonce = nonce_text();
        // PostgreSQL takes the user's name from the startup message.
        Self { binding, first: format!("n=,r={nonce}"), nonce }
    }

    pub(crate) fn mechanism(&self) -> &'static str {
        match self.binding {
            Binding::EndPoint(_) => PLUS,
            Binding::Unsupported | Binding::Unoffered => PLAIN,
        }
    }

    /// The initial response.
    pub(crate) fn first(&self) -> String {
        format!("{}{}", self.binding.header(), self.first)
    }

    /// Reads the server's first message.
    pub(crate) fn challenge(&self, server_first: &[u8]) -> Option<Challenge> {
        let challenge = Challenge::parse(std::str::from_utf8(server_first).ok()?)?;
        (challenge.nonce.len() > self.nonce.len() && challenge.nonce.starts_with(&self.nonce))
            .then_some(challenge)
    }

    /// The last message, and the signature that a server that knows the password answers with.
    pub(crate) fn prove(
        &self,
        challenge: &Challenge,
        server_first: &[u8],
        answer: &Answer,
    ) -> (String, String) {
        let without_proof = format!("c={},r={}", self.binding.proof(), challenge.nonce);
        let server_first = String::from_utf8_lossy(server_first);
        let message = format!("{},{server_first},{without_proof}", self.first);
        let mut proof = answer.client_key;
        exclusive_or(&mut proof, &sign(&answer.stored_key, &message));
        let signature = format!("v={}", BASE64.encode(sign(&answer.server_key, &message)));
        (format!("{without_proof},p={}", BASE64.encode(proof)), signature)
    }
}

fn sign(key: &Key, message: &str) -> Key {
    let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key), message.as_bytes());
    tag.as_ref().try_into().expect("HMAC-SHA-256 has 32 bytes")
}

fn exclusive_or(key: &mut Key, other: &Key) {
    for (byte, other) in key.iter_mut().zip(other) {
        *byte ^= other;
    }
}

fn nonce_text() -> String {
    BASE64.encode(rand::rng().random::<[u8; NONCE_BYTES]>())
}

/// RFC 5802: printable ASCII except the comma.
fn printable(text: &str) -> bool {
    text.bytes().all(|byte| (0x21..=0x7e).contains(&byte) && byte != b',')
}

fn malformed() -> Fatal {
    Fatal::protocol("malformed SCRAM message")
}

#[cfg(test)]
mod tests {
    use super::*;
    use ring::pbkdf2;
    use std::num::NonZeroU32;

    const SALT: &str = "W22ZaJ0SNY7soEsUEjb6gQ==";

    /// What PostgreSQL stores for a password, and the ClientKey that belongs to it.
    fn keys(password: &str) -> (ScramVerifier, Key) {
        let iterations = NonZeroU32::new(4096).unwrap();
        let salt = BASE64.decode(SALT).unwrap();
        let mut salted: Key = [0; KEY_BYTES];
        let algorithm = pbkdf2::PBKDF2_HMAC_SHA256;
        pbkdf2::derive(algorithm, iterations, &salt, password.as_bytes(), &mut salted);
        let client_key = sign(&salted, "Client Key");
        let stored = digest::digest(&digest::SHA256, &client_key);
        let (stored, server) = (BASE64.encode(stored), BASE64.encode(sign(&salted, "Server Key")));
        let text = format!("SCRAM-SHA-256$4096:{SALT}${stored}:{server}");
        (ScramVerifier::parse(&text).unwrap(), client_key)
    }

    fn challenge() -> Challenge {
        Challenge { nonce: String::new(), salt: SALT.to_owned(), iterations: 4096 }
    }

    #[test]
    fn a_user_that_is_not_there_looks_the_same_twice() {
        let salt = |user| Challenge::of(&ScramVerifier::invented(user));
        assert_eq!(salt("nobody"), salt("nobody"));
        assert_ne!(salt("nobody"), salt("someone"));
    }

    /// The exchange of RFC 7677, section 3.
    #[test]
    fn the_example_of_rfc_7677_is_answered_as_there() {
        let (verifier, client_key) = keys("pencil");
        let nonce = "rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0";
        let server = Server {
            binding: Binding::Unsupported,
            client_first: "n=user,r=rOprNGfwEbeRWgbNEkqO".to_owned(),
            server_first: format!("r={nonce},s={SALT},i=4096"),
            nonce: nonce.to_owned(),
            verifier,
        };
        let last = format!("c=biws,r={nonce},p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=");
        let answer = server.finish(last.as_bytes()).unwrap_or_else(|fatal| panic!("{fatal}"));
        assert_eq!(answer.server_final, "v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=");
        assert!(answer.client_key == client_key);

        let client = Client {
            binding: Binding::Unsupported,
            first: "n=user,r=rOprNGfwEbeRWgbNEkqO".to_owned(),
            nonce: "rOprNGfwEbeRWgbNEkqO".to_owned(),
        };
        let challenge = client.challenge(server.first().as_bytes()).unwrap();
        let (proof, signature) = client.prove(&challenge, server.first().as_bytes(), &answer);
        assert_eq!(proof, last);
        assert_eq!(signature, answer.server_final);
    }

    /// A client's whole exchange with ours; says what came of it.
    fn exchange(
        mechanism: &str,
        client: Binding,
        end_point: Option<&[u8]>,
        password: &str,
    ) -> String {
        let (verifier, client_key) = keys("pencil");
        let (other, _) = keys(password);
        let stored_key = other.stored_key;
        let client_key = if password == "pencil" { client_key } else { keys(password).1 };
        let server_key = other.server_key;
        let answer = Answer { client_key, stored_key, server_key, server_final: String::new() };

        let client = Client::new(client);
        let first = client.first();
        let begun = Server::begin(mechanism, first.as_bytes(), end_point, &challenge(), verifier);
        let server = match begun {
            Ok(server) => server,
            Err(fatal) => return format!("{} {fatal}", fatal.code()),
        };
        let server_first = server.first().as_bytes();
        let challenge = client.challenge(server_first).unwrap();
        let (last, signature) = client.prove(&challenge, server_first, &answer);
        match server.finish(last.as_bytes()) {
            Ok(got) if got.client_key == keys("pencil").1 => {
                assert_eq!(got.server_final, signature);
                "the right key".to_owned()
            }
            Ok(_) => "a wrong key".to_owned(),
            Err(fatal) => format!("{} {fatal}", fatal.code()),
        }
    }

    #[test]
    fn a_right_proof_yields_the_key_and_a_wrong_one_does_not() {
        assert_eq!(exchange(PLAIN, Binding::Unsupported, None, "pencil"), "the right key");
        assert_eq!(exchange(PLAIN, Binding::Unsupported, None, "pen"), "a wrong key");
    }

    #[test]
    fn channel_binding_is_checked_on_our_side() {
        let bound = || Binding::EndPoint(vec![1, 2, 3]);
        assert_eq!(exchange(PLUS, bound(), Some(&[1, 2, 3]), "pencil"), "the right key");
        assert_eq!(
            exchange(PLUS, bound(), Some(&[1, 2, 4]), "pencil"),
            "28000 SCRAM channel binding check failed"
        );
        assert_eq!(exchange(PLAIN, Binding::Unoffered, None, "pencil"), "the right key");
        assert_eq!(
            exchange(PLAIN, Binding::Unoffered, Some(&[1]), "pencil"),
            "28000 SCRAM channel binding negotiation error"
        );
        let malformed = "08P01 malformed SCRAM message";
        assert_eq!(exchange(PLAIN, bound(), Some(&[1, 2, 3]), "pencil"), malformed);
        assert_eq!(exchange(PLUS, Binding::Unsupported, Some(&[1]), "pencil"), malformed);
        assert_eq!(exchange(PLUS, bound(), None, "pencil"), malformed);
        assert_eq!(exchange("SCRAM-MD5", Binding::Unsupported, None, "pencil"), malformed);
    }

    #[test]
    fn damaged_messages_are_refused() {
        let begin = |first: &[u8]| {
            let begun = Server::begin(PLAIN, first, None, &challenge(), keys("pencil").0);
            begun.map(|_| ()).unwrap_err().code()
        };
        for first in
            ["", "n", "n,", "n,,", "n,,n=", "n,,n=,r=", "n,,m=x,n=,r=a", "n,,n=,r=a b", "x,,n=,r=a"]
        {
            assert_eq!(begin(first.as_bytes()), "08P01", "{first}");
        }
        assert_eq!(begin(b"n,,n=,r=\xff"), "08P01");
        assert_eq!(begin(b"n,a=admin,n=,r=abc"), "0A000");

        let server = Server::begin(PLAIN, b"n,,n=,r=abc", None, &challenge(), keys("pencil").0);
        let server = server.unwrap_or_else(|fatal| panic!("{fatal}"));
        let nonce = server.nonce.clone();
        for last in [
            String::new(),
            "c=biws".to_owned(),
            format!("c=biws,r={nonce}"),
            format!("c=biws,r={nonce},p=AAAA"),
            format!("c=biws,r={nonce}x,p={}", BASE64.encode([0; 32])),
            format!("r={nonce},c=biws,p={}", BASE64.encode([0; 32])),
        ] {
            assert!(server.finish(last.as_bytes()).is_err(), "{last}");
        }
    }

    #[test]
    fn an_impostor_that_changes_the_nonce_is_not_answered() {
        let client = Client::new(Binding::Unsupported);
        assert_eq!(client.challenge(format!("r=other,s={SALT},i=4096").as_bytes()), None);
        let repeated = format!("r={},s={SALT},i=4096", client.nonce);
        assert_eq!(client.challenge(repeated.as_bytes()), None);
    }

    #[test]
    fn only_scram_secrets_are_verifiers() {
        for text in ["", "md5d2f1", "SCRAM-SHA-256$4096:x", "SCRAM-SHA-256$0:AA==$AA==:AA=="] {
            assert!(ScramVerifier::parse(text).is_none(), "{text}");
        }
    }

    /// The first byte says which message; the rest is its text.
    #[test]
    fn fuzz_scram() {
        use crate::session::fuzz::harness;
        use rand::seq::IndexedRandom as _;
        const PIECES: &[&str] = &[
            "n,,",
            "y,,",
            "p=tls-server-end-point,,",
            "p=x,,",
            "a=b",
            ",",
            "n=",
            "r=",
            "c=",
            "p=",
            "s=",
            "i=",
            "v=",
            "biws",
            "4096",
            "0",
            "-1",
            "99999999999",
            SALT,
            "SCRAM-SHA-256$",
            "$",
            ":",
            "=",
            "é",
            "nonce",
            "m=ext",
        ];
        let make = |random: &mut rand::rngs::StdRng| {
            let mut input = vec![random.random_range(0..4)];
            for _ in 0..random.random_range(0..10) {
                input.extend_from_slice(PIECES.choose(random).unwrap().as_bytes());
            }
            input
        };
        harness::fuzz("scram", 20_000, make, |input| {
            let Some((kind, text)) = input.split_first() else { return Ok(()) };
            match kind % 4 {
                0 => read_first(text),
                1 => read_last(text),
                2 => {
                    let challenge = std::str::from_utf8(text).ok().and_then(Challenge::parse);
                    let client = Client::new(Binding::Unsupported);
                    match (client.challenge(text), challenge) {
                        (Some(read), _) if !read.nonce.starts_with(&client.nonce) => {
                            Err("another's nonce".to_owned())
                        }
                        (Some(_), None) => Err("read by one alone".to_owned()),
                        _ => Ok(()),
                    }
                }
                _ => match std::str::from_utf8(text).ok().and_then(ScramVerifier::parse) {
                    Some(verifier) if verifier.iterations == 0 => Err("no iterations".to_owned()),
                    _ => Ok(()),
                },
            }
        });
    }

    /// Whatever the client begins with, what it is answered has one nonce, salt and count.
    fn read_first(text: &[u8]) -> Result<(), String> {
        for (mechanism, end_point) in
            [(PLAIN, None), (PLAIN, Some(&b"hash"[..])), (PLUS, Some(&b"hash"[..]))]
        {
            let verifier = ScramVerifier::impossible();
            let Ok(server) = Server::begin(mechanism, text, end_point, &challenge(), verifier)
            else {
                continue;
            };
            let read = Challenge::parse(server.first()).ok_or("an answer that cannot be read")?;
            if (read.salt.as_str(), read.iterations) != (SALT, 4096)
                || server.first().matches(',').count() != 2
            {
                return Err(format!("answers {}", server.first()));
            }
            if (mechanism == PLUS) != matches!(server.binding, Binding::EndPoint(_)) {
                return Err("another binding than the mechanism's".to_owned());
            }
        }
        Ok(())
    }

    /// `N` stands for the nonce. A proof is looked at only in a message of this very exchange.
    fn read_last(text: &[u8]) -> Result<(), String> {
        let verifier = ScramVerifier::impossible();
        let server = Server::begin(PLAIN, b"n,,n=,r=abc", None, &challenge(), verifier);
        let server = server.map_err(|fatal| fatal.message().to_owned())?;
        let text = String::from_utf8_lossy(text).replace('N', &server.nonce);
        let begins = format!("c=biws,r={}", server.nonce);
        match server.finish(text.as_bytes()) {
            Ok(_) if !text.starts_with(&begins) => {
                Err("takes the message of another exchange".to_owned())
            }
            _ => Ok(()),
        }
    }
}
