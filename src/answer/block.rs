//! Where a session's transaction stands, and what MySQL has to be told for it.
//!
//! ```text
//! none ──Execute, not alone──▶ implicit ──Sync──▶ COMMIT
//!   └──BEGIN──▶ explicit ──error──▶ failed ──ROLLBACK, COMMIT──▶ none
//!                  ▲                   └──ROLLBACK TO──┐
//!                  └───────────────────────────────────┘
//! ```
//!
//! MySQL's transaction begins with the first statement that needs it, so BEGIN costs nothing and SET
//! TRANSACTION is still possible after it, as in PostgreSQL.
//!
//! Invariant: while PostgreSQL would say that the transaction has failed, nothing reaches MySQL but what
//! ends it; MySQL itself would go on after most errors.

use crate::answer::error::PgError;
use crate::answer::verbs::{Characteristics, Isolation};

/// Savepoints open at once in one transaction.
const SAVEPOINTS_MAX: usize = 10_000;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    None,
    /// What comes before a Sync, or in one query string.
    Implicit,
    Explicit,
    Failed,
}

/// What has to be sent to MySQL.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Tell {
    Nothing,
    These(Vec<String>),
}

/// One session's transaction.
#[derive(Debug)]
pub(super) struct Block {
    stage: Stage,
    /// MySQL has one open.
    begun: bool,
    /// MySQL has given it up, savepoints included.
    undone: bool,
    asked: Characteristics,
    /// Names, innermost last. MySQL knows each by its place, since there a name stands once only.
    savepoints: Vec<String>,
}

impl Block {
    pub(super) fn new() -> Self {
        Self {
            stage: Stage::None,
            begun: false,
            undone: false,
            asked: Characteristics::default(),
            savepoints: Vec::new(),
        }
    }

    /// For ReadyForQuery.
    pub(super) fn status(&self) -> u8 {
        match self.stage {
            Stage::None | Stage::Implicit => b'I',
            Stage::Explicit => b'T',
            Stage::Failed => b'E',
        }
    }

    pub(super) fn is_explicit(&self) -> bool {
        matches!(self.stage, Stage::Explicit | Stage::Failed)
    }

    pub(super) fn is_none(&self) -> bool {
        self.stage == Stage::None
    }

    pub(super) fn is_begun(&self) -> bool {
        self.begun
    }

    /// Refuses what may not run in a failed transaction.
    pub(super) fn admits(&self) -> Result<(), PgError> {
        if self.stage == Stage::Failed {
            let text =
                "current transaction is aborted, commands ignored until end of transaction block";
            return Err(PgError::new("25P02", text));
        }
        Ok(())
    }

    /// Makes the statements to come one transaction, unless they are already.
    pub(super) fn imply(&mut self) {
        if self.stage == Stage::None {
            self.stage = Stage::Implicit;
        }
    }

    /// BEGIN; true where a transaction was open already, which deserves a warning.
    pub(super) fn begin(&mut self, asked: Characteristics) -> bool {
        let open = self.stage == Stage::Explicit;
        if !open {
            self.stage = Stage::Explicit;
        }
        self.ask(asked);
        open
    }

    /// BEGIN's and SET TRANSACTION's wishes; of each kind the last counts.
    pub(super) fn ask(&mut self, asked: Characteristics) {
        let own = &mut self.asked;
        own.isolation = asked.isolation.or(own.isolation);
        own.read_only = asked.read_only.or(own.read_only);
        own.deferrable = asked.deferrable.or(own.deferrable);
    }

    pub(super) fn asked(&self) -> Characteristics {
        self.asked
    }

    /// Before a statement: begins MySQL's transaction if there is to be one. `isolation` and `read_only`
    /// are the session's.
    pub(super) fn start(&mut self, isolation: Isolation, read_only: bool) -> Tell {
        if self.begun || !matches!(self.stage, Stage::Implicit | Stage::Explicit) {
            return Tell::Nothing;
        }
        self.begun = true;
        let read_only = self.asked.read_only.unwrap_or(read_only);
        let isolation = self.asked.isolation.unwrap_or(isolation);
        let mut tell = Vec::new();
        if let Some(level) = level(isolation, read_only) {
            tell.push(format!("SET TRANSACTION ISOLATION LEVEL {level}"));
        }
        let read_only = if read_only { " READ ONLY" } else { "" };
        tell.push(format!("START TRANSACTION{read_only}"));
        Tell::These(tell)
    }

