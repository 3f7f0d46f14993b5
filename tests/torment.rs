//! The program, tormented: real servers, many clients, and everything that can go wrong.
//!
//! ```text
//! clients × 16 ──relay──▶ sidecars × 2 or 3 ──relays──▶ PostgreSQL, MariaDB or MySQL
//!     │                      ▲      ▲                        ▲
//!  journal                   └──────┴──── faults, two at a time, in stretches
//!     └──▶ afterwards: what was told ⇔ what is there, on both sides; every row equal; outbox empty
//! ```
//!
//! Old rows are there before setup. Beside it all, `crossfade backfill` copies them, `verify --watch`
//! compares and `repair` repairs, each a process that is killed and started again ([`beside`]).
//!
//! Stretches in which anything goes wrong alternate with stretches in which only the secondary does:
//! in those no client may notice, except in `strict`. `make torment` runs it for long, `make test` for
//! a minute on each secondary.
//!
//! [`to_and_fro`] is the same while the primary changes to MySQL and back again.
//!
//! The seed is printed. It fixes which faults come in which order, how long they last, and which
//! statements each client draws; when they meet is up to real processes and cannot be repeated.

mod beside;
mod changes;
mod clients;
mod crossing;
mod faults;
mod forms;
mod hour;
mod journal;
mod relay;
mod report;
mod secondary;
mod stage;
mod to_and_fro;

use std::env;
use std::fs;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use crossfade::demo::compare as compared;
use mysql_async::prelude::Queryable as _;
use rand::rngs::StdRng;
use rand::seq::IteratorRandom as _;
use rand::{Rng as _, SeedableRng as _};

use crate::support::{PATIENCE, ROLE_PASSWORD, Target};
use beside::Beside;
use clients::Worker;
use faults::Fault;
use hour::Hour;
use journal::Journal;
use report::Report;
use stage::Stage;

const CLIENTS: u32 = 16;
/// Without `CROSSFADE_TORMENT_SECONDS`.
const SECONDS: u64 = 45;
/// From here on a third sidecar takes part.
const LONG: u64 = 120;
/// What every numbered row holds, and no log may.
const BODY: &str = "the secret of a row";

