//! One shard's part of a scatter, and all of them together.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::{join3, join4};
use futures_util::stream::{FuturesUnordered, StreamExt};
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::{Instant, timeout_at};
use tokio_postgres::types::ToSql;
use tokio_postgres::{Row, RowStream, Statement};

use super::Policy;
use super::coverage::{self, Claim};
use super::query::Question;
use crate::error::{Error, Missing, is_stale_plan};
use crate::map::ShardName;
use crate::router::{Member, Router, View};
use crate::slot::Epoch;
use crate::source::{
    BoxConnection, Purpose, STATE, SourceError, Stored, is_over, not_installed,
};

const FOREVER: Duration = Duration::from_secs(86_400 * 365 * 30);

/// What the shard stores is of the very snapshot that the rows are of.
const BEGIN: &str = if cfg!(broken = "two_snapshots") {
    "BEGIN ISOLATION LEVEL READ COMMITTED READ ONLY"
} else {
    "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY"
};

type Params<'a> = &'a [&'a (dyn ToSql + Sync)];
pub(super) type Asking<'a, R> =
    Pin<Box<dyn Future<Output = Result<Answer<R>, Error>> + Send + 'a>>;

/// A shard's answer.
pub(super) struct Answer<R> {
    pub(super) stored: Stored,
    pub(super) statement: Statement,
    pub(super) rows: R,
}

/// Rows that are yet to come, and the connection that they come by.
pub(super) struct Coming {
    pub(super) rows: Pin<Box<RowStream>>,
    pub(super) connection: BoxConnection,
}

/// The answers that there are, by the map's order. They cover all slots but those of the
/// shards that are missing.
pub(super) struct Gathered<R> {
    pub(super) view: Arc<View>,
    pub(super) answers: Vec<(usize, Answer<R>)>,
    pub(super) missing: Vec<Missing>,
    /// To be held for as long as connections are.
    pub(super) permit: OwnedSemaphorePermit,
}

impl<R> Gathered<R> {
    pub(super) fn name(&self, place: usize) -> &ShardName {
        &self.view.members[self.answers[place].0].node.name
    }
}

/// Asks all shards at once.
pub(super) async fn gather<'a, P: Policy, R: 'a>(
    question: &'a Question<'a, P>,
    ask: impl for<'m> Fn(&'m Member, &'m str, Params<'m>) -> Asking<'m, R>,
) -> Result<Gathered<R>, Error> {
    let metrics = &question.router.core.metrics;
    metrics.scatters();
    question.router.forbid(question.at)?;
    let gathered = gather_all(question, ask).await;
    match &gathered {
        Ok(gathered) if !gathered.missing.is_empty() => metrics.partial_scatters(),
        Ok(_) => {}
        Err(error) => {
            metrics.failed_scatters();
            if matches!(error, Error::Coverage(_)) {
                metrics.coverage_errors();
            }
        }
    }
    gathered
}

async fn gather_all<'a, P: Policy, R: 'a>(
    question: &'a Question<'a, P>,
    ask: impl for<'m> Fn(&'m Member, &'m str, Params<'m>) -> Asking<'m, R>,
) -> Result<Gathered<R>, Error> {
    let core = &question.router.core;
    let after = question.scatter.deadline.unwrap_or(core.settings.pool.query_timeout);
    let now = Instant::now();
    let deadline = now.checked_add(after).unwrap_or(now + FOREVER);
    let view = question.router.view();
    let permit = scatter_permit(question.router, deadline, after).await?;
    let mut asking: FuturesUnordered<_> = view
        .members
        .iter()
        .enumerate()
        .map(|(index, member)| {
            let asking = ask(member, &question.sql, question.params);
            async move {
                let answer = timeout_at(deadline, asking).await.unwrap_or_else(|_| {
                    // A deadline of the caller's own may be too short for any shard.
                    if question.scatter.deadline.is_none() && !cfg!(broken = "late_is_fine") {
                        member.node.failed();
                    }
                    Err(Error::Late { shard: member.node.name.clone(), after })
                });
                (index, answer)
            }
        })
        .collect();
    let (mut answers, mut missing) = (Vec::new(), Vec::new());
    while let Some((index, answer)) = asking.next().await {
        match answer {
            Ok(answer) => answers.push((index, answer)),
            Err(error) if error.is_absence() => missing.push((index, error)),
            Err(error) => return Err(error),
        }
    }
    drop(asking);
    answers.sort_unstable_by_key(|(index, _)| *index);

    // Those who are behind the others say what was.
    let newest = coverage::epoch(&claims(&view, &answers));
    if let Some(newest) = newest {
        answers.retain(|(index, answer)| {
            let stored = answer.stored.epoch;
            if stored == newest || cfg!(broken = "mixed_epochs") {
                return true;
            }
            let shard = view.members[*index].node.name.clone();
            missing.push((*index, Error::Epoch { shard, stored, map: newest }));
            false
        });
        if newest != view.topology.map().epoch() {
            core.metrics.epoch_mismatches();
            core.nudge.notify_one();
        }
    }
    missing.sort_unstable_by_key(|(index, _)| *index);
    let missing = describe(&view, missing);
    if missing.len() > question.most() || answers.is_empty() {
        return Err(Error::Missing { missing });
    }
    let absent = explained(&view, &missing, newest);
    coverage::judge(view.topology.map(), &claims(&view, &answers), &absent)
        .map_err(Error::Coverage)?;
    Ok(Gathered { view, answers, missing, permit })
}

