//! What `setup` has to run on either side: decided here, run elsewhere.
//!
//! ```text
//! Reading (PostgreSQL) + Existing (MySQL) + Standing ──[`Plan::new`]──▶ statements, in order
//! ```
//!
//! Invariant: the plan is the text that runs; `--dry-run` prints that very text. Numbers of new
//! tables are chosen here, so that triggers can name them.

use std::collections::HashMap;

use crate::backend::mysql::control as mysql_control;
use crate::backend::postgres::control;
use crate::backend::postgres::introspect::Reading;
use crate::catalog::choose::{Circumstances, wanted};
use crate::catalog::ddl::alter::{Existing, Kind, changes};
use crate::catalog::ddl::{self, quote_text};
use crate::catalog::{Capture, Table};
use crate::control::layout::Layout;
use crate::names::{TableId, TableName};
use crate::policy::{Mode, TypeChoices};
use crate::value::Flavor;

/// [`crate::change::KeyHash::TABLE`] as MySQL writes it.
const TABLE_HASH: &str = "X'00000000000000000000000000000000'";

/// What is there of ours on PostgreSQL.
#[derive(Clone, Debug, Default)]
pub(super) struct Standing {
    /// The schema `crossfade` exists.
    pub(super) schema: bool,
    /// Its sequence has been set: dual writes have begun.
    pub(super) epoch: Option<u64>,
    /// `crossfade.tables`: number and capture.
    pub(super) registered: HashMap<TableName, (TableId, String)>,
    /// Tables are registered, but what the outbox held for them is gone.
    pub(super) outbox_lost: bool,
    /// Roles that may write tables, quoted.
    pub(super) writers: Vec<String>,
    /// Tables whose owner we may act as.
    pub(super) owned: Vec<TableName>,
}

/// One table's statement for MySQL, or a common one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    pub table: Option<TableName>,
    pub sql: String,
}

/// Everything that `setup` would do.
#[derive(Clone, Debug, Default)]
pub struct Plan {
    /// Runs on MySQL, in order, before PostgreSQL hears of anything.
    pub mysql: Vec<Step>,
    /// Runs on PostgreSQL, in one transaction.
    pub postgres: Vec<String>,
    /// Changes of MySQL's tables that lose something or may fail; only shown.
    pub unsafe_changes: Vec<Step>,
    /// Safe changes of tables that exist; run with `--apply`.
    pub changes: Vec<Step>,
    /// Types to record, if they are not those on record.
    types: Option<TypeChoices>,
    /// Some types are on record.
    recorded_before: bool,
    /// What could not be carried over.
    pub warnings: Vec<(TableName, String)>,
}

impl Plan {
    pub(super) fn new(
        reading: &Reading,
        existing: &Existing,
        flavor: Flavor,
        standing: &Standing,
        types: TypeChoices,
    ) -> Self {
        let recorded = reading.recorded_types.as_deref().and_then(TypeChoices::parse);
        let mut plan = Self {
            recorded_before: reading.recorded_types.is_some(),
            types: Some(types).filter(|types| recorded != Some(*types)),
            ..Self::default()
        };
        let tables = numbered(reading, standing);
        plan.mysql_control(standing);
        plan.mysql_schema(reading, existing, flavor);
        plan.mysql_register(&tables);
        plan.postgres_control(standing);
        for registration in &tables {
            plan.register(registration, standing);
            if let Capture::Impossible(reason) = &registration.capture {
                let warning = format!("not migrated: {}", reason.replace('_', " "));
                plan.warnings.push((registration.table.name.clone(), warning));
            }
        }
        plan
    }

    fn mysql_control(&mut self, standing: &Standing) {
        self.common(ddl::prelude().to_owned());
        mysql_control::CREATE.iter().for_each(|statement| self.common((*statement).to_owned()));
        let epoch = standing.epoch.unwrap_or(1);
        self.common(format!(
            "INSERT INTO `crossfade_state` (`id`, `epoch`) SELECT 1, {epoch} FROM DUAL \
             WHERE NOT EXISTS (SELECT 1 FROM `crossfade_state` WHERE `id` = 1)"
        ));
        let layout = mysql_control::record_layout(Layout::OURS.number());
        layout.into_iter().for_each(|statement| self.common(statement));
    }

