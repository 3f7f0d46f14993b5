//! The session's one connection to MySQL: statements, their rows as they come, and what went wrong.
//!
//! ```text
//! walk ──(sql, params)──▶ [`Backend`] ──▶ MySQL
//!              rows, counts, warnings ◀──┘
//! ```
//!
//! Invariant: a warning that says that a value was changed or a result cut is an error here. A connection
//! that broke is not made anew: what it held (a transaction, locks) is gone, and the session with it.

use std::sync::Arc;
use std::time::Duration;

use mysql_async::prelude::{Protocol, Queryable as _};
use mysql_async::{Params, QueryResult, Row, Value as Param};

use crate::answer::block::Tell;
use crate::answer::cancel::Cancellable;
use crate::answer::error::{About, PgError};
use crate::answer::prepared::{Prepared, Shelf};
use crate::answer::rows::{Sink, Stop};
use crate::backend::mysql::connect::LinkLimits;
use crate::backend::mysql::{Link, ToUrl, WriteError};
use crate::catalog::Catalog;
use crate::value::Flavor;

/// `lock_timeout` of 0: wait as long as it takes. A deadlock is found all the same.
const LOCK_WAIT_MAX: u64 = 31_536_000;
/// A client may be idle, or read slowly, for longer than any of MySQL's own defaults.
const IDLE: Duration = Duration::from_secs(31_536_000 / 2);

/// Bytes of an aggregated text; as many as a value can have, and all that MariaDB takes.
const GROUP_CONCAT_MAX: u32 = 1 << 30;

/// What a statement left beside its rows.
#[derive(Clone, Copy, Debug)]
pub(super) struct Done {
    /// Rows found, or inserted.
    pub(super) count: u64,
    pub(super) last_id: Option<u64>,
}

pub(super) struct Backend {
    link: Link,
    url: Arc<ToUrl>,
    cancellable: Arc<Cancellable>,
    prepared: Prepared,
    /// Seconds; as MySQL has it now.
    lock_wait: u64,
    /// `@@auto_increment_increment`, once it was asked for.
    increment: Option<u64>,
}

impl std::fmt::Debug for Backend {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Backend").finish_non_exhaustive()
    }
}

impl Backend {
    /// Connects, with the settings that translated statements rely on.
    pub(super) async fn connect(
        url: &ToUrl,
        connect_timeout: Duration,
        shelf: Shelf,
    ) -> Result<Self, WriteError> {
        let limits = LinkLimits {
            connect_timeout,
            lock_wait: Duration::from_secs(LOCK_WAIT_MAX),
            idle: IDLE,
            // They are kept here, within the bounds of the whole process.
            statements: 0,
        };
        let mut link = Link::connect(url, &limits).await?;
        let recursion = match link.flavor() {
            Flavor::MySql => "cte_max_recursion_depth",
            Flavor::MariaDb => "max_recursive_iterations",
        };
        let settings = format!(
            "SET SESSION div_precision_increment = 16, group_concat_max_len = {GROUP_CONCAT_MAX}, \
             net_write_timeout = 31536000, net_read_timeout = 3600, {recursion} = 4294967295"
        );
        link.conn().query_drop(settings).await?;
        let cancellable = Cancellable::new(link.conn().id());
        let url = Arc::new(url.clone());
        let prepared = Prepared::new(shelf);
        Ok(Self { link, url, cancellable, prepared, lock_wait: LOCK_WAIT_MAX, increment: None })
    }

    pub(super) fn flavor(&self) -> Flavor {
        self.link.flavor()
    }

    /// For `pg_backend_pid()`: MySQL's number of the connection.
    pub(super) fn pid(&self) -> i32 {
        self.cancellable.pid()
    }

    pub(super) fn url(&self) -> Arc<ToUrl> {
        Arc::clone(&self.url)
    }

    /// A KILL that came too late for its statement must not meet the next one.
    pub(super) async fn absorb(&mut self, killed: Killed) {
        if killed.0 {
            drop(self.link.conn().query_drop("DO 0").await);
        }
    }

