//! Programs of this workspace, built by the cargo that builds the tests.

use std::env;
use std::path::PathBuf;
use std::process::Command;

use serde_json::Value;

/// Builds the program of `package`, with `words` for cargo, and returns where it is.
///
/// Cargo alone knows that. What is built already is not built again.
///
/// # Panics
///
/// When it cannot be built.
pub fn program(package: &str, words: &[&str]) -> PathBuf {
    let mut cargo = Command::new(env!("CARGO"));
    // What cargo says of this package is not meant for that one.
    for (name, _) in env::vars_os() {
        if name.to_string_lossy().starts_with("CARGO_PKG_") {
            cargo.env_remove(name);
        }
    }
    cargo.env_remove("CARGO_MANIFEST_DIR").env_remove("CARGO_MANIFEST_PATH");
    cargo.args(["build", "--quiet", "--package", package, "--message-format=json"]).args(words);
    let built = cargo.current_dir(env!("CARGO_MANIFEST_DIR")).output();
    let built = built.expect("the cargo that has built this can be started");
    assert!(built.status.success(), "{}", String::from_utf8_lossy(&built.stderr));
    let lines = String::from_utf8_lossy(&built.stdout);
    let mut artifacts = lines.lines().filter_map(|line| serde_json::from_str(line).ok());
    artifacts
        .find_map(|artifact: Value| artifact["executable"].as_str().map(PathBuf::from))
        .expect("cargo names what it has built")
}
