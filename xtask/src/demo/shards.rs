//! The storefront with its orders on two shards, each with its primary: what goes to one of
//! them, and what to both.

use std::fmt;
use std::time::Duration;

use serde_json::Value;
use testbed::postgres::{Client, Postgres};

use super::close;
use super::shop::{Shop, Storefront};
use super::table::number;

/// The database of users and products, on the server that there is.
pub(super) const DATABASE: &str = "sharded";

const NAMES: [&str; 2] = ["orders-1", "orders-2"];

/// The processes of the shop.
const PROCESSES: usize = 2;

const SEEDED: [&str; 4] = ["--products", "1000", "--users", "1000"];

/// Users at once, of whom half of all requests are writes, and half of these are orders.
const VISIT: [&str; 6] = ["--sessions", "300", "--think", "0.3", "--writes", "50"];

/// Scatters that a report on orders asks for: the newest, how many, how many units.
const SCATTERS: u64 = 3;

/// What one shard has, and what it was asked.
#[derive(Clone, Copy, Default)]
struct Part {
    seeded: u64,
    placed: u64,
    /// Orders of users whose slot it does not own.
    strays: u64,
    /// Requests for one user.
    requests: u64,
}

/// The figures.
pub(super) struct Shards {
    parts: [Part; 2],
    reports: u64,
    scatters: u64,
    /// Orders in the last report.
    reported: u64,
    /// What users were told: orders that are saved, reads without what they wrote, failures.
    acknowledged: f64,
    stale_reads: f64,
    failures: f64,
}

impl Shards {
    pub(super) async fn show(postgres: &Postgres, seconds: u32) -> Result<Self, String> {
        let text = |error: testbed::Error| error.to_string();
        let servers = tokio::try_join!(Postgres::start(), Postgres::start()).map_err(text)?;
        let servers = [servers.0, servers.1];
        let shards = [(NAMES[0], servers[0].url()), (NAMES[1], servers[1].url())];
        let storefront = Storefront::on_shards(postgres.url_of(DATABASE), &shards).await?;
        println!("\n== two shards: {}", storefront.seed_with(&SEEDED).await?.trim());
        let mut parts = [Part::default(); 2];
        for (part, server) in parts.iter_mut().zip(&servers) {
            part.seeded = count(&server.client().await.map_err(text)?, ORDERS).await?;
        }
        let mut shops: Vec<Shop> = Vec::new();
        for n in 0..PROCESSES {
            shops.push(storefront.open(&format!("sharded-{n}"), &["--cache", "off"]).await?);
        }

        let seconds = (seconds / 3).max(1);
        println!("== two shards: {seconds} s of users who order, and of reports meanwhile");
        let (visit, reports) = visited(&storefront, &shops, seconds).await?;
        let reported = report(&shops[0]).await?;

        for ((part, server), name) in parts.iter_mut().zip(&servers).zip(NAMES) {
            let client = server.client().await.map_err(text)?;
            part.placed = count(&client, ORDERS).await?.saturating_sub(part.seeded);
            part.strays = count(&client, STRAYS).await?;
            for shop in &shops {
                let labels = format!("shard={name:?}");
                part.requests +=
                    shop.counter("shard_router_shard_requests_total", &labels).await?;
            }
        }
        let mut scatters = 0;
        for shop in &shops {
            scatters += shop.counter("shard_router_scatters_total", "").await?;
        }
        let figures = Self {
            parts,
            reports: 1 + reports,
            scatters,
            reported,
            acknowledged: number(&visit, "/orders")?,
            stale_reads: number(&visit, "/stale_reads")?,
            failures: number(&visit, "/failures")?,
        };
        close(&mut shops).await?;
        for server in &servers {
            server.stop().await.map_err(text)?;
        }
        Ok(figures)
    }

    fn sum(&self, of: fn(&Part) -> u64) -> u64 {
        self.parts.iter().map(of).sum()
    }

    /// Whether each order is where its user's slot is, all of them are in the report, and only
    /// reports have asked both shards.
    pub(super) fn judge(&self) -> Result<(), String> {
        let Self { parts, reports, scatters, reported, .. } = self;
        let placed = self.sum(|part| part.placed);
        if self.failures > 0.0 || self.stale_reads > 0.0 {
            let Self { failures, stale_reads, .. } = self;
            return Err(format!(
                "two shards: {failures} requests failed, and {stale_reads} reads lacked what \
                 their user had written"
            ));
        }
        if parts.iter().any(|part| part.strays > 0) {
            return Err("two shards: there are orders on a wrong shard".to_owned());
        }
        if parts.iter().any(|part| part.placed == 0 || part.requests < part.placed) {
            return Err("two shards: one of them has nothing to do".to_owned());
        }
        if placed as f64 != self.acknowledged {
            let told = self.acknowledged;
            return Err(format!("two shards: users were told of {told} orders, not {placed}"));
        }
        let all = placed + self.sum(|part| part.seeded);
        if *reported != all {
            return Err(format!("two shards: the report has {reported} orders, not {all}"));
        }
        if *scatters != SCATTERS * reports {
            return Err(format!(
                "two shards: {scatters} scatters for {reports} reports: something else asks all \
                 shards, too"
            ));
        }
        Ok(())
    }
}