#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
async fn torment_leaves_nothing_lost_and_nothing_different_on_mariadb() {
    torment(Target::MariaDb).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
async fn torment_leaves_nothing_lost_and_nothing_different_on_mysql() {
    if Target::all().contains(&Target::MySql) {
        torment(Target::MySql).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn torment_would_notice_a_lost_write_and_a_different_row() {
    let stage = Stage::new(Target::MariaDb, 1, "").await;
    let hour = hour(&stage);
    let journal = work(&hour, 7, Duration::from_secs(2), async {}, |_| Vec::new()).await;
    let mut report = Report::default();
    judge(&stage, &hour, &journal, &mut report).await;
    assert_eq!(report.failures(), Vec::<String>::new());

    let kept = journal.last_committed("async_journal").expect("something was committed");
    let mut secondary = stage.world.secondary().await;
    let change = format!("UPDATE async_journal SET body = 'x' WHERE number = {kept} AND half = 2");
    secondary.query_drop(change).await.unwrap();
    let found = judge_again(&stage, &hour, &journal).await;
    // One row of each side has no equal on the other.
    assert_eq!((found.verdict.lost.len(), found.different.len()), (0, 2));

    let delete = format!("DELETE FROM async_journal WHERE number = {kept}");
    secondary.query_drop(&delete).await.unwrap();
    let found = judge_again(&stage, &hour, &journal).await;
    assert_eq!((found.verdict.lost.len(), found.different.len()), (1, 2));

    // Gone from both sides, which no comparison of the two would notice.
    let mut admin = stage.world.admin().await;
    let transaction = admin.transaction().await.unwrap();
    transaction.batch_execute("SET LOCAL session_replication_role = replica").await.unwrap();
    transaction.batch_execute(&delete).await.unwrap();
    transaction.commit().await.unwrap();
    let found = judge_again(&stage, &hour, &journal).await;
    assert_eq!((found.verdict.lost.len(), found.different.len()), (2, 0));
    assert!(!found.failures().is_empty());

    secondary.query_drop("UPDATE async_journal SET body = 'y' LIMIT 1").await.unwrap();
    beside::last_pass(&stage, &hour, &mut report.beside);
    assert_eq!((report.beside.false_alarms.len(), report.beside.failed.len()), (1, 1));
    assert!(!report.failures().is_empty());
}

async fn judge_again(stage: &Stage, hour: &Hour, journal: &Journal) -> Report {
    let mut report = Report::default();
    judge(stage, hour, journal, &mut report).await;
    report
}

fn number(name: &str) -> Option<u64> {
    env::var(format!("CROSSFADE_{name}")).ok()?.parse().ok()
}

async fn torment(target: Target) {
    let seed = number("SEED").unwrap_or_else(|| rand::rng().random());
    let seconds = number("TORMENT_SECONDS").unwrap_or(SECONDS);
    eprintln!("CROSSFADE_SEED={seed}");
    let sidecars = if LONG <= seconds { 3 } else { 2 };
    let mut stage = Stage::new(target, sidecars, &beside::old_rows()).await;
    let (faults, left_out) = chosen(&stage);
    let hour = hour(&stage);
    let mut report = Report { left_out, ..Report::default() };
    report.title = format!("torment on {target:?}, seed {seed}, {} sidecars", stage.sidecars.len());
    let began = Instant::now();
    let random = StdRng::seed_from_u64(seed);
    let duration = Duration::from_secs(seconds);
    let beside = Beside::start(&stage, &hour, seed, beside::rate(duration), LONG <= seconds);
    let tormentor = schedule(&mut stage, &hour, &faults, random, duration, &mut report);
    let mut journal = work(&hour, seed, duration, tormentor, beside::old_of).await;
    journal.take_in(beside::old_journal());
    report.tormented = began.elapsed();
    end_prepared(&stage).await;
    report.beside = beside.end(&stage);
    heal(&stage, &mut report).await;
    judge(&stage, &hour, &journal, &mut report).await;
    beside::last_pass(&stage, &hour, &mut report.beside);
    // Neither the last repair nor what came after it has left anything to do.
    report.outbox.extend(emptied(&stage).await);
    conclude(&mut stage, report, seed);
}

/// Shows the report, and keeps what happened where it has failed.
fn conclude(stage: &mut Stage, mut report: Report, seed: u64) {
    stage.note_memory();
    report.memory = stage.memory;
    report.starts = stage.starts;
    eprintln!("{report}");
    let failed = !report.failures().is_empty();
    if failed || number("KEEP").is_some() {
        let kept = env::temp_dir().join(format!("crossfade-torment-{seed}.log"));
        let changes = report.changes.as_ref().map_or("", |changes| &changes.story);
        let told = [&*report.story, changes, &*report.beside.story, &*stage.logs()].concat();
        fs::write(&kept, format!("{report}\n{told}")).unwrap();
        assert!(!failed, "failed; what happened is in {}", kept.display());
    }
}

fn hour(stage: &Stage) -> Arc<Hour> {
    let fronts = stage.sidecars.iter().map(|sidecar| sidecar.front.port).collect();
    Arc::new(Hour::new(fronts, stage.world.database.clone(), ROLE_PASSWORD, stage.crosses))
}

/// The faults that `CROSSFADE_FAULTS` names, or all that can be had here; and what cannot.
fn chosen(stage: &Stage) -> (Vec<Fault>, Vec<&'static str>) {
    let named = env::var("CROSSFADE_FAULTS").unwrap_or_default();
    let named: Vec<_> = named.split([',', ' ']).filter(|name| !name.is_empty()).collect();
    let mut faults: Vec<_> = match named.is_empty() {
        true => Fault::ALL.iter().copied().filter(|fault| fault.is_had(stage.crosses)).collect(),
        false => named
            .iter()
            .map(|name| Fault::named(name).unwrap_or_else(|| panic!("no fault is called {name}")))
            .collect(),
    };
    let mut left_out = Vec::new();
    if stage.disk.is_none() && faults.contains(&Fault::FullDisk) {
        faults.retain(|fault| *fault != Fault::FullDisk);
        left_out.push(Fault::FullDisk.name());
        crate::support::not_tested("torment with a full disk: only root may mount one");
    }
    (faults, left_out)
}

/// Has all clients work while `tormentor` runs, and at least for `least`.
async fn work(
    hour: &Arc<Hour>,
    seed: u64,
    least: Duration,
    tormentor: impl Future<Output = ()>,
    old: impl Fn(u32) -> Vec<(i64, &'static str)>,
) -> Journal {
    let workers: Vec<_> = (1..=CLIENTS)
        .map(|client| Worker::new(client, seed, Arc::clone(hour), old(client)))
        .map(|worker| tokio::spawn(worker.run()))
        .collect();
    tokio::join!(tormentor, tokio::time::sleep(least));
    hour.end();
    let mut journal = Journal::default();
    for worker in workers {
        journal.take_in(worker.await.unwrap());
    }
    journal
}

/// Two faults at a time, of two subjects, until the time is over; then everything is whole again.
async fn schedule(
    stage: &mut Stage,
    hour: &Hour,
    faults: &[Fault],
    mut random: StdRng,
    duration: Duration,
    report: &mut Report,
) {
    let end = Instant::now() + duration;
    let half = |most: u64| (duration / 2).min(Duration::from_secs(most));
    let of_secondary = |fault: &Fault| fault.is_of_secondary();
    let (only, others): (Vec<_>, Vec<_>) = faults.iter().copied().partition(of_secondary);
    while Instant::now() < end {
        // First what only the secondary feels; then what all do, with the secondary's beside it; then
        // what was felt has to fade.
        for (first, second, length) in [(&only, &only[..], half(40)), (&others, faults, half(60))] {
            let until = end.min(Instant::now() + length);
            while Instant::now() < until && !first.is_empty() {
                two(stage, hour, (first, second), &mut random, report).await;
            }
        }
        tokio::time::sleep(hour::FELT.min(end.saturating_duration_since(Instant::now()))).await;
    }
    report.broken_connections = stage.broken();
}

async fn two(
    stage: &mut Stage,
    hour: &Hour,
    (first, second): (&[Fault], &[Fault]),
    random: &mut StdRng,
    report: &mut Report,
) {
    let first = *first.iter().choose(random).expect("there is one");
    let others = second.iter().filter(|fault| fault.subject() != first.subject());
    let second = others.choose(random).copied().filter(|_| random.random_bool(0.6));
    let mut under = Vec::new();
    for fault in [Some(first), second].into_iter().flatten() {
        report.tell(format!("{} begins", fault.name()));
        *report.faults.entry(fault).or_default() += 1;
        under.push(fault.begin(stage, hour, random).await);
        stage.note_memory();
        let pause = Duration::from_millis(random.random_range(0..1_000));
        tokio::time::sleep(pause).await;
    }
    let longest = if random.random_bool(0.2) { 6_000 } else { 2_000 };
    tokio::time::sleep(Duration::from_millis(random.random_range(100..longest))).await;
    for under in under {
        let name = under.fault.name();
        under.end(stage, hour).await;
        report.tell(format!("{name} has ended"));
    }
    let pause = Duration::from_millis(random.random_range(0..1_500));
    tokio::time::sleep(pause).await;
}

/// Ends what clients left prepared.
async fn end_prepared(stage: &Stage) {
    let admin = stage.world.admin().await;
    let prepared = admin.query("SELECT gid FROM pg_prepared_xacts", &[]).await.unwrap();
    for row in prepared {
        let gid: String = row.get(0);
        admin.batch_execute(&format!("ROLLBACK PREPARED '{gid}'")).await.unwrap();
    }
}

async fn heal(stage: &Stage, report: &mut Report) {
    let began = Instant::now();
    report.outbox = emptied(stage).await;
    report.healed = began.elapsed();
}

/// Waits until the outbox is empty; what it keeps.
async fn emptied(stage: &Stage) -> Vec<String> {
    let kept = if stage.crosses { to_and_fro::emptied(stage).await } else { Vec::new() };
    let admin = stage.world.admin().await;
    const LEFT: &str = "SELECT concat_ws(' ', t.name, o.op, 'attempts', o.attempts, o.last_error), \
         count(*) OVER () FROM crossfade.outbox o LEFT JOIN crossfade.tables t ON t.id = o.table_id \
         ORDER BY o.id LIMIT 20";
    // As long as it becomes shorter, on however busy a machine.
    let (mut shortest, mut since) = (i64::MAX, Instant::now());
    loop {
        let rows = admin.query(LEFT, &[]).await.unwrap();
        let left = rows.first().map_or(0, |row| row.get::<_, i64>(1));
        if left < shortest {
            (shortest, since) = (left, Instant::now());
        }
        if left == 0 || PATIENCE < since.elapsed() {
            return rows.iter().map(|row| row.get(0)).chain(kept).collect();
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// Compares what was told with what is there, and the two sides with each other.
async fn judge(stage: &Stage, hour: &Hour, journal: &Journal, report: &mut Report) {
    if report.healed.is_zero() {
        end_prepared(stage).await;
        heal(stage, report).await;
    }
    report.count(journal);
    report.heard = hour.summary();
    report.refused_logins = hour.counts.refused_logins.load(Ordering::Relaxed);
    report.stuck = hour.counts.stuck.load(Ordering::Relaxed);
    compare(stage, journal, report).await;
}

async fn compare(stage: &Stage, journal: &Journal, report: &mut Report) {
    let (admin, mut secondary) = (stage.world.admin().await, stage.world.secondary().await);
    let journals = clients::journals();
    let halves = journal::on_postgres(&admin, &journals).await;
    report.verdict.take_in(journal.verdict("PostgreSQL", &halves));
    let halves = journal::on_secondary(&mut secondary, &journals).await;
    report.verdict.take_in(journal.verdict("secondary", &halves));
    for table in compared::tables(&admin).await.unwrap() {
        let found = compared::compare(&admin, &mut secondary, &table).await.unwrap();
        report.tables += 1;
        report.rows += found.rows;
        let line = |side: &'static str| {
            let table = table.clone();
            move |row: &compared::Row| {
                let row: Vec<_> = row
                    .iter()
                    .flatten()
                    .map(|value| value.chars().take(24).collect::<String>())
                    .collect();
                format!("{table}: only on {side}: {row:?}")
            }
        };
        report.different.extend(found.only_postgres.iter().map(line("PostgreSQL")));
        report.different.extend(found.only_secondary.iter().map(line("the secondary")));
    }
    let logs = stage.logs();
    report.panics = logs.matches("panicked at").count();
    report.leaks = logs.matches(BODY).count();
}
