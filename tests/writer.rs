//! The fenced writer on real servers: the traps of order, keys and constraints, each on both products.

use std::sync::Arc;

use bytes::Bytes;
use crossfade::backend::mysql::connect::{LinkLimits, SslMode};
use crossfade::backend::mysql::error::Reaction;
use crossfade::backend::mysql::{Link, Outcome, Refused, ToUrl, Writer, control, prune};
use crossfade::catalog::{Action, Catalog, ForeignKey, Table};
use crossfade::change::{Change, Effect, Key, KeyHash, Operation, RowImage, Version};
use crossfade::demo::servers::login;
use crossfade::names::{TableId, TableName};
use crossfade::value::Value;
use mysql_async::prelude::Queryable as _;
use rand::rngs::StdRng;
use rand::seq::SliceRandom as _;
use rand::{Rng as _, SeedableRng as _};

use crate::support::{Target, World};

const EPOCH: u64 = 1;

/// A secondary with tables, and a writer to it.
pub struct Site {
    pub world: World,
    pub catalog: Catalog,
    pub writer: Writer,
}

impl Site {
    /// `tables` as for [`Catalog::for_test`]; `ddl` creates them on the secondary.
    pub async fn start(target: Target, tables: &[(&str, &str)], ddl: &[&str]) -> Self {
        let world = World::bare(target, "").await;
        let mut conn = world.secondary().await;
        for statement in ddl {
            conn.query_drop(*statement).await.unwrap();
        }
        control::create(&mut conn, EPOCH).await.unwrap();
        let writer = writer(&world).await;
        Self { world, catalog: Catalog::for_test(tables), writer }
    }

    pub fn table(&self, name: &str) -> Arc<Table> {
        Arc::clone(self.catalog.by_name(&TableName::parse(name)).unwrap())
    }

    /// Declares a foreign key in the catalogue; the DDL has it already.
    pub fn reference(&mut self, child: &str, column: usize, parent: &str) {
        let (parent, oid) = (self.table(parent), self.table(child).oid);
        let mut table = (*self.table(child)).clone();
        table.foreign_keys.push(ForeignKey {
            name: format!("{child}_{column}"),
            columns: vec![column],
            references: parent.oid,
            referenced: vec![parent.columns[parent.key[0]].name.clone()],
            on_delete: Action::NoAction,
            on_update: Action::Cascade,
            deferrable: true,
        });
        self.catalog.tables.insert(oid, Arc::new(table));
    }

    pub async fn write(&mut self, batch: &[&[Change]]) -> Result<Vec<Outcome>, Refused> {
        self.writer.write(batch, EPOCH, &self.catalog).await
    }

    /// Writes one transaction that must succeed.
    pub async fn apply(&mut self, changes: &[Change]) -> Vec<Outcome> {
        self.write(&[changes]).await.unwrap()
    }

    /// The rows, as text, in key order.
    pub async fn rows(&self, sql: &str) -> Vec<String> {
        let mut conn = self.world.secondary().await;
        let rows: Vec<mysql_async::Row> = conn.query(sql).await.unwrap();
        let text = |value: mysql_async::Value| match value {
            mysql_async::Value::NULL => "NULL".to_owned(),
            mysql_async::Value::Bytes(bytes) => String::from_utf8_lossy(&bytes).into_owned(),
            other => format!("{other:?}"),
        };
        let row = |row: mysql_async::Row| row.unwrap().into_iter().map(text).collect::<Vec<_>>();
        rows.into_iter().map(|one| row(one).join(" ")).collect()
    }
}

pub async fn writer(world: &World) -> Writer {
    Writer::new(Link::connect(&to_url(world).await, &LinkLimits::default()).await.unwrap())
}

/// The secondary of a world, as Crossfade is told of it.
pub async fn to_url(world: &World) -> ToUrl {
    let conn = world.secondary().await;
    let (user, port) = (conn.opts().user().unwrap(), conn.opts().tcp_port());
    login(user, port, &world.database, SslMode::Preferred)
}

pub fn text(text: &str) -> Value {
    Value::Text(text.to_owned())
}

pub fn int(value: i64) -> Value {
    Value::Int(value)
}

pub fn key(table: &Table, values: &[Value]) -> Key {
    let hash = KeyHash::of(values, table);
    Key { values: values.to_vec(), hash, raw: Bytes::new() }
}

