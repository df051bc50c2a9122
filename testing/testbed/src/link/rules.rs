use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, AtomicUsize};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use super::Direction;

/// What the link does to bytes at the moment.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Rules {
    pub(super) delay: Duration,
    pub(super) jitter: Duration,
    pub(super) mode: Mode,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Mode {
    #[default]
    Open,
    Cut,
    Blackhole,
    HalfOpen(Direction),
}

impl Rules {
    pub(super) fn swallow(&self, direction: Direction) -> bool {
        match self.mode {
            Mode::Open | Mode::Cut => false,
            Mode::Blackhole => true,
            Mode::HalfOpen(dropped) => dropped == direction,
        }
    }

    /// How long a piece is under way that drew `luck` in `0.0..1.0`.
    pub(super) fn latency(&self, luck: f64) -> Duration {
        self.delay + self.jitter.mul_f64(luck)
    }
}

/// What the handle, the proxy and its connections share.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) target: Mutex<SocketAddr>,
    pub(super) open: AtomicUsize,
    pub(super) accepted: AtomicU64,
    pub(super) jitter: Mutex<fastrand::Rng>,
    drop_to_server: AtomicU64,
    drop_to_client: AtomicU64,
}

impl Shared {
    pub(super) fn new(target: SocketAddr) -> Self {
        Self {
            target: Mutex::new(target),
            open: AtomicUsize::new(0),
            accepted: AtomicU64::new(0),
            jitter: Mutex::default(),
            drop_to_server: AtomicU64::new(0),
            drop_to_client: AtomicU64::new(0),
        }
    }

    /// Where a connection that begins now leads.
    pub(super) fn target(&self) -> SocketAddr {
        *self.target.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How many bytes are still to be dropped.
    pub(super) fn to_drop(&self, direction: Direction) -> &AtomicU64 {
        match direction {
            Direction::ToServer => &self.drop_to_server,
            Direction::ToClient => &self.drop_to_client,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn half_open_swallows_one_direction() {
        let mode = Mode::HalfOpen(Direction::ToClient);
        let rules = Rules { mode, ..Rules::default() };
        assert!(rules.swallow(Direction::ToClient));
        assert!(!rules.swallow(Direction::ToServer));
    }

    #[test]
    fn jitter_adds_to_the_delay() {
        let rules = Rules {
            delay: Duration::from_millis(10),
            jitter: Duration::from_millis(4),
            mode: Mode::Open,
        };
        assert_eq!(rules.latency(0.0), Duration::from_millis(10));
        assert_eq!(rules.latency(0.5), Duration::from_millis(12));
    }
}
