//! Crossfade's own tables on PostgreSQL, its guard, and the triggers of tables captured by trigger.
//!
//! ```text
//! captured statement ─▶ crossfade.enter(…), .truncated(…) ─▶ outbox ◀─ crossfade.capture_<id>()
//!                                    └─ the same lock, the same turn ─┘        (trigger tables)
//! ```
//!
//! Everything is `CREATE … IF NOT EXISTS` or `CREATE OR REPLACE`, so that running it twice changes
//! nothing. Functions run as their owner, with a fixed `search_path` or with every name qualified, and
//! only they write the outbox: application roles may call them, and no more. All of it lives in one schema: dropping that schema takes the
//! triggers with it, and leaves nothing behind.
//!
//! An entry says that a key is to be read again, so a forged one costs work and no more. Of a TRUNCATE
//! that is not so: its entry is written by `crossfade.truncated`, which looks whether it is true.
//!
//! Invariant: while an entry is being written its transaction holds the advisory lock
//! ([`LOCK_CLASS`], [`LOCK_KEY`]) shared, and it was this side's turn when the lock was taken.

use tokio_postgres::{Client, Error};

use super::records;
use crate::catalog::Table;
use crate::names::{TableId, TableName, quote_pg};

/// Class of the advisory lock that captured writes share and a switchover takes alone.
pub const LOCK_CLASS: i32 = 0x4352_4f53;
/// Its number.
pub const LOCK_KEY: i32 = 1;

/// Raised by the guard where the epoch is another, or it is MySQL's turn.
pub const STALE_EPOCH: &str = "CF001";
/// Raised by the guard where the server is on another timeline: it was promoted.
pub const STALE_TIMELINE: &str = "CF002";

/// The trigger's name on every table that has one.
pub const TRIGGER: &str = "crossfade_capture";
/// The trigger for TRUNCATE.
pub const TRUNCATE_TRIGGER: &str = "crossfade_capture_truncate";

/// What there is of ours where dual writes have begun.
const RELATIONS: [&str; 5] = [
    "crossfade.epoch",
    "crossfade.outbox",
    "crossfade.settings",
    "crossfade.sidecars",
    "crossfade.tables",
];

/// The name of the role that the schema belongs to, where that is neither ours nor a superuser; NULL
/// otherwise. Whoever owns it can replace what is in it, and would have us run that.
pub const STRANGER: &str = "(SELECT r.rolname::pg_catalog.text FROM pg_catalog.pg_namespace n \
     JOIN pg_catalog.pg_roles r ON r.oid = n.nspowner \
     WHERE n.nspname = 'crossfade' AND NOT r.rolsuper AND r.rolname <> current_user)";

/// How much of it there is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Presence {
    /// Never set up, or abandoned.
    Absent,
    Complete,
    /// Someone dropped these. Writes must go on to fail: taken for absent, they would be lost.
    Damaged(String),
    /// Something is there, in a schema that belongs to this role: see [`STRANGER`].
    Foreign(String),
}

/// Marks the owner among what [`Presence::question`] asks for; no relation of ours is called so.
const OWNER: &str = "owner ";

impl Presence {
    /// The expression whose value [`Self::new`] takes.
    #[must_use]
    pub fn question() -> String {
        format!(
            "ARRAY(SELECT name FROM pg_catalog.unnest(ARRAY['{}']) name \
             WHERE pg_catalog.to_regclass(name) IS NULL UNION ALL \
             SELECT '{OWNER}' || owner FROM {STRANGER} AS stranger (owner) ORDER BY 1)",
            RELATIONS.join("', '")
        )
    }

    #[must_use]
    pub fn new(missing: &[String]) -> Self {
        let stranger = missing.iter().find_map(|name| name.strip_prefix(OWNER));
        match (missing.len() - usize::from(stranger.is_some()), stranger) {
            (all, _) if all == RELATIONS.len() => Self::Absent,
            (_, Some(owner)) => Self::Foreign(owner.to_owned()),
            (0, None) => Self::Complete,
            _ => Self::Damaged(missing.join(", ")),
        }
    }
}

