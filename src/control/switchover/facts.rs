//! Reads what the gates are about, from both databases.
//!
//! Invariant: nothing is changed; what is tried out is rolled back, and touches no row.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use tokio_postgres::{Client, Error};

use super::gates::{Facts, Left, Login, SidecarFacts, TableFacts};
use super::standing::{COMPLETE, Standing};
use super::{Ended, Outcome, SwitchError};
use super::{group, others};
use crate::backend::mysql::control::Turn;
use crate::backend::mysql::outbox::Outbox;
use crate::backend::mysql::{Link, WriteError, control as mysql, switch};
use crate::backend::postgres::abandon;
use crate::backend::postgres::attempts::{self, Direction};
use crate::backend::postgres::connect::Connector;
use crate::backend::postgres::control::Presence;
use crate::backend::postgres::follow::{FollowLimits, Follower};
use crate::backend::postgres::introspect;
use crate::backend::postgres::moved;
use crate::backend::postgres::records::{BACKFILL, VERIFIED};
use crate::backend::verifiers::{MAY_USE, Unavailable, Verifiers};
use crate::catalog::naming::Naming;
use crate::catalog::{Capture, Catalog, Table};
use crate::control::{Ends, statements};
use crate::names::{Oid, TableId};
use crate::outbox::STUCK_ATTEMPTS;
use crate::policy::Policies;

const EPOCH: &str = "SELECT last_value FROM crossfade.epoch";
const DIRTY: &str = "SELECT t.id, t.dirty_reason FROM crossfade.tables t";
/// `state`, and whether the last comparison began after it had ended.
const BACKFILLED: &str = "SELECT b.table_id, b.state, coalesce((SELECT \
       b.at <= v.at - v.seconds * interval '1 second' FROM crossfade.verified v \
       WHERE v.table_id = b.table_id), false) FROM crossfade.backfill b";
const COMPARED: &str = "SELECT v.table_id, v.clean FROM crossfade.verified v";
const LEFT: &str = "SELECT pg_catalog.count(*) FILTER (WHERE attempts >= $1), \
     coalesce(greatest(0, extract(epoch FROM pg_catalog.clock_timestamp() - pg_catalog.min(at))), 0)::float8 \
     FROM crossfade.outbox";
const LOST: &str = "SELECT EXISTS (SELECT FROM crossfade.settings WHERE key = 'lost_after')";
const SIDECARS: &str = "SELECT s.id, s.address, s.version FROM crossfade.sidecars s \
     WHERE pg_catalog.now() < s.lease_until ORDER BY s.id";
const PREPARED: &str = "SELECT x.owner::text FROM pg_catalog.pg_prepared_xacts x \
     WHERE x.database = pg_catalog.current_database() ORDER BY 1";
/// Those that are logged in and may use a migrated table, and those that own one and may log in: Crossfade's
/// own role is no client of a sidecar's, and a superuser that is none either (somebody's psql, a monitor)
/// owns none. Without the rights of `pg_read_all_stats`, others' `backend_type` is NULL.
const ROLES: &str = "SELECT r.rolname::text, r.rolsuper FROM pg_catalog.pg_roles r \
     CROSS JOIN LATERAL (SELECT EXISTS (SELECT FROM pg_catalog.pg_stat_activity a \
         WHERE a.datname = pg_catalog.current_database() AND a.usesysid = r.oid \
           AND coalesce(a.backend_type, 'client backend') = 'client backend') AS here, \
       EXISTS (SELECT FROM crossfade.tables t JOIN pg_catalog.pg_class c \
         ON c.oid = pg_catalog.to_regclass(pg_catalog.format('%I.%I', t.schema, t.name)) \
         WHERE c.relowner = r.oid) AS owns) l \
     WHERE r.rolcanlogin AND r.rolname <> session_user \
       AND CASE WHEN r.rolsuper THEN l.here AND l.owns ELSE l.owns OR l.here AND MAY_USE END \
     ORDER BY 1";
