//! The storefront as its users have it: the program, over HTTP, with a
//! PostgreSQL that fails.

#![allow(clippy::unwrap_used, reason = "the helpers of tests are tests")]
#![allow(clippy::disallowed_methods, reason = "wall time is what is measured here")]

mod clusters;
mod hostile;
mod http;
mod load;
mod login;
mod pages;
mod replicas;
mod shards;
mod shared;
mod shop;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use fastrand::Rng;
use serde_json::json;
use testbed::guard::ExitSignal;
use testbed::postgres::Client;
use testbed::{eventually, eventually_some};
use tokio::task::JoinSet;
use tokio_postgres::Transaction;

use crate::http::{Answer, Connection};
use crate::shop::{DEADLINE, PRODUCTS, Storefront, USERS, revision};

fn stock(answer: &Answer) -> i64 {
    assert_eq!(answer.status, 200, "{answer:?}");
    answer.json()["stock"].as_i64().unwrap()
}

/// A `PUT` that was answered is what every later `GET` shows, for as many
/// readers as there may be, and while loads overlap with writes.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_change_is_in_every_read_that_starts_after_it() {
    const WRITTEN: usize = 4;
    const VERSIONS: i64 = 100;
    const READERS: u64 = 12;

    let storefront = Storefront::open(&[]).await;
    storefront.link.delay(Duration::from_millis(1));
    storefront.link.jitter(Duration::from_millis(4), 1);
    let addr = storefront.shop.addr;
    let answered: Arc<[AtomicI64; WRITTEN]> = Arc::default();
    let over = Arc::new(AtomicBool::new(false));
    let reads = Arc::new(AtomicU64::new(0));

    let mut readers = JoinSet::new();
    for reader in 0..READERS {
        let (answered, over, reads) = (answered.clone(), over.clone(), reads.clone());
        readers.spawn(async move {
            let mut random = Rng::with_seed(reader);
            let mut connection = Connection::open(addr).await.unwrap();
            while !over.load(Ordering::SeqCst) {
                let product = random.usize(0..WRITTEN);
                let floor = answered[product].load(Ordering::SeqCst);
                let answer =
                    connection.get(&format!("/products/{}", product + 1)).await.unwrap();
                // What it was seeded with comes before all versions.
                if floor > 0 {
                    let shown = stock(&answer);
                    assert!(shown >= floor, "{shown} was shown after {floor} was answered");
                }
                reads.fetch_add(1, Ordering::SeqCst);
            }
        });
    }
    let mut writers = JoinSet::new();
    for product in 0..WRITTEN {
        let answered = answered.clone();
        writers.spawn(async move {
            let path = format!("/products/{}", product + 1);
            let mut connection = Connection::open(addr).await.unwrap();
            for version in 1..=VERSIONS {
                let answer = connection.put(&path, &revision(version)).await.unwrap();
                assert_eq!(stock(&answer), version);
                answered[product].store(version, Ordering::SeqCst);
                // Nobody else writes this one.
                assert_eq!(stock(&connection.get(&path).await.unwrap()), version);
            }
        });
    }
    while let Some(writer) = writers.join_next().await {
        writer.unwrap();
    }
    over.store(true, Ordering::SeqCst);
    while let Some(reader) = readers.join_next().await {
        reader.unwrap();
    }
    println!("{reads:?} reads among {} writes", WRITTEN as i64 * VERSIONS);
    storefront.is_unharmed();
}

/// An order is in the next view of the product and of the profile.
#[tokio::test]
async fn an_order_is_in_the_next_page_and_profile() {
    let storefront = Storefront::open(&[]).await;
    let mut connection = storefront.connect().await;
    let before = stock(&connection.get("/products/9").await.unwrap());
    let profile = connection.get("/users/4").await.unwrap().json();
    for placed in 1..=20 {
        let wish = json!({ "product_id": 9, "quantity": 2 });
        let answer = connection.post("/users/4/orders", &wish).await.unwrap();
        assert_eq!(answer.status, 201, "{answer:?}");
        assert_eq!(stock(&connection.get("/products/9").await.unwrap()), before - 2 * placed);
        let now = connection.get("/users/4").await.unwrap().json();
        assert_eq!(now["orders"], profile["orders"].as_i64().unwrap() + placed);
        assert_eq!(now["last_orders"][0]["id"], answer.json()["id"]);
    }
    let wish = json!({ "product_id": 9, "quantity": 1_000 });
    let mut last = connection.post("/users/4/orders", &wish).await.unwrap();
    while last.status == 201 {
        last = connection.post("/users/4/orders", &wish).await.unwrap();
    }
    assert_eq!((last.status, &*last.code()), (409, "out_of_stock"));
}

