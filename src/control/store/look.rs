//! One cheap look at the primary: has anything changed that a sidecar must know?
//!
//! Invariant: a look changes nothing, and costs two statements that were prepared once a connection.

use std::sync::Arc;
use std::time::Instant;

use tokio_postgres::{Client, Error, Row, Statement};

use crate::backend::postgres::control::Presence;
use crate::backend::postgres::introspect;
use crate::backend::postgres::moved::Moved;
use crate::catalog::Catalog;
use crate::catalog::naming::Naming;
use crate::control::layout::{self, UnknownLayout};
use crate::names::TableId;
use crate::phase::{Phase, Situation, Views};
use crate::policy::Policies;

/// Where things stand, without the catalogue itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Seen {
    /// Changes whenever the schema may have.
    pub(super) digest: String,
    /// Major version of the server.
    pub(super) server: u32,
    pub(super) state: State,
    /// Before the first question was sent.
    pub(super) asked: Instant,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum State {
    /// A standby: not the primary that we were sent to.
    Standby,
    NotSetUp,
    /// Someone dropped these of our relations.
    Damaged(String),
    /// This role owns our schema, and may not.
    Foreign(String),
    /// Our tables are of a version that is not known here.
    Unknown(UnknownLayout),
    SetUp(SetUp),
}

/// What `setup` has made, as of now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct SetUp {
    pub(super) epoch: u64,
    pub(super) mysql_is_primary: bool,
    /// Tables that MySQL leads while PostgreSQL leads the rest.
    pub(super) moved: Vec<TableId>,
    pub(super) timeline: String,
    /// Timeline, system and database are those that the epoch was set for.
    pub(super) same_primary: bool,
    /// Changes whenever `crossfade.tables` registers something else, or other types are recorded.
    pub(super) registry: String,
    pub(super) dirty: i64,
    pub(super) sidecars: i64,
    /// The migration is given up; clients may be held for it for as many milliseconds, if any are left.
    pub(super) abandoned: Option<i64>,
}

impl Seen {
    /// Tables that MySQL leads while PostgreSQL leads the rest.
    pub(super) fn moved(&self) -> &[TableId] {
        self.state.moved()
    }

    /// True where a catalogue read for one still holds for the other.
    pub(super) fn same_catalogue(&self, other: &Self) -> bool {
        self.digest == other.digest
            && self.server == other.server
            && self.state.registry() == other.state.registry()
    }
}

impl State {
    fn moved(&self) -> &[TableId] {
        match self {
            Self::SetUp(SetUp { abandoned: None, moved, .. }) => moved,
            _ => &[],
        }
    }

    fn registry(&self) -> Option<&str> {
        match self {
            Self::SetUp(state) => Some(&state.registry),
            _ => None,
        }
    }

    /// What a situation says beside its catalogue.
    pub(super) fn turn(&self) -> Option<(u64, bool, &str)> {
        match self {
            Self::SetUp(SetUp { abandoned: Some(_), .. }) => None,
            Self::SetUp(state) => Some((state.epoch, state.mysql_is_primary, &state.timeline)),
            _ => None,
        }
    }
}

/// The statements of one connection.
pub(super) struct Looker {
    generation: u64,
    present: Statement,
    state: Option<Statement>,
    /// What the epoch's sequence held last.
    turn: Option<i64>,
}

fn present() -> String {
    let missing = Presence::question();
    format!(
        "SELECT {missing}, pg_catalog.pg_is_in_recovery(), \
         pg_catalog.current_setting('server_version_num')::pg_catalog.int4 / 10000"
    )
}

/// `last_value` is read from the sequence itself: that is bound to no snapshot.
const STATE: &str = "SELECT e.last_value, now.timeline, \
       coalesce((SELECT s.value FROM crossfade.settings s WHERE s.key = 'timeline') = now.timeline, true) \
         AND coalesce((SELECT s.value FROM crossfade.settings s WHERE s.key = 'system_identifier') \
           = now.system, true) \
         AND coalesce((SELECT s.value FROM crossfade.settings s WHERE s.key = 'database') \
           = now.database, true), \
       (SELECT pg_catalog.count(*)::text || ':' || coalesce(pg_catalog.sum( \
           pg_catalog.hashtextextended(pg_catalog.concat_ws(' ', t.id, t.schema, t.name, t.capture, t.target), 0)), 0)::text \
         || coalesce((SELECT s.value FROM crossfade.settings s WHERE s.key = 'types'), '') \
         FROM crossfade.tables t), \
       (SELECT pg_catalog.count(*) FROM crossfade.tables t WHERE t.dirty_reason IS NOT NULL), \
       (SELECT pg_catalog.count(*) FROM crossfade.sidecars s WHERE pg_catalog.now() < s.lease_until), \
       (SELECT s.value FROM crossfade.settings s WHERE s.key = 'layout'), \
       (SELECT ((s.value::float8 - extract(epoch FROM pg_catalog.clock_timestamp())::float8) * 1000)::int8 \
         FROM crossfade.settings s WHERE s.key = 'abandon'), \
       (SELECT s.value FROM crossfade.settings s WHERE s.key = 'moved') \
     FROM crossfade.epoch e CROSS JOIN (SELECT \
       pg_catalog.substr(pg_catalog.pg_walfile_name(pg_catalog.pg_current_wal_insert_lsn()), 1, 8) AS timeline, \
       (SELECT c.system_identifier::text FROM pg_catalog.pg_control_system() c) AS system, \
       (SELECT d.oid::text FROM pg_catalog.pg_database d \
         WHERE d.datname = pg_catalog.current_database()) AS database) now";

