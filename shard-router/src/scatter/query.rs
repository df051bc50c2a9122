use std::fmt;
use std::future::{Future, IntoFuture};
use std::panic::Location;
use std::pin::Pin;

use tokio_postgres::Row;
use tokio_postgres::types::ToSql;
use tracing::{Instrument, debug_span};

use super::ask::{self, Gathered};
use super::order::{Order, OrderBy};
use super::stream::MergedRows;
use super::{Policy, RequireAll, Scatter, merge};
use crate::error::Error;
use crate::hash::{Column, quoted, slot_sql};
use crate::router::Router;
use crate::text::{Effect, Outline, outline};

type Params<'a> = &'a [&'a (dyn ToSql + Sync)];

/// A scatter of which the statement is not known yet; made by [`Router::scatter`].
#[derive(Debug)]
#[must_use = "it asks nothing before it has a `query`"]
pub struct ScatterFrom<'a, P> {
    router: &'a Router,
    scatter: Scatter<P>,
    at: &'static Location<'static>,
}

impl<'a, P: Policy> ScatterFrom<'a, P> {
    pub(crate) fn new(
        router: &'a Router,
        scatter: Scatter<P>,
        at: &'static Location<'static>,
    ) -> Self {
        Self { router, scatter, at }
    }

    /// A `SELECT`, without `ORDER BY` and `LIMIT`, which are put around it, and refused in it. It
    /// runs on every shard in a transaction that only reads.
    pub fn query(self, sql: impl Into<String>, params: Params<'a>) -> ScatterQuery<'a, P> {
        ScatterQuery {
            from: self,
            sql: sql.into(),
            params,
            order: Vec::new(),
            limit: None,
            offset: 0,
            owned_by: None,
        }
    }
}

/// A statement for all shards. Awaited, it has all rows, or use
/// [`stream`](Self::stream), or an aggregate.
#[must_use = "nothing is asked before it is awaited"]
pub struct ScatterQuery<'a, P> {
    from: ScatterFrom<'a, P>,
    sql: String,
    params: Params<'a>,
    order: Vec<OrderBy>,
    limit: Option<u64>,
    offset: u64,
    owned_by: Option<Vec<String>>,
}

/// What goes to each shard.
pub(super) struct Question<'a, P> {
    pub(super) router: &'a Router,
    pub(super) scatter: Scatter<P>,
    pub(super) at: &'static Location<'static>,
    pub(super) sql: String,
    pub(super) params: Params<'a>,
}

impl<P: Policy> Question<'_, P> {
    pub(super) fn most(&self) -> usize {
        super::sealed::Sealed::most(&self.scatter.policy)
    }
}

impl<'a, P: Policy> ScatterQuery<'a, P> {
    /// The rows of all shards in this order: each shard sorts its own, and they are merged. Of
    /// rows that are equal in these columns, those of the shard that is first in the map come
    /// first; end with a unique column for an order that is the same each time.
    pub fn order_by(mut self, columns: impl IntoIterator<Item = OrderBy>) -> Self {
        self.order = columns.into_iter().collect();
        self
    }

    /// So many rows at most. Each shard sends no more than that and the offset.
    pub const fn limit(mut self, rows: u64) -> Self {
        self.limit = Some(rows);
        self
    }

    /// Without the first ones. Each shard has to send these, too: for deep pages, ask for what
    /// comes behind the last row that was seen instead. It needs an order.
    pub const fn offset(mut self, rows: u64) -> Self {
        self.offset = rows;
        self
    }

    /// Only rows that the shard owns, by the key in these columns of the answer: while slots
    /// move, the new owner has copies of rows before it owns them, and the old one keeps them
    /// for a while.
    pub fn owned_by<C: Into<String>>(mut self, columns: impl IntoIterator<Item = C>) -> Self {
        self.owned_by = Some(columns.into_iter().map(Into::into).collect());
        self
    }

