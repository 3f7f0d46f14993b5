//! The applier and the outbox on real servers: what is handed over, given up, left by a crash, or
//! captured by trigger reaches the secondary exactly, once, and in order.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use crossfade::apply::{self, Applier, ApplyLimits, ApplyMetrics};
use crossfade::backend::mysql::control;
use crossfade::backend::postgres::connect::Connector;
use crossfade::backend::postgres::introspect;
use crossfade::catalog::Table;
use crossfade::catalog::naming::Naming;
use crossfade::change::{Change, Effect, Key, Operation, RowImage, Transaction, Version};
use crossfade::config::Config;
use crossfade::control::Ends;
use crossfade::control::setup::{Extent, setup};
use crossfade::handoff::{self, Decision, Handoff, Settled};
use crossfade::names::{EntryId, TableName};
use crossfade::phase::{Phase, Situation};
use crossfade::policy::Mode;
use mysql_async::prelude::Queryable as _;
use prometheus::Registry;
use tokio::sync::{oneshot, watch};

use crate::support::{PATIENCE, Target, World};
use crossfade::outbox::Moment;

const EPOCH: u64 = 1;

/// Both databases set up, and an applier between them that no session feeds.
struct Follower {
    world: World,
    admin: tokio_postgres::Client,
    handoff: Handoff,
    situation: watch::Sender<Arc<Situation>>,
    registry: Registry,
    applier: Option<Applier>,
}

impl Follower {
    async fn start(target: Target, schema: &str, tables: &str) -> Self {
        Self::on(World::bare(target, tables).await, schema, &ApplyLimits::default()).await
    }

    async fn on(world: World, schema: &str, limits: &ApplyLimits) -> Self {
        world.direct().await.batch_execute(schema).await.unwrap();
        let config = Config::load(&world.config).unwrap();
        let from = Connector::new(config.from.clone()).unwrap();
        let ends = Ends { from, to: config.to.clone(), limits: limits.link };
        setup(&ends, &config.tables, &Naming::default(), Extent::Create).await.unwrap();
        let admin = world.admin().await;
        let catalog =
            introspect::introspect(&admin, &config.tables, &Naming::default()).await.unwrap();
        let situation = Situation {
            phase: Phase::DualWrite,
            epoch: EPOCH,
            catalog: Arc::new(catalog),
            ..Situation::transparent()
        };
        let situation = watch::Sender::new(Arc::new(situation));
        let (handoff, jobs) = handoff::channel(64 << 20);
        let registry = Registry::new();
        let metrics = ApplyMetrics::register(&registry).unwrap();
        let applier =
            apply::start(ends.from, ends.to, limits.clone(), situation.subscribe(), jobs, metrics);
        let applier = Some(applier);
        Self { world, admin, handoff, situation, registry, applier }
    }

    fn table(&self, name: &str) -> Arc<Table> {
        let situation = self.situation.borrow();
        Arc::clone(situation.catalog.by_name(&TableName::parse(name)).unwrap())
    }

    /// Runs a statement with its outbox entries, as a session would, and commits it.
    async fn capture(&self, table: &str, operation: Operation, statement: &str) -> Vec<Change> {
        capture(&self.admin, &self.table(table), operation, 1, statement).await
    }

    /// Captures, hands over, and waits for the answer.
    async fn write(&self, table: &str, operation: Operation, statement: &str) -> Settled {
        let changes = self.capture(table, operation, statement).await;
        self.hand(changes).await
    }

    async fn hand(&self, changes: Vec<Change>) -> Settled {
        let (done, settled) = oneshot::channel();
        self.handoff.apply(transaction(changes), Some(done));
        tokio::time::timeout(PATIENCE, settled).await.unwrap().unwrap()
    }

    async fn drain(&self) -> Settled {
        let (done, settled) = oneshot::channel();
        self.handoff.drain(Some(done));
        tokio::time::timeout(PATIENCE, settled).await.unwrap().unwrap()
    }

    /// Drains until nothing is left: what one pass leaves for later, because transactions of other
    /// tests run or because it began too early, the next ones take.
    async fn carried(&self) {
        self.drain().await;
        self.world.drained().await;
    }

    /// The outbox, as text.
    async fn outbox(&self) -> Vec<String> {
        let sql = "SELECT t.name || ' ' || o.op::text || coalesce(' ' || o.last_error, '') \
                   FROM crossfade.outbox o LEFT JOIN crossfade.tables t ON t.id = o.table_id ORDER BY o.id";
        self.admin.query(sql, &[]).await.unwrap().iter().map(|row| row.get(0)).collect()
    }

    async fn rows(&self, sql: &str) -> Vec<String> {
        let mut conn = self.world.secondary().await;
        let rows: Vec<String> = conn.query(sql).await.unwrap();
        rows
    }

    /// The sum of a metric's series whose labels all fit.
    fn metric(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        let families = self.registry.gather();
        let series = families.iter().filter(|family| family.name() == name);
        let fits = |metric: &&prometheus::proto::Metric| {
            labels.iter().all(|(name, value)| {
                metric.get_label().iter().any(|pair| pair.name() == *name && pair.value() == *value)
            })
        };
        series
            .flat_map(|family| family.get_metric())
            .filter(fits)
            .map(|metric| metric.get_counter().get_value() + metric.get_gauge().get_value())
            .sum()
    }

