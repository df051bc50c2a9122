//! The storefront's processes. All of them end with this one, however it ends.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use serde_json::Value;
use testbed::Folder;
use testbed::guard::{ExitSignal, Process, spawn_guarded};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::command::target;

/// How long the shop may take to open: it may have a catalogue to load.
const OPENING: Duration = Duration::from_secs(60);

/// The program, and the servers that it is used on.
pub(crate) struct Storefront {
    program: PathBuf,
    /// What the program is told in the environment: others on the machine can read its
    /// arguments.
    settings: Vec<(&'static str, String)>,
    folder: Folder,
}

/// A process of a shop that is open.
pub(crate) struct Shop {
    process: Process,
    url: String,
}

impl Storefront {
    pub(crate) async fn new(database: String, redis: String) -> Result<Self, String> {
        Self::with(vec![("DATABASE_URL", database), ("REDIS_URL", redis)]).await
    }

    /// On a primary and its replicas, with a key for what sessions carry.
    pub(crate) async fn on_replicas(urls: &[String], key: &str) -> Result<Self, String> {
        Self::with(vec![("DATABASE_URL", urls.join(",")), ("TOKEN_KEY", key.to_owned())]).await
    }

    /// On shards, at these names and URLs, beside the database of all else.
    pub(crate) async fn on_shards(
        database: String,
        shards: &[(&str, String)],
    ) -> Result<Self, String> {
        let mut storefront = Self::with(vec![("DATABASE_URL", database)]).await?;
        let mut text = "key = [\"bigint\"]\n".to_owned();
        for (name, url) in shards {
            text += &format!("\n[[shards]]\nname = {name:?}\nconnection = {url:?}\n");
        }
        let path = storefront.path("shards.toml");
        fs::write(&path, text).map_err(|error| format!("{}: {error}", path.display()))?;
        storefront.settings.push(("SHARDS", path.display().to_string()));
        Ok(storefront)
    }

    /// With another setting, or in place of the one of that name.
    #[must_use]
    pub(crate) fn and(mut self, name: &'static str, value: String) -> Self {
        self.settings.retain(|(known, _)| *known != name);
        self.settings.push((name, value));
        self
    }

    pub(crate) fn program(&self) -> &Path {
        &self.program
    }

    /// Gives a command what the program is told in the environment.
    pub(crate) fn settle(&self, command: &mut Command) {
        command
            .env_remove("LOGIN_STORE")
            .env_remove("SHARDS")
            .envs(self.settings.iter().map(|(name, value)| (name, value)));
    }

    /// Sends the rates of a file to one URL; returns the report.
    pub(crate) async fn replay(
        &self,
        url: &str,
        file: &Path,
        sizes: &[&str],
    ) -> Result<Value, String> {
        let file = file.display().to_string();
        let words = ["load", "--json", "--url", url, "--replay", &file];
        let report = self.finish("replay", &[&words[..], sizes].concat()).await?;
        serde_json::from_str(&report).map_err(|error| format!("the load's report: {error}"))
    }

