//! Whether members have come together, and whether clients could tell.

use {
    super::World,
    crate::{
        failure::Failure,
        history::{History, Operation},
        invariants::node_name,
        linearizability::Verdict,
        node::Node,
    },
    mosaik_protocol::consensus::Lineage,
    std::collections::{BTreeMap, BTreeSet},
};

impl World {
    /// Whether the given nodes are of one lineage (or, where lineages stay apart, each of some;
    /// those that have all cut their logs do),
    /// have one leader a lineage, and have applied the same.
    pub fn agreement(&self, nodes: &[usize], apart: bool) -> Result<(), String> {
        let mut lineages: BTreeMap<Lineage, BTreeSet<(u64, u64)>> = BTreeMap::new();
        let mut leaders: BTreeMap<Lineage, Vec<char>> = BTreeMap::new();
        for node in nodes.iter().map(|node| &self.nodes[*node]) {
            let name = node_name(node.id);
            if !node.is_up() {
                return Err(format!("{name} is down"));
            }
            if node.view.lineage.is_none() || node.lineage != node.view.lineage {
                return Err(format!("{name} is of no lineage"));
            }
            let state = (node.applied.0, node.machine.digest);
            lineages.entry(node.view.lineage).or_default().insert(state);
            if node.view.leading {
                leaders.entry(node.view.lineage).or_default().push(name);
            }
        }
        let stuck = lineages.keys().all(|lineage| self.is_cut(*lineage));
        if lineages.len() > 1 && !apart && !stuck {
            return Err(format!("lineages {:?}", lineages.keys()));
        }
        for (lineage, states) in &lineages {
            if states.len() > 1 {
                return Err(format!("in {lineage} members are at {states:?}"));
            }
            if leaders
                .get(lineage)
                .is_none_or(|leaders| leaders.len() != 1)
            {
                return Err(format!("in {lineage} lead {:?}", leaders.get(lineage)));
            }
        }
        Ok(())
    }

    /// Whether a lineage's leader has cut its log.
    fn is_cut(&self, lineage: Lineage) -> bool {
        let leads = |node: &&Node| node.view.leading && node.view.lineage == lineage;
        let leader = self.nodes.iter().find(leads);
        leader.is_some_and(|node| self.has_cut(node))
    }

    /// Whether a node has cut commands off its log: it cannot hand them over.
    pub(crate) fn has_cut(&self, node: &Node) -> bool {
        let line = self.chronicle.line(node.view.lineage);
        let base = node.core.as_ref().map(|core| core.status().base);
        base.and_then(|base| line?.entry(base))
            .is_some_and(|last| last.before.0 + u64::from(last.count) > 0)
    }

    /// The lineages that running nodes belong to.
    pub fn living_lineages(&self) -> BTreeSet<Lineage> {
        let up = self.nodes.iter().filter(|node| node.is_up());
        up.map(|node| node.view.lineage)
            .filter(|lineage| !lineage.is_none())
            .collect()
    }

    /// Checks what the clients of each lineage saw.
    pub fn linearizable(
        &self,
        check: impl Fn(&History) -> Result<(), (u8, Vec<Operation>, Verdict)>,
    ) -> Result<(), Failure> {
        for (lineage, history) in self.histories() {
            check(&history).map_err(|(key, operations, verdict)| {
                self.failure("linearizability", tell(lineage, key, &operations, &verdict))
            })?;
        }
        Ok(())
    }
}

fn tell(lineage: Lineage, key: u8, operations: &[Operation], verdict: &Verdict) -> String {
    let Verdict::Violated { longest } = verdict else {
        return format!(
            "key {key} of {lineage}: {} operations are too hard",
            operations.len()
        );
    };
    let ordered: BTreeSet<usize> = longest.iter().copied().collect();
    let stuck = (0..operations.len())
        .filter(|at| !ordered.contains(at))
        .take(4);
    let stuck: Vec<_> = stuck.map(|at| &operations[at]).collect();
    let last = longest
        .iter()
        .rev()
        .take(3)
        .rev()
        .map(|at| &operations[*at])
        .collect::<Vec<_>>();
    format!("key {key} of {lineage}: after {last:?} nothing explains {stuck:?}")
}