/// Our triggers let their owner write, and nobody else, while MySQL is the primary.
const FOREIGN: &str = "SELECT DISTINCT 'setup was run as role ' || o.rolname || ', this is ' || session_user \
     FROM pg_catalog.pg_proc p JOIN pg_catalog.pg_roles o ON o.oid = p.proowner \
     WHERE o.rolname <> session_user AND p.oid IN (pg_catalog.to_regprocedure('crossfade.trigger_guard()'), \
       pg_catalog.to_regprocedure('crossfade.refuse()')) ORDER BY 1";
/// What our role lacks to change a table, to refuse others' changes of it, and to read and set its
/// counters; each as a GRANT.
const LACKS: &str = "SELECT pg_catalog.format('GRANT %s ON %I.%I TO %I', w.words, n.nspname, c.relname, session_user) \
     FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace \
     CROSS JOIN LATERAL (SELECT pg_catalog.string_agg(p, ', ') AS words \
       FROM pg_catalog.unnest(ARRAY['SELECT', 'INSERT', 'UPDATE', 'DELETE', 'TRIGGER']) p \
       WHERE NOT pg_catalog.has_table_privilege(c.oid, p)) w \
     WHERE c.oid = $1::oid AND w.words IS NOT NULL \
     UNION ALL \
     SELECT pg_catalog.format('GRANT SELECT, UPDATE ON SEQUENCE %I.%I TO %I', n.nspname, s.relname, session_user) \
     FROM pg_catalog.pg_depend d JOIN pg_catalog.pg_class s ON s.oid = d.objid AND s.relkind = 'S' \
     JOIN pg_catalog.pg_namespace n ON n.oid = s.relnamespace \
     WHERE d.classid = 'pg_catalog.pg_class'::regclass AND d.refclassid = 'pg_catalog.pg_class'::regclass \
       AND d.refobjid = $1::oid AND d.deptype IN ('a', 'i') \
       AND NOT (pg_catalog.has_sequence_privilege(s.oid, 'SELECT') \
         AND pg_catalog.has_sequence_privilege(s.oid, 'UPDATE'))";
/// Whoever follows changes rows without the application's triggers.
const REPLICA: &str = "GRANT SET ON PARAMETER session_replication_role to it (before PostgreSQL 15 only a superuser may)";

/// What `crossfade.epoch` holds; `None` where dual writes have not begun.
pub(super) async fn turn(client: &Client) -> Result<Option<u64>, Error> {
    let missing = format!("SELECT {}", Presence::question());
    let missing: Vec<String> = client.query_one(&missing, &[]).await?.get(0);
    if Presence::new(&missing) != Presence::Complete {
        return Ok(None);
    }
    let turn: i64 = client.query_one(EPOCH, &[]).await?.get(0);
    Ok(u64::try_from(turn).ok())
}

/// Who leads, and the connection to MySQL if it answers.
pub(super) async fn standing(
    client: &Client,
    ends: &Ends,
) -> Result<(Standing, Result<Link, WriteError>), Error> {
    let turn = turn(client).await?;
    let gave_part = match turn {
        Some(turn) if turn % 2 == 0 => !moved::now(client).await?.is_empty(),
        _ => false,
    };
    let (link, found, complete) = match ask_turn(ends).await {
        Ok(said) => said,
        Err(error) => {
            let standing = turn.map_or(Standing::NotSetUp, |turn| Standing::Unknown { turn });
            return Ok((standing, Err(error)));
        }
    };
    let standing = match (turn, found) {
        // PostgreSQL is not told, and may have lost all of ours since.
        (_, Some(Turn { epoch, mysql_is_primary: true, .. })) if complete => {
            Standing::Complete { epoch }
        }
        (Some(turn), found) => Standing::of(turn, gave_part, found),
        (None, _) => Standing::NotSetUp,
    };
    Ok((standing, Ok(link)))
}

