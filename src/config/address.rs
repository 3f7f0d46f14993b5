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

use crate::backend::from_url::{self, FromUrl};
use crate::backend::mysql::connect as mysql;
use crate::backend::password::Password;
use crate::backend::url::{DatabaseUrl, Host, RootSource};
use crate::listener::Address;

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

/// The number in the name of a unix socket where `listen.address` gives none.
const PORT: u16 = 6432;

/// `listen.address`: `127.0.0.1:6432`, `[::1]:6432`, `unix:/run/crossfade`, `unix:/run/crossfade:6432`.
pub(super) fn listen(text: &str) -> Result<Address, String> {
    let Some(place) = text.strip_prefix("unix:") else {
        let (host, port) = host_and_port(text, None)?;
        return Ok(Address::Tcp { host, port });
    };
    let (directory, port) = match place.rsplit_once(':') {
        Some((directory, port)) => (directory, port.parse().map_err(|_| UNIX_WANTED)?),
        None => (place, PORT),
    };
    match directory.starts_with('/') {
        true => Ok(Address::Unix { directory: PathBuf::from(directory), port }),
        false => Err(UNIX_WANTED.to_owned()),
    }
}

const UNIX_WANTED: &str = "a unix socket wants the absolute path of a directory: unix:/run/crossfade, or with a port \
     unix:/run/crossfade:6432";

/// As in libpq: with a root certificate at hand, `require` checks against it.
pub(super) fn as_libpq(url: FromUrl) -> FromUrl {
    let ssl_mode = match (url.ssl_mode, &url.ssl_root) {
        (from_url::SslMode::Require, Some(_)) => from_url::SslMode::VerifyCa,
        (mode, _) => mode,
    };
    FromUrl { ssl_mode, ..url }
}

/// What the two products call the same things.
pub(super) struct Dialect<M: 'static> {
    schemes: &'static [&'static str],
    port: u16,
    tls: &'static str,
    modes: &'static [(&'static str, M)],
    /// Where the URL names none.
    mode: M,
    ca: &'static str,
    /// The word for the authorities of the operating system, where there is one.
    ca_system: Option<&'static str>,
    certificate: &'static str,
    key: &'static str,
    socket: &'static str,
}

pub(super) const POSTGRES: Dialect<from_url::SslMode> = Dialect {
    schemes: &["postgres", "postgresql"],
    port: 5432,
    tls: "sslmode",
    modes: &[
        ("disable", from_url::SslMode::Disable),
        ("prefer", from_url::SslMode::Prefer),
        ("require", from_url::SslMode::Require),
        ("verify-ca", from_url::SslMode::VerifyCa),
        ("verify-full", from_url::SslMode::VerifyFull),
    ],
    mode: from_url::SslMode::Prefer,
    ca: "sslrootcert",
    ca_system: Some("system"),
    certificate: "sslcert",
    key: "sslkey",
    socket: "host",
};

pub(super) const MYSQL: Dialect<mysql::SslMode> = Dialect {
    schemes: &["mysql", "mariadb"],
    port: 3306,
    tls: "ssl-mode",
    modes: &[
        ("DISABLED", mysql::SslMode::Disabled),
        ("PREFERRED", mysql::SslMode::Preferred),
        ("REQUIRED", mysql::SslMode::Required),
        ("VERIFY_CA", mysql::SslMode::VerifyCa),
        ("VERIFY_IDENTITY", mysql::SslMode::VerifyIdentity),
    ],
    mode: mysql::SslMode::Preferred,
    ca: "ssl-ca",
    ca_system: None,
    certificate: "ssl-cert",
    key: "ssl-key",
    socket: "socket",
};

/// Reads a URL whose variables are still in it; `file` checks that a file it names is there.
pub(super) fn database<M: Copy>(
    dialect: &Dialect<M>,
    text: &str,
    lookup: Lookup<'_>,
    file: &dyn Fn(&str) -> Result<PathBuf, String>,
) -> Result<DatabaseUrl<M>, String> {
    if text.starts_with("${") {
        let whole = expand(text, lookup)?;
        return cut(dialect, &mask(&whole, &|_| None)?, file);
    }
    cut(dialect, &mask(text, lookup)?, file)
}

