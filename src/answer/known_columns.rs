//! What applications ask of `pg_catalog` about columns when they start, word for word: better-auth compares
//! its tables with those that there are, and serves nobody before it has.
//!
//! Invariant: only tables that the kept catalogue has are known; of views nothing is said.

use crate::answer::known::{Around, column_of};
use crate::answer::known_types::type_names;
use crate::dialect::ResultColumn;
use crate::value::Value;

/// Schemas that it asks for at once: those of the path, and those that it was told.
pub(super) const SCHEMAS_MAX: usize = 8;

/// The query, with so many parameters.
pub(super) fn text(schemas: usize) -> String {
    let schemas: Vec<String> = (1..=schemas).map(|number| format!("${number}")).collect();
    format!(
        "select ns.nspname as \"schema\", c.relname as \"table\", c.relkind = 'v' as \"isView\", \
         c.relkind = 'f' as \"isForeign\", a.attname as \"column\", typ.typname as \"dataType\", \
         not a.attnotnull as \"isNullable\", a.atthasdef as \"hasDefaultValue\", \
         pg_catalog.pg_get_serial_sequence(pg_catalog.quote_ident(ns.nspname) || '.' || \
         pg_catalog.quote_ident(c.relname), a.attname) is not null as \"isAutoIncrementing\" \
         from pg_catalog.pg_attribute as a inner join pg_catalog.pg_class as c on c.oid = a.attrelid \
         inner join pg_catalog.pg_namespace as ns on ns.oid = c.relnamespace \
         inner join pg_catalog.pg_type as typ on typ.oid = a.atttypid \
         where ns.nspname in ({}) and ns.nspname !~ '^pg_' \
         and pg_catalog.has_schema_privilege(ns.oid, 'USAGE') and c.relkind in ('r', 'v', 'p', 'f') \
         and a.attnum >= 0 and not a.attisdropped order by ns.nspname, c.relname, a.attnum",
        schemas.join(", ")
    )
}

pub(super) fn columns() -> Vec<ResultColumn> {
    let name = |of: &str| column_of(of, "name");
    let bool = |of: &str| column_of(of, "bool");
    vec![
        name("schema"),
        name("table"),
        bool("isView"),
        bool("isForeign"),
        name("column"),
        name("dataType"),
        bool("isNullable"),
        bool("hasDefaultValue"),
        bool("isAutoIncrementing"),
    ]
}

pub(super) fn rows(around: Around<'_>, values: &[Value]) -> Vec<Vec<Value>> {
    let types = type_names(around.catalog);
    let wanted = |schema: &str| {
        let named = |value: &Value| matches!(value, Value::Text(text) if text == schema);
        !schema.starts_with("pg_") && values.iter().any(named)
    };
    let tables = around.catalog.tables.values().filter(|table| wanted(table.name.schema()));
    let mut tables: Vec<_> = tables.collect();
    tables.sort_unstable_by_key(|table| (table.name.schema(), table.name.name()));
    let text = |text: &str| Value::Text(text.to_owned());
    let mut rows = Vec::new();
    for table in tables {
        for column in &table.columns {
            let has_default = column.default.is_some() || column.generated.is_some();
            rows.push(vec![
                text(table.name.schema()),
                text(table.name.name()),
                Value::Bool(false),
                Value::Bool(false),
                text(&column.name),
                types.get(&column.type_ref.oid).map_or(Value::Null, |name| text(name)),
                Value::Bool(!column.not_null),
                Value::Bool(has_default),
                Value::Bool(column.serial || column.identity),
            ]);
        }
    }
    rows
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::answer::known_types::Query;
    use crate::catalog::Catalog;
    use crate::sql::lexer::{Lexer, Token};

    #[test]
    fn columns_are_told_of_the_schemas_that_are_asked_for() {
        let sql = text(2).to_uppercase().replace("$1", "$1 -- the path\n");
        let tokens: Vec<Token> = Lexer::new(sql.as_bytes()).collect();
        assert_eq!(Query::of(&sql, &tokens), None, "quoted names and strings are not the same");
        let sql = text(2).replace("$1", "$1 -- the path\n").replace("select", "SELECT");
        let tokens: Vec<Token> = Lexer::new(sql.as_bytes()).collect();
        let query = Query::of(&sql, &tokens).unwrap();
        assert_eq!(query.parameters().len(), 2);
        let catalog = Catalog::for_test(&[("users", "id:int4*,tags:text[]")]);
        let around = Around { catalog: &catalog, path: &[] };
        let told = |schemas: [&str; 2]| {
            let rows = query.rows(around, &schemas.map(|schema| Value::Text(schema.to_owned())));
            let show = |row: &Vec<Value>| row.iter().map(Value::show).collect::<Vec<_>>();
            rows.iter().map(show).map(|row| row.join(" ")).collect::<Vec<_>>()
        };
        let expected = [
            "public users false false id int4 false false false",
            "public users false false tags _text false false false",
        ];
        assert_eq!(told(["pg_catalog", "public"]), expected);
        assert!(told(["pg_catalog", "other"]).is_empty());
    }
}
