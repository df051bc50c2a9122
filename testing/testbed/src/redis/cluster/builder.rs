use std::time::Duration;

use super::RedisCluster;
use super::view::View;
use crate::error::Error;
use crate::redis::until::until;
use crate::redis::{Redis, RedisBuilder};

const PATIENCE: Duration = Duration::from_secs(30);
const SLOTS: usize = 16384;

/// Builds a [`RedisCluster`].
#[derive(Clone, Debug)]
#[must_use]
pub struct RedisClusterBuilder {
    masters: usize,
    replicas: usize,
    node: RedisBuilder,
}

impl RedisClusterBuilder {
    pub(super) fn new() -> Self {
        let node = RedisBuilder { in_cluster: true, ..RedisBuilder::default() };
        let node = [
            ("cluster-announce-ip", "127.0.0.1"),
            ("cluster-node-timeout", "1000"),
            ("cluster-require-full-coverage", "no"),
            // Each master keeps the replicas it was given.
            ("cluster-allow-replica-migration", "no"),
            // A replica that has not heard of its master for long may replace it as well.
            ("cluster-replica-validity-factor", "0"),
        ]
        .into_iter()
        .fold(node, |node, (name, value)| node.setting(name, value));
        Self { masters: 3, replicas: 0, node }
    }

    /// How many masters share the slots; 3 by default. With fewer than three
    /// nobody can agree that one of them is dead.
    ///
    /// # Panics
    ///
    /// With none, or with more than 16,384.
    pub fn masters(mut self, masters: usize) -> Self {
        assert!((1..=SLOTS).contains(&masters), "a cluster has 1 to {SLOTS} masters");
        self.masters = masters;
        self
    }

    /// How many replicas each master has; none by default.
    pub fn replicas_per_master(mut self, replicas: usize) -> Self {
        self.replicas = replicas;
        self
    }

    /// Lets applications in by TLS alone, as [`RedisBuilder::tls`], with one
    /// certificate for all nodes; among themselves they use TLS as well.
    #[cfg(feature = "tls")]
    pub fn tls(mut self) -> Self {
        self.node = self.node.tls();
        self
    }

    /// Sets a configuration parameter of every node, as in `redis.conf`.
    pub fn setting(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.node = self.node.setting(name, value);
        self
    }

    /// Starts the nodes, makes them a cluster, and waits until it is
    /// [settled](RedisCluster::settled).
    ///
    /// # Errors
    ///
    /// As [`RedisBuilder::start`]; [`Error::Exited`] by a Redis older than 7.0,
    /// whose log says that it does not know `cluster-port`; [`Error::Late`]
    /// when the nodes do not come together in 30 s.
    ///
    /// # Cancel safety
    ///
    /// Dropped before it is done, nothing stays behind.
    pub async fn start(self) -> Result<RedisCluster, Error> {
        let mut nodes = Vec::new();
        let mut ids = Vec::new();
        for _ in 0..self.masters * (1 + self.replicas) {
            let node = self.node.clone().start().await?;
            let id = node.command(&["CLUSTER", "MYID"]).await?;
            ids.push(id.text().unwrap_or_default().to_owned());
            nodes.push(node);
        }
        let (masters, replicas) = nodes.split_at(self.masters);
        self.share_slots(masters).await?;
        meet(&nodes).await?;
        let pairs = replicas.iter().enumerate().map(|(n, node)| (node, n / self.replicas));
        for (replica, master) in pairs {
            replica.command(&["CLUSTER", "REPLICATE", &ids[master]]).await?;
        }
        let cluster = RedisCluster { nodes, ids };
        cluster.settled(PATIENCE).await?;
        Ok(cluster)
    }

    async fn share_slots(&self, masters: &[Redis]) -> Result<(), Error> {
        for (n, master) in masters.iter().enumerate() {
            let first = (n * SLOTS / self.masters).to_string();
            let last = ((n + 1) * SLOTS / self.masters - 1).to_string();
            let mut client = master.client().await?;
            client.command(&["CLUSTER", "ADDSLOTSRANGE", &first, &last]).await?;
            // Distinct from the start, or the nodes would have to settle it among themselves.
            let epoch = (n + 1).to_string();
            client.command(&["CLUSTER", "SET-CONFIG-EPOCH", &epoch]).await?;
        }
        Ok(())
    }
}

/// Introduces the nodes to the first one, and waits until all know all.
async fn meet(nodes: &[Redis]) -> Result<(), Error> {
    let (first, others) = nodes.split_first().expect("a cluster has a node");
    for node in others {
        let port = node.port().to_string();
        let bus =
            node.bus.as_ref().expect("a node of a cluster has a bus").number().to_string();
        first.command(&["CLUSTER", "MEET", "127.0.0.1", &port, &bus]).await?;
    }
    until("all nodes know each other", PATIENCE, || async move {
        for node in nodes {
            let known = View::of(node).await?.len();
            if known != nodes.len() {
                return Ok(Err(format!("one knows {known} of {}", nodes.len())));
            }
        }
        Ok(Ok(()))
    })
    .await
}
