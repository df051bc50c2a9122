//! A cluster, and the way it sees itself.

mod builder;
mod view;

pub use self::builder::RedisClusterBuilder;

use std::time::Duration;

use self::view::View;
use super::until::until;
use super::{Redis, slot};
use crate::error::Error;

/// How long one node is waited for when several are asked.
const ONE_NODE: Duration = Duration::from_secs(1);

/// A running Redis Cluster, 7.0 or newer; dropped = ended and removed.
///
/// Each node is a [`Redis`], to be killed, paused and restarted like any other.
/// What keeps the cluster together is on its nodes' disks, so that a node
/// comes back as itself, with or without data.
///
/// Slots whose node is gone fail; the others go on
/// (`cluster-require-full-coverage no`). A node is taken for dead after 1 s
/// (`cluster-node-timeout`), and replaced if it was a master with a replica.
/// A master that was restarted refuses its clients for 2 s; see
/// [`settled`](Self::settled).
///
/// Nodes name their own addresses to clients, so that a
/// [`Link`](crate::link::Link) is gone round, unless a node was told to name
/// that: [`announce`](Self::announce).
///
/// ```no_run
/// # async fn example() -> Result<(), testbed::Error> {
/// use std::time::Duration;
/// use testbed::redis::RedisCluster;
///
/// let cluster = RedisCluster::start().await?;
/// let node = cluster.owner("price").await?;
/// node.command(&["SET", "price", "1"]).await?;
///
/// node.kill().await?;
/// node.restart().await?;
/// cluster.settled(Duration::from_secs(20)).await?;
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct RedisCluster {
    nodes: Vec<Redis>,
    ids: Vec<String>,
}

impl RedisCluster {
    /// Starts three masters without replicas.
    ///
    /// # Errors
    ///
    /// As [`RedisClusterBuilder::start`].
    ///
    /// # Cancel safety
    ///
    /// Dropped before it is done, nothing stays behind.
    pub async fn start() -> Result<Self, Error> {
        Self::builder().start().await
    }

    /// Starts a cluster of another form, or with settings of its own.
    pub fn builder() -> RedisClusterBuilder {
        RedisClusterBuilder::new()
    }

    /// Its nodes: first those that began as masters, then those that began as
    /// replicas, the first master's first.
    pub fn nodes(&self) -> &[Redis] {
        &self.nodes
    }

    /// The URLs of all nodes.
    pub fn urls(&self) -> Vec<String> {
        self.nodes.iter().map(Redis::url).collect()
    }

    /// The certificate, in PEM, of the authority that a client must trust; none
    /// without TLS.
    pub fn ca_certificate(&self) -> Option<&str> {
        self.nodes[0].ca_certificate()
    }

    /// The master that a key belongs to.
    ///
    /// # Errors
    ///
    /// As [`owner_of`](Self::owner_of).
    pub async fn owner(&self, key: impl AsRef<[u8]>) -> Result<&Redis, Error> {
        self.owner_of(slot(key)).await
    }

    /// The master that a [`slot`] belongs to: of those whom any living node
    /// takes for it, the one elected last. It may have died since.
    ///
    /// # Errors
    ///
    /// [`Error::Late`] when no node answers within 1 s, or none knows an owner.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe.
    pub async fn owner_of(&self, slot: u16) -> Result<&Redis, Error> {
        let mut owner = None;
        for node in &self.nodes {
            if let Ok(Ok(view)) = tokio::time::timeout(ONE_NODE, View::of(node)).await {
                owner = owner.max(view.owner_of(slot));
            }
        }
        let index = owner.and_then(|(_, id)| self.ids.iter().position(|known| *known == id));
        let index = index.ok_or_else(|| Error::Late {
            awaited: format!("a node knows the owner of slot {slot}"),
            after: ONE_NODE,
        })?;
        Ok(&self.nodes[index])
    }

    /// Waits until every node runs, knows every other to be well, and says
    /// `cluster_state:ok`, every slot is served, and every replica streams.
    ///
    /// # Errors
    ///
    /// [`Error::Late`] with what a node said instead when `deadline` passes first.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe.
    pub async fn settled(&self, deadline: Duration) -> Result<(), Error> {
        until("the cluster is settled", deadline, || async move {
            let mut masters = None;
            for node in &self.nodes {
                let seen =
                    |what: String| Ok(Err(format!("the one at {}: {what}", node.addr())));
                let view = View::of(node).await?;
                if let Err(what) = view.is_whole(self.nodes.len()) {
                    return seen(what);
                }
                // Right after a failover some still follow the old master.
                if *masters.get_or_insert_with(|| view.masters()) != view.masters() {
                    return seen("it sees other masters than the first node does".into());
                }
                let stream = node.info("master_link_status").await?;
                if stream.is_some_and(|stream| stream != "up") {
                    return seen("it does not stream from its master yet".into());
                }
            }
            Ok(Ok(()))
        })
        .await
    }

    /// Lets a node name a port of 127.0.0.1 to clients that is not its own, such as that of a
    /// [`Link`](crate::link::Link) to it; its replicas stream that way too.
    /// Returns once every node that runs names it. It holds until the node
    /// is started again.
    ///
    /// # Errors
    ///
    /// As [`Redis::command`]; [`Error::Late`].
    ///
    /// # Cancel safety
    ///
    /// It may be announced already; call it again.
    ///
    /// # Panics
    ///
    /// When `node` is not one of [`nodes`](Self::nodes).
    pub async fn announce(&self, node: &Redis, port: u16) -> Result<(), Error> {
        let index = self.nodes.iter().position(|known| known.port() == node.port());
        let id = &self.ids[index.expect("the node is one of this cluster's")];
        let port = &port.to_string();
        let mut announce = vec!["CONFIG", "SET", "cluster-announce-port", port];
        if node.tls.is_some() {
            announce.extend(["cluster-announce-tls-port", port]);
        }
        node.command(&announce).await?;
        let awaited = format!("every node names {port} for {id}");
        until(&awaited, ONE_NODE * 20, || async move {
            for other in self.nodes.iter().filter(|node| node.pid().is_some()) {
                let named = View::of(other).await?.port_of(id);
                if named.as_ref() != Some(port) {
                    return Ok(Err(format!("the one at {} names {named:?}", other.addr())));
                }
            }
            Ok(Ok(()))
        })
        .await
    }
}
