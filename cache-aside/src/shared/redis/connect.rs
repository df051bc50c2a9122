//! How a server is connected to.

use std::convert::Infallible;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis::io::tcp::TcpSettings;
use redis::{
    AsyncConnectionConfig, Client, ConnectionInfo, ErrorKind, ProtocolVersion, PushInfo,
    PushKind, RedisResult,
};

use super::generations::Generations;

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

    /// A new connection, and what is known by its notices if it can have any.
    pub(super) async fn connection(
        &self,
    ) -> RedisResult<(MultiplexedConnection, Option<Arc<Generations>>)> {
        let (info, timeout) = match self {
            Self::By(connect) => return Ok((connect().await?, None)),
            Self::To { info, timeout } => (&**info, timeout),
        };
        // Each operation has a time limit of the cache's.
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(*timeout))
            .set_response_timeout(None);
        let generations = Arc::new(Generations::default());
        let noticed = Arc::clone(&generations);
        let notices = config.clone().set_push_sender(move |push: PushInfo| {
            if matches!(push.kind, PushKind::Invalidate) {
                noticed.notice();
            }
            Ok::<_, Infallible>(())
        });
        // Notices are a part of the newer protocol.
        let settings = info.redis_settings().clone().set_protocol(ProtocolVersion::RESP3);
        let client = Client::open(info.clone().set_redis_settings(settings))?;
        match client.get_multiplexed_async_connection_with_config(&notices).await {
            Err(error) if matches!(error.kind(), ErrorKind::RESP3NotSupported) => {}
            connection => return Ok((connection?, Some(generations))),
        }
        let client = Client::open(info.clone())?;
        Ok((client.get_multiplexed_async_connection_with_config(&config).await?, None))
    }
}

/// Shows no address: it may hold a password.
impl fmt::Debug for Connect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Connect")
    }
}
