//! `from.url` of proxy.yaml: where PostgreSQL is and how it is reached, as libpq would read it.
//!
//! ```text
//! postgres://crossfade:secret@db.internal:5432/auth?sslmode=verify-full&sslrootcert=/etc/ca.pem
//! postgres://crossfade@/auth?host=/run/postgresql
//! ```
//!
//! Invariant: a [`FromUrl`] is complete: every default is filled in, and what is not understood was
//! refused. The password is in no output of `Debug` or `Display`.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

/// PostgreSQL's usual port.
const PORT: u16 = 5432;

/// A parsed `from.url`.
#[derive(Clone, PartialEq, Eq)]
pub struct FromUrl {
    pub host: Host,
    pub port: u16,
    pub user: String,
    pub password: Option<String>,
    pub database: String,
    pub sslmode: SslMode,
    /// Certificates that the server's is checked against; the system's where absent.
    pub sslrootcert: Option<PathBuf>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Host {
    Tcp(String),
    /// The directory of the socket `.s.PGSQL.<port>`.
    Unix(PathBuf),
}

/// libpq's `sslmode`; `allow` is read as `prefer`, which encrypts whenever the server can.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SslMode {
    Disable,
    Prefer,
    Require,
    VerifyCa,
    VerifyFull,
}

/// What is wrong with a URL; holds no part of it but names.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UrlError {
    #[error("a PostgreSQL URL begins with postgres://")]
    Scheme,
    #[error("the URL names no {0}")]
    Missing(&'static str),
    #[error("several hosts are not supported, name one")]
    SeveralHosts,
    #[error("the {0} of the URL is malformed")]
    Malformed(&'static str),
    #[error("unknown parameter \"{0}\" in the URL")]
    UnknownParameter(String),
    #[error("unknown sslmode, use disable, prefer, require, verify-ca or verify-full")]
    SslMode,
}

impl FromStr for FromUrl {
    type Err = UrlError;

    fn from_str(text: &str) -> Result<Self, UrlError> {
        let rest = text
            .strip_prefix("postgres://")
            .or_else(|| text.strip_prefix("postgresql://"))
            .ok_or(UrlError::Scheme)?;
        let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
        let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
        let (login, place) = authority.rsplit_once('@').unwrap_or(("", authority));
        let (user, password) = match login.split_once(':') {
            Some((user, password)) => (user, Some(decode(password, "password")?)),
            None => (login, None),
        };
        let (host, port) = host_and_port(place)?;
        let mut url = Self {
            host: Host::from_name(decode(host, "host")?),
            port: port.unwrap_or(PORT),
            user: decode(user, "user")?,
            password,
            database: decode(path, "database")?,
            sslmode: SslMode::Prefer,
            sslrootcert: None,
        };
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            url.set(pair)?;
        }
        url.complete()
    }
}

impl FromUrl {
    /// Takes one `name=value` of the query, under libpq's names.
    fn set(&mut self, pair: &str) -> Result<(), UrlError> {
        let (name, value) = pair.split_once('=').ok_or(UrlError::Malformed("query"))?;
        let value = decode(value, "query")?;
        match name {
            "host" => self.host = Host::from_name(value),
            "port" => self.port = value.parse().map_err(|_| UrlError::Malformed("port"))?,
            "user" => self.user = value,
            "password" => self.password = Some(value),
            "dbname" => self.database = value,
            "sslmode" => self.sslmode = value.parse()?,
            "sslrootcert" => self.sslrootcert = Some(value.into()),
            // Harmless, and often there: Crossfade sets its own.
            "application_name" | "connect_timeout" => {}
            _ => return Err(UrlError::UnknownParameter(name.to_owned())),
        }
        Ok(())
    }

    fn complete(self) -> Result<Self, UrlError> {
        let several = matches!(&self.host, Host::Tcp(name) if name.contains(','));
        match () {
            () if several => Err(UrlError::SeveralHosts),
            () if self.user.is_empty() => Err(UrlError::Missing("user")),
            () if self.database.is_empty() => Err(UrlError::Missing("database")),
            () => Ok(self),
        }
    }
}

impl Host {
    /// libpq's rule: a name that begins with a slash is a directory, none at all is this machine.
    fn from_name(name: String) -> Self {
        match name {
            name if name.starts_with('/') => Self::Unix(name.into()),
            name if name.is_empty() => Self::Tcp("127.0.0.1".to_owned()),
            name => Self::Tcp(name),
        }
    }
}

impl FromStr for SslMode {
    type Err = UrlError;

