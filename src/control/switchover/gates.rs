//! What must hold before the primary may change: decided from facts, all of it at once.
//!
//! ```text
//! [`Facts`] (read elsewhere) ──[`gates`]──▶ each gate, with every reason why it is shut
//! ```
//!
//! Invariant: a fact that is not known counts against it.

use serde::{Deserialize, Serialize};

use super::group::GroupFacts;
use super::standing::{COMPLETE, Standing};
use crate::backend::postgres::attempts::Direction;
use crate::catalog::Catalog;
use crate::plan::seen::{Line, Readiness};

/// Reasons of one gate that are written out; the rest is counted.
const REASONS_MAX: usize = 50;
/// An entry that has waited for longer says that the secondary does not keep up.
const BEHIND_SECONDS: f64 = 10.0;
pub(super) const ABANDONED: &str =
    "the migration is being given up: run `crossfade abandon`, which finishes it";
const STATEMENTS: &str = "statements";
/// Accepts every statement that cannot be translated.
pub(super) const ACCEPT_ALL: &str = "all";

/// One condition.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Gate {
    pub name: String,
    pub ok: bool,
    /// Why it is shut; of one that is open, what to know.
    pub reasons: Vec<String>,
    /// What could be accepted for it, in the order of the reasons: it is open once all of it is.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub accept: Vec<String>,
}

/// A captured table, as the primary's records have it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TableFacts {
    pub name: String,
    /// Both sides may differ.
    pub dirty: Option<String>,
    /// State of its last backfill, if there was one.
    pub backfill: Option<String>,
    /// How the last comparison ended; `None` where there was none since the last backfill.
    pub clean: Option<bool>,
    /// What is on its way to it is in memory only.
    pub loose: bool,
    pub row_security: bool,
    /// Triggers or rules of the application.
    pub triggers: bool,
}

/// A sidecar whose lease is current.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SidecarFacts {
    pub id: String,
    pub address: String,
    pub version: String,
}

/// A role that could not log in once MySQL answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Login {
    pub role: String,
    pub superuser: bool,
}

/// What is left in the outbox of the present primary.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Left {
    pub stuck: i64,
    pub oldest_seconds: f64,
}

/// Everything that a switchover, or the way back, depends on.
#[derive(Clone, Debug)]
pub struct Facts {
    pub direction: Direction,
    pub standing: Standing,
    /// Attempts can be recorded: the tables for that are there.
    pub has_record: bool,
    pub tables: Vec<TableFacts>,
    /// Tables that are meant to be migrated and cannot be: name and reason.
    pub impossible: Vec<(String, String)>,
    pub left: Left,
    /// Rows that a failover has lost are still being looked for.
    pub after_failover: bool,
    pub statements: Vec<Line>,
    /// Roles that are logged in and could not be once MySQL answers.
    pub without_verifier: Vec<Login>,
    /// What we may not do to a table on either side.
    pub rehearsal: Vec<String>,
    /// Another attempt is under way, until then.
    pub attempt: Option<i64>,
    /// The migration is being given up.
    pub abandoned: bool,
    pub sidecars: Vec<SidecarFacts>,
    /// Why MySQL could not be asked.
    pub mysql: Option<String>,
    /// Transactions that wait for COMMIT PREPARED, and hold what we would wait for.
    pub prepared: Vec<String>,
    /// What may keep sessions back, as far as it can be seen from outside of them.
    pub sessions: Vec<String>,
    /// What is to move without the rest; a name without facts is that of no group.
    pub group: Option<Result<GroupFacts, String>>,
}

/// Every gate; the change may begin if all are open.
#[must_use]
pub fn gates(facts: &Facts, accept: &[String]) -> Vec<Gate> {
    let mut gates = vec![
        gate("phase", phase(facts)),
        gate("attempt", attempt(facts)),
        gate("sidecars", sidecars(facts)),
        gate("databases", facts.mysql.iter().cloned().collect()),
        gate("dirty", dirty(facts)),
    ];
    if facts.group.is_some() {
        gates.push(gate("group", group(facts, accept)));
    }
    if facts.direction == Direction::Switchover {
        gates.extend([
            gate("verified", verified(facts)),
            gate("backfill", backfill(facts)),
            acceptable("tables", tables(facts, accept)),
            acceptable(STATEMENTS, statements(facts, accept)),
            gate("row_security", row_security(facts)),
            acceptable("logins", logins(facts, accept)),
        ]);
    }
    gates.push(gate("outbox", outbox(facts)));
    gates.push(gate("rehearsal", facts.rehearsal.clone()));
    let mut sessions = gate("sessions", facts.prepared.clone());
    sessions.reasons.extend(bounded(facts.sessions.clone()));
    gates.push(sessions);
    gates
}

