//! The whole fleet on real servers: databases with replicas, shards, Redis, the front and its
//! workers.

use std::collections::HashMap;
use std::fs;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, SystemTime};

use live::front::Front;
use live::mail::Mail;
use live::program;
use testbed::guard::{ExitSignal, spawn_guarded};
use testbed::redis::Redis;
use testbed::{Folder, eventually};

use super::confirmers::Confirmers;
use super::group::Group;
use super::people::{ORDERED, Person};
use super::record::{Cluster, Mark, Tails};
use super::tally::Tally;

pub(crate) const DEADLINE: Duration = Duration::from_secs(40);

/// How many users are seeded; all of them can log in.
pub(crate) const USERS: i64 = 100;

/// Of each product that is ordered.
const PLENTY: i64 = 1_000_000;

/// For all workers.
const TOKEN_KEY: &str = "8f1d4a1d0b5f4b0c9d3e2a7c6b5a49382716051423324150697887a6b5c4d3e2";
const REFRESH_KEY: &str = "1032547698badcfe0f1e2d3c4b5a69788796a5b4c3d2e1f00123456789abcdef";

/// Quick, so that a replaced worker is there in a moment.
const POLICY: &str = r#"
policy = "predictive"
signal = { metric = "in-flight", per-instance = 6.0 }
min = 2
max = 4
warm-up = "1s"
every = "1s"
hold-down = "4s"
"#;

pub(crate) fn storefront() -> &'static PathBuf {
    static PROGRAM: OnceLock<PathBuf> = OnceLock::new();
    PROGRAM.get_or_init(|| program("storefront", &[]))
}

/// All servers and processes.
pub(crate) struct World {
    /// The shop's, and each shard's.
    pub(crate) groups: Vec<Group>,
    pub(crate) redis: Redis,
    pub(crate) front: Front,
    pub(crate) tally: std::sync::Arc<Tally>,
    pub(crate) tails: Tails,
    pub(crate) mail: Mail,
    pub(crate) confirmers: Confirmers,
    /// Whose orders are where.
    shards: HashMap<i64, Cluster>,
    /// What the processes read from it is there as long as they are.
    _folder: Folder,
}

impl World {
    /// Seeded and open.
    pub(crate) async fn open(options: &[&str]) -> Self {
        let folder = Folder::new("fleet").await.unwrap();
        let (shop, one, two, redis) = tokio::join!(
            Group::start(Cluster::Shop),
            Group::start(Cluster::Orders(0)),
            Group::start(Cluster::Orders(1)),
            Redis::start(),
        );
        let (groups, redis) = (vec![shop, one, two], redis.unwrap());
        groups[0].client().await.batch_execute("CREATE DATABASE sessions").await.unwrap();

        let mut topology = "key = [\"bigint\"]\n".to_owned();
        for (group, name) in groups[1..].iter().zip(["orders-1", "orders-2"]) {
            let url = hosts(&group.urls(), "postgres");
            topology += &format!("[[shards]]\nname = \"{name}\"\nconnection = \"{url}\"\n");
        }
        let shards = folder.path().join("shards.toml");
        fs::write(&shards, topology).unwrap();
        let key = folder.path().join("signing.pem");
        fs::write(
            &key,
            rcgen::KeyPair::generate_for(&rcgen::PKCS_ED25519).unwrap().serialize_pem(),
        )
        .unwrap();
        let policy = folder.path().join("policy.toml");
        fs::write(&policy, POLICY).unwrap();

        let text = |path: &PathBuf| path.to_str().unwrap().to_owned();
        let environment: Vec<(String, String)> = [
            ("DATABASE_URL", groups[0].urls().join(",")),
            ("SHARDS", text(&shards)),
            ("REDIS_URL", redis.url()),
            ("LOGIN_STORE", hosts(&groups[0].urls(), "sessions")),
            ("TOKEN_KEY", TOKEN_KEY.to_owned()),
            ("REFRESH_KEY", REFRESH_KEY.to_owned()),
        ]
        .map(|(name, value)| (name.to_owned(), value))
        .into();
        seed(&folder, &environment).await;
        let plenty =
            format!("UPDATE storefront.products SET stock = {PLENTY} WHERE id <= {ORDERED}");
        groups[0].client().await.batch_execute(&plenty).await.unwrap();
        let shards = emptied(&groups[1..]).await;
        for group in &groups {
            group.caught_up().await;
        }

        let program = text(storefront());
        let key = text(&key);
        let worker = [
            &[&*program, "serve", "--listen", "127.0.0.1:0", "--announce", "{announce}"],
            &["--propagation", "600", "--behind-front", "--development-cookies"][..],
            &["--cache", "shared", "--connections", "6", "--signing-key", &key],
            options,
        ];
        let policy = text(&policy);
        let words = ["--every", "500", "--policy", &policy, "--cache", "16"];
        let front = Front::start(&words, &worker.concat(), &environment).await;
        front.ready(2).await;
        let mail = Mail::open().await;
        let confirmers = Confirmers::start(&folder, &mail, &environment).await;
        Self {
            groups,
            redis,
            front,
            tally: Default::default(),
            tails: Tails::default(),
            mail,
            confirmers,
            shards,
            _folder: folder,
        }
    }

