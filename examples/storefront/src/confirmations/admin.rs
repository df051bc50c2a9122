//! What the process that looks after workers tells its operator, on an address of its own.

use std::fmt::Write as _;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use autoscale_policy::{Instance, LocalProcesses, Phase};
use axum::extract::State;
use axum::http::header::CONTENT_TYPE;
use axum::response::IntoResponse;
use axum::routing::get;
use axum::{Json, Router};
use futures_util::future::join_all;
use serde::Serialize;
use tokio::net::TcpListener;
use tokio::time::{Instant, timeout};

use super::counts::Told;
use super::outbox::{Figures, figures};
use super::places::Place;
use super::queue::Queue;

/// How long a shard is waited for.
const PATIENCE: Duration = Duration::from_secs(2);

pub(super) struct Admin {
    pub(super) processes: LocalProcesses,
    pub(super) told: Arc<Told>,
    pub(super) places: Vec<Place>,
    pub(super) queue: Queue,
}

/// A line of `GET /workers`.
#[derive(Debug, Serialize)]
struct Line {
    id: u64,
    process: Option<u32>,
    phase: &'static str,
    in_flight: u32,
}

/// Answers for as long as it is polled.
///
/// # Errors
///
/// When it cannot listen any more.
pub(super) async fn serve(listener: TcpListener, admin: Admin) -> io::Result<()> {
    let router = Router::new()
        .route("/workers", get(workers))
        .route("/metrics", get(metrics))
        .with_state(Arc::new(admin));
    axum::serve(listener, router).await
}

async fn workers(State(admin): State<Arc<Admin>>) -> Json<Vec<Line>> {
    let line = |instance: &Instance| Line {
        id: instance.id.number(),
        process: admin.processes.process_id(instance.id),
        phase: match instance.phase {
            Phase::Pending => "pending",
            Phase::Warming => "warming",
            Phase::Ready => "ready",
            Phase::Draining => "draining",
            Phase::Failed => "failed",
        },
        in_flight: admin
            .told
            .in_flight(instance.id.number(), Instant::now())
            .unwrap_or_default(),
    };
    Json(admin.processes.instances().iter().map(line).collect())
}

async fn metrics(State(admin): State<Arc<Admin>>) -> impl IntoResponse {
    let asked = admin.places.iter().map(async |place| {
        let figures = timeout(PATIENCE, figures(place)).await;
        (place.name.as_str(), figures.ok().and_then(Result::ok))
    });
    let (shards, depth) = tokio::join!(join_all(asked), admin.queue.depth());
    let mut text = String::new();
    of_shards(&mut text, &shards);
    let total = admin.told.total(Instant::now());
    let ready = admin.processes.instances().iter().filter(|i| i.phase == Phase::Ready).count();
    // Redis does not answer: there is no figure.
    let depth = depth.ok().map(|depth| ("queue_depth", "gauge", depth as u64));
    let figures = [
        ("in_hand", "gauge", total.in_flight),
        ("confirmed_total", "counter", total.confirmed),
        ("retried_total", "counter", total.retried),
        ("set_aside_total", "counter", total.set_aside),
        ("late_total", "counter", total.late),
        ("workers_ready", "gauge", ready as u64),
        ("worker_crashes_total", "counter", admin.processes.crashed()),
    ];
    for (name, kind, figure) in figures.into_iter().chain(depth) {
        let name = format!("storefront_confirmations_{name}");
        // Writing to a text does not fail.
        let _ = writeln!(text, "# TYPE {name} {kind}\n{name} {figure}");
    }
    ([(CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], text)
}

/// Of each shard that has answered, and whether it has.
fn of_shards(text: &mut String, shards: &[(&str, Option<Figures>)]) {
    let mut family = |name: &str, figure: &dyn Fn(&Figures) -> f64| {
        let name = format!("storefront_confirmations_{name}");
        let _ = writeln!(text, "# TYPE {name} gauge");
        for (shard, figures) in shards {
            if let Some(figures) = figures {
                let _ = writeln!(text, "{name}{{shard=\"{shard}\"}} {}", figure(figures));
            }
        }
    };
    family("waiting", &|figures| figures.waiting as f64);
    family("in_flight", &|figures| figures.claimed as f64);
    family("set_aside", &|figures| figures.set_aside as f64);
    family("oldest_seconds", &|figures| figures.oldest);
    let name = "storefront_confirmations_shard_up";
    let _ = writeln!(text, "# TYPE {name} gauge");
    for (shard, figures) in shards {
        let up = u8::from(figures.is_some());
        let _ = writeln!(text, "{name}{{shard=\"{shard}\"}} {up}");
    }
}
