//! A sidecar that PostgreSQL has not heard of, because it was started without it while MySQL is the primary.

use std::fs;

use super::{SCHEMA, Site, emails};
use crate::support::process::{self, free_port};
use crate::support::relay::Relay;
use crate::support::{Target, World};

/// Whoever gives the lead back waits for its lease: it reads nothing that is not true any more.
#[tokio::test]
async fn a_rollback_waits_for_a_sidecar_that_only_mysql_knows() {
    for target in Target::all() {
        let mut world = World::bare(target, "").await;
        let relay = Relay::start(world.postgres_port());
        let coordinator = world.config.with_file_name("coordinator.yaml");
        fs::copy(&world.config, &coordinator).unwrap();
        world.through(&relay);
        world.direct().await.batch_execute(SCHEMA).await.unwrap();
        world.setup();
        world.run().await;
        let mut site = Site::over(world).await;
        site.switch().await;
        site.drained_back().await;
        let proxy = site.world.proxy.take().unwrap();
        assert_eq!(tokio::task::spawn_blocking(|| proxy.stop()).await.unwrap(), Some(0));
        relay.point(free_port());
        relay.cut();
        site.world.run().await;
        let client = site.world.client().await;
        assert_eq!(emails(&client).await, ["old"]);
        let known = "SELECT count(*) FROM crossfade.sidecars";
        assert_eq!(site.admin.query_one(known, &[]).await.unwrap().get::<_, i64>(0), 0);

        let rollback = move || process::verb(&coordinator, &["rollback", "--timeout", "60s"]);
        let (code, said) = tokio::task::spawn_blocking(rollback).await.unwrap();
        assert_eq!(code, Some(0), "{said}");
        let insert = "INSERT INTO users (email) VALUES ('later')";
        site.world.direct().await.batch_execute(insert).await.unwrap();
        // It cannot tell who leads before it has PostgreSQL again, and so it answers nothing.
        let read = tokio::spawn(async move { emails(&client).await });
        relay.point(site.world.postgres_port());
        assert_eq!(read.await.unwrap(), ["old", "later"], "{said}\n{}", site.world.log());
        assert!(said.contains("waiting for one lease"), "{said}");
    }
}
