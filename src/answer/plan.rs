//! What becomes of a statement while MySQL answers.
//!
//! ```text
//! text ──split──▶ verb (the session answers) │ known (the kept catalogue answers) │ program (MySQL does)
//! ```
//!
//! Invariant: a plan is a pure function of the text, the declared types and its [`Ground`], so that one may
//! be kept for all sessions.

use std::sync::Arc;

use quick_cache::sync::Cache;

use crate::answer::error::PgError;
use crate::answer::known::{Known, column_of};
use crate::answer::settings::spelled;
use crate::answer::verbs::Verb;
use crate::catalog::Catalog;
use crate::dialect::{self, ResultColumn, Surroundings, Tag, Translated, Type};
use crate::names::Oid;
use crate::sql::lexer::{Lexer, Token, split};
use crate::value::Flavor;
use crate::value::style::Zone;

/// What a plan stands on, beside its text.
#[derive(Debug)]
pub(super) struct Ground {
    pub(super) catalog: Arc<Catalog>,
    /// Schemas in which bare names are looked up.
    pub(super) path: Vec<String>,
    pub(super) zone: Zone,
    pub(super) flavor: Flavor,
}

impl Ground {
    /// Whether plans made on the other hold here.
    pub(super) fn is(&self, other: &Self) -> bool {
        self.has(&other.catalog, &other.path, other.zone)
    }

    pub(super) fn has(&self, catalog: &Arc<Catalog>, path: &[String], zone: Zone) -> bool {
        Arc::ptr_eq(&self.catalog, catalog) && self.path == path && self.zone == zone
    }
}

#[derive(Debug)]
pub(super) enum Planned {
    /// Nothing but blanks and comments.
    Empty,
    /// With the columns that it answers.
    Verb(Verb, Vec<ResultColumn>),
    Known(Known),
    Program(Box<Translated>),
}

impl Planned {
    /// RowDescription; none where there are no rows.
    pub(super) fn columns(&self) -> &[ResultColumn] {
        match self {
            Self::Empty => &[],
            Self::Verb(_, columns) => columns,
            Self::Known(known) => &known.columns,
            Self::Program(translated) => &translated.columns,
        }
    }

    /// True where it has a RowDescription, though it may be one of no columns.
    pub(super) fn has_rows(&self) -> bool {
        match self {
            Self::Program(translated) if translated.tag == Tag::Select => true,
            _ => !self.columns().is_empty(),
        }
    }

    pub(super) fn parameters(&self) -> &[Type] {
        match self {
            Self::Empty | Self::Verb(..) => &[],
            Self::Known(known) => &known.parameters,
            Self::Program(translated) => &translated.parameters,
        }
    }

    /// As `statements_total` tells them apart; nothing for an empty query.
    pub(super) fn kind(&self) -> Option<&'static str> {
        match self {
            Self::Empty => None,
            Self::Verb(..) => Some("other"),
            Self::Known(_) => Some("read"),
            Self::Program(translated) if translated.program.writes() => Some("write"),
            Self::Program(_) => Some("read"),
        }
    }

    /// What ends a transaction is let through where it has failed.
    pub(super) fn ends_transaction(&self) -> bool {
        matches!(
            self,
            Self::Verb(Verb::Commit { .. } | Verb::Rollback { .. } | Verb::RollbackTo(_), _)
        )
    }
}

/// The statements of a query string, as texts.
pub(super) fn statements(sql: &str) -> Vec<&str> {
    let tokens: Vec<Token> = Lexer::new(sql.as_bytes()).collect();
    let text =
        |range: std::ops::Range<usize>| &sql[tokens[range.start].start..tokens[range.end - 1].end];
    split(sql.as_bytes(), &tokens).into_iter().map(text).collect()
}

/// Longer texts are planned each time: the cache is bounded in bytes, too.
const TEXT_BYTES_MAX: usize = 16 << 10;

/// Plans of all sessions, by text.
#[derive(Debug)]
pub struct Plans(Cache<Key, (Arc<Catalog>, Arc<Planned>)>);

/// A catalogue is known by its address, which stays its own while a plan made on it is kept.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Key {
    sql: String,
    declared: Vec<Oid>,
    path: Vec<String>,
    zone: String,
    catalog: usize,
    flavor: Flavor,
}

impl Plans {
    #[must_use]
    pub fn new(plans_max: usize) -> Self {
        Self(Cache::new(plans_max.max(1)))
    }

    /// The plan of one statement.
    pub(super) fn plan(
        &self,
        sql: &str,
        declared: &[Oid],
        ground: &Ground,
    ) -> Result<Arc<Planned>, PgError> {
        let key = Key {
            sql: sql.to_owned(),
            declared: declared.to_vec(),
            path: ground.path.clone(),
            zone: ground.zone.name(),
            catalog: Arc::as_ptr(&ground.catalog) as usize,
            flavor: ground.flavor,
        };
        if let Some((_, planned)) = self.0.get(&key) {
            return Ok(planned);
        }
        let planned = Arc::new(plan(sql, declared, ground)?);
        if TEXT_BYTES_MAX < sql.len() {
            return Ok(planned);
        }
        self.0.insert(key, (Arc::clone(&ground.catalog), Arc::clone(&planned)));
        Ok(planned)
    }
}

/// The columns of SHOW.
fn shown(verb: &Verb) -> Vec<ResultColumn> {
    let names: Vec<&str> = match verb {
        Verb::Show(name) => vec![spelled(name)],
        Verb::ShowAll => vec!["name", "setting", "description"],
        _ => Vec::new(),
    };
    names.into_iter().map(|name| column_of(name, "text")).collect()
}

fn plan(sql: &str, declared: &[Oid], ground: &Ground) -> Result<Planned, PgError> {
    let tokens: Vec<Token> = Lexer::new(sql.as_bytes()).collect();
    if tokens.is_empty() {
        return Ok(Planned::Empty);
    }
    if let Some(verb) = Verb::of(sql, &tokens)? {
        let columns = shown(&verb);
        return Ok(Planned::Verb(verb, columns));
    }
    if let Some(known) = Known::of(sql, &tokens) {
        return Ok(Planned::Known(known));
    }
    let around = Surroundings {
        catalog: &ground.catalog,
        path: &ground.path,
        flavor: ground.flavor,
        zone: ground.zone,
        declared,
    };
    Ok(Planned::Program(Box::new(dialect::translate(sql, around)?)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_query_string_is_cut_into_its_statements() {
        assert_eq!(statements("SELECT ';' ; ; BEGIN;"), ["SELECT ';'", "BEGIN"]);
        assert!(statements(" -- nothing\n ;").is_empty());
    }
}
