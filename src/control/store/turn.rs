//! Whose turn it is, where PostgreSQL alone cannot say it: MySQL's, and the way between the two.
//!
//! ```text
//! PostgreSQL's turn ──the old primary first──▶ [`Stand::Between`] ──one lease──▶ the other side ──▶ published
//! MySQL's turn: the lease is confirmed there, and PostgreSQL may be away
//! ```
//!
//! Invariant: it is done if either side has the later epoch. Whoever finds only one that has it tells the
//! other, and not before every sidecar has noticed or has lost its lease.

use std::sync::Arc;
use std::time::{Duration, Instant as Moment};

use tokio::time::{Instant, timeout};
use tracing::{debug, info, warn};

use super::look::{SetUp, State};
use super::{LEAVE_TIME_MAX, LookError, Store, epoch};
use crate::backend::mysql::control::{Turn, is_complete, layout, turn};
use crate::backend::mysql::kept::{Kept, keep, load};
use crate::backend::mysql::{Link, WriteError, sidecars};
use crate::catalog::Catalog;
use crate::control::Ends;
use crate::control::layout::numbered;
use crate::control::switchover;
use crate::phase::{Phase, Situation};

/// Longest time to have MySQL keep a catalogue.
const KEEP_TIME_MAX: Duration = Duration::from_secs(30);

/// What MySQL has said of its own turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Home {
    /// It is not its turn, or it did not say so.
    Unasked,
    Confirmed,
    /// And PostgreSQL is none of ours any more.
    Alone,
}

/// What both sides say together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stand {
    /// Both the same, or what follows is on its way there as ever.
    Agreed,
    /// MySQL leads some tables, and PostgreSQL the rest.
    Parted,
    /// One of them has to be told this turn.
    Between(Turn),
    /// MySQL is the primary of an epoch that PostgreSQL never had.
    Contrary,
}

/// What to make of both answers. `postgres` is PostgreSQL's.
pub(super) fn stand(postgres: Turn, mysql: Turn) -> Stand {
    if postgres.leads_part || mysql.leads_part {
        let both_part =
            postgres.leads_part && !postgres.mysql_is_primary && !mysql.mysql_is_primary;
        return match (both_part, mysql.leads_part) {
            (true, true) if mysql.epoch <= postgres.epoch => Stand::Parted,
            (true, false) if mysql.epoch <= postgres.epoch + 1 => Stand::Between(postgres),
            _ => Stand::Contrary,
        };
    }
    match (postgres.mysql_is_primary, mysql.mysql_is_primary) {
        // The old primary is told first, so a later turn of MySQL's is none of ours.
        (false, true) if postgres.epoch < mysql.epoch => Stand::Contrary,
        (false, _) => Stand::Agreed,
        (true, true) if postgres.epoch == mysql.epoch => Stand::Agreed,
        (true, _) if mysql.epoch < postgres.epoch => Stand::Between(postgres),
        (true, false) => Stand::Between(mysql),
        (true, true) => Stand::Contrary,
    }
}

/// Where things stand once PostgreSQL is left for good, as MySQL alone has it; `None` where it is not.
pub async fn observe_alone(ends: &Ends) -> Result<Option<Situation>, WriteError> {
    let mut link = Link::connect(&ends.to, &ends.limits).await?;
    let Some(turn) = turn(link.conn()).await? else { return Ok(None) };
    if !turn.mysql_is_primary || !is_complete(link.conn()).await? {
        return Ok(None);
    }
    let kept = load(link.conn()).await?.ok_or(WriteError::NotSetUp)?;
    Ok(Some(Situation {
        phase: Phase::Complete,
        epoch: turn.epoch,
        timeline: String::new(),
        catalog: Arc::new(kept.catalog),
        server: kept.server,
    }))
}

impl Store {
    /// While it is MySQL's turn: confirms the lease there.
    pub(super) async fn confirm_at_home(&mut self) -> Home {
        let situation = Arc::clone(&self.situation.borrow());
        if !matches!(situation.phase, Phase::Switched | Phase::Complete) {
            return Home::Unasked;
        }
        if situation.phase == Phase::Switched && self.note_at_home().await.is_err() {
            return Home::Unasked;
        }
        let asked = Moment::now();
        let ours = Turn { epoch: situation.epoch, mysql_is_primary: true, leads_part: false };
        let Ok((turn, complete)) = self.home().await else { return Home::Unasked };
        if turn != ours {
            return Home::Unasked;
        }
        if complete && situation.phase != Phase::Complete {
            info!("PostgreSQL is left for good");
            let now = Situation { phase: Phase::Complete, ..Situation::clone(&situation) };
            self.metrics.set_phase(Phase::Complete);
            self.say_both(now);
        }
        self.sidecar.lease.confirm(asked);
        if complete { Home::Alone } else { Home::Confirmed }
    }

