//! The queue: a sorted set in Redis, of jobs by when they may be taken.
//!
//! Who takes a job moves it into the future, by as long as it may take; if nothing is heard of
//! them, somebody else takes it then. So the set's size counts what waits and what is worked
//! on. A job that is pushed again is the same member: however often that happens, the queue
//! has each order once, and never more jobs than its limit.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, Client, Cmd, FromRedisValue, RedisError, cmd};
use tokio::sync::Mutex;

use super::outbox::Job;
use crate::redis_url::RedisUrl;

/// In milliseconds of Redis's clock, which all share.
pub(super) const KEY: &str = "storefront-confirmations";

/// How long Redis may take to connect, and to answer.
const PATIENCE: Duration = Duration::from_secs(1);

/// Up to a limit. What is there stays, and may be taken now if it was to be later: who pushes
/// it again knows that nobody has a turn at it.
const PUSH: &str = "
    local t = redis.call('TIME')
    local now = t[1] * 1000 + math.floor(t[2] / 1000)
    local room = tonumber(ARGV[1]) - redis.call('ZCARD', KEYS[1])
    for i = 2, #ARGV do
        if redis.call('ZSCORE', KEYS[1], ARGV[i]) then
            redis.call('ZADD', KEYS[1], 'LT', now, ARGV[i])
        elseif room > 0 then
            redis.call('ZADD', KEYS[1], now, ARGV[i])
            room = room - 1
        end
    end
    return room";

const TAKE: &str = "
    local t = redis.call('TIME')
    local now = t[1] * 1000 + math.floor(t[2] / 1000)
    local job = redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', now, 'LIMIT', 0, 1)[1]
    if job then redis.call('ZADD', KEYS[1], now + ARGV[1], job) end
    return job";

/// The way to it. Clones share their connection, which is made when it is needed, and again
/// when it breaks.
#[derive(Clone)]
pub(super) struct Queue {
    client: Client,
    open: Arc<Mutex<Option<MultiplexedConnection>>>,
    limit: usize,
}

impl fmt::Debug for Queue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Queue").field("limit", &self.limit).finish_non_exhaustive()
    }
}

impl Queue {
    /// With so many jobs at most. Redis may be down.
    ///
    /// # Errors
    ///
    /// When it is no such URL, which is not shown.
    pub(super) fn open(url: &RedisUrl, limit: usize) -> Result<Self, String> {
        let wrong = |_| "--redis is no redis://host:port/database".to_owned();
        let client = Client::open(url.reveal()).map_err(wrong)?;
        Ok(Self { client, open: Arc::default(), limit })
    }

    /// Puts jobs in, as far as there is room; says how much is left.
    ///
    /// # Errors
    ///
    /// Without an answer; then they may be there.
    pub(super) async fn push(&self, jobs: &[Job]) -> Result<usize, RedisError> {
        let mut push = cmd("EVAL");
        push.arg(PUSH).arg(1).arg(KEY).arg(self.limit);
        for job in jobs {
            push.arg(name(*job));
        }
        let room: i64 = self.ask(&push).await?;
        Ok(usize::try_from(room).unwrap_or_default())
    }

    /// For how many there is room.
    ///
    /// # Errors
    ///
    /// Without an answer.
    pub(super) async fn room(&self) -> Result<usize, RedisError> {
        Ok(self.limit.saturating_sub(self.depth().await?))
    }

    /// How many wait or are worked on.
    ///
    /// # Errors
    ///
    /// Without an answer.
    pub(super) async fn depth(&self) -> Result<usize, RedisError> {
        self.ask(cmd("ZCARD").arg(KEY)).await
    }

    /// Takes one, for so long at most.
    ///
    /// # Errors
    ///
    /// Without an answer; then one may be taken, for so long.
    pub(super) async fn take(&self, within: Duration) -> Result<Option<Job>, RedisError> {
        let millis = u64::try_from(within.as_millis()).unwrap_or(u64::MAX);
        let mut take = cmd("EVAL");
        take.arg(TAKE).arg(1).arg(KEY).arg(millis);
        let taken: Option<String> = self.ask(&take).await?;
        match taken.as_deref().map(|name| (name, parsed(name))) {
            None => Ok(None),
            Some((_, Some(job))) => Ok(Some(job)),
            // Nobody of this shop has put it there.
            Some((name, None)) => {
                self.ask::<i64>(cmd("ZREM").arg(KEY).arg(name)).await.map(|_| None)
            }
        }
    }

    /// It is no longer of the queue's concern.
    ///
    /// # Errors
    ///
    /// Without an answer; then it is taken once more, in vain.
    pub(super) async fn done(&self, job: Job) -> Result<(), RedisError> {
        self.ask::<i64>(cmd("ZREM").arg(KEY).arg(name(job))).await.map(drop)
    }

    async fn ask<T: FromRedisValue>(&self, command: &Cmd) -> Result<T, RedisError> {
        let answer = command.query_async(&mut self.connection().await?).await;
        if answer.is_err() {
            // Whatever it was: the next one gets a connection that is not broken.
            *self.open.lock().await = None;
        }
        answer
    }

    /// One at a time opens it; the others need it, too.
    async fn connection(&self) -> Result<MultiplexedConnection, RedisError> {
        let mut open = self.open.lock().await;
        if let Some(connection) = &*open {
            return Ok(connection.clone());
        }
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(PATIENCE))
            .set_response_timeout(Some(PATIENCE));
        let connection =
            self.client.get_multiplexed_async_connection_with_config(&config).await?;
        Ok(open.insert(connection).clone())
    }
}

fn name(job: Job) -> String {
    format!("{}:{}", job.order, job.user)
}

fn parsed(name: &str) -> Option<Job> {
    let (order, user) = name.split_once(':')?;
    Some(Job { order: order.parse().ok()?, user: user.parse().ok()? })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_job_is_read_as_it_was_written() {
        for job in [Job { order: 1, user: 2 }, Job { order: i64::MAX, user: i64::MIN }] {
            assert_eq!(parsed(&name(job)), Some(job));
        }
        for foreign in ["", "1", "1:", "a:1", "1:2:3"] {
            assert_eq!(parsed(foreign), None, "{foreign:?}");
        }
    }

    #[tokio::test]
    async fn a_wrong_url_is_refused_without_its_password() {
        let error = Queue::open(&"http://:sesame@localhost/".parse().unwrap(), 1).unwrap_err();
        assert!(!error.contains("sesame"), "{error}");
    }
}
