//! tokio-postgres as a driver: pipelines, portals with row limits, binary COPY, cancel requests.

use std::fmt::{Debug, Write};
use std::pin::pin;
use std::time::Duration;

use futures_util::{SinkExt, StreamExt, TryStreamExt};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio_postgres::binary_copy::{BinaryCopyInWriter, BinaryCopyOutStream};
use tokio_postgres::tls::NoTlsStream;
use tokio_postgres::types::Type;
use tokio_postgres::{AsyncMessage, Client, Error, NoTls, SimpleQueryMessage, Socket};

use super::Answers;
use crate::support::{ROLE, ROLE_PASSWORD};

/// Checked observations, as text.
struct Transcript {
    text: String,
    answers: Option<Answers>,
}

impl Transcript {
    /// Notes what MySQL does not serve; there this statement has to be refused with 0A000. Elsewhere false:
    /// what comes of it follows, then [`Self::served`].
    async fn is_refused(&mut self, client: &Client, what: &str, statement: &str) -> bool {
        writeln!(self.text, "unserved: {what}").unwrap();
        if self.answers != Some(Answers::MySql) {
            return false;
        }
        let error = client.batch_execute(statement).await.expect_err(what);
        assert_eq!(error.code().map(|code| code.code()), Some("0A000"), "{what}: {error:?}");
        self.served();
        true
    }

    fn served(&mut self) {
        self.text.push_str("served\n");
    }

    #[track_caller]
    fn check<T: PartialEq + Debug>(&mut self, name: &str, got: T, want: T) {
        assert_eq!(got, want, "{name}");
        writeln!(self.text, "ok {name} {got:?}").unwrap();
    }

    /// Notes every field of an error.
    #[track_caller]
    fn error(&mut self, code: &str, error: &Error) {
        let fields = error.as_db_error().unwrap_or_else(|| panic!("{error:?}"));
        assert_eq!(fields.code().code(), code);
        match self.answers {
            // MySQL does not know where in the text it is, nor what may help.
            Some(_) => writeln!(self.text, "{code} {}", fields.message()).unwrap(),
            None => writeln!(self.text, "{fields:?}").unwrap(),
        }
    }
}

/// `change` happens while the first connection is open.
pub async fn run(
    port: u16,
    database: &str,
    answers: Option<Answers>,
    change: impl AsyncFnOnce(),
) -> String {
    let mut config = tokio_postgres::Config::new();
    config.host("127.0.0.1").port(port).user(ROLE).password(ROLE_PASSWORD).dbname(database);
    let (client, connection) = config.connect(NoTls).await.unwrap();
    let (driven, mut messages) = drive(connection);
    let mut transcript = Transcript { text: String::new(), answers };
    let before = client.prepare("SELECT $1::int + 1").await.unwrap();
    change().await;
    let one_more: i32 = client.query_one(&before, &[&1_i32]).await.unwrap().get(0);
    transcript.check("executed after", one_more, 2);
    queries(&client, &mut transcript).await;
    writes(&client, &mut transcript).await;
    pipelines(&client, &mut transcript).await;
    portals(client, &mut transcript).await;
    let (client, connection) = config.connect(NoTls).await.unwrap();
    tokio::spawn(connection);
    copies(&client, &mut transcript).await;
    cancelling(&config, &client, &mut transcript).await;
    listening(&config, &mut transcript).await;
    driven.await.unwrap();
    while let Some(message) = messages.recv().await {
        if let (AsyncMessage::Notice(notice), None) = (message, answers) {
            writeln!(transcript.text, "{notice:?}").unwrap();
        }
    }
    transcript.text
}

async fn queries(client: &Client, transcript: &mut Transcript) {
    let messages = client.simple_query("SELECT 1 AS a; SELECT 2, NULL; SELECT 3 WHERE false").await;
    let texts: Vec<String> = messages
        .unwrap()
        .iter()
        .map(|message| match message {
            SimpleQueryMessage::Row(row) => {
                format!("row {:?} {:?}", row.get(0), row.columns().len())
            }
            SimpleQueryMessage::CommandComplete(rows) => format!("complete {rows}"),
            SimpleQueryMessage::RowDescription(columns) => format!("columns {}", columns[0].name()),
            _ => "other".to_owned(),
        })
        .collect();
    writeln!(transcript.text, "{texts:?}").unwrap();
    let statement = client.prepare("SELECT $1::int8 AS n, $2::text[], now()").await.unwrap();
    transcript.check("parameters", statement.params(), &[Type::INT8, Type::TEXT_ARRAY]);
    let types: Vec<&Type> = statement.columns().iter().map(|column| column.type_()).collect();
    transcript.check("columns", types, vec![&Type::INT8, &Type::TEXT_ARRAY, &Type::TIMESTAMPTZ]);
    for turn in 0..3_i64 {
        let row = client.query_one(&statement, &[&turn, &vec![Some("a"), None]]).await.unwrap();
        transcript.check("prepared", row.get::<_, i64>(0), turn);
    }
    let typed = client.query_typed("SELECT $1 || 'b'", &[(&"a", Type::TEXT)]).await.unwrap();
    transcript.check("unnamed, typed", typed[0].get::<_, &str>(0), "ab");
    let notices = "SELECT remark('in Rust'); DO $$ BEGIN RAISE WARNING 'careful'; END $$";
    if !transcript.is_refused(client, "functions of the database", notices).await {
        client.batch_execute(notices).await.unwrap();
        transcript.served();
    }
}

