//! The near end of a pipe to one of the two sessions: what is on its way there, and what it owes.
//!
//! ```text
//! router ──[`End::send`], [`End::ask`]──▶ output ──▶ pipe ──▶ session
//!        ◀──[`End::next`]: for the client │ for us────────────┘
//! ```
//!
//! Invariant: a session answers in order, so the first of what is owed is what the next answer belongs to. Of
//! what it never looked at, what was ours is dropped, and what was the client's is given back.

use std::collections::VecDeque;
use std::task::{Context, Poll};

use bytes::{Buf as _, BytesMut};

use crate::backend::stream::{CHUNK, Stream};
use crate::wire::{self, Body};

/// Bytes that may wait to go to a session before nothing more is read for it.
const BACKLOG_MAX: usize = 256 * 1024;

/// Whose session it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Side {
    Postgres = 0,
    MySql = 1,
}

impl Side {
    pub(super) fn other(self) -> Self {
        match self {
            Self::Postgres => Self::MySql,
            Self::MySql => Self::Postgres,
        }
    }
}

/// Whom an answer is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum For {
    Client,
    /// `must`: an error matters.
    Us {
        must: bool,
    },
}

/// Everything up to one ReadyForQuery.
#[derive(Debug)]
struct Owed {
    whom: For,
    /// Bytes of its messages.
    bytes: usize,
}

/// What came.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Heard {
    /// A message passed on, or swallowed.
    Other,
    /// The client's transaction is in this state; its ReadyForQuery has passed.
    Ready(u8),
    /// CommandComplete of the client's, by the first word of its tag.
    Done { rolled_back: bool },
    /// An error of the client's.
    Failed,
    /// The client's data of a COPY is waited for.
    Copies,
}

pub(super) struct End {
    stream: Stream,
    input: BytesMut,
    output: BytesMut,
    owed: VecDeque<Owed>,
    /// Bytes still to come of a message whose head was looked at.
    rest: usize,
    rest_for: For,
    /// Acknowledgements to come that the client has.
    answered: usize,
    /// Something of ours that matters was answered with an error, which nobody has taken notice of.
    failed: bool,
    shut: bool,
    closed: bool,
}

impl End {
    pub(super) fn new(stream: Stream) -> Self {
        Self {
            stream,
            input: BytesMut::new(),
            output: BytesMut::new(),
            owed: VecDeque::new(),
            rest: 0,
            rest_for: For::Us { must: false },
            answered: 0,
            failed: false,
            shut: false,
            closed: false,
        }
    }

    /// Everything that it was sent is answered.
    pub(super) fn is_quiet(&self) -> bool {
        self.owed.is_empty()
    }

    /// A message for the client has come in part: nothing else may come between.
    pub(super) fn is_within(&self) -> bool {
        0 < self.rest && self.rest_for == For::Client
    }

    /// What it would answer next is none of the client's.
    pub(super) fn owes_us(&self) -> bool {
        matches!(self.owed.front(), Some(Owed { whom: For::Us { .. }, .. }))
    }

    /// Something of the client's is under way there.
    pub(super) fn runs_clients(&self) -> bool {
        self.owed.iter().any(|owed| owed.whom == For::Client)
    }

    pub(super) fn is_full(&self) -> bool {
        BACKLOG_MAX < self.output.len()
    }

    /// The client begins something that ends with a ReadyForQuery. It has so many of the acknowledgements
    /// already that come first.
    pub(super) fn begin(&mut self, answered: usize) {
        self.answered += answered;
        self.owed.push_back(Owed { whom: For::Client, bytes: 0 });
    }

    /// More of what the client has begun last.
    pub(super) fn send(&mut self, bytes: &[u8]) {
        self.output.extend_from_slice(bytes);
        if let Some(last) = self.owed.back_mut() {
            last.bytes += bytes.len();
        }
    }

    /// Something of ours, up to its Sync or a Query; `must`: an error is to be noticed.
    pub(super) fn ask(&mut self, message: &[u8], must: bool) {
        self.output.extend_from_slice(message);
        self.owed.push_back(Owed { whom: For::Us { must }, bytes: message.len() });
    }

    /// Whether something of ours has failed since this was asked last.
    pub(super) fn has_failed(&mut self) -> bool {
        std::mem::take(&mut self.failed)
    }

    /// The client has nothing more to say.
    pub(super) fn shut(&mut self) {
        self.shut = true;
    }

    /// Writes what it takes; true where something was written.
    pub(super) fn poll_drain(&mut self, cx: &mut Context<'_>) -> bool {
        let mut moved = false;
        while !self.output.is_empty() {
            match self.stream.poll_write(cx, &self.output) {
                Poll::Ready(Ok(written)) if 0 < written => {
                    self.output.advance(written);
                    moved = true;
                }
                // Whoever was there has ended, which is noticed by that.
                _ => return moved,
            }
        }
        if self.shut && !self.closed {
            self.closed = matches!(self.stream.poll_shutdown(cx), Poll::Ready(_));
        }
        moved
    }

    /// Reads what there is; true where something was.
    pub(super) fn poll_fill(&mut self, cx: &mut Context<'_>) -> bool {
        matches!(self.stream.poll_fill(cx, &mut self.input, CHUNK), Poll::Ready(Ok(1..)))
    }

