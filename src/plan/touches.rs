//! Which tables a statement names, as far as it matters who leads them and what moves with what.
//!
//! ```text
//! tokens ──tree, or words where there is none──▶ names ──catalogue──▶ [`Touches`] ──▶ session, crossing, seen
//! ```
//!
//! Invariant: a table that the statement reads or writes by its name is never missed; one may be counted
//! that it does not use (a name that a WITH list takes, a word of a text that has no tree).

use std::ops::ControlFlow;

use sqlparser::ast::{Ident, ObjectName, ObjectNamePart, Visit as _, Visitor};

use super::resolve::{Names, Target, Written};
use crate::catalog::{Capture, Catalog, Table};
use crate::names::Oid;
use crate::sql::lexer::Token;
use crate::sql::parse::parse;

/// Statements whose tree names every table.
const READ_AS_TREES: [&str; 6] = ["SELECT", "WITH", "VALUES", "INSERT", "UPDATE", "DELETE"];
/// Groups that are told apart; those past it count as one.
const GROUPS_MAX: usize = 62;
/// Stands for tables of no group.
const NONE: u64 = 1;

/// What a statement, or a transaction, names.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Touches {
    /// A bit for each group, by its place in the catalogue plus one; the lowest for tables of none.
    groups: u64,
    /// Tables that are led where the statement is, or by nobody.
    pub here: bool,
    /// Tables that the other database leads.
    pub elsewhere: bool,
}

impl Touches {
    /// Both together.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        Self {
            groups: self.groups | other.groups,
            here: self.here || other.here,
            elsewhere: self.elsewhere || other.elsewhere,
        }
    }

    /// True where a group's tables are named together with others.
    #[must_use]
    pub fn crosses(self) -> bool {
        1 < self.groups.count_ones()
    }

    /// The groups, in the catalogue's order; an empty name stands for tables of none.
    pub fn names(self, catalog: &Catalog) -> impl Iterator<Item = &str> {
        let named = move |(at, name)| (self.groups >> at & 1 == 1).then_some(name);
        let groups = catalog.groups.iter().map(|group| group.name.as_str());
        std::iter::once("").chain(groups).take(GROUPS_MAX + 2).enumerate().filter_map(named)
    }
}

/// What one statement names; nothing where all tables move together.
pub(super) fn touches(sql: &str, tokens: &[Token], names: Names<'_>) -> Touches {
    if names.catalog.groups.is_empty() && !names.catalog.parted {
        return Touches::default();
    }
    let mut found = Found { names, touches: Touches::default() };
    let is_tree = tokens
        .first()
        .is_some_and(|first| READ_AS_TREES.iter().any(|word| first.is(sql.as_bytes(), word)));
    match is_tree.then(|| parse(sql, tokens)) {
        Some(Ok(statement)) => drop(statement.visit(&mut found)),
        _ => found.words(sql, tokens),
    }
    found.touches
}

struct Found<'a> {
    names: Names<'a>,
    touches: Touches,
}

impl Found<'_> {
    fn name(&mut self, written: &Written) {
        match self.names.resolve(written) {
            Target::Table(table) => self.table(&table),
            Target::View(Some(below)) => below.iter().for_each(|table| self.table(table)),
            Target::Ambiguous(several) => several.iter().for_each(|table| self.table(table)),
            // A view that may do anything is not led elsewhere, and is of no group.
            Target::View(None) => self.other(),
            Target::Nothing => {}
        }
    }

    fn table(&mut self, table: &Table) {
        self.touches.groups |= self.bit(table.oid);
        match table.capture {
            Capture::Elsewhere => self.touches.elsewhere = true,
            _ => self.touches.here = true,
        }
    }

    fn other(&mut self) {
        self.touches.groups |= NONE;
        self.touches.here = true;
    }

    fn bit(&self, oid: Oid) -> u64 {
        let group = self.names.catalog.group_of(oid);
        group.map_or(NONE, |at| 1 << (at.min(GROUPS_MAX) + 1))
    }

    /// Every word that is a table's name.
    fn words(&mut self, sql: &str, tokens: &[Token]) {
        for token in tokens {
            if let Some(name) = token.identifier(sql.as_bytes()) {
                self.name(&Written { schema: None, name });
            }
        }
    }
}

