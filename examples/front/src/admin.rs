//! What the front tells its operator, on an address of its own.

use std::fmt::Write as _;
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use autoscale_policy::{InFlight, Instance, Phase};
use http::{Method, Request, Response, StatusCode};
use serde::Serialize;
use tokio::sync::Notify;
use tokio::time::Instant;

use crate::pool::Pool;
use crate::proxy::{Answer, Proxy};
use crate::workers::Workers;

/// What is asked of the front from outside.
#[derive(Debug, Default)]
pub(crate) struct Wishes {
    pub(crate) restart: Notify,
    pub(crate) restarting: AtomicBool,
    pub(crate) resize: Notify,
    /// The number of workers that was asked for last.
    pub(crate) count: AtomicU32,
}

/// A line of `GET /workers`.
#[derive(Debug, Serialize)]
struct Line {
    id: u64,
    process: Option<u32>,
    phase: &'static str,
    address: Option<String>,
    in_flight: u32,
    served: u64,
    left_out: bool,
}

/// Answers `GET /workers`, `GET /metrics`, `POST /restart` and `POST /resize?count=N`.
pub(crate) struct Admin {
    pub(crate) workers: Workers,
    pub(crate) pool: Arc<Pool>,
    pub(crate) proxy: Arc<Proxy>,
    pub(crate) load: InFlight,
    pub(crate) wishes: Arc<Wishes>,
    /// How many workers the policy allows.
    pub(crate) limits: RangeInclusive<u32>,
}

impl Admin {
    pub(crate) fn answer<B>(&self, request: &Request<B>) -> Response<Answer> {
        let (status, text) = match (request.method(), request.uri().path()) {
            (&Method::GET, "/workers") => (StatusCode::OK, self.list()),
            (&Method::GET, "/metrics") => (StatusCode::OK, self.metrics()),
            (&Method::POST, "/restart") => {
                self.wishes.restarting.store(true, Ordering::Release);
                self.wishes.restart.notify_one();
                (StatusCode::ACCEPTED, "the workers are replaced one by one\n".to_owned())
            }
            (&Method::POST, "/resize") => self.resize(request.uri().query()),
            _ => {
                let ways = "GET /workers, GET /metrics, POST /restart, POST /resize?count=N\n";
                (StatusCode::NOT_FOUND, ways.to_owned())
            }
        };
        let mut answer = Response::new(Answer::of(text));
        *answer.status_mut() = status;
        answer
    }

    /// So many workers, until the policy decides otherwise.
    fn resize(&self, query: Option<&str>) -> (StatusCode, String) {
        let count = query.and_then(|query| query.strip_prefix("count=")?.parse().ok());
        let Some(count) = count.filter(|count| self.limits.contains(count)) else {
            let (least, most) = (self.limits.start(), self.limits.end());
            let text =
                format!("count is a number from {least} to {most}, as the policy says\n");
            return (StatusCode::BAD_REQUEST, text);
        };
        self.wishes.count.store(count, Ordering::Release);
        self.wishes.resize.notify_one();
        (StatusCode::ACCEPTED, format!("{count} workers, until the policy decides\n"))
    }

    fn list(&self) -> String {
        let now = Instant::now();
        let (pool, seen) = (self.pool.workers(), self.workers.processes.instances());
        let line = |instance: &Instance| {
            let worker = pool.iter().find(|worker| worker.id == instance.id.number());
            Line {
                id: instance.id.number(),
                process: self.workers.processes.process_id(instance.id),
                phase: phase(instance.phase),
                address: worker.map(|worker| worker.address.to_string()),
                in_flight: worker.map_or(0, |worker| worker.in_flight()),
                served: worker.map_or(0, |worker| worker.served()),
                left_out: worker.is_some_and(|worker| worker.ejected(now)),
            }
        };
        let lines: Vec<_> = seen.iter().map(line).collect();
        serde_json::to_string(&lines).expect("numbers and names are JSON")
    }

    fn metrics(&self) -> String {
        let counts = &self.proxy.counts;
        let figures = [
            ("front_requests_total", counts.requests.load(Ordering::Relaxed)),
            ("front_retries_total", counts.retries.load(Ordering::Relaxed)),
            ("front_retries_over_budget_total", counts.over_budget.load(Ordering::Relaxed)),
            ("front_unanswered_total", counts.unanswered.load(Ordering::Relaxed)),
            ("front_ejections_total", self.pool.ejections()),
            ("front_crashes_total", self.workers.processes.crashed()),
            ("front_in_flight", self.load.now()),
            ("front_restarting", u64::from(self.wishes.restarting.load(Ordering::Acquire))),
        ];
        let mut text = String::new();
        for (name, figure) in figures {
            let kind = if name.ends_with("_total") { "counter" } else { "gauge" };
            // Writing to a text does not fail.
            let _ = writeln!(text, "# TYPE {name} {kind}\n{name} {figure}");
        }
        text
    }
}

fn phase(phase: Phase) -> &'static str {
    match phase {
        Phase::Pending => "pending",
        Phase::Warming => "warming",
        Phase::Ready => "ready",
        Phase::Draining => "draining",
        Phase::Failed => "failed",
    }
}
