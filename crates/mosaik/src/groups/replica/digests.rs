//! [`Digests`]: members tell each other what their states look like at the same commands, so that
//! a machine that does not do the same everywhere is noticed.
//!
//! It only tells: which member is right nobody can know.

use {
    super::{
        super::{
            error::Halted, event::Event, index::Index, machine::StateMachine, sync::SyncContext,
        },
        Replica, guarded,
        parts::{Kind, Parts},
    },
    crate::{PeerId, primitives::encoding::deserialize},
    core::num::NonZero,
    mosaik_primitives::{Digest, codec},
    serde::{Deserialize, Serialize},
    std::collections::BTreeMap,
};

/// Own digests that are kept for members that lag.
const KEPT: usize = 64;

/// What a member says of its state.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Statement {
    lineage: Digest,
    index: Index,
    digest: Digest,
}

/// What is known of the members' states.
#[derive(Debug)]
pub(super) struct Digests {
    every: NonZero<u64>,
    lineage: Option<Digest>,
    /// This member's, the latest of them.
    own: BTreeMap<Index, Statement>,
    /// The latest that each peer has said of commands that are not applied here yet.
    ahead: BTreeMap<PeerId, Statement>,
}

impl Digests {
    pub(super) const fn new(every: NonZero<u64>) -> Self {
        Self {
            every,
            lineage: None,
            own: BTreeMap::new(),
            ahead: BTreeMap::new(),
        }
    }

    /// How many commands follow `applied` up to the next to be compared at.
    pub(super) fn room(&self, applied: Index) -> usize {
        let left = self.every.get() - applied.as_u64() % self.every;
        usize::try_from(left).unwrap_or(usize::MAX)
    }

    /// What was said so far is of another state.
    pub(super) fn start_over(&mut self, lineage: Option<Digest>) {
        self.lineage = lineage.or(self.lineage);
        self.own.clear();
        self.ahead.clear();
    }
}

impl<M: StateMachine> Replica<M> {
    /// Tells the others what the state looks like, where that is due, and compares it with what
    /// they have said.
    pub(super) fn tell_digest(&mut self) -> Result<(), Halted> {
        let index = self.committed().index();
        let Self { parts, digests, .. } = self;
        let Some(digests) = digests else {
            return Ok(());
        };
        if index.is_zero() || digests.room(index) as u64 != digests.every.get() {
            return Ok(());
        }
        let shown = parts.outlet.shared.status.lock().lineage;
        let machine = &parts.machine;
        let digest = guarded("state machine", || machine.digest())?;
        let (Some(lineage), Some(digest)) = (digests.lineage.or(shown), digest) else {
            return Ok(());
        };
        let statement = Statement {
            lineage,
            index,
            digest,
        };
        digests.own.insert(index, statement);
        if digests.own.len() > KEPT {
            digests.own.pop_first();
        }
        let said = codec::try_serialize(&statement).expect("a statement always encodes");
        for peer in parts.bonds().peers() {
            parts.send(peer, Kind::Digest, &said);
        }
        let reached = digests.ahead.extract_if(.., |_, said| said.index <= index);
        for (peer, said) in reached.collect::<Vec<_>>() {
            compare(parts, digests, peer, &said);
        }
        Ok(())
    }

    /// Takes what a peer says of its state; says whether that can be read.
    pub(super) fn on_digest(&mut self, peer: PeerId, said: &[u8]) -> bool {
        let Ok(said) = deserialize::<Statement>(said) else {
            return false;
        };
        let applied = self.committed().index();
        let Self { parts, digests, .. } = self;
        // Who compares nothing hears nothing.
        let Some(digests) = digests else {
            return true;
        };
        if said.index > applied {
            let bonds = parts.bonds();
            digests.ahead.retain(|peer, _| bonds.contains_peer(peer));
            digests.ahead.insert(peer, said);
        } else {
            compare(parts, digests, peer, &said);
        }
        true
    }
}

/// Reports a peer whose state at a command was another.
fn compare<M: StateMachine>(parts: &Parts<M>, digests: &Digests, peer: PeerId, said: &Statement) {
    let Some(own) = digests.own.get(&said.index) else {
        return;
    };
    if own.lineage != said.lineage || own.digest == said.digest {
        return;
    }
    let shared = &parts.outlet.shared;
    tracing::error!(
        peer = %peer.fmt_short(), index = %said.index,
        "the states of two members differ: the state machine is not deterministic",
    );
    shared.metrics.divergences.increment(1);
    shared.tell(Event::Diverged {
        peer,
        index: said.index,
    });
}
