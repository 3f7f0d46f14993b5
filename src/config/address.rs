//! Where to listen and where to connect: addresses and database URLs.
//!
//! ```text
//! postgres://user:${PASSWORD}@host:5432/auth?sslmode=verify-full ──▶ DatabaseUrl
//! ```
//!
//! Invariant: a URL is never quoted in a message, since it may hold a password. In its user and
//! password a `${NAME}` is taken as it is; no percent-encoding is wanted of the environment.

use std::fmt;
use std::path::PathBuf;

use super::expand::{Lookup, Masked, expand, mask};
use super::unit;

/// A text that is printed as `***`.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    #[must_use]
    pub fn new(text: String) -> Self {
        Self(text)
    }

    /// The text itself, for the one place that has to send or compare it.
    #[must_use]
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

/// `listen.address`: `127.0.0.1:6432`, `[::1]:6432`, or `unix:/run/crossfade`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ListenAddress {
    Tcp {
        host: String,
        port: u16,
    },
    /// The directory, as libpq's `host` names it.
    Unix(PathBuf),
}

impl fmt::Display for ListenAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp { host, port } if host.contains(':') => write!(f, "[{host}]:{port}"),
            Self::Tcp { host, port } => write!(f, "{host}:{port}"),
            Self::Unix(directory) => write!(f, "unix:{}", directory.display()),
        }
    }
}

pub(super) fn listen(text: &str) -> Result<ListenAddress, String> {
    if let Some(directory) = text.strip_prefix("unix:") {
        return match directory.starts_with('/') {
            true => Ok(ListenAddress::Unix(PathBuf::from(directory))),
            false => Err("a unix socket wants the absolute path of a directory".to_owned()),
        };
    }
    let (host, port) = host_and_port(text, None)?;
    Ok(ListenAddress::Tcp { host, port })
}

/// How much TLS a connection wants; the names are libpq's, MySQL's are mapped to them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum TlsMode {
    Disable,
    Allow,
    Prefer,
    Require,
    VerifyCa,
    VerifyFull,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Host {
    Tcp(String),
    /// For PostgreSQL the socket's directory, for MySQL the socket itself.
    Unix(PathBuf),
}

/// `from.url` or `to.url`, taken apart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DatabaseUrl {
    pub user: String,
    pub password: Secret,
    pub host: Host,
    pub port: u16,
    pub database: String,
    pub tls: TlsMode,
    /// `sslrootcert=` or `ssl-ca=`.
    pub ca: Option<PathBuf>,
    /// `sslcert=` and `sslkey=`, or `ssl-cert=` and `ssl-key=`.
    pub client_certificate: Option<(PathBuf, PathBuf)>,
}

impl DatabaseUrl {
    /// `host:port/database`, for people; without user and password.
    #[must_use]
    pub fn place(&self) -> String {
        match &self.host {
            Host::Tcp(host) => format!("{host}:{}/{}", self.port, self.database),
            Host::Unix(path) => format!("{}/{}", path.display(), self.database),
        }
    }
}

/// What the two products call the same things.
pub(super) struct Dialect {
    schemes: &'static [&'static str],
    port: u16,
    tls: &'static str,
    modes: &'static [(&'static str, TlsMode)],
    ca: &'static str,
    certificate: &'static str,
    key: &'static str,
    socket: &'static str,
}

pub(super) const POSTGRES: Dialect = Dialect {
    schemes: &["postgres", "postgresql"],
    port: 5432,
    tls: "sslmode",
    modes: &[
        ("disable", TlsMode::Disable),
        ("allow", TlsMode::Allow),
        ("prefer", TlsMode::Prefer),
        ("require", TlsMode::Require),
        ("verify-ca", TlsMode::VerifyCa),
        ("verify-full", TlsMode::VerifyFull),
    ],
    ca: "sslrootcert",
    certificate: "sslcert",
    key: "sslkey",
    socket: "host",
};

