-- FastAPI-Users 15.0.5 + SQLAlchemy 2.0.58 asyncio + psycopg 3.3.9
-- Captured between client and PostgreSQL 15.18: all messages, deduplicated (literals, IN-list length, savepoint names normalised; first exemplar kept).
-- Distinct statements: DDL=7, DML=13, READ=10, SESSION=3, TX=5; executions=208
-- Protocol: {"B:1": 89, "B:2": 89, "B:C": 208, "B:R": 5, "B:T": 70, "B:Z": 214, "B:n": 24, "Bind binary params": 25, "Describe P": 89, "F:B": 89, "F:D": 89, "F:E": 89, "F:EOF": 5, "F:P": 89, "F:Q": 119, "F:S": 90, "F:SSLRequest": 5, "F:Startup": 5, "F:X": 5, "Parse named": 1, "Parse unnamed": 88, "Parse with param OIDs": 26}
-- Startup parameters: [["3.0", {}]]
-- Result column types: {"varchar": 331, "uuid": 136, "bool": 117, "json": 39, "int4": 39, "timestamptz": 19, "name": 8, "text": 4, "26": 2, "18": 1, "int8": 1} result formats(0=text,1=binary): {"0": 697}
-- Parameter types (ParameterDescription): {}
-- SQL features (distinct/executions/distinct-in-DML): SAVEPOINT 2/2/0, multi-row VALUES 1/1/1, = ANY(array) 1/6/0, array literal/type 1/6/0, jsonb/json op 2/2/2, ::cast 20/89/13, SHOW 2/2/0, pg_catalog/information_schema 3/8/0, version()/server funcs 2/2/0, JOIN 4/45/0, DISCARD/RESET 1/1/0, ISOLATION LEVEL 1/1/0, ON DELETE CASCADE (FK) 2/2/0, upper()/lower() predicate 1/20/0
-- Server errors seen: none
-- Per statement:  -- [kind proto xEXECUTIONS first-phase] declared param oids, example params, tags, errors

-- ==== phase: create_all

-- [TX simple x52] tags={"BEGIN": 52}
BEGIN;

-- [READ simple x1] tags={"SELECT n": 1}
select pg_catalog.version();

-- [READ simple x1] tags={"SELECT n": 1}
select current_schema();

-- [SESSION simple x1] tags={"SHOW": 1}
show transaction isolation level;

-- [SESSION simple x1] tags={"SHOW": 1}
show standard_conforming_strings;

-- [TX simple x1] tags={"SAVEPOINT": 1}
SAVEPOINT "_pg3_1";

-- [READ ext x1] tags={"SELECT n": 1}
--   e.g. params ["hstore"]
SELECT
    typname AS name, oid, typarray AS array_oid,
    oid::regtype::text AS regtype, typdelim AS delimiter
FROM pg_type t
WHERE t.oid = to_regtype($1)
ORDER BY t.oid;

-- [TX simple x1] tags={"RELEASE": 1}
RELEASE "_pg3_1";

-- [TX simple x26] tags={"ROLLBACK": 26}
ROLLBACK;

-- [READ ext named x6] tags={"SELECT n": 6}
--   e.g. params ["oauth_account", "r", "p", "f", "v", "m", "pg_catalog"]
SELECT pg_catalog.pg_class.relname 
FROM pg_catalog.pg_class JOIN pg_catalog.pg_namespace ON pg_catalog.pg_namespace.oid = pg_catalog.pg_class.relnamespace 
WHERE pg_catalog.pg_class.relname = $1::VARCHAR AND pg_catalog.pg_class.relkind = ANY (ARRAY[$2::VARCHAR, $3::VARCHAR, $4::VARCHAR, $5::VARCHAR, $6::VARCHAR]) AND pg_catalog.pg_table_is_visible(pg_catalog.pg_class.oid) AND pg_catalog.pg_namespace.nspname != $7::VARCHAR;

-- [DDL simple x1] tags={"CREATE TABLE": 1}
CREATE TABLE "user" (
	first_name VARCHAR(80), 
	prefs JSON, 
	id UUID NOT NULL, 
	email VARCHAR(320) NOT NULL, 
	hashed_password VARCHAR(1024) NOT NULL, 
	is_active BOOLEAN NOT NULL, 
	is_superuser BOOLEAN NOT NULL, 
	is_verified BOOLEAN NOT NULL, 
	PRIMARY KEY (id)
);

