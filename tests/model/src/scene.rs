//! A scene: what is there at first, what clients do, what may go wrong, and which safeguard is off.
//!
//! ```text
//! Scene ──[`Scene::check`]──▶ every reachable state, every property
//!   └─without(Safeguard)──[`Scene::breaks`]──▶ the property that then fails
//! ```
//!
//! Invariant: a scene switches on only what it is about; that keeps it small enough to be exhaustive.

use crate::state::{
    Client, Durable, Entry, Faults, Fill, KEYS, Place, Primary, Row, Secondary, Sidecar, Version,
    World,
};

/// One operation of a client's script; a transaction ends with its COMMIT.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Op {
    /// Insert, or update where the row is there.
    Put(u8, Row),
    Gone(u8),
    Truncate(u8),
    Savepoint,
    RollbackTo,
}

/// A client: through which sidecar, and its transactions.
#[derive(Clone, Debug)]
pub struct Script {
    pub sidecar: usize,
    pub transactions: Vec<Vec<Op>>,
}

#[must_use]
pub fn script(sidecar: usize, transactions: &[&[Op]]) -> Script {
    Script { sidecar, transactions: transactions.iter().map(|ops| ops.to_vec()).collect() }
}

/// Every rule of the protocol that can be left out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Safeguard {
    /// The entry commits with the write, not after it.
    OutboxWithWrite,
    /// Entries are deleted after the secondary has committed.
    SettleAfterApply,
    /// An image that is not newer than the fence changes nothing.
    Fence,
    /// A delete leaves a tombstone in the fence.
    Tombstone,
    /// What is at or below the floor, without an entry, is read again.
    Floor,
    /// The drain reads a row under its lock.
    RowLock,
    /// A row that is gone, nobody says since when, is looked at twice.
    AbsentWait,
    /// A drain's entry says delete, but the row is read before that is believed.
    DeleteIsRead,
    /// No version is past the log's end.
    LogEnd,
    /// Captured transactions commit synchronously.
    SyncCommit,
    /// What was read is used only once the log up to there is flushed.
    FlushBeforeUse,
    /// … over a connection that was open when it was read.
    SameConnection,
    /// The images of a transaction are applied in the order of its statements.
    StatementOrder,
    /// A step that has to wait makes later steps on its row wait too.
    AsideKeepsOrder,
    /// Rows that stand in each other's way are applied as one set.
    SetApply,
    /// … with the present owner of the value.
    Owners,
    /// A cascade on the primary leaves entries for the children.
    CascadeCaptured,
    /// A delete on the secondary does not cascade to a child that is newer than it.
    CascadeLooks,
    /// TRUNCATE raises the table's fence.
    TableFence,
    /// TRUNCATE spares rows that are newer.
    TruncateSpares,
    /// A chunk older than the table's fence is thrown away.
    ChunkFence,
    /// After a chunk, rows whose fence says deleted are deleted.
    Sweep,
    /// … by one statement.
    SweepAtOnce,
    /// … before the chunk counts as done.
    ProgressAfterSweep,
    /// Nothing is pruned that a running backfill still needs.
    PruneKnowsBackfill,
    /// A chunk inserts what is absent, and overwrites nothing.
    LiveWins,
    /// The backfill begins once transactions from before the capture have ended.
    WaitForOld,
    /// A captured statement checks the epoch.
    PrimaryEpoch,
    /// … each of them, not just the first of its transaction.
    EveryStatement,
    /// The epoch is raised under the lock that captured writes share.
    ExclusiveLock,
    /// An apply checks the epoch.
    SecondaryEpoch,
    /// A drain leaves entries of a later epoch than its own alone.
    NoLaterEntries,
    /// Verify and repair begin once both sides, and the sidecar, are at one epoch.
    RepairInEpoch,
    /// MySQL as primary: a new key starts above the floor.
    NewKeyAboveFloor,
    /// MySQL as primary: reading again raises the row's own entry above the floor.
    RereadAboveFloor,
}

