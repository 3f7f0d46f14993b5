//! The type map: which MySQL type a column of PostgreSQL becomes.
//!
//! ```text
//! PgType + modifiers + what the column is used for ──[`assign`]──▶ TargetType
//! ```
//!
//! Exactness comes first. `numeric` without a scale becomes text, since `decimal` would lose the
//! scale that PostgreSQL keeps per value; `json` becomes text, since MySQL would reformat it;
//! intervals are text. Where two types are exact, [`TypeChoices`] says which. Only where MySQL needs a length, in keys and foreign keys, is unlimited text
//! limited, and a value that does not fit is then refused, never cut.
//!
//! Invariant: a column's type depends on its own table's definition alone (and on which of its
//! columns other tables reference) and on recorded choices, so that all sidecars agree on it.

use crate::catalog::{Column, Table, TargetType};
use crate::policy::{
    CitextChoice, JsonbChoice, NumericChoice, TextChoice, TypeChoices, UuidChoice,
};
use crate::value::PgType;

/// InnoDB's longest index entry in bytes, with the default page size and row format.
pub const KEY_BYTES_MAX: u32 = 3072;
/// Bytes of one character in `utf8mb4`.
const CHAR_BYTES: u32 = 4;
/// MySQL's longest row in bytes, off-page columns not counted; less a margin for its own needs.
const ROW_BYTES_MAX: u32 = 65_000;
/// Longest varchar that is worth a length of its own; longer ones become `longtext`.
const VARCHAR_CHARS_MAX: u32 = 16_000;
/// An interval's longest text is `-178956970 years -8 mons -2147483648 days -2562047788:00:54.775808`.
const INTERVAL_CHARS: u32 = 80;
/// `15:04:05.999999+15:59:59` and some room.
const TIMETZ_CHARS: u32 = 32;
/// `ffff:ffff:ffff:ffff:ffff:ffff:255.255.255.255/128`
const INET_CHARS: u32 = 49;
/// MySQL's widest decimal.
const DECIMAL_DIGITS_MAX: u32 = 65;
const DECIMAL_SCALE_MAX: u32 = 30;

/// Fills in `target` of every column. `referenced` are the positions that foreign keys of other
/// tables point to.
pub fn assign(table: &mut Table, referenced: &[usize], choices: TypeChoices) {
    let groups = indexed_groups(table, referenced, choices);
    let targets: Vec<TargetType> = (0..table.columns.len())
        .map(|at| target(&table.columns[at], budget(table, at, &groups, choices), choices))
        .collect();
    for (column, target) in table.columns.iter_mut().zip(targets) {
        column.target = target;
    }
    fit_row(table, &groups);
}

/// Sets of columns that need a full index in MySQL: the primary key, both sides of foreign keys.
/// Other unique constraints get a hash of long columns, and plain indexes a prefix.
fn indexed_groups(table: &Table, referenced: &[usize], choices: TypeChoices) -> Vec<Vec<usize>> {
    let mut groups = vec![table.key.clone()];
    groups.extend(table.foreign_keys.iter().map(|key| key.columns.clone()));
    let referenced_sets = table.uniques.iter().filter(|unique| {
        !unique.columns.is_empty() && unique.columns.iter().all(|at| referenced.contains(at))
    });
    groups.extend(referenced_sets.map(|unique| unique.columns.clone()));
    // No hash stands for "equal but for case", so citext under a constraint needs a whole index too.
    let is_citext = |at: &usize| {
        choices.citext == CitextChoice::Ci && table.columns[*at].type_ref.pg_type == PgType::Citext
    };
    let citext = table.uniques.iter().map(|unique| &unique.columns);
    groups.extend(citext.filter(|columns| columns.iter().any(is_citext)).cloned());
    groups.retain(|group| !group.is_empty());
    groups
}

/// Bytes that an unlimited column may take in the fullest index it is in; `None` if in none.
fn budget(table: &Table, at: usize, groups: &[Vec<usize>], choices: TypeChoices) -> Option<u32> {
    let limited_bytes = |column: &Column| limited_bytes(column, choices);
    let share = |group: &Vec<usize>| {
        let columns = || group.iter().map(|at| &table.columns[*at]);
        let fixed: u32 = columns().filter_map(&limited_bytes).sum();
        let open = u32::try_from(columns().filter(|c| limited_bytes(c).is_none()).count());
        KEY_BYTES_MAX.saturating_sub(fixed) / open.unwrap_or(1).max(1)
    };
    groups.iter().filter(|group| group.contains(&at)).map(share).min()
}

/// Bytes in an index of a type that has a limit of its own.
fn limited_bytes(column: &Column, choices: TypeChoices) -> Option<u32> {
    let kind = &column.type_ref.pg_type;
    match kind {
        PgType::Text if column.length.is_none_or(|length| length > VARCHAR_CHARS_MAX) => None,
        PgType::Bpchar if column.length.is_none() => None,
        PgType::Citext | PgType::Bytea | PgType::Json | PgType::Jsonb | PgType::Array(_) => None,
        PgType::Unsupported(_) => None,
        _ => index_bytes(&target(column, Some(KEY_BYTES_MAX), choices)),
    }
}