/// Records the version of the tables, `3:2`, where none or an earlier one is.
#[must_use]
pub fn record_layout(layout: &str) -> String {
    format!(
        "INSERT INTO crossfade.settings AS s (key, value) VALUES ('layout', '{layout}') \
         ON CONFLICT (key) DO UPDATE SET value = excluded.value \
         WHERE pg_catalog.split_part(s.value, ':', 1)::pg_catalog.int8 \
           < pg_catalog.split_part(excluded.value, ':', 1)::pg_catalog.int8"
    )
}

/// Creates the schema; needs CREATE on the database, also where the schema is there already.
pub const SCHEMA: &str = "CREATE SCHEMA IF NOT EXISTS crossfade";

/// Fills the schema. Runs in one transaction; running it again changes nothing.
///
/// The epoch is a sequence because reading one is not bound to a snapshot. It holds twice the
/// epoch, plus one while MySQL is the primary, so that phase and epoch cannot disagree.
pub const DDL: &str = r#"
DO $owner$
BEGIN
    IF OWNED_BY_A_STRANGER IS NOT NULL THEN
        RAISE EXCEPTION 'another role owns the schema crossfade';
    END IF;
END
$owner$;

CREATE SEQUENCE IF NOT EXISTS crossfade.epoch AS bigint MINVALUE 0 START WITH 2 NO CYCLE;
CREATE SEQUENCE IF NOT EXISTS crossfade.outbox_id AS bigint CACHE 1 NO CYCLE;

CREATE TABLE IF NOT EXISTS crossfade.outbox (
    id         bigint PRIMARY KEY DEFAULT pg_catalog.nextval('crossfade.outbox_id'),
    table_id   integer NOT NULL,
    op         "char" NOT NULL,
    key        bytea,
    epoch      bigint NOT NULL,
    counter    bigint NOT NULL,
    n          integer NOT NULL DEFAULT 0,
    at         timestamptz NOT NULL DEFAULT pg_catalog.clock_timestamp(),
    attempts   integer NOT NULL DEFAULT 0,
    last_error text,
    next_try   timestamptz
) WITH (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 1000,
        autovacuum_vacuum_insert_scale_factor = 0, autovacuum_vacuum_insert_threshold = 100000,
        autovacuum_analyze_scale_factor = 0, autovacuum_analyze_threshold = 10000,
        autovacuum_vacuum_cost_delay = 0, fillfactor = 90);

CREATE TABLE IF NOT EXISTS crossfade.tables (
    id           integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    schema       text NOT NULL,
    name         text NOT NULL,
    capture      text NOT NULL,
    target       text NOT NULL,
    dirty_reason text,
    dirty_since  timestamptz,
    UNIQUE (schema, name)
);

CREATE TABLE IF NOT EXISTS crossfade.sidecars (
    id          text PRIMARY KEY,
    address     text NOT NULL,
    epoch       bigint NOT NULL,
    version     text NOT NULL,
    started_at  timestamptz NOT NULL DEFAULT pg_catalog.now(),
    lease_ms    bigint NOT NULL,
    lease_until timestamptz NOT NULL,
    beat        bigint NOT NULL DEFAULT 0,
    written     bigint[] NOT NULL DEFAULT '{}',
    buried      boolean NOT NULL DEFAULT false
);
ALTER TABLE crossfade.sidecars ADD COLUMN IF NOT EXISTS beat bigint NOT NULL DEFAULT 0,
    ADD COLUMN IF NOT EXISTS written bigint[] NOT NULL DEFAULT '{}',
    ADD COLUMN IF NOT EXISTS version text NOT NULL DEFAULT '',
    ADD COLUMN IF NOT EXISTS lease_ms bigint NOT NULL DEFAULT 0,
    ADD COLUMN IF NOT EXISTS buried boolean NOT NULL DEFAULT false;

