//! Two processes of a shop with a login, behind HTTPS, that share a store of sessions.

use std::fs;
use std::net::SocketAddr;
use std::path::PathBuf;

use base64::Engine;
use testbed::Folder;
use testbed::postgres::{Postgres, Replica};
use testbed::redis::Redis;
use tokio_rustls::TlsConnector;

use super::browser::{Browser, trusting};
use crate::shop::{DEADLINE, Shop, seed};

/// Of the cookies that say what a user has written.
const TOKEN_KEY: &str = "6b5e0f6ad9d4f4ac2b8fdbd4bb3fa1c8f5d3e0d0d2b6a4f3a1c9e7b5d3f10214";

pub(crate) const REFRESH_KEY: &str =
    "91c2a7f05e3b48d6107f8c2d9e4b6a35f0c1d2e3948576a1b2c3d4e5f6071829";

pub(crate) struct Bed {
    pub(crate) postgres: Postgres,
    redis: Option<Redis>,
    pub(crate) shops: [Shop; 2],
    pub(crate) tls: TlsConnector,
    _replica: Option<Replica>,
    _folder: Folder,
}

/// Where sessions are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Store {
    Redis,
    Postgres,
}

impl Bed {
    pub(crate) async fn open(store: Store, options: &[&str]) -> Self {
        Self::over(store, false, options).await
    }

    /// With a replica that replays nothing.
    pub(crate) async fn replicated() -> Self {
        Self::over(Store::Redis, true, &["--cache", "off", "--token-key", TOKEN_KEY]).await
    }

    async fn over(store: Store, replicated: bool, options: &[&str]) -> Self {
        let postgres = Postgres::start().await.unwrap();
        let folder = Folder::new("storefront").await.unwrap();
        seed(&folder, &postgres, &[]).await;
        let mut database = postgres.url();
        let mut replica = None;
        if replicated {
            let behind = postgres.replica().await.unwrap();
            behind.caught_up(DEADLINE).await.unwrap();
            behind.pause_replay().await.unwrap();
            database = [database, behind.url()].join(",");
            replica = Some(behind);
        }
        let redis = match store {
            Store::Redis => Some(Redis::start().await.unwrap()),
            Store::Postgres => None,
        };
        let sessions = redis.as_ref().map_or_else(|| postgres.url(), Redis::url);
        let key = folder.path().join("signing.pem");
        fs::write(&key, signing_key()).unwrap();
        let key = key.to_str().unwrap();
        let login = ["--login", &sessions, "--signing-key", key, "--refresh-key", REFRESH_KEY];

        let certificates =
            ["one", "two"].map(|name| folder.path().join(name).with_extension("pem"));
        let open = async |name, certificate: &PathBuf| {
            let https = ["--https", certificate.to_str().unwrap()];
            Shop::open(&folder, name, &database, &[&https[..], &login, options].concat()).await
        };
        let shops = [open("one", &certificates[0]).await, open("two", &certificates[1]).await];
        let tls = trusting(&certificates);
        Self { postgres, redis, shops, tls, _replica: replica, _folder: folder }
    }

    pub(crate) fn addrs(&self) -> [SocketAddr; 2] {
        [self.shops[0].addr, self.shops[1].addr]
    }

    pub(crate) fn browser(&self) -> Browser {
        Browser::new(&self.tls)
    }

    /// By which each user logs in, from user 1 on.
    pub(crate) async fn emails(&self) -> Vec<String> {
        let emails = "SELECT email FROM storefront.users ORDER BY id";
        let rows = self.postgres.client().await.unwrap().query(emails, &[]).await.unwrap();
        rows.iter().map(|row| row.get(0)).collect()
    }

    /// How many rotations the store has counted, over all sessions.
    pub(crate) async fn rotations(&self) -> i64 {
        let Some(redis) = &self.redis else {
            let sum = "SELECT sum(generation)::bigint FROM jwt_refresh.sessions";
            let client = self.postgres.client().await.unwrap();
            return client.query_one(sum, &[]).await.unwrap().get(0);
        };
        let client = redis::Client::open(redis.url()).unwrap();
        let mut connection = client.get_multiplexed_async_connection().await.unwrap();
        let sum = "local sum = 0
            for _, key in ipairs(redis.call('KEYS', '*:s:*')) do
              sum = sum + redis.call('HGET', key, 'gen')
            end
            return sum";
        redis::Script::new(sum).invoke_async(&mut connection).await.unwrap()
    }

    /// Nothing has panicked, and no secret is in a log.
    pub(crate) fn is_unharmed(&self) {
        for shop in &self.shops {
            shop.is_unharmed();
            let log = shop.log();
            for secret in [REFRESH_KEY, super::browser::PASSWORD, "PRIVATE KEY", "jr1_", "eyJ"]
            {
                assert!(!log.contains(secret), "{secret} in {log}");
            }
        }
    }
}

/// An Ed25519 key in PKCS #8, as `openssl genpkey` writes it.
pub(super) fn signing_key() -> String {
    let head = [0x30, 0x2e, 2, 1, 0, 0x30, 5, 6, 3, 0x2b, 0x65, 0x70, 4, 0x22, 4, 0x20];
    let key: [u8; 32] = std::array::from_fn(|at| (at as u8).wrapping_mul(37) ^ 0x5c);
    let der = base64::engine::general_purpose::STANDARD.encode([&head[..], &key].concat());
    format!("-----BEGIN PRIVATE KEY-----\n{der}\n-----END PRIVATE KEY-----\n")
}
