//! What becomes of requests while Redis is away.

use std::fmt;
use std::time::{Duration, Instant};

use testbed::redis::Redis;

use super::shop::{Shop, Storefront};
use super::table::number;

/// A load at full speed, in which Redis was killed and came back without its data.
pub(crate) struct Outage {
    killed: Duration,
    back: Duration,
    seconds: u32,
    pub(crate) requests: f64,
    pub(crate) failures: f64,
    p99: f64,
    max: f64,
    queries_per_read: f64,
    errors: f64,
    unannounced: f64,
    /// The share of reads that Redis answered after it.
    recovered: f64,
}

impl Outage {
    pub(crate) async fn during(
        storefront: &Storefront,
        shops: &[Shop],
        redis: &Redis,
        seconds: u32,
    ) -> Result<Self, String> {
        let began = Instant::now();
        let third = Duration::from_secs(seconds.into()) / 3;
        let fault = async {
            let text = |error: testbed::Error| error.to_string();
            tokio::time::sleep(third).await;
            redis.kill().await.map_err(text)?;
            let killed = began.elapsed();
            tokio::time::sleep(third).await;
            redis.restart_empty().await.map_err(text)?;
            Ok((killed, began.elapsed()))
        };
        let (load, (killed, back)) =
            tokio::try_join!(storefront.load(shops, seconds, None), fault)?;
        // The breakers close within a second or so.
        let after = storefront.load(shops, 2, Some(super::RATE)).await?;
        Ok(Self {
            killed,
            back,
            seconds,
            requests: number(&load, "/requests")? + number(&after, "/requests")?,
            failures: number(&load, "/failures")? + number(&after, "/failures")?,
            p99: number(&load, "/latency_ms/p99")?,
            max: number(&load, "/latency_ms/max")?,
            queries_per_read: number(&load, "/database/queries_per_read")?,
            errors: number(&load, "/redis/errors")?,
            unannounced: number(&load, "/redis/unannounced")?,
            recovered: number(&after, "/cache/redis_ratio")?,
        })
    }

    /// Whether no request failed, although Redis was missed, and whether it is used again.
    pub(crate) fn judge(&self) -> Result<(), String> {
        if self.failures > 0.0 {
            let Self { failures, requests, .. } = self;
            return Err(format!("{failures} of {requests} requests failed without Redis"));
        }
        if self.errors == 0.0 {
            return Err("nobody missed Redis, so nothing was shown".to_owned());
        }
        if self.recovered == 0.0 {
            return Err("Redis is back, and the shop does not use it".to_owned());
        }
        Ok(())
    }
}

impl fmt::Display for Outage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { seconds, failures, p99, max, queries_per_read, unannounced, .. } = self;
        writeln!(
            f,
            "Redis was killed at {:.1} s and started again, empty, at {:.1} s of a run of \
             {seconds} s\nat full speed; failed requests: {failures:.0}.",
            self.killed.as_secs_f64(),
            self.back.as_secs_f64(),
        )?;
        writeln!(
            f,
            "In that run: {queries_per_read:.3} database queries per read, p99 {p99:.1} ms, the \
             slowest answer {max:.0} ms;\n{unannounced:.0} changes were saved before Redis could \
             hear of them.",
        )?;
        write!(f, "After it, Redis answered {:.1} % of reads.", self.recovered * 100.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outage() -> Outage {
        Outage {
            killed: Duration::from_secs(2),
            back: Duration::from_secs(4),
            seconds: 6,
            requests: 1e5,
            failures: 0.0,
            p99: 5.0,
            max: 300.0,
            queries_per_read: 0.5,
            errors: 12.0,
            unannounced: 7.0,
            recovered: 0.2,
        }
    }

    #[test]
    fn an_outage_that_nobody_notices_but_the_shop_is_good() {
        assert_eq!(outage().judge(), Ok(()));
        let said = outage().to_string();
        assert!(said.contains("killed at 2.0 s and started again, empty, at 4.0 s"), "{said}");
        assert!(said.contains("failed requests: 0."), "{said}");
    }

    #[test]
    fn failures_no_outage_and_no_recovery_are_not() {
        assert!(Outage { failures: 1.0, ..outage() }.judge().is_err());
        assert!(Outage { errors: 0.0, ..outage() }.judge().is_err());
        assert!(Outage { recovered: 0.0, ..outage() }.judge().is_err());
    }
}
