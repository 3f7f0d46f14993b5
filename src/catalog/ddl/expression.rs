//! Expressions of PostgreSQL's catalogue (CHECKs, predicates, index expressions) in MySQL's words.
//!
//! ```text
//! pg_get_expr ──sqlparser──▶ tree ──[`translate`]──▶ text for MySQL and MariaDB, or `None`
//! ```
//!
//! Only what means the same on both is translated: comparisons within one kind of value, `IN`,
//! NULL tests, plain arithmetic, and a handful of functions. Ordering of text is not among them
//! (collations differ), nor are literals of dates and times.
//!
//! Invariant: the result holds nothing but names of the table's own columns, numbers, and strings
//! without quotes or backslashes; whatever else is met ends the translation.

use sqlparser::ast::{
    BinaryOperator, DataType, Expr, Function, FunctionArg, FunctionArgExpr, FunctionArguments,
    UnaryOperator, Value,
};
use sqlparser::dialect::PostgreSqlDialect;
use sqlparser::parser::{Parser, ParserOptions};

use crate::catalog::map::KEY_BYTES_MAX;
use crate::catalog::{Column, TargetType};
use crate::names::quote_mysql;

/// Longer or deeper expressions are left out with a warning; parsing stays cheap.
const EXPRESSION_BYTES_MAX: usize = 8 * 1024;

/// What an expression yields, as far as comparing it goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Number,
    Bool,
    Text,
    /// A quoted literal, whose type its neighbour decides.
    Literal,
    Null,
    /// Dates and times: comparable among themselves.
    Date,
    DateTime,
    /// Binary strings.
    Bytes,
}

/// The expression for MySQL; `None` where some part of it has no exact equal.
#[must_use]
pub fn translate(text: &str, columns: &[Column]) -> Option<String> {
    if text.len() > EXPRESSION_BYTES_MAX {
        return None;
    }
    Translation { columns, value: None }.expression(&parse(text)?).map(|(sql, _)| sql)
}

/// The CHECK of a domain, in which `VALUE` stands for `value`.
#[must_use]
pub fn translate_domain(text: &str, value: &Column) -> Option<String> {
    if text.len() > EXPRESSION_BYTES_MAX {
        return None;
    }
    Translation { columns: &[], value: Some(value) }.expression(&parse(text)?).map(|(sql, _)| sql)
}

/// An expression, and a generated column that holds it whole and can be indexed.
#[derive(Debug)]
pub struct Typed {
    pub sql: String,
    /// The column's type.
    pub kind: String,
    /// What it takes in an index.
    pub bytes: u32,
}

/// As [`translate`], where the result can be a column in an index.
#[must_use]
pub fn translate_typed(text: &str, columns: &[Column]) -> Option<Typed> {
    if text.len() > EXPRESSION_BYTES_MAX {
        return None;
    }
    let (sql, kind) = Translation { columns, value: None }.expression(&parse(text)?)?;
    let (kind, bytes) = match kind {
        Kind::Bool => ("tinyint(1)".to_owned(), 1),
        Kind::Date => ("date".to_owned(), 3),
        Kind::DateTime => ("datetime(6)".to_owned(), 8),
        Kind::Text => {
            let length = characters(&sql, columns)?;
            (format!("varchar({length})"), length * 4)
        }
        // How wide the result is depends on the values.
        Kind::Number | Kind::Bytes | Kind::Literal | Kind::Null => return None,
    };
    Some(Typed { sql, kind, bytes })
}

/// The most characters of a text expression. None of the functions makes a text longer.
fn characters(sql: &str, columns: &[Column]) -> Option<u32> {
    let literals = if sql.contains('\'') { u32::try_from(sql.len()).ok()? } else { 1 };
    let named = columns.iter().filter(|column| sql.contains(&quote_mysql(&column.name)));
    let lengths = named.map(|column| match &column.target {
        TargetType::VarChar { length }
        | TargetType::Char { length }
        | TargetType::CitextVarChar { length } => Some(*length),
        TargetType::Uuid => Some(36),
        TargetType::Enum(_) => Some(63),
        TargetType::LongText | TargetType::CitextLongText => None,
        // Conditions about it, but not its text.
        _ => Some(1),
    });
    let longest = lengths.collect::<Option<Vec<u32>>>()?.into_iter().max()?.max(literals);
    (longest * 4 <= KEY_BYTES_MAX).then_some(longest)
}

