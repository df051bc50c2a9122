use std::time::Duration;

use cache_aside::http::HttpCacheBuilder;

use super::middle::Bed;
use super::wire::{Reply, ok, reply};

type Settings = Box<dyn FnOnce(HttpCacheBuilder) -> HttpCacheBuilder>;

/// Requests one after the other, with what the origin says to each and what is expected.
pub(crate) struct Script {
    settings: Settings,
    steps: Vec<Step>,
}

/// One request.
pub(crate) struct Step {
    after: u64,
    method: &'static str,
    path: String,
    fields: String,
    origin: Vec<Reply>,
    unreachable: bool,
    sees: Vec<String>,
    sees_not: Vec<String>,
    status: u16,
    has: Vec<String>,
    lacks: Vec<String>,
    body: Option<String>,
}

pub(crate) fn get(fields: &str) -> Step {
    step("GET", "/", fields)
}

/// A request that is to be answered with 200, without the origin.
pub(crate) fn step(method: &'static str, path: &str, fields: &str) -> Step {
    Step {
        after: 0,
        method,
        path: path.to_owned(),
        fields: fields.to_owned(),
        origin: Vec::new(),
        unreachable: false,
        sees: Vec::new(),
        sees_not: Vec::new(),
        status: 200,
        has: Vec::new(),
        lacks: Vec::new(),
        body: None,
    }
}

impl Step {
    /// The origin is asked, and says this.
    pub(crate) fn to(mut self, reply: Reply) -> Self {
        self.origin.push(reply);
        self
    }

    /// The origin is asked, and hangs up.
    pub(crate) fn unanswered(mut self) -> Self {
        self.unreachable = true;
        self
    }

    /// What the origin's request has in it: a part of a line.
    pub(crate) fn sees(mut self, line: &str) -> Self {
        self.sees.push(line.to_ascii_lowercase());
        self
    }

    pub(crate) fn sees_not(mut self, line: &str) -> Self {
        self.sees_not.push(line.to_ascii_lowercase());
        self
    }

    pub(crate) fn status(mut self, status: u16) -> Self {
        self.status = status;
        self
    }

    /// A field of the answer, `Name: value`, where the value is a part of what it is.
    pub(crate) fn has(mut self, field: &str) -> Self {
        self.has.push(field.to_owned());
        self
    }

    pub(crate) fn lacks(mut self, name: &str) -> Self {
        self.lacks.push(name.to_owned());
        self
    }

    pub(crate) fn body(mut self, body: &str) -> Self {
        self.body = Some(body.to_owned());
        self
    }

    /// So many seconds after the one before.
    pub(crate) fn after(mut self, seconds: u64) -> Self {
        self.after = seconds;
        self
    }

    async fn run(self, n: usize, bed: &Bed) {
        bed.clock.advance(Duration::from_secs(self.after));
        let before = bed.origin.requests().len();
        let asked = self.origin.len() + usize::from(self.unreachable);
        for reply in self.origin {
            bed.origin.will(reply);
        }
        let answer = bed.ask(self.method, &self.path, &self.fields).await;
        bed.origin.asked(before + asked).await;
        let requests = &bed.origin.requests()[before..];
        let told = format!("request {n}: {answer:#?}\nthe origin saw {requests:#?}");
        assert_eq!(requests.len(), asked, "{told}");
        if let Some(last) = requests.last() {
            let last = last.to_ascii_lowercase();
            for line in &self.sees {
                assert!(last.contains(line), "no {line:?} was sent in {told}");
            }
            for line in &self.sees_not {
                assert!(!last.contains(line), "{line:?} was sent in {told}");
            }
        }
        assert_eq!(answer.status, self.status, "{told}");
        for field in &self.has {
            let (name, value) = field.split_once(": ").unwrap();
            let has = answer.field(name).is_some_and(|has| has.contains(value));
            assert!(has, "no {field:?} in {told}");
        }
        for name in &self.lacks {
            assert!(answer.field(name).is_none(), "{name} is in {told}");
        }
        if let Some(body) = &self.body {
            assert!(answer.whole && answer.body == *body, "another content in {told}");
        }
    }
}

impl Script {
    pub(crate) fn new() -> Self {
        Self { settings: Box::new(|builder| builder), steps: Vec::new() }
    }

    pub(crate) fn with(
        settings: impl FnOnce(HttpCacheBuilder) -> HttpCacheBuilder + 'static,
    ) -> Self {
        Self { settings: Box::new(settings), steps: Vec::new() }
    }

    /// A GET to which the origin answers 200 with these fields, and "one".
    pub(crate) fn stored(fields: &str) -> Self {
        Self::new().first(fields)
    }

    pub(crate) fn first(self, fields: &str) -> Self {
        self.then(get("").to(ok(fields, "one")).body("one"))
    }

    /// The same for another status.
    pub(crate) fn stored_as(status: u16, fields: &str) -> Self {
        Self::new().then(get("").to(reply(status, fields, "one")).status(status))
    }

    pub(crate) fn then(mut self, step: Step) -> Self {
        self.steps.push(step);
        self
    }

    /// A GET that is answered from the store.
    pub(crate) fn hits(self) -> Self {
        self.hits_with("")
    }

    pub(crate) fn hits_with(self, fields: &str) -> Self {
        self.then(get(fields).body("one").has("cache-status: edge; hit"))
    }

    pub(crate) fn hits_after(self, seconds: u64) -> Self {
        self.then(get("").after(seconds).body("one").has("cache-status: edge; hit"))
    }

    /// A GET that goes to the origin, which answers with something else.
    pub(crate) fn misses(self) -> Self {
        self.misses_with("")
    }

    pub(crate) fn misses_with(self, fields: &str) -> Self {
        self.then(get(fields).to(ok("", "two")).body("two").has("cache-status: edge; fwd="))
    }

    pub(crate) fn misses_after(self, seconds: u64) -> Self {
        self.then(get("").after(seconds).to(ok("", "two")).body("two"))
    }

    /// A GET that is answered from the store, which the origin says is still good.
    pub(crate) fn validates(self, condition: &str) -> Self {
        let answer = get("").to(reply(304, "", "")).sees(condition).body("one");
        self.then(answer.has("cache-status: fwd=stale; fwd-status=304"))
    }

    pub(crate) async fn run(self) {
        let bed = Bed::with(self.settings).await;
        for (n, step) in self.steps.into_iter().enumerate() {
            step.run(n + 1, &bed).await;
        }
    }
}
