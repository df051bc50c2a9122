//! Whether the table of RFC 9111 in `cache-aside/docs` holds what it says of tests.

use std::collections::HashSet;
use std::fs;
use std::path::Path;

const TABLE: &str = "cache-aside/docs/rfc9111.md";
/// Where its tests are.
const SOURCES: [&str; 5] = [
    "cache-aside/src/http",
    "cache-aside/tests",
    "testing/live/tests/http_cache",
    "testing/live/tests/http_cache_memory.rs",
    "testing/live/tests/http_proxy",
];
/// The column of the tests, from 0.
const TESTS: usize = 4;
const COLUMNS: usize = 6;

pub(crate) fn run() -> Result<(), String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("it is in the workspace");
    let table = read(&root.join(TABLE))?;
    let mut known = HashSet::new();
    for source in SOURCES {
        collect(&root.join(source), &mut known)?;
    }
    let (rows, wrong) = check(&table, &known);
    if !wrong.is_empty() {
        return Err(format!("{TABLE}:\n{}", wrong.join("\n")));
    }
    if rows == 0 {
        return Err(format!("{TABLE} has no rows"));
    }
    println!(
        "{TABLE}: {rows} rows, each with tests that are there; {} tests are known",
        known.len()
    );
    Ok(())
}

/// The number of rows, and what is wrong with them.
fn check(table: &str, known: &HashSet<String>) -> (usize, Vec<String>) {
    let (mut rows, mut wrong) = (0, Vec::new());
    for (n, line) in table.lines().enumerate() {
        let Some(cells) = line.strip_prefix("| ").and_then(|line| line.strip_suffix(" |"))
        else {
            continue;
        };
        let cells: Vec<&str> = cells.split(" | ").map(str::trim).collect();
        if matches!(cells[0], "Section" | "RFC") || cells[0].starts_with('|') {
            continue;
        }
        rows += 1;
        if cells.len() != COLUMNS && cells.len() != COLUMNS - 1 {
            wrong.push(format!("line {}: it has {} cells, not {COLUMNS}", n + 1, cells.len()));
            continue;
        }
        let mut tests =
            cells[TESTS].split(',').map(|test| test.trim().trim_matches('`')).peekable();
        if tests.peek().is_none_or(|test| test.is_empty()) {
            wrong.push(format!("line {}: section {} has no test", n + 1, cells[0]));
            continue;
        }
        for test in tests.filter(|test| !known.contains(*test)) {
            wrong.push(format!("line {}: there is no test `{test}`", n + 1));
        }
    }
    (rows, wrong)
}

/// The names of the tests in a file, or in all files of a folder.
fn collect(path: &Path, known: &mut HashSet<String>) -> Result<(), String> {
    if path.is_dir() {
        let entries =
            fs::read_dir(path).map_err(|error| format!("{}: {error}", path.display()))?;
        for entry in entries {
            let entry = entry.map_err(|error| format!("{}: {error}", path.display()))?;
            collect(&entry.path(), known)?;
        }
    } else if path.extension().is_some_and(|extension| extension == "rs") {
        known.extend(tests(&read(path)?));
    }
    Ok(())
}

/// Functions with an attribute that makes them tests, and the cases of `cases!`.
fn tests(source: &str) -> Vec<String> {
    let (mut found, mut is_test, mut in_cases, mut in_tests) =
        (Vec::new(), false, false, false);
    for line in source.lines() {
        let text = line.trim();
        match text {
            "cases! {" => in_cases = true,
            "proptest! {" => in_tests = true,
            _ if line == "}" => in_cases = false,
            _ => {}
        }
        if text.starts_with("#[test") || text.starts_with("#[tokio::test") {
            is_test = true;
        }
        if in_cases && let Some((name, _)) = text.split_once(" =>") {
            found.extend(is_name(name).then(|| name.to_owned()));
        }
        let function = text.strip_prefix("async ").unwrap_or(text).strip_prefix("fn ");
        if let Some((name, _)) = function.and_then(|function| function.split_once('(')) {
            if is_test || in_tests {
                found.push(name.to_owned());
            }
            is_test = false;
        }
    }
    found
}

fn is_name(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_')
}

fn read(path: &Path) -> Result<String, String> {
    fs::read_to_string(path).map_err(|error| format!("{}: {error}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tests_are_found_in_each_of_their_forms() {
        let source = "#[test]\nfn one() {\nfn helper() {\n}\n#[tokio::test(start_paused = true)]\n\
            async fn two() {\n}\ncases! {\n    three => Script::new();\n    four =>\n        x;\n}\n\
            fn other() {}\nproptest! {\n    #[test]\n    fn five(";
        assert_eq!(tests(source), ["one", "two", "three", "four", "five"]);
    }

    #[test]
    fn rows_without_tests_are_wrong() {
        let known = HashSet::from(["a".to_owned()]);
        let head =
            "| Section | Level | Rule | Where | Tests | Why |\n|---|---|---|---|---|---|\n";
        let row = |tests: &str| format!("{head}| 3 | MUST | x | `y` | {tests} |  |\n");
        assert_eq!(check(&row("`a`"), &known), (1, vec![]));
        assert_eq!(check(&row("`a`, `b`"), &known).1, ["line 3: there is no test `b`"]);
        assert_eq!(check(&row(""), &known).1.len(), 1);
        assert_eq!(check("| 3 | MUST |", &known).1.len(), 1);
    }
}
