//! What a change is about, in words that name the part and hold no SQL.
//!
//! ```text
//! ALTER TABLE `users` MODIFY COLUMN `n` int …  ──▶  column n: type or default
//! ```
//!
//! Invariant: names only; a default or a comment may be what somebody would not show.

use crate::catalog::ddl::alter::Change;
use crate::catalog::ddl::shape::quoted;

/// The parts in which the secondary differs; none where only the table's comment does.
#[must_use]
pub fn brief(change: &Change) -> Vec<String> {
    let sql = change.statement.sql.as_str();
    if sql.starts_with("CREATE TABLE ") {
        return vec!["the table is missing".to_owned()];
    }
    let clause = sql.strip_prefix("ALTER TABLE ").and_then(quoted).map(|(_, clause)| clause.trim());
    let clause = clause.unwrap_or_default();
    // Several foreign keys come as one statement, a line each.
    if clause.lines().all(|line| line.contains(" FOREIGN KEY ")) {
        return clause.lines().filter_map(|line| part(line.trim())).collect();
    }
    part(clause).into_iter().collect()
}

fn part(clause: &str) -> Option<String> {
    const PARTS: [(&str, &str, &str); 11] = [
        ("ADD COLUMN ", "column", ": missing"),
        ("MODIFY COLUMN ", "column", ": type or default"),
        ("DROP COLUMN ", "column", ": only on MySQL"),
        ("ADD UNIQUE KEY ", "index", ""),
        ("ADD KEY ", "index", ""),
        ("ADD UNIQUE INDEX ", "index", ""),
        ("ADD INDEX ", "index", ""),
        ("DROP INDEX ", "index", ""),
        ("DROP FOREIGN KEY ", "foreign key", ""),
        ("ADD CONSTRAINT ", "constraint", ""),
        ("DROP CONSTRAINT ", "constraint", ""),
    ];
    if clause.starts_with("DROP PRIMARY KEY") {
        return Some("primary key".to_owned());
    }
    if clause.starts_with("COMMENT ") {
        return None;
    }
    let named = PARTS.iter().find_map(|(verb, what, how)| {
        let (name, rest) = quoted(clause.strip_prefix(verb)?)?;
        let what = if rest.starts_with(" FOREIGN KEY ") { "foreign key" } else { what };
        Some(format!("{what} {name}{how}"))
    });
    Some(named.unwrap_or_else(|| "something else".to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalog::ddl::Statement;
    use crate::catalog::ddl::alter::Kind;
    use crate::names::TableName;

    #[test]
    fn every_part_is_named_and_nothing_else_is_said() {
        for (clause, expected) in [
            ("ADD COLUMN `a` int NULL DEFAULT '7'", &["column a: missing"][..]),
            (
                "MODIFY COLUMN `a``b` int COMMENT 'x FOREIGN KEY y'",
                &["column a`b: type or default"],
            ),
            ("DROP COLUMN `a`", &["column a: only on MySQL"]),
            ("DROP PRIMARY KEY, ADD PRIMARY KEY (`a`)", &["primary key"]),
            ("ADD UNIQUE KEY `k` (`a`)", &["index k"]),
            ("DROP INDEX `k`, ADD KEY `f` (`a`)", &["index k"]),
            ("ADD CONSTRAINT `c` CHECK (`a` > 7)", &["constraint c"]),
            ("DROP CONSTRAINT `c`", &["constraint c"]),
            ("DROP FOREIGN KEY `f`", &["foreign key f"]),
            (
                "\n    ADD CONSTRAINT `f` FOREIGN KEY (`a`) REFERENCES `p` (`a`),\n    \
                 ADD CONSTRAINT `g` FOREIGN KEY (`b`) REFERENCES `p` (`a`)",
                &["foreign key f", "foreign key g"],
            ),
            ("COMMENT = 'x'", &[]),
        ] {
            let sql = format!("ALTER TABLE `t` {clause}");
            let statement = Statement { table: TableName::parse("t"), sql, warnings: Vec::new() };
            assert_eq!(brief(&Change { statement, kind: Kind::Safe }), expected, "{clause}");
        }
    }
}
