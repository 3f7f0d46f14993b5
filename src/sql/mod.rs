//! PostgreSQL's SQL text: its tokens, its statements, its meaning.
//!
//! ```text
//! text ──[`lexer`]──▶ tokens ──split──▶ statements ──[`parse`]──▶ sqlparser's AST
//!            └──[`normal`]──▶ the text without its literals: the plan cache's key
//! ```
//!
//! Invariant: positions come from our own lexer, meaning from the parser. What the parser cannot
//! read, or what is too large or too deep to be given to it, is never rewritten.

pub mod lexer;
pub mod normal;
pub mod parse;
