//! Members in memory: one catches up, the others answer it, well or badly.

use {
    crate::{
        NetworkId, PeerId,
        discovery::{PeerEntry, SignedPeerEntry},
        groups::{
            ApplyContext, Bonds, Cursor, GroupId, InMemoryLogStore, Index, LogReplaySession,
            LogReplaySync, LogReplaySyncMessage, StateMachine, StateSync, StateSyncProvider,
            StateSyncSession, Storage, SyncContext, SyncProviderContext, SyncSessionContext, Term,
            bond::{BondControl, BondState, BondsSender, PeerCell},
            sync::Sealed,
        },
        primitives::encoding::{EncodeError, deserialize, try_serialize},
    },
    core::{
        future::poll_fn,
        task::{Context, Poll},
        time::Duration,
    },
    iroh::{EndpointAddr, SecretKey, endpoint::ApplicationClose},
    mosaik_primitives::{Digest, Encoded, UniqueId, time::UnixMillis},
    std::{collections::VecDeque, sync::Arc, time::SystemTime},
};

pub(super) type Sync = LogReplaySync<Notes>;
pub(super) type Message = LogReplaySyncMessage<Vec<u8>>;

/// Notes every command with its place and time.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Notes(pub(super) Vec<(Vec<u8>, Cursor, SystemTime)>);

impl StateMachine for Notes {
    type Command = Vec<u8>;
    type Query = ();
    type QueryResult = ();
    type StateSync = Sync;

    fn signature(&self) -> UniqueId {
        UniqueId::from("notes")
    }

    fn apply(&mut self, command: Vec<u8>, ctx: &dyn ApplyContext) {
        self.0
            .push((command, ctx.committed(), ctx.committed_time()));
    }

    fn query(&self, (): ()) {}

    fn state_sync(&self) -> Sync {
        Sync::default()
    }
}

/// How a member answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Manner {
    Honest,
    /// Says what it holds, and then nothing.
    Silent,
    /// Says it holds everything, and sends nothing of it.
    Refuses,
    /// Sends fewer commands than it says.
    Miscounts,
    /// Sends other commands than it was asked for.
    Shifts,
    /// Sends more than it was asked for.
    Overdoes,
    /// Sends commands whose terms fall.
    TermsFall,
    /// Sends terms that are later than the log's.
    TermsRise,
    /// Sends times for other numbers of commands.
    TimesMiscount,
    /// Sends everything twice.
    Repeats,
}

impl Manner {
    pub(super) const BAD: [Self; 9] = [
        Self::Silent,
        Self::Refuses,
        Self::Miscounts,
        Self::Shifts,
        Self::Overdoes,
        Self::TermsFall,
        Self::TermsRise,
        Self::TimesMiscount,
        Self::Repeats,
    ];

    fn answer(self, message: Message) -> Vec<Message> {
        let LogReplaySyncMessage::FetchEntriesResponse {
            mut range,
            mut entries,
            mut times,
        } = message
        else {
            return vec![message];
        };
        match self {
            Self::Silent => return Vec::new(),
            Self::Refuses => entries.clear(),
            Self::Miscounts => drop(entries.pop()),
            Self::Shifts => range = range.start().next()..=range.end().next(),
            Self::Overdoes => {
                range = *range.start()..=range.end().next();
                entries.push((Encoded(vec![0]), entries.last().unwrap().1));
                times.last_mut().unwrap().1 += 1;
            }
            Self::TermsFall => entries.last_mut().unwrap().1 = Term::zero(),
            Self::TermsRise => {
                let last = entries.last_mut().unwrap();
                last.1 = last.1 + 100u8;
            }
            Self::TimesMiscount => times[0].1 += 1,
            Self::Honest | Self::Repeats => {}
        }
        let answer = LogReplaySyncMessage::FetchEntriesResponse {
            range,
            entries,
            times,
        };
        match self {
            Self::Repeats => vec![answer.clone(), answer],
            _ => vec![answer],
        }
    }
}

struct NoControl;

impl BondControl for NoControl {
    fn close(&self, _: ApplicationClose) {}

