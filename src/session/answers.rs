//! The primary's answers: passed on, with what is ours cut off, and read for how statements ended.
//!
//! ```text
//! server ──▶ RowDescription, DataRow, CommandComplete ──(ours cut off)──▶ client
//!                              │
//!                              └─▶ buffer ──ReadyForQuery, COMMIT──▶ handed over
//! ```
//!
//! Invariant: the client sees its own rows, tags, descriptions and transaction status, and nothing of
//! ours; images are handed over only once the tag or the status says that they are committed.

use std::sync::Arc;

use bytes::{BufMut as _, Bytes, BytesMut};

use crate::capture::cut;
use crate::plan::{Capture, Step};
use crate::session::again::is_stale;
use crate::session::count::counted;
use crate::session::pending::Expect;
use crate::session::pipe::Pipe;
use crate::session::state::{Broken, State};
use crate::session::statements::kind;
use crate::wire::{Body, Header, write};

impl State {
    /// Looks at what the primary has answered.
    pub(super) fn server_messages(&mut self, pipe: &mut Pipe) -> Result<(), Broken> {
        if self.withholds(pipe) {
            return Ok(());
        }
        while self.work.is_none() {
            let Some(header) = pipe.next()? else { return Ok(()) };
            if !matches!(header.tag, b'D' | b'T' | b'E' | b'N' | b'S' | b'A') {
                pipe.release();
            }
            let done = match header.tag {
                b'D' => self.data_row(pipe, header)?,
                b'C' => self.command_complete(pipe, header)?,
                b'Z' => self.ready(pipe, header)?,
                b'T' | b'n' => self.row_description(pipe, header)?,
                b't' => self.parameter_description(pipe, header),
                b'1' | b'2' | b'3' => self.acknowledged(pipe, header)?,
                b'I' | b's' => self.ended(pipe, header)?,
                b'E' => self.error(pipe, header)?,
                b'G' => self.copy_in(pipe, header),
                b'V' => self.function_result(pipe, header),
                b'S' => self.parameter_status(pipe, header),
                b'N' => self.notice(pipe, header),
                _ => {
                    pipe.pass(header);
                    true
                }
            };
            if !done {
                return Ok(());
            }
        }
        Ok(())
    }

    /// The capture whose rows come next, and the format of our columns.
    pub(super) fn capturing(&mut self) -> Option<(&Arc<Capture>, bool)> {
        let (step, binary) = match self.pending.front()? {
            Expect::Execute { prepared: Some(prepared), binary, .. } => (prepared.step(), *binary),
            Expect::Describe { prepared: Some(prepared), .. } => (prepared.step(), false),
            Expect::Query(query) if !query.hidden => {
                (query.plan.statements.get(query.at).map(|planned| &planned.step), false)
            }
            _ => return None,
        };
        Some((self.statements.capture(step)?, binary))
    }

    fn is_ours(&mut self) -> bool {
        match self.pending.front() {
            Some(Expect::Ours | Expect::Entries(_) | Expect::OurQuery) => true,
            Some(Expect::Query(query)) => query.hidden,
            _ => false,
        }
    }

    fn data_row(&mut self, pipe: &mut Pipe, header: Header) -> Result<bool, Broken> {
        let Some((capture, binary)) = self.capturing() else {
            if let Some(truncate) = self.truncating() {
                return self.entry(&truncate, pipe, header);
            }
            if self.is_ours() {
                return Ok(swallow(pipe, header));
            }
            pipe.pass(header);
            return Ok(true);
        };
        let capture = Arc::clone(capture);
        if !capture.returning && self.limits.images_bytes_max < header.size {
            // Nobody here wants so large a row: neither the client nor the buffer of images.
            pipe.lose(header);
            self.buffer.give_up(&capture);
            return Ok(true);
        }
        if !pipe.is_whole(header) {
            return Ok(false);
        }
        let body = pipe.take(header);
        let found = cut(&body, &capture, binary).map_err(|_| Broken::Unexpected('D'))?;
        if capture.returning {
            self.hold_answer(pipe);
            write::message(&mut pipe.output, b'D', |out| {
                out.put_u16(found.columns);
                out.put_slice(&body[2..found.end]);
            });
        }
        self.buffer.push(found.row);
        Ok(true)
    }

