//! json and jsonb made from other values, changed, and asked about.
//!
//! ```text
//! jsonb_set(j, '{a,b}', v) ──▶ JSON_SET(j, ?, v)        to_jsonb(r) ──▶ JSON_OBJECT('id', r.id, …)
//! ```
//!
//! Invariant: what MySQL answers with NULL or leaves as it is, and PostgreSQL with an error, is an error.

use sqlparser::ast::{FunctionArg, FunctionArgExpr, FunctionArgumentList};

use crate::dialect::json::document_value;
use crate::dialect::program::{Form, Slot, Source, Text};
use crate::dialect::refuse::{Refused, unsupported};
use crate::dialect::translator::Translator;
use crate::dialect::typed::{Node, Typed, fill, join};
use crate::dialect::types::Type;
use crate::value::{PgType, Value};

impl Translator<'_> {
    /// Functions of json and jsonb.
    pub(super) fn json_function(
        &mut self,
        name: &str,
        args: &[Typed],
    ) -> Result<Option<Typed>, Refused> {
        let is_binary = name.starts_with("jsonb") || name == "to_jsonb";
        let ty = Type::builtin(if is_binary { "jsonb" } else { "json" });
        match (name, args) {
            ("to_json" | "to_jsonb", [value]) => self.json_of(value, ty).map(Some),
            ("json_build_array" | "jsonb_build_array", items) => {
                let texts = self.documents(items)?;
                Ok(Some(Typed::sql(fill("JSON_ARRAY({0})", &[join(texts, ", ")]), ty, false)))
            }
            ("json_build_object" | "jsonb_build_object", items) if items.len() % 2 == 0 => {
                let mut texts = Vec::new();
                for pair in items.chunks(2) {
                    let name = self.settle(pair[0].clone())?;
                    texts.push(self.text_of(&name)?);
                    texts.append(&mut self.documents(&pair[1..])?);
                }
                Ok(Some(Typed::sql(fill("JSON_OBJECT({0})", &[join(texts, ", ")]), ty, false)))
            }
            ("jsonb_typeof" | "json_typeof", [doc]) => {
                let doc = self.resolve(doc.clone(), &ty)?;
                let text = self.text(&doc)?;
                let kind = self.json_kind(&text);
                let template = "(CASE {0} WHEN 'OBJECT' THEN 'object' WHEN 'ARRAY' THEN 'array' WHEN 'STRING' THEN 'string' \
                                WHEN 'BOOLEAN' THEN 'boolean' WHEN 'NULL' THEN 'null' ELSE IF({1} IS NULL, NULL, 'number') END)";
                Ok(Some(Typed::sql(fill(template, &[kind, text]), Type::text(), true)))
            }
            ("jsonb_array_length" | "json_array_length", [doc]) => {
                let doc = self.resolve(doc.clone(), &ty)?;
                let text = self.text(&doc)?;
                let kind = self.json_kind(&text);
                let template = format!(
                    "(CASE WHEN {{0}} = 'ARRAY' THEN JSON_LENGTH({{1}}) WHEN {{1}} IS NOT NULL THEN {} END)",
                    super::cast::FAILS.replace("{0}", "{1}")
                );
                Ok(Some(Typed::sql(fill(&template, &[kind, text]), Type::int4(), doc.nullable)))
            }
            (
                "jsonb_extract_path"
                | "jsonb_extract_path_text"
                | "json_extract_path"
                | "json_extract_path_text",
                [doc, steps @ ..],
            ) => {
                let doc = self.resolve(doc.clone(), &ty)?;
                let steps = Typed { node: Node::List(steps.to_vec()), ..doc.clone() };
                let Node::List(items) = steps.node else { return Ok(None) };
                let items = items
                    .into_iter()
                    .map(|item| self.settle(item))
                    .collect::<Result<Vec<_>, _>>()?;
                let array = self.array_constructor(items)?;
                self.json_path(doc, &array, name.ends_with("text")).map(Some)
            }
            ("jsonb_set", [doc, path, value, rest @ ..]) if rest.len() < 2 => {
                self.json_set(doc, path, value, rest.first()).map(Some)
            }
            _ => Ok(None),
        }
    }

    fn json_of(&mut self, value: &Typed, ty: Type) -> Result<Typed, Refused> {
        let value = self.settle(value.clone())?;
        let text = document_value(&value, self.flavor())?;
        let text = match value.ty.kind {
            PgType::Text | PgType::Citext | PgType::Int2 | PgType::Int4 | PgType::Int8 => {
                fill("JSON_EXTRACT(JSON_ARRAY({0}), '$[0]')", &[text])
            }
            _ => text,
        };
        let text = match value.nullable {
            true => fill("IF({0} IS NULL, NULL, {1})", &[self.text(&value)?, text]),
            false => text,
        };
        Ok(Typed::sql(text, ty, value.nullable))
    }

    fn documents(&mut self, items: &[Typed]) -> Result<Vec<Text>, Refused> {
        let mut texts = Vec::new();
        for item in items {
            let item = self.settle(item.clone())?;
            texts.push(document_value(&item, self.flavor())?);
        }
        Ok(texts)
    }

    fn json_set(
        &mut self,
        doc: &Typed,
        path: &Typed,
        value: &Typed,
        create: Option<&Typed>,
    ) -> Result<Typed, Refused> {
        let ty = Type::builtin("jsonb");
        let (doc, value) = (self.resolve(doc.clone(), &ty)?, self.resolve(value.clone(), &ty)?);
        let steps = self.path_steps(path)?;
        if steps.is_empty() || steps.iter().any(|step| step.parse::<i64>().is_ok()) {
            return Err(unsupported("jsonb_set at a position"));
        }
        let function = match create.map(|create| create.value()) {
            None | Some(Some(Value::Bool(true))) => "JSON_SET",
            Some(Some(Value::Bool(false))) => "JSON_REPLACE",
            Some(_) => return Err(unsupported("jsonb_set with a flag that is not a literal")),
        };
        let elements = steps.into_iter().map(Value::Text).collect();
        let array = Value::Array(super::typed::flat(elements));
        let array_type = crate::dialect::types::array_of(&Type::text(), self.around.catalog)?;
        let path =
            Text::value(Slot { source: Source::Constant(array), ty: array_type, form: Form::Path });
        let new = document_value(&value, self.flavor())?;
        let texts = [self.text(&doc)?, path, new, self.text(&value)?];
        let set = fill(&format!("{function}({{0}}, {{1}}, {{2}})"), &texts);
        let text = match value.nullable {
            true => fill("IF({0} IS NULL, NULL, {1})", &[texts[3].clone(), set]),
            false => set,
        };
        Ok(Typed::sql(text, ty, doc.nullable || value.nullable))
    }

    /// `to_jsonb(r)`, `row_to_json(r)` of a whole row.
    pub(super) fn whole_row_function(
        &mut self,
        name: &str,
        list: &FunctionArgumentList,
    ) -> Result<Option<Typed>, Refused> {
        let (
            true,
            [
                FunctionArg::Unnamed(FunctionArgExpr::Expr(sqlparser::ast::Expr::Identifier(
                    ident,
                ))),
            ],
        ) = (matches!(name, "to_json" | "to_jsonb" | "row_to_json"), &list.args[..])
        else {
            return Ok(None);
        };
        let alias = super::names::fold(ident);
        let found = self.scopes.last().and_then(|scope| {
            let named =
                scope.relations.iter().any(|r| r.fields.iter().any(|field| field.name == alias));
            scope.relations.iter().find(|relation| !named && relation.alias == alias).cloned()
        });
        let Some(relation) = found else { return Ok(None) };
        let mut texts = Vec::new();
        for field in &relation.fields {
            self.check_grouped(&field.typed, &field.name)?;
            let name = Typed::constant(Value::Text(field.name.clone()), Type::text());
            texts.push(self.text(&name)?);
            texts.push(document_value(&field.typed, self.flavor())?);
        }
        let ty = Type::builtin(if name == "to_jsonb" { "jsonb" } else { "json" });
        Ok(Some(Typed::sql(fill("JSON_OBJECT({0})", &[join(texts, ", ")]), ty, false)))
    }
}
