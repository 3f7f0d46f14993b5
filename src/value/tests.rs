//! Real binary fixtures: what PostgreSQL 15 sent, and the text it printed for the same value
//! (DateStyle ISO, IntervalStyle iso_8601, TimeZone UTC).

use bytes::Bytes;
use mysql_async::Value as Param;

use crate::value::{DecodeError, Flavor, Numeric, PgType, TargetType, Unrepresentable, Value};

#[rustfmt::skip]
fn fixtures() -> Vec<(PgType, &'static str, &'static str)> {
    vec![
        (PgType::Bool, "01", "t"),
        (PgType::Bool, "00", "f"),
        (PgType::Int2, "8000", "-32768"),
        (PgType::Int2, "7fff", "32767"),
        (PgType::Int4, "80000000", "-2147483648"),
        (PgType::Int4, "00000007", "7"),
        (PgType::Int8, "8000000000000000", "-9223372036854775808"),
        (PgType::Int8, "7fffffffffffffff", "9223372036854775807"),
        (PgType::Oid, "ffffffff", "4294967295"),
        (PgType::Float4, "3dcccccd", "0.1"),
        (PgType::Float4, "80000000", "-0"),
        (PgType::Float4, "7f7fffff", "3.4028235e+38"),
        (PgType::Float4, "00000001", "1e-45"),
        (PgType::Float8, "3fb999999999999a", "0.1"),
        (PgType::Float8, "8000000000000000", "-0"),
        (PgType::Float8, "7fefffffffffffff", "1.7976931348623157e+308"),
        (PgType::Float8, "0000000000000001", "5e-324"),
        (PgType::Float8, "419d6f34547e6b74", "123456789.12345678"),
        (PgType::Numeric, "0000000000000000", "0"),
        (PgType::Numeric, "0000000000000002", "0.00"),
        (PgType::Numeric, "00010000000000010001", "1.0"),
        (PgType::Numeric, "00010000000000020001", "1.00"),
        (PgType::Numeric, "0002000040000002000c1388", "-12.50"),
        (PgType::Numeric, "00010001000000000001", "10000"),
        (PgType::Numeric, "0003000100000004000100000001", "10000.0001"),
        (PgType::Numeric, "0001fffe0000000503e8", "0.00001"),
        (PgType::Numeric, "0001fffe0000000904d2", "0.000012340"),
        (PgType::Numeric, "000b000700000009000c0d801ed204d2162e23340d801ed204d2162e2328", "123456789012345678901234567890.123456789"),
        (PgType::Numeric, "00010005000000000001", "100000000000000000000"),
        (PgType::Numeric, "0001ffff400000011388", "-0.5"),
        (PgType::Numeric, "00010002000000000001", "100000000"),
        (PgType::Numeric, "0002000000000004270f270f", "9999.9999"),
        (PgType::Numeric, "00000000c0000000", "NaN"),
        (PgType::Numeric, "00000000d0000020", "Infinity"),
        (PgType::Numeric, "00000000f0000020", "-Infinity"),
        (PgType::Text, "", ""),
        (PgType::Text, "706c61696e", "plain"),
        (PgType::Text, "71756f74652027205c20222074616209", "quote ' \\ \" tab\t"),
        (PgType::Text, "656d6f6a6920f09fa68020c3a9", "emoji 🦀 é"),
        (PgType::Bpchar, "6120202020", "a    "),
        (PgType::Bpchar, "6162202020", "ab   "),
        (PgType::Citext, "4d69586564", "MiXed"),
        (PgType::Name, "736f6d655f6e616d65", "some_name"),
        (PgType::Bytea, "", "\\x"),
        (PgType::Bytea, "00ff7f80", "\\x00ff7f80"),
        (PgType::Bytea, "616263", "\\x616263"),
        (PgType::Uuid, "a0eebc999c0b4ef8bb6d6bb9bd380a11", "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11"),
        (PgType::Date, "00002279", "2024-02-29"),
        (PgType::Date, "fff4dbf9", "0001-01-01"),
        (PgType::Date, "002c95d3", "9999-12-31"),
        (PgType::Date, "ffffffff", "1999-12-31"),
        (PgType::Time, "0000000000000000", "00:00:00"),
        (PgType::Time, "000000141dd75fff", "23:59:59.999999"),
        (PgType::Time, "000000141dd76000", "24:00:00"),
        (PgType::Time, "0000000a7a3d2320", "12:30:00.5"),
        (PgType::TimeTz, "0000000a0eebb00000000000", "12:00:00+00"),
        (PgType::TimeTz, "000000141dd75fff0000a1b8", "23:59:59.999999-11:30"),
        (PgType::TimeTz, "000000141dd76000ffffaf24", "24:00:00+05:45"),
        (PgType::TimeTz, "00000000dde878c4fffff175", "01:02:03.000004+01:02:03"),
        (PgType::Timestamp, "0002b58341728608", "2024-02-29 12:34:56.789"),
        (PgType::Timestamp, "ff1fe2ffc59c6000", "0001-01-01 00:00:00"),
        (PgType::Timestamp, "0380e70b913b7fff", "9999-12-31 23:59:59.999999"),
        (PgType::Timestamp, "fffffffffff85ee0", "1999-12-31 23:59:59.5"),
        (PgType::TimestampTz, "0002b581944b3e08", "2024-02-29 10:34:56.789+00"),
        (PgType::TimestampTz, "ffffffffffffffff", "1999-12-31 23:59:59.999999+00"),
        (PgType::Interval, "00000000000000000000000000000000", "PT0S"),
        (PgType::Interval, "000000036c966ee0000000030000000e", "P1Y2M3DT4H5M6.7S"),
        (PgType::Interval, "000000141dd76000ffffffff00000000", "P-1DT24H"),
        (PgType::Interval, "000000000000000000000000fffffff2", "P-1Y-2M"),
        (PgType::Interval, "ffffffffffffffff0000000000000000", "PT-0.000001S"),
        (PgType::Interval, "00000015caef65c00000000000000000", "PT25H59M59S"),
        (PgType::Interval, "0000000000000000ffffffff00000001", "P1M-1D"),
        (PgType::Interval, "00000000000000000000000080af3a00", "P-178000000Y"),
        (PgType::Interval, "7fffffffffffffff0000000000000000", "PT2562047788H54.775807S"),
        (PgType::Interval, "fffffffffff85ee000000003fffffff4", "P-1Y3DT-0.5S"),
        (PgType::Json, "7b2262223a20312c20202261223a5b312e31305d7d", "{\"b\": 1,  \"a\":[1.10]}"),
        (PgType::Jsonb, "017b2261223a205b312e31302c206e756c6c5d2c202262223a20317d", "{\"a\": [1.10, null], \"b\": 1}"),
        (PgType::Jsonb, "01227822", "\"x\""),
        (PgType::Jsonb, "01313030", "100"),
        (PgType::Inet, "022000040a000001", "10.0.0.1"),
        (PgType::Inet, "021800040a000001", "10.0.0.1/24"),
        (PgType::Inet, "0380001000000000000000000000000000000001", "::1"),
        (PgType::Inet, "0380001000000000000000000000000000000002", "::2"),
        (PgType::Inet, "0380001000000000000000000000000001020304", "::1.2.3.4"),
        (PgType::Inet, "0380001000000000000000000000ffff01020304", "::ffff:1.2.3.4"),
        (PgType::Inet, "0340001020010db8000000000000000000000001", "2001:db8::1/64"),
        (PgType::Inet, "0380001000010000000000020000000000000003", "1:0:0:2::3"),
        (PgType::Inet, "0380001000010000000200000003000000040000", "1:0:2:0:3:0:4:0"),
        (PgType::Inet, "03800010fe800000000000000000000000000000", "fe80::"),
        (PgType::Inet, "0380001000000000000000000000000000000000", "::"),
        (PgType::Inet, "0380001000000000000100000000000000000000", "0:0:1::"),
        (PgType::Inet, "038000100000000000000000ffff000001020304", "::ffff:0:102:304"),
        (PgType::Inet, "0380001000010002000300040005000600070000", "1:2:3:4:5:6:7:0"),
        (PgType::Inet, "0380001000000000000100000000000000000001", "0:0:1::1"),
        (PgType::Inet, "038000100064ff9b000000000000000001020304", "64:ff9b::102:304"),
        (PgType::Inet, "0200000400000000", "0.0.0.0/0"),
        (PgType::Cidr, "020801040a000000", "10.0.0.0/8"),
        (PgType::Cidr, "022001040a010203", "10.1.2.3/32"),
        (PgType::Cidr, "0320011020010db8000000000000000000000000", "2001:db8::/32"),
        (PgType::Cidr, "0300011000000000000000000000000000000000", "::/0"),
        (PgType::Macaddr, "08002b010203", "08:00:2b:01:02:03"),
        (PgType::Array(Box::new(PgType::Text)), "000000000000000000000019", "{}"),
        (PgType::Array(Box::new(PgType::Text)), "00000001000000010000001900000003000000010000000161ffffffff000000044e554c4c", "{a,NULL,\"NULL\"}"),
        (PgType::Array(Box::new(PgType::Text)), "00000002000000010000001900000002000000010000000200000001000000016100000001620000000163ffffffff", "{{a,b},{c,NULL}}"),
        (PgType::Array(Box::new(PgType::Text)), "00000001000000000000001900000003000000010000000371225c000000047461620900000002c3a9", "{\"q\\\"\\\\\",\"tab\t\",é}"),
        (PgType::Array(Box::new(PgType::Text)), "000000010000000000000019000000020000000200000001610000000162", "[2:3]={a,b}"),
        (PgType::Array(Box::new(PgType::Int4)), "000000010000000100000017000000030000000100000004000000010000000400000002ffffffff", "{1,2,NULL}"),
        (PgType::Array(Box::new(PgType::Int4)), "00000003000000000000001700000002000000010000000200000001000000020000000100000004000000010000000400000002000000040000000300000004000000040000000400000005000000040000000600000004000000070000000400000008", "{{{1,2},{3,4}},{{5,6},{7,8}}}"),
        (PgType::Array(Box::new(PgType::Numeric)), "0000000100000001000006a400000002000000010000000c0002000000000002000103e8ffffffff", "{1.10,NULL}"),
        (PgType::Array(Box::new(PgType::Float4)), "0000000100000000000002bc0000000300000001000000043dcccccd000000047149f2ca0000000480000000", "{0.1,1e+30,-0}"),
        (PgType::Array(Box::new(PgType::Jsonb)), "000000010000000100000eda000000030000000100000009017b2261223a20317d00000005016e756c6cffffffff", "{\"{\\\"a\\\": 1}\",\"null\",NULL}"),
    ]
}

