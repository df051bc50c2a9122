//! `storefront serve`: from the options to a server that ends in good order.

use std::error::Error;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use autoscale_policy::Lifecycle;
use axum::Router;
use axum::serve::{Listener, ListenerExt, TapIo};
use cache_aside::BuildError;
use clap::{Args, ValueEnum};
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle};
use rw_split::ConsistencyLayer;
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{interval, sleep};
use tracing::{info, warn};

use crate::app;
use crate::db::Reads;
use crate::https::Https;
use crate::login;
use crate::orders::{Shards, follows, settle};
use crate::read_path::Caching;
use crate::redis_url::RedisUrl;
use crate::servers::Servers;
use crate::sessions;
use crate::shutdown::asked_to_stop;
use crate::worker;

/// How long requests in flight may take after connections are closed.
pub(crate) const DRAIN: Duration = Duration::from_secs(10);

/// How long the last answers may take to be sent.
const LAST: Duration = Duration::from_secs(1);

/// Options of `storefront serve`.
#[derive(Args, Debug)]
pub(crate) struct Options {
    /// Where to listen; port 0 takes a free one.
    #[arg(long, default_value = "127.0.0.1:3000")]
    pub(crate) listen: SocketAddr,
    /// Where reads are cached.
    #[arg(long, value_enum, default_value_t = Cache::Local)]
    cache: Cache,
    /// redis://user:password@host:port/database, for `--cache shared`. It may be down.
    #[arg(long, env = "REDIS_URL", hide_env_values = true, required_if_eq("cache", "shared"))]
    redis: Option<RedisUrl>,
    /// For how many milliseconds a read waits for Redis before it asks the database.
    #[arg(long, default_value_t = 250, value_parser = clap::value_parser!(u64).range(1..=60_000))]
    redis_timeout: u64,
    /// Loads the whole catalogue into the cache before the shop is ready.
    #[arg(long)]
    warm: bool,
    /// The most connections to each server of the database.
    #[arg(long, default_value_t = 16, value_parser = clap::value_parser!(u32).range(1..=1_000))]
    pub(crate) connections: u32,
    /// With replicas, of the shop's database or of shards: which servers reads may go to.
    #[arg(long, value_enum, default_value_t)]
    pub(crate) reads: Reads,
    /// Serves HTTPS, with a certificate for this machine that is made at the start and written
    /// to this file, for clients to trust.
    #[arg(long, value_name = "FILE.pem")]
    https: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) shards: Shards,
    #[command(flatten)]
    pub(crate) worker: worker::InFleet,
    #[command(flatten)]
    pub(crate) sessions: sessions::Cookies,
    #[command(flatten)]
    pub(crate) login: login::Settings,
}

/// Where reads are cached.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Cache {
    /// Nowhere: each asks the database.
    Off,
    /// In this process.
    #[value(alias = "on")]
    Local,
    /// In Redis, for all processes of the shop.
    Shared,
}

impl Options {
    /// What stands before the database.
    ///
    /// # Errors
    ///
    /// A URL of Redis that is none.
    pub(crate) fn caching(&self) -> Result<Caching, BuildError> {
        Ok(match (self.cache, &self.redis) {
            (Cache::Off, _) => Caching::Off,
            (Cache::Shared, Some(redis)) => Caching::Shared {
                redis: redis.store()?,
                timeout: Duration::from_millis(self.redis_timeout),
            },
            // Without a URL clap refuses `shared`.
            (Cache::Local | Cache::Shared, _) => Caching::Local,
        })
    }

    /// Sessions, where reads may go to a server that lags: in the shop's database, or on a
    /// shard. One layer follows users on all of them.
    ///
    /// # Errors
    ///
    /// A key that is missing or weak, and a topology that cannot be read.
    pub(crate) fn sessions(
        &self,
        servers: &Servers,
    ) -> Result<Option<ConsistencyLayer>, Box<dyn Error>> {
        let on_shards = |file: &PathBuf| follows(file, self.reads);
        let needed = self.reads.follows(servers.0.len())
            || self.shards.file.as_ref().map_or(Ok(false), on_shards)?;
        Ok(needed.then(|| self.sessions.layer(self.listen)).transpose()?)
    }
}

