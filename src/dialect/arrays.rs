//! Arrays, which MySQL keeps as JSON arrays.
//!
//! ```text
//! tags[1] ──▶ JSON_EXTRACT(tags, '$[0]')        a @> b ──▶ JSON_CONTAINS(a, b), no NULL in b
//! ```
//!
//! Invariant: elements of one dimension only; what could have two is refused or gives NULL as in
//! PostgreSQL.

use sqlparser::ast::{Expr, Query};

use crate::dialect::program::{Source, Text};
use crate::dialect::refuse::{Refused, unsupported};
use crate::dialect::translator::Translator;
use crate::dialect::typed::{Node, Repr, Typed, fill};
use crate::dialect::types::{Type, array_of, common};
use crate::value::{PgType, Value};

impl Translator<'_> {
    pub(super) fn array_constructor(&mut self, items: Vec<Typed>) -> Result<Typed, Refused> {
        let mut ty = Type::unknown();
        for item in &items {
            ty = common(&ty, &item.ty)?;
        }
        if items.is_empty() {
            // ARRAY[] has no type before its cast.
            return Ok(Typed::unknown("{}".to_owned()));
        }
        let element = if ty.is_unknown() { Type::text() } else { ty.plain() };
        let items = items.into_iter().map(|item| self.implicit(item, &element));
        let items = items.collect::<Result<Vec<_>, _>>()?;
        let ty = array_of(&element, self.around.catalog)?;
        Ok(Typed { node: Node::List(items), ty, nullable: false, repr: Repr::Plain })
    }

    /// `ARRAY(SELECT …)` as a value.
    pub(super) fn array_of_query(&mut self, query: &Query) -> Result<Typed, Refused> {
        let output = self.query(query)?;
        let [column] = &output.columns[..] else {
            return Err(Refused::error("42601", "subquery must return only one column"));
        };
        if query.order_by.is_some() {
            return Err(unsupported("ARRAY(SELECT … ORDER BY …)"));
        }
        let ty = array_of(&column.typed.ty.clone().plain(), self.around.catalog)?;
        let alias = self.new_alias();
        let field = Typed {
            node: Node::Sql(Text::sql(format!(
                "`{alias}`.{}",
                crate::names::quote_mysql(&column.sql_name)
            ))),
            ..column.typed.clone()
        };
        let element = super::json::element_text(&field, self.flavor())?;
        let list = fill(
            &format!(
                "(SELECT CONCAT('[', COALESCE(GROUP_CONCAT(COALESCE({{0}}, 'null') SEPARATOR ', '), ''), ']') FROM ({{1}}) AS `{alias}`)"
            ),
            &[element, output.text],
        );
        let text = if self.is_mysql() { fill("CAST({0} AS JSON)", &[list]) } else { list };
        Ok(Typed::sql(text, ty, false))
    }

    /// An element's text or number out of its JSON.
    fn element_value(&self, text: Text, element: &Type) -> Result<Text, Refused> {
        let null = if self.is_mysql() { "CAST('null' AS JSON)" } else { "'null'" };
        let inner = format!("JSON_UNQUOTE(NULLIF({{0}}, {null}))");
        let unquoted = super::typed::json_text(&inner, self.flavor());
        let template = match &element.kind {
            PgType::Text | PgType::Uuid | PgType::Enum(_) | PgType::Name => unquoted,
            PgType::Int2 | PgType::Int4 | PgType::Int8 => format!("CAST({unquoted} AS SIGNED)"),
            PgType::Bool => format!("({unquoted} = 'true')"),
            _ => return Err(unsupported(&format!("an element of {}[]", element.name()))),
        };
        Ok(fill(&template, &[text]))
    }

    /// `a[n]`
    pub(super) fn subscript(&mut self, array: Typed, index: Typed) -> Result<Typed, Refused> {
        let Some(element) = array.ty.element() else {
            return Err(unsupported("a subscript of what is no array"));
        };
        let index = self.resolve(index, &Type::int4())?;
        let Some(Value::Int(index)) = index.value() else {
            return Err(unsupported("a subscript that is not a constant"));
        };
        if *index < 1 {
            return Ok(Typed::null(element));
        }
        let path = Typed::constant(Value::Int(index - 1), Type::int4());
        let path = super::program::Slot {
            source: Source::Constant(path.value().cloned().unwrap_or(Value::Null)),
            ty: Type::int4(),
            form: super::program::Form::PathStep,
        };
        let text = fill("JSON_EXTRACT({0}, {1})", &[self.text(&array)?, Text::value(path)]);
        // A subscript too few of two dimensions gives NULL.
        let kind = super::typed::json_text("JSON_TYPE({0})", self.flavor());
        let flat = fill(&format!("NULLIF({kind}, 'ARRAY')"), std::slice::from_ref(&text));
        let value = self.element_value(text, &element)?;
        Ok(Typed::sql(fill("IF({0} IS NULL, NULL, {1})", &[flat, value]), element, true))
    }

    /// `a[l:h]` with constant bounds.
    pub(super) fn slice(
        &mut self,
        array: &Typed,
        low: Option<&Expr>,
        high: Option<&Expr>,
    ) -> Result<Typed, Refused> {
        self.one_dimension(array)?;
        let mut bound = |expr: Option<&Expr>, otherwise: i64| -> Result<i64, Refused> {
            let Some(expr) = expr else { return Ok(otherwise) };
            let typed = self.expr(expr)?;
            match typed.value() {
                Some(Value::Int(bound)) => Ok(*bound),
                _ => Err(unsupported("a slice of an array by what is not a constant")),
            }
        };
        let (low, high) = (bound(low, 1)?.max(1), bound(high, i64::MAX)?);
        let text = self.text(array)?;
        let empty = if self.is_mysql() { "JSON_ARRAY()" } else { "'[]'" };
        let last = if high == i64::MAX { "last".to_owned() } else { (high - 1).to_string() };
        let part = if high < low {
            empty.to_owned()
        } else {
            format!("COALESCE(JSON_EXTRACT({{0}}, '$[{} to {last}]'), {empty})", low - 1)
        };
        let template = format!("IF({{0}} IS NULL, NULL, {part})");
        Ok(Typed::sql(fill(&template, &[text]), array.ty.clone(), array.nullable))
    }

    /// Both sides of an array operator with one type.
    fn arrays(&mut self, a: Typed, b: Typed) -> Result<(Typed, Typed), Refused> {
        let ty = if a.is_unknown() { b.ty.clone() } else { a.ty.clone() };
        let (a, b) = (self.resolve(a, &ty)?, self.resolve(b, &ty)?);
        let same = |a: &Type, b: &Type| match (a.element(), b.element()) {
            (Some(a), Some(b)) => a.kind == b.kind,
            _ => false,
        };
        if !same(&a.ty, &b.ty) {
            let message = format!("operator does not exist: {} and {}", a.ty.name(), b.ty.name());
            return Err(Refused::error("42883", message));
        }
        let plain = |ty: &Type| {
            ty.element().is_some_and(|e| {
                e.is_integer()
                    || matches!(
                        e.kind,
                        PgType::Text | PgType::Uuid | PgType::Enum(_) | PgType::Bool
                    )
            })
        };
        if !plain(&a.ty) {
            return Err(unsupported(&format!("operators of {}", a.ty.name())));
        }
        Ok((a, b))
    }

    /// No NULL is in it: JSON finds one, PostgreSQL does not.
    fn without_null(&self, typed: &Typed) -> Result<Option<Text>, Refused> {
        match typed.source() {
            Some(Source::Constant(Value::Array(array))) => {
                if array.dimensions.len() > 1 || array.elements.contains(&Value::Null) {
                    return Err(unsupported("an array operator with NULLs or two dimensions"));
                }
                Ok(None)
            }
            _ => {
                let text = self.text(typed)?;
                Ok(Some(fill("NOT JSON_CONTAINS({0}, 'null')", &[text])))
            }
        }
    }

    pub(super) fn array_contains(&mut self, a: Typed, b: Typed) -> Result<Typed, Refused> {
        let (a, b) = self.arrays(a, b)?;
        let nullable = a.nullable || b.nullable;
        let guard = self.without_null(&b)?;
        let texts = [self.text(&a)?, self.text(&b)?];
        let text = fill("JSON_CONTAINS({0}, {1})", &texts);
        let text = match guard {
            None => text,
            Some(guard) => fill("({0} AND {1})", &[text, guard]),
        };
        Ok(Typed::sql(text, Type::bool(), nullable))
    }

    pub(super) fn array_overlaps(&mut self, a: Typed, b: Typed) -> Result<Typed, Refused> {
        let (a, b) = self.arrays(a, b)?;
        let nullable = a.nullable || b.nullable;
        if self.without_null(&a)?.is_some() && self.without_null(&b)?.is_some() {
            return Err(unsupported("&& of two arrays that are not known"));
        }
        let texts = [self.text(&a)?, self.text(&b)?];
        Ok(Typed::sql(fill("JSON_OVERLAPS({0}, {1})", &texts), Type::bool(), nullable))
    }

    pub(super) fn array_concat(&mut self, a: Typed, b: Typed) -> Result<Typed, Refused> {
        let is_array = |typed: &Typed| matches!(typed.ty.kind, PgType::Array(_));
        match (is_array(&a), is_array(&b)) {
            (true, false) if !b.is_unknown() => self.array_append(a, b),
            (true, _) | (_, true) => {
                let (a, b) = self.arrays(a, b)?;
                let ty = a.ty.clone();
                // NULL || array is the array.
                let texts = [self.text(&a)?, self.text(&b)?];
                let empty = if self.is_mysql() { "JSON_ARRAY()" } else { "'[]'" };
                let side = |nullable: bool, at: usize| match nullable {
                    true => fill(&format!("COALESCE({{0}}, {empty})"), &texts[at..=at]),
                    false => texts[at].clone(),
                };
                let merged = fill(
                    "JSON_MERGE_PRESERVE({0}, {1})",
                    &[side(a.nullable, 0), side(b.nullable, 1)],
                );
                let both = a.nullable && b.nullable;
                let text = match both {
                    true => {
                        let parts = [texts[0].clone(), texts[1].clone(), merged];
                        fill("IF({0} IS NULL AND {1} IS NULL, NULL, {2})", &parts)
                    }
                    false => merged,
                };
                Ok(Typed::sql(text, ty, both))
            }
            _ => Err(unsupported("|| of arrays")),
        }
    }

    fn array_append(&mut self, array: Typed, item: Typed) -> Result<Typed, Refused> {
        let Some(element) = array.ty.element() else { return Err(unsupported("array_append")) };
        let item = self.implicit(item, &element)?;
        let value = super::json::element(&item, self.flavor())?;
        let empty = if self.is_mysql() { "JSON_ARRAY()" } else { "'[]'" };
        let base = self.text(&array)?;
        let base =
            if array.nullable { fill(&format!("COALESCE({{0}}, {empty})"), &[base]) } else { base };
        let text = fill("JSON_ARRAY_APPEND({0}, '$', {1})", &[base, value]);
        Ok(Typed::sql(text, array.ty, false))
    }

    /// Functions of arrays.
    pub(super) fn array_function(
        &mut self,
        name: &str,
        args: &[Typed],
    ) -> Result<Option<Typed>, Refused> {
        match (name, args) {
            ("array_append", [array, item]) => {
                self.array_append(array.clone(), item.clone()).map(Some)
            }
            ("array_cat", [a, b]) => self.array_concat(a.clone(), b.clone()).map(Some),
            ("cardinality", [array]) => {
                let text = self.text(array)?;
                self.one_dimension(array)?;
                Ok(Some(Typed::sql(
                    fill("JSON_LENGTH({0})", &[text]),
                    Type::int4(),
                    array.nullable,
                )))
            }
            ("array_length", [array, dimension]) => {
                self.one_dimension(array)?;
                let Some(Value::Int(1)) = dimension.value() else {
                    return Err(unsupported("array_length of another dimension"));
                };
                let text = self.text(array)?;
                Ok(Some(Typed::sql(
                    fill("NULLIF(JSON_LENGTH({0}), 0)", &[text]),
                    Type::int4(),
                    true,
                )))
            }
            ("array_position", [array, item]) => self.array_position(array, item),
            ("array_to_string", [array, separator]) => self.array_to_string(array, separator),
            _ => Ok(None),
        }
    }

    fn array_position(&mut self, array: &Typed, item: &Typed) -> Result<Option<Typed>, Refused> {
        self.one_dimension(array)?;
        let Some(element) = array.ty.element() else { return Ok(None) };
        let item = self.implicit(item.clone(), &element)?;
        if !matches!(element.kind, PgType::Text | PgType::Uuid | PgType::Enum(_)) {
            return Err(unsupported("array_position of this type"));
        }
        // The first of the list that is this text: as JSON_TABLE numbers them.
        let alias = self.new_alias();
        let bin = self.collation();
        let template = format!(
            "(SELECT MIN(`{alias}`.n) FROM JSON_TABLE({{0}}, '$[*]' COLUMNS (n FOR ORDINALITY, \
                     v LONGTEXT PATH '$')) AS `{alias}` WHERE `{alias}`.v COLLATE {bin} = {{1}})"
        );
        let texts = [self.text(array)?, self.text(&item)?];
        Ok(Some(Typed::sql(fill(&template, &texts), Type::int4(), true)))
    }

    fn array_to_string(
        &mut self,
        array: &Typed,
        separator: &Typed,
    ) -> Result<Option<Typed>, Refused> {
        self.one_dimension(array)?;
        let Node::Unknown(separator) = &separator.node else {
            return Err(unsupported("array_to_string with a separator that is not a literal"));
        };
        let plain = |c: char| c.is_ascii_alphanumeric() || ", ;:|/-_.+#@&=".contains(c);
        if !separator.chars().all(plain) {
            return Err(unsupported("array_to_string with this separator"));
        }
        let alias = self.new_alias();
        let bin = self.collation();
        let template = format!(
            "IF({{0}} IS NULL, NULL, (SELECT COALESCE(GROUP_CONCAT(`{alias}`.v ORDER BY `{alias}`.n SEPARATOR '{separator}'), '') \
                     FROM JSON_TABLE({{0}}, '$[*]' COLUMNS (n FOR ORDINALITY, v LONGTEXT PATH '$')) AS `{alias}`) COLLATE {bin})"
        );
        let text = self.text(array)?;
        Ok(Some(Typed::sql(fill(&template, &[text]), Type::text(), array.nullable)))
    }

    fn one_dimension(&self, array: &Typed) -> Result<(), Refused> {
        match array.ty.element().map(|element| element.kind) {
            Some(
                PgType::Text
                | PgType::Uuid
                | PgType::Enum(_)
                | PgType::Int2
                | PgType::Int4
                | PgType::Int8,
            ) => Ok(()),
            _ => Err(unsupported(&format!("functions of {}", array.ty.name()))),
        }
    }
}
