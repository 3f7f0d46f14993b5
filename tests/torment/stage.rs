//! Everything that is tormented: two servers, several sidecars, and a relay on every leg.
//!
//! ```text
//! clients ──▶ front relay ──▶ sidecar 1 ─┬─▶ primary relay ───▶ PostgreSQL (durable, on the disk)
//! clients ──▶ front relay ──▶ sidecar 2 ─┴─▶ secondary relay ─▶ MariaDB or MySQL (durable)
//! ```
//!
//! The sidecars log in with a role of their own on each side, so that its password can change and a
//! read-only secondary binds it. The comparer goes past all relays. Where the primary changes, each
//! sidecar has a relay of its own in front of each of the two, so that it can be cut off alone.

use std::fs;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use crossfade::demo::servers::PASSWORD;
use mysql_async::prelude::Queryable as _;

use super::relay::Relay;
use super::{clients, crossing};
use crate::support::process::{self, Proxy};
use crate::support::{Target, World};

/// The sidecars' own role on both sides.
pub const CARRIER: &str = "carrier";
/// Room of the secondary's data, where root may mount it; memory is used as it fills.
const ROOM: &str = "3g";

/// What the clients hold against: lower than the defaults, so that bounds are met within minutes.
const LIMITS: &str = "limits: { hold: 8s, lease: 5s, write_timeout: 5s, backoff_max: 1s, grace: 1s, \
     shutdown: 5s, poll: 500ms, fence_keep: 20s, transaction_bytes: 1MiB, queue_bytes: 4MiB }\n";

/// Where the primary changes: a lease that can be waited out within a stretch, and statements that wait for
/// longer than a change of the primary takes.
const LIMITS_CROSSING: &str = "limits: { hold: 20s, lease: 4s, write_timeout: 5s, backoff_max: 1s, grace: 1s, \
     shutdown: 5s, poll: 250ms, fence_keep: 20s, transaction_bytes: 1MiB, queue_bytes: 4MiB }\n";
pub const LEASE: Duration = Duration::from_secs(4);

/// The section of proxy.yaml; only where the primary changes do tables move in groups.
fn tables(crosses: bool) -> String {
    let line = |(kind, policy): (&str, &str)| {
        let group = clients::group(kind).filter(|_| crosses);
        let group = group.map(|name| format!(", group: {name}")).unwrap_or_default();
        format!("\"{kind}_*\": {{ {policy}{group} }}")
    };
    let lines = [
        ("async", "mode: async"),
        ("blocking", "mode: blocking, timeout: 500ms"),
        ("strict", "mode: strict, timeout: 2s"),
        ("triggered", "mode: blocking, timeout: 500ms, capture: trigger"),
    ];
    lines.map(line).join("\n")
}

pub struct Sidecar {
    pub config: PathBuf,
    pub front: Relay,
    /// Its own, to PostgreSQL and to MySQL, where the primary changes.
    pub legs: Option<[Relay; 2]>,
    pub proxy: Option<Proxy>,
}

pub struct Stage {
    pub sidecars: Vec<Sidecar>,
    pub primary_leg: Relay,
    pub secondary_leg: Relay,
    /// Where the secondary's data is mounted, if it could be.
    pub disk: Option<Disk>,
    pub world: World,
    /// Most memory that any sidecar had, in KiB.
    pub memory: u64,
    /// Every process of a sidecar has had this many.
    pub starts: u64,
    /// A proxy.yaml that leads past all relays.
    pub coordinator: PathBuf,
    /// The primary changes.
    pub crosses: bool,
}

impl Stage {
    /// `old` is SQL that fills the tables before setup.
    pub async fn new(target: Target, sidecars: usize, old: &str) -> Self {
        Self::build(target, sidecars, old, false).await
    }

    /// One on which the primary changes.
    pub async fn crossing(target: Target, sidecars: usize, old: &str) -> Self {
        Self::build(target, sidecars, old, true).await
    }

