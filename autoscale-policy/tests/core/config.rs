//! Every contradiction is refused, with the value and the reason.

use autoscale_policy::{ConfigError, Policy};

/// What a text is refused with.
fn refusal(text: &str) -> String {
    match Policy::from_toml(text) {
        Ok(policy) => panic!("accepted: {policy:?}"),
        Err(error) => error.to_string(),
    }
}

#[test]
fn contradictions_are_refused_with_value_and_reason() {
    let cases = [
        ("policy='threshold'\nmin=5\nmax=4", "threshold.min = 5: is above threshold.max"),
        ("policy='threshold'\nmin=0\nmax=0", "threshold.max = 0: nothing could ever run"),
        ("policy='threshold'\nup=0.3", "threshold.down = 0.3: is not below threshold.up"),
        ("policy='threshold'\nup=-1.0", "threshold.up = -1.0: a utilisation must be"),
        ("policy='threshold'\nup=nan", "threshold.up = NaN: a utilisation must be"),
        ("policy='threshold'\nmin=1\ndown=0.4", "threshold.down = 0.4: would flap: from 2"),
        ("policy='threshold'\nmax-age='0s'", "threshold.max-age = 0ns: every sample"),
        ("policy='threshold'\nstep-up={instances=0}", "threshold.step-up = Instances(0)"),
        ("policy='threshold'\nper-instance=0.0", "threshold.per-instance = 0.0"),
        (
            "policy='threshold'\non-missing={fallback={instances=99,after=1}}",
            "threshold.on-missing.instances = 99: is outside of 2 to 20",
        ),
        ("policy='step-scaling'\nout=[]", "step-scaling.out = []: it could never"),
        (
            "policy='step-scaling'\nout=[{at=0.8,by={instances=1}},{at=0.7,by={instances=2}}]",
            "stairs on the way out must rise",
        ),
        (
            "policy='step-scaling'\nin=[{at=0.3,by={instances=1}},{at=0.4,by={instances=1}}]",
            "stairs on the way in must fall",
        ),
        (
            "policy='step-scaling'\nmin=1\nin=[{at=0.4,by={instances=1}}]",
            "step-scaling.in = 0.4: would flap",
        ),
        ("policy='queue-depth'\nper-instance=0.0", "queue-depth.per-instance = 0.0"),
        ("policy='queue-depth'\nrate=3.0", "rate and drain-within belong together"),
        (
            "policy='queue-depth'\nrate=3.0\ndrain-within='0s'",
            "queue-depth.drain-within = 0ns: no number of instances is that fast",
        ),
        (
            "policy='queue-depth'\nmin=1\nactivation=5.0",
            "queue-depth.activation = 5.0: decides between none and one, but min is above zero",
        ),
        ("policy='queue-depth'\nactivation=-5.0", "queue-depth.activation = -5.0"),
        ("policy='target-tracking'\nmetrics=[]", "there is nothing to keep at its target"),
        (
            "policy='target-tracking'\nmetrics=[{name='cpu',target={utilization=0}}]",
            "must be above zero",
        ),
        ("policy='target-tracking'\nmetrics=[{name='x',target={value=0.0}}]", "at least 0.001"),
        (
            "policy='target-tracking'\nmin=0",
            "target-tracking.min = 0: must be above zero where",
        ),
        ("policy='target-tracking'\ntolerance-up=-0.1", "target-tracking.tolerance-up = -0.1"),
        (
            "policy='target-tracking'\nbehavior={out={window='2h',paces=[]}}",
            "target-tracking.behavior.out.window = 7200s: at most one hour",
        ),
        (
            "policy='target-tracking'\nbehavior={in={window='5m',paces=[]}}",
            "target-tracking.behavior.in.paces = []: without a pace nothing is allowed",
        ),
        (
            "policy='target-tracking'\nbehavior={out={window='0s',paces=[{by={instances=1},period='31m'}]}}",
            "target-tracking.behavior.out.paces.period = 1860s",
        ),
        ("policy='predictive'\nmin=0", "predictive.min = 0: must be above zero"),
        ("policy='predictive'\ntarget=1.1", "predictive.target = 1.1: is above full use"),
        ("policy='predictive'\nconfidence=-1.0", "predictive.confidence = -1.0"),
        ("policy='predictive'\ndead-band=1.0", "predictive.dead-band = 1.0"),
        ("policy='predictive'\nevery='2m'", "predictive.every = 120s: must be above zero, and"),
        ("policy='max-of'\nof=[]", "max-of.of = []: there is nothing to choose from"),
        ("policy='only-out'\nbase={policy='threshold',min=30}", "only-out.threshold.min = 30"),
        (
            "policy='schedule'\nmin=1\nmax=5\nwindows=[]",
            "schedule.windows = []: a schedule without a window says nothing",
        ),
        (
            "policy='schedule'\nmin=1\nmax=5\nwindows=[{cron='0 8 * * *',lasts='1h',instances=9}]",
            "schedule.windows.instances = 9: is outside of 1 to 5",
        ),
        (
            "policy='schedule'\nmin=1\nmax=5\nwindows=[{cron='0 25 * * *',lasts='1h',instances=2}]",
            "schedule.windows.cron = \"0 25 * * *\"",
        ),
        (
            "policy='schedule'\nmin=1\nmax=5\nwindows=[{cron='0 8 * * *',time-zone='Mars/Dome',lasts='1h',instances=2}]",
            "schedule.windows.time-zone = \"Mars/Dome\"",
        ),
        ("policy='threshold'\nmin=0", "threshold.min = 0: must be above zero where the metric"),
        ("policy='step-scaling'\nmin=0", "step-scaling.min = 0: must be above zero where"),
        ("policy='threshold'\nup=70.0", "threshold.up = 70.0: is 7000 % of full use; 70 % is"),
        (
            "policy='step-scaling'\nout=[{at=70.0,by={instances=1}}]",
            "step-scaling.out.at = 70.0: is 7000 % of full use",
        ),
        ("policy='threshold'\nwarm-up='0s'", "threshold.warm-up = 0ns: every instance that"),
        ("policy='predictive'\nwarm-up='2days'", "predictive.warm-up = 172800s: no instance"),
        (
            "policy='threshold'\non-missing={fallback={instances=9,after=0}}",
            "threshold.on-missing.after = 0: would act while there are samples",
        ),
        (
            "policy='threshold'\nstep-up={percent=inf}",
            "threshold.step-up = Percent(inf): must be above zero",
        ),
        (
            "policy='queue-depth'\nrate=1e308\ndrain-within='1h'",
            "queue-depth.drain-within = 3600s: with this rate, is no number of jobs",
        ),
        (
            "policy='floor-of'\nbase={policy='threshold'}\nfloor={policy='queue-depth',min=21,max=30}",
            "floor-of.floor.min = 21: is above floor-of.base.max, which is 20",
        ),
        (
            "policy='max-of'\nof=[{policy='threshold',max=4},{policy='threshold',min=9,down=0.2,up=0.1}]",
            "max-of.threshold.down = 0.2: is not below threshold.up",
        ),
        // What is not there, and what is no value.
        (
            "policy='threshold'\n[step-up]\ninstances=1\npercent=2.0",
            "expected map with a single key",
        ),
        ("policy='target-tracking'\nbehavior={up={window='0s'}}", "unknown field `up`"),
        ("policy='target-tracking'\nmetrics=[{name='cpu'}]", "missing field `target`"),
        ("policy='max-of'\nof=[{policy='threshold',x=1}]", "unknown field `x`"),
        ("policy='max-of'\nof=[{policy='threshold'}]\nmin=2", "unknown field `min`"),
        ("policy='only-out'\nbase={policy='threshold'}\nmax=2", "unknown field `max`"),
        ("policy='threshold'\nuup=0.7", "unknown field `uup`"),
        ("policy='thresholds'", "unknown variant `thresholds`"),
        ("up=0.7", "missing field `policy`"),
        ("policy='threshold'\nup-cooldown='soon'", "`soon` is no span of time"),
        ("policy='threshold'\nmin=-1", "invalid value: integer `-1`"),
        ("policy=", "TOML parse error"),
    ];
    for (text, expected) in cases {
        let said = refusal(text);
        assert!(said.contains(expected), "{text}\n  says {said}\n  and not {expected}");
    }
}

#[test]
fn a_refusal_has_its_parts() {
    let error = Policy::from_toml("policy='threshold'\nmin=5\nmax=4").unwrap_err();
    let ConfigError::Refused(refusal) = error else { panic!("{error}") };
    assert_eq!((refusal.path.as_str(), refusal.value.as_str()), ("threshold.min", "5"));
}

#[test]
fn every_policy_survives_being_written_down() {
    let texts = [
        "policy='threshold'",
        "policy='step-scaling'",
        "policy='queue-depth'\nrate=2.0\ndrain-within='90s'",
        "policy='target-tracking'\nmetrics=[{name='cpu',target={utilization=70}},{name='q',target={average-value=3.0}}]",
        "policy='predictive'\nsignal={metric='in-flight',per-instance=8.0}",
        "policy='schedule'\nmin=1\nmax=5\nwindows=[{cron='0 8 * * *',lasts='1h',instances=2}]",
        "policy='only-out'\nbase={policy='max-of',of=[{policy='threshold'}]}",
    ];
    for text in texts {
        let policy = Policy::from_toml(text).unwrap();
        let written = serde_json::to_string(&policy).unwrap();
        assert_eq!(serde_json::from_str::<Policy>(&written).unwrap(), policy, "{written}");
    }
}
