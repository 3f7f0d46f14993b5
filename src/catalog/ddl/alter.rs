//! What a schema that exists on the secondary lacks, or has too much of.
//!
//! ```text
//! Catalog + [`Existing`] ──[`changes`]──▶ Vec<Change>   nothing is lost: safe
//!                                                       DROP COLUMN, a narrower type: a person decides
//! ```
//!
//! In order: foreign keys that go, then table by table (CHECKs and indexes that go, columns, indexes
//! and CHECKs that come), then foreign keys that come.
//!
//! Invariant: a safe change loses nothing; where rows of the secondary are against it, MySQL refuses
//! it and it is left. After any change the table is dirty until a verify pass is clean, so a column
//! that is added may hold the wrong values for a while.

use std::collections::{HashMap, HashSet};

use crate::catalog::ddl::foreign::{ForeignShape, Keys};
use crate::catalog::ddl::shape::{Shape, begins_with, quoted};
use crate::catalog::ddl::widen::{Step, step};
use crate::catalog::ddl::{Definition, Flavor, Names, Statement, column, definitions, sorted};
use crate::catalog::{Catalog, Table, TargetType};
use crate::names::{TableName, quote_mysql};

/// What the secondary has.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Existing {
    /// Tables by name.
    pub tables: HashMap<String, ExistingTable>,
    /// By name, which is unique in a database.
    pub foreign_keys: HashMap<String, ForeignShape>,
    /// Tables that were migrated and that PostgreSQL has no more, with their names here.
    pub dropped: Vec<(TableName, String)>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ExistingTable {
    /// Visible columns: name → `COLUMN_TYPE`.
    pub columns: HashMap<String, String>,
    /// As it is, and as it should be.
    pub found: Shape,
    pub wanted: Shape,
}

/// One statement that brings the secondary nearer to the catalogue.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    pub statement: Statement,
    pub kind: Kind,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Makes what was not there; runs with every setup.
    Create,
    /// Loses nothing; runs under `--apply`.
    Safe,
    /// Only shown.
    Unsafe,
}

/// For each table that exists, its name and a statement that makes an empty one as it should be:
/// what [`ExistingTable::wanted`] is read from.
#[must_use]
pub fn probes(catalog: &Catalog, existing: &Existing, flavor: Flavor) -> Vec<(String, String)> {
    let definitions = definitions(catalog, flavor, &mut Names::default());
    let there = definitions.iter().filter(|d| existing.tables.contains_key(&d.table.target));
    there.map(|d| (d.table.target.clone(), d.temporary())).collect()
}

/// Everything to do, in order.
#[must_use]
pub fn changes(catalog: &Catalog, existing: &Existing, flavor: Flavor) -> Vec<Change> {
    let mut names = Names::default();
    let definitions = definitions(catalog, flavor, &mut names);
    let (mut created, mut altered) = (Vec::new(), Vec::new());
    let mut retyped = HashSet::new();
    for definition in &definitions {
        match existing.tables.get(&definition.table.target) {
            None => created.push(Change { statement: definition.create(), kind: Kind::Create }),
            Some(table) => {
                altered.append(&mut TableChanges::new(definition, table).all(&mut retyped));
            }
        }
    }
    let keys: Vec<Keys> = sorted(catalog)
        .into_iter()
        .map(|table| Keys::of(catalog, table, flavor, &mut names))
        .collect();
    let (dropped, mut added) = foreign_keys(catalog, &keys, existing, &retyped);
    let gone = existing.dropped.iter().map(|(table, target)| Change {
        statement: Statement {
            table: table.clone(),
            sql: format!("DROP TABLE {}", quote_mysql(target)),
            warnings: Vec::new(),
        },
        kind: Kind::Unsafe,
    });
    // Missing ones come last, and with the rest: they may want what the rest brings.
    if dropped.is_empty() && altered.iter().all(|change| change.kind == Kind::Unsafe) {
        added.iter_mut().for_each(|change| change.kind = Kind::Create);
    }
    let order = [created, dropped, altered, added];
    order.into_iter().flatten().chain(gone).collect()
}

