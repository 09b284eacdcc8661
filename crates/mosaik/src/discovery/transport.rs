//! [`Transport`]: carries the catalog's messages and probes over the links.
//!
//! Nothing here decides anything: what arrives is queued for the driver within bounds, what is
//! sent is one sub-stream or datagram each, and failures are reported.

use {
    super::{
        Error, SignedPeerEntry,
        authority::node_key,
        room::{Buffer, Room},
        state::State,
        wire::{Datagram, Greeting},
    },
    crate::{
        PeerId,
        network::{
            close::{ProtocolViolation, TooManyConnections},
            links::{DatagramKind, Incoming, LinkError, LinkUse, Links, Protocol},
        },
    },
    bytes::{Bytes, BytesMut},
    iroh::{
        EndpointAddr,
        endpoint::{RecvStream, VarInt},
    },
    mosaik_primitives::{Digest, codec},
    mosaik_protocol::catalog::Input,
    parking_lot::Mutex,
    std::{collections::HashMap, sync::Arc, time::Duration},
    tokio::{sync::mpsc, time::Instant},
};

/// Inputs that wait for the driver; what does not fit is dropped, and its sender tries again.
const INBOX: usize = 1_024;
/// A link to a probed peer is kept this long after the last probe.
const HOLD: Duration = Duration::from_secs(10);
/// Whatever is said on a sub-stream must have been said, and a long message have arrived, by then.
const EXCHANGE_TIMEOUT: Duration = Duration::from_secs(10);
/// Read from a stream at one time, at most.
const CHUNK_BYTES: usize = 64 << 10;
/// A long message's stream is reset with this when the message was not taken.
const NOT_TAKEN: VarInt = VarInt::from_u32(1);

/// An input on its way to the driver, with the room that it takes.
#[derive(Debug)]
pub(super) struct Arrived {
    input: Input,
    room: Option<Room>,
}

impl Arrived {
    /// The input, and what gives its room back when dropped.
    pub(super) fn into_parts(self) -> (Input, Option<Room>) {
        (self.input, self.room)
    }
}

/// Discovery's side of the links. Cheap to clone.
#[derive(Clone)]
pub(super) struct Transport(Arc<Inner>);

struct Inner {
    links: Links,
    state: Arc<State>,
    inbox: mpsc::Sender<Arrived>,
    incoming: Buffer,
    outgoing: Buffer,
    /// Links to peers that are probed; without these they would be closed as unused.
    held: Mutex<HashMap<PeerId, (LinkUse, Instant)>>,
}

impl Transport {
    /// Starts serving discovery's protocol; what arrives comes out of the receiver.
    pub(super) fn start(links: &Links, state: Arc<State>) -> (Self, mpsc::Receiver<Arrived>) {
        let (inbox, arrivals) = mpsc::channel(INBOX);
        let max = state.max_message_bytes;
        let transport = Self(Arc::new(Inner {
            links: links.clone(),
            state,
            inbox,
            incoming: Buffer::new(max),
            outgoing: Buffer::new(max),
            held: Mutex::default(),
        }));
        // The links outlive us and are held by us: without weak references neither would end.
        let server = Arc::downgrade(&transport.0);
        links.serve(Protocol::Discovery, move |incoming| {
            let server = server.upgrade().map(Self);
            async move {
                if let Some(server) = server {
                    // Whoever needs longer does not get what it asked for.
                    let _ = tokio::time::timeout(EXCHANGE_TIMEOUT, server.serve(incoming)).await;
                }
            }
        });
        let server = Arc::downgrade(&transport.0);
        links.serve_datagrams(DatagramKind::Discovery, move |peer, bytes| {
            if let Some(server) = server.upgrade() {
                Self(server).datagram(peer, &bytes);
            }
        });
        (transport, arrivals)
    }

    pub(super) fn links(&self) -> &Links {
        &self.0.links
    }

    /// Queues what became of something that was sent, or drops it where there is no room.
    fn arrived(&self, input: Input) {
        self.queue(input, None);
    }

    /// Queues an input that a peer caused, of so many bytes, within the peer's share.
    pub(super) fn received(&self, peer: PeerId, bytes: usize, input: Input) {
        match self.0.incoming.take(peer, bytes) {
            Some(room) => self.queue(input, Some(room)),
            None => self.0.state.metrics.overloaded(),
        }
    }

