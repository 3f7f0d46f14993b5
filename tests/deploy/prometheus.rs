//! Alerts and dashboard: promtool runs the rules, and a Prometheus that scrapes a real sidecar is asked
//! every query.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use crossfade::admin::client;
use serde_yaml::Value;

use super::manifests::composed;
use super::{Directory, Started, documents, list, read, root, text};
use crate::support::process::free_port;
use crate::support::{PATIENCE, Target, World};

const ALERTS: &str = "deploy/alerts.yaml";
const SCENES: &str = "tests/deploy/alerts.yaml";
const DASHBOARD: &str = "deploy/dashboard.json";

/// A program of Prometheus's, where tests/setup/install.sh has put it.
fn program(name: &str) -> PathBuf {
    let named = std::env::var_os("CROSSFADE_PROMETHEUS").filter(|home| !home.is_empty());
    let home =
        named.map_or_else(|| crossfade::demo::servers::cache().join("prometheus"), PathBuf::from);
    let program = home.join("bin").join(name);
    assert!(program.exists(), "{} is missing: `make setup` brings it", program.display());
    program
}

fn alerts() -> Vec<Value> {
    let alerts = documents(ALERTS).remove(0);
    let groups = list(&alerts["groups"]).iter();
    groups.flat_map(|group| list(&group["rules"])).cloned().collect()
}

#[track_caller]
fn promtool(arguments: &[&str]) {
    let mut command = Command::new(program("promtool"));
    let output = command.args(arguments).current_dir(root()).output().unwrap();
    let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
    assert!(output.status.success(), "promtool {arguments:?}\n{said}");
}

#[test]
fn each_alert_fires_when_it_should_and_no_other_does() {
    promtool(&["check", "rules", ALERTS]);
    promtool(&["test", "rules", SCENES]);
    // Each is in a scene in which it fires at one moment, and does not at another.
    let scenes = documents(SCENES).remove(0);
    let mut tested = BTreeSet::new();
    for scene in list(&scenes["tests"]) {
        let moments: Vec<BTreeSet<&str>> = list(&scene["promql_expr_test"])
            .iter()
            .map(|moment| {
                let samples = list(&moment["exp_samples"]).iter();
                samples.map(|sample| text(sample, &["labels"]).split('"').nth(1).unwrap()).collect()
            })
            .collect();
        for name in moments.iter().flatten() {
            if moments.iter().any(|firing| !firing.contains(name)) {
                tested.insert((*name).to_owned());
            }
        }
    }
    let named = alerts().iter().map(|rule| text(rule, &["alert"]).to_owned()).collect();
    assert_eq!(tested, named);
}

#[test]
fn each_alert_says_how_bad_it_is_and_what_to_do() {
    for rule in alerts() {
        let severity = text(&rule, &["labels", "severity"]);
        assert!(["critical", "warning", "info"].contains(&severity), "{rule:?}");
        for annotation in ["summary", "action"] {
            assert!(!text(&rule, &["annotations", annotation]).is_empty(), "{rule:?}");
        }
    }
}

#[test]
fn each_alert_has_its_section_in_the_runbook() {
    let runbook = read("docs/runbook.md");
    let sections: BTreeSet<String> = runbook
        .lines()
        .filter_map(|line| line.strip_prefix("### Crossfade"))
        .map(|name| format!("Crossfade{name}"))
        .collect();
    let named = alerts().iter().map(|rule| text(rule, &["alert"]).to_owned()).collect();
    assert_eq!(sections, named);
}

/// A query of the dashboard, and the labels that its legend shows.
struct Query {
    panel: String,
    text: String,
    legend: String,
}

