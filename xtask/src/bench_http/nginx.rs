//! nginx as a cache of one worker, set up for hits in memory.

use std::fs;
use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::process::Command;

/// The command that starts it in `folder`, and where it listens.
pub(super) fn command(
    program: &Path,
    folder: &Path,
    origin: SocketAddr,
) -> Result<(Command, SocketAddr), String> {
    let address = free_port()?;
    let path = folder.join("nginx.conf");
    let written = fs::write(&path, settings(folder, address, origin));
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

/// No log, files that stay open, what is sent in few packets, and no end to a connection. Its
/// hits are without a field that says so, which the others have.
fn settings(folder: &Path, address: SocketAddr, origin: SocketAddr) -> String {
    let folder = folder.display();
    format!(
        "daemon off;
worker_processes 1;
pid {folder}/pid;
error_log stderr error;
events {{
    worker_connections 1024;
}}
http {{
    access_log off;
    sendfile on;
    tcp_nopush on;
    tcp_nodelay on;
    keepalive_timeout 600s;
    keepalive_requests 1000000000;
    open_file_cache max=200000 inactive=600s;
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
    )
}
