//! [`Bond`] and [`Bonds`]: the peers this node shares a group with, as programs see them.
//!
//! A bond is no connection of its own: it is one group on the shared connection of a peer pair.
//! Making, proving and ending bonds is the driver's.

use {
    super::machine::StateMachine,
    crate::{PeerId, discovery::SignedPeerEntry, network::CloseReason},
    core::{fmt, future::Future, marker::PhantomData, time::Duration},
    iroh::endpoint::ApplicationClose,
    mosaik_primitives::{Digest, ShortFmtExt},
    parking_lot::Mutex,
    std::{collections::BTreeMap, sync::Arc},
    tokio::sync::watch,
};

/// What a bond's owner can do for it.
pub(crate) trait BondControl: Send + Sync {
    /// Ends the bond, telling the other side why. It has ended once its owner says so.
    fn close(&self, reason: ApplicationClose);

    /// The measured round trip of the connection.
    fn rtt(&self) -> Option<Duration>;
}

/// A peer as it described itself latest; all bonds with it share one.
#[derive(Debug)]
pub(crate) struct PeerCell(Mutex<Arc<SignedPeerEntry>>);

impl PeerCell {
    pub(crate) fn new(entry: Arc<SignedPeerEntry>) -> Arc<Self> {
        Arc::new(Self(Mutex::new(entry)))
    }

    /// The peer has a newer entry.
    pub(crate) fn set(&self, entry: Arc<SignedPeerEntry>) {
        *self.0.lock() = entry;
    }

    fn get(&self) -> Arc<SignedPeerEntry> {
        Arc::clone(&self.0.lock())
    }
}

/// The part of a bond that does not know the group's machine.
pub(crate) struct BondState {
    id: Digest,
    peer: Arc<PeerCell>,
    closed: watch::Sender<Option<ApplicationClose>>,
    control: Box<dyn BondControl>,
}

impl BondState {
    pub(crate) fn new(
        id: Digest,
        peer: Arc<PeerCell>,
        control: impl BondControl + 'static,
    ) -> Arc<Self> {
        Arc::new(Self {
            id,
            peer,
            closed: watch::Sender::new(None),
            control: Box::new(control),
        })
    }

    /// The bond has ended. The first reason stays.
    pub(crate) fn set_closed(&self, reason: ApplicationClose) {
        self.closed.send_if_modified(|closed| {
            let first = closed.is_none();
            if first {
                *closed = Some(reason);
            }
            first
        });
    }
}

/// A peer that has proven to be of the same group.
pub struct Bond<M: StateMachine> {
    state: Arc<BondState>,
    machine: PhantomData<fn() -> M>,
}

impl<M: StateMachine> Bond<M> {
    /// Ends the bond, telling the peer why; returns when it has ended. Members make lost bonds
    /// anew, so this keeps nobody out.
    ///
    /// Both sides learn the reason's number from [`Bond::terminated`]. Its text is not told: it is
    /// there for reasons that mosaik knows, and empty for others. A number that does not fit 32 bits
    /// becomes the largest that does.
    pub async fn close(self, reason: impl CloseReason) {
        let ended = self.terminated();
        self.state.control.close(reason.into());
        // How it ended does not matter to who ended it.
        drop(ended.await);
    }

    /// The peer, as it described itself latest.
    pub fn peer(&self) -> SignedPeerEntry {
        SignedPeerEntry::clone(&self.state.peer.get())
    }

    /// The bond's id, the same on both sides: exported from the connection's secrets, so another
    /// connection makes another bond.
    pub fn id(&self) -> Digest {
        self.state.id
    }

    /// The measured round trip to the peer, if there is a measurement.
    pub fn rtt(&self) -> Option<Duration> {
        self.state.control.rtt()
    }

    /// Whether the bond has ended.
    pub fn is_terminated(&self) -> bool {
        self.state.closed.borrow().is_some()
    }

    /// Resolves when the bond has ended, with the reason.
    pub fn terminated(
        &self,
    ) -> impl Future<Output = ApplicationClose> + Send + Sync + 'static + use<M> {
        let mut closed = self.state.closed.subscribe();
        let state = Arc::clone(&self.state);
        async move {
            let reason = match closed.wait_for(Option::is_some).await {
                Ok(reason) => reason.clone(),
                Err(_) => None,
            };
            // The sender lives in the state, which this future holds.
            drop(state);
            reason.expect("a bond that is held ends with a reason")
        }
    }
}

