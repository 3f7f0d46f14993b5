//! What keeps everybody but Crossfade from writing to PostgreSQL while MySQL is the primary.
//!
//! ```text
//! any writer ──statement──▶ crossfade_refuse ──the lock, shared──▶ whose turn? ─┬─ PostgreSQL's: it goes on
//!                                                                 MySQL's: 25006 ┴─ but for our own role
//! ```
//!
//! The trigger is on every captured table and on each of its partitions, since a statement fires those
//! of the table that it names. It is ENABLE ALWAYS where the table is ours to change, so that it meets
//! appliers of logical replication too. Making it takes a lock that waits for every transaction that
//! has written to the table: whoever writes after that has met it.
//!
//! Where only some tables move, theirs has the epoch from which it refuses as its argument; that the lead of
//! all of them is back is said by a sequence, `crossfade.returned`, which no snapshot hides either.
//!
//! Invariant: once the trigger is on a table, whoever holds the lock ([`LOCK_CLASS`], [`LOCK_KEY`])
//! alone knows that every write to it is over, or is still to be judged.

use tokio_postgres::{Client, Error, GenericClient};

use super::control::{LOCK_CLASS, LOCK_KEY};
use crate::names::Oid;

/// The trigger's name.
pub const TRIGGER: &str = "crossfade_refuse";
/// `read_only_sql_transaction`.
pub const SQLSTATE: &str = "25006";

/// Longest that making a trigger keeps others waiting behind it.
const LOCK_WAIT: &str = "SET LOCAL lock_timeout = '1s'";
/// Taking the triggers off again is in no hurry.
const DROP_WAIT: &str = "SET LOCAL lock_timeout = '20ms'";

const FUNCTION: &str = "\
CREATE SEQUENCE IF NOT EXISTS crossfade.returned MINVALUE 0;
CREATE OR REPLACE FUNCTION crossfade.refuse() RETURNS trigger
LANGUAGE plpgsql VOLATILE SECURITY DEFINER AS $refuse$
BEGIN
    -- Fires for every statement, so it has no SET clause; hence every name is qualified.
    IF pg_catalog.pg_advisory_xact_lock_shared(LOCK_CLASS, LOCK_KEY) IS NULL
        OR ((COALESCE(pg_catalog.pg_sequence_last_value('crossfade.epoch'::pg_catalog.regclass), 2)
              OPERATOR(pg_catalog.%) 2::bigint OPERATOR(pg_catalog.=) 1::bigint
            OR TG_NARGS OPERATOR(pg_catalog.=) 1
              AND TG_ARGV[0]::bigint OPERATOR(pg_catalog.<=) (COALESCE(
                pg_catalog.pg_sequence_last_value('crossfade.epoch'::pg_catalog.regclass), 2)
                OPERATOR(pg_catalog./) 2::bigint)
              AND COALESCE(pg_catalog.pg_sequence_last_value('crossfade.returned'::pg_catalog.regclass), 0)
                OPERATOR(pg_catalog.<) TG_ARGV[0]::bigint)
          AND session_user OPERATOR(pg_catalog.<>) current_user)
    THEN
        RAISE EXCEPTION USING ERRCODE = 'read_only_sql_transaction',
            MESSAGE = 'this database is not the primary: Crossfade has switched to MySQL',
            HINT = 'Write through Crossfade.';
    END IF;
    RETURN NULL;
END
$refuse$;
REVOKE ALL ON FUNCTION crossfade.refuse() FROM PUBLIC";

const COVERS: &str = "\
SELECT c.oid::pg_catalog.regclass::text, pg_catalog.pg_has_role(c.relowner, 'USAGE'),
    EXISTS (SELECT FROM pg_catalog.pg_trigger t WHERE t.tgrelid = c.oid
        AND t.tgname = 'crossfade_refuse' AND t.tgargs = $2::pg_catalog.bytea
        AND t.tgfoid = pg_catalog.to_regprocedure('crossfade.refuse()')
        AND (t.tgenabled = 'A' OR t.tgenabled = 'O'
            AND NOT pg_catalog.pg_has_role(c.relowner, 'USAGE')))
FROM pg_catalog.pg_class c WHERE c.oid = ANY ($1) AND c.relkind IN ('r', 'p') ORDER BY 1";

/// Whether a table has the trigger.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cover {
    /// Quoted, with its schema.
    pub table: String,
    /// We may act as its owner.
    pub owned: bool,
    /// The trigger is there, and enabled as it should be.
    pub installed: bool,
}

/// Makes the function; it says no only while it is MySQL's turn.
pub async fn create(client: &Client) -> Result<(), Error> {
    let function = FUNCTION.replace("LOCK_CLASS", &LOCK_CLASS.to_string());
    client.batch_execute(&function.replace("LOCK_KEY", &LOCK_KEY.to_string())).await
}