/// What MySQL says of its turn, and whether PostgreSQL was left for good.
pub(super) async fn ask_turn(ends: &Ends) -> Result<(Link, Option<Turn>, bool), WriteError> {
    let mut link = Link::connect(&ends.to, &ends.limits).await?;
    let found = mysql::turn(link.conn()).await?;
    let complete = match found {
        Some(Turn { mysql_is_primary: true, .. }) => mysql::is_complete(link.conn()).await?,
        _ => false,
    };
    Ok((link, found, complete))
}

/// The refusal where PostgreSQL is not there to be asked, and need not be.
pub(super) async fn left_for_good(ends: &Ends) -> Option<Outcome> {
    let (_, found, complete) = ask_turn(ends).await.ok()?;
    let epoch = found?.epoch;
    let reasons = vec![COMPLETE.to_owned()];
    complete.then_some(Outcome::new(Ended::Refused, epoch, reasons))
}

/// Everything for the gates of this direction.
pub(super) async fn gather(
    client: &Client,
    ends: &Ends,
    policies: &Policies,
    users: &BTreeMap<String, String>,
    (direction, group): (Direction, Option<&str>),
) -> Result<(Facts, Arc<Catalog>), SwitchError> {
    let (standing, link) = standing(client, ends).await?;
    let mut facts = empty(direction, standing);
    if matches!(standing, Standing::NotSetUp | Standing::Complete { .. }) {
        return Ok((facts, Arc::new(Catalog::default())));
    }
    let naming = Naming::default();
    let catalog = introspect::introspect(client, policies, &naming).await?;
    let concerned = concerned(client, &catalog, group).await?;
    let mut captured: Vec<&Arc<Table>> = captured(&catalog);
    if let Some(concerned) = &concerned {
        captured = group::among(captured, concerned);
    }
    facts.tables = tables(client, policies, &catalog, &captured).await?;
    // What can move without the rest is named, table by table.
    facts.impossible = if group.is_none() { impossible(&catalog) } else { Vec::new() };
    facts.after_failover = client.query_one(LOST, &[]).await?.get(0);
    facts.statements = statements::read(client).await?.unwrap_or_default();
    if let Some(name) = group {
        let found = group::gather(client, &catalog, &facts.statements, name).await?;
        facts.group = Some(found.ok_or_else(|| name.to_owned()));
    }
    facts.abandoned = abandon::is_marked(client).await?;
    facts.has_record = attempts::exist(client).await?;
    if facts.has_record {
        facts.attempt = attempts::under_way(client).await?.map(|attempt| attempt.id);
    }
    facts.sidecars = sidecars(client).await?;
    facts.prepared = texts(client, PREPARED).await?;
    for owner in &mut facts.prepared {
        *owner = format!("a prepared transaction of role {owner} waits for its second phase");
    }
    facts.sessions = others::sessions(client).await?;
    if direction == Direction::Switchover {
        facts.without_verifier = without_verifier(client, &ends.from, users).await?;
        let left = client.query_one(LEFT, &[&STUCK_ATTEMPTS]).await?;
        facts.left = Left { stuck: left.get(0), oldest_seconds: left.get(1) };
    }
    facts.rehearsal = rehearse_postgres(&ends.from, &captured).await;
    match link {
        Ok(link) => ask_mysql(link, &captured, &mut facts).await,
        Err(error) => facts.mysql = Some(format!("MySQL: {error}")),
    }
    Ok((facts, Arc::new(catalog)))
}

fn empty(direction: Direction, standing: Standing) -> Facts {
    Facts {
        direction,
        standing,
        has_record: false,
        tables: Vec::new(),
        impossible: Vec::new(),
        left: Left::default(),
        after_failover: false,
        statements: Vec::new(),
        without_verifier: Vec::new(),
        rehearsal: Vec::new(),
        attempt: None,
        abandoned: false,
        sidecars: Vec::new(),
        mysql: None,
        prepared: Vec::new(),
        sessions: Vec::new(),
        group: None,
    }
}