fn change(table: &Arc<Table>, operation: Operation, at: (u64, u32), effect: Effect) -> Change {
    let version = Version { epoch: EPOCH, counter: at.0, n: at.1 };
    Change { table: Arc::clone(table), operation, version, entry: None, effect }
}

fn own_key(table: &Table, values: &[Value]) -> Key {
    let values: Vec<Value> = table.key.iter().map(|at| values[*at].clone()).collect();
    key(table, &values)
}

/// An insert at LSN and statement number `at`.
pub fn insert(table: &Arc<Table>, at: (u64, u32), values: &[Value]) -> Change {
    let image = RowImage { values: values.to_vec() };
    let key = own_key(table, values);
    change(table, Operation::Insert, at, Effect::Put { key, image })
}

pub fn update(table: &Arc<Table>, at: (u64, u32), values: &[Value]) -> Change {
    Change { operation: Operation::Update, ..insert(table, at, values) }
}

pub fn delete(table: &Arc<Table>, at: (u64, u32), values: &[Value]) -> Change {
    change(table, Operation::Delete, at, Effect::Gone { key: key(table, values) })
}

pub fn relocate(table: &Arc<Table>, at: (u64, u32), old: &[Value], values: &[Value]) -> Change {
    let effect = Effect::Move {
        old: key(table, old),
        new: own_key(table, values),
        image: RowImage { values: values.to_vec() },
    };
    change(table, Operation::Update, at, effect)
}

pub fn truncate(table: &Arc<Table>, at: (u64, u32)) -> Change {
    change(table, Operation::Truncate, at, Effect::Empty)
}

const USERS: (&str, &str) = ("users", "id:int4*,email:text,bio:text?");
const USERS_DDL: &str = "CREATE TABLE users (id int PRIMARY KEY, email varchar(100) NOT NULL UNIQUE, \
     bio longtext) DEFAULT CHARSET=utf8mb4";
const ALL: &str = "SELECT id, email, bio FROM users ORDER BY id";

async fn users(target: Target) -> (Site, Arc<Table>) {
    let site = Site::start(target, &[USERS], &[USERS_DDL]).await;
    let table = site.table("users");
    (site, table)
}

fn user(id: i64, email: &str) -> [Value; 3] {
    [int(id), text(email), Value::Null]
}

#[tokio::test]
async fn an_older_or_repeated_image_changes_nothing() {
    for target in Target::all() {
        let (mut site, t) = users(target).await;
        let new = [update(&t, (20, 1), &user(1, "new"))];
        assert_eq!(site.apply(&new).await, [Outcome::Applied]);
        assert_eq!(site.apply(&new).await, [Outcome::Superseded]);
        assert_eq!(
            site.apply(&[insert(&t, (10, 1), &user(1, "old"))]).await,
            [Outcome::Superseded]
        );
        assert_eq!(site.apply(&[delete(&t, (19, 9), &[int(1)])]).await, [Outcome::Superseded]);
        assert_eq!(site.rows(ALL).await, ["1 new NULL"]);
        // The same LSN, a later statement; and then a later epoch would win over any LSN.
        assert_eq!(site.apply(&[update(&t, (20, 2), &user(1, "n2"))]).await, [Outcome::Applied]);
        assert_eq!(site.rows(ALL).await, ["1 n2 NULL"]);
    }
}

#[tokio::test]
async fn a_delete_leaves_a_tombstone_that_a_late_image_cannot_pass() {
    for target in Target::all() {
        let (mut site, t) = users(target).await;
        site.apply(&[insert(&t, (10, 1), &user(1, "a"))]).await;
        site.apply(&[delete(&t, (30, 1), &[int(1)])]).await;
        assert_eq!(site.apply(&[update(&t, (20, 1), &user(1, "b"))]).await, [Outcome::Superseded]);
        assert_eq!(site.rows(ALL).await, Vec::<String>::new());
        assert_eq!(site.apply(&[insert(&t, (40, 1), &user(1, "c"))]).await, [Outcome::Applied]);
        assert_eq!(site.rows(ALL).await, ["1 c NULL"]);
    }
}

