//! PostgreSQL as the secondary: the same writer over it, and the traps of order, keys and types.

use std::sync::Arc;

use bytes::Bytes;
use crossfade::backend::mysql::error::Reaction;
use crossfade::backend::mysql::{Connection as _, Outcome, Refused, Writer};
use crossfade::backend::postgres::connect::Connector;
use crossfade::backend::postgres::follow::{self, FollowLimits, Follower};
use crossfade::backend::postgres::{control, introspect};
use crossfade::catalog::naming::Naming;
use crossfade::catalog::{Catalog, Table, Unique};
use crossfade::change::{Change, Effect, KeyHash, Operation, Version, decode_row};
use crossfade::config::Config;
use crossfade::names::{TableId, TableName};
use crossfade::value::Value;
use rand::rngs::StdRng;
use rand::seq::SliceRandom as _;
use rand::{Rng as _, SeedableRng as _};
use tokio_postgres::SimpleQueryMessage;

use crate::support::{Target, World};
use crate::writer::{delete, insert, int, relocate, text, truncate, update};

const EPOCH: u64 = 1;
const USERS: (&str, &str) = ("users", "id:int8*,email:text,bio:text?");
const USERS_DDL: &str =
    "CREATE TABLE users (id bigint PRIMARY KEY, email text NOT NULL UNIQUE, bio text)";
const ALL: &str = "SELECT id, email, bio FROM users ORDER BY id";

struct Site {
    world: World,
    catalog: Catalog,
    writer: Writer<Follower>,
}

impl Site {
    async fn start(ddl: &str, catalog: Catalog) -> Self {
        let world = World::bare(Target::MariaDb, "").await;
        let direct = world.direct().await;
        direct.batch_execute(ddl).await.unwrap();
        let admin = world.admin().await;
        admin.batch_execute(&control::ddl()).await.unwrap();
        admin.batch_execute(follow::DDL).await.unwrap();
        let turn = i64::try_from(EPOCH * 2 + 1).unwrap();
        admin.execute("SELECT setval('crossfade.epoch', $1)", &[&turn]).await.unwrap();
        let writer = Writer::new(follower(&world).await);
        Self { world, catalog, writer }
    }

    fn table(&self, name: &str) -> Arc<Table> {
        Arc::clone(self.catalog.by_name(&TableName::parse(name)).unwrap())
    }

    async fn write(&mut self, batch: &[&[Change]]) -> Result<Vec<Outcome>, Refused> {
        self.writer.write(batch, EPOCH, &self.catalog).await
    }

    async fn apply(&mut self, changes: &[Change]) -> Vec<Outcome> {
        self.write(&[changes]).await.unwrap()
    }

    async fn rows(&self, sql: &str) -> Vec<String> {
        let mut rows = Vec::new();
        for message in self.world.admin().await.simple_query(sql).await.unwrap() {
            let SimpleQueryMessage::Row(row) = message else { continue };
            let fields = (0..row.len()).map(|at| row.get(at).unwrap_or("NULL"));
            rows.push(fields.collect::<Vec<_>>().join(" "));
        }
        rows
    }
}

async fn follower(world: &World) -> Follower {
    let config = Config::load(&world.config).unwrap();
    let connector = Connector::new(config.from.clone()).unwrap();
    Follower::connect(&connector, FollowLimits::default()).await.unwrap()
}

async fn users() -> (Site, Arc<Table>) {
    let mut catalog = Catalog::for_test(&[USERS]);
    let email = Unique {
        name: "users_email_key".to_owned(),
        columns: vec![1],
        deferrable: false,
        nulls_not_distinct: false,
        predicate: None,
        expressions: None,
    };
    for table in catalog.tables.values_mut() {
        Arc::make_mut(table).uniques.push(email.clone());
    }
    let site = Site::start(USERS_DDL, catalog).await;
    let table = site.table("users");
    (site, table)
}

fn user(id: i64, email: &str) -> [Value; 3] {
    [int(id), text(email), Value::Null]
}

#[tokio::test]
async fn an_older_image_changes_nothing_and_a_tombstone_stays() {
    let (mut site, t) = users().await;
    let new = [update(&t, (20, 1), &user(1, "new"))];
    assert_eq!(site.apply(&new).await, [Outcome::Applied]);
    assert_eq!(site.apply(&new).await, [Outcome::Superseded]);
    assert_eq!(site.apply(&[insert(&t, (10, 1), &user(1, "old"))]).await, [Outcome::Superseded]);
    assert_eq!(site.rows(ALL).await, ["1 new NULL"]);
    assert_eq!(site.apply(&[update(&t, (20, 2), &user(1, "n2"))]).await, [Outcome::Applied]);
    assert_eq!(site.apply(&[delete(&t, (30, 1), &[int(1)])]).await, [Outcome::Applied]);
    assert_eq!(site.apply(&[update(&t, (25, 1), &user(1, "b"))]).await, [Outcome::Superseded]);
    assert_eq!(site.rows(ALL).await, Vec::<String>::new());
    assert_eq!(site.apply(&[insert(&t, (40, 1), &user(1, "c"))]).await, [Outcome::Applied]);
    assert_eq!(site.rows(ALL).await, ["1 c NULL"]);
}

