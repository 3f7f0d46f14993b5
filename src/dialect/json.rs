//! json and jsonb: steps, containment, building; and what a value is as JSON.
//!
//! ```text
//! j->'k'   ──▶ JSON_EXTRACT(j, '$."k"')               j->0 ──▶ only if j is an array: MySQL wraps others
//! j->>'k'  ──▶ the same, JSON null as NULL, unquoted, and in the columns' collation
//! a || b   ──▶ JSON_MERGE_PRESERVE(a without b's keys, b)
//! ```
//!
//! Invariant: keys and positions are values bound as paths ([`Form::PathStep`]); no key is ever text.

use sqlparser::ast::BinaryOperator as Op;

use crate::dialect::cast::timestamp_text;
use crate::dialect::program::{Form, Piece, Slot, Source, Text};
use crate::dialect::refuse::{Refused, unsupported};
use crate::dialect::translator::Translator;
use crate::dialect::typed::{Node, Repr, Typed, fill, join, json_text, render};
use crate::dialect::types::Type;
use crate::value::{Flavor, PgType, TargetType, Value};

/// A path of one step.
fn step(source: Source, ty: Type) -> Text {
    Text::value(Slot { source, ty, form: Form::PathStep })
}

fn key(name: &str) -> Text {
    step(Source::Constant(Value::Text(name.to_owned())), Type::text())
}

fn at(index: i64) -> Text {
    step(Source::Constant(Value::Int(index)), Type::int4())
}

/// A value as an element of a JSON array that JSON_ARRAY makes: strings and numbers as they are.
pub(super) fn element(typed: &Typed, flavor: Flavor) -> Result<Text, Refused> {
    let text = render(typed, flavor)?;
    Ok(match &typed.ty.kind {
        PgType::Text
        | PgType::Citext
        | PgType::Name
        | PgType::Uuid
        | PgType::Enum(_)
        | PgType::Int2
        | PgType::Int4
        | PgType::Int8
        | PgType::Inet
        | PgType::Cidr
            if typed.repr != Repr::Binary =>
        {
            text
        }
        PgType::Bool => boolean(&text, flavor),
        kind => {
            return Err(unsupported(&format!("an array of {} that is not constant", kind.name())));
        }
    })
}

fn boolean(text: &Text, flavor: Flavor) -> Text {
    let template = match flavor {
        Flavor::MySql => "CAST(IF({0} IS NULL, NULL, IF({0}, 'true', 'false')) AS JSON)",
        Flavor::MariaDb => "JSON_EXTRACT(IF({0} IS NULL, NULL, IF({0}, 'true', 'false')), '$')",
    };
    fill(template, std::slice::from_ref(text))
}

/// A value as a piece of JSON text, as `to_json` writes it: `"x"`, `1`, `true`; NULL stays NULL.
pub(super) fn document(typed: &Typed, flavor: Flavor) -> Result<Text, Refused> {
    let text = render(typed, flavor)?;
    let template = match (&typed.ty.kind, typed.repr) {
        (_, Repr::Binary) => return Err(unsupported("a uuid of 16 bytes in JSON")),
        (PgType::Bool, _) => "IF({0} IS NULL, NULL, IF({0}, 'true', 'false'))".to_owned(),
        (PgType::Int2 | PgType::Int4 | PgType::Int8, _) => "CAST({0} AS CHAR)".to_owned(),
        (PgType::Numeric, Repr::Scaled) => "CAST({0} AS CHAR)".to_owned(),
        (
            PgType::Text
            | PgType::Citext
            | PgType::Name
            | PgType::Uuid
            | PgType::Enum(_)
            | PgType::Inet,
            _,
        ) => json_text("JSON_QUOTE(CONVERT({0} USING utf8mb4))", flavor),
        (PgType::Date, _) => json_text("JSON_QUOTE(CAST({0} AS CHAR))", flavor),
        (PgType::TimestampTz, _) => {
            json_text(&format!("JSON_QUOTE({})", timestamp_text("T", "+00:00")), flavor)
        }
        (PgType::Timestamp, _) => {
            json_text(&format!("JSON_QUOTE({})", timestamp_text("T", "")), flavor)
        }
        (PgType::Json | PgType::Jsonb | PgType::Array(_), _) => match flavor {
            Flavor::MySql => "CAST({0} AS CHAR)".to_owned(),
            Flavor::MariaDb => json_text("{0}", flavor),
        },
        (kind, _) => return Err(unsupported(&format!("{} in JSON", kind.name()))),
    };
    Ok(fill(&template, &[text]))
}