-- [DDL simple x1] tags={"CREATE INDEX": 1}
CREATE UNIQUE INDEX ix_user_email ON "user" (email);

-- [DDL simple x1] tags={"CREATE TABLE": 1}
CREATE TABLE oauth_account (
	id UUID NOT NULL, 
	user_id UUID NOT NULL, 
	oauth_name VARCHAR(100) NOT NULL, 
	access_token VARCHAR(1024) NOT NULL, 
	expires_at INTEGER, 
	refresh_token VARCHAR(1024), 
	account_id VARCHAR(320) NOT NULL, 
	account_email VARCHAR(320) NOT NULL, 
	PRIMARY KEY (id), 
	FOREIGN KEY(user_id) REFERENCES "user" (id) ON DELETE cascade
);

-- [DDL simple x1] tags={"CREATE INDEX": 1}
CREATE INDEX ix_oauth_account_oauth_name ON oauth_account (oauth_name);

-- [DDL simple x1] tags={"CREATE INDEX": 1}
CREATE INDEX ix_oauth_account_account_id ON oauth_account (account_id);

-- [DDL simple x1] tags={"CREATE TABLE": 1}
CREATE TABLE accesstoken (
	user_id UUID NOT NULL, 
	token VARCHAR(43) NOT NULL, 
	created_at TIMESTAMP WITH TIME ZONE NOT NULL, 
	PRIMARY KEY (token), 
	FOREIGN KEY(user_id) REFERENCES "user" (id) ON DELETE cascade
);

-- [DDL simple x1] tags={"CREATE INDEX": 1}
CREATE INDEX ix_accesstoken_created_at ON accesstoken (created_at);

-- [TX simple x26] tags={"COMMIT": 26}
COMMIT;

-- ==== phase: register

-- [READ ext x20] tags={"SELECT n": 20}
--   e.g. params ["alice@example.com"]
SELECT "user".first_name, "user".prefs, "user".id, "user".email, "user".hashed_password, "user".is_active, "user".is_superuser, "user".is_verified, oauth_account_1.id AS id_1, oauth_account_1.user_id, oauth_account_1.oauth_name, oauth_account_1.access_token, oauth_account_1.expires_at, oauth_account_1.refresh_token, oauth_account_1.account_id, oauth_account_1.account_email 
FROM "user" LEFT OUTER JOIN oauth_account AS oauth_account_1 ON "user".id = oauth_account_1.user_id 
WHERE lower("user".email) = lower($1::VARCHAR);

-- [DML ext x1] parse_oids=-,json,-,-,-,bool,bool,bool params=BINARY tags={"INSERT 0 n": 1}
--   e.g. params ["Al'ice \\ é😀", "{\"a\": [1, null], \"s\": \"x\"}", "4f172cbc-6566-4b59-bc4f-ab085d3c2a25", "alice@example.com", "$argon2id$v=19$m=65536,t=3,p=4$lZRSVg1jin/iwgf+nxFvMQ$2N4XOY5oWQQ8xplWnvuIW/PqoEx3vlLgkbjL2U2smPg", "bin:01", "bin:00", "bin:00"]
INSERT INTO "user" (first_name, prefs, id, email, hashed_password, is_active, is_superuser, is_verified) VALUES ($1::VARCHAR, $2::JSON, $3::UUID, $4::VARCHAR, $5::VARCHAR, $6, $7, $8);

-- [READ ext x18] tags={"SELECT n": 18}
--   e.g. params ["4f172cbc-6566-4b59-bc4f-ab085d3c2a25"]
SELECT "user".first_name, "user".prefs, "user".id, "user".email, "user".hashed_password, "user".is_active, "user".is_superuser, "user".is_verified, oauth_account_1.id AS id_1, oauth_account_1.user_id, oauth_account_1.oauth_name, oauth_account_1.access_token, oauth_account_1.expires_at, oauth_account_1.refresh_token, oauth_account_1.account_id, oauth_account_1.account_email 
FROM "user" LEFT OUTER JOIN oauth_account AS oauth_account_1 ON "user".id = oauth_account_1.user_id 
WHERE "user".id = $1::UUID;