/// What can be done about statements, which would be too much to say at each.
#[must_use]
pub(super) fn advice(gates: &[Gate]) -> Option<String> {
    let mut shut = gates.iter().filter(|gate| !gate.ok);
    shut.any(|gate| gate.name == STATEMENTS).then(|| {
        "a statement: change it; take it off the list with `crossfade forget ID` if it is sent no more; or \
         `--accept ID`, and clients that send it get 0A000"
            .to_owned()
    })
}

/// The reasons of all gates that are shut.
#[must_use]
pub fn shut(gates: &[Gate]) -> Vec<String> {
    gates.iter().filter(|gate| !gate.ok).flat_map(|gate| gate.reasons.clone()).collect()
}

fn gate(name: &str, reasons: Vec<String>) -> Gate {
    let accept = Vec::new();
    Gate { name: name.to_owned(), ok: reasons.is_empty(), reasons: bounded(reasons), accept }
}

/// One whose reasons can be accepted, each by its item.
fn acceptable(name: &str, found: Vec<(String, String)>) -> Gate {
    let (mut accept, reasons): (Vec<String>, Vec<String>) = found.into_iter().unzip();
    if REASONS_MAX < accept.len() {
        // What is not shown is not accepted one by one.
        accept.clear();
    }
    Gate { accept, ..gate(name, reasons) }
}

fn bounded(mut reasons: Vec<String>) -> Vec<String> {
    let more = reasons.len().saturating_sub(REASONS_MAX);
    reasons.truncate(REASONS_MAX);
    if 0 < more {
        reasons.push(format!("and {more} more"));
    }
    reasons
}

fn phase(facts: &Facts) -> Vec<String> {
    let old = "Crossfade's tables are of an earlier version: run `crossfade setup`";
    let reason = match (facts.direction, facts.standing) {
        (_, Standing::Postgres { .. } | Standing::MySql { .. } | Standing::Parted { .. })
            if !facts.has_record =>
        {
            old.to_owned()
        }
        (Direction::Switchover, Standing::Postgres { agreed: true, .. })
        | (Direction::Rollback, Standing::MySql { .. } | Standing::Parted { .. }) => {
            return Vec::new();
        }
        (Direction::Switchover, Standing::Parted { .. }) => {
            "MySQL leads a group of tables already: run `crossfade rollback` first, which takes it back"
                .to_owned()
        }
        (_, Standing::HalfParted { .. }) => {
            "the switchover of a group is not finished: run `crossfade switchover`, which finishes it".to_owned()
        }
        (_, Standing::HalfJoined { .. }) => {
            "the rollback of a group is not finished: run `crossfade rollback`, which finishes it".to_owned()
        }
        (_, Standing::Complete { .. }) => COMPLETE.to_owned(),
        (_, Standing::NotSetUp) => "dual writes have not begun: run `crossfade setup`".to_owned(),
        (Direction::Switchover, Standing::Postgres { epoch, .. }) => {
            format!("MySQL does not know epoch {epoch} yet")
        }
        (Direction::Switchover, Standing::MySql { .. }) => {
            "MySQL is the primary already".to_owned()
        }
        (Direction::Rollback, Standing::Postgres { .. }) => "PostgreSQL is the primary".to_owned(),
        (_, Standing::HalfSwitched { .. }) => {
            "a switchover is not finished: run `crossfade switchover`, which finishes it".to_owned()
        }
        (_, Standing::HalfBack { .. }) => {
            "a rollback is not finished: run `crossfade rollback`, which finishes it".to_owned()
        }
        (_, Standing::Apart { postgres, mysql }) => format!(
            "PostgreSQL is at epoch {postgres} and MySQL at {mysql}: one of them is of another past"
        ),
        (_, Standing::Unknown { .. }) => {
            "whose turn it is cannot be told while MySQL does not answer".to_owned()
        }
    };
    vec![reason]
}

fn group(facts: &Facts, accept: &[String]) -> Vec<String> {
    match &facts.group {
        Some(Ok(group)) => super::group::reasons(group, &facts.statements, accept),
        Some(Err(name)) => vec![format!(
            "no table that is migrated is of group {name}: name it in proxy.yaml's tables"
        )],
        None => Vec::new(),
    }
}

