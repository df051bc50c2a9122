use std::fs::{self, File};
use std::process::Command;

use super::{ExitSignal, spawn_guarded};
use crate::error::Error;
use crate::folder::Folder;

/// Runs a program to its end and returns what it printed.
pub(crate) async fn run(mut command: Command) -> Result<String, Error> {
    let folder = Folder::new("run").await?;
    let path = folder.path().join("output");
    let doing = || Error::io(format!("writing {}", path.display()));
    let out = File::create(&path).map_err(doing())?;
    let err = out.try_clone().map_err(doing())?;
    command.current_dir("/").stdin(std::process::Stdio::null()).stdout(out).stderr(err);
    let program = command.get_program().to_string_lossy().into_owned();
    let status = spawn_guarded(command, ExitSignal::Kill).await?.wait().await;
    let output = fs::read_to_string(&path).map_err(doing())?;
    if status.success() {
        Ok(output)
    } else {
        Err(Error::Exited { program, status, log: output })
    }
}
