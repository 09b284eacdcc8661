//! [`Links`]: the table of connections and the door to it.

use {
    super::{
        accept::{Incoming, Server},
        conn::{Conn, LinkUse},
        dial::Dials,
        error::LinkError,
        guests::{AlpnServer, Guests},
        header::{Answer, Header, Protocol, read_body},
        liveness,
        meter::Meter,
        share::Shares,
    },
    crate::{
        NetworkId, PeerId,
        network::{close, tasks::Tasks},
    },
    bytes::{BufMut, Bytes, BytesMut},
    core::{future::Future, time::Duration},
    iroh::{
        Endpoint, EndpointAddr,
        endpoint::{ConnectionError, RecvStream, SendStream, VarInt, WriteError},
    },
    mosaik_primitives::{Digest, Limits},
    parking_lot::{Mutex, MutexGuard, RwLock},
    std::{collections::HashMap, sync::Arc},
    tokio::sync::broadcast,
};

/// Events kept for a listener that lags; one that lags further reads [`Links::connected`] anew.
const EVENTS_BACKLOG: usize = 1024;

/// What a datagram on a link is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub(crate) enum DatagramKind {
    /// Asks the peer's transport for a sign of life; ignored by the peer's program.
    Ping = 0,
    /// Discovery's probes and their answers.
    Discovery = 1,
}

/// A change in who this node has a link with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LinkEvent {
    /// The first connection with the peer was made.
    Up(PeerId),
    /// The last connection with the peer was closed by either side.
    Closed(PeerId),
    /// The peer fell silent: its process or the path to it is gone.
    Lost(PeerId),
}

/// A sub-stream that the peer accepted.
#[derive(Debug)]
pub(crate) struct Opened {
    /// What the acceptor said first.
    pub(crate) reply: Bytes,
    pub(crate) send: SendStream,
    pub(crate) recv: RecvStream,
    /// Keeps the link while the sub-stream is in use.
    pub(crate) link: LinkUse,
}

type DatagramServer = Arc<dyn Fn(PeerId, Bytes) + Send + Sync>;

/// Every connection that there is.
#[derive(Default)]
pub(super) struct Table {
    links: HashMap<PeerId, Vec<Arc<Conn>>>,
    pub(super) guests: Guests,
    shares: Shares,
}

impl Table {
    /// Connections of all peers together.
    pub(super) fn total(&self) -> usize {
        self.links.values().map(Vec::len).sum::<usize>() + self.guests.total()
    }
}

pub(super) struct Inner {
    local_id: PeerId,
    /// Let go when the network closes: the transport keeps its socket as long as there is a
    /// handle, and programs keep theirs to producers and consumers.
    endpoint: RwLock<Option<Endpoint>>,
    pub(super) network_id: NetworkId,
    pub(super) limits: Limits,
    pub(super) tasks: Tasks,
    pub(super) table: Mutex<Table>,
    pub(super) dials: Dials,
    servers: RwLock<HashMap<Protocol, Server>>,
    pub(super) alpns: RwLock<HashMap<Vec<u8>, Arc<AlpnServer>>>,
    datagrams: RwLock<HashMap<u8, DatagramServer>>,
    events: broadcast::Sender<LinkEvent>,
    pub(super) meter: Meter,
}

/// The links of one network. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Links(pub(super) Arc<Inner>);

impl core::fmt::Debug for Links {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Links")
            .field("local_id", &self.local_id())
            .finish_non_exhaustive()
    }
}

