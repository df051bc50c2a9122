//! One configured server: its pool, and how busy it is.

pub(crate) mod cluster;
pub(crate) mod conn;
pub(crate) mod connect;
pub(crate) mod monitor;
pub(crate) mod pool;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering};
use std::time::Duration;

use tokio::sync::Notify;

use self::pool::Pool;

#[derive(Debug)]
pub(crate) struct Server {
    pub(crate) name: Arc<str>,
    /// For tokens: a hash of the name.
    pub(crate) id: u32,
    pub(crate) near: bool,
    pub(crate) weight: u32,
    /// Its address leads to one server or another: each read checks where it is.
    pub(crate) shared: bool,
    pub(crate) pool: Arc<Pool>,
    pub(crate) in_flight: AtomicUsize,
    /// A moving average, in microseconds.
    latency: AtomicU32,
    /// Who waits for it to replay.
    pub(crate) waiters: AtomicUsize,
    /// An observation has come in.
    pub(crate) progress: Notify,
    /// Look at it now.
    pub(crate) nudge: Notify,
    /// It was reachable, and is not.
    pub(crate) down: Notify,
    pub(crate) reachable: AtomicBool,
}

impl Server {
    pub(crate) fn new(
        name: &str,
        near: bool,
        weight: u32,
        shared: bool,
        pool: Arc<Pool>,
    ) -> Self {
        // FNV-1a: the same in every process, unlike the hashers of maps.
        let id = name.bytes().fold(0x811C_9DC5_u32, |hash, byte| {
            (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193)
        });
        Self {
            name: name.into(),
            id,
            near,
            weight,
            shared,
            pool,
            in_flight: AtomicUsize::new(0),
            latency: AtomicU32::new(0),
            waiters: AtomicUsize::new(0),
            progress: Notify::new(),
            nudge: Notify::new(),
            down: Notify::new(),
            reachable: AtomicBool::new(false),
        }
    }

    pub(crate) fn latency(&self) -> u32 {
        self.latency.load(Ordering::Relaxed)
    }

    /// An eighth of the new, seven of the old; a lost update is no harm.
    pub(crate) fn took(&self, took: Duration) {
        let took = u32::try_from(took.as_micros()).unwrap_or(u32::MAX);
        let old = self.latency.load(Ordering::Relaxed);
        let new = if old == 0 { took } else { old - old / 8 + took / 8 };
        self.latency.store(new, Ordering::Relaxed);
    }
}

/// One more, until dropped.
pub(crate) struct Counted<'a>(&'a AtomicUsize);

impl<'a> Counted<'a> {
    pub(crate) fn one_more(counter: &'a AtomicUsize) -> Self {
        counter.fetch_add(1, Ordering::AcqRel);
        Self(counter)
    }
}

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}
