//! What was seen is kept: one list for all sidecars and restarts, with what PostgreSQL said about each.

use std::collections::BTreeMap;
use std::fs;

use crossfade::admin::client::post;
use crossfade::plan::seen::Fingerprint;
use crossfade::plan::seen::described::{Column, columns, parameters};
use serde_json::Value;

use crate::support::process::{self, Proxy};
use crate::support::{Target, World};
use crate::wire::script::Wire;

const SCHEMA: &str = "\
CREATE TYPE mood AS ENUM ('sad', 'fine');
CREATE DOMAIN email AS varchar(80) CHECK (VALUE LIKE '%@%');
CREATE TABLE users (id bigint PRIMARY KEY, name varchar(40), mail email, mood mood, paid numeric(10,2),
    born timestamptz(3), tags text[], doc jsonb, active boolean);
GRANT ALL ON users TO PUBLIC";

/// Asked for as a statement, so that its parameters are described too.
const STATEMENTS: &[&str] = &[
    "SELECT * FROM users WHERE id = $1",
    "SELECT name, mood, paid * 2 AS double, born::date, count(*) OVER () FROM users WHERE mood = $1 AND $2 = ANY(tags)",
    "SELECT $1, $2::int + 1, 'literal', 1, 3000000000, 1.5",
    "INSERT INTO users (id, name, mail) VALUES ($1, $2, $3) RETURNING id, mail",
    "UPDATE users SET doc = $1 WHERE id = $2",
    "DELETE FROM users WHERE id = $1 RETURNING *",
    "SELECT FROM users WHERE active = $1",
    "SHOW server_version",
];
/// As node-postgres and libpq do it: the portal is described, the parameters are not.
const PORTALS: &[&str] = &[
    "SELECT u.mail, u.paid, u.doc ->> 'a' AS a FROM users u",
    "INSERT INTO users (id) VALUES (0) RETURNING id, tags",
    "SELECT lower($1)",
];
const QUERIES: &[&str] = &[
    "SELECT name || 'x', id, mood FROM users WHERE paid > 1.5",
    "INSERT INTO users (id, name) VALUES (7, 'seven') RETURNING name, born",
];

#[derive(Debug, PartialEq)]
struct Description {
    parameters: Option<Vec<u32>>,
    columns: Option<Vec<Column>>,
}

#[tokio::test]
async fn statements_are_described_as_postgresql_describes_them_whatever_the_protocol() {
    let world = World::start(Target::MariaDb, SCHEMA, "").await;
    let mut wire = Wire::connect(world.proxy_port(), &world.database).await;
    let mut direct = Wire::connect(world.postgres_port(), &world.database).await;
    for sql in STATEMENTS {
        let parse = format!("P s {sql}");
        let batch = [&parse[..], "D S s", "C S s", "S"];
        wire.say(&batch).await;
        wire.hear(1).await;
        direct.say(&batch).await;
        let expected = Description {
            parameters: parameters(&direct.until(b't').await),
            columns: described(&mut direct).await,
        };
        is_kept(&world, sql, expected).await;
    }
    for sql in PORTALS {
        let values = if sql.contains("$1") { "B _ _ Alice" } else { "B _ _" };
        let parse = format!("P _ {sql}");
        let batch = [&parse[..], values, "D P _", "S"];
        wire.say(&batch).await;
        wire.hear(1).await;
        direct.say(&batch).await;
        let parameters = (!sql.contains("$1")).then(Vec::new);
        let columns = described(&mut direct).await;
        is_kept(&world, sql, Description { parameters, columns }).await;
    }
    for sql in QUERIES {
        let query = format!("Q {sql}");
        wire.say(&[&query]).await;
        wire.hear(1).await;
        direct.say(&[&query.replace("7,", "8,")]).await;
        let columns = described(&mut direct).await;
        is_kept(&world, sql, Description { parameters: Some(Vec::new()), columns }).await;
    }
}

/// RowDescription or NoData, and what follows up to ReadyForQuery.
async fn described(wire: &mut Wire) -> Option<Vec<Column>> {
    let (tag, body) = wire.first(b"Tn").await;
    wire.until(b'Z').await;
    (tag == b'T').then(|| columns(&body, 0).unwrap())
}

