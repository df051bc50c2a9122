//! Each fault, with no violation.

use std::sync::Arc;
use std::time::Duration;

use rw_split::{ConsistencyToken, RwSplit, RwSplitBuilder, ServerConfig, TokenKeys};
use testbed::link::Link;

use super::app::{Op, Reply};
use super::faults;
use super::jar::Jar;
use super::run::{Plan, Report, Run};
use crate::bed::Bed;

fn build(bed: &Bed) -> RwSplitBuilder {
    bed.builder()
}

fn hold(report: &Report) {
    let violations = &report.violations;
    assert!(violations.is_empty(), "{} violations; {:?}", violations.len(), violations[0]);
}

async fn check<F>(plan: Plan, fault: impl FnOnce(Arc<Run>) -> F) -> (Arc<Run>, Report)
where
    F: Future<Output = ()> + Send + 'static,
{
    let run = Run::new(Bed::new(2).await, &plan, build).await;
    let report = run.go(plan, fault(Arc::clone(&run))).await;
    hold(&report);
    (run, report)
}

/// All servers behind links of their own.
async fn check_through_links<F>(
    plan: Plan,
    fault: impl FnOnce(Arc<Run>, Arc<Vec<Link>>) -> F,
) -> Report
where
    F: Future<Output = ()> + Send + 'static,
{
    let bed = Bed::new(2).await;
    let servers = [bed.primary.addr(), bed.replicas[0].addr(), bed.replicas[1].addr()];
    let links: Vec<_> = servers.iter().map(|addr| Link::to(*addr).unwrap()).collect();
    let links = Arc::new(links);
    let run = Run::new(bed, &plan, |bed| {
        links
            .iter()
            .zip(["a", "b", "c"])
            .fold(RwSplit::builder(), |builder, (link, name)| {
                builder.server(ServerConfig::new(bed.primary.url_at(link.addr())).name(name))
            })
            .patience(Duration::from_millis(200))
    })
    .await;
    let report = run.go(plan, fault(Arc::clone(&run), Arc::clone(&links))).await;
    hold(&report);
    report
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn under_no_fault() {
    let (run, report) = check(Plan::new("no fault"), faults::nothing).await;
    run.check_end(&run.bed.primary).await;
    assert!(report.stats.iter().all(|stats| stats.clamps == 0), "{:?}", report.stats);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn under_paused_replay() {
    check(Plan::new("replay paused"), faults::replay_paused).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn under_a_delay_of_100_ms() {
    let fault = |run| faults::delayed(run, &[100, 100]);
    check(Plan::new("delay 100 ms"), fault).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn under_a_delay_of_1_s() {
    let fault = |run| faults::delayed(run, &[1000, 1000]);
    let (_, report) = check(Plan::new("delay 1 s"), fault).await;
    // Tokens of the other process are ahead of this one's picture, and genuine.
    assert!(report.stats.iter().all(|stats| stats.clamps == 0), "{:?}", report.stats);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn under_a_delay_of_3_s_and_longer_thought() {
    let fault = |run| faults::delayed(run, &[3000, 3000]);
    let mut plan = Plan::new("delay 3 s, few writes");
    (plan.writes, plan.least, plan.think) =
        (1, Duration::from_secs(8), Duration::from_millis(20));
    plan.reads_per_session = 10_000;
    check(plan, fault).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn under_a_delay_of_5_s() {
    let fault = |run| faults::delayed(run, &[5000, 5000]);
    check(Plan::new("delay 5 s"), fault).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn under_skewed_delays() {
    let fault = |run| faults::delayed(run, &[0, 1000]);
    check(Plan::new("one in step, one at 1 s"), fault).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn under_replicas_that_are_killed() {
    check(Plan::new("replicas killed, restarted"), faults::replica_killed).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn under_no_replica_at_all() {
    let (_, report) = check(Plan::new("all replicas gone"), faults::all_replicas_gone).await;
    assert!(report.stats.iter().all(|stats| stats.reads_on_primary > 0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn under_a_replica_that_is_rebuilt() {
    check(Plan::new("replica rebuilt"), faults::replica_rebuilt).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn under_connections_that_are_cut() {
    check_through_links(Plan::new("connections cut"), faults::connections_cut).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn under_a_replica_in_step_that_is_lost() {
    let mut plan = Plan::new("the one in step is lost");
    plan.writes = 2;
    plan.reads_per_session = 40;
    check_through_links(plan, faults::the_one_in_step_is_lost).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn under_a_blackhole() {
    check_through_links(Plan::new("a replica blackholed"), faults::blackholed).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn under_a_promotion() {
    let (run, report) = check(Plan::new("promotion"), faults::promoted).await;
    run.check_end(&run.bed.replicas[0]).await;
    assert!(report.stats.iter().all(|stats| stats.failovers == 1));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn under_a_promotion_with_a_lost_tail() {
    let plan = Plan::new("promotion, tail lost");
    let (_, report) = check(plan, faults::promoted_with_a_lost_tail).await;
    assert!(report.stats.iter().map(|stats| stats.lost_writes).sum::<u64>() > 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn under_a_split() {
    let (run, report) = check(Plan::new("old primary writes on"), faults::split).await;
    run.check_end(&run.bed.replicas[0]).await;
    assert!(report.stats.iter().all(|stats| stats.failovers == 1));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn under_an_old_primary_that_comes_back() {
    let plan = Plan::new("old primary back, writable");
    let (run, _) = check(plan, faults::the_old_one_comes_back).await;
    run.check_end(&run.bed.replicas[0]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn under_asynchronous_commits() {
    let plan = Plan::new("synchronous_commit off, by role");
    let bed = Bed::new(2).await;
    let role = "ALTER ROLE postgres SET synchronous_commit = off";
    bed.client().await.batch_execute(role).await.unwrap();
    let run = Run::new(bed, &plan, build).await;
    hold(&run.go(plan, faults::nothing(Arc::clone(&run))).await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn under_asynchronous_commits_by_transaction() {
    let mut plan = Plan::new("synchronous_commit off, SET LOCAL");
    plan.set_local = Some("SET LOCAL synchronous_commit = off");
    check(plan, faults::nothing).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn under_forged_tokens() {
    let mut plan = Plan::new("forged tokens, delay 100 ms");
    let others = TokenKeys::new(&[8; 32]).unwrap();
    let foreign = others.sign(&ConsistencyToken::default(), Duration::from_secs(60));
    let genuine = TokenKeys::new(&super::app::KEY).unwrap();
    let expired = genuine.sign(&ConsistencyToken::default(), Duration::ZERO);
    plan.forged = vec![
        format!("rw-3={foreign}"),
        format!("rw-r={}", "A".repeat(159)),
        format!("rw-2={}", "x".repeat(4000)),
        format!("rw-3={expired}"),
        format!("rw-3={}", &foreign[..foreign.len() - 1]),
        "rw-3=".to_owned(),
        vec![format!("rw-3={foreign}"); 40].join("; "),
    ];
    let fault = |run| faults::delayed(run, &[100, 100]);
    let (_, report) = check(plan, fault).await;
    assert!(report.stats.iter().all(|stats| stats.tokens_refused > 0));
}

/// Two processes write for one page at the same time; the answer to the later
/// write arrives first.
#[tokio::test]
async fn racing_answers_keep_both_writes() {
    let plan = Plan::new("racing answers");
    let run = Run::new(Bed::new(1).await, &plan, build).await;
    let (jar, early, late) = (Jar::default(), Jar::default(), Jar::default());
    let write = |register| Op::Write { register, value: 1, seen: 0 };
    run.apps[0].call(write(1), &early, &[]).await.0.unwrap();
    run.bed.caught_up().await;
    run.bed.replicas[0].pause_replay().await.unwrap();
    run.apps[1].call(write(2), &late, &[]).await.0.unwrap();
    jar.absorb(&late);
    jar.absorb(&early);
    let (reply, _) = run.apps[0].call(Op::Read { own: [1, 2] }, &jar, &[]).await;
    let Reply::Read { own, .. } = reply.unwrap() else { unreachable!("it was a read") };
    assert_eq!(own.map(|row| row.value), [1, 1]);
}