fn dashboard() -> Vec<Query> {
    let dashboard: serde_json::Value = serde_json::from_str(&read(DASHBOARD)).unwrap();
    let mut queries = Vec::new();
    for panel in dashboard["panels"].as_array().unwrap() {
        let title = panel["title"].as_str().unwrap();
        for target in panel["targets"].as_array().into_iter().flatten() {
            queries.push(Query {
                panel: title.to_owned(),
                text: target["expr"].as_str().unwrap().to_owned(),
                legend: target["legendFormat"].as_str().unwrap().to_owned(),
            });
        }
    }
    for annotation in dashboard["annotations"]["list"].as_array().unwrap() {
        let text = annotation["expr"].as_str().unwrap().to_owned();
        queries.push(Query { panel: "annotation".to_owned(), text, legend: String::new() });
    }
    queries
}

#[test]
fn the_panels_have_room_and_say_what_they_show() {
    let dashboard: serde_json::Value = serde_json::from_str(&read(DASHBOARD)).unwrap();
    let mut taken = BTreeMap::new();
    for panel in dashboard["panels"].as_array().unwrap() {
        let number = |field: &str| panel["gridPos"][field].as_u64().unwrap();
        let title = panel["title"].as_str().unwrap();
        assert!(number("x") + number("w") <= 24, "{title} is too wide");
        for (x, y) in (number("x")..number("x") + number("w"))
            .flat_map(|x| (number("y")..number("y") + number("h")).map(move |y| (x, y)))
        {
            let other = taken.insert((x, y), title);
            assert!(other.is_none(), "{title} covers {other:?}");
        }
        let described = panel["description"].as_str().is_some_and(|text| !text.is_empty());
        assert!(panel["type"] == "row" || described, "{title} does not say what it shows");
    }
}

/// The series that an expression asks for: `name`, or `name{labels}`.
fn selectors(expression: &str) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    let mut rest = expression;
    while let Some(start) = rest.find(|letter: char| letter.is_ascii_alphabetic() || letter == '"')
    {
        rest = &rest[start..];
        if let Some(text) = rest.strip_prefix('"') {
            rest = text.split_once('"').map_or("", |(_, rest)| rest);
            continue;
        }
        let end = rest.find(|letter: char| !letter.is_ascii_alphanumeric() && letter != '_');
        let (word, after) = rest.split_at(end.unwrap_or(rest.len()));
        rest = after;
        let ours = ["crossfade_", "process_"].iter().any(|prefix| word.starts_with(prefix));
        if ours || word == "up" {
            let labels = after.strip_prefix('{').and_then(|labels| labels.split_once('}'));
            found.insert(
                labels.map_or(word.to_owned(), |(labels, _)| format!("{word}{{{labels}}}")),
            );
        }
    }
    found
}

