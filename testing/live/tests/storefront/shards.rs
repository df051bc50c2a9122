//! Two processes of a shop whose orders are on two shards, beside the database of its users
//! and products.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::PathBuf;

use serde_json::{Value, json};
use shard_router::SlotMap;
use testbed::guard::ExitSignal;
use testbed::link::Link;
use testbed::postgres::{Client, Postgres};
use testbed::redis::Redis;
use testbed::{Folder, eventually};

use crate::replicas::KEY;
use crate::shop::{DEADLINE, Shop, USERS, revision, seed, start};

pub(crate) const SHARDS: [&str; 2] = ["orders-1", "orders-2"];

/// What the servers do not ask for, and what must not be shown.
const PASSWORD: &str = "sesame";

struct Bed {
    main: Postgres,
    link: Link,
    shards: [Postgres; 2],
    folder: Folder,
}

impl Bed {
    /// Seeded.
    async fn new() -> Self {
        let shards = [Postgres::start().await.unwrap(), Postgres::start().await.unwrap()];
        let main = Postgres::start().await.unwrap();
        let link = Link::to(main.addr()).unwrap();
        let folder = Folder::new("storefront").await.unwrap();
        let bed = Self { main, link, shards, folder };
        bed.topology("shards.toml", bed.shards.each_ref().map(Postgres::url));
        bed.seed().await;
        bed
    }

    fn topology(&self, name: &str, urls: [String; 2]) -> PathBuf {
        let mut text = "key = [\"bigint\"]\n".to_owned();
        for (shard, url) in SHARDS.iter().zip(urls) {
            let url = url.replace("postgres@", &format!("postgres:{PASSWORD}@"));
            assert!(url.contains(PASSWORD), "{url}");
            text += &format!("[[shards]]\nname = \"{shard}\"\nconnection = \"{url}\"\n");
        }
        let path = self.folder.path().join(name);
        fs::write(&path, text).unwrap();
        path
    }

    fn file(&self) -> String {
        self.folder.path().join("shards.toml").to_str().unwrap().to_owned()
    }

    async fn seed(&self) {
        seed(&self.folder, &self.main, &["--shards", &self.file()]).await;
    }

    /// A process that reaches the database through the link.
    async fn shop(&self, name: &str) -> Shop {
        self.shop_on(name, &self.file()).await
    }

    async fn shop_on(&self, name: &str, file: &str) -> Shop {
        let url = self.main.url_at(self.link.addr());
        Shop::open(&self.folder, name, &url, &["--cache", "off", "--shards", file]).await
    }

    async fn client(&self, shard: usize) -> Client {
        self.shards[shard].client().await.unwrap()
    }

    /// All orders of a shard, as (number, user).
    async fn on(&self, shard: usize) -> BTreeSet<(i64, i64)> {
        let rows = self.client(shard).await;
        let rows = rows.query("SELECT id, user_id FROM storefront.orders", &[]).await.unwrap();
        rows.iter().map(|row| (row.get(0), row.get(1))).collect()
    }

    /// Whether nothing waits to be placed.
    async fn is_settled(&self) -> bool {
        let sql = "SELECT count(*) FROM storefront.unsettled_orders";
        let row = self.main.client().await.unwrap().query_one(sql, &[]).await.unwrap();
        row.get::<_, i64>(0) == 0
    }

    /// By product, as (stock, what was ordered of it).
    async fn stocks(&self) -> BTreeMap<i64, (i64, i64)> {
        let main = self.main.client().await.unwrap();
        let stocks =
            main.query("SELECT id, stock FROM storefront.products", &[]).await.unwrap();
        let mut all: BTreeMap<i64, (i64, i64)> =
            stocks.iter().map(|row| (row.get(0), (row.get(1), 0))).collect();
        for shard in 0..2 {
            let sql = "SELECT product_id, quantity FROM storefront.orders";
            for row in self.client(shard).await.query(sql, &[]).await.unwrap() {
                all.get_mut(&row.get(0)).unwrap().1 += row.get::<_, i64>(1);
            }
        }
        all
    }
}

/// The shard of a user.
fn shard_of(user: i64) -> usize {
    let map = SlotMap::even(SHARDS).unwrap();
    SHARDS.iter().position(|shard| *shard == map.shard_of(&user).as_str()).unwrap()
}

/// The first user of a shard.
pub(crate) fn user_on(shard: usize) -> i64 {
    (1..=USERS).find(|user| shard_of(*user) == shard).unwrap()
}