    async fn finish(mut self) -> World {
        drop(self.handoff);
        self.applier.take().unwrap().finish(PATIENCE).await;
        self.world
    }
}

fn transaction(changes: Vec<Change>) -> Transaction {
    Transaction { changes, mode: Mode::Blocking, timeout: Duration::from_secs(10) }
}

async fn capture(
    client: &tokio_postgres::Client,
    table: &Arc<Table>,
    operation: Operation,
    n: u32,
    statement: &str,
) -> Vec<Change> {
    let name = &table.name;
    let keys: Vec<String> = table.key_columns().map(|c| format!("{name}.{}", c.name)).collect();
    let sql = format!(
        "WITH w AS ({statement} RETURNING nextval('crossfade.outbox_id') AS id, \
         pg_wal_lsn_diff(pg_current_wal_insert_lsn(), '0/0')::bigint AS lsn, \
         record_send(ROW({})) AS key, record_send(ROW({name}.*)) AS image), \
         o AS (INSERT INTO crossfade.outbox (id, table_id, op, key, epoch, counter, n) \
         SELECT id, {}, '{}', key, {EPOCH}, lsn, {n} FROM w) SELECT id, lsn, key, image FROM w",
        keys.join(", "),
        table.id.unwrap(),
        operation.letter()
    );
    let rows = client.query(&sql, &[]).await.unwrap();
    let change = |row: &tokio_postgres::Row| {
        let key = Key::decode(Bytes::from(row.get::<_, Vec<u8>>(2)), table).unwrap();
        let image = RowImage::decode(&Bytes::from(row.get::<_, Vec<u8>>(3)), table).unwrap();
        let effect = match operation {
            Delete => Effect::Gone { key },
            _ => Effect::Put { key, image },
        };
        let counter = row.get::<_, i64>(1).unsigned_abs();
        Change {
            table: Arc::clone(table),
            operation,
            version: Version { epoch: EPOCH, counter, n },
            entry: Some(EntryId(row.get(0))),
            effect,
        }
    };
    rows.iter().map(change).collect()
}

const ACCOUNTS: &str = "CREATE TABLE account (id int PRIMARY KEY, email text NOT NULL UNIQUE, \
     balance numeric(12,2) NOT NULL DEFAULT 0)";

use Operation::{Delete, Insert, Update};

#[tokio::test]
async fn what_is_handed_over_is_applied_and_its_entries_are_settled() {
    for target in Target::all() {
        let f = Follower::start(target, ACCOUNTS, "").await;
        let insert = "INSERT INTO account SELECT g, 'u' || g, g FROM generate_series(1, 700) g";
        assert_eq!(f.write("account", Insert, insert).await, Settled::Applied);
        let update = "UPDATE account SET balance = balance + 1 WHERE id % 2 = 0";
        assert_eq!(f.write("account", Update, update).await, Settled::Applied);
        assert_eq!(
            f.write("account", Delete, "DELETE FROM account WHERE id > 600").await,
            Settled::Applied
        );
        f.world.drained().await;
        f.world.assert_equal("account").await;
        assert_eq!(
            f.metric("writes_total", &[("outcome", "applied"), ("operation", "insert")]),
            700.0
        );
        assert_eq!(
            f.metric("writes_total", &[("outcome", "applied"), ("operation", "delete")]),
            100.0
        );
        assert_eq!(f.metric("sync_errors_total", &[]), 0.0);
        f.finish().await;
    }
}

/// Every type an auth schema uses, with the values at the edge of what both can hold.
const EVERY_TYPE: &str = "
    CREATE TYPE mood AS ENUM ('sad', 'ok', 'it''s');
    CREATE DOMAIN positive AS int CHECK (VALUE > 0);
    CREATE TABLE every (
        id bigint PRIMARY KEY, s smallint, i int, n numeric(12,3), bare numeric, r real, d float8,
        b boolean, t text, v varchar(20), c char(6), u uuid, by bytea, da date, ti time, ts timestamp,
        tz timestamptz, iv interval, j json, jb jsonb, ta text[], ia int[], e mood, ip inet, net cidr,
        mac macaddr, p positive, ttz timetz);
    INSERT INTO every (id) VALUES (1);
    INSERT INTO every VALUES (2, -32768, -2147483648, -999999999.999, 0.10, 0.1, 0.1, true,
        E'quote '' back\\\\slash \\t tab \\n é 🦀', 'trailing  ', 'ab', 'A0EEBC99-9C0B-4EF8-BB6D-6BB9BD380A11',
        '\\x00ff27225c', '0001-01-01', '00:00:00', '0001-01-01 00:00:00', '2024-02-29 23:59:59.999999+02',
        '1 year -3 days 04:05:06.7', '{\"b\": 1,  \"a\": [1.10]}', '{\"bb\": 1, \"a\": [1.10, null, 18446744073709551615]}',
        '{a,NULL,\"q\\\"\"}', '{{1,2},{3,4}}', 'it''s', '10.0.0.1/24', '2001:db8::/32',
        '08:00:2b:01:02:03', 7, '12:00:00.5+05:45');
    INSERT INTO every VALUES (9223372036854775807, 32767, 2147483647, 999999999.999,
        123456789012345678901234567890.123456789, 3.4028235e38, 1.7976931348623157e308, false, '', '', '',
        '00000000-0000-0000-0000-000000000000', '', '9999-12-31', '24:00:00', '9999-12-31 23:59:59.999999',
        '1999-12-31 23:59:59.999999+00', '-1 mons', '[]', '\"x\"', '{}', '{}', 'sad', '::1', '10.0.0.0/8',
        'ff:ff:ff:ff:ff:ff', 1, '00:00:00+00');
    INSERT INTO every (id, r, d, bare, jb) VALUES (-9223372036854775808, -0.0, 5e-324, 1e-20, '{}');";

