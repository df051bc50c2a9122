//! What a session may expect, and what it got.

use std::sync::Mutex;

use super::app::Row;

/// What has ended by some moment: a read that begins then must show all of it.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Expected {
    /// Acknowledged, by register.
    written: [i64; 2],
    global: i64,
}

#[derive(Debug, Default)]
pub(super) struct History {
    now: Mutex<Expected>,
}

impl History {
    pub(super) fn expected(&self) -> Expected {
        *self.now.lock().unwrap()
    }

    pub(super) fn wrote(&self, which: usize, value: i64) {
        let mut now = self.now.lock().unwrap();
        now.written[which] = now.written[which].max(value);
    }

    /// A read has ended that began when `before` was expected. On the primary,
    /// `committed` is the newest global value that its writer had an answer for by
    /// then; on a replica it is anything.
    ///
    /// A replica shows a commit when it has replayed its record, and the primary
    /// a moment after it has written that, before it answers the writer: so what
    /// was seen before that answer may be missing on the primary until then. On
    /// another replica it may not: the record's end is what a session asks for.
    pub(super) fn read(
        &self,
        before: &Expected,
        committed: i64,
        own: [Row; 2],
        global: i64,
    ) -> Result<(), String> {
        let mut now = self.now.lock().unwrap();
        now.global = now.global.max(global);
        drop(now);
        for (which, row) in own.iter().enumerate() {
            let (value, written) = (row.value, before.written[which]);
            if value < written {
                return Err(format!("read your writes: {value} after writing {written}"));
            }
            if row.seen.min(committed) > global {
                let text = "writes follow reads: a write shows without what it followed";
                return Err(format!("{text}: {} above {global}", row.seen));
            }
        }
        if global < before.global.min(committed) {
            return Err(format!("monotonic reads: global {global} after {}", before.global));
        }
        Ok(())
    }

    pub(super) fn global(&self) -> i64 {
        self.now.lock().unwrap().global
    }

    /// A promotion has lost what came after these.
    pub(super) fn survived(&self, own: [i64; 2], global: i64) {
        let mut now = self.now.lock().unwrap();
        for (which, own) in own.into_iter().enumerate() {
            now.written[which] = now.written[which].min(own);
        }
        now.global = now.global.min(global);
    }

    /// What the primary has at the end: the writes, in order, none lost.
    pub(super) fn ends_with(&self, own: [i64; 2]) -> Result<(), String> {
        let now = self.now.lock().unwrap();
        for (has, wrote) in own.into_iter().zip(now.written) {
            if has < wrote {
                return Err(format!("monotonic writes: {has} is left of {wrote}"));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kind_of_violation_is_seen() {
        let row = |value, seen| Row { value, seen };
        let history = History::default();
        history.wrote(0, 5);
        let before = history.expected();
        assert!(history.read(&before, 99, [row(5, 0), row(0, 0)], 3).is_ok());
        assert!(history.read(&before, 99, [row(4, 0), row(0, 0)], 3).is_err());
        let after = history.expected();
        assert!(history.read(&after, 99, [row(5, 0), row(0, 0)], 2).is_err());
        assert!(history.read(&before, 99, [row(5, 9), row(0, 0)], 3).is_err());
        // It was not committed yet when the read began.
        assert!(history.read(&after, 2, [row(5, 0), row(0, 0)], 2).is_ok());
        // On a replica that is no excuse.
        assert!(history.read(&after, i64::MAX, [row(5, 0), row(0, 0)], 2).is_err());
        // A read that began before the other ended may show less.
        assert!(history.read(&before, 99, [row(5, 0), row(0, 0)], 2).is_ok());
        assert!(history.ends_with([4, 0]).is_err());
    }
}
