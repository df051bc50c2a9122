//! What a run has shown, as a table for people and as JSON for programs.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use hdrhistogram::Histogram;
use serde::Serialize;

use super::Options;
use super::client::{Failure, Target};
use super::mix::Kind;
use super::scrape::Scrape;
use super::users::LoggedIn;

const QUERIES: &str = "storefront_db_queries_total";
const CACHED: &str = "cache_aside_requests_total";
const SHARED: &str = "cache_aside_shared_reads_total";
const SHARED_ERRORS: &str = "cache_aside_shared_errors_total";
const UNANNOUNCED: &str = "storefront_unannounced_changes_total";

/// The statements that answer reads of the mix.
const READS: [&str; 4] = [
    "product_by_id",
    "products_by_ids",
    // These two are a profile.
    "account_by_id",
    "summary_of_user",
];

/// Outcomes of a cache that answer at once, without waiting for the database.
const AT_ONCE: [&str; 4] = ["hit", "stale", "negative", BY_REDIS];

/// The outcome of those that the shared cache has answered.
const BY_REDIS: &str = "shared";

/// What one connection, or all of them, have seen.
#[derive(Clone, Debug)]
pub(crate) struct Tally {
    /// In the order of [`Kind::ALL`].
    kinds: [Seen; 4],
}

#[derive(Clone, Debug)]
struct Seen {
    /// Microseconds, of good answers only: a quick refusal is not a quick shop.
    latency: Histogram<u64>,
    failures: BTreeMap<Failure, u64>,
}

impl Tally {
    pub(crate) fn new() -> Self {
        Self { kinds: Kind::ALL.map(|_| Seen::new()) }
    }

    pub(crate) fn add(&mut self, kind: Kind, answer: Result<Duration, Failure>) {
        let seen = &mut self.kinds[kind as usize];
        match answer {
            Ok(took) => seen.latency.saturating_record(took.as_micros() as u64),
            Err(failure) => *seen.failures.entry(failure).or_default() += 1,
        }
    }

    pub(crate) fn merge(&mut self, other: &Self) {
        for (seen, more) in self.kinds.iter_mut().zip(&other.kinds) {
            seen.merge(more);
        }
    }

    fn all(&self) -> Seen {
        let mut all = Seen::new();
        for seen in &self.kinds {
            all.merge(seen);
        }
        all
    }
}

impl Seen {
    fn new() -> Self {
        let latency = Histogram::new_with_bounds(1, 60_000_000, 3);
        Self { latency: latency.expect("the bounds are valid"), failures: BTreeMap::new() }
    }

    fn merge(&mut self, other: &Self) {
        self.latency.add(&other.latency).expect("the bounds are equal");
        for (failure, count) in &other.failures {
            *self.failures.entry(*failure).or_default() += count;
        }
    }

    fn failed(&self) -> u64 {
        self.failures.values().sum()
    }

    fn requests(&self) -> u64 {
        self.latency.len() + self.failed()
    }

    fn part(&self, seconds: f64) -> Part {
        let ms = |micros: u64| micros as f64 / 1e3;
        let quantile = |q| ms(self.latency.value_at_quantile(q));
        Part {
            requests: self.requests(),
            requests_per_second: round(self.requests() as f64 / seconds, 1),
            failures: self.failed(),
            latency_ms: Latency {
                mean: round(self.latency.mean() / 1e3, 3),
                p50: quantile(0.5),
                p90: quantile(0.9),
                p99: quantile(0.99),
                p999: quantile(0.999),
                max: ms(self.latency.max()),
            },
        }
    }
}

/// The report. Its JSON form is a contract, described in the README: fields may be added.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Report {
    /// Of this form.
    version: u32,
    url: Target,
    /// All processes, the first of which is `url`.
    urls: Vec<Target>,
    seed: u64,
    connections: u32,
    target_rps: Option<f64>,
    replay: Option<PathBuf>,
    speed: f64,
    scale: f64,
    exponent: f64,
    seconds: f64,
    #[serde(flatten)]
    all: Part,
    /// Requests that were due but never sent, since all connections were busy.
    not_sent: u64,
    failures_by_class: BTreeMap<String, u64>,
    by_kind: BTreeMap<&'static str, Part>,
    reads: u64,
    /// Null when the shop could not be asked at the end.
    database: Option<Cost>,
    /// Null also when the shop runs without a cache.
    cache: Option<Cached>,
    /// Null also when the shop's processes share no cache.
    redis: Option<Redis>,
    /// Null when nobody has logged in.
    login: Option<LoggedIn>,
}

#[derive(Clone, Debug, Serialize)]
struct Part {
    requests: u64,
    requests_per_second: f64,
    failures: u64,
    latency_ms: Latency,
}

#[derive(Clone, Copy, Debug, Serialize)]
struct Latency {
    mean: f64,
    p50: f64,
    p90: f64,
    p99: f64,
    p999: f64,
    max: f64,
}

