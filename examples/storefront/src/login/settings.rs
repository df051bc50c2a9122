//! From the command line to a login: where sessions are kept, and with which keys.

use std::convert::Infallible;
use std::error::Error;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;
use std::{fmt, fs};

use clap::Args;
use jwt_refresh::http::DevelopmentOnly;
use jwt_refresh::store::{PostgresStore, RedisSettings, RedisStore};
use jwt_refresh::{
    Algorithm, BoxStore, Issuer, MemoryStore, RefreshKeys, SigningKey, SigningKeys, Transport,
};
use tokio::time::timeout;
use tokio_postgres::NoTls;

use super::Login;
use super::accounts::Accounts;
use crate::db::Database;
use crate::hex_key::HexKey;

/// Who issues the tokens, and for what: the same in all processes of the shop.
const ISSUER: &str = "https://storefront.example";
const AUDIENCE: &str = "https://storefront.example/api";

/// How long a start waits until the revocations are known.
const READY: Duration = Duration::from_secs(10);

/// Connections to PostgreSQL for sessions.
const CONNECTIONS: u32 = 8;

/// Options of `storefront serve`, about users who log in.
#[derive(Args, Debug)]
pub(crate) struct Settings {
    /// Where sessions are kept: `off`, then there is no login and everybody may do everything;
    /// `memory`, for one process; or the URL of a Redis or a PostgreSQL, redis://… or
    /// postgres://…. A URL of several hosts, postgres://user:password@a,b/database with
    /// ?target_session_attrs=read-write, follows a promotion among them.
    #[arg(long, env = "LOGIN_STORE", hide_env_values = true, default_value = "off")]
    login: Sessions,
    /// The key that signs access tokens, the same for all processes of the shop, as
    /// `openssl genpkey -algorithm ed25519` makes one. Without it, `--login memory` makes one.
    #[arg(long, env = "SIGNING_KEY", value_name = "FILE.pem")]
    signing_key: Option<PathBuf>,
    /// 64 hex digits, as `openssl rand -hex 32` prints, the same for all processes of the
    /// shop: what refresh tokens are made with. Without it, `--login memory` makes one.
    #[arg(long, env = "REFRESH_KEY", hide_env_values = true)]
    refresh_key: Option<HexKey>,
    /// For how long a refresh token that was replaced is still answered with its successor,
    /// in milliseconds: what two tabs at once, or a lost answer, need.
    #[arg(long, default_value_t = 10_000, value_parser = clap::value_parser!(u64).range(1..=60_000))]
    grace_ms: u64,
    /// How long an access token lives, in seconds: longer than the grace.
    #[arg(long, default_value_t = 900, value_parser = clap::value_parser!(u64).range(10..=3_600))]
    access_ttl: u64,
}

/// Where sessions are kept. A URL may hold a password, so it is not shown.
#[derive(Clone, PartialEq, Eq)]
enum Sessions {
    Off,
    Memory,
    Redis(String),
    Postgres(String),
    Unknown,
}

impl FromStr for Sessions {
    type Err = Infallible;

    /// A refusal by the command line would print what was given: so it is refused later.
    fn from_str(text: &str) -> Result<Self, Infallible> {
        let begins = |schemes: &[&str]| schemes.iter().any(|scheme| text.starts_with(scheme));
        Ok(match text {
            "off" => Self::Off,
            "memory" => Self::Memory,
            _ if begins(&["redis://"]) => Self::Redis(text.to_owned()),
            _ if begins(&["postgres://", "postgresql://"]) => Self::Postgres(text.to_owned()),
            _ => Self::Unknown,
        })
    }
}

impl fmt::Debug for Sessions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Sessions")
    }
}

