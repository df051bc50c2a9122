//! A shop of one's own: its database, the way there, and its process.

use std::fs::{self, File};
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Command, ExitStatus, Stdio};
use std::sync::OnceLock;
use std::time::Duration;

use serde_json::{Value, json};
use testbed::guard::{ExitSignal, Process, spawn_guarded};
use testbed::link::Link;
use testbed::postgres::{Client, Postgres};
use testbed::{Folder, eventually, eventually_some};
use tokio::task::JoinSet;

use crate::http::{Answer, Connection};

pub(crate) const DEADLINE: Duration = Duration::from_secs(30);
pub(crate) const PRODUCTS: i64 = 2_000;
pub(crate) const USERS: i64 = 200;

/// The program, from the cargo that builds this test: it alone knows where that
/// is, and takes nothing but a moment where it is fresh.
pub(crate) fn program() -> &'static PathBuf {
    static PROGRAM: OnceLock<PathBuf> = OnceLock::new();
    PROGRAM.get_or_init(|| live::program("storefront", &[]))
}

/// A seeded database, and a shop that reaches it through a link.
pub(crate) struct Storefront {
    pub(crate) postgres: Postgres,
    pub(crate) link: Link,
    pub(crate) folder: Folder,
    pub(crate) shop: Shop,
}

/// A process of a shop.
pub(crate) struct Shop {
    pub(crate) process: Process,
    pub(crate) addr: SocketAddr,
    log: PathBuf,
}

impl Storefront {
    /// A shop that was opened with `options`.
    pub(crate) async fn open(options: &[&str]) -> Self {
        let postgres = Postgres::start().await.unwrap();
        let link = Link::to(postgres.addr()).unwrap();
        let folder = Folder::new("storefront").await.unwrap();
        seed(&folder, &postgres, &[]).await;
        let url = postgres.url_at(link.addr());
        let shop = Shop::open(&folder, "serve", &url, options).await;
        Self { postgres, link, folder, shop }
    }

    /// Sends a load; returns its report.
    pub(crate) async fn load(&self, options: &[&str]) -> Value {
        let (status, report) = self.run_load(options).await;
        assert!(status.success(), "{status}: {}", said(&self.folder, "load.err"));
        serde_json::from_str(&report).unwrap()
    }

    /// Sends a load that is refused; returns how it ended, and what it said.
    pub(crate) async fn refused_load(&self, options: &[&str]) -> (ExitStatus, String) {
        let (status, report) = self.run_load(options).await;
        assert_eq!(report, "");
        (status, said(&self.folder, "load.err"))
    }

    async fn run_load(&self, options: &[&str]) -> (ExitStatus, String) {
        load(&self.folder, &[&self.shop], options).await
    }

    pub(crate) fn url(&self) -> String {
        self.shop.url()
    }

    pub(crate) async fn connect(&self) -> Connection {
        self.shop.connect().await
    }

    /// On a connection of its own.
    pub(crate) async fn get(&self, path: &str) -> Answer {
        self.shop.get(path).await
    }

    pub(crate) async fn put(&self, path: &str, body: &Value) -> Answer {
        self.shop.put(path, body).await
    }

    /// Sends 8 requests, which the database keeps waiting: a path each, and what
    /// to put there. Returns once all have been sent on to it.
    pub(crate) async fn in_flight(
        &self,
        request: impl Fn(i64) -> (String, Option<Value>),
    ) -> JoinSet<Answer> {
        let queries = async || self.counter("storefront_db_queries_total", "").await;
        let before = queries().await;
        let mut answers = JoinSet::new();
        for id in 1..=8 {
            let ((path, body), mut connection) = (request(id), self.connect().await);
            answers.spawn(async move {
                let answer = match body {
                    Some(body) => connection.put(&path, &body).await,
                    None => connection.get(&path).await,
                };
                answer.unwrap()
            });
        }
        eventually(DEADLINE, async || queries().await == before + 8).await;
        answers
    }

    /// A connection to the database that does not use the link.
    pub(crate) async fn database(&self) -> Client {
        self.postgres.client().await.unwrap()
    }

    /// As [`Shop::counter`].
    pub(crate) async fn counter(&self, name: &str, labels: &str) -> u64 {
        self.shop.counter(name, labels).await
    }

    /// As [`Shop::is_unharmed`].
    pub(crate) fn is_unharmed(&self) {
        self.shop.is_unharmed();
    }
}

