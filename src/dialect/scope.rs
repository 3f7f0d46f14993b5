//! What names mean within a statement: relations of FROM, their columns, CTEs.
//!
//! ```text
//! scopes: [outer query] [this query: u(id, email), s(id)]      `email` ─▶ `u`.`email`, not null
//! ```
//!
//! Invariant: a name that could mean two columns is PostgreSQL's error 42702, never a guess.

use std::sync::Arc;

use sqlparser::ast::Ident;

use crate::catalog::{Capture, Column, RelationKind, Table, TargetType};
use crate::dialect::Type;
use crate::dialect::names::fold;
use crate::dialect::program::Text;
use crate::dialect::refuse::{Refused, unsupported};
use crate::dialect::translator::Translator;
use crate::dialect::typed::{Node, Repr, Typed};
use crate::dialect::types::{TID, XID};
use crate::names::{Oid, quote_mysql};
use crate::value::PgType;

/// A column that a name can mean.
#[derive(Clone, Debug)]
pub(super) struct Field {
    pub(super) name: String,
    pub(super) typed: Typed,
    pub(super) origin: Option<(Oid, i16)>,
}

/// An entry of FROM.
#[derive(Clone, Debug)]
pub(super) struct Relation {
    pub(super) alias: String,
    pub(super) schema: Option<String>,
    pub(super) fields: Vec<Field>,
    pub(super) table: Option<Arc<Table>>,
}

#[derive(Clone, Debug, Default)]
pub(super) struct Scope {
    pub(super) relations: Vec<Relation>,
    /// Columns of JOIN … USING: they stand for both sides'.
    pub(super) merged: Vec<Field>,
    /// System columns, where they mean something: `ctid`, `xmax`.
    pub(super) system: Vec<Field>,
}

/// The columns of a common table expression.
#[derive(Clone, Debug)]
pub(super) struct Cte {
    pub(super) name: String,
    /// Names, types; the text is `None` where the CTE is in MySQL's own WITH.
    pub(super) fields: Vec<Field>,
    pub(super) derived: Option<Text>,
}

impl Relation {
    /// A table under an alias.
    pub(super) fn of(table: &Arc<Table>, alias: &str) -> Self {
        let fields = table.columns.iter().map(|column| field(table, column, alias)).collect();
        Self {
            alias: alias.to_owned(),
            schema: Some(table.name.schema().to_owned()),
            fields,
            table: Some(Arc::clone(table)),
        }
    }

    /// The NULL-extended side of an outer join.
    pub(super) fn set_nullable(&mut self) {
        self.fields.iter_mut().for_each(|field| field.typed.nullable = true);
    }
}

fn field(table: &Table, column: &Column, alias: &str) -> Field {
    let text = Text::sql(format!("{}.{}", quote_mysql(alias), quote_mysql(&column.name)));
    let typed = Typed::sql(text, Type::of(column), !column.not_null).with_repr(repr(column));
    Field { name: column.name.clone(), typed, origin: Some((table.oid, column.number)) }
}

/// How MySQL holds a column's values.
fn repr(column: &Column) -> Repr {
    match (&column.type_ref.pg_type, &column.target) {
        (PgType::Numeric, TargetType::Decimal { .. }) if column.precision.is_some() => Repr::Scaled,
        (PgType::Numeric, TargetType::Decimal { .. }) => Repr::Plain,
        (PgType::Numeric | PgType::Interval | PgType::TimeTz, _) => Repr::Kept,
        (PgType::Citext, TargetType::CitextVarChar { .. } | TargetType::CitextLongText) => {
            Repr::Plain
        }
        (PgType::Uuid, TargetType::UuidBinary) => Repr::Binary,
        (PgType::Enum(_), TargetType::Enum(_)) => Repr::Enum,
        _ if column.nondeterministic => Repr::Kept,
        _ => Repr::Plain,
    }
}

