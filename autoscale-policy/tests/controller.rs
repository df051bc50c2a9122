//! The loop around a scaler, on paused time.

#![allow(clippy::unwrap_used, reason = "the helpers of tests are tests")]

use std::convert::Infallible;
use std::fmt;
use std::future::pending;
use std::num::NonZeroU64;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use autoscale_policy::{
    Action, Actuator, Controller, EpochMillis, Failure, Figure, Instance, InstanceId, Outcome,
    Phase, QUEUE_DEPTH, QueueDepth, Report, Resize, Roster, Scaler, Seen, Source, Threshold,
};
use tokio::time::{Instant, sleep, timeout};

const SECOND: Duration = Duration::from_secs(1);
const START: EpochMillis = EpochMillis::new(1_790_000_000_000);

#[derive(Clone, Debug)]
struct Broken;

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("broken")
    }
}

impl std::error::Error for Broken {}

#[derive(Clone, Copy, Debug, Default, PartialEq)]
enum Mood {
    #[default]
    Well,
    Fails,
    Hangs,
}

impl Mood {
    async fn answer(self) -> Result<(), Broken> {
        match self {
            Self::Well => Ok(()),
            Self::Fails => Err(Broken),
            Self::Hangs => pending().await,
        }
    }
}

/// A platform that does at once what it is asked for.
#[derive(Clone, Default)]
struct Platform(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    instances: Vec<Instance>,
    asked: Vec<Resize>,
    seeing: Mood,
    setting: Mood,
    most: Option<u32>,
}

impl Platform {
    fn of(count: u64) -> Self {
        let platform = Self::default();
        platform.with(|state| {
            let ready =
                |id| Instance::new(InstanceId::new(id), Phase::Ready, EpochMillis::new(0));
            state.instances = (0..count).map(ready).collect();
        });
        platform
    }

    fn with<T>(&self, with: impl FnOnce(&mut State) -> T) -> T {
        with(&mut self.0.lock().unwrap())
    }

    fn asked(&self) -> Vec<(u32, u32)> {
        self.with(|state| state.asked.iter().map(|resize| (resize.from, resize.to)).collect())
    }
}

impl Roster for Platform {
    type Error = Broken;

    async fn seen(&self) -> Result<Seen, Broken> {
        let (mood, instances) = self.with(|state| (state.seeing, state.instances.clone()));
        mood.answer().await?;
        Ok(Seen { target: None, instances })
    }
}

impl Actuator for Platform {
    type Error = Broken;

    async fn set(&self, resize: &Resize) -> Result<u32, Broken> {
        let mood = self.with(|state| {
            state.asked.push(resize.clone());
            state.setting
        });
        mood.answer().await?;
        Ok(self.with(|state| {
            let taken = resize.to.min(state.most.unwrap_or(u32::MAX));
            let ready =
                |id| Instance::new(InstanceId::new(id), Phase::Ready, EpochMillis::new(0));
            state.instances.retain(|instance| !resize.removal.contains(&instance.id));
            let more = (1000..).take((taken as usize).saturating_sub(state.instances.len()));
            state.instances.extend(more.map(ready));
            taken
        }))
    }
}

/// A metric that is what the test says.
#[derive(Clone)]
struct Told {
    metric: &'static str,
    figure: Arc<Mutex<(Mood, f64)>>,
}

impl Told {
    fn cpu(figure: f64) -> Self {
        Self { metric: "cpu", figure: Arc::new(Mutex::new((Mood::Well, figure))) }
    }

    fn becomes(&self, mood: Mood, figure: f64) {
        *self.figure.lock().unwrap() = (mood, figure);
    }
}

impl Source for Told {
    type Error = Broken;

    fn metric(&self) -> &str {
        self.metric
    }

    async fn read(&mut self) -> Result<Option<Figure>, Broken> {
        let (mood, figure) = *self.figure.lock().unwrap();
        mood.answer().await?;
        Ok(Some(Figure::Fleet(figure)))
    }
}

/// The wall clock goes with tokio's.
fn clock() -> impl Fn() -> EpochMillis {
    let began = Instant::now();
    move || START + began.elapsed()
}

type Fixture<C> = Controller<Threshold, Platform, Platform, C>;

