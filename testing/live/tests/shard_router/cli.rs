//! The program `shard-router`, against servers: what it prints, how it ends, and that it shows no
//! secret.

use std::io::Write;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::OnceLock;

use serde_json::Value;
use testbed::Folder;

use crate::bed::{Bed, NAMES};

const SECRET: &str = "hunter2";

/// From the cargo that builds this test: it alone knows where that is.
fn program() -> &'static PathBuf {
    static PROGRAM: OnceLock<PathBuf> = OnceLock::new();
    PROGRAM.get_or_init(|| {
        live::program("shard-router", &["--features", "cli", "--bin", "shard-router"])
    })
}

/// A topology of the bed's shards, whose connections hold a password, one of them in the
/// environment.
struct Cli {
    folder: Folder,
    variable: String,
}

struct Ended {
    code: i32,
    out: String,
    err: String,
}

impl Ended {
    fn json(&self) -> Value {
        serde_json::from_str(&self.out).unwrap_or_else(|error| panic!("{error}: {}", self.out))
    }
}

impl Cli {
    async fn new(bed: &Bed) -> Self {
        let folder = Folder::new("cli").await.unwrap();
        let secret = |url: &str| url.replacen('@', &format!(":{SECRET}@"), 1);
        let mut text = "key = ['bigint']\n".to_owned();
        for (number, (name, url)) in NAMES.iter().zip(&bed.urls).enumerate() {
            let connection = match number {
                0 => "connection_env = 'SHARD_A'".into(),
                _ => format!("connection = '{}'", secret(url)),
            };
            text += &format!("[[shards]]\nname = '{name}'\n{connection}\n");
        }
        text += "[[tables]]\nname = 'orders'\nkey = ['user_id']\n";
        std::fs::write(folder.path().join("shards.toml"), text).unwrap();
        std::fs::create_dir(folder.path().join("changes")).unwrap();
        Self { folder, variable: secret(&bed.urls[0]) }
    }

    fn change(&self, name: &str, sql: &str) {
        std::fs::write(self.folder.path().join("changes").join(name), sql).unwrap();
    }

    /// In the folder. Whatever it prints, it is no secret.
    async fn run(&self, words: &[&str], input: &str) -> Ended {
        let mut command = Command::new(program());
        command.args(words).current_dir(self.folder.path()).env("SHARD_A", &self.variable);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let input = input.to_owned();
        let ended = tokio::task::spawn_blocking(move || {
            let mut child = command.spawn().unwrap();
            child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
            child.wait_with_output().unwrap()
        });
        let ended = ended.await.unwrap();
        let text = |bytes| String::from_utf8(bytes).unwrap();
        let (out, err) = (text(ended.stdout), text(ended.stderr));
        assert!(!out.contains(SECRET) && !err.contains(SECRET), "{words:?}: {out} {err}");
        Ended { code: ended.status.code().unwrap(), out, err }
    }
}

#[tokio::test]
async fn check_says_what_each_shard_is() {
    let bed = Bed::servers(2).await;
    let cli = Cli::new(&bed).await;
    let ended = cli.run(&["check", "shards.toml"], "").await;
    assert_eq!(ended.code, 1);
    assert!(ended.out.contains("it has no table shard_router.state"), "{}", ended.out);
    assert_eq!(ended.err, "shard-router: 2 of 2 shards cannot be used as they are\n");

    let ended = cli.run(&["check", "shards.toml", "--install"], "").await;
    assert_eq!((ended.code, ended.err.as_str()), (0, ""), "{}", ended.out);
    let lines: Vec<_> =
        ended.out.lines().map(|l| l.split_whitespace().collect::<Vec<_>>()).collect();
    assert_eq!(lines[0], ["shard", "epoch", "slots", "PostgreSQL", "state"]);
    assert_eq!(lines[1][..3], ["a", "1", "8192"]);
    assert_eq!((lines[2][0], lines[2][4]), ("b", "ok"));

    let ended = cli.run(&["check", "shards.toml", "--json"], "").await;
    let rows = ended.json();
    assert_eq!((ended.code, rows.as_array().unwrap().len()), (0, 2));
    assert_eq!(rows[1]["shard"], "b");
    assert_eq!((rows[1]["ok"].clone(), rows[1]["slots"].clone()), (true.into(), 8192.into()));

    bed.servers[1].kill().await.unwrap();
    let ended = cli.run(&["check", "shards.toml", "--json"], "").await;
    let rows = ended.json();
    assert_eq!((ended.code, rows[0]["ok"].clone()), (1, true.into()));
    let error = rows[1]["error"].as_str().unwrap();
    assert!(error.contains("shard b cannot be reached"), "{error}");
    assert!(error.contains("refused"), "down to its last cause: {error}");
}