#[tokio::test]
async fn an_image_never_overwrites_the_row_that_holds_its_unique_value() {
    for target in Target::all() {
        let (mut site, t) = users(target).await;
        site.apply(&[insert(&t, (10, 1), &user(1, "same"))]).await;
        let clash = [insert(&t, (20, 1), &user(2, "same"))];
        let refused = site.write(&[&clash]).await.unwrap_err();
        assert_eq!(
            (refused.error.code().as_str(), refused.error.reaction()),
            ("1062", Reaction::Soon)
        );
        assert_eq!(site.rows(ALL).await, ["1 same NULL"]);
        // Nothing of it was kept: once the value is free the same image goes through.
        site.apply(&[update(&t, (30, 1), &user(1, "other"))]).await;
        assert_eq!(site.apply(&clash).await, [Outcome::Applied]);
        assert_eq!(site.rows(ALL).await, ["1 other NULL", "2 same NULL"]);
    }
}

/// Present and absent rows go together in one statement, and its ON DUPLICATE KEY would also fire on
/// another row's unique value.
#[tokio::test]
async fn many_rows_in_one_statement_never_touch_a_row_of_another_key() {
    for target in Target::all() {
        let table = ("pairs", "a:int4*,b:int4*,email:text,bio:text?");
        let ddl = "CREATE TABLE pairs (a int, b int, email varchar(100) NOT NULL UNIQUE, \
             bio longtext, PRIMARY KEY (a, b)) DEFAULT CHARSET=utf8mb4";
        let mut site = Site::start(target, &[table], &[ddl]).await;
        let t = site.table("pairs");
        let all = "SELECT a, b, email FROM pairs ORDER BY a, b";
        let pair = |b: i64, email: &str| [int(1), int(b), text(email), Value::Null];
        let first = [insert(&t, (1, 1), &pair(1, "a")), insert(&t, (2, 2), &pair(2, "b"))];
        site.apply(&first).await;
        let many = [
            update(&t, (10, 1), &pair(1, "a2")),
            update(&t, (11, 2), &pair(2, "a")),
            insert(&t, (12, 3), &pair(3, "b")),
            update(&t, (13, 4), &pair(3, "c")),
        ];
        assert_eq!(site.apply(&many).await, [Outcome::Applied; 4]);
        assert_eq!(site.rows(all).await, ["1 1 a2", "1 2 a", "1 3 c"]);
        let one = [update(&t, (20, 1), &pair(1, "x"))];
        let clash = [update(&t, (21, 1), &pair(2, "y")), insert(&t, (22, 2), &pair(4, "c"))];
        let refused = site.write(&[&one, &clash]).await.unwrap_err();
        assert_eq!((refused.error.code().as_str(), refused.at), ("1062", 2));
        assert_eq!(site.rows(all).await, ["1 1 a2", "1 2 a", "1 3 c"]);
    }
}

#[tokio::test]
async fn the_steps_of_a_transaction_keep_unique_values_free() {
    for target in Target::all() {
        let (mut site, t) = users(target).await;
        site.apply(&[insert(&t, (1, 1), &user(1, "a")), insert(&t, (2, 2), &user(2, "b"))]).await;
        let swap = [
            update(&t, (10, 1), &user(1, "tmp")),
            update(&t, (11, 2), &user(2, "a")),
            update(&t, (12, 3), &user(1, "b")),
        ];
        assert_eq!(site.apply(&swap).await, [Outcome::Applied; 3]);
        assert_eq!(site.rows(ALL).await, ["1 b NULL", "2 a NULL"]);
    }
}

#[tokio::test]
async fn final_images_of_rows_that_swapped_a_unique_value_are_applied_as_one_set() {
    for target in Target::all() {
        let (mut site, t) = users(target).await;
        site.apply(&[insert(&t, (1, 1), &user(1, "a")), insert(&t, (2, 2), &user(2, "b"))]).await;
        let swap = [update(&t, (10, 1), &user(1, "b")), update(&t, (11, 1), &user(2, "a"))];
        assert_eq!(site.apply(&swap).await, [Outcome::Applied; 2]);
        assert_eq!(site.rows(ALL).await, ["1 b NULL", "2 a NULL"]);
        let checks: Option<u8> =
            site.writer.link().conn().query_first("SELECT @@foreign_key_checks").await.unwrap();
        assert_eq!(checks, Some(1));
    }
}