    /// A transaction of the walker's own, for a statement that is alone and takes several steps.
    pub(super) fn start_alone(&mut self, isolation: Isolation, read_only: bool) -> Tell {
        self.imply();
        self.start(isolation, read_only)
    }

    /// An error: what MySQL did is not undone yet. In an implicit transaction it is to be at once.
    pub(super) fn fail(&mut self, error: &PgError) -> Tell {
        if error.undone {
            self.undone = true;
            self.begun = false;
        }
        match self.stage {
            Stage::Explicit => {
                self.stage = Stage::Failed;
                Tell::Nothing
            }
            Stage::Implicit => self.end("ROLLBACK"),
            Stage::None | Stage::Failed => Tell::Nothing,
        }
    }

    /// COMMIT: the statement for MySQL, and whether it is a commit at all.
    pub(super) fn commit(&mut self) -> (Tell, bool) {
        let failed = self.stage == Stage::Failed;
        (self.end(if failed { "ROLLBACK" } else { "COMMIT" }), !failed)
    }

    pub(super) fn rollback(&mut self) -> Tell {
        self.end("ROLLBACK")
    }

    fn end(&mut self, word: &str) -> Tell {
        let begun = self.begun;
        *self = Self::new();
        if begun { Tell::These(vec![word.to_owned()]) } else { Tell::Nothing }
    }

    /// AND CHAIN: the next one is as the last.
    pub(super) fn chain(&mut self, asked: Characteristics) {
        self.begin(asked);
    }

    /// SAVEPOINT; MySQL's transaction has to be under way.
    pub(super) fn savepoint(&mut self, name: &str) -> Result<Tell, PgError> {
        self.in_block("SAVEPOINT")?;
        self.admits()?;
        if SAVEPOINTS_MAX <= self.savepoints.len() {
            return Err(PgError::new("54000", "too many savepoints in one transaction"));
        }
        self.savepoints.push(name.to_owned());
        Ok(Tell::These(vec![format!("SAVEPOINT cf_{}", self.savepoints.len())]))
    }

    /// The savepoint that was asked for last did not come to be.
    pub(super) fn unsaved(&mut self) {
        self.savepoints.pop();
    }

    /// RELEASE: the place of the savepoint, which goes with all that came after it. MySQL may keep them.
    pub(super) fn release(&mut self, name: &str) -> Result<usize, PgError> {
        self.in_block("RELEASE SAVEPOINT")?;
        self.admits()?;
        let place = self.place(name)?;
        self.savepoints.truncate(place);
        Ok(place)
    }

    /// ROLLBACK TO: the place of the savepoint, which stays.
    pub(super) fn rollback_to(&mut self, name: &str) -> Result<(usize, Tell), PgError> {
        self.in_block("ROLLBACK TO SAVEPOINT")?;
        let place = self.place(name)?;
        if self.undone {
            let text = "the transaction was undone as a whole by the database server";
            return Err(PgError::new("40P01", "deadlock detected")
                .detail(format!("MySQL keeps no savepoints through a deadlock: {text}.")));
        }
        self.savepoints.truncate(place + 1);
        self.stage = Stage::Explicit;
        Ok((place, Tell::These(vec![format!("ROLLBACK TO SAVEPOINT cf_{}", place + 1)])))
    }

    fn place(&self, name: &str) -> Result<usize, PgError> {
        let place = self.savepoints.iter().rposition(|known| known == name);
        place.ok_or_else(|| PgError::new("3B001", format!("savepoint \"{name}\" does not exist")))
    }

    fn in_block(&self, what: &str) -> Result<(), PgError> {
        if self.is_explicit() {
            return Ok(());
        }
        Err(PgError::new("25P01", format!("{what} can only be used in transaction blocks")))
    }
}