/// Every fixture's type and field.
pub(super) fn fixture_fields() -> Vec<(PgType, Bytes)> {
    fixtures().into_iter().map(|(pg_type, hex, _)| (pg_type, unhex(hex))).collect()
}

fn unhex(text: &str) -> Bytes {
    let byte = |at: usize| u8::from_str_radix(&text[at..at + 2], 16).unwrap();
    (0..text.len()).step_by(2).map(byte).collect()
}

fn decode(pg_type: &PgType, hex: &str) -> Value {
    pg_type.decode(&unhex(hex)).unwrap()
}

/// The parameter as text; PostgreSQL's spelling where MySQL has a form of its own.
fn shown(value: &Value, target: &TargetType, flavor: Flavor) -> String {
    match value.to_mysql(target, flavor) {
        Err(Unrepresentable { reason, .. }) => format!("refused: {reason}"),
        Ok(Param::Bytes(bytes)) => String::from_utf8_lossy(&bytes).into_owned(),
        Ok(Param::Int(value)) => value.to_string(),
        Ok(Param::Double(value)) => format!("{value:?}"),
        Ok(Param::Date(year, month, day, hour, minute, second, micro)) => {
            format!("{year:04}-{month:02}-{day:02} {hour:02}:{minute:02}:{second:02}.{micro:06}")
        }
        Ok(Param::Time(negative, days, hour, minute, second, micro)) => {
            let hour = days * 24 + u32::from(hour);
            format!(
                "{}{hour:02}:{minute:02}:{second:02}.{micro:06}",
                if negative { "-" } else { "" }
            )
        }
        Ok(other) => format!("{other:?}"),
    }
}

