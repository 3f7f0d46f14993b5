//! Function calls: by name and the types of the arguments.
//!
//! Invariant: a function that no list names is refused, and so is one of a schema other than
//! `pg_catalog`: it may be the user's own.

use sqlparser::ast::{
    Expr, Function, FunctionArg, FunctionArgExpr, FunctionArgumentList, FunctionArguments,
};

use crate::dialect::expression::{shared_repr, strict};
use crate::dialect::names::{fold, parts};
use crate::dialect::program::{Source, Text};
use crate::dialect::refuse::{Refused, unsupported};
use crate::dialect::translator::{Translator, is_null};
use crate::dialect::typed::{Node, Repr, Typed, fill, join};
use crate::dialect::types::{Type, common};
use crate::value::{PgType, Value};

impl Translator<'_> {
    /// Words that are values: `current_timestamp`.
    pub(super) fn special_name(&mut self, name: &str) -> Result<Option<Typed>, Refused> {
        let now = self.now();
        Ok(Some(match name {
            "current_timestamp" => now,
            "localtimestamp" => self.cast(now, &Type::builtin("timestamp"))?,
            "current_date" => self.cast(now, &Type::builtin("date"))?,
            "current_user" | "session_user" | "user" | "current_role" | "current_catalog"
            | "current_schema" | "current_time" | "localtime" => {
                return Err(unsupported(&name.to_ascii_uppercase()));
            }
            _ => return Ok(None),
        }))
    }

    pub(super) fn function(&mut self, function: &Function) -> Result<Typed, Refused> {
        let name = match &parts(&function.name)?[..] {
            [name] => name.clone(),
            [schema, name] if schema == "pg_catalog" => name.clone(),
            _ => return Err(unsupported("a function of a schema of its own")),
        };
        if function.null_treatment.is_some() {
            return Err(unsupported("RESPECT or IGNORE NULLS"));
        }
        let none = FunctionArgumentList {
            duplicate_treatment: None,
            args: Vec::new(),
            clauses: Vec::new(),
        };
        let list = match &function.args {
            FunctionArguments::None => &none,
            FunctionArguments::List(list) => list,
            FunctionArguments::Subquery(query) if name == "array" => {
                return self.array_of_query(query);
            }
            FunctionArguments::Subquery(_) => return Err(unsupported("a query as an argument")),
        };
        if function.over.is_some() || super::aggregate::is_aggregate(&name) {
            return self.aggregate(&name, function, list);
        }
        if function.filter.is_some()
            || !function.within_group.is_empty()
            || list.duplicate_treatment.is_some()
            || !list.clauses.is_empty()
        {
            return Err(unsupported(&format!("{name} with such clauses")));
        }
        if name == "make_interval" {
            return self.named_interval(list);
        }
        if let Some(whole) = self.whole_row_function(&name, list)? {
            return Ok(whole);
        }
        self.call(&name, &plain_arguments(list, &name)?)
    }

    fn named_interval(&mut self, list: &FunctionArgumentList) -> Result<Typed, Refused> {
        let mut named = Vec::new();
        for arg in &list.args {
            let (name, value) = match arg {
                FunctionArg::Named { name, arg: FunctionArgExpr::Expr(value), .. } => (name, value),
                FunctionArg::ExprNamed {
                    name: Expr::Identifier(name),
                    arg: FunctionArgExpr::Expr(value),
                    ..
                } => (name, value),
                _ => return Err(unsupported("make_interval by position")),
            };
            let value = self.expr(value)?;
            named.push((fold(name), value));
        }
        self.make_interval(&named)
    }

    /// A call with plain arguments.
    pub(super) fn call(&mut self, name: &str, args: &[Expr]) -> Result<Typed, Refused> {
        let args: Vec<Typed> = args.iter().map(|arg| self.expr(arg)).collect::<Result<_, _>>()?;
        let found = match self.string_function(name, &args)? {
            Some(found) => Some(found),
            None => match self.json_function(name, &args)? {
                Some(found) => Some(found),
                None => match self.array_function(name, &args)? {
                    Some(found) => Some(found),
                    None => self.number_function(name, &args)?,
                },
            },
        };
        match found {
            Some(found) => Ok(found),
            None => self.other_function(name, args),
        }
    }

    fn other_function(&mut self, name: &str, args: Vec<Typed>) -> Result<Typed, Refused> {
        match (name, args.len()) {
            ("now" | "transaction_timestamp", 0) => Ok(self.now()),
            ("current_timestamp", 0) => Ok(self.now()),
            ("statement_timestamp" | "clock_timestamp", 0) => Ok(self.clock()),
            ("gen_random_uuid" | "uuid_generate_v4", 0) => Ok(self.random_uuid()),
            ("coalesce", 1..) => self.coalesce(args),
            ("nullif", 2) => self.nullif(&args),
            ("greatest" | "least", 1..) => self.extreme(name, args),
            ("date_trunc", 2) => {
                let [field, value] = <[Typed; 2]>::try_from(args).map_err(|_| unsupported(name))?;
                let value = self.resolve(value, &Type::builtin("timestamptz"))?;
                self.date_trunc(&field, value)
            }
            ("date_part", 2) => {
                let Node::Unknown(field) = args[0].node.clone() else {
                    return Err(unsupported("date_part by a field that is not a literal"));
                };
                self.extract(&field.to_ascii_lowercase(), args[1].clone(), false)
            }
            ("to_char", 2) => self.char_of(&args[0], &args[1]),
            ("to_timestamp", 1) => self.timestamp_of(&args[0]),
            ("timezone", 2) => Err(unsupported("timezone()")),
            ("date", 1) => self.cast(args[0].clone(), &Type::builtin("date")),
            ("regexp_replace", 3 | 4) => self.regexp_replace(&args),
            _ => Err(unsupported(&format!("function {name}"))),
        }
    }

    /// One value for the row that is being inserted; elsewhere one for each row, worked out by MySQL.
    fn random_uuid(&mut self) -> Typed {
        let ty = Type::builtin("uuid");
        if self.slots {
            self.uuids += 1;
            let node = Node::Source(Source::Uuid(self.uuids - 1));
            return Typed { node, ty, nullable: false, repr: Repr::Plain };
        }
        let text = "LOWER(CONCAT_WS('-', HEX(RANDOM_BYTES(4)), HEX(RANDOM_BYTES(2)), \
                    CONCAT('4', SUBSTRING(HEX(RANDOM_BYTES(2)), 2)), \
                    CONCAT(SUBSTRING('89AB', 1 + (ORD(RANDOM_BYTES(1)) & 3), 1), \
                    SUBSTRING(HEX(RANDOM_BYTES(2)), 2)), HEX(RANDOM_BYTES(6))))";
        Typed::sql(Text::sql(text), ty, false)
    }

    fn coalesce(&mut self, args: Vec<Typed>) -> Result<Typed, Refused> {
        let (args, ty) = self.unify(args, "COALESCE")?;
        let nullable = args.iter().all(|arg| arg.nullable);
        let repr = shared_repr(&args);
        let texts: Vec<Text> = args.iter().map(|arg| self.text(arg)).collect::<Result<_, _>>()?;
        Ok(Typed::sql(fill("COALESCE({0})", &[join(texts, ", ")]), ty, nullable).with_repr(repr))
    }

    fn nullif(&mut self, args: &[Typed]) -> Result<Typed, Refused> {
        let (a, b) = (args[0].clone(), args[1].clone());
        let equal = self.compare(a.clone(), &sqlparser::ast::BinaryOperator::Eq, b.clone())?;
        let ty = common(&a.ty, &b.ty)?;
        let ty = if a.is_unknown() { ty } else { a.ty.clone() };
        let a = self.resolve(a, &ty)?;
        let texts = [self.text(&equal)?, self.text(&a)?];
        let repr = if a.repr == Repr::Enum { Repr::Plain } else { a.repr };
        Ok(Typed::sql(fill("(CASE WHEN {0} THEN NULL ELSE {1} END)", &texts), ty, true)
            .with_repr(repr))
    }

    /// GREATEST and LEAST leave NULLs out in PostgreSQL.
    fn extreme(&mut self, name: &str, args: Vec<Typed>) -> Result<Typed, Refused> {
        let (args, ty) = self.unify(args, &name.to_ascii_uppercase())?;
        let ordered =
            ty.is_number() || ty.is_time() || matches!(ty.kind, PgType::Uuid | PgType::Time);
        if ty.is_text() && ty.kind == PgType::Text {
            self.needs_binary_order()?;
        } else if !ordered || args.iter().any(|arg| matches!(arg.repr, Repr::Kept | Repr::Binary)) {
            return Err(unsupported(&format!("{name} of {}", ty.name())));
        }
        let nullable = args.iter().all(|arg| arg.nullable);
        let repr = shared_repr(&args);
        let args: Vec<Typed> = args.into_iter().filter(|arg| !is_null(arg)).collect();
        let Some((first, rest)) = args.split_first() else { return Ok(Typed::null(ty)) };
        let mut text = self.text(first)?;
        let mut text_nullable = first.nullable;
        for arg in rest {
            let next = self.text(arg)?;
            let template = match text_nullable || arg.nullable {
                true => format!("COALESCE({name}({{0}}, {{1}}), {{0}}, {{1}})"),
                false => format!("{name}({{0}}, {{1}})"),
            };
            text = fill(&template.replace(name, &name.to_ascii_uppercase()), &[text, next]);
            text_nullable = text_nullable && arg.nullable;
        }
        Ok(Typed::sql(text, ty, nullable).with_repr(repr))
    }

    fn timestamp_of(&mut self, arg: &Typed) -> Result<Typed, Refused> {
        let arg = self.resolve(arg.clone(), &Type::builtin("float8"))?;
        if !arg.ty.is_number() || arg.repr == Repr::Kept {
            return Err(unsupported("to_timestamp of this type"));
        }
        let text = self.text(&arg)?;
        let template =
            "(CAST('1970-01-01' AS DATETIME(6)) + INTERVAL ROUND({0} * 1000000) MICROSECOND)";
        Ok(strict(template, &[&arg], &[text], Type::builtin("timestamptz")))
    }

    fn number_function(&mut self, name: &str, args: &[Typed]) -> Result<Option<Typed>, Refused> {
        let known = matches!(
            (name, args.len()),
            ("abs" | "ceil" | "ceiling" | "floor" | "sign" | "sqrt" | "round" | "trunc", 1)
                | ("round" | "trunc" | "mod" | "power" | "pow", 2)
                | ("random" | "pi", 0)
        );
        if !known {
            return Ok(None);
        }
        let float = Type::builtin("float8");
        if args.is_empty() {
            let text = if name == "pi" { "(PI() + 0E0)" } else { "RAND()" };
            return Ok(Some(Typed::sql(Text::sql(text), float, false)));
        }
        let mut args = args.to_vec();
        if name == "mod" {
            let (a, b) = (args[0].clone(), args[1].clone());
            let (a, b) = (self.resolve(a, &Type::int4())?, self.resolve(b, &Type::int4())?);
            return self.arithmetic_mod(a, b).map(Some);
        }
        args[0] = self.resolve(args[0].clone(), &float)?;
        let first = &args[0];
        if !first.ty.is_number() || first.repr == Repr::Kept || first.ty.kind == PgType::Float4 {
            return Err(unsupported(&format!("{name} of {}", first.ty.name())));
        }
        let text = self.text(first)?;
        let (ty, numeric) = (first.ty.clone().plain(), first.ty.kind == PgType::Numeric);
        let integer = ty.is_integer();
        let one = |template: &str, ty: Type| {
            let repr = if numeric { Repr::Scaled } else { Repr::Plain };
            Ok(Some(strict(template, &[first], std::slice::from_ref(&text), ty).with_repr(repr)))
        };
        match (name, args.len()) {
            ("abs", 1) => one("ABS({0})", ty),
            ("ceil" | "ceiling", 1) if numeric => one("CEILING({0})", ty),
            ("ceil" | "ceiling", 1) => one("CEILING({0} + 0E0)", float),
            ("floor", 1) if numeric => one("FLOOR({0})", ty),
            ("floor", 1) => one("FLOOR({0} + 0E0)", float),
            ("sign", 1) if numeric => one("SIGN({0})", ty),
            ("sqrt", 1) if !numeric => {
                let template = "(CASE WHEN {0} < 0 THEN (SELECT 1 WHERE {0} < 0 UNION ALL SELECT 2) ELSE SQRT({0}) END)";
                one(template, float)
            }
            ("round", 1) if numeric => one("ROUND({0})", ty),
            ("round", 1) => one("ROUND({0} + 0E0)", float),
            ("trunc", 1) if numeric => one("TRUNCATE({0}, 0)", ty),
            ("trunc", 1) => one("TRUNCATE({0} + 0E0, 0)", float),
            ("round" | "trunc", 2) if numeric || integer => {
                let Some(Value::Int(scale @ 0..=30)) = args[1].value() else {
                    return Err(unsupported(&format!("{name} to this many digits")));
                };
                let function = if name == "round" { "ROUND" } else { "TRUNCATE" };
                let template = format!("CAST({function}({{0}}, {scale}) AS DECIMAL(65,{scale}))");
                Ok(Some(
                    strict(&template, &[first], &[text], Type::numeric()).with_repr(Repr::Scaled),
                ))
            }
            ("power" | "pow", 2) => {
                let second = self.resolve(args[1].clone(), &float)?;
                if numeric || second.ty.kind == PgType::Numeric {
                    return Err(unsupported("a power of numeric"));
                }
                let texts = [text, self.text(&second)?];
                Ok(Some(strict("POW({0}, {1})", &[first, &second], &texts, float)))
            }
            _ => Err(unsupported(&format!("{name} of {}", first.ty.name()))),
        }
    }

    fn arithmetic_mod(&mut self, a: Typed, b: Typed) -> Result<Typed, Refused> {
        let ty = common(&a.ty, &b.ty)?;
        if ty.is_float() || !ty.is_number() || a.repr == Repr::Kept || b.repr == Repr::Kept {
            return Err(unsupported("mod of this type"));
        }
        let texts = [self.text(&a)?, self.text(&b)?];
        Ok(strict("({0} % {1})", &[&a, &b], &texts, ty.plain()))
    }
}

/// Arguments without names and stars.
pub(super) fn plain_arguments(
    list: &FunctionArgumentList,
    name: &str,
) -> Result<Vec<Expr>, Refused> {
    let plain = |arg: &FunctionArg| match arg {
        FunctionArg::Unnamed(FunctionArgExpr::Expr(expr)) => Ok(expr.clone()),
        _ => Err(unsupported(&format!("{name} with named arguments"))),
    };
    list.args.iter().map(plain).collect()
}
