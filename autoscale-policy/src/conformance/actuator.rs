use std::pin::pin;
use std::task::{Context, Waker};
use std::time::Duration;

use tokio::time::{Instant, sleep};

use crate::actuator::{Actuator, Resize, Roster, Seen};
use crate::observation::Phase;

/// Whether a platform runs as many instances as it is asked for: more, fewer, the same
/// again, and after nobody waited for its answer; and removes those that it is told to, if
/// it can choose (`chooses`). It ends with none. Each step may take `patience`.
///
/// # Panics
///
/// If it does not.
pub async fn actuator<P: Actuator + Roster>(platform: &P, chooses: bool, patience: Duration) {
    let (mut now, steps) = (0, [1, 3, 3, 2, 0, 2]);
    for to in steps {
        set(platform, Resize::new(now, to)).await;
        settled(platform, to, patience).await;
        now = to;
    }
    // Asked, and not waited for; then asked for something else.
    let mut context = Context::from_waker(Waker::noop());
    let _ = pin!(platform.set(&Resize::new(now, 1))).poll(&mut context);
    set(platform, Resize::new(now, 3)).await;
    let seen = settled(platform, 3, patience).await;
    if chooses {
        let oldest = seen.instances.iter().min_by_key(|i| (i.changed, i.id)).map(|i| i.id);
        set(platform, Resize::new(3, 2).removal(oldest.into_iter().collect())).await;
        let left = settled(platform, 2, patience).await;
        let still = left.instances.iter().any(|i| Some(i.id) == oldest);
        assert!(!still, "{oldest:?} was to be removed, and another one was");
    }
    set(platform, Resize::new(2, 0)).await;
    settled(platform, 0, patience).await;
}

async fn set<P: Actuator>(platform: &P, resize: Resize) {
    match platform.set(&resize).await {
        Ok(taken) => assert_eq!(taken, resize.to, "it said that it took another number"),
        Err(error) => panic!("{resize:?}: {error}"),
    }
}

/// Waits until so many are ready, and nothing else is left.
async fn settled<P: Roster>(platform: &P, count: u32, patience: Duration) -> Seen {
    let until = Instant::now() + patience;
    loop {
        let seen = platform.seen().await.unwrap_or_else(|error| panic!("{error}"));
        if let Some(target) = seen.target {
            assert_eq!(target, count, "it does not know what it was asked for");
        }
        let ready = seen.instances.iter().filter(|i| i.phase == Phase::Ready).count();
        if ready == count as usize && seen.instances.len() == ready {
            let mut ids: Vec<_> = seen.instances.iter().map(|i| i.id).collect();
            ids.sort_unstable();
            ids.dedup();
            assert_eq!(ids.len(), ready, "two instances have one name: {seen:?}");
            return seen;
        }
        assert!(Instant::now() < until, "{count} were asked for, and there are {seen:?}");
        sleep(Duration::from_millis(20)).await;
    }
}
