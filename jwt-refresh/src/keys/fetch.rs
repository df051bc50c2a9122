use std::fmt;

use bytes::Bytes;
use http::header::{ACCEPT, CONTENT_LENGTH};
use http::{Request, Uri};
use http_body_util::{BodyExt, Empty, LengthLimitError, Limited};
use hyper_rustls::HttpsConnector;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;

use super::remote::{Fetch, FetchError};
use crate::error::{BoxError, BuildError};

/// Fetches by https with the certificates that the system trusts, and by http
/// where [`RemoteJwks`](crate::RemoteJwks) allows it.
///
/// It brings its own TLS settings and sets no provider for the process.
#[derive(Clone)]
pub struct HttpsFetch {
    client: Client<HttpsConnector<HttpConnector>, Empty<Bytes>>,
}

impl HttpsFetch {
    /// A client with no connection yet.
    ///
    /// # Errors
    ///
    /// When the system's certificates cannot be read.
    pub fn new() -> Result<Self, BuildError> {
        let connector = hyper_rustls::HttpsConnectorBuilder::new()
            .with_provider_and_native_roots(rustls::crypto::aws_lc_rs::default_provider())
            .map_err(|error| {
                BuildError::new(
                    "fetch",
                    format!("the system's certificates could not be read: {error}"),
                )
            })?
            .https_or_http()
            .enable_http1()
            .build();
        Ok(Self { client: Client::builder(TokioExecutor::new()).build(connector) })
    }
}

impl Fetch for HttpsFetch {
    async fn get(&self, url: &Uri, limit: usize) -> Result<Bytes, FetchError> {
        let failed = |error: BoxError| FetchError::Connection(error.into());
        let request = Request::get(url)
            .header(ACCEPT, "application/jwk-set+json, application/json")
            .body(Empty::new())
            .map_err(|error| failed(error.into()))?;
        let response =
            self.client.request(request).await.map_err(|error| failed(error.into()))?;
        if response.status() != http::StatusCode::OK {
            return Err(FetchError::Status(response.status().as_u16()));
        }
        let length = response.headers().get(CONTENT_LENGTH);
        let length = length.and_then(|length| length.to_str().ok()?.parse::<usize>().ok());
        if length.is_some_and(|length| length > limit) {
            return Err(FetchError::TooLong);
        }
        match Limited::new(response.into_body(), limit).collect().await {
            Ok(body) => Ok(body.to_bytes()),
            Err(error) if error.is::<LengthLimitError>() => Err(FetchError::TooLong),
            Err(error) => Err(failed(error)),
        }
    }
}

impl fmt::Debug for HttpsFetch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("HttpsFetch")
    }
}