#[derive(Clone, Debug, Serialize)]
struct Cost {
    queries: u64,
    read_queries: u64,
    queries_per_read: Option<f64>,
    by_statement: BTreeMap<String, u64>,
}

#[derive(Clone, Debug, Serialize)]
struct Cached {
    requests: u64,
    hit_ratio: Option<f64>,
    /// Of the hits, those that Redis has answered, as a share of all.
    redis_ratio: Option<f64>,
    /// `cache.outcome`
    by_outcome: BTreeMap<String, u64>,
}

#[derive(Clone, Debug, Serialize)]
struct Redis {
    /// Operations that failed.
    errors: u64,
    unannounced: u64,
    /// Reads, by `cache.outcome`.
    reads: BTreeMap<String, u64>,
}

impl Report {
    pub(crate) fn new(
        options: &Options,
        elapsed: Duration,
        due: Option<u64>,
        tally: &Tally,
        before: &Scrape,
        after: Option<&Scrape>,
    ) -> Self {
        let seconds = elapsed.as_secs_f64();
        let all = tally.all();
        let reads = |kind: &Kind| kind.is_read();
        let reads = Kind::ALL.iter().copied().filter(reads);
        let reads = reads.map(|kind| tally.kinds[kind as usize].requests()).sum();
        let classes = all.failures.iter().map(|(class, count)| (class.to_string(), *count));
        let kinds =
            Kind::ALL.map(|kind| (kind.label(), tally.kinds[kind as usize].part(seconds)));
        Self {
            version: 1,
            url: options.url[0].clone(),
            urls: options.url.clone(),
            seed: options.seed,
            connections: options.connections,
            target_rps: options.rps,
            replay: options.replay.clone(),
            speed: options.speed,
            scale: options.scale,
            exponent: options.exponent,
            seconds: round(seconds, 3),
            not_sent: due.map_or(0, |due| due.saturating_sub(all.requests())),
            failures_by_class: classes.collect(),
            by_kind: kinds.into_iter().collect(),
            reads,
            database: after
                .map(|after| Cost::new(after.since(before, QUERIES, &["statement"]), reads)),
            cache: after.and_then(|after| {
                Cached::new(after.since(before, CACHED, &["cache", "outcome"]))
            }),
            redis: after.and_then(|after| Redis::new(before, after)),
            login: None,
            all: all.part(seconds),
        }
    }
}

impl Report {
    /// With those who were logged in.
    pub(crate) fn of(self, login: Option<LoggedIn>) -> Self {
        Self { login, ..self }
    }
}

impl Cost {
    fn new(by_statement: BTreeMap<String, u64>, reads: u64) -> Self {
        let read_queries = READS.iter().filter_map(|label| by_statement.get(*label)).sum();
        Self {
            queries: by_statement.values().sum(),
            read_queries,
            queries_per_read: ratio(read_queries, reads),
            by_statement,
        }
    }
}

impl Cached {
    fn new(by_outcome: BTreeMap<String, u64>) -> Option<Self> {
        if by_outcome.is_empty() {
            return None;
        }
        let requests = by_outcome.values().sum();
        let of = |outcomes: &[&str]| {
            let is_of = |name: &str| {
                name.rsplit_once('.').is_some_and(|(_, outcome)| outcomes.contains(&outcome))
            };
            let counted = by_outcome.iter().filter(|(name, _)| is_of(name));
            ratio(counted.map(|(_, n)| n).sum(), requests)
        };
        let (hit_ratio, redis_ratio) = (of(&AT_ONCE), of(&[BY_REDIS]));
        Some(Self { requests, hit_ratio, redis_ratio, by_outcome })
    }
}

impl Redis {
    /// Where no process has series of it, there is none.
    fn new(before: &Scrape, after: &Scrape) -> Option<Self> {
        let reads = after.since(before, SHARED, &["cache", "outcome"]);
        let sum = |name| after.since(before, name, &[]).into_values().sum();
        (!reads.is_empty()).then(|| Self {
            errors: sum(SHARED_ERRORS),
            unannounced: sum(UNANNOUNCED),
            reads,
        })
    }
}

fn ratio(part: u64, whole: u64) -> Option<f64> {
    (whole > 0).then(|| round(part as f64 / whole as f64, 5))
}