/// Foreign keys to drop and to add. Those of columns that get another type go before, and come back.
fn foreign_keys(
    catalog: &Catalog,
    keys: &[Keys],
    existing: &Existing,
    retyped: &HashSet<(String, String)>,
) -> (Vec<Change>, Vec<Change>) {
    let tables: HashMap<&str, &TableName> =
        sorted(catalog).iter().map(|table| (table.target.as_str(), &table.name)).collect();
    let wanted: HashMap<&str, &ForeignShape> =
        keys.iter().flat_map(|keys| &keys.wanted).map(|(name, key)| (name.as_str(), key)).collect();
    let kept = |name: &str| {
        let found = existing.foreign_keys.get(name);
        found.is_some_and(|key| wanted.get(name) == Some(&key) && !key.touches(retyped))
    };
    let mut gone: Vec<(&String, &ForeignShape)> =
        existing.foreign_keys.iter().filter(|(name, _)| !kept(name)).collect();
    gone.sort_by_key(|(name, _)| *name);
    let drop = |(name, key): (&String, &ForeignShape)| {
        let table = (*tables.get(key.table.as_str())?).clone();
        let (target, name) = (quote_mysql(&key.table), quote_mysql(name));
        let sql = format!("ALTER TABLE {target} DROP FOREIGN KEY {name}");
        Some(Change { statement: Statement { table, sql, warnings: Vec::new() }, kind: Kind::Safe })
    };
    let add = |keys: &Keys| {
        let statement = keys.add(|name| !kept(name))?;
        Some(Change { statement, kind: Kind::Safe })
    };
    (gone.into_iter().filter_map(drop).collect(), keys.iter().filter_map(add).collect())
}

/// One table that exists, compared.
struct TableChanges<'a> {
    definition: &'a Definition<'a>,
    table: &'a Table,
    existing: &'a ExistingTable,
    changes: Vec<Change>,
    /// A column or the key waits for a person, and with it what is built on them.
    waits: bool,
}

impl<'a> TableChanges<'a> {
    fn new(definition: &'a Definition<'a>, existing: &'a ExistingTable) -> Self {
        Self { definition, table: definition.table, existing, changes: Vec::new(), waits: false }
    }

    /// `retyped` gets the columns of a new type, by table.
    fn all(mut self, retyped: &mut HashSet<(String, String)>) -> Vec<Change> {
        let columns = self.columns(retyped);
        let (found, wanted) = (&self.existing.found, &self.existing.wanted);
        let stale = |name: &String, text: &String| wanted.columns.get(name) != Some(text);
        let hidden: HashSet<&str> = found
            .columns
            .iter()
            .filter(|(name, text)| self.is_hidden(name) && stale(name, text))
            .map(|(name, _)| name.as_str())
            .collect();
        self.drop_checks();
        let keys = self.drop_keys(&hidden);
        let mut hidden: Vec<&str> = hidden.into_iter().collect();
        hidden.sort_unstable();
        for name in hidden {
            self.safe(format!("DROP COLUMN {}", quote_mysql(name)));
        }
        self.changes.extend(columns);
        self.add_hidden();
        for line in &self.definition.keys {
            if name_of(line).is_some_and(|name| !keys.contains(&name)) {
                self.safe(format!("ADD {line}"));
            }
        }
        self.add_checks();
        if found.comment != wanted.comment {
            let comment = self.definition.comment().unwrap_or_else(|| "''".to_owned());
            self.safe(format!("COMMENT = {comment}"));
        }
        self.changes
    }

    fn is_hidden(&self, name: &str) -> bool {
        !self.existing.columns.contains_key(name)
    }

    /// A change that loses nothing, unless the table waits for one that might.
    fn safe(&mut self, clause: String) {
        let kind = if self.waits { Kind::Unsafe } else { Kind::Safe };
        let change = self.change(&clause, kind, None);
        self.changes.push(change);
    }

    fn change(&self, clause: &str, kind: Kind, warning: Option<&str>) -> Change {
        let sql = format!("ALTER TABLE {} {clause}", quote_mysql(&self.table.target));
        let warnings = warning.map(str::to_owned).into_iter().collect();
        Change { statement: Statement { table: self.table.name.clone(), sql, warnings }, kind }
    }

    fn columns(&mut self, retyped: &mut HashSet<(String, String)>) -> Vec<Change> {
        let (existing, flavor) = (self.existing, self.definition.flavor);
        let mut changes = Vec::new();
        for column in self.table.columns.iter().filter(|c| c.target != TargetType::None) {
            let definition = column::definition(self.table, column, flavor);
            let Some(kind) = existing.columns.get(&column.name) else {
                changes.push(self.new_column(column, &definition));
                continue;
            };
            let step = step(kind, &column.target, flavor);
            let (found, wanted) = (&existing.found.columns, &existing.wanted.columns);
            if step == Step::Same && found.get(&column.name) == wanted.get(&column.name) {
                continue;
            }
            let clause = format!("MODIFY COLUMN {definition}");
            match step {
                Step::Other => {
                    self.waits = true;
                    changes.push(self.change(&clause, Kind::Unsafe, None));
                }
                Step::Same | Step::Wider => {
                    if step == Step::Wider {
                        retyped.insert((self.table.target.clone(), column.name.clone()));
                    }
                    changes.push(self.change(&clause, Kind::Safe, None));
                }
            }
        }
        if existing.found.primary != existing.wanted.primary {
            self.waits = true;
            let clause = format!("DROP PRIMARY KEY, ADD {}", self.definition.primary);
            changes.push(self.change(&clause, Kind::Unsafe, None));
        }
        changes.append(&mut self.gone());
        changes
    }

