//! Drives one established session: moves bytes, and does what takes time in between.
//!
//! ```text
//! client ⇄ Pipe ⇄ [`State`] ⇄ Pipe ⇄ primary
//!                   │ Work
//!                   ▼
//!            handoff: mark dirty, wait for the secondary, strict
//! ```
//!
//! Invariant: while work is under way no byte leaves for the client, so what it is told is true: its
//! answer waits in the buffer.

use std::future::poll_fn;
use std::sync::{Arc, RwLock};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::BytesMut;
use tokio::sync::{oneshot, watch};
use tokio::time::{Instant, timeout};
use tracing::{debug, warn};

use crate::answer::Handover;
use crate::backend::stream::Stream;
use crate::capture::Handed;
use crate::change::Transaction;
use crate::door::credential::Credential;
use crate::handoff::{Failure, Handoff};
use crate::hold::Hold;
use crate::lease::Lease;
use crate::names::TableName;
use crate::policy::Mode;
use crate::served::SessionMetrics;
use crate::session::cancel::Guard;
use crate::session::login::Established;
use crate::session::pending::Refusal;
use crate::session::pipe::Pipe;
use crate::session::planners::Planners;
use crate::session::refuse;
use crate::session::rest::{Belongings, Rested};
use crate::session::state::{Awaits, Broken, Held, State, Then, Wait, Work};
use crate::session::tally::Tally;
use crate::wire::write;

/// How long a client may take to read why its session ends.
const FAREWELL: Duration = Duration::from_secs(1);
/// How long a statement waits for its tables to be marked dirty.
const MARK_TIMEOUT: Duration = Duration::from_secs(5);

/// What the sessions share beyond logging in.
#[derive(Debug)]
pub struct Flow {
    pub planners: Planners,
    pub handoff: Handoff,
    pub lease: Lease,
    pub hold: Hold,
    pub metrics: SessionMetrics,
    pub tally: Tally,
    /// For sessions that begin; a reload may change them.
    pub limits: RwLock<FlowLimits>,
}

impl Flow {
    fn limits(&self) -> FlowLimits {
        *self.limits.read().unwrap_or_else(|poison| poison.into_inner())
    }

    /// Takes changed limits.
    pub fn set_limits(&self, limits: FlowLimits) {
        *self.limits.write().unwrap_or_else(|poison| poison.into_inner()) = limits;
    }
}

/// Bounds of one session.
#[derive(Clone, Copy, Debug)]
pub struct FlowLimits {
    /// Longest statement, or Bind of a captured statement, that is held whole to be understood, in
    /// bytes; longer ones pass as they are and are flagged.
    pub statement_bytes_max: usize,
    /// Images of one transaction kept in memory, in bytes; past it the outbox serves alone.
    pub images_bytes_max: usize,
    /// `limits.hold`: longest pause of a statement or an answer while the lease does not hold, and of a
    /// write that waits for the situation after its epoch.
    pub hold: Duration,
}

impl Default for FlowLimits {
    fn default() -> Self {
        Self {
            statement_bytes_max: 16 << 20,
            images_bytes_max: 16 << 20,
            hold: Duration::from_secs(30),
        }
    }
}

/// Serves an established session to its end.
pub(super) async fn serve(
    established: Established,
    flow: Arc<Flow>,
    shutdown: watch::Receiver<bool>,
) -> Option<Box<Handover>> {
    let _seat = flow.metrics.enter();
    let (planner, limits) = (flow.planners.current(), flow.limits());
    let mut state = State::new(
        flow,
        limits,
        planner,
        &established.user,
        &established.parameters,
        &established.parameter_status,
    );
    state.part = established.part;
    state.has_set(&established.parameters, &established.set);
    let mut server = established.server;
    let mut heard = (established.server_buffer, BytesMut::new());
    for (name, sql, declared) in established.statements {
        if let Err(error) = state.adopt(&mut server, &mut heard, &name, &sql, &declared).await {
            debug!(%error, "session broke");
            return None;
        }
    }
    state.bind_again(established.answered);
    let mut session = Session {
        client: established.client,
        server,
        to_server: Pipe::new(established.client_buffer),
        to_client: Pipe::new(heard.0),
        state,
        stopping: false,
        hearing: Hearing::Client,
        user: established.user,
        database: established.database,
        cancel: established.cancel,
        credential: established.credential,
    };
    match session.run(shutdown).await {
        Ok(None) => debug!("session ended"),
        Ok(Some(belongings)) => {
            debug!("session is handed over");
            return Some(Box::new(session.hand_over(belongings)));
        }
        Err(error) => debug!(%error, "session broke"),
    }
    None
}