/// When the trigger refuses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum When {
    /// While MySQL leads everything.
    AllMoved,
    /// And from this epoch on, until all are back ([`returned`]).
    From(u64),
}

impl When {
    /// As `CREATE TRIGGER` has it.
    fn argument(self) -> String {
        match self {
            Self::AllMoved => String::new(),
            Self::From(epoch) => format!("'{epoch}'"),
        }
    }

    /// As `pg_trigger.tgargs` has it.
    fn stored(self) -> Vec<u8> {
        match self {
            Self::AllMoved => Vec::new(),
            Self::From(epoch) => format!("{epoch}\0").into_bytes(),
        }
    }
}

/// Has every trigger that refuses from an earlier epoch on let everybody pass.
pub async fn returned(client: &Client, epoch: u64) -> Result<(), Error> {
    let set = format!("SELECT pg_catalog.setval('crossfade.returned', {epoch})");
    client.batch_execute(&set).await
}

/// Before a change to `next`: triggers refuse from then on. Does nothing where that epoch has come already: whoever
/// prepares late must not have those refuse that are left of it.
pub async fn expect(client: &Client, next: u64) -> Result<(), Error> {
    let set = format!(
        "SELECT pg_catalog.setval('crossfade.returned', {next} - 1) FROM crossfade.epoch e \
         WHERE e.last_value / 2 < {next}"
    );
    client.batch_execute(&set).await
}

/// As [`returned`], where there may be no such sequence.
pub(super) async fn let_pass(client: &impl GenericClient, epoch: u64) -> Result<(), Error> {
    let set = "SELECT pg_catalog.setval(c.oid::pg_catalog.regclass, $1) FROM pg_catalog.pg_class c \
         WHERE c.oid = pg_catalog.to_regclass('crossfade.returned')";
    let epoch = i64::try_from(epoch).unwrap_or(i64::MAX);
    client.query_opt(set, &[&epoch]).await.map(drop)
}

/// Tables and partitions among these, by name, and whether they have the trigger that refuses then.
pub async fn covers(client: &Client, tables: &[Oid], when: When) -> Result<Vec<Cover>, Error> {
    let rows = client.query(COVERS, &[&tables, &when.stored()]).await?;
    let cover = |row: &tokio_postgres::Row| Cover {
        table: row.get(0),
        owned: row.get(1),
        installed: row.get(2),
    };
    Ok(rows.iter().map(cover).collect())
}

/// Puts the trigger on one table. Waits for its writers, for a moment only.
pub async fn cover(client: &Client, cover: &Cover, when: When) -> Result<(), Error> {
    let (table, argument) = (&cover.table, when.argument());
    let always = match cover.owned {
        true => format!("; ALTER TABLE {table} ENABLE ALWAYS TRIGGER {TRIGGER}"),
        false => String::new(),
    };
    let script = format!(
        "BEGIN; {LOCK_WAIT}; CREATE OR REPLACE TRIGGER {TRIGGER} \
         BEFORE INSERT OR UPDATE OR DELETE OR TRUNCATE ON {table} \
         FOR EACH STATEMENT EXECUTE FUNCTION crossfade.refuse({argument}){always}; COMMIT"
    );
    whole(client, &script).await
}

/// Takes all of them off, where nobody is in the way, `crossfade.epoch` still holds this turn, and no change
/// of the primary is under way, which has need of them: whoever finishes an earlier one may come late. None
/// is announced in between. (One that has prepared and not announced finds out when it looks again.)
pub async fn uncover(client: &Client, turn: u64) -> Result<(), Error> {
    let lock = "LOCK TABLE crossfade.attempts IN SHARE ROW EXCLUSIVE MODE";
    whole(client, &format!("BEGIN; {DROP_WAIT}; {lock}")).await?;
    let needed = format!(
        "SELECT e.last_value <> {turn} OR EXISTS (SELECT FROM crossfade.attempts a \
             WHERE a.state IN ('announced', 'held')) FROM crossfade.epoch e"
    );
    let needed = client.query_one(&needed, &[]).await.and_then(|row| row.try_get::<_, bool>(0));
    let end = match needed {
        Ok(false) => "DROP FUNCTION IF EXISTS crossfade.refuse() CASCADE; COMMIT",
        Ok(true) | Err(_) => "ROLLBACK",
    };
    whole(client, end).await?;
    needed.map(drop)
}

/// A script of one transaction: what fails leaves none open.
async fn whole(client: &Client, script: &str) -> Result<(), Error> {
    let done = client.batch_execute(script).await;
    if done.is_err() {
        // The failure that matters is the first one.
        drop(client.batch_execute("ROLLBACK").await);
    }
    done
}
