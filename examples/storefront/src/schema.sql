-- A schema of its own, so that seeding never touches a table of yours.
CREATE SCHEMA IF NOT EXISTS storefront;

CREATE TABLE IF NOT EXISTS storefront.products (
    id          bigint PRIMARY KEY,
    name        text NOT NULL,
    description text NOT NULL,
    price_cents bigint NOT NULL CHECK (price_cents >= 0),
    stock       bigint NOT NULL CHECK (stock >= 0),
    updated_at  timestamptz NOT NULL DEFAULT now()
);

CREATE TABLE IF NOT EXISTS storefront.users (
    id    bigint PRIMARY KEY,
    name  text NOT NULL,
    email text NOT NULL UNIQUE,
    city  text NOT NULL
);

-- Apart from the users, so that what shows a user cannot show this.
CREATE TABLE IF NOT EXISTS storefront.logins (
    user_id  bigint PRIMARY KEY REFERENCES storefront.users (id),
    password text NOT NULL, -- its hash, by Argon2id
    roles    text[] NOT NULL
);

CREATE TABLE IF NOT EXISTS storefront.orders (
    id         bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    user_id    bigint NOT NULL REFERENCES storefront.users (id),
    product_id bigint NOT NULL REFERENCES storefront.products (id),
    quantity   bigint NOT NULL CHECK (quantity > 0),
    placed_at  timestamptz NOT NULL DEFAULT now()
);

CREATE INDEX IF NOT EXISTS orders_latest_of_user
    ON storefront.orders (user_id, placed_at DESC, id DESC);

-- Where orders are: in the table above, or on shards.
CREATE TABLE IF NOT EXISTS storefront.settings (
    only_row         boolean PRIMARY KEY DEFAULT true CHECK (only_row),
    orders_on_shards boolean NOT NULL
);

-- With shards: orders whose stock was taken, until their shard is known to have them.
CREATE TABLE IF NOT EXISTS storefront.unsettled_orders (
    id          bigint PRIMARY KEY,
    user_id     bigint NOT NULL REFERENCES storefront.users (id),
    product_id  bigint NOT NULL REFERENCES storefront.products (id),
    quantity    bigint NOT NULL CHECK (quantity > 0),
    accepted_at timestamptz NOT NULL DEFAULT now()
);

-- A number for each process that makes ids of orders.
CREATE SEQUENCE IF NOT EXISTS storefront.process_numbers
    MINVALUE 0 MAXVALUE 1023 CYCLE;