    /// RowDescription or NoData.
    fn row_description(&mut self, pipe: &mut Pipe, header: Header) -> Result<bool, Broken> {
        if self.is_ours() {
            return Ok(swallow(pipe, header));
        }
        if !self.note_columns(pipe, header) {
            return Ok(false);
        }
        let described = matches!(self.pending.front(), Some(Expect::Describe { .. }));
        let capture = self.capturing().map(|(capture, _)| Arc::clone(capture));
        match capture.filter(|_| header.tag == b'T') {
            None => pipe.pass(header),
            Some(_) if !pipe.is_whole(header) => return Ok(false),
            Some(capture) => {
                let body = pipe.take(header);
                if capture.returning {
                    if !described {
                        self.hold_answer(pipe);
                    }
                    let columns = describe(&body, capture.columns.len(), &mut pipe.output);
                    columns.ok_or(Broken::Unexpected('T'))?;
                } else if described {
                    write::empty(&mut pipe.output, b'n');
                }
            }
        }
        if described {
            self.pending.pop();
        }
        Ok(true)
    }

    /// ParseComplete, BindComplete, CloseComplete.
    fn acknowledged(&mut self, pipe: &mut Pipe, header: Header) -> Result<bool, Broken> {
        match self.pending.pop() {
            Some(Expect::Ours) => return Ok(swallow(pipe, header)),
            Some(Expect::Bind) if self.is_bound_again() => return Ok(swallow(pipe, header)),
            Some(Expect::Parse { prepared, .. }) => {
                self.flow.planners.seen.accepted(&prepared.plan, self.now);
                pipe.pass(header);
            }
            Some(Expect::Bind | Expect::Close { .. }) => pipe.pass(header),
            _ => return Err(Broken::Unexpected(char::from(header.tag))),
        }
        Ok(true)
    }

    /// EmptyQueryResponse, PortalSuspended.
    fn ended(&mut self, pipe: &mut Pipe, header: Header) -> Result<bool, Broken> {
        if header.tag == b's'
            && let Some((capture, _)) = self.capturing()
        {
            // All rows are written; those that are never fetched have no image here.
            let table = Arc::clone(&capture.table);
            if let Some(table) = counted(&table) {
                self.pen.doubt(table);
            }
            self.buffer.enter(&[table]);
        }
        if let Some(Expect::Execute { .. }) = self.pending.front() {
            self.pending.pop();
        }
        self.note_done();
        pipe.pass(header);
        Ok(true)
    }

    fn command_complete(&mut self, pipe: &mut Pipe, header: Header) -> Result<bool, Broken> {
        if !pipe.is_whole(header) {
            return Ok(false);
        }
        let tag: Box<[u8]> = Body::new(pipe.body(header)).text().unwrap_or_default().into();
        self.note_named();
        let mut sampled = None;
        let (step, started) = match self.pending.front() {
            Some(Expect::Ours) => {
                self.pending.pop();
                return Ok(swallow(pipe, header));
            }
            Some(Expect::OurQuery | Expect::OurEnd(_)) => return Ok(swallow(pipe, header)),
            Some(Expect::Entries(truncate)) => {
                let truncate = Arc::clone(truncate);
                self.pending.pop();
                self.entered(&truncate);
                return Ok(swallow(pipe, header));
            }
            Some(Expect::Query(query)) if query.hidden => {
                let truncate = query.truncate();
                query.hidden = false;
                query.next(&self.flow.planners.seen, self.now);
                truncate.iter().for_each(|truncate| self.entered(truncate));
                return Ok(swallow(pipe, header));
            }
            Some(Expect::Query(query)) => {
                let step = query.plan.statements.get(query.at).map(|planned| planned.step.clone());
                self.shade.follow(&query.plan);
                sampled = query.sampled.take().map(|sampled| (Arc::clone(&query.plan), sampled));
                if let Some(Step::Truncate(_)) = step {
                    query.hidden = true;
                } else {
                    query.next(&self.flow.planners.seen, self.now);
                }
                (step, query.started)
            }
            Some(Expect::Execute { prepared, started, sampled: bound, .. }) => {
                if let Some(prepared) = prepared {
                    self.shade.follow(&prepared.plan);
                    sampled = bound.take().map(|bound| (Arc::clone(&prepared.plan), bound));
                    self.flow.planners.seen.completed(&prepared.plan, self.now);
                }
                let found =
                    (prepared.as_ref().and_then(|prepared| prepared.step().cloned()), *started);
                self.pending.pop();
                found
            }
            _ => (None, self.now),
        };
        let step = step.map_or(Step::Other, |step| self.statements.executed(&step).clone());
        self.flow.metrics.statement(kind(&step), self.now.saturating_duration_since(started));
        self.wrote |= kind(&step) == "write";
        if let Some((plan, sampled)) = sampled {
            self.try_elsewhere(&plan, *sampled);
        }
        self.ended += 1;
        if let Step::Truncate(_) = step {
            // Its entries may still fall to the epoch.
            self.hold_answer(pipe);
        } else {
            self.note_done();
        }
        pipe.pass(header);
        self.count(&step, &tag);
        self.completed(step, &tag);
        Ok(true)
    }

