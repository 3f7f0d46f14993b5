//! How each type is asked for as text on both servers, and when two texts are one value.

/// What makes two texts the same value.
#[derive(Clone, Copy, Debug)]
pub(super) enum Form {
    /// The text itself.
    Text,
    Bool,
    /// Decimal digits, whatever the display scale.
    Number,
    /// The same 64 bits.
    Double,
    /// Trailing blanks mean nothing.
    Padded,
    Hex,
    /// Sixteen bytes, or the text of them.
    Uuid,
    Timestamp,
    TimestampTz,
    Time,
    Interval,
    /// The same document: key order, spacing and the spelling of numbers mean nothing.
    Json,
    Array,
}

impl Form {
    pub(super) fn of(type_name: &str, is_array: bool) -> Self {
        match type_name {
            _ if is_array => Self::Array,
            "bool" => Self::Bool,
            "int2" | "int4" | "int8" | "oid" | "numeric" => Self::Number,
            "float4" | "float8" => Self::Double,
            "bpchar" => Self::Padded,
            "bytea" => Self::Hex,
            "uuid" => Self::Uuid,
            "timestamp" => Self::Timestamp,
            "timestamptz" => Self::TimestampTz,
            "time" => Self::Time,
            "interval" => Self::Interval,
            "jsonb" => Self::Json,
            _ => Self::Text,
        }
    }

    pub(super) fn on_postgres(self, column: &str) -> String {
        const MOMENT: &str = "'YYYY-MM-DD HH24:MI:SS.US'";
        match self {
            Self::Bool => format!("{column}::int"),
            Self::Double => format!("{column}::float8"),
            Self::Hex => format!("encode({column}, 'hex')"),
            Self::Timestamp => format!("to_char({column}, {MOMENT})"),
            Self::TimestampTz => format!("to_char({column} AT TIME ZONE 'UTC', {MOMENT})"),
            Self::Time => format!("lpad(extract(epoch FROM {column})::numeric(12, 6)::text, 13)"),
            Self::Array => format!("array_to_json({column})"),
            // The output function, where a cast would do more: an inet gets its /32.
            Self::Text | Self::Interval => {
                format!("CASE WHEN {column} IS NOT NULL THEN format('%s', {column}) END")
            }
            Self::Number | Self::Padded | Self::Json | Self::Uuid => format!("{column}::text"),
        }
    }

    pub(super) fn on_mysql(self, column: &str) -> String {
        match self {
            Self::Hex => format!("LOWER(HEX({column}))"),
            Self::Uuid => format!("IF(LENGTH({column}) = 16, LOWER(HEX({column})), {column})"),
            Self::Timestamp | Self::TimestampTz => {
                format!("DATE_FORMAT({column}, '%Y-%m-%d %H:%i:%s.%f')")
            }
            Self::Time => {
                format!(
                    "LPAD(CAST(TIME_TO_SEC({column}) + MICROSECOND({column}) * 0.000001 AS DECIMAL(12, 6)), 13, ' ')"
                )
            }
            _ => column.to_owned(),
        }
    }

    pub(super) fn canonical(self, text: &str) -> String {
        match self {
            Self::Number => decimal(text),
            Self::Double => {
                text.parse::<f64>().map_or(text.to_owned(), |number| format!("{number:?}"))
            }
            Self::Uuid if text.len() == 32 && text.is_ascii() => {
                let parts = [&text[..8], &text[8..12], &text[12..16], &text[16..20], &text[20..]];
                parts.join("-")
            }
            Self::Padded => text.trim_end_matches(' ').to_owned(),
            Self::Json | Self::Array => match serde_json::from_str(text) {
                Ok(document) => json(&document),
                Err(_) => format!("not JSON: {text}"),
            },
            _ => text.to_owned(),
        }
    }
}

/// A document with sorted keys and canonical numbers.
fn json(document: &serde_json::Value) -> String {
    match document {
        serde_json::Value::Number(number) => decimal(&number.to_string()),
        serde_json::Value::Array(items) => {
            format!("[{}]", items.iter().map(json).collect::<Vec<_>>().join(","))
        }
        serde_json::Value::Object(fields) => {
            let mut fields: Vec<String> = fields
                .iter()
                .map(|(name, value)| {
                    format!("{}:{}", serde_json::Value::from(name.as_str()), json(value))
                })
                .collect();
            fields.sort();
            format!("{{{}}}", fields.join(","))
        }
        other => other.to_string(),
    }
}

/// `-1.50`, `-15e-1` and `-001.5` become `-15e-1`; what is no number stays as it is.
fn decimal(text: &str) -> String {
    let (sign, rest) = text.strip_prefix('-').map_or(("", text), |rest| ("-", rest));
    let (mantissa, exponent) = rest.split_once(['e', 'E']).unwrap_or((rest, "0"));
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let digits = format!("{whole}{fraction}");
    let exponent: Result<i64, _> = exponent.parse();
    let (Ok(exponent), true) = (exponent, digits.bytes().all(|digit| digit.is_ascii_digit()))
    else {
        return text.to_owned();
    };
    let significant = digits.trim_start_matches('0').trim_end_matches('0');
    if significant.is_empty() {
        return "0".to_owned();
    }
    let dropped = digits.len() - digits.trim_end_matches('0').len();
    let exponent = exponent - fraction.len() as i64 + dropped as i64;
    format!("{sign}{significant}e{exponent}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_equal_by_value() {
        for (left, right) in [("1.50", "15e-1"), ("-0.0", "0"), ("100", "1e2"), ("0.010", "1E-2")] {
            assert_eq!(decimal(left), decimal(right), "{left} {right}");
        }
        for (left, right) in [("1", "-1"), ("10", "1"), ("NaN", "0")] {
            assert_ne!(decimal(left), decimal(right), "{left} {right}");
        }
    }
}
