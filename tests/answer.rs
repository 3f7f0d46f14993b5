//! MySQL answers PostgreSQL's clients: the same messages get the answers that PostgreSQL gives.
//!
//! ```text
//! client ──▶ [`Site`]: answer, in the phase `switched` ──▶ MariaDB or MySQL
//! client ──▶ PostgreSQL                                    the same tables, the same rows
//! ```

mod captured;
mod drivers;
mod errors;
mod login;
mod protocol;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use crossfade::answer::{
    self, AnswerConfig, AnswerLimits, Cancels, Ended, Plans, Services, Shelf, Users,
};
use crossfade::backend::postgres::introspect;
use crossfade::backend::stream::Stream;
use crossfade::catalog::naming::Naming;
use crossfade::hold::Hold;
use crossfade::phase::{Phase, Situation};
use crossfade::policy::{Mode, Policies};
use tokio::net::TcpListener;
use tokio::sync::watch;

use crate::support::{Target, World, connect, inside};
use crate::wire::script::Wire;
use crate::writer::to_url;

/// Both databases with one schema, and `answer` in front of the second.
pub struct Site {
    pub world: World,
    pub port: u16,
    pub situation: watch::Sender<Arc<Situation>>,
    pub hold: Hold,
    _config: watch::Sender<Arc<AnswerConfig>>,
    _shutdown: watch::Sender<bool>,
}

impl Site {
    /// `rows` are inserted into PostgreSQL, and copied.
    pub async fn start(target: Target, schema: &str, rows: &str) -> Self {
        Self::in_world(World::bare(target, "").await, schema, rows).await
    }

    /// In a world whose PostgreSQL has something already.
    pub async fn in_world(mut world: World, schema: &str, rows: &str) -> Self {
        let direct = world.direct().await;
        direct.batch_execute(schema).await.unwrap();
        direct.batch_execute(rows).await.unwrap();
        if !schema.is_empty() {
            world.setup();
        }
        if !rows.is_empty() {
            world.run().await;
            world.verb(&["backfill"]);
            drop(world.proxy.take());
        }
        Self::before(world).await
    }

    async fn before(world: World) -> Self {
        let (situation, published) = watch::channel(Arc::new(situation(&world).await));
        let config = AnswerConfig {
            tls: None,
            users: Users::new(verifiers(&world).await, to_url(&world).await),
            database: world.database.clone(),
            url: to_url(&world).await,
            login_timeout: Duration::from_secs(30),
            connect_timeout: Duration::from_secs(30),
            login_bytes_max: 10_000,
            limits: AnswerLimits { hold: Duration::from_secs(5), ..AnswerLimits::default() },
        };
        let (config, current) = watch::channel(Arc::new(config));
        let (shutdown, ends) = watch::channel(false);
        let hold = Hold::default();
        let services = Services {
            config: current,
            situation: published,
            lease: inside::confirmed(),
            hold: hold.clone(),
            reported: watch::channel(Arc::new(reported(&world).await)).1,
            plans: Arc::new(Plans::new(1_000)),
            // So few that every test closes some.
            shelf: Shelf::new(4, None),
            cancels: Cancels::default(),
            handoff: None,
            metrics: None,
            seen: None,
            shutdown: ends,
        };
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        tokio::spawn(async move {
            while let Ok((socket, _)) = listener.accept().await {
                let services = services.clone();
                tokio::spawn(async move {
                    let mut ended = answer::run(Stream::tcp(socket).unwrap(), &services).await;
                    // Whoever answers meanwhile gives the client back at once.
                    while let Ended::Moved(handover) = ended {
                        let mut situation = services.situation.clone();
                        let serves = situation.wait_for(|now| answer::serves(now)).await;
                        drop(serves.map(drop));
                        ended = answer::go_on(*handover, &services).await;
                    }
                });
            }
        });
        Self { world, port, situation, hold, _config: config, _shutdown: shutdown }
    }

    /// The application's connection, answered from MySQL.
    pub async fn client(&self) -> tokio_postgres::Client {
        use crate::support::{ROLE, ROLE_PASSWORD};
        connect(self.port, ROLE, ROLE_PASSWORD, &self.world.database).await
    }

    /// A client that sends what it is told: to MySQL, or past Crossfade to PostgreSQL.
    pub async fn wire(&self, answered: bool) -> Wire {
        let port = if answered { self.port } else { self.world.postgres_port() };
        Wire::connect(port, &self.world.database).await
    }
}

async fn situation(world: &World) -> Situation {
    let policies = Policies::new(Vec::new(), inside::policy(Mode::Blocking));
    let admin = world.admin().await;
    let catalog = introspect::introspect(&admin, &policies, &Naming::default()).await;
    Situation {
        // PostgreSQL does not follow: nothing has to be noted.
        phase: Phase::Complete,
        epoch: 2,
        timeline: String::new(),
        catalog: Arc::new(catalog.unwrap_or_default()),
        server: 15,
    }
}

async fn verifiers(world: &World) -> BTreeMap<String, String> {
    let sql = "SELECT rolname::text, rolpassword FROM pg_authid WHERE rolpassword IS NOT NULL";
    let rows = world.admin().await.query(sql, &[]).await.unwrap();
    rows.iter().map(|row| (row.get(0), row.get(1))).collect()
}

/// What PostgreSQL tells its clients.
async fn reported(world: &World) -> BTreeMap<String, String> {
    let admin = world.admin().await;
    let mut reported = BTreeMap::new();
    for name in ["server_version", "TimeZone"] {
        let row = admin.query_one(&format!("SHOW {name}"), &[]).await.unwrap();
        reported.insert(name.to_owned(), row.get(0));
    }
    reported
}
