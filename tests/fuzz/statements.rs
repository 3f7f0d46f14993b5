//! Statements at random, from fragments that mislead: quotes in names, names in quotes, comments in
//! comments, literals of every form, words that are keywords elsewhere, names like ours.
//!
//! Most are statements that PostgreSQL takes; some are not.

use rand::Rng as _;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom as _;

/// The tables that the statements are about.
pub const SCHEMA: &str = r#"
    CREATE SCHEMA auth;
    CREATE TABLE users (id int PRIMARY KEY, email text DEFAULT 'd', "Name" text, cf_old int);
    CREATE TABLE members (org int, "user" int, role text, PRIMARY KEY (org, "user"));
    CREATE TABLE auth.codes (id int PRIMARY KEY, code text);
    CREATE TABLE "Odd ""na;me" ("a""b" int PRIMARY KEY, "é" text, "returning" text);
    CREATE TABLE Étage (id int PRIMARY KEY, Où text);
    CREATE TABLE plain (id int, email text);
    INSERT INTO users VALUES (1, 'a', NULL, NULL), (2, 'b''c', 'N', NULL), (3, E'\\', NULL, 7);
    INSERT INTO members VALUES (1, 1, 'x'), (1, 2, 'y'), (2, 1, NULL);
    INSERT INTO auth.codes VALUES (1, 'q'), (2, 'w');
    INSERT INTO "Odd ""na;me" VALUES (1, 'e', 'r'), (2, ';', '$$');
    INSERT INTO Étage VALUES (1, 'ici');
    INSERT INTO plain VALUES (1, 'p');
"#;

/// The same tables as [`crossfade::catalog::Catalog::for_test`] reads them.
pub const TABLES: &[(&str, &str)] = &[
    ("users", "id:int4*,email:text?,Name:text?,cf_old:int4?"),
    ("members", "org:int4*,user:int4*,role:text?"),
    ("auth.codes", "id:int4*,code:text?"),
    ("Odd \"na;me", "a\"b:int4*,é:text?,returning:text?"),
    ("Étage", "id:int4*,où:text?"),
];

/// A table: its names as they may be written, its key, its other columns.
struct Known {
    names: &'static [&'static str],
    key: &'static [&'static str],
    texts: &'static [&'static str],
}

const KNOWN: &[Known] = &[
    Known {
        names: &[
            "users",
            "USERS",
            "\"users\"",
            "public.users",
            "public . \"users\"",
            "Public.Users",
        ],
        key: &["id", "ID", "\"id\""],
        texts: &["email", "\"Name\"", "\"email\""],
    },
    Known {
        names: &["members", "public.members"],
        key: &["org", "\"user\"", "\"org\""],
        texts: &["role", "Role"],
    },
    Known { names: &["auth.codes", "\"auth\".codes"], key: &["id"], texts: &["code"] },
    Known {
        names: &["\"Odd \"\"na;me\"", "public.\"Odd \"\"na;me\""],
        key: &["\"a\"\"b\""],
        texts: &["\"é\"", "é", "\"returning\""],
    },
    Known {
        names: &["Étage", "ÉTAGE", "\"Étage\""], key: &["id"], texts: &["où", "OÙ", "\"où\""]
    },
    Known { names: &["plain"], key: &["id"], texts: &["email"] },
];

const ALIASES: &[&str] = &[
    "u",
    "\"Q q\"",
    "cf_prev",
    "cf_w0",
    "q",
    "t",
    "é",
    "\"returning\"",
    "\"set\"",
    "\"--\"",
    "\"$$\"",
];
const LITERALS: &[&str] = &[
    "'a'",
    "''",
    "'it''s'",
    "'\\'",
    "'a;b'",
    "E'a\\'b'",
    "e'\\\\'",
    "E'\\'' ",
    "$$a$$",
    "$$'$$",
    "$q$ $$ ; $q$",
    "$é$'$é$",
    "U&'\\0041'",
    "'-- '",
    "'/*'",
    "N'x'",
    "'a'\n'b'",
    "'a' -- c '\n  'b\\'",
    "E'a'\n'\\'; b'",
    "E'a' -- x\n 'b\\''",
    "'RETURNING'",
    "' RETURNING 1'",
    "'é'",
    "'$1'",
    "E'\\u0027'",
];
const NUMBERS: &[&str] = &["1", "2", "3", "007", "40000", "(1)", "1::int", "CAST(2 AS int)"];
const GAPS: &[&str] = &[
    " ",
    " ",
    " ",
    " ",
    " ",
    "\n",
    "\t",
    "\r\n",
    " /* c */ ",
    "/* ' */",
    "/* a /* b */ ; */",
    " -- ' \" $$ ;\n",
    "--\n",
    " /* RETURNING */ ",
    "\x0c",
];
const ENDS: &[&str] = &[
    "",
    "",
    "",
    "",
    ";",
    " ",
    " ;\n",
    " -- end",
    " --",
    "/* end */",
    ";;",
    "; -- x\n;",
    " -- $$ '",
];

