//! The packets before a login: startup, TLS and encryption requests, cancel requests.
//!
//! ```text
//! length (4, itself included) │ version or code (4) │ body
//! ```
//!
//! Invariant: whatever bytes come, the answer is a packet or a [`Fatal`]; nothing here panics,
//! waits or allocates by a length that a stranger has named. (pgwire's decoders trust the lengths
//! they are given, which is why they are not used before login.)

use std::collections::BTreeMap;

use bytes::Bytes;

use super::fatal::Fatal;

/// PostgreSQL's own bound for a startup packet.
pub(crate) const PACKET_BYTES_MAX: usize = 10_000;
/// Length and code.
pub(crate) const HEADER_BYTES: usize = 8;
/// A cancel key of protocol 3.2 may have this many bytes.
const SECRET_BYTES_MAX: usize = 256;

const CANCEL: u32 = 80_877_102;
const TLS: u32 = 80_877_103;
const GSS: u32 = 80_877_104;

/// A packet before the login.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Packet {
    Startup(Startup),
    /// SSLRequest.
    Tls,
    /// GSSENCRequest.
    Gss,
    Cancel(CancelKey),
}

/// Who wants to log in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Startup {
    pub user: String,
    pub database: String,
    /// All parameters as they were sent, `user` and `database` included.
    pub parameters: BTreeMap<String, String>,
    /// The whole packet: what the server is sent.
    pub raw: Bytes,
}

/// What a server gives a client so that it can cancel later. Printed without the secret.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct CancelKey {
    pub pid: i32,
    pub secret: Bytes,
}

impl std::fmt::Debug for CancelKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "CancelKey({}, ***)", self.pid)
    }
}

impl CancelKey {
    /// Reads the body of BackendKeyData, or what follows the code of a CancelRequest.
    pub(crate) fn parse(body: &Bytes) -> Option<Self> {
        let pid = i32::from_be_bytes(body.first_chunk().copied()?);
        let secret = body.slice(4..);
        (4..=SECRET_BYTES_MAX).contains(&secret.len()).then_some(Self { pid, secret })
    }

    /// The CancelRequest that a server expects.
    #[must_use]
    pub(crate) fn request(&self) -> Vec<u8> {
        let length = HEADER_BYTES + 4 + self.secret.len();
        let mut packet = Vec::with_capacity(length);
        packet.extend_from_slice(&u32::try_from(length).unwrap_or(u32::MAX).to_be_bytes());
        packet.extend_from_slice(&CANCEL.to_be_bytes());
        packet.extend_from_slice(&self.pid.to_be_bytes());
        packet.extend_from_slice(&self.secret);
        packet
    }
}

/// The length of the whole packet, from its first four bytes.
pub(crate) fn length(header: [u8; 4]) -> Result<usize, Fatal> {
    let length = usize::try_from(u32::from_be_bytes(header)).unwrap_or(usize::MAX);
    if (HEADER_BYTES..=PACKET_BYTES_MAX).contains(&length) {
        return Ok(length);
    }
    Err(Fatal::protocol("invalid length of startup packet"))
}

/// Reads a whole packet, its length included.
pub(crate) fn parse(raw: Bytes) -> Result<Packet, Fatal> {
    let Some((_, [a, b, c, d])) =
        raw.first_chunk::<HEADER_BYTES>().and_then(|header| header.split_first_chunk::<4>())
    else {
        return Err(Fatal::protocol("incomplete startup packet"));
    };
    let body = raw.slice(HEADER_BYTES..);
    match u32::from_be_bytes([*a, *b, *c, *d]) {
        TLS if body.is_empty() => Ok(Packet::Tls),
        GSS if body.is_empty() => Ok(Packet::Gss),
        TLS | GSS => Err(Fatal::protocol("invalid length of startup packet")),
        CANCEL => CancelKey::parse(&body)
            .map(Packet::Cancel)
            .ok_or_else(|| Fatal::protocol("invalid length of cancel request packet")),
        version => match version >> 16 {
            // The minor version is between the client and the server.
            3 => startup(raw).map(Packet::Startup),
            major => Err(Fatal::new(
                "0A000",
                format!(
                    "unsupported frontend protocol {major}.{minor}: server supports 3.0 and later 3.x",
                    minor = version & 0xffff
                ),
            )),
        },
    }
}

fn startup(raw: Bytes) -> Result<Startup, Fatal> {
    let body = &raw[HEADER_BYTES..];
    let Some(mut rest) = body.strip_suffix(b"\0") else {
        return Err(layout());
    };
    let mut parameters = BTreeMap::new();
    while !rest.is_empty() {
        let name = word(&mut rest)?;
        let value = word(&mut rest)?;
        parameters.insert(name, value);
    }
    let user =
        parameters.get("user").filter(|user| !user.is_empty()).cloned().ok_or_else(|| {
            Fatal::new("28000", "no PostgreSQL user name specified in startup packet")
        })?;
    let database = parameters.get("database").filter(|name| !name.is_empty());
    let database = database.unwrap_or(&user).clone();
    Ok(Startup { user, database, parameters, raw })
}

/// Takes a text up to its zero byte. What is not UTF-8 is kept for the server in `raw`; here it
/// only has to be unlike every name we compare it with.
fn word(rest: &mut &[u8]) -> Result<String, Fatal> {
    let end = rest.iter().position(|byte| *byte == 0).ok_or_else(layout)?;
    let (word, tail) = rest.split_at(end);
    *rest = &tail[1..];
    Ok(String::from_utf8_lossy(word).into_owned())
}

