//! HTTPS on this machine, with a certificate that is made at the start.

use std::error::Error;
use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use std::{fs, io};

use axum::serve::Listener;
use rcgen::{CertifiedKey, generate_simple_self_signed};
use rustls::ServerConfig;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::PrivateKeyDer;
use tls_listener::{Error as Refused, TlsListener};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::sleep;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tracing::{debug, warn};

/// How long a client may take to agree on TLS. Meanwhile others are let in.
const HANDSHAKE: Duration = Duration::from_secs(5);

/// Takes connections, and hands them out once they are safe.
pub(crate) struct Https(TlsListener<TcpListener, TlsAcceptor>);

impl Https {
    /// HTTPS over `listener`, for `localhost` and the addresses of this machine that it is
    /// reached by. The certificate is written to `path`, for clients to trust; its key stays
    /// in this process.
    ///
    /// # Errors
    ///
    /// When the certificate cannot be written.
    pub(crate) fn new(listener: TcpListener, path: &Path) -> Result<Self, Box<dyn Error>> {
        let names = names(listener.local_addr()?.ip());
        let CertifiedKey { cert, signing_key } = generate_simple_self_signed(names)?;
        let key = PrivateKeyDer::try_from(signing_key.serialize_der())?;
        // Named, and not the default of the process, which others may have set.
        let provider = Arc::new(aws_lc_rs::default_provider());
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&rustls::version::TLS13])?
            .with_no_client_auth()
            .with_single_cert(vec![cert.der().clone()], key)?;
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        fs::write(path, cert.pem())
            .map_err(|e| format!("cannot write the certificate to {}: {e}", path.display()))?;
        let acceptor = TlsAcceptor::from(Arc::new(config));
        Ok(Self(tls_listener::builder(acceptor).handshake_timeout(HANDSHAKE).listen(listener)))
    }
}

fn names(listens_on: IpAddr) -> Vec<String> {
    let mut names = ["localhost", "127.0.0.1", "::1"].map(str::to_owned).to_vec();
    let own = listens_on.to_string();
    if !listens_on.is_unspecified() && !names.contains(&own) {
        names.push(own);
    }
    names
}

impl Listener for Https {
    type Io = TlsStream<TcpStream>;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Self::Io, SocketAddr) {
        loop {
            match self.0.accept().await {
                Ok(connection) => return connection,
                Err(Refused::ListenerError(e)) => {
                    warn!("cannot take a connection: {e}");
                    // Too many files are open, most likely: some will be closed.
                    sleep(Duration::from_millis(100)).await;
                }
                // A client's matter: it does not trust us yet, or speaks no TLS.
                Err(e) => debug!("no TLS: {e}"),
            }
        }
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.0.local_addr()
    }
}
