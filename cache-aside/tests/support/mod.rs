//! A source whose loads can be held up, shared by the tests.
#![allow(dead_code, reason = "each test binary uses a part")]

pub(crate) mod tiers;

use std::future::Future;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use cache_aside::{CacheAside, CacheBuilder, Clock, Moka, State};
use tokio::sync::oneshot;

pub(crate) const SECOND: Duration = Duration::from_secs(1);

/// A cache on Tokio's clock, without jitter.
pub(crate) fn builder() -> CacheBuilder<u64, u64> {
    CacheAside::builder("test").l1(Moka::entries(1_000)).clock(Clock::tokio()).jitter(0.0)
}

/// A cache of which no two keys below 10 share a stripe: stripes are drawn by
/// chance, and an invalidation reaches its whole stripe.
pub(crate) async fn apart(make: impl Fn() -> CacheAside<u64, u64>) -> CacheAside<u64, u64> {
    'next: loop {
        let cache = make();
        for key in 0..10 {
            for other in 0..key {
                cache.insert(&other, 0).await.unwrap();
            }
            cache.invalidate(&key).await.unwrap();
            for other in 0..key {
                if cache.explain(&other).await.state == State::Invalidated {
                    continue 'next;
                }
            }
        }
        cache.clear().await.unwrap();
        return cache;
    }
}

/// One row and a count of its readers.
#[derive(Clone, Default)]
pub(crate) struct Source(Arc<(AtomicU64, AtomicUsize)>);

impl Source {
    pub(crate) fn new(value: u64) -> Self {
        let source = Self::default();
        source.set(value);
        source
    }

    pub(crate) fn set(&self, value: u64) {
        self.0.0.store(value, Ordering::SeqCst);
    }

    pub(crate) fn loads(&self) -> usize {
        self.0.1.load(Ordering::SeqCst)
    }

    fn value(&self) -> u64 {
        self.0.1.fetch_add(1, Ordering::SeqCst);
        self.0.0.load(Ordering::SeqCst)
    }

    /// A load that answers at once.
    pub(crate) fn read(&self) -> impl Future<Output = Result<u64, io::Error>> + Send + use<> {
        let source = self.clone();
        async move { Ok(source.value()) }
    }

    /// A load that fails at once.
    pub(crate) fn fail(&self) -> impl Future<Output = Result<u64, io::Error>> + Send + use<> {
        let source = self.clone();
        async move {
            source.value();
            Err(io::Error::other("the source is down"))
        }
    }

    /// A load that reads the row, then hangs until it is let go.
    pub(crate) fn held(
        &self,
    ) -> (Held, impl Future<Output = Result<u64, io::Error>> + Send + use<>) {
        let (began, has_begun) = oneshot::channel();
        let (release, released) = oneshot::channel();
        let source = self.clone();
        let load = async move {
            let value = source.value();
            // A test that does not wait for the start may have dropped its end.
            let _ = began.send(());
            match released.await {
                Ok(Fate::Answer) => Ok(value),
                Ok(Fate::Panic) => panic!("as the test wants"),
                Ok(Fate::Fail) | Err(_) => Err(io::Error::other("the source is down")),
            }
        };
        (Held { began: Some(has_begun), release }, load)
    }
}

enum Fate {
    Answer,
    Fail,
    Panic,
}

/// The other end of a load that hangs.
pub(crate) struct Held {
    began: Option<oneshot::Receiver<()>>,
    release: oneshot::Sender<Fate>,
}

impl Held {
    /// Waits until the load has read its row.
    pub(crate) async fn began(&mut self) {
        let began = self.began.take().expect("waited for once");
        began.await.expect("the load runs");
    }

    pub(crate) fn answer(self) {
        assert!(self.release.send(Fate::Answer).is_ok(), "the load is gone");
    }

    pub(crate) fn fail(self) {
        assert!(self.release.send(Fate::Fail).is_ok(), "the load is gone");
    }

    pub(crate) fn panic(self) {
        assert!(self.release.send(Fate::Panic).is_ok(), "the load is gone");
    }
}

/// Lets every task that can run do so.
pub(crate) async fn settle() {
    for _ in 0..20 {
        tokio::task::yield_now().await;
    }
}

/// Gives a future that exists already to a loader that may be called again.
pub(crate) fn once<F>(future: F) -> impl Fn() -> F {
    let future = std::sync::Mutex::new(Some(future));
    move || future.lock().unwrap().take().expect("the loader is called once")
}
