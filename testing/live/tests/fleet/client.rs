//! A client of the shop, as a browser is one: it keeps cookies and a token, and tries nothing
//! twice.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use http::header::{AUTHORIZATION, CONTENT_TYPE, COOKIE, SET_COOKIE};
use http::{HeaderMap, Method, Request};
use http_body_util::{BodyExt, Full};
use hyper_util::client::legacy::Client as Http;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use serde_json::Value;
use tokio::time::timeout;

use super::record::{Acked, Cluster};
use super::tally::{Failure, Tally};

/// More than the front's own.
const PATIENCE: Duration = Duration::from_secs(15);

/// What was answered, when.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    /// A page, which is no JSON, is a text.
    pub(crate) body: Value,
    pub(crate) began: SystemTime,
    pub(crate) ended: SystemTime,
}

impl Answer {
    pub(crate) fn acked(&self) -> Acked {
        Acked { began: self.began, ended: self.ended }
    }

    /// That the session is over: to an access token, or to a refresh token (RFC 6749).
    pub(crate) fn says_logged_out(&self) -> bool {
        self.status == 401 || (self.status == 400 && self.body["error"] == "invalid_grant")
    }

    pub(crate) fn is_success(&self) -> bool {
        (200..300).contains(&self.status)
    }
}

/// Somebody with an address of their own.
#[derive(Debug)]
pub(crate) struct Client {
    http: Http<HttpConnector, Full<Bytes>>,
    url: String,
    jar: BTreeMap<String, String>,
    token: Option<String>,
    /// Where this user's orders are.
    orders: Option<Cluster>,
    tally: Arc<Tally>,
}

impl Client {
    pub(crate) fn new(url: &str, address: Ipv4Addr, tally: &Arc<Tally>) -> Self {
        let mut connector = HttpConnector::new();
        connector.set_local_address(Some(address.into()));
        connector.set_nodelay(true);
        Self {
            http: Http::builder(TokioExecutor::new())
                .retry_canceled_requests(false)
                .build(connector),
            url: url.to_owned(),
            jar: BTreeMap::new(),
            token: None,
            orders: None,
            tally: Arc::clone(tally),
        }
    }

    /// Of a user whose orders are there.
    pub(crate) fn with_orders(self, cluster: Cluster) -> Self {
        Self { orders: Some(cluster), ..self }
    }

    /// Tries to log in, once.
    pub(crate) async fn log_in(&mut self, email: &str, password: &str) -> Option<Answer> {
        let body = serde_json::json!({ "email": email, "password": password });
        let answer = self.send(Method::POST, "/login", Some(&body)).await;
        self.keep_token(answer.as_ref());
        answer
    }

    /// Another access token, for the refresh token in its cookie.
    pub(crate) async fn refresh(&mut self) -> Option<Answer> {
        let answer = self.send(Method::POST, "/auth/refresh", None).await;
        self.keep_token(answer.as_ref());
        answer
    }

    fn keep_token(&mut self, answer: Option<&Answer>) {
        if let Some(token) = answer.and_then(|answer| answer.body["access_token"].as_str()) {
            self.token = Some(token.to_owned());
        }
    }

    pub(crate) async fn get(&mut self, path: &str) -> Option<Answer> {
        self.send(Method::GET, path, None).await
    }

    pub(crate) async fn put(&mut self, path: &str, body: &Value) -> Option<Answer> {
        self.send(Method::PUT, path, Some(body)).await
    }

    pub(crate) async fn post(&mut self, path: &str, body: &Value) -> Option<Answer> {
        self.send(Method::POST, path, Some(body)).await
    }

    /// The answer, if one came that says what was done: not if it broke off or came too late,
    /// and not if the shop or the front could not do it. Those are failures, and are counted.
    async fn send(
        &mut self,
        method: Method,
        path: &str,
        body: Option<&Value>,
    ) -> Option<Answer> {
        let mut request = Request::builder()
            .method(&method)
            .uri(format!("{}{path}", self.url))
            // As a browser adds it to requests of the shop's own pages.
            .header("sec-fetch-site", "same-origin");
        if let Some(token) = &self.token {
            request = request.header(AUTHORIZATION, format!("Bearer {token}"));
        }
        if !self.jar.is_empty() {
            let pairs: Vec<_> =
                self.jar.iter().map(|(name, value)| format!("{name}={value}")).collect();
            request = request.header(COOKIE, pairs.join("; "));
        }
        if body.is_some() {
            request = request.header(CONTENT_TYPE, "application/json");
        }
        let body = body.map(|body| Bytes::from(body.to_string())).unwrap_or_default();
        let request = request.body(Full::new(body)).expect("the parts are good");

        let began = SystemTime::now();
        let answered = async {
            let answer = self.http.request(request).await.map_err(|e| format!("{e:?}"))?;
            let (head, body) = answer.into_parts();
            let body = body.collect().await.map_err(|e| format!("{e:?}"))?.to_bytes();
            Ok((head, body))
        };
        let answered = timeout(PATIENCE, answered).await;
        let ended = SystemTime::now();
        let answered = answered.unwrap_or_else(|_| Err("no answer".to_owned()));
        let failed = |why: String| {
            let method = method.clone();
            let (path, cluster) = (path.to_owned(), self.orders.filter(|_| is_of_orders(path)));
            self.tally.failed(Failure { method, path, cluster, began, ended, why });
        };
        match answered {
            Err(why) => {
                failed(why);
                None
            }
            Ok((head, body)) if head.status.is_server_error() => {
                let said = String::from_utf8_lossy(&body);
                failed(format!("{}: {}", head.status, said.trim()));
                None
            }
            Ok((head, body)) => {
                self.tally.answered(began, ended);
                keep(&mut self.jar, &head.headers);
                let text = || Value::String(String::from_utf8_lossy(&body).into_owned());
                let body = serde_json::from_slice(&body).unwrap_or_else(|_| text());
                Some(Answer { status: head.status.as_u16(), body, began, ended })
            }
        }
    }
}

/// A user's page counts their orders.
fn is_of_orders(path: &str) -> bool {
    path.starts_with("/users/")
}

fn keep(jar: &mut BTreeMap<String, String>, headers: &HeaderMap) {
    for cookie in headers.get_all(SET_COOKIE) {
        let pair = cookie.to_str().ok().and_then(|cookie| cookie.split(';').next());
        if let Some((name, value)) = pair.and_then(|pair| pair.trim().split_once('=')) {
            jar.insert(name.to_owned(), value.to_owned());
        }
    }
}
