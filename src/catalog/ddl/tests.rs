//! MySQL's schema, construct by construct, as text.

use super::shape::Shape;
use super::*;
use crate::catalog::{Action, CheckConstraint, ForeignKey, Index, Unique};
use expect_test::{Expect, expect};
use std::sync::Arc;

/// Builds `parent(id)` and `t(columns)`, lets `change` add constraints to `t`, and prints `t`'s DDL.
#[track_caller]
fn check(columns: &str, change: impl FnOnce(&mut Table), expected: &Expect) {
    let mut catalog = Catalog::for_test(&[("parent", "id:uuid*,code:text"), ("t", columns)]);
    let oid = catalog.by_name(&TableName::parse("t")).unwrap().oid;
    let mut table = (*catalog.tables[&oid]).clone();
    change(&mut table);
    crate::catalog::map::assign(&mut table, &[], crate::policy::TypeChoices::default());
    catalog.tables.insert(oid, Arc::new(table));
    let mut text = String::new();
    for statement in create(&catalog, Flavor::MySql) {
        if statement.table == TableName::parse("t") {
            let lines = statement.sql.lines().filter(|line| !line.starts_with(") ENGINE"));
            text += &lines.map(|line| format!("{line}\n")).collect::<String>();
            text += &statement.warnings.iter().map(|w| format!("-- {w}\n")).collect::<String>();
        }
    }
    expected.assert_eq(&text);
}

fn unique(name: &str, columns: &[usize]) -> Unique {
    Unique {
        name: name.to_owned(),
        columns: columns.to_vec(),
        deferrable: false,
        nulls_not_distinct: false,
        predicate: None,
        expressions: None,
    }
}

fn to_parent(name: &str, column: usize, on_delete: Action) -> ForeignKey {
    ForeignKey {
        name: name.to_owned(),
        columns: vec![column],
        references: 16384,
        referenced: vec!["id".to_owned()],
        on_delete,
        on_update: Action::NoAction,
        deferrable: false,
    }
}

