//! json and jsonb as PostgreSQL reads them: json keeps its text, jsonb is brought to one form.
//!
//! ```text
//! {"b":1,"a":1e2,"b":2} ──▶ {"a": 100, "b": 2}      keys by length, then bytes; the last one counts
//! ```
//!
//! Invariant: the text of a jsonb is the one that PostgreSQL prints.

use serde_json::Value as Json;

use super::parse::{InputError, numeric};
use crate::value::Numeric;

/// The text as it is, if it is JSON.
pub(super) fn check(text: &str) -> Result<String, InputError> {
    parse(text, "json")?;
    Ok(text.to_owned())
}

/// The text that PostgreSQL prints for this jsonb.
pub(super) fn binary(text: &str) -> Result<String, InputError> {
    let document = parse(text, "jsonb")?;
    let mut out = String::with_capacity(text.len());
    push(&document, &mut out)?;
    Ok(out)
}

fn parse(text: &str, name: &str) -> Result<Json, InputError> {
    serde_json::from_str(text).map_err(|error| {
        if error.to_string().contains("recursion") {
            InputError::Unclear("a document nested so deeply")
        } else {
            InputError::syntax(name)
        }
    })
}

fn push(document: &Json, out: &mut String) -> Result<(), InputError> {
    match document {
        Json::Number(number) => match numeric(&number.to_string())? {
            Numeric::Finite(text) => out.push_str(&text),
            _ => return Err(InputError::syntax("jsonb")),
        },
        Json::Array(items) => {
            out.push('[');
            for (at, item) in items.iter().enumerate() {
                if at > 0 {
                    out.push_str(", ");
                }
                push(item, out)?;
            }
            out.push(']');
        }
        Json::Object(fields) => {
            let mut fields: Vec<_> = fields.iter().collect();
            fields.sort_by(|(a, _), (b, _)| a.len().cmp(&b.len()).then_with(|| a.cmp(b)));
            out.push('{');
            for (at, (name, value)) in fields.into_iter().enumerate() {
                if at > 0 {
                    out.push_str(", ");
                }
                string(name, out)?;
                out.push_str(": ");
                push(value, out)?;
            }
            out.push('}');
        }
        Json::String(text) => string(text, out)?,
        other => out.push_str(&other.to_string()),
    }
    Ok(())
}

/// As PostgreSQL escapes: control characters by their short forms or `\u00xx`, nothing else.
fn string(text: &str, out: &mut String) -> Result<(), InputError> {
    if text.contains('\0') {
        let message = "unsupported Unicode escape sequence".to_owned();
        return Err(InputError::Bad { code: "22P05", message });
    }
    out.push_str(&Json::from(text).to_string());
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_jsonb_is_printed_as_postgresql_prints_it() {
        for (text, printed) in [
            (r#"{"b":1,"a":1e2,"b":2}"#, r#"{"a": 100, "b": 2}"#),
            (r#"{"bb":[],"a":{},"c":null}"#, r#"{"a": {}, "c": null, "bb": []}"#),
            (r#"[1.50,-0,"\u00e9\n\u0001\/"]"#, "[1.50, 0, \"é\\n\\u0001/\"]"),
            ("12345678901234567890.123", "12345678901234567890.123"),
        ] {
            assert_eq!(binary(text).unwrap(), printed);
        }
        assert!(matches!(binary("{bad"), Err(InputError::Bad { code: "22P02", .. })));
    }
}
