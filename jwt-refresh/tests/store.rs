//! The suite for stores, on the one in memory.

mod support;

use jwt_refresh::{MemoryStore, conformance};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_memory_store_conforms() {
    conformance::store(MemoryStore::new()).await;
}
