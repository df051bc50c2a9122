//! Who uses the shop, and what each of them records.

use std::net::Ipv4Addr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use serde_json::{Value, json};
use tokio::time::sleep;

use super::client::{Answer, Client};
use super::record::{
    Acked, Cluster, Mark, Orders, Product, REVOKED, Register, UseAfterLogout, Violation,
};
use super::tally::Tally;

/// Of all seeded users.
pub(crate) const PASSWORD: &str = "correct horse battery staple";

/// What they buy has stock for all; what the shop's people change is none of it.
pub(crate) const ORDERED: i64 = 20;
const CHANGED: i64 = 101;

/// For how long a refresh token is taken again whose answer did not arrive.
const GRACE: Duration = Duration::from_secs(10);

/// A user, as seeded.
#[derive(Clone, Debug)]
pub(crate) struct Person {
    pub(crate) id: i64,
    pub(crate) name: String,
    pub(crate) email: String,
    pub(crate) city: String,
    pub(crate) shard: Cluster,
}

impl Person {
    fn client(&self, shop: &Shop) -> Client {
        let [high, low] = (self.id as u16).to_be_bytes();
        Client::new(&shop.url, Ipv4Addr::new(127, 0, 1 + high, low), &shop.tally)
            .with_orders(self.shard)
    }
}

/// Where all of them go.
#[derive(Clone)]
pub(crate) struct Shop {
    pub(crate) url: String,
    pub(crate) tally: Arc<Tally>,
    pub(crate) closes: Arc<AtomicBool>,
    /// What is wrong whenever it happens.
    pub(crate) wrong: Arc<Mutex<Vec<Violation>>>,
    /// Answers that a lost session would explain: when, and to what.
    pub(crate) logged_out: Arc<Mutex<Vec<(Acked, SystemTime, String)>>>,
}

impl Shop {
    fn is_open(&self) -> bool {
        !self.closes.load(Ordering::Relaxed)
    }

    fn wrong(&self, what: String) {
        self.wrong.lock().unwrap_or_else(PoisonError::into_inner).push(Violation(what));
    }

    /// When `person` was logged in, if they were. Each of them knows their password, and tries it seldom
    /// enough: to refuse them is wrong.
    async fn log_in(&self, client: &mut Client, person: &Person) -> Option<Acked> {
        let answer = client.log_in(&person.email, PASSWORD).await?;
        if answer.is_success() && answer.body["access_token"].is_string() {
            return Some(answer.acked());
        }
        self.wrong(format!("user {} may not log in: {answer:?}", person.id));
        None
    }

    fn logged_out(&self, since: Acked, noticed: SystemTime, user: i64) {
        let what = format!("user {user} was logged out");
        let mut noted = self.logged_out.lock().unwrap_or_else(PoisonError::into_inner);
        noted.push((since, noticed, what));
    }
}

/// What a shopper has recorded.
pub(crate) struct Shopper {
    person: Person,
    shop: Shop,
    client: Client,
    /// When the session was begun, or last rotated.
    since: Option<Acked>,
    pub(crate) name: Register,
    pub(crate) orders: Orders,
    rng: fastrand::Rng,
}

impl Shopper {
    pub(crate) fn new(person: Person, shop: &Shop, seed: u64) -> Self {
        let what = format!("the name of user {}", person.id);
        Self {
            client: person.client(shop),
            name: Register::new(what, Cluster::Shop, person.name.clone()),
            orders: Orders::new(person.id, person.shard),
            since: None,
            rng: fastrand::Rng::with_seed(seed ^ person.id as u64),
            shop: shop.clone(),
            person,
        }
    }

    /// Shops until it closes.
    pub(crate) async fn run(mut self, others: i64) -> Self {
        self.log_in().await;
        let mut revision = 0;
        while self.shop.is_open() {
            match self.rng.u8(..100) {
                0..25 => {
                    revision += 1;
                    self.rename(format!("user {} rev {revision}", self.person.id)).await;
                    self.look().await;
                }
                25..40 => {
                    self.order().await;
                    self.list().await;
                }
                40..65 => self.look().await,
                65..80 => self.list().await,
                80..95 => self.pry(others).await,
                _ => self.refresh().await,
            }
            // The pace of people, and room for the other processes on this machine.
            sleep(Duration::from_millis(self.rng.u64(20..80))).await;
        }
        self
    }

    async fn log_in(&mut self) {
        while self.shop.is_open() {
            let since = self.shop.log_in(&mut self.client, &self.person).await;
            if since.is_some() {
                self.since = since;
                return;
            }
            sleep(Duration::from_millis(200)).await;
        }
    }

    fn path(&self) -> String {
        format!("/users/{}", self.person.id)
    }

