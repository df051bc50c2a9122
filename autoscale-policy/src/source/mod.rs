//! Where figures come from.

mod boxed;
#[cfg(feature = "cpu")]
mod cpu;
#[cfg(feature = "layer")]
mod in_flight;
#[cfg(feature = "redis")]
mod redis_queue;

pub use self::boxed::BoxSource;
#[cfg(feature = "cpu")]
pub use self::cpu::{CgroupCpu, ProcessCpu, SourceError};
#[cfg(feature = "redis")]
pub use self::redis_queue::{RedisQueue, RedisQueueError};
use crate::observation::{Usage, Value};

/// Says what one metric is now.
pub trait Source {
    /// Why it cannot say.
    type Error: std::error::Error + Send + Sync + 'static;

    /// The metric, as policies name it.
    fn metric(&self) -> &str;

    /// Its figure. `None` where there is none yet: a rate needs two readings.
    ///
    /// # Errors
    ///
    /// It could not be asked. Never an old figure, nor zero, instead.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe: dropped, nothing is lost but the answer.
    fn read(&mut self) -> impl Future<Output = Result<Option<Figure>, Self::Error>> + Send;
}

/// What a source has said.
#[derive(Clone, Debug, PartialEq)]
pub enum Figure {
    /// See [`Value::Fleet`].
    Fleet(f64),
    /// See [`Value::Instances`].
    Instances(Vec<Usage>),
}

impl Figure {
    /// As a sample has it.
    #[must_use]
    pub fn value(&self) -> Value<'_> {
        match self {
            Self::Fleet(figure) => Value::Fleet(*figure),
            Self::Instances(usages) => Value::Instances(usages),
        }
    }
}
