//! A network link with faults on demand, since few kernels in containers have
//! netem: a TCP proxy on loopback.

mod connection;
mod proxy;
mod pump;
mod rules;

use std::net::SocketAddr;
use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError, mpsc};
use std::thread;
use std::time::Duration;

use tokio::runtime;
use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};

use self::proxy::{Change, Proxy};
use self::rules::{Mode, Rules, Shared};
use crate::error::Error;

/// A way through a [`Link`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// From whoever connected to the link.
    ToServer,
    /// From the server behind the link.
    ToClient,
}

/// A TCP proxy in front of a server that delays, cuts, swallows and heals;
/// dropped = closed, with all its connections.
///
/// A change holds from the moment its method returns, for new connections and
/// for those that are open. The proxy runs on a thread of its own, so it
/// outlives the runtime of one test and a blocked runtime does not stop it.
///
/// ```no_run
/// # async fn example() -> Result<(), testbed::Error> {
/// use std::time::Duration;
/// use testbed::link::Link;
/// use testbed::postgres::Postgres;
///
/// let primary = Postgres::start().await?;
/// let link = Link::to(primary.addr())?;
/// let url = primary.url_at(link.addr());
///
/// link.delay(Duration::from_millis(50)); // a round trip takes 100 ms more
/// link.cut(); // connections are reset, new ones refused
/// link.heal();
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Link {
    addr: SocketAddr,
    shared: Arc<Shared>,
    changes: UnboundedSender<Change>,
}

impl Link {
    /// A healthy link to `target`, on a port of 127.0.0.1 that stays its own.
    ///
    /// # Errors
    ///
    /// [`Error::Io`] when it cannot listen.
    pub fn to(target: SocketAddr) -> Result<Self, Error> {
        let failed = || Error::io(format!("opening a link to {target}"));
        let shared = Arc::new(Shared::new(target));
        let (changes, inbox) = unbounded_channel();
        let (started, start) = mpsc::sync_channel(1);
        let proxy = Arc::clone(&shared);
        let run = move || {
            let runtime = match runtime::Builder::new_current_thread().enable_all().build() {
                Ok(runtime) => runtime,
                Err(error) => return drop(started.send(Err(error))),
            };
            runtime.block_on(async {
                match Proxy::new(proxy) {
                    Ok(proxy) => {
                        // The caller waits for this.
                        let _ = started.send(proxy.addr());
                        proxy.run(inbox).await;
                    }
                    Err(error) => drop(started.send(Err(error))),
                }
            });
        };
        thread::Builder::new().name("testbed-link".into()).spawn(run).map_err(failed())?;
        let addr = start.recv().expect("the proxy says how its start went").map_err(failed())?;
        Ok(Self { addr, shared, changes })
    }

    /// Leads to another server from now on. Connections that are open stay with the one that
    /// they have.
    pub fn lead_to(&self, target: SocketAddr) {
        *self.shared.target.lock().unwrap_or_else(PoisonError::into_inner) = target;
    }

    /// Where to connect instead of to the server.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// How many connections are open through it.
    pub fn connections(&self) -> usize {
        self.shared.open.load(Ordering::SeqCst)
    }

    /// How many connections it has accepted in all.
    pub fn accepted(&self) -> u64 {
        self.shared.accepted.load(Ordering::SeqCst)
    }

    /// Delays every byte by `delay` in each direction, so that a round trip
    /// takes twice that. Connecting to the link itself is not delayed. The
    /// throughput stays what it is, up to some megabytes under way.
    pub fn delay(&self, delay: Duration) {
        self.change(move |rules| rules.delay = delay);
    }

    /// Delays every piece that is read by up to `most` more, evenly
    /// distributed. The order stays, and `seed` gives the same series of delays again.
    pub fn jitter(&self, most: Duration, seed: u64) {
        *self.shared.jitter.lock().unwrap_or_else(PoisonError::into_inner) =
            fastrand::Rng::with_seed(seed);
        self.change(move |rules| rules.jitter = most);
    }

    /// Resets all connections, and refuses new ones.
    ///
    /// # Panics
    ///
    /// As [`heal`](Self::heal).
    pub fn cut(&self) {
        self.change(|rules| rules.mode = Mode::Cut);
    }

    /// Accepts connections, keeps them open, and swallows every byte.
    ///
    /// # Panics
    ///
    /// As [`heal`](Self::heal).
    pub fn blackhole(&self) {
        self.change(|rules| rules.mode = Mode::Blackhole);
    }

    /// Swallows every byte in one direction; the other works.
    ///
    /// # Panics
    ///
    /// As [`heal`](Self::heal).
    pub fn half_open(&self, dropped: Direction) {
        self.change(move |rules| rules.mode = Mode::HalfOpen(dropped));
    }

    /// Drops the next `bytes` bytes in one direction, of whatever connection,
    /// and nothing after them: what arrives is damaged.
    pub fn drop_next(&self, direction: Direction, bytes: u64) {
        self.shared.to_drop(direction).fetch_add(bytes, Ordering::SeqCst);
    }

    /// Makes it a healthy link again: no delay, no loss. A connection that has
    /// lost bytes in a [`blackhole`](Self::blackhole) or
    /// [`half_open`](Self::half_open) is reset, for it could only go on
    /// damaged; the others go on.
    ///
    /// # Panics
    ///
    /// When its port cannot be listened on again, which takes another process's malice.
    pub fn heal(&self) {
        for direction in [Direction::ToServer, Direction::ToClient] {
            self.shared.to_drop(direction).store(0, Ordering::SeqCst);
        }
        self.change(|rules| *rules = Rules::default());
    }

    fn change(&self, edit: impl FnOnce(&mut Rules) + Send + 'static) {
        let (done, wait) = mpsc::sync_channel(1);
        let change = Change { edit: Box::new(edit), done };
        self.changes.send(change).expect("the proxy lives as long as its handle");
        let done = wait.recv().expect("the proxy answers every change");
        done.expect("the link's port is held for it");
    }
}