#[tokio::test]
async fn every_type_goes_over_exactly() {
    for target in Target::all() {
        let f = Follower::start(target, EVERY_TYPE, "").await;
        let touch = "UPDATE every SET id = id";
        assert_eq!(
            f.write("every", Update, touch).await,
            Settled::Applied,
            "{:?}",
            f.outbox().await
        );
        f.world.assert_equal("every").await;
        // The same by reading again: the images are not handed over.
        let mut conn = f.world.secondary().await;
        conn.query_drop("DELETE FROM every").await.unwrap();
        drop(f.capture("every", Update, touch).await);
        f.carried().await;
        f.world.assert_equal("every").await;
        f.finish().await;
    }
}

const CHOSEN: &str =
    "{ jsonb: text, numeric: decimal, uuid: binary, citext: text, text: varchar(191) }";

#[tokio::test]
async fn every_choice_of_types_is_exact_or_refuses() {
    for target in Target::all() {
        let world = World::bare(target, "").await;
        world.choose(CHOSEN);
        let f = Follower::on(world, EVERY_TYPE, &ApplyLimits::default()).await;
        assert_eq!(f.write("every", Update, "UPDATE every SET id = id").await, Settled::Applied);
        f.world.assert_equal("every").await;
        let kinds = f
            .rows(
                "SELECT CAST(COLUMN_TYPE AS CHAR) FROM information_schema.COLUMNS \
                 WHERE TABLE_SCHEMA = DATABASE() AND TABLE_NAME = 'every' \
                 AND COLUMN_NAME IN ('bare', 't', 'u', 'jb') ORDER BY ORDINAL_POSITION",
            )
            .await;
        assert_eq!(kinds, ["decimal(65,30)", "varchar(191)", "binary(16)", "longtext"]);

        // What MySQL's json would round is kept, digit by digit.
        let numbers = "1e2 0.1234567890123456789 18446744073709551616 -0.0 1.10";
        let list = numbers.split(' ').collect::<Vec<_>>().join(", ");
        let update = format!("UPDATE every SET jb = '[{list}]' WHERE id = 1");
        assert_eq!(f.write("every", Update, &update).await, Settled::Applied);
        let text: String =
            f.admin.query_one("SELECT jb::text FROM every WHERE id = 1", &[]).await.unwrap().get(0);
        assert!(text.contains("0.1234567890123456789"), "{text}");
        assert_eq!(f.rows("SELECT jb FROM every WHERE id = 1").await, [text]);

        // The value is kept, its scale is not; what does not fit is refused.
        let update = "UPDATE every SET bare = 1.10 WHERE id = 1";
        assert_eq!(f.write("every", Update, update).await, Settled::Applied);
        let bare = "SELECT CAST(bare AS CHAR) FROM every WHERE id = 1";
        assert_eq!(f.rows(bare).await, ["1.100000000000000000000000000000"]);
        for (column, value) in [
            ("bare", "1e-31".to_owned()),
            ("bare", "1e35".to_owned()),
            ("t", format!("'{}'", "x".repeat(192))),
            ("t", format!("'{} '", "x".repeat(191))),
        ] {
            let update = format!("UPDATE every SET {column} = {value} WHERE id = 1");
            assert_eq!(f.write("every", Update, &update).await, Settled::Deferred, "{update}");
            f.admin.execute("DELETE FROM crossfade.outbox", &[]).await.unwrap();
        }
        assert_eq!(f.rows(bare).await, ["1.100000000000000000000000000000"]);
        f.finish().await;
    }
}

/// Keys and unique constraints of the types that may be chosen.
const CHOSEN_KEYS: &str = "
    CREATE TABLE owner (id uuid PRIMARY KEY, mail citext UNIQUE, nick citext);
    CREATE TABLE pet (id uuid, name citext, owner uuid REFERENCES owner ON DELETE CASCADE, PRIMARY KEY (id, name));";

