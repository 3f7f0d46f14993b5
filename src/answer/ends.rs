//! How transactions begin and end, and what each end brings with it.
//!
//! ```text
//! COMMIT, Sync ──▶ what is due to be noted, COMMIT: one round trip ──▶ carried to PostgreSQL, settings kept
//! error, ROLLBACK ──▶ ROLLBACK ──▶ settings as they were, nothing noted
//! ```
//!
//! Invariant: what is due and the COMMIT are one text, of which MySQL runs nothing after the first failure:
//! a write is noted or it is not committed.

use crate::answer::block::Tell;
use crate::answer::error::PgError;
use crate::answer::execute::Ran;
use crate::answer::place::clock;
use crate::answer::rows::Stop;
use crate::answer::session::Session;
use crate::answer::verbs::Characteristics;
use crate::wire::write;

impl Session {
    /// Reports an error, and takes back what it takes back.
    pub(super) async fn fail(&mut self, error: PgError) -> Result<(), Stop> {
        if error.fatal {
            return Err(error.into());
        }
        error.encode(&mut self.out);
        let tell = self.block.fail(&error);
        self.backend.tell(tell).await?;
        if self.block.is_none() {
            self.ended(false).await?;
        }
        Ok(())
    }

    /// Before a statement that may begin a transaction.
    pub(super) fn enter(&mut self) {
        if self.block.is_none() {
            self.settings.begin();
            self.started = clock();
        }
    }

    /// COMMIT, or ROLLBACK of what has failed; true if it is a commit. What is due to be noted goes with it,
    /// and what fails then has failed as a whole.
    pub(super) async fn end_block(&mut self) -> Result<bool, Stop> {
        let (tell, committed) = self.block.commit();
        let tell = match tell {
            Tell::These(words) if committed => {
                let mut texts = self.captured.take_due();
                texts.extend(words);
                Tell::These(texts)
            }
            tell => tell,
        };
        if let Err(error) = self.backend.tell(tell).await {
            if !error.fatal && !error.undone {
                self.backend.tell(Tell::These(vec!["ROLLBACK".to_owned()])).await?;
            }
            return Err(error.into());
        }
        self.ended(committed).await?;
        Ok(committed)
    }

    /// After a transaction.
    pub(super) async fn ended(&mut self, committed: bool) -> Result<(), Stop> {
        match committed {
            true => {
                self.settings.commit();
                self.captured.carry(self.services.handoff.as_ref()).await;
            }
            false => {
                self.settings.rollback();
                self.captured.forget();
            }
        }
        self.statements.close_portals();
        for lock in std::mem::take(&mut self.locks) {
            let name = mysql_async::Value::Bytes(lock.into_bytes());
            self.backend.number("SELECT RELEASE_LOCK(?)", vec![name]).await?;
        }
        self.stand();
        Ok(())
    }

    /// Ends what was implicit, and says where the transaction stands.
    pub(super) async fn ready(&mut self) -> Result<(), Stop> {
        if !self.block.is_explicit() {
            match self.end_block().await {
                Err(Stop::Error(error)) => self.fail(*error).await?,
                ended => {
                    ended?;
                }
            }
        }
        for (name, value) in self.settings.news() {
            self.status(name, &value);
        }
        self.denied = false;
        write::ready(&mut self.out, self.block.status());
        Ok(())
    }

    /// SAVEPOINT. What is due comes before it, so that a rollback to it leaves that.
    pub(super) async fn savepoint(&mut self, name: &str) -> Result<(), Stop> {
        let Tell::These(own) = self.block.savepoint(name)? else { return Ok(()) };
        let mut texts = self.captured.take_due();
        texts.extend(own);
        if let Err(error) = self.backend.tell(Tell::These(texts)).await {
            self.block.unsaved();
            return Err(error.into());
        }
        self.settings.savepoint();
        Ok(())
    }

    pub(super) async fn commit(&mut self, chain: bool) -> Result<Ran, Stop> {
        if !self.block.is_explicit() {
            self.warn("25P01", "there is no transaction in progress");
        }
        let asked = self.block.asked();
        let committed = self.end_block().await?;
        self.chain(chain, asked);
        Ok(Ran::tagged(if committed { "COMMIT" } else { "ROLLBACK" }))
    }

    pub(super) async fn rollback(&mut self, chain: bool) -> Result<Ran, Stop> {
        if !self.block.is_explicit() {
            self.warn("25P01", "there is no transaction in progress");
        }
        let asked = self.block.asked();
        let tell = self.block.rollback();
        self.backend.tell(tell).await?;
        self.ended(false).await?;
        self.chain(chain, asked);
        Ok(Ran::tagged("ROLLBACK"))
    }

    fn chain(&mut self, chain: bool, asked: Characteristics) {
        if chain {
            self.enter();
            self.block.chain(asked);
        }
    }
}