fn round(value: f64, digits: i32) -> f64 {
    let unit = 10f64.powi(digits);
    (value * unit).round() / unit
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { urls, seconds, connections, seed, .. } = self;
        let urls: Vec<_> = urls.iter().map(Target::to_string).collect();
        let urls = urls.join(", ");
        writeln!(f, "{urls}: {seconds:.1} s, {connections} connections, seed {seed}\n")?;
        writeln!(
            f,
            "{:<10}{:>12}{:>12}{:>10}{:>10}{:>10}{:>10}",
            "", "requests", "per second", "p50 ms", "p99 ms", "max ms", "failures"
        )?;
        for kind in Kind::ALL {
            line(f, kind.label(), &self.by_kind[kind.label()])?;
        }
        line(f, "all", &self.all)?;

        writeln!(f)?;
        for (class, count) in &self.failures_by_class {
            writeln!(f, "failures   {count} {class}")?;
        }
        if self.not_sent > 0 {
            writeln!(f, "not sent   {}: every connection was busy", self.not_sent)?;
        }
        match &self.database {
            Some(cost) => writeln!(f, "database   {} reads took {cost}", self.reads)?,
            None => writeln!(f, "database   unknown: the shop's metrics could not be read")?,
        }
        match &self.cache {
            Some(cached) => write!(f, "cache      {cached}"),
            None => write!(f, "cache      none"),
        }?;
        if let Some(LoggedIn { users, refreshes, refused }) = self.login {
            let them = format!("{users} users, {refreshes} refreshes, {refused} refused");
            write!(f, "\nlogin      {them}")?;
        }
        self.redis.as_ref().map_or(Ok(()), |redis| write!(f, "\nredis      {redis}"))
    }
}

impl fmt::Display for Cost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} queries", self.read_queries)?;
        self.queries_per_read.map_or(Ok(()), |ratio| write!(f, " ({ratio:.3} a read)"))?;
        write!(f, "; {} in all", self.queries)
    }
}

impl fmt::Display for Cached {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.hit_ratio {
            Some(ratio) => {
                let percent = ratio * 100.0;
                write!(f, "{percent:.1} % of {} reads answered at once", self.requests)?;
                match self.redis_ratio {
                    Some(ratio) if ratio > 0.0 => {
                        write!(f, ", {:.1} % by Redis", ratio * 100.0)
                    }
                    _ => Ok(()),
                }
            }
            None => f.write_str("not asked"),
        }
    }
}

impl fmt::Display for Redis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { errors, unannounced, reads } = self;
        let reads: u64 = reads.values().sum();
        write!(f, "{reads} reads, {errors} errors, {unannounced} changes not announced at once")
    }
}

fn line(f: &mut fmt::Formatter<'_>, label: &str, part: &Part) -> fmt::Result {
    let Part { requests, requests_per_second, failures, latency_ms: ms } = part;
    writeln!(
        f,
        "{label:<10}{requests:>12}{requests_per_second:>12.1}{:>10.2}{:>10.2}{:>10.2}{failures:>10}",
        ms.p50, ms.p99, ms.max
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failures_are_counted_by_class_and_kept_out_of_the_latencies() {
        let mut tally = Tally::new();
        tally.add(Kind::Product, Ok(Duration::from_millis(2)));
        tally.add(Kind::Order, Err(Failure::Status(503)));
        let mut all = Tally::new();
        all.merge(&tally);
        all.merge(&tally);
        let (part, failures) = (all.all().part(2.0), all.all().failures);
        assert_eq!((part.requests, part.failures, part.requests_per_second), (4, 2, 2.0));
        assert_eq!(failures, BTreeMap::from([(Failure::Status(503), 2)]));
        assert!((part.latency_ms.p99 - 2.0).abs() < 0.01);
    }

    #[test]
    fn only_statements_of_reads_count_as_read_queries() {
        let statements = [("product_by_id", 3), ("place_order", 5)];
        let cost = Cost::new(statements.map(|(s, n)| (s.to_owned(), n)).into(), 100);
        assert_eq!((cost.queries, cost.read_queries), (8, 3));
        assert_eq!(cost.queries_per_read, Some(0.03));
        assert_eq!(Cost::new(BTreeMap::new(), 0).queries_per_read, None);
    }

    #[test]
    fn what_redis_did_is_told_where_there_is_one() {
        let mut before = Scrape::default();
        before.add("cache_aside_shared_errors_total{cache=\"p\",kind=\"full\"} 2\n");
        assert!(Redis::new(&before, &before).is_none());
        let mut after = Scrape::default();
        after.add(
            "cache_aside_shared_errors_total{cache=\"p\",kind=\"full\"} 5\n\
             cache_aside_shared_errors_total{cache=\"p\",kind=\"timeout\"} 1\n\
             storefront_unannounced_changes_total{cache=\"p\"} 3\n\
             cache_aside_shared_reads_total{cache=\"p\",outcome=\"hit\"} 9\n",
        );
        let redis = Redis::new(&before, &after).unwrap();
        assert_eq!((redis.errors, redis.unannounced, redis.reads["p.hit"]), (4, 3, 9));
    }

    #[test]
    fn stale_and_negative_answers_are_hits_and_joined_loads_are_not() {
        let outcomes =
            [("p.hit", 4), ("p.stale", 1), ("q.negative", 1), ("p.joined", 2), ("q.shared", 2)];
        let cached = Cached::new(outcomes.map(|(o, n)| (o.to_owned(), n)).into()).unwrap();
        assert_eq!((cached.requests, cached.hit_ratio), (10, Some(0.8)));
        assert_eq!(cached.redis_ratio, Some(0.2));
        assert!(Cached::new(BTreeMap::new()).is_none());
    }
}