/// Words and signs one after the other, for the gaps to go between.
type Words = Vec<String>;

/// A statement as text.
pub fn statement(random: &mut StdRng) -> String {
    let words = match random.random_range(0..12) {
        0..3 => insert(random),
        3..7 => update(random),
        7..9 => delete(random),
        9..11 => with(random),
        _ => other(random),
    };
    let mut text = if random.random_bool(0.1) { gap(random) } else { String::new() };
    for (at, word) in words.iter().enumerate() {
        if 0 < at {
            text += &gap(random);
        }
        text += word;
    }
    text + one(ENDS, random)
}

fn gap(random: &mut StdRng) -> String {
    (*GAPS.choose(random).unwrap()).to_owned()
}

fn one<'a>(of: &[&'a str], random: &mut StdRng) -> &'a str {
    of.choose(random).unwrap()
}

fn words(text: &str) -> Words {
    text.split(' ').map(str::to_owned).collect()
}

fn insert(random: &mut StdRng) -> Words {
    let table = KNOWN.choose(random).unwrap();
    let mut out = words("INSERT INTO");
    out.push(one(table.names, random).to_owned());
    let alias = alias(random, true, &mut out);
    let text = one(table.texts, random);
    // Both columns of a key that has two.
    let keys: Vec<&str> = if table.names[0] == "members" {
        vec!["org", "\"user\""]
    } else {
        vec![one(table.key, random)]
    };
    out.push(format!("({}, {text})", keys.join(", ")));
    let row = |random: &mut StdRng| {
        let numbers: Vec<String> =
            keys.iter().map(|_| random.random_range(1..9).to_string()).collect();
        format!("({}, {})", numbers.join(", "), literal(random))
    };
    if random.random_bool(0.8) {
        out.push("VALUES".to_owned());
        out.push(row(random));
        if random.random_bool(0.2) {
            out.push(",".to_owned());
            out.push(row(random));
        }
    } else {
        let numbers = keys.iter().map(|_| "x").collect::<Vec<_>>().join(", ");
        let literal = literal(random);
        out.push(format!("SELECT {numbers}, {literal}"));
        out.extend(words("FROM generate_series(5, 6) AS g(x)"));
    }
    if random.random_bool(0.4) && table.names[0] != "plain" {
        out.extend(words(&format!("ON CONFLICT ({})", keys.join(",").replace(' ', ""))));
        if random.random_bool(0.5) {
            out.extend(words("DO NOTHING"));
        } else {
            out.extend(words("DO UPDATE SET"));
            out.push(text.to_owned());
            out.push("=".to_owned());
            out.push(expression(table, alias.as_deref(), random));
        }
    }
    returning(table, alias.as_deref(), random, &mut out);
    out
}

fn update(random: &mut StdRng) -> Words {
    let table = KNOWN.choose(random).unwrap();
    let mut out = words("UPDATE");
    if random.random_bool(0.2) {
        out.push("ONLY".to_owned());
    }
    out.push(one(table.names, random).to_owned());
    let alias = alias(random, false, &mut out);
    out.push("SET".to_owned());
    let key = random.random_bool(0.4);
    if key {
        out.push(one(table.key, random).to_owned());
        out.push("=".to_owned());
        out.push(format!("{} + 10", one(table.key, random)));
        out.push(",".to_owned());
    }
    out.push(one(table.texts, random).to_owned());
    out.push("=".to_owned());
    out.push(expression(table, alias.as_deref(), random));
    if random.random_bool(0.2) {
        out.extend(words("FROM generate_series(1, 2) AS g(x)"));
    }
    condition(table, random, &mut out);
    returning(table, alias.as_deref(), random, &mut out);
    out
}

fn delete(random: &mut StdRng) -> Words {
    let table = KNOWN.choose(random).unwrap();
    let mut out = words("DELETE FROM");
    out.push(one(table.names, random).to_owned());
    let alias = alias(random, false, &mut out);
    if random.random_bool(0.2) {
        out.extend(words("USING generate_series(1, 2) AS g(x)"));
    }
    condition(table, random, &mut out);
    returning(table, alias.as_deref(), random, &mut out);
    out
}

fn with(random: &mut StdRng) -> Words {
    let mut out = words("WITH");
    let name = one(&["w", "cf_w0", "\"W w\"", "x"], random);
    out.push(name.to_owned());
    out.extend(words("AS ("));
    out.extend(match random.random_range(0..4) {
        0 => words("SELECT 1 AS id"),
        1 => insert(random),
        2 => update(random),
        _ => delete(random),
    });
    out.push(")".to_owned());
    match random.random_range(0..4) {
        0 => out.extend(update(random)),
        1 => out.extend(words("SELECT 1")),
        _ => {
            out.extend(words("SELECT * FROM"));
            out.push(name.to_owned());
        }
    }
    out
}

