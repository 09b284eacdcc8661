//! Which messages arrive, when, and how often.
//!
//! A pair of nodes has two directed paths. A path that is cut loses what is sent and what is in
//! flight. The transport underneath reports a link as lost after a while when either path is cut,
//! because it needs both; the world asks [`Network::connected`] for that.

use crate::{
    queue::{MILLI, Nanos},
    rng::Rng,
};

/// How every path behaves while it is not cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Weather {
    /// Messages lost, per mille.
    pub lost: u32,
    /// Messages that arrive twice, per mille.
    pub doubled: u32,
    /// Messages that overtake those sent before them, per mille.
    pub reordered: u32,
    /// Least time on the way.
    pub least_delay: Nanos,
    /// Most time on the way for a message that is not held up.
    pub most_delay: Nanos,
    /// Messages held up on the way, per mille.
    pub held_up: u32,
    /// Most time on the way for a message that is held up.
    pub longest_hold: Nanos,
}

impl Weather {
    /// A quiet local network.
    pub const CALM: Self = Self {
        lost: 0,
        doubled: 0,
        reordered: 0,
        least_delay: MILLI / 2,
        most_delay: 2 * MILLI,
        held_up: 0,
        longest_hold: 0,
    };

    /// Weather of some random badness.
    pub fn bad(rng: &mut Rng) -> Self {
        let least_delay = rng.between(MILLI / 10, 5 * MILLI);
        Self {
            lost: rng.below(200) as u32,
            doubled: rng.below(150) as u32,
            reordered: rng.below(400) as u32,
            least_delay,
            most_delay: least_delay + rng.between(MILLI, 40 * MILLI),
            held_up: rng.below(100) as u32,
            longest_hold: rng.between(50 * MILLI, 3_000 * MILLI),
        }
    }
}

/// The paths between `len` nodes.
#[derive(Clone, Debug)]
pub struct Network {
    cut: Vec<Vec<bool>>,
    last_arrival: Vec<Vec<Nanos>>,
    /// How the paths that are not cut behave.
    pub weather: Weather,
}

impl Network {
    /// A calm network without cuts.
    pub fn new(len: usize) -> Self {
        Self {
            cut: vec![vec![false; len]; len],
            last_arrival: vec![vec![0; len]; len],
            weather: Weather::CALM,
        }
    }

    /// Number of nodes.
    pub fn len(&self) -> usize {
        self.cut.len()
    }

    /// Whether there are no nodes.
    pub fn is_empty(&self) -> bool {
        self.cut.is_empty()
    }

    /// Cuts or mends the path from one node to another.
    pub fn set_cut(&mut self, from: usize, to: usize, cut: bool) {
        self.cut[from][to] = cut;
    }

    /// Cuts both paths between nodes that `sides` puts on different sides, mends the others.
    pub fn divide(&mut self, sides: &[usize]) {
        for from in 0..self.len() {
            for to in 0..self.len() {
                self.cut[from][to] = sides[from] != sides[to];
            }
        }
    }

    /// Leaves each node with its two neighbours on a ring in the order given.
    pub fn ring(&mut self, order: &[usize]) {
        let len = order.len();
        for row in &mut self.cut {
            row.fill(true);
        }
        for (position, node) in order.iter().enumerate() {
            let neighbour = order[(position + 1) % len];
            self.cut[*node][neighbour] = false;
            self.cut[neighbour][*node] = false;
            self.cut[*node][*node] = false;
        }
    }

    /// Mends every path.
    pub fn heal(&mut self) {
        for row in &mut self.cut {
            row.fill(false);
        }
    }

    /// Whether messages pass from one node to another.
    pub fn passes(&self, from: usize, to: usize) -> bool {
        !self.cut[from][to]
    }

    /// Whether messages pass both ways.
    pub fn connected(&self, one: usize, other: usize) -> bool {
        self.passes(one, other) && self.passes(other, one)
    }

    /// When a message sent `now` arrives: never, once or twice.
    pub fn route(
        &mut self,
        rng: &mut Rng,
        now: Nanos,
        from: usize,
        to: usize,
    ) -> [Option<Nanos>; 2] {
        if !self.passes(from, to) || rng.chance(self.weather.lost) {
            return [None, None];
        }
        let first = self.arrival(rng, now, from, to);
        let second = rng
            .chance(self.weather.doubled)
            .then(|| self.arrival(rng, now, from, to));
        [Some(first), second]
    }

    fn arrival(&mut self, rng: &mut Rng, now: Nanos, from: usize, to: usize) -> Nanos {
        let weather = self.weather;
        let mut at = now + rng.between(weather.least_delay, weather.most_delay);
        if rng.chance(weather.held_up) {
            at += rng.below(weather.longest_hold.max(1));
        } else if !rng.chance(weather.reordered) {
            at = at.max(self.last_arrival[from][to].min(now + weather.most_delay) + 1);
        }
        self.last_arrival[from][to] = self.last_arrival[from][to].max(at);
        at
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cuts_are_directed_and_a_ring_leaves_two_neighbours() {
        let mut network = Network::new(5);
        network.set_cut(0, 1, true);
        assert!(!network.passes(0, 1) && network.passes(1, 0) && !network.connected(0, 1));
        network.ring(&[0, 2, 4, 1, 3]);
        for node in 0..5 {
            let neighbours =
                (0..5).filter(|other| *other != node && network.connected(node, *other));
            assert_eq!(neighbours.count(), 2);
        }
        network.divide(&[0, 0, 1, 1, 1]);
        assert!(network.connected(0, 1) && !network.connected(1, 2) && network.connected(2, 4));
    }

    #[test]
    fn a_calm_path_keeps_order_and_loses_nothing() {
        let mut network = Network::new(2);
        let mut rng = Rng::new(3);
        let arrivals: Vec<_> = (0..100)
            .map(|step| network.route(&mut rng, step * MILLI / 10, 0, 1))
            .map(|[first, second]| (first.unwrap(), second))
            .collect();
        assert!(arrivals.is_sorted_by_key(|(first, _)| *first));
        assert!(arrivals.iter().all(|(_, second)| second.is_none()));
    }
}