#[tokio::test]
async fn what_is_not_there_is_a_404_that_says_so() {
    let storefront = Storefront::open(&[]).await;
    let unknown = [PRODUCTS + 1, i64::MAX];
    for id in unknown {
        let answer = storefront.get(&format!("/products/{id}")).await;
        assert_eq!((answer.status, &*answer.code()), (404, "unknown_id"));
        let what = answer.json()["error"]["what"].as_str().unwrap().to_owned();
        assert_eq!(what, format!("there is no product {id}"));
        let answer = storefront.put(&format!("/products/{id}"), &revision(1)).await;
        assert_eq!((answer.status, &*answer.code()), (404, "unknown_id"));
    }
    for path in ["", "/orders"] {
        let answer = storefront.get(&format!("/users/{}{path}", USERS + 1)).await;
        assert_eq!((answer.status, &*answer.code()), (404, "unknown_id"));
    }
    let answer = storefront.get("/nothing").await;
    assert_eq!((answer.status, &*answer.code()), (404, "unknown_path"));
}

/// Without PostgreSQL the pages in the cache are served, everything else is a
/// 503 that says when to come back, soon; and with PostgreSQL back all is well,
/// with the same process.
#[tokio::test]
async fn a_shop_outlives_its_database() {
    let storefront = Storefront::open(&[]).await;
    let cached: Vec<Answer> = vec![
        storefront.get("/products/1").await,
        storefront.get("/products/2").await,
        storefront.get("/users/1").await,
    ];
    assert!(cached.iter().all(|answer| answer.status == 200), "{cached:?}");

    storefront.postgres.kill().await.unwrap();
    let shown = [
        storefront.get("/products/1").await,
        storefront.get("/products/2").await,
        storefront.get("/users/1").await,
    ];
    for (shown, cached) in shown.iter().zip(&cached) {
        assert_eq!((shown.status, &shown.body), (200, &cached.body));
    }
    assert_eq!(storefront.get("/healthz").await.status, 200);

    let began = Instant::now();
    let mut refused = JoinSet::new();
    for id in 100..140 {
        let addr = storefront.shop.addr;
        refused.spawn(async move {
            let mut connection = Connection::open(addr).await.unwrap();
            match id % 4 {
                0 => connection.put(&format!("/products/{id}"), &revision(1)).await.unwrap(),
                1 => connection.get(&format!("/users/{id}")).await.unwrap(),
                2 => connection.get(&format!("/users/{id}/orders")).await.unwrap(),
                _ => connection.get(&format!("/products/{id}")).await.unwrap(),
            }
        });
    }
    while let Some(answer) = refused.join_next().await {
        let answer = answer.unwrap();
        assert_eq!((answer.status, &*answer.code()), (503, "source_unavailable"));
        let after: u64 = answer.header("retry-after").unwrap().parse().unwrap();
        assert!((1..=10).contains(&after));
    }
    let took = began.elapsed();
    println!("all were refused after {took:?}");
    assert!(took < Duration::from_secs(6), "{took:?}");

    storefront.postgres.restart().await.unwrap();
    let began = Instant::now();
    eventually(DEADLINE, async || storefront.get("/products/103").await.status == 200).await;
    println!("it sold again after {:?}", began.elapsed());
    let paths = ["/products/104", "/users/101", "/users/102/orders"];
    for path in paths {
        assert_eq!(storefront.get(path).await.status, 200, "{path}");
    }
    assert_eq!(stock(&storefront.put("/products/1", &revision(77)).await), 77);
    assert_eq!(stock(&storefront.get("/products/1").await), 77);
    storefront.is_unharmed();
}

