//! What goes on while the second tier does not.
#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod support;

use std::io;
use std::time::Duration;

use cache_aside::shared::{Fault, InMemory};
use cache_aside::{Error, Lookup, State, TierName};
use support::tiers::{on, read, two, two_with_copies};
use support::{SECOND, Source, settle};
use tokio::time::Instant;

#[tokio::test(start_paused = true)]
async fn without_the_tier_the_source_is_asked_and_nobody_fails() {
    for (fault, slowest) in [
        (Fault::Down, Duration::ZERO),
        (Fault::Hangs, Duration::from_millis(250)),
        (Fault::LosesAnswers, Duration::from_millis(250)),
        (Fault::Full, Duration::ZERO),
    ] {
        let tier = InMemory::new();
        let ([one, _], source) = (two(&tier), Source::new(1));
        tier.set_fault(Some(fault));
        for _ in 0..20 {
            let began = Instant::now();
            assert_eq!(read(&one, &source).await, 1);
            assert!(began.elapsed() <= slowest + Duration::from_millis(1), "{fault:?}");
        }
        let loads = source.loads();
        assert_eq!(loads, 20, "{fault:?}");
        let calls = tier.calls();
        assert_eq!(read(&one, &source).await, 1);
        let asked = tier.calls() - calls;
        assert_eq!(asked > 0, fault == Fault::Full, "{fault:?} opens the breaker: {asked}");

        tier.set_fault(None);
        tokio::time::sleep(5 * SECOND).await;
        read(&one, &source).await;
        let loads = source.loads();
        read(&one, &source).await;
        assert_eq!(source.loads(), loads, "after {fault:?} it is asked again");
    }
}

#[tokio::test(start_paused = true)]
async fn an_invalidation_that_is_not_acknowledged_is_an_error_and_is_owed() {
    for fault in [Fault::Down, Fault::Hangs, Fault::LosesAnswers] {
        for copies in [false, true] {
            let tier = InMemory::new();
            let caches = if copies { two_with_copies(&tier) } else { two(&tier) };
            let ([one, two], source) = (caches, Source::new(1));
            for cache in [&one, &two] {
                assert_eq!(read(cache, &source).await, 1);
            }
            source.set(2);
            tier.set_fault(Some(fault));
            let error = one.invalidate(&7).await.unwrap_err();
            assert!(matches!(error, Error::Unacknowledged(_)), "{fault:?}: {error}");
            assert!(error.is_unacknowledged() && !error.may_have_reached_source());
            assert!(one.explain(&7).await.bypassed);
            assert_eq!(read(&one, &source).await, 2);
            // It works again; whether the debt is paid is not known yet.
            tier.set_fault(None);
            assert_eq!(read(&one, &source).await, 2);
            tokio::time::sleep(5 * SECOND).await;
            assert!(!one.explain(&7).await.bypassed);
            for cache in [&one, &two] {
                assert_eq!(read(cache, &source).await, 2, "{fault:?}, with copies: {copies}");
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn an_invalidation_that_is_dropped_goes_on() {
    let tier = InMemory::new();
    let ([one, two], source) = (two(&tier), Source::new(1));
    assert_eq!(read(&one, &source).await, 1);
    source.set(2);
    tier.set_fault(Some(Fault::Hangs));
    drop({
        let mut invalidation = tokio_test::task::spawn(one.invalidate(&7));
        assert!(invalidation.poll().is_pending());
        invalidation
    });
    tier.set_fault(None);
    assert_eq!(read(&one, &source).await, 2);
    tokio::time::sleep(SECOND).await;
    assert_eq!(read(&two, &source).await, 2);
}

#[tokio::test(start_paused = true)]
async fn too_many_debts_are_a_clear() {
    let tier = InMemory::new();
    let one = on(&tier).max_unacknowledged(2).build().unwrap();
    let load = |cx: cache_aside::LoadContext<u64>| async move { Ok::<_, io::Error>(*cx.key()) };
    for key in 0..5 {
        one.get_or_load(&key, load).await.unwrap();
    }
    tier.set_fault(Some(Fault::Down));
    for key in 0..3 {
        assert!(one.invalidate(&key).await.is_err());
    }
    tier.set_fault(None);
    assert!(one.explain(&4).await.bypassed, "everything is owed");
    tokio::time::sleep(5 * SECOND).await;
    assert!(!one.explain(&4).await.bypassed);
    assert_eq!(one.get(&4).await, Lookup::Miss, "it was cleared");
}

/// A load without the tier is no load to join once the tier is back: it began before
/// what other processes have invalidated since. Nor is its copy shown for longer.
#[tokio::test(start_paused = true)]
async fn a_load_from_an_outage_is_not_joined_after_it() {
    for copies in [false, true] {
        let tier = InMemory::new();
        let [one, two] = if copies { two_with_copies(&tier) } else { two(&tier) };
        let source = Source::new(1);
        tier.set_fault(Some(Fault::Down));
        for _ in 0..5 {
            assert!(one.get_or_load(&8, |_| source.fail()).await.is_err());
        }
        let (mut held, load) = source.held();
        let reader = one.clone();
        let first = tokio::spawn(async move { reader.get_or_load(&7, |_| load).await });
        held.began().await;
        tier.set_fault(None);
        tokio::time::sleep(5 * SECOND).await;
        assert!(!one.explain(&7).await.bypassed);
        source.set(2);
        two.invalidate(&7).await.unwrap();
        let (reader, again) = (one.clone(), source.clone());
        let late = tokio::spawn(async move { reader.get_or_load(&7, |_| again.read()).await });
        settle().await;
        held.answer();
        assert_eq!(*first.await.unwrap().unwrap().unwrap(), 1);
        assert_eq!(*late.await.unwrap().unwrap().unwrap(), 2, "with copies: {copies}");
        assert_eq!(read(&one, &source).await, 2, "with copies: {copies}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_explanation_names_the_tier() {
    let tier = InMemory::new();
    let ([one, two], source) = (two(&tier), Source::new(1));
    assert_eq!(read(&one, &source).await, 1);
    let explained = two.explain(&7).await;
    assert_eq!((explained.state, explained.tier), (State::Fresh, Some(TierName::Shared)));
    let said = explained.to_string();
    assert!(said.contains("a hit in the second tier"), "{said}");
    tier.set_fault(Some(Fault::Down));
    assert!(two.invalidate(&7).await.is_err());
    let said = two.explain(&7).await.to_string();
    assert!(said.contains("the second tier is bypassed"), "{said}");
}
