-- express-session 1.19.0 + connect-pg-simple 10.0.0 + pg 8.23.1
-- Captured between client and PostgreSQL 15.18: all messages, deduplicated (literals, IN-list length, savepoint names normalised; first exemplar kept).
-- Distinct statements: DDL=1, DML=4, READ=2; executions=12
-- Protocol: {"B:1": 11, "B:2": 11, "B:C": 14, "B:R": 1, "B:T": 8, "B:Z": 13, "B:n": 3, "Describe P": 11, "F:B": 11, "F:D": 11, "F:E": 11, "F:EOF": 1, "F:P": 11, "F:Q": 1, "F:S": 11, "F:Startup": 1, "F:X": 1, "Parse unnamed": 11}
-- Startup parameters: [["3.0", {"client_encoding": "UTF8"}]]
-- Result column types: {"json": 4, "varchar": 3, "2205": 1} result formats(0=text,1=binary): {"0": 8}
-- Parameter types (ParameterDescription): {}
-- SQL features (distinct/executions/distinct-in-DML): RETURNING 2/3/2, ON CONFLICT DO UPDATE 1/1/1, INSERT..SELECT 1/1/1, ::cast 1/1/0, to_timestamp() 4/8/3, pg_catalog/information_schema 1/1/0, quoted mixed-case ident 1/1/0, multi-statement Query 1/1/0
-- Server errors seen: none
-- Per statement:  -- [kind proto xEXECUTIONS first-phase] declared param oids, example params, tags, errors

-- ==== phase: login

-- [READ ext x1] tags={"SELECT n": 1}
--   e.g. params ["\"session\""]
SELECT to_regclass($1::text);

-- [DDL simple x1] tags={"CREATE TABLE": 1, "ALTER TABLE": 1, "CREATE INDEX": 1}
CREATE TABLE "session" (
  "sid" varchar NOT NULL COLLATE "default",
  "sess" json NOT NULL,
  "expire" timestamp(6) NOT NULL
)
WITH (OIDS=FALSE);

ALTER TABLE "session" ADD CONSTRAINT "session_pkey" PRIMARY KEY ("sid") NOT DEFERRABLE INITIALLY IMMEDIATE;

CREATE INDEX "IDX_session_expire" ON "session" ("expire");

-- [DML ext x2] tags={"DELETE n": 2}
--   e.g. params ["u7ntfrYxSD3ZevkUkMg16_3hS3pdpknP"]
DELETE FROM "session" WHERE sid = $1;

-- [DML ext x1] tags={"INSERT 0 n": 1}
--   e.g. params ["{\"cookie\":{\"originalMaxAge\":3600000,\"expires\":\"2026-11-20T19:12:35.715Z\",\"httpOnly\":true,\"path\":\"/\"},\"user\":\"alice é'\"}", "1795201956", "b5oP5BUjITyYhFtG0pmSqgHbNRZ89gSY"]
INSERT INTO "session" (sess, expire, sid) SELECT $1, to_timestamp($2), $3 ON CONFLICT (sid) DO UPDATE SET sess=$1, expire=to_timestamp($2) RETURNING sid;

-- ==== phase: me

-- [READ ext x4] tags={"SELECT n": 4}
--   e.g. params ["b5oP5BUjITyYhFtG0pmSqgHbNRZ89gSY", "1795198356"]
SELECT sess FROM "session" WHERE sid = $1 AND expire >= to_timestamp($2);

-- [DML ext x2] tags={"UPDATE n": 2}
--   e.g. params ["1795201956", "b5oP5BUjITyYhFtG0pmSqgHbNRZ89gSY"]
UPDATE "session" SET expire = to_timestamp($1) WHERE sid = $2 RETURNING sid;

-- ==== phase: prune

-- [DML ext x1] tags={"DELETE n": 1}
--   e.g. params ["1795198356"]
DELETE FROM "session" WHERE expire < to_timestamp($1);
