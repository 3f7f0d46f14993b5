//! The client's messages: passed on, rewritten, or held until something of ours is done.
//!
//! ```text
//! client ──▶ Query, Parse ──plan──▶ (rewritten) ──▶ server
//!            Bind ──(format of our columns)──▶      │
//!            every message ──Expect──▶ pending      ▼
//! ```
//!
//! Invariant: every message that the server answers leaves an [`Expect`] behind, in the same order.

use std::sync::Arc;

use crate::plan::{ENCODING, Plan, Step};
use crate::session::formats::bind_formats;
use crate::session::pending::{Expect, Query};
use crate::session::pipe::Pipe;
use crate::session::refuse::Admit;
use crate::session::state::{Broken, State};
use crate::session::statements::{Portal, Prepared, Source};
use crate::wire::{Body, Header, write};

/// Expectations at which the client is made to wait: it has pipelined this far ahead.
const PENDING_MAX: usize = 65_536;
/// Longest unnamed statement, in bytes, that goes along when the primary changes; others are gone then.
const UNNAMED_BYTES_MAX: usize = 64 << 10;
/// Largest message that holds no more than a name; PostgreSQL's own bound.
const SMALL_MAX: usize = 10_001;
/// What has to have come of a message that is too large to be held, for its names to be read.
const LOOK_BYTES: usize = 64 * 1024;

impl State {
    /// Looks at what the client has sent, as far as it has come and nothing has to be waited for.
    pub(super) fn client_messages(&mut self, pipe: &mut Pipe) -> Result<(), Broken> {
        self.follow();
        if self.is_idle() && !self.batch.has_begun() {
            self.asked_in = self.planner.situation.epoch;
        }
        self.speak(pipe);
        self.speak_again(pipe);
        self.go_on_with_batch(pipe);
        while self.work.is_none() && self.pending.len() < PENDING_MAX && !self.is_wrapping() {
            let Some(header) = pipe.next()? else { break };
            if self.holds_back(header.tag) || self.must_wait(pipe, header) {
                break;
            }
            self.take_in_hand(pipe, header);
            self.pen.work();
            let done = match header.tag {
                b'E' | b'D' | b'C' | b'S' | b'H' | b'X' | b'c' | b'f'
                    if SMALL_MAX < header.size =>
                {
                    return Err(Broken::BadLength);
                }
                _ if self.refusing.is_some() => self.refused_message(pipe, header),
                tag if tag != b'S' && self.pending.is_skipping() => {
                    pipe.pass(header);
                    true
                }
                b'Q' => self.query(pipe, header),
                b'P' => self.parse(pipe, header),
                b'B' => self.bind(pipe, header),
                b'E' => self.execute(pipe, header),
                b'D' => self.describe(pipe, header),
                b'C' => self.close(pipe, header),
                b'S' => self.sync(pipe, header),
                b'c' | b'f' => self.copy_end(pipe, header),
                b'F' => self.function(pipe, header),
                _ => {
                    pipe.pass(header);
                    true
                }
            };
            if !done {
                break;
            }
            self.note_passed(header.tag);
        }
        self.speak(pipe);
        Ok(())
    }

    pub(super) fn pass(&mut self, pipe: &mut Pipe, header: Header, expect: Expect) -> bool {
        self.pending.push(expect);
        pipe.pass(header);
        true
    }

