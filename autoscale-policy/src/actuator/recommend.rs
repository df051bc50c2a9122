use std::convert::Infallible;
use std::fmt;

use super::{Actuator, Resize};

/// Tells what it would do, and does nothing: to begin with, until its decisions are
/// trusted. No cooldown begins, since nothing was changed.
pub struct RecommendOnly<F> {
    tell: F,
}

impl<F: Fn(u32, u32) + Sync> RecommendOnly<F> {
    /// Calls `tell` with how many instances there are, and how many there should be.
    pub fn new(tell: F) -> Self {
        Self { tell }
    }
}

impl<F: Fn(u32, u32) + Sync> Actuator for RecommendOnly<F> {
    type Error = Infallible;

    async fn set(&self, resize: &Resize) -> Result<u32, Infallible> {
        (self.tell)(resize.from, resize.to);
        Ok(if cfg!(broken = "recommend_acts") { resize.to } else { resize.from })
    }
}

impl<F> fmt::Debug for RecommendOnly<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RecommendOnly").finish_non_exhaustive()
    }
}