#[derive(Clone, Debug)]
pub struct Scene {
    pub name: &'static str,
    pub keys: u8,
    /// Rows of the second table; they reference rows of the first, ON DELETE CASCADE, and are
    /// captured by trigger.
    pub children: u8,
    /// Their images travel too, as they do in mode `strict`.
    pub child_images: bool,
    pub unique: bool,
    /// Rows on both sides, on the primary only, on the secondary only.
    pub both: Vec<(u8, Row)>,
    pub primary_only: Vec<(u8, Row)>,
    pub secondary_only: Vec<(u8, Row)>,
    pub clients: Vec<Script>,
    /// The first transaction of this client began before anything was captured.
    pub uncaptured: Option<usize>,
    pub sidecars: usize,
    /// Sidecars that drain, as bits.
    pub drains: u8,
    /// A drain takes all rows at once.
    pub batch: bool,
    pub backfill: bool,
    pub repair: u8,
    /// An entry that says that row 0 was deleted, at this LSN; nobody deleted it.
    pub forged: Option<u8>,
    /// MySQL is the primary.
    pub mirror: bool,
    pub faults: Faults,
    pub without: u64,
}

impl Default for Scene {
    fn default() -> Self {
        Self {
            name: "",
            keys: 1,
            children: 0,
            child_images: false,
            unique: false,
            both: Vec::new(),
            primary_only: Vec::new(),
            secondary_only: Vec::new(),
            clients: Vec::new(),
            uncaptured: None,
            sidecars: 1,
            drains: 1,
            batch: false,
            backfill: false,
            repair: 0,
            forged: None,
            mirror: false,
            faults: Faults::default(),
            without: 0,
        }
    }
}

impl Scene {
    #[must_use]
    pub fn without(mut self, safeguard: Safeguard) -> Self {
        self.without |= 1 << safeguard as u32;
        self
    }

    #[must_use]
    pub fn has(&self, safeguard: Safeguard) -> bool {
        self.without & (1 << safeguard as u32) == 0
    }

    /// Every fault that the scene has may happen this much more often.
    #[must_use]
    pub fn deeper(mut self, more: u8) -> Self {
        let faults = &mut self.faults;
        let budgets = [
            &mut faults.sidecar,
            &mut faults.lost,
            &mut faults.primary,
            &mut faults.prune,
            &mut faults.raise,
        ];
        budgets.into_iter().filter(|budget| **budget > 0).for_each(|budget| *budget += more);
        self
    }

    #[must_use]
    pub fn table(&self, key: u8) -> u8 {
        u8::from(self.children & (1 << key) != 0)
    }

    pub fn all_keys(&self) -> impl Iterator<Item = u8> + use<> {
        0..self.keys
    }

    pub fn keys_of(&self, table: u8) -> impl Iterator<Item = u8> + '_ {
        self.all_keys().filter(move |key| self.table(*key) == table)
    }

    /// Whether the primary can lose or forget what it has.
    #[must_use]
    pub fn has_durable(&self) -> bool {
        self.faults.primary > 0 || self.faults.failover > 0
    }

    #[must_use]
    pub fn lengths(&self) -> Vec<usize> {
        self.clients.iter().map(|script| script.transactions.len()).collect()
    }

    #[must_use]
    pub fn begin(&self) -> World {
        let rows = |lists: &[&[(u8, Row)]]| {
            let mut rows = [None; KEYS];
            for (key, row) in lists.iter().copied().flatten() {
                rows[usize::from(*key)] = Some(*row);
            }
            rows
        };
        let mut primary = Primary { epoch: 1, next_id: 1, ..Primary::default() };
        primary.rows = rows(&[&self.both, &self.primary_only]);
        primary.outbox.extend(self.forged.map(|counter| {
            let version = Version { epoch: 1, counter, n: 0 };
            Entry { id: 1, place: Place::Key(0), version, delete: true }
        }));
        if self.has_durable() {
            primary.durable = Durable { rows: primary.rows, ..Durable::default() };
        }
        let secondary = Secondary {
            rows: rows(&[&self.both, &self.secondary_only]),
            epoch: 1,
            ..Secondary::default()
        };
        World {
            primary,
            secondary,
            clients: vec![Client::default(); self.clients.len()],
            sidecars: vec![Sidecar { epoch: 1, ..Sidecar::default() }; self.sidecars],
            fill: if self.backfill { Fill::Idle } else { Fill::Done },
            repair: self.repair,
            faults: self.faults,
            acked: 0,
        }
    }
}