    fn query(&mut self, pipe: &mut Pipe, header: Header) -> bool {
        let started = self.now;
        let whole = pipe.is_whole(header);
        if !whole && header.size <= self.limits.statement_bytes_max {
            return false;
        }
        if !self.is_plain(pipe.body(header)) {
            return false;
        }
        let (plan, sql) = self.plan_body(pipe.body(header), whole);
        let refused = match self.admit(&plan) {
            Admit::Later => return false,
            Admit::Now if !self.is_clear(&plan) || !self.gate(&plan, true) => return false,
            Admit::Now => self.refusal(&plan),
            Admit::Never(denied) => Some(denied),
        };
        self.speak(pipe);
        self.touch(&plan);
        self.paths.send(&plan);
        self.own.note(&plan, pipe.body(header));
        // It does not outlive a simple query.
        self.statements.remove(b"");
        let applied = sql.as_deref().and_then(|sql| plan.apply_all(sql));
        self.note_planner(&Arc::clone(&self.planner));
        let sql = sql.filter(|_| plan.single().is_some());
        let shape = self.shape(&plan, &[]);
        let sampled = self.sampled_query(&plan, pipe.body(header));
        let expect = |applied| {
            let plan = Arc::clone(&plan);
            let (at, hidden) = (0, false);
            let query = Query { plan, sql, applied, at, hidden, started, shape, sampled };
            Expect::Query(Box::new(query))
        };
        match (refused, applied) {
            (Some(denied), _) => {
                pipe.lose(header);
                write::query(&mut pipe.output, &denied.raise());
                self.pending.push(Expect::Query(Box::new(Query {
                    plan: Arc::default(),
                    sql: None,
                    applied: None,
                    at: 0,
                    hidden: false,
                    started,
                    shape: None,
                    sampled: None,
                })));
                true
            }
            (None, Some(applied)) => {
                pipe.take(header);
                write::query(&mut pipe.output, &applied.text);
                self.pending.push(expect(Some(applied)));
                true
            }
            (None, None) => {
                let expect = expect(None);
                self.pass(pipe, header, expect)
            }
        }
    }

    /// The plan for the text at the start of `body`, and the text itself where it can be rewritten.
    pub(super) fn plan_body(&mut self, body: &[u8], whole: bool) -> (Arc<Plan>, Option<Box<str>>) {
        let end = body.iter().position(|byte| *byte == 0).unwrap_or(body.len());
        let text = std::str::from_utf8(&body[..end]);
        match text {
            Ok(sql) if whole && self.text.is_known() => {
                let mut plan = self.planner.plan(sql, self.paths.now(), &mut self.scratch);
                if let Some(path) = self.paths.across(&plan) {
                    plan = self.planner.plan(sql, &path, &mut self.scratch);
                }
                let needed = plan.is_rewritten();
                (self.without_temporary(plan), needed.then(|| sql.into()))
            }
            _ if !whole => (Arc::new(Plan::unread(&self.planner.situation, "too_large")), None),
            _ => {
                let sql = String::from_utf8_lossy(&body[..end]);
                let plan = self.planner.plan_unlisted(&sql, self.paths.now(), &mut self.scratch);
                (Arc::new(plan.given_up(ENCODING)), None)
            }
        }
    }

    /// A statement on a temporary table is none of ours, whatever its name.
    fn without_temporary(&self, plan: Arc<Plan>) -> Arc<Plan> {
        let shadowed = |step: &Step| match step {
            Step::Capture(capture) => self.temporary.contains(capture.table.name.name()),
            _ => false,
        };
        if !self.temporary.is_empty()
            && plan.statements.iter().any(|planned| shadowed(&planned.step))
        {
            return Arc::new(plan.given_up("temporary_name"));
        }
        plan
    }

    fn parse(&mut self, pipe: &mut Pipe, header: Header) -> bool {
        let whole = pipe.is_whole(header);
        let body = pipe.body(header);
        if !whole && (header.size <= self.limits.statement_bytes_max || body.len() < LOOK_BYTES) {
            return false;
        }
        let mut parts = Body::new(body);
        let Some(name) = parts.text().map(<Box<[u8]>>::from) else {
            return self.pass(pipe, header, Expect::Bind);
        };
        let rest: Box<[u8]> = parts.rest().into();
        if !self.is_plain(&rest) {
            return false;
        }
        let (plan, sql) = self.plan_body(&rest, whole);
        let refused = self.refusal(&plan);
        self.own.note(&plan, &rest);
        let mut prepared = self.prepared(plan, &rest, whole);
        let out = match (&refused, &prepared.applied) {
            (None, None) => None,
            (Some(denied), _) => Some(denied.raise()),
            (None, Some(applied)) => Some(applied.text.clone()),
        };
        debug_assert!(sql.is_some() || prepared.applied.is_none());
        let new = out.map(|text| (text, Box::<[u8]>::from(types(&rest))));
        let kept = name.is_empty() && whole && rest.len() <= UNNAMED_BYTES_MAX;
        prepared.unnamed = kept.then_some(rest);
        let prepared = Arc::new(prepared);
        let previous = self.statements.put(&name, Arc::clone(&prepared));
        if let Some((text, types)) = new {
            pipe.take(header);
            write::parse(&mut pipe.output, &name, &text, &types);
            self.pending.push(Expect::Parse { name, previous, prepared });
            return true;
        }
        self.pass(pipe, header, Expect::Parse { name, previous, prepared })
    }

