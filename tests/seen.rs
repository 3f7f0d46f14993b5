//! What can be seen from outside: statements, sidecars, and the metrics that dashboards rely on.

use std::fs;

use crossfade::config::Config;
use mysql_async::prelude::Queryable;
use serde_json::Value;

use crate::support::process::{self, Proxy};
use crate::support::{Target, World};

const SCHEMA: &str = "CREATE TABLE users (id int PRIMARY KEY, name text)";

/// Each metric that README, dashboards and people rely on: its name, and labels of a series.
const METRICS: &[(&str, &[&str])] = &[
    ("crossfade_sync_errors_total", &["table", "operation", "code"]),
    ("crossfade_writes_total", &["table", "operation", "mode", "outcome"]),
    ("crossfade_sync_latency_seconds_count", &["table"]),
    ("crossfade_oldest_unreplicated_seconds", &[]),
    ("crossfade_outbox_entries", &["state"]),
    ("crossfade_uncaptured_writes_total", &["table", "reason"]),
    ("crossfade_dirty_tables", &[]),
    ("crossfade_breaker_open", &[]),
    ("crossfade_statements_total", &["kind"]),
    ("crossfade_statement_duration_seconds_count", &["kind"]),
    ("crossfade_proxy_overhead_seconds_count", &[]),
    ("crossfade_secondary_wait_seconds_count", &["mode"]),
    ("crossfade_blocking_timeouts_total", &[]),
    ("crossfade_client_connections", &[]),
    ("crossfade_client_connections_refused_total", &["how"]),
    ("crossfade_phase", &["phase"]),
    ("crossfade_epoch", &[]),
    ("crossfade_queue_bytes", &[]),
    ("crossfade_queue_full_total", &["what"]),
    ("crossfade_admin_requests_refused_total", &[]),
    ("crossfade_fence_entries", &[]),
    ("crossfade_sidecars", &[]),
    ("crossfade_catalog_version", &[]),
    ("crossfade_lease_held", &[]),
    ("crossfade_lease_lost_total", &[]),
    ("crossfade_lease_refusals_total", &["what"]),
    ("crossfade_parts_bounds_total", &["bound"]),
    ("crossfade_statements_kept", &[]),
    ("crossfade_switchover_attempts_total", &["outcome"]),
    ("crossfade_prepared_statements", &[]),
    ("crossfade_prepared_once_total", &[]),
    ("crossfade_statements_unlisted_total", &[]),
    ("crossfade_statements_refused_total", &[]),
    ("crossfade_limit", &["name"]),
    ("crossfade_build_info", &["version"]),
    ("process_cpu_seconds_total", &[]),
    ("process_resident_memory_bytes", &[]),
    ("process_open_fds", &[]),
    ("process_start_time_seconds", &[]),
];

/// What stands in docs/reference.md between the marks of this list.
fn listed() -> String {
    let page = crate::deploy::read("docs/reference.md");
    let (_, rest) = page.split_once("<!-- metrics: tests/seen.rs").unwrap();
    let (_, rest) = rest.split_once('\n').unwrap();
    rest.split_once("\n<!-- metrics: to here").unwrap().0.to_owned()
}

/// The same as `/metrics` has it: names, kinds, labels and words.
fn shown(text: &str) -> String {
    let ours = text.lines().filter_map(|line| line.strip_prefix("# HELP crossfade_"));
    let mut lines: Vec<String> = ours
        .filter_map(|line| line.split_once(' '))
        .map(|(name, help)| {
            let of = |start: &str| text.lines().find_map(|line| line.strip_prefix(start));
            let kind = of(&format!("# TYPE crossfade_{name} ")).unwrap();
            let series = ["{", "_bucket{"].map(|end| of(&format!("crossfade_{name}{end}")));
            let labels: Vec<&str> = series.into_iter().flatten().next().map_or(vec![], |rest| {
                let labels = rest.split("\",").filter_map(|label| label.split_once("=\""));
                labels.map(|(name, _)| name).filter(|name| *name != "le").collect()
            });
            format!("| `{name}` | {kind} | {} | {help} |", labels.join(", "))
        })
        .collect();
    lines.sort();
    let head = "| `crossfade_…` | kind | labels | |\n|---|---|---|---|";
    format!("{head}\n{}", lines.join("\n"))
}