/// The first image clashes and has to wait for the third; the second must not overtake it.
#[tokio::test]
async fn an_image_that_waits_keeps_its_place_before_the_next_one_of_its_row() {
    for target in Target::all() {
        let (mut site, t) = users(target).await;
        site.apply(&[insert(&t, (1, 1), &user(1, "a")), insert(&t, (2, 2), &user(2, "b"))]).await;
        let changes = [
            update(&t, (10, 1), &user(2, "a")),
            update(&t, (11, 2), &user(2, "own")),
            update(&t, (12, 3), &user(1, "free")),
        ];
        assert_eq!(site.apply(&changes).await, [Outcome::Applied; 3]);
        assert_eq!(site.rows(ALL).await, ["1 free NULL", "2 own NULL"]);
    }
}

#[tokio::test]
async fn an_update_that_changes_nothing_is_found_and_not_inserted() {
    for target in Target::all() {
        let (mut site, t) = users(target).await;
        site.apply(&[insert(&t, (1, 1), &user(1, "a"))]).await;
        assert_eq!(site.apply(&[update(&t, (2, 1), &user(1, "a"))]).await, [Outcome::Applied]);
        assert_eq!(site.rows(ALL).await, ["1 a NULL"]);
    }
}

#[tokio::test]
async fn an_insert_of_a_row_that_is_there_updates_it_and_an_update_of_none_inserts() {
    for target in Target::all() {
        let (mut site, t) = users(target).await;
        let mut conn = site.world.secondary().await;
        conn.query_drop("INSERT INTO users VALUES (1, 'backfilled', NULL)").await.unwrap();
        let batch = [
            insert(&t, (1, 1), &user(1, "a")),
            insert(&t, (2, 1), &user(2, "b")),
            update(&t, (3, 2), &user(3, "c")),
        ];
        assert_eq!(site.apply(&batch).await, [Outcome::Applied; 3]);
        assert_eq!(site.rows(ALL).await, ["1 a NULL", "2 b NULL", "3 c NULL"]);
    }
}

#[tokio::test]
async fn id_zero_stays_zero() {
    for target in Target::all() {
        let ddl = "CREATE TABLE counters (id int PRIMARY KEY AUTO_INCREMENT, n int NOT NULL)";
        let mut site = Site::start(target, &[("counters", "id:int4*,n:int4")], &[ddl]).await;
        let t = site.table("counters");
        site.apply(&[insert(&t, (1, 1), &[int(0), int(5)])]).await;
        assert_eq!(site.rows("SELECT id, n FROM counters").await, ["0 5"]);
    }
}

const FAMILY: &[(&str, &str)] =
    &[("parents", "id:int4*,name:text"), ("children", "id:int4*,parent:int4?")];
const FAMILY_DDL: &[&str] = &[
    "CREATE TABLE parents (id int PRIMARY KEY, name varchar(50) NOT NULL)",
    "CREATE TABLE children (id int PRIMARY KEY, parent int NULL, \
     FOREIGN KEY (parent) REFERENCES parents (id) ON DELETE CASCADE ON UPDATE CASCADE)",
];

async fn family(target: Target) -> (Site, Arc<Table>, Arc<Table>) {
    let mut site = Site::start(target, FAMILY, FAMILY_DDL).await;
    site.reference("children", 1, "parents");
    let (parents, children) = (site.table("parents"), site.table("children"));
    (site, parents, children)
}

#[tokio::test]
async fn a_changed_primary_key_is_one_update_and_children_follow() {
    for target in Target::all() {
        let (mut site, parents, children) = family(target).await;
        site.apply(&[
            insert(&parents, (1, 1), &[int(1), text("p")]),
            insert(&children, (2, 2), &[int(7), int(1)]),
        ])
        .await;
        let moved = [relocate(&parents, (10, 1), &[int(1)], &[int(2), text("q")])];
        assert_eq!(site.apply(&moved).await, [Outcome::Applied]);
        assert_eq!(site.rows("SELECT id, name FROM parents").await, ["2 q"]);
        assert_eq!(site.rows("SELECT id, parent FROM children").await, ["7 2"]);
        // The old key has a tombstone, the new one an entry.
        let late = [update(&parents, (5, 1), &[int(1), text("late")])];
        assert_eq!(site.apply(&late).await, [Outcome::Superseded]);
        assert_eq!(site.apply(&moved).await, [Outcome::Superseded]);
    }
}

