//! Who may subscribe, and until when: the one place where predicates and tickets are asked.

use {
    super::{builder::ProducerConfig, fanout::SubscriptionId},
    crate::{
        discovery::{PeerEntryVersion, PeerInfo},
        network::close::{NotAllowed, Reason},
        tickets::Expiration,
    },
    parking_lot::Mutex,
    std::{collections::HashMap, sync::Arc},
    tokio::sync::watch,
};

/// Asks the predicates and every ticket validator; answers when the admission expires.
pub(super) fn admit(config: &ProducerConfig, peer: &PeerInfo) -> Result<Expiration, Reason> {
    if !(config.require)(peer) {
        return Err(NotAllowed::REASON);
    }
    match peer.validate_tickets(&config.ticket_validators) {
        Ok(expiration) => Ok(expiration.unwrap_or(Expiration::Never)),
        Err(_) => Err(NotAllowed::REASON),
    }
}

/// The entry by which a subscriber was admitted, and until when it is.
type Standing = (PeerEntryVersion, Expiration);

/// The admissions of a producer's subscriptions, as they stand now.
#[derive(Default)]
pub(super) struct Admissions(Mutex<HashMap<SubscriptionId, watch::Sender<Standing>>>);

impl Admissions {
    /// Adds a subscription's; it is removed when the guard is dropped.
    pub(super) fn open(
        self: &Arc<Self>,
        id: SubscriptionId,
        by: PeerEntryVersion,
        until: Expiration,
    ) -> Admission {
        let (sender, standing) = watch::channel((by, until));
        self.0.lock().insert(id, sender);
        Admission {
            admissions: Arc::clone(self),
            id,
            standing,
        }
    }

    /// Says until when a subscription is admitted by an entry, unless a newer one has been
    /// looked at meanwhile.
    pub(super) fn renew(&self, id: SubscriptionId, by: PeerEntryVersion, until: Expiration) {
        if let Some(known) = self.0.lock().get(&id) {
            known.send_if_modified(|known| {
                let newer = known.0 <= by;
                if newer {
                    *known = (by, until);
                }
                newer
            });
        }
    }
}

/// One subscription's admission.
pub(super) struct Admission {
    admissions: Arc<Admissions>,
    id: SubscriptionId,
    standing: watch::Receiver<Standing>,
}

impl Admission {
    /// Resolves when it expires without having been renewed.
    pub(super) async fn expired(&mut self) {
        expired(&mut self.standing, |(_, until)| *until).await;
    }
}

impl Drop for Admission {
    fn drop(&mut self) {
        self.admissions.0.lock().remove(&self.id);
    }
}

/// Resolves when an admission expires; it may be renewed meanwhile.
pub(in crate::streams) async fn expired<T>(
    admission: &mut watch::Receiver<T>,
    until: impl Fn(&T) -> Expiration,
) {
    /// Wall clocks are set and machines sleep: long waits are looked at again.
    const LOOK_AGAIN: core::time::Duration = core::time::Duration::from_secs(2);
    loop {
        let left = until(&admission.borrow_and_update()).remaining();
        let left = left.map(|left| left.to_std().unwrap_or_default().min(LOOK_AGAIN));
        if left.is_some_and(|left| left.is_zero()) {
            return;
        }
        let wait = async {
            match left {
                Some(left) => tokio::time::sleep(left).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = wait => {}
            // Where nobody is left to renew it, it expires as it stands.
            Ok(()) = admission.changed() => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use {
        super::*,
        crate::{Digest, discovery::PeerEntry},
        core::time::Duration,
        futures::FutureExt,
    };

    #[tokio::test(start_paused = true)]
    async fn a_renewed_admission_outlives_its_first_expiration_and_ends_with_the_next() {
        let (renew, mut until) = watch::channel(Expiration::in_1h());
        let mut expired = Box::pin(expired(&mut until, |until| *until));
        assert!(expired.as_mut().now_or_never().is_none());
        renew.send_replace(Expiration::Never);
        assert!(expired.as_mut().now_or_never().is_none());
        renew.send_replace(Expiration::already_expired());
        let ended = tokio::time::timeout(Duration::from_secs(5), expired.as_mut());
        ended.await.expect("noticed at once");
    }

    #[test]
    fn an_admission_follows_the_newest_entry_and_leaves_nothing_behind() {
        let entry = |secret: &iroh::SecretKey| {
            let address = iroh::EndpointAddr::new(secret.public());
            PeerEntry::starting_now(Digest::from_u8(1), address)
        };
        let old = entry(&iroh::SecretKey::generate());
        let new = old.clone().add_tags("new");
        let (old, new) = (old.update_version(), new.update_version());
        let admissions = Arc::new(Admissions::default());
        let admission = admissions.open(7, old, Expiration::already_expired());
        admissions.renew(7, new, Expiration::Never);
        admissions.renew(7, old, Expiration::already_expired());
        assert_eq!(admission.standing.borrow().1, Expiration::Never);
        drop(admission);
        assert!(admissions.0.lock().is_empty());
        // Renewed too late, which is nothing to complain about.
        admissions.renew(7, new, Expiration::in_1h());
    }
}
