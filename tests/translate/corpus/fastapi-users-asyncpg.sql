-- FastAPI-Users 15.0.5 + SQLAlchemy 2.0.58 asyncio + asyncpg 0.32.0
-- Captured between client and PostgreSQL 15.18: all messages, deduplicated (literals, IN-list length, savepoint names normalised; first exemplar kept).
-- Distinct statements: DDL=7, DML=13, READ=9, SESSION=2, TX=3; executions=204
-- Protocol: {"B:1": 46, "B:2": 100, "B:3": 1, "B:C": 204, "B:R": 5, "B:T": 22, "B:Z": 210, "B:n": 24, "B:t": 46, "Bind binary params": 100, "Bind binary results": 100, "Close S": 1, "Describe S": 46, "F:B": 100, "F:C": 1, "F:D": 46, "F:E": 100, "F:EOF": 5, "F:H": 46, "F:P": 46, "F:Q": 104, "F:S": 101, "F:SSLRequest": 5, "F:Startup": 5, "F:X": 5, "Parse named": 46}
-- Startup parameters: [["3.0", {"client_encoding": "'utf-8'"}]]
-- Result column types: {"varchar": 71, "uuid": 31, "bool": 24, "json": 8, "int4": 8, "timestamptz": 7, "text": 3, "name": 3, "int8": 1} result formats(0=text,1=binary): {"0": 156}
-- Parameter types (ParameterDescription): {"varchar": 61, "uuid": 22, "bool": 21, "timestamptz": 7, "json": 2, "int4": 1}
-- SQL features (distinct/executions/distinct-in-DML): multi-row VALUES 1/1/1, = ANY(array) 1/6/0, array literal/type 1/6/0, jsonb/json op 2/2/2, ::cast 19/88/13, SHOW 2/2/0, pg_catalog/information_schema 2/7/0, version()/server funcs 2/2/0, JOIN 4/45/0, ISOLATION LEVEL 1/1/0, ON DELETE CASCADE (FK) 2/2/0, upper()/lower() predicate 1/20/0
-- Server errors seen: none
-- Per statement:  -- [kind proto xEXECUTIONS first-phase] declared param oids, example params, tags, errors

-- ==== phase: create_all

-- [TX simple x52] tags={"BEGIN": 52}
BEGIN;

-- [READ ext named x1] params=BINARY results=BINARY tags={"SELECT n": 1}
select pg_catalog.version();

-- [READ ext named x1] params=BINARY results=BINARY tags={"SELECT n": 1}
select current_schema();

-- [SESSION ext named x1] params=BINARY results=BINARY tags={"SHOW": 1}
show transaction isolation level;

-- [SESSION ext named x1] params=BINARY results=BINARY tags={"SHOW": 1}
show standard_conforming_strings;

-- [TX simple x26] tags={"ROLLBACK": 26}
ROLLBACK;

-- [READ ext named x6] params=BINARY results=BINARY tags={"SELECT n": 6}
--   e.g. params ["bin:6f617574685f6163636f756e74", "bin:72", "bin:70", "bin:66", "bin:76", "bin:6d", "bin:70675f636174616c6f67"]
SELECT pg_catalog.pg_class.relname 
FROM pg_catalog.pg_class JOIN pg_catalog.pg_namespace ON pg_catalog.pg_namespace.oid = pg_catalog.pg_class.relnamespace 
WHERE pg_catalog.pg_class.relname = $1::VARCHAR AND pg_catalog.pg_class.relkind = ANY (ARRAY[$2::VARCHAR, $3::VARCHAR, $4::VARCHAR, $5::VARCHAR, $6::VARCHAR]) AND pg_catalog.pg_table_is_visible(pg_catalog.pg_class.oid) AND pg_catalog.pg_namespace.nspname != $7::VARCHAR;

-- [DDL ext named x1] params=BINARY results=BINARY tags={"CREATE TABLE": 1}
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

-- [DDL ext named x1] params=BINARY results=BINARY tags={"CREATE INDEX": 1}
CREATE UNIQUE INDEX ix_user_email ON "user" (email);

