//! `crossfade verify` beside the bare scans of both tables, and beside reladiff.

use std::process::{Command, Stdio};

use crate::figures;
use crate::place::{Cost, Place};

/// Of the three kinds, where an index finds them.
const PLANT: [&str; 3] = [
    "DELETE FROM users WHERE tenant_id = 'tenant-003' AND user_id > 'auth|8' LIMIT 3",
    "UPDATE users SET name = CONCAT(name, ' ') WHERE tenant_id = 'tenant-005' AND user_id > 'auth|8' LIMIT 4",
    "INSERT INTO users SELECT 'elsewhere', user_id, ext_id, email, email_verified, is_social, blocked, \
     provider, connection, name, given_name, family_name, nickname, picture, locale, phone_number, \
     login_count, seq, score, balance, created_at, updated_at, last_login, app_metadata, user_metadata \
     FROM users WHERE tenant_id = 'tenant-007' LIMIT 3",
];
const INSTALL: &str = "python3 -m venv $0/reladiff && $0/reladiff/bin/pip install -q reladiff \
     psycopg2-binary mysql-connector-python";

/// Both tables to clients that throw the rows away, one after the other.
pub fn scans(place: &Place) {
    let postgres = place.cost(|| {
        let line =
            format!("{} -qc 'COPY users TO STDOUT (FORMAT binary)' >/dev/null", place.psql_line());
        drop(place.run(&line, ""));
    });
    let mariadb = place.cost(|| {
        let line = format!(
            "{} --quick --batch --raw -Ne 'SELECT * FROM users' >/dev/null",
            place.mariadb_line()
        );
        drop(place.run(&line, ""));
    });
    print("bare scan of PostgreSQL", place, postgres);
    print("bare scan of MariaDB", place, mariadb);
}

pub fn verify(place: &Place) {
    let mut plain = 0.0;
    for _ in 0..3 {
        plain = round(place, "verify, equal", Some(0));
    }
    PLANT.iter().for_each(|sql| drop(place.mariadb(sql)));
    let planted = round(place, "verify, 10 planted", Some(1));
    println!("  ten rows cost {:.2} s more", planted - plain);
}

fn round(place: &Place, what: &str, code: Option<i32>) -> f64 {
    let (cost, own) = timed(place, &["verify"], code);
    print(what, place, cost);
    println!("  own: {own}");
    note_memory(what, &own);
    cost.seconds
}

/// The last number of what [`TIMED`] says.
pub fn note_memory(what: &str, own: &str) {
    let number = own.split_whitespace().rev().nth(1).and_then(|word| word.parse().ok());
    figures::note(&format!("copy/{what}/memory"), number.unwrap_or(f64::NAN));
}

/// One run of a verb: its cost, and what it took itself.
pub fn timed(place: &Place, verb: &[&str], code: Option<i32>) -> (Cost, String) {
    let mut own = String::new();
    let cost = place.cost(|| {
        let command = place.crossfade(verb);
        let mut timed = Command::new("python3");
        timed.args(["-c", TIMED]).arg(command.get_program()).args(command.get_args());
        let output = timed.stdin(Stdio::null()).output().expect("Python");
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        own = String::from_utf8_lossy(&output.stderr).trim().to_owned();
        assert_eq!(output.status.code(), code, "{said}\n{own}");
    });
    let own = own.lines().last().unwrap_or_default().to_owned();
    (cost, own)
}

/// Runs its arguments, then says what they used.
const TIMED: &str = "import resource, subprocess, sys\n\
     code = subprocess.call(sys.argv[1:])\n\
     used = resource.getrusage(resource.RUSAGE_CHILDREN)\n\
     print('%.2f CPU s, at most %.0f MiB' % (used.ru_utime + used.ru_stime, used.ru_maxrss / 1024), file=sys.stderr)\n\
     sys.exit(code)";

pub fn reladiff(place: &Place) {
    let directory = place.config.parent().expect("it is in a directory").display().to_string();
    let installed = Command::new("sh").args(["-c", INSTALL, &directory]).output().expect("a shell");
    if !installed.status.success() {
        println!("reladiff could not be installed, and is not measured");
        return;
    }
    // It cannot take the primary key, which is of text: a number that is unique, then, with what it needs.
    place.psql("CREATE UNIQUE INDEX IF NOT EXISTS users_by_seq ON users (seq)");
    place.mariadb("CREATE UNIQUE INDEX IF NOT EXISTS users_by_seq ON users (seq)");
    let found = compare(place, &directory, "reladiff", &COLUMNS);
    figures::note("copy/reladiff/false", found);
    let equal: Vec<&str> = COLUMNS.into_iter().filter(|column| !MISREAD.contains(column)).collect();
    compare(place, &directory, "reladiff, equal", &equal);
    // `verify` goes over the table as it was.
    place.psql("DROP INDEX users_by_seq");
    place.mariadb("DROP INDEX users_by_seq ON users");
}

/// Rows that it takes for different.
fn compare(place: &Place, directory: &str, what: &str, columns: &[&str]) -> f64 {
    let columns: Vec<String> = columns.iter().map(|column| format!("-c {column}")).collect();
    let columns = columns.join(" ");
    let line = format!(
        "$0/reladiff/bin/reladiff {} users {} users -k seq {columns} --stats",
        place.postgres.url("postgres").replace("postgres://", "postgresql://"),
        place.secondary.url("test"),
    );
    let (mut said, mut status) = (String::new(), None);
    let cost = place.cost(|| {
        let output = Command::new("sh").args(["-c", &line, directory]).output().expect("a shell");
        said = String::from_utf8_lossy(&output.stdout).into_owned();
        status = output.status.code();
    });
    print(what, place, cost);
    println!("  exit code {status:?}");
    said.lines().for_each(|line| println!("  {line}"));
    let differing = said.lines().find(|line| line.ends_with("rows updated"));
    let number = differing.and_then(|line| line.split_whitespace().next());
    number.and_then(|word| word.parse().ok()).unwrap_or(f64::NAN)
}

/// Whose equal values it takes for different.
const MISREAD: [&str; 3] = ["name", "given_name", "score"];

/// Those that it can compare beside the key.
const COLUMNS: [&str; 22] = [
    "tenant_id",
    "user_id",
    "ext_id",
    "email",
    "email_verified",
    "is_social",
    "blocked",
    "provider",
    "connection",
    "name",
    "given_name",
    "family_name",
    "nickname",
    "picture",
    "locale",
    "phone_number",
    "login_count",
    "score",
    "balance",
    "created_at",
    "updated_at",
    "last_login",
];

pub fn print(what: &str, place: &Place, cost: Cost) {
    let millions = place.rows as f64 / 1e6;
    let Cost { seconds, primary, secondary } = cost;
    figures::note(&format!("copy/{what}/rate"), place.rows as f64 / seconds);
    figures::note(&format!("copy/{what}/primary"), primary / millions);
    figures::note(&format!("copy/{what}/secondary"), secondary / millions);
    println!(
        "{what}: {seconds:.2} s, {:.0} rows/s; CPU s per million rows: PostgreSQL {:.2}, MariaDB {:.2}",
        place.rows as f64 / seconds,
        primary / millions,
        secondary / millions
    );
}
