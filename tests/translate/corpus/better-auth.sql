-- better-auth 1.7.7 (npm) + built-in @better-auth/kysely-adapter (kysely 0.28.18) + pg 8.23.1 Pool; plugins username,organization(teams),admin,twoFactor,magicLink,emailOTP,jwt,bearer,anonymous,phoneNumber,deviceAuthorization,oneTimeToken; rateLimit.storage=database
-- Captured between client and PostgreSQL 15.18: all messages, deduplicated (literals, IN-list length, savepoint names normalised; first exemplar kept).
-- Distinct statements: DDL=27, DML=48, READ=43, TX=3; executions=545
-- Protocol: {"B:1": 492, "B:2": 492, "B:C": 545, "B:R": 4, "B:T": 466, "B:Z": 549, "B:n": 32, "Describe P": 492, "F:B": 492, "F:D": 492, "F:E": 492, "F:EOF": 4, "F:P": 492, "F:Q": 53, "F:S": 492, "F:Startup": 4, "F:X": 4, "Parse unnamed": 492}
-- Startup parameters: [["3.0", {"client_encoding": "UTF8"}]]
-- Result column types: {"text": 2855, "timestamptz": 916, "bool": 606, "int4": 260, "jsonb": 236, "int8": 132, "name": 30, "18": 4, "text[]": 2} result formats(0=text,1=binary): {"0": 5041}
-- Parameter types (ParameterDescription): {}
-- SQL features (distinct/executions/distinct-in-DML): RETURNING 37/155/37, array literal/type 1/2/0, ::cast 1/2/0, regex ~ 1/4/0, || concat 1/4/0, NOW()/CURRENT_TIMESTAMP 5/5/0, nextval/setval/currval 1/4/0, pg_catalog/information_schema 5/12/0, version()/server funcs 2/4/0, LATERAL 1/2/0, JOIN 2/6/0, subquery IN/EXISTS 7/21/7, quoted mixed-case ident 92/330/41, LIMIT/OFFSET 27/147/7, ON DELETE CASCADE (FK) 7/7/0, DEFAULT now()/CURRENT_TIMESTAMP in DDL 5/5/0, LIKE 2/2/0, relative update (col = f(col)) 2/13/2, LIMIT inside DML subquery 7/21/7, DML subquery on the same table (MySQL 1093) 7/21/7, RETURNING * / many cols 37/155/37
-- Server errors seen: none
-- Per statement:  -- [kind proto xEXECUTIONS first-phase] declared param oids, example params, tags, errors

-- ==== phase: migrate

-- [READ ext x4] tags={"SELECT n": 4}
--   e.g. params ["r", "v", "p", "^pg_", "information_schema", "crdb_internal", "0", "true", "kysely_migration", "kysely_migration_lock"]
select "a"."attname" as "column", "a"."attnotnull" as "not_null", "a"."atthasdef" as "has_default", "c"."relname" as "table", "c"."relkind" as "table_type", "ns"."nspname" as "schema", "typ"."typname" as "type", "dtns"."nspname" as "type_schema", col_description(a.attrelid, a.attnum) as "column_description", pg_get_serial_sequence(quote_ident(ns.nspname) || '.' || quote_ident(c.relname), a.attname) as "auto_incrementing" from "pg_catalog"."pg_attribute" as "a" inner join "pg_catalog"."pg_class" as "c" on "a"."attrelid" = "c"."oid" inner join "pg_catalog"."pg_namespace" as "ns" on "c"."relnamespace" = "ns"."oid" inner join "pg_catalog"."pg_type" as "typ" on "a"."atttypid" = "typ"."oid" inner join "pg_catalog"."pg_namespace" as "dtns" on "typ"."typnamespace" = "dtns"."oid" where "c"."relkind" in ($1, $2, $3) and "ns"."nspname" !~ $4 and "ns"."nspname" != $5 and "ns"."nspname" != $6 and has_schema_privilege(ns.nspname, 'USAGE') and "a"."attnum" >= $7 and "a"."attisdropped" != $8 and "c"."relname" != $9 and "c"."relname" != $10 order by "ns"."nspname", "c"."relname", "a"."attnum";

-- [READ simple x2] tags={"SELECT n": 2}
SELECT pg_catalog.current_schemas(true)::text[] AS schemas;

-- [READ simple x2] tags={"SELECT n": 2}
SELECT pg_catalog.current_schema() AS schema;

-- [READ simple x2] tags={"SELECT n": 2}
select "nspname" from "pg_catalog"."pg_namespace";

-- [READ ext x2] tags={"SELECT n": 2}
--   e.g. params ["public"]
SELECT
					table_class.relname AS "tableName",
					index_class.relname AS "indexName",
					index_attribute.attname AS "columnName",
					index_data.indisunique AS "isUnique",
					index_data.indisvalid AS "isValid",
					(index_data.indpred IS NOT NULL) AS "isPartial",
					index_column.ordinality AS "columnPosition"
				FROM pg_class AS table_class
				INNER JOIN pg_namespace AS table_namespace
					ON table_namespace.oid = table_class.relnamespace
				INNER JOIN pg_index AS index_data
					ON index_data.indrelid = table_class.oid
				INNER JOIN pg_class AS index_class
					ON index_class.oid = index_data.indexrelid
				INNER JOIN LATERAL unnest(index_data.indkey)
					WITH ORDINALITY AS index_column(attribute_number, ordinality)
					ON TRUE
				LEFT JOIN pg_attribute AS index_attribute
					ON index_attribute.attrelid = table_class.oid
					AND index_attribute.attnum = index_column.attribute_number
				WHERE table_namespace.nspname = $1
					AND table_class.relkind = 'r'
					AND index_column.ordinality <= index_data.indnkeyatts;

