//! How a server is connected to.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis::io::tcp::TcpSettings;
use redis::{AsyncConnectionConfig, Client, ConnectionInfo, RedisResult};

type Connecting = Pin<Box<dyn Future<Output = RedisResult<MultiplexedConnection>> + Send>>;

#[derive(Clone)]
pub(super) enum Connect {
    To { info: Box<ConnectionInfo>, timeout: Duration },
    By(Arc<dyn Fn() -> Connecting + Send + Sync>),
}

impl Connect {
    pub(super) fn to(info: ConnectionInfo, timeout: Duration) -> Self {
        // It is off by default, which holds small requests back.
        let tcp = TcpSettings::default().set_nodelay(true);
        Self::To { info: Box::new(info.set_tcp_settings(tcp)), timeout }
    }

    pub(super) async fn connection(&self) -> RedisResult<MultiplexedConnection> {
        match self {
            Self::By(connect) => connect().await,
            Self::To { info, timeout } => {
                // Each operation has a time limit of the cache's.
                let config = AsyncConnectionConfig::new()
                    .set_connection_timeout(Some(*timeout))
                    .set_response_timeout(None);
                let client = Client::open((**info).clone())?;
                client.get_multiplexed_async_connection_with_config(&config).await
            }
        }
    }
}

/// Shows no address: it may hold a password.
impl fmt::Debug for Connect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Connect")
    }
}
