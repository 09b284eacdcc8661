//! [`When`]: waiting for a producer or consumer to be online.

use {
    super::{channel::ActiveChannelsMap, conditions::ChannelConditions},
    core::future::Future,
    std::sync::Arc,
    tokio::sync::watch,
};

/// Waits for the states of a producer or consumer. Cheap to clone.
#[derive(Clone, Debug)]
pub struct When {
    online: watch::Receiver<bool>,
    channels: watch::Receiver<Arc<ActiveChannelsMap>>,
}

/// The side that says whether its owner is online.
pub(crate) type Online = watch::Sender<bool>;

impl When {
    pub(crate) const fn new(
        online: watch::Receiver<bool>,
        channels: watch::Receiver<Arc<ActiveChannelsMap>>,
    ) -> Self {
        Self { online, channels }
    }

    /// Resolves when the conditions given as `online_when` are met.
    pub fn online(&self) -> impl Future<Output = ()> + Send + Sync + 'static + use<> {
        self.becomes(true)
    }

    /// Whether the conditions given as `online_when` are met.
    pub fn is_online(&self) -> bool {
        *self.online.borrow()
    }

    /// Resolves when the conditions given as `online_when` are not met.
    pub fn offline(&self) -> impl Future<Output = ()> + Send + Sync + 'static + use<> {
        self.becomes(false)
    }

    /// A condition that is met by one connected channel, to be refined.
    pub fn subscribed(&self) -> ChannelConditions {
        ChannelConditions::new(self.channels.clone(), 1)
    }

    /// A condition that is met when no channel is connected, to be refined.
    pub fn unsubscribed(&self) -> ChannelConditions {
        self.subscribed().unmet()
    }

    fn becomes(&self, wanted: bool) -> impl Future<Output = ()> + Send + Sync + 'static + use<> {
        let mut online = self.online.clone();
        async move {
            // Whose owner is gone is offline for ever.
            if online.wait_for(|online| *online == wanted).await.is_err() && wanted {
                std::future::pending::<()>().await;
            }
        }
    }
}