/// Like `shown`, for a fixture: as PostgreSQL prints the value.
fn printed(pg_type: &PgType, hex: &str) -> String {
    let value = decode(pg_type, hex);
    let as_is = |target: &TargetType| shown(&value, target, Flavor::MariaDb);
    match (pg_type, &value) {
        (PgType::Bool, _) => String::from(if value == Value::Bool(true) { "t" } else { "f" }),
        (_, Value::Numeric(Numeric::NaN)) => String::from("NaN"),
        (_, Value::Numeric(Numeric::PositiveInfinity)) => String::from("Infinity"),
        (_, Value::Numeric(Numeric::NegativeInfinity)) => String::from("-Infinity"),
        (PgType::Bytea, Value::Bytes(bytes)) => {
            let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
            format!("\\x{hex}")
        }
        (PgType::Date, _) => as_is(&TargetType::Date).replace(" 00:00:00.000000", ""),
        (PgType::Time | PgType::Timestamp, _) => trimmed(&as_is(&TargetType::DateTime)),
        (PgType::TimestampTz, _) => trimmed(&as_is(&TargetType::DateTime)) + "+00",
        _ => as_is(&TargetType::LongText),
    }
}

fn trimmed(text: &str) -> String {
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

#[test]
fn every_type_is_read_as_postgresql_prints_it() {
    for (pg_type, hex, text) in fixtures() {
        match pg_type {
            PgType::Float4 | PgType::Float8 => {
                let Param::Double(value) =
                    decode(&pg_type, hex).to_mysql(&TargetType::Double, Flavor::MySql).unwrap()
                else {
                    panic!("a float becomes a double");
                };
                let expected = if pg_type == PgType::Float4 {
                    f64::from(text.parse::<f32>().unwrap())
                } else {
                    text.parse().unwrap()
                };
                assert_eq!(value.to_bits(), expected.to_bits(), "{text}");
            }
            PgType::Array(_) => {} // Their text in MySQL is JSON: below.
            _ => assert_eq!(printed(&pg_type, hex), text, "{pg_type:?} {hex}"),
        }
    }
}

#[test]
fn arrays_become_nested_json() {
    let mut got = Vec::new();
    for (pg_type, hex, text) in fixtures() {
        if matches!(pg_type, PgType::Array(_)) {
            let json = shown(&decode(&pg_type, hex), &TargetType::Json, Flavor::MySql);
            got.push(format!("{text} -> {json}"));
        }
    }
    expect_test::expect![[r#"
        {} -> []
        {a,NULL,"NULL"} -> ["a", null, "NULL"]
        {{a,b},{c,NULL}} -> [["a", "b"], ["c", null]]
        {"q\"\\","tab	",é} -> ["q\"\\", "tab\u0009", "é"]
        [2:3]={a,b} -> refused: lower bound other than 1
        {1,2,NULL} -> [1, 2, null]
        {{{1,2},{3,4}},{{5,6},{7,8}}} -> [[[1, 2], [3, 4]], [[5, 6], [7, 8]]]
        {1.10,NULL} -> ["1.10", null]
        {0.1,1e+30,-0} -> [1e-1, 1e30, -0e0]
        {"{\"a\": 1}","null",NULL} -> ["{\"a\": 1}", "null", null]"#]]
    .assert_eq(&got.join("\n"));
}

#[test]
fn a_value_cut_short_or_with_a_tail_is_malformed() {
    for (pg_type, hex, _) in fixtures() {
        let raw = unhex(hex);
        let free = matches!(
            pg_type,
            PgType::Text
                | PgType::Bpchar
                | PgType::Citext
                | PgType::Name
                | PgType::Bytea
                | PgType::Json
                | PgType::Jsonb
        );
        if free {
            continue; // Their length is the field's.
        }
        for end in 0..raw.len() {
            let got = pg_type.decode(&raw.slice(..end));
            assert_eq!(got.err(), Some(DecodeError::Malformed(pg_type.name())), "{hex} at {end}");
        }
        let tail = Bytes::from([&raw[..], &[0]].concat());
        assert!(pg_type.decode(&tail).is_err(), "{pg_type:?} with a tail");
    }
    assert!(PgType::Text.decode(&Bytes::from_static(b"\xff")).is_err(), "not UTF-8");
    assert!(PgType::Jsonb.decode(&Bytes::from_static(b"\x02{}")).is_err(), "unknown version");
    assert!(PgType::Bool.decode(&Bytes::from_static(b"\x02")).is_err());
}

/// Random bytes never panic, and what is read from them is shown or refused without a panic too.
#[test]
fn random_bytes_are_read_or_refused() {
    use rand::{Rng as _, SeedableRng as _};
    let seed: u64 = rand::random();
    let mut random = rand::rngs::StdRng::seed_from_u64(seed);
    let types: Vec<PgType> = fixtures().into_iter().map(|(pg_type, ..)| pg_type).collect();
    for round in 0..20_000 {
        let pg_type = &types[random.random_range(0..types.len())];
        let mut raw = vec![0; random.random_range(0..40)];
        random.fill(&mut raw[..]);
        if let Ok(value) = pg_type.decode(&Bytes::from(raw)) {
            let mut canonical = Vec::new();
            value.push_canonical(pg_type, &mut canonical);
            assert!(!canonical.is_empty(), "seed {seed} round {round}");
            for flavor in [Flavor::MySql, Flavor::MariaDb] {
                shown(&value, &TargetType::LongText, flavor);
                shown(&value, &TargetType::Json, flavor);
            }
        }
    }
}

/// Every day and microsecond that MySQL can hold is written as chrono writes it.
#[test]
fn random_timestamps_are_exact() {
    use rand::{Rng as _, SeedableRng as _};
    let seed: u64 = rand::random();
    let mut random = rand::rngs::StdRng::seed_from_u64(seed);
    let origin = chrono::NaiveDate::from_ymd_opt(2000, 1, 1).unwrap().and_hms_opt(0, 0, 0).unwrap();
    for _ in 0..5_000 {
        let micros = random.random_range(-63_082_281_600_000_000_i64..252_455_616_000_000_000);
        let expected = origin + chrono::TimeDelta::microseconds(micros);
        let got = shown(&Value::Timestamp(micros), &TargetType::DateTime, Flavor::MySql);
        assert_eq!(got, expected.format("%Y-%m-%d %H:%M:%S%.6f").to_string(), "seed {seed}");
    }
}

fn refusal(value: &Value, target: &TargetType) -> String {
    shown(value, target, Flavor::MySql)
}

#[test]
fn what_mysql_cannot_hold_is_refused_and_never_changed() {
    let text = |text: &str| Value::Text(text.to_owned());
    let number = |text: &str| Value::Numeric(Numeric::Finite(text.to_owned()));
    let decimal = TargetType::Decimal { precision: 5, scale: 2 };
    let three = TargetType::VarChar { length: 3 };
    let json = |text: &str| Value::Jsonb(text.to_owned());
    let labels = TargetType::Enum(vec!["a".into()]);
    for (value, target, reason) in [
        (Value::Timestamp(i64::MAX), TargetType::DateTime, "infinite"),
        (Value::TimestampTz(i64::MIN), TargetType::DateTime, "infinite"),
        (Value::Timestamp(252_455_616_000_000_000), TargetType::DateTime, "year past 9999"),
        (Value::Timestamp(-63_082_281_600_000_001), TargetType::DateTime, "year before 1"),
        (Value::Timestamp(i64::MAX - 1), TargetType::DateTime, "year past 9999"),
        (Value::Timestamp(i64::MIN + 1), TargetType::DateTime, "year before 1"),
        (Value::Date(i32::MAX), TargetType::Date, "infinite"),
        (Value::Date(i32::MIN), TargetType::Date, "infinite"),
        (Value::Date(2_921_940), TargetType::Date, "year past 9999"),
        (Value::Date(-730_120), TargetType::Date, "year before 1"),
        (Value::Float8(f64::NAN), TargetType::Double, "not a number"),
        (Value::Float4(f32::NEG_INFINITY), TargetType::Double, "infinite"),
        (Value::Numeric(Numeric::NaN), decimal.clone(), "not a number"),
        (Value::Numeric(Numeric::NegativeInfinity), decimal.clone(), "infinite"),
        (number("1.005"), decimal.clone(), "more decimals than its column"),
        (number("1000.00"), decimal, "more digits than its column"),
        (text("abcd"), three.clone(), "longer than its column"),
        (text("abc "), three, "longer than its column"),
        (
            Value::Bytes(Bytes::from_static(b"abc")),
            TargetType::VarBinary { length: 2 },
            "longer than its column",
        ),
        (text("b"), labels, "label the column does not have"),
        (json("[0.1234567890123456789]"), TargetType::Json, "number past a double"),
        (json("{\"a\": 18446744073709551617}"), TargetType::Json, "number past a double"),
        (json("1e400"), TargetType::Json, "number past a double"),
        (
            Value::Interval { months: i32::MAX, days: i32::MAX, micros: i64::MAX },
            TargetType::LongText,
            "infinite",
        ),
        (
            decode(
                &PgType::Array(Box::new(PgType::Text)),
                "000000010000000000000019000000020000000200000001610000000162",
            ),
            TargetType::Json,
            "lower bound other than 1",
        ),
    ] {
        assert_eq!(refusal(&value, &target), format!("refused: {reason}"), "{value:?}");
    }
}

#[test]
fn what_fits_exactly_is_not_refused() {
    let json = |text: &str| Value::Jsonb(text.to_owned());
    let number = |text: &str| Value::Numeric(Numeric::Finite(text.to_owned()));
    let decimal = TargetType::Decimal { precision: 5, scale: 2 };
    for (value, target, text) in [
        (number("999.990"), decimal.clone(), "999.990"),
        (number("-0.50"), decimal, "-0.50"),
        (Value::Text("abc  ".into()), TargetType::Char { length: 3 }, "abc"),
        (Value::Text("ééé".into()), TargetType::VarChar { length: 3 }, "ééé"),
        (
            json("[1.10, -1, 18446744073709551615]"),
            TargetType::Json,
            "[1.10, -1, 18446744073709551615]",
        ),
        (
            json("{\"0.1234567890123456789\": \"\\\"99999999999999999999.1\"}"),
            TargetType::Json,
            "{\"0.1234567890123456789\": \"\\\"99999999999999999999.1\"}",
        ),
        (json("100000000000000000000"), TargetType::Json, "100000000000000000000"),
        (json("1e-7"), TargetType::Json, "1e-7"),
        (Value::Time(86_400_000_000), TargetType::Time, "24:00:00.000000"),
    ] {
        assert_eq!(refusal(&value, &target), text, "{value:?}");
    }
    let exact = json("0.1234567890123456789");
    assert_eq!(shown(&exact, &TargetType::Json, Flavor::MariaDb), "0.1234567890123456789");
}

#[test]
fn keys_that_postgresql_finds_equal_have_one_canonical_form() {
    let form = |value: &Value, pg_type: &PgType| {
        let mut out = Vec::new();
        value.push_canonical(pg_type, &mut out);
        out
    };
    let number = |text: &str| Value::Numeric(Numeric::Finite(text.to_owned()));
    let text = |text: &str| Value::Text(text.to_owned());
    let span = |months, days, micros| Value::Interval { months, days, micros };
    for (pg_type, left, right, equal) in [
        (PgType::Numeric, number("1.0"), number("1.00"), true),
        (PgType::Numeric, number("100"), number("100.0"), true),
        (PgType::Numeric, number("100"), number("1"), false),
        (PgType::Numeric, number("0"), number("0.000"), true),
        (PgType::Float8, Value::Float8(0.0), Value::Float8(-0.0), true),
        (PgType::Float8, Value::Float8(f64::NAN), Value::Float8(-f64::NAN), true),
        (PgType::Bpchar, text("a   "), text("a"), true),
        (PgType::Text, text("a "), text("a"), false),
        (PgType::Citext, text("ÀLICE@X"), text("àlice@x"), true),
        (PgType::Citext, text("alice "), text("alice"), false),
        (PgType::Text, text("A"), text("a"), false),
        (PgType::Interval, span(1, 0, 0), span(0, 30, 0), true),
        (PgType::Interval, span(0, 1, 0), span(0, 0, 86_400_000_000), true),
        (PgType::Interval, span(0, 1, 0), span(0, 0, 86_400_000_001), false),
        (PgType::TimestampTz, Value::TimestampTz(1), Value::TimestampTz(2), false),
    ] {
        assert_eq!(form(&left, &pg_type) == form(&right, &pg_type), equal, "{pg_type:?}");
    }
    // Two columns do not run into each other.
    let pair =
        |a: &str, b: &str| [form(&text(a), &PgType::Text), form(&text(b), &PgType::Text)].concat();
    assert_ne!(pair("ab", "c"), pair("a", "bc"));
}

#[test]
fn debug_and_refusals_never_show_the_content() {
    let secret = Value::Text("hunter2".into());
    assert_eq!(format!("{secret:?}"), "text");
    let refused = secret.to_mysql(&TargetType::VarChar { length: 1 }, Flavor::MySql).unwrap_err();
    assert!(!format!("{refused} {refused:?}").contains("hunter2"));
}