    /// PostgreSQL could not be asked, and MySQL may have become the primary since: of that it is sure, for
    /// it is told last.
    pub(super) async fn start_alone(&mut self) -> Result<(), LookError> {
        let (mut turn, mut complete) = self.home().await?;
        if turn.mysql_is_primary && !complete {
            self.note_at_home().await?;
        }
        // Whoever has given the lead back before this has to find the line.
        let asked = Moment::now();
        (turn, complete) = self.home().await?;
        let before = (self.situation.borrow().phase, self.situation.borrow().epoch);
        let is_new = before.1 < turn.epoch || complete && before != (Phase::Complete, turn.epoch);
        if !turn.mysql_is_primary || !is_new {
            return Err(LookError::Between);
        }
        let mut link = Link::connect(&self.ends.to, &self.ends.limits).await?;
        let kept = load(link.conn()).await?.ok_or(WriteError::NotSetUp)?;
        self.version += 1;
        let catalog = Catalog { version: self.version, ..kept.catalog };
        self.catalog = Arc::new(catalog);
        let phase = if complete { Phase::Complete } else { Phase::Switched };
        info!(
            phase = phase.as_str(),
            epoch = turn.epoch,
            "MySQL answers, with the catalogue that it keeps"
        );
        self.metrics.set_phase(phase);
        self.metrics.epoch.set(i64::try_from(turn.epoch).unwrap_or(i64::MAX));
        self.say_both(Situation {
            phase,
            epoch: turn.epoch,
            timeline: String::new(),
            catalog: Arc::clone(&self.catalog),
            server: kept.server,
        });
        self.sidecar.lease.confirm(asked);
        Ok(())
    }

    /// While PostgreSQL has no line of this sidecar MySQL has one: whoever gives the lead back waits for it.
    async fn note_at_home(&mut self) -> Result<(), LookError> {
        if self.lease_renewed.is_some() || !self.sidecar.is_due(self.noted) {
            return Ok(());
        }
        let (lease, covered) = (self.sidecar.lease.length(), self.sidecar.covered());
        let noted = async {
            let mut link = Link::connect(&self.ends.to, &self.ends.limits).await?;
            sidecars::note(link.conn(), &self.sidecar.id, lease, covered).await
        };
        timeout(lease / 3, noted).await.unwrap_or(Err(WriteError::TimedOut))?;
        self.noted = Some(Instant::now());
        Ok(())
    }

    /// Nobody has to wait for it there.
    pub(super) async fn leave_home(&mut self) {
        if self.noted.take().is_none() {
            return;
        }
        let gone = async {
            let mut link = Link::connect(&self.ends.to, &self.ends.limits).await?;
            sidecars::forget(link.conn(), &self.sidecar.id).await
        };
        // Its line expires all the same.
        drop(timeout(LEAVE_TIME_MAX, gone).await);
    }

    /// Publishes what holds for every table.
    fn say_both(&self, now: Situation) {
        let views = now.views(&[]);
        self.beyond.send_replace(views.mysql);
        self.situation.send_replace(views.postgres);
    }

    /// The turn is the one that was published last.
    fn is_published(&self, state: &SetUp) -> bool {
        let known = self.known.as_ref().and_then(|known| known.state.turn());
        known == State::SetUp(state.clone()).turn()
    }

    /// Has MySQL keep the published catalogue, beside everything else; in vain it is tried again with the
    /// next.
    pub(super) fn keep(&self) {
        let situation = Arc::clone(&self.situation.borrow());
        let (ends, catalog) = (self.ends.clone(), Arc::clone(&self.catalog));
        tokio::spawn(async move {
            let Situation { epoch, server, .. } = *situation;
            let text = Kept { epoch, server, catalog: Catalog::clone(&catalog) };
            let kept = timeout(KEEP_TIME_MAX, async {
                let mut link = Link::connect(&ends.to, &ends.limits).await?;
                keep(link.conn(), &text).await
            });
            if !matches!(kept.await, Ok(Ok(()))) {
                debug!("MySQL could not keep the catalogue");
            }
        });
    }

    /// MySQL says of itself that it answers alone. Where it does not answer, PostgreSQL's word has to do.
    pub(super) async fn was_left(&mut self) -> bool {
        let patience = self.sidecar.lease.length() / 3;
        let alone = timeout(patience, observe_alone(&self.ends)).await;
        matches!(alone, Ok(Ok(Some(_))))
    }

