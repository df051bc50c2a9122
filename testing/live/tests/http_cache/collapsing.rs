//! RFC 9111, section 4: one request for all who ask at the same time, and contents as they
//! come.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use testbed::eventually;
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;
use tokio::sync::Notify;
use tokio::task::JoinSet;

use crate::support::{Answer, Bed, ok, raw, reply, request};

const SOON: Duration = Duration::from_secs(10);

/// So many GETs at once.
fn ask(bed: &Bed, times: usize, fields: impl Fn(usize) -> String) -> JoinSet<(usize, Answer)> {
    let mut answers = JoinSet::new();
    for n in 0..times {
        let (address, request) = (bed.address, request("GET", "/", &fields(n)));
        answers.spawn(async move { (n, Answer::to(address, &request).await) });
    }
    answers
}

async fn read_until(socket: &mut TcpStream, end: &str) -> String {
    let mut bytes = Vec::new();
    while !String::from_utf8_lossy(&bytes).contains(end) {
        let mut part = [0; 4_096];
        let read = socket.read(&mut part).await.unwrap();
        assert!(read > 0, "it ended at {:?}", String::from_utf8_lossy(&bytes));
        bytes.extend_from_slice(&part[..read]);
    }
    String::from_utf8(bytes).unwrap()
}

#[tokio::test]
async fn a_thousand_misses_are_one_request() {
    let bed = Bed::start().await;
    let gate = Arc::new(Notify::new());
    bed.origin.will(ok("Cache-Control: max-age=60", "one").after(&gate));
    let mut answers = ask(&bed, 1_000, |_| String::new());
    bed.origin.asked(1).await;
    bed.waiting(999).await;
    gate.notify_one();
    let mut collapsed = 0;
    while let Some(answer) = answers.join_next().await {
        let (_, answer) = answer.unwrap();
        assert_eq!((answer.status, &*answer.body), (200, "one"));
        collapsed += usize::from(answer.field("cache-status").unwrap().contains("; collapsed"));
    }
    assert_eq!((bed.origin.requests().len(), collapsed), (1, 999));
}

#[tokio::test]
async fn the_first_byte_reaches_all_before_the_last_has_come() {
    let bed = Bed::start().await;
    let gate = Arc::new(Notify::new());
    let head = "HTTP/1.1 200 X\r\nCache-Control: max-age=60\r\nContent-Length: 10\r\n\r\nfirst";
    bed.origin.will(raw(head).gate(&gate).then("-last"));
    let mut sockets = Vec::new();
    for _ in 0..20 {
        let mut socket = Answer::send(bed.address, &request("GET", "/", "")).await;
        read_until(&mut socket, "first").await;
        sockets.push(socket);
    }
    gate.notify_one();
    for socket in &mut sockets {
        read_until(socket, "-last").await;
    }
    assert_eq!(bed.origin.requests().len(), 1);
    assert_eq!(bed.get("/", "").await.body, "first-last");
}

#[tokio::test]
async fn who_asked_first_may_go() {
    let bed = Bed::start().await;
    let gate = Arc::new(Notify::new());
    bed.origin.will(ok("Cache-Control: max-age=60", "one").after(&gate));
    let first = Answer::send(bed.address, &request("GET", "/", "")).await;
    bed.origin.asked(1).await;
    let mut others = ask(&bed, 10, |_| String::new());
    bed.waiting(10).await;
    drop(first);
    gate.notify_one();
    while let Some(answer) = others.join_next().await {
        assert_eq!(answer.unwrap().1.body, "one");
    }
    assert_eq!(bed.origin.requests().len(), 1);
}

#[tokio::test]
async fn who_asked_alone_may_go_and_it_is_stored() {
    let bed = Bed::start().await;
    let gate = Arc::new(Notify::new());
    let head = "HTTP/1.1 200 X\r\nCache-Control: max-age=60\r\nContent-Length: 10\r\n\r\nfirst";
    bed.origin.will(raw(head).gate(&gate).then("-last"));
    let mut first = Answer::send(bed.address, &request("GET", "/", "")).await;
    read_until(&mut first, "first").await;
    drop(first);
    gate.notify_one();
    let stored = || async { bed.get("/", "Cache-Control: only-if-cached").await.status == 200 };
    eventually(SOON, stored).await;
}