-- [DDL ext named x1] params=BINARY results=BINARY tags={"CREATE TABLE": 1}
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

-- [DDL ext named x1] params=BINARY results=BINARY tags={"CREATE INDEX": 1}
CREATE INDEX ix_oauth_account_account_id ON oauth_account (account_id);

-- [DDL ext named x1] params=BINARY results=BINARY tags={"CREATE INDEX": 1}
CREATE INDEX ix_oauth_account_oauth_name ON oauth_account (oauth_name);

-- [DDL ext named x1] params=BINARY results=BINARY tags={"CREATE TABLE": 1}
CREATE TABLE accesstoken (
	user_id UUID NOT NULL, 
	token VARCHAR(43) NOT NULL, 
	created_at TIMESTAMP WITH TIME ZONE NOT NULL, 
	PRIMARY KEY (token), 
	FOREIGN KEY(user_id) REFERENCES "user" (id) ON DELETE cascade
);

-- [DDL ext named x1] params=BINARY results=BINARY tags={"CREATE INDEX": 1}
CREATE INDEX ix_accesstoken_created_at ON accesstoken (created_at);

-- [TX simple x26] tags={"COMMIT": 26}
COMMIT;

-- ==== phase: register

-- [READ ext named x20] params=BINARY results=BINARY tags={"SELECT n": 20}
--   e.g. params ["bin:616c696365406578616d706c652e636f6d"]
SELECT "user".first_name, "user".prefs, "user".id, "user".email, "user".hashed_password, "user".is_active, "user".is_superuser, "user".is_verified, oauth_account_1.id AS id_1, oauth_account_1.user_id, oauth_account_1.oauth_name, oauth_account_1.access_token, oauth_account_1.expires_at, oauth_account_1.refresh_token, oauth_account_1.account_id, oauth_account_1.account_email 
FROM "user" LEFT OUTER JOIN oauth_account AS oauth_account_1 ON "user".id = oauth_account_1.user_id 
WHERE lower("user".email) = lower($1::VARCHAR);

-- [DML ext named x1] params=BINARY results=BINARY tags={"INSERT 0 n": 1}
--   e.g. params ["bin:416c27696365205c20c3a9f09f9880", "bin:7b2261223a205b312c206e756c6c5d2c202273223a202278227d", "bin:8b220f57af4c42dd930b4c76d4d14775", "bin:616c696365406578616d706c652e636f6d", "bin:246172676f6e32696424763d3139246d3d36353533362c743d332c703d34246c744f446139687031", "bin:01", "bin:00", "bin:00"]
INSERT INTO "user" (first_name, prefs, id, email, hashed_password, is_active, is_superuser, is_verified) VALUES ($1::VARCHAR, $2::JSON, $3::UUID, $4::VARCHAR, $5::VARCHAR, $6::BOOLEAN, $7::BOOLEAN, $8::BOOLEAN);

-- [READ ext named x18] params=BINARY results=BINARY tags={"SELECT n": 18}
--   e.g. params ["bin:8b220f57af4c42dd930b4c76d4d14775"]
SELECT "user".first_name, "user".prefs, "user".id, "user".email, "user".hashed_password, "user".is_active, "user".is_superuser, "user".is_verified, oauth_account_1.id AS id_1, oauth_account_1.user_id, oauth_account_1.oauth_name, oauth_account_1.access_token, oauth_account_1.expires_at, oauth_account_1.refresh_token, oauth_account_1.account_id, oauth_account_1.account_email 
FROM "user" LEFT OUTER JOIN oauth_account AS oauth_account_1 ON "user".id = oauth_account_1.user_id 
WHERE "user".id = $1::UUID;

-- ==== phase: login

-- [DML ext named x12] params=BINARY results=BINARY tags={"INSERT 0 n": 12}
--   e.g. params ["bin:8b220f57af4c42dd930b4c76d4d14775", "bin:31754e61333143664d53413168615955696d43536941674f6f4b624f353066687032724c6177316a", "bin:000303b82c4e882c"]
INSERT INTO accesstoken (user_id, token, created_at) VALUES ($1::UUID, $2::VARCHAR, $3::TIMESTAMP WITH TIME ZONE);