pub(super) const MYSQL: Dialect = Dialect {
    schemes: &["mysql", "mariadb"],
    port: 3306,
    tls: "ssl-mode",
    modes: &[
        ("DISABLED", TlsMode::Disable),
        ("PREFERRED", TlsMode::Prefer),
        ("REQUIRED", TlsMode::Require),
        ("VERIFY_CA", TlsMode::VerifyCa),
        ("VERIFY_IDENTITY", TlsMode::VerifyFull),
    ],
    ca: "ssl-ca",
    certificate: "ssl-cert",
    key: "ssl-key",
    socket: "socket",
};

/// Reads a URL whose variables are still in it; `file` checks that a file it names is there.
pub(super) fn database(
    dialect: &Dialect,
    text: &str,
    lookup: Lookup<'_>,
    file: &dyn Fn(&str) -> Result<PathBuf, String>,
) -> Result<DatabaseUrl, String> {
    if text.starts_with("${") {
        let whole = expand(text, lookup)?;
        return cut(dialect, &mask(&whole, &|_| None)?, file);
    }
    cut(dialect, &mask(text, lookup)?, file)
}

fn cut(
    dialect: &Dialect,
    url: &Masked,
    file: &dyn Fn(&str) -> Result<PathBuf, String>,
) -> Result<DatabaseUrl, String> {
    let scheme = dialect.schemes[0];
    let (named, rest) = url.text.split_once("://").unwrap_or(("", &url.text));
    if !dialect.schemes.contains(&named) {
        return Err(format!("must start with {scheme}://"));
    }
    let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
    let (user, rest) = rest.rsplit_once('@').unwrap_or(("", rest));
    let (place, path) = rest.split_once('/').unwrap_or((rest, ""));
    let (user, password) = user.split_once(':').unwrap_or((user, ""));
    let user = url.open(user, percent_decode)?;
    let name = url.open(path, percent_decode)?;
    if user.is_empty() {
        return Err(format!("names no user: write {scheme}://user@host/database"));
    }
    if name.is_empty() {
        return Err(format!("names no database: write {scheme}://user@host/database"));
    }
    let place = url.open(place, percent_decode)?;
    let (host, port) = match place.as_str() {
        "" => ("127.0.0.1".to_owned(), dialect.port),
        place => host_and_port(place, Some(dialect.port))?,
    };
    let mut database = DatabaseUrl {
        user,
        password: Secret(url.open(password, percent_decode)?),
        host: Host::Tcp(host),
        port,
        database: name,
        tls: TlsMode::Prefer,
        ca: None,
        client_certificate: None,
    };
    parameters(dialect, url, query, file, &mut database)?;
    Ok(database)
}

fn parameters(
    dialect: &Dialect,
    url: &Masked,
    query: &str,
    file: &dyn Fn(&str) -> Result<PathBuf, String>,
    database: &mut DatabaseUrl,
) -> Result<(), String> {
    let (mut certificate, mut key) = (None, None);
    for parameter in query.split('&').filter(|parameter| !parameter.is_empty()) {
        let (name, value) = parameter.split_once('=').unwrap_or((parameter, ""));
        let value = url.open(value, percent_decode)?;
        match name {
            name if name == dialect.tls => database.tls = unit::word(dialect.modes, &value)?,
            name if name == dialect.ca => database.ca = Some(file(&value)?),
            name if name == dialect.certificate => certificate = Some(file(&value)?),
            name if name == dialect.key => key = Some(file(&value)?),
            name if name == dialect.socket => {
                database.host = match value.starts_with('/') {
                    true => Host::Unix(PathBuf::from(value)),
                    false => Host::Tcp(value),
                };
            }
            _ => return Err(unknown_parameter(dialect)),
        }
    }
    database.client_certificate = match (certificate, key) {
        (None, None) => None,
        (Some(certificate), Some(key)) => Some((certificate, key)),
        _ => {
            return Err(format!("{} and {} go together", dialect.certificate, dialect.key));
        }
    };
    // As in libpq: with a root certificate at hand, `require` checks against it.
    if database.ca.is_some() && database.tls == TlsMode::Require {
        database.tls = TlsMode::VerifyCa;
    }
    Ok(())
}