pub(super) struct Session {
    pub(super) client: Stream,
    pub(super) server: Stream,
    pub(super) to_server: Pipe,
    pub(super) to_client: Pipe,
    pub(super) state: State,
    pub(super) user: String,
    pub(super) database: String,
    pub(super) cancel: Option<Guard>,
    pub(super) credential: Credential,
    /// The process wants to end; the session follows once it is idle.
    stopping: bool,
    hearing: Hearing,
}

/// Whether the client may still say something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Hearing {
    Client,
    /// It has ended its side; what it said is on its way to the primary.
    Last,
    /// The primary knows. It answers all the same, and then ends its side.
    Ended,
}

/// Why the driver stopped polling.
enum Pause {
    Work(Work),
    /// It is between two transactions, and no other is to begin here.
    Rest,
    /// One side has gone, and the other has been told all there was.
    End,
}

impl Session {
    /// To the end, or to where somebody else goes on with what the client has.
    async fn run(
        &mut self,
        mut shutdown: watch::Receiver<bool>,
    ) -> Result<Option<Belongings>, Broken> {
        self.stopping = *shutdown.borrow_and_update();
        let mut hold = self.state.flow.hold.watch();
        let mut turn = self.state.flow.planners.situation();
        loop {
            let stopping = self.stopping;
            let pause = tokio::select! {
                biased;
                pause = poll_fn(|cx| self.poll(cx)) => pause,
                () = hold.changed() => continue,
                Ok(()) = turn.changed() => continue,
                _ = shutdown.changed(), if !stopping => {
                    self.stopping = true;
                    continue;
                }
            };
            match self.violation(pause).await? {
                Pause::Work(work) => {
                    self.work(work, &shutdown).await?;
                    // The answer that waited for it leaves at the next turn.
                    self.state.spent += self.state.now.elapsed();
                }
                Pause::Rest => match Box::pin(self.rest(&shutdown)).await? {
                    Rested::GoesOn => {}
                    Rested::Moves(belongings) => return Ok(Some(*belongings)),
                    Rested::Ends => {
                        self.farewell();
                        return Ok(None);
                    }
                },
                Pause::End => return Ok(None),
            }
        }
    }

