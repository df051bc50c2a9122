//! The shell around a [`SharedStore`](crate::SharedStore): time limits, the breaker,
//! what is owed, and how values become records.

mod body;
mod breaker;
mod invalidation;
mod join;
mod owed;
mod recovery;

use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::time::Instant;
use tracing::debug;

use self::body::Body;
use self::breaker::Breaker;
use self::join::join_all;
use self::owed::Owed;
use crate::codec::Codec;
use crate::error::BoxError;
use crate::metrics::{SharedFill, SharedMetrics, SharedRead, SharedWait};
use crate::shared::{
    Acquired, AnyShared, Ask, Fill, Filled, Found, Lease, Reading, Record, RecordId,
    SharedError, Unusable,
};
use crate::version::{Version, VersionFloor};

/// Domains beyond this share their breakers.
const DOMAINS: usize = 64;

/// Who gives up after this part of the time limit has met a failure too.
const SLOW: u32 = 4;

/// A second tier.
pub(crate) struct Tier<V> {
    pub(crate) settings: Settings,
    cache: Box<str>,
    store: Box<dyn AnyShared>,
    codec: Box<dyn Codec<V>>,
    breakers: Box<[Breaker]>,
    owed: Owed,
    recovering: AtomicBool,
    unencodable: AtomicBool,
    recovered: Mutex<Option<Instant>>,
    runtime: Option<Handle>,
    metrics: SharedMetrics,
}

/// What `build` has checked.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    pub(crate) schema: u32,
    /// Of one operation.
    pub(crate) timeout: Duration,
    /// Of a lease: longer than a load may take.
    pub(crate) lease: Duration,
    /// How long to wait for another process's load.
    pub(crate) patience: Duration,
    pub(crate) floor_ttl: Duration,
    /// Of a value's bytes.
    pub(crate) largest: usize,
    /// Keys that may be owed.
    pub(crate) owed: usize,
}

/// A value of the tier.
pub(crate) struct Copied<V> {
    pub(crate) value: Option<Arc<V>>,
    pub(crate) id: RecordId,
    pub(crate) age: Duration,
    pub(crate) fresh: Duration,
    pub(crate) cost: Duration,
}

/// What the tier has for a key.
pub(crate) enum Sought<V> {
    Copied(Copied<V>),
    /// Nothing to show. Something else may be there.
    Missing(Option<RecordId>),
    /// It was not asked, or did not answer: it says nothing.
    Silent,
}

/// The answer to the wish to load.
pub(crate) enum Claim<V> {
    /// There is a value.
    Copied(Copied<V>),
    /// There is something else, not to be shown.
    Replace(RecordId),
    Leased(Lease, VersionFloor),
    Held,
    /// There is no room for a lease. Invalidations work all the same.
    Full,
    Silent,
}

/// What is to be written for a load.
pub(crate) struct Writing<'a, V> {
    pub(crate) key: &'a [u8],
    pub(crate) lease: &'a Lease,
    /// Nothing: what is there is dropped.
    pub(crate) content: Option<Content<V>>,
}

/// A value and its dates.
pub(crate) struct Content<V> {
    pub(crate) value: Option<Arc<V>>,
    pub(crate) fresh: Duration,
    pub(crate) cost: Duration,
    /// How long it may be kept.
    pub(crate) ttl: Duration,
    pub(crate) version: Option<Version>,
}

/// What became of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Written {
    /// The tier has it, or has dropped what there was: no invalidation came between.
    Stored,
    /// It was refused: it may be old.
    Refused,
    /// The tier did not answer.
    Unknown,
}

