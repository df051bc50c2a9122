use std::net::SocketAddr;
use std::ops::Deref;
use std::pin::Pin;
use std::time::Duration;

use super::until::until;
use super::{Client, Redis, RedisBuilder, connect};
use crate::error::Error;
use crate::link::Link;

const PATIENCE: Duration = Duration::from_secs(20);

/// Builds a [`Replica`]; awaiting it starts the replica.
#[derive(Debug)]
#[must_use]
pub struct ReplicaBuilder<'a> {
    primary: &'a Redis,
    builder: RedisBuilder,
}

impl<'a> ReplicaBuilder<'a> {
    pub(super) fn new(primary: &'a Redis) -> Self {
        let settings = primary.settings.clone();
        let mut builder = RedisBuilder { settings, ..RedisBuilder::default() };
        if let Some(password) = primary.setting("requirepass") {
            builder = builder.setting("masterauth", password);
        }
        Self { primary, builder }
    }

    /// Sets a configuration parameter on the replica alone.
    pub fn setting(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.builder = self.builder.setting(name, value);
        self
    }

    /// Starts the replica and waits until it has the primary's data and streams.
    ///
    /// # Errors
    ///
    /// [`Error::Exited`] or [`Error::NotReady`] with a log; [`Error::Late`]
    /// when it does not come to stream.
    ///
    /// # Cancel safety
    ///
    /// Dropped before it is done, nothing stays behind.
    pub async fn start(self) -> Result<Replica, Error> {
        let link = Link::to(self.primary.plain_addr())?;
        let redis = self.builder.prepare().await?;
        redis.set_primary(Some(link.addr()));
        redis.launch().await?;
        let replica = Replica { redis, link, primary: self.primary.plain_addr() };
        replica.until_stream_is("up").await?;
        Ok(replica)
    }
}

impl<'a> IntoFuture for ReplicaBuilder<'a> {
    type Output = Result<Replica, Error>;
    type IntoFuture = Pin<Box<dyn Future<Output = Self::Output> + Send + 'a>>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(self.start())
    }
}

/// A server that streams from a [`Redis`] by way of a [`Link`], made by
/// [`Redis::replica`].
///
/// It is a server like any other and derefs to one. It refuses writes, and is
/// a replica again after a restart, unless it was promoted.
///
/// ```no_run
/// # async fn example() -> Result<(), testbed::Error> {
/// use std::time::Duration;
/// use testbed::redis::Redis;
///
/// let primary = Redis::start().await?;
/// let replica = primary.replica().await?;
///
/// replica.delay_stream(Duration::from_millis(300)); // it lags that much
/// replica.cut_stream().await?;
/// primary.command(&["SET", "price", "lost"]).await?;
/// primary.kill().await?;
/// replica.promote().await?; // and has never heard of it
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Replica {
    redis: Redis,
    link: Link,
    primary: SocketAddr,
}

impl Replica {
    /// Lets whatever the primary writes arrive so much later; zero for at once.
    pub fn delay_stream(&self, delay: Duration) {
        self.link.delay(delay);
    }

    /// Cuts the stream from the primary: it receives nothing until
    /// [`mend_stream`](Self::mend_stream), and answers with what it has.
    /// Returns once it has noticed.
    ///
    /// # Errors
    ///
    /// [`Error::Late`], also when it is not running or was promoted.
    ///
    /// # Cancel safety
    ///
    /// The stream is cut at the first poll.
    pub async fn cut_stream(&self) -> Result<(), Error> {
        self.link.cut();
        self.until_stream_is("down").await
    }

    /// Streams again, without a delay. Returns once it does, for it tries once
    /// in a second; what it missed may still be under way
    /// ([`caught_up`](Self::caught_up)).
    ///
    /// # Errors
    ///
    /// [`Error::Late`] when the primary is not there, or the replica is not
    /// running or was promoted.
    pub async fn mend_stream(&self) -> Result<(), Error> {
        self.link.heal();
        self.until_stream_is("up").await
    }

    /// Makes it a primary (REPLICAOF NO ONE), for its restarts as well. Returns
    /// once it takes writes. The old primary is not told.
    ///
    /// # Errors
    ///
    /// As [`Redis::command`].
    ///
    /// # Cancel safety
    ///
    /// It may be promoted; call it again.
    pub async fn promote(&self) -> Result<(), Error> {
        self.redis.set_primary(None);
        self.command(&["REPLICAOF", "NO", "ONE"]).await.map(drop)
    }

    /// Waits until it has applied all that the primary has written by now.
    ///
    /// # Errors
    ///
    /// [`Error::Io`] when the primary is not running; [`Error::Late`] with what
    /// was seen when `deadline` passes first.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe.
    pub async fn caught_up(&self, deadline: Duration) -> Result<(), Error> {
        let primary = connect(self.primary, self.setting("requirepass")).await?;
        let (history, target) = &position(primary, "master_repl_offset").await?;
        let awaited = format!("the replica has applied {history} up to {target}");
        until(&awaited, deadline, || async move {
            let (followed, at) = &position(self.client().await?, "slave_repl_offset").await?;
            let seen = format!("it has {followed} up to {at}");
            Ok((followed == history && at >= target).then_some(()).ok_or(seen))
        })
        .await
    }

    async fn until_stream_is(&self, wanted: &str) -> Result<(), Error> {
        let awaited = format!("the replica's stream is {wanted}");
        until(&awaited, PATIENCE, || async move {
            let status = self.info("master_link_status").await?;
            let seen = format!("it is {status:?}");
            Ok((status.as_deref() == Some(wanted)).then_some(()).ok_or(seen))
        })
        .await
    }
}

impl Deref for Replica {
    type Target = Redis;

    fn deref(&self) -> &Redis {
        &self.redis
    }
}

/// The history that a server writes or follows, and how far it has come in it.
async fn position(mut client: Client, offset: &str) -> Result<(String, i64), Error> {
    let info = client.command(&["INFO", "replication"]).await?;
    let history = info.field("master_replid").unwrap_or_default().to_owned();
    let at = info.field(offset).and_then(|at| at.parse().ok()).unwrap_or(-1);
    Ok((history, at))
}