#[tokio::test]
async fn the_reference_lists_every_metric_and_answer() {
    let world = World::start(Target::MariaDb, SCHEMA, "'*': { mode: async }").await;
    world.verb(&["backfill"]);
    world.verb(&["verify"]);
    let client = world.client().await;
    let mut secondary = world.secondary().await;
    secondary.query_drop("ALTER TABLE users MODIFY name varchar(3)").await.unwrap();
    client.batch_execute("INSERT INTO users VALUES (1, 'too long')").await.unwrap();
    client.batch_execute("DO $$ BEGIN END $$").await.unwrap();
    let proxy = world.proxy.as_ref().unwrap();
    let listed = listed();
    let text = async || shown(&proxy.get("/metrics").await.unwrap().1);
    let all = ["sync_errors_total", "verify_rows_total", "backfill_rows_total"];
    world
        .until("all series", async || {
            let text = text().await;
            all.iter().all(|name| text.contains(name))
        })
        .await;
    assert_eq!(text().await, listed, "docs/reference.md does not list what /metrics shows");
    let page = crate::deploy::read("docs/reference.md");
    let paths: Vec<&str> = page
        .lines()
        .filter_map(|line| line.strip_prefix("| `GET ")?.split_once('`'))
        .map(|(path, _)| path)
        .collect();
    assert!(10 < paths.len(), "{paths:?}");
    for path in paths {
        assert_eq!(proxy.get(path).await.unwrap().0, 200, "GET {path}");
    }
}

/// Series that are there, at this value, before anything has happened.
const AT_FIRST: &[(&str, f64)] = &[
    (
        "writes_total{mode=\"async\",operation=\"truncate\",outcome=\"deferred\",table=\"users\"}",
        0.0,
    ),
    ("sync_latency_seconds_count{table=\"users\"}", 0.0),
    ("outbox_entries{state=\"pending\"}", 0.0),
    ("outbox_entries{state=\"stuck\"}", 0.0),
    ("statements_total{kind=\"read\"}", 0.0),
    ("statements_total{kind=\"write\"}", 0.0),
    ("statement_duration_seconds_count{kind=\"other\"}", 0.0),
    ("secondary_wait_seconds_count{mode=\"strict\"}", 0.0),
    ("secondary_wait_seconds_count{mode=\"blocking\"}", 0.0),
    ("lease_refusals_total{what=\"answer\"}", 0.0),
    ("queue_full_total{what=\"images\"}", 0.0),
    ("queue_full_total{what=\"strict\"}", 0.0),
    ("parts_bounds_total{bound=\"prelude\"}", 0.0),
    ("lease_held", 1.0),
    ("phase{phase=\"setup\"}", 0.0),
    ("phase{phase=\"dual_write\"}", 1.0),
    ("phase{phase=\"switched\"}", 0.0),
    ("phase{phase=\"complete\"}", 0.0),
    ("epoch", 1.0),
    ("limit{name=\"hold\"}", 30.0),
];

#[tokio::test]
async fn every_metric_has_its_name_its_labels_and_its_zero() {
    let world = World::start(Target::MariaDb, SCHEMA, "'*': { mode: async }").await;
    let proxy = world.proxy.as_ref().unwrap();
    let text = async || proxy.get("/metrics").await.unwrap().1;
    // The series of tables begin with the catalogue.
    world.until("the first series", async || text().await.contains(AT_FIRST[0].0)).await;
    let first = text().await;
    for (series, value) in AT_FIRST {
        let line = format!("crossfade_{series} {value}");
        assert!(first.lines().any(|found| found == line), "no {line} in\n{first}");
    }
    // One refused change, and one write that is not carried over.
    let client = world.client().await;
    let mut secondary = world.secondary().await;
    secondary.query_drop("ALTER TABLE users MODIFY name varchar(3)").await.unwrap();
    client.batch_execute("INSERT INTO users VALUES (1, 'too long')").await.unwrap();
    client.batch_execute("DO $$ BEGIN END $$").await.unwrap();
    let errors = "crossfade_sync_errors_total{code=\"1406\",operation=\"insert\",table=\"users\"}";
    world.until("an error", async || text().await.contains(errors)).await;
    let text = text().await;
    for (name, labels) in METRICS {
        let series = text.lines().find_map(|line| {
            let rest = line.strip_prefix(name)?;
            let (labels, _) =
                rest.strip_prefix('{').map_or(("", rest), |rest| rest.split_once('}').unwrap());
            rest.starts_with(['{', ' ']).then(|| labels.to_owned())
        });
        let series = series.unwrap_or_else(|| panic!("no {name} in\n{text}"));
        let mut found: Vec<_> = series
            .split(',')
            .filter_map(|label| label.split_once('='))
            .map(|(name, _)| name)
            .collect();
        let mut wanted = labels.to_vec();
        found.sort_unstable();
        wanted.sort_unstable();
        assert_eq!(found, wanted, "{name}");
    }
    let config = Config::load(&world.config).unwrap();
    let limits = text.lines().filter(|line| line.starts_with("crossfade_limit{")).count();
    let keys = format!("{:?}", config.limits).matches(": ").count();
    assert_eq!(limits, keys, "each limit is shown");
}