async fn order(shop: &Shop, user: i64, wish: &Value) -> crate::http::Answer {
    shop.connect().await.post(&format!("/users/{user}/orders"), wish).await.unwrap()
}

pub(crate) fn wish(product: i64, quantity: i64) -> Value {
    json!({ "product_id": product, "quantity": quantity })
}

/// On the shard that its user's slot says, on no other, with a number that no other order has;
/// and each page shows it.
#[tokio::test]
async fn an_order_is_on_the_shard_of_its_user_and_only_there() {
    let bed = Bed::new().await;
    let shops = [bed.shop("one").await, bed.shop("two").await];
    let seeded = [bed.on(0).await, bed.on(1).await];
    assert_eq!(seeded[0].len() + seeded[1].len(), 2 * USERS as usize);

    let mut placed = [BTreeSet::new(), BTreeSet::new()];
    for user in 1..=60 {
        let (here, there) = (&shops[user as usize % 2], &shops[1 - user as usize % 2]);
        let answer = order(here, user, &wish(user, 2)).await;
        assert_eq!(answer.status, 201, "{answer:?}");
        let id = answer.json()["id"].as_i64().unwrap();
        placed[shard_of(user)].insert((id, user));
        let list = there.get(&format!("/users/{user}/orders")).await.json();
        assert_eq!(list[0], answer.json());
        let profile = there.get(&format!("/users/{user}")).await.json();
        assert_eq!(profile["last_orders"][0], answer.json());
        assert_eq!(profile["orders"], list.as_array().unwrap().len());
    }
    for shard in 0..2 {
        assert!(placed[shard].len() > 10, "{placed:?}");
        let expected: BTreeSet<_> = seeded[shard].union(&placed[shard]).copied().collect();
        assert_eq!(bed.on(shard).await, expected);
    }
    // Of 60 requests on two processes, at most at one moment.
    let ids: BTreeSet<i64> = placed.iter().flatten().map(|(id, _)| *id).collect();
    let processes: BTreeSet<i64> = ids.iter().map(|id| id >> 12 & 1023).collect();
    assert_eq!((ids.len(), processes.len()), (60, 2));
    assert!(bed.is_settled().await);
    // What the foreign keys have said is said by the row that accepts an order.
    for (user, wish, status, code) in
        [(USERS + 1, wish(1, 1), 404, "unknown_id"), (1, wish(999_999, 1), 404, "unknown_id")]
    {
        let answer = order(&shops[0], user, &wish).await;
        assert_eq!((answer.status, &*answer.code()), (status, code));
    }
    assert_eq!(shops[0].get(&format!("/users/{}/orders", USERS + 1)).await.status, 404);
    for shard in 0..2 {
        assert_eq!(bed.on(shard).await.len(), seeded[shard].len() + placed[shard].len());
    }
    shops.iter().for_each(Shop::is_unharmed);
}

/// Whoever writes around the shop is stopped by the database.
#[tokio::test]
async fn a_shard_refuses_what_belongs_on_the_other() {
    let bed = Bed::new().await;
    let sql = "INSERT INTO storefront.orders (id, user_id, product_id, quantity)
               VALUES (1000000, $1, 1, 1)";
    for shard in 0..2 {
        let client = bed.client(shard).await;
        let refused = client.execute(sql, &[&user_on(1 - shard)]).await.unwrap_err();
        assert_eq!(refused.code().unwrap().code(), "23514", "{refused}");
        assert_eq!(client.execute(sql, &[&user_on(shard)]).await.unwrap(), 1);
    }
    // Its own check is no difference between the schemas.
    bed.seed().await;
    assert!(!bed.on(0).await.contains(&(1_000_000, user_on(0))));
}

/// An order that the stock does not cover is on no shard.
#[tokio::test]
async fn an_order_is_committed_when_its_stock_was_taken() {
    let bed = Bed::new().await;
    let shop = bed.shop("serve").await;
    assert_eq!(shop.put("/products/5", &revision(3)).await.status, 200);
    let (before, user) = (bed.on(0).await, user_on(0));
    assert_eq!(order(&shop, user, &wish(5, 3)).await.status, 201);
    let answer = order(&shop, user, &wish(5, 1)).await;
    assert_eq!((answer.status, &*answer.code()), (409, "out_of_stock"));
    assert_eq!(bed.on(0).await.len(), before.len() + 1);
    // Nor one that nobody could take it for.
    bed.link.cut();
    assert_eq!(order(&shop, user, &wish(6, 1)).await.status, 503);
    bed.link.heal();
    assert_eq!(bed.on(0).await.len(), before.len() + 1);
    assert!(bed.is_settled().await);
    shop.is_unharmed();
}

