//! What a run ends with: who was tormented how, what was told, and whether it is true.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use super::LONG;
use super::beside::Found;
use super::changes::{Changes, HELD_MAX};
use super::faults::Fault;
use super::hour::{Summary, told};
use super::journal::{Journal, Told, Verdict};

/// No sidecar may ever have had more, in KiB. Sixteen clients with rows of 1.5 MB in flight, both ways
/// and in two copies; 1 MiB of images for each transaction, 4 MiB in each of two queues; the program.
pub const MEMORY_MAX: u64 = 256 << 10;
/// Lines of each kind that are shown.
const SHOWN: usize = 8;

#[derive(Debug, Default)]
pub struct Report {
    pub title: String,
    pub faults: BTreeMap<Fault, u64>,
    pub left_out: Vec<&'static str>,
    pub broken_connections: u64,
    pub starts: u64,
    pub committed: usize,
    pub failed: usize,
    pub unknown: usize,
    pub heard: Summary,
    pub refused_logins: u64,
    pub stuck: u64,
    pub rows: usize,
    pub tables: usize,
    pub verdict: Verdict,
    pub beside: Found,
    /// Where the primary changes.
    pub changes: Option<Changes>,
    /// Rows that are on one side only, or not the same.
    pub different: Vec<String>,
    /// Entries that the outbox kept.
    pub outbox: Vec<String>,
    pub panics: usize,
    pub leaks: usize,
    pub memory: u64,
    pub tormented: Duration,
    pub healed: Duration,
    /// Each fault's beginning and end, for whoever looks for the reason of a failure.
    pub story: String,
}

impl Report {
    pub fn tell(&mut self, what: String) {
        told(&mut self.story, "torment", &what);
    }

    pub fn count(&mut self, journal: &Journal) {
        self.committed = journal.count(Told::Committed);
        self.failed = journal.count(Told::Failed);
        self.unknown = journal.count(Told::Unknown);
    }

    /// Everything that must not be.
    pub fn failures(&self) -> Vec<String> {
        let mut all = Vec::new();
        let mut note = |what: &str, lines: &[String]| {
            if !lines.is_empty() {
                all.push(format!("{what}: {}", lines.len()));
                all.extend(lines.iter().take(SHOWN).map(|line| format!("    {line}")));
            }
        };
        note("acknowledged and lost", &self.verdict.lost);
        note("half there", &self.verdict.half);
        note("there against what was told", &self.verdict.risen);
        note("different", &self.different);
        note("left in the outbox", &self.outbox);
        note("errors that no fault excuses", &self.heard.violations);
        note("false alarms", &self.beside.false_alarms);
        note("verbs that hung", &self.beside.hung);
        note("verbs that failed", &self.beside.failed);
        note("reads of what was no more", &self.heard.stale);
        if let Some(changes) = &self.changes {
            note("attempts that did not end in time", &changes.late);
            note("coordinators that hung", &changes.hung);
            note("last changes that were not done", &changes.vain);
        }
        for (what, number) in [
            ("hung transactions", self.stuck),
            ("panics", self.panics as u64),
            ("row values in logs", self.leaks as u64),
            ("errors that no fault excuses, in all", self.heard.violated),
        ] {
            if 0 < number {
                all.push(format!("{what}: {number}"));
            }
        }
        if MEMORY_MAX < self.memory {
            all.push(format!("memory: {} KiB, more than {MEMORY_MAX}", self.memory));
        }
        if let Some(changes) = &self.changes {
            if HELD_MAX < self.heard.longest_calm {
                all.push(format!(
                    "held for longer than {HELD_MAX:?}: {:?}",
                    self.heard.longest_calm
                ));
            }
            // In a short run faults may fill all of it; the last changes are done in any case.
            if Duration::from_secs(LONG) <= self.tormented && changes.done() == 0 {
                all.push("no change of the primary was done".to_owned());
            }
            if Duration::from_secs(LONG) <= self.tormented {
                let (moved, back) = changes.of_groups();
                let none = [(moved, "moved"), (back, "came back")];
                let none = none.into_iter().filter(|(times, _)| *times == 0);
                all.extend(none.map(|(_, what)| format!("no group of tables {what}")));
            }
        }
        if self.committed == 0 {
            all.push("nothing was committed".to_owned());
        }
        all
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let faults: Vec<_> =
            self.faults.iter().map(|(fault, count)| format!("{} {count}", fault.name())).collect();
        let total: u64 = self.faults.values().sum();
        let conflicts: Vec<_> =
            self.heard.conflicts.iter().map(|(code, count)| format!("{code} {count}")).collect();
        writeln!(f, "{}", self.title)?;
        writeln!(f, "  faults: {total} ({})", faults.join(", "))?;
        if !self.left_out.is_empty() {
            writeln!(f, "  left out: {}", self.left_out.join(", "))?;
        }
        writeln!(
            f,
            "  connections cut by relays: {}, sidecars started: {}, logins refused: {}",
            self.broken_connections, self.starts, self.refused_logins
        )?;
        writeln!(
            f,
            "  numbered writes: {} acknowledged, {} failed, {} unknown",
            self.committed, self.failed, self.unknown
        )?;
        writeln!(
            f,
            "  errors: {} lost to faults of PostgreSQL and the way, {} without a lease, \
             {} of strict that name the secondary, conflicts: {}",
            self.heard.lost,
            self.heard.unconfirmed,
            self.heard.strict,
            conflicts.join(", ")
        )?;
        writeln!(
            f,
            "  longest transaction: {:.1?}; while only the secondary was in trouble: {:.1?}",
            self.heard.longest, self.heard.longest_calm
        )?;
        writeln!(
            f,
            "  memory of a sidecar: at most {} MiB of {}",
            self.memory >> 10,
            MEMORY_MAX >> 10
        )?;
        writeln!(
            f,
            "  rows compared: {} in {} tables; tormented {:.0?}, outbox empty {:.1?} later",
            self.rows, self.tables, self.tormented, self.healed
        )?;
        writeln!(
            f,
            "  lost: {}, different: {}, half there: {}, there against what was told: {}",
            self.verdict.lost.len(),
            self.different.len(),
            self.verdict.half.len(),
            self.verdict.risen.len()
        )?;
        if let Some(changes) = &self.changes {
            writeln!(
                f,
                "  looks for what others wrote: {}, in vain: {}",
                self.heard.looks,
                self.heard.stale.len()
            )?;
            write!(f, "  {changes}")?;
        }
        writeln!(f, "  {}", self.beside)?;
        for line in self.failures() {
            writeln!(f, "  FAILED {line}")?;
        }
        Ok(())
    }
}
