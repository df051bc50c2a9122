-- What a shard holds. Users and products are in the shop's database, so nothing refers to them
-- here: an order is committed after the row in `storefront.unsettled_orders`, which does.
CREATE SCHEMA storefront;

CREATE TABLE storefront.orders (
    id         bigint NOT NULL,
    user_id    bigint NOT NULL,
    product_id bigint NOT NULL,
    quantity   bigint NOT NULL CHECK (quantity > 0),
    placed_at  timestamptz NOT NULL DEFAULT now(),
    -- With the shard key, which a row must be told apart by when it moves to another shard.
    PRIMARY KEY (user_id, id)
);

CREATE INDEX orders_latest_of_user ON storefront.orders (user_id, placed_at DESC, id DESC);
CREATE INDEX orders_latest ON storefront.orders (placed_at DESC, id DESC);
