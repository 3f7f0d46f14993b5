//! The same torment while the primary changes to MySQL and back again, time after time, of all tables or of a
//! group of them.
//!
//! ```text
//! old rows ─▶ setup ─▶ backfill, verify ─▶ clients, faults, [`changes`](super::changes) ─▶ judged as it stands
//!      └─▶ judged with a group on MySQL ─▶ with MySQL as the primary of all ─▶ and with PostgreSQL
//! ```
//!
//! Stretches take turns: no fault, faults of single sidecars, none, any fault. In all of them coordinators
//! change the primary, and die over it. A client may only hear of what befell its own sidecar, or the server
//! that was the primary; in the stretch without faults, of nothing.

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use mysql_async::prelude::Queryable as _;
use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};

use super::beside::{self, Beside};
use super::changes::Changer;
use super::clients::GROUPS;
use super::faults::Fault;
use super::hour::{Hour, Lead};
use super::report::Report;
use super::stage::Stage;
use super::{CLIENTS, LONG, SECONDS, chosen, compare, conclude, heal, hour, number, two, work};
use crate::support::{PATIENCE, Target};

const SIDECARS: usize = 3;

#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
async fn torment_to_and_fro_loses_nothing_and_leaves_no_difference_on_mariadb() {
    Box::pin(torment(Target::MariaDb)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
async fn torment_to_and_fro_loses_nothing_and_leaves_no_difference_on_mysql() {
    if Target::all().contains(&Target::MySql) {
        Box::pin(torment(Target::MySql)).await;
    }
}

async fn torment(target: Target) {
    let seed = number("SEED").unwrap_or_else(|| rand::rng().random());
    let seconds = number("TORMENT_SECONDS").unwrap_or(SECONDS);
    eprintln!("CROSSFADE_SEED={seed}");
    let mut stage = Stage::crossing(target, SIDECARS, &beside::old_rows()).await;
    let (faults, left_out) = chosen(&stage);
    let hour = hour(&stage);
    let mut report = Report { left_out, ..Report::default() };
    report.title = format!("torment to and fro on {target:?}, seed {seed}, {SIDECARS} sidecars");
    let duration = Duration::from_secs(seconds);
    let beside = Beside::start(&stage, &hour, seed, beside::rate(duration), LONG <= seconds);
    let mut changer = Changer::new(&stage, &hour, seed);
    let random = StdRng::seed_from_u64(seed);
    let began = Instant::now();
    let tormentor = async {
        let faults = schedule(&mut stage, &hour, &faults, random, duration, &mut report);
        tokio::join!(faults, changer.run(duration));
    };
    let mut journal = work(&hour, seed, duration, tormentor, beside::old_of).await;
    journal.take_in(beside::old_journal());
    report.tormented = began.elapsed();
    report.tell("every client has ended".to_owned());
    report.count(&journal);
    report.heard = hour.summary();
    report.refused_logins = hour.counts.refused_logins.load(Ordering::Relaxed);
    report.stuck = hour.counts.stuck.load(Ordering::Relaxed);
    heal(&stage, &mut report).await;
    report.tell("the outbox is empty".to_owned());
    compare(&stage, &journal, &mut report).await;
    // The last backfill is for PostgreSQL as the primary.
    changer.last(Lead::Postgres).await;
    report.beside = beside.end(&stage);
    beside::last_pass(&stage, &hour, &mut report.beside);
    let group = GROUPS[usize::try_from(seed % 2).unwrap()];
    for lead in [Lead::Group(group), Lead::MySql, Lead::Postgres] {
        changer.last(lead).await;
        report.outbox.extend(super::emptied(&stage).await);
        compare(&stage, &journal, &mut report).await;
        beside::last_pass(&stage, &hour, &mut report.beside);
    }
    let mut changes = changer.end().await;
    changes.feel(&report.heard.waits, CLIENTS);
    report.changes = Some(changes);
    conclude(&mut stage, report, seed);
}

/// Stretches of faults of single sidecars and of all faults, and before each of them one of none.
async fn schedule(
    stage: &mut Stage,
    hour: &Hour,
    faults: &[Fault],
    mut random: StdRng,
    duration: Duration,
    report: &mut Report,
) {
    let end = Instant::now() + duration;
    let part = |most: u64| (duration / 5).min(Duration::from_secs(most));
    let of_sidecar: Vec<_> = faults.iter().copied().filter(|fault| fault.is_of_sidecar()).collect();
    while Instant::now() < end {
        for (all, length) in [(&of_sidecar[..], part(40)), (faults, part(60))] {
            let calm = part(30).min(end.saturating_duration_since(Instant::now()));
            report.tell("no fault for a while".to_owned());
            tokio::time::sleep(calm).await;
            let until = end.min(Instant::now() + length);
            while Instant::now() < until && !all.is_empty() {
                two(stage, hour, (all, all), &mut random, report).await;
            }
        }
    }
    report.broken_connections = stage.broken();
}

/// Waits until MySQL's outbox is empty too; what it keeps.
pub async fn emptied(stage: &Stage) -> Vec<String> {
    const LEFT: &str = "SELECT CONCAT_WS(' ', 'MySQL:', table_id, op, 'attempts', attempts, last_error) \
        FROM crossfade_outbox ORDER BY id";
    let mut secondary = stage.world.secondary().await;
    let (mut shortest, mut since) = (usize::MAX, Instant::now());
    loop {
        // It is made by the first switchover.
        let rows: Vec<String> = secondary.query(LEFT).await.unwrap_or_default();
        if rows.len() < shortest {
            (shortest, since) = (rows.len(), Instant::now());
        }
        if rows.is_empty() || PATIENCE < since.elapsed() {
            return rows.into_iter().take(20).collect();
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}
