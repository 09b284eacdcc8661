//! [`When`]: waits for something to become true of a group.
//!
//! Built on two watched values that the group's driver feeds: who leads, which changes seldom,
//! and how far the log is, which changes all the time.

use {
    super::{
        cursor::Cursor,
        index::{Index, Term},
        watcher::{CursorWatcher, Place},
    },
    crate::PeerId,
    core::future::Future,
    tokio::sync::watch,
};

/// Who leads, as this member knows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Leadership {
    pub(crate) leader: Option<PeerId>,
    pub(crate) term: Term,
    /// Whether commands can be expected to be taken: there is a leader, and this member has
    /// caught up with what it had committed when it was met.
    pub(crate) online: bool,
}

/// How far the log is, as this member knows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// The end of the log, whether committed or not.
    pub(crate) log: Cursor,
    /// The last command that is committed and applied here.
    pub(crate) committed: Index,
}

impl Place for Cursor {
    fn of(progress: &Progress) -> Self {
        progress.log
    }
}

impl Place for Index {
    fn of(progress: &Progress) -> Self {
        progress.committed
    }
}

/// Futures that resolve when something becomes true of a group.
///
/// Each resolves at once when it is true already, except those that wait for a change, which
/// compare with what was true when they were made. They see the latest state only: a condition
/// that held for an instant may be missed. Once the group has ended on this node, futures stay
/// pending whose condition does not hold; [`When::offline`] holds then.
#[derive(Clone, Debug)]
pub struct When {
    local: PeerId,
    leadership: watch::Receiver<Leadership>,
    progress: watch::Receiver<Progress>,
}

impl When {
    pub(crate) const fn new(
        local: PeerId,
        leadership: watch::Receiver<Leadership>,
        progress: watch::Receiver<Progress>,
    ) -> Self {
        Self {
            local,
            leadership,
            progress,
        }
    }