    fn from_str(text: &str) -> Result<Self, UrlError> {
        Ok(match text {
            "disable" => Self::Disable,
            "allow" | "prefer" => Self::Prefer,
            "require" => Self::Require,
            "verify-ca" => Self::VerifyCa,
            "verify-full" => Self::VerifyFull,
            _ => return Err(UrlError::SslMode),
        })
    }
}

impl fmt::Display for FromUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.host {
            Host::Tcp(name) if name.contains(':') => write!(f, "[{name}]:{}", self.port)?,
            Host::Tcp(name) => write!(f, "{name}:{}", self.port)?,
            Host::Unix(directory) => write!(f, "{}:{}", directory.display(), self.port)?,
        }
        write!(f, "/{}", self.database)
    }
}

impl fmt::Debug for FromUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "FromUrl({self}, {:?})", self.sslmode)
    }
}

/// Splits `name:port`, `[v6]:port`, or either without its port.
fn host_and_port(place: &str) -> Result<(&str, Option<u16>), UrlError> {
    let (host, port) = match place.strip_prefix('[') {
        Some(rest) => {
            let (host, end) = rest.split_once(']').ok_or(UrlError::Malformed("host"))?;
            (host, end.strip_prefix(':'))
        }
        None => match place.split_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (place, None),
        },
    };
    if host.contains(',') || port.is_some_and(|port| port.contains(',')) {
        return Err(UrlError::SeveralHosts);
    }
    let port = port.filter(|port| !port.is_empty()).map(str::parse).transpose();
    Ok((host, port.map_err(|_| UrlError::Malformed("port"))?))
}

/// Undoes percent-encoding.
fn decode(text: &str, part: &'static str) -> Result<String, UrlError> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        if byte != b'%' {
            bytes.push(byte);
            continue;
        }
        let mut digit = || rest.next().and_then(|byte| char::from(byte).to_digit(16));
        let (Some(high), Some(low)) = (digit(), digit()) else {
            return Err(UrlError::Malformed(part));
        };
        bytes.push(u8::try_from(high * 16 + low).map_err(|_| UrlError::Malformed(part))?);
    }
    String::from_utf8(bytes).map_err(|_| UrlError::Malformed(part))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<FromUrl, UrlError> {
        text.parse()
    }

    #[test]
    fn every_part_is_read() {
        let url = parse(
            "postgresql://cross%40fade:p%3Aw@[::1]:5433/auth%2Fx?sslmode=verify-full&sslrootcert=/a/b",
        )
        .unwrap();
        assert_eq!(url.user, "cross@fade");
        assert_eq!(url.password.as_deref(), Some("p:w"));
        assert_eq!(url.host, Host::Tcp("::1".to_owned()));
        assert_eq!((url.port, url.database.as_str()), (5433, "auth/x"));
        assert_eq!(url.sslmode, SslMode::VerifyFull);
        assert_eq!(url.sslrootcert, Some(PathBuf::from("/a/b")));
    }

    #[test]
    fn a_socket_directory_is_a_host_with_a_slash() {
        let unix = Host::Unix(PathBuf::from("/run/postgresql"));
        assert_eq!(parse("postgres://u@/db?host=/run/postgresql").unwrap().host, unix);
        assert_eq!(parse("postgres://u@%2Frun%2Fpostgresql/db").unwrap().host, unix);
    }

    #[test]
    fn defaults_are_filled_in() {
        let url = parse("postgres://u@db/auth").unwrap();
        assert_eq!((url.port, url.sslmode, url.password), (5432, SslMode::Prefer, None));
    }

    #[test]
    fn what_is_not_understood_is_refused() {
        let error = |text: &str| parse(text).unwrap_err();
        assert_eq!(error("mysql://u@h/d"), UrlError::Scheme);
        assert_eq!(error("postgres://h/d"), UrlError::Missing("user"));
        assert_eq!(error("postgres://u@h"), UrlError::Missing("database"));
        assert_eq!(error("postgres://u@a,b/d"), UrlError::SeveralHosts);
        assert_eq!(error("postgres://u@h:x/d"), UrlError::Malformed("port"));
        assert_eq!(error("postgres://u@h/d?sslmode=maybe"), UrlError::SslMode);
        let unknown = UrlError::UnknownParameter("fallback".to_owned());
        assert_eq!(error("postgres://u@h/d?fallback=1"), unknown);
    }

    #[test]
    fn the_password_is_in_no_output() {
        let url = parse("postgres://u:hunter2@h/d").unwrap();
        assert!(!format!("{url} {url:?}").contains("hunter2"));
    }
}
