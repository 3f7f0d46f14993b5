//! Tables that move without the others, and what would be torn apart.
//!
//! ```text
//! `--group G` + catalogue, functions, statements and transactions seen ──▶ [`GroupFacts`] ──▶ a gate
//! ```
//!
//! Invariant: what reaches over the edge is named, never cut: a foreign key, a view, a function, a statement or
//! a transaction that is about tables on both sides of it.

use std::collections::BTreeSet;
use std::sync::Arc;

use tokio_postgres::{Client, Error};

use super::Run;
use super::facts::captured;
use super::gates::is_accepted;
use crate::catalog::{Capture, Catalog, Group, RelationKind, Table};
use crate::control::statements;
use crate::names::{Oid, TableId};
use crate::plan::seen::{Crossing, Line, Readiness};
use crate::plan::{SearchPath, Touches, named};

/// Functions and procedures of the application that name one of these words. Those of an extension do not
/// know its tables.
const FUNCTIONS: &str = "\
SELECT DISTINCT p.oid::pg_catalog.regprocedure::text FROM pg_catalog.pg_proc p
JOIN pg_catalog.pg_namespace n ON n.oid = p.pronamespace
CROSS JOIN LATERAL pg_catalog.unnest($1::text[]) w(word)
WHERE p.prokind IN ('f', 'p') AND n.nspname NOT IN ('pg_catalog', 'information_schema', 'crossfade')
    AND NOT EXISTS (SELECT FROM pg_catalog.pg_depend d WHERE d.classid = 'pg_catalog.pg_proc'::regclass
        AND d.objid = p.oid AND d.deptype = 'e')
    AND pg_catalog.pg_get_functiondef(p.oid) ~* ('\\m' || pg_catalog.regexp_replace(w.word, '\\W', '\\\\\\&', 'g') || '\\M')
ORDER BY 1";

/// Whether what triggers ask knows of whoever follows on PostgreSQL while it leads other tables.
const KNOWS_FOLLOWERS: &str = "SELECT EXISTS (SELECT FROM pg_catalog.pg_proc p \
     WHERE p.oid = pg_catalog.to_regprocedure('crossfade.trigger_guard()') \
       AND p.prosrc LIKE '%crossfade.follows%')";
const EARLIER: &str = "Crossfade's functions are of an earlier version: run `crossfade setup`";

/// What is known about the group that is to move.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GroupFacts {
    pub name: String,
    /// What reaches over its edge by itself.
    pub torn: Vec<String>,
    /// Functions that name one of its tables: what runs within PostgreSQL does not reach MySQL.
    pub functions: Vec<String>,
    pub crossings: Vec<Crossing>,
    /// Of the statements that were seen, those about its tables, and those about others as well.
    pub own: BTreeSet<String>,
    pub mixed: BTreeSet<String>,
}

/// The tables that are to move.
pub(super) fn tables(catalog: &Catalog, name: &str) -> Option<Vec<TableId>> {
    let oids = &catalog.group(name)?.tables;
    let id = |oid: &Oid| catalog.tables.get(oid).filter(|table| is_carried(table))?.id;
    Some(oids.iter().filter_map(id).collect())
}

/// Groups that have a table which can move.
pub(super) fn movable(catalog: &Catalog) -> Vec<String> {
    let names = catalog.groups.iter().map(|group| &group.name);
    let moves = |name: &&String| tables(catalog, name).is_some_and(|ids| !ids.is_empty());
    names.filter(moves).cloned().collect()
}

fn is_carried(table: &Table) -> bool {
    matches!(table.capture, Capture::Returning | Capture::Trigger)
}

/// Reads what the gate is about; `None` where no table is of such a group.
pub(super) async fn gather(
    client: &Client,
    catalog: &Catalog,
    lines: &[Line],
    name: &str,
) -> Result<Option<GroupFacts>, Error> {
    let Some(group) = catalog.group(name) else { return Ok(None) };
    let words: Vec<&str> =
        group.tables.iter().filter_map(|oid| Some(catalog.tables.get(oid)?.name.name())).collect();
    let functions = client.query(FUNCTIONS, &[&words]).await?;
    let mut facts = GroupFacts {
        name: name.to_owned(),
        torn: torn(catalog, group),
        functions: functions.iter().map(|row| row.get(0)).collect(),
        crossings: statements::crossings(client).await?,
        ..GroupFacts::default()
    };
    if !client.query_one(KNOWS_FOLLOWERS, &[]).await?.try_get::<_, bool>(0)? {
        facts.torn.push(EARLIER.to_owned());
    }
    for line in lines {
        let touches = of_line(catalog, line);
        let groups: Vec<&str> = touches.names(catalog).collect();
        if groups.contains(&name) {
            facts.own.insert(line.fingerprint.to_string());
        }
        if groups.contains(&name) && touches.crosses() {
            facts.mixed.insert(line.fingerprint.to_string());
        }
    }
    Ok(Some(facts))
}