CREATE TABLE IF NOT EXISTS crossfade.dirty_keys (
    table_id integer NOT NULL,
    key_hash bytea NOT NULL,
    key      bytea NOT NULL,
    kind     text NOT NULL,
    found_at timestamptz NOT NULL DEFAULT pg_catalog.now(),
    PRIMARY KEY (table_id, key_hash)
);

RECORDS

-- Who tried to change the primary, and how far each sidecar came: see `control::switchover`.
CREATE TABLE IF NOT EXISTS crossfade.attempts (
    id        bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    direction text NOT NULL CHECK (direction IN ('switchover', 'rollback')),
    epoch     bigint NOT NULL,
    state     text NOT NULL CHECK (state IN ('announced', 'held', 'done', 'undone', 'refused')),
    terminate boolean NOT NULL,
    started   timestamptz NOT NULL DEFAULT pg_catalog.clock_timestamp(),
    deadline  timestamptz NOT NULL,
    ended     timestamptz,
    reasons   text[] NOT NULL DEFAULT '{}'
);
CREATE UNIQUE INDEX IF NOT EXISTS attempts_one ON crossfade.attempts ((true))
    WHERE state IN ('announced', 'held');
CREATE TABLE IF NOT EXISTS crossfade.attempt_sidecars (
    attempt   bigint NOT NULL,
    sidecar   text NOT NULL,
    announced timestamptz NOT NULL DEFAULT pg_catalog.clock_timestamp(),
    held      timestamptz,
    drained   timestamptz,
    flipped   timestamptz,
    resumed   timestamptz,
    obstacles text[] NOT NULL DEFAULT '{}',
    PRIMARY KEY (attempt, sidecar)
);

CREATE TABLE IF NOT EXISTS crossfade.settings (
    key   text PRIMARY KEY,
    value text NOT NULL
);

CREATE OR REPLACE FUNCTION crossfade.guard(expected bigint, timeline text) RETURNS bigint
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $guard$
DECLARE
    state bigint;
BEGIN
    PERFORM pg_advisory_xact_lock_shared(LOCK_CLASS, LOCK_KEY);
    SELECT last_value INTO state FROM crossfade.epoch;
    IF state <> expected * 2 THEN
        RAISE EXCEPTION USING ERRCODE = 'CF001',
            MESSAGE = 'the migration has moved on to another epoch';
    END IF;
    IF substr(pg_walfile_name(pg_current_wal_insert_lsn()), 1, 8) <> timeline THEN
        RAISE EXCEPTION USING ERRCODE = 'CF002', MESSAGE = 'the server is on another timeline';
    END IF;
    IF current_setting('synchronous_commit') = 'off' THEN
        PERFORM set_config('synchronous_commit', 'on', true);
    END IF;
    RETURN expected;
END
$guard$;

CREATE OR REPLACE FUNCTION crossfade.trigger_guard() RETURNS bigint
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $guard$
DECLARE
    state bigint;
BEGIN
    PERFORM pg_advisory_xact_lock_shared(LOCK_CLASS, LOCK_KEY);
    SELECT last_value INTO state FROM crossfade.epoch;
    -- What Crossfade itself carries here is not captured, of all tables or of those that MySQL leads.
    IF session_user = current_user AND current_setting('crossfade.follows', true) = 'on' THEN
        RETURN NULL;
    END IF;
    IF state % 2 = 1 THEN
        IF session_user = current_user THEN
            RETURN NULL;
        END IF;
        RAISE EXCEPTION USING ERRCODE = 'CF001', MESSAGE = 'this database is not the primary';
    END IF;
    IF current_setting('synchronous_commit') = 'off' THEN
        PERFORM set_config('synchronous_commit', 'on', true);
    END IF;
    RETURN state / 2;