/// What the primary's table has of this text.
async fn kept(admin: &tokio_postgres::Client, sql: &str) -> Vec<Description> {
    const KEPT: &str = "SELECT parameters, columns::text FROM crossfade.descriptions \
         WHERE fingerprint = $1";
    let fingerprint = Fingerprint::of(sql).to_string();
    let rows = admin.query(KEPT, &[&fingerprint]).await.unwrap();
    let kept = rows.iter().map(|row| {
        let parameters: Option<Vec<i64>> = row.get(0);
        let columns: Option<String> = row.get(1);
        Description {
            parameters: parameters
                .map(|types| types.into_iter().map(|oid| u32::try_from(oid).unwrap()).collect()),
            columns: columns.map(|text| columns_of(&text)),
        }
    });
    kept.collect()
}

fn columns_of(text: &str) -> Vec<Column> {
    let columns: Vec<(String, u32, i16, u32, i16, i32)> = serde_json::from_str(text).unwrap();
    let column = |(name, table, number, type_oid, type_size, type_modifier)| Column {
        name,
        table,
        number,
        type_oid,
        type_size,
        type_modifier,
    };
    columns.into_iter().map(column).collect()
}

async fn is_kept(world: &World, sql: &str, expected: Description) {
    let admin = world.admin().await;
    world.until("described", async || !kept(&admin, sql).await.is_empty()).await;
    assert_eq!(kept(&admin, sql).await, [expected], "{sql}");
}

#[tokio::test]
async fn what_literals_types_and_schemas_make_different_is_described_apart() {
    let world = World::start(Target::MariaDb, SCHEMA, "").await;
    let client = world.client().await;
    let admin = world.admin().await;
    let types = async |sql: &str, count: usize| {
        world.until("all shapes", async || kept(&admin, sql).await.len() == count).await;
        let mut types: Vec<_> = kept(&admin, sql)
            .await
            .iter()
            .map(|kept| kept.columns.as_ref().unwrap()[0].type_oid)
            .collect();
        types.sort_unstable();
        types
    };
    for literal in ["1", "2", "3000000000", "1.5", "'a'", "'b'"] {
        client.simple_query(&format!("SELECT {literal}")).await.unwrap();
    }
    assert_eq!(types("SELECT 1", 4).await, [20, 23, 25, 1700]);
    use tokio_postgres::types::Type;
    for given in [Type::INT4, Type::TEXT] {
        client.prepare_typed("SELECT $1 AS given", &[given]).await.unwrap();
    }
    assert_eq!(types("SELECT $1 AS given", 2).await, [23, 25]);
    let schemas = "CREATE SCHEMA one; CREATE TABLE one.t (x int); \
         CREATE SCHEMA two; CREATE TABLE two.t (x date)";
    client.batch_execute(schemas).await.unwrap();
    for schema in ["one", "two"] {
        client.batch_execute(&format!("SET search_path = {schema}")).await.unwrap();
        client.prepare("SELECT x FROM t").await.unwrap();
    }
    assert_eq!(types("SELECT x FROM t", 2).await, [23, 1082]);
    // The name of a temporary table says nothing about the table.
    client.batch_execute("SET search_path = one; CREATE TEMP TABLE t (x uuid)").await.unwrap();
    client.prepare("SELECT x FROM t WHERE x IS NULL").await.unwrap();
    client.prepare("SELECT 1 AS afterwards").await.unwrap();
    drop(client);
    let client = world.client().await;
    client.prepare("SELECT 2 AS later").await.unwrap();
    types("SELECT 1 AS later", 1).await;
    assert_eq!(kept(&admin, "SELECT x FROM t WHERE x IS NULL").await, []);
}

