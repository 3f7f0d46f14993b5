//! What is written into a column: a value's place, or an expression with the casts of an assignment.
//!
//! ```text
//! '2024-06-01T12:00+02' ──▶ a place for 10:00 UTC      lower($1) ──▶ LOWER(?1)      DEFAULT ──▶ its expression
//! ```
//!
//! Invariant: what MySQL stores is what PostgreSQL would store; a modifier that MySQL's column does not
//! have (digits of a second) is applied before.

use sqlparser::ast::Expr;

use crate::catalog::{Column, Table, TargetType};
use crate::dialect::literal::{assign, convert, parse};
use crate::dialect::program::{Form, Slot, Source, Text};
use crate::dialect::refuse::{Refused, unsupported};
use crate::dialect::translator::{Translator, is_null};
use crate::dialect::typed::{Node, Repr, Typed, fill};
use crate::dialect::types::Type;
use crate::value::{PgType, Value};

/// A cell of a row to be written.
#[derive(Clone, Debug)]
pub(super) struct Cell {
    pub(super) text: Text,
    /// Where its value is known before the text runs.
    pub(super) slot: Option<Slot>,
    /// The value as an expression of the column's type.
    pub(super) typed: Typed,
}

impl Translator<'_> {
    /// An expression as a column takes it.
    pub(super) fn assigned(&mut self, typed: Typed, column: &Column) -> Result<Cell, Refused> {
        let ty = Type::of(column);
        if column.target == TargetType::None {
            return Err(unsupported("a column that is not carried"));
        }
        let typed = match &typed.node {
            Node::Unknown(text) => {
                let value = assign(parse(text, &ty, &self.around)?, &ty)?;
                Typed::constant(value, ty.clone())
            }
            _ => self.resolve(typed, &ty)?,
        };
        if is_null(&typed) {
            return Ok(self.place(Source::Constant(Value::Null), &typed, &ty, column));
        }
        let typed = match typed.value() {
            Some(value) => match convert(value, &typed.ty, &ty.clone().plain())? {
                Some(value) => Typed::constant(assign(value, &ty)?, ty.clone()),
                None => typed,
            },
            None => typed,
        };
        let source = match typed.source() {
            Some(source @ Source::Constant(_)) if typed.ty.kind == ty.kind => Some(source),
            Some(
                source @ (Source::Parameter(_)
                | Source::Now
                | Source::Clock
                | Source::Uuid(_)
                | Source::Cell { .. }),
            ) if typed.ty.kind == ty.kind
                || typed.ty.is_integer() && (ty.is_integer() || ty.kind == PgType::Numeric)
                || typed.ty.is_text() && ty.is_text() =>
            {
                Some(source)
            }
            _ => None,
        };
        if let Some(source) = source {
            return Ok(self.place(source, &typed, &ty, column));
        }
        self.assigned_text(typed, &ty, column)
    }

    fn place(&self, source: Source, typed: &Typed, ty: &Type, column: &Column) -> Cell {
        let own = Type { typmod: ty.typmod, ..typed.ty.clone() };
        let own =
            if typed.ty.kind == ty.kind { Type { oid: ty.oid, ..own } } else { typed.ty.clone() };
        let own = if typed.is_unknown() { ty.clone() } else { own };
        let slot =
            Slot { source: source.clone(), ty: own, form: Form::Column(column.target.clone()) };
        let node = match source {
            Source::Constant(Value::Null) => Node::Null,
            Source::Constant(value) => Node::Constant(value),
            Source::Parameter(at) => Node::Parameter(at),
            other => Node::Source(other),
        };
        let typed = Typed { node, ty: ty.clone(), nullable: typed.nullable, repr: Repr::Plain };
        Cell { text: Text::value(slot.clone()), slot: Some(slot), typed }
    }

    /// An expression that MySQL works out.
    fn assigned_text(&mut self, typed: Typed, ty: &Type, column: &Column) -> Result<Cell, Refused> {
        let name = &column.name;
        let mismatch = |typed: &Typed| {
            let (own, theirs) = (ty.name(), typed.ty.name());
            let message =
                format!("column \"{name}\" is of type {own} but expression is of type {theirs}");
            Refused::error("42804", message)
        };
        let same = typed.ty.kind == ty.kind;
        let typed = if same || typed.ty.is_number() && ty.is_number() {
            typed
        } else if ty.is_text() && !matches!(typed.ty.kind, PgType::Array(_)) {
            let text = self.text_of(&typed)?;
            Typed::sql(text, ty.clone(), typed.nullable)
        } else if ty.is_time() && typed.ty.is_time()
            || ty.kind == PgType::Time && typed.ty.is_time()
        {
            self.cast(typed, &ty.clone().plain())?
        } else if ty.is_json() && typed.ty.is_json() {
            self.cast(typed, ty)?
        } else {
            return Err(mismatch(&typed));
        };
        let kept = typed.repr == Repr::Kept && !same;
        let odd_target = match (&column.target, &ty.kind) {
            (TargetType::UuidBinary, _) => typed.repr != Repr::Binary,
            (_, PgType::Uuid) => typed.repr == Repr::Binary,
            // A numeric kept as text has the digits that PostgreSQL would print.
            (TargetType::LongText | TargetType::VarChar { .. }, PgType::Numeric) => {
                !matches!(typed.repr, Repr::Scaled | Repr::Kept)
            }
            (_, PgType::Interval) => typed.repr != Repr::Kept,
            _ => false,
        };
        if kept || odd_target {
            return Err(unsupported(&format!("an expression for a column of type {}", ty.name())));
        }
        let mut text = self.text(&typed)?;
        let digits = ty.precision();
        if digits < 6 && digits < typed.ty.precision() {
            // MySQL's cast rounds, MariaDB's cuts.
            let half = 5 * 10_i64.pow(5 - digits.unsigned_abs());
            let template = match self.is_mysql() {
                true => format!("CAST({{0}} AS DATETIME({digits}))"),
                false => format!("CAST({{0}} + INTERVAL {half} MICROSECOND AS DATETIME({digits}))"),
            };
            text = fill(&template, &[text]);
        }
        let typed = Typed::sql(text.clone(), ty.clone(), typed.nullable).with_repr(typed.repr);
        Ok(Cell { text, slot: None, typed })
    }

    /// The default of a column; `None` where there is none. A sequence's next value is the caller's.
    pub(super) fn default_of(&mut self, column: &Column) -> Result<Option<Cell>, Refused> {
        let Some(text) = &column.default else { return Ok(None) };
        let expr = parse_expression(text).ok_or_else(|| unsupported("this column default"))?;
        let scopes = std::mem::take(&mut self.scopes);
        let grouping = self.grouping.take();
        let typed = self.expr(&expr);
        self.scopes = scopes;
        self.grouping = grouping;
        let typed = typed.map_err(|_| unsupported("this column default"))?;
        self.assigned(typed, column).map(Some)
    }
}

/// True where MySQL numbers the column by itself.
pub(super) fn is_counter(table: &Table, column: &Column) -> bool {
    crate::catalog::ddl::counter(table).is_some_and(|counter| counter.name == column.name)
}

/// One expression of PostgreSQL.
pub(super) fn parse_expression(text: &str) -> Option<Expr> {
    use sqlparser::dialect::PostgreSqlDialect;
    use sqlparser::parser::{Parser, ParserOptions};
    let options = ParserOptions::new().with_unescape(false);
    let mut parser =
        Parser::new(&PostgreSqlDialect {}).with_options(options).try_with_sql(text).ok()?;
    let expression = parser.parse_expr().ok()?;
    (parser.peek_token().token == sqlparser::tokenizer::Token::EOF).then_some(expression)
}
