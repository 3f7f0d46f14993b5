-- psql, statement by statement; what it prints must not depend on what lies in between. What only PostgreSQL
-- serves is between \if and \endif where more depends on it than its own line.
\set VERBOSITY verbose
\set SHOW_CONTEXT always
\pset null '(null)'
SELECT 1 AS a \; SELECT 2 AS b, 'x' AS c;
SELECT 1 AS a \; SELECT;
SELECT 1 AS one, NULL::text AS nothing \gset
\echo one is :one
SELECT $$no parameters$$ AS a, now() AS b, '{}'::jsonb AS c, 1.5 AS d \gdesc
INSERT INTO account (email, token, created) VALUES ('a@x', 'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11', '2024-01-01Z'), ('b@x', 'b0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11', '2024-01-01Z') RETURNING id, email;
INSERT INTO account (email) VALUES ('a@x');
UPDATE account SET balance = balance + id, standing = 'active';
UPDATE account SET balance = -1;
SELECT id, email, standing, balance, data FROM account ORDER BY id;
DELETE FROM account WHERE email = 'b@x' RETURNING *, 1 AS id \gdesc
PREPARE add (int, text) AS INSERT INTO note VALUES ($1, $2) RETURNING *;
EXECUTE add (1, 'prepared in SQL');
EXECUTE add (1, 'twice');
\if :postgresql
DEALLOCATE add;
\endif
EXECUTE add (2, 'gone');
BEGIN;
INSERT INTO note VALUES (2, 'kept');
SAVEPOINT s;
INSERT INTO note VALUES (3, 'undone');
SELECT 1/0;
SELECT 'not now';
ROLLBACK TO s;
RELEASE s;
\if :postgresql
DECLARE walk SCROLL CURSOR FOR SELECT generate_series(1, 5) AS n;
FETCH 2 FROM walk;
MOVE LAST FROM walk;
FETCH BACKWARD 2 FROM walk;
CLOSE walk;
\endif
COMMIT AND CHAIN;
ROLLBACK;
DECLARE walk CURSOR FOR SELECT 1;
-- A cursor in portions, made by psql itself.
\set FETCH_COUNT 2
SELECT n, n * n AS squared FROM generate_series(1, 5) n;
\unset FETCH_COUNT
\if :postgresql
COPY note FROM STDIN;
100	a\tb
101	\N
\.
COPY note FROM STDIN (FORMAT csv, HEADER);
id,body
102,"x
y"
\.
COPY note FROM STDIN;
not a number	x
\.
\endif
COPY (SELECT * FROM note ORDER BY id) TO STDOUT (FORMAT csv, FORCE_QUOTE *);
COPY note (body) TO STDOUT;
\copy (SELECT id FROM note ORDER BY 1) TO STDOUT
-- Large objects go by function call messages.
\if :postgresql
\lo_import psql.sql 'a file'
\lo_unlink :LASTOID
\endif
DO $$ BEGIN RAISE WARNING 'careful' USING HINT = 'a hint'; RAISE INFO 'told'; END $$;
SELECT remark('psql');
SELECT emial FROM account;
SELEC 1;
LISTEN news;
NOTIFY news, 'hello';
UNLISTEN news;
SET application_name = 'a psql';
SHOW application_name;
SET client_encoding = 'LATIN1';
\if :postgresql
\encoding
\endif
RESET client_encoding;
SET ROLE NONE;
SELECT set_config('work_mem', '8MB', false);
EXPLAIN (COSTS OFF) SELECT * FROM note WHERE id = 1;
BEGIN;
LOCK TABLE note IN ACCESS EXCLUSIVE MODE;
ROLLBACK;
BEGIN;
TRUNCATE note;
ROLLBACK;
BEGIN;
INSERT INTO note VALUES (200, 'prepared transaction');
PREPARE TRANSACTION 'psql';
\if :postgresql
COMMIT PREPARED 'psql';
\else
ROLLBACK;
\endif
SELECT count(*) FROM note WHERE id BETWEEN 2 AND 99;
VALUES (1, 'a'), (2, NULL);
TABLE device;
;
CREATE TEMP TABLE passing AS SELECT 1 AS n;
DROP TABLE passing;
VACUUM note;
-- How values and settings look.
SET TIME ZONE 'America/St_Johns';
SELECT created FROM account WHERE email = 'a@x';
RESET TIME ZONE;
SET IntervalStyle = iso_8601;
RESET IntervalStyle;
SHOW nonsense;
DELETE FROM account WHERE email = 'b@x' RETURNING email, admin, tags;
