use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio_postgres::Row;
use tokio_postgres::types::ToSql;
use tower_service::Service;

use super::RwSplit;
use crate::error::Error;

/// A statement with its parameters, for those who compose tower services.
///
/// ```no_run
/// # use rw_split::{Query, RwSplit};
/// # async fn example(db: RwSplit) -> Result<(), Box<dyn std::error::Error>> {
/// use tower::ServiceExt;
///
/// let rows = db.oneshot(Query::new("SELECT name FROM users WHERE id = $1").bind(7_i64)).await?;
/// # Ok(())
/// # }
/// ```
#[must_use]
pub struct Query {
    sql: String,
    params: Vec<Box<dyn ToSql + Send + Sync>>,
}

impl Query {
    /// A statement without parameters.
    pub fn new(sql: impl Into<String>) -> Self {
        Self { sql: sql.into(), params: Vec::new() }
    }

    /// Adds the next parameter.
    pub fn bind(mut self, value: impl ToSql + Send + Sync + 'static) -> Self {
        self.params.push(Box::new(value));
        self
    }
}

/// Parameters are not shown: they are the user's data.
impl fmt::Debug for Query {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Query").field("sql", &self.sql).finish_non_exhaustive()
    }
}

/// # Readiness
///
/// *Deferred*: always ready; whoever finds all connections in use waits in the
/// answer, in turn.
impl Service<Query> for RwSplit {
    type Response = Vec<Row>;
    type Error = Error;
    type Future = Rows;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, query: Query) -> Rows {
        let db = self.clone();
        Rows(Box::pin(async move {
            let params: Vec<&(dyn ToSql + Sync)> =
                query.params.iter().map(|value| &**value as &(dyn ToSql + Sync)).collect();
            db.query(&query.sql, &params).await
        }))
    }
}

/// The answer to a [`Query`].
///
/// # Cancel safety
///
/// As [`RwSplit`]'s methods.
#[must_use = "futures do nothing unless polled"]
pub struct Rows(Pin<Box<dyn Future<Output = Result<Vec<Row>, Error>> + Send>>);

impl Future for Rows {
    type Output = Result<Vec<Row>, Error>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        self.0.as_mut().poll(cx)
    }
}

impl fmt::Debug for Rows {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Rows").finish_non_exhaustive()
    }
}
