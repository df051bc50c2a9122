//! People shop while one fault comes after the other.

use std::env;
use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use tokio::task::{JoinHandle, JoinSet};
use tokio::time::sleep;

use super::faults::Fault;
use super::people::{
    Person, Products, Shop, Shopper, changes_products, logs_out, looks_at_products,
};
use super::record::{Cluster, UseAfterLogout, Violation};
use super::tally::{Excuse, HEAD, Span};
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
struct Verdict {
    requests: usize,
    orders: usize,
    lost: usize,
    uses: usize,
    wrong: Vec<Violation>,
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

    async fn leaves(self, world: &World) -> Verdict {
        self.shop.closes.store(true, std::sync::atomic::Ordering::Relaxed);
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
        let (mut orders, mut lost) = (0, 0);
        for shopper in &shoppers {
            shopper.name.judge(tails, &mut wrong);
            shopper.orders.judge(tails, &mut wrong);
            let user = shopper.orders.user;
            let person = self.people.iter().find(|person| person.id == user).unwrap();
            let rows = world.orders_of(person).await;
            shopper.orders.judge_rows(&rows, SystemTime::now(), tails, &mut wrong);
            orders += shopper.orders.acknowledged().count();
            lost += shopper.orders.lost(&rows);
        }
        let requests = world.tally.requests();
        Verdict { requests, orders, lost, uses: uses.len(), wrong }
    }
}

/// For how long faults go on: each at least once.
fn length() -> Duration {
    let seconds = env::var("TORTURE_SECONDS").ok().and_then(|seconds| seconds.parse().ok());
    Duration::from_secs(seconds.unwrap_or(0))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_fleet_stands_every_fault() {
    let mut world = World::open(&[]).await;
    let seed = fastrand::u64(..);
    println!("seed {seed}");
    let crowd = Crowd::enters(&world, seed).await;
    world.settles().await;

    let until = Instant::now() + length();
    let mut spans: Vec<Span> = Vec::new();
    for (number, fault) in Fault::series(fastrand::Rng::with_seed(seed)).enumerate() {
        if number >= Fault::ALL.len() && Instant::now() >= until {
            break;
        }
        spans.push(fault.befall(&mut world).await);
    }
    let verdict = crowd.leaves(&world).await;

    println!("\n{HEAD}");
    let mut wrong = verdict.wrong;
    for span in &spans {
        let (line, failures) = world.tally.line(span);
        println!("{line}");
        for failure in failures {
            wrong.push(Violation(format!("{}: {failure}", span.fault)));
        }
    }
    for failure in world.tally.in_peace(&spans) {
        wrong.push(Violation(format!("without any fault: {failure}")));
    }
    let Verdict { requests, orders, lost, uses, .. } = verdict;
    println!("\n{requests} requests, {orders} orders acknowledged, {lost} of them lost tail");
    println!("{uses} uses of tokens after their logout, {} wrong answers", wrong.len());
    let wrong = &wrong[..wrong.len().min(20)];
    assert!(wrong.is_empty(), "{wrong:#?}\n{}", world.said());
    assert!(!world.said().contains("panicked"), "{}", world.said());
}

/// Nothing happens; the checker is satisfied by what is right.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_quiet_day_has_nothing_wrong() {
    let world = World::open(&[]).await;
    let crowd = Crowd::enters(&world, 1).await;
    sleep(Duration::from_secs(5)).await;
    let verdict = crowd.leaves(&world).await;
    assert!(verdict.wrong.is_empty(), "{:#?}", verdict.wrong);
    assert!(verdict.requests > 200 && verdict.orders > 10 && verdict.uses > 10);
    let quiet = Span {
        fault: String::new(),
        excuse: Excuse::None,
        began: SystemTime::UNIX_EPOCH,
        ended: SystemTime::now(),
    };
    assert_eq!(world.tally.line(&quiet).0.failed, 0);
}