fn attempt(facts: &Facts) -> Vec<String> {
    let abandoned = facts.abandoned.then(|| ABANDONED.to_owned());
    let attempt = facts.attempt.map(|id| format!("attempt {id} is under way"));
    abandoned.into_iter().chain(attempt).collect()
}

fn sidecars(facts: &Facts) -> Vec<String> {
    unknown_sidecars(&facts.sidecars)
}

/// Those of another version than ours: what they would do is not known.
pub(super) fn unknown_sidecars(sidecars: &[SidecarFacts]) -> Vec<String> {
    let own = env!("CARGO_PKG_VERSION");
    let unknown = sidecars.iter().filter(|sidecar| sidecar.version != own);
    unknown
        .map(|SidecarFacts { id, address, version }| match version.as_str() {
            "" => format!("sidecar {id} at {address} does not say which version it is"),
            version => format!("sidecar {id} at {address} is of version {version}, this is {own}"),
        })
        .collect()
}

fn dirty(facts: &Facts) -> Vec<String> {
    let lost = facts
        .after_failover
        .then(|| "what a failover of PostgreSQL has lost is still being looked for".to_owned());
    let dirty = facts.tables.iter().filter_map(|table| {
        let why = table.dirty.as_ref()?;
        let steps = match why.as_str() {
            "backfill" if table.backfill.is_none() => "backfill, then verify",
            "backfill" => "verify, once the backfill is done",
            _ => "verify, repair",
        };
        Some(format!("table {} is dirty ({why}): {steps}", table.name))
    });
    lost.into_iter().chain(dirty).collect()
}

fn verified(facts: &Facts) -> Vec<String> {
    let reason = |table: &TableFacts| match table.clean {
        Some(true) => None,
        Some(false) => Some(format!("table {} was found to differ", table.name)),
        None => Some(format!("table {} was not verified since it was filled", table.name)),
    };
    facts.tables.iter().filter_map(reason).collect()
}

fn backfill(facts: &Facts) -> Vec<String> {
    let reason = |table: &TableFacts| match table.backfill.as_deref() {
        None if table.dirty.as_deref() == Some("backfill") => Some(format!(
            "the old rows of table {} are not copied: run `crossfade backfill`",
            table.name
        )),
        None | Some("done" | "done before") => None,
        Some(state) => {
            Some(format!("the backfill of table {} is not complete ({state})", table.name))
        }
    };
    facts.tables.iter().filter_map(reason).collect()
}

/// Tables of which MySQL would not have everything. Those with `mode: off` show in the statements that
/// use them.
fn tables(facts: &Facts, accept: &[String]) -> Vec<(String, String)> {
    let impossible = facts.impossible.iter().filter(|(name, _)| !accept.contains(name));
    let impossible = impossible.map(|(name, why)| {
        let why = why.replace('_', " ");
        let reason =
            format!("table {name} cannot be migrated ({why}): accept it, or set it to off");
        (name.clone(), reason)
    });
    let loose = facts.tables.iter().filter(|table| table.loose && !accept.contains(&table.name));
    let loose = loose.map(|table| {
        let reason = format!(
            "table {} has outbox: false, so what a sidecar has in memory may be lost: accept it, or change that",
            table.name
        );
        (table.name.clone(), reason)
    });
    let triggers = facts.tables.iter();
    let triggers = triggers.filter(|table| table.triggers && !accept.contains(&table.name));
    let triggers = triggers.map(|table| {
        let reason = format!(
            "table {} has triggers or rules, which do not run once MySQL answers: have the application do what they \
             do, or accept it if nothing is missing without them",
            table.name
        );
        (table.name.clone(), reason)
    });
    impossible.chain(loose).chain(triggers).collect()
}

/// Whether a statement does not matter, whatever is judged of it.
pub(super) fn is_accepted(line: &Line, accept: &[String]) -> bool {
    let fingerprint = line.fingerprint.to_string();
    accept.iter().any(|item| item == ACCEPT_ALL || *item == fingerprint)
}

/// Items that are accepted and are there nowhere: a slip, which would leave its reason standing.
pub(super) fn unknown_items(accept: &[String], facts: &Facts, tables: &Catalog) -> Vec<String> {
    let function =
        |item: &String| matches!(&facts.group, Some(Ok(group)) if group.functions.contains(item));
    let is_known = |item: &String| {
        item == ACCEPT_ALL
            || function(item)
            || facts.statements.iter().any(|line| line.fingerprint.to_string() == *item)
            || facts.without_verifier.iter().any(|login| login.role == *item)
            || tables.tables.values().any(|table| table.name.to_string() == *item)
    };
    let unknown = accept.iter().filter(|item| !is_known(item));
    let reason = |item| {
        format!(
            "accepted is {item}, which is no statement that was seen, no table, and no role without a verifier"
        )
    };
    bounded(unknown.map(reason).collect())
}

