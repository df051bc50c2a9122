//! Readers and writers over one table, and the rule that every read is held to:
//! it returns no version below the highest one whose invalidation was over when
//! the read began.

use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use fastrand::Rng;
use testbed::eventually;
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::{sleep, timeout};

use crate::source::{Database, Source};
use crate::subject::Subject;

pub(crate) const DEADLINE: Duration = Duration::from_secs(30);
pub(crate) const ROWS: i64 = 8;
/// The row that one writer alone writes, who may insert what it has committed.
pub(crate) const OWNED: i64 = ROWS - 1;

const READERS: u64 = 8;
const WRITERS: u64 = 3;
/// A writer that has no answer by then does not know what it has done.
const PATIENCE: Duration = Duration::from_millis(300);
/// No read takes this long, whatever happens to the server: loads have a deadline.
const STRANDED: Duration = Duration::from_secs(5);

/// What has happened so far.
#[derive(Default)]
pub(crate) struct History {
    invalidated: [AtomicI64; ROWS as usize],
    pub(crate) reads: AtomicU64,
    pub(crate) failed: AtomicU64,
    pub(crate) writes: AtomicU64,
    /// Writes of which nobody knows whether they were committed.
    pub(crate) unknown: AtomicU64,
    stale: Mutex<Vec<String>>,
    over: AtomicBool,
}

impl History {
    fn floor(&self, key: i64) -> i64 {
        self.invalidated[key as usize].load(Ordering::SeqCst)
    }

    /// One read of `key`, held to the rule.
    async fn read(&self, subject: &impl Subject, key: i64, random: &mut Rng) {
        let keys = [key, (key + 1) % ROWS];
        let draw = random.u8(..);
        // Some callers do not wait for the answer; nobody else may be worse off.
        let hangs_up = random.u8(..8) == 0;
        let patience = Duration::from_micros(random.u64(..3_000));
        let patience = if hangs_up { patience } else { STRANDED };

        let floors = keys.map(|key| self.floor(key));
        match timeout(patience, subject.read(keys, draw)).await {
            Ok(Ok(seen)) => {
                for (seen, version) in seen {
                    let floor = floors[usize::from(seen != key)];
                    if version < floor {
                        let stale = format!(
                            "a read ({draw}) of row {seen} has shown {version}, \
                             after {floor} was invalidated"
                        );
                        self.stale.lock().unwrap().push(stale);
                    }
                }
                self.reads.fetch_add(1, Ordering::SeqCst);
            }
            Ok(Err(_)) => drop(self.failed.fetch_add(1, Ordering::SeqCst)),
            Err(_) => assert!(hangs_up, "a read ({draw}) was stranded"),
        }
    }

    fn goes_on(&self) -> bool {
        !self.over.load(Ordering::SeqCst)
    }

    /// Reads that broke the rule.
    pub(crate) fn stale(&self) -> Vec<String> {
        self.stale.lock().unwrap().clone()
    }
}

/// A history under way.
pub(crate) struct Race<S> {
    pub(crate) history: Arc<History>,
    subject: S,
    tasks: JoinSet<()>,
    /// To see one that has panicked.
    handles: Vec<AbortHandle>,
}

impl<S: Subject> Race<S> {
    pub(crate) fn start(database: &Database, subject: S, seed: u64) -> Self {
        let history = Arc::new(History::default());
        let (mut tasks, mut handles) = (JoinSet::new(), Vec::new());
        for reader in 0..READERS {
            let random = Rng::with_seed(seed ^ reader);
            let reads = read_on(Arc::clone(&history), subject.clone(), random);
            handles.push(tasks.spawn(reads));
        }
        for writer in 0..WRITERS {
            let random = Rng::with_seed(seed ^ (100 + writer));
            // Connections of its own, that end with it.
            let source = database.source("writer");
            let owner = writer == 0;
            let writes = write_on(Arc::clone(&history), subject.clone(), source, random, owner);
            handles.push(tasks.spawn(writes));
        }
        Self { history, subject, tasks, handles }
    }

    /// Waits until `count` has grown by `more`, or a read was stale.
    pub(crate) async fn more(&self, count: impl Fn(&History) -> &AtomicU64, more: u64) {
        let now = || count(&self.history).load(Ordering::SeqCst);
        let until = now() + more;
        eventually(DEADLINE, async || {
            assert!(!self.handles.iter().any(AbortHandle::is_finished), "a task has panicked");
            now() >= until || !self.history.stale().is_empty()
        })
        .await;
    }

    /// Ends it; the link and the server work again. Then the cache shows what is
    /// in the table, in every way to read.
    pub(crate) async fn end(mut self, database: &Database) -> Arc<History> {
        self.history.over.store(true, Ordering::SeqCst);
        while let Some(ended) = self.tasks.join_next().await {
            ended.unwrap();
        }
        // What was given up may still be on its way to a commit, until its connection ends.
        let client = database.postgres.client().await.unwrap();
        let writers = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'writer'";
        eventually(DEADLINE, async || {
            client.query_one(writers, &[]).await.unwrap().get::<_, i64>(0) == 0
        })
        .await;

        let direct = database.direct();
        for key in 0..ROWS {
            let version = direct.raise(key, false).await.unwrap();
            assert!(version > self.history.floor(key), "row {key} has lost a commit");
            self.subject.invalidate(key).await;
            for draw in 0..16 {
                let seen = self.subject.read([key, key], draw).await.unwrap();
                assert!(seen.iter().all(|seen| *seen == (key, version)), "{seen:?}: {version}");
            }
        }
        self.history
    }
}

async fn read_on(history: Arc<History>, subject: impl Subject, mut random: Rng) {
    while history.goes_on() {
        let key = random.i64(0..ROWS);
        history.read(&subject, key, &mut random).await;
        // Hits neither wait nor yield: the writers need their turn.
        sleep(Duration::from_micros(random.u64(..1_000))).await;
    }
}

async fn write_on(
    history: Arc<History>,
    subject: impl Subject,
    source: Arc<Source>,
    mut random: Rng,
    owner: bool,
) {
    while history.goes_on() {
        let key = random.i64(0..if owner { ROWS } else { OWNED });
        let (draw, in_two_steps) = (random.u8(..), random.bool());
        let version = match timeout(PATIENCE, source.raise(key, in_two_steps)).await {
            Ok(Ok(version)) => {
                subject.written(key, version, draw).await;
                history.writes.fetch_add(1, Ordering::SeqCst);
                version
            }
            Ok(Err(_)) | Err(_) => {
                history.unknown.fetch_add(1, Ordering::SeqCst);
                // It may be committed, or be so yet.
                subject.invalidate(key).await;
                // What the table holds now counts, once that is invalidated too.
                let version = timeout(DEADLINE, committed(&source, key)).await;
                let version = version.expect("the server works again in time");
                subject.invalidate(key).await;
                version
            }
        };
        history.invalidated[key as usize].fetch_max(version, Ordering::SeqCst);
        // Who has written looks at once: the load of somebody else may be under way.
        history.read(&subject, key, &mut random).await;
        sleep(Duration::from_micros(random.u64(..3_000))).await;
    }
}

/// The version that is in the table, as soon as it can be read. (The future of
/// `eventually` over a closure that borrows cannot be spawned.)
async fn committed(source: &Arc<Source>, key: i64) -> i64 {
    loop {
        if let Ok(Ok(Some(version))) = timeout(PATIENCE, Arc::clone(source).version(key)).await
        {
            return version;
        }
        sleep(Duration::from_millis(5)).await;
    }
}
