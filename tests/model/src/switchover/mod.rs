//! Switchover and rollback, a model of its own: two sides, one row, and who may be asked.
//!
//! ```text
//! attempt recorded, hold ─▶ lock alone ─▶ others refused ─▶ outbox empty? ─▶ epoch on the old
//!     primary ─▶ one lease waited out ─▶ epoch on the new one ─▶ released
//! dead in between: either side has the new epoch ─▶ whoever starts finishes it; neither ─▶ undone
//! ```
//!
//! The sides are alike: side 0 leads in odd epochs, side 1 in even ones, so this is the rollback too.
//! A row's value is the set of all writes to it, as bits, so that a lost one shows.
//!
//! Invariant: a side commits only while no side has a later epoch that the other one leads.

mod drive;

use stateright::{Model, Property};

use crate::check::Checked;
use crate::model::{ACKED, COMMITS, STALE};

/// A read is answered with every write that was acknowledged before.
pub const READS: &str = "no read is stale";

/// Every rule that can be left out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Rule {
    /// A write checks the epoch of the side that it writes to.
    Guard,
    /// The lock waits for every write under way.
    Lock,
    /// What needs the lock is done over the connection that has it.
    LockConnection,
    /// The attempt is looked at again under the lock.
    AttemptUnderLock,
    /// Others than the sidecars are refused on the old primary.
    Closed,
    /// The outbox is empty, and no table dirty.
    Gate,
    /// The old primary gets the new epoch first.
    OldFirst,
    /// A lease is waited out.
    Lease,
    /// … after the old primary has the new epoch.
    LeaseAfterEpoch,
    /// … also by whoever finishes another's switchover.
    LeaseInRecovery,
    /// It is done if either side has the new epoch.
    EitherSide,
}

#[derive(Clone, Debug, Default)]
pub struct Switchover {
    pub name: &'static str,
    /// Each sidecar's client writes this often.
    pub writes: u8,
    /// Switchovers, there and back.
    pub turns: u8,
    pub faults: Faults,
    pub without: u32,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Faults {
    /// A driver, or a sidecar, is killed.
    pub kills: u8,
    /// A driver's connection with the lock breaks, and it goes on.
    pub cuts: u8,
    /// A sidecar starts, and finds an attempt to recover, while its driver may be alive.
    pub starts: u8,
    /// Somebody else writes to side 0.
    pub loose: u8,
}

impl Switchover {
    #[must_use]
    pub fn without(mut self, rule: Rule) -> Self {
        self.without |= 1 << rule as u32;
        self
    }

    /// Every fault that there is may happen this much more often.
    #[must_use]
    pub fn deeper(mut self, more: u8) -> Self {
        let Faults { kills, cuts, starts, loose } = &mut self.faults;
        let budgets = [kills, cuts, starts, loose].into_iter().filter(|budget| **budget > 0);
        budgets.for_each(|budget| *budget += more);
        self
    }

    fn has(&self, rule: Rule) -> bool {
        self.without & (1 << rule as u32) == 0
    }
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Side {
    epoch: u8,
    value: u16,
    /// An outbox entry is open.
    pending: bool,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Sidecar {
    epoch: u8,
    hold: bool,
    lease: bool,
    /// A write under way: it has the lock, shared, on the side of this epoch.
    open: Option<u8>,
    written: u8,
}

/// What a driver does next.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Step {
    Lock,
    Close,
    Gate,
    FirstEpoch,
    Lease,
    SecondEpoch,
    Release,
    UndoLock,
    Undo,
}

/// Whoever changes the turn, or recovers an attempt: to this epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Driver {
    to: u8,
    step: Step,
    recovers: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct State {
    sides: [Side; 2],
    sidecars: [Sidecar; 2],
    drivers: [Option<Driver>; 2],
    /// The driver that has the lock.
    lock: Option<usize>,
    attempt: bool,
    /// Side 0 refuses others.
    closed: bool,
    dirty: bool,
    turns: u8,
    faults: Faults,
    acked: u16,
    stale_commit: bool,
    stale_read: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    Begin(usize),
    Commit(usize),
    Read(usize),
    Learn(usize),
    Apply(usize),
    Verify,
    Loose,
    Attempt,
    Drive(usize),
    GiveUp(usize),
    Recover,
    StartTooSoon,
    KillDriver(usize),
    KillSidecar(usize),
    Cut(usize),
}

const fn leads(epoch: u8) -> usize {
    (epoch as usize + 1) % 2
}

impl State {
    fn latest(&self) -> u8 {
        self.sides[0].epoch.max(self.sides[1].epoch)
    }

    fn agree(&self) -> bool {
        self.sides[0].epoch == self.sides[1].epoch
    }

    fn is_idle(&self) -> bool {
        self.drivers == [None; 2]
    }
}

impl Switchover {
    fn begin(&self, state: &mut State, at: usize) -> Option<()> {
        let sidecar = state.sidecars[at];
        let side = leads(sidecar.epoch);
        let busy = |other: &Sidecar| other.open.is_some_and(|epoch| leads(epoch) == side);
        let may = !sidecar.hold && sidecar.lease && sidecar.open.is_none();
        if !may || sidecar.written == self.writes || state.sidecars.iter().any(busy) {
            return None;
        }
        let locked = state.lock.is_some_and(|driver| self.old(state, driver) == Some(side));
        let stale = state.sides[side].epoch != sidecar.epoch && self.has(Rule::Guard);
        if (locked && self.has(Rule::Lock)) || stale {
            return None;
        }
        state.sidecars[at].open = Some(sidecar.epoch);
        Some(())
    }

