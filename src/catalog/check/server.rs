//! Obstacles of a server as a whole.

use crate::catalog::check::{Found, PrimaryFacts, SecondaryFacts, Severity, Wanted};
use crate::catalog::{Catalog, RelationKind};
use crate::names::{TableName, quote_mysql, quote_pg};
use crate::policy::TypeChoices;
use crate::value::Flavor;

/// `CREATE OR REPLACE TRIGGER`, and triggers that partitions inherit.
const POSTGRES_MIN: i32 = 14;
/// Invisible columns, and defaults that are expressions.
const MYSQL_MIN: (u32, u32, u32) = (8, 0, 23);
/// Collations without padding that ignore case came with 10.10.
const MARIADB_MIN: (u32, u32, u32) = (10, 10, 0);
/// Crossfade's own connections to PostgreSQL.
const OWN_CONNECTIONS: i64 = 11;
/// A row image larger than this is not sent.
const PACKET_MIN: u64 = 16 << 20;
const PAGE_SIZE: u64 = 16 << 10;

pub(super) fn primary(facts: &PrimaryFacts, wanted: Wanted, found: &mut Found) {
    let mut blocker = |what: &str, advice: String| found.add(Severity::Blocker, None, what, advice);
    if facts.version / 10000 < POSTGRES_MIN {
        blocker("PostgreSQL is older than 14", "Upgrade PostgreSQL.".to_owned());
    }
    if facts.in_recovery {
        blocker("the server is a standby", "Let from.url name the primary.".to_owned());
    }
    if facts.wal_level == "minimal" {
        let advice = "Set wal_level = replica in postgresql.conf and restart: changes that are not in \
                      the log have no order.";
        blocker("wal_level is minimal", advice.to_owned());
    }
    if facts.encoding != "UTF8" {
        let advice = "Crossfade carries text as UTF-8; move to a database with ENCODING 'UTF8'.";
        blocker("the database's encoding is not UTF8", advice.to_owned());
    }
    if let Some(owner) = &facts.schema_stranger {
        let role = quote_pg(&facts.role);
        let advice = format!(
            "It could replace what is in it, and would have that run with Crossfade's rights. If nothing of \
             Crossfade's is in it: DROP SCHEMA crossfade CASCADE;  else ALTER SCHEMA crossfade OWNER TO {role}; \
             once all that is in it is {role}'s."
        );
        blocker(&format!("the role {} owns the schema crossfade", quote_pg(owner)), advice);
    } else if !facts.owns_schema {
        let (role, database) = (quote_pg(&facts.role), quote_pg(&facts.database));
        let grant = format!(
            "GRANT CREATE ON DATABASE {database} TO {role};  or  \
             CREATE SCHEMA crossfade AUTHORIZATION {role};"
        );
        blocker("the role may not create the schema \"crossfade\"", grant);
    }
    primary_warnings(facts, wanted, found);
}

fn primary_warnings(facts: &PrimaryFacts, wanted: Wanted, found: &mut Found) {
    let mut warn = |what: &str, advice: &str| found.add(Severity::Warning, None, what, advice);
    let clients = i64::try_from(wanted.connections).unwrap_or(i64::MAX);
    if let Some(limit) =
        facts.database_connections.filter(|limit| limit - OWN_CONNECTIONS < clients)
    {
        let database = quote_pg(&facts.database);
        warn(
            &format!("the database allows {limit} connections, limits.max_connections {clients}"),
            &format!(
                "ALTER DATABASE {database} CONNECTION LIMIT -1;  or lower limits.max_connections."
            ),
        );
    }
    let room = facts.max_connections - facts.reserved_connections - OWN_CONNECTIONS;
    if room < clients {
        warn(
            &format!(
                "PostgreSQL allows {} connections, limits.max_connections {}",
                facts.max_connections, wanted.connections
            ),
            "Lower limits.max_connections or raise max_connections: a client too many is refused by \
             PostgreSQL with 53300, as without Crossfade.",
        );
    }
    if !matches!(facts.collation.as_str(), "C" | "POSIX" | "C.UTF-8" | "C.utf8") {
        warn(
            &format!(
                "the database sorts text by \"{}\", MySQL will by code point",
                facts.collation
            ),
            "Nothing to do before switchover; afterwards ORDER BY and comparisons of text may order \
             differently.",
        );
    }
    if !facts.reads_verifiers {
        let grant = format!("GRANT SELECT ON pg_catalog.pg_authid TO {};", quote_pg(&facts.role));
        warn(
            "the role may not read pg_authid",
            &format!(
                "Needed for a switchover, since MySQL's end checks passwords itself, and where both legs \
                 use TLS and clients log in by SCRAM: {grant}  or list the verifiers under listen.users."
            ),
        );
    }
    if !facts.follows {
        let role = quote_pg(&facts.role);
        warn(
            "the role may not follow: session_replication_role is not its to set",
            &format!(
                "Needed for a switchover, after which PostgreSQL is the secondary: GRANT SET ON PARAMETER \
                 session_replication_role TO {role};  before PostgreSQL 15 only a superuser may."
            ),
        );
    }
}

