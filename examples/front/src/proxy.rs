//! One request's way to a worker, and to another one if that is safe.

use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use autoscale_policy::Ticket;
use bytes::Bytes;
use http::header::{
    CONNECTION, CONTENT_LENGTH, HOST, HeaderName, HeaderValue, PROXY_AUTHENTICATE,
    PROXY_AUTHORIZATION, RETRY_AFTER, TE, TRAILER, TRANSFER_ENCODING, UPGRADE,
};
use http::{HeaderMap, Method, Request, Response, StatusCode, Uri, Version, request};
use http_body::{Body, Frame, SizeHint};
use http_body_util::{BodyExt, Either, Full};
use hyper::body::Incoming;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use tokio::time::{Instant, timeout_at};
use tower::retry::budget::{Budget, TpsBudget};

use crate::outlier::Verdict;
use crate::pool::{Pool, Taken};

type Sent = Either<Full<Bytes>, Incoming>;

/// How requests are passed on.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Settings {
    /// Until the head of the answer, all tries together.
    pub(crate) deadline: Duration,
    /// Until the head of the answer of one try, if there may be another.
    pub(crate) try_timeout: Duration,
    /// Tries of a request that has reached a worker.
    pub(crate) tries: usize,
    /// Bodies up to this length are kept, to be sent again.
    pub(crate) replay: u64,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            deadline: Duration::from_secs(10),
            try_timeout: Duration::from_secs(2),
            // All workers at once may die, of those that the default policy has.
            tries: 5,
            replay: 64 << 10,
        }
    }
}

/// What was done.
#[derive(Debug, Default)]
pub(crate) struct Counts {
    pub(crate) requests: AtomicU64,
    /// Sent again to another worker.
    pub(crate) retries: AtomicU64,
    /// Not sent again, because too many were.
    pub(crate) over_budget: AtomicU64,
    /// Answered by the front, since no worker did.
    pub(crate) unanswered: AtomicU64,
}

impl Counts {
    fn add(counter: &AtomicU64) {
        counter.fetch_add(1, Ordering::Relaxed);
    }
}

/// Passes requests on.
#[derive(Debug)]
pub(crate) struct Proxy {
    client: Client<HttpConnector, Sent>,
    pool: Arc<Pool>,
    /// Retries are at most a fifth of the requests, and ten a second.
    budget: TpsBudget,
    settings: Settings,
    /// Requests are kept together by this field.
    hash_by: HeaderName,
    pub(crate) counts: Counts,
}

impl Proxy {
    pub(crate) fn new(pool: Arc<Pool>, settings: Settings, hash_by: HeaderName) -> Self {
        let mut connector = HttpConnector::new();
        connector.set_nodelay(true);
        connector.set_connect_timeout(Some(Duration::from_millis(500)));
        let client = Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            // Below what workers keep idle connections for, so that we close them first.
            .pool_idle_timeout(Duration::from_secs(10))
            .build(connector);
        let budget = TpsBudget::new(Duration::from_secs(10), 10, 0.2);
        Self { client, pool, budget, settings, hash_by, counts: Counts::default() }
    }

    /// The answer of a worker, or one that says why there is none: 502, 503 or 504.
    pub(crate) async fn answer(
        &self,
        request: Request<Incoming>,
        peer: SocketAddr,
    ) -> Response<Answer> {
        Counts::add(&self.counts.requests);
        match self.passed_on(request, peer).await {
            Ok(answer) => answer,
            Err(status) => {
                Counts::add(&self.counts.unanswered);
                let text = match status {
                    StatusCode::GATEWAY_TIMEOUT => "no worker has answered in time\n",
                    StatusCode::SERVICE_UNAVAILABLE => "there is no worker\n",
                    StatusCode::BAD_REQUEST => "the body broke off\n",
                    _ => "a worker has failed\n",
                };
                let mut answer = Response::new(Answer::of(text));
                *answer.status_mut() = status;
                if status == StatusCode::SERVICE_UNAVAILABLE {
                    answer.headers_mut().insert(RETRY_AFTER, HeaderValue::from_static("1"));
                }
                answer
            }
        }
    }

