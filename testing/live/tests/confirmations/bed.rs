//! A shop, its two shards, a queue, a mail service, and who confirms orders.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::OnceLock;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper_util::client::legacy::Client as HttpClient;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use live::mail::Mail;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::{Value, json};
use shard_router::SlotMap;
use testbed::guard::{ExitSignal, Process, spawn_guarded};
use testbed::postgres::{Client, Postgres};
use testbed::redis::Redis;
use testbed::{Folder, eventually, eventually_some};

pub(crate) const SOON: Duration = Duration::from_secs(45);
pub(crate) const USERS: i64 = 100;
pub(crate) const KEY: &str = "storefront-confirmations";
const SHARDS: [&str; 2] = ["orders-1", "orders-2"];

fn program() -> &'static PathBuf {
    static PROGRAM: OnceLock<PathBuf> = OnceLock::new();
    PROGRAM.get_or_init(|| live::program("storefront", &[]))
}

pub(crate) struct Bed {
    pub(crate) main: Postgres,
    pub(crate) shards: Vec<Postgres>,
    pub(crate) redis: Redis,
    pub(crate) mail: Mail,
    folder: Folder,
}

/// A process of the program.
pub(crate) struct Running {
    pub(crate) process: Process,
    out: PathBuf,
}

impl Running {
    pub(crate) fn said(&self) -> String {
        fs::read_to_string(self.out.with_extension("err")).unwrap()
    }

    pub(crate) fn printed(&self) -> String {
        fs::read_to_string(&self.out).unwrap()
    }

    /// Its first line is a URL.
    async fn address(&self) -> SocketAddr {
        eventually_some(SOON, async || {
            assert_eq!(self.process.exit_status(), None, "{}", self.said());
            let printed = self.printed();
            printed.strip_suffix('\n')?.strip_prefix("http://")?.parse().ok()
        })
        .await
    }

    /// Ends it in good order.
    pub(crate) async fn stop(&self) {
        let status = self.process.stop(SOON).await;
        assert!(status.success(), "{status}: {}", self.said());
    }

    pub(crate) fn is_unharmed(&self) {
        let said = self.said();
        assert!(!said.contains("panicked") && !said.contains("ERROR"), "{said}");
    }
}

impl Bed {
    /// With orders on two shards.
    pub(crate) async fn new() -> Self {
        let shards = vec![Postgres::start().await.unwrap(), Postgres::start().await.unwrap()];
        let bed = Self::over(shards).await;
        let mut text = "key = [\"bigint\"]\n".to_owned();
        for (name, shard) in SHARDS.iter().zip(&bed.shards) {
            let url = shard.url();
            text += &format!("[[shards]]\nname = \"{name}\"\nconnection = \"{url}\"\n");
        }
        fs::write(bed.topology(), text).unwrap();
        bed.seed().await;
        bed
    }

    /// With orders in the shop's database.
    pub(crate) async fn without_shards() -> Self {
        let bed = Self::over(Vec::new()).await;
        bed.seed().await;
        bed
    }

    async fn over(shards: Vec<Postgres>) -> Self {
        Self {
            main: Postgres::start().await.unwrap(),
            shards,
            redis: Redis::start().await.unwrap(),
            mail: Mail::open().await,
            folder: Folder::new("confirmations").await.unwrap(),
        }
    }

    fn topology(&self) -> PathBuf {
        self.folder.path().join("shards.toml")
    }

    async fn seed(&self) {
        let sizes = ["seed", "--products", "50", "--users", &USERS.to_string()];
        let seed =
            self.start("seed", &[&sizes[..], &["--orders-per-user", "1"]].concat()).await;
        let status = seed.process.wait().await;
        assert!(status.success(), "{status}: {}", seed.said());
    }

    /// Runs the program; its files are called `name`.
    pub(crate) async fn start(&self, name: &str, words: &[&str]) -> Running {
        let out = self.folder.path().join(name).with_extension("out");
        let mut command = Command::new(program());
        command
            .args(words)
            .current_dir("/")
            .env("DATABASE_URL", self.main.url())
            .env("REDIS_URL", self.redis.url())
            .env_remove("LOGIN_STORE")
            .env_remove("SHARDS")
            .env("RUST_LOG", "info")
            .stdin(Stdio::null())
            .stdout(File::create(&out).unwrap())
            .stderr(File::create(out.with_extension("err")).unwrap());
        if !self.shards.is_empty() {
            command.env("SHARDS", self.topology());
        }
        let process = spawn_guarded(command, ExitSignal::Terminate).await.unwrap();
        Running { process, out }
    }

