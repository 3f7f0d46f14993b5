-- @auth/core 0.41.3 + @auth/typeorm-adapter 2.11.3 + typeorm 0.3.31 + pg 8.23.1
-- Captured between client and PostgreSQL 15.18: all messages, deduplicated (literals, IN-list length, savepoint names normalised; first exemplar kept).
-- Distinct statements: DDL=7, DML=14, READ=18, TX=2; executions=446
-- Protocol: {"B:1": 44, "B:2": 44, "B:C": 446, "B:R": 1, "B:T": 334, "B:Z": 447, "B:n": 13, "Describe P": 44, "F:B": 44, "F:D": 44, "F:E": 44, "F:EOF": 1, "F:P": 44, "F:Q": 402, "F:S": 44, "F:Startup": 1, "F:X": 1, "Parse unnamed": 44}
-- Startup parameters: [["3.0", {"client_encoding": "UTF8"}]]
-- Result column types: {"name": 1596, "varchar": 750, "text": 365, "int4": 297, "bool": 66, "uuid": 37, "int8": 1} result formats(0=text,1=binary): {"0": 3112}
-- Parameter types (ParameterDescription): {}
-- SQL features (distinct/executions/distinct-in-DML): RETURNING 5/9/5, INSERT DEFAULT keyword 5/9/5, = ANY(array) 2/66/0, ::cast 2/67/0, || concat 2/67/0, gen_random_uuid/uuid_generate 4/4/0, pg_catalog/information_schema 7/233/0, version()/server funcs 3/70/0, JOIN 8/138/0, CASE WHEN 1/33/0, quoted mixed-case ident 25/43/11, LIMIT/OFFSET 5/15/0, CREATE EXTENSION 1/1/0
-- Server errors seen: none
-- Per statement:  -- [kind proto xEXECUTIONS first-phase] declared param oids, example params, tags, errors

-- ==== phase: setup

-- [READ simple x1] tags={"SELECT n": 1}
SELECT version();

-- [READ simple x35] tags={"SELECT n": 35}
SELECT * FROM current_schema();

-- [DDL simple x1] tags={"CREATE EXTENSION": 1}
CREATE EXTENSION IF NOT EXISTS "uuid-ossp";

-- [TX simple x46] tags={"START TRANSACTION": 46}
START TRANSACTION;

-- [READ simple x34] tags={"SELECT n": 34}
SELECT * FROM current_database();

-- [READ simple x34] tags={"SELECT n": 34}
SELECT "table_schema", "table_name", obj_description(('"' || "table_schema" || '"."' || "table_name" || '"')::regclass, 'pg_class') AS table_comment FROM "information_schema"."tables" WHERE ("table_schema" = 'public' AND "table_name" = 'users') OR ("table_schema" = 'public' AND "table_name" = 'accounts') OR ("table_schema" = 'public' AND "table_name" = 'sessions') OR ("table_schema" = 'public' AND "table_name" = 'verification_tokens');

-- [READ simple x34] tags={"SELECT n": 34}
SELECT * FROM "information_schema"."tables" WHERE "table_schema" = 'public' AND "table_name" = 'typeorm_metadata';

-- [DDL simple x1] tags={"CREATE TABLE": 1}
CREATE TABLE "users" ("id" uuid NOT NULL DEFAULT uuid_generate_v4(), "name" character varying, "email" character varying, "emailVerified" character varying, "image" character varying, CONSTRAINT "UQ_97672ac88f789774dd47f7c8be3" UNIQUE ("email"), CONSTRAINT "PK_a3ffb1c0c8416b9fc6f907b7433" PRIMARY KEY ("id"));