    /// Whether what PostgreSQL has said is the whole truth; otherwise an error, and what is missing done.
    pub(super) async fn agreed(&mut self, state: &SetUp) -> Result<Home, LookError> {
        let leads_part = !state.moved.is_empty();
        if !state.mysql_is_primary && !leads_part {
            return Ok(Home::Unasked);
        }
        let mysql_is_primary = state.mysql_is_primary;
        let postgres = Turn { epoch: state.epoch, mysql_is_primary, leads_part };
        let asked = Moment::now();
        let (mysql, complete) = match self.home().await {
            // What PostgreSQL leads is answered without it, and nothing else: of what has moved since MySQL was
            // heard last, it has not said that it leads it.
            Err(_) if leads_part && (self.is_published(state) || !self.part_lease.holds(asked)) => {
                return Ok(Home::Unasked);
            }
            said => said?,
        };
        match stand(postgres, mysql) {
            Stand::Parted => {
                self.part_asked = Some((state.epoch, asked));
                if mysql.epoch < postgres.epoch {
                    epoch::follow(&self.ends, postgres.epoch).await?;
                }
                Ok(Home::Unasked)
            }
            Stand::Agreed if complete => Ok(Home::Alone),
            Stand::Agreed => Ok(Home::Confirmed),
            Stand::Contrary => Err(LookError::Contrary),
            Stand::Between(_) => {
                self.finish();
                Err(LookError::Between)
            }
        }
    }

    /// Sees to it that the change is finished, by a task of its own: it waits for a lease first.
    fn finish(&mut self) {
        if self.finishing.as_ref().is_some_and(|task| !task.is_finished()) {
            return;
        }
        let (ends, policies) = (self.ends.clone(), Arc::clone(&self.policies.borrow()));
        let nudge = self.nudge.clone();
        self.finishing = Some(tokio::spawn(async move {
            match switchover::finish_half_done(&ends, &policies).await {
                Ok(()) => info!("a change of the primary that was half done is finished"),
                Err(error) => {
                    warn!(error = super::chain(&error), "a change of the primary is half done");
                }
            }
            nudge.look_now();
        }));
    }

    /// What MySQL says, over a connection that is kept.
    async fn home(&mut self) -> Result<(Turn, bool), LookError> {
        let patience = self.sidecar.lease.length() / 3;
        let fresh = self.home.is_none();
        let asked = async {
            let mut link = match self.home.take() {
                Some(link) => link,
                None => Link::connect(&self.ends.to, &self.ends.limits).await?,
            };
            let found = turn(link.conn()).await?.ok_or(WriteError::NotSetUp)?;
            let complete = is_complete(link.conn()).await?;
            let layout = if fresh { layout(link.conn()).await? } else { None };
            Ok::<_, WriteError>((link, (found, complete), layout))
        };
        match timeout(patience, asked).await.unwrap_or(Err(WriteError::TimedOut)) {
            Ok((link, found, layout)) => {
                numbered(layout)?;
                self.home = Some(link);
                Ok(found)
            }
            Err(error) => {
                warn!(%error, "MySQL could not be asked whose turn it is");
                Err(error.into())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_later_epoch_of_either_side_is_what_holds() {
        let turn = |epoch, mysql_is_primary| Turn { epoch, mysql_is_primary, leads_part: false };
        let (ours, theirs) = (turn(3, false), turn(4, true));
        assert_eq!(stand(ours, ours), Stand::Agreed);
        assert_eq!(stand(theirs, theirs), Stand::Agreed);
        assert_eq!(stand(theirs, ours), Stand::Between(theirs), "the switchover's second half");
        let back = turn(5, false);
        assert_eq!(stand(theirs, back), Stand::Between(back), "the rollback's second half");
        assert_eq!(stand(back, back), Stand::Agreed);
        assert_eq!(stand(back, theirs), Stand::Agreed, "a failover's epoch follows on its own");
        assert_eq!(stand(ours, theirs), Stand::Contrary, "a primary of an old backup");
        let part = |epoch, leads_part| Turn { epoch, mysql_is_primary: false, leads_part };
        assert_eq!(stand(part(4, true), part(4, true)), Stand::Parted);
        assert_eq!(stand(part(4, true), part(3, false)), Stand::Between(part(4, true)));
        assert_eq!(
            stand(part(4, true), part(5, false)),
            Stand::Between(part(4, true)),
            "given back"
        );
        assert_eq!(stand(part(4, false), part(4, true)), Stand::Contrary);
    }
}
