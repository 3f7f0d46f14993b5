-- @auth/core 0.41.3 + @auth/drizzle-adapter 1.11.3 + drizzle-orm 0.45.4/node-postgres
-- Captured between client and PostgreSQL 15.18: all messages, deduplicated (literals, IN-list length, savepoint names normalised; first exemplar kept).
-- Distinct statements: DDL=1, DML=14, READ=6; executions=37
-- Protocol: {"B:1": 36, "B:2": 36, "B:C": 41, "B:R": 2, "B:T": 31, "B:Z": 39, "B:n": 5, "Describe P": 36, "F:B": 36, "F:D": 36, "F:E": 36, "F:EOF": 2, "F:P": 36, "F:Q": 1, "F:S": 36, "F:Startup": 2, "F:X": 2, "Parse unnamed": 36}
-- Startup parameters: [["3.0", {"client_encoding": "UTF8"}]]
-- Result column types: {"text": 122, "timestamp": 29, "int4": 5, "bool": 4} result formats(0=text,1=binary): {"0": 160}
-- Parameter types (ParameterDescription): {}
-- SQL features (distinct/executions/distinct-in-DML): RETURNING 10/18/10, INSERT DEFAULT keyword 1/1/1, ::cast 1/1/0, gen_random_uuid/uuid_generate 1/1/0, JOIN 2/3/0, quoted mixed-case ident 20/36/13, multi-statement Query 1/1/0, ON DELETE CASCADE (FK) 1/1/0, RETURNING * / many cols 10/18/10
-- Server errors seen: none
-- Per statement:  -- [kind proto xEXECUTIONS first-phase] declared param oids, example params, tags, errors

-- ==== phase: setup

-- [DDL simple x1] tags={"CREATE TABLE": 5}
CREATE TABLE "user" (id text PRIMARY KEY DEFAULT gen_random_uuid()::text, name text, email text UNIQUE, "emailVerified" timestamp(3), image text);
CREATE TABLE account ("userId" text NOT NULL REFERENCES "user"(id) ON DELETE CASCADE, type text NOT NULL, provider text NOT NULL, "providerAccountId" text NOT NULL, refresh_token text, access_token text, expires_at integer, token_type text, scope text, id_token text, session_state text, PRIMARY KEY (provider, "providerAccountId"));
CREATE TABLE session ("sessionToken" text PRIMARY KEY, "userId" text NOT NULL REFERENCES "user"(id) ON DELETE CASCADE, expires timestamp(3) NOT NULL);
CREATE TABLE "verificationToken" (identifier text NOT NULL, token text NOT NULL, expires timestamp(3) NOT NULL, PRIMARY KEY (identifier, token));
CREATE TABLE authenticator ("credentialID" text NOT NULL UNIQUE, "userId" text NOT NULL REFERENCES "user"(id) ON DELETE CASCADE, "providerAccountId" text NOT NULL, "credentialPublicKey" text NOT NULL, counter integer NOT NULL, "credentialDeviceType" text NOT NULL, "credentialBackedUp" boolean NOT NULL, transports text, PRIMARY KEY ("userId", "credentialID"));

-- ==== phase: http.signin.email

-- [READ ext x7] tags={"SELECT n": 7}
--   e.g. params ["alice@example.com"]
select "id", "name", "email", "emailVerified", "image" from "user" where "user"."email" = $1;

-- [DML ext x3] tags={"INSERT 0 n": 3}
--   e.g. params ["alice@example.com", "b266cfd481dba7a441ba61d01381cb0548d70d500c40a742556204682d156f0e", "2026-11-20T19:12:25.289Z"]
insert into "verificationToken" ("identifier", "token", "expires") values ($1, $2, $3) returning "identifier", "token", "expires";

-- ==== phase: http.callback (creates user+session)

-- [DML ext x4] tags={"DELETE n": 4}
--   e.g. params ["alice@example.com", "b266cfd481dba7a441ba61d01381cb0548d70d500c40a742556204682d156f0e"]
delete from "verificationToken" where ("verificationToken"."identifier" = $1 and "verificationToken"."token" = $2) returning "identifier", "token", "expires";

-- [DML ext x1] tags={"INSERT 0 n": 1}
--   e.g. params ["910c868e-83d1-498e-a906-207677e9b9a5", "alice@example.com", "2026-11-20T18:12:25.346Z"]
insert into "user" ("id", "name", "email", "emailVerified", "image") values ($1, default, $2, $3, default) returning "id", "name", "email", "emailVerified", "image";

-- [DML ext x3] tags={"INSERT 0 n": 3}
--   e.g. params ["cf1f4614-fae1-43af-8ca3-735c7946f4a4", "910c868e-83d1-498e-a906-207677e9b9a5", "2026-12-20T18:12:25.356Z"]
insert into "session" ("sessionToken", "userId", "expires") values ($1, $2, $3) returning "sessionToken", "userId", "expires";

-- ==== phase: http.session

-- [READ ext x2] tags={"SELECT n": 2}
--   e.g. params ["cf1f4614-fae1-43af-8ca3-735c7946f4a4"]
select "session"."sessionToken", "session"."userId", "session"."expires", "user"."id", "user"."name", "user"."email", "user"."emailVerified", "user"."image" from "session" inner join "user" on "user"."id" = "session"."userId" where "session"."sessionToken" = $1;