    pub(super) fn cancellable(&self) -> Arc<Cancellable> {
        Arc::clone(&self.cancellable)
    }

    /// Obeys `lock_timeout`, in milliseconds; MySQL counts whole seconds.
    pub(super) async fn wait_for_locks(&mut self, millis: u64) -> Result<(), PgError> {
        let seconds = if millis == 0 { LOCK_WAIT_MAX } else { millis.div_ceil(1000) };
        if seconds != self.lock_wait {
            let sql = format!("SET SESSION innodb_lock_wait_timeout = {seconds}");
            self.link.conn().query_drop(sql).await.map_err(broken)?;
            self.lock_wait = seconds;
        }
        Ok(())
    }

    /// Statements of the session's own: transactions and savepoints. No cancel request hits them.
    pub(super) async fn tell(&mut self, tell: Tell) -> Result<(), PgError> {
        let Tell::These(statements) = tell else { return Ok(()) };
        self.batch(statements, &Catalog::default()).await.map(drop)
    }

    /// Several statements of the session's own in one round trip; the rows of the last. The first that fails
    /// is the last that runs.
    pub(super) async fn batch(
        &mut self,
        statements: Vec<String>,
        catalog: &Catalog,
    ) -> Result<Vec<Row>, PgError> {
        let mut rows = Vec::new();
        if statements.is_empty() {
            return Ok(rows);
        }
        let failed = |error| PgError::of_driver(error, About { catalog, table: None });
        let text = statements.join("; ");
        let mut result = self.link.conn().query_iter(text).await.map_err(failed)?;
        for _ in &statements {
            rows = result.collect().await.map_err(failed)?;
        }
        result.drop_result().await.map_err(failed)?;
        Ok(rows)
    }

    /// Runs a statement and holds its rows, of which there are `rows_max` at most.
    pub(super) async fn rows(
        &mut self,
        sql: &str,
        params: Vec<Param>,
        rows_max: usize,
        about: About<'_>,
    ) -> Result<(Vec<Vec<Param>>, Done), PgError> {
        let mut rows = Vec::new();
        let mut take = Take::Keep(&mut rows, rows_max);
        match self.each(sql, params, about, &mut take).await {
            Ok(done) => Ok((rows, done)),
            Err(Stop::Error(error)) => Err(*error),
            Err(Stop::Client(_)) => Err(PgError::internal("a client where there is none")),
        }
    }

    /// Runs a statement whose rows go to the client.
    pub(super) async fn stream(
        &mut self,
        sql: &str,
        params: Vec<Param>,
        about: About<'_>,
        sink: &mut Sink<'_>,
    ) -> Result<Done, Stop> {
        self.each(sql, params, about, &mut Take::Send(sink)).await
    }

    async fn each(
        &mut self,
        sql: &str,
        params: Vec<Param>,
        about: About<'_>,
        take: &mut Take<'_, '_>,
    ) -> Result<Done, Stop> {
        let conn = self.link.conn();
        let failed = |error| Stop::from(PgError::of_driver(error, about));
        // Without parameters one round trip does.
        let (done, warnings) = if params.is_empty() {
            let result = conn.query_iter(sql).await.map_err(failed)?;
            drain(result, about, take).await?
        } else {
            let usage = self.prepared.get(conn, sql).await.map_err(failed)?;
            let params = Params::Positional(params);
            let ran = match conn.exec_iter(&usage.statement, params).await {
                Ok(result) => drain(result, about, take).await,
                Err(error) => Err(failed(error)),
            };
            if usage.once {
                // Also after a failure, which is the one that matters.
                let closed = conn.close(usage.statement).await.map_err(failed);
                ran.and_then(|done| closed.map(|()| done))?
            } else {
                ran?
            }
        };
        if 0 < warnings {
            self.judge(about).await?;
        }
        Ok(done)
    }

