use std::fmt;
use std::time::Duration;

use super::Load;

/// A text that is no load.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CsvError {
    line: usize,
    reason: String,
}

impl fmt::Display for CsvError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}: {}", self.line, self.reason)
    }
}

impl std::error::Error for CsvError {}

/// Longer than that, a load is no load, or of another unit.
const LONGEST: f64 = 3_660.0 * 86_400.0;

impl Load {
    /// Reads `t_s,value`: seconds, evenly spaced, and requests a second. A head line is
    /// passed over.
    ///
    /// # Errors
    ///
    /// The line that is not so, and why.
    pub fn from_csv(text: &str) -> Result<Self, CsvError> {
        let mut rows: Vec<(f64, f64)> = Vec::new();
        let fail = |line: usize, reason: String| CsvError { line: line + 1, reason };
        // As spreadsheets begin a text.
        let text = text.trim_start_matches('\u{feff}');
        for (line, row) in text.lines().enumerate() {
            let row = row.trim();
            if row.is_empty() || (line == 0 && row.starts_with(|c: char| c.is_alphabetic())) {
                continue;
            }
            let number = |text: Option<&str>| {
                let text = text.unwrap_or_default().trim();
                let number = text.parse::<f64>().ok().filter(|n| n.is_finite());
                number.ok_or_else(|| fail(line, format!("`{text}` is no number (t_s,value)")))
            };
            let mut fields = row.split(',');
            let (time, value) = (number(fields.next())?, number(fields.next())?);
            if let Some(more) = fields.next() {
                let reason = format!("`{}` is one field too many (t_s,value)", more.trim());
                return Err(fail(line, reason));
            }
            if value > 1e15 {
                return Err(fail(line, format!("{value} requests a second are no load")));
            }
            if rows.first().is_some_and(|(first, _)| time - first > LONGEST) {
                let reason = format!("{time} s is more than ten years after the first line");
                return Err(fail(line, reason));
            }
            if value < 0.0 {
                return Err(fail(line, format!("{value} requests a second are below zero")));
            }
            if let [(first, _), .., (last, _)] = rows[..] {
                let step = rows[1].0 - first;
                if ((time - last) - step).abs() > 0.5 {
                    let reason = format!(
                        "{} s after the line before, where the first two are {step} s apart",
                        time - last
                    );
                    return Err(fail(line, reason));
                }
            } else if let [(first, _)] = rows[..]
                && time - first < 1.0
            {
                return Err(fail(line, "less than 1 s after the first".to_owned()));
            }
            rows.push((time, value));
        }
        let [(first, _), (second, _), ..] = rows[..] else {
            return Err(fail(text.lines().count(), "a load has two rows at least".to_owned()));
        };
        let step = Duration::from_secs_f64(second - first);
        Ok(Self { step, values: rows.into_iter().map(|(_, value)| value).collect() })
    }

    /// Writes it as [`from_csv`](Self::from_csv) reads it.
    #[must_use]
    pub fn to_csv(&self) -> String {
        let mut text = String::from("t_s,value\n");
        for (at, value) in self.values.iter().enumerate() {
            text.push_str(&format!("{},{value:.4}\n", at as f64 * self.step.as_secs_f64()));
        }
        text
    }
}
