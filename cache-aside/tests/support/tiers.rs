//! Caches that share a tier in memory, as processes do.

use cache_aside::shared::InMemory;
use cache_aside::{CacheAside, CacheBuilder, Clock, Moka};

use super::{SECOND, Source};

pub(crate) type Cache = CacheAside<u64, u64>;

pub(crate) fn on(tier: &InMemory) -> CacheBuilder<u64, u64> {
    CacheAside::builder("test").l2(tier.clone()).clock(Clock::tokio()).jitter(0.0)
}

/// Two processes, with nothing in either.
pub(crate) fn two(tier: &InMemory) -> [Cache; 2] {
    [(); 2].map(|()| on(tier).build().unwrap())
}

/// Two processes that keep copies for five seconds.
pub(crate) fn two_with_copies(tier: &InMemory) -> [Cache; 2] {
    [(); 2].map(|()| on(tier).l1(Moka::entries(100)).l1_ttl(5 * SECOND).build().unwrap())
}

pub(crate) async fn read(cache: &Cache, source: &Source) -> u64 {
    *cache.get_or_load(&7, |_| source.read()).await.unwrap().unwrap()
}
