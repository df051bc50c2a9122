use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use cache_aside::{CacheAside, Lookup, RedisStore, Version, VersionFloor};
use testbed::redis::{Redis, RedisCluster};

type Cache = CacheAside<u64, String>;

fn cache(store: RedisStore) -> Cache {
    // Its first operation connects, which by TLS takes its time.
    CacheAside::builder("user").l2(store).l2_timeout(Duration::from_secs(5)).build().unwrap()
}

async fn load(cache: &Cache, key: u64, loads: &Arc<AtomicU64>) -> String {
    let value = cache
        .get_or_load(&key, |cx| {
            let loads = Arc::clone(loads);
            async move {
                let n = loads.fetch_add(1, Ordering::SeqCst);
                Ok::<_, io::Error>(format!("{}:{n}", cx.key()))
            }
        })
        .await;
    value.unwrap().unwrap().to_string()
}

pub(crate) async fn everything(store: impl Fn() -> RedisStore) {
    let (one, two) = (cache(store()), cache(store()));
    let loads = Arc::new(AtomicU64::new(0));
    assert_eq!(load(&one, 7, &loads).await, "7:0");
    assert_eq!(load(&two, 7, &loads).await, "7:0", "shared");
    println!("{}", two.explain(&7).await);
    two.invalidate(&7).await.unwrap();
    assert_eq!(one.get(&7).await, Lookup::Miss);
    assert_eq!(load(&one, 7, &loads).await, "7:1");
    one.insert(&7, "inserted".to_owned()).await.unwrap();
    assert_eq!(load(&two, 7, &loads).await, "inserted");
    two.clear().await.unwrap();
    assert_eq!(load(&one, 7, &loads).await, "7:2");

    let keys: Vec<u64> = (0..100).collect();
    let many = one
        .get_many(&keys, |batch| async move {
            Ok::<_, io::Error>(
                batch.into_iter().map(|key| (key, format!("m{key}"))).collect::<Vec<_>>(),
            )
        })
        .await;
    assert_eq!(
        many.iter().filter(|v| v.as_ref().unwrap().as_ref().unwrap().starts_with('m')).count(),
        99
    );
    for key in 0..100 {
        assert!(matches!(two.get(&key).await, Lookup::Hit(_)), "{key}");
    }

    two.invalidate_at(&7, 9_u64).await.unwrap();
    let seen = Arc::new(std::sync::Mutex::new(None));
    let note = Arc::clone(&seen);
    one.get_or_load(&7, |cx| async move {
        *note.lock().unwrap() = Some(cx.version_floor());
        Ok::<_, io::Error>("no version".to_owned())
    })
    .await
    .unwrap();
    assert_eq!(*seen.lock().unwrap(), Some(VersionFloor::Unknown), "the first minute");
    assert_eq!(one.get(&7).await, Lookup::Miss, "below the floor");
    assert!(!one.insert_at(&7, 8_u64, "old".to_owned()).await.unwrap());
    assert!(one.insert_at(&7, 10_u64, "new".to_owned()).await.unwrap());
    assert!(!two.insert_at(&7, Version::from(9_u64), "old".to_owned()).await.unwrap());
    assert_eq!(load(&two, 7, &loads).await, "new");

    let reservation = one.reserve(&50).await;
    two.invalidate(&50).await.unwrap();
    assert!(!reservation.insert("late".to_owned()).await);
    let reservation = one.reserve(&50).await;
    assert!(reservation.insert("in time".to_owned()).await);
    assert_eq!(load(&two, 50, &loads).await, "in time");
}

#[tokio::test]
async fn one_server() {
    let redis = Redis::start().await.unwrap();
    everything(|| RedisStore::open(redis.url()).unwrap()).await;
}

#[tokio::test]
async fn a_cluster() {
    let cluster = RedisCluster::start().await.unwrap();
    everything(|| RedisStore::cluster(cluster.urls()).unwrap()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_misses_of_two_processes_are_one_load() {
    let redis = Redis::start().await.unwrap();
    let caches = [(); 2].map(|()| cache(RedisStore::open(redis.url()).unwrap()));
    let loads = Arc::new(AtomicU64::new(0));
    for round in 0..20 {
        let mut tasks = Vec::new();
        for n in 0..1_000 {
            let (cache, loads) = (caches[n % 2].clone(), Arc::clone(&loads));
            tasks.push(tokio::spawn(async move {
                let value = cache.get_or_load(&round, |_| async move {
                    tokio::time::sleep(Duration::from_millis(100)).await;
                    Ok::<_, io::Error>(loads.fetch_add(1, Ordering::SeqCst).to_string())
                });
                assert_eq!(*value.await.unwrap().unwrap(), round.to_string());
            }));
        }
        for task in tasks {
            task.await.unwrap();
        }
        assert_eq!(loads.load(Ordering::SeqCst), round + 1);
    }
}
