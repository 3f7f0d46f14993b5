//! `crossfade check` on servers and tables that are as unfit as they can be: one run names it all.

use mysql_async::prelude::Queryable as _;

use crate::support::{Target, World, connect, process};

/// Every obstacle that a table can be.
const TABLES: &str = r#"
    CREATE COLLATION nocase (provider = icu, locale = 'und-u-ks-level2', deterministic = false);
    CREATE TABLE keyless (a int);
    CREATE UNLOGGED TABLE scratch (id int PRIMARY KEY);
    CREATE TABLE late (id int PRIMARY KEY DEFERRABLE INITIALLY DEFERRED);
    CREATE TABLE parent (id int PRIMARY KEY);
    CREATE TABLE child (PRIMARY KEY (id)) INHERITS (parent);
    CREATE TABLE odd (id int PRIMARY KEY, p point, words tsvector);
    CREATE TABLE spans (span interval PRIMARY KEY);
    CREATE TABLE papers (doc jsonb PRIMARY KEY);
    CREATE TABLE lists (list int[] PRIMARY KEY);
    CREATE TABLE names (name text COLLATE nocase PRIMARY KEY);
    CREATE TABLE nicks (id int PRIMARY KEY, nick text COLLATE nocase UNIQUE);
    CREATE TABLE long (a varchar(700), b varchar(700), PRIMARY KEY (a, b));
    CREATE TABLE twins (id int PRIMARY KEY, "Name" text, name text);
    CREATE TABLE blank (id int PRIMARY KEY, "x " text);
    CREATE SCHEMA a; CREATE TABLE a.b (id int PRIMARY KEY); CREATE TABLE a_b (id int PRIMARY KEY);
    CREATE TABLE hidden (id int PRIMARY KEY); ALTER TABLE hidden ENABLE ROW LEVEL SECURITY;
    CREATE TABLE ruled (id int PRIMARY KEY); CREATE RULE r AS ON DELETE TO ruled DO INSTEAD NOTHING;
    CREATE TABLE fired (id int PRIMARY KEY, x text CHECK (x ~ '^a'), y int,
        EXCLUDE USING btree (y WITH =));
    CREATE FUNCTION f() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END';
    CREATE TRIGGER t BEFORE INSERT ON fired FOR EACH ROW EXECUTE FUNCTION f();
    CREATE TABLE cascades (id int PRIMARY KEY, up int REFERENCES fired ON DELETE SET DEFAULT DEFERRABLE);
    CREATE INDEX found ON odd USING gin (words); CREATE INDEX lists_gin ON lists USING gin (list);
    CREATE TABLE many (id int PRIMARY KEY, tags text[], part text);
    CREATE INDEX many_tags ON many USING gin (tags);
    CREATE INDEX many_expression ON many ((part || 'x'));
    CREATE UNIQUE INDEX many_partial ON many (part) WHERE part ~ 'x';
    CREATE VIEW seen AS SELECT id FROM parent;
"#;

const POSTGRES: [&str; 3] = ["wal_level=minimal", "max_wal_senders=0", "max_connections=40"];
const MYSQL: [&str; 6] = [
    "log-bin=binlog",
    "binlog-format=STATEMENT",
    "max-allowed-packet=1M",
    "init-connect=SET @x = 1",
    "max-user-connections=10",
    "sync-binlog=0",
];

