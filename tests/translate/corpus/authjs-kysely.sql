-- @auth/core 0.41.3 + @auth/kysely-adapter 1.11.2 + kysely 0.27.6 + pg 8.23.1
-- Captured between client and PostgreSQL 15.18: all messages, deduplicated (literals, IN-list length, savepoint names normalised; first exemplar kept).
-- Distinct statements: DDL=1, DML=12, READ=4; executions=33
-- Protocol: {"B:1": 32, "B:2": 32, "B:C": 36, "B:R": 2, "B:T": 19, "B:Z": 35, "B:n": 13, "Describe P": 32, "F:B": 32, "F:D": 32, "F:E": 32, "F:EOF": 2, "F:P": 32, "F:Q": 1, "F:S": 32, "F:Startup": 2, "F:X": 2, "Parse unnamed": 32}
-- Startup parameters: [["3.0", {"client_encoding": "UTF8"}]]
-- Result column types: {"text": 49, "timestamptz": 21, "uuid": 19} result formats(0=text,1=binary): {"0": 89}
-- Parameter types (ParameterDescription): {}
-- SQL features (distinct/executions/distinct-in-DML): RETURNING 4/8/4, gen_random_uuid/uuid_generate 1/1/0, JOIN 2/3/0, quoted mixed-case ident 17/33/12, multi-statement Query 1/1/0, ON DELETE CASCADE (FK) 1/1/0, RETURNING * / many cols 4/8/4
-- Server errors seen: none
-- Per statement:  -- [kind proto xEXECUTIONS first-phase] declared param oids, example params, tags, errors

-- ==== phase: setup

-- [DDL simple x1] tags={"CREATE TABLE": 4}
CREATE TABLE "User" (id uuid PRIMARY KEY DEFAULT gen_random_uuid(), name text, email text UNIQUE, "emailVerified" timestamptz, image text);
CREATE TABLE "Account" (id uuid PRIMARY KEY DEFAULT gen_random_uuid(), "userId" uuid NOT NULL REFERENCES "User"(id) ON DELETE CASCADE, type text NOT NULL, provider text NOT NULL, "providerAccountId" text NOT NULL, refresh_token text, access_token text, expires_at bigint, token_type text, scope text, id_token text, session_state text);
CREATE TABLE "Session" (id uuid PRIMARY KEY DEFAULT gen_random_uuid(), "userId" uuid NOT NULL REFERENCES "User"(id) ON DELETE CASCADE, "sessionToken" text NOT NULL UNIQUE, expires timestamptz NOT NULL);
CREATE TABLE "VerificationToken" (identifier text NOT NULL, token text NOT NULL UNIQUE, expires timestamptz NOT NULL);

-- ==== phase: http.signin.email

-- [READ ext x7] tags={"SELECT n": 7}
--   e.g. params ["alice@example.com"]
select * from "User" where "email" = $1;

-- [DML ext x3] tags={"INSERT 0 n": 3}
--   e.g. params ["alice@example.com", "e31dfb13969a7ba0962a07add5dfc9b63dfc8ac84c3ebf9e2407e2152d1b6fc3", "2026-11-20T19:12:29.921+00:00"]
insert into "VerificationToken" ("identifier", "token", "expires") values ($1, $2, $3);

-- ==== phase: http.callback (creates user+session)

-- [DML ext x4] tags={"DELETE n": 4}
--   e.g. params ["e31dfb13969a7ba0962a07add5dfc9b63dfc8ac84c3ebf9e2407e2152d1b6fc3", "alice@example.com"]
delete from "VerificationToken" where "VerificationToken"."token" = $1 and "VerificationToken"."identifier" = $2 returning *;

-- [DML ext x1] tags={"INSERT 0 n": 1}
--   e.g. params ["f109336d-8359-4372-9967-4bd45d3a5d6e", "alice@example.com", "2026-11-20T18:12:29.939+00:00"]
insert into "User" ("id", "email", "emailVerified") values ($1, $2, $3);

