//! The shop, wired: what a request passes on its way in, and which path leads where.
//!
//! ```text
//! a request
//!   worker     is there somebody to answer it, until when   autoscale-policy   --drain
//!   sessions   what its user has written, on each cluster   rw-split           --reads
//!   login      who its user is, and what they may           jwt-refresh        --login
//!   handlers   products, users, orders, reports
//!   read path  what is known already                        cache-aside        --cache
//!   orders     which shard its user's orders are on         shard-router       --shards
//!   database,  which server of it is fresh enough           rw-split           --reads
//!   each shard
//! ```
//!
//! What a layer passes on to the next, it passes in the task: the session's floors to all that
//! read and write within the request; to a cache's loads, which are of no session, the version
//! that was last invalidated, of the one cluster that a cached thing comes from. The answer
//! takes the floors along, in cookies, for whichever process is asked next.

use std::sync::Arc;
use std::time::Duration;

use autoscale_policy::Lifecycle;
use axum::extract::{DefaultBodyLimit, State};
use axum::http::header::CONTENT_TYPE;
use axum::middleware::from_fn_with_state;
use axum::response::IntoResponse;
use axum::routing::{get, post, put};
use axum::{Json, Router};
use cache_aside::{BuildError, RedisStore};
use metrics_exporter_prometheus::PrometheusHandle;
use serde_json::{Value, json};
use tower_http::catch_panic::CatchPanicLayer;
use tower_http::timeout::RequestBodyTimeoutLayer;

use crate::db::Database;
use crate::error::{Error, no_such_method, no_such_route};
use crate::input::BODY_LIMIT;
use crate::login::{self, Guard, Login};
use crate::orders::{self, Orders, Summary};
use crate::pages;
use crate::products::{self, Product, ProductId, Products};
use crate::read_path::{COPIES, Caching, ReadPath};
use crate::reports;
use crate::serve::Options;
use crate::servers::Servers;
use crate::unheard::{InTheOpen, followed};
use crate::users::{self, Account, UserId, Users};

/// What the caches are called, in metrics and in Redis.
const PRODUCTS: &str = "product";
const ACCOUNTS: &str = "account";
const SUMMARIES: &str = "summary";

/// What every handler can reach.
#[derive(Debug)]
pub(crate) struct Shop {
    pub(crate) products: Products,
    pub(crate) users: Users,
    pub(crate) orders: Orders,
    /// For what is never cached.
    pub(crate) db: Database,
    prometheus: PrometheusHandle,
}

impl Shop {
    /// Opens the shop over `db`, with the caches before it that `caching` says, and its orders
    /// where `orders` says.
    ///
    /// # Errors
    ///
    /// When the caches' settings contradict each other.
    pub(crate) fn new(
        db: Database,
        orders: Orders,
        caching: &Caching,
        prometheus: PrometheusHandle,
    ) -> Result<Self, BuildError> {
        // A product page may be a moment behind other processes; what users write may not, for
        // who has just written it looks.
        let products = ReadPath::new(PRODUCTS, caching, Some(COPIES))?;
        let accounts = ReadPath::new(ACCOUNTS, caching, None)?;
        let summaries = ReadPath::new(SUMMARIES, caching, None)?;
        Ok(Self {
            products: Products::new(db.clone(), products),
            users: Users::new(db.clone(), orders.clone(), accounts, summaries),
            orders,
            db,
            prometheus,
        })
    }
}

/// Forgets all that shops have cached in `redis`.
///
/// # Errors
///
/// When Redis did not acknowledge it all.
pub(crate) async fn forget(redis: RedisStore) -> Result<(), Box<dyn std::error::Error>> {
    let shared = Caching::Shared { redis, timeout: Duration::from_millis(250) };
    let products = ReadPath::<ProductId, Product>::new(PRODUCTS, &shared, None)?;
    let accounts = ReadPath::<UserId, Account>::new(ACCOUNTS, &shared, None)?;
    let summaries = ReadPath::<UserId, Summary>::new(SUMMARIES, &shared, None)?;
    products.clear().await?;
    accounts.clear().await?;
    summaries.clear().await?;
    Ok(())
}

/// Opens the shop that `options` describe, on `servers`: all layers, from the inside out.
///
/// # Errors
///
/// When one of them cannot be opened.
pub(crate) async fn open(
    servers: Servers,
    options: &Options,
    lifecycle: &Lifecycle,
    prometheus: PrometheusHandle,
) -> Result<(Arc<Shop>, Router), Box<dyn std::error::Error>> {
    // What is wrong with the options is said before anything is asked.
    let caching = options.caching()?;
    let sessions = options.sessions(&servers)?;
    let in_the_open = options.sessions.in_the_open(options.listen)?;

    let (connections, reads) = (options.connections, options.reads);
    let db = Database::connect(servers.0, connections, reads).await?;
    let orders = Orders::open(&db, options.shards.file.as_deref(), connections, reads).await?;
    let shop = Arc::new(Shop::new(db.clone(), orders, &caching, prometheus)?);
    let login = options.login.open(&db, in_the_open).await?.map(Arc::new);

    let mut router = router(Arc::clone(&shop), login.as_ref());
    if let Caching::Shared { .. } = caching {
        router = router.layer(from_fn_with_state(InTheOpen(in_the_open), followed));
    }
    if let Some(sessions) = sessions {
        // Around all that writes: an answer of whatever kind says what its request has written.
        router = router.layer(sessions);
    }
    // Beside the sessions: what is kept for all to see has no user's cookies with it.
    let router = router.merge(pages::routes(Arc::clone(&shop)));
    Ok((shop, options.worker.around(router, lifecycle)))
}

/// Every path of the shop. With a login, who places or reads orders is whoever is logged in;
/// the goods are for all to see.
pub(crate) fn router(shop: Arc<Shop>, login: Option<&Arc<Login>>) -> Router {
    let guard = Guard(login.map(|login| &**login));
    let user =
        guard.own("profile", get(users::show)).merge(guard.own("profile", put(users::revise)));
    let orders = guard
        .own("orders:read", get(orders::list))
        .merge(guard.own("orders:write", post(orders::place)));
    let product = get(products::show).merge(guard.role("admin", put(products::revise)));
    let mut router = Router::new();
    if let Some(login) = login {
        router = router.merge(login::routes(login));
    }
    router
        .route("/products/{id}", product)
        .route("/users/{id}", user)
        .route("/users/{id}/orders", orders)
        .route("/reports/sales", guard.role("admin", get(reports::sales)))
        .route("/reports/orders", guard.role("admin", get(reports::orders)))
        .route("/metrics", get(exposition))
        .route("/healthz", get(health))
        .fallback(no_such_route)
        .method_not_allowed_fallback(no_such_method)
        // A body is small, and does not dawdle.
        .layer(DefaultBodyLimit::max(BODY_LIMIT))
        .layer(RequestBodyTimeoutLayer::new(Duration::from_secs(10)))
        // Whatever breaks within is answered.
        .layer(CatchPanicLayer::custom(|_| Error::internal().into_response()))
        .layer(pages::kept_by_nobody())
        .with_state(shop)
}

async fn exposition(State(shop): State<Arc<Shop>>) -> impl IntoResponse {
    let format = "text/plain; version=0.0.4; charset=utf-8";
    ([(CONTENT_TYPE, format)], shop.prometheus.render())
}

/// Says that the process serves, not that the database does: pages from the cache outlive it.
async fn health() -> Json<Value> {
    Json(json!({ "status": "ok" }))
}
