//! Random expressions over rows full of edges: what is not refused is what PostgreSQL answers.
//!
//! The same queries in every run; `CROSSFADE_SEED` tries others.

use rand::rngs::StdRng;
use rand::seq::IndexedRandom as _;
use rand::{Rng as _, SeedableRng as _};

use super::{Outcome, simple};
use crate::answer::Site;
use crate::support::{Target, World};

const QUERIES: usize = 400;
/// How many of them must be translated and equal: a test of refusals shows nothing.
const EQUAL_LEAST: usize = 250;

const SCHEMA: &str = "CREATE TYPE mood AS ENUM ('low', 'Mid', 'high'); \
    CREATE TABLE r (id int PRIMARY KEY, a int, b smallint, big bigint, n numeric(10,2), f double precision, \
    t text, v varchar(12), c char(4), yes boolean, d date, at timestamptz, m mood, j jsonb, l text[], u uuid)";

/// One row of edges.
fn row(id: usize, random: &mut StdRng) -> String {
    let mut pick = |values: &[&str]| -> String {
        if random.random_ratio(1, 5) {
            return "NULL".to_owned();
        }
        (*values.choose(random).unwrap()).to_owned()
    };
    let texts =
        ["''", "'a'", "'A'", "'a '", "'é'", "'É'", "'b%_'", "'ß'", "'10'", "'9'", "'ab'", "'Zoë'"];
    [
        id.to_string(),
        pick(&["0", "1", "-1", "2", "7", "-7", "100"]),
        pick(&["0", "1", "-2", "3"]),
        pick(&["0", "5", "-9000000000", "9000000000"]),
        pick(&["0", "0.5", "-0.5", "1.25", "2.50", "-7.25", "1000.01"]),
        pick(&["0", "0.5", "-0.5", "1.5", "2.5", "1e10"]),
        pick(&texts),
        pick(&texts),
        pick(&["'a'", "'ab'", "'A'", "'abcd'", "''"]),
        pick(&["true", "false"]),
        pick(&["'2024-02-29'", "'2024-01-01'", "'1999-12-31'", "'2024-03-31'"]),
        pick(&[
            "'2024-02-29 23:59:59.999999+00'",
            "'2024-01-01 00:00:00+00'",
            "'1999-12-31 12:30:00.5+00'",
        ]),
        pick(&["'low'", "'Mid'", "'high'"]),
        pick(&[
            "'{}'",
            "'{\"a\": 1, \"b\": null}'",
            "'{\"a\": \"x\", \"c\": {\"d\": [1, 2]}}'",
            "'[1, \"a\", null]'",
            "'\"a\"'",
            "'null'",
            "'7'",
            "'{\"a\": [\"x\", \"y\"]}'",
        ]),
        pick(&["'{}'", "'{a,b}'", "'{\"a b\",NULL}'", "'{A}'"]),
        pick(&["'00000000-0000-7000-8000-000000000001'", "'ffffffff-0000-4000-8000-0000000000AA'"]),
    ]
    .join(", ")
}

/// Makes expressions of a wanted kind.
struct Maker<'a>(&'a mut StdRng);

