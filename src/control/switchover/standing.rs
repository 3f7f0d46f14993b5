//! Who is the primary, as the two databases have it together.
//!
//! ```text
//! crossfade.epoch, 'moved' (PostgreSQL) + crossfade_state (MySQL) ──▶ [`Standing`]
//! ```
//!
//! Invariant: a change has happened as soon as one side has the later epoch, and is to be finished then.

use crate::backend::mysql::control::Turn;
use crate::backend::postgres::attempts::Direction;

/// Why nothing is changed any more.
pub(super) const COMPLETE: &str =
    "PostgreSQL was left for good by `crossfade complete`: there is no way back";

/// What both sides say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    NotSetUp,
    /// PostgreSQL leads; `agreed` where MySQL has the same epoch.
    Postgres {
        epoch: u64,
        agreed: bool,
    },
    MySql {
        epoch: u64,
    },
    /// MySQL leads some tables, and PostgreSQL the rest.
    Parted {
        epoch: u64,
    },
    /// MySQL leads, and PostgreSQL is none of ours any more.
    Complete {
        epoch: u64,
    },
    /// PostgreSQL has given the lead to MySQL, which has not taken it.
    HalfSwitched {
        epoch: u64,
    },
    /// MySQL has given it back, and PostgreSQL has not taken it.
    HalfBack {
        epoch: u64,
    },
    /// PostgreSQL has given the lead of some tables to MySQL, which has not taken it.
    HalfParted {
        epoch: u64,
    },
    /// MySQL has given that back, and PostgreSQL has not taken it.
    HalfJoined {
        epoch: u64,
    },
    /// No step of ours leads there: a server was restored.
    Apart {
        postgres: u64,
        mysql: u64,
    },
    /// MySQL does not answer.
    Unknown {
        turn: u64,
    },
}

impl Standing {
    /// `turn` is what `crossfade.epoch` holds; `gave_part`: PostgreSQL does not lead all tables in that epoch,
    /// while it is its turn.
    #[must_use]
    pub fn of(turn: u64, gave_part: bool, mysql: Option<Turn>) -> Self {
        let epoch = turn / 2;
        let mysql_should_lead = turn % 2 == 1;
        let Some(Turn { epoch: found, mysql_is_primary, leads_part }) = mysql else {
            // Its tables were never made, or somebody has dropped them.
            return Self::Apart { postgres: epoch, mysql: 0 };
        };
        let apart = Self::Apart { postgres: epoch, mysql: found };
        if gave_part || leads_part {
            return match (gave_part && !mysql_should_lead && !mysql_is_primary, leads_part) {
                (true, true) if found <= epoch => Self::Parted { epoch },
                (true, false) if found <= epoch => Self::HalfParted { epoch },
                (true, false) if found == epoch + 1 => Self::HalfJoined { epoch: found },
                _ => apart,
            };
        }
        match (mysql_should_lead, mysql_is_primary) {
            (false, false) if found <= epoch => Self::Postgres { epoch, agreed: found == epoch },
            (true, true) if found == epoch => Self::MySql { epoch },
            // It may have the epoch already: a sidecar has carried that over, and not the lead.
            (true, false) if found <= epoch => Self::HalfSwitched { epoch },
            (true, false) if found == epoch + 1 => Self::HalfBack { epoch: found },
            _ => apart,
        }
    }

    /// The change that has begun and is to be finished, with the epoch that it leads to.
    #[must_use]
    pub fn unfinished(self) -> Option<(Direction, u64)> {
        match self {
            Self::HalfSwitched { epoch } | Self::HalfParted { epoch } => {
                Some((Direction::Switchover, epoch))
            }
            Self::HalfBack { epoch } | Self::HalfJoined { epoch } => {
                Some((Direction::Rollback, epoch))
            }
            _ => None,
        }
    }