#[tokio::test]
async fn a_clash_refuses_its_transaction_and_nothing_else() {
    let (mut site, t) = users().await;
    site.apply(&[insert(&t, (1, 1), &user(1, "a")), insert(&t, (2, 2), &user(2, "b"))]).await;
    let one = [update(&t, (20, 1), &user(1, "x"))];
    let clash = [update(&t, (21, 1), &user(2, "y")), insert(&t, (22, 2), &user(4, "x"))];
    let refused = site.write(&[&one, &clash]).await.unwrap_err();
    assert_eq!((refused.error.code().as_str(), refused.at), ("23505", 2));
    assert_eq!(refused.error.reaction(), Reaction::Soon);
    assert_eq!(site.rows(ALL).await, ["1 a NULL", "2 b NULL"]);
    let Effect::Put { key, image } = &clash[1].effect else { panic!() };
    let owners = site.writer.link().owners(&t, key, image).await.unwrap();
    assert_eq!(owners.len(), 0, "nothing of it was kept");
    site.apply(&one).await;
    let owners = site.writer.link().owners(&t, key, image).await.unwrap();
    assert_eq!(owners.iter().map(|key| key.values.clone()).collect::<Vec<_>>(), [[int(1)]]);
}

#[tokio::test]
async fn values_that_change_hands_change_hands() {
    let (mut site, t) = users().await;
    site.apply(&[insert(&t, (1, 1), &user(1, "a")), insert(&t, (2, 2), &user(2, "b"))]).await;
    let steps = [
        update(&t, (10, 1), &user(1, "tmp")),
        update(&t, (11, 2), &user(2, "a")),
        update(&t, (12, 3), &user(1, "b")),
    ];
    assert_eq!(site.apply(&steps).await, [Outcome::Applied; 3]);
    assert_eq!(site.rows(ALL).await, ["1 b NULL", "2 a NULL"]);
    let at_once = [update(&t, (20, 1), &user(1, "a")), update(&t, (21, 1), &user(2, "b"))];
    assert_eq!(site.apply(&at_once).await, [Outcome::Applied; 2]);
    assert_eq!(site.rows(ALL).await, ["1 a NULL", "2 b NULL"]);
    let keys = [
        relocate(&t, (31, 1), &[int(1)], &user(2, "a")),
        relocate(&t, (32, 1), &[int(2)], &user(1, "b")),
    ];
    assert_eq!(site.apply(&keys).await, [Outcome::Applied; 2]);
    assert_eq!(site.rows(ALL).await, ["1 b NULL", "2 a NULL"]);
    let shift = [
        relocate(&t, (41, 1), &[int(1)], &user(2, "b")),
        relocate(&t, (42, 1), &[int(2)], &user(3, "a")),
    ];
    assert_eq!(site.apply(&shift).await, [Outcome::Applied; 2]);
    assert_eq!(site.rows(ALL).await, ["2 b NULL", "3 a NULL"]);
}

/// What the application's triggers and foreign keys do has been done on the primary, and arrives as rows.
#[tokio::test]
async fn triggers_and_foreign_keys_neither_act_nor_check() {
    let ddl = "CREATE TABLE parents (id int PRIMARY KEY, name text NOT NULL); \
         CREATE TABLE children (id int PRIMARY KEY, \
             parent int NOT NULL REFERENCES parents ON DELETE CASCADE ON UPDATE CASCADE); \
         CREATE FUNCTION shout() RETURNS trigger LANGUAGE plpgsql AS \
             $$ BEGIN NEW.name := upper(NEW.name); RETURN NEW; END $$; \
         CREATE TRIGGER shout BEFORE INSERT OR UPDATE ON parents FOR EACH ROW EXECUTE FUNCTION shout()";
    let catalog = Catalog::for_test(&[
        ("parents", "id:int4*,name:text"),
        ("children", "id:int4*,parent:int4"),
    ]);
    let mut site = Site::start(ddl, catalog).await;
    let (parents, children) = (site.table("parents"), site.table("children"));
    // The child first; the parent is on its way.
    site.apply(&[insert(&children, (2, 2), &[int(7), int(1)])]).await;
    site.apply(&[insert(&parents, (1, 1), &[int(1), text("quiet")])]).await;
    site.apply(&[relocate(&parents, (3, 1), &[int(1)], &[int(2), text("quiet")])]).await;
    assert_eq!(site.rows("SELECT * FROM parents").await, ["2 quiet"]);
    assert_eq!(site.rows("SELECT * FROM children").await, ["7 1"]);
    site.apply(&[update(&children, (4, 1), &[int(7), int(2)])]).await;
    site.apply(&[delete(&parents, (5, 1), &[int(2)])]).await;
    assert_eq!(site.rows("SELECT * FROM children").await, ["7 2"]);
}