    /// `rest` is what follows the name in Parse.
    pub(super) fn prepared(&self, plan: Arc<Plan>, rest: &[u8], whole: bool) -> Prepared {
        let end = rest.iter().position(|byte| *byte == 0).unwrap_or(rest.len());
        let fixed = matches!(plan.single(), Some(Step::Read | Step::Other) | None);
        let text = std::str::from_utf8(&rest[..end]).ok().filter(|_| whole && self.text.is_known());
        let source = text
            .filter(|_| !fixed)
            .map(|sql| Source { sql: sql.into(), types: types(rest).into() });
        let applied = text.filter(|_| plan.is_rewritten()).and_then(|sql| plan.apply(sql));
        let (planner, path) = (Arc::clone(&self.planner), Arc::clone(self.paths.now()));
        let shape = self.shape(&plan, types(rest));
        let statement = self.kept(&plan, text, types(rest));
        let unnamed = None;
        Prepared { plan, planner, path, source, applied, shape, statement, unnamed }
    }

    fn bind(&mut self, pipe: &mut Pipe, header: Header) -> bool {
        let whole = pipe.is_whole(header);
        let mut parts = Body::new(pipe.body(header));
        let names = parts.text().and_then(|portal| Some((portal, parts.text()?)));
        let Some((portal, name)) = names else {
            let given_up = whole || LOOK_BYTES < pipe.body(header).len();
            return given_up && self.pass(pipe, header, Expect::Bind);
        };
        let (portal, name): (Box<[u8]>, Box<[u8]>) = (portal.into(), name.into());
        let Some(prepared) = self.statements.get(&name).cloned() else {
            self.statements.bind(&portal, None);
            return self.pass(pipe, header, Expect::Bind);
        };
        let mut prepared = self.renewed(pipe, &name, prepared);
        if prepared.source.is_none() && prepared.is_early(&self.planner.situation) {
            let (plan, planner) = (Arc::new(self.early()), Arc::clone(&self.planner));
            let path = Arc::clone(self.paths.now());
            let (source, applied, shape, statement, unnamed) = (None, None, None, None, None);
            let early =
                Prepared { plan, planner, path, source, applied, shape, statement, unnamed };
            prepared = Arc::new(early);
        }
        let Some(capture) = self.statements.capture(prepared.step()) else {
            let sampled = self.sampled(pipe, header, &prepared);
            let portal_of = Portal { prepared, binary: false, bind: None, sampled };
            self.statements.bind(&portal, Some(portal_of));
            return self.pass(pipe, header, Expect::Bind);
        };
        if !whole && header.size <= self.limits.statement_bytes_max {
            return false;
        }
        if whole && !self.text.is_utf8() && !prepared.is_ascii() {
            // Its text cannot be said again in this encoding, and captured keys not in any but UTF-8.
            self.statements.bind(&portal, None);
            self.deny_execute(pipe, header, &super::refuse::OTHER_ENCODING);
            return true;
        }
        if !whole || !self.text.is_utf8() {
            // Too large to be held until its last bytes, where our formats belong, or to be returned in
            // another encoding: it goes by the client's own text, and is flagged.
            let reason = if whole { ENCODING } else { "too_large" };
            let plain = self.given_up(pipe, &name, &prepared, reason);
            let plain = Portal { prepared: plain, binary: false, bind: None, sampled: None };
            self.statements.bind(&portal, Some(plain));
            return self.pass(pipe, header, Expect::Bind);
        }
        let (returning, added) = (capture.returning, capture.columns.len());
        let body = pipe.take(header);
        let binary = bind_formats(&body, returning, added, &mut pipe.output);
        let bind = self.at_hand.clone();
        self.statements.bind(&portal, Some(Portal { prepared, binary, bind, sampled: None }));
        self.pending.push(Expect::Bind);
        true
    }

