//! Each thing that goes wrong: how it begins, how it ends, and what it may be blamed for.
//!
//! ```text
//! schedule (seeded) ──▶ begin ──▶ a while ──▶ end     two at a time, never the same subject
//! ```
//!
//! Invariant: after [`Fault::end`] the world is whole again, however the two overlapped.

use std::time::Duration;

use mysql_async::prelude::Queryable as _;
use rand::Rng as _;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom as _;

use super::hour::{Hour, Side, Whose};
use super::relay::{Relay, Weather};
use super::secondary;
use super::stage::{CARRIER, LEASE, Stage, blocking, patiently};
use crate::support::ROLE;

/// What it happens to. Two faults at a time have two subjects.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Subject {
    Sidecar,
    Front,
    /// The way of one sidecar to the databases.
    Legs,
    Primary,
    PrimaryLeg,
    Secondary,
    SecondaryLeg,
}

macro_rules! faults {
    ($($fault:ident $name:literal $subject:ident),+ $(,)?) => {
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Fault { $($fault),+ }

        impl Fault {
            pub const ALL: &[Self] = &[$(Self::$fault),+];

            /// As `FAULTS=` and the report name it.
            pub fn name(self) -> &'static str {
                match self { $(Self::$fault => $name),+ }
            }

            pub fn subject(self) -> Subject {
                match self { $(Self::$fault => Subject::$subject),+ }
            }
        }
    };
}

faults! {
    KillSidecar "kill_sidecar" Sidecar,
    StopSidecar "stop_sidecar" Sidecar,
    FreezeSidecar "freeze_sidecar" Sidecar,
    OtherConfig "other_config" Sidecar,
    ReloadConfig "reload_config" Sidecar,
    CutClients "cut_clients" Front,
    HalfCloseClients "half_close_clients" Front,
    LateClients "late_clients" Front,
    TrickleClients "trickle_clients" Front,
    KillPrimary "kill_primary" Primary,
    FreezePrimary "freeze_primary" Primary,
    EndBackends "end_backends" Primary,
    RoleOnPrimary "password_on_primary" Primary,
    RoleOfApplication "password_of_application" Primary,
    CutPrimary "cut_primary" PrimaryLeg,
    HalfClosePrimary "half_close_primary" PrimaryLeg,
    LatePrimary "late_primary" PrimaryLeg,
    TricklePrimary "trickle_primary" PrimaryLeg,
    SilentPrimary "silent_primary" PrimaryLeg,
    KillSecondary "kill_secondary" Secondary,
    FreezeSecondary "freeze_secondary" Secondary,
    ReadOnly "read_only_secondary" Secondary,
    FullDisk "full_disk_on_secondary" Secondary,
    LockRows "locked_rows_on_secondary" Secondary,
    LockFence "locked_fence_on_secondary" Secondary,
    Deadlocks "deadlocks_on_secondary" Secondary,
    EndConnections "end_connections_on_secondary" Secondary,
    RoleOnSecondary "password_on_secondary" Secondary,
    CutSecondary "cut_secondary" SecondaryLeg,
    HalfCloseSecondary "half_close_secondary" SecondaryLeg,
    LateSecondary "late_secondary" SecondaryLeg,
    TrickleSecondary "trickle_secondary" SecondaryLeg,
    SilentSecondary "silent_secondary" SecondaryLeg,
    ShutSecondary "shut_secondary" SecondaryLeg,
    CutOffFromPostgres "cut_off_from_postgresql" Legs,
    CutOffFromMySql "cut_off_from_mysql" Legs,
    CutOff "cut_off" Legs,
}

