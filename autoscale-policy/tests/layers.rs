//! The layers against mock services and on paused time.
#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

use std::convert::Infallible;
use std::pin::pin;
use std::task::Poll;
use std::time::Duration;

use autoscale_policy::{
    Actuator, DrainBodyError, DrainError, DrainLayer, DrainSettings, Drained, InFlight,
    InFlightLayer, Lifecycle, Readiness, ReadinessService, RecommendOnly, Scaler, Threshold,
};
use bytes::Bytes;
use http::{Request, Response, StatusCode, Version};
use http_body_util::{BodyExt, Full};
use tokio::time::{Instant, advance, sleep};
use tokio_test::{assert_pending, assert_ready, assert_ready_ok, task};
use tower::limit::ConcurrencyLimitLayer;
use tower::{ServiceBuilder, ServiceExt};
use tower_test::{assert_request_eq, mock};

const SECOND: Duration = Duration::from_secs(1);

#[tokio::test(start_paused = true)]
async fn counts_what_is_under_way() {
    let load = InFlight::new();
    let (mut service, mut inner) =
        mock::spawn_layer::<u64, u64, _>(InFlightLayer::new(load.clone()));
    assert_ready_ok!(service.poll_ready());
    let mut first = task::spawn(service.call(1));
    assert_ready_ok!(service.poll_ready());
    let second = task::spawn(service.call(2));
    assert_eq!(load.now(), 2);
    assert_pending!(first.poll());
    assert_request_eq!(inner, 1).send_response(10);
    assert_eq!(assert_ready!(first.poll()).unwrap(), 10);
    // Answered, though its future is still there.
    assert_eq!(load.now(), 1);
    // Given up.
    drop(second);
    assert_eq!(load.now(), 0);
}

#[tokio::test(start_paused = true)]
async fn readies_the_service_that_it_calls() {
    // ConcurrencyLimit panics when a clone that was never polled is called.
    let lifecycle = Lifecycle::new(DrainSettings::default()).unwrap();
    lifecycle.ready();
    let service = ServiceBuilder::new()
        .layer(DrainLayer::new(lifecycle))
        .layer(InFlightLayer::new(InFlight::new()))
        .layer(ConcurrencyLimitLayer::new(1))
        .service_fn(|_: Request<()>| async {
            Ok::<_, Infallible>(Response::new(Full::new(Bytes::new())))
        });
    for _ in 0..3 {
        let (a, b) = tokio::join!(
            service.clone().oneshot(Request::new(())),
            service.clone().oneshot(Request::new(()))
        );
        assert_eq!(
            (a.unwrap().status(), b.unwrap().status()),
            (StatusCode::OK, StatusCode::OK)
        );
    }
}

#[tokio::test(start_paused = true)]
async fn measures_averages_and_not_moments() {
    let load = InFlight::new();
    let mut meter = load.meter();
    // Four requests a second of 500 ms for ten seconds: two under way, on average.
    for _ in 0..10 {
        let tickets = [load.enter(), load.enter(), load.enter(), load.enter()];
        advance(SECOND / 2).await;
        drop(tickets);
        advance(SECOND / 2).await;
    }
    // None is under way at this moment.
    assert_eq!(load.now(), 0);
    let measured = meter.measure();
    assert!((measured.in_flight - 2.0).abs() < 1e-3, "{measured:?}");
    assert!((measured.arrivals - 4.0).abs() < 1e-3);
    let latency = measured.latency.unwrap();
    assert!(latency.abs_diff(SECOND / 2) < Duration::from_millis(1), "{latency:?}");
    assert!((measured.saturation(8.0) - 0.25).abs() < 1e-3);
    // One that is long counts while it is under way.
    let long = load.enter();
    advance(SECOND * 10).await;
    assert!((meter.measure().in_flight - 1.0).abs() < 1e-3);
    drop(long);
    advance(SECOND * 10).await;
    let quiet = meter.measure();
    assert!(quiet.in_flight < 1e-3 && quiet.latency.is_none());
}

