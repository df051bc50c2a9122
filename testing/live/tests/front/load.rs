//! Clients that ask again and again, and never try twice.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{Method, Request};
use http_body_util::{BodyExt, Empty};
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use tokio::task::JoinSet;

#[derive(Clone)]
pub(crate) struct Load {
    uri: String,
    clients: usize,
    users: u64,
    method: Method,
}

#[derive(Debug, Default)]
pub(crate) struct Ended {
    pub(crate) answered: u64,
    pub(crate) failed: u64,
    pub(crate) slowest: Duration,
    /// The first of what went wrong.
    pub(crate) why: Option<String>,
}

pub(crate) struct Running {
    stop: Arc<AtomicBool>,
    clients: JoinSet<Ended>,
}

impl Load {
    pub(crate) fn new(url: &str, path: &str) -> Self {
        Self { uri: format!("{url}{path}"), clients: 12, users: 1, method: Method::GET }
    }

    pub(crate) fn clients(mut self, clients: usize) -> Self {
        self.clients = clients;
        self
    }

    /// They ask by POST.
    pub(crate) fn posts(mut self) -> Self {
        self.method = Method::POST;
        self
    }

    /// They ask by PUT.
    pub(crate) fn puts(mut self) -> Self {
        self.method = Method::PUT;
        self
    }

    /// Requests are of so many users.
    pub(crate) fn users(mut self, users: u64) -> Self {
        self.users = users;
        self
    }

    /// So many requests in all.
    pub(crate) async fn run(self, requests: u64) -> Ended {
        self.go(Arc::default(), requests).join().await
    }

    /// Until it is stopped.
    pub(crate) fn start(self) -> Running {
        self.go(Arc::default(), u64::MAX)
    }

    fn go(self, stop: Arc<AtomicBool>, requests: u64) -> Running {
        let mut clients = JoinSet::new();
        let sent = Arc::new(AtomicU64::new(0));
        for _ in 0..self.clients {
            let (load, stop, sent) = (self.clone(), Arc::clone(&stop), Arc::clone(&sent));
            clients.spawn(async move { load.client(&stop, &sent, requests).await });
        }
        Running { stop, clients }
    }

    async fn client(self, stop: &AtomicBool, sent: &AtomicU64, requests: u64) -> Ended {
        let client: Client<_, Empty<Bytes>> =
            Client::builder(TokioExecutor::new()).retry_canceled_requests(false).build_http();
        let mut ended = Ended::default();
        while !stop.load(Ordering::Relaxed) {
            let number = sent.fetch_add(1, Ordering::Relaxed);
            if number >= requests {
                break;
            }
            let user = (number % self.users).to_string();
            let request = Request::builder().method(&self.method).uri(&self.uri);
            let request = request.header("x-user", user).body(Empty::new());
            let began = Instant::now();
            let why = match client.request(request.unwrap()).await {
                Ok(answer) if answer.status().is_success() => {
                    answer.into_body().collect().await.err().map(|error| error.to_string())
                }
                Ok(answer) => Some(answer.status().to_string()),
                Err(error) => Some(format!("{error:?}")),
            };
            ended.slowest = ended.slowest.max(began.elapsed());
            match why {
                None => ended.answered += 1,
                Some(why) => {
                    ended.failed += 1;
                    ended.why.get_or_insert(why);
                }
            }
        }
        ended
    }
}

impl Running {
    pub(crate) async fn stop(self) -> Ended {
        self.stop.store(true, Ordering::Relaxed);
        self.join().await
    }

    async fn join(mut self) -> Ended {
        let mut all = Ended::default();
        while let Some(client) = self.clients.join_next().await {
            let client = client.unwrap();
            all.answered += client.answered;
            all.failed += client.failed;
            all.slowest = all.slowest.max(client.slowest);
            all.why = all.why.or(client.why);
        }
        all
    }
}
