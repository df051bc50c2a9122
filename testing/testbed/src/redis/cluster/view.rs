use std::collections::BTreeSet;
use std::ops::RangeInclusive;

use crate::error::Error;
use crate::redis::{Redis, Reply};

/// What one node says of its cluster: CLUSTER INFO and CLUSTER NODES.
#[derive(Debug)]
pub(super) struct View {
    state: String,
    nodes: Vec<Node>,
}

/// A line of CLUSTER NODES.
#[derive(Debug)]
struct Node {
    id: String,
    port: String,
    flags: Vec<String>,
    /// That of the election which gave it its slots.
    epoch: u64,
    slots: Vec<RangeInclusive<u16>>,
}

impl View {
    pub(super) async fn of(node: &Redis) -> Result<Self, Error> {
        let mut client = node.client().await?;
        let info = client.command(&["CLUSTER", "INFO"]).await?;
        let nodes = client.command(&["CLUSTER", "NODES"]).await?;
        Ok(Self::parse(&info, &nodes))
    }

    fn parse(info: &Reply, nodes: &Reply) -> Self {
        let state = info.field("cluster_state").unwrap_or("unknown").to_owned();
        let nodes = nodes.text().unwrap_or_default().lines().filter_map(Node::parse).collect();
        Self { state, nodes }
    }

    /// How many nodes it knows.
    pub(super) fn len(&self) -> usize {
        self.nodes.len()
    }

    /// The owner of a slot, behind the epoch since which it is.
    pub(super) fn owner_of(&self, slot: u16) -> Option<(u64, String)> {
        let mut owners = self.nodes.iter();
        let owner = owners.find(|node| node.slots.iter().any(|slots| slots.contains(&slot)))?;
        Some((owner.epoch, owner.id.clone()))
    }

    /// The port that a node is to be reached at.
    pub(super) fn port_of(&self, id: &str) -> Option<String> {
        self.nodes.iter().find(|node| node.id == id).map(|node| node.port.clone())
    }

    /// The masters that have slots.
    pub(super) fn masters(&self) -> BTreeSet<String> {
        let masters = self.nodes.iter().filter(|node| !node.slots.is_empty());
        masters.map(|node| node.id.clone()).collect()
    }

    /// Whether `count` nodes are there and well, and serve every slot; else
    /// what is wrong.
    pub(super) fn is_whole(&self, count: usize) -> Result<(), String> {
        if self.state != "ok" {
            return Err(format!("cluster_state:{}", self.state));
        }
        if self.len() != count {
            return Err(format!("it knows {} nodes of {count}", self.len()));
        }
        let ill = |node: &&Node| {
            node.flags
                .iter()
                .any(|flag| !["myself", "master", "slave"].contains(&flag.as_str()))
        };
        if let Some(Node { port, flags, .. }) = self.nodes.iter().find(ill) {
            return Err(format!("it takes the node at {port} for {}", flags.join(",")));
        }
        match (0..16384).find(|slot| self.owner_of(*slot).is_none()) {
            Some(slot) => Err(format!("nobody serves slot {slot}")),
            None => Ok(()),
        }
    }
}

impl Node {
    /// `id ip:port@bus flags master ping pong epoch link slot slot-slot ...`
    fn parse(line: &str) -> Option<Self> {
        let mut words = line.split(' ');
        let id = words.next()?.to_owned();
        let port = words.next()?.split('@').next()?.rsplit(':').next()?.to_owned();
        let flags = words.next()?.split(',').map(String::from).collect();
        let epoch = words.nth(3)?.parse().ok()?;
        // What is in brackets is on its way to or from somebody else.
        let slots = words.skip(1).filter(|word| !word.starts_with('[')).filter_map(|word| {
            let (first, last) = word.split_once('-').unwrap_or((word, word));
            Some(first.parse().ok()?..=last.parse().ok()?)
        });
        Some(Self { id, port, flags, epoch, slots: slots.collect() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn view(state: &str, nodes: &str) -> View {
        let info = format!("cluster_state:{state}\r\ncluster_slots_assigned:16384\r\n");
        View::parse(&Reply::Bytes(info.into()), &Reply::Bytes(nodes.into()))
    }

    const FIRST: &str = "aa 127.0.0.1:1@2 myself,master - 0 0 1 connected 0-8000 8002-16383\n";
    const SECOND: &str = "bb 127.0.0.1:3@4 master - 0 1 2 connected 8001 [93-<-aa]\n";
    const REPLICA: &str = "cc 127.0.0.1:5@6 slave aa 0 1 1 connected\n";

    #[test]
    fn the_lines_of_a_whole_cluster_are_read() {
        let view = view("ok", &[FIRST, SECOND, REPLICA].concat());
        assert_eq!(view.is_whole(3), Ok(()));
        assert_eq!(view.owner_of(8000), Some((1, "aa".into())));
        assert_eq!(view.owner_of(8001), Some((2, "bb".into())));
        assert_eq!(view.port_of("cc").as_deref(), Some("5"));
        assert_eq!(view.masters(), ["aa", "bb"].map(String::from).into());
    }

    #[test]
    fn what_is_wrong_is_said() {
        let failing = SECOND.replace("master", "master,fail?");
        for (state, nodes, wrong) in [
            ("fail", [FIRST, SECOND].concat(), "cluster_state:fail"),
            ("ok", FIRST.to_owned(), "1 nodes of 2"),
            ("ok", [FIRST, &failing].concat(), "master,fail?"),
            ("ok", [FIRST, REPLICA].concat(), "slot 8001"),
        ] {
            let said = view(state, &nodes).is_whole(2).unwrap_err();
            assert!(said.contains(wrong), "{said}");
        }
    }
}
