//! What only `control` can act on, gathered until it does: dirty marks, a schema that has changed.
//!
//! ```text
//! session, apply ──dirty, reload──▶ [`Notices`] ──next──▶ proxy: marks on the primary, the store looks
//! ```
//!
//! Invariant: a mark is kept until it is taken, however long the primary is away, and what is kept is
//! bounded by the tables, and by the sessions that still wait: those that have given up are let go.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use tokio::sync::{Notify, oneshot};

use super::keep;
use crate::names::TableName;

#[derive(Debug, Default)]
pub struct Notices {
    rung: Notify,
    gathered: Mutex<Gathered>,
}

/// What there is to do.
#[derive(Debug, Default)]
pub struct Gathered {
    /// The first reason stays, as it does in `crossfade.tables`.
    pub dirty: BTreeMap<TableName, &'static str>,
    /// Answered once the marks are durable on the primary.
    pub waiting: Vec<oneshot::Sender<()>>,
    /// Read the catalogue again.
    pub reload: bool,
}

impl Notices {
    /// A write that is not carried over: the tables may differ from now on.
    pub fn dirty(
        &self,
        tables: Vec<TableName>,
        reason: &'static str,
        done: Option<oneshot::Sender<()>>,
    ) {
        self.add(|gathered| {
            for table in tables {
                gathered.dirty.entry(table).or_insert(reason);
            }
            if let Some(done) = done {
                keep(&mut gathered.waiting, done);
            }
        });
    }

    /// DDL went through: read the catalogue again.
    pub fn reload(&self) {
        self.add(|gathered| gathered.reload = true);
    }

    fn add(&self, add: impl FnOnce(&mut Gathered)) {
        add(&mut self.gathered.lock().unwrap_or_else(PoisonError::into_inner));
        self.rung.notify_one();
    }

    /// Waits until there is something, and takes all of it.
    pub async fn next(&self) -> Gathered {
        self.rung.notified().await;
        std::mem::take(&mut *self.gathered.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Gathered {
    /// The tables by reason.
    #[must_use]
    pub fn by_reason(&self) -> BTreeMap<&'static str, Vec<TableName>> {
        let mut reasons: BTreeMap<_, Vec<_>> = BTreeMap::new();
        for (table, reason) in &self.dirty {
            reasons.entry(*reason).or_default().push(table.clone());
        }
        reasons
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn marks_that_nobody_takes_are_kept_once_each_with_their_first_reason() {
        let notices = Notices::default();
        let users = || vec![TableName::parse("users")];
        for _ in 0..10_000 {
            let (done, gone) = oneshot::channel();
            drop(gone);
            notices.dirty(users(), "copy", Some(done));
            notices.dirty(users(), "do", None);
        }
        let (done, waits) = oneshot::channel();
        notices.dirty(users(), "do", Some(done));
        let gathered = notices.next().await;
        assert_eq!(gathered.by_reason().into_iter().collect::<Vec<_>>(), [("copy", users())]);
        assert!(gathered.waiting.len() <= 2 * super::super::KEPT_MIN, "{}", gathered.waiting.len());
        for waiting in gathered.waiting {
            let _ = waiting.send(());
        }
        waits.await.unwrap();
    }
}
