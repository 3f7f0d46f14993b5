//! What the proxy does to each message, without a network: framing, planning, rewriting, images.
//!
//! `cargo bench --bench parts`

#![allow(clippy::unwrap_used, reason = "a bench fails by panicking")]

use std::hint::black_box;
use std::sync::Arc;

use criterion::{Criterion, criterion_group, criterion_main};
use crossfade::catalog::Catalog;
use crossfade::phase::{Phase, Situation};
use crossfade::plan::cache::{PathKey, Planner, Scratch};
use crossfade::plan::{SearchPath, Step, plan};
use crossfade::{capture, sql, wire};

const SELECT: &str = "SELECT abalance FROM pgbench_accounts WHERE aid = 1234567;";
const UPDATE: &str =
    "UPDATE users SET name = 'x', seen_at = now() WHERE id = 42 AND email <> 'a@b.c' RETURNING id";

fn situation() -> Arc<Situation> {
    let columns = "id:int8*,email:text,name:text?,seen_at:timestamptz?";
    let catalog = Arc::new(Catalog::for_test(&[("users", columns)]));
    let timeline = "00000001".to_owned();
    Arc::new(Situation { phase: Phase::DualWrite, epoch: 1, timeline, catalog, server: 15 })
}

fn framing(criterion: &mut Criterion) {
    let mut rows = Vec::new();
    for _ in 0..1_000 {
        rows.extend_from_slice(b"D\0\0\0\x0e\0\x01\0\0\0\x04abcd");
    }
    criterion.bench_function("walk 1,000 row headers", |bencher| {
        bencher.iter(|| {
            let mut at = 0;
            while let Ok(Some(header)) = wire::header(&rows[at..]) {
                at += header.size;
            }
            assert_eq!(at, rows.len());
        });
    });
}

fn planning(criterion: &mut Criterion) {
    let situation = situation();
    let path = SearchPath::Known(vec!["public".to_owned()]);
    let key = PathKey::from(path.clone());
    let planner = Planner::new(Arc::clone(&situation), 1_000);
    let (mut scratch, mut normal) = (Scratch::default(), Vec::new());
    for (name, text) in [("SELECT", SELECT), ("UPDATE", UPDATE)] {
        criterion.bench_function(&format!("normal form of {name}"), |bencher| {
            bencher.iter(|| {
                normal.clear();
                sql::normal::append(black_box(text.as_bytes()), &mut normal)
            });
        });
        criterion.bench_function(&format!("known plan of {name}"), |bencher| {
            bencher.iter(|| planner.plan(black_box(text), &key, &mut scratch));
        });
        criterion.bench_function(&format!("new plan of {name}"), |bencher| {
            bencher.iter(|| plan(black_box(text), &situation, &path));
        });
    }
    let known = planner.plan(UPDATE, &key, &mut scratch);
    criterion.bench_function("rewrite UPDATE", |bencher| {
        bencher.iter(|| known.apply(black_box(UPDATE)).unwrap());
    });
}

fn images(criterion: &mut Criterion) {
    let situation = situation();
    let path = SearchPath::Known(vec!["public".to_owned()]);
    let plan = plan(UPDATE, &situation, &path);
    let Some(Step::Capture(capture)) = plan.single() else { panic!("not captured") };
    let row = data_row();
    criterion.bench_function("cut a captured row", |bencher| {
        bencher.iter(|| capture::cut(black_box(&row), capture, true).unwrap());
    });
    criterion.bench_function("decode a captured row into a transaction", |bencher| {
        bencher.iter(|| {
            let mut buffer = capture::Buffer::new(1 << 20);
            buffer.push(capture::cut(&row, capture, true).unwrap().row);
            buffer.take(&situation.catalog, 1).transaction.unwrap()
        });
    });
}

/// A DataRow as PostgreSQL sends it for [`UPDATE`]: the client's id, then ours.
fn data_row() -> Vec<u8> {
    let record = |fields: &[(u32, &[u8])]| {
        let mut out = u32::try_from(fields.len()).unwrap().to_be_bytes().to_vec();
        for (oid, value) in fields {
            out.extend_from_slice(&oid.to_be_bytes());
            out.extend_from_slice(&u32::try_from(value.len()).unwrap().to_be_bytes());
            out.extend_from_slice(value);
        }
        out
    };
    let id = 42_i64.to_be_bytes();
    let key = record(&[(20, &id)]);
    let image = record(&[(20, &id), (25, b"someone@example.org"), (25, b"Some One"), (1184, &id)]);
    let row = record(&[(26, &16384_u32.to_be_bytes()), (2249, &image)]);
    let columns: [&[u8]; 5] = [b"42", &id, &id, &key, &row];
    let mut out = 5_u16.to_be_bytes().to_vec();
    for column in columns {
        out.extend_from_slice(&u32::try_from(column.len()).unwrap().to_be_bytes());
        out.extend_from_slice(column);
    }
    out
}

criterion_group!(benches, framing, planning, images);
criterion_main!(benches);
