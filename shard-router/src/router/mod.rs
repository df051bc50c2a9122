//! The handle, and what its clones share.

mod batch;
mod builder;
mod columns;
mod install;
mod node;
mod shard;
#[cfg(feature = "toml")]
mod watch;

use std::collections::HashMap;
use std::fmt;
use std::future::Future;
use std::panic::Location;
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;

use tokio::sync::{Notify, Semaphore};
use tracing::{Instrument, debug_span, info};

use crate::error::{BuildError, Error};
use crate::hot::HotShard;
use crate::key::{KeyPart, ShardKey};
use crate::map::{ShardName, SlotMap};
use crate::metrics::{Metrics, Stats};
use crate::scatter::{Policy, Scatter, ScatterFrom};
use crate::slot::Slot;
use crate::source::{BoxSource, Expected};
use crate::topology::Topology;

pub use self::builder::RouterBuilder;
pub use self::install::{ShardReport, ShardState};
pub use self::shard::{Shard, Tx};

pub(crate) use self::builder::Settings;
pub(crate) use self::node::{Clock, Member, Node, Secret};

/// Routes keys to shards, and asks all of them where that is spelled out. Cheap to clone; the
/// clones share everything.
///
/// ```no_run
/// use shard_router::{Router, Scatter, Topology, asc, desc};
///
/// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
/// let topology = Topology::from_toml(&std::fs::read_to_string("shards.toml")?)?;
/// let router = Router::builder(topology).build()?;
/// let user = 42_i64;
/// let rows = router
///     .with(&user, |shard| async move {
///         shard.query("SELECT total FROM orders WHERE user_id = $1", &[&user]).await
///     })
///     .await?;
/// let newest = router
///     .scatter(Scatter::require_all())
///     .query("SELECT id, total FROM orders", &[])
///     .order_by([desc("total"), asc("id")])
///     .limit(20)
///     .await?;
/// # Ok(())
/// # }
/// ```
///
/// # Errors
///
/// Its methods fail with an [`Error`] that names the shard, and whose predicates say whether
/// what was asked may have happened, and whether to ask again.
///
/// # Cancel safety
///
/// A future that is dropped leaves no connection busy: it is closed, and the server is asked
/// to cancel. A write that is dropped may have happened.
#[derive(Clone)]
pub struct Router {
    pub(crate) core: Arc<Core>,
}

pub(crate) struct Core {
    view: RwLock<Arc<View>>,
    /// One at a time makes a new view.
    applying: Mutex<()>,
    sources: HashMap<String, BoxSource>,
    pub(crate) settings: Settings,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) clock: Clock,
    /// How many scatters may have connections at a time. Each source can give that many, so
    /// none of them ever waits for another.
    pub(crate) scatters: Arc<Semaphore>,
    /// While there is one, any scatter is an error.
    forbidden: Mutex<Forbidden>,
    /// Read the control table now.
    pub(crate) nudge: Arc<Notify>,
    #[cfg(feature = "toml")]
    watcher: Mutex<Option<watch::Watcher>>,
}

#[derive(Default)]
struct Forbidden {
    guards: usize,
    seen: Vec<&'static Location<'static>>,
}

/// A topology, and the shards in it.
#[derive(Debug)]
pub(crate) struct View {
    pub(crate) topology: Topology,
    /// By the map's order.
    pub(crate) members: Box<[Member]>,
}

impl Router {
    /// Begins a router over these shards.
    pub fn builder(topology: Topology) -> RouterBuilder {
        RouterBuilder::new(topology)
    }

    /// Calls `work` with the key's shard. What it gets is the only way to a connection, so
    /// that no statement goes anywhere else by mistake.
    ///
    /// Before the first use of a shard, and then every
    /// [`recheck`](RouterBuilder::recheck), the shard is asked what it stores: its name, hash and
    /// epoch must be those of this router's topology.
    ///
    /// # Errors
    ///
    /// [`Error::KeyType`], [`Error::Refused`], [`Error::Epoch`], [`Error::Unreachable`] before
    /// `work` is called; then its own.
    ///
    /// # Cancel safety
    ///
    /// As [`Router`], and as `work`.
    pub async fn with<K, T, E, F, Fut>(&self, key: &K, work: F) -> Result<T, E>
    where
        K: ShardKey + ?Sized,
        F: FnOnce(Shard) -> Fut,
        Fut: Future<Output = Result<T, E>> + Send,
        E: From<Error>,
    {
        let (view, index, slot) = self.locate(key)?;
        let span = debug_span!("shard_router.with", shard = %view.members[index].node.name);
        let shard = self.admitted(view, index, slot).await?;
        work(shard).instrument(span).await
    }

