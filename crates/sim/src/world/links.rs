//! Links as nodes see them, filters of scenarios, and how messages set out.

use {
    super::{World, events::Event},
    crate::{
        failure::Failure,
        invariants::node_name,
        node::{Node, Process},
        queue::{MILLI, Nanos},
    },
    bytes::Bytes,
    mosaik_protocol::consensus::Input,
};

/// What happens to messages of some kind on some paths, by order of a scenario.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Filter {
    /// Senders.
    pub from: Vec<usize>,
    /// Receivers.
    pub to: Vec<usize>,
    /// The kind, as [`crate::story::kind`] names it; every kind when `None`.
    pub kind: Option<String>,
    /// Held, to be released later; lost when false.
    pub hold: bool,
}

/// Which links are there, and which links each node believes in.
#[derive(Clone, Debug)]
pub(crate) struct Links {
    /// What is so, by pair.
    there: Vec<Vec<bool>>,
    /// What each node was told of each peer.
    told: Vec<Vec<bool>>,
    serial: u64,
    latest: Vec<Vec<u64>>,
}

impl Links {
    /// No links between `len` nodes.
    pub(crate) fn new(len: usize) -> Self {
        Self {
            there: vec![vec![false; len]; len],
            told: vec![vec![false; len]; len],
            serial: 0,
            latest: vec![vec![0; len]; len],
        }
    }

    /// Whether `node` believes to have a link to `peer`.
    pub(crate) fn is_up(&self, node: usize, peer: usize) -> bool {
        self.told[node][peer]
    }

    /// A node's process has ended: it believes nothing.
    pub(crate) fn forget(&mut self, node: usize) {
        self.told[node].fill(false);
        for peer in 0..self.there.len() {
            self.there[node][peer] = false;
            self.latest[node][peer] = 0;
        }
    }
}

impl World {
    /// Brings what nodes will be told into line with what is so.
    pub fn refresh_links(&mut self) {
        for node in 0..self.nodes.len() {
            if !self.nodes[node].is_up() {
                continue;
            }
            for peer in 0..self.nodes.len() {
                if peer == node {
                    continue;
                }
                let reaches = if self.habits.one_way_unseen {
                    self.network.passes(node, peer) || self.network.passes(peer, node)
                } else {
                    self.network.connected(node, peer)
                };
                let there = self.nodes[peer].is_up() && reaches;
                if self.links.there[node][peer] != there {
                    self.links.there[node][peer] = there;
                    let after = if there {
                        self.rng.between(MILLI, 40 * MILLI)
                    } else {
                        self.rng
                            .between(self.habits.link_loss / 10, self.habits.link_loss)
                    };
                    self.link_later(node, peer, there, after);
                }
            }
            let at = self.now() + self.rng.between(MILLI, 100 * MILLI);
            self.queue.schedule(at, Event::Discover { node });
        }
    }

    fn link_later(&mut self, node: usize, peer: usize, up: bool, after: Nanos) {
        self.links.serial += 1;
        let serial = self.links.serial;
        self.links.latest[node][peer] = serial;
        let at = self.now() + after;
        self.queue.schedule(
            at,
            Event::Link {
                node,
                peer,
                up,
                serial,
            },
        );
    }

    pub(crate) fn link_news(
        &mut self,
        node: usize,
        peer: usize,
        up: bool,
        serial: u64,
    ) -> Result<(), Failure> {
        if self.links.latest[node][peer] != serial || !self.nodes[node].is_up() {
            return Ok(());
        }
        if self.links.told[node][peer] == up {
            return Ok(());
        }
        self.links.told[node][peer] = up;
        let key = u64::from(up) << 8 | peer as u64;
        self.tell(key, || {
            let what = if up {
                "has a link to"
            } else {
                "lost its link to"
            };
            format!("{} {what} {}", node_name(node), node_name(peer))
        });
        let key = Node::key(peer);
        self.input(
            node,
            if up {
                Input::LinkUp(key)
            } else {
                Input::LinkDown(key)
            },
        )
    }

    /// The peers of a node learn that its process was replaced: the old link is gone.
    pub(crate) fn reconnect(&mut self, node: usize) -> Result<(), Failure> {
        for peer in 0..self.nodes.len() {
            self.links.there[peer][node] = false;
            self.links.latest[peer][node] = 0;
            if peer != node && self.nodes[peer].is_up() && self.links.told[peer][node] {
                self.links.told[peer][node] = false;
                self.input(peer, Input::LinkDown(Node::key(node)))?;
            }
        }
        self.refresh_links();
        Ok(())
    }

    pub(crate) fn discover(&mut self, node: usize) -> Result<(), Failure> {
        let peers = (0..self.nodes.len()).filter(|peer| {
            let there = !matches!(self.nodes[*peer].process, Process::Absent);
            *peer != node && there && self.network.connected(node, *peer)
        });
        let peers = peers.map(Node::key).collect();
        self.input(node, Input::Discovered(peers))
    }

    /// Puts an encoded message on its way, unless a filter has other plans for it.
    pub(crate) fn transmit(&mut self, from: usize, to: usize, kind: &str, bytes: Bytes) {
        let filter = self.filters.iter().find(|filter| {
            filter.from.contains(&from)
                && filter.to.contains(&to)
                && filter.kind.as_ref().is_none_or(|wanted| wanted == kind)
        });
        if let Some(filter) = filter {
            if filter.hold {
                self.held.push((from, to, bytes));
            }
            return;
        }
        let now = self.now();
        for at in self
            .network
            .route(&mut self.net_rng, now, from, to)
            .into_iter()
            .flatten()
        {
            self.queue.schedule(
                at,
                Event::Deliver {
                    from,
                    to,
                    bytes: bytes.clone(),
                },
            );
        }
    }

    /// Lets held messages arrive, in this order, right away.
    pub fn release(&mut self, messages: impl IntoIterator<Item = (usize, usize, Bytes)>) {
        let mut at = self.now();
        for (from, to, bytes) in messages {
            at += 1;
            self.queue.schedule(at, Event::Deliver { from, to, bytes });
        }
    }
}
