//! The migration is given up: PostgreSQL is as it was before, and clients notice nothing.

use std::collections::BTreeSet;

use mysql_async::prelude::Queryable as _;
use serde_json::Value;
use tokio_postgres::Client;

use crate::moved::Site;
use crate::support::process;
use crate::support::{Target, World};

/// Triggers, cascades (which want one of ours), partitions, a role's grants.
const SCHEMA: &str = "\
    CREATE TABLE users (id serial PRIMARY KEY, email text NOT NULL UNIQUE, note text);
    CREATE TABLE sessions (id int PRIMARY KEY, user_id int REFERENCES users ON DELETE CASCADE);
    CREATE TABLE events (id int, at date, PRIMARY KEY (id, at)) PARTITION BY RANGE (at);
    CREATE TABLE events_old PARTITION OF events FOR VALUES FROM ('2000-01-01') TO ('2030-01-01');
    CREATE FUNCTION noted() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END';
    CREATE TRIGGER own BEFORE INSERT ON users FOR EACH ROW EXECUTE FUNCTION noted();
    GRANT SELECT ON users TO PUBLIC;
    INSERT INTO users (email) VALUES ('old')";

/// Everything that the catalogue of this database says, but statistics.
const CATALOGUE: &str = "\
    SELECT 'schema ' || n.nspname || coalesce(n.nspacl::text, '') FROM pg_namespace n WHERE n.nspname !~ '^pg_t'
    UNION ALL SELECT 'relation ' || c.oid::regclass::text || c.relkind::text || coalesce(c.relacl::text, '')
        || coalesce(c.reloptions::text, '') || c.relreplident::text || c.relrowsecurity::text FROM pg_class c
        WHERE c.relnamespace <> 'pg_toast'::regnamespace
    UNION ALL SELECT 'column ' || a.attrelid::regclass::text || ' ' || a.attname || coalesce(a.attacl::text, '')
        FROM pg_attribute a WHERE a.attrelid::regclass::text !~ 'pg_toast'
    UNION ALL SELECT 'trigger ' || t.tgrelid::regclass::text || ' ' || t.tgname || t.tgenabled::text FROM pg_trigger t
    UNION ALL SELECT 'function ' || p.oid::regprocedure::text || coalesce(p.proacl::text, '') FROM pg_proc p
    UNION ALL SELECT 'constraint ' || c.conname FROM pg_constraint c
    UNION ALL SELECT 'type ' || t.oid::regtype::text FROM pg_type t
    UNION ALL SELECT 'default ' || d.oid FROM pg_default_acl d
    UNION ALL SELECT 'setting ' || s.setconfig::text FROM pg_db_role_setting s
        WHERE s.setdatabase = (SELECT oid FROM pg_database WHERE datname = current_database())
    UNION ALL SELECT 'extension ' || e.extname FROM pg_extension e
    UNION ALL SELECT 'event trigger ' || e.evtname FROM pg_event_trigger e
    UNION ALL SELECT 'publication ' || p.pubname FROM pg_publication p
    UNION ALL SELECT 'slot ' || s.slot_name FROM pg_replication_slots s WHERE s.database = current_database()
    UNION ALL SELECT 'prepared ' || x.gid FROM pg_prepared_xacts x WHERE x.database = current_database()
    UNION ALL SELECT 'large object ' || l.oid FROM pg_largeobject_metadata l
    UNION ALL SELECT 'depends ' || count(*) FROM pg_depend
    UNION ALL SELECT 'depends beyond ' || count(*) FROM pg_shdepend
        WHERE dbid = (SELECT oid FROM pg_database WHERE datname = current_database())";

async fn catalogue(admin: &Client) -> BTreeSet<String> {
    admin.query(CATALOGUE, &[]).await.unwrap().iter().map(|row| row.get(0)).collect()
}

async fn verb(world: &World, arguments: &'static [&'static str]) -> (Option<i32>, String) {
    let config = world.config.clone();
    tokio::task::spawn_blocking(move || process::verb(&config, arguments)).await.unwrap()
}

async fn tables(world: &World) -> Vec<String> {
    let list = "SELECT TABLE_NAME FROM information_schema.TABLES WHERE TABLE_SCHEMA = DATABASE() ORDER BY 1";
    world.secondary().await.query(list).await.unwrap()
}

async fn phase(world: &World) -> Value {
    let (_, body) = world.proxy.as_ref().unwrap().get("/migration-status").await.unwrap();
    serde_json::from_str::<Value>(&body).unwrap()["phase"].clone()
}

const OWN: [&str; 4] = ["events", "sessions", "users", "events_old"];