END
$guard$;

-- Every captured statement calls this for each of its rows, so it has to be cheap: expressions
-- instead of queries, and no SET clause, which would be applied and undone at each call. Hence every
-- name and operator is qualified: the caller's search_path means nothing here.
CREATE OR REPLACE FUNCTION crossfade.enter(
    entered_table integer, entered_op "char", entered_key bytea, expected bigint, timeline text
) RETURNS bigint LANGUAGE plpgsql VOLATILE SECURITY DEFINER AS $enter$
DECLARE
    entry bigint;
BEGIN
    IF pg_catalog.pg_advisory_xact_lock_shared(LOCK_CLASS, LOCK_KEY) IS NULL
        OR COALESCE(pg_catalog.pg_sequence_last_value('crossfade.epoch'::pg_catalog.regclass), 2)
            OPERATOR(pg_catalog.<>) (expected OPERATOR(pg_catalog.*) 2::bigint)
    THEN
        RAISE EXCEPTION USING ERRCODE = 'CF001',
            MESSAGE = 'the migration has moved on to another epoch';
    END IF;
    IF pg_catalog.substr(pg_catalog.pg_walfile_name(pg_catalog.pg_current_wal_insert_lsn()), 1, 8)
        OPERATOR(pg_catalog.<>) timeline
    THEN
        RAISE EXCEPTION USING ERRCODE = 'CF002', MESSAGE = 'the server is on another timeline';
    END IF;
    IF pg_catalog.current_setting('synchronous_commit') OPERATOR(pg_catalog.=) 'off' THEN
        PERFORM pg_catalog.set_config('synchronous_commit', 'on', true);
    END IF;
    -- What no captured statement says: without a key it would stand for the whole table, and of
    -- another letter nobody would ever take it up.
    IF entered_key IS NULL OR entered_op OPERATOR(pg_catalog.<>) 'I'::pg_catalog."char"
        AND entered_op OPERATOR(pg_catalog.<>) 'U'::pg_catalog."char"
        AND entered_op OPERATOR(pg_catalog.<>) 'D'::pg_catalog."char"
    THEN
        RAISE EXCEPTION USING ERRCODE = 'invalid_parameter_value',
            MESSAGE = 'an entry is about one row';
    END IF;
    entry := pg_catalog.nextval('crossfade.outbox_id'::pg_catalog.regclass);
    INSERT INTO crossfade.outbox (id, table_id, op, key, epoch, counter) VALUES (
        entry, entered_table, entered_op, entered_key, expected,
        pg_catalog.pg_wal_lsn_diff(pg_catalog.pg_current_wal_insert_lsn(), '0/0')::bigint
    );
    RETURN entry;
END
$enter$;

-- A 'T' empties the secondary's table, so only what has emptied this one writes it: our functions.
DO $once$
BEGIN
    IF NOT EXISTS (SELECT FROM pg_catalog.pg_constraint k WHERE k.conname = 'outbox_truncate'
                   AND k.conrelid = 'crossfade.outbox'::pg_catalog.regclass) THEN
        ALTER TABLE crossfade.outbox ADD CONSTRAINT outbox_truncate CHECK (op <> 'T'
            OR pg_catalog.has_table_privilege('crossfade.outbox', 'DELETE')) NOT VALID;
    END IF;
END
$once$;

CREATE OR REPLACE FUNCTION crossfade.truncated(ids integer[], expected bigint, timeline text)
RETURNS TABLE (entered integer, entry bigint, lsn bigint)
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $truncated$
DECLARE
    turn bigint := crossfade.guard(expected, timeline);
    truncated record;
