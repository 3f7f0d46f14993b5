//! Values in PostgreSQL's own formats, checked against PostgreSQL: what we print it prints, what it reads we
//! read, and what it refuses we refuse with its words.

use crossfade::demo::servers::Product;
use crossfade::value::style::{ByteaOutput, DateOrder, IntervalStyle, Style, Zone};
use crossfade::value::{Array, Numeric, PgType, Value, element_of};
use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};
use tokio_postgres::{Client, SimpleQueryMessage};

use crate::support::{connect, shared};

/// Values of each type that are compared.
const VALUES: usize = 150;
const DAY: i64 = 86_400_000_000;

/// Type as written in SQL, the function that sends it, and how it is read here.
fn types() -> Vec<(&'static str, &'static str, u32, PgType)> {
    let array = |of: PgType| PgType::Array(Box::new(of));
    let named = |name: &str| PgType::named(name).unwrap().1;
    vec![
        ("bool", "boolsend", 16, PgType::Bool),
        ("int2", "int2send", 21, PgType::Int2),
        ("int4", "int4send", 23, PgType::Int4),
        ("int8", "int8send", 20, PgType::Int8),
        ("oid", "oidsend", 26, PgType::Oid),
        ("float4", "float4send", 700, PgType::Float4),
        ("float8", "float8send", 701, PgType::Float8),
        ("numeric", "numeric_send", 1700, PgType::Numeric),
        ("text", "textsend", 25, PgType::Text),
        ("bytea", "byteasend", 17, PgType::Bytea),
        ("uuid", "uuid_send", 2950, PgType::Uuid),
        ("date", "date_send", 1082, PgType::Date),
        ("time", "time_send", 1083, PgType::Time),
        ("timetz", "timetz_send", 1266, PgType::TimeTz),
        ("timestamp", "timestamp_send", 1114, PgType::Timestamp),
        ("timestamptz", "timestamptz_send", 1184, PgType::TimestampTz),
        ("interval", "interval_send", 1186, PgType::Interval),
        ("json", "json_send", 114, PgType::Json),
        ("jsonb", "jsonb_send", 3802, PgType::Jsonb),
        ("inet", "inet_send", 869, PgType::Inet),
        ("cidr", "cidr_send", 650, PgType::Cidr),
        ("macaddr", "macaddr_send", 829, PgType::Macaddr),
        ("int4[]", "array_send", 1007, array(PgType::Int4)),
        ("text[]", "array_send", 1009, array(PgType::Text)),
        ("float8[]", "array_send", 1022, array(PgType::Float8)),
        ("timestamptz[]", "array_send", 1185, array(PgType::TimestampTz)),
        ("jsonb[]", "array_send", 3807, array(named("jsonb"))),
        ("bytea[]", "array_send", 1001, array(PgType::Bytea)),
    ]
}

struct Chance(StdRng);

impl Chance {
    fn below(&mut self, bound: i64) -> i64 {
        self.0.random_range(0..bound)
    }

    fn one_in(&mut self, count: i64) -> bool {
        self.below(count) == 0
    }

    fn text(&mut self) -> String {
        const LETTERS: &[char] = &[
            'a', 'B', '1', ' ', '\'', '"', '\\', ',', '{', '}', 'é', '😀', '\n', '\t', '\u{1}',
            '%', '\u{b}', 'N',
        ];
        if self.one_in(12) {
            return "NULL".to_owned();
        }
        let length = self.below(7);
        (0..length).map(|_| LETTERS[self.0.random_range(0..LETTERS.len())]).collect()
    }

    fn number(&mut self) -> String {
        let sign = if self.one_in(3) { "-" } else { "" };
        let digits = |chance: &mut Self, most: i64| -> String {
            let length = chance.below(most);
            (0..length)
                .map(|_| char::from(b'0' + u8::try_from(chance.below(10)).unwrap()))
                .collect()
        };
        let whole = digits(self, 25);
        let whole = whole.trim_start_matches('0');
        let whole = if whole.is_empty() { "0" } else { whole };
        let decimals = digits(self, 20);
        let zero = whole == "0" && decimals.bytes().all(|digit| digit == b'0');
        let sign = if zero { "" } else { sign };
        if decimals.is_empty() {
            format!("{sign}{whole}")
        } else {
            format!("{sign}{whole}.{decimals}")
        }
    }