/// Under load and with prepared statements; compared with what was there before `setup`, also after a
/// switchover and a rollback, which leave more behind.
#[tokio::test]
async fn nothing_of_ours_is_left_and_clients_go_on() {
    for (target, moved) in Target::all().into_iter().zip([true, false]) {
        let mut world = World::granted(target, SCHEMA, "").await;
        let admin = world.admin().await;
        let before = catalogue(&admin).await;
        world.setup();
        world.run().await;
        assert_ne!(catalogue(&admin).await, before);
        if moved {
            let mut site = Site::over(world).await;
            // It has a trigger of its own.
            site.verb("switchover", &["--accept", "users"]).await;
            site.roll_back().await;
            world = site.world;
        }
        let client = world.client().await;
        let insert = client.prepare("INSERT INTO users (email) VALUES ($1)").await.unwrap();
        let delete = client.prepare("DELETE FROM sessions WHERE user_id = $1").await.unwrap();
        client.execute(&insert, &[&"captured"]).await.unwrap();
        client.execute(&delete, &[&1]).await.unwrap();
        world.drained().await;
        let (stop, mut stopped) = tokio::sync::watch::channel(false);
        let load = {
            let client = world.client().await;
            tokio::spawn(async move {
                let insert = client.prepare("INSERT INTO users (email) VALUES ($1)").await.unwrap();
                let mut count = 0;
                while !*stopped.borrow_and_update() {
                    count += 1;
                    let email = format!("load {count}");
                    client.execute(&insert, &[&email]).await.unwrap();
                    let simple = format!(
                        "BEGIN; UPDATE users SET note = 'x' WHERE email = '{email}'; \
                         INSERT INTO sessions VALUES ({count}, 1) ON CONFLICT DO NOTHING; COMMIT"
                    );
                    client.batch_execute(&simple).await.unwrap();
                }
                count
            })
        };
        let (code, said) = verb(&world, &["abandon", "--yes"]).await;
        assert_eq!(code, Some(0), "{target:?}: {said}\n{}", world.log());
        assert!(said.contains("nothing of Crossfade's is left"), "{said}");
        let after = catalogue(&admin).await;
        assert_eq!(after, before, "{target:?}");
        client.execute(&insert, &[&"transparent"]).await.unwrap();
        client.execute(&delete, &[&1]).await.unwrap();
        let written = "SELECT count(*) FROM users WHERE email ~ 'load'";
        let written = async || client.query_one(written, &[]).await.unwrap().get::<_, i64>(0);
        let least = written().await + 10;
        world.until("clients go on", async || least <= written().await).await;
        stop.send_replace(true);
        assert_eq!(load.await.unwrap(), written().await);
        assert_eq!(phase(&world).await, "setup");
        assert!(tables(&world).await.iter().all(|name| OWN.contains(&&**name)), "{target:?}");

        let (code, said) = verb(&world, &["abandon", "--yes"]).await;
        assert_eq!(code, Some(0), "again is no error: {said}");
        world.crash().await;
        world.client().await.execute("DELETE FROM users WHERE email ~ 'load'", &[]).await.unwrap();
        for table in ["sessions", "events", "users"] {
            world.secondary().await.query_drop(format!("DROP TABLE {table}")).await.unwrap();
        }
        world.setup();
        world
            .until("dual writes have begun again", async || phase(&world).await == "dual_write")
            .await;
        let insert = "INSERT INTO users (email) VALUES ('captured again')";
        world.client().await.execute(insert, &[]).await.unwrap();
        world.drained().await;
        let carried = "SELECT COUNT(*) FROM users WHERE email = 'captured again'";
        let carried: Option<i64> = world.secondary().await.query_first(carried).await.unwrap();
        assert_eq!(carried, Some(1));
    }
}

/// A client that stays in a transaction, and one that locks a table with a trigger: all goes on as before,
/// and every table is to be compared again.
#[tokio::test]
async fn what_does_not_come_to_rest_undoes_it() {
    let mut world = World::granted(Target::all().remove(0), SCHEMA, "").await;
    world.setup();
    world.run().await;
    let admin = world.admin().await;
    let clean = "UPDATE crossfade.tables SET dirty_reason = NULL";
    admin.batch_execute(clean).await.unwrap();
    let client = world.client().await;
    client.batch_execute("BEGIN; INSERT INTO users (email) VALUES ('open')").await.unwrap();
    let (code, said) = verb(&world, &["abandon", "--yes", "--timeout", "2s"]).await;
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("undone") && said.contains("did not come to rest"), "{said}");
    client
        .batch_execute("UPDATE users SET note = 'on' WHERE email = 'open'; COMMIT")
        .await
        .unwrap();
    let direct = world.direct().await;
    direct.batch_execute("BEGIN; LOCK TABLE users IN ROW EXCLUSIVE MODE").await.unwrap();
    let (code, said) = verb(&world, &["abandon", "--yes", "--timeout", "3s"]).await;
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("a table with a trigger of ours"), "{said}");
    assert!(
        said.contains("role app, process ") && said.contains("(idle in transaction)"),
        "{said}"
    );
    direct.batch_execute("ROLLBACK").await.unwrap();
    world.until("dual writes go on", async || phase(&world).await == "dual_write").await;
    let dirty = "SELECT count(*) FROM crossfade.tables WHERE dirty_reason = 'abandon'";
    assert_eq!(admin.query_one(dirty, &[]).await.unwrap().get::<_, i64>(0), 3);
    client.batch_execute("INSERT INTO users (email) VALUES ('carried')").await.unwrap();
    world.drained().await;
    let carried = "SELECT COUNT(*) FROM users WHERE email IN ('open', 'carried')";
    let carried: Option<i64> = world.secondary().await.query_first(carried).await.unwrap();
    assert_eq!(carried, Some(2));
}