BEGIN
    FOR truncated IN SELECT t.id, t.capture, to_regclass(format('%I.%I', t.schema, t.name)) AS oid
                     FROM crossfade.tables t WHERE t.id = ANY (ids) ORDER BY t.id LOOP
        -- Locked by this transaction, so that nobody else writes it, and without a single page in
        -- any partition: empty for every snapshot, not just for this one.
        IF truncated.oid IS NULL
            OR NOT EXISTS (SELECT FROM pg_locks l WHERE l.locktype = 'relation' AND l.granted
                AND l.pid = pg_backend_pid() AND l.mode = 'AccessExclusiveLock'
                AND l.relation = truncated.oid AND l.database = (SELECT d.oid FROM pg_database d
                    WHERE d.datname = current_database()))
            OR 0 < pg_relation_size(truncated.oid)
            OR 0 < (SELECT sum(pg_relation_size(p.relid)) FROM pg_partition_tree(truncated.oid) p)
        THEN
            -- Another trigger may have filled it again; ours has written its entry already.
            CONTINUE WHEN truncated.capture = 'trigger';
            RAISE EXCEPTION USING ERRCODE = 'insufficient_privilege',
                MESSAGE = 'this transaction has not emptied the table';
        END IF;
        INSERT INTO crossfade.outbox (table_id, op, epoch, counter) VALUES (truncated.id, 'T', turn,
            pg_wal_lsn_diff(pg_current_wal_insert_lsn(), '0/0')::bigint)
        RETURNING outbox.table_id, outbox.id, outbox.counter INTO entered, entry, lsn;
        RETURN NEXT;
    END LOOP;
END
$truncated$;

REVOKE ALL ON FUNCTION crossfade.guard(bigint, text), crossfade.trigger_guard(),
    crossfade.enter(integer, "char", bytea, bigint, text),
    crossfade.truncated(integer[], bigint, text) FROM PUBLIC;
"#;

/// [`SCHEMA`] and [`DDL`] with the lock's numbers filled in.
#[must_use]
pub fn ddl() -> String {
    format!("{SCHEMA};\n{}", tables())
}

/// [`DDL`] with the lock's numbers filled in.
#[must_use]
pub fn tables() -> String {
    DDL.replace("LOCK_CLASS", &LOCK_CLASS.to_string())
        .replace("LOCK_KEY", &LOCK_KEY.to_string())
        .replace("OWNED_BY_A_STRANGER", STRANGER)
        .replace("RECORDS", &records::ALL.map(|record| format!("{};", record.create)).join("\n\n"))
}

/// Removes everything of ours, triggers included.
pub const DROP: &str = "DROP SCHEMA IF EXISTS crossfade CASCADE";

/// What a role (already quoted, or `PUBLIC`) needs to write captured tables.
#[must_use]
pub fn grants(role: &str) -> Vec<String> {
    vec![
        format!("GRANT USAGE ON SCHEMA crossfade TO {role}"),
        format!("GRANT EXECUTE ON FUNCTION crossfade.guard(bigint, text) TO {role}"),
        format!(
            "GRANT EXECUTE ON FUNCTION \
             crossfade.enter(integer, \"char\", bytea, bigint, text) TO {role}"
        ),
        format!("GRANT EXECUTE ON FUNCTION crossfade.truncated(integer[], bigint, text) TO {role}"),
    ]
}

/// Everything that makes a table captured by trigger.
#[must_use]
pub fn trigger(table: &Table, id: TableId, always: bool) -> Vec<String> {
    let mut statements = trigger_function(table, id);
    statements.extend(triggers(table, id, always));
    statements
}

/// The function that writes a table's outbox entries. Replacing it locks no table.
#[must_use]
pub fn trigger_function(table: &Table, id: TableId) -> Vec<String> {
    let revoke = format!("REVOKE ALL ON FUNCTION crossfade.capture_{id}() FROM PUBLIC");
    vec![function_body(table, id), revoke]
}