    /// Prepares a statement anew where the situation has changed since.
    fn renewed(&mut self, pipe: &mut Pipe, name: &[u8], prepared: Arc<Prepared>) -> Arc<Prepared> {
        let path = Arc::clone(self.paths.now());
        let same = Arc::ptr_eq(&prepared.planner, &self.planner)
            && (Arc::ptr_eq(&prepared.path, &path) || prepared.path == path);
        let Some(source) = prepared.source.as_ref().filter(|_| !same) else { return prepared };
        if !self.text.is_known() && source.sql.contains('\\') {
            // It would be read otherwise now. It stays as it is, and the guard refuses it if it must.
            return prepared;
        }
        let plan = self.planner.plan(&source.sql, &path, &mut self.scratch);
        let plan = self.without_temporary(plan);
        let applied = plan.apply(&source.sql);
        let shape = self.shape(&plan, &source.types);
        let renewed = Prepared {
            plan,
            planner: Arc::clone(&self.planner),
            path,
            source: Some(Source { sql: source.sql.clone(), types: source.types.clone() }),
            applied,
            shape,
            statement: None,
            unnamed: prepared.unnamed.clone(),
        };
        if renewed.applied.as_ref().map(|new| &new.text)
            != prepared.applied.as_ref().map(|old| &old.text)
        {
            let text = renewed.applied.as_ref().map_or(&*source.sql, |applied| &applied.text);
            self.prepare_again(pipe, name, text, &source.types);
        }
        let renewed = Arc::new(renewed);
        self.statements.put(name, Arc::clone(&renewed));
        renewed
    }

    /// Goes back to the client's own text for one that cannot be captured.
    fn given_up(
        &mut self,
        pipe: &mut Pipe,
        name: &[u8],
        prepared: &Prepared,
        reason: &'static str,
    ) -> Arc<Prepared> {
        if let Some(source) = &prepared.source {
            self.prepare_again(pipe, name, &source.sql, &source.types);
        }
        let plan = Arc::new(prepared.plan.given_up(reason));
        let planner = Arc::clone(&self.planner);
        let path = Arc::clone(self.paths.now());
        let (source, applied, shape, statement) = (None, None, prepared.shape, None);
        let unnamed = prepared.unnamed.clone();
        let plain = Prepared { plan, planner, path, source, applied, shape, statement, unnamed };
        let plain = Arc::new(plain);
        self.statements.put(name, Arc::clone(&plain));
        plain
    }

    fn prepare_again(&mut self, pipe: &mut Pipe, name: &[u8], text: &str, types: &[u8]) {
        pipe.settle();
        write::close_statement(&mut pipe.output, name);
        write::parse(&mut pipe.output, name, text, types);
        self.pending.push(Expect::Ours);
        self.pending.push(Expect::Ours);
    }