    async fn passed_on(
        &self,
        request: Request<Incoming>,
        peer: SocketAddr,
    ) -> Result<Response<Answer>, StatusCode> {
        let deadline = Instant::now() + self.settings.deadline;
        self.budget.deposit();
        let (mut head, body) = request.into_parts();
        let key = head.headers.get(&self.hash_by).map(|value| fnv(value.as_bytes()));
        let body = self.kept(&head, body).await?;
        tidy(&mut head, peer);
        // As the body is, and the method: RFC 9110, section 9.2.2.
        let has_key = head.headers.contains_key("idempotency-key");
        let again = head.method.is_idempotent() || has_key;
        // A worker that is merely silent may still do what it was asked, over what somebody
        // else has done after the second try.
        let gives_up = head.method.is_safe() || has_key || cfg!(broken = "repeat_late");
        let (mut body, replay) = match body {
            Either::Left(bytes) => (None, Some(bytes)),
            Either::Right(streamed) => (Some(streamed), None),
        };
        let may_repeat = (again || cfg!(broken = "repeat_all")) && replay.is_some();
        let (mut tried, mut reached) = (Vec::new(), 0);
        let mut last = StatusCode::SERVICE_UNAVAILABLE;
        loop {
            let Some(worker) = self.pool.take(key, &tried, deadline).await else {
                return Err(last);
            };
            tried.push(worker.id);
            let sent = match (&replay, body.take()) {
                (Some(bytes), _) => Either::Left(Full::new(bytes.clone())),
                (None, Some(streamed)) => Either::Right(streamed),
                (None, None) => return Err(last),
            };
            let may_repeat = may_repeat && reached + 1 < self.settings.tries;
            let limit = match may_repeat && gives_up {
                true => deadline.min(Instant::now() + self.settings.try_timeout),
                false => deadline,
            };
            let request = addressed(&head, worker.address, sent);
            let ended = timeout_at(limit, self.client.request(request)).await;
            let (verdict, unsent) = match &ended {
                Ok(Ok(answer)) if !failed(answer.status()) => (Verdict::Fine, false),
                Ok(Err(error)) if error.is_connect() => (Verdict::Unreachable, true),
                _ => (Verdict::Failed, false),
            };
            self.pool.ended(&worker, verdict);
            // What was never sent may always be sent elsewhere, if it is still there.
            reached += usize::from(!unsent);
            let repeat = match verdict {
                Verdict::Fine => false,
                _ if cfg!(broken = "no_retry") => false,
                _ if unsent => replay.is_some(),
                _ if ended.is_err() => may_repeat && gives_up && self.within_budget(),
                _ => may_repeat && self.within_budget(),
            };
            match ended {
                _ if repeat => Counts::add(&self.counts.retries),
                Ok(Ok(answer)) => return Ok(answered(answer, worker)),
                Ok(Err(_)) => return Err(StatusCode::BAD_GATEWAY),
                Err(_) => return Err(StatusCode::GATEWAY_TIMEOUT),
            }
            last = StatusCode::BAD_GATEWAY;
        }
    }

    fn within_budget(&self) -> bool {
        let within = self.budget.withdraw();
        if !within {
            Counts::add(&self.counts.over_budget);
        }
        within
    }

    /// The whole body, if it is short; otherwise what streams.
    async fn kept(
        &self,
        head: &request::Parts,
        body: Incoming,
    ) -> Result<Either<Bytes, Incoming>, StatusCode> {
        if body.is_end_stream() {
            return Ok(Either::Left(Bytes::new()));
        }
        let length = head.headers.get(CONTENT_LENGTH).and_then(|length| length.to_str().ok());
        match length.and_then(|length| length.parse::<u64>().ok()) {
            Some(length) if length <= self.settings.replay => {
                let whole = body.collect().await.map_err(|_| StatusCode::BAD_REQUEST)?;
                Ok(Either::Left(whole.to_bytes()))
            }
            _ => Ok(Either::Right(body)),
        }
    }
}

