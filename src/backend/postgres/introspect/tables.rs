//! From rows of `pg_catalog` to tables: roots, columns, keys, constraints, and their capture.
//!
//! Invariant: positions (`key`, `Unique::columns`, …) index `Table::columns`; an attribute number
//! never leaves this file but as `Column::number`.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use tokio_postgres::Row;

use crate::backend::postgres::introspect::Reading;
use crate::backend::postgres::introspect::server_side::{Function, Written, written};
use crate::backend::postgres::introspect::types::{Resolved, Types};
use crate::catalog::choose::{Circumstances, choose};
use crate::catalog::naming::Naming;
use crate::catalog::{
    Action, Capture, Catalog, CheckConstraint, Column, ForeignKey, Group, Index, Table, TargetType,
    Unique, ddl, map,
};
use crate::names::{Oid, TableId, TableName};
use crate::policy::{Policies, TypeChoices};

/// What the server answered, row by row.
pub(super) struct Answers {
    pub(super) relations: Vec<Row>,
    pub(super) inheritance: Vec<Row>,
    pub(super) columns: Vec<Row>,
    pub(super) types: Vec<Row>,
    pub(super) constraints: Vec<Row>,
    pub(super) indexes: Vec<Row>,
    pub(super) triggers: Vec<Row>,
    pub(super) rules: Vec<Row>,
    pub(super) functions: Vec<Row>,
    pub(super) write_only: Vec<Row>,
}

impl Answers {
    /// Everything but names and search paths.
    pub(super) fn assemble(
        &self,
        registered: &HashMap<TableName, TableId>,
        policies: &Policies,
        naming: &Naming,
        types: Option<TypeChoices>,
    ) -> Reading {
        let roots = self.roots();
        let mut columns = self.columns();
        let mut tables = HashMap::new();
        let mut circumstances = self.circumstances(&roots, &columns);
        for row in self.relations.iter().filter(|row| is_own_table(row)) {
            let oid: Oid = row.get(0);
            if roots.contains_key(&oid) {
                continue;
            }
            let name = TableName::new(row.get(1), row.get(2));
            let table = Table {
                id: registered.get(&name).copied(),
                oid,
                target: naming.target(&name),
                columns: columns.remove(&oid).unwrap_or_default(),
                key: Vec::new(),
                uniques: Vec::new(),
                foreign_keys: Vec::new(),
                checks: Vec::new(),
                indexes: Vec::new(),
                comment: row.get(6),
                policy: policies.of(&name),
                capture: Capture::Off,
                name,
            };
            tables.insert(oid, table);
        }
        self.add_constraints(&mut tables, &mut circumstances);
        self.add_indexes(&mut tables);
        finish(&mut tables, &circumstances, types);
        let groups = groups(&tables, policies);
        let tables = tables.into_iter().map(|(oid, table)| (oid, Arc::new(table))).collect();
        let catalog = Catalog { tables, roots, groups, ..Catalog::default() };
        Reading { catalog, circumstances, recorded_types: None }
    }

    /// Each partition's topmost parent. Old-style inheritance is left as it is: such a child has
    /// columns and a key of its own.
    fn roots(&self) -> HashMap<Oid, Oid> {
        let partitions = self.inheritance.iter().filter(|row| row.get(2));
        let parents: HashMap<Oid, Oid> = partitions.map(|row| (row.get(0), row.get(1))).collect();
        let top = |mut oid: Oid| {
            while let Some(parent) = parents.get(&oid) {
                oid = *parent;
            }
            oid
        };
        parents.keys().map(|oid| (*oid, top(*oid))).collect()
    }

    fn columns(&self) -> HashMap<Oid, Vec<Column>> {
        let types = Types::read(&self.types);
        let mut columns: HashMap<Oid, Vec<Column>> = HashMap::new();
        for row in &self.columns {
            columns.entry(row.get(0)).or_default().push(column(row, &types));
        }
        columns
    }

