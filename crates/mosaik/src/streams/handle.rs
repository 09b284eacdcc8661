//! [`Streams`]: the streams of one node.

use {
    super::{
        StreamId,
        config::Config,
        producer::{Registered, server},
    },
    crate::{
        PeerId,
        discovery::Discovery,
        network::links::{Links, Protocol},
    },
    core::{any::TypeId, fmt},
    mosaik_primitives::ShortFmtExt,
    parking_lot::Mutex,
    std::{collections::HashMap, sync::Arc},
    tokio_util::{sync::CancellationToken, task::TaskTracker},
};

/// Makes producers and consumers. Cheap to clone.
#[derive(Clone)]
pub struct Streams(pub(super) Arc<Inner>);

pub(super) struct Inner {
    pub(super) links: Links,
    pub(super) discovery: Discovery,
    pub(super) config: Config,
    /// The producers of this node. A stream carries one type; should a program produce two
    /// types under one id, subscribers get the first.
    pub(super) producers: Mutex<HashMap<StreamId, Vec<(TypeId, Registered)>>>,
    /// Has a token for every subscription that is served: a producer's writers go on when its
    /// last handle is dropped, and the producer is not found here any more.
    pub(super) served: TaskTracker,
    /// Ends every consumer, and says that no producer can be opened any more.
    pub(super) closing: CancellationToken,
}

impl fmt::Debug for Streams {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Streams").finish_non_exhaustive()
    }
}

impl Streams {
    pub(crate) fn start(links: &Links, discovery: &Discovery, config: Config) -> Self {
        let streams = Self(Arc::new(Inner {
            links: links.clone(),
            discovery: discovery.clone(),
            config,
            producers: Mutex::default(),
            served: TaskTracker::new(),
            closing: CancellationToken::new(),
        }));
        // The links must not keep the streams, which keep the links.
        let weak = Arc::downgrade(&streams.0);
        links.serve(Protocol::Stream, move |incoming| {
            let streams = weak.upgrade().map(Self);
            async move {
                if let Some(streams) = streams {
                    server::subscribe(streams, incoming).await;
                }
            }
        });
        streams
    }

    /// Ends every consumer at once, closes every producer, and waits until subscribers have all
    /// that was accepted, by producers that were dropped before as well.
    pub(crate) async fn close(&self) {
        // Producers that are opened later are closed from the start.
        self.0.closing.cancel();
        let producers: Vec<_> = {
            let producers = self.0.producers.lock();
            producers
                .values()
                .flatten()
                .map(|(_, registered)| registered.clone())
                .collect()
        };
        for producer in &producers {
            producer.close();
        }
        self.0.served.close();
        self.0.served.wait().await;
    }

    pub(super) fn local_id(&self) -> PeerId {
        self.0.links.local_id()
    }

    /// The labels of a stream's metrics.
    pub(super) fn labels(&self, stream_id: &StreamId) -> [(&'static str, String); 2] {
        [
            ("network", self.0.links.network_id().short().to_string()),
            ("stream", stream_id.short().to_string()),
        ]
    }
}
