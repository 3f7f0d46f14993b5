//! The `search_path` that a fresh session of each role starts with.
//!
//! ```text
//! role in this database  >  role  >  this database  >  the server's configuration
//! ```
//!
//! Invariant: the names are as PostgreSQL folds them; `$user` is replaced for roles that have a
//! schema of their name, and dropped for all others, as PostgreSQL does.

use std::collections::{HashMap, HashSet};

use tokio_postgres::Row;

use crate::names::split_path;

/// Builds [`crate::catalog::Catalog::search_paths`].
pub(super) fn read(
    settings: &[Row],
    own_schemas: &[Row],
    default: &Row,
) -> HashMap<String, Vec<String>> {
    let settings: Vec<Setting> = settings.iter().map(Setting::read).collect();
    // What the server would start our own session with is its configuration, unless a setting of
    // the database or of our role comes between.
    let column = if settings.iter().any(|setting| setting.ours) { 0 } else { 1 };
    let configured: String = default.get::<_, Option<String>>(column).unwrap_or_default();
    let own_schemas: HashSet<String> = own_schemas.iter().map(|row| row.get(0)).collect();
    resolve(&settings, &configured, &own_schemas)
}

/// One line of `pg_db_role_setting`.
struct Setting {
    this_database: bool,
    role: Option<String>,
    path: String,
    /// Applies to sessions of our own role.
    ours: bool,
}

impl Setting {
    fn read(row: &Row) -> Self {
        Self { this_database: row.get(0), role: row.get(1), path: row.get(2), ours: row.get(3) }
    }
}

fn resolve(
    settings: &[Setting],
    configured: &str,
    own_schemas: &HashSet<String>,
) -> HashMap<String, Vec<String>> {
    let find = |role: Option<&str>, this_database: bool| {
        let fits = |s: &&Setting| s.role.as_deref() == role && s.this_database == this_database;
        settings.iter().find(fits).map(|setting| setting.path.as_str())
    };
    let everyone = find(None, true).or(find(None, false)).unwrap_or(configured);
    let roles = settings.iter().filter_map(|setting| setting.role.as_ref()).chain(own_schemas);
    let mut paths: HashMap<String, Vec<String>> = roles
        .map(|role| {
            let path = find(Some(role), true).or(find(Some(role), false)).unwrap_or(everyone);
            let user = own_schemas.get(role).map(String::as_str);
            (role.clone(), split(path, user))
        })
        .collect();
    paths.insert(String::new(), split(everyone, None));
    paths
}

/// The schemas of a path; `$user` is `user`, or nothing.
fn split(path: &str, user: Option<&str>) -> Vec<String> {
    let names = split_path(path).into_iter();
    let resolved = names.filter_map(|name| match (name.as_str(), user) {
        ("$user", user) => user.map(str::to_owned),
        _ => Some(name),
    });
    resolved.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_split_as_postgresql_does() {
        let path = r#""$user", Public,"Odd, ""Name""",  auth"#;
        assert_eq!(split(path, None), ["public", "Odd, \"Name\"", "auth"]);
        assert_eq!(split(path, Some("app"))[0], "app");
        assert_eq!(split("\"\"", None), Vec::<String>::new());
    }

    #[test]
    fn the_nearest_setting_wins() {
        let setting = |this_database, role: Option<&str>, path: &str| Setting {
            this_database,
            role: role.map(str::to_owned),
            path: path.to_owned(),
            ours: false,
        };
        let settings = [
            setting(true, None, "auth"),
            setting(false, Some("app"), "app1"),
            setting(true, Some("app"), "app2, \"$user\""),
            setting(false, Some("job"), "job1"),
        ];
        let own = HashSet::from(["app".to_owned(), "solo".to_owned()]);
        let paths = resolve(&settings, "\"$user\", public", &own);
        assert_eq!(paths[""], ["auth"]);
        assert_eq!(paths["app"], ["app2", "app"]);
        assert_eq!(paths["job"], ["job1"]);
        assert_eq!(paths["solo"], ["auth"]);
    }
}
