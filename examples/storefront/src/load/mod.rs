//! `storefront load`: a shop's day, sent at a given rate or as fast as answers come.

mod client;
mod jar;
mod mix;
mod replay;
mod report;
mod schedule;
mod scrape;
mod users;
pub(crate) mod visit;
mod zipf;

use std::error::Error;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};
use tokio::task::JoinSet;
use tokio::time::{Instant, interval, sleep, sleep_until};

use self::client::{Client, Failure, Target};
use self::mix::Mix;
use self::report::{Report, Tally};
use self::schedule::Schedule;
use self::scrape::Scrape;
use self::users::Users;
use self::zipf::Popularity;
use crate::seed::LOGINS;

/// How late the runtime's timer may be. Its lateness is not the shop's.
const TIMER: Duration = Duration::from_millis(3);

/// Options of `storefront load`.
#[derive(Args, Clone, Debug)]
pub(crate) struct Options {
    /// The shop, as `storefront serve` prints it. Where it has several processes, give each:
    /// they are sent requests in turn.
    #[arg(long, required = true)]
    url: Vec<Target>,
    /// How long to send [default: 10, or the length of the replay].
    #[arg(long, value_parser = positive)]
    seconds: Option<f64>,
    /// Requests a second, whatever the answers take. Without it, and without --replay, each
    /// connection sends its next request when it has its answer.
    #[arg(long, value_parser = positive, conflicts_with = "replay")]
    rps: Option<f64>,
    /// Connections to each process, and the most requests in flight.
    #[arg(long, default_value_t = 32, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    connections: u32,
    /// Another seed sends other requests.
    #[arg(long, default_value_t = 7)]
    seed: u64,
    /// A CSV of `t_s,value`: from `t_s` seconds on, `value` requests a second.
    #[arg(long, value_name = "FILE.csv")]
    replay: Option<PathBuf>,
    /// Plays the replay's steps this many times as fast; their rates stay.
    #[arg(long, default_value_t = 1.0, value_parser = positive, requires = "replay")]
    speed: f64,
    /// Multiplies the replay's rates.
    #[arg(long, default_value_t = 1.0, value_parser = positive, requires = "replay")]
    scale: f64,
    /// How many products the shop was seeded with.
    #[arg(long, default_value_t = 100_000, value_parser = clap::value_parser!(u32).range(1..=10_000_000))]
    products: u32,
    /// How many users the shop was seeded with.
    #[arg(long, default_value_t = 10_000, value_parser = clap::value_parser!(u32).range(1..=10_000_000))]
    users: u32,
    /// How many users log in before the load begins, from user 1 on, who is an admin: they
    /// alone look at profiles, and order. For a shop with a login; over 50 of them come from
    /// several loopback addresses, since a shop limits the logins of one.
    #[arg(long, value_name = "USERS", value_parser = clap::value_parser!(u32).range(1..=LOGINS))]
    login: Option<u32>,
    /// The `--seed` that the shop was seeded with: it decides by what mail addresses users log
    /// in.
    #[arg(long, default_value_t = 7, requires = "login")]
    shop_seed: u64,
    /// The exponent of Zipf's law: how much the popular are preferred.
    #[arg(long, default_value_t = 1.1, value_parser = exponent)]
    exponent: f64,
    /// Prints the report as JSON.
    #[arg(long)]
    pub(crate) json: bool,
}

/// The limits keep every moment of a schedule representable.
fn positive(text: &str) -> Result<f64, String> {
    within(text, 1e-6, 1e9)
}

fn exponent(text: &str) -> Result<f64, String> {
    within(text, 0.01, 10.0)
}

fn within(text: &str, least: f64, most: f64) -> Result<f64, String> {
    match text.parse() {
        Ok(number) if (least..=most).contains(&number) => Ok(number),
        _ => Err(format!("use a number from {least} to {most}")),
    }
}

/// Sends the load and sums it up.
///
/// # Errors
///
/// When the replay cannot be read, or the shop is not there or of another size. Once the load
/// has begun, failures are figures of the report.
pub(crate) async fn run(options: Options) -> Result<Report, Box<dyn Error>> {
    let pace = pace(&options)?;
    let logged_in = options.login.map(|users| users.min(options.users));
    for url in &options.url {
        check(url, &options).await?;
    }
    let users = match logged_in {
        Some(count) => Some(Users::log_in(&options.url, count, options.shop_seed).await?),
        None => None,
    };

    let job = Arc::new(Job {
        mix: Mix::new(
            options.seed,
            Popularity::new(options.products, options.exponent),
            Popularity::new(logged_in.unwrap_or(options.users), options.exponent),
        ),
        users,
        pace,
        start: Instant::now(),
        taken: AtomicU64::new(0),
        answered: AtomicU64::new(0),
    });
    let before = scrape(&options.url).await?;
    let mut workers = JoinSet::new();
    for _ in 0..options.connections {
        let clients = options.url.iter().cloned().map(Client::new).collect();
        workers.spawn(work(Arc::clone(&job), clients));
    }
    let tally = watch(&job, &mut workers).await?;
    let elapsed = job.start.elapsed();
    let after = scrape(&options.url).await.ok();

    let due = match &job.pace {
        Pace::Answers { .. } => None,
        Pace::Given(schedule) => Some(schedule.total()),
    };
    let report = Report::new(&options, elapsed, due, &tally, &before, after.as_ref());
    Ok(report.of(job.users.as_ref().map(Users::seen)))
}

