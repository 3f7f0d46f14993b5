//! What can go wrong on the secondary, and what the caller does next.
//!
//! Invariant: no error holds the server's message. MySQL's messages quote values; of a message only
//! the name of a column is taken, and only if the table has a column of that name.

use crate::catalog::Table;
use crate::names::TableName;
use crate::value::Unrepresentable;

/// Why a write to the secondary did not happen.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WriteError {
    /// The connection broke, so the outcome of the last commit is unknown.
    #[error("lost connection to secondary")]
    Disconnected,
    /// There was no connection to begin with.
    #[error("could not connect to secondary: {why}")]
    Unreachable { why: String },
    /// No answer in time; the connection is given up.
    #[error("secondary did not answer in time")]
    TimedOut,
    /// The server said no, by its number and SQLSTATE.
    #[error("secondary reported error {code} ({state})")]
    Server { code: u16, state: String },
    /// PostgreSQL, as the secondary, said no.
    #[error("secondary reported {state}")]
    Postgres { state: String },
    /// The server did it, but changed something on the way.
    #[error("secondary changed a value: warning {code}")]
    Warning { code: u16 },
    /// MySQL has no value that means the same; no retry will help.
    #[error("column \"{column}\" of table \"{table}\": {cause}")]
    Unrepresentable { table: TableName, column: String, cause: Unrepresentable },
    /// The secondary's epoch is not the one that the images were captured under.
    #[error("secondary is at epoch {found}, not {expected}")]
    Epoch { expected: u64, found: u64 },
    /// Another writer made the same fence entry first.
    #[error("another writer was faster")]
    Race,
    /// The row may not go: one that references it, and would go with it, is newer.
    #[error("a row that references it is newer")]
    NewerChild,
    /// Crossfade's own tables are not there, or a table was never registered.
    #[error("secondary is not set up")]
    NotSetUp,
    /// The server does not keep the session settings that exact values need.
    #[error("secondary does not accept the session settings")]
    Settings,
    /// A table without a primary key, or not registered, cannot be written to.
    #[error("table \"{0}\" has no key to write by")]
    NoKey(TableName),
}

/// What comes next after a failed write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reaction {
    /// Repeat at once: a deadlock, a lock that took too long, a race for a fence entry.
    Now,
    /// Another transaction is probably on its way: repeat a few times, then read again.
    Soon,
    /// The primary's row has to be read again: the image is of another time.
    ReadAgain,
    /// It stays in the outbox until a person or a newer write changes something.
    Stuck,
    /// The server is not there, or takes no writes.
    Down,
}

impl WriteError {
    /// Says what comes next. No `_` arm but for the server's many numbers.
    #[must_use]
    pub fn reaction(&self) -> Reaction {
        match self {
            Self::Disconnected | Self::Unreachable { .. } | Self::TimedOut | Self::Settings => {
                Reaction::Down
            }
            Self::Server { code, .. } => reaction(*code),
            Self::Postgres { state } => reaction_to_state(state),
            Self::Race => Reaction::Now,
            Self::NewerChild => Reaction::Soon,
            Self::Epoch { .. } => Reaction::ReadAgain,
            Self::Warning { .. }
            | Self::Unrepresentable { .. }
            | Self::NotSetUp
            | Self::NoKey(_) => Reaction::Stuck,
        }
    }

    /// A row that the change references is not there.
    #[must_use]
    pub fn lacks_parent(&self) -> bool {
        matches!(self, Self::Server { code: 1216 | 1452, .. })
    }

    /// A short word for metrics and `crossfade.outbox.last_error`.
    #[must_use]
    pub fn code(&self) -> String {
        match self {
            Self::Disconnected => "disconnected".to_owned(),
            Self::Unreachable { .. } => "unreachable".to_owned(),
            Self::TimedOut => "timeout".to_owned(),
            Self::Server { code, .. } | Self::Warning { code } => code.to_string(),
            Self::Postgres { state } => state.clone(),
            Self::Unrepresentable { .. } => "unrepresentable".to_owned(),
            Self::Epoch { .. } => "epoch".to_owned(),
            Self::Race => "race".to_owned(),
            Self::NewerChild => "newer_child".to_owned(),
            Self::NotSetUp => "not_set_up".to_owned(),
            Self::Settings => "settings".to_owned(),
            Self::NoKey(_) => "no_key".to_owned(),
        }
    }

    /// The SQLSTATE a `strict` client gets for this.
    #[must_use]
    pub fn sqlstate(&self) -> &'static str {
        match self {
            Self::Disconnected => "08006",
            Self::Unreachable { .. } => "08001",
            Self::TimedOut => "57014",
            Self::Server { code, .. } => sqlstate(*code),
            Self::Postgres { state } => class(state),
            Self::Warning { .. } | Self::Unrepresentable { .. } => "22000",
            Self::Epoch { .. } | Self::Race | Self::NewerChild => "40001",
            Self::NotSetUp | Self::Settings | Self::NoKey(_) => "55000",
        }
    }

    /// After these the connection must not be used again.
    #[must_use]
    pub fn breaks_connection(&self) -> bool {
        match self {
            Self::Disconnected | Self::Unreachable { .. } | Self::TimedOut | Self::Settings => true,
            Self::Server { .. } | Self::Postgres { .. } => self.reaction() == Reaction::Down,
            _ => false,
        }
    }
}