/// An element of an array's JSON, as [`Value`] writes arrays: a date is its text without a zone.
pub(super) fn element_text(typed: &Typed, flavor: Flavor) -> Result<Text, Refused> {
    match typed.ty.kind {
        PgType::Timestamp | PgType::TimestampTz => {
            let text = render(typed, flavor)?;
            Ok(fill(
                &json_text(&format!("JSON_QUOTE({})", timestamp_text(" ", "")), flavor),
                &[text],
            ))
        }
        PgType::Numeric => Err(unsupported("array_agg of numeric")),
        _ => document(typed, flavor),
    }
}

/// A value for a JSON function that takes it as JSON, not as a string.
pub(super) fn document_value(typed: &Typed, flavor: Flavor) -> Result<Text, Refused> {
    match (&typed.ty.kind, &typed.node) {
        (PgType::Jsonb | PgType::Array(_), _) if flavor == Flavor::MySql => render(typed, flavor),
        (
            PgType::Int2
            | PgType::Int4
            | PgType::Int8
            | PgType::Text
            | PgType::Citext
            | PgType::Name,
            _,
        ) => render(typed, flavor),
        _ => {
            let text = document(typed, flavor)?;
            Ok(match flavor {
                Flavor::MySql => fill("CAST({0} AS JSON)", &[text]),
                Flavor::MariaDb => fill("JSON_EXTRACT({0}, '$')", &[text]),
            })
        }
    }
}