-- [DDL simple x1] tags={"CREATE TABLE": 1}
CREATE TABLE "accounts" ("id" uuid NOT NULL DEFAULT uuid_generate_v4(), "userId" uuid NOT NULL, "type" character varying NOT NULL, "provider" character varying NOT NULL, "providerAccountId" character varying NOT NULL, "refresh_token" character varying, "access_token" character varying, "expires_at" bigint, "token_type" character varying, "scope" character varying, "id_token" character varying, "session_state" character varying, CONSTRAINT "PK_5a7a02c20412299d198e097a8fe" PRIMARY KEY ("id"));

-- [DDL simple x1] tags={"CREATE TABLE": 1}
CREATE TABLE "sessions" ("id" uuid NOT NULL DEFAULT uuid_generate_v4(), "sessionToken" character varying NOT NULL, "userId" uuid NOT NULL, "expires" character varying NOT NULL, CONSTRAINT "UQ_8b5e2ec52e335c0fe16d7ec3584" UNIQUE ("sessionToken"), CONSTRAINT "PK_3238ef96f18b355b671619111bc" PRIMARY KEY ("id"));

-- [DDL simple x1] tags={"CREATE TABLE": 1}
CREATE TABLE "verification_tokens" ("id" uuid NOT NULL DEFAULT uuid_generate_v4(), "token" character varying NOT NULL, "identifier" character varying NOT NULL, "expires" character varying NOT NULL, CONSTRAINT "PK_f2d4d7a2aa57ef199e61567db22" PRIMARY KEY ("id"));

-- [DDL simple x1] tags={"ALTER TABLE": 1}
ALTER TABLE "accounts" ADD CONSTRAINT "FK_3aa23c0a6d107393e8b40e3e2a6" FOREIGN KEY ("userId") REFERENCES "users"("id") ON DELETE NO ACTION ON UPDATE NO ACTION;

-- [DDL simple x1] tags={"ALTER TABLE": 1}
ALTER TABLE "sessions" ADD CONSTRAINT "FK_57de40bc620f456c7311aa3a1e6" FOREIGN KEY ("userId") REFERENCES "users"("id") ON DELETE NO ACTION ON UPDATE NO ACTION;

-- [TX simple x46] tags={"COMMIT": 46}
COMMIT;

-- [READ simple x33] tags={"SELECT n": 33}
SELECT TRUE FROM information_schema.columns WHERE table_name = 'pg_class' and column_name = 'relispartition';

-- [READ simple x33] tags={"SELECT n": 33}
SELECT columns.*, pg_catalog.col_description(('"' || table_catalog || '"."' || table_schema || '"."' || table_name || '"')::regclass::oid, ordinal_position) AS description, ('"' || "udt_schema" || '"."' || "udt_name" || '"')::"regtype"::text AS "regtype", pg_catalog.format_type("col_attr"."atttypid", "col_attr"."atttypmod") AS "format_type" FROM "information_schema"."columns" LEFT JOIN "pg_catalog"."pg_attribute" AS "col_attr" ON "col_attr"."attname" = "columns"."column_name" AND "col_attr"."attrelid" = ( SELECT "cls"."oid" FROM "pg_catalog"."pg_class" AS "cls" LEFT JOIN "pg_catalog"."pg_namespace" AS "ns" ON "ns"."oid" = "cls"."relnamespace" WHERE "cls"."relname" = "columns"."table_name" AND "ns"."nspname" = "columns"."table_schema" ) WHERE ("table_schema" = 'public' AND "table_name" = 'users') OR ("table_schema" = 'public' AND "table_name" = 'accounts') OR ("table_schema" = 'public' AND "table_name" = 'sessions') OR ("table_schema" = 'public' AND "table_name" = 'verification_tokens');

