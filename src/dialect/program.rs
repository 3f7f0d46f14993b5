//! What runs on MySQL for one statement of PostgreSQL: texts with places for values, and steps.
//!
//! ```text
//! SELECT                      Answer
//! UPDATE … RETURNING          Keep keys (FOR UPDATE) ─▶ Write by key ─▶ Answer by key
//! UPDATE … WHERE key = …      Write, its key pinned ─▶ Answer by key
//! INSERT … ON CONFLICT        Upsert { find key, insert, update by key } ─▶ Answer by key
//! WITH x AS (DELETE …) …      the inner steps, their rows kept ─▶ the outer ones, which read the kept rows
//! ```
//!
//! Whoever walks a program does so in one transaction. A *set* is rows that earlier steps kept, by
//! number.
//!
//! Invariant: no value of a client is ever part of a [`Piece::Sql`].

use std::sync::Arc;

use crate::catalog::Table;
use crate::change::Operation;
use crate::dialect::Type;
use crate::value::{TargetType, Value};

/// Steps in their order.
#[derive(Clone, Debug, Default)]
pub struct Program {
    pub steps: Vec<Step>,
    /// One text that does all of it, for whoever needs no keys: its count is the rows *matched*.
    pub direct: Option<Text>,
    /// Random UUIDs that the program needs: [`Source::Uuid`] counts up to here.
    pub uuids: usize,
    /// Sets that the program keeps.
    pub sets: usize,
}

impl Program {
    /// True where a table's rows can change.
    #[must_use]
    pub fn writes(&self) -> bool {
        self.steps.iter().any(Step::writes)
    }
}

impl Step {
    fn writes(&self) -> bool {
        match self {
            Self::Write(_) | Self::Upsert(_) => true,
            Self::Each { steps, .. } => steps.iter().any(Self::writes),
            Self::Answer(_) | Self::Keep { .. } | Self::FirstOfEach { .. } => false,
        }
    }
}

/// Rows that a step kept, by number.
pub type Set = usize;

#[derive(Clone, Debug)]
pub enum Step {
    /// The client's rows; where there are several answers, they follow one another.
    Answer(Answer),
    /// Runs a query and keeps its rows, all columns.
    Keep {
        set: Set,
        query: Text,
    },
    Write(Write),
    Upsert(Box<Upsert>),
    /// Runs the steps for each row of `set`; `row` holds that one row meanwhile.
    Each {
        set: Set,
        row: Set,
        steps: Vec<Self>,
    },
    /// Of rows whose first `width` columns are the same, only the first stays: a row that several others
    /// match is written once.
    FirstOfEach {
        set: Set,
        width: usize,
    },
}

#[derive(Clone, Debug)]
pub struct Answer {
    pub query: Text,
    /// The rows are brought into the order of this set's: the query's last columns are the key by which,
    /// compared with the set's first.
    pub order: Option<Set>,
    /// Columns at the end that are cut off.
    pub hidden: usize,
}

/// One INSERT, UPDATE or DELETE.
#[derive(Clone, Debug)]
pub struct Write {
    pub table: Arc<Table>,
    pub operation: Operation,
    pub text: Text,
    /// Keys of the rows that it writes, in the order of [`Table::key`].
    pub keys: Keys,
    /// The client's count is the number of these rows. In a statement within WITH it is not.
    pub counts: bool,
}

/// How the keys of the rows that a write touches are known.
#[derive(Clone, Debug)]
pub enum Keys {
    /// Kept before: the first columns of this set, as many as the key has.
    Kept(Set),
    /// At most one row, whose key these slots are: its own WHERE says so. Kept in `into` afterwards, if the
    /// write has found it.
    Pinned { key: Vec<Slot>, into: Set },
    /// As `Kept`, and the write changes the keys: the new ones are columns `to` of the set.
    Moved { set: Set, to: Vec<usize> },
    /// The rows inserted, each key as written in these slots; kept in `into` afterwards.
    Given { rows: Vec<Vec<Slot>>, into: Set },
    /// Rows inserted from a set: columns `at` of it are the key; kept in `into` afterwards.
    Copied { from: Set, at: Vec<usize>, into: Set },
    /// AUTO_INCREMENT: the first is LAST_INSERT_ID(), the others follow in steps of
    /// `@@auto_increment_increment`. As many as `rows`, or as the set has.
    Counted { rows: Rows, into: Set },
    /// A table without a key.
    None,
}