/// The process that runs it may die after the mark; until it is run again nothing else begins.
#[tokio::test]
async fn what_was_cut_short_is_finished_by_another_run() {
    let mut world = World::granted(Target::all().remove(0), SCHEMA, "").await;
    world.setup();
    world.run().await;
    let mark =
        "INSERT INTO crossfade.settings VALUES ('abandon', (extract(epoch FROM now()) + 60)::text)";
    world.admin().await.batch_execute(mark).await.unwrap();
    world.until("it is transparent", async || phase(&world).await == "setup").await;
    let client = world.client().await;
    client.batch_execute("INSERT INTO users (email) VALUES ('transparent')").await.unwrap();
    let left = "SELECT count(*) FROM crossfade.sidecars";
    let admin = world.admin().await;
    let left = async || admin.query_one(left, &[]).await.unwrap().get::<_, i64>(0);
    world.until("its line is gone", async || left().await == 0).await;
    for other in [&["setup"] as &'static [&'static str], &["switchover"]] {
        let (code, said) = verb(&world, other).await;
        assert_eq!((code, said.contains("run `crossfade abandon`")), (Some(1), true), "{said}");
    }
    world.crash().await;
    assert_eq!(phase(&world).await, "setup");
    let (_, said) = verb(&world, &["status"]).await;
    assert!(said.contains("is being given up"), "{said}");
    let (code, said) = verb(&world, &["abandon", "--yes"]).await;
    assert_eq!(code, Some(0), "{said}");
    assert_eq!(tables(&world).await.len(), 3);
}

/// While MySQL leads there is a rollback first; without MySQL PostgreSQL is cleared all the same.
#[tokio::test]
async fn what_stands_in_the_way_is_said() {
    let mut site = Site::start(Target::all().remove(0)).await;
    site.switch().await;
    let (code, said) = verb(&site.world, &["abandon", "--yes"]).await;
    assert_eq!((code, said.contains("MySQL is the primary")), (Some(1), true), "{said}");
    site.roll_back().await;
    let (code, said) = verb(&site.world, &["abandon"]).await;
    assert_eq!((code, said.contains("say --yes")), (Some(2), true), "{said}");
    let (code, said) = verb(&site.world, &["abandon", "--dry-run"]).await;
    for line in [
        "  drop the schema crossfade with ",
        "  drop crossfade_outbox on MySQL",
        "  leave the application's tables on MySQL",
    ] {
        assert!(code == Some(0) && said.contains(line), "{line}: {said}");
    }
    let other =
        "INSERT INTO crossfade.sidecars (id, address, epoch, version, lease_ms, lease_until)
            VALUES ('old', 'there', 1, '0.0.0', 700, now() + interval '1 hour')";
    site.admin.batch_execute(other).await.unwrap();
    let (code, said) = verb(&site.world, &["abandon", "--yes"]).await;
    assert_eq!(
        (code, said.contains("sidecar old at there is of version 0.0.0")),
        (Some(1), true),
        "{said}"
    );
    let attempt = "DELETE FROM crossfade.sidecars WHERE id = 'old'; \
        INSERT INTO crossfade.attempts (direction, epoch, state, terminate, deadline)
        VALUES ('switchover', 3, 'announced', false, now() + interval '1 hour')";
    site.admin.batch_execute(attempt).await.unwrap();
    let (code, said) = verb(&site.world, &["abandon", "--yes"]).await;
    assert_eq!(
        (code, said.contains("a change of the primary is under way")),
        (Some(1), true),
        "{said}"
    );
    let over = "UPDATE crossfade.attempts SET state = 'undone' WHERE state = 'announced'";
    site.admin.batch_execute(over).await.unwrap();
    site.world.proxy.take().unwrap().stop();
    let port = process::free_port();
    site.world.edit(|text| {
        text.lines()
            .map(|line| match line.strip_prefix("to: ") {
                Some(_) => format!("to: {{ url: \"mysql://x:y@127.0.0.1:{port}/z\" }}\n"),
                None => format!("{line}\n"),
            })
            .collect()
    });
    let (code, said) = verb(&site.world, &["abandon", "--yes"]).await;
    assert_eq!((code, said.contains("MySQL keeps its tables")), (Some(1), true), "{said}");
    let gone = "SELECT to_regnamespace('crossfade') IS NULL";
    assert!(site.admin.query_one(gone, &[]).await.unwrap().get::<_, bool>(0));
}
