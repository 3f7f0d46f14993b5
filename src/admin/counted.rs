//! How many rows a table has on either side, for `/migration-status`.
//!
//! Invariant: numbers only; they are as old as the last round of counting, a few seconds.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// By the table's name, as it is printed.
pub type Counts = BTreeMap<String, Rows>;

/// Both sides of one table.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rows {
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub postgresql: Option<Counted>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub mysql: Option<Counted>,
}

/// One side.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counted {
    pub rows: u64,
    /// They were counted, which is done for small tables only; else the server's statistics say so.
    pub exact: bool,
}
