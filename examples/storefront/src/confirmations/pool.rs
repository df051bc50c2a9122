//! `storefront confirmations run`: the relay, and as many workers as the queue needs.

use std::error::Error;
use std::fs::File;
use std::io::{self, PipeReader, PipeWriter, Write};
use std::net::SocketAddr;
use std::num::NonZeroU64;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use autoscale_policy::{
    Actuator, Controller, InstanceId, LocalProcesses, Outcome, Policy, QueueDepth, RedisQueue,
    Report, Resize, Scaler, ScalingPolicy,
};
use clap::Args;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::net::TcpListener;
use tokio::net::unix::pipe;
use tokio::process::Command;
use tokio::time::Instant;
use tracing::{info, warn};

use super::admin::{self, Admin};
use super::counts::Told;
use super::queue::{KEY, Queue};
use super::relay::{self, relay};
use super::worker;
use crate::shutdown::asked_to_stop;

/// For how long a worker may be silent until it is replaced.
const UNREADY: Duration = Duration::from_secs(10);

/// The wait before workers that end at once, as without a database, are started again.
const BACKOFF: Duration = Duration::from_secs(1);
const BACKOFF_MOST: Duration = Duration::from_secs(5);

/// Options of `storefront confirmations run`.
#[derive(Args, Debug)]
pub(crate) struct Options {
    #[command(flatten)]
    worker: worker::Settings,
    #[command(flatten)]
    relay: relay::Pace,
    /// The most jobs in the queue; the others wait in the database.
    #[arg(long, default_value_t = 10_000, value_parser = clap::value_parser!(u32).range(1..=10_000_000))]
    queue_limit: u32,
    /// The least workers.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(0..=64))]
    min: u32,
    /// The most workers.
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u32).range(1..=64))]
    max: u32,
    /// How many jobs a second a worker does: what it does at once, through the time of one.
    #[arg(long, default_value_t = 20.0)]
    rate: f64,
    /// In how many seconds what waits is to be done.
    #[arg(long, default_value_t = 5.0)]
    drain_within: f64,
    /// For how many seconds there is less to do before there are fewer workers.
    #[arg(long, default_value_t = 30.0)]
    hold_down: f64,
    /// Instead of these five: a policy of autoscale-policy, whose metric is `queue-depth`.
    #[arg(
        long, value_name = "FILE.toml",
        conflicts_with_all = ["min", "max", "rate", "drain_within", "hold_down"]
    )]
    policy: Option<PathBuf>,
    /// How often that is decided, in milliseconds.
    #[arg(long, default_value = "1000")]
    decide_every: NonZeroU64,
    /// Where the operator asks: GET /workers, GET /metrics; port 0 takes a free one.
    #[arg(long, default_value = "127.0.0.1:0")]
    admin: SocketAddr,
}

impl Options {
    fn policy(&self) -> Result<Policy, Box<dyn Error>> {
        if let Some(file) = &self.policy {
            let text = std::fs::read_to_string(file);
            let text = text.map_err(|error| format!("{}: {error}", file.display()))?;
            return Ok(Policy::from_toml(&text)?);
        }
        let seconds = |name, seconds| {
            Duration::try_from_secs_f64(seconds)
                .map_err(|_| format!("--{name} {seconds} is no number of seconds"))
        };
        Ok(Policy::QueueDepth(QueueDepth {
            min: self.min,
            max: self.max,
            hold_down: seconds("hold-down", self.hold_down)?,
            warm_up: Duration::from_secs(2),
            ..QueueDepth::drained_within(self.rate, seconds("drain-within", self.drain_within)?)
        }))
    }
}

/// Runs until SIGTERM or Ctrl-C; then the workers finish what they have in hand. Should this
/// process die, they do so, too.
///
/// # Errors
///
/// When it cannot start.
pub(super) async fn run(options: Options) -> Result<(), Box<dyn Error>> {
    options.worker.check()?;
    let stop = asked_to_stop()?;
    let policy = options.policy()?;
    let least = policy.limits().min;
    let scaler = Scaler::new(policy)?;
    scaler.warnings().iter().for_each(|warning| warn!("the policy: {warning}"));
    let places = options.worker.places.open().await?;
    let queue = Queue::open(&options.worker.redis, options.queue_limit as usize)?;
    let depth = RedisQueue::sorted_set(options.worker.redis.reveal(), KEY)
        .map_err(|_| "--redis is no redis://host:port/database")?;

    let told = Arc::new(Told::default());
    let (heard, said) = io::pipe()?;
    let processes = workers(&options.worker, said, &told)?;
    let mut controller = Controller::new(scaler, processes.clone(), processes.clone())
        .source(depth)
        .every_millis(options.decide_every)
        .act();
    let Ok(_) = processes.set(&Resize::new(0, least)).await;

    let listener = TcpListener::bind(options.admin).await;
    let listener =
        listener.map_err(|error| format!("cannot listen on {}: {error}", options.admin))?;
    announce(listener.local_addr()?)?;
    let admin = Admin {
        processes: processes.clone(),
        told: Arc::clone(&told),
        places: places.all(),
        queue: queue.clone(),
    };
    let looks_after = async {
        tokio::join!(
            processes.supervise(),
            replaced(&processes),
            controller.run(decided),
            relay(&places, &queue, options.relay),
        )
    };
    tokio::select! {
        _ = looks_after => {}
        served = admin::serve(listener, admin) => served?,
        heard = hear(heard, &told) => heard?,
        () = stop => info!("asked to stop: the workers finish what they have in hand"),
    }
    processes.stop().await;
    info!("stopped");
    Ok(())
}

