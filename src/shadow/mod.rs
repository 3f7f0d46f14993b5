//! Whether MySQL would answer as PostgreSQL does, found out before anything depends on it.
//!
//! ```text
//! texts of statements ──[`ready`]──▶ translated, or which construct is not
//! ```

mod reading;
pub mod ready;
