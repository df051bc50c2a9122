//! Two processes of a shop whose database has a replica, as each of its two shards has: three
//! clusters, of which one's position says nothing of another.

use std::fs;

use serde_json::Value;
use testbed::postgres::{Postgres, Replica};
use testbed::redis::Redis;
use testbed::{Folder, eventually};

use crate::replicas::{Browser, KEY, account};
use crate::shards::{SHARDS, user_on, wish};
use crate::shop::{DEADLINE, Shop, seed};

/// A primary and its replica.
pub(crate) struct Pair {
    pub(crate) primary: Postgres,
    pub(crate) replica: Replica,
}

impl Pair {
    pub(crate) async fn start() -> Self {
        let primary = Postgres::start().await.unwrap();
        let replica = primary.replica().await.unwrap();
        Self { primary, replica }
    }

    /// Of both, for whoever writes.
    pub(crate) fn url(&self) -> String {
        let (primary, replica) = (self.primary.addr(), self.replica.addr());
        let both = format!("{primary},{replica}");
        let url = self.primary.url().replace(&primary.to_string(), &both);
        format!("{url}?target_session_attrs=read-write")
    }
}

struct Bed {
    main: Pair,
    shards: [Pair; 2],
    folder: Folder,
}

impl Bed {
    /// Seeded; from then on the replicas replay nothing.
    async fn seeded() -> Self {
        let (main, one, two) = tokio::join!(Pair::start(), Pair::start(), Pair::start());
        let folder = Folder::new("storefront").await.unwrap();
        let bed = Self { main, shards: [one, two], folder };
        let mut text = "key = [\"bigint\"]\n".to_owned();
        for (name, shard) in SHARDS.iter().zip(&bed.shards) {
            let url = shard.url();
            text += &format!("[[shards]]\nname = \"{name}\"\nconnection = \"{url}\"\n");
        }
        fs::write(bed.folder.path().join("shards.toml"), text).unwrap();
        seed(&bed.folder, &bed.main.primary, &["--shards", &bed.file()]).await;
        for Pair { replica, .. } in bed.pairs() {
            replica.caught_up(DEADLINE).await.unwrap();
            replica.pause_replay().await.unwrap();
        }
        bed
    }

    fn pairs(&self) -> impl Iterator<Item = &Pair> {
        self.shards.iter().chain([&self.main])
    }

    fn file(&self) -> String {
        self.folder.path().join("shards.toml").to_str().unwrap().to_owned()
    }

    async fn shops(&self, options: &[&str]) -> [Shop; 2] {
        let urls = [self.main.replica.url(), self.main.primary.url()].join(",");
        let file = self.file();
        let fixed = ["--shards", &file, "--token-key", KEY, "--development-cookies"];
        let options = [&fixed, options].concat();
        [
            Shop::open(&self.folder, "one", &urls, &options).await,
            Shop::open(&self.folder, "two", &urls, &options).await,
        ]
    }
}

async fn order(browser: &mut Browser, shop: &Shop, user: i64) -> Value {
    let path = format!("/users/{user}/orders");
    let answer = browser.send(shop, "POST", &path, &wish(5, 1)).await;
    assert_eq!(answer.status, 201, "{answer:?}");
    answer.json()
}

async fn move_to(browser: &mut Browser, shop: &Shop, user: i64, city: &str) {
    let mut revised = account(city);
    revised["email"] = format!("user{user}@example.org").into();
    let answer = browser.send(shop, "PUT", &format!("/users/{user}"), &revised).await;
    assert_eq!(answer.status, 200, "{answer:?}");
}

