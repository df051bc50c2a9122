//! Reads the shop's counters, so that a run can say what it cost.

use std::collections::BTreeMap;

/// The samples of one scrape of each process. Those of a name that occurs in several are
/// told apart by labels; those of the same labels are added up.
#[derive(Clone, Debug, Default)]
pub(crate) struct Scrape(Vec<Sample>);

#[derive(Clone, Debug)]
struct Sample {
    name: String,
    labels: BTreeMap<String, String>,
    value: f64,
}

impl Scrape {
    /// Adds what a process says, in the Prometheus text format; lines that are no samples
    /// are passed over.
    pub(crate) fn add(&mut self, text: &str) {
        self.0.extend(text.lines().filter_map(sample));
    }

    /// How far each counter `name` has come since `before`, by the labels `by`, joined by `.`.
    pub(crate) fn since(
        &self,
        before: &Self,
        name: &str,
        by: &[&str],
    ) -> BTreeMap<String, u64> {
        let before = before.sums(name, by);
        let grown = |(labels, value): (String, f64)| {
            // A counter that fell was reset: all that it shows is new.
            let base = before.get(&labels).copied().filter(|base| *base <= value);
            (labels, (value - base.unwrap_or(0.0)) as u64)
        };
        self.sums(name, by).into_iter().map(grown).collect()
    }

    fn sums(&self, name: &str, by: &[&str]) -> BTreeMap<String, f64> {
        let mut sums = BTreeMap::new();
        for sample in self.0.iter().filter(|sample| sample.name == name) {
            let labels: Vec<&str> =
                by.iter().map(|label| sample.labels.get(*label).map_or("", |v| v)).collect();
            *sums.entry(labels.join(".")).or_insert(0.0) += sample.value;
        }
        sums
    }
}

fn sample(line: &str) -> Option<Sample> {
    if line.starts_with('#') {
        return None;
    }
    let (series, value) = line.trim().rsplit_once(' ')?;
    let value = value.parse().ok()?;
    let (name, labels) = match series.split_once('{') {
        Some((name, rest)) => (name, labels(rest.strip_suffix('}')?)?),
        None => (series, BTreeMap::new()),
    };
    Some(Sample { name: name.to_owned(), labels, value })
}

/// `a="b",c="d"`; the shop's label values hold no quotes.
fn labels(text: &str) -> Option<BTreeMap<String, String>> {
    let pairs = text.split("\",").filter(|pair| !pair.is_empty());
    pairs
        .map(|pair| {
            let (name, value) = pair.split_once("=\"")?;
            Some((name.to_owned(), value.trim_end_matches('"').to_owned()))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scrape(texts: &[&str]) -> Scrape {
        let mut all = Scrape::default();
        texts.iter().for_each(|text| all.add(text));
        all
    }

    #[test]
    fn the_processes_of_a_shop_are_added_up() {
        let before = scrape(&["q{s=\"a\"} 5\n", "q{s=\"a\"} 1\n"]);
        let after = scrape(&["q{s=\"a\"} 7\n", "q{s=\"a\"} 11\nq{s=\"b\"} 2\n"]);
        let grown = after.since(&before, "q", &["s"]);
        assert_eq!(grown, BTreeMap::from([("a".to_owned(), 12), ("b".to_owned(), 2)]));
    }

    #[test]
    fn tells_how_far_counters_have_come() {
        let before = scrape(&["# TYPE q counter\nq{s=\"a\"} 5\nother 9\n"]);
        let after = scrape(&["q{s=\"a\"} 7\nq{s=\"b\",t=\"x\"} 3\nq{s=\"b\",t=\"y\"} 1\n"]);
        let grown = after.since(&before, "q", &["s"]);
        assert_eq!(grown, BTreeMap::from([("a".to_owned(), 2), ("b".to_owned(), 4)]));
        let grown = after.since(&Scrape::default(), "q", &["s", "t"]);
        assert_eq!(grown.keys().collect::<Vec<_>>(), ["a.", "b.x", "b.y"]);
    }

    #[test]
    fn passes_over_what_is_no_sample() {
        for text in ["", "q", "q{", "q{a} 1", "q{a=\"b} x", "<html> 404 </html>", "\0"] {
            assert!(scrape(&[text]).sums("q", &[]).is_empty(), "{text:?}");
        }
    }
}