#[tokio::test]
async fn chosen_types_serve_as_keys() {
    for target in Target::all() {
        let world = World::bare(target, "").await;
        world.admin().await.batch_execute("CREATE EXTENSION citext").await.unwrap();
        world.choose(CHOSEN);
        let f = Follower::on(world, CHOSEN_KEYS, &ApplyLimits::default()).await;
        let id = |n: u8| format!("'00ff0000-0000-0000-0000-00000000000{n}'");
        let insert = format!(
            "INSERT INTO owner VALUES ({}, 'Ann@x', 'ß'), ({}, 'ss', 'SS'), ({}, 'ß', NULL)",
            id(1),
            id(2),
            id(3)
        );
        assert_eq!(f.write("owner", Insert, &insert).await, Settled::Applied);
        let insert =
            format!("INSERT INTO pet VALUES ({0}, 'Rex', {0}), ({0}, 'Ivy', {1})", id(1), id(2));
        assert_eq!(f.write("pet", Insert, &insert).await, Settled::Applied);
        // The same key in another spelling, and a key that was freed by case alone.
        let update = "UPDATE pet SET name = 'REX' WHERE name = 'rex'";
        assert_eq!(f.write("pet", Update, update).await, Settled::Applied);
        let update = "UPDATE owner SET mail = 'ANN@X' WHERE mail = 'ann@x'";
        assert_eq!(f.write("owner", Update, update).await, Settled::Applied);
        f.world.drained().await;
        for table in ["owner", "pet"] {
            f.world.assert_equal(table).await;
        }
        let mut conn = f.world.secondary().await;
        let twice = conn.query_drop("INSERT INTO owner (id, mail) VALUES (x'01', 'ann@X')").await;
        let twice = twice.unwrap_err().to_string();
        assert!(twice.contains("1062") || twice.contains("1406"), "{twice}");
        let delete = format!("DELETE FROM owner WHERE id = {}", id(2));
        assert_eq!(f.write("owner", Delete, &delete).await, Settled::Applied);
        assert_eq!(f.rows("SELECT name FROM pet").await, ["REX"]);
        f.finish().await;
    }
}

#[tokio::test]
async fn random_values_survive_the_way_to_the_secondary() {
    for target in Target::all() {
        let schema = "CREATE TABLE random (id int PRIMARY KEY, d float8, r real, n numeric, f numeric(30,10), \
             t text, b bytea, ts timestamp, jb jsonb)";
        let f = Follower::start(target, schema, "").await;
        // Doubles of every size, in JSON too: MySQL keeps them as doubles and must give them back.
        let insert = "INSERT INTO random SELECT g, x, x::float8 * random(), \
             (random() * 1e15)::numeric / 7, (random() * 1e18)::numeric(30,10), md5(g::text), \
             decode(md5(g::text), 'hex'), timestamp '1000-01-01' + random() * interval '8000 years', \
             jsonb_build_array(x, -x, random(), g / 7.0) \
             FROM (SELECT g, (random() - 0.5) * 10 ^ (random() * 30 - 15) AS x FROM generate_series(1, 150) g) s";
        let insert = insert.replace("x::float8 * random()", "(x * random())::real");
        let (mut applied, mut refused) = (0, 0);
        let changes = f.capture("random", Insert, &insert).await;
        for part in changes.chunks(1) {
            match f.hand(part.to_vec()).await {
                Settled::Applied => applied += 1,
                Settled::Deferred => refused += 1,
            }
        }
        // Sums like g / 7.0 have more digits than a double: MySQL's json is refused those, aloud.
        if target == Target::MySql {
            assert!(refused > 0 && applied > 0, "{applied} applied, {refused} refused");
        } else {
            assert_eq!(refused, 0);
        }
        // Settling follows the answer: only then are the refused the only ones that are left.
        f.world
            .until("only what was refused is left", async || {
                let left = "SELECT count(*)::int FROM crossfade.outbox";
                f.admin.query_one(left, &[]).await.unwrap().get::<_, i32>(0) == refused
            })
            .await;
        f.admin
            .execute(
                "DELETE FROM random WHERE id IN (SELECT i.id FROM random i WHERE EXISTS \
             (SELECT FROM crossfade.outbox o WHERE o.key = record_send(ROW(i.id))))",
                &[],
            )
            .await
            .unwrap();
        if target == Target::MariaDb {
            f.world.drained().await;
        }
        f.world.assert_equal("random").await;
        f.finish().await;
    }
}

#[tokio::test]
async fn what_a_crash_left_in_the_outbox_is_carried_by_the_next_start() {
    for target in Target::all() {
        let f = Follower::start(target, ACCOUNTS, "").await;
        f.write(
            "account",
            Insert,
            "INSERT INTO account VALUES (1, 'a', 1), (2, 'b', 2), (3, 'c', 3)",
        )
        .await;
        // Committed, and the sidecar was killed before it handed anything over.
        drop(f.capture("account", Update, "UPDATE account SET balance = 9 WHERE id = 1").await);
        drop(f.capture("account", Delete, "DELETE FROM account WHERE id = 2").await);
        drop(f.capture("account", Insert, "INSERT INTO account VALUES (4, 'd', 4)").await);
        f.world.drained().await;
        f.world.assert_equal("account").await;
        f.finish().await;
    }
}

#[tokio::test]
async fn a_forged_entry_only_causes_its_key_to_be_read_again() {
    for target in Target::all() {
        let f = Follower::start(target, ACCOUNTS, "").await;
        f.write("account", Insert, "INSERT INTO account VALUES (1, 'a', 1)").await;
        // A delete that never was, of a row that is there and of one that is not, far in the future.
        let forged = "INSERT INTO crossfade.outbox (table_id, op, key, epoch, counter) \
             SELECT t.id, 'D', record_send(ROW(k)), 1, 9000000000000000000 \
             FROM crossfade.tables t, unnest(ARRAY[1, 7]) k WHERE t.name = 'account'";
        f.admin.execute(forged, &[]).await.unwrap();
        f.world.drained().await;
        f.world.assert_equal("account").await;
        f.write("account", Update, "UPDATE account SET balance = 2 WHERE id = 1").await;
        f.write("account", Insert, "INSERT INTO account VALUES (7, 'g', 7)").await;
        f.world.drained().await;
        f.world.assert_equal("account").await;
        f.finish().await;
    }
}