/// What a user writes through one process the same user reads through the other, wherever it
/// is; and the replicas serve everybody else.
#[tokio::test]
async fn users_read_their_writes_on_every_cluster_and_process() {
    let bed = Bed::seeded().await;
    let shops = bed.shops(&["--cache", "off"]).await;
    for shard in 0..2 {
        let user = user_on(shard);
        let (profile, list) = (format!("/users/{user}"), format!("/users/{user}/orders"));
        let (mut browser, mut stranger) = (Browser::default(), Browser::default());
        let seeded = stranger.get(&shops[1], &profile).await;
        for n in 0..6 {
            let (here, there) = (&shops[n % 2], &shops[1 - n % 2]);
            let city = format!("City {n}");
            // In either order: a write on one cluster does not drop the floor of another.
            if n % 3 == 0 {
                move_to(&mut browser, here, user, &city).await;
            }
            let placed = order(&mut browser, here, user).await;
            if n % 3 != 0 {
                move_to(&mut browser, here, user, &city).await;
            }
            assert_eq!(browser.get(there, &list).await[0], placed);
            let shown = browser.get(there, &profile).await;
            assert_eq!((&shown["city"], &shown["last_orders"][0]), (&city.into(), &placed));
        }
        for shop in &shops {
            assert_eq!(stranger.get(shop, &profile).await, seeded);
        }
    }
    for shop in &shops {
        let routed = "rw_split_requests_total";
        assert!(shop.counter(routed, "target=\"replica\"").await > 0);
        assert!(shop.counter(routed, "reason=\"behind\"").await >= 12);
        let metrics = shop.get("/metrics").await.body;
        assert!(metrics.contains("\nrw_split_clamps_total 0\n"), "a floor was dropped");
        shop.is_unharmed();
    }
}

/// A cached profile is for all: it is not older than its last change, on whichever cluster that
/// was, though it is loaded from replicas that replay nothing.
#[tokio::test]
async fn a_cached_profile_is_not_older_than_what_its_user_wrote() {
    let bed = Bed::seeded().await;
    let redis = Redis::start().await.unwrap();
    let url = redis.url();
    let patient = ["--cache", "shared", "--redis", &url, "--redis-timeout", "10000"];
    let shops = bed.shops(&patient).await;
    for shard in 0..2 {
        let user = user_on(shard);
        let profile = format!("/users/{user}");
        let mut browser = Browser::default();
        let seeded = Browser::default().get(&shops[0], &profile).await;
        for n in 0..6 {
            let (here, there) = (&shops[n % 2], &shops[1 - n % 2]);
            let placed = order(&mut browser, here, user).await;
            let shown = Browser::default().get(there, &profile).await;
            assert_eq!(shown["last_orders"][0], placed);
            assert_eq!(shown["orders"], seeded["orders"].as_i64().unwrap() + n as i64 + 1);
            let city = format!("City {n}");
            move_to(&mut browser, there, user, &city).await;
            let shown = Browser::default().get(here, &profile).await;
            assert_eq!((&shown["city"], &shown["last_orders"][0]), (&city.into(), &placed));
        }
    }
    shops.iter().for_each(Shop::is_unharmed);
}

/// The primary of a shard dies and its replica takes over, at the same URLs.
#[tokio::test]
async fn a_shard_goes_on_when_its_replica_is_promoted() {
    let bed = Bed::seeded().await;
    let shops = bed.shops(&["--cache", "off"]).await;
    let (user, other) = (user_on(0), user_on(1));
    let (mut browser, mut neighbour) = (Browser::default(), Browser::default());
    let placed = order(&mut browser, &shops[0], user).await;
    let Pair { primary, replica } = &bed.shards[0];
    replica.resume_replay().await.unwrap();
    replica.caught_up(DEADLINE).await.unwrap();
    primary.kill().await.unwrap();

    // Nobody of the other shard notices.
    order(&mut neighbour, &shops[1], other).await;
    replica.promote().await.unwrap();
    let path = format!("/users/{user}/orders");
    for shop in &shops {
        eventually(DEADLINE, async || {
            browser.send(shop, "POST", &path, &wish(6, 1)).await.status == 201
        })
        .await;
    }
    for shop in &shops {
        let list = browser.get(shop, &path).await;
        let orders = list.as_array().unwrap();
        assert!(orders.contains(&placed), "{list}");
        assert_eq!(orders[0]["product_id"], 6);
        let report = Browser::default().get(shop, "/reports/orders").await;
        assert_eq!(report["missing"], serde_json::json!([]));
        shop.is_unharmed();
    }
}

/// For comparison: without replicas there is nothing to follow, and no cookie.
#[tokio::test]
async fn reads_on_the_primary_need_no_cookies() {
    let bed = Bed::seeded().await;
    let shops = bed.shops(&["--cache", "off", "--reads", "primary"]).await;
    let user = user_on(0);
    let placed = order(&mut Browser::default(), &shops[0], user).await;
    let answer = shops[1].get(&format!("/users/{user}")).await;
    assert_eq!(answer.json()["last_orders"][0], placed);
    assert!(answer.cookies.is_empty());
    for shop in &shops {
        assert_eq!(shop.counter("rw_split_requests_total", "target=\"replica\"").await, 0);
        shop.is_unharmed();
    }
}