    fn ready(&mut self, pipe: &mut Pipe, header: Header) -> Result<bool, Broken> {
        if !pipe.is_whole(header) {
            return Ok(false);
        }
        let status = pipe.body(header).first().copied().unwrap_or(b'I');
        match self.pending.pop() {
            Some(Expect::OurQuery) => {
                swallow(pipe, header);
                self.status = status;
                if status == b'I' && self.is_repeating() {
                    self.at_rest(status);
                    self.repeat();
                } else if self.cuts_batch {
                    self.at_rest(status);
                }
                return Ok(true);
            }
            Some(Expect::OurEnd(refusal)) => {
                if let Some(refusal) = refusal {
                    pipe.settle();
                    write::error(&mut pipe.output, "ERROR", refusal.code, &refusal.message);
                }
                pipe.pass(header);
            }
            Some(Expect::Query(_)) if self.wrapped => {
                swallow(pipe, header);
                self.status = status;
                self.block = status != b'I';
                if self.is_repeating() {
                    self.undo_wrapped();
                } else {
                    self.unwrap_single(status);
                }
                return Ok(true);
            }
            Some(Expect::Query(_) | Expect::Sync) if self.is_repeating() => {
                swallow(pipe, header);
                self.at_rest(status);
                self.repeat();
                return Ok(true);
            }
            Some(Expect::Query(_) | Expect::Sync | Expect::Function { .. }) => pipe.pass(header),
            _ => return Err(Broken::Unexpected('Z')),
        }
        self.at_rest(status);
        Ok(true)
    }

    fn error(&mut self, pipe: &mut Pipe, header: Header) -> Result<bool, Broken> {
        if !pipe.is_whole(header) {
            return Ok(false);
        }
        if is_stale(pipe.body(header)) {
            self.stale(pipe, header);
            self.end_with_error();
            return Ok(true);
        }
        pipe.release();
        let hint = ours_is_missing(pipe.body(header)) && self.enters();
        let applied = match self.pending.front() {
            Some(Expect::Query(query)) => query.applied.as_ref(),
            Some(Expect::Parse { prepared, .. }) => prepared.applied.as_ref(),
            Some(Expect::Execute { prepared: Some(prepared), .. }) => prepared.applied.as_ref(),
            _ => None,
        };
        if applied.is_some() || hint {
            let moved = |position| applied.map_or(position, |map| map.client_position(position));
            let reworded = reworded(pipe.body(header), hint, moved);
            pipe.take(header);
            write::message(&mut pipe.output, b'E', |out| out.put_slice(&reworded));
        } else {
            pipe.pass(header);
        }
        self.end_with_error();
        Ok(true)
    }

    /// What an error leaves behind.
    fn end_with_error(&mut self) {
        let simple = matches!(
            self.pending.front(),
            Some(Expect::Query(_) | Expect::Function { .. } | Expect::OurQuery | Expect::OurEnd(_))
                | None
        );
        if !simple {
            self.pending.fail(&mut self.statements);
        }
        self.copying = false;
        self.ended += 1;
        self.failed();
    }

