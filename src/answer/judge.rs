//! Whether a text could be served, asked before anybody is.

use std::sync::Arc;

use crate::answer::error::PgError;
use crate::answer::plan::{Ground, Planned, Plans, statements};
use crate::answer::verbs::Verb;
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
        let planned: Arc<Planned> = plans.plan(statement, &[], &ground)?;
        // Such a statement has a plan, which is to refuse it once it is run.
        if let Planned::Verb(Verb::Refused(name), _) = &*planned {
            return Err(PgError::unsupported(name));
        }
    }
    Ok(())
}
