//! Logins that are wrong, and requests of others.

use serde_json::{Value, json};

use super::bed::{Bed, Store};
use super::browser::PASSWORD;
use super::jar::Page;
use crate::shop::revision;

#[tokio::test]
async fn a_user_is_who_the_password_says() {
    let bed = Bed::open(Store::Redis, &[]).await;
    let [one, two] = bed.addrs();
    let emails = bed.emails().await;
    let ada = bed.browser();

    // One answer for an unknown user and a wrong password.
    let mut refusals = Vec::new();
    for (email, password) in [
        (&*emails[1], "Correct horse battery staple"),
        (&*emails[1], ""),
        ("nobody@example.org", PASSWORD),
        ("'OR/**/1=1--@example.org", PASSWORD),
        (&*emails[1].to_uppercase(), PASSWORD),
    ] {
        let answer = ada.try_log_in(one, email, password).await;
        assert_eq!((answer.status, &*answer.code()), (401, "wrong_login"), "{email}");
        assert!(answer.cookies.is_empty());
        refusals.push(answer.body);
    }
    assert!(refusals.iter().all(|refusal| *refusal == refusals[0]), "{refusals:?}");

    // What one process has issued the other takes.
    let token = ada.log_in(one, &emails[1]).await;
    let wish = json!({ "product_id": 5, "quantity": 1 });
    let placed = ada.call("POST /users/2/orders", two, &token, &wish).await;
    assert_eq!(placed.status, 201, "{placed:?}");
    let orders = ada.call("GET /users/2/orders", one, &token, &Value::Null).await;
    assert_eq!(orders.json()[0]["id"], placed.json()["id"]);
    for (line, body) in [
        ("GET /users/3/orders", Value::Null),
        ("POST /users/3/orders", wish.clone()),
        ("GET /users/3", Value::Null),
    ] {
        let answer = ada.call(line, two, &token, &body).await;
        assert_eq!((answer.status, &*answer.code()), (403, "not_yours"), "{line}");
    }
    for (line, body) in [("PUT /products/5", revision(5)), ("GET /reports/sales", Value::Null)]
    {
        let answer = ada.call(line, two, &token, &body).await;
        assert_eq!((answer.status, &*answer.code()), (403, "not_allowed"), "{line}");
    }

    // The admin may.
    let admin = bed.browser();
    let token = admin.log_in(two, &emails[0]).await;
    let sales = admin.call("GET /reports/sales", one, &token, &Value::Null).await;
    assert_eq!(sales.json().as_array().unwrap().len(), 10, "{sales:?}");
    let revised = admin.call("PUT /products/5", one, &token, &revision(5)).await;
    assert_eq!(revised.status, 200, "{revised:?}");
    // Until the role is gone, which the next refresh notices.
    let database = bed.postgres.client().await.unwrap();
    database
        .batch_execute("UPDATE storefront.logins SET roles = '{}' WHERE user_id = 1")
        .await
        .unwrap();
    let refreshed = super::browser::access_token(&admin.refresh(one).await);
    let sales = admin.call("GET /reports/sales", one, &refreshed, &Value::Null).await;
    assert_eq!((sales.status, &*sales.code()), (403, "not_allowed"));

    // Another site's page: the cookie stays at home, and would not help.
    let elsewhere = admin.send("POST /auth/refresh", Page::OfAnotherSite, one, "", "").await;
    assert_eq!(elsewhere.status, 403, "{elsewhere:?}");
    let stolen = admin.jar.lock().unwrap().header(true, Page::Own);
    let cookie = format!("cookie: {stolen}\r\n");
    let forged = admin.send("POST /auth/refresh", Page::OfAnotherSite, one, &cookie, "").await;
    assert_eq!(forged.status, 403, "{forged:?}");
    let again = admin.refresh(one).await;
    assert_eq!(again.status, 200, "{again:?}");

    // A logout ends this session and clears the cookie.
    let out = admin.send("POST /auth/logout", Page::Own, two, "", "").await;
    assert_eq!(out.status, 204, "{out:?}");
    assert_eq!(admin.jar.lock().unwrap().value("__Host-refresh"), None);
    bed.is_unharmed();
}

/// With HTTPS, all cookies are what a browser keeps for HTTPS alone.
#[tokio::test]
async fn over_https_every_cookie_is_secure() {
    let bed = Bed::replicated().await;
    let [one, two] = bed.addrs();
    let browser = bed.browser();
    let token = browser.log_in(one, &bed.emails().await[3]).await;
    // On replicas that replay nothing, the user's own order is seen on the other process.
    let wish = json!({ "product_id": 5, "quantity": 1 });
    let placed = browser.call("POST /users/4/orders", one, &token, &wish).await;
    assert_eq!(placed.status, 201, "{placed:?}");
    assert!(!placed.cookies.is_empty());
    for cookie in &placed.cookies {
        assert!(cookie.contains("; Secure") && cookie.contains("; HttpOnly"), "{cookie}");
    }
    let orders = browser.call("GET /users/4/orders", two, &token, &Value::Null).await;
    assert_eq!(orders.json()[0]["id"], placed.json()["id"]);
    bed.is_unharmed();
}

/// Plain HTTP on the port of HTTPS, and a certificate that nobody trusts, are no panic and no
/// error of the shop's.
#[tokio::test]
async fn who_does_not_agree_on_tls_holds_nobody_up() {
    let bed = Bed::open(Store::Redis, &[]).await;
    let [one, _] = bed.addrs();
    let mut silent = Vec::new();
    for _ in 0..100 {
        silent.push(tokio::net::TcpStream::connect(one).await.unwrap());
    }
    assert!(crate::http::Connection::open(one).await.unwrap().get("/healthz").await.is_err());
    let distrustful = super::browser::trusting(&[]);
    assert!(super::browser::connect(&distrustful, one).await.is_err());
    let answer = bed.browser().send("GET /healthz", Page::Own, one, "", "").await;
    assert_eq!(answer.status, 200);
    bed.is_unharmed();
}