-- [READ simple x33] tags={"SELECT n": 33}
SELECT "ns"."nspname" AS "table_schema", "t"."relname" AS "table_name", "cnst"."conname" AS "constraint_name", pg_get_constraintdef("cnst"."oid") AS "expression", CASE "cnst"."contype" WHEN 'p' THEN 'PRIMARY' WHEN 'u' THEN 'UNIQUE' WHEN 'c' THEN 'CHECK' WHEN 'x' THEN 'EXCLUDE' END AS "constraint_type", "a"."attname" AS "column_name" FROM "pg_constraint" "cnst" INNER JOIN "pg_class" "t" ON "t"."oid" = "cnst"."conrelid" INNER JOIN "pg_namespace" "ns" ON "ns"."oid" = "cnst"."connamespace" LEFT JOIN "pg_attribute" "a" ON "a"."attrelid" = "cnst"."conrelid" AND "a"."attnum" = ANY ("cnst"."conkey") WHERE "t"."relkind" IN ('r', 'p') AND (("ns"."nspname" = 'public' AND "t"."relname" = 'users') OR ("ns"."nspname" = 'public' AND "t"."relname" = 'accounts') OR ("ns"."nspname" = 'public' AND "t"."relname" = 'sessions') OR ("ns"."nspname" = 'public' AND "t"."relname" = 'verification_tokens'));

-- [READ simple x33] tags={"SELECT n": 33}
SELECT "ns"."nspname" AS "table_schema", "t"."relname" AS "table_name", "i"."relname" AS "constraint_name", "a"."attname" AS "column_name", CASE "ix"."indisunique" WHEN 't' THEN 'TRUE' ELSE'FALSE' END AS "is_unique", pg_get_expr("ix"."indpred", "ix"."indrelid") AS "condition", "types"."typname" AS "type_name", "am"."amname" AS "index_type" FROM "pg_class" "t" INNER JOIN "pg_index" "ix" ON "ix"."indrelid" = "t"."oid" INNER JOIN "pg_attribute" "a" ON "a"."attrelid" = "t"."oid"  AND "a"."attnum" = ANY ("ix"."indkey") INNER JOIN "pg_namespace" "ns" ON "ns"."oid" = "t"."relnamespace" INNER JOIN "pg_class" "i" ON "i"."oid" = "ix"."indexrelid" INNER JOIN "pg_type" "types" ON "types"."oid" = "a"."atttypid" INNER JOIN "pg_am" "am" ON "i"."relam" = "am"."oid" LEFT JOIN "pg_constraint" "cnst" ON "cnst"."conname" = "i"."relname" WHERE "t"."relkind" IN ('r', 'p') AND "cnst"."contype" IS NULL AND (("ns"."nspname" = 'public' AND "t"."relname" = 'users') OR ("ns"."nspname" = 'public' AND "t"."relname" = 'accounts') OR ("ns"."nspname" = 'public' AND "t"."relname" = 'sessions') OR ("ns"."nspname" = 'public' AND "t"."relname" = 'verification_tokens'));

