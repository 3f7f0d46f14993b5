//! Between two transactions, while the primary changes: what a client has on its server, and its way to
//! whoever answers next.
//!
//! ```text
//! hold ─▶ at rest ──[`SURVEY`]──▶ PostgreSQL: settings, prepared statements, what cannot move
//!            │ Guest::rests
//!            └─end of the hold─▶ the same server goes on │ [`Handover`] to MySQL
//! ```
//!
//! Invariant: the server itself says what the session has there, so that nothing depends on our having
//! understood every statement so far. A client is handed over with every byte that it has sent and that
//! was not looked at.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Buf as _, BufMut as _, Bytes, BytesMut};
use tokio::sync::watch;
use tokio::time::timeout;
use tracing::{debug, warn};

use crate::answer::{Handover, serves};
use crate::backend::stream::Stream;
use crate::door::peer::Peer;
use crate::hold::Obstacle;
use crate::names::{Oid, split_path};
use crate::phase::Situation;
use crate::plan::{PathChange, SearchPath};
use crate::session::own::Own;
use crate::session::serve::Session;
use crate::session::state::{Broken, State};
use crate::session::statements::Prepared;
use crate::wire::write;

/// Longest time for the server to say what a session has.
const SURVEY_TIME_MAX: Duration = Duration::from_secs(5);
/// Longest message of its answer: the text of a prepared statement is in it.
const ROW_BYTES_MAX: usize = 64 << 20;
/// How often it is asked: what the client has set may end the first question before it is told not to.
const SURVEYS_MAX: u32 = 5;
/// Where the server did not answer.
const UNKNOWN: Obstacle = "a state that PostgreSQL did not tell";

/// What would end the survey, which is no statement of the client's. Their values are read in front of it.
const TIMEOUTS: [&str; 2] = ["statement_timeout", "idle_in_transaction_session_timeout"];
/// Reads them, in their order, and is done with them; it is short, because they still hold.
const WITHOUT_TIMEOUTS: &str = "BEGIN ISOLATION LEVEL READ COMMITTED READ ONLY; \
     SHOW statement_timeout; SHOW idle_in_transaction_session_timeout; \
     SET LOCAL statement_timeout = 0; SET LOCAL idle_in_transaction_session_timeout = 0";

/// Kind, name, value and types: `s` a setting that the session began with, `t` one that it has set, `p` a
/// prepared statement, `o` what cannot move.
const SURVEY: &str = "SELECT CASE s.source WHEN 'session' THEN 't' ELSE 's' END, s.name, \
       pg_catalog.current_setting(s.name), '' FROM pg_catalog.pg_settings s \
     WHERE s.source IN ('session', 'client', 'user', 'database', 'database user') AND s.context IN ('user', 'superuser') \
       AND s.name NOT IN ('statement_timeout', 'idle_in_transaction_session_timeout') \
   UNION ALL SELECT 's', s.name, s.reset_val, '' FROM pg_catalog.pg_settings s \
     WHERE s.name IN ('statement_timeout', 'idle_in_transaction_session_timeout') AND s.reset_val <> s.boot_val \
   UNION ALL SELECT 'p', p.name, p.statement, p.parameter_types::pg_catalog.oid[]::pg_catalog.text \
     FROM pg_catalog.pg_prepared_statements p WHERE NOT p.from_sql \
   UNION ALL SELECT 'o', 'sql_prepare', '', '' FROM pg_catalog.pg_prepared_statements p WHERE p.from_sql \
   UNION ALL SELECT 'o', 'temporary', '', '' FROM pg_catalog.pg_class c \
     WHERE c.relnamespace = pg_catalog.pg_my_temp_schema() AND c.relkind = 'r' \
   UNION ALL SELECT 'o', 'listen', '', '' FROM pg_catalog.pg_listening_channels() \
   UNION ALL SELECT 'o', 'cursor', '', '' FROM pg_catalog.pg_cursors c WHERE c.is_holdable \
   UNION ALL SELECT 'o', 'lock', '', '' FROM pg_catalog.pg_locks l \
     WHERE l.locktype = 'advisory' AND l.pid = pg_catalog.pg_backend_pid() AND l.granted \
   UNION ALL SELECT 'o', 'role', '', '' WHERE current_user <> session_user";

