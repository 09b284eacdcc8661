//! What must never happen, one file each.
//!
//! An invariant sees facts in the order in which they happen and judges them against the disks
//! of all nodes and the [`Chronicle`]; it asks no core what it believes beyond what it does.

mod acknowledged;
mod applied_prefix;
mod commit_majority;
mod committed_stays;
mod durable_first;
mod election_quorum;
mod formed_once;
mod gapless_indices;
mod leader_completeness;
mod log_matching;
mod monotone_terms;
mod observers;
mod once;
mod one_change;
mod one_leader;
mod refused;
mod stale_reads;
mod transfer;

use {
    crate::{chronicle::Chronicle, disk::Image, failure::Failure, node::Node},
    mosaik_protocol::consensus::{
        CommittedEntry, Lineage, LogIndex, Member, Membership, Message, Preference, Term, Write,
    },
};

pub use acknowledged::missing;

/// What an invariant may know of a node.
#[derive(Clone, Debug)]
pub struct Subject<'n> {
    /// Which node.
    pub node: usize,
    /// The member it is.
    pub member: Member,
    /// What it wants to be.
    pub preference: Preference,
    /// Its lineage.
    pub lineage: Lineage,
    /// Its term.
    pub term: Term,
    /// Whether it believes to lead.
    pub leading: bool,
    /// Up to where it knows its log to be committed.
    pub commit: LogIndex,
    /// The membership that it takes to be in force, which a leader may not have written yet.
    pub membership: &'n Membership,
    /// What its process has written.
    pub written: &'n Image,
    /// What would survive a crash.
    pub durable: &'n Image,
}

/// Something that a node did.
#[derive(Clone, Copy, Debug)]
pub enum Fact<'f> {
    /// It is about to write this; the disk is as it was before.
    Writes {
        /// The lineage in which the write is made.
        lineage: Lineage,
        /// What it writes.
        write: &'f Write,
    },
    /// Writes have become durable.
    Synced,
    /// It sent a message.
    Sends(&'f Message),
    /// It was handed a committed entry to apply.
    Applies(&'f CommittedEntry),
    /// It installed a snapshot that covers the log up to here.
    Installs(LogIndex),
    /// It started, with what its disk holds.
    Starts,
    /// Its state machine starts anew: it has left its lineage, or entered another one.
    Begins,
    /// It goes on from its log in a lineage of its own.
    Continues {
        /// The one it leaves.
        from: Lineage,
        /// Up to where it has applied that one's log.
        applied: LogIndex,
    },
    /// It became the leader of its term.
    Leads,
    /// It answered a strong read.
    Reads {
        /// The lineage and index that had been acknowledged when the read began.
        floor: (Lineage, LogIndex),
        /// Where the answer was read.
        index: LogIndex,
    },
    /// It promised that this command will never be applied.
    Refuses {
        /// Tag of the command.
        tag: u64,
    },
}

/// What is known besides the acting node.
#[derive(Clone, Copy, Debug)]
pub struct Scene<'s> {
    /// The committed past.
    pub chronicle: &'s Chronicle,
    /// Every node that has a disk.
    pub nodes: &'s [Node],
}

impl Scene<'_> {
    /// Every member alive or down, with what it has stored. What a disk holds belongs to the
    /// member that it names: its process may be another one already, and not have stored that.
    pub fn images(&self) -> impl Iterator<Item = (Member, &Image)> {
        let images = self.nodes.iter().map(|node| node.disk.durable());
        images
            .map(|image| (image.hard.member, image))
            .filter(|(member, _)| *member != Member::default())
    }

    /// What `member` has stored, or had when it lost its disk.
    pub fn stored(&self, member: &Member) -> Option<&Image> {
        self.images()
            .find(|(other, _)| other == member)
            .map(|(_, image)| image)
            .or_else(|| self.chronicle.graves.get(member))
    }
}

/// Something that must always hold.
pub trait Invariant {
    /// Its name in reports.
    fn name(&self) -> &'static str;

    /// Looks at a fact; the error says what does not hold.
    fn see(
        &mut self,
        subject: &Subject<'_>,
        fact: &Fact<'_>,
        scene: &Scene<'_>,
    ) -> Result<(), String>;
}

/// All invariants of a run.
pub struct Invariants {
    all: Vec<Box<dyn Invariant>>,
}

impl Default for Invariants {
    fn default() -> Self {
        Self {
            all: vec![
                Box::<one_leader::OneLeader>::default(),
                Box::<log_matching::LogMatching>::default(),
                Box::<leader_completeness::LeaderCompleteness>::default(),
                Box::<applied_prefix::AppliedPrefix>::default(),
                Box::<commit_majority::CommitMajority>::default(),
                Box::<committed_stays::CommittedStays>::default(),
                Box::<durable_first::DurableFirst>::default(),
                Box::<election_quorum::ElectionQuorum>::default(),
                Box::<formed_once::FormedOnce>::default(),
                Box::<one_change::OneChange>::default(),
                Box::<observers::Observers>::default(),
                Box::<stale_reads::StaleReads>::default(),
                Box::<once::Once>::default(),
                Box::<gapless_indices::GaplessIndices>::default(),
                Box::<monotone_terms::MonotoneTerms>::default(),
                Box::<refused::Refused>::default(),
                Box::<transfer::Transfer>::default(),
            ],
        }
    }
}

impl Invariants {
    /// Shows a fact to every invariant.
    pub fn see(
        &mut self,
        subject: &Subject<'_>,
        fact: &Fact<'_>,
        scene: &Scene<'_>,
    ) -> Result<(), Failure> {
        for invariant in &mut self.all {
            invariant.see(subject, fact, scene).map_err(|facts| {
                let facts = format!("{}: {facts}", node_name(subject.node));
                Failure::new(invariant.name(), facts)
            })?;
        }
        Ok(())
    }
}

/// Names a node in stories: `a`, `b`, ….
pub fn node_name(node: usize) -> char {
    char::from(b'a' + u8::try_from(node).expect("worlds are small"))
}

#[cfg(test)]
mod tests {
    use {
        super::*,
        crate::disk::Record,
        mosaik_protocol::consensus::{Config, GroupKeyId, HardState},
    };

    /// A process that has left its lineage is another member before its disk says so. Until then,
    /// and when a crash comes before, what is stored is what the former member stored.
    #[test]
    fn what_is_stored_belongs_to_the_member_that_stored_it() {
        let key = Node::key(0);
        let config = Config::new(GroupKeyId([1; 32]), key, 1, 1);
        let mut node = Node::new(0, config, 0);
        let [old, new] = [200, 201].map(|incarnation| Member::new(key, incarnation));
        let hard = HardState {
            member: old,
            ..HardState::default()
        };
        let record = node
            .disk
            .write(Record::Core(Write::HardState(hard.encode())));
        node.disk.sync(record);
        node.member = new;
        let chronicle = Chronicle::default();
        let nodes = [node];
        let scene = Scene {
            chronicle: &chronicle,
            nodes: &nodes,
        };
        assert_eq!(scene.stored(&old), Some(nodes[0].disk.durable()));
        assert_eq!(scene.stored(&new), None);
    }
}
