//! What somebody on call is shown while the primary changes, and right after.

use crossfade::plan::seen::Fingerprint;
use serde_json::Value;

use super::{SCHEMA, Site};
use crate::support::process;
use crate::support::{Target, World};

async fn json(site: &Site, path: &str) -> Value {
    let (status, body) = site.world.proxy.as_ref().unwrap().get(path).await.unwrap();
    assert_eq!(status, 200, "{path}: {body}");
    serde_json::from_str(&body).unwrap()
}

async fn verb(site: &Site, arguments: &'static [&'static str]) -> (Option<i32>, String) {
    let config = site.world.config.clone();
    tokio::task::spawn_blocking(move || process::verb(&config, arguments)).await.unwrap()
}

/// The sidecar looks every other second only; whoever asks right after a verb is not shown what was before.
#[tokio::test]
async fn status_right_after_a_verb_shows_what_it_did() {
    let mut world = World::bare(Target::all().remove(0), "").await;
    world.edit(|text| text + "limits: { poll: 2s }\n");
    world.direct().await.batch_execute(SCHEMA).await.unwrap();
    world.run().await;
    world.setup();
    let (_, said) = process::verb(&world.config, &["status"]);
    assert!(said.contains("phase dual_write") && said.contains("dirty: backfill"), "{said}");
    let mut site = Site::over(world).await;
    for (change, phase) in [("switchover", "phase switched"), ("rollback", "phase dual_write")] {
        let (code, said) = verb(&site, &["status"]).await;
        assert!(code == Some(0) && said.contains("; verified "), "{said}");
        site.change(change).await;
        let (_, said) = verb(&site, &["status"]).await;
        assert!(said.contains(phase), "{said}");
        let dirty = "UPDATE crossfade.tables SET dirty_reason = 'verify', dirty_since = now()";
        site.admin.batch_execute(dirty).await.unwrap();
        let (code, said) = verb(&site, &["status"]).await;
        assert!(code == Some(1) && said.contains("dirty: verify"), "{said}");
        let (code, said) = verb(&site, &["verify"]).await;
        assert_eq!(code, Some(0), "{said}");
    }
    let (code, said) = verb(&site, &["status"]).await;
    assert!(code == Some(0) && !said.contains("dirty"), "{said}");
}

/// One hold has one length, whoever tells of it.
#[tokio::test]
async fn a_hold_has_one_length_everywhere() {
    let site = Site::start(Target::all().remove(0)).await;
    let [there, back]: [&'static [&'static str]; 2] =
        [&["switchover", "--format", "json"], &["rollback", "--format", "json"]];
    for change in [there, back] {
        let (code, said) = verb(&site, change).await;
        let said: Value = serde_json::from_str(said.lines().last().unwrap()).unwrap();
        assert_eq!((code, &said["outcome"]), (Some(0), &Value::from("done")), "{said}");
        let attempts = json(&site, "/attempts").await;
        let held = said["hold_seconds"].as_f64().unwrap();
        assert!(0.0 < held, "{said}");
        assert_eq!(attempts[0]["hold_seconds"].as_f64(), Some(held), "{attempts:#}");
    }
    let proxy = site.world.proxy.as_ref().unwrap();
    let attempts = json(&site, "/attempts").await;
    let both: f64 = (0..2).filter_map(|at| attempts[at]["hold_seconds"].as_f64()).sum();
    let metric = proxy.metric("switchover_hold_seconds_sum").await;
    // The one is measured here, the other by PostgreSQL's clock as it hears of it.
    assert!((metric - both).abs() < 0.5, "{metric} {both}");
    // Nothing of it alarms whoever reads the log.
    let log = proxy.log();
    let alarms: Vec<&str> =
        log.lines().filter(|line| line.contains("WARN") || line.contains("ERROR")).collect();
    assert!(log.contains("clients go on") && alarms.is_empty(), "{alarms:#?}\n{log}");
}

/// What clients are refused is counted by statement, whatever the protocol, and holds no value.
#[tokio::test]
async fn what_mysql_refuses_to_clients_is_counted_and_shown() {
    const SEARCH: &str = "SELECT to_tsvector('sesame', email) FROM users";
    const SEARCH_FOR: &str = "SELECT to_tsvector($1, email) FROM users";
    let mut site = Site::start(Target::all().remove(0)).await;
    site.switch().await;
    let client = site.world.client().await;
    for _ in 0..2 {
        let refused = client.batch_execute(SEARCH).await.unwrap_err();
        assert_eq!(refused.code().unwrap().code(), "0A000");
    }
    assert!(client.prepare(SEARCH_FOR).await.is_err());
    assert!(client.batch_execute("LISTEN \"sesame\"").await.is_err());
    // That is no refusal of ours.
    assert!(client.batch_execute("SELECT 'sesame'::int").await.is_err());
    client.batch_execute("SELECT email FROM users").await.unwrap();
    let listed = json(&site, "/statements?only=open").await;
    let of = |sql: &str| {
        let fingerprint = Fingerprint::of(sql).to_string();
        let found =
            listed.as_array().unwrap().iter().find(|one| one["fingerprint"] == *fingerprint);
        found.unwrap_or_else(|| panic!("no {sql} in {listed:#}")).clone()
    };
    assert_eq!(of(SEARCH)["refused"]["count"], 2, "{listed:#}");
    assert_eq!(of(SEARCH_FOR)["refused"]["count"], 1, "{listed:#}");
    let listen = of("LISTEN \"sesame\"");
    assert_eq!(
        (&listen["refused"]["count"], &listen["readiness"]),
        (&1.into(), &"refused: LISTEN".into())
    );
    assert_eq!(listed.as_array().unwrap().len(), 3, "{listed:#}");
    assert!(!listed.to_string().contains("sesame"), "{listed:#}");
    let proxy = site.world.proxy.as_ref().unwrap();
    assert_eq!(proxy.metric("statements_refused_total").await, 4.0);
    let (_, said) = verb(&site, &["status", "--statements"]).await;
    assert!(said.contains("[refused to clients: 2, last "), "{said}");
}