#[tokio::test]
async fn a_topology_that_is_none_ends_with_its_line() {
    let bed = Bed::databases(1).await;
    let mut cli = Cli::new(&bed).await;
    let path = cli.folder.path().join("shards.toml");
    let text = std::fs::read_to_string(&path).unwrap();
    let broken = text.replace("connection_env = 'SHARD_A'", "connection = 'password=hunter2");
    std::fs::write(&path, broken).unwrap();
    let ended = cli.run(&["check", "shards.toml"], "").await;
    assert_eq!(ended.code, 1);
    assert!(
        ended.err.starts_with("shard-router: shards.toml: line 4, column "),
        "{}",
        ended.err
    );
    std::fs::write(&path, text).unwrap();
    cli.variable = "host=x password=hunter2 hunter2=hunter2".into();
    let ended = cli.run(&["check", "shards.toml"], "").await;
    assert!(ended.err.contains("`shards.a.connection`"), "{}", ended.err);
    let ended = cli.run(&["check", "missing.toml"], "").await;
    assert!(ended.err.contains("missing.toml cannot be read"), "{}", ended.err);
    assert_eq!(cli.run(&["check"], "").await.code, 2, "a usage error");
}

#[tokio::test]
async fn migrate_shows_what_is_done_where_and_goes_on() {
    let bed = Bed::databases(3).await;
    bed.router().await;
    let cli = Cli::new(&bed).await;
    cli.change("0001_log.expand.sql", "CREATE TABLE log (id bigint)");
    cli.change(
        "0002_index.expand.sql",
        "-- shard-router: no transaction\nCREATE INDEX CONCURRENTLY IF NOT EXISTS i ON orders (total)",
    );
    let b = bed.client(1).await;
    b.batch_execute("CREATE TABLE log (other int)").await.unwrap();
    let migrate = ["migrate", "shards.toml", "changes", "--canary", "c"];
    let with = |words: &[&'static str]| [&migrate[..], words].concat();
    let ended = cli.run(&migrate, "").await;
    assert_eq!(ended.code, 1);
    assert_eq!(
        ended.out,
        "0001_log.expand: done on c (1 of 3)\n0001_log.expand: done on a (2 of 3)\n"
    );
    assert!(ended.err.contains("has failed on b") && ended.err.contains("already exists"));

    let ended = cli.run(&with(&["--status", "--json"]), "").await;
    let state = ended.json();
    assert_eq!(ended.code, 0);
    assert_eq!(
        (&state[0]["name"], &state[0]["phase"]),
        (&"0001_log.expand".into(), &"expand".into())
    );
    assert_eq!(state[0]["shards"][2], serde_json::json!(["b", "pending"]));
    let ended = cli.run(&with(&["--status"]), "").await;
    assert!(ended.out.contains("c done, a done, b pending"), "{}", ended.out);

    b.batch_execute("DROP TABLE log").await.unwrap();
    let ended = cli.run(&migrate, "").await;
    assert_eq!((ended.code, ended.err.as_str()), (0, ""));
    assert!(
        ended
            .out
            .starts_with("0001_log.expand: done on b (3 of 3)\n0002_index.expand: done on c")
    );
    assert!(
        ended.out.ends_with("2 changes are done on all shards, whose schemas are the same\n")
    );

    cli.change("0003_drop.contract.sql", "DROP TABLE log");
    let ended = cli.run(&migrate, "").await;
    assert!(ended.code == 1 && ended.err.contains("--contract"), "{}", ended.err);
    assert_eq!(cli.run(&with(&["--contract"]), "").await.code, 0);
    cli.change("0004.sql", "SELECT 1");
    let ended = cli.run(&migrate, "").await;
    assert!(ended.err.contains("call it `….expand.sql`"), "{}", ended.err);
}

/// Needs no server.
#[tokio::test]
async fn hot_names_what_is_asked_for_most() {
    let bed = Bed::databases(2).await;
    let cli = Cli::new(&bed).await;
    let log: String =
        (0..100).map(|n| if n % 2 == 0 { "7\n".into() } else { format!("{n}\n") }).collect();
    let ended = cli.run(&["hot", "--topology", "shards.toml", "--top", "1"], &log).await;
    assert_eq!((ended.code, ended.err.as_str()), (0, ""));
    assert!(ended.out.contains("a: ") && ended.out.contains("b: "), "{}", ended.out);
    let key = ended.out.lines().find(|line| line.trim_start().starts_with("key  7 ")).unwrap();
    assert!(key.ends_with(" 51"), "{key}");
    assert!(ended.out.contains("consider a plan that pins it"), "{}", ended.out);

    let ended = cli.run(&["hot", "--shards", "3", "--json"], &log).await;
    let shards = ended.json();
    let seen: u64 = (0..3).map(|shard| shards[shard]["seen"].as_u64().unwrap()).sum();
    assert_eq!((ended.code, seen), (0, 100));
    let ended = cli.run(&["hot", "--shards", "3"], "1\nx\n").await;
    assert_eq!(ended.code, 1);
    assert!(ended.err.contains("line 2: \"x\" is not a bigint"), "{}", ended.err);
    assert_eq!(cli.run(&["hot"], "").await.code, 2);
}

/// Whoever reads it may stop reading.
#[tokio::test]
async fn a_closed_pipe_is_no_panic() {
    let mut command = Command::new("sh");
    let program = program().to_str().unwrap();
    command.args([
        "-c",
        &format!("seq 1 200000 | {program} hot --shards 64 --top 1000 | head -1"),
    ]);
    let ended = tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap();
    let err = String::from_utf8(ended.stderr).unwrap();
    assert!(!err.contains("panicked"), "{err}");
}
