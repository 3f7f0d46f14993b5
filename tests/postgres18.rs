//! PostgreSQL 18: its statements are captured, and its protocol passes as it is.

use std::process::Output;

use crossfade::demo::servers::{Options, PASSWORD, Product, Server};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::process::Command;
use tokio_postgres::{Client, SimpleQueryMessage};

use crate::support::{
    ROLE, ROLE_PASSWORD, TRUSTING, Target, World, certificate, postgres18, postgres18_home,
};

const SCHEMA: &str = "
    CREATE TABLE users (
        id int PRIMARY KEY, email text UNIQUE, age int,
        twice int GENERATED ALWAYS AS (age * 2) VIRTUAL,
        thrice int GENERATED ALWAYS AS (age * 3) STORED,
        tag uuid NOT NULL DEFAULT uuidv7(),
        CONSTRAINT adult CHECK (age > 17) NOT ENFORCED
    );
    CREATE TABLE notes (
        id int PRIMARY KEY, user_id int REFERENCES users NOT ENFORCED, note text
    );
    CREATE TABLE parted (a int, b int, note text, PRIMARY KEY (a, b)) PARTITION BY LIST (b);
    CREATE TABLE parted_1 PARTITION OF parted FOR VALUES IN (1);
    CREATE TABLE parted_2 PARTITION OF parted DEFAULT;
    CREATE TABLE parent (id int PRIMARY KEY, note text);
    CREATE TABLE child (
        id int PRIMARY KEY, parent int REFERENCES parent ON DELETE CASCADE ON UPDATE CASCADE
    );
";

/// Statements, in the order they run; each leaves both sides equal, and answers as without us.
const STATEMENTS: &[&str] = &[
    "INSERT INTO users (id, email, age) VALUES (1, 'a', 10), (2, 'b', 20), (3, 'c', 30)",
    "INSERT INTO users (id, email, age) VALUES (4, 'd', 1) RETURNING old.id, new.id, twice, thrice",
    "INSERT INTO users AS u (id, email) VALUES (4, 'e') ON CONFLICT (id) DO UPDATE \
     SET email = excluded.email RETURNING old.email, new.email, u.email",
    "UPDATE users SET age = age + 1 WHERE id < 3 RETURNING old.age, new.age, twice",
    "UPDATE users SET age = 0 WHERE id = 3 RETURNING WITH (OLD AS o, NEW AS n) o.age, n.age",
    "UPDATE users SET id = id + 10 WHERE id = 2",
    "UPDATE users SET id = id + 10 WHERE id = 3 RETURNING old.id, new.id, id",
    "MERGE INTO users u USING (VALUES (1, 'm', 7), (20, 'n', 8), (12, 'x', 0)) v (id, email, age) \
     ON u.id = v.id WHEN MATCHED AND v.age = 0 THEN DELETE \
     WHEN MATCHED THEN UPDATE SET email = v.email, age = v.age \
     WHEN NOT MATCHED THEN INSERT (id, email, age) VALUES (v.id, v.email, v.age)",
    "MERGE INTO users u USING (VALUES (1, 'o'), (21, 'p'), (13, '-')) v (id, email) ON u.id = v.id \
     WHEN MATCHED AND v.email = '-' THEN DELETE WHEN MATCHED THEN UPDATE SET email = v.email \
     WHEN NOT MATCHED THEN INSERT (id, email) VALUES (v.id, v.email) \
     RETURNING merge_action(), v.id, old.email, new.email, u.email, u.twice",
    "MERGE INTO users u USING (VALUES (1)) v (id) ON u.id = v.id WHEN MATCHED THEN DO NOTHING \
     WHEN NOT MATCHED BY SOURCE AND u.id = 20 THEN DELETE RETURNING merge_action(), u.id",
    "MERGE INTO users u USING users s ON u.id = s.id AND u.id = 1 WHEN MATCHED THEN UPDATE \
     SET age = s.age + 1 RETURNING *",
    "WITH v AS (SELECT 1 AS id, 5 AS age) MERGE INTO users u USING v ON u.id = v.id \
     WHEN MATCHED THEN UPDATE SET age = v.age RETURNING u.age",
    "DELETE FROM users WHERE id = 4 RETURNING old.*, new.id",
    "INSERT INTO notes VALUES (1, 999, 'no such user'), (2, 1, NULL)",
    "INSERT INTO parted VALUES (1, 1, 'x'), (1, 2, 'y'), (2, 9, 'z') RETURNING tableoid::regclass",
    "UPDATE parted SET b = 2 WHERE a = 2 RETURNING old.b, new.b",
    "UPDATE parted SET b = b + 5 WHERE a = 1 AND b = 1",
    "MERGE INTO parted p USING (VALUES (1, 2), (3, 1)) v (a, b) ON p.a = v.a AND p.b = v.b \
     WHEN MATCHED THEN UPDATE SET note = 'merged' \
     WHEN NOT MATCHED THEN INSERT VALUES (v.a, v.b, 'merged') RETURNING merge_action(), p.*",
    "INSERT INTO parent VALUES (1), (2), (3)",
    "INSERT INTO child VALUES (1, 1), (2, 2)",
    "MERGE INTO parent p USING (VALUES (1), (2), (4)) v (id) ON p.id = v.id \
     WHEN MATCHED AND v.id = 2 THEN DELETE WHEN MATCHED THEN UPDATE SET note = 'merged' \
     WHEN NOT MATCHED THEN INSERT VALUES (v.id) RETURNING merge_action(), p.id",
    "UPDATE parent SET id = 10 WHERE id = 1",
];