    /// A good answer. One that says that nobody is logged in is noted, and mended.
    async fn good(&mut self, answer: Option<Answer>) -> Option<Answer> {
        let answer = answer?;
        if answer.says_logged_out() {
            if let Some(since) = self.since.take() {
                self.shop.logged_out(since, answer.ended, self.person.id);
            }
            self.log_in().await;
            return None;
        }
        if !answer.is_success() {
            self.shop.wrong(format!("user {}: {answer:?}", self.person.id));
            return None;
        }
        Some(answer)
    }

    async fn rename(&mut self, name: String) {
        let Person { email, city, .. } = &self.person;
        let body = json!({ "name": name, "email": email, "city": city });
        let path = self.path();
        let answer = self.client.put(&path, &body).await;
        let refused = answer.as_ref().is_some_and(|answer| !answer.is_success());
        let answer = self.good(answer).await;
        if !refused {
            let outcome = answer.map(|answer| answer.acked());
            self.name.written(name, outcome.ok_or_else(SystemTime::now));
        }
    }

    async fn look(&mut self) {
        let path = self.path();
        let answer = self.client.get(&path).await;
        let Some(answer) = self.good(answer).await else { return };
        let Answer { body, ended, .. } = answer;
        if body["id"] != self.person.id || body["email"] != self.person.email.as_str() {
            self.shop.wrong(format!("user {} was shown {body}", self.person.id));
        }
        self.name.read(body["name"].as_str().unwrap_or_default().to_owned(), ended);
        self.orders.counted(body["orders"].as_u64().unwrap_or_default() as usize, ended);
    }

    async fn order(&mut self) {
        let mark = Mark {
            product: 1 + self.person.id % ORDERED,
            quantity: 1 + self.orders.len() as i64,
        };
        // Of a product there are as many kinds of orders as quantities that are allowed.
        if mark.quantity > 1_000 {
            return;
        }
        let body = json!({ "product_id": mark.product, "quantity": mark.quantity });
        let path = format!("{}/orders", self.path());
        let answer = self.client.post(&path, &body).await;
        let refused = answer.as_ref().is_some_and(|answer| !answer.is_success());
        let answer = self.good(answer).await;
        if !refused {
            let acked =
                answer.map(|answer| (answer.body["id"].as_i64().unwrap(), answer.acked()));
            self.orders.placed(mark, acked);
        }
    }

    async fn list(&mut self) {
        let path = format!("{}/orders", self.path());
        let answer = self.client.get(&path).await;
        let Some(answer) = self.good(answer).await else { return };
        let orders = answer.body.as_array().map(Vec::as_slice).unwrap_or_default();
        let shown = |order: &Value| {
            let number = |field: &str| order[field].as_i64().unwrap_or_default();
            let mark = Mark { product: number("product_id"), quantity: number("quantity") };
            (number("id"), mark)
        };
        self.orders.listed(orders.iter().map(shown).collect(), answer.ended);
    }

    /// Tries to see what is somebody else's.
    async fn pry(&mut self, others: i64) {
        let other = self.rng.i64(1..=others);
        if other == self.person.id {
            return;
        }
        let path = match self.rng.bool() {
            true => format!("/users/{other}"),
            false => format!("/users/{other}/orders"),
        };
        match self.client.get(&path).await {
            Some(answer) if answer.is_success() => {
                self.shop.wrong(format!("user {} may see {path}", self.person.id));
            }
            // Not theirs.
            Some(answer) if answer.status == 403 => {}
            answer => {
                self.good(answer).await;
            }
        }
    }

    async fn refresh(&mut self) {
        let first = SystemTime::now();
        // A token that may be used up is good for a while, for who tries again.
        let answer = loop {
            let answer = self.client.refresh().await;
            if answer.is_some() || !self.shop.is_open() {
                break answer;
            }
            sleep(Duration::from_millis(200)).await;
        };
        let Some(answer) = answer else { return };
        if answer.says_logged_out() && answer.ended > first + GRACE {
            self.log_in().await;
        } else if let Some(answer) = self.good(Some(answer)).await {
            self.since = Some(answer.acked());
        }
    }
}

/// Logs in, logs out everywhere, and goes on using the token, on all workers in turn.
pub(crate) async fn logs_out(people: Vec<Person>, shop: Shop) -> Vec<UseAfterLogout> {
    let mut uses = Vec::new();
    for person in people.iter().cycle() {
        if !shop.is_open() {
            break;
        }
        let mut client = person.client(&shop);
        let Some(since) = shop.log_in(&mut client, person).await else {
            sleep(Duration::from_millis(200)).await;
            continue;
        };
        let path = format!("/users/{}", person.id);
        // It is known everywhere that the token is good.
        for _ in 0..4 {
            accepts(client.get(&path).await, since, person, &shop);
        }
        let answer = client.post("/auth/logout-everywhere", &json!({})).await;
        let Some(logged_out) = accepts(answer, since, person, &shop) else { continue };
        while shop.is_open()
            && SystemTime::now() < logged_out.ended + REVOKED + Duration::from_millis(500)
        {
            if let Some(answer) = client.get(&path).await {
                let Answer { began, ended, .. } = answer;
                let accepted = answer.is_success();
                uses.push(UseAfterLogout { logged_out, began, ended, accepted });
            }
            sleep(Duration::from_millis(50)).await;
        }
        // Nor is there another token to be had.
        if let Some(Answer { status, began, ended, .. }) = client.refresh().await {
            let accepted = status == 200;
            uses.push(UseAfterLogout { logged_out, began, ended, accepted });
        }
    }
    uses
}