fn controller(platform: &Platform, cpu: &Told) -> Fixture<impl Fn() -> EpochMillis + use<>> {
    let scaler = Scaler::new(Threshold::default()).unwrap();
    Controller::new(scaler, platform.clone(), platform.clone())
        .clock(clock())
        .source(cpu.clone())
}

fn action(report: &Report) -> Action {
    report.decision.as_ref().unwrap().action
}

#[tokio::test(start_paused = true)]
async fn it_only_recommends_until_it_is_told_to_act() {
    let (platform, cpu) = (Platform::of(4), Told::cpu(0.9));
    let mut dry = controller(&platform, &cpu);
    for _ in 0..3 {
        let report = dry.tick().await;
        assert!(matches!(report.outcome, Outcome::Recommended(6)), "{report}");
        assert!(report.to_string().contains("not done: 6 is a recommendation"), "{report}");
        sleep(15 * SECOND).await;
    }
    assert_eq!(platform.asked(), []);

    let mut acts = controller(&platform, &cpu).act();
    let report = acts.tick().await;
    assert!(matches!(report.outcome, Outcome::Applied { asked: 6, taken: 6 }), "{report}");
    // What was done has begun a cooldown.
    assert_eq!(action(&acts.tick().await), Action::Hold);
    assert_eq!(platform.asked(), [(4, 6)]);
}

#[tokio::test(start_paused = true)]
async fn a_source_that_is_gone_hides_no_other_and_scales_nothing_in() {
    let (platform, cpu) = (Platform::of(4), Told::cpu(0.9));
    let queue = Told { metric: QUEUE_DEPTH, ..Told::cpu(0.0) };
    let mut controller = controller(&platform, &cpu).source(queue.clone()).act();
    for mood in [Mood::Fails, Mood::Hangs] {
        queue.becomes(mood, 0.0);
        let report = controller.tick().await;
        assert_eq!(report.failures.len(), 1, "{report}");
        assert_eq!(&*report.failures[0].0, QUEUE_DEPTH);
        assert!(report.decision.is_some());
    }
    assert_eq!(platform.asked(), [(4, 6)], "by the metric that there is");

    sleep(3600 * SECOND).await;
    for mood in [Mood::Fails, Mood::Hangs] {
        cpu.becomes(mood, 0.0);
        let report = controller.tick().await;
        assert_eq!(action(&report), Action::Hold, "{report}");
        let said = report.decision.unwrap().to_string();
        assert!(said.contains("could not be asked") || said.contains("unreachable"), "{said}");
    }
    assert_eq!(platform.asked(), [(4, 6)]);
}

#[tokio::test(start_paused = true)]
async fn a_source_may_take_its_time_and_no_more() {
    let (platform, cpu) = (Platform::of(4), Told::cpu(0.5));
    cpu.becomes(Mood::Hangs, 0.0);
    let mut controller = controller(&platform, &cpu).read_timeout(3 * SECOND);
    let began = Instant::now();
    let report = controller.tick().await;
    assert_eq!(began.elapsed(), 3 * SECOND);
    assert!(matches!(report.failures[0].1, Failure::TimedOut(limit) if limit == 3 * SECOND));
}

#[tokio::test(start_paused = true)]
async fn without_a_roster_nothing_is_decided() {
    let (platform, cpu) = (Platform::of(4), Told::cpu(0.01));
    let mut controller = controller(&platform, &cpu).act();
    for mood in [Mood::Fails, Mood::Hangs] {
        platform.with(|state| state.seeing = mood);
        let report = controller.tick().await;
        assert!(matches!(report.outcome, Outcome::Unobserved(_)), "{report}");
        assert!(report.decision.is_none());
    }
    assert_eq!(platform.asked(), []);
}

#[tokio::test(start_paused = true)]
async fn a_change_that_fails_begins_no_cooldown() {
    let (platform, cpu) = (Platform::of(4), Told::cpu(0.9));
    let mut controller = controller(&platform, &cpu).act().set_timeout(5 * SECOND);
    for mood in [Mood::Fails, Mood::Hangs] {
        platform.with(|state| state.setting = mood);
        let report = controller.tick().await;
        assert!(matches!(report.outcome, Outcome::Failed { asked: 6, .. }), "{report}");
    }
    platform.with(|state| state.setting = Mood::Well);
    let report = controller.tick().await;
    assert!(matches!(report.outcome, Outcome::Applied { asked: 6, taken: 6 }), "{report}");
    assert_eq!(platform.asked(), [(4, 6); 3]);
}

