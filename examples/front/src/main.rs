//! Starts workers, balances requests over them, and scales them.
//!
//! ```text
//!                       .-> worker --.
//! clients -> [ front ] -+-> worker --+-> cache, databases
//!                 |     '-> worker --'
//!                 '-- in flight, CPU -> policy -> how many workers
//! ```

mod admin;
mod cpu;
mod outlier;
mod pick;
mod pool;
mod proxy;
mod serve;
mod workers;

use std::error::Error;
use std::ffi::OsString;
use std::io::{IsTerminal, Write};
use std::net::SocketAddr;
use std::num::NonZeroU64;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use autoscale_policy::{
    Action, Actuator, Controller, DrainSettings, InFlight, Lifecycle, LocalProcesses, Outcome,
    Policy, Resize, Scaler, ScalingPolicy,
};
use cache_aside::http::HttpCacheLayer;
use clap::Parser;
use http::HeaderName;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tracing::{info, warn};
use tracing_subscriber::filter::LevelFilter;

use crate::admin::{Admin, Wishes};
use crate::cpu::WorkersCpu;
use crate::pick::Strategy;
use crate::pool::Pool;
use crate::proxy::Proxy;
use crate::workers::{Launch, Workers};

/// Starts workers, balances requests over them, and scales them.
///
/// A worker is any HTTP/1.1 server that writes its URL to a file, answers 200 at a path when
/// it is ready, and ends in good order at SIGTERM.
#[derive(Debug, Parser)]
#[command(version)]
struct Cli {
    /// Where to listen; port 0 takes a free one. Prints the URL as the first line.
    #[arg(long, default_value = "127.0.0.1:8080")]
    listen: SocketAddr,
    /// Where the operator asks: GET /workers, GET /metrics, POST /restart, POST
    /// /resize?count=N. Prints the URL as the second line.
    #[arg(long, default_value = "127.0.0.1:0")]
    admin: SocketAddr,
    /// How requests are spread over workers.
    #[arg(long, value_enum, default_value_t)]
    strategy: Strategy,
    /// Keeps answers that say they may be kept, in so many MiB, for all who ask; 0 for none.
    #[arg(long, value_name = "MIB", default_value_t = 0, value_parser = clap::value_parser!(u64).range(0..=1_048_576))]
    cache: u64,
    /// With `--strategy hash`: requests with the same value of this field stay together.
    #[arg(long, default_value = "authorization")]
    hash_by: HeaderName,
    /// A path at which workers keep what an `Idempotency-Key` promises: POSTs with one are
    /// repeated there, as PUTs are. May be given more than once.
    #[arg(long, value_name = "PATH")]
    keyed: Vec<String>,
    /// How many workers run: a policy of autoscale-policy, in TOML. The default keeps 2 to 4
    /// by requests in flight and CPU.
    #[arg(long, value_name = "FILE.toml")]
    policy: Option<PathBuf>,
    /// How often that is decided, in milliseconds.
    #[arg(long, default_value = "1000")]
    every: NonZeroU64,
    /// The cores that are one worker's full use.
    #[arg(long, default_value_t = 1.0)]
    cores: f64,
    /// Only tells what it would do; the least workers of the policy run.
    #[arg(long)]
    dry_run: bool,
    /// The path at which a worker answers 200 when it is ready.
    #[arg(long, default_value = "/readyz")]
    ready: String,
    /// Seconds from SIGTERM to SIGKILL.
    #[arg(long, default_value_t = 30)]
    grace: u64,
    /// The worker's program and its words; in these, `{announce}` is the file that it writes
    /// its URL to.
    #[arg(last = true, required = true)]
    worker: Vec<OsString>,
}

