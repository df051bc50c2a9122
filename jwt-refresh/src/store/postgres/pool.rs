use std::future::poll_fn;
use std::sync::Arc;
use std::task::ready;
use std::time::Duration;

use tokio::sync::Notify;
use tokio::task::AbortHandle;
use tokio_postgres::tls::{MakeTlsConnect, TlsConnect};
use tokio_postgres::{AsyncMessage, Client, Config, Error, Socket};

use super::statements::Statements;

/// Of every connection. READ COMMITTED, whatever the server's default is: under
/// REPEATABLE READ a rotation that had to wait would fail.
const SETTINGS: &str = "
SET SESSION CHARACTERISTICS AS TRANSACTION ISOLATION LEVEL READ COMMITTED;
SET statement_timeout = '5s'; SET lock_timeout = '3s'; SET jit = off";

/// What a connection over TLS, or without, can do.
pub trait Tls:
    MakeTlsConnect<
        Socket,
        Stream: Send + 'static,
        TlsConnect: TlsConnect<Socket, Future: Send> + Send,
    > + Clone
    + Send
    + Sync
    + 'static
{
}

impl<T> Tls for T where
    T: MakeTlsConnect<
            Socket,
            Stream: Send + 'static,
            TlsConnect: TlsConnect<Socket, Future: Send> + Send,
        > + Clone
        + Send
        + Sync
        + 'static
{
}

/// A connection with its statements.
pub(super) struct Prepared {
    pub(super) client: Client,
    pub(super) statements: Statements,
    /// Whether an answer is awaited. A connection that is given back meanwhile is
    /// closed: whatever comes next on it would wait for that answer.
    busy: bool,
    driver: AbortHandle,
}

impl Prepared {
    pub(super) fn is_closed(&self) -> bool {
        self.client.is_closed()
    }

    pub(super) fn begin(&mut self) {
        self.busy = true;
    }

    pub(super) fn end(&mut self) {
        self.busy = false;
    }
}

impl Drop for Prepared {
    fn drop(&mut self) {
        self.driver.abort();
    }
}

pub(super) struct Manager<T> {
    pub(super) config: Config,
    pub(super) tls: T,
}

impl<T: Tls> bb8::ManageConnection for Manager<T> {
    type Connection = Prepared;
    type Error = Error;

    async fn connect(&self) -> Result<Prepared, Error> {
        let (client, connection) = self.config.connect(self.tls.clone()).await?;
        let driver = tokio::spawn(async move {
            if let Err(error) = connection.await {
                tracing::debug!(%error, "a connection to PostgreSQL has ended");
            }
        })
        .abort_handle();
        client.batch_execute(SETTINGS).await?;
        let statements = Statements::prepare(&client).await?;
        Ok(Prepared { client, statements, busy: false, driver })
    }

    async fn is_valid(&self, connection: &mut Prepared) -> Result<(), Error> {
        connection.client.check_connection().await
    }

    fn has_broken(&self, connection: &mut Prepared) -> bool {
        connection.busy || connection.is_closed()
    }
}

/// A connection that hears of news in the feed; its task ends with it.
pub(super) struct Listener {
    client: Client,
    news: Arc<Notify>,
    driver: AbortHandle,
}

impl Listener {
    pub(super) async fn start<T: Tls>(manager: &Manager<T>) -> Result<Self, Error> {
        let (client, mut connection) = manager.config.connect(manager.tls.clone()).await?;
        let news = Arc::new(Notify::new());
        let told = Arc::clone(&news);
        let driver = tokio::spawn(async move {
            poll_fn(|cx| {
                loop {
                    match ready!(connection.poll_message(cx)) {
                        Some(Ok(AsyncMessage::Notification(_))) => told.notify_one(),
                        Some(Ok(_)) => {}
                        Some(Err(_)) | None => return std::task::Poll::Ready(()),
                    }
                }
            })
            .await;
        })
        .abort_handle();
        let listener = Self { client, news, driver };
        listener.client.batch_execute("LISTEN jwt_refresh").await?;
        Ok(listener)
    }

    pub(super) fn is_closed(&self) -> bool {
        self.client.is_closed()
    }

    pub(super) fn news(&self) -> Arc<Notify> {
        Arc::clone(&self.news)
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        self.driver.abort();
    }
}

/// How long somebody waits for a connection of the pool.
pub(super) const PATIENCE: Duration = Duration::from_secs(3);