/// What the two shards say is put in one order, and nothing is missing.
#[tokio::test]
async fn a_report_is_of_all_shards_and_in_order() {
    let bed = Bed::new().await;
    let shop = bed.shop("serve").await;
    for user in 1..=30 {
        assert_eq!(order(&shop, user, &wish(7, 1 + user % 3)).await.status, 201);
    }
    let mut all: Vec<(String, i64, i64, i64, i64)> = Vec::new();
    for shard in 0..2 {
        let sql =
            "SELECT to_char(placed_at AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.US\"Z\"'),
                          id, user_id, product_id, quantity FROM storefront.orders";
        let rows = bed.client(shard).await.query(sql, &[]).await.unwrap();
        all.extend(rows.iter().map(|r| (r.get(0), r.get(1), r.get(2), r.get(3), r.get(4))));
    }
    all.sort_unstable_by(|a, b| b.cmp(a));
    let report = shop.get("/reports/orders").await.json();
    assert_eq!(report["orders"], all.len());
    assert_eq!(report["units"], all.iter().map(|order| order.4).sum::<i64>());
    assert_eq!(report["missing"], json!([]));
    let newest: Vec<Value> = all
        .iter()
        .take(20)
        .map(|(at, id, user, product, quantity)| {
            json!({ "user_id": user, "id": id, "product_id": product, "quantity": quantity,
                    "placed_at": at })
        })
        .collect();
    assert_eq!(report["newest"], json!(newest));

    let mut sold: BTreeMap<i64, (i64, i64)> = BTreeMap::new();
    for (_, _, _, product, quantity) in &all {
        let (units, orders) = sold.entry(*product).or_default();
        (*units, *orders) = (*units + quantity, *orders + 1);
    }
    let mut sold: Vec<_> =
        sold.iter().map(|(product, (units, orders))| (-units, *product, *orders)).collect();
    sold.sort_unstable();
    let sales = shop.get("/reports/sales").await.json();
    let shown: Vec<_> = sales
        .as_array()
        .unwrap()
        .iter()
        .map(|sold| {
            let number = |field: &str| sold[field].as_i64().unwrap();
            assert!(sold["name"].is_string());
            (-number("units"), number("product_id"), number("orders"))
        })
        .collect();
    assert_eq!(shown, sold[..10]);
    assert_eq!((shown[0].1, shown[0].2 >= 30), (7, true));

    let refused = shop.get("/reports/orders?partial=perhaps").await;
    assert_eq!((refused.status, &*refused.code()), (400, "bad_query"));
    shop.is_unharmed();
}

/// The other's users go on, the report is whole or says what is missing, nobody is shown a
/// secret; and with the shard back all is well, with the same process.
#[tokio::test]
async fn a_shard_that_is_down_takes_its_own_users_along() {
    let bed = Bed::new().await;
    let shop = bed.shop("serve").await;
    let (up, down) = (user_on(0), user_on(1));
    let before = shop.get("/reports/orders").await.json();
    let stock = shop.get("/products/9").await.json()["stock"].clone();
    let of_down = bed.on(1).await.len();

    bed.shards[1].kill().await.unwrap();
    let mut said = Vec::new();
    for _ in 0..5 {
        let path = format!("/users/{down}");
        for refused in [
            order(&shop, down, &wish(9, 1)).await,
            shop.get(&path).await,
            shop.get(&format!("{path}/orders")).await,
        ] {
            assert_eq!((refused.status, &*refused.code()), (503, "source_unavailable"));
            said.push(refused.body);
        }
        assert_eq!(order(&shop, up, &wish(1, 1)).await.status, 201);
        assert_eq!(shop.get(&format!("/users/{up}")).await.status, 200);
        assert_eq!(shop.get("/products/1").await.status, 200);
    }
    // Nothing was sent, so nothing was taken, and nothing will come of it.
    assert_eq!(shop.get("/products/9").await.json()["stock"], stock);
    assert!(bed.is_settled().await);

    let refused = shop.get("/reports/orders").await;
    assert_eq!((refused.status, &*refused.code()), (503, "report_incomplete"));
    assert!(shop.log().contains("shard orders-2"), "{}", shop.log());
    said.push(refused.body);
    assert_eq!(shop.get("/reports/sales").await.code(), "report_incomplete");
    let partial = shop.get("/reports/orders?partial=true").await;
    assert_eq!(partial.json()["missing"], json!(["orders-2"]));
    assert_eq!(partial.json()["orders"], bed.on(0).await.len());
    said.push(partial.body);
    // A process that opens now serves the others, too.
    let late = bed.shop("late").await;
    assert_eq!(late.get(&format!("/users/{up}")).await.status, 200);

    bed.shards[1].restart().await.unwrap();
    for shop in [&shop, &late] {
        eventually(DEADLINE, async || order(shop, down, &wish(9, 1)).await.status == 201).await;
    }
    let after = shop.get("/reports/orders").await.json();
    assert_eq!(after["missing"], json!([]));
    assert_eq!(after["orders"].as_i64().unwrap(), before["orders"].as_i64().unwrap() + 7);
    assert_eq!(bed.on(1).await.len(), of_down + 2);
    for internal in [PASSWORD, "127.0.0.1", "os error"] {
        assert!(!said.concat().contains(internal), "{said:?}");
    }
    for shop in [&shop, &late] {
        assert!(!shop.log().contains(PASSWORD), "{}", shop.log());
        shop.is_unharmed();
    }
}