/// When a request with a good token was answered, if it was.
fn accepts(
    answer: Option<Answer>,
    since: Acked,
    person: &Person,
    shop: &Shop,
) -> Option<Acked> {
    let answer = answer?;
    match answer.status {
        200..300 => return Some(answer.acked()),
        401 => shop.logged_out(since, answer.ended, person.id),
        _ => shop.wrong(format!("user {}: {answer:?}", person.id)),
    }
    None
}

/// What is known of the product that is changed at the moment, and of those before.
pub(crate) type Products = Arc<Mutex<Vec<Product>>>;

/// From one pair of changes to the next: longer than a copy may be shown, so that a state which
/// is kept by mistake is seen.
const BETWEEN_CHANGES: Duration = Duration::from_millis(1_500);

/// Raises a product's price, twice in a row, so that what is loaded after the first is late for
/// the second; where the outcome is not known, takes another product.
pub(crate) async fn changes_products(admin: Person, shop: Shop, products: Products) {
    let mut client = admin.client(&shop);
    let (mut version, mut is_in) = (0, false);
    while shop.is_open() {
        if !is_in {
            is_in = shop.log_in(&mut client, &admin).await.is_some();
        }
        for _ in 0..2 {
            if version == 0 {
                let mut products = products.lock().unwrap_or_else(PoisonError::into_inner);
                let id = CHANGED + products.len() as i64;
                products.push(Product::new(id));
            }
            version += 1;
            let known = change(&mut client, &shop, &products, version, &mut is_in).await;
            version = if known { version } else { 0 };
            // For whoever looks to miss the first in the cache.
            sleep(Duration::from_millis(20)).await;
        }
        sleep(BETWEEN_CHANGES).await;
    }
}

/// Whether it is known what became of it.
async fn change(
    client: &mut Client,
    shop: &Shop,
    products: &Products,
    version: i64,
    is_in: &mut bool,
) -> bool {
    let last = products.lock().unwrap_or_else(PoisonError::into_inner).len() as i64 - 1;
    let id = CHANGED + last;
    let body =
        json!({ "name": "Lamp", "description": "A lamp.", "price_cents": version, "stock": 5 });
    let answer = client.put(&format!("/products/{id}"), &body).await;
    let mut products = products.lock().unwrap_or_else(PoisonError::into_inner);
    let product = products.last_mut().expect("one was just changed");
    match &answer {
        Some(answer) if answer.is_success() => product.written(version, Some(answer.acked())),
        None => product.written(version, None),
        Some(answer) if answer.status == 401 => *is_in = false,
        Some(answer) => shop.wrong(format!("changing product {id}: {answer:?}")),
    }
    answer.is_some()
}

/// Looks at the product that is changed, without a session: at what it is, and at its page, which
/// the front may have kept.
pub(crate) async fn looks_at_products(number: u8, shop: Shop, products: Products) {
    let mut client = Client::new(&shop.url, Ipv4Addr::new(127, 0, 250, number), &shop.tally);
    let mut page = false;
    while shop.is_open() {
        let count = products.lock().unwrap_or_else(PoisonError::into_inner).len();
        page = !page;
        if let Some(last) = count.checked_sub(1) {
            let what = if page { "/page" } else { "" };
            let answer =
                client.get(&format!("/products/{}{what}", CHANGED + last as i64)).await;
            match answer {
                None => {}
                Some(Answer { body, began, ended, status: 200 }) => {
                    let version = shown(&body);
                    let mut products = products.lock().unwrap_or_else(PoisonError::into_inner);
                    products[last].read(version, began, ended);
                }
                Some(answer) => shop.wrong(format!("looking at a product: {answer:?}")),
            }
        }
        sleep(Duration::from_millis(15)).await;
    }
}

/// The version that a product or its page shows: before its first change it is as it was seeded.
fn shown(body: &Value) -> i64 {
    let price = match body.as_str() {
        Some(page) => page
            .contains("<h1>Lamp</h1>")
            .then(|| page.split_once("<data value=\"")?.1.split_once('"')?.0.parse().ok())
            .flatten(),
        None => body["price_cents"].as_i64().filter(|_| body["name"] == "Lamp"),
    };
    price.unwrap_or_default()
}
