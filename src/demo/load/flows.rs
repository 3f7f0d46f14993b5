//! What a client of an auth service does, in the statements that such services send.
//!
//! Between them the flows use autocommit, transactions, savepoints and rollbacks; simple, prepared
//! and pipelined statements; upserts, INSERT … SELECT, UPDATE … FROM, DELETE … USING, writes in WITH,
//! key changes and cascades.

use std::net::IpAddr;

use rand::Rng;
use rand::seq::IndexedRandom;
use tokio_postgres::Error;
use tokio_postgres::types::ToSql;

use super::{Flow, Worker};

/// A user this client has signed up.
#[derive(Clone, Copy, Debug)]
pub(super) struct User {
    id: i64,
}

/// A session this client has opened.
#[derive(Clone, Debug)]
pub(super) struct Session {
    /// As text: the application passes it on and never looks inside.
    id: String,
    token: [u8; 16],
}

/// What the application writes before it serves anyone.
pub(super) const ROLES: &str = "INSERT INTO roles VALUES (1, 'member', '{read}'), \
     (2, 'admin', '{read,write,\"manage users\"}'), (3, 'none', '{}')";

/// Users and sessions that one client remembers, so that the demo's memory is bounded.
const REMEMBERED_MAX: usize = 200;

impl Worker {
    /// One flow, chosen as an auth service would see them: mostly logins and refreshes.
    pub(super) async fn flow(&mut self) -> Result<Flow, Error> {
        if self.users.len() < 3 {
            return self.sign_up().await.map(|()| Flow::Other);
        }
        match self.random.random_range(0..100) {
            0..8 => self.sign_up().await,
            8..38 => return self.log_in().await.map(|()| Flow::Login),
            38..58 => self.refresh().await,
            58..68 => self.seen().await,
            68..76 => self.log_in_by_code().await,
            76..81 => self.change_profile().await,
            81..85 => self.link_identity().await,
            85..89 => self.take_an_address_that_is_taken().await,
            89..92 => self.change_tenant().await,
            92..95 => self.think_again().await,
            95..98 => self.log_out().await,
            98 => self.clean_up().await,
            _ => self.leave().await,
        }
        .map(|()| Flow::Other)
    }

    fn user(&mut self) -> User {
        *self.users.choose(&mut self.random).expect("a flow starts with three users at least")
    }

    /// One transaction over four tables; the tenant is made by whoever comes first.
    async fn sign_up(&mut self) -> Result<(), Error> {
        let number = self.random.random_range(0..6);
        let (tenant, name) = (format!("tenant-{number}"), format!("Tenant {number}"));
        self.signed_up += 1;
        let email = format!("User{}.{}@Example.org", self.number, self.signed_up);
        let picture: [u8; 24] = self.random.random();
        let transaction = self.client.transaction().await?;
        transaction
            .execute(
                "INSERT INTO tenants (slug, name, settings) VALUES ($1, $2, '{\"mfa\": false}') \
                 ON CONFLICT (slug) DO NOTHING",
                &[&tenant, &name],
            )
            .await?;
        let row = transaction
            .query_one(
                "INSERT INTO users (tenant_id, email, name, picture, birthday, quiet_from, profile) \
                 SELECT id, $2::text, $3, $4, date '1970-01-01' + ($5::int * 17), time '22:30', \
                 jsonb_build_object('theme', 'dark', 'visits', $5::int, 'beta', false) \
                 FROM tenants WHERE slug = $1 RETURNING id, created_at",
                &[&tenant, &email, &"Zoë 😀 O'Neill", &&picture[..], &(self.signed_up as i32)],
            )
            .await?;
        let id: i64 = row.get(0);
        let hash = format!("$argon2id$v=19$m=65536${:032x}", self.random.random::<u128>());
        transaction
            .execute(
                "INSERT INTO passwords (user_id, algorithm, hash, iterations) VALUES ($1, 'argon2id', $2, 3)",
                &[&id, &hash],
            )
            .await?;
        transaction
            .execute(
                "INSERT INTO user_roles SELECT $1::bigint, id FROM roles WHERE id <= $2",
                &[&id, &self.random.random_range(1..=2_i16)],
            )
            .await?;
        transaction.commit().await?;
        self.users.push(User { id });
        self.forget_the_oldest();
        self.log(id, "sign_up").await
    }

