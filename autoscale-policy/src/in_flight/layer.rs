use tower_layer::Layer;

use super::{InFlight, InFlightService};

/// Counts the requests that pass, from their call to their answer.
///
/// Put it outermost, above limits and queues: what waits there is demand, too. A body
/// that is streamed after its head is not counted; [`DrainLayer`](crate::DrainLayer)
/// counts it, or a [`Ticket`](crate::Ticket) of [`InFlight::enter`] does.
#[derive(Clone, Debug)]
#[must_use]
pub struct InFlightLayer {
    load: InFlight,
}

impl InFlightLayer {
    /// Counts in `load`.
    pub fn new(load: InFlight) -> Self {
        Self { load }
    }
}

impl<S> Layer<S> for InFlightLayer {
    type Service = InFlightService<S>;

    fn layer(&self, inner: S) -> Self::Service {
        InFlightService::new(inner, self.load.clone())
    }
}
