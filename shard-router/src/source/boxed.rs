//! Sources of any kind side by side in one router.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use tokio_postgres::types::ToSql;
use tokio_postgres::{Client, Row, Statement};

use super::{Purpose, ShardConnection, ShardSource, SourceError};

type Boxed<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;
type Params<'a> = &'a [&'a (dyn ToSql + Sync)];

trait Source: Send + Sync {
    fn connect(&self, purpose: Purpose) -> Boxed<'_, Result<BoxConnection, SourceError>>;
    fn query<'a>(
        &'a self,
        sql: &'a str,
        params: Params<'a>,
    ) -> Boxed<'a, Result<Vec<Row>, SourceError>>;
    fn execute<'a>(
        &'a self,
        sql: &'a str,
        params: Params<'a>,
    ) -> Boxed<'a, Result<u64, SourceError>>;
    fn capacity(&self) -> usize;
}

impl<S: ShardSource> Source for S {
    fn connect(&self, purpose: Purpose) -> Boxed<'_, Result<BoxConnection, SourceError>> {
        Box::pin(async move {
            let connection = ShardSource::connect(self, purpose).await?;
            Ok(BoxConnection(Box::new(connection)))
        })
    }

    fn query<'a>(
        &'a self,
        sql: &'a str,
        params: Params<'a>,
    ) -> Boxed<'a, Result<Vec<Row>, SourceError>> {
        Box::pin(ShardSource::query(self, sql, params))
    }

    fn execute<'a>(
        &'a self,
        sql: &'a str,
        params: Params<'a>,
    ) -> Boxed<'a, Result<u64, SourceError>> {
        Box::pin(ShardSource::execute(self, sql, params))
    }

    fn capacity(&self) -> usize {
        ShardSource::capacity(self)
    }
}

#[derive(Clone)]
pub(crate) struct BoxSource(Arc<dyn Source>);

impl BoxSource {
    pub(crate) fn new(source: impl ShardSource) -> Self {
        Self(Arc::new(source))
    }

    pub(crate) fn connect(
        &self,
        purpose: Purpose,
    ) -> Boxed<'_, Result<BoxConnection, SourceError>> {
        self.0.connect(purpose)
    }

    pub(crate) fn query<'a>(
        &'a self,
        sql: &'a str,
        params: Params<'a>,
    ) -> Boxed<'a, Result<Vec<Row>, SourceError>> {
        self.0.query(sql, params)
    }

    pub(crate) fn execute<'a>(
        &'a self,
        sql: &'a str,
        params: Params<'a>,
    ) -> Boxed<'a, Result<u64, SourceError>> {
        self.0.execute(sql, params)
    }

    pub(crate) fn capacity(&self) -> usize {
        self.0.capacity().max(1)
    }
}

impl fmt::Debug for BoxSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("BoxSource")
    }
}

trait Connection: Send + Sync {
    fn client(&self) -> &Client;
    fn statement<'a>(
        &'a self,
        sql: &'a str,
    ) -> Boxed<'a, Result<Statement, tokio_postgres::Error>>;
    fn busy(&self);
    fn idle(&self);
    fn stale(&self);
    fn committed(&self) -> Boxed<'_, Result<(), SourceError>>;
}

impl<C: ShardConnection> Connection for C {
    fn client(&self) -> &Client {
        ShardConnection::client(self)
    }

    fn statement<'a>(
        &'a self,
        sql: &'a str,
    ) -> Boxed<'a, Result<Statement, tokio_postgres::Error>> {
        Box::pin(ShardConnection::statement(self, sql))
    }

    fn busy(&self) {
        ShardConnection::busy(self);
    }

    fn idle(&self) {
        ShardConnection::idle(self);
    }

    fn stale(&self) {
        ShardConnection::stale(self);
    }

    fn committed(&self) -> Boxed<'_, Result<(), SourceError>> {
        Box::pin(ShardConnection::committed(self))
    }
}

pub(crate) struct BoxConnection(Box<dyn Connection>);

impl BoxConnection {
    pub(crate) fn client(&self) -> &Client {
        self.0.client()
    }

    pub(crate) fn statement<'a>(
        &'a self,
        sql: &'a str,
    ) -> Boxed<'a, Result<Statement, tokio_postgres::Error>> {
        self.0.statement(sql)
    }

    pub(crate) fn busy(&self) {
        self.0.busy();
    }

    pub(crate) fn idle(&self) {
        self.0.idle();
    }

    pub(crate) fn stale(&self) {
        self.0.stale();
    }

    pub(crate) fn committed(&self) -> Boxed<'_, Result<(), SourceError>> {
        self.0.committed()
    }
}

impl fmt::Debug for BoxConnection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("BoxConnection")
    }
}
