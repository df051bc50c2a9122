//! Reads a recorded rate: a CSV of `t_s,value`, one row a step.

use std::{error, fmt};

/// From `t_s` seconds on, the rate is `value`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Row {
    pub(crate) t_s: f64,
    pub(crate) value: f64,
}

/// What is wrong with a line.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct ReplayError {
    /// Counted from 1, the header included.
    pub(crate) line: usize,
    pub(crate) reason: String,
}

impl fmt::Display for ReplayError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}: {}", self.line, self.reason)
    }
}

impl error::Error for ReplayError {}

/// Reads every row.
///
/// # Errors
///
/// At the first line that is not two numbers, goes back in time or states a negative rate;
/// and when fewer than two rows are there, since the second ends the first.
pub(crate) fn parse(text: &str) -> Result<Vec<Row>, ReplayError> {
    let mut lines = text.strip_prefix('\u{feff}').unwrap_or(text).lines().zip(1..);
    let refused = |line, reason: &str| ReplayError { line, reason: reason.to_owned() };

    match lines.next() {
        Some((header, _)) if header.trim() == "t_s,value" => {}
        _ => return Err(refused(1, "the header must be `t_s,value`")),
    }
    let mut rows: Vec<Row> = Vec::new();
    let mut last = 1;
    for (text, line) in lines {
        let row = row(text).map_err(|reason| ReplayError { line, reason })?;
        if rows.last().is_some_and(|before| row.t_s <= before.t_s) {
            return Err(refused(line, "`t_s` must be greater than on the line before"));
        }
        rows.push(row);
        last = line;
    }
    if rows.len() < 2 {
        return Err(refused(last, "at least two rows are needed; the second ends the first"));
    }
    Ok(rows)
}

fn row(text: &str) -> Result<Row, String> {
    if text.trim().is_empty() {
        return Err("is empty".to_owned());
    }
    let fields: Vec<&str> = text.split(',').collect();
    let [t_s, value] = fields[..] else {
        return Err(format!("two fields are needed, there are {}", fields.len()));
    };
    Ok(Row { t_s: number("t_s", t_s)?, value: number("value", value)? })
}

fn number(name: &str, text: &str) -> Result<f64, String> {
    let text = text.trim();
    match text.parse::<f64>() {
        // The limit keeps every sum of products of such numbers finite.
        Ok(number) if (0.0..=1e12).contains(&number) => Ok(number),
        Ok(_) => Err(format!("`{name}` must be from 0 to 1e12, and is {text}")),
        Err(_) => Err(format!("`{name}` is not a number: {text:?}")),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use proptest::test_runner::RngSeed;

    use super::*;

    #[test]
    fn reads_rows_with_either_line_ending() {
        let rows = parse("t_s,value\r\n0,213.5\r\n60, 1e2\r\n").unwrap();
        assert_eq!(rows, [Row { t_s: 0.0, value: 213.5 }, Row { t_s: 60.0, value: 100.0 }]);
    }

    #[test]
    fn names_the_line_and_the_reason() {
        for (text, line, reason) in [
            ("", 1, "header"),
            ("time,rate\n0,1\n1,1", 1, "header"),
            ("t_s,value\n", 1, "two rows"),
            ("t_s,value\n0,1\n", 2, "two rows"),
            ("t_s,value\n0,1\n\n", 3, "empty"),
            ("t_s,value\n0,1\n1\n", 3, "two fields are needed, there are 1"),
            ("t_s,value\n0,1,2\n", 2, "there are 3"),
            ("t_s,value\n0,fast\n", 2, "`value` is not a number: \"fast\""),
            ("t_s,value\n0,1\n5,-2\n", 3, "from 0"),
            ("t_s,value\n0,NaN\n", 2, "from 0"),
            ("t_s,value\n0,inf\n", 2, "from 0"),
            ("t_s,value\n0,1\n5,1\n5,2\n", 4, "greater"),
        ] {
            let refused = parse(text).unwrap_err();
            assert_eq!(refused.line, line, "{text:?}: {refused}");
            assert!(refused.reason.contains(reason), "{text:?}: {refused}");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { rng_seed: RngSeed::Fixed(7), ..ProptestConfig::default() })]

        #[test]
        fn any_text_is_read_or_refused(text in "(t_s,value\n)?([0-9.,eE+\\-\n]|\\PC){0,60}") {
            if let Ok(rows) = parse(&text) {
                prop_assert!(rows.windows(2).all(|pair| pair[0].t_s < pair[1].t_s));
            }
        }
    }
}
