//! The demo's group: three of its nodes count the readings they get, and the one that leads is
//! killed on the way. What was counted must not be lost by that.

use {
    super::{
        super::failure::Failure,
        board::GroupSample,
        home::Home,
        nodes::{PATIENCE, Tally},
    },
    core::time::Duration,
    mosaik::{
        Group, GroupKey, Network, Strong, UniqueId, Weak,
        groups::{ApplyContext, ConsensusConfig, LogReplaySync, StateMachine},
    },
    serde::{Deserialize, Serialize},
    std::{
        collections::BTreeMap,
        ops::Range,
        sync::{
            Arc, Mutex, PoisonError,
            atomic::{AtomicU64, Ordering},
        },
        time::Instant,
    },
    tokio::time::{sleep, timeout},
};

/// The nodes that are members, where there are so many: the first that receive.
pub(crate) const MEMBERS: Range<usize> = 1..4;
/// Between two counts of a member.
const COUNT: Duration = Duration::from_millis(20);

/// A member has received so many readings.
#[derive(Clone, Serialize, Deserialize)]
struct Received {
    member: usize,
    readings: u64,
}

/// What every member has received. Being told the same twice changes nothing.
#[derive(Default)]
struct Counts(BTreeMap<usize, u64>);

impl StateMachine for Counts {
    type Command = Received;
    type Query = ();
    type QueryResult = BTreeMap<usize, u64>;
    type StateSync = LogReplaySync<Self>;

    fn signature(&self) -> UniqueId {
        UniqueId::from("mosaik.demo.counts")
    }

    fn apply(&mut self, received: Received, _: &dyn ApplyContext) {
        let count = self.0.entry(received.member).or_default();
        *count = received.readings.max(*count);
    }

    fn query(&self, (): ()) -> BTreeMap<usize, u64> {
        self.0.clone()
    }

    fn state_sync(&self) -> LogReplaySync<Self> {
        LogReplaySync::default()
    }
}

/// The leader's end, and what came after it.
#[derive(Clone, Copy, Debug)]
struct Killed {
    node: usize,
    /// Who led at the next count that was committed, and how long that took.
    takeover: Option<(usize, Duration)>,
}

/// One node's part in it.
struct Member {
    node: usize,
    home: Arc<Home>,
    group: Group<Counts>,
    tally: Arc<Tally>,
    /// Readings that the group has said it counted for this member.
    acknowledged: Arc<AtomicU64>,
}

/// The group as all its members' nodes see it.
pub(crate) struct Counting {
    members: Vec<Member>,
    /// The most that any member has seen counted, all members together.
    counted: Arc<AtomicU64>,
    killed: Mutex<Option<Killed>>,
}

/// What came of it.
pub(crate) struct GroupReport {
    /// Readings counted, all members together.
    pub(crate) counted: u64,
    /// The node that was killed.
    pub(crate) killed: Option<usize>,
    /// Who took over, and how long after.
    pub(crate) takeover: Option<(usize, Duration)>,
    /// What is wrong with the counts.
    pub(crate) fault: Option<String>,
}

impl Counting {
    /// Forms the group of those nodes that have a home of their own.
    pub(crate) async fn start(
        nodes: impl Iterator<Item = (usize, &Network, &Arc<Home>, &Arc<Tally>)>,
    ) -> Result<Self, Failure> {
        let key = GroupKey::random();
        let nodes: Vec<_> = nodes.collect();
        // Founded by all together: its machine cannot start over, as it would have to where members
        // of a slow machine found apart and meet.
        let consensus = ConsensusConfig::builder()
            .with_min_voters(nodes.len().max(1) as u32)
            .build()
            .map_err(|error| Failure::new(error.to_string()))?;
        let mut members = Vec::new();
        for (node, network, home, tally) in nodes {
            let groups = network.groups().clone();
            let consensus = consensus.clone();
            let join = async move {
                let builder = groups.with_key(key).with_consensus_config(consensus);
                builder.with_state_machine(Counts::default()).join()
            };
            members.push(Member {
                node,
                home: Arc::clone(home),
                group: home.run(join).await?,
                tally: Arc::clone(tally),
                acknowledged: Arc::default(),
            });
        }
        Ok(Self {
            members,
            counted: Arc::default(),
            killed: Mutex::new(None),
        })
    }

    /// Resolves when every member can have something counted; counting begins then.
    pub(crate) async fn online(&self) {
        for member in &self.members {
            member.group.when().online().await;
        }
        for member in &self.members {
            let counting = count(
                member.group.clone(),
                member.node,
                Arc::clone(&member.tally),
                Arc::clone(&member.acknowledged),
                Arc::clone(&self.counted),
            );
            // Ends with its home.
            drop(member.home.spawn(counting));
        }
    }

