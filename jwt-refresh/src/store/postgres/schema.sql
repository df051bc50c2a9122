CREATE SCHEMA IF NOT EXISTS jwt_refresh;

CREATE TABLE IF NOT EXISTS jwt_refresh.version (
    only_one boolean PRIMARY KEY DEFAULT true CHECK (only_one),
    version integer NOT NULL
);
INSERT INTO jwt_refresh.version (version) VALUES (1) ON CONFLICT DO NOTHING;

CREATE TABLE IF NOT EXISTS jwt_refresh.users (
    user_id text PRIMARY KEY,
    epoch bigint NOT NULL DEFAULT 0
);

-- Times are milliseconds since 1970 of this server's clock.
CREATE TABLE IF NOT EXISTS jwt_refresh.sessions (
    id bytea PRIMARY KEY,
    user_id text NOT NULL REFERENCES jwt_refresh.users,
    client text NOT NULL,
    scope text NOT NULL,
    claims text NOT NULL,
    device text NOT NULL,
    revoked boolean NOT NULL DEFAULT false,
    generation bigint NOT NULL DEFAULT 0,
    current bytea NOT NULL,
    previous bytea,
    nonce bytea,
    key_id bytea,
    retry bytea,
    rotated_at bigint,
    replays integer NOT NULL DEFAULT 0,
    user_epoch bigint NOT NULL,
    created_at bigint NOT NULL,
    absolute_at bigint NOT NULL,
    idle_at bigint NOT NULL
) WITH (fillfactor = 70);
CREATE INDEX IF NOT EXISTS sessions_user ON jwt_refresh.sessions (user_id);
CREATE INDEX IF NOT EXISTS sessions_absolute ON jwt_refresh.sessions (absolute_at);

-- xid says which transactions a reader may not have seen yet.
CREATE TABLE IF NOT EXISTS jwt_refresh.feed (
    seq bigserial PRIMARY KEY,
    xid xid8 NOT NULL DEFAULT pg_current_xact_id(),
    at bigint NOT NULL,
    kind text NOT NULL,
    session bytea,
    subject text,
    epoch bigint,
    until_at bigint
);
CREATE INDEX IF NOT EXISTS feed_xid ON jwt_refresh.feed (xid);
CREATE INDEX IF NOT EXISTS feed_at ON jwt_refresh.feed (at);

CREATE TABLE IF NOT EXISTS jwt_refresh.killed (kid text PRIMARY KEY);

CREATE TABLE IF NOT EXISTS jwt_refresh.heartbeat (
    only_one boolean PRIMARY KEY DEFAULT true CHECK (only_one),
    at bigint NOT NULL
);
INSERT INTO jwt_refresh.heartbeat (at) VALUES (0) ON CONFLICT DO NOTHING;

CREATE OR REPLACE FUNCTION jwt_refresh.now_ms() RETURNS bigint
    LANGUAGE sql VOLATILE AS
    'SELECT (extract(epoch FROM clock_timestamp()) * 1000)::bigint';

CREATE OR REPLACE FUNCTION jwt_refresh.announce() RETURNS trigger
    LANGUAGE plpgsql AS
    'BEGIN PERFORM pg_notify(''jwt_refresh'', ''''); RETURN NULL; END';

CREATE OR REPLACE TRIGGER announce AFTER INSERT ON jwt_refresh.feed
    FOR EACH STATEMENT EXECUTE FUNCTION jwt_refresh.announce();
