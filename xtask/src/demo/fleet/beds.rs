//! The servers of a fleet: three clusters of a primary and a replica each, and a Redis.

use std::fs;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use testbed::Folder;
use testbed::postgres::{Postgres, Replica};
use testbed::redis::Redis;

use crate::demo::replicas::{random, token_key};
use crate::demo::shop::Storefront;

/// A primary and its replica.
struct Pair {
    primary: Postgres,
    replica: Replica,
}

impl Pair {
    async fn start() -> Result<Self, testbed::Error> {
        let primary = Postgres::start().await?;
        let replica = primary.replica().await?;
        Ok(Self { primary, replica })
    }

    /// Of one of its databases, on whichever of both takes writes.
    fn url_of(&self, database: &str) -> String {
        let (primary, replica) = (self.primary.addr(), self.replica.addr());
        let both = format!("{primary},{replica}");
        let url = self.primary.url_of(database).replace(&primary.to_string(), &both);
        format!("{url}?target_session_attrs=read-write")
    }

    async fn stop(&self) -> Result<(), testbed::Error> {
        self.replica.stop().await?;
        self.primary.stop().await
    }
}

/// All of them.
pub(crate) struct Beds {
    shop: Pair,
    shards: [Pair; 2],
    redis: Redis,
    keys: Folder,
    token_key: String,
    refresh_key: String,
}

impl Beds {
    /// With the shop that is to be opened on them.
    pub(crate) async fn start() -> Result<(Self, Storefront), String> {
        let text = |error: testbed::Error| error.to_string();
        let pairs = tokio::try_join!(Pair::start(), Pair::start(), Pair::start());
        let (shop, one, two) = pairs.map_err(text)?;
        let redis = Redis::start().await.map_err(text)?;
        let client = shop.primary.client().await.map_err(text)?;
        // Tokens have a database of their own, and a cache of theirs nobody wants.
        let made = client.batch_execute("CREATE DATABASE tokens").await;
        made.map_err(|error| error.to_string())?;

        let shards =
            [("orders-1", one.url_of("postgres")), ("orders-2", two.url_of("postgres"))];
        let keys = Folder::new("keys").await.map_err(text)?;
        let signing = keys.path().join("signing.pem");
        let written = fs::write(&signing, signing_key()?);
        written.map_err(|error| format!("{}: {error}", signing.display()))?;
        let beds = Self {
            shop,
            shards: [one, two],
            redis,
            keys,
            token_key: token_key()?,
            refresh_key: token_key()?,
        };
        let storefront = Storefront::on_shards(beds.shop.primary.url(), &shards).await?;
        let storefront = beds.settle(storefront, "postgres", &beds.redis);
        Ok((beds, storefront))
    }

    /// Another shop on the same servers, whose orders are in its database; with a cache of its
    /// own.
    pub(crate) async fn beside(&self) -> Result<(Storefront, Redis), String> {
        let text = |error: testbed::Error| error.to_string();
        let client = self.shop.primary.client().await.map_err(text)?;
        let made = client.batch_execute("CREATE DATABASE beside").await;
        made.map_err(|error| error.to_string())?;
        let redis = Redis::start().await.map_err(text)?;
        let storefront = Storefront::new(String::new(), String::new()).await?;
        Ok((self.settle(storefront, "beside", &redis), redis))
    }

    /// By which a user logs in.
    pub(crate) async fn email_of(&self, user: u32) -> Result<String, String> {
        let client = self.shop.primary.client().await.map_err(|error| error.to_string())?;
        let sql = format!("SELECT email FROM storefront.users WHERE id = {user}");
        let row = client.query_one(&sql, &[]).await.map_err(|error| error.to_string())?;
        Ok(row.get(0))
    }

    fn settle(&self, storefront: Storefront, database: &str, redis: &Redis) -> Storefront {
        let Pair { primary, replica } = &self.shop;
        let both = format!("{},{}", primary.url_of(database), replica.url_of(database));
        storefront
            .and("DATABASE_URL", both)
            .and("REDIS_URL", redis.url())
            .and("TOKEN_KEY", self.token_key.clone())
            .and("LOGIN_STORE", self.shop.url_of("tokens"))
            .and("SIGNING_KEY", self.keys.path().join("signing.pem").display().to_string())
            .and("REFRESH_KEY", self.refresh_key.clone())
    }

    pub(crate) async fn stop(self) -> Result<(), String> {
        let stopped = async {
            for pair in self.shards.iter().chain([&self.shop]) {
                pair.stop().await?;
            }
            self.redis.stop().await
        };
        stopped.await.map_err(|error| error.to_string())
    }
}

/// An Ed25519 key in PKCS #8 (RFC 8410), as `openssl genpkey -algorithm ed25519` writes one:
/// 32 random bytes behind a head that is always the same.
fn signing_key() -> Result<String, String> {
    let head = [0x30, 0x2e, 2, 1, 0, 0x30, 5, 6, 3, 0x2b, 0x65, 0x70, 4, 0x22, 4, 0x20];
    let key = STANDARD.encode([&head[..], &random()?].concat());
    Ok(format!("-----BEGIN PRIVATE KEY-----\n{key}\n-----END PRIVATE KEY-----\n"))
}
