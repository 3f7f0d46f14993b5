-- axum-login 0.18.0 + tower-sessions-sqlx-store 0.15.0 PostgresStore + sqlx 0.8 (the crates registry), then tokio-postgres 0.7 prepare/pipeline/COPY/batch_execute
-- Captured between client and PostgreSQL 15.18: all messages, deduplicated (literals, IN-list length, savepoint names normalised; first exemplar kept).
-- Distinct statements: DDL=3, DML=10, READ=4, TX=6; executions=44
-- Protocol: {"B:1": 22, "B:2": 30, "B:3": 25, "B:C": 47, "B:G": 1, "B:N": 2, "B:R": 3, "B:T": 10, "B:Z": 110, "B:n": 13, "B:t": 22, "Bind binary params": 29, "Bind binary results": 30, "Close P": 24, "Close S": 1, "Describe S": 22, "F:B": 30, "F:C": 25, "F:D": 22, "F:E": 30, "F:EOF": 3, "F:P": 22, "F:Q": 14, "F:S": 94, "F:Startup": 3, "F:X": 3, "F:c": 1, "F:d": 1, "Parse named": 22, "Parse with param OIDs": 15, "sent-before-ReadyForQuery(pipelined)": 9}
-- Startup parameters: [["3.0", {"DateStyle": "ISO, MDY", "client_encoding": "UTF8", "TimeZone": "UTC", "extra_float_digits": "2"}], ["3.0", {"client_encoding": "UTF8"}]]
-- Result column types: {"text": 8, "int8": 6, "bytea": 2, "bool": 1, "timestamptz": 1, "int4": 1} result formats(0=text,1=binary): {"0": 19}
-- Parameter types (ParameterDescription): {"text": 14, "timestamptz": 5, "text[]": 4, "int8": 4, "bytea": 3, "jsonb": 2, "uuid": 1}
-- SQL features (distinct/executions/distinct-in-DML): RETURNING 2/6/2, ON CONFLICT DO UPDATE 1/3/1, EXCLUDED. 1/3/1, SAVEPOINT 2/2/0, INSERT..SELECT 1/1/1, = ANY(array) 1/1/1, array literal/type 2/2/1, ::cast 1/1/1, NOW()/CURRENT_TIMESTAMP 2/2/1, serial/identity DDL 1/1/0, COPY 1/1/1, subquery IN/EXISTS 1/1/0, multi-statement Query 1/1/0, DEFAULT now()/CURRENT_TIMESTAMP in DDL 1/1/0, AT TIME ZONE 1/1/1, LIKE 1/1/0, non-deterministic fn in DML 1/1/1, INSERT..SELECT UNNEST(arrays) 1/1/1, schema-qualified table in DML 3/6/3, RETURNING * / many cols 1/5/1
-- Server errors seen: none
-- Per statement:  -- [kind proto xEXECUTIONS first-phase] declared param oids, example params, tags, errors

-- ==== phase: tower-sessions.migrate

-- [TX simple x5] tags={"BEGIN": 5}
BEGIN;

-- [DDL ext named x2] params=BINARY results=BINARY tags={"CREATE SCHEMA": 2}
create schema if not exists "tower_sessions";

-- [DDL ext named x2] params=BINARY results=BINARY tags={"CREATE TABLE": 2}
create table if not exists "tower_sessions"."session"
            (
                id text primary key not null,
                data bytea not null,
                expiry_date timestamptz not null
            );

-- [TX simple x4] tags={"COMMIT": 4}
COMMIT;

-- ==== phase: sqlx.ddl

-- [DDL simple x1] tags={"CREATE TABLE": 1}
create table users (id bigint generated always as identity primary key, username text not null unique, password text not null, meta jsonb, created timestamptz not null default now(), uid uuid, raw bytea, tags text[]);

-- ==== phase: sqlx.insert

-- [DML ext named x1] parse_oids=text,text,jsonb,uuid,bytea,text[] params=BINARY results=BINARY tags={"INSERT 0 n": 1}
--   e.g. params ["bin:616c696365", "bin:707727c3a9f09f98805c", "bin:017b2261223a5b312c6e756c6c5d7d", "bin:cb13aa60489d41bb9c80effbe07e8c26", "bin:00ff", "bin:000000010000000000000019000000020000000100000001780000000179"]
insert into users (username, password, meta, uid, raw, tags) values ($1, $2, $3, $4, $5, $6) returning id;

