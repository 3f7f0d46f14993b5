//! Casts, written and implied.
//!
//! ```text
//! true::text ──▶ IF(x,'true','false')      (j->>'n')::int ──▶ digits are checked, else an error
//! ```
//!
//! Invariant: a cast that PostgreSQL fails for some text fails here too: MySQL's own would give 0 or
//! NULL and a warning.

use crate::dialect::literal;
use crate::dialect::program::Text;
use crate::dialect::refuse::{Refused, unsupported};
use crate::dialect::translator::Translator;
use crate::dialect::typed::{Node, Repr, Typed, around, fill};
use crate::dialect::types::Type;
use crate::value::{Flavor, PgType};

/// Fails with 1242 where it is reached; it names the value so that it is not reached beforehand.
pub(super) const FAILS: &str = "(SELECT 1 WHERE {0} IS NOT NULL UNION ALL SELECT 2)";

impl Translator<'_> {
    /// An explicit cast.
    pub(super) fn cast(&mut self, typed: Typed, to: &Type) -> Result<Typed, Refused> {
        if typed.is_unknown() {
            let typed = self.resolve(typed, to)?;
            // A parameter that has the type already still gets the modifier.
            return if typed.ty == *to || to.typmod < 0 {
                Ok(typed)
            } else {
                self.cast_known(typed, to)
            };
        }
        self.cast_known(typed, to)
    }

    fn cast_known(&mut self, typed: Typed, to: &Type) -> Result<Typed, Refused> {
        if let Some(value) = typed.value()
            && let Some(value) = literal::convert(value, &typed.ty, to)?
        {
            return Ok(Typed::constant(value, to.clone()));
        }
        if let Node::List(items) = &typed.node {
            let Some(element) = to.element() else {
                return Err(unsupported("a cast of an array to something else"));
            };
            let items = items.clone();
            let items = items.into_iter().map(|item| self.cast(item, &element));
            let items = items.collect::<Result<Vec<_>, _>>()?;
            return Ok(Typed { node: Node::List(items), ty: to.clone(), ..typed });
        }
        if typed.ty.kind == to.kind && typed.ty.kind != PgType::Numeric {
            return self.modify(typed, to);
        }
        let nullable = typed.nullable;
        let (text, repr) = self.convert(&typed, to)?;
        Ok(Typed::sql(text, to.clone(), nullable).with_repr(repr))
    }

    /// The same type with another modifier.
    fn modify(&mut self, typed: Typed, to: &Type) -> Result<Typed, Refused> {
        if to.typmod < 0 || to.typmod == typed.ty.typmod {
            let ty =
                if to.typmod < 0 && to.oid != typed.ty.oid { to.clone() } else { typed.ty.clone() };
            return Ok(Typed { ty: Type { typmod: to.typmod.max(-1), ..ty }, ..typed });
        }
        let nullable = typed.nullable;
        match &to.kind {
            PgType::Text | PgType::Bpchar => {
                let text = self.text(&typed)?;
                let length = to.typmod - 4;
                Ok(Typed::sql(around("LEFT(", text, &format!(", {length})")), to.clone(), nullable))
            }
            PgType::Timestamp | PgType::TimestampTz if typed.ty.precision() <= to.precision() => {
                Ok(Typed { ty: to.clone(), ..typed })
            }
            PgType::Timestamp | PgType::TimestampTz if self.is_mysql() => {
                let text = self.text(&typed)?;
                let digits = to.precision();
                let cast = format!("CAST({{0}} AS DATETIME({digits}))");
                Ok(Typed::sql(fill(&cast, &[text]), to.clone(), nullable))
            }
            _ => Err(unsupported(&format!("a cast to {} with a modifier", to.name()))),
        }
    }

    fn convert(&mut self, typed: &Typed, to: &Type) -> Result<(Text, Repr), Refused> {
        let from = &typed.ty;
        if to.is_text() {
            let text = self.text_of(typed)?;
            let text = match (to.typmod, &to.kind) {
                (4.., PgType::Text | PgType::Bpchar) => {
                    around("LEFT(", text, &format!(", {})", to.typmod - 4))
                }
                _ => text,
            };
            return Ok((text, Repr::Plain));
        }
        if typed.repr == Repr::Kept {
            return Err(unsupported(&format!("a cast of {} to {}", from.name(), to.name())));
        }
        let text = self.text(typed)?;
        let simple =
            |template: &str| Ok((fill(template, std::slice::from_ref(&text)), Repr::Plain));
        match (&from.kind, &to.kind) {
            (PgType::Numeric, PgType::Numeric) => match to.scale() {
                None => Ok((text, typed.repr)),
                Some((precision, scale)) if precision <= 65 && scale <= 30 => Ok((
                    // Digits that do not fit are an error in PostgreSQL; MySQL would take the largest number.
                    fill(
                        &format!(
                            "(CASE WHEN ABS(ROUND({{0}}, {scale})) < 1{} THEN CAST({{0}} AS DECIMAL({precision},{scale})) \
                             WHEN {{0}} IS NOT NULL THEN {FAILS} END)",
                            "0".repeat((precision.saturating_sub(scale)) as usize)
                        ),
                        &[text],
                    ),
                    Repr::Scaled,
                )),
                Some(_) => Err(unsupported("a numeric of so many digits")),
            },
            (PgType::Bool, PgType::Int4) => simple("CAST({0} AS SIGNED)"),
            (PgType::Int4, PgType::Bool) => simple("({0} <> 0)"),
            _ if from.is_integer() && to.is_integer() => simple("{0}"),
            (PgType::Oid, _) if to.is_integer() => simple("{0}"),
            (PgType::Numeric | PgType::Float4 | PgType::Float8, _) if to.is_integer() => {
                simple("CAST(ROUND({0}) AS SIGNED)")
            }
            (_, PgType::Numeric) if from.is_integer() => match to.scale() {
                None => simple("{0}"),
                Some((precision, scale)) if precision <= 65 && scale <= 30 => Ok((
                    fill(&format!("CAST({{0}} AS DECIMAL({precision},{scale}))"), &[text]),
                    Repr::Scaled,
                )),
                Some(_) => Err(unsupported("a numeric of so many digits")),
            },
            // As MySQL holds them, arrays of whole numbers are alike; each value has to fit.
            (PgType::Array(from), PgType::Array(to)) if widens(from, to) => simple("{0}"),
            (_, PgType::Float8) if from.is_number() => simple("({0} + 0E0)"),
            _ if from.is_time() => self.convert_moment(text, from, to),
            _ if from.is_json() => self.convert_document(text, from, to),
            _ if from.is_text() => self.read_text(typed, to),
            _ => Err(no_cast(from, to)),
        }
    }

    fn convert_moment(
        &mut self,
        text: Text,
        from: &Type,
        to: &Type,
    ) -> Result<(Text, Repr), Refused> {
        match (&from.kind, &to.kind) {
            (PgType::TimestampTz, PgType::Date | PgType::Timestamp | PgType::Time) => {
                self.needs_utc("a cast of timestamptz")?;
                self.convert_time(text, from, to)
            }
            (PgType::Date | PgType::Timestamp, PgType::TimestampTz) => {
                self.needs_utc("a cast to timestamptz")?;
                self.convert_time(text, from, to)
            }
            (PgType::Timestamp, PgType::Date | PgType::Time)
            | (PgType::Date, PgType::Timestamp) => self.convert_time(text, from, to),
            _ => Err(no_cast(from, to)),
        }
    }

    fn convert_document(
        &self,
        text: Text,
        from: &Type,
        to: &Type,
    ) -> Result<(Text, Repr), Refused> {
        match (&from.kind, &to.kind, self.flavor()) {
            (_, PgType::Json, _) | (PgType::Json, PgType::Jsonb, Flavor::MariaDb) => {
                Ok((text, Repr::Plain))
            }
            (PgType::Json, PgType::Jsonb, Flavor::MySql) => {
                Ok((around("CAST(", text, " AS JSON)"), Repr::Plain))
            }
            _ => Err(no_cast(from, to)),
        }
    }

    fn convert_time(
        &mut self,
        text: Text,
        from: &Type,
        to: &Type,
    ) -> Result<(Text, Repr), Refused> {
        let template = match &to.kind {
            PgType::Date => "CAST({0} AS DATE)",
            PgType::Time => "CAST({0} AS TIME(6))",
            _ if from.kind == PgType::Date => "CAST({0} AS DATETIME(6))",
            _ => "{0}",
        };
        if to.precision() < 6 && to.precision() < from.precision() {
            return Err(unsupported(&format!("a cast to {} with a modifier", to.name())));
        }
        Ok((fill(template, &[text]), Repr::Plain))
    }

    /// Text that is read as another type: checked first, so that what PostgreSQL refuses is refused.
    fn read_text(&mut self, typed: &Typed, to: &Type) -> Result<(Text, Repr), Refused> {
        let typed = self.as_text(typed.clone())?;
        let text = self.text(&typed)?;
        let (pattern, template) = match &to.kind {
            PgType::Int2 | PgType::Int4 | PgType::Int8 => {
                ("^[ ]*[-+]?[0-9]{1,18}[ ]*$", "CAST(TRIM({0}) AS SIGNED)")
            }
            PgType::Uuid => (
                "^[0-9A-Fa-f]{8}-[0-9A-Fa-f]{4}-[0-9A-Fa-f]{4}-[0-9A-Fa-f]{4}-[0-9A-Fa-f]{12}$",
                "LOWER({0})",
            ),
            PgType::Bool => (
                "^(true|false|t|f|yes|no|y|n|on|off|1|0)$",
                "({0} IN ('true','t','yes','y','on','1'))",
            ),
            // A time of day and a zone are left out; a day that is none is a warning, and so an error.
            PgType::Date => (
                "^[0-9]{4}-[0-9]{2}-[0-9]{2}([ T]([01][0-9]|2[0-3]):[0-5][0-9](:[0-5][0-9]([.][0-9]{1,6})?)?\
                 (Z|[-+][0-9]{2}(:?[0-9]{2})?)?)?$",
                "CAST(LEFT({0}, 10) AS DATE)",
            ),
            PgType::Jsonb if self.is_mysql() => {
                return Ok((around("CAST(", text, " AS JSON)"), Repr::Plain));
            }
            _ => return Err(unsupported(&format!("a cast of text to {}", to.name()))),
        };
        // A pattern with braces cannot go through the template.
        let mut out = fill("(CASE WHEN {0} REGEXP '", std::slice::from_ref(&text));
        out.push(pattern);
        out.append(fill(
            &format!("' THEN {template} WHEN {{0}} IS NOT NULL THEN {FAILS} END)"),
            &[text],
        ));
        Ok((out, Repr::Plain))
    }

    /// The text that a cast to text gives.
    pub(super) fn text_of(&mut self, typed: &Typed) -> Result<Text, Refused> {
        let bin = self.collation();
        if typed.ty.is_text() {
            let typed = self.as_text(typed.clone())?;
            return self.text(&typed);
        }
        let text = self.text(typed)?;
        let convert = format!("(CONVERT({{0}} USING utf8mb4) COLLATE {bin})");
        let template = match (&typed.ty.kind, typed.repr) {
            (PgType::Bool, _) => "IF({0} IS NULL, NULL, IF({0}, 'true', 'false'))".to_owned(),
            (PgType::Int2 | PgType::Int4 | PgType::Int8 | PgType::Oid, _) => {
                "CAST({0} AS CHAR)".to_owned()
            }
            // A numeric that is kept as text is its text already.
            (PgType::Numeric, Repr::Kept) => "{0}".to_owned(),
            (PgType::Numeric, Repr::Scaled) => "CAST({0} AS CHAR)".to_owned(),
            (PgType::Uuid, Repr::Plain) | (PgType::Enum(_), _) => convert,
            (PgType::Date, _) => "CAST({0} AS CHAR)".to_owned(),
            (PgType::Timestamp, _) => timestamp_text(" ", ""),
            (PgType::TimestampTz, _) => {
                self.needs_utc("timestamptz as text")?;
                timestamp_text(" ", "+00")
            }
            (PgType::Json, _) => convert,
            // MariaDB keeps the text that its functions made, which is not in jsonb's form.
            (PgType::Jsonb, _) if self.is_mysql() => convert,
            (PgType::Inet, _) => {
                "IF({0} LIKE '%/%', {0}, CONCAT({0}, IF({0} LIKE '%:%', '/128', '/32')))".to_owned()
            }
            (PgType::Cidr | PgType::Macaddr, _) => "{0}".to_owned(),
            _ => return Err(unsupported(&format!("{} as text", typed.ty.name()))),
        };
        Ok(fill(&template, &[text]))
    }

    /// Text as text compares: case matters in a citext then, and a char(n) has no padding.
    pub(super) fn as_text(&mut self, typed: Typed) -> Result<Typed, Refused> {
        let ty = match typed.ty.oid {
            25 | 1043 => return Ok(typed),
            _ => Type::text(),
        };
        if typed.source().is_some() {
            return Ok(Typed { ty, ..typed });
        }
        let bin = self.collation();
        let text = fill(&format!("({{0}} COLLATE {bin})"), &[self.text(&typed)?]);
        Ok(Typed::sql(text, ty, typed.nullable))
    }
}

fn no_cast(from: &Type, to: &Type) -> Refused {
    unsupported(&format!("a cast of {} to {}", from.name(), to.name()))
}

/// ISO, without zeros at the end of the fraction.
pub(super) fn timestamp_text(separator: &str, zone: &str) -> String {
    format!(
        "CONCAT(DATE_FORMAT({{0}}, '%Y-%m-%d{separator}%H:%i:%s'), TRIM(TRAILING '.' FROM \
         TRIM(TRAILING '0' FROM DATE_FORMAT({{0}}, '.%f'))), '{zone}')"
    )
}

fn widens(from: &PgType, to: &PgType) -> bool {
    let rank = |kind: &PgType| match kind {
        PgType::Int2 => Some(2),
        PgType::Int4 => Some(4),
        PgType::Int8 => Some(8),
        _ => None,
    };
    rank(from).zip(rank(to)).is_some_and(|(from, to)| from <= to)
}
