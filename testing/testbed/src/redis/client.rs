use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncWriteExt, BufReader};
use tokio::net::TcpStream;

use super::reply::{self, Reply};
use crate::error::Error;

pub(super) const PATIENCE: Duration = Duration::from_secs(30);

/// A connection that sends one command after the other; dropped = closed.
///
/// It belongs to tests: it does not reconnect, and it speaks no TLS.
#[derive(Debug)]
pub struct Client {
    addr: SocketAddr,
    stream: BufReader<TcpStream>,
    in_step: bool,
}

impl Client {
    /// Connects to any Redis, such as one behind a [`Link`](crate::link::Link).
    ///
    /// # Errors
    ///
    /// [`Error::Io`] when it cannot be reached.
    pub async fn connect(addr: SocketAddr) -> Result<Self, Error> {
        let doing = || Error::io(format!("connecting to Redis at {addr}"));
        let stream = TcpStream::connect(addr).await.map_err(doing())?;
        stream.set_nodelay(true).map_err(doing())?;
        Ok(Self { addr, stream: BufReader::new(stream), in_step: true })
    }

    /// Sends a command, each word as it is, and waits for its reply.
    ///
    /// # Errors
    ///
    /// [`Error::Redis`] when the server refuses it; [`Error::Io`] when the
    /// connection breaks, or an earlier command was left without its reply;
    /// [`Error::Late`] after 30 s.
    ///
    /// # Cancel safety
    ///
    /// The server may have obeyed; the connection is of no more use.
    ///
    /// # Panics
    ///
    /// Without a word.
    pub async fn command<W: AsRef<[u8]>>(&mut self, words: &[W]) -> Result<Reply, Error> {
        let name = words.first().expect("a command has a word").as_ref();
        // No more of it: a later word may be a password.
        let name = String::from_utf8_lossy(name).into_owned();
        let failed = |error| Error::io(format!("{name} at Redis {}", self.addr))(error);
        if !self.in_step {
            let error = "an earlier command was left without its reply: connect again";
            return Err(failed(io::Error::new(io::ErrorKind::NotConnected, error)));
        }

        self.in_step = false;
        let exchange = async {
            self.stream.write_all(&encode(words)).await?;
            reply::read(&mut self.stream).await
        };
        let reply = match tokio::time::timeout(PATIENCE, exchange).await {
            Ok(reply) => reply.map_err(failed)?,
            Err(_) => {
                let awaited = format!("the reply of Redis {} to {name}", self.addr);
                return Err(Error::Late { awaited, after: PATIENCE });
            }
        };
        self.in_step = true;
        match reply {
            Reply::Refusal(message) => Err(Error::Redis { command: name, message }),
            reply => Ok(reply),
        }
    }
}

fn encode<W: AsRef<[u8]>>(words: &[W]) -> Vec<u8> {
    let mut bytes = format!("*{}\r\n", words.len()).into_bytes();
    for word in words.iter().map(AsRef::as_ref) {
        bytes.extend_from_slice(format!("${}\r\n", word.len()).as_bytes());
        bytes.extend_from_slice(word);
        bytes.extend_from_slice(b"\r\n");
    }
    bytes
}