    async fn rows(self) -> Result<P::Output<Vec<Row>>, Error> {
        let (limit, offset) = (self.limit, self.offset);
        let by = self.order.clone();
        let question = self.question()?;
        let gathered = ask::gather(&question, ask::rows).await?;
        let order = order_of(&by, &gathered)?;
        let names: Vec<_> =
            (0..gathered.answers.len()).map(|place| gathered.name(place).clone()).collect();
        let lists = gathered.answers.into_iter().map(|(_, answer)| answer.rows);
        let size = |rows: u64| usize::try_from(rows).unwrap_or(usize::MAX);
        let most = limit.map_or(usize::MAX, |limit| size(limit.saturating_add(offset)));
        let mut rows = if by.is_empty() {
            let mut rows: Vec<Row> = lists.flatten().collect();
            rows.truncate(most);
            rows
        } else {
            merge::lists(lists.collect(), most, |a, b| order.compare(a, b))
                .map_err(|back| Error::OutOfOrder { shard: names[back.source].clone() })?
        };
        rows.drain(..size(offset).min(rows.len()));
        Ok(<P as super::sealed::Sealed>::output(rows, gathered.missing))
    }

    fn question(self) -> Result<Question<'a, P>, Error> {
        let wrong = |reason: &str| Err(Error::Question { reason: reason.into() });
        if self.offset > 0 && self.order.is_empty() {
            return wrong(
                "an offset without an order leaves out rows at random: add `order_by`",
            );
        }
        let sum = self.limit.map(|limit| limit.checked_add(self.offset));
        let limit = match sum {
            None => String::new(),
            Some(sum) => match sum.and_then(|sum| i64::try_from(sum).ok()) {
                Some(rows) => format!(" LIMIT {rows}"),
                None => return wrong("limit and offset are more than bigint can hold"),
            },
        };
        let order: Vec<_> = self.order.iter().map(OrderBy::sql).collect();
        let order = match order.is_empty() {
            true => String::new(),
            false => format!(" ORDER BY {}", order.join(", ")),
        };
        // Also without an order and a limit: what is in it can only be a SELECT then.
        let sql = format!("SELECT * FROM (\n{}\n) AS q{order}{limit}", self.inner()?);
        let ScatterFrom { router, scatter, at } = self.from;
        Ok(Question { router, scatter, at, sql, params: self.params })
    }

    /// The statement, of rows that the shard owns if that was asked for.
    fn inner(&self) -> Result<String, Error> {
        let wrong = |reason: String| Err(Error::Question { reason });
        let Outline { effect, statements, end, whole } = outline(&self.sql);
        if !cfg!(broken = "scatter_text") {
            if statements != 1 {
                return wrong(format!("a scatter is one SELECT, and this is {statements}"));
            }
            if let Effect::Session(what) | Effect::Transaction(what) = effect {
                return wrong(format!("a scatter only reads: leave out {what}"));
            }
            if let Some(whole) = whole {
                return wrong(format!(
                    "{whole} would be of each shard by itself: use `order_by`, `limit` and \
                     `offset`, or put the statement into parentheses (`SELECT * FROM (…) AS x`) if \
                     that is what you want"
                ));
            }
        }
        let sql = &self.sql[..end];
        let Some(names) = &self.owned_by else { return Ok(sql.into()) };
        let view = self.from.router.view();
        let (hash, key) = (view.topology.map().hash(), view.topology.key());
        if !hash.in_sql() {
            return wrong(format!("`owned_by`: the database cannot compute {hash}"));
        }
        if names.len() != key.len() {
            let (found, wanted) = (names.len(), key.len());
            return wrong(format!("`owned_by` names {found} columns, and a key has {wanted}"));
        }
        if cfg!(broken = "owned_by") {
            return Ok(sql.into());
        }
        let columns: Vec<_> = names
            .iter()
            .zip(key)
            .map(|(name, key_type)| Column { name, key_type: *key_type })
            .collect();
        // Names that no column of the statement is likely to have: inner ones go first.
        Ok(format!(
            "SELECT * FROM (\n{sql}\n) AS q WHERE EXISTS (SELECT 1 FROM shard_router.owned \
             AS o(\"shard_router first\", \"shard_router last\") WHERE {} BETWEEN \
             o.\"shard_router first\" AND o.\"shard_router last\")",
            slot_sql(&columns)
        ))
    }

    /// `SELECT what FROM (the statement)`, which has one row on each shard.
    pub(super) async fn partials(
        self,
        what: impl FnOnce(&dyn Fn(&str) -> String) -> String,
    ) -> Result<(Vec<Row>, Vec<crate::error::Missing>), Error> {
        if !self.order.is_empty() || self.limit.is_some() || self.offset > 0 {
            return Err(Error::Question {
                reason: "an aggregate is of all rows: leave out order, limit and offset".into(),
            });
        }
        let inner = self.inner()?;
        let what = what(&|column| format!("q.{}", quoted(column)));
        let sql = format!("SELECT {what} FROM (\n{inner}\n) AS q");
        let ScatterFrom { router, scatter, at } = self.from;
        let question = Question { router, scatter, at, sql, params: self.params };
        let span = debug_span!("shard_router.scatter");
        let gathered = ask::gather(&question, ask::rows).instrument(span).await?;
        let rows = gathered.answers.into_iter().flat_map(|(_, answer)| answer.rows);
        Ok((rows.collect(), gathered.missing))
    }
}