impl Fault {
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|fault| fault.name() == name)
    }

    /// Whether no client but those of `strict` may notice.
    pub fn is_of_secondary(self) -> bool {
        matches!(self.subject(), Subject::Secondary | Subject::SecondaryLeg)
            || self == Self::ReloadConfig
    }

    /// Whether it can happen here: only where the primary changes has each sidecar ways of its own.
    pub fn is_had(self, crosses: bool) -> bool {
        self.subject() != Subject::Legs || crosses
    }

    /// Whether it is a sidecar's alone.
    pub fn is_of_sidecar(self) -> bool {
        matches!(self.subject(), Subject::Sidecar | Subject::Front | Subject::Legs)
    }

    /// Whom it excuses.
    fn whose(self, stage: &Stage, number: usize) -> Option<Whose> {
        if self == Self::ReloadConfig {
            return None;
        }
        if !stage.crosses {
            return (!self.is_of_secondary()).then_some(Whose::Everybody);
        }
        // Whoever leads asks for it at a login.
        if self == Self::RoleOfApplication {
            return Some(Whose::Everybody);
        }
        Some(match self.subject() {
            Subject::Sidecar | Subject::Front | Subject::Legs => Whose::Sidecar(number),
            Subject::Primary | Subject::PrimaryLeg => Whose::Server(Side::Postgres),
            Subject::Secondary | Subject::SecondaryLeg => Whose::Server(Side::MySql),
        })
    }

    pub async fn begin(self, stage: &mut Stage, hour: &Hour, random: &mut StdRng) -> Under {
        let number = random.random_range(0..stage.sidecars.len());
        let blame = self.whose(stage, number).map(|whose| hour.blame(whose));
        let share = random.random_range(0.2..1.0);
        let (reset, forward) = (random.random_bool(0.5), random.random_bool(0.5));
        let leg = self.leg(stage, number);
        let mut under = Under { fault: self, number, lock: None, blame, longer: Duration::ZERO };
        match self {
            Self::KillSidecar | Self::OtherConfig => {
                if self == Self::OtherConfig {
                    rewrite(stage, random);
                }
                stage.take(number).expect("it runs").kill9();
            }
            Self::StopSidecar => {
                let proxy = stage.take(number).expect("it runs");
                let code = blocking(|| proxy.stop());
                assert!(matches!(code, Some(0)), "SIGTERM under load ended with {code:?}");
            }
            Self::FreezeSidecar => {
                signal(stage, number, "STOP");
                under.longer = longer(stage, random);
            }
            Self::CutOffFromPostgres | Self::CutOffFromMySql | Self::CutOff => {
                for leg in self.legs(stage, number) {
                    match forward {
                        true => leg.weather(Weather::Silent),
                        false => {
                            leg.weather(Weather::Shut);
                            leg.cut(1.0, reset);
                        }
                    }
                }
                under.longer = longer(stage, random);
            }
            Self::ReloadConfig => {
                rewrite(stage, random);
                stage.reload(|text| text);
            }
            Self::CutClients | Self::CutPrimary | Self::CutSecondary => leg.cut(share, reset),
            Self::HalfCloseClients | Self::HalfClosePrimary | Self::HalfCloseSecondary => {
                leg.half_close(share, forward);
            }
            Self::LateClients | Self::LatePrimary | Self::LateSecondary => {
                leg.weather(Weather::Late(Duration::from_millis(random.random_range(5..150))));
            }
            Self::TrickleClients | Self::TricklePrimary | Self::TrickleSecondary => {
                let pause = Duration::from_millis(random.random_range(1..10));
                leg.weather(Weather::Trickle(random.random_range(1..200), pause));
            }
            Self::SilentPrimary | Self::SilentSecondary => leg.weather(Weather::Silent),
            Self::ShutSecondary => {
                leg.weather(Weather::Shut);
                leg.cut(1.0, reset);
            }
            Self::KillPrimary => blocking(|| stage.world.postgres.as_mut().unwrap().kill9()),
            Self::FreezePrimary => stage.world.postgres.as_ref().unwrap().pause(),
            Self::EndBackends => end_backends(stage, "random() < 0.5").await,
            Self::RoleOnPrimary => {
                let password = format!("primary{}", random.random::<u32>());
                let sql = format!("ALTER ROLE {CARRIER} PASSWORD '{password}'");
                stage.world.admin().await.batch_execute(&sql).await.unwrap();
                end_backends(stage, &format!("usename = '{CARRIER}'")).await;
                stage.reload(|text| with_password(&text, "postgres://", &password));
            }
            Self::RoleOfApplication => {
                let password = format!("application{}", random.random::<u32>());
                let sql = format!("ALTER ROLE {ROLE} PASSWORD '{password}'");
                let admin = stage.world.admin().await;
                admin.batch_execute(&sql).await.unwrap();
                if stage.crosses {
                    // MySQL's end knows what was there at the switchover, and what proxy.yaml names.
                    let kept = "SELECT rolpassword FROM pg_authid WHERE rolname = $1";
                    let verifier: String = admin.query_one(kept, &[&ROLE]).await.unwrap().get(0);
                    stage.reload(|text| with_verifier(&text, &verifier));
                }
                hour.set_password(&password);
                match stage.crosses {
                    true => end_sessions(stage, reset),
                    false => stage.sidecars[number].front.cut(0.5, reset),
                }
            }
            Self::KillSecondary => blocking(|| stage.world.follower.as_mut().unwrap().kill9()),
            Self::FreezeSecondary => stage.world.follower.as_ref().unwrap().pause(),
            Self::ReadOnly => secondary::read_only(stage, true).await,
            Self::FullDisk => {
                stage.disk.as_ref().expect("it is chosen only where it can be").fill();
            }
            Self::LockRows => under.lock = secondary::lock(stage, &secondary::ROWS).await,
            Self::LockFence => under.lock = secondary::lock(stage, &secondary::FENCE).await,
            Self::Deadlocks => {
                let url = stage.world.secondary_url().to_owned();
                tokio::spawn(secondary::deadlocks(url, share));
            }
            Self::EndConnections => secondary::end_connections(stage).await,
            Self::RoleOnSecondary => {
                let password = format!("secondary{}", random.random::<u32>());
                let sql = format!("ALTER USER {CARRIER}@'127.0.0.1' IDENTIFIED BY '{password}'");
                stage.world.secondary().await.query_drop(sql).await.unwrap();
                secondary::end_connections(stage).await;
                stage.reload(|text| with_password(&text, "mysql://", &password));
            }
        }
        under
    }

    /// Those of the sidecar's that it is cut off from.
    fn legs(self, stage: &Stage, number: usize) -> &[Relay] {
        let legs = stage.sidecars[number].legs.as_ref().map_or(&[][..], |legs| &legs[..]);
        match self {
            Self::CutOffFromPostgres => &legs[..1],
            Self::CutOffFromMySql => &legs[1..],
            _ => legs,
        }
    }

    fn leg(self, stage: &Stage, number: usize) -> &Relay {
        match self.subject() {
            Subject::PrimaryLeg => &stage.primary_leg,
            Subject::SecondaryLeg => &stage.secondary_leg,
            _ => &stage.sidecars[number].front,
        }
    }
}

