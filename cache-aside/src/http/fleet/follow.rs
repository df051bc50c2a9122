//! Following the log, in a task of its own that ends with the cache.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak};
use std::task::Poll;
use std::time::Duration;

use tokio::runtime::Handle;

use super::super::core::Core;
use super::{Event, Fleet};
use crate::clock::{Tick, nanos};
use crate::metrics::NewsOutcome;
use crate::shared::News;

/// It asks so often in the time for which news is good.
const QUESTIONS: u32 = 3;

impl Fleet {
    /// Starts to follow the log, unless that is done already, or there is no runtime here.
    pub(in crate::http) fn follow(self: &Arc<Self>, core: &Arc<Core>) {
        if self.follows.load(Ordering::Relaxed) {
            return;
        }
        let Ok(runtime) = Handle::try_current() else { return };
        if !self.follows.swap(true, Ordering::AcqRel) {
            let following = Following(Arc::clone(self));
            runtime.spawn(follow(following, Arc::downgrade(core)));
        }
    }

    /// Asks for news once.
    async fn hear(&self, core: &Weak<Core>) -> Option<()> {
        let began = core.upgrade()?.now();
        let (known, losses) = {
            let replica = self.replica();
            (replica.position(), replica.losses())
        };
        let outcome = match self.tier.ask_first(self.news.news(known.as_ref())).await {
            Ok(news) => self.learn(&*core.upgrade()?, news, losses, began),
            Err(_) => NewsOutcome::Failed,
        };
        self.metrics.news(outcome);
        self.asked.send_modify(|asked| *asked += 1);
        Some(())
    }

    /// The tables first, then what is here, then for how long that is good: who reads the last
    /// sees the others.
    fn learn(&self, core: &Core, news: News, losses: u64, began: Tick) -> NewsOutcome {
        let mut replica = self.replica_mut();
        if replica.losses() != losses {
            return NewsOutcome::Failed;
        }
        let outcome = match news {
            News::Next { position, messages } => {
                let first = position.count - messages.len() as u64 + 1;
                let events: Option<Vec<_>> = messages.iter().map(|m| Event::read(m)).collect();
                let Some(events) = events else {
                    // Of a version that says more. The tables say enough.
                    replica.lose();
                    return NewsOutcome::Failed;
                };
                for ((_, event), count) in events.iter().zip(first..) {
                    replica.note(position.life, event, count);
                }
                replica.advance(position);
                let place = replica.place();
                drop(replica);
                // This server's own hold here since before they were told.
                for (_, event) in events.iter().filter(|(from, _)| *from != self.id) {
                    core.apply(event);
                }
                self.place.store(place, Ordering::Release);
                NewsOutcome::Next
            }
            News::Anew { position, purged, outdated } => {
                replica.begin(position, &purged, &outdated);
                let place = replica.place();
                drop(replica);
                core.apply(&Event::All);
                self.place.store(place, Ordering::Release);
                NewsOutcome::Anew
            }
        };
        self.trusted.store(began.saturating_add(nanos(self.bound)), Ordering::Release);
        outcome
    }

    /// Waits until it was asked for news once, if that was not done yet.
    pub(super) async fn first_news(&self, limit: Duration) {
        if *self.asked.borrow() == 0 {
            let mut asked = self.asked.subscribe();
            // If it takes longer, it is gone on without.
            let _ = tokio::time::timeout(limit, asked.wait_for(|asked| *asked > 0)).await;
        }
    }
}

/// If its runtime is shut down, another task is to begin.
struct Following(Arc<Fleet>);

impl Drop for Following {
    fn drop(&mut self) {
        self.0.follows.store(false, Ordering::Release);
    }
}

async fn follow(following: Following, core: Weak<Core>) {
    let fleet = &*following.0;
    let mut hints = 0;
    loop {
        if fleet.hear(&core).await.is_none() {
            return;
        }
        if !fleet.owed.is_empty() {
            let Some(core) = core.upgrade() else { return };
            fleet.pay(&core).await;
        }
        // By chance, so that servers do not come in step.
        let pause = (fleet.bound / QUESTIONS).mul_f64(0.8 + fastrand::f64() / 5.0);
        if let Ok(Some(now)) = tokio::time::timeout(pause, fleet.disturbed(hints)).await {
            hints = now;
        }
    }
}

impl Fleet {
    /// Ends when there is something to tell, or when there may be something to hear: then with
    /// the number of hints.
    async fn disturbed(&self, hints: u64) -> Option<u64> {
        let mut woken = pin!(self.wake.notified());
        let mut hinted = pin!(self.news.hinted(hints));
        poll_fn(|cx| match hinted.as_mut().poll(cx) {
            Poll::Ready(hints) => Poll::Ready(Some(hints)),
            Poll::Pending => woken.as_mut().poll(cx).map(|()| None),
        })
        .await
    }
}
