//! Catching up with a snapshot: the program's session, from its start to its end.

use {
    super::{
        super::{
            config::Durability,
            context::ApplyContext,
            cursor::Cursor,
            driver::{Command, Wish},
            error::Halted,
            event::Event,
            machine::StateMachine,
            status::peer_id,
            sync::{Message, Session, StateSync, StateSyncProvider, StateSyncSession},
        },
        Replica, guarded,
        parts::Kind,
    },
    crate::{PeerId, network::close::ProtocolViolation, primitives::encoding::deserialize},
    core::task::{Context, Poll},
    mosaik_primitives::Digest,
    mosaik_protocol::consensus::{Member, Position, SnapshotMeta},
};

/// A session, and what it is to reach.
pub(super) struct CatchingUp<M: StateMachine> {
    session: Session<M::StateSync>,
    /// What the core asked for.
    position: Position,
    target: Cursor,
}

/// How an attempt to catch up ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::groups) struct CaughtUp {
    pub(in crate::groups) position: Position,
    pub(in crate::groups) installed: bool,
}

impl<M: StateMachine> Replica<M> {
    /// Begins to catch up with a snapshot; says so when that cannot be.
    ///
    /// What an earlier session has reached stays: it is of the same lineage, or was forgotten
    /// when the lineage changed.
    pub(in crate::groups) fn synchronise(
        &mut self,
        meta: &SnapshotMeta,
        source: Member,
    ) -> Result<Option<CaughtUp>, Halted> {
        let position = meta.last;
        if self.durability != Durability::Memory {
            // The state would have to be on this member's disk before it counts as held. Nothing
            // cuts the logs of groups that keep them on disk.
            let installed = false;
            return Ok(Some(CaughtUp {
                position,
                installed,
            }));
        }
        self.parts.source = peer_id(&source).unwrap_or(self.parts.outlet.local);
        let target = Cursor::new(position.term.into(), meta.commands.into());
        let (sync, parts) = (&self.sync, &mut self.parts);
        let session = guarded("state synchronisation", || {
            sync.create_session(parts, target, target.index(), Vec::new())
        })?;
        self.is_partial = true;
        self.catching_up = Some(CatchingUp {
            session,
            position,
            target,
        });
        Ok(None)
    }

    /// The member belongs to another lineage from now on. What a session has reached of the one
    /// before is of no use.
    pub(in crate::groups) fn change_lineage(&mut self, lineage: Digest) -> Result<(), Halted> {
        if let Some(digests) = &mut self.digests {
            digests.start_over(Some(lineage));
        }
        if self.is_partial {
            self.start_over()
        } else {
            Ok(())
        }
    }

    /// Takes a message of a peer's state synchronisation.
    pub(in crate::groups) fn receive(
        &mut self,
        peer: PeerId,
        message: &[u8],
    ) -> Result<(), Halted> {
        let message = match Kind::of(message) {
            Some((Kind::Program, said)) => deserialize::<Message<M::StateSync>>(said).ok(),
            Some((Kind::Digest, said)) if self.on_digest(peer, said) => return Ok(()),
            Some((Kind::Digest, _)) | None => None,
        };
        let Some(message) = message else {
            self.violated(peer);
            return Ok(());
        };
        let Self {
            parts,
            provider,
            catching_up,
            ..
        } = self;
        guarded("state synchronisation", || {
            let answer = provider.receive(message, peer, parts);
            if let (Err(message), Some(catching_up)) = (answer, catching_up) {
                catching_up.session.receive(message, peer, parts);
            }
        })
    }

    /// Does what is due in the state synchronisation; says when a session has come to its end.
    pub(in crate::groups) fn poll(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Result<Option<CaughtUp>, Halted> {
        let Self {
            parts,
            provider,
            catching_up,
            ..
        } = self;
        let reached = guarded("state synchronisation", || {
            // Ready or not, the provider is polled again.
            let _: Poll<()> = provider.poll(cx, parts);
            match catching_up {
                Some(catching_up) => catching_up.session.poll(cx, parts),
                None => Poll::Pending,
            }
        })?;
        let Poll::Ready(reached) = reached else {
            return Ok(None);
        };
        let Some(CatchingUp {
            position, target, ..
        }) = self.catching_up.take()
        else {
            return Ok(None);
        };
        let installed = reached.index() >= target.index();
        if installed {
            self.is_partial = false;
            if self.parts.applying.committed().index() < target.index() {
                let parts: &mut dyn super::super::sync::SyncSessionContext<M::StateSync> =
                    &mut self.parts;
                parts.set_committed(reached);
            }
            self.tell_provider()?;
        }
        Ok(Some(CaughtUp {
            position,
            installed,
        }))
    }

    /// A peer sent what no synchronisation of this group sends.
    fn violated(&self, peer: PeerId) {
        let outlet = &self.parts.outlet;
        let what = "a message of the state synchronisation that cannot be read".to_owned();
        tracing::warn!(peer = %peer.fmt_short(), what, "violation");
        outlet.shared.metrics.violations.increment(1);
        outlet.shared.tell(Event::Violation { peer, what });
        outlet.inbox.tell(Command::Wish {
            slot: outlet.slot,
            wish: Wish::CloseBond {
                peer,
                code: ProtocolViolation::REASON.code,
            },
        });
    }
}
