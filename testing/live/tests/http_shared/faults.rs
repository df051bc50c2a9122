//! Redis slow, away, emptied, restarted, and servers that cannot hear it.

use std::time::Duration;

use testbed::eventually;
use testbed::link::Link;
use testbed::redis::{Redis, Reply};
use tokio::time::{Instant, sleep};

use crate::fleet::{BOUND, Fleet, GROUPED, ask, uri, version};

const DEADLINE: Duration = Duration::from_secs(30);

#[tokio::test]
async fn a_server_that_hears_nothing_serves_nothing_unasked() {
    let redis = Redis::start().await.unwrap();
    let link = Link::to(redis.addr()).unwrap();
    let urls = [redis.url(), redis.url(), redis.url_at(link.addr())];
    let fleet = Fleet::new(&urls).await;
    for (n, what) in ["uri", "prefix", "group", "all"].into_iter().enumerate() {
        fleet.warm("/a/b").await;
        if n % 2 == 0 {
            link.blackhole()
        } else {
            link.cut()
        }
        let new = fleet.change();
        assert!(crate::purging::purge(&fleet, 0, what).await, "{what}");
        for server in 0..3 {
            assert_eq!(fleet.version(server, "/a/b").await, new, "{what} on {server}");
        }
        // It asks whether what it has is good, and that is not sent again.
        let answer = fleet.get(2, "/a/b").await;
        let status = answer.headers()["cache-status"].to_str().unwrap();
        assert!(status.contains("fwd-status=304"), "{what}: {status}");
        link.heal();
        let heard = || async {
            let answer = fleet.get(2, "/a/b").await;
            assert_eq!(version(&answer), new);
            answer.headers()["cache-status"].to_str().unwrap().contains("; hit")
        };
        eventually(DEADLINE, heard).await;
    }
}

#[tokio::test]
async fn what_one_cannot_tell_is_told_when_it_can() {
    let redis = Redis::start().await.unwrap();
    let link = Link::to(redis.addr()).unwrap();
    let urls = [redis.url_at(link.addr()), redis.url(), redis.url()];
    let fleet = Fleet::new(&urls).await;
    for what in ["uri", "prefix", "group", "all", "POST"] {
        fleet.warm("/a/b").await;
        link.cut();
        let new = fleet.change();
        let told = crate::purging::purge(&fleet, 0, what).await;
        assert!(what == "POST" || !told, "{what}");
        assert_eq!(fleet.version(0, "/a/b").await, new, "{what}");
        link.heal();
        // As long as it is not told, it does not take it back.
        let told = || async {
            assert_eq!(fleet.version(0, "/a/b").await, new, "{what}");
            fleet.version(1, "/a/b").await == new && fleet.version(2, "/a/b").await == new
        };
        eventually(DEADLINE, told).await;
    }
}

#[tokio::test]
async fn a_redis_that_is_away_costs_no_error_and_is_used_again() {
    let redis = Redis::start().await.unwrap();
    let fleet = Fleet::new(&vec![redis.url(); 3]).await;
    fleet.warm("/a").await;
    for frozen in [true, false] {
        if frozen {
            redis.pause_process().unwrap();
        } else {
            redis.kill().await.unwrap();
        }
        let began = Instant::now();
        let mut slowest = Duration::ZERO;
        let mut n = 0;
        while began.elapsed() < Duration::from_secs(3) {
            for server in 0..3 {
                for path in ["/a".to_owned(), format!("/{frozen}/{server}/{n}")] {
                    let asked = Instant::now();
                    let answer = fleet.get(server, &path).await;
                    assert_eq!((answer.status().as_u16(), version(&answer)), (200, 1));
                    slowest = slowest.max(asked.elapsed());
                }
            }
            n += 1;
            sleep(Duration::from_millis(20)).await;
        }
        // Some operations of a quarter of a second until it is not asked any more.
        assert!(slowest < Duration::from_secs(2), "{slowest:?}");
        if frozen {
            redis.resume_process().unwrap();
        } else {
            redis.restart().await.unwrap();
        }
        let path = format!("/again/{frozen}");
        let shares = || async {
            let path = format!("{path}/{}", fastrand::u64(..));
            fleet.get(0, &path).await;
            let answer = fleet.get(1, &path).await;
            answer.headers()["cache-status"].to_str().unwrap().contains("shared")
        };
        eventually(DEADLINE, shares).await;
        fleet.warm("/a").await;
    }
}

