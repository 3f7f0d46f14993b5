//! Whether a column that exists can take another type without losing anything.
//!
//! Invariant: `Wider` only where MySQL's own conversion keeps every value as PostgreSQL has it; the
//! types are compared as `information_schema` writes them.

use crate::catalog::TargetType;
use crate::catalog::ddl::shape::quoted_by;
use crate::catalog::ddl::{Flavor, type_name};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    Same,
    Wider,
    /// A person decides.
    Other,
}

/// From `found`, a `COLUMN_TYPE`, to `target`.
pub(super) fn step(found: &str, target: &TargetType, flavor: Flavor) -> Step {
    let wanted = type_name(target, flavor);
    let wanted = wanted.split(" COLLATE").next().unwrap_or(&wanted);
    let wanted = wanted.split(" CHARACTER SET").next().unwrap_or(wanted);
    let found = match found.split_once('(') {
        // MariaDB gives integers a width, which is for display.
        Some((name @ ("smallint" | "int" | "bigint"), _)) => name,
        _ => found,
    };
    let json = *target == TargetType::Json && flavor == Flavor::MariaDb && found == "longtext";
    if json || found.eq_ignore_ascii_case(wanted) {
        return Step::Same;
    }
    if is_wider(found, target) { Step::Wider } else { Step::Other }
}

fn is_wider(found: &str, target: &TargetType) -> bool {
    let (name, inside) = found.split_once('(').unwrap_or((found, ""));
    let inside = inside.trim_end_matches(')');
    let numbers: Vec<u32> = inside.split(',').filter_map(|part| part.trim().parse().ok()).collect();
    match (name, numbers.as_slice(), target) {
        ("smallint", _, TargetType::Int) | ("smallint" | "int", _, TargetType::BigInt) => true,
        ("decimal", [digits, scale], TargetType::Decimal { precision, scale: to }) => {
            scale <= to && digits - scale.min(digits) <= precision - to.min(precision)
        }
        (
            "varchar",
            [from],
            TargetType::VarChar { length } | TargetType::CitextVarChar { length },
        )
        | ("char", [from], TargetType::Char { length })
        | ("varbinary", [from], TargetType::VarBinary { length }) => from <= length,
        ("varchar", _, TargetType::LongText | TargetType::CitextLongText)
        | ("json", _, TargetType::LongText)
        | ("varbinary", _, TargetType::LongBlob) => true,
        // Rows keep their labels, wherever the new ones are put.
        ("enum", _, TargetType::Enum(labels)) => {
            let kept: Option<Vec<String>> = labels_of(inside);
            kept.is_some_and(|kept| kept.iter().all(|label| labels.contains(label)))
        }
        _ => false,
    }
}

/// `'a','it''s'`.
fn labels_of(list: &str) -> Option<Vec<String>> {
    let mut labels = Vec::new();
    let mut rest = list;
    while let Some((label, tail)) = quoted_by('\'', rest) {
        labels.push(label);
        rest = tail.strip_prefix(',').unwrap_or(tail);
    }
    rest.is_empty().then_some(labels)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_keeps_every_value_is_wider() {
        let labels = |list: &[&str]| {
            TargetType::Enum(list.iter().map(|label| (*label).to_owned()).collect())
        };
        let decimal = |precision, scale| TargetType::Decimal { precision, scale };
        let cases = [
            ("int(11)", TargetType::Int, Step::Same),
            ("int", TargetType::BigInt, Step::Wider),
            ("bigint", TargetType::Int, Step::Other),
            ("varchar(20)", TargetType::VarChar { length: 40 }, Step::Wider),
            ("varchar(40)", TargetType::VarChar { length: 20 }, Step::Other),
            ("varchar(40)", TargetType::LongText, Step::Wider),
            ("longtext", TargetType::VarChar { length: 20 }, Step::Other),
            ("decimal(8,2)", decimal(10, 2), Step::Wider),
            ("decimal(8,2)", decimal(10, 5), Step::Other),
            ("decimal(8,2)", decimal(8, 1), Step::Other),
            ("decimal(65,30)", TargetType::LongText, Step::Other),
            ("json", TargetType::LongText, Step::Wider),
            ("enum('a','it''s')", labels(&["z", "it's", "a"]), Step::Wider),
            ("enum('a','b')", labels(&["a"]), Step::Other),
            ("char(36)", TargetType::UuidBinary, Step::Other),
            ("tinyint(1)", TargetType::Int, Step::Other),
        ];
        for (found, target, expected) in cases {
            assert_eq!(step(found, &target, Flavor::MySql), expected, "{found} {target:?}");
        }
        assert_eq!(step("longtext", &TargetType::Json, Flavor::MariaDb), Step::Same);
    }
}