#[tokio::test]
async fn a_statement_is_described_anew_after_ddl() {
    let world = World::start(Target::MariaDb, SCHEMA, "").await;
    let (client, admin) = (world.client().await, world.admin().await);
    const ALL: &str = "SELECT * FROM users";
    let columns =
        async || kept(&admin, ALL).await.first().map(|kept| kept.columns.as_ref().unwrap().len());
    client.prepare(ALL).await.unwrap();
    world.until("described", async || columns().await == Some(9)).await;
    client.batch_execute("ALTER TABLE users ADD COLUMN late text").await.unwrap();
    world
        .until("described anew", async || {
            client.prepare(ALL).await.unwrap();
            columns().await == Some(10)
        })
        .await;
}

/// Text → kind, count, readiness.
async fn listed(proxy: &Proxy) -> BTreeMap<String, (String, u64, String)> {
    let (status, body) = proxy.get("/statements").await.unwrap();
    assert_eq!(status, 200, "{body}");
    let list: Vec<Value> = serde_json::from_str(&body).unwrap();
    let text = |line: &Value, key: &str| line[key].as_str().unwrap().to_owned();
    let line = |line: &Value| {
        let (count, readiness) = (line["count"].as_u64().unwrap(), text(line, "readiness"));
        (text(line, "text"), (text(line, "kind"), count, readiness))
    };
    list.iter().map(line).collect()
}

fn another_sidecar(world: &World) -> std::path::PathBuf {
    let other = world.config.with_file_name("other.yaml");
    let text = fs::read_to_string(&world.config).unwrap();
    let (first, admin) = (world.proxy_port(), world.proxy.as_ref().unwrap().admin_port);
    let text = text
        .replace(&first.to_string(), &process::free_port().to_string())
        .replace(&admin.to_string(), &process::free_port().to_string());
    fs::write(&other, text).unwrap();
    other
}

#[tokio::test]
async fn sidecars_and_restarts_have_one_list() {
    const READ: &str = "SELECT name FROM users WHERE id = ?";
    let mut world = World::start(Target::MariaDb, SCHEMA, "").await;
    let other = Proxy::start(&another_sidecar(&world)).await;
    let read = async |port: u16, times: usize| {
        let password = crate::support::ROLE_PASSWORD;
        let client =
            crate::support::connect(port, crate::support::ROLE, password, &world.database).await;
        for id in 0..times {
            client.simple_query(&format!("SELECT name FROM users WHERE id = {id}")).await.unwrap();
        }
    };
    let count = async |proxy: &Proxy| listed(proxy).await.get(READ).map(|(_, count, _)| *count);
    read(world.proxy_port(), 3).await;
    read(other.port, 4).await;
    for proxy in [world.proxy.as_ref().unwrap(), &other] {
        world.until("both in one list", async || count(proxy).await == Some(7)).await;
    }
    // One that ends in good order has told everything.
    read(other.port, 2).await;
    assert_eq!(other.stop(), Some(0));
    let proxy = world.proxy.as_ref().unwrap();
    world.until("the last ones too", async || count(proxy).await == Some(9)).await;
    assert_eq!(world.proxy.take().unwrap().stop(), Some(0));
    // Without a sidecar the list is the primary's.
    let (code, printed) = process::verb(&world.config, &["status", "--statements"]);
    assert_eq!(code, Some(0), "{printed}");
    assert!(printed.contains(READ) && printed.contains("no sidecar answers"), "{printed}");
    world.run().await;
    let proxy = world.proxy.as_ref().unwrap();
    world.until("the list of before", async || count(proxy).await == Some(9)).await;
    let client = world.client().await;
    client.simple_query("SELECT name FROM users WHERE id = 1").await.unwrap();
    world.until("one more", async || count(proxy).await == Some(10)).await;
}

#[tokio::test]
async fn what_was_prepared_and_not_run_was_never_seen() {
    let world = World::start(Target::MariaDb, SCHEMA, "").await;
    let (client, proxy) = (world.client().await, world.proxy.as_ref().unwrap());
    let statement = client.prepare("SELECT name FROM users WHERE id = $1").await.unwrap();
    client.prepare("SELECT \"sesame\" FROM users").await.unwrap_err();
    let line = async || listed(proxy).await.remove("SELECT name FROM users WHERE id = $1");
    let (kind, count, readiness) = line().await.expect("a line");
    assert_eq!((&kind[..], count, &readiness[..]), ("read", 0, "never seen"));
    client.query(&statement, &[&1_i64]).await.unwrap();
    let (_, count, readiness) = line().await.expect("a line");
    assert!(count == 1 && readiness != "never seen", "{count} {readiness}");
    assert!(!listed(proxy).await.keys().any(|text| text.contains("sesame")));
}

