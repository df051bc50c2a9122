//! Shards that are down, slow, blackholed, read-only or restarted: the others go on.

use std::time::{Duration, Instant};

use shard_router::{Error, Router, Scatter, Topology};
use testbed::link::Link;

use crate::bed::{Bed, DEADLINE, NAMES, count_of, fill, order, user_on};

/// Links in front of the shards.
struct Linked {
    bed: Bed,
    links: Vec<Link>,
    router: Router,
}

impl Linked {
    async fn new(shards: usize) -> Self {
        let bed = Bed::servers(shards).await;
        bed.router().await;
        let links: Vec<_> =
            bed.servers.iter().map(|server| Link::to(server.addr()).unwrap()).collect();
        let topology = bed.servers.iter().zip(&links).zip(NAMES).fold(
            bed.topology(),
            |topology: Topology, ((server, link), name)| {
                topology.shard(name, server.url_at(link.addr())).unwrap()
            },
        );
        let router = Router::builder(topology)
            .connect_timeout(Duration::from_millis(300))
            .query_timeout(Duration::from_millis(500))
            .pool_timeout(Duration::from_secs(1))
            .recheck(Duration::from_millis(100))
            .pool_size(4)
            .build()
            .unwrap();
        fill(&router, 40).await;
        Self { bed, links, router }
    }

    fn users(&self) -> (i64, i64) {
        (user_on(&self.router, "a"), user_on(&self.router, "b"))
    }

    /// Requests to the healthy shard while others press on the sick one: all answered, and soon.
    async fn the_other_goes_on(&self) {
        let (healthy, sick) = self.users();
        let pressing: Vec<_> = (0..20)
            .map(|_| {
                let router = self.router.clone();
                tokio::spawn(async move {
                    for _ in 0..20 {
                        let outcome = count_of(&router, sick).await;
                        if let Err(error) = outcome {
                            assert_eq!(error.shard().unwrap().as_str(), "b", "{error}");
                        }
                        tokio::task::yield_now().await;
                    }
                })
            })
            .collect();
        for _ in 0..50 {
            let began = Instant::now();
            assert_eq!(count_of(&self.router, healthy).await.unwrap(), 1);
            assert!(began.elapsed() < Duration::from_millis(1500), "{:?}", began.elapsed());
        }
        for task in pressing {
            task.await.unwrap();
        }
    }

    async fn heals(&self) {
        let (_, sick) = self.users();
        testbed::eventually(DEADLINE, async || count_of(&self.router, sick).await.is_ok())
            .await;
        assert_eq!(self.count().await.unwrap(), 40);
    }

