//! What the controller relies on, as tests for sources and actuators of one's own.
//!
//! Each panics with what does not hold. They wait in real time.

mod actuator;
mod source;

pub use self::actuator::actuator;
pub use self::source::source;