-- [DDL simple x1] tags={"CREATE TABLE": 1}
create table "user" ("id" text not null primary key, "name" text not null, "email" text not null unique, "emailVerified" boolean not null, "image" text, "createdAt" timestamptz default CURRENT_TIMESTAMP not null, "updatedAt" timestamptz default CURRENT_TIMESTAMP not null, "username" text unique, "displayUsername" text, "role" text, "banned" boolean, "banReason" text, "banExpires" timestamptz, "twoFactorEnabled" boolean, "isAnonymous" boolean, "phoneNumber" text unique, "phoneNumberVerified" boolean, "nick" text, "age" integer, "tags" jsonb, "prefs" jsonb);

-- [DDL simple x1] tags={"CREATE TABLE": 1}
create table "session" ("id" text not null primary key, "expiresAt" timestamptz not null, "token" text not null unique, "createdAt" timestamptz default CURRENT_TIMESTAMP not null, "updatedAt" timestamptz not null, "ipAddress" text, "userAgent" text, "userId" text not null references "user" ("id") on delete cascade, "activeOrganizationId" text, "activeTeamId" text, "impersonatedBy" text);

-- [DDL simple x1] tags={"CREATE TABLE": 1}
create table "account" ("id" text not null primary key, "accountId" text not null, "providerId" text not null, "userId" text not null references "user" ("id") on delete cascade, "accessToken" text, "refreshToken" text, "idToken" text, "accessTokenExpiresAt" timestamptz, "refreshTokenExpiresAt" timestamptz, "scope" text, "password" text, "createdAt" timestamptz default CURRENT_TIMESTAMP not null, "updatedAt" timestamptz not null);

-- [DDL simple x1] tags={"CREATE TABLE": 1}
create table "verification" ("id" text not null primary key, "identifier" text not null, "value" text not null, "expiresAt" timestamptz not null, "createdAt" timestamptz default CURRENT_TIMESTAMP not null, "updatedAt" timestamptz default CURRENT_TIMESTAMP not null);

-- [DDL simple x1] tags={"CREATE TABLE": 1}
create table "organization" ("id" text not null primary key, "name" text not null, "slug" text not null unique, "logo" text, "createdAt" timestamptz not null, "metadata" text);

-- [DDL simple x1] tags={"CREATE TABLE": 1}
create table "team" ("id" text not null primary key, "name" text not null, "memberCount" integer not null, "organizationId" text not null references "organization" ("id") on delete cascade, "createdAt" timestamptz not null, "updatedAt" timestamptz);

-- [DDL simple x1] tags={"CREATE TABLE": 1}
create table "teamMember" ("id" text not null primary key, "teamId" text not null references "team" ("id") on delete cascade, "userId" text not null references "user" ("id") on delete cascade, "membershipKey" text unique, "createdAt" timestamptz);

-- [DDL simple x1] tags={"CREATE TABLE": 1}
create table "member" ("id" text not null primary key, "organizationId" text not null references "organization" ("id") on delete cascade, "userId" text not null references "user" ("id") on delete cascade, "role" text not null, "createdAt" timestamptz not null);

-- [DDL simple x1] tags={"CREATE TABLE": 1}
create table "invitation" ("id" text not null primary key, "organizationId" text not null references "organization" ("id") on delete cascade, "email" text not null, "role" text, "teamId" text, "status" text not null, "expiresAt" timestamptz not null, "createdAt" timestamptz default CURRENT_TIMESTAMP not null, "inviterId" text not null references "user" ("id") on delete cascade);

-- [DDL simple x1] tags={"CREATE TABLE": 1}
create table "twoFactor" ("id" text not null primary key, "secret" text not null, "backupCodes" text not null, "userId" text not null references "user" ("id") on delete cascade, "verified" boolean, "failedVerificationCount" integer, "lockedUntil" timestamptz);

-- [DDL simple x1] tags={"CREATE TABLE": 1}
create table "jwks" ("id" text not null primary key, "publicKey" text not null, "privateKey" text not null, "createdAt" timestamptz not null, "expiresAt" timestamptz, "alg" text, "crv" text);

-- [DDL simple x1] tags={"CREATE TABLE": 1}
create table "deviceCode" ("id" text not null primary key, "deviceCode" text not null, "userCode" text not null, "userId" text, "expiresAt" timestamptz not null, "status" text not null, "lastPolledAt" timestamptz, "pollingInterval" integer, "clientId" text, "scope" text);

-- [DDL simple x1] tags={"CREATE TABLE": 1}
create table "rateLimit" ("id" text not null primary key, "key" text not null unique, "count" integer not null, "lastRequest" bigint not null);

-- [DDL simple x1] tags={"CREATE INDEX": 1}
create index "session_userId_idx" on "session" ("userId");

-- [DDL simple x1] tags={"CREATE INDEX": 1}
create index "account_userId_idx" on "account" ("userId");

-- [DDL simple x1] tags={"CREATE INDEX": 1}
create index "verification_identifier_idx" on "verification" ("identifier");

-- [DDL simple x1] tags={"CREATE INDEX": 1}
create index "team_organizationId_idx" on "team" ("organizationId");

-- [DDL simple x1] tags={"CREATE INDEX": 1}
create index "teamMember_teamId_idx" on "teamMember" ("teamId");

-- [DDL simple x1] tags={"CREATE INDEX": 1}
create index "teamMember_userId_idx" on "teamMember" ("userId");

-- [DDL simple x1] tags={"CREATE INDEX": 1}
create index "member_organizationId_idx" on "member" ("organizationId");

-- [DDL simple x1] tags={"CREATE INDEX": 1}
create index "member_userId_idx" on "member" ("userId");

-- [DDL simple x1] tags={"CREATE INDEX": 1}
create index "invitation_organizationId_idx" on "invitation" ("organizationId");

-- [DDL simple x1] tags={"CREATE INDEX": 1}
create index "invitation_email_idx" on "invitation" ("email");

-- [DDL simple x1] tags={"CREATE INDEX": 1}
create index "twoFactor_secret_idx" on "twoFactor" ("secret");

