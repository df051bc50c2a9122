//! What protects the second tier, one thing at a time: each of these tests fails where
//! that is taken out (`cargo xtask controls cache-aside`).
#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod support;

use std::sync::Arc;
use std::time::Duration;

use cache_aside::shared::{
    Acquired, Ask, Fault, Fill, Filled, Floor, InMemory, Lease, Reading, SharedError,
    SharedStore,
};
use cache_aside::{Batch, CacheAside, CacheBuilder, Clock, Lookup, Moka};
use support::{SECOND, Source, settle};
use tokio::sync::watch;

type Cache = CacheAside<u64, u64>;

const KEY: u64 = 7;

/// One process's cache.
fn builder(store: impl SharedStore) -> CacheBuilder<u64, u64> {
    CacheAside::builder("test").l2(store).clock(Clock::tokio()).jitter(0.0)
}

fn cache(store: &InMemory) -> Cache {
    builder(store.clone()).build().unwrap()
}

async fn read(cache: &Cache, source: &Source) -> u64 {
    *cache.get_or_load(&KEY, |_| source.read()).await.unwrap().unwrap()
}

fn hit(value: u64) -> Lookup<u64> {
    Lookup::Hit(Arc::new(value))
}

#[tokio::test(start_paused = true)]
async fn a_late_load_does_not_fill() {
    let (store, source) = (InMemory::new(), Source::new(1));
    let (one, two) = (cache(&store), cache(&store));
    let (mut held, load) = source.held();
    let reader = one.clone();
    let old = tokio::spawn(async move { reader.get_or_load(&KEY, |_| load).await });
    held.began().await;
    source.set(2);
    two.invalidate(&KEY).await.unwrap();
    held.answer();
    assert_eq!(old.await.unwrap().unwrap().as_deref(), Some(&1), "it came before");
    assert_eq!(two.get(&KEY).await, Lookup::Miss);
    assert_eq!(read(&one, &source).await, 2);
}

#[tokio::test(start_paused = true)]
async fn nobody_is_given_a_load_that_another_process_has_overtaken() {
    let (store, source) = (InMemory::new(), Source::new(1));
    let (one, two) = (cache(&store), cache(&store));
    let (mut held, load) = source.held();
    let reader = one.clone();
    let old = tokio::spawn(async move { reader.get_or_load(&KEY, |_| load).await });
    held.began().await;
    source.set(2);
    two.invalidate(&KEY).await.unwrap();

    tokio::time::advance(Duration::from_millis(1)).await;
    let (late, rows) = (one.clone(), source.clone());
    let new = tokio::spawn(async move { read(&late, &rows).await });
    settle().await;
    assert_eq!(source.loads(), 1, "it has joined");
    held.answer();
    assert_eq!(old.await.unwrap().unwrap().as_deref(), Some(&1), "it came before");
    assert_eq!(new.await.unwrap(), 2);
}

/// The same where the store has no room for leases, and answers everything else.
#[tokio::test(start_paused = true)]
async fn nobody_is_given_a_load_that_was_overtaken_where_there_is_no_room() {
    let (store, source) = (InMemory::new(), Source::new(1));
    let (one, two) = (cache(&store), cache(&store));
    store.set_fault(Some(Fault::Full));
    for many in [false, true] {
        let loads = source.loads();
        source.set(1);
        let (mut held, load) = source.held();
        let (reader, load) = (one.clone(), support::once(load));
        let old = tokio::spawn(async move {
            if many {
                let rows = |_: Batch<u64>| {
                    let load = load();
                    async move { load.await.map(|value| [(KEY, value)]) }
                };
                reader.get_many(&[KEY], rows).await.remove(0)
            } else {
                reader.get_or_load(&KEY, |_| load()).await
            }
        });
        held.began().await;
        source.set(2);
        two.invalidate(&KEY).await.unwrap();

        tokio::time::advance(Duration::from_millis(1)).await;
        let (late, rows) = (one.clone(), source.clone());
        let new = tokio::spawn(async move { read(&late, &rows).await });
        settle().await;
        assert_eq!(source.loads() - loads, 1, "it has joined");
        held.answer();
        assert_eq!(old.await.unwrap().unwrap().as_deref(), Some(&1), "it came before");
        assert_eq!(new.await.unwrap(), 2);
    }
}