/// The triggers that call it.
///
/// A row trigger on a partitioned table is cloned to its partitions, and the entries bear the root's
/// number wherever the row was. `always`: changes that logical replication applies are changes too,
/// and its sessions fire only such triggers; it takes the table's owner. The rest takes no more than
/// TRIGGER on the table: replacing a trigger, unlike dropping it, is not the owner's privilege.
#[must_use]
pub fn triggers(table: &Table, id: TableId, always: bool) -> Vec<String> {
    let name = table.name.quoted();
    let function = format!("crossfade.capture_{id}()");
    let mut statements = vec![
        format!(
            "CREATE OR REPLACE TRIGGER {TRIGGER} AFTER INSERT OR UPDATE OR DELETE ON {name} \
             FOR EACH ROW EXECUTE FUNCTION {function}"
        ),
        format!(
            "CREATE OR REPLACE TRIGGER {TRUNCATE_TRIGGER} AFTER TRUNCATE ON {name} \
             FOR EACH STATEMENT EXECUTE FUNCTION {function}"
        ),
    ];
    if always {
        statements.extend(
            [TRIGGER, TRUNCATE_TRIGGER]
                .map(|trigger| format!("ALTER TABLE {name} ENABLE ALWAYS TRIGGER {trigger}")),
        );
    }
    statements
}

/// Takes a table's trigger off again. Dropping the function rather than the triggers needs no
/// ownership of the table.
#[must_use]
pub fn drop_trigger(id: TableId) -> String {
    format!("DROP FUNCTION IF EXISTS crossfade.capture_{id}() CASCADE")
}

/// Old and new keys are compared by their types' own equality (`record_eq`), not by `=`, which
/// an empty `search_path` would not find for types of extensions. A key that only changed its
/// spelling (1.0 to 1.00) is one key and gets one entry.
fn function_body(table: &Table, id: TableId) -> String {
    let row = |which: &str| {
        let columns =
            table.key_columns().map(|column| format!("{which}.{}", quote_pg(&column.name)));
        format!("ROW({})", columns.collect::<Vec<_>>().join(", "))
    };
    let (old, new) = (row("OLD"), row("NEW"));
    let enter = |op: &str, key: &str| {
        format!(
            "INSERT INTO crossfade.outbox (table_id, op, key, epoch, counter) VALUES ({id}, '{op}', \
             {key}, turn, pg_wal_lsn_diff(pg_current_wal_insert_lsn(), '0/0')::bigint);"
        )
    };
    let send = |row: &str| format!("record_send({row})");
    format!(
        "CREATE OR REPLACE FUNCTION crossfade.capture_{id}() RETURNS trigger \
         LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $capture$\n\
         DECLARE\n    turn bigint := crossfade.trigger_guard();\nBEGIN\n    \
         IF turn IS NULL THEN\n        RETURN NULL;\n    END IF;\n    \
         CASE TG_OP\n    \
         WHEN 'INSERT' THEN\n        {}\n    \
         WHEN 'UPDATE' THEN\n        \
         IF NOT record_eq({old}, {new}) THEN\n            {}\n        END IF;\n        {}\n    \
         WHEN 'DELETE' THEN\n        {}\n    \
         WHEN 'TRUNCATE' THEN\n        {}\n    \
         END CASE;\n    RETURN NULL;\nEND\n$capture$",
        enter("I", &send(&new)),
        enter("D", &send(&old)),
        enter("U", &send(&new)),
        enter("D", &send(&old)),
        enter("T", "NULL"),
    )
}

/// Notes durably that the two sides of some tables may differ. The first reason stays.
pub async fn mark_dirty(client: &Client, tables: &[TableName], reason: &str) -> Result<u64, Error> {
    let schemas: Vec<&str> = tables.iter().map(TableName::schema).collect();
    let names: Vec<&str> = tables.iter().map(TableName::name).collect();
    let statement = "UPDATE crossfade.tables t SET dirty_reason = coalesce(t.dirty_reason, $3), \
         dirty_since = coalesce(t.dirty_since, pg_catalog.now()) \
         FROM unnest($1::text[], $2::text[]) m(schema, name) \
         WHERE t.schema = m.schema AND t.name = m.name";
    client.execute(statement, &[&schemas, &names, &reason]).await
}