impl Links {
    /// Takes over the endpoint: from now on it accepts connections.
    pub(crate) fn start(
        endpoint: Endpoint,
        network_id: NetworkId,
        limits: Limits,
        tasks: &Tasks,
    ) -> Self {
        let links = Self(Arc::new(Inner {
            local_id: endpoint.id(),
            endpoint: RwLock::new(Some(endpoint)),
            network_id,
            limits,
            tasks: tasks.clone(),
            table: Mutex::default(),
            dials: Dials::default(),
            servers: RwLock::default(),
            alpns: RwLock::default(),
            datagrams: RwLock::default(),
            events: broadcast::channel(EVENTS_BACKLOG).0,
            meter: Meter::new(&network_id),
        }));
        tasks.spawn(links.clone().accept_loop());
        tasks.spawn(liveness::watch(links.clone()));
        links
    }

    pub(crate) fn local_id(&self) -> PeerId {
        self.0.local_id
    }

    pub(crate) fn network_id(&self) -> &NetworkId {
        &self.0.network_id
    }

    /// The transport's endpoint; `None` once the network has closed. Not to be kept.
    pub(crate) fn endpoint(&self) -> Option<Endpoint> {
        self.0.endpoint.read().clone()
    }

    /// Closes every connection and lets go of the endpoint, which is the caller's to close.
    pub(crate) fn close(&self) -> Option<Endpoint> {
        let all = std::mem::take(&mut self.0.table.lock().links);
        for conn in all.values().flatten() {
            close(&conn.connection, close::GracefulShutdown::REASON);
        }
        self.0.alpns.write().clear();
        self.0.endpoint.write().take()
    }

    pub(crate) fn limits(&self) -> &Limits {
        &self.0.limits
    }

    pub(crate) fn tasks(&self) -> &Tasks {
        &self.0.tasks
    }

    /// Serves every sub-stream of `protocol` with `server`; each call runs as its own task.
    pub(crate) fn serve<F, Fut>(&self, protocol: Protocol, server: F)
    where
        F: Fn(Incoming) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = ()> + Send + 'static,
    {
        let server: Server = Arc::new(move |incoming| Box::pin(server(incoming)));
        self.0.servers.write().insert(protocol, server);
    }

    pub(super) fn server(&self, protocol: Protocol) -> Option<Server> {
        self.0.servers.read().get(&protocol).cloned()
    }

    /// Hands connections of another ALPN, which mosaik does not multiplex, to a server.
    pub(crate) fn serve_alpn(&self, alpn: &[u8], server: AlpnServer) {
        let server = Arc::new(server);
        let mut alpns = self.0.alpns.write();
        alpns.insert(alpn.to_vec(), server);
        let mut all: Vec<_> = alpns.keys().cloned().collect();
        all.push(crate::network::ALPN.to_vec());
        if let Some(endpoint) = self.endpoint() {
            endpoint.set_alpns(all);
        }
    }

    /// Calls `server` for every datagram of `kind`. It must not block.
    pub(crate) fn serve_datagrams(
        &self,
        kind: DatagramKind,
        server: impl Fn(PeerId, Bytes) + Send + Sync + 'static,
    ) {
        self.0
            .datagrams
            .write()
            .insert(kind as u8, Arc::new(server));
    }

    pub(super) fn datagram(&self, peer: PeerId, mut datagram: Bytes) {
        if datagram.is_empty() {
            return;
        }
        let kind = datagram.split_to(1)[0];
        let server = self.0.datagrams.read().get(&kind).cloned();
        if let Some(server) = server {
            server(peer, datagram);
        }
    }

    /// Sends a datagram over an existing link; `false` when there is none or the datagram does
    /// not fit. Delivery is not promised.
    pub(crate) fn send_datagram(&self, peer: &PeerId, kind: DatagramKind, payload: &[u8]) -> bool {
        let Some(conn) = self.best(peer) else {
            return false;
        };
        let mut datagram = BytesMut::with_capacity(1 + payload.len());
        datagram.put_u8(kind as u8);
        datagram.put_slice(payload);
        conn.connection.send_datagram(datagram.freeze()).is_ok()
    }

    /// News of links, from now on.
    pub(crate) fn events(&self) -> broadcast::Receiver<LinkEvent> {
        self.0.events.subscribe()
    }