/// A fault that has begun.
pub struct Under {
    pub fault: Fault,
    number: usize,
    /// A session on the secondary that holds locks.
    lock: Option<mysql_async::Conn>,
    /// As [`Hour::blame`] counts.
    blame: Option<usize>,
    /// It goes on for so long.
    longer: Duration,
}

impl Under {
    pub async fn end(self, stage: &mut Stage, hour: &Hour) {
        let fault = self.fault;
        tokio::time::sleep(self.longer).await;
        match fault {
            Fault::KillSidecar | Fault::OtherConfig | Fault::StopSidecar => {
                stage.launch(self.number).await;
            }
            Fault::FreezeSidecar => signal(stage, self.number, "CONT"),
            Fault::KillPrimary => {
                blocking(|| stage.world.postgres.as_mut().unwrap().start_again()).unwrap();
            }
            Fault::FreezePrimary => stage.world.postgres.as_ref().unwrap().resume(),
            Fault::KillSecondary => {
                blocking(|| stage.world.follower.as_mut().unwrap().start_again()).unwrap();
            }
            Fault::FreezeSecondary => stage.world.follower.as_ref().unwrap().resume(),
            Fault::ReadOnly => secondary::read_only(stage, false).await,
            Fault::FullDisk => secondary::make_room(stage).await,
            // Whoever was faster than the sidecars' reload.
            Fault::RoleOfApplication if stage.crosses => end_sessions(stage, false),
            _ if fault.subject() == Subject::Legs => {
                fault.legs(stage, self.number).iter().for_each(|leg| leg.weather(Weather::Fair));
            }
            _ if matches!(
                fault.subject(),
                Subject::Front | Subject::PrimaryLeg | Subject::SecondaryLeg
            ) =>
            {
                fault.leg(stage, self.number).weather(Weather::Fair);
            }
            _ => {}
        }
        if let Some(lock) = self.lock {
            // The server may have ended the session itself.
            drop(lock.disconnect().await);
        }
        if let Some(blame) = self.blame {
            hour.blame_ends(blame);
        }
    }
}