-- [READ simple x33] tags={"SELECT n": 33}
SELECT "con"."conname" AS "constraint_name", "con"."nspname" AS "table_schema", "con"."relname" AS "table_name", "att2"."attname" AS "column_name", "ns"."nspname" AS "referenced_table_schema", "cl"."relname" AS "referenced_table_name", "att"."attname" AS "referenced_column_name", "con"."confdeltype" AS "on_delete", "con"."confupdtype" AS "on_update", "con"."condeferrable" AS "deferrable", "con"."condeferred" AS "deferred" FROM ( SELECT UNNEST ("con1"."conkey") AS "parent", UNNEST ("con1"."confkey") AS "child", "con1"."confrelid", "con1"."conrelid", "con1"."conname", "con1"."contype", "ns"."nspname", "cl"."relname", "con1"."condeferrable", CASE WHEN "con1"."condeferred" THEN 'INITIALLY DEFERRED' ELSE 'INITIALLY IMMEDIATE' END as condeferred, CASE "con1"."confdeltype" WHEN 'a' THEN 'NO ACTION' WHEN 'r' THEN 'RESTRICT' WHEN 'c' THEN 'CASCADE' WHEN 'n' THEN 'SET NULL' WHEN 'd' THEN 'SET DEFAULT' END as "confdeltype", CASE "con1"."confupdtype" WHEN 'a' THEN 'NO ACTION' WHEN 'r' THEN 'RESTRICT' WHEN 'c' THEN 'CASCADE' WHEN 'n' THEN 'SET NULL' WHEN 'd' THEN 'SET DEFAULT' END as "confupdtype" FROM "pg_class" "cl" INNER JOIN "pg_namespace" "ns" ON "cl"."relnamespace" = "ns"."oid" INNER JOIN "pg_constraint" "con1" ON "con1"."conrelid" = "cl"."oid" WHERE "con1"."contype" = 'f' AND (("ns"."nspname" = 'public' AND "cl"."relname" = 'users') OR ("ns"."nspname" = 'public' AND "cl"."relname" = 'accounts') OR ("ns"."nspname" = 'public' AND "cl"."relname" = 'sessions') OR ("ns"."nspname" = 'public' AND "cl"."relname" = 'verification_tokens')) ) "con" INNER JOIN "pg_attribute" "att" ON "att"."attrelid" = "con"."confrelid" AND "att"."attnum" = "con"."child" INNER JOIN "pg_class" "cl" ON "cl"."oid" = "con"."confrelid"  AND "cl"."relispartition" = 'f'INNER JOIN "pg_namespace" "ns" ON "cl"."relnamespace" = "ns"."oid" INNER JOIN "pg_attribute" "att2" ON "att2"."attrelid" = "con"."conrelid" AND "att2"."attnum" = "con"."parent";

-- ==== phase: http.signin.email

-- [READ ext x7] tags={"SELECT n": 7}
--   e.g. params ["alice@example.com"]
SELECT "UserEntity"."id" AS "UserEntity_id", "UserEntity"."name" AS "UserEntity_name", "UserEntity"."email" AS "UserEntity_email", "UserEntity"."emailVerified" AS "UserEntity_emailVerified", "UserEntity"."image" AS "UserEntity_image" FROM "users" "UserEntity" WHERE (("UserEntity"."email" = $1)) LIMIT 1;

-- [DML ext x3] tags={"INSERT 0 n": 3}
--   e.g. params ["e35e348adc615d8d7ecafb5ca926dc085054adf3525fb68d3aaecf42c04efbf7", "alice@example.com", "1795202000411"]
INSERT INTO "verification_tokens"("id", "token", "identifier", "expires") VALUES (DEFAULT, $1, $2, $3) RETURNING "id";

-- ==== phase: http.callback (creates user+session)

-- [READ ext x4] tags={"SELECT n": 4}
--   e.g. params ["alice@example.com", "e35e348adc615d8d7ecafb5ca926dc085054adf3525fb68d3aaecf42c04efbf7"]
SELECT "VerificationTokenEntity"."id" AS "VerificationTokenEntity_id", "VerificationTokenEntity"."token" AS "VerificationTokenEntity_token", "VerificationTokenEntity"."identifier" AS "VerificationTokenEntity_identifier", "VerificationTokenEntity"."expires" AS "VerificationTokenEntity_expires" FROM "verification_tokens" "VerificationTokenEntity" WHERE (("VerificationTokenEntity"."identifier" = $1) AND ("VerificationTokenEntity"."token" = $2)) LIMIT 1;

-- [DML ext x3] tags={"DELETE n": 3}
--   e.g. params ["alice@example.com", "e35e348adc615d8d7ecafb5ca926dc085054adf3525fb68d3aaecf42c04efbf7"]
DELETE FROM "verification_tokens" WHERE ("identifier" = $1 AND "token" = $2);

-- [READ ext x4] tags={"SELECT n": 4}
--   e.g. params ["0d4d8399-d2f7-4c1d-b0fb-c78f337e4d69"]
SELECT "UserEntity"."id" AS "UserEntity_id", "UserEntity"."name" AS "UserEntity_name", "UserEntity"."email" AS "UserEntity_email", "UserEntity"."emailVerified" AS "UserEntity_emailVerified", "UserEntity"."image" AS "UserEntity_image" FROM "users" "UserEntity" WHERE "UserEntity"."id" IN ($1);

