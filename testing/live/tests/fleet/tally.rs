//! How requests ended, and which faults excuse what.

use std::fmt;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use http::Method;

use super::record::clock;

/// A request without an answer, or with one that says that the shop could not.
#[derive(Clone, Debug)]
pub(crate) struct Failure {
    pub(crate) method: Method,
    pub(crate) path: String,
    pub(crate) began: SystemTime,
    pub(crate) ended: SystemTime,
    pub(crate) why: String,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { method, path, began, ended, why } = self;
        let took = between(*began, *ended);
        write!(f, "{method} {path} at {}, after {took:.0?}: {why}", clock(*began))
    }
}

/// What all clients have met.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    ended: Mutex<Ended>,
}

#[derive(Debug, Default)]
struct Ended {
    answered: Vec<(SystemTime, SystemTime)>,
    failed: Vec<Failure>,
}

/// What may fail for a fault, and until when.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Excuse {
    /// Nothing.
    None,
    /// Requests that are not idempotent, and so are not tried again.
    NotIdempotent,
    /// What touches the database that is away: until so long after its promotion.
    Until(SystemTime),
}

/// A fault, from its beginning until everything is as it was.
#[derive(Clone, Debug)]
pub(crate) struct Span {
    pub(crate) fault: String,
    pub(crate) excuse: Excuse,
    pub(crate) began: SystemTime,
    pub(crate) ended: SystemTime,
}

impl Span {
    /// Whether what ended at that time was ended by this fault, if by any.
    fn saw(&self, ended: SystemTime) -> bool {
        (self.began..self.ended).contains(&ended)
    }
}

/// A line of the table.
#[derive(Clone, Debug)]
pub(crate) struct Line {
    pub(crate) fault: String,
    pub(crate) began: SystemTime,
    pub(crate) requests: usize,
    pub(crate) failed: usize,
    pub(crate) excused: usize,
    pub(crate) slowest: Duration,
    /// From the fault to the last failure that it caused.
    pub(crate) recovered: Option<Duration>,
}

impl Tally {
    pub(crate) fn answered(&self, began: SystemTime, ended: SystemTime) {
        self.ended().answered.push((began, ended));
    }

    pub(crate) fn failed(&self, failure: Failure) {
        self.ended().failed.push(failure);
    }

    pub(crate) fn requests(&self) -> usize {
        let ended = self.ended();
        ended.answered.len() + ended.failed.len()
    }

    /// Whether none that began since `since` has failed, and some were answered.
    pub(crate) fn is_calm(&self, since: SystemTime) -> bool {
        let recent = |(began, _): &&(SystemTime, SystemTime)| *began >= since;
        let answered = self.ended().answered.iter().rev().take(100).filter(recent).count();
        answered >= 30 && !self.has_failed(since)
    }

    pub(crate) fn has_failed(&self, since: SystemTime) -> bool {
        self.ended().failed.iter().any(|failure| failure.began >= since)
    }

    /// What happened in `span`, and those failures that it does not excuse.
    pub(crate) fn line(&self, span: &Span) -> (Line, Vec<Failure>) {
        let ended = self.ended();
        let times = ended.answered.iter().filter(|(_, to)| span.saw(*to));
        let slowest = times.clone().map(|(from, to)| between(*from, *to)).max();
        let failed = ended.failed.iter().filter(|failure| span.saw(failure.ended));
        let (excused, wrong): (Vec<_>, Vec<_>) =
            failed.clone().cloned().partition(|failure| span.excuse.covers(failure));
        let longest = failed.clone().map(|f| between(f.began, f.ended)).max();
        let line = Line {
            fault: span.fault.clone(),
            began: span.began,
            requests: times.count() + failed.clone().count(),
            failed: excused.len() + wrong.len(),
            excused: excused.len(),
            slowest: slowest.max(longest).unwrap_or_default(),
            recovered: failed.map(|f| between(span.began, f.ended)).max(),
        };
        (line, wrong)
    }

    /// Failures outside of all `spans`.
    pub(crate) fn in_peace(&self, spans: &[Span]) -> Vec<Failure> {
        let during = |failure: &Failure| spans.iter().any(|span| span.saw(failure.ended));
        self.ended().failed.iter().filter(|failure| !during(failure)).cloned().collect()
    }

    fn ended(&self) -> std::sync::MutexGuard<'_, Ended> {
        self.ended.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn between(from: SystemTime, to: SystemTime) -> Duration {
    to.duration_since(from).unwrap_or_default()
}

impl Excuse {
    fn covers(self, failure: &Failure) -> bool {
        match self {
            Self::None => false,
            Self::NotIdempotent => !failure.method.is_idempotent(),
            Self::Until(end) => failure.began <= end,
        }
    }
}

impl fmt::Display for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { fault, began, requests, failed, excused, slowest, recovered } = self;
        let recovered =
            recovered.map_or_else(|| "-".to_owned(), |after| format!("{after:.1?}"));
        write!(
            f,
            "{:14}{fault:44}{requests:>9}{failed:>8}{excused:>9}{:>11}{recovered:>11}",
            clock(*began),
            format!("{slowest:.0?}"),
        )
    }
}

/// The head of the table.
pub(crate) const HEAD: &str = "at            fault                                        requests  failed  \
                               excused    slowest    over in";

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: f64) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs_f64(seconds)
    }

    fn failure(method: Method, began: f64) -> Failure {
        let (began, ended) = (at(began), at(began + 0.1));
        Failure { method, path: "/".to_owned(), began, ended, why: "503".to_owned() }
    }

    #[test]
    fn a_fault_excuses_what_it_may_and_no_more() {
        let tally = Tally::default();
        tally.answered(at(1.0), at(1.5));
        tally.failed(failure(Method::GET, 2.0));
        tally.failed(failure(Method::POST, 2.0));
        tally.failed(failure(Method::GET, 9.0));
        let span = |excuse| Span {
            fault: "a fault".to_owned(),
            excuse,
            began: at(1.0),
            ended: at(3.0),
        };
        let wrong = |excuse| tally.line(&span(excuse)).1.len();
        assert_eq!(wrong(Excuse::None), 2);
        assert_eq!(wrong(Excuse::NotIdempotent), 1);
        assert_eq!(wrong(Excuse::Until(at(1.9))), 2);
        assert_eq!(wrong(Excuse::Until(at(2.1))), 0);
        let (line, _) = tally.line(&span(Excuse::None));
        assert_eq!((line.requests, line.failed, line.excused), (3, 2, 0));
        assert_eq!(line.slowest, Duration::from_millis(500));
        assert_eq!(line.recovered, Some(Duration::from_millis(1_100)));
        assert_eq!(tally.in_peace(&[span(Excuse::None)]).len(), 1);
    }
}