#[tokio::test]
async fn a_statement_that_shifts_every_key_leaves_every_row() {
    for target in Target::all() {
        let (mut site, t) = users(target).await;
        let three: Vec<Change> = (1..=3)
            .map(|id: i64| insert(&t, (id.unsigned_abs(), 1), &user(id, &format!("u{id}"))))
            .collect();
        site.apply(&three).await;
        let shift: Vec<Change> = (1..=3)
            .map(|id: i64| {
                let at = (10 + id.unsigned_abs(), 1);
                relocate(&t, at, &[int(id)], &user(id + 1, &format!("u{id}")))
            })
            .collect();
        assert_eq!(site.apply(&shift).await, [Outcome::Applied; 3]);
        assert_eq!(site.rows(ALL).await, ["2 u1 NULL", "3 u2 NULL", "4 u3 NULL"]);
        // Key 2 was left at one LSN and taken at another: it is taken, and newer images count on.
        assert_eq!(site.apply(&[update(&t, (30, 1), &user(2, "x"))]).await, [Outcome::Applied]);
        assert_eq!(site.apply(&[update(&t, (11, 9), &user(1, "y"))]).await, [Outcome::Applied]);
    }
}

#[tokio::test]
async fn keys_that_are_swapped_by_one_statement_are_swapped() {
    for target in Target::all() {
        let (mut site, t) = users(target).await;
        site.apply(&[insert(&t, (1, 1), &user(1, "a")), insert(&t, (2, 1), &user(2, "b"))]).await;
        let swap = [
            relocate(&t, (11, 1), &[int(1)], &user(2, "a")),
            relocate(&t, (12, 1), &[int(2)], &user(1, "b")),
        ];
        assert_eq!(site.apply(&swap).await, [Outcome::Applied; 2]);
        assert_eq!(site.rows(ALL).await, ["1 b NULL", "2 a NULL"]);
    }
}

#[tokio::test]
async fn a_child_that_comes_before_its_parent_in_a_transaction_waits_for_it() {
    for target in Target::all() {
        let (mut site, parents, children) = family(target).await;
        let deferred = [
            insert(&children, (1, 1), &[int(1), int(5)]),
            insert(&parents, (2, 2), &[int(5), text("p")]),
        ];
        assert_eq!(site.apply(&deferred).await, [Outcome::Applied; 2]);
        assert_eq!(site.rows("SELECT id, parent FROM children").await, ["1 5"]);
        // And one whose parent does not come is refused.
        let orphan = [insert(&children, (3, 1), &[int(2), int(99)])];
        let refused = site.write(&[&orphan]).await.unwrap_err();
        assert_eq!(
            (refused.error.code().as_str(), refused.error.reaction()),
            ("1452", Reaction::Soon)
        );
        assert_eq!(site.rows("SELECT id FROM children").await, ["1"]);
    }
}

#[tokio::test]
async fn rows_of_one_statement_that_reference_each_other_in_a_circle_go_in_together() {
    for target in Target::all() {
        let ddl = "CREATE TABLE nodes (id int PRIMARY KEY, next int NOT NULL, \
                   FOREIGN KEY (next) REFERENCES nodes (id))";
        let mut site = Site::start(target, &[("nodes", "id:int4*,next:int4")], &[ddl]).await;
        site.reference("nodes", 1, "nodes");
        let t = site.table("nodes");
        let circle = [insert(&t, (1, 1), &[int(1), int(2)]), insert(&t, (2, 1), &[int(2), int(1)])];
        assert_eq!(site.apply(&circle).await, [Outcome::Applied; 2]);
        assert_eq!(site.rows("SELECT id, next FROM nodes ORDER BY id").await, ["1 2", "2 1"]);
        // With a third that points nowhere none of them goes in.
        let broken =
            [insert(&t, (3, 1), &[int(3), int(4)]), insert(&t, (4, 1), &[int(4), int(99)])];
        assert_eq!(site.write(&[&broken]).await.unwrap_err().error.code(), "1452");
        assert_eq!(site.rows("SELECT id FROM nodes ORDER BY id").await, ["1", "2"]);
    }
}

