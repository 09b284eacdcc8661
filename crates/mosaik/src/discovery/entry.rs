//! [`PeerEntry`]: what a peer tells everyone about itself.

use {
    super::{Error, PeerEntryVersion, SignedPeerEntry},
    crate::{
        network::{NetworkId, PeerId},
        primitives::IntoIterOrSingle,
        streams::StreamId,
        tickets::{Expiration, InvalidTicket, Ticket, TicketClass, TicketValidator},
    },
    chrono::{DateTime, Utc},
    iroh::{EndpointAddr, SecretKey},
    mosaik_primitives::{Digest, Tag, UniqueId, codec},
    semver::Version,
    serde::{Deserialize, Deserializer, Serialize, Serializer},
    std::{
        collections::{BTreeMap, BTreeSet},
        time::Duration,
    },
};

type FunctionId = UniqueId;
type GroupId = UniqueId;

/// What a peer tells everyone about itself: where it is, what it offers, what it carries.
///
/// An entry by itself is a claim; a [`SignedPeerEntry`] proves that its peer made it. Changing an
/// entry that is in a catalog means taking it, changing it (each change that has an effect makes
/// a new version), signing it and feeding it; [`Discovery`](super::Discovery) does that for the
/// local peer.
///
/// Encoded and signed, an entry is at most `Limits::entry_bytes` long.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct PeerEntry {
    network_id: NetworkId,
    protocol_version: Version,
    address: EndpointAddr,
    version: PeerEntryVersion,
    tags: BTreeSet<Tag>,
    streams: BTreeSet<StreamId>,
    functions: BTreeSet<FunctionId>,
    groups: BTreeSet<GroupId>,
    #[serde(
        serialize_with = "tickets_to_list",
        deserialize_with = "tickets_from_list"
    )]
    tickets: BTreeMap<UniqueId, Ticket>,
}

/// Ticket ids follow from the tickets: they are not written, so they cannot be wrong.
fn tickets_to_list<S: Serializer>(
    tickets: &BTreeMap<UniqueId, Ticket>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    serializer.collect_seq(tickets.values())
}

fn tickets_from_list<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<BTreeMap<UniqueId, Ticket>, D::Error> {
    let tickets = Vec::<Ticket>::deserialize(deserializer)?;
    Ok(tickets
        .into_iter()
        .map(|ticket| (ticket.id(), ticket))
        .collect())
}

impl PeerEntry {
    /// The entry of a peer that starts now and offers nothing yet.
    pub(crate) fn starting_now(network_id: NetworkId, address: EndpointAddr) -> Self {
        let protocol_version = Version::parse(env!("CARGO_PKG_VERSION"))
            .expect("the package version is a semantic version");
        Self {
            network_id,
            protocol_version,
            address,
            version: PeerEntryVersion::starting_now(),
            tags: BTreeSet::new(),
            streams: BTreeSet::new(),
            functions: BTreeSet::new(),
            groups: BTreeSet::new(),
            tickets: BTreeMap::new(),
        }
    }

    /// Whose entry this is.
    pub const fn id(&self) -> &PeerId {
        &self.address.id
    }

    /// The network the peer belongs to.
    pub const fn network_id(&self) -> &NetworkId {
        &self.network_id
    }

    /// The version of mosaik the peer runs.
    pub const fn protocol_version(&self) -> &Version {
        &self.protocol_version
    }

    /// Where the peer can be reached.
    pub const fn address(&self) -> &EndpointAddr {
        &self.address
    }

    /// The labels the peer put on itself.
    pub const fn tags(&self) -> &BTreeSet<Tag> {
        &self.tags
    }

    /// The streams the peer produces.
    pub const fn streams(&self) -> &BTreeSet<StreamId> {
        &self.streams
    }

    /// The functions the peer answers.
    pub const fn functions(&self) -> &BTreeSet<FunctionId> {
        &self.functions
    }

    /// The groups the peer is in.
    pub const fn groups(&self) -> &BTreeSet<GroupId> {
        &self.groups
    }

    /// The tickets the peer carries, by [`Ticket::id`].
    pub const fn tickets(&self) -> &BTreeMap<UniqueId, Ticket> {
        &self.tickets
    }

