//! The servers that a command needs: found, or installed.

use std::io::{self, IsTerminal, Write};

use testbed::install;
use testbed::locate::Need;

/// Installs those of `needs` that are missing; on a terminal it asks first,
/// unless `yes` says that it may.
pub(crate) fn provide(needs: &[Need], yes: bool) -> Result<(), String> {
    let missing = install::missing(needs);
    if missing.is_empty() {
        return Ok(());
    }
    for missing in &missing {
        println!("{missing}");
    }
    let asks = io::stdin().is_terminal() && !yes && std::env::var_os("CI").is_none();
    if asks && !agreed().map_err(|error| format!("no answer could be read: {error}"))? {
        return Err("nothing was installed".to_owned());
    }
    install::run(needs).map_err(|error| error.to_string())
}

fn agreed() -> io::Result<bool> {
    print!("Install it now? [Y/n] ");
    io::stdout().flush()?;
    let mut answer = String::new();
    io::stdin().read_line(&mut answer)?;
    Ok(matches!(answer.trim().to_lowercase().as_str(), "" | "y" | "yes"))
}
