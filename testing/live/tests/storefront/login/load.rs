//! A load whose users are logged in.

use serde_json::Value;

use crate::shop::{Storefront, USERS};

/// More than the shop lets in from one address in a minute, and for longer than half of an
/// access token's life.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn users_of_a_load_log_in_and_stay_so() {
    let login = ["--login", "memory", "--development-cookies", "--access-ttl", "11"];
    let storefront = Storefront::open(&login).await;
    let (status, said) = storefront.refused_load(&["--seconds", "1"]).await;
    assert!(!status.success() && said.contains("--login"), "{status}: {said}");
    let wrong = ["--seconds", "1", "--login", "3", "--shop-seed", "8"];
    let (status, said) = storefront.refused_load(&wrong).await;
    assert!(!status.success() && said.contains("--shop-seed"), "{status}: {said}");

    let users = 64;
    assert!(users < USERS);
    let steady = ["--login", &users.to_string(), "--rps", "150", "--seconds", "8"];
    let report = storefront.load(&steady).await;
    assert_eq!(report["failures"], 0, "{report}");
    let of = |name: &str| report["login"][name].as_i64().unwrap();
    assert_eq!((of("users"), of("refused")), (users, 0));
    assert!(of("refreshes") > 0, "{report}");
    for kind in ["profile", "order", "update"] {
        assert_ne!(report["by_kind"][kind]["requests"], Value::from(0), "{report}");
    }
    storefront.is_unharmed();
}
