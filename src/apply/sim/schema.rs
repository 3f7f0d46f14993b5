//! The tables of the simulation: parents and children, unique values, each way of capture.
//!
//! ```text
//! users(id, email unique) ◀─cascade── orders(id, user, code unique)  captured by trigger
//!                         ◀─refuse─── notes(id, user, text)
//! items(id, slot unique, v)
//! ```
//!
//! Invariant: both servers hold rows as [`Cells`], with the key first.

use std::collections::BTreeMap;
use std::sync::{Arc, LazyLock};

use crate::catalog::{Action, Capture, Catalog, ForeignKey, Table, Unique};
use crate::change::{Key, RowImage};
use crate::names::{Oid, TableId};
use crate::value::Value;

pub(super) const USERS: usize = 0;
pub(super) const ORDERS: usize = 1;
pub(super) const NOTES: usize = 2;
pub(super) const ITEMS: usize = 3;
pub(super) const TABLES: usize = 4;
/// Keys are below this.
pub(super) const IDS: i64 = 5;

/// A row: the key, then the columns.
pub(super) type Cells = Vec<Option<i64>>;
pub(super) type Place = (usize, i64);
pub(super) type Rows = BTreeMap<Place, Cells>;

pub(super) static SCHEMA: LazyLock<Schema> = LazyLock::new(Schema::new);

pub(super) struct Schema {
    pub(super) catalog: Arc<Catalog>,
    pub(super) tables: Vec<Arc<Table>>,
    keys: Vec<Vec<Key>>,
}

impl Schema {
    fn new() -> Self {
        let mut catalog = Catalog::for_test(&[
            ("users", "id:int4*,email:int4?,name:int4"),
            ("orders", "id:int4*,user:int4?,code:int4"),
            ("notes", "id:int4*,user:int4?,text:int4"),
            ("items", "id:int4*,slot:int4?,v:int4"),
        ]);
        let names = ["users", "orders", "notes", "items"];
        let oid = |at: usize| 16384 + 10 * Oid::try_from(at).unwrap();
        for (at, name) in names.iter().enumerate() {
            let table = Arc::make_mut(catalog.tables.get_mut(&oid(at)).unwrap());
            assert_eq!(table.name.name(), *name);
            table.uniques = unique(at).into_iter().map(unique_of).collect();
            table.foreign_keys =
                parent(at).into_iter().map(|cascades| foreign_key(oid(USERS), cascades)).collect();
            if at == ORDERS {
                table.capture = Capture::Trigger;
            }
        }
        let tables: Vec<_> = (0..TABLES).map(|at| Arc::clone(&catalog.tables[&oid(at)])).collect();
        let key = |table: &Arc<Table>, id| Key::encode(vec![Value::Int(id)], table).unwrap();
        let keys = tables.iter().map(|table| (0..IDS).map(|id| key(table, id)).collect()).collect();
        Self { catalog: Arc::new(catalog), tables, keys }
    }

    pub(super) fn key(&self, table: usize, id: i64) -> &Key {
        &self.keys[table][usize::try_from(id).unwrap()]
    }
}

/// The unique column beside the key.
pub(super) fn unique(table: usize) -> Option<usize> {
    match table {
        USERS | ITEMS => Some(1),
        ORDERS => Some(2),
        _ => None,
    }
}

/// Whether column 1 names a user; true where the user's end is the row's end.
pub(super) fn parent(table: usize) -> Option<bool> {
    match table {
        ORDERS => Some(true),
        NOTES => Some(false),
        _ => None,
    }
}

fn unique_of(column: usize) -> Unique {
    Unique {
        name: "unique".to_owned(),
        columns: vec![column],
        deferrable: false,
        nulls_not_distinct: false,
        predicate: None,
        expressions: None,
    }
}

fn foreign_key(references: Oid, cascades: bool) -> ForeignKey {
    let action = if cascades { Action::Cascade } else { Action::NoAction };
    ForeignKey {
        name: "parent".to_owned(),
        columns: vec![1],
        references,
        referenced: vec!["id".to_owned()],
        on_delete: action,
        on_update: action,
        deferrable: false,
    }
}

pub(super) fn index(table: &Table) -> usize {
    of_id(table.id.unwrap())
}

pub(super) fn of_id(id: TableId) -> usize {
    usize::try_from(id.0 - 1).unwrap()
}

pub(super) fn image(cells: &Cells) -> RowImage {
    let value = |cell: &Option<i64>| cell.map_or(Value::Null, Value::Int);
    RowImage { values: cells.iter().map(value).collect() }
}

pub(super) fn cells(image: &RowImage) -> Cells {
    let cell = |value: &Value| match value {
        Value::Int(value) => Some(*value),
        _ => None,
    };
    image.values.iter().map(cell).collect()
}

pub(super) fn id(key: &Key) -> i64 {
    match key.values[..] {
        [Value::Int(id)] => id,
        _ => panic!("keys are integers"),
    }
}

/// Another row that holds this unique value.
pub(super) fn holder(rows: &Rows, table: usize, id: i64, cells: &Cells) -> Option<i64> {
    let column = unique(table)?;
    cells[column]?;
    let mut others = rows.range((table, 0)..(table, IDS));
    others
        .find(|((_, other), theirs)| *other != id && theirs[column] == cells[column])
        .map(|((_, id), _)| *id)
}

/// Rows of a table that name this user.
pub(super) fn children(rows: &Rows, table: usize, user: i64) -> Vec<i64> {
    let all = rows.range((table, 0)..(table, IDS));
    all.filter(|(_, cells)| cells[1] == Some(user)).map(|((_, id), _)| *id).collect()
}