#[test]
fn counts_right_from_many_threads() {
    let load = InFlight::new();
    let mut meter = load.meter();
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| (0..50_000).for_each(|_| drop(load.enter())));
        }
        for _ in 0..1_000 {
            // Four at a time, and never what a read of two halves would make of it.
            let measured = meter.measure();
            assert!(measured.in_flight < 1_000.0, "{measured:?}");
            assert!(load.now() <= 4);
        }
    });
    assert_eq!(load.now(), 0);
}

type Answer = Result<Response<Full<Bytes>>, Infallible>;

/// An instance whose requests take as long as their path says, in milliseconds.
async fn answer(request: Request<()>) -> Answer {
    let millis = request.uri().path()[1..].parse().unwrap();
    sleep(Duration::from_millis(millis)).await;
    Ok(Response::new(Full::from("done")))
}

fn request(millis: u64, version: Version) -> Request<()> {
    Request::get(format!("/{millis}")).version(version).body(()).unwrap()
}

fn lifecycle() -> Lifecycle {
    let settings =
        DrainSettings { propagation: SECOND, deadline: 3 * SECOND, ..DrainSettings::default() };
    Lifecycle::new(settings).unwrap()
}

#[tokio::test(start_paused = true)]
async fn readiness_follows_the_life() {
    let lifecycle = lifecycle();
    let service = ReadinessService::new(lifecycle.clone());
    let status = || async {
        let answer = service.clone().oneshot(Request::new(())).await.unwrap();
        (answer.status().as_u16(), answer.into_body())
    };
    assert_eq!(status().await, (503, "starting\n".to_owned()));
    lifecycle.warming();
    assert_eq!(status().await, (503, "warming\n".to_owned()));
    lifecycle.ready();
    assert_eq!(status().await, (200, "ready\n".to_owned()));
    // Not back.
    lifecycle.warming();
    assert_eq!(lifecycle.readiness(), Readiness::Ready);
    let drain = tokio::spawn({
        let lifecycle = lifecycle.clone();
        async move { lifecycle.drain().await }
    });
    tokio::task::yield_now().await;
    assert_eq!(status().await, (503, "draining\n".to_owned()));
    lifecycle.ready();
    assert_eq!(lifecycle.readiness(), Readiness::Draining);
    assert_eq!(drain.await.unwrap(), Drained { cut_off: 0 });
}

#[tokio::test(start_paused = true)]
async fn the_status_of_not_ready_is_a_setting() {
    let settings = DrainSettings { not_ready: StatusCode::NOT_FOUND, ..Default::default() };
    let lifecycle = Lifecycle::new(settings).unwrap();
    assert_eq!(ReadinessService::new(lifecycle).answer().status(), StatusCode::NOT_FOUND);
    let ready = DrainSettings { not_ready: StatusCode::OK, ..Default::default() };
    let error = Lifecycle::new(ready).unwrap_err();
    assert!(matches!(error, DrainError::ReadyStatus(_)), "{error}");
    let short = DrainSettings { deadline: SECOND, propagation: SECOND, ..Default::default() };
    let error = Lifecycle::new(short).unwrap_err().to_string();
    assert!(
        error.starts_with("drain.deadline = 1s: is not above drain.propagation"),
        "{error}"
    );
}

