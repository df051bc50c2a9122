//! Reads: on a replica, and again elsewhere when that fails.

use std::pin::pin;
use std::sync::atomic::Ordering;

use futures_util::future::{Either, join, select};
use tokio::time::Instant;
use tokio_postgres::Error as SqlError;
use tokio_postgres::error::SqlState;
use tracing::debug;

use super::op::{Answer, Op};
use super::place::{Reading, Spot};
use super::{Core, Done};
use crate::builder::WhenUnreachable;
use crate::classify::Reason;
use crate::error::Error;
use crate::level::Level;
use crate::lsn::Lsn;
use crate::metrics::{Cause, Place};
use crate::policy::elect::Role;
use crate::policy::retry::{Asked, Next, next};
use crate::scope::ConsistencyScope;
use crate::server::Counted;
use crate::server::pool::{AcquireError, Lease};
use crate::token::Sticky;

/// On so many servers a read is tried before the primary has the last word.
const ATTEMPTS: u32 = 3;

/// How a replica has failed a read.
enum Failed {
    /// It is not what it was taken for; the picture is a better one now.
    Mistaken,
    /// It did not answer.
    Away(Option<SqlError>),
    /// It answered with an error.
    Said(SqlError),
    Full(Error),
}

impl Core {
    pub(crate) async fn read(&self, op: &Op<'_>, level: Option<Level>) -> Result<Done, Error> {
        let mut reading = Reading::new(self, level);
        let mut cause = Cause::Class(Reason::ReadOnly);
        loop {
            let (index, identity, floor) = match reading.place().await {
                Spot::Replica { index, identity, floor } => (index, identity, floor),
                Spot::Primary(why) => {
                    let why = if reading.attempts > 0 { Cause::Retried } else { why };
                    return Box::pin(self.read_on_primary(op, &reading, why)).await;
                }
            };
            match self.on_replica(op, index, identity, floor, reading.level).await {
                Ok(done) => {
                    self.metrics.request(Place::Replica, cause);
                    self.settle(&reading, identity).await;
                    return Ok(done);
                }
                Err(Failed::Mistaken) => {}
                Err(Failed::Full(error)) => return Err(error),
                Err(Failed::Away(error)) => {
                    debug!(server = %self.cluster.servers[index].name, ?error, "a read failed");
                    self.cluster.servers[index].nudge.notify_one();
                    reading.excluded |= 1 << index;
                }
                // The caller's mistake: a parameter of the wrong type.
                Err(Failed::Said(error)) if error.code().is_none() => {
                    return Err(Error::Sql(error));
                }
                Err(Failed::Said(error)) => match next(error.code(), Asked::ReadOnStandby) {
                    Next::Elsewhere => reading.excluded |= 1 << index,
                    Next::Reclassify => {
                        self.classifier.unlearn(op.sql);
                        self.relearn.notify_one();
                        self.metrics.retries();
                        return Box::pin(self.write(op, level)).await;
                    }
                    Next::PrepareAgain | Next::Primary => {
                        self.metrics.retries();
                        return Box::pin(self.read_on_primary(op, &reading, Cause::Retried))
                            .await;
                    }
                    _ => return Err(Error::Sql(error)),
                },
            }
            self.metrics.retries();
            reading.attempts += 1;
            cause = Cause::Retried;
            if reading.attempts == ATTEMPTS {
                return Box::pin(self.read_on_primary(op, &reading, Cause::Retried)).await;
            }
        }
    }

    /// A read beside this one may have left the replica meanwhile: then what was
    /// seen here is behind the session, and its floor has to know.
    pub(super) async fn settle(&self, reading: &Reading<'_>, identity: Sticky) {
        if reading.level != Level::Session {
            return;
        }
        let sticky = reading.scope.floors().sticky;
        if sticky == Some(identity) {
            return;
        }
        self.has_seen(&reading.scope).await;
    }