#[tokio::test]
async fn a_delete_of_a_parent_takes_its_children_along() {
    for target in Target::all() {
        let (mut site, parents, children) = family(target).await;
        site.apply(&[
            insert(&parents, (1, 1), &[int(1), text("p")]),
            insert(&children, (2, 2), &[int(7), int(1)]),
        ])
        .await;
        site.apply(&[delete(&parents, (10, 1), &[int(1)])]).await;
        assert_eq!(site.rows("SELECT id FROM children").await, Vec::<String>::new());
    }
}

#[tokio::test]
async fn truncate_goes_through_a_composite_key_in_chunks() {
    let columns = "a:text*,e:enum(z|a|m)*,n:numeric(8,2)*,v:int4";
    for target in Target::all() {
        let collation = match target {
            Target::MariaDb => "utf8mb4_nopad_bin",
            Target::MySql => "utf8mb4_0900_bin",
        };
        let ddl = format!(
            "CREATE TABLE parts (a varchar(100), e enum('z','a','m'), n decimal(8,2), v int NOT NULL, \
             PRIMARY KEY (a, e, n)) CHARSET utf8mb4 COLLATE {collation}"
        );
        let mut site = Site::start(target, &[("parts", columns)], &[&ddl]).await;
        let t = site.table("parts");
        let row = |at: i64| {
            let letters = ["a", "A", "a ", "é", "", "😀"];
            let part = |of: i64, count: i64| usize::try_from(at / of % count).unwrap();
            let label = ["z", "a", "m"][part(7, 3)];
            let number = format!("{}.{:02}", at / 21, at % 21);
            let number = Value::Numeric(crossfade::value::Numeric::Finite(number));
            [text(letters[part(1, 6)]), text(label), number, int(at)]
        };
        let many: Vec<Change> =
            (1..=1700).map(|at: i64| insert(&t, (at.unsigned_abs(), 1), &row(at))).collect();
        site.apply(&many).await;
        let spared: Vec<i64> = (1..=1700).filter(|at| at % 100 == 0 || *at == 1).collect();
        for at in &spared {
            site.apply(&[update(&t, (5000, 1), &row(*at))]).await;
        }
        assert_eq!(site.apply(&[truncate(&t, (4000, 1))]).await, [Outcome::Applied]);
        let left = site.rows("SELECT v FROM parts ORDER BY v").await;
        assert_eq!(left, spared.iter().map(ToString::to_string).collect::<Vec<_>>());
    }
}

#[tokio::test]
async fn truncate_spares_rows_that_were_written_after_it() {
    for target in Target::all() {
        let (mut site, t) = users(target).await;
        let many: Vec<Change> = (1..=1200)
            .map(|id: i64| insert(&t, (id.unsigned_abs(), 1), &user(id, &format!("u{id}"))))
            .collect();
        site.apply(&many).await;
        site.apply(&[insert(&t, (3000, 1), &user(5000, "after"))]).await;
        assert_eq!(site.apply(&[truncate(&t, (2000, 1))]).await, [Outcome::Applied]);
        assert_eq!(site.rows(ALL).await, ["5000 after NULL"]);
        // An image from before it stays away, also of a row the fence has never seen.
        let before = [insert(&t, (1999, 1), &user(9, "before"))];
        assert_eq!(site.apply(&before).await, [Outcome::Superseded]);
        assert_eq!(site.apply(&[truncate(&t, (1500, 1))]).await, [Outcome::Superseded]);
        // In one transaction: empty, then fill.
        let refill = [truncate(&t, (4000, 1)), insert(&t, (4001, 2), &user(1, "first"))];
        assert_eq!(site.apply(&refill).await, [Outcome::Applied; 2]);
        assert_eq!(site.rows(ALL).await, ["1 first NULL"]);
    }
}

#[tokio::test]
async fn below_the_floor_an_image_without_an_entry_is_read_again() {
    for target in Target::all() {
        let (mut site, t) = users(target).await;
        site.apply(&[insert(&t, (10, 1), &user(1, "a")), delete(&t, (20, 2), &[int(1)])]).await;
        site.apply(&[insert(&t, (50, 1), &user(2, "b"))]).await;
        let bound = Version { epoch: EPOCH, counter: 40, n: 0 };
        let pruned =
            prune::prune(site.writer.link(), TableId(1), bound, KeyHash::TABLE).await.unwrap();
        assert_eq!((pruned.entries, pruned.next), (1, None));
        assert_eq!(prune::count(site.writer.link()).await.unwrap(), 1);
        // A sidecar that was paused still holds the image from before the delete.
        let late = [update(&t, (15, 1), &user(1, "ghost"))];
        assert_eq!(site.apply(&late).await, [Outcome::ReadAgain]);
        assert_eq!(site.rows(ALL).await, ["2 b NULL"]);
        assert_eq!(site.apply(&[insert(&t, (21, 1), &user(3, "c"))]).await, [Outcome::Applied]);
    }
}