-- [DDL simple x1] tags={"CREATE INDEX": 1}
create index "twoFactor_userId_idx" on "twoFactor" ("userId");

-- [DDL simple x1] tags={"CREATE INDEX": 1}
create unique index "deviceCode_deviceCode_uidx" on "deviceCode" ("deviceCode");

-- [DDL simple x1] tags={"CREATE INDEX": 1}
create unique index "deviceCode_userCode_uidx" on "deviceCode" ("userCode");

-- ==== phase: sign-up

-- [READ ext x63] tags={"SELECT n": 63}
--   e.g. params ["10.0.0.1|/sign-up/email", "100"]
select "primary".* from (select * from "rateLimit" where "rateLimit"."key" = $1 limit $2) as "primary";

-- [DML ext x51] tags={"INSERT 0 n": 51}
--   e.g. params ["10.0.0.1|/sign-up/email", "1", "1795199253954", "ybOgvR8FcU5Bkht90sukhJ0d5birFYGN"]
insert into "rateLimit" ("key", "count", "lastRequest", "id") values ($1, $2, $3, $4) returning *;

-- [READ ext x2] tags={"SELECT n": 2}
--   e.g. params ["alice_1"]
select "primary".* from (select * from "user" where "user"."username" = $1) as "primary";

-- [TX simple x10] tags={"BEGIN": 10}
begin;

-- [READ ext x23] tags={"SELECT n": 23}
--   e.g. params ["alice@example.com"]
select "primary".* from (select * from "user" where "user"."email" = $1) as "primary";

-- [DML ext x1] tags={"INSERT 0 n": 1}
--   e.g. params ["Alice O'Hara é😀", "alice@example.com", "false", "2026-11-20T18:27:34.140+00:00", "2026-11-20T18:27:34.140+00:00", "alice_1", "Alice_1", "user", "false", "false", "false", "al", "41", "[\"a\",\"b'c\"]", "{\"theme\":\"dark\",\"n\":[1,2]}", "FvoWPfa8oixcVcGRzsDdD2X9cDIbHJfj"]
insert into "user" ("name", "email", "emailVerified", "createdAt", "updatedAt", "username", "displayUsername", "role", "banned", "twoFactorEnabled", "isAnonymous", "nick", "age", "tags", "prefs", "id") values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16) returning *;

-- [DML ext x3] tags={"INSERT 0 n": 3}
--   e.g. params ["FvoWPfa8oixcVcGRzsDdD2X9cDIbHJfj", "credential", "FvoWPfa8oixcVcGRzsDdD2X9cDIbHJfj", "9f2351ce565332be9a1d5fb2d6d9ce66:362dc6a2abdc9cdd48a214762a18ccff8a85117f5237bf996705342f0dbd11d3cea8ffaef27b8435f5331b22c6f7c928ef5d556be6d2ed8fc0439f8c940a9a3f", "2026-11-20T18:27:34.151+00:00", "2026-11-20T18:27:34.151+00:00", "CqFdF6d2tgwadndrs4iGNmTkyFXqitAJ"]
insert into "account" ("accountId", "providerId", "userId", "password", "createdAt", "updatedAt", "id") values ($1, $2, $3, $4, $5, $6, $7) returning *;

-- [READ ext x73] tags={"SELECT n": 73}
--   e.g. params ["FvoWPfa8oixcVcGRzsDdD2X9cDIbHJfj"]
select "primary".* from (select * from "user" where "user"."id" = $1) as "primary";

-- [DML ext x18] tags={"INSERT 0 n": 18}
--   e.g. params ["2026-11-27T18:27:34.161+00:00", "KJWecp0l6zCKFhhgcAI1e2m6FOlUrYeH", "2026-11-20T18:27:34.161+00:00", "2026-11-20T18:27:34.161+00:00", "10.0.0.1", "drv", "FvoWPfa8oixcVcGRzsDdD2X9cDIbHJfj", "XIO9ePTfGGey6HG1gHGSGqbeUpzL8WoG"]
insert into "session" ("expiresAt", "token", "createdAt", "updatedAt", "ipAddress", "userAgent", "userId", "id") values ($1, $2, $3, $4, $5, $6, $7, $8) returning *;

-- [TX simple x9] tags={"COMMIT": 9}
commit;

-- ==== phase: sign-up.duplicate

-- [DML ext x12] tags={"UPDATE n": 12}
--   e.g. params ["1795199254201", "1", "10.0.0.1|/sign-up/email", "1795199244201", "1000", "10.0.0.1|/sign-up/email", "1795199244201", "1000", "1"]
update "rateLimit" set "lastRequest" = $1, "count" = "count" + $2 where ("rateLimit"."key" = $3 and "rateLimit"."lastRequest" > $4 and "rateLimit"."count" < $5) and "rateLimit"."id" in (select "rateLimit"."id" from "rateLimit" where ("rateLimit"."key" = $6 and "rateLimit"."lastRequest" > $7 and "rateLimit"."count" < $8) limit $9) returning *;

-- [TX simple x1] tags={"ROLLBACK": 1}
rollback;

-- ==== phase: get-session

-- [READ ext x42] tags={"SELECT n": 42}
--   e.g. params ["KJWecp0l6zCKFhhgcAI1e2m6FOlUrYeH"]
select "primary".* from (select * from "session" where "session"."token" = $1) as "primary";

-- [DML ext x23] tags={"UPDATE n": 23}
--   e.g. params ["2026-11-27T18:27:34.307+00:00", "2026-11-20T18:27:34.307+00:00", "KJWecp0l6zCKFhhgcAI1e2m6FOlUrYeH"]
update "session" set "expiresAt" = $1, "updatedAt" = $2 where "session"."token" = $3 returning *;

-- [READ ext x4] tags={"SELECT n": 4}
--   e.g. params ["100"]
select "primary".* from (select * from "jwks" limit $1) as "primary";

