//! A consumer's coordinator: which producers it should be subscribed to, as entries change.

use {
    super::{
        builder::Shared,
        nearness::{self, Measuring},
        worker::{self, Target},
    },
    crate::{
        PeerId,
        discovery::{Catalog, PeerEntryVersion, PeerInfo},
        primitives::Datum,
        tickets::Expiration,
    },
    core::time::Duration,
    mosaik_primitives::{Tag, UniqueId},
    std::{
        collections::{BTreeSet, HashMap, HashSet},
        sync::Arc,
    },
    tokio::{sync::watch, time::Instant},
    tokio_util::task::AbortOnDropHandle,
};

/// Round trips that change all the time are looked at this often.
const RTTS_CALM: Duration = Duration::from_millis(250);

/// A worker and what it was told last.
struct Worker {
    target: watch::Sender<Target>,
    /// The version of the entry it was told, unless the producer has gone since.
    version: Option<PeerEntryVersion>,
    #[expect(dead_code, reason = "held for what its drop does")]
    task: AbortOnDropHandle<()>,
}

impl Worker {
    fn is_expired(&self) -> bool {
        self.target.borrow().expiration.is_expired()
    }
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
    let mut rtts = discovery.rtts_watch();
    let mut rtts_looked_at = Instant::now();
    let mut credentials = Credentials::of(&catalog.borrow());
    let mut workers: HashMap<PeerId, Worker> = HashMap::new();
    let mut measuring = Measuring::new(discovery);
    loop {
        let now = Credentials::of(&catalog.borrow_and_update());
        rtts.mark_unchanged();
        let rtt_decides = look(&shared, &mut workers, &mut measuring);
        if credentials != now {
            credentials = now;
            // Who refused this node may accept it now.
            for worker in workers.values() {
                worker.target.send_modify(|_| {});
            }
        }
        tokio::select! {
            () = shared.streams.0.closing.cancelled() => return,
            changed = catalog.changed() => {
                if changed.is_err() {
                    return;
                }
            }
            // A worker whose producer was gone has ended, and its receiver with it: should the
            // producer be back already, it needs a new one.
            () = shared.look_again.notified() => {}
            () = calm_change(&mut rtts, rtts_looked_at), if rtt_decides => {
                rtts_looked_at = Instant::now();
            }
            never = measuring.run() => match never {},
        }
    }
}

/// Resolves when round trips have changed, some time after they were looked at last.
async fn calm_change(rtts: &mut watch::Receiver<()>, looked_at: Instant) {
    tokio::time::sleep_until(looked_at + RTTS_CALM).await;
    if rtts.changed().await.is_err() {
        // The catalog has ended as well, which is noticed there.
        std::future::pending::<()>().await;
    }
}

/// What this node shows to be admitted by others.
#[derive(PartialEq)]
struct Credentials {
    tags: BTreeSet<Tag>,
    tickets: BTreeSet<UniqueId>,
}

impl Credentials {
    fn of(catalog: &Catalog) -> Self {
        let local = catalog.local();
        Self {
            tags: local.tags().clone(),
            tickets: local.tickets().keys().copied().collect(),
        }
    }
}

/// Gives every producer that is wanted to its worker, and drops the workers of those that are
/// not any more. Answers whether that depends on how far away they are.
fn look<D: Datum>(
    shared: &Arc<Shared<D>>,
    workers: &mut HashMap<PeerId, Worker>,
    measuring: &mut Measuring,
) -> bool {
    let discovery = &shared.streams.0.discovery;
    let wanted = |peer: &PeerInfo| discovery.is_eligible(peer) && (shared.config.require)(peer);
    let mut gone: HashSet<PeerId> = workers.keys().copied().collect();
    let mut unmeasured = Vec::new();
    let mut rtt_decides = false;
    for peer in discovery.infos() {
        let id = *peer.id();
        if !peer.streams().contains(&shared.config.stream_id) {
            continue;
        }
        gone.remove(&id);
        let decides = nearness::decides(&peer, wanted);
        rtt_decides |= decides;
        let is_wanted = wanted(&peer);
        if let Some(expiration) = is_wanted.then(|| admit(shared, &peer)).flatten() {
            assign(shared, workers, peer, expiration);
            continue;
        }
        if let Some(worker) = workers.remove(&id) {
            // Says to the worker why it is dropped.
            worker.target.send_if_modified(|target| {
                target.expiration = Expiration::already_expired();
                false
            });
        }
        if decides && !is_wanted {
            unmeasured.push(peer);
        }
    }
    measuring.set(&unmeasured);
    workers.retain(|peer, worker| {
        if gone.contains(peer) {
            worker
                .target
                .send_if_modified(|target| std::mem::take(&mut target.advertised));
            worker.version = None;
        }
        !worker.target.is_closed()
    });
    rtt_decides
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
        Some(worker) if worker.version == version && !worker.is_expired() => {}
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

/// Until when a producer is admitted by its tickets, if it is.
fn admit<D: Datum>(shared: &Shared<D>, peer: &PeerInfo) -> Option<Expiration> {
    let validators = &shared.config.ticket_validators;
    let expiration = peer.validate_tickets(validators).ok()?;
    Some(expiration.unwrap_or(Expiration::Never))
}