/// What the statement of a line names: its literals are lifted out, which a parameter stands for as well.
fn of_line(catalog: &Catalog, line: &Line) -> Touches {
    named(&line.text.replace('?', "$1"), catalog, &SearchPath::Unknown)
}

/// Foreign keys and views across the edge.
fn torn(catalog: &Catalog, group: &Group) -> Vec<String> {
    let is_in = |oid: &Oid| group.tables.contains(oid);
    let mut torn = Vec::new();
    for table in catalog.tables.values() {
        for key in &table.foreign_keys {
            let referenced = catalog.roots.get(&key.references).unwrap_or(&key.references);
            let Some(parent) = catalog.tables.get(referenced) else { continue };
            if is_in(&table.oid) != is_in(referenced) {
                torn.push(format!(
                    "foreign key {} of table {} refers to table {}, which is on the other side",
                    key.name, table.name, parent.name
                ));
            }
        }
    }
    for (name, relations) in &catalog.relations {
        for view in relations.iter().filter(|relation| relation.kind == RelationKind::View) {
            let below = catalog.views.get(&view.oid).into_iter().flatten();
            let roots: Vec<&Oid> = below.map(|oid| catalog.roots.get(oid).unwrap_or(oid)).collect();
            let tables = || roots.iter().filter(|oid| catalog.tables.contains_key(**oid));
            if tables().any(|oid| is_in(oid)) && tables().any(|oid| !is_in(oid)) {
                torn.push(format!("view {}.{name} reads tables on both sides", view.schema));
            }
        }
    }
    torn.sort();
    torn
}

/// Reasons against moving the group without the rest.
pub(super) fn reasons(facts: &GroupFacts, lines: &[Line], accept: &[String]) -> Vec<String> {
    let name = &facts.name;
    let is_accepted_text = |text: &String| accept.contains(text);
    let accepted = |fingerprint: &str| {
        let line = lines.iter().find(|line| line.fingerprint.to_string() == fingerprint);
        let is_past =
            |line: &Line| line.readiness == Readiness::Forgotten || is_accepted(line, accept);
        line.is_some_and(is_past) || accept.iter().any(|a| a == fingerprint)
    };
    let functions = facts.functions.iter().filter(|function| !is_accepted_text(function));
    let functions = functions.map(|function| {
        format!("function {function} names a table of group {name}, which MySQL does not run: accept it if it is never called")
    });
    let mixed = facts.mixed.iter().filter(|fingerprint| !accepted(fingerprint));
    let mixed = mixed.map(|fingerprint| {
        format!("statement {fingerprint} is about tables of group {name} and others")
    });
    let crossings = facts.crossings.iter().filter_map(|crossing| {
        let Some(fingerprint) = crossing.fingerprint.map(|found| found.to_string()) else {
            let more = "more transactions used several groups than were written down";
            return Some(more.to_owned());
        };
        let crosses = crossing.groups.iter().any(|group| group == name);
        let told = facts.mixed.contains(&fingerprint) || accepted(&fingerprint);
        (crosses && !told).then(|| {
            format!(
                "a transaction with statement {fingerprint} uses tables of {}",
                listed(&crossing.groups)
            )
        })
    });
    let mut reasons = facts.torn.clone();
    reasons.extend(functions.chain(mixed).chain(crossings));
    reasons.dedup();
    reasons
}

fn listed(groups: &[String]) -> String {
    let word = |group: &String| match group.as_str() {
        "" => "no group".to_owned(),
        name => format!("group {name}"),
    };
    groups.iter().map(word).collect::<Vec<_>>().join(", ")
}

/// Those of a catalogue that a change concerns, in its order.
pub(super) fn among<'a>(tables: Vec<&'a Arc<Table>>, ids: &[TableId]) -> Vec<&'a Arc<Table>> {
    tables.into_iter().filter(|table| table.id.is_some_and(|id| ids.contains(&id))).collect()
}

