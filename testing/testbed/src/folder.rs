use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};
use std::{env, fs};

#[cfg(target_os = "linux")]
use nix::sys::statvfs::statvfs;

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

/// Where temporary folders are made: in memory where there is enough, for a
/// busy disk makes servers start ten times slower; `TMPDIR` overrules it.
pub(crate) fn base() -> &'static Path {
    static BASE: OnceLock<PathBuf> = OnceLock::new();
    BASE.get_or_init(|| {
        let memory = in_memory().filter(|_| env::var_os("TMPDIR").is_none());
        memory.unwrap_or_else(on_disk).to_owned()
    })
}

#[cfg(target_os = "linux")]
fn in_memory() -> Option<&'static Path> {
    /// Some dozens of servers. Containers often have 64 MiB, which is not one.
    const ENOUGH: u64 = 4 << 30;

    let memory = Path::new("/dev/shm");
    let free = statvfs(memory).ok().map(|fs| fs.blocks_available() * fs.fragment_size())?;
    (free >= ENOUGH && Account::of_servers().can_reach(memory)).then_some(memory)
}

#[cfg(not(target_os = "linux"))]
fn in_memory() -> Option<&'static Path> {
    None
}

/// The system's place for temporary files, unless the account of the servers
/// cannot reach it.
pub(crate) fn on_disk() -> &'static Path {
    static ON_DISK: OnceLock<PathBuf> = OnceLock::new();
    ON_DISK.get_or_init(|| {
        let account = Account::of_servers();
        [env::temp_dir(), "/tmp".into(), "/var/tmp".into()]
            .into_iter()
            .filter_map(|place| place.canonicalize().ok())
            .find(|place| account.can_reach(place))
            .unwrap_or_else(env::temp_dir)
    })
}