#[tokio::test]
async fn what_is_for_one_is_not_given_to_those_who_waited() {
    for fields in ["Cache-Control: private", "Cache-Control: no-store", "Vary: *", ""] {
        let bed = Bed::start().await;
        let gate = Arc::new(Notify::new());
        bed.origin.will(ok(fields, "0").after(&gate));
        let mut answers = ask(&bed, 20, |_| String::new());
        bed.origin.asked(1).await;
        bed.waiting(19).await;
        (1..20).for_each(|n| bed.origin.will(ok(fields, &n.to_string())));
        gate.notify_one();
        let mut seen = HashSet::new();
        while let Some(answer) = answers.join_next().await {
            let (_, answer) = answer.unwrap();
            assert!(seen.insert(answer.body), "{fields:?}: one answer for two");
        }
        assert_eq!((seen.len(), bed.origin.requests().len()), (20, 20), "{fields:?}");
    }
}

#[tokio::test]
async fn nobody_waits_a_second_time_for_what_was_for_one() {
    let bed = Bed::start().await;
    bed.origin.will(ok("Cache-Control: private", "0"));
    bed.get("/", "").await;
    let gate = Arc::new(Notify::new());
    for _ in 0..5 {
        bed.origin.will(ok("Cache-Control: private", "1").after(&gate));
    }
    let mut answers = ask(&bed, 5, |_| String::new());
    bed.origin.asked(6).await;
    (0..5).for_each(|_| gate.notify_one());
    gate.notify_waiters();
    let open = gate.clone();
    let opener = tokio::spawn(async move {
        loop {
            open.notify_one();
            tokio::task::yield_now().await;
        }
    });
    while let Some(answer) = answers.join_next().await {
        assert_eq!(answer.unwrap().1.body, "1");
    }
    opener.abort();
}

#[tokio::test]
async fn a_users_answer_is_not_given_to_another() {
    let bed = Bed::start().await;
    let gate = Arc::new(Notify::new());
    bed.origin.will(ok("Cache-Control: max-age=60", "0").after(&gate));
    let mut answers = ask(&bed, 10, |n| format!("Authorization: Basic {n}"));
    bed.origin.asked(1).await;
    bed.waiting(9).await;
    (1..10).for_each(|n| bed.origin.will(ok("Cache-Control: max-age=60", &n.to_string())));
    gate.notify_one();
    let mut seen = HashSet::new();
    while let Some(answer) = answers.join_next().await {
        assert!(seen.insert(answer.unwrap().1.body));
    }
    assert_eq!(seen.len(), 10);
}

#[tokio::test]
async fn each_variant_is_asked_for_once() {
    let bed = Bed::start().await;
    let gate = Arc::new(Notify::new());
    let fields = "Cache-Control: max-age=60 | Vary: Foo";
    bed.origin.will(ok(fields, "first").after(&gate));
    let mut answers = ask(&bed, 30, |n| format!("Foo: {}", n % 3));
    bed.origin.asked(1).await;
    bed.waiting(29).await;
    let first = bed.origin.requests()[0].split("foo: ").nth(1).unwrap()[..1].to_owned();
    bed.origin.will(ok(fields, "other"));
    bed.origin.will(ok(fields, "other"));
    gate.notify_one();
    while let Some(answer) = answers.join_next().await {
        let (n, answer) = answer.unwrap();
        let own = (n % 3).to_string() == first;
        assert_eq!(answer.body, if own { "first" } else { "other" });
    }
    assert_eq!(bed.origin.requests().len(), 3);
}

#[tokio::test]
async fn a_failure_is_one_for_all() {
    let bed = Bed::start().await;
    let gate = Arc::new(Notify::new());
    bed.origin.will(raw("").after(&gate));
    let mut answers = ask(&bed, 20, |_| String::new());
    bed.origin.asked(1).await;
    bed.waiting(19).await;
    gate.notify_one();
    let mut refused = 0;
    while let Some(answer) = answers.join_next().await {
        let (_, answer) = answer.unwrap();
        if answer.status == 502 {
            assert!(answer.field("cache-status").unwrap().contains("detail=origin-failed"));
            refused += 1;
        }
    }
    assert_eq!((bed.origin.requests().len(), refused), (1, 19));
}

