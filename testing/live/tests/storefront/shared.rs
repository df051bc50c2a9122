//! Two processes of a shop over one PostgreSQL and one Redis, which fails.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use fastrand::Rng;
use serde_json::{Value, json};
use testbed::eventually;
use testbed::link::Link;
use testbed::postgres::Postgres;
use testbed::redis::Redis;
use testbed::{Folder, eventually_some};
use tokio::task::JoinSet;

use crate::http::{Answer, Connection};
use crate::load::{has_its_fields, lookups};
use crate::shop::{DEADLINE, PRODUCTS, Shop, USERS, load, revision, seed};

/// For how long a process may show its own copy of a product.
const COPIES: Duration = Duration::from_secs(1);

/// What a loaded machine may take between Redis's answer and the copy of it.
const MARGIN: Duration = Duration::from_millis(500);

const UNANNOUNCED: &str = "storefront_unannounced_changes_total";
const SHARED_READS: &str = "cache_aside_shared_reads_total";

/// Two processes, each with a link of its own to Redis.
struct Twins {
    postgres: Postgres,
    redis: Redis,
    links: [Link; 2],
    folder: Folder,
    shops: [Shop; 2],
}

impl Twins {
    async fn open() -> Self {
        Self::open_with(&[]).await
    }

    async fn open_with(options: &[&str]) -> Self {
        let postgres = Postgres::start().await.unwrap();
        let redis = Redis::start().await.unwrap();
        let folder = Folder::new("storefront").await.unwrap();
        seed(&folder, &postgres, &[]).await;
        let links = [(); 2].map(|()| Link::to(redis.addr()).unwrap());
        let url = |link: &Link| redis.url_at(link.addr());
        let shops = [
            shop(&folder, "one", &postgres, &url(&links[0]), options).await,
            shop(&folder, "two", &postgres, &url(&links[1]), options).await,
        ];
        Self { postgres, redis, links, folder, shops }
    }

    async fn sum(&self, name: &str, labels: &str) -> u64 {
        let [one, two] = &self.shops;
        one.counter(name, labels).await + two.counter(name, labels).await
    }

    fn are_unharmed(&self) {
        self.shops.iter().for_each(Shop::is_unharmed);
    }
}

async fn shop(
    folder: &Folder,
    name: &str,
    postgres: &Postgres,
    redis: &str,
    options: &[&str],
) -> Shop {
    let options = [&["--cache", "shared", "--redis", redis], options].concat();
    Shop::open(folder, name, &postgres.url(), &options).await
}

/// An account as it is to be. Its city is what the tests tell versions by.
fn account(user: i64, city: &str) -> Value {
    json!({ "name": "Ada", "email": format!("ada{user}@example.org"), "city": city })
}

fn city(answer: &Answer) -> String {
    assert_eq!(answer.status, 200, "{answer:?}");
    answer.json()["city"].as_str().unwrap().to_owned()
}

fn stock(answer: &Answer) -> i64 {
    assert_eq!(answer.status, 200, "{answer:?}");
    answer.json()["stock"].as_i64().unwrap()
}

async fn move_to(shop: &Shop, user: i64, to: &str) {
    let answer = shop.put(&format!("/users/{user}"), &account(user, to)).await;
    assert_eq!(city(&answer), to);
}

/// One process cannot tell Redis of a change, and the other shows what Redis has; but not to who
/// has made the change.
#[tokio::test]
async fn a_change_that_redis_has_not_heard_of_is_seen_by_who_has_made_it() {
    let twins = Twins::open().await;
    let [one, two] = &twins.shops;
    move_to(one, 5, "Aa").await;
    assert_eq!(city(&two.get("/users/5").await), "Aa");

    twins.links[0].cut();
    let answer = one.put("/users/5", &account(5, "Bb")).await;
    assert_eq!(city(&answer), "Bb");
    let set = answer.cookies.iter().find(|set| set.starts_with("storefront-unheard=1;"));
    assert!(set.is_some_and(|set| set.contains("Max-Age=60")), "{answer:?}");
    assert_eq!(city(&two.get("/users/5").await), "Aa", "a stranger sees what Redis has");
    let mut browser = two.connect().await;
    let request =
        b"GET /users/5 HTTP/1.1\r\nhost: shop\r\ncookie: storefront-unheard=1\r\n\r\n";
    assert_eq!(city(&browser.exchange(request).await.unwrap()), "Bb");

    twins.links[0].heal();
    eventually(DEADLINE, async || city(&two.get("/users/5").await) == "Bb").await;
    let answer = one.put("/users/5", &account(5, "Cc")).await;
    assert!(answer.cookies.is_empty(), "{answer:?}");
    twins.are_unharmed();
}

