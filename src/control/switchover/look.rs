//! Which change could come next, and what is against it.
//!
//! Invariant: nothing is changed, and nobody waits.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{Direction, Gate, SwitchError, facts, gates, group};
use crate::control::Ends;
use crate::policy::Policies;

/// What `GET /switchover` answers with.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Looked {
    /// The change that could come next; `None` before `setup`.
    pub direction: Option<Direction>,
    pub gates: Vec<Gate>,
    /// The group that the gates are about, where it is to move without the rest.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub group: Option<String>,
    /// Groups that could move so.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub groups: Vec<String>,
}

/// Looks, and changes nothing: which change could come next, and what is against it. Of a switchover: of this
/// group, or of all tables.
pub async fn look(
    ends: &Ends,
    policies: &Policies,
    users: &BTreeMap<String, String>,
    group: Option<String>,
) -> Result<Looked, SwitchError> {
    let client = ends.from.connect().await?;
    let (standing, _) = facts::standing(&client, ends).await?;
    let direction = standing.next();
    let asked = direction.unwrap_or(Direction::Switchover);
    let group = group.filter(|_| asked == Direction::Switchover);
    let wanted = (asked, group.as_deref());
    let (facts, catalog) = facts::gather(&client, ends, policies, users, wanted).await?;
    let groups = match asked {
        Direction::Switchover => group::movable(&catalog),
        Direction::Rollback => Vec::new(),
    };
    Ok(Looked { direction, gates: gates(&facts, &[]), group, groups })
}
