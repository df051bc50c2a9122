//! A load that is overtaken: one worker asks the database, and before it has read the answer
//! another one changes what was asked for.

use std::net::Ipv4Addr;
use std::time::{Duration, SystemTime};

use nix::sys::signal::Signal;
use serde_json::json;
use tokio::time::sleep;

use super::client::{Answer, Client};
use super::people::PASSWORD;
use super::record::{COPIES, Product, Tails};
use super::world::World;

const PRODUCT: i64 = 7;

/// How long bytes are under way to the shop's database while the load is made, each way.
const FAR: Duration = Duration::from_millis(400);

async fn change(client: &mut Client, product: &mut Product, version: i64) {
    let body =
        json!({ "name": "Lamp", "description": "A lamp.", "price_cents": version, "stock": 5 });
    let answer = client.put(&format!("/products/{PRODUCT}"), &body).await.unwrap();
    assert!(answer.is_success(), "{answer:?}");
    product.written(version, Some(answer.ended));
}

async fn look(client: &mut Client, product: &mut Product) {
    let answer = client.get(&format!("/products/{PRODUCT}")).await.unwrap();
    let Answer { body, began, ended, .. } = answer;
    product.read(body["price_cents"].as_i64().unwrap(), began, ended);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_load_that_comes_late_is_not_shown() {
    // With replicas, a load that is late is also refused for the position that it has read at.
    let world = World::open(&["--reads", "primary"]).await;
    let admin = world.people(1).await.remove(0);
    // Each goes to one worker, not through the front.
    let workers = world.front.workers().await;
    let client = |number: usize| {
        let url =
            format!("http://{}", workers[number].get("address").unwrap().as_str().unwrap());
        Client::new(&url, Ipv4Addr::LOCALHOST, &world.tally)
    };
    let (mut one, mut other) = (client(0), client(1));
    assert!(one.log_in(&admin.email, PASSWORD).await);

    let mut product = Product::new(PRODUCT);
    // It has a connection on which the statement is prepared: one round trip is a load.
    change(&mut one, &mut product, 1).await;
    look(&mut other, &mut product).await;
    for round in 1..=2 {
        // Its own copy is too old by then.
        sleep(COPIES).await;
        change(&mut one, &mut product, 2 * round).await;
        world.groups[0].primary_link().delay(FAR);
        let load = async {
            look(&mut other, &mut product).await;
            product
        };
        let overtake = async {
            // The question is there, and the answer is under way.
            sleep(FAR + FAR / 2).await;
            let asked = workers[1]["id"].as_u64().unwrap();
            world.front.signal(asked, Signal::SIGSTOP).await;
            world.groups[0].primary_link().delay(Duration::ZERO);
            let mut newer = Product::new(PRODUCT);
            change(&mut one, &mut newer, 2 * round + 1).await;
            world.front.signal(asked, Signal::SIGCONT).await;
            newer.last()
        };
        let (loaded, (version, acked)) = tokio::join!(load, overtake);
        product = loaded;
        assert_eq!(product.shown(), 2 * round, "the answer was under way");
        product.written(version, acked);
        let until = SystemTime::now() + COPIES + Duration::from_millis(300);
        while SystemTime::now() < until {
            look(&mut one, &mut product).await;
            look(&mut other, &mut product).await;
            sleep(Duration::from_millis(50)).await;
        }
    }
    let mut wrong = Vec::new();
    product.judge(&Tails::default(), &mut wrong);
    assert!(wrong.is_empty(), "{wrong:#?}");
}
