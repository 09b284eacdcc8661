//! [`Groups`]: the groups of one node.

use {
    super::{
        applier::Applier,
        builder::GroupBuilder,
        config::{Config, Durability, GroupConfig},
        driver::{Command, Driver, Inbox, random, wall_clock},
        error::Halted,
        handle::{Group, Inner as GroupInner},
        key::{GroupId, GroupKey},
        log_store::Storage,
        machine::StateMachine,
        metrics::Metrics,
        replica::{Outlet, Replica},
        setup::{Driven, Join, Shared},
        sync::LogReplaySync,
        when::When,
    },
    crate::{PeerId, discovery::Discovery, network::links::Links},
    core::{any::Any, fmt, time::Duration},
    mosaik_protocol::consensus::{self, GroupKeyId, PeerKey},
    mosaik_storage::DiskStore,
    parking_lot::Mutex,
    std::{
        collections::HashMap,
        sync::{
            Arc, Weak,
            atomic::{AtomicU32, Ordering},
        },
    },
    tokio::sync::oneshot,
};

/// Bytes of entries that a member may keep in memory whose log is cut: as many as can be handed out
/// and not applied yet, and be on the way to others. A log is cut where the core remembers the
/// place, and gets rid of what it keeps there.
const CACHE_BYTES: usize = 24 << 20;

/// Why a group is refused that is joined with another machine already.
const OTHER_MACHINE: &str = "this node has joined the group with a state machine of another type";

/// What a group's core runs with on this node.
fn core_config<M: StateMachine>(
    config: &GroupConfig,
    machine: &M,
    local: PeerId,
) -> consensus::Config {
    let mut core = consensus::Config::new(
        GroupKeyId(*config.group_id().as_bytes()),
        PeerKey(*local.as_bytes()),
        wall_clock().0,
        random(),
    );
    config.consensus().configure(&mut core);
    if !LogReplaySync::<M>::is_that_of_machine() {
        core.cache_bytes = CACHE_BYTES;
    }
    core.preference = machine.leadership_preference().into();
    core
}

/// Joins groups. Cheap to clone.
#[derive(Clone)]
pub struct Groups(Arc<Inner>);

struct Inner {
    links: Links,
    inbox: Arc<Inbox>,
    slots: Arc<AtomicU32>,
    /// How long leaving all groups may take.
    departure_window: Duration,
    /// Whether the node has a store.
    durable: bool,
    /// The handles there are, so that joining twice gives the same group.
    joined: Mutex<HashMap<GroupId, Joined>>,
}

/// A group that was joined, as long as there are handles of it.
struct Joined {
    group: Weak<dyn Any + Send + Sync>,
    shared: Weak<Shared>,
}

impl Joined {
    /// The group, unless it has ended: handles of one that was left or has stopped may outlive it.
    fn live(&self) -> Option<Arc<dyn Any + Send + Sync>> {
        let group = self.group.upgrade()?;
        let ended = *self.shared.upgrade()?.ended.borrow();
        (!ended).then_some(group)
    }
}

impl fmt::Debug for Groups {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Groups").finish_non_exhaustive()
    }
}

impl Groups {
    pub(crate) fn start(
        links: &Links,
        discovery: &Discovery,
        config: Config,
        departure_window: Duration,
        store: Option<DiskStore>,
    ) -> Self {
        let durable = store.is_some();
        let inbox = Arc::<Inbox>::default();
        let slots = Arc::<AtomicU32>::default();
        let driver = Driver::new(
            Arc::clone(&inbox),
            links,
            discovery,
            config,
            departure_window,
            Arc::clone(&slots),
            store,
        );
        links.tasks().spawn(driver.run());
        Self(Arc::new(Inner {
            links: links.clone(),
            inbox,
            slots,
            departure_window,
            durable,
            joined: Mutex::default(),
        }))
    }

    /// A group of all who hold this key, to be set up and joined.
    pub fn with_key(&self, key: impl Into<GroupKey>) -> GroupBuilder<'_> {
        GroupBuilder::new(self, key.into())
    }

    /// Leaves every group, within the departure window.
    pub(crate) async fn close(&self) {
        let (done, left) = oneshot::channel();
        if !self.0.inbox.tell(Command::Close(done)) {
            return;
        }
        // The driver ends each departure by itself; twice the time is for a busy machine.
        let patience = self.0.departure_window * 2;
        if tokio::time::timeout(patience, left).await.is_err() {
            tracing::debug!("some members may not know of the departure");
        }
    }

    pub(super) fn join<M, S>(&self, config: GroupConfig, machine: M, storage: S) -> Group<M>
    where
        M: StateMachine,
        S: Storage<M::Command>,
    {
        let id = *config.group_id();
        let mut joined = self.0.joined.lock();
        let refusal = match joined.get(&id).and_then(Joined::live) {
            None => None,
            Some(there) => match there.downcast::<GroupInner<M>>() {
                Ok(there) => return Group(there),
                // Its machine says that it is the same, and it is not.
                Err(_) => Some(Halted::Other(OTHER_MACHINE.into())),
            },
        };
        let refused = refusal.is_some();
        let group = Arc::new(self.start_group(config, machine, storage, refusal));
        if !refused {
            let known: Arc<dyn Any + Send + Sync> = Arc::clone(&group) as _;
            joined.retain(|_, joined| joined.group.strong_count() > 0);
            let (group, shared) = (Arc::downgrade(&known), Arc::downgrade(&group.shared));
            joined.insert(id, Joined { group, shared });
        }
        Group(group)
    }

    fn start_group<M: StateMachine>(
        &self,
        config: GroupConfig,
        machine: M,
        storage: impl Storage<M::Command>,
        refusal: Option<Halted>,
    ) -> GroupInner<M> {
        let Inner {
            links,
            inbox,
            slots,
            ..
        } = &*self.0;
        let (id, network) = (*config.group_id(), *links.network_id());
        let local = links.local_id();
        let slot = slots.fetch_add(1, Ordering::AcqRel);
        let shared = Arc::new(Shared::new(Metrics::new(&network, &id)));
        let applier = Arc::new(Applier::new(
            slot,
            Arc::clone(inbox),
            Arc::clone(&shared),
            links.tasks().clone(),
        ));
        let core = core_config(&config, &machine, local);
        let durable = self.0.durable;
        let config = Arc::new(if durable {
            config.with_durability(Durability::Disk)
        } else {
            config
        });
        let outlet = Outlet {
            slot,
            local,
            inbox: Arc::clone(inbox),
            shared: Arc::clone(&shared),
        };
        let replica = Replica::new(machine, storage, network, &config, outlet);
        let running = Arc::clone(&applier).run(replica);
        links.tasks().spawn(running);
        let join = Join {
            slot,
            config: Arc::clone(&config),
            core,
            durable,
            machine: Arc::clone(&applier) as _,
            shared: Driven::new(Arc::clone(&shared)),
        };
        match refusal {
            Some(why) => join.refuse(Some(why)),
            // Without a driver the group ends here and now.
            None => drop(inbox.tell(Command::Join(Box::new(join)))),
        }
        GroupInner {
            slot,
            local,
            config,
            when: When::new(
                local,
                shared.leadership.subscribe(),
                shared.progress.subscribe(),
            ),
            shared,
            applier,
            inbox: Arc::clone(inbox),
        }
    }
}