/// The row is there for nobody else yet: the drain has to wait for who is inserting it, and only for
/// those who write to its table.
#[tokio::test]
async fn a_forged_delete_does_not_hide_a_row_that_is_just_being_inserted() {
    for target in Target::all() {
        let f = Follower::start(target, ACCOUNTS, "").await;
        let table = f.table("account");
        let (other, unrelated) = (f.world.admin().await, f.world.admin().await);
        unrelated.batch_execute("BEGIN; CREATE TEMP TABLE x ()").await.unwrap();
        other.batch_execute("BEGIN").await.unwrap();
        let insert = "INSERT INTO account VALUES (7, 'g', 7)";
        let changes = capture(&other, &table, Insert, 1, insert).await;
        let forged = "INSERT INTO crossfade.outbox (table_id, op, key, epoch, counter) \
             SELECT t.id, 'D', record_send(ROW(7)), 1, 9000000000000000000 \
             FROM crossfade.tables t WHERE t.name = 'account'";
        f.admin.execute(forged, &[]).await.unwrap();
        assert_eq!(f.drain().await, Settled::Deferred);
        assert_eq!(f.outbox().await, ["account D"]);
        other.batch_execute("COMMIT").await.unwrap();
        assert_eq!(f.hand(changes).await, Settled::Applied);
        f.world.drained().await;
        f.world.assert_equal("account").await;
        assert_eq!(f.rows("SELECT id FROM account").await, ["7"]);
        // A delete that was is not held up by the other one, which still runs.
        drop(f.capture("account", Delete, "DELETE FROM account WHERE id = 7").await);
        f.world.drained().await;
        assert!(f.rows("SELECT id FROM account").await.is_empty());
        unrelated.batch_execute("COMMIT").await.unwrap();
        f.finish().await;
    }
}

#[tokio::test]
async fn a_row_that_is_gone_without_a_delete_waits_for_what_runs_and_is_then_removed() {
    for target in Target::all() {
        let f = Follower::start(target, ACCOUNTS, "").await;
        f.write("account", Insert, "INSERT INTO account VALUES (1, 'a', 1), (2, 'b', 2)").await;
        drop(f.capture("account", Update, "UPDATE account SET balance = 5 WHERE id = 1").await);
        // A transaction that runs could still hold an insert that nobody sees yet.
        let other = f.world.admin().await;
        other.batch_execute("BEGIN; CREATE TEMP TABLE x (); ").await.unwrap();
        f.admin.execute("DELETE FROM account WHERE id = 1", &[]).await.unwrap();
        // (A pass that was not asked for may have been there first.)
        f.drain().await;
        assert_eq!(f.rows("SELECT email FROM account ORDER BY id").await, ["a", "b"]);
        other.batch_execute("COMMIT").await.unwrap();
        f.world.drained().await;
        assert_eq!(f.rows("SELECT email FROM account ORDER BY id").await, ["b"]);
        f.finish().await;
    }
}

#[tokio::test]
async fn a_locked_row_is_left_for_later_and_never_stops_the_others() {
    for target in Target::all() {
        let f = Follower::start(target, ACCOUNTS, "").await;
        drop(
            f.capture("account", Insert, "INSERT INTO account VALUES (1, 'a', 1), (2, 'b', 2)")
                .await,
        );
        let other = f.world.admin().await;
        other.batch_execute("BEGIN; UPDATE account SET balance = 7 WHERE id = 1").await.unwrap();
        f.drain().await;
        f.world.until("carried", async || f.rows("SELECT email FROM account").await == ["b"]).await;
        other.batch_execute("COMMIT").await.unwrap();
        f.world.drained().await;
        f.world.assert_equal("account").await;
        f.finish().await;
    }
}

#[tokio::test]
async fn rows_that_swapped_a_unique_value_are_drained_as_one_set() {
    for target in Target::all() {
        let f = Follower::start(target, ACCOUNTS, "").await;
        f.write("account", Insert, "INSERT INTO account VALUES (1, 'a', 1), (2, 'b', 2)").await;
        for (id, email) in [(1, "tmp"), (2, "a"), (1, "b")] {
            let update = format!("UPDATE account SET email = '{email}' WHERE id = {id}");
            drop(f.capture("account", Update, &update).await);
        }
        f.carried().await;
        f.world.assert_equal("account").await;
        assert_eq!(f.rows("SELECT email FROM account ORDER BY id").await, ["b", "a"]);
        f.finish().await;
    }
}

