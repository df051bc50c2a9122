//! The source of truth: rows whose versions only grow.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::sleep;

/// The longest that a load takes.
pub(crate) const ORIGIN: Duration = Duration::from_millis(10);

/// Rows by number; all of them begin at version 1.
#[derive(Debug)]
pub(crate) struct Rows {
    versions: Vec<AtomicU64>,
    loads: AtomicU64,
}

impl Rows {
    pub(crate) fn new(rows: u64) -> Arc<Self> {
        let versions = (0..rows).map(|_| AtomicU64::new(1)).collect();
        Arc::new(Self { versions, loads: AtomicU64::new(0) })
    }

    /// The committed version. Rows beyond the last stay at 1.
    pub(crate) fn version(&self, row: u64) -> u64 {
        self.versions.get(row as usize).map_or(1, |version| version.load(Ordering::SeqCst))
    }

    /// Commits the next version.
    pub(crate) fn commit(&self, row: u64) -> u64 {
        self.versions[row as usize].fetch_add(1, Ordering::SeqCst) + 1
    }

    pub(crate) fn loads(&self) -> u64 {
        self.loads.load(Ordering::SeqCst)
    }

    /// A load that takes its time, most of it after it has read the row: that is the
    /// time in which its value may become old.
    pub(crate) async fn load(self: Arc<Self>, row: u64) -> io::Result<u64> {
        self.loads.fetch_add(1, Ordering::SeqCst);
        let takes = ORIGIN.mul_f64(fastrand::f64());
        let before = if fastrand::u8(..4) == 0 { takes } else { Duration::ZERO };
        sleep(before).await;
        let version = self.version(row);
        sleep(takes - before).await;
        Ok(version)
    }

    /// [`load`](Self::load) of several.
    pub(crate) async fn load_many(
        self: Arc<Self>,
        rows: Vec<u64>,
    ) -> io::Result<Vec<(u64, u64)>> {
        self.loads.fetch_add(1, Ordering::SeqCst);
        let versions: Vec<_> = rows.iter().map(|row| (*row, self.version(*row))).collect();
        sleep(ORIGIN.mul_f64(fastrand::f64())).await;
        Ok(versions)
    }

    /// A load that has read the row, and hangs until it is let go.
    pub(crate) fn held(
        self: &Arc<Self>,
        row: u64,
    ) -> (Held, impl Future<Output = io::Result<u64>> + Send + use<>) {
        let (began, has_begun) = oneshot::channel();
        let (release, released) = oneshot::channel::<()>();
        let rows = Arc::clone(self);
        let load = async move {
            rows.loads.fetch_add(1, Ordering::SeqCst);
            let version = rows.version(row);
            // A test that does not wait for the start may have dropped its end.
            let _ = began.send(());
            released.await.map_err(io::Error::other)?;
            Ok(version)
        };
        (Held { began: Some(has_begun), release }, load)
    }
}

/// The other end of a load that hangs.
#[derive(Debug)]
pub(crate) struct Held {
    began: Option<oneshot::Receiver<()>>,
    release: oneshot::Sender<()>,
}

impl Held {
    /// Waits until the load has read its row.
    pub(crate) async fn began(&mut self) {
        let began = self.began.take().expect("waited for once");
        began.await.expect("the load runs");
    }

    pub(crate) fn answer(self) {
        assert!(self.release.send(()).is_ok(), "the load is gone");
    }
}
