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