#[tokio::test]
async fn a_row_that_cannot_go_does_not_hold_a_swap_up() {
    for target in Target::all() {
        let f = Follower::start(target, ACCOUNTS, "").await;
        f.write("account", Insert, "INSERT INTO account VALUES (1, 'a', 1), (2, 'b', 2)").await;
        // The secondary has a constraint of its own, which the catalogue knows nothing of.
        let mut conn = f.world.secondary().await;
        conn.query_drop("CREATE UNIQUE INDEX own ON account (balance)").await.unwrap();
        drop(f.capture("account", Insert, "INSERT INTO account VALUES (3, 'c', 1)").await);
        for (id, email) in [(1, "tmp"), (2, "a"), (1, "b")] {
            let update = format!("UPDATE account SET email = '{email}' WHERE id = {id}");
            drop(f.capture("account", Update, &update).await);
        }
        f.drain().await;
        f.world.until("apart", async || f.outbox().await == ["account I 1062"]).await;
        assert_eq!(f.rows("SELECT email FROM account ORDER BY id").await, ["b", "a"]);
        conn.query_drop("DROP INDEX own ON account").await.unwrap();
        f.world.drained().await;
        f.world.assert_equal("account").await;
        f.finish().await;
    }
}

/// What passed us by has no entry, and stands in the way of what has one.
#[tokio::test]
async fn a_row_without_an_entry_that_holds_the_value_is_read_again_too() {
    for target in Target::all() {
        let f = Follower::start(target, ACCOUNTS, "").await;
        f.write("account", Insert, "INSERT INTO account VALUES (1, 'a', 1), (2, 'b', 2)").await;
        let past = "UPDATE account SET email = 'x' WHERE id = 1";
        f.world.direct().await.batch_execute(past).await.unwrap();
        let mut conn = f.world.secondary().await;
        conn.query_drop("INSERT INTO account VALUES (99, 'c', 0)").await.unwrap();
        let taken = "UPDATE account SET email = 'a' WHERE id = 2";
        drop(f.capture("account", Update, taken).await);
        drop(f.capture("account", Insert, "INSERT INTO account VALUES (3, 'c', 3)").await);
        f.carried().await;
        f.world.assert_equal("account").await;
        assert_eq!(f.rows("SELECT email FROM account ORDER BY id").await, ["x", "a", "c"]);
        let removed = f.metric("extra_rows_removed_total", &[("table", "account")]);
        assert!((removed - 1.0).abs() < 0.1, "that somebody's row went is told: {removed}");
        f.finish().await;
    }
}

#[tokio::test]
async fn values_that_mysql_cannot_hold_stay_with_their_reason_and_never_become_another() {
    for target in Target::all() {
        let schema = "CREATE TABLE odd (id int PRIMARY KEY, ts timestamptz, n numeric(5,2), d date, f float8, a int[])";
        let f = Follower::start(target, schema, "").await;
        let insert = "INSERT INTO odd VALUES (1, 'infinity', 1, NULL, NULL, NULL), (2, now(), 'NaN', NULL, NULL, NULL), \
             (3, NULL, NULL, '20000-01-01', NULL, NULL), (4, NULL, NULL, '0044-03-15 BC', NULL, NULL), \
             (5, NULL, NULL, NULL, '-Infinity', NULL), (6, NULL, NULL, NULL, NULL, '[2:3]={1,2}'), \
             (7, '2024-01-01', 1, '2024-01-01', 1, '{1}')";
        assert_eq!(f.write("odd", Insert, insert).await, Settled::Deferred);
        f.drain().await;
        f.world.until("apart", async || f.outbox().await.len() == 6).await;
        f.world
            .until("noted", async || f.outbox().await.iter().all(|line| line.contains("column")))
            .await;
        assert_eq!(f.rows("SELECT CAST(id AS CHAR) FROM odd").await, ["7"], "the good row went on");
        assert_eq!(
            f.outbox().await,
            [
                "odd I unrepresentable column \"ts\": infinite",
                "odd I unrepresentable column \"n\": not a number",
                "odd I unrepresentable column \"d\": year past 9999",
                "odd I unrepresentable column \"d\": year before 1",
                "odd I unrepresentable column \"f\": infinite",
                "odd I unrepresentable column \"a\": lower bound other than 1",
            ]
        );
        assert!(f.metric("sync_errors_total", &[("code", "unrepresentable")]) >= 6.0);
        // A newer write that fits frees the key, old entries included.
        f.write("odd", Update, "UPDATE odd SET ts = now(), n = 1, d = now(), f = 1, a = '{1}'")
            .await;
        let retry = "UPDATE crossfade.outbox SET next_try = now()";
        f.admin.execute(retry, &[]).await.unwrap();
        f.world.drained().await;
        f.world.assert_equal("odd").await;
        f.finish().await;
    }
}

const FAMILY: &str = "CREATE TABLE parent (id int PRIMARY KEY, name text NOT NULL);
    CREATE TABLE child (id int PRIMARY KEY, parent int NOT NULL REFERENCES parent ON DELETE CASCADE)";

#[tokio::test]
async fn a_child_whose_parent_is_still_on_its_way_takes_it_along() {
    for target in Target::all() {
        let f = Follower::start(target, FAMILY, "").await;
        let parent = f.capture("parent", Insert, "INSERT INTO parent VALUES (1, 'p')").await;
        let child = f.capture("child", Insert, "INSERT INTO child VALUES (1, 1)").await;
        // The other way round: two sidecars, or a parent whose images were dropped.
        assert_eq!(f.hand(child).await, Settled::Applied);
        assert_eq!(f.rows("SELECT id FROM child").await, ["1"]);
        assert_eq!(f.hand(parent).await, Settled::Applied);
        f.world.drained().await;
        f.world.assert_all_equal().await;
        f.finish().await;
    }
}

