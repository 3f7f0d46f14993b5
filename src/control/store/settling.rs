//! Notes, every third of the lease, a position of the log below which everything is decided.
//!
//! Invariant: noted and written over one connection, to a server that was found to be the primary of
//! this epoch: so a position of one server is never written on another.

use super::LookError;
use crate::backend::postgres::connect::Link;
use crate::outbox::{Moment, lost};

/// A moment whose transactions may be running still.
#[derive(Clone, Copy, Debug)]
pub(super) struct Settling {
    moment: Moment,
    generation: u64,
    epoch: u64,
}

impl Settling {
    /// Writes the last moment's position once what ran then has ended, and notes the next moment.
    pub(super) async fn go_on(
        last: Option<Self>,
        link: &mut Link,
        epoch: u64,
    ) -> Result<Self, LookError> {
        let (generation, client) = link.numbered().await?;
        if let Some(last) = last
            && (last.generation, last.epoch) == (generation, epoch)
        {
            if !last.moment.ended(client).await? {
                return Ok(last);
            }
            lost::settled(client, epoch, last.moment.lsn).await?;
        }
        Ok(Self { moment: Moment::note(client).await?, generation, epoch })
    }
}