/// What SURVEY calls them, and what people are told.
const OBSTACLES: &[(&str, Obstacle)] = &[
    ("sql_prepare", "a statement of PREPARE"),
    ("temporary", "a temporary table"),
    ("listen", "LISTEN"),
    ("cursor", "a cursor WITH HOLD"),
    ("lock", "a session's advisory lock"),
    ("role", "another role than it logged in with"),
];
/// A setting that no server lists, and whose name was not read.
const UNSEEN: Obstacle = "set_config of a name that is no plain literal";

/// What a session has on its server.
#[derive(Debug, Default)]
pub(super) struct Belongings {
    /// What RESET goes back to.
    settings: Vec<(String, String)>,
    set: Vec<(String, String)>,
    statements: Vec<(String, Arc<str>, Vec<Oid>)>,
    obstacles: Vec<Obstacle>,
}

/// How a rest ended.
pub(super) enum Rested {
    GoesOn,
    Moves(Box<Belongings>),
    /// It has what cannot move.
    Ends,
}

impl State {
    /// True where the next message would begin a transaction, and none is to begin here.
    pub(super) fn holds_back(&self, tag: u8) -> bool {
        let begins = !matches!(tag, b'd' | b'c' | b'f' | b'X');
        begins && self.boundary && self.is_to_rest() && (!self.pending.is_empty() || self.is_idle())
    }

    /// There is a hold, or it is somebody else's turn.
    pub(super) fn is_to_rest(&self) -> bool {
        self.guest.is_held() || !self.is_home(&self.planner.situation)
    }

    /// Whether it is this session that answers in that situation.
    pub(super) fn is_home(&self, situation: &Situation) -> bool {
        !serves(situation) && situation.is_parted() == self.part
    }

    /// Between two transactions, with nothing on its way.
    pub(super) fn is_at_rest(&self) -> bool {
        self.boundary && self.is_idle() && !self.copying
    }
}

impl Session {
    /// Waits for the end of the hold. Called at rest, with nothing on its way in either direction.
    pub(super) async fn rest(
        &mut self,
        shutdown: &watch::Receiver<bool>,
    ) -> Result<Rested, Broken> {
        let (found, broken) = self.belongings().await;
        let flow = Arc::clone(&self.state.flow);
        let mut situation = flow.planners.situation();
        let mut shutdown = shutdown.clone();
        self.state.guest.rests(found.obstacles.clone());
        loop {
            let moved = !self.state.is_home(&situation.borrow_and_update());
            let ends = !found.obstacles.is_empty() && (moved || self.state.guest.is_to_end());
            if ends {
                warn!(obstacles = ?found.obstacles, "a session that cannot move is ended");
                return Ok(Rested::Ends);
            }
            if !self.state.guest.is_held() {
                self.state.guest.goes_on();
                self.state.follow();
                return Ok(match moved {
                    true => Rested::Moves(Box::new(found)),
                    // The answer to our question may still be on its way, and is not the client's.
                    false if broken => Rested::Ends,
                    false => {
                        self.prepare_unnamed().await?;
                        Rested::GoesOn
                    }
                });
            }
            let guest = &mut self.state.guest;
            tokio::select! {
                () = guest.changed() => {}
                Ok(()) = situation.changed() => {}
                Ok(_) = shutdown.wait_for(|ends| *ends) => return Ok(Rested::Ends),
            }
        }
    }

    /// Our questions were simple queries, and have ended the statement without a name.
    async fn prepare_unnamed(&mut self) -> Result<(), Broken> {
        let Some((text, types)) = self.state.statements.unnamed().and_then(parsed) else {
            return Ok(());
        };
        let (text, mut aside) = (text.to_owned(), (BytesMut::new(), BytesMut::new()));
        let _calm = match &self.cancel {
            Some(guard) => Some(guard.hold().await),
            None => None,
        };
        let prepared = self.state.adopt(&mut self.server, &mut aside, "", &text, &types).await;
        prepared.map_err(Broken::Primary)?;
        self.hear_aside(&aside);
        Ok(())
    }

    /// Notices and notifications are the client's, also those that came between; and what has come since.
    fn hear_aside(&mut self, (buffer, aside): &(BytesMut, BytesMut)) {
        self.to_client.output.extend_from_slice(aside);
        self.to_client.unread(buffer);
    }