#[tokio::test]
async fn a_list_that_is_lost_is_told_again() {
    let world = World::start(Target::MariaDb, SCHEMA, "").await;
    let (client, admin) = (world.client().await, world.admin().await);
    let lines = async || {
        let count = admin.query_one("SELECT count(*) FROM crossfade.statements", &[]).await;
        count.map_or(0, |row| row.get::<_, i64>(0))
    };
    client.simple_query("SELECT name FROM users").await.unwrap();
    world.until("told", async || lines().await == 1).await;
    let drop = "DROP TABLE crossfade.statements, crossfade.descriptions";
    admin.batch_execute(drop).await.unwrap();
    client.simple_query("SELECT id FROM users").await.unwrap();
    world.until("told again", async || lines().await == 2).await;
    let proxy = world.proxy.as_ref().unwrap();
    assert!(0.0 < proxy.metric("statement_record_failures_total").await);
}

/// One that is sent no more is taken off the list, for all sidecars; one that is sent again is back, with its
/// verdict.
#[tokio::test]
async fn a_statement_is_forgotten_until_it_is_sent_again() {
    const SEARCH: &str = "SELECT to_tsvector('simple', name) FROM users";
    let world = World::start(Target::MariaDb, SCHEMA, "").await;
    let (client, proxy) = (world.client().await, world.proxy.as_ref().unwrap());
    let fingerprint = Fingerprint::of(SEARCH).to_string();
    let shown = async || {
        let (_, body) = proxy.get("/statements").await.unwrap();
        let list: Value = serde_json::from_str(&body).unwrap();
        let found = list.as_array().unwrap().iter().find(|one| one["fingerprint"] == *fingerprint);
        found.map(|one| (one["count"].clone(), one["readiness"].to_string()))
    };
    let admin = world.admin().await;
    let refused = "SELECT EXISTS (SELECT FROM crossfade.statements WHERE fingerprint = $1 \
         AND readiness LIKE 'refused%')";
    let is_recorded =
        async || admin.query_one(refused, &[&fingerprint]).await.unwrap().get::<_, bool>(0);
    let gate = async || {
        let arguments = ["switchover", "--dry-run"];
        process::verb(&world.config, &arguments).1.contains(&fingerprint)
    };
    for by_post in [false, true] {
        client.batch_execute(SEARCH).await.unwrap();
        world.until("it is recorded", is_recorded).await;
        let (count, readiness) = shown().await.unwrap();
        assert_eq!(count, 1, "what was forgotten is not counted again");
        assert!(readiness.contains("refused"), "{readiness}");
        assert!(gate().await);
        if by_post {
            let address = ([127, 0, 0, 1], proxy.admin_port).into();
            let body = format!("{{\"fingerprints\": [\"{fingerprint}\"]}}");
            let answer = post(address, "/statements/forget", None, body).await.unwrap();
            let expected = format!("{{\"forgotten\":[\"{fingerprint}\"]}}");
            assert_eq!((answer.status, answer.body), (200, expected));
            assert_eq!(shown().await, None);
        } else {
            let said = world.verb(&["forget", &fingerprint]);
            assert!(said.contains(&format!("{fingerprint} is forgotten")), "{said}");
        }
        assert!(!gate().await);
        world.until("the sidecar knows", async || shown().await.is_none()).await;
    }
    let (code, said) = process::verb(&world.config, &["forget", "0123456789abcdef"]);
    assert_eq!((code, said.contains("is not listed")), (Some(1), true), "{said}");
    let (code, said) = process::verb(&world.config, &["forget", "users"]);
    assert_eq!((code, said.contains("16 hexadecimal digits")), (Some(2), true), "{said}");
}
