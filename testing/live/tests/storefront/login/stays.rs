//! Two tabs that refresh at once, on two processes, over a network that loses answers, stay
//! logged in; and a logout everywhere ends all of it.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant, SystemTime};

use fastrand::Rng;
use serde_json::Value;
use tokio::task::JoinSet;

use super::bed::{Bed, Store};
use super::browser::{Browser, Https, Loss, Tab, access_token, bearer, connect};
use super::jar::Page;
use crate::http::Answer;

const GRACE: Duration = Duration::from_millis(50);

const ROUNDING: Duration = Duration::from_millis(2);

/// The pace: a token that is younger than the grace window is kept, and not rotated.
const PAUSE: Duration = Duration::from_millis(60);

/// How many users there are who have keys, and who have none, and how often each refreshes.
const WITH_KEYS: usize = 24;
const WITHOUT_KEYS: usize = 4;
const ROUNDS: usize = 40;

/// How often one without a key may log in again.
const LOGINS: usize = 8;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_tabs_that_lose_answers_stay_logged_in_on_redis() {
    two_tabs_that_lose_answers_stay_logged_in(Store::Redis).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_tabs_that_lose_answers_stay_logged_in_on_postgres() {
    two_tabs_that_lose_answers_stay_logged_in(Store::Postgres).await;
}

async fn two_tabs_that_lose_answers_stay_logged_in(store: Store) {
    let bed = Arc::new(Bed::open(store, &["--grace-ms", "50"]).await);
    let emails = bed.emails().await;
    let seen = Arc::new(Seen::default());
    let began = Instant::now();
    // These depend on the time: they have the machine for themselves.
    let mut visits = JoinSet::new();
    for n in 0..WITHOUT_KEYS {
        let (bed, seen, email) = (Arc::clone(&bed), Arc::clone(&seen), emails[n].clone());
        visits.spawn(async move {
            for _ in 0..LOGINS {
                let mut visit = Visit::begin(&bed, n, &email).await;
                for _ in 0..ROUNDS / LOGINS {
                    tokio::time::sleep(PAUSE).await;
                    if !visit.round_without_key(&seen).await {
                        break;
                    }
                }
            }
        });
    }
    visits.join_all().await;

    let mut visits = JoinSet::new();
    for n in WITHOUT_KEYS..WITHOUT_KEYS + WITH_KEYS {
        let (bed, seen, email) = (Arc::clone(&bed), Arc::clone(&seen), emails[n].clone());
        visits.spawn(async move {
            let mut visit = Visit::begin(&bed, n, &email).await;
            for _ in 0..ROUNDS {
                tokio::time::sleep(PAUSE).await;
                visit.round_with_key(&seen).await;
            }
        });
    }
    visits.join_all().await;
    let rotations = bed.rotations().await;
    let Seen { lost, at_once, too_late, logged_out } = &*seen;
    println!(
        "{store:?}: {rotations} rotations in {:?}, {lost:?} answers lost, nobody logged out; \
         without keys {at_once:?} rounds within the window, {too_late:?} beyond it, of whom \
         {logged_out:?} had to log in again",
        began.elapsed()
    );
    assert!(rotations >= 1_000, "{rotations}");
    assert!(
        at_once.load(Ordering::Relaxed) > 0,
        "the machine is too busy for a window of {GRACE:?}"
    );
    bed.is_unharmed();
}

#[derive(Default)]
struct Seen {
    lost: AtomicU32,
    /// Rounds without a key in which all came within the window.
    at_once: AtomicU32,
    /// Those in which it is not known, for which there is no guarantee.
    too_late: AtomicU32,
    logged_out: AtomicU32,
}

impl Seen {
    fn count(counter: &AtomicU32) {
        counter.fetch_add(1, Ordering::Relaxed);
    }
}

/// One user, with two tabs.
struct Visit {
    browser: Browser,
    tabs: [Tab; 2],
    shops: [SocketAddr; 2],
    user: usize,
    token: String,
    rng: Rng,
}

impl Visit {
    async fn begin(bed: &Bed, n: usize, email: &str) -> Self {
        let (browser, shops) = (bed.browser(), bed.addrs());
        let token = browser.log_in(shops[n % 2], email).await;
        let tabs = [Tab::new(&browser, shops), Tab::new(&browser, shops)];
        Self { browser, tabs, shops, user: n + 1, token, rng: Rng::with_seed(n as u64) }
    }

    /// What the user has ordered, asked for with the last access token.
    async fn orders(&mut self) -> Answer {
        let (line, shop) = (format!("GET /users/{}/orders", self.user), self.rng.usize(..2));
        self.browser.call(&line, self.shops[shop], &self.token, &Value::Null).await
    }

    /// Both tabs refresh at once. One that gets no answer comes again with the key of that
    /// refresh, within the window or long after it.
    async fn round_with_key(&mut self, seen: &Seen) {
        let rngs = [self.rng.fork(), self.rng.fork()];
        let [one, two] = &mut self.tabs;
        let [first, second] = rngs;
        let tokens = tokio::join!(with_key(one, first, seen), with_key(two, second, seen));
        self.browser.settled().await;
        for token in [tokens.0, tokens.1] {
            self.token = token;
            let orders = self.orders().await;
            assert_eq!(orders.status, 200, "user {}: {orders:?}", self.user);
        }
    }

    /// Both tabs refresh at once, without a key, and again at once where an answer is lost.
    /// Returns whether the user is still logged in: if all came within the window, so it must
    /// be.
    async fn round_without_key(&mut self, seen: &Seen) -> bool {
        let lost = self.rng.u8(..10) < 4;
        let (here, there) = (self.rng.usize(..2), self.rng.usize(..2));
        let [one, two] = &mut self.tabs;
        one.connect().await;
        two.connect().await;
        let (began, date) = (Instant::now(), SystemTime::now());
        let loses = async {
            if lost {
                Seen::count(&seen.lost);
                one.refresh_in_vain(here, None, Loss::Answer).await;
            }
            (one.refresh(1 - here, None).await, Instant::now())
        };
        let loses_not = async { (two.refresh(there, None).await, Instant::now()) };
        let ((one, first), (two, second)) = tokio::join!(loses, loses_not);
        let last = self.browser.settled().await.max(Some(first.max(second)));
        // The store's clock decides, which is this machine's date, in whole milliseconds.
        let by_date = date.elapsed().unwrap_or(Duration::MAX);
        let within = last.is_some_and(|last| by_date.max(last - began) < GRACE - ROUNDING);
        let mut answers = vec![one, two];
        if answers.iter().all(|answer| answer.status == 200) {
            self.token = access_token(&answers[0]);
            answers.push(self.orders().await);
        }
        let logged_in = answers.iter().all(|answer| answer.status == 200);
        assert!(logged_in || !within, "user {} is logged out: {answers:?}", self.user);
        Seen::count(if within { &seen.at_once } else { &seen.too_late });
        if !logged_in {
            Seen::count(&seen.logged_out);
        }
        logged_in
    }
}

/// What one tab does in a round with keys: returns its access token.
async fn with_key(tab: &mut Tab, mut rng: Rng, seen: &Seen) -> String {
    loop {
        // The key before the cookie: an old key with a new cookie is told, and not punished.
        let key = tab.browser.retry_key(&mut rng).await;
        let shop = rng.usize(..2);
        let loss = match rng.u8(..10) {
            0..3 => Some(Loss::Answer),
            3 => Some(Loss::Connection),
            _ => None,
        };
        if let Some(loss) = loss {
            Seen::count(&seen.lost);
            tab.refresh_in_vain(shop, Some(&key), loss).await;
            tokio::time::sleep(GRACE * rng.u32(..300) / 100).await;
            continue;
        }
        let answer = tab.refresh(shop, Some(&key)).await;
        tab.browser.forget(&key);
        if answer.status == 200 {
            return access_token(&answer);
        }
        // The other tab was answered first, and the cookie is a new one already.
        assert_eq!(refusal(&answer), "invalid_request", "{answer:?}");
    }
}

fn refusal(answer: &Answer) -> String {
    assert_eq!(answer.status, 400, "{answer:?}");
    answer.json()["error"].as_str().unwrap().to_owned()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_logout_everywhere_ends_all_sessions_on_redis() {
    a_logout_everywhere_ends_all_sessions(Store::Redis).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_logout_everywhere_ends_all_sessions_on_postgres() {
    a_logout_everywhere_ends_all_sessions(Store::Postgres).await;
}

/// From the request to the last refusal of the last session, on both processes.
async fn a_logout_everywhere_ends_all_sessions(store: Store) {
    const USERS: usize = 12;
    const DEVICES: usize = 4;
    let bed = Bed::open(store, &[]).await;
    let emails = bed.emails().await;
    let mut took = Vec::new();
    for (n, email) in emails.iter().take(USERS).enumerate() {
        let mut devices = Vec::new();
        for device in 0..DEVICES {
            let browser = bed.browser();
            let token = browser.log_in(bed.addrs()[device % 2], email).await;
            devices.push((browser, token));
        }
        let mut watched = JoinSet::new();
        for (browser, token) in &devices {
            for shop in bed.addrs() {
                let connection = connect(&bed.tls, shop).await.unwrap();
                let line = format!("GET /users/{}/orders", n + 1);
                let request = browser.request(&line, Page::Own, shop, &bearer(token), "");
                let mut watch = Watch { connection, request };
                assert_eq!(watch.status().await, 200);
                watched.spawn(watch.until_refused());
            }
        }
        let (browser, token) = &devices[n % DEVICES];
        let shop = bed.addrs()[n % 2];
        let everywhere = "POST /auth/logout-everywhere";
        let everywhere = browser.request(everywhere, Page::Own, shop, &bearer(token), "");
        let mut connection = connect(&bed.tls, shop).await.unwrap();
        let began = Instant::now();
        let answer = connection.exchange(&everywhere).await.unwrap();
        assert_eq!(answer.status, 204, "{answer:?}");
        let refused = watched.join_all().await;
        took.push(refused.into_iter().max().unwrap() - began);
        for (browser, _) in &devices {
            for shop in bed.addrs() {
                assert_eq!(refusal(&browser.refresh(shop).await), "invalid_grant");
            }
        }
    }
    took.sort();
    println!(
        "{store:?}: {USERS} times {DEVICES} sessions ended on both processes after {:?} \
         (median), {:?} at most",
        took[USERS / 2],
        took[USERS - 1]
    );
    assert!(took[USERS / 2] < Duration::from_millis(100), "{took:?}");
    bed.is_unharmed();
}

/// A page that asks again and again.
struct Watch {
    connection: Https,
    request: Vec<u8>,
}

impl Watch {
    async fn status(&mut self) -> u16 {
        self.connection.exchange(&self.request).await.unwrap().status
    }

    async fn until_refused(mut self) -> Instant {
        loop {
            match self.status().await {
                200 => tokio::time::sleep(Duration::from_millis(2)).await,
                401 => return Instant::now(),
                other => panic!("{other}"),
            }
        }
    }
}
