use std::io::{Error as IoError, ErrorKind};
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::PathBuf;
use std::{fs, io};

use nix::unistd::geteuid;

use crate::account::Account;
use crate::error::Error;
use crate::folder;

/// The folder that outlives processes: templates and claimed ports. It is the
/// account's own; a stranger's folder of the same name is refused, for a
/// server would run what is in it.
pub(crate) fn folder() -> Result<PathBuf, Error> {
    let account = Account::of_servers();
    let path = folder::on_disk().join(format!("earned-testbed-{}", account.uid));
    let made = match fs::DirBuilder::new().mode(0o700).create(&path) {
        Ok(()) => account.own(&path),
        Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(()),
        Err(error) => Err(error),
    };
    let checked = made.and_then(|()| {
        let meta = path.symlink_metadata()?;
        let ours = [account.uid, geteuid().as_raw()].contains(&meta.uid());
        if meta.is_dir() && ours { Ok(()) } else { Err(stranger()) }
    });
    checked.map_err(Error::io(format!("using the cache {}", path.display())))?;
    Ok(path)
}

fn stranger() -> io::Error {
    IoError::new(ErrorKind::PermissionDenied, "it belongs to another account: remove it")
}
