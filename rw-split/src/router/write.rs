//! Writes: on the primary, with the position that they are committed at.

use std::pin::pin;
use std::time::Duration;

use futures_util::future::{Either, join, select};
use tokio::time::{Instant, timeout_at};
use tokio_postgres::Error as SqlError;

use super::op::{Answer, Op};
use super::{Core, Done, Writing};
use crate::classify::Target;
use crate::error::Error;
use crate::level::Level;
use crate::lsn::Position;
use crate::metrics::{Cause, Place};
use crate::policy::elect::Role;
use crate::policy::retry::{Asked, Next, is_old_plan, next};
use crate::server::pool::{AcquireError, Lease};

impl Core {
    pub(crate) async fn write(&self, op: &Op<'_>, level: Option<Level>) -> Result<Done, Error> {
        let class = self.classifier.classify(op.sql);
        let deadline = Instant::now() + self.settings.failover_wait;
        let mut prepared_again = false;
        loop {
            let (index, mut lease) = self.primary_lease(deadline).await?;
            lease.ask();
            // Until it is prepared, nothing has run.
            let statement = match op.prepare(&lease).await {
                Ok(statement) => statement,
                Err(error) if op.is_away(&error) && Instant::now() < deadline => {
                    self.cluster.servers[index].nudge.notify_one();
                    self.metrics.retries();
                    continue;
                }
                Err(error) => {
                    if error.code().is_some() {
                        lease.done();
                    }
                    return Err(Error::Sql(error));
                }
            };
            let writing = Writing::new(self.shared(), level);
            let (answer, position) = {
                let mut poisoned = pin!(lease.pool().poisoned());
                poisoned.as_mut().enable();
                let run = pin!(run_and_capture(op, &lease, statement.as_ref()));
                match select(run, poisoned).await {
                    Either::Left((done, _)) => done,
                    // The server is not the primary any more, or gone.
                    Either::Right(_) => return Err(writing.unknown(None)),
                }
            };
            match answer {
                Ok(answer) => {
                    if class.target() == Target::Connection {
                        // Its session's state is nobody else's.
                        lease.discard();
                    }
                    self.metrics.request(Place::Primary, Cause::Class(class.reason));
                    let writing = if op.is_stream() {
                        // Asked when the rows have come, which is when it commits.
                        Some(writing)
                    } else {
                        writing.settle(&lease, position)?;
                        lease.done();
                        None
                    };
                    return Ok(Done { answer, lease, writing, in_block: false });
                }
                Err(error) => {
                    let lost = op.is_lost(&error);
                    if error.code().is_none() && !lost {
                        writing.nothing_happened();
                        return Err(Error::Sql(error));
                    }
                    if !lost {
                        lease.done();
                    }
                    match next(error.code(), Asked::Write) {
                        Next::FindPrimary if Instant::now() < deadline => {
                            writing.nothing_happened();
                            self.cluster.demoted(index);
                            drop(lease);
                            self.settle_down(deadline).await;
                        }
                        Next::Unknown => return Err(writing.unknown(Some(error))),
                        then if then == Next::PrepareAgain || is_old_plan(&error) => {
                            writing.nothing_happened();
                            lease.forget_statement(op.sql);
                            if prepared_again {
                                return Err(Error::Sql(error));
                            }
                            prepared_again = true;
                        }
                        _ => {
                            let position = match position {
                                None => lease.position().await.ok(),
                                Some(position) => position.ok(),
                            };
                            writing.failed(position);
                            return Err(Error::Sql(error));
                        }
                    }
                    self.metrics.retries();
                }
            }
        }
    }

    /// A connection to the primary, waiting for one to be elected if there is none.
    pub(crate) async fn primary_lease(
        &self,
        deadline: Instant,
    ) -> Result<(usize, Lease), Error> {
        let began = Instant::now();
        loop {
            let mut changed = pin!(self.cluster.changed.notified());
            changed.as_mut().enable();
            let view = self.cluster.view();
            if let Some(elected) = view.elected {
                let server = &self.cluster.servers[elected.index];
                if !view.primary_reachable {
                    server.nudge.notify_one();
                } else {
                    match server.pool.acquire().await {
                        Ok(lease) => {
                            if let Some(lease) = self.as_primary(elected.index, lease).await {
                                return Ok((elected.index, lease));
                            }
                        }
                        Err(AcquireError::Full) => return Err(self.full(elected.index)),
                        Err(AcquireError::Connect(_)) => server.nudge.notify_one(),
                    }
                }
            }
            let now = Instant::now();
            if now >= deadline {
                return Err(Error::NoPrimary { waited: now.duration_since(began) });
            }
            let soon = now + self.polling.eager * 4;
            let _ = timeout_at(deadline.min(soon), changed).await;
        }
    }

