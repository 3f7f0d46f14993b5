//! IN, ANY and ALL: of lists, subqueries and arrays.
//!
//! ```text
//! x = ANY($1)     ──▶ x IN (?, …), written at Bind        x = ANY(column) ──▶ JSON_CONTAINS(column, x)
//! x IN (SELECT … LIMIT 2) ──▶ x IN (SELECT * FROM (SELECT … LIMIT 2) AS t)
//! ```
//!
//! Invariant: an empty list or array is FALSE (TRUE for ALL), a NULL array NULL.

use sqlparser::ast::{BinaryOperator as Op, Expr, Query, SetExpr};

use crate::dialect::compare::{sign, strip};
use crate::dialect::expression::row;
use crate::dialect::names::parts;
use crate::dialect::program::{Piece, Source, Text};
use crate::dialect::refuse::{Refused, unsupported};
use crate::dialect::translator::Translator;
use crate::dialect::typed::{Node, Repr, Typed, around, fill, form_of, join};
use crate::dialect::types::{Type, common};
use crate::value::{PgType, TargetType, Value};

impl Translator<'_> {
    pub(super) fn in_list(
        &mut self,
        expr: &Expr,
        list: &[Expr],
        negated: bool,
    ) -> Result<Typed, Refused> {
        let left = self.expr(expr)?;
        let items: Vec<Typed> =
            list.iter().map(|item| self.expr(item)).collect::<Result<_, _>>()?;
        self.among(left, items, negated)
    }

    /// `left [NOT] IN (items)`.
    pub(super) fn among(
        &mut self,
        mut left: Typed,
        items: Vec<Typed>,
        negated: bool,
    ) -> Result<Typed, Refused> {
        if left.is_unknown() {
            let mut ty = Type::unknown();
            for item in &items {
                ty = common(&ty, &item.ty)?;
            }
            let ty = if ty.is_unknown() { Type::text() } else { ty };
            left = self.resolve(left, &ty)?;
        }
        let simple = |typed: &Typed| {
            !matches!(typed.node, Node::Row(_))
                && !matches!(typed.repr, Repr::Kept | Repr::Binary)
                && !typed.ty.is_time()
                && !matches!(
                    typed.ty.kind,
                    PgType::Citext
                        | PgType::Json
                        | PgType::Jsonb
                        | PgType::Array(_)
                        | PgType::Interval
                        | PgType::TimeTz
                )
        };
        let mut nullable = left.nullable;
        let mut texts = Vec::new();
        // Each comparison is that of its own two types: only where all are of one kind are they a list.
        let alike = |item: &Typed| {
            item.is_unknown()
                || item.ty.kind == left.ty.kind && item.ty.kind != PgType::Bpchar
                || item.ty.is_number() && left.ty.is_number()
        };
        let listed = simple(&left) && items.iter().all(alike);
        for item in items {
            nullable |= item.nullable;
            if listed {
                let (one, item) = self.matched(left.clone(), item, "=")?;
                if one.ty != left.ty {
                    left = one;
                }
                texts.push(self.text(&item)?);
            } else {
                let equal = self.compare(left.clone(), &Op::Eq, item)?;
                texts.push(self.text(&equal)?);
            }
        }
        let text = if listed {
            let not = if negated { "NOT IN" } else { "IN" };
            fill(&format!("({{0}} {not} ({{1}}))"), &[self.text(&left)?, join(texts, ", ")])
        } else {
            let not = if negated { "(NOT (" } else { "((" };
            around(not, join(texts, " OR "), "))")
        };
        Ok(Typed::sql(text, Type::bool(), nullable))
    }

    pub(super) fn in_subquery(
        &mut self,
        expr: &Expr,
        query: &Query,
        negated: bool,
    ) -> Result<Typed, Refused> {
        let left = self.expr(expr)?;
        let not = if negated { "NOT IN" } else { "IN" };
        self.with_subquery(left, not, "=", query)
    }

    /// `left IN (query)`, `left > ANY (query)`: `word` is what stands between.
    fn with_subquery(
        &mut self,
        left: Typed,
        word: &str,
        sign: &str,
        query: &Query,
    ) -> Result<Typed, Refused> {
        let output = self.query(query)?;
        let lefts = match left.node {
            Node::Row(items) => items,
            _ => vec![left],
        };
        if lefts.len() != output.columns.len() {
            return Err(Refused::error("42601", "subquery has too many columns"));
        }
        let mut settled = Vec::new();
        let mut nullable = false;
        for (left, column) in lefts.into_iter().zip(&output.columns) {
            let (left, right) = self.matched(left, column.typed.clone(), sign)?;
            nullable |= left.nullable || right.nullable;
            // Both sides as they are: the subquery's text is written already.
            let unlike = left.ty.kind != right.ty.kind
                && !(left.ty.is_number() && right.ty.is_number())
                && !(left.ty.is_time() && right.ty.is_time())
                || column.typed.ty.kind != right.ty.kind;
            let odd = matches!(
                left.ty.kind,
                PgType::Citext
                    | PgType::Json
                    | PgType::Jsonb
                    | PgType::Array(_)
                    | PgType::Interval
                    | PgType::TimeTz
            );
            let ordered = !matches!(sign, "=" | "<>")
                && matches!(left.ty.kind, PgType::Enum(_) | PgType::Text | PgType::Bpchar);
            let kept = [left.repr, column.typed.repr].contains(&Repr::Kept)
                || (left.repr == Repr::Binary) != (column.typed.repr == Repr::Binary);
            if unlike || odd || ordered || kept {
                return Err(unsupported(&format!("comparing {} with a subquery", left.ty.name())));
            }
            settled.push(left);
        }
        let left = if settled.len() == 1 { settled.remove(0) } else { row(settled) };
        let inner = if output.limited {
            let alias = self.new_alias();
            around("SELECT * FROM (", output.text, &format!(") AS `{alias}`"))
        } else {
            output.text
        };
        let text = fill(&format!("({{0}} {word} ({{1}}))"), &[self.text(&left)?, inner]);
        Ok(Typed::sql(text, Type::bool(), nullable))
    }

    /// `left op ANY (right)`, `left op ALL (right)`.
    pub(super) fn quantified(
        &mut self,
        left: &Expr,
        op: &Op,
        right: &Expr,
        all: bool,
    ) -> Result<Typed, Refused> {
        let left = self.expr(left)?;
        let sign = sign(op).ok_or_else(|| unsupported(&format!("{op} ANY or ALL")))?;
        let inner = strip(right);
        if let Expr::Subquery(query) = inner {
            let word = match (sign, all) {
                ("=", false) => "IN".to_owned(),
                ("<>", true) => "NOT IN".to_owned(),
                (sign, true) => format!("{sign} ALL"),
                (sign, false) => format!("{sign} ANY"),
            };
            return self.with_subquery(left, &word, sign, query);
        }
        // ARRAY(SELECT …) within ANY is the subquery itself.
        if let Some(query) = array_subquery(inner) {
            let word = match (sign, all) {
                ("=", false) => "IN",
                ("<>", true) => "NOT IN",
                _ => return Err(unsupported("ANY or ALL of ARRAY(SELECT …)")),
            };
            return self.with_subquery(left, word, sign, query);
        }
        let array = self.expr(inner)?;
        let array = self.array_beside(array, &left)?;
        let left = match array.ty.element() {
            Some(element) if left.is_unknown() => self.resolve(left, &element)?,
            _ => left,
        };
        let items = match (&array.node, array.value()) {
            (Node::List(items), _) => Some(items.clone()),
            (_, Some(Value::Array(values))) => {
                let element = array.ty.element().unwrap_or_else(Type::text);
                Some(
                    values
                        .elements
                        .iter()
                        .map(|v| Typed::constant(v.clone(), element.clone()))
                        .collect(),
                )
            }
            _ => None,
        };
        match (items, sign, all) {
            (Some(items), _, _) if items.is_empty() => {
                Ok(Typed::constant(Value::Bool(all), Type::bool()))
            }
            (Some(items), "=", false) => self.among(left, items, false),
            (Some(items), "<>", true) => self.among(left, items, true),
            (Some(items), _, _) => {
                let mut texts = Vec::new();
                for item in items {
                    let one = self.compare(left.clone(), op, item)?;
                    texts.push(self.text(&one)?);
                }
                let text = around("(", join(texts, if all { " AND " } else { " OR " }), ")");
                Ok(Typed::sql(text, Type::bool(), true))
            }
            (None, "=", false) => self.any_of(left, &array, false),
            (None, "<>", true) => self.any_of(left, &array, true),
            _ => Err(unsupported(&format!("{sign} ANY or ALL of an array"))),
        }
    }

    /// An array operand takes its type from the other side where it has none.
    fn array_beside(&mut self, array: Typed, left: &Typed) -> Result<Typed, Refused> {
        if !array.is_unknown() {
            return Ok(array);
        }
        let element = if left.is_unknown() { Type::text() } else { left.ty.clone().plain() };
        // varchar[] is found through text.
        let element = if element.oid == 1043 { Type::text() } else { element };
        let ty = crate::dialect::types::array_of(&element, self.around.catalog)?;
        self.resolve(array, &ty)
    }

    /// An array that is a parameter or a column.
    fn any_of(&mut self, left: Typed, array: &Typed, negated: bool) -> Result<Typed, Refused> {
        let Some(element) = array.ty.element() else {
            return Err(Refused::error("42809", "op ANY/ALL (array) requires array on right side"));
        };
        let (left, item) = self.matched(left, Typed::null(element.clone()), "=")?;
        if matches!(left.repr, Repr::Kept)
            || matches!(
                left.ty.kind,
                PgType::Citext | PgType::Json | PgType::Jsonb | PgType::Interval
            )
            || left.ty.is_text() && item.ty.kind != left.ty.kind
        {
            return Err(unsupported(&format!("{} = ANY of an array", left.ty.name())));
        }
        if let Some(source @ Source::Parameter(_)) = array.source() {
            let element = match left.repr {
                Repr::Binary => TargetType::UuidBinary,
                _ => form_of(&element, &source)?,
            };
            let left = Box::new(self.text(&left)?);
            let array_type = array.ty.clone();
            let any = Piece::Any { left, array: source, array_type, element, negated };
            return Ok(Typed::sql(Text(vec![any]), Type::bool(), true));
        }
        let value = crate::dialect::json::document(&left, self.flavor())?;
        let texts = [self.text(array)?, value, self.text(&left)?];
        let found = if negated { "FALSE" } else { "TRUE" };
        let missing = if negated { "TRUE" } else { "FALSE" };
        let template = format!(
            "(CASE WHEN {{0}} IS NULL OR {{2}} IS NULL THEN NULL WHEN JSON_CONTAINS({{0}}, {{1}}) \
             THEN {found} WHEN JSON_CONTAINS({{0}}, 'null') THEN NULL ELSE {missing} END)"
        );
        Ok(Typed::sql(fill(&template, &texts), Type::bool(), true))
    }
}

/// `ARRAY(SELECT …)`, which the parser reads as a function.
pub(super) fn array_subquery(expr: &Expr) -> Option<&Query> {
    let Expr::Function(function) = expr else { return None };
    let named = parts(&function.name).ok()?;
    match &function.args {
        sqlparser::ast::FunctionArguments::Subquery(query) if named == ["array"] => {
            matches!(&*query.body, SetExpr::Select(_) | SetExpr::SetOperation { .. })
                .then_some(query)
        }
        _ => None,
    }
}