/// A process dies when the stock is taken and the order is not committed: it becomes an order
/// all the same, once.
#[tokio::test]
async fn an_order_that_was_accepted_is_placed_once_whoever_dies() {
    let bed = Bed::new().await;
    let way =
        [Link::to(bed.shards[0].addr()).unwrap(), Link::to(bed.shards[1].addr()).unwrap()];
    let urls = [0, 1].map(|n| bed.shards[n].url_at(way[n].addr()));
    let file = bed.topology("through-links.toml", urls);
    let first = bed.shop_on("first", file.to_str().unwrap()).await;
    let before = bed.stocks().await;
    let orders = bed.on(0).await.len();
    let user = user_on(0);
    // Connections that are open, and a statement that is prepared.
    assert_eq!(order(&first, user, &wish(3, 2)).await.status, 201);

    // It waits for the stock, while its shard goes away.
    let mut main = bed.main.client().await.unwrap();
    let lock = main.transaction().await.unwrap();
    lock.batch_execute("SELECT FROM storefront.products WHERE id = 3 FOR UPDATE")
        .await
        .unwrap();
    let accepted = first.counter("storefront_db_queries_total", "accept_order").await;
    let mut client = first.connect().await;
    let waiting = tokio::spawn(async move {
        client.post(&format!("/users/{user}/orders"), &wish(3, 5)).await
    });
    eventually(DEADLINE, async || {
        first.counter("storefront_db_queries_total", "accept_order").await > accepted
    })
    .await;
    way[0].blackhole();
    lock.rollback().await.unwrap();
    eventually(DEADLINE, async || !bed.is_settled().await).await;
    first.process.signal(ExitSignal::Kill).unwrap();
    assert!(waiting.await.unwrap().is_err());
    assert_eq!(bed.on(0).await.len(), orders + 1);

    let second = bed.shop("second").await;
    eventually(DEADLINE, async || bed.is_settled().await).await;
    assert_eq!(bed.on(0).await.len(), orders + 2);
    let list = second.get(&format!("/users/{user}/orders")).await.json();
    assert_eq!((&list[0]["product_id"], &list[0]["quantity"]), (&json!(3), &json!(5)));
    // What was taken from the stock is what was ordered.
    let after = bed.stocks().await;
    for (product, (stock, ordered)) in &after {
        let (stock_before, ordered_before) = before[product];
        assert_eq!(stock_before - stock, ordered - ordered_before, "product {product}");
    }
    second.is_unharmed();
}