/// Answers of a worker that another one may not give.
fn failed(status: StatusCode) -> bool {
    matches!(
        status,
        StatusCode::BAD_GATEWAY | StatusCode::SERVICE_UNAVAILABLE | StatusCode::GATEWAY_TIMEOUT
    )
}

fn addressed(head: &request::Parts, worker: SocketAddr, body: Sent) -> Request<Sent> {
    let path = head.uri.path_and_query().map_or("/", |path| path.as_str());
    let uri = Uri::builder().scheme("http").authority(worker.to_string()).path_and_query(path);
    let mut request = Request::new(body);
    *request.method_mut() = head.method.clone();
    *request.uri_mut() = uri.build().expect("an address and a path that was one");
    *request.headers_mut() = head.headers.clone();
    request
}

/// Leaves out what is between two neighbours (RFC 9110, section 7.6.1), and says who asks.
fn tidy(head: &mut request::Parts, peer: SocketAddr) {
    // HTTP/2 has it in the URI.
    if let (None, Some(host)) = (head.headers.get(HOST), head.uri.authority())
        && let Ok(host) = HeaderValue::from_str(host.as_str())
    {
        head.headers.insert(HOST, host);
    }
    hop_by_hop(&mut head.headers);
    head.version = Version::HTTP_11;
    // Set, not added to: nobody before us is believed.
    let from = HeaderValue::from_str(&peer.ip().to_string()).expect("an address is plain");
    head.headers.insert("x-forwarded-for", from);
    head.headers.insert("x-forwarded-proto", HeaderValue::from_static("http"));
    head.headers.remove("forwarded");
    if head.method == Method::TRACE {
        head.headers.remove(http::header::COOKIE);
        head.headers.remove(http::header::AUTHORIZATION);
    }
}

fn hop_by_hop(headers: &mut HeaderMap) {
    let named: Vec<HeaderName> = headers
        .get_all(CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .filter_map(|name| name.trim().parse().ok())
        .collect();
    for name in named {
        headers.remove(name);
    }
    let keep_alive = HeaderName::from_static("keep-alive");
    let proxy_connection = HeaderName::from_static("proxy-connection");
    for name in [
        CONNECTION,
        keep_alive,
        proxy_connection,
        PROXY_AUTHENTICATE,
        PROXY_AUTHORIZATION,
        TE,
        TRAILER,
        TRANSFER_ENCODING,
        UPGRADE,
    ] {
        headers.remove(name);
    }
}

fn answered(answer: Response<Incoming>, worker: Taken) -> Response<Answer> {
    let (mut head, body) = answer.into_parts();
    hop_by_hop(&mut head.headers);
    head.version = Version::HTTP_11;
    let body = Answer { streamed: Some(body), worker: Some(worker), ..Answer::default() };
    Response::from_parts(head, body)
}

/// FNV-1a.
fn fnv(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash: u64, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

pin_project_lite::pin_project! {
    /// An answer's body; its worker is busy, and its request in flight, until it ends.
    #[derive(Debug, Default)]
    pub(crate) struct Answer {
        #[pin]
        streamed: Option<Incoming>,
        text: Option<Bytes>,
        worker: Option<Taken>,
        ticket: Option<Ticket>,
    }
}

impl Answer {
    pub(crate) fn of(text: impl Into<Bytes>) -> Self {
        Self { text: Some(text.into()), ..Self::default() }
    }

    /// Counts until its end.
    pub(crate) fn counted(mut self, ticket: Ticket) -> Self {
        self.ticket = Some(ticket);
        self
    }
}

impl Body for Answer {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let this = self.project();
        let frame = match this.streamed.as_pin_mut() {
            Some(body) => ready!(body.poll_frame(cx)),
            None => this.text.take().map(|text| Ok(Frame::data(text))),
        };
        if frame.is_none() {
            (*this.worker, *this.ticket) = (None, None);
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        match &self.streamed {
            Some(body) => body.is_end_stream(),
            None => self.text.is_none(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.streamed {
            Some(body) => body.size_hint(),
            None => {
                SizeHint::with_exact(self.text.as_ref().map_or(0, |text| text.len() as u64))
            }
        }
    }
}