    fn commit(&self, state: &mut State, at: usize) -> Option<()> {
        let sidecar = &mut state.sidecars[at];
        let epoch = sidecar.open.take()?;
        let bit = 1 << (at * 4 + usize::from(sidecar.written));
        sidecar.written += 1;
        state.stale_commit |= leads(state.latest()) != leads(epoch);
        let side = &mut state.sides[leads(epoch)];
        side.value |= bit;
        side.pending = true;
        state.acked |= bit;
        Some(())
    }

    fn apply(&self, state: &mut State, at: usize) -> Option<()> {
        let epoch = state.sidecars[at].epoch;
        let (from, to) = (leads(epoch), leads(epoch + 1));
        let current = state.sides.iter().all(|side| side.epoch == epoch);
        if !state.sides[from].pending || !current {
            return None;
        }
        state.sides[to].value = state.sides[from].value;
        state.sides[from].pending = false;
        Some(())
    }

    fn act(&self, state: &mut State, action: Action) -> Option<()> {
        match action {
            Action::Begin(at) => return self.begin(state, at),
            Action::Commit(at) => return self.commit(state, at),
            Action::Apply(at) => return self.apply(state, at),
            Action::Drive(at) => return self.drive(state, at),
            Action::Recover => return self.recover(state, 1),
            Action::Read(at) => {
                let Sidecar { epoch, lease, .. } = state.sidecars[at];
                let value = state.sides[leads(epoch)].value;
                state.stale_read |= lease && state.acked & !value != 0;
            }
            Action::Learn(at) => {
                let (latest, hold) = (state.latest(), state.attempt);
                let sidecar = &mut state.sidecars[at];
                // A transaction that is open goes on under the epoch that it began with.
                (sidecar.epoch, sidecar.hold, sidecar.lease) = (latest, hold, true);
            }
            Action::Verify => {
                let from = leads(state.latest());
                if !state.agree() || state.sides[from].pending {
                    return None;
                }
                state.sides[1 - from].value = state.sides[from].value;
                state.dirty = false;
            }
            Action::Attempt => {
                state.turns -= 1;
                state.attempt = true;
                let to = state.latest() + 1;
                state.drivers[0] = Some(Driver { to, step: Step::Lock, recovers: false });
            }
            Action::GiveUp(at) => {
                let driver = state.drivers[at].as_mut()?;
                driver.step = match driver.step {
                    Step::Lock => Step::UndoLock,
                    _ => Step::Undo,
                };
            }
            fault => return self.fault(state, fault),
        }
        Some(())
    }
}

impl Model for Switchover {
    type State = State;
    type Action = Action;

    fn init_states(&self) -> Vec<State> {
        let side = Side { epoch: 1, ..Side::default() };
        let sidecar = Sidecar { epoch: 1, lease: true, ..Sidecar::default() };
        vec![State {
            sides: [side; 2],
            sidecars: [sidecar; 2],
            drivers: [None; 2],
            lock: None,
            attempt: false,
            closed: false,
            dirty: false,
            turns: self.turns,
            faults: self.faults,
            acked: 0,
            stale_commit: false,
            stale_read: false,
        }]
    }

    fn actions(&self, state: &State, actions: &mut Vec<Action>) {
        let faults = state.faults;
        for at in 0..2 {
            actions.extend([Action::Begin(at), Action::Commit(at), Action::Read(at)]);
            actions.extend([Action::Learn(at), Action::Apply(at), Action::Drive(at)]);
            let early = state.drivers[at].is_some_and(|driver| {
                matches!(driver.step, Step::Lock | Step::Close | Step::Gate | Step::FirstEpoch)
            });
            let has_lock = state.lock == Some(at);
            let rest = [
                (early, Action::GiveUp(at)),
                (faults.kills > 0 && state.drivers[at].is_some(), Action::KillDriver(at)),
                (faults.kills > 0, Action::KillSidecar(at)),
                (faults.cuts > 0 && has_lock, Action::Cut(at)),
            ];
            actions.extend(rest.into_iter().filter(|(may, _)| *may).map(|(_, action)| action));
        }
        let calm = state.is_idle() && state.agree() && !state.attempt;
        let rest = [
            (state.dirty, Action::Verify),
            (faults.loose > 0, Action::Loose),
            (calm && state.turns > 0, Action::Attempt),
            (state.is_idle(), Action::Recover),
            (faults.starts > 0, Action::StartTooSoon),
        ];
        actions.extend(rest.into_iter().filter(|(may, _)| *may).map(|(_, action)| action));
    }

    fn next_state(&self, last: &State, action: Action) -> Option<State> {
        let mut state = last.clone();
        self.act(&mut state, action)?;
        (state != *last).then_some(state)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![
            Property::always(STALE, |model: &Self, state: &State| {
                !model.quiet(state) || state.sides[0].value == state.sides[1].value
            }),
            Property::always(ACKED, |_, state: &State| {
                state.acked & !state.sides[leads(state.latest())].value == 0
            }),
            Property::always(COMMITS, |_, state: &State| !state.stale_commit),
            Property::always(READS, |_, state: &State| !state.stale_read),
        ]
    }
}

impl Checked for Switchover {
    fn name(&self) -> &'static str {
        self.name
    }

    fn quiet(&self, state: &State) -> bool {
        let settled = |sidecar: &Sidecar| {
            sidecar.epoch == state.latest() && !sidecar.hold && sidecar.open.is_none()
        };
        state.is_idle()
            && state.agree()
            && !state.attempt
            && state.lock.is_none()
            && !state.dirty
            && state.sides.iter().all(|side| !side.pending)
            && state.sidecars.iter().all(settled)
            && state.sidecars.iter().all(|sidecar| sidecar.written == self.writes)
            && (state.closed == (leads(state.latest()) != 0))
    }
}