fn cut<M: Copy>(
    dialect: &Dialect<M>,
    url: &Masked,
    file: &dyn Fn(&str) -> Result<PathBuf, String>,
) -> Result<DatabaseUrl<M>, String> {
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
    let password = url.open(password, percent_decode)?;
    let mut database = DatabaseUrl {
        user,
        password: Password::new(Some(password).filter(|password| !password.is_empty())),
        host: Host::Name(host),
        port,
        database: name,
        ssl_mode: dialect.mode,
        ssl_root: None,
        ssl_identity: None,
    };
    parameters(dialect, url, query, file, &mut database)?;
    Ok(database)
}

fn parameters<M: Copy>(
    dialect: &Dialect<M>,
    url: &Masked,
    query: &str,
    file: &dyn Fn(&str) -> Result<PathBuf, String>,
    database: &mut DatabaseUrl<M>,
) -> Result<(), String> {
    let (mut certificate, mut key) = (None, None);
    for parameter in query.split('&').filter(|parameter| !parameter.is_empty()) {
        let (name, value) = parameter.split_once('=').unwrap_or((parameter, ""));
        let value = url.open(value, percent_decode)?;
        match name {
            name if name == dialect.tls => database.ssl_mode = unit::word(dialect.modes, &value)?,
            name if name == dialect.ca => {
                database.ssl_root = Some(match dialect.ca_system == Some(value.as_str()) {
                    true => RootSource::System,
                    false => RootSource::File(file(&value)?),
                });
            }
            name if name == dialect.certificate => certificate = Some(file(&value)?),
            name if name == dialect.key => key = Some(file(&value)?),
            name if name == dialect.socket => {
                database.host = match value.starts_with('/') {
                    true => Host::Path(PathBuf::from(value)),
                    false => Host::Name(value),
                };
            }
            _ => return Err(unknown_parameter(dialect)),
        }
    }
    database.ssl_identity = match (certificate, key) {
        (None, None) => None,
        (Some(certificate), Some(key)) => Some((certificate, key)),
        _ => {
            return Err(format!("{} and {} go together", dialect.certificate, dialect.key));
        }
    };
    Ok(())
}

fn unknown_parameter<M>(dialect: &Dialect<M>) -> String {
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
    use crate::backend::from_url::SslMode;

    fn read(text: &str) -> Result<FromUrl, String> {
        let lookup = |name: &str| match name {
            "PASSWORD" => Some("p@ss:w/o?r%d".to_owned()),
            "URL" => Some("postgres://a:b%40c@h:1/d".to_owned()),
            _ => None,
        };
        database(&POSTGRES, text, &lookup, &|path| Ok(PathBuf::from(path))).map(as_libpq)
    }

    #[test]
    fn a_password_from_the_environment_needs_no_encoding() {
        let url = read("postgres://u%20x:${PASSWORD}@db:5433/auth?sslmode=verify-full").unwrap();
        assert_eq!(url.user, "u x");
        assert_eq!(url.password.reveal().as_deref().unwrap(), "p@ss:w/o?r%d");
        assert_eq!(url.to_string(), "db:5433");
        assert_eq!(url.ssl_mode, SslMode::VerifyFull);
        assert!(!format!("{url:?}").contains("p@ss"));
    }

    #[test]
    fn a_whole_url_from_the_environment_is_read_as_one() {
        let url = read("${URL}").unwrap();
        assert_eq!((url.user.as_str(), url.password.reveal().as_deref().unwrap()), ("a", "b@c"));
    }

    #[test]
    fn a_default_may_hold_what_separates_elsewhere() {
        let url = read("postgres://u:${NONE:-a@b/c}@[::1]/d").unwrap();
        assert_eq!(
            (url.password.reveal().as_deref().unwrap(), &url.host),
            ("a@b/c", &Host::Name("::1".to_owned()))
        );
    }

    #[test]
    fn a_socket_and_a_root_certificate_are_as_in_libpq() {
        let url = read("postgres://u@/d?host=/run/pg&sslmode=require&sslrootcert=/ca.crt").unwrap();
        assert_eq!(url.host, Host::Path(PathBuf::from("/run/pg")));
        assert_eq!(url.ssl_mode, SslMode::VerifyCa);
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
