//! Which server has which partition.

use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use redis::{ConnectionAddr, ConnectionInfo, Value};
use tokio::sync::MutexGuard;

use super::connect::Connect;
use super::session::{Node, unreachable};
use crate::clock::{Clock, Tick, nanos};
use crate::shared::SharedError;

const SLOTS: usize = 16_384;

/// A cluster is asked for its slots at most this often.
const REFRESH: Duration = Duration::from_millis(100);

#[derive(Debug)]
pub(super) enum Topology {
    Single(Arc<Node>),
    Cluster(Arc<Cluster>),
}

impl Topology {
    /// The number of the node that has `slot`; of a cluster, 0 if that is not known.
    pub(super) fn domain(&self, slot: u16) -> usize {
        match self {
            Self::Single(_) => 0,
            Self::Cluster(cluster) => cluster.map().owners[usize::from(slot)].into(),
        }
    }

    /// The node that has `slot`.
    pub(super) async fn node(&self, slot: u16) -> Result<Arc<Node>, SharedError> {
        match self {
            Self::Single(node) => Ok(Arc::clone(node)),
            Self::Cluster(cluster) => {
                if let Some(node) = cluster.map().owner(slot) {
                    return Ok(node);
                }
                cluster.refresh().await?;
                cluster.map().owner(slot).ok_or_else(|| unreachable("no node has this slot"))
            }
        }
    }

    /// Reads anew where everything is.
    pub(super) async fn refresh(&self) -> Result<(), SharedError> {
        match self {
            Self::Single(_) => Ok(()),
            Self::Cluster(cluster) => cluster.refresh().await,
        }
    }

    /// Looks in the background where everything is: something failed or has moved.
    pub(super) fn suspect(&self) {
        if let Self::Cluster(cluster) = self {
            let cluster = Arc::clone(cluster);
            // Bounded by the time limit of its requests. Who needs it tries again. One
            // that is under way will do.
            tokio::spawn(async move {
                if let Ok(refreshed) = cluster.refreshed.try_lock() {
                    let _ = cluster.refresh_held(refreshed).await;
                }
            });
        }
    }
}

/// The nodes of a Redis Cluster. Their slots and connections are our own concern: a
/// client that reconnects in silence would hide who it is connected to.
#[derive(Debug)]
pub(super) struct Cluster {
    seeds: Vec<ConnectionInfo>,
    timeout: Duration,
    map: RwLock<Arc<Map>>,
    clock: Clock,
    /// When the slots were last read; nothing: never.
    refreshed: tokio::sync::Mutex<Option<Tick>>,
}

#[derive(Clone, Debug)]
struct Map {
    /// The number of each slot's owner; 0 is nobody.
    owners: Box<[u16]>,
    /// Members by number, from 1; each keeps its own.
    members: Vec<Member>,
}

#[derive(Clone, Debug)]
struct Member {
    host: String,
    port: u16,
    node: Arc<Node>,
}

impl Cluster {
    pub(super) fn new(seeds: Vec<ConnectionInfo>, timeout: Duration) -> Self {
        let map = Map { owners: vec![0; SLOTS].into(), members: Vec::new() };
        Self {
            seeds,
            timeout,
            map: RwLock::new(Arc::new(map)),
            clock: Clock::system(),
            refreshed: tokio::sync::Mutex::new(None),
        }
    }

