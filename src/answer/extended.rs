//! The extended protocol: Parse, Bind, Describe, Execute, Close.
//!
//! Invariant: what is answered is what PostgreSQL answers, message for message; statements before a Sync are
//! one transaction unless there is but one of them.

use std::sync::Arc;

use crate::answer::batch::KEPT_BYTES_MAX;
use crate::answer::bind::{Bind, Format};
use crate::answer::error::PgError;
use crate::answer::execute::{Ask, Ran};
use crate::answer::plan::{Planned, statements};
use crate::answer::rows::{self, Kept, Stop};
use crate::answer::session::{Session, text_of};
use crate::answer::statements::{Portal, PortalState, Prepared};
use crate::answer::verbs::Verb;
use crate::door::peer::Frame;
use crate::names::Oid;
use crate::wire::{self, Body, write};

fn short() -> PgError {
    PgError::new("08P01", "insufficient data left in message")
}

impl Session {
    /// Keeps what somebody else would have to be told of the batch.
    pub(super) fn passed(&mut self, frame: &Frame) {
        let body = Some(frame.body()).filter(|body| body.len() <= KEPT_BYTES_MAX);
        self.batch.passed(frame.tag, body);
    }

    /// BindComplete or CloseComplete, unless the client has it.
    pub(super) fn acknowledge(&mut self, tag: u8) {
        match self.answered.checked_sub(1) {
            Some(left) => self.answered = left,
            None => write::empty(&mut self.out, tag),
        }
    }

    pub(super) fn parse(&mut self, body: &[u8]) -> Result<(), Stop> {
        let mut body = Body::new(body);
        let name = text_of(body.text().ok_or_else(short)?)?;
        let sql = text_of(body.text().ok_or_else(short)?)?;
        let count = body.u16().ok_or_else(short)?;
        let oid = |_| body.i32().map(i32::cast_unsigned).ok_or_else(short);
        let declared: Vec<u32> = (0..count).map(oid).collect::<Result<_, _>>()?;
        let one = match &statements(&sql)[..] {
            [] => String::new(),
            [one] => (*one).to_owned(),
            _ => {
                let text = "cannot insert multiple commands into a prepared statement";
                return Err(PgError::new("42601", text).into());
            }
        };
        self.refresh();
        let planned = self.plan_for(&one, &declared)?;
        if !planned.ends_transaction() {
            self.block.admits()?;
        }
        self.look_at(&planned)?;
        let ground = Arc::clone(&self.ground);
        let prepared = Prepared { sql: one.into(), declared, planned, ground };
        if name.is_empty() {
            self.statements.close_statement("");
        }
        self.statements.prepare(&name, prepared)?;
        write::empty(&mut self.out, b'1');
        Ok(())
    }

    /// The plan, for a client that is told where there is none.
    fn plan_for(&self, sql: &str, declared: &[Oid]) -> Result<Arc<Planned>, PgError> {
        let planned = self.plan(sql, declared);
        if let Err(error) = &planned {
            self.services.failed(sql, error);
        }
        planned
    }

    /// What PostgreSQL finds out before it runs a statement: that a setting to be shown is not there.
    pub(super) fn look_at(&self, planned: &Planned) -> Result<(), PgError> {
        match planned {
            Planned::Verb(Verb::Show(name), _) => self.shown(name).map(drop),
            _ => Ok(()),
        }
    }

    /// Between transactions the situation may change.
    pub(super) fn refresh(&mut self) {
        match self.block.is_none() {
            true => self.look_around(),
            false => self.stand(),
        }
    }

    /// A statement, planned anew if the ground has changed.
    fn prepared(&mut self, name: &str) -> Result<Prepared, PgError> {
        self.refresh();
        if let Some((sql, declared)) = self.statements.left(name) {
            let planned = self.plan_for(&sql, &declared)?;
            let prepared = Prepared { sql, declared, planned, ground: Arc::clone(&self.ground) };
            self.statements.renew(name, prepared);
        }
        let known = self.statements.prepared(name)?;
        if Arc::ptr_eq(&known.ground, &self.ground) || known.ground.is(&self.ground) {
            return Ok(known.clone());
        }
        let planned = self.plan_for(&known.sql, &known.declared)?;
        if planned.columns() != known.planned.columns() {
            return Err(PgError::new("0A000", "cached plan must not change result type"));
        }
        let ground = Arc::clone(&self.ground);
        let renewed = Prepared { planned, ground, ..known.clone() };
        self.statements.renew(name, renewed.clone());
        Ok(renewed)
    }

    pub(super) fn bind(&mut self, body: &[u8]) -> Result<(), Stop> {
        let bind = Bind::parse(body)?;
        let prepared = self.prepared(&bind.statement)?;
        let Prepared { planned, sql, .. } = prepared;
        if !planned.ends_transaction() {
            self.block.admits()?;
        }
        let around = (&*self.ground.catalog, &self.ground.path[..]);
        let values = bind.values(planned.parameters(), &self.settings.obeyed().style, around)?;
        let formats = bind.results(planned.columns().len())?;
        if bind.portal.is_empty() {
            self.statements.close_portal("");
        }
        let portal = Portal { sql, planned, values, formats, state: PortalState::Fresh };
        self.statements.bind(&bind.portal, portal)?;
        self.acknowledge(b'2');
        Ok(())
    }

