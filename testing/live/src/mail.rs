//! A mail service that counts by key what it is sent, and fails as it is told.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::net::TcpListener;
use tokio::sync::Notify;
use tokio::task::{JoinHandle, JoinSet};

/// What it does with what comes from now on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mood {
    /// It answers 200.
    Takes,
    /// After a while.
    TakesAfter(Duration),
    /// With that status.
    Answers(u16),
    /// Says nothing until it is told to, and takes it then.
    Holds,
}

/// What was sent with one key.
#[derive(Clone, Debug, Default)]
pub struct Sent {
    /// How often it came.
    pub seen: u32,
    /// How often it was answered with 200.
    pub taken: u32,
    /// How many at one time.
    pub now: u32,
    /// The most at one time.
    pub at_once: u32,
    /// The last message.
    pub message: Value,
}

#[derive(Debug, Default)]
struct State {
    sent: Mutex<BTreeMap<i64, Sent>>,
    mood: Mutex<Option<Mood>>,
    let_go: Notify,
}

/// The mail service.
#[derive(Debug)]
pub struct Mail {
    /// Where it listens.
    pub addr: SocketAddr,
    state: Arc<State>,
    serving: JoinHandle<()>,
}

impl Drop for Mail {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

/// One that is being answered.
struct Answering<'a>(&'a State, i64);

impl Drop for Answering<'_> {
    fn drop(&mut self) {
        self.0.sent().get_mut(&self.1).unwrap().now -= 1;
    }
}

impl State {
    fn sent(&self) -> MutexGuard<'_, BTreeMap<i64, Sent>> {
        self.sent.lock().unwrap()
    }

    fn mood(&self) -> Mood {
        self.mood.lock().unwrap().unwrap_or(Mood::Takes)
    }

    async fn answer(&self, request: Request<Incoming>) -> StatusCode {
        let key = request.headers()["idempotency-key"].to_str().unwrap().parse().unwrap();
        assert_eq!((request.method().as_str(), request.uri().path()), ("POST", "/send"));
        assert_eq!(request.headers()["content-type"], "application/json");
        let Ok(body) = request.into_body().collect().await else {
            return StatusCode::BAD_REQUEST;
        };
        let (mood, let_go) = (self.mood(), self.let_go.notified());
        tokio::pin!(let_go);
        // From here on it is woken.
        let_go.as_mut().enable();
        {
            let mut sent = self.sent();
            let sent = sent.entry(key).or_default();
            sent.message = serde_json::from_slice(&body.to_bytes()).unwrap();
            sent.seen += 1;
            sent.now += 1;
            sent.at_once = sent.at_once.max(sent.now);
        }
        let _answering = Answering(self, key);
        match mood {
            Mood::Answers(status) => return StatusCode::from_u16(status).unwrap(),
            Mood::Takes => {}
            Mood::TakesAfter(time) => tokio::time::sleep(time).await,
            Mood::Holds => let_go.await,
        }
        self.sent().get_mut(&key).unwrap().taken += 1;
        StatusCode::OK
    }
}

impl Mail {
    /// Opens it.
    ///
    /// # Panics
    ///
    /// Without a free port.
    pub async fn open() -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let addr = listener.local_addr().unwrap();
        let state = Arc::new(State::default());
        let serving = tokio::spawn(serve(listener, Arc::clone(&state)));
        Self { addr, state, serving }
    }

    /// Where messages are sent to.
    pub fn url(&self) -> String {
        format!("http://{}/send", self.addr)
    }

    /// From now on.
    pub fn is(&self, mood: Mood) {
        *self.state.mood.lock().unwrap() = Some(mood);
    }

    /// Takes what it holds.
    pub fn lets_go(&self) {
        self.state.let_go.notify_waiters();
    }

    /// What it was sent, by key.
    pub fn sent(&self) -> BTreeMap<i64, Sent> {
        self.state.sent().clone()
    }

    /// How many it is holding, or answering otherwise.
    pub fn in_hand(&self) -> u32 {
        self.sent().values().map(|sent| sent.now).sum()
    }
}

async fn serve(listener: TcpListener, state: Arc<State>) {
    // They end with this one.
    let mut connections = JoinSet::new();
    while let Ok((stream, _)) = listener.accept().await {
        let state = Arc::clone(&state);
        connections.spawn(async move {
            let answer = service_fn(|request| {
                let state = Arc::clone(&state);
                async move {
                    let mut answer = Response::new(Full::<Bytes>::from("noted"));
                    *answer.status_mut() = state.answer(request).await;
                    Ok::<_, Infallible>(answer)
                }
            });
            // A client that is killed is no failure of this one.
            let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), answer).await;
        });
    }
}
