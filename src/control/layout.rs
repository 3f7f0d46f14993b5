//! Which version Crossfade's own tables are of, and which programs may use them.
//!
//! ```text
//! setup of version n ──▶ (n, m) on both sides ──▶ a program older than m, or that knows no n, refuses
//! ```
//!
//! A program raises [`Layout::OURS`] where it changes what is in these tables. It goes on to understand
//! the tables of the version before, and says down to which version programs still understand its own; one
//! step of both is kept. So an upgrade is: replace the sidecars one by one, then run `setup`; and until
//! the next upgrade the version before can be put back.
//!
//! ```text
//! a group of tables moves ──[`keep_out`]──▶ (n, 2): a program that knows no groups refuses
//! it has come back ────────[`let_in`]────▶ (n, 0) again
//! ```
//!
//! A program that knows no groups would read a group's tables on PostgreSQL, where they are old. It looks at
//! PostgreSQL's record with every look at the epoch, and that record is raised before the epoch moves. MySQL's
//! stays: nobody serves the rest of the tables without PostgreSQL.
//!
//! Invariant: the version on record never goes down, so a `setup` of the version before leaves it as it is.

use tokio_postgres::{Client, Error};

/// A version of the tables, or of the program by the tables that its `setup` makes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Layout {
    version: u32,
    /// The oldest that it gets on with: of programs, for tables; of tables, for a program.
    oldest: u32,
}

/// Nothing is done with tables that may mean something else than they seem to.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "Crossfade's own tables are of version {tables}, this program knows {oldest} to {newest}: \
     run {advice} version of crossfade"
)]
pub struct UnknownLayout {
    tables: String,
    oldest: u32,
    newest: u32,
    advice: &'static str,
}

const READ: &str = "SELECT (SELECT s.value FROM crossfade.settings s WHERE s.key = 'layout')";

/// The first version whose programs know that MySQL may lead a group of tables.
const GROUPS: u32 = 2;

impl Layout {
    /// Version 0 is that of tables without a record. Version 2 has no other tables than version 1: see
    /// [`keep_out`].
    pub const OURS: Self = Self { version: GROUPS, oldest: 0 };
    const NONE: Self = Self { version: 0, oldest: 0 };

    /// As it stands in `crossfade.settings`: `2:1`.
    #[must_use]
    pub fn record(self) -> String {
        format!("{}:{}", self.version, self.oldest)
    }

    fn parse(text: &str) -> Option<Self> {
        let (version, oldest) = text.split_once(':')?;
        Some(Self { version: version.parse().ok()?, oldest: oldest.parse().ok()? })
    }

    /// As it stands in row 4 of `crossfade_state`: a later version is a larger number.
    #[must_use]
    pub fn number(self) -> u64 {
        u64::from(self.version) << 16 | u64::from(self.oldest)
    }

    fn of_number(number: u64) -> Option<Self> {
        let version = u32::try_from(number >> 16).ok()?;
        Some(Self { version, oldest: u32::try_from(number & 0xFFFF).ok()? })
    }

    /// Whether this program may use such tables.
    fn takes(self, tables: Self) -> bool {
        self.oldest <= tables.version && tables.oldest <= self.version
    }
}

/// Judges what `crossfade.settings` holds.
pub(super) fn recorded(record: Option<&str>) -> Result<(), UnknownLayout> {
    judge(record.map_or(Some(Layout::NONE), Layout::parse), record.unwrap_or_default())
}

/// Judges what `crossfade_state` holds.
pub(super) fn numbered(number: Option<u64>) -> Result<(), UnknownLayout> {
    let shown = number.unwrap_or_default() >> 16;
    judge(number.map_or(Some(Layout::NONE), Layout::of_number), &shown.to_string())
}

fn judge(tables: Option<Layout>, shown: &str) -> Result<(), UnknownLayout> {
    let ours = Layout::OURS;
    let unknown = |tables: String, advice| UnknownLayout {
        tables,
        oldest: ours.oldest,
        newest: ours.version,
        advice,
    };
    match tables {
        Some(tables) if ours.takes(tables) => Ok(()),
        Some(tables) if tables.version < ours.version => {
            Err(unknown(tables.version.to_string(), "an older"))
        }
        Some(tables) => Err(unknown(tables.version.to_string(), "a newer")),
        None => Err(unknown(format!("\"{shown}\""), "a newer")),
    }
}