    /// What has to be known of a table beside its definition, by root.
    fn circumstances(
        &self,
        roots: &HashMap<Oid, Oid>,
        columns: &HashMap<Oid, Vec<Column>>,
    ) -> HashMap<Oid, Circumstances> {
        let root = |oid: Oid| *roots.get(&oid).unwrap_or(&oid);
        let mut found: HashMap<Oid, Circumstances> = HashMap::new();
        let written = self.written();
        let by_rules: HashSet<Oid> =
            self.rules.iter().filter_map(|row| row.get::<_, Option<Oid>>(1)).collect();
        for row in self.relations.iter().filter(|row| is_own_table(row)) {
            let (oid, persistence): (Oid, &str) = (row.get(0), row.get(4));
            let entry = found.entry(root(oid)).or_default();
            entry.unlogged |= persistence == "u";
            entry.row_security |= row.get::<_, bool>(5);
            entry.written_by_server |= written.may_be(row.get(2)) || by_rules.contains(&oid);
            entry.partitions_differ |= shape(columns.get(&oid)) != shape(columns.get(&root(oid)));
        }
        let mut mark = |oid: Oid, change: fn(&mut Circumstances)| {
            change(found.entry(root(oid)).or_default());
        };
        for row in self.inheritance.iter().filter(|row| !row.get::<_, bool>(2)) {
            mark(row.get(0), |entry| entry.inherits = true);
            mark(row.get(1), |entry| entry.inherits = true);
        }
        for row in &self.triggers {
            match (row.get(2), row.get(3)) {
                (true, _) => mark(row.get(0), |entry| entry.trigger_installed = true),
                (false, true) => {}
                (false, false) => mark(row.get(0), |entry| entry.triggers = true),
            }
        }
        self.rules.iter().for_each(|row| mark(row.get(0), |entry| entry.rules = true));
        self.write_only
            .iter()
            .for_each(|row| mark(row.get(0), |entry| entry.write_only_role = true));
        found
    }

    fn written(&self) -> Written {
        let foreign = self.triggers.iter().filter(|row| !row.get::<_, bool>(3));
        let triggers: Vec<Oid> = foreign.map(|row| row.get(1)).collect();
        let function = |row: &Row| Function {
            oid: row.get(0),
            name: row.get(1),
            language: row.get(2),
            source: row.get(3),
        };
        written(&triggers, &self.functions.iter().map(function).collect::<Vec<_>>())
    }

    fn add_constraints(
        &self,
        tables: &mut HashMap<Oid, Table>,
        circumstances: &mut HashMap<Oid, Circumstances>,
    ) {
        for row in &self.constraints {
            let Some(table) = tables.get_mut(&row.get(0)) else { continue };
            let name: String = row.get(1);
            let numbers: Vec<i16> = row.get::<_, Option<Vec<i16>>>(4).unwrap_or_default();
            let columns: Vec<usize> =
                numbers.iter().filter_map(|number| position(table, *number)).collect();
            match row.get::<_, &str>(2) {
                "p" => {
                    table.key = columns;
                    let entry = circumstances.entry(table.oid).or_default();
                    entry.deferrable_key = row.get(3);
                }
                "f" => table.foreign_keys.push(foreign_key(row, name, columns)),
                "c" | "x" => {
                    table.checks.push(CheckConstraint { name, definition: row.get(9) });
                }
                _ => {}
            }
        }
    }

    fn add_indexes(&self, tables: &mut HashMap<Oid, Table>) {
        for row in &self.indexes {
            let Some(table) = tables.get_mut(&row.get(0)) else { continue };
            let numbers: Vec<i16> = row.get(3);
            let keys = usize::from(row.get::<_, i16>(4).unsigned_abs());
            let columns: Vec<Option<usize>> =
                numbers.iter().take(keys).map(|number| position(table, *number)).collect();
            if row.get(2) {
                table.uniques.push(Unique {
                    name: row.get(1),
                    columns: columns.into_iter().flatten().collect(),
                    deferrable: row.get(10),
                    nulls_not_distinct: row.get(6),
                    predicate: row.get(7),
                    expressions: row.get(8),
                });
                continue;
            }
            let options: Vec<i16> = row.get(5);
            table.indexes.push(Index {
                name: row.get(1),
                descending: options.iter().take(keys).map(|option| option & 1 == 1).collect(),
                columns,
                expressions: row.get(8),
                predicate: row.get(7),
                definition: row.get(9),
            });
        }
    }
}

/// Tables and partitioned tables outside the system's schemas.
fn is_own_table(row: &Row) -> bool {
    matches!(row.get(3), "r" | "p") && row.get(7)
}

