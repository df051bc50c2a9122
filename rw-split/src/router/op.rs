//! What is asked of a connection, in a form that can be asked again.

use std::pin::Pin;

use futures_util::StreamExt;
use tokio_postgres::types::{ToSql, Type};
use tokio_postgres::{Error, Row, RowStream, SimpleQueryMessage, Statement};

use crate::error::is_lost;
use crate::policy::retry::is_gone;
use crate::server::conn::Conn;

pub(crate) type Params<'a> = &'a [&'a (dyn ToSql + Sync)];

#[derive(Clone, Copy)]
pub(crate) struct Op<'a> {
    pub(crate) sql: &'a str,
    pub(crate) kind: Kind<'a>,
}

#[derive(Clone, Copy)]
pub(crate) enum Kind<'a> {
    Rows(Params<'a>),
    Count(Params<'a>),
    Typed(&'a [(&'a (dyn ToSql + Sync), Type)]),
    Stream(Params<'a>),
    Simple,
}

pub(crate) enum Answer {
    Rows(Vec<Row>),
    Count(u64),
    Stream(Pin<Box<RowStream>>, Option<Row>),
    Simple(Vec<SimpleQueryMessage>),
}

impl Op<'_> {
    /// Nothing has run when this fails.
    pub(crate) async fn prepare(&self, conn: &Conn) -> Result<Option<Statement>, Error> {
        if cfg!(broken = "unprepared_write") {
            return Ok(None);
        }
        match self.kind {
            Kind::Rows(_) | Kind::Count(_) | Kind::Stream(_) => {
                conn.statement(self.sql).await.map(Some)
            }
            Kind::Typed(_) | Kind::Simple => Ok(None),
        }
    }

    /// What `prepare` has prepared is on its way to the server after the first
    /// poll, so that whatever is sent behind it is answered behind it.
    pub(crate) async fn run(
        &self,
        conn: &Conn,
        statement: Option<&Statement>,
    ) -> Result<Answer, Error> {
        let client = &conn.client;
        match (self.kind, statement) {
            (Kind::Rows(params), Some(statement)) => {
                client.query(statement, params).await.map(Answer::Rows)
            }
            (Kind::Rows(params), None) => {
                client.query(self.sql, params).await.map(Answer::Rows)
            }
            (Kind::Count(params), Some(statement)) => {
                client.execute(statement, params).await.map(Answer::Count)
            }
            (Kind::Count(params), None) => {
                client.execute(self.sql, params).await.map(Answer::Count)
            }
            (Kind::Typed(params), _) => {
                client.query_typed(self.sql, params).await.map(Answer::Rows)
            }
            (Kind::Stream(params), statement) => {
                let params = params.iter().copied();
                let rows = match statement {
                    Some(statement) => client.query_raw(statement, params).await?,
                    None => client.query_raw(self.sql, params).await?,
                };
                let mut rows = Box::pin(rows);
                // An error before the first row is one that may be mended.
                let first = rows.next().await.transpose()?;
                Ok(Answer::Stream(rows, first))
            }
            (Kind::Simple, _) => client.simple_query(self.sql).await.map(Answer::Simple),
        }
    }

    /// Whether the connection failed. What the driver says of a text that it
    /// cannot send looks the same.
    pub(crate) fn is_lost(&self, error: &Error) -> bool {
        is_lost(error) && !self.sql.contains('\0')
    }

    /// Likewise, or the server has said that it is going away.
    pub(crate) fn is_away(&self, error: &Error) -> bool {
        self.is_lost(error) || error.code().is_some_and(is_gone)
    }

    pub(crate) fn is_stream(&self) -> bool {
        matches!(self.kind, Kind::Stream(_))
    }

    pub(crate) fn is_simple(&self) -> bool {
        matches!(self.kind, Kind::Simple)
    }
}
