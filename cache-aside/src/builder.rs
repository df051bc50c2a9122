use std::fmt;
use std::time::Duration;

use tokio::runtime::Handle;

use crate::cache::CacheAside;
use crate::clock::Clock;
use crate::codec::Codec;
use crate::engine::{Engine, Floors, Health};
use crate::epoch::Epochs;
use crate::error::BuildError;
use crate::flight::Flights;
use crate::key::CacheKey;
use crate::metrics::Metrics;
use crate::policy::Policy;
use crate::shared::{AnyShared, SharedStore};
use crate::store::{Nowhere, Store};
use crate::tier::{Settings, Tier};

/// The longest duration that a setting may have: a hundred years.
const LONGEST: Duration = Duration::from_secs(100 * 365 * 24 * 60 * 60);

/// The settings of a [`CacheAside`]. Made by [`CacheAside::builder`].
#[must_use]
pub struct CacheBuilder<K, V> {
    name: String,
    store: Option<Box<dyn Store<K, V>>>,
    copy_ttl: Option<Duration>,
    shared: Option<Shared<V>>,
    tier: Settings,
    policy: Policy,
    load_timeout: Duration,
    error_ttl: Duration,
    clock: Option<Clock>,
}

impl<K: CacheKey, V: Send + Sync + 'static> CacheBuilder<K, V> {
    pub(crate) fn new(name: String) -> Self {
        Self {
            name,
            store: None,
            copy_ttl: None,
            shared: None,
            tier: Settings {
                schema: 0,
                timeout: Duration::from_millis(250),
                lease: Duration::ZERO,
                patience: Duration::from_millis(500),
                floor_ttl: Duration::from_secs(60),
                largest: 4 << 20,
                owed: 10_000,
            },
            policy: Policy {
                ttl: Duration::from_secs(5 * 60),
                negative_ttl: None,
                jitter: 0.1,
                stale_while_revalidate: Duration::ZERO,
                stale_if_error: Duration::ZERO,
                early_refresh: 0.0,
            },
            load_timeout: Duration::from_secs(10),
            error_ttl: Duration::ZERO,
            clock: None,
        }
    }

    /// Keeps entries in this process, in `store`. A cache has this, or a [second
    /// tier](Self::l2), or both.
    pub fn l1(mut self, store: impl Store<K, V>) -> Self {
        self.store = Some(Box::new(store));
        self
    }

    /// Keeps entries in a store that processes share, as
    /// [postcard](crate::Postcard).
    ///
    /// Alone, it gives every process the guarantee of
    /// [`invalidate`](CacheAside::invalidate). Together with [`l1`](Self::l1), other
    /// processes' invalidations do not reach the copies in this one: say by
    /// [`l1_ttl`](Self::l1_ttl) how long you accept that. An entity that several
    /// processes write is cached here only, or in `l1` with a TTL that you accept.
    ///
    /// Give a load that runs against this cache a Tokio runtime: outside one the
    /// second tier is not asked.
    #[cfg(feature = "postcard")]
    pub fn l2(self, store: impl SharedStore) -> Self
    where
        V: serde::Serialize + serde::de::DeserializeOwned,
    {
        self.l2_with_codec(store, crate::codec::Postcard)
    }

    /// [`l2`](Self::l2) with a codec of your choice.
    pub fn l2_with_codec(mut self, mut store: impl SharedStore, codec: impl Codec<V>) -> Self {
        store.bind(&self.name);
        self.shared = Some(Shared { store: Box::new(store), codec: Box::new(codec) });
        self
    }

    /// For how long a copy in [`l1`](Self::l1) of what [`l2`](Self::l2) has is served
    /// without asking. Required where there are both: for so long, another process's
    /// invalidation is not seen here.
    pub fn l1_ttl(mut self, ttl: Duration) -> Self {
        self.copy_ttl = Some(ttl);
        self
    }

    /// The version of the values' form in [`l2`](Self::l2). Raise it whenever the type
    /// changes: values of another version are misses. The default is 0.
    pub fn schema_version(mut self, version: u32) -> Self {
        self.tier.schema = version;
        self
    }

    /// Gives up on [`l2`](Self::l2) for one read or load when an operation takes
    /// longer than this: the source is asked. The default is 250 ms. After five
    /// failures in a row it is not asked at all, until it answers a probe.
    pub fn l2_timeout(mut self, timeout: Duration) -> Self {
        self.tier.timeout = timeout;
        self
    }

    /// How long to wait for a value that another process is loading; then it is loaded
    /// here too, and not cached. The default is 500 ms.
    pub fn lease_wait(mut self, wait: Duration) -> Self {
        self.tier.patience = wait;
        self
    }

    /// How long the version of an [`invalidate_at`](CacheAside::invalidate_at) is
    /// remembered: longer than replicas lag. The default is a minute. For so long
    /// after a start, or after the loss of what was remembered, loads are told
    /// [`VersionFloor::Unknown`](crate::VersionFloor::Unknown).
    pub fn floor_ttl(mut self, ttl: Duration) -> Self {
        self.tier.floor_ttl = ttl;
        self
    }

    /// Does not keep values in [`l2`](Self::l2) whose bytes are more than this, nor read
    /// them. The default is 4 MiB.
    pub fn l2_max_bytes(mut self, bytes: usize) -> Self {
        self.tier.largest = bytes;
        self
    }

    /// How many keys may have invalidations that [`l2`](Self::l2) has yet to
    /// acknowledge. One more, and it is not asked for any key until it was cleared.
    /// The default is 10,000.
    pub fn max_unacknowledged(mut self, keys: usize) -> Self {
        self.tier.owed = keys;
        self
    }

    /// How long a value is fresh, from the moment its load *began*. The default
    /// is 5 minutes. A load that takes longer than this is never a hit.
    pub fn ttl(mut self, ttl: Duration) -> Self {
        self.policy.ttl = ttl;
        self
    }

    /// Shortens each TTL randomly, by up to this share of it, so that entries
    /// that were loaded together do not expire together. From 0 to below 1; the
    /// default is 0.1. A TTL is never made longer. Tests that count seconds set 0.
    pub fn jitter(mut self, share: f64) -> Self {
        self.policy.jitter = share;
        self
    }

    /// How long it is remembered that the source has no such row. By default
    /// that is not remembered. Whoever creates a row must invalidate its key.
    pub fn negative_ttl(mut self, ttl: Duration) -> Self {
        self.policy.negative_ttl = Some(ttl);
        self
    }

    /// For this long after its TTL a value is still served, while one load
    /// renews it in the background. The default is zero: expired is a miss. An
    /// invalidated value is never served.
    pub fn stale_while_revalidate(mut self, window: Duration) -> Self {
        self.policy.stale_while_revalidate = window;
        self
    }

    /// For this long after its TTL a value is served if its load fails. The
    /// default is zero. An invalidated value is never served.
    pub fn stale_if_error(mut self, window: Duration) -> Self {
        self.policy.stale_if_error = window;
        self
    }

    /// Renews entries randomly shortly *before* they expire, sooner the longer
    /// their load takes and the more they are read (XFetch). `beta` above 0
    /// turns it on, 1 is the paper's choice, more is earlier. Off by default. A
    /// value that was inserted took no time to load, and is not renewed early.
    pub fn early_refresh(mut self, beta: f64) -> Self {
        // Zero means off inside; asking for it is a mistake that `build` names.
        self.policy.early_refresh = if beta == 0.0 { f64::NAN } else { beta };
        self
    }

    /// Gives up on a load after this long. The default is 10 seconds.
    pub fn load_timeout(mut self, timeout: Duration) -> Self {
        self.load_timeout = timeout;
        self
    }

    /// Answers with a failed load's error for this long before the source is
    /// asked again. The default is zero: those who waited share the error, and
    /// the next caller loads. While it lasts, each failing key keeps one small
    /// task.
    pub fn error_ttl(mut self, ttl: Duration) -> Self {
        self.error_ttl = ttl;
        self
    }

    /// Takes time from `clock`, so that tests can pause and advance it:
    /// [`Clock::tokio`], together with [`jitter`](Self::jitter)`(0.0)`.
    #[cfg(feature = "test-util")]
    pub fn clock(mut self, clock: Clock) -> Self {
        self.clock = Some(clock);
        self
    }

    #[cfg(feature = "http")]
    pub(crate) fn with_clock(mut self, clock: Clock) -> Self {
        self.clock = Some(clock);
        self
    }

    /// The cache. Where this is called within a Tokio runtime, that runtime
    /// serves callers that have none. With the `metrics` feature, install the
    /// recorder before.
    ///
    /// # Errors
    ///
    /// A setting that is missing, makes no sense, or contradicts another.
    pub fn build(self) -> Result<CacheAside<K, V>, BuildError> {
        self.check()?;
        let store = match self.store {
            Some(store) => store,
            None if self.shared.is_some() => Box::new(Nowhere),
            None => {
                let reason = "no store is given; try `.l1(Moka::entries(100_000))`";
                return Err(BuildError::new("l1", reason));
            }
        };
        if store.capacity() == 0 {
            return Err(BuildError::new(
                "l1",
                "the store has room for no entries; give it some",
            ));
        }
        let clock = self.clock.unwrap_or_else(Clock::system);
        let settings = Settings {
            // A load that is still under way has it, and a little is for the answers.
            lease: self.load_timeout.saturating_add(self.tier.timeout.saturating_mul(2)),
            ..self.tier
        };
        let floors = Floors::new(settings.floor_ttl, clock.now());
        let tier = self
            .shared
            .map(|shared| Tier::new(&self.name, shared.store, shared.codec, settings));
        Ok(CacheAside::new(Engine {
            epochs: Epochs::for_entries(store.capacity()),
            store,
            copy_ttl: self.copy_ttl.unwrap_or_default(),
            floors,
            tier,
            hasher: foldhash::quality::RandomState::default(),
            flights: Flights::new(),
            clock,
            policy: self.policy,
            load_timeout: self.load_timeout,
            error_ttl: self.error_ttl,
            runtime: Handle::try_current().ok(),
            metrics: Metrics::new(&self.name),
            health: Health::default(),
            name: self.name.into_boxed_str(),
        }))
    }

    fn check(&self) -> Result<(), BuildError> {
        let refuse = |setting, reason: String| Err(BuildError::new(setting, reason));
        let p = &self.policy;
        if self.name.is_empty()
            || self.name.contains(|c: char| c.is_control() || "{}".contains(c))
        {
            let reason = format!(
                "the name {:?} is the label of the cache's metrics: it must not be empty, nor \
                 hold braces or control characters",
                self.name
            );
            return refuse("builder", reason);
        }
        match (&self.store, &self.shared, self.copy_ttl) {
            (Some(_), Some(_), None) => {
                let reason = "copies in `l1` of what `l2` has are not reached by other \
                    processes' invalidations: say by `.l1_ttl(..)` how long you accept that, \
                    or leave `l1` out";
                return refuse("l1_ttl", reason.into());
            }
            (None, _, Some(_)) | (_, None, Some(_)) => {
                let reason = "it is for a cache that has both `l1` and `l2`; leave it out";
                return refuse("l1_ttl", reason.into());
            }
            _ => {}
        }
        for (setting, is_zero, reason) in [
            (
                "l1_ttl",
                self.copy_ttl.is_some_and(|ttl| ttl.is_zero()),
                "zero would keep no copy; leave `l1` out",
            ),
            (
                "l2_timeout",
                self.tier.timeout.is_zero(),
                "zero would never get an answer; leave it out for 250 ms",
            ),
            (
                "floor_ttl",
                self.tier.floor_ttl.is_zero(),
                "zero would remember no version; leave it out for a minute",
            ),
            (
                "ttl",
                p.ttl.is_zero(),
                "zero would cache nothing; leave the cache out, or let the loader return \
                 `Loaded::do_not_store()` where it must",
            ),
            (
                "load_timeout",
                self.load_timeout.is_zero(),
                "zero would fail every load; leave it out for 10 s",
            ),
            (
                "negative_ttl",
                p.negative_ttl.is_some_and(|ttl| ttl.is_zero()),
                "zero would remember nothing; leave it out to turn it off",
            ),
        ] {
            if is_zero {
                return refuse(setting, reason.to_owned());
            }
        }
        for (setting, duration) in [
            ("ttl", p.ttl),
            ("negative_ttl", p.negative_ttl.unwrap_or_default()),
            ("stale_while_revalidate", p.stale_while_revalidate),
            ("stale_if_error", p.stale_if_error),
            ("load_timeout", self.load_timeout),
            ("error_ttl", self.error_ttl),
            ("l1_ttl", self.copy_ttl.unwrap_or_default()),
            ("l2_timeout", self.tier.timeout),
            ("lease_wait", self.tier.patience),
            ("floor_ttl", self.tier.floor_ttl),
        ] {
            if duration > LONGEST {
                let reason = format!(
                    "{duration:?} is more than a hundred years; use at most {LONGEST:?}"
                );
                return refuse(setting, reason);
            }
        }
        if !(0.0..1.0).contains(&p.jitter) {
            let reason = format!("{} is not a share from 0 to below 1", p.jitter);
            return refuse("jitter", reason);
        }
        if !(p.early_refresh >= 0.0 && p.early_refresh.is_finite()) {
            let reason = "beta must be above 0 and finite; leave it out to turn it off";
            return refuse("early_refresh", reason.into());
        }
        let [revalidate, on_error] = [p.stale_while_revalidate, p.stale_if_error];
        if !on_error.is_zero() && on_error <= revalidate {
            let reason = format!(
                "{on_error:?} is within stale_while_revalidate ({revalidate:?}), which serves \
                 stale values whether or not there is an error; make it longer or leave it out"
            );
            return refuse("stale_if_error", reason);
        }
        if self.error_ttl > p.ttl {
            let reason = format!(
                "{:?} is longer than the TTL of values ({:?}); shorten it",
                self.error_ttl, p.ttl
            );
            return refuse("error_ttl", reason);
        }
        Ok(())
    }
}

/// A second tier that is not bound to anything yet.
struct Shared<V> {
    store: Box<dyn AnyShared>,
    codec: Box<dyn Codec<V>>,
}

impl<K, V> fmt::Debug for CacheBuilder<K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CacheBuilder")
            .field("name", &self.name)
            .field("policy", &self.policy)
            .field("load_timeout", &self.load_timeout)
            .field("error_ttl", &self.error_ttl)
            .finish_non_exhaustive()
    }
}
