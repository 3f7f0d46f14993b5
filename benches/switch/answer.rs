//! What a statement costs while MySQL answers it, beside the same statement sent to MySQL directly.

use std::time::Instant;

use mysql_async::prelude::Queryable as _;

use crate::figures;
use crate::place::{Place, USERS};
use crate::quantile;

/// In one run of one case, in one way.
const STATEMENTS: i64 = 3_000;

/// At once, where there are many.
const CLIENTS: i64 = 50;
/// What they run.
const CROWDED: [&str; 2] = ["one user by key", "one update by key"];

struct Case {
    name: &'static str,
    postgres: &'static str,
    mysql: &'static str,
}

const CASES: [Case; 4] = [
    Case {
        name: "one user by key",
        postgres: "SELECT id, email, name, active, logins, profile, created_at FROM users WHERE id = $1",
        mysql: "SELECT id, email, name, active, logins, profile, created_at FROM users WHERE id = ?",
    },
    Case {
        name: "a session's user",
        postgres: "SELECT u.id, u.email, u.active, s.expires_at FROM users u JOIN sessions s ON s.user_id = u.id \
             WHERE u.id = $1 ORDER BY s.seen_at DESC, s.id LIMIT 1",
        mysql: "SELECT u.id, u.email, u.active, s.expires_at FROM users u JOIN sessions s ON s.user_id = u.id \
             WHERE u.id = ? ORDER BY s.seen_at DESC, s.id LIMIT 1",
    },
    Case {
        name: "a list of 100",
        postgres: "SELECT id, email, name, active, created_at FROM users WHERE id > $1 ORDER BY id LIMIT 100",
        mysql: "SELECT id, email, name, active, created_at FROM users WHERE id > ? ORDER BY id LIMIT 100",
    },
    Case {
        name: "one update by key",
        postgres: "UPDATE users SET logins = logins + 1 WHERE id = $1",
        mysql: "UPDATE users SET logins = logins + 1 WHERE id = ?",
    },
];

/// Median microseconds, and the sidecar's processor microseconds a statement.
struct Figures {
    median: f64,
    cpu: f64,
}

pub async fn answer(place: &Place) {
    tokio::task::block_in_place(|| place.verb(&["switchover"]));
    println!(
        "\nMySQL answers, one client, prepared statements: µs, medians of {STATEMENTS} and of rounds"
    );
    for case in &CASES {
        let (mut through, mut direct, mut cpu) = (Vec::new(), Vec::new(), Vec::new());
        for _ in 0..place.rounds {
            direct.push(by_mysql(place, case).await);
            let figures = by_crossfade(place, case).await;
            through.push(figures.median);
            cpu.push(figures.cpu);
        }
        let [through, direct, cpu] = [through, direct, cpu].map(|mut figures: Vec<f64>| {
            figures.sort_by(f64::total_cmp);
            quantile(&figures, 0.5)
        });
        for (what, value) in [("through", through), ("direct", direct), ("cpu", cpu)] {
            figures::note(&format!("switch/{}/{what}", case.name), value);
        }
        println!(
            "  {:<18} direct {direct:>6.0}   through Crossfade {through:>6.0}   {:.2} of direct   cpu {cpu:.0} µs",
            case.name,
            through / direct
        );
    }
    println!(
        "\n{CLIENTS} clients: statements a second, and the sidecar's µs of processor for each"
    );
    for case in CASES.iter().filter(|case| CROWDED.contains(&case.name)) {
        let (rate, cpu) = crowded(place, case).await;
        figures::note(&format!("switch/{}/crowd rate", case.name), rate);
        figures::note(&format!("switch/{}/crowd cpu", case.name), cpu);
        println!("  {:<18} {rate:>6.0}   cpu {cpu:.0} µs", case.name);
    }
    tokio::task::block_in_place(|| place.verb(&["rollback"]));
}

/// Many clients at once, each as fast as it is answered.
async fn crowded(place: &Place, case: &'static Case) -> (f64, f64) {
    let mut clients = Vec::new();
    for _ in 0..CLIENTS {
        let client = place.client().await;
        let statement = client.prepare(case.postgres).await.expect("it is translated");
        clients.push((client, statement));
    }
    let (before, began) = (place.cpu(), Instant::now());
    let each = STATEMENTS / CLIENTS * 3;
    let work = clients.into_iter().enumerate().map(|(at, (client, statement))| {
        tokio::spawn(async move {
            for number in 0..each {
                let id = id(number + at as i64 * each);
                client.query(&statement, &[&id]).await.expect("it is answered");
            }
        })
    });
    for client in work.collect::<Vec<_>>() {
        client.await.expect("a client");
    }
    let all = (each * CLIENTS) as f64;
    (all / began.elapsed().as_secs_f64(), (place.cpu() - before) * 1e6 / all)
}

async fn by_crossfade(place: &Place, case: &Case) -> Figures {
    let client = place.client().await;
    let statement = client.prepare(case.postgres).await.expect("it is translated");
    let (before, mut taken) = (place.cpu(), Vec::new());
    for number in 0..STATEMENTS {
        let (id, began) = (id(number), Instant::now());
        client.query(&statement, &[&id]).await.expect("it is answered");
        taken.push(began.elapsed().as_secs_f64() * 1e6);
    }
    let cpu = (place.cpu() - before) * 1e6 / STATEMENTS as f64;
    taken.sort_by(f64::total_cmp);
    Figures { median: quantile(&taken, 0.5), cpu }
}

async fn by_mysql(place: &Place, case: &Case) -> f64 {
    let mut conn = place.mysql().await;
    let statement = conn.prep(case.mysql).await.expect("MySQL prepares it");
    let mut taken = Vec::new();
    for number in 0..STATEMENTS {
        let (id, began) = (id(number), Instant::now());
        let _: Vec<mysql_async::Row> = conn.exec(&statement, (id,)).await.expect("MySQL answers");
        taken.push(began.elapsed().as_secs_f64() * 1e6);
    }
    drop(conn.disconnect().await);
    taken.sort_by(f64::total_cmp);
    quantile(&taken, 0.5)
}

fn id(number: i64) -> i64 {
    1 + (number * 7919) % (USERS - 100)
}
