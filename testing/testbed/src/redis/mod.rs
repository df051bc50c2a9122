//! Redis: a single server, replicas of it, and a cluster.

mod builder;
mod client;
mod cluster;
mod replica;
mod reply;
mod slot;
mod tls;
mod until;

pub use self::builder::RedisBuilder;
pub use self::client::Client;
pub use self::cluster::{RedisCluster, RedisClusterBuilder};
pub use self::replica::{Replica, ReplicaBuilder};
pub use self::reply::Reply;
pub use self::slot::slot;

use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;
use std::{fs, io};

use self::client::PATIENCE;
use self::tls::Tls;
use self::until::until;
use crate::error::Error;
use crate::guard::ExitSignal;
use crate::port::Port;
use crate::server::Server;

/// A running Redis; dropped = ended and removed.
///
/// It listens on 127.0.0.1 on a port that stays its own over [`kill`](Self::kill)
/// and [`restart`](Self::restart). It belongs to no runtime, so a `static` may
/// hold it.
///
/// # What a restart brings back
///
/// A server writes to disk only when [`save`](Self::save) is called, or a
/// setting says so (`appendonly`, or `save` with its intervals). Whenever it
/// starts it loads what is on its disk. So, without such a setting:
///
/// | After | the data is |
/// |---|---|
/// | `kill` or `stop`, then `restart`; never saved | gone |
/// | `kill` or `stop`, then `restart`; saved before | that of the last `save` |
/// | [`restart_from_snapshot`](Self::restart_from_snapshot) | that of the last `save`, or an error if there was none |
/// | [`restart_empty`](Self::restart_empty) | gone, and the saved as well |
///
/// With `appendonly` it loads its append-only files, and never the snapshot.
///
/// ```no_run
/// # async fn example() -> Result<(), testbed::Error> {
/// use testbed::redis::Redis;
///
/// let redis = Redis::start().await?;
/// redis.command(&["SET", "price", "old"]).await?;
/// redis.save().await?;
/// redis.command(&["SET", "price", "new"]).await?;
/// redis.restart_from_snapshot().await?;
/// assert_eq!(redis.command(&["GET", "price"]).await?.text(), Some("old"));
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Redis {
    program: PathBuf,
    settings: Vec<(String, String)>,
    server: Server,
    /// For the other nodes of a cluster.
    bus: Option<Port>,
    tls: Option<Tls>,
    /// Whom it replicates, for its next start.
    primary: Mutex<Option<SocketAddr>>,
}

