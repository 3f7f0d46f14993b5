//! What drivers ask of `pg_catalog` about types, word for word, and the answers out of the kept catalogue.
//!
//! ```text
//! tokio-postgres, sqlx   a type by its OID, the labels of an enum
//! postgres.js            all arrays and their elements
//! psycopg                a type by its name
//! Sequelize              all types, with the ranges over them
//! SQLAlchemy             whether a table is there
//! better-auth            all columns ([`known_columns`])
//! ```
//!
//! Invariant: only types that are built in, or that a column has, are known; of others nothing is said.

use std::collections::HashMap;

use crate::answer::known::{Around, column, column_of, special};
use crate::answer::known_columns::{self, SCHEMAS_MAX};
use crate::catalog::{Catalog, Column, RelationKind};
use crate::dialect::{ResultColumn, Type};
use crate::names::Oid;
use crate::sql::lexer::{Kind, Token};
use crate::value::{PgType, Value, builtins};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Query {
    TokioType,
    EnumLabels,
    SqlxType,
    SqlxByName,
    SqlxArrayOfName,
    ArrayTypes,
    PsycopgType,
    SequelizeTypes,
    HasTable,
    /// Of so many schemas.
    Columns(usize),
}

/// Ranges that are built in: of which type, name, own OID, array's.
const RANGES: &[(Oid, &str, Oid, Oid)] = &[
    (23, "int4range", 3904, 3905),
    (1700, "numrange", 3906, 3907),
    (1114, "tsrange", 3908, 3909),
    (1184, "tstzrange", 3910, 3911),
    (1082, "daterange", 3912, 3913),
    (20, "int8range", 3926, 3927),
];

const TEXTS: &[(Query, &str)] = &[
    (
        Query::TokioType,
        "select t.typname, t.typtype, t.typelem, r.rngsubtype, t.typbasetype, n.nspname, t.typrelid \
         from pg_catalog.pg_type t left outer join pg_catalog.pg_range r on r.rngtypid = t.oid \
         inner join pg_catalog.pg_namespace n on t.typnamespace = n.oid where t.oid = $1",
    ),
    (
        Query::EnumLabels,
        "select enumlabel from pg_catalog.pg_enum where enumtypid = $1 order by enumsortorder",
    ),
    (
        Query::SqlxType,
        "select oid::regtype::text, typtype, typcategory, typrelid, typelem, typbasetype \
         from pg_catalog.pg_type where oid = $1",
    ),
    (Query::SqlxByName, "select $1::regtype::oid"),
    (
        Query::SqlxArrayOfName,
        "select oid, typarray from pg_catalog.pg_type where oid = $1::regtype::oid",
    ),
    (
        Query::ArrayTypes,
        "select b.oid, b.typarray from pg_catalog.pg_type a \
         left join pg_catalog.pg_type b on b.oid = a.typelem where a.typcategory = 'A' \
         group by b.oid, b.typarray order by b.oid",
    ),
    (
        Query::PsycopgType,
        "select typname as name, oid, typarray as array_oid, oid::regtype::text as regtype, \
         typdelim as delimiter from pg_type t where t.oid = to_regtype($1) order by t.oid",
    ),
    (
        Query::SequelizeTypes,
        "with ranges as (select pg_range.rngtypid, pg_type.typname as rngtypname, \
         pg_type.typarray as rngtyparray, pg_range.rngsubtype from pg_range \
         left outer join pg_type on pg_type.oid = pg_range.rngtypid) \
         select pg_type.typname, pg_type.typtype, pg_type.oid, pg_type.typarray, \
         ranges.rngtypname, ranges.rngtypid, ranges.rngtyparray from pg_type \
         left outer join ranges on pg_type.oid = ranges.rngsubtype \
         where (pg_type.typtype in('b', 'e'))",
    ),
    (
        Query::HasTable,
        "select pg_catalog.pg_class.relname from pg_catalog.pg_class join pg_catalog.pg_namespace \
         on pg_catalog.pg_namespace.oid = pg_catalog.pg_class.relnamespace \
         where pg_catalog.pg_class.relname = $1::varchar and pg_catalog.pg_class.relkind = any \
         (array[$2::varchar, $3::varchar, $4::varchar, $5::varchar, $6::varchar]) \
         and pg_catalog.pg_table_is_visible(pg_catalog.pg_class.oid) \
         and pg_catalog.pg_namespace.nspname != $7::varchar",
    ),
];

/// The tokens of a text, words in lower case, each followed by a blank.
fn words(sql: &str, tokens: &[Token]) -> String {
    let mut out = String::with_capacity(sql.len());
    for token in tokens {
        let text = String::from_utf8_lossy(token.text(sql.as_bytes()));
        match token.kind {
            Kind::Word => out.push_str(&text.to_ascii_lowercase()),
            _ => out.push_str(&text),
        }
        out.push(' ');
    }
    out
}

