//! What a front needs of a process of the shop: where it listens, whether it is ready, and an
//! end that fails no request.

use std::fs;
use std::io::{self, Write};
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use autoscale_policy::{DrainError, DrainLayer, DrainSettings, Lifecycle, ReadinessService};
use axum::Router;
use axum::extract::{ConnectInfo, Request};
use axum::http::HeaderMap;
use axum::middleware::map_request;
use axum::routing::get;
use clap::{Args, ValueEnum};

use crate::serve::DRAIN;

/// Options of `storefront serve` for a process behind a front.
#[derive(Args, Debug)]
pub(crate) struct InFleet {
    /// Writes the shop's URL to this file, too, when the shop is ready.
    #[arg(long, value_name = "FILE")]
    announce: Option<PathBuf>,
    /// For how many milliseconds the shop serves on after it was asked to stop: until whoever
    /// sends it requests has seen at /readyz that it is to get no more.
    #[arg(long, default_value_t = 0, value_parser = clap::value_parser!(u64).range(0..=60_000))]
    propagation: u64,
    /// What happens at the end. With `off` nothing is waited for, neither whoever sends requests
    /// nor those in flight: they fail. For comparison.
    #[arg(long, value_enum, default_value_t)]
    drain: Drain,
    /// Believes X-Forwarded-For. Only for a shop that nobody reaches but through a front that
    /// sets it.
    #[arg(long)]
    behind_front: bool,
}

/// What becomes of requests when the shop is asked to stop.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum Drain {
    /// They are answered.
    #[default]
    On,
    /// They are cut off.
    Off,
}

impl InFleet {
    /// Whether requests in flight are answered before the end.
    pub(crate) fn drains(&self) -> bool {
        self.drain == Drain::On
    }

    pub(crate) fn lifecycle(&self) -> Result<Lifecycle, DrainError> {
        let propagation = Duration::from_millis(self.propagation);
        let deadline = propagation + DRAIN;
        Lifecycle::new(DrainSettings { propagation, deadline, ..DrainSettings::default() })
    }

    /// What is around all that the shop does.
    pub(crate) fn around(&self, router: Router, lifecycle: &Lifecycle) -> Router {
        let readiness = ReadinessService::new(lifecycle.clone());
        let router = if self.drains() {
            router.layer(DrainLayer::new(lifecycle.clone()))
        } else {
            router
        };
        let router = router
            // Beside the drain: it answers as long as there is somebody to ask.
            .route("/readyz", get(move || async move { readiness.answer() }));
        if self.behind_front { router.layer(map_request(from_its_client)) } else { router }
    }

    /// One line, flushed: who started this process waits for it, here or at the file.
    pub(crate) fn announce(&self, scheme: &str, address: SocketAddr) -> io::Result<()> {
        let url = format!("{scheme}://{address}\n");
        if let Some(file) = &self.announce {
            // Nobody reads half of it.
            let whole = file.with_extension("new");
            fs::write(&whole, &url)?;
            fs::rename(&whole, file)?;
        }
        let mut stdout = io::stdout().lock();
        stdout.write_all(url.as_bytes())?;
        stdout.flush()
    }
}

/// A request comes from where the front says.
async fn from_its_client(mut request: Request) -> Request {
    if let Some(client) = client(request.headers()) {
        request.extensions_mut().insert(ConnectInfo(SocketAddr::new(client, 0)));
    }
    request
}

/// The last one: those before it are what the client says.
fn client(headers: &HeaderMap) -> Option<IpAddr> {
    let last = headers.get_all("x-forwarded-for").iter().next_back()?;
    last.to_str().ok()?.rsplit(',').next()?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use axum::body::Body;
    use axum::http::StatusCode;
    use tower::ServiceExt;

    use super::*;

    fn options(behind_front: bool) -> InFleet {
        InFleet { announce: None, propagation: 0, drain: Drain::On, behind_front }
    }

    async fn ask(router: &Router, path: &str, forwarded: &[&str]) -> (StatusCode, String) {
        let mut request = Request::builder().uri(path);
        for line in forwarded {
            request = request.header("x-forwarded-for", *line);
        }
        let peer = ConnectInfo(SocketAddr::from(([127, 0, 0, 1], 4711)));
        let request = request.extension(peer).body(Body::empty()).unwrap();
        let answer = router.clone().oneshot(request).await.unwrap();
        let status = answer.status();
        let body = axum::body::to_bytes(answer.into_body(), 1_000).await.unwrap();
        (status, String::from_utf8(body.to_vec()).unwrap())
    }

    fn shop() -> Router {
        let from =
            |ConnectInfo(peer): ConnectInfo<SocketAddr>| async move { peer.ip().to_string() };
        Router::new().route("/from", get(from))
    }

    #[tokio::test]
    async fn only_behind_a_front_is_it_believed_where_a_request_comes_from() {
        let lifecycle = options(true).lifecycle().unwrap();
        let router = options(true).around(shop(), &lifecycle);
        let from = async |lines: &[&str]| ask(&router, "/from", lines).await.1;
        assert_eq!(from(&["192.0.2.1"]).await, "192.0.2.1");
        assert_eq!(
            from(&["10.0.0.1, 192.0.2.1"]).await,
            "192.0.2.1",
            "what the front has added"
        );
        assert_eq!(from(&["10.0.0.1", "2001:db8::1"]).await, "2001:db8::1");
        assert_eq!(from(&["nobody"]).await, "127.0.0.1");
        assert_eq!(from(&[]).await, "127.0.0.1");

        let open = options(false).around(shop(), &lifecycle);
        assert_eq!(ask(&open, "/from", &["192.0.2.1"]).await.1, "127.0.0.1");
    }

    #[tokio::test(start_paused = true)]
    async fn a_shop_is_ready_from_its_beginning_to_the_word_to_stop() {
        let lifecycle = options(false).lifecycle().unwrap();
        let router = options(false).around(shop(), &lifecycle);
        let ready = async || ask(&router, "/readyz", &[]).await.0;
        assert_eq!(ready().await, StatusCode::SERVICE_UNAVAILABLE);
        lifecycle.ready();
        assert_eq!(ready().await, StatusCode::OK);
        lifecycle.drain().await;
        assert_eq!(ready().await, StatusCode::SERVICE_UNAVAILABLE);
    }
}
