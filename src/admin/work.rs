//! `GET /work`: the long work that this sidecar was asked for, and how the last of it ended.
//!
//! Invariant: names, numbers and our own words; what was found in a table stands in `/migration-status`.

use std::sync::Arc;

use serde::Serialize;
use tokio::sync::watch;

use crate::verify::Progress;

/// What the sidecar does beside serving; each kind once at a time.
#[derive(Clone, Debug, Default)]
pub struct Work {
    pub verify: Job,
    pub backfill: Job,
}

/// One kind of work.
#[derive(Clone, Debug, Default)]
pub struct Job {
    pub running: bool,
    /// The table under way, and how far it is.
    pub table: Option<(String, Arc<Progress>)>,
    /// How the last one ended; nothing before the first.
    pub ended: Option<Result<String, String>>,
    /// How many have ended, so that whoever asked for one can tell it from the one before.
    pub runs: u64,
}

impl Job {
    fn begin(&mut self) {
        (self.running, self.table) = (true, None);
    }

    fn end(&mut self, how: Result<String, String>) {
        (self.running, self.table, self.ended) = (false, None, Some(how));
        self.runs += 1;
    }
}

/// One kind of work, as whoever does it tells of it.
#[derive(Clone, Debug)]
pub struct Teller {
    work: watch::Sender<Arc<Work>>,
    job: fn(&mut Work) -> &mut Job,
}

impl Teller {
    #[must_use]
    pub fn new(work: watch::Sender<Arc<Work>>, job: fn(&mut Work) -> &mut Job) -> Self {
        Self { work, job }
    }

    pub fn begin(&self) {
        self.tell(Job::begin);
    }

    pub fn table(&self, name: String, progress: Arc<Progress>) {
        self.tell(|job| job.table = Some((name, progress)));
    }

    pub fn end(&self, how: Result<String, String>) {
        self.tell(|job| job.end(how));
    }

    fn tell(&self, change: impl FnOnce(&mut Job)) {
        self.work.send_modify(|work| change((self.job)(Arc::make_mut(work))));
    }
}

/// Answer of `GET /work`.
#[derive(Debug, Serialize)]
pub(super) struct WorkReport {
    verify: JobReport,
    backfill: JobReport,
    /// Whoever copies was told to wait.
    #[serde(rename = "backfillPaused")]
    paused: bool,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct JobReport {
    running: bool,
    runs: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    table: Option<String>,
    /// Rows of the table that were read so far, on both sides.
    #[serde(skip_serializing_if = "Option::is_none")]
    rows_read: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    done: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
}

impl WorkReport {
    pub(super) fn new(work: &Work, paused: bool) -> Self {
        Self {
            verify: JobReport::new(&work.verify),
            backfill: JobReport::new(&work.backfill),
            paused,
        }
    }
}

impl JobReport {
    fn new(job: &Job) -> Self {
        let ended = job.ended.clone();
        Self {
            running: job.running,
            runs: job.runs,
            table: job.table.as_ref().map(|(name, _)| name.clone()),
            rows_read: job.table.as_ref().map(|(_, progress)| progress.now().read()),
            done: ended.clone().and_then(Result::ok),
            error: ended.and_then(Result::err),
        }
    }
}
