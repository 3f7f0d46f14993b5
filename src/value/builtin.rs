//! PostgreSQL's built-in types: their fixed OIDs and names, and how each is read.

use crate::names::Oid;
use crate::value::PgType;

/// OID, name in `pg_type`, and names that a person may write instead.
const BUILTIN: &[(Oid, &str, &[&str], PgType)] = &[
    (16, "bool", &["boolean"], PgType::Bool),
    (17, "bytea", &[], PgType::Bytea),
    (19, "name", &[], PgType::Name),
    (20, "int8", &["bigint"], PgType::Int8),
    (21, "int2", &["smallint"], PgType::Int2),
    (23, "int4", &["int", "integer"], PgType::Int4),
    (25, "text", &[], PgType::Text),
    (26, "oid", &[], PgType::Oid),
    (114, "json", &[], PgType::Json),
    (650, "cidr", &[], PgType::Cidr),
    (700, "float4", &["real"], PgType::Float4),
    (701, "float8", &["double precision"], PgType::Float8),
    (829, "macaddr", &[], PgType::Macaddr),
    (869, "inet", &[], PgType::Inet),
    (1042, "bpchar", &["char"], PgType::Bpchar),
    (1043, "varchar", &[], PgType::Text),
    (1082, "date", &[], PgType::Date),
    (1083, "time", &[], PgType::Time),
    (1114, "timestamp", &[], PgType::Timestamp),
    (1184, "timestamptz", &[], PgType::TimestampTz),
    (1186, "interval", &[], PgType::Interval),
    (1266, "timetz", &[], PgType::TimeTz),
    (1700, "numeric", &["decimal"], PgType::Numeric),
    (2950, "uuid", &[], PgType::Uuid),
    (3802, "jsonb", &[], PgType::Jsonb),
];

/// Arrays and their elements.
const ARRAYS: &[(Oid, Oid)] = &[
    (1000, 16),
    (1001, 17),
    (1003, 19),
    (1016, 20),
    (1005, 21),
    (1007, 23),
    (1009, 25),
    (1028, 26),
    (199, 114),
    (651, 650),
    (1021, 700),
    (1022, 701),
    (1040, 829),
    (1041, 869),
    (1014, 1042),
    (1015, 1043),
    (1182, 1082),
    (1183, 1083),
    (1115, 1114),
    (1185, 1184),
    (1187, 1186),
    (1270, 1266),
    (1231, 1700),
    (2951, 2950),
    (3807, 3802),
];

/// OID, name, the name that `regtype` prints, and the array's OID, of every built-in type.
pub fn builtins() -> impl Iterator<Item = (Oid, &'static str, &'static str, Oid)> {
    let shown = |oid: Oid, name: &'static str| match oid {
        16 => "boolean",
        20 => "bigint",
        21 => "smallint",
        23 => "integer",
        700 => "real",
        701 => "double precision",
        1042 => "character",
        1043 => "character varying",
        1083 => "time without time zone",
        1114 => "timestamp without time zone",
        1184 => "timestamp with time zone",
        1266 => "time with time zone",
        _ => name,
    };
    BUILTIN.iter().map(move |(oid, name, ..)| {
        let array = ARRAYS.iter().find(|(_, element)| element == oid);
        (*oid, *name, shown(*oid, name), array.map_or(0, |(array, _)| *array))
    })
}

/// The OID of a built-in array's elements; 0 for any other type.
#[must_use]
pub fn element_of(array: Oid) -> Oid {
    ARRAYS.iter().find(|(known, _)| *known == array).map_or(0, |(_, element)| *element)
}

impl PgType {
    /// How values of a built-in type are read; `None` for types that are not carried or not built in.
    #[must_use]
    pub fn builtin(oid: Oid) -> Option<Self> {
        let entry = BUILTIN.iter().find(|(known, ..)| *known == oid);
        entry.map(|(.., kind)| kind.clone())
    }

    /// A built-in type by name, with its OID.
    #[must_use]
    pub fn named(name: &str) -> Option<(Oid, Self)> {
        let fits = |entry: &&(Oid, &str, &[&str], Self)| entry.1 == name || entry.2.contains(&name);
        BUILTIN.iter().find(fits).map(|(oid, .., kind)| (*oid, kind.clone()))
    }

    /// The type of an array's elements; any other type itself.
    #[must_use]
    pub fn element(&self) -> &Self {
        match self {
            Self::Array(element) => element,
            other => other,
        }
    }
}
