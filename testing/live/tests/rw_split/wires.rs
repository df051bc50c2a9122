//! What may be between the router and its servers.

use std::fs;
use std::net::SocketAddr;
use std::ops::Range;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use rw_split::{Level, RwSplit, ServerConfig};
use testbed::pgbouncer::PgBouncer;
use testbed::postgres::Postgres;
use testbed::{eventually, eventually_ok};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio_postgres_rustls::MakeRustlsConnect;

use super::bed::{Bed, DEADLINE, get, session, set};

/// An address that leads to one server and then to another.
async fn balancer(servers: Vec<SocketAddr>) -> (SocketAddr, JoinHandle<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let task = tokio::spawn(async move {
        for server in servers.iter().cycle() {
            let Ok((mut client, _)) = listener.accept().await else { return };
            let server = *server;
            tokio::spawn(async move {
                let Ok(mut server) = TcpStream::connect(server).await else { return };
                let _ = tokio::io::copy_bidirectional(&mut client, &mut server).await;
            });
        }
    });
    (address, task)
}

#[tokio::test]
async fn an_address_of_several_servers_is_checked_at_every_read() {
    let bed = Bed::new(2).await;
    let addresses = bed.replicas.iter().map(|replica| replica.addr()).collect();
    let (address, task) = balancer(addresses).await;
    let db = RwSplit::builder()
        .server(ServerConfig::new(bed.primary.url()).name("a"))
        .server(
            ServerConfig::new(bed.primary.url_at(address)).name("balanced").shared_address(),
        )
        .build()
        .await
        .unwrap();
    // One of the two is behind; which of them a connection leads to is luck.
    bed.replicas[1].pause_replay().await.unwrap();
    sessions_read_their_writes(&db, 0..8).await;
    let stats = db.stats();
    println!("{} reads on the balanced address", stats.on_replicas);
    assert!(stats.on_replicas > 0, "{stats:?}");
    task.abort();
}

/// Two processes behind a pooler, whose connections lead to a replica in step and
/// to one that is behind: each transaction may come to another.
#[tokio::test]
async fn a_pooler_in_transaction_mode_is_checked_at_every_read() {
    let bed = Bed::new(2).await;
    let addresses = bed.replicas.iter().map(|replica| replica.addr()).collect();
    let (address, task) = balancer(addresses).await;
    let pooler = PgBouncer::start(address, 6).await.unwrap();
    let build = || {
        let pooled = ServerConfig::new(pooler.url()).name("pooled").shared_address();
        let primary = ServerConfig::new(bed.primary.url()).name("a");
        RwSplit::builder().server(primary).server(pooled).build()
    };
    let (one, two) = (build().await.unwrap(), build().await.unwrap());
    bed.replicas[1].pause_replay().await.unwrap();
    futures_util::join!(
        sessions_read_their_writes(&one, 0..5),
        sessions_read_their_writes(&two, 5..10)
    );
    for db in [one, two] {
        // Where the pooler leads to is luck.
        eventually(DEADLINE, async || {
            session().enter(get(&db, 1)).await;
            db.stats().on_replicas > 0
        })
        .await;
        println!("{} reads by way of the pooler", db.stats().on_replicas);
        // Many rows, and a statement that fails: the next finds no open block.
        let db = db.at_level(Level::Eventual);
        assert!(db.query("SELECT 1 / (n - n) FROM t", &[]).await.is_err());
        let sql = "SELECT repeat('x', 1000) FROM generate_series(1, $1::int)";
        let rows = db.query_raw(sql, &[&5_000]).await.unwrap();
        assert_eq!(rows.map(Result::unwrap).count().await, 5_000);
        get(&db, 1).await;
    }
    task.abort();
}

/// One session for each of the rows `ids`.
async fn sessions_read_their_writes(db: &RwSplit, ids: Range<i32>) {
    for level in [Level::ReadYourWrites, Level::Session] {
        let db = db.at_level(level);
        let scopes: Vec<_> = ids.clone().map(|id| (id, session())).collect();
        for n in 1..=20 {
            let all = scopes.iter().map(|(id, scope)| {
                let (id, db) = (*id, &db);
                scope.enter(async move {
                    set(db, id, n).await;
                    assert_eq!(get(db, id).await, n);
                })
            });
            futures_util::future::join_all(all).await;
        }
    }
}

#[tokio::test]
async fn tls_with_a_test_certificate() {
    let primary = Postgres::start().await.unwrap();
    let name = vec!["localhost".to_owned()];
    let made = rcgen::generate_simple_self_signed(name).unwrap();
    let owner = fs::metadata(primary.data()).unwrap();
    for (file, text) in
        [("server.crt", made.cert.pem()), ("server.key", made.signing_key.serialize_pem())]
    {
        let path = primary.data().join(file);
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        chown(&path, Some(owner.uid()), Some(owner.gid())).unwrap();
    }
    let client = primary.client().await.unwrap();
    client.batch_execute("ALTER SYSTEM SET ssl = on").await.unwrap();
    client.batch_execute("CREATE TABLE t (id int PRIMARY KEY, n bigint)").await.unwrap();
    client.batch_execute("INSERT INTO t VALUES (1, 0)").await.unwrap();
    client.batch_execute("SELECT pg_reload_conf()").await.unwrap();

    let mut roots = rustls::RootCertStore::empty();
    roots.add(made.cert.der().clone()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let url = format!(
        "host=localhost hostaddr=127.0.0.1 port={} user=postgres sslmode=require",
        primary.port()
    );
    let tls = MakeRustlsConnect::new(config);
    let builder = || RwSplit::builder().server(url.as_str()).failover_wait(Duration::ZERO);
    let db = builder().tls(tls).build().await.unwrap();
    eventually_ok(DEADLINE, async || db.execute("UPDATE t SET n = 1 WHERE id = 1", &[]).await)
        .await;
    let sql = "SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()";
    assert!(db.query_one(sql, &[]).await.unwrap().get::<_, bool>(0));
    // A query that is dropped is cancelled over TLS as well.
    let sleep = db.execute("SELECT pg_sleep(20)", &[]);
    assert!(tokio::time::timeout(Duration::from_millis(100), sleep).await.is_err());
    assert_eq!(get(&db, 1).await, 1);

    // Without TLS, a server that is to have it is not reached.
    let plain = builder().build();
    let plain = tokio::time::timeout(Duration::from_secs(10), plain).await.unwrap().unwrap();
    assert!(plain.query("SELECT 1", &[]).await.is_err());
}
