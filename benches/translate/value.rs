//! One spelling for a value, whoever wrote it: numbers and documents by value, times without zone.

use tokio_postgres::types::Type;

use crate::spelling;

/// A text of PostgreSQL.
pub fn of_postgres(text: &str, ty: &Type) -> String {
    match *ty {
        Type::TIMESTAMPTZ => spelling::decimal(text.trim_end_matches("+00")),
        Type::TIMESTAMP | Type::TIME => spelling::decimal(text),
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
        Type::TIMESTAMPTZ | Type::TIMESTAMP | Type::TIME => spelling::decimal(&text),
        _ => shared(&text, ty),
    }
}

fn shared(text: &str, ty: &Type) -> String {
    match *ty {
        Type::NUMERIC => spelling::decimal(text),
        Type::FLOAT4 | Type::FLOAT8 => spelling::double(text),
        Type::JSON | Type::JSONB => spelling::document(text),
        // MySQL has arrays as documents.
        ref ty if ty.name().starts_with('_') => array(text),
        _ => text.to_owned(),
    }
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
