//! sqlx does what an application does; each observation is checked, and printed.
//!
//! It prepares every statement under a name, describes it before it binds, and speaks binary.

use std::env;
use std::fmt::Debug;

use futures_util::TryStreamExt;
use sqlx::postgres::{PgConnectOptions, PgListener, PgPoolOptions, PgSslMode};
use sqlx::types::{Json, Uuid};
use sqlx::{Column, Connection, Executor, PgConnection, PgPool, Row, Statement};

type Failure = Box<dyn std::error::Error>;

fn check<T: PartialEq + Debug>(name: &str, got: T, want: T) {
    assert_eq!(got, want, "{name}");
    println!("ok {name} {got:?}");
}

fn code(error: &sqlx::Error) -> String {
    error.as_database_error().and_then(|error| error.code()).unwrap_or_default().into_owned()
}

/// What MySQL does not serve: there it has to be refused with 0A000. See unserved.mjs.
async fn unserved(
    what: &str,
    body: impl Future<Output = Result<(), Failure>>,
) -> Result<(), Failure> {
    println!("unserved: {what}");
    let done = body.await;
    if env::var("ANSWERS").is_ok_and(|answers| answers == "mysql") {
        let error = done.expect_err("it was served");
        let code = error.downcast_ref().map(code);
        assert_eq!(code.as_deref(), Some("0A000"), "{what}: {error}");
    } else {
        done?;
    }
    println!("served");
    Ok(())
}

/// The primary changes under the connection: until it has.
async fn held(conn: &mut PgConnection) -> Result<(), Failure> {
    check("prepared before", one_more(conn).await?, 2);
    if env::var_os("CHANGES").is_some() {
        println!("connected");
        std::io::stdin().read_line(&mut String::new())?;
    }
    check("executed after", one_more(conn).await?, 2);
    Ok(())
}

