//! Who may subscribe, and until when: the one place where predicates and tickets are asked, and how
//! far away a consumer is.

use {
    super::{builder::ProducerConfig, fanout::SubscriptionId},
    crate::{
        discovery::{Discovery, PeerEntryVersion, PeerInfo},
        network::close::{NotAllowed, Reason},
        tickets::Expiration,
    },
    core::{future::pending, time::Duration},
    parking_lot::Mutex,
    std::{collections::HashMap, sync::Arc},
    tokio::sync::watch,
};

/// Time between two looks at how far away a consumer is.
const RTTS_CALM: Duration = Duration::from_millis(250);

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

/// Resolves when a consumer is found to be further away than this node uses peers. One that was not
/// measured yet is not, and is measured.
pub(super) async fn too_far(discovery: &Discovery, consumer: &PeerInfo) {
    let id = consumer.id();
    let near = |rtt| discovery.is_eligible(&consumer.with_rtt(rtt));
    if near(Duration::MAX) {
        return pending().await;
    }
    let mut rtts = discovery.rtts_watch();
    if discovery.rtt(id).is_none() {
        discovery.measure(*id).await;
    }
    loop {
        rtts.mark_unchanged();
        if discovery.rtt(id).is_some_and(|rtt| !near(rtt)) {
            return;
        }
        tokio::time::sleep(RTTS_CALM).await;
        if rtts.changed().await.is_err() {
            // The network closes, which ends the subscription.
            return pending().await;
        }
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
    const LOOK_AGAIN: Duration = Duration::from_secs(2);
    loop {
        let left = until(&admission.borrow_and_update()).remaining();
        let left = left.map(|left| left.to_std().unwrap_or_default().min(LOOK_AGAIN));
        if left.is_some_and(|left| left.is_zero()) {
            return;
        }
        let wait = async {
            match left {
                Some(left) => tokio::time::sleep(left).await,
                None => pending().await,
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
        crate::{
            Digest, Network,
            discovery::{Config, PeerEntry},
            network::{Preset, close},
            streams::consumer::ConsumerEvent,
        },
        futures::{FutureExt, StreamExt},
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

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_consumer_that_is_too_far_is_cut_off_and_served_again_when_it_is_nearer() {
        let network = || Network::builder(Digest::from_u8(2)).with_preset(Preset::Isolated);
        let config = Config::builder()
            .with_max_rtt(Duration::from_secs(30))
            .with_rtt_probe_interval(Duration::from_millis(100));
        let near = network().with_discovery(config).build().await.unwrap();
        let producer = near.streams().producer::<u32>();
        let producer = producer.disconnect_lagging(false).build().unwrap();
        let far = network().build().await.unwrap();
        assert!(far.discovery().feed(near.discovery().me()));
        let consumer = far.streams().consume::<u32>();
        let mut events = consumer.events();
        in_time("unmeasured, it is served", producer.when().online()).await;
        // Every real measurement makes it seem nearer again.
        let pretend = async {
            loop {
                let rtt = Duration::from_hours(1);
                near.discovery().pretend_rtt(&far.local().id(), rtt);
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        let told = async {
            loop {
                match events.next().await {
                    Some(ConsumerEvent::Refused { reason, .. }) => break reason,
                    Some(ConsumerEvent::Disconnected { reason, .. }) => {
                        assert!(close::NotAllowed == reason, "{reason}");
                    }
                    Some(_) => {}
                    None => panic!("the consumer has ended"),
                }
            }
        };
        in_time("cut off and refused", async {
            tokio::select! {
                never = pretend => never,
                reason = told => assert!(close::NotAllowed == reason, "{reason}"),
            }
        })
        .await;
        in_time("nearer with each measurement", producer.when().online()).await;
    }

    /// Awaits `future` for a minute, or longer on a machine that `TIME_FACTOR` says is slow.
    async fn in_time(what: &str, future: impl Future<Output = ()>) {
        let factor = std::env::var("TIME_FACTOR").ok();
        let factor = factor.and_then(|factor| factor.parse().ok());
        let patience = Duration::from_mins(1).mul_f64(factor.unwrap_or(1.0_f64).max(0.1));
        let ended = tokio::time::timeout(patience, future).await;
        ended.unwrap_or_else(|_| panic!("not in time: {what}"));
    }
}
