//! A driver that speaks binary, while MySQL answers: what it sees is what it sees of PostgreSQL. The others are
//! in tests/moved/drivers.rs.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::BytesMut;
use tokio_postgres::types::{FromSql, IsNull, Kind, ToSql, Type};
use tokio_postgres::{Client, Row};

use super::Site;
use crate::support::Target;

type Failure = Box<dyn std::error::Error + Sync + Send>;

const SCHEMA: &str = include_str!("../drivers/schema.sql");

async fn site(target: Target) -> Site {
    Site::start(target, SCHEMA, "").await
}

/// tokio-postgres speaks binary, and asks the catalogue about every type it does not know.
#[tokio::test]
async fn tokio_postgres_sees_no_difference() {
    for target in Target::all() {
        let site = site(target).await;
        let mut printed = Vec::new();
        for client in [site.world.direct().await, site.client().await] {
            printed.push(observations(&client).await);
        }
        assert_eq!(printed[1], printed[0], "{target:?}");
    }
}

async fn observations(client: &Client) -> Vec<String> {
    let mut seen = Vec::new();
    let insert = "INSERT INTO account (email, standing, tags, secret, seen) \
                  VALUES ($1, $2, $3, $4, $5) RETURNING id, standing, tags, secret, seen, admin";
    let insert = client.prepare(insert).await.unwrap();
    seen.push(format!("{:?} {:?}", insert.params(), insert.columns()));
    let tags = vec![Some("a"), None, Some("c d")];
    let at = UNIX_EPOCH + Duration::from_micros(1_709_251_199_123_456);
    for (email, standing) in [("t@x", Some("active")), ("u@x", Some("banned"))] {
        let standing = standing.map(Label);
        let values: [&(dyn ToSql + Sync); 5] = [&email, &standing, &tags, &&[0_u8, 255][..], &at];
        let row = client.query_one(&insert, &values).await.unwrap();
        let (id, label): (i64, Label<String>) = (row.get(0), row.get(1));
        let (tags, secret): (Vec<Option<String>>, Vec<u8>) = (row.get(2), row.get(3));
        let (seen_at, admin): (SystemTime, bool) = (row.get(4), row.get(5));
        seen.push(format!("{id} {} {tags:?} {secret:?} {seen_at:?} {admin}", label.0));
    }
    let both = client.prepare("SELECT id, email FROM account WHERE id = ANY($1) ORDER BY id").await;
    let both = both.unwrap();
    // Pipelined: the second is sent before the first is answered.
    let (first, second) = (vec![1_i64, 2], vec![2_i64, 9]);
    let (one, two): ([&(dyn ToSql + Sync); 1], [&(dyn ToSql + Sync); 1]) = ([&first], [&second]);
    let (first, second) = tokio::join!(client.query(&both, &one), client.query(&both, &two));
    let ids = |rows: Vec<Row>| rows.iter().map(|row| row.get::<_, i64>(0)).collect::<Vec<_>>();
    seen.push(format!("{:?} {:?}", ids(first.unwrap()), ids(second.unwrap())));
    let wrong = client.query("SELECT id FROM account WHERE standing = $1", &[&Label("sad")]).await;
    let error = wrong.unwrap_err();
    let error = error.as_db_error().unwrap();
    seen.push(format!("{} {}", error.code().code(), error.message()));
    let affected = client.execute("UPDATE account SET admin = true WHERE id > $1", &[&0_i64]).await;
    seen.push(format!("{affected:?}"));
    seen
}

/// A label of an enum, whatever its type is called.
#[derive(Debug)]
struct Label<T = &'static str>(T);

impl ToSql for Label {
    fn to_sql(&self, ty: &Type, out: &mut BytesMut) -> Result<IsNull, Failure> {
        assert!(matches!(ty.kind(), Kind::Enum(_)));
        self.0.to_sql(&Type::TEXT, out)
    }

    fn accepts(ty: &Type) -> bool {
        matches!(ty.kind(), Kind::Enum(_))
    }

    tokio_postgres::types::to_sql_checked!();
}

impl<'a> FromSql<'a> for Label<String> {
    fn from_sql(ty: &Type, raw: &'a [u8]) -> Result<Self, Failure> {
        assert!(matches!(ty.kind(), Kind::Enum(labels) if labels.len() == 3));
        Ok(Self(String::from_utf8(raw.to_vec())?))
    }

    fn accepts(ty: &Type) -> bool {
        matches!(ty.kind(), Kind::Enum(_))
    }
}