    fn new_column(&self, column: &crate::catalog::Column, definition: &str) -> Change {
        if column.not_null && column::default(column).is_none() {
            let nullable = definition.replacen(" NOT NULL", " NULL", 1);
            let warning = "the new column may be null until every row has been repaired";
            return self.change(&format!("ADD COLUMN {nullable}"), Kind::Safe, Some(warning));
        }
        self.change(&format!("ADD COLUMN {definition}"), Kind::Safe, None)
    }

    /// Columns that PostgreSQL has no more. Rows come without them, so they have to take that.
    fn gone(&self) -> Vec<Change> {
        let known: HashSet<&str> = self.table.columns.iter().map(|c| c.name.as_str()).collect();
        let columns = self.existing.columns.keys();
        let mut gone: Vec<&String> =
            columns.filter(|name| !known.contains(name.as_str())).collect();
        gone.sort();
        let mut changes = Vec::new();
        for name in gone {
            let line = self.existing.found.columns.get(name).map_or("", String::as_str);
            let name = quote_mysql(name);
            if line.contains(" NOT NULL") && !line.contains(" DEFAULT ") {
                let clause =
                    format!("MODIFY COLUMN {name} {}", line.replacen(" NOT NULL", " NULL", 1));
                changes.push(self.change(&clause, Kind::Safe, None));
            }
            changes.push(self.change(&format!("DROP COLUMN {name}"), Kind::Unsafe, None));
        }
        changes
    }

    fn drop_checks(&mut self) {
        let (found, wanted) = (&self.existing.found.checks, &self.existing.wanted.checks);
        for (name, _) in found.iter().filter(|(name, text)| wanted.get(*name) != Some(text)) {
            self.safe(format!("DROP CONSTRAINT {}", quote_mysql(name)));
        }
    }

    fn add_checks(&mut self) {
        let (found, wanted) = (&self.existing.found.checks, &self.existing.wanted.checks);
        for line in &self.definition.checks {
            let name = line.strip_prefix("CONSTRAINT ").and_then(name_of).unwrap_or_default();
            if !found.contains_key(&name) || found.get(&name) != wanted.get(&name) {
                self.safe(format!("ADD {line}"));
            }
        }
    }

    /// Drops indexes that are no longer wanted, or not as they are; returns those that stay. Plain
    /// ones that `setup` did not make are somebody's own.
    fn drop_keys(&mut self, hidden: &HashSet<&str>) -> HashSet<String> {
        let (found, wanted) = (&self.existing.found.keys, &self.existing.wanted.keys);
        let mut stay = HashSet::new();
        let mut gone = Vec::new();
        for (name, key) in found {
            let same = wanted
                .get(name)
                .is_some_and(|wanted| (wanted.unique, &wanted.parts) == (key.unique, &key.parts));
            let broken = hidden.iter().any(|column| key.parts.contains(&quote_mysql(column)));
            let own = !wanted.contains_key(name) && !key.unique && !key.ours;
            match (same || own) && !broken {
                true => drop(stay.insert(name.clone())),
                false => gone.push(name),
            }
        }
        for name in gone {
            let replaced = self.serves_alone(name, &stay);
            self.safe(format!("DROP INDEX {}{replaced}", quote_mysql(name)));
        }
        stay
    }

    /// An index for each foreign key that only the index `name` serves: MySQL would not let it go.
    fn serves_alone(&self, name: &str, stay: &HashSet<String>) -> String {
        let existing = self.existing;
        let mut added = String::new();
        for key in &self.table.foreign_keys {
            let columns: Vec<String> =
                key.columns.iter().map(|at| self.table.columns[*at].name.clone()).collect();
            let stays = |(other, key): (&String, &super::shape::Key)| {
                stay.contains(other) && key.begins_with(&columns)
            };
            if existing.found.keys[name].begins_with(&columns)
                && !existing.found.keys.iter().any(stays)
                && !begins_with(&existing.found.primary, &columns)
            {
                let list: Vec<String> = columns.iter().map(|name| quote_mysql(name)).collect();
                let key = quote_mysql(&crate::catalog::naming::shorten(&key.name));
                added += &format!(", ADD KEY {key} ({})", list.join(", "));
            }
        }
        added
    }

    fn add_hidden(&mut self) {
        let (found, wanted) = (&self.existing.found.columns, &self.existing.wanted.columns);
        for line in &self.definition.hidden {
            let name = name_of(line).unwrap_or_default();
            if !found.contains_key(&name) || found.get(&name) != wanted.get(&name) {
                self.safe(format!("ADD COLUMN {line}"));
            }
        }
    }
}

/// The first quoted name of a line of CREATE TABLE.
fn name_of(line: &str) -> Option<String> {
    quoted(&line[line.find('`')?..]).map(|(name, _)| name)
}