#[tokio::test]
async fn truncate_spares_rows_that_were_written_after_it() {
    let (mut site, t) = users().await;
    let many: Vec<Change> = (1..=1200)
        .map(|id: i64| insert(&t, (id.unsigned_abs(), 1), &user(id, &format!("u{id}"))))
        .collect();
    site.apply(&many).await;
    site.apply(&[insert(&t, (3000, 1), &user(5000, "after"))]).await;
    site.apply(&[update(&t, (3001, 1), &user(3, "kept"))]).await;
    assert_eq!(site.apply(&[truncate(&t, (2000, 1))]).await, [Outcome::Applied]);
    assert_eq!(site.rows(ALL).await, ["3 kept NULL", "5000 after NULL"]);
    let before = [insert(&t, (1999, 1), &user(9, "before"))];
    assert_eq!(site.apply(&before).await, [Outcome::Superseded]);
    assert_eq!(site.apply(&[truncate(&t, (1500, 1))]).await, [Outcome::Superseded]);
    let refill = [truncate(&t, (4000, 1)), insert(&t, (4001, 2), &user(1, "first"))];
    assert_eq!(site.apply(&refill).await, [Outcome::Applied; 2]);
    assert_eq!(site.rows(ALL).await, ["1 first NULL"]);
}

#[tokio::test]
async fn below_the_floor_an_image_without_an_entry_is_read_again() {
    let (mut site, t) = users().await;
    site.apply(&[insert(&t, (10, 1), &user(1, "a")), delete(&t, (20, 2), &[int(1)])]).await;
    site.apply(&[insert(&t, (50, 1), &user(2, "b"))]).await;
    let bound = Version { epoch: EPOCH, counter: 40, n: 0 };
    let link = site.writer.link();
    let pruned = link.prune(TableId(1), bound, KeyHash::TABLE).await.unwrap();
    assert_eq!((pruned.entries, pruned.next), (1, None));
    assert_eq!(link.fence_entries().await.unwrap(), 1);
    let late = [update(&t, (15, 1), &user(1, "ghost"))];
    assert_eq!(site.apply(&late).await, [Outcome::ReadAgain]);
    assert_eq!(site.rows(ALL).await, ["2 b NULL"]);
    assert_eq!(site.apply(&[insert(&t, (21, 1), &user(3, "c"))]).await, [Outcome::Applied]);
}

#[tokio::test]
async fn only_the_secondary_of_this_very_epoch_is_written_to() {
    let (mut site, t) = users().await;
    let admin = site.world.admin().await;
    // PostgreSQL's own turn, and a later one of MySQL's.
    for turn in [EPOCH * 2, EPOCH * 2 + 2, EPOCH * 2 + 3] {
        let turn = i64::try_from(turn).unwrap();
        admin.execute("SELECT setval('crossfade.epoch', $1)", &[&turn]).await.unwrap();
        let refused = site.write(&[&[insert(&t, (1, 1), &user(1, "a"))]]).await.unwrap_err();
        assert_eq!(refused.error.reaction(), Reaction::ReadAgain, "turn {turn}");
    }
    assert_eq!(site.rows(ALL).await, Vec::<String>::new());
    assert_eq!(site.writer.link().epoch().await.unwrap(), Some(EPOCH + 1));
    // Whoever changes the epoch waits for a transaction that has begun under the old one.
    let turn = i64::try_from(EPOCH * 2 + 1).unwrap();
    admin.execute("SELECT setval('crossfade.epoch', $1)", &[&turn]).await.unwrap();
    let (catalog, changes) = (&site.catalog, [insert(&t, (1, 1), &user(1, "a"))]);
    site.writer.prepare(&[&changes], EPOCH, catalog).await.unwrap();
    let lock =
        format!("SELECT pg_try_advisory_lock({}, {})", control::LOCK_CLASS, control::LOCK_KEY);
    assert!(!admin.query_one(&lock, &[]).await.unwrap().get::<_, bool>(0));
    site.writer.commit().await.unwrap();
    assert!(admin.query_one(&lock, &[]).await.unwrap().get::<_, bool>(0));
    assert_eq!(site.rows(ALL).await, ["1 a NULL"]);
}