async fn json(proxy: &Proxy, path: &str) -> Value {
    let (status, body) = proxy.get(path).await.unwrap();
    assert_eq!(status, 200, "{body}");
    serde_json::from_str(&body).unwrap()
}

#[tokio::test]
async fn statements_are_listed_by_what_becomes_of_them_and_without_their_values() {
    let mut world = World::bare(Target::MariaDb, "'*': { mode: async }").await;
    world.direct().await.batch_execute(SCHEMA).await.unwrap();
    world.run().await;
    let proxy = world.proxy.as_ref().unwrap();
    let client = world.client().await;
    let insert = |id: u32| format!("INSERT INTO users /* sesame */ VALUES ({id}, 'sesame')");
    client.batch_execute(&insert(1)).await.unwrap();
    let kind = async |text: &str| {
        let list = json(proxy, "/statements").await;
        let line = list.as_array().unwrap().iter().find(|line| line["text"] == text).cloned();
        line.map(|line| {
            (line["kind"].as_str().unwrap().to_owned(), line["count"].as_u64().unwrap())
        })
    };
    const INSERT: &str = "INSERT INTO users VALUES (?, ?)";
    assert_eq!(kind(INSERT).await, Some(("unmigrated".to_owned(), 1)));
    world.setup();
    world
        .until("dual writes", async || {
            json(proxy, "/migration-status").await["phase"] == "dual_write"
        })
        .await;
    for id in 2..5 {
        client.batch_execute(&insert(id)).await.unwrap();
    }
    client.query("SELECT name FROM users WHERE id = $1 AND name <> 'sesame'", &[&1]).await.unwrap();
    client.batch_execute("DO $$ BEGIN PERFORM 'sesame'; END $$").await.unwrap();
    client.batch_execute("SELECT \"sesame\" FROM users").await.unwrap_err();
    client.batch_execute("SET standard_conforming_strings = off").await.unwrap();
    client.batch_execute(r"SELECT 'it\'s sesame'").await.unwrap();
    assert_eq!(kind(INSERT).await, Some(("captured".to_owned(), 4)));
    let read = "SELECT name FROM users WHERE id = $1 AND name <> ?";
    assert_eq!(kind(read).await, Some(("read".to_owned(), 1)));
    assert_eq!(kind("DO ?").await, Some(("uncaptured".to_owned(), 1)));
    let (code, printed) = process::verb(&world.config, &["status", "--statements"]);
    assert_eq!(code, Some(1), "{printed}");
    assert!(printed.contains("uncaptured: do") && printed.contains(INSERT), "{printed}");
    // As `--accept` takes it.
    let list = json(proxy, "/statements").await;
    for line in list.as_array().unwrap() {
        let fingerprint = line["fingerprint"].as_str().unwrap();
        assert!(printed.contains(fingerprint), "no {fingerprint} in\n{printed}");
    }
    let list = json(proxy, "/statements").await.to_string();
    assert!(!list.contains("sesame") && !printed.contains("sesame"), "{list}\n{printed}");
}

#[tokio::test]
async fn overhead_is_what_the_proxy_adds_and_not_what_postgresql_takes() {
    let tables = "users: { mode: blocking, timeout: 1s }\n'*': { mode: async }";
    let world = World::start(Target::MariaDb, SCHEMA, tables).await;
    let proxy = world.proxy.as_ref().unwrap();
    let client = world.client().await;
    // A statement is measured once its answer has left, so the client may be ahead of it.
    let measured = async |count: f64| {
        let series = "proxy_overhead_seconds_count";
        world.until("measured", async || proxy.metric(series).await == count).await;
    };
    client.batch_execute("SELECT pg_sleep(1)").await.unwrap();
    measured(1.0).await;
    assert!(1.0 <= proxy.metric("statement_duration_seconds_sum{kind=\"read\"}").await);
    let added = proxy.metric("proxy_overhead_seconds_sum").await;
    assert!(added < 1.0, "{added} s were added to a statement that slept for one");
    // While somebody else holds the row's table on MySQL, the write waits for its second.
    let mut secondary = world.secondary().await;
    let lock = format!("LOCK TABLES {}.users WRITE", world.database);
    secondary.query_drop(lock).await.unwrap();
    client.batch_execute("INSERT INTO users VALUES (1, 'one')").await.unwrap();
    secondary.query_drop("UNLOCK TABLES").await.unwrap();
    measured(2.0).await;
    assert!(1.0 <= proxy.metric("secondary_wait_seconds_sum{mode=\"blocking\"}").await);
    let added = proxy.metric("proxy_overhead_seconds_sum").await;
    assert!(1.0 <= added, "only {added} s");
    assert_eq!(proxy.metric("blocking_timeouts_total").await, 1.0);
}