impl Run<'_> {
    /// The tables that the change concerns.
    pub(super) fn tables<'a>(&self, catalog: &'a Catalog) -> Vec<&'a Arc<Table>> {
        match &self.part {
            Some(ids) => among(captured(catalog), ids),
            None => captured(catalog),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalog::{Action, ForeignKey, Relation};
    use crate::plan::seen::{Compared, Fingerprint};

    fn catalog() -> Catalog {
        let tables = ["users", "sessions", "codes"].map(|name| (name, "id:int4*"));
        let mut catalog = Catalog::for_test(&tables);
        let oid = |name: &str| catalog.relations[name][0].oid;
        let tables = vec![oid("sessions"), oid("codes")];
        catalog.groups = vec![Group { name: "logins".into(), tables }];
        catalog
    }

    fn refers(catalog: &mut Catalog, from: &str, to: &str) {
        let (from, references) = (catalog.relations[from][0].oid, catalog.relations[to][0].oid);
        let table = Arc::make_mut(catalog.tables.get_mut(&from).unwrap());
        table.foreign_keys.push(ForeignKey {
            name: "key".into(),
            columns: vec![0],
            references,
            referenced: vec!["id".into()],
            on_delete: Action::NoAction,
            on_update: Action::NoAction,
            deferrable: false,
        });
    }

    #[test]
    fn keys_and_views_across_the_edge_are_named() {
        let mut catalog = catalog();
        refers(&mut catalog, "codes", "sessions");
        assert_eq!(torn(&catalog, &catalog.groups[0]), [""; 0], "within the group");
        refers(&mut catalog, "sessions", "users");
        let oid = |name: &str| catalog.relations[name][0].oid;
        let (within, across) =
            (vec![oid("codes"), oid("sessions")], vec![oid("codes"), oid("users")]);
        for (view, (name, below)) in (90..).zip([("inner", within), ("both", across)]) {
            let relation =
                Relation { oid: view, schema: "public".into(), kind: RelationKind::View };
            catalog.relations.insert(name.into(), vec![relation]);
            catalog.views.insert(view, below);
        }
        assert_eq!(
            torn(&catalog, &catalog.groups[0]),
            [
                "foreign key key of table sessions refers to table users, which is on the other side",
                "view public.both reads tables on both sides",
            ]
        );
    }

    #[test]
    fn statements_and_transactions_across_the_edge_are_named_unless_accepted() {
        let catalog = catalog();
        let line = |number: u64, text: &str| Line {
            fingerprint: Fingerprint::parse(&format!("{number:x}")).unwrap(),
            text: text.into(),
            kind: "read".into(),
            reason: None,
            count: 1,
            first: 0,
            last: 0,
            readiness: Readiness::Translated,
            refused: None,
            compared: Compared::default(),
        };
        let both = line(1, "SELECT * FROM users JOIN sessions USING (id) WHERE a = ?");
        let own = line(2, "SELECT id FROM codes WHERE id = ?");
        assert!(of_line(&catalog, &both).crosses());
        assert!(!of_line(&catalog, &own).crosses());
        let lines = [both, own];
        let facts = GroupFacts {
            name: "logins".into(),
            functions: vec!["clean()".into()],
            mixed: BTreeSet::from(["0000000000000001".to_owned()]),
            crossings: vec![
                Crossing {
                    fingerprint: Fingerprint::parse("2"),
                    groups: vec!["".into(), "logins".into()],
                },
                Crossing {
                    fingerprint: Fingerprint::parse("3"),
                    groups: vec!["".into(), "other".into()],
                },
            ],
            ..GroupFacts::default()
        };
        let accept =
            |items: &[&str]| items.iter().map(|item| (*item).to_owned()).collect::<Vec<_>>();
        let all = reasons(&facts, &lines, &[]);
        assert_eq!(
            all[1..],
            [
                "statement 0000000000000001 is about tables of group logins and others",
                "a transaction with statement 0000000000000002 uses tables of no group, group logins",
            ]
        );
        assert!(all[0].starts_with("function clean() names a table"), "{all:?}");
        let accepted = accept(&["clean()", "0000000000000001", "0000000000000002"]);
        assert_eq!(reasons(&facts, &lines, &accepted), [""; 0]);
        let forgotten = lines.map(|line| Line { readiness: Readiness::Forgotten, ..line });
        assert_eq!(reasons(&facts, &forgotten, &accept(&["clean()"])), [""; 0], "sent no more");
    }
}
