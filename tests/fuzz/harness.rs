//! Runs a fuzz target: first on its corpus, then on random inputs; shrinks and prints what fails.
//!
//! ```text
//! tests/fuzz/corpus/TARGET/* ─┐
//! seed ──▶ make, or mutate ───┴──▶ bytes ──▶ check ──✗──▶ shrink ──▶ the seed and the input
//! ```
//!
//! A target is a function from bytes to what is wrong with them. A panic is wrong, too. By default
//! each target runs a fixed number of inputs; `CROSSFADE_SECONDS` runs it for so long instead, and
//! `CROSSFADE_SEED` repeats a run. An input that failed becomes a file of the corpus.

use std::env;
use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::time::{Duration, Instant};

use rand::rngs::StdRng;
use rand::seq::IndexedRandom as _;
use rand::{Rng as _, SeedableRng as _};

/// What is wrong with an input.
pub type Verdict = Result<(), String>;

/// One input that takes longer is stuck: on the busiest machine each takes milliseconds.
const STUCK: Duration = Duration::from_secs(60);
/// Attempts to make a failing input smaller.
const SHRINKS: usize = 2_000;
/// Bytes that mean something to one of the formats.
const TELLING: &[u8] = b"\0\x01\xff\x7f\x80'\"$\\;()-/*,=: \nEUTDCZ";

/// Where a run begins, and how long it goes on.
pub struct Run {
    pub seed: u64,
    end: Option<Instant>,
    cases: u64,
}

impl Run {
    pub fn new(cases: u64) -> Self {
        let number = |name: &str| env::var(name).ok().and_then(|value| value.parse::<u64>().ok());
        let seed = number("CROSSFADE_SEED").unwrap_or_else(|| rand::rng().random());
        eprintln!("CROSSFADE_SEED={seed}");
        let end = number("CROSSFADE_SECONDS").map(|n| Instant::now() + Duration::from_secs(n));
        Self { seed, end, cases }
    }

    /// The random numbers of each case, to the run's end.
    pub fn cases(&self) -> impl Iterator<Item = StdRng> {
        let goes_on = |at: &u64| self.end.map_or(*at < self.cases, |end| Instant::now() < end);
        (0..).take_while(goes_on).map(|at| StdRng::seed_from_u64(self.seed.wrapping_add(at)))
    }
}

/// Runs `check` on the corpus of `target`, and on what `make` makes and mutation makes of both.
#[track_caller]
pub fn fuzz(
    target: &str,
    cases: u64,
    make: impl Fn(&mut StdRng) -> Vec<u8>,
    check: impl Fn(&[u8]) -> Verdict,
) {
    let corpus = corpus(target);
    assert!(!corpus.is_empty(), "no corpus for {target}");
    for (name, input) in &corpus {
        if let Err(wrong) = judge(&check, input) {
            panic!("{target}: corpus file {name}: {wrong}\n{}", shown(input));
        }
    }
    let (run, mut done) = (Run::new(cases), 0_u64);
    for mut random in run.cases() {
        let mut input = match random.random_range(0..4) {
            0 => corpus.choose(&mut random).unwrap().1.clone(),
            _ => make(&mut random),
        };
        if random.random_bool(0.3) {
            mutate(&mut input, &mut random, &corpus);
        }
        if let Err(wrong) = judge(&check, &input) {
            let (small, wrong) = shrink(&check, input, wrong);
            panic!(
                "{target}: CROSSFADE_SEED={}, case {done}: {wrong}\n{}",
                run.seed,
                shown(&small)
            );
        }
        done += 1;
    }
    eprintln!("{target}: {} files and {done} inputs", corpus.len());
}

fn corpus(target: &str) -> Vec<(String, Vec<u8>)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fuzz/corpus").join(target);
    let files = fs::read_dir(root).unwrap().map(|file| file.unwrap().path());
    let name = |path: &Path| path.file_name().unwrap().to_string_lossy().into_owned();
    let mut found: Vec<_> = files.map(|path| (name(&path), fs::read(&path).unwrap())).collect();
    found.sort();
    found
}

fn judge(check: &impl Fn(&[u8]) -> Verdict, input: &[u8]) -> Verdict {
    let started = Instant::now();
    let verdict = catch_unwind(AssertUnwindSafe(|| check(input)))
        .unwrap_or_else(|_| Err("it panics, see above".to_owned()));
    if STUCK < started.elapsed() {
        return Err(format!("it takes {:?}", started.elapsed()));
    }
    verdict
}

/// Changes a few bytes, cuts some out, doubles some, or puts in a piece of another input.
fn mutate(input: &mut Vec<u8>, random: &mut StdRng, corpus: &[(String, Vec<u8>)]) {
    for _ in 0..random.random_range(1..4) {
        let start = random.random_range(0..=input.len());
        let end = (start + random.random_range(0..12)).min(input.len());
        match random.random_range(0..5) {
            0 if start < input.len() => input[start] = random.random(),
            1 => input.insert(start, *TELLING.choose(random).unwrap()),
            2 => drop(input.drain(start..end)),
            3 => {
                let piece = input[start..end].to_vec();
                input.splice(start..start, piece);
            }
            _ => {
                let other = &corpus.choose(random).unwrap().1;
                let from = random.random_range(0..=other.len());
                let to = (from + random.random_range(0..40)).min(other.len());
                input.splice(start..start, other[from..to].iter().copied());
            }
        }
    }
}

/// Cuts out whatever can go while something is still wrong.
fn shrink(
    check: &impl Fn(&[u8]) -> Verdict,
    mut input: Vec<u8>,
    mut wrong: String,
) -> (Vec<u8>, String) {
    let (mut size, mut left) = (input.len() / 2, SHRINKS);
    while 0 < size {
        let mut at = 0;
        while at + size <= input.len() && 0 < left {
            left -= 1;
            let mut smaller = input.clone();
            smaller.drain(at..at + size);
            match judge(check, &smaller) {
                Err(still) => (input, wrong) = (smaller, still),
                Ok(()) => at += size,
            }
        }
        size /= 2;
    }
    (input, wrong)
}

fn shown(input: &[u8]) -> String {
    format!("{} bytes: \"{}\"", input.len(), input.escape_ascii())
}
