use std::future::Future;
use std::time::Duration;

use tokio::time::Instant;

use crate::shared::{
    Acquired, Ask, Fill, Filled, Floor, Found, Lease, Reading, Record, RecordId, SharedError,
    SharedStore,
};
use crate::version::{Version, VersionFloor};

const LONG: Duration = Duration::from_secs(60);
const SHORT: Duration = Duration::from_millis(40);

/// How long something may take that takes `SHORT`.
const DEADLINE: Duration = Duration::from_secs(10);

/// Runs the whole suite on handles made by `make`, all of one store that works. They
/// are bound to caches of the suite's own names, `conformance-…`, whose records it
/// leaves behind. It takes under a second of real time.
///
/// # Panics
///
/// When the store breaks a rule; the message says which.
///
/// # Cancel safety
///
/// Dropped before its end, it leaves records and leases behind, which run out.
pub async fn shared<S: SharedStore>(make: impl Fn() -> S) {
    // Of each run, so that what an earlier one left is not found.
    let run = fastrand::u64(..);
    let bound = |name: &str| {
        let mut store = make();
        store.bind(&format!("conformance-{run:x}-{name}"));
        Handle(store)
    };
    partitions(&bound("partitions"));
    fills_what_it_leased(&bound("fill")).await;
    leases_to_one_at_a_time(&bound("lease")).await;
    refuses_a_lost_lease(&bound("lost")).await;
    leases_over_a_live_record(&bound("refresh")).await;
    clears_records_and_leases(&bound("clear")).await;
    displaces(&bound("displace")).await;
    keeps_floors(&bound("floors")).await;
    forgets_in_time(&bound("time")).await;
    answers_many_in_order(&bound("many")).await;
    takes_any_bytes(&bound("bytes")).await;
    keeps_caches_apart(&bound("one"), &bound("two")).await;
    bound("probe").ok(|store| async { store.probe(0).await }).await;
}

/// A store under test, with its calls made short.
struct Handle<S>(S);

