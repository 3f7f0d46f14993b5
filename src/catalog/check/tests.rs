//! Every obstacle, as `check` prints it.

use super::*;
use crate::catalog::Capture;
use crate::names::TableName;
use crate::policy::TypeChoices;
use expect_test::{Expect, expect};
use std::sync::Arc;

fn primary(catalog: &Catalog) -> PrimaryFacts {
    let all = Rights {
        usage: true,
        select: true,
        update: true,
        trigger: true,
        insert: true,
        delete: true,
        owner: true,
    };
    PrimaryFacts {
        version: 150_000,
        wal_level: "replica".to_owned(),
        encoding: "UTF8".to_owned(),
        collation: "C.UTF-8".to_owned(),
        role: "crossfade".to_owned(),
        superuser: true,
        bypasses_row_security: true,
        reads_verifiers: true,
        follows: true,
        owns_schema: true,
        schema_stranger: None,
        database: "auth".to_owned(),
        max_connections: 2000,
        rights: catalog.tables.keys().map(|oid| (*oid, all)).collect(),
        ..PrimaryFacts::default()
    }
}

fn secondary() -> SecondaryFacts {
    SecondaryFacts {
        flavor: Flavor::MariaDb,
        version: "10.11.6-MariaDB".to_owned(),
        database: "auth".to_owned(),
        user: "'crossfade'@'%'".to_owned(),
        set_up: false,
        filled: Vec::new(),
        max_connections: 150,
        read_only: false,
        max_allowed_packet: 64 << 20,
        page_size: 16 << 10,
        lower_case_table_names: 0,
        missing: Vec::new(),
        settings: HashMap::new(),
        triggers: Vec::new(),
    }
}

#[track_caller]
fn verify(
    tables: &[(&str, &str)],
    change: impl FnOnce(&mut Catalog, &mut PrimaryFacts, &mut SecondaryFacts, &mut Circumstances),
    expected: &Expect,
) {
    let mut catalog = Catalog::for_test(tables);
    let (mut primary, mut secondary) = (primary(&catalog), secondary());
    let mut circumstances = Circumstances::default();
    change(&mut catalog, &mut primary, &mut secondary, &mut circumstances);
    let circumstances = catalog.tables.keys().map(|oid| (*oid, circumstances.clone())).collect();
    let wanted =
        Wanted { connections: 1000, workers: 4, strict: 16, types: TypeChoices::default() };
    let found = check(&catalog, &circumstances, &primary, Some(&secondary), wanted);
    expected.assert_eq(&found.iter().map(|obstacle| format!("{obstacle}\n")).collect::<String>());
}

#[test]
fn two_sound_servers_and_a_plain_table_have_none() {
    verify(&[("users", "id:int4*")], |_, _, _, _| (), &expect![[""]]);
}

