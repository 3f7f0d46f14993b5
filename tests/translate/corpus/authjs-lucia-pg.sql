-- lucia 3.2.2 + @lucia-auth/adapter-postgresql 3.1.2 NodePostgresAdapter
-- Captured between client and PostgreSQL 15.18: all messages, deduplicated (literals, IN-list length, savepoint names normalised; first exemplar kept).
-- Distinct statements: DDL=1, DML=5, READ=3; executions=9
-- Protocol: {"B:1": 8, "B:2": 8, "B:C": 11, "B:R": 3, "B:T": 3, "B:Z": 12, "B:n": 5, "Describe P": 8, "F:B": 8, "F:D": 8, "F:E": 8, "F:EOF": 3, "F:P": 8, "F:Q": 1, "F:S": 8, "F:Startup": 3, "F:X": 3, "Parse unnamed": 8}
-- Startup parameters: [["3.0", {"client_encoding": "UTF8"}]]
-- Result column types: {"text": 8, "timestamptz": 2} result formats(0=text,1=binary): {"0": 10}
-- Parameter types (ParameterDescription): {}
-- SQL features (distinct/executions/distinct-in-DML): JOIN 1/1/0, multi-statement Query 1/1/0
-- Server errors seen: none
-- Per statement:  -- [kind proto xEXECUTIONS first-phase] declared param oids, example params, tags, errors

-- ==== phase: 

-- [DDL simple x1] tags={"CREATE TABLE": 2, "INSERT 0 n": 1}
CREATE TABLE auth_user (id TEXT PRIMARY KEY, username text); CREATE TABLE user_session (id TEXT PRIMARY KEY, expires_at TIMESTAMPTZ NOT NULL, user_id TEXT NOT NULL REFERENCES auth_user(id), country text); INSERT INTO auth_user VALUES ('u1','alice');

-- ==== phase: createSession

-- [DML ext x1] tags={"INSERT 0 n": 1}
--   e.g. params ["v2t46qfhr7mzx4uakxx2wolpwusfhn3qofintz56", "u1", "2026-12-20T18:12:37.571+00:00", "SE"]
INSERT INTO "user_session" ("id", "user_id", "expires_at", "country") VALUES ($1, $2, $3, $4);

-- ==== phase: validateSession

-- [READ ext x1] tags={"SELECT n": 1}
--   e.g. params ["v2t46qfhr7mzx4uakxx2wolpwusfhn3qofintz56"]
SELECT * FROM "user_session" WHERE id = $1;

-- [READ ext x1] tags={"SELECT n": 1}
--   e.g. params ["v2t46qfhr7mzx4uakxx2wolpwusfhn3qofintz56"]
SELECT "auth_user".* FROM "user_session" INNER JOIN "auth_user" ON "auth_user".id = "user_session".user_id WHERE "user_session".id = $1;

-- ==== phase: update expiration

-- [DML ext x1] tags={"UPDATE n": 1}
--   e.g. params ["2026-11-20T20:59:17.603+00:00", "v2t46qfhr7mzx4uakxx2wolpwusfhn3qofintz56"]
UPDATE "user_session" SET expires_at = $1 WHERE id = $2;

-- ==== phase: getUserSessions

-- [READ ext x1] tags={"SELECT n": 1}
--   e.g. params ["u1"]
SELECT * FROM "user_session" WHERE user_id = $1;

-- ==== phase: invalidate

-- [DML ext x1] tags={"DELETE n": 1}
--   e.g. params ["v2t46qfhr7mzx4uakxx2wolpwusfhn3qofintz56"]
DELETE FROM "user_session" WHERE id = $1;

-- ==== phase: invalidateAll

-- [DML ext x1] tags={"DELETE n": 1}
--   e.g. params ["u1"]
DELETE FROM "user_session" WHERE user_id = $1;

-- ==== phase: deleteExpired

-- [DML ext x1] tags={"DELETE n": 1}
--   e.g. params ["2026-11-20T18:12:37.615+00:00"]
DELETE FROM "user_session" WHERE expires_at <= $1;