/// What was committed although its answer was lost is shown: nobody is told that
/// it failed and then sees the old page from the cache.
#[tokio::test]
async fn a_commit_whose_answer_is_lost_is_shown_all_the_same() {
    let storefront = Storefront::open(&[]).await;
    let old = storefront.get("/products/1").await;
    let database = storefront.database().await;
    let committed = async || -> i64 {
        let stock = "SELECT stock FROM storefront.products WHERE id = 1";
        database.query_one(stock, &[]).await.unwrap().get(0)
    };

    // The statement is there after 200 ms, its answer after 400.
    storefront.link.delay(Duration::from_millis(200));
    let mut writer = storefront.connect().await;
    let write = tokio::spawn(async move { writer.put("/products/1", &revision(4_321)).await });
    eventually(DEADLINE, async || committed().await == 4_321).await;
    assert_eq!(storefront.get("/products/1").await.body, old.body);
    storefront.link.cut();
    let answer = write.await.unwrap().unwrap();
    assert_eq!((answer.status, &*answer.code()), (503, "source_unavailable"));
    let meanwhile = storefront.get("/products/1").await;
    assert_eq!(meanwhile.status, 503, "{meanwhile:?}");

    storefront.link.heal();
    let shown = eventually_some(DEADLINE, async || {
        Some(storefront.get("/products/1").await).filter(|answer| answer.status != 503)
    })
    .await;
    assert_eq!(stock(&shown), 4_321);
    storefront.is_unharmed();
}

/// A client that hangs up during its `PUT` leaves no old page behind.
#[tokio::test]
async fn a_client_that_hangs_up_leaves_no_old_page() {
    let storefront = Storefront::open(&[]).await;
    let mut database = storefront.database().await;
    for (id, new) in [(1, 1_001), (2, 1_002), (3, 1_003)] {
        let path = format!("/products/{id}");
        stock(&storefront.get(&path).await);
        // It waits for the row until the client is gone.
        let row = format!("SELECT FROM storefront.products WHERE id = {id} FOR UPDATE");
        let lock = locked(&mut database, &row).await;
        let sent = storefront.counter("storefront_db_queries_total", "update_product").await;
        let mut client = storefront.connect().await;
        client.send(&http::put(&path, &revision(new))).await.unwrap();
        eventually(DEADLINE, async || {
            let now = storefront.counter("storefront_db_queries_total", "update_product").await;
            now > sent
        })
        .await;
        drop(client);
        // Gives the shop a turn to see that. Without it the test would only be weaker.
        assert_eq!(storefront.get("/healthz").await.status, 200);
        lock.rollback().await.unwrap();
        eventually(DEADLINE, async || stock(&storefront.get(&path).await) == new).await;
    }
}

/// A transaction in which `statement` has been run.
async fn locked<'a>(database: &'a mut Client, statement: &str) -> Transaction<'a> {
    let lock = database.transaction().await.unwrap();
    lock.batch_execute(statement).await.unwrap();
    lock
}

/// SIGTERM: what is in flight is answered, what is new is not, and the process
/// ends with 0, as soon as the last answer is out.
#[tokio::test]
async fn a_shop_that_is_asked_to_stop_finishes_its_requests() {
    let storefront = Storefront::open(&[]).await;
    let mut idle = storefront.connect().await;
    assert_eq!(idle.get("/products/1").await.unwrap().status, 200);

    let mut database = storefront.database().await;
    // Eight connections, for nobody can open one while the table is locked.
    let lock = locked(&mut database, "SELECT FROM storefront.products FOR UPDATE").await;
    let writes =
        storefront.in_flight(|id| (format!("/products/{id}"), Some(revision(1)))).await;
    lock.rollback().await.unwrap();
    assert!(writes.join_all().await.iter().all(|answer| answer.status == 200));

    let table = "LOCK TABLE storefront.products IN ACCESS EXCLUSIVE MODE";
    let lock = locked(&mut database, table).await;
    let mut in_flight = storefront
        .in_flight(|id| {
            let body = (id % 2 == 0).then(|| revision(id));
            (format!("/products/{}", 10 * id), body)
        })
        .await;
    let shop = &storefront.shop;
    shop.process.signal(ExitSignal::Terminate).unwrap();
    eventually(DEADLINE, async || Connection::open(shop.addr).await.is_err()).await;
    assert!(shop.process.is_running() && in_flight.try_join_next().is_none());
    lock.rollback().await.unwrap();
    let released = Instant::now();
    let answers = in_flight.join_all().await;
    assert!(answers.iter().all(|answer| answer.status == 200), "{answers:?}");
    let status = shop.process.wait().await;
    assert_eq!(status.code(), Some(0));
    let took = released.elapsed();
    println!("it ended {took:?} after it could");
    assert!(took < Duration::from_secs(5), "{took:?}");
    let changed = "SELECT count(*) FROM storefront.products WHERE id = 10 * stock";
    let changed: i64 = database.query_one(changed, &[]).await.unwrap().get(0);
    assert_eq!(changed, 4);
}

