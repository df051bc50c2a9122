//! One load for all who ask, whatever becomes of the load or of those who ask.
#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod support;

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use cache_aside::{CacheAside, Entry, Error, LoadCause, Loaded, Lookup, Moka, Store};
use support::{SECOND, Source, builder, settle};
use tokio::runtime::{Builder, Runtime};
use tokio::task::JoinSet;

#[tokio::test(start_paused = true)]
async fn a_thousand_misses_are_one_load() {
    let (cache, source) = (builder().build().unwrap(), Source::new(1));
    let callers: JoinSet<_> = (0..1_000)
        .map(|_| {
            let (cache, source) = (cache.clone(), source.clone());
            async move { cache.get_or_load(&7, |_| source.read()).await.unwrap() }
        })
        .collect();
    assert!(callers.join_all().await.iter().all(|value| *value == Some(Arc::new(1))));
    assert_eq!(source.loads(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_thousand_misses_on_many_threads_are_one_load() {
    for _ in 0..20 {
        let cache: CacheAside<u64, u64> =
            CacheAside::builder("test").l1(Moka::entries(100)).build().unwrap();
        let source = Source::new(1);
        let start = Arc::new(tokio::sync::Barrier::new(1_000));
        let callers: JoinSet<_> = (0..1_000)
            .map(|_| {
                let (cache, source, start) = (cache.clone(), source.clone(), start.clone());
                async move {
                    start.wait().await;
                    cache.get_or_load(&7, |_| source.read()).await.unwrap()
                }
            })
            .collect();
        assert!(callers.join_all().await.iter().all(Option::is_some));
        assert_eq!(source.loads(), 1);
    }
}

/// The first look falls before another's value is there, the boarding after.
#[tokio::test(start_paused = true)]
async fn a_value_that_came_between_the_look_and_the_load_is_served() {
    let blind = Arc::new(AtomicBool::new(false));
    let store = Blink { inner: Moka::entries(10), blind: blind.clone() };
    let cache: CacheAside<u64, u64> = CacheAside::builder("test").l1(store).build().unwrap();
    let source = Source::new(1);
    cache.get_or_load(&7, |_| source.read()).await.unwrap();
    blind.store(true, Ordering::SeqCst);
    assert_eq!(cache.get_or_load(&7, |_| source.read()).await.unwrap(), Some(Arc::new(1)));
    assert!(!blind.load(Ordering::SeqCst), "there was no first look");
    assert_eq!(source.loads(), 1);
}

/// Misses once when told to.
struct Blink {
    inner: Moka<u64, u64>,
    blind: Arc<AtomicBool>,
}

impl Store<u64, u64> for Blink {
    fn get(&self, key: &u64) -> Option<Entry<u64>> {
        if self.blind.swap(false, Ordering::SeqCst) { None } else { self.inner.get(key) }
    }

    fn insert(&self, key: u64, entry: Entry<u64>) {
        self.inner.insert(key, entry);
    }

    fn remove(&self, key: &u64) {
        self.inner.remove(key);
    }

    fn clear(&self) {
        self.inner.clear();
    }

    fn capacity(&self) -> usize {
        self.inner.capacity()
    }
}

/// Boards `n` callers on one held load; returns what they get.
async fn boarded(
    cache: &CacheAside<u64, u64>,
    source: &Source,
    n: usize,
) -> (support::Held, JoinSet<Result<Option<Arc<u64>>, Error>>) {
    let (mut held, load) = source.held();
    let mut callers = JoinSet::new();
    let leader = cache.clone();
    callers.spawn(async move { leader.get_or_load(&7, |_| load).await });
    held.began().await;
    for _ in 1..n {
        let (cache, source) = (cache.clone(), source.clone());
        callers.spawn(async move { cache.get_or_load(&7, |_| source.read()).await });
    }
    settle().await;
    (held, callers)
}

#[tokio::test(start_paused = true)]
async fn a_failed_load_is_one_failure_for_all() {
    let (cache, source) = (builder().build().unwrap(), Source::new(1));
    let (held, callers) = boarded(&cache, &source, 50).await;
    held.fail();
    let errors: Vec<_> = callers.join_all().await.into_iter().map(Result::unwrap_err).collect();
    assert_eq!(errors.len(), 50);
    assert_eq!(source.loads(), 1);
    for error in &errors {
        let (Error::Load(a), Error::Load(b)) = (error, &errors[0]) else { panic!("{error:?}") };
        assert!(Arc::ptr_eq(a, b), "the error was not shared");
        assert!(error.load_error::<io::Error>().is_some() && error.may_have_reached_source());
    }
    // By default it is not remembered.
    assert_eq!(cache.get_or_load(&7, |_| source.read()).await.unwrap(), Some(Arc::new(1)));
}

#[tokio::test(start_paused = true)]
async fn a_panic_is_an_error_for_all() {
    let (cache, source) = (builder().build().unwrap(), Source::new(1));
    let (held, callers) = boarded(&cache, &source, 50).await;
    held.panic();
    for outcome in callers.join_all().await {
        assert!(matches!(outcome, Err(Error::Panicked)), "{outcome:?}");
    }
    assert_eq!(source.loads(), 1);
    assert_eq!(cache.get_or_load(&7, |_| source.read()).await.unwrap(), Some(Arc::new(1)));
}

#[tokio::test(start_paused = true)]
async fn a_panic_of_the_closure_is_an_error_too() {
    let (cache, source) = (builder().build().unwrap(), Source::new(1));
    let broken =
        |_| -> std::future::Ready<Result<u64, io::Error>> { panic!("as the test wants") };
    assert!(matches!(cache.get_or_load(&7, broken).await, Err(Error::Panicked)));
    let broken = |_| -> std::future::Ready<Result<[(u64, u64); 0], io::Error>> {
        panic!("as the test wants")
    };
    let many = cache.get_many(&[7, 8], broken).await;
    assert!(many.iter().all(|outcome| matches!(outcome, Err(Error::Panicked))));
    assert_eq!(cache.get_or_load(&7, |_| source.read()).await.unwrap(), Some(Arc::new(1)));
}

/// A panic past the load itself: when its future is dropped at the deadline.
#[tokio::test(start_paused = true)]
async fn a_panic_of_a_drop_is_an_error_too() {
    struct Bomb;
    impl Drop for Bomb {
        fn drop(&mut self) {
            panic!("as the test wants");
        }
    }
    let (cache, source) = (builder().build().unwrap(), Source::new(1));
    let hanging = |_| async {
        let _bomb = Bomb;
        std::future::pending::<Result<u64, io::Error>>().await
    };
    assert!(matches!(cache.get_or_load(&7, hanging).await, Err(Error::Panicked)));
    assert_eq!(cache.get_or_load(&7, |_| source.read()).await.unwrap(), Some(Arc::new(1)));
}

#[tokio::test(start_paused = true)]
async fn a_load_past_its_deadline_is_given_up() {
    let cache = builder().load_timeout(3 * SECOND).build().unwrap();
    let source = Source::new(1);
    let began = tokio::time::Instant::now();
    let (held, callers) = boarded(&cache, &source, 50).await;
    for outcome in callers.join_all().await {
        assert!(outcome.as_ref().is_err_and(Error::is_timeout), "{outcome:?}");
    }
    assert_eq!(began.elapsed(), 3 * SECOND);
    assert_eq!(source.loads(), 1);
    drop(held);
    assert_eq!(cache.get_or_load(&7, |_| source.read()).await.unwrap(), Some(Arc::new(1)));
}

#[tokio::test(start_paused = true)]
async fn a_cancelled_leader_strands_nobody() {
    let (cache, source) = (builder().build().unwrap(), Source::new(1));
    let (mut held, load) = source.held();
    let first = cache.clone();
    let leader = tokio::spawn(async move { first.get_or_load(&7, |_| load).await });
    held.began().await;
    let (second, reader) = (cache.clone(), source.clone());
    let waiter =
        tokio::spawn(async move { second.get_or_load(&7, |_| reader.read()).await.unwrap() });
    settle().await;
    leader.abort();
    assert!(leader.await.unwrap_err().is_cancelled());
    held.answer();
    assert_eq!(waiter.await.unwrap(), Some(Arc::new(1)));
    assert_eq!(source.loads(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_load_that_everybody_left_is_stored() {
    let (cache, source) = (builder().build().unwrap(), Source::new(1));
    let (held, mut callers) = boarded(&cache, &source, 3).await;
    callers.shutdown().await;
    held.answer();
    settle().await;
    assert_eq!(cache.get(&7).await, Lookup::Hit(Arc::new(1)));
}

#[test]
fn waiters_learn_that_the_leaders_runtime_was_shut_down() {
    let (doomed, runtime) = (threaded(), threaded());
    let cache: CacheAside<u64, u64> =
        CacheAside::builder("test").l1(Moka::entries(100)).build().unwrap();
    let source = Source::new(1);
    let (mut held, load) = source.held();
    let first = cache.clone();
    let leader = doomed.spawn(async move { first.get_or_load(&7, |_| load).await });
    runtime.block_on(held.began());

    let _guard = runtime.enter();
    let mut waiter = tokio_test::task::spawn(cache.get_or_load(&7, |_| source.read()));
    assert!(waiter.poll().is_pending());
    doomed.shutdown_background();
    assert!(matches!(runtime.block_on(waiter), Err(Error::Aborted)));
    assert!(runtime.block_on(leader).unwrap_err().is_cancelled());
    assert_eq!(source.loads(), 1);
    let again = runtime.block_on(cache.get_or_load(&7, |_| source.read()));
    assert_eq!(again.unwrap(), Some(Arc::new(1)));
}

fn threaded() -> Runtime {
    Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap()
}

#[test]
fn without_a_runtime_there_is_an_error() {
    let cache: CacheAside<u64, u64> =
        CacheAside::builder("test").l1(Moka::entries(100)).build().unwrap();
    let source = Source::new(1);
    let outcome = tokio_test::task::spawn(cache.get_or_load(&7, |_| source.read())).poll();
    let std::task::Poll::Ready(Err(error)) = outcome else { panic!("{outcome:?}") };
    assert!(matches!(error, Error::NoRuntime) && !error.may_have_reached_source());
    let many = cache.get_many(&[7], |_| async { Ok::<_, io::Error>([(7, 1)]) });
    let outcome = tokio_test::task::spawn(many).poll();
    assert!(
        matches!(&outcome, std::task::Poll::Ready(o) if matches!(o[0], Err(Error::NoRuntime)))
    );
    assert_eq!(source.loads(), 0);

    // Built outside, used inside: the caller's runtime serves.
    let runtime = Runtime::new().unwrap();
    let value = runtime.block_on(cache.get_or_load(&7, |_| source.read()));
    assert_eq!(value.unwrap(), Some(Arc::new(1)));
}

#[test]
fn a_caller_without_a_runtime_loads_where_the_cache_was_built() {
    let runtime = Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let cache: CacheAside<u64, u64> = {
        let _guard = runtime.enter();
        CacheAside::builder("test").l1(Moka::entries(100)).build().unwrap()
    };
    let source = Source::new(1);
    // A bare executor: it has no runtime of its own.
    let mut call = Box::pin(cache.get_or_load(&7, |_| source.read()));
    let waker = std::task::Waker::from(Arc::new(Unpark(std::thread::current())));
    let mut cx = std::task::Context::from_waker(&waker);
    let value = loop {
        match call.as_mut().poll(&mut cx) {
            std::task::Poll::Ready(value) => break value,
            std::task::Poll::Pending => std::thread::park(),
        }
    };
    assert_eq!(value.unwrap(), Some(Arc::new(1)));
}

struct Unpark(std::thread::Thread);

impl std::task::Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

#[test]
fn a_load_on_a_runtime_that_nobody_drives_is_replaced() {
    let (idle, driven) = (paused(), paused());
    let source = Source::new(1);
    driven.block_on(async {
        let cache = builder().load_timeout(3 * SECOND).build().unwrap();
        {
            let _elsewhere = idle.enter();
            let mut call = tokio_test::task::spawn(cache.get_or_load(&7, |_| source.read()));
            assert!(call.poll().is_pending());
        }
        // Who joins waits no longer than the deadline and a second.
        let joined = cache.get_or_load(&7, |_| source.read()).await;
        assert!(joined.unwrap_err().is_timeout());
        tokio::time::advance(Duration::from_millis(1)).await;
        let replaced = cache.get_or_load(&7, |_| source.read()).await;
        assert_eq!(replaced.unwrap(), Some(Arc::new(1)));
    });
}

/// Each has a clock of its own: of two, the one made first is behind.
fn paused() -> Runtime {
    Builder::new_current_thread().enable_all().start_paused(true).build().unwrap()
}

#[test]
fn many_loads_that_nobody_drives_are_waited_for_together() {
    let (idle, driven) = (paused(), paused());
    let keys: Vec<u64> = (0..5).collect();
    driven.block_on(async {
        let cache = builder().load_timeout(3 * SECOND).build().unwrap();
        let hanging = |_| std::future::pending::<Result<[(u64, u64); 0], io::Error>>();
        {
            let _elsewhere = idle.enter();
            let mut call = tokio_test::task::spawn(cache.get_many(&keys, hanging));
            assert!(call.poll().is_pending());
        }
        let began = tokio::time::Instant::now();
        for outcome in cache.get_many(&keys, hanging).await {
            assert!(outcome.unwrap_err().is_timeout());
        }
        assert!(began.elapsed() <= 4 * SECOND, "they took {:?}", began.elapsed());
    });
}

#[test]
fn an_error_is_not_kept_longer_on_a_runtime_that_nobody_drives() {
    let (idle, driven) = (paused(), paused());
    let source = Source::new(1);
    let cache = driven.block_on(async { builder().error_ttl(2 * SECOND).build().unwrap() });
    idle.block_on(cache.get_or_load(&7, |_| source.fail())).unwrap_err();
    let many = cache.get_many(&[8], |_| async { Err::<[(u64, u64); 0], _>("down") });
    idle.block_on(many)[0].as_ref().unwrap_err();
    driven.block_on(async {
        cache.get_or_load(&7, |_| source.read()).await.unwrap_err();
        tokio::time::advance(3 * SECOND).await;
        for key in [7, 8] {
            let again = cache.get_or_load(&key, |_| source.read()).await;
            assert_eq!(again.unwrap(), Some(Arc::new(1)), "the error of {key} is kept");
        }
    });
    assert_eq!(source.loads(), 3);
}

#[tokio::test(start_paused = true)]
async fn an_error_can_be_kept_for_a_while() {
    let cache = builder().error_ttl(2 * SECOND).build().unwrap();
    let source = Source::new(1);
    for _ in 0..10 {
        cache.get_or_load(&7, |_| source.fail()).await.unwrap_err();
        let many = cache.get_many(&[7], |_| async { Ok::<_, io::Error>([(7, 1)]) }).await;
        many[0].as_ref().unwrap_err();
    }
    assert_eq!(source.loads(), 1);
    assert!(cache.explain(&7).await.loading);
    tokio::time::sleep(2 * SECOND + Duration::from_millis(1)).await;
    assert_eq!(cache.get_or_load(&7, |_| source.read()).await.unwrap(), Some(Arc::new(1)));
    assert!(!cache.explain(&7).await.loading);

    // A write ends it at once: what failed before is no answer for after.
    cache.get_or_load(&8, |_| source.fail()).await.unwrap_err();
    cache.invalidate(&8).await.unwrap();
    assert_eq!(cache.get_or_load(&8, |_| source.read()).await.unwrap(), Some(Arc::new(1)));
}

#[tokio::test(start_paused = true)]
async fn the_loader_may_borrow_and_learns_why() {
    let cache = builder().ttl(60 * SECOND).stale_while_revalidate(60 * SECOND).build().unwrap();
    let mut causes = Vec::new();
    for _ in 0..3 {
        let load = |cx: cache_aside::LoadContext<u64>| {
            causes.push((*cx.key(), cx.cause()));
            async move { Ok::<_, io::Error>(Loaded::value(*cx.key())) }
        };
        assert_eq!(cache.get_or_load(&7, load).await.unwrap(), Some(Arc::new(7)));
        tokio::time::sleep(61 * SECOND).await;
    }
    assert_eq!(
        causes,
        [(7, LoadCause::Miss), (7, LoadCause::Revalidate), (7, LoadCause::Revalidate)]
    );
}

#[tokio::test(start_paused = true)]
async fn what_is_not_to_be_stored_answers_those_who_wait_only() {
    let (cache, source) = (builder().build().unwrap(), Source::new(1));
    for loads in 1..=3 {
        let load = || {
            let load = source.read();
            async move { load.await.map(|n| Loaded::value(n).do_not_store()) }
        };
        let (a, b) =
            tokio::join!(cache.get_or_load(&7, |_| load()), cache.get_or_load(&7, |_| load()));
        assert_eq!((a.unwrap(), b.unwrap()), (Some(Arc::new(1)), Some(Arc::new(1))));
        assert_eq!(source.loads(), loads);
        assert_eq!(cache.get(&7).await, Lookup::Miss);
    }
}