fn unknown_parameter(dialect: &Dialect) -> String {
    let Dialect { tls, ca, certificate, key, socket, .. } = dialect;
    format!("has an unknown parameter; known are {tls}, {ca}, {certificate}, {key}, {socket}")
}

fn host_and_port(text: &str, default: Option<u16>) -> Result<(String, u16), String> {
    let wanted = "must be host:port, for instance 127.0.0.1:6432 or [::1]:6432";
    let (host, port) = match text.strip_prefix('[') {
        Some(rest) => {
            let (host, port) = rest.split_once(']').ok_or(wanted)?;
            (host, port.strip_prefix(':'))
        }
        None => match text.split_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (text, None),
        },
    };
    let port = match port {
        Some(port) => port.parse().map_err(|_| wanted)?,
        None => default.ok_or(wanted)?,
    };
    match host.is_empty() {
        true => Err(wanted.to_owned()),
        false => Ok((host.to_owned(), port)),
    }
}

fn percent_decode(text: &str) -> Result<String, String> {
    let wrong = || "has a \"%\" that is not followed by two hexadecimal digits".to_owned();
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, tail @ ..] = rest {
        rest = tail;
        if *first != b'%' {
            bytes.push(*first);
            continue;
        }
        let digits = rest.get(..2).and_then(|digits| std::str::from_utf8(digits).ok());
        let byte = digits.and_then(|digits| u8::from_str_radix(digits, 16).ok());
        bytes.push(byte.ok_or_else(wrong)?);
        rest = &rest[2..];
    }
    String::from_utf8(bytes).map_err(|_| "is not UTF-8 once its \"%\" are decoded".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<DatabaseUrl, String> {
        let lookup = |name: &str| match name {
            "PASSWORD" => Some("p@ss:w/o?r%d".to_owned()),
            "URL" => Some("postgres://a:b%40c@h:1/d".to_owned()),
            _ => None,
        };
        database(&POSTGRES, text, &lookup, &|path| Ok(PathBuf::from(path)))
    }

    #[test]
    fn a_password_from_the_environment_needs_no_encoding() {
        let url = read("postgres://u%20x:${PASSWORD}@db:5433/auth?sslmode=verify-full").unwrap();
        assert_eq!(url.user, "u x");
        assert_eq!(url.password.reveal(), "p@ss:w/o?r%d");
        assert_eq!(url.place(), "db:5433/auth");
        assert_eq!(url.tls, TlsMode::VerifyFull);
        assert!(!format!("{url:?}").contains("p@ss"));
    }

    #[test]
    fn a_whole_url_from_the_environment_is_read_as_one() {
        let url = read("${URL}").unwrap();
        assert_eq!((url.user.as_str(), url.password.reveal()), ("a", "b@c"));
    }

    #[test]
    fn a_default_may_hold_what_separates_elsewhere() {
        let url = read("postgres://u:${NONE:-a@b/c}@[::1]/d").unwrap();
        assert_eq!((url.password.reveal(), url.place().as_str()), ("a@b/c", "::1:5432/d"));
    }

    #[test]
    fn a_socket_and_a_root_certificate_are_as_in_libpq() {
        let url = read("postgres://u@/d?host=/run/pg&sslmode=require&sslrootcert=/ca.crt").unwrap();
        assert_eq!(url.host, Host::Unix(PathBuf::from("/run/pg")));
        assert_eq!(url.tls, TlsMode::VerifyCa);
    }

    #[test]
    fn a_wrong_url_is_named_without_being_quoted() {
        for wrong in ["hunter2", "mysql://u:hunter2@h/d", "postgres://u:hunter2@h:x/d"] {
            let message = read(wrong).unwrap_err();
            assert!(!message.contains("hunter2"), "{message}");
        }
        assert!(read("postgres://u@h/").unwrap_err().contains("names no database"));
        assert!(read("postgres://h/d").unwrap_err().contains("names no user"));
        assert!(read("postgres://u@h/d?ssl=1").unwrap_err().contains("unknown parameter"));
    }
}
