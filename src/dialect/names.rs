//! Names as PostgreSQL reads them.

use sqlparser::ast::{Ident, ObjectName, ObjectNamePart};

use crate::dialect::refuse::{Refused, unsupported};
use crate::names::shortened;

/// An identifier as PostgreSQL stores it.
pub(super) fn fold(ident: &Ident) -> String {
    shortened(match ident.quote_style {
        // The parser was told to leave doubled quotes as they are.
        Some(_) => ident.value.replace("\"\"", "\""),
        None => ident.value.to_ascii_lowercase(),
    })
}

/// The parts of a qualified name.
pub(super) fn parts(name: &ObjectName) -> Result<Vec<String>, Refused> {
    let part = |part: &ObjectNamePart| match part {
        ObjectNamePart::Identifier(ident) => Ok(fold(ident)),
        ObjectNamePart::Function(_) => Err(unsupported("a function in a name")),
    };
    name.0.iter().map(part).collect()
}
