//! One connection and the count of what uses it.

use {
    crate::PeerId,
    iroh::endpoint::Connection,
    parking_lot::Mutex,
    std::sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    tokio::time::Instant,
};

/// One connection to a peer.
#[derive(Debug)]
pub(crate) struct Conn {
    pub(super) connection: Connection,
    peer: PeerId,
    /// Whether this side dialled it.
    dialled: bool,
    /// Sub-streams and holds, both sides' that this side knows of.
    users: AtomicUsize,
    idle_since: Mutex<Instant>,
    /// Set when the peer was found silent.
    lost: AtomicBool,
    /// Set once the first valid header arrived, or from the start when this side dialled.
    greeted: AtomicBool,
    /// Bytes sent and received that the metrics have.
    counted: Mutex<(u64, u64)>,
}

impl Conn {
    pub(super) fn new(connection: Connection, dialled: bool) -> Arc<Self> {
        Arc::new(Self {
            peer: connection.remote_id(),
            connection,
            dialled,
            users: AtomicUsize::new(0),
            idle_since: Mutex::new(Instant::now()),
            lost: AtomicBool::new(false),
            greeted: AtomicBool::new(dialled),
            counted: Mutex::default(),
        })
    }

    pub(super) const fn peer(&self) -> PeerId {
        self.peer
    }

    /// The connection that both sides prefer for new sub-streams: the one the lower id dialled.
    pub(super) fn is_preferred(&self, local: PeerId) -> bool {
        self.dialled == (local < self.peer)
    }

    pub(super) fn is_open(&self) -> bool {
        self.connection.close_reason().is_none()
    }

    pub(super) fn in_use(&self) -> bool {
        self.users.load(Ordering::Acquire) > 0
    }

    /// Since when nothing uses it; meaningless while [`Conn::in_use`].
    pub(super) fn idle_since(&self) -> Instant {
        *self.idle_since.lock()
    }

    /// Bytes sent and received since this was last asked.
    pub(super) fn take_bytes(&self) -> (u64, u64) {
        let stats = self.connection.stats();
        let now = (stats.udp_tx.bytes, stats.udp_rx.bytes);
        let before = std::mem::replace(&mut *self.counted.lock(), now);
        (
            now.0.saturating_sub(before.0),
            now.1.saturating_sub(before.1),
        )
    }

    pub(super) fn set_lost(&self) {
        self.lost.store(true, Ordering::Release);
    }

    pub(super) fn is_lost(&self) -> bool {
        self.lost.load(Ordering::Acquire)
    }

    pub(super) fn set_greeted(&self) {
        self.greeted.store(true, Ordering::Release);
    }

    pub(super) fn is_greeted(&self) -> bool {
        self.greeted.load(Ordering::Acquire)
    }
}

/// Keeps a connection from being closed as unused, and watched for a silent peer.
#[derive(Debug)]
pub(crate) struct LinkUse(Arc<Conn>);

impl LinkUse {
    pub(super) fn new(conn: Arc<Conn>) -> Self {
        conn.users.fetch_add(1, Ordering::AcqRel);
        Self(conn)
    }

    pub(super) fn conn(&self) -> &Arc<Conn> {
        &self.0
    }

    /// The peer at the other end.
    pub(crate) fn peer(&self) -> PeerId {
        self.0.peer()
    }

    /// The transport's connection, for its statistics and keying material.
    pub(crate) fn connection(&self) -> &Connection {
        &self.0.connection
    }
}

impl Clone for LinkUse {
    fn clone(&self) -> Self {
        Self::new(Arc::clone(&self.0))
    }
}

impl Drop for LinkUse {
    fn drop(&mut self) {
        *self.0.idle_since.lock() = Instant::now();
        self.0.users.fetch_sub(1, Ordering::AcqRel);
    }
}
