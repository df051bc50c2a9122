use std::time::Duration;

use redis::aio::{ConnectionManager, ConnectionManagerConfig, MultiplexedConnection};
use redis::cluster::ClusterClient;
use redis::cluster_async::ClusterConnection;
use redis::cluster_routing::{MultipleNodeRoutingInfo, RoutingInfo};
use redis::io::tcp::TcpSettings;
use redis::{
    AsyncConnectionConfig, Client, FromRedisValue, IntoConnectionInfo, RedisResult,
    ScriptInvocation, Value,
};
use tokio::sync::Mutex;

/// A command that takes longer has failed.
const PATIENCE: Duration = Duration::from_secs(2);

/// Connections to one server or to a Cluster.
#[allow(clippy::large_enum_variant, reason = "there is one for each store")]
pub(super) enum Link {
    Single {
        client: Client,
        manager: ConnectionManager,
        /// For reads that block; taken while it is in use, so that one that was
        /// given up is closed.
        feed: Mutex<Option<MultiplexedConnection>>,
    },
    Cluster(ClusterConnection),
}

fn tcp() -> TcpSettings {
    TcpSettings::default().set_nodelay(true)
}

impl Link {
    pub(super) async fn single(url: &str) -> RedisResult<Self> {
        let info = url.into_connection_info()?.set_tcp_settings(tcp());
        let client = Client::open(info)?;
        let config = ConnectionManagerConfig::new()
            .set_connection_timeout(Some(PATIENCE))
            .set_response_timeout(Some(PATIENCE))
            .set_max_delay(Duration::from_millis(500));
        let manager = ConnectionManager::new_with_config(client.clone(), config).await?;
        Ok(Self::Single { client, manager, feed: Mutex::new(None) })
    }

    pub(super) async fn cluster(urls: &[&str]) -> RedisResult<Self> {
        let client = ClusterClient::builder(urls.iter().copied())
            .tcp_settings(tcp())
            .connection_timeout(PATIENCE)
            .response_timeout(PATIENCE)
            .build()?;
        Ok(Self::Cluster(client.get_async_connection().await?))
    }

    pub(super) async fn script<T: FromRedisValue>(
        &self,
        call: &ScriptInvocation<'_>,
    ) -> RedisResult<T> {
        match self {
            Self::Single { manager, .. } => call.invoke_async(&mut manager.clone()).await,
            Self::Cluster(connection) => call.invoke_async(&mut connection.clone()).await,
        }
    }

    /// Of each node.
    pub(super) async fn eviction_policies(&self) -> RedisResult<Vec<String>> {
        let mut command = redis::cmd("INFO");
        command.arg("memory");
        let infos = match self {
            Self::Single { manager, .. } => {
                vec![command.query_async::<String>(&mut manager.clone()).await?]
            }
            Self::Cluster(connection) => {
                let everywhere =
                    RoutingInfo::MultiNode((MultipleNodeRoutingInfo::AllMasters, None));
                let answer = connection.clone().route_command(command, everywhere).await?;
                match answer {
                    Value::Map(nodes) => nodes
                        .into_iter()
                        .map(|(_, info)| redis::from_redis_value(info))
                        .collect::<Result<_, _>>()?,
                    other => vec![redis::from_redis_value(other)?],
                }
            }
        };
        let policy = |info: String| {
            let line = info.lines().find_map(|line| line.strip_prefix("maxmemory_policy:"));
            line.unwrap_or("noeviction").trim().to_owned()
        };
        Ok(infos.into_iter().map(policy).collect())
    }

    /// Sets a number unless there is one; returns the one that is there.
    pub(super) async fn claim(&self, key: &str, number: u16) -> RedisResult<u16> {
        let script = redis::Script::new(
            "redis.call('SETNX', KEYS[1], ARGV[1]) return redis.call('GET', KEYS[1])",
        );
        self.script(script.key(key).arg(number)).await
    }

    /// A connection of its own for a read that blocks; see [`give_back`](Self::give_back).
    pub(super) async fn feed(
        client: &Client,
        feed: &Mutex<Option<MultiplexedConnection>>,
    ) -> RedisResult<MultiplexedConnection> {
        if let Some(connection) = feed.lock().await.take() {
            return Ok(connection);
        }
        // The reader has a deadline of its own.
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(PATIENCE))
            .set_response_timeout(None);
        client.get_multiplexed_async_connection_with_config(&config).await
    }

    /// After a read that went well.
    pub(super) async fn give_back(
        feed: &Mutex<Option<MultiplexedConnection>>,
        connection: MultiplexedConnection,
    ) {
        *feed.lock().await = Some(connection);
    }
}
