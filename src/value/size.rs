//! Memory that a value holds, near enough to bound queues with.

use crate::value::Value;

impl Value {
    /// Bytes held, the enum itself included.
    #[must_use]
    pub fn size(&self) -> usize {
        size_of::<Self>()
            + match self {
                Self::Text(text) | Self::Json(text) | Self::Jsonb(text) => text.len(),
                Self::Bytes(bytes) => bytes.len(),
                Self::Array(array) => array.elements.iter().map(Self::size).sum(),
                _ => 0,
            }
    }
}
