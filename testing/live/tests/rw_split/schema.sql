CREATE EXTENSION IF NOT EXISTS plpgsql;
CREATE SCHEMA app;
CREATE TYPE status AS ENUM ('new', 'paid', 'sent', 'done');
CREATE TABLE users (id bigserial PRIMARY KEY, name text NOT NULL, email text UNIQUE, age int,
    active boolean NOT NULL DEFAULT true, tags text[] NOT NULL DEFAULT '{}', settings jsonb NOT NULL DEFAULT '{}',
    balance numeric(12,2) NOT NULL DEFAULT 0, manager_id bigint REFERENCES users,
    created_at timestamptz NOT NULL DEFAULT now(), updated_at timestamptz NOT NULL DEFAULT now(), deleted_at timestamptz);
CREATE TABLE products (id bigserial PRIMARY KEY, sku text UNIQUE, title text, price numeric(10,2), stock int, body text,
    search tsvector GENERATED ALWAYS AS (to_tsvector('english', coalesce(title, '') || ' ' || coalesce(body, ''))) STORED);
CREATE TABLE orders (id bigserial PRIMARY KEY, user_id bigint REFERENCES users, status status NOT NULL DEFAULT 'new',
    total numeric(12,2), created_at timestamptz NOT NULL DEFAULT now(), note text);
CREATE TABLE order_items (order_id bigint REFERENCES orders, product_id bigint REFERENCES products, quantity int, price numeric(10,2),
    PRIMARY KEY (order_id, product_id));
CREATE TABLE events (id bigserial PRIMARY KEY, kind text, payload jsonb, at timestamptz NOT NULL DEFAULT now());
CREATE TABLE jobs (id bigserial PRIMARY KEY, state text NOT NULL DEFAULT 'ready', payload jsonb, run_at timestamptz DEFAULT now());
CREATE TABLE categories (id int PRIMARY KEY, parent_id int, name text);
CREATE TABLE schema_migrations (version text PRIMARY KEY);
CREATE TABLE app.settings (key text PRIMARY KEY, value text);
CREATE TABLE "Order" ("Id" int PRIMARY KEY, "Update" text, "for" text);
CREATE UNLOGGED TABLE scratch (n int);
CREATE SEQUENCE ticket_seq;
CREATE VIEW active_users AS SELECT id, name, email FROM users WHERE active AND deleted_at IS NULL;
CREATE VIEW tickets AS SELECT nextval('ticket_seq') AS ticket;
CREATE VIEW tickets_twice AS SELECT ticket * 2 AS ticket FROM tickets;
CREATE VIEW who_is_here AS SELECT pid FROM pg_stat_activity;
CREATE MATERIALIZED VIEW daily AS SELECT date_trunc('day', created_at) AS day, count(*) AS n FROM orders GROUP BY 1;
CREATE FUNCTION slug(text) RETURNS text LANGUAGE sql IMMUTABLE AS $$ SELECT lower(replace($1, ' ', '-')) $$;
CREATE FUNCTION full_name(u bigint) RETURNS text LANGUAGE sql STABLE AS $$ SELECT name FROM users WHERE id = $1 $$;
CREATE FUNCTION touch(u bigint) RETURNS void LANGUAGE sql VOLATILE AS $$ UPDATE users SET updated_at = now() WHERE id = $1 $$;
CREATE FUNCTION app.bump() RETURNS bigint LANGUAGE sql VOLATILE AS $$ SELECT nextval('ticket_seq') $$;
CREATE FUNCTION lower(int) RETURNS int LANGUAGE sql IMMUTABLE AS $$ SELECT $1 - 1 $$;
CREATE PROCEDURE tidy() LANGUAGE sql AS $$ DELETE FROM scratch $$;
INSERT INTO users (name, email, age, tags) SELECT 'user ' || n, 'u' || n || '@example.org', n % 80, ARRAY['a', 'b'] FROM generate_series(1, 50) n;
INSERT INTO products (sku, title, price, stock, body) SELECT 'sku' || n, 'thing ' || n, n, n, 'a fine thing' FROM generate_series(1, 30) n;
INSERT INTO orders (user_id, total) SELECT 1 + n % 50, n FROM generate_series(1, 100) n;
INSERT INTO order_items SELECT id, 1 + id % 30, 1, 5 FROM orders;
INSERT INTO events (kind, payload) SELECT 'click', jsonb_build_object('n', n, 'tags', jsonb_build_array('x', n)) FROM generate_series(1, 50) n;
INSERT INTO categories VALUES (1, NULL, 'all'), (2, 1, 'books'), (3, 2, 'maps');
INSERT INTO "Order" VALUES (1, 'x', 'y');