    async fn count(&self) -> Result<u64, Error> {
        let scatter = Scatter::require_all().deadline(Duration::from_secs(2));
        self.router.scatter(scatter).query("SELECT 1 FROM orders", &[]).count().await
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_shard_that_is_cut_off() {
    let linked = Linked::new(2).await;
    linked.links[1].cut();
    linked.the_other_goes_on().await;
    let error = linked.count().await.unwrap_err();
    assert!(matches!(&error, Error::Missing { missing } if missing[0].shard.as_str() == "b"));
    linked.links[1].heal();
    linked.heals().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_shard_that_swallows_every_byte() {
    let linked = Linked::new(2).await;
    linked.links[1].blackhole();
    let (_, sick) = linked.users();
    let mut failed = 0;
    while linked.router.stats().breaker_opens == 0 {
        count_of(&linked.router, sick).await.unwrap_err();
        failed += 1;
        assert!(failed < 50, "the breaker does not open");
    }
    // Now the answer comes at once.
    let began = Instant::now();
    let error = count_of(&linked.router, sick).await.unwrap_err();
    assert!(matches!(error, Error::Unreachable { .. }), "{error}");
    assert!(began.elapsed() < Duration::from_millis(250));
    linked.the_other_goes_on().await;
    let error = linked.count().await.unwrap_err();
    assert!(matches!(&error, Error::Missing { missing } if missing[0].shard.as_str() == "b"));
    linked.links[1].heal();
    linked.heals().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_shard_that_is_slow() {
    let linked = Linked::new(2).await;
    let (healthy, sick) = linked.users();
    assert_eq!(linked.count().await.unwrap(), 40);
    linked.links[1].delay(Duration::from_millis(60));
    let began = Instant::now();
    assert_eq!(count_of(&linked.router, healthy).await.unwrap(), 1);
    assert!(began.elapsed() < Duration::from_millis(100));
    count_of(&linked.router, sick).await.unwrap();
    // A scatter with too short a deadline says who is late; a longer one is answered.
    let scatter = Scatter::require_all().deadline(Duration::from_millis(50));
    let error = linked.router.scatter(scatter).query("SELECT 1 AS x", &[]).await.unwrap_err();
    assert!(error.to_string().contains("b (shard b had not answered after 50ms"), "{error}");
    assert_eq!(linked.count().await.unwrap(), 40);
}

/// With latencies injected, a scatter takes as long as its slowest shard, not as all of them.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_scatter_takes_as_long_as_its_slowest_shard() {
    let linked = Linked::new(4).await;
    for (link, millis) in linked.links.iter().zip([10, 20, 30, 60]) {
        link.delay(Duration::from_millis(millis));
    }
    // Once to connect and prepare.
    linked.count().await.unwrap();
    let mut times = Vec::new();
    for _ in 0..15 {
        let began = Instant::now();
        assert_eq!(linked.count().await.unwrap(), 40);
        times.push(began.elapsed());
    }
    times.sort();
    let median = times[times.len() / 2];
    // One round trip to the slowest takes 120 ms.
    assert!(median <= Duration::from_millis(120).mul_f64(1.3), "{median:?}");
}

#[tokio::test]
async fn a_shard_that_is_killed_and_restarted() {
    let bed = Bed::servers(2).await;
    let router = bed.router().await;
    fill(&router, 20).await;
    let (healthy, sick) = (user_on(&router, "a"), user_on(&router, "b"));
    bed.servers[1].kill().await.unwrap();
    let error = count_of(&router, sick).await.unwrap_err();
    assert_eq!(error.shard().unwrap().as_str(), "b");
    assert_eq!(count_of(&router, healthy).await.unwrap(), 1);
    bed.servers[1].restart().await.unwrap();
    testbed::eventually(DEADLINE, async || {
        count_of(&router, sick).await.is_ok_and(|rows| rows == 1)
    })
    .await;
}

#[tokio::test]
async fn a_shard_that_is_read_only() {
    let bed = Bed::servers(2).await;
    let router = bed.router().await;
    let (healthy, sick) = (user_on(&router, "a"), user_on(&router, "b"));
    let b = bed.client(1).await;
    b.batch_execute("ALTER SYSTEM SET default_transaction_read_only = on; ").await.unwrap();
    b.batch_execute("SELECT pg_reload_conf()").await.unwrap();
    testbed::eventually(DEADLINE, async || {
        order(&router, 1, sick, 1)
            .await
            .is_err_and(|error| error.is_read_only() && error.shard().unwrap().as_str() == "b")
    })
    .await;
    order(&router, 2, healthy, 1).await.unwrap();
    assert!(count_of(&router, sick).await.is_ok(), "it is read as before");
    let report = router.check().await;
    assert!(!report[0].state.as_ref().unwrap().read_only);
    assert!(report[1].state.as_ref().unwrap().read_only);
}

/// A write whose connection is lost may have happened or not, and is not sent again.
#[tokio::test]
async fn a_write_that_is_cut_off_has_an_unknown_outcome() {
    let linked = Linked::new(2).await;
    let (_, sick) = linked.users();
    let router = linked.router.clone();
    let writing = tokio::spawn(async move {
        router
            .with(&sick, |shard| async move {
                let sql = "INSERT INTO orders (id, user_id, note) \
                    SELECT 1000, $1, pg_sleep(0.3)::text";
                shard.execute(sql, &[&sick]).await
            })
            .await
    });
    let b = linked.bed.client(1).await;
    testbed::eventually(DEADLINE, async || {
        let sql = "SELECT count(*) FROM pg_stat_activity WHERE query LIKE '%SELECT 1000%' \
            AND state = 'active' AND pid <> pg_backend_pid()";
        b.query_one(sql, &[]).await.unwrap().get::<_, i64>(0) == 1
    })
    .await;
    linked.links[1].cut();
    let error = writing.await.unwrap().unwrap_err();
    assert!(matches!(error, Error::OutcomeUnknown { .. }), "{error}");
    assert!(error.may_have_happened() && !error.is_transient());
    linked.links[1].heal();
    linked.heals_after_write().await;
}

impl Linked {
    async fn heals_after_write(&self) {
        let (_, sick) = self.users();
        testbed::eventually(DEADLINE, async || count_of(&self.router, sick).await.is_ok())
            .await;
    }
}

#[tokio::test]
async fn a_pool_that_is_used_up_says_so() {
    let bed = Bed::databases(1).await;
    let router =
        bed.builder().pool_size(2).pool_timeout(Duration::from_millis(100)).build().unwrap();
    router.install().await.unwrap();
    let held = router.with(&1_i64, |shard| async move {
        let one = shard.begin().await?;
        let other = shard.begin().await?;
        Ok::<_, Error>((one, other))
    });
    let held = held.await.unwrap();
    let error = count_of(&router, 1).await.unwrap_err();
    assert!(matches!(error, Error::PoolTimeout { size: 2, .. }), "{error}");
    // Scatters have connections of their own.
    let scatter = router.scatter(Scatter::require_all());
    assert_eq!(scatter.query("SELECT 1 FROM orders", &[]).count().await.unwrap(), 0);
    held.0.rollback().await.unwrap();
    held.1.rollback().await.unwrap();
    assert_eq!(count_of(&router, 1).await.unwrap(), 0);
}