-- [DML ext x3] tags={"INSERT 0 n": 3}
--   e.g. params ["cd733b14-f282-403c-a1c5-76864d194c36", "f109336d-8359-4372-9967-4bd45d3a5d6e", "2026-12-20T18:12:29.941+00:00"]
insert into "Session" ("sessionToken", "userId", "expires") values ($1, $2, $3);

-- ==== phase: http.session

-- [READ ext x2] tags={"SELECT n": 2}
--   e.g. params ["cd733b14-f282-403c-a1c5-76864d194c36"]
select "User".*, "Session"."expires", "Session"."userId" from "Session" inner join "User" on "User"."id" = "Session"."userId" where "Session"."sessionToken" = $1;

-- [DML ext x2] tags={"UPDATE n": 2}
--   e.g. params ["cd733b14-f282-403c-a1c5-76864d194c36", "2026-12-20T18:12:29.956+00:00", "cd733b14-f282-403c-a1c5-76864d194c36"]
update "Session" set "sessionToken" = $1, "expires" = $2 where "Session"."sessionToken" = $3 returning *;

-- ==== phase: http.signout

-- [DML ext x2] tags={"DELETE n": 2}
--   e.g. params ["cd733b14-f282-403c-a1c5-76864d194c36"]
delete from "Session" where "Session"."sessionToken" = $1;

-- ==== phase: http.callback.again

-- [DML ext x1] tags={"UPDATE n": 1}
--   e.g. params ["2026-11-20T18:12:29.982+00:00", "f109336d-8359-4372-9967-4bd45d3a5d6e"]
update "User" set "emailVerified" = $1 where "id" = $2 returning *;

-- ==== phase: adapter.createUser

-- [DML ext x1] tags={"INSERT 0 n": 1}
--   e.g. params ["bdb6aa3b-3572-4720-a542-3f1d6ab81471", "Bob O'Hara \\ é😀", "bob@example.com", null, null]
insert into "User" ("id", "name", "email", "emailVerified", "image") values ($1, $2, $3, $4, $5);

-- ==== phase: adapter.getUser/byEmail

-- [READ ext x1] tags={"SELECT n": 1}
--   e.g. params ["bdb6aa3b-3572-4720-a542-3f1d6ab81471"]
select * from "User" where "id" = $1;

-- ==== phase: adapter.updateUser

-- [DML ext x1] tags={"UPDATE n": 1}
--   e.g. params ["Bob 2", "2026-11-20T18:12:29.990+00:00", "bdb6aa3b-3572-4720-a542-3f1d6ab81471"]
update "User" set "name" = $1, "emailVerified" = $2 where "id" = $3 returning *;

-- ==== phase: adapter.linkAccount

-- [DML ext x1] tags={"INSERT 0 n": 1}
--   e.g. params ["bdb6aa3b-3572-4720-a542-3f1d6ab81471", "oauth", "google", "g1", "t", "1799999999", "bearer", "openid", "x", null, null]
insert into "Account" ("userId", "type", "provider", "providerAccountId", "access_token", "expires_at", "token_type", "scope", "id_token", "refresh_token", "session_state") values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11);

-- ==== phase: adapter.getUserByAccount

-- [READ ext x1] tags={"SELECT n": 1}
--   e.g. params ["g1", "google"]
select "User".* from "User" inner join "Account" on "User"."id" = "Account"."userId" where "Account"."providerAccountId" = $1 and "Account"."provider" = $2;

-- ==== phase: adapter.unlinkAccount

-- [DML ext x1] tags={"DELETE n": 1}
--   e.g. params ["g1", "google"]
delete from "Account" where "Account"."providerAccountId" = $1 and "Account"."provider" = $2;

-- ==== phase: adapter.deleteUser

-- [DML ext x1] tags={"DELETE n": 1}
--   e.g. params ["bdb6aa3b-3572-4720-a542-3f1d6ab81471"]
delete from "User" where "User"."id" = $1;
