//! Connections, with or without TLS, behind one type.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
#[cfg(feature = "toml")]
use std::sync::Arc;

#[cfg(feature = "toml")]
use tokio::sync::Notify;
use tokio::task::JoinHandle;
#[cfg(feature = "toml")]
use tokio_postgres::AsyncMessage;
use tokio_postgres::tls::MakeTlsConnect;
use tokio_postgres::{CancelToken, Client, Config, Error, Socket};

type Boxed<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

pub(crate) trait Connect: Send + Sync + fmt::Debug {
    fn connect<'a>(&'a self, config: &'a Config) -> Boxed<'a, Result<Connected, Error>>;

    /// One whose notifications, and whose end, are passed on.
    #[cfg(feature = "toml")]
    fn listen<'a>(
        &'a self,
        config: &'a Config,
        heard: Arc<Notify>,
    ) -> Boxed<'a, Result<Connected, Error>>;

    /// Asks the server to stop what the connection is doing.
    fn cancel(&self, token: CancelToken) -> Boxed<'static, ()>;
}

pub(crate) struct Connected {
    pub(crate) client: Client,
    pub(crate) driver: Driver,
}

/// The task that reads and writes the connection's socket; dropped = closed.
#[derive(Debug)]
pub(crate) struct Driver(JoinHandle<()>);

impl Drop for Driver {
    fn drop(&mut self) {
        self.0.abort();
    }
}

pub(crate) struct Tls<T>(pub(crate) T);

impl<T> fmt::Debug for Tls<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Tls")
    }
}

impl<T> Connect for Tls<T>
where
    T: MakeTlsConnect<Socket> + Clone + Send + Sync + 'static,
    T::Stream: Send,
    T::TlsConnect: Send,
    <T::TlsConnect as tokio_postgres::tls::TlsConnect<Socket>>::Future: Send,
{
    fn connect<'a>(&'a self, config: &'a Config) -> Boxed<'a, Result<Connected, Error>> {
        Box::pin(async move {
            let (client, connection) = config.connect(self.0.clone()).await?;
            // Whoever uses the client meets the connection's error there.
            let driver = Driver(tokio::spawn(async move { drop(connection.await) }));
            Ok(Connected { client, driver })
        })
    }

    #[cfg(feature = "toml")]
    fn listen<'a>(
        &'a self,
        config: &'a Config,
        heard: Arc<Notify>,
    ) -> Boxed<'a, Result<Connected, Error>> {
        Box::pin(async move {
            let (client, mut connection) = config.connect(self.0.clone()).await?;
            let driver = Driver(tokio::spawn(async move {
                loop {
                    match std::future::poll_fn(|cx| connection.poll_message(cx)).await {
                        Some(Ok(AsyncMessage::Notification(_))) => heard.notify_one(),
                        Some(Ok(_)) => {}
                        Some(Err(_)) | None => break,
                    }
                }
                heard.notify_one();
            }));
            Ok(Connected { client, driver })
        })
    }

    fn cancel(&self, token: CancelToken) -> Boxed<'static, ()> {
        let tls = self.0.clone();
        Box::pin(async move {
            // The connection is closed in any case; this spares the server work.
            let _ = token.cancel_query(tls).await;
        })
    }
}