    pub(super) fn describe(&mut self, body: &[u8]) -> Result<(), Stop> {
        let (kind, name) = target(body)?;
        if kind == b'S' {
            let planned = self.prepared(&name)?.planned;
            if !planned.ends_transaction() && planned.has_rows() {
                self.block.admits()?;
            }
            rows::parameters(&mut self.out, planned.parameters());
            let formats = vec![Format::Text; planned.columns().len()];
            self.description(&planned, &formats);
        } else {
            let portal = self.statements.portal(&name)?;
            let (planned, formats) = (Arc::clone(&portal.planned), portal.formats.clone());
            self.description(&planned, &formats);
        }
        Ok(())
    }

    fn description(&mut self, planned: &Planned, formats: &[Format]) {
        match planned.has_rows() {
            false => write::empty(&mut self.out, b'n'),
            true => rows::description(&mut self.out, planned.columns(), formats),
        }
    }

    pub(super) fn close(&mut self, body: &[u8]) -> Result<(), Stop> {
        let (kind, name) = target(body)?;
        match kind {
            b'S' => {
                self.statements.close_statement(&name);
            }
            _ => self.statements.close_portal(&name),
        }
        self.acknowledge(b'3');
        Ok(())
    }

    pub(super) async fn execute_portal(&mut self, body: &[u8]) -> Result<(), Stop> {
        let mut body = Body::new(body);
        let name = text_of(body.text().ok_or_else(short)?)?;
        let limit = body.i32().ok_or_else(short)?;
        let limit = u64::try_from(limit).ok().filter(|limit| 0 < *limit);
        let mut portal = self.statements.take(&name)?;
        let ran = self.run_portal(&name, &mut portal, limit).await;
        if let Err(Stop::Error(error)) = &ran {
            self.services.failed(&portal.sql, error);
        }
        // A transaction that ended took its portals along.
        if ran.is_ok() && !self.block.is_none() {
            self.statements.put_back(&name, portal);
        }
        ran
    }

    async fn run_portal(
        &mut self,
        name: &str,
        portal: &mut Portal,
        limit: Option<u64>,
    ) -> Result<(), Stop> {
        if !portal.planned.ends_transaction() {
            self.block.admits()?;
        }
        let state = std::mem::replace(&mut portal.state, PortalState::Done(""));
        let (ran, kept) = match state {
            PortalState::Fresh => {
                if !self.is_alone() {
                    self.enter();
                    self.block.imply();
                }
                let mut kept = Kept::new(self.services.limits().portal_bytes_max);
                let ask = Ask {
                    planned: &portal.planned,
                    values: &portal.values,
                    formats: &portal.formats,
                    wanted: limit.unwrap_or(u64::MAX),
                };
                (self.execute(ask, &mut kept).await?, kept)
            }
            PortalState::Suspended(mut kept, word) => {
                let sent = kept.give(limit.unwrap_or(u64::MAX), &mut self.out);
                (later(&portal.planned, word, sent), kept)
            }
            PortalState::Done(_) if !portal.planned.has_rows() => {
                let text = format!("portal \"{name}\" cannot be run");
                return Err(PgError::new("55000", text).into());
            }
            PortalState::Done(word) => (later(&portal.planned, word, 0), Kept::new(0)),
        };
        portal.state = PortalState::Done(ran.word);
        if ran.tag.is_empty() {
            write::empty(&mut self.out, b'I');
        } else if limit.is_some_and(|limit| limit == ran.sent) && ran.sent > 0 {
            portal.state = PortalState::Suspended(kept, ran.word);
            write::empty(&mut self.out, b's');
        } else {
            write::command_complete(&mut self.out, ran.tag.as_bytes());
        }
        Ok(())
    }

    /// Whether the statement at hand is all there is before the Sync: then MySQL's autocommit does.
    fn is_alone(&self) -> bool {
        if !self.block.is_none() {
            return false;
        }
        let mut rest = &self.client.buffer[..];
        while let Ok(Some(header)) = wire::header(rest) {
            match header.tag {
                b'S' => return true,
                b'C' | b'H' => rest = rest.get(header.size..).unwrap_or_default(),
                _ => return false,
            }
        }
        false
    }
}

/// A later part of a portal's rows.
fn later(planned: &Planned, word: &'static str, sent: u64) -> Ran {
    match planned {
        Planned::Verb(..) => Ran { tag: "SHOW".to_owned(), word, sent },
        _ => Ran { tag: format!("{word}{sent}"), word, sent },
    }
}

/// `S` or `P`, and a name.
fn target(body: &[u8]) -> Result<(u8, String), PgError> {
    let mut body = Body::new(body);
    let kind = body.byte().ok_or_else(short)?;
    let name = text_of(body.text().ok_or_else(short)?)?;
    match kind {
        b'S' | b'P' => Ok((kind, name)),
        kind => Err(PgError::new("08P01", format!("invalid message subtype {kind}"))),
    }
}
