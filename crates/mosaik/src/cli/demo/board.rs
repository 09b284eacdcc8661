//! [`Board`]: what the demo shows, computed from samples of what the nodes did.

use {super::super::units, core::time::Duration, std::collections::VecDeque};

/// Rates are averages over so much of the past.
const WINDOW: Duration = Duration::from_secs(1);
/// Totals of the recent past, for the curve.
const HISTORY: usize = 240;

/// A node's part in the group.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Part {
    /// It is no member.
    #[default]
    None,
    Member,
    Leader,
    /// It was a member, and was killed.
    Killed,
}

/// What the group's members said of it at one time.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct GroupSample {
    /// Readings counted, all members together.
    pub(crate) counted: u64,
    /// The node that leads.
    pub(crate) leader: Option<usize>,
    /// The node that was killed while it led.
    pub(crate) killed: Option<usize>,
    /// How long it took until the others counted again.
    pub(crate) takeover: Option<Duration>,
}

/// What one node said of itself at one time.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct NodeSample {
    pub(crate) part: Part,
    /// Which of the nodes, by index, it has in its catalog.
    pub(crate) knows: Vec<bool>,
    /// Items sent (by the producer) or received, since the start.
    pub(crate) items: u64,
    /// Their encoded size.
    pub(crate) bytes: u64,
    /// Round trip to the producer; of the producer, to its slowest consumer.
    pub(crate) rtt: Option<Duration>,
    /// Whether all came in order so far.
    pub(crate) clean: bool,
}

/// All nodes at one time.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Sample {
    /// Since the start.
    pub(crate) at: Duration,
    /// By index; the first is the producer.
    pub(crate) nodes: Vec<NodeSample>,
    /// Of the group, if there is one.
    pub(crate) group: Option<GroupSample>,
}

/// One row of the board.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Row {
    pub(crate) name: String,
    pub(crate) sample: NodeSample,
    pub(crate) items_per_second: f64,
    pub(crate) bytes_per_second: f64,
}

/// The state of the view.
#[derive(Clone, Debug)]
pub(crate) struct Board {
    /// How long the demo sends.
    pub(crate) length: Duration,
    /// Since the start.
    pub(crate) elapsed: Duration,
    /// By index; the first is the producer.
    pub(crate) rows: Vec<Row>,
    /// Items a second that arrived at all consumers together, the newest last.
    pub(crate) curve: VecDeque<u64>,
    pub(crate) group: Option<GroupSample>,
    past: VecDeque<Sample>,
}

impl Board {
    pub(crate) fn new(length: Duration, names: Vec<String>) -> Self {
        let rows = names
            .into_iter()
            .map(|name| Row {
                name,
                ..Row::default()
            })
            .collect();
        Self {
            length,
            elapsed: Duration::ZERO,
            rows,
            curve: VecDeque::new(),
            group: None,
            past: VecDeque::new(),
        }
    }

    /// Takes the newest sample, of as many nodes as there are rows.
    pub(crate) fn update(&mut self, sample: Sample) {
        assert_eq!(sample.nodes.len(), self.rows.len(), "one sample a node");
        // The oldest sample that is kept is the newest one that is a window old.
        while self
            .past
            .get(1)
            .is_some_and(|second| second.at + WINDOW <= sample.at)
        {
            self.past.pop_front();
        }
        let base = self.past.front();
        let seconds = base.map_or(0.0, |base| {
            (sample.at.saturating_sub(base.at)).as_secs_f64()
        });
        for (index, (row, node)) in self.rows.iter_mut().zip(&sample.nodes).enumerate() {
            let rate = |now: u64, was: u64| {
                if seconds > 0.0 {
                    now.saturating_sub(was) as f64 / seconds
                } else {
                    0.0
                }
            };
            let was = base.map_or((0, 0), |base| {
                (base.nodes[index].items, base.nodes[index].bytes)
            });
            row.items_per_second = rate(node.items, was.0);
            row.bytes_per_second = rate(node.bytes, was.1);
            row.sample = node.clone();
        }
        self.elapsed = sample.at;
        self.group.clone_from(&sample.group);
        self.past.push_back(sample);
        self.curve.push_back(self.arriving().0 as u64);
        if self.curve.len() > HISTORY {
            self.curve.pop_front();
        }
    }

    /// Items and bytes a second that arrive at all consumers together.
    pub(crate) fn arriving(&self) -> (f64, f64) {
        self.consumers().fold((0.0, 0.0), |(items, bytes), row| {
            (items + row.items_per_second, bytes + row.bytes_per_second)
        })
    }

    /// How many of how many (node, other node) pairs know each other.
    pub(crate) fn acquaintance(&self) -> (usize, usize) {
        let known = self
            .rows
            .iter()
            .enumerate()
            .map(|(index, row)| row.known(index))
            .sum();
        (known, self.rows.len() * self.rows.len().saturating_sub(1))
    }

