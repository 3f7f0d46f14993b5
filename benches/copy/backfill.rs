//! `crossfade backfill` beside `COPY | LOAD DATA` of the same rows, with the same writes going on.

use std::fs;
use std::process::{Child, Command, Stdio};

use crate::place::{Cost, Place};
use crate::verify::{note_memory, print, timed};

/// Written rows a second beside either.
const WRITES: u32 = 500;
/// Any user's row, by its key.
const WRITE: &str = "\\set n random(1, :rows)\n\
     UPDATE users SET login_count = login_count + 1 WHERE seq = :n;\n";

/// A program that ends with the value.
struct Beside(Child);

impl Drop for Beside {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

pub fn backfill(place: &Place) {
    place.psql("CREATE UNIQUE INDEX IF NOT EXISTS users_by_seq ON users (seq)");
    place.mariadb("TRUNCATE users");
    let writes = writes(place, &place.postgres.url("postgres"));
    let bare = place.fill_secondary();
    drop(writes);
    print("COPY | LOAD DATA, one stream", place, bare);

    let cost = ours(place);
    println!("  {:.2} of the rate of COPY | LOAD DATA", bare.seconds / cost.seconds);
}

/// The same without the bare copy: its one transaction asks for much of MariaDB's disk.
pub fn alone(place: &Place) {
    place.psql("CREATE UNIQUE INDEX IF NOT EXISTS users_by_seq ON users (seq)");
    ours(place);
}

fn ours(place: &Place) -> Cost {
    place.mariadb("TRUNCATE users");
    let mut run = place.crossfade(&["run"]);
    let run = Beside(run.stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("a sidecar"));
    place.ready();
    let writes = writes_through(place);
    let (cost, own) = timed(place, &["backfill", "--again"], Some(0));
    drop(writes);
    print("crossfade backfill", place, cost);
    println!("  own: {own}");
    note_memory("crossfade backfill", &own);
    place.drained();
    drop(run);
    // MySQL has no such index, and verify would say so.
    place.psql("DROP INDEX users_by_seq");
    let (_, own) = timed(place, &["verify"], Some(0));
    println!("  verified equal; {own}");
    cost
}

fn writes_through(place: &Place) -> Beside {
    let url = place.postgres.url("postgres");
    let own = format!(":{}/", place.postgres.port());
    writes(place, &url.replace(&own, &format!(":{}/", place.listen)))
}

fn writes(place: &Place, url: &str) -> Beside {
    let script = place.config.with_file_name("write.sql");
    fs::write(&script, WRITE.replace(":rows", &place.rows.to_string())).expect("a script");
    let child = Command::new("pgbench")
        .args(["-n", "-c", "4", "-R", &WRITES.to_string(), "-T", "3600", "-f"])
        .arg(script)
        .arg(url)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("pgbench");
    Beside(child)
}
