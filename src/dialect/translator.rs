//! What a translation carries along: scopes, parameters' types, sets and UUIDs that the program needs.
//!
//! Invariant: a parameter gets its type once, from the first place that wants one, as in PostgreSQL.

use sqlparser::ast::Expr;

use crate::dialect::program::{Set, Text};
use crate::dialect::refuse::{Refused, unsupported};
use crate::dialect::scope::{Cte, Scope};
use crate::dialect::typed::{Node, Typed, render};
use crate::dialect::types::{self, Type};
use crate::dialect::{Surroundings, literal};
use crate::names::Oid;
use crate::value::{Flavor, Value};

/// Parameters that one statement may have, as the protocol counts them.
const PARAMETERS_MAX: usize = 65_535;

/// Nesting past which an expression is refused: it would take more stack than a task has. Chains of AND
/// and OR are no nesting.
const DEPTH_MAX: usize = 120;
/// Stack that one level may need; where less is left, more is had.
const STACK_LEFT: usize = 512 << 10;
const STACK_MORE: usize = 4 << 20;
/// What a query within an expression counts as.
pub(super) const QUERY_DEPTH: usize = 8;
/// Branches of one set operation.
pub(super) const BRANCHES_MAX: usize = 64;

#[derive(Debug)]
pub(super) struct Translator<'a> {
    pub(super) around: Surroundings<'a>,
    pub(super) parameters: Vec<Option<Type>>,
    pub(super) scopes: Vec<Scope>,
    pub(super) ctes: Vec<Cte>,
    pub(super) sets: usize,
    pub(super) uuids: usize,
    /// Names given to derived tables of our own.
    pub(super) aliases: usize,
    pub(super) grouping: Option<Grouping>,
    /// Rows of tables that this statement's own WITH inserted: the rest does not see them.
    pub(super) hidden: Vec<(Oid, Hidden)>,
    /// How deep the expression at hand is; a query counts as [`QUERY_DEPTH`].
    pub(super) depth: usize,
    /// Where `DEFAULT` and `gen_random_uuid()` are one value for a row, not SQL.
    pub(super) slots: bool,
}

/// What a reference to a table that WITH writes means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Hidden {
    /// Rows of this set were inserted.
    Inserted(Set),
    /// Rows were updated in columns that no unique index looks at: what is inserted afterwards meets
    /// the same keys as it would if both happened at once.
    Updated,
    Changed,
}

/// The GROUP BY of the query whose expressions are being translated.
#[derive(Clone, Debug)]
pub(super) struct Grouping {
    pub(super) expressions: Vec<Expr>,
    pub(super) texts: Vec<Text>,
    /// Scopes below it belong to outer queries.
    pub(super) depth: usize,
    /// Within an aggregate, or a grouped expression.
    pub(super) inside: bool,
}

impl<'a> Translator<'a> {
    pub(super) fn new(around: Surroundings<'a>) -> Self {
        let declared = around.declared.iter().map(|oid| types::by_oid(*oid, around.catalog));
        Self {
            around,
            parameters: declared.collect(),
            scopes: Vec::new(),
            ctes: Vec::new(),
            sets: 0,
            uuids: 0,
            aliases: 0,
            grouping: None,
            hidden: Vec::new(),
            depth: 0,
            slots: false,
        }
    }

    /// Runs one level deeper.
    pub(super) fn deeper<T>(
        &mut self,
        levels: usize,
        run: impl FnOnce(&mut Self) -> Result<T, Refused>,
    ) -> Result<T, Refused> {
        self.depth += levels;
        let result = if self.depth > DEPTH_MAX {
            Err(unsupported("a statement nested so deeply"))
        } else {
            stacker::maybe_grow(STACK_LEFT, STACK_MORE, || run(self))
        };
        self.depth -= levels;
        result
    }

    pub(super) fn flavor(&self) -> Flavor {
        self.around.flavor
    }

    pub(super) fn is_mysql(&self) -> bool {
        self.around.flavor == Flavor::MySql
    }

    /// The collation by which text compares as PostgreSQL's does.
    pub(super) fn collation(&self) -> &'static str {
        crate::dialect::typed::collation(self.around.flavor)
    }

    pub(super) fn new_set(&mut self) -> Set {
        self.sets += 1;
        self.sets - 1
    }

    pub(super) fn new_alias(&mut self) -> String {
        self.aliases += 1;
        format!("cf_{}", self.aliases)
    }

    pub(super) fn needs_utc(&self, what: &str) -> Result<(), Refused> {
        match self.around.zone {
            zone if zone.is_utc() => Ok(()),
            _ => Err(unsupported(&format!("{what} under a TimeZone other than UTC"))),
        }
    }

    pub(super) fn text(&self, typed: &Typed) -> Result<Text, Refused> {
        render(typed, self.around.flavor)
    }

    /// `$n`, counted from 1.
    pub(super) fn parameter(&mut self, placeholder: &str) -> Result<Typed, Refused> {
        let number: usize = placeholder
            .strip_prefix('$')
            .and_then(|digits| digits.parse().ok())
            .filter(|number| (1..=PARAMETERS_MAX).contains(number))
            .ok_or_else(|| Refused::error("42P02", "there is no such parameter"))?;
        if self.parameters.len() < number {
            self.parameters.resize(number, None);
        }
        let ty = self.parameters[number - 1].clone().unwrap_or_else(Type::unknown);
        let repr = crate::dialect::typed::Repr::Plain;
        Ok(Typed { node: Node::Parameter(number - 1), ty, nullable: true, repr })
    }

    /// Gives what has no type yet this one; leaves everything else.
    pub(super) fn resolve(&mut self, typed: Typed, ty: &Type) -> Result<Typed, Refused> {
        if !typed.is_unknown() {
            return Ok(typed);
        }
        match typed.node {
            Node::Unknown(text) => {
                let value = literal::read(&text, ty, &self.around)?;
                Ok(Typed::constant(value, ty.clone()))
            }
            Node::Parameter(at) => {
                let known = self.parameters[at].get_or_insert_with(|| ty.clone().plain()).clone();
                Ok(Typed { ty: known, ..typed })
            }
            Node::Null => Ok(Typed::null(ty.clone())),
            // A column of a derived table that has no type is text, as at the top.
            Node::Sql(_) | Node::Constant(_) | Node::Source(_) | Node::List(_) | Node::Row(_) => {
                Err(unsupported("a value whose type is not known"))
            }
        }
    }

    /// What has no type by now is text.
    pub(super) fn settle(&mut self, typed: Typed) -> Result<Typed, Refused> {
        self.resolve(typed, &Type::text())
    }
}

/// True for a constant without a value.
pub(super) fn is_null(typed: &Typed) -> bool {
    matches!(typed.node, Node::Null | Node::Constant(Value::Null))
}