    /// What the session has, and whether its server went on with the question.
    async fn belongings(&mut self) -> (Belongings, bool) {
        let mut aside = (BytesMut::new(), BytesMut::new());
        let question = format!("{SURVEY}{}", self.state.own.question());
        let survey = async {
            // A cancel request is for what the client runs.
            let _calm = match &self.cancel {
                Some(guard) => Some(guard.hold().await),
                None => None,
            };
            for _ in 1..SURVEYS_MAX {
                let found = survey(&mut self.server, &question, &mut aside).await?;
                if !found.obstacles.contains(&UNKNOWN) {
                    return Ok(found);
                }
            }
            survey(&mut self.server, &question, &mut aside).await
        };
        let survey = timeout(SURVEY_TIME_MAX, survey).await;
        let survey = survey.unwrap_or_else(|_| Err(std::io::ErrorKind::TimedOut.into()));
        let broken = survey.is_err();
        if broken {
            // The rest of an answer is nobody's.
            aside.0.clear();
        }
        self.hear_aside(&aside);
        let mut found = survey.unwrap_or_else(|error| {
            debug!(%error, "a session's state could not be asked for");
            Belongings { obstacles: vec![UNKNOWN], ..Belongings::default() }
        });
        found.complete(&self.state);
        (found, broken)
    }

    /// The client, with what it brings.
    pub(super) fn hand_over(self, belongings: Belongings) -> Handover {
        let Belongings { settings, set, statements, .. } = belongings;
        let answered = self.state.bound_again();
        let unread = self.to_server.into_unread();
        let mut handover = Handover::new(self.client, unread, self.user, self.database);
        handover.key = self.cancel.as_ref().map(|guard| guard.key().clone());
        handover.settings = settings;
        handover.set = set;
        handover.statements = statements;
        handover.credential = self.credential;
        handover.answered = answered;
        handover
    }
}

impl State {
    /// Takes what the session has set while another served it, and its new server knows.
    pub(super) fn has_set(
        &mut self,
        parameters: &BTreeMap<String, String>,
        set: &[(String, String)],
    ) {
        self.own = Own::new(parameters, set);
        for (name, value) in set {
            if name == "search_path" {
                self.paths.change(PathChange::Set(SearchPath::Known(split_path(value))));
                self.paths.commit();
            } else if name.contains("_isolation") {
                self.shade.isolates();
            }
        }
    }

    /// Prepares for the client, on its new server, what another has prepared for it. What fails there is
    /// left out: the client learns of it when it uses it. What the server says unasked is put aside.
    pub(super) async fn adopt(
        &mut self,
        server: &mut Stream,
        (buffer, aside): &mut (BytesMut, BytesMut),
        name: &str,
        sql: &str,
        declared: &[Oid],
    ) -> std::io::Result<()> {
        let mut rest = BytesMut::from(sql.as_bytes());
        rest.put_u8(0);
        rest.put_u16(u16::try_from(declared.len()).unwrap_or(u16::MAX));
        declared.iter().for_each(|oid| rest.put_u32(*oid));
        let (mut prepared, text) = self.prepared_text(&rest);
        prepared.unnamed = name.is_empty().then(|| rest[..].into());
        let prepared = Arc::new(prepared);
        let mut out = BytesMut::new();
        write::parse(&mut out, name.as_bytes(), &text, &rest[sql.len() + 1..]);
        write::empty(&mut out, b'S');
        server.write_all(&out).await?;
        let mut taken = true;
        loop {
            let frame = Peer::frame_of(server, buffer, ROW_BYTES_MAX).await;
            let frame = frame.map_err(|_| std::io::ErrorKind::InvalidData)?;
            match frame.tag {
                b'E' => taken = false,
                b'A' | b'N' | b'S' => aside.extend_from_slice(&frame.bytes),
                b'Z' if taken => {
                    self.statements.put(name.as_bytes(), prepared);
                    return Ok(());
                }
                b'Z' => return Ok(()),
                _ => {}
            }
        }
    }