-- [DML ext x1] tags={"INSERT 0 n": 1}
--   e.g. params ["0d4d8399-d2f7-4c1d-b0fb-c78f337e4d69", "alice@example.com", "1795198400632"]
INSERT INTO "users"("id", "name", "email", "emailVerified", "image") VALUES ($1, DEFAULT, $2, $3, DEFAULT) RETURNING "id";

-- [DML ext x3] tags={"INSERT 0 n": 3}
--   e.g. params ["de253bff-6db0-46bd-ad15-4cfc123e786e", "0d4d8399-d2f7-4c1d-b0fb-c78f337e4d69", "1797790400686"]
INSERT INTO "sessions"("id", "sessionToken", "userId", "expires") VALUES (DEFAULT, $1, $2, $3) RETURNING "id";

-- ==== phase: http.session

-- [READ ext x2] tags={"SELECT n": 2}
--   e.g. params ["de253bff-6db0-46bd-ad15-4cfc123e786e"]
SELECT DISTINCT "distinctAlias"."SessionEntity_id" AS "ids_SessionEntity_id" FROM (SELECT "SessionEntity"."id" AS "SessionEntity_id", "SessionEntity"."sessionToken" AS "SessionEntity_sessionToken", "SessionEntity"."userId" AS "SessionEntity_userId", "SessionEntity"."expires" AS "SessionEntity_expires", "SessionEntity__SessionEntity_user"."id" AS "SessionEntity__SessionEntity_user_id", "SessionEntity__SessionEntity_user"."name" AS "SessionEntity__SessionEntity_user_name", "SessionEntity__SessionEntity_user"."email" AS "SessionEntity__SessionEntity_user_email", "SessionEntity__SessionEntity_user"."emailVerified" AS "SessionEntity__SessionEntity_user_emailVerified", "SessionEntity__SessionEntity_user"."image" AS "SessionEntity__SessionEntity_user_image" FROM "sessions" "SessionEntity" LEFT JOIN "users" "SessionEntity__SessionEntity_user" ON "SessionEntity__SessionEntity_user"."id"="SessionEntity"."userId" WHERE (("SessionEntity"."sessionToken" = $1))) "distinctAlias" ORDER BY "SessionEntity_id" ASC LIMIT 1;

-- [READ ext x2] tags={"SELECT n": 2}
--   e.g. params ["de253bff-6db0-46bd-ad15-4cfc123e786e", "3a35bf4e-48ea-47a8-88f7-cd64b93cca32"]
SELECT "SessionEntity"."id" AS "SessionEntity_id", "SessionEntity"."sessionToken" AS "SessionEntity_sessionToken", "SessionEntity"."userId" AS "SessionEntity_userId", "SessionEntity"."expires" AS "SessionEntity_expires", "SessionEntity__SessionEntity_user"."id" AS "SessionEntity__SessionEntity_user_id", "SessionEntity__SessionEntity_user"."name" AS "SessionEntity__SessionEntity_user_name", "SessionEntity__SessionEntity_user"."email" AS "SessionEntity__SessionEntity_user_email", "SessionEntity__SessionEntity_user"."emailVerified" AS "SessionEntity__SessionEntity_user_emailVerified", "SessionEntity__SessionEntity_user"."image" AS "SessionEntity__SessionEntity_user_image" FROM "sessions" "SessionEntity" LEFT JOIN "users" "SessionEntity__SessionEntity_user" ON "SessionEntity__SessionEntity_user"."id"="SessionEntity"."userId" WHERE ( (("SessionEntity"."sessionToken" = $1)) ) AND ( "SessionEntity"."id" IN ($2) );

