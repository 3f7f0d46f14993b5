//! What a change of the primary costs clients, and what a statement costs while MySQL answers it.
//!
//! ```text
//! ROUNDS=3 RATE=500 cargo bench --bench switch      everything, on MariaDB
//! TARGET=mysql CASES=hold cargo bench --bench switch
//! ```
//!
//! | case | what is told |
//! | --- | --- |
//! | `hold` | how long statements take that are under way while the primary changes, at `RATE` written rows a second |
//! | `answer` | each statement through Crossfade, and its translation sent to MySQL directly, in turns |
//!
//! Both servers are durable. Absolute figures belong to the machine, and so nothing is asserted.

#![allow(unreachable_pub, reason = "nothing outside this bench reaches any of it")]
#![allow(clippy::print_stdout, reason = "the table is the result")]

#[path = "switch/answer.rs"]
mod answer;
mod figures;
#[path = "switch/hold.rs"]
mod hold;
#[path = "switch/place.rs"]
mod place;

use place::Place;

fn main() {
    let cases = std::env::var("CASES").unwrap_or_else(|_| "hold,answer".to_owned());
    let place = Place::start(place::SCHEMA, "test");
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    for case in cases.split(',') {
        match case {
            "hold" => runtime.block_on(hold::hold(&place)),
            "answer" => runtime.block_on(answer::answer(&place)),
            other => println!("no case {other:?}"),
        }
    }
}

/// The value at a share of the sorted figures.
fn quantile(sorted: &[f64], share: f64) -> f64 {
    let at = (sorted.len() as f64 * share).ceil() as usize;
    sorted.get(at.saturating_sub(1)).copied().unwrap_or(f64::NAN)
}
