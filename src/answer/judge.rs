//! Whether a text could be served, asked before anybody is.

use std::sync::Arc;

use crate::answer::error::PgError;
use crate::answer::plan::{Ground, Planned, Plans, statements};
use crate::catalog::Catalog;
use crate::value::Flavor;
use crate::value::style::Zone;

/// Plans every statement of a query string as a session would, whose search path and zone these are.
///
/// # Errors
/// What the first statement that has no plan would be refused with.
pub fn judge(
    sql: &str,
    catalog: &Arc<Catalog>,
    path: &[String],
    zone: Zone,
    flavor: Flavor,
) -> Result<(), PgError> {
    let ground = Ground { catalog: Arc::clone(catalog), path: path.to_vec(), zone, flavor };
    let plans = Plans::new(1);
    for statement in statements(sql) {
        let _planned: Arc<Planned> = plans.plan(statement, &[], &ground)?;
    }
    Ok(())
}
