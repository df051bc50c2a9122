//! Asks the origin.

use std::error::Error;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use http::header::{HeaderValue, VIA};
use http::{Request, Response, Version};
use hyper::body::Incoming;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::client::legacy::{self, Client};
use hyper_util::rt::{TokioExecutor, TokioTimer};
use tower::Service;

use crate::address::Address;
use crate::patient::Patient;
use crate::sent::{Progress, Sent};

/// How long an origin is waited for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Patience {
    /// For a connection.
    pub(crate) connect: Duration,
    /// For the head of an answer, and for each piece of it.
    pub(crate) read: Duration,
}

/// The origin server. Clones share their connections.
#[derive(Clone, Debug)]
pub(crate) struct Origin {
    client: Client<HttpConnector, Sent<Incoming>>,
    address: Arc<Address>,
    read: Duration,
}

impl Origin {
    pub(crate) fn new(address: Address, patience: Patience) -> Self {
        let mut connector = HttpConnector::new();
        connector.set_nodelay(true);
        connector.set_connect_timeout(Some(patience.connect));
        let client = Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            // Below what servers keep idle connections for, so that we close them first.
            .pool_idle_timeout(Duration::from_secs(30))
            .build(connector);
        Self { client, address: Arc::new(address), read: patience.read }
    }
}

impl Service<Request<Incoming>> for Origin {
    type Response = Response<Patient<Incoming>>;
    type Error = OriginError;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, OriginError>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), OriginError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, mut request: Request<Incoming>) -> Self::Future {
        *request.uri_mut() = self.address.uri(request.uri().path_and_query());
        let via = if request.version() == Version::HTTP_2 { "2" } else { "1.1" };
        let via = format!("{via} http-cache-proxy");
        let via = HeaderValue::from_str(&via).expect("a version and a name are plain");
        request.headers_mut().append(VIA, via);
        *request.version_mut() = Version::HTTP_11;
        let (progress, read) = (Progress::begin(), self.read);
        let answer = self.client.request(request.map(|body| Sent::new(body, progress.clone())));
        Box::pin(async move {
            match progress.within(read, answer).await {
                Some(Ok(answer)) if answer.status().is_informational() => {
                    Err(OriginError::Switched)
                }
                Some(Ok(answer)) => Ok(answer.map(|body| Patient::new(body, read))),
                Some(Err(error)) => Err(OriginError::Failed(error)),
                None => Err(OriginError::Late(read)),
            }
        })
    }
}

/// Why the origin has not answered.
#[derive(Debug)]
pub(crate) enum OriginError {
    Failed(legacy::Error),
    Late(Duration),
    /// It goes over to another protocol, which nobody has asked for.
    Switched,
}

impl fmt::Display for OriginError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Failed(_) => f.write_str("the origin has failed"),
            Self::Switched => f.write_str("the origin goes over to another protocol"),
            Self::Late(limit) => write!(f, "the origin has not answered in {limit:?}"),
        }
    }
}

impl Error for OriginError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::Failed(cause) => Some(cause),
            Self::Late(_) | Self::Switched => None,
        }
    }
}
