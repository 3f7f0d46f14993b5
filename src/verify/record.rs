//! How a pass ended, for whoever asks later: `crossfade.verified`.
//!
//! ```text
//! Report ──▶ one row a table: the last pass as it was, and sums over all of them ──▶ status, /metrics
//! ```
//!
//! Invariant: what is written is a pass over the whole table; the sums only grow.

use tokio_postgres::Client;

use super::{Report, VerifyError};
use crate::catalog::Table;

const KEEP: &str = "INSERT INTO crossfade.verified AS v \
     (table_id, rows, equal, missing, extra, different, unsettled, seconds, clean, \
      equal_sum, missing_sum, extra_sum, different_sum) \
     VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $3, $4, $5, $6) ON CONFLICT (table_id) DO UPDATE \
     SET at = excluded.at, rows = excluded.rows, equal = excluded.equal, missing = excluded.missing, \
       extra = excluded.extra, different = excluded.different, unsettled = excluded.unsettled, \
       seconds = excluded.seconds, clean = excluded.clean, \
       equal_sum = v.equal_sum + excluded.equal, missing_sum = v.missing_sum + excluded.missing, \
       extra_sum = v.extra_sum + excluded.extra, different_sum = v.different_sum + excluded.different";

pub(super) async fn keep(
    client: &Client,
    table: &Table,
    report: &Report,
) -> Result<(), VerifyError> {
    let id = table.id.map_or(0, |id| id.0);
    let signed = |number: u64| i64::try_from(number).unwrap_or(i64::MAX);
    let (rows, equal) = (signed(report.rows), signed(report.equal()));
    // A row whose key cannot be looked up is on the secondary alone all the same.
    let extra = signed(report.extra + report.unjudged);
    let (missing, different) = (signed(report.missing), signed(report.different));
    let (unsettled, seconds) = (signed(report.unsettled), report.elapsed.as_secs_f64());
    client
        .execute(
            KEEP,
            &[
                &id,
                &rows,
                &equal,
                &missing,
                &extra,
                &different,
                &unsettled,
                &seconds,
                &report.is_equal(),
            ],
        )
        .await?;
    Ok(())
}
