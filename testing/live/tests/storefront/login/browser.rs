//! Somebody with a browser: tabs that share cookies and a storage, over HTTPS.

use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use fastrand::Rng;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use tokio::time::sleep;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::jar::{Jar, Page};
use crate::http::{Answer, Connection};
use crate::shop::DEADLINE;

pub(crate) const PASSWORD: &str = "correct horse battery staple";

/// What trusts the certificates that the shops have written.
pub(crate) fn trusting(certificates: &[std::path::PathBuf]) -> TlsConnector {
    let mut roots = RootCertStore::empty();
    for path in certificates {
        roots.add(CertificateDer::from_pem_file(path).unwrap()).unwrap();
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    TlsConnector::from(Arc::new(config))
}

/// A connection over HTTPS that is kept alive.
pub(crate) type Https = Connection<TlsStream<TcpStream>>;

pub(crate) async fn connect(tls: &TlsConnector, shop: SocketAddr) -> io::Result<Https> {
    let stream = TcpStream::connect(shop).await?;
    stream.set_nodelay(true)?;
    let name = ServerName::from(shop.ip());
    Ok(Connection::over(tls.connect(name, stream).await?))
}

/// A browser: what its tabs share.
#[derive(Clone)]
pub(crate) struct Browser {
    pub(crate) tls: TlsConnector,
    pub(crate) jar: Arc<Mutex<Jar>>,
    /// The retry key of the refresh that is under way, which tabs share by `localStorage`.
    retry_key: Arc<Mutex<Option<String>>>,
    /// Requests whose answers are lost, and that the shop may not be done with.
    lost: Arc<Mutex<Vec<JoinHandle<Instant>>>>,
}

/// How the network loses an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Loss {
    /// The connection breaks when the answer is on its way.
    Answer,
    /// It breaks once the request is sent: the shop notices while it works.
    Connection,
}

impl Browser {
    pub(crate) fn new(tls: &TlsConnector) -> Self {
        let (jar, retry_key, lost) = Default::default();
        Self { tls: tls.clone(), jar, retry_key, lost }
    }

    /// The key of the refresh that is under way, or of one that begins.
    pub(crate) async fn retry_key(&self, rng: &mut Rng) -> String {
        if let Some(key) = &*self.retry_key.lock().unwrap() {
            return key.clone();
        }
        // A request that the network kept until after the next rotation would be a replay
        // outside of every window, like a thief's.
        self.settled().await;
        let mut key = self.retry_key.lock().unwrap();
        key.get_or_insert_with(|| format!("{:032x}", rng.u128(..))).clone()
    }

    /// The refresh of `key` is answered.
    pub(crate) fn forget(&self, key: &str) {
        self.retry_key.lock().unwrap().take_if(|shared| shared == key);
    }

    /// Waits until the shop is done with what was sent in vain; returns when it was.
    pub(crate) async fn settled(&self) -> Option<Instant> {
        let lost: Vec<_> = self.lost.lock().unwrap().drain(..).collect();
        let mut last = None;
        for lost in lost {
            last = last.max(Some(lost.await.unwrap()));
        }
        last
    }

    /// A request that a page begins, with the headers that a browser adds to it.
    pub(crate) fn request(
        &self,
        line: &str,
        page: Page,
        shop: SocketAddr,
        headers: &str,
        body: &str,
    ) -> Vec<u8> {
        let site = if page == Page::Own { "same-origin" } else { "cross-site" };
        let cookies = match self.jar.lock().unwrap().header(true, page) {
            none if none.is_empty() => none,
            some => format!("cookie: {some}\r\n"),
        };
        let length = body.len();
        let request = format!(
            "{line} HTTP/1.1\r\nhost: {shop}\r\nsec-fetch-site: {site}\r\n\
             user-agent: Firefox, Linux\r\ncontent-length: {length}\r\n{cookies}{headers}\r\n{body}"
        );
        request.into_bytes()
    }

    /// On a connection of its own; what the answer sets is kept.
    pub(crate) async fn send(
        &self,
        line: &str,
        page: Page,
        shop: SocketAddr,
        headers: &str,
        body: &str,
    ) -> Answer {
        let mut connection = connect(&self.tls, shop).await.unwrap();
        let request = self.request(line, page, shop, headers, body);
        let answer = connection.exchange(&request).await.unwrap();
        self.keep(&answer);
        answer
    }