    async fn build(target: Target, sidecars: usize, old: &str, crosses: bool) -> Self {
        let mut world = World::alone(target, &tables(crosses)).await;
        let disk = blocking(|| Disk::mount(&mut world));
        let schema = if crosses { crossing::schema() } else { clients::schema() };
        world.direct().await.batch_execute(&(schema + old)).await.unwrap();
        accounts(&world).await;
        if !crosses {
            world.setup();
        }
        let primary_leg = Relay::start(world.postgres_port()).await;
        let secondary_leg = Relay::start(world.follower.as_ref().unwrap().port()).await;
        let mut stage = Self {
            sidecars: Vec::new(),
            primary_leg,
            secondary_leg,
            disk,
            world,
            memory: 0,
            starts: 0,
            coordinator: PathBuf::new(),
            crosses,
        };
        let [from, to] =
            [stage.world.postgres_port(), stage.world.follower.as_ref().unwrap().port()];
        stage.coordinator = stage.configure("coordinator", process::free_port(), [from, to]);
        if crosses {
            // While MySQL is the primary, PostgreSQL takes writes of this role alone.
            let (code, said) = blocking(|| process::verb(&stage.coordinator, &["setup"]));
            assert_eq!(code, Some(0), "{said}");
        }
        for number in 0..sidecars {
            let sidecar = stage.sidecar(number).await;
            stage.sidecars.push(sidecar);
            stage.launch(number).await;
        }
        stage
    }

    async fn sidecar(&self, number: usize) -> Sidecar {
        let shared = [self.primary_leg.port, self.secondary_leg.port];
        let legs = match self.crosses {
            true => Some([Relay::start(shared[0]).await, Relay::start(shared[1]).await]),
            false => None,
        };
        let ports = legs.as_ref().map_or(shared, |[from, to]| [from.port, to.port]);
        let listen = process::free_port();
        let config = self.configure(&format!("sidecar_{number}"), listen, ports);
        Sidecar { config, front: Relay::start(listen).await, legs, proxy: None }
    }

    /// Writes a proxy.yaml, in a directory of its own.
    fn configure(&self, name: &str, listen: u16, [from, to]: [u16; 2]) -> PathBuf {
        let directory = self.world.config.with_file_name(name);
        fs::create_dir_all(&directory).unwrap();
        let (admin, database) = (process::free_port(), &self.world.database);
        let text = format!(
            "listen: {{ address: 127.0.0.1:{listen} }}\n\
             admin: {{ address: 127.0.0.1:{admin} }}\n\
             from: {{ url: \"postgres://{CARRIER}:{PASSWORD}@127.0.0.1:{from}/{database}?sslmode=disable\" }}\n\
             to: {{ url: \"mysql://{CARRIER}:{PASSWORD}@127.0.0.1:{to}/{database}?ssl-mode=DISABLED\" }}\n\
             tables:\n  {}\n{}",
            tables(self.crosses).replace("\n", "\n  "),
            if self.crosses { LIMITS_CROSSING } else { LIMITS },
        );
        let config = directory.join("proxy.yaml");
        fs::write(&config, text).unwrap();
        config
    }

    /// Starts a sidecar that does not run.
    pub async fn launch(&mut self, number: usize) {
        self.starts += 1;
        let sidecar = &mut self.sidecars[number];
        sidecar.proxy = Some(Proxy::start_unready(&sidecar.config).await);
    }

    /// Takes a sidecar's process, and notes how much memory it has had.
    pub fn take(&mut self, number: usize) -> Option<Proxy> {
        self.note_memory();
        self.sidecars[number].proxy.take()
    }

    pub fn note_memory(&mut self) {
        let running = self.sidecars.iter().filter_map(|sidecar| sidecar.proxy.as_ref());
        let most = running.filter_map(|proxy| high_water(proxy.pid())).max();
        self.memory = self.memory.max(most.unwrap_or(0));
    }

    /// Changes every sidecar's proxy.yaml, and has those that run read it; coordinators read it when they start.
    pub fn reload(&self, change: impl Fn(String) -> String) {
        let rewrite = |config: &PathBuf| {
            let text = fs::read_to_string(config).unwrap();
            fs::write(config, change(text)).unwrap();
        };
        rewrite(&self.coordinator);
        for sidecar in &self.sidecars {
            rewrite(&sidecar.config);
            if let Some(proxy) = &sidecar.proxy {
                proxy.reload();
            }
        }
    }

    /// Connections that relays have broken.
    pub fn broken(&self) -> u64 {
        let of = |sidecar: &Sidecar| {
            let legs = sidecar.legs.iter().flatten().map(Relay::broken).sum::<u64>();
            sidecar.front.broken() + legs
        };
        let own: u64 = self.sidecars.iter().map(of).sum();
        own + self.primary_leg.broken() + self.secondary_leg.broken()
    }

    /// All that the sidecars printed, each line with the sidecar's number.
    pub fn logs(&self) -> String {
        let mut all = String::new();
        for (number, sidecar) in self.sidecars.iter().enumerate() {
            let log = fs::read_to_string(sidecar.config.with_file_name("log")).unwrap_or_default();
            all.extend(log.lines().map(|line| format!("sidecar {number}: {line}\n")));
        }
        all
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        self.sidecars.clear();
        if let Some(disk) = self.disk.take() {
            // Its files must be closed before they can go.
            if let Some(follower) = &mut self.world.follower {
                follower.kill9();
            }
            drop(disk);
        }
    }
}

