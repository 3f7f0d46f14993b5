-- What an auth service's schema may hold, one construct after the other.
CREATE EXTENSION citext;
CREATE SCHEMA auth;
CREATE TYPE state AS ENUM ('active', 'invited', 'it''s over');
CREATE DOMAIN address AS varchar(200) CHECK (VALUE LIKE '%@%');

CREATE TABLE tenants (
    id       uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    slug     varchar(64) NOT NULL UNIQUE,
    parent   uuid REFERENCES tenants,
    settings jsonb NOT NULL DEFAULT '{}',
    made     timestamptz NOT NULL DEFAULT now()
);
COMMENT ON TABLE tenants IS 'who pays, and a back\slash';

CREATE TABLE users (
    id      bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    tenant  uuid NOT NULL REFERENCES tenants ON DELETE CASCADE ON UPDATE CASCADE,
    email   citext NOT NULL UNIQUE,
    mail    address,
    name    text NOT NULL DEFAULT 'it''s',
    phone   varchar(32),
    state   state NOT NULL DEFAULT 'active',
    tags    text[] NOT NULL DEFAULT '{}',
    balance numeric(12, 2) CHECK (balance >= 0),
    exact   numeric,
    token   bytea UNIQUE,
    bio     text UNIQUE,
    gone    timestamptz,
    twice   bigint GENERATED ALWAYS AS (id * 2) STORED,
    CONSTRAINT users_name_check CHECK (name <> ''),
    CONSTRAINT users_pattern CHECK (name ~ '^.'),
    UNIQUE NULLS NOT DISTINCT (tenant, phone, gone)
);
COMMENT ON COLUMN users.name IS 'as they''d like it';
CREATE UNIQUE INDEX users_live_phone ON users (phone) WHERE gone IS NULL;
CREATE UNIQUE INDEX users_lower_name ON users (tenant, lower(name));
CREATE INDEX users_by_name ON users (name, state DESC);
CREATE INDEX users_by_tag ON users USING gin (tags);

CREATE TABLE auth.sessions (
    id      uuid,
    "user"  bigint NOT NULL REFERENCES users ON DELETE CASCADE,
    day     date NOT NULL,
    ip      inet,
    length  interval,
    data    json,
    PRIMARY KEY (id, day)
) PARTITION BY RANGE (day);
CREATE TABLE auth.sessions_old PARTITION OF auth.sessions FOR VALUES FROM ('2020-01-01') TO ('2025-01-01');
CREATE TABLE auth.sessions_new (day date NOT NULL, id uuid NOT NULL, "user" bigint NOT NULL, ip inet, length interval, data json);
ALTER TABLE auth.sessions ATTACH PARTITION auth.sessions_new FOR VALUES FROM ('2025-01-01') TO ('2030-01-01');

CREATE TABLE ring_a (id integer PRIMARY KEY, b integer);
CREATE TABLE ring_b (id integer PRIMARY KEY, a integer NOT NULL REFERENCES ring_a ON DELETE CASCADE);
ALTER TABLE ring_a ADD FOREIGN KEY (b) REFERENCES ring_b ON DELETE SET NULL;

CREATE TABLE tree (path text PRIMARY KEY, up text DEFAULT '/' REFERENCES tree ON DELETE SET DEFAULT);
CREATE TABLE pairs (a text, b text, c smallint, PRIMARY KEY (a, b, c));
CREATE TABLE pair_notes (id serial PRIMARY KEY, a text, b text, c smallint, note varchar(1000) UNIQUE, FOREIGN KEY (a, b, c) REFERENCES pairs ON UPDATE CASCADE);
CREATE TABLE "Odd ""Name`" ("Col ""1`" integer PRIMARY KEY, "select" text, "order" time DEFAULT '12:00');

CREATE TABLE audit (id bigserial PRIMARY KEY, what text NOT NULL);
CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN INSERT INTO audit (what) VALUES (TG_OP); RETURN NULL; END';
CREATE TRIGGER note AFTER INSERT OR UPDATE ON tree FOR EACH ROW EXECUTE FUNCTION note();

CREATE TABLE keyless (a integer);
CREATE UNLOGGED TABLE scratch (id integer PRIMARY KEY);
CREATE TABLE searched (id integer PRIMARY KEY, words tsvector);