/// For comparison: without a drain, they are cut off.
#[tokio::test]
async fn without_a_drain_a_request_in_flight_is_cut_off() {
    let storefront = Storefront::open(&["--cache", "off", "--drain", "off"]).await;
    let shop = &storefront.shop;
    let mut database = storefront.database().await;
    let table = "LOCK TABLE storefront.products IN ACCESS EXCLUSIVE MODE";
    let lock = locked(&mut database, table).await;
    let mut connection = storefront.connect().await;
    connection.send(b"GET /products/1 HTTP/1.1\r\nhost: shop\r\n\r\n").await.unwrap();
    let queries = async || shop.counter("storefront_db_queries_total", "product_by_id").await;
    eventually(DEADLINE, async || queries().await == 1).await;
    let status = shop.process.stop(DEADLINE).await;
    assert_eq!(status.code(), Some(0));
    assert!(connection.answer().await.is_err());
    lock.rollback().await.unwrap();
}

/// A client that never ends its request does not keep the process from ending
/// with 0, in the ten seconds that are promised.
#[tokio::test]
async fn a_request_that_never_ends_does_not_stop_the_shop_from_stopping() {
    let storefront = Storefront::open(&[]).await;
    let mut half = storefront.connect().await;
    half.send(b"GET /products/1 HTTP/1.1\r\nho").await.unwrap();
    assert_eq!(storefront.get("/products/1").await.status, 200);
    let began = Instant::now();
    let status = storefront.shop.process.stop(DEADLINE).await;
    assert_eq!(status.code(), Some(0));
    assert!(began.elapsed() < Duration::from_secs(12), "{:?}", began.elapsed());
}

/// With a cache a second read asks nobody; without one each read asks the database.
#[tokio::test]
async fn a_cache_spares_the_database_and_none_does_not() {
    for (switch, queries) in [("local", 1), ("on", 1), ("off", 10)] {
        let storefront = Storefront::open(&["--cache", switch]).await;
        let mut connection = storefront.connect().await;
        for _ in 0..10 {
            assert_eq!(connection.get("/products/5").await.unwrap().status, 200);
        }
        let asked = storefront.counter("storefront_db_queries_total", "product_by_id").await;
        assert_eq!(asked, queries, "--cache {switch}");
        let requests = storefront.counter("cache_aside_requests_total", "product").await;
        assert_eq!(requests, if switch == "off" { 0 } else { 10 });
        let change = connection.put("/products/5", &revision(3)).await.unwrap();
        assert_eq!(stock(&change), 3);
        assert_eq!(stock(&connection.get("/products/5").await.unwrap()), 3);
    }
    let storefront = Storefront::open(&["--warm"]).await;
    for id in [1, 2, PRODUCTS] {
        stock(&storefront.get(&format!("/products/{id}")).await);
    }
    let by_one = storefront.counter("storefront_db_queries_total", "product_by_id").await;
    let batches = storefront.counter("storefront_db_queries_total", "products_by_ids").await;
    assert_eq!((by_one, batches), (0, (PRODUCTS as u64).div_ceil(500)));
}