-- [DML ext x1] tags={"INSERT 0 n": 1}
--   e.g. params ["{\"crv\":\"Ed25519\",\"x\":\"mx1fM6Fqy4EjYpeKqKY-pu8Vz4fWdSxNieE5xkoafxM\",\"kty\":\"OKP\"}", "\"139a6699bbe40ebd4299155b58f205aed5aa5c2d47718c4968c3cdf0c6b6456abf05edef90b5a285f7274a789f0834394e8ab7a0c5c54b420395b984dd6e02165ea5243c434dd790c21952e952f1ccf6b56f84783a4dc4a51c6ba3e18e263a27ee0f749", "2026-11-20T18:27:34.346+00:00", "EdDSA", "Ed25519", "qpbLpH4C3fyQBvwxSaBGgE4o2cW3KZHu"]
insert into "jwks" ("publicKey", "privateKey", "createdAt", "alg", "crv", "id") values ($1, $2, $3, $4, $5, $6) returning *;

-- ==== phase: sign-out

-- [READ ext x5] tags={"SELECT n": 5}
--   e.g. params ["KJWecp0l6zCKFhhgcAI1e2m6FOlUrYeH", "1"]
select "primary".* from (select * from "session" where "session"."token" = $1 limit $2) as "primary";

-- [DML ext x5] tags={"DELETE n": 5}
--   e.g. params ["KJWecp0l6zCKFhhgcAI1e2m6FOlUrYeH"]
delete from "session" where "session"."token" = $1;

-- [READ ext x17] tags={"SELECT n": 17}
--   e.g. params ["FvoWPfa8oixcVcGRzsDdD2X9cDIbHJfj", "100"]
select "primary".* from (select * from "account" where "account"."userId" = $1 limit $2) as "primary";

-- ==== phase: sign-in.username

-- [READ ext x6] tags={"SELECT n": 6}
--   e.g. params ["FvoWPfa8oixcVcGRzsDdD2X9cDIbHJfj", "credential", "FvoWPfa8oixcVcGRzsDdD2X9cDIbHJfj"]
select "primary".* from (select * from "account" where ("account"."userId" = $1 and "account"."providerId" = $2 and "account"."accountId" = $3)) as "primary";

-- ==== phase: update-user

-- [DML ext x1] tags={"UPDATE n": 1}
--   e.g. params ["Alice B", "https://x/y.png", "2026-11-20T18:27:35.051+00:00", "42", "[]", null, "FvoWPfa8oixcVcGRzsDdD2X9cDIbHJfj"]
update "user" set "name" = $1, "image" = $2, "updatedAt" = $3, "age" = $4, "tags" = $5, "prefs" = $6 where "user"."id" = $7 returning *;

-- ==== phase: list-sessions

-- [READ ext x1] tags={"SELECT n": 1}
--   e.g. params ["FvoWPfa8oixcVcGRzsDdD2X9cDIbHJfj", "2026-11-20T18:27:35.107+00:00", "100"]
select "primary".* from (select * from "session" where ("session"."userId" = $1 and "session"."expiresAt" > $2) limit $3) as "primary";

-- ==== phase: change-password

-- [DML ext x1] tags={"UPDATE n": 1}
--   e.g. params ["f3aac5ff76cf25534cc06845b7f27b74:0c8525e13438ee64bfb73daa1fcd73c7aef4f2e5fcb4917d96cb010cfa8db2bbc15c079206e05f71f9f18e0f27ff7bd269f36d49bb4c15603e5062bfae311bbd", "2026-11-20T18:27:35.542+00:00", "CqFdF6d2tgwadndrs4iGNmTkyFXqitAJ"]
update "account" set "password" = $1, "updatedAt" = $2 where "account"."id" = $3 returning *;

-- [READ ext x10] tags={"SELECT n": 10}
--   e.g. params ["FvoWPfa8oixcVcGRzsDdD2X9cDIbHJfj", "100"]
select "primary".* from (select * from "session" where "session"."userId" = $1 limit $2) as "primary";

-- [DML ext x9] tags={"DELETE n": 9}
--   e.g. params ["FvoWPfa8oixcVcGRzsDdD2X9cDIbHJfj"]
delete from "session" where "session"."userId" = $1;

-- ==== phase: request-password-reset

-- [DML ext x5] tags={"INSERT 0 n": 5}
--   e.g. params ["reset-password:CgkiKYohrqJbwVgT9SA0p2BS", "FvoWPfa8oixcVcGRzsDdD2X9cDIbHJfj", "2026-11-20T19:27:35.666+00:00", "2026-11-20T18:27:35.667+00:00", "2026-11-20T18:27:35.667+00:00", "RChszd5cRK9CLShrZAaxBdRYBp7eYFnM"]
insert into "verification" ("identifier", "value", "expiresAt", "createdAt", "updatedAt", "id") values ($1, $2, $3, $4, $5, $6) returning *;

-- ==== phase: reset-password

-- [READ ext x7] tags={"SELECT n": 7}
--   e.g. params ["reset-password:CgkiKYohrqJbwVgT9SA0p2BS", "1"]
select "primary".* from (select * from "verification" where "verification"."identifier" = $1 order by "createdAt" desc limit $2) as "primary" order by "createdAt" desc;

-- [DML ext x4] tags={"DELETE n": 4}
--   e.g. params ["RChszd5cRK9CLShrZAaxBdRYBp7eYFnM", "1", "RChszd5cRK9CLShrZAaxBdRYBp7eYFnM"]
delete from "verification" where "verification"."id" in (select "verification"."id" from "verification" where "verification"."id" = $1 limit $2) and "verification"."id" = $3 returning *;

-- [DML ext x4] tags={"DELETE n": 4}
--   e.g. params ["reset-password:CgkiKYohrqJbwVgT9SA0p2BS"]
delete from "verification" where "verification"."identifier" = $1;

