//! Everything that is left to chance in a schedule, from one seed.
//!
//! Invariant: with the clock paused, one thread, and every choice drawn from here, a seed decides the
//! whole schedule. The trace is a hash of all that happened, so that this can be checked.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Mutex, MutexGuard};
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};
use tokio::time::{Instant, sleep};

/// Prints all that happens when set.
const PRINT: &str = "CROSSFADE_SIM_PRINT";

pub(super) struct Chance {
    start: Instant,
    print: bool,
    state: Mutex<State>,
}

struct State {
    rng: StdRng,
    /// One request in so many fails; never while it is 0.
    fault_one_in: u64,
    trace: u64,
    counts: BTreeMap<&'static str, u64>,
    violations: Vec<String>,
}

/// What becomes of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    /// The connection is lost before the request takes effect.
    Before,
    /// It takes effect, and the reply is lost.
    After,
    /// It never gets there, and nobody says so.
    Silence,
    /// It takes effect, and nobody says so.
    SilenceAfter,
}

impl Chance {
    pub(super) fn new(seed: u64) -> Self {
        let state = State {
            rng: StdRng::seed_from_u64(seed),
            fault_one_in: 0,
            trace: 0xcbf2_9ce4_8422_2325,
            counts: BTreeMap::new(),
            violations: Vec::new(),
        };
        let print = std::env::var_os(PRINT).is_some();
        Self { start: Instant::now(), print, state: Mutex::new(state) }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    pub(super) fn below(&self, bound: u64) -> u64 {
        self.state().rng.random_range(0..bound.max(1))
    }

    pub(super) fn one_in(&self, number: u64) -> bool {
        self.below(number) == 0
    }

    pub(super) fn set_faults(&self, one_in: u64) {
        self.state().fault_one_in = one_in;
    }

    /// Whether something that happens only in bad times happens now.
    pub(super) fn bad_luck(&self, factor: u64) -> bool {
        let one_in = self.state().fault_one_in * factor;
        0 < one_in && self.one_in(one_in)
    }

    pub(super) fn fault(&self) -> Option<Fault> {
        if !self.bad_luck(1) {
            return None;
        }
        let (fault, name) = match self.below(8) {
            0..3 => (Fault::Before, "lost before the effect"),
            3..6 => (Fault::After, "lost after the effect"),
            6 => (Fault::Silence, "silence before the effect"),
            _ => (Fault::SilenceAfter, "silence after the effect"),
        };
        self.count(name);
        Some(fault)
    }

    /// Counts a fault that was injected.
    pub(super) fn count(&self, name: &'static str) {
        *self.state().counts.entry(name).or_default() += 1;
        self.note(format_args!("FAULT {name}"));
    }

    /// Counts a corner that a schedule has been to.
    pub(super) fn reached(&self, name: &'static str) {
        *self.state().counts.entry(name).or_default() += 1;
    }

    /// A message on its way: often at once, seldom long.
    pub(super) async fn travel(&self) {
        let micros = match self.below(100) {
            0..50 => 0,
            50..85 => self.below(3_000),
            85..98 => self.below(30_000),
            _ => self.below(600_000),
        };
        match micros {
            0 => tokio::task::yield_now().await,
            _ => sleep(Duration::from_micros(micros)).await,
        }
    }

    pub(super) async fn pause(&self, millis_max: u64) {
        let millis = self.below(millis_max);
        sleep(Duration::from_millis(millis)).await;
    }

    /// Adds to the trace.
    pub(super) fn note(&self, event: fmt::Arguments<'_>) {
        let at = self.start.elapsed().as_micros();
        let text = format!("{at} {event}");
        if self.print {
            eprintln!("{text}");
        }
        let mut state = self.state();
        for byte in text.bytes() {
            state.trace = (state.trace ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        }
    }

    /// Something that must never happen has.
    pub(super) fn violated(&self, what: String) {
        self.note(format_args!("VIOLATION {what}"));
        self.state().violations.push(what);
    }

    pub(super) fn end(&self) -> (u64, Vec<String>, BTreeMap<&'static str, u64>) {
        let mut state = self.state();
        (state.trace, std::mem::take(&mut state.violations), std::mem::take(&mut state.counts))
    }
}