/// Lets users in, and looks at the report now and then; returns the visit's report, and how often
/// that was.
async fn visited(
    storefront: &Storefront,
    shops: &[Shop],
    seconds: u32,
) -> Result<(Value, u64), String> {
    let mut options: Vec<String> = VISIT.iter().map(ToString::to_string).collect();
    options.extend(["--seconds".to_owned(), seconds.to_string()]);
    let visit = storefront.visit(shops, &options);
    tokio::pin!(visit);
    let mut reports = 0;
    for shop in shops.iter().cycle() {
        tokio::select! {
            visit = &mut visit => return Ok((visit?, reports)),
            () = tokio::time::sleep(Duration::from_millis(200)) => {
                report(shop).await?;
                reports += 1;
            }
        }
    }
    Err("there is no shop to visit".to_owned())
}

const ORDERS: &str = "SELECT count(*) FROM storefront.orders";

/// Those whose slot, by the server's own hash, is none of those that the shard owns.
const STRAYS: &str = "
    SELECT count(*) FROM storefront.orders WHERE NOT EXISTS (
        SELECT FROM shard_router.owned
        WHERE ((hashint8extended(user_id, 8816678312871386365) & 16383) + 10467) & 16383
              BETWEEN first AND last
    )";

async fn count(client: &Client, sql: &str) -> Result<u64, String> {
    let row = client.query_one(sql, &[]).await.map_err(|error| error.to_string())?;
    Ok(row.get::<_, i64>(0).unsigned_abs())
}

/// How many orders there are, by the shop's report.
async fn report(shop: &Shop) -> Result<u64, String> {
    let report: Value = serde_json::from_str(&shop.get("/reports/orders").await?)
        .map_err(|error| format!("the report on orders: {error}"))?;
    let orders = report["orders"].as_u64();
    orders.ok_or_else(|| format!("the report on orders has no number of them: {report}"))
}

impl fmt::Display for Shards {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        type Cell = fn(&Part) -> u64;
        let rows: [(&str, Cell); 4] = [
            ("orders that were seeded", |part| part.seeded),
            ("orders that users placed", |part| part.placed),
            ("orders on a wrong shard", |part| part.strays),
            ("requests for one user", |part| part.requests),
        ];
        writeln!(f, "{:30}{:>14}{:>14}{:>14}", "", NAMES[0], NAMES[1], "both")?;
        for (label, cell) in rows {
            let [one, two] = self.parts.each_ref().map(cell);
            writeln!(f, "{label:30}{one:>14}{two:>14}{:>14}", one + two)?;
        }
        writeln!(f, "{:58}{:>14}", "scatters over both", self.scatters)?;
        writeln!(f, "{:58}{:>14}", "orders in the report over both", self.reported)?;
        write!(f, "{:58}{:>14}", "failed requests", self.failures)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn whole() -> Shards {
        let part = |placed| Part { seeded: 2_500, placed, strays: 0, requests: 3 * placed };
        Shards {
            parts: [part(190), part(210)],
            reports: 5,
            scatters: 15,
            reported: 5_400,
            acknowledged: 400.0,
            stale_reads: 0.0,
            failures: 0.0,
        }
    }

    #[test]
    fn what_adds_up_is_enough() {
        assert_eq!(whole().judge(), Ok(()));
        assert!(whole().to_string().contains("5400"));
    }

    #[test]
    fn everything_else_is_not() {
        let with = |change: fn(&mut Shards)| {
            let mut figures = whole();
            change(&mut figures);
            figures.judge()
        };
        let wrong: [fn(&mut Shards); 8] = [
            |figures| figures.failures = 1.0,
            |figures| figures.stale_reads = 1.0,
            |figures| figures.parts[1].strays = 1,
            |figures| figures.parts[0] = Part { placed: 0, ..figures.parts[0] },
            |figures| figures.parts[0].requests = 1,
            |figures| figures.acknowledged = 401.0,
            |figures| figures.reported = 5_399,
            |figures| figures.scatters = 16,
        ];
        for (number, wrong) in wrong.into_iter().enumerate() {
            assert!(with(wrong).is_err(), "{number}");
        }
    }
}
