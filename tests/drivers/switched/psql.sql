-- psql while MySQL answers; what it prints must be what it prints with PostgreSQL.
\set VERBOSITY terse
\pset null '(null)'
SELECT 1 AS a \; SELECT 2 AS b, 'x' AS c;
SELECT 1 AS one, NULL::text AS nothing \gset
\echo one is :one
INSERT INTO account (email, token, created) VALUES ('p@x', 'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11', '2024-01-01Z'), ('q@x', 'b0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11', '2024-01-01Z') RETURNING email;
INSERT INTO account (email) VALUES ('p@x');
UPDATE account SET balance = balance + 1, standing = 'active' WHERE email = 'p@x';
UPDATE account SET balance = -1;
SELECT email, standing, balance, data, created FROM account WHERE email IN ('p@x', 'q@x') ORDER BY email;
SET TIME ZONE 'America/St_Johns';
SELECT created FROM account WHERE email = 'p@x';
SET IntervalStyle = iso_8601;
RESET TIME ZONE;
DELETE FROM account WHERE email = 'q@x' RETURNING email, admin, tags;
BEGIN;
INSERT INTO note VALUES (102, 'kept');
SAVEPOINT s;
INSERT INTO note VALUES (103, 'undone');
SELECT 1/0;
SELECT 'not now';
ROLLBACK TO s;
RELEASE s;
COMMIT AND CHAIN;
ROLLBACK;
COMMIT;
SELECT count(*) FROM note WHERE id > 100;
VALUES (1, 'a'), (2, NULL);
;
SET application_name = 'a psql';
SHOW application_name;
SHOW nonsense;
SELECT set_config('work_mem', '8MB', false);
