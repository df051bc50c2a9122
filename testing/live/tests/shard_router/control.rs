//! Topologies in a control table.

use std::time::Duration;

use shard_router::{ControlError, ControlTable, Router, Topology};

use crate::bed::{Bed, DEADLINE, count_of, fill, order, user_on};

#[tokio::test]
async fn a_published_topology_is_taken_over_by_all_who_watch() {
    let bed = Bed::databases(3).await;
    let control = ControlTable::new(&bed.servers[0].url()).unwrap();
    assert!(matches!(control.load().await, Err(ControlError::Sql(_))), "there is no table yet");
    // Two of the three shards.
    let map = shard_router::SlotMap::even(["a", "b"]).unwrap();
    let first = bed.topology_of(map);
    control.publish(&first).await.unwrap();
    assert_eq!(control.load().await.unwrap(), first);
    let routers: Vec<Router> =
        (0..2).map(|_| Router::builder(first.clone()).build().unwrap()).collect();
    routers[0].install().await.unwrap();
    routers.iter().for_each(|router| router.watch(control.clone()));
    let user = user_on(&routers[0], "a");
    count_of(&routers[0], user).await.unwrap();

    let plan = first.map().plan().add_shard("c", 1).build().unwrap();
    let next = first.with_map(plan.map().clone()).unwrap().shard("c", &bed.urls[2]).unwrap();
    // There are no rows to move.
    let setup = Router::builder(next.clone()).build().unwrap();
    setup.install_after_moving_rows().await.unwrap();
    control.publish(&next).await.unwrap();
    for router in &routers {
        testbed::eventually(DEADLINE, async || router.map().epoch().number() == 2).await;
        let user = user_on(router, "c");
        assert_eq!(count_of(router, user).await.unwrap(), 0);
        assert_eq!(router.stats().reloads, 1);
    }
    fill(&routers[0], 30).await;

    // Whoever planned from the old one is told.
    let late = plan.before().plan().reweight("a", 3).build().unwrap();
    let late = bed.topology_of(late.map().clone());
    let error = control.publish(&late).await.unwrap_err();
    assert!(matches!(error, ControlError::Conflict { stored: 2, published: 2 }), "{error}");
}

/// A notification that is lost with its connection is made up for.
#[tokio::test]
async fn news_that_came_while_the_table_was_away_is_not_missed() {
    let bed = Bed::databases(1).await;
    let link = testbed::link::Link::to(bed.servers[0].addr()).unwrap();
    let direct = ControlTable::new(&bed.servers[0].url()).unwrap();
    direct.publish(&bed.topology()).await.unwrap();
    let router = bed.router().await;
    let linked = ControlTable::new(&bed.servers[0].url_at(link.addr())).unwrap();
    router.watch(linked);
    testbed::eventually(DEADLINE, async || link.connections() == 1).await;
    link.cut();
    let plan = router.map().plan().reweight("a", 2).build().unwrap();
    direct.publish(&bed.topology_of(plan.map().clone())).await.unwrap();
    link.heal();
    testbed::eventually(DEADLINE, async || router.map().epoch().number() == 2).await;
    // The shard was not told yet, so it is refused, and then it is.
    assert!(count_of(&router, 1).await.is_err());
    router.install().await.unwrap();
    assert_eq!(count_of(&router, 1).await.unwrap(), 0);
}

#[tokio::test]
async fn a_bad_topology_in_the_table_changes_nothing() {
    let bed = Bed::databases(1).await;
    let control = ControlTable::new(&bed.servers[0].url()).unwrap();
    control.publish(&bed.topology()).await.unwrap();
    let router = bed.router().await;
    router.watch(control.clone());
    let client = bed.servers[0].client().await.unwrap();
    let insert = "INSERT INTO shard_router.topology (epoch, body) VALUES ($1, $2)";
    let other_key =
        bed.topology().to_toml().replace("bigint", "text").replace("epoch = 1", "epoch = 3");
    for (epoch, body) in [(2_i64, "shards = 7".to_owned()), (3, other_key)] {
        client.execute(insert, &[&epoch, &body]).await.unwrap();
        client.batch_execute("NOTIFY shard_router_topology").await.unwrap();
        testbed::eventually(DEADLINE, async || {
            router.stats().reload_failures >= u64::try_from(epoch).unwrap() - 1
        })
        .await;
    }
    assert_eq!(router.map().epoch().number(), 1);
    assert_eq!(count_of(&router, 1).await.unwrap(), 0);
}