#[tokio::test(start_paused = true)]
async fn serves_on_while_the_word_spreads_and_refuses_then() {
    let lifecycle = lifecycle();
    lifecycle.ready();
    let service =
        ServiceBuilder::new().layer(DrainLayer::new(lifecycle.clone())).service_fn(answer);
    let ask = |version| service.clone().oneshot(request(10, version));
    let before = ask(Version::HTTP_11).await.unwrap();
    assert!(before.headers().get("connection").is_none());
    drop(before);
    let began = Instant::now();
    let drain = tokio::spawn({
        let lifecycle = lifecycle.clone();
        async move { lifecycle.drain().await }
    });
    tokio::task::yield_now().await;
    let during = ask(Version::HTTP_11).await.unwrap();
    assert_eq!(during.status(), StatusCode::OK);
    assert_eq!(during.headers()["connection"], "close");
    assert_eq!(during.into_body().collect().await.unwrap().to_bytes(), "done");
    // HTTP/2 knows no such header.
    let during = ask(Version::HTTP_2).await.unwrap();
    assert!(during.headers().get("connection").is_none());
    drop(during);
    // One that is under way when it closes gets its answer.
    let long = tokio::spawn(service.clone().oneshot(request(2_500, Version::HTTP_11)));
    lifecycle.closing().await;
    assert_eq!(began.elapsed(), SECOND);
    // Its client may not have heard of it yet.
    let crossed = ask(Version::HTTP_2).await.unwrap();
    assert_eq!(crossed.status(), StatusCode::OK);
    drop(crossed);
    sleep(SECOND).await;
    let refused = ask(Version::HTTP_11).await.unwrap();
    assert_eq!(refused.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(refused.headers()["connection"], "close");
    drop(refused);
    let long = long.await.unwrap().unwrap();
    assert_eq!(long.status(), StatusCode::OK);
    // Its body is under way, too.
    sleep(SECOND / 10).await;
    assert!(!drain.is_finished());
    drop(long);
    assert_eq!(drain.await.unwrap(), Drained { cut_off: 0 });
    assert!(began.elapsed() < 3 * SECOND);
}

#[tokio::test(start_paused = true)]
async fn at_the_deadline_there_is_a_clear_end() {
    let lifecycle = lifecycle();
    lifecycle.ready();
    let service =
        ServiceBuilder::new().layer(DrainLayer::new(lifecycle.clone())).service_fn(answer);
    let long = tokio::spawn(service.clone().oneshot(request(60_000, Version::HTTP_11)));
    tokio::task::yield_now().await;
    let began = Instant::now();
    assert_eq!(lifecycle.drain().await, Drained { cut_off: 1 });
    assert_eq!(began.elapsed(), 3 * SECOND);
    assert_eq!(long.await.unwrap().unwrap().status(), StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!((began.elapsed(), lifecycle.under_way()), (3 * SECOND, 0));
}

#[tokio::test(start_paused = true)]
async fn a_body_that_never_ends_ends_at_the_deadline() {
    #[derive(Default)]
    struct Endless;
    impl http_body::Body for Endless {
        type Data = Bytes;
        type Error = Infallible;
        fn poll_frame(
            self: std::pin::Pin<&mut Self>,
            _: &mut std::task::Context<'_>,
        ) -> Poll<Option<Result<http_body::Frame<Bytes>, Infallible>>> {
            Poll::Pending
        }
    }
    let lifecycle = lifecycle();
    let service = ServiceBuilder::new()
        .layer(DrainLayer::new(lifecycle.clone()))
        .service_fn(|_: Request<()>| async { Ok::<_, Infallible>(Response::new(Endless)) });
    let answer = service.oneshot(Request::new(())).await.unwrap();
    let body = tokio::spawn(answer.into_body().collect());
    tokio::task::yield_now().await;
    assert_eq!(lifecycle.drain().await, Drained { cut_off: 1 });
    let error = body.await.unwrap().unwrap_err();
    assert!(matches!(error, DrainBodyError::CutOff), "{error}");
}

#[tokio::test(start_paused = true)]
async fn a_second_drain_joins_the_first_and_its_deadline() {
    let lifecycle = lifecycle();
    lifecycle.ready();
    let service =
        ServiceBuilder::new().layer(DrainLayer::new(lifecycle.clone())).service_fn(answer);
    let long = tokio::spawn(service.oneshot(request(60_000, Version::HTTP_11)));
    tokio::task::yield_now().await;
    let began = Instant::now();
    {
        // Begun, and dropped.
        let mut first = pin!(lifecycle.drain());
        assert!(tokio::time::timeout(2 * SECOND, first.as_mut()).await.is_err());
    }
    let (a, b) = tokio::join!(lifecycle.drain(), lifecycle.drain());
    assert_eq!((a, b), (Drained { cut_off: 1 }, Drained { cut_off: 1 }));
    assert_eq!(began.elapsed(), 3 * SECOND);
    drop(long);
}

#[tokio::test]
async fn a_recommendation_changes_nothing() {
    let told = std::sync::Mutex::new(Vec::new());
    let actuator = RecommendOnly::new(|from, to| told.lock().unwrap().push((from, to)));
    let mut scaler = Scaler::new(Threshold::default()).unwrap();
    let start = autoscale_policy::EpochMillis::new(1_790_000_000_000);
    let fleet = [1, 2, 3, 4].map(|id| {
        let id = autoscale_policy::InstanceId::new(id);
        autoscale_policy::Instance::new(id, autoscale_policy::Phase::Ready, start)
    });
    for tick in 1..4 {
        let now = start + tick * 15 * SECOND;
        let metrics = [autoscale_policy::Sample::cpu(0.9, now)];
        let decision = scaler.decide(
            &autoscale_policy::Observation::at(now).instances(&fleet).metrics(&metrics),
        );
        let autoscale_policy::Action::ScaleTo(to) = decision.action else {
            // A cooldown began, though nothing was changed.
            panic!("{decision}")
        };
        scaler.submitted(to);
        let Ok(taken) =
            actuator.set(&autoscale_policy::Resize::new(decision.current, to)).await;
        scaler.applied(now, taken);
    }
    assert_eq!(*told.lock().unwrap(), [(4, 6); 3]);
}

#[cfg(target_os = "linux")]
mod cpu {
    use std::fs;
    use std::hint::black_box;

    use autoscale_policy::{CgroupCpu, ProcessCpu, SourceError};

    fn burn() {
        let mut x = 1_u64;
        for _ in 0..20_000_000 {
            x = black_box(x.wrapping_mul(3));
        }
        black_box(x);
    }

    #[test]
    fn a_process_that_computes_uses_cpu() {
        let mut cpu = ProcessCpu::of(1.0);
        assert_eq!(cpu.utilisation().unwrap(), None);
        burn();
        let busy = cpu.utilisation().unwrap().unwrap();
        // Other tests of this process compute, too.
        assert!(busy > 0.05, "{busy}");
    }

    #[test]
    fn a_cgroup_is_read_with_its_quota() {
        let folder = std::env::temp_dir().join(format!("cgroup-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        let put = |file: &str, text: &str| fs::write(folder.join(file), text).unwrap();
        let missing = CgroupCpu::at(&folder).unwrap_err();
        assert!(matches!(missing, SourceError::Unreadable(..)), "{missing}");
        put("cpu.stat", "usage_usec 1000000\nuser_usec 1\n");
        put("cpu.max", "50000 100000\n");
        let mut cpu = CgroupCpu::at(&folder).unwrap();
        assert_eq!(cpu.utilisation().unwrap(), None);
        put("cpu.stat", "usage_usec 3000000\n");
        // Two seconds of half a core in less than a minute.
        let half = cpu.utilisation().unwrap().unwrap();
        assert!(half > 4.0 / 60.0, "{half}");
        put("cpu.max", "max 100000\n");
        put("cpu.stat", "usage_usec 3000000\n");
        assert_eq!(cpu.utilisation().unwrap(), Some(0.0));
        // A counter that was started anew is no figure, and no negative one.
        put("cpu.stat", "usage_usec 5\n");
        assert_eq!(cpu.utilisation().unwrap(), None);
        put("cpu.max", "all 100000\n");
        let strange = cpu.utilisation().unwrap_err().to_string();
        assert!(strange.ends_with("cpu.max: there is no quota and period"), "{strange}");
        put("cpu.stat", "nothing\n");
        let strange = cpu.utilisation().unwrap_err().to_string();
        assert!(strange.ends_with("cpu.stat: there is no figure `usage_usec`"), "{strange}");
        fs::remove_dir_all(&folder).unwrap();
    }
}
