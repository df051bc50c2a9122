/// How much a transaction sees of those beside it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum IsolationLevel {
    /// `READ COMMITTED`
    ReadCommitted,
    /// `REPEATABLE READ`
    RepeatableRead,
    /// `SERIALIZABLE`, which a replica does not have.
    Serializable,
}

/// How a transaction is run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[must_use]
pub struct TxOptions {
    isolation: Option<IsolationLevel>,
    pub(super) replays: u32,
}

impl TxOptions {
    /// The server's default isolation, and no replay.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets the isolation level.
    pub fn isolation(mut self, level: IsolationLevel) -> Self {
        self.isolation = Some(level);
        self
    }

    /// Calls the closure again, up to so many times, after a serialization
    /// failure (40001) or a deadlock (40P01), which have undone all it did in the
    /// database. What else it does must bear being done again. The default is 0.
    pub fn replays(mut self, most: u32) -> Self {
        self.replays = most;
        self
    }

    pub(super) fn begin(self, read_only: bool) -> String {
        let mut begin = String::from("BEGIN");
        match self.isolation {
            None => {}
            Some(IsolationLevel::ReadCommitted) => begin += " ISOLATION LEVEL READ COMMITTED",
            Some(IsolationLevel::RepeatableRead) => begin += " ISOLATION LEVEL REPEATABLE READ",
            Some(IsolationLevel::Serializable) => begin += " ISOLATION LEVEL SERIALIZABLE",
        }
        if read_only {
            begin += " READ ONLY";
        }
        begin
    }
}
