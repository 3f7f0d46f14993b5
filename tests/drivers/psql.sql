-- psql, statement by statement; what it prints must not depend on what lies in between.
\set VERBOSITY verbose
\set SHOW_CONTEXT always
\pset null '(null)'
SELECT 1 AS a \; SELECT 2 AS b, 'x' AS c \; SELECT;
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
DEALLOCATE add;
EXECUTE add (2, 'gone');
BEGIN;
INSERT INTO note VALUES (2, 'kept');
SAVEPOINT s;
INSERT INTO note VALUES (3, 'undone');
SELECT 1/0;
SELECT 'not now';
ROLLBACK TO s;
RELEASE s;
DECLARE walk SCROLL CURSOR FOR SELECT generate_series(1, 5) AS n;
FETCH 2 FROM walk;
MOVE LAST FROM walk;
FETCH BACKWARD 2 FROM walk;
CLOSE walk;
COMMIT AND CHAIN;
ROLLBACK;
-- A cursor in portions, made by psql itself.
\set FETCH_COUNT 2
SELECT n, n * n AS squared FROM generate_series(1, 5) n;
\unset FETCH_COUNT
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
COPY (SELECT * FROM note ORDER BY id) TO STDOUT (FORMAT csv, FORCE_QUOTE *);
COPY note (body) TO STDOUT;
\copy (SELECT id FROM note ORDER BY 1) TO STDOUT
-- Large objects go by function call messages.
\lo_import psql.sql 'a file'
\lo_unlink :LASTOID
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
\encoding
RESET client_encoding;
SET ROLE NONE;
SELECT set_config('work_mem', '8MB', false);
EXPLAIN (COSTS OFF) SELECT * FROM note WHERE id = 1;
BEGIN;
LOCK TABLE note IN ACCESS EXCLUSIVE MODE;
TRUNCATE note;
ROLLBACK;
BEGIN;
INSERT INTO note VALUES (200, 'prepared transaction');
PREPARE TRANSACTION 'psql';
COMMIT PREPARED 'psql';
SELECT count(*) FROM note;
VALUES (1, 'a'), (2, NULL);
TABLE device;
;
CREATE TEMP TABLE passing AS SELECT 1 AS n;
DROP TABLE passing;
VACUUM note;