#[tokio::test]
async fn what_one_process_has_loaded_the_other_does_not_ask_for() {
    // On a busy machine, too, a read is to come from Redis.
    let patient = ["--redis-timeout", "10000"];
    let twins = Twins::open_with(&patient).await;
    let [one, two] = &twins.shops;
    for (path, statement) in [("/products/5", "product_by_id"), ("/users/5", "account_by_id")] {
        let loaded = one.get(path).await;
        for _ in 0..3 {
            let shown = two.get(path).await;
            assert_eq!((shown.status, &shown.body), (200, &loaded.body));
        }
        let queries = twins.sum("storefront_db_queries_total", statement).await;
        assert_eq!(queries, 1, "{path}");
    }
    // Nor does one that opens later, for all that is warm.
    let url = twins.redis.url();
    let options = [&["--warm"], &patient[..]].concat();
    for (name, batches) in [("three", (PRODUCTS as u64).div_ceil(500)), ("four", 0)] {
        let shop = shop(&twins.folder, name, &twins.postgres, &url, &options).await;
        let asked = shop.counter("storefront_db_queries_total", "products_by_ids").await;
        // One product was there before, which spares no batch.
        assert_eq!(asked, batches, "{name}");
    }
    twins.are_unharmed();
}

#[tokio::test]
async fn a_change_through_one_process_is_seen_by_the_other() {
    let twins = Twins::open().await;
    for turn in 0..6 {
        let (here, there) = (&twins.shops[turn % 2], &twins.shops[(turn + 1) % 2]);
        let (profile, product) = ("/users/7", "/products/7");
        let before = there.get(profile).await.json()["orders"].as_i64().unwrap();

        let new = format!("city {turn}");
        move_to(here, 7, &new).await;
        assert_eq!(city(&there.get(profile).await), new);
        assert_eq!(city(&here.get(profile).await), new);

        // An order is in the profile that the other shows.
        let wish = json!({ "product_id": 9, "quantity": 1 });
        let placed = here.connect().await.post("/users/7/orders", &wish).await.unwrap();
        assert_eq!(placed.status, 201, "{placed:?}");
        assert_eq!(there.get(profile).await.json()["orders"], before + 1);

        // Of a product the other may show a copy, for a moment.
        stock(&there.get(product).await);
        let new = 1_000 + turn as i64;
        assert_eq!(stock(&here.put(product, &revision(new)).await), new);
        assert_eq!(stock(&here.get(product).await), new);
        let answered = Instant::now();
        loop {
            let late = answered.elapsed();
            if stock(&there.get(product).await) == new {
                break;
            }
            assert!(late < COPIES + MARGIN, "a copy was shown after {late:?}");
        }
    }
    assert_eq!(twins.sum(UNANNOUNCED, "").await, 0);
    twins.are_unharmed();
}

/// A profile that was edited through one process is what every later read
/// through either shows, while loads overlap with writes.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_profile_is_older_than_its_last_edit() {
    const WRITTEN: usize = 3;
    const VERSIONS: u64 = 60;
    const READERS: u64 = 8;

    let twins = Twins::open().await;
    // So that loads and invalidations overlap.
    for (link, seed) in twins.links.iter().zip(1..) {
        link.jitter(Duration::from_millis(3), seed);
    }
    let addrs = [0, 1].map(|n| twins.shops[n].addr);
    let announced: Arc<[AtomicU64; WRITTEN]> = Arc::default();
    let over = Arc::new(AtomicBool::new(false));

    let mut readers = JoinSet::new();
    for reader in 0..READERS {
        let (announced, over) = (announced.clone(), over.clone());
        readers.spawn(async move {
            let mut random = Rng::with_seed(reader);
            let addr = addrs[reader as usize % 2];
            let mut connection = Connection::open(addr).await.unwrap();
            let mut reads = 0_u64;
            while !over.load(Ordering::SeqCst) {
                let user = random.usize(0..WRITTEN);
                let floor = announced[user].load(Ordering::SeqCst);
                let answer = connection.get(&format!("/users/{}", user + 1)).await.unwrap();
                // The seed's cities are no numbers.
                let shown = city(&answer).parse().unwrap_or(0);
                assert!(shown >= floor, "{shown} was shown after {floor} was announced");
                reads += 1;
            }
            reads
        });
    }
    let unheard = async |shop: &Shop| shop.counter(UNANNOUNCED, "account").await;
    let mut heard = 0;
    for version in 1..=VERSIONS {
        for (user, announced) in announced.iter().enumerate() {
            let shop = &twins.shops[(version as usize + user) % 2];
            let before = unheard(shop).await;
            move_to(shop, user as i64 + 1, &version.to_string()).await;
            // A machine that stands still makes an operation time out: then nothing is
            // promised of the other process.
            if unheard(shop).await == before {
                announced.store(version, Ordering::SeqCst);
                heard += 1;
            }
        }
    }
    over.store(true, Ordering::SeqCst);
    let reads: u64 = readers.join_all().await.iter().sum();
    let by_redis =
        twins.sum("cache_aside_requests_total", "cache=\"account\",outcome=\"shared\"");
    println!("{reads} reads among {heard} announced edits, {} by Redis", by_redis.await);
    assert!(heard > VERSIONS * WRITTEN as u64 / 2, "{heard} edits were announced");
    twins.are_unharmed();
}

