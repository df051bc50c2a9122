//! Every statement that the shop sends while it serves.

/// A prepared statement. Its label is the `statement` label of `storefront_db_queries_total`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Statement {
    ProductById,
    ProductsByIds,
    ProductIds,
    UpdateProduct,
    SummaryOfUser,
    AccountById,
    UpdateUser,
    OrdersOfUser,
    PlaceOrder,
    AcceptOrder,
    SettleOrder,
    UnsettledOrders,
    NewestOrders,
    TotalOfOrders,
    Sales,
    AccountByEmail,
    RolesOfUser,
}

/// What a profile says of orders: one row for each of the last ones, the totals on every one
/// of them. The same in the shop's database and on a shard.
pub(crate) const SUMMARY: &str = "
    SELECT total.orders, total.units, last.id, last.product_id, last.quantity,
           to_char(last.placed_at AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.US\"Z\"')
    FROM (
        SELECT count(*) AS orders, coalesce(sum(quantity), 0)::bigint AS units
        FROM storefront.orders WHERE user_id = $1
    ) total
    LEFT JOIN LATERAL (
        SELECT id, product_id, quantity, placed_at
        FROM storefront.orders WHERE user_id = $1
        ORDER BY placed_at DESC, id DESC LIMIT 5
    ) last ON true
    ORDER BY last.placed_at DESC, last.id DESC";

impl Statement {
    /// In the order of the variants, so that `statement as usize` is its place.
    pub(crate) const ALL: [Self; 17] = [
        Self::ProductById,
        Self::ProductsByIds,
        Self::ProductIds,
        Self::UpdateProduct,
        Self::SummaryOfUser,
        Self::AccountById,
        Self::UpdateUser,
        Self::OrdersOfUser,
        Self::PlaceOrder,
        Self::AcceptOrder,
        Self::SettleOrder,
        Self::UnsettledOrders,
        Self::NewestOrders,
        Self::TotalOfOrders,
        Self::Sales,
        Self::AccountByEmail,
        Self::RolesOfUser,
    ];

    pub(crate) fn label(self) -> &'static str {
        match self {
            Self::ProductById => "product_by_id",
            Self::ProductsByIds => "products_by_ids",
            Self::ProductIds => "product_ids",
            Self::UpdateProduct => "update_product",
            Self::SummaryOfUser => "summary_of_user",
            Self::AccountById => "account_by_id",
            Self::UpdateUser => "update_user",
            Self::OrdersOfUser => "orders_of_user",
            Self::PlaceOrder => "place_order",
            Self::AcceptOrder => "accept_order",
            Self::SettleOrder => "settle_order",
            Self::UnsettledOrders => "unsettled_orders",
            Self::NewestOrders => "newest_orders",
            Self::TotalOfOrders => "total_of_orders",
            Self::Sales => "sales",
            Self::AccountByEmail => "account_by_email",
            Self::RolesOfUser => "roles_of_user",
        }
    }

    /// Times leave the database as RFC 3339 text in UTC: the shop only passes them on.
    pub(crate) fn sql(self) -> &'static str {
        match self {
            Self::ProductById => {
                "SELECT id, name, description, price_cents, stock,
                        to_char(updated_at AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.US\"Z\"')
                 FROM storefront.products WHERE id = $1"
            }
            Self::ProductsByIds => {
                "SELECT id, name, description, price_cents, stock,
                        to_char(updated_at AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.US\"Z\"')
                 FROM storefront.products WHERE id = ANY ($1)"
            }
            Self::ProductIds => "SELECT id FROM storefront.products ORDER BY id",
            Self::UpdateProduct => {
                "UPDATE storefront.products
                 SET name = $2, description = $3, price_cents = $4, stock = $5, updated_at = now()
                 WHERE id = $1
                 RETURNING id, name, description, price_cents, stock,
                        to_char(updated_at AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.US\"Z\"')"
            }
            Self::SummaryOfUser => SUMMARY,
            Self::AccountById => {
                "SELECT id, name, email, city FROM storefront.users WHERE id = $1"
            }
            Self::UpdateUser => {
                "UPDATE storefront.users SET name = $2, email = $3, city = $4 WHERE id = $1
                 RETURNING id, name, email, city"
            }
            // One row with nulls for a user without orders, none for no user.
            Self::OrdersOfUser => {
                "SELECT o.id, o.product_id, o.quantity,
                        to_char(o.placed_at AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.US\"Z\"')
                 FROM storefront.users u
                 LEFT JOIN LATERAL (
                     SELECT id, product_id, quantity, placed_at
                     FROM storefront.orders WHERE user_id = u.id
                     ORDER BY placed_at DESC, id DESC LIMIT 50
                 ) o ON true
                 WHERE u.id = $1
                 ORDER BY o.placed_at DESC, o.id DESC"
            }
            // Takes the stock, writes the order and what is to be told of it, all or nothing.
            Self::PlaceOrder => {
                "WITH taken AS (
                     UPDATE storefront.products SET stock = stock - $3, updated_at = now()
                     WHERE id = $2 AND stock >= $3 RETURNING id
                 ), placed AS (
                     INSERT INTO storefront.orders (user_id, product_id, quantity)
                     SELECT $1, id, $3 FROM taken
                     RETURNING id, user_id, product_id, quantity, placed_at
                 ), to_tell AS (
                     INSERT INTO storefront.outbox
                         (order_id, user_id, product_id, quantity, placed_at)
                     SELECT id, user_id, product_id, quantity, placed_at FROM placed
                 )
                 SELECT id, product_id, quantity,
                        to_char(placed_at AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.US\"Z\"')
                 FROM placed"
            }
            // Takes the stock, and says for which order, which is written elsewhere.
            Self::AcceptOrder => {
                "WITH taken AS (
                     UPDATE storefront.products SET stock = stock - $4, updated_at = now()
                     WHERE id = $3 AND stock >= $4 RETURNING id
                 )
                 INSERT INTO storefront.unsettled_orders (id, user_id, product_id, quantity)
                 SELECT $1, $2, id, $4 FROM taken
                 RETURNING id"
            }
            Self::SettleOrder => "DELETE FROM storefront.unsettled_orders WHERE id = $1",
            // In no order: what cannot be placed yet does not stand before the rest.
            Self::UnsettledOrders => {
                "SELECT id, user_id, product_id, quantity FROM storefront.unsettled_orders
                 WHERE accepted_at < now() - interval '5 seconds'
                 ORDER BY random() LIMIT 100"
            }
            Self::NewestOrders => {
                "SELECT user_id, id, product_id, quantity,
                        to_char(placed_at AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.US\"Z\"')
                 FROM storefront.orders ORDER BY placed_at DESC, id DESC LIMIT 20"
            }
            Self::TotalOfOrders => {
                "SELECT count(*), coalesce(sum(quantity), 0)::bigint FROM storefront.orders"
            }
            Self::Sales => {
                "SELECT p.id, p.name, sold.orders, sold.units
                 FROM (
                     SELECT product_id, count(*) AS orders, sum(quantity)::bigint AS units
                     FROM storefront.orders GROUP BY product_id
                     ORDER BY units DESC, product_id LIMIT 10
                 ) sold
                 JOIN storefront.products p ON p.id = sold.product_id
                 ORDER BY sold.units DESC, p.id"
            }
            Self::AccountByEmail => {
                "SELECT u.id, l.password, l.roles
                 FROM storefront.users u JOIN storefront.logins l ON l.user_id = u.id
                 WHERE u.email = $1"
            }
            Self::RolesOfUser => "SELECT roles FROM storefront.logins WHERE user_id = $1",
        }
    }
}

#[cfg(test)]
mod tests {
    use rw_split::{RwSplit, Target};

    use super::*;

    /// What the router sees in them needs no server: a read that it does not know to be one
    /// would silently be the primary's.
    #[test]
    fn reads_are_known_to_be_reads_and_writes_to_be_writes() {
        for statement in Statement::ALL {
            let writes = matches!(
                statement,
                Statement::UpdateProduct
                    | Statement::UpdateUser
                    | Statement::PlaceOrder
                    | Statement::AcceptOrder
                    | Statement::SettleOrder
            );
            let route = RwSplit::route(statement.sql());
            let expected = if writes { Target::Primary } else { Target::Replica };
            assert_eq!(route.target(), expected, "{}: {route}", statement.label());
        }
    }

    #[test]
    fn all_is_in_the_order_of_the_variants() {
        for (place, statement) in Statement::ALL.into_iter().enumerate() {
            assert_eq!(statement as usize, place, "{}", statement.label());
        }
    }
}