    fn execute(&mut self, pipe: &mut Pipe, header: Header) -> bool {
        if !pipe.is_whole(header) {
            return false;
        }
        let started = self.now;
        let name: Box<[u8]> = Body::new(pipe.body(header)).text().unwrap_or_default().into();
        let portal = self.statements.portal(&name);
        let portal = portal.map(|portal| (Arc::clone(&portal.prepared), portal.binary));
        let Some((prepared, binary)) = portal else {
            let (binary, bind, sampled) = (false, None, None);
            let expect = Expect::Execute { prepared: None, binary, bind, sampled, started };
            return self.pass(pipe, header, expect);
        };
        match self.admit(&prepared.plan) {
            Admit::Later => return false,
            Admit::Never(denied) => {
                self.deny_execute(pipe, header, &denied);
                return true;
            }
            Admit::Now => {}
        }
        if !self.is_clear(&prepared.plan) || !self.gate(&prepared.plan, false) {
            return false;
        }
        self.touch(&prepared.plan);
        self.paths.send(&prepared.plan);
        let truncate = match prepared.step() {
            Some(Step::Truncate(truncate)) => Some(Arc::clone(truncate)),
            _ => None,
        };
        self.note_planner(&prepared.planner);
        let limit = pipe.body(header).last_chunk::<4>().copied().unwrap_or_default();
        let silent = self.statements.capture(prepared.step()).is_some_and(|found| !found.returning);
        if silent {
            // A limit on rows is for the client's rows, and it has none.
            pipe.take(header);
            write::execute(&mut pipe.output, &name);
            let (bind, sampled, prepared) =
                (self.statements.take_bind(&name), None, Some(prepared));
            self.pending.push(Expect::Execute { prepared, binary, bind, sampled, started });
        } else {
            let bind = self.statements.take_bind(&name).filter(|_| limit == [0; 4]);
            let sampled = self.statements.take_sampled(&name).filter(|_| limit == [0; 4]);
            let prepared = Some(prepared);
            let expect = Expect::Execute { prepared, binary, bind, sampled, started };
            self.pass(pipe, header, expect);
        }
        if let Some(truncate) = truncate {
            self.say_ours(pipe, &truncate.entries);
            self.pending.push(Expect::Entries(truncate));
            // Nothing of it is left for the client to see.
            write::close_portal(&mut pipe.output, &self.ours);
            write::close_statement(&mut pipe.output, &self.ours);
            (0..2).for_each(|_| self.pending.push(Expect::Ours));
        }
        true
    }

    /// Has the server run a statement of ours, up to its Execute; an earlier one that failed may have
    /// left the name in use.
    pub(super) fn say_ours(&mut self, pipe: &mut Pipe, sql: &str) {
        pipe.settle();
        let name = &*self.ours;
        write::close_portal(&mut pipe.output, name);
        write::close_statement(&mut pipe.output, name);
        write::parse(&mut pipe.output, name, sql, &[0, 0]);
        write::bind(&mut pipe.output, name, name, 0);
        write::execute(&mut pipe.output, name);
        (0..4).for_each(|_| self.pending.push(Expect::Ours));
    }

    fn describe(&mut self, pipe: &mut Pipe, header: Header) -> bool {
        if !pipe.is_whole(header) {
            return false;
        }
        let mut body = Body::new(pipe.body(header));
        let kind = body.byte();
        let name = body.text().unwrap_or_default();
        let prepared = match kind {
            Some(b'S') => self.statements.get(name).cloned(),
            _ => self.statements.portal(name).map(|portal| Arc::clone(&portal.prepared)),
        };
        let statement = kind == Some(b'S');
        self.pass(pipe, header, Expect::Describe { prepared, statement, parameters: None })
    }

    fn close(&mut self, pipe: &mut Pipe, header: Header) -> bool {
        if !pipe.is_whole(header) {
            return false;
        }
        let mut body = Body::new(pipe.body(header));
        let kind = body.byte();
        let name: Box<[u8]> = body.text().unwrap_or_default().into();
        if kind != Some(b'S') {
            self.statements.bind(&name, None);
            return self.pass(pipe, header, Expect::Bind);
        }
        let previous = self.statements.remove(&name);
        self.pass(pipe, header, Expect::Close { name, previous })
    }

    fn sync(&mut self, pipe: &mut Pipe, header: Header) -> bool {
        if self.copying {
            // The server passes over it: it is reading the copy's data.
            pipe.pass(header);
            return true;
        }
        if !self.gate_sync() {
            return false;
        }
        self.pass(pipe, header, Expect::Sync)
    }

    fn copy_end(&mut self, pipe: &mut Pipe, header: Header) -> bool {
        pipe.pass(header);
        if self.copying {
            self.copying = false;
        } else {
            self.pending.push(Expect::CopyEnd);
        }
        true
    }
}

/// What follows the query string in Parse.
fn types(rest: &[u8]) -> &[u8] {
    let end = rest.iter().position(|byte| *byte == 0).map_or(rest.len(), |end| end + 1);
    &rest[end..]
}