-- [DML ext x1] tags={"UPDATE n": 1}
--   e.g. params ["ea360b43efe16482f51870c8dc81aab0:8d16af12beae02ab80d4679716e880d5e36f5db7497f8b0d6fa81f26c11935afd52809b709e297dfa3b5fd639af28769889c646597b489ba6fd60ecedb9203dd", "2026-11-20T18:27:35.937+00:00", "FvoWPfa8oixcVcGRzsDdD2X9cDIbHJfj", "credential", "FvoWPfa8oixcVcGRzsDdD2X9cDIbHJfj"]
update "account" set "password" = $1, "updatedAt" = $2 where ("account"."userId" = $3 and "account"."providerId" = $4 and "account"."accountId" = $5);

-- ==== phase: verify-email

-- [DML ext x1] tags={"UPDATE n": 1}
--   e.g. params ["true", "2026-11-20T18:27:36.360+00:00", "alice@example.com"]
update "user" set "emailVerified" = $1, "updatedAt" = $2 where "user"."email" = $3 returning *;

-- ==== phase: email-otp.sign-in

-- [READ ext x3] tags={"SELECT n": 3}
--   e.g. params ["2026-11-20T18:27:36.452+00:00", "100"]
select "primary".* from (select * from "verification" where "verification"."expiresAt" < $1 limit $2) as "primary";

-- [DML ext x3] tags={"DELETE n": 3}
--   e.g. params ["2026-11-20T18:27:36.452+00:00"]
delete from "verification" where "verification"."expiresAt" < $1;

-- [DML ext x5] tags={"INSERT 0 n": 5}
--   e.g. params ["", "otp@example.com", "true", "2026-11-20T18:27:36.499+00:00", "2026-11-20T18:27:36.499+00:00", "user", "false", "false", "false", "SYXR5LGpCoAbTo5KcbEPeVHIH00hfqvm"]
insert into "user" ("name", "email", "emailVerified", "createdAt", "updatedAt", "role", "banned", "twoFactorEnabled", "isAnonymous", "id") values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10) returning *;

-- ==== phase: anonymous.link

-- [DML ext x3] tags={"DELETE n": 3}
--   e.g. params ["vfpznh7HQt4Py6gRL1L5vYJnOkqPbW5k"]
delete from "account" where "account"."userId" = $1;

-- [READ ext x3] tags={"SELECT n": 3}
--   e.g. params ["vfpznh7HQt4Py6gRL1L5vYJnOkqPbW5k", "1"]
select "primary".* from (select * from "user" where "user"."id" = $1 limit $2) as "primary";

-- [DML ext x3] tags={"DELETE n": 3}
--   e.g. params ["vfpznh7HQt4Py6gRL1L5vYJnOkqPbW5k"]
delete from "user" where "user"."id" = $1;

-- ==== phase: phone.verify

-- [READ ext x1] tags={"SELECT n": 1}
--   e.g. params ["+46700000001", "100"]
select "primary".* from (select * from "user" where "user"."phoneNumber" = $1 limit $2) as "primary";

-- [DML ext x1] tags={"UPDATE n": 1}
--   e.g. params ["2026-11-20T18:27:37.096+00:00", "+46700000001", "true", "FvoWPfa8oixcVcGRzsDdD2X9cDIbHJfj"]
update "user" set "updatedAt" = $1, "phoneNumber" = $2, "phoneNumberVerified" = $3 where "user"."id" = $4 returning *;

-- ==== phase: org.create

-- [READ ext x2] tags={"SELECT n": 2}
--   e.g. params ["FvoWPfa8oixcVcGRzsDdD2X9cDIbHJfj", "100"]
select "primary".* from (select * from "member" where "member"."userId" = $1 limit $2) as "primary";

-- [READ ext x1] tags={"SELECT n": 1}
--   e.g. params ["acme"]
select "primary".* from (select * from "organization" where "organization"."slug" = $1) as "primary";

-- [DML ext x1] tags={"INSERT 0 n": 1}
--   e.g. params ["Acme", "acme", "2026-11-20T18:27:37.156+00:00", "{\"a\":1}", "FxZNqAZQ6dWRk93HzN1zMb1NNYyeB3zb"]
insert into "organization" ("name", "slug", "createdAt", "metadata", "id") values ($1, $2, $3, $4, $5) returning *;

-- [DML ext x2] tags={"INSERT 0 n": 2}
--   e.g. params ["FxZNqAZQ6dWRk93HzN1zMb1NNYyeB3zb", "FvoWPfa8oixcVcGRzsDdD2X9cDIbHJfj", "owner", "2026-11-20T18:27:37.164+00:00", "5PXqE9jOAreQdiew9zYm9VCrvtgvnDVT"]
insert into "member" ("organizationId", "userId", "role", "createdAt", "id") values ($1, $2, $3, $4, $5) returning *;

-- [DML ext x1] tags={"INSERT 0 n": 1}
--   e.g. params ["Acme", "0", "FxZNqAZQ6dWRk93HzN1zMb1NNYyeB3zb", "2026-11-20T18:27:37.166+00:00", "Aty0BDbxQWig62NnySSpQHtZPBYoQZso"]
insert into "team" ("name", "memberCount", "organizationId", "createdAt", "id") values ($1, $2, $3, $4, $5) returning *;

-- [READ ext x1] tags={"SELECT n": 1}
--   e.g. params ["FN_sdD8O4D3Ct13BrU-EIaiKhlBKCuP_6naOmHTzWlo"]
select "primary".* from (select * from "teamMember" where "teamMember"."membershipKey" = $1) as "primary";

-- [READ ext x1] tags={"SELECT n": 1}
--   e.g. params ["Aty0BDbxQWig62NnySSpQHtZPBYoQZso", "FvoWPfa8oixcVcGRzsDdD2X9cDIbHJfj"]
select "primary".* from (select * from "teamMember" where ("teamMember"."teamId" = $1 and "teamMember"."userId" = $2)) as "primary";

-- [READ ext x1] tags={"SELECT n": 1}
--   e.g. params ["Aty0BDbxQWig62NnySSpQHtZPBYoQZso"]
select count("id") as "count" from "teamMember" where "teamMember"."teamId" = $1;