    /// The peers this node has a link with.
    pub(crate) fn connected(&self) -> Vec<PeerId> {
        self.0.table.lock().links.keys().copied().collect()
    }

    /// Keeps an existing link from being closed as unused, and watched.
    pub(crate) fn hold(&self, peer: &PeerId) -> Option<LinkUse> {
        self.best(peer).map(LinkUse::new)
    }

    /// The transport's estimate of the round trip to a linked peer.
    pub(crate) fn rtt(&self, peer: &PeerId) -> Option<Duration> {
        let conn = self.best(peer)?;
        let paths = conn.connection.paths();
        let selected = paths.iter().find(iroh::endpoint::Path::is_selected)?;
        Some(selected.rtt())
    }

    /// Opens a sub-stream to `peer`, dialling it if there is no link.
    ///
    /// Resolves when the peer has accepted, with what it replied. Bounded by
    /// [`Limits::handshake_timeout`] for each of dialling and the answer.
    pub(crate) async fn open(
        &self,
        peer: impl Into<EndpointAddr>,
        protocol: Protocol,
        resource: Digest,
        greeting: Bytes,
    ) -> Result<Opened, LinkError> {
        let max = self.0.limits.greeting_bytes;
        if greeting.len() > max {
            return Err(LinkError::GreetingTooLarge {
                len: greeting.len(),
                max,
            });
        }
        let addr = peer.into();
        let header = Header {
            protocol,
            network: self.0.network_id,
            resource,
            greeting,
        }
        .encode();
        if let Some(link) = self.hold(&addr.id) {
            match self.open_on(link, header.clone()).await {
                // The link was closed as unused while we wanted it: the peer has accepted
                // nothing, so a new link is safe.
                Err(OpenOn::ConnectionEnded(_)) => {}
                Err(OpenOn::Failed(error)) => return Err(error),
                Ok(opened) => return Ok(opened),
            }
        }
        let link = self.dial(addr).await?;
        self.open_on(link, header)
            .await
            .map_err(|error| match error {
                OpenOn::ConnectionEnded(error) | OpenOn::Failed(error) => error,
            })
    }

    async fn open_on(&self, link: LinkUse, header: Bytes) -> Result<Opened, OpenOn> {
        let link = link.with_window();
        let limits = &self.0.limits;
        let exchange = async {
            let (mut send, mut recv) = link.connection().open_bi().await?;
            match send.write_chunk(header).await {
                // Who has refused reads no more of it, and has said why.
                Ok(()) | Err(WriteError::Stopped(_)) => {}
                Err(_) => return Err(ended(&link)),
            }
            // The answer may carry more than a greeting: a whole discovery entry, for one.
            match read_body(&mut recv, 1 + limits.reply_bytes).await {
                Ok(body) => Ok((send, recv, body)),
                Err(error) => Err(error.reset().map_or_else(
                    || ended(&link),
                    |reason| OpenOn::Failed(LinkError::refused(reason)),
                )),
            }
        };
        let (send, recv, body) = tokio::time::timeout(limits.handshake_timeout, exchange)
            .await
            .map_err(|_| OpenOn::Failed(LinkError::Timeout))??;
        match Answer::decode(&body) {
            Some(Answer::Accepted(reply)) => Ok(Opened {
                reply,
                send,
                recv,
                link,
            }),
            Some(Answer::Refused(reason)) => Err(OpenOn::Failed(LinkError::refused(reason))),
            None => Err(OpenOn::Failed(LinkError::Malformed)),
        }
    }

    /// The connection that new sub-streams to `peer` use.
    pub(super) fn best(&self, peer: &PeerId) -> Option<Arc<Conn>> {
        let table = self.0.table.lock();
        let mut open = table.links.get(peer)?.iter().filter(|conn| conn.is_open());
        let local = self.local_id();
        let first = open.next()?;
        Some(Arc::clone(
            open.find(|conn| conn.is_preferred(local))
                .filter(|_| !first.is_preferred(local))
                .unwrap_or(first),
        ))
    }