    /// Creating tables runs always; changing those that exist waits for `--apply`.
    fn mysql_schema(&mut self, reading: &Reading, existing: &Existing, flavor: Flavor) {
        for change in changes(&reading.catalog, existing, flavor) {
            let ddl::Statement { table, sql, warnings } = change.statement;
            self.warnings.extend(warnings.into_iter().map(|warning| (table.clone(), warning)));
            if sql.is_empty() {
                continue;
            }
            let step = Step { table: Some(table), sql };
            match change.kind {
                Kind::Create => self.mysql.push(step),
                Kind::Safe => self.changes.push(step),
                Kind::Unsafe => self.unsafe_changes.push(step),
            }
        }
    }

    /// The rows that applies of one table lock: see `backend::mysql::control`.
    fn mysql_register(&mut self, tables: &[Registration<'_>]) {
        for table in tables.iter().filter(|table| ddl::migrates(table.table)) {
            let id = table.id;
            self.common(format!(
                "INSERT INTO `crossfade_fence` (`table_id`, `key_hash`, `epoch`, `counter`, `n`, `deleted`) \
                 SELECT {id}, {TABLE_HASH}, 0, 0, 0, 0 FROM DUAL WHERE NOT EXISTS (SELECT 1 \
                 FROM `crossfade_fence` WHERE `table_id` = {id} AND `key_hash` = {TABLE_HASH})"
            ));
            self.common(format!(
                "INSERT INTO `crossfade_floor` (`table_id`, `epoch`, `counter`, `n`) \
                 SELECT {id}, 0, 0, 0 FROM DUAL \
                 WHERE NOT EXISTS (SELECT 1 FROM `crossfade_floor` WHERE `table_id` = {id})"
            ));
        }
    }

    fn common(&mut self, sql: String) {
        self.mysql.push(Step { table: None, sql });
    }

    fn postgres_control(&mut self, standing: &Standing) {
        if !standing.schema {
            self.postgres.push(control::SCHEMA.to_owned());
        }
        self.postgres.push(control::tables().trim().trim_end_matches(';').to_owned());
        if standing.outbox_lost {
            self.postgres.push(control::OUTBOX_LOST.to_owned());
        }
        for setting in [
            (
                "timeline",
                "pg_catalog.substr(pg_catalog.pg_walfile_name(pg_catalog.pg_current_wal_insert_lsn()), 1, 8)",
            ),
            (
                "system_identifier",
                "(SELECT c.system_identifier::text FROM pg_catalog.pg_control_system() c)",
            ),
            (
                "database",
                "(SELECT d.oid::text FROM pg_catalog.pg_database d WHERE d.datname = pg_catalog.current_database())",
            ),
        ] {
            self.postgres.push(format!(
                "INSERT INTO crossfade.settings (key, value) VALUES ('{}', {}) ON CONFLICT (key) DO NOTHING",
                setting.0, setting.1
            ));
        }
        self.postgres.push(control::record_layout(&Layout::OURS.record()));
        for writer in &standing.writers {
            self.postgres.extend(control::grants(writer));
        }
    }

    fn register(&mut self, registration: &Registration<'_>, standing: &Standing) {
        let Registration { table, id, capture, installed, before } = registration;
        let capture_text = capture_text(capture);
        self.postgres.push(format!(
            "INSERT INTO crossfade.tables (id, schema, name, capture, target) OVERRIDING SYSTEM VALUE \
             VALUES ({id}, {}, {}, {}, {}) ON CONFLICT (schema, name) \
             DO UPDATE SET capture = excluded.capture, target = excluded.target",
            quote_text(table.name.schema()),
            quote_text(table.name.name()),
            quote_text(&capture_text),
            quote_text(&table.target),
        ));
        match (capture, installed) {
            (Capture::Trigger, installed) => {
                self.postgres.extend(control::trigger_function(table, *id));
                if !installed {
                    let always = standing.owned.contains(&table.name);
                    self.postgres.extend(control::triggers(table, *id, always));
                }
            }
            (_, true) => self.postgres.push(control::drop_trigger(*id)),
            (_, false) => {}
        }
        let reason = match before {
            // Rows that were there before have to be copied.
            None => format!("'backfill' WHERE EXISTS (SELECT FROM {})", table.name.quoted()),
            Some(before) if *before != capture_text => "'capture changed' WHERE true".to_owned(),
            Some(_) => return,
        };
        let (reason, condition) = reason.split_once(" WHERE ").unwrap_or((&reason, "true"));
        if matches!(capture, Capture::Returning | Capture::Trigger) {
            self.postgres.push(format!(
                "UPDATE crossfade.tables SET dirty_reason = coalesce(dirty_reason, {reason}), \
                 dirty_since = coalesce(dirty_since, pg_catalog.now()) WHERE id = {id} AND {condition}"
            ));
        }
    }

    /// Records the types that new columns have, once the old ones have them too; `apply` says whether
    /// the safe changes ran. The first setup has no old ones. Until then sidecars write by the old rule, which the new columns take or
    /// refuse.
    #[must_use]
    pub fn record_types(&self, apply: bool) -> Option<String> {
        let left = self.recorded_before
            && (!self.unsafe_changes.is_empty() || !(apply || self.changes.is_empty()));
        let types = self.types.filter(|_| !left)?;
        Some(format!(
            "INSERT INTO crossfade.settings (key, value) VALUES ('types', {}) \
             ON CONFLICT (key) DO UPDATE SET value = excluded.value",
            quote_text(&types.record())
        ))
    }

    /// The statements as a script, under a heading for each side.
    #[must_use]
    pub fn script(&self, database: &str) -> String {
        let mut text = format!("-- MySQL, database {database}\n");
        for step in self.mysql.iter().chain(&self.changes) {
            text += &format!("{};\n", step.sql);
        }
        for step in &self.unsafe_changes {
            text += &format!("-- not run: {};\n", step.sql.replace('\n', " "));
        }
        text += "\n-- PostgreSQL\nBEGIN;\n";
        for statement in self.postgres.iter().chain(&self.record_types(true)) {
            text += &format!("{statement};\n");
        }
        text + "COMMIT;\n"
    }
}

/// A table with its number, what it should be captured by, and what was so far.
struct Registration<'a> {
    table: &'a Table,
    id: TableId,
    capture: Capture,
    /// Our trigger is on it.
    installed: bool,
    /// `crossfade.tables.capture`, if it is registered.
    before: Option<String>,
}

