use std::io::{BufRead, BufReader, Error, ErrorKind};
use std::os::fd::OwnedFd;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, PoisonError};

use nix::unistd::{Pid, write};

use super::ExitSignal;

const SCRIPT: &str = include_str!("watchdog.sh");

/// A shell that ends what this process guards when this process is gone, and
/// removes its folder. It learns of that from the pipe which closes then.
pub(super) struct Watchdog {
    pipe: OwnedFd,
    shell: Mutex<Child>,
    root: PathBuf,
}

impl Watchdog {
    pub(super) fn start(base: &Path) -> Result<Self, Error> {
        let mut shell = Command::new("/bin/sh")
            .arg("-c")
            .arg(SCRIPT)
            .arg("earned-watchdog")
            .arg(base)
            .current_dir("/")
            .process_group(0)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()?;
        let pipe = OwnedFd::from(shell.stdin.take().expect("stdin is a pipe"));
        let mut root = String::new();
        BufReader::new(shell.stdout.take().expect("stdout is a pipe")).read_line(&mut root)?;
        match root.strip_suffix('\n') {
            Some(root) => Ok(Self { pipe, shell: Mutex::new(shell), root: root.into() }),
            None => Err(Error::new(ErrorKind::NotFound, "the watchdog could make no folder")),
        }
    }

    /// The folder that goes when this process goes.
    pub(super) fn root(&self) -> &Path {
        &self.root
    }

    pub(super) fn is_running(&self) -> bool {
        let mut shell = self.shell.lock().unwrap_or_else(PoisonError::into_inner);
        matches!(shell.try_wait(), Ok(None))
    }

    /// Guards the calling process. Runs between fork and exec: it neither
    /// allocates nor locks, and one short write to a pipe is atomic.
    pub(super) fn guard_self(&self, signal: ExitSignal) -> Result<(), Error> {
        let mut line = Line::new();
        line.push(b"+ ");
        line.push_number(std::process::id());
        line.push(b" ");
        line.push(signal.name().as_bytes());
        line.push(b"\n");
        write(&self.pipe, line.bytes())?;
        Ok(())
    }

    /// Forgets a process that was reaped. A watchdog that is gone knows nothing anyway.
    pub(super) fn forget(&self, pid: Pid) {
        let _ = write(&self.pipe, format!("- {pid}\n").as_bytes());
    }
}

/// A line built without allocating.
struct Line {
    bytes: [u8; 32],
    len: usize,
}

impl Line {
    fn new() -> Self {
        Self { bytes: [0; 32], len: 0 }
    }

    fn push(&mut self, more: &[u8]) {
        self.bytes[self.len..self.len + more.len()].copy_from_slice(more);
        self.len += more.len();
    }

    fn push_number(&mut self, mut number: u32) {
        let mut digits = [0; 10];
        let mut start = digits.len();
        loop {
            start -= 1;
            digits[start] = b'0' + (number % 10) as u8;
            number /= 10;
            if number == 0 {
                break;
            }
        }
        self.push(&digits[start..]);
    }

    fn bytes(&self) -> &[u8] {
        &self.bytes[..self.len]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_holds_the_longest_registration() {
        let mut line = Line::new();
        line.push(b"+ ");
        line.push_number(u32::MAX);
        line.push(b" ");
        line.push(b"TERM\n");
        assert_eq!(line.bytes(), b"+ 4294967295 TERM\n");
    }

    #[test]
    fn zero_is_a_number() {
        let mut line = Line::new();
        line.push_number(0);
        assert_eq!(line.bytes(), b"0");
    }
}
