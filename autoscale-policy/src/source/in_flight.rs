use std::convert::Infallible;

use super::{Figure, Source};
use crate::in_flight::Meter;
use crate::observation::IN_FLIGHT;

/// The requests in flight on average since the time before: of the whole fleet, where all
/// of them pass here, as in a load balancer.
impl Source for Meter {
    type Error = Infallible;

    fn metric(&self) -> &str {
        IN_FLIGHT
    }

    async fn read(&mut self) -> Result<Option<Figure>, Infallible> {
        Ok(Some(Figure::Fleet(self.measure().in_flight)))
    }
}