#[tokio::test]
async fn triggers_capture_cascades_and_truncates_and_a_drain_carries_them() {
    for target in Target::all() {
        let f = Follower::start(
            target,
            FAMILY,
            "\"*\": { mode: blocking, timeout: 5s, capture: trigger }",
        )
        .await;
        let direct = f.world.direct().await;
        let fill = "INSERT INTO parent SELECT g, 'p' FROM generate_series(1, 50) g;
             INSERT INTO child SELECT g, g % 50 + 1 FROM generate_series(1, 200) g";
        direct.batch_execute(fill).await.unwrap();
        f.carried().await;
        f.world.assert_all_equal().await;
        direct.batch_execute("DELETE FROM parent WHERE id <= 20").await.unwrap();
        direct.batch_execute("UPDATE parent SET id = id + 1000 WHERE id > 45 AND id NOT IN (SELECT parent FROM child)").await.unwrap();
        f.carried().await;
        f.world.assert_all_equal().await;
        direct
            .batch_execute("TRUNCATE parent CASCADE; INSERT INTO parent VALUES (7, 'again')")
            .await
            .unwrap();
        f.carried().await;
        f.world.assert_all_equal().await;
        assert_eq!(f.rows("SELECT name FROM parent").await, ["again"]);
        f.finish().await;
    }
}

/// Begins a strict transaction on the secondary; the primary's is still open.
fn strict(
    f: &Follower,
    changes: Vec<Change>,
) -> (
    oneshot::Receiver<Result<(), handoff::Failure>>,
    oneshot::Sender<Decision>,
    oneshot::Receiver<Settled>,
) {
    let ((prepared, held), (decision, decided)) = (oneshot::channel(), oneshot::channel());
    let (done, settled) = oneshot::channel();
    let transaction =
        Transaction { changes, mode: Mode::Strict, timeout: Duration::from_millis(500) };
    f.handoff.strict(transaction, prepared, decided, done).unwrap();
    (held, decision, settled)
}

#[tokio::test]
async fn strict_is_held_until_the_primary_has_decided() {
    for target in Target::all() {
        let f = Follower::start(target, ACCOUNTS, "").await;
        let t = f.table("account");
        let emails = "SELECT email FROM account ORDER BY id";
        let begin = |id: i32, email: &'static str| {
            let (admin, t) = (&f.admin, &t);
            async move {
                admin.batch_execute("BEGIN").await.unwrap();
                let insert = format!("INSERT INTO account VALUES ({id}, '{email}', 1)");
                capture(admin, t, Insert, 1, &insert).await
            }
        };
        // Commit.
        let (held, decision, settled) = strict(&f, begin(1, "a").await);
        held.await.unwrap().unwrap();
        assert_eq!(f.rows(emails).await, Vec::<String>::new(), "not before the primary");
        f.admin.batch_execute("COMMIT").await.unwrap();
        decision.send(Decision::Commit).unwrap();
        assert_eq!(settled.await.unwrap(), Settled::Applied);
        assert_eq!(f.rows(emails).await, ["a"]);
        // Rollback, and a session that went away.
        for decide in [Some(Decision::Rollback), None] {
            let (held, decision, settled) = strict(&f, begin(2, "b").await);
            held.await.unwrap().unwrap();
            f.admin.batch_execute("ROLLBACK").await.unwrap();
            match decide {
                Some(decide) => decision.send(decide).unwrap(),
                None => drop(decision),
            }
            assert_eq!(settled.await.unwrap(), Settled::Deferred);
            assert_eq!(f.rows(emails).await, ["a"]);
        }
        // What the secondary cannot take is refused with its SQLSTATE, in time, and without a value.
        let mut conn = f.world.secondary().await;
        conn.query_drop("INSERT INTO account VALUES (77, 'taken', 0)").await.unwrap();
        let (held, _decision, _settled) = strict(&f, begin(3, "taken").await);
        let failure = held.await.unwrap().unwrap_err();
        assert!(["23505", "57014"].contains(&failure.code), "{failure:?}");
        assert!(!failure.message.contains("taken"));
        f.admin.batch_execute("ROLLBACK").await.unwrap();
        f.world.drained().await;
        f.finish().await;
    }
}

#[tokio::test]
async fn while_the_secondary_is_away_nobody_waits_and_afterwards_nothing_is_missing() {
    for target in Target::all() {
        let mut world = World::alone(target, "").await;
        let mut server = world.follower.take().unwrap();
        let f = Follower::on(world, ACCOUNTS, &ApplyLimits::default()).await;
        f.write("account", Insert, "INSERT INTO account VALUES (0, 'u0', 0)").await;
        server.kill9();
        let mut id = 0;
        f.world
            .until("open", async || {
                id += 1;
                let insert = format!("INSERT INTO account VALUES ({id}, 'u{id}', 0)");
                assert_eq!(f.write("account", Insert, &insert).await, Settled::Deferred);
                f.metric("breaker_open", &[]) == 1.0
            })
            .await;
        let started = std::time::Instant::now();
        let many = "INSERT INTO account SELECT g, 'u' || g, 0 FROM generate_series(1000, 1999) g";
        assert_eq!(f.write("account", Insert, many).await, Settled::Deferred);
        assert!(started.elapsed() < Duration::from_secs(2), "an open breaker answers at once");
        server.start_again().unwrap();
        f.world.until("closed", async || f.metric("breaker_open", &[]) == 0.0).await;
        f.world.drained().await;
        f.world.assert_equal("account").await;
        f.finish().await;
    }
}