    /// The next message, as far as it has come: the client's goes to `out`. `None` where nothing has.
    pub(super) fn next(&mut self, out: &mut BytesMut) -> Result<Option<Heard>, wire::BadLength> {
        if 0 < self.rest {
            let there = self.input.split_to(self.rest.min(self.input.len()));
            self.rest -= there.len();
            if self.rest_for == For::Client {
                out.extend_from_slice(&there);
            }
            return Ok((!there.is_empty()).then_some(Heard::Other));
        }
        let Some(header) = wire::header(&self.input)? else { return Ok(None) };
        let whom = match self.owed.front() {
            // Nobody has asked for it, whatever is under way.
            _ if header.tag == b'A' => For::Client,
            Some(Owed { whom: For::Client, .. })
                if 0 < self.answered && matches!(header.tag, b'2' | b'3') =>
            {
                self.answered -= 1;
                For::Us { must: false }
            }
            Some(owed) => owed.whom,
            // What is said unasked: notifications, and why a session ends.
            None => For::Client,
        };
        // Short, and looked at.
        if matches!(header.tag, b'C' | b'Z') && self.input.len() < header.size {
            return Ok(None);
        }
        let message = &self.input[..header.size.min(self.input.len())];
        let heard = match (header.tag, whom) {
            (b'Z', _) => {
                self.owed.pop_front();
                let status = message.get(wire::HEADER).copied().unwrap_or(b'I');
                if whom == For::Client { Heard::Ready(status) } else { Heard::Other }
            }
            (b'E', For::Us { must }) => {
                self.failed |= must;
                Heard::Other
            }
            (b'E', For::Client) => Heard::Failed,
            (b'G', For::Client) => Heard::Copies,
            (b'C', For::Client) => {
                let tag = Body::new(&message[wire::HEADER..]).text().unwrap_or_default();
                Heard::Done { rolled_back: tag == b"ROLLBACK" }
            }
            _ => Heard::Other,
        };
        (self.rest, self.rest_for) = (header.size, whom);
        self.next(out)?;
        Ok(Some(heard))
    }

    /// Of what the session was sent and has not looked at, what was the client's. `unread`: what stands in
    /// the pipe, and what the session had read.
    pub(super) fn left(mut self, mut unread: BytesMut) -> BytesMut {
        unread.extend_from_slice(&self.output.split());
        let mut left = BytesMut::new();
        let total: usize = self.owed.iter().map(|owed| owed.bytes).sum();
        // Whatever is owed was never begun, or the session would not have handed the client over.
        let mut ahead = unread.len().saturating_sub(total);
        left.extend_from_slice(&unread.split_to(ahead));
        for owed in self.owed {
            ahead = owed.bytes.min(unread.len());
            let bytes = unread.split_to(ahead);
            if owed.whom == For::Client {
                left.extend_from_slice(&bytes);
            }
        }
        left
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::write;

    fn end() -> End {
        let (near, _far) = tokio::io::duplex(1024);
        End::new(Stream::Inner(Box::new(near)))
    }

    fn answers(end: &mut End, build: impl FnOnce(&mut BytesMut)) -> (Vec<Heard>, BytesMut) {
        build(&mut end.input);
        let (mut heard, mut out) = (Vec::new(), BytesMut::new());
        while let Some(one) = end.next(&mut out).unwrap() {
            heard.push(one);
        }
        (heard, out)
    }

    #[test]
    fn what_is_ours_is_not_the_clients() {
        let mut end = end();
        end.ask(b"ours", true);
        end.begin(0);
        end.send(b"theirs");
        let (heard, out) = answers(&mut end, |out| {
            write::command_complete(out, b"SET");
            write::ready(out, b'I');
            write::command_complete(out, b"SELECT 1");
        });
        assert_eq!(heard, [Heard::Other, Heard::Other, Heard::Done { rolled_back: false }]);
        let mut expected = BytesMut::new();
        write::command_complete(&mut expected, b"SELECT 1");
        assert_eq!(out, expected);
        let (heard, out) = answers(&mut end, |out| write::ready(out, b'T'));
        assert_eq!((heard, out.len()), (vec![Heard::Ready(b'T')], 6));
        assert!(end.is_quiet());
    }

    #[test]
    fn a_notification_is_the_clients_whatever_is_under_way() {
        let mut end = end();
        end.ask(b"ours", true);
        let mut note = BytesMut::new();
        write::message(&mut note, b'A', |out| out.extend_from_slice(b"\0\0\0\x07news\0\0"));
        let (_, out) = answers(&mut end, |out| {
            write::command_complete(out, b"ROLLBACK");
            out.extend_from_slice(&note);
            write::ready(out, b'I');
        });
        assert_eq!(out, note);
        assert!(end.is_quiet() && !end.is_within());
    }

    #[test]
    fn an_error_of_ours_is_noted_and_swallowed() {
        let mut end = end();
        end.ask(b"ours", true);
        let (_, out) = answers(&mut end, |out| {
            write::error(out, "ERROR", "0A000", "no");
            write::ready(out, b'I');
        });
        assert!(end.has_failed() && out.is_empty());
        assert!(!end.has_failed());
    }

    #[test]
    fn a_long_message_passes_in_parts() {
        let mut end = end();
        end.begin(0);
        let mut row = BytesMut::new();
        write::message(&mut row, b'D', |out| out.extend_from_slice(&[7; 100]));
        let (_, first) = answers(&mut end, |input| input.extend_from_slice(&row[..40]));
        let (_, second) = answers(&mut end, |input| input.extend_from_slice(&row[40..]));
        assert_eq!((first.len(), second.len()), (40, row.len() - 40));
        let (_, third) = answers(&mut end, |input| input.extend_from_slice(&row[..7]));
        assert!(end.is_within() && third.len() == 7, "nothing may come between");
    }

    #[test]
    fn what_nobody_looked_at_is_given_back_without_what_was_ours() {
        let mut end = end();
        end.ask(b"ours", true);
        end.begin(0);
        end.send(b"theirs");
        assert_eq!(end.left(BytesMut::new()), b"theirs"[..]);
    }
}