    /// The shard of a key by this router's map, without asking anybody.
    ///
    /// # Errors
    ///
    /// [`Error::KeyType`].
    pub fn shard_of<K: ShardKey + ?Sized>(&self, key: &K) -> Result<ShardName, Error> {
        let view = self.view();
        let slot = view.slot(key)?;
        Ok(view.topology.map().owner(slot).clone())
    }

    /// Begins a question to all shards. How much may be missing from the answer is always
    /// spelled out.
    #[track_caller]
    pub fn scatter<P: Policy>(&self, scatter: Scatter<P>) -> ScatterFrom<'_, P> {
        ScatterFrom::new(self, scatter, Location::caller())
    }

    /// The map as it is now.
    pub fn map(&self) -> SlotMap {
        self.view().topology.map().clone()
    }

    /// The topology as it is now.
    pub fn topology(&self) -> Topology {
        self.view().topology.clone()
    }

    /// The counts by now.
    pub fn stats(&self) -> Stats {
        self.core.metrics.stats()
    }

    /// How many keys were routed to each shard.
    pub fn requests(&self) -> Vec<(ShardName, u64)> {
        let view = self.view();
        let members = view.members.iter();
        members.map(|m| (m.node.name.clone(), m.node.counts.requests())).collect()
    }

    /// The `most` most frequent slots and keys of each shard, where
    /// [`hot_keys`](RouterBuilder::hot_keys) counts them.
    pub fn hot(&self, most: usize) -> Vec<HotShard> {
        let view = self.view();
        let reports = view.members.iter().filter_map(|member| {
            let counters = member.node.hot.as_ref()?;
            let counters = counters.lock().unwrap_or_else(PoisonError::into_inner);
            Some(counters.report(&member.node.name, most))
        });
        reports.collect()
    }

    /// Takes over a topology, as a plan has made it: what this process routes from here on.
    /// With a control table this happens by itself. Connections to shards that stay are kept.
    ///
    /// # Errors
    ///
    /// An older epoch, the same with other owners, another hash or other key columns, or a
    /// shard that cannot be connected to.
    pub fn apply(&self, topology: Topology) -> Result<(), BuildError> {
        self.core.apply(topology)
    }

    /// For tests: until the guard is dropped, every scatter is an error, and the guard panics
    /// when it is dropped if there was one, even if somebody has swallowed that error.
    #[cfg(any(test, feature = "test-util"))]
    #[must_use = "scatters are allowed again when it is dropped"]
    pub fn no_scatter(&self) -> NoScatter {
        self.core.forbidden().guards += 1;
        NoScatter { router: self.clone() }
    }

    pub(crate) fn view(&self) -> Arc<View> {
        self.core.view()
    }

    pub(crate) fn locate<K: ShardKey + ?Sized>(
        &self,
        key: &K,
    ) -> Result<(Arc<View>, usize, Slot), Error> {
        let view = self.view();
        let slot = view.slot(key)?;
        let index = view.topology.map().owner_index(slot);
        self.core.metrics.requests();
        let node = &view.members[index].node;
        node.counts.request();
        node.record(slot, key);
        Ok((view, index, slot))
    }

    pub(crate) async fn admitted(
        &self,
        view: Arc<View>,
        index: usize,
        slot: Slot,
    ) -> Result<Shard, Error> {
        self.core.admit(&view, index).await?;
        Ok(Shard::new(Arc::clone(&self.core), view, index, slot))
    }

    /// Where a scatter was asked for, if none is allowed.
    pub(crate) fn forbid(&self, at: &'static Location<'static>) -> Result<(), Error> {
        let mut forbidden = self.core.forbidden();
        if forbidden.guards == 0 {
            return Ok(());
        }
        forbidden.seen.push(at);
        Err(Error::ScatterForbidden { at })
    }
}

impl View {
    fn slot<K: ShardKey + ?Sized>(&self, key: &K) -> Result<Slot, Error> {
        key.parts(|parts| {
            let expected = self.topology.key();
            let fits = parts.len() == expected.len()
                && parts.iter().zip(expected).all(|(part, key)| part.key_type() == *key);
            if !fits && !cfg!(broken = "key_types") {
                let found = parts.iter().map(KeyPart::key_type).collect();
                return Err(Error::KeyType { expected: expected.into(), found });
            }
            Ok(self.topology.map().hash().slot_of_parts(parts))
        })
    }
}

