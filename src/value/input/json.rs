//! JSON: checked, and brought to the form that PostgreSQL's jsonb has.
//!
//! Invariant: [`normal`] of a jsonb text of PostgreSQL's is that text.

use serde::de::IgnoredAny;
use serde_json::Value as Document;

use super::{InputError, number};
use crate::value::Numeric;

fn wrong(error: &serde_json::Error) -> InputError {
    if error.to_string().starts_with("recursion limit") {
        return InputError::new("54001", "stack depth limit exceeded".to_owned());
    }
    let mut refused = InputError::new("22P02", "invalid input syntax for type json".to_owned());
    if error.is_eof() {
        refused.detail = Some("The input string ended unexpectedly.".to_owned());
    }
    refused
}

pub(super) fn check(text: &str) -> Result<(), InputError> {
    serde_json::from_str::<IgnoredAny>(text).map(drop).map_err(|error| wrong(&error))
}

/// Fields by length and then by bytes, the last of equal ones; numbers without exponents.
pub(in crate::value) fn normal(text: &str) -> Result<String, InputError> {
    let document = serde_json::from_str(text).map_err(|error| wrong(&error))?;
    let mut out = String::with_capacity(text.len() + text.len() / 8);
    push(&document, &mut out)?;
    Ok(out)
}

fn push(document: &Document, out: &mut String) -> Result<(), InputError> {
    match document {
        Document::Null => out.push_str("null"),
        Document::Bool(value) => out.push_str(if *value { "true" } else { "false" }),
        Document::Number(value) => match number::numeric(&value.to_string(), "numeric")? {
            Numeric::Finite(text) => out.push_str(&text),
            _ => return Err(InputError::syntax("json", "")),
        },
        Document::String(text) => string(text, out)?,
        Document::Array(items) => {
            out.push('[');
            for (at, item) in items.iter().enumerate() {
                out.push_str(if at > 0 { ", " } else { "" });
                push(item, out)?;
            }
            out.push(']');
        }
        Document::Object(fields) => {
            let mut fields: Vec<_> = fields.iter().collect();
            fields.sort_unstable_by_key(|(name, _)| (name.len(), *name));
            out.push('{');
            for (at, (name, value)) in fields.into_iter().enumerate() {
                out.push_str(if at > 0 { ", " } else { "" });
                string(name, out)?;
                out.push_str(": ");
                push(value, out)?;
            }
            out.push('}');
        }
    }
    Ok(())
}

fn string(text: &str, out: &mut String) -> Result<(), InputError> {
    out.push('"');
    for letter in text.chars() {
        match letter {
            '\0' => {
                let mut refused =
                    InputError::new("22P05", "unsupported Unicode escape sequence".to_owned());
                refused.detail = Some("\\u0000 cannot be converted to text.".to_owned());
                return Err(refused);
            }
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\x08' => out.push_str("\\b"),
            '\x0c' => out.push_str("\\f"),
            control if control < ' ' => out.push_str(&format!("\\u{:04x}", u32::from(control))),
            other => out.push(other),
        }
    }
    out.push('"');
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_document_gets_the_form_of_jsonb() {
        let text = r#"{"bb":1,"a":[1e2,1.50,-0],"b":{"x":"\u00e9\n\u0001"},"a":[]}"#;
        let expected = "{\"a\": [], \"b\": {\"x\": \"é\\n\\u0001\"}, \"bb\": 1}";
        assert_eq!(normal(text).unwrap(), expected);
        assert_eq!(normal(expected).unwrap(), expected);
        assert_eq!(normal("[1e2,1.50,-0, 1E-2]").unwrap(), "[100, 1.50, 0, 0.01]");
        assert_eq!(normal("\"\\u0000\"").unwrap_err().code, "22P05");
        for text in ["", "{", "nope", "{\"a\":}", "1 2", "'a'", "01"] {
            assert_eq!(normal(text).unwrap_err().code, "22P02", "{text}");
            assert_eq!(check(text).unwrap_err().code, "22P02", "{text}");
        }
        assert_eq!(normal(&"[".repeat(10_000)).unwrap_err().code, "54001");
    }
}