async fn writes(client: &Client, transcript: &mut Transcript) {
    let insert = "INSERT INTO account (email, secret) VALUES ($1, $2)";
    let secret = vec![0_u8, 255];
    transcript.check("insert", client.execute(insert, &[&"a@x", &secret]).await.unwrap(), 1);
    let error = client.execute(insert, &[&"a@x", &secret]).await.unwrap_err();
    transcript.error("23505", &error);
    let returning = format!("{insert} RETURNING id, secret, id + 1 AS id");
    let row = client.query_one(&returning, &[&"b@x", &secret]).await.unwrap();
    let got = (row.len(), row.get::<_, Vec<u8>>(1), row.get::<_, i64>(2));
    let id = row.get::<_, i64>(0);
    transcript.check("returning", got, (3, secret, id + 1));
    let changed =
        client.execute("UPDATE account SET balance = 2 WHERE email LIKE $1", &[&"%@x"]).await;
    transcript.check("update", changed.unwrap(), 2);
    let error = client.execute("UPDATE account SET balance = -1", &[]).await.unwrap_err();
    transcript.check("check", error.code().map(|code| code.code()), Some("23514"));
    let tree = "WITH gone AS (DELETE FROM account WHERE email = $1 RETURNING id) SELECT count(*) FROM gone";
    transcript.check(
        "write in a query",
        client.query_one(tree, &[&"b@x"]).await.unwrap().get::<_, i64>(0),
        1,
    );
    client
        .execute("INSERT INTO device SELECT n, $1, 'd' FROM unnest(ARRAY[1, 2, 3]) n", &[&1_i64])
        .await
        .unwrap();
    transcript.check(
        "cascade",
        client.execute("DELETE FROM account WHERE id = 1", &[]).await.unwrap(),
        1,
    );
}

/// Several statements are under way at once, each with a Sync of its own; one of them fails.
async fn pipelines(client: &Client, transcript: &mut Transcript) {
    let insert =
        client.prepare("INSERT INTO note VALUES ($1, 'piped') RETURNING id").await.unwrap();
    let results = futures_util::future::join_all([1, 2, 1, 3].map(|id| {
        let insert = insert.clone();
        async move { client.query_one(&insert, &[&id]).await }
    }))
    .await;
    for result in &results {
        match result {
            Ok(row) => transcript.check("piped", row.get::<_, i32>(0) > 0, true),
            Err(error) => transcript.error("23505", error),
        }
    }
    let batch = "INSERT INTO note VALUES (4, 'batch'); INSERT INTO note VALUES (4, 'twice')";
    transcript.error("23505", &client.batch_execute(batch).await.unwrap_err());
    let notes = client.query_one("SELECT array_agg(id ORDER BY id) FROM note", &[]).await.unwrap();
    transcript.check("kept", notes.get::<_, Vec<i32>>(0), vec![1, 2, 3]);
}

const SEVEN: &str = "SELECT n FROM unnest(ARRAY[1, 2, 3, 4, 5, 6, 7]) n ORDER BY n";

async fn portals(mut client: Client, transcript: &mut Transcript) {
    let transaction = client.transaction().await.unwrap();
    let portal = transaction.bind(SEVEN, &[]).await.unwrap();
    let write = "INSERT INTO note SELECT n, 'limited' FROM unnest(ARRAY[50, 51, 52, 53, 54]) n RETURNING id";
    let writing = transaction.bind(write, &[]).await.unwrap();
    for size in [3, 3, 1, 0] {
        let rows = transaction.query_portal(&portal, 3).await.unwrap();
        transcript.check("portion", rows.len(), size);
        let rows = transaction.query_portal(&writing, 2).await.unwrap();
        writeln!(transcript.text, "a write's portion: {}", rows.len()).unwrap();
    }
    transaction.commit().await.unwrap();
    let mut transaction = client.build_transaction().read_only(true).start().await.unwrap();
    let savepoint = transaction.savepoint("tried").await.unwrap();
    transcript.error("25006", &savepoint.execute("DELETE FROM note", &[]).await.unwrap_err());
    savepoint.rollback().await.unwrap();
    transaction.commit().await.unwrap();
    // Dropped without an end: rolled back.
    let dropped = client.transaction().await.unwrap();
    dropped.execute("DELETE FROM note", &[]).await.unwrap();
    drop(dropped);
    let left = client.query_one("SELECT count(*) FROM note", &[]).await.unwrap();
    transcript.check("left", left.get::<_, i64>(0), 8);
}