    /// A statement as it is prepared, and the text that the server gets; `rest` is as in Parse.
    fn prepared_text(&mut self, rest: &[u8]) -> (Prepared, String) {
        let (plan, _) = self.plan_body(rest, true);
        let refused = self.refusal(&plan);
        let prepared = self.prepared(plan, rest, true);
        let text = match (refused, &prepared.applied) {
            (Some(denied), _) => denied.raise(),
            (None, Some(applied)) => applied.text.clone(),
            (None, None) => {
                let end = rest.iter().position(|byte| *byte == 0).unwrap_or(rest.len());
                String::from_utf8_lossy(&rest[..end]).into_owned()
            }
        };
        (prepared, text)
    }
}

/// Asks the server. Its connection is between two transactions. `buffer`: what is read beyond its answer;
/// `aside`: what it says unasked.
async fn survey(
    server: &mut Stream,
    question: &str,
    (buffer, aside): &mut (BytesMut, BytesMut),
) -> std::io::Result<Belongings> {
    let questions = [WITHOUT_TIMEOUTS, question, "ROLLBACK"];
    let mut out = BytesMut::new();
    questions.iter().for_each(|sql| write::query(&mut out, sql));
    server.write_all(&out).await?;
    let mut found = Belongings::default();
    let mut left = questions.len();
    loop {
        let frame = Peer::frame_of(server, buffer, ROW_BYTES_MAX).await;
        let frame = frame.map_err(|_| std::io::Error::from(std::io::ErrorKind::InvalidData))?;
        match frame.tag {
            b'D' => found.take(frame.body()).ok_or(std::io::ErrorKind::InvalidData)?,
            b'E' => found.obstacles.push(UNKNOWN),
            // That there is nothing to roll back is for us.
            b'N' if found.obstacles.contains(&UNKNOWN) => {}
            b'A' | b'N' | b'S' => aside.extend_from_slice(&frame.bytes),
            b'Z' if left == 1 => return Ok(found),
            b'Z' => left -= 1,
            _ => {}
        }
    }
}

impl Belongings {
    /// Adds what the server does not tell, or tells otherwise.
    fn complete(&mut self, state: &State) {
        for (name, text, _) in &mut self.statements {
            if let Some(own) = state.statements.text(name.as_bytes()) {
                *text = own.into();
            }
        }
        if let Some((text, types)) = state.statements.unnamed().and_then(parsed) {
            self.statements.push((String::new(), text.into(), types));
        }
        for (name, value) in &state.own.startup {
            if self.settings.iter().all(|(known, _)| known != name) {
                self.settings.push((name.clone(), value.clone()));
            }
        }
        if state.own.others {
            self.obstacles.push(UNSEEN);
        }
    }

    /// Takes a DataRow: of one text a timeout, else of four.
    fn take(&mut self, mut row: Bytes) -> Option<()> {
        let columns = row.try_get_u16().ok()?;
        let mut next = || {
            let length = usize::try_from(row.try_get_i32().ok()?).unwrap_or(0);
            let text = (length <= row.len()).then(|| row.split_to(length))?;
            Some(String::from_utf8_lossy(&text).into_owned())
        };
        if columns == 1 {
            let name = TIMEOUTS.get(self.set.len())?;
            self.set.push(((*name).to_owned(), next()?));
            return Some(());
        }
        let (kind, name, value, types) = (next()?, next()?, next()?, next()?);
        match kind.as_str() {
            "s" => self.settings.push((name.to_lowercase(), value)),
            "t" => self.set.push((name.to_lowercase(), value)),
            "p" => {
                let types = types.trim_matches(['{', '}']).split(',').filter(|oid| !oid.is_empty());
                let types = types.map(|oid| oid.parse()).collect::<Result<_, _>>().ok()?;
                self.statements.push((name, value.into(), types));
            }
            _ => {
                let known = OBSTACLES.iter().find(|(code, _)| *code == name);
                let obstacle = known.map_or(UNKNOWN, |(_, obstacle)| obstacle);
                if !self.obstacles.contains(&obstacle) {
                    self.obstacles.push(obstacle);
                }
            }
        }
        Some(())
    }
}

/// Text and declared types, of what follows the name in Parse.
fn parsed(rest: &[u8]) -> Option<(&str, Vec<Oid>)> {
    let end = rest.iter().position(|byte| *byte == 0)?;
    let mut types = &rest[end + 1..];
    let count = types.try_get_u16().ok()?;
    let types = (0..count).map(|_| types.try_get_u32().ok()).collect::<Option<_>>()?;
    Some((std::str::from_utf8(&rest[..end]).ok()?, types))
}