#[tokio::test]
async fn a_failure_is_504_for_all_where_it_must_be_revalidated() {
    let bed = Bed::start().await;
    bed.origin.will(ok("Cache-Control: max-age=60, must-revalidate | ETag: \"a\"", "one"));
    bed.get("/", "").await;
    bed.clock.advance(Duration::from_secs(60));
    let gate = Arc::new(Notify::new());
    bed.origin.will(raw("").after(&gate));
    let mut answers = ask(&bed, 20, |_| String::new());
    bed.origin.asked(2).await;
    bed.waiting(19).await;
    gate.notify_one();
    while let Some(answer) = answers.join_next().await {
        assert_eq!(answer.unwrap().1.status, 504);
    }
    assert_eq!(bed.origin.requests().len(), 2);
}

#[tokio::test]
async fn the_time_on_the_way_is_an_age() {
    let bed = Bed::start().await;
    let gate = Arc::new(Notify::new());
    bed.origin.will(ok("Cache-Control: max-age=60 | Age: 5", "one").after(&gate));
    let mut first = ask(&bed, 1, |_| String::new());
    bed.origin.asked(1).await;
    bed.clock.advance(Duration::from_secs(10));
    gate.notify_one();
    first.join_next().await.unwrap().unwrap();
    assert_eq!(bed.get("/", "").await.field("age").as_deref(), Some("15"));
}

#[tokio::test]
async fn what_is_stale_is_validated_once_for_all() {
    let bed = Bed::start().await;
    bed.origin.will(ok("Cache-Control: max-age=60 | ETag: \"a\"", "one"));
    bed.get("/", "").await;
    bed.clock.advance(Duration::from_secs(60));
    let gate = Arc::new(Notify::new());
    bed.origin.will(reply(304, "ETag: \"a\"", "").after(&gate));
    let mut answers = ask(&bed, 20, |_| String::new());
    bed.origin.asked(2).await;
    bed.waiting(19).await;
    gate.notify_one();
    while let Some(answer) = answers.join_next().await {
        assert_eq!(answer.unwrap().1.body, "one");
    }
    assert_eq!(bed.origin.requests().len(), 2);
}

#[tokio::test]
async fn what_is_stale_stands_in_for_all_who_waited() {
    let bed = Bed::start().await;
    bed.origin.will(ok("Cache-Control: max-age=60, stale-if-error=60", "one"));
    bed.get("/", "").await;
    bed.clock.advance(Duration::from_secs(60));
    let gate = Arc::new(Notify::new());
    bed.origin.will(reply(503, "", "error").after(&gate));
    let mut answers = ask(&bed, 20, |_| String::new());
    bed.origin.asked(2).await;
    bed.waiting(19).await;
    gate.notify_one();
    while let Some(answer) = answers.join_next().await {
        assert_eq!(answer.unwrap().1.body, "one");
    }
    assert_eq!(bed.origin.requests().len(), 2);
}

#[tokio::test]
async fn one_revalidation_is_under_way_at_a_time() {
    let bed = Bed::start().await;
    bed.origin.will(ok("Cache-Control: max-age=60, stale-while-revalidate=60", "one"));
    bed.get("/", "").await;
    bed.clock.advance(Duration::from_secs(60));
    let gate = Arc::new(Notify::new());
    bed.origin.will(ok("Cache-Control: max-age=60", "two").after(&gate));
    for _ in 0..10 {
        assert_eq!(bed.get("/", "").await.body, "one");
    }
    bed.origin.asked(2).await;
    gate.notify_one();
    let renewed = || async { bed.get("/", "").await.body == "two" };
    eventually(SOON, renewed).await;
    assert_eq!(bed.origin.requests().len(), 2);
}

