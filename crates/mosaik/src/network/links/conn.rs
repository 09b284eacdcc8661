//! One connection and the count of what uses it.

use {
    super::share::Share,
    crate::{PeerId, network::transport::UNREAD_BYTES},
    iroh::endpoint::{Connection, VarInt},
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
    /// What the peer has of this node, this connection and its others together.
    share: Arc<Share>,
    windows: Mutex<Windows>,
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
    /// A connection whose sub-streams have windows of `window_bytes` each.
    pub(super) fn new(
        connection: Connection,
        dialled: bool,
        share: Arc<Share>,
        window_bytes: u32,
    ) -> Arc<Self> {
        Arc::new(Self {
            peer: connection.remote_id(),
            connection,
            dialled,
            share,
            windows: Mutex::new(Windows {
                each: window_bytes,
                used: 0,
                most: 0,
            }),
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

    pub(super) fn share(&self) -> &Share {
        &self.share
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

/// How many sub-streams have room within the connection's own receive window: those that this side
/// has opened or accepted.
///
/// The window never shrinks: QUIC takes nothing back that was granted, so what is granted anew
/// after shrinking would come on top.
#[derive(Debug)]
struct Windows {
    /// Bytes that one takes.
    each: u32,
    used: u32,
    /// The most there ever were at one time, for which room has been made.
    most: u32,
}

/// A sub-stream's room within its connection's receive window.
#[derive(Debug)]
struct Window(Arc<Conn>);

impl Window {
    fn open(conn: Arc<Conn>) -> Self {
        let mut windows = conn.windows.lock();
        windows.used += 1;
        if windows.used > windows.most {
            windows.most = windows.used;
            let bytes = UNREAD_BYTES + u64::from(windows.most) * u64::from(windows.each);
            let window = VarInt::from_u64(bytes).unwrap_or(VarInt::MAX);
            conn.connection.set_receive_window(window);
        }
        drop(windows);
        Self(conn)
    }
}

impl Drop for Window {
    fn drop(&mut self) {
        self.0.windows.lock().used -= 1;
    }
}

/// Keeps a connection from being closed as unused, and watched for a silent peer.
#[derive(Debug)]
pub(crate) struct LinkUse {
    conn: Arc<Conn>,
    /// That of the sub-stream it is for, if it is for one.
    window: Option<Arc<Window>>,
}

impl LinkUse {
    pub(super) fn new(conn: Arc<Conn>) -> Self {
        conn.users.fetch_add(1, Ordering::AcqRel);
        Self { conn, window: None }
    }

    /// The same, for a sub-stream whose unread bytes are to hold up no other.
    pub(super) fn with_window(mut self) -> Self {
        self.window = Some(Arc::new(Window::open(Arc::clone(&self.conn))));
        self
    }

    pub(super) fn conn(&self) -> &Arc<Conn> {
        &self.conn
    }

    /// The peer at the other end.
    pub(crate) fn peer(&self) -> PeerId {
        self.conn.peer()
    }

    /// The transport's connection, for its statistics and keying material.
    pub(crate) fn connection(&self) -> &Connection {
        &self.conn.connection
    }
}

impl Clone for LinkUse {
    fn clone(&self) -> Self {
        let mut clone = Self::new(Arc::clone(&self.conn));
        clone.window.clone_from(&self.window);
        clone
    }
}

impl Drop for LinkUse {
    fn drop(&mut self) {
        *self.conn.idle_since.lock() = Instant::now();
        self.conn.users.fetch_sub(1, Ordering::AcqRel);
    }
}
