//! The two databases: how they are reached, asked and written to.
//!
//! Products are modules, roles are values: nothing in here knows which side is primary.

pub mod dial;
pub mod from_url;
pub mod mysql;
pub mod password;
pub mod pauses;
pub mod postgres;
pub mod stream;
pub mod tls;
pub mod url;
pub mod verifiers;
