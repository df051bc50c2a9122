//! Installs what is missing, on Debian and Ubuntu and where Homebrew is.

use std::path::Path;
use std::process::{Command, Stdio};

use nix::unistd::geteuid;

use crate::error::Error;
use crate::locate::{Missing, Need};

/// Installs Debian packages and neither makes, starts nor enables a server.
const APT: &str = include_str!("apt.sh");

/// Those of `needs` that this machine lacks.
pub fn missing(needs: &[Need]) -> Vec<Missing> {
    needs.iter().filter_map(|need| need.find().err()).collect()
}

/// What [`run`] would run to install `needs`; none where no installer is known.
///
/// On Debian and Ubuntu it is `apt-get` through a script which keeps the
/// packages from making a cluster and from starting or enabling a server, with
/// `sudo` in front when this process is not root's. Elsewhere it is `brew`.
pub fn command(needs: &[Need]) -> Option<Command> {
    if Path::new("/usr/bin/apt-get").exists() {
        let mut command = if geteuid().is_root() {
            Command::new("/bin/sh")
        } else if Path::new("/usr/bin/sudo").exists() {
            let mut sudo = Command::new("/usr/bin/sudo");
            sudo.arg("/bin/sh");
            sudo
        } else {
            return None;
        };
        command.args(["-c", APT, "earned-install"]).args(needs.iter().map(|need| deb(*need)));
        return Some(command);
    }
    let brew = ["/opt/homebrew/bin/brew", "/usr/local/bin/brew"];
    let brew = brew.into_iter().find(|brew| Path::new(brew).exists())?;
    let mut command = Command::new(brew);
    command.arg("install").args(needs.iter().map(|need| formula(*need)));
    Some(command)
}

/// Installs those of `needs` that this machine lacks, and says so on standard
/// error; the installer's own output goes where this process's goes. Blocks
/// until it is done, and may ask for the password of `sudo`.
///
/// # Errors
///
/// [`Error::NoInstaller`] where there is none, [`Error::Install`] when it
/// fails, [`Error::Missing`] when it succeeds without effect.
pub fn run(needs: &[Need]) -> Result<(), Error> {
    let lacking = missing(needs);
    if lacking.is_empty() {
        return Ok(());
    }
    let needs: Vec<Need> = lacking.iter().map(|missing| missing.need).collect();
    let Some(mut command) = command(&needs) else {
        let programs = needs.iter().map(|need| need.name()).collect();
        return Err(Error::NoInstaller { programs });
    };
    for missing in &lacking {
        eprintln!(
            "{} is missing; installing it without making or starting a server, as would: {}",
            missing.need.name(),
            missing.install
        );
    }
    let line = command.get_program().to_string_lossy().into_owned();
    let status = command
        .stdin(Stdio::inherit())
        .status()
        .map_err(Error::io(format!("starting {line}")))?;
    if !status.success() {
        let command =
            lacking.iter().map(|missing| missing.install.as_str()).collect::<Vec<_>>();
        return Err(Error::Install { command: command.join(" && "), status });
    }
    match missing(&needs).into_iter().next() {
        None => Ok(()),
        Some(missing) => Err(Error::Missing(missing)),
    }
}

/// The one line that a person pastes.
pub(crate) fn advice(need: Need) -> String {
    if cfg!(target_os = "macos") {
        return format!("brew install {}", formula(need));
    }
    let sudo = if geteuid().is_root() { "" } else { "sudo " };
    let get = format!("apt-get update && apt-get install -y {}", deb(need));
    match need {
        Need::Postgres => format!(
            "{sudo}sh -c \"mkdir -p {DROP_IN} && echo create_main_cluster = false \
             > {DROP_IN}/earned.conf && {get}\""
        ),
        Need::Redis => format!(
            "{sudo}sh -c \"{get} && {{ update-rc.d redis-server disable; \
             service redis-server stop; }}\""
        ),
        Need::PgBouncer => format!(
            "{sudo}sh -c \"{get} && {{ update-rc.d pgbouncer disable; \
             service pgbouncer stop; }}\""
        ),
        Need::Nginx => format!(
            "{sudo}sh -c \"{get} && {{ update-rc.d nginx disable; service nginx stop; }}\""
        ),
        Need::Wrk => format!("{sudo}sh -c \"{get}\""),
    }
}

const DROP_IN: &str = "/etc/postgresql-common/createcluster.d";

fn deb(need: Need) -> &'static str {
    match need {
        Need::Postgres => "postgresql",
        Need::Redis => "redis-server",
        Need::PgBouncer => "pgbouncer",
        Need::Nginx => "nginx",
        Need::Wrk => "wrk",
    }
}

fn formula(need: Need) -> &'static str {
    match need {
        Need::Postgres => "postgresql@17",
        Need::Redis => "redis",
        Need::PgBouncer => "pgbouncer",
        Need::Nginx => "nginx",
        Need::Wrk => "wrk",
    }
}