/// It is listened to as before, so that the next one is heard at once.
#[tokio::test]
async fn a_bad_topology_does_not_end_the_listening() {
    let bed = Bed::databases(1).await;
    let link = testbed::link::Link::to(bed.servers[0].addr()).unwrap();
    let control = ControlTable::new(&bed.servers[0].url()).unwrap();
    control.publish(&bed.topology()).await.unwrap();
    let router = bed.router().await;
    router.watch(ControlTable::new(&bed.servers[0].url_at(link.addr())).unwrap());
    testbed::eventually(DEADLINE, async || link.connections() == 1).await;
    let client = bed.servers[0].client().await.unwrap();
    let plan = router.map().plan().reweight("a", 2).build().unwrap();
    let next = bed.topology_of(plan.map().clone()).to_toml();
    let insert = "INSERT INTO shard_router.topology (epoch, body) VALUES ($1, $2)";
    // Of the second, the text is of another epoch than its row.
    for (epoch, body) in [(2_i64, "shards = 7"), (3, next.as_str())] {
        client.execute(insert, &[&epoch, &body]).await.unwrap();
        client.batch_execute("NOTIFY shard_router_topology").await.unwrap();
        let failures = u64::try_from(epoch).unwrap() - 1;
        testbed::eventually(DEADLINE, async || router.stats().reload_failures >= failures)
            .await;
    }
    assert_eq!(router.map().epoch().number(), 1);
    client.batch_execute("DELETE FROM shard_router.topology WHERE epoch > 1").await.unwrap();
    let failures = router.stats().reload_failures;
    control.publish(&bed.topology_of(plan.map().clone())).await.unwrap();
    testbed::eventually(DEADLINE, async || router.map().epoch().number() == 2).await;
    assert!(router.stats().reload_failures <= failures + 1);
    assert_eq!(link.accepted(), 1, "over one connection");
}

/// Under load, a change of the map costs errors that say so, and no row is where it should not
/// be.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_map_changes_under_load() {
    let bed = Bed::databases(3).await;
    let control = ControlTable::new(&bed.servers[0].url()).unwrap();
    let map = shard_router::SlotMap::even(["a", "b"]).unwrap();
    let first = bed.topology_of(map);
    control.publish(&first).await.unwrap();
    let router = Router::builder(first.clone()).build().unwrap();
    router.install().await.unwrap();
    router.watch(control.clone());
    let plan = first.map().plan().add_shard("c", 1).build().unwrap();
    let next = first.with_map(plan.map().clone()).unwrap().shard("c", &bed.urls[2]).unwrap();
    // Those whose slots stay: there is nothing to move.
    let stays = |user: &i64| plan.before().shard_of(user) == plan.map().shard_of(user);
    let users: Vec<i64> = (0..).filter(stays).take(200).collect();
    let tasks = (0..4_i64).map(|task| {
        let (router, users) = (router.clone(), users.clone());
        tokio::spawn(async move {
            let (mut round, mut refused) = (0_i64, 0);
            while router.map().epoch().number() == 1 || round < 400 {
                let user = users[usize::try_from(round).unwrap() % users.len()];
                let id = (task << 32) + round;
                match order(&router, id, user, 1).await {
                    Ok(()) => {}
                    Err(error) => {
                        assert!(matches!(error, shard_router::Error::Epoch { .. }), "{error}");
                        refused += 1;
                        tokio::time::sleep(Duration::from_millis(1)).await;
                    }
                }
                round += 1;
            }
            (round, refused)
        })
    });
    let tasks: Vec<_> = tasks.collect();
    let setup = Router::builder(next.clone()).build().unwrap();
    setup.install_after_moving_rows().await.unwrap();
    control.publish(&next).await.unwrap();
    let mut written = 0;
    for task in tasks {
        let (rounds, refused) = task.await.unwrap();
        written += u64::try_from(rounds - refused).unwrap();
    }
    let scatter = router.scatter(shard_router::Scatter::require_all());
    let all = scatter.query("SELECT user_id FROM orders", &[]);
    assert_eq!(all.owned_by(["user_id"]).count().await.unwrap(), written);
}

/// Nothing of a watch is left when its router is gone.
#[tokio::test]
async fn a_watch_ends_with_its_router() {
    let bed = Bed::databases(1).await;
    let link = testbed::link::Link::to(bed.servers[0].addr()).unwrap();
    let control = ControlTable::new(&bed.servers[0].url_at(link.addr())).unwrap();
    ControlTable::new(&bed.servers[0].url()).unwrap().publish(&bed.topology()).await.unwrap();
    let router = bed.router().await;
    router.watch(control);
    testbed::eventually(DEADLINE, async || link.connections() == 1).await;
    drop(router);
    testbed::eventually(Duration::from_secs(5), async || link.connections() == 0).await;
}

#[test]
fn a_topology_is_written_as_it_is_read() {
    let text = "epoch = 4\nkey = [\"bigint\", \"text\"]\n[[shards]]\nname = \"a\"\n\
        connection = \"host=x password='a\\\"b\\\\c'\"\nslots = \"0-99,200-16383\"\n\
        [[shards]]\nname = \"b\"\nweight = 3\nconnection_env = \"B_URL\"\nslots = \"100-199\"\n\
        [[tables]]\nname = \"shop.orders\"\nkey = [\"user_id\", \"kind\"]\n";
    let topology = Topology::from_toml(text).unwrap();
    assert_eq!(Topology::from_toml(&topology.to_toml()).unwrap(), topology);
}