    pub(crate) async fn shop(&self, name: &str) -> Shop {
        let words = ["serve", "--listen", "127.0.0.1:0", "--cache", "off"];
        let running = self.start(name, &words).await;
        let addr = running.address().await;
        Shop { running, url: format!("http://{addr}"), client: client() }
    }

    /// The relay, and workers that send mail; with `options`.
    pub(crate) async fn pool(&self, name: &str, options: &[&str]) -> Pool {
        let mail = self.mail.url();
        let words = ["confirmations", "run", "--mail", &mail, "--push-again", "1000"];
        let running = self.start(name, &[&words[..], options].concat()).await;
        let url = format!("http://{}", running.address().await);
        Pool { running, url, client: client() }
    }

    /// The relay, and no worker until there are a thousand jobs.
    pub(crate) async fn relay(&self, name: &str) -> Pool {
        let path = self.folder.path().join("relay.toml");
        fs::write(&path, "policy = \"queue-depth\"\nactivation = 1000.0\nmin = 0\nmax = 1\n")
            .unwrap();
        self.pool(name, &["--policy", path.to_str().unwrap()]).await
    }

    /// A worker that nobody looks after.
    pub(crate) async fn worker(&self, name: &str, options: &[&str]) -> Running {
        let mail = self.mail.url();
        let words = ["confirmations", "work", "--mail", &mail];
        self.start(name, &[&words[..], options].concat()).await
    }

    /// Where orders are.
    fn places(&self) -> Vec<&Postgres> {
        if self.shards.is_empty() { vec![&self.main] } else { self.shards.iter().collect() }
    }

    async fn clients(&self) -> Vec<Client> {
        let mut clients = Vec::new();
        for place in self.places() {
            clients.push(place.client().await.unwrap());
        }
        clients
    }

    /// What was placed after the seed.
    pub(crate) async fn placed(&self) -> BTreeSet<i64> {
        let sql =
            "SELECT id FROM storefront.orders WHERE placed_at > now() - interval '1 hour'";
        let mut placed = BTreeSet::new();
        for client in self.clients().await {
            let rows = client.query(sql, &[]).await.unwrap();
            placed.extend(rows.iter().map(|row| row.get::<_, i64>(0)));
        }
        placed
    }

    /// How often each order is on record as confirmed.
    pub(crate) async fn confirmed(&self) -> BTreeMap<i64, u32> {
        let mut confirmed = BTreeMap::new();
        for client in self.clients().await {
            let sql = "SELECT order_id FROM storefront.confirmations";
            for row in client.query(sql, &[]).await.unwrap() {
                *confirmed.entry(row.get(0)).or_default() += 1;
            }
        }
        confirmed
    }

    /// How many rows of the outbox fit.
    pub(crate) async fn outbox(&self, condition: &str) -> i64 {
        let mut rows = 0;
        for client in self.clients().await {
            let sql = format!("SELECT count(*) FROM storefront.outbox WHERE {condition}");
            rows += client.query_one(&sql, &[]).await.unwrap().get::<_, i64>(0);
        }
        rows
    }

    pub(crate) async fn execute(&self, sql: &str) {
        for client in self.clients().await {
            client.batch_execute(sql).await.unwrap();
        }
    }

    /// Waits until all that was placed is confirmed, and nothing is left; each once.
    pub(crate) async fn all_is_confirmed(&self) {
        eventually(SOON, async || self.outbox("true").await == 0).await;
        let (placed, confirmed) = (self.placed().await, self.confirmed().await);
        assert_eq!(placed, confirmed.keys().copied().collect());
        assert!(confirmed.values().all(|times| *times == 1), "{confirmed:?}");
    }

    /// Nothing was sent but what was placed, each so often.
    pub(crate) async fn all_is_sent(&self, times: std::ops::RangeInclusive<u32>) {
        let (placed, sent) = (self.placed().await, self.mail.sent());
        assert_eq!(placed, sent.keys().copied().collect());
        for (order, sent) in sent {
            assert!(times.contains(&sent.taken), "order {order}: {sent:?}");
        }
    }

