use std::collections::HashMap;
use std::fs::{self, File, OpenOptions};
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use super::program;
use crate::account::Account;
use crate::cache;
use crate::error::Error;
use crate::guard::run;

/// To be raised whenever what [`make`] makes is changed.
const REVISION: u32 = 2;

/// Copies an initialised data folder to `data`; initdb runs once per version
/// and account, since a copy takes a fraction of its time.
pub(super) async fn copy_to(bin: &Path, data: &Path) -> Result<(), Error> {
    let template = cache::folder()?.join(format!("{}-{REVISION}", version(bin).await?));
    if !template.exists() {
        make(bin, &template).await?;
    }
    let mut copy = program(Path::new("cp"));
    copy.arg("-Rp").arg(&template).arg(data);
    run(copy).await.map(drop)
}

async fn make(bin: &Path, template: &Path) -> Result<(), Error> {
    // One initdb at a time, over all processes: the others then find its work.
    let lock = beside(template, "lock");
    let doing = || Error::io(format!("locking {}", lock.display()));
    let file = OpenOptions::new().create(true).append(true).open(&lock).map_err(doing())?;
    let locked = tokio::task::spawn_blocking(move || file.lock().map(|()| file));
    let _held: File = locked.await.expect("locking does not panic").map_err(doing())?;
    if template.exists() {
        return Ok(());
    }

    // Only who holds the lock makes it; what is there is of one that was killed.
    let data = beside(template, "making");
    let doing = || Error::io(format!("making {}", data.display()));
    match fs::remove_dir_all(&data) {
        Err(error) if error.kind() != ErrorKind::NotFound => return Err(doing()(error)),
        _ => {}
    }
    let mut initdb = program(&bin.join("initdb"));
    initdb.arg("-D").arg(&data).args(["-U", "postgres", "-A", "trust", "-E", "UTF8"]);
    initdb.args(["--locale=C", "--no-sync"]);
    run(initdb).await?;
    let settings = data.join("postgresql.conf");
    let appended = OpenOptions::new().append(true).open(&settings).and_then(|mut file| {
        file.write_all(b"include 'testbed.conf'\ninclude_if_exists 'replica.conf'\n")
    });
    appended.map_err(Error::io(format!("writing {}", settings.display())))?;

    // Whole or not at all: a process may be killed at any moment.
    fs::rename(&data, template).map_err(doing())
}

fn beside(template: &Path, suffix: &str) -> PathBuf {
    let mut name = template.as_os_str().to_owned();
    name.push(".");
    name.push(suffix);
    name.into()
}

/// `postgres --version` as a part of a file name.
async fn version(bin: &Path) -> Result<String, Error> {
    static KNOWN: Mutex<Option<HashMap<PathBuf, String>>> = Mutex::new(None);
    let known = || KNOWN.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(version) = known().get_or_insert_default().get(bin) {
        return Ok(version.clone());
    }
    let mut command = program(&bin.join("postgres"));
    command.arg("--version");
    let version = run(command).await?;
    let version: String = version
        .trim()
        .chars()
        .map(|c| if c.is_ascii_alphanumeric() || c == '.' { c } else { '_' })
        .collect();
    known().get_or_insert_default().insert(bin.to_owned(), version.clone());
    Ok(version)
}

/// Writes a file of settings that the data folder's configuration includes.
pub(super) fn write_settings(file: &Path, settings: &[(String, String)]) -> Result<(), Error> {
    let text: String = settings
        .iter()
        .map(|(name, value)| {
            format!("{name} = '{}'\n", value.replace('\\', r"\\").replace('\'', "''"))
        })
        .collect();
    let written = fs::write(file, text).and_then(|()| Account::of_servers().own(file));
    written.map_err(Error::io(format!("writing {}", file.display())))
}
