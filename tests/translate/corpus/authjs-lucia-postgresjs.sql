-- lucia 3.2.2 + @lucia-auth/adapter-postgresql PostgresJsAdapter + postgres.js 3.4.9
-- Captured between client and PostgreSQL 15.18: all messages, deduplicated (literals, IN-list length, savepoint names normalised; first exemplar kept).
-- Distinct statements: DDL=1, DML=5, READ=4; executions=11
-- Protocol: {"B:1": 10, "B:2": 10, "B:C": 13, "B:R": 3, "B:T": 5, "B:Z": 14, "B:n": 5, "B:t": 10, "Describe S": 10, "F:B": 10, "F:D": 10, "F:E": 10, "F:EOF": 3, "F:H": 8, "F:P": 10, "F:Q": 1, "F:S": 10, "F:Startup": 3, "F:X": 3, "Parse named": 2, "Parse unnamed": 8, "Parse with param OIDs": 3}
-- Startup parameters: [["3.0", {"client_encoding": "UTF8"}], ["3.0", {"client_encoding": "UTF8", "application_name": "postgres.js"}]]
-- Result column types: {"text": 8, "26": 4, "timestamptz": 2} result formats(0=text,1=binary): {"0": 14}
-- Parameter types (ParameterDescription): {"text": 9, "timestamptz": 3}
-- SQL features (distinct/executions/distinct-in-DML): pg_catalog/information_schema 1/2/0, GROUP BY 1/2/0, JOIN 2/3/0, multi-statement Query 1/1/0
-- Server errors seen: none
-- Per statement:  -- [kind proto xEXECUTIONS first-phase] declared param oids, example params, tags, errors

-- ==== phase: 

-- [DDL simple x1] tags={"CREATE TABLE": 2, "INSERT 0 n": 1}
CREATE TABLE auth_user (id TEXT PRIMARY KEY, username text); CREATE TABLE user_session (id TEXT PRIMARY KEY, expires_at TIMESTAMPTZ NOT NULL, user_id TEXT NOT NULL REFERENCES auth_user(id), country text); INSERT INTO auth_user VALUES ('u1','alice');

-- ==== phase: createSession

-- [READ ext named x2] tags={"SELECT n": 2}
select b.oid, b.typarray
      from pg_catalog.pg_type a
      left join pg_catalog.pg_type b on b.oid = a.typelem
      where a.typcategory = 'A'
      group by b.oid, b.typarray
      order by b.oid;

-- [DML ext x1] parse_oids=-,-,timestamptz,- tags={"INSERT 0 n": 1}
--   e.g. params ["evzg3vo3yquwn3g4ks6hmbvmwimsi5tbjbfjkbom", "u1", "2026-12-20T18:12:39.011Z", "SE"]
INSERT INTO "user_session" ("id", "user_id", "expires_at", "country") VALUES ($1, $2, $3, $4);

-- ==== phase: validateSession

-- [READ ext x1] tags={"SELECT n": 1}
--   e.g. params ["evzg3vo3yquwn3g4ks6hmbvmwimsi5tbjbfjkbom"]
SELECT * FROM "user_session" WHERE id = $1;

-- [READ ext x1] tags={"SELECT n": 1}
--   e.g. params ["evzg3vo3yquwn3g4ks6hmbvmwimsi5tbjbfjkbom"]
SELECT "auth_user".* FROM "user_session" INNER JOIN "auth_user" ON "auth_user".id = "user_session".user_id WHERE "user_session".id = $1;

-- ==== phase: update expiration

-- [DML ext x1] parse_oids=timestamptz,- tags={"UPDATE n": 1}
--   e.g. params ["2026-11-20T20:59:19.075Z", "evzg3vo3yquwn3g4ks6hmbvmwimsi5tbjbfjkbom"]
UPDATE "user_session" SET expires_at = $1 WHERE id = $2;

-- ==== phase: getUserSessions

-- [READ ext x1] tags={"SELECT n": 1}
--   e.g. params ["u1"]
SELECT * FROM "user_session" WHERE user_id = $1;

-- ==== phase: invalidate

-- [DML ext x1] tags={"DELETE n": 1}
--   e.g. params ["evzg3vo3yquwn3g4ks6hmbvmwimsi5tbjbfjkbom"]
DELETE FROM "user_session" WHERE id = $1;

-- ==== phase: invalidateAll

-- [DML ext x1] tags={"DELETE n": 1}
--   e.g. params ["u1"]
DELETE FROM "user_session" WHERE user_id = $1;

-- ==== phase: deleteExpired

-- [DML ext x1] parse_oids=timestamptz tags={"DELETE n": 1}
--   e.g. params ["2026-11-20T18:12:39.095Z"]
DELETE FROM "user_session" WHERE expires_at <= $1;
