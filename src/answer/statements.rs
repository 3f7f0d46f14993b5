//! What a client has prepared: statements by name, and the portals that they were bound to.
//!
//! ```text
//! Parse ──text──▶ [`Prepared`] ──Bind──▶ [`Portal`] ──Execute──▶ rows, some of them kept for later
//! ```
//!
//! Invariant: both are bounded in number; a plan is used only on the ground that it was made on (the
//! catalogue, the search path, the zone), and is made anew on another.

use std::collections::HashMap;
use std::sync::Arc;

use crate::answer::bind::Format;
use crate::answer::error::PgError;
use crate::answer::plan::{Ground, Planned};
use crate::answer::rows::Kept;
use crate::names::Oid;
use crate::value::Value;

/// Prepared statements of one session.
const STATEMENTS_MAX: usize = 10_000;
/// Portals open at once in one session.
const PORTALS_MAX: usize = 1_000;

#[derive(Clone, Debug)]
pub(super) struct Prepared {
    pub(super) sql: Arc<str>,
    pub(super) declared: Vec<Oid>,
    pub(super) planned: Arc<Planned>,
    pub(super) ground: Arc<Ground>,
}

#[derive(Debug)]
pub(super) struct Portal {
    pub(super) sql: Arc<str>,
    pub(super) planned: Arc<Planned>,
    pub(super) values: Vec<Value>,
    pub(super) formats: Vec<Format>,
    pub(super) state: PortalState,
}

#[derive(Debug)]
pub(super) enum PortalState {
    Fresh,
    /// It ran; these rows are still to come, under this word of a tag.
    Suspended(Kept, &'static str),
    /// Nothing more comes of it.
    Done(&'static str),
}

/// A session's statements and portals.
#[derive(Debug, Default)]
pub(super) struct Statements {
    prepared: HashMap<String, Prepared>,
    /// Prepared elsewhere, and not to be planned here so far: text and declared types.
    left: HashMap<String, (Arc<str>, Vec<Oid>)>,
    portals: HashMap<String, Portal>,
}

impl Statements {
    /// Keeps a statement. The unnamed one is replaced, any other name may be given once.
    pub(super) fn prepare(&mut self, name: &str, prepared: Prepared) -> Result<(), PgError> {
        if !name.is_empty() && (self.prepared.contains_key(name) || self.left.contains_key(name)) {
            let text = format!("prepared statement \"{name}\" already exists");
            return Err(PgError::new("42P05", text));
        }
        if STATEMENTS_MAX <= self.prepared.len() {
            return Err(PgError::new("54000", "too many prepared statements in one session"));
        }
        self.prepared.insert(name.to_owned(), prepared);
        Ok(())
    }

    /// Keeps the text of a statement that another has prepared.
    pub(super) fn leave(&mut self, name: &str, sql: Arc<str>, declared: Vec<Oid>) {
        self.left.insert(name.to_owned(), (sql, declared));
    }

    /// A statement that is still to be planned.
    pub(super) fn left(&self, name: &str) -> Option<(Arc<str>, Vec<Oid>)> {
        self.left.get(name).cloned()
    }

    /// Puts a plan made on new ground in the old one's place.
    pub(super) fn renew(&mut self, name: &str, prepared: Prepared) {
        self.left.remove(name);
        self.prepared.insert(name.to_owned(), prepared);
    }

    pub(super) fn prepared(&self, name: &str) -> Result<&Prepared, PgError> {
        self.prepared.get(name).ok_or_else(|| {
            let text = match name {
                "" => "unnamed prepared statement does not exist".to_owned(),
                name => format!("prepared statement \"{name}\" does not exist"),
            };
            PgError::new("26000", text)
        })
    }

    /// Keeps a portal, under the rule of statements.
    pub(super) fn bind(&mut self, name: &str, portal: Portal) -> Result<(), PgError> {
        if !name.is_empty() && self.portals.contains_key(name) {
            return Err(PgError::new("42P03", format!("cursor \"{name}\" already exists")));
        }
        if PORTALS_MAX <= self.portals.len() {
            return Err(PgError::new("54000", "too many portals in one session"));
        }
        self.portals.insert(name.to_owned(), portal);
        Ok(())
    }

    pub(super) fn portal(&self, name: &str) -> Result<&Portal, PgError> {
        self.portals.get(name).ok_or_else(|| no_portal(name))
    }

    /// Takes a portal out while it runs.
    pub(super) fn take(&mut self, name: &str) -> Result<Portal, PgError> {
        self.portals.remove(name).ok_or_else(|| no_portal(name))
    }

    pub(super) fn put_back(&mut self, name: &str, portal: Portal) {
        self.portals.insert(name.to_owned(), portal);
    }

    pub(super) fn close_statement(&mut self, name: &str) -> bool {
        let left = self.left.remove(name).is_some();
        self.prepared.remove(name).is_some() || left
    }

    pub(super) fn close_portal(&mut self, name: &str) {
        self.portals.remove(name);
    }

    /// A transaction's end is that of its portals.
    pub(super) fn close_portals(&mut self) {
        self.portals.clear();
    }

    /// DEALLOCATE ALL.
    pub(super) fn close_all(&mut self) {
        self.prepared.clear();
        self.left.clear();
    }

    /// Name, text and declared types of every statement, for whoever takes the session over.
    pub(super) fn texts(&self) -> Vec<(String, Arc<str>, Vec<Oid>)> {
        let text = |(name, prepared): (&String, &Prepared)| {
            (name.clone(), Arc::clone(&prepared.sql), prepared.declared.clone())
        };
        let left = self.left.iter();
        let left = left.map(|(name, (sql, types))| (name.clone(), Arc::clone(sql), types.clone()));
        self.prepared.iter().map(text).chain(left).collect()
    }
}

fn no_portal(name: &str) -> PgError {
    PgError::new("34000", format!("portal \"{name}\" does not exist"))
}
