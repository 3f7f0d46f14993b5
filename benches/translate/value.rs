//! One spelling for a value, whoever wrote it: numbers and documents by value, times without zone.

use std::collections::BTreeMap;

use tokio_postgres::types::Type;

/// A text of PostgreSQL.
pub fn of_postgres(text: &str, ty: &Type) -> String {
    match *ty {
        Type::TIMESTAMPTZ => moment(text.trim_end_matches("+00")),
        Type::TIMESTAMP | Type::TIME => moment(text),
        _ => shared(text, ty),
    }
}

/// A text of MySQL, where PostgreSQL has this type.
pub fn of_mysql(bytes: &[u8], ty: &Type) -> String {
    if *ty == Type::BYTEA {
        let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        return format!("\\x{hex}");
    }
    let text = String::from_utf8_lossy(bytes);
    match *ty {
        Type::BOOL if text == "1" => "t".to_owned(),
        Type::BOOL if text == "0" => "f".to_owned(),
        Type::TIMESTAMPTZ | Type::TIMESTAMP | Type::TIME => moment(&text),
        _ => shared(&text, ty),
    }
}

fn shared(text: &str, ty: &Type) -> String {
    match *ty {
        Type::NUMERIC if text.contains('.') => {
            text.trim_end_matches('0').trim_end_matches('.').to_owned()
        }
        Type::FLOAT4 | Type::FLOAT8 => {
            text.parse::<f64>().map_or(text.to_owned(), |value| format!("{:e}", value + 0.0))
        }
        Type::JSON | Type::JSONB => document(text),
        // MySQL has arrays as documents.
        ref ty if ty.name().starts_with('_') => array(text),
        _ => text.to_owned(),
    }
}

fn moment(text: &str) -> String {
    match text.contains('.') {
        true => text.trim_end_matches('0').trim_end_matches('.').to_owned(),
        false => text.to_owned(),
    }
}

fn document(text: &str) -> String {
    serde_json::from_str::<serde_json::Value>(text).map_or(text.to_owned(), |value| sorted(&value))
}

/// `{a,"b c"}` or `["a", "b c"]`, as the list of its texts.
fn array(text: &str) -> String {
    let elements: Vec<String> = match serde_json::from_str::<Vec<serde_json::Value>>(text) {
        Ok(values) => values
            .iter()
            .map(|value| value.as_str().map_or_else(|| value.to_string(), str::to_owned))
            .collect(),
        Err(_) => {
            let inner = text.trim_start_matches('{').trim_end_matches('}');
            let parts = inner.split(',').filter(|part| !part.is_empty());
            parts.map(|part| part.trim_matches('"').to_owned()).collect()
        }
    };
    format!("{elements:?}")
}

/// Fields in order, numbers as doubles.
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
