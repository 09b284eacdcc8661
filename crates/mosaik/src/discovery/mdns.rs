//! Finding first peers on the local network by multicast DNS.
//!
//! The service name is derived from the network's id, so that only nodes of one network answer
//! each other. Multicast is best effort: where it is not allowed, the other ways remain.

use {
    super::introduce::Introducer,
    crate::network::links::Links,
    futures::StreamExt,
    iroh_mdns_address_lookup::{DiscoveryEvent, MdnsAddressLookup},
    mosaik_primitives::Digest,
};

/// Announces this node on the local network and meets those who do the same.
pub(super) fn start(links: &Links, introducer: &Introducer) {
    let name = service_name(links.network_id());
    let built = MdnsAddressLookup::builder()
        .service_name(name)
        .build(links.local_id());
    let mdns = match built {
        Ok(mdns) => mdns,
        Err(error) => {
            tracing::warn!(%error, "multicast DNS is not available");
            return;
        }
    };
    let Some(endpoint) = links.endpoint() else {
        return;
    };
    match endpoint.address_lookup() {
        Ok(services) => services.add(mdns.clone()),
        // The endpoint is closed already, and so is the network.
        Err(_) => return,
    }
    let introducer = introducer.clone();
    links.tasks().spawn(async move {
        let mut events = mdns.subscribe().await;
        while let Some(event) = events.next().await {
            if let DiscoveryEvent::Discovered { endpoint_info, .. } = event {
                introducer.found(endpoint_info.into_endpoint_addr());
            }
        }
    });
}

/// A DNS-SD service name has at most 15 characters (RFC 6335, section 5.1).
fn service_name(network: &Digest) -> String {
    format!("mosaik{}", &network.to_string()[..8])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn service_names_fit_and_differ_by_network() {
        let name = service_name(&Digest::from("net"));
        assert!(name.len() <= 15 && name.bytes().all(|byte| byte.is_ascii_alphanumeric()));
        assert_ne!(name, service_name(&Digest::from("other")));
    }
}