#[derive(Clone, Copy, Debug)]
pub enum Rows {
    Number(usize),
    Of(Set),
}

/// INSERT … ON CONFLICT of one row.
#[derive(Clone, Debug)]
pub struct Upsert {
    /// Finds and locks the row in conflict, and keeps its key in `found`. Without it (ON CONFLICT DO
    /// NOTHING for any key) only the insert's failure tells.
    pub find: Option<Text>,
    pub found: Set,
    /// Runs if nothing was found. Where it fails with 1062 by one of `arbiters`, it starts over;
    /// by any, if there is no `find`, the row is left out.
    pub insert: Write,
    /// Names of unique indexes in MySQL, `PRIMARY` among them, that are the conflict target.
    pub arbiters: Vec<String>,
    /// DO UPDATE, by the key in `found`.
    pub update: Option<Update>,
    /// Afterwards: the key of the row that was inserted or updated; empty if there is none.
    pub written: Set,
}

#[derive(Clone, Debug)]
pub struct Update {
    /// The WHERE of DO UPDATE: run before it; the row is left alone unless this answers 1.
    pub condition: Option<Text>,
    pub write: Write,
}

/// SQL for MySQL, and places for values.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Text(pub Vec<Piece>);

#[derive(Clone, Debug, PartialEq)]
pub enum Piece {
    Sql(String),
    /// One `?`.
    Value(Slot),
    /// `left IN (?, …)`, one for each element of an array that is known at Bind. No element: FALSE; a
    /// NULL array: NULL. With `negated`: `left NOT IN (…)`, TRUE for no element.
    Any {
        left: Box<Text>,
        array: Source,
        array_type: Type,
        element: TargetType,
        negated: bool,
    },
    /// `JSON_REMOVE(document, '$."a"', …)` for each key of an object that is known at Bind; the document
    /// alone where that has none, or is no object.
    WithoutKeys {
        document: Box<Text>,
        object: Source,
    },
    /// `(?, ?), (?, ?)`: columns `at` of each row of a set; `?, ?` if it is one column. A text with this of
    /// an empty set is not run: nothing can match.
    Keys {
        set: Set,
        at: Vec<usize>,
    },
    /// `left NOT IN (…)` of the first `width` columns of a set; TRUE if it is empty.
    Outside {
        left: Box<Text>,
        set: Set,
        width: usize,
    },
    /// `(?, ?), …`: all columns of each row, each in parentheses even if there is one; `extra` is added
    /// to each row's end. A text with this of an empty set is not run.
    Rows {
        set: Set,
        extra: Box<Text>,
    },
    /// `SELECT ? AS a, ? AS b UNION ALL SELECT ?, ?`: columns `at` of each row of a set, each
    /// `CAST(? AS type)` where a type is given; of an empty set, a SELECT without rows.
    Table {
        set: Set,
        at: Vec<usize>,
        columns: Vec<TableColumn>,
    },
}

#[derive(Clone, Debug, PartialEq)]
pub struct TableColumn {
    pub name: String,
    /// As CAST has it: `SIGNED`, `CHAR`, `DATETIME(6)`, `DECIMAL(65,30)`.
    pub cast: Option<String>,
}

/// One value's place.
#[derive(Clone, Debug, PartialEq)]
pub struct Slot {
    pub source: Source,
    /// The value's type in PostgreSQL. Its modifier is applied to the value as an assignment does
    /// ([`crate::dialect::assign`]).
    pub ty: Type,
    /// How it is written: as a column of this type would be.
    pub form: Form,
}