impl<V: Send + Sync + 'static> Tier<V> {
    pub(crate) fn new(
        cache: &str,
        store: Box<dyn AnyShared>,
        codec: Box<dyn Codec<V>>,
        settings: Settings,
    ) -> Arc<Self> {
        Arc::new(Self {
            cache: cache.into(),
            breakers: (0..DOMAINS).map(|_| Breaker::default()).collect(),
            owed: Owed::new(settings.owed, store.partitions()),
            recovering: AtomicBool::new(false),
            unencodable: AtomicBool::new(false),
            recovered: Mutex::new(None),
            runtime: Handle::try_current().ok(),
            metrics: SharedMetrics::new(cache),
            settings,
            store,
            codec,
        })
    }

    /// How long its operations and waits may hold up a load.
    pub(crate) fn delay(&self) -> Duration {
        self.settings.patience.saturating_add(self.settings.timeout.saturating_mul(4))
    }

    fn domain(&self, key: &[u8]) -> usize {
        self.store.domain(self.store.partition(key))
    }

    fn breaker(&self, domain: usize) -> &Breaker {
        &self.breakers[domain % DOMAINS]
    }

    /// Whether what the tier says of `key` does not count.
    pub(crate) fn is_silent(self: &Arc<Self>, key: &[u8]) -> bool {
        self.speaker(key).is_none()
    }

    /// The domain to ask about `key`, if what it says counts.
    fn speaker(self: &Arc<Self>, key: &[u8]) -> Option<usize> {
        let partition = self.store.partition(key);
        let domain = self.store.domain(partition);
        let silent = self.breaker(domain).is_open() || self.owed.covers(partition, key);
        if silent && !self.recovering.load(Ordering::Relaxed) {
            // The task was lost with its runtime, or there was none to begin it.
            self.recover();
        }
        (!silent).then_some(domain)
    }

    /// Whether nothing is asked about `key` because its server fails.
    pub(crate) fn is_out(&self, key: &[u8]) -> bool {
        self.breaker(self.domain(key)).is_open()
    }

    /// Asks the first partition's server something of its own.
    #[cfg(feature = "http")]
    pub(crate) async fn ask_first<T>(
        self: &Arc<Self>,
        answer: impl Future<Output = Result<T, SharedError>>,
    ) -> Result<T, SharedError> {
        let domain = self.store.domain(0);
        if self.breaker(domain).is_open() && !self.recovering.load(Ordering::Relaxed) {
            self.recover();
        }
        self.ask(domain, answer).await
    }

    /// Asks the store, within the time limit, unless it failed shortly before.
    async fn ask<T>(
        self: &Arc<Self>,
        domain: usize,
        answer: impl Future<Output = Result<T, SharedError>>,
    ) -> Result<T, SharedError> {
        if self.breaker(domain).is_open() || Handle::try_current().is_err() {
            return Err(SharedError::NotAsked);
        }
        let limit = self.settings.timeout;
        let unanswered = Unanswered { tier: self, domain, asked: Some(Instant::now()) };
        let answer = tokio::time::timeout(limit, answer).await;
        unanswered.ended();
        let answer = answer.unwrap_or(Err(SharedError::Timeout(limit)));
        match &answer {
            Ok(_) => self.breaker(domain).succeeded(),
            Err(error) => self.failed(domain, error),
        }
        answer
    }

    fn failed(self: &Arc<Self>, domain: usize, error: &SharedError) {
        self.metrics.error(error);
        let cause = error as &(dyn std::error::Error + 'static);
        debug!(cache = %self.cache, error = cause, "the shared store failed");
        // A full one still reads and invalidates.
        if !matches!(error, SharedError::Full(_)) && self.breaker(domain).failed() {
            tracing::warn!(
                cache = %self.cache, domain, error = cause,
                "the shared store fails: going on without it"
            );
            self.metrics.opened();
            self.recover();
        }
    }

    pub(crate) async fn read(self: &Arc<Self>, key: &[u8]) -> Sought<V> {
        let Some(domain) = self.speaker(key) else {
            self.metrics.read(SharedRead::Bypass);
            return Sought::Silent;
        };
        let keys = [key];
        match self.ask(domain, self.store.read(&keys)).await {
            Ok(mut readings) => self.understand(readings.pop().unwrap_or(Reading::Missing)),
            Err(_) => {
                self.metrics.read(SharedRead::Error);
                Sought::Silent
            }
        }
    }

    /// [`read`](Self::read) of many keys, in their order.
    pub(crate) async fn read_many(self: &Arc<Self>, keys: &[&[u8]]) -> Vec<Sought<V>> {
        let mut found: Vec<_> = keys.iter().map(|_| Sought::Silent).collect();
        let groups = self.groups(keys.iter().copied());
        let asked = groups.iter().map(|(domain, at)| async move {
            let keys: Vec<&[u8]> = at.iter().map(|n| keys[*n]).collect();
            self.ask(*domain, self.store.read(&keys)).await
        });
        let answers = join_all(asked).await;
        let mut silent = keys.len();
        for ((_, at), answer) in groups.iter().zip(answers) {
            silent -= at.len();
            match answer {
                Ok(readings) => {
                    for (n, reading) in at.iter().zip(readings) {
                        found[*n] = self.understand(reading);
                    }
                }
                Err(_) => at.iter().for_each(|_| self.metrics.read(SharedRead::Error)),
            }
        }
        (0..silent).for_each(|_| self.metrics.read(SharedRead::Bypass));
        found
    }

    /// Keys that the tier is asked for, by domain: their places in `keys`.
    fn groups<'a>(
        self: &Arc<Self>,
        keys: impl Iterator<Item = &'a [u8]>,
    ) -> Vec<(usize, Vec<usize>)> {
        let mut groups: Vec<(usize, Vec<usize>)> = Vec::new();
        for (n, key) in keys.enumerate() {
            let Some(domain) = self.speaker(key) else { continue };
            match groups.iter_mut().find(|(other, _)| *other == domain) {
                Some((_, group)) => group.push(n),
                None => groups.push((domain, vec![n])),
            }
        }
        groups
    }

    fn understand(&self, reading: Reading) -> Sought<V> {
        match reading {
            Reading::Missing => {
                self.metrics.read(SharedRead::Miss);
                Sought::Missing(None)
            }
            Reading::Unusable(id, why) => {
                self.metrics.read(match why {
                    Unusable::Foreign => SharedRead::Undecodable,
                    Unusable::Cleared => SharedRead::Cleared,
                    Unusable::OtherServer => SharedRead::OtherServer,
                });
                Sought::Missing(Some(id))
            }
            Reading::Found(found) => match self.decode(&found) {
                Some(copied) => {
                    self.metrics.read(SharedRead::Hit);
                    Sought::Copied(copied)
                }
                None => {
                    self.metrics.read(SharedRead::Undecodable);
                    Sought::Missing(Some(found.id))
                }
            },
        }
    }

    fn decode(&self, found: &Found) -> Option<Copied<V>> {
        let body = found.body();
        if body.len() > self.settings.largest {
            debug!(cache = %self.cache, bytes = body.len(), "a record is too large");
            return None;
        }
        let decoded = unpanicked(|| body::decode(body, self.settings.schema, &*self.codec));
        match decoded {
            Ok(Body { value, fresh, cost }) => {
                Some(Copied { value, id: found.id, age: found.age, fresh, cost })
            }
            Err(error) => {
                debug!(cache = %self.cache, error, "a record was not understood");
                None
            }
        }
    }

    /// Asks to load `key` in place of what was `seen`.
    pub(crate) async fn acquire(
        self: &Arc<Self>,
        key: &[u8],
        seen: Option<RecordId>,
    ) -> Claim<V> {
        self.acquire_many(&[(key, seen)]).await.pop().unwrap_or(Claim::Silent)
    }

    pub(crate) async fn acquire_many(
        self: &Arc<Self>,
        wishes: &[(&[u8], Option<RecordId>)],
    ) -> Vec<Claim<V>> {
        let mut claims: Vec<_> = wishes.iter().map(|_| Claim::Silent).collect();
        let groups = self.groups(wishes.iter().map(|(key, _)| *key));
        let asked = groups.iter().map(|(domain, at)| async move {
            let ask = |n: &usize| {
                let (key, seen) = wishes[*n];
                let Settings { lease, floor_ttl, .. } = self.settings;
                Ask { key, seen, lease, floor_ttl }
            };
            let asks: Vec<Ask<'_>> = at.iter().map(ask).collect();
            self.ask(*domain, self.store.acquire(&asks)).await
        });
        for ((_, at), answer) in groups.iter().zip(join_all(asked).await) {
            if matches!(answer, Err(SharedError::Full(_))) {
                at.iter().for_each(|n| claims[*n] = Claim::Full);
            }
            for (n, acquired) in at.iter().zip(answer.into_iter().flatten()) {
                claims[*n] = match acquired {
                    Acquired::Leased(lease, floor) => Claim::Leased(lease, floor),
                    Acquired::Held => Claim::Held,
                    Acquired::Read(reading) => match self.understand(reading) {
                        Sought::Copied(copied) => Claim::Copied(copied),
                        Sought::Missing(Some(id)) => Claim::Replace(id),
                        // It has gone again: its turn is over for this round.
                        Sought::Missing(None) | Sought::Silent => Claim::Held,
                    },
                };
            }
        }
        claims
    }

    /// Writes what was loaded.
    pub(crate) async fn write(self: &Arc<Self>, writing: Writing<'_, V>) -> Written {
        self.write_many(&[writing]).await.pop().unwrap_or(Written::Unknown)
    }

    pub(crate) async fn write_many(
        self: &Arc<Self>,
        writings: &[Writing<'_, V>],
    ) -> Vec<Written> {
        let mut written = vec![Written::Unknown; writings.len()];
        let bodies: Vec<_> = writings.iter().map(|writing| self.encode(writing)).collect();
        let groups = self.groups(writings.iter().map(|writing| writing.key));
        let (bodies, groups) = (&bodies, &groups);
        let asked = groups.iter().map(|(domain, at)| async move {
            let fill = |n: &usize| {
                let Writing { key, lease, content } = &writings[*n];
                let record = bodies[*n].as_deref().zip(content.as_ref());
                let record = record.map(|(body, content)| Record {
                    body,
                    ttl: content.ttl,
                    version: content.version,
                });
                Fill { key, lease, record }
            };
            let fills: Vec<Fill<'_>> = at.iter().map(fill).collect();
            self.ask(*domain, self.store.fill(&fills)).await
        });
        for ((_, at), answer) in groups.iter().zip(join_all(asked).await) {
            for (n, filled) in at.iter().zip(answer.into_iter().flatten()) {
                let kept = bodies[*n].is_some();
                self.metrics.fill(match filled {
                    Filled::Stored if kept => SharedFill::Stored,
                    Filled::Stored => SharedFill::NotKept,
                    Filled::LeaseLost => SharedFill::LeaseLost,
                    Filled::BelowFloor => SharedFill::BelowFloor,
                });
                written[*n] = match filled {
                    Filled::Stored => Written::Stored,
                    Filled::LeaseLost | Filled::BelowFloor => Written::Refused,
                };
            }
        }
        let unknown = written.iter().filter(|outcome| **outcome == Written::Unknown);
        unknown.for_each(|_| self.metrics.fill(SharedFill::Unknown));
        written
    }

    /// The bytes to store, if any: what cannot be written is served and not kept.
    fn encode(&self, writing: &Writing<'_, V>) -> Option<Vec<u8>> {
        let Content { value, fresh, cost, .. } = writing.content.as_ref()?;
        let body = Body { value: value.clone(), fresh: *fresh, cost: *cost };
        let encoded = unpanicked(|| body::encode(&body, self.settings.schema, &*self.codec));
        match encoded {
            Ok(bytes) if bytes.len() <= self.settings.largest => Some(bytes),
            Ok(bytes) => {
                let (bytes, most) = (bytes.len(), self.settings.largest);
                debug!(cache = %self.cache, bytes, most, "a value is too large");
                None
            }
            Err(error) => {
                if !self.unencodable.swap(true, Ordering::Relaxed) {
                    tracing::warn!(
                        cache = %self.cache, error,
                        "a value could not be encoded, and is not kept; this is said once"
                    );
                }
                None
            }
        }
    }

    /// Gives leases back. If that fails they run out.
    pub(crate) async fn release(self: &Arc<Self>, leases: &[(&[u8], &Lease)]) {
        let groups = self.groups(leases.iter().map(|(key, _)| *key));
        let asked = groups.iter().map(|(domain, at)| async move {
            let leases: Vec<_> = at.iter().map(|n| leases[*n]).collect();
            self.ask(*domain, self.store.release(&leases)).await
        });
        join_all(asked).await;
    }

    /// Counts how a wait for another process's load has ended.
    pub(crate) fn waited(&self, how: SharedWait) {
        self.metrics.wait(how);
    }
}

/// An operation whose asker gives up before the time limit. Callers with a deadline of
/// their own that is shorter would otherwise wait for a silent store for ever.
struct Unanswered<'a, V: Send + Sync + 'static> {
    tier: &'a Arc<Tier<V>>,
    domain: usize,
    asked: Option<Instant>,
}

impl<V: Send + Sync + 'static> Unanswered<'_, V> {
    fn ended(mut self) {
        self.asked = None;
    }
}

impl<V: Send + Sync + 'static> Drop for Unanswered<'_, V> {
    fn drop(&mut self) {
        let Some(asked) = self.asked else { return };
        // Sooner than this it says nothing about the store.
        let waited = asked.elapsed();
        if waited >= self.tier.settings.timeout / SLOW {
            self.tier.failed(self.domain, &SharedError::Timeout(waited));
        }
    }
}

/// The codec is code that is not ours. A record that makes it panic must not fail
/// every read.
fn unpanicked<T>(run: impl FnOnce() -> Result<T, BoxError>) -> Result<T, BoxError> {
    catch_unwind(AssertUnwindSafe(run)).unwrap_or_else(|_| Err("the codec panicked".into()))
}
