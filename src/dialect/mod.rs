//! A statement of PostgreSQL as a program for MySQL, with the types that PostgreSQL gives its results.
//!
//! ```text
//! tokens ──[`words`]──sqlparser──▶ AST ──[`translate`]──▶ Translated { parameters, columns, program }
//!                                          │
//!            catalogue: types, nullability, keys └──▶ Refused: 0A000 with the construct, or an
//!                                                     error that PostgreSQL would raise too
//! ```
//!
//! Types decide: `a / b` of integers is `DIV`, `a || b` of jsonb merges, `ORDER BY a` needs `a IS NULL`
//! in front if `a` can be NULL. So every expression is translated together with its PostgreSQL type.
//!
//! Invariant: a program gives what PostgreSQL would give, or there is none. Values of clients are places
//! in a text ([`program::Slot`]), never text.
//!
//! Not here: walking a program (`answer`), errors of MySQL, printing values.
//!
//! What a program relies on: the session settings of `backend::mysql::session`, `div_precision_increment`
//! 16 and `group_concat_max_len` at its largest; and that warnings 1365 (division by zero) and 1260
//! (`GROUP_CONCAT` cut) of a step are errors to whoever walks it.

mod aggregate;
mod arrays;
mod assign;
mod cast;
mod compare;
mod dates;
mod decimal;
mod delete;
mod expression;
mod from;
mod function;
mod insert;
mod json;
mod json_build;
mod label;
mod literal;
mod membership;
mod names;
mod operators;
mod order;
mod pinned;
pub mod program;
mod query;
mod refuse;
mod regex;
mod row_function;
mod scale;
mod scope;
mod select;
mod statement;
mod strings;
mod translator;
mod typed;
mod types;
mod update;
mod upsert;
mod window;
mod with;
mod words;

use crate::catalog::Catalog;
use crate::names::Oid;
use crate::value::Flavor;
use crate::value::style::Zone;

pub use literal::assign;
pub use program::Program;
pub use refuse::Refused;
pub use types::{Type, enum_name};

/// All that decides what a text means, beside the text.
#[derive(Clone, Copy, Debug)]
pub struct Surroundings<'a> {
    pub catalog: &'a Catalog,
    /// Schemas in which bare names are looked up, `$user` replaced.
    pub path: &'a [String],
    pub flavor: Flavor,
    /// The session's TimeZone. Conversions between timestamp and timestamptz need UTC.
    pub zone: Zone,
    /// Types that the client declared for `$1`, `$2`, …; 0 for none.
    pub declared: &'a [Oid],
}

#[derive(Clone, Debug)]
pub struct Translated {
    /// ParameterDescription.
    pub parameters: Vec<Type>,
    /// RowDescription; empty if the statement returns no rows.
    pub columns: Vec<ResultColumn>,
    pub program: Program,
    pub tag: Tag,
}

/// One column of the result.
///
/// Its values arrive as they do from a column of the type's [`crate::value::TargetType`], but for an
/// interval, which may also be an integer: microseconds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ResultColumn {
    pub name: String,
    pub ty: Type,
    /// Table and column of the catalogue, where it is one: RowDescription's first two numbers.
    pub origin: Option<(Oid, i16)>,
}

/// What CommandComplete says; all but SELECT's count is that of the writes that count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tag {
    Select,
    Insert,
    Update,
    Delete,
    Truncate,
}

/// For a statement as large as the parser lets through.
const STACK_BYTES: usize = 16 << 20;

/// Translates one statement.
///
/// # Errors
/// [`Refused`]: `0A000` where there is no exact translation, and errors of PostgreSQL's that are known
/// without running it.
pub fn translate(sql: &str, around: Surroundings<'_>) -> Result<Translated, Refused> {
    // A tree is gone through, copied and dropped by recursion: on a stack of its own.
    stacker::maybe_grow(STACK_BYTES / 2, STACK_BYTES, || {
        let statement = words::statement(sql, around)?;
        translator::Translator::new(around).statement(&statement)
    })
}

#[cfg(test)]
mod tests;