#[test]
fn columns_have_types_defaults_and_comments() {
    check(
        "id:int8*,name:text,role:enum(admin|user),made:timestamptz,data:jsonb?",
        |table| {
            table.columns[0].serial = true;
            table.columns[1].comment = Some("who it's".to_owned());
            table.columns[2].default = Some("'user'::public.role".to_owned());
            table.columns[3].default = Some("now()".to_owned());
        },
        &expect![[r#"
            CREATE TABLE `t` (
                `id` bigint NOT NULL AUTO_INCREMENT,
                `name` longtext NOT NULL COMMENT 'who it''s',
                `role` enum('admin','user') NOT NULL DEFAULT 'user',
                `made` datetime(6) NOT NULL DEFAULT (UTC_TIMESTAMP(6)),
                `data` json NULL,
                PRIMARY KEY (`id`)
        "#]],
    );
}

#[test]
fn long_text_is_unique_by_its_hash() {
    check(
        "id:uuid*,name:text,code:varchar(20)",
        |table| table.uniques.push(unique("t_name_code_key", &[1, 2])),
        &expect![[r#"
            CREATE TABLE `t` (
                `id` char(36) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
                `name` longtext NOT NULL,
                `code` varchar(20) NOT NULL,
                `cf_t_name_code_key_name` char(64) CHARACTER SET ascii COLLATE ascii_bin GENERATED ALWAYS AS (SHA2(`name`, 256)) VIRTUAL INVISIBLE,
                PRIMARY KEY (`id`),
                UNIQUE KEY `t_name_code_key` (`cf_t_name_code_key_name`, `code`)
        "#]],
    );
}

#[test]
fn a_partial_unique_index_has_a_column_for_its_predicate() {
    check(
        "id:uuid*,phone:varchar(32)?,gone:timestamptz?",
        |table| {
            table.uniques.push(Unique {
                predicate: Some("(gone IS NULL)".to_owned()),
                ..unique("t_phone_key", &[1])
            });
            table.uniques.push(Unique {
                predicate: Some("(gone > now())".to_owned()),
                ..unique("t_odd_key", &[1])
            });
        },
        &expect![[r#"
            CREATE TABLE `t` (
                `id` char(36) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
                `phone` varchar(32) NULL,
                `gone` datetime(6) NULL,
                `cf_t_phone_key_when` tinyint(1) GENERATED ALWAYS AS (CASE WHEN (`gone` IS NULL) THEN 1 END) VIRTUAL INVISIBLE,
                PRIMARY KEY (`id`),
                UNIQUE KEY `t_phone_key` (`phone`, `cf_t_phone_key_when`)
            -- unique index "t_odd_key" is left out: MySQL has no equal for its predicate
        "#]],
    );
}

#[test]
fn expressions_and_nulls_that_are_equal_have_hidden_columns() {
    check(
        "id:uuid*,tenant:int4?,email:varchar(200)",
        |table| {
            table.uniques.push(Unique {
                expressions: Some("lower((email)::text)".to_owned()),
                ..unique("t_lower_idx", &[])
            });
            table.uniques.push(Unique { nulls_not_distinct: true, ..unique("t_tenant_key", &[1]) });
        },
        &expect![[r#"
            CREATE TABLE `t` (
                `id` char(36) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
                `tenant` int NULL,
                `email` varchar(200) NOT NULL,
                `cf_t_lower_idx_1` char(64) CHARACTER SET ascii COLLATE ascii_bin GENERATED ALWAYS AS (SHA2(LOWER(`email`), 256)) VIRTUAL INVISIBLE,
                `cf_t_tenant_key_tenant` char(64) CHARACTER SET ascii COLLATE ascii_bin GENERATED ALWAYS AS (COALESCE(SHA2(`tenant`, 256), 'null')) VIRTUAL INVISIBLE,
                PRIMARY KEY (`id`),
                UNIQUE KEY `t_lower_idx` (`cf_t_lower_idx_1`),
                UNIQUE KEY `t_tenant_key` (`cf_t_tenant_key_tenant`)
            -- unique index "t_lower_idx" ignores case by MySQL's rules, which fold some letters (as ß and ss) that PostgreSQL tells apart
        "#]],
    );
}

#[test]
fn foreign_keys_are_added_with_their_actions() {
    check(
        "id:uuid*,a:uuid?,b:uuid,c:int4",
        |table| {
            table.foreign_keys.push(to_parent("t_a_fkey", 1, Action::SetNull));
            table.foreign_keys.push(to_parent("t_b_fkey", 2, Action::SetNull));
            table.foreign_keys.push(to_parent("t_a_fkey", 2, Action::Cascade));
            table.foreign_keys.push(to_parent("t_c_fkey", 3, Action::NoAction));
        },
        &expect![[r#"
            CREATE TABLE `t` (
                `id` char(36) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
                `a` char(36) CHARACTER SET ascii COLLATE ascii_bin NULL,
                `b` char(36) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
                `c` int NOT NULL,
                PRIMARY KEY (`id`)
            ALTER TABLE `t`
                ADD CONSTRAINT `t_a_fkey` FOREIGN KEY (`a`) REFERENCES `parent` (`id`) ON DELETE SET NULL ON UPDATE NO ACTION,
                ADD CONSTRAINT `t_b_fkey` FOREIGN KEY (`b`) REFERENCES `parent` (`id`) ON DELETE NO ACTION ON UPDATE NO ACTION,
                ADD CONSTRAINT `t_t_a_fkey` FOREIGN KEY (`b`) REFERENCES `parent` (`id`) ON DELETE CASCADE ON UPDATE NO ACTION
            -- foreign key "t_b_fkey" has an action that InnoDB lacks: NO ACTION is taken, the changed rows are carried over one by one
            -- foreign key "t_c_fkey" is left out: its columns have another type than those that they reference
        "#]],
    );
}

#[test]
fn checks_are_translated_or_named() {
    check(
        "id:int4*,kind:varchar(10)",
        |table| {
            let check = |name: &str, body: &str| CheckConstraint {
                name: name.to_owned(),
                definition: format!("CHECK ({body})"),
            };
            table.checks.push(check("t_id_check", "(id > 0)"));
            table.checks.push(check("t_kind_check", "((kind)::text ~ '^[a-z]+$'::text)"));
        },
        &expect![[r#"
            CREATE TABLE `t` (
                `id` int NOT NULL,
                `kind` varchar(10) NOT NULL,
                PRIMARY KEY (`id`),
                CONSTRAINT `t_id_check` CHECK ((`id` > 0))
            -- constraint "t_kind_check" is left out: MySQL has no equal for it
        "#]],
    );
}

#[test]
fn plain_indexes_hold_a_prefix_of_long_columns() {
    check(
        "id:int4*,name:text,at:date,tags:text[]",
        |table| {
            let index = |name: &str, columns: &[usize], method: &str| Index {
                name: name.to_owned(),
                columns: columns.iter().copied().map(Some).collect(),
                expressions: None,
                descending: vec![false, true],
                predicate: None,
                definition: format!("CREATE INDEX {name} ON t USING {method} (x)"),
            };
            table.indexes.push(index("t_name_at_idx", &[1, 2], "btree"));
            table.indexes.push(index("t_tags_idx", &[3], "gin"));
        },
        &expect![[r#"
            CREATE TABLE `t` (
                `id` int NOT NULL,
                `name` longtext NOT NULL,
                `at` date NOT NULL,
                `tags` json NOT NULL,
                PRIMARY KEY (`id`),
                KEY `t_name_at_idx` (`name`(191), `at` DESC) COMMENT 'crossfade'
            -- index "t_tags_idx" is left out: MySQL has no index of its kind
        "#]],
    );
}

#[test]
fn an_index_on_expressions_has_hidden_columns_for_them() {
    check(
        "id:int4*,email:varchar(200),name:text,gone:date?",
        |table| {
            let index = |name: &str, expressions: &str| Index {
                name: name.to_owned(),
                columns: vec![Some(3), None],
                expressions: Some(expressions.to_owned()),
                descending: vec![false, true],
                predicate: Some("(gone IS NULL)".to_owned()),
                definition: format!("CREATE INDEX {name} ON t USING btree (x)"),
            };
            table.indexes.push(index("t_email_idx", "lower((email)::text)"));
            table.indexes.push(index("t_name_idx", "lower(name)"));
            table.indexes.push(index("t_length_idx", "length(name)"));
        },
        &expect![[r#"
            CREATE TABLE `t` (
                `id` int NOT NULL,
                `email` varchar(200) NOT NULL,
                `name` longtext NOT NULL,
                `gone` date NULL,
                `cf_t_email_idx_2` varchar(200) GENERATED ALWAYS AS (LOWER(`email`)) VIRTUAL INVISIBLE,
                PRIMARY KEY (`id`),
                KEY `t_email_idx` (`gone`, `cf_t_email_idx_2` DESC) COMMENT 'crossfade'
            -- index "t_name_idx" is left out: MySQL has no equal for its expression, or cannot index it
            -- index "t_length_idx" is left out: MySQL has no equal for its expression, or cannot index it
        "#]],
    );
}

#[test]
fn what_a_column_loses_is_said() {
    check(
        "id:int4*,n:int8,twice:int4?,mail:varchar(20)?",
        |table| {
            table.columns[1].serial = true;
            table.columns[2].generated = Some("(id * 2)".to_owned());
            table.comment = Some("x".repeat(2049));
            let check = |name: &str, body: &str| CheckConstraint {
                name: name.to_owned(),
                definition: format!("CHECK ({body})"),
            };
            table.columns[3].domain_checks = vec![
                check("mail_check", "(VALUE)::text <> ''::text"),
                check("at", "VALUE ~~ '%@%'"),
            ];
        },
        &expect![[r#"
            CREATE TABLE `t` (
                `id` int NOT NULL,
                `n` bigint NOT NULL,
                `twice` int NULL,
                `mail` varchar(20) NULL,
                PRIMARY KEY (`id`),
                CONSTRAINT `mail_mail_check` CHECK ((`mail` <> ''))
            -- constraint "mail_at" is left out: MySQL has no equal for it
            -- column "n" is fed by a sequence, and no AUTO_INCREMENT: MySQL has that for the first column of the key only
            -- generated column "twice" is a plain one in MySQL, with the values that PostgreSQL has worked out
            -- the table's comment is cut to MySQL's length
        "#]],
    );
}

/// A table of which MySQL has the column types, and shapes where they matter.
fn existing(columns: &[(&str, &str)], found: Shape, wanted: Shape) -> alter::Existing {
    let columns = columns.iter().map(|(name, kind)| ((*name).to_owned(), (*kind).to_owned()));
    let table = alter::ExistingTable { columns: columns.collect(), found, wanted };
    let tables = [("t".to_owned(), table)].into_iter().collect();
    alter::Existing { tables, ..alter::Existing::default() }
}

#[track_caller]
fn changes(columns: &str, existing: &alter::Existing, expected: &Expect) {
    let catalog = Catalog::for_test(&[("t", columns)]);
    let changes = alter::changes(&catalog, existing, Flavor::MariaDb);
    let lines = changes.iter().map(|c| format!("{:?} {}\n", c.kind, c.statement.sql));
    expected.assert_eq(&lines.collect::<String>());
}

#[test]
fn what_exists_is_altered_and_never_dropped_unasked() {
    let columns = [("id", "int(11)"), ("name", "varchar(20)"), ("n", "bigint(20)"), ("old", "int")];
    let mut existing = existing(&columns, Shape::default(), Shape::default());
    existing.dropped.push((TableName::parse("auth.gone"), "auth_gone".to_owned()));
    changes(
        "id:int4*,name:text,n:int4,age:int4?,at:timestamptz",
        &existing,
        &expect![[r#"
            Safe ALTER TABLE `t` MODIFY COLUMN `name` longtext NOT NULL
            Unsafe ALTER TABLE `t` MODIFY COLUMN `n` int NOT NULL
            Safe ALTER TABLE `t` ADD COLUMN `age` int NULL
            Safe ALTER TABLE `t` ADD COLUMN `at` datetime(6) NULL
            Unsafe ALTER TABLE `t` DROP COLUMN `old`
            Unsafe DROP TABLE `auth_gone`
        "#]],
    );
}

#[test]
fn indexes_and_checks_that_are_somebodys_own_stay() {
    let found = Shape::parse(
        "CREATE TABLE `t` (\n  `id` int NOT NULL,\n  `gone` int NOT NULL,\n  PRIMARY KEY (`id`),\n  \
         KEY `ours` (`id`) COMMENT 'crossfade',\n  KEY `mine` (`id`),\n  \
         UNIQUE KEY `refuses` (`id`),\n  CONSTRAINT `old` CHECK (`id` > 0)\n) ENGINE=InnoDB",
    );
    let wanted = Shape::parse(
        "CREATE TABLE `t` (\n  `id` int NOT NULL,\n  PRIMARY KEY (`id`)\n) COMMENT='x'",
    );
    let existing = existing(&[("id", "int"), ("gone", "int")], found, wanted);
    changes(
        "id:int4*",
        &existing,
        &expect![[r#"
            Safe ALTER TABLE `t` DROP CONSTRAINT `old`
            Safe ALTER TABLE `t` DROP INDEX `ours`
            Safe ALTER TABLE `t` DROP INDEX `refuses`
            Safe ALTER TABLE `t` MODIFY COLUMN `gone` int NULL
            Unsafe ALTER TABLE `t` DROP COLUMN `gone`
            Safe ALTER TABLE `t` COMMENT = ''
        "#]],
    );
}
