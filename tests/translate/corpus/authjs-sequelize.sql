-- @auth/core 0.41.3 + @auth/sequelize-adapter 2.11.3 + sequelize 6.37.8 + pg 8.23.1
-- Captured between client and PostgreSQL 15.18: all messages, deduplicated (literals, IN-list length, savepoint names normalised; first exemplar kept).
-- Distinct statements: DDL=4, DML=12, READ=8, SESSION=1; executions=73
-- Protocol: {"B:1": 13, "B:2": 13, "B:C": 79, "B:R": 6, "B:T": 51, "B:Z": 79, "B:n": 4, "Describe P": 13, "F:B": 13, "F:D": 13, "F:E": 13, "F:EOF": 6, "F:P": 13, "F:Q": 60, "F:S": 13, "F:Startup": 6, "F:X": 6, "Parse unnamed": 13}
-- Startup parameters: [["3.0", {"client_encoding": "UTF8"}]]
-- Result column types: {"varchar": 87, "uuid": 38, "timestamptz": 32, "name": 18, "bool": 16, "text": 10, "22": 8, "int2[]": 8, "1003": 8, "26": 4, "int4": 2, "18": 1} result formats(0=text,1=binary): {"0": 232}
-- Parameter types (ParameterDescription): {}
-- SQL features (distinct/executions/distinct-in-DML): RETURNING 5/9/5, WITH (CTE) 1/1/0, INTERVAL 1/6/0, SET 1/6/0, pg_catalog/information_schema 3/17/0, GROUP BY 1/8/0, JOIN 1/1/0, quoted mixed-case ident 5/25/0, LIMIT/OFFSET 1/1/0, multi-statement Query 1/6/0, ON DELETE CASCADE (FK) 2/2/0, RETURNING * / many cols 5/9/5
-- Server errors seen: none
-- Per statement:  -- [kind proto xEXECUTIONS first-phase] declared param oids, example params, tags, errors

-- ==== phase: setup

-- [SESSION simple x6] tags={"SET": 12}
SET client_min_messages TO warning;SET TIME ZONE INTERVAL '+00:00' HOUR TO MINUTE;

-- [READ simple x1] tags={"SELECT n": 1}
WITH ranges AS (  SELECT pg_range.rngtypid, pg_type.typname AS rngtypname,         pg_type.typarray AS rngtyparray, pg_range.rngsubtype    FROM pg_range LEFT OUTER JOIN pg_type ON pg_type.oid = pg_range.rngtypid)SELECT pg_type.typname, pg_type.typtype, pg_type.oid, pg_type.typarray,       ranges.rngtypname, ranges.rngtypid, ranges.rngtyparray  FROM pg_type LEFT OUTER JOIN ranges ON pg_type.oid = ranges.rngsubtype WHERE (pg_type.typtype IN('b', 'e'));

-- [READ simple x8] tags={"SELECT n": 8}
SELECT table_name FROM information_schema.tables WHERE table_schema = 'public' AND table_name = 'users';

-- [DDL simple x1] tags={"CREATE TABLE": 1}
CREATE TABLE IF NOT EXISTS "users" ("id" UUID , "name" VARCHAR(255), "email" VARCHAR(255), "email_verified" TIMESTAMP WITH TIME ZONE, "image" VARCHAR(255), UNIQUE ("email"), PRIMARY KEY ("id"));

-- [READ simple x8] tags={"SELECT n": 8}
SELECT i.relname AS name, ix.indisprimary AS primary, ix.indisunique AS unique, ix.indkey AS indkey, array_agg(a.attnum) as column_indexes, array_agg(a.attname) AS column_names, pg_get_indexdef(ix.indexrelid) AS definition FROM pg_class t, pg_class i, pg_index ix, pg_attribute a WHERE t.oid = ix.indrelid AND i.oid = ix.indexrelid AND a.attrelid = t.oid AND t.relkind = 'r' and t.relname = 'users' GROUP BY i.relname, ix.indexrelid, ix.indisprimary, ix.indisunique, ix.indkey ORDER BY i.relname;