/// The sidecars' roles: nothing may be denied to them but writing to a read-only server.
async fn accounts(world: &World) {
    let create = format!("CREATE ROLE {CARRIER} LOGIN SUPERUSER PASSWORD '{PASSWORD}'");
    world.admin().await.batch_execute(&create).await.unwrap();
    let mut secondary = world.secondary().await;
    for statement in [
        format!("CREATE USER {CARRIER}@'127.0.0.1' IDENTIFIED BY '{PASSWORD}'"),
        format!("GRANT ALL ON *.* TO {CARRIER}@'127.0.0.1'"),
    ] {
        secondary.query_drop(statement).await.unwrap();
    }
    if world.target == Target::MariaDb {
        let revoke = format!("REVOKE SUPER, READ_ONLY ADMIN ON *.* FROM {CARRIER}@'127.0.0.1'");
        secondary.query_drop(revoke).await.unwrap();
    }
}

/// `VmHWM` of a process, in KiB.
fn high_water(pid: u32) -> Option<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    line.trim().trim_end_matches(" kB").parse().ok()
}

/// The secondary's data on a file system of its own, which can be full.
pub struct Disk {
    data: PathBuf,
    /// Unmounts it when we are gone, however we went.
    guard: Child,
}

impl Disk {
    /// Moves the data of a server onto it. `None` where that needs rights that we do not have.
    fn mount(world: &mut World) -> Option<Self> {
        let follower = world.follower.as_mut().unwrap();
        let data = follower.socket_directory().join("data");
        let (path, moved) = (data.display().to_string(), data.with_extension("moved"));
        follower.stop();
        let script = format!(
            "set -e; cp -a '{path}' '{0}'; rm -rf '{path}'/*; \
             owner=$(stat -c uid=%u,gid=%g,mode=%a '{0}'); \
             mount -t tmpfs -o size={ROOM},$owner crossfade-torment '{path}' 2>/dev/null || \
             {{ cp -a '{0}'/. '{path}'; rm -rf '{0}'; exit 1; }}; cp -a '{0}'/. '{path}'; rm -rf '{0}'",
            moved.display()
        );
        let mounted = shell(&script);
        follower.start_again().unwrap();
        let guard = "trap '' INT TERM HUP; read -r nothing; \
             while grep -qas -- \"--datadir=$1\" /proc/[0-9]*/cmdline && [ $((tries += 1)) -lt 100 ]; do sleep 0.1; done; \
             umount -l \"$1\"; rm -rf \"${1%/data}\"";
        let guard = mounted.then(|| {
            Command::new("bash")
                .args(["-c", guard, "guard", &path])
                .stdin(Stdio::piped())
                .stderr(Stdio::null())
                .spawn()
                .unwrap()
        })?;
        Some(Self { data, guard })
    }

    /// Leaves no room for another page.
    pub fn fill(&self) {
        let path = self.path();
        // What is written between the two commands needs room, or the second is refused.
        let size = format!(
            "for n in 1 2 3 4 5 6 7 8; do used=$(df --output=used -B1 {path} | tail -1); \
             mount -o remount,size=$((used + n * 65536)) {path} 2>/dev/null && exit 0; done; exit 1"
        );
        assert!(shell(&size), "the disk could not be filled");
    }

    pub fn clear(&self) {
        assert!(shell(&format!("mount -o remount,size={ROOM} {}", self.path())));
    }

    fn path(&self) -> String {
        format!("'{}'", self.data.display())
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        shell(&format!("umount -l {}", self.path()));
        drop(self.guard.kill());
        drop(self.guard.wait());
    }
}

fn shell(script: &str) -> bool {
    Command::new("bash").args(["-c", script]).status().is_ok_and(|status| status.success())
}

/// Runs what blocks without keeping other tasks from running.
pub fn blocking<T>(task: impl FnOnce() -> T) -> T {
    tokio::task::block_in_place(task)
}

/// Waits for something of a server that may be away; gives up after a while.
pub async fn patiently<T>(what: &str, attempt: impl AsyncFn() -> Option<T>) -> T {
    let deadline = tokio::time::Instant::now() + crate::support::PATIENCE;
    loop {
        if let Ok(Some(done)) = tokio::time::timeout(Duration::from_secs(10), attempt()).await {
            return done;
        }
        assert!(tokio::time::Instant::now() < deadline, "never {what}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}
