//! What goes wrong while sessions run. Each goes on until the run is over.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use testbed::link::Link;
use testbed::postgres::Postgres;

use super::app::App;
use super::run::Run;
use crate::bed::DEADLINE;

fn millis(n: u64) -> Duration {
    Duration::from_millis(n)
}

/// Sleeps, and says whether the run goes on.
async fn on(run: &Run, pause: Duration) -> bool {
    let end = tokio::time::Instant::now() + pause;
    while !run.over.load(Ordering::Relaxed) && tokio::time::Instant::now() < end {
        tokio::time::sleep(millis(10).min(pause)).await;
    }
    !run.over.load(Ordering::Relaxed)
}

pub(super) async fn nothing(run: Arc<Run>) {
    while on(&run, millis(100)).await {}
}

pub(super) async fn replay_paused(run: Arc<Run>) {
    let mut turn = 0;
    while on(&run, millis(100)).await {
        let replica = &run.bed.replicas[turn % run.bed.replicas.len()];
        replica.pause_replay().await.unwrap();
        on(&run, millis(300)).await;
        replica.resume_replay().await.unwrap();
        turn += 1;
    }
}

/// By replica; the delays stay.
pub(super) async fn delayed(run: Arc<Run>, delays: &'static [u64]) {
    for (replica, delay) in run.bed.replicas.iter().zip(delays) {
        replica.delay_replay(millis(*delay)).await.unwrap();
    }
    nothing(run).await;
}

pub(super) async fn replica_killed(run: Arc<Run>) {
    let mut turn = 0;
    while on(&run, millis(200)).await {
        let replica = &run.bed.replicas[turn % run.bed.replicas.len()];
        replica.kill().await.unwrap();
        on(&run, millis(200)).await;
        replica.restart().await.unwrap();
        turn += 1;
    }
}

pub(super) async fn all_replicas_gone(run: Arc<Run>) {
    on(&run, millis(300)).await;
    for replica in &run.bed.replicas {
        replica.kill().await.unwrap();
    }
    on(&run, millis(700)).await;
    for replica in &run.bed.replicas {
        replica.restart().await.unwrap();
    }
    nothing(run).await;
}

/// In the midst of queries, one link after the other.
pub(super) async fn connections_cut(run: Arc<Run>, links: Arc<Vec<Link>>) {
    let mut turn = 0;
    while on(&run, millis(80)).await {
        let link = &links[turn % links.len()];
        link.cut();
        on(&run, millis(20)).await;
        link.heal();
        turn += 1;
    }
}

/// The replica in step is lost to its sessions, again and again; the other is a
/// little behind.
pub(super) async fn the_one_in_step_is_lost(run: Arc<Run>, links: Arc<Vec<Link>>) {
    run.bed.replicas[1].delay_replay(millis(25)).await.unwrap();
    while on(&run, millis(60)).await {
        links[1].cut();
        on(&run, millis(60)).await;
        links[1].heal();
    }
}

pub(super) async fn blackholed(run: Arc<Run>, links: Arc<Vec<Link>>) {
    while on(&run, millis(300)).await {
        links[1].blackhole();
        on(&run, millis(600)).await;
        links[1].heal();
    }
}

/// The primary dies with nothing lost; the other replica is told to follow.
pub(super) async fn promoted(run: Arc<Run>) {
    on(&run, millis(500)).await;
    let gate = run.gate.write().await;
    run.bed.caught_up().await;
    run.bed.primary.kill().await.unwrap();
    drop(gate);
    run.bed.replicas[0].promote().await.unwrap();
    on(&run, millis(700)).await;
    follow(&run.bed.replicas[1], &run.bed.replicas[0]).await;
    nothing(run).await;
}

/// The primary dies, and its last writes with it.
pub(super) async fn promoted_with_a_lost_tail(run: Arc<Run>) {
    on(&run, millis(500)).await;
    run.bed.replicas[1].cut_stream().await.unwrap();
    run.bed.replicas[0].cut_stream().await.unwrap();
    on(&run, millis(300)).await;
    let gate = run.gate.write().await;
    run.bed.primary.kill().await.unwrap();
    run.bed.replicas[0].promote().await.unwrap();
    run.expect_what_survived(&run.bed.replicas[0]).await;
    drop(gate);
    on(&run, millis(500)).await;
    follow(&run.bed.replicas[1], &run.bed.replicas[0]).await;
    nothing(run).await;
}

/// A replica is promoted while the old primary goes on writing, and the other
/// replica goes on following that.
pub(super) async fn split(run: Arc<Run>) {
    on(&run, millis(500)).await;
    let gate = run.gate.write().await;
    run.bed.replicas[0].promote().await.unwrap();
    let seen = |app: &App| app.db.stats().failovers > 0;
    while !run.apps.iter().all(seen) {
        tokio::time::sleep(millis(5)).await;
    }
    run.expect_what_survived(&run.bed.replicas[0]).await;
    drop(gate);
    let old = run.bed.client().await;
    while on(&run, millis(5)).await {
        old.batch_execute("UPDATE t SET n = n + 1; UPDATE reg SET v = v WHERE id = 0")
            .await
            .unwrap();
    }
}

/// The old primary comes back, and takes writes, but nobody's.
pub(super) async fn the_old_one_comes_back(run: Arc<Run>) {
    on(&run, millis(300)).await;
    let gate = run.gate.write().await;
    run.bed.caught_up().await;
    run.bed.primary.kill().await.unwrap();
    drop(gate);
    run.bed.replicas[0].promote().await.unwrap();
    on(&run, millis(300)).await;
    run.bed.primary.restart().await.unwrap();
    let old = run.bed.client().await;
    while on(&run, millis(5)).await {
        old.batch_execute("UPDATE reg SET v = 0; UPDATE t SET n = n + 1").await.unwrap();
    }
}

pub(super) async fn replica_rebuilt(run: Arc<Run>) {
    on(&run, millis(300)).await;
    run.bed.replicas[0].kill().await.unwrap();
    on(&run, millis(200)).await;
    // Another server takes over its part: a new copy of the primary.
    let rebuilt = run.bed.primary.replica().await.unwrap();
    rebuilt.caught_up(DEADLINE).await.unwrap();
    run.bed.replicas[0].restart().await.unwrap();
    nothing(run).await;
}

async fn follow(replica: &Postgres, primary: &Postgres) {
    let client = replica.client().await.unwrap();
    let conninfo = format!("host=127.0.0.1 port={} user=postgres", primary.port());
    let alter = format!("ALTER SYSTEM SET primary_conninfo = '{conninfo}'");
    client.batch_execute(&alter).await.unwrap();
    client.batch_execute("SELECT pg_reload_conf()").await.unwrap();
}