#[tokio::test(start_paused = true)]
async fn a_change_that_nobody_waited_for_is_looked_at_again() {
    let (platform, cpu) = (Platform::of(4), Told::cpu(0.9));
    platform.with(|state| state.setting = Mood::Hangs);
    let mut controller = controller(&platform, &cpu).act();
    assert!(timeout(SECOND, controller.tick()).await.is_err());
    platform.with(|state| state.setting = Mood::Well);
    let report = controller.tick().await;
    assert!(matches!(report.outcome, Outcome::Applied { asked: 6, taken: 6 }), "{report}");
}

#[tokio::test(start_paused = true)]
async fn what_a_platform_took_of_it_is_what_counts() {
    let (platform, cpu) = (Platform::of(4), Told::cpu(0.9));
    platform.with(|state| state.most = Some(5));
    let mut controller = controller(&platform, &cpu).act();
    let report = controller.tick().await;
    assert!(matches!(report.outcome, Outcome::Applied { asked: 6, taken: 5 }), "{report}");
    assert!(report.to_string().contains("the platform took 5"), "{report}");
    sleep(300 * SECOND).await;
    controller.tick().await;
    assert_eq!(platform.asked(), [(4, 6), (5, 7)]);
}

#[tokio::test(start_paused = true)]
async fn what_is_removed_is_named_the_idlest_first() {
    let (platform, cpu) = (Platform::of(4), Told::cpu(0.1));
    platform.with(|state| {
        for (instance, load) in state.instances.iter_mut().zip([3, 0, 2, 1]) {
            instance.in_flight = load;
        }
    });
    let mut controller = controller(&platform, &cpu).act();
    let mut removed = Vec::new();
    for _ in 0..500 {
        controller.tick().await;
        removed =
            platform.with(|state| state.asked.iter().flat_map(|r| r.removal.clone()).collect());
        if !removed.is_empty() {
            break;
        }
        sleep(15 * SECOND).await;
    }
    assert_eq!(removed.first(), Some(&InstanceId::new(1)));
}

#[tokio::test(start_paused = true)]
async fn turns_come_at_their_time_and_end_with_the_loop() {
    let (platform, cpu) = (Platform::of(4), Told::cpu(0.5));
    let mut controller =
        controller(&platform, &cpu).every_millis(NonZeroU64::new(5_000).unwrap());
    let (began, mut at) = (Instant::now(), Vec::new());
    let run = controller.run(|_| at.push(began.elapsed()));
    assert!(timeout(16 * SECOND, run).await.is_err());
    assert_eq!(at, [0, 5, 10, 15].map(|seconds| seconds * SECOND));
}

/// From nothing, by the depth of a queue, and back.
#[tokio::test(start_paused = true)]
async fn workers_come_with_their_jobs_and_go() {
    struct Jobs(Arc<Mutex<f64>>);
    impl Source for Jobs {
        type Error = Infallible;
        fn metric(&self) -> &str {
            QUEUE_DEPTH
        }
        async fn read(&mut self) -> Result<Option<Figure>, Infallible> {
            Ok(Some(Figure::Fleet(*self.0.lock().unwrap())))
        }
    }
    let (platform, jobs) = (Platform::default(), Arc::new(Mutex::new(0.0)));
    let scaler = Scaler::new(QueueDepth::default()).unwrap();
    let mut controller = Controller::new(scaler, platform.clone(), platform.clone())
        .clock(clock())
        .source(Jobs(Arc::clone(&jobs)))
        .act();
    let count = || platform.with(|state| state.instances.len());
    let mut after = async |depth: f64, ticks: u32| {
        *jobs.lock().unwrap() = depth;
        for _ in 0..ticks {
            controller.tick().await;
            sleep(15 * SECOND).await;
        }
        count()
    };
    let least = after(0.0, 4).await;
    let busy = after(1e6, 40).await;
    let idle = after(0.0, 400).await;
    assert!(busy > least && idle == least, "{least}, {busy}, {idle}");
}
