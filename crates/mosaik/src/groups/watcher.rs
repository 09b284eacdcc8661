//! [`CursorWatcher`]: waits for a group's log to reach a place.

use {
    super::index::{Index, IndexRange},
    super::when::Progress,
    core::{fmt, future::Future, marker::PhantomData},
    tokio::sync::watch,
};

/// What can be waited for: an index, a cursor, a number, or the last index of a range.
pub trait IndexOrRange {
    #[doc(hidden)]
    fn last_index(self) -> Index;
}

impl<T: Into<Index>> IndexOrRange for T {
    fn last_index(self) -> Index {
        self.into()
    }
}

impl IndexOrRange for IndexRange {
    fn last_index(self) -> Index {
        *self.end()
    }
}

impl IndexOrRange for &IndexRange {
    fn last_index(self) -> Index {
        *self.end()
    }
}

/// One of the places that move as a group goes on.
#[doc(hidden)]
pub trait Place: Copy + Ord + Into<Index> + Send + Sync + fmt::Debug + 'static {
    fn of(progress: &Progress) -> Self;
}

/// Waits for a place of the group's log to move.
///
/// Futures look at the place as it is when they are made, and see the latest place only: what a
/// fast group passes through in between may go unseen. Once the group has ended on this node its
/// places do not move any more, and futures that wait for that stay pending.
#[derive(Clone)]
pub struct CursorWatcher<T> {
    progress: watch::Receiver<Progress>,
    place: PhantomData<fn() -> T>,
}

impl<T> fmt::Debug for CursorWatcher<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CursorWatcher").finish_non_exhaustive()
    }
}

impl<T: Place> CursorWatcher<T> {
    pub(super) const fn new(progress: watch::Receiver<Progress>) -> Self {
        Self {
            progress,
            place: PhantomData,
        }
    }

    /// Resolves when the place is another than now, with the new one.
    pub fn changed(&self) -> impl Future<Output = T> + Send + Sync + 'static + use<T> {
        let before = self.now();
        self.until(move |place| place != before)
    }

    /// Resolves when the place is further than now, with the new one.
    pub fn advanced(&self) -> impl Future<Output = T> + Send + Sync + 'static + use<T> {
        let before = self.now();
        self.until(move |place| place > before)
    }

    /// Resolves when the place is less far than now, with the new one: commands that were not
    /// committed were replaced, or this member had to give way to another side of the group.
    pub fn reverted(&self) -> impl Future<Output = T> + Send + Sync + 'static + use<T> {
        let before = self.now();
        self.until(move |place| place < before)
    }

    /// Resolves when the place is at `place` or further, with where it is then; of a range, at
    /// its last index.
    pub fn reaches<P: IndexOrRange>(
        &self,
        place: P,
    ) -> impl Future<Output = T> + Send + Sync + 'static + use<T, P> {
        let wanted = place.last_index();
        self.until(move |place| place.into() >= wanted)
    }

    fn now(&self) -> T {
        T::of(&self.progress.borrow())
    }

    fn until<F>(&self, holds: F) -> impl Future<Output = T> + Send + Sync + 'static + use<T, F>
    where
        F: Fn(T) -> bool + Send + Sync + 'static,
    {
        let mut progress = self.progress.clone();
        async move {
            let reached = progress
                .wait_for(|progress| holds(T::of(progress)))
                .await
                .map(|progress| T::of(&progress));
            match reached {
                Ok(place) => place,
                Err(_) => core::future::pending().await,
            }
        }
    }
}
