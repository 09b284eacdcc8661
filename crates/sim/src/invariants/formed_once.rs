//! Where founding takes more than half of all nodes, one lineage only is ever founded and led.
//!
//! That is promised as long as no node forgets, and as long as the group has so many members:
//! who was removed is free to found again. Lineages that go on from another one are not founded.

use {
    super::{Fact, Invariant, Scene, Subject},
    crate::chronicle::memberships,
    mosaik_protocol::consensus::{Lineage, LogIndex, Preference},
    std::collections::BTreeSet,
};

#[derive(Default)]
pub(super) struct FormedOnce {
    led: BTreeSet<Lineage>,
    continued: BTreeSet<Lineage>,
}

/// Whether at most one lineage can have a majority of those that may found.
fn is_promised(subject: &Subject<'_>, scene: &Scene<'_>) -> bool {
    let founders = scene.nodes.iter();
    let founders = founders.filter(|node| node.config.preference != Preference::Observer);
    let needed = scene.nodes[subject.node].config.min_voters as usize;
    2 * needed > founders.count() && scene.chronicle.graves.is_empty()
}

/// Members that a lineage has at least, as far as anybody's log knows.
fn members(lineage: Lineage, scene: &Scene<'_>) -> usize {
    let images = scene.nodes.iter().map(|node| node.disk.written());
    let images = images.filter(|image| image.hard.lineage == lineage);
    let counts = images.flat_map(|image| memberships(image, LogIndex::ZERO));
    counts
        .map(|members| members.voters().len())
        .min()
        .unwrap_or(0)
}

impl Invariant for FormedOnce {
    fn name(&self) -> &'static str {
        "a group that more than half of all nodes found forms once"
    }

    fn see(
        &mut self,
        subject: &Subject<'_>,
        fact: &Fact<'_>,
        scene: &Scene<'_>,
    ) -> Result<(), String> {
        match fact {
            Fact::Continues { .. } => {
                self.continued.insert(subject.lineage);
            }
            Fact::Leads if !self.continued.contains(&subject.lineage) => {
                if !self.led.insert(subject.lineage) || !is_promised(subject, scene) {
                    return Ok(());
                }
                let needed = scene.nodes[subject.node].config.min_voters as usize;
                let others = self
                    .led
                    .iter()
                    .filter(|lineage| **lineage != subject.lineage);
                let mut whole = others.filter(|lineage| members(**lineage, scene) >= needed);
                if let Some(other) = whole.next() {
                    return Err(format!(
                        "leads {}, and {other} has had a leader before",
                        subject.lineage
                    ));
                }
            }
            _ => {}
        }
        Ok(())
    }
}