/// The text inside of `CHECK (…)`, as `pg_get_constraintdef` writes it.
#[must_use]
pub fn check_body(definition: &str) -> Option<&str> {
    let body = definition.strip_prefix("CHECK (")?;
    let body = body.strip_suffix(" NOT VALID").unwrap_or(body);
    body.strip_suffix(" NO INHERIT").unwrap_or(body).strip_suffix(')')
}

/// Splits a list of index expressions at its commas.
#[must_use]
pub fn split_list(text: &str) -> Option<Vec<String>> {
    let options = ParserOptions::new().with_unescape(false);
    let mut parser =
        Parser::new(&PostgreSqlDialect {}).with_options(options).try_with_sql(text).ok()?;
    let list = parser.parse_comma_separated(Parser::parse_expr).ok()?;
    Some(list.iter().map(ToString::to_string).collect())
}

fn parse(text: &str) -> Option<Expr> {
    let options = ParserOptions::new().with_unescape(false);
    let mut parser =
        Parser::new(&PostgreSqlDialect {}).with_options(options).try_with_sql(text).ok()?;
    let expression = parser.parse_expr().ok()?;
    // Anything left over means that the text was read as less than it is.
    (parser.peek_token().token == sqlparser::tokenizer::Token::EOF).then_some(expression)
}

struct Translation<'a> {
    columns: &'a [Column],
    /// What `VALUE` means in the CHECK of a domain.
    value: Option<&'a Column>,
}