/// Where the primary changes, what befalls one sidecar often outlasts its lease.
fn longer(stage: &Stage, random: &mut StdRng) -> Duration {
    match stage.crosses && random.random_bool(0.5) {
        true => (2 * LEASE).mul_f64(random.random()),
        false => Duration::ZERO,
    }
}

/// Other modes and limits, under which the same errors stay forbidden.
fn rewrite(stage: &Stage, random: &mut StdRng) {
    let waits = |blocking: bool| if blocking { "blocking" } else { "async" };
    let (first, second) = (waits(random.random()), waits(random.random()));
    let (rows, workers) = (random.random_range(1..500), random.random_range(1..6));
    // With the smallest of them the outbox carries almost everything.
    let transaction = ["4KiB", "64KiB", "1MiB"].choose(random).unwrap();
    let queue = ["64KiB", "4MiB"].choose(random).unwrap();
    for sidecar in &stage.sidecars {
        let text = std::fs::read_to_string(&sidecar.config).unwrap();
        let line = |line: &str| match line.trim_start() {
            its if its.starts_with("\"async_*\"") => with_mode(its, first),
            its if its.starts_with("\"blocking_*\"") => with_mode(its, second),
            its if its.starts_with("limits:") => {
                let kept = its.split(", transaction_bytes").next().unwrap();
                format!(
                    "{kept}, transaction_bytes: {transaction}, queue_bytes: {queue}, \
                     batch_rows: {rows}, workers: {workers} }}\n"
                )
            }
            _ => format!("{line}\n"),
        };
        let text: String = text.lines().map(line).collect();
        std::fs::write(&sidecar.config, text).unwrap();
    }
}

/// A line about tables, in their group as before.
fn with_mode(line: &str, mode: &str) -> String {
    let (names, rest) = line.split_once(':').unwrap();
    let group = rest.split_once("group:").map(|(_, name)| name.trim_end_matches('}').trim());
    let group = group.map(|name| format!(", group: {name}")).unwrap_or_default();
    format!("  {names}: {{ mode: {mode}{group} }}\n")
}

fn with_password(text: &str, scheme: &str, password: &str) -> String {
    let (before, rest) = text.split_once(&format!("{scheme}{CARRIER}:")).unwrap();
    let (_, after) = rest.split_once('@').unwrap();
    format!("{before}{scheme}{CARRIER}:{password}@{after}")
}

/// Nobody may go on who has logged in with what is no password any more: PostgreSQL asks for it again when it
/// takes the lead back.
fn end_sessions(stage: &Stage, reset: bool) {
    stage.sidecars.iter().for_each(|sidecar| sidecar.front.cut(1.0, reset));
}

/// With what `listen.users` says of the application's role.
fn with_verifier(text: &str, verifier: &str) -> String {
    let line = |line: &str| match line.strip_prefix("listen: { address: ") {
        Some(rest) => {
            let address = rest.split([',', ' ']).next().unwrap();
            format!("listen: {{ address: {address}, users: {{ {ROLE}: \"{verifier}\" }} }}\n")
        }
        None => format!("{line}\n"),
    };
    text.lines().map(line).collect()
}

fn signal(stage: &Stage, number: usize, name: &str) {
    let Some(proxy) = &stage.sidecars[number].proxy else { return };
    let pid = proxy.pid().to_string();
    let sent = std::process::Command::new("sh")
        .args(["-c", "kill -s \"$1\" \"$2\"", "kill", name, &pid])
        .status();
    assert!(sent.is_ok_and(|status| status.success()), "a sidecar that runs takes a signal");
}

async fn end_backends(stage: &Stage, which: &str) {
    let sql = format!(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE backend_type = 'client backend' \
         AND pid <> pg_backend_pid() AND {which}"
    );
    let admin = stage.world.admin().await;
    patiently("ended backends", async || admin.batch_execute(&sql).await.ok()).await;
}