    /// True where what the server answers to has written, or would have, an outbox entry.
    fn enters(&mut self) -> bool {
        let step = match self.pending.front() {
            Some(Expect::Query(query)) => {
                query.plan.statements.get(query.at).map(|planned| &planned.step)
            }
            Some(Expect::Execute { prepared: Some(prepared), .. }) => prepared.step(),
            Some(Expect::Parse { prepared, .. }) => prepared.step(),
            Some(Expect::Ours | Expect::Entries(_)) => return true,
            _ => None,
        };
        let step = step.map(|step| self.statements.executed(step));
        matches!(step, Some(Step::Capture(_) | Step::Entered(_) | Step::Truncate(_)))
    }

    /// The client has to send a COPY's data now.
    fn copy_in(&mut self, pipe: &mut Pipe, header: Header) -> bool {
        self.copying = !self.pending.begin_copy();
        pipe.pass(header);
        true
    }

    fn parameter_status(&mut self, pipe: &mut Pipe, header: Header) -> bool {
        if !pipe.is_whole(header) {
            return false;
        }
        let mut body = Body::new(pipe.body(header));
        let text =
            |bytes: Option<&[u8]>| String::from_utf8_lossy(bytes.unwrap_or_default()).into_owned();
        let (name, value) = (text(body.text()), text(body.text()));
        self.parameter(&name, &value);
        pipe.pass(header);
        true
    }

    /// Our ROLLBACK may draw a warning that is none of the client's.
    fn notice(&mut self, pipe: &mut Pipe, header: Header) -> bool {
        if !matches!(self.pending.front(), Some(Expect::OurQuery | Expect::OurEnd(_))) {
            pipe.pass(header);
            return true;
        }
        pipe.is_whole(header) && swallow(pipe, header)
    }
}

/// Drops a message; it has to be whole. Always true.
fn swallow(pipe: &mut Pipe, header: Header) -> bool {
    if !pipe.is_whole(header) {
        return false;
    }
    pipe.take(header);
    true
}

/// Writes a RowDescription without its last `added` columns.
fn describe(body: &[u8], added: usize, out: &mut BytesMut) -> Option<()> {
    let mut parts = Body::new(body);
    let columns = usize::from(parts.u16()?).checked_sub(added)?;
    for _ in 0..columns {
        parts.text()?;
        parts.take(18)?;
    }
    let end = body.len() - parts.rest().len();
    write::message(out, b'T', |out| {
        out.put_u16(u16::try_from(columns).unwrap_or(u16::MAX));
        out.put_slice(&body[2..end]);
    });
    Some(())
}

/// What a client is told whose write found our tables gone, or closed to its role.
const HINT: &str = "Crossfade writes an outbox entry with each row: run \"crossfade setup\", which \
     creates what is missing and grants it.";

/// True where an ErrorResponse is about something of ours that is not there, or not granted.
fn ours_is_missing(body: &[u8]) -> bool {
    let mut fields = body.split(|byte| *byte == 0);
    let code =
        |field: &[u8]| [b"C42P01", b"C42883", b"C3F000", b"C42501"].iter().any(|c| *c == field);
    let mut missing = false;
    fields.any(|field| {
        missing |= code(field);
        missing && field.first() == Some(&b'M') && field.windows(9).any(|part| part == b"crossfade")
    })
}

/// An ErrorResponse's fields, with the position as it is in the client's own text, and with our hint
/// where what is wrong is ours.
fn reworded(body: &[u8], hint: bool, moved: impl Fn(usize) -> usize) -> Bytes {
    let mut out = BytesMut::with_capacity(body.len());
    let mut parts = Body::new(body);
    while let Some(field) = parts.byte().filter(|field| *field != 0) {
        let Some(value) = parts.text() else { break };
        if hint && field == b'H' {
            continue;
        }
        out.put_u8(field);
        match (field, std::str::from_utf8(value).ok().and_then(|text| text.parse().ok())) {
            (b'P', Some(position)) => out.put_slice(moved(position).to_string().as_bytes()),
            _ => out.put_slice(value),
        }
        out.put_u8(0);
    }
    if hint {
        out.put_u8(b'H');
        out.put_slice(HINT.as_bytes());
        out.put_u8(0);
    }
    out.put_u8(0);
    out.freeze()
}
