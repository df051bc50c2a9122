//! One connection to the shop, kept alive and renewed when it breaks.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::str::FromStr;
use std::time::Duration;
use std::{error, fmt};

use http_body_util::{BodyExt, Full};
use hyper::body::{Bytes, Incoming};
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper::{Request, Response, Uri};
use hyper_util::rt::TokioIo;
use serde::Serialize;
use tokio::net::{TcpSocket, TcpStream};
use tokio::task::JoinHandle;
use tokio::time::timeout;

use super::jar::Jar;
use super::mix::Planned;

/// How long a request may take, its connection included.
const PATIENCE: Duration = Duration::from_secs(10);

/// Where the shop is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(into = "String")]
pub(crate) struct Target {
    authority: String,
    host: String,
    port: u16,
}

impl FromStr for Target {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let shape = || "write it as http://host:port, such as http://127.0.0.1:3000".to_owned();
        let uri = Uri::from_str(text).map_err(|_| shape())?;
        let (Some("http"), Some(authority), None | Some("" | "/")) =
            (uri.scheme_str(), uri.authority(), uri.path_and_query().map(|p| p.as_str()))
        else {
            return Err(shape());
        };
        if authority.as_str().contains('@') || authority.host().is_empty() {
            return Err(shape());
        }
        Ok(Self {
            authority: authority.to_string(),
            host: authority.host().trim_matches(['[', ']']).to_owned(),
            port: authority.port_u16().unwrap_or(80),
        })
    }
}

impl Target {
    /// Whether it is this machine, by number and IPv4: then it is so from any of 127.0.0.0/8.
    pub(crate) fn is_loopback(&self) -> bool {
        self.host.parse().is_ok_and(|host: Ipv4Addr| host.is_loopback())
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "http://{}", self.authority)
    }
}

impl From<Target> for String {
    fn from(target: Target) -> Self {
        target.to_string()
    }
}

/// Why a request has no good answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Failure {
    /// No connection could be opened; the request was not sent.
    Connect,
    /// The connection broke before the answer was read.
    Transport,
    /// There was no whole answer in time.
    Timeout,
    /// The answer's status was not 2xx.
    Status(u16),
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Connect => f.write_str("connect"),
            Self::Transport => f.write_str("transport"),
            Self::Timeout => f.write_str("timeout"),
            Self::Status(status) => write!(f, "http_{status}"),
        }
    }
}

impl error::Error for Failure {}

/// A connection, opened when it is first needed.
#[derive(Debug)]
pub(crate) struct Client {
    target: Target,
    /// The address to come from, if it is not the system's choice.
    from: Option<IpAddr>,
    open: Option<Open>,
}

impl Client {
    pub(crate) fn new(target: Target) -> Self {
        Self { target, from: None, open: None }
    }

    /// Comes from `address`, which must be one of this machine.
    pub(crate) fn from(self, address: IpAddr) -> Self {
        Self { from: Some(address), ..self }
    }

    /// Sends `planned` and reads the answer to its end.
    ///
    /// # Errors
    ///
    /// Without a 2xx answer. The next call opens a new connection where this one broke.
    pub(crate) async fn send(&mut self, planned: &Planned) -> Result<Bytes, Failure> {
        self.send_as(&mut Jar::default(), None, planned).await
    }

    /// [`send`](Self::send), with the cookies of `jar`, which keeps those of the answer, and
    /// with an access token.
    ///
    /// # Errors
    ///
    /// As for [`send`](Self::send).
    pub(crate) async fn send_as(
        &mut self,
        jar: &mut Jar,
        access: Option<&str>,
        planned: &Planned,
    ) -> Result<Bytes, Failure> {
        match timeout(PATIENCE, self.exchange(jar, access, planned)).await {
            Ok(Ok(body)) => Ok(body),
            Ok(Err(failure @ Failure::Status(_))) => Err(failure),
            Ok(Err(failure)) => {
                self.open = None;
                Err(failure)
            }
            Err(_) => {
                // Its answer may still come: nothing else may read it.
                self.open = None;
                Err(Failure::Timeout)
            }
        }
    }