/// Rows as text and the number affected, or the error's code; `extended` sends it with Parse.
async fn answer(client: &Client, sql: &str, extended: bool) -> String {
    if extended {
        let statement = match client.prepare(sql).await {
            Ok(statement) => statement,
            Err(error) => return error.as_db_error().unwrap().code().code().to_owned(),
        };
        let types: Vec<_> =
            statement.columns().iter().map(|column| column.type_().name()).collect();
        let done = client.query(&statement, &[]).await;
        return match done {
            Ok(rows) => format!("{types:?} {}", rows.len()),
            Err(error) => error.as_db_error().unwrap().code().code().to_owned(),
        };
    }
    let messages = match client.simple_query(sql).await {
        Ok(messages) => messages,
        Err(error) => return error.as_db_error().unwrap().code().code().to_owned(),
    };
    let texts = messages.iter().filter_map(|message| match message {
        SimpleQueryMessage::Row(row) => {
            let values = (0..row.len()).map(|at| row.get(at).unwrap_or("NULL"));
            // A uuidv7 is another one each time.
            let values = values.map(|value| if value.len() == 36 { "uuid" } else { value });
            Some(format!("row({})", values.collect::<Vec<_>>().join(",")))
        }
        SimpleQueryMessage::CommandComplete(count) => Some(count.to_string()),
        _ => None,
    });
    texts.collect::<Vec<_>>().join(" ")
}

/// Series of `crossfade_uncaptured_writes_total`: there should be none.
async fn uncaptured(world: &World) -> Vec<String> {
    let (_, text) = world.proxy.as_ref().unwrap().get("/metrics").await.unwrap();
    let lines = text.lines().filter(|line| line.starts_with("crossfade_uncaptured_writes_total{"));
    lines.map(str::to_owned).collect()
}

#[tokio::test]
async fn what_18_can_write_arrives_and_is_answered_as_without_us() {
    let Some(server) = postgres18("dual writes from PostgreSQL 18").await else { return };
    // Both protocols, and every product, without every pair of them.
    for (target, extended) in Target::all().into_iter().cycle().zip([false, true]) {
        let world = async || {
            let world = World::before(target, "", server).await;
            world.direct().await.batch_execute(SCHEMA).await.unwrap();
            world
        };
        let (past, mut through) = (world().await, world().await);
        through.setup();
        through.run().await;
        let (direct, client) = (past.direct().await, through.client().await);
        for sql in STATEMENTS {
            let expected = answer(&direct, sql, extended).await;
            assert_eq!(answer(&client, sql, extended).await, expected, "{sql}");
        }
        through.drained().await;
        let tables = through.assert_all_equal().await;
        assert_eq!(tables, ["child", "notes", "parent", "parted", "users"]);
        assert_eq!(uncaptured(&through).await, <[String; 0]>::default());
    }
}

#[tokio::test]
async fn keys_without_overlaps_are_named_and_stay_behind() {
    let Some(server) = postgres18("temporal keys of PostgreSQL 18").await else { return };
    let mut world = World::before(Target::MariaDb, "", server).await;
    let admin = world.admin().await;
    admin.batch_execute("CREATE EXTENSION btree_gist").await.unwrap();
    let direct = world.direct().await;
    direct
        .batch_execute(
            "CREATE TABLE stays (id int, during daterange, PRIMARY KEY (id, during WITHOUT OVERLAPS));
             CREATE TABLE visits (id int PRIMARY KEY, stay int, during daterange,
                 FOREIGN KEY (stay, PERIOD during) REFERENCES stays (id, PERIOD during));
             CREATE TABLE users (id int PRIMARY KEY)",
        )
        .await
        .unwrap();
    let printed = world.verb(&["setup"]);
    for table in ["stays", "visits"] {
        assert!(printed.contains(&format!("{table}: not migrated: unsupported type")), "{printed}");
    }
    world.run().await;
    let client = world.client().await;
    client.batch_execute("INSERT INTO users VALUES (1)").await.unwrap();
    client.batch_execute("INSERT INTO stays VALUES (1, '[2024-01-01,2024-02-01)')").await.unwrap();
    world.drained().await;
    world.assert_equal("users").await;
}

