//! Whether a statement could be served by the secondary, as far as its text tells.

use std::sync::Arc;

use crate::answer::{PgError, judge};
use crate::catalog::Catalog;
use crate::plan::seen::{Readiness, Sample};
use crate::value::Flavor;
use crate::value::style::Zone;

/// The verdict on one text.
#[must_use]
pub fn readiness(sample: &Sample, catalog: &Arc<Catalog>, flavor: Flavor) -> Readiness {
    match judge(&sample.text, catalog, &sample.path, Zone::default(), flavor) {
        Ok(()) => Readiness::Translated,
        Err(error) => refused(&error),
    }
}

/// A refusal of ours names the construct; the text of any other error could quote a literal.
pub(super) fn refused(error: &PgError) -> Readiness {
    Readiness::Refused(match error.construct() {
        Some(construct) => construct.to_owned(),
        None => format!("error {}", error.code),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_statement_that_is_refused_when_it_is_run_is_refused_beforehand() {
        let catalog = Arc::new(Catalog::default());
        let ready = |text: &str| {
            let sample = Sample { text: text.to_owned(), path: vec!["public".to_owned()] };
            readiness(&sample, &catalog, Flavor::MySql).to_string()
        };
        assert_eq!(ready("PREPARE p AS SELECT 1"), "refused: PREPARE as a statement");
        assert_eq!(ready("SELECT 1; LISTEN news"), "refused: LISTEN");
        assert_eq!(ready("BEGIN; SELECT 1; COMMIT"), "translated");
    }

    #[test]
    fn a_refusal_is_the_construct_and_no_other_error_is_quoted() {
        let shown = |code, message: &str| refused(&PgError::new(code, message)).to_string();
        assert_eq!(shown("0A000", "LATERAL cannot be translated for MySQL"), "refused: LATERAL");
        assert_eq!(shown("22P02", "invalid input: \"sesame\""), "refused: error 22P02");
        assert_eq!(shown("0A000", &"ü".repeat(300)).len(), "refused: ".len() + 200);
        let value = "\"sesame\" for parameter \"role\" is not supported while MySQL answers";
        assert_eq!(shown("0A000", value), "refused: this value of a parameter");
    }
}
