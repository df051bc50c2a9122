//! `storefront visit`: users who look at what they have just written, on whichever process
//! answers, and what of it they miss.

use std::collections::BTreeMap;
use std::error::Error;
use std::fmt;
use std::time::Duration;

use clap::Args;
use hyper::body::Bytes;
use serde::{Deserialize, Serialize};
use serde_json::json;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

use super::client::{Client, Failure, Target};
use super::jar::Jar;
use super::mix::{Kind, Planned, get, send};
use super::scrape::Scrape;
use super::{positive, scrape};
use crate::rng::Rng;

const ROUTED: &str = "rw_split_requests_total";

/// Why a read was answered by the primary, among the reasons of [`ROUTED`].
const READ_ON_PRIMARY: [&str; 6] =
    ["read_only", "behind", "no_replica", "pinned", "retried", "stale"];

/// Options of `storefront visit`.
#[derive(Args, Clone, Debug)]
pub(crate) struct Options {
    /// The processes of one shop. Each request goes to any of them.
    #[arg(long, required = true)]
    url: Vec<Target>,
    /// How many users there are at once.
    #[arg(long, default_value_t = 17, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    sessions: u32,
    /// The number of the first of them. Nobody else may write to these users meanwhile.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
    first_user: u32,
    /// For how long.
    #[arg(long, default_value_t = 10.0, value_parser = positive)]
    seconds: f64,
    /// How long a user thinks before each request, in seconds and on average.
    #[arg(long, default_value_t = 0.3, value_parser = positive)]
    think: f64,
    /// How many of 100 requests are writes.
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u8).range(0..=100))]
    writes: u8,
    /// Another seed sends other requests.
    #[arg(long, default_value_t = 7)]
    seed: u64,
    /// Prints the report as JSON.
    #[arg(long)]
    pub(crate) json: bool,
}

/// What the users have seen.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Report {
    version: u32,
    sessions: u32,
    seconds: f64,
    #[serde(flatten)]
    seen: Seen,
    /// Statements that the shop has sent to a replica, and reads among those that it has
    /// sent to the primary.
    reads_on_replicas: u64,
    reads_on_primary: u64,
}

/// What one user has seen, or all of them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
struct Seen {
    reads: u64,
    writes: u64,
    /// Orders among the writes that were answered.
    orders: u64,
    /// Reads that lacked what the same user had written, and was told so.
    stale_reads: u64,
    failures: u64,
    failures_by_class: BTreeMap<String, u64>,
}

impl Seen {
    fn merge(&mut self, more: Self) {
        self.reads += more.reads;
        self.writes += more.writes;
        self.orders += more.orders;
        self.stale_reads += more.stale_reads;
        self.failures += more.failures;
        for (class, count) in more.failures_by_class {
            *self.failures_by_class.entry(class).or_default() += count;
        }
    }

    fn failed(&mut self, failure: Failure) {
        self.failures += 1;
        *self.failures_by_class.entry(failure.to_string()).or_default() += 1;
    }
}

/// Lets the users in, and sums up what they have seen.
///
/// # Errors
///
/// When the shop is not there. What fails after that is a figure of the report.
pub(crate) async fn run(options: Options) -> Result<Report, Box<dyn Error>> {
    let before = scrape(&options.url).await?;
    let start = Instant::now();
    let end = start + Duration::from_secs_f64(options.seconds);
    let mut users = JoinSet::new();
    for n in 0..options.sessions {
        users.spawn(User::new(&options, n).visit(end));
    }
    let mut seen = Seen::default();
    while let Some(one) = users.join_next().await {
        seen.merge(one?);
    }
    let seconds = start.elapsed().as_secs_f64();
    let after = scrape(&options.url).await?;
    let (reads_on_replicas, reads_on_primary) = routed(&after, &before);
    let sessions = options.sessions;
    Ok(Report { version: 1, sessions, seconds, seen, reads_on_replicas, reads_on_primary })
}

fn routed(after: &Scrape, before: &Scrape) -> (u64, u64) {
    let routed = after.since(before, ROUTED, &["target", "reason"]);
    let sum = |target: &str, counts: &dyn Fn(&str) -> bool| -> u64 {
        let of = routed.iter().filter_map(|(labels, count)| {
            let (found, reason) = labels.split_once('.')?;
            (found == target && counts(reason)).then_some(count)
        });
        of.sum()
    };
    let on_primary = |reason: &str| READ_ON_PRIMARY.contains(&reason);
    (sum("replica", &|_| true), sum("primary", &on_primary))
}

/// One user, in one session.
#[derive(Debug)]
struct User {
    id: u32,
    rng: Rng,
    options: Options,
    clients: Vec<Client>,
    jar: Jar,
    /// The last name of a city, and the last order, that were answered.
    city: u64,
    order: i64,
    seen: Seen,
}

/// What a page shows of what a user writes. A page that lacks one of them does not show it.
#[derive(Debug, Default, Deserialize)]
struct Page {
    city: Option<String>,
    last_orders: Option<Vec<Order>>,
}

#[derive(Debug, Deserialize)]
struct Order {
    id: i64,
}

impl User {
    fn new(options: &Options, n: u32) -> Self {
        Self {
            id: options.first_user + n,
            rng: Rng::stream(options.seed, n.into()),
            clients: options.url.iter().cloned().map(Client::new).collect(),
            options: options.clone(),
            jar: Jar::default(),
            city: 0,
            order: 0,
            seen: Seen::default(),
        }
    }

