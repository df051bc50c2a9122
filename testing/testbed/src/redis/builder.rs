use std::sync::{Arc, Mutex};

use super::Redis;
use super::tls::{Certificate, Tls};
use crate::error::Error;
use crate::locate;
use crate::port::Port;
use crate::server::Server;

/// Builds a [`Redis`].
#[derive(Clone, Debug, Default)]
#[must_use]
pub struct RedisBuilder {
    pub(super) settings: Vec<(String, String)>,
    pub(super) in_cluster: bool,
    /// One for all servers that are made of clones of this.
    pub(super) certificate: Option<Arc<Certificate>>,
}

impl RedisBuilder {
    /// Sets a configuration parameter, as in `redis.conf`. Of several settings
    /// of one name the last counts.
    ///
    /// With `requirepass` the testbed's own commands use the password; an
    /// application's URL needs it written in.
    pub fn setting(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.settings.push((name.into(), value.into()));
        self
    }

    /// Lets applications in by TLS alone, with a certificate made now for
    /// 127.0.0.1 and `localhost` by an authority made now
    /// ([`Redis::ca_certificate`]). Clients show no certificate of theirs.
    #[cfg(feature = "tls")]
    pub fn tls(mut self) -> Self {
        self.certificate = Some(Arc::new(Certificate::make()));
        self
    }

    /// Starts the server and waits until it answers.
    ///
    /// # Errors
    ///
    /// [`Error::Missing`] with the line that installs Redis; [`Error::Exited`]
    /// or [`Error::NotReady`] with the server's log, as when a setting is wrong;
    /// [`Error::WithoutTls`].
    ///
    /// # Cancel safety
    ///
    /// Dropped before it is done, nothing stays behind.
    pub async fn start(self) -> Result<Redis, Error> {
        let redis = self.prepare().await?;
        redis.launch().await?;
        Ok(redis)
    }

    /// All but the start.
    pub(super) async fn prepare(self) -> Result<Redis, Error> {
        let program = locate::redis_server().map_err(Error::Missing)?;
        let server = Server::new("redis-server", |_| ()).await?;
        let bus = if self.in_cluster { Some(Port::claim()?) } else { None };
        let tls = match self.certificate {
            Some(certificate) => Some(Tls::set_up(certificate, server.folder())?),
            None => None,
        };
        let primary = Mutex::new(None);
        Ok(Redis { program, settings: self.settings, server, bus, tls, primary })
    }
}
