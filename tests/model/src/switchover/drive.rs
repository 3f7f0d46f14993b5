//! What a driver does, step by step, and whoever finds its attempt when it is dead.
//!
//! ```text
//! Lock ─▶ Close ─▶ Gate ─▶ FirstEpoch ─▶ Lease ─▶ SecondEpoch ─▶ Release
//!   └──────┴────────┴─▶ UndoLock ─▶ Undo ─▶ Release        recovery begins at Lease, or UndoLock
//! ```
//!
//! Invariant: what needs the lock is done over the connection that has it, or not at all.

use super::{Action, Driver, Rule, Sidecar, State, Step, Switchover, leads};

impl Switchover {
    /// The side that a driver takes the lead from.
    pub(super) fn old(&self, state: &State, driver: usize) -> Option<usize> {
        state.drivers[driver].map(|driver| leads(driver.to - 1))
    }

    pub(super) fn drive(&self, state: &mut State, at: usize) -> Option<()> {
        let driver = state.drivers[at]?;
        let (old, new) = (leads(driver.to - 1), leads(driver.to));
        let (first, second) = if self.has(Rule::OldFirst) { (old, new) } else { (new, old) };
        let needs_lock = matches!(driver.step, Step::Close | Step::FirstEpoch | Step::Undo);
        if needs_lock && state.lock != Some(at) && self.has(Rule::LockConnection) {
            state.drivers[at] = None;
            return Some(());
        }
        let next = match driver.step {
            Step::Lock | Step::UndoLock => {
                let writes = |sidecar: &Sidecar| sidecar.open.is_some_and(|e| leads(e) == old);
                let waits = self.has(Rule::Lock) && state.sidecars.iter().any(writes);
                if state.lock.is_some() || waits {
                    return None;
                }
                state.lock = Some(at);
                match driver.step {
                    Step::UndoLock => Step::Undo,
                    _ if !state.attempt && self.has(Rule::AttemptUnderLock) => Step::Release,
                    _ => Step::Close,
                }
            }
            Step::Close => {
                state.closed |= old == 0;
                Step::Gate
            }
            Step::Gate => {
                if self.has(Rule::Gate) && (state.sides[old].pending || state.dirty) {
                    return None;
                }
                if self.has(Rule::LeaseAfterEpoch) { Step::FirstEpoch } else { Step::Lease }
            }
            Step::FirstEpoch => {
                state.sides[first].epoch = driver.to.max(state.sides[first].epoch);
                if self.has(Rule::LeaseAfterEpoch) { Step::Lease } else { Step::SecondEpoch }
            }
            Step::Lease => {
                self.lease(state, driver);
                match self.has(Rule::LeaseAfterEpoch) || driver.recovers {
                    true => Step::SecondEpoch,
                    false => Step::FirstEpoch,
                }
            }
            Step::SecondEpoch => {
                let lower =
                    if driver.recovers { usize::from(!self.is_behind(state, 0)) } else { second };
                state.sides[lower].epoch = driver.to.max(state.sides[lower].epoch);
                Step::Release
            }
            Step::Undo => {
                if state.agree() && state.sides[0].epoch < driver.to {
                    state.closed = leads(driver.to - 1) != 0;
                    state.attempt = false;
                } else if !self.has(Rule::EitherSide) {
                    // Taken back, because not both had it.
                    for side in &mut state.sides {
                        side.epoch = driver.to - 1;
                    }
                    (state.closed, state.attempt) = (leads(driver.to - 1) != 0, false);
                }
                Step::Release
            }
            Step::Release => {
                if state.lock == Some(at) {
                    state.lock = None;
                }
                if state.agree() && state.sides[0].epoch == driver.to {
                    state.attempt = false;
                    state.closed = new != 0;
                }
                state.drivers[at] = None;
                return Some(());
            }
        };
        state.drivers[at] = Some(Driver { step: next, ..driver });
        Some(())
    }

    fn is_behind(&self, state: &State, side: usize) -> bool {
        state.sides[side].epoch < state.latest()
    }

    /// Whoever could not confirm its epoch since the lease began answers no more.
    fn lease(&self, state: &mut State, driver: Driver) {
        if !self.has(Rule::Lease) || (driver.recovers && !self.has(Rule::LeaseInRecovery)) {
            return;
        }
        let sides = state.sides;
        for sidecar in &mut state.sidecars {
            sidecar.lease &= sides[leads(sidecar.epoch)].epoch == sidecar.epoch;
        }
    }

    pub(super) fn recover(&self, state: &mut State, at: usize) -> Option<()> {
        let (latest, agree) = (state.latest(), state.agree());
        let finishes = !agree && self.has(Rule::EitherSide);
        let (to, step) = match (finishes, agree) {
            (true, _) => (latest, Step::Lease),
            (false, true) => (latest + 1, Step::UndoLock),
            (false, false) => (latest, Step::UndoLock),
        };
        if (agree && !state.attempt) || state.drivers[at].is_some() {
            return None;
        }
        state.drivers[at] = Some(Driver { to, step, recovers: true });
        Some(())
    }

    /// What goes wrong, beside and in between.
    pub(super) fn fault(&self, state: &mut State, action: Action) -> Option<()> {
        match action {
            Action::KillDriver(at) => {
                state.faults.kills -= 1;
                state.drivers[at] = None;
                state.lock = state.lock.filter(|holder| *holder != at);
            }
            Action::KillSidecar(at) => {
                state.faults.kills -= 1;
                let (epoch, written) = (state.latest(), state.sidecars[at].written);
                let hold = state.attempt;
                state.sidecars[at] = Sidecar { epoch, hold, lease: true, open: None, written };
            }
            Action::Cut(at) => {
                state.faults.cuts -= 1;
                state.lock = state.lock.filter(|holder| *holder != at);
            }
            Action::StartTooSoon => {
                state.faults.starts -= 1;
                return self.recover(state, 1);
            }
            Action::Loose => {
                state.faults.loose -= 1;
                if state.closed && self.has(Rule::Closed) {
                    return Some(());
                }
                state.sides[0].value |= 1 << 15;
                state.dirty |= leads(state.latest()) == 0;
            }
            _ => return None,
        }
        Some(())
    }
}
