//! Pages, behind a front that keeps them.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::time::Duration;

use fastrand::Rng;
use live::front::Front;
use nix::sys::signal::Signal;
use serde_json::json;
use testbed::link::Link;
use testbed::postgres::Postgres;
use testbed::redis::Redis;
use testbed::{Folder, eventually};
use tokio::task::JoinSet;

use crate::http::{Answer, Connection};
use crate::shop::{DEADLINE, program, revision, seed};

/// Two workers behind a front with a cache; the way to the database can be cut.
struct Fronted {
    front: Front,
    link: Link,
    _servers: (Postgres, Redis, Folder),
}

impl Fronted {
    async fn open() -> Self {
        let (postgres, redis) =
            (Postgres::start().await.unwrap(), Redis::start().await.unwrap());
        let link = Link::to(postgres.addr()).unwrap();
        let folder = Folder::new("pages").await.unwrap();
        seed(&folder, &postgres, &[]).await;
        let environment = [
            ("DATABASE_URL".to_owned(), postgres.url_at(link.addr())),
            ("REDIS_URL".to_owned(), redis.url()),
        ];
        let worker = [
            &[program().to_str().unwrap(), "serve", "--listen", "127.0.0.1:0"][..],
            &["--announce", "{announce}", "--cache", "shared", "--propagation", "600"],
        ];
        let words = ["--cache", "16", "--strategy", "round-robin", "--dry-run"];
        let front = Front::start(&words, &worker.concat(), &environment).await;
        front.ready(2).await;
        Self { front, link, _servers: (postgres, redis, folder) }
    }

    async fn connect(&self) -> Connection {
        Connection::open(self.addr()).await.unwrap()
    }

    fn addr(&self) -> SocketAddr {
        self.front.url.strip_prefix("http://").unwrap().parse().unwrap()
    }

    async fn get(&self, path: &str) -> Answer {
        self.connect().await.get(path).await.unwrap()
    }

    async fn price(&self, product: i64, price: i64) {
        let mut body = revision(5);
        body["price_cents"] = json!(price);
        let answer =
            self.connect().await.put(&format!("/products/{product}"), &body).await.unwrap();
        assert_eq!(answer.status, 200, "{answer:?}");
    }

    /// How many requests workers were asked.
    async fn asked(&self) -> u64 {
        self.front.counter("front_requests_total").await
    }
}

fn is_hit(answer: &Answer) -> bool {
    assert_eq!(answer.status, 200, "{answer:?}");
    let status = answer.header("cache-status").unwrap();
    assert!(status.starts_with("front"), "{status}");
    status.contains("hit")
}

