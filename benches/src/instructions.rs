use std::env;
use std::hint::black_box;
use std::process::Command;

const REQUEST: &str = "--count-instructions-of";

/// For the start of a benchmark's `main`: where this process was started by
/// [`instructions_per_op`], does the operations asked for and returns true.
pub fn answer_count_request(operation: impl FnOnce(&str) -> Box<dyn Fn(usize)>) -> bool {
    let words: Vec<String> = env::args().collect();
    let Some(at) = words.iter().position(|word| word == REQUEST) else { return false };
    let [name, count] = &words[at + 1..] else { return false };
    let count: usize = count.parse().expect("instructions_per_op passes a number");
    measured_operations(&*operation(name), count);
    true
}

/// Callgrind counts within this function only, and finds it by its name.
#[inline(never)]
fn measured_operations(operation: &dyn Fn(usize), count: usize) {
    for n in 0..count {
        operation(black_box(n));
    }
}

/// Instructions of one operation, the loop included: this program under
/// `valgrind --tool=callgrind`. Nothing where valgrind is missing.
pub fn instructions_per_op(name: &str) -> Option<f64> {
    instructions_over(name, 20_000)
}

/// As [`instructions_per_op`], over `count` operations, for those that take long.
pub fn instructions_over(name: &str, count: usize) -> Option<f64> {
    let output = Command::new("valgrind")
        .args(["--tool=callgrind", "--callgrind-out-file=/dev/null", "--collect-atstart=no"])
        .arg("--toggle-collect=*measured_operations*")
        .arg(env::current_exe().ok()?)
        .args([REQUEST, name, &count.to_string()])
        .output()
        .ok()?;
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    let (_, figure) = text.split_once("Collected :")?;
    let collected: f64 = figure.split_whitespace().next()?.parse().ok()?;
    Some(collected / count as f64)
}
