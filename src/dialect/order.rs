//! The order of rows, and the locks on them.
//!
//! ```text
//! ORDER BY a DESC (a may be NULL) ──▶ a IS NULL DESC, a DESC        citext ──▶ LOWER(c COLLATE …_bin)
//! FOR NO KEY UPDATE OF t NOWAIT   ──▶ FOR UPDATE OF t NOWAIT; on MariaDB without OF
//! ```
//!
//! Invariant: a value is sorted by only where MySQL's order of it is PostgreSQL's.

use sqlparser::ast::{LockClause, LockType, NonBlock, OrderByExpr, OrderBySort, Select};

use crate::dialect::names::parts;
use crate::dialect::program::Text;
use crate::dialect::refuse::{Refused, unsupported};
use crate::dialect::translator::Translator;
use crate::dialect::typed::{Repr, Typed, around, fill};
use crate::names::quote_mysql;
use crate::value::PgType;

impl Translator<'_> {
    /// What MySQL sorts by to get PostgreSQL's order, NULLs last unless told otherwise.
    pub(super) fn sort_keys(
        &mut self,
        typed: &Typed,
        item: &OrderByExpr,
    ) -> Result<Vec<Text>, Refused> {
        let descending = match &item.options.sort {
            None | Some(OrderBySort::Asc) => false,
            Some(OrderBySort::Desc) => true,
            Some(OrderBySort::Using(_)) => return Err(unsupported("ORDER BY … USING")),
        };
        if item.with_fill.is_some() {
            return Err(unsupported("ORDER BY … WITH FILL"));
        }
        let nulls_first = item.options.nulls_first.unwrap_or(descending);
        let text = self.sortable(typed)?;
        let mut keys = Vec::new();
        // MySQL's own: NULL is the least.
        if typed.nullable && nulls_first == descending {
            let direction = if nulls_first { " DESC" } else { "" };
            keys.push(around("", text.clone(), &format!(" IS NULL{direction}")));
        }
        keys.push(around("", text, if descending { " DESC" } else { "" }));
        Ok(keys)
    }

    fn sortable(&mut self, typed: &Typed) -> Result<Text, Refused> {
        let ty = &typed.ty;
        let odd = || unsupported(&format!("ORDER BY {}", ty.name()));
        if typed.repr == Repr::Kept {
            return Err(odd());
        }
        match &ty.kind {
            PgType::Text | PgType::Bpchar | PgType::Name => {
                self.needs_binary_order()?;
                self.text(typed)
            }
            PgType::Citext => {
                self.needs_binary_order()?;
                let bin = self.collation();
                Ok(fill(&format!("LOWER({{0}} COLLATE {bin})"), &[self.text(typed)?]))
            }
            PgType::Enum(_) if typed.repr == Repr::Enum => self.text(typed),
            PgType::Enum(_) => self.position(typed),
            PgType::Interval if matches!(typed.repr, Repr::Micros | Repr::Span | Repr::Days) => {
                self.text(typed)
            }
            PgType::Bool | PgType::Uuid | PgType::Bytea | PgType::Time | PgType::Oid => {
                self.text(typed)
            }
            _ if ty.is_number() || ty.is_time() => self.text(typed),
            _ => Err(odd()),
        }
    }

    pub(super) fn locks(&self, locks: &[LockClause], select: &Select) -> Result<String, Refused> {
        let [lock] = locks else {
            return if locks.is_empty() {
                Ok(String::new())
            } else {
                Err(unsupported("several locks of rows"))
            };
        };
        if select.distinct.is_some() || self.grouping.is_some() {
            return Err(Refused::error(
                "0A000",
                "FOR UPDATE is not allowed with GROUP BY, DISTINCT or aggregates",
            ));
        }
        let mut text = match (&lock.lock_type, self.is_mysql()) {
            (LockType::Update, _) => " FOR UPDATE".to_owned(),
            (LockType::Share, true) => " FOR SHARE".to_owned(),
            (LockType::Share, false) => " LOCK IN SHARE MODE".to_owned(),
        };
        // MariaDB locks the rows of all tables then, which is more and not less.
        if let (Some(of), true) = (&lock.of, self.is_mysql()) {
            let alias = parts(of)?.pop().unwrap_or_default();
            text += &format!(" OF {}", quote_mysql(&alias));
        }
        match &lock.nonblock {
            None => {}
            Some(NonBlock::Nowait) => text += " NOWAIT",
            Some(NonBlock::SkipLocked) => text += " SKIP LOCKED",
        }
        Ok(text)
    }
}
