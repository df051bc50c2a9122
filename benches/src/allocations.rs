use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

thread_local! {
    static COUNT: Cell<u64> = const { Cell::new(0) };
    static LIVE: Cell<i64> = const { Cell::new(0) };
}

/// The system's allocator, with a count of this thread's allocations, and of the bytes that it
/// has allocated and not given back.
#[derive(Debug)]
pub struct Counting;

fn count() {
    // A thread that is being torn down has nothing to count for.
    let _ = COUNT.try_with(|count| count.set(count.get() + 1));
}

fn live(more: i64) {
    let _ = LIVE.try_with(|live| live.set(live.get() + more));
}

#[allow(unsafe_code, reason = "an allocator cannot be written without")]
// SAFETY: every call is passed to `System` as it is.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count();
        live(layout.size() as i64);
        // SAFETY: the caller's promise is passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count();
        live(size as i64 - layout.size() as i64);
        // SAFETY: the caller's promise is passed on.
        unsafe { System.realloc(pointer, layout, size) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        live(-(layout.size() as i64));
        // SAFETY: the caller's promise is passed on.
        unsafe { System.dealloc(pointer, layout) }
    }
}

/// How often `work` allocates on this thread, where [`Counting`] is the global
/// allocator.
pub fn allocations(work: impl FnOnce()) -> u64 {
    let before = COUNT.get();
    work();
    COUNT.get() - before
}

/// How many bytes more this thread has allocated and not given back after `work`, where
/// [`Counting`] is the global allocator. What another thread gives back is not seen.
pub fn live_bytes(work: impl FnOnce()) -> i64 {
    let before = LIVE.get();
    work();
    LIVE.get() - before
}
