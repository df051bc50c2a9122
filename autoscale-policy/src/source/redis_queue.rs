use std::time::Duration;
use std::{error, fmt};

use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, Client, Cmd, RedisError, cmd};

use super::{Figure, Source};
use crate::observation::QUEUE_DEPTH;

/// How many jobs wait in Redis: in a list, a sorted set, or for a stream's consumer group.
///
/// ```
/// use autoscale_policy::RedisQueue;
///
/// let jobs = RedisQueue::list("redis://localhost", "jobs")?;
/// let mails = RedisQueue::stream("redis://localhost", "mails", "senders")?.named("mails");
/// # Ok::<_, autoscale_policy::RedisQueueError>(())
/// ```
pub struct RedisQueue {
    client: Client,
    connection: Option<MultiplexedConnection>,
    metric: String,
    kind: Kind,
    timeout: Duration,
}

enum Kind {
    /// Lists and sorted sets: the command that counts.
    Counted(Cmd),
    Group {
        key: String,
        group: String,
    },
}

/// Why a queue's depth is not known. The URL, which may hold a password, is not shown.
#[derive(Debug)]
#[non_exhaustive]
pub enum RedisQueueError {
    /// Redis could not be asked, or has refused.
    Redis(RedisError),
    /// There is no such stream, or no such group.
    NoGroup {
        /// The stream's key.
        key: String,
        /// The group.
        group: String,
    },
    /// Redis cannot tell how far behind the group is, since entries were removed from the
    /// middle of the stream, or the group was set to a place there.
    UnknownLag {
        /// The stream's key.
        key: String,
        /// The group.
        group: String,
    },
}

impl fmt::Display for RedisQueueError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Redis(error) => write!(f, "the queue in Redis: {error}"),
            Self::NoGroup { key, group } => write!(
                f,
                "the stream `{key}` has no group `{group}`; create it with XGROUP CREATE {key} {group} $ MKSTREAM"
            ),
            Self::UnknownLag { key, group } => write!(
                f,
                "Redis cannot count what waits in `{key}` for `{group}`: entries were removed from the middle; acknowledge instead of XDEL"
            ),
        }
    }
}

impl error::Error for RedisQueueError {
    fn source(&self) -> Option<&(dyn error::Error + 'static)> {
        match self {
            Self::Redis(error) => Some(error),
            Self::NoGroup { .. } | Self::UnknownLag { .. } => None,
        }
    }
}

impl From<RedisError> for RedisQueueError {
    fn from(error: RedisError) -> Self {
        Self::Redis(error)
    }
}

impl RedisQueue {
    /// The length of a list.
    ///
    /// # Errors
    ///
    /// A URL that is none. Nothing is connected yet.
    pub fn list(url: &str, key: &str) -> Result<Self, RedisQueueError> {
        Self::new(url, Kind::Counted(cmd("LLEN").arg(key).clone()))
    }

    /// The size of a sorted set, as of jobs that are to be done at a time.
    ///
    /// # Errors
    ///
    /// As [`list`](Self::list).
    pub fn sorted_set(url: &str, key: &str) -> Result<Self, RedisQueueError> {
        Self::new(url, Kind::Counted(cmd("ZCARD").arg(key).clone()))
    }

    /// What a stream's group was not given yet, and what it was given and has not
    /// acknowledged. Needs Redis 7, which counts the former.
    ///
    /// # Errors
    ///
    /// As [`list`](Self::list).
    pub fn stream(url: &str, key: &str, group: &str) -> Result<Self, RedisQueueError> {
        Self::new(url, Kind::Group { key: key.to_owned(), group: group.to_owned() })
    }

    fn new(url: &str, kind: Kind) -> Result<Self, RedisQueueError> {
        let (client, metric) = (Client::open(url)?, QUEUE_DEPTH.to_owned());
        let timeout = Duration::from_secs(1);
        Ok(Self { client, connection: None, metric, kind, timeout })
    }

    /// The metric's name, where a policy looks at several queues; [`QUEUE_DEPTH`].
    #[must_use]
    pub fn named(mut self, metric: &str) -> Self {
        metric.clone_into(&mut self.metric);
        self
    }

    /// How long Redis may take to connect, and to answer; 1 s each.
    #[must_use]
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    async fn depth(
        &self,
        connection: &mut MultiplexedConnection,
    ) -> Result<u64, RedisQueueError> {
        let (key, group) = match &self.kind {
            Kind::Counted(command) => return Ok(command.query_async(connection).await?),
            Kind::Group { key, group } => (key, group),
        };
        let groups: Result<Vec<redis::Value>, _> =
            cmd("XINFO").arg("GROUPS").arg(key).query_async(connection).await;
        let no_group = || RedisQueueError::NoGroup { key: key.clone(), group: group.clone() };
        let groups = match groups {
            Ok(groups) => groups,
            // Its words for a key that does not exist; only a code tells servers' errors apart.
            Err(error) if error.code() == Some("ERR") => return Err(no_group()),
            Err(error) => return Err(error.into()),
        };
        let mut infos = groups.iter().filter_map(GroupInfo::of);
        let info = infos.find(|info| info.name == *group).ok_or_else(no_group)?;
        let unknown = || RedisQueueError::UnknownLag { key: key.clone(), group: group.clone() };
        Ok(info.lag.ok_or_else(unknown)? + info.pending)
    }
}

/// A line of `XINFO GROUPS`.
struct GroupInfo {
    name: String,
    pending: u64,
    lag: Option<u64>,
}

impl GroupInfo {
    fn of(value: &redis::Value) -> Option<Self> {
        use redis::from_redis_value_ref as read;
        let mut info = Self { name: String::new(), pending: 0, lag: None };
        let pairs = value.as_map_iter()?;
        for (field, value) in pairs {
            match read::<String>(field).ok()?.as_str() {
                "name" => info.name = read(value).ok()?,
                "pending" => info.pending = read(value).ok()?,
                "lag" => info.lag = read(value).ok()?,
                _ => {}
            }
        }
        Some(info)
    }
}

impl Source for RedisQueue {
    type Error = RedisQueueError;

    fn metric(&self) -> &str {
        &self.metric
    }

    async fn read(&mut self) -> Result<Option<Figure>, RedisQueueError> {
        // Taken out: after an error, or where this future is dropped, the next call
        // connects anew.
        let mut connection = match self.connection.take() {
            Some(connection) => connection,
            None => {
                let config = AsyncConnectionConfig::new()
                    .set_connection_timeout(Some(self.timeout))
                    .set_response_timeout(Some(self.timeout));
                self.client.get_multiplexed_async_connection_with_config(&config).await?
            }
        };
        let depth = self.depth(&mut connection).await?;
        self.connection = Some(connection);
        Ok(Some(Figure::Fleet(depth as f64)))
    }
}

impl fmt::Debug for RedisQueue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisQueue").field("metric", &self.metric).finish_non_exhaustive()
    }
}
