use std::path::PathBuf;
use std::process::ExitStatus;
use std::time::Duration;
use std::{error, fmt, io};

use crate::locate::{Missing, Need};

/// Why a server or a link could not do what was asked.
///
/// Its `Debug` is its message with every cause, since tests mostly meet it in
/// an `unwrap`.
#[non_exhaustive]
pub enum Error {
    /// A program is not on this machine; the message gives the line that installs it.
    Missing(Missing),
    /// The operating system refused.
    Io {
        /// What was being done, with the path or address.
        doing: String,
        /// The refusal.
        source: io::Error,
    },
    /// A program ended when it should have run on, or ended badly.
    Exited {
        /// Its file name.
        program: String,
        /// How it ended.
        status: ExitStatus,
        /// The end of its log.
        log: String,
    },
    /// A server runs but did not answer in time.
    NotReady {
        /// Its file name.
        program: String,
        /// How long it was given.
        after: Duration,
        /// The end of its log.
        log: String,
    },
    /// A server was asked for something while it is not running.
    NotRunning {
        /// Its file name.
        program: String,
    },
    /// The Redis of this machine was built without TLS.
    WithoutTls {
        /// Where it is.
        program: PathBuf,
    },
    /// PostgreSQL refused a statement or a connection.
    Sql {
        /// What was being done.
        doing: String,
        /// The refusal.
        source: tokio_postgres::Error,
    },
    /// Redis refused a command.
    Redis {
        /// The first word of it.
        command: String,
        /// Its own words.
        message: String,
    },
    /// A state was not reached in time.
    Late {
        /// The state that was waited for, with what was seen instead.
        awaited: String,
        /// How long was waited.
        after: Duration,
    },
    /// A program's installation failed; its own output says why.
    Install {
        /// The line that was run.
        command: String,
        /// How it ended.
        status: ExitStatus,
    },
    /// This machine has no installer that the testbed knows.
    NoInstaller {
        /// What is to be installed by hand.
        programs: Vec<&'static str>,
    },
}

impl Error {
    pub(crate) fn io(doing: impl Into<String>) -> impl FnOnce(io::Error) -> Self {
        let doing = doing.into();
        move |source| Self::Io { doing, source }
    }

    pub(crate) fn sql(doing: impl Into<String>) -> impl FnOnce(tokio_postgres::Error) -> Self {
        let doing = doing.into();
        move |source| Self::Sql { doing, source }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missing(missing) => missing.fmt(f),
            Self::Io { doing, .. } => write!(f, "{doing} failed"),
            Self::Exited { program, status, log } => {
                write!(f, "{program} ended ({status}); the end of its log:\n{log}")
            }
            Self::NotReady { program, after, log } => {
                write!(f, "{program} did not answer in {after:?}; the end of its log:\n{log}")
            }
            Self::NotRunning { program } => {
                write!(f, "{program} is not running; call restart() first")
            }
            Self::WithoutTls { program } => write!(
                f,
                "{} was built without TLS (BUILD_TLS=yes); name one that has it, as those of \
                 Debian and Homebrew do, by {}",
                program.display(),
                Need::Redis.variable()
            ),
            Self::Sql { doing, .. } => write!(f, "{doing}: PostgreSQL refused"),
            Self::Redis { command, message } => {
                write!(f, "Redis refused {command}: {message}")
            }
            Self::Late { awaited, after } => write!(f, "not reached in {after:?}: {awaited}"),
            Self::Install { command, status } => {
                write!(f, "`{command}` failed ({status}); its output above says why")
            }
            Self::NoInstaller { programs } => write!(
                f,
                "no installer known here (Debian or Ubuntu as root or with sudo, or Homebrew, \
                 is): install {} by hand",
                programs.join(" and ")
            ),
        }
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")?;
        let mut cause = error::Error::source(self);
        while let Some(inner) = cause {
            write!(f, ": {inner}")?;
            cause = inner.source();
        }
        Ok(())
    }
}

impl error::Error for Error {
    fn source(&self) -> Option<&(dyn error::Error + 'static)> {
        match self {
            Self::Io { source, .. } => Some(source),
            Self::Sql { source, .. } => Some(source),
            _ => None,
        }
    }
}
