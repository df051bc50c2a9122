//! Where the servers' programs are on this machine.

use std::path::{Path, PathBuf};
use std::{env, fmt, fs};

use crate::install;

/// A server that tests need.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Need {
    /// PostgreSQL 14 or newer: `postgres`, `initdb` and `pg_basebackup`.
    Postgres,
    /// Redis 6.2 or newer: `redis-server`.
    Redis,
    /// PgBouncer 1.18 or newer: `pgbouncer`.
    PgBouncer,
    /// nginx 1.20 or newer: `nginx`.
    Nginx,
    /// The load generator: `wrk`.
    Wrk,
}

impl Need {
    /// Its name as a reader knows it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Postgres => "PostgreSQL",
            Self::Redis => "Redis",
            Self::PgBouncer => "PgBouncer",
            Self::Nginx => "nginx",
            Self::Wrk => "wrk",
        }
    }

    /// The environment variable that says where it is.
    pub fn variable(self) -> &'static str {
        match self {
            Self::Postgres => "EARNED_PG_BIN",
            Self::Redis => "EARNED_REDIS_SERVER",
            Self::PgBouncer => "EARNED_PGBOUNCER",
            Self::Nginx => "EARNED_NGINX",
            Self::Wrk => "EARNED_WRK",
        }
    }

    /// Finds it.
    pub(crate) fn find(self) -> Result<PathBuf, Missing> {
        match self {
            Self::Postgres => postgres(),
            Self::Redis => redis_server(),
            Self::PgBouncer => pgbouncer(),
            Self::Nginx => nginx(),
            Self::Wrk => wrk(),
        }
    }
}

/// A server that is not on this machine.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Missing {
    /// The server.
    pub need: Need,
    /// The program that was looked for.
    pub program: &'static str,
    /// Where it was looked for.
    pub looked_in: Vec<String>,
    /// The one line that installs it here, for a person to paste.
    pub install: String,
}

impl fmt::Display for Missing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} is missing: no `{}` in {}. Install it with: {} (or set {})",
            self.need.name(),
            self.program,
            self.looked_in.join(", "),
            self.install,
            self.need.variable()
        )
    }
}

/// The folder that holds `postgres`, `initdb` and `pg_basebackup`: the one
/// `EARNED_PG_BIN` names and no other if it is set; else that of the
/// `postgres` in `PATH`, then Debian's folders (newest first), then Homebrew's.
///
/// # Errors
///
/// [`Missing`] says where it looked, and how to install it.
pub fn postgres() -> Result<PathBuf, Missing> {
    let need = Need::Postgres;
    if let Some(set) = env::var_os(need.variable()) {
        let bin = PathBuf::from(set);
        return if holds_postgres(&bin) {
            Ok(bin)
        } else {
            Err(missing(need, vec![named(need, &bin)]))
        };
    }
    // Links are followed: what lies in `PATH` may be one program of the three.
    let in_path = in_path("postgres").filter_map(|file| Some(file.parent()?.to_owned()));
    let debian = numbered("/usr/lib/postgresql", "", "bin");
    let brew = ["/opt/homebrew/opt", "/usr/local/opt", "/home/linuxbrew/.linuxbrew/opt"]
        .into_iter()
        .flat_map(|opt| numbered(opt, "postgresql@", "bin"));
    in_path.chain(debian).chain(brew).find(|bin| holds_postgres(bin)).ok_or_else(|| {
        let places = ["PATH", "/usr/lib/postgresql/*/bin", "Homebrew's folders"];
        missing(need, places.map(String::from).into())
    })
}

/// The `redis-server` program: the one `EARNED_REDIS_SERVER` names and no
/// other if it is set; else the one in `PATH` or in Homebrew's folders.
///
/// # Errors
///
/// [`Missing`] says where it looked, and how to install it.
pub fn redis_server() -> Result<PathBuf, Missing> {
    one_program(Need::Redis, &["/usr/bin", "/opt/homebrew/bin", "/usr/local/bin"])
}

/// The `pgbouncer` program: the one `EARNED_PGBOUNCER` names and no other if it
/// is set; else the one in `PATH`, in Debian's folder or in Homebrew's.
///
/// # Errors
///
/// [`Missing`] says where it looked, and how to install it.
pub fn pgbouncer() -> Result<PathBuf, Missing> {
    one_program(Need::PgBouncer, &["/usr/sbin", "/opt/homebrew/bin", "/usr/local/bin"])
}

/// The `nginx` program: the one `EARNED_NGINX` names and no other if it is set; else
/// the one in `PATH`, in Debian's folder or in Homebrew's.
///
/// # Errors
///
/// [`Missing`] says where it looked, and how to install it.
pub fn nginx() -> Result<PathBuf, Missing> {
    one_program(Need::Nginx, &["/usr/sbin", "/opt/homebrew/bin", "/usr/local/bin"])
}

/// The `wrk` program: the one `EARNED_WRK` names and no other if it is set; else the
/// one in `PATH`, in Debian's folder or in Homebrew's.
///
/// # Errors
///
/// [`Missing`] says where it looked, and how to install it.
pub fn wrk() -> Result<PathBuf, Missing> {
    one_program(Need::Wrk, &["/usr/bin", "/opt/homebrew/bin", "/usr/local/bin"])
}

fn one_program(need: Need, folders: &[&str]) -> Result<PathBuf, Missing> {
    let name = program(need);
    if let Some(set) = env::var_os(need.variable()) {
        let set = PathBuf::from(set);
        return if set.is_file() {
            Ok(set)
        } else {
            Err(missing(need, vec![named(need, &set)]))
        };
    }
    let usual =
        folders.iter().map(|folder| Path::new(folder).join(name)).filter(|file| file.is_file());
    // Not through its link: the program goes by the name it is called by.
    path_folders()
        .map(|folder| folder.join(name))
        .filter(|file| file.is_file())
        .chain(usual)
        .next()
        .ok_or_else(|| {
            let usual = folders[0].into();
            missing(need, vec!["PATH".into(), usual, "Homebrew's folders".into()])
        })
}

fn holds_postgres(bin: &Path) -> bool {
    ["postgres", "initdb", "pg_basebackup"].iter().all(|program| bin.join(program).is_file())
}

fn program(need: Need) -> &'static str {
    match need {
        Need::Postgres => "postgres",
        Need::Redis => "redis-server",
        Need::PgBouncer => "pgbouncer",
        Need::Nginx => "nginx",
        Need::Wrk => "wrk",
    }
}

fn missing(need: Need, looked_in: Vec<String>) -> Missing {
    Missing { need, program: program(need), looked_in, install: install::advice(need) }
}

fn named(need: Need, place: &Path) -> String {
    format!("{} (named by {})", place.display(), need.variable())
}

fn path_folders() -> impl Iterator<Item = PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    env::split_paths(&path).collect::<Vec<_>>().into_iter()
}

fn in_path(program: &str) -> impl Iterator<Item = PathBuf> {
    path_folders().filter_map(move |folder| folder.join(program).canonicalize().ok())
}

/// `parent/prefix<number>/child`, the greatest number first.
fn numbered(parent: &str, prefix: &str, child: &str) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(parent) else { return Vec::new() };
    let mut found: Vec<(u32, PathBuf)> = entries
        .flatten()
        .filter_map(|entry| {
            let number = entry.file_name().to_str()?.strip_prefix(prefix)?.parse().ok()?;
            Some((number, entry.path().join(child)))
        })
        .collect();
    found.sort_by_key(|(number, _)| std::cmp::Reverse(*number));
    found.into_iter().map(|(_, path)| path).collect()
}