/// Bytes that a MySQL column of this type takes in an index; `None` if it cannot be in one whole.
#[must_use]
pub fn index_bytes(target: &TargetType) -> Option<u32> {
    Some(match target {
        TargetType::Bool => 1,
        TargetType::SmallInt | TargetType::Enum(_) => 2,
        TargetType::Int => 4,
        TargetType::Date => 3,
        TargetType::Time => 6,
        TargetType::BigInt | TargetType::Double | TargetType::DateTime => 8,
        TargetType::Uuid => 36,
        TargetType::UuidBinary => 16,
        TargetType::Decimal { precision, .. } => precision / 2 + 2,
        TargetType::VarChar { length }
        | TargetType::Char { length }
        | TargetType::CitextVarChar { length } => length * CHAR_BYTES,
        TargetType::VarBinary { length } => *length,
        TargetType::LongText
        | TargetType::CitextLongText
        | TargetType::LongBlob
        | TargetType::Json
        | TargetType::None => return None,
    })
}

/// The MySQL type of one column. `budget` is set where the column needs a full index.
fn target(column: &Column, budget: Option<u32>, choices: TypeChoices) -> TargetType {
    match &column.type_ref.pg_type {
        PgType::Bool => TargetType::Bool,
        PgType::Int2 => TargetType::SmallInt,
        PgType::Int4 => TargetType::Int,
        PgType::Int8 | PgType::Oid => TargetType::BigInt,
        PgType::Float4 | PgType::Float8 => TargetType::Double,
        PgType::Numeric => {
            numeric(column.precision, budget.is_some() || choices.numeric == NumericChoice::Decimal)
        }
        PgType::Text => match (column.length, budget, choices.text) {
            (None, None, TextChoice::VarChar(length)) => TargetType::VarChar { length },
            (length, budget, _) => text(length, budget),
        },
        PgType::Bpchar => match column.length {
            Some(length) if length <= 255 => TargetType::Char { length },
            length => text(length, budget),
        },
        PgType::Citext => match budget {
            Some(bytes) => TargetType::CitextVarChar { length: bytes / CHAR_BYTES },
            None if choices.citext == CitextChoice::Text => TargetType::LongText,
            None => TargetType::CitextLongText,
        },
        PgType::Name => TargetType::VarChar { length: 63 },
        PgType::Enum(labels) => enumeration(labels),
        PgType::Bytea => match budget {
            Some(length) => TargetType::VarBinary { length },
            None => TargetType::LongBlob,
        },
        PgType::Uuid => match choices.uuid {
            UuidChoice::Char => TargetType::Uuid,
            UuidChoice::Binary => TargetType::UuidBinary,
        },
        PgType::Date => TargetType::Date,
        PgType::Time => TargetType::Time,
        PgType::TimeTz => TargetType::VarChar { length: TIMETZ_CHARS },
        PgType::Timestamp | PgType::TimestampTz => TargetType::DateTime,
        PgType::Interval => TargetType::VarChar { length: INTERVAL_CHARS },
        PgType::Json => TargetType::LongText,
        PgType::Jsonb if choices.jsonb == JsonbChoice::Text => TargetType::LongText,
        PgType::Jsonb | PgType::Array(_) => TargetType::Json,
        PgType::Inet | PgType::Cidr => TargetType::VarChar { length: INET_CHARS },
        PgType::Macaddr => TargetType::VarChar { length: 17 },
        PgType::Unsupported(_) => TargetType::None,
    }
}

fn text(length: Option<u32>, budget: Option<u32>) -> TargetType {
    match (length, budget) {
        (Some(length), _) if length <= VARCHAR_CHARS_MAX => TargetType::VarChar { length },
        (_, Some(bytes)) => TargetType::VarChar { length: bytes / CHAR_BYTES },
        _ => TargetType::LongText,
    }
}

/// `numeric(p,s)` as `decimal` where MySQL's is wide enough. A negative scale rounds to the left of
/// the point, and a scale beyond the precision means leading zeros: both fit a wider decimal.
/// What is wider, or has no scale, is text unless it has to be a number: then it is MySQL's widest.
fn numeric(precision: Option<(u32, i32)>, must_be_number: bool) -> TargetType {
    let (digits, scale) = precision.map_or((u32::MAX, DECIMAL_SCALE_MAX), |(precision, scale)| {
        let digits = precision.saturating_add(u32::try_from(-scale).unwrap_or(0));
        let scale = u32::try_from(scale).unwrap_or(0);
        (digits.max(scale), scale)
    });
    if digits <= DECIMAL_DIGITS_MAX && scale <= DECIMAL_SCALE_MAX || must_be_number {
        return TargetType::Decimal {
            precision: digits.min(DECIMAL_DIGITS_MAX),
            scale: scale.min(DECIMAL_SCALE_MAX),
        };
    }
    TargetType::LongText
}