/// Serves until SIGTERM or Ctrl-C. The first line on stdout is the shop's URL, printed when
/// it is ready.
///
/// # Errors
///
/// When the shop cannot start.
pub(crate) async fn run(servers: Servers, options: Options) -> Result<(), Box<dyn Error>> {
    if options.warm && options.cache == Cache::Off {
        return Err("--warm fills the cache, and --cache off leaves it out; drop one".into());
    }
    let stop = asked_to_stop()?;
    // Before anything that counts: handles bind to the recorder that is there.
    let prometheus = PrometheusBuilder::new().install_recorder()?;
    let lifecycle = options.worker.lifecycle()?;
    let (shop, router) = app::open(servers, &options, &lifecycle, prometheus.clone()).await?;
    let listener = TcpListener::bind(options.listen).await;
    let listener = listener.map_err(|e| format!("cannot listen on {}: {e}", options.listen))?;
    if options.warm {
        let warm = shop.products.warm().await.map_err(|e| e.what)?;
        info!("{warm} products are in the cache");
    }

    let address = listener.local_addr()?;
    let announce = |scheme| options.worker.announce(scheme, address);
    let ending = ending(lifecycle.clone(), options.worker.drains(), stop);
    let served = async {
        match &options.https {
            None => {
                announce("http")?;
                serve(listener.tap_io(|tcp| at_once(tcp)), router, lifecycle, ending).await?;
            }
            Some(certificate) => {
                let https = Https::new(listener, certificate)?;
                announce("https")?;
                let https = https.tap_io(|tls| at_once(tls.get_ref().0));
                serve(https, router, lifecycle, ending).await?;
            }
        }
        Ok::<_, Box<dyn Error>>(())
    };
    tokio::select! {
        served = served => served?,
        () = upkeep(prometheus) => {}
        () = settle(&shop) => {}
    }
    info!("stopped");
    Ok(())
}

fn at_once(tcp: &TcpStream) {
    if let Err(e) = tcp.set_nodelay(true) {
        info!("a connection without TCP_NODELAY: {e}");
    }
}

async fn serve<L, F>(
    listener: TapIo<L, F>,
    router: Router,
    lifecycle: Lifecycle,
    ending: impl Future<Output = ()>,
) -> io::Result<()>
where
    L: Listener<Addr = SocketAddr>,
    F: FnMut(&mut L::Io) + Send + 'static,
{
    // Handlers may ask where a request comes from.
    let router = router.into_make_service_with_connect_info::<SocketAddr>();
    let closing = lifecycle.clone();
    let server = axum::serve(listener, router)
        .with_graceful_shutdown(async move { closing.closing().await });
    lifecycle.ready();
    tokio::select! {
        served = server => served,
        () = ending => Ok(()),
    }
}

/// Ends when the shop is to end: asked to stop, with nothing in flight any more if it drains.
async fn ending(lifecycle: Lifecycle, drains: bool, stop: impl Future<Output = ()>) {
    stop.await;
    if !drains {
        info!("asked to stop: what is in flight is cut off");
        return;
    }
    info!("asked to stop: finishing what is in flight");
    if lifecycle.drain().await.cut_off > 0 {
        warn!("requests were still in flight after {DRAIN:?}");
    }
    // What was answered is sent, if its client reads.
    sleep(LAST).await;
}

/// Keeps the recorder's histograms from growing while nobody scrapes them.
async fn upkeep(prometheus: PrometheusHandle) {
    let mut every = interval(Duration::from_secs(5));
    loop {
        every.tick().await;
        prometheus.run_upkeep();
    }
}
