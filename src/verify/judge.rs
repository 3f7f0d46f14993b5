//! Whether a row that looked different is.
//!
//! ```text
//! look (primary's row, outbox, secondary's row and fence, primary's row again)
//!    ├─ equal ─────────────────────────▶ Equal
//!    ├─ on its way, or it moved ───────▶ Again, from the beginning
//!    └─ differs: once more the same? ──▶ Again, then Real
//! ```
//!
//! Invariant: a write that is under way is never called a difference, as its entry is in the outbox
//! from its commit until the secondary has it; and one that is found twice, with the same row on the
//! primary, the same row and version on the secondary, and no entry in between, is one.

use std::collections::BTreeMap;

use sha2::{Digest as _, Sha256};

use crate::backend::mysql::Sight;
use crate::backend::mysql::look::carried;
use crate::catalog::Table;
use crate::change::{RowImage, Version};
use crate::value::{Flavor, push_normal};

/// What one look at both sides found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Finding {
    Equal,
    Missing,
    Extra,
    /// Bit n stands for the n-th column that MySQL has; past the 127th they share the last bit.
    Different(u128),
}

impl Finding {
    /// Of PostgreSQL's row and MySQL's, where MySQL leads.
    pub(super) fn reversed(self) -> Self {
        match self {
            Self::Missing => Self::Extra,
            Self::Extra => Self::Missing,
            other => other,
        }
    }
}

/// By what the next look is known to have found the same.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Mark {
    /// The row's version on the primary; `None` while there is no row.
    pub(super) identity: Option<String>,
    pub(super) fence: Option<(Version, bool)>,
    /// SHA-256 of the secondary's row.
    pub(super) secondary: Option<[u8; 32]>,
}

/// One look.
#[derive(Clone, Debug)]
pub(super) struct Look {
    pub(super) finding: Finding,
    pub(super) mark: Mark,
    /// The outbox had an entry for it, or the primary's row changed meanwhile.
    pub(super) moving: bool,
}

/// What is known about a candidate before a look.
#[derive(Clone, Debug, Default)]
pub(super) struct Memory {
    mark: Option<Mark>,
    times: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    Equal,
    Real(Finding),
    Again,
}

/// `times_needed` looks in a row have to find the same.
pub(super) fn judge(memory: &mut Memory, look: Look, times_needed: u32) -> Verdict {
    if look.finding == Finding::Equal {
        return Verdict::Equal;
    }
    if look.moving {
        *memory = Memory::default();
        return Verdict::Again;
    }
    let same = memory.mark.as_ref() == Some(&look.mark);
    memory.times = if same { memory.times + 1 } else { 1 };
    memory.mark = Some(look.mark);
    if times_needed <= memory.times { Verdict::Real(look.finding) } else { Verdict::Again }
}

/// Compares a row's two sides, column by column.
pub(super) fn compare(
    table: &Table,
    image: Option<&RowImage>,
    sight: &Sight,
    flavor: Flavor,
) -> Finding {
    let (image, row) = match (image, &sight.row) {
        (None, None) => return Finding::Equal,
        (Some(_), None) => return Finding::Missing,
        (None, Some(_)) => return Finding::Extra,
        (Some(image), Some(row)) => (image, row),
    };
    let mut columns = 0;
    for (n, ((at, column), param)) in carried(table).zip(row).enumerate() {
        let (mut left, mut right) = (Vec::new(), Vec::new());
        let written = image.values[at].push_normal(&column.target, flavor, &mut left);
        push_normal(param, &column.target, flavor, &mut right);
        if written.is_err() || left != right {
            columns |= 1 << n.min(127);
        }
    }
    if columns == 0 { Finding::Equal } else { Finding::Different(columns) }
}

/// Counts a row that differs in these columns, by their names.
pub(super) fn count_columns(table: &Table, columns: u128, counts: &mut BTreeMap<String, u64>) {
    for (n, (_, column)) in carried(table).enumerate() {
        if columns & (1 << n.min(127)) != 0 {
            *counts.entry(column.name.clone()).or_insert(0) += 1;
        }
    }
}

/// Names a row of the secondary without keeping its values.
pub(super) fn fingerprint(table: &Table, sight: &Sight, flavor: Flavor) -> Option<[u8; 32]> {
    let row = sight.row.as_ref()?;
    let mut bytes = Vec::new();
    for ((_, column), param) in carried(table).zip(row) {
        push_normal(param, &column.target, flavor, &mut bytes);
    }
    Some(Sha256::digest(&bytes).into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn look(finding: Finding, identity: &str, moving: bool) -> Look {
        let identity = Some(identity.to_owned());
        Look { finding, mark: Mark { identity, fence: None, secondary: None }, moving }
    }

    /// The verdicts of looks that all find the row missing: its identity, and whether it moved.
    fn check(looks: &[(&str, bool)], needed: u32, expected: &[Verdict]) {
        let mut memory = Memory::default();
        let judged = looks.iter().map(|(identity, moving)| {
            judge(&mut memory, look(Finding::Missing, identity, *moving), needed)
        });
        assert_eq!(judged.collect::<Vec<_>>(), expected);
    }

    #[test]
    fn only_what_is_found_the_same_in_a_row_is_a_difference() {
        use Verdict::Again;
        let real = Verdict::Real(Finding::Missing);
        check(&[("1", false), ("1", false)], 2, &[Again, real]);
        check(&[("1", false), ("2", false), ("2", false)], 2, &[Again, Again, real]);
        check(
            &[("1", false), ("1", true), ("1", false), ("1", false)],
            2,
            &[Again, Again, Again, real],
        );
        check(&[("1", false); 3], 3, &[Again, Again, real]);
    }

    #[test]
    fn what_has_become_equal_is_no_difference() {
        let mut memory = Memory::default();
        judge(&mut memory, look(Finding::Extra, "1", false), 2);
        assert_eq!(judge(&mut memory, look(Finding::Equal, "1", true), 2), Verdict::Equal);
    }
}
