//! Tells what may go to a replica from what must not, without a parser: what is
//! not known to be safe goes to the primary.

mod cache;
mod lexer;
mod scan;
mod words;

use std::fmt;

use foldhash::HashSet;

pub(crate) use self::cache::Classifier;

/// Where a text goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Target {
    /// A replica that is fresh enough.
    Replica,
    /// The primary, on any connection of the pool.
    Primary,
    /// A connection of one's own:
    /// [`primary_connection`](crate::RwSplit::primary_connection) or a transaction.
    Connection,
}

/// Why.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Reason {
    /// It has no statement.
    Empty,
    /// It only reads, and a standby answers it as the primary does.
    ReadOnly,
    /// It writes, or is a statement that this crate does not know.
    Write,
    /// `SELECT … INTO` makes a table.
    SelectInto,
    /// `FOR UPDATE` and its like lock rows.
    RowLock,
    /// It calls a function that is not known to be safe on a standby.
    UnknownFunction,
    /// It names a sequence, an unlogged or foreign table, or a view that hides
    /// something unsafe.
    UnsafeRelation,
    /// It asks for what is different on each server, such as `pg_stat_activity`.
    ServerLocal,
    /// A quote or a comment is not closed, or it is otherwise not understood.
    Unclear,
    /// It changes, or depends on, the state of one session: `SET`, `LISTEN`,
    /// `PREPARE`, advisory locks, temporary tables, `currval`.
    SessionState,
    /// `BEGIN`, `COMMIT` and their like.
    TransactionControl,
    /// `COPY` needs a protocol of its own.
    Copy,
}

impl Reason {
    pub(crate) const ALL: [Self; 12] = [
        Self::Empty,
        Self::ReadOnly,
        Self::Write,
        Self::SelectInto,
        Self::RowLock,
        Self::UnknownFunction,
        Self::UnsafeRelation,
        Self::ServerLocal,
        Self::Unclear,
        Self::SessionState,
        Self::TransactionControl,
        Self::Copy,
    ];

    /// As a metric's label.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Empty => "empty",
            Self::ReadOnly => "read_only",
            Self::Write => "write",
            Self::SelectInto => "select_into",
            Self::RowLock => "row_lock",
            Self::UnknownFunction => "unknown_function",
            Self::UnsafeRelation => "unsafe_relation",
            Self::ServerLocal => "server_local",
            Self::Unclear => "unclear",
            Self::SessionState => "session_state",
            Self::TransactionControl => "transaction_control",
            Self::Copy => "copy",
        }
    }
}

/// A decision, small enough to be cached by the thousand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Class {
    pub(crate) reason: Reason,
}

impl Class {
    pub(crate) fn new(reason: Reason) -> Self {
        Self { reason }
    }

    pub(crate) fn target(self) -> Target {
        match self.reason {
            Reason::Empty | Reason::ReadOnly => Target::Replica,
            Reason::SessionState | Reason::TransactionControl | Reason::Copy => {
                Target::Connection
            }
            _ => Target::Primary,
        }
    }
}

/// What the database itself says about names, in lower case as it stores them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Catalogue {
    /// User functions of which no form is volatile.
    pub(crate) functions: HashSet<Box<[u8]>>,
    /// Built-in names that a user function has as well, and is volatile.
    pub(crate) shadowed: HashSet<Box<[u8]>>,
    /// Sequences, unlogged and foreign tables, views that hide something unsafe.
    pub(crate) relations: HashSet<Box<[u8]>>,
}

/// A decision about a text, and what in it decided.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Route {
    target: Target,
    reason: Reason,
    found: Option<String>,
}

impl Route {
    pub(crate) fn of(text: &str, catalogue: &Catalogue) -> Self {
        let finding = scan::scan(text, catalogue);
        let found = finding.at.and_then(|(start, end)| text.get(start..end)).map(str::to_owned);
        Self { target: finding.class.target(), reason: finding.class.reason, found }
    }

    /// Where it goes. A replica also has to be fresh enough for the session.
    pub fn target(&self) -> Target {
        self.target
    }

    /// Why it goes there.
    pub fn reason(&self) -> Reason {
        self.reason
    }

    /// The word of the text that decided, if it was one.
    pub fn found(&self) -> Option<&str> {
        self.found.as_deref()
    }
}

impl fmt::Display for Route {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (target, why) = (
            match self.target {
                Target::Replica => "a replica",
                Target::Primary => "the primary",
                Target::Connection => "a connection of its own",
            },
            match self.reason {
                Reason::Empty => "there is no statement in it",
                Reason::ReadOnly => "it only reads",
                Reason::Write => "it writes, or may",
                Reason::SelectInto => "SELECT INTO makes a table",
                Reason::RowLock => "it locks rows",
                Reason::UnknownFunction => "it calls a function that is not known to be safe",
                Reason::UnsafeRelation => "it reads a relation that a standby has not the same",
                Reason::ServerLocal => "the answer is about one server",
                Reason::Unclear => "it could not be understood",
                Reason::SessionState => "it is about the state of one session",
                Reason::TransactionControl => "it controls a transaction",
                Reason::Copy => "COPY has a protocol of its own",
            },
        );
        write!(f, "{target}: {why}")?;
        match &self.found {
            Some(found) => write!(f, " (`{found}`)"),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests;