/// The answers to a startup packet as far as the first ReadyForQuery: kind and body, but for what
/// is another one in each session. Then the session's key cancels a statement.
async fn log_in(port: u16, version: u32, parameters: &[(&str, &str)]) -> Vec<(char, String)> {
    let mut socket = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
    let mut body = version.to_be_bytes().to_vec();
    for (name, value) in parameters {
        body.extend_from_slice(format!("{name}\0{value}\0").as_bytes());
    }
    body.push(0);
    let length = u32::try_from(body.len() + 4).unwrap().to_be_bytes();
    socket.write_all(&[&length[..], &body].concat()).await.unwrap();
    let mut heard = Vec::new();
    let mut key = Vec::new();
    loop {
        let (tag, body) = message(&mut socket).await;
        match tag {
            'K' => {
                heard.push((tag, format!("{} bytes", body.len())));
                key = body;
            }
            _ => heard.push((tag, body.escape_ascii().to_string())),
        }
        if matches!(tag, 'Z' | 'E') {
            break;
        }
    }
    socket.write_all(b"Q\0\0\0\x19SELECT pg_sleep(600)\0").await.unwrap();
    let admin = crate::support::connect(port, "postgres", PASSWORD, parameters[1].1).await;
    let asleep = "SELECT count(*) FROM pg_stat_activity WHERE pid = $1 AND wait_event = 'PgSleep'";
    let pid = i32::from_be_bytes(*key.first_chunk().unwrap());
    while admin.query_one(asleep, &[&pid]).await.unwrap().get::<_, i64>(0) == 0 {}
    let mut cancel = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
    let length = u32::try_from(key.len() + 8).unwrap().to_be_bytes();
    cancel.write_all(&[&length[..], &80_877_102_u32.to_be_bytes(), &key].concat()).await.unwrap();
    loop {
        let (tag, body) = message(&mut socket).await;
        if tag == 'E' {
            let code = body.split(|byte| *byte == 0).find(|field| field.starts_with(b"C"));
            heard.push((tag, code.unwrap().escape_ascii().to_string()));
            return heard;
        }
    }
}

async fn message(socket: &mut TcpStream) -> (char, Vec<u8>) {
    let tag = socket.read_u8().await.unwrap();
    let mut body = vec![0; socket.read_u32().await.unwrap() as usize - 4];
    socket.read_exact(&mut body).await.unwrap();
    (char::from(tag), body)
}

/// Which protocol was agreed on, in the server's words.
fn agreed(heard: &[(char, String)]) -> String {
    heard.iter().filter(|(tag, _)| "vK".contains(*tag)).map(|(_, body)| body.clone()).collect()
}

#[tokio::test]
async fn protocol_3_2_is_agreed_on_as_without_us() {
    let Some(newest) = postgres18("protocol 3.2").await else { return };
    let options = Options { hba: Some(TRUSTING.to_owned()), ..Options::default() };
    let older = tokio::task::spawn_blocking(|| Server::start(Product::Postgres, options).unwrap());
    for (server, expected) in
        [(newest, "36 bytes"), (&older.await.unwrap(), r"\x00\x03\x00\x00\x00\x00\x00\x008 bytes")]
    {
        let mut world = World::before(Target::MariaDb, "", server).await;
        world.run().await;
        // So that the login is the same bytes each time.
        world.admin().await.batch_execute("CREATE ROLE trusted LOGIN").await.unwrap();
        let parameters = [("user", "trusted"), ("database", world.database.as_str())];
        let direct = log_in(world.postgres_port(), (3 << 16) + 2, &parameters).await;
        let through = log_in(world.proxy_port(), (3 << 16) + 2, &parameters).await;
        assert_eq!(agreed(&direct), expected);
        assert_eq!(through, direct);
    }
}

/// Runs psql of PostgreSQL 18.
async fn psql(conninfo: &str, command: &str) -> Output {
    Command::new(postgres18_home().join("bin/psql"))
        .args(["-X", "-A", "-t", "-d", conninfo, "-c", command])
        .env("PGPASSWORD", ROLE_PASSWORD)
        .output()
        .await
        .unwrap()
}

#[tokio::test]
async fn psql_18_negotiates_tls_directly_and_the_newest_protocol() {
    let Some(server) = postgres18("sslnegotiation=direct, from psql of PostgreSQL 18").await else {
        return;
    };
    let mut world = World::before(Target::MariaDb, "", server).await;
    let directory = world.config.with_file_name("tls");
    certificate::issue(&directory);
    world.offer_tls(&directory);
    world.run().await;
    let conninfo = format!(
        "host=localhost hostaddr=127.0.0.1 port={} user={ROLE} dbname={} sslmode=verify-full \
         sslrootcert={} sslnegotiation=direct channel_binding=require max_protocol_version=3.2",
        world.proxy_port(),
        world.database,
        directory.join(certificate::CA).display(),
    );
    let told = psql(&conninfo, "\\conninfo").await;
    let told = String::from_utf8_lossy(&[told.stdout, told.stderr].concat()).into_owned();
    for line in ["Protocol Version|3.2", "SSL Connection|true", "ALPN|postgresql"] {
        assert!(told.contains(line), "no {line} in\n{told}");
    }
}