async fn one_more(conn: &mut PgConnection) -> sqlx::Result<i32> {
    sqlx::query_scalar("SELECT $1::int + 1").bind(1).fetch_one(conn).await
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Failure> {
    let options = PgConnectOptions::new()
        .host("127.0.0.1")
        .port(env::var("PGPORT")?.parse()?)
        .username(&env::var("PGUSER")?)
        .password(&env::var("PGPASSWORD")?)
        .database(&env::var("PGDATABASE")?)
        .ssl_mode(PgSslMode::Prefer);
    let mut conn = PgConnection::connect_with(&options).await?;
    held(&mut conn).await?;
    queries(&mut conn).await?;
    writes(&mut conn).await?;
    transactions(&mut conn).await?;
    unserved("COPY", copies(&mut conn)).await?;
    failures(&mut conn).await?;
    conn.close().await?;

    let pool = PgPoolOptions::new().max_connections(3).connect_with(options).await?;
    unserved("LISTEN", listens(&pool)).await?;
    // A dropped transaction is rolled back with the connection's next use.
    let mut dropped = pool.begin().await?;
    sqlx::query("INSERT INTO note VALUES (900, 'undone')").execute(&mut *dropped).await?;
    drop(dropped);
    let left: i64 =
        sqlx::query_scalar("SELECT count(*) FROM note WHERE id = 900").fetch_one(&pool).await?;
    check("a dropped transaction", left, 0);
    pool.close().await;
    Ok(())
}

async fn listens(pool: &PgPool) -> Result<(), Failure> {
    let mut listener = PgListener::connect_with(pool).await?;
    listener.listen("news").await?;
    sqlx::query("SELECT pg_notify('news', $1)").bind("payload").execute(pool).await?;
    check("notification", listener.recv().await?.payload(), "payload");
    Ok(())
}

async fn queries(conn: &mut PgConnection) -> Result<(), Failure> {
    let token = Uuid::from_u128(0xa0ee_bc99_9c0b_4ef8_bb6d_6bb9_bd38_0a11);
    let row = sqlx::query("SELECT $1::int8, $2::text, $3::uuid, $4::bytea, $5::text[], $6::jsonb, $7::float8, $8::bool")
        .bind(7_i64)
        .bind("é😀")
        .bind(token)
        .bind(vec![0_u8, 255])
        .bind(vec![Some("a"), None])
        .bind(Json(vec![1, 2]))
        .bind(0.1)
        .bind(None::<bool>)
        .fetch_one(&mut *conn)
        .await?;
    check(
        "numbers",
        (row.get::<i64, _>(0), row.get::<f64, _>(6), row.get::<Option<bool>, _>(7)),
        (7, 0.1, None),
    );
    check("text and bytes", (row.get(1), row.get::<Vec<u8>, _>(3)), ("é😀", vec![0, 255]));
    check("uuid", row.get::<Uuid, _>(2), token);
    check("array", row.get::<Vec<Option<String>>, _>(4), vec![Some("a".to_owned()), None]);
    check("jsonb", row.get::<Json<Vec<i32>>, _>(5).0, vec![1, 2]);
    let described = conn.prepare("SELECT id, email FROM account WHERE id = $1").await?;
    let names: Vec<&str> = described.columns().iter().map(Column::name).collect();
    check("described before Bind", names, vec!["id", "email"]);
    let many = conn.execute("SELECT 1; SELECT 2; INSERT INTO note VALUES (1, 'simple')").await?;
    check("several statements", many.rows_affected(), 3);
    let numbers: Vec<i32> = (1..=1000).collect();
    let series = "SELECT n FROM unnest($1::int[]) n ORDER BY n";
    let streamed: Vec<i32> = sqlx::query_scalar::<_, i32>(series)
        .bind(&numbers[..300])
        .fetch(&mut *conn)
        .try_collect()
        .await?;
    check("row by row", (streamed.len(), streamed[299]), (300, 300));
    let first: i32 = sqlx::query_scalar(series).bind(&numbers).fetch_one(&mut *conn).await?;
    check("only the first row", first, 1);
    let series = async {
        let all = sqlx::query_scalar("SELECT generate_series(1, $1::int)").bind(7);
        check("a series", all.fetch_all(&mut *conn).await?, (1..=7).collect::<Vec<i32>>());
        Ok(())
    };
    unserved("generate_series in a select list", series).await
}

async fn writes(conn: &mut PgConnection) -> Result<(), Failure> {
    for (number, email) in ["a@x", "b@x", "c@x"].into_iter().enumerate() {
        let id: i64 =
            sqlx::query_scalar("INSERT INTO account (email, data) VALUES ($1, $2) RETURNING id")
                .bind(email)
                .bind(Json(number))
                .fetch_one(&mut *conn)
                .await?;
        check("returning", id, number as i64 + 1);
    }
    let updated = sqlx::query("UPDATE account SET balance = balance + 1.5 WHERE id <= $1")
        .bind(2_i64)
        .execute(&mut *conn)
        .await?;
    check("updated", updated.rows_affected(), 2);
    let ids = vec![10, 11, 12];
    let unnest =
        sqlx::query("INSERT INTO device SELECT id, 1, 'd' || id FROM unnest($1::int[]) AS id")
            .bind(&ids)
            .execute(&mut *conn)
            .await?;
    check("from arrays", unnest.rows_affected(), 3);
    let gone: Vec<(i32, String)> =
        sqlx::query_as("DELETE FROM device WHERE id = ANY($1) RETURNING id, name")
            .bind(&ids[1..])
            .fetch_all(&mut *conn)
            .await?;
    check("deleted", gone, vec![(11, "d11".to_owned()), (12, "d12".to_owned())]);
    let row = sqlx::query("INSERT INTO account (email) VALUES ($1) ON CONFLICT (email) DO UPDATE SET admin = true RETURNING *")
        .bind("a@x")
        .fetch_one(&mut *conn)
        .await?;
    check(
        "returning star",
        (row.get::<i64, _>("id"), row.get::<bool, _>("admin"), row.len()),
        (1, true, 11),
    );
    Ok(())
}

async fn transactions(conn: &mut PgConnection) -> Result<(), Failure> {
    let mut outer = conn.begin().await?;
    sqlx::query("INSERT INTO note VALUES (2, 'kept')").execute(&mut *outer).await?;
    let mut inner = outer.begin().await?;
    sqlx::query("INSERT INTO note VALUES (3, 'undone')").execute(&mut *inner).await?;
    let twice = sqlx::query("INSERT INTO note VALUES (2, 'twice')").execute(&mut *inner).await;
    check("inside", code(&twice.unwrap_err()), "23505".to_owned());
    inner.rollback().await?;
    let mut second = outer.begin().await?;
    sqlx::query("UPDATE note SET body = 'changed' WHERE id = 2").execute(&mut *second).await?;
    second.commit().await?;
    outer.commit().await?;
    let notes: Vec<(i32, String)> =
        sqlx::query_as("SELECT * FROM note ORDER BY id").fetch_all(&mut *conn).await?;
    check("savepoints", notes, vec![(1, "simple".to_owned()), (2, "changed".to_owned())]);
    Ok(())
}

async fn copies(conn: &mut PgConnection) -> Result<(), Failure> {
    let mut copy = conn.copy_in_raw("COPY note FROM STDIN").await?;
    copy.send("100\tx\n101\t".as_bytes()).await?;
    copy.send("\\N\n".as_bytes()).await?;
    check("copied in", copy.finish().await?, 2);
    let given_up = conn.copy_in_raw("COPY note FROM STDIN").await?;
    given_up.abort("given up").await?;
    let blocks: Vec<_> = conn
        .copy_out_raw("COPY (SELECT * FROM note WHERE 100 <= id ORDER BY 1) TO STDOUT (FORMAT csv)")
        .await?
        .try_collect()
        .await?;
    check("copied out", String::from_utf8(blocks.concat())?, "100,x\n101,\n".to_owned());
    Ok(())
}

async fn failures(conn: &mut PgConnection) -> Result<(), Failure> {
    for (statement, want) in [
        ("INSERT INTO account (email) VALUES ('a@x')", "23505"),
        ("INSERT INTO device VALUES (1, 999, 'orphan')", "23503"),
        ("UPDATE account SET emial = 'x'", "42703"),
        ("SELECT 1/0", "22012"),
    ] {
        let error = sqlx::query(statement).execute(&mut *conn).await.unwrap_err();
        check(statement, code(&error), want.to_owned());
        println!("{error}");
    }
    check("still usable", sqlx::query_scalar::<_, i32>("SELECT 1").fetch_one(conn).await?, 1);
    Ok(())
}