impl ScatterQuery<'_, RequireAll> {
    /// Rows in order, as they come: memory for some rows of each shard is all it needs.
    ///
    /// # Errors
    ///
    /// As for awaiting the query, and [`Error::Question`] without an order. That all slots
    /// are covered is known before the first row.
    ///
    /// # Cancel safety
    ///
    /// As [`Router`].
    pub async fn stream(self) -> Result<MergedRows, Error> {
        if self.order.is_empty() {
            return Err(Error::Question {
                reason: "a stream is in order: add `order_by`, or await the query".into(),
            });
        }
        let (limit, offset) = (self.limit.unwrap_or(u64::MAX), self.offset);
        let order = self.order.clone();
        let question = self.question()?;
        let span = debug_span!("shard_router.scatter");
        let gathered = ask::gather(&question, ask::stream).instrument(span).await?;
        let order = order_of(&order, &gathered)?;
        let patience = question.router.core.settings.pool.query_timeout;
        Ok(MergedRows::new(gathered, order, limit, offset, patience))
    }
}

/// All shards answer with the same columns, and in these the order makes sense.
fn order_of<R>(by: &[OrderBy], gathered: &Gathered<R>) -> Result<Order, Error> {
    let columns = |place: usize| gathered.answers[place].1.statement.columns();
    for place in 1..gathered.answers.len() {
        let (one, other) = (columns(0), columns(place));
        let differ = one.len() != other.len()
            || one
                .iter()
                .zip(other)
                .any(|(a, b)| a.name() != b.name() || a.type_().name() != b.type_().name());
        if differ {
            let text = |place| {
                let columns: &[tokio_postgres::Column] = columns(place);
                let names =
                    columns.iter().map(|c| format!("{} {}", c.name(), c.type_().name()));
                names.collect::<Vec<_>>().join(", ")
            };
            return Err(Error::ShardsDiffer {
                a: gathered.name(0).clone(),
                b: gathered.name(place).clone(),
                reason: format!("({}) and ({})", text(0), text(place)),
            });
        }
    }
    Order::new(by, columns(0))
}

/// All rows.
impl<'a, P: Policy> IntoFuture for ScatterQuery<'a, P> {
    type Output = Result<P::Output<Vec<Row>>, Error>;
    type IntoFuture = Pin<Box<dyn Future<Output = Self::Output> + Send + 'a>>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(self.rows().instrument(debug_span!("shard_router.scatter")))
    }
}

impl<P> fmt::Debug for ScatterQuery<'_, P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ScatterQuery")
            .field("sql", &self.sql)
            .field("order", &self.order)
            .field("limit", &self.limit)
            .field("offset", &self.offset)
            .finish_non_exhaustive()
    }
}