    /// Tells the client why, where it can be blamed for the end.
    async fn violation(&mut self, pause: Result<Pause, Broken>) -> Result<Pause, Broken> {
        if let Err(Broken::BadLength) = pause {
            let mut out = BytesMut::new();
            write::error(&mut out, "FATAL", "08P01", "invalid message length");
            drop(self.client.write_all(&out).await);
        }
        pause
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<Pause, Broken>> {
        self.state.now = std::time::Instant::now();
        let polled = self.poll_sides(cx);
        if !matches!(polled, Poll::Ready(Ok(Pause::Work(_)))) {
            self.state.rested();
        }
        polled
    }

    fn poll_sides(&mut self, cx: &mut Context<'_>) -> Poll<Result<Pause, Broken>> {
        loop {
            self.state.server_messages(&mut self.to_client)?;
            self.state.client_messages(&mut self.to_server)?;
            let server_ready = self.to_server.poll_drain(cx, &mut self.server);
            if let Poll::Ready(Err(error)) = server_ready {
                return Poll::Ready(Err(Broken::Primary(error)));
            }
            if let Some(work) = self.state.work.take() {
                return Poll::Ready(Ok(Pause::Work(work)));
            }
            if let Poll::Ready(Err(error)) = self.to_client.poll_drain(cx, &mut self.client) {
                return Poll::Ready(Err(Broken::Client(error)));
            }
            if self.stopping && self.state.is_idle() && self.to_client.backlog() == 0 {
                self.farewell();
                return Poll::Ready(Ok(Pause::End));
            }
            let sent = self.to_client.backlog() + self.to_server.backlog() == 0;
            if sent && self.state.is_to_rest() && self.is_quiet() {
                return Poll::Ready(Ok(Pause::Rest));
            }
            let mut moved = false;
            if !self.to_client.is_full() {
                match self.to_client.poll_fill(cx, &mut self.server) {
                    Poll::Ready(Ok(true)) => moved = true,
                    Poll::Ready(Ok(false)) => return self.poll_end(cx),
                    Poll::Ready(Err(error)) => return Poll::Ready(Err(Broken::Primary(error))),
                    Poll::Pending => {}
                }
            }
            if self.hearing == Hearing::Client && !self.to_server.is_full() {
                match self.to_server.poll_fill(cx, &mut self.client) {
                    Poll::Ready(Ok(true)) => moved = true,
                    Poll::Ready(Ok(false)) => self.hearing = Hearing::Last,
                    Poll::Ready(Err(error)) => return Poll::Ready(Err(Broken::Client(error))),
                    Poll::Pending => {}
                }
            }
            // What is held back is still to be said, to whoever answers then.
            let held_back = self.state.is_held_back() && self.to_server.has_more();
            let said = self.to_server.backlog() == 0 && !held_back && !self.state.owes_an_end();
            if self.hearing == Hearing::Last && said {
                match self.server.poll_shutdown(cx) {
                    Poll::Ready(Ok(())) => self.hearing = Hearing::Ended,
                    Poll::Ready(Err(error)) => return Poll::Ready(Err(Broken::Primary(error))),
                    Poll::Pending => {}
                }
            }
            if !moved {
                return Poll::Pending;
            }
        }
    }

    /// Between two transactions, with nothing half read from the server.
    fn is_quiet(&self) -> bool {
        self.state.is_at_rest() && !self.to_client.has_more() && self.hearing != Hearing::Ended
    }

    /// The primary has closed the connection: the client still gets what it sent.
    fn poll_end(&mut self, cx: &mut Context<'_>) -> Poll<Result<Pause, Broken>> {
        match self.to_client.poll_drain(cx, &mut self.client) {
            Poll::Ready(Ok(())) => Poll::Ready(Ok(Pause::End)),
            Poll::Ready(Err(error)) => Poll::Ready(Err(Broken::Client(error))),
            Poll::Pending => Poll::Pending,
        }
    }

    /// Queues what an idle client is told when the process ends; a client that does not take it at
    /// once learns from the closed connection.
    fn farewell(&mut self) {
        self.to_client.settle();
        let message = "terminating connection due to administrator command";
        write::error(&mut self.to_client.output, "FATAL", "57P01", message);
        let mut context = Context::from_waker(std::task::Waker::noop());
        drop(self.to_client.poll_drain(&mut context, &mut self.client));
    }

    async fn work(&mut self, work: Work, shutdown: &watch::Receiver<bool>) -> Result<(), Broken> {
        match work {
            Work::Dirty(flagged) => {
                self.mark(flagged).await;
                self.state.cleared = true;
            }
            Work::Wait(Wait { settled, bound, mode, before }) => {
                let all = async {
                    for wait in settled {
                        drop(wait.await);
                    }
                };
                let started = Instant::now();
                let in_time = timeout(bound, all).await;
                self.state.flow.metrics.waited(mode, before + started.elapsed());
                if in_time.is_err() {
                    self.state.flow.metrics.timed_out();
                    if mode == Mode::Blocking {
                        self.state.flow.handoff.waited_in_vain(bound);
                    }
                }
            }
            Work::Renew(planner) => {
                let hold = self.state.limits.hold;
                if !self.state.flow.planners.moved_on(&planner.situation, hold).await {
                    self.state.repeat_for_the_last_time();
                }
            }
            Work::Prepare(handed, then) => Box::pin(self.prepare(handed, then)).await,
            Work::Confirm(awaits) => Box::pin(self.confirm(awaits, shutdown.clone())).await?,
        }
        Ok(())
    }

    /// Waits for the lease. In vain, a statement is refused, and an answer ends the session.
    async fn confirm(
        &mut self,
        awaits: Awaits,
        mut shutdown: watch::Receiver<bool>,
    ) -> Result<(), Broken> {
        let flow = Arc::clone(&self.state.flow);
        let overtaken = |state: &State| awaits == Awaits::Answer && state.is_overtaken();
        let held = !overtaken(&self.state)
            && tokio::select! {
                held = timeout(self.state.limits.hold, flow.lease.held()) => held.is_ok(),
                _ = shutdown.wait_for(|ends| *ends) => false,
            };
        let held = held && !overtaken(&self.state);
        match (held, awaits) {
            (true, _) => Ok(()),
            (false, Awaits::Statement) => {
                self.state.denied = true;
                Ok(())
            }
            (false, Awaits::Answer) => {
                flow.metrics.unconfirmed("answer");
                if self.to_client.cut() {
                    refuse::farewell(&mut self.to_client.output);
                    let said = poll_fn(|cx| self.to_client.poll_drain(cx, &mut self.client));
                    // A client that does not take it learns from the closed connection.
                    drop(timeout(FAREWELL, said).await);
                }
                Err(Broken::Unconfirmed)
            }
        }
    }

    async fn mark(&mut self, flagged: Vec<(Vec<TableName>, &'static str)>) {
        for (tables, reason) in flagged {
            if tables.is_empty() {
                continue;
            }
            let (done, marked) = oneshot::channel();
            self.state.flow.handoff.notices().dirty(tables, reason, Some(done));
            if !matches!(timeout(MARK_TIMEOUT, marked).await, Ok(Ok(()))) {
                warn!(reason, "tables could not be marked dirty yet, will be as soon as possible");
            }
        }
    }

    /// Has the secondary hold the transaction; then the commit passes, or is refused.
    async fn prepare(&mut self, handed: Handed, then: Then) {
        let held = match handed.transaction {
            Some(transaction)
                if handed.drain.is_none_or(|(mode, _)| mode < Mode::Strict)
                    && handed.astray.is_empty() =>
            {
                self.hold(transaction).await
            }
            _ => Err(Failure {
                code: "0A000",
                message: "rows of this transaction are not available before its commit".to_owned(),
            }),
        };
        match (held, then) {
            (Ok(held), Then::Pass) => {
                self.state.held = Some(held);
                self.state.passed = true;
            }
            (Ok(held), Then::Commit) => {
                self.state.held = Some(held);
                self.state.commit_single();
            }
            (Err(failure), then) => {
                let message = failure.to_string();
                self.state.refuse(Refusal { code: failure.code, message }, then);
            }
        }
    }

    async fn hold(&mut self, transaction: Transaction) -> Result<Held, Failure> {
        debug_assert_eq!(transaction.mode, Mode::Strict);
        let (bound, started) = (transaction.timeout, Instant::now());
        let (prepared, ready) = oneshot::channel();
        let (decision, decided) = oneshot::channel();
        let (settled, done) = oneshot::channel();
        self.state.flow.handoff.strict(transaction, prepared, decided, settled)?;
        let ready = timeout(bound, ready).await;
        let waited = started.elapsed();
        let failure = match ready {
            Ok(Ok(Ok(()))) => return Ok(Held { decision, done, timeout: bound, waited }),
            Ok(Ok(Err(failure))) => failure,
            Ok(Err(_)) => late("secondary is not available"),
            Err(_) => late("secondary did not answer in time"),
        };
        self.state.flow.metrics.waited(Mode::Strict, waited);
        Err(failure)
    }
}

fn late(message: &str) -> Failure {
    Failure { code: "57014", message: message.to_owned() }
}