#[tokio::test]
async fn a_content_that_is_cut_short_is_an_error_to_all_and_not_stored() {
    let bed = Bed::start().await;
    let gate = Arc::new(Notify::new());
    let head =
        "HTTP/1.1 200 X\r\nCache-Control: max-age=60\r\nTransfer-Encoding: chunked\r\n\r\n";
    bed.origin.will(raw(head).then("3\r\none\r\n").after(&gate));
    let mut answers = ask(&bed, 10, |_| String::new());
    bed.origin.asked(1).await;
    bed.waiting(9).await;
    gate.notify_one();
    while let Some(answer) = answers.join_next().await {
        let (_, answer) = answer.unwrap();
        assert!((answer.status, &*answer.body, answer.whole) == (200, "one", false));
    }
    bed.origin.will(ok("", "two"));
    assert_eq!(bed.get("/", "").await.body, "two");
    assert_eq!(bed.origin.requests().len(), 2);
}

#[tokio::test]
async fn a_purge_overtakes_what_is_on_its_way() {
    for purged in ["uri", "prefix", "group", "all", "post"] {
        let bed = Bed::start().await;
        let gate = Arc::new(Notify::new());
        let fields = "Cache-Control: max-age=60 | Cache-Groups: \"x\"";
        bed.origin.will(ok(fields, "old").after(&gate));
        let mut early = ask(&bed, 1, |_| String::new());
        bed.origin.asked(1).await;
        let uri = "http://h/".parse().unwrap();
        match purged {
            "uri" => bed.purge.uri(&uri).await.unwrap(),
            "prefix" => bed.purge.prefix(&uri).await.unwrap(),
            "group" => bed.purge.group(&uri, "x").await.unwrap(),
            "all" => bed.purge.all().await.unwrap(),
            _ => {
                bed.origin.will(reply(204, "", ""));
                bed.ask("POST", "/", "Content-Length: 0").await;
            }
        }
        gate.notify_one();
        let (_, old) = early.join_next().await.unwrap().unwrap();
        assert_eq!(old.body, "old", "{purged}: who asked before is answered");
        bed.origin.will(ok(fields, "new"));
        assert_eq!(bed.get("/", "").await.body, "new", "{purged}: it was stored");
        assert_eq!(bed.get("/", "").await.body, "new");
    }
}

#[tokio::test]
async fn who_asks_after_a_purge_does_not_join_a_request_from_before() {
    for purged in ["uri", "prefix"] {
        let bed = Bed::start().await;
        let gate = Arc::new(Notify::new());
        bed.origin.will(ok("Cache-Control: max-age=60", "old").after(&gate));
        let mut early = ask(&bed, 1, |_| String::new());
        bed.origin.asked(1).await;
        let uri = "http://h/".parse().unwrap();
        match purged {
            "uri" => bed.purge.uri(&uri).await.unwrap(),
            _ => bed.purge.prefix(&uri).await.unwrap(),
        }
        bed.origin.will(ok("Cache-Control: max-age=60", "new"));
        assert_eq!(bed.get("/", "").await.body, "new", "{purged}");
        gate.notify_one();
        early.join_next().await.unwrap().unwrap();
        assert_eq!(bed.get("/", "").await.body, "new", "{purged}");
    }
}

#[tokio::test]
async fn a_slow_client_holds_nobody_up() {
    let bed = Bed::with(|builder| builder.entry_limit(1 << 20)).await;
    let gate = Arc::new(Notify::new());
    let head =
        "HTTP/1.1 200 X\r\nCache-Control: max-age=60\r\nTransfer-Encoding: chunked\r\n\r\n";
    let chunk = format!("10000\r\n{}\r\n", "x".repeat(0x10000));
    let many = chunk.repeat(320) + "0\r\n\r\n";
    bed.origin.will(raw(head).after(&gate).then(many));
    // It reads nothing of 20 MiB.
    let slow = Answer::send(bed.address, &request("GET", "/", "")).await;
    bed.origin.asked(1).await;
    let mut fast = ask(&bed, 3, |_| String::new());
    bed.waiting(3).await;
    gate.notify_one();
    while let Some(answer) = fast.join_next().await {
        let (_, answer) = answer.unwrap();
        assert!(answer.whole);
        assert_eq!(answer.body.len(), 20 << 20);
    }
    drop(slow);
    assert_eq!(bed.origin.requests().len(), 1);
}
