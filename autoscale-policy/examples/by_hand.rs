//! Decides by hand: a busy fleet, a cooldown, a source that dies, a restart.
//!
//! `cargo run -p autoscale-policy --example by_hand`

use std::time::Duration;

use autoscale_policy::{
    Action, Bound, EpochMillis, Instance, InstanceId, Observation, Phase, Policy, Sample,
    Scaler,
};

fn fleet(ready: u64, warming: u64, since: EpochMillis) -> Vec<Instance> {
    let old = EpochMillis::new(0);
    let ready = (0..ready).map(|n| Instance::new(InstanceId::new(n), Phase::Ready, old));
    let warming =
        (0..warming).map(|n| Instance::new(InstanceId::new(100 + n), Phase::Warming, since));
    ready.chain(warming).collect()
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let policy = Policy::from_toml(
        r#"
        policy = "threshold"
        up = 0.7
        down = 0.3
        up-cooldown = "3m"
        "#,
    )?;
    let mut scaler = Scaler::new(policy.clone())?;
    let start = EpochMillis::new(1_790_000_000_000);
    let at = |seconds| start + Duration::from_secs(seconds);

    println!("A busy fleet:");
    let four = fleet(4, 0, start);
    let metrics = [Sample::cpu(0.82, at(0))];
    let out = scaler.decide(&Observation::at(at(0)).instances(&four).metrics(&metrics));
    println!("{out}\n");
    assert_eq!(out.action, Action::ScaleTo(6));
    scaler.submitted(6);
    scaler.applied(at(1), 6);

    println!("Two minutes later, two of them warming:");
    let six = fleet(4, 2, at(20));
    let metrics = [Sample::cpu(0.82, at(120))];
    let held = scaler.decide(&Observation::at(at(120)).instances(&six).metrics(&metrics));
    println!("{held}\n");
    assert_eq!((held.action, held.bound_by), (Action::Hold, Some(Bound::UpCooldown)));

    println!("A restart, from the state that was kept; the source cannot be asked:");
    let kept = serde_json::to_string(scaler.state())?;
    let mut scaler = Scaler::new(policy)?.resumed(serde_json::from_str(&kept)?);
    let six = fleet(6, 0, start);
    let metrics = [Sample::unreachable("cpu", at(150))];
    let blind = scaler.decide(&Observation::at(at(150)).instances(&six).metrics(&metrics));
    println!("{blind}\n");
    assert_eq!(blind.action, Action::Hold);

    println!("A configuration that cannot be meant:");
    let refused = Policy::from_toml("policy = \"threshold\"\nmin = 1\ndown = 0.4")
        .map_or_else(|error| error.to_string(), |_| "accepted".to_owned());
    println!("{refused}");
    assert!(refused.starts_with("threshold.down = 0.4: would flap"));
    Ok(())
}
