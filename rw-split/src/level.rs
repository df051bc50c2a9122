use std::time::Duration;

/// What a read promises the session that asks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Level {
    /// Nothing: any replica that answers.
    Eventual,
    /// Reads go to the primary for this long after the session's last write, and
    /// anywhere afterwards. It breaks when replicas lag more than that; here for
    /// comparison, and for sessions that cannot carry a position.
    PinWindow(Duration),
    /// The session's own writes.
    ReadYourWrites,
    /// The session's own writes, and never less than it has seen already: reads
    /// stay on one replica, and take its place in the log along when they leave.
    #[default]
    Session,
    /// Always the primary.
    Primary,
}