    /// Reads, then writes in autocommit, as services without transactions do.
    async fn log_in(&mut self) -> Result<(), Error> {
        let user = self.user();
        let found = self
            .client
            .query_opt(
                "SELECT u.active, p.hash FROM users u JOIN passwords p ON p.user_id = u.id WHERE u.id = $1",
                &[&user.id],
            )
            .await?;
        if found.is_none() {
            return Ok(());
        }
        let token: [u8; 16] = self.random.random();
        let address = IpAddr::from([10, 0, (user.id % 250) as u8, 7]);
        let row = self
            .client
            .query_one(
                "INSERT INTO sessions (id, user_id, address, user_agent, expires_at) \
                 VALUES (gen_random_uuid(), $1, $2, $3, now() + interval '30 days') \
                 RETURNING *, id::text AS shown",
                &[&user.id, &address, &"Mozilla/5.0 (X11; Linux x86_64)"],
            )
            .await?;
        let id: String = row.get("shown");
        self.client
            .execute(
                "INSERT INTO refresh_tokens (hash, session_id) VALUES ($1, $2::text::uuid)",
                &[&&token[..], &id],
            )
            .await?;
        self.client
            .execute(
                "UPDATE users SET login_count = login_count + 1, risk = risk * 0.9 + 0.01, \
                 trust = $2, updated_at = now() WHERE id = $1",
                &[&user.id, &self.random.random::<f32>()],
            )
            .await?;
        self.sessions.push(Session { id, token });
        self.forget_the_oldest();
        self.log(user.id, "login").await
    }

    /// The old token is used up and the new one made by one statement.
    async fn refresh(&mut self) -> Result<(), Error> {
        let at = match self.sessions.len() {
            0 => return self.log_in().await,
            sessions => self.random.random_range(0..sessions),
        };
        let fresh: [u8; 16] = self.random.random();
        let made = self
            .client
            .execute(
                "WITH used AS (UPDATE refresh_tokens SET used_at = now() \
                 WHERE hash = $1 AND used_at IS NULL RETURNING session_id, generation) \
                 INSERT INTO refresh_tokens (hash, session_id, generation) \
                 SELECT $2::bytea, session_id, generation + 1 FROM used",
                &[&&self.sessions[at].token[..], &&fresh[..]],
            )
            .await?;
        match made {
            0 => drop(self.sessions.swap_remove(at)),
            _ => self.sessions[at].token = fresh,
        }
        Ok(())
    }

    /// Several statements in flight at once: a pipeline.
    async fn seen(&mut self) -> Result<(), Error> {
        let Some(session) = self.sessions.last().cloned() else { return Ok(()) };
        let (user, id) = (self.user(), session.id);
        let client = &self.client;
        let (session, user): ([&(dyn ToSql + Sync); 1], [&(dyn ToSql + Sync); 1]) =
            ([&id], [&user.id]);
        let (touched, counted, logged) = tokio::join!(
            client.execute(
                "UPDATE sessions SET seen_at = clock_timestamp() WHERE id = $1::text::uuid",
                &session,
            ),
            client.query_one("SELECT count(*) FROM sessions WHERE user_id = $1", &user),
            client.execute("INSERT INTO logs (user_id, kind) VALUES ($1, 'seen')", &user),
        );
        touched?;
        counted?;
        logged.map(drop)
    }

    /// A code that is made, tried and consumed, through its key's change.
    async fn log_in_by_code(&mut self) -> Result<(), Error> {
        let code = format!("{:06}", self.random.random_range(0..1_000_000));
        let email = format!("user{}@example.org", self.number);
        self.client
            .execute(
                "INSERT INTO codes (code, email, purpose) VALUES ($1, $2, 'login') \
                 ON CONFLICT (code) DO UPDATE SET attempts = codes.attempts + 1, email = EXCLUDED.email, \
                 consumed_at = NULL",
                &[&code, &email],
            )
            .await?;
        // Applications that inline their literals send texts that never repeat.
        self.client
            .batch_execute(&format!(
                "UPDATE codes SET attempts = attempts + 1 WHERE code = '{code}' AND attempts < 9"
            ))
            .await?;
        self.client
            .execute(
                "UPDATE codes SET code = code || '-' || $2::text, consumed_at = now() WHERE code = $1",
                &[&code, &format!("{:016x}", self.random.random::<u64>())],
            )
            .await
            .map(drop)
    }

    /// UPDATE … FROM, with values out of the documents themselves.
    async fn change_profile(&mut self) -> Result<(), Error> {
        let user = self.user();
        let locale = *["en", "sv-SE", "de-CH"].choose(&mut self.random).expect("three locales");
        self.client
            .query(
                "UPDATE users u SET locale = $2::text::char(5), \
                 profile = jsonb_set(jsonb_set(u.profile, '{tenant}', to_jsonb(t.slug)), '{locale}', \
                 to_jsonb($2::text)) \
                 FROM tenants t WHERE t.id = u.tenant_id AND u.id = $1 RETURNING u.profile ->> 'tenant'",
                &[&user.id, &locale],
            )
            .await
            .map(drop)
    }

