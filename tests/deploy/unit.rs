//! The systemd unit.

use std::process::Command;

use super::{Directory, read};
use crate::support::process::PROGRAM;

const UNIT: &str = "deploy/crossfade.service";
const INSTALLED: &str = "/usr/local/bin/crossfade";

/// systemd's own verdict on what the unit leaves open, from 0 (nothing) to 10.
const EXPOSURE_MAX: f64 = 1.5;

/// The unit, with the program where it is here.
fn unit(directory: &Directory) -> std::path::PathBuf {
    directory.file("crossfade.service", &read(UNIT).replace(INSTALLED, PROGRAM))
}

#[test]
fn systemd_takes_the_unit_as_it_is() {
    let directory = Directory::new("unit");
    let output =
        Command::new("systemd-analyze").arg("verify").arg(unit(&directory)).output().unwrap();
    let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
    assert!(output.status.success() && said.trim().is_empty(), "{said}");
}

#[test]
fn the_unit_leaves_little_open() {
    let directory = Directory::new("unit-exposure");
    let mut command = Command::new("systemd-analyze");
    let output =
        command.args(["security", "--offline=true"]).arg(unit(&directory)).output().unwrap();
    let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
    let level = said.split("exposure level for").nth(1).and_then(|rest| rest.split(' ').nth(2));
    let level: f64 = level.unwrap_or_else(|| panic!("{said}")).parse().unwrap();
    assert!(level <= EXPOSURE_MAX, "{said}");
}

#[test]
fn the_unit_starts_what_the_program_knows() {
    let text = read(UNIT);
    let of = |key: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(key));
        line.unwrap_or_else(|| panic!("no {key} in {UNIT}"))
    };
    let command: Vec<&str> = of("ExecStart=").split(' ').collect();
    assert_eq!(command[0], INSTALLED);
    let output = Command::new(PROGRAM).args(&command[1..]).arg("--help").output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(30 < of("TimeoutStopSec=").parse::<u64>().unwrap(), "killed while it ends");
    assert_eq!(of("ExecReload="), "/bin/kill -HUP $MAINPID");
}