impl Settings {
    /// The login, if there is one; `in_the_open` lets its cookie travel over plain HTTP on
    /// this machine.
    ///
    /// # Errors
    ///
    /// A key that is missing, damaged or weak; a store that is not there, or has another
    /// shop's settings.
    pub(crate) async fn open(
        &self,
        db: &Database,
        in_the_open: bool,
    ) -> Result<Option<Login>, Box<dyn Error>> {
        let store = match &self.login {
            Sessions::Off => return Ok(None),
            Sessions::Memory => BoxStore::new(MemoryStore::new()),
            Sessions::Redis(url) => {
                let settings = RedisSettings::default().prefix("storefront-login");
                let store = RedisStore::connect(url, settings).await;
                BoxStore::new(store.map_err(|e| format!("--login: {e}"))?)
            }
            Sessions::Postgres(url) => {
                let store = PostgresStore::connect(url, NoTls, CONNECTIONS).await;
                BoxStore::new(store.map_err(|e| format!("--login: {e}"))?)
            }
            Sessions::Unknown => {
                return Err("--login takes `off`, `memory`, redis://… or postgres://…".into());
            }
        };
        let accounts = Accounts(db.clone());
        let issuer = Issuer::builder(ISSUER, AUDIENCE)
            .keys(SigningKeys::new(self.signing_key()?)?)
            .refresh_keys(RefreshKeys::new(self.refresh_key()?)?)
            .store(store)
            .claims_source(accounts.clone())
            .grace(Duration::from_millis(self.grace_ms))
            .access_ttl(Duration::from_secs(self.access_ttl))
            .build()?;
        let verifier = issuer.verifier();
        timeout(READY, verifier.ready())
            .await
            .map_err(|_| format!("the revocations were not known after {READY:?}"))?;
        let transport = if in_the_open {
            let plain = DevelopmentOnly::the_refresh_cookie_travels_in_plain_http_on_loopback();
            Transport::development_cookie(plain)
        } else {
            Transport::host_cookie()
        };
        Ok(Some(Login::new(issuer, transport, accounts)?))
    }

    fn signing_key(&self) -> Result<SigningKey, Box<dyn Error>> {
        let Some(path) = &self.signing_key else {
            self.may_make_keys(
                "--signing-key",
                "openssl genpkey -algorithm ed25519 -out FILE",
            )?;
            return Ok(SigningKey::generate()?);
        };
        let named = |e: &dyn Error| format!("the signing key {}: {e}", path.display());
        let pem = fs::read_to_string(path).map_err(|e| named(&e))?;
        Ok(SigningKey::from_pem(Algorithm::EdDsa, &pem).map_err(|e| named(&e))?)
    }

    fn refresh_key(&self) -> Result<[u8; 32], Box<dyn Error>> {
        let Some(key) = &self.refresh_key else {
            self.may_make_keys("--refresh-key or REFRESH_KEY", "openssl rand -hex 32")?;
            let mut key = [0; 32];
            rustls::crypto::aws_lc_rs::default_provider()
                .secure_random
                .fill(&mut key)
                .map_err(|_| "there are no random numbers")?;
            return Ok(key);
        };
        Ok(key.bytes("the refresh key")?)
    }

    /// A key that one process has made is of no use to the others, or after a restart.
    fn may_make_keys(&self, option: &str, command: &str) -> Result<(), String> {
        if self.login == Sessions::Memory {
            return Ok(());
        }
        Err(format!(
            "sessions that outlive a process need {option}, the same in all processes; \
             `{command}` makes one"
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(login: &str) -> Settings {
        let login = login.parse().unwrap();
        let (signing_key, refresh_key) = (None, None);
        Settings { login, signing_key, refresh_key, grace_ms: 10_000, access_ttl: 900 }
    }

    #[tokio::test]
    async fn what_is_missing_or_wrong_is_said_without_secrets() {
        let db = Database::unreachable().await;
        assert!(settings("off").open(&db, false).await.unwrap().is_none());
        assert!(settings("memory").open(&db, false).await.unwrap().is_some());
        for (login, says) in [
            ("redis://:sesame@127.0.0.1:1/", "--login: "),
            ("postgres://u:sesame@127.0.0.1:1/db", "--login: "),
            ("postgres://u:sesame@host:port/db", "URL"),
            ("postgres://u:sesame@a,b/db", "target_session_attrs"),
            ("sesame", "--login takes"),
            ("rediss://sesame", "--login takes"),
        ] {
            let settings = settings(login);
            let error = settings.open(&db, false).await.unwrap_err();
            let said = format!("{settings:?} {error:?} {error}");
            assert!(said.contains(says) && !said.contains("sesame"), "{login}: {said}");
        }
        let shared = settings("redis://127.0.0.1/");
        assert!(shared.signing_key().unwrap_err().to_string().contains("openssl genpkey"));
        assert!(shared.refresh_key().unwrap_err().to_string().contains("openssl rand"));
    }
}
