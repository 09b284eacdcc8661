//! [`Parts`]: what a group's state synchronisation sees of it and does in it.

use {
    super::super::{
        bond::Bonds,
        context::{ApplyContext, Applying},
        cursor::Cursor,
        driver::{Command, Inbox, Propose, Reply, Slot},
        key::GroupId,
        log_store::Storage,
        machine::StateMachine,
        setup::Shared,
        sync::{Message, Sealed, SyncContext, SyncProviderContext, SyncSessionContext},
    },
    crate::{
        NetworkId, PeerId,
        primitives::{
            Datum,
            encoding::{EncodeError, try_serialize},
        },
    },
    bytes::{BufMut, BytesMut},
    std::sync::Arc,
};

/// Ways out of the replica.
pub(in crate::groups) struct Outlet {
    pub(in crate::groups) slot: Slot,
    pub(in crate::groups) local: PeerId,
    pub(in crate::groups) inbox: Arc<Inbox>,
    pub(in crate::groups) shared: Arc<Shared>,
}

/// Everything of a replica but its synchronisation.
pub(super) struct Parts<M: StateMachine> {
    pub(super) machine: M,
    pub(super) log: Box<dyn Storage<M::Command>>,
    pub(super) applying: Applying,
    /// Who offered the snapshot that is being caught up with.
    pub(super) source: PeerId,
    /// Whether the machine or the log was given out to be changed since this was last unset.
    pub(super) touched: bool,
    pub(super) outlet: Outlet,
}

/// Whose a message between replicas is: its first byte.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Kind {
    /// The program's state synchronisation's.
    Program = 0,
    /// A digest of the sender's state.
    Digest = 1,
}

impl Kind {
    /// The kind of a message, and what it says.
    pub(super) fn of(message: &[u8]) -> Option<(Self, &[u8])> {
        match message.split_first()? {
            (0, said) => Some((Self::Program, said)),
            (1, said) => Some((Self::Digest, said)),
            _ => None,
        }
    }
}

impl<M: StateMachine> Parts<M> {
    /// Sends a message to the replica of a peer.
    pub(super) fn send(&self, peer: PeerId, kind: Kind, said: &[u8]) {
        let mut message = BytesMut::with_capacity(1 + said.len());
        message.put_u8(kind as u8);
        message.put_slice(said);
        self.outlet.inbox.tell(Command::Sync {
            slot: self.outlet.slot,
            peer,
            message: message.freeze(),
        });
    }
}

impl<M: StateMachine> Sealed for Parts<M> {}

impl<M: StateMachine> SyncContext<M::StateSync> for Parts<M> {
    fn state_machine(&self) -> &M {
        &self.machine
    }

    fn state_machine_mut(&mut self) -> &mut M {
        self.touched = true;
        &mut self.machine
    }

    fn log(&self) -> &dyn Storage<M::Command> {
        &*self.log
    }

    fn log_mut(&mut self) -> &mut dyn Storage<M::Command> {
        self.touched = true;
        &mut *self.log
    }

    fn committed(&self) -> Cursor {
        self.applying.committed()
    }

    fn local_id(&self) -> PeerId {
        self.outlet.local
    }

    fn group_id(&self) -> GroupId {
        *self.applying.group_id()
    }

    fn network_id(&self) -> NetworkId {
        *self.applying.network_id()
    }

    fn send_to(&mut self, peer: PeerId, message: Message<M::StateSync>) -> Result<(), EncodeError> {
        self.send(peer, Kind::Program, &try_serialize(&message)?);
        Ok(())
    }

    fn broadcast(&mut self, message: Message<M::StateSync>) -> Result<Vec<PeerId>, EncodeError> {
        let peers = self.bonds().peers();
        for peer in &peers {
            self.send_to(*peer, message.clone())?;
        }
        Ok(peers)
    }

    fn bonds(&self) -> Bonds<M> {
        self.outlet.shared.bonds.bonds()
    }
}

impl<M: StateMachine> SyncProviderContext<M::StateSync> for Parts<M> {
    fn leader(&self) -> Option<PeerId> {
        self.outlet.shared.leadership.borrow().leader
    }

    fn feed_command(&mut self, command: M::Command) -> Result<(), M::Command> {
        let mut encoded = BytesMut::new();
        if command.encode_into(&mut encoded).is_err() {
            return Err(command);
        }
        let propose = Propose {
            slot: self.outlet.slot,
            commands: vec![encoded.freeze()],
            reply: Reply::Nobody,
        };
        let bytes = propose.commands[0].len();
        let asked = self.outlet.inbox.ask(Command::Propose(propose), bytes);
        asked.map_err(|_| command)
    }
}

impl<M: StateMachine> SyncSessionContext<M::StateSync> for Parts<M> {
    fn leader(&self) -> PeerId {
        SyncProviderContext::<M::StateSync>::leader(self).unwrap_or(self.source)
    }

    fn set_committed(&mut self, position: Cursor) {
        let network = *self.applying.network_id();
        let group = *self.applying.group_id();
        self.touched = true;
        self.applying = Applying::new(network, group, position);
    }
}
