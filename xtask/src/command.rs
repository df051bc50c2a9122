//! Running cargo, step by step.

use std::env;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use tokio::runtime::{Builder, Runtime};

/// The cargo that runs this.
pub(crate) fn cargo() -> Command {
    let mut cargo = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.current_dir(root());
    // What cargo sets for this program is not meant for those it starts.
    for (name, _) in env::vars_os() {
        let name_text = name.to_string_lossy();
        if name_text.starts_with("CARGO_PKG_") || name_text == "CARGO_MANIFEST_DIR" {
            cargo.env_remove(name);
        }
    }
    cargo
}

/// The workspace's folder.
pub(crate) fn root() -> PathBuf {
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR"));
    manifest.parent().expect("xtask is a folder of the workspace").to_owned()
}

/// Where cargo puts what it builds.
pub(crate) fn target() -> PathBuf {
    env::var_os("CARGO_TARGET_DIR")
        .map_or_else(|| root().join("target"), |dir| root().join(dir))
}

/// For what the testbed does.
pub(crate) fn runtime() -> Result<Runtime, String> {
    let runtime = Builder::new_current_thread().enable_all().build();
    runtime.map_err(|error| format!("no runtime could be started: {error}"))
}

/// Runs `cargo` with `words`, its output passed on.
pub(crate) fn step(words: &[&str]) -> Result<(), String> {
    let shown = format!("cargo {}", words.join(" "));
    println!("\n== {shown}");
    let began = Instant::now();
    let status = cargo().args(words).status();
    let status = status.map_err(|error| format!("`{shown}` could not be started: {error}"))?;
    if !status.success() {
        return Err(format!("`{shown}` failed ({status}); run it by itself to look closer"));
    }
    println!("== {shown}: {:.0?}", began.elapsed());
    Ok(())
}

/// Builds the programs that are shown. Both at once: by itself, each would have its
/// dependencies built with other features.
pub(crate) fn shop_and_front() -> Result<(), String> {
    step(&["build", "--release", "--package", "storefront", "--package", "front"])
}