impl Translation<'_> {
    fn expression(&self, expression: &Expr) -> Option<(String, Kind)> {
        match expression {
            Expr::Identifier(name) if name.quote_style.is_none() && name.value == "VALUE" => {
                self.kind_of(self.value?)
            }
            Expr::Identifier(name) => self.column(&name.value),
            Expr::Value(value) => literal(&value.value),
            // Every operation below brings its own parentheses.
            Expr::Nested(inner) => self.expression(inner),
            Expr::IsNull(inner) => self.test(inner, "IS NULL"),
            Expr::IsNotNull(inner) => self.test(inner, "IS NOT NULL"),
            Expr::IsTrue(inner) => self.test_bool(inner, "IS TRUE"),
            Expr::IsNotTrue(inner) => self.test_bool(inner, "IS NOT TRUE"),
            Expr::IsFalse(inner) => self.test_bool(inner, "IS FALSE"),
            Expr::IsNotFalse(inner) => self.test_bool(inner, "IS NOT FALSE"),
            Expr::UnaryOp { op: UnaryOperator::Not, expr } => {
                let (sql, kind) = self.expression(expr)?;
                (kind == Kind::Bool).then(|| (format!("(NOT {sql})"), Kind::Bool))
            }
            Expr::UnaryOp { op: UnaryOperator::Minus, expr } => {
                let (sql, kind) = self.expression(expr)?;
                (kind == Kind::Number).then(|| (format!("(-{sql})"), Kind::Number))
            }
            Expr::BinaryOp { left, op, right } => self.operation(left, op, right),
            Expr::Between { expr, negated, low, high } => {
                let parts = [expr, low, high].map(|part| self.expression(part));
                let [
                    Some((value, Kind::Number)),
                    Some((low, Kind::Number)),
                    Some((high, Kind::Number)),
                ] = parts
                else {
                    return None;
                };
                let not = if *negated { "NOT " } else { "" };
                Some((format!("({value} {not}BETWEEN {low} AND {high})"), Kind::Bool))
            }
            Expr::InList { expr, list, negated } => self.list(expr, list, *negated),
            Expr::AnyOp { left, compare_op: BinaryOperator::Eq, right, .. } => {
                self.list(left, elements(right)?, false)
            }
            Expr::AllOp { left, compare_op: BinaryOperator::NotEq, right } => {
                self.list(left, elements(right)?, true)
            }
            Expr::Cast { expr, data_type, .. } => self.cast(expr, data_type),
            Expr::Function(function) => self.function(function),
            _ => None,
        }
    }

    fn column(&self, name: &str) -> Option<(String, Kind)> {
        self.kind_of(self.columns.iter().find(|column| column.name == name)?)
    }

    fn kind_of(&self, column: &Column) -> Option<(String, Kind)> {
        let kind = match &column.target {
            TargetType::Bool => Kind::Bool,
            TargetType::SmallInt
            | TargetType::Int
            | TargetType::BigInt
            | TargetType::Double
            | TargetType::Decimal { .. } => Kind::Number,
            // Numbers, intervals and addresses that are kept as text do not compare as text.
            TargetType::VarChar { .. }
            | TargetType::Char { .. }
            | TargetType::LongText
            | TargetType::CitextVarChar { .. }
            | TargetType::CitextLongText
                if is_text(column) =>
            {
                Kind::Text
            }
            TargetType::Uuid | TargetType::Enum(_) => Kind::Text,
            TargetType::VarBinary { .. } | TargetType::LongBlob => Kind::Bytes,
            TargetType::Date => Kind::Date,
            TargetType::DateTime => Kind::DateTime,
            _ => return self.null_only(column),
        };
        Some((quote_mysql(&column.name), kind))
    }

    /// A column that nothing but `IS NULL` can be asked about.
    fn null_only(&self, column: &Column) -> Option<(String, Kind)> {
        (column.target != TargetType::None).then(|| (quote_mysql(&column.name), Kind::Null))
    }

    fn test(&self, inner: &Expr, test: &str) -> Option<(String, Kind)> {
        let (sql, _) = self.expression(inner)?;
        Some((format!("({sql} {test})"), Kind::Bool))
    }

    fn test_bool(&self, inner: &Expr, test: &str) -> Option<(String, Kind)> {
        let (sql, kind) = self.expression(inner)?;
        (kind == Kind::Bool).then(|| (format!("({sql} {test})"), Kind::Bool))
    }

    fn operation(
        &self,
        left: &Expr,
        operator: &BinaryOperator,
        right: &Expr,
    ) -> Option<(String, Kind)> {
        use BinaryOperator as Op;
        let (left, a) = self.expression(left)?;
        let (right, b) = self.expression(right)?;
        let (sign, kind) = match operator {
            Op::And if (a, b) == (Kind::Bool, Kind::Bool) => ("AND", Kind::Bool),
            Op::Or if (a, b) == (Kind::Bool, Kind::Bool) => ("OR", Kind::Bool),
            Op::Plus if (a, b) == (Kind::Number, Kind::Number) => ("+", Kind::Number),
            Op::Minus if (a, b) == (Kind::Number, Kind::Number) => ("-", Kind::Number),
            Op::Multiply if (a, b) == (Kind::Number, Kind::Number) => ("*", Kind::Number),
            Op::Eq if equatable(a, b) => ("=", Kind::Bool),
            Op::NotEq if equatable(a, b) => ("<>", Kind::Bool),
            Op::Lt if ordered(a, b) => ("<", Kind::Bool),
            Op::LtEq if ordered(a, b) => ("<=", Kind::Bool),
            Op::Gt if ordered(a, b) => (">", Kind::Bool),
            Op::GtEq if ordered(a, b) => (">=", Kind::Bool),
            _ => return None,
        };
        Some((format!("({left} {sign} {right})"), kind))
    }

    fn list(&self, left: &Expr, list: &[Expr], negated: bool) -> Option<(String, Kind)> {
        let (left, kind) = self.expression(left)?;
        let mut items = Vec::new();
        for item in list {
            let (item, other) = self.expression(item)?;
            if !equatable(kind, other) {
                return None;
            }
            items.push(item);
        }
        let not = if negated { "NOT " } else { "" };
        (!items.is_empty())
            .then(|| (format!("({left} {not}IN ({}))", items.join(", ")), Kind::Bool))
    }

    /// Casts that change nothing here: of text to text, of a literal to the type of its neighbour.
    fn cast(&self, inner: &Expr, to: &DataType) -> Option<(String, Kind)> {
        let (sql, kind) = self.expression(inner)?;
        let text = matches!(
            to,
            DataType::Text
                | DataType::Varchar(None)
                | DataType::CharacterVarying(None)
                | DataType::Custom(..)
        );
        let number = matches!(
            to,
            DataType::Numeric(_)
                | DataType::SmallInt(_)
                | DataType::Integer(_)
                | DataType::Int(_)
                | DataType::BigInt(_)
                | DataType::DoublePrecision
        );
        match kind {
            Kind::Text | Kind::Literal if text || *to == DataType::Uuid => Some((sql, kind)),
            // `'-1'::integer` is how negative numbers are written out.
            Kind::Literal if number => {
                let digits = sql.trim_matches('\'');
                digits.parse::<i64>().ok().map(|_| (digits.to_owned(), Kind::Number))
            }
            // A wider type changes no comparison; a narrower one is never written for a bare literal.
            Kind::Number if number => Some((sql, kind)),
            _ => None,
        }
    }

    fn function(&self, function: &Function) -> Option<(String, Kind)> {
        let FunctionArguments::List(list) = &function.args else { return None };
        let mut arguments = Vec::new();
        for argument in &list.args {
            let FunctionArg::Unnamed(FunctionArgExpr::Expr(argument)) = argument else {
                return None;
            };
            arguments.push(self.expression(argument)?);
        }
        let name = function.name.to_string();
        let kinds: Vec<Kind> = arguments.iter().map(|(_, kind)| *kind).collect();
        let (mysql, kind) = match (name.as_str(), kinds.as_slice()) {
            ("lower", [Kind::Text]) => ("LOWER", Kind::Text),
            ("upper", [Kind::Text]) => ("UPPER", Kind::Text),
            ("btrim" | "TRIM", [Kind::Text]) => ("TRIM", Kind::Text),
            ("length" | "char_length" | "character_length", [Kind::Text]) => {
                ("CHAR_LENGTH", Kind::Number)
            }
            ("octet_length", [Kind::Text | Kind::Bytes]) | ("length", [Kind::Bytes]) => {
                ("LENGTH", Kind::Number)
            }
            ("COALESCE" | "coalesce", [first, rest @ ..])
                if rest.iter().all(|kind| equatable(*first, *kind)) =>
            {
                ("COALESCE", *first)
            }
            _ => return None,
        };
        let arguments: Vec<String> = arguments.into_iter().map(|(sql, _)| sql).collect();
        Some((format!("{mysql}({})", arguments.join(", ")), kind))
    }
}