impl Looker {
    pub(super) async fn new(client: &Client, generation: u64) -> Result<Self, Error> {
        let present = client.prepare(&present()).await?;
        Ok(Self { generation, present, state: None, turn: None })
    }

    /// Whether it still belongs to the connection of that number.
    pub(super) fn fits(&self, generation: u64) -> bool {
        self.generation == generation
    }

    pub(super) async fn look(&mut self, client: &Client) -> Result<Seen, Error> {
        let asked = Instant::now();
        let row = client.query_one(&self.present, &[]).await?;
        let presence = Presence::new(&row.get::<_, Vec<String>>(0));
        let server = u32::try_from(row.get::<_, i32>(2)).unwrap_or(0);
        let state = match presence {
            _ if row.get(1) => State::Standby,
            Presence::Absent => {
                self.state = None;
                State::NotSetUp
            }
            Presence::Damaged(missing) => State::Damaged(missing),
            Presence::Foreign(owner) => State::Foreign(owner),
            Presence::Complete => self.state(client).await?,
        };
        Ok(Seen { digest: introspect::digest(client).await?, server, state, asked })
    }

    async fn state(&mut self, client: &Client) -> Result<State, Error> {
        let statement = match &self.state {
            Some(statement) => statement.clone(),
            None => self.state.insert(client.prepare(STATE).await?).clone(),
        };
        // A sequence is ahead of the snapshot: what is read beside a new epoch may be of the one before.
        let row = loop {
            let row = client.query_one(&statement, &[]).await;
            // Abandoned and set up again, its statements speak of tables that are gone.
            let row = row.inspect_err(|_| self.state = None)?;
            let turn = row.get(0);
            if self.turn.replace(turn) == Some(turn) {
                break row;
            }
        };
        Ok(match layout::recorded(row.get(6)) {
            Ok(()) => State::SetUp(SetUp::read(&row)),
            Err(unknown) => State::Unknown(unknown),
        })
    }
}

impl SetUp {
    fn read(row: &Row) -> Self {
        let turn: i64 = row.get(0);
        let (epoch, mysql_is_primary) = (u64::try_from(turn / 2).unwrap_or(0), turn % 2 == 1);
        let moved = row.get::<_, Option<&str>>(8).map(Moved::parse).unwrap_or_default();
        let moved = if mysql_is_primary { Vec::new() } else { moved.at(epoch).to_vec() };
        Self {
            epoch,
            mysql_is_primary,
            moved,
            timeline: row.get(1),
            same_primary: row.get(2),
            registry: row.get(3),
            dirty: row.get(4),
            sidecars: row.get(5),
            abandoned: row.get(7),
        }
    }
}

/// Where things stand, asked once: for whoever is not a sidecar. Of what PostgreSQL leads, where MySQL leads
/// some tables by themselves.
pub async fn observe(
    client: &Client,
    policies: &Policies,
    naming: &Naming,
) -> Result<Arc<Situation>, Error> {
    Ok(observe_both(client, policies, naming).await?.postgres)
}

/// As [`observe`], and of what MySQL leads: the same twice where one leads all.
pub async fn observe_both(
    client: &Client,
    policies: &Policies,
    naming: &Naming,
) -> Result<Views, Error> {
    let seen = Looker::new(client, 0).await?.look(client).await?;
    let catalog = introspect::introspect(client, policies, naming).await?;
    Ok(situation(&seen, Arc::new(catalog)).views(seen.moved()))
}

pub(super) fn situation(seen: &Seen, catalog: Arc<Catalog>) -> Situation {
    let (phase, epoch, timeline) = match &seen.state {
        State::SetUp(SetUp { abandoned: Some(_), .. }) => (Phase::Setup, 0, String::new()),
        State::SetUp(state) if state.mysql_is_primary => {
            (Phase::Switched, state.epoch, state.timeline.clone())
        }
        State::SetUp(state) => (Phase::DualWrite, state.epoch, state.timeline.clone()),
        _ => (Phase::Setup, 0, String::new()),
    };
    Situation { phase, epoch, timeline, catalog, server: seen.server }
}