-- [DDL simple x1] tags={"CREATE TABLE": 1}
CREATE TABLE IF NOT EXISTS "accounts" ("id" UUID , "type" VARCHAR(255) NOT NULL, "provider" VARCHAR(255) NOT NULL, "provider_account_id" VARCHAR(255) NOT NULL, "refresh_token" VARCHAR(255), "access_token" VARCHAR(255), "expires_at" INTEGER, "token_type" VARCHAR(255), "scope" VARCHAR(255), "id_token" TEXT, "session_state" VARCHAR(255), "user_id" UUID REFERENCES "users" ("id") ON DELETE CASCADE ON UPDATE CASCADE, PRIMARY KEY ("id"));

-- [DDL simple x1] tags={"CREATE TABLE": 1}
CREATE TABLE IF NOT EXISTS "sessions" ("id" UUID , "expires" TIMESTAMP WITH TIME ZONE NOT NULL, "session_token" VARCHAR(255) NOT NULL, "user_id" UUID REFERENCES "users" ("id") ON DELETE CASCADE ON UPDATE CASCADE, UNIQUE ("session_token"), PRIMARY KEY ("id"));

-- [DDL simple x1] tags={"CREATE TABLE": 1}
CREATE TABLE IF NOT EXISTS "verification_tokens" ("token" VARCHAR(255) , "identifier" VARCHAR(255) NOT NULL, "expires" TIMESTAMP WITH TIME ZONE NOT NULL, PRIMARY KEY ("token"));

-- ==== phase: http.signin.email

-- [READ simple x7] tags={"SELECT n": 7}
SELECT "id", "name", "email", "email_verified" AS "emailVerified", "image" FROM "users" AS "user" WHERE "user"."email" = 'alice@example.com';

-- [DML ext x3] tags={"INSERT 0 n": 3}
--   e.g. params ["d763a7410c8dacacc76a8bcf1deb7395e7174cafa75328fd98428dc54795cf7a", "alice@example.com", "2026-11-20 19:12:34.077 +00:00"]
INSERT INTO "verification_tokens" ("token","identifier","expires") VALUES ($1,$2,$3) RETURNING "token","identifier","expires";

-- ==== phase: http.callback (creates user+session)

-- [READ simple x4] tags={"SELECT n": 4}
SELECT "token", "identifier", "expires" FROM "verification_tokens" AS "verificationToken" WHERE "verificationToken"."identifier" = 'alice@example.com' AND "verificationToken"."token" = 'd763a7410c8dacacc76a8bcf1deb7395e7174cafa75328fd98428dc54795cf7a';

-- [DML simple x4] tags={"DELETE n": 4}
DELETE FROM "verification_tokens" WHERE "identifier" = 'alice@example.com';

-- [DML ext x1] tags={"INSERT 0 n": 1}
--   e.g. params ["3c4b768d-2568-417d-9943-445e85a70023", "alice@example.com", "2026-11-20 18:12:34.107 +00:00"]
INSERT INTO "users" ("id","email","email_verified") VALUES ($1,$2,$3) RETURNING "id","name","email","email_verified","image";

-- [DML ext x3] tags={"INSERT 0 n": 3}
--   e.g. params ["61cc5268-5a21-40d3-bb0c-cae02e925db9", "2026-12-20 18:12:34.110 +00:00", "0a7b05f0-ff4b-428a-983b-18a274f9c571", "3c4b768d-2568-417d-9943-445e85a70023"]
INSERT INTO "sessions" ("id","expires","session_token","user_id") VALUES ($1,$2,$3,$4) RETURNING "id","expires","session_token","user_id";

-- ==== phase: http.session

-- [READ simple x6] tags={"SELECT n": 6}
SELECT "id", "expires", "session_token" AS "sessionToken", "user_id" AS "userId" FROM "sessions" AS "session" WHERE "session"."session_token" = '0a7b05f0-ff4b-428a-983b-18a274f9c571';