/// True where a column's text in MySQL is the text that PostgreSQL compares.
fn is_text(column: &Column) -> bool {
    use crate::value::PgType;
    matches!(
        column.type_ref.pg_type,
        PgType::Text | PgType::Bpchar | PgType::Citext | PgType::Name | PgType::Enum(_)
    ) && !folded(column)
}

/// citext in a column that tells upper from lower case: it compares otherwise than PostgreSQL's.
fn folded(column: &Column) -> bool {
    let ignores_case =
        matches!(column.target, TargetType::CitextVarChar { .. } | TargetType::CitextLongText);
    column.type_ref.pg_type == crate::value::PgType::Citext && !ignores_case
}

fn literal(value: &Value) -> Option<(String, Kind)> {
    match value {
        Value::Number(digits, _) if digits.bytes().all(|b| b.is_ascii_digit() || b == b'.') => {
            Some((digits.clone(), Kind::Number))
        }
        // MySQL keeps an expression as text, and reads its own quotes wrongly again where
        // NO_BACKSLASH_ESCAPES is set.
        Value::SingleQuotedString(text) if !text.contains(['\\', '\'', '\0']) => {
            Some((format!("'{text}'"), Kind::Literal))
        }
        Value::Boolean(true) => Some(("TRUE".to_owned(), Kind::Bool)),
        Value::Boolean(false) => Some(("FALSE".to_owned(), Kind::Bool)),
        _ => None,
    }
}

