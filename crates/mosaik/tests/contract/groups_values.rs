//! The plain values of `mosaik::groups`: counters, cursors, keys, configurations, errors.

use {
    mosaik::{
        Consistency, Digest, GroupId, GroupKey, PeerId, Strong, UniqueId, Weak,
        groups::{
            self, CommandError, Config, ConfigBuilder, ConfigBuilderError, ConsensusConfig,
            ConsensusConfigBuilder, ConsensusConfigBuilderError, Cursor, CursorWatcher, Error,
            InMemoryLogStore, Index, IndexOrRange, IndexRange, LeadershipPreference, NoOp,
            QueryError, QueryResultAt, Storage, Term, When,
        },
        primitives::encoding::EncodeError,
    },
    serde::{Serialize, de::DeserializeOwned},
    std::{
        fmt::{Debug, Display},
        future::Future,
        hash::Hash,
        ops::{Add, Sub},
        time::Duration,
    },
};

macro_rules! counter {
    ($name:ident) => {
        implements!($name: Clone + Copy + Debug + Default + Display + Eq + Hash + Ord);
        implements!($name: Serialize + DeserializeOwned + Send + Sync + 'static);
        implements!($name: Add<Output = $name> + Sub<Output = $name> + From<&'static $name>);
        counter!(@add $name: u8 u16 u32 u64 usize);
        counter!(@add $name: &'static u8, &'static u16, &'static u32, &'static u64);
        counter!(@sub $name: u8 u16 u32 u64 usize);
        counter!(@compare $name: u8 u16 u32 u64 i8 i16 i32 i64);
        counter!(@from $name: u8 u16 u32 u64 usize i8 i16 i32 i64);
    };
    (@add $name:ident: $($int:ty),*) => { $(implements!($name: Add<$int, Output = $name>);)* };
    (@add $name:ident: $($int:ty)*) => { $(implements!($name: Add<$int, Output = $name>);)* };
    (@sub $name:ident: $($int:ty)*) => { $(implements!($name: Sub<$int, Output = $name>);)* };
    (@from $name:ident: $($int:ty)*) => { $(
        implements!($name: From<$int> + From<&'static $int>);
    )* };
    (@compare $name:ident: $($int:ty)*) => { $(
        implements!($name: PartialEq<$int> + PartialOrd<$int>);
        implements!($name: PartialEq<&'static $int> + PartialOrd<&'static $int>);
        implements!(&'static $name: PartialEq<$int> + PartialOrd<$int>);
    )* };
}

#[test]
fn counters_behave_as_numbers_of_their_own() {
    counter!(Index);
    counter!(Term);
    implements!(Index: PartialEq<Cursor> + PartialOrd<Cursor>);
    const FIRST: Index = Index::one();
    const TERM: Term = Term::zero();
    const NEXT: Index = FIRST.next().prev();
    const IS_ZERO: bool = TERM.is_zero();
    assert!(IS_ZERO && NEXT == 1 && FIRST + 2u64 == 3 && FIRST.as_usize() == 1);
    let distance: u64 = Index::from(9).distance(&Index::from(4));
    assert_eq!(distance, 5);
    let range: IndexRange = Index::from(1)..=Index::from(3);
    assert!(range.contains(&FIRST));
    let mut sorted = [Index::from(3), Index::zero(), Index::one()];
    sorted.sort();
    assert_eq!(sorted.map(|index| index.to_string()), ["0", "1", "3"]);
}

#[test]
fn cursors_are_a_term_and_an_index() {
    implements!(Cursor: Clone + Copy + Debug + Default + Display + Eq + Hash + Ord);
    implements!(Cursor: Serialize + DeserializeOwned + From<(Term, Index)>);
    implements!(Cursor: PartialEq<Index> + PartialEq<Term> + PartialOrd<Index> + PartialOrd<Term>);
    implements!(Index: From<Cursor>);
    const AT: Cursor = Cursor::new(Term::one(), Index::one());
    const PARTS: (Term, Index) = (AT.term(), AT.index());
    const ZERO: bool = Cursor::zero().is_zero();
    assert!(ZERO && Cursor::from(PARTS) == AT && Cursor::default().is_behind(&AT));
}

#[test]
fn keys_come_from_secrets_and_digests() {
    implements!(GroupKey: Clone + Copy + Debug + Display + Eq + Hash + Serialize + DeserializeOwned);
    const KEY: GroupKey = GroupKey::new(Digest::zero());
    const SECRET: &Digest = KEY.secret();
    let secret = String::from("secret");
    let keys: [GroupKey; 6] = [
        GroupKey::from_secret("secret"),
        GroupKey::from_secret(Digest::from("secret")),
        "secret".into(),
        (&secret).into(),
        Digest::from("secret").into(),
        (&Digest::from("secret")).into(),
    ];
    assert!(keys.iter().all(|key| key == &keys[0]));
    assert!(GroupKey::random() != KEY && *SECRET == Digest::zero());
    let id: GroupId = UniqueId::zero();
    assert_eq!(id, groups::GroupId::zero());
}

#[test]
fn configurations_are_built_and_have_the_documented_defaults() {
    implements!(ConsensusConfig: Clone + Debug + Default + Eq + Hash + Serialize + DeserializeOwned);
    implements!(ConsensusConfigBuilder: Clone + Debug + Default);
    implements!(ConsensusConfigBuilderError: Debug + std::error::Error + From<String>);
    implements!(Config: Clone + Debug);
    implements!(ConfigBuilder: Clone + Debug + Default);
    implements!(ConfigBuilderError: Debug + std::error::Error + From<String>);
    let config: Result<Config, ConfigBuilderError> = Config::builder()
        .with_handshake_timeout(Duration::from_secs(3))
        .build();
    assert_eq!(config.unwrap().handshake_timeout, Duration::from_secs(3));
    let millis = Duration::from_millis;
    let built: Result<ConsensusConfig, ConsensusConfigBuilderError> = ConsensusConfig::builder()
        .with_heartbeat_interval(millis(500))
        .with_heartbeat_jitter(millis(150))
        .with_max_missed_heartbeats(10)
        .with_election_timeout(millis(2_000))
        .with_election_timeout_jitter(millis(500))
        .with_bootstrap_delay(millis(3_000))
        .with_forward_timeout(millis(2_000))
        .with_query_timeout(millis(2_000))
        .build();
    assert_eq!(built.unwrap(), ConsensusConfig::default());
    let changed = ConsensusConfig {
        heartbeat_interval: millis(50),
        ..ConsensusConfig::default()
    };
    assert_ne!(changed, ConsensusConfig::default());
}

fn explain(error: CommandError<NoOp>) -> Vec<()> {
    match error {
        CommandError::Offline(commands) => commands,
        CommandError::NoCommands | CommandError::GroupTerminated => Vec::new(),
        CommandError::Encoding(commands, error) => {
            let _: EncodeError = error;
            commands
        }
        other => panic!("{other}"),
    }
}

fn explain_query(error: QueryError<NoOp>) {
    match error {
        QueryError::Offline(()) | QueryError::GroupTerminated => {}
        QueryError::Encoding((), error) => {
            let _: EncodeError = error;
        }
        other => panic!("{other}"),
    }
}

fn explain_group(error: &Error) -> bool {
    match error {
        Error::GroupTerminated | Error::InvalidGroupKeyProof | Error::Unauthorized => true,
        Error::Link(error) => error.to_string().is_empty(),
        Error::AlreadyBonded(link) => link.remote_id() == link.remote_id(),
        Error::Discovery(error) => error.to_string().is_empty(),
        _ => false,
    }
}

#[test]
fn errors_hand_back_what_was_not_taken() {
    implements!(CommandError<NoOp>: Debug + Display + std::error::Error + Send + Sync);
    implements!(QueryError<NoOp>: Debug + Display + std::error::Error + Send + Sync);
    implements!(Error: Debug + Display + std::error::Error);
    assert_eq!(explain(CommandError::Offline(vec![(), ()])).len(), 2);
    explain_query(QueryError::Offline(()));
    assert!(explain_group(&Error::Unauthorized));
}

#[test]
fn answers_carry_their_place() {
    implements!(QueryResultAt<NoOp>: Clone + Debug + PartialEq<()> + Serialize + DeserializeOwned);
    let answer = QueryResultAt::<NoOp> {
        result: (),
        at_position: Index::from(4),
    };
    let position: Index = answer.state_position();
    let _: &() = answer.result();
    let _: &() = &answer;
    assert_eq!(position, answer.at_position);
    answer.into();
    implements!(Consistency: Clone + Copy + Debug + Eq);
    assert!(Weak == Consistency::Weak && Strong == Consistency::Strong && Weak != Strong);
    implements!(LeadershipPreference: Clone + Copy + Debug + Default + Eq);
    const RELUCTANT: LeadershipPreference = LeadershipPreference::reluctant();
    assert_eq!(RELUCTANT, LeadershipPreference::Reluctant { factor: 3 });
}

/// What [`When`] gives can be kept anywhere.
#[expect(dead_code, reason = "compiling is the test")]
fn conditions(when: &When, peer: PeerId) {
    fn future<T>(_: impl Future<Output = T> + Send + Sync + 'static) {}
    implements!(When: Clone + Debug);
    future::<PeerId>(when.leader_elected());
    future::<PeerId>(when.leader_changed());
    future::<()>(when.leader_is(peer));
    future::<()>(when.is_leader());
    future::<()>(when.is_follower());
    future::<()>(when.online());
    future::<()>(when.offline());
    let log: CursorWatcher<Cursor> = when.log();
    let committed: CursorWatcher<Index> = when.committed();
    future::<Cursor>(log.changed());
    future::<Cursor>(log.advanced());
    future::<Cursor>(log.reverted());
    future::<Cursor>(log.reaches(Cursor::zero()));
    future::<Index>(committed.reaches(Index::one()));
    future::<Index>(committed.reaches(3));
    future::<Index>(committed.reaches(Index::one()..=Index::from(3)));
    fn place(_: impl IndexOrRange) {}
    place(7u64);
}

#[test]
fn the_memory_store_is_a_store() {
    implements!(InMemoryLogStore<String>: Debug + Default + Storage<String>);
    let mut store: Box<dyn Storage<String>> = Box::new(InMemoryLogStore::default());
    let index: Index = store.append("one".into(), Term::one());
    assert_eq!(store.available(), index..=index);
    assert_eq!(store.get(index), Some(("one".into(), Term::one())));
    let range: Vec<(Term, Index, String)> = store.get_range(&(index..=index));
    assert_eq!(range.len(), 1);
    assert_eq!(store.last(), Cursor::new(Term::one(), index));
    assert_eq!(store.term_at(index), Some(Term::one()));
    store.prune_prefix(index);
    store.truncate(index);
    store.reset_to(Cursor::zero());
    assert_eq!(store.last(), Cursor::zero());
}