impl<M: StateMachine> Clone for Bond<M> {
    fn clone(&self) -> Self {
        Self {
            state: Arc::clone(&self.state),
            machine: PhantomData,
        }
    }
}

impl<M: StateMachine> fmt::Debug for Bond<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Bond")
            .field("id", &self.id().short())
            .field("peer", &self.state.peer.get().id())
            .field("terminated", &self.is_terminated())
            .finish()
    }
}

impl<M: StateMachine> fmt::Display for Bond<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let peer = *self.state.peer.get().id();
        write!(f, "Bond({} with {})", self.id().short(), peer.fmt_short())
    }
}

type Map = BTreeMap<PeerId, Arc<BondState>>;

/// The side that makes and removes a group's bonds.
pub(crate) struct BondsSender(watch::Sender<Arc<Map>>);

impl BondsSender {
    pub(crate) fn new() -> Self {
        Self(watch::Sender::new(Arc::default()))
    }

    pub(crate) fn insert(&self, peer: PeerId, bond: Arc<BondState>) {
        self.0.send_modify(|bonds| {
            Arc::make_mut(bonds).insert(peer, bond);
        });
    }

    pub(crate) fn remove(&self, peer: &PeerId) -> Option<Arc<BondState>> {
        let mut removed = None;
        self.0.send_if_modified(|bonds| {
            if bonds.contains_key(peer) {
                removed = Arc::make_mut(bonds).remove(peer);
            }
            removed.is_some()
        });
        removed
    }

    /// Ends all there are, for the same reason.
    pub(crate) fn end(&self, reason: &ApplicationClose) {
        for bond in self.0.send_replace(Arc::default()).values() {
            bond.set_closed(reason.clone());
        }
    }

    /// The bonds, as the users of a group with this machine see them.
    pub(crate) fn bonds<M: StateMachine>(&self) -> Bonds<M> {
        Bonds {
            bonds: Mutex::new(self.0.subscribe()),
            machine: PhantomData,
        }
    }
}

/// The bonds of a group on this node, as they are when asked.
pub struct Bonds<M: StateMachine> {
    /// Remembers what was looked at last.
    bonds: Mutex<watch::Receiver<Arc<Map>>>,
    machine: PhantomData<fn() -> M>,
}

impl<M: StateMachine> Bonds<M> {
    /// How many there are.
    pub fn len(&self) -> usize {
        self.now().len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.now().is_empty()
    }

    /// Whether there is one with this peer.
    pub fn contains_peer(&self, peer_id: &PeerId) -> bool {
        self.now().contains_key(peer_id)
    }

    /// All of them, as they are now, by peer.
    pub fn iter(&self) -> impl Iterator<Item = Bond<M>> + use<M> {
        let states: Vec<_> = self.now().values().map(Arc::clone).collect();
        states.into_iter().map(|state| Bond {
            state,
            machine: PhantomData,
        })
    }

    /// The ids of the peers, as they are now.
    pub(crate) fn peers(&self) -> Vec<PeerId> {
        self.now().keys().copied().collect()
    }

    /// The bonds, which count as looked at.
    fn now(&self) -> Arc<Map> {
        Arc::clone(&self.bonds.lock().borrow_and_update())
    }

    /// Resolves when a bond has been made or has ended since these bonds were last looked at or
    /// waited for: a loop that looks, and waits while it does not like what it sees, misses
    /// nothing. Stays pending once the group has ended on this node.
    pub async fn changed(&self) {
        let mut bonds = self.bonds.lock().clone();
        if bonds.changed().await.is_err() {
            core::future::pending::<()>().await;
        }
        *self.bonds.lock() = bonds;
    }

    /// The bond with this peer.
    pub fn get(&self, peer_id: &PeerId) -> Option<Bond<M>> {
        let state = self.now().get(peer_id).map(Arc::clone)?;
        Some(Bond {
            state,
            machine: PhantomData,
        })
    }
}

impl<M: StateMachine> Clone for Bonds<M> {
    fn clone(&self) -> Self {
        Self {
            bonds: Mutex::new(self.bonds.lock().clone()),
            machine: PhantomData,
        }
    }
}

impl<M: StateMachine> Default for Bonds<M> {
    /// No bonds, now or ever.
    fn default() -> Self {
        Self {
            bonds: Mutex::new(watch::Sender::new(Arc::default()).subscribe()),
            machine: PhantomData,
        }
    }
}

impl<M: StateMachine> fmt::Debug for Bonds<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}