/// Orders while a shard is killed again and again: what was answered with 201 is there once, and
/// in the end stock and orders agree, whatever was answered.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn stock_and_orders_agree_after_a_shard_was_killed() {
    let bed = Bed::new().await;
    let shop = bed.shop("serve").await;
    let before = bed.stocks().await;
    let mut buyers = tokio::task::JoinSet::new();
    for buyer in 0..8_i64 {
        let addr = shop.addr;
        buyers.spawn(async move {
            let mut connection = crate::http::Connection::open(addr).await.unwrap();
            let (mut placed, mut refused) = (BTreeSet::new(), 0);
            for n in 0..150 {
                let (user, product) = (1 + (buyer + 8 * n) % USERS, 1 + n % 10);
                let path = format!("/users/{user}/orders");
                let answer = connection.post(&path, &wish(product, 1)).await.unwrap();
                match answer.status {
                    201 => drop(placed.insert((answer.json()["id"].as_i64().unwrap(), user))),
                    503 => refused += 1,
                    _ => panic!("{answer:?}"),
                }
            }
            (placed, refused)
        });
    }
    for _ in 0..3 {
        bed.shards[1].kill().await.unwrap();
        bed.shards[1].restart().await.unwrap();
    }
    let (mut placed, mut refused) = (BTreeSet::new(), 0);
    while let Some(buyer) = buyers.join_next().await {
        let (of_buyer, refused_to_buyer) = buyer.unwrap();
        placed.extend(of_buyer);
        refused += refused_to_buyer;
    }
    println!("{} were placed, {refused} were refused", placed.len());
    eventually(DEADLINE, async || bed.is_settled().await).await;
    for shard in 0..2 {
        let there = bed.on(shard).await;
        let expected: BTreeSet<_> =
            placed.iter().copied().filter(|(_, user)| shard_of(*user) == shard).collect();
        assert!(there.is_superset(&expected), "{:?}", expected.difference(&there));
    }
    for (product, (stock, ordered)) in bed.stocks().await {
        let (stock_before, ordered_before) = before[&product];
        assert_eq!(stock_before - stock, ordered - ordered_before, "product {product}");
    }
    shop.is_unharmed();
}

/// Users and products still have a replica, which replays nothing here, and a cache for all
/// processes; what a page shows of orders is of their shard, and none of it is old.
#[tokio::test]
async fn what_stays_in_the_database_keeps_its_replicas_and_its_cache() {
    let bed = Bed::new().await;
    let replica = bed.main.replica().await.unwrap();
    replica.caught_up(DEADLINE).await.unwrap();
    replica.pause_replay().await.unwrap();
    let redis = Redis::start().await.unwrap();
    let (urls, file) = ([replica.url(), bed.main.url()].join(","), bed.file());
    let redis = redis.url();
    let options = ["--cache", "shared", "--redis", &redis, "--shards", &file];
    let options = [&options[..], &["--token-key", KEY, "--development-cookies"]].concat();
    let shops = [
        Shop::open(&bed.folder, "one", &urls, &options).await,
        Shop::open(&bed.folder, "two", &urls, &options).await,
    ];
    for n in 0..10 {
        let (here, there) = (&shops[n % 2], &shops[1 - n % 2]);
        let (user, city) = (1 + n as i64 % 3, format!("City {n}"));
        let path = format!("/users/{user}");
        let account =
            json!({ "name": "Ada", "email": format!("ada{n}@example.org"), "city": city });
        assert_eq!(here.put(&path, &account).await.status, 200);
        let placed = order(here, user, &wish(20 + n as i64, 1)).await;
        assert_eq!(placed.status, 201, "{placed:?}");
        let profile = there.get(&path).await.json();
        assert_eq!(
            (&profile["city"], &profile["last_orders"][0]),
            (&json!(city), &placed.json())
        );
        let stock = there.get(&format!("/products/{}", 20 + n)).await.json()["stock"].clone();
        assert_eq!(stock, bed.stocks().await[&(20 + n as i64)].0);
    }
    for shop in &shops {
        // What nobody has changed is the replica's.
        assert_eq!(shop.get("/products/500").await.status, 200);
        assert_eq!(shop.get("/users/150").await.status, 200);
        assert!(shop.counter("rw_split_requests_total", "target=\"replica\"").await > 0);
        shop.is_unharmed();
    }
}

/// A shop that was seeded with shards is not opened without them, nor the other way round, nor
/// with what are none of its shards.
#[tokio::test]
async fn a_shop_finds_its_orders_or_does_not_open() {
    let bed = Bed::new().await;
    let [one, two] = bed.shards.each_ref().map(Postgres::url);
    let exchanged = bed.topology("exchanged.toml", [two, one]);
    let other = Postgres::start().await.unwrap();
    seed(&bed.folder, &other, &[]).await;
    for (name, database, shards, said) in [
        ("without", &bed.main, None, "give --shards"),
        ("beside", &other, Some(bed.file()), "run `storefront seed` with the same --shards"),
        ("exchanged", &bed.main, Some(exchanged.to_str().unwrap().to_owned()), "exchanged"),
    ] {
        let mut words = vec!["serve", "--listen", "127.0.0.1:0"];
        words.extend(shards.iter().flat_map(|file| ["--shards", file.as_str()]));
        let status = start(&bed.folder, name, &database.url(), &words).await.wait().await;
        assert_eq!(status.code(), Some(1), "{name}");
        let log =
            fs::read_to_string(bed.folder.path().join(name).with_extension("err")).unwrap();
        assert!(log.contains(said) && !log.contains(PASSWORD), "{name}: {log}");
    }
}
