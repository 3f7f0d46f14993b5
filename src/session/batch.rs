//! Where a batch begins and ends, and what becomes of one that the change of the primary comes into.
//!
//! ```text
//! lease out, before the first message ──▶ wait ──▶ here, or [`rest`](super::rest) and away
//! MySQL answers, no statement has begun ──Flush──▶ all answered ──Sync──▶ rest: Bind is said again there
//! MySQL answers, one has begun ──▶ 40001
//! ```
//!
//! Invariant: no statement begins on a server that is known not to be the primary. What is said again
//! ([`Batch`](crate::answer::batch::Batch)) has had no effect but a portal, which ends with our Sync.

use bytes::Bytes;

use crate::answer::batch::KEPT_BYTES_MAX;
use crate::answer::serves;
use crate::session::pipe::Pipe;
use crate::session::state::{Awaits, State, Work};
use crate::session::strict::Say;
use crate::wire::Header;

impl State {
    /// Keeps the message at hand while it is looked at, where it may have to be said again.
    pub(super) fn take_in_hand(&mut self, pipe: &mut Pipe, header: Header) {
        let kept = matches!(header.tag, b'B' | b'C') && self.keeps(header) && pipe.is_whole(header);
        self.at_hand = kept.then(|| Bytes::copy_from_slice(pipe.body(header)));
    }

    /// Outside of transactions, as much as is not too much.
    fn keeps(&self, header: Header) -> bool {
        !self.block && header.size <= KEPT_BYTES_MAX
    }

    /// A message of the client's has passed.
    pub(super) fn note_passed(&mut self, tag: u8) {
        self.batch.passed(tag, self.at_hand.take());
        self.boundary = match tag {
            b'd' | b'c' | b'f' => self.boundary,
            tag => matches!(tag, b'Q' | b'S' | b'F'),
        };
        if self.boundary {
            self.denied = false;
        }
    }

    /// True where the next message must not pass yet: because of who may answer it, or because all of it
    /// has to be there.
    pub(super) fn must_wait(&mut self, pipe: &mut Pipe, header: Header) -> bool {
        let short = header.tag == b'B' && self.keeps(header) && !pipe.is_whole(header);
        self.awaits_lease(header.tag) || self.cuts(header.tag) || short
    }

    /// True where what the client has sent may be for somebody else.
    pub(super) fn is_held_back(&self) -> bool {
        self.is_to_rest() || !self.flow.lease.holds(self.now)
    }

    /// A batch begins with the lease: with it, another may have become the primary.
    fn awaits_lease(&mut self, tag: u8) -> bool {
        let begins = matches!(tag, b'P' | b'B' | b'D' | b'E' | b'C' | b'H') && self.boundary;
        let alone = !self.block && self.status == b'I';
        if !begins || !alone || self.denied || self.flow.lease.holds(self.now) {
            return false;
        }
        // What is still to be answered does not wait for it.
        if self.pending.is_empty() {
            self.work = Some(Work::Confirm(Awaits::Statement));
        }
        true
    }

    /// Ends a batch here that somebody else can go on with, once all of it is answered.
    fn cuts(&mut self, tag: u8) -> bool {
        if self.cuts_batch {
            return true;
        }
        if !matches!(tag, b'P' | b'B' | b'D' | b'E' | b'C' | b'Q' | b'F') || !self.can_move() {
            return false;
        }
        if !self.pending.is_empty() {
            if !std::mem::replace(&mut self.flushed, true) {
                self.say.push(Say::Flush);
            }
            return true;
        }
        self.flushed = false;
        self.cuts_batch = true;
        self.boundary = true;
        self.say.push(Say::Sync);
        true
    }

    /// Whether a batch is under way that is for MySQL to answer, and can be.
    fn can_move(&self) -> bool {
        let under_way = !self.boundary && !self.copying && self.refusing.is_none();
        let alone = !self.block && self.status == b'I' && !self.pending.is_skipping();
        let known = !self.batch.binds_unnamed() || self.statements.unnamed().is_some();
        under_way && alone && serves(&self.planner.situation) && self.batch.is_movable() && known
    }

    /// The server has ended the batch: what it has lost stands in front of the rest.
    pub(super) fn go_on_with_batch(&mut self, pipe: &mut Pipe) {
        if self.cuts_batch && self.pending.is_empty() && self.say.is_empty() {
            self.cuts_batch = false;
            let (messages, answers) = self.batch.take();
            pipe.unread(&messages);
            self.bind_again(answers + self.bound_again());
        }
    }
}