#[tokio::test]
async fn status_without_a_sidecar_is_what_the_databases_say() {
    let world = World::bare(Target::MariaDb, "'*': { mode: async }").await;
    let direct = world.direct().await;
    direct.batch_execute(SCHEMA).await.unwrap();
    let status =
        |arguments: &[&str]| process::verb(&world.config, &[&["status"], arguments].concat());
    let (code, printed) = status(&[]);
    assert_eq!(code, Some(0), "{printed}");
    assert!(printed.contains("no sidecar answers") && printed.contains("phase setup"), "{printed}");
    world.setup();
    let admin = world.admin().await;
    let entries = "INSERT INTO crossfade.outbox (table_id, op, key, epoch, counter, attempts, last_error) \
         SELECT id, 'I', '', 1, 1, g * 100, '1062' FROM crossfade.tables, generate_series(0, 1) g; \
         UPDATE crossfade.tables SET dirty_reason = 'copy'";
    admin.batch_execute(entries).await.unwrap();
    let (code, printed) = status(&["--format", "json"]);
    assert_eq!(code, Some(1), "{printed}");
    let line = printed.lines().find(|line| line.starts_with('{')).unwrap();
    let report: Value = serde_json::from_str(line).unwrap();
    assert_eq!(report["source"], "databases");
    assert_eq!((&report["phase"], &report["epoch"]), (&"dual_write".into(), &1.into()));
    assert_eq!((&report["lag"]["pending"], &report["lag"]["stuck"]), (&2.into(), &1.into()));
    assert_eq!(report["tables"]["users"]["dirty"], "copy");
    // No statement has passed.
    assert_eq!(status(&["--statements"]).0, Some(0));
    admin
        .batch_execute(
            "DELETE FROM crossfade.outbox; UPDATE crossfade.tables SET dirty_reason = NULL",
        )
        .await
        .unwrap();
    assert_eq!(status(&[]).0, Some(0));
    world.log_in_to_secondary_as("root", "not-it");
    let (code, printed) = status(&[]);
    assert_eq!(code, Some(1), "{printed}");
    assert!(printed.contains("MySQL at ") && printed.contains("does not answer"), "{printed}");
}

#[tokio::test]
async fn each_sidecar_is_listed_until_it_ends_or_is_long_gone() {
    let mut world = World::start(Target::MariaDb, SCHEMA, "").await;
    let other = world.config.with_file_name("other.yaml");
    let text = fs::read_to_string(&world.config).unwrap();
    let (first, admin) = (world.proxy_port(), world.proxy.as_ref().unwrap().admin_port);
    let text = text
        .replace(&first.to_string(), &process::free_port().to_string())
        .replace(&admin.to_string(), &process::free_port().to_string());
    fs::write(&other, text).unwrap();
    let other = Proxy::start(&other).await;
    let listed = async |proxy: &Proxy| {
        let list = json(proxy, "/sidecars").await;
        let line = |line: &Value| {
            assert_eq!(line["version"], env!("CARGO_PKG_VERSION"));
            assert_eq!((line["epoch"].as_u64(), line["leaseMs"].as_u64()), (Some(1), Some(5000)));
            (line["address"].as_str().unwrap().to_owned(), line["current"].as_bool().unwrap())
        };
        let mut lines: Vec<_> = list.as_array().unwrap().iter().map(line).collect();
        lines.sort();
        lines
    };
    let address = |port: u16| format!("127.0.0.1:{port}");
    let mut both = vec![(address(first), true), (address(other.port), true)];
    both.sort();
    world.until("both listed", async || listed(&other).await == both).await;
    assert_eq!(other.stop(), Some(0));
    let proxy = world.proxy.as_ref().unwrap();
    world.until("one listed", async || listed(proxy).await == [(address(first), true)]).await;
    // One that was killed cannot take its line away.
    world.crash().await;
    let proxy = world.proxy.as_ref().unwrap();
    world.until("a line too many", async || listed(proxy).await.len() == 2).await;
    let admin = world.admin().await;
    let age = "UPDATE crossfade.sidecars SET lease_until = now() - interval '2 hours' \
         WHERE started_at = (SELECT min(started_at) FROM crossfade.sidecars)";
    admin.batch_execute(age).await.unwrap();
    world.until("it is gone", async || listed(proxy).await == [(address(first), true)]).await;
    assert_eq!(json(proxy, "/attempts").await, serde_json::json!([]));
}