    fn queue(&self, input: Input, room: Option<Room>) {
        if self.0.inbox.try_send(Arrived { input, room }).is_err() {
            self.0.state.metrics.overloaded();
        }
    }

    async fn serve(&self, incoming: Incoming) {
        let peer = incoming.peer;
        match Greeting::decode(&incoming.greeting) {
            Some(Greeting::Message(bytes)) => {
                let Some(room) = self.0.incoming.take(peer, bytes.len()) else {
                    self.0.state.metrics.overloaded();
                    return incoming.refuse(TooManyConnections).await;
                };
                let input = Input::Message {
                    from: node_key(&peer),
                    bytes,
                };
                self.queue(input, Some(room));
                // Nothing depends on the sender's learning it.
                let _ = incoming.accept(Bytes::new()).await;
            }
            Some(Greeting::LongMessage { len }) => self.serve_long(incoming, len as usize).await,
            Some(Greeting::Probe) => {
                // An asker that has gone needs no answer; so below.
                let _ = incoming.accept(Bytes::new()).await;
            }
            Some(Greeting::WhoAreYou) => {
                let _ = incoming.accept(self.0.state.me().encode()).await;
            }
            None => {
                self.0.state.metrics.violation();
                incoming.refuse(ProtocolViolation).await;
            }
        }
    }

    async fn serve_long(&self, incoming: Incoming, len: usize) {
        if len > self.0.state.max_message_bytes {
            self.0.state.metrics.violation();
            return incoming.refuse(ProtocolViolation).await;
        }
        let peer = incoming.peer;
        let Some(mut room) = self.0.incoming.take(peer, 0) else {
            self.0.state.metrics.overloaded();
            return incoming.refuse(TooManyConnections).await;
        };
        let Some((mut send, mut recv, _link)) = incoming.accept(Bytes::new()).await else {
            return;
        };
        let Some(bytes) = self.read_exactly(&mut recv, len, &mut room).await else {
            // Otherwise the sender would take it for delivered; it may have gone.
            let _ = send.reset(NOT_TAKEN);
            return;
        };
        let from = node_key(&peer);
        self.queue(Input::Message { from, bytes }, Some(room));
        // Tells the sender that it may let go of the stream; it may have gone.
        let _ = send.finish();
    }

    /// Reads exactly `len` bytes and the stream's end, into room that is taken as they come; `None`
    /// for anything else.
    async fn read_exactly(
        &self,
        recv: &mut RecvStream,
        len: usize,
        room: &mut Room,
    ) -> Option<Bytes> {
        let mut bytes = BytesMut::new();
        while let Some(chunk) = recv.read_chunk(CHUNK_BYTES).await.ok()? {
            let read = bytes.len() + chunk.len();
            if read > len {
                return None;
            }
            if !room.grow_to(read) {
                self.0.state.metrics.overloaded();
                return None;
            }
            bytes.extend_from_slice(&chunk);
        }
        (bytes.len() == len).then(|| bytes.freeze())
    }

    fn datagram(&self, peer: PeerId, bytes: &[u8]) {
        match Datagram::decode(bytes) {
            Some(Datagram::Probe(nonce)) => {
                let answer = Datagram::Answer(nonce).encode();
                // A lost answer is asked for again.
                self.0
                    .links
                    .send_datagram(&peer, DatagramKind::Discovery, &answer);
            }
            Some(Datagram::Answer(nonce)) => {
                let input = Input::ProbeAck {
                    peer: node_key(&peer),
                    nonce,
                };
                self.received(peer, 0, input);
            }
            None => self.0.state.metrics.violation(),
        }
    }

    /// Sends a message in the background.
    pub(super) fn send(&self, peer: PeerId, bytes: Bytes) {
        let Some(room) = self.0.outgoing.take(peer, bytes.len()) else {
            self.0.state.metrics.overloaded();
            return;
        };
        let transport = self.clone();
        self.0.links.tasks().spawn(async move {
            if let Err(error) = transport.deliver(peer, bytes).await {
                tracing::debug!(peer = %peer.fmt_short(), %error, "message not delivered");
                transport.arrived(Input::Unreachable(node_key(&peer)));
            }
            drop(room);
        });
    }