fn statements(facts: &Facts, accept: &[String]) -> Vec<(String, String)> {
    let reason = |line: &Line| {
        let moves = match &facts.group {
            Some(Ok(group)) => group.own.contains(&line.fingerprint.to_string()),
            // There is no such group: which statements are its own cannot be told.
            Some(Err(_)) => false,
            None => true,
        };
        if !moves || is_accepted(line, accept) {
            return None;
        }
        let item = line.fingerprint.to_string();
        let reason = match &line.readiness {
            Readiness::Translated | Readiness::NeverSeen | Readiness::Forgotten => return None,
            Readiness::Unknown => format!("statement {item} was not judged yet"),
            Readiness::Refused(why) => format!("statement {item} cannot be translated: {why}"),
        };
        Some((item, reason))
    };
    facts.statements.iter().filter_map(reason).collect()
}

fn row_security(facts: &Facts) -> Vec<String> {
    let secured = facts.tables.iter().filter(|table| table.row_security);
    secured
        .map(|table| {
            format!("table {} has row-level security, which MySQL does not have", table.name)
        })
        .collect()
}

fn logins(facts: &Facts, accept: &[String]) -> Vec<(String, String)> {
    let reason = |login: &Login| {
        let role = &login.role;
        let reason = match login.superuser {
            false => format!(
                "role {role} has no password verifier that is known: give it one in listen.users"
            ),
            true => format!(
                "role {role} is a superuser, whose verifier is not copied to MySQL: name it in listen.users, \
                 or accept that it cannot log in through Crossfade"
            ),
        };
        (role.clone(), reason)
    };
    let open = facts.without_verifier.iter().filter(|login| !accept.contains(&login.role));
    open.map(reason).collect()
}

fn outbox(facts: &Facts) -> Vec<String> {
    behind(facts.left)
}