    /// Keeps what an answer sets. A browser would keep all that the shop sets.
    pub(crate) fn keep(&self, answer: &Answer) {
        for cookie in &answer.cookies {
            self.jar.lock().unwrap().keep(cookie, true).unwrap();
        }
    }

    /// Logs in; returns the access token. It comes again when the shop says so.
    pub(crate) async fn log_in(&self, shop: SocketAddr, email: &str) -> String {
        let until = Instant::now() + DEADLINE;
        loop {
            let answer = self.try_log_in(shop, email, PASSWORD).await;
            if answer.status == 503 && Instant::now() < until {
                let after = answer.header("retry-after").unwrap().parse().unwrap();
                sleep(Duration::from_secs(after)).await;
                continue;
            }
            assert_eq!(answer.status, 200, "{answer:?}");
            return access_token(&answer);
        }
    }

    pub(crate) async fn try_log_in(
        &self,
        shop: SocketAddr,
        email: &str,
        password: &str,
    ) -> Answer {
        let body = json!({ "email": email, "password": password }).to_string();
        let json = "content-type: application/json\r\n";
        self.send("POST /login", Page::Own, shop, json, &body).await
    }

    /// With an access token and a JSON body, if it is not null.
    pub(crate) async fn call(
        &self,
        line: &str,
        shop: SocketAddr,
        token: &str,
        body: &Value,
    ) -> Answer {
        let headers = format!("{}content-type: application/json\r\n", bearer(token));
        let body = if body.is_null() { String::new() } else { body.to_string() };
        self.send(line, Page::Own, shop, &headers, &body).await
    }

    /// Refreshes on a connection of its own; returns the answer, whatever it is.
    pub(crate) async fn refresh(&self, shop: SocketAddr) -> Answer {
        self.send("POST /auth/refresh", Page::Own, shop, "", "").await
    }
}

/// A tab of a browser, which keeps its connections to the shop's processes.
pub(crate) struct Tab {
    pub(crate) browser: Browser,
    shops: [SocketAddr; 2],
    open: [Option<Https>; 2],
}

impl Tab {
    pub(crate) fn new(browser: &Browser, shops: [SocketAddr; 2]) -> Self {
        Self { browser: browser.clone(), shops, open: [None, None] }
    }

    /// Opens the connections that it lacks.
    pub(crate) async fn connect(&mut self) {
        for (shop, open) in self.shops.into_iter().zip(&mut self.open) {
            if open.is_none() {
                *open = Some(connect(&self.browser.tls, shop).await.unwrap());
            }
        }
    }

    /// Refreshes on process `n`; returns the answer, whatever it is.
    pub(crate) async fn refresh(&mut self, n: usize, key: Option<&str>) -> Answer {
        self.connect().await;
        let request = self.request(n, key);
        let connection = self.open[n].as_mut().expect("it was just opened");
        let answer = connection.exchange(&request).await.unwrap();
        self.browser.keep(&answer);
        answer
    }

    /// Refreshes on process `n`, and the answer is lost with the connection.
    pub(crate) async fn refresh_in_vain(&mut self, n: usize, key: Option<&str>, loss: Loss) {
        self.connect().await;
        let request = self.request(n, key);
        let mut connection = self.open[n].take().expect("it was just opened");
        connection.send(&request).await.unwrap();
        let lost = tokio::spawn(async move {
            match loss {
                // Nobody looks at it.
                Loss::Answer => drop(connection.answer().await.unwrap()),
                Loss::Connection => {
                    // The shop may have hung up already.
                    let _ = connection.finish().await;
                    connection.rest().await;
                    // What it has asked the store for is done soon after.
                    sleep(Duration::from_millis(300)).await;
                }
            }
            Instant::now()
        });
        self.browser.lost.lock().unwrap().push(lost);
    }

    /// The cookie is read here, at the last moment.
    fn request(&self, n: usize, key: Option<&str>) -> Vec<u8> {
        let key = key.map(|key| format!("idempotency-key: {key}\r\n")).unwrap_or_default();
        self.browser.request("POST /auth/refresh", Page::Own, self.shops[n], &key, "")
    }
}

pub(crate) fn bearer(token: &str) -> String {
    format!("authorization: Bearer {token}\r\n")
}

pub(crate) fn access_token(answer: &Answer) -> String {
    answer.json()["access_token"].as_str().unwrap().to_owned()
}