-- [DML ext x1] tags={"UPDATE n": 1}
--   e.g. params ["0", "2026-11-20T18:27:37.182+00:00", "Aty0BDbxQWig62NnySSpQHtZPBYoQZso", "0", "Aty0BDbxQWig62NnySSpQHtZPBYoQZso", "0", "1"]
update "team" set "memberCount" = $1, "updatedAt" = $2 where ("team"."id" = $3 and "team"."memberCount" < $4) and "team"."id" in (select "team"."id" from "team" where ("team"."id" = $5 and "team"."memberCount" < $6) limit $7) returning *;

-- [DML ext x1] tags={"INSERT 0 n": 1}
--   e.g. params ["Aty0BDbxQWig62NnySSpQHtZPBYoQZso", "FvoWPfa8oixcVcGRzsDdD2X9cDIbHJfj", "FN_sdD8O4D3Ct13BrU-EIaiKhlBKCuP_6naOmHTzWlo", "2026-11-20T18:27:37.191+00:00", "dqnmHkLWou7Kdyy2tzCauNxzIZPNBBz6"]
insert into "teamMember" ("teamId", "userId", "membershipKey", "createdAt", "id") values ($1, $2, $3, $4, $5) returning *;

-- [DML ext x1] tags={"UPDATE n": 1}
--   e.g. params ["1", "Aty0BDbxQWig62NnySSpQHtZPBYoQZso", "Aty0BDbxQWig62NnySSpQHtZPBYoQZso", "1"]
update "team" set "memberCount" = "memberCount" + $1 where "team"."id" = $2 and "team"."id" in (select "team"."id" from "team" where "team"."id" = $3 limit $4) returning *;

-- [DML ext x4] tags={"UPDATE n": 4}
--   e.g. params ["2026-11-20T18:27:37.196+00:00", "FxZNqAZQ6dWRk93HzN1zMb1NNYyeB3zb", "10isEu24skX3pigQeN0OUXd0726mlipe"]
update "session" set "updatedAt" = $1, "activeOrganizationId" = $2 where "session"."token" = $3 returning *;

-- [DML ext x1] tags={"UPDATE n": 1}
--   e.g. params ["2026-11-20T18:27:37.198+00:00", "Aty0BDbxQWig62NnySSpQHtZPBYoQZso", "10isEu24skX3pigQeN0OUXd0726mlipe"]
update "session" set "updatedAt" = $1, "activeTeamId" = $2 where "session"."token" = $3 returning *;

-- ==== phase: org.update

-- [READ ext x7] tags={"SELECT n": 7}
--   e.g. params ["FvoWPfa8oixcVcGRzsDdD2X9cDIbHJfj", "FxZNqAZQ6dWRk93HzN1zMb1NNYyeB3zb"]
select "primary".* from (select * from "member" where ("member"."userId" = $1 and "member"."organizationId" = $2)) as "primary";

-- [DML ext x1] tags={"UPDATE n": 1}
--   e.g. params ["Acme 2", "FxZNqAZQ6dWRk93HzN1zMb1NNYyeB3zb"]
update "organization" set "name" = $1 where "organization"."id" = $2 returning *;

-- ==== phase: org.invite

-- [READ ext x1] tags={"SELECT n": 1}
--   e.g. params ["FxZNqAZQ6dWRk93HzN1zMb1NNYyeB3zb", "D2O7Ltmt4LwI3N4Uwnf3EncEaHu4qoEA"]
select "primary".* from (select * from "member" where ("member"."organizationId" = $1 and "member"."userId" = $2)) as "primary";

-- [READ ext x1] tags={"SELECT n": 1}
--   e.g. params ["anon@example.com", "FxZNqAZQ6dWRk93HzN1zMb1NNYyeB3zb", "pending", "100"]
select "primary".* from (select * from "invitation" where ("invitation"."email" = $1 and "invitation"."organizationId" = $2 and "invitation"."status" = $3) limit $4) as "primary";

-- [READ ext x7] tags={"SELECT n": 7}
--   e.g. params ["FxZNqAZQ6dWRk93HzN1zMb1NNYyeB3zb"]
select "primary".* from (select * from "organization" where "organization"."id" = $1) as "primary";

-- [READ ext x1] tags={"SELECT n": 1}
--   e.g. params ["FxZNqAZQ6dWRk93HzN1zMb1NNYyeB3zb", "pending", "100"]
select "primary".* from (select * from "invitation" where ("invitation"."organizationId" = $1 and "invitation"."status" = $2) limit $3) as "primary";

-- [DML ext x1] tags={"INSERT 0 n": 1}
--   e.g. params ["FxZNqAZQ6dWRk93HzN1zMb1NNYyeB3zb", "anon@example.com", "member", null, "pending", "2026-11-22T18:27:37.291+00:00", "2026-11-20T18:27:37.291+00:00", "FvoWPfa8oixcVcGRzsDdD2X9cDIbHJfj", "3BT5vKU7ymNwrB5KB1ZjKCvUPiqZdM2k"]
insert into "invitation" ("organizationId", "email", "role", "teamId", "status", "expiresAt", "createdAt", "inviterId", "id") values ($1, $2, $3, $4, $5, $6, $7, $8, $9) returning *;

-- ==== phase: org.full

-- [READ ext x1] tags={"SELECT n": 1}
--   e.g. params ["FxZNqAZQ6dWRk93HzN1zMb1NNYyeB3zb", "100"]
select "primary".* from (select * from "invitation" where "invitation"."organizationId" = $1 limit $2) as "primary";

-- [READ ext x1] tags={"SELECT n": 1}
--   e.g. params ["FxZNqAZQ6dWRk93HzN1zMb1NNYyeB3zb", "100"]
select "primary".* from (select * from "member" where "member"."organizationId" = $1 limit $2) as "primary";