-- [SESSION simple x1] tags={"DEALLOCATE ALL": 1}
DEALLOCATE ALL;

-- ==== phase: login

-- [DML ext x12] parse_oids=-,-,timestamptz params=BINARY tags={"INSERT 0 n": 12}
--   e.g. params ["4f172cbc-6566-4b59-bc4f-ab085d3c2a25", "UoCRdAEOATOFFvdVNzO3hvbpj4gkoEh5b9pL1fjDWCw", "bin:000303b7e95b554b"]
INSERT INTO accesstoken (user_id, token, created_at) VALUES ($1::UUID, $2::VARCHAR, $3::TIMESTAMP WITH TIME ZONE);

-- [READ ext x13] tags={"SELECT n": 13}
--   e.g. params ["UoCRdAEOATOFFvdVNzO3hvbpj4gkoEh5b9pL1fjDWCw"]
SELECT accesstoken.user_id, accesstoken.token, accesstoken.created_at 
FROM accesstoken 
WHERE accesstoken.token = $1::VARCHAR;

-- ==== phase: me

-- [READ ext x6] parse_oids=-,timestamptz params=BINARY tags={"SELECT n": 6}
--   e.g. params ["UoCRdAEOATOFFvdVNzO3hvbpj4gkoEh5b9pL1fjDWCw", "bin:000303b712c96418"]
SELECT accesstoken.user_id, accesstoken.token, accesstoken.created_at 
FROM accesstoken 
WHERE accesstoken.token = $1::VARCHAR AND accesstoken.created_at >= $2::TIMESTAMP WITH TIME ZONE;

-- ==== phase: me.patch

-- [DML ext x1] parse_oids=-,json,-,- tags={"UPDATE n": 1}
--   e.g. params ["B", "{\"n\": 1.5}", "$argon2id$v=19$m=65536,t=3,p=4$TqQcmtnJ9RJWlEUeb9G/fw$zH8Wa9aMvzO2NS6fatq5r2+pxJseIfNoxxDic2ty4jk", "4f172cbc-6566-4b59-bc4f-ab085d3c2a25"]
UPDATE "user" SET first_name=$1::VARCHAR, prefs=$2::JSON, hashed_password=$3::VARCHAR WHERE "user".id = $4::UUID;

-- ==== phase: reset

-- [DML ext x1] tags={"UPDATE n": 1}
--   e.g. params ["$argon2id$v=19$m=65536,t=3,p=4$E2nQkoEuV/rLBz5d17xaMQ$RivX8C2TCobzISAo4R5ZY2n486X48rMJcZV629N8QKQ", "4f172cbc-6566-4b59-bc4f-ab085d3c2a25"]
UPDATE "user" SET hashed_password=$1::VARCHAR WHERE "user".id = $2::UUID;

-- ==== phase: verify

-- [DML ext x1] parse_oids=bool,- params=BINARY tags={"UPDATE n": 1}
--   e.g. params ["bin:01", "4f172cbc-6566-4b59-bc4f-ab085d3c2a25"]
UPDATE "user" SET is_verified=$1 WHERE "user".id = $2::UUID;

-- ==== phase: oauth accounts + superuser

-- [DML ext x1] parse_oids=bool,- params=BINARY tags={"UPDATE n": 1}
--   e.g. params ["bin:01", "4f172cbc-6566-4b59-bc4f-ab085d3c2a25"]
UPDATE "user" SET is_superuser=$1 WHERE "user".id = $2::UUID;

-- [DML ext x1] parse_oids=-,-,-,-,int2,-,-,- params=BINARY tags={"INSERT 0 n": 1}
--   e.g. params ["7a4d3a87-653a-43dd-9f95-13f265870f99", "4f172cbc-6566-4b59-bc4f-ab085d3c2a25", "google", "t", "bin:0001", null, "1", "a@g"]
INSERT INTO oauth_account (id, user_id, oauth_name, access_token, expires_at, refresh_token, account_id, account_email) VALUES ($1::UUID, $2::UUID, $3::VARCHAR, $4::VARCHAR, $5::INTEGER, $6::VARCHAR, $7::VARCHAR, $8::VARCHAR);