/// One line, flushed: who started this process waits for it.
fn announce(address: SocketAddr) -> io::Result<()> {
    let mut stdout = io::stdout().lock();
    writeln!(stdout, "http://{address}")?;
    stdout.flush()
}

/// The workers: this program, which says on a pipe what it does.
fn workers(
    settings: &worker::Settings,
    said: PipeWriter,
    told: &Arc<Told>,
) -> io::Result<LocalProcesses> {
    let (program, said) = (std::env::current_exe()?, File::from(OwnedFd::from(said)));
    let (settings, told) = (settings.clone(), Arc::clone(told));
    let grace = settings.lease() + Duration::from_secs(5);
    let launch = move |id: InstanceId| {
        let mut command = Command::new(&program);
        command.args(words(&settings, id));
        // Not among the words, which everybody sees.
        command.env("REDIS_URL", settings.redis.reveal());
        if let Some(url) = &settings.places.database_url {
            command.env("DATABASE_URL", url);
        }
        // It ends when its stdin does, and that ends with this process.
        command.stdin(Stdio::piped());
        // Without a pipe it would be deaf and mute, and is replaced.
        command.stdout(said.try_clone().map_or_else(|_| Stdio::null(), Stdio::from));
        // A Ctrl-C is this process's to pass on.
        command.process_group(0);
        command
    };
    let probe = move |id: InstanceId| {
        let in_flight = told.in_flight(id.number(), Instant::now());
        async move { in_flight }
    };
    let processes = LocalProcesses::new(launch, probe).grace(grace).unready_limit(UNREADY);
    Ok(processes.backoff(BACKOFF, BACKOFF_MOST))
}

fn words(settings: &worker::Settings, id: InstanceId) -> Vec<std::ffi::OsString> {
    let worker::Settings { places, redis: _, mail, retries, parallel, lease } = settings;
    let mut words: Vec<std::ffi::OsString> = vec!["confirmations".into(), "work".into()];
    let mut option = |name: &str, value: std::ffi::OsString| words.extend([name.into(), value]);
    if let Some(file) = &places.shards {
        option("--shards", file.into());
    }
    if let Some(url) = &mail.mail {
        option("--mail", url.to_string().into());
    }
    let numbers = [
        ("--connections", u64::from(places.connections)),
        ("--mail-timeout", mail.mail_timeout),
        ("--attempts", retries.attempts.into()),
        ("--backoff", retries.backoff),
        ("--backoff-max", retries.backoff_max),
        ("--parallel", (*parallel).into()),
        ("--lease", *lease),
        ("--worker", id.number()),
    ];
    for (name, number) in numbers {
        option(name, number.to_string().into());
    }
    words
}

/// Listens to the workers.
async fn hear(said: PipeReader, told: &Told) -> io::Result<()> {
    let said = pipe::Receiver::from_owned_fd(said.into())?;
    let mut lines = BufReader::new(said).lines();
    while let Some(line) = lines.next_line().await? {
        told.hear(&line, Instant::now());
    }
    // This process has the other end, too.
    Ok(())
}

async fn replaced(processes: &LocalProcesses) {
    let (mut changes, mut crashed) = (processes.changes(), 0);
    while changes.next().await.is_some() {
        let now = processes.crashed();
        if now > crashed
            && let Some(error) = processes.last_error()
        {
            warn!("{error}; another one is started");
        }
        crashed = now;
    }
}

/// Every decision that changes something, with its reasons.
fn decided(report: &Report) {
    match &report.outcome {
        Outcome::Held => {}
        Outcome::Unobserved(_) | Outcome::Failed { .. } => warn!("{report}"),
        _ => info!("{report}"),
    }
}
