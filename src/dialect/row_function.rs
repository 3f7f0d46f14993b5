//! Functions in FROM that return rows.
//!
//! ```text
//! unnest(a) AS t(x)       ──▶ JSON_TABLE(a, '$[*]' COLUMNS (…))
//! generate_series(1, 5)   ──▶ WITH RECURSIVE …, a query that counts
//! jsonb_each(j)           ──▶ JSON_TABLE(JSON_KEYS(j), …), each value by its key
//! ```
//!
//! Invariant: a column of such a function has the element's type and compares as a column of a table.

use sqlparser::ast::{Expr, FunctionArg, FunctionArgExpr, ObjectName, TableAlias};

use crate::dialect::from::rename;
use crate::dialect::names::{fold, parts};
use crate::dialect::program::{Slot, Source, Text};
use crate::dialect::refuse::{Refused, unsupported};
use crate::dialect::scope::{Field, Relation};
use crate::dialect::translator::Translator;
use crate::dialect::typed::{Typed, around, fill};
use crate::dialect::types::Type;
use crate::names::quote_mysql;
use crate::value::{PgType, TargetType, Value};

impl Translator<'_> {
    /// A function in FROM.
    pub(super) fn row_function(
        &mut self,
        name: &ObjectName,
        args: &[FunctionArg],
        alias: Option<&TableAlias>,
    ) -> Result<Text, Refused> {
        let name = parts(name)?.pop().unwrap_or_default();
        let plain = |arg: &FunctionArg| match arg {
            FunctionArg::Unnamed(FunctionArgExpr::Expr(expr)) => Ok(expr.clone()),
            _ => Err(unsupported("named arguments in FROM")),
        };
        let exprs = args.iter().map(plain).collect::<Result<Vec<_>, _>>()?;
        if name == "unnest" {
            return self.unnest(&exprs, alias);
        }
        let args: Vec<Typed> = exprs.iter().map(|arg| self.expr(arg)).collect::<Result<_, _>>()?;
        match (name.as_str(), &args[..]) {
            ("generate_series", [from, to]) => self.series(from, to, None, alias),
            ("generate_series", [from, to, step]) => self.series(from, to, Some(step), alias),
            (
                "jsonb_array_elements"
                | "jsonb_array_elements_text"
                | "json_array_elements"
                | "json_array_elements_text",
                [doc],
            ) => self.elements(&name, doc, alias),
            (
                "jsonb_each" | "jsonb_each_text" | "json_each" | "json_each_text"
                | "jsonb_object_keys" | "json_object_keys",
                [doc],
            ) => self.each(&name, doc, alias),
            _ => Err(unsupported(&format!("function {name} in FROM"))),
        }
    }

    /// `generate_series`, as a query that counts.
    fn series(
        &mut self,
        from: &Typed,
        to: &Typed,
        step: Option<&Typed>,
        alias: Option<&TableAlias>,
    ) -> Result<Text, Refused> {
        let odd = || unsupported("generate_series of this kind");
        if self.flavor() == crate::value::Flavor::MySql && from.source().is_none() {
            return Err(odd());
        }
        let (ty, next) = match step {
            None => (Type::int4(), Text::sql("`v` + 1")),
            Some(step) => match step.value() {
                Some(Value::Int(step)) if *step > 0 => {
                    (Type::int4(), Text::sql(format!("`v` + {step}")))
                }
                Some(Value::Interval { months, days, micros })
                    if *months >= 0 && *days >= 0 && *micros >= 0 =>
                {
                    let ty = match from.ty.kind {
                        PgType::Timestamp => Type::builtin("timestamp"),
                        _ => Type::builtin("timestamptz"),
                    };
                    let text = format!(
                        "`v` + INTERVAL {months} MONTH + INTERVAL {days} DAY + INTERVAL {micros} MICROSECOND"
                    );
                    (ty, Text::sql(text))
                }
                _ => return Err(odd()),
            },
        };
        let (from, to) = (self.resolve(from.clone(), &ty)?, self.resolve(to.clone(), &ty)?);
        let ty = if from.ty.is_integer() { from.ty.clone().plain() } else { ty };
        let (from, to) =
            if ty.is_integer() { (from, to) } else { (self.cast(from, &ty)?, self.cast(to, &ty)?) };
        if from.source().is_none() && !ty.is_time() || to.ty.is_integer() != ty.is_integer() {
            return Err(odd());
        }
        let cast = if ty.is_integer() { "SIGNED" } else { "DATETIME(6)" };
        let name = alias.map_or_else(|| "generate_series".to_owned(), |alias| fold(&alias.name));
        let template = format!(
            "(WITH RECURSIVE `cf_s` (`v`) AS (SELECT CAST({{0}} AS {cast}) FROM DUAL WHERE {{0}} <= {{1}} UNION ALL \
             SELECT {{2}} FROM `cf_s` WHERE {{2}} <= {{1}}) SELECT `v` FROM `cf_s`) AS {}",
            quote_mysql(&name)
        );
        let text = fill(&template, &[self.text(&from)?, self.text(&to)?, next]);
        let typed = Typed::sql(Text::sql(format!("{}.`v`", quote_mysql(&name))), ty, false);
        self.push_function(&name, &name, vec![(name.clone(), typed)], alias);
        Ok(text)
    }

    /// The columns of a function take the names of its alias.
    fn push_function(
        &mut self,
        alias_name: &str,
        own: &str,
        columns: Vec<(String, Typed)>,
        alias: Option<&TableAlias>,
    ) {
        let single = columns.len() == 1;
        let fields = columns
            .into_iter()
            .map(|(name, typed)| {
                let name = if single && name == own { alias_name.to_owned() } else { name };
                Field { name, typed, origin: None }
            })
            .collect();
        let mut relation =
            Relation { alias: alias_name.to_owned(), schema: None, fields, table: None };
        rename(&mut relation, alias);
        self.scope_mut().relations.push(relation);
    }

    pub(super) fn unnest(
        &mut self,
        arrays: &[Expr],
        alias: Option<&TableAlias>,
    ) -> Result<Text, Refused> {
        let name = alias.map_or_else(|| "unnest".to_owned(), |alias| fold(&alias.name));
        let quoted = quote_mysql(&name);
        let mut typed = Vec::new();
        for array in arrays {
            let array = self.expr(array)?;
            if array.ty.element().is_none() {
                return Err(unsupported("unnest of what has no array type"));
            }
            typed.push(array);
        }
        let (doc, paths) = match &typed[..] {
            [array] => (self.text(array)?, vec!["$".to_owned()]),
            several => {
                let mut sources = Vec::new();
                for array in several {
                    let source =
                        array.source().ok_or_else(|| unsupported("unnest of several columns"))?;
                    sources.push((Box::new(source), array.ty.clone()));
                }
                let slot = Slot {
                    source: Source::Zip(sources),
                    ty: Type::builtin("jsonb"),
                    form: super::program::Form::Column(TargetType::Json),
                };
                let paths = (0..several.len()).map(|at| format!("$[{at}]")).collect();
                (Text::value(slot), paths)
            }
        };
        let mut definitions = Vec::new();
        let mut columns = Vec::new();
        for (at, (array, path)) in typed.iter().zip(&paths).enumerate() {
            let element = array.ty.element().unwrap_or_else(Type::text);
            let kind = match element.kind {
                PgType::Text | PgType::Enum(_) | PgType::Name => "LONGTEXT",
                PgType::Uuid => "CHAR(36)",
                PgType::Int2 | PgType::Int4 | PgType::Int8 => "BIGINT",
                PgType::Float8 => "DOUBLE",
                PgType::Timestamp | PgType::TimestampTz => "DATETIME(6)",
                PgType::Date => "DATE",
                PgType::Bool => "VARCHAR(5)",
                _ => return Err(unsupported(&format!("unnest of {}", array.ty.name()))),
            };
            definitions.push(format!("`c{at}` {kind} PATH '{path}'"));
            let own = format!("{quoted}.`c{at}`");
            let own = match element.kind {
                PgType::Text | PgType::Enum(_) | PgType::Uuid => {
                    format!("({own} COLLATE {})", self.collation())
                }
                PgType::Bool => format!("({own} IN ('true', '1'))"),
                _ => own,
            };
            columns.push(("unnest".to_owned(), Typed::sql(Text::sql(own), element, true)));
        }
        let text = around(
            "JSON_TABLE(",
            doc,
            &format!(
                ", '$[*]' COLUMNS (`n` FOR ORDINALITY, {})) AS {quoted}",
                definitions.join(", ")
            ),
        );
        self.push_function(&name, "unnest", columns, alias);
        Ok(text)
    }

    /// A document that must be of one kind, else the statement fails.
    fn of_kind(&mut self, doc: &Typed, kind: &str) -> Result<Text, Refused> {
        let ty = Type::builtin("jsonb");
        let doc = self.resolve(doc.clone(), &ty)?;
        if !doc.ty.is_json() {
            return Err(Refused::error("42883", "function does not exist for this type"));
        }
        let text = self.text(&doc)?;
        let type_of = super::typed::json_text("JSON_TYPE({0})", self.flavor());
        let template = format!("IF({type_of} = '{kind}', {{0}}, NULL)");
        Ok(fill(&template, &[text]))
    }

    fn elements(
        &mut self,
        function: &str,
        doc: &Typed,
        alias: Option<&TableAlias>,
    ) -> Result<Text, Refused> {
        let name = alias.map_or_else(|| function.to_owned(), |alias| fold(&alias.name));
        let quoted = quote_mysql(&name);
        let text = self.of_kind(doc, "ARRAY")?;
        let own = Text::sql(format!("{quoted}.`v`"));
        let typed = if function.ends_with("text") {
            let unquoted = self.json_text_of(own);
            Typed::sql(unquoted, Type::text(), true)
        } else {
            let ty = if function.starts_with("jsonb") { "jsonb" } else { "json" };
            Typed::sql(own, Type::builtin(ty), false)
        };
        self.push_function(&name, "value", vec![("value".to_owned(), typed)], alias);
        Ok(around(
            "JSON_TABLE(",
            text,
            &format!(", '$[*]' COLUMNS (`v` JSON PATH '$')) AS {quoted}"),
        ))
    }

    fn each(
        &mut self,
        function: &str,
        doc: &Typed,
        alias: Option<&TableAlias>,
    ) -> Result<Text, Refused> {
        let name = alias.map_or_else(|| function.to_owned(), |alias| fold(&alias.name));
        let quoted = quote_mysql(&name);
        let text = self.of_kind(doc, "OBJECT")?;
        let bin = self.collation();
        let key = Text::sql(format!("({quoted}.`k` COLLATE {bin})"));
        let mut columns = vec![("key".to_owned(), Typed::sql(key, Type::text(), false))];
        if !function.ends_with("keys") {
            let name = super::typed::json_text(&format!("JSON_QUOTE({quoted}.`k`)"), self.flavor());
            let path = format!("JSON_EXTRACT({{0}}, CONCAT('$.', {name}))");
            let value = fill(&path, std::slice::from_ref(&text));
            let typed = if function.ends_with("text") {
                Typed::sql(self.json_text_of(value), Type::text(), true)
            } else {
                let ty = if function.starts_with("jsonb") { "jsonb" } else { "json" };
                Typed::sql(value, Type::builtin(ty), false)
            };
            columns.push(("value".to_owned(), typed));
        } else {
            columns[0].0.clone_from(&function.to_owned());
        }
        self.push_function(&name, function, columns, alias);
        let template = format!(
            "JSON_TABLE(JSON_KEYS({{0}}), '$[*]' COLUMNS (`k` LONGTEXT PATH '$')) AS {quoted}"
        );
        Ok(fill(&template, &[text]))
    }
}