    async fn deliver(&self, peer: PeerId, message: Bytes) -> Result<(), LinkError> {
        let links = &self.0.links;
        if Greeting::OVERHEAD + message.len() <= links.limits().greeting_bytes {
            return self.open(peer, Greeting::Message(message)).await.map(drop);
        }
        let len = message.len() as u32;
        let mut opened = self.open(peer, Greeting::LongMessage { len }).await?.1;
        let body = async {
            opened.send.write_chunk(message).await.ok()?;
            opened.send.finish().ok()?;
            // Ends when the peer has read it all and finished its side.
            opened.recv.read_to_end(0).await.ok()
        };
        match tokio::time::timeout(EXCHANGE_TIMEOUT, body).await {
            Ok(Some(_)) => Ok(()),
            Ok(None) => Err(LinkError::Lost("the message was not taken".into())),
            Err(_) => Err(LinkError::Timeout),
        }
    }

    /// Probes a peer: over its link if there is one, else by making one.
    pub(super) fn probe(&self, peer: PeerId, nonce: u64) {
        let datagram = Datagram::Probe(nonce).encode();
        if self
            .0
            .links
            .send_datagram(&peer, DatagramKind::Discovery, &datagram)
        {
            return self.hold(peer);
        }
        let Some(room) = self.0.outgoing.take(peer, 0) else {
            return;
        };
        let transport = self.clone();
        self.0.links.tasks().spawn(async move {
            let input = match transport.open(peer, Greeting::Probe).await {
                // Its round trip would count the dial.
                Ok(_) => {
                    transport.hold(peer);
                    Input::Heard(node_key(&peer))
                }
                Err(_) => Input::Unreachable(node_key(&peer)),
            };
            transport.arrived(input);
            drop(room);
        });
    }

    fn hold(&self, peer: PeerId) {
        let now = Instant::now();
        let mut held = self.0.held.lock();
        held.retain(|_, (_, last)| now.duration_since(*last) < HOLD);
        match held.get_mut(&peer) {
            Some((link, last)) if link.connection().close_reason().is_none() => *last = now,
            _ => {
                if let Some(link) = self.0.links.hold(&peer) {
                    held.insert(peer, (link, now));
                }
            }
        }
    }

    /// Lets go of links to peers that are no longer probed.
    pub(super) fn release_links(&self) {
        let now = Instant::now();
        self.0
            .held
            .lock()
            .retain(|_, (_, last)| now.duration_since(*last) < HOLD);
    }

    /// Asks a peer for its own entry.
    pub(super) async fn who_are_you(
        &self,
        peer: impl Into<EndpointAddr>,
    ) -> Result<SignedPeerEntry, Error> {
        let (peer, opened) = self
            .open(peer, Greeting::WhoAreYou)
            .await
            .map_err(Error::Link)?;
        let max = self.0.links.limits().entry_bytes;
        let entry: SignedPeerEntry =
            codec::decode_bounded(&opened.reply, max).map_err(|_| Error::InvalidSignature)?;
        if *entry.id() != peer {
            return Err(Error::PeerIdChanged(peer, *entry.id()));
        }
        let local_network = *self.0.links.network_id();
        if *entry.network_id() != local_network {
            let remote_network = *entry.network_id();
            return Err(Error::DifferentNetwork {
                local_network,
                remote_network,
            });
        }
        Ok(entry)
    }

    async fn open(
        &self,
        peer: impl Into<EndpointAddr>,
        greeting: Greeting,
    ) -> Result<(PeerId, crate::network::links::Opened), LinkError> {
        let address = peer.into();
        let peer = address.id;
        let resource = Digest::zero();
        let links = &self.0.links;
        let opened = links
            .open(address, Protocol::Discovery, resource, greeting.encode())
            .await?;
        Ok((peer, opened))
    }

    /// Resolves when nothing waits to be sent.
    pub(super) async fn flushed(&self) {
        self.0.outgoing.emptied().await;
    }

    /// Lets go of everything that keeps links in use.
    pub(super) fn close(&self) {
        self.0.held.lock().clear();
    }
}
