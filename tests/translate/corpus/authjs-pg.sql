-- @auth/core 0.41.3 + @auth/pg-adapter 1.11.3 + pg 8.23.1 (SERIAL ids, schema from the docs)
-- Captured between client and PostgreSQL 15.18: all messages, deduplicated (literals, IN-list length, savepoint names normalised; first exemplar kept).
-- Distinct statements: DDL=1, DML=12, READ=4; executions=41
-- Protocol: {"B:1": 40, "B:2": 40, "B:C": 44, "B:R": 2, "B:T": 29, "B:Z": 43, "B:n": 11, "Describe P": 40, "F:B": 40, "F:D": 40, "F:E": 40, "F:EOF": 2, "F:P": 40, "F:Q": 1, "F:S": 40, "F:Startup": 2, "F:X": 2, "Parse unnamed": 40}
-- Startup parameters: [["3.0", {"client_encoding": "UTF8"}]]
-- Result column types: {"varchar": 44, "int4": 33, "text": 31, "timestamptz": 28, "int8": 1} result formats(0=text,1=binary): {"0": 137}
-- Parameter types (ParameterDescription): {}
-- SQL features (distinct/executions/distinct-in-DML): RETURNING 5/12/5, serial/identity DDL 1/1/0, JOIN 1/1/0, quoted mixed-case ident 12/21/9, multi-statement Query 1/1/0, RETURNING * / many cols 5/12/5
-- Server errors seen: none
-- Per statement:  -- [kind proto xEXECUTIONS first-phase] declared param oids, example params, tags, errors

-- ==== phase: setup

-- [DDL simple x1] tags={"CREATE TABLE": 4}
CREATE TABLE verification_token (identifier TEXT NOT NULL, expires TIMESTAMPTZ NOT NULL, token TEXT NOT NULL, PRIMARY KEY (identifier, token));
CREATE TABLE accounts (id SERIAL, "userId" INTEGER NOT NULL, type VARCHAR(255) NOT NULL, provider VARCHAR(255) NOT NULL, "providerAccountId" VARCHAR(255) NOT NULL, refresh_token TEXT, access_token TEXT, expires_at BIGINT, id_token TEXT, scope TEXT, session_state TEXT, token_type TEXT, PRIMARY KEY (id));
CREATE TABLE sessions (id SERIAL, "userId" INTEGER NOT NULL, expires TIMESTAMPTZ NOT NULL, "sessionToken" VARCHAR(255) NOT NULL, PRIMARY KEY (id));
CREATE TABLE users (id SERIAL, name VARCHAR(255), email VARCHAR(255), "emailVerified" TIMESTAMPTZ, image TEXT, PRIMARY KEY (id));

-- ==== phase: http.signin.email

-- [READ ext x7] tags={"SELECT n": 7}
--   e.g. params ["alice@example.com"]
select * from users where email = $1;

-- [DML ext x3] tags={"INSERT 0 n": 3}
--   e.g. params ["alice@example.com", "2026-11-20T19:12:22.913+00:00", "44eb546c037ac8c3bacbe5581bd617b75ba6bba1eff520167429e19b85d4878f"]
INSERT INTO verification_token ( identifier, expires, token ) 
        VALUES ($1, $2, $3);

-- ==== phase: http.callback (creates user+session)

-- [DML ext x4] tags={"DELETE n": 4}
--   e.g. params ["alice@example.com", "44eb546c037ac8c3bacbe5581bd617b75ba6bba1eff520167429e19b85d4878f"]
delete from verification_token
      where identifier = $1 and token = $2
      RETURNING identifier, expires, token;

-- [DML ext x2] tags={"INSERT 0 n": 2}
--   e.g. params [null, "alice@example.com", "2026-11-20T18:12:22.955+00:00", null]
INSERT INTO users (name, email, "emailVerified", image) 
        VALUES ($1, $2, $3, $4) 
        RETURNING id, name, email, "emailVerified", image;

-- [DML ext x3] tags={"INSERT 0 n": 3}
--   e.g. params ["1", "2026-12-20T18:12:22.960+00:00", "0535a66f-2824-4e6a-868f-427bfcb92783"]
insert into sessions ("userId", expires, "sessionToken")
      values ($1, $2, $3)
      RETURNING id, "sessionToken", "userId", expires;

-- ==== phase: http.session

-- [READ ext x4] tags={"SELECT n": 4}
--   e.g. params ["0535a66f-2824-4e6a-868f-427bfcb92783"]
select * from sessions where "sessionToken" = $1;

-- [READ ext x5] tags={"SELECT n": 5}
--   e.g. params ["1"]
select * from users where id = $1;

-- [DML ext x2] tags={"UPDATE n": 2}
--   e.g. params ["0535a66f-2824-4e6a-868f-427bfcb92783", "2026-12-20T18:12:22.983+00:00"]
UPDATE sessions set
        expires = $2
        where "sessionToken" = $1;

-- ==== phase: http.signout

-- [DML ext x2] tags={"DELETE n": 2}
--   e.g. params ["0535a66f-2824-4e6a-868f-427bfcb92783"]
delete from sessions where "sessionToken" = $1;

-- ==== phase: http.callback.again

-- [DML ext x2] tags={"UPDATE n": 2}
--   e.g. params ["1", null, "alice@example.com", "2026-11-20T18:12:23.005+00:00", null]
UPDATE users set
        name = $2, email = $3, "emailVerified" = $4, image = $5
        where id = $1
        RETURNING name, id, email, "emailVerified", image;

-- ==== phase: adapter.linkAccount

-- [DML ext x1] tags={"INSERT 0 n": 1}
--   e.g. params ["2", "google", "oauth", "g1", "t", "1799999999", null, "x", "openid", null, "bearer"]
insert into accounts 
      (
        "userId", 
        provider, 
        type, 
        "providerAccountId", 
        access_token,
        expires_at,
        refresh_token,
        id_token,
        scope,
        session_state,
        token_type
      )
      values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)
      returning
        id,
        "userId", 
        provider, 
        type, 
        "providerAccountId", 
        access_token,
        expires_at,
        refresh_token,
        id_token,
        scope,
        session_state,
        token_type;

-- ==== phase: adapter.getUserByAccount

-- [READ ext x1] tags={"SELECT n": 1}
--   e.g. params ["google", "g1"]
select u.* from users u join accounts a on u.id = a."userId"
          where 
          a.provider = $1 
          and 
          a."providerAccountId" = $2;

-- ==== phase: adapter.unlinkAccount

-- [DML ext x1] tags={"DELETE n": 1}
--   e.g. params ["g1", "google"]
delete from accounts where "providerAccountId" = $1 and provider = $2;

-- ==== phase: adapter.deleteUser

-- [DML ext x1] tags={"DELETE n": 1}
--   e.g. params ["2"]
delete from users where id = $1;

-- [DML ext x1] tags={"DELETE n": 1}
--   e.g. params ["2"]
delete from sessions where "userId" = $1;

-- [DML ext x1] tags={"DELETE n": 1}
--   e.g. params ["2"]
delete from accounts where "userId" = $1;