    fn document(&mut self, depth: u32) -> serde_json::Value {
        use serde_json::Value as Document;
        match self.below(if depth == 0 { 5 } else { 7 }) {
            0 => Document::Null,
            1 => Document::Bool(self.one_in(2)),
            2 => serde_json::from_str(&self.number()).unwrap(),
            3 | 4 => Document::String(self.text()),
            5 => (0..self.below(4)).map(|_| self.document(depth - 1)).collect(),
            _ => (0..self.below(4)).map(|_| (self.text(), self.document(depth - 1))).collect(),
        }
    }

    fn micros(&mut self) -> i64 {
        match self.below(4) {
            0 => self.below(DAY),
            1 => -self.below(1000 * 365 * DAY),
            2 => self.below(7000 * 365 * DAY) / 1_000_000 * 1_000_000,
            _ => self.below(50 * 365 * DAY),
        }
    }

    fn value(&mut self, pg_type: &PgType) -> Value {
        let bits = self.0.random::<u64>();
        match pg_type {
            PgType::Bool => Value::Bool(self.one_in(2)),
            PgType::Int2 => Value::Int(self.0.random::<i16>().into()),
            PgType::Int4 => Value::Int(self.0.random::<i32>().into()),
            PgType::Int8 => Value::Int(bits.cast_signed() >> self.below(60)),
            PgType::Oid => Value::Int(self.0.random::<u32>().into()),
            PgType::Float4 => match self.below(3) {
                0 => Value::Float4(self.0.random::<i16>().into()),
                #[expect(clippy::cast_possible_truncation, reason = "any will do")]
                1 => Value::Float4(10_f32.powi(self.below(40) as i32 - 20)),
                _ => match f32::from_bits(self.0.random::<u32>()) {
                    nan if nan.is_nan() => Value::Float4(f32::NAN),
                    value => Value::Float4(value),
                },
            },
            PgType::Float8 => match self.below(3) {
                0 => Value::Float8(self.0.random::<i32>().into()),
                #[expect(clippy::cast_possible_truncation, reason = "any will do")]
                1 => Value::Float8(10_f64.powi(self.below(60) as i32 - 30)),
                _ => match f64::from_bits(bits) {
                    nan if nan.is_nan() => Value::Float8(f64::NAN),
                    value => Value::Float8(value),
                },
            },
            PgType::Numeric if self.one_in(15) => Value::Numeric(Numeric::NaN),
            PgType::Numeric => Value::Numeric(Numeric::Finite(self.number())),
            PgType::Bytea => Value::Bytes(self.text().into_bytes().into()),
            PgType::Uuid => Value::Uuid(self.0.random()),
            PgType::Date if self.one_in(20) => Value::Date(i32::MAX),
            PgType::Date => Value::Date(i32::try_from(self.micros() / DAY).unwrap()),
            PgType::Time => Value::Time(self.below(DAY + 1)),
            PgType::TimeTz => {
                let west = i32::try_from(self.below(120) - 60).unwrap() * 900;
                Value::TimeTz(self.below(DAY), west)
            }
            PgType::Timestamp if self.one_in(20) => Value::Timestamp(i64::MIN),
            PgType::Timestamp => Value::Timestamp(self.micros()),
            PgType::TimestampTz if self.one_in(20) => Value::TimestampTz(i64::MAX),
            PgType::TimestampTz => Value::TimestampTz(self.micros()),
            PgType::Interval => {
                let part = |chance: &mut Self, most| {
                    if chance.one_in(2) { 0 } else { chance.below(2 * most) - most }
                };
                let months = i32::try_from(part(self, 500)).unwrap();
                let days = i32::try_from(part(self, 100)).unwrap();
                let micros = part(self, 10 * DAY);
                let micros = if self.one_in(2) { micros / 1_000_000 * 1_000_000 } else { micros };
                Value::Interval { months, days, micros }
            }
            PgType::Json => Value::Json(self.document(3).to_string()),
            PgType::Jsonb => {
                let text = self.document(3).to_string();
                PgType::Jsonb.read(&text, "", &Style::default()).unwrap()
            }
            PgType::Inet | PgType::Cidr => {
                const OF: &[&str] =
                    &["10.0.0.0/8", "192.168.1.5/32", "::1/128", "2001:db8::/32", "1.2.3.0/24"];
                let text = OF[self.0.random_range(0..OF.len())];
                pg_type.read(text, "", &Style::default()).unwrap()
            }
            PgType::Macaddr => Value::Text("08:00:2b:01:02:03".to_owned()),
            PgType::Array(element) => self.array(element),
            _ => Value::Text(self.text()),
        }
    }