/// The texts in that form, made once.
fn known() -> &'static [(Query, String)] {
    static KNOWN: std::sync::OnceLock<Vec<(Query, String)>> = std::sync::OnceLock::new();
    KNOWN.get_or_init(|| {
        let form = |text: &str| {
            let tokens: Vec<Token> = crate::sql::lexer::Lexer::new(text.as_bytes()).collect();
            words(text, &tokens)
        };
        let columns = (1..=SCHEMAS_MAX).map(Query::Columns);
        let columns = columns.zip((1..).map(|count| form(&known_columns::text(count))));
        TEXTS.iter().map(|(query, text)| (*query, form(text))).chain(columns).collect()
    })
}

/// A type, as `pg_type` has it.
struct Fact {
    oid: Oid,
    name: String,
    /// As `regtype` prints it.
    shown: String,
    schema: String,
    kind: &'static str,
    category: &'static str,
    element: Oid,
    array: Oid,
    base: Oid,
    labels: Vec<String>,
}

impl Query {
    pub(super) fn of(sql: &str, tokens: &[Token]) -> Option<Self> {
        let named = |token: &Token| {
            let text = token.text(sql.as_bytes());
            text.len() > 4
                && (text[..3].eq_ignore_ascii_case(b"pg_") || text.eq_ignore_ascii_case(b"regtype"))
        };
        if !tokens.iter().any(named) {
            return None;
        }
        let form = words(sql, tokens);
        known().iter().find(|(_, known)| *known == form).map(|(query, _)| *query)
    }

    pub(super) fn columns(self) -> Vec<ResultColumn> {
        let letter = |name: &str| column(name, special(18, "char"));
        let oid = |name: &str| column_of(name, "oid");
        let name = |of: &str| column_of(of, "name");
        match self {
            Self::TokioType => vec![
                name("typname"),
                letter("typtype"),
                oid("typelem"),
                oid("rngsubtype"),
                oid("typbasetype"),
                name("nspname"),
                oid("typrelid"),
            ],
            Self::EnumLabels => vec![name("enumlabel")],
            Self::SqlxType => vec![
                column_of("oid", "text"),
                letter("typtype"),
                letter("typcategory"),
                oid("typrelid"),
                oid("typelem"),
                oid("typbasetype"),
            ],
            Self::SqlxByName => vec![oid("oid")],
            Self::SqlxArrayOfName | Self::ArrayTypes => vec![oid("oid"), oid("typarray")],
            Self::PsycopgType => vec![
                name("name"),
                oid("oid"),
                oid("array_oid"),
                column_of("regtype", "text"),
                letter("delimiter"),
            ],
            Self::SequelizeTypes => vec![
                name("typname"),
                letter("typtype"),
                oid("oid"),
                oid("typarray"),
                name("rngtypname"),
                oid("rngtypid"),
                oid("rngtyparray"),
            ],
            Self::HasTable => vec![name("relname")],
            Self::Columns(_) => known_columns::columns(),
        }
    }

    pub(super) fn parameters(self) -> Vec<Type> {
        let of = |name: &str| column_of("", name).ty;
        match self {
            Self::TokioType | Self::EnumLabels | Self::SqlxType => vec![of("oid")],
            // `regtype`, which is written as its name.
            Self::SqlxByName | Self::SqlxArrayOfName => vec![special(2206, "regtype")],
            Self::ArrayTypes | Self::SequelizeTypes => Vec::new(),
            Self::PsycopgType => vec![of("text")],
            Self::HasTable => vec![of("varchar"); 7],
            Self::Columns(schemas) => vec![of("name"); schemas],
        }
    }

    pub(super) fn rows(self, around: Around<'_>, values: &[Value]) -> Vec<Vec<Value>> {
        match self {
            Self::HasTable => return has_table(around, values),
            Self::Columns(_) => return known_columns::rows(around, values),
            _ => {}
        }
        let mut facts = facts(around.catalog);
        facts.retain(|fact| self.wants(fact, values.first()));
        facts.sort_unstable_by_key(|fact| fact.oid);
        match self {
            Self::EnumLabels => {
                let labels = facts.into_iter().flat_map(|fact| fact.labels);
                labels.map(|label| vec![Value::Text(label)]).collect()
            }
            _ => facts.iter().map(|fact| self.row(fact)).collect(),
        }
    }