#[tokio::test]
async fn what_was_purged_does_not_come_back_with_an_old_memory() {
    let redis = Redis::start().await.unwrap();
    let mut fleet = Fleet::new(&vec![redis.url(); 3]).await;
    for what in ["uri", "prefix", "group", "all"] {
        for loss in ["snapshot", "flush", "empty", "count"] {
            fleet.warm("/a/b").await;
            redis.save().await.unwrap();
            let new = fleet.change();
            assert!(crate::purging::purge(&fleet, 0, what).await, "{what}");
            match loss {
                "snapshot" => redis.restart_from_snapshot().await.unwrap(),
                "empty" => redis.restart_empty().await.unwrap(),
                "flush" => drop(redis.command(&["FLUSHALL"]).await.unwrap()),
                // It evicts as it likes.
                _ => {
                    let count = "{cache-aside:cache-aside:0}c";
                    drop(redis.command(&["DEL", count]).await.unwrap());
                }
            }
            if fleet.servers.len() < 5 {
                fleet.add(&redis.url(), |builder| builder.staleness_bound(BOUND));
            }
            for _ in 0..2 {
                for server in 0..fleet.servers.len() {
                    let now = fleet.version(server, "/a/b").await;
                    assert_eq!(now, new, "{what}, {loss}, on {server}");
                }
                sleep(BOUND).await;
            }
        }
    }
}

/// A replica that has not heard of the purge takes over.
#[tokio::test]
async fn what_was_purged_does_not_come_back_with_a_promotion() {
    for what in ["uri", "prefix", "group", "all"] {
        let redis = Redis::start().await.unwrap();
        let link = Link::to(redis.addr()).unwrap();
        let url = redis.url_at(link.addr());
        let mut fleet = Fleet::new(&vec![url.clone(); 3]).await;
        fleet.warm("/a/b").await;
        let replica = redis.replica().await.unwrap();
        replica.caught_up(DEADLINE).await.unwrap();
        replica.cut_stream().await.unwrap();
        let new = fleet.change();
        assert!(crate::purging::purge(&fleet, 0, what).await, "{what}");
        redis.kill().await.unwrap();
        replica.promote().await.unwrap();
        link.lead_to(replica.addr());
        fleet.add(&url, |builder| builder.staleness_bound(BOUND));
        for server in [3, 1, 2, 0] {
            assert_eq!(fleet.version(server, "/a/b").await, new, "{what} on {server}");
        }
        // And the new one is used.
        let shares = || async {
            let path = format!("/c/{}", fastrand::u64(..));
            fleet.get(0, &path).await;
            let answer = fleet.get(3, &path).await;
            answer.headers()["cache-status"].to_str().unwrap().contains("shared")
        };
        eventually(DEADLINE, shares).await;
        assert_eq!(fleet.version(3, "/a/b").await, new, "{what}");
    }
}

/// One that comes late knows of purges by the tables only.
#[tokio::test]
async fn what_was_purged_does_not_come_back_with_the_loss_of_a_table() {
    let redis = Redis::start().await.unwrap();
    let mut fleet = Fleet::new(&vec![redis.url(); 3]).await;
    for table in ["p", "o"] {
        fleet.warm("/a/b").await;
        let new = fleet.change();
        let purge = &fleet.servers[0].purge;
        let purge = if table == "o" { purge.soft() } else { purge.clone() };
        purge.prefix(&uri("/a")).await.unwrap();
        let table = format!("{{cache-aside:cache-aside:0}}{table}");
        assert_eq!(redis.command(&["DEL", &table]).await.unwrap().integer(), Some(1));
        fleet.add(&redis.url(), |builder| builder.staleness_bound(BOUND));
        for server in (0..fleet.servers.len()).rev() {
            assert_eq!(fleet.version(server, "/a/b").await, new, "{table}, on {server}");
        }
    }
}

/// What somebody else has written in the place of the log is no log: another one begins.
#[tokio::test]
async fn garbage_in_the_log_keeps_no_purge_back() {
    let redis = Redis::start().await.unwrap();
    let mut fleet = Fleet::new(&vec![redis.url(); 2]).await;
    let key = |kind| format!("{{cache-aside:cache-aside:0}}{kind}");
    let (count, messages) = (key("c"), key("j"));
    for garbage in ["9007199254740992", "-1", "1.5", "nan", "inf", "1e300", "x", "list"] {
        fleet.warm("/a/b").await;
        if garbage == "list" {
            redis.command(&["SET", &messages, "x"]).await.unwrap();
        } else {
            let Reply::Bytes(now) = redis.command(&["GET", &count]).await.unwrap() else {
                panic!("no count")
            };
            let bent = [&now[..16], garbage.as_bytes()].concat();
            redis.command(&[&b"SET"[..], count.as_bytes(), &bent]).await.unwrap();
        }
        let new = fleet.change();
        assert!(crate::purging::purge(&fleet, 0, "prefix").await, "{garbage}");
        if fleet.servers.len() < 3 {
            fleet.add(&redis.url(), |builder| builder.staleness_bound(BOUND));
        }
        for server in 0..fleet.servers.len() {
            assert_eq!(fleet.version(server, "/a/b").await, new, "{garbage}, on {server}");
        }
    }
}

