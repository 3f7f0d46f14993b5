//! The tests that need more than one module: one binary, since linking is what costs.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking, in its supporting code too")]

mod tidy;