    /// The tickets of one class.
    pub fn tickets_of(&self, class: UniqueId) -> impl Iterator<Item = &Ticket> {
        self.tickets
            .values()
            .filter(move |ticket| ticket.class == class)
    }

    /// The tickets of one class whose data `validator` accepts.
    pub fn valid_tickets(
        &self,
        class: UniqueId,
        validator: impl Fn(&[u8]) -> bool,
    ) -> impl Iterator<Item = &Ticket> {
        self.tickets_of(class)
            .filter(move |ticket| validator(ticket.data()))
    }

    /// Whether `validator` accepts any ticket of the class.
    pub fn has_valid_ticket(&self, class: UniqueId, validator: impl Fn(&[u8]) -> bool) -> bool {
        self.valid_tickets(class, validator).next().is_some()
    }

    /// How long the peer is admitted by one validator: the longest that any one of its tickets
    /// of the validator's class is good for. An acceptance that has already expired is none.
    pub fn validate_ticket(
        &self,
        validator: &dyn TicketValidator,
    ) -> Result<Expiration, InvalidTicket> {
        self.tickets_of(validator.class())
            .filter_map(|ticket| validator.validate(ticket.data(), self).ok())
            .filter(|expiration| !expiration.is_expired())
            .max()
            .ok_or(InvalidTicket)
    }

    /// How long the peer is admitted by all `validators` together: until the first of them ends.
    /// `None` where there is no validator to ask.
    pub fn validate_tickets(
        &self,
        validators: &[impl AsRef<dyn TicketValidator>],
    ) -> Result<Option<Expiration>, InvalidTicket> {
        let mut earliest = None;
        for validator in validators {
            let expiration = self.validate_ticket(validator.as_ref())?;
            earliest = Some(earliest.map_or(expiration, |end| expiration.min(end)));
        }
        Ok(earliest)
    }

    /// The version of this entry.
    pub const fn update_version(&self) -> PeerEntryVersion {
        self.version
    }

    /// When the entry last changed, by its peer's clock.
    pub fn updated_at(&self) -> DateTime<Utc> {
        self.version.updated_at()
    }

    /// When the peer started, by its own clock.
    pub fn started_at(&self) -> DateTime<Utc> {
        self.version.started_at()
    }

    /// Time since the peer started; zero when its clock is ahead of ours.
    pub fn uptime(&self) -> Duration {
        (Utc::now() - self.started_at())
            .to_std()
            .unwrap_or_default()
    }

    /// blake3 of the entry's encoding: equal digests mean equal entries, version included.
    pub fn digest(&self) -> blake3::Hash {
        blake3::hash(&self.encode())
    }

    pub(crate) fn entry_digest(&self) -> Digest {
        Digest::from(self.digest())
    }

    /// The canonical encoding, which the signature covers through its digest.
    pub(crate) fn encode(&self) -> bytes::Bytes {
        codec::try_serialize(self).expect("an entry in memory always encodes")
    }

    /// Whether this is a later version than `other`; entries of different peers are not
    /// comparable, and the answer is `false`.
    pub fn is_newer_than(&self, other: &Self) -> bool {
        self.id() == other.id() && self.version > other.version
    }

    /// Moves the peer to another address; the peer stays the same.
    pub fn update_address(mut self, address: EndpointAddr) -> Result<Self, Error> {
        if address.id != self.address.id {
            return Err(Error::PeerIdChanged(self.address.id, address.id));
        }
        let changed = self.address != address;
        self.address = address;
        Ok(self.changed_if(changed))
    }

    /// Adds streams the peer produces.
    #[must_use]
    pub fn add_streams<V>(mut self, streams: impl IntoIterOrSingle<StreamId, V>) -> Self {
        let changed = insert_all(&mut self.streams, streams);
        self.changed_if(changed)
    }

    /// Removes streams.
    #[must_use]
    pub fn remove_streams<V>(mut self, streams: impl IntoIterOrSingle<StreamId, V>) -> Self {
        let changed = remove_all(&mut self.streams, streams);
        self.changed_if(changed)
    }

    /// Adds functions the peer answers.
    #[must_use]
    pub fn add_functions<V>(mut self, functions: impl IntoIterOrSingle<FunctionId, V>) -> Self {
        let changed = insert_all(&mut self.functions, functions);
        self.changed_if(changed)
    }

