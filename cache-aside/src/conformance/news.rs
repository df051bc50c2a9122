use std::future::Future;

use crate::shared::{Announcement, Life, News, Position, SharedError, SharedNews, Table};

/// Runs the whole suite of the log on handles made by `make`, all of one store that works.
/// They are bound to caches of the suite's own names, `conformance-…`, whose logs it leaves
/// behind.
///
/// # Panics
///
/// When the store breaks a rule; the message says which.
///
/// # Cancel safety
///
/// Dropped before its end, it leaves logs behind.
pub async fn news<S: SharedNews>(make: impl Fn() -> S) {
    // Of each run, so that what an earlier one left is not found.
    let run = fastrand::u64(..);
    let bound = |name: &str| {
        let mut store = make();
        store.bind(&format!("conformance-{run:x}-{name}"));
        Log(store)
    };
    tells_what_was_announced(&bound("told"), &bound("told")).await;
    begins_anew_with_its_tables(&bound("anew")).await;
    ends_a_life(&bound("life")).await;
    keeps_logs_apart(&bound("one"), &bound("two")).await;
}

/// A log under test.
struct Log<S>(S);

impl<S: SharedNews> Log<S> {
    async fn announce(&self, message: &[u8], noted: Option<(Table, u16)>) -> Position {
        works(self.0.announce(&Announcement { message, noted })).await
    }

    async fn news(&self, after: Option<&Position>) -> News {
        works(self.0.news(after)).await
    }

    /// Where it is, as one learns who does not know it.
    async fn position(&self) -> Position {
        match self.news(None).await {
            News::Anew { position, .. } => position,
            next => panic!("{next:?} for one who knows nothing"),
        }
    }
}

async fn works<T>(answer: impl Future<Output = Result<T, SharedError>>) -> T {
    answer.await.expect("the store under test works")
}

async fn tells_what_was_announced<S: SharedNews>(one: &Log<S>, other: &Log<S>) {
    let start = other.position().await;
    assert_eq!(one.position().await, start, "two handles of one log are at the same place");
    assert_eq!(
        other.news(Some(&start)).await,
        News::Next { position: start, messages: Vec::new() },
        "there is nothing new"
    );
    let mut last = start;
    let messages: [&[u8]; 4] = [b"a", b"", &[0, 255, 13, 10], b"d"];
    for message in messages {
        let position = one.announce(message, None).await;
        assert_eq!(position.life, start.life, "an announcement ends no life");
        assert_eq!(position.count, last.count + 1, "it is counted");
        last = position;
    }
    for known in 0..=messages.len() {
        let after = Position { count: start.count + known as u64, ..start };
        let told = messages[known..].iter().map(|message| message.to_vec()).collect();
        let next = News::Next { position: last, messages: told };
        assert_eq!(other.news(Some(&after)).await, next, "{known} were known");
    }
}

async fn begins_anew_with_its_tables<S: SharedNews>(log: &Log<S>) {
    let known = log.position().await;
    for (table, place) in [(Table::Purged, 3), (Table::Outdated, 3), (Table::Purged, 16_383)] {
        log.announce(b"m", Some((table, place))).await;
    }
    let last = log.announce(b"m", Some((Table::Purged, 3))).await;
    let stranger = Position { life: Life([9; 36]), ..known };
    for after in [None, Some(&stranger)] {
        let News::Anew { position, mut purged, outdated } = log.news(after).await else {
            panic!("what went before cannot be told to {after:?}")
        };
        purged.sort_unstable();
        assert_eq!(position, last, "it is where the last announcement was");
        let count = known.count;
        assert_eq!(purged, [(3, count + 4), (16_383, count + 3)], "the last of each place");
        assert_eq!(outdated, [(3, count + 2)], "the tables are apart");
    }
}

async fn ends_a_life<S: SharedNews>(log: &Log<S>) {
    let old = log.announce(b"m", Some((Table::Purged, 1))).await;
    works(log.0.end_life()).await;
    let News::Anew { position, purged, .. } = log.news(Some(&old)).await else {
        panic!("a new life does not go on where the old one was")
    };
    assert_ne!(position.life, old.life, "it is another life");
    assert!(purged.is_empty(), "moments of another life are none");
    works(log.0.end_life()).await;
    let announced = log.announce(b"m", None).await;
    assert_ne!(announced.life, position.life, "also for one who announces");
}

async fn keeps_logs_apart<S: SharedNews>(one: &Log<S>, two: &Log<S>) {
    let known = two.position().await;
    one.announce(b"m", Some((Table::Purged, 1))).await;
    assert_eq!(
        two.news(Some(&known)).await,
        News::Next { position: known, messages: Vec::new() },
        "another cache has another log"
    );
    assert_ne!(one.position().await.life, known.life);
}