#[tokio::test(start_paused = true)]
async fn what_was_not_acknowledged_is_owed_and_not_shown() {
    for fault in [Fault::Down, Fault::Hangs] {
        let (store, source) = (InMemory::new(), Source::new(1));
        let (one, two) = (cache(&store), cache(&store));
        assert_eq!(read(&one, &source).await, 1);
        source.set(2);
        store.set_fault(Some(fault));
        assert!(one.invalidate(&KEY).await.unwrap_err().is_unacknowledged());
        store.set_fault(None);

        assert_eq!(two.get(&KEY).await, hit(1), "it is still there");
        assert_eq!(one.get(&KEY).await, Lookup::Miss);
        assert_eq!(read(&one, &source).await, 2);
        // By itself, and then it is used again.
        tokio::time::sleep(5 * SECOND).await;
        assert_eq!(two.get(&KEY).await, Lookup::Miss);
        assert_eq!(read(&one, &source).await, 2);
        assert_eq!(two.get(&KEY).await, hit(2));
    }
}

#[tokio::test(start_paused = true)]
async fn a_copy_that_was_taken_during_an_invalidation_is_not_shown() {
    let (store, source) = (InMemory::new(), Source::new(1));
    let gate = Gated::new(&store);
    let one = builder(gate.clone()).l1(Moka::entries(10)).l1_ttl(60 * SECOND);
    let one = one.build().unwrap();
    assert_eq!(read(&cache(&store), &source).await, 1);
    source.set(2);

    gate.invalidations.send_replace(false);
    let writer = one.clone();
    let invalidation = tokio::spawn(async move { writer.invalidate(&KEY).await });
    settle().await;
    assert_eq!(one.get(&KEY).await, hit(1), "it is not over yet");
    gate.invalidations.send_replace(true);
    invalidation.await.unwrap().unwrap();
    assert_eq!(one.get(&KEY).await, Lookup::Miss);
    assert_eq!(read(&one, &source).await, 2);
}

/// The time of a copy begins with the question, however long the answer takes.
#[tokio::test(start_paused = true)]
async fn a_copy_is_shown_no_longer_for_an_answer_that_was_late() {
    let (store, source) = (InMemory::new(), Source::new(1));
    let gate = Gated::new(&store);
    let two = cache(&store);
    assert_eq!(read(&two, &source).await, 1);
    let one = builder(gate.clone()).l1(Moka::entries(10)).l1_ttl(SECOND);
    let one = one.l2_timeout(10 * SECOND).build().unwrap();

    gate.answers.send_replace(false);
    let reader = one.clone();
    let asked = tokio::spawn(async move { reader.get(&KEY).await });
    settle().await;
    source.set(2);
    two.invalidate(&KEY).await.unwrap();
    tokio::time::advance(SECOND).await;
    gate.answers.send_replace(true);
    assert_eq!(asked.await.unwrap(), hit(1), "it was asked before");
    assert_eq!(one.get(&KEY).await, Lookup::Miss);
}

/// An [`InMemory`] whose invalidations, or whose answers to reads, can be held up.
#[derive(Clone)]
struct Gated {
    store: InMemory,
    invalidations: watch::Sender<bool>,
    answers: watch::Sender<bool>,
}

impl Gated {
    fn new(store: &InMemory) -> Self {
        let [invalidations, answers] = [(); 2].map(|()| watch::Sender::new(true));
        Self { store: store.clone(), invalidations, answers }
    }
}

async fn pass(gate: &watch::Sender<bool>) {
    gate.subscribe().wait_for(|open| *open).await.unwrap();
}

impl SharedStore for Gated {
    fn bind(&mut self, cache: &str) {
        self.store.bind(cache);
    }

    async fn read(&self, keys: &[&[u8]]) -> Result<Vec<Reading>, SharedError> {
        let answer = self.store.read(keys).await;
        pass(&self.answers).await;
        answer
    }

    async fn acquire(&self, asks: &[Ask<'_>]) -> Result<Vec<Acquired>, SharedError> {
        self.store.acquire(asks).await
    }

    async fn fill(&self, fills: &[Fill<'_>]) -> Result<Vec<Filled>, SharedError> {
        self.store.fill(fills).await
    }

    async fn release(&self, leases: &[(&[u8], &Lease)]) -> Result<(), SharedError> {
        self.store.release(leases).await
    }

    async fn invalidate(&self, key: &[u8], floor: Option<&Floor>) -> Result<(), SharedError> {
        pass(&self.invalidations).await;
        self.store.invalidate(key, floor).await
    }

    async fn displace(
        &self,
        key: &[u8],
        lease: Duration,
        floor: Option<&Floor>,
    ) -> Result<Option<Lease>, SharedError> {
        self.store.displace(key, lease, floor).await
    }

    async fn clear(&self, partition: usize, floors: bool) -> Result<(), SharedError> {
        self.store.clear(partition, floors).await
    }

    async fn probe(&self, domain: usize) -> Result<(), SharedError> {
        self.store.probe(domain).await
    }
}