impl Maker<'_> {
    fn one(&mut self, forms: &[&str]) -> String {
        (*forms.choose(self.0).unwrap()).to_owned()
    }

    fn leaf(&mut self, leaves: &[&str], depth: u32) -> Option<String> {
        (depth == 0 || self.0.random_ratio(1, 4)).then(|| self.one(leaves))
    }

    fn int(&mut self, depth: u32) -> String {
        if let Some(leaf) = self.leaf(&["a", "b", "id", "1", "-3", "7", "NULL::int"], depth) {
            return leaf;
        }
        let depth = depth - 1;
        match self.0.random_range(0..13) {
            0 => format!("({} + {})", self.int(depth), self.int(depth)),
            1 => format!("({} - {})", self.int(depth), self.int(depth)),
            2 => format!("({} / {})", self.int(depth), self.one(&["2", "-3", "7"])),
            3 => format!("({} % {})", self.int(depth), self.one(&["2", "-3", "7"])),
            4 => format!("abs({})", self.int(depth)),
            5 => format!("length({})", self.text(depth)),
            6 => format!("strpos({}, {})", self.text(depth), self.one(&["'a'", "''", "'é'"])),
            7 => format!("coalesce({}, {})", self.int(depth), self.int(depth)),
            8 => format!("nullif({}, {})", self.int(depth), self.int(depth)),
            9 => format!(
                "CASE WHEN {} THEN {} ELSE {} END",
                self.bool(depth),
                self.int(depth),
                self.int(depth)
            ),
            10 => {
                format!("greatest({}, {}, {})", self.int(depth), self.int(depth), self.int(depth))
            }
            11 => self.one(&[
                "cardinality(l)",
                "array_length(l, 1)",
                "jsonb_array_length('[1,2]'::jsonb)",
                "(d - date '2024-01-01')",
            ]),
            _ => format!("({})::int", self.bool(depth)),
        }
    }

    fn text(&mut self, depth: u32) -> String {
        let leaves = ["t", "v", "c", "'a'", "'A '", "'é'", "NULL::text", "m::text", "id::text"];
        if let Some(leaf) = self.leaf(&leaves, depth) {
            return leaf;
        }
        let depth = depth - 1;
        match self.0.random_range(0..14) {
            0 => format!("({} || {})", self.text(depth), self.text(depth)),
            1 => format!("lower({})", self.text(depth)),
            2 => format!("upper({})", self.text(depth)),
            3 => format!("left({}, {})", self.text(depth), self.one(&["1", "-1", "0", "5"])),
            4 => format!("right({}, {})", self.text(depth), self.one(&["1", "-1", "0", "5"])),
            5 => format!("concat({}, {})", self.text(depth), self.text(depth)),
            6 => format!("coalesce({}, {})", self.text(depth), self.text(depth)),
            7 => format!("replace({}, 'a', 'xy')", self.text(depth)),
            8 => format!("substr({}, {}, 2)", self.text(depth), self.one(&["1", "0", "-1", "2"])),
            9 => format!("CASE WHEN {} THEN {} END", self.bool(depth), self.text(depth)),
            10 => self.one(&[
                "j->>'a'",
                "j->'c'->>'d'",
                "j#>>'{c,d,0}'",
                "j->>1",
                "jsonb_typeof(j)",
                "l[1]",
                "u::text",
                "d::text",
            ]),
            11 => format!("lpad({}, 3, 'é')", self.text(depth)),
            12 => format!("split_part({}, 'a', {})", self.text(depth), self.one(&["1", "2", "-1"])),
            _ => format!("({})::text", self.bool(depth)),
        }
    }

    fn number(&mut self, depth: u32) -> String {
        if let Some(leaf) = self.leaf(&["n", "f", "big", "1.5", "a", "0.25::float8"], depth) {
            return leaf;
        }
        let depth = depth - 1;
        match self.0.random_range(0..5) {
            0 => format!("({} + {})", self.number(depth), self.number(depth)),
            1 => format!("({} * {})", self.number(depth), self.one(&["2", "0.5", "n"])),
            2 => format!("round({})", self.one(&["n", "f", "1.5", "-2.5"])),
            3 => format!("coalesce({}, {})", self.number(depth), self.number(depth)),
            _ => format!("abs({})", self.number(depth)),
        }
    }

    fn time(&mut self) -> String {
        self.one(&[
            "at",
            "now()",
            "date_trunc('month', at)",
            "date_trunc('week', at)",
            "at + interval '1 mon'",
            "at - interval '1 day 02:00:00'",
            "coalesce(at, '2024-01-01 00:00:00+02')",
            "greatest(at, '2000-01-01+00'::timestamptz)",
        ])
    }

    fn bool(&mut self, depth: u32) -> String {
        if let Some(leaf) = self.leaf(&["yes", "true", "a > 0", "t IS NULL", "NULL::bool"], depth) {
            return leaf;
        }
        let depth = depth - 1;
        let sign = self.one(&["=", "<>", "<", "<=", ">", ">="]);
        match self.0.random_range(0..17) {
            0 => format!("({} {sign} {})", self.int(depth), self.int(depth)),
            1 => format!("({} {sign} {})", self.text(depth), self.text(depth)),
            2 => format!("({} {sign} {})", self.number(depth), self.number(depth)),
            3 => format!("({} {sign} {})", self.time(), self.time()),
            4 => format!("({} AND {})", self.bool(depth), self.bool(depth)),
            5 => format!("({} OR {})", self.bool(depth), self.bool(depth)),
            6 => format!("(NOT {})", self.bool(depth)),
            7 => format!(
                "({} IS {} {})",
                self.bool(depth),
                self.one(&["", "NOT"]),
                self.one(&["TRUE", "FALSE", "NULL"])
            ),
            8 => format!("({} IN ({}, {}))", self.int(depth), self.int(depth), self.int(depth)),
            9 => format!(
                "({} NOT IN ({}, {}))",
                self.text(depth),
                self.text(depth),
                self.text(depth)
            ),
            10 => format!(
                "(t {} {})",
                self.one(&["LIKE", "NOT LIKE", "ILIKE"]),
                self.one(&["'a%'", "'%\\_%'", "'É'", "v"])
            ),
            11 => format!("({} IS DISTINCT FROM {})", self.text(depth), self.text(depth)),
            12 => {
                format!("({} BETWEEN {} AND {})", self.int(depth), self.int(depth), self.int(depth))
            }
            13 => format!("(m {sign} 'Mid')"),
            14 => self.one(&[
                "j ? 'a'",
                "j @> '{\"a\": 1}'",
                "j @> '[1]'",
                "j @> '{\"c\": {}}'",
                "j @> '\"a\"'",
                "'a' = ANY(l)",
                "l @> '{a}'",
                "l && '{b,A}'",
                "t = ANY('{a,é}')",
                "a <> ALL('{1,2}')",
                "j->'a' IS NULL",
                "u = 'ffffffff-0000-4000-8000-0000000000aa'",
            ]),
            15 => format!("((a, t) {sign} (1, {}))", self.text(depth)),
            _ => format!(
                "EXISTS (SELECT 1 FROM r x WHERE x.a = r.a AND {})",
                self.one(&["x.id <> r.id", "x.t = r.t"])
            ),
        }
    }

    fn query(&mut self) -> String {
        let item = match self.0.random_range(0..5) {
            0 => self.int(3),
            1 => self.text(3),
            2 => self.bool(3),
            3 => self.number(2),
            _ => self.time().replace("now()", "at"),
        };
        let condition = self.bool(3);
        let order = self.one(&[
            "id",
            "t, id",
            "at DESC, id",
            "m DESC NULLS LAST, id",
            "n, id DESC",
            "c, id",
            "lower(v) DESC, id",
            "yes, id",
        ]);
        match self.0.random_range(0..4) {
            0 => format!(
                "SELECT {}, count(*), count(n), max(id), min(t) FROM r WHERE {condition} GROUP BY 1 ORDER BY 2, 4",
                self.one(&["yes", "m", "a", "t", "c"])
            ),
            1 => format!("SELECT DISTINCT {} AS x FROM r WHERE {condition}", item),
            _ => format!("SELECT id, {item} AS x FROM r WHERE {condition} ORDER BY {order}"),
        }
    }
}

