//! A consumer's coordinator: which producers it should be subscribed to, as entries change.

use {
    super::{
        builder::Shared,
        worker::{self, Target},
    },
    crate::{
        PeerId,
        discovery::{PeerEntryVersion, PeerInfo},
        primitives::Datum,
        tickets::Expiration,
    },
    std::{collections::HashMap, sync::Arc},
    tokio::sync::watch,
    tokio_util::task::AbortOnDropHandle,
};

/// A worker and what it was told last.
struct Worker {
    target: watch::Sender<Target>,
    version: PeerEntryVersion,
    _task: AbortOnDropHandle<()>,
}

/// Closes the queue when the coordinator ends, however it ends.
struct CloseQueue<D: Datum>(Arc<Shared<D>>);

impl<D: Datum> CloseQueue<D> {
    fn open(shared: Arc<Shared<D>>) -> Self {
        shared.meter.active.increment(1.0);
        Self(shared)
    }
}

impl<D: Datum> Drop for CloseQueue<D> {
    fn drop(&mut self) {
        self.0.meter.active.decrement(1.0);
        self.0.queue.close();
    }
}

/// Keeps a worker for every eligible producer until the consumer or its network ends.
pub(super) async fn run<D: Datum>(shared: Arc<Shared<D>>) {
    let _close = CloseQueue::open(Arc::clone(&shared));
    let discovery = shared.streams.0.discovery.clone();
    let mut catalog = discovery.catalog_watch();
    let mut workers: HashMap<PeerId, Worker> = HashMap::new();
    loop {
        let wanted: HashMap<PeerId, (PeerInfo, Expiration)> = {
            catalog.mark_unchanged();
            let wanted = |peer: PeerInfo| {
                let expiration = admit(&shared, &peer)?;
                Some((*peer.id(), (peer, expiration)))
            };
            let eligible = |peer: &PeerInfo| discovery.is_eligible(peer);
            discovery.infos().into_iter().filter(eligible).filter_map(wanted).collect()
        };
        workers.retain(|peer, _| wanted.contains_key(peer));
        for (peer, (info, expiration)) in wanted {
            let version = info.update_version();
            match workers.get_mut(&peer) {
                Some(worker) if worker.version == version => {}
                Some(worker) => {
                    worker.version = version;
                    worker.target.send_replace(Target { info, expiration });
                }
                None => {
                    let (target, targets) = watch::channel(Target { info, expiration });
                    let work = worker::run(Arc::clone(&shared), targets);
                    let _task = shared.streams.0.links.tasks().spawn_owned(work);
                    workers.insert(peer, Worker { target, version, _task });
                }
            }
        }
        if catalog.changed().await.is_err() {
            return;
        }
    }
}

/// Whether a peer produces the stream and is wanted; answers until when it is admitted.
fn admit<D: Datum>(shared: &Shared<D>, peer: &PeerInfo) -> Option<Expiration> {
    let config = &shared.config;
    if !peer.streams().contains(&config.stream_id) || !(config.require)(peer) {
        return None;
    }
    let expiration = peer.validate_tickets(&config.ticket_validators).ok()?;
    Some(expiration.unwrap_or(Expiration::Never))
}
