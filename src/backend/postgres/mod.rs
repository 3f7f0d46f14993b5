//! PostgreSQL: reached under Crossfade's own role, read, and given Crossfade's own tables.
//!
//! ```text
//! from.url ──▶ [`connect`] ──┬─[`introspect`]──▶ Catalog
//!                            └─[`control`]─────▶ schema `crossfade`, triggers, dirty marks
//! ```
//!
//! Invariant: every statement in here names its objects with their schema, and runs with an empty
//! `search_path`: an object that somebody puts in `public` cannot come between.
//!
//! Not here: the clients' own connections (`session`), which pass bytes on.

pub mod abandon;
pub mod attempts;
pub mod connect;
pub mod control;
pub mod copy;
pub mod facts;
pub mod follow;
pub mod introspect;
pub mod moved;
pub mod records;
pub mod refuse;
pub mod sequences;
pub mod session;