/// MySQL strips trailing blanks from labels and takes `''` for its error value; enums with such
/// labels become text.
fn enumeration(labels: &[String]) -> TargetType {
    let odd = |label: &String| label.is_empty() || label.ends_with(' ') || label.contains('\0');
    if labels.is_empty() || labels.iter().any(odd) {
        return TargetType::VarChar { length: 63 };
    }
    TargetType::Enum(labels.to_vec())
}

/// Moves the longest varchars off the page until the row fits MySQL's limit. Columns that need a
/// full index stay: they are short by construction.
fn fit_row(table: &mut Table, groups: &[Vec<usize>]) {
    let bytes = |target: &TargetType| index_bytes(target).map_or(12, |bytes| bytes + 2);
    loop {
        let total: u32 = table.columns.iter().map(|column| bytes(&column.target)).sum();
        if total <= ROW_BYTES_MAX {
            return;
        }
        let movable = |at: &usize| {
            matches!(table.columns[*at].target, TargetType::VarChar { length } if length > 3)
                && !groups.iter().any(|group| group.contains(at))
        };
        let longest = (0..table.columns.len())
            .filter(movable)
            .max_by_key(|at| bytes(&table.columns[*at].target));
        let Some(longest) = longest else { return };
        table.columns[longest].target = TargetType::LongText;
    }
}

#[cfg(test)]
mod tests {
    use crate::catalog::Catalog;
    use crate::names::TableId;
    use crate::policy::TypeChoices;
    use expect_test::{Expect, expect};

    #[track_caller]
    fn check(columns: &str, expected: &Expect) {
        check_choosing("", columns, expected);
    }

    #[track_caller]
    fn check_choosing(choices: &str, columns: &str, expected: &Expect) {
        let choices = TypeChoices::parse(choices).unwrap();
        let catalog = Catalog::for_test_choosing(&[("t", columns)], choices);
        let table = catalog.by_id(TableId(1)).unwrap();
        let lines = table.columns.iter().map(|c| format!("{} {:?}\n", c.name, c.target));
        expected.assert_eq(&lines.collect::<String>());
    }

    #[test]
    fn plain_types() {
        check(
            "a:bool,b:int2,c:int4,d:int8,e:real,f:float8,g:uuid,h:date,i:time,j:timestamptz,k:bytea,l:json,m:jsonb,n:int4[],o:inet,p:interval,q:timetz",
            &expect![[r#"
                a Bool
                b SmallInt
                c Int
                d BigInt
                e Double
                f Double
                g Uuid
                h Date
                i Time
                j DateTime
                k LongBlob
                l LongText
                m Json
                n Json
                o VarChar { length: 49 }
                p VarChar { length: 80 }
                q VarChar { length: 32 }
            "#]],
        );
    }

    #[test]
    fn numeric_keeps_its_scale_or_becomes_text() {
        check(
            "a:numeric(12,2),b:numeric,c:numeric(5,-2),d:numeric(2,4),e:numeric(80,2)",
            &expect![[r#"
                a Decimal { precision: 12, scale: 2 }
                b LongText
                c Decimal { precision: 7, scale: 0 }
                d Decimal { precision: 4, scale: 4 }
                e LongText
            "#]],
        );
    }

    #[test]
    fn choices_hold_outside_of_keys() {
        let columns =
            "id:uuid*,k:citext*,a:jsonb,b:numeric,c:numeric(80,2),d:text,e:citext,f:json,g:jsonb[]";
        check_choosing(
            "jsonb=text numeric=decimal uuid=binary citext=text text=varchar(191)",
            columns,
            &expect![[r#"
                id UuidBinary
                k CitextVarChar { length: 764 }
                a LongText
                b Decimal { precision: 65, scale: 30 }
                c Decimal { precision: 65, scale: 2 }
                d VarChar { length: 191 }
                e LongText
                f LongText
                g Json
            "#]],
        );
    }

    #[test]
    fn text_in_a_key_shares_the_length_of_an_index() {
        check("a:text*,b:text", &expect!["a VarChar { length: 768 }\nb LongText\n"]);
        check("a:text*,b:uuid*", &expect!["a VarChar { length: 759 }\nb Uuid\n"]);
        check(
            "a:text*,b:bytea*,c:citext",
            &expect!["a VarChar { length: 384 }\nb VarBinary { length: 1536 }\nc CitextLongText\n"],
        );
    }

    #[test]
    fn labels_that_mysql_would_change_become_text() {
        check(
            "a:enum(x|y),b:enum(x|y )",
            &expect!["a Enum([\"x\", \"y\"])\nb VarChar { length: 63 }\n"],
        );
    }

    #[test]
    fn a_row_too_long_for_mysql_gives_up_its_longest_varchars() {
        check(
            "id:int4*,a:varchar(15000),b:varchar(10000),c:varchar(5000)",
            &expect![[r#"
                id Int
                a LongText
                b VarChar { length: 10000 }
                c VarChar { length: 5000 }
            "#]],
        );
    }
}
