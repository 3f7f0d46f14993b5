//! What a state of the model consists of.
//!
//! ```text
//! World ─┬─ Primary     rows, log position, epoch and its lock, outbox
//!        ├─ Client × n  a script, an open transaction, a reply on its way
//!        ├─ Sidecar × n images, entries to settle, what a drain has in hand
//!        ├─ Secondary   rows, fence, floor, epoch
//!        └─ Faults      what may still go wrong
//! ```
//!
//! Invariant: two worlds are equal if and only if nothing that can happen tells them apart, but for
//! what only the properties look at (`acked`, `committed`, `stale_*`).

/// Most rows, numbered from 0, and most tables.
pub const KEYS: usize = 4;
pub const TABLES: usize = 2;

/// Says which of two images of one row is newer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Version {
    pub epoch: u8,
    pub counter: u8,
    pub n: u8,
}

/// A row: a value that may be unique (0 is NULL), and the row that it references.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Row {
    pub value: u8,
    pub parent: Option<u8>,
}

#[must_use]
pub const fn row(value: u8) -> Row {
    Row { value, parent: None }
}

#[must_use]
pub const fn child(value: u8, parent: u8) -> Row {
    Row { value, parent: Some(parent) }
}

pub type Rows = [Option<Row>; KEYS];

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Place {
    Key(u8),
    Table(u8),
}

/// What one change makes of its place.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Effect {
    Put(Row),
    Gone,
    Empty,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Change {
    pub place: Place,
    pub version: Version,
    pub effect: Effect,
    /// Its outbox entry.
    pub entry: Option<u8>,
}

/// An outbox entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Entry {
    pub id: u8,
    pub place: Place,
    pub version: Version,
    pub delete: bool,
}

/// One write of a transaction: the row as it leaves it. Whoever has written a row holds its lock.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Write {
    pub key: u8,
    pub row: Option<Row>,
    pub version: Version,
}

/// An open transaction.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Transaction {
    pub writes: Vec<Write>,
    pub entries: Vec<Entry>,
    pub changes: Vec<Change>,
    /// It holds the advisory lock, shared.
    pub lock: bool,
    /// The guard was asked once.
    pub checked: bool,
    pub statement: u8,
    /// Bits of the scripts' operations, for the properties.
    pub marks: u32,
    pub savepoint: Option<Savepoint>,
}

/// How much there was of everything when the savepoint was made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Savepoint {
    pub writes: usize,
    pub entries: usize,
    pub changes: usize,
    pub lock: bool,
    pub marks: u32,
}

/// What a sidecar is told of a commit.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Reply {
    pub changes: Vec<Change>,
    /// Only where the outbox is written after the commit (a safeguard removed).
    pub entries: Vec<Entry>,
    pub marks: u32,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Client {
    /// Which transaction of its script, and which operation of it, comes next.
    pub transaction: usize,
    pub operation: usize,
    pub open: Option<Transaction>,
    pub reply: Option<Reply>,
}

/// What a crash of the primary leaves; in a failover, what the standby has.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Durable {
    pub rows: Rows,
    pub lsn: u8,
    pub outbox: Vec<Entry>,
    pub committed: u32,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Primary {
    pub rows: Rows,
    pub lsn: u8,
    pub epoch: u8,
    /// The advisory lock is held exclusively.
    pub locked: bool,
    pub outbox: Vec<Entry>,
    pub next_id: u8,
    /// Kept only where the scene has a crash or a failover.
    pub durable: Durable,
    /// MySQL as primary: each row's own fence entry, and the table's floor.
    pub fence: [Option<Version>; KEYS],
    pub floor: Version,
    pub committed: u32,
    pub stale_commit: bool,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Secondary {
    pub rows: Rows,
    /// With whether it was a delete.
    pub fence: [Option<(Version, bool)>; KEYS],
    pub emptied: [Version; TABLES],
    pub floor: [Version; TABLES],
    pub epoch: u8,
    pub stale_apply: bool,
}

/// A row that a drain has in hand.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Item {
    pub place: Place,
    pub ids: Vec<u8>,
    /// What an absent row is gone at, where something says so.
    pub gone_at: Option<Version>,
    /// It was absent once, and whoever ran then has ended.
    pub waited: bool,
    pub found: Found,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Found {
    Unread,
    Absent,
    Unit(Version, Effect),
}

/// One pass of a drain, or of a repair (then without ids).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Task {
    pub epoch: u8,
    pub items: Vec<Item>,
    /// The log's position, and the clients whose transactions ran then.
    pub moment: Option<(u8, u8)>,
    /// The log was flushed since the last read.
    pub flushed: bool,
    pub with_owners: bool,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Sidecar {
    pub epoch: u8,
    /// The images of one transaction each.
    pub images: Vec<Vec<Change>>,
    pub settle: Vec<u8>,
    pub task: Option<Task>,
}

/// The backfill of one chunk: all rows.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub enum Fill {
    #[default]
    Done,
    Idle,
    Read(Rows, Version),
    Inserted(Version),
    /// Tombstones were seen (a safeguard removed: the sweep is not one statement).
    Sweeping(u8),
}

/// What may still happen, how often.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Faults {
    /// A sidecar is killed and starts anew.
    pub sidecar: u8,
    /// The secondary's answer is lost, and the sidecar repeats what it sent.
    pub lost: u8,
    /// The primary is killed and starts anew.
    pub primary: u8,
    pub prune: u8,
    /// The epoch is raised.
    pub raise: u8,
    /// A standby that lags becomes the primary.
    pub failover: u8,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct World {
    pub primary: Primary,
    pub secondary: Secondary,
    pub clients: Vec<Client>,
    pub sidecars: Vec<Sidecar>,
    pub fill: Fill,
    /// Rows that a verify pass wants repaired.
    pub repair: u8,
    pub faults: Faults,
    pub acked: u32,
}

impl World {
    /// Nothing is under way, and nothing left to do.
    #[must_use]
    pub fn is_quiet(&self, scripts: &[usize]) -> bool {
        let idle = |client: &Client| client.open.is_none() && client.reply.is_none();
        let mut clients = self.clients.iter().zip(scripts);
        let empty = |sidecar: &Sidecar| {
            sidecar.images.is_empty() && sidecar.settle.is_empty() && sidecar.task.is_none()
        };
        clients.all(|(client, end)| idle(client) && client.transaction == *end)
            && self.sidecars.iter().all(empty)
            && self.primary.outbox.is_empty()
            && !self.primary.locked
            && self.primary.epoch == self.secondary.epoch
            && self.repair == 0
            && self.fill == Fill::Done
    }

    /// An open entry, or something that is known to be unfinished, stands for this row.
    #[must_use]
    pub fn is_covered(&self, key: u8, table: u8) -> bool {
        let stands = |entry: &Entry| match entry.place {
            Place::Key(other) => other == key,
            Place::Table(other) => other == table,
        };
        self.primary.outbox.iter().any(stands)
            || self.repair & (1 << key) != 0
            || self.fill != Fill::Done
    }
}
