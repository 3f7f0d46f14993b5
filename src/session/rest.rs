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
use crate::names::Oid;
use crate::session::serve::Session;
use crate::session::state::{Broken, State};
use crate::session::statements::Prepared;
use crate::wire::write;

/// Longest time for the server to say what a session has.
const SURVEY_TIME_MAX: Duration = Duration::from_secs(5);
/// Longest message of its answer: the text of a prepared statement is in it.
const ROW_BYTES_MAX: usize = 64 << 20;
/// Where the server did not answer.
const UNKNOWN: Obstacle = "a state that PostgreSQL did not tell";

/// Kind, name, value and types: `s` a setting, `p` a prepared statement, `o` what cannot move.
const SURVEY: &str = "SELECT 's', s.name, pg_catalog.current_setting(s.name), '' FROM pg_catalog.pg_settings s \
     WHERE s.source IN ('session', 'client', 'user', 'database', 'database user') AND s.context IN ('user', 'superuser') \
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

/// What a session has on its server.
#[derive(Debug, Default)]
pub(super) struct Belongings {
    settings: Vec<(String, String)>,
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
        self.guest.is_held() || serves(&self.planner.situation)
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
        let mut aside = BytesMut::new();
        let survey = async {
            // A cancel request is for what the client runs.
            let _calm = match &self.cancel {
                Some(guard) => Some(guard.hold().await),
                None => None,
            };
            survey(&mut self.server, &mut aside).await
        };
        let survey = timeout(SURVEY_TIME_MAX, survey).await;
        let survey = survey.unwrap_or_else(|_| Err(std::io::ErrorKind::TimedOut.into()));
        // Notices and notifications are the client's, also those that came between.
        self.to_client.output.extend_from_slice(&aside);
        let broken = survey.is_err();
        let mut found = survey.unwrap_or_else(|error| {
            debug!(%error, "a session's state could not be asked for");
            Belongings { obstacles: vec![UNKNOWN], ..Belongings::default() }
        });
        for (name, text, _) in &mut found.statements {
            if let Some(own) = self.state.statements.text(name.as_bytes()) {
                *text = own.into();
            }
        }
        let flow = Arc::clone(&self.state.flow);
        let mut situation = flow.planners.situation();
        let mut shutdown = shutdown.clone();
        self.state.guest.rests(found.obstacles.clone());
        loop {
            let moved = serves(&situation.borrow_and_update());
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
                    false => Rested::GoesOn,
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

    /// The client, with what it brings.
    pub(super) fn hand_over(self, belongings: Belongings) -> Handover {
        let Belongings { settings, statements, .. } = belongings;
        let unread = self.to_server.into_unread();
        let mut handover = Handover::new(self.client, unread, self.user, self.database);
        handover.key = self.cancel.as_ref().map(|guard| guard.key().clone());
        handover.settings = settings;
        handover.statements = statements;
        handover.credential = self.credential;
        handover
    }
}

impl State {
    /// Prepares for the client, on its new server, what another has prepared for it. What fails there is
    /// left out: the client learns of it when it uses it.
    pub(super) async fn adopt(
        &mut self,
        server: &mut Stream,
        buffer: &mut BytesMut,
        name: &str,
        sql: &str,
        declared: &[Oid],
    ) -> std::io::Result<()> {
        let mut rest = BytesMut::from(sql.as_bytes());
        rest.put_u8(0);
        rest.put_u16(u16::try_from(declared.len()).unwrap_or(u16::MAX));
        declared.iter().for_each(|oid| rest.put_u32(*oid));
        let (prepared, text) = self.prepared_text(&rest);
        let mut out = BytesMut::new();
        write::parse(&mut out, name.as_bytes(), &text, &rest[sql.len() + 1..]);
        write::empty(&mut out, b'S');
        server.write_all(&out).await?;
        let mut taken = true;
        loop {
            let frame = Peer::frame_of(server, buffer, ROW_BYTES_MAX).await;
            match frame.map_err(|_| std::io::ErrorKind::InvalidData)?.tag {
                b'E' => taken = false,
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
    fn prepared_text(&mut self, rest: &[u8]) -> (Arc<Prepared>, String) {
        let (plan, _) = self.plan_body(rest, true);
        let refused = self.refusal(&plan);
        let prepared = Arc::new(self.prepared(plan, rest, true));
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

/// Asks the server. Its connection is between two transactions. `aside`: what it says unasked.
async fn survey(server: &mut Stream, aside: &mut BytesMut) -> std::io::Result<Belongings> {
    let mut out = BytesMut::new();
    write::query(&mut out, SURVEY);
    server.write_all(&out).await?;
    let (mut found, mut buffer) = (Belongings::default(), BytesMut::new());
    loop {
        let frame = Peer::frame_of(server, &mut buffer, ROW_BYTES_MAX).await;
        let frame = frame.map_err(|_| std::io::Error::from(std::io::ErrorKind::InvalidData))?;
        match frame.tag {
            b'D' => found.take(frame.body()).ok_or(std::io::ErrorKind::InvalidData)?,
            b'E' => found.obstacles.push(UNKNOWN),
            b'A' | b'N' | b'S' => aside.extend_from_slice(&frame.bytes),
            b'Z' => return Ok(found),
            _ => {}
        }
    }
}

impl Belongings {
    /// Takes a DataRow of four texts.
    fn take(&mut self, mut row: Bytes) -> Option<()> {
        row.try_get_u16().ok()?;
        let mut next = || {
            let length = usize::try_from(row.try_get_i32().ok()?).unwrap_or(0);
            let text = (length <= row.len()).then(|| row.split_to(length))?;
            Some(String::from_utf8_lossy(&text).into_owned())
        };
        let (kind, name, value, types) = (next()?, next()?, next()?, next()?);
        match kind.as_str() {
            "s" => self.settings.push((name.to_lowercase(), value)),
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
