//! Sessions and the feed on Redis 6.2 or newer, single or Cluster.

mod feed;
mod link;
mod scripts;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use aws_lc_rs::digest;
use redis::ScriptInvocation;

use self::link::Link;
use super::{
    Created, Cursor, Described, Feed, NewSession, Revocation, Revoke, Rotate, Rotation,
    Session, SessionId, SessionRef, Store,
};
use crate::error::{BoxError, BuildError};

/// A store on Redis: one script for each step. Clones share it.
///
/// A user's sessions, epoch and part of the feed share a hash tag, and so a slot of
/// a Cluster. The number of such parts is fixed when the store is first used, and
/// kept there.
///
/// # What Redis must be set to
///
/// `maxmemory-policy noeviction`, which [`connect`](Self::connect) checks: an
/// evicted session would be a logout, an evicted key of a user's epoch the undoing of
/// one. What a restart or a failover loses is lost: with `appendonly yes` and
/// `appendfsync always` that is nothing on a single server.
#[derive(Clone)]
pub struct RedisStore {
    shared: Arc<Shared>,
}

struct Shared {
    link: Link,
    buckets: u16,
    /// `{prefix:0}`, `{prefix:1}`, and so on.
    tags: Vec<String>,
    scripts: scripts::Scripts,
}

/// The settings of a [`RedisStore`].
#[derive(Clone, Debug)]
#[must_use]
pub struct RedisSettings {
    prefix: String,
    buckets: u16,
}

impl Default for RedisSettings {
    fn default() -> Self {
        Self { prefix: "jwt-refresh".into(), buckets: 16 }
    }
}

impl RedisSettings {
    /// What all keys begin with, `jwt-refresh` by default.
    pub fn prefix(mut self, prefix: impl Into<String>) -> Self {
        self.prefix = prefix.into();
        self
    }

    /// Over how many slots of a Cluster the users are spread: 16 by default, from
    /// 1 to 256. It cannot be changed later.
    pub fn buckets(mut self, buckets: u16) -> Self {
        self.buckets = buckets;
        self
    }

    fn check(&self) -> Result<(), BuildError> {
        if self.prefix.is_empty() || self.prefix.contains(['{', '}', ' ']) {
            let reason = "it must not be empty, nor hold braces or spaces";
            return Err(BuildError::new("prefix", reason));
        }
        if !(1..=256).contains(&self.buckets) {
            let reason = format!("{} is not from 1 to 256", self.buckets);
            return Err(BuildError::new("buckets", reason));
        }
        Ok(())
    }
}

impl RedisStore {
    /// Connects to the server at `url`, `redis://[:password@]host:port/db`.
    ///
    /// # Errors
    ///
    /// When it cannot be reached, its `maxmemory-policy` is not `noeviction`, or
    /// what is there was made with another number of buckets.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe.
    pub async fn connect(url: &str, settings: RedisSettings) -> Result<Self, BuildError> {
        let link = Link::single(url).await.map_err(unreachable)?;
        Self::on(link, settings).await
    }

    /// Connects to the Cluster that these nodes belong to.
    ///
    /// # Errors
    ///
    /// As [`connect`](Self::connect).
    ///
    /// # Cancel safety
    ///
    /// Cancel safe.
    pub async fn connect_cluster(
        urls: &[&str],
        settings: RedisSettings,
    ) -> Result<Self, BuildError> {
        let link = Link::cluster(urls).await.map_err(unreachable)?;
        Self::on(link, settings).await
    }

    async fn on(link: Link, settings: RedisSettings) -> Result<Self, BuildError> {
        settings.check()?;
        let RedisSettings { prefix, buckets } = settings;
        for policy in link.eviction_policies().await.map_err(unreachable)? {
            if policy != "noeviction" {
                return Err(BuildError::new(
                    "url",
                    format!(
                        "the server's maxmemory-policy is {policy}: it would evict sessions and \
                         revocations; set it to noeviction"
                    ),
                ));
            }
        }
        let tags: Vec<_> = (0..buckets).map(|at| format!("{{{prefix}:{at}}}")).collect();
        let made = link.claim(&format!("{}:buckets", tags[0]), buckets).await;
        let made = made.map_err(unreachable)?;
        if made != buckets {
            return Err(BuildError::new(
                "buckets",
                format!(
                    "this store was made with {made}, not {buckets}; use {made}, or another prefix"
                ),
            ));
        }
        let scripts = scripts::Scripts::new();
        Ok(Self { shared: Arc::new(Shared { link, buckets, tags, scripts }) })
    }

    /// The keys of a bucket.
    fn tag(&self, bucket: u16) -> &str {
        &self.shared.tags[usize::from(bucket % self.shared.buckets)]
    }

    fn session_key(&self, session: SessionRef) -> String {
        format!("{}:s:{}", self.tag(session.bucket), hex(session.id))
    }

