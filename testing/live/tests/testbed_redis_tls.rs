//! The testbed's own Redis, reached by TLS, with a client that checks certificates.

#![allow(clippy::unwrap_used, reason = "the helpers of tests are tests")]

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::Command;
use std::time::Duration;

use redis::cluster::ClusterClientBuilder;
use redis::{AsyncCommands, RedisResult, TlsCertificates};
use testbed::link::Link;
use testbed::redis::{Client, Redis, RedisCluster};
use testbed::{Folder, eventually_ok};
use tokio::time::timeout;

const DEADLINE: Duration = Duration::from_secs(30);

/// Trusts that authority and no other.
fn trust(authority: Option<&str>) -> TlsCertificates {
    // Feature unification may put another provider beside this one; who comes second is refused.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let authority = authority.expect("a server with TLS has an authority");
    TlsCertificates { client_tls: None, root_cert: Some(authority.into()) }
}

async fn connect(
    url: String,
    authority: Option<&str>,
) -> RedisResult<redis::aio::MultiplexedConnection> {
    let client = redis::Client::build_with_tls(url, trust(authority))?;
    client.get_multiplexed_async_connection().await
}

#[tokio::test]
async fn a_client_that_trusts_the_authority_comes_in() {
    let server = Redis::builder().tls().start().await.unwrap();
    assert_eq!(server.url(), format!("rediss://127.0.0.1:{}/", server.port()));
    let mut client = connect(server.url(), server.ca_certificate()).await.unwrap();
    let () = client.set("k", "v").await.unwrap();
    assert_eq!(server.command(&["GET", "k"]).await.unwrap().text(), Some("v"));

    let link = Link::to(server.addr()).unwrap();
    let url = server.url_at(link.addr());
    let mut client = connect(url, server.ca_certificate()).await.unwrap();
    assert_eq!(client.get("k").await, Ok(String::from("v")));
    assert_eq!(link.accepted(), 1);

    // The same port and the same certificate.
    server.save().await.unwrap();
    server.restart_from_snapshot().await.unwrap();
    let mut client = connect(server.url(), server.ca_certificate()).await.unwrap();
    assert_eq!(client.get("k").await, Ok(String::from("v")));
}

#[tokio::test]
async fn nobody_else_comes_in() {
    let server = Redis::builder().tls().start().await.unwrap();
    let another = Redis::builder().tls().start().await.unwrap();
    let error = connect(server.url(), another.ca_certificate()).await.err().unwrap();
    assert!(error.to_string().contains("invalid peer certificate"), "{error}");
    let mut plain = Client::connect(server.addr()).await.unwrap();
    assert!(timeout(DEADLINE, plain.command(&["PING"])).await.unwrap().is_err());
    assert_eq!(Redis::start().await.unwrap().ca_certificate(), None);
}

#[tokio::test]
async fn a_cluster_speaks_tls_with_clients_and_within() {
    let cluster = RedisCluster::builder().replicas_per_master(1).tls().start().await.unwrap();
    assert!(cluster.urls().iter().all(|url| url.starts_with("rediss://")));
    let client = ClusterClientBuilder::new(cluster.urls())
        .certs(trust(cluster.ca_certificate()))
        .build()
        .unwrap();
    let mut client = client.get_async_connection().await.unwrap();
    for n in 0..30 {
        let () = client.set(format!("key{n}"), n).await.unwrap();
    }
    let owner = cluster.owner("key7").await.unwrap();
    assert_eq!(owner.command(&["GET", "key7"]).await.unwrap().integer(), Some(7));

    // What clients are told to use is the port with TLS.
    let link = Link::to(owner.addr()).unwrap();
    cluster.announce(owner, link.addr().port()).await.unwrap();
    let client = ClusterClientBuilder::new(cluster.urls())
        .certs(trust(cluster.ca_certificate()))
        .build()
        .unwrap();
    let mut client = client.get_async_connection().await.unwrap();
    assert_eq!(client.get("key7").await, Ok(7));
    assert!(link.accepted() > 0);

    owner.kill().await.unwrap();
    eventually_ok(DEADLINE, async || client.set::<_, _, ()>("key7", 8).await).await;
    owner.restart().await.unwrap();
    cluster.settled(DEADLINE).await.unwrap();
    assert_eq!(client.get("key7").await, Ok(8));
}

#[tokio::test]
async fn a_server_with_tls_has_replicas_too() {
    let server = Redis::builder().tls().start().await.unwrap();
    server.command(&["SET", "k", "v"]).await.unwrap();
    let replica = server.replica().await.unwrap();
    assert_eq!(replica.command(&["GET", "k"]).await.unwrap().text(), Some("v"));
}

#[tokio::test]
async fn a_server_built_without_tls_is_an_error_that_says_so() {
    let folder = Folder::new("mine").await.unwrap();
    let server = folder.path().join("redis-server");
    // Word for word what Redis says to an option that it was not built with.
    let script = "#!/bin/sh
        for word; do case $word in --tls-port) tls=1;; esac; done
        echo \"*** FATAL CONFIG FILE ERROR (Redis 7.0.15) ***\"
        echo \"Reading the configuration file, at line 9\"
        echo \">>> '${tls:+tls-port \\\"1\\\"}${tls-other}'\"
        echo \"Bad directive or wrong number of arguments\"
        exit 1";
    fs::write(&server, script).unwrap();
    for path in [&server, &folder.path().to_owned()] {
        fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
    }
    let child = Command::new(env!("CARGO_BIN_EXE_without-tls"))
        .env("EARNED_REDIS_SERVER", &server)
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&child.stdout);
    let errors = String::from_utf8_lossy(&child.stderr);
    assert!(child.status.success() && said == "all is as it should be\n", "{said}{errors}");
}
