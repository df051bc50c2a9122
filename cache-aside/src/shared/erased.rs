//! A [`SharedStore`] whose type is chosen at run time.

use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

use super::{Acquired, Ask, Fill, Filled, Floor, Lease, Reading, SharedError, SharedStore};

type Answer<'a, T> = Pin<Box<dyn Future<Output = Result<T, SharedError>> + Send + 'a>>;

/// [`SharedStore`], with boxed futures. Its rules are those.
pub(crate) trait AnyShared: Send + Sync {
    fn partitions(&self) -> usize;
    fn partition(&self, key: &[u8]) -> usize;
    fn domain(&self, partition: usize) -> usize;
    fn read<'a>(&'a self, keys: &'a [&'a [u8]]) -> Answer<'a, Vec<Reading>>;
    fn acquire<'a>(&'a self, asks: &'a [Ask<'a>]) -> Answer<'a, Vec<Acquired>>;
    fn fill<'a>(&'a self, fills: &'a [Fill<'a>]) -> Answer<'a, Vec<Filled>>;
    fn release<'a>(&'a self, leases: &'a [(&'a [u8], &'a Lease)]) -> Answer<'a, ()>;
    fn invalidate<'a>(&'a self, key: &'a [u8], floor: Option<&'a Floor>) -> Answer<'a, ()>;
    fn displace<'a>(
        &'a self,
        key: &'a [u8],
        lease: Duration,
        floor: Option<&'a Floor>,
    ) -> Answer<'a, Option<Lease>>;
    fn clear(&self, partition: usize, floors: bool) -> Answer<'_, ()>;
    fn probe(&self, domain: usize) -> Answer<'_, ()>;
}

impl<S: SharedStore> AnyShared for S {
    fn partitions(&self) -> usize {
        SharedStore::partitions(self)
    }

    fn partition(&self, key: &[u8]) -> usize {
        SharedStore::partition(self, key)
    }

    fn domain(&self, partition: usize) -> usize {
        SharedStore::domain(self, partition)
    }

    fn read<'a>(&'a self, keys: &'a [&'a [u8]]) -> Answer<'a, Vec<Reading>> {
        Box::pin(SharedStore::read(self, keys))
    }

    fn acquire<'a>(&'a self, asks: &'a [Ask<'a>]) -> Answer<'a, Vec<Acquired>> {
        Box::pin(SharedStore::acquire(self, asks))
    }

    fn fill<'a>(&'a self, fills: &'a [Fill<'a>]) -> Answer<'a, Vec<Filled>> {
        Box::pin(SharedStore::fill(self, fills))
    }

    fn release<'a>(&'a self, leases: &'a [(&'a [u8], &'a Lease)]) -> Answer<'a, ()> {
        Box::pin(SharedStore::release(self, leases))
    }

    fn invalidate<'a>(&'a self, key: &'a [u8], floor: Option<&'a Floor>) -> Answer<'a, ()> {
        Box::pin(SharedStore::invalidate(self, key, floor))
    }

    fn displace<'a>(
        &'a self,
        key: &'a [u8],
        lease: Duration,
        floor: Option<&'a Floor>,
    ) -> Answer<'a, Option<Lease>> {
        Box::pin(SharedStore::displace(self, key, lease, floor))
    }

    fn clear(&self, partition: usize, floors: bool) -> Answer<'_, ()> {
        Box::pin(SharedStore::clear(self, partition, floors))
    }

    fn probe(&self, domain: usize) -> Answer<'_, ()> {
        Box::pin(SharedStore::probe(self, domain))
    }
}