/// More is announced than the log has room for while one is away.
#[tokio::test]
async fn who_was_away_for_longer_than_the_log_reaches_begins_anew() {
    let redis = Redis::start().await.unwrap();
    let link = Link::to(redis.addr()).unwrap();
    let urls = [redis.url(), redis.url_at(link.addr())];
    let fleet = Fleet::new(&urls).await;
    fleet.warm("/a/b").await;
    link.cut();
    let new = fleet.change();
    let purge = fleet.servers[0].purge.at_once();
    purge.prefix(&uri("/a")).await.unwrap();
    for n in 0..1_100 {
        purge.uri(&uri(&format!("/x{n}"))).await.unwrap();
    }
    link.heal();
    sleep(BOUND).await;
    for _ in 0..2 {
        for server in 0..2 {
            assert_eq!(fleet.version(server, "/a/b").await, new, "on {server}");
        }
        sleep(2 * BOUND).await;
    }
}

#[tokio::test]
async fn a_full_redis_is_purged_too() {
    let redis = Redis::builder().setting("maxmemory-policy", "noeviction").start().await;
    let redis = redis.unwrap();
    let fleet = Fleet::new(&vec![redis.url(); 3]).await;
    for what in ["uri", "prefix", "group", "all"] {
        fleet.warm("/a/b").await;
        redis.command(&["CONFIG", "SET", "maxmemory", "1"]).await.unwrap();
        let new = fleet.change();
        assert!(crate::purging::purge(&fleet, 0, what).await, "{what}");
        for server in 0..3 {
            assert_eq!(fleet.version(server, "/a/b").await, new, "{what} on {server}");
        }
        redis.command(&["CONFIG", "SET", "maxmemory", "0"]).await.unwrap();
        sleep(BOUND).await;
        for server in 0..3 {
            assert_eq!(fleet.version(server, "/a/b").await, new, "{what} on {server}");
        }
    }
}

/// A process that holds a lease and dies holds nobody up for longer than is said.
#[tokio::test]
async fn a_lease_whose_holder_is_gone_is_waited_for_only_so_long() {
    let redis = Redis::start().await.unwrap();
    let fleet = Fleet::with(&vec![redis.url(); 2], |builder| {
        builder.staleness_bound(BOUND).lease_wait(Duration::from_millis(300))
    })
    .await;
    fleet.warm("/other").await;
    let lease = "{cache-aside:cache-aside:0}lhttp://h/a";
    let generation = redis.command(&["GET", "{cache-aside:cache-aside:0}g"]).await.unwrap();
    let Reply::Bytes(generation) = generation else { panic!("no generation") };
    let held = [&[1_u8; 16][..], &generation].concat();
    let words = [&b"SET"[..], lease.as_bytes(), &held, b"PX", b"60000"];
    redis.command(&words).await.unwrap();
    let began = Instant::now();
    for server in [0, 1, 0, 1] {
        assert_eq!(fleet.version(server, "/a").await, 1);
    }
    assert!(began.elapsed() > Duration::from_millis(600), "{:?}", began.elapsed());
    assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
    assert_eq!(fleet.asked(), 2, "each keeps what it asked for");
}

/// With the commands that the documents name.
#[tokio::test]
async fn the_commands_that_are_documented_are_enough() {
    const COMMANDS: &str = "info time script|load evalsha get mget pttl unlink set hmget hset \
        hdel hrandfield hget hgetall rpush ltrim llen lrange";
    let redis = Redis::start().await.unwrap();
    let rules = "ACL SETUSER app on >secret -@all ~{cache-aside:*";
    let allowed = COMMANDS.split_whitespace().map(|command| format!("+{command}"));
    let words: Vec<String> = rules.split(' ').map(str::to_owned).chain(allowed).collect();
    redis.command(&words).await.unwrap();
    let url = format!("redis://app:secret@{}/", redis.addr());
    let fleet = Fleet::new(&vec![url; 2]).await;
    fleet.fields(GROUPED);
    fleet.warm("/a").await;
    let new = fleet.change();
    fleet.servers[0].purge.group(&uri("/"), "g").await.unwrap();
    for server in 0..2 {
        assert_eq!(fleet.version(server, "/a").await, new);
    }
    assert_eq!(fleet.asked(), 1);
    let answer = ask(fleet.servers[1].service.clone(), "GET", "/a").await;
    assert_eq!(version(&answer), new);
}