    async fn visit(mut self, end: Instant) -> Seen {
        loop {
            sleep(Duration::from_secs_f64(self.options.think * 2.0 * self.rng.unit())).await;
            if Instant::now() >= end {
                return self.seen;
            }
            let writes = self.rng.below(100) < self.options.writes.into();
            let done = if writes { self.write().await } else { self.read().await };
            if let Err(failure) = done {
                self.seen.failed(failure);
            }
        }
    }

    async fn write(&mut self) -> Result<(), Failure> {
        self.seen.writes += 1;
        let id = self.id;
        if self.rng.below(2) == 0 {
            let next = self.city + 1;
            let body = json!({
                "name": "A visitor", "email": format!("visitor.{id}@example.org"),
                "city": next.to_string(),
            });
            self.ask(&send(Kind::Update, "PUT", format!("/users/{id}"), &body)).await?;
            self.city = next;
        } else {
            let body = json!({ "product_id": 1 + self.rng.below(100), "quantity": 1 });
            let path = format!("/users/{id}/orders");
            let answer = self.ask(&send(Kind::Order, "POST", path, &body)).await?;
            let Order { id } = parse(&answer)?;
            self.order = id;
            self.seen.orders += 1;
        }
        Ok(())
    }

    async fn read(&mut self) -> Result<(), Failure> {
        self.seen.reads += 1;
        let path = format!("/users/{}", self.id);
        let page = if self.rng.below(2) == 0 {
            parse(&self.ask(&get(Kind::Profile, path)).await?)?
        } else {
            let orders = self.ask(&get(Kind::Profile, path + "/orders")).await?;
            Page { city: None, last_orders: Some(parse(&orders)?) }
        };
        self.seen.stale_reads += u64::from(self.misses(&page));
        Ok(())
    }

    /// Whether the page lacks something that this user was told is saved.
    fn misses(&self, page: &Page) -> bool {
        // What it was seeded with is no number, and comes before all of them.
        let city = page.city.as_ref().map(|city| city.parse().unwrap_or(0));
        let newest = |orders: &Vec<Order>| orders.iter().map(|order| order.id).max();
        let order = page.last_orders.as_ref().map(|orders| newest(orders).unwrap_or(0));
        city.is_some_and(|city: u64| city < self.city)
            || order.is_some_and(|order| order < self.order)
    }

    /// Asks any of the processes.
    async fn ask(&mut self, planned: &Planned) -> Result<Bytes, Failure> {
        let process = self.rng.below(self.clients.len() as u64) as usize;
        self.clients[process].send_as(&mut self.jar, None, planned).await
    }
}

fn parse<'a, T: Deserialize<'a>>(body: &'a Bytes) -> Result<T, Failure> {
    serde_json::from_slice(body).map_err(|_| Failure::Transport)
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Seen { reads, writes, stale_reads, failures, .. } = &self.seen;
        writeln!(f, "{} users for {:.1} s: {reads} reads", self.sessions, self.seconds)?;
        writeln!(f, "  {stale_reads} without what the same user had written before")?;
        let (replicas, primary) = (self.reads_on_replicas, self.reads_on_primary);
        writeln!(f, "  {replicas} statements on replicas, {primary} on the primary")?;
        write!(f, "{writes} writes; {failures} of all requests failed")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn user() -> User {
        let options = Options {
            url: vec!["http://127.0.0.1:1".parse().unwrap()],
            sessions: 1,
            first_user: 1,
            seconds: 1.0,
            think: 1.0,
            writes: 10,
            seed: 7,
            json: false,
        };
        User { city: 7, order: 50, ..User::new(&options, 0) }
    }

    fn page(json: &'static str) -> Page {
        parse(&Bytes::from_static(json.as_bytes())).unwrap()
    }

    #[test]
    fn a_page_without_what_was_written_is_stale() {
        for (json, misses) in [
            (r#"{"id": 1, "city": "7", "last_orders": [{"id": 50}, {"id": 3}]}"#, false),
            (r#"{"city": "8", "last_orders": [{"id": 51}]}"#, false),
            (r#"{"city": "6", "last_orders": [{"id": 50}]}"#, true),
            (r#"{"city": "Cork", "last_orders": [{"id": 50}]}"#, true),
            (r#"{"city": "7", "last_orders": [{"id": 49}]}"#, true),
            (r#"{"city": "7", "last_orders": []}"#, true),
            (r#"{"last_orders": [{"id": 50}]}"#, false),
        ] {
            assert_eq!(user().misses(&page(json)), misses, "{json}");
        }
        // Who has written nothing misses nothing.
        let fresh = User { city: 0, order: 0, ..user() };
        assert!(!fresh.misses(&page(r#"{"city": "Cork", "last_orders": []}"#)));
    }

    #[test]
    fn reads_are_told_apart_by_where_they_were_answered() {
        let mut after = Scrape::default();
        after.add(
            "rw_split_requests_total{target=\"replica\",reason=\"read_only\"} 90\n\
             rw_split_requests_total{target=\"primary\",reason=\"behind\"} 5\n\
             rw_split_requests_total{target=\"primary\",reason=\"pinned\"} 2\n\
             rw_split_requests_total{target=\"primary\",reason=\"write\"} 11\n",
        );
        assert_eq!(routed(&after, &Scrape::default()), (90, 7));
    }

    #[tokio::test(start_paused = true)]
    async fn a_shop_that_is_gone_is_failures_and_no_stale_reads() {
        let seen = user().visit(Instant::now() + Duration::from_secs(60)).await;
        assert!(seen.failures > 20 && seen.failures == seen.reads + seen.writes, "{seen:?}");
        assert_eq!(seen.stale_reads, 0);
    }
}
