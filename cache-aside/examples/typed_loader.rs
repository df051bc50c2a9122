//! A cache of users by a key of one's own: hits, one load for many, an absence,
//! an update.
//!
//! `cargo run -p cache-aside --example typed_loader`

use std::collections::BTreeMap;
use std::error::Error;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use cache_aside::{CacheAside, CacheKey, KeyEncoder, Moka};

#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
struct UserKey {
    tenant: &'static str,
    id: u64,
}

impl CacheKey for UserKey {
    fn encode(&self, key: &mut KeyEncoder) {
        key.str(self.tenant).u64(self.id);
    }
}

#[derive(Clone, Debug)]
struct User {
    name: String,
}

/// Stands for a database: a round trip takes a while.
#[derive(Clone, Default)]
struct Database(Arc<Mutex<BTreeMap<UserKey, User>>>);

impl Database {
    async fn user(&self, key: &UserKey) -> Result<Option<User>, std::io::Error> {
        println!("  the database is asked for {key:?}");
        tokio::time::sleep(Duration::from_millis(20)).await;
        Ok(self.0.lock().expect("no holder panics").get(key).cloned())
    }

    fn rename(&self, key: &UserKey, name: &str) {
        let user = User { name: name.to_owned() };
        self.0.lock().expect("no holder panics").insert(key.clone(), user);
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let users: CacheAside<UserKey, User> = CacheAside::builder("user")
        .l1(Moka::entries(100_000))
        .ttl(Duration::from_secs(300))
        .negative_ttl(Duration::from_secs(5))
        .build()?;
    let db = Database::default();
    let key = UserKey { tenant: "acme", id: 7 };
    db.rename(&key, "Ada");

    let read = || {
        users.get_or_load(&key, |cx| {
            let db = db.clone();
            async move { db.user(cx.key()).await }
        })
    };

    println!("a hundred readers at once, one load:");
    let mut readers = tokio::task::JoinSet::new();
    for _ in 0..100 {
        let (users, db, key) = (users.clone(), db.clone(), key.clone());
        readers.spawn(async move {
            users.get_or_load(&key, |cx| async move { db.user(cx.key()).await }).await
        });
    }
    for user in readers.join_all().await {
        assert_eq!(user?.expect("she is there").name, "Ada");
    }

    println!("a hit:");
    println!("  {:?}", read().await?);
    println!("  {}", users.explain(&key).await);

    println!("an update, then its invalidation:");
    db.rename(&key, "Ada Lovelace");
    users.invalidate(&key).await?;
    let user = read().await?.expect("she is there");
    println!("  {user:?}");
    assert_eq!(user.name, "Ada Lovelace");

    println!("a user who is not there, asked for twice:");
    let nobody = UserKey { tenant: "acme", id: 8 };
    for _ in 0..2 {
        let nobody = users.get_or_load(&nobody, |cx| {
            let db = db.clone();
            async move { db.user(cx.key()).await }
        });
        assert!(nobody.await?.is_none());
    }
    Ok(())
}