    fn rtt(&self) -> Option<Duration> {
        None
    }
}

/// One member's side of the group.
pub(super) struct Member {
    entry: SignedPeerEntry,
    pub(super) machine: Notes,
    pub(super) log: InMemoryLogStore<Vec<u8>>,
    pub(super) committed: Cursor,
    pub(super) outbox: Vec<(PeerId, Message)>,
    bonds: BondsSender,
    pub(super) manner: Manner,
    /// Commands it was asked for and sent.
    pub(super) served: usize,
    /// Times it was asked for commands.
    pub(super) asked: usize,
    /// Length of the largest message it sent, bytes.
    pub(super) largest: usize,
}

impl Member {
    fn new(id: u8) -> Self {
        let secret = SecretKey::from_bytes(&[id; 32]);
        let address = EndpointAddr::new(secret.public());
        let entry = PeerEntry::starting_now(NetworkId::from("net"), address);
        Self {
            entry: entry.sign(&secret).unwrap(),
            machine: Notes::default(),
            log: InMemoryLogStore::default(),
            committed: Cursor::zero(),
            outbox: Vec::new(),
            bonds: BondsSender::new(),
            manner: Manner::Honest,
            served: 0,
            asked: 0,
            largest: 0,
        }
    }

    pub(super) fn id(&self) -> PeerId {
        *self.entry.id()
    }
}

impl Sealed for Member {}

impl SyncContext<Sync> for Member {
    fn state_machine(&self) -> &Notes {
        &self.machine
    }

    fn state_machine_mut(&mut self) -> &mut Notes {
        &mut self.machine
    }

    fn log(&self) -> &dyn Storage<Vec<u8>> {
        &self.log
    }

    fn log_mut(&mut self) -> &mut dyn Storage<Vec<u8>> {
        &mut self.log
    }

    fn committed(&self) -> Cursor {
        self.committed
    }

    fn local_id(&self) -> PeerId {
        self.id()
    }

    fn group_id(&self) -> GroupId {
        GroupId::from("group")
    }

    fn network_id(&self) -> NetworkId {
        NetworkId::from("net")
    }

    fn send_to(&mut self, peer: PeerId, message: Message) -> Result<(), EncodeError> {
        self.outbox.push((peer, message));
        Ok(())
    }

    fn broadcast(&mut self, message: Message) -> Result<Vec<PeerId>, EncodeError> {
        let peers = self.bonds().peers();
        for peer in &peers {
            self.send_to(*peer, message.clone())?;
        }
        Ok(peers)
    }

    fn bonds(&self) -> Bonds<Notes> {
        self.bonds.bonds()
    }
}

impl SyncSessionContext<Sync> for Member {
    fn leader(&self) -> PeerId {
        self.id()
    }

    fn set_committed(&mut self, position: Cursor) {
        assert!(position.index() >= self.committed.index());
        self.committed = position;
    }
}

impl SyncProviderContext<Sync> for Member {
    fn leader(&self) -> Option<PeerId> {
        None
    }

    fn feed_command(&mut self, command: Vec<u8>) -> Result<(), Vec<u8>> {
        Err(command)
    }
}

/// The member that catches up, and the others.
pub(super) struct World {
    pub(super) joiner: Member,
    pub(super) others: Vec<Member>,
    /// Answers under way to the joiner.
    pub(super) answers: VecDeque<(PeerId, Message)>,
    /// Whether the latest answer arrives first.
    pub(super) reordered: bool,
}

impl World {
    /// `manners` members that all hold `commands` commands of three terms.
    pub(super) fn new(commands: u64, manners: &[Manner]) -> Self {
        let mut world = Self {
            joiner: Member::new(1),
            others: Vec::new(),
            answers: VecDeque::new(),
            reordered: false,
        };
        for manner in manners {
            let other = world.meet(*manner);
            for index in 1..=commands {
                let (term, time) = (1 + 3 * (index - 1) / commands, 1_000 + index / 7);
                let command = index.to_le_bytes().to_vec();
                other.log.append_at(command, term.into(), UnixMillis(time));
            }
            other.committed = other.log.last();
        }
        world
    }