    /// Removes functions.
    #[must_use]
    pub fn remove_functions<V>(mut self, functions: impl IntoIterOrSingle<FunctionId, V>) -> Self {
        let changed = remove_all(&mut self.functions, functions);
        self.changed_if(changed)
    }

    /// Adds groups the peer is in.
    #[must_use]
    pub fn add_groups<V>(mut self, groups: impl IntoIterOrSingle<GroupId, V>) -> Self {
        let changed = insert_all(&mut self.groups, groups);
        self.changed_if(changed)
    }

    /// Removes groups.
    #[must_use]
    pub fn remove_groups<V>(mut self, groups: impl IntoIterOrSingle<GroupId, V>) -> Self {
        let changed = remove_all(&mut self.groups, groups);
        self.changed_if(changed)
    }

    /// Adds tags.
    #[must_use]
    pub fn add_tags<V>(mut self, tags: impl IntoIterOrSingle<Tag, V>) -> Self {
        let changed = insert_all(&mut self.tags, tags);
        self.changed_if(changed)
    }

    /// Removes tags.
    #[must_use]
    pub fn remove_tags<V>(mut self, tags: impl IntoIterOrSingle<Tag, V>) -> Self {
        let changed = remove_all(&mut self.tags, tags);
        self.changed_if(changed)
    }

    /// Adds a ticket; one that is there already is not added again.
    #[must_use]
    pub fn add_ticket(mut self, ticket: Ticket) -> Self {
        let changed = self.tickets.insert(ticket.id(), ticket).is_none();
        self.changed_if(changed)
    }

    /// Removes a ticket.
    #[must_use]
    pub fn remove_ticket(mut self, ticket_id: UniqueId) -> Self {
        let changed = self.tickets.remove(&ticket_id).is_some();
        self.changed_if(changed)
    }

    /// Removes all tickets of a class.
    #[must_use]
    pub fn remove_tickets_of(mut self, class: TicketClass) -> Self {
        let before = self.tickets.len();
        self.tickets.retain(|_, ticket| ticket.class != class);
        let changed = self.tickets.len() != before;
        self.changed_if(changed)
    }

    /// Signs the entry. The key must be the peer's own.
    pub fn sign(self, secret: &SecretKey) -> Result<SignedPeerEntry, Error> {
        SignedPeerEntry::sign(self, secret)
    }

    /// This entry as if it had been made at that moment.
    #[cfg(test)]
    pub(super) fn dated(mut self, unix_us: u64) -> Self {
        self.version = PeerEntryVersion::from_parts(unix_us / 1_000, unix_us);
        self
    }

    /// This entry at the version after `version`.
    pub(crate) fn succeeding(mut self, version: PeerEntryVersion) -> Self {
        self.version = version.next();
        self
    }

    fn changed_if(mut self, changed: bool) -> Self {
        if changed {
            self.version = self.version.next();
        }
        self
    }
}

fn insert_all<V>(set: &mut BTreeSet<Digest>, items: impl IntoIterOrSingle<Digest, V>) -> bool {
    let before = set.len();
    set.extend(items.iterator());
    set.len() != before
}

fn remove_all<V>(set: &mut BTreeSet<Digest>, items: impl IntoIterOrSingle<Digest, V>) -> bool {
    let before = set.len();
    for item in items.iterator() {
        set.remove(&item);
    }
    set.len() != before
}

impl AsRef<Self> for PeerEntry {
    fn as_ref(&self) -> &Self {
        self
    }
}

impl From<&Self> for PeerEntry {
    fn from(entry: &Self) -> Self {
        entry.clone()
    }
}

#[cfg(test)]
mod tests {
    use {super::*, bytes::Bytes};

    fn entry() -> PeerEntry {
        let peer = SecretKey::from_bytes(&[1; 32]).public();
        PeerEntry::starting_now(NetworkId::from("net"), EndpointAddr::new(peer))
    }

    /// Accepts tickets whose first byte is not zero, for that many hours; 255 means for ever.
    struct Hours(TicketClass);

    impl TicketValidator for Hours {
        fn class(&self) -> TicketClass {
            self.0
        }

        fn signature(&self) -> UniqueId {
            self.0
        }