#[tokio::test]
async fn a_value_that_does_not_fit_refuses_its_transaction_and_is_not_told() {
    let (mut site, t) = users().await;
    let admin = site.world.admin().await;
    admin.batch_execute("ALTER TABLE users ALTER bio TYPE varchar(3)").await.unwrap();
    let batch = [
        insert(&t, (1, 1), &user(1, "ok")),
        insert(&t, (2, 2), &[int(2), text("two"), text("secret")]),
        insert(&t, (3, 3), &user(3, "three")),
    ];
    let refused = site.write(&[&batch]).await.unwrap_err();
    assert_eq!((refused.at, refused.error.code().as_str()), (1, "22001"));
    assert_eq!(refused.error.reaction(), Reaction::Stuck);
    assert!(!format!("{refused} {refused:?}").contains("secret"), "no value in an error");
    assert_eq!(site.rows(ALL).await, Vec::<String>::new());
    let missing = [insert(&t, (4, 1), &[int(4), Value::Null, Value::Null])];
    let refused = site.write(&[&missing]).await.unwrap_err();
    assert_eq!(
        (refused.error.code().as_str(), refused.column.as_deref()),
        ("23502", Some("email"))
    );
    // A table that is not there any more does not end the connection.
    admin.batch_execute("ALTER TABLE users RENAME TO people").await.unwrap();
    let gone = [insert(&t, (5, 1), &user(5, "five"))];
    assert_eq!(site.write(&[&gone]).await.unwrap_err().error.code(), "42P01");
    admin.batch_execute("ALTER TABLE people RENAME TO users").await.unwrap();
    assert_eq!(site.apply(&gone).await, [Outcome::Applied]);
}