-- [READ simple x7] tags={"SELECT n": 7}
SELECT "id", "name", "email", "email_verified" AS "emailVerified", "image" FROM "users" AS "user" WHERE "user"."id" = '3c4b768d-2568-417d-9943-445e85a70023';

-- [DML ext x2] tags={"UPDATE n": 2}
--   e.g. params ["2026-12-20 18:12:34.122 +00:00", "0a7b05f0-ff4b-428a-983b-18a274f9c571", "0a7b05f0-ff4b-428a-983b-18a274f9c571"]
UPDATE "sessions" SET "expires"=$1,"session_token"=$2 WHERE "session_token" = $3;

-- ==== phase: http.signout

-- [DML simple x2] tags={"DELETE n": 2}
DELETE FROM "sessions" WHERE "session_token" = '0a7b05f0-ff4b-428a-983b-18a274f9c571';

-- ==== phase: http.callback.again

-- [DML ext x1] tags={"UPDATE n": 1}
--   e.g. params ["3c4b768d-2568-417d-9943-445e85a70023", "2026-11-20 18:12:34.154 +00:00", "3c4b768d-2568-417d-9943-445e85a70023"]
UPDATE "users" SET "id"=$1,"email_verified"=$2 WHERE "id" = $3;

-- ==== phase: adapter.createUser

-- [DML ext x1] tags={"INSERT 0 n": 1}
--   e.g. params ["2845a616-b78c-47d5-9541-837b25f72ac0", "Bob O'Hara \\ é😀", "bob@example.com", null, null]
INSERT INTO "users" ("id","name","email","email_verified","image") VALUES ($1,$2,$3,$4,$5) RETURNING "id","name","email","email_verified","image";

-- ==== phase: adapter.updateUser

-- [DML ext x1] tags={"UPDATE n": 1}
--   e.g. params ["2845a616-b78c-47d5-9541-837b25f72ac0", "Bob 2", "2026-11-20 18:12:34.166 +00:00", "2845a616-b78c-47d5-9541-837b25f72ac0"]
UPDATE "users" SET "id"=$1,"name"=$2,"email_verified"=$3 WHERE "id" = $4;

-- ==== phase: adapter.linkAccount

-- [DML ext x1] tags={"INSERT 0 n": 1}
--   e.g. params ["5a851fde-ae95-439e-b781-67d9f3371097", "oauth", "google", "g1", null, "t", "1799999999", "bearer", "openid", "x", null, "2845a616-b78c-47d5-9541-837b25f72ac0"]
INSERT INTO "accounts" ("id","type","provider","provider_account_id","refresh_token","access_token","expires_at","token_type","scope","id_token","session_state","user_id") VALUES ($1,$2,$3,$4,$5,$6,$7,$8,$9,$10,$11,$12) RETURNING "id","type","provider","provider_account_id","refresh_token","access_token","expires_at","token_type","scope","id_token","session_state","user_id";

-- ==== phase: adapter.getUserByAccount

-- [READ simple x1] tags={"SELECT n": 1}
SELECT "id", "type", "provider", "provider_account_id" AS "providerAccountId", "refresh_token", "access_token", "expires_at", "token_type", "scope", "id_token", "session_state", "user_id" AS "userId" FROM "accounts" AS "account" WHERE "account"."provider" = 'google' AND "account"."provider_account_id" = 'g1' LIMIT 1;

-- ==== phase: adapter.unlinkAccount

-- [DML simple x1] tags={"DELETE n": 1}
DELETE FROM "accounts" WHERE "provider" = 'google' AND "provider_account_id" = 'g1';

-- ==== phase: adapter.deleteUser

-- [DML simple x1] tags={"DELETE n": 1}
DELETE FROM "users" WHERE "id" = '2845a616-b78c-47d5-9541-837b25f72ac0';
