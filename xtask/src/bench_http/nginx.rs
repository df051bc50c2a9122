//! nginx as a cache of one worker, set up for hits in memory.

use std::fs;
use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::process::Command;

/// How it sends what is in a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sends {
    /// As Debian sets it up: by `sendfile`, held back until a packet is full (`tcp_nopush`).
    File,
    /// By reading it: for 1 KiB that is fewer system calls, and faster.
    Copy,
}

/// The command that starts it in `folder`, and where it listens.
pub(super) fn command(
    program: &Path,
    folder: &Path,
    origin: SocketAddr,
    sends: Sends,
) -> Result<(Command, SocketAddr), String> {
    let address = free_port()?;
    let path = folder.join("nginx.conf");
    let written = fs::write(&path, settings(folder, address, origin, sends)?);
    written.map_err(|error| format!("{}: {error}", path.display()))?;
    let mut command = Command::new(program);
    command.args(["-e", "stderr", "-p"]).arg(folder).arg("-c").arg(path);
    Ok((command, address))
}

fn free_port() -> Result<SocketAddr, String> {
    let listener = TcpListener::bind("127.0.0.1:0");
    let address = listener.and_then(|listener| listener.local_addr());
    address.map_err(|error| format!("there is no free port: {error}"))
}

/// No log, files that stay open, as many as it may, and no end to a connection. Its hits are
/// without a field that says so, which the others have.
fn settings(
    folder: &Path,
    address: SocketAddr,
    origin: SocketAddr,
    sends: Sends,
) -> Result<String, String> {
    let folder = folder.display();
    let files = most_files()?.min(200_000);
    // Connections are files, too.
    let open = files.saturating_sub(1_000).max(1);
    let by_file = if sends == Sends::File { "on" } else { "off" };
    Ok(format!(
        "daemon off;
worker_processes 1;
worker_rlimit_nofile {files};
pid {folder}/pid;
error_log stderr error;
events {{
    worker_connections 1024;
}}
http {{
    access_log off;
    sendfile {by_file};
    tcp_nopush {by_file};
    tcp_nodelay on;
    keepalive_timeout 600s;
    keepalive_requests 1000000000;
    open_file_cache max={open} inactive=600s;
    open_file_cache_valid 600s;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    proxy_cache_path {folder}/cache levels=1:2 keys_zone=pages:64m max_size=2g
        inactive=24h use_temp_path=off;
    upstream origin {{
        server {origin};
        keepalive 16;
    }}
    server {{
        listen {address};
        location / {{
            proxy_pass http://origin;
            proxy_http_version 1.1;
            proxy_set_header Connection \"\";
            proxy_cache pages;
            proxy_cache_lock on;
        }}
    }}
}}
"
    ))
}

/// How many files a process of this account may have open.
fn most_files() -> Result<u64, String> {
    let path = "/proc/self/limits";
    let text = fs::read_to_string(path).map_err(|error| format!("{path}: {error}"))?;
    hard_limit(&text).ok_or_else(|| format!("{path} has no limit of open files"))
}

fn hard_limit(limits: &str) -> Option<u64> {
    let line = limits.lines().find_map(|line| line.strip_prefix("Max open files"))?;
    match line.split_whitespace().nth(1)? {
        "unlimited" => Some(u64::MAX),
        number => number.parse().ok(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hard_limit_is_the_second_number() {
        let limits = "Max processes   5  6  processes\nMax open files   1024   20000   files\n";
        assert_eq!(hard_limit(limits), Some(20_000));
        assert_eq!(hard_limit("Max open files  1  unlimited  files"), Some(u64::MAX));
        assert_eq!(hard_limit(""), None);
    }
}
