use std::ffi::OsString;
use std::process::{ExitStatus, Output, Stdio};
use std::time::Duration;
use std::{error, fmt, io};

use tokio::process::Command;
use tokio::time::timeout;

use super::{Actuator, Resize, Roster, Seen};
use crate::controller::{SystemClock, WallClock};
use crate::observation::{Instance, InstanceId, Phase};

/// Runs a command with the count: any platform that has one.
///
/// ```
/// use autoscale_policy::Exec;
///
/// let group = Exec::new("aws", ["autoscaling", "set-desired-capacity", "--desired-capacity", "{count}"])
///     .counted_by("group-size", ["--ready", "--total"]);
/// ```
///
/// No shell takes part: words are passed as they are, with `{count}` replaced.
#[derive(Clone, Debug)]
pub struct Exec {
    set: Words,
    count: Option<Words>,
    timeout: Duration,
}

#[derive(Clone, Debug)]
struct Words {
    program: OsString,
    arguments: Vec<OsString>,
}

impl Words {
    fn new<I: IntoIterator<Item: Into<OsString>>>(program: OsString, arguments: I) -> Self {
        Self { program, arguments: arguments.into_iter().map(Into::into).collect() }
    }
}

/// Why a command did not do.
#[derive(Debug)]
#[non_exhaustive]
pub enum ExecError {
    /// It could not be started.
    Start {
        /// The program.
        program: String,
        /// Why.
        cause: io::Error,
    },
    /// It has ended with an error.
    Ended {
        /// The program.
        program: String,
        /// How.
        status: ExitStatus,
        /// The end of what it wrote to its standard error, up to 500 bytes.
        stderr: String,
    },
    /// It took too long, and was killed.
    TimedOut {
        /// The program.
        program: String,
        /// How long it had.
        limit: Duration,
    },
    /// What it printed is not one number, or two of which the second is the larger.
    Count {
        /// The program.
        program: String,
        /// The beginning of what it printed, up to 100 characters.
        printed: String,
    },
    /// There is no command that tells the count.
    NotCounted,
}

impl fmt::Display for ExecError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Start { program, cause } => write!(f, "`{program}` did not start: {cause}"),
            Self::Ended { program, status, stderr } if stderr.is_empty() => {
                write!(f, "`{program}` ended with {status}")
            }
            Self::Ended { program, status, stderr } => {
                write!(f, "`{program}` ended with {status}: {stderr}")
            }
            Self::TimedOut { program, limit } => {
                write!(f, "`{program}` took more than {limit:?}, and was killed")
            }
            Self::Count { program, printed } => write!(
                f,
                "`{program}` printed {printed:?}; it has to print how many instances are ready, \
                 and, if others are coming, how many there will be: `3` or `3 5`"
            ),
            Self::NotCounted => {
                f.write_str("no command tells how many instances there are; use counted_by")
            }
        }
    }
}

impl error::Error for ExecError {
    fn source(&self) -> Option<&(dyn error::Error + 'static)> {
        match self {
            Self::Start { cause, .. } => Some(cause),
            _ => None,
        }
    }
}

impl Exec {
    /// Sets the count by this command; in its words, `{count}` is the number.
    pub fn new<I: IntoIterator<Item: Into<OsString>>>(
        program: impl Into<OsString>,
        arguments: I,
    ) -> Self {
        let set = Words::new(program.into(), arguments);
        Self { set, count: None, timeout: Duration::from_secs(30) }
    }

    /// Learns by this command how many instances are ready, and how many there will be:
    /// it prints `3`, or `3 5`.
    #[must_use]
    pub fn counted_by<I: IntoIterator<Item: Into<OsString>>>(
        mut self,
        program: impl Into<OsString>,
        arguments: I,
    ) -> Self {
        self.count = Some(Words::new(program.into(), arguments));
        self
    }

    /// How long a command may take until it is killed; 30 s.
    #[must_use]
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    async fn run(&self, words: &Words, count: Option<u32>) -> Result<String, ExecError> {
        let program = words.program.to_string_lossy().into_owned();
        let mut command = Command::new(&words.program);
        for word in &words.arguments {
            match (word.to_str(), count) {
                (Some(text), Some(count)) => {
                    command.arg(text.replace("{count}", &count.to_string()))
                }
                _ => command.arg(word),
            };
        }
        command.stdin(Stdio::null()).kill_on_drop(true);
        let limit = self.timeout;
        let Ok(ended) = timeout(limit, command.output()).await else {
            return Err(ExecError::TimedOut { program, limit });
        };
        let Output { status, stdout, stderr } = match ended {
            Ok(output) => output,
            Err(cause) => return Err(ExecError::Start { program, cause }),
        };
        if !status.success() {
            let end = &stderr[stderr.len().saturating_sub(500)..];
            let stderr = String::from_utf8_lossy(end).trim().to_owned();
            return Err(ExecError::Ended { program, status, stderr });
        }
        Ok(String::from_utf8_lossy(&stdout).into_owned())
    }
}

impl Actuator for Exec {
    type Error = ExecError;

    async fn set(&self, resize: &Resize) -> Result<u32, ExecError> {
        self.run(&self.set, Some(resize.to)).await?;
        Ok(resize.to)
    }
}

impl Roster for Exec {
    type Error = ExecError;

    /// Instances have no names here: they are numbered, and which of them go is the
    /// platform's choice.
    async fn seen(&self) -> Result<Seen, ExecError> {
        let words = self.count.as_ref().ok_or(ExecError::NotCounted)?;
        let printed = self.run(words, None).await?;
        let Some((ready, total)) = counts(&printed) else {
            let program = words.program.to_string_lossy().into_owned();
            return Err(ExecError::Count {
                program,
                printed: printed.chars().take(100).collect(),
            });
        };
        let now = SystemClock.now();
        let instance = |number: u32| {
            let phase = if number < ready { Phase::Ready } else { Phase::Warming };
            // Nobody says since when; from a count alone it can only be now.
            Instance {
                started: None,
                ..Instance::new(InstanceId::new(number.into()), phase, now)
            }
        };
        Ok(Seen { target: Some(total), instances: (0..total).map(instance).collect() })
    }
}

/// How many are ready, and how many there will be.
fn counts(printed: &str) -> Option<(u32, u32)> {
    let mut numbers = printed.split_whitespace().map(|word| word.parse::<u32>().ok());
    let ready = numbers.next()??;
    let total = match numbers.next() {
        Some(total) => total?,
        None => ready,
    };
    (numbers.next().is_none() && ready <= total && total <= 1_000_000).then_some((ready, total))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_are_one_number_or_two() {
        assert_eq!(counts("3\n"), Some((3, 3)));
        assert_eq!(counts(" 3 5 "), Some((3, 5)));
        assert_eq!(counts("0"), Some((0, 0)));
        for wrong in ["", "5 3", "three", "-1", "1 2 3", "1.5", "1 x", "4294967296", "2000000"]
        {
            assert_eq!(counts(wrong), None, "{wrong:?}");
        }
    }
}
