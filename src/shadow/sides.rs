//! One read on either side, by the same protocol and in the same formats.
//!
//! ```text
//! Question ──▶ [`primary`]: our own connection to PostgreSQL ──▶ Rows
//!         └──▶ [`secondary`]: a session of `answer`, as a client would have it ──▶ Rows
//! ```

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use crate::handoff::{Shown, Statement};
use crate::names::Oid;
use crate::wire::Body;

/// What is asked, and under which settings.
#[derive(Clone)]
pub(super) struct Question {
    pub(super) statement: Arc<Statement>,
    pub(super) parameters: Parameters,
    pub(super) shown: Arc<Shown>,
    pub(super) path: Vec<String>,
}

/// The client's, as it bound them.
#[derive(Clone, Default)]
pub(super) struct Parameters {
    formats: Vec<u16>,
    pub(super) values: Vec<Option<Bytes>>,
}

impl Parameters {
    /// Of a Bind's body; `None` where it is malformed.
    pub(super) fn of(bind: &Bytes) -> Option<Self> {
        let mut parts = Body::new(bind);
        parts.text()?;
        parts.text()?;
        let formats = parts.u16()?;
        let formats = (0..formats).map(|_| parts.u16()).collect::<Option<Vec<_>>>()?;
        let count = parts.u16()?;
        let mut values = Vec::with_capacity(count.into());
        for _ in 0..count {
            let length = parts.i32()?;
            values.push(match usize::try_from(length) {
                Ok(length) => Some(bind.slice_ref(parts.take(length)?)),
                Err(_) => None,
            });
        }
        Some(Self { formats, values })
    }

    /// 0 for text, 1 for binary.
    pub(super) fn format(&self, at: usize) -> u16 {
        let one = if self.formats.len() == 1 { 0 } else { at };
        self.formats.get(one).copied().unwrap_or(0)
    }
}

/// Parse's list of types.
pub(super) fn types(statement: &Statement) -> Vec<Oid> {
    let mut parts = Body::new(&statement.types);
    let count = parts.u16().unwrap_or(0);
    (0..count).map_while(|_| parts.i32().map(i32::cast_unsigned)).collect()
}

/// What one side answered.
#[derive(Clone)]
pub(super) struct Rows {
    pub(super) columns: Vec<Column>,
    /// In binary.
    pub(super) rows: Vec<Vec<Option<Bytes>>>,
    pub(super) took: Duration,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Column {
    pub(super) name: String,
    pub(super) type_oid: Oid,
    /// Table and column that it is, or 0.
    pub(super) origin: (Oid, i16),
}

/// Why one side has no rows.
#[derive(Debug)]
pub(super) enum Failure {
    /// More than `shadow.rows_max` or `shadow.bytes_max`.
    TooLarge,
    /// The side said no: SQLSTATE, and the message, which may quote a value.
    Refused { code: String, message: String },
    /// It was not reached, or did not answer.
    Lost,
}

/// How much of an answer is compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ShadowLimits {
    /// Rows of one side; a read with more is not compared.
    pub rows_max: usize,
    /// Bytes of one side's rows, and of a read's text and parameters.
    pub bytes_max: usize,
    /// Longest time for one read on one side.
    pub timeout: Duration,
    /// How long a difference may take to go away.
    pub settle: Duration,
}

impl Default for ShadowLimits {
    fn default() -> Self {
        Self {
            rows_max: 1000,
            bytes_max: 1 << 20,
            timeout: Duration::from_secs(5),
            settle: Duration::from_secs(5),
        }
    }
}

/// A search path as SET takes it.
pub(super) fn path_text(path: &[String]) -> String {
    let quoted = path.iter().map(|name| format!("\"{}\"", name.replace('"', "\"\"")));
    let quoted: Vec<_> = quoted.collect();
    if quoted.is_empty() { "\"\"".to_owned() } else { quoted.join(", ") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_are_those_of_the_bind() {
        let body = Bytes::from_static(
            b"p\0s\0\0\x01\0\x01\0\x03\0\0\0\x02ab\xff\xff\xff\xff\0\0\0\0\0\x00",
        );
        let parameters = Parameters::of(&body).unwrap();
        let values: Vec<_> = parameters.values.iter().map(Option::as_deref).collect();
        assert_eq!(values, [Some(&b"ab"[..]), None, Some(&b""[..])]);
        assert_eq!((parameters.format(0), parameters.format(2)), (1, 1));
        assert!(Parameters::of(&body.slice(..12)).is_none());
    }
}
