//! [`Transport`]: carries the catalog's messages and probes over the links.
//!
//! Nothing here decides anything: what arrives is queued for the driver within bounds, what is
//! sent is one sub-stream or datagram each, and failures are reported.

use {
    super::{
        Error, SignedPeerEntry,
        authority::node_key,
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
    iroh::{EndpointAddr, endpoint::RecvStream},
    mosaik_primitives::{Digest, codec},
    mosaik_protocol::catalog::Input,
    parking_lot::Mutex,
    std::{collections::HashMap, sync::Arc, time::Duration},
    tokio::{
        sync::{OwnedSemaphorePermit, Semaphore, mpsc},
        time::Instant,
    },
};

/// Inputs that wait for the driver; what does not fit is dropped, and its sender tries again.
const INBOX: usize = 1_024;
/// Bytes of messages that wait for the driver, and bytes that wait to be sent, in KiB.
const BUFFER_KIB: usize = 32 << 10;
/// What an item costs besides its bytes.
const ITEM_KIB: usize = 1;
/// A link to a probed peer is kept this long after the last probe.
const HOLD: Duration = Duration::from_secs(10);
/// A long message must have arrived by then.
const BODY_TIMEOUT: Duration = Duration::from_secs(10);

/// An input on its way to the driver, with the room that it takes.
#[derive(Debug)]
pub(super) struct Arrived {
    input: Input,
    room: Option<OwnedSemaphorePermit>,
}

impl Arrived {
    /// The input, and what gives its room back when dropped.
    pub(super) fn into_parts(self) -> (Input, Option<OwnedSemaphorePermit>) {
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
    incoming: Arc<Semaphore>,
    outgoing: Arc<Semaphore>,
    /// Links to peers that are probed; without these they would be closed as unused.
    held: Mutex<HashMap<PeerId, (LinkUse, Instant)>>,
}

impl Transport {
    /// Starts serving discovery's protocol; what arrives comes out of the receiver.
    pub(super) fn start(links: &Links, state: Arc<State>) -> (Self, mpsc::Receiver<Arrived>) {
        let (inbox, arrivals) = mpsc::channel(INBOX);
        let transport = Self(Arc::new(Inner {
            links: links.clone(),
            state,
            inbox,
            incoming: Arc::new(Semaphore::new(BUFFER_KIB)),
            outgoing: Arc::new(Semaphore::new(BUFFER_KIB)),
            held: Mutex::default(),
        }));
        // The links outlive us and are held by us: without weak references neither would end.
        let server = Arc::downgrade(&transport.0);
        links.serve(Protocol::Discovery, move |incoming| {
            let server = server.upgrade().map(Self);
            async move {
                if let Some(server) = server {
                    server.serve(incoming).await;
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

    /// Queues an input for the driver, or drops it where there is no room.
    pub(super) fn arrived(&self, input: Input) {
        self.queue(input, None);
    }

    fn queue(&self, input: Input, room: Option<OwnedSemaphorePermit>) {
        if self.0.inbox.try_send(Arrived { input, room }).is_err() {
            self.0.state.metrics.overloaded();
        }
    }

    async fn serve(&self, incoming: Incoming) {
        let peer = incoming.peer;
        match Greeting::decode(&incoming.greeting) {
            Some(Greeting::Message(bytes)) => {
                let Some(room) = room(&self.0.incoming, bytes.len()) else {
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
        let Some(room) = room(&self.0.incoming, len) else {
            self.0.state.metrics.overloaded();
            return incoming.refuse(TooManyConnections).await;
        };
        let peer = incoming.peer;
        let Some((mut send, mut recv, _link)) = incoming.accept(Bytes::new()).await else {
            return;
        };
        let body = tokio::time::timeout(BODY_TIMEOUT, read_exactly(&mut recv, len)).await;
        if let Ok(Some(bytes)) = body {
            self.queue(
                Input::Message {
                    from: node_key(&peer),
                    bytes,
                },
                Some(room),
            );
            // Tells the sender that it may let go of the stream; it may have gone.
            let _ = send.finish();
        }
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
                self.arrived(Input::ProbeAck {
                    peer: node_key(&peer),
                    nonce,
                });
            }
            None => self.0.state.metrics.violation(),
        }
    }

    /// Sends a message in the background.
    pub(super) fn send(&self, peer: PeerId, bytes: Bytes) {
        let Some(room) = room(&self.0.outgoing, bytes.len()) else {
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
        match tokio::time::timeout(BODY_TIMEOUT, body).await {
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
        let Some(room) = room(&self.0.outgoing, 0) else {
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
        // The semaphore is never closed.
        let _ = self.0.outgoing.acquire_many(BUFFER_KIB as u32).await;
    }

    /// Lets go of everything that keeps links in use.
    pub(super) fn close(&self) {
        self.0.held.lock().clear();
    }
}

/// Room for so many bytes in a buffer, if there is.
fn room(buffer: &Arc<Semaphore>, bytes: usize) -> Option<OwnedSemaphorePermit> {
    let kib = bytes.div_ceil(1 << 10) + ITEM_KIB;
    let kib = u32::try_from(kib).ok()?;
    Arc::clone(buffer).try_acquire_many_owned(kib).ok()
}

/// Reads exactly `len` bytes and the stream's end; `None` for anything else.
async fn read_exactly(recv: &mut RecvStream, len: usize) -> Option<Bytes> {
    let mut bytes = BytesMut::with_capacity(len.min(64 << 10));
    while let Some(chunk) = recv.read_chunk(64 << 10).await.ok()? {
        if bytes.len() + chunk.len() > len {
            return None;
        }
        bytes.extend_from_slice(&chunk);
    }
    (bytes.len() == len).then(|| bytes.freeze())
}
