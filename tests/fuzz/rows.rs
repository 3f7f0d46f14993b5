//! What comes back from the primary, and what stands in the outbox: cut off exactly, or refused.

use std::sync::Arc;

use bytes::{BufMut as _, Bytes};
use crossfade::capture::cut;
use crossfade::catalog::{Catalog, Table};
use crossfade::change::{Key, KeyHash, Operation, RowImage};
use crossfade::plan::{Added, Capture};
use crossfade::value::{Flavor, decode_record};
use crossfade::wire::Body;
use rand::rngs::StdRng;
use rand::{Rng as _, RngCore as _};

use super::harness::{self, Verdict};

const SHAPES: &[&[Added]] = &[
    &[Added::Entry, Added::Lsn, Added::Key, Added::Row],
    &[Added::Entry, Added::Lsn, Added::Key, Added::Row, Added::OldEntry, Added::OldKey],
    &[Added::Entry, Added::Lsn, Added::Key, Added::Row, Added::Operation],
    &[Added::Guard, Added::Lsn, Added::Key, Added::Row, Added::OldKey],
];

/// One table for each kind of key that can be written again, and one with every type.
const TABLES: &[(&str, &str)] = &[
    ("a", "id:int4*"),
    ("b", "x:int2*,y:int8*"),
    ("c", "id:text*"),
    ("d", "id:uuid*,day:date*"),
    ("e", "t:timestamptz*,b:bytea*"),
    ("f", "f:float8*,g:float4*"),
    ("g", "b:bool*,c:citext*"),
    (
        "all",
        "id:int4*,n:numeric?,t:text?,j:jsonb?,k:json?,i:interval?,a:int4[]?,ta:text[]?,na:numeric[]?,\
         ip:inet?,m:macaddr?,tm:time?,tz:timetz?,u:uuid?,b:bytea?,d:date?,ts:timestamp?,f:float8?,e:enum(x|y)?",
    ),
];

/// The first byte says which columns were added and in which format; the rest is a DataRow.
#[test]
fn fuzz_row() {
    let table = Arc::clone(Catalog::for_test(&TABLES[..1]).tables.values().next().unwrap());
    harness::fuzz("row", 20_000, row, |input| {
        let Some((shape, payload)) = input.split_first() else { return Ok(()) };
        let (binary, columns) = (shape & 0x80 != 0, SHAPES[usize::from(shape & 3)]);
        check_row(payload, binary, columns, &table)
    });
}

fn row(random: &mut StdRng) -> Vec<u8> {
    let (shape, binary) = (random.random_range(0..4_u8), random.random_bool(0.7));
    let columns = SHAPES[usize::from(shape)];
    let client = random.random_range(0..4_usize);
    let mut out = vec![shape | u8::from(binary) << 7];
    out.put_u16(u16::try_from(client + columns.len()).unwrap());
    let mut field = |bytes: &[u8]| {
        out.put_i32(i32::try_from(bytes.len()).unwrap());
        out.put_slice(bytes);
    };
    for _ in 0..client {
        field(&some(random));
    }
    for column in columns {
        let number = random.random_range(0..1_000_000_i64);
        let bytes = some(random);
        match (column, binary) {
            (Added::Key | Added::Row | Added::OldKey, true) => field(&bytes),
            (Added::Key | Added::Row | Added::OldKey, false) => {
                let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
                field(format!("\\x{hex}").as_bytes());
            }
            (Added::Operation, _) => field(b"U"),
            (_, true) => field(&number.to_be_bytes()),
            (_, false) => field(number.to_string().as_bytes()),
        }
    }
    out
}

fn some(random: &mut StdRng) -> Vec<u8> {
    let mut bytes = vec![0; random.random_range(0..20)];
    random.fill_bytes(&mut bytes);
    bytes
}

/// Where a field begins, and what it holds.
type Place<'a> = (usize, Option<&'a [u8]>);

/// The columns of a DataRow, read by another hand.
fn fields(payload: &[u8]) -> Option<Vec<Place<'_>>> {
    let mut body = Body::new(payload);
    let count = body.u16()?;
    let field = |_| {
        let at = payload.len() - body.rest().len();
        let length = body.i32()?;
        let bytes = match usize::try_from(length) {
            Ok(length) => Some(body.take(length)?),
            Err(_) => None,
        };
        Some((at, bytes))
    };
    (0..count).map(field).collect()
}

