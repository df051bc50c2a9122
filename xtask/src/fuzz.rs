//! Coverage-guided fuzzing with the stable compiler and no further tool.

use std::fs;
use std::process::Command;

use crate::command::{cargo, root, target};

/// What `cargo fuzz` sets, without the address sanitizer: there is no unsafe code.
const FLAGS: &str = "-Cpasses=sancov-module \
     -Cllvm-args=-sanitizer-coverage-level=4 \
     -Cllvm-args=-sanitizer-coverage-inline-8bit-counters \
     -Cllvm-args=-sanitizer-coverage-pc-table \
     -Cllvm-args=-sanitizer-coverage-trace-compares";

/// Builds `name` of the crate's folder `fuzz`; the command runs it.
pub(crate) fn run(krate: &str, name: &str, seconds: u32) -> Result<Command, String> {
    let folder = root().join(krate).join("fuzz");
    let built = target().join("fuzz");
    let host = host()?;
    // With a target named, the flags are not those of build scripts.
    let status = cargo()
        .args(["build", "--release", "--locked", "--bin", name, "--target", &host])
        .arg("--manifest-path")
        .arg(folder.join("Cargo.toml"))
        .arg("--target-dir")
        .arg(&built)
        .env("RUSTFLAGS", FLAGS)
        .status();
    let status = status.map_err(|error| format!("cargo could not be started: {error}"))?;
    if !status.success() {
        return Err(format!(
            "{name} was not built, see above; it needs a C++ compiler (apt install g++)"
        ));
    }
    let corpus = built.join("corpus").join(name);
    let made = fs::create_dir_all(&corpus);
    made.map_err(|error| format!("{} could not be made: {error}", corpus.display()))?;
    let mut command = Command::new(built.join(host).join("release").join(name));
    command.arg(&corpus).arg(folder.join("seeds"));
    command.arg(format!("-max_total_time={seconds}"));
    command.args(["-max_len=4096", "-print_final_stats=1", "-verbosity=0"]);
    command.arg(format!("-artifact_prefix={}/", built.display()));
    Ok(command)
}

/// The platform that the compiler builds for by itself.
fn host() -> Result<String, String> {
    let output = Command::new("rustc").arg("-vV").output();
    let output = output.map_err(|error| format!("rustc could not be started: {error}"))?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let host = text.lines().find_map(|line| line.strip_prefix("host: "));
    host.map(str::to_owned).ok_or_else(|| format!("rustc -vV names no host:\n{text}"))
}
