use std::hint::black_box;
use std::sync::Barrier;
use std::thread;

use nix::time::{ClockId, clock_gettime};

/// Pairs of blocks; half of them begin with the one, half with the other.
const PAIRS: usize = 60;
/// Operations in a block: a few milliseconds.
const BLOCK: usize = 20_000;
/// The same where threads must overlap, which they begin to do some tens of
/// microseconds after they start.
const LONG_BLOCK: usize = 200_000;

/// What an operation costs beside another, from one interleaved run.
#[derive(Clone, Copy, Debug)]
pub struct Comparison {
    /// Thread CPU nanoseconds of the subject and of the baseline.
    pub subject: f64,
    /// See `subject`.
    pub baseline: f64,
    /// The median of the differences, in nanoseconds.
    pub more: f64,
    /// The median of the ratios.
    pub ratio: f64,
    /// The median of the ratios of the baseline to itself: how far off 1 the
    /// machine is by itself.
    pub a_to_a: f64,
}

/// Compares two operations. Each is called with a growing number.
pub fn compare(subject: impl Fn(usize), baseline: impl Fn(usize)) -> Comparison {
    compare_blocks(BLOCK, subject, baseline)
}

/// As [`compare`], in blocks of `length` operations, for those that take long.
pub fn compare_blocks(
    length: usize,
    subject: impl Fn(usize),
    baseline: impl Fn(usize),
) -> Comparison {
    // Once round to warm up.
    block(length, &subject);
    block(length, &baseline);
    let (mut ones, mut others, mut more, mut ratios, mut selves) =
        (vec![], vec![], vec![], vec![], vec![]);
    for pair in 0..PAIRS {
        let (one, other, again) = if pair % 2 == 0 {
            let one = block(length, &subject);
            (one, block(length, &baseline), block(length, &baseline))
        } else {
            let (again, other) = (block(length, &baseline), block(length, &baseline));
            (block(length, &subject), other, again)
        };
        ones.push(one);
        others.push(other);
        more.push(one - other);
        ratios.push(one / other);
        selves.push(again / other);
    }
    Comparison {
        subject: median(ones),
        baseline: median(others),
        more: median(more),
        ratio: median(ratios),
        a_to_a: median(selves),
    }
}

/// By how much two threads do more than one: the subject's and the baseline's
/// gain (2 is ideal), and the median ratio of the two. `work` is called with the
/// thread's number, 0 or 1, and a growing number.
///
/// A gain is twice the CPU time of an operation on one thread alone over that on
/// two threads at once: waiting for each other's cache lines counts, and being
/// put aside by the rest of the machine does not.
pub fn scaling(
    subject: impl Fn(usize, usize) + Sync,
    baseline: impl Fn(usize, usize) + Sync,
) -> (f64, f64, f64) {
    let gain = |work: &(dyn Fn(usize, usize) + Sync)| {
        let alone = on_threads(1, work);
        2.0 * alone / on_threads(2, work)
    };
    let (mut ones, mut others, mut ratios) = (vec![], vec![], vec![]);
    for pair in 0..PAIRS {
        let (one, other) = if pair % 2 == 0 {
            let one = gain(&subject);
            (one, gain(&baseline))
        } else {
            let other = gain(&baseline);
            (gain(&subject), other)
        };
        ones.push(one);
        others.push(other);
        ratios.push(one / other);
    }
    (median(ones), median(others), median(ratios))
}

/// Thread CPU nanoseconds of one operation, over a block of them.
fn block(length: usize, work: impl Fn(usize)) -> f64 {
    let before = nanos(ClockId::CLOCK_THREAD_CPUTIME_ID);
    for n in 0..length {
        work(black_box(n));
    }
    (nanos(ClockId::CLOCK_THREAD_CPUTIME_ID) - before) / length as f64
}

/// Thread CPU nanoseconds of one operation while `threads` do it at once.
fn on_threads(threads: usize, work: &(dyn Fn(usize, usize) + Sync)) -> f64 {
    let start = Barrier::new(threads);
    thread::scope(|scope| {
        let workers: Vec<_> = (0..threads)
            .map(|thread| {
                let start = &start;
                scope.spawn(move || {
                    start.wait();
                    block(LONG_BLOCK, |n| work(thread, n))
                })
            })
            .collect();
        let costs =
            workers.into_iter().map(|worker| worker.join().expect("the work goes through"));
        costs.sum::<f64>() / threads as f64
    })
}

fn nanos(clock: ClockId) -> f64 {
    let time = clock_gettime(clock).expect("every Unix has this clock");
    time.tv_sec() as f64 * 1e9 + time.tv_nsec() as f64
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}