impl Visitor for Found<'_> {
    type Break = ();

    fn pre_visit_relation(&mut self, relation: &ObjectName) -> ControlFlow<()> {
        let folded = |ident: &Ident| match ident.quote_style {
            Some(_) => ident.value.clone(),
            None => ident.value.to_ascii_lowercase(),
        };
        let part = |part: &ObjectNamePart| part.as_ident().map(folded);
        let parts: Vec<String> = relation.0.iter().filter_map(part).collect();
        if let [.., name] = &parts[..] {
            let schema = parts.len().checked_sub(2).map(|at| parts[at].clone());
            self.name(&Written { schema, name: name.clone() });
        }
        ControlFlow::Continue(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalog::Group;
    use crate::plan::SearchPath;
    use crate::sql::lexer::Lexer;

    fn divided() -> Catalog {
        let tables = ["users", "sessions", "codes", "logs"].map(|name| (name, "id:int4*"));
        let mut catalog = Catalog::for_test(&tables);
        let oid = |name: &str| catalog.relations[name][0].oid;
        let logins = Group { name: "logins".into(), tables: vec![oid("sessions"), oid("codes")] };
        let audit = Group { name: "audit".into(), tables: vec![oid("logs")] };
        catalog.groups = vec![logins, audit];
        catalog
    }

    fn of(sql: &str, catalog: &Catalog) -> Touches {
        let tokens: Vec<_> = Lexer::new(sql.as_bytes()).collect();
        let path = SearchPath::Known(vec!["public".into()]);
        touches(sql, &tokens, Names { catalog, path: &path })
    }

    #[track_caller]
    fn names(sql: &str, expected: &[&str]) {
        let catalog = divided();
        let found = of(sql, &catalog);
        assert_eq!(found.names(&catalog).collect::<Vec<_>>(), expected, "{sql}");
        assert_eq!(found.crosses(), 1 < expected.len(), "{sql}");
    }

    #[test]
    fn every_table_is_found_wherever_it_stands() {
        names("SELECT 1", &[]);
        names("SELECT * FROM sessions s JOIN public.codes c ON c.id = s.id", &["logins"]);
        names("SELECT (SELECT count(*) FROM \"logs\") FROM Users", &["", "audit"]);
        names("INSERT INTO sessions SELECT * FROM users", &["", "logins"]);
        names("UPDATE users SET a = 1 FROM sessions WHERE users.id = sessions.id", &["", "logins"]);
        names("DELETE FROM logs USING users WHERE true", &["", "audit"]);
        names("WITH gone AS (DELETE FROM codes RETURNING *) SELECT * FROM gone", &["logins"]);
        names("SELECT 1 WHERE EXISTS (SELECT FROM logs)", &["audit"]);
        names("INSERT INTO logs VALUES (1) ON CONFLICT DO NOTHING RETURNING *", &["audit"]);
    }

    #[test]
    fn what_has_no_tree_is_read_by_its_words() {
        names("TRUNCATE sessions, users", &["", "logins"]);
        names("COPY logs FROM STDIN", &["audit"]);
        names("LOCK TABLE public.codes", &["logins"]);
        names("SELECT ) FROM users", &[""]);
        names("SET search_path = public", &[]);
        names("BEGIN", &[]);
    }

    #[test]
    fn who_leads_is_told_apart() {
        let whole = divided();
        let part = whole.without(|table| whole.group_of(table.oid) == Some(0));
        assert_eq!(
            of("SELECT * FROM users", &part),
            Touches { groups: 1, here: true, elsewhere: false }
        );
        let sessions = of("SELECT * FROM sessions", &part);
        assert!(sessions.elsewhere && !sessions.here);
        let both = of("SELECT * FROM sessions, logs", &part);
        assert!(both.elsewhere && both.here && both.crosses());
    }
}
