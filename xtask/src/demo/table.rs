//! The figures side by side, and whether they hold.

use serde_json::Value;

use super::outage::Outage;

/// How much of the database's queries per read a warm cache must save, at least.
const SAVED: f64 = 0.9;

/// One mode's figures.
pub(crate) struct Run {
    name: &'static str,
    processes: usize,
    requests: f64,
    requests_per_second: f64,
    p50: f64,
    p99: f64,
    failures: f64,
    queries_per_request: f64,
    queries_per_read: f64,
    /// Of the reads: answered without the database, and those of them that Redis answered.
    hit_ratio: Option<f64>,
    redis_ratio: f64,
}

impl Run {
    /// From two reports of `storefront load --json`: one at full speed, which
    /// came first, and one at a steady rate.
    pub(crate) fn new(
        name: &'static str,
        processes: usize,
        fast: &Value,
        steady: &Value,
    ) -> Result<Self, String> {
        let requests = number(fast, "/requests")?;
        Ok(Self {
            name,
            processes,
            requests: requests + number(steady, "/requests")?,
            requests_per_second: number(fast, "/requests_per_second")?,
            p50: number(steady, "/latency_ms/p50")?,
            p99: number(steady, "/latency_ms/p99")?,
            failures: number(fast, "/failures")? + number(steady, "/failures")?,
            queries_per_request: number(fast, "/database/queries")? / requests,
            queries_per_read: number(fast, "/database/queries_per_read")?,
            hit_ratio: fast.pointer("/cache/hit_ratio").and_then(Value::as_f64),
            redis_ratio: fast
                .pointer("/cache/redis_ratio")
                .and_then(Value::as_f64)
                .unwrap_or(0.0),
        })
    }

    /// Counts the requests of an outage, too.
    pub(crate) fn count(&mut self, outage: &Outage) {
        self.requests += outage.requests;
        self.failures += outage.failures;
    }
}

/// The number at `path`, in JSON pointer's form.
pub(crate) fn number(report: &Value, path: &str) -> Result<f64, String> {
    let number = report.pointer(path).and_then(Value::as_f64);
    number.ok_or_else(|| format!("the load's report has no number at {path}: {report}"))
}

pub(crate) fn print(runs: &[Run], rate: u32) {
    type Cell = fn(&Run) -> String;
    let (p50, p99) = (format!("p50 at {rate}/s, ms"), format!("p99 at {rate}/s, ms"));
    let rows: [(&str, Cell); 10] = [
        ("", |run| run.name.to_owned()),
        ("processes of the shop", |run| run.processes.to_string()),
        ("requests/s at full speed", |run| format!("{:.0}", run.requests_per_second)),
        (&p50, |run| format!("{:.2}", run.p50)),
        (&p99, |run| format!("{:.2}", run.p99)),
        ("database queries per request", |run| format!("{:.3}", run.queries_per_request)),
        ("database queries per read", |run| format!("{:.3}", run.queries_per_read)),
        ("answered in the process", |run| {
            share(run.hit_ratio.map(|all| all - run.redis_ratio))
        }),
        ("answered by Redis", |run| share(Some(run.redis_ratio).filter(|share| *share > 0.0))),
        ("failed requests", |run| format!("{:.0}", run.failures)),
    ];
    println!();
    for (label, cell) in rows {
        print!("{label:30}");
        for run in runs {
            print!("{:>14}", cell(run));
        }
        println!();
    }
}

fn share(of_one: Option<f64>) -> String {
    of_one.map_or_else(|| "-".to_owned(), |share| format!("{:.1} %", share * 100.0))
}

/// Whether no request failed, and each warm cache spares the database.
pub(crate) fn judge(runs: &[Run]) -> Result<(), String> {
    for run in runs {
        if run.failures > 0.0 || run.requests == 0.0 {
            return Err(format!(
                "{}: {} of {} requests failed",
                run.name, run.failures, run.requests
            ));
        }
    }
    let [without, cached @ ..] = runs else {
        return Err("there is nothing to compare".to_owned());
    };
    if cached.is_empty() {
        return Err("there is nothing to compare".to_owned());
    }
    for Run { name, queries_per_read, .. } in cached {
        let saved = 1.0 - queries_per_read / without.queries_per_read;
        if saved.is_nan() {
            return Err("no query was counted, so there is nothing to compare".to_owned());
        }
        println!("With a warm {name} a read costs the database {:.1} % less.", saved * 100.0);
        if saved < SAVED {
            return Err(format!("that is less than the {:.0} % it must be", SAVED * 100.0));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn run(name: &'static str, queries: f64, failures: u64) -> Run {
        let report = json!({
            "requests": 1_000, "requests_per_second": 100.5, "failures": failures,
            "latency_ms": {"p50": 0.5, "p99": 2}, "cache": null,
            "database": {"queries": 970.0 * queries, "queries_per_read": queries},
        });
        Run::new(name, 1, &report, &report).unwrap()
    }

    #[test]
    fn a_cache_that_spares_the_database_is_enough() {
        assert_eq!(
            judge(&[run("off", 1.0, 0), run("local", 0.1, 0), run("shared", 0.1, 0)]),
            Ok(())
        );
    }

    #[test]
    fn a_cache_that_spares_too_little_is_not() {
        assert!(judge(&[run("off", 1.0, 0), run("warm", 0.11, 0)]).is_err());
        for [local, shared] in [[0.1, 0.11], [0.11, 0.1]] {
            let runs = [run("off", 1.0, 0), run("local", local, 0), run("shared", shared, 0)];
            assert!(judge(&runs).is_err());
        }
        assert!(judge(&[run("off", 1.0, 0)]).is_err());
        // The database was spared before: there is nothing to show.
        assert!(judge(&[run("off", 0.1, 0), run("warm", 0.1, 0)]).is_err());
        assert!(judge(&[run("off", 0.0, 0), run("warm", 0.0, 0)]).is_err());
    }

    #[test]
    fn one_failed_request_is_too_many() {
        assert!(judge(&[run("off", 1.0, 1), run("warm", 0.0, 0)]).is_err());
        assert!(judge(&[run("off", 1.0, 0), run("warm", 0.0, 1)]).is_err());
    }

    #[test]
    fn a_report_without_its_figures_is_refused() {
        let report = json!({"requests": 1, "database": null});
        assert!(Run::new("off", 1, &report, &report).is_err());
    }
}