impl Redis {
    /// Starts a server that writes nothing to disk by itself.
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
        RedisBuilder::default()
    }

    /// Where it listens for applications.
    pub fn addr(&self) -> SocketAddr {
        (Ipv4Addr::LOCALHOST, self.port()).into()
    }

    /// The port it listens on for applications: that of TLS, if it has TLS.
    pub fn port(&self) -> u16 {
        self.tls.as_ref().map_or_else(|| self.server.port(), Tls::port)
    }

    /// Its URL, `rediss://` if it has TLS; there is no password.
    pub fn url(&self) -> String {
        self.url_at(self.addr())
    }

    /// Its URL by way of another address, such as a [`Link`](crate::link::Link)'s.
    pub fn url_at(&self, addr: SocketAddr) -> String {
        let scheme = if self.tls.is_some() { "rediss" } else { "redis" };
        format!("{scheme}://{addr}/")
    }

    /// The certificate, in PEM, of the authority that a client must trust; none
    /// without TLS.
    pub fn ca_certificate(&self) -> Option<&str> {
        self.tls.as_ref().map(Tls::ca_certificate)
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

    /// Connects to it; with the password, if a setting demands one, and never
    /// by TLS: a server with TLS has a second port for this.
    ///
    /// # Errors
    ///
    /// [`Error::NotRunning`], [`Error::Io`] when it cannot be reached.
    pub async fn client(&self) -> Result<Client, Error> {
        if self.pid().is_none() {
            return Err(Error::NotRunning { program: "redis-server".into() });
        }
        connect(self.plain_addr(), self.setting("requirepass")).await
    }

    /// Sends one command on a connection of its own, and waits for its reply.
    ///
    /// ```no_run
    /// # async fn example(redis: testbed::redis::Redis) -> Result<(), testbed::Error> {
    /// redis.command(&["CONFIG", "SET", "maxmemory", "2mb"]).await?;
    /// redis.command(&["CLIENT", "KILL", "TYPE", "normal"]).await?;
    /// redis.command(&[b"SET".as_slice(), b"key", &[0xff; 1000]]).await?;
    /// assert_eq!(redis.command(&["DBSIZE"]).await?.integer(), Some(1));
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// Some DEBUG commands need the setting `enable-debug-command` to be `local`.
    ///
    /// # Errors
    ///
    /// As [`client`](Self::client) and [`Client::command`].
    ///
    /// # Cancel safety
    ///
    /// The server may have obeyed.
    ///
    /// # Panics
    ///
    /// Without a word.
    pub async fn command<W: AsRef<[u8]>>(&self, words: &[W]) -> Result<Reply, Error> {
        self.client().await?.command(words).await
    }

    /// One field of INFO, such as `used_memory`, `run_id` or `master_replid`.
    ///
    /// # Errors
    ///
    /// As [`command`](Self::command).
    pub async fn info(&self, field: &str) -> Result<Option<String>, Error> {
        let info = self.command(&["INFO", "everything"]).await?;
        Ok(info.field(field).map(String::from))
    }

    /// Writes all data to its snapshot, in place of the last one, once whatever else
    /// is being written, as for a replica, is done. It answers nobody else meanwhile.
    ///
    /// # Errors
    ///
    /// As [`command`](Self::command).
    ///
    /// # Cancel safety
    ///
    /// The old snapshot or the new one is there, each of them whole.
    pub async fn save(&self) -> Result<(), Error> {
        until("no other snapshot is being written", PATIENCE, || async {
            let under_way = self.info("rdb_bgsave_in_progress").await?;
            Ok(if under_way.as_deref() == Some("0") { Ok(()) } else { Err("one is".into()) })
        })
        .await?;
        self.command(&["SAVE"]).await.map(drop)
    }

    /// Crashes it if it runs, and starts it again with the data of the last
    /// [`save`](Self::save): whatever was written, deleted or expired since is undone.
    ///
    /// # Errors
    ///
    /// [`Error::Io`] when there is no snapshot, and nothing has happened then;
    /// otherwise as [`restart`](Self::restart).
    ///
    /// # Cancel safety
    ///
    /// As [`restart`](Self::restart).
    pub async fn restart_from_snapshot(&self) -> Result<(), Error> {
        let snapshot = self.snapshot();
        let doing = format!("restarting from {} (call save() first)", snapshot.display());
        fs::metadata(&snapshot).map_err(Error::io(doing))?;
        if self.pid().is_some() {
            self.kill().await?;
        }
        self.launch().await
    }

    /// Crashes it if it runs, removes its snapshot and append-only files, and
    /// starts it again without any data.
    ///
    /// # Errors
    ///
    /// [`Error::Io`] when they cannot be removed; otherwise as [`restart`](Self::restart).
    ///
    /// # Cancel safety
    ///
    /// As [`restart`](Self::restart).
    pub async fn restart_empty(&self) -> Result<(), Error> {
        if self.pid().is_some() {
            self.kill().await?;
        }
        remove(&self.snapshot())?;
        // The first is that of Redis 7, the second that of Redis 6.
        for (setting, default) in
            [("appenddirname", "appendonlydir"), ("appendfilename", "appendonly.aof")]
        {
            let name = self.setting(setting).unwrap_or(default);
            remove(&self.server.folder().join(name))?;
        }
        self.launch().await
    }

    /// Makes a server that replicates it, with its settings; to be awaited.
    pub fn replica(&self) -> ReplicaBuilder<'_> {
        ReplicaBuilder::new(self)
    }

    /// Where the testbed's own connections go.
    fn plain_addr(&self) -> SocketAddr {
        (Ipv4Addr::LOCALHOST, self.server.port()).into()
    }

    fn setting(&self, name: &str) -> Option<&str> {
        let mut set = self.settings.iter().rev();
        set.find(|(set, _)| set.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }

    fn snapshot(&self) -> PathBuf {
        self.server.folder().join(self.setting("dbfilename").unwrap_or("dump.rdb"))
    }

    fn set_primary(&self, primary: Option<SocketAddr>) {
        *self.primary.lock().unwrap_or_else(PoisonError::into_inner) = primary;
    }

    async fn launch(&self) -> Result<(), Error> {
        let mut command = Command::new(&self.program);
        command.args(["--bind", "127.0.0.1", "--port", &self.server.port().to_string()]);
        command.args(["--save", "", "--appendonly", "no", "--daemonize", "no"]);
        // A replica need not wait for others who might come.
        command.args(["--repl-diskless-sync-delay", "0"]);
        command.arg("--dir").arg(self.server.folder());
        if let Some(bus) = &self.bus {
            command.args(["--cluster-enabled", "yes"]);
            command.args(["--cluster-port", &bus.number().to_string()]);
        }
        if let Some(tls) = &self.tls {
            tls.configure(&mut command, self.bus.is_some());
        }
        for (name, value) in &self.settings {
            command.arg(format!("--{name}")).arg(value);
        }
        if let Some(primary) = *self.primary.lock().unwrap_or_else(PoisonError::into_inner) {
            command.arg("--replicaof");
            command.args([primary.ip().to_string(), primary.port().to_string()]);
        }
        let addr = self.plain_addr();
        let started = self.server.start(command, ExitSignal::Terminate, || answers(addr)).await;
        match started {
            Err(Error::Exited { log, .. }) if tls::is_unknown(&log) => {
                Err(Error::WithoutTls { program: self.program.clone() })
            }
            started => started,
        }
    }
}

async fn connect(addr: SocketAddr, password: Option<&str>) -> Result<Client, Error> {
    let mut client = Client::connect(addr).await?;
    if let Some(password) = password {
        client.command(&["AUTH", password]).await?;
    }
    Ok(client)
}

/// Whether it answers a PING; one that demands a password is up as well.
async fn answers(addr: SocketAddr) -> bool {
    let ping = async { Client::connect(addr).await?.command(&["PING"]).await };
    match tokio::time::timeout(Duration::from_secs(1), ping).await {
        Ok(Ok(_)) => true,
        Ok(Err(Error::Redis { message, .. })) => message.starts_with("NOAUTH"),
        _ => false,
    }
}

/// Removes a file or a folder, if it is there.
fn remove(path: &Path) -> Result<(), Error> {
    let removed = if path.is_dir() { fs::remove_dir_all(path) } else { fs::remove_file(path) };
    match removed {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(Error::io(format!("removing {}", path.display()))(error))
        }
        _ => Ok(()),
    }
}
