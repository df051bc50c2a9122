//! A primary and its replica, each behind an address that stays, whoever is there.

use std::ops::Deref;
use std::time::{Duration, SystemTime};

use testbed::link::Link;
use testbed::postgres::{Postgres, Replica};
use tokio_postgres::NoTls;

use super::record::{Cluster, Tail};

const DEADLINE: Duration = Duration::from_secs(30);

/// One of the two servers.
enum Node {
    Primary(Postgres),
    Replica(Replica),
}

impl Deref for Node {
    type Target = Postgres;

    fn deref(&self) -> &Postgres {
        match self {
            Self::Primary(postgres) => postgres,
            Self::Replica(replica) => replica,
        }
    }
}

/// How a primary comes to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// By SIGKILL: what has not been sent to the replica is gone.
    Killed,
    /// In good order: all of it is sent first.
    Stopped,
}

/// Two servers of which one follows the other.
pub(crate) struct Group {
    pub(crate) cluster: Cluster,
    links: [Link; 2],
    nodes: [Node; 2],
    primary: usize,
    /// When the replica was begun to be copied: it has all that was committed before.
    copied: SystemTime,
}

impl Group {
    pub(crate) async fn start(cluster: Cluster) -> Self {
        let primary = Postgres::start().await.unwrap();
        let copied = SystemTime::now();
        let replica = primary.replica().await.unwrap();
        let links = [Link::to(primary.addr()).unwrap(), Link::to(replica.addr()).unwrap()];
        let nodes = [Node::Primary(primary), Node::Replica(replica)];
        Self { cluster, links, nodes, primary: 0, copied }
    }

    /// Where both are for the shop, whoever is the primary.
    pub(crate) fn urls(&self) -> [String; 2] {
        [0, 1].map(|at| self.nodes[at].url_at(self.links[at].addr()))
    }

    pub(crate) fn primary(&self) -> &Postgres {
        &self.nodes[self.primary]
    }

    pub(crate) fn replica(&self) -> &Postgres {
        &self.nodes[1 - self.primary]
    }

    /// The way to the primary.
    pub(crate) fn primary_link(&self) -> &Link {
        &self.links[self.primary]
    }

    /// The replica applies what it receives so much later.
    pub(crate) async fn lag(&self, by: Duration) {
        let Node::Replica(replica) = &self.nodes[1 - self.primary] else {
            unreachable!("the other one is a replica");
        };
        replica.delay_replay(by).await.unwrap();
    }

    /// Until the replica has all.
    pub(crate) async fn caught_up(&self) {
        let Node::Replica(replica) = &self.nodes[1 - self.primary] else {
            unreachable!("the other one is a replica");
        };
        replica.caught_up(DEADLINE).await.unwrap();
    }

    /// Ends the primary and promotes the replica; then a new one follows, where the old
    /// primary was. What may be lost is the tail.
    pub(crate) async fn fail_over(&mut self, end: End) -> Tail {
        let (old, new) = (self.primary, 1 - self.primary);
        let killed = SystemTime::now();
        match end {
            End::Killed => self.nodes[old].kill().await.unwrap(),
            End::Stopped => self.nodes[old].stop().await.unwrap(),
        }
        let Node::Replica(replica) = &self.nodes[new] else {
            unreachable!("the other one is a replica");
        };
        replica.promote().await.unwrap();
        let promoted = SystemTime::now();
        let replayed = last_replayed(replica).await;
        let kept_until = replayed.map_or(self.copied, |replayed| replayed.max(self.copied));
        self.primary = new;
        Tail { cluster: self.cluster, kept_until, killed, promoted }
    }

    /// A new replica follows, where the old primary was.
    pub(crate) async fn refill(&mut self) {
        self.copied = SystemTime::now();
        let replica = self.primary().replica().await.unwrap();
        let at = 1 - self.primary;
        self.links[at].lead_to(replica.addr());
        self.nodes[at] = Node::Replica(replica);
    }

    /// Asks the primary, not through the links.
    pub(crate) async fn client(&self) -> tokio_postgres::Client {
        connect(&self.primary().url()).await
    }
}

async fn connect(url: &str) -> tokio_postgres::Client {
    let (client, connection) = tokio_postgres::connect(url, NoTls).await.unwrap();
    // It ends with its client.
    tokio::spawn(connection);
    client
}

async fn last_replayed(postgres: &Postgres) -> Option<SystemTime> {
    let client = connect(&postgres.url()).await;
    let sql = "SELECT pg_last_xact_replay_timestamp()";
    let row = client.query_one(sql, &[]).await.unwrap();
    row.get(0)
}
