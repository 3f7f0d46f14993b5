//! What it costs to bring a table over and to compare it: each beside the least that any tool could
//! do, on servers of its own, with one table of many rows and 25 columns.
//!
//! ```text
//! ROWS=1000000 cargo bench --bench copy             everything
//! CASES=verify ROWS=100000 cargo bench --bench copy some of it
//! CASES=hold cargo bench --bench copy               everything up, for a profiler, until ^C
//! ```
//!
//! | case | beside it |
//! | --- | --- |
//! | `backfill` | `COPY … TO STDOUT | LOAD DATA` of the same rows; 500 rows a second are written beside either |
//! | `alone` | `backfill` with nothing beside it, for tables that one transaction is too small for |
//! | `scan` | both tables whole, to a client that throws them away |
//! | `verify` | equal tables, and again with ten rows planted different |
//! | `reladiff` | the same table compared by it, where Python can install it |
//!
//! Rows a second belong to the machine; the processor seconds of the servers per million rows less
//! so. Nothing is asserted.

#![allow(unreachable_pub, reason = "nothing outside this bench reaches any of it")]
#![allow(clippy::print_stdout, reason = "the table is the result")]

#[path = "copy/backfill.rs"]
mod backfill;
mod figures;
#[path = "copy/place.rs"]
mod place;
#[path = "copy/verify.rs"]
mod verify;

use place::Place;

fn main() {
    let cases =
        std::env::var("CASES").unwrap_or_else(|_| "backfill,scan,reladiff,verify".to_owned());
    let place = Place::start();
    place.fill_primary();
    place.set_up();
    figures::note("copy/rows", place.rows as f64);
    if !cases.split(',').any(|case| ["backfill", "alone"].contains(&case)) {
        place.fill_secondary();
    }
    for case in cases.split(',') {
        match case {
            "backfill" => backfill::backfill(&place),
            "alone" => backfill::alone(&place),
            "scan" => verify::scans(&place),
            "verify" => verify::verify(&place),
            "reladiff" => verify::reladiff(&place),
            "hold" => place.hold(),
            other => println!("no case {other:?}"),
        }
    }
}