    /// `GET path`, as text.
    ///
    /// # Errors
    ///
    /// As for [`send`](Self::send).
    pub(crate) async fn get(&mut self, path: &str) -> Result<String, Failure> {
        let body = self.send(&Planned::get(path)).await?;
        Ok(String::from_utf8_lossy(&body).into_owned())
    }

    async fn exchange(
        &mut self,
        jar: &mut Jar,
        access: Option<&str>,
        planned: &Planned,
    ) -> Result<Bytes, Failure> {
        let body = planned.body.clone().map_or_else(Bytes::new, Bytes::from);
        let mut request = Request::builder()
            .method(planned.method)
            .uri(&planned.path)
            .header("host", &self.target.authority);
        if planned.body.is_some() {
            request = request.header("content-type", "application/json");
        }
        if let Some(cookies) = jar.header() {
            // As a browser says that it was a page of the shop's own.
            request = request.header("cookie", cookies).header("sec-fetch-site", "same-origin");
        }
        if let Some(access) = access {
            request = request.header("authorization", format!("Bearer {access}"));
        }
        let request = request.body(Full::new(body)).expect("planned requests are well formed");

        let response = self.ready().await?.send_request(request).await;
        let response = response.map_err(|_| Failure::Transport)?;
        let status = response.status();
        jar.keep(response.headers());
        let body = whole(response).await?;
        if status.is_success() { Ok(body) } else { Err(Failure::Status(status.as_u16())) }
    }

    async fn ready(&mut self) -> Result<&mut SendRequest<Full<Bytes>>, Failure> {
        let kept = match self.open.take() {
            // The shop may close a connection that rests.
            Some(mut open) => open.sender.ready().await.is_ok().then_some(open),
            None => None,
        };
        let open = match kept {
            Some(open) => open,
            None => Open::new(&self.target, self.from).await.map_err(|_| Failure::Connect)?,
        };
        Ok(&mut self.open.insert(open).sender)
    }
}

async fn whole(response: Response<Incoming>) -> Result<Bytes, Failure> {
    Ok(response.into_body().collect().await.map_err(|_| Failure::Transport)?.to_bytes())
}

/// An open connection, and the task that drives it until this is dropped.
#[derive(Debug)]
struct Open {
    sender: SendRequest<Full<Bytes>>,
    driver: JoinHandle<hyper::Result<()>>,
}

impl Open {
    async fn new(
        target: &Target,
        from: Option<IpAddr>,
    ) -> Result<Self, Box<dyn error::Error + Send + Sync>> {
        let stream = match from {
            None => TcpStream::connect((target.host.as_str(), target.port)).await?,
            Some(from) => {
                let socket = TcpSocket::new_v4()?;
                socket.bind((from, 0).into())?;
                socket.connect(SocketAddr::new(target.host.parse()?, target.port)).await?
            }
        };
        stream.set_nodelay(true)?;
        let (sender, connection) = handshake(TokioIo::new(stream)).await?;
        Ok(Self { sender, driver: tokio::spawn(connection) })
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.driver.abort();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_target_is_a_plain_http_origin() {
        let target: Target = "http://127.0.0.1:3000/".parse().unwrap();
        assert_eq!((target.host.as_str(), target.port), ("127.0.0.1", 3000));
        assert_eq!(target.to_string(), "http://127.0.0.1:3000");
        let target: Target = "http://[::1]:80".parse().unwrap();
        assert_eq!((target.host.as_str(), target.port), ("::1", 80));
        for bad in
            ["", "localhost", "https://a", "http://a/b", "http://a?b", "http://u@a", "a:1"]
        {
            assert!(bad.parse::<Target>().is_err(), "{bad:?}");
        }
    }
}