    async fn on_replica(
        &self,
        op: &Op<'_>,
        index: usize,
        identity: Sticky,
        floor: Option<Lsn>,
        level: Level,
    ) -> Result<Done, Failed> {
        let server = &self.cluster.servers[index];
        let _counted = Counted::one_more(&server.in_flight);
        let mut lease = match server.pool.try_acquire() {
            Some(lease) => lease,
            None => Box::pin(self.wait_for_lease(index)).await?,
        };
        lease.ask_read();
        if !server.reachable.load(Ordering::SeqCst) {
            lease.done();
            return Err(Failed::Away(None));
        }
        let began = Instant::now();
        match self.run_read(op, &lease, server.shared, level, identity, floor).await {
            Ok(answer) => {
                let now = Instant::now();
                server.took(now.saturating_duration_since(began));
                lease.done_at(now);
                let in_block = server.shared && op.is_stream();
                Ok(Done { answer, lease, writing: None, in_block })
            }
            Err(Failed::Mistaken) => {
                lease.done();
                let seen = lease.identity.observation;
                let now = self.cluster.view().candidates[index].identity.started;
                if seen.started < now {
                    // To what the server was before it was restarted.
                    lease.discard();
                } else if lease.is_reusable() && !server.shared {
                    self.cluster.observe(index, Some(seen), began);
                }
                Err(Failed::Mistaken)
            }
            Err(Failed::Said(error)) if op.is_lost(&error) => Err(Failed::Away(Some(error))),
            Err(Failed::Said(error)) => {
                if error.code().is_some() {
                    lease.done();
                    lease.forget_statement(op.sql);
                }
                Err(Failed::Said(error))
            }
            Err(failed) => Err(failed),
        }
    }

    /// For a connection, as long as the server is there.
    async fn wait_for_lease(&self, index: usize) -> Result<Lease, Failed> {
        let server = &self.cluster.servers[index];
        let mut down = pin!(server.down.notified());
        down.as_mut().enable();
        match select(pin!(server.pool.acquire()), down).await {
            Either::Left((Ok(lease), _)) => Ok(lease),
            Either::Left((Err(AcquireError::Full), _)) => Err(Failed::Full(self.full(index))),
            Either::Left((Err(AcquireError::Connect(error)), _)) => Err(Failed::Away(error)),
            Either::Right(_) => Err(Failed::Away(None)),
        }
    }

    async fn run_read(
        &self,
        op: &Op<'_>,
        lease: &Lease,
        shared: bool,
        level: Level,
        identity: Sticky,
        floor: Option<Lsn>,
    ) -> Result<Answer, Failed> {
        if shared {
            // A session stays on one server, also behind an address of several.
            let stays = (level == Level::Session).then_some(identity.started);
            return Box::pin(self.run_checked(op, lease, floor, stays)).await;
        }
        let seen = lease.identity.observation;
        if seen.started != identity.started || seen.role != Role::Standby {
            return Err(Failed::Mistaken);
        }
        let statement = op.prepare(lease).await.map_err(Failed::Said)?;
        op.run(lease, statement.as_ref()).await.map_err(Failed::Said)
    }

    /// What was prepared on this connection may be so on another server only.
    async fn run_checked(
        &self,
        op: &Op<'_>,
        lease: &Lease,
        floor: Option<Lsn>,
        started: Option<i64>,
    ) -> Result<Answer, Failed> {
        match self.run_in_block(op, lease, floor, started).await {
            Err(Failed::Said(error))
                if error.code() == Some(&SqlState::INVALID_SQL_STATEMENT_NAME) =>
            {
                lease.forget_statement(op.sql);
                self.run_in_block(op, lease, floor, started).await
            }
            ran => ran,
        }
    }

    /// Which server it is shows in the very transaction that reads. In `READ
    /// COMMITTED` the statement's snapshot is taken after the check's.
    async fn run_in_block(
        &self,
        op: &Op<'_>,
        lease: &Lease,
        floor: Option<Lsn>,
        started: Option<i64>,
    ) -> Result<Answer, Failed> {
        let begin = "BEGIN ISOLATION LEVEL READ COMMITTED READ ONLY";
        // With a block open, nobody else may have the connection.
        let away = |error| Failed::Away(Some(error));
        lease.client.batch_execute(begin).await.map_err(away)?;
        let now = lease.identity_now().await.map_err(away)?.observation;
        let known = self.cluster.view().known();
        let fresh = known.is_some_and(|known| {
            now.system == known.system
                && now.timeline == known.timeline
                && started.is_none_or(|started| now.started == started)
                && floor.is_none_or(|floor| now.lsn >= floor)
        });
        let answer = if fresh {
            let statement = op.prepare(lease).await;
            match statement {
                Ok(statement) => op.run(lease, statement.as_ref()).await.map_err(Failed::Said),
                Err(error) => Err(Failed::Said(error)),
            }
        } else {
            Err(Failed::Away(None))
        };
        // Rows that are yet to come would be in its way.
        if !(op.is_stream() && answer.is_ok()) {
            lease.client.batch_execute("COMMIT").await.map_err(away)?;
        }
        answer
    }

