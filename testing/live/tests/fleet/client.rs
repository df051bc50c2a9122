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

use super::tally::{Failure, Tally};

/// More than the front's own.
const PATIENCE: Duration = Duration::from_secs(15);

/// What was answered, when.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) body: Value,
    pub(crate) began: SystemTime,
    pub(crate) ended: SystemTime,
}

impl Answer {
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
            tally: Arc::clone(tally),
        }
    }

    /// Logs in, as many times as it takes until `until`.
    pub(crate) async fn log_in(&mut self, email: &str, password: &str) -> bool {
        let body = serde_json::json!({ "email": email, "password": password });
        let answer = self.send(Method::POST, "/login", Some(&body)).await;
        let token = answer
            .filter(Answer::is_success)
            .and_then(|answer| answer.body["access_token"].as_str().map(str::to_owned));
        let is_in = token.is_some();
        self.token = token.or_else(|| self.token.take());
        is_in
    }

    /// Another access token, for the refresh token in its cookie.
    pub(crate) async fn refresh(&mut self) -> Option<Answer> {
        let answer = self.send(Method::POST, "/auth/refresh", None).await;
        let token = answer.as_ref().and_then(|answer| answer.body["access_token"].as_str());
        self.token = token.map(str::to_owned).or_else(|| self.token.take());
        answer
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
            self.tally.failed(Failure { method, path: path.to_owned(), began, ended, why });
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
                let body = serde_json::from_slice(&body).unwrap_or(Value::Null);
                Some(Answer { status: head.status.as_u16(), body, began, ended })
            }
        }
    }
}

fn keep(jar: &mut BTreeMap<String, String>, headers: &HeaderMap) {
    for cookie in headers.get_all(SET_COOKIE) {
        let pair = cookie.to_str().ok().and_then(|cookie| cookie.split(';').next());
        if let Some((name, value)) = pair.and_then(|pair| pair.trim().split_once('=')) {
            jar.insert(name.to_owned(), value.to_owned());
        }
    }
}
