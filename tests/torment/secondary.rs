//! Trouble that is made with statements on the secondary, or by its disk.

use std::time::Duration;

use mysql_async::prelude::Queryable as _;

use super::stage::{CARRIER, Stage, blocking, patiently};
use crate::support::{Target, World};

/// Rows that the sidecars write all the time, and those of the fence.
pub const ROWS: [&str; 2] = [
    "SELECT * FROM async_users FOR UPDATE",
    "SELECT * FROM blocking_journal ORDER BY number DESC LIMIT 50 FOR UPDATE",
];
pub const FENCE: [&str; 1] = ["SELECT * FROM crossfade_fence FOR UPDATE"];

/// A session that holds the locks until it is dropped. `None` where they could not be had.
pub async fn lock(stage: &Stage, statements: &[&str]) -> Option<mysql_async::Conn> {
    let mut session = stage.world.secondary().await;
    session.query_drop("SET innodb_lock_wait_timeout = 2").await.unwrap();
    session.query_drop("BEGIN").await.unwrap();
    let mut locked = false;
    for statement in statements {
        // Others hold some of them for longer, or the server has ended: that is trouble enough.
        locked |= session.query_drop(*statement).await.is_ok();
    }
    locked.then_some(session)
}

/// Locks rows first and the fence then, which is the opposite of what a sidecar does.
pub async fn deadlocks(url: String, share: f64) {
    for _ in 0..20 {
        let Ok(mut session) = mysql_async::Conn::from_url(&url).await else { return };
        let statements = [
            "SET innodb_lock_wait_timeout = 2",
            "BEGIN",
            ROWS[0],
            "DO SLEEP(0.1)",
            FENCE[0],
            "DO SLEEP(0.05)",
        ];
        for statement in statements {
            // The victim is whichever the server chooses.
            drop(session.query_drop(statement).await);
        }
        drop(session.disconnect().await);
        tokio::time::sleep(Duration::from_secs_f64(0.3 * share)).await;
    }
}

pub async fn end_connections(stage: &Stage) {
    let mut secondary = stage.world.secondary().await;
    let list = format!("SELECT id FROM information_schema.processlist WHERE user = '{CARRIER}'");
    let ids: Vec<u64> = secondary.query(list).await.unwrap();
    for id in ids {
        // One that ended by itself meanwhile is as good.
        drop(secondary.query_drop(format!("KILL {id}")).await);
    }
}

/// Makes the server refuse all writes of the sidecars, or take them again.
pub async fn read_only(stage: &Stage, on: bool) {
    let name = match stage.world.target {
        Target::MariaDb => "read_only",
        Target::MySql => "super_read_only",
    };
    let set = match (stage.world.target, on) {
        (Target::MySql, false) => "SET GLOBAL read_only = 0".to_owned(),
        _ => format!("SET GLOBAL {name} = {}", u8::from(on)),
    };
    let world = &stage.world;
    patiently(name, async || connect(world).await?.query_drop(&set).await.ok()).await;
}

async fn connect(world: &World) -> Option<mysql_async::Conn> {
    mysql_async::Conn::from_url(world.secondary_url()).await.ok()
}

/// Makes the disk large again, and starts the server again where that did not make it well: MySQL
/// looks for room once a minute only, and some of its threads end the server.
pub async fn make_room(stage: &mut Stage) {
    stage.disk.as_ref().expect("it was filled").clear();
    let world = &stage.world;
    let well = async {
        let mut secondary = connect(world).await?;
        secondary.query_drop("CREATE TABLE IF NOT EXISTS test.room (id int)").await.ok()?;
        secondary.query_drop("INSERT INTO test.room VALUES (1)").await.ok()
    };
    let well = tokio::time::timeout(Duration::from_secs(5), well).await;
    if !matches!(well, Ok(Some(()))) {
        let follower = stage.world.follower.as_mut().unwrap();
        blocking(|| {
            follower.kill9();
            follower.start_again().unwrap();
        });
    }
}