-- [READ ext x1] tags={"SELECT n": 1}
--   e.g. params ["google", "1"]
SELECT "user".first_name, "user".prefs, "user".id, "user".email, "user".hashed_password, "user".is_active, "user".is_superuser, "user".is_verified, oauth_account_1.id AS id_1, oauth_account_1.user_id, oauth_account_1.oauth_name, oauth_account_1.access_token, oauth_account_1.expires_at, oauth_account_1.refresh_token, oauth_account_1.account_id, oauth_account_1.account_email 
FROM "user" JOIN oauth_account ON "user".id = oauth_account.user_id LEFT OUTER JOIN oauth_account AS oauth_account_1 ON "user".id = oauth_account_1.user_id 
WHERE oauth_account.oauth_name = $1::VARCHAR AND oauth_account.account_id = $2::VARCHAR;

-- [DML ext x1] tags={"UPDATE n": 1}
--   e.g. params ["t2", "7a4d3a87-653a-43dd-9f95-13f265870f99"]
UPDATE oauth_account SET access_token=$1::VARCHAR WHERE oauth_account.id = $2::UUID;

-- ==== phase: register.bob

-- [DML ext x1] parse_oids=-,-,-,-,bool,bool,bool params=BINARY tags={"INSERT 0 n": 1}
--   e.g. params [null, "44d59d27-8faf-48e1-9f48-0a0b7c520d7e", "bob@example.com", "$argon2id$v=19$m=65536,t=3,p=4$QTwRGI7AXOEXjBR0WYuADA$oUjR7RKOdt6/yHwEmRglJhVqXoNf8CWXkJVhYJ6xgI0", "bin:01", "bin:00", "bin:00"]
INSERT INTO "user" (first_name, id, email, hashed_password, is_active, is_superuser, is_verified) VALUES ($1::VARCHAR, $2::UUID, $3::VARCHAR, $4::VARCHAR, $5, $6, $7);

-- ==== phase: admin.patch

-- [DML ext x1] parse_oids=bool,- params=BINARY tags={"UPDATE n": 1}
--   e.g. params ["bin:00", "44d59d27-8faf-48e1-9f48-0a0b7c520d7e"]
UPDATE "user" SET is_active=$1 WHERE "user".id = $2::UUID;

-- ==== phase: admin.delete

-- [DML ext x1] tags={"DELETE n": 1}
--   e.g. params ["44d59d27-8faf-48e1-9f48-0a0b7c520d7e"]
DELETE FROM "user" WHERE "user".id = $1::UUID;

-- ==== phase: orm.add_all (insertmanyvalues)

-- [DML ext x1] parse_oids=-,-,-,-,bool,bool,bool,-,-,-,-,bool,bool,bool,-,-,-,-,bool,bool,bool,-,-,-,-,bool,bool,bool params=BINARY tags={"INSERT 0 n": 1}
--   e.g. params [null, "8d7920e7-9ef1-479e-bbd6-b908fbeffa44", "u0@x", "!", "bin:01", "bin:00", "bin:00", null, "64ab637a-126f-4d39-8743-af2e42d3f80f", "u1@x", "!", "bin:01", "bin:00", "bin:00", null, "693b0253-962d-49ab-b464-e508361ec2bd", "u2@x", "!", "bin:01", "bin:00", "bin:00", null, "038e27d1-c538-4fb0-a21a-a6ed913bf87a", "u3@x", "!", "bin:01", "bin:00", "bin:00"]
INSERT INTO "user" (first_name, id, email, hashed_password, is_active, is_superuser, is_verified) VALUES ($1::VARCHAR, $2::UUID, $3::VARCHAR, $4::VARCHAR, $5, $6, $7), ($8::VARCHAR, $9::UUID, $10::VARCHAR, $11::VARCHAR, $12, $13, $14), ($15::VARCHAR, $16::UUID, $17::VARCHAR, $18::VARCHAR, $19, $20, $21), ($22::VARCHAR, $23::UUID, $24::VARCHAR, $25::VARCHAR, $26, $27, $28);

-- [READ simple x1] tags={"SELECT n": 1}
SELECT count(*) AS count_1 
FROM "user";

-- ==== phase: logout

-- [DML ext x1] tags={"DELETE n": 1}
--   e.g. params ["UoCRdAEOATOFFvdVNzO3hvbpj4gkoEh5b9pL1fjDWCw"]
DELETE FROM accesstoken WHERE accesstoken.token = $1::VARCHAR;