#[tokio::test]
async fn two_sidecars_may_carry_the_same_outbox() {
    for target in Target::all() {
        let f = Follower::start(target, ACCOUNTS, "").await;
        // The second applier knows nothing of the first.
        let config = Config::load(&f.world.config).unwrap();
        let (other, jobs) = handoff::channel(1 << 20);
        let metrics = ApplyMetrics::register(&Registry::new()).unwrap();
        let from = Connector::new(config.from.clone()).unwrap();
        let second = apply::start(
            from,
            config.to.clone(),
            ApplyLimits::default(),
            f.situation.subscribe(),
            jobs,
            metrics,
        );
        for round in 0..10 {
            let upsert = format!(
                "INSERT INTO account SELECT g, 'u' || g, {round} FROM generate_series(1, 60) g \
                 ON CONFLICT (id) DO UPDATE SET balance = excluded.balance"
            );
            let changes = f.capture("account", Update, &upsert).await;
            // Some by image through either, some by the outbox alone, twice some of them.
            let third = changes.len() / 3;
            other.apply(transaction(changes[..2 * third].to_vec()), None);
            f.handoff.apply(transaction(changes[third..2 * third].to_vec()), None);
            drop(
                f.capture(
                    "account",
                    Delete,
                    &format!("DELETE FROM account WHERE id % 10 = {round}"),
                )
                .await,
            );
            f.handoff.drain(None);
            other.drain(None);
        }
        f.world.drained().await;
        f.world.assert_equal("account").await;
        drop(other);
        second.finish(PATIENCE).await;
        f.finish().await;
    }
}

#[tokio::test]
async fn the_fence_forgets_what_is_old_and_nothing_comes_back() {
    for target in Target::all() {
        let limits = ApplyLimits {
            fence_keep: Duration::from_millis(200),
            poll: Duration::from_millis(50),
            ..ApplyLimits::default()
        };
        let world = World::bare(target, "").await;
        let f = Follower::on(world, ACCOUNTS, &limits).await;
        let stale = f
            .capture("account", Insert, "INSERT INTO account VALUES (1, 'a', 1), (2, 'b', 1)")
            .await;
        f.hand(stale.clone()).await;
        f.write("account", Delete, "DELETE FROM account WHERE id = 1").await;
        f.world
            .until("forgotten", async || {
                f.rows("SELECT CAST(COUNT(*) AS CHAR) FROM crossfade_fence WHERE key_hash <> REPEAT(CHAR(0), 16)").await == ["0"]
            })
            .await;
        // A sidecar that was paused hands its old images over: they are not believed.
        assert_eq!(f.hand(stale).await, Settled::Deferred);
        f.world.drained().await;
        f.world.assert_equal("account").await;
        f.finish().await;
    }
}

#[tokio::test]
async fn images_of_an_epoch_that_is_over_are_left_to_the_outbox() {
    for target in Target::all() {
        let f = Follower::start(target, ACCOUNTS, "").await;
        let changes = f.capture("account", Insert, "INSERT INTO account VALUES (1, 'a', 1)").await;
        let removed = f.capture("account", Delete, "DELETE FROM account WHERE id = 1").await;
        drop(removed);
        let mut conn = f.world.secondary().await;
        control::set_epoch(&mut conn, EPOCH + 1).await.unwrap();
        assert_eq!(f.hand(changes.clone()).await, Settled::Deferred, "the secondary knows better");
        let raise = format!("SELECT setval('crossfade.epoch', {})", (EPOCH + 1) * 2);
        f.admin.batch_execute(&raise).await.unwrap();
        f.situation.send_modify(|situation| {
            let mut next = (**situation).clone();
            next.epoch = EPOCH + 1;
            *situation = Arc::new(next);
        });
        assert_eq!(f.hand(changes).await, Settled::Deferred);
        f.world.drained().await;
        f.world.assert_equal("account").await;
        f.finish().await;
    }
}

/// The end of what runs is waited for before a row that is absent is believed to be gone, and before a
/// chunk's bound moves: a transaction that has the newest number of all runs too.
#[tokio::test]
async fn a_transaction_that_has_the_newest_number_of_all_runs() {
    let world = World::bare(Target::MariaDb, "").await;
    let (runner, watcher) = (world.admin().await, world.admin().await);
    for _ in 0..20 {
        runner.batch_execute("BEGIN; SELECT pg_current_xact_id()").await.unwrap();
        let moment = Moment::note(&watcher).await.unwrap();
        assert!(!moment.ended(&watcher).await.unwrap());
        runner.batch_execute("COMMIT").await.unwrap();
        world.until("it has ended", async || moment.ended(&watcher).await.unwrap()).await;
    }
}
