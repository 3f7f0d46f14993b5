//! What a table's name means: through the catalogue and the search path.
//!
//! Invariant: a name that could mean two tables is never guessed; it resolves to
//! [`Target::Ambiguous`], and the write is flagged.

use std::sync::Arc;

use crate::catalog::{Catalog, Relation, RelationKind, Table};
use crate::names::Oid;

/// Schemas in which unqualified names are looked up, as far as they are known.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub enum SearchPath {
    /// In this order, after `pg_temp` and `pg_catalog`.
    Known(Vec<String>),
    /// Set in a way that could not be followed.
    #[default]
    Unknown,
}

impl SearchPath {
    /// True where it depends on who the session's user is.
    #[must_use]
    pub fn names_user(&self) -> bool {
        matches!(self, Self::Known(schemas) if schemas.iter().any(|schema| schema == USER))
    }

    /// With `$user` replaced. A schema of that name that is not there holds no relation.
    #[must_use]
    pub fn of(self, user: &str) -> Self {
        let replaced = |schema: String| if schema == USER { user.to_owned() } else { schema };
        match self {
            Self::Known(schemas) => Self::Known(schemas.into_iter().map(replaced).collect()),
            Self::Unknown => Self::Unknown,
        }
    }
}

/// Stands for the schema that is named as the session's user.
const USER: &str = "$user";

/// A name as it stands in a statement, folded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Written {
    pub(super) schema: Option<String>,
    pub(super) name: String,
}

#[derive(Clone, Debug)]
pub(super) enum Target {
    Table(Arc<Table>),
    /// A view, and the tables below it; `None` if it may write any.
    View(Option<Vec<Arc<Table>>>),
    /// Nothing of that name: a temporary table, a system table, or an error that the server reports.
    Nothing,
    Ambiguous(Vec<Arc<Table>>),
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Names<'a> {
    pub(super) catalog: &'a Catalog,
    pub(super) path: &'a SearchPath,
}

impl Names<'_> {
    pub(super) fn resolve(&self, written: &Written) -> Target {
        let Some(relations) = self.catalog.relations.get(&written.name) else {
            return Target::Nothing;
        };
        if let Some(schema) = &written.schema {
            return relations
                .iter()
                .find(|relation| relation.schema == *schema)
                .map_or(Target::Nothing, |relation| self.target(relation));
        }
        match (&relations[..], self.path) {
            ([], _) => Target::Nothing,
            ([relation], _) => self.target(relation),
            (_, SearchPath::Known(path)) => path
                .iter()
                .find_map(|schema| relations.iter().find(|relation| relation.schema == *schema))
                .map_or(Target::Nothing, |relation| self.target(relation)),
            (several, SearchPath::Unknown) => Target::Ambiguous(
                several.iter().filter_map(|found| self.catalog.table(found.oid).cloned()).collect(),
            ),
        }
    }

    fn target(&self, relation: &Relation) -> Target {
        match relation.kind {
            RelationKind::Table => {
                self.catalog.table(relation.oid).cloned().map_or(Target::Nothing, Target::Table)
            }
            RelationKind::View => Target::View(self.below(relation.oid)),
            RelationKind::Other => Target::Nothing,
        }
    }

    fn below(&self, view: Oid) -> Option<Vec<Arc<Table>>> {
        let mut tables: Vec<Arc<Table>> = Vec::new();
        for table in
            self.catalog.views.get(&view)?.iter().filter_map(|oid| self.catalog.table(*oid))
        {
            if !tables.iter().any(|known| known.oid == table.oid) {
                tables.push(Arc::clone(table));
            }
        }
        Some(tables)
    }

    /// True where the name is that of a partition or an inheritance child.
    pub(super) fn is_leaf(&self, written: &Written) -> bool {
        self.catalog.relations.get(&written.name).is_some_and(|relations| {
            relations.iter().any(|relation| self.catalog.roots.contains_key(&relation.oid))
        })
    }
}