impl Translator<'_> {
    fn json_null(&self) -> &'static str {
        if self.is_mysql() { "CAST('null' AS JSON)" } else { "'null'" }
    }

    /// `JSON_TYPE(x)`, comparable with a literal.
    pub(super) fn json_kind(&self, text: &Text) -> Text {
        fill(&json_text("JSON_TYPE({0})", self.flavor()), std::slice::from_ref(text))
    }

    /// A document's text, JSON null as NULL.
    fn json_unquoted(&self, text: Text) -> Text {
        let inner = format!("JSON_UNQUOTE(NULLIF({{0}}, {}))", self.json_null());
        let template = json_text(&inner, self.flavor());
        fill(&template, &[text])
    }

    /// Json is kept letter by letter by PostgreSQL, which MySQL's functions do not do.
    fn json_result(&self, from: &Typed, text: Text, as_text: bool) -> Result<Typed, Refused> {
        if as_text {
            return Ok(Typed::sql(self.json_unquoted(text), Type::text(), true));
        }
        Ok(Typed::sql(text, from.ty.clone().plain(), true))
    }

    /// `->` and `->>`.
    pub(super) fn json_step(
        &mut self,
        doc: Typed,
        step_: Typed,
        as_text: bool,
    ) -> Result<Typed, Refused> {
        let step_ = match &step_.node {
            // A bare `$1` is a key.
            Node::Unknown(_) | Node::Parameter(_) => self.settle(step_)?,
            _ => step_,
        };
        let Some(source) = step_.source() else {
            return Err(unsupported("a JSON key that is not known beforehand"));
        };
        let base = self.text(&doc)?;
        let path = step(source, step_.ty.clone());
        let text = if step_.ty.is_integer() {
            let kind = self.json_kind(&base);
            fill("IF({0} = 'ARRAY', JSON_EXTRACT({1}, {2}), NULL)", &[kind, base, path])
        } else if step_.ty.is_text() {
            fill("JSON_EXTRACT({0}, {1})", &[base, path])
        } else {
            return Err(Refused::error("42883", "operator does not exist"));
        };
        self.json_result(&doc, text, as_text)
    }

    /// `#>` and `#>>`: each step by itself, since digits are a key of an object and a position of an array.
    pub(super) fn json_path(
        &mut self,
        doc: Typed,
        path: &Typed,
        as_text: bool,
    ) -> Result<Typed, Refused> {
        let steps = self.path_steps(path)?;
        let mut text = self.text(&doc)?;
        for name in steps {
            text = match name.parse::<i64>() {
                Ok(index) => {
                    let kind = self.json_kind(&text);
                    fill(
                        "IF({0} = 'ARRAY', JSON_EXTRACT({1}, {2}), JSON_EXTRACT({1}, {3}))",
                        &[kind, text, at(index), key(&name)],
                    )
                }
                Err(_) => fill("JSON_EXTRACT({0}, {1})", &[text, key(&name)]),
            };
        }
        self.json_result(&doc, text, as_text)
    }

    /// A constant `text[]`.
    pub(super) fn path_steps(&mut self, path: &Typed) -> Result<Vec<String>, Refused> {
        let ty = crate::dialect::types::array_of(&Type::text(), self.around.catalog)?;
        let path = self.resolve(path.clone(), &ty)?;
        let odd = || unsupported("a JSON path that is not a literal");
        let Some(Source::Constant(Value::Array(array))) = path.source() else { return Err(odd()) };
        let steps = array.elements.iter().map(|step| match step {
            Value::Text(step) => Ok(step.clone()),
            _ => Err(odd()),
        });
        steps.collect()
    }

    /// `@>`: only a constant on the right, since containment of arrays differs.
    pub(super) fn json_contains(&mut self, doc: &Typed, part: Typed) -> Result<Typed, Refused> {
        let part = self.resolve(part, &Type::builtin("jsonb"))?;
        let Some(Value::Jsonb(text)) = part.value() else {
            return Err(unsupported("@> of jsonb that is not a literal"));
        };
        let part: serde_json::Value = serde_json::from_str(text)
            .map_err(|_| Refused::error("22P02", "invalid input syntax for type json"))?;
        let base = self.text(doc)?;
        let mut conditions = Vec::new();
        self.contained(&base, &part, true, &mut conditions)?;
        let all = join(conditions, " AND ");
        let text =
            fill("(CASE WHEN {0} IS NULL THEN NULL ELSE COALESCE({1}, FALSE) END)", &[base, all]);
        Ok(Typed::sql(text, Type::bool(), doc.nullable))
    }

    fn contained(
        &mut self,
        base: &Text,
        part: &serde_json::Value,
        top: bool,
        conditions: &mut Vec<Text>,
    ) -> Result<(), Refused> {
        use serde_json::Value as Json;
        let kind = self.json_kind(base);
        let base_text = std::slice::from_ref(base);
        match part {
            Json::Object(fields) => {
                conditions.push(fill("{0} = 'OBJECT'", &[kind]));
                for (name, value) in fields {
                    let inner = fill("JSON_EXTRACT({0}, {1})", &[base_text[0].clone(), key(name)]);
                    self.contained(&inner, value, false, conditions)?;
                }
            }
            Json::Array(items) => {
                conditions.push(fill("{0} = 'ARRAY'", &[kind]));
                for item in items {
                    if item.is_array() || item.is_object() {
                        return Err(unsupported("@> of nested arrays"));
                    }
                    let one = self.json_constant(&Json::Array(vec![item.clone()]));
                    conditions.push(fill("JSON_OVERLAPS({0}, {1})", &[base.clone(), one]));
                }
            }
            scalar => {
                let one = self.json_constant(scalar);
                let equal = if self.is_mysql() {
                    fill("{0} = {1}", &[base.clone(), one])
                } else {
                    fill("JSON_EQUALS({0}, {1}) = 1", &[base.clone(), one])
                };
                if top {
                    // An array contains a scalar that is one of its elements.
                    let array = self.json_constant(&Json::Array(vec![scalar.clone()]));
                    let inside = fill("JSON_OVERLAPS({0}, {1})", &[base.clone(), array]);
                    let text = fill("IF({0} = 'ARRAY', {1}, {2})", &[kind, inside, equal]);
                    conditions.push(text);
                } else {
                    conditions.push(equal);
                }
            }
        }
        Ok(())
    }

    fn json_constant(&self, value: &serde_json::Value) -> Text {
        let ty = Type::builtin("jsonb");
        let slot = Slot {
            source: Source::Constant(Value::Jsonb(value.to_string())),
            ty,
            form: Form::Column(TargetType::Json),
        };
        let text = Text::value(slot);
        if self.is_mysql() { fill("CAST({0} AS JSON)", &[text]) } else { text }
    }

    /// `?`, `?|`, `?&`: a key of an object, or a text in an array.
    pub(super) fn json_exists(
        &mut self,
        doc: &Typed,
        op: &Op,
        keys: Typed,
    ) -> Result<Typed, Refused> {
        let keys: Vec<Source> = if *op == Op::Question {
            let typed = self.settle(keys)?;
            vec![
                typed
                    .source()
                    .ok_or_else(|| unsupported("? of jsonb with a key that is not known"))?,
            ]
        } else {
            let names = self.path_steps(&keys)?;
            names.into_iter().map(|name| Source::Constant(Value::Text(name))).collect()
        };
        let base = self.text(doc)?;
        let kind = self.json_kind(&base);
        let mut texts = Vec::new();
        for source in keys {
            let name = Text::value(Slot {
                source: source.clone(),
                ty: Type::text(),
                form: Form::Column(TargetType::LongText),
            });
            texts.push(fill(
                "(JSON_CONTAINS_PATH({0}, 'one', {1}) OR ({2} <> 'OBJECT' AND JSON_CONTAINS({0}, JSON_QUOTE({3}))))",
                &[base.clone(), step(source, Type::text()), kind.clone(), name],
            ));
        }
        let word = if *op == Op::QuestionAnd { " AND " } else { " OR " };
        let text = match texts.is_empty() {
            true => Text::sql(if *op == Op::QuestionAnd { "TRUE" } else { "FALSE" }),
            false => super::typed::around("(", join(texts, word), ")"),
        };
        Ok(Typed::sql(text, Type::bool(), doc.nullable))
    }

    /// `||` with a value on the right that is known beforehand, so that its keys are.
    pub(super) fn json_concat(&mut self, a: Typed, b: Typed) -> Result<Typed, Refused> {
        let ty = Type::builtin("jsonb");
        let (a, b) = (self.resolve(a, &ty)?, self.resolve(b, &ty)?);
        if a.ty.kind != PgType::Jsonb || b.ty.kind != PgType::Jsonb {
            return Err(unsupported("|| of jsonb and something else"));
        }
        let Some(source) = b.source() else {
            return Err(unsupported("|| of jsonb that is not known beforehand"));
        };
        let without = Piece::WithoutKeys { document: Box::new(self.text(&a)?), object: source };
        let texts = [Text(vec![without]), self.text(&b)?];
        let nullable = a.nullable || b.nullable;
        Ok(Typed::sql(fill("JSON_MERGE_PRESERVE({0}, {1})", &texts), ty, nullable))
    }

    /// `j - 'key'`, `j - 1`.
    pub(super) fn json_minus(&mut self, doc: Typed, what: Typed) -> Result<Typed, Refused> {
        let what = self.settle(what)?;
        let Some(source) = what.source() else {
            return Err(unsupported("- of jsonb with a key that is not known"));
        };
        let base = self.text(&doc)?;
        let kind = self.json_kind(&base);
        let path = step(source, what.ty.clone());
        let wanted = if what.ty.is_integer() {
            "ARRAY"
        } else if what.ty.is_text() {
            "OBJECT"
        } else {
            return Err(unsupported("- of jsonb with several keys"));
        };
        let template = format!(
            "(CASE WHEN {{1}} = '{wanted}' THEN JSON_REMOVE({{0}}, {{2}}) WHEN {{0}} IS NOT NULL THEN {} END)",
            super::cast::FAILS
        );
        let text = fill(&template, &[base, kind, path]);
        Ok(Typed::sql(text, Type::builtin("jsonb"), doc.nullable))
    }
}

impl Translator<'_> {
    /// The text of a document that a row function yields.
    pub(super) fn json_text_of(&self, text: Text) -> Text {
        self.json_unquoted(text)
    }
}
