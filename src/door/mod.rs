//! What comes before a session, whoever serves it: packets, TLS, SCRAM, and how a client is refused.
//!
//! ```text
//! accepted connection ──[`startup`]──▶ who wants in, or a cancel request
//!                                        │ frames: [`peer`]   proof: [`scram`], [`sasl`]
//!                                        └──▶ session (PostgreSQL answers), answer (MySQL does)
//! ```
//!
//! Invariant: nothing a stranger sends makes us allocate, wait or panic by what it claims.

pub(crate) mod credential;
pub mod fatal;
pub mod packet;
pub(crate) mod peer;
pub(crate) mod sasl;
pub(crate) mod scram;
pub(crate) mod startup;

pub use self::fatal::Fatal;
pub use self::packet::CancelKey;
