use std::fs;
use std::time::Duration;

/// The CPU time of a process, of all its threads that there are.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Cpu(Duration);

impl Cpu {
    pub(crate) fn of(process: u32) -> Result<Self, String> {
        let path = format!("/proc/{process}/task");
        let threads = fs::read_dir(&path).map_err(|error| format!("{path}: {error}"))?;
        let mut nanos = 0;
        for thread in threads.flatten() {
            // One that has ended meanwhile is not there.
            let Ok(text) = fs::read_to_string(thread.path().join("schedstat")) else {
                continue;
            };
            nanos += text.split(' ').next().and_then(|n| n.parse::<u64>().ok()).unwrap_or(0);
        }
        if nanos == 0 {
            return Err(format!("{path} has no schedstat: the kernel does not count there"));
        }
        Ok(Self(Duration::from_nanos(nanos)))
    }

    pub(crate) fn spent(self) -> Duration {
        self.0
    }

    pub(crate) fn since(self, before: Self) -> Duration {
        self.0.saturating_sub(before.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn work_takes_time() {
        let before = Cpu::of(std::process::id()).unwrap();
        let mut sum = 0_u64;
        while Cpu::of(std::process::id()).unwrap().since(before).is_zero() {
            sum = std::hint::black_box(sum + 1);
        }
        assert!(Cpu::of(u32::MAX).is_err());
    }
}
