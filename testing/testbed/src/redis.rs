//! Redis: a single server.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::error::Error;
use crate::guard::ExitSignal;
use crate::locate;
use crate::server::Server;

/// A running Redis; dropped = ended and removed.
///
/// It listens on 127.0.0.1 on a port that stays its own over [`kill`](Self::kill)
/// and [`restart`](Self::restart). It keeps nothing on disk unless a setting
/// says so. It belongs to no runtime, so a `static` may hold it.
#[derive(Debug)]
pub struct Redis {
    program: PathBuf,
    settings: Vec<(String, String)>,
    server: Server,
}

impl Redis {
    /// Starts a server that keeps nothing on disk.
    ///
    /// # Errors
    ///
    /// As [`RedisBuilder::start`].
    ///
    /// # Cancel safety
    ///
    /// Dropped before it is done, nothing stays behind.
    pub async fn start() -> Result<Self, Error> {
        Self::builder().start().await
    }

    /// Starts a server with settings of its own.
    pub fn builder() -> RedisBuilder {
        RedisBuilder { settings: Vec::new() }
    }

    /// Where it listens.
    pub fn addr(&self) -> SocketAddr {
        (Ipv4Addr::LOCALHOST, self.port()).into()
    }

    /// The port it listens on.
    pub fn port(&self) -> u16 {
        self.server.port()
    }

    /// Its URL; there is no password.
    pub fn url(&self) -> String {
        self.url_at(self.addr())
    }

    /// Its URL by way of another address, such as a [`Link`](crate::link::Link)'s.
    pub fn url_at(&self, addr: SocketAddr) -> String {
        format!("redis://{addr}/")
    }

    /// Its PID, while it runs.
    pub fn pid(&self) -> Option<u32> {
        self.server.pid()
    }

    /// Its log file.
    pub fn log(&self) -> PathBuf {
        self.server.log()
    }

    /// Crashes it: `SIGKILL`. Returns once it is gone, with all it held in memory.
    ///
    /// # Errors
    ///
    /// [`Error::NotRunning`].
    ///
    /// # Cancel safety
    ///
    /// The signal is sent at the first poll.
    pub async fn kill(&self) -> Result<(), Error> {
        self.server.kill().await
    }

    /// Shuts it down in good order.
    ///
    /// # Errors
    ///
    /// [`Error::NotRunning`].
    ///
    /// # Cancel safety
    ///
    /// The shutdown goes on.
    pub async fn stop(&self) -> Result<(), Error> {
        self.server.stop(ExitSignal::Terminate).await
    }

    /// Starts it again on the same folder and port, after shutting it down if it runs.
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

    /// Stops it in its tracks (`SIGSTOP`): connections stay open, nothing answers.
    ///
    /// # Errors
    ///
    /// [`Error::NotRunning`].
    pub fn pause_process(&self) -> Result<(), Error> {
        self.server.pause()
    }

    /// Lets it go on.
    ///
    /// # Errors
    ///
    /// [`Error::NotRunning`].
    pub fn resume_process(&self) -> Result<(), Error> {
        self.server.resume()
    }

    async fn launch(&self) -> Result<(), Error> {
        let mut command = Command::new(&self.program);
        command.args(["--bind", "127.0.0.1", "--port", &self.port().to_string()]);
        command.args(["--save", "", "--appendonly", "no", "--daemonize", "no"]);
        // A replica need not wait for others who might come.
        command.args(["--repl-diskless-sync-delay", "0"]);
        command.arg("--dir").arg(self.server.folder());
        for (name, value) in &self.settings {
            command.arg(format!("--{name}")).arg(value);
        }
        let addr = self.addr();
        self.server.start(command, ExitSignal::Terminate, || answers(addr)).await
    }
}

/// Builds a [`Redis`].
#[derive(Clone, Debug)]
#[must_use]
pub struct RedisBuilder {
    settings: Vec<(String, String)>,
}

impl RedisBuilder {
    /// Sets a configuration parameter, as in `redis.conf`.
    pub fn setting(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.settings.push((name.into(), value.into()));
        self
    }

    /// Starts the server and waits until it answers.
    ///
    /// # Errors
    ///
    /// [`Error::Missing`] with the line that installs Redis; [`Error::Exited`]
    /// or [`Error::NotReady`] with the server's log, as when a setting is wrong.
    ///
    /// # Cancel safety
    ///
    /// Dropped before it is done, nothing stays behind.
    pub async fn start(self) -> Result<Redis, Error> {
        let program = locate::redis_server().map_err(Error::Missing)?;
        let server = Server::new("redis-server", |_| ()).await?;
        let redis = Redis { program, settings: self.settings, server };
        redis.launch().await?;
        Ok(redis)
    }
}

/// Whether it answers a PING; one that demands a password is up as well.
async fn answers(addr: SocketAddr) -> bool {
    let ping = async {
        let mut stream = TcpStream::connect(addr).await?;
        stream.write_all(b"PING\r\n").await?;
        let mut answer = [0; 7];
        stream.read_exact(&mut answer).await?;
        std::io::Result::Ok(answer)
    };
    let answer = tokio::time::timeout(Duration::from_secs(1), ping).await;
    matches!(answer, Ok(Ok(answer)) if &answer == b"+PONG\r\n" || &answer == b"-NOAUTH")
}
