//! `PeerEntry`, its versions and signatures, and `PeerInfo`.

use {
    crate::support::{network_id, node},
    chrono::{DateTime, Utc},
    mosaik::{
        Digest, GroupId, NetworkId, PeerId, SecretKey, Signature, StreamId, Tag, UniqueId,
        discovery::{Error, PeerEntry, PeerEntryVersion, PeerInfo, SignedPeerEntry},
        iroh::EndpointAddr,
        tickets::{Expiration, InvalidTicket, Ticket, TicketClass, TicketValidator},
    },
    semver::Version,
    serde::{Serialize, de::DeserializeOwned},
    std::{
        collections::{BTreeMap, BTreeSet},
        fmt::{Debug, Display},
        hash::Hash,
        ops::Deref,
        sync::Arc,
        time::Duration,
    },
};

#[test]
fn entries_have_the_traits_that_programs_use() {
    implements!(PeerEntry: Clone + Debug + Eq + Hash + Serialize + DeserializeOwned);
    implements!(PeerEntry: AsRef<PeerEntry> + From<&'static PeerEntry> + From<PeerInfo>);
    implements!(PeerEntry: From<SignedPeerEntry> + From<&'static SignedPeerEntry>);
    implements!(PeerEntryVersion: Clone + Copy + Debug + Default + Display + Eq + Hash + Ord);
    implements!(PeerEntryVersion: Serialize + DeserializeOwned);
    implements!(SignedPeerEntry: Clone + Debug + Eq + Serialize + DeserializeOwned);
    implements!(SignedPeerEntry: AsRef<PeerEntry> + AsRef<Signature> + Deref<Target = PeerEntry>);
    implements!(SignedPeerEntry: From<&'static SignedPeerEntry>);
    implements!(PeerInfo: Clone + Debug + AsRef<PeerEntry> + Deref<Target = PeerEntry>);
    implements!(PeerInfo: Send + Sync + 'static);
}

/// An entry: they are made by starting a node.
async fn entry(secret: &SecretKey) -> PeerEntry {
    let network = crate::support::isolated(network_id())
        .with_secret_key(secret.clone())
        .build()
        .await
        .expect("a node starts on loopback");
    let entry = network.discovery().me().into_unsigned();
    network.close().await;
    entry
}

/// What can be asked of an entry in a constant expression.
const fn parts(entry: &PeerEntry) -> (&PeerId, &NetworkId, &Version, &EndpointAddr) {
    (
        entry.id(),
        entry.network_id(),
        entry.protocol_version(),
        entry.address(),
    )
}

type Offers<'a> = (
    &'a BTreeSet<Tag>,
    &'a BTreeSet<StreamId>,
    &'a BTreeSet<UniqueId>,
    &'a BTreeSet<GroupId>,
    &'a BTreeMap<UniqueId, Ticket>,
    PeerEntryVersion,
);

const fn offers(entry: &PeerEntry) -> Offers<'_> {
    (
        entry.tags(),
        entry.streams(),
        entry.functions(),
        entry.groups(),
        entry.tickets(),
        entry.update_version(),
    )
}

const fn nearness(info: &PeerInfo) -> Option<Duration> {
    info.rtt()
}

#[tokio::test]
async fn an_entry_is_read_changed_and_signed() {
    let secret = SecretKey::from_bytes(&[9; 32]);
    let old = entry(&secret).await;
    let id = |name: &str| Digest::from(name);
    let new: PeerEntry = old
        .clone()
        .add_streams(id("s"))
        .add_streams([id("t"), id("u")])
        .remove_streams("u")
        .add_functions("f")
        .remove_functions([id("none")])
        .add_groups(vec!["g", "h"])
        .remove_groups("h")
        .add_tags(["a", "b"])
        .remove_tags("b")
        .add_ticket(Ticket::new(id("class"), "data".into()));
    let (peer, network, version, address) = parts(&new);
    assert_eq!((*peer, *network), (secret.public(), *old.network_id()));
    assert_eq!((version, address), (old.protocol_version(), old.address()));
    let (tags, streams, functions, groups, tickets, version) = offers(&new);
    assert_eq!(*tags, BTreeSet::from([id("a")]));
    assert_eq!(*streams, BTreeSet::from([id("s"), id("t")]));
    assert_eq!(*functions, BTreeSet::from([id("f")]));
    assert_eq!(*groups, BTreeSet::from([id("g")]));
    assert_eq!(tickets.len(), 1);
    let times: (DateTime<Utc>, DateTime<Utc>) = (new.updated_at(), new.started_at());
    assert_eq!(times, (version.updated_at(), version.started_at()));
    let (uptime, digest): (Duration, blake3::Hash) = (new.uptime(), new.digest());
    assert!(uptime < Duration::from_hours(1) && digest != old.digest());
    assert!(new.is_newer_than(&old) && version > old.update_version());
    assert!(!version.to_string().is_empty());

    let moved: Result<PeerEntry, Error> = new.clone().update_address(EndpointAddr::new(*peer));
    assert!(moved.expect("the same peer").is_newer_than(&new));
    let plain = new
        .clone()
        .remove_ticket(Ticket::new(id("class"), "data".into()).id());
    assert!(plain.tickets().is_empty());
    assert!(
        new.clone()
            .remove_tickets_of(id("class"))
            .tickets()
            .is_empty()
    );

    let signed: Result<SignedPeerEntry, Error> = new.clone().sign(&secret);
    let signed = signed.expect("its own key");
    let _: &Signature = signed.as_ref();
    let (whole, same): (&PeerEntry, SignedPeerEntry) = (signed.as_ref(), (&signed).into());
    assert_eq!((whole, &same), (&new, &signed));
    assert_eq!(PeerEntry::from(&signed), new);
    assert_eq!(PeerEntry::from(&new), signed.into_unsigned());
}

/// Accepts what it is made of.
struct Exactly(&'static str);

impl TicketValidator for Exactly {
    fn class(&self) -> TicketClass {
        TicketClass::from("exactly")
    }

    fn signature(&self) -> UniqueId {
        UniqueId::from(self.0)
    }

    fn validate(&self, ticket: &[u8], peer: &PeerEntry) -> Result<Expiration, InvalidTicket> {
        if ticket == self.0.as_bytes() && peer.tags().is_empty() {
            Ok(Expiration::Never)
        } else {
            Err(InvalidTicket)
        }
    }
}

#[tokio::test]
async fn tickets_of_an_entry_are_found_and_validated() {
    let ticket = |data: &'static str| Ticket::new("exactly".into(), data.into());
    let entry = entry(&SecretKey::from_bytes(&[8; 32]))
        .await
        .add_ticket(ticket("one"))
        .add_ticket(ticket("two"));
    let class = TicketClass::from("exactly");
    fn count<'t>(tickets: impl Iterator<Item = &'t Ticket>) -> usize {
        tickets.count()
    }
    assert_eq!(count(entry.tickets_of(class)), 2);
    assert_eq!(count(entry.valid_tickets(class, |data| data == b"one")), 1);
    let has: bool = entry.has_valid_ticket(class, |data| data == b"three");
    assert!(!has);
    let one: Result<Expiration, InvalidTicket> = entry.validate_ticket(&Exactly("one"));
    assert!(matches!(one, Ok(Expiration::Never)));
    let both: Vec<Arc<dyn TicketValidator>> =
        vec![Arc::new(Exactly("one")), Arc::new(Exactly("two"))];
    let all: Result<Option<Expiration>, InvalidTicket> = entry.validate_tickets(&both);
    assert!(matches!(all, Ok(Some(Expiration::Never))));
    let none: [Box<dyn TicketValidator>; 0] = [];
    assert!(matches!(entry.validate_tickets(&none), Ok(None)));
    assert!(entry.validate_ticket(&Exactly("three")).is_err());
}

#[tokio::test]
async fn predicates_see_a_peer_as_this_node_does() {
    fn asked(info: &PeerInfo) -> bool {
        let near: bool = info.rtt_below(Duration::from_millis(5));
        let (whole, tags): (&PeerEntry, &BTreeSet<Tag>) = (info.as_ref(), info.tags());
        let (clone, again): (PeerEntry, PeerEntry) =
            (info.clone().into_entry(), info.clone().into());
        near && nearness(info).is_some() && *tags == *whole.tags() && clone == again
    }
    let network = node(network_id()).await;
    let consumer = network.streams().consumer::<u8>().require(asked).build();
    assert!(consumer.producers().next().is_none());
    network.close().await;
}
