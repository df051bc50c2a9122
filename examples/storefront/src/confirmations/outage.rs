//! Says in the log when something begins to fail, and when that is over, and nothing between.

use std::error::Error;
use std::sync::atomic::{AtomicBool, Ordering};

use tracing::{info, warn};

#[derive(Debug)]
pub(super) struct Outage {
    what: String,
    failing: AtomicBool,
}

impl Outage {
    pub(super) fn of(what: impl Into<String>) -> Self {
        Self { what: what.into(), failing: AtomicBool::new(false) }
    }

    pub(super) fn failed(&self, error: &(dyn Error + 'static)) {
        if !self.failing.swap(true, Ordering::Relaxed) {
            warn!(error, "{} does not answer; confirmations wait for it", self.what);
        }
    }

    pub(super) fn answered(&self) {
        if self.failing.load(Ordering::Relaxed) && self.failing.swap(false, Ordering::Relaxed) {
            info!("{} answers again", self.what);
        }
    }
}
