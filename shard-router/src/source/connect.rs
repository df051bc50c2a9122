//! Connections, with or without TLS, behind one type.

use std::fmt;
use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

#[cfg(feature = "toml")]
use tokio::sync::Notify;
use tokio::task::JoinHandle;
use tokio::time::{Instant, Sleep, sleep_until};
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
pub(crate) struct Driver {
    task: JoinHandle<()>,
    deadline: Arc<Deadline>,
}

impl Driver {
    fn new<E>(connection: impl Future<Output = Result<(), E>> + Send + 'static) -> Self {
        let deadline = Arc::new(Deadline::new());
        let watched = Arc::clone(&deadline);
        let task = tokio::spawn(async move {
            let mut connection = pin!(connection);
            let mut sleep = pin!(sleep_until(watched.start));
            let mut asleep = false;
            poll_fn(|cx| {
                // Whoever uses the client meets the connection's error there.
                if connection.as_mut().poll(cx).is_ready() {
                    return Poll::Ready(());
                }
                watched.poll_passed(sleep.as_mut(), &mut asleep, cx)
            })
            .await;
        });
        Self { task, deadline }
    }

    /// Closes the connection if it is not [`done`](Self::done) by then. A timer for each
    /// question would cost more than all else that a pool does for it.
    pub(crate) fn done_by(&self, at: Option<Instant>) {
        let after = at.map(|at| at.saturating_duration_since(self.deadline.start));
        let micros = after.and_then(|after| u64::try_from(after.as_micros()).ok());
        self.deadline.due.store(micros.map_or(0, |micros| micros.max(1)), Ordering::Release);
    }

    pub(crate) fn done(&self) {
        self.deadline.due.store(0, Ordering::Release);
    }

    /// Whether it was closed because it was not done.
    pub(crate) fn has_passed(&self) -> bool {
        self.deadline.passed.load(Ordering::Acquire)
    }
}

impl Drop for Driver {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// When a connection must have answered.
#[derive(Debug)]
struct Deadline {
    start: Instant,
    /// Microseconds after the start; 0 while nothing is asked.
    due: AtomicU64,
    passed: AtomicBool,
}

impl Deadline {
    fn new() -> Self {
        Self { start: Instant::now(), due: AtomicU64::new(0), passed: AtomicBool::new(false) }
    }

    /// Sleeps until what was due when it fell asleep. Questions asked since are due later, so
    /// it wakes in time for them, and seldom.
    fn poll_passed(
        &self,
        mut sleep: Pin<&mut Sleep>,
        asleep: &mut bool,
        cx: &mut Context<'_>,
    ) -> Poll<()> {
        loop {
            if *asleep {
                ready!(sleep.as_mut().poll(cx));
                *asleep = false;
            }
            let due = match self.due.load(Ordering::Acquire) {
                0 => return Poll::Pending,
                _ if cfg!(broken = "patient_query") => return Poll::Pending,
                micros => self.start + Duration::from_micros(micros),
            };
            if due <= Instant::now() {
                self.passed.store(true, Ordering::Release);
                return Poll::Ready(());
            }
            sleep.as_mut().reset(due);
            *asleep = true;
        }
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
            let driver = Driver::new(connection);
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
            let driver = Driver::new(async move {
                loop {
                    match poll_fn(|cx| connection.poll_message(cx)).await {
                        Some(Ok(AsyncMessage::Notification(_))) => heard.notify_one(),
                        Some(Ok(_)) => {}
                        Some(Err(_)) | None => break,
                    }
                }
                heard.notify_one();
                Ok::<_, Error>(())
            });
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