#[tokio::main]
async fn main() -> ExitCode {
    tracing_subscriber::fmt()
        .with_max_level(LevelFilter::INFO)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .init();
    match run(Cli::parse()).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn run(cli: Cli) -> Result<(), Box<dyn Error>> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let policy = match &cli.policy {
        None => include_str!("policy.toml").to_owned(),
        Some(path) => {
            let text = std::fs::read_to_string(path);
            text.map_err(|error| format!("{}: {error}", path.display()))?
        }
    };
    let policy = Policy::from_toml(&policy)?;
    let limits = policy.limits().min..=policy.limits().max;
    let scaler = Scaler::new(policy)?;
    scaler.warnings().iter().for_each(|warning| warn!("the policy: {warning}"));

    // What requests pass, from the outside in.
    let lifecycle = Lifecycle::new(DrainSettings {
        propagation: Duration::from_millis(500),
        ..DrainSettings::default()
    })?;
    let load = InFlight::new();
    let pool = Arc::new(Pool::new(cli.strategy, outlier::Settings::default()));
    let proxy = Proxy::new(Arc::clone(&pool), proxy::Settings::default(), cli.hash_by);
    let proxy = Arc::new(proxy.keyed(cli.keyed));

    // Who answers them, and how many.
    let launch =
        Launch { command: cli.worker, ready: cli.ready, grace: Duration::from_secs(cli.grace) };
    let workers = Workers::new(launch, &pool)?;
    let processes = workers.processes.clone();
    let mut controller = Controller::new(scaler, processes.clone(), processes.clone())
        .source(load.meter())
        .source(WorkersCpu::new(processes.clone(), cli.cores))
        .every_millis(cli.every);
    if !cli.dry_run {
        controller = controller.act();
    }
    let Ok(_) = processes.set(&Resize::new(0, *limits.start())).await;

    let (listener, operators) =
        (TcpListener::bind(cli.listen).await?, TcpListener::bind(cli.admin).await?);
    announce(&[listener.local_addr()?, operators.local_addr()?])?;
    let wishes = Arc::new(Wishes::default());
    let admin = Arc::new(Admin {
        workers: workers.clone(),
        pool: Arc::clone(&pool),
        proxy: Arc::clone(&proxy),
        load: load.clone(),
        wishes: Arc::clone(&wishes),
        limits,
    });
    let cache = match cli.cache {
        0 => None,
        // A front keeps nothing that is of one user, whatever the worker says.
        mib => Some(HttpCacheLayer::builder(mib << 20).name("front").no_cookies().build()?),
    };
    let front = serve::front(listener, proxy, cache, load, lifecycle.clone());
    tokio::pin!(front);
    let looks_after = async {
        tokio::join!(
            processes.supervise(),
            workers.tell(&pool),
            controller.run(told),
            restarts(&workers, &wishes),
            resizes(&processes, &wishes),
            serve::admin(operators, admin),
        )
    };
    tokio::pin!(looks_after);

    tokio::select! {
        ended = &mut front => return Ok(ended?),
        _ = &mut looks_after => {}
        _ = terminate.recv() => info!("asked to stop: finishing what is in flight"),
        _ = interrupt.recv() => info!("asked to stop: finishing what is in flight"),
    }
    // The workers serve until the last request is answered.
    tokio::select! {
        (_, served) = async { tokio::join!(lifecycle.drain(), &mut front) } => served?,
        _ = &mut looks_after => {}
    }
    processes.stop().await;
    info!("stopped");
    Ok(())
}

/// Two lines, flushed: who started this process waits for them.
fn announce(addresses: &[SocketAddr]) -> std::io::Result<()> {
    let mut stdout = std::io::stdout().lock();
    for address in addresses {
        writeln!(stdout, "http://{address}")?;
    }
    stdout.flush()
}

/// Every decision that changes something, with its reasons.
fn told(report: &autoscale_policy::Report) {
    match &report.outcome {
        Outcome::Held => {}
        Outcome::Unobserved(_) | Outcome::Failed { .. } => warn!("{report}"),
        _ => info!("{report}"),
    }
    for (metric, failure) in &report.failures {
        if report.decision.as_ref().is_some_and(|decision| decision.action == Action::Hold) {
            warn!("{metric}: {failure}");
        }
    }
}

async fn restarts(workers: &Workers, wishes: &Wishes) {
    loop {
        wishes.restart.notified().await;
        workers.restart().await;
        wishes.restarting.store(false, Ordering::Release);
    }
}

async fn resizes(processes: &LocalProcesses, wishes: &Wishes) {
    loop {
        wishes.resize.notified().await;
        let now = processes.instances().len() as u32;
        let count = wishes.count.load(Ordering::Acquire);
        info!("{count} workers are asked for, and there are {now}");
        let Ok(_) = processes.set(&Resize::new(now, count)).await;
    }
}