/// Looks whether the tables on PostgreSQL may be used; where there are none there is nothing to say.
pub async fn check(client: &Client) -> Result<Option<UnknownLayout>, Error> {
    let exists = "SELECT pg_catalog.to_regclass('crossfade.settings') IS NOT NULL";
    if !client.query_one(exists, &[]).await?.try_get::<_, bool>(0)? {
        return Ok(None);
    }
    let record: Option<String> = client.query_one(READ, &[]).await?.try_get(0)?;
    Ok(recorded(record.as_deref()).err())
}

/// Has programs that know no groups refuse these tables. Called once the move of a group is planned, and
/// before its epoch.
pub async fn keep_out(client: &Client) -> Result<(), Error> {
    let raise = format!(
        "INSERT INTO crossfade.settings AS s (key, value) VALUES ('layout', '{GROUPS}:{GROUPS}') \
         ON CONFLICT (key) DO UPDATE SET value = \
           greatest(pg_catalog.split_part(s.value, ':', 1)::pg_catalog.int8, {GROUPS}) || ':' || \
           greatest(pg_catalog.split_part(s.value, ':', 2)::pg_catalog.int8, {GROUPS})"
    );
    client.execute(&raise, &[]).await.map(drop)
}

/// Lets them in again where no group is on MySQL, or planned to be. Whoever plans one does so before it
/// waits for the record's lock: so either this sees the plan, or the record is raised after this.
pub async fn let_in(client: &Client) -> Result<(), Error> {
    let Layout { version, oldest } = Layout { version: GROUPS, ..Layout::OURS };
    // Both in one transaction, each with a snapshot of its own.
    let lower = format!(
        "SELECT FROM crossfade.settings s WHERE s.key = 'layout' FOR UPDATE; \
         UPDATE crossfade.settings SET value = '{version}:{oldest}' \
         WHERE key = 'layout' AND value = '{GROUPS}:{GROUPS}' AND NOT EXISTS ( \
           SELECT FROM crossfade.settings m CROSS JOIN crossfade.epoch e \
           WHERE m.key = 'moved' AND m.value <> '' AND coalesce( \
             e.last_value / 2 < pg_catalog.substring(m.value, '([0-9]+)=$')::pg_catalog.int8, true))"
    );
    client.batch_execute(&lower).await
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn layout(version: u32, oldest: u32) -> Layout {
        Layout { version, oldest }
    }

    #[test]
    fn neighbours_get_on_with_each_other_and_others_do_not() {
        let versions = [layout(4, 3), layout(5, 4), layout(6, 5)];
        for program in versions {
            for tables in versions {
                let neighbours = program.version.abs_diff(tables.version) <= 1;
                assert_eq!(program.takes(tables), neighbours, "{program:?} {tables:?}");
            }
        }
    }

    #[test]
    fn ours_gets_on_with_the_version_before_and_the_one_after() {
        let Layout { version, .. } = Layout::OURS;
        assert_eq!(recorded(Some(&Layout::OURS.record())), Ok(()));
        assert_eq!(numbered(Some(Layout::OURS.number())), Ok(()));
        let after = layout(version + 1, version);
        assert_eq!(recorded(Some(&after.record())), Ok(()));
        assert!(Layout::OURS.oldest < version, "one step back is kept");
        assert!(Layout::OURS.number() < after.number());
    }

    #[test]
    fn what_knows_no_groups_is_kept_out_by_the_record_of_one() {
        let moved = Layout::parse(&format!("{GROUPS}:{GROUPS}")).unwrap();
        let before = layout(GROUPS - 1, 0);
        assert!(before.takes(Layout::OURS), "one step back is kept without a group");
        assert!(!before.takes(moved));
        assert!(Layout::OURS.takes(moved));
        assert_eq!(recorded(Some(&layout(GROUPS + 1, GROUPS).record())), Ok(()));
    }

    #[test]
    fn what_is_not_known_is_said_with_what_to_run() {
        let error = recorded(Some("7:6")).unwrap_err().to_string();
        assert_eq!(
            error,
            "Crossfade's own tables are of version 7, this program knows 0 to 2: run a newer version \
             of crossfade"
        );
        assert!(recorded(Some("later")).unwrap_err().to_string().contains("\"later\""));
        assert_eq!(recorded(None), Ok(()));
        assert_eq!(numbered(None), Ok(()));
        assert!(numbered(Some(layout(7, 6).number())).is_err());
    }
}
