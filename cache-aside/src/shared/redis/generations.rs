//! Generations that need not be read again: the server says when one changes.
//!
//! This is Redis' client-side caching, for one key a partition (`CLIENT TRACKING` in
//! its opt-in mode). It is exact, since the server writes the notice into the very
//! connection on which it answers: what was answered after a change comes after its
//! notice, and the driver of the connection hands both on in that order. So if a
//! generation is still known when an answer is there, it held when that was given.

use std::collections::HashMap;
use std::sync::{PoisonError, RwLock};

use foldhash::fast::RandomState;
#[cfg(feature = "http")]
use tokio::sync::watch;

#[derive(Debug, Default)]
pub(super) struct Generations(RwLock<State>, #[cfg(feature = "http")] watch::Sender<u64>);

#[derive(Debug, Default)]
struct State {
    /// Counts notices.
    notices: u64,
    known: HashMap<Box<[u8]>, [u8; 16], RandomState>,
}

impl Generations {
    pub(super) fn of(&self, partition: &[u8]) -> Option<[u8; 16]> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).known.get(partition).copied()
    }

    /// To be taken before a generation is asked for.
    pub(super) fn notices(&self) -> u64 {
        self.0.read().unwrap_or_else(PoisonError::into_inner).notices
    }

    /// Keeps what was read, if no notice has come since `notices`: it may have been for
    /// this one.
    pub(super) fn learn(&self, partition: &[u8], generation: [u8; 16], notices: u64) {
        let mut state = self.0.write().unwrap_or_else(PoisonError::into_inner);
        if state.notices == notices {
            state.known.insert(partition.into(), generation);
        }
    }

    /// Something has changed. It is seldom, so all are asked for again.
    pub(super) fn notice(&self) {
        let mut state = self.0.write().unwrap_or_else(PoisonError::into_inner);
        state.notices += 1;
        state.known.clear();
        #[cfg(feature = "http")]
        self.1.send_replace(state.notices);
    }

    /// Ends when the number of notices is another than `seen`.
    #[cfg(feature = "http")]
    pub(super) async fn changed(&self, seen: u64) -> u64 {
        let mut notices = self.1.subscribe();
        let changed = notices.wait_for(|notices| *notices != seen).await;
        // Its sender is this one's own.
        changed.map_or(seen, |notices| *notices)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_read_before_a_notice_is_not_kept() {
        let generations = Generations::default();
        let before = generations.notices();
        generations.learn(b"p", [1; 16], before);
        assert_eq!(generations.of(b"p"), Some([1; 16]));
        assert_eq!(generations.of(b"q"), None);
        generations.notice();
        assert_eq!(generations.of(b"p"), None);
        generations.learn(b"p", [1; 16], before);
        assert_eq!(generations.of(b"p"), None, "it may be from before the change");
        generations.learn(b"p", [2; 16], generations.notices());
        assert_eq!(generations.of(b"p"), Some([2; 16]));
    }
}
