//! Carries one planned statement out, whichever protocol it came by.
//!
//! ```text
//! verb ──▶ block, settings        known ──▶ the session, the kept catalogue        program ──▶ walk
//! ```
//!
//! Invariant: rows and effects are there before the tag is.

use std::time::{Duration, Instant};

use crate::answer::backend::cancellably;
use crate::answer::bind::Format;
use crate::answer::block::Tell;
use crate::answer::captured::captures;
use crate::answer::error::{PgError, READ_ONLY};
use crate::answer::known::{Advisory, Argument, Around, Function, Known, What};
use crate::answer::place::Places;
use crate::answer::plan::Planned;
use crate::answer::rows::{self, Kept, Sink, Stop};
use crate::answer::session::Session;
use crate::answer::verbs::{Characteristics, Scope, Verb};
use crate::answer::walk::{Walk, takes_steps};
use crate::dialect::{Tag, Translated};
use crate::value::{Array, Value};

/// One run of a statement.
#[derive(Clone, Copy)]
pub(super) struct Ask<'a> {
    pub(super) planned: &'a Planned,
    pub(super) values: &'a [Value],
    pub(super) formats: &'a [Format],
    /// Rows that the client wants now; more are kept.
    pub(super) wanted: u64,
}

/// What a run came to.
pub(super) struct Ran {
    /// Empty for an empty query.
    pub(super) tag: String,
    /// The same, up to the count of rows; that of a portal's later parts is another.
    pub(super) word: &'static str,
    pub(super) sent: u64,
}

impl Ran {
    pub(super) fn tagged(tag: &str) -> Self {
        Self { tag: tag.to_owned(), word: "", sent: 0 }
    }
}

impl Session {
    /// Runs it, and counts it once it is completed.
    pub(super) async fn execute(&mut self, ask: Ask<'_>, kept: &mut Kept) -> Result<Ran, Stop> {
        let began = Instant::now();
        let ran = self.run_one(ask, kept).await?;
        self.services.count(ask.planned.kind(), began.elapsed());
        Ok(ran)
    }

    async fn run_one(&mut self, ask: Ask<'_>, kept: &mut Kept) -> Result<Ran, Stop> {
        if !ask.planned.ends_transaction() {
            self.confirmed().await?;
        }
        if self.block.is_none() {
            self.started = crate::answer::place::clock();
        }
        match ask.planned {
            Planned::Empty => Ok(Ran::tagged("")),
            Planned::Verb(verb, _) => self.verb(verb, ask).await,
            Planned::Known(known) => self.known(known, ask).await,
            Planned::Program(translated) => self.program(translated, ask, kept).await,
        }
    }

    async fn program(
        &mut self,
        translated: &Translated,
        ask: Ask<'_>,
        kept: &mut Kept,
    ) -> Result<Ran, Stop> {
        let program = &translated.program;
        self.backend.wait_for_locks(self.settings.obeyed().lock_timeout).await?;
        let captures = captures(&self.situation) && program.writes();
        let own = self.block.is_none() && takes_steps(program, captures);
        let obeyed = self.settings.obeyed();
        let (isolation, read_only) = (obeyed.isolation, obeyed.read_only);
        let tell = match own {
            true => self.block.start_alone(isolation, read_only),
            false => self.block.start(isolation, read_only),
        };
        let begin = match tell {
            Tell::These(texts) if captures => texts,
            tell => {
                self.backend.tell(tell).await?;
                Vec::new()
            }
        };
        let millis = self.settings.obeyed().statement_timeout;
        let patience = (0 < millis).then(|| Duration::from_millis(millis));
        let (cancellable, url) = (self.backend.cancellable(), self.backend.url());
        let mut sink = Sink {
            client: &mut self.client,
            out: &mut self.out,
            columns: &translated.columns,
            formats: ask.formats,
            style: &self.settings.obeyed().style,
            wanted: ask.wanted,
            kept,
            sent: 0,
        };
        let flavor = self.backend.flavor();
        let places = Places::new(program, ask.values, self.started, flavor);
        let mut walk = Walk {
            backend: &mut self.backend,
            catalog: &self.situation.catalog,
            places,
            sink: &mut sink,
            count: 0,
            begin,
            notes: captures.then_some((&mut self.captured, &*self.situation)),
        };
        let run = async { walk.run(program).await };
        let (ran, killed) = cancellably(&cancellable, &url, patience, run).await;
        let (count, sent) = (walk.count, sink.sent);
        self.backend.absorb(killed).await;
        ran.map_err(|stop| named(stop, translated.tag))?;
        if own {
            self.end_block().await?;
        }
        if translated.tag == Tag::Select {
            self.still_confirmed().await?;
        }
        let (word, count) = match translated.tag {
            Tag::Select => ("SELECT ", sent),
            Tag::Insert => ("INSERT 0 ", count),
            Tag::Update => ("UPDATE ", count),
            Tag::Delete => ("DELETE ", count),
            Tag::Truncate => return Ok(Ran::tagged("TRUNCATE TABLE")),
        };
        Ok(Ran { tag: format!("{word}{count}"), word, sent })
    }

