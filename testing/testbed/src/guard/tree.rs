use std::fs;
use std::path::Path;
use std::process::Command;

use nix::unistd::Pid;

/// Whether a process with this PID runs. A zombie does not.
pub fn is_alive(pid: u32) -> bool {
    if has_proc() {
        return stat(pid).is_some_and(|(state, _)| state != 'Z' && state != 'X');
    }
    let ps = Command::new("ps").args(["-o", "state=", "-p", &pid.to_string()]).output();
    ps.is_ok_and(|ps| ps.stdout.first().is_some_and(|state| *state != b'Z'))
}

/// The children of `pid`, their children, and so on.
pub fn descendants(pid: u32) -> Vec<u32> {
    let table = processes();
    let mut found = vec![pid];
    let mut next = 0;
    while let Some(&parent) = found.get(next) {
        found.extend(table.iter().filter(|row| row.1 == parent).map(|row| row.0));
        next += 1;
    }
    found.remove(0);
    found
}

pub(super) fn as_pid(pid: u32) -> Pid {
    Pid::from_raw(pid.try_into().expect("the kernel's PIDs fit an i32"))
}

/// Every process with its parent.
fn processes() -> Vec<(u32, u32)> {
    if has_proc() {
        let Ok(entries) = fs::read_dir("/proc") else { return Vec::new() };
        let pids =
            entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok());
        return pids.filter_map(|pid| Some((pid, stat(pid)?.1))).collect();
    }
    let Ok(ps) = Command::new("ps").args(["-A", "-o", "pid=", "-o", "ppid="]).output() else {
        return Vec::new();
    };
    let row = |line: &str| {
        let mut numbers = line.split_whitespace().map(|n| n.parse().ok());
        Some((numbers.next()??, numbers.next()??))
    };
    String::from_utf8_lossy(&ps.stdout).lines().filter_map(row).collect()
}

fn has_proc() -> bool {
    Path::new("/proc/self/stat").exists()
}

/// The state and the parent of a process.
fn stat(pid: u32) -> Option<(char, u32)> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name stands in parentheses and may hold any character.
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace();
    Some((fields.next()?.chars().next()?, fields.next()?.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_is_alive_and_a_zombie_is_not() {
        assert!(is_alive(std::process::id()));

        let mut child = Command::new("/bin/sh").args(["-c", "exit 0"]).spawn().unwrap();
        let mut polls = 0;
        while is_alive(child.id()) {
            polls += 1;
            assert!(polls < 10_000, "an unreaped child still counts as alive");
            std::thread::yield_now();
        }
        child.wait().unwrap();
    }

    #[test]
    fn children_are_descendants() {
        let piped = std::process::Stdio::piped();
        let mut child =
            Command::new("/bin/sh").args(["-c", "read _"]).stdin(piped).spawn().unwrap();
        assert!(descendants(std::process::id()).contains(&child.id()));
        drop(child.stdin.take());
        child.wait().unwrap();
    }
}
