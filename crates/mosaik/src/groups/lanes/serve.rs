//! Opening and accepting lanes.

use {
    super::{
        reader::Reader,
        writer::{Flushes, LaneSender, Writer},
    },
    crate::{
        groups::link::Link,
        network::links::{Incoming, LinkError, Links, Protocol},
    },
    bytes::Bytes,
    iroh::{EndpointAddr, endpoint::SendStream},
    mosaik_primitives::{Digest, codec::Versioned},
    serde::{Deserialize, Serialize},
};

/// What a lane is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(crate) enum LaneKind {
    /// What the members of all groups say to each other.
    Main,
    /// What members fetch to catch up.
    Bulk,
}

impl LaneKind {
    /// Bytes queued for one lane at most. Holds twice what the core has on its way to one
    /// member, so that it is the core that holds back and not the queue that drops.
    const fn queue_bytes(self) -> usize {
        match self {
            Self::Main => 24 << 20,
            Self::Bulk => 32 << 20,
        }
    }
}

/// What the opener of a lane says first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Greeting {
    pub(crate) kind: LaneKind,
}

impl Versioned for Greeting {
    const VERSION: u16 = 1;
}

/// A lane that was opened: what queues frames, what writes them, and where.
#[derive(Debug)]
pub(crate) struct OpenedLane {
    pub(crate) sender: LaneSender,
    pub(crate) writer: Writer,
    pub(crate) send: SendStream,
    pub(crate) link: Link,
}

/// Opens a lane to a peer.
pub(crate) async fn open(
    links: &Links,
    peer: EndpointAddr,
    kind: LaneKind,
    flushes: &Flushes,
) -> Result<OpenedLane, LinkError> {
    let greeting = Greeting { kind }
        .to_versioned()
        .map_err(|_| LinkError::Malformed)?;
    let opened = links
        .open(peer, Protocol::Groups, Digest::zero(), greeting)
        .await?;
    // What is large is not written in the driver's own task.
    let flushes = (kind == LaneKind::Main).then(|| flushes.clone());
    let (sender, writer) = LaneSender::new(kind.queue_bytes(), flushes);
    Ok(OpenedLane {
        sender,
        writer,
        send: opened.send,
        link: Link::new(opened.link),
    })
}

/// Accepts a lane that a peer opened; `None` when the peer has gone.
pub(crate) async fn serve(incoming: Incoming) -> Option<(Reader, Link)> {
    let (mut send, recv, link) = incoming.accept(Bytes::new()).await?;
    // A lane goes one way. Fails only when the peer has gone.
    let _ = send.finish();
    Some((Reader::new(recv), Link::new(link)))
}
