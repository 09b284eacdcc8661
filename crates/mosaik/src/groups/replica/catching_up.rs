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
            index::Index,
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
    ) -> Result<(), Halted> {
        let position = meta.last;
        if self.durability == Durability::Disk && !self.initial.can_save() {
            // The state has to be on this member's disk before it counts as held.
            return Err(Halted::CannotSave);
        }
        // What an earlier session has begun to change, this one has to bring to an end.
        self.parts.touched &= self.catching_up.is_some();
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
        Ok(())
    }

    /// Whether a session has begun to change the state and has not come to its end, so that the
    /// state is good for nothing.
    pub(in crate::groups) const fn is_torn(&self) -> bool {
        self.catching_up.is_some() && self.parts.touched
    }

    /// The log has led beyond what a session was to reach: it is not needed any more. Not for a
    /// session that has changed the state already.
    pub(in crate::groups) fn abandon_before(&mut self, upto: Index) -> Option<CaughtUp> {
        let overtaken = |catching_up: &CatchingUp<M>| catching_up.target.index() < upto;
        if self.is_torn() || !self.catching_up.as_ref().is_some_and(overtaken) {
            return None;
        }
        let position = self.catching_up.take()?.position;
        self.is_partial = false;
        Some(CaughtUp {
            position,
            installed: false,
        })
    }

    /// The member goes on from its own log, in another lineage: what it was catching up with is of
    /// the one that it left.
    pub(in crate::groups) fn continue_lineage(&mut self, lineage: Digest) -> Result<(), Halted> {
        if let Some(digests) = &mut self.digests {
            digests.start_over(Some(lineage));
        }
        if self.is_torn() {
            let why = "the member went on from its own log while its state was being replaced by \
                       that of others; restart this node";
            return Err(Halted::Other(why.into()));
        }
        self.catching_up = None;
        self.is_partial = false;
        Ok(())
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
            // The program's code, and a peer's bytes: a panic is the peer's violation as well.
            Some((Kind::Program, said)) => {
                let decode = || deserialize::<Message<M::StateSync>>(said).ok();
                guarded("decoding a message", decode).ok().flatten()
            }
            Some((Kind::Digest, said)) if self.on_digest(peer, said) => return Ok(()),
            Some((Kind::Digest, _)) | None => None,
        };
        let Some(message) = message else {
            self.violated(peer);
            return Ok(());
        };
        let is_torn = self.is_torn();
        let Self {
            parts,
            provider,
            catching_up,
            ..
        } = self;
        guarded("state synchronisation", || {
            // What is half changed is nobody's to have.
            let answer = if is_torn {
                Err(message)
            } else {
                provider.receive(message, peer, parts)
            };
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
        let is_torn = self.is_torn();
        let Self {
            parts,
            provider,
            catching_up,
            ..
        } = self;
        let reached = guarded("state synchronisation", || {
            if !is_torn {
                // Ready or not, the provider is polled again.
                let _: Poll<()> = provider.poll(cx, parts);
            }
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
        self.parts.touched = false;
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