        fn validate(&self, ticket: &[u8], _: &PeerEntry) -> Result<Expiration, InvalidTicket> {
            match ticket.first() {
                Some(0) | None => Err(InvalidTicket),
                Some(255) => Ok(Expiration::Never),
                Some(1) => Ok(Expiration::already_expired()),
                Some(hours) => Ok(Expiration::in_n_hours(i64::from(*hours))),
            }
        }
    }

    fn ticket(class: &str, hours: u8) -> Ticket {
        Ticket::new(Digest::from(class), Bytes::from(vec![hours]))
    }

    #[test]
    fn every_effective_change_is_a_new_version_and_no_other() {
        let first = entry();
        let tagged = first.clone().add_tags("a");
        assert!(tagged.is_newer_than(&first));
        assert_eq!(tagged.clone().add_tags(["a", "a"]), tagged);
        assert_eq!(tagged.clone().remove_tags("b"), tagged);
        assert_eq!(tagged.clone().remove_ticket(Digest::zero()), tagged);
        let without = tagged.clone().remove_tags(vec!["a"]);
        assert!(without.is_newer_than(&tagged) && without.tags().is_empty());
    }

    #[test]
    fn the_address_may_change_but_not_the_peer() {
        let moved = EndpointAddr::new(*entry().id()).with_ip_addr(([127, 0, 0, 1], 7).into());
        assert_eq!(
            *entry().update_address(moved.clone()).unwrap().address(),
            moved
        );
        let other = EndpointAddr::new(SecretKey::from_bytes(&[2; 32]).public());
        assert!(matches!(
            entry().update_address(other),
            Err(Error::PeerIdChanged(_, _))
        ));
    }

    #[test]
    fn every_validator_must_accept_and_any_ticket_of_its_class_will_do() {
        let both: [Box<dyn TicketValidator>; 2] = [
            Box::new(Hours(Digest::from("a"))),
            Box::new(Hours(Digest::from("b"))),
        ];
        let entry = entry()
            .add_ticket(ticket("a", 0))
            .add_ticket(ticket("a", 3));
        assert!(entry.validate_tickets(&both).is_err());
        assert!(entry.validate_tickets(&both[..1]).is_ok());
        let entry = entry.add_ticket(ticket("b", 255));
        let Some(Expiration::At(end)) = entry.validate_tickets(&both).unwrap() else {
            panic!("the earliest expiration binds");
        };
        assert!(end <= Utc::now() + chrono::Duration::hours(3));
        let entry = entry.add_ticket(ticket("a", 255));
        assert_eq!(
            entry.validate_tickets(&both).unwrap(),
            Some(Expiration::Never)
        );
        assert_eq!(entry.validate_tickets(&both[..0]).unwrap(), None);
    }

    #[test]
    fn an_acceptance_that_has_expired_is_none() {
        let entry = entry().add_ticket(ticket("a", 1));
        assert!(entry.validate_ticket(&Hours(Digest::from("a"))).is_err());
        assert!(entry.has_valid_ticket(Digest::from("a"), |data| data == [1]));
        assert!(!entry.has_valid_ticket(Digest::from("b"), |data| data == [1]));
    }

    #[test]
    fn tickets_are_removed_by_id_and_by_class() {
        let entry = entry()
            .add_ticket(ticket("a", 2))
            .add_ticket(ticket("a", 3))
            .add_ticket(ticket("b", 2));
        assert_eq!(entry.tickets_of(Digest::from("a")).count(), 2);
        let entry = entry.remove_ticket(ticket("a", 2).id());
        assert_eq!(entry.tickets().len(), 2);
        let entry = entry.remove_tickets_of(Digest::from("a"));
        assert_eq!(
            entry.tickets().values().collect::<Vec<_>>(),
            [&ticket("b", 2)]
        );
    }

    #[test]
    fn it_survives_binary_and_text_encodings() {
        let entry = entry()
            .add_tags(["x", "y"])
            .add_streams("s")
            .add_functions("f")
            .add_groups("g")
            .add_ticket(ticket("a", 9));
        let binary: PeerEntry = codec::deserialize(entry.encode()).unwrap();
        assert_eq!(binary, entry);
        assert_eq!(binary.digest(), entry.digest());
        let text = serde_json::to_string(&entry).unwrap();
        assert_eq!(serde_json::from_str::<PeerEntry>(&text).unwrap(), entry);
    }
}