#[tokio::test]
async fn random_queries_have_the_same_rows_or_are_refused() {
    let seed = std::env::var("CROSSFADE_SEED").ok().and_then(|seed| seed.parse().ok());
    let seed: u64 = seed.unwrap_or(1);
    let mut reports = Vec::new();
    for target in Target::all() {
        let mut random = StdRng::seed_from_u64(seed);
        let rows: Vec<String> = (1..=40).map(|id| format!("({})", row(id, &mut random))).collect();
        let seed_rows = format!("INSERT INTO r VALUES {}", rows.join(", "));
        let site = Site::in_world(World::bare(target, "").await, SCHEMA, &seed_rows).await;
        let (direct, client) = (site.world.direct().await, site.client().await);
        let (mut equal, mut refused, mut wrong) = (0, 0, Vec::new());
        for _ in 0..QUERIES {
            let sql = Maker(&mut random).query();
            let expected = simple(&direct, &sql).await;
            if expected.code.is_some() {
                continue;
            }
            let found = simple(&client, &sql).await;
            match &found.code {
                Some(code) if code == "0A000" => refused += 1,
                _ if same(
                    &expected,
                    &found,
                    sql.contains("DISTINCT ") && !sql.contains("ORDER BY"),
                ) =>
                {
                    equal += 1;
                }
                _ => wrong.push(format!(
                    "{sql}\n   {:?} {}\n   {:?}\n   instead of\n   {:?}",
                    found.code, found.message, found.rows, expected.rows
                )),
            }
        }
        let wrong_count = wrong.len();
        let shown: String = wrong
            .into_iter()
            .take(12)
            .map(|w| w.chars().take(900).collect::<String>() + "\n")
            .collect();
        let report = format!(
            "{target:?}, CROSSFADE_SEED={seed}: {equal} equal, {refused} refused, {wrong_count} wrong\n{shown}"
        );
        eprintln!("{report}");
        reports.push((report, wrong_count == 0 && EQUAL_LEAST <= equal));
    }
    for (report, fine) in reports {
        assert!(fine, "{report}");
    }
}

fn same(expected: &Outcome, found: &Outcome, unordered: bool) -> bool {
    let (mut a, mut b) = (expected.rows.clone(), found.rows.clone());
    if unordered {
        a.sort();
        b.sort();
    }
    found.code.is_none() && expected.columns == found.columns && a == b
}