/// Redis is killed in the middle of requests of all kinds, and comes back empty.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_request_fails_when_redis_is_killed() {
    let twins = Twins::open().await;
    let over = Arc::new(AtomicBool::new(false));
    let mut clients = JoinSet::new();
    for client in 0..8 {
        let (over, addr) = (over.clone(), twins.shops[client % 2].addr);
        clients.spawn(async move {
            let mut random = Rng::with_seed(client as u64);
            let mut connection = Connection::open(addr).await.unwrap();
            let (mut answers, mut slowest) = (0, Duration::ZERO);
            // Each has a product and a user that nobody else writes.
            let (product, user) = (client as i64 + 1, client as i64 + 1);
            for version in 1.. {
                if over.load(Ordering::SeqCst) {
                    break;
                }
                let began = Instant::now();
                let answer = match version % 6 {
                    0 => {
                        let path = format!("/products/{product}");
                        let put = connection.put(&path, &revision(version)).await.unwrap();
                        assert_eq!(put.status, 200, "{put:?}");
                        let shown = connection.get(&path).await.unwrap();
                        assert_eq!(stock(&shown), version);
                        shown
                    }
                    1 => {
                        let (path, new) = (format!("/users/{user}"), version.to_string());
                        let put = connection.put(&path, &account(user, &new)).await.unwrap();
                        assert_eq!(put.status, 200, "{put:?}");
                        let shown = connection.get(&path).await.unwrap();
                        assert_eq!(city(&shown), new);
                        shown
                    }
                    2 => {
                        let wish = json!({ "product_id": 100 + version % 50, "quantity": 1 });
                        let path = format!("/users/{user}/orders");
                        connection.post(&path, &wish).await.unwrap()
                    }
                    3 => {
                        let path = format!("/users/{}", random.i64(1..=USERS));
                        connection.get(&path).await.unwrap()
                    }
                    _ => {
                        let path = format!("/products/{}", random.i64(1..=PRODUCTS));
                        connection.get(&path).await.unwrap()
                    }
                };
                let sold_out = answer.status == 409;
                assert!(answer.status < 300 || sold_out, "{answer:?}");
                slowest = slowest.max(began.elapsed());
                answers += 1;
            }
            (answers, slowest)
        });
    }
    let hits = async || twins.sum(SHARED_READS, "outcome=\"hit\"").await;
    eventually(DEADLINE, async || hits().await > 100).await;
    twins.redis.kill().await.unwrap();
    // Both processes miss it, and go on.
    for shop in &twins.shops {
        eventually(DEADLINE, async || shop.counter(UNANNOUNCED, "").await > 3).await;
    }
    let queries = async || twins.sum("storefront_db_queries_total", "account_by_id").await;
    let before = queries().await;
    eventually(DEADLINE, async || queries().await > before + 100).await;
    twins.redis.restart_empty().await.unwrap();
    let back = Instant::now();
    let before = hits().await;
    eventually(DEADLINE, async || hits().await > before + 100).await;
    println!("Redis was of use again {:?} after it was back", back.elapsed());
    over.store(true, Ordering::SeqCst);
    for (answers, slowest) in clients.join_all().await {
        println!("{answers} good answers, the slowest after {slowest:?}");
        // Two requests at most, each of which may wait for Redis's time limit.
        assert!(slowest < Duration::from_secs(5), "{slowest:?}");
    }

    eventually(DEADLINE, async || {
        twins.sum("cache_aside_shared_owed_invalidations", "").await == 0
            && twins.sum("cache_aside_shared_open_breakers", "").await == 0
    })
    .await;
    let [one, two] = &twins.shops;
    two.get("/users/150").await;
    move_to(one, 150, "Cork").await;
    assert_eq!(city(&two.get("/users/150").await), "Cork");
    for shop in &twins.shops {
        let warned = shop.log().matches("Redis does not hear of them").count();
        assert!((1..20).contains(&warned), "{warned} warnings:\n{}", shop.log());
    }
    twins.are_unharmed();
}