    async fn verb(&mut self, verb: &Verb, ask: Ask<'_>) -> Result<Ran, Stop> {
        let tag = match verb {
            Verb::Begin(tag, asked) => {
                self.enter();
                if self.block.begin(*asked) {
                    self.warn("25001", "there is already a transaction in progress");
                }
                tag
            }
            Verb::Commit { chain } => return self.commit(*chain).await,
            Verb::Rollback { chain } => return self.rollback(*chain).await,
            Verb::Savepoint(name) => {
                let obeyed = self.settings.obeyed();
                let (isolation, read_only) = (obeyed.isolation, obeyed.read_only);
                if self.block.is_explicit() {
                    self.block.admits()?;
                    let tell = self.block.start(isolation, read_only);
                    self.backend.tell(tell).await?;
                }
                self.savepoint(name).await?;
                "SAVEPOINT"
            }
            Verb::Release(name) => {
                let place = self.block.release(name)?;
                self.settings.release(place);
                "RELEASE"
            }
            Verb::RollbackTo(name) => {
                let (place, tell) = self.block.rollback_to(name)?;
                self.captured.forget_due();
                self.settings.rollback_to(place);
                self.backend.tell(tell).await?;
                self.stand();
                "ROLLBACK"
            }
            Verb::Refused(what) => return Err(PgError::unsupported(what).into()),
            Verb::Nothing(tag) => tag,
            Verb::Discard(tag) => self.discard(tag).await?,
            Verb::Deallocate(Some(name)) => {
                if !self.statements.close_statement(name) {
                    let text = format!("prepared statement \"{name}\" does not exist");
                    return Err(PgError::new("26000", text).into());
                }
                "DEALLOCATE"
            }
            Verb::Deallocate(None) => {
                self.statements.close_all();
                "DEALLOCATE ALL"
            }
            setting => return self.setting(setting, ask),
        };
        Ok(Ran::tagged(tag))
    }