/// What `setup` recorded holds: some of it for good.
pub(super) fn types(facts: &PrimaryFacts, wanted: Wanted, found: &mut Found) {
    let Some(text) = &facts.recorded_types else { return };
    let Some(recorded) = TypeChoices::parse(text) else {
        let what = "`setup` recorded types that this version does not know";
        let advice = "Use the version that `setup` was last run with, or a newer one.";
        return found.add(Severity::Blocker, None, what, advice);
    };
    for name in recorded.fixed_against(&wanted.types) {
        let what = format!(
            "types.{name} is \"{}\", but the tables on MySQL were made with \"{}\"",
            wanted.types.word(name),
            recorded.word(name)
        );
        let advice = format!(
            "Set it back to \"{}\": MySQL cannot turn the one into the other without changing values \
             that are written meanwhile.",
            recorded.word(name)
        );
        found.add(Severity::Blocker, None, what, advice);
    }
}

pub(super) fn secondary(facts: &SecondaryFacts, wanted: Wanted, found: &mut Found) {
    let mut blocker =
        |what: String, advice: String| found.add(Severity::Blocker, None, what, advice);
    let (product, min) = match facts.flavor {
        Flavor::MySql => ("MySQL", MYSQL_MIN),
        Flavor::MariaDb => ("MariaDB", MARIADB_MIN),
    };
    if version(&facts.version) < min {
        let what = format!("{product} is older than {}.{}.{}", min.0, min.1, min.2);
        blocker(what, format!("Upgrade {product}."));
    }
    if facts.read_only {
        let advice = "Let to.url name a server that takes writes.";
        blocker(format!("{product} is read-only"), advice.to_owned());
    }
    if !facts.missing.is_empty() {
        let grant = format!(
            "GRANT {} ON {}.* TO {};",
            facts.missing.join(", "),
            quote_mysql(&facts.database),
            facts.user
        );
        blocker("the user lacks privileges on the new database".to_owned(), grant);
    }
    if !facts.set_up && !facts.filled.is_empty() {
        let advice = "Empty them or name another database in to.url: what is there would be taken for \
                      what PostgreSQL has.";
        blocker(
            format!("tables hold rows already: {}", facts.filled.join(", ")),
            advice.to_owned(),
        );
    }
    if facts.page_size < PAGE_SIZE {
        let advice = "Keys as long as PostgreSQL's want pages of 16 KiB (innodb_page_size).";
        blocker("InnoDB's pages are smaller than 16 KiB".to_owned(), advice.to_owned());
    }
    if facts.max_allowed_packet < PACKET_MIN {
        let what = format!("max_allowed_packet is {} bytes", facts.max_allowed_packet);
        let advice = "A larger row stays in the outbox; raise it to the size of your largest rows.";
        found.add(Severity::Warning, None, what, advice);
    }
    if facts.max_connections < wanted.secondary_connections() as u64 {
        let what = format!("{product} allows {} connections", facts.max_connections);
        let advice = format!(
            "Raise max_connections, or lower limits.workers from {} and limits.strict from {}.",
            wanted.workers, wanted.strict
        );
        found.add(Severity::Warning, None, what, advice);
    }
}

/// The server, or something before it, takes our session settings differently.
pub(super) fn no_session(found: &mut Found) {
    let what = "MySQL does not keep the session settings that exact values need";
    let advice = "Connect to the server itself rather than through a pooler or proxy.";
    found.add(Severity::Blocker, None, what, advice);
}

/// What is no table has no rows to carry.
pub(super) fn views(catalog: &Catalog, found: &mut Found) {
    let system = |schema: &str| {
        matches!(schema, "information_schema" | "crossfade") || schema.starts_with("pg_")
    };
    let named = catalog.relations.iter().flat_map(|(name, relations)| {
        let views = relations.iter().filter(|relation| relation.kind == RelationKind::View);
        views.map(move |relation| (relation.schema.as_str(), name.as_str()))
    });
    let views = named.filter(|(schema, _)| !system(schema));
    let mut views: Vec<String> =
        views.map(|(schema, name)| TableName::new(schema, name).to_string()).collect();
    if !views.is_empty() {
        views.sort();
        let what = format!("views are not carried over: {}", views.join(", "));
        let advice = "Their tables are. Once MySQL answers, statements that name a view are refused (0A000): have the application \
             read the tables.";
        found.add(Severity::Warning, None, what, advice);
    }
}

/// `10.11.6-MariaDB-1` and `9.7.4` alike.
fn version(text: &str) -> (u32, u32, u32) {
    let mut parts = text.split(|letter: char| !letter.is_ascii_digit());
    let mut next = || parts.next().and_then(|part| part.parse().ok()).unwrap_or(0);
    (next(), next(), next())
}

#[cfg(test)]
mod tests {
    use super::version;

    #[test]
    fn versions_are_compared_as_numbers() {
        assert_eq!(version("10.11.6-MariaDB-0+deb12u1"), (10, 11, 6));
        assert!(version("8.0.4") < (8, 0, 23));
    }
}
