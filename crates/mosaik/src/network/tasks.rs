//! The tasks of one network: all are counted, all end when it closes.

use {
    std::future::Future,
    tokio_util::{
        sync::CancellationToken,
        task::{AbortOnDropHandle, TaskTracker},
    },
};

/// Spawns every task of a network, so that closing can wait for the last of them.
#[derive(Clone, Debug, Default)]
pub(crate) struct Tasks {
    tracker: TaskTracker,
    cancel: CancellationToken,
}

impl Tasks {
    /// Runs `future` until it ends or the network closes; it is dropped then.
    pub(crate) fn spawn(&self, future: impl Future<Output = ()> + Send + 'static) {
        let cancel = self.cancel.clone();
        self.tracker.spawn(async move {
            tokio::select! {
                biased;
                () = cancel.cancelled_owned() => {}
                () = future => {}
            }
        });
    }

    /// As [`Tasks::spawn`], and dropped with the handle as well.
    pub(crate) fn spawn_owned(
        &self,
        future: impl Future<Output = ()> + Send + 'static,
    ) -> AbortOnDropHandle<()> {
        let cancel = self.cancel.clone();
        AbortOnDropHandle::new(self.tracker.spawn(async move {
            tokio::select! {
                biased;
                () = cancel.cancelled_owned() => {}
                () = future => {}
            }
        }))
    }

    /// Runs `future` to its end even while the network closes; it must watch
    /// [`Tasks::cancelled`] itself.
    pub(crate) fn spawn_to_end(&self, future: impl Future<Output = ()> + Send + 'static) {
        self.tracker.spawn(future);
    }

    /// Resolves when the network closes.
    pub(crate) fn cancelled(&self) -> impl Future<Output = ()> + Send + 'static {
        self.cancel.clone().cancelled_owned()
    }

    /// Whether the network closes or is closed.
    pub(crate) fn is_cancelled(&self) -> bool {
        self.cancel.is_cancelled()
    }

    /// Tells every task to end.
    pub(crate) fn cancel(&self) {
        self.cancel.cancel();
        self.tracker.close();
    }

    /// Resolves when, after [`Tasks::cancel`], every task has ended.
    pub(crate) async fn wait(&self) {
        self.tracker.wait().await;
    }
}