    /// The lease, if its server is the primary that is elected now.
    async fn as_primary(&self, index: usize, mut lease: Lease) -> Option<Lease> {
        if lease.identity.observation.role != Role::Primary {
            // It may have been promoted since the connection was opened.
            lease.ask();
            lease.conn_mut().identify_again().await.ok()?;
            lease.done();
        }
        let seen = lease.identity.observation;
        let elected = self.cluster.view().elected?;
        if elected.index == index
            && seen.role == Role::Primary
            && (seen.system, seen.timeline) == (elected.system, elected.timeline)
        {
            return Some(lease);
        }
        lease.discard();
        self.cluster.observe(index, Some(seen), Instant::now());
        None
    }

    async fn settle_down(&self, deadline: Instant) {
        let soon = Instant::now() + self.polling.eager * 4;
        let _ = timeout_at(deadline.min(soon), self.cluster.changed.notified()).await;
    }
}

/// The position is asked for right behind the statement, in the same breath: the
/// server answers it when the statement has committed.
async fn run_and_capture(
    op: &Op<'_>,
    lease: &Lease,
    statement: Option<&tokio_postgres::Statement>,
) -> (Result<Answer, SqlError>, Option<Result<Position, SqlError>>) {
    if op.is_stream() {
        return (op.run(lease, statement).await, None);
    }
    if cfg!(broken = "capture_first") {
        let (position, answer) = join(lease.position(), op.run(lease, statement)).await;
        return (answer, Some(position));
    }
    let (answer, position) = join(op.run(lease, statement), lease.position()).await;
    (answer, Some(position))
}

impl Writing {
    /// By a handle that reads at `level`, if it says so.
    pub(crate) fn new(core: std::sync::Arc<Core>, level: Option<Level>) -> Self {
        let scope = core.scope().unwrap_or_else(|| core.process.clone());
        let level = level.or_else(|| scope.level()).unwrap_or(core.settings.level);
        Self { core, scope, level, armed: true }
    }

    /// It is committed; where, the primary has said, or could not say.
    pub(crate) fn settle(
        mut self,
        lease: &Lease,
        position: Option<Result<Position, SqlError>>,
    ) -> Result<(), Error> {
        if lease.is_poisoned() {
            // It was committed in a history that has been left.
            return Err(self.unknown(None));
        }
        self.armed = false;
        match position {
            Some(Ok(position)) => {
                self.at(position);
                match self.level {
                    Level::PinWindow(window) => self.pin(window),
                    _ if cfg!(broken = "pin_window") => self.pin(Duration::from_secs(2)),
                    _ => {}
                }
            }
            Some(Err(_)) | None => {
                self.pin(self.core.settings.unknown_pin);
                let until = self.core.settings.clock.now();
                self.core.process.pin(until.after(self.core.settings.unknown_pin));
            }
        }
        Ok(())
    }

    fn at(&self, position: Position) {
        self.core.cluster.view().learn(position);
        self.in_time(self.scope.wrote(position));
        // Code outside of any session sees what this process has written.
        self.core.process.wrote(position);
    }

    /// The server refused it, and was at `position` by then. The error may tell
    /// what is there (a row that exists), and a part may be committed (by a
    /// procedure, or a `COMMIT` in the text): so it counts like what was written.
    pub(crate) fn failed(mut self, position: Option<Position>) {
        self.armed = false;
        if let Some(position) = position.filter(|_| !cfg!(broken = "silent_failure")) {
            self.at(position);
        }
    }

    pub(crate) fn nothing_happened(mut self) {
        self.armed = false;
    }

    pub(crate) fn unknown(mut self, cause: Option<SqlError>) -> Error {
        self.armed = false;
        self.core.metrics.unknown_outcomes();
        self.pin(self.core.settings.unknown_pin);
        Error::OutcomeUnknown(cause)
    }

    fn pin(&self, window: Duration) {
        let until = self.core.settings.clock.now().after(window);
        self.in_time(self.scope.pin(until));
    }

    fn in_time(&self, in_time: bool) {
        if !in_time {
            self.core.metrics.late_writes();
        }
    }
}

/// Dropped in the middle: nobody knows.
impl Drop for Writing {
    fn drop(&mut self) {
        if self.armed {
            self.core.metrics.unknown_outcomes();
            self.pin(self.core.settings.unknown_pin);
        }
    }
}