    /// The first `count` users: the first of them is the admin.
    pub(crate) async fn people(&self, count: i64) -> Vec<Person> {
        let sql =
            "SELECT id, name, email, city FROM storefront.users WHERE id <= $1 ORDER BY id";
        let rows = self.groups[0].client().await.query(sql, &[&count]).await.unwrap();
        let mut people = Vec::new();
        for row in rows {
            let id = row.get(0);
            let shard = self.shards.get(&id).copied().expect("each user has seeded orders");
            let (name, email, city) = (row.get(1), row.get(2), row.get(3));
            people.push(Person { id, name, email, city, shard });
        }
        people
    }

    /// The orders of a user, as their shard has them.
    pub(crate) async fn orders_of(&self, person: &Person) -> Vec<(i64, Mark)> {
        let group = self.groups.iter().find(|group| group.cluster == person.shard).unwrap();
        let sql = "SELECT id, product_id, quantity FROM storefront.orders WHERE user_id = $1";
        let rows = group.client().await.query(sql, &[&person.id]).await.unwrap();
        let order = |row: &tokio_postgres::Row| {
            (row.get(0), Mark { product: row.get(1), quantity: row.get(2) })
        };
        rows.iter().map(order).collect()
    }

    /// Waits for what is left to be done: orders that were accepted are placed, and what was
    /// placed is confirmed.
    pub(crate) async fn is_done(&self) {
        let count = async |group: &Group, table: &str| {
            let sql = format!("SELECT count(*) FROM storefront.{table}");
            group.client().await.query_one(&sql, &[]).await.unwrap().get::<_, i64>(0)
        };
        let unsettled = async || count(&self.groups[0], "unsettled_orders").await;
        eventually(DEADLINE, async || unsettled().await == 0).await;
        for group in &self.groups[1..] {
            eventually(DEADLINE, async || count(group, "outbox").await == 0).await;
        }
    }

    /// Which orders are confirmed, on all shards.
    pub(crate) async fn confirmed(&self) -> Vec<i64> {
        let mut confirmed = Vec::new();
        for group in &self.groups[1..] {
            let sql = "SELECT order_id FROM storefront.confirmations";
            let rows = group.client().await.query(sql, &[]).await.unwrap();
            confirmed.extend(rows.iter().map(|row| row.get::<_, i64>(0)));
        }
        confirmed
    }

    /// Of what is ordered.
    pub(crate) async fn units_taken(&self) -> i64 {
        let sql = "SELECT sum($1 - stock)::bigint FROM storefront.products WHERE id <= $2";
        let client = self.groups[0].client().await;
        client.query_one(sql, &[&PLENTY, &ORDERED]).await.unwrap().get(0)
    }

    /// One that is ready.
    pub(crate) async fn worker(&self) -> u64 {
        let ready = self.front.phase("ready").await;
        ready[fastrand::usize(..ready.len())]
    }

    /// Until there is no such worker, and two are ready.
    pub(crate) async fn gone(&self, worker: u64) {
        eventually(DEADLINE, async || {
            let ready = self.front.phase("ready").await;
            ready.len() >= 2 && !ready.contains(&worker)
        })
        .await;
    }

    /// Until requests are answered again, and two workers are ready.
    pub(crate) async fn settles(&self) {
        let mut since = SystemTime::now();
        eventually(DEADLINE, async || {
            if self.tally.has_failed(since) {
                since = SystemTime::now();
            }
            self.tally.is_calm(since) && self.front.phase("ready").await.len() >= 2
        })
        .await;
    }

    /// Nothing has panicked.
    pub(crate) fn said(&self) -> String {
        self.front.said()
    }
}

/// One URL of two servers, of which one takes writes.
fn hosts(urls: &[String; 2], database: &str) -> String {
    let config = urls.each_ref().map(|url| url.parse::<tokio_postgres::Config>().unwrap());
    let host = |config: &tokio_postgres::Config| format!("127.0.0.1:{}", config.get_ports()[0]);
    let [one, two] = config.each_ref().map(host);
    format!("postgres://postgres@{one},{two}/{database}?target_session_attrs=read-write")
}

/// Takes away the orders that were seeded, since they are in nobody's record; returns on which
/// shard each user has had some.
async fn emptied(shards: &[Group]) -> HashMap<i64, Cluster> {
    let mut whose = HashMap::new();
    for group in shards {
        let sql = "DELETE FROM storefront.orders RETURNING user_id";
        let rows = group.client().await.query(sql, &[]).await.unwrap();
        whose.extend(rows.iter().map(|row| (row.get(0), group.cluster)));
    }
    whose
}

async fn seed(folder: &Folder, environment: &[(String, String)]) {
    let file = folder.path().join("seed");
    let mut command = Command::new(storefront());
    command
        .args(["seed", "--products", "500", "--orders-per-user", "30"])
        .args(["--users", &USERS.to_string()])
        .envs(environment.iter().cloned())
        .current_dir("/")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(fs::File::create(&file).unwrap());
    let process = spawn_guarded(command, ExitSignal::Terminate).await.unwrap();
    let status = process.wait().await;
    assert!(status.success(), "{status}: {}", fs::read_to_string(&file).unwrap());
}