/// Every table that is asked for, by name; new ones get the next numbers.
fn numbered<'a>(reading: &'a Reading, standing: &Standing) -> Vec<Registration<'a>> {
    let mut tables: Vec<&Table> = reading.catalog.tables.values().map(|table| &**table).collect();
    tables.retain(|table| {
        table.policy.mode != Mode::Off || standing.registered.contains_key(&table.name)
    });
    tables.sort_by(|a, b| a.name.cmp(&b.name));
    let mut next = standing.registered.values().map(|(id, _)| id.0).max().unwrap_or(0);
    let none = Circumstances::default();
    let register = |table: &'a Table| {
        let circumstances = reading.circumstances.get(&table.oid).unwrap_or(&none);
        let known = standing.registered.get(&table.name);
        let id = known.map_or_else(
            || {
                next += 1;
                TableId(next)
            },
            |(id, _)| *id,
        );
        Registration {
            table,
            id,
            capture: wanted(table, circumstances),
            installed: circumstances.trigger_installed,
            before: known.map(|(_, capture)| capture.clone()),
        }
    };
    tables.into_iter().map(register).collect()
}

/// As `crossfade.tables.capture` has it.
fn capture_text(capture: &Capture) -> String {
    match capture {
        Capture::Returning => "returning".to_owned(),
        Capture::Trigger => "trigger".to_owned(),
        Capture::Off => "off".to_owned(),
        Capture::Elsewhere => "elsewhere".to_owned(),
        Capture::Impossible(reason) => format!("impossible: {reason}"),
    }
}
