//! What a decision, a counted request and a replay cost.
//! `cargo bench -p benches --bench autoscale_policy`
#![allow(clippy::unwrap_used, reason = "a panic ends a benchmark well enough")]
#![allow(clippy::disallowed_methods, reason = "wall time is what is measured here")]

use std::cell::{Cell, RefCell};
use std::convert::Infallible;
use std::future::{Ready, ready};
use std::hint::black_box;
use std::pin::pin;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use autoscale_policy::sim::{Generator, World};
use autoscale_policy::{
    EpochMillis, InFlight, InFlightLayer, Instance, InstanceId, Metric, Observation, Phase,
    Policy, Predictive, Sample, Scaler, Target, TargetTracking, Threshold, Usage,
};
use benches::{Counting, allocations, answer_count_request, compare_blocks, instructions_over};
use tower_layer::Layer;
use tower_service::Service;

#[global_allocator]
static ALLOCATOR: Counting = Counting;

const DECISIONS: [(&str, f64); 7] = [
    ("threshold 1 20", 1_000.0),
    ("predictive 1 20", 1_000.0),
    ("hpa 1 20", 1_000.0),
    ("threshold 3 1000", 10_000.0),
    ("predictive 3 1000", 10_000.0),
    ("hpa 3 1000", 10_000.0),
    ("hpa-each 3 1000", 10_000.0),
];

fn main() {
    if answer_count_request(operation) {
        return;
    }
    println!(
        "A decision, thread CPU time, medians of 60 blocks (policy, metrics, instances):\n"
    );
    println!("{:24} {:>10} {:>14} {:>18}", "", "ns", "instructions", "aim");
    for (name, aim) in DECISIONS {
        let subject = operation(name);
        let compared = compare_blocks(200, &subject, &subject);
        let instructions = instructions_over(name, 200);
        let instructions =
            instructions.map_or_else(|| "no valgrind".to_owned(), |n| format!("{n:.0}"));
        println!(
            "{name:24} {:>10.0} {instructions:>14} {:>18}",
            compared.subject,
            format!("at most {aim:.0} ns")
        );
    }

    let compared = compare_blocks(20_000, operation("counted"), operation("bare"));
    println!(
        "\nA request through InFlightLayer: {:.1} ns more than without (A/A {:.3}; aim: at most 100 ns)",
        compared.more, compared.a_to_a
    );
    let counted = operation("counted");
    let count = allocations(|| (0..10_000).for_each(&counted));
    println!("Allocations in 10,000 of them: {count}  (aim: 0)");
    assert_eq!(count, 0, "the layer allocates");

    println!("\n14 days in steps of one minute under one policy, a decision every 15 s:\n");
    let world = World::default();
    let load = Generator::Steps.load(1, 14);
    let policies: [(&str, Policy); 3] = [
        ("threshold", Threshold::default().into()),
        ("hpa", world.hpa([Metric::cpu(70)])),
        ("predictive", Predictive::in_flight(world.slots).into()),
    ];
    for (name, policy) in policies {
        let mut times: Vec<Duration> = (0..11)
            .map(|_| {
                let began = Instant::now();
                black_box(world.run(&load, &policy).unwrap());
                began.elapsed()
            })
            .collect();
        times.sort();
        println!("{name:24} {:>10.1?}  (aim: at most 250 ms)", times[5]);
    }
}

fn operation(name: &str) -> Box<dyn Fn(usize)> {
    match name {
        "counted" => {
            let service = InFlightLayer::new(InFlight::new()).layer(Inner);
            request(service)
        }
        "bare" => request(Inner),
        name => decision(name),
    }
}

/// A service that answers at once.
#[derive(Clone)]
struct Inner;

impl Service<usize> for Inner {
    type Response = usize;
    type Error = Infallible;
    type Future = Ready<Result<usize, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, n: usize) -> Self::Future {
        ready(Ok(black_box(n)))
    }
}

fn request<S>(service: S) -> Box<dyn Fn(usize)>
where
    S: Service<usize, Response = usize> + 'static,
{
    let service = RefCell::new(service);
    Box::new(move |n| {
        let answer = pin!(service.borrow_mut().call(n));
        let polled = answer.poll(&mut Context::from_waker(Waker::noop()));
        assert!(polled.is_ready());
    })
}

fn policy(name: &str, metrics: usize) -> Policy {
    let others =
        ["a", "b"].map(|name| Metric::new(name, Target::PodsAverage(10.0))).into_iter();
    match name {
        "threshold" if metrics == 1 => Threshold::default().into(),
        // One a metric.
        "threshold" => Policy::MaxOf {
            of: ["cpu", "a", "b"]
                .map(|metric| {
                    let metric = metric.into();
                    Threshold { metric, max: 2_000, ..Threshold::default() }.into()
                })
                .into(),
        },
        "predictive" => Predictive { max: 2_000, ..Predictive::in_flight(8.0) }.into(),
        _ => TargetTracking {
            max: 2_000,
            // What instances say is made once.
            max_age: Duration::from_secs(1_000_000_000),
            ..TargetTracking::new([Metric::cpu(70)].into_iter().chain(others.take(metrics - 1)))
        }
        .into(),
    }
}

/// "policy metrics instances"
fn decision(name: &str) -> Box<dyn Fn(usize)> {
    let words: Vec<&str> = name.split(' ').collect();
    let [name, metrics, instances] = words[..] else { unreachable!("{name} has three words") };
    let (metrics, instances): (usize, u64) =
        (metrics.parse().unwrap(), instances.parse().unwrap());
    let start = EpochMillis::new(1_790_000_000_000);
    let fleet: Vec<Instance> = (0..instances)
        .map(|n| Instance::new(InstanceId::new(n), Phase::Ready, EpochMillis::new(0)))
        .collect();
    let scaler = RefCell::new(Scaler::new(policy(name, metrics)).unwrap());
    let each = name == "hpa-each";
    let window = Duration::from_secs(30);
    let usages: Vec<Usage> = fleet
        .iter()
        .map(|instance| Usage::new(instance.id, 0.69, start).over(window))
        .collect();
    let ticks = Cell::new(0_u32);
    Box::new(move |_| {
        ticks.set(ticks.get() + 1);
        let now = start + Duration::from_secs(15) * ticks.get();
        let sample = |metric, value| {
            if each {
                Sample::instances(metric, &usages, now)
            } else {
                Sample::fleet(metric, value, now)
            }
        };
        let all = [
            sample("cpu", 0.69),
            sample("a", 9.9 * instances as f64),
            sample("b", 9.8 * instances as f64),
            sample("in-flight", 5.5 * instances as f64),
        ];
        let observation = Observation::at(now).instances(&fleet).metrics(&all);
        black_box(scaler.borrow_mut().decide(black_box(&observation)));
    })
}