    async fn discard(&mut self, tag: &'static str) -> Result<&'static str, Stop> {
        if tag == "DISCARD ALL" {
            if !self.block.is_none() {
                let text = "DISCARD ALL cannot run inside a transaction block";
                return Err(PgError::new("25001", text).into());
            }
            self.settings.reset_all();
            self.statements.close_all();
            self.statements.close_portals();
            self.backend.number("SELECT RELEASE_ALL_LOCKS()", Vec::new()).await?;
            self.kept_locks = 0;
            self.stand();
        }
        Ok(tag)
    }

    fn setting(&mut self, verb: &Verb, ask: Ask<'_>) -> Result<Ran, Stop> {
        let tag = match verb {
            Verb::Set { name, value, scope } => {
                if *scope == Scope::Local && !self.block.is_explicit() {
                    self.warn("25P01", "SET LOCAL can only be used in transaction blocks");
                }
                self.set(name, value.as_deref(), *scope)?;
                "SET"
            }
            Verb::SetTransaction(asked) => {
                self.set_transaction(*asked)?;
                "SET"
            }
            Verb::SetSessionCharacteristics(asked) => {
                let flag = |on: bool| if on { "on" } else { "off" };
                for (name, value) in [
                    ("default_transaction_isolation", asked.isolation.map(|level| level.as_str())),
                    ("default_transaction_read_only", asked.read_only.map(flag)),
                    ("default_transaction_deferrable", asked.deferrable.map(flag)),
                ] {
                    if value.is_some() {
                        self.settings.set(name, value, Scope::Session)?;
                    }
                }
                "SET"
            }
            Verb::Reset(name) => {
                self.set(name, None, Scope::Session)?;
                "RESET"
            }
            Verb::ResetAll => {
                self.settings.reset_all();
                self.stand();
                "RESET"
            }
            Verb::Show(name) => {
                let value = self.shown(name)?;
                return self.answer(&[vec![Value::Text(value)]], "SHOW", ask);
            }
            _ => {
                let all = self.settings.all();
                let text = |text: String| Value::Text(text);
                let row = |(name, value)| vec![text(name), text(value), text(String::new())];
                let rows: Vec<_> = all.into_iter().map(row).collect();
                return self.answer(&rows, "SHOW", ask);
            }
        };
        Ok(Ran::tagged(tag))
    }

    fn set(&mut self, name: &str, value: Option<&str>, scope: Scope) -> Result<(), PgError> {
        match (name, value) {
            ("transaction_isolation" | "transaction_read_only" | "transaction_deferrable", _) => {
                return Err(PgError::unsupported("SET of a transaction's own property by name")
                    .hint("Use SET TRANSACTION."));
            }
            _ => self.settings.set(name, value, scope)?,
        }
        self.stand();
        Ok(())
    }

    fn set_transaction(&mut self, asked: Characteristics) -> Result<(), PgError> {
        if !self.block.is_explicit() {
            self.warn("25P01", "SET TRANSACTION can only be used in transaction blocks");
            return Ok(());
        }
        if self.block.is_begun() && asked.isolation.is_some() {
            let text = "SET TRANSACTION ISOLATION LEVEL must be called before any query";
            return Err(PgError::new("25001", text));
        }
        if self.block.is_begun() && asked.read_only == Some(false) {
            let text = "transaction read-write mode must be set before any query";
            return Err(PgError::new("25001", text));
        }
        if self.block.is_begun() && asked.read_only == Some(true) {
            return Err(PgError::unsupported("READ ONLY after a transaction's first query"));
        }
        self.block.ask(asked);
        Ok(())
    }

    /// A setting's value; those of the transaction are the transaction's.
    pub(super) fn shown(&self, name: &str) -> Result<String, PgError> {
        let asked = self.block.asked();
        let flag = |on: bool| if on { "on" } else { "off" }.to_owned();
        Ok(match name {
            "transaction_isolation" => asked
                .isolation
                .unwrap_or_else(|| self.settings.obeyed().isolation)
                .as_str()
                .to_owned(),
            "transaction_read_only" => {
                flag(asked.read_only.unwrap_or_else(|| self.settings.obeyed().read_only))
            }
            "transaction_deferrable" => flag(asked.deferrable.unwrap_or(false)),
            name => self.settings.show(name)?.to_owned(),
        })
    }

    /// Sends rows that were made here.
    fn answer(&mut self, rows: &[Vec<Value>], tag: &str, ask: Ask<'_>) -> Result<Ran, Stop> {
        let (columns, style) = (ask.planned.columns(), &self.settings.obeyed().style);
        for row in rows {
            rows::value_row(&mut self.out, row, columns, ask.formats, style)?;
        }
        let sent = rows.len() as u64;
        Ok(match tag {
            "SELECT" => Ran { tag: format!("SELECT {sent}"), word: "SELECT ", sent },
            tag => Ran { tag: tag.to_owned(), word: "", sent },
        })
    }

    async fn known(&mut self, known: &Known, ask: Ask<'_>) -> Result<Ran, Stop> {
        let rows = match &known.what {
            What::Catalogue(query) => {
                let around = Around { catalog: &self.situation.catalog, path: &self.ground.path };
                query.rows(around, ask.values)
            }
            What::Functions(functions) => {
                let mut row = Vec::with_capacity(functions.len());
                for function in functions {
                    row.push(self.function(function, ask.values).await?);
                }
                vec![row]
            }
        };
        self.answer(&rows, "SELECT", ask)
    }

    async fn function(&mut self, function: &Function, values: &[Value]) -> Result<Value, Stop> {
        let text = |text: &str| Value::Text(text.to_owned());
        Ok(match function {
            Function::Version => {
                let version = self.settings.show("server_version")?;
                Value::Text(format!("PostgreSQL {version}, answered from MySQL by Crossfade"))
            }
            Function::Schema => self.schemas().first().map_or(Value::Null, |first| text(first)),
            Function::Schemas(all) => {
                let mut names = self.schemas();
                if all.is_true(values) && !names.iter().any(|name| name == "pg_catalog") {
                    names.insert(0, "pg_catalog".to_owned());
                }
                let length = i32::try_from(names.len()).unwrap_or_default();
                let dimensions = if length == 0 { Vec::new() } else { vec![(length, 1)] };
                let elements = names.into_iter().map(Value::Text).collect();
                Value::Array(Array { dimensions, elements })
            }
            Function::Database => text(&self.database),
            Function::User => text(&self.user),
            Function::BackendPid => Value::Int(self.backend.pid().into()),
            Function::InRecovery => Value::Bool(false),
            Function::Setting(name, missing) => {
                let Some(name) = name.text(values) else { return Ok(Value::Null) };
                let quiet = missing.as_ref().is_some_and(|missing| missing.is_true(values));
                match self.shown(&name.to_ascii_lowercase()) {
                    Ok(value) => Value::Text(value),
                    Err(_) if quiet => Value::Null,
                    Err(error) => return Err(error.into()),
                }
            }
            Function::SetConfig(name, value, local) => {
                self.set_config(name, value, local, values)?
            }
            Function::Advisory(what, arguments) => self.advisory(*what, arguments, values).await?,
        })
    }

    fn set_config(
        &mut self,
        name: &Argument,
        value: &Argument,
        local: &Argument,
        values: &[Value],
    ) -> Result<Value, PgError> {
        let Some(name) = name.text(values) else {
            return Err(PgError::new("22004", "SET requires parameter name"));
        };
        let name = name.to_ascii_lowercase();
        let scope = if local.is_true(values) { Scope::Local } else { Scope::Session };
        self.set(&name, value.text(values).as_deref(), scope)?;
        Ok(Value::Text(self.shown(&name)?))
    }

    /// Schemas of the path that are there.
    fn schemas(&self) -> Vec<String> {
        let catalog = &self.situation.catalog;
        let there = |schema: &&String| {
            *schema == "public"
                || *schema == "pg_catalog"
                || catalog.tables.values().any(|table| table.name.schema() == **schema)
        };
        self.ground.path.iter().filter(there).cloned().collect()
    }

    /// Advisory locks are MySQL's named locks; names are those of one server, hence the database in them.
    async fn advisory(
        &mut self,
        what: Advisory,
        arguments: &[Argument],
        values: &[Value],
    ) -> Result<Value, Stop> {
        if what == Advisory::UnlockAll {
            self.backend.number("SELECT RELEASE_ALL_LOCKS()", Vec::new()).await?;
            self.kept_locks = 0;
            return Ok(Value::Text(String::new()));
        }
        let keys: Option<Vec<String>> = arguments.iter().map(|key| key.text(values)).collect();
        let Some(keys) = keys else { return Ok(Value::Null) };
        let name =
            crate::catalog::naming::shorten(&format!("cf:{}:{}", self.database, keys.join(",")));
        let param = || mysql_async::Value::Bytes(name.clone().into_bytes());
        let waits = matches!(what, Advisory::Lock | Advisory::LockInTransaction);
        let local = matches!(what, Advisory::LockInTransaction | Advisory::TryLockInTransaction);
        if what == Advisory::Unlock {
            let released = self.backend.number("SELECT RELEASE_LOCK(?)", vec![param()]).await?;
            if released == Some(1) {
                self.kept_locks = self.kept_locks.saturating_sub(1);
            } else {
                self.warn("01000", "you don't own a lock of type ExclusiveLock");
            }
            return Ok(Value::Bool(released == Some(1)));
        }
        let (cancellable, url) = (self.backend.cancellable(), self.backend.url());
        let sql = if waits { "SELECT GET_LOCK(?, 31536000)" } else { "SELECT GET_LOCK(?, 0)" };
        let run = async { self.backend.number(sql, vec![param()]).await.map_err(Stop::from) };
        let (got, killed) = cancellably(&cancellable, &url, None, run).await;
        self.backend.absorb(killed).await;
        let got = got? == Some(1);
        // MariaDB answers NULL where the wait was ended.
        if waits && !got {
            let text = "canceling statement due to user request";
            return Err(PgError::new("57014", text).into());
        }
        if got && !local {
            self.kept_locks += 1;
        }
        if got && local && !self.block.is_none() {
            self.locks.push(name);
        } else if got && local {
            self.backend.number("SELECT RELEASE_LOCK(?)", vec![param()]).await?;
        }
        Ok(if waits { Value::Text(String::new()) } else { Value::Bool(got) })
    }
}

/// An error in which PostgreSQL names the command.
fn named(stop: Stop, tag: Tag) -> Stop {
    let command = match tag {
        Tag::Select => return stop,
        Tag::Insert => "INSERT",
        Tag::Update => "UPDATE",
        Tag::Delete => "DELETE",
        Tag::Truncate => "TRUNCATE TABLE",
    };
    match stop {
        Stop::Error(error) if error.message == READ_ONLY => {
            let text = format!("cannot execute {command} in a read-only transaction");
            PgError::new(error.code, text).into()
        }
        stop => stop,
    }
}