    pub(crate) async fn queued(&self) -> i64 {
        let size = self.redis.command(&["ZCARD", KEY]).await;
        size.ok().and_then(|size| size.integer()).unwrap_or(-1)
    }
}

/// A user of that shard.
pub(crate) fn user_on(shard: usize) -> i64 {
    let map = SlotMap::even(SHARDS).unwrap();
    (1..=USERS).find(|user| map.shard_of(user).as_str() == SHARDS[shard]).unwrap()
}

type Http = HttpClient<HttpConnector, Full<Bytes>>;

fn client() -> Http {
    HttpClient::builder(TokioExecutor::new()).build_http()
}

pub(crate) struct Shop {
    pub(crate) running: Running,
    url: String,
    client: Http,
}

impl Shop {
    /// Tries to.
    pub(crate) async fn try_order(&self, user: i64, product: i64) -> Option<(u16, Value)> {
        let wish = json!({ "product_id": product, "quantity": 1 });
        let request = http::Request::post(format!("{}/users/{user}/orders", self.url))
            .header("content-type", "application/json")
            .body(Full::from(wish.to_string()))
            .unwrap();
        let answer = self.client.request(request).await.ok()?;
        let status = answer.status().as_u16();
        let body = answer.into_body().collect().await.ok()?.to_bytes();
        Some((status, serde_json::from_slice(&body).unwrap()))
    }

    /// Returns the order's number.
    pub(crate) async fn order(&self, user: i64) -> i64 {
        let (status, order) = self.try_order(user, 1 + user % 50).await.unwrap();
        assert_eq!(status, 201, "{order}");
        order["id"].as_i64().unwrap()
    }

    /// One of each of these users.
    pub(crate) async fn orders(&self, users: std::ops::RangeInclusive<i64>) {
        for user in users {
            self.order(user).await;
        }
    }
}

/// The process that looks after workers.
pub(crate) struct Pool {
    pub(crate) running: Running,
    url: String,
    client: Http,
}

impl Pool {
    async fn get(&self, path: &str) -> String {
        let uri = format!("{}{path}", self.url).parse().unwrap();
        let answer = self.client.get(uri).await.unwrap();
        assert!(answer.status().is_success(), "{path}: {}", answer.status());
        let body = answer.into_body().collect().await.unwrap().to_bytes();
        String::from_utf8(body.into()).unwrap()
    }

    pub(crate) async fn workers(&self) -> Vec<Value> {
        serde_json::from_str(&self.get("/workers").await).unwrap()
    }

    /// Waits until so many are ready, and there are no others.
    pub(crate) async fn ready(&self, count: usize) -> Vec<Pid> {
        eventually_some(SOON, async || {
            let workers = self.workers().await;
            let ready = workers.iter().filter(|worker| worker["phase"] == "ready").count();
            let pids = workers.iter().filter_map(pid).collect();
            (workers.len() == count && ready == count).then_some(pids)
        })
        .await
    }

    /// Waits until a worker has a job in hand, and says which one.
    pub(crate) async fn busy(&self) -> Pid {
        eventually_some(SOON, async || {
            let workers = self.workers().await;
            workers.iter().find(|worker| worker["in_flight"] != 0).and_then(pid)
        })
        .await
    }

    /// A figure, of all shards.
    pub(crate) async fn figure(&self, name: &str) -> f64 {
        let text = self.get("/metrics").await;
        let name = format!("storefront_confirmations_{name}");
        let of_name = text.lines().filter_map(|line| line.strip_prefix(&name));
        let figures = of_name.filter(|rest| rest.starts_with(['{', ' ']));
        figures.map(|rest| rest.rsplit_once(' ').unwrap().1.parse::<f64>().unwrap()).sum()
    }
}

fn pid(worker: &Value) -> Option<Pid> {
    worker["process"].as_i64().map(|id| Pid::from_raw(i32::try_from(id).unwrap()))
}

pub(crate) fn send(pid: Pid, signal: Signal) {
    kill(pid, signal).unwrap();
}

/// Waits until a process that is nobody's child here is gone.
pub(crate) async fn is_gone(pid: Pid) {
    eventually(SOON, async || kill(pid, None).is_err()).await;
}
