//! All of it at once: orders, while one thing after the other fails.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use fastrand::Rng;
use nix::sys::signal::Signal;
use testbed::eventually;
use testbed::guard::ExitSignal;
use tokio::task::JoinSet;

use crate::bed::{Bed, Pool, SOON, USERS, send};
use live::mail::Mood;

const OPTIONS: [&str; 14] = [
    "--min",
    "2",
    "--max",
    "3",
    "--lease",
    "5000",
    "--mail-timeout",
    "4000",
    "--attempts",
    "100",
    "--backoff",
    "100",
    "--backoff-max",
    "1000",
];

#[derive(Clone, Copy, Debug)]
enum Fault {
    WorkerKilled,
    WorkerStopped,
    PoolKilled,
    QueueEmptied,
    QueueKilled,
    ShardKilled,
    MailFails,
}

impl Fault {
    const ALL: [Self; 7] = [
        Self::WorkerKilled,
        Self::WorkerStopped,
        Self::PoolKilled,
        Self::QueueEmptied,
        Self::QueueKilled,
        Self::ShardKilled,
        Self::MailFails,
    ];

    async fn happen(self, bed: &Bed, pool: &mut Pool, number: usize) {
        match self {
            Self::WorkerKilled => send(pool.busy().await, Signal::SIGKILL),
            Self::WorkerStopped => {
                let worker = pool.busy().await;
                send(worker, Signal::SIGSTOP);
                let before = bed.confirmed().await.len();
                eventually(SOON, async || bed.confirmed().await.len() > before + 50).await;
                send(worker, Signal::SIGCONT);
            }
            Self::PoolKilled => {
                pool.running.process.signal(ExitSignal::Kill).unwrap();
                *pool = bed.pool(&format!("pool-{number}"), &OPTIONS).await;
            }
            Self::QueueEmptied => drop(bed.redis.command(&["FLUSHALL"]).await.unwrap()),
            Self::QueueKilled => {
                bed.redis.kill().await.unwrap();
                bed.redis.restart_empty().await.unwrap();
            }
            Self::ShardKilled => {
                bed.shards[number % 2].kill().await.unwrap();
                bed.shards[number % 2].restart().await.unwrap();
            }
            Self::MailFails => {
                bed.mail.is(Mood::Answers(503));
                eventually(SOON, async || pool.figure("retried_total").await > 10.0).await;
                bed.mail.is(Mood::Takes);
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_fails_each_order_is_confirmed_once() {
    let bed = Bed::new().await;
    let shop = Arc::new(bed.shop("shop").await);
    let mut pool = bed.pool("pool", &OPTIONS).await;
    let over = Arc::new(AtomicBool::new(false));
    let mut buyers = JoinSet::new();
    for buyer in 0..4 {
        let (shop, over) = (Arc::clone(&shop), Arc::clone(&over));
        buyers.spawn(async move {
            let (mut placed, mut random) = (Vec::new(), Rng::with_seed(buyer));
            while !over.load(Ordering::Relaxed) {
                let (user, product) = (random.i64(1..=USERS), random.i64(1..=50));
                match shop.try_order(user, product).await {
                    Some((201, order)) => placed.push(order["id"].as_i64().unwrap()),
                    // Its shard is away just now.
                    Some((503, _)) => {}
                    other => panic!("{other:?}"),
                }
            }
            placed
        });
    }
    let mut faults = Fault::ALL;
    Rng::with_seed(11).shuffle(&mut faults);
    for (number, fault) in faults.into_iter().enumerate() {
        fault.happen(&bed, &mut pool, number).await;
        // Things are well again.
        let before = bed.confirmed().await.len();
        eventually(SOON, async || bed.confirmed().await.len() > before + 20).await;
    }
    over.store(true, Ordering::Relaxed);
    let answered = buyers.join_all().await.concat();
    bed.all_is_confirmed().await;
    bed.all_is_sent(1..=u32::MAX).await;
    let confirmed = bed.confirmed().await;
    assert!(answered.iter().all(|order| confirmed.contains_key(order)));
    let sent = bed.mail.sent();
    let again = sent.values().filter(|sent| sent.taken > 1).count();
    println!("{} orders were confirmed; {again} were sent more than once", confirmed.len());
    pool.running.is_unharmed();
    pool.running.stop().await;
}
