-- @auth/core 0.41.3 + @auth/drizzle-adapter 1.11.3 + drizzle-orm 0.45.4/postgres-js + postgres.js 3.4.9
-- Captured between client and PostgreSQL 15.18: all messages, deduplicated (literals, IN-list length, savepoint names normalised; first exemplar kept).
-- Distinct statements: DDL=1, DML=14, READ=7; executions=38
-- Protocol: {"B:1": 37, "B:2": 37, "B:C": 42, "B:R": 2, "B:T": 32, "B:Z": 40, "B:n": 5, "B:t": 37, "Describe S": 37, "F:B": 37, "F:D": 37, "F:E": 37, "F:EOF": 2, "F:H": 36, "F:P": 37, "F:Q": 1, "F:S": 37, "F:Startup": 2, "F:X": 2, "Parse named": 1, "Parse unnamed": 36, "Parse with param OIDs": 1}
-- Startup parameters: [["3.0", {"client_encoding": "UTF8"}], ["3.0", {"client_encoding": "UTF8", "application_name": "postgres.js"}]]
-- Result column types: {"text": 122, "timestamp": 29, "int4": 5, "bool": 4, "26": 2} result formats(0=text,1=binary): {"0": 162}
-- Parameter types (ParameterDescription): {"text": 71, "timestamp": 12, "int4": 3, "bool": 1}
-- SQL features (distinct/executions/distinct-in-DML): RETURNING 10/18/10, INSERT DEFAULT keyword 1/1/1, ::cast 1/1/0, gen_random_uuid/uuid_generate 1/1/0, pg_catalog/information_schema 1/1/0, GROUP BY 1/1/0, JOIN 3/4/0, quoted mixed-case ident 20/36/13, multi-statement Query 1/1/0, ON DELETE CASCADE (FK) 1/1/0, RETURNING * / many cols 10/18/10
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

-- [READ ext named x1] tags={"SELECT n": 1}
select b.oid, b.typarray
      from pg_catalog.pg_type a
      left join pg_catalog.pg_type b on b.oid = a.typelem
      where a.typcategory = 'A'
      group by b.oid, b.typarray
      order by b.oid;

-- [READ ext x7] tags={"SELECT n": 7}
--   e.g. params ["alice@example.com"]
select "id", "name", "email", "emailVerified", "image" from "user" where "user"."email" = $1;

-- [DML ext x3] tags={"INSERT 0 n": 3}
--   e.g. params ["alice@example.com", "a791f5bb259ee98588531fa81be67b233f656e534ba022f54e186ded667a2dd4", "2026-11-20T19:12:27.649Z"]
insert into "verificationToken" ("identifier", "token", "expires") values ($1, $2, $3) returning "identifier", "token", "expires";

-- ==== phase: http.callback (creates user+session)

-- [DML ext x4] tags={"DELETE n": 4}
--   e.g. params ["alice@example.com", "a791f5bb259ee98588531fa81be67b233f656e534ba022f54e186ded667a2dd4"]
delete from "verificationToken" where ("verificationToken"."identifier" = $1 and "verificationToken"."token" = $2) returning "identifier", "token", "expires";

-- [DML ext x1] tags={"INSERT 0 n": 1}
--   e.g. params ["6b22230b-7da1-46a4-b62d-a608bfe1155b", "alice@example.com", "2026-11-20T18:12:27.680Z"]
insert into "user" ("id", "name", "email", "emailVerified", "image") values ($1, default, $2, $3, default) returning "id", "name", "email", "emailVerified", "image";

-- [DML ext x3] tags={"INSERT 0 n": 3}
--   e.g. params ["bacd36b4-ad41-43fc-8ba3-b505e10e7cd8", "6b22230b-7da1-46a4-b62d-a608bfe1155b", "2026-12-20T18:12:27.683Z"]
insert into "session" ("sessionToken", "userId", "expires") values ($1, $2, $3) returning "sessionToken", "userId", "expires";

-- ==== phase: http.session

-- [READ ext x2] tags={"SELECT n": 2}
--   e.g. params ["bacd36b4-ad41-43fc-8ba3-b505e10e7cd8"]
select "session"."sessionToken", "session"."userId", "session"."expires", "user"."id", "user"."name", "user"."email", "user"."emailVerified", "user"."image" from "session" inner join "user" on "user"."id" = "session"."userId" where "session"."sessionToken" = $1;

