//! A quotient at the scale that PostgreSQL gives it, worked out by MySQL.
//!
//! Invariant: as in [`super::decimal`]: 16 digits less four for each group of four by which the
//! quotient is larger than one, and four more for each by which it is smaller.

use crate::dialect::program::Text;
use crate::dialect::typed::fill;

/// `sum / count` of integers: the sum's first group of four digits against the count's tells the scale.
pub(super) fn quotient(sum: &Text, count: &Text) -> Text {
    // The power of 10,000 of the first group, and that group, of a whole number from 1 on.
    let weight = |at: &str| format!("((CHAR_LENGTH(CAST(ABS({at}) AS CHAR)) - 1) DIV 4)");
    let first =
        |at: &str| format!("(ABS({at}) DIV CAST(POW(10, 4 * {}) AS DECIMAL(65,0)))", weight(at));
    let scale = format!(
        "GREATEST(16 - 4 * ({} - {} - ({} <= {})), 0)",
        weight("{0}"),
        weight("{1}"),
        first("{0}"),
        first("{1}")
    );
    // One digit past thirty is what MySQL's division can be asked for; these fit.
    let template = format!(
        "ROUND(CAST({{0}} AS DECIMAL(65,22)) / {{1}}, CASE WHEN {{0}} = 0 THEN 20 ELSE {scale} END)"
    );
    fill(&template, &[sum.clone(), count.clone()])
}