#[test]
fn selectors_are_told_from_functions_and_labels() {
    let expression =
        r#"max by (job) (crossfade_epoch{job="up"}) / ignoring (name) up > rate(process_x[5m])"#;
    let found = selectors(expression);
    let found: Vec<&str> = found.iter().map(String::as_str).collect();
    assert_eq!(found, [r#"crossfade_epoch{job="up"}"#, "process_x", "up"]);
}

/// A Prometheus as compose.yaml configures it, that scrapes one sidecar.
struct Prometheus {
    address: SocketAddr,
    directory: Directory,
    _process: Started,
}

impl Prometheus {
    fn start(admin_port: u16) -> Self {
        let directory = Directory::new("prometheus");
        let rules = root().join(ALERTS).display().to_string();
        let mut config = composed("prometheus");
        for (place, here) in [
            ("crossfade:9100", format!("127.0.0.1:{admin_port}")),
            ("/etc/prometheus/alerts.yaml", rules),
            ("5s", "1s".to_owned()),
        ] {
            assert!(config.contains(place), "no {place} in\n{config}");
            config = config.replace(place, &here);
        }
        let file = directory.file("prometheus.yml", &config);
        let address = SocketAddr::from(([127, 0, 0, 1], free_port()));
        let log = std::fs::File::create(directory.0.join("log")).unwrap();
        let process = Started::new(
            Command::new(program("prometheus"))
                .arg(format!("--config.file={}", file.display()))
                .arg(format!("--storage.tsdb.path={}", directory.0.join("data").display()))
                .arg(format!("--web.listen-address={address}"))
                .stdout(log.try_clone().unwrap())
                .stderr(log),
        );
        Self { address, directory, _process: process }
    }

    /// The series that a query finds; an error where Prometheus does not answer or takes it for wrong.
    async fn ask(&self, query: &str) -> Result<Vec<BTreeMap<String, String>>, String> {
        let encoded: String = query.bytes().map(|byte| format!("%{byte:02X}")).collect();
        let answer = client::get(self.address, &format!("/api/v1/query?query={encoded}")).await;
        let answer = answer.map_err(|error| error.to_string())?;
        let body: serde_json::Value =
            serde_json::from_str(&answer.body).map_err(|error| error.to_string())?;
        let Some(result) = body["data"]["result"].as_array() else { return Err(answer.body) };
        let labels = result.iter().map(|one| one["metric"].clone());
        Ok(labels.map(|labels| serde_json::from_value(labels).unwrap()).collect())
    }

    /// Asks until something is found.
    async fn find(&self, query: &str) -> Vec<BTreeMap<String, String>> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let found = self.ask(query).await;
            match &found {
                Ok(series) if !series.is_empty() => return found.unwrap(),
                _ => {}
            }
            let log = || std::fs::read_to_string(self.directory.0.join("log")).unwrap();
            assert!(Instant::now() < deadline, "{query} finds {found:?}\n{}", log());
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }
}

/// A sidecar of which every metric has something to tell: rows copied, compared, refused and not captured.
async fn eventful() -> World {
    let schema = "CREATE TABLE users (id int PRIMARY KEY, score numeric); \
                  INSERT INTO users SELECT n, n FROM generate_series(1, 50) n";
    let world = World::start(Target::MariaDb, schema, "'*': { mode: async }").await;
    world.verb(&["backfill"]);
    world.verb(&["verify"]);
    let client = world.client().await;
    client.batch_execute("INSERT INTO users VALUES (100, 1)").await.unwrap();
    client.batch_execute("INSERT INTO users VALUES (101, 'NaN')").await.unwrap();
    client.batch_execute("DO $$ BEGIN INSERT INTO users VALUES (102, 2); END $$").await.unwrap();
    world
}

#[tokio::test]
async fn every_query_finds_what_it_asks_for_in_a_real_sidecar() {
    let world = eventful().await;
    let prometheus = Prometheus::start(world.proxy.as_ref().unwrap().admin_port);
    prometheus.find("up == 1").await;
    for Query { panel, text, legend } in dashboard() {
        let text = text.replace("$instance", ".*").replace("$__rate_interval", "1m");
        prometheus.ask(&text).await.unwrap_or_else(|error| panic!("{panel}: {text}: {error}"));
        for selector in selectors(&text) {
            prometheus.find(&selector).await;
        }
        // What a legend names is a label of what is found, whether or not it is above a bound now.
        let whole =
            text.split([">", "== 1"].iter().find(|end| text.contains(**end)).unwrap_or(&";"));
        let series = prometheus.find(whole.into_iter().next().unwrap()).await;
        for label in legend.split("{{").skip(1).filter_map(|rest| rest.split("}}").next()) {
            assert!(
                series.iter().all(|one| one.contains_key(label)),
                "{panel}: no {label} in {series:?}"
            );
        }
    }
    for rule in alerts() {
        let expression = text(&rule, &["expr"]);
        prometheus.ask(expression).await.unwrap_or_else(|error| panic!("{expression}: {error}"));
        let found = selectors(expression);
        assert!(!found.is_empty(), "{expression} asks for nothing");
        for selector in found {
            prometheus.find(&selector).await;
        }
    }
    // And the rules act on what is scraped: these hold from the first look.
    prometheus.find(r#"ALERTS{alertname="CrossfadeUncapturedWrites",alertstate="firing"}"#).await;
}