    fn array(&mut self, element: &PgType) -> Value {
        let (outer, inner) = (self.below(4), self.below(3) + 1);
        let flat = self.one_in(2);
        let count = if flat { outer } else { outer * inner };
        let elements: Vec<Value> = (0..count)
            .map(|_| if self.one_in(5) { Value::Null } else { self.value(element) })
            .collect();
        let length = |length: i64| (i32::try_from(length).unwrap(), 1);
        let dimensions = match (elements.is_empty(), flat) {
            (true, _) => Vec::new(),
            (false, true) => vec![length(outer)],
            (false, false) => vec![length(outer), length(inner)],
        };
        Value::Array(Array { dimensions, elements })
    }
}

async fn postgres() -> Client {
    let server = tokio::task::spawn_blocking(|| shared(Product::Postgres)).await.unwrap();
    connect(server.port(), "postgres", crossfade::demo::servers::PASSWORD, "postgres").await
}

fn literal(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The fields of the one row that a query answers.
async fn row(client: &Client, sql: &str) -> Result<Vec<String>, tokio_postgres::Error> {
    for message in client.simple_query(sql).await? {
        if let SimpleQueryMessage::Row(row) = message {
            return Ok((0..row.len()).map(|at| row.get(at).unwrap_or("NULL").to_owned()).collect());
        }
    }
    panic!("no row: {sql}");
}

fn styles() -> Vec<(Style, &'static str)> {
    let berlin = Style { zone: Zone::named("Europe/Berlin").unwrap(), ..Style::default() };
    let other = Style {
        zone: Zone::named("America/St_Johns").unwrap(),
        interval: IntervalStyle::Iso8601,
        bytea: ByteaOutput::Escape,
        order: DateOrder::Dmy,
    };
    vec![
        (Style::default(), "SET TimeZone = 'UTC'"),
        (berlin, "SET TimeZone = 'Europe/Berlin'"),
        (
            other,
            "SET TimeZone = 'America/St_Johns'; SET IntervalStyle = iso_8601; \
             SET bytea_output = escape; SET DateStyle = 'ISO, DMY'",
        ),
    ]
}

#[tokio::test]
async fn values_are_printed_sent_and_read_as_postgresql_does_it() {
    let client = postgres().await;
    let mut chance = Chance(StdRng::seed_from_u64(7));
    for (style, set) in styles() {
        client.batch_execute(set).await.unwrap();
        for (name, send, oid, pg_type) in types() {
            let values: Vec<Value> = (0..VALUES).map(|_| chance.value(&pg_type)).collect();
            let texts: Vec<String> = values
                .iter()
                .map(|value| {
                    let mut text = String::new();
                    value.print(&style, &mut text);
                    text
                })
                .collect();
            let pairs = texts.iter().map(|text| {
                let of = format!("{}::{name}", literal(text));
                format!("{of}, encode({send}({of}), 'hex')")
            });
            let sql = format!("SELECT {}", pairs.collect::<Vec<_>>().join(", "));
            let answer =
                row(&client, &sql).await.unwrap_or_else(|error| panic!("{name}: {error:?}"));
            for ((value, text), theirs) in values.iter().zip(&texts).zip(answer.chunks(2)) {
                assert_eq!(*text, theirs[0], "{name} under {set}");
                let sent = value.send(&pg_type, element_of(oid)).unwrap();
                assert_eq!(hex(&sent), theirs[1], "{name} {text:?} under {set}");
                let read = pg_type.read(text, "", &style).unwrap();
                let again = read.send(&pg_type, element_of(oid)).unwrap();
                assert_eq!(hex(&again), theirs[1], "{name} {text:?} read under {set}");
            }
        }
    }
}

/// Spellings beyond what PostgreSQL itself prints.
const SPELLINGS: &[(&str, &[&str])] = &[
    ("bool", &["T", "yes", "oN", "0", " f ", "of", "off", "o", "2", "", "tru", "y", "n", "nope"]),
    ("int2", &["32768", "-32768", "+7", " 7 ", "7.0", "", "x", "007", "99999999999999999999"]),
    ("int4", &["2147483648", "1e3", "-", "1 2", "-0"]),
    ("int8", &["9223372036854775808", "-9223372036854775808"]),
    ("oid", &["-1", "4294967295", "4294967296"]),
    ("float4", &["1e39", "1e-46", "inf", "-Infinity", "NaN", "1e38", ".5", "5.", "1e", "x", ""]),
    (
        "float8",
        &["1e309", "1e-400", " 1.5 ", "Inf", "nan", "1_0", "0e0", "--1", "1.7976931348623157e308"],
    ),
    (
        "numeric",
        &["1e5", "1.50e1", "-.5", "NaN", "Infinity", "-inf", "1e", "", "0x1", "1e-3", "12e", " 7 "],
    ),
    (
        "uuid",
        &[
            "A0EEBC99-9C0B-4EF8-BB6D-6BB9BD380A11",
            "{a0eebc99-9c0b4ef8-bb6d6bb9-bd380a11}",
            "a0eebc999c0b4ef8bb6d6bb9bd380a11",
            "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a1",
            "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11-",
            "not-a-uuid",
            "",
        ],
    ),
    ("bytea", &["\\x00 ff", "\\xf", "\\xzz", "a\\\\b", "\\001\\377", "\\400", "\\a", "plain"]),
    (
        "date",
        &[
            "2024-02-29",
            "2023-02-29",
            "20240229",
            "2024/2/29",
            "Feb 29, 2024",
            "29-Feb-2024",
            "29 February 2024",
            "2024-13-01",
            "infinity",
            "-infinity",
            "epoch",
            "0044-03-15 BC",
            "nope",
            "",
            "2024-02",
            "1/2/2024",
            "2024-02-29 12:00:00",
            "0000-01-01",
            "2024-02-29x",
            "294277-01-01",
        ],
    ),
    (
        "time",
        &[
            "12:00",
            "12:00:00.1234567",
            "24:00:00",
            "24:00:01",
            "12:60",
            "11:30 PM",
            "12:30 am",
            "040506",
            "x",
            "",
        ],
    ),
    ("timetz", &["12:00+02", "12:00:00.5-03:30", "12:00Z", "12:00"]),
    (
        "timestamp",
        &[
            "2024-02-29T12:34:56.789Z",
            "2024-02-29 12:34",
            "2024-02-29",
            "infinity",
            "2024-02-29 12:34:60",
            "2024-02-29 25:00",
            "not a time",
            "2024-02-29T12:34:56.1234565",
            "20240229T123456",
            "2024-02-30 00:00:00",
        ],
    ),
    (
        "timestamptz",
        &[
            "2024-02-29T12:34:56.789Z",
            "2024-02-29 12:34:56+02",
            "2024-02-29 12:34:56 -03:30",
            "2024-02-29 12:34:56+0530",
            "2024-02-29 12:34:56",
            "2024-07-01 12:00 Europe/Berlin",
            "2024-03-31 02:30:00",
            "2024-10-27 02:30:00",
            "2024-02-29 12:34:56 UTC",
            "x",
            "2024-02-30T00:00:00Z",
            "2024-02-29 12:34:56+16",
            "epoch",
            "2024-01-01T00:00:00+00:00",
            "2024-02-29T12:34:56.789012+01:00",
            "Feb 29 2024 12:00:00 GMT",
        ],
    ),
    (
        "interval",
        &[
            "1 day",
            "90 minutes",
            "1.5 hours",
            "-1 mons +3 days",
            "P1Y2M3DT4H5M6.7S",
            "PT0.5S",
            "1 week",
            "2 days ago",
            "@ 1 min",
            "04:05:06.7",
            "-04:05",
            "1 year 2 mons 3 days 04:05:06",
            "1d 2h",
            "nope",
            "",
            "1 fortnight",
            "0.5 month",
            "1.5 days",
            "P1W",
            "-P1D",
            "15m",
            "3600",
            "1:2:3:4",
            "500 milliseconds",
            "1.5 weeks",
            "12:30",
            "1 decade",
        ],
    ),
    ("json", &["{\"b\":1,  \"a\":[1.10]}", "{", "", "nope", "'x'", "[1,]", "\"\\u0000\""]),
    (
        "jsonb",
        &[
            "{\"b\":1,\"a\":[1.10, 1e2],\"b\":2}",
            "{\"aa\":1,\"b\":2}",
            "\"\\u0000\"",
            "1e5",
            "-0",
            "tru",
            "\"\\ud83d\\ude00\"",
            "[1,2",
            "{\"a\":{\"c\":null}}",
            " [ ] ",
        ],
    ),
    ("inet", &["10.0.0.1", "10.0.0.1/24", "::FFFF:1.2.3.4", "x", "10.0.0.256", "10.0.0.1/33", ""]),
    ("cidr", &["10.0.0.0/8", "10.0.0.1/8", "2001:db8::/32", "x"]),
    ("macaddr", &["08-00-2b-01-02-03", "08002b:010203", "x", "0800.2b01.0203"]),
    (
        "int4[]",
        &[
            "{1,2,NULL}",
            "{}",
            "{{1,2},{3,4}}",
            "{ 1 , 2 }",
            "[2:3]={1,2}",
            "{1,{2}}",
            "{1",
            "1",
            "{x}",
            "{\"1\",2}",
            "{{1},{2,3}}",
            "{1,}",
            "[0:1]={1}",
            "{null}",
            "{{},{}}",
        ],
    ),
    (
        "text[]",
        &[
            "{a,\"b c\",\"NULL\",NULL}",
            "{\"a\\\"b\",c\\,d}",
            "{ a b }",
            "{\"\"}",
            "{a\"b\"}",
            "{,}",
        ],
    ),
];

/// Spellings that PostgreSQL reads and we refuse, as such.
/// A time of day has no offset of its own: which one a zone has depends on the day.
const REFUSED: &[&str] = &["29 February 2024", "-P1D", "12:00"];

#[tokio::test]
async fn other_spellings_are_read_or_refused_as_postgresql_does_it() {
    let client = postgres().await;
    let mut unlike = Vec::new();
    for (style, set) in styles() {
        client.batch_execute(set).await.unwrap();
        for (name, spellings) in SPELLINGS {
            let types = types();
            let (_, send, oid, pg_type) = types.iter().find(|(known, ..)| known == name).unwrap();
            for text in *spellings {
                let ours = match pg_type.read(text, "", &style) {
                    Ok(value) => hex(&value.send(pg_type, element_of(*oid)).unwrap()),
                    Err(error) => format!("{} {}", error.code, error.message),
                };
                let sql = format!("SELECT encode({send}({}::{name}), 'hex')", literal(text));
                let theirs = match row(&client, &sql).await {
                    Ok(fields) => fields[0].clone(),
                    Err(error) => {
                        let error = error.as_db_error().unwrap();
                        format!("{} {}", error.code().code(), error.message())
                    }
                };
                let refused = ours.starts_with("0A000") && REFUSED.contains(text);
                if ours != theirs && !refused {
                    unlike.push(format!(
                        "{name} {text:?} ({set})\n  ours:   {ours}\n  theirs: {theirs}"
                    ));
                }
            }
        }
    }
    assert!(unlike.is_empty(), "{} unlike\n{}", unlike.len(), unlike.join("\n"));
}