-- [DML ext x2] tags={"UPDATE n": 2}
--   e.g. params ["de253bff-6db0-46bd-ad15-4cfc123e786e", "1797790400786", "de253bff-6db0-46bd-ad15-4cfc123e786e"]
UPDATE "sessions" SET "sessionToken" = $1, "expires" = $2 WHERE "sessionToken" = $3;

-- ==== phase: http.signout

-- [DML ext x2] tags={"DELETE n": 2}
--   e.g. params ["de253bff-6db0-46bd-ad15-4cfc123e786e"]
DELETE FROM "sessions" WHERE "sessionToken" = $1;

-- ==== phase: http.callback.again

-- [DML ext x1] tags={"UPDATE n": 1}
--   e.g. params ["1795198401123", "0d4d8399-d2f7-4c1d-b0fb-c78f337e4d69"]
UPDATE "users" SET "emailVerified" = $1 WHERE "id" IN ($2);

-- ==== phase: adapter.createUser

-- [DML ext x1] tags={"INSERT 0 n": 1}
--   e.g. params ["ede75310-ed8b-44d7-90e6-4834bf4fbc5d", "Bob O'Hara \\ é😀", "bob@example.com", null]
INSERT INTO "users"("id", "name", "email", "emailVerified", "image") VALUES ($1, $2, $3, DEFAULT, $4) RETURNING "id";

-- ==== phase: adapter.getUser/byEmail

-- [READ ext x1] tags={"SELECT n": 1}
--   e.g. params ["ede75310-ed8b-44d7-90e6-4834bf4fbc5d"]
SELECT "UserEntity"."id" AS "UserEntity_id", "UserEntity"."name" AS "UserEntity_name", "UserEntity"."email" AS "UserEntity_email", "UserEntity"."emailVerified" AS "UserEntity_emailVerified", "UserEntity"."image" AS "UserEntity_image" FROM "users" "UserEntity" WHERE (("UserEntity"."id" = $1)) LIMIT 1;

-- ==== phase: adapter.updateUser

-- [DML ext x1] tags={"UPDATE n": 1}
--   e.g. params ["Bob 2", "1795198401345", "ede75310-ed8b-44d7-90e6-4834bf4fbc5d"]
UPDATE "users" SET "name" = $1, "emailVerified" = $2 WHERE "id" IN ($3);

-- ==== phase: adapter.linkAccount

-- [DML ext x1] tags={"INSERT 0 n": 1}
--   e.g. params ["ede75310-ed8b-44d7-90e6-4834bf4fbc5d", "oauth", "google", "g1", null, "t", "1799999999", "bearer", "openid", "x", null]
INSERT INTO "accounts"("id", "userId", "type", "provider", "providerAccountId", "refresh_token", "access_token", "expires_at", "token_type", "scope", "id_token", "session_state") VALUES (DEFAULT, $1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11) RETURNING "id";

-- ==== phase: adapter.getUserByAccount