-- [DML ext x2] tags={"UPDATE n": 2}
--   e.g. params ["cf1f4614-fae1-43af-8ca3-735c7946f4a4", "2026-12-20T18:12:25.378Z", "cf1f4614-fae1-43af-8ca3-735c7946f4a4"]
update "session" set "sessionToken" = $1, "expires" = $2 where "session"."sessionToken" = $3 returning "sessionToken", "userId", "expires";

-- ==== phase: http.signout

-- [DML ext x2] tags={"DELETE n": 2}
--   e.g. params ["cf1f4614-fae1-43af-8ca3-735c7946f4a4"]
delete from "session" where "session"."sessionToken" = $1;

-- ==== phase: http.callback.again

-- [DML ext x1] tags={"UPDATE n": 1}
--   e.g. params ["910c868e-83d1-498e-a906-207677e9b9a5", "2026-11-20T18:12:25.468Z", "910c868e-83d1-498e-a906-207677e9b9a5"]
update "user" set "id" = $1, "emailVerified" = $2 where "user"."id" = $3 returning "id", "name", "email", "emailVerified", "image";

-- ==== phase: adapter.createUser

-- [DML ext x1] tags={"INSERT 0 n": 1}
--   e.g. params ["4d9f8b88-a527-4e50-b468-e5520d54a35a", "Bob O'Hara \\ é😀", "bob@example.com", null, null]
insert into "user" ("id", "name", "email", "emailVerified", "image") values ($1, $2, $3, $4, $5) returning "id", "name", "email", "emailVerified", "image";

-- ==== phase: adapter.getUser/byEmail

-- [READ ext x1] tags={"SELECT n": 1}
--   e.g. params ["4d9f8b88-a527-4e50-b468-e5520d54a35a"]
select "id", "name", "email", "emailVerified", "image" from "user" where "user"."id" = $1;

-- ==== phase: adapter.updateUser

-- [DML ext x1] tags={"UPDATE n": 1}
--   e.g. params ["4d9f8b88-a527-4e50-b468-e5520d54a35a", "Bob 2", "2026-11-20T18:12:25.497Z", "4d9f8b88-a527-4e50-b468-e5520d54a35a"]
update "user" set "id" = $1, "name" = $2, "emailVerified" = $3 where "user"."id" = $4 returning "id", "name", "email", "emailVerified", "image";

-- ==== phase: adapter.linkAccount

-- [DML ext x1] tags={"INSERT 0 n": 1}
--   e.g. params ["4d9f8b88-a527-4e50-b468-e5520d54a35a", "oauth", "google", "g1", null, "t", "1799999999", "bearer", "openid", "x", null]
insert into "account" ("userId", "type", "provider", "providerAccountId", "refresh_token", "access_token", "expires_at", "token_type", "scope", "id_token", "session_state") values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11);

-- ==== phase: adapter.getUserByAccount

-- [READ ext x1] tags={"SELECT n": 1}
--   e.g. params ["google", "g1"]
select "account"."userId", "account"."type", "account"."provider", "account"."providerAccountId", "account"."refresh_token", "account"."access_token", "account"."expires_at", "account"."token_type", "account"."scope", "account"."id_token", "account"."session_state", "user"."id", "user"."name", "user"."email", "user"."emailVerified", "user"."image" from "account" inner join "user" on "account"."userId" = "user"."id" where ("account"."provider" = $1 and "account"."providerAccountId" = $2);

-- ==== phase: adapter.authenticator

-- [DML ext x1] tags={"INSERT 0 n": 1}
--   e.g. params ["c1", "4d9f8b88-a527-4e50-b468-e5520d54a35a", "p", "k", "0", "d", "true", "usb"]
insert into "authenticator" ("credentialID", "userId", "providerAccountId", "credentialPublicKey", "counter", "credentialDeviceType", "credentialBackedUp", "transports") values ($1, $2, $3, $4, $5, $6, $7, $8) returning "credentialID", "userId", "providerAccountId", "credentialPublicKey", "counter", "credentialDeviceType", "credentialBackedUp", "transports";

-- [DML ext x1] tags={"UPDATE n": 1}
--   e.g. params ["5", "c1"]
update "authenticator" set "counter" = $1 where "authenticator"."credentialID" = $2 returning "credentialID", "userId", "providerAccountId", "credentialPublicKey", "counter", "credentialDeviceType", "credentialBackedUp", "transports";

-- [READ ext x1] tags={"SELECT n": 1}
--   e.g. params ["4d9f8b88-a527-4e50-b468-e5520d54a35a"]
select "credentialID", "userId", "providerAccountId", "credentialPublicKey", "counter", "credentialDeviceType", "credentialBackedUp", "transports" from "authenticator" where "authenticator"."userId" = $1;

-- [READ ext x1] tags={"SELECT n": 1}
--   e.g. params ["c1"]
select "credentialID", "userId", "providerAccountId", "credentialPublicKey", "counter", "credentialDeviceType", "credentialBackedUp", "transports" from "authenticator" where "authenticator"."credentialID" = $1;

-- ==== phase: adapter.unlinkAccount

-- [DML ext x1] tags={"DELETE n": 1}
--   e.g. params ["google", "g1"]
delete from "account" where ("account"."provider" = $1 and "account"."providerAccountId" = $2);

-- ==== phase: adapter.deleteUser

-- [DML ext x1] tags={"DELETE n": 1}
--   e.g. params ["4d9f8b88-a527-4e50-b468-e5520d54a35a"]
delete from "user" where "user"."id" = $1;