impl Shop {
    /// Opens one with `options`; its files in `folder` are called `name`.
    pub(crate) async fn open(
        folder: &Folder,
        name: &str,
        database: &str,
        options: &[&str],
    ) -> Self {
        let serve = [&["serve", "--listen", "127.0.0.1:0"], options].concat();
        let process = start(folder, name, database, &serve).await;
        let output = folder.path().join(name).with_extension("out");
        let addr = eventually_some(DEADLINE, async || {
            assert_eq!(process.exit_status(), None, "the shop did not open");
            let said = fs::read_to_string(&output).ok()?;
            let (_scheme, address) = said.split_once("://")?;
            address.strip_suffix('\n')?.parse().ok()
        })
        .await;
        Self { process, addr, log: output.with_extension("err") }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.addr)
    }

    pub(crate) async fn connect(&self) -> Connection {
        Connection::open(self.addr).await.unwrap()
    }

    /// On a connection of its own.
    pub(crate) async fn get(&self, path: &str) -> Answer {
        self.connect().await.get(path).await.unwrap()
    }

    pub(crate) async fn put(&self, path: &str, body: &Value) -> Answer {
        self.connect().await.put(path, body).await.unwrap()
    }

    /// A sum of the shop's counter `name` over the series whose labels contain `labels`.
    pub(crate) async fn counter(&self, name: &str, labels: &str) -> u64 {
        let answer = self.get("/metrics").await;
        assert_eq!(answer.status, 200);
        let series = answer.body.lines().filter_map(|line| line.rsplit_once(' '));
        let of_name = series.filter(|(series, _)| {
            series.strip_prefix(name).is_some_and(|rest| rest.starts_with('{'))
        });
        let matching = of_name.filter(|(series, _)| series.contains(labels));
        matching.map(|(_, count)| count.parse::<u64>().unwrap()).sum()
    }

    /// Nothing has panicked, and nothing was a mistake of the shop's own.
    pub(crate) fn is_unharmed(&self) {
        let log = self.log();
        assert!(!log.contains("panicked") && !log.contains("ERROR"), "{log}");
        assert!(self.process.is_running());
    }

    pub(crate) fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap()
    }
}

/// Fills the database anew.
pub(crate) async fn seed(folder: &Folder, postgres: &Postgres, options: &[&str]) {
    let sizes = ["--products", &PRODUCTS.to_string(), "--users", &USERS.to_string()];
    let words = [&["seed", "--orders-per-user", "2"], &sizes[..], options].concat();
    let (status, _) = run(folder, &postgres.url(), &words).await;
    assert!(status.success(), "{status}: {}", said(folder, "seed.err"));
}

/// Sends a load to `shops`; returns how it ended, and what it printed.
pub(crate) async fn load(
    folder: &Folder,
    shops: &[&Shop],
    options: &[&str],
) -> (ExitStatus, String) {
    let urls: Vec<String> = shops.iter().map(|shop| shop.url()).collect();
    let urls: Vec<&str> = urls.iter().flat_map(|url| ["--url", url]).collect();
    let sizes = ["--products", &PRODUCTS.to_string(), "--users", &USERS.to_string()];
    let words = [&["load", "--json"], &urls[..], &sizes[..], options].concat();
    run(folder, "", &words).await
}

fn said(folder: &Folder, file: &str) -> String {
    fs::read_to_string(folder.path().join(file)).unwrap()
}

/// A product as it is to be. Its stock is what the tests count with.
pub(crate) fn revision(stock: i64) -> Value {
    json!({ "name": "Lamp", "description": "A lamp.", "price_cents": 5, "stock": stock })
}

/// Runs a command to its end; returns what it printed.
async fn run(folder: &Folder, database: &str, words: &[&str]) -> (ExitStatus, String) {
    let name = words[0];
    let status = start(folder, name, database, words).await.wait().await;
    let said = folder.path().join(name).with_extension("out");
    (status, fs::read_to_string(said).unwrap())
}

pub(crate) async fn start(
    folder: &Folder,
    name: &str,
    database: &str,
    words: &[&str],
) -> Process {
    let file = |extension| -> io::Result<File> {
        File::create(folder.path().join(name).with_extension(extension))
    };
    let mut command = Command::new(program());
    command
        .args(words)
        .current_dir("/")
        .env("DATABASE_URL", database)
        .env_remove("REDIS_URL")
        .env_remove("LOGIN_STORE")
        .env_remove("SHARDS")
        .env("RUST_LOG", "info")
        .stdin(Stdio::null())
        .stdout(file("out").unwrap())
        .stderr(file("err").unwrap());
    spawn_guarded(command, ExitSignal::Terminate).await.unwrap()
}