-- [READ ext x2] tags={"SELECT n": 2}
--   e.g. params ["FxZNqAZQ6dWRk93HzN1zMb1NNYyeB3zb", "100"]
select "primary".* from (select * from "team" where "team"."organizationId" = $1 limit $2) as "primary";

-- [READ ext x1] tags={"SELECT n": 1}
--   e.g. params ["FvoWPfa8oixcVcGRzsDdD2X9cDIbHJfj", "100"]
select "primary".* from (select * from "user" where "user"."id" in ($1) limit $2) as "primary";

-- ==== phase: team.create

-- [DML ext x1] tags={"INSERT 0 n": 1}
--   e.g. params ["T1", "0", "FxZNqAZQ6dWRk93HzN1zMb1NNYyeB3zb", "2026-11-20T18:27:37.394+00:00", "2026-11-20T18:27:37.394+00:00", "jQ9L2iEMyjKbu5AXfUBOGrGnHFbX0Qmf"]
insert into "team" ("name", "memberCount", "organizationId", "createdAt", "updatedAt", "id") values ($1, $2, $3, $4, $5, $6) returning *;

-- ==== phase: org.accept

-- [READ ext x1] tags={"SELECT n": 1}
--   e.g. params ["3BT5vKU7ymNwrB5KB1ZjKCvUPiqZdM2k"]
select "primary".* from (select * from "invitation" where "invitation"."id" = $1) as "primary";

-- [READ ext x2] tags={"SELECT n": 2}
--   e.g. params ["FxZNqAZQ6dWRk93HzN1zMb1NNYyeB3zb"]
select count("id") as "count" from "member" where "member"."organizationId" = $1;

-- [DML ext x1] tags={"UPDATE n": 1}
--   e.g. params ["accepted", "3BT5vKU7ymNwrB5KB1ZjKCvUPiqZdM2k", "pending", "3BT5vKU7ymNwrB5KB1ZjKCvUPiqZdM2k", "pending", "1"]
update "invitation" set "status" = $1 where ("invitation"."id" = $2 and "invitation"."status" = $3) and "invitation"."id" in (select "invitation"."id" from "invitation" where ("invitation"."id" = $4 and "invitation"."status" = $5) limit $6) returning *;

-- ==== phase: org.members

-- [READ ext x1] tags={"SELECT n": 1}
--   e.g. params ["FxZNqAZQ6dWRk93HzN1zMb1NNYyeB3zb", "5", "0"]
select "primary".* from (select * from "member" where "member"."organizationId" = $1 order by "createdAt" desc limit $2 offset $3) as "primary" order by "createdAt" desc;

-- [READ ext x1] tags={"SELECT n": 1}
--   e.g. params ["D2O7Ltmt4LwI3N4Uwnf3EncEaHu4qoEA", "FvoWPfa8oixcVcGRzsDdD2X9cDIbHJfj", "2"]
select "primary".* from (select * from "user" where "user"."id" in ($1, $2) limit $3) as "primary";

-- ==== phase: admin.promote (direct adapter)

-- [DML ext x1] tags={"UPDATE n": 1}
--   e.g. params ["2026-11-20T18:27:37.888+00:00", "admin", "FvoWPfa8oixcVcGRzsDdD2X9cDIbHJfj"]
update "user" set "updatedAt" = $1, "role" = $2 where "user"."id" = $3 returning *;

-- ==== phase: admin.list-users

-- [READ ext x1] tags={"SELECT n": 1}
--   e.g. params ["%a%", "10"]
select "primary".* from (select * from "user" where "user"."email" like $1 order by "createdAt" desc limit $2) as "primary" order by "createdAt" desc;

-- [READ ext x1] tags={"SELECT n": 1}
--   e.g. params ["%a%"]
select count("id") as "count" from "user" where "user"."email" like $1;

-- ==== phase: admin.ban

-- [DML ext x2] tags={"UPDATE n": 2}
--   e.g. params ["2026-11-20T18:27:38.223+00:00", "true", "x", "2026-11-20T18:28:38.223+00:00", "bAypCVr3DVbsrbrhWJ8wxyrtvYhtEwD3"]
update "user" set "updatedAt" = $1, "banned" = $2, "banReason" = $3, "banExpires" = $4 where "user"."id" = $5 returning *;

-- ==== phase: admin.impersonate

-- [DML ext x1] tags={"INSERT 0 n": 1}
--   e.g. params ["2026-11-20T19:27:38.266+00:00", "e9RzhpuiczvSBpLoyiNtlBOPtBOoWTOX", "2026-11-20T18:27:38.266+00:00", "2026-11-20T18:27:38.266+00:00", "10.0.0.1", "drv", "bAypCVr3DVbsrbrhWJ8wxyrtvYhtEwD3", "FvoWPfa8oixcVcGRzsDdD2X9cDIbHJfj", "n3qdf7qHdQrm8EGmnanqZjBEfhaFPSlE"]
insert into "session" ("expiresAt", "token", "createdAt", "updatedAt", "ipAddress", "userAgent", "userId", "impersonatedBy", "id") values ($1, $2, $3, $4, $5, $6, $7, $8, $9) returning *;

-- ==== phase: device.code

-- [DML ext x1] tags={"INSERT 0 n": 1}
--   e.g. params ["GokXeQABAxlBWYCaR2aBn7U07VRphjHgvofg81Vr", "8X45JP9F", null, "2026-11-20T18:57:38.385+00:00", "pending", "5000", "c1", "s", "nDWR1v5xymFmMu1OpRpurKRpyaRBEix0"]
insert into "deviceCode" ("deviceCode", "userCode", "userId", "expiresAt", "status", "pollingInterval", "clientId", "scope", "id") values ($1, $2, $3, $4, $5, $6, $7, $8, $9) returning *;

-- ==== phase: device.approve

-- [READ ext x2] tags={"SELECT n": 2}
--   e.g. params ["8X45JP9F"]
select "primary".* from (select * from "deviceCode" where "deviceCode"."userCode" = $1) as "primary";