async fn copies(client: &Client, transcript: &mut Transcript) {
    let copy = "COPY note FROM STDIN (FORMAT binary)";
    if transcript.is_refused(client, "COPY", copy).await {
        return;
    }
    let sink = client.copy_in(copy).await.unwrap();
    let mut writer = pin!(BinaryCopyInWriter::new(sink, &[Type::INT4, Type::TEXT]));
    writer.as_mut().write(&[&100, &"é"]).await.unwrap();
    writer.as_mut().write(&[&101, &None::<&str>]).await.unwrap();
    transcript.check("copied in", writer.finish().await.unwrap(), 2);
    let query = "COPY (SELECT * FROM note WHERE id >= 100 ORDER BY id) TO STDOUT (FORMAT binary)";
    let stream = client.copy_out(query).await.unwrap();
    let rows = BinaryCopyOutStream::new(stream, &[Type::INT4, Type::TEXT]);
    let rows: Vec<_> = rows.try_collect().await.unwrap();
    let rows: Vec<(i32, Option<&str>)> = rows.iter().map(|row| (row.get(0), row.get(1))).collect();
    transcript.check("copied out", rows, vec![(100, Some("é")), (101, None)]);
    // Dropped without an end: CopyFail.
    let mut given_up = Box::pin(client.copy_in("COPY note FROM STDIN").await.unwrap());
    given_up.send(bytes::Bytes::from_static(b"102\tlost\n")).await.unwrap();
    drop(given_up);
    let lost = client.query_one("SELECT count(*) FROM note WHERE id = 102", &[]).await.unwrap();
    transcript.check("given up", lost.get::<_, i64>(0), 0);
    transcript.served();
}

async fn cancelling(config: &tokio_postgres::Config, client: &Client, transcript: &mut Transcript) {
    if transcript.is_refused(client, "pg_sleep", "SELECT pg_sleep(60)").await {
        return;
    }
    let token = client.cancel_token();
    let sleep = client.query("SELECT pg_sleep(60)", &[]);
    let cancel = async {
        // One that comes before its statement hits nothing, as with PostgreSQL.
        until_it_sleeps(config).await;
        token.cancel_query(NoTls).await.unwrap();
    };
    let (slept, ()) = tokio::join!(sleep, cancel);
    transcript.error("57014", &slept.unwrap_err());
    let alive = client.query_one("SELECT 1", &[]).await.unwrap();
    transcript.check("usable after cancelling", alive.get::<_, i32>(0), 1);
    transcript.served();
}

async fn until_it_sleeps(config: &tokio_postgres::Config) {
    let (client, connection) = config.connect(NoTls).await.unwrap();
    tokio::spawn(connection);
    const ASLEEP: &str = "SELECT EXISTS (SELECT FROM pg_stat_activity \
         WHERE datname = current_database() AND wait_event = 'PgSleep')";
    while !client.query_one(ASLEEP, &[]).await.unwrap().get::<_, bool>(0) {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

async fn listening(config: &tokio_postgres::Config, transcript: &mut Transcript) {
    let (client, connection) = config.connect(NoTls).await.unwrap();
    let (driven, mut messages) = drive(connection);
    if transcript.is_refused(&client, "LISTEN", "LISTEN news").await {
        return;
    }
    client.batch_execute("LISTEN news").await.unwrap();
    client.batch_execute("NOTIFY news, 'to itself'").await.unwrap();
    let heard = messages.recv().await;
    let Some(AsyncMessage::Notification(heard)) = heard else { panic!("{heard:?}") };
    transcript.check("notification", (heard.channel(), heard.payload()), ("news", "to itself"));
    transcript.served();
    drop(client);
    driven.await.unwrap();
}

/// Drives a connection to its end; what the server says unasked comes out of the channel.
fn drive(
    mut connection: tokio_postgres::Connection<Socket, NoTlsStream>,
) -> (JoinHandle<()>, mpsc::UnboundedReceiver<AsyncMessage>) {
    let (sender, messages) = mpsc::unbounded_channel();
    let driven = tokio::spawn(async move {
        let mut stream = futures_util::stream::poll_fn(move |cx| connection.poll_message(cx));
        while let Some(Ok(message)) = stream.next().await {
            drop(sender.send(message));
        }
    });
    (driven, messages)
}
