//! The session settings under which MySQL stores what it is given, or says no.
//!
//! Invariant: every setting is read back; a server (or a proxy before it) that took one differently
//! is refused, since it could change values in silence.

use std::collections::BTreeSet;
use std::time::Duration;

use mysql_async::Conn;
use mysql_async::prelude::Queryable as _;

use super::connect::LinkLimits;
use super::error::WriteError;
use crate::value::Flavor;

/// Strict, so that nothing is cut or rounded; id 0 stays 0; a backslash is a character.
const SQL_MODES: &[&str] = &[
    "ERROR_FOR_DIVISION_BY_ZERO",
    "NO_AUTO_VALUE_ON_ZERO",
    "NO_BACKSLASH_ESCAPES",
    "NO_ENGINE_SUBSTITUTION",
    "NO_ZERO_DATE",
    "NO_ZERO_IN_DATE",
    "STRICT_ALL_TABLES",
    "STRICT_TRANS_TABLES",
];

pub(super) async fn set_up(
    conn: &mut Conn,
    flavor: Flavor,
    limits: &LinkLimits,
) -> Result<(), WriteError> {
    let (collation, isolation) = match flavor {
        Flavor::MySql => ("utf8mb4_0900_bin", "transaction_isolation"),
        Flavor::MariaDb => ("utf8mb4_nopad_bin", "tx_isolation"),
    };
    let (lock_wait, idle) = (seconds(limits.lock_wait), seconds(limits.idle));
    conn.query_drop(format!("SET NAMES utf8mb4 COLLATE {collation}")).await?;
    conn.query_drop(format!(
        "SET SESSION sql_mode = '{}', time_zone = '+00:00', {isolation} = 'READ-COMMITTED', \
         autocommit = 1, foreign_key_checks = 1, unique_checks = 1, \
         innodb_lock_wait_timeout = {lock_wait}, wait_timeout = {idle}",
        SQL_MODES.join(",")
    ))
    .await?;
    // MariaDB prints a switch as ON where text is wanted, hence the additions.
    let read = format!(
        "SELECT @@SESSION.sql_mode, CONCAT_WS(' ', @@SESSION.time_zone, @@SESSION.{isolation}, \
         @@SESSION.autocommit + 0, @@SESSION.foreign_key_checks + 0, @@SESSION.unique_checks + 0, \
         @@SESSION.innodb_lock_wait_timeout, @@SESSION.wait_timeout, \
         @@SESSION.character_set_client, @@SESSION.collation_connection)"
    );
    let found: Option<(String, String)> = conn.query_first(read).await?;
    let (modes, others) = found.unwrap_or_default();
    let modes: BTreeSet<&str> = modes.split(',').collect();
    let expected = format!("+00:00 READ-COMMITTED 1 1 1 {lock_wait} {idle} utf8mb4 {collation}");
    if modes != SQL_MODES.iter().copied().collect() || others != expected {
        return Err(WriteError::Settings);
    }
    Ok(())
}

/// MySQL counts whole seconds, at least one.
fn seconds(duration: Duration) -> u64 {
    duration.as_secs().max(1)
}