/// How the next request's moment is found.
#[derive(Debug)]
enum Pace {
    /// At once, until this long after the start.
    Answers { end: Duration },
    /// When the schedule says.
    Given(Schedule),
}

impl Pace {
    fn end(&self) -> Duration {
        match self {
            Self::Answers { end } => *end,
            Self::Given(schedule) => schedule.end(),
        }
    }
}

fn pace(options: &Options) -> Result<Pace, Box<dyn Error>> {
    let seconds = options.seconds.unwrap_or(10.0);
    if let Some(path) = &options.replay {
        let named = |e: &dyn Error| format!("{}: {e}", path.display());
        let text = std::fs::read_to_string(path).map_err(|e| named(&e))?;
        let rows = replay::parse(&text).map_err(|e| named(&e))?;
        let schedule = Schedule::replay(&rows, options.speed, options.scale, options.seconds);
        return Ok(Pace::Given(schedule));
    }
    Ok(match options.rps {
        Some(rate) => Pace::Given(Schedule::steady(rate, seconds)),
        None => Pace::Answers { end: Duration::from_secs_f64(seconds) },
    })
}

/// The counters of all processes of the shop.
async fn scrape(urls: &[Target]) -> Result<Scrape, Failure> {
    let mut all = Scrape::default();
    for url in urls {
        all.add(&Client::new(url.clone()).get("/metrics").await?);
    }
    Ok(all)
}

/// A wrong size would count as failures of the shop.
async fn check(url: &Target, options: &Options) -> Result<(), String> {
    let mut control = Client::new(url.clone());
    if let Err(e) = control.get("/healthz").await {
        return Err(format!(
            "no shop answers at {url} ({e}); start one with `storefront serve`"
        ));
    }
    for (kind, last) in [("products", options.products), ("users", options.users)] {
        if kind == "users" && options.login.is_some() {
            // Whoever is not there is not let in.
            continue;
        }
        match control.get(&format!("/{kind}/{last}")).await {
            Ok(_) => {}
            Err(Failure::Status(404)) => {
                return Err(format!(
                    "the shop has fewer than {last} {kind}; seed that many, or say with \
                     --{kind} how many there are"
                ));
            }
            Err(Failure::Status(401)) => {
                return Err(format!(
                    "the shop at {url} has a login; let users in with --login"
                ));
            }
            Err(e) => return Err(format!("the shop at {url} does not sell ({e})")),
        }
    }
    Ok(())
}

/// What the connections share.
#[derive(Debug)]
struct Job {
    mix: Mix,
    users: Option<Users>,
    pace: Pace,
    start: Instant,
    taken: AtomicU64,
    answered: AtomicU64,
}

impl Job {
    /// Waits until the next request is due. Returns its number, and the moment that its
    /// latency counts from: a request that is late because all connections were busy has
    /// waited for the shop since it was due.
    async fn next(&self) -> Option<(u64, Instant)> {
        let n = self.taken.fetch_add(1, Ordering::Relaxed);
        let now = Instant::now();
        let schedule = match &self.pace {
            Pace::Answers { end } => return (now < self.start + *end).then_some((n, now)),
            Pace::Given(schedule) => schedule,
        };
        let due = self.start + schedule.due(n)?;
        if due <= now {
            return (now < self.start + schedule.end()).then_some((n, due));
        }
        sleep_until(due).await;
        let now = Instant::now();
        Some((n, if now - due < TIMER { now } else { due }))
    }
}

/// One worker's share of the run, over a connection to each process.
async fn work(job: Arc<Job>, mut clients: Vec<Client>) -> Tally {
    let mut tally = Tally::new();
    while let Some((n, begun)) = job.next().await {
        let planned = job.mix.request(n);
        // By the request's number, so that every process has its turn.
        let turn = n as usize % clients.len();
        let client = &mut clients[turn];
        let answer = match (&job.users, planned.by) {
            (Some(users), Some(by)) => users.send(client, by, &planned).await,
            _ => client.send(&planned).await,
        };
        let unconnected = matches!(answer, Err(Failure::Connect));
        tally.add(planned.kind, answer.map(|_| begun.elapsed()));
        job.answered.fetch_add(1, Ordering::Relaxed);
        if unconnected {
            // Without this, a shop that is gone is counted millions of times.
            sleep(Duration::from_millis(50)).await;
        }
    }
    tally
}

/// Shows how far the run is, until every connection has ended.
async fn watch(job: &Job, workers: &mut JoinSet<Tally>) -> Result<Tally, Box<dyn Error>> {
    // Draws on stderr, and only on a terminal.
    let bar = ProgressBar::new(job.pace.end().as_millis() as u64).with_style(
        ProgressStyle::with_template("{bar:40} {percent:>3} %  {msg}")
            .expect("the template is well formed"),
    );
    let mut all = Tally::new();
    let mut every = interval(Duration::from_millis(200));
    loop {
        tokio::select! {
            ended = workers.join_next() => match ended {
                Some(tally) => all.merge(&tally?),
                None => break,
            },
            _ = every.tick() => {
                bar.set_position(job.start.elapsed().as_millis() as u64);
                bar.set_message(format!("{} answers", job.answered.load(Ordering::Relaxed)));
            }
        }
    }
    bar.finish_and_clear();
    Ok(all)
}
