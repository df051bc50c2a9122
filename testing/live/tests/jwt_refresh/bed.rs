//! The stores on real servers. A further one is one more function and one more
//! line in `each_store!`.

use std::time::Duration;

use jwt_refresh::store::{PostgresStore, RedisSettings, RedisStore, SessionRef};
use jwt_refresh::{
    BoxStore, Issuer, IssuerBuilder, RefreshKeys, SigningKey, SigningKeys, Store,
};
use redis::AsyncCommands;
use testbed::link::Link;
use testbed::postgres::Postgres;
use testbed::redis::{Redis, RedisCluster};
use tokio_postgres::NoTls;

pub(crate) const DEADLINE: Duration = Duration::from_secs(30);
pub(crate) const ISSUER: &str = "https://id.example";
pub(crate) const AUDIENCE: &str = "https://api.example";

/// A server with nothing in it, and a link to it that can fail.
pub(crate) struct Bed {
    pub(crate) server: Server,
    pub(crate) link: Option<Link>,
}

pub(crate) enum Server {
    Redis(Redis),
    /// Three masters: a command over two slots is refused.
    RedisCluster(RedisCluster),
    Postgres(Postgres),
}

pub(crate) async fn redis() -> Bed {
    let redis = Redis::start().await.unwrap();
    let link = Link::to(redis.addr()).unwrap();
    Bed { server: Server::Redis(redis), link: Some(link) }
}

pub(crate) async fn redis_cluster() -> Bed {
    let cluster = RedisCluster::start().await.unwrap();
    // The client goes to the addresses that the cluster names, past any link.
    Bed { server: Server::RedisCluster(cluster), link: None }
}

pub(crate) async fn postgres() -> Bed {
    let postgres = Postgres::start().await.unwrap();
    let link = Link::to(postgres.addr()).unwrap();
    Bed { server: Server::Postgres(postgres), link: Some(link) }
}

pub(crate) async fn plain(redis: &Redis) -> redis::aio::MultiplexedConnection {
    let client = redis::Client::open(redis.url()).unwrap();
    client.get_multiplexed_async_connection().await.unwrap()
}

impl Bed {
    /// A store with connections of its own, as another process has.
    pub(crate) async fn store(&self) -> BoxStore {
        match &self.server {
            Server::Redis(redis) => BoxStore::new(redis_at(&redis.url()).await),
            Server::RedisCluster(cluster) => {
                // One node is enough to find the others.
                let first = cluster.nodes()[0].url();
                let settings = RedisSettings::default();
                let store = RedisStore::connect_cluster(&[&first], settings).await;
                BoxStore::new(store.unwrap())
            }
            Server::Postgres(postgres) => BoxStore::new(postgres_at(&postgres.url()).await),
        }
    }

    /// The same, over the link.
    pub(crate) async fn store_over_link(&self) -> BoxStore {
        let addr = self.link.as_ref().expect("this bed has a link").addr();
        match &self.server {
            Server::Redis(redis) => BoxStore::new(redis_at(&redis.url_at(addr)).await),
            Server::RedisCluster(_) => unreachable!("a cluster has no link"),
            Server::Postgres(postgres) => {
                BoxStore::new(postgres_at(&postgres.url_at(addr)).await)
            }
        }
    }

    /// What makes the server believe that a session was last rotated an hour ago.
    pub(crate) async fn ager(&self) -> Ager {
        match &self.server {
            Server::Redis(redis) => Ager::Redis(plain(redis).await),
            Server::RedisCluster(cluster) => {
                let client = redis::cluster::ClusterClient::new(cluster.urls()).unwrap();
                Ager::RedisCluster(client.get_async_connection().await.unwrap())
            }
            Server::Postgres(postgres) => Ager::Postgres(postgres.client().await.unwrap()),
        }
    }
}

async fn redis_at(url: &str) -> RedisStore {
    RedisStore::connect(url, RedisSettings::default()).await.unwrap()
}

async fn postgres_at(url: &str) -> PostgresStore {
    PostgresStore::connect(url, NoTls, 12).await.unwrap()
}

pub(crate) enum Ager {
    Redis(redis::aio::MultiplexedConnection),
    RedisCluster(redis::cluster_async::ClusterConnection),
    Postgres(testbed::postgres::Client),
}

impl Ager {
    pub(crate) async fn age(&self, session: SessionRef) {
        match self {
            Self::Redis(connection) => age_redis(connection.clone(), session).await,
            Self::RedisCluster(connection) => age_redis(connection.clone(), session).await,
            Self::Postgres(client) => {
                let age = "UPDATE jwt_refresh.sessions SET rotated_at = rotated_at - 3600000
                     WHERE id = $1 AND rotated_at IS NOT NULL";
                let id = session.id.bytes().as_slice();
                assert_eq!(client.execute(age, &[&id]).await.unwrap(), 1);
            }
        }
    }
}

async fn age_redis(mut connection: impl AsyncCommands, session: SessionRef) {
    let key = redis_key(session);
    let aged: i64 = connection.hincr(key, "rot", -3_600_000_i64).await.unwrap();
    assert!(aged > 0, "the session was never rotated");
}

pub(crate) fn redis_key(session: SessionRef) -> String {
    let hex: String = session.id.bytes().iter().map(|byte| format!("{byte:02x}")).collect();
    format!("{{jwt-refresh:{}}}:s:{hex}", session.bucket)
}

/// 32 bytes that look random.
pub(crate) fn key(seed: u8) -> [u8; 32] {
    std::array::from_fn(|at| {
        seed.wrapping_mul(97).wrapping_add((at as u8).wrapping_mul(37)) ^ 0x5C
    })
}

/// The keys that two processes of one service share.
pub(crate) fn signing_keys() -> (Vec<u8>, SigningKeys) {
    let der =
        [
            // An Ed25519 key for these tests, in PKCS #8 without its public half.
            &[
                0x30, 0x2e, 0x02, 0x01, 0x00, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x04,
                0x22,
            ][..],
            &[0x04, 0x20],
            &key(77),
        ]
        .concat();
    let signing = SigningKey::from_pkcs8(jwt_refresh::Algorithm::EdDsa, &der).unwrap();
    (der, SigningKeys::new(signing).unwrap())
}

pub(crate) fn builder(store: impl Store) -> IssuerBuilder {
    Issuer::builder(ISSUER, AUDIENCE)
        .keys(signing_keys().1)
        .refresh_keys(RefreshKeys::new(key(1)).unwrap())
        .store(store)
}

/// An issuer that knows the revocations.
pub(crate) async fn issuer(builder: IssuerBuilder) -> Issuer {
    let issuer = builder.build().unwrap();
    let ready = tokio::time::timeout(DEADLINE, issuer.verifier().ready()).await;
    assert!(ready.is_ok(), "the feed was not read within {DEADLINE:?}");
    issuer
}

/// One test for each store.
macro_rules! each_store {
    ($($(#[$meta:meta])* $test:ident;)+) => {
        mod on_redis { $(
            $(#[$meta])*
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $test() { super::$test($crate::bed::redis().await).await }
        )+ }
        mod on_redis_cluster { $(
            $(#[$meta])*
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $test() { super::$test($crate::bed::redis_cluster().await).await }
        )+ }
        mod on_postgres { $(
            $(#[$meta])*
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $test() { super::$test($crate::bed::postgres().await).await }
        )+ }
    };
}
pub(crate) use each_store;
