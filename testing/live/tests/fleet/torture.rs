//! People shop while one fault comes after the other.

use std::collections::BTreeSet;
use std::env;
use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use tokio::task::{JoinHandle, JoinSet};

use super::faults::Fault;
use super::people::{
    Person, Products, Shop, Shopper, changes_products, logs_out, looks_at_products,
};
use super::record::{Cluster, UseAfterLogout, Violation};
use super::tally::{HEAD, Span};
use super::world::{USERS, World};

const SHOPPERS: usize = 10;

/// Everybody, while the shop is open.
struct Crowd {
    shop: Shop,
    people: Vec<Person>,
    shoppers: JoinSet<Shopper>,
    logouts: JoinHandle<Vec<UseAfterLogout>>,
    products: Products,
    others: JoinSet<()>,
}

/// What is known at the end.
#[derive(Debug, Default)]
struct Verdict {
    requests: usize,
    orders: usize,
    lost: usize,
    confirmed: usize,
    sent_again: usize,
    uses: usize,
    /// Answers, rows and confirmations that must not be.
    wrong: Vec<Violation>,
    /// Requests that must not have failed.
    failed: Vec<Violation>,
}

impl Crowd {
    async fn enters(world: &World, seed: u64) -> Self {
        let shop = Shop {
            url: world.front.url.clone(),
            tally: Arc::clone(&world.tally),
            closes: Arc::default(),
            wrong: Arc::default(),
            logged_out: Arc::default(),
        };
        let mut people = world.people(60).await;
        let rest = people.split_off(1 + SHOPPERS);
        let admin = people.remove(0);
        let mut shoppers = JoinSet::new();
        for person in &people {
            shoppers.spawn(Shopper::new(person.clone(), &shop, seed).run(USERS));
        }
        let products = Products::default();
        let mut others = JoinSet::new();
        others.spawn(changes_products(admin, shop.clone(), Arc::clone(&products)));
        for number in 0..2 {
            others.spawn(looks_at_products(number + 1, shop.clone(), Arc::clone(&products)));
        }
        let logouts = tokio::spawn(logs_out(rest, shop.clone()));
        Self { shop, people, shoppers, logouts, products, others }
    }

    async fn leaves(self, world: &World, spans: &[Span]) -> Verdict {
        self.shop.closes.store(true, Ordering::Relaxed);
        let shoppers = self.shoppers.join_all().await;
        let uses = self.logouts.await.unwrap();
        self.others.join_all().await;

        let tails = &world.tails;
        let mut wrong = Vec::new();
        wrong.append(&mut self.shop.wrong.lock().unwrap_or_else(PoisonError::into_inner));
        let noted = self.shop.logged_out.lock().unwrap_or_else(PoisonError::into_inner).clone();
        for (since, ended, what) in noted {
            if !tails.loosen(Cluster::Shop, since, ended) {
                wrong.push(Violation(what));
            }
        }
        uses.iter().for_each(|one| one.judge(tails, &mut wrong));
        for product in &*self.products.lock().unwrap_or_else(PoisonError::into_inner) {
            product.judge(tails, &mut wrong);
        }

        world.is_done().await;
        let mut verdict = Verdict { uses: uses.len(), ..Verdict::default() };
        let (mut acknowledged, mut there) = (BTreeSet::new(), BTreeSet::new());
        let mut units = 0;
        for shopper in &shoppers {
            shopper.name.judge(tails, &mut wrong);
            shopper.orders.judge(tails, &mut wrong);
            let user = shopper.orders.user;
            let person = self.people.iter().find(|person| person.id == user).unwrap();
            let rows = world.orders_of(person).await;
            shopper.orders.judge_rows(&rows, SystemTime::now(), tails, &mut wrong);
            acknowledged.extend(shopper.orders.acknowledged().map(|(id, _)| id));
            there.extend(rows.iter().map(|(id, _)| *id));
            units += rows.iter().map(|(_, mark)| mark.quantity).sum::<i64>();
            verdict.lost += shopper.orders.lost(&rows);
        }
        verdict.orders = acknowledged.len();
        let taken = world.units_taken().await;
        if tails.0.is_empty() && taken != units {
            wrong.push(Violation(format!("{units} units were ordered, and {taken} taken")));
        }

        let confirmed = world.confirmed().await;
        verdict.confirmed = confirmed.len();
        let once: BTreeSet<_> = confirmed.iter().copied().collect();
        if once.len() < confirmed.len() {
            wrong.push(Violation("an order is confirmed twice".to_owned()));
        }
        let sent = world.mail.sent();
        verdict.sent_again = sent.values().filter(|sent| sent.taken > 1).count();
        for order in &there {
            let was_sent = sent.get(order).is_some_and(|sent| sent.taken > 0);
            if !once.contains(order) || !was_sent {
                wrong.push(Violation(format!("order {order} is there, and never confirmed")));
            }
        }
        for order in sent.keys() {
            // What nobody was told of may be gone with a tail, and its confirmation sent.
            let known = there.contains(order) || acknowledged.contains(order);
            if !known && tails.0.is_empty() {
                wrong.push(Violation(format!("{order} is confirmed, and no order")));
            }
        }
        verdict.wrong = wrong;
        verdict.requests = world.tally.requests();
        for span in spans {
            let (line, failures) = world.tally.line(span);
            println!("{line}");
            let failed = failures.iter().map(|f| Violation(format!("{}: {f}", span.fault)));
            verdict.failed.extend(failed);
        }
        let peace = world.tally.in_peace(spans);
        let failed = peace.iter().map(|f| Violation(format!("without any fault: {f}")));
        verdict.failed.extend(failed);
        verdict
    }
}