/// The tables that a change concerns, where it does not concern them all: a group's, or those that have moved.
pub(super) async fn concerned(
    client: &Client,
    catalog: &Catalog,
    group: Option<&str>,
) -> Result<Option<Vec<TableId>>, Error> {
    if let Some(name) = group {
        return Ok(Some(group::tables(catalog, name).unwrap_or_default()));
    }
    let moved = moved::now(client).await?;
    Ok((!moved.is_empty()).then_some(moved))
}

/// Registered tables that are carried over, by name.
pub(super) fn captured(catalog: &Catalog) -> Vec<&Arc<Table>> {
    let mut tables: Vec<_> = catalog.captured().filter(|table| table.id.is_some()).collect();
    tables.sort_by(|a, b| a.name.cmp(&b.name));
    tables
}

fn impossible(catalog: &Catalog) -> Vec<(String, String)> {
    let reason = |table: &Arc<Table>| match &table.capture {
        Capture::Impossible(why) => Some((table.name.to_string(), (*why).to_owned())),
        _ => None,
    };
    let mut found: Vec<_> = catalog.tables.values().filter_map(reason).collect();
    found.sort();
    found
}

async fn tables(
    client: &Client,
    policies: &Policies,
    catalog: &Catalog,
    captured: &[&Arc<Table>],
) -> Result<Vec<TableFacts>, Error> {
    let mut dirty: HashMap<i32, Option<String>> = HashMap::new();
    for row in client.query(DIRTY, &[]).await? {
        dirty.insert(row.get(0), row.get(1));
    }
    let mut compared: HashMap<i32, bool> = HashMap::new();
    let mut filled: HashMap<i32, (String, bool)> = HashMap::new();
    if VERIFIED.exists(client).await? {
        let rows = client.query(COMPARED, &[]).await?;
        compared = rows.iter().map(|row| (row.get(0), row.get(1))).collect();
        if BACKFILL.exists(client).await? {
            let rows = client.query(BACKFILLED, &[]).await?;
            filled = rows.iter().map(|row| (row.get(0), (row.get(1), row.get(2)))).collect();
        }
    }
    let reading = introspect::read(client, policies, &Naming::default()).await?;
    let loose = catalog.loose();
    let facts = |table: &&Arc<Table>| {
        let id = table.id?.0;
        let circumstances = reading.circumstances.get(&table.oid);
        let filled = filled.get(&id);
        let is_since = filled.is_none_or(|(_, since)| *since);
        Some(TableFacts {
            name: table.name.to_string(),
            dirty: dirty.get(&id).cloned().flatten(),
            backfill: filled.map(|(state, _)| state.clone()),
            clean: compared.get(&id).copied().filter(|_| is_since),
            loose: loose.contains(&table.name),
            row_security: circumstances.is_some_and(|c| c.row_security),
            triggers: circumstances.is_some_and(|c| c.triggers || c.rules),
        })
    };
    Ok(captured.iter().filter_map(facts).collect())
}

pub(super) async fn sidecars(client: &Client) -> Result<Vec<SidecarFacts>, Error> {
    let rows = client.query(SIDECARS, &[]).await?;
    let sidecar = |row: &tokio_postgres::Row| SidecarFacts {
        id: row.get(0),
        address: row.get(1),
        version: row.get(2),
    };
    Ok(rows.iter().map(sidecar).collect())
}

async fn texts(client: &Client, sql: &str) -> Result<Vec<String>, Error> {
    Ok(client.query(sql, &[]).await?.iter().map(|row| row.get(0)).collect())
}

/// Every verifier that MySQL is to keep: the server's, or proxy.yaml's alone.
pub(super) async fn verifiers(
    from: &Connector,
    users: &BTreeMap<String, String>,
) -> Result<Vec<(String, String)>, SwitchError> {
    let all = Verifiers::new(from.url(), users.clone())?.to_keep().await;
    match all {
        Ok(all) => Ok(all),
        Err(Unavailable::Forbidden) => Ok(users.clone().into_iter().collect()),
        Err(Unavailable::Unreachable(error)) => Err(error.into()),
    }
}