-- [DML ext x2] tags={"UPDATE n": 2}
--   e.g. params ["bacd36b4-ad41-43fc-8ba3-b505e10e7cd8", "2026-12-20T18:12:27.692Z", "bacd36b4-ad41-43fc-8ba3-b505e10e7cd8"]
update "session" set "sessionToken" = $1, "expires" = $2 where "session"."sessionToken" = $3 returning "sessionToken", "userId", "expires";

-- ==== phase: http.signout

-- [DML ext x2] tags={"DELETE n": 2}
--   e.g. params ["bacd36b4-ad41-43fc-8ba3-b505e10e7cd8"]
delete from "session" where "session"."sessionToken" = $1;

-- ==== phase: http.callback.again

-- [DML ext x1] tags={"UPDATE n": 1}
--   e.g. params ["6b22230b-7da1-46a4-b62d-a608bfe1155b", "2026-11-20T18:12:27.720Z", "6b22230b-7da1-46a4-b62d-a608bfe1155b"]
update "user" set "id" = $1, "emailVerified" = $2 where "user"."id" = $3 returning "id", "name", "email", "emailVerified", "image";

-- ==== phase: adapter.createUser

-- [DML ext x1] tags={"INSERT 0 n": 1}
--   e.g. params ["b1f2662f-35de-431b-80d9-c38ce788d8e6", "Bob O'Hara \\ é😀", "bob@example.com", null, null]
insert into "user" ("id", "name", "email", "emailVerified", "image") values ($1, $2, $3, $4, $5) returning "id", "name", "email", "emailVerified", "image";

-- ==== phase: adapter.getUser/byEmail

-- [READ ext x1] tags={"SELECT n": 1}
--   e.g. params ["b1f2662f-35de-431b-80d9-c38ce788d8e6"]
select "id", "name", "email", "emailVerified", "image" from "user" where "user"."id" = $1;

-- ==== phase: adapter.updateUser

-- [DML ext x1] tags={"UPDATE n": 1}
--   e.g. params ["b1f2662f-35de-431b-80d9-c38ce788d8e6", "Bob 2", "2026-11-20T18:12:27.731Z", "b1f2662f-35de-431b-80d9-c38ce788d8e6"]
update "user" set "id" = $1, "name" = $2, "emailVerified" = $3 where "user"."id" = $4 returning "id", "name", "email", "emailVerified", "image";

-- ==== phase: adapter.linkAccount

-- [DML ext x1] tags={"INSERT 0 n": 1}
--   e.g. params ["b1f2662f-35de-431b-80d9-c38ce788d8e6", "oauth", "google", "g1", null, "t", "1799999999", "bearer", "openid", "x", null]
insert into "account" ("userId", "type", "provider", "providerAccountId", "refresh_token", "access_token", "expires_at", "token_type", "scope", "id_token", "session_state") values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11);

-- ==== phase: adapter.getUserByAccount

-- [READ ext x1] tags={"SELECT n": 1}
--   e.g. params ["google", "g1"]
select "account"."userId", "account"."type", "account"."provider", "account"."providerAccountId", "account"."refresh_token", "account"."access_token", "account"."expires_at", "account"."token_type", "account"."scope", "account"."id_token", "account"."session_state", "user"."id", "user"."name", "user"."email", "user"."emailVerified", "user"."image" from "account" inner join "user" on "account"."userId" = "user"."id" where ("account"."provider" = $1 and "account"."providerAccountId" = $2);

-- ==== phase: adapter.authenticator

-- [DML ext x1] parse_oids=-,-,-,-,-,-,bool,- tags={"INSERT 0 n": 1}
--   e.g. params ["c1", "b1f2662f-35de-431b-80d9-c38ce788d8e6", "p", "k", "0", "d", "t", "usb"]
insert into "authenticator" ("credentialID", "userId", "providerAccountId", "credentialPublicKey", "counter", "credentialDeviceType", "credentialBackedUp", "transports") values ($1, $2, $3, $4, $5, $6, $7, $8) returning "credentialID", "userId", "providerAccountId", "credentialPublicKey", "counter", "credentialDeviceType", "credentialBackedUp", "transports";

-- [DML ext x1] tags={"UPDATE n": 1}
--   e.g. params ["5", "c1"]
update "authenticator" set "counter" = $1 where "authenticator"."credentialID" = $2 returning "credentialID", "userId", "providerAccountId", "credentialPublicKey", "counter", "credentialDeviceType", "credentialBackedUp", "transports";

-- [READ ext x1] tags={"SELECT n": 1}
--   e.g. params ["b1f2662f-35de-431b-80d9-c38ce788d8e6"]
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
--   e.g. params ["b1f2662f-35de-431b-80d9-c38ce788d8e6"]
delete from "user" where "user"."id" = $1;