fn layout() -> Fatal {
    Fatal::protocol("invalid startup packet layout: expected terminator as last byte")
}

impl Startup {
    /// Refuses what Crossfade cannot carry: another database, and replication.
    pub(crate) fn check(&self, database: &str) -> Result<(), Fatal> {
        if self.parameters.get("replication").is_some_and(|value| wants_replication(value)) {
            return Err(Fatal::new("0A000", "replication connections are not supported")
                .detail("Crossfade forwards ordinary sessions only.")
                .hint("Connect to PostgreSQL directly for replication."));
        }
        if self.database != database {
            return Err(Fatal::new(
                "3D000",
                format!("database \"{}\" is not served", self.database),
            )
            .detail(format!(
                "Crossfade serves the database \"{database}\" only, which is the one in from.url."
            )));
        }
        Ok(())
    }
}

/// As PostgreSQL reads it: `database`, or any spelling of a boolean. What is neither is left to
/// the server to refuse.
fn wants_replication(value: &str) -> bool {
    let value = value.to_ascii_lowercase();
    let prefix_of = |word: &str| !value.is_empty() && word.starts_with(&value);
    value == "database" || prefix_of("true") || prefix_of("yes") || value == "on" || value == "1"
}

#[cfg(test)]
mod tests {
    use super::*;

    fn packet(code: u32, body: &[u8]) -> Bytes {
        let mut packet = u32::try_from(body.len() + 8).unwrap().to_be_bytes().to_vec();
        packet.extend_from_slice(&code.to_be_bytes());
        packet.extend_from_slice(body);
        packet.into()
    }

    #[track_caller]
    fn check(code: u32, body: &[u8], expected: &str) {
        let got = match parse(packet(code, body)) {
            Ok(Packet::Startup(startup)) => format!("{} in {}", startup.user, startup.database),
            Ok(other) => format!("{other:?}"),
            Err(fatal) => format!("{} {}", fatal.code(), fatal.message()),
        };
        assert_eq!(got, expected);
    }

    const V3: u32 = 3 << 16;

    #[test]
    fn a_startup_names_user_and_database() {
        check(V3, b"user\0alice\0database\0auth\0\0", "alice in auth");
        check(V3 + 2, b"user\0alice\0\0", "alice in alice");
        check(V3 + 9999, b"user\0alice\0_pq_.test\0x\0\0", "alice in alice");
    }

    #[test]
    fn a_damaged_startup_is_refused() {
        let layout = "08P01 invalid startup packet layout: expected terminator as last byte";
        check(V3, b"", layout);
        check(V3, b"user\0alice\0", layout);
        check(V3, b"user\0alice", layout);
        check(V3, b"user\0\0", layout);
        check(V3, b"\0", "28000 no PostgreSQL user name specified in startup packet");
    }

    #[test]
    fn other_versions_are_refused() {
        check(
            2 << 16,
            b"",
            "0A000 unsupported frontend protocol 2.0: server supports 3.0 and later 3.x",
        );
        check(
            0x4745_5420,
            b"",
            "0A000 unsupported frontend protocol 18245.21536: server supports 3.0 and later 3.x",
        );
    }

    #[test]
    fn a_length_is_believed_within_bounds_only() {
        for length_given in [0, 7, 10_001, 1 << 30, u32::MAX] {
            let refused = length(length_given.to_be_bytes()).unwrap_err();
            assert_eq!(refused.message(), "invalid length of startup packet");
        }
        assert_eq!(length([0, 0, 0, 8]).unwrap(), 8);
    }

    #[test]
    fn cancel_keys_of_both_protocols_are_read_and_printed_without_their_secret() {
        check(CANCEL, &[0, 0, 0, 7, 1, 2, 3, 4], "Cancel(CancelKey(7, ***))");
        check(CANCEL, &[&[0, 0, 0, 7][..], &[9; 256]].concat(), "Cancel(CancelKey(7, ***))");
        let wrong = "08P01 invalid length of cancel request packet";
        check(CANCEL, &[0, 0, 0, 7, 1, 2, 3], wrong);
        check(CANCEL, &[&[0, 0, 0, 7][..], &[9; 257]].concat(), wrong);
        check(CANCEL, &[], wrong);
    }

    #[test]
    fn a_cancel_request_is_written_as_it_was_read() {
        let raw = packet(CANCEL, &[0, 0, 0, 7, 1, 2, 3, 4, 5]);
        let Packet::Cancel(key) = parse(raw.clone()).unwrap() else { panic!("no cancel") };
        assert_eq!(key.request(), raw);
    }

    #[test]
    fn replication_is_read_as_postgresql_reads_it() {
        for (value, wanted) in [
            ("database", true),
            ("true", true),
            ("T", true),
            ("on", true),
            ("1", true),
            ("y", true),
            ("false", false),
            ("off", false),
            ("0", false),
            ("no", false),
            ("o", false),
            ("", false),
        ] {
            assert_eq!(wants_replication(value), wanted, "{value}");
        }
    }

    #[test]
    fn another_database_is_refused_with_its_reason() {
        let raw = packet(V3, b"user\0alice\0database\0other\0\0");
        let Packet::Startup(startup) = parse(raw).unwrap() else { panic!("no startup") };
        assert_eq!(startup.check("auth").unwrap_err().code(), "3D000");
        startup.check("other").unwrap();
    }
}