fn other(random: &mut StdRng) -> Words {
    let table = KNOWN.choose(random).unwrap();
    let name = one(table.names, random);
    let text = one(table.texts, random);
    let literal = literal(random);
    let pick = random.random_range(0..7);
    match pick {
        0 => vec!["SELECT".to_owned(), literal, "AS".to_owned(), "returning".to_owned()],
        1 => vec!["SELECT".to_owned(), text.to_owned(), "FROM".to_owned(), name.to_owned()],
        2 => vec!["EXPLAIN".to_owned(), "DELETE".to_owned(), "FROM".to_owned(), name.to_owned()],
        3 => vec!["VALUES".to_owned(), format!("({literal})")],
        4 => vec!["DELETE".to_owned(), "FROM".to_owned(), name.to_owned(), "WHERE".to_owned()],
        5 => vec!["SELECT".to_owned(), format!("begin atomic FROM (SELECT {literal} AS begin) b")],
        _ => vec!["(".to_owned(), "SELECT".to_owned(), literal, ")".to_owned()],
    }
}

fn alias(random: &mut StdRng, insert: bool, out: &mut Words) -> Option<String> {
    let alias = random.random_bool(0.4).then(|| one(ALIASES, random).to_owned())?;
    if insert || random.random_bool(0.5) {
        out.push("AS".to_owned());
    }
    out.push(alias.clone());
    Some(alias)
}

fn literal(random: &mut StdRng) -> String {
    one(LITERALS, random).to_owned()
}

fn number(random: &mut StdRng) -> String {
    one(NUMBERS, random).to_owned()
}

/// A text.
fn expression(table: &Known, alias: Option<&str>, random: &mut StdRng) -> String {
    let literal = literal(random);
    let column = one(table.texts, random);
    let qualified = match alias {
        Some(alias) => format!("{alias}.{column}"),
        None => column.to_owned(),
    };
    match random.random_range(0..10) {
        9 => format!("({column} IS NULL)::text || ({column} IS NOT DISTINCT FROM {literal})::text"),
        8 => format!("CASE {column} IS DISTINCT FROM {literal} WHEN true THEN 'y' END"),
        0 => format!("{qualified} || {literal}"),
        1 => format!("lower ( {literal} )"),
        2 => format!("CASE WHEN {} = 1 THEN {literal} ELSE NULL END", number(random)),
        3 => format!("(SELECT max({column}) FROM {})", one(table.names, random)),
        4 => format!("({literal})::text COLLATE \"C\""),
        5 => format!("(ARRAY[{literal}, 'z'])[1]"),
        6 => "NULL".to_owned(),
        7 => format!("concat({literal}, {}, {qualified})", number(random)),
        _ => literal,
    }
}

fn condition(table: &Known, random: &mut StdRng, out: &mut Words) {
    if random.random_bool(0.2) {
        return;
    }
    out.push("WHERE".to_owned());
    let key = one(table.key, random);
    let number = number(random);
    let text = one(table.texts, random);
    let literal = literal(random);
    let pick = random.random_range(0..7);
    out.extend(match pick {
        0 => vec![key.to_owned(), "=".to_owned(), number],
        1 => vec![key.to_owned(), "IN".to_owned(), format!("({number}, 3)")],
        2 => vec![format!("{text} IS DISTINCT FROM {literal}"), "OR".to_owned(), "true".to_owned()],
        3 => vec!["EXISTS".to_owned(), format!("(SELECT {literal} WHERE {key} < 3)")],
        4 => vec![key.to_owned(), "BETWEEN".to_owned(), "1".to_owned(), "AND".to_owned(), number],
        5 => vec![
            "NOT".to_owned(),
            format!("({text} = {literal})"),
            "AND".to_owned(),
            format!("{key}<>-{number}"),
        ],
        _ => vec![format!("{key}={number}"), "AND".to_owned(), format!("{text} <> {literal}")],
    });
}

fn returning(table: &Known, alias: Option<&str>, random: &mut StdRng, out: &mut Words) {
    if random.random_bool(0.5) {
        return;
    }
    out.push("RETURNING".to_owned());
    let key = one(table.key, random);
    let pick = random.random_range(0..7);
    let own = alias.unwrap_or_else(|| table.names[0].rsplit('.').next().unwrap_or_default());
    out.extend(match pick {
        0 => vec!["*".to_owned()],
        1 => vec![key.to_owned(), ",".to_owned(), one(table.texts, random).to_owned()],
        2 => vec![format!("{own}.*")],
        3 => vec![expression(table, alias, random), "AS".to_owned(), "returning".to_owned()],
        4 => vec![
            "1".to_owned(),
            "AS".to_owned(),
            "cf_id".to_owned(),
            ",".to_owned(),
            key.to_owned(),
            "cf_row".to_owned(),
        ],
        5 => vec![format!("count({key})")],
        _ => vec![format!("{own}.{key}"), ",".to_owned(), "*".to_owned()],
    });
}