    fn feed_key(&self, bucket: u16) -> String {
        format!("{}:f", self.tag(bucket))
    }

    fn bucket_of(&self, text: &str) -> u16 {
        let digest = digest::digest(&digest::SHA256, text.as_bytes());
        let first = *digest.as_ref().first_chunk::<2>().expect("SHA-256 has 32 bytes");
        u16::from_be_bytes(first) % self.shared.buckets
    }

    async fn run(&self, call: &ScriptInvocation<'_>) -> Result<Vec<Vec<u8>>, BoxError> {
        Ok(self.shared.link.script(call).await?)
    }
}

impl Store for RedisStore {
    fn bucket(&self, user: &str) -> u16 {
        self.bucket_of(user)
    }

    async fn create(&self, new: &NewSession) -> Result<Created, BoxError> {
        let tag = self.tag(new.session.bucket);
        let answer = self
            .run(
                self.shared
                    .scripts
                    .create
                    .key(self.session_key(new.session))
                    .key(format!("{tag}:e"))
                    .key(format!("{tag}:u:{}", new.user))
                    .arg(hex(new.session.id))
                    .arg(&new.user)
                    .arg(&new.client)
                    .arg(&new.scope)
                    .arg(&new.grant)
                    .arg(&new.device)
                    .arg(new.hash.bytes().as_slice())
                    .arg(millis(new.absolute))
                    .arg(millis(new.idle)),
            )
            .await?;
        if answer.is_empty() {
            return Err("there is a session of this id".into());
        }
        created(&answer)
    }

    async fn describe(&self, session: SessionRef) -> Result<Option<Described>, BoxError> {
        let key = self.session_key(session);
        let mut fields = self.run(&self.shared.scripts.describe.key(key)).await?.into_iter();
        let mut next = || fields.next().map(String::from_utf8).transpose();
        let Some(user) = next()? else { return Ok(None) };
        let mut text = || Ok::<_, BoxError>(next()?.unwrap_or_default());
        Ok(Some(Described {
            user,
            client: text()?,
            scope: text()?,
            grant: text()?,
            device: text()?,
        }))
    }

    async fn rotate(&self, request: &Rotate) -> Result<Rotation, BoxError> {
        let tag = self.tag(request.session.bucket);
        let retry = request.retry.as_ref().map(|hash| hash.bytes().as_slice());
        let answer = self
            .run(
                self.shared
                    .scripts
                    .rotate
                    .key(self.session_key(request.session))
                    .key(format!("{tag}:e"))
                    .key(format!("{tag}:f"))
                    .arg(request.generation)
                    .arg(request.hash.bytes().as_slice())
                    .arg(request.next.hash.bytes().as_slice())
                    .arg(request.next.nonce.as_slice())
                    .arg(request.next.key_id.as_slice())
                    .arg(retry.unwrap_or_default())
                    .arg(millis(request.grace))
                    .arg(millis(request.retry_window))
                    .arg(request.most_replays)
                    .arg(millis(request.idle))
                    .arg(millis(request.publish_for))
                    .arg(hex(request.session.id)),
            )
            .await?;
        let (kind, rest) = answer.split_first().ok_or("the script has answered nothing")?;
        Ok(match kind.as_slice() {
            b"rotated" => Rotation::Rotated(created(rest)?),
            b"kept" => Rotation::Kept(created(rest)?),
            b"replayed" => Rotation::Replayed {
                at: created(rest)?,
                nonce: bytes(rest, 3)?,
                key_id: bytes(rest, 4)?,
            },
            b"unknown" => Rotation::Unknown,
            b"revoked" => Rotation::Revoked,
            b"expired" => Rotation::Expired,
            b"too-many" => Rotation::TooManyReplays,
            b"retry-key" => Rotation::RetryKeyReused,
            b"forked" => Rotation::Forked,
            b"reuse" => Rotation::Reuse,
            b"ahead" => Rotation::Ahead,
            _ => return Err("the script has answered something else".into()),
        })
    }

