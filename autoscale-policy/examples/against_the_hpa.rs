//! Replays a week of jumps under the preset, Kubernetes' HPA and `Predictive`.
//!
//! `cargo run --release -p autoscale-policy --features sim --example against_the_hpa`

use autoscale_policy::sim::{Frontier, Generator, World};
use autoscale_policy::{Metric, Policy, Predictive, Target, Threshold};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let world = World::default();
    let load = Generator::Steps.load(7, 7);
    let in_flight = Metric::new("in-flight", Target::PodsAverage(0.7 * world.slots));
    let policies: [(&str, Policy); 4] = [
        ("threshold, the preset", Threshold::default().into()),
        ("HPA on CPU, 70 %", world.hpa([Metric::cpu(70)])),
        ("HPA on in-flight, 70 %", world.hpa([in_flight])),
        ("predictive", Predictive::in_flight(world.slots).into()),
    ];
    let cpu = Frontier::hpa_cpu(&world, &load)?;
    println!("{:24} {:>8} {:>6} {:>8} {:>22}", "", "slow", "cost", "changes", "to HPA on CPU");
    let mut slow = Vec::new();
    for (name, policy) in policies {
        let score = world.run(&load, &policy)?.score;
        println!(
            "{name:24} {:>6.2} % {:>6.2} {:>8} {:>22}",
            score.violation * 100.0,
            score.cost,
            score.actions,
            cpu.standing(&score)
        );
        slow.push(score.violation);
    }
    // The metric matters most: CPU saturates, requests in flight do not.
    assert!(slow[2] < slow[1] && slow[3] < slow[2]);
    Ok(())
}