-- [READ ext named x13] params=BINARY results=BINARY tags={"SELECT n": 13}
--   e.g. params ["bin:31754e61333143664d53413168615955696d43536941674f6f4b624f353066687032724c6177316a"]
SELECT accesstoken.user_id, accesstoken.token, accesstoken.created_at 
FROM accesstoken 
WHERE accesstoken.token = $1::VARCHAR;

-- ==== phase: me

-- [READ ext named x6] params=BINARY results=BINARY tags={"SELECT n": 6}
--   e.g. params ["bin:31754e61333143664d53413168615955696d43536941674f6f4b624f353066687032724c6177316a", "bin:000303b755bc000a"]
SELECT accesstoken.user_id, accesstoken.token, accesstoken.created_at 
FROM accesstoken 
WHERE accesstoken.token = $1::VARCHAR AND accesstoken.created_at >= $2::TIMESTAMP WITH TIME ZONE;

-- ==== phase: me.patch

-- [DML ext named x1] params=BINARY results=BINARY tags={"UPDATE n": 1}
--   e.g. params ["bin:42", "bin:7b226e223a20312e357d", "bin:246172676f6e32696424763d3139246d3d36353533362c743d332c703d34246a46655a3138463468", "bin:8b220f57af4c42dd930b4c76d4d14775"]
UPDATE "user" SET first_name=$1::VARCHAR, prefs=$2::JSON, hashed_password=$3::VARCHAR WHERE "user".id = $4::UUID;

-- ==== phase: reset

-- [DML ext named x1] params=BINARY results=BINARY tags={"UPDATE n": 1}
--   e.g. params ["bin:246172676f6e32696424763d3139246d3d36353533362c743d332c703d342448714a69776b577939", "bin:8b220f57af4c42dd930b4c76d4d14775"]
UPDATE "user" SET hashed_password=$1::VARCHAR WHERE "user".id = $2::UUID;

-- ==== phase: verify

-- [DML ext named x1] params=BINARY results=BINARY tags={"UPDATE n": 1}
--   e.g. params ["bin:01", "bin:8b220f57af4c42dd930b4c76d4d14775"]
UPDATE "user" SET is_verified=$1::BOOLEAN WHERE "user".id = $2::UUID;

-- ==== phase: oauth accounts + superuser

-- [DML ext named x1] params=BINARY results=BINARY tags={"UPDATE n": 1}
--   e.g. params ["bin:01", "bin:8b220f57af4c42dd930b4c76d4d14775"]
UPDATE "user" SET is_superuser=$1::BOOLEAN WHERE "user".id = $2::UUID;

-- [DML ext named x1] params=BINARY results=BINARY tags={"INSERT 0 n": 1}
--   e.g. params ["bin:154418ce1a9d4a82bb18a125a74f5165", "bin:8b220f57af4c42dd930b4c76d4d14775", "bin:676f6f676c65", "bin:74", "bin:00000001", null, "bin:31", "bin:614067"]
INSERT INTO oauth_account (id, user_id, oauth_name, access_token, expires_at, refresh_token, account_id, account_email) VALUES ($1::UUID, $2::UUID, $3::VARCHAR, $4::VARCHAR, $5::INTEGER, $6::VARCHAR, $7::VARCHAR, $8::VARCHAR);

-- [READ ext named x1] params=BINARY results=BINARY tags={"SELECT n": 1}
--   e.g. params ["bin:676f6f676c65", "bin:31"]
SELECT "user".first_name, "user".prefs, "user".id, "user".email, "user".hashed_password, "user".is_active, "user".is_superuser, "user".is_verified, oauth_account_1.id AS id_1, oauth_account_1.user_id, oauth_account_1.oauth_name, oauth_account_1.access_token, oauth_account_1.expires_at, oauth_account_1.refresh_token, oauth_account_1.account_id, oauth_account_1.account_email 
FROM "user" JOIN oauth_account ON "user".id = oauth_account.user_id LEFT OUTER JOIN oauth_account AS oauth_account_1 ON "user".id = oauth_account_1.user_id 
WHERE oauth_account.oauth_name = $1::VARCHAR AND oauth_account.account_id = $2::VARCHAR;