/// What keeps a secondary from having everything soon.
pub(super) fn behind(left: Left) -> Vec<String> {
    let Left { stuck, oldest_seconds } = left;
    let stuck = (0 < stuck).then(|| {
        format!(
            "{stuck} entries are stuck: `crossfade repair` tries them again, and lists the reasons"
        )
    });
    let behind = (BEHIND_SECONDS < oldest_seconds)
        .then(|| format!("the oldest write on its way has waited for {oldest_seconds:.0} s"));
    stuck.into_iter().chain(behind).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::seen::{Compared, Fingerprint};

    fn ready() -> Facts {
        let table = TableFacts { name: "users".into(), clean: Some(true), ..TableFacts::default() };
        Facts {
            direction: Direction::Switchover,
            standing: Standing::Postgres { epoch: 1, agreed: true },
            has_record: true,
            tables: vec![table],
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

    fn line(number: u64, readiness: Readiness) -> Line {
        Line {
            fingerprint: Fingerprint::parse(&format!("{number:x}")).unwrap(),
            text: "SELECT ?".into(),
            kind: "read".into(),
            reason: None,
            count: 1,
            first: 0,
            last: 0,
            readiness,
            compared: Compared::default(),
            refused: None,
        }
    }

    #[track_caller]
    fn check(facts: &Facts, accept: &[&str], expected: &[&str]) {
        let accept: Vec<String> = accept.iter().map(|item| (*item).to_owned()).collect();
        assert_eq!(shut(&gates(facts, &accept)), expected);
    }

    #[test]
    fn all_is_well_where_nothing_is_against_it() {
        check(&ready(), &[], &[]);
        let standing = Standing::MySql { epoch: 2 };
        check(&Facts { direction: Direction::Rollback, standing, ..ready() }, &[], &[]);
    }

    #[test]
    fn every_reason_is_told_at_once() {
        let mut facts = ready();
        facts.standing = Standing::MySql { epoch: 2 };
        facts.attempt = Some(7);
        facts.abandoned = true;
        facts.sidecars.push(SidecarFacts {
            id: "a".into(),
            address: "here".into(),
            version: "0.0.0-old".into(),
        });
        facts.mysql = Some("MySQL does not answer".into());
        facts.tables[0] = TableFacts {
            dirty: Some("copy".into()),
            backfill: Some("stopped".into()),
            clean: None,
            loose: true,
            row_security: true,
            triggers: true,
            ..facts.tables[0].clone()
        };
        facts.impossible.push(("logs".into(), "no_primary_key".into()));
        facts.left = Left { stuck: 2, oldest_seconds: 11.2 };
        facts.without_verifier.push(Login { role: "app".into(), superuser: false });
        facts.rehearsal.push("users may not be written".into());
        facts.prepared.push("one is prepared".into());
        facts.statements.push(line(1, Readiness::Refused("LATERAL".into())));
        let found = gates(&facts, &[]);
        assert!(found.iter().all(|gate| !gate.ok), "{found:#?}");
        assert_eq!(shut(&found).len(), 18, "{found:#?}");
    }

    #[test]
    fn of_a_group_that_is_not_there_nothing_else_is_said() {
        let mut facts = ready();
        facts.statements = vec![line(0xA, Readiness::Refused("LATERAL".into()))];
        facts.group = Some(Err("logins".to_owned()));
        let none = "no table that is migrated is of group logins: name it in proxy.yaml's tables";
        check(&facts, &[], &[none]);
    }

    #[test]
    fn what_is_accepted_is_accepted_by_name() {
        let mut facts = ready();
        facts.statements = vec![
            line(0xA, Readiness::Refused("LATERAL".into())),
            line(0xB, Readiness::Unknown),
            line(0xC, Readiness::NeverSeen),
            line(0xD, Readiness::Translated),
        ];
        let a = "statement 000000000000000a cannot be translated: LATERAL";
        let b = "statement 000000000000000b was not judged yet";
        check(&facts, &[], &[a, b]);
        check(&facts, &["000000000000000a"], &[b]);
        check(&facts, &["all"], &[]);
        facts.impossible.push(("logs".into(), "no_primary_key".into()));
        check(
            &facts,
            &["all"],
            &["table logs cannot be migrated (no primary key): accept it, or set it to off"],
        );
        check(&facts, &["all", "logs"], &[]);
    }

    #[test]
    fn what_can_be_accepted_stands_beside_its_reason() {
        let mut facts = ready();
        facts.statements = vec![line(0xA, Readiness::Refused("LATERAL".into()))];
        facts.statements.push(line(0xB, Readiness::Forgotten));
        facts.without_verifier = vec![Login { role: "postgres".into(), superuser: true }];
        let accept = |name: &str, accept: &[String]| {
            let gates = gates(&facts, accept);
            gates.into_iter().find(|gate| gate.name == name).unwrap().accept
        };
        assert_eq!(accept(STATEMENTS, &[]), ["000000000000000a"]);
        assert!(advice(&gates(&facts, &[])).unwrap().contains("crossfade forget"));
        assert_eq!(advice(&gates(&facts, &["all".to_owned()])), None);
        assert_eq!(accept("logins", &[]), ["postgres"]);
        assert!(accept("dirty", &[]).is_empty());
        check(&facts, &["000000000000000a", "postgres"], &[]);
        let known = |items: &[&str]| {
            let items: Vec<String> = items.iter().map(|item| (*item).to_owned()).collect();
            unknown_items(&items, &facts, &Catalog::default()).len()
        };
        assert_eq!((known(&["all", "postgres"]), known(&["app"])), (0, 1));
    }

    #[test]
    fn old_rows_are_copied_before_anything_else_is_said_of_them() {
        let mut facts = ready();
        let old = |backfill: Option<&str>| {
            let dirty = Some("backfill".to_owned());
            let backfill = backfill.map(str::to_owned);
            TableFacts { name: "users".into(), dirty, backfill, ..TableFacts::default() }
        };
        let unverified = "table users was not verified since it was filled";
        facts.tables = vec![old(None)];
        let dirty = "table users is dirty (backfill): backfill, then verify";
        let rows = "the old rows of table users are not copied: run `crossfade backfill`";
        check(&facts, &[], &[dirty, unverified, rows]);
        facts.tables = vec![old(Some("done"))];
        let dirty = "table users is dirty (backfill): verify, once the backfill is done";
        check(&facts, &[], &[dirty, unverified]);
    }

    #[test]
    fn a_long_list_is_cut_and_counted() {
        let mut facts = ready();
        facts.statements = (0..99).map(|number| line(number, Readiness::Unknown)).collect();
        let reasons = shut(&gates(&facts, &[]));
        assert_eq!(reasons.len(), REASONS_MAX + 1);
        assert_eq!(reasons[REASONS_MAX], "and 49 more");
    }
}
