//! Two processes of a shop over a primary and two replicas that replay nothing: whoever reads
//! there sees the shop as it was seeded.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::{Value, json};
use testbed::Folder;
use testbed::postgres::{Postgres, Replica};
use testbed::redis::Redis;

use crate::http::Answer;
use crate::shop::{DEADLINE, Shop, revision, seed};

/// For how long a process may show its own copy of a product.
const COPIES: Duration = Duration::from_secs(1);

pub(crate) const KEY: &str = "6b5e0f6ad9d4f4ac2b8fdbd4bb3fa1c8f5d3e0d0d2b6a4f3a1c9e7b5d3f10214";

struct Bed {
    primary: Postgres,
    replicas: Vec<Replica>,
    folder: Folder,
}

impl Bed {
    async fn seeded() -> Self {
        let primary = Postgres::start().await.unwrap();
        let mut replicas = Vec::new();
        for _ in 0..2 {
            replicas.push(primary.replica().await.unwrap());
        }
        let folder = Folder::new("storefront").await.unwrap();
        seed(&folder, &primary, &[]).await;
        for replica in &replicas {
            replica.caught_up(DEADLINE).await.unwrap();
            replica.pause_replay().await.unwrap();
        }
        Self { primary, replicas, folder }
    }

    /// With the replicas first: which one is the primary is found out.
    fn urls(&self) -> String {
        let urls = self.replicas.iter().map(|replica| replica.url());
        urls.chain([self.primary.url()]).collect::<Vec<_>>().join(",")
    }

    async fn shops(&self, options: &[&str]) -> [Shop; 2] {
        let options = [&["--token-key", KEY, "--development-cookies"], options].concat();
        [
            Shop::open(&self.folder, "one", &self.urls(), &options).await,
            Shop::open(&self.folder, "two", &self.urls(), &options).await,
        ]
    }
}

/// Somebody who keeps cookies.
#[derive(Default)]
pub(crate) struct Browser {
    cookies: BTreeMap<String, String>,
    bearer: Option<String>,
}

impl Browser {
    /// From here on with this access token.
    pub(crate) fn bearer(&mut self, token: &str) {
        self.bearer = Some(token.to_owned());
    }

    pub(crate) async fn send(
        &mut self,
        shop: &Shop,
        method: &str,
        path: &str,
        body: &Value,
    ) -> Answer {
        let body = if body.is_null() { String::new() } else { body.to_string() };
        let cookies: Vec<_> =
            self.cookies.iter().map(|(name, set)| format!("{name}={set}")).collect();
        let bearer =
            self.bearer.as_ref().map(|token| format!("authorization: Bearer {token}\r\n"));
        let bearer = bearer.unwrap_or_default();
        let request = format!(
            "{method} {path} HTTP/1.1\r\nhost: {}\r\ncookie: {}\r\nsec-fetch-site: same-origin\r\n{bearer}\
             content-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
            shop.addr,
            cookies.join("; "),
            body.len(),
        );
        let answer = shop.connect().await.exchange(request.as_bytes()).await.unwrap();
        for cookie in &answer.cookies {
            let (pair, attributes) = cookie.split_once(';').unwrap();
            assert!(
                attributes.contains("HttpOnly") && !attributes.contains("Secure"),
                "{cookie}"
            );
            let (name, value) = pair.split_once('=').unwrap();
            self.cookies.insert(name.to_owned(), value.to_owned());
        }
        answer
    }

    pub(crate) async fn get(&mut self, shop: &Shop, path: &str) -> Value {
        let answer = self.send(shop, "GET", path, &Value::Null).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        answer.json()
    }
}

pub(crate) fn account(city: &str) -> Value {
    json!({ "name": "Ada", "email": "ada1@example.org", "city": city })
}

/// What a user writes through one process the same user reads through the other, and the
/// replicas serve everybody else.
#[tokio::test]
async fn a_user_reads_what_the_user_wrote_on_every_process() {
    let bed = Bed::seeded().await;
    let shops = bed.shops(&["--cache", "off"]).await;
    let [one, two] = &shops;
    let (mut user, mut stranger) = (Browser::default(), Browser::default());
    let seeded = stranger.get(two, "/users/1").await;

    for n in 0..10 {
        let (here, there) = (&shops[n % 2], &shops[1 - n % 2]);
        let city = format!("City {n}");
        let saved = user.send(here, "PUT", "/users/1", &account(&city)).await;
        assert_eq!(saved.status, 200, "{saved:?}");
        assert_eq!(user.get(there, "/users/1").await["city"], city);
        let wish = json!({ "product_id": 5, "quantity": 1 });
        let placed = user.send(there, "POST", "/users/1/orders", &wish).await;
        assert_eq!(placed.status, 201, "{placed:?}");
        assert_eq!(user.get(here, "/users/1/orders").await[0]["id"], placed.json()["id"]);
    }
    for shop in &shops {
        assert_eq!(stranger.get(shop, "/users/1").await, seeded);
        let routed = "rw_split_requests_total";
        assert!(shop.counter(routed, "target=\"replica\"").await > 0);
        assert!(shop.counter(routed, "reason=\"behind\"").await >= 10);
        shop.is_unharmed();
    }
    // Elsewhere than on this machine they travel over HTTPS alone.
    let put = crate::http::put("/users/1", &account("Cork"));
    let answer = one.connect().await.exchange(&put).await.unwrap();
    assert!(answer.cookies[0].contains("; Secure"), "{answer:?}");
    assert!(!one.log().contains(KEY) && !two.log().contains(KEY));
}

/// What all processes have cached is loaded where the last change is: without any cookie,
/// and although the load is no part of a session.
#[tokio::test]
async fn what_is_cached_for_all_is_not_older_than_its_last_change() {
    let (bed, redis) = (Bed::seeded().await, Redis::start().await.unwrap());
    let shops = bed.shops(&["--cache", "shared", "--redis", &redis.url()]).await;
    for n in 0..10 {
        let (here, there) = (&shops[n % 2], &shops[1 - n % 2]);
        let city = format!("City {n}");
        assert_eq!(here.put("/users/1", &account(&city)).await.status, 200);
        assert_eq!(there.get("/users/1").await.json()["city"], city);
        let stock = 100 + n as i64;
        // Of a product that nobody has a copy of.
        let path = format!("/products/{}", 1 + n);
        assert_eq!(here.put(&path, &revision(stock)).await.status, 200);
        assert_eq!(there.get(&path).await.json()["stock"], stock);
    }
    // A copy lasts for a second, and what comes after it is the last change.
    let [one, two] = &shops;
    assert_eq!(one.put("/products/1", &revision(7)).await.status, 200);
    testbed::eventually(3 * COPIES, async || {
        two.get("/products/1").await.json()["stock"] == json!(7)
    })
    .await;
    shops.iter().for_each(Shop::is_unharmed);
}

/// For comparison, and what the demo shows: without it a user misses what the user wrote.
#[tokio::test]
async fn a_round_robin_shows_what_was_there_before() {
    let bed = Bed::seeded().await;
    let [one, two] = bed.shops(&["--cache", "off", "--reads", "round-robin"]).await;
    let mut user = Browser::default();
    let before = user.get(&two, "/users/1").await;
    let saved = user.send(&one, "PUT", "/users/1", &account("Cork")).await;
    assert_eq!(saved.status, 200, "{saved:?}");
    assert_eq!(user.get(&two, "/users/1").await, before);
}