/// Names and types in order: what `ROW(t.*)` shows of a table.
fn shape(columns: Option<&Vec<Column>>) -> Vec<(&str, Oid)> {
    let columns = columns.map(Vec::as_slice).unwrap_or_default();
    columns.iter().map(|column| (column.name.as_str(), column.type_ref.oid)).collect()
}

fn position(table: &Table, number: i16) -> Option<usize> {
    table.columns.iter().position(|column| column.number == number)
}

fn column(row: &Row, types: &Types) -> Column {
    let Resolved { type_ref, length, precision } = types.resolve(row.get(3), row.get(4));
    let expression: Option<String> = row.get(9);
    let identity = !row.get::<_, &str>(6).is_empty();
    let generated = !row.get::<_, &str>(7).is_empty();
    let by_sequence = expression.as_ref().is_some_and(|text| text.starts_with("nextval("));
    Column {
        name: row.get(2),
        number: row.get(1),
        type_ref,
        type_name: row.get(8),
        length,
        precision,
        not_null: row.get(5),
        identity,
        serial: identity || by_sequence,
        default: expression.clone().filter(|_| !generated),
        generated: expression.filter(|_| generated),
        domain_checks: row
            .get::<_, Vec<String>>(13)
            .iter()
            .filter_map(|text| domain_check(text))
            .collect(),
        collation: row.get(10),
        nondeterministic: row.get(12),
        comment: row.get(11),
        target: TargetType::None,
    }
}

/// `name CHECK (…)`; a name may hold blanks.
fn domain_check(text: &str) -> Option<CheckConstraint> {
    let at = text.find(" CHECK (")?;
    Some(CheckConstraint { name: text[..at].to_owned(), definition: text[at + 1..].to_owned() })
}

fn foreign_key(row: &Row, name: String, columns: Vec<usize>) -> ForeignKey {
    ForeignKey {
        name,
        columns,
        references: row.get(5),
        referenced: row.get::<_, Option<Vec<String>>>(6).unwrap_or_default(),
        on_delete: action(row.get(7)),
        on_update: action(row.get(8)),
        deferrable: row.get(3),
    }
}

fn action(letter: &str) -> Action {
    match letter {
        "r" => Action::Restrict,
        "c" => Action::Cascade,
        "n" => Action::SetNull,
        "d" => Action::SetDefault,
        _ => Action::NoAction,
    }
}

/// The groups that proxy.yaml gives captured tables, by name.
fn groups(tables: &HashMap<Oid, Table>, policies: &Policies) -> Vec<Group> {
    let mut groups: BTreeMap<&str, Vec<Oid>> = BTreeMap::new();
    for table in tables.values().filter(|table| ddl::migrates(table)) {
        if let Some(name) = policies.group_of(&table.name) {
            groups.entry(name).or_default().push(table.oid);
        }
    }
    let group = |(name, mut tables): (&str, Vec<Oid>)| {
        tables.sort_unstable();
        Group { name: name.to_owned(), tables }
    };
    groups.into_iter().map(group).collect()
}

/// MySQL's types, which depend on who references a column, and then the capture.
/// Types that were recorded in words this version does not know stop every table: its writes are
/// left to sidecars that do.
fn finish(
    tables: &mut HashMap<Oid, Table>,
    circumstances: &HashMap<Oid, Circumstances>,
    types: Option<TypeChoices>,
) {
    let mut referenced: HashMap<Oid, HashSet<String>> = HashMap::new();
    for key in tables.values().flat_map(|table| &table.foreign_keys) {
        referenced.entry(key.references).or_default().extend(key.referenced.iter().cloned());
    }
    let none = Circumstances::default();
    for table in tables.values_mut() {
        let names = referenced.get(&table.oid);
        let is_referenced =
            |at: &usize| names.is_some_and(|names| names.contains(&table.columns[*at].name));
        let positions: Vec<usize> = (0..table.columns.len()).filter(is_referenced).collect();
        map::assign(table, &positions, types.unwrap_or_default());
        table.capture = match choose(table, circumstances.get(&table.oid).unwrap_or(&none)) {
            Capture::Returning | Capture::Trigger if types.is_none() => {
                Capture::Impossible("unknown_types")
            }
            capture => capture,
        };
    }
}
