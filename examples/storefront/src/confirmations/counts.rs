//! What a worker tells the process that looks after it: a line now and then, with all that it
//! has done so far.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::time::{Instant, interval};

/// How often a worker says something.
const EVERY: Duration = Duration::from_millis(250);

/// A worker that says nothing for so long is not ready any more.
const SILENCE: Duration = Duration::from_secs(3);

/// What one worker has done.
#[derive(Debug, Default)]
pub(super) struct Counts {
    pub(super) in_flight: AtomicU64,
    pub(super) confirmed: AtomicU64,
    pub(super) retried: AtomicU64,
    pub(super) set_aside: AtomicU64,
    /// Turns that were over when something came of them.
    pub(super) late: AtomicU64,
}

/// The same, to be told, and added up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Line {
    worker: u64,
    pub(super) in_flight: u64,
    pub(super) confirmed: u64,
    pub(super) retried: u64,
    pub(super) set_aside: u64,
    pub(super) late: u64,
}

impl Counts {
    /// One more of what is counted.
    pub(super) fn more(count: &AtomicU64) {
        count.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn line(&self, worker: u64) -> Line {
        let now = |count: &AtomicU64| count.load(Ordering::Relaxed);
        Line {
            worker,
            in_flight: now(&self.in_flight),
            confirmed: now(&self.confirmed),
            retried: now(&self.retried),
            set_aside: now(&self.set_aside),
            late: now(&self.late),
        }
    }

    /// Tells them, as this worker, for as long as it is polled.
    pub(super) async fn tell(&self, worker: u64) {
        let mut every = interval(EVERY);
        loop {
            every.tick().await;
            self.tell_once(worker);
        }
    }

    /// Whole lines: several workers write to one pipe, which takes up to 4,096 bytes at once.
    pub(super) fn tell_once(&self, worker: u64) {
        let line = serde_json::to_string(&self.line(worker)).expect("numbers are JSON") + "\n";
        let mut stdout = io::stdout().lock();
        // Who would read it may be gone; then this worker ends, too.
        let _ = stdout.write_all(line.as_bytes()).and_then(|()| stdout.flush());
    }
}

/// All that workers have told.
#[derive(Debug, Default)]
pub(super) struct Told {
    workers: Mutex<BTreeMap<u64, (Line, Instant)>>,
}

impl Told {
    /// Takes note of a line, whatever is in it.
    pub(super) fn hear(&self, line: &str, now: Instant) {
        if let Ok(line) = serde_json::from_str::<Line>(line) {
            self.workers().insert(line.worker, (line, now));
        }
    }

    /// How many jobs this worker has in hand, if something was heard of it lately.
    pub(super) fn in_flight(&self, worker: u64, now: Instant) -> Option<u32> {
        let workers = self.workers();
        let (line, at) = workers.get(&worker)?;
        lately(*at, now).then(|| u32::try_from(line.in_flight).unwrap_or(u32::MAX))
    }

    /// What all have done, those that are gone included, and what is in hand now.
    pub(super) fn total(&self, now: Instant) -> Line {
        let workers = self.workers();
        workers.values().fold(Line::default(), |total, (line, at)| {
            let in_flight = if lately(*at, now) { line.in_flight } else { 0 };
            sum(total, Line { in_flight, ..*line })
        })
    }

    fn workers(&self) -> MutexGuard<'_, BTreeMap<u64, (Line, Instant)>> {
        self.workers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn lately(at: Instant, now: Instant) -> bool {
    now.duration_since(at) < SILENCE
}

fn sum(a: Line, b: Line) -> Line {
    Line {
        worker: 0,
        in_flight: a.in_flight + b.in_flight,
        confirmed: a.confirmed + b.confirmed,
        retried: a.retried + b.retried,
        set_aside: a.set_aside + b.set_aside,
        late: a.late + b.late,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn what_workers_have_done_outlives_them() {
        let (told, now) = (Told::default(), Instant::now());
        let say = |worker, in_flight, confirmed| {
            let line = Line { worker, in_flight, confirmed, ..Line::default() };
            told.hear(&serde_json::to_string(&line).unwrap(), now);
        };
        say(1, 2, 10);
        say(2, 1, 5);
        say(1, 3, 11);
        told.hear("half a li", now);
        let total = |now| (told.total(now).in_flight, told.total(now).confirmed);
        assert_eq!(total(now), (4, 16));
        assert_eq!(told.in_flight(1, now), Some(3));
        assert_eq!(told.in_flight(3, now), None);
        let later = now + SILENCE;
        assert_eq!(told.in_flight(1, later), None, "it is silent");
        assert_eq!(total(later), (0, 16));
    }
}
