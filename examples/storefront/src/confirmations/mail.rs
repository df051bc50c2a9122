//! The way to the mail service: an HTTP POST for each confirmation, with a key by which the
//! service knows one that it has seen.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use clap::Args;
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::{Bytes, Incoming};
use hyper::header::{CONTENT_TYPE, RETRY_AFTER};
use hyper::{Request, Response, Uri};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use serde::Serialize;
use tokio::time::timeout;

use super::outbox::Claim;
use super::verdict::{Answer, Silence};

/// How much of an answer's body is read, to keep the connection.
const BODY: usize = 64 * 1024;

/// Options that say how confirmations are sent.
#[derive(Args, Clone, Debug)]
pub(super) struct Mail {
    /// http://host:port/path of a mail service, which gets a POST for each confirmation.
    /// Without it, the row in `storefront.confirmations` is all there is.
    #[arg(long, value_name = "URL")]
    pub(super) mail: Option<MailUrl>,
    /// For how many milliseconds the mail service is waited for.
    #[arg(long, default_value_t = 5_000, value_parser = clap::value_parser!(u64).range(1..=600_000))]
    pub(super) mail_timeout: u64,
}

impl Mail {
    /// For how long sending may take.
    pub(super) fn patience(&self) -> Duration {
        Duration::from_millis(self.mail_timeout)
    }
}

/// Where the mail service takes them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct MailUrl(Uri);

impl FromStr for MailUrl {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let shape = || "write it as http://host:port/path; it is spoken to without TLS";
        let uri = Uri::from_str(text).map_err(|_| shape())?;
        let (Some("http"), Some(authority)) = (uri.scheme_str(), uri.authority()) else {
            return Err(shape().to_owned());
        };
        if authority.as_str().contains('@') || authority.host().is_empty() {
            return Err(
                "passwords in it are not sent, and would be shown; leave them out".into()
            );
        }
        Ok(Self(uri))
    }
}

impl fmt::Display for MailUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// What a confirmation says.
#[derive(Debug, Serialize)]
struct Message<'a> {
    order_id: i64,
    user_id: i64,
    product_id: i64,
    quantity: i64,
    placed_at: &'a str,
}

/// Sends confirmations. Clones share their connections.
#[derive(Clone, Debug)]
pub(super) struct Post {
    client: Client<HttpConnector, Full<Bytes>>,
    to: Option<Uri>,
    patience: Duration,
}

impl Post {
    pub(super) fn new(mail: &Mail) -> Self {
        Self {
            client: Client::builder(TokioExecutor::new()).build_http(),
            to: mail.mail.clone().map(|url| url.0),
            patience: mail.patience(),
        }
    }

    /// Sends one. The service may see the same one again, with the same key.
    ///
    /// # Cancel safety
    ///
    /// Dropped, it may be sent or not.
    pub(super) async fn send(&self, claim: &Claim) -> Answer {
        let Some(to) = &self.to else { return Answer::Accepted };
        match timeout(self.patience, self.exchange(to, claim)).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(_)) => Answer::None(Silence::Broken),
            Err(_) => Answer::None(Silence::Late),
        }
    }

    async fn exchange(
        &self,
        to: &Uri,
        claim: &Claim,
    ) -> Result<Answer, hyper_util::client::legacy::Error> {
        let message = Message {
            order_id: claim.job.order,
            user_id: claim.job.user,
            product_id: claim.product,
            quantity: claim.quantity,
            placed_at: &claim.placed_at,
        };
        let body = serde_json::to_vec(&message).expect("numbers and a text are JSON");
        let request = Request::post(to)
            .header(CONTENT_TYPE, "application/json")
            .header("idempotency-key", claim.job.order)
            .body(Full::new(Bytes::from(body)))
            .expect("the URL was looked at");
        let response = self.client.request(request).await?;
        let answer = answer(&response);
        // The status is the answer. What is behind it is read for the connection's sake only.
        let _ = Limited::new(response.into_body(), BODY).collect().await;
        Ok(answer)
    }
}

fn answer(response: &Response<Incoming>) -> Answer {
    if response.status().is_success() {
        return Answer::Accepted;
    }
    let wait = response.headers().get(RETRY_AFTER);
    let wait = wait.and_then(|seconds| seconds.to_str().ok()?.trim().parse().ok());
    Answer::Status(response.status().as_u16(), wait.map(Duration::from_secs))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mail_service_is_a_plain_http_url() {
        for good in ["http://127.0.0.1:80/send", "http://mail", "http://[::1]:8080/a?b=c"] {
            assert!(good.parse::<MailUrl>().is_ok(), "{good}");
        }
        for bad in ["", "mail", "https://mail/", "http://user:sesame@mail/", "/send"] {
            let error = bad.parse::<MailUrl>().unwrap_err();
            assert!(!error.contains("sesame"), "{error}");
        }
    }
}
