//! A shared store that failed is used again, whatever became of those who noticed.
#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

use std::io;

use cache_aside::shared::{Fault, InMemory};
use cache_aside::{CacheAside, Lookup};
use tokio::runtime::{Builder, Runtime};

fn runtime() -> Runtime {
    Builder::new_current_thread().enable_all().start_paused(true).build().unwrap()
}

#[test]
fn another_runtime_goes_on_where_that_of_the_recovery_is_gone() {
    let store = InMemory::new();
    let [one, two] = [(); 2].map(|()| {
        let builder = CacheAside::<u64, u64>::builder("test");
        builder.l2(store.clone()).build().unwrap()
    });
    store.set_fault(Some(Fault::Down));
    runtime().block_on(async {
        for key in 0..10 {
            assert!(one.invalidate(&key).await.is_err());
        }
    });
    store.set_fault(None);
    runtime().block_on(async {
        let mut seconds = 0;
        while two.get(&1).await == Lookup::Miss {
            assert!(seconds < 60, "nobody tries any more");
            seconds += 1;
            let read = one.get_or_load(&1, |_| async { Ok::<_, io::Error>(1) }).await;
            assert_eq!(read.unwrap().as_deref(), Some(&1));
            tokio::time::sleep(std::time::Duration::from_secs(1)).await;
        }
    });
}
