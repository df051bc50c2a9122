use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};
use std::{env, fs};

use crate::account::Account;
use crate::error::Error;
use crate::guard;

/// A private temporary folder: removed when dropped, or when this process is
/// gone, whatever the reason.
#[derive(Debug)]
pub struct Folder {
    path: PathBuf,
}

impl Folder {
    /// Makes an empty folder that only the account of the servers can read;
    /// `name` begins its name.
    ///
    /// # Errors
    ///
    /// [`Error::Io`] when it cannot be made.
    ///
    /// # Cancel safety
    ///
    /// Nothing stays behind.
    pub async fn new(name: &str) -> Result<Self, Error> {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let path = guard::root().await?.join(format!("{name}-{number}"));
        let made = fs::DirBuilder::new().mode(0o700).create(&path);
        made.and_then(|()| Account::of_servers().own(&path))
            .map_err(Error::io(format!("making the folder {}", path.display())))?;
        Ok(Self { path })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // What cannot be removed now goes with this process.
        let _ = fs::remove_dir_all(&self.path);
    }
}

/// Where temporary folders are made: the system's place, unless the account of
/// the servers cannot reach it.
pub(crate) fn base() -> &'static Path {
    static BASE: OnceLock<PathBuf> = OnceLock::new();
    BASE.get_or_init(|| {
        let account = Account::of_servers();
        [env::temp_dir(), "/tmp".into(), "/var/tmp".into()]
            .into_iter()
            .filter_map(|place| place.canonicalize().ok())
            .find(|place| account.can_reach(place))
            .unwrap_or_else(env::temp_dir)
    })
}
