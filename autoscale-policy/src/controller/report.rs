use std::error::Error;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::decision::Decision;
use crate::time::EpochMillis;

/// What one turn of a controller saw and did. `Display` tells it in text.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Report {
    /// When it decided.
    pub at: EpochMillis,
    /// What was decided, if the fleet could be seen.
    pub decision: Option<Decision>,
    /// What came of it.
    pub outcome: Outcome,
    /// The metrics whose sources could not be asked.
    pub failures: Vec<(Arc<str>, Failure)>,
}

/// What came of a turn.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Outcome {
    /// Nothing was to be done.
    Held,
    /// This many instances would have been asked for.
    Recommended(u32),
    /// The platform has taken the change.
    Applied {
        /// What it was asked for.
        asked: u32,
        /// What it has taken.
        taken: u32,
    },
    /// The platform has not taken it, or nobody knows.
    Failed {
        /// What it was asked for.
        asked: u32,
        /// Why.
        cause: Failure,
    },
    /// Nobody could say which instances there are, so nothing was decided.
    Unobserved(Failure),
}

/// Why somebody gave no answer.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Failure {
    /// None came in time.
    TimedOut(Duration),
    /// It said why.
    Source(Arc<dyn Error + Send + Sync>),
}

impl Failure {
    pub(super) fn of(error: impl Error + Send + Sync + 'static) -> Self {
        Self::Source(Arc::new(error))
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TimedOut(limit) => write!(f, "no answer within {limit:?}"),
            Self::Source(error) => error.fmt(f),
        }
    }
}

impl Error for Failure {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::TimedOut(_) => None,
            Self::Source(error) => error.source(),
        }
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(decision) = &self.decision {
            decision.fmt(f)?;
        }
        match &self.outcome {
            Outcome::Held => {}
            Outcome::Recommended(to) => write!(f, "\n  not done: {to} is a recommendation")?,
            Outcome::Applied { asked, taken } if asked == taken => write!(f, "\n  done")?,
            Outcome::Applied { taken, .. } => write!(f, "\n  the platform took {taken}")?,
            Outcome::Failed { cause, .. } => write!(f, "\n  not done: {cause}")?,
            Outcome::Unobserved(cause) => {
                write!(f, "UNDECIDED: the instances could not be listed: {cause}")?;
            }
        }
        self.failures.iter().try_for_each(|(metric, cause)| write!(f, "\n  {metric}: {cause}"))
    }
}