    async fn revoke(
        &self,
        scope: &Revoke,
        publish_for: Duration,
    ) -> Result<Vec<Revocation>, BoxError> {
        let publish = millis(publish_for);
        let scripts = &self.shared.scripts;
        match scope {
            Revoke::Session(session) => {
                let mut call = scripts.revoke_session.key(self.session_key(*session));
                call.key(self.feed_key(session.bucket)).arg(publish).arg(hex(session.id));
                let until_ms = number(&self.run(&call).await?, 0)?;
                Ok(vec![Revocation::Session { session: session.id, until_ms }])
            }
            Revoke::User(user) => {
                let bucket = self.bucket_of(user);
                let mut call = scripts.revoke_user.key(format!("{}:e", self.tag(bucket)));
                call.key(self.feed_key(bucket)).arg(publish).arg(user);
                let answer = self.run(&call).await?;
                let (until_ms, epoch) = (number(&answer, 0)?, number(&answer, 1)?);
                Ok(vec![Revocation::User { user: user.clone(), epoch, until_ms }])
            }
            Revoke::Others { user, keep } => {
                let bucket = self.bucket_of(user);
                let tag = self.tag(bucket);
                let mut call = scripts.revoke_others.key(format!("{tag}:u:{user}"));
                call.key(self.feed_key(bucket)).arg(publish).arg(hex(*keep));
                call.arg(format!("{tag}:s:"));
                let answer = self.run(&call).await?;
                let until_ms = number(&answer, 0)?;
                let ids = answer.get(1..).unwrap_or_default().iter();
                ids.map(|id| Ok(Revocation::Session { session: unhex(id)?, until_ms }))
                    .collect()
            }
            Revoke::Token { token_id } => {
                let feed = self.feed_key(self.bucket_of(token_id));
                let mut call = scripts.revoke_token.key(feed);
                call.arg(publish).arg(token_id);
                let until_ms = number(&self.run(&call).await?, 0)?;
                Ok(vec![Revocation::Token { token_id: token_id.clone(), until_ms }])
            }
            Revoke::Key { kid } => {
                let mut call = scripts.kill_key.key(format!("{}:k", self.tag(0)));
                call.key(self.feed_key(0)).arg(kid);
                self.run(&call).await?;
                Ok(vec![Revocation::Key { kid: kid.clone() }])
            }
        }
    }

    async fn sessions(&self, user: &str) -> Result<Vec<Session>, BoxError> {
        let tag = self.tag(self.bucket_of(user));
        let mut call = self.shared.scripts.sessions.key(format!("{tag}:u:{user}"));
        call.key(format!("{tag}:e")).arg(format!("{tag}:s:")).arg(user);
        let answer = self.run(&call).await?;
        answer
            .chunks_exact(6)
            .map(|row| {
                Ok(Session {
                    id: unhex(&row[0])?,
                    client: String::from_utf8(row[1].clone())?,
                    device: String::from_utf8(row[2].clone())?,
                    created_ms: number(row, 3)?,
                    last_seen_ms: number(row, 4)?,
                    expires_ms: number(row, 5)?,
                })
            })
            .collect()
    }

    async fn revocations(
        &self,
        since: Option<&Cursor>,
        window: Duration,
        wait: Duration,
    ) -> Result<Feed, BoxError> {
        feed::read(&self.shared, since, window, wait).await
    }

    async fn heartbeat(&self, every: Duration) -> Result<(), BoxError> {
        let beats = self.shared.tags.iter().map(|tag| async move {
            let mut call = self.shared.scripts.heartbeat.key(format!("{tag}:f"));
            call.key(format!("{tag}:h")).arg(millis(every));
            self.run(&call).await.map(drop)
        });
        futures_util::future::try_join_all(beats).await.map(drop)
    }
}

/// `now, absolute expiry, epoch`.
fn created(answer: &[Vec<u8>]) -> Result<Created, BoxError> {
    Ok(Created {
        now_ms: number(answer, 0)?,
        expires_ms: number(answer, 1)?,
        user_epoch: number(answer, 2)?,
    })
}

fn number(answer: &[Vec<u8>], at: usize) -> Result<u64, BoxError> {
    let text = answer.get(at).ok_or("the script's answer is too short")?;
    Ok(str::from_utf8(text)?.parse()?)
}

fn bytes<const N: usize>(answer: &[Vec<u8>], at: usize) -> Result<[u8; N], BoxError> {
    let bytes = answer.get(at).ok_or("the script's answer is too short")?;
    Ok(bytes.as_slice().try_into()?)
}

fn hex(id: SessionId) -> String {
    id.bytes().iter().map(|byte| format!("{byte:02x}")).collect()
}

fn unhex(text: &[u8]) -> Result<SessionId, BoxError> {
    let text = str::from_utf8(text)?;
    let mut bytes = [0; 16];
    if text.len() != 32 || !text.is_ascii() {
        return Err("a session's id is damaged".into());
    }
    for (at, byte) in bytes.iter_mut().enumerate() {
        *byte = u8::from_str_radix(&text[at * 2..at * 2 + 2], 16)?;
    }
    Ok(SessionId::from_bytes(bytes))
}

fn millis(duration: Duration) -> u64 {
    // Numbers in Lua are exact up to 2^53.
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX).min(1 << 50)
}

fn unreachable(error: redis::RedisError) -> BuildError {
    // Its text may hold the URL, and that a password.
    BuildError::new("url", format!("Redis cannot be used: {}", error.category()))
}

impl fmt::Debug for RedisStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisStore")
            .field("buckets", &self.shared.buckets)
            .finish_non_exhaustive()
    }
}
