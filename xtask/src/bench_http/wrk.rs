//! The load: `wrk`, for a while.

use std::fs::{self, File};
use std::net::SocketAddr;
use std::path::Path;
use std::process::Stdio;

use testbed::guard::{ExitSignal, spawn_guarded};

use super::{LOAD_CORE, pinned};

/// Connections, each with one request at a time.
const CONNECTIONS: &str = "32";

/// What is asked for.
#[derive(Clone, Copy)]
pub(super) enum Asked {
    /// One URL.
    One,
    /// So many, one after the other, from anywhere among them.
    Many(usize),
}

/// What came of it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Load {
    pub(super) requests: u64,
    pub(super) per_second: f64,
}

pub(super) async fn load(
    program: &Path,
    folder: &Path,
    address: SocketAddr,
    asked: Asked,
    seconds: u32,
) -> Result<Load, String> {
    let output = folder.join("wrk");
    let written = |error| format!("{}: {error}", folder.display());
    let mut command = pinned(LOAD_CORE, program);
    let seconds = format!("{seconds}s");
    command.args(["-t", "1", "-c", CONNECTIONS, "-d", &seconds]);
    if let Asked::Many(count) = asked {
        let script = folder.join("many.lua");
        let text = format!(
            "local n = 0\n\
             request = function()\n\
             \x20 n = (n + 7919) % {count}\n\
             \x20 return wrk.format(nil, '/' .. n)\n\
             end\n"
        );
        fs::write(&script, text).map_err(written)?;
        command.arg("-s").arg(script);
    }
    command
        .arg(format!("http://{address}/0"))
        .current_dir("/")
        .stdin(Stdio::null())
        .stdout(File::create(&output).map_err(written)?);
    let process = spawn_guarded(command, ExitSignal::Kill).await;
    let status = process.map_err(|error| error.to_string())?.wait().await;
    let said = fs::read_to_string(&output).map_err(written)?;
    if !status.success() {
        return Err(format!("wrk failed ({status}): {said}"));
    }
    read(&said).ok_or_else(|| format!("wrk has met errors, or says what is not known:\n{said}"))
}

/// None where anything but a success was answered.
fn read(said: &str) -> Option<Load> {
    if said.contains("Non-2xx") || said.contains("Socket errors") {
        return None;
    }
    let requests = said.lines().find(|line| line.contains(" requests in "))?;
    let rate = said.lines().find_map(|line| line.strip_prefix("Requests/sec:"))?;
    Some(Load {
        requests: requests.split_whitespace().next()?.parse().ok()?,
        per_second: rate.trim().parse().ok()?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_is_read_and_one_of_errors_is_refused() {
        let said = "Running 1s test\n  34567 requests in 1.10s, 40.00MB read\n\
                    Requests/sec:  31424.55\nTransfer/sec:     36.36MB\n";
        assert_eq!(read(said), Some(Load { requests: 34_567, per_second: 31_424.55 }));
        let errors =
            said.replace("Requests/sec", "  Non-2xx or 3xx responses: 3\nRequests/sec");
        assert_eq!(read(&errors), None);
        assert_eq!(read(""), None);
    }
}
