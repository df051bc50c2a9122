//! A reverse proxy in front of one origin, with the shared HTTP cache of `cache-aside` in it.
//!
//! ```text
//! client -> [ at the origin's address -> cache -> origin ] -> origin server
//! ```

mod address;
mod admin;
mod edge;
mod origin;
mod patient;
mod redis_url;
mod sent;

use std::error::Error;
use std::io::{self, IsTerminal, Write};
use std::net::SocketAddr;
use std::process::ExitCode;
use std::time::Duration;

use cache_aside::http::HttpCacheLayer;
use clap::Parser;
use tokio::net::TcpListener;
use tokio::runtime::{Builder, Runtime};
use tracing_subscriber::filter::LevelFilter;

use crate::address::Address;
use crate::origin::{Origin, Patience};
use crate::redis_url::RedisUrl;

/// A reverse proxy with a shared HTTP cache (RFC 9111) for one origin.
///
/// What is stored, and for how long, the origin's answers say; `Cache-Status` in each answer
/// tells what was done.
#[derive(Debug, Parser)]
#[command(version)]
struct Cli {
    /// The origin server, http://HOST:PORT.
    #[arg(long, value_name = "URL")]
    origin: Address,
    /// Where to listen; port 0 takes a free one. Prints the URL as the first line.
    #[arg(long, default_value = "127.0.0.1:8081")]
    listen: SocketAddr,
    /// Where the operator purges, if anywhere: POST /purge?uri=…, ?prefix=…, ?group=… or ?all,
    /// with &soft to make stale only. Prints the URL as the second line.
    #[arg(long, value_name = "ADDRESS")]
    admin: Option<SocketAddr>,
    /// How much is stored, in MiB.
    #[arg(long, default_value_t = 256, value_parser = clap::value_parser!(u64).range(1..=1_048_576))]
    memory: u64,
    /// The largest answer that is stored, in KiB; larger ones are passed through.
    #[arg(long, default_value_t = 8_192, value_parser = clap::value_parser!(u64).range(1..=4_194_304))]
    largest: u64,
    /// redis://user:password@host:port/database, where proxies of one origin share what is stored,
    /// and their purges. It may be down.
    #[arg(long, value_name = "URL", env = "HTTP_CACHE_REDIS", hide_env_values = true)]
    redis: Option<RedisUrl>,
    /// Sends the origin the `Host` of the client, and stores by it. By default it is the
    /// origin's own, so that a client's makes no difference.
    #[arg(long)]
    preserve_host: bool,
    /// Ignores the `Cache-Control` of clients, who could have every answer asked for anew.
    #[arg(long)]
    ignore_requests: bool,
    /// Seconds until a connection to the origin is there.
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u64).range(1..=60))]
    connect_timeout: u64,
    /// Seconds that the origin may take for the head of an answer once nothing more is sent, and
    /// then for each next piece of it.
    #[arg(long, default_value_t = 30, value_parser = clap::value_parser!(u64).range(1..=3_600))]
    read_timeout: u64,
    /// Threads that serve; 0 for one a core.
    #[arg(long, default_value_t = 0, value_parser = clap::value_parser!(u16).range(0..=256))]
    threads: u16,
}

impl Cli {
    fn runtime(&self) -> io::Result<Runtime> {
        match self.threads {
            0 => Builder::new_multi_thread().enable_all().build(),
            1 => Builder::new_current_thread().enable_all().build(),
            threads => {
                let mut builder = Builder::new_multi_thread();
                builder.worker_threads(threads.into()).enable_all().build()
            }
        }
    }

    fn cache(&self) -> Result<HttpCacheLayer, cache_aside::BuildError> {
        let builder = HttpCacheLayer::builder(self.memory << 20)
            .name("http-cache-proxy")
            .entry_limit(self.largest << 10);
        let builder =
            if self.ignore_requests { builder.ignore_request_directives() } else { builder };
        match &self.redis {
            Some(redis) => builder.l2(redis.store()?).build(),
            None => builder.build(),
        }
    }
}

fn main() -> ExitCode {
    tracing_subscriber::fmt()
        .with_max_level(LevelFilter::INFO)
        .with_writer(io::stderr)
        .with_ansi(io::stderr().is_terminal())
        .init();
    let cli = Cli::parse();
    let served =
        cli.runtime().map_err(Into::into).and_then(|runtime| runtime.block_on(run(cli)));
    match served {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn run(cli: Cli) -> Result<(), Box<dyn Error>> {
    let cache = cli.cache()?;
    let purge = cache.purge();
    let patience = Patience {
        connect: Duration::from_secs(cli.connect_timeout),
        read: Duration::from_secs(cli.read_timeout),
    };
    let origin = Origin::new(cli.origin.clone(), patience);

    let bind = async |address: SocketAddr| {
        let listener = TcpListener::bind(address).await;
        listener.map_err(|error| format!("cannot listen on {address}: {error}"))
    };
    let listener = bind(cli.listen).await?;
    let operators = match cli.admin {
        Some(address) => Some(bind(address).await?),
        None => None,
    };
    let stop = edge::asked_to_stop()?;
    {
        let mut stdout = io::stdout().lock();
        writeln!(stdout, "http://{}", listener.local_addr()?)?;
        if let Some(operators) = &operators {
            writeln!(stdout, "http://{}", operators.local_addr()?)?;
        }
        stdout.flush()?;
    }

    let service = edge::Edge::new(cache, origin, cli.origin, cli.preserve_host);
    let admin = async {
        match operators {
            Some(operators) => admin::serve(operators, purge).await,
            None => std::future::pending().await,
        }
    };
    tokio::select! {
        () = edge::serve(listener, service, stop) => {}
        () = admin => {}
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_options_do_not_contradict_each_other() {
        Cli::command().debug_assert();
    }
}
