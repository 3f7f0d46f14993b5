//! The simple protocol: a query string, one statement after the other.
//!
//! Invariant: several statements are one transaction, unless they say otherwise.

use std::sync::Arc;

use bytes::Bytes;

use crate::answer::bind::Format;
use crate::answer::error::PgError;
use crate::answer::execute::Ask;
use crate::answer::plan::{Planned, statements};
use crate::answer::rows::{self, Kept, Stop};
use crate::answer::session::{Session, query_text};
use crate::wire::write;

impl Session {
    pub(super) async fn simple(&mut self, body: &Bytes) -> Result<(), Stop> {
        match self.query(body).await {
            Err(Stop::Error(error)) => self.fail(*error).await?,
            other => other?,
        }
        self.ready().await
    }

    async fn query(&mut self, body: &Bytes) -> Result<(), Stop> {
        let sql = query_text(body)?;
        let texts = statements(&sql);
        // The unnamed statement and portal do not outlive a simple query.
        self.statements.close_statement("");
        self.statements.close_portal("");
        if texts.is_empty() {
            write::empty(&mut self.out, b'I');
            return Ok(());
        }
        self.refresh();
        // PostgreSQL reads all of it before it runs any of it.
        for text in &texts {
            match self.plan(text, &[]) {
                Err(error) if error.code == "42601" => return Err(error.into()),
                _ => {}
            }
        }
        let several = 1 < texts.len();
        for (at, text) in texts.iter().enumerate() {
            let last = at + 1 == texts.len();
            let ran = self.one(text, several, last).await;
            if let Err(Stop::Error(error)) = &ran {
                self.services.failed(text, error);
            }
            ran?;
        }
        Ok(())
    }

    async fn one(&mut self, text: &str, several: bool, last: bool) -> Result<(), Stop> {
        self.stand();
        let planned = match self.plan(text, &[]) {
            Ok(planned) => planned,
            Err(error) => {
                self.block.admits()?;
                return Err(error.into());
            }
        };
        self.statement(&planned, several, last).await
    }

    async fn statement(
        &mut self,
        planned: &Arc<Planned>,
        several: bool,
        last: bool,
    ) -> Result<(), Stop> {
        if !planned.ends_transaction() {
            self.block.admits()?;
        }
        if !planned.parameters().is_empty() {
            return Err(PgError::new("42P02", "there is no parameter $1").into());
        }
        self.look_at(planned)?;
        if several && !planned.ends_transaction() {
            self.enter();
            self.block.imply();
        }
        let columns = planned.columns();
        let formats = vec![Format::Text; columns.len()];
        if planned.has_rows() {
            rows::description(&mut self.out, columns, &formats);
        }
        let ask = Ask { planned, values: &[], formats: &formats, wanted: u64::MAX };
        let ran = self.execute(ask, &mut Kept::new(0)).await?;
        // What fails at the commit has not completed.
        if last && !self.block.is_explicit() {
            self.end_block().await?;
        }
        match ran.tag.as_str() {
            "" => write::empty(&mut self.out, b'I'),
            tag => write::command_complete(&mut self.out, tag.as_bytes()),
        }
        Ok(())
    }
}