/// What a page says something costs.
fn price(page: &Answer) -> i64 {
    assert_eq!(page.status, 200, "{page:?}");
    let (_, rest) = page.body.split_once("<data value=\"").unwrap();
    rest.split_once('"').unwrap().0.parse().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_front_keeps_pages_until_they_change_and_nothing_else() {
    let shop = Fronted::open().await;
    let page = shop.get("/products/7/page").await;
    let (_, style) = page.body.split_once("rel=\"stylesheet\" href=\"").unwrap();
    let style = &*style.split_once('"').unwrap().0.to_owned();
    let image = shop.get("/products/7/image.svg").await;
    let first = [page, image, shop.get(style).await];
    assert!(!first.iter().any(is_hit), "{first:?}");
    assert!(first[2].header("cache-control").unwrap().contains("immutable"));

    let asked = shop.asked().await;
    let again = async || {
        let page = shop.get("/products/7/page").await;
        [page, shop.get("/products/7/image.svg").await, shop.get(style).await]
    };
    let second = again().await;
    assert!(second.iter().all(is_hit), "{second:?}");
    // A browser has it, and is told by the front that it still does.
    let tag = second[0].header("etag").unwrap();
    let request =
        format!("GET /products/7/page HTTP/1.1\r\nhost: shop\r\nif-none-match: {tag}\r\n\r\n");
    let known = shop.connect().await.exchange(request.as_bytes()).await.unwrap();
    assert_eq!((known.status, &*known.body), (304, ""));
    assert_eq!(shop.asked().await, asked, "no worker was asked");

    // What is not for all to keep.
    for path in ["/products/7", "/users/3", "/users/3/orders", "/nothing", "/assets/shop-1.css"]
    {
        for _ in 0..2 {
            let answer = shop.get(path).await;
            assert_eq!(answer.header("cache-control"), Some("no-store"), "{path}");
            assert!(!answer.header("cache-status").unwrap().contains("hit"), "{path}");
        }
    }

    shop.price(7, 4_321).await;
    let third = again().await;
    assert_eq!(third.each_ref().map(is_hit), [false, false, true]);
    assert_eq!(price(&third[0]), 4_321);
    assert!(is_hit(&shop.get("/products/7/page").await));
    // Whose page it is not, stays.
    shop.get("/products/8/page").await;
    shop.price(7, 4_322).await;
    assert!(is_hit(&shop.get("/products/8/page").await));
    shop.front.stop().await;
}

/// A `PUT` that was answered is what every page shows that is asked for later, whichever worker
/// it comes from, and although workers have copies of their own.
#[tokio::test(flavor = "multi_thread")]
async fn a_change_is_in_every_page_that_is_asked_for_after_it() {
    const PAGES: i64 = 4;
    const VERSIONS: i64 = 60;

    let shop = Arc::new(Fronted::open().await);
    let saved: Arc<Vec<AtomicI64>> = Arc::new((0..PAGES).map(|_| AtomicI64::new(0)).collect());
    for product in 1..=PAGES {
        shop.price(product, 0).await;
    }
    let over = Arc::new(AtomicBool::new(false));
    let (hits, reads) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
    let mut readers = JoinSet::new();
    for seed in 0..8 {
        let (shop, saved, over) = (Arc::clone(&shop), Arc::clone(&saved), Arc::clone(&over));
        let (hits, reads) = (Arc::clone(&hits), Arc::clone(&reads));
        readers.spawn(async move {
            let (mut random, mut connection) = (Rng::with_seed(seed), shop.connect().await);
            while !over.load(Ordering::Relaxed) {
                let product = random.i64(1..=PAGES);
                // So that each worker has a copy.
                if random.u8(0..4) == 0 {
                    connection.get(&format!("/products/{product}")).await.unwrap();
                }
                let least = saved[product as usize - 1].load(Ordering::Acquire);
                let page = connection.get(&format!("/products/{product}/page")).await.unwrap();
                assert!(price(&page) >= least, "{} is shown, {least} is saved", price(&page));
                hits.fetch_add(u64::from(is_hit(&page)), Ordering::Relaxed);
                reads.fetch_add(1, Ordering::Relaxed);
            }
        });
    }
    let mut writers = JoinSet::new();
    for product in 1..=PAGES {
        let (shop, saved) = (Arc::clone(&shop), Arc::clone(&saved));
        writers.spawn(async move {
            for version in 1..=VERSIONS {
                shop.price(product, version).await;
                saved[product as usize - 1].store(version, Ordering::Release);
            }
        });
    }
    writers.join_all().await;
    over.store(true, Ordering::Relaxed);
    readers.join_all().await;
    let (hits, reads) = (hits.load(Ordering::Relaxed), reads.load(Ordering::Relaxed));
    println!("{reads} pages, {hits} of them from the front");
    assert!(hits * 10 > reads, "{hits} of {reads}");
    for product in 1..=PAGES {
        assert_eq!(price(&shop.get(&format!("/products/{product}/page")).await), VERSIONS);
    }
    shop.front.stop().await;
}

/// A cache before the shop is what is left of it.
#[tokio::test(flavor = "multi_thread")]
async fn pages_outlive_the_database_and_the_workers() {
    let shop = Fronted::open().await;
    let page = shop.get("/products/7/page").await;
    assert_eq!(page.status, 200);
    let anew = async || {
        let request =
            "GET /products/7/page HTTP/1.1\r\nhost: shop\r\ncache-control: max-age=0\r\n\r\n";
        shop.connect().await.exchange(request.as_bytes()).await.unwrap()
    };
    // Nothing has changed: a worker says so, and what was kept is shown.
    let asked = shop.asked().await;
    assert_eq!(anew().await.body, page.body);
    assert_eq!(shop.asked().await, asked + 1);

    shop.link.cut();
    // What was never kept is not there; for what was, the workers are asked in vain.
    let (never, kept) = tokio::join!(shop.get("/products/8/page"), anew());
    assert!(never.status >= 500, "{never:?}");
    assert_eq!((kept.status, &kept.body), (200, &page.body), "{kept:?}");
    shop.link.heal();
    eventually(DEADLINE, async || shop.get("/products/8/page").await.status == 200).await;

    for worker in shop.front.phase("ready").await {
        shop.front.signal(worker, Signal::SIGKILL).await;
    }
    assert!(is_hit(&shop.get("/products/7/page").await));
    shop.front.ready(2).await;
    eventually(DEADLINE, async || anew().await.status == 200).await;
    // Long before anything in here is a minute old.
    tokio::time::timeout(Duration::from_secs(50), shop.front.stop()).await.unwrap();
}