-- [DML ext named x1] parse_oids=text[],text[] params=BINARY results=BINARY tags={"INSERT 0 n": 1}
--   e.g. params ["bin:0000000100000000000000190000000200000001000000026231000000026232", "bin:0000000100000000000000190000000200000001000000027031000000027032"]
insert into users (username, password) select * from unnest($1::text[], $2::text[]);

-- ==== phase: sqlx.tx+savepoint

-- [DML ext named x1] parse_oids=timestamptz,int8 params=BINARY results=BINARY tags={"UPDATE n": 1}
--   e.g. params ["bin:000303b830604052", "bin:0000000000000001"]
update users set created = $1 where id = $2;

-- [TX simple x1] tags={"SAVEPOINT": 1}
SAVEPOINT _sqlx_savepoint_1;

-- [DML ext named x1] parse_oids=text[] params=BINARY results=BINARY tags={"DELETE n": 1}
--   e.g. params ["bin:0000000100000000000000190000000200000001000000026231000000026232"]
delete from users where username = any($1);

-- [TX simple x1] tags={"ROLLBACK": 1}
ROLLBACK TO SAVEPOINT _sqlx_savepoint_1;

-- [DML ext named x1] parse_oids=int8 params=BINARY results=BINARY tags={"DELETE n": 1}
--   e.g. params ["bin:0000000000000001"]
delete from users where id = $1;

-- ==== phase: http POST /login

-- [TX simple x1] tags={"ROLLBACK": 1}
ROLLBACK;

-- [READ ext named x2] parse_oids=text,text params=BINARY results=BINARY tags={"SELECT n": 2}
--   e.g. params ["bin:616c696365", "bin:6e6f7065"]
select id, username, password from users where username = $1 and password = $2;

-- [DML ext named x2] parse_oids=text params=BINARY results=BINARY tags={"DELETE n": 2}
--   e.g. params ["bin:78667558504b6456736b656637496972667577307277"]
delete from "tower_sessions"."session" where id = $1;

-- [READ ext named x1] parse_oids=text params=BINARY results=BINARY tags={"SELECT n": 1}
--   e.g. params ["bin:48724b39374839494a786f7338374a77367535324467"]
select exists(select 1 from "tower_sessions"."session" where id = $1);

-- [DML ext named x3] parse_oids=text,bytea,timestamptz params=BINARY results=BINARY tags={"INSERT 0 n": 3}
--   e.g. params ["bin:48724b39374839494a786f7338374a77367535324467", "bin:93c4100e76eeea70b2f32c1a27487fecbdb21e81af6178756d2d6c6f67696e2e6461746182a96175", "bin:000303b906f4d5bd"]
insert into "tower_sessions"."session" (id, data, expiry_date)
            values ($1, $2, $3)
            on conflict (id) do update
            set
              data = excluded.data,
              expiry_date = excluded.expiry_date;

-- ==== phase: http GET /me

-- [READ ext named x3] parse_oids=text,timestamptz params=BINARY results=BINARY tags={"SELECT n": 3}
--   e.g. params ["bin:48724b39374839494a786f7338374a77367535324467", "bin:000303b830615d2b"]
select data from "tower_sessions"."session"
            where id = $1 and expiry_date > $2;

-- [READ ext named x3] parse_oids=int8 params=BINARY results=BINARY tags={"SELECT n": 3}
--   e.g. params ["bin:0000000000000001"]
select id, username, password from users where id = $1;

-- ==== phase: tower-sessions.delete_expired

-- [DML ext named x1] params=BINARY results=BINARY tags={"DELETE n": 1}
delete from "tower_sessions"."session"
            where expiry_date < (now() at time zone 'utc');

-- ==== phase: tokio-postgres.pipelined

-- [DML ext named x5] params=BINARY results=BINARY tags={"INSERT 0 n": 5}
--   e.g. params ["bin:747030", "bin:70", "bin:017b226b223a317d"]
insert into users (username, password, meta) values ($1, $2, $3) returning id, created;

-- ==== phase: tokio-postgres.copy

-- [DML ext named x1] results=BINARY tags={"COPY n": 1}
copy users (username, password) from stdin;

-- ==== phase: tokio-postgres.batch

-- [TX simple x1]
begin; update users set password = 'z' where username like 'tp%'; commit; select 1;