    /// Adds a connection to the table; `None` when the limits leave no room for it, in which
    /// case it is closed.
    pub(super) fn add(
        &self,
        connection: iroh::endpoint::Connection,
        dialled: bool,
    ) -> Option<Arc<Conn>> {
        let peer = connection.remote_id();
        let limits = &self.0.limits;
        let mut table = self.0.table.lock();
        let held = table.links.get(&peer).map_or(0, Vec::len);
        if table.total() >= limits.connections || held >= limits.connections_per_peer {
            drop(table);
            self.0.meter.refused("too-many-connections");
            close(&connection, close::TooManyConnections::REASON);
            return None;
        }
        let share = table.shares.of(peer, limits.substreams_per_peer);
        let conn = Conn::new(connection, dialled, share, limits.substream_window_bytes);
        let conns = table.links.entry(conn.peer()).or_default();
        conns.push(Arc::clone(&conn));
        if held == 0 {
            self.announce(LinkEvent::Up(conn.peer()), &table);
        }
        drop(table);
        self.0.meter.opened.increment(1);
        Some(conn)
    }

    pub(super) fn remove(&self, conn: &Arc<Conn>, error: &ConnectionError) {
        self.0.meter.bytes(conn);
        let mut table = self.0.table.lock();
        let Some(conns) = table.links.get_mut(&conn.peer()) else {
            return;
        };
        conns.retain(|other| !Arc::ptr_eq(other, conn));
        if !conns.is_empty() {
            return;
        }
        table.links.remove(&conn.peer());
        let lost =
            conn.is_lost() || matches!(error, ConnectionError::TimedOut | ConnectionError::Reset);
        let event = if lost {
            LinkEvent::Lost(conn.peer())
        } else {
            LinkEvent::Closed(conn.peer())
        };
        self.announce(event, &table);
    }

    /// Tells of a change while the table is still locked: the last that is told of a peer is then
    /// what is so.
    fn announce(&self, event: LinkEvent, _changed: &MutexGuard<'_, Table>) {
        // Nobody listening is fine: listeners read the table when they start.
        let _ = self.0.events.send(event);
    }

    pub(super) fn connections(&self) -> Vec<Arc<Conn>> {
        let table = self.0.table.lock();
        table.links.values().flatten().cloned().collect()
    }

    /// Whether the peer has spoken on another connection than this one.
    pub(super) fn speaks_elsewhere(&self, conn: &Arc<Conn>) -> bool {
        let table = self.0.table.lock();
        let others = table.links.get(&conn.peer()).into_iter().flatten();
        others
            .filter(|other| !Arc::ptr_eq(other, conn))
            .any(|other| other.is_greeted())
    }

    /// How many connections there are with `peer`.
    pub(super) fn connections_with(&self, peer: &PeerId) -> usize {
        let table = self.0.table.lock();
        table.links.get(peer).map_or(0, Vec::len)
    }
}

/// Why a sub-stream could not be opened on a given link.
enum OpenOn {
    /// The connection ended; the peer has not accepted the sub-stream.
    ConnectionEnded(LinkError),
    Failed(LinkError),
}

impl From<ConnectionError> for OpenOn {
    fn from(error: ConnectionError) -> Self {
        Self::ConnectionEnded(error.into())
    }
}

/// Why a sub-stream ended before its answer: with its connection, or alone.
fn ended(link: &LinkUse) -> OpenOn {
    match link.connection().close_reason() {
        Some(error) => OpenOn::from(error),
        None => OpenOn::Failed(LinkError::Malformed),
    }
}

pub(super) fn close(connection: &iroh::endpoint::Connection, reason: close::Reason) {
    connection.close(VarInt::from_u32(reason.code), reason.text.as_bytes());
}
