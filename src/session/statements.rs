//! The client's prepared statements and portals, as far as their plans are concerned.
//!
//! What PREPARE and Parse make has one set of names, as on the server: either can execute or close
//! what the other has made.
//!
//! Invariant: a statement is executed under the plan of the present situation. One that was prepared
//! under an earlier one (before `setup`, before an ALTER, in another epoch) is prepared anew, under
//! the same name, before it is bound.

use std::collections::HashMap;
use std::sync::Arc;

use bytes::Bytes;

use crate::handoff::Statement;
use crate::phase::{Phase, Situation};
use crate::plan::cache::{PathKey, Planner};
use crate::plan::seen::Shape;
use crate::plan::{Applied, Capture, Plan, Step};
use crate::session::shadow::Sampled;

/// A statement that the client has prepared.
#[derive(Debug)]
pub(super) struct Prepared {
    pub(super) plan: Arc<Plan>,
    /// The planner that made the plan; another one means another situation.
    pub(super) planner: Arc<Planner>,
    /// The search path of then.
    pub(super) path: Arc<PathKey>,
    /// The client's text and parameter types, to prepare it anew. `None` where the plan is the same
    /// in every situation.
    pub(super) source: Option<Source>,
    /// The way back from the rewritten text, for error positions.
    pub(super) applied: Option<Applied>,
    /// What its description is kept under; `None` where none is kept.
    pub(super) shape: Option<Shape>,
    /// A read that may be tried on the secondary.
    pub(super) statement: Option<Arc<Statement>>,
    /// What followed the name in Parse, if it has none: the server does not list it.
    pub(super) unnamed: Option<Box<[u8]>>,
}

#[derive(Debug)]
pub(super) struct Source {
    pub(super) sql: Box<str>,
    /// What followed the text in Parse: the count of parameter types, and the types.
    pub(super) types: Box<[u8]>,
}

/// A statement that is bound.
#[derive(Debug)]
pub(super) struct Portal {
    pub(super) prepared: Arc<Prepared>,
    /// The format of our columns.
    pub(super) binary: bool,
    /// The client's Bind, until it is executed.
    pub(super) bind: Option<Bytes>,
    /// It is to be tried on the secondary.
    pub(super) sampled: Option<Box<Sampled>>,
}

/// By name; the unnamed ones are kept apart, since most drivers use no others.
#[derive(Debug, Default)]
pub(super) struct Statements {
    unnamed: Option<Arc<Prepared>>,
    named: HashMap<Box<[u8]>, Arc<Prepared>>,
    unnamed_portal: Option<Portal>,
    portals: HashMap<Box<[u8]>, Portal>,
}

/// Longest name of a statement or portal, in bytes; the server cuts what is longer.
const NAME_BYTES_MAX: usize = 63;

/// A name as the server looks it up.
fn known_as(name: &[u8]) -> &[u8] {
    &name[..name.len().min(NAME_BYTES_MAX)]
}

impl Prepared {
    pub(super) fn step(&self) -> Option<&Step> {
        self.plan.single()
    }

    /// True where its text means the same in every encoding.
    pub(super) fn is_ascii(&self) -> bool {
        self.source.as_ref().is_none_or(|source| source.sql.is_ascii())
    }

    /// True where it was made before `setup`, so that what it writes is not captured.
    pub(super) fn is_early(&self, now: &Situation) -> bool {
        let then = self.planner.situation.phase;
        then == Phase::Setup
            && now.phase != Phase::Setup
            && !matches!(self.step(), Some(Step::Read | Step::Other) | None)
    }
}

impl Statements {
    pub(super) fn get(&self, name: &[u8]) -> Option<&Arc<Prepared>> {
        if name.is_empty() { self.unnamed.as_ref() } else { self.named.get(known_as(name)) }
    }

    /// The unnamed statement, as the client prepared it: what followed the name in Parse.
    pub(super) fn unnamed(&self) -> Option<&[u8]> {
        self.unnamed.as_ref()?.unnamed.as_deref()
    }

    /// The client's own text, where the server has another.
    pub(super) fn text(&self, name: &[u8]) -> Option<&str> {
        Some(&*self.get(name)?.source.as_ref()?.sql)
    }

    /// Gives `name` a statement; returns the one it had.
    pub(super) fn put(&mut self, name: &[u8], prepared: Arc<Prepared>) -> Option<Arc<Prepared>> {
        if name.is_empty() {
            return self.unnamed.replace(prepared);
        }
        self.named.insert(known_as(name).into(), prepared)
    }

    pub(super) fn remove(&mut self, name: &[u8]) -> Option<Arc<Prepared>> {
        if name.is_empty() { self.unnamed.take() } else { self.named.remove(known_as(name)) }
    }

    pub(super) fn restore(&mut self, name: &[u8], previous: Option<Arc<Prepared>>) {
        match previous {
            Some(prepared) => drop(self.put(name, prepared)),
            None => drop(self.remove(name)),
        }
    }

    /// `DEALLOCATE ALL`, `DISCARD ALL`.
    pub(super) fn clear(&mut self) {
        self.named.clear();
    }

    /// The step that is executed: an EXECUTE's is that of the statement it names.
    pub(super) fn executed<'a>(&'a self, step: &'a Step) -> &'a Step {
        match step {
            Step::Execute(name) => {
                self.get(name.as_bytes()).and_then(|found| found.step()).unwrap_or(step)
            }
            step => step,
        }
    }

    /// The capture whose rows `step` returns.
    pub(super) fn capture<'a>(&'a self, step: Option<&'a Step>) -> Option<&'a Arc<Capture>> {
        match self.executed(step?) {
            Step::Capture(capture) => Some(capture),
            _ => None,
        }
    }

    pub(super) fn portal(&self, name: &[u8]) -> Option<&Portal> {
        if name.is_empty() {
            self.unnamed_portal.as_ref()
        } else {
            self.portals.get(known_as(name))
        }
    }

    fn portal_mut(&mut self, name: &[u8]) -> Option<&mut Portal> {
        if name.is_empty() {
            self.unnamed_portal.as_mut()
        } else {
            self.portals.get_mut(known_as(name))
        }
    }

    /// The Bind of a portal that is executed for the first time.
    pub(super) fn take_bind(&mut self, name: &[u8]) -> Option<Bytes> {
        self.portal_mut(name)?.bind.take()
    }

    /// What is to be tried of a portal that is executed for the first time.
    pub(super) fn take_sampled(&mut self, name: &[u8]) -> Option<Box<Sampled>> {
        self.portal_mut(name)?.sampled.take()
    }

    pub(super) fn bind(&mut self, name: &[u8], portal: Option<Portal>) {
        if name.is_empty() {
            self.unnamed_portal = portal;
        } else if let Some(portal) = portal {
            self.portals.insert(known_as(name).into(), portal);
        } else {
            self.portals.remove(known_as(name));
        }
    }

    /// A transaction ended, and its portals with it.
    pub(super) fn close_portals(&mut self) {
        self.portals.clear();
    }
}

/// The kind that `statements_total` counts a step as.
pub(super) fn kind(step: &Step) -> &'static str {
    match step {
        Step::Read => "read",
        Step::Capture(_)
        | Step::Entered(_)
        | Step::Truncate(_)
        | Step::Uncaptured { .. }
        | Step::Unmigrated => "write",
        _ => "other",
    }
}
