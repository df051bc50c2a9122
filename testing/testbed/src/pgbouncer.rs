//! PgBouncer: a pooler in front of a server.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::process::Command;

use crate::account::Account;
use crate::error::Error;
use crate::guard::ExitSignal;
use crate::locate;
use crate::postgres::Client;
use crate::server::Server;

/// A running PgBouncer in transaction mode; dropped = ended and removed.
///
/// Each transaction of a client may come to another of its few connections to
/// the server behind it, whose sessions it resets after each.
#[derive(Debug)]
pub struct PgBouncer {
    server: Server,
}

impl PgBouncer {
    /// Starts one in front of `behind`, a PostgreSQL of this testbed or what leads
    /// to some, with so many connections to it.
    ///
    /// # Errors
    ///
    /// [`Error::Missing`] with the line that installs it; [`Error::Exited`] or
    /// [`Error::NotReady`] with its log, also if nothing answers at `behind`.
    ///
    /// # Cancel safety
    ///
    /// Dropped before it is done, nothing stays behind.
    pub async fn start(behind: SocketAddr, connections: usize) -> Result<Self, Error> {
        let program = locate::pgbouncer().map_err(Error::Missing)?;
        let pooler = Self { server: Server::new("pgbouncer", |_| ()).await? };
        let (folder, port) = (pooler.server.folder(), pooler.server.port());
        let (users, settings) = (folder.join("users.txt"), folder.join("pgbouncer.ini"));
        let (host, to) = (behind.ip(), behind.port());
        let text = format!(
            "[databases]\n* = host={host} port={to}\n[pgbouncer]\nlisten_addr = 127.0.0.1\n\
             listen_port = {port}\nunix_socket_dir =\nauth_type = trust\nauth_file = {}\n\
             pool_mode = transaction\ndefault_pool_size = {connections}\n\
             server_reset_query = DISCARD ALL\nserver_reset_query_always = 1\n",
            users.display()
        );
        for (file, text) in [(&users, "\"postgres\" \"\"\n"), (&settings, &text)] {
            let written = fs::write(file, text).and_then(|()| Account::of_servers().own(file));
            written.map_err(Error::io(format!("writing {}", file.display())))?;
        }
        let mut command = Command::new(program);
        command.arg(&settings);
        let url = pooler.url();
        let answers = async || match Client::connect(&url).await {
            Ok(client) => client.simple_query("SELECT 1").await.is_ok(),
            Err(_) => false,
        };
        pooler.server.start(command, ExitSignal::Terminate, answers).await?;
        Ok(pooler)
    }

    /// Where it listens.
    pub fn addr(&self) -> SocketAddr {
        (Ipv4Addr::LOCALHOST, self.server.port()).into()
    }

    /// The URL of the database `postgres` behind it, for its superuser.
    pub fn url(&self) -> String {
        format!("postgres://postgres@{}/postgres", self.addr())
    }
}