-- [DML ext named x1] params=BINARY results=BINARY tags={"UPDATE n": 1}
--   e.g. params ["bin:7432", "bin:154418ce1a9d4a82bb18a125a74f5165"]
UPDATE oauth_account SET access_token=$1::VARCHAR WHERE oauth_account.id = $2::UUID;

-- ==== phase: register.bob

-- [DML ext named x1] params=BINARY results=BINARY tags={"INSERT 0 n": 1}
--   e.g. params [null, "bin:789aac3bd83b4e6f9336b4009d862d0b", "bin:626f62406578616d706c652e636f6d", "bin:246172676f6e32696424763d3139246d3d36353533362c743d332c703d3424336966526b5365792b", "bin:01", "bin:00", "bin:00"]
INSERT INTO "user" (first_name, id, email, hashed_password, is_active, is_superuser, is_verified) VALUES ($1::VARCHAR, $2::UUID, $3::VARCHAR, $4::VARCHAR, $5::BOOLEAN, $6::BOOLEAN, $7::BOOLEAN);

-- ==== phase: admin.patch

-- [DML ext named x1] params=BINARY results=BINARY tags={"UPDATE n": 1}
--   e.g. params ["bin:00", "bin:789aac3bd83b4e6f9336b4009d862d0b"]
UPDATE "user" SET is_active=$1::BOOLEAN WHERE "user".id = $2::UUID;

-- ==== phase: admin.delete

-- [DML ext named x1] params=BINARY results=BINARY tags={"DELETE n": 1}
--   e.g. params ["bin:789aac3bd83b4e6f9336b4009d862d0b"]
DELETE FROM "user" WHERE "user".id = $1::UUID;

-- ==== phase: orm.add_all (insertmanyvalues)

-- [DML ext named x1] params=BINARY results=BINARY tags={"INSERT 0 n": 1}
--   e.g. params [null, "bin:ff5851c9c7594890aade275c4806c353", "bin:75304078", "bin:21", "bin:01", "bin:00", "bin:00", null, "bin:79ca993ee0d749c1b1f831f02695348a", "bin:75314078", "bin:21", "bin:01", "bin:00", "bin:00", null, "bin:50a830ca2a0743bf9992025d1f3e9a3d", "bin:75324078", "bin:21", "bin:01", "bin:00", "bin:00", null, "bin:f56334145652492e830533b65e2e251f", "bin:75334078", "bin:21", "bin:01", "bin:00", "bin:00"]
INSERT INTO "user" (first_name, id, email, hashed_password, is_active, is_superuser, is_verified) VALUES ($1::VARCHAR, $2::UUID, $3::VARCHAR, $4::VARCHAR, $5::BOOLEAN, $6::BOOLEAN, $7::BOOLEAN), ($8::VARCHAR, $9::UUID, $10::VARCHAR, $11::VARCHAR, $12::BOOLEAN, $13::BOOLEAN, $14::BOOLEAN), ($15::VARCHAR, $16::UUID, $17::VARCHAR, $18::VARCHAR, $19::BOOLEAN, $20::BOOLEAN, $21::BOOLEAN), ($22::VARCHAR, $23::UUID, $24::VARCHAR, $25::VARCHAR, $26::BOOLEAN, $27::BOOLEAN, $28::BOOLEAN);

-- [READ ext named x1] params=BINARY results=BINARY tags={"SELECT n": 1}
SELECT count(*) AS count_1 
FROM "user";

-- ==== phase: logout

-- [DML ext named x1] params=BINARY results=BINARY tags={"DELETE n": 1}
--   e.g. params ["bin:31754e61333143664d53413168615955696d43536941674f6f4b624f353066687032724c6177316a"]
DELETE FROM accesstoken WHERE accesstoken.token = $1::VARCHAR;