    fn map(&self) -> Arc<Map> {
        Arc::clone(&self.map.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Reads the slots from the first node that tells them.
    async fn refresh(&self) -> Result<(), SharedError> {
        self.refresh_held(self.refreshed.lock().await).await
    }

    async fn refresh_held(
        &self,
        mut refreshed: MutexGuard<'_, Option<Tick>>,
    ) -> Result<(), SharedError> {
        let now = self.clock.now();
        if refreshed.is_some_and(|last| now.saturating_sub(last) < nanos(REFRESH)) {
            return Ok(());
        }
        let mut failure = unreachable("the cluster has no nodes");
        for Member { host, node, .. } in self.candidates() {
            match slots(&node, &host, self.timeout).await {
                Ok(ranges) => {
                    self.adopt(ranges);
                    *refreshed = Some(self.clock.now());
                    return Ok(());
                }
                Err(error) => failure = error,
            }
        }
        Err(failure)
    }

    /// Those that have slots first: their connections are there. Then the seeds, before
    /// nodes that may be gone for good.
    fn candidates(&self) -> Vec<Member> {
        let map = self.map();
        let (mut all, former) = map.divided();
        for seed in &self.seeds {
            let (host, port) = match seed.addr() {
                ConnectionAddr::Tcp(host, port) | ConnectionAddr::TcpTls { host, port, .. } => {
                    (host, *port)
                }
                _ => continue,
            };
            if map.number(host, port).is_none() {
                let (host, node) = (host.clone(), self.connect(host, port));
                all.push(Member { host, port, node });
            }
        }
        all.extend(former);
        all
    }

    fn adopt(&self, ranges: Vec<Range>) {
        let mut map = Map { owners: vec![0; SLOTS].into(), ..(*self.map()).clone() };
        for Range { first, last, host, port } in ranges {
            let number = map.number(&host, port).unwrap_or_else(|| {
                let node = self.connect(&host, port);
                map.members.push(Member { host, port, node });
                u16::try_from(map.members.len()).unwrap_or(u16::MAX)
            });
            let last = usize::from(last).min(SLOTS - 1);
            if let Some(slots) = map.owners.get_mut(usize::from(first)..=last) {
                slots.fill(number);
            }
        }
        *self.map.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(map);
    }

    /// A node at another address is spoken to as the first seed is.
    fn connect(&self, host: &str, port: u16) -> Arc<Node> {
        let seed = &self.seeds[0];
        let addr = match seed.addr() {
            ConnectionAddr::TcpTls { insecure, tls_params, .. } => ConnectionAddr::TcpTls {
                host: host.to_owned(),
                port,
                insecure: *insecure,
                tls_params: tls_params.clone(),
            },
            _ => ConnectionAddr::Tcp(host.to_owned(), port),
        };
        Node::new(Connect::to(seed.clone().set_addr(addr), self.timeout))
    }
}

impl Map {
    fn owner(&self, slot: u16) -> Option<Arc<Node>> {
        let number = usize::from(self.owners[usize::from(slot)]);
        Some(Arc::clone(&self.members.get(number.checked_sub(1)?)?.node))
    }

    /// The members that have slots, and those that have none any more.
    fn divided(&self) -> (Vec<Member>, Vec<Member>) {
        let mut serve = vec![false; self.members.len() + 1];
        for owner in &self.owners {
            if let Some(serves) = serve.get_mut(usize::from(*owner)) {
                *serves = true;
            }
        }
        let members = self.members.iter().cloned().zip(&serve[1..]);
        let (serving, former): (Vec<_>, Vec<_>) = members.partition(|(_, serves)| **serves);
        let only = |members: Vec<(Member, &bool)>| members.into_iter().map(|m| m.0).collect();
        (only(serving), only(former))
    }

    fn number(&self, host: &str, port: u16) -> Option<u16> {
        let index = self.members.iter().position(|m| m.host == host && m.port == port)?;
        u16::try_from(index + 1).ok()
    }
}

/// Slots `first` to `last`, and the primary that has them.
#[derive(Debug, PartialEq, Eq)]
struct Range {
    first: u16,
    last: u16,
    host: String,
    port: u16,
}

async fn slots(
    node: &Arc<Node>,
    host: &str,
    limit: Duration,
) -> Result<Vec<Range>, SharedError> {
    let ask = async {
        let session = node.session().await?;
        session
            .command(redis::cmd("CLUSTER").arg("SLOTS"))
            .await
            .inspect_err(|_| session.close())
    };
    let answer = tokio::time::timeout(limit, ask).await;
    let answer = answer.unwrap_or(Err(SharedError::Timeout(limit)))?;
    ranges(answer, host)
        .ok_or_else(|| unreachable("CLUSTER SLOTS has an answer of another form"))
}

/// `[[first, last, [host, port, ..], replicas..], ..]`. A node that does not know its
/// own host leaves it empty: it is `asked`.
fn ranges(answer: Value, asked: &str) -> Option<Vec<Range>> {
    let Value::Array(rows) = answer else { return None };
    let mut ranges = Vec::with_capacity(rows.len());
    for row in rows {
        let Value::Array(row) = row else { return None };
        let [Value::Int(first), Value::Int(last), Value::Array(primary), ..] = &row[..] else {
            return None;
        };
        let [host, Value::Int(port), ..] = &primary[..] else { return None };
        let host = match host {
            Value::BulkString(host) => std::str::from_utf8(host).ok()?,
            Value::SimpleString(host) => host,
            Value::Nil => "",
            _ => return None,
        };
        ranges.push(Range {
            first: u16::try_from(*first).ok()?,
            last: u16::try_from(*last).ok()?,
            host: if host.is_empty() { asked } else { host }.to_owned(),
            port: u16::try_from(*port).ok()?,
        });
    }
    Some(ranges)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn those_that_have_slots_are_asked_first_and_those_that_are_gone_last() {
        let seed = "redis://seed:1/".parse().expect("an address");
        let cluster = Cluster::new(vec![seed], Duration::from_secs(1));
        for host in ["gone", "there"] {
            let range = Range { first: 0, last: 99, host: host.to_owned(), port: 1 };
            cluster.adopt(vec![range]);
        }
        let hosts: Vec<_> = cluster.candidates().into_iter().map(|m| m.host).collect();
        assert_eq!(hosts, ["there", "seed", "gone"]);
    }

    #[test]
    fn slots_are_read_from_the_primaries() {
        let node = |host: &str, port| {
            Value::Array(vec![Value::BulkString(host.into()), Value::Int(port)])
        };
        let answer = Value::Array(vec![Value::Array(vec![
            Value::Int(0),
            Value::Int(99),
            node("", 1),
            node("b", 2),
        ])]);
        let range = Range { first: 0, last: 99, host: "x".to_owned(), port: 1 };
        assert_eq!(ranges(answer, "x"), Some(vec![range]));
        assert_eq!(ranges(Value::Nil, "x"), None);
        assert_eq!(ranges(Value::Array(vec![Value::Int(1)]), "x"), None);
    }
}
