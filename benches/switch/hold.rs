//! The pause as clients feel it: statements that are under way while the primary changes.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crate::figures;
use crate::place::{Place, USERS};
use crate::quantile;

const CLIENTS: u64 = 16;
/// Load before and after a change.
const AROUND: Duration = Duration::from_secs(3);
const WRITE: &str = "UPDATE users SET logins = logins + 1 WHERE id = $1";

/// One statement: when it was due, and when its answer came. What is late counts.
type Felt = (Instant, Instant);

pub async fn hold(place: &Place) {
    println!(
        "\n{} one-statement writes a second from {CLIENTS} clients; ms that a statement took",
        place.rate
    );
    let (mut during, mut quiet, mut held) = (Vec::new(), Vec::new(), Vec::new());
    for verb in ["switchover", "rollback"].into_iter().cycle().take(place.rounds as usize * 2) {
        let round = round(place, verb).await;
        during.extend(round.during);
        quiet.extend(round.quiet);
        held.push(round.held);
    }
    for figures in [&mut during, &mut quiet, &mut held] {
        figures.sort_by(f64::total_cmp);
    }
    println!("all rounds: meanwhile {}", shown(&during));
    for (name, value) in [
        ("rate", place.rate as f64),
        ("rounds", held.len() as f64),
        ("held", quantile(&held, 0.5)),
        ("p99", quantile(&during, 0.99)),
        ("longest", quantile(&during, 1.0)),
        ("quiet", quantile(&quiet, 0.99)),
    ] {
        figures::note(&format!("switch/hold/{name}"), value);
    }
}

/// Milliseconds.
struct Round {
    during: Vec<f64>,
    quiet: Vec<f64>,
    held: f64,
}

async fn round(place: &Place, verb: &str) -> Round {
    let stop = Arc::new(AtomicBool::new(false));
    let mut clients = Vec::new();
    for number in 0..CLIENTS {
        let (client, stop) = (place.client().await, Arc::clone(&stop));
        let every = Duration::from_secs(CLIENTS) / u32::try_from(place.rate).unwrap_or(500);
        let first = Instant::now() + every.mul_f64(number as f64 / CLIENTS as f64);
        clients.push(tokio::spawn(work(client, number, first, every, stop)));
    }
    tokio::time::sleep(AROUND).await;
    let began = Instant::now();
    let said = tokio::task::block_in_place(|| place.verb(&[verb, "--format", "json"]));
    let ended = Instant::now();
    tokio::time::sleep(AROUND).await;
    stop.store(true, Ordering::Relaxed);
    let mut felt: Vec<Felt> = Vec::new();
    for client in clients {
        felt.extend(client.await.expect("a client"));
    }
    let meanwhile = |(from, to): &&Felt| *from < ended && *to > began;
    let (quiet, during): (Vec<Felt>, Vec<Felt>) =
        felt.iter().partition(|statement| !meanwhile(statement));
    let held = said.split("\"hold_seconds\":").nth(1).and_then(|rest| rest.split('}').next());
    let held: f64 = held.and_then(|text| text.parse().ok()).unwrap_or(f64::NAN);
    let (during, quiet, held) = (millis(&during), millis(&quiet), held * 1000.0);
    let (meanwhile, around) = (shown(&during), shown(&quiet));
    println!("{verb:>10}: hold {held:>4.0}   meanwhile {meanwhile}   before and after {around}");
    Round { during, quiet, held }
}

/// In order.
fn millis(felt: &[Felt]) -> Vec<f64> {
    let mut millis: Vec<f64> =
        felt.iter().map(|(from, to)| (*to - *from).as_secs_f64() * 1000.0).collect();
    millis.sort_by(f64::total_cmp);
    millis
}

async fn work(
    client: tokio_postgres::Client,
    number: u64,
    first: Instant,
    every: Duration,
    stop: Arc<AtomicBool>,
) -> Vec<Felt> {
    let write = client.prepare(WRITE).await.expect("it prepares");
    let (mut felt, mut due, mut id) = (Vec::new(), first, number as i64);
    while !stop.load(Ordering::Relaxed) {
        tokio::time::sleep_until(due.into()).await;
        id = 1 + (id + 7919) % USERS;
        client.execute(&write, &[&id]).await.expect("no client sees an error");
        felt.push((due, Instant::now()));
        due += every;
    }
    felt
}

fn shown(millis: &[f64]) -> String {
    let at = |share| quantile(millis, share);
    format!(
        "{:>5} statements: p50 {:.1}, p99 {:.1}, longest {:.1}",
        millis.len(),
        at(0.5),
        at(0.99),
        at(1.0)
    )
}
