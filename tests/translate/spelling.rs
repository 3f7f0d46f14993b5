//! Values that are written in several ways, in one: for tests and for the bench of translations.

use std::collections::BTreeMap;

/// Digits after the point count as far as they are not zero.
pub fn decimal(text: &str) -> String {
    match text.contains('.') {
        true => text.trim_end_matches('0').trim_end_matches('.').to_owned(),
        false => text.to_owned(),
    }
}

/// The sign of a zero is not told: MySQL's functions lose it.
pub fn double(text: &str) -> String {
    text.parse::<f64>().map_or(text.to_owned(), |value| format!("{:e}", value + 0.0))
}

/// Fields in order, numbers as doubles.
pub fn document(text: &str) -> String {
    serde_json::from_str::<serde_json::Value>(text).map_or(text.to_owned(), |value| sorted(&value))
}

fn sorted(value: &serde_json::Value) -> String {
    use serde_json::Value as Json;
    match value {
        Json::Object(fields) => {
            let fields: BTreeMap<&String, String> =
                fields.iter().map(|(name, value)| (name, sorted(value))).collect();
            format!("{fields:?}")
        }
        Json::Array(items) => format!("{:?}", items.iter().map(sorted).collect::<Vec<_>>()),
        Json::Number(number) => {
            let text = number.to_string();
            text.parse::<f64>().map_or(text, |value| format!("{value:e}"))
        }
        other => other.to_string(),
    }
}
