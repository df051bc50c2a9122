//! Holds what the testbed says of a Redis without TLS to what it should say. A test
//! runs it with a variable that names a server which refuses as such a Redis does: a
//! process's variables are not to be changed under the other tests that run in it.

#![allow(clippy::unwrap_used, reason = "it is a part of a test")]

use testbed::Error;
use testbed::redis::{Redis, RedisCluster};

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let server = std::env::var("EARNED_REDIS_SERVER").unwrap();
    let one = Redis::builder().tls().start().await.map(drop);
    let many = RedisCluster::builder().tls().start().await.map(drop);
    for refused in [one, many] {
        let Err(Error::WithoutTls { program }) = &refused else { panic!("{refused:?}") };
        assert_eq!(program.to_str(), Some(server.as_str()));
        let message = refused.unwrap_err().to_string();
        assert!(message.contains(&server) && message.contains("without TLS"), "{message}");
    }
    assert!(matches!(Redis::start().await, Err(Error::Exited { .. })));
    println!("all is as it should be");
}