fn check_row(
    payload: &[u8],
    binary: bool,
    columns: &'static [Added],
    table: &Arc<Table>,
) -> Verdict {
    let capture = Arc::new(Capture {
        table: Arc::clone(table),
        operation: Operation::Update,
        returning: true,
        upserts: false,
        columns,
        entered: Vec::new(),
    });
    let (found, fields) = (cut(payload, &capture, binary), fields(payload));
    let Ok(found) = found else { return Ok(()) };
    let fields = fields.ok_or("cut, though it is damaged")?;
    let client = fields.len().checked_sub(columns.len()).ok_or("fewer columns than ours")?;
    let ours = &fields[client..];
    if (usize::from(found.columns), found.end) != (client, ours[0].0) {
        return Err(format!(
            "{} columns to {}, not {client} to {}",
            found.columns, found.end, ours[0].0
        ));
    }
    let at = |added: Added| columns.iter().position(|column| *column == added).map(|at| ours[at].1);
    for (added, read) in [(Added::Key, &found.row.key), (Added::Row, &found.row.row)] {
        if binary && at(added).flatten() != Some(&read[..]) {
            return Err(format!("{added:?} is not what was sent"));
        }
    }
    if at(Added::Entry).is_some() != found.row.entry.is_some() {
        return Err("an entry that was not sent, or none".to_owned());
    }
    Ok(())
}

/// The first byte says which table; the rest is `record_send` of its key, or of a row.
#[test]
fn fuzz_record() {
    let catalog = Catalog::for_test(TABLES);
    let mut tables: Vec<_> = catalog.tables.values().cloned().collect();
    tables.sort_by_key(|table| table.id);
    harness::fuzz(
        "record",
        20_000,
        |random| record(random, &tables),
        |input| {
            let Some((which, raw)) = input.split_first() else { return Ok(()) };
            check_record(Bytes::copy_from_slice(raw), &tables[usize::from(*which) % tables.len()])
        },
    );
}

fn record(random: &mut StdRng, tables: &[Arc<Table>]) -> Vec<u8> {
    let which = random.random_range(0..tables.len());
    let table = &tables[which];
    let columns: Vec<_> = if random.random_bool(0.5) {
        table.key_columns().collect()
    } else {
        table.columns.iter().collect()
    };
    let mut out = vec![u8::try_from(which).unwrap()];
    out.put_i32(i32::try_from(columns.len()).unwrap());
    for column in columns {
        let length = [1, 2, 4, 6, 8, 12, 16, 20][random.random_range(0..8)];
        let mut bytes = vec![0; length];
        if random.random_bool(0.7) {
            random.fill_bytes(&mut bytes);
        }
        out.put_u32(column.type_ref.oid);
        if random.random_bool(0.1) {
            out.put_i32(-1);
        } else {
            out.put_i32(i32::try_from(length).unwrap());
            out.put_slice(&bytes);
        }
    }
    out
}

/// Decoding is bounded, and what can be written again is written as it was.
fn check_record(raw: Bytes, table: &Table) -> Verdict {
    if let Ok(fields) = decode_record(&raw) {
        let size: usize =
            fields.iter().map(|(_, bytes)| 8 + bytes.as_ref().map_or(0, Bytes::len)).sum();
        (size + 4 == raw.len()).then_some(()).ok_or("bytes that belong to no field")?;
    }
    if let Ok(image) = RowImage::decode(&raw, table) {
        // A number of few bytes may have as many digits as PostgreSQL allows.
        let bound = raw.len() / 8 * 150_000 + 4_096;
        (image.size() <= bound).then_some(()).ok_or(format!("{} bytes in memory", image.size()))?;
        for (value, column) in image.values.iter().zip(&table.columns) {
            for flavor in [Flavor::MySql, Flavor::MariaDb] {
                drop(value.to_mysql(&column.target, flavor));
            }
        }
    }
    let Ok(key) = Key::decode(raw.clone(), table) else { return Ok(()) };
    if key.hash == KeyHash::TABLE || KeyHash::of(&key.values, table) != key.hash {
        return Err("the hash is not the values'".to_owned());
    }
    let Some(written) = Key::encode(key.values.clone(), table) else { return Ok(()) };
    if written.raw != raw || written.hash != key.hash {
        return Err(format!("written again as \"{}\"", written.raw.escape_ascii()));
    }
    let again = Key::decode(written.raw, table).map_err(|error| error.to_string())?;
    (again.hash == key.hash).then_some(()).ok_or("another key when read again".to_owned())
}