-- [READ ext x1] tags={"SELECT n": 1}
--   e.g. params ["google", "g1"]
SELECT DISTINCT "distinctAlias"."AccountEntity_id" AS "ids_AccountEntity_id" FROM (SELECT "AccountEntity"."id" AS "AccountEntity_id", "AccountEntity"."userId" AS "AccountEntity_userId", "AccountEntity"."type" AS "AccountEntity_type", "AccountEntity"."provider" AS "AccountEntity_provider", "AccountEntity"."providerAccountId" AS "AccountEntity_providerAccountId", "AccountEntity"."refresh_token" AS "AccountEntity_refresh_token", "AccountEntity"."access_token" AS "AccountEntity_access_token", "AccountEntity"."expires_at" AS "AccountEntity_expires_at", "AccountEntity"."token_type" AS "AccountEntity_token_type", "AccountEntity"."scope" AS "AccountEntity_scope", "AccountEntity"."id_token" AS "AccountEntity_id_token", "AccountEntity"."session_state" AS "AccountEntity_session_state", "AccountEntity__AccountEntity_user"."id" AS "AccountEntity__AccountEntity_user_id", "AccountEntity__AccountEntity_user"."name" AS "AccountEntity__AccountEntity_user_name", "AccountEntity__AccountEntity_user"."email" AS "AccountEntity__AccountEntity_user_email", "AccountEntity__AccountEntity_user"."emailVerified" AS "AccountEntity__AccountEntity_user_emailVerified", "AccountEntity__AccountEntity_user"."image" AS "AccountEntity__AccountEntity_user_image" FROM "accounts" "AccountEntity" LEFT JOIN "users" "AccountEntity__AccountEntity_user" ON "AccountEntity__AccountEntity_user"."id"="AccountEntity"."userId" WHERE (("AccountEntity"."provider" = $1) AND ("AccountEntity"."providerAccountId" = $2))) "distinctAlias" ORDER BY "AccountEntity_id" ASC LIMIT 1;

-- [READ ext x1] tags={"SELECT n": 1}
--   e.g. params ["google", "g1", "f9d063e3-64f5-4d6f-abac-c0856e981d44"]
SELECT "AccountEntity"."id" AS "AccountEntity_id", "AccountEntity"."userId" AS "AccountEntity_userId", "AccountEntity"."type" AS "AccountEntity_type", "AccountEntity"."provider" AS "AccountEntity_provider", "AccountEntity"."providerAccountId" AS "AccountEntity_providerAccountId", "AccountEntity"."refresh_token" AS "AccountEntity_refresh_token", "AccountEntity"."access_token" AS "AccountEntity_access_token", "AccountEntity"."expires_at" AS "AccountEntity_expires_at", "AccountEntity"."token_type" AS "AccountEntity_token_type", "AccountEntity"."scope" AS "AccountEntity_scope", "AccountEntity"."id_token" AS "AccountEntity_id_token", "AccountEntity"."session_state" AS "AccountEntity_session_state", "AccountEntity__AccountEntity_user"."id" AS "AccountEntity__AccountEntity_user_id", "AccountEntity__AccountEntity_user"."name" AS "AccountEntity__AccountEntity_user_name", "AccountEntity__AccountEntity_user"."email" AS "AccountEntity__AccountEntity_user_email", "AccountEntity__AccountEntity_user"."emailVerified" AS "AccountEntity__AccountEntity_user_emailVerified", "AccountEntity__AccountEntity_user"."image" AS "AccountEntity__AccountEntity_user_image" FROM "accounts" "AccountEntity" LEFT JOIN "users" "AccountEntity__AccountEntity_user" ON "AccountEntity__AccountEntity_user"."id"="AccountEntity"."userId" WHERE ( (("AccountEntity"."provider" = $1) AND ("AccountEntity"."providerAccountId" = $2)) ) AND ( "AccountEntity"."id" IN ($3) );

-- ==== phase: adapter.unlinkAccount

-- [DML ext x1] tags={"DELETE n": 1}
--   e.g. params ["google", "g1"]
DELETE FROM "accounts" WHERE ("provider" = $1 AND "providerAccountId" = $2);

-- ==== phase: adapter.deleteUser

-- [DML ext x1] tags={"DELETE n": 1}
--   e.g. params ["ede75310-ed8b-44d7-90e6-4834bf4fbc5d"]
DELETE FROM "accounts" WHERE "userId" = $1;

-- [DML ext x1] tags={"DELETE n": 1}
--   e.g. params ["ede75310-ed8b-44d7-90e6-4834bf4fbc5d"]
DELETE FROM "sessions" WHERE "userId" = $1;

-- [DML ext x1] tags={"DELETE n": 1}
--   e.g. params ["ede75310-ed8b-44d7-90e6-4834bf4fbc5d"]
DELETE FROM "users" WHERE "id" = $1;
