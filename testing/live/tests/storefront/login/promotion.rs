//! Sessions in a database of their own, on the shop's servers, when the primary of these dies.

use std::fs;
use std::time::Duration;

use serde_json::{Value, json};
use testbed::{Folder, eventually, eventually_some};

use super::bed::{REFRESH_KEY, signing_key};
use super::browser::PASSWORD;
use crate::clusters::Pair;
use crate::replicas::{Browser, KEY};
use crate::shop::{DEADLINE, Shop, seed};

/// How soon every process refuses what was revoked on one.
const SOON: Duration = Duration::from_secs(1);

async fn log_in(browser: &mut Browser, shop: &Shop, email: &str) -> Option<String> {
    let body = json!({ "email": email, "password": PASSWORD });
    let answer = browser.send(shop, "POST", "/login", &body).await;
    let token = (answer.status == 200).then(|| answer.json()["access_token"].clone())?;
    Some(token.as_str().unwrap().to_owned())
}

async fn status(browser: &mut Browser, shop: &Shop, line: (&str, &str), token: &str) -> u16 {
    browser.bearer(token);
    browser.send(shop, line.0, line.1, &Value::Null).await.status
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn users_stay_logged_in_when_the_replica_of_the_store_is_promoted() {
    let pair = Pair::start().await;
    let folder = Folder::new("storefront").await.unwrap();
    let client = pair.primary.client().await.unwrap();
    client.batch_execute("CREATE DATABASE tokens").await.unwrap();
    seed(&folder, &pair.primary, &[]).await;
    let rows = "SELECT email FROM storefront.users ORDER BY id LIMIT 3";
    let emails: Vec<String> =
        client.query(rows, &[]).await.unwrap().iter().map(|row| row.get(0)).collect();
    let key = folder.path().join("signing.pem");
    fs::write(&key, signing_key()).unwrap();

    let database = [pair.replica.url(), pair.primary.url()].join(",");
    let store = pair.url().replace("/postgres?", "/tokens?");
    assert!(store.contains("/tokens?"), "{store}");
    let options = [
        "--cache",
        "off",
        "--token-key",
        KEY,
        "--development-cookies",
        "--login",
        &store,
        "--signing-key",
        key.to_str().unwrap(),
        "--refresh-key",
        REFRESH_KEY,
    ];
    let one = Shop::open(&folder, "one", &database, &options).await;
    let two = Shop::open(&folder, "two", &database, &options).await;

    // Revoked on one, refused on the other.
    let own = |user: u32| ("GET", format!("/users/{user}"));
    let mut first = Browser::default();
    let token = log_in(&mut first, &one, &emails[0]).await.unwrap();
    let (method, path) = own(1);
    assert_eq!(status(&mut first, &two, (method, &path), &token).await, 200);
    let everywhere = ("POST", "/auth/logout-everywhere");
    assert_eq!(status(&mut first, &one, everywhere, &token).await, 204);
    eventually(SOON, async || status(&mut first, &two, (method, &path), &token).await == 401)
        .await;

    let mut second = Browser::default();
    let token = log_in(&mut second, &one, &emails[1]).await.unwrap();
    pair.replica.caught_up(DEADLINE).await.unwrap();
    pair.primary.kill().await.unwrap();
    pair.replica.promote().await.unwrap();

    // The session is there, and those that begin now are.
    let refreshed = eventually_some(DEADLINE, async || {
        let answer = second.send(&two, "POST", "/auth/refresh", &Value::Null).await;
        (answer.status == 200).then(|| answer.json()["access_token"].clone())
    })
    .await;
    let refreshed = refreshed.as_str().unwrap();
    let (method, path) = own(2);
    for shop in [&one, &two] {
        eventually(DEADLINE, async || {
            status(&mut second, shop, (method, &path), refreshed).await == 200
        })
        .await;
    }
    assert_ne!(status(&mut second, &two, (method, &path), &token).await, 403);
    let mut third = Browser::default();
    let token = eventually_some(DEADLINE, async || log_in(&mut third, &two, &emails[2]).await);
    let token = token.await;
    let (method, path) = own(3);
    assert_eq!(status(&mut third, &one, (method, &path), &token).await, 200);
    // The feed goes on, too.
    assert_eq!(status(&mut third, &two, everywhere, &token).await, 204);
    eventually(SOON, async || status(&mut third, &one, (method, &path), &token).await == 401)
        .await;
    for shop in [&one, &two] {
        shop.is_unharmed();
    }
}