/// What is missing explains a hole only at the epoch of this router's map.
fn explained(view: &View, missing: &[Missing], epoch: Option<Epoch>) -> Vec<ShardName> {
    if epoch.is_some_and(|epoch| epoch != view.topology.map().epoch()) {
        return Vec::new();
    }
    missing.iter().map(|missing| missing.shard.clone()).collect()
}

fn claims<'a, R>(view: &'a View, answers: &'a [(usize, Answer<R>)]) -> Vec<Claim<'a>> {
    let claim = |(index, answer): &'a (usize, Answer<R>)| Claim {
        shard: &view.members[*index].node.name,
        epoch: answer.stored.epoch,
        owned: &answer.stored.owned,
    };
    answers.iter().map(claim).collect()
}

fn describe(view: &View, missing: Vec<(usize, Error)>) -> Vec<Missing> {
    let missing = missing.into_iter().map(|(index, reason)| {
        let shard = view.members[index].node.name.clone();
        let slots = view.topology.map().slot_count(shard.as_str()).unwrap_or(0);
        Missing { shard, slots, reason: Arc::new(reason) }
    });
    missing.collect()
}

/// A scatter has a connection to each shard or waits for none.
async fn scatter_permit(
    router: &Router,
    deadline: Instant,
    waited: Duration,
) -> Result<OwnedSemaphorePermit, Error> {
    let core = &router.core;
    let permit = timeout_at(deadline, Arc::clone(&core.scatters).acquire_owned()).await;
    match permit {
        Ok(permit) => Ok(permit.expect("the semaphore is never closed")),
        Err(_) => {
            core.metrics.pool_timeouts();
            Err(Error::ScattersBusy { size: core.settings.pool.scatters, waited })
        }
    }
}

/// All rows of a shard, in one round trip if the statement is prepared.
pub(super) fn rows<'a>(
    member: &'a Member,
    sql: &'a str,
    params: Params<'a>,
) -> Asking<'a, Vec<Row>> {
    Box::pin(again(move || rows_once(member, sql, params)))
}

async fn rows_once(
    member: &Member,
    sql: &str,
    params: Params<'_>,
) -> Result<Answer<Vec<Row>>, Error> {
    let connection = member.node.connect(Purpose::Scatter).await?;
    connection.busy();
    let (state, statement) = prepare(member, &connection, sql).await?;
    let client = connection.client();
    let (begun, stored, rows, ended) = join4(
        client.batch_execute(BEGIN),
        client.query(&state, &[]),
        client.query(&statement, params),
        // Of what has failed, it is a rollback.
        client.batch_execute("COMMIT"),
    )
    .await;
    let lost = |error| lost(member, &connection, error);
    begun.map_err(lost)?;
    let stored = read(member, stored)?;
    let rows = rows.map_err(lost);
    ended.map_err(lost)?;
    member.node.answered();
    connection.idle();
    Ok(Answer { stored, statement, rows: rows? })
}

/// The beginning of a shard's rows; its transaction stays open.
pub(super) fn stream<'a>(
    member: &'a Member,
    sql: &'a str,
    params: Params<'a>,
) -> Asking<'a, Coming> {
    Box::pin(again(move || stream_once(member, sql, params)))
}

async fn stream_once(
    member: &Member,
    sql: &str,
    params: Params<'_>,
) -> Result<Answer<Coming>, Error> {
    let connection = member.node.connect(Purpose::Scatter).await?;
    connection.busy();
    let (state, statement) = prepare(member, &connection, sql).await?;
    let client = connection.client();
    let (begun, stored, rows) = join3(
        client.batch_execute(BEGIN),
        client.query(&state, &[]),
        client.query_raw(&statement, params.iter().copied()),
    )
    .await;
    let lost = |error| lost(member, &connection, error);
    begun.map_err(lost)?;
    let stored = read(member, stored)?;
    let rows = Box::pin(rows.map_err(lost)?);
    member.node.answered();
    Ok(Answer { stored, statement, rows: Coming { rows, connection } })
}

/// Once more, as it only reads, if a table has other columns since the statement was prepared,
/// or the connection had ended while it was idle.
async fn again<T, F>(ask: impl Fn() -> F) -> Result<T, Error>
where
    F: Future<Output = Result<T, Error>>,
{
    match ask().await {
        Err(Error::Sql { source, .. }) if is_stale_plan(&source) => ask().await,
        Err(Error::OutcomeUnknown { .. }) => ask().await,
        answer => answer,
    }
}

async fn prepare(
    member: &Member,
    connection: &BoxConnection,
    sql: &str,
) -> Result<(Statement, Statement), Error> {
    let state = connection.statement(STATE).await;
    let state = state.map_err(|error| member.node.error(not_installed(error)))?;
    let statement = connection.statement(sql).await.map_err(|error| {
        // What the server has refused to prepare leaves nothing behind.
        if is_over(&error) {
            connection.idle();
        }
        lost(member, connection, error)
    })?;
    Ok((state, statement))
}

fn read(
    member: &Member,
    rows: Result<Vec<Row>, tokio_postgres::Error>,
) -> Result<Stored, Error> {
    let of = |error| member.node.error(error);
    let rows = rows.map_err(|error| of(not_installed(error)))?;
    let refused = |reason| of(SourceError::Refused(reason));
    let stored = Stored::read(&rows).map_err(refused)?;
    stored.verify(&member.expected).map_err(refused)?;
    Ok(stored)
}

fn lost(member: &Member, connection: &BoxConnection, error: tokio_postgres::Error) -> Error {
    if is_stale_plan(&error) {
        connection.stale();
    }
    member.node.error(SourceError::Sql(error))
}