    /// Resolves when there is a leader, with the leader.
    pub fn leader_elected(&self) -> impl Future<Output = PeerId> + Send + Sync + 'static + use<> {
        self.leader(|_| true)
    }

    /// Resolves when there is another leader than now, with the new one.
    pub fn leader_changed(&self) -> impl Future<Output = PeerId> + Send + Sync + 'static + use<> {
        let before = self.leadership.borrow().leader;
        self.leader(move |leader| Some(leader) != before)
    }

    /// Resolves when `expected` leads.
    pub fn leader_is(
        &self,
        expected: PeerId,
    ) -> impl Future<Output = ()> + Send + Sync + 'static + use<> {
        self.until(move |state| state.leader == Some(expected))
    }

    /// Resolves when this node leads.
    pub fn is_leader(&self) -> impl Future<Output = ()> + Send + Sync + 'static + use<> {
        self.leader_is(self.local)
    }

    /// Resolves when another node leads.
    pub fn is_follower(&self) -> impl Future<Output = ()> + Send + Sync + 'static + use<> {
        let local = self.local;
        self.until(move |state| state.leader.is_some_and(|leader| leader != local))
    }

    /// Resolves when commands can be executed: there is a leader, and this member has caught up.
    pub fn online(&self) -> impl Future<Output = ()> + Send + Sync + 'static + use<> {
        self.until(|state| state.online)
    }

    /// Resolves when commands cannot be executed: there is no leader, this member is catching
    /// up, or the group has ended on this node.
    pub fn offline(&self) -> impl Future<Output = ()> + Send + Sync + 'static + use<> {
        let mut leadership = self.leadership.clone();
        async move {
            // A group whose driver is gone is offline as well.
            let _ = leadership.wait_for(|state| !state.online).await;
        }
    }

    /// Watches the end of this member's log. What is there may be replaced until it is
    /// committed.
    pub fn log(&self) -> CursorWatcher<Cursor> {
        CursorWatcher::new(self.progress.clone())
    }

    /// Watches the last command that is committed and applied here.
    pub fn committed(&self) -> CursorWatcher<Index> {
        CursorWatcher::new(self.progress.clone())
    }

    fn leader<F>(&self, holds: F) -> impl Future<Output = PeerId> + Send + Sync + 'static + use<F>
    where
        F: Fn(PeerId) -> bool + Send + Sync + 'static,
    {
        let mut leadership = self.leadership.clone();
        async move {
            let found = leadership
                .wait_for(|state| state.leader.is_some_and(&holds))
                .await
                .map(|state| state.leader);
            match found {
                Ok(Some(leader)) => leader,
                _ => core::future::pending().await,
            }
        }
    }

    fn until<F>(&self, holds: F) -> impl Future<Output = ()> + Send + Sync + 'static + use<F>
    where
        F: Fn(&Leadership) -> bool + Send + Sync + 'static,
    {
        let mut leadership = self.leadership.clone();
        async move {
            if leadership.wait_for(|state| holds(state)).await.is_err() {
                core::future::pending::<()>().await;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use {
        super::*,
        futures::{FutureExt, poll},
        iroh::SecretKey,
        std::task::Poll,
    };

    struct Fed {
        local: PeerId,
        leadership: watch::Sender<Leadership>,
        progress: watch::Sender<Progress>,
        when: When,
    }

    fn fed() -> Fed {
        let local = SecretKey::generate().public();
        let leadership = watch::Sender::new(Leadership::default());
        let progress = watch::Sender::new(Progress::default());
        let when = When::new(local, leadership.subscribe(), progress.subscribe());
        Fed {
            local,
            leadership,
            progress,
            when,
        }
    }

    impl Fed {
        fn lead(&self, leader: Option<PeerId>) {
            self.leadership.send_modify(|state| {
                state.leader = leader;
                state.online = leader.is_some();
            });
        }

        fn commit(&self, index: u64) {
            self.progress
                .send_modify(|progress| progress.committed = index.into());
        }
    }

    #[tokio::test]
    async fn conditions_that_hold_resolve_at_once_and_changes_wait_for_one() {
        let fed = fed();
        let other = SecretKey::generate().public();
        assert!(fed.when.leader_elected().now_or_never().is_none());
        assert!(fed.when.offline().now_or_never().is_some());
        fed.lead(Some(other));
        assert_eq!(fed.when.leader_elected().now_or_never(), Some(other));
        assert!(fed.when.online().now_or_never().is_some());
        assert!(fed.when.is_follower().now_or_never().is_some());
        assert!(fed.when.is_leader().now_or_never().is_none());
        let mut changed = Box::pin(fed.when.leader_changed());
        assert!(poll!(&mut changed).is_pending());
        fed.lead(None);
        assert!(poll!(&mut changed).is_pending());
        fed.lead(Some(fed.local));
        assert_eq!(poll!(&mut changed), Poll::Ready(fed.local));
        assert!(fed.when.is_leader().now_or_never().is_some());
        assert!(fed.when.is_follower().now_or_never().is_none());
    }

    #[tokio::test]
    async fn places_are_reached_pass_and_go_back() {
        let fed = fed();
        let committed = fed.when.committed();
        let mut reaches = Box::pin(committed.reaches(3u64));
        let mut range = Box::pin(committed.reaches(Index::from(2)..=Index::from(4)));
        assert!(poll!(&mut reaches).is_pending() && poll!(&mut range).is_pending());
        fed.commit(3);
        assert_eq!(poll!(&mut reaches), Poll::Ready(Index::from(3)));
        assert!(poll!(&mut range).is_pending());
        let mut advanced = Box::pin(committed.advanced());
        let mut reverted = Box::pin(committed.reverted());
        let mut changed = Box::pin(committed.changed());
        assert!(poll!(&mut advanced).is_pending());
        fed.commit(1);
        assert!(poll!(&mut advanced).is_pending());
        assert_eq!(poll!(&mut reverted), Poll::Ready(Index::one()));
        assert_eq!(poll!(&mut changed), Poll::Ready(Index::one()));
        fed.commit(4);
        assert_eq!(poll!(&mut advanced), Poll::Ready(Index::from(4)));
        assert_eq!(poll!(&mut range), Poll::Ready(Index::from(4)));
    }

    #[tokio::test]
    async fn a_group_that_ended_is_offline_and_goes_nowhere() {
        let fed = fed();
        fed.lead(Some(fed.local));
        let Fed {
            leadership,
            progress,
            when,
            ..
        } = fed;
        drop((leadership, progress));
        assert!(when.offline().now_or_never().is_some());
        assert!(when.committed().advanced().now_or_never().is_none());
    }
}