/// The elements of `ARRAY[…]`, under whatever casts PostgreSQL has put around it.
fn elements(array: &Expr) -> Option<&[Expr]> {
    match array {
        Expr::Array(array) => Some(&array.elem),
        Expr::Nested(inner) => elements(inner),
        Expr::Cast { expr, .. } => elements(expr),
        _ => None,
    }
}

fn equatable(a: Kind, b: Kind) -> bool {
    match (a, b) {
        (Kind::Null, _) | (_, Kind::Null) | (Kind::Bytes, _) => false,
        (Kind::Text, Kind::Literal) | (Kind::Literal, Kind::Text) => true,
        (Kind::Literal, Kind::Literal) => false,
        (a, b) => a == b,
    }
}

fn ordered(a: Kind, b: Kind) -> bool {
    a == b && matches!(a, Kind::Number | Kind::Date | Kind::DateTime)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalog::Catalog;
    use crate::names::TableId;

    const COLUMNS: &str = "id:int4*,email:text?,kind:varchar(20),status:enum(on|off),ok:bool,\
        price:numeric(8,2),free:numeric,at:timestamptz,until:timestamptz?,ip:inet?,u:uuid,b:bytea";

    #[track_caller]
    fn check(postgres: &str, mysql: &str) {
        let catalog = Catalog::for_test(&[("t", COLUMNS)]);
        let table = catalog.by_id(TableId(1)).unwrap();
        let got = translate(postgres, &table.columns);
        assert_eq!(got.as_deref().unwrap_or("refused"), mysql);
    }

    #[test]
    fn what_means_the_same_is_translated() {
        check("(id >= 0)", "(`id` >= 0)");
        check("((at < until) AND ok)", "((`at` < `until`) AND `ok`)");
        check(
            "((kind)::text = ANY ((ARRAY['a'::character varying, 'b'::character varying])::text[]))",
            "(`kind` IN ('a', 'b'))",
        );
        check("(status = 'on'::public.user_status)", "(`status` = 'on')");
        check("lower((kind)::text)", "LOWER(`kind`)");
        check("(length(email) <= 100)", "(CHAR_LENGTH(`email`) <= 100)");
        check("(price > (0)::numeric)", "(`price` > 0)");
        check("(NOT ok)", "(NOT `ok`)");
        check("(id > '-1'::integer)", "(`id` > -1)");
        check("(ip IS NOT NULL)", "(`ip` IS NOT NULL)");
        check("(octet_length(b) = 32)", "(LENGTH(`b`) = 32)");
        check("(((id - 1) * 2) < id)", "(((`id` - 1) * 2) < `id`)");
    }

    #[test]
    fn what_might_differ_is_refused() {
        for odd in [
            "(email > 'a'::text)",
            "(email ~ '^x'::text)",
            "(free > (0)::numeric)",
            "(at > '2020-01-01 00:00:00+00'::timestamp with time zone)",
            "(email = 'it''s'::text)",
            "(email = E'a\\\\b'::text)",
            "(now() > at)",
            "(other = 1)",
            "(ip = '10.0.0.1'::inet)",
            "(id / 2 > 1)",
            "(status < 'off'::public.user_status)",
        ] {
            check(odd, "refused");
        }
    }

    #[test]
    fn the_body_of_a_check_is_found() {
        assert_eq!(check_body("CHECK ((a > 0))"), Some("(a > 0)"));
        assert_eq!(check_body("CHECK ((a > 0)) NOT VALID"), Some("(a > 0)"));
        assert_eq!(check_body("EXCLUDE USING gist (a WITH &&)"), None);
    }

    #[test]
    fn a_list_is_split_outside_parentheses() {
        let list = split_list("lower(a), COALESCE(b, ''::text)").unwrap();
        assert_eq!(list, ["lower(a)", "COALESCE(b, ''::TEXT)"]);
    }
}