/// Every type, written to a table that then has the very same rows; keys of several types among them.
#[tokio::test]
async fn every_type_arrives_as_it_was() {
    let ddl = "CREATE EXTENSION IF NOT EXISTS citext; CREATE TYPE mood AS ENUM ('sad', 'ok', 'it''s'); \
         CREATE DOMAIN amount AS numeric(12,4) CHECK (VALUE >= 0); \
         CREATE TABLE source (a uuid, c citext, b boolean, s smallint, i int, l bigint, f real, d double precision, \
             n numeric, m numeric(12,4), t text, v varchar(20), ch char(5), by bytea, da date, ti time, tz timetz, \
             ts timestamp, tt timestamptz, iv interval, js json, jb jsonb, e mood, ea mood[], ta text[], ia int[], \
             ba bytea[], am amount, ip inet, ci cidr, ma macaddr, PRIMARY KEY (a, c, n, tt)); \
         CREATE TABLE copy (LIKE source INCLUDING ALL); \
         CREATE TABLE numbered (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, \
             no int GENERATED ALWAYS AS IDENTITY, v text, twice text GENERATED ALWAYS AS (v || v) STORED); \
         INSERT INTO source \
         SELECT gen_random_uuid(), 'Key' || g, g % 2 = 0, g, -g, g * 10000000000, g / 3.0, g / 7.0, \
             (g::numeric / 3) * 10 ^ g, g * 1.5, E'q''\"\\\\\\n\\t \\u00e9\\U0001f600' || g, 'v' || g, 'x', \
             decode('00ff27', 'hex') || g::text::bytea, DATE '1999-12-31' + g * 400, TIME '24:00', \
             TIMETZ '13:14:15.000001+05:30', TIMESTAMP '0099-01-01' + g * interval '100 days', \
             TIMESTAMPTZ '2024-02-29 23:59:59.999999+02' + g * interval '1 hour', \
             make_interval(months => g, days => -g, secs => g / 8.0), '{\"b\" : 1,\"a\":[]}', \
             '{\"b\": 1e2, \"a\": [null, \"\\u00e9\"]}', 'it''s', ARRAY['sad', NULL, 'it''s']::mood[], \
             ARRAY[ARRAY['a,b', '\"'], ARRAY['\\\\', 'NULL']], '[0:2]={1,NULL,3}', \
             ARRAY[decode('27005c', 'hex')], g, '10.0.0.1/8', '10.0.0.0/8', '08:00:2b:01:02:03' \
         FROM generate_series(0, 9) g; \
         INSERT INTO source (a, c, n, tt) VALUES ('00000000-0000-0000-0000-000000000000', '', 'NaN', 'infinity'), \
             ('00000000-0000-0000-0000-000000000001', ' ', -0.000, '-infinity')";
    let mut site = Site::start(ddl, Catalog::default()).await;
    let admin = site.world.admin().await;
    for name in ["source", "copy", "numbered"] {
        let register = "INSERT INTO crossfade.tables (schema, name, capture, target) \
             VALUES ('public', $1, 'returning', $1)";
        admin.execute(register, &[&name]).await.unwrap();
    }
    let policies = Config::load(&site.world.config).unwrap().tables;
    site.catalog = introspect::introspect(&admin, &policies, &Naming::default()).await.unwrap();
    let copy = site.table("copy");
    let images = "SELECT record_send(ROW(source.*)) FROM source";
    let changes: Vec<Change> = admin
        .query(images, &[])
        .await
        .unwrap()
        .iter()
        .map(|row| {
            let (key, image) = decode_row(&Bytes::from(row.get::<_, Vec<u8>>(0)), &copy).unwrap();
            let version = Version { epoch: EPOCH, counter: 1, n: 1 };
            let effect = Effect::Put { key, image };
            Change {
                table: Arc::clone(&copy),
                operation: Operation::Insert,
                version,
                entry: None,
                effect,
            }
        })
        .collect();
    let equal = "SELECT (SELECT count(*) FROM source), (SELECT count(*) FROM \
         (SELECT source::text FROM source INTERSECT ALL SELECT copy::text FROM copy) same)";
    for (counter, operation) in
        [(1, Operation::Insert), (2, Operation::Update), (3, Operation::Insert)]
    {
        let mut again = changes.clone();
        for change in &mut again {
            (change.version.counter, change.operation) = (counter, operation);
        }
        assert_eq!(site.apply(&again).await, vec![Outcome::Applied; again.len()]);
        assert_eq!(site.rows(equal).await, ["12 12"]);
    }
    // Columns that PostgreSQL numbers or computes itself.
    let t = site.table("numbered");
    let row = |id: i64, no: i64, v: &str| [int(id), int(no), text(v), text(&format!("{v}{v}"))];
    let (first, moved) =
        (insert(&t, (1, 1), &row(5, 9, "a")), relocate(&t, (3, 1), &[int(5)], &row(6, 9, "c")));
    site.apply(&[first]).await;
    site.apply(&[update(&t, (2, 1), &row(5, 9, "b"))]).await;
    assert_eq!(site.rows("SELECT * FROM numbered").await, ["5 9 b bb"]);
    site.apply(&[moved, insert(&t, (4, 2), &row(7, 1, "d")), update(&t, (5, 3), &row(8, 2, "e"))])
        .await;
    assert_eq!(
        site.rows("SELECT * FROM numbered ORDER BY id").await,
        ["6 9 c cc", "7 1 d dd", "8 2 e ee"]
    );
}

/// As for MySQL: whatever the order, and however many writers, the newest of each row stays.
#[tokio::test]
async fn shuffled_images_over_several_writers_end_in_the_newest_of_each_row() {
    let seed: u64 = rand::random();
    let (site, t) = users().await;
    let mut random = StdRng::seed_from_u64(seed);
    let (mut changes, mut newest) = (Vec::new(), vec![String::new(); 20]);
    for at in 1..=400 {
        let id: i64 = random.random_range(0..20);
        let row = &mut newest[usize::try_from(id).unwrap()];
        if random.random_bool(0.2) {
            changes.push(delete(&t, (at, 1), &[int(id)]));
            row.clear();
        } else {
            changes.push(update(&t, (at, 1), &user(id, &format!("{id}@{at}"))));
            *row = format!("{id} {id}@{at} NULL");
        }
    }
    let catalog = Arc::new(Catalog::for_test(&[USERS]));
    let mut tasks = Vec::new();
    for _ in 0..3 {
        let mut writer = Writer::new(follower(&site.world).await);
        let (catalog, mut mine) = (Arc::clone(&catalog), changes.clone());
        mine.shuffle(&mut random);
        tasks.push(tokio::spawn(async move {
            for part in mine.chunks(17) {
                let batch: Vec<&[Change]> = part.chunks(1).collect();
                while let Err(refused) = writer.write(&batch, EPOCH, &catalog).await {
                    assert_eq!(refused.error.reaction(), Reaction::Now, "seed {seed}: {refused}");
                }
            }
        }));
    }
    for task in tasks {
        task.await.unwrap();
    }
    newest.retain(|row| !row.is_empty());
    assert_eq!(site.rows(ALL).await, newest, "seed {seed}");
}