/// What the run has to say, a part of each line.
const FOUND: &[&str] = &[
    // PostgreSQL
    "blocker: wal_level is minimal",
    "blocker: the database's encoding is not UTF8",
    "GRANT CREATE ON DATABASE",
    "warning: session_replication_role is replica for role \"worker\"",
    "warning: client_encoding is LATIN1 in this database",
    "warning: synchronous_commit is off for role \"worker\"",
    "warning: fsync is off on this server",
    "warning: PostgreSQL allows 40 connections, limits.max_connections 1000",
    "warning: the database allows 500 connections, limits.max_connections 1000",
    "GRANT SELECT ON pg_catalog.pg_authid",
    "warning: views are not carried over: seen",
    // MySQL
    "blocker: the user lacks privileges on the new database",
    "blocker: tables hold rows already: nicks",
    "blocker: binlog_format is STATEMENT",
    "blocker: table \"nicks\" has triggers on",
    "is read-only",
    "warning: innodb_flush_log_at_trx_commit is 0",
    "warning: sync_binlog is 0",
    "warning: init_connect is set",
    "warning: max_user_connections is 10",
    "warning: max_allowed_packet is 1048576 bytes",
    // tables
    "not migrated: keyless: it has no primary key",
    "not migrated: scratch: it is unlogged",
    "not migrated: late: its primary key is deferrable",
    "not migrated: parent: it takes part in table inheritance",
    "not migrated: child: it takes part in table inheritance",
    "not migrated: odd: types that MySQL has no equal for: p (point), words (tsvector)",
    "not migrated: spans: its key has a type that MySQL cannot compare: span (interval)",
    "not migrated: papers: its key has a type that MySQL cannot compare: doc (jsonb)",
    "not migrated: lists: its key has a type that MySQL cannot compare: list (integer[])",
    "not migrated: names: its key has a collation that is not deterministic: name (text)",
    "warning: nicks: unique column \"nick\" has a collation that is not deterministic",
    "blocker: long: its primary key is too long for MySQL",
    "blocker: twins: columns \"Name\" and \"name\" are one name to MySQL",
    "blocker: blank: column \"x \" has a name that MySQL does not allow",
    "is called \"a_b\" in MySQL, as is",
    "blocker: hidden: row-level security hides rows from Crossfade's role",
    "blocker: hidden: the role lacks SELECT, UPDATE, TRIGGER on it",
    "blocker: a.b: the role may not use its schema",
    "warning: ruled: captured by a trigger, since it has rules",
    "warning: fired: captured by a trigger, since it has triggers",
    "warning: ruled: has triggers or rules",
    "warning: fired: has triggers or rules",
    "warning: fired: constraint \"fired_x_check\" is left out",
    "warning: fired: constraint \"fired_y_excl\" is left out",
    "warning: cascades: captured by a trigger, since a foreign key's action changes its rows",
    "warning: cascades: foreign key \"cascades_up_fkey\" is deferrable in PostgreSQL",
    "warning: cascades: foreign key \"cascades_up_fkey\" has an action that InnoDB lacks",
    "warning: many: index \"many_tags\" is left out",
    "warning: many: index \"many_expression\" is left out",
    "warning: many: unique index \"many_partial\" is left out",
];

#[tokio::test]
async fn one_run_names_every_obstacle() {
    for target in Target::all() {
        let world = World::with_settings(target, &POSTGRES, &MYSQL).await;
        unfit_postgres(&world).await;
        unfit_mysql(&world).await;
        let (code, shown) = process::verb(&world.config, &["check"]);
        assert_eq!(code, Some(1), "{shown}");
        let missing: Vec<&&str> = FOUND.iter().filter(|part| !shown.contains(**part)).collect();
        assert!(missing.is_empty(), "{target:?}: {missing:#?} in\n{shown}");
        // What has an advice has it on the next line, and nothing was changed.
        assert!(shown.contains("ALTER TABLE \"public\".\"scratch\" SET LOGGED;"), "{shown}");
        let (code, refused) = process::verb(&world.config, &["setup"]);
        assert_eq!(code, Some(1), "{refused}");
        assert!(refused.contains("nothing was changed"), "{refused}");
    }
}

/// A database of another encoding, roles with harmful settings, and a role of ours with no rights.
async fn unfit_postgres(world: &World) {
    let (port, database) = (world.postgres_port(), &world.database);
    let password = crossfade::demo::servers::PASSWORD;
    let admin = connect(port, "postgres", password, "postgres").await;
    for sql in [
        format!("DROP DATABASE {database}"),
        format!(
            "CREATE DATABASE {database} OWNER app ENCODING 'LATIN1' LC_COLLATE 'C' LC_CTYPE 'C' \
             TEMPLATE template0 CONNECTION LIMIT 500"
        ),
        "CREATE ROLE worker".to_owned(),
        "ALTER ROLE worker SET session_replication_role = replica".to_owned(),
        "ALTER ROLE worker SET synchronous_commit = off".to_owned(),
        format!("ALTER DATABASE {database} SET client_encoding = 'LATIN1'"),
        "CREATE ROLE mover LOGIN PASSWORD 'secret'".to_owned(),
    ] {
        admin.batch_execute(&sql).await.unwrap();
    }
    world.direct().await.batch_execute(TABLES).await.unwrap();
    world.admin().await.batch_execute("REVOKE ALL ON SCHEMA a FROM PUBLIC").await.unwrap();
    world.log_in_as("mover", "secret");
}

/// Rows and a trigger where ours would go, a read-only server, and a user of ours with few rights.
async fn unfit_mysql(world: &World) {
    let mut root = world.secondary().await;
    let database = &world.database;
    for sql in [
        "CREATE TABLE nicks (id int PRIMARY KEY)".to_owned(),
        "INSERT INTO nicks VALUES (1)".to_owned(),
        "CREATE TRIGGER changes BEFORE INSERT ON nicks FOR EACH ROW SET NEW.id = 7".to_owned(),
        "CREATE USER mover@'%' IDENTIFIED BY 'secret'".to_owned(),
        format!("GRANT SELECT, INSERT, TRIGGER ON {database}.* TO mover@'%'"),
        "SET GLOBAL read_only = ON".to_owned(),
    ] {
        root.query_drop(&sql).await.unwrap_or_else(|error| panic!("{sql}: {error}"));
    }
    world.log_in_to_secondary_as("mover", "secret");
}
