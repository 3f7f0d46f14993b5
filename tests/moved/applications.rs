//! Whole applications while the primary changes and changes back: no error, no session lost.
//!
//! ```text
//! flow on PostgreSQL alone ─▶ setup ─▶ flow ─▶ logins: switchover ─▶ flow ─▶ logins: rollback ─▶ flow
//! ```
//!
//! Each is one process from the first dual write on, with its pool of connections; it ends with the first
//! assertion of its own that fails.

use std::process::Stdio;

use crossfade::demo::servers;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};

use super::Site;
use crate::drivers::{HANG, directory, node, output};
use crate::support::{Target, World, left_out};

/// Logins that have to succeed before, and after, the primary changes under them.
const LOGINS: u64 = 60;

/// A process that answers each line with a line.
struct Guided {
    said: ChildStdin,
    heard: Lines<BufReader<ChildStdout>>,
    child: Child,
}

impl Guided {
    fn start(mut command: Command, world: &World, port: u16) -> Self {
        command.envs(world.environment(port)).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.kill_on_drop(true).spawn().unwrap();
        let (said, heard) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
        Self { said, heard: BufReader::new(heard).lines(), child }
    }

    /// What it answers to a verb.
    async fn ask(&mut self, line: &str) -> String {
        self.said.write_all(format!("{line}\n").as_bytes()).await.unwrap();
        let heard = tokio::time::timeout(HANG, self.heard.next_line()).await;
        let heard = heard.unwrap_or_else(|_| panic!("{line}: no answer")).unwrap();
        let heard = heard.unwrap_or_else(|| panic!("{line}: the application has ended"));
        let verb = line.split(' ').next().unwrap();
        let answer = heard.strip_prefix(&format!("{verb}: "));
        answer.unwrap_or_else(|| panic!("{line}: {heard}")).to_owned()
    }

    /// It leaves as it came, without an error.
    async fn end(mut self) {
        drop(self.said);
        let ended = tokio::time::timeout(HANG, self.child.wait()).await;
        assert!(ended.expect("the application ends").unwrap().success());
    }

    async fn number(&mut self, line: &str) -> u64 {
        self.ask(line)
            .await
            .trim_start_matches(|letter: char| !letter.is_ascii_digit())
            .parse()
            .unwrap()
    }

    /// Until some more logins have succeeded.
    async fn more_logins(&mut self, world: &World) {
        let least = self.number("count").await + LOGINS;
        world.until("logins go on", async || least <= self.number("count").await).await;
    }
}

/// What is asked of each application.
struct Application {
    /// Makes its schema, on PostgreSQL.
    migrate: fn() -> Command,
    guided: fn() -> Command,
    /// What its flow prints.
    flow: &'static str,
    tables: usize,
}

impl Application {
    async fn lives_through_it(&self, target: Target) {
        let mut world = World::bare(target, "").await;
        let directly = world.environment(world.postgres_port());
        output((self.migrate)().envs(directly), "the application's migration").await;
        let mut before = Guided::start((self.guided)(), &world, world.postgres_port());
        before.ask("begin").await;
        assert_eq!(before.ask("flow 1").await, self.flow);
        let session = before.ask("keep").await;
        before.end().await;
        world.setup();
        world.run().await;
        let mut app = Guided::start((self.guided)(), &world, world.proxy_port());
        app.ask(&format!("take {session}")).await;
        assert_eq!(app.ask("flow 2").await, self.flow);
        let mut site = Site::over(world).await;
        for (flow, verb) in [(3, "switchover"), (4, "rollback"), (5, "switchover")] {
            app.ask("keep").await;
            app.ask("logins").await;
            app.more_logins(&site.world).await;
            site.change(verb).await;
            app.more_logins(&site.world).await;
            // Each of them finds its session again.
            assert!(2 * LOGINS <= app.number("stop").await);
            assert_eq!(app.number("check").await, flow - 1, "sessions from before {verb}");
            assert_eq!(app.ask(&format!("flow {flow}")).await, self.flow, "after {verb}");
            // One that starts now has the same sessions.
            let mut late = Guided::start((self.guided)(), &site.world, site.world.proxy_port());
            late.ask(&format!("take {session}")).await;
            assert_eq!(late.number("check").await, 1, "after {verb}");
            late.end().await;
            match verb {
                "switchover" => site.drained_back().await,
                _ => site.world.drained().await,
            }
            let tables = site.world.assert_all_equal().await;
            assert_eq!(tables.len(), self.tables, "{tables:?}");
        }
        app.end().await;
    }
}

#[tokio::test]
async fn better_auth_lives_through_a_switchover_and_back() {
    let application = Application {
        migrate: || {
            let mut migrate = node("better_auth.mjs");
            migrate.arg("migrate");
            migrate
        },
        guided: || {
            let mut guided = node("better_auth.mjs");
            guided.arg("guided");
            guided
        },
        flow: "steps 65",
        tables: 13,
    };
    if !left_out("node", "better-auth across a switchover") {
        for target in Target::all() {
            application.lives_through_it(target).await;
        }
    }
}

#[tokio::test]
async fn django_lives_through_a_switchover_and_back() {
    let application = Application {
        migrate: || django("migrate"),
        guided: || django("guided"),
        flow: "steps 35",
        tables: 9,
    };
    if !left_out("python", "Django across a switchover") {
        for target in Target::all() {
            application.lives_through_it(target).await;
        }
    }
}

fn django(verb: &str) -> Command {
    let mut python = Command::new(servers::cache().join("venv/bin/python"));
    python.arg("django_app.py").arg(verb).current_dir(directory());
    python
}