#[test]
fn every_obstacle_of_the_servers_is_listed_at_once() {
    verify(
        &[("users", "id:int4*")],
        |_, primary, secondary, _| {
            primary.version = 120_000;
            primary.wal_level = "minimal".to_owned();
            primary.encoding = "LATIN1".to_owned();
            primary.collation = "de_DE.UTF-8".to_owned();
            primary.max_connections = 100;
            primary.reads_verifiers = false;
            primary.follows = false;
            primary.owns_schema = false;
            let of = |name: &str, value: &str, scope| Setting {
                name: name.to_owned(),
                value: value.to_owned(),
                scope,
            };
            primary.settings = vec![
                of("client_encoding", "UTF8", Scope::Server),
                of("client_encoding", "LATIN1", Scope::Role("old".to_owned())),
                of("session_replication_role", "replica", Scope::Database),
                of("fsync", "off", Scope::Server),
            ];
            primary.database_connections = Some(50);
            primary.recorded_types = Some("uuid=binary jsonb=text".to_owned());
            secondary.version = "10.6.1-MariaDB".to_owned();
            secondary.filled = vec!["users".to_owned()];
            secondary.missing = vec!["CREATE".to_owned(), "ALTER".to_owned()];
            secondary.read_only = true;
            secondary.max_allowed_packet = 1 << 20;
            secondary.max_connections = 5;
            secondary.triggers = vec![("users".to_owned(), true)];
            let settings =
                [("log_bin", "ON"), ("binlog_format", "STATEMENT"), ("sync_binlog", "0")];
            secondary.settings =
                settings.map(|(name, value)| (name.to_owned(), value.to_owned())).into();
        },
        &expect![[r#"
            blocker: MariaDB is older than 10.10.0
                Upgrade MariaDB.
            blocker: MariaDB is read-only
                Let to.url name a server that takes writes.
            blocker: PostgreSQL is older than 14
                Upgrade PostgreSQL.
            blocker: binlog_format is STATEMENT
                SET GLOBAL binlog_format = 'ROW';  InnoDB refuses writes under READ COMMITTED otherwise.
            blocker: session_replication_role is replica in this database
                ALTER DATABASE "auth" RESET session_replication_role;  No trigger fires there: what triggers capture is not captured.
            blocker: table "users" has triggers on MariaDB
                Drop them until switchover: they may change the values that are written.
            blocker: tables hold rows already: users
                Empty them or name another database in to.url: what is there would be taken for what PostgreSQL has.
            blocker: the database's encoding is not UTF8
                Crossfade carries text as UTF-8; move to a database with ENCODING 'UTF8'.
            blocker: the role may not create the schema "crossfade"
                GRANT CREATE ON DATABASE "auth" TO "crossfade";  or  CREATE SCHEMA crossfade AUTHORIZATION "crossfade";
            blocker: the user lacks privileges on the new database
                GRANT CREATE, ALTER ON `auth`.* TO 'crossfade'@'%';
            blocker: types.jsonb is "json", but the tables on MySQL were made with "text"
                Set it back to "text": MySQL cannot turn the one into the other without changing values that are written meanwhile.
            blocker: types.uuid is "char", but the tables on MySQL were made with "binary"
                Set it back to "binary": MySQL cannot turn the one into the other without changing values that are written meanwhile.
            blocker: wal_level is minimal
                Set wal_level = replica in postgresql.conf and restart: changes that are not in the log have no order.
            warning: MariaDB allows 5 connections
                Raise max_connections, or lower limits.workers from 4 and limits.strict from 16.
            warning: PostgreSQL allows 100 connections, limits.max_connections 1000
                Lower limits.max_connections or raise max_connections: a client too many is refused by PostgreSQL with 53300, as without Crossfade.
            warning: client_encoding is LATIN1 for role "old"
                ALTER ROLE "old" RESET client_encoding;  What such sessions write is not captured: it is counted, and its table marked dirty.
            warning: fsync is off on this server
                ALTER SYSTEM RESET fsync;  A crash may take back rows that MySQL has.
            warning: max_allowed_packet is 1048576 bytes
                A larger row stays in the outbox; raise it to the size of your largest rows.
            warning: sync_binlog is 0
                Set it to 1: after a crash MySQL would lack rows that it had confirmed, and nothing would bring them again.
            warning: the database allows 50 connections, limits.max_connections 1000
                ALTER DATABASE "auth" CONNECTION LIMIT -1;  or lower limits.max_connections.
            warning: the database sorts text by "de_DE.UTF-8", MySQL will by code point
                Nothing to do before switchover; afterwards ORDER BY and comparisons of text may order differently.
            warning: the role may not follow: session_replication_role is not its to set
                Needed for a switchover, after which PostgreSQL is the secondary: GRANT SET ON PARAMETER session_replication_role TO "crossfade";  before PostgreSQL 15 only a superuser may.
            warning: the role may not read pg_authid
                Needed for a switchover, since MySQL's end checks passwords itself, and where both legs use TLS and clients log in by SCRAM: GRANT SELECT ON pg_catalog.pg_authid TO "crossfade";  or list the verifiers under listen.users.
        "#]],
    );
}

#[test]
fn every_obstacle_of_a_table_is_listed_with_its_grant() {
    verify(
        &[("auth.users", "id:int4*"), ("auth_users", "id:int4*,Name:text,name:text")],
        |_, primary, _, circumstances| {
            let none = Rights {
                usage: false,
                select: false,
                update: false,
                trigger: false,
                insert: false,
                delete: false,
                owner: false,
            };
            primary.rights.values_mut().for_each(|rights| *rights = none);
            primary.superuser = false;
            primary.bypasses_row_security = false;
            circumstances.row_security = true;
        },
        &expect![[r#"
            blocker: auth.users: is called "auth_users" in MySQL, as is auth_users
                Rename one of them, or set `mode: off` for it.
            blocker: auth.users: row-level security hides rows from Crossfade's role
                ALTER ROLE "crossfade" BYPASSRLS;
            blocker: auth.users: the role lacks SELECT, UPDATE, TRIGGER on it
                GRANT SELECT, UPDATE, TRIGGER ON "auth"."users" TO "crossfade";
            blocker: auth.users: the role may not use its schema
                GRANT USAGE ON SCHEMA "auth" TO "crossfade";
            blocker: auth_users: columns "Name" and "name" are one name to MySQL, which ignores case
                Rename one of them.
            blocker: auth_users: row-level security hides rows from Crossfade's role
                ALTER ROLE "crossfade" BYPASSRLS;
            blocker: auth_users: the role lacks SELECT, UPDATE, TRIGGER on it
                GRANT SELECT, UPDATE, TRIGGER ON "public"."auth_users" TO "crossfade";
            blocker: auth_users: the role may not use its schema
                GRANT USAGE ON SCHEMA "public" TO "crossfade";
            warning: auth.users: captured by a trigger, since it has row-level security
            warning: auth.users: changes that logical replication applies here are not captured
                Only where something replicates into it: as its owner, ALTER TABLE "auth"."users" ENABLE ALWAYS TRIGGER crossfade_capture;
            warning: auth.users: the role lacks INSERT, DELETE on it
                Needed for a switchover, after which PostgreSQL is the secondary: GRANT INSERT, DELETE ON "auth"."users" TO "crossfade";
            warning: auth_users: captured by a trigger, since it has row-level security
            warning: auth_users: changes that logical replication applies here are not captured
                Only where something replicates into it: as its owner, ALTER TABLE "public"."auth_users" ENABLE ALWAYS TRIGGER crossfade_capture;
            warning: auth_users: the role lacks INSERT, DELETE on it
                Needed for a switchover, after which PostgreSQL is the secondary: GRANT INSERT, DELETE ON "public"."auth_users" TO "crossfade";
        "#]],
    );
}

#[test]
fn tables_that_cannot_be_captured_say_why() {
    verify(
        &[("keyless", "a:int4"), ("long", "a:varchar(700)*,b:varchar(700)*")],
        |catalog, _, _, _| {
            let keyless = catalog.by_name(&TableName::parse("keyless")).unwrap();
            let mut table = (**keyless).clone();
            table.capture = Capture::Impossible("no_primary_key");
            catalog.tables.insert(table.oid, Arc::new(table));
        },
        &expect![[r#"
            blocker: long: its primary key is too long for MySQL, or of a type that cannot be one
                Shorten the key's columns to 768 characters in all, or set `mode: off` for it.
            not migrated: keyless: it has no primary key
                ALTER TABLE "public"."keyless" ADD PRIMARY KEY (…);  or set `mode: off` for it.
        "#]],
    );
}
