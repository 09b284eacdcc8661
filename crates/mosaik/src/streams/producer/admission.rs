//! Who may subscribe: the one place where predicates and tickets are asked.

use {
    super::builder::ProducerConfig,
    crate::{
        discovery::PeerInfo,
        network::close::{NotAllowed, Reason},
        tickets::Expiration,
    },
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

/// Resolves when an admission expires.
pub(in crate::streams) async fn expired(expiration: Expiration) {
    /// Wall clocks are set and machines sleep: long waits are looked at again.
    const LOOK_AGAIN: core::time::Duration = core::time::Duration::from_secs(2);
    loop {
        match expiration.remaining() {
            None if expiration.is_expired() => return,
            None => std::future::pending().await,
            Some(remaining) => {
                let remaining = remaining.to_std().unwrap_or_default();
                if remaining.is_zero() {
                    return;
                }
                tokio::time::sleep(remaining.min(LOOK_AGAIN)).await;
            }
        }
    }
}