#[tokio::test]
async fn images_of_another_epoch_are_dropped() {
    for target in Target::all() {
        let (mut site, t) = users(target).await;
        control::set_epoch(site.writer.link().conn(), 2).await.unwrap();
        let refused = site.write(&[&[insert(&t, (1, 1), &user(1, "a"))]]).await.unwrap_err();
        assert_eq!(refused.error.reaction(), Reaction::ReadAgain);
        assert_eq!(site.rows(ALL).await, Vec::<String>::new());
        control::set_epoch(site.writer.link().conn(), 1).await.unwrap();
        assert_eq!(control::epoch(site.writer.link().conn()).await.unwrap(), Some(2));
    }
}

#[tokio::test]
async fn a_value_that_does_not_fit_refuses_its_transaction_and_names_the_column() {
    for target in Target::all() {
        let (mut site, t) = users(target).await;
        let long = "x".repeat(101);
        let batch = [insert(&t, (1, 1), &user(1, "ok")), insert(&t, (2, 2), &user(2, &long))];
        let refused = site.write(&[&batch]).await.unwrap_err();
        assert_eq!(refused.at, 1);
        assert_eq!(refused.error.reaction(), Reaction::Stuck);
        assert!(!format!("{refused} {refused:?}").contains("xxx"), "no value in an error");
        assert_eq!(site.rows(ALL).await, Vec::<String>::new());
        // What the server itself refuses is named by its number and column.
        let mut conn = site.world.secondary().await;
        conn.query_drop("ALTER TABLE users MODIFY bio varchar(3)").await.unwrap();
        let row = [int(3), text("e"), text("four")];
        let refused = site.write(&[&[insert(&t, (3, 1), &row)]]).await.unwrap_err();
        assert_eq!(
            (refused.error.code().as_str(), refused.column.as_deref()),
            ("1406", Some("bio"))
        );
    }
}

/// Images of 20 rows in random order, repeated, over three writers at once: the newest of each
/// row is what stays, and a row whose newest is a delete is gone.
#[tokio::test]
async fn shuffled_images_over_several_writers_end_in_the_newest_of_each_row() {
    let seed: u64 = rand::random();
    for target in Target::all() {
        let (site, t) = users(target).await;
        let mut random = StdRng::seed_from_u64(seed);
        let (mut changes, mut newest) = (Vec::new(), vec![String::new(); 20]);
        for lsn in 1..=400 {
            let id = random.random_range(0..20);
            if random.random_bool(0.2) {
                changes.push(delete(&t, (lsn, 1), &[int(id)]));
                newest[usize::try_from(id).unwrap()] = String::new();
            } else {
                let row = user(id, &format!("{id}@{lsn}"));
                changes.push(update(&t, (lsn, 1), &row));
                newest[usize::try_from(id).unwrap()] = format!("{id} {id}@{lsn} NULL");
            }
        }
        let catalog = Arc::new(Catalog::for_test(&[USERS]));
        let mut tasks = Vec::new();
        for _ in 0..3 {
            let (mut writer, catalog) = (writer(&site.world).await, Arc::clone(&catalog));
            let mut mine = changes.clone();
            mine.shuffle(&mut random);
            let sizes: Vec<usize> = (0..40).map(|_| random.random_range(1..30)).collect();
            tasks.push(tokio::spawn(async move {
                let mut rest = &mine[..];
                for size in sizes.iter().cycle() {
                    if rest.is_empty() {
                        return;
                    }
                    let (part, tail) = rest.split_at((*size).min(rest.len()));
                    rest = tail;
                    let batch: Vec<&[Change]> = part.chunks(1).collect();
                    while let Err(refused) = writer.write(&batch, EPOCH, &catalog).await {
                        assert_eq!(
                            refused.error.reaction(),
                            Reaction::Now,
                            "seed {seed}: {refused}"
                        );
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
}