    pub(crate) fn consumers(&self) -> impl Iterator<Item = &Row> {
        self.rows.iter().skip(1)
    }

    /// What the group does, in a few words.
    pub(crate) fn group_line(&self) -> Option<String> {
        let group = self.group.as_ref()?;
        let name = |node: usize| self.rows[node].name.as_str();
        let leader = group.leader.map_or_else(
            || "no leader".to_owned(),
            |leader| format!("{} leads", name(leader)),
        );
        let killed = match (group.killed, group.takeover) {
            (None, _) => String::new(),
            (Some(killed), None) => format!(", {} was killed", name(killed)),
            (Some(killed), Some(took)) => {
                let took = units::duration(took);
                format!(", {} was killed, {took} to the next count", name(killed))
            }
        };
        let counted = units::count(group.counted);
        Some(format!("counted {counted}, {leader}{killed}"))
    }

    /// One line for a terminal that is none.
    pub(crate) fn line(&self) -> String {
        let (known, pairs) = self.acquaintance();
        let (items, bytes) = self.arriving();
        let sent = self.rows.first().map_or(0, |row| row.sample.items);
        let received: u64 = self.consumers().map(|row| row.sample.items).sum();
        let slowest = self.consumers().filter_map(|row| row.sample.rtt).max();
        let rtt = slowest.map_or_else(|| "-".to_owned(), units::duration);
        let order = if self.consumers().all(|row| row.sample.clean) {
            "in order"
        } else {
            "FAULTY"
        };
        let group = self
            .group_line()
            .map_or_else(String::new, |group| format!("  {group}"));
        format!(
            "{:>5.1}s  {known}/{pairs} acquainted  sent {}  delivered {} ({} items/s, {}/s)  \
             rtt {rtt}  {order}{group}",
            self.elapsed.as_secs_f64(),
            units::count(sent),
            units::count(received),
            units::scaled(items),
            units::bytes(bytes),
        )
    }
}

impl Row {
    /// How many other nodes the node with this index knows.
    pub(crate) fn known(&self, index: usize) -> usize {
        let others = self
            .sample
            .knows
            .iter()
            .enumerate()
            .filter(|(other, _)| *other != index);
        others.filter(|(_, knows)| **knows).count()
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// A board of `nodes` nodes after `samples` quarter seconds at 1,000 items a second.
    pub(crate) fn board(nodes: usize, samples: u64) -> Board {
        let names = (0..nodes).map(|index| format!("node{index}")).collect();
        let mut board = Board::new(Duration::from_secs(10), names);
        for step in 0..samples {
            let node = |index: usize| NodeSample {
                part: match index {
                    1 => Part::Killed,
                    2 => Part::Leader,
                    3 => Part::Member,
                    _ => Part::None,
                },
                knows: (0..nodes).map(|other| other != 2 || index == 2).collect(),
                items: step * 250,
                bytes: step * 10_000,
                rtt: (index > 0).then_some(Duration::from_micros(85)),
                clean: true,
            };
            board.update(Sample {
                at: Duration::from_millis(step * 250),
                nodes: (0..nodes).map(node).collect(),
                group: (nodes > 3).then_some(GroupSample {
                    counted: step * 750,
                    leader: Some(2),
                    killed: Some(1),
                    takeover: Some(Duration::from_millis(850)),
                }),
            });
        }
        board
    }

    #[test]
    fn rates_are_of_the_last_second() {
        let board = board(5, 41);
        assert!(
            (board.arriving().0 - 4_000.0).abs() < 1e-6,
            "{:?}",
            board.arriving()
        );
        assert!((board.rows[0].bytes_per_second - 40_000.0).abs() < 1e-6);
        assert_eq!(board.acquaintance(), (16, 20));
        assert!(board.past.len() <= 6, "only a window of the past is kept");
        assert_eq!(
            board.line(),
            " 10.0s  16/20 acquainted  sent 10,000  delivered 40,000 (4.00 K items/s, 160 KB/s)  \
             rtt 85 µs  in order  counted 30,000, node2 leads, node1 was killed, 850 ms to the \
             next count"
        );
    }

    #[test]
    fn a_stall_brings_the_rate_to_zero_within_the_window() {
        let mut board = board(2, 9);
        let mut still = board.past.back().cloned().expect("samples");
        for _ in 0..5 {
            still.at += Duration::from_millis(250);
            board.update(still.clone());
        }
        assert!(board.arriving().0.abs() < 1e-6);
    }

    #[test]
    fn the_curve_is_bounded() {
        assert_eq!(board(2, 1_000).curve.len(), HISTORY);
    }
}
