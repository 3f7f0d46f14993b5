//! What the server still owes an answer to, in the order it was asked.
//!
//! ```text
//! client's message ──push──▶ Expect … Expect ──pop──▶ server's answer
//! ```
//!
//! Invariant: the server answers in order, so the first expectation is always the one that the next
//! answer belongs to. After an error it skips to the next Sync, and so does the queue; what the
//! skipped messages would have changed is put back.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;

use crate::names::Oid;
use crate::plan::seen::{Seen, Shape};
use crate::plan::{Applied, Plan, Step, Truncate};
use crate::session::shadow::Sampled;
use crate::session::statements::{Prepared, Statements};

#[derive(Debug)]
pub(super) enum Expect {
    /// ParseComplete; the statement the name had before, put back on error.
    Parse {
        name: Box<[u8]>,
        previous: Option<Arc<Prepared>>,
        prepared: Arc<Prepared>,
    },
    Bind,
    /// CloseComplete, likewise.
    Close {
        name: Box<[u8]>,
        previous: Option<Arc<Prepared>>,
    },
    /// ParameterDescription, and RowDescription or NoData.
    Describe {
        prepared: Option<Arc<Prepared>>,
        /// It is about a statement, so that its parameters are described too.
        statement: bool,
        /// Their types, where they are to be kept.
        parameters: Option<Vec<Oid>>,
    },
    Execute {
        prepared: Option<Arc<Prepared>>,
        binary: bool,
        /// The client's Bind, where both can be repeated.
        bind: Option<Bytes>,
        sampled: Option<Box<Sampled>>,
        started: Instant,
    },
    /// ReadyForQuery.
    Sync,
    /// All answers to a Query, up to its ReadyForQuery.
    Query(Box<Query>),
    /// FunctionCallResponse and ReadyForQuery; the plan of a function that may write tables.
    Function {
        flagged: Option<Box<Plan>>,
    },
    /// The client has ended a COPY that the server may not have begun yet.
    CopyEnd,
    /// One answer to an extended message of ours, which the client does not see.
    Ours,
    /// The rows and the end of [`Truncate::entries`], which the client does not see.
    Entries(Arc<Truncate>),
    /// All answers to a Query of ours, its ReadyForQuery included.
    OurQuery,
    /// A COMMIT or ROLLBACK of ours whose ReadyForQuery is the client's; an error may go before it.
    OurEnd(Option<Box<Refusal>>),
}

/// The error that a client gets instead of its commit.
#[derive(Debug)]
pub(super) struct Refusal {
    pub(super) code: &'static str,
    pub(super) message: String,
}

/// A query string under way.
#[derive(Debug)]
pub(super) struct Query {
    pub(super) plan: Arc<Plan>,
    /// The client's text, where it can be repeated.
    pub(super) sql: Option<Box<str>>,
    /// The rewritten text's way back, for error positions.
    pub(super) applied: Option<Applied>,
    /// The statement whose answer comes next.
    pub(super) at: usize,
    /// The next CommandComplete is that of a statement of ours.
    pub(super) hidden: bool,
    pub(super) started: Instant,
    /// What its description is kept under.
    pub(super) shape: Option<Shape>,
    /// It is to be tried on the secondary.
    pub(super) sampled: Option<Box<Sampled>>,
}

impl Query {
    /// One of its statements is completed.
    pub(super) fn next(&mut self, seen: &Seen, now: Instant) {
        self.at += 1;
        if self.at == self.plan.statements.len() {
            seen.completed(&self.plan, now);
        }
    }

    /// The TRUNCATE whose entries come next.
    pub(super) fn truncate(&self) -> Option<Arc<Truncate>> {
        match &self.plan.statements.get(self.at).filter(|_| self.hidden)?.step {
            Step::Truncate(truncate) => Some(Arc::clone(truncate)),
            _ => None,
        }
    }
}

#[derive(Debug, Default)]
pub(super) struct Pending {
    queue: VecDeque<Expect>,
    /// An error came and no Sync was sent since: the server passes over all but a Sync.
    skipping: bool,
}

impl Pending {
    pub(super) fn push(&mut self, expect: Expect) {
        if let Expect::Sync = expect {
            self.skipping = false;
        } else if self.skipping {
            return;
        }
        self.queue.push_back(expect);
    }

    pub(super) fn front(&mut self) -> Option<&mut Expect> {
        self.drop_stale();
        self.queue.front_mut()
    }

    /// The end of a COPY that failed before it began, or while its data was on the way: nothing
    /// answers to it.
    fn drop_stale(&mut self) {
        while let Some(Expect::CopyEnd) = self.queue.front() {
            self.queue.pop_front();
        }
    }

    pub(super) fn pop(&mut self) -> Option<Expect> {
        self.drop_stale();
        let popped = self.queue.pop_front();
        if self.queue.is_empty() && self.queue.capacity() > 64 {
            self.queue = VecDeque::new();
        }
        popped
    }

    pub(super) fn is_empty(&self) -> bool {
        self.queue.iter().all(|expect| matches!(expect, Expect::CopyEnd))
    }

    /// True where the server passes over what the client sends, up to a Sync.
    pub(super) fn is_skipping(&self) -> bool {
        self.skipping
    }

    /// The plans of what is being executed.
    pub(super) fn plans(&self) -> impl Iterator<Item = &Plan> {
        self.queue.iter().filter_map(|expect| match expect {
            Expect::Execute { prepared: Some(prepared), .. } => Some(&*prepared.plan),
            Expect::Query(query) => Some(&*query.plan),
            _ => None,
        })
    }

    /// True where something is under way that may run functions, and so change settings.
    pub(super) fn executes(&self) -> bool {
        self.queue.iter().any(|expect| {
            matches!(
                expect,
                Expect::Execute { .. }
                    | Expect::Query(_)
                    | Expect::Function { .. }
                    | Expect::Entries(_)
                    | Expect::OurQuery
                    | Expect::OurEnd(_)
            )
        })
    }

    /// True where nothing but a Sync follows what is answered now.
    pub(super) fn ends_with_sync(&self) -> bool {
        self.queue.len() == 2 && matches!(self.queue.back(), Some(Expect::Sync))
    }

    pub(super) fn len(&self) -> usize {
        self.queue.len()
    }

    /// An error ended the batch: forgets all up to the next Sync, newest first, so that each name
    /// ends with the statement that it really has.
    pub(super) fn fail(&mut self, statements: &mut Statements) {
        let end = self.queue.iter().position(|expect| matches!(expect, Expect::Sync));
        self.skipping = end.is_none();
        let unnamed = match self.queue.front() {
            Some(Expect::Parse { name, .. }) => name.is_empty(),
            _ => false,
        };
        let skipped: Vec<_> = self.queue.drain(..end.unwrap_or(self.queue.len())).collect();
        for expect in skipped.into_iter().rev() {
            match expect {
                Expect::Parse { name, previous, .. } | Expect::Close { name, previous } => {
                    statements.restore(&name, previous);
                }
                _ => {}
            }
        }
        if unnamed {
            // The one before it is gone all the same.
            statements.remove(b"");
        }
    }

    /// A COPY from the client begins: the server passes over Syncs until the copy has ended.
    /// Returns whether the client has ended it already.
    pub(super) fn begin_copy(&mut self) -> bool {
        let ended = self.queue.iter().position(|expect| matches!(expect, Expect::CopyEnd));
        let end = ended.unwrap_or(self.queue.len());
        let mut at = 0;
        self.queue.retain(|expect| {
            let keep = end < at || !matches!(expect, Expect::Sync | Expect::CopyEnd);
            at += 1;
            keep
        });
        ended.is_some()
    }
}