    /// The epoch of now, where the sides agree on one.
    #[must_use]
    pub fn epoch(self) -> u64 {
        match self {
            Self::Postgres { epoch, .. }
            | Self::MySql { epoch }
            | Self::Parted { epoch }
            | Self::Complete { epoch }
            | Self::HalfSwitched { epoch }
            | Self::HalfBack { epoch }
            | Self::HalfParted { epoch }
            | Self::HalfJoined { epoch }
            | Self::Apart { postgres: epoch, .. } => epoch,
            Self::Unknown { turn } => turn / 2,
            Self::NotSetUp => 0,
        }
    }

    /// The change that could come next.
    #[must_use]
    pub fn next(self) -> Option<Direction> {
        match self {
            Self::Postgres { .. } | Self::HalfSwitched { .. } | Self::HalfParted { .. } => {
                Some(Direction::Switchover)
            }
            Self::MySql { .. }
            | Self::HalfBack { .. }
            | Self::Parted { .. }
            | Self::HalfJoined { .. } => Some(Direction::Rollback),
            Self::Unknown { turn } if turn % 2 == 1 => Some(Direction::Rollback),
            Self::Unknown { .. } => Some(Direction::Switchover),
            Self::NotSetUp | Self::Complete { .. } | Self::Apart { .. } => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_pair_of_turns_has_one_meaning() {
        let of = |turn, epoch, mysql_is_primary| {
            Standing::of(turn, false, Some(Turn { epoch, mysql_is_primary, leads_part: false }))
        };
        let (postgres, mysql) = (5, 5);
        assert_eq!(of(10, 5, false), Standing::Postgres { epoch: 5, agreed: true });
        assert_eq!(of(10, 4, false), Standing::Postgres { epoch: 5, agreed: false });
        assert_eq!(of(10, 6, false), Standing::Apart { postgres, mysql: 6 });
        assert_eq!(of(10, 5, true), Standing::Apart { postgres, mysql });
        assert_eq!(of(10, 4, true), Standing::Apart { postgres, mysql: 4 });
        assert_eq!(of(11, 5, true), Standing::MySql { epoch: 5 });
        assert_eq!(of(11, 4, false), Standing::HalfSwitched { epoch: 5 });
        assert_eq!(of(11, 5, false), Standing::HalfSwitched { epoch: 5 });
        assert_eq!(of(11, 6, false), Standing::HalfBack { epoch: 6 });
        assert_eq!(of(11, 7, false), Standing::Apart { postgres, mysql: 7 });
        assert_eq!(of(11, 4, true), Standing::Apart { postgres, mysql: 4 });
        assert_eq!(of(11, 6, true), Standing::Apart { postgres, mysql: 6 });
        assert_eq!(Standing::of(2, false, None), Standing::Apart { postgres: 1, mysql: 0 });
    }

    #[test]
    fn a_part_is_led_by_mysql_once_both_say_so() {
        let of = |turn, gave_part, epoch, leads_part| {
            let mysql = Turn { epoch, mysql_is_primary: false, leads_part };
            Standing::of(turn, gave_part, Some(mysql))
        };
        assert_eq!(of(10, true, 5, true), Standing::Parted { epoch: 5 });
        assert_eq!(of(10, true, 4, true), Standing::Parted { epoch: 5 }, "after a failover");
        assert_eq!(of(10, true, 4, false), Standing::HalfParted { epoch: 5 });
        assert_eq!(of(10, true, 5, false), Standing::HalfParted { epoch: 5 });
        assert_eq!(of(10, true, 6, false), Standing::HalfJoined { epoch: 6 });
        let apart = |mysql| Standing::Apart { postgres: 5, mysql };
        assert_eq!(of(10, true, 6, true), apart(6), "a MySQL of another past");
        assert_eq!(of(10, false, 5, true), apart(5), "a PostgreSQL of another past");
        assert_eq!(of(11, false, 5, true), apart(5), "all or a part");
    }

    #[test]
    fn only_half_a_change_is_finished() {
        let half = Standing::HalfSwitched { epoch: 5 };
        assert_eq!(half.unfinished(), Some((Direction::Switchover, 5)));
        assert_eq!(Standing::HalfBack { epoch: 6 }.unfinished(), Some((Direction::Rollback, 6)));
        assert_eq!(Standing::MySql { epoch: 5 }.unfinished(), None);
    }
}