/// For how long faults go on: each at least once.
fn length() -> Duration {
    let seconds = env::var("TORTURE_SECONDS").ok().and_then(|seconds| seconds.parse().ok());
    Duration::from_secs(seconds.unwrap_or(0))
}

/// Opens a fleet, and lets `faults` befall it while people shop.
async fn day(options: &[&str], seed: u64, faults: impl Iterator<Item = Fault>) -> Verdict {
    let mut world = World::open(options).await;
    let crowd = Crowd::enters(&world, seed).await;
    world.settles().await;
    let mut spans = Vec::new();
    for fault in faults {
        spans.push(fault.befall(&mut world).await);
    }
    println!("\n{HEAD}");
    let verdict = crowd.leaves(&world, &spans).await;
    let Verdict { requests, orders, lost, confirmed, sent_again, uses, wrong, failed } =
        &verdict;
    println!("\n{requests} requests, {orders} orders acknowledged, {lost} of them lost tail");
    println!("{confirmed} orders confirmed, {sent_again} by a message that was sent again");
    println!("{uses} uses of tokens after their logout");
    println!("{} wrong answers, {} failed requests without excuse", wrong.len(), failed.len());
    let said = world.said();
    assert!(!said.contains("panicked"), "{said}");
    if !(wrong.is_empty() && failed.is_empty()) {
        println!("{said}");
    }
    verdict
}

impl Verdict {
    fn is_good(&self) {
        let first = |all: &[Violation]| format!("{:#?}", &all[..all.len().min(10)]);
        assert!(self.wrong.is_empty(), "{}", first(&self.wrong));
        assert!(self.failed.is_empty(), "{}", first(&self.failed));
        // And there was something to be wrong.
        assert!(self.requests > 300 && self.orders > 10 && self.uses > 10, "{self:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_fleet_stands_every_fault() {
    let seed = fastrand::u64(..);
    println!("seed {seed}");
    let until = Instant::now() + length();
    let series = Fault::series(fastrand::Rng::with_seed(seed)).enumerate();
    let faults =
        series.take_while(|(number, _)| *number < Fault::ALL.len() || Instant::now() < until);
    day(&[], seed, faults.map(|(_, fault)| fault)).await.is_good();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_token_is_refused_by_all_workers_after_its_logout() {
    day(&[], 1, [Fault::Nothing].into_iter()).await.is_good();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn workers_that_go_answer_what_they_have_begun() {
    day(&[], 1, [Fault::ScaleInWhileFar; 2].into_iter()).await.is_good();
}

/// For comparison: the checker is one that finds it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_a_drain_workers_that_go_fail_requests() {
    let day = day(&["--drain", "off"], 1, [Fault::ScaleInWhileFar; 3].into_iter()).await;
    assert!(!day.failed.is_empty(), "{day:?}");
}

/// For comparison: the checker is one that finds it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn by_a_round_robin_over_replicas_own_writes_are_not_seen() {
    let lag = [Fault::ReplicaLags(0), Fault::ReplicaLags(1)];
    let day = day(&["--reads", "round-robin"], 1, lag.into_iter()).await;
    assert!(!day.wrong.is_empty(), "{day:?}");
}