    fn wants(self, fact: &Fact, wanted: Option<&Value>) -> bool {
        match (self, wanted) {
            (Self::TokioType | Self::SqlxType | Self::EnumLabels, Some(Value::Int(oid))) => {
                *oid == i64::from(fact.oid)
            }
            (
                Self::SqlxByName | Self::SqlxArrayOfName | Self::PsycopgType,
                Some(Value::Text(name)),
            ) => fact.is_named(name),
            (Self::ArrayTypes, _) => fact.array != 0,
            (Self::SequelizeTypes, _) => matches!(fact.kind, "b" | "e"),
            _ => false,
        }
    }

    /// One type, in the columns that were asked for.
    fn row(self, fact: &Fact) -> Vec<Value> {
        let oid = |oid: Oid| Value::Int(oid.into());
        let text = |text: &str| Value::Text(text.to_owned());
        let (name, kind) = (text(&fact.name), text(fact.kind));
        let (own, array) = (oid(fact.oid), oid(fact.array));
        let (element, base) = (oid(fact.element), oid(fact.base));
        match self {
            Self::TokioType => {
                vec![name, kind, element, Value::Null, base, text(&fact.schema), oid(0)]
            }
            Self::SqlxType => {
                vec![text(&fact.shown), kind, text(fact.category), oid(0), element, base]
            }
            Self::SqlxByName => vec![own],
            Self::SqlxArrayOfName | Self::ArrayTypes => vec![own, array],
            Self::PsycopgType => vec![name, own, array, text(&fact.shown), text(",")],
            Self::SequelizeTypes => {
                let range = RANGES.iter().find(|(of, ..)| *of == fact.oid);
                let null = || [Value::Null, Value::Null, Value::Null];
                let range = range.map(|(_, name, own, array)| [text(name), oid(*own), oid(*array)]);
                [vec![name, kind, own, array], range.unwrap_or_else(null).to_vec()].concat()
            }
            Self::EnumLabels | Self::HasTable | Self::Columns(_) => Vec::new(),
        }
    }
}

impl Fact {
    fn is_named(&self, name: &str) -> bool {
        let bare = name.replace('"', "");
        let (schema, last) = bare.rsplit_once('.').unwrap_or(("", &bare));
        let fits = last == self.name || bare == self.shown.replace('"', "");
        fits && (schema.is_empty() || schema == self.schema || bare == self.shown)
    }
}

fn facts(catalog: &Catalog) -> Vec<Fact> {
    let mut facts: Vec<Fact> = Vec::new();
    for (oid, name, shown, array) in builtins() {
        let own = Fact {
            oid,
            name: name.to_owned(),
            shown: shown.to_owned(),
            schema: "pg_catalog".to_owned(),
            kind: "b",
            category: category_of(oid),
            element: 0,
            array,
            base: 0,
            labels: Vec::new(),
        };
        facts.push(Fact {
            oid: array,
            name: format!("_{name}"),
            shown: format!("{shown}[]"),
            category: "A",
            element: oid,
            array: 0,
            schema: own.schema.clone(),
            labels: Vec::new(),
            ..own
        });
        facts.push(own);
    }
    let columns: Vec<&Column> = catalog.tables.values().flat_map(|table| &table.columns).collect();
    for column in &columns {
        let oid = column.type_ref.oid;
        if !facts.iter().any(|fact| fact.oid == oid) {
            facts.push(of_column(column, &columns));
        }
    }
    facts
}

/// `typname` by OID.
pub(super) fn type_names(catalog: &Catalog) -> HashMap<Oid, String> {
    facts(catalog).into_iter().map(|fact| (fact.oid, fact.name)).collect()
}

fn category_of(oid: Oid) -> &'static str {
    match oid {
        16 => "B",
        20 | 21 | 23 | 26 | 700 | 701 | 1700 => "N",
        19 | 25 | 1042 | 1043 => "S",
        650 | 869 => "I",
        1082 | 1083 | 1114 | 1184 | 1266 => "D",
        1186 => "T",
        _ => "U",
    }
}

