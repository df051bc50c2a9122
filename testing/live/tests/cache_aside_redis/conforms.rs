//! The suite for shared stores, on the real ones.

use cache_aside::{RedisStore, conformance};
use testbed::redis::{Redis, RedisCluster};

#[tokio::test]
async fn one_server_conforms() {
    let redis = Redis::start().await.unwrap();
    let store = RedisStore::open(redis.url()).unwrap();
    conformance::shared(|| store.clone()).await;
    conformance::news(|| store.clone()).await;
}

#[tokio::test]
async fn a_cluster_conforms() {
    let cluster = RedisCluster::start().await.unwrap();
    let store = RedisStore::cluster(cluster.urls()).unwrap();
    conformance::shared(|| store.clone()).await;
    conformance::news(|| store.clone()).await;
}
