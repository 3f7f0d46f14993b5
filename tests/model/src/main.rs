//! Checks every scene, deeper than the tests do: `make model`.

use std::env;
use std::time::Duration;

use crossfade_model::check::{Checked, Report};
use crossfade_model::scenes::{self, switchover};

fn main() {
    let number = |name: &str, default: u64| {
        env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
    };
    let more = u8::try_from(number("MORE", 1)).unwrap_or(u8::MAX);
    let limit = Duration::from_secs(number("SECONDS", 120));
    println!("{:<40} {:>10} {:>6} {:>8} {:>8}", "scene", "states", "depth", "quiet", "seconds");
    let mut failed = false;
    for scene in scenes::all() {
        failed |= show(scene.name, &scene.clone().deeper(more).report(Some(limit)));
    }
    for turn in [switchover::killed(), switchover::two_drivers(), switchover::loose()] {
        failed |= show(turn.name, &turn.clone().deeper(more).report(Some(limit)));
    }
    std::process::exit(i32::from(failed));
}

fn show(name: &str, report: &Report) -> bool {
    let Report { states, depth, quiet, seconds, exhaustive, failed } = report;
    let end = if *exhaustive { "" } else { "  cut short" };
    println!("{name:<40} {states:>10} {depth:>6} {quiet:>8} {seconds:>8.1}{end}");
    if !failed.is_empty() {
        println!("{}", report.failures());
    }
    !failed.is_empty()
}