    /// One number that MySQL answers.
    pub(super) async fn number(
        &mut self,
        sql: &str,
        params: Vec<Param>,
    ) -> Result<Option<i64>, PgError> {
        let catalog = Catalog::default();
        let about = About { catalog: &catalog, table: None };
        let (rows, _) = self.rows(sql, params, 1, about).await?;
        Ok(rows.first().and_then(|row| match row.first()? {
            Param::Int(value) => Some(*value),
            Param::UInt(value) => i64::try_from(*value).ok(),
            Param::Bytes(bytes) => str::from_utf8(bytes).ok()?.parse().ok(),
            _ => None,
        }))
    }

    /// Reads the warnings of the last statement.
    async fn judge(&mut self, about: About<'_>) -> Result<(), PgError> {
        let warnings: Vec<(String, u16, String)> =
            self.link.conn().query("SHOW WARNINGS").await.map_err(broken)?;
        for (level, code, message) in warnings {
            match (level.as_str(), code) {
                ("Note", _) => {}
                (_, 1365 | 1292 | 1366 | 1264 | 1265 | 1406 | 1048) => {
                    return Err(PgError::of_mysql(code, &message, about));
                }
                (_, 1260 | 1301) => {
                    return Err(PgError::new("54000", "MySQL cut the result of a function"));
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// By how much generated keys differ.
    pub(super) async fn increment(&mut self) -> Result<u64, PgError> {
        if let Some(increment) = self.increment {
            return Ok(increment);
        }
        let sql = "SELECT @@SESSION.auto_increment_increment";
        let found: Option<u64> = self.link.conn().query_first(sql).await.map_err(broken)?;
        Ok(*self.increment.insert(found.unwrap_or(1)))
    }
}

/// Where rows go.
enum Take<'a, 'b> {
    Keep(&'a mut Vec<Vec<Param>>, usize),
    Send(&'a mut Sink<'b>),
}

impl Take<'_, '_> {
    async fn row(&mut self, row: Vec<Param>) -> Result<(), Stop> {
        match self {
            Self::Send(sink) => sink.row(row).await,
            Self::Keep(rows, rows_max) if *rows_max <= rows.len() => {
                let text = "one statement touches too many rows to be carried out in steps";
                Err(PgError::new("54000", text).into())
            }
            Self::Keep(rows, _) => {
                rows.push(row);
                Ok(())
            }
        }
    }
}

async fn drain<P: Protocol>(
    mut result: QueryResult<'_, '_, P>,
    about: About<'_>,
    take: &mut Take<'_, '_>,
) -> Result<(Done, u16), Stop> {
    let failed = |error| Stop::from(PgError::of_driver(error, about));
    while let Some(row) = result.next().await.map_err(failed)? {
        take.row(Row::unwrap(row)).await?;
    }
    let done = Done { count: result.affected_rows(), last_id: result.last_insert_id() };
    Ok((done, result.warnings()))
}

/// Bounds a statement's time, and leaves the connection clean for the next one.
pub(super) async fn cancellably<T>(
    cancellable: &Cancellable,
    url: &ToUrl,
    patience: Option<Duration>,
    run: impl Future<Output = Result<T, Stop>>,
) -> (Result<T, Stop>, Killed) {
    cancellable.begin().await;
    let mut run = std::pin::pin!(run);
    let mut timed = false;
    let ran = match patience {
        None => run.await,
        Some(patience) => match tokio::time::timeout(patience, run.as_mut()).await {
            Ok(ran) => ran,
            Err(_) => {
                timed = true;
                cancellable.kill(url).await;
                run.await
            }
        },
    };
    let killed = Killed(cancellable.end().await);
    match ran {
        Err(Stop::Error(mut error)) if timed && error.code == "57014" => {
            "canceling statement due to statement timeout".clone_into(&mut error.message);
            (Err(Stop::Error(error)), killed)
        }
        ran => (ran, killed),
    }
}

/// Whether a KILL was sent while the statement ran.
#[must_use]
pub(super) struct Killed(bool);

/// What went wrong with a statement that has no table: transactions, settings.
fn broken(error: mysql_async::Error) -> PgError {
    let catalog = Catalog::default();
    PgError::of_driver(error, About { catalog: &catalog, table: None })
}