    /// One more member, bonded with the joiner.
    pub(super) fn meet(&mut self, manner: Manner) -> &mut Member {
        let mut other = Member::new(2 + self.others.len() as u8);
        other.manner = manner;
        let bond = BondState::new(
            Digest::random(),
            PeerCell::new(Arc::new(other.entry.clone())),
            NoControl,
        );
        self.joiner.bonds.insert(other.id(), bond);
        self.others.push(other);
        self.others.last_mut().unwrap()
    }

    /// The bond with a member is lost.
    pub(super) fn lose(&mut self, other: usize) {
        let id = self.others[other].id();
        self.joiner.bonds.remove(&id).unwrap();
    }

    /// A session that brings the joiner to where the first of the others is.
    pub(super) fn session(&mut self, sync: &Sync) -> LogReplaySession<Notes> {
        let target = self.others[0].committed;
        sync.create_session(&mut self.joiner, target, target.index(), Vec::new())
    }

    /// Lets everyone talk until the session is done; within ten virtual minutes.
    pub(super) async fn run(&mut self, session: &mut LogReplaySession<Notes>) -> Cursor {
        let done = poll_fn(|cx| self.step(session, cx));
        tokio::time::timeout(Duration::from_mins(10), done)
            .await
            .expect("the session comes to an end")
    }

    /// Lets everyone talk until nothing is left to say.
    pub(super) fn step(
        &mut self,
        session: &mut LogReplaySession<Notes>,
        cx: &mut Context<'_>,
    ) -> Poll<Cursor> {
        loop {
            if let Poll::Ready(cursor) = session.poll(cx, &mut self.joiner) {
                return Poll::Ready(cursor);
            }
            self.ask();
            let answer = if self.reordered {
                self.answers.pop_back()
            } else {
                self.answers.pop_front()
            };
            let Some((from, message)) = answer else {
                return Poll::Pending;
            };
            session.receive(message, from, &mut self.joiner);
        }
    }

    /// Takes the joiner's questions to the others.
    fn ask(&mut self) {
        let joiner = self.joiner.id();
        for (to, message) in core::mem::take(&mut self.joiner.outbox) {
            let Some(other) = self.others.iter_mut().find(|other| other.id() == to) else {
                continue;
            };
            if matches!(message, LogReplaySyncMessage::FetchEntriesRequest(_)) {
                other.asked += 1;
            }
            let mut provider = Sync::default().create_provider(other);
            let refused = provider.receive(travelled(&message).0, joiner, other);
            assert!(refused.is_ok(), "requests are for providers");
            for (_, answer) in core::mem::take(&mut other.outbox) {
                if let LogReplaySyncMessage::FetchEntriesResponse { entries, .. } = &answer {
                    other.served += entries.len();
                }
                for answer in other.manner.answer(answer) {
                    let (answer, bytes) = travelled(&answer);
                    other.largest = other.largest.max(bytes);
                    self.answers.push_back((to, answer));
                }
            }
        }
    }

    /// The joiner knows and did what the first of the others holds, up to `index`.
    pub(super) fn check(&self, index: Index) {
        let source = &self.others[0].log;
        assert_eq!(self.joiner.machine.0.len(), index.as_usize());
        for ((command, at, time), index) in self.joiner.machine.0.iter().zip(1u64..) {
            let (expected, term) = source.get(index.into()).unwrap();
            assert_eq!((command, at), (&expected, &Cursor::new(term, index.into())));
            let millis = source.time_at(index.into()).unwrap().0;
            let expected = SystemTime::UNIX_EPOCH + Duration::from_millis(millis);
            assert_eq!(*time, expected);
        }
        let all = Index::one()..=index;
        assert_eq!(self.joiner.log.get_range(&all), source.get_range(&all));
        assert_eq!(self.joiner.committed.index(), index);
    }
}

/// What arrives of a message, and its length.
fn travelled(message: &Message) -> (Message, usize) {
    let bytes = try_serialize(message).unwrap();
    (deserialize(&bytes).unwrap(), bytes.len())
}