impl<S: SharedStore> Handle<S> {
    async fn ok<'a, T, F>(&'a self, call: impl FnOnce(&'a S) -> F) -> T
    where
        F: Future<Output = Result<T, SharedError>>,
    {
        call(&self.0).await.expect("the store under test works")
    }

    async fn read(&self, key: &[u8]) -> Option<Found> {
        match self.ok(|s| async { s.read(&[key]).await }).await.pop() {
            Some(Reading::Found(found)) => Some(found),
            Some(_) => None,
            None => panic!("one key, and no answer"),
        }
    }

    async fn body(&self, key: &[u8]) -> Option<Vec<u8>> {
        self.read(key).await.map(|found| found.body().to_vec())
    }

    async fn ask(&self, key: &[u8], seen: Option<RecordId>, lease: Duration) -> Acquired {
        self.ask_floor(key, seen, lease, LONG).await
    }

    async fn ask_floor(
        &self,
        key: &[u8],
        seen: Option<RecordId>,
        lease: Duration,
        floor_ttl: Duration,
    ) -> Acquired {
        let ask = Ask { key, seen, lease, floor_ttl };
        let mut acquired = self.ok(|s| async { s.acquire(&[ask]).await }).await;
        acquired.pop().expect("one key, and no answer")
    }

    async fn lease(&self, key: &[u8]) -> Lease {
        match self.ask(key, None, LONG).await {
            Acquired::Leased(lease, _) => lease,
            other => panic!("a free key was not leased: {other:?}"),
        }
    }

    async fn fill(&self, key: &[u8], lease: &Lease, body: &[u8]) -> Filled {
        self.fill_as(key, lease, Some(Record { body, ttl: LONG, version: None })).await
    }

    async fn fill_as(&self, key: &[u8], lease: &Lease, record: Option<Record<'_>>) -> Filled {
        let fill = Fill { key, lease, record };
        let mut filled = self.ok(|s| async { s.fill(&[fill]).await }).await;
        filled.pop().expect("one fill, and no answer")
    }

    async fn store(&self, key: &[u8], body: &[u8]) {
        let lease = self.lease(key).await;
        assert_eq!(self.fill(key, &lease, body).await, Filled::Stored);
    }

    async fn invalidate(&self, key: &[u8]) {
        self.ok(|s| async { s.invalidate(key, None).await }).await;
    }

    async fn clear(&self, floors: bool) {
        for partition in 0..self.0.partitions() {
            self.ok(|s| async { s.clear(partition, floors).await }).await;
        }
    }
}

fn partitions<S: SharedStore>(store: &Handle<S>) {
    let partitions = store.0.partitions();
    assert!(partitions >= 1, "it has no partitions");
    for key in 0..1_000_u32 {
        let key = key.to_be_bytes();
        let partition = store.0.partition(&key);
        assert!(partition < partitions, "partition {partition} of {partitions}");
        assert_eq!(partition, store.0.partition(&key), "a key has two partitions");
    }
}

async fn fills_what_it_leased<S: SharedStore>(store: &Handle<S>) {
    assert!(store.read(b"k").await.is_none(), "an empty store has a record");
    let lease = store.lease(b"k").await;
    assert!(store.read(b"k").await.is_none(), "a lease is no record");
    assert_eq!(store.fill(b"k", &lease, b"one").await, Filled::Stored);
    let found = store.read(b"k").await.expect("it was stored");
    assert_eq!(found.body(), b"one");
    assert!(found.age < DEADLINE, "it says that it is {:?} old", found.age);
    assert_eq!(
        store.fill(b"k", &lease, b"twice").await,
        Filled::LeaseLost,
        "a lease was used twice"
    );
    assert_eq!(store.body(b"k").await.as_deref(), Some(&b"one"[..]));
}

async fn leases_to_one_at_a_time<S: SharedStore>(store: &Handle<S>) {
    let first = store.lease(b"k").await;
    let second = store.ask(b"k", None, LONG).await;
    assert!(matches!(second, Acquired::Held), "a key was leased twice: {second:?}");
    let other = store.lease(b"other").await;
    assert_ne!(first.token, other.token, "two leases have one token");
    store.ok(|s| async { s.release(&[(b"k", &other)]).await }).await;
    let held = store.ask(b"k", None, LONG).await;
    assert!(matches!(held, Acquired::Held), "a lease was given back by who has another");
    store.ok(|s| async { s.release(&[(b"k", &first)]).await }).await;
    let next = store.lease(b"k").await;
    assert_ne!(first.token, next.token, "a token came twice");
    assert_eq!(store.fill(b"k", &first, b"old").await, Filled::LeaseLost);
    assert_eq!(store.fill(b"k", &next, b"new").await, Filled::Stored);
}

async fn refuses_a_lost_lease<S: SharedStore>(store: &Handle<S>) {
    let lease = store.lease(b"k").await;
    store.invalidate(b"k").await;
    assert_eq!(
        store.fill(b"k", &lease, b"old").await,
        Filled::LeaseLost,
        "an invalidation was overtaken"
    );
    assert!(store.read(b"k").await.is_none(), "a refused record is there");
    // A new lease is no leave for the old one.
    let next = store.lease(b"k").await;
    assert_eq!(store.fill(b"k", &lease, b"old").await, Filled::LeaseLost);
    assert_eq!(store.fill(b"k", &next, b"new").await, Filled::Stored);
    store.invalidate(b"k").await;
    assert!(store.read(b"k").await.is_none(), "a record outlived its invalidation");
    store.invalidate(b"never seen").await;
}

async fn leases_over_a_live_record<S: SharedStore>(store: &Handle<S>) {
    store.store(b"k", b"one").await;
    let unseen = store.ask(b"k", None, LONG).await;
    let Acquired::Read(Reading::Found(found)) = unseen else {
        panic!("there is a record that the asker has not seen, and the answer is {unseen:?}");
    };
    let lease = match store.ask(b"k", Some(found.id), LONG).await {
        Acquired::Leased(lease, _) => lease,
        other => panic!("a record that was seen could not be leased over: {other:?}"),
    };
    assert_eq!(store.body(b"k").await.as_deref(), Some(&b"one"[..]), "the live record went");
    assert_eq!(store.fill(b"k", &lease, b"two").await, Filled::Stored);
    let renewed = store.read(b"k").await.expect("it was stored");
    assert_eq!(renewed.body(), b"two");
    assert_ne!(renewed.id, found.id, "two records have one id");
    // Nothing to keep: what is there is dropped.
    let lease = match store.ask(b"k", Some(renewed.id), LONG).await {
        Acquired::Leased(lease, _) => lease,
        other => panic!("a record that was seen could not be leased over: {other:?}"),
    };
    assert_eq!(store.fill_as(b"k", &lease, None).await, Filled::Stored);
    assert!(store.read(b"k").await.is_none(), "an empty fill left the record");
}

async fn clears_records_and_leases<S: SharedStore>(store: &Handle<S>) {
    let keys: Vec<[u8; 4]> = (0..50_u32).map(u32::to_be_bytes).collect();
    for key in &keys {
        store.store(key, b"old").await;
    }
    let lease = store.lease(b"k").await;
    store.clear(false).await;
    for key in &keys {
        assert!(store.read(key).await.is_none(), "a record outlived a clear");
    }
    let new = match store.ask(b"k", None, LONG).await {
        Acquired::Leased(new, _) => new,
        other => panic!("a lease outlived a clear: {other:?}"),
    };
    assert_eq!(
        store.fill(b"k", &lease, b"old").await,
        Filled::LeaseLost,
        "a clear was overtaken"
    );
    store.ok(|s| async { s.release(&[(b"k", &new)]).await }).await;
    assert!(store.read(b"k").await.is_none(), "a refused record is there");
    // A record from before it is no obstacle.
    let id = match store.ask(&keys[0], None, LONG).await {
        Acquired::Read(Reading::Unusable(id, _)) => Some(id),
        Acquired::Leased(lease, _) => {
            store.ok(|s| async { s.release(&[(&keys[0], &lease)]).await }).await;
            None
        }
        other => panic!("after a clear: {other:?}"),
    };
    let Acquired::Leased(lease, _) = store.ask(&keys[0], id, LONG).await else {
        panic!("after a clear a key cannot be leased");
    };
    assert_eq!(store.fill(&keys[0], &lease, b"new").await, Filled::Stored);
    assert_eq!(store.body(&keys[0]).await.as_deref(), Some(&b"new"[..]));
}

async fn displaces<S: SharedStore>(store: &Handle<S>) {
    let floor = |version: u64| Floor { version: Version::from(version), ttl: LONG };
    store.store(b"k", b"old").await;
    let late = match store.ask(b"k", store.read(b"k").await.map(|found| found.id), LONG).await {
        Acquired::Leased(lease, _) => lease,
        other => panic!("a record that was seen could not be leased over: {other:?}"),
    };
    let lease = store.ok(|s| async { s.displace(b"k", LONG, None).await }).await;
    let lease = lease.expect("no newer version is known");
    assert!(store.read(b"k").await.is_none(), "what was displaced is there");
    assert_eq!(store.fill(b"k", &late, b"old").await, Filled::LeaseLost);
    assert_eq!(store.fill(b"k", &lease, b"new").await, Filled::Stored);

    let version = floor(5);
    let lease = store.ok(|s| async { s.displace(b"k", LONG, Some(&version)).await }).await;
    let lease = lease.expect("no newer version is known");
    let record = Record { body: b"five", ttl: LONG, version: Some(version.version) };
    assert_eq!(store.fill_as(b"k", &lease, Some(record)).await, Filled::Stored);
    let older = floor(4);
    let refused = store.ok(|s| async { s.displace(b"k", LONG, Some(&older)).await }).await;
    assert!(refused.is_none(), "an older version displaced a newer one");
    assert_eq!(store.body(b"k").await.as_deref(), Some(&b"five"[..]), "a refusal changed it");
}

async fn keeps_floors<S: SharedStore>(store: &Handle<S>) {
    let [low, high] = [5_u64, 6].map(Version::from);
    let ask = async |key: &[u8], ttl| match store.ask_floor(key, None, LONG, ttl).await {
        Acquired::Leased(lease, floor) => (lease, floor),
        other => panic!("a free key was not leased: {other:?}"),
    };
    let (lease, floor) = ask(b"k", LONG).await;
    assert_eq!(floor, VersionFloor::Unknown, "nothing is known of the time before");
    store.ok(|s| async { s.release(&[(b"k", &lease)]).await }).await;
    let known = eventually(async || {
        let (lease, floor) = ask(b"k", SHORT).await;
        store.ok(|s| async { s.release(&[(b"k", &lease)]).await }).await;
        floor == VersionFloor::None
    });
    assert!(known.await, "with floors that last {SHORT:?}, all are known after that");

    for version in [high, low] {
        let floor = Floor { version, ttl: LONG };
        store.ok(|s| async { s.invalidate(b"k", Some(&floor)).await }).await;
    }
    let (lease, floor) = ask(b"k", SHORT).await;
    assert_eq!(floor, VersionFloor::AtLeast(high), "the highest floor is the one that holds");
    for version in [None, Some(low)] {
        let record = Record { body: b"old", ttl: LONG, version };
        let lease = match version {
            None => lease.clone(),
            Some(_) => ask(b"k", SHORT).await.0,
        };
        let filled = store.fill_as(b"k", &lease, Some(record)).await;
        assert_eq!(filled, Filled::BelowFloor, "{version:?} is below {high:?}");
        assert!(store.read(b"k").await.is_none(), "a refused record is there");
    }
    let (lease, _) = ask(b"k", SHORT).await;
    let record = Record { body: b"new", ttl: LONG, version: Some(high) };
    assert_eq!(store.fill_as(b"k", &lease, Some(record)).await, Filled::Stored);
    // It may be in a partition whose floors are not known yet.
    let known = eventually(async || {
        let (lease, floor) = ask(b"another key", SHORT).await;
        store.ok(|s| async { s.release(&[(b"another key", &lease)]).await }).await;
        assert!(!matches!(floor, VersionFloor::AtLeast(_)), "the floor of another key");
        floor == VersionFloor::None
    });
    assert!(known.await, "with floors that last {SHORT:?}, all are known after that");

    store.clear(true).await;
    let (_, floor) = ask(b"third", LONG).await;
    assert_eq!(floor, VersionFloor::Unknown, "floors that were forgotten are unknown");
}

async fn forgets_in_time<S: SharedStore>(store: &Handle<S>) {
    let lease = store.lease(b"record").await;
    let record = Record { body: b"brief", ttl: SHORT, version: None };
    assert_eq!(store.fill_as(b"record", &lease, Some(record)).await, Filled::Stored);
    let gone = eventually(async || store.read(b"record").await.is_none()).await;
    assert!(gone, "a record outlived its TTL of {SHORT:?} by {DEADLINE:?}");

    let Acquired::Leased(lost, _) = store.ask(b"lease", None, SHORT).await else {
        panic!("a free key was not leased");
    };
    let free = eventually(async || {
        matches!(store.ask(b"lease", None, LONG).await, Acquired::Leased(..))
    });
    assert!(free.await, "a lease of {SHORT:?} was held for {DEADLINE:?}");
    assert_eq!(store.fill(b"lease", &lost, b"late").await, Filled::LeaseLost);
}

async fn answers_many_in_order<S: SharedStore>(store: &Handle<S>) {
    let keys: Vec<[u8; 4]> = (0..100_u32).map(u32::to_be_bytes).collect();
    for key in keys.iter().step_by(2) {
        store.store(key, key).await;
    }
    // One call is for keys of one domain.
    let domain = |key: &[u8]| store.0.domain(store.0.partition(key));
    let of_one: Vec<&[u8]> =
        keys.iter().map(|key| &key[..]).filter(|key| domain(key) == domain(&keys[0])).collect();
    let readings = store.ok(|s| async { s.read(&of_one).await }).await;
    assert_eq!(readings.len(), of_one.len(), "an answer for each key");
    for (key, reading) in of_one.iter().zip(&readings) {
        let body = match reading {
            Reading::Found(found) => Some(found.body()),
            _ => None,
        };
        let stored = key[3] % 2 == 0;
        assert_eq!(body, stored.then_some(*key), "the answers are not in the keys' order");
    }
    let twice = store.ok(|s| async { s.read(&[of_one[0], of_one[0]]).await }).await;
    assert!(matches!(twice[..], [Reading::Found(_), Reading::Found(_)]), "a key came twice");

    let asks = of_one.iter().map(|key| Ask { key, seen: None, lease: LONG, floor_ttl: LONG });
    let asks: Vec<Ask<'_>> = asks.collect();
    let acquired = store.ok(|s| async { s.acquire(&asks).await }).await;
    assert_eq!(acquired.len(), of_one.len(), "an answer for each key");
    let mut fills = Vec::new();
    for (key, acquired) in of_one.iter().zip(&acquired) {
        match acquired {
            Acquired::Read(Reading::Found(_)) => assert_eq!(key[3] % 2, 0, "mixed up"),
            Acquired::Leased(lease, _) => {
                assert_eq!(key[3] % 2, 1, "mixed up");
                let record = Some(Record { body: key, ttl: LONG, version: None });
                fills.push(Fill { key, lease, record });
            }
            other => panic!("neither a record nor a lease: {other:?}"),
        }
    }
    let filled = store.ok(|s| async { s.fill(&fills).await }).await;
    assert_eq!(filled, vec![Filled::Stored; fills.len()]);
    for key in &of_one {
        assert_eq!(store.body(key).await.as_deref(), Some(*key), "mixed up");
    }
}

async fn takes_any_bytes<S: SharedStore>(store: &Handle<S>) {
    let keys: [&[u8]; 5] = [b"", b"\0", b"{a}", b"\r\n*1\r\n", &[0xFF; 300]];
    for key in keys {
        store.store(key, key).await;
    }
    for key in keys {
        assert_eq!(store.body(key).await.as_deref(), Some(key), "{:?}", key.escape_ascii());
    }
}

async fn keeps_caches_apart<S: SharedStore>(one: &Handle<S>, two: &Handle<S>) {
    one.store(b"k", b"one").await;
    assert!(two.read(b"k").await.is_none(), "caches of two names share a record");
    two.store(b"k", b"two").await;
    two.invalidate(b"k").await;
    two.clear(false).await;
    assert_eq!(one.body(b"k").await.as_deref(), Some(&b"one"[..]), "the other cache's went");
}

async fn eventually(condition: impl AsyncFn() -> bool) -> bool {
    let deadline = Instant::now() + DEADLINE;
    while Instant::now() < deadline {
        if condition().await {
            return true;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    false
}
