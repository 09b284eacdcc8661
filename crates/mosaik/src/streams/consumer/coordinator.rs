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
    std::{
        collections::{HashMap, HashSet},
        sync::Arc,
    },
    tokio::sync::watch,
    tokio_util::task::AbortOnDropHandle,
};

/// A worker and what it was told last.
struct Worker {
    target: watch::Sender<Target>,
    /// The version of the entry it was told, unless the producer has gone since.
    version: Option<PeerEntryVersion>,
    #[expect(dead_code, reason = "held for what its drop does")]
    task: AbortOnDropHandle<()>,
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
///
/// Discovery says whom to ask; it does not end what works. A producer that has left the catalog
/// or no longer advertises the stream ends its subscriptions itself, after the last item, or its
/// link is lost. Only one that is no longer admitted is cut off from here.
pub(super) async fn run<D: Datum>(shared: Arc<Shared<D>>) {
    let _close = CloseQueue::open(Arc::clone(&shared));
    let discovery = shared.streams.0.discovery.clone();
    let mut catalog = discovery.catalog_watch();
    let mut workers: HashMap<PeerId, Worker> = HashMap::new();
    loop {
        catalog.mark_unchanged();
        let mut gone: HashSet<PeerId> = workers.keys().copied().collect();
        for peer in discovery.infos() {
            let id = *peer.id();
            if !peer.streams().contains(&shared.config.stream_id) {
                continue;
            }
            gone.remove(&id);
            match admit(&shared, &peer) {
                Some(expiration) => assign(&shared, &mut workers, peer, expiration),
                None => drop(workers.remove(&id)),
            }
        }
        workers.retain(|peer, worker| {
            if gone.contains(peer) {
                worker
                    .target
                    .send_if_modified(|target| std::mem::take(&mut target.advertised));
                worker.version = None;
            }
            !worker.target.is_closed()
        });
        tokio::select! {
            changed = catalog.changed() => {
                if changed.is_err() {
                    return;
                }
            }
            // A worker whose producer was gone has ended, and its receiver with it: should the
            // producer be back already, it needs a new one.
            () = shared.worker_ended.notified() => {}
        }
    }
}

/// Gives a producer to its worker, making one where there is none.
fn assign<D: Datum>(
    shared: &Arc<Shared<D>>,
    workers: &mut HashMap<PeerId, Worker>,
    info: PeerInfo,
    expiration: Expiration,
) {
    let id = *info.id();
    let version = Some(info.update_version());
    let target = Target {
        info,
        expiration,
        advertised: true,
    };
    match workers
        .get_mut(&id)
        .filter(|worker| !worker.target.is_closed())
    {
        Some(worker) if worker.version == version => {}
        Some(worker) => {
            worker.version = version;
            worker.target.send_replace(target);
        }
        None => {
            let (target, targets) = watch::channel(target);
            let work = worker::run(Arc::clone(shared), targets);
            let task = shared.streams.0.links.tasks().spawn_owned(work);
            workers.insert(
                id,
                Worker {
                    target,
                    version,
                    task,
                },
            );
        }
    }
}

/// Whether a producer is wanted; answers until when it is admitted.
fn admit<D: Datum>(shared: &Shared<D>, peer: &PeerInfo) -> Option<Expiration> {
    let config = &shared.config;
    if !shared.streams.0.discovery.is_eligible(peer) || !(config.require)(peer) {
        return None;
    }
    let expiration = peer.validate_tickets(&config.ticket_validators).ok()?;
    Some(expiration.unwrap_or(Expiration::Never))
}
