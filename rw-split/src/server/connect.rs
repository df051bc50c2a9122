//! Connections, with or without TLS, behind one type.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};

use tokio::task::JoinHandle;
use tokio_postgres::tls::MakeTlsConnect;
use tokio_postgres::{CancelToken, Client, Config, Error, Socket};

type Boxed<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

pub(crate) trait Connect: Send + Sync + fmt::Debug {
    fn connect<'a>(&'a self, config: &'a Config) -> Boxed<'a, Result<Connected, Error>>;

    /// Asks the server to stop what the connection is doing.
    fn cancel(&self, token: CancelToken) -> Boxed<'static, ()>;
}

pub(crate) struct Connected {
    pub(crate) client: Client,
    pub(crate) driver: Driver,
}

/// The task that reads and writes the connection's socket; dropped = closed.
#[derive(Debug)]
pub(crate) struct Driver(Arc<Socketed>);

#[derive(Debug)]
struct Socketed {
    task: JoinHandle<()>,
    /// Nothing is lost if the connection is: it is used for a read.
    reads: AtomicBool,
}

/// What closes a connection that is used for a read: one of a server that has
/// gone silent. A write may still be answered.
#[derive(Debug)]
pub(crate) struct Cutter(Weak<Socketed>);

impl Driver {
    fn new(task: JoinHandle<()>) -> Self {
        Self(Arc::new(Socketed { task, reads: AtomicBool::new(false) }))
    }

    pub(crate) fn cutter(&self) -> Cutter {
        Cutter(Arc::downgrade(&self.0))
    }

    pub(crate) fn reads(&self, reads: bool) {
        // In one order with the server's reachability, see `Pool::cut_reads`.
        self.0.reads.store(reads, Ordering::SeqCst);
    }
}

impl Cutter {
    /// False if there is no connection any more.
    pub(crate) fn is_of_use(&self) -> bool {
        self.0.strong_count() > 0
    }

    pub(crate) fn cut(&self) {
        if let Some(driver) = self.0.upgrade().filter(|d| d.reads.load(Ordering::SeqCst)) {
            driver.task.abort();
        }
    }
}

impl Drop for Driver {
    fn drop(&mut self) {
        self.0.task.abort();
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
            let driver = Driver::new(tokio::spawn(async move { drop(connection.await) }));
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