fn of_column(column: &Column, columns: &[&Column]) -> Fact {
    let of = &column.type_ref;
    let is_domain = of.oid != of.base_oid;
    let (kind, category) = match &of.pg_type {
        _ if is_domain => ("d", category_of(of.base_oid)),
        PgType::Enum(_) => ("e", "E"),
        PgType::Array(_) => ("b", "A"),
        PgType::Citext => ("b", "S"),
        _ => ("b", "U"),
    };
    let element = match &of.pg_type {
        PgType::Array(element) => {
            let fits = |other: &&&Column| other.type_ref.pg_type == **element;
            columns.iter().find(fits).map_or(0, |other| other.type_ref.oid)
        }
        _ => 0,
    };
    let array = PgType::Array(Box::new(of.pg_type.clone()));
    let array = columns.iter().find(|other| other.type_ref.pg_type == array);
    let array = array.filter(|_| !is_domain).map_or(0, |other| other.type_ref.oid);
    let bare = column.type_name.replace('"', "");
    let bare = bare.split('(').next().unwrap_or(&bare);
    let (schema, name) = bare.rsplit_once('.').unwrap_or(("public", bare));
    let name = match name.strip_suffix("[]") {
        Some(element) => format!("_{element}"),
        None => name.to_owned(),
    };
    let labels = match &of.pg_type {
        PgType::Enum(labels) if !is_domain => labels.clone(),
        _ => Vec::new(),
    };
    Fact {
        oid: of.oid,
        name,
        shown: column.type_name.clone(),
        schema: schema.to_owned(),
        kind,
        category,
        element,
        array,
        base: if is_domain { of.base_oid } else { 0 },
        labels,
    }
}

fn has_table(around: Around<'_>, values: &[Value]) -> Vec<Vec<Value>> {
    let texts: Vec<&str> = values
        .iter()
        .map(|value| match value {
            Value::Text(text) => text.as_str(),
            _ => "",
        })
        .collect();
    let [name, kinds @ .., but] = &texts[..] else { return Vec::new() };
    let relations = around.catalog.relations.get(*name).into_iter().flatten();
    let found = relations.into_iter().any(|relation| {
        let kind = match relation.kind {
            RelationKind::Table => kinds.contains(&"r") || kinds.contains(&"p"),
            RelationKind::View => kinds.contains(&"v"),
            RelationKind::Other => false,
        };
        kind && around.path.contains(&relation.schema) && relation.schema != *but
    });
    if found { vec![vec![Value::Text((*name).to_owned())]] } else { Vec::new() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sql::lexer::Lexer;

    fn catalog() -> Catalog {
        Catalog::for_test(&[("users", "id:int4*,status:enum(on|off),tags:text[]")])
    }

    fn ask(sql: &str, values: &[Value]) -> Option<Vec<Vec<String>>> {
        let tokens: Vec<Token> = Lexer::new(sql.as_bytes()).collect();
        let query = Query::of(sql, &tokens)?;
        let (catalog, path) = (catalog(), ["public".to_owned()]);
        let around = Around { catalog: &catalog, path: &path };
        let rows = query.rows(around, values);
        assert!(rows.iter().all(|row| row.len() == query.columns().len()));
        Some(rows.iter().map(|row| row.iter().map(Value::show).collect()).collect())
    }

    #[test]
    fn a_type_is_found_by_its_oid_and_an_enum_has_its_labels() {
        let sql = "SELECT t.typname, t.typtype, t.typelem, r.rngsubtype, t.typbasetype, n.nspname, t.typrelid
            FROM pg_catalog.pg_type t LEFT OUTER JOIN pg_catalog.pg_range r ON r.rngtypid = t.oid
            INNER JOIN pg_catalog.pg_namespace n ON t.typnamespace = n.oid WHERE t.oid = $1";
        let found = ask(sql, &[Value::Int(90_001)]).unwrap();
        assert_eq!(found[0][1], "e");
        let sql =
            "SELECT enumlabel FROM pg_catalog.pg_enum WHERE enumtypid = $1 ORDER BY enumsortorder";
        assert_eq!(ask(sql, &[Value::Int(90_001)]).unwrap(), [["on"], ["off"]]);
        assert!(ask(sql, &[Value::Int(1)]).unwrap().is_empty());
        assert_eq!(ask("SELECT enumlabel FROM pg_catalog.pg_enum", &[]), None);
    }

    #[test]
    fn arrays_and_names_are_told_as_postgresql_tells_them() {
        let sql = TEXTS.iter().find(|(query, _)| *query == Query::ArrayTypes).unwrap().1;
        let rows = ask(sql, &[]).unwrap();
        assert_eq!(rows[0], ["16", "1000"]);
        assert!(rows.contains(&vec!["2950".to_owned(), "2951".to_owned()]));
        let sequelize = TEXTS.iter().find(|(query, _)| *query == Query::SequelizeTypes).unwrap().1;
        let int4 = ask(sequelize, &[]).unwrap().into_iter().find(|row| row[2] == "23").unwrap();
        assert_eq!(int4, ["int4", "b", "23", "1007", "int4range", "3904", "3905"]);
        let by_name = |name: &str| ask("SELECT $1::regtype::oid", &[Value::Text(name.to_owned())]);
        assert_eq!(by_name("integer").unwrap(), [["23"]]);
        assert_eq!(by_name("_text").unwrap(), [["1009"]]);
        assert!(by_name("nothing").unwrap().is_empty());
    }
}