    pub(super) async fn read_on_primary(
        &self,
        op: &Op<'_>,
        reading: &Reading<'_>,
        cause: Cause,
    ) -> Result<Done, Error> {
        let stale = self.settings.when_unreachable == WhenUnreachable::Stale;
        let wait = if stale { std::time::Duration::ZERO } else { self.settings.failover_wait };
        let deadline = Instant::now() + wait;
        let mut prepared_again = false;
        let mut last = None;
        for _ in 0..=ATTEMPTS {
            let (index, mut lease) = match self.primary_lease(deadline).await {
                Ok(found) => found,
                Err(Error::NoPrimary { .. }) if stale => {
                    return self.read_stale(op, reading).await;
                }
                Err(Error::NoPrimary { .. }) if last.is_some() => break,
                Err(error) => return Err(error),
            };
            lease.ask_read();
            if !self.cluster.servers[index].reachable.load(Ordering::SeqCst) {
                lease.done();
                self.metrics.retries();
                continue;
            }
            match self.run_on_primary(op, &lease, reading).await {
                Ok(answer) => {
                    lease.done();
                    self.metrics.request(Place::Primary, cause);
                    return Ok(Done { answer, lease, writing: None, in_block: false });
                }
                Err(error) => {
                    if error.code().is_some() {
                        lease.done();
                    } else if !op.is_lost(&error) {
                        return Err(Error::Sql(error));
                    }
                    match next(error.code(), Asked::ReadOnPrimary) {
                        Next::FindPrimary => self.cluster.demoted(index),
                        Next::PrepareAgain if !prepared_again => {
                            prepared_again = true;
                            lease.forget_statement(op.sql);
                        }
                        Next::Elsewhere => {
                            self.cluster.servers[index].nudge.notify_one();
                        }
                        _ => return Err(Error::Sql(error)),
                    }
                    self.metrics.retries();
                    last = Some(error);
                }
            }
        }
        Err(Error::NoServer(last))
    }

    async fn run_on_primary(
        &self,
        op: &Op<'_>,
        lease: &Lease,
        reading: &Reading<'_>,
    ) -> Result<Answer, SqlError> {
        let statement = op.prepare(lease).await?;
        // Only a session that may leave the primary has to know where it was.
        let scoped = ConsistencyScope::current().is_some();
        let base = self.settings.level == Level::Session || reading.level == Level::Session;
        if !(scoped && base) || op.is_stream() {
            let answer = op.run(lease, statement.as_ref()).await?;
            if scoped && base {
                // The rows to come are of the snapshot that is taken already.
                self.has_seen(&reading.scope).await;
            }
            return Ok(answer);
        }
        let (answer, position) =
            join(op.run(lease, statement.as_ref()), lease.position()).await;
        let answer = answer?;
        if let Ok(position) = position {
            self.cluster.view().learn(position);
            reading.scope.saw(position);
        } else {
            self.has_seen(&reading.scope).await;
        }
        Ok(answer)
    }

    /// By policy: what the replica that is furthest ahead has.
    async fn read_stale(&self, op: &Op<'_>, reading: &Reading<'_>) -> Result<Done, Error> {
        let view = self.cluster.view();
        let reachable = view.candidates.iter().enumerate().filter(|(index, _)| {
            self.cluster.servers[*index].reachable.load(Ordering::Acquire)
                && reading.excluded & (1 << index) == 0
        });
        let Some((index, candidate)) = reachable.max_by_key(|(_, c)| (c.usable, c.replayed))
        else {
            return Err(Error::NoServer(None));
        };
        match self.on_replica(op, index, candidate.identity, None, Level::Eventual).await {
            Ok(done) => {
                self.metrics.request(Place::Replica, Cause::Stale);
                Ok(done)
            }
            Err(Failed::Said(error)) => Err(Error::Sql(error)),
            Err(Failed::Away(error)) => Err(Error::NoServer(error)),
            Err(Failed::Full(error)) => Err(error),
            Err(Failed::Mistaken) => Err(Error::NoServer(None)),
        }
    }
}
