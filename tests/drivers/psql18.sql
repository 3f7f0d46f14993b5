-- What psql of PostgreSQL 18 can send beyond psql.sql: pipelines, and statements prepared by name.
\startpipeline
INSERT INTO account (email, created) VALUES ($1, '2024-01-01Z') RETURNING id, email \bind 'pipe@x' \sendpipeline
UPDATE account SET balance = $1 WHERE email = $2 \bind 5 'pipe@x' \sendpipeline
\flushrequest
\getresults 2
SELECT balance FROM account WHERE email = $1 \bind 'pipe@x' \sendpipeline
\syncpipeline
INSERT INTO account (email) VALUES ($1) \bind 'pipe@x' \sendpipeline
SELECT 'skipped' \bind \sendpipeline
\syncpipeline
DELETE FROM account WHERE email = $1 RETURNING old.balance, new.balance \bind 'pipe@x' \sendpipeline
\endpipeline
INSERT INTO note (id, body) VALUES ($1, $2) RETURNING id \parse add_note
\bind_named add_note 900 'named' \g
\bind_named add_note 901 'again' \g
\close_prepared add_note
\bind_named add_note 902 'gone' \g
UPDATE note SET body = 'changed' WHERE id = 900 RETURNING old.body, new.body;