    async fn link_identity(&mut self) -> Result<(), Error> {
        let user = self.user();
        let provider =
            *["google", "github", "entra"].choose(&mut self.random).expect("three of them");
        self.client
            .execute(
                "INSERT INTO identities (provider, subject, user_id, claims) \
                 SELECT $1::text, 'sub-' || $2::bigint % 97, id, json_build_object('iss', $1::text, 'aud', 'demo') \
                 FROM users WHERE id = $2::bigint ON CONFLICT DO NOTHING",
                &[&provider, &user.id],
            )
            .await
            .map(drop)
    }

    /// A clash under a savepoint: undone in part, and the rest is kept.
    async fn take_an_address_that_is_taken(&mut self) -> Result<(), Error> {
        let (user, other) = (self.user(), self.user());
        let mut transaction = self.client.transaction().await?;
        transaction.execute("UPDATE users SET name = 'taken' WHERE id = $1", &[&user.id]).await?;
        let savepoint = transaction.savepoint("address").await?;
        let clash = savepoint
            .execute(
                "UPDATE users SET email = (SELECT email FROM users o WHERE o.id = $2) WHERE id = $1",
                &[&user.id, &other.id],
            )
            .await;
        match clash {
            // No clash where the two are one, or of different tenants, or the other one has left.
            Ok(_) => savepoint.rollback().await?,
            Err(error) if super::is_passing(&error) => return Err(error),
            Err(_) => savepoint.rollback().await?,
        }
        transaction
            .execute("UPDATE users SET name = name || '!' WHERE id = $1", &[&user.id])
            .await?;
        transaction.commit().await
    }

    /// Exact decimals, and a document changed in place, with the literals in the text.
    async fn change_tenant(&mut self) -> Result<(), Error> {
        let (slug, cents) = (self.random.random_range(0..6), self.random.random_range(0..100_000));
        let plan = if 10_000 < cents { "team" } else { "free" };
        self.client
            .batch_execute(&format!(
                "UPDATE tenants SET monthly_price = {}.{:02}, plan = '{plan}', \
                 settings = jsonb_set(settings, '{{seen}}', to_jsonb(now())) WHERE slug = 'tenant-{slug}'",
                cents / 100,
                cents % 100,
            ))
            .await
    }

    /// Writes that never happened.
    async fn think_again(&mut self) -> Result<(), Error> {
        let user = self.user();
        let transaction = self.client.transaction().await?;
        transaction.execute("DELETE FROM sessions WHERE user_id = $1", &[&user.id]).await?;
        transaction.execute("UPDATE users SET active = false WHERE id = $1", &[&user.id]).await?;
        transaction.rollback().await
    }

    /// The session's tokens go with it, by a cascade that no statement names.
    async fn log_out(&mut self) -> Result<(), Error> {
        let Some(session) = self.sessions.pop() else { return Ok(()) };
        self.client
            .execute("DELETE FROM sessions WHERE id = $1::text::uuid", &[&session.id])
            .await
            .map(drop)
    }

    async fn clean_up(&mut self) -> Result<(), Error> {
        self.client
            .execute(
                "DELETE FROM codes c USING (SELECT code FROM codes WHERE consumed_at IS NOT NULL \
                 ORDER BY code LIMIT 5 FOR UPDATE SKIP LOCKED) old WHERE c.code = old.code",
                &[],
            )
            .await?;
        self.client
            .execute(
                "WITH old AS (DELETE FROM logs WHERE id IN (SELECT id FROM logs ORDER BY id LIMIT 20 \
                 FOR UPDATE SKIP LOCKED) RETURNING id) SELECT count(*) FROM old",
                &[],
            )
            .await
            .map(drop)
    }

    /// A user goes, and four tables' rows with it.
    async fn leave(&mut self) -> Result<(), Error> {
        let user = self.users.swap_remove(0);
        self.client.execute("DELETE FROM users WHERE id = $1", &[&user.id]).await?;
        self.log(user.id, "left").await
    }

    async fn log(&mut self, user: i64, kind: &str) -> Result<(), Error> {
        self.client
            .execute(
                "INSERT INTO logs (user_id, kind, address, details) VALUES ($1, $2, '192.0.2.0/24', \
                 jsonb_build_object('client', $3::int, 'note', E'tab\\tand \"quotes\"'))",
                &[&user, &kind, &(self.number as i32)],
            )
            .await
            .map(drop)
    }

    fn forget_the_oldest(&mut self) {
        if self.users.len() > REMEMBERED_MAX {
            self.users.remove(0);
        }
        if self.sessions.len() > REMEMBERED_MAX {
            self.sessions.remove(0);
        }
    }
}