    /// Kills the leader, and waits until the others have counted again.
    pub(crate) async fn strike(&self) {
        let Some(first) = self.members.first() else {
            return;
        };
        let elected = timeout(PATIENCE, first.group.when().leader_elected()).await;
        let leads = |member: &&Member| member.group.is_leader();
        let Some(leader) = self.members.iter().find(leads).filter(|_| elected.is_ok()) else {
            return;
        };
        leader.home.kill();
        let at = Instant::now();
        self.set_killed(Killed {
            node: leader.node,
            takeover: None,
        });
        let Some(member) = self.alive().next() else {
            return;
        };
        while at.elapsed() < PATIENCE {
            let again = Received {
                member: member.node,
                readings: member.acknowledged.load(Ordering::Relaxed),
            };
            if member.group.execute(again).await.is_ok() {
                let takeover = self.leader().map(|leader| (leader, at.elapsed()));
                self.set_killed(Killed {
                    node: leader.node,
                    takeover,
                });
                return;
            }
        }
    }

    /// The node that was killed.
    pub(crate) fn killed(&self) -> Option<usize> {
        self.kill().map(|killed| killed.node)
    }

    /// What can be shown.
    pub(crate) fn sample(&self) -> Option<GroupSample> {
        self.members.first()?;
        let killed = self.kill();
        Some(GroupSample {
            counted: self.counted.load(Ordering::Relaxed),
            leader: self.leader(),
            killed: killed.map(|killed| killed.node),
            takeover: killed
                .and_then(|killed| killed.takeover)
                .map(|(_, took)| took),
        })
    }

    /// Waits until all that was received is counted, and checks the counts.
    pub(crate) async fn report(&self) -> Option<GroupReport> {
        let member = self.alive().next()?;
        let all_counted = async {
            let is_done = |member: &Member| {
                member.acknowledged.load(Ordering::Relaxed)
                    >= member.tally.items.load(Ordering::Relaxed)
            };
            while !self.alive().all(is_done) {
                sleep(COUNT).await;
            }
        };
        let in_time = timeout(PATIENCE, all_counted).await.is_ok();
        let counts = member.group.query((), Strong).await;
        let fault = match &counts {
            _ if !in_time => Some("not everything was counted in time".to_owned()),
            Ok(counts) => self.fault(counts),
            Err(error) => Some(error.to_string()),
        };
        let killed = self.kill();
        Some(GroupReport {
            counted: counts.map_or(0, |counts| counts.values().sum()),
            killed: killed.map(|killed| killed.node),
            takeover: killed.and_then(|killed| killed.takeover),
            fault,
        })
    }

    /// What is wrong with the counts, if anything is.
    fn fault(&self, counts: &BTreeMap<usize, u64>) -> Option<String> {
        self.members.iter().find_map(|member| {
            let counted = counts.get(&member.node).copied().unwrap_or(0);
            let acknowledged = member.acknowledged.load(Ordering::Relaxed);
            let received = member.tally.items.load(Ordering::Relaxed);
            let least = if self.killed() == Some(member.node) {
                acknowledged
            } else {
                received
            };
            let fits = (least..=received.max(least)).contains(&counted);
            (!fits).then(|| format!("{counted} counted where {least} to {received} are right"))
        })
    }

    /// The members that were not killed.
    fn alive(&self) -> impl Iterator<Item = &Member> {
        let killed = self.killed();
        let members = self.members.iter();
        members.filter(move |member| Some(member.node) != killed)
    }

    /// Who leads, as those that are alive know.
    fn leader(&self) -> Option<usize> {
        let mut alive = self.alive();
        alive
            .find(|member| member.group.is_leader())
            .map(|member| member.node)
    }

    fn kill(&self) -> Option<Killed> {
        *self.killed.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn set_killed(&self, killed: Killed) {
        *self.killed.lock().unwrap_or_else(PoisonError::into_inner) = Some(killed);
    }
}

/// Has counted what the node receives, for as long as its home stands.
async fn count(
    group: Group<Counts>,
    member: usize,
    tally: Arc<Tally>,
    acknowledged: Arc<AtomicU64>,
    counted: Arc<AtomicU64>,
) {
    loop {
        sleep(COUNT).await;
        let readings = tally.items.load(Ordering::Relaxed);
        if readings == acknowledged.load(Ordering::Relaxed) {
            continue;
        }
        // What is not known to be counted is counted again, which does no harm.
        if group.execute(Received { member, readings }).await.is_err() {
            continue;
        }
        acknowledged.store(readings, Ordering::Relaxed);
        if let Ok(counts) = group.query((), Weak).await {
            counted.fetch_max(counts.values().sum(), Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_never_go_back() {
        struct Nowhere(UniqueId);

        impl ApplyContext for Nowhere {
            fn committed(&self) -> mosaik::groups::Cursor {
                mosaik::groups::Cursor::zero()
            }

            fn log_position(&self) -> mosaik::groups::Cursor {
                mosaik::groups::Cursor::zero()
            }

            fn current_term(&self) -> mosaik::groups::Term {
                mosaik::groups::Term::zero()
            }

            fn group_id(&self) -> &UniqueId {
                &self.0
            }

            fn network_id(&self) -> &UniqueId {
                &self.0
            }
        }

        let mut counts = Counts::default();
        for (member, readings) in [(1, 5), (2, 1), (1, 9), (1, 5)] {
            counts.apply(Received { member, readings }, &Nowhere(UniqueId::zero()));
        }
        assert_eq!(counts.query(()), BTreeMap::from([(1, 9), (2, 1)]));
    }
}