impl Core {
    pub(crate) fn view(&self) -> Arc<View> {
        Arc::clone(&self.view.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Makes sure that a shard is what the topology says, at its epoch.
    pub(crate) async fn admit(&self, view: &View, index: usize) -> Result<(), Error> {
        let member = &view.members[index];
        if member.is_admitted(self.clock) {
            return Ok(());
        }
        let patience = self.settings.pool.connect_timeout.saturating_mul(2);
        let admitted = member.admit(&view.topology, self.clock, patience).await;
        if let Err(Error::Epoch { .. }) = admitted {
            self.nudge.notify_one();
        }
        admitted
    }

    fn forbidden(&self) -> std::sync::MutexGuard<'_, Forbidden> {
        self.forbidden.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn apply(&self, topology: Topology) -> Result<(), BuildError> {
        let _one = self.applying.lock().unwrap_or_else(PoisonError::into_inner);
        let old = self.view();
        let (was, is) = (old.topology.map(), topology.map());
        let refused = |setting: &str, reason: String| Err(BuildError::new(setting, reason));
        if is.epoch() < was.epoch() {
            return refused("epoch", format!("{} is behind {}", is.epoch(), was.epoch()));
        }
        if is.hash() != was.hash() {
            return refused("hash", format!("it is {}, and was {}", is.hash(), was.hash()));
        }
        if topology.key() != old.topology.key() {
            return refused("key", "its columns cannot change: every row would move".into());
        }
        if is.epoch() == was.epoch() && is != was {
            let reason =
                format!("slots have other owners, and the epoch is still {}", is.epoch());
            return refused("epoch", reason);
        }
        let view = self.settings.view(topology, &self.sources, Some(&old), &self.metrics)?;
        for member in &old.members {
            let stays = view.members.iter().any(|new| Arc::ptr_eq(&new.node, &member.node));
            if let (false, Some(pool)) = (stays, &member.node.pool) {
                pool.retire();
            }
        }
        info!(epoch = %view.topology.map().epoch(), "a map was taken over");
        self.metrics.reloads();
        *self.view.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(view);
        Ok(())
    }
}

impl Settings {
    /// The shards of a topology, with the nodes of the old view where they are the same.
    fn view(
        &self,
        topology: Topology,
        sources: &HashMap<String, BoxSource>,
        old: Option<&View>,
        metrics: &Arc<Metrics>,
    ) -> Result<View, BuildError> {
        let connections = topology
            .connections()
            .map_err(|error| BuildError::new("topology", error.to_string()))?;
        let (hash, key) = (topology.map().hash().id(), topology.key_id());
        let shards = topology.map().shards().zip(connections);
        let members = shards
            .map(|(name, connection)| {
                let expected =
                    Expected { shard: name.clone(), hash: hash.clone(), key: key.clone() };
                let known = old.into_iter().flat_map(|old| old.members.iter()).find(|member| {
                    let custom = sources.contains_key(name.as_str());
                    member.node.name == *name
                        && (custom
                            || member.node.connection.as_ref().map(|Secret(text)| text)
                                == connection.as_ref())
                });
                let node = match known {
                    Some(member) => Arc::clone(&member.node),
                    None => Arc::new(self.node(name, connection, sources, &expected, metrics)?),
                };
                Ok(Member::new(node, expected))
            })
            .collect::<Result<_, BuildError>>()?;
        Ok(View { topology, members })
    }
}

impl fmt::Debug for Router {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Router")
            .field("map", self.view().topology.map())
            .finish_non_exhaustive()
    }
}

/// While it lives, every scatter is an error; made by [`Router::no_scatter`].
#[cfg(any(test, feature = "test-util"))]
#[derive(Debug)]
pub struct NoScatter {
    router: Router,
}

#[cfg(any(test, feature = "test-util"))]
impl Drop for NoScatter {
    fn drop(&mut self) {
        let mut forbidden = self.router.core.forbidden();
        forbidden.guards -= 1;
        let seen = if forbidden.guards == 0 {
            std::mem::take(&mut forbidden.seen)
        } else {
            forbidden.seen.clone()
        };
        drop(forbidden);
        if !seen.is_empty() && !std::thread::panicking() && !cfg!(broken = "quiet_scatter") {
            let places: Vec<_> = seen.iter().map(ToString::to_string).collect();
            panic!("scatters where none is allowed: {}", places.join(", "));
        }
    }
}

pub(crate) const DEFAULT_RECHECK: Duration = Duration::from_secs(5);