-- [DML ext x1] tags={"UPDATE n": 1}
--   e.g. params ["FvoWPfa8oixcVcGRzsDdD2X9cDIbHJfj", "nDWR1v5xymFmMu1OpRpurKRpyaRBEix0", "pending", "nDWR1v5xymFmMu1OpRpurKRpyaRBEix0", "pending", "1"]
update "deviceCode" set "userId" = $1 where ("deviceCode"."id" = $2 and "deviceCode"."status" = $3 and "deviceCode"."userId" is null) and "deviceCode"."id" in (select "deviceCode"."id" from "deviceCode" where ("deviceCode"."id" = $4 and "deviceCode"."status" = $5 and "deviceCode"."userId" is null) limit $6) returning *;

-- [DML ext x1] tags={"UPDATE n": 1}
--   e.g. params ["FvoWPfa8oixcVcGRzsDdD2X9cDIbHJfj", "approved", "nDWR1v5xymFmMu1OpRpurKRpyaRBEix0"]
update "deviceCode" set "userId" = $1, "status" = $2 where "deviceCode"."id" = $3 returning *;

-- ==== phase: device.token

-- [READ ext x1] tags={"SELECT n": 1}
--   e.g. params ["GokXeQABAxlBWYCaR2aBn7U07VRphjHgvofg81Vr"]
select "primary".* from (select * from "deviceCode" where "deviceCode"."deviceCode" = $1) as "primary";

-- [DML ext x1] tags={"UPDATE n": 1}
--   e.g. params ["2026-11-20T18:27:38.449+00:00", "nDWR1v5xymFmMu1OpRpurKRpyaRBEix0"]
update "deviceCode" set "lastPolledAt" = $1 where "deviceCode"."id" = $2 returning *;

-- [DML ext x1] tags={"DELETE n": 1}
--   e.g. params ["nDWR1v5xymFmMu1OpRpurKRpyaRBEix0", "c1", "approved", "1", "nDWR1v5xymFmMu1OpRpurKRpyaRBEix0", "c1", "approved"]
delete from "deviceCode" where "deviceCode"."id" in (select "deviceCode"."id" from "deviceCode" where ("deviceCode"."id" = $1 and "deviceCode"."clientId" = $2 and "deviceCode"."status" = $3) limit $4) and ("deviceCode"."id" = $5 and "deviceCode"."clientId" = $6 and "deviceCode"."status" = $7) returning *;

-- ==== phase: 2fa.enable

-- [READ ext x1] tags={"SELECT n": 1}
--   e.g. params ["FvoWPfa8oixcVcGRzsDdD2X9cDIbHJfj"]
select "primary".* from (select * from "twoFactor" where "twoFactor"."userId" = $1) as "primary";

-- [DML ext x1] tags={"INSERT 0 n": 1}
--   e.g. params ["ff94925b6a61fb8f0a631a702dbf87d5a5e0030ac949fd924433f42e0e5524015201bbbfa3cc7675a25c66bc9818d9a81c39cfda4b16addaf9153dd051bd5cdf404e0a47fba534d4", "22eeb3d2b9cc47b5deb4ae1a1a4178a8f0610049945ac2dcf149814938d131b843f904b4f28e8f7993423625240248999224da99fc5320a16a940bb48f9ce9d795415421c415da5106af93f6d482fcbf1fd1b19e3498667057bba0a3c88050b3869e6726", "FvoWPfa8oixcVcGRzsDdD2X9cDIbHJfj", "false", "0", "7gZlrxQZfbvjhyWD9M83dOH8ScEczj0f"]
insert into "twoFactor" ("secret", "backupCodes", "userId", "verified", "failedVerificationCount", "id") values ($1, $2, $3, $4, $5, $6) returning *;

-- ==== phase: 2fa.disable

-- [DML ext x1] tags={"UPDATE n": 1}
--   e.g. params ["2026-11-20T18:27:38.924+00:00", "false", "FvoWPfa8oixcVcGRzsDdD2X9cDIbHJfj"]
update "user" set "updatedAt" = $1, "twoFactorEnabled" = $2 where "user"."id" = $3 returning *;

-- [DML ext x1] tags={"DELETE n": 1}
--   e.g. params ["FvoWPfa8oixcVcGRzsDdD2X9cDIbHJfj"]
delete from "twoFactor" where "twoFactor"."userId" = $1;

-- [DML ext x1] tags={"INSERT 0 n": 1}
--   e.g. params ["2026-11-27T18:27:38.928+00:00", "YqTxPXWwKlYGQUhNimofqsvzcsSwbiSG", "2026-11-20T18:27:38.928+00:00", "2026-11-20T18:27:38.928+00:00", "10.0.0.1", "drv", "FvoWPfa8oixcVcGRzsDdD2X9cDIbHJfj", "FxZNqAZQ6dWRk93HzN1zMb1NNYyeB3zb", "Aty0BDbxQWig62NnySSpQHtZPBYoQZso", null, "iNUYXIGvWCvnSSa9VuRv2bqd1300MgRs"]
insert into "session" ("expiresAt", "token", "createdAt", "updatedAt", "ipAddress", "userAgent", "userId", "activeOrganizationId", "activeTeamId", "impersonatedBy", "id") values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11) returning *;

-- ==== phase: org.delete

-- [DML ext x1] tags={"DELETE n": 1}
--   e.g. params ["FxZNqAZQ6dWRk93HzN1zMb1NNYyeB3zb"]
delete from "member" where "member"."organizationId" = $1;

-- [DML ext x1] tags={"DELETE n": 1}
--   e.g. params ["FxZNqAZQ6dWRk93HzN1zMb1NNYyeB3zb"]
delete from "invitation" where "invitation"."organizationId" = $1;

-- [DML ext x1] tags={"DELETE n": 1}
--   e.g. params ["FxZNqAZQ6dWRk93HzN1zMb1NNYyeB3zb"]
delete from "organization" where "organization"."id" = $1;
