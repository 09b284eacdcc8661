//! What a session promises to the member that catches up.

use {
    super::world::{Manner, Sync, World},
    crate::groups::{
        Cursor, Index, LogReplaySyncMessage, StateSync, StateSyncProvider, StateSyncSession,
        Storage, Term,
    },
    core::{future::poll_fn, num::NonZero, task::Poll, time::Duration},
    mosaik_primitives::time::UnixMillis,
    proptest::prelude::*,
    tokio::time::Instant,
};

fn batches_of(size: u64) -> Sync {
    Sync::default().with_batch_size(NonZero::new(size).unwrap())
}

#[tokio::test(start_paused = true)]
async fn several_members_share_the_work_and_order_is_kept() {
    for reordered in [false, true] {
        let mut world = World::new(10_000, &[Manner::Honest; 3]);
        world.reordered = reordered;
        let mut session = world.session(&batches_of(100));
        let end = world.run(&mut session).await;
        assert_eq!(end, world.others[0].committed);
        world.check(Index::from(10_000));
        let served: Vec<_> = world.others.iter().map(|other| other.served).collect();
        assert_eq!(served.iter().sum::<usize>(), 10_000);
        // With the latest first, those who spoke first may not be heard before it is all done.
        let shared = served.iter().all(|served| *served >= 1_000);
        assert!(shared || reordered, "{served:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_member_that_has_some_already_fetches_the_rest_only() {
    let mut world = World::new(500, &[Manner::Honest]);
    for (term, _, command) in world.others[0]
        .log
        .get_range(&(Index::one()..=Index::from(400)))
    {
        world.joiner.log.append_at(command, term, UnixMillis(1));
    }
    world.joiner.committed = world.joiner.log.last();
    let mut session = world.session(&batches_of(64));
    world.run(&mut session).await;
    assert_eq!(world.others[0].served, 100);
    assert_eq!(world.joiner.machine.0.len(), 100);
    assert_eq!(world.joiner.machine.0[0].1.index(), 401);
    assert_eq!(world.joiner.committed, world.others[0].committed);
}

#[tokio::test(start_paused = true)]
async fn members_are_asked_only_for_what_they_hold() {
    let mut world = World::new(1_000, &[Manner::Honest; 3]);
    world.others[1].log.prune_prefix(Index::from(700));
    world.others[2].log.prune_prefix(Index::from(1_000));
    let mut session = world.session(&batches_of(50));
    world.run(&mut session).await;
    world.check(Index::from(1_000));
    assert!(world.others[0].served >= 700 && world.others[2].asked == 0);
}

#[tokio::test(start_paused = true)]
async fn whoever_answers_badly_is_done_without() {
    for manner in Manner::BAD {
        let mut world = World::new(2_000, &[Manner::Honest, manner]);
        let sync = batches_of(100).with_fetch_timeout(Duration::from_secs(5));
        let mut session = world.session(&sync);
        let end = world.run(&mut session).await;
        assert_eq!(end, world.others[0].committed, "{manner:?}");
        world.check(Index::from(2_000));
        let asked = world.others[1].asked;
        assert!(asked <= 20, "{manner:?} was asked {asked} times");
    }
}

#[tokio::test(start_paused = true)]
async fn a_lost_member_is_not_waited_for() {
    let mut world = World::new(1_000, &[Manner::Honest, Manner::Silent]);
    let start = Instant::now();
    let mut session = world.session(&batches_of(100));
    let waits = poll_fn(|cx| Poll::Ready(world.step(&mut session, cx).is_pending())).await;
    assert!(waits && world.others[1].asked > 0);
    world.lose(1);
    world.run(&mut session).await;
    world.check(Index::from(1_000));
    assert!(start.elapsed() < Duration::from_secs(5));
}

#[tokio::test(start_paused = true)]
async fn a_silent_member_is_asked_in_vain_once_at_most_while_another_answers() {
    let mut world = World::new(1_000, &[Manner::Honest, Manner::Silent]);
    let start = Instant::now();
    let mut session = world.session(&batches_of(100));
    world.run(&mut session).await;
    world.check(Index::from(1_000));
    assert_eq!(world.others[1].asked, 2);
    assert!(start.elapsed() < Duration::from_secs(26));
}

#[tokio::test(start_paused = true)]
async fn members_that_come_later_are_asked_too() {
    let mut world = World::new(300, &[Manner::Honest]);
    let source = world.others[0]
        .log
        .get_range(&(Index::one()..=Index::from(300)));
    world.lose(0);
    let mut session = world.session(&batches_of(100));
    let waits = poll_fn(|cx| Poll::Ready(world.step(&mut session, cx).is_pending())).await;
    assert!(waits);
    let newcomer = world.meet(Manner::Honest);
    for (term, index, command) in source {
        let time = UnixMillis(1_000 + index.as_u64() / 7);
        newcomer.log.append_at(command, term, time);
    }
    newcomer.committed = newcomer.log.last();
    world.run(&mut session).await;
    world.check(Index::from(300));
    assert_eq!(world.others[0].served, 0);
}

#[tokio::test(start_paused = true)]
async fn members_who_all_answered_badly_get_another_chance() {
    let mut world = World::new(300, &[Manner::Miscounts; 2]);
    let mut session = world.session(&batches_of(100));
    let waits = poll_fn(|cx| Poll::Ready(world.step(&mut session, cx).is_pending())).await;
    assert!(waits && world.joiner.machine.0.len() < 300);
    world.others[1].manner = Manner::Honest;
    world.run(&mut session).await;
    world.check(Index::from(300));
}

#[tokio::test(start_paused = true)]
async fn large_commands_come_in_messages_of_bounded_size() {
    let mut world = World::new(0, &[Manner::Honest]);
    let other = &mut world.others[0];
    for n in 0..30 {
        let command = vec![n; 600 << 10];
        other.log.append_at(command, Term::one(), UnixMillis(7));
    }
    other
        .log
        .append_at(vec![0; 5 << 20], Term::one(), UnixMillis(7));
    other.committed = other.log.last();
    let mut session = world.session(&Sync::default());
    world.run(&mut session).await;
    world.check(Index::from(31));
    let largest = world.others[0].largest;
    assert!((5 << 20..6 << 20).contains(&largest), "{largest} bytes");
}

#[tokio::test(start_paused = true)]
async fn only_committed_commands_are_given_to_others() {
    let mut world = World::new(100, &[Manner::Honest]);
    let other = &mut world.others[0];
    other.committed = Cursor::new(Term::one(), Index::from(20));
    let provider = &mut Sync::default().create_provider(other);
    let joiner = world.joiner.id();
    let ask = LogReplaySyncMessage::AvailabilityRequest;
    provider.receive(ask, joiner, other).ok().unwrap();
    let ask = LogReplaySyncMessage::FetchEntriesRequest(Index::from(15)..=Index::from(60));
    provider.receive(ask, joiner, other).ok().unwrap();
    let ask = LogReplaySyncMessage::FetchEntriesRequest(Index::from(u64::MAX)..=Index::zero());
    provider.receive(ask, joiner, other).ok().unwrap();
    let answers: Vec<_> = other.outbox.drain(..).map(|(_, answer)| answer).collect();
    let [held, some, none] = answers.try_into().ok().unwrap();
    let LogReplaySyncMessage::AvailabilityResponse(held) = held else {
        panic!("not what was asked");
    };
    assert_eq!(held, Index::one()..=Index::from(20));
    let sent = |answer| match answer {
        LogReplaySyncMessage::FetchEntriesResponse { range, entries, .. } => (range, entries.len()),
        _ => panic!("not what was asked"),
    };
    assert_eq!(sent(some), (Index::from(15)..=Index::from(20), 6));
    assert_eq!(sent(none).1, 0);
    let answer = LogReplaySyncMessage::AvailabilityResponse(Index::one()..=Index::one());
    assert!(provider.receive(answer, joiner, other).is_err());
}

#[tokio::test(start_paused = true)]
async fn what_is_replicated_meanwhile_follows_and_only_what_is_committed_is_applied() {
    let mut world = World::new(90, &[Manner::Honest]);
    let target = Cursor::new(Term::from(2), Index::from(60));
    let rest = |from: u64, upto: u64, term: u64| -> Vec<_> {
        (from..=upto)
            .map(|index| (index.to_le_bytes().to_vec(), Term::from(term)))
            .collect()
    };
    let sync = batches_of(10);
    let commit = Index::from(62);
    let mut session = sync.create_session(&mut world.joiner, target, commit, rest(61, 63, 2));
    let at = |index: u64| Cursor::new(Term::from(2), Index::from(index));
    session.buffer(at(63), rest(64, 66, 2), &mut world.joiner);
    // A new leader has something else there; and something that follows nothing known.
    session.buffer(at(64), rest(65, 65, 3), &mut world.joiner);
    session.buffer(at(80), rest(81, 90, 3), &mut world.joiner);
    let end = world.run(&mut session).await;
    assert_eq!(end, Cursor::new(Term::from(3), Index::from(65)));
    assert_eq!(world.joiner.log.last(), end);
    assert_eq!(world.joiner.committed.index(), commit);
    assert_eq!(world.joiner.machine.0.len(), 62);
}

fn manners() -> impl Strategy<Value = Vec<Manner>> {
    let any = proptest::sample::select([&Manner::BAD[..], &[Manner::Honest; 4]].concat());
    proptest::collection::vec(any, 0..5)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    // Two commands at a time at least: one that is given as the answer to another question that
    // was asked can be right, as far as anybody can tell. Members are believed what they hold.
    #[test]
    fn one_honest_member_is_enough(
        others in manners(),
        commands in 1..600u64,
        batch in 2..200u64,
        reordered: bool,
    ) {
        let manners = [&[Manner::Honest][..], &others].concat();
        let mut world = World::new(commands, &manners);
        world.reordered = reordered;
        let sync = batches_of(batch).with_fetch_timeout(Duration::from_secs(2));
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .start_paused(true)
            .build()
            .unwrap();
        runtime.block_on(async {
            let mut session = world.session(&sync);
            world.run(&mut session).await;
        });
        world.check(Index::from(commands));
    }
}