/// Marks every table: what the outbox held is not known any more.
pub const OUTBOX_LOST: &str = "UPDATE crossfade.tables t \
     SET dirty_reason = coalesce(t.dirty_reason, 'outbox_lost'), \
       dirty_since = coalesce(t.dirty_since, pg_catalog.now())";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalog::Catalog;
    use expect_test::expect;

    #[test]
    fn a_trigger_writes_one_entry_for_each_key_that_it_touches() {
        let catalog = Catalog::for_test(&[("auth.users", "tenant:uuid*,id:int4*,x:text")]);
        let table = catalog.by_id(TableId(1)).unwrap();
        let statements = trigger(table, TableId(1), true);
        expect![[r#"
            CREATE OR REPLACE FUNCTION crossfade.capture_1() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $capture$
            DECLARE
                turn bigint := crossfade.trigger_guard();
            BEGIN
                IF turn IS NULL THEN
                    RETURN NULL;
                END IF;
                CASE TG_OP
                WHEN 'INSERT' THEN
                    INSERT INTO crossfade.outbox (table_id, op, key, epoch, counter) VALUES (1, 'I', record_send(ROW(NEW."tenant", NEW."id")), turn, pg_wal_lsn_diff(pg_current_wal_insert_lsn(), '0/0')::bigint);
                WHEN 'UPDATE' THEN
                    IF NOT record_eq(ROW(OLD."tenant", OLD."id"), ROW(NEW."tenant", NEW."id")) THEN
                        INSERT INTO crossfade.outbox (table_id, op, key, epoch, counter) VALUES (1, 'D', record_send(ROW(OLD."tenant", OLD."id")), turn, pg_wal_lsn_diff(pg_current_wal_insert_lsn(), '0/0')::bigint);
                    END IF;
                    INSERT INTO crossfade.outbox (table_id, op, key, epoch, counter) VALUES (1, 'U', record_send(ROW(NEW."tenant", NEW."id")), turn, pg_wal_lsn_diff(pg_current_wal_insert_lsn(), '0/0')::bigint);
                WHEN 'DELETE' THEN
                    INSERT INTO crossfade.outbox (table_id, op, key, epoch, counter) VALUES (1, 'D', record_send(ROW(OLD."tenant", OLD."id")), turn, pg_wal_lsn_diff(pg_current_wal_insert_lsn(), '0/0')::bigint);
                WHEN 'TRUNCATE' THEN
                    INSERT INTO crossfade.outbox (table_id, op, key, epoch, counter) VALUES (1, 'T', NULL, turn, pg_wal_lsn_diff(pg_current_wal_insert_lsn(), '0/0')::bigint);
                END CASE;
                RETURN NULL;
            END
            $capture$;
            REVOKE ALL ON FUNCTION crossfade.capture_1() FROM PUBLIC;
            CREATE OR REPLACE TRIGGER crossfade_capture AFTER INSERT OR UPDATE OR DELETE ON "auth"."users" FOR EACH ROW EXECUTE FUNCTION crossfade.capture_1();
            CREATE OR REPLACE TRIGGER crossfade_capture_truncate AFTER TRUNCATE ON "auth"."users" FOR EACH STATEMENT EXECUTE FUNCTION crossfade.capture_1();
            ALTER TABLE "auth"."users" ENABLE ALWAYS TRIGGER crossfade_capture;
            ALTER TABLE "auth"."users" ENABLE ALWAYS TRIGGER crossfade_capture_truncate
        "#]].assert_eq(&(statements.join(";\n") + "\n"));
    }

    #[test]
    fn the_lock_is_written_into_the_guards() {
        assert!(!ddl().contains("LOCK_"));
    }
}
