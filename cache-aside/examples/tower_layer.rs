//! A cache around a tower service, which need not know about it.
//!
//! `cargo run -p cache-aside --example tower_layer`

use std::time::{Duration, Instant};

use cache_aside::{CacheAside, CacheAsideLayer, Loaded, Moka};
use tower::limit::ConcurrencyLimitLayer;
use tower::{BoxError, ServiceBuilder, ServiceExt};

#[derive(Clone)]
struct GetRate {
    from: &'static str,
    to: &'static str,
    /// Whether the answer must come from the source.
    exact: bool,
}

/// A slow source that says for how long its answer holds.
async fn rate(request: GetRate) -> Result<Loaded<f64>, BoxError> {
    tokio::time::sleep(Duration::from_millis(50)).await;
    match (request.from, request.to) {
        ("EUR", "USD") => Ok(Loaded::value(1.08).ttl(Duration::from_secs(30))),
        ("XXX", _) => Err("the exchange does not answer".into()),
        _ => Ok(Loaded::absent()),
    }
}

#[tokio::main]
#[allow(clippy::disallowed_methods)] // it shows how long a call takes
async fn main() -> Result<(), BoxError> {
    let rates: CacheAside<(&'static str, &'static str), f64> =
        CacheAside::builder("rate").l1(Moka::entries(1_000)).build()?;

    let service = ServiceBuilder::new()
        .layer(CacheAsideLayer::new(rates.clone(), |request: &GetRate| {
            (!request.exact).then_some((request.from, request.to))
        }))
        // Below the cache: it limits loads, and hits never wait for it.
        .layer(ConcurrencyLimitLayer::new(2))
        .service_fn(rate);

    let ask = |from, exact| service.clone().oneshot(GetRate { from, to: "USD", exact });
    for (what, exact) in [("a miss", false), ("a hit", false), ("past the cache", true)] {
        let began = Instant::now();
        let rate = ask("EUR", exact).await?.expect("the pair is traded");
        println!("{what:15} {rate} in {:.1?}", began.elapsed());
        assert!(exact || what == "a miss" || began.elapsed() < Duration::from_millis(50));
    }
    println!(
        "an error        {}",
        BoxError::from(ask("XXX", false).await.expect_err("it fails"))
    );
    println!("{}", rates.explain(&("EUR", "USD")).await);
    Ok(())
}
