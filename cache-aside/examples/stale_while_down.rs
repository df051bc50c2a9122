//! The origin goes down for a while; readers go on, and see the truth again as
//! soon as it is back. What was invalidated meanwhile is never served.
//!
//! `cargo run -p cache-aside --example stale_while_down`

use std::error::Error;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use cache_aside::{CacheAside, Moka};

#[derive(Default)]
struct Origin {
    down: AtomicBool,
    price: AtomicU64,
}

impl Origin {
    async fn price(&self) -> Result<u64, std::io::Error> {
        if self.down.load(Ordering::SeqCst) {
            return Err(std::io::Error::other("connection refused"));
        }
        Ok(self.price.load(Ordering::SeqCst))
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let prices: CacheAside<u64, u64> = CacheAside::builder("price")
        .l1(Moka::entries(1_000))
        .ttl(Duration::from_millis(200))
        .stale_while_revalidate(Duration::from_millis(200))
        .stale_if_error(Duration::from_secs(60))
        .build()?;
    let origin = Arc::new(Origin::default());
    origin.price.store(100, Ordering::SeqCst);
    let read = || {
        prices.get_or_load(&7, |_| {
            let origin = Arc::clone(&origin);
            async move { origin.price().await }
        })
    };
    let shown = |outcome: &Result<Option<Arc<u64>>, _>| match outcome {
        Ok(price) => format!("{}", price.as_deref().copied().unwrap_or_default()),
        Err(error) => format!("{error}"),
    };

    let mut failures = 0;
    for tenth in 0..20 {
        match tenth {
            3 => origin.down.store(true, Ordering::SeqCst),
            14 => {
                origin.price.store(120, Ordering::SeqCst);
                origin.down.store(false, Ordering::SeqCst);
            }
            _ => {}
        }
        let outcome = read().await;
        failures += u32::from(outcome.is_err());
        let state = if origin.down.load(Ordering::SeqCst) { "down" } else { "up" };
        println!(
            "{:.1} s  origin {state:4}  read {:4} {}",
            f64::from(tenth) / 10.0,
            shown(&outcome),
            prices.explain(&7).await
        );
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert_eq!(failures, 0, "a read failed although a stale value was there");
    assert_eq!(read().await?, Some(Arc::new(120)));

    println!(
        "\nthe price is written elsewhere, its key invalidated, and the origin goes down:"
    );
    origin.down.store(true, Ordering::SeqCst);
    prices.invalidate(&7).await?;
    let outcome = read().await;
    println!("read: {}, rather than a price that is known to be old", shown(&outcome));
    assert!(outcome.is_err());
    Ok(())
}
