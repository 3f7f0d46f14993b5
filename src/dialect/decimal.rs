//! Division of decimals as PostgreSQL scales it.
//!
//! Invariant: as many digits as `select_div_scale` gives: at least 16 that count, in groups of four.

use crate::dialect::refuse::Refused;

/// Digits past which nothing is worked out here.
const DIGITS_MAX: usize = 18;

/// The quotient; `None` where the numbers are too long for this.
pub(super) fn divide(left: &str, right: &str) -> Result<Option<String>, Refused> {
    let (Some(a), Some(b)) = (Decimal::parse(left), Decimal::parse(right)) else { return Ok(None) };
    if b.digits == 0 {
        return Err(Refused::error("22012", "division by zero"));
    }
    let scale = scale(&a, &b);
    // a.digits / 10^a.scale / (b.digits / 10^b.scale), at `scale` digits, half away from zero.
    let power = scale + b.scale;
    let Some(power) = power.checked_sub(a.scale) else { return Ok(None) };
    let Some(shifted) = u32::try_from(power).ok().and_then(|power| 10_u128.checked_pow(power))
    else {
        return Ok(None);
    };
    let Some(numerator) = a.digits.checked_mul(shifted) else { return Ok(None) };
    let (quotient, rest) = (numerator / b.digits, numerator % b.digits);
    let quotient = quotient + u128::from(rest * 2 >= b.digits);
    let text = format!("{quotient:0>width$}", width = scale + 1);
    let (whole, decimals) = text.split_at(text.len() - scale);
    let sign = if a.negative != b.negative && quotient != 0 { "-" } else { "" };
    let point = if decimals.is_empty() { "" } else { "." };
    Ok(Some(format!("{sign}{whole}{point}{decimals}")))
}

struct Decimal {
    negative: bool,
    digits: u128,
    scale: usize,
}

impl Decimal {
    fn parse(text: &str) -> Option<Self> {
        let (negative, unsigned) = match text.strip_prefix('-') {
            Some(rest) => (true, rest),
            None => (false, text),
        };
        let (whole, decimals) = unsigned.split_once('.').unwrap_or((unsigned, ""));
        let digits = format!("{whole}{decimals}");
        if digits.len() > DIGITS_MAX {
            return None;
        }
        Some(Self { negative, digits: digits.parse().ok()?, scale: decimals.len() })
    }

    /// The power of 10,000 of the first group that is not zero, and that group.
    fn first(&self) -> (i64, u128) {
        if self.digits == 0 {
            return (0, 0);
        }
        let padding = (4 - self.scale % 4) % 4;
        let mut digits = self.digits * 10_u128.pow(u32::try_from(padding).unwrap_or(0));
        let mut weight = -i64::try_from((self.scale + padding) / 4).unwrap_or(0);
        while digits >= 10_000 {
            digits /= 10_000;
            weight += 1;
        }
        (weight, digits)
    }
}

fn scale(a: &Decimal, b: &Decimal) -> usize {
    let ((weight_a, first_a), (weight_b, first_b)) = (a.first(), b.first());
    let mut weight = weight_a - weight_b;
    if first_a <= first_b {
        weight -= 1;
    }
    let least = i64::try_from(a.scale.max(b.scale)).unwrap_or(0);
    usize::try_from((16 - weight * 4).max(least).max(0)).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quotients_have_the_digits_that_postgresql_gives_them() {
        for (a, b, quotient) in [
            ("10", "3", "3.3333333333333333"),
            ("1", "3", "0.33333333333333333333"),
            ("7", "2.0", "3.5000000000000000"),
            ("-7", "2.0", "-3.5000000000000000"),
            ("100000", "7", "14285.714285714286"),
        ] {
            assert_eq!(divide(a, b).unwrap().as_deref(), Some(quotient), "{a}/{b}");
        }
        assert_eq!(divide("1", "0").unwrap_err().code, "22012");
    }
}
