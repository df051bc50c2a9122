//! A user, logged in, on one connection.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;

/// Whose they are.
pub(super) const USER: u32 = 2;

const PASSWORD: &str = "correct horse battery staple";

pub(super) struct Caller {
    stream: BufReader<TcpStream>,
    host: String,
    cookies: BTreeMap<String, String>,
    bearer: Option<String>,
    product: u32,
}

impl Caller {
    /// Of the worker at `url`, which knows the user by `email`.
    pub(super) async fn new(url: &str, email: &str) -> Result<Self, String> {
        let host = url.trim_start_matches("http://").to_owned();
        let stream = TcpStream::connect(&host).await.map_err(|error| error.to_string())?;
        stream.set_nodelay(true).map_err(|error| error.to_string())?;
        let (cookies, bearer) = (BTreeMap::new(), None);
        let stream = BufReader::new(stream);
        let mut caller = Self { stream, host, cookies, bearer, product: 0 };
        let body = json!({ "email": email, "password": PASSWORD });
        // A worker without a login has no such path.
        if let (200, answer) = caller.ask("POST", "/login", &body).await? {
            let answer: Value = serde_json::from_str(&answer).map_err(|e| e.to_string())?;
            caller.bearer = answer["access_token"].as_str().map(ToOwned::to_owned);
        }
        Ok(caller)
    }

    pub(super) fn has_logged_in(&self) -> bool {
        self.bearer.is_some()
    }

    pub(super) async fn profile(&mut self) -> Result<Duration, String> {
        self.timed("GET", &format!("/users/{USER}"), &Value::Null, 200).await
    }

    pub(super) async fn order(&mut self) -> Result<Duration, String> {
        // Of each a few, so that none is sold out.
        self.product = self.product % 1_000 + 1;
        let wish = json!({ "product_id": self.product, "quantity": 1 });
        self.timed("POST", &format!("/users/{USER}/orders"), &wish, 201).await
    }

    async fn timed(
        &mut self,
        method: &str,
        path: &str,
        body: &Value,
        expected: u16,
    ) -> Result<Duration, String> {
        let began = Instant::now();
        let (status, answer) = self.ask(method, path, body).await?;
        let took = began.elapsed();
        if status == expected {
            Ok(took)
        } else {
            Err(format!("{method} {path}: {status} {answer}"))
        }
    }

    async fn ask(
        &mut self,
        method: &str,
        path: &str,
        body: &Value,
    ) -> Result<(u16, String), String> {
        let body = if body.is_null() { String::new() } else { body.to_string() };
        let mut request = format!("{method} {path} HTTP/1.1\r\nhost: {}\r\n", self.host);
        if let Some(bearer) = &self.bearer {
            request += &format!("authorization: Bearer {bearer}\r\n");
        }
        let cookies: Vec<_> =
            self.cookies.iter().map(|(name, set)| format!("{name}={set}")).collect();
        if !cookies.is_empty() {
            request += &format!("cookie: {}\r\n", cookies.join("; "));
        }
        request += &format!(
            "content-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
            body.len()
        );
        let exchange = async {
            self.stream.get_mut().write_all(request.as_bytes()).await?;
            let (mut status, mut length) = (0, 0);
            loop {
                let mut line = String::new();
                self.stream.read_line(&mut line).await?;
                let line = line.trim_end();
                if line.is_empty() {
                    break;
                }
                if let Some(rest) = line.strip_prefix("HTTP/1.1 ") {
                    status = rest.get(..3).and_then(|code| code.parse().ok()).unwrap_or(0);
                }
                let Some((name, value)) = line.split_once(": ") else { continue };
                match name {
                    "content-length" => length = value.parse().unwrap_or(0),
                    "set-cookie" => {
                        let pair =
                            value.split(';').next().and_then(|pair| pair.split_once('='));
                        if let Some((name, set)) = pair {
                            self.cookies.insert(name.to_owned(), set.to_owned());
                        }
                    }
                    _ => {}
                }
            }
            let mut answer = vec![0; length];
            self.stream.read_exact(&mut answer).await?;
            Ok::<_, std::io::Error>((status, String::from_utf8_lossy(&answer).into_owned()))
        };
        exchange.await.map_err(|error| format!("{method} {path}: {error}"))
    }
}
