//! PostgreSQL: a primary, and replicas that stream from it.

mod builder;
mod client;
mod replica;
mod template;

pub use self::builder::PostgresBuilder;
pub use self::client::Client;
pub use self::replica::{Replica, ReplicaBuilder};

use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::{env, fs};

use crate::account::Account;
use crate::error::Error;
use crate::folder::Folder;
use crate::guard::ExitSignal;
use crate::server::Server;

/// A running PostgreSQL with its data in a temporary folder; dropped = ended and removed.
///
/// It listens on 127.0.0.1 on a port that stays its own over [`kill`](Self::kill)
/// and [`restart`](Self::restart). It belongs to no runtime, so a `static` may hold it.
///
/// ```no_run
/// # async fn example() -> Result<(), testbed::Error> {
/// use testbed::postgres::Postgres;
///
/// let primary = Postgres::start().await?;
/// let client = primary.client().await?;
/// let row = client.query_one("SELECT 1 + 1", &[]).await.unwrap();
/// assert_eq!(row.get::<_, i32>(0), 2);
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Postgres {
    bin: std::sync::Arc<Path>,
    server: Server,
}

impl Postgres {
    /// Starts a primary with the testbed's settings.
    ///
    /// # Errors
    ///
    /// As [`PostgresBuilder::start`].
    ///
    /// # Cancel safety
    ///
    /// Dropped before it is done, nothing stays behind.
    pub async fn start() -> Result<Self, Error> {
        Self::builder().start().await
    }

    /// Starts a primary with settings or databases of its own.
    pub fn builder() -> PostgresBuilder {
        PostgresBuilder::new()
    }

    /// Where it listens.
    pub fn addr(&self) -> SocketAddr {
        (Ipv4Addr::LOCALHOST, self.port()).into()
    }

    /// The port it listens on.
    pub fn port(&self) -> u16 {
        self.server.port()
    }

    /// The URL of its database `postgres`, for its superuser; there is no password.
    pub fn url(&self) -> String {
        self.url_of("postgres")
    }

    /// The URL of one of its databases.
    pub fn url_of(&self, database: &str) -> String {
        url(self.addr(), database)
    }

    /// Its URL by way of another address, such as a [`Link`](crate::link::Link)'s.
    pub fn url_at(&self, addr: SocketAddr) -> String {
        url(addr, "postgres")
    }

    /// Connects to its database `postgres`.
    ///
    /// # Errors
    ///
    /// [`Error::Sql`] when it cannot be reached.
    pub async fn client(&self) -> Result<Client, Error> {
        Client::connect(&self.url()).await
    }

    /// The PID of its postmaster, while it runs.
    pub fn pid(&self) -> Option<u32> {
        self.server.pid()
    }

    /// Its log file.
    pub fn log(&self) -> PathBuf {
        self.server.log()
    }

    /// Its data folder.
    pub fn data(&self) -> PathBuf {
        self.server.folder().join("data")
    }

    /// Crashes it: `SIGKILL` to the postmaster and every backend. Returns once
    /// all are gone. What was committed is there after [`restart`](Self::restart).
    ///
    /// # Errors
    ///
    /// [`Error::NotRunning`].
    ///
    /// # Cancel safety
    ///
    /// The signals are sent at the first poll.
    pub async fn kill(&self) -> Result<(), Error> {
        self.server.kill().await
    }

    /// Shuts it down in good order: connections are closed, transactions rolled back.
    ///
    /// # Errors
    ///
    /// [`Error::NotRunning`].
    ///
    /// # Cancel safety
    ///
    /// The shutdown goes on.
    pub async fn stop(&self) -> Result<(), Error> {
        self.server.stop(ExitSignal::Interrupt).await
    }

    /// Starts it again on the same data and port, after shutting it down if it runs.
    ///
    /// # Errors
    ///
    /// [`Error::Exited`] or [`Error::NotReady`] with its log.
    ///
    /// # Cancel safety
    ///
    /// It may be left down, starting or up; call it again.
    pub async fn restart(&self) -> Result<(), Error> {
        if self.pid().is_some() {
            self.stop().await?;
        }
        self.launch().await
    }

    /// Stops all its processes in their tracks (`SIGSTOP`): connections stay
    /// open, nothing answers.
    ///
    /// # Errors
    ///
    /// [`Error::NotRunning`].
    pub fn pause_process(&self) -> Result<(), Error> {
        self.server.pause()
    }

    /// Lets its processes go on.
    ///
    /// # Errors
    ///
    /// [`Error::NotRunning`].
    pub fn resume_process(&self) -> Result<(), Error> {
        self.server.resume()
    }

    /// A replica that streams from this server; await it to start it.
    pub fn replica(&self) -> ReplicaBuilder<'_> {
        ReplicaBuilder::new(self)
    }

    async fn launch(&self) -> Result<(), Error> {
        let mut command = server_program(&self.bin.join("postgres"));
        command.arg("-D").arg(self.data()).arg("-p").arg(self.port().to_string());
        let url = self.url();
        // Immediate shutdown: nothing is worth keeping when the test is gone.
        let answers = || async { Client::connect(&url).await.is_ok() };
        self.server.start(command, ExitSignal::Quit, answers).await
    }
}

fn url(addr: SocketAddr, database: &str) -> String {
    format!("postgres://postgres@{addr}/{database}")
}

/// A PostgreSQL program that this process's own environment does not mislead.
fn server_program(program: &Path) -> Command {
    let mut command = Command::new(program);
    for (name, _) in env::vars_os() {
        if name.to_str().is_some_and(|name| name.starts_with("PG")) {
            command.env_remove(name);
        }
    }
    command.env("LC_ALL", "C").env("TZ", "UTC");
    command
}

/// A program that runs as the servers' account.
fn program(program: &Path) -> Command {
    let mut command = server_program(program);
    Account::of_servers().run(&mut command);
    command
}

/// A postmaster that was killed leaves a shared memory segment behind, and
/// there are only so many; its lock file names it in line 7.
fn forget_shared_memory(folder: &Folder) {
    let Ok(lock) = fs::read_to_string(folder.path().join("data/postmaster.pid")) else {
        return;
    };
    if let Some(id) = lock.lines().nth(6).and_then(|line| line.split_whitespace().nth(1)) {
        let mut ipcrm = Command::new("ipcrm");
        ipcrm.args(["-m", id]).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        // It is some bytes; there is nobody to tell.
        let _ = ipcrm.status();
    }
}