impl Translator<'_> {
    /// The table that a name means.
    pub(super) fn table(&self, parts: &[String]) -> Result<Arc<Table>, Refused> {
        let (schema, name) = match parts {
            [name] => (None, name),
            [schema, name] => (Some(schema), name),
            [database, schema, name] if !database.is_empty() => (Some(schema), name),
            _ => return Err(unsupported("a name of so many parts")),
        };
        let missing = || match schema.map_or("pg_catalog", String::as_str) {
            // It is there, but not here.
            "information_schema" => unsupported("a query of information_schema"),
            "pg_catalog" if schema.is_some() || name.starts_with("pg_") => {
                unsupported("a query of pg_catalog")
            }
            _ => {
                Refused::error("42P01", format!("relation \"{}\" does not exist", parts.join(".")))
            }
        };
        let relations = self.around.catalog.relations.get(name).ok_or_else(missing)?;
        let found =
            match schema {
                Some(schema) => relations.iter().find(|relation| relation.schema == *schema),
                None => self.around.path.iter().find_map(|schema| {
                    relations.iter().find(|relation| relation.schema == *schema)
                }),
            };
        let found = found.ok_or_else(missing)?;
        if found.kind != RelationKind::Table {
            return Err(unsupported("a view"));
        }
        if self.around.catalog.roots.contains_key(&found.oid) {
            return Err(unsupported("a partition or a child table by its own name"));
        }
        let table = self.around.catalog.tables.get(&found.oid).ok_or_else(missing)?;
        match &table.capture {
            Capture::Off => Err(unsupported("a table that is not migrated")),
            Capture::Elsewhere => Err(unsupported("a table that PostgreSQL leads")),
            Capture::Impossible(_) if !crate::catalog::ddl::migrates(table) => {
                Err(unsupported("a table that cannot be migrated"))
            }
            _ => Ok(Arc::clone(table)),
        }
    }

    /// A column by its bare name, from the innermost scope outwards.
    pub(super) fn bare_column(&self, name: &str) -> Result<Field, Refused> {
        for scope in self.scopes.iter().rev() {
            if let Some(field) = scope.merged.iter().find(|field| field.name == name) {
                return Ok(field.clone());
            }
            let found: Vec<&Field> = scope
                .relations
                .iter()
                .flat_map(|relation| relation.fields.iter().filter(|field| field.name == name))
                .collect();
            match found[..] {
                [] => {}
                [field] => return Ok(field.clone()),
                _ => {
                    let message = format!("column reference \"{name}\" is ambiguous");
                    return Err(Refused::error("42702", message));
                }
            }
            if let Some(field) = self.system(scope, None, name)? {
                return Ok(field);
            }
        }
        if self.scopes.iter().any(|s| s.relations.iter().any(|relation| relation.alias == name)) {
            return Err(unsupported("a whole row as a value"));
        }
        Err(Refused::error("42703", format!("column \"{name}\" does not exist")))
    }

    /// `alias.column`, `schema.table.column`.
    pub(super) fn qualified_column(&self, parts: &[String]) -> Result<Field, Refused> {
        let (schema, alias, name) = match parts {
            [alias, name] => (None, alias, name),
            [schema, alias, name] => (Some(schema), alias, name),
            _ => return Err(unsupported("a name of so many parts")),
        };
        for scope in self.scopes.iter().rev() {
            let fits = |relation: &&Relation| {
                relation.alias == *alias
                    && schema.is_none_or(|s| relation.schema.as_ref() == Some(s))
            };
            let Some(relation) = scope.relations.iter().find(fits) else { continue };
            if let Some(field) = relation.fields.iter().find(|field| field.name == *name) {
                return Ok(field.clone());
            }
            if let Some(field) = self.system(scope, Some(relation), name)? {
                return Ok(field);
            }
            let message = format!("column {alias}.{name} does not exist");
            return Err(Refused::error("42703", message));
        }
        let message = format!("missing FROM-clause entry for table \"{alias}\"");
        Err(Refused::error("42P01", message))
    }

    /// A system column: `ctid` is the key where that is one column, and `xmax` what an upsert says.
    fn system(
        &self,
        scope: &Scope,
        relation: Option<&Relation>,
        name: &str,
    ) -> Result<Option<Field>, Refused> {
        if !matches!(name, "ctid" | "xmax" | "xmin" | "cmin" | "cmax" | "tableoid") {
            return Ok(None);
        }
        if let Some(field) = scope.system.iter().find(|field| field.name == name) {
            return Ok(Some(field.clone()));
        }
        let relation = match (relation, &scope.relations[..]) {
            (Some(relation), _) | (None, [relation]) => relation,
            (None, []) => return Ok(None),
            _ => return Err(unsupported("a system column")),
        };
        let Some(table) = &relation.table else { return Ok(None) };
        match (name, &table.key[..]) {
            ("ctid", [at]) => {
                let mut field = relation.fields[*at].clone();
                field.typed.ty = Type::special(TID, "tid");
                field.name = "ctid".to_owned();
                field.origin = None;
                Ok(Some(field))
            }
            _ => Err(unsupported("a system column")),
        }
    }

    pub(super) fn cte(&self, name: &str) -> Option<&Cte> {
        self.ctes.iter().rev().find(|cte| cte.name == name)
    }
}

/// `xmax` after an upsert: compared with 0 it tells an insert from an update.
pub(super) fn xmax(text: Text) -> Field {
    let typed = Typed {
        node: Node::Sql(text),
        ty: Type::special(XID, "xid"),
        nullable: false,
        repr: Repr::Plain,
    };
    Field { name: "xmax".to_owned(), typed, origin: None }
}

pub(super) fn folded(idents: &[Ident]) -> Vec<String> {
    idents.iter().map(fold).collect()
}
