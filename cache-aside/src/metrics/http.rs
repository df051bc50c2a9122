//! Those of the HTTP cache.

#[cfg(feature = "metrics")]
use metrics::{Counter, Unit, counter, describe_counter};

#[cfg(feature = "metrics")]
const VARIANTS_EVICTED: &str = "cache_aside_http_variants_evicted_total";
#[cfg(feature = "metrics")]
const GIVEN_UP: &str = "cache_aside_http_given_up_total";

#[derive(Debug)]
pub(crate) struct HttpMetrics {
    #[cfg(feature = "metrics")]
    variants_evicted: Counter,
    #[cfg(feature = "metrics")]
    given_up: Counter,
}

#[cfg(feature = "metrics")]
impl HttpMetrics {
    pub(crate) fn new(cache: &str) -> Self {
        let count = Unit::Count;
        describe_counter!(
            VARIANTS_EVICTED,
            count,
            "Responses that went because their URI had too many, or too large ones."
        );
        describe_counter!(
            GIVEN_UP,
            count,
            "Requests to the origin that were given up, or not begun, because nobody waited for \
             them and too many such were under way."
        );
        let cache = cache.to_owned();
        Self {
            variants_evicted: counter!(VARIANTS_EVICTED, "cache" => cache.clone()),
            given_up: counter!(GIVEN_UP, "cache" => cache),
        }
    }

    pub(crate) fn variants_evicted(&self, count: u64) {
        self.variants_evicted.increment(count);
    }

    pub(crate) fn given_up(&self) {
        self.given_up.increment(1);
    }
}

#[cfg(not(feature = "metrics"))]
impl HttpMetrics {
    pub(crate) fn new(_: &str) -> Self {
        Self {}
    }

    pub(crate) fn variants_evicted(&self, _: u64) {}

    pub(crate) fn given_up(&self) {}
}