#[derive(Clone, Debug, PartialEq)]
pub enum Source {
    /// `$n`, counted from 0; decoded as the slot's type.
    Parameter(usize),
    Constant(Value),
    /// The transaction's time, a timestamptz.
    Now,
    /// The time at which the step runs, a timestamptz.
    Clock,
    /// A fresh random UUID; the same number is the same UUID throughout a program.
    Uuid(usize),
    /// A column of the one row of a set, as MySQL gave it: sent back as it is.
    Cell {
        set: Set,
        column: usize,
    },
    /// 1 where the upsert that fills this set (`found`) updated a row, 0 where it inserted one.
    Replaced(Set),
    /// Two arrays or more side by side, as one JSON array of arrays: unnest of several. `NULL` where one
    /// ends earlier.
    Zip(Vec<(Box<Self>, Type)>),
}

#[derive(Clone, Debug, PartialEq)]
pub enum Form {
    /// As [`Value::to_mysql`] writes it for such a column.
    Column(TargetType),
    /// A text or an integer that becomes a JSON path of one step: `$."key"`, `$[2]` (from the end if
    /// negative: `$[last-1]`).
    PathStep,
    /// An array of texts that becomes a JSON path of many steps: those of digits are positions *and*
    /// keys in PostgreSQL, which a path cannot be, so they are positions.
    Path,
    /// An interval as microseconds; one with months or days is refused (0A000), since they have no length.
    Micros,
    /// Seconds, days or months of an interval: `INTERVAL ? MONTH`.
    Months,
    Days,
    /// Microseconds of an interval, its months and days left out.
    ClockMicros,
    /// The number of LIMIT: NULL is no limit, a negative one is 2201W.
    Limit,
    /// That of OFFSET: NULL is 0, a negative one is 2201X.
    Offset,
}

impl Text {
    #[must_use]
    pub fn sql(text: impl Into<String>) -> Self {
        Self(vec![Piece::Sql(text.into())])
    }

    #[must_use]
    pub fn value(slot: Slot) -> Self {
        Self(vec![Piece::Value(slot)])
    }

    /// Appends SQL.
    pub fn push(&mut self, sql: &str) {
        match self.0.last_mut() {
            Some(Piece::Sql(last)) => last.push_str(sql),
            _ => self.0.push(Piece::Sql(sql.to_owned())),
        }
    }

    pub fn append(&mut self, other: Self) {
        for piece in other.0 {
            match piece {
                Piece::Sql(sql) => self.push(&sql),
                other => self.0.push(other),
            }
        }
    }

    /// True where it has no value in it that differs from run to run.
    #[must_use]
    pub fn is_fixed(&self) -> bool {
        self.0.iter().all(|piece| matches!(piece, Piece::Sql(_)))
    }
}

/// With `?` for values: for tests and messages that must not hold content.
impl std::fmt::Display for Text {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for piece in &self.0 {
            match piece {
                Piece::Sql(sql) => f.write_str(sql)?,
                Piece::Value(slot) => slot.fmt(f)?,
                Piece::Any { left, negated, .. } => {
                    write!(f, "{left} {}IN (?…)", if *negated { "NOT " } else { "" })?;
                }
                Piece::WithoutKeys { document, .. } => write!(f, "JSON_REMOVE({document}, ?…)")?,
                Piece::Keys { set, .. } => write!(f, "keys#{set}")?,
                Piece::Outside { left, set, .. } => write!(f, "{left} NOT IN (keys#{set})")?,
                Piece::Rows { set, extra } => write!(f, "rows#{set}{extra}")?,
                Piece::Table { set, .. } => write!(f, "table#{set}")?,
            }
        }
        Ok(())
    }
}

impl std::fmt::Display for Slot {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.source {
            Source::Parameter(at) => write!(f, "?{}", at + 1),
            Source::Constant(_) => f.write_str("?"),
            Source::Now => f.write_str("?now"),
            Source::Clock => f.write_str("?clock"),
            Source::Uuid(at) => write!(f, "?uuid{at}"),
            Source::Cell { set, column } => write!(f, "?{set}.{column}"),
            Source::Replaced(set) => write!(f, "?replaced{set}"),
            Source::Zip(_) => f.write_str("?zip"),
        }
    }
}