async fn without_verifier(
    client: &Client,
    from: &Connector,
    users: &BTreeMap<String, String>,
) -> Result<Vec<Login>, SwitchError> {
    let known = verifiers(from, users).await?;
    let has_one = |role: &String| {
        let is_one = |text: &str| text.starts_with("SCRAM-SHA-256$") || text.starts_with("md5");
        known.iter().any(|(name, text)| name == role && is_one(text))
    };
    let rows = client.query(&ROLES.replace("MAY_USE", MAY_USE), &[]).await?;
    let logins = rows.iter().map(|row| Login { role: row.get(0), superuser: row.get(1) });
    Ok(logins.filter(|login| !has_one(&login.role)).collect())
}

/// As the applier that follows, which may do everything but move a row.
async fn rehearse_postgres(from: &Connector, tables: &[&Arc<Table>]) -> Vec<String> {
    let limits =
        FollowLimits { lock: std::time::Duration::from_secs(1), ..FollowLimits::default() };
    let follower = match Follower::connect(from, limits).await {
        Ok(follower) => follower,
        Err(error) if error.code() == "42501" => {
            return vec![format!("Crossfade's role may not follow on PostgreSQL: {REPLICA}")];
        }
        Err(error) => return vec![format!("PostgreSQL could not follow: {}", error.code())],
    };
    let mut failed = match texts(follower.client(), FOREIGN).await {
        Ok(owners) => owners,
        Err(error) => vec![error.code().map_or("no connection", |code| code.code()).to_owned()],
    };
    for reason in &mut failed {
        *reason = format!("PostgreSQL would refuse what MySQL has written: {reason}");
    }
    for table in tables {
        match lacks(follower.client(), table).await {
            Ok(grants) if grants.is_empty() => {}
            Ok(grants) => {
                let grants = grants.join("; ");
                failed.push(format!("a right on table {} is missing: {grants}", table.name));
                continue;
            }
            Err(why) => {
                failed.push(format!("PostgreSQL refuses to tell rights on {} ({why})", table.name));
                continue;
            }
        }
        if let Err(why) = rehearse_one(follower.client(), table).await {
            failed.push(format!("PostgreSQL refuses to change table {} ({why})", table.name));
        }
    }
    failed
}

fn code_of(error: &Error) -> String {
    error.code().map_or("no connection", |code| code.code()).to_owned()
}

async fn lacks(client: &Client, table: &Table) -> Result<Vec<String>, String> {
    let oid: Oid = table.oid;
    let rows = client.query(LACKS, &[&oid]).await.map_err(|error| code_of(&error))?;
    Ok(rows.iter().map(|row| row.get(0)).collect())
}

async fn rehearse_one(client: &Client, table: &Table) -> Result<(), String> {
    let code = |error: Error| code_of(&error);
    let delete = format!("BEGIN; DELETE FROM {} WHERE false", table.name.quoted());
    let tried = client.batch_execute(&delete).await;
    client.batch_execute("ROLLBACK").await.map_err(code)?;
    tried.map_err(code)
}

/// What MySQL has to say. Its own tables for the way back may not be there yet.
async fn ask_mysql(mut link: Link, tables: &[&Arc<Table>], facts: &mut Facts) {
    for table in tables {
        if let Err(error) = switch::rehearse(link.conn(), table).await {
            if error.breaks_connection() {
                facts.mysql = Some(format!("MySQL: {error}"));
                return;
            }
            let code = error.code();
            facts.rehearsal.push(format!("MySQL refuses to change table {} ({code})", table.name));
        }
    }
    if matches!(facts.standing, Standing::MySql { .. } | Standing::Parted { .. }) {
        match Outbox::new(link).left(STUCK_ATTEMPTS).await {
            Ok(left) => {
                facts.left = Left { stuck: left.stuck, oldest_seconds: left.oldest_seconds };
            }
            Err(error) => facts.mysql = Some(format!("MySQL: {error}")),
        }
    }
}