/// MySQL's level. Its own REPEATABLE READ writes over what others have committed meanwhile, where
/// PostgreSQL would raise 40001: who asks for it and writes gets locks instead.
fn level(isolation: Isolation, read_only: bool) -> Option<&'static str> {
    match isolation {
        Isolation::ReadUncommitted | Isolation::ReadCommitted => None,
        Isolation::RepeatableRead | Isolation::Serializable if read_only => Some("REPEATABLE READ"),
        Isolation::RepeatableRead | Isolation::Serializable => Some("SERIALIZABLE"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RC: Isolation = Isolation::ReadCommitted;

    fn these(statements: &[&str]) -> Tell {
        Tell::These(statements.iter().map(|text| (*text).to_owned()).collect())
    }

    fn explicit() -> Block {
        let mut block = Block::new();
        block.begin(Characteristics::default());
        block
    }

    #[test]
    fn mysql_hears_of_a_transaction_with_its_first_statement() {
        let mut block = explicit();
        assert_eq!(block.status(), b'T');
        assert_eq!(block.start(RC, false), these(&["START TRANSACTION"]));
        assert_eq!(block.start(RC, false), Tell::Nothing);
        assert_eq!(block.commit(), (these(&["COMMIT"]), true));
        assert_eq!((block.status(), explicit().commit()), (b'I', (Tell::Nothing, true)));
        assert_eq!(Block::new().start(RC, false), Tell::Nothing);
    }

    #[test]
    fn a_failed_transaction_admits_nothing_and_commits_nothing() {
        let mut block = explicit();
        block.start(RC, false);
        assert_eq!(block.fail(&PgError::new("23505", "")), Tell::Nothing);
        assert_eq!((block.status(), block.admits().unwrap_err().code), (b'E', "25P02"));
        assert_eq!(block.savepoint("a").unwrap_err().code, "25P02");
        assert_eq!(block.commit(), (these(&["ROLLBACK"]), false));
        assert_eq!(block.status(), b'I');
    }

    #[test]
    fn an_implicit_transaction_ends_with_its_error() {
        let mut block = Block::new();
        block.imply();
        block.start(RC, false);
        assert_eq!(block.fail(&PgError::new("23505", "")), these(&["ROLLBACK"]));
        assert!(block.is_none());
    }

    #[test]
    fn savepoints_of_one_name_shadow_each_other() {
        let mut block = explicit();
        block.start(RC, false);
        assert_eq!(block.savepoint("a").unwrap(), these(&["SAVEPOINT cf_1"]));
        assert_eq!(block.savepoint("a").unwrap(), these(&["SAVEPOINT cf_2"]));
        block.fail(&PgError::new("23505", ""));
        assert_eq!(block.rollback_to("a").unwrap(), (1, these(&["ROLLBACK TO SAVEPOINT cf_2"])));
        assert_eq!(block.status(), b'T');
        assert_eq!(block.release("a").unwrap(), 1);
        assert_eq!(block.rollback_to("a").unwrap().0, 0);
        assert_eq!(block.release("b").unwrap_err().code, "3B001");
        assert_eq!(Block::new().savepoint("a").unwrap_err().code, "25P01");
    }

    #[test]
    fn after_a_deadlock_nothing_is_left_to_go_back_to() {
        let mut block = explicit();
        block.start(RC, false);
        block.savepoint("a").unwrap();
        block.fail(&PgError { undone: true, ..PgError::new("40P01", "") });
        assert_eq!(block.rollback_to("a").unwrap_err().code, "40P01");
        assert_eq!(block.rollback(), Tell::Nothing);
    }

    #[test]
    fn whoever_asks_for_more_than_read_committed_gets_locks_unless_it_only_reads() {
        let mut block = explicit();
        let isolation = Some(Isolation::RepeatableRead);
        block.ask(Characteristics { isolation, ..Characteristics::default() });
        let locks = these(&["SET TRANSACTION ISOLATION LEVEL SERIALIZABLE", "START TRANSACTION"]);
        assert_eq!(block.start(RC, false), locks);
        let mut block = explicit();
        block.ask(Characteristics { isolation, read_only: Some(true), deferrable: None });
        let snapshot = these(&[
            "SET TRANSACTION ISOLATION LEVEL REPEATABLE READ",
            "START TRANSACTION READ ONLY",
        ]);
        assert_eq!(block.start(RC, false), snapshot);
    }
}
