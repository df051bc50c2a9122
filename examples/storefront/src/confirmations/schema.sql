-- Beside the orders, wherever these are: what is still to be told of them, and what was told.

-- An order's row is written in the order's transaction, and goes when the order is confirmed.
CREATE TABLE IF NOT EXISTS storefront.outbox (
    order_id        bigint PRIMARY KEY,
    user_id         bigint NOT NULL,
    product_id      bigint NOT NULL,
    quantity        bigint NOT NULL,
    placed_at       timestamptz NOT NULL,
    -- Begun, whatever came of them.
    attempts        integer NOT NULL DEFAULT 0,
    -- Not before, after one that failed.
    next_attempt_at timestamptz NOT NULL DEFAULT now(),
    -- When it is put into the queue, once more.
    push_at         timestamptz NOT NULL DEFAULT now(),
    -- Whose turn it is, and until when nobody else's.
    claim           bigint,
    claimed_until   timestamptz,
    last_error      text,
    set_aside_at    timestamptz
);

CREATE INDEX IF NOT EXISTS outbox_due ON storefront.outbox (push_at)
    WHERE set_aside_at IS NULL;

CREATE TABLE IF NOT EXISTS storefront.confirmations (
    order_id     bigint PRIMARY KEY,
    user_id      bigint NOT NULL,
    attempts     integer NOT NULL,
    placed_at    timestamptz NOT NULL,
    confirmed_at timestamptz NOT NULL DEFAULT now()
);