/// A change that Redis did not hear of is a change all the same: this process
/// shows it at once, and the other one when Redis could be told.
#[tokio::test]
async fn a_process_cut_off_from_redis_sells_on() {
    let twins = Twins::open().await;
    let [one, two] = &twins.shops;
    for shop in [one, two] {
        assert_ne!(city(&shop.get("/users/3").await), "Cork");
        stock(&shop.get("/products/3").await);
    }
    twins.links[0].blackhole();
    move_to(one, 3, "Cork").await;
    assert_eq!(stock(&one.put("/products/3", &revision(33)).await), 33);
    assert_eq!(city(&one.get("/users/3").await), "Cork");
    assert_eq!(stock(&one.get("/products/3").await), 33);
    assert_eq!(one.counter(UNANNOUNCED, "").await, 2);
    // So it is with what is shown for the first time, and with what is not there.
    assert_eq!(one.get("/products/44").await.status, 200);
    assert_eq!(one.get(&format!("/products/{}", PRODUCTS + 1)).await.status, 404);
    println!("meanwhile the other shows {}", city(&two.get("/users/3").await));

    twins.links[0].heal();
    // Long before what is cached is too old by itself, which takes minutes.
    eventually(DEADLINE, async || city(&two.get("/users/3").await) == "Cork").await;
    eventually(DEADLINE, async || stock(&two.get("/products/3").await) == 33).await;
    twins.are_unharmed();
}

#[tokio::test]
async fn a_shop_opens_without_its_redis() {
    let twins = Twins::open().await;
    twins.redis.kill().await.unwrap();
    let url = twins.redis.url();
    let late = shop(&twins.folder, "late", &twins.postgres, &url, &["--warm"]).await;
    stock(&late.get("/products/1").await);
    move_to(&late, 1, "Cork").await;
    assert_eq!(city(&late.get("/users/1").await), "Cork");
    assert_eq!(late.get("/healthz").await.status, 200);

    twins.redis.restart().await.unwrap();
    eventually(DEADLINE, async || {
        city(&late.get("/users/1").await);
        late.counter(SHARED_READS, "outcome=\"hit\"").await > 0
    })
    .await;
    late.is_unharmed();
}

/// Who seeds anew says where the cache is, which otherwise shows the old rows.
#[tokio::test]
async fn a_seed_clears_the_shared_cache() {
    let twins = Twins::open().await;
    let [one, two] = &twins.shops;
    let (profile, product) = (two.get("/users/2").await, two.get("/products/2").await);
    move_to(one, 2, "Cork").await;
    stock(&one.put("/products/2", &revision(22)).await);
    assert_eq!(city(&two.get("/users/2").await), "Cork");

    seed(&twins.folder, &twins.postgres, &["--redis", &twins.redis.url()]).await;
    assert_eq!(city(&two.get("/users/2").await), city(&profile));
    let shown = async || Some(stock(&two.get("/products/2").await)).filter(|n| *n != 22);
    assert_eq!(eventually_some(DEADLINE, shown).await, stock(&product));
}

/// A load is spread over the processes of a shop, and what they have counted is
/// added up.
#[tokio::test]
async fn a_load_goes_to_each_process_in_turn() {
    let twins = Twins::open().await;
    let [one, two] = &twins.shops;
    let fault = async {
        let under_way =
            async || one.counter("cache_aside_requests_total", "product").await > 80;
        eventually(DEADLINE, under_way).await;
        twins.redis.kill().await.unwrap();
    };
    let both = [one, two];
    let steady = ["--rps", "200", "--seconds", "2", "--connections", "8"];
    let ((status, report), ()) = tokio::join!(load(&twins.folder, &both, &steady), fault);
    assert!(status.success(), "{status}");
    let report: Value = serde_json::from_str(&report).unwrap();
    has_its_fields(&report);
    assert_eq!(report["urls"], json!([one.url(), two.url()]));
    assert_eq!(report["failures"], 0, "{report}");
    // Those of the check before the load are not in it.
    let reads = lookups(&report);
    assert_eq!(report["cache"]["requests"], reads, "{report}");
    let [first, second] = [
        one.counter("cache_aside_requests_total", "").await,
        two.counter("cache_aside_requests_total", "").await,
    ];
    assert!(first.abs_diff(second) < reads / 5, "{first} and {second}");
    assert!(report["cache"]["redis_ratio"].as_f64().unwrap() > 0.0, "{report}");
    assert!(report["redis"]["errors"].as_u64().unwrap() > 0, "{report}");
    assert!(report["redis"]["unannounced"].as_u64().is_some(), "{report}");
    twins.are_unharmed();
}