impl WriteError {
    /// Why an attempt to connect failed. What the operating system or TLS says of it quotes nothing.
    pub(super) fn connecting(error: mysql_async::Error) -> Self {
        match error {
            mysql_async::Error::Io(mysql_async::IoError::Io(error)) => {
                Self::Unreachable { why: error.kind().to_string() }
            }
            mysql_async::Error::Io(mysql_async::IoError::Tls(error)) => {
                Self::Unreachable { why: error.to_string() }
            }
            error => error.into(),
        }
    }
}

impl From<mysql_async::Error> for WriteError {
    fn from(error: mysql_async::Error) -> Self {
        match error {
            mysql_async::Error::Server(server) => {
                Self::Server { code: server.code, state: server.state }
            }
            mysql_async::Error::Io(_)
            | mysql_async::Error::Driver(_)
            | mysql_async::Error::Other(_)
            | mysql_async::Error::Url(_) => Self::Disconnected,
        }
    }
}

/// The column that a server's message names, if the table has it; the rest of the message is
/// dropped, since it may quote a value.
pub(super) fn named_column(error: &mysql_async::Error, table: &Table) -> Option<String> {
    let mysql_async::Error::Server(server) = error else { return None };
    let (_, rest) = server.message.split_once("olumn ")?;
    let name = rest.split(['\'', '`']).nth(1)?;
    // MariaDB writes `database`.`table`.`column`.
    let last = rest.split(" at ").next().and_then(|path| path.rsplit(['\'', '`']).nth(1));
    let known = |name: &&str| table.columns.iter().any(|column| column.name == **name);
    [Some(name), last].into_iter().flatten().find(known).map(str::to_owned)
}

/// The class of an SQLSTATE.
fn class(state: &str) -> &'static str {
    let classes = ["08000", "22000", "23000", "25000", "28000", "40000", "42000", "53000", "57000"];
    classes.into_iter().find(|class| state.starts_with(&class[..2])).unwrap_or("58000")
}

/// What PostgreSQL's classes of errors ask for.
fn reaction_to_state(state: &str) -> Reaction {
    match state {
        // Serialization, deadlock, lock not had in time.
        "40001" | "40P01" | "55P03" => Reaction::Now,
        // A unique value that another row has, or will soon no longer have; a missing parent.
        "23505" | "23503" | "23P01" => Reaction::Soon,
        // Read only: a standby, most likely. Logins, resources, shutdowns, damage.
        "25006" => Reaction::Down,
        state
            if ["08", "28", "3D", "53", "57", "58", "XX"]
                .contains(&&state[..2.min(state.len())]) =>
        {
            Reaction::Down
        }
        _ => Reaction::Stuck,
    }
}

fn reaction(code: u16) -> Reaction {
    match code {
        // Deadlock, lock wait, NOWAIT, MariaDB's "record has changed".
        1213 | 1205 | 3572 | 1020 => Reaction::Now,
        // Duplicate key, parent missing, child present, cascade that met a duplicate.
        1062 | 1216 | 1217 | 1451 | 1452 | 1761 | 1762 => Reaction::Soon,
        // Too many connections, shutdown, network, killed, refused login or rights, full disk, read-only.
        1021
        | 1037
        | 1040
        | 1041
        | 1044
        | 1045
        | 1049
        | 1053
        | 1077
        | 1114
        | 1129
        | 1130
        | 1142
        | 1152..=1161
        | 1184
        | 1203
        | 1226
        | 1290
        | 1317
        | 1698
        | 1792
        | 1836
        | 1927
        | 2000..=2099
        | 3024
        | 3032
        | 1969 => Reaction::Down,
        _ => Reaction::Stuck,
    }
}

fn sqlstate(code: u16) -> &'static str {
    match code {
        1062 | 1761 | 1762 => "23505",
        1216 | 1217 | 1451 | 1452 => "23503",
        1048 | 1364 => "23502",
        3819 | 4025 => "23514",
        1406 => "22001",
        1264 | 1690 | 1367 => "22003",
        1265 | 1366 | 3140 | 3141 => "22P02",
        1292 => "22007",
        1213 => "40P01",
        1205 | 3572 => "55P03",
        1020 => "40001",
        1290 | 1792 | 1836 => "25006",
        1317 | 3024 | 1969 => "57014",
        1040 | 1203 | 1226 => "53300",
        1021 | 1114 => "53100",
        _ => "58000",
    }
}
