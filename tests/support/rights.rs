//! The roles that Crossfade uses in a world, with exactly the rights that the runbook gives them: its very SQL.
//!
//! ```text
//! docs/runbook.md, "Before: two roles" ──first block──▶ the role, and what is there
//!                                      ──second───────▶ what is made later
//!                                      ──third────────▶ the user on MySQL
//! ```
//!
//! Invariant: nothing is granted here that the page does not grant.

use mysql_async::prelude::Queryable as _;
use tokio_postgres::Client;

use crossfade::demo::servers::{PASSWORD, Server};

use super::connect;

const PAGE: &str = include_str!("../../docs/runbook.md");
const SECTION: &str = "### Before: two roles";

/// One block of the section, for this database and its role.
fn block(number: usize, database: &str) -> String {
    let section = PAGE.split_once(SECTION).expect("the section is there").1;
    let section = section.split("\n### ").next().unwrap_or_default();
    let block = section.split("```sql\n").nth(number + 1).expect("the block is there");
    let block = block.split("```").next().unwrap_or_default();
    block
        .replace("'…'", &format!("'{PASSWORD}'"))
        .replace("crossfade", &role(database))
        .replace("DATABASE auth", &format!("DATABASE {database}"))
        .replace("ON auth.", &format!("ON {database}."))
}

/// Roles are the server's, databases are the test's.
pub fn role(database: &str) -> String {
    format!("own_{database}")
}

/// Makes both roles; the database on MySQL is there already. What the application has made until now is
/// granted as it is there.
pub async fn grant(postgres: &Server, follower: &Server, database: &str) {
    // Two that change the server's own catalogue at once would clash.
    static ONE_AT_A_TIME: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());
    let _guard = ONE_AT_A_TIME.lock().await;
    let admin = connect(postgres.port(), "postgres", PASSWORD, database).await;
    let schemas = schemas(&admin).await;
    for statement in [block(0, database), block(1, database)].concat().lines() {
        // "Once for each schema of the application", as the page says.
        let each = statement.contains("SCHEMA public");
        for schema in schemas.iter().take(if each { usize::MAX } else { 1 }) {
            let statement = statement.replace("SCHEMA public", &format!("SCHEMA \"{schema}\""));
            let granted = admin.batch_execute(&statement).await;
            granted.unwrap_or_else(|error| panic!("{statement}: {error:?}"));
        }
    }
    let mut admin = mysql_async::Conn::from_url(follower.url("test")).await.unwrap();
    let block = block(2, database);
    let statements = block.split(';').map(str::trim);
    for statement in statements.filter(|one| !one.is_empty() && !one.starts_with("CREATE DATABASE"))
    {
        admin.query_drop(statement).await.unwrap_or_else(|error| panic!("{statement}: {error}"));
    }
}

async fn schemas(admin: &Client) -> Vec<String> {
    let schemas = "SELECT nspname::text FROM pg_catalog.pg_namespace \
         WHERE nspname !~ '^pg_' AND nspname <> 'information_schema'";
    admin.query(schemas, &[]).await.unwrap().iter().map(|row| row.get(0)).collect()
}