    async fn with(settings: Vec<(&'static str, String)>) -> Result<Self, String> {
        let program = target().join("release").join("storefront");
        let folder = Folder::new("demo").await.map_err(|error| error.to_string())?;
        Ok(Self { program, settings, folder })
    }

    /// Fills the database anew, and clears the cache in Redis; returns what was done.
    pub(crate) async fn seed(&self) -> Result<String, String> {
        self.seed_with(&[]).await
    }

    /// [`seed`](Self::seed), in other sizes.
    pub(crate) async fn seed_with(&self, sizes: &[&str]) -> Result<String, String> {
        self.finish("seed", &[&["seed"], sizes].concat()).await
    }

    /// Opens a process of a shop, called `name`.
    pub(crate) async fn open(&self, name: &str, mode: &[&str]) -> Result<Shop, String> {
        let words = [&["serve", "--listen", "127.0.0.1:0"], mode].concat();
        let name = format!("serve-{name}");
        let process = self.start(&name, &words).await?;
        let ready = async {
            loop {
                let said = self.output(&name);
                if let Some((url, _)) = said.split_once('\n') {
                    return Ok(url.to_owned());
                }
                if let Some(status) = process.exit_status() {
                    return Err(format!("the shop did not open ({status})"));
                }
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        let url = tokio::time::timeout(OPENING, ready).await;
        let url = url.map_err(|_| format!("the shop did not open within {OPENING:?}"))??;
        Ok(Shop { process, url })
    }

    /// Sends a load to the processes of a shop in turn, at a given rate or as fast as answers
    /// come; returns the report.
    pub(crate) async fn load(
        &self,
        shops: &[Shop],
        seconds: u32,
        rate: Option<u32>,
    ) -> Result<Value, String> {
        let (seconds, rate) = (seconds.to_string(), rate.map(|rate| rate.to_string()));
        let mut words = vec!["load", "--seconds", &seconds, "--json"];
        words.extend(shops.iter().flat_map(|shop| ["--url", &shop.url]));
        words.extend(rate.iter().flat_map(|rate| ["--rps", rate]));
        let report = self.finish("load", &words).await?;
        serde_json::from_str(&report).map_err(|error| format!("the load's report: {error}"))
    }

    /// Lets users in to the processes of a shop; returns the report.
    pub(crate) async fn visit(
        &self,
        shops: &[Shop],
        options: &[String],
    ) -> Result<Value, String> {
        let mut words = vec!["visit", "--json"];
        words.extend(shops.iter().flat_map(|shop| ["--url", &shop.url]));
        words.extend(options.iter().map(String::as_str));
        // Several are under way at once, each with an output of its own.
        let name =
            format!("visit-{}", shops.first().map_or("", |shop| shop.url())).replace('/', "");
        let report = self.finish(&name, &words).await?;
        serde_json::from_str(&report).map_err(|error| format!("the visit's report: {error}"))
    }

    /// Runs one command to its end; returns what it printed.
    async fn finish(&self, name: &str, words: &[&str]) -> Result<String, String> {
        let status = self.start(name, words).await?.wait().await;
        if !status.success() {
            return Err(format!("`storefront {}` failed ({status})", words.join(" ")));
        }
        Ok(self.output(name))
    }

    async fn start(&self, name: &str, words: &[&str]) -> Result<Process, String> {
        let output = File::create(self.path(name))
            .map_err(|error| format!("{}: {error}", self.path(name).display()))?;
        let mut command = Command::new(&self.program);
        command
            .args(words)
            .current_dir("/")
            // That Redis is away is said once, by the demo.
            .env("RUST_LOG", "warn,cache_aside::tier=error,storefront::read_path=error")
            .stdin(Stdio::null())
            .stdout(output);
        self.settle(&mut command);
        spawn_guarded(command, ExitSignal::Terminate).await.map_err(|error| error.to_string())
    }

    fn output(&self, name: &str) -> String {
        // What cannot be read yet was not said yet.
        fs::read_to_string(self.path(name)).unwrap_or_default()
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }
}

impl Shop {
    pub(crate) fn process(&self) -> u32 {
        self.process.pid()
    }

    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    /// What is at `path`.
    pub(crate) async fn get(&self, path: &str) -> Result<String, String> {
        ask(&self.url, "GET", path).await
    }

    /// The sum of a counter over the series whose labels contain `labels`; none is 0.
    pub(crate) async fn counter(&self, name: &str, labels: &str) -> Result<u64, String> {
        let metrics = self.get("/metrics").await?;
        let series = metrics.lines().filter_map(|line| line.rsplit_once(' '));
        let of_name = series.filter(|(series, _)| {
            let found = series.split_once('{').map_or(*series, |(name, _)| name);
            found == name && series.contains(labels)
        });
        of_name.map(|(_, count)| count.parse::<u64>().map_err(|e| format!("{name}: {e}"))).sum()
    }

    pub(crate) async fn close(self) -> Result<(), String> {
        let status = self.process.stop(Duration::from_secs(15)).await;
        if status.success() { Ok(()) } else { Err(format!("the shop ended with {status}")) }
    }
}

/// What is at `path`.
pub(crate) async fn ask(url: &str, method: &str, path: &str) -> Result<String, String> {
    let address = url.trim_start_matches("http://");
    let request =
        format!("{method} {path} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n\r\n");
    let asking = async {
        let mut stream = TcpStream::connect(address).await?;
        stream.write_all(request.as_bytes()).await?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await?;
        Ok::<_, std::io::Error>(answer)
    };
    let answer = asking.await.map_err(|error| format!("{method} {path}: {error}"))?;
    match answer.split_once("\r\n\r\n") {
        Some((head, body)) if head.starts_with("HTTP/1.1 20") => Ok(body.to_owned()),
        _ => Err(format!("{method} {path}: {answer}")),
    }
}
