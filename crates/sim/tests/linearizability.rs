//! The checker accepts what one machine could have answered and rejects every corruption of it.

use mosaik_sim::{
    history::{Call, History, Register, Reply},
    linearizability::{Verdict, check_history},
    rng::Rng,
};

/// A history that overlapping clients could have seen: each operation takes effect at a random
/// point between call and answer, one in ten stays unanswered.
fn truthful(seed: u64, operations: u64) -> History {
    let mut rng = Rng::new(seed);
    let mut points = Vec::new();
    for id in 0..operations {
        let start = rng.below(operations * 10);
        let effect = start + rng.below(60);
        let end = effect + rng.below(60);
        let call = match rng.below(3) {
            0 => Call::Swap(id + 1),
            1 => Call::CompareAndSet {
                expected: rng.below(id + 1),
                new: id + 1,
            },
            _ => Call::Read,
        };
        points.push((
            effect,
            start,
            end,
            rng.below(2) as u8,
            call,
            rng.chance(100),
        ));
    }
    points.sort_by_key(|point| point.0);
    let mut history = History::default();
    let mut values = [0; 2];
    for (_, start, end, key, call, silent) in points {
        let (after, reply) = Register::apply(values[usize::from(key)], call);
        values[usize::from(key)] = after;
        let id = history.invoke(start, key, call);
        if !silent {
            history.answer(id, end, reply);
        }
    }
    history
}

/// Rebuilds a history with one operation's answer replaced.
fn with_answer(history: &History, changed: usize, answer: (u64, Reply)) -> History {
    let mut result = History::default();
    for (position, operation) in history.operations().iter().enumerate() {
        let id = result.invoke(operation.invoked, operation.key, operation.call);
        let answered = if position == changed {
            Some(answer)
        } else {
            operation.answered
        };
        if let Some((at, reply)) = answered {
            result.answer(id, at, reply);
        }
    }
    result
}

fn rejected(history: &History) -> bool {
    matches!(
        check_history(history),
        Err((_, _, Verdict::Violated { .. }))
    )
}

#[test]
fn what_one_machine_answered_is_linearizable() {
    for seed in 0..50 {
        assert_eq!(check_history(&truthful(seed, 120)), Ok(()), "seed {seed}");
    }
}

#[test]
fn a_value_that_nobody_wrote_is_rejected() {
    for seed in 0..50 {
        let history = truthful(seed, 120);
        let (position, end) = history
            .operations()
            .iter()
            .enumerate()
            .find_map(|(position, operation)| match operation.answered {
                Some((end, Reply::Value(_))) => Some((position, end)),
                _ => None,
            })
            .unwrap();
        assert!(rejected(&with_answer(
            &history,
            position,
            (end, Reply::Value(999_999))
        )));
    }
}

#[test]
fn a_compare_and_set_that_lied_is_rejected() {
    let mut caught = 0;
    for seed in 0..50 {
        let history = truthful(seed, 120);
        for (position, operation) in history.operations().iter().enumerate() {
            // A set that claims to have failed while its value was seen afterwards.
            if let (Call::CompareAndSet { new, .. }, Some((end, Reply::Done(true)))) =
                (operation.call, operation.answered)
                && history.operations().iter().any(|other| {
                    other
                        .answered
                        .is_some_and(|(_, reply)| reply == Reply::Value(new))
                })
            {
                let corrupted = with_answer(&history, position, (end, Reply::Done(false)));
                assert!(rejected(&corrupted), "seed {seed}, operation {position}");
                caught += 1;
            }
        }
    }
    assert!(
        caught > 10,
        "the corruption must have been possible: {caught}"
    );
}

#[test]
fn a_stale_read_is_rejected() {
    let mut history = History::default();
    let first = history.invoke(0, 0, Call::Swap(1));
    history.answer(first, 10, Reply::Value(0));
    let second = history.invoke(20, 0, Call::Swap(2));
    history.answer(second, 30, Reply::Value(1));
    let stale = history.invoke(40, 0, Call::Read);
    history.answer(stale, 50, Reply::Value(1));
    assert!(rejected(&history));
}

#[test]
fn a_lost_acknowledged_write_is_rejected() {
    let mut history = History::default();
    let write = history.invoke(0, 0, Call::Swap(1));
    history.answer(write, 10, Reply::Value(0));
    let read = history.invoke(11, 0, Call::Read);
    history.answer(read, 12, Reply::Value(0));
    assert!(rejected(&history));
}

#[test]
fn a_write_applied_twice_is_rejected() {
    let mut history = History::default();
    let write = history.invoke(0, 0, Call::Swap(1));
    history.answer(write, 10, Reply::Value(0));
    let other = history.invoke(20, 0, Call::Swap(2));
    history.answer(other, 30, Reply::Value(1));
    let read = history.invoke(40, 0, Call::Read);
    history.answer(read, 50, Reply::Value(1));
    assert!(rejected(&history));
}

#[test]
fn an_unanswered_write_may_take_effect_late_or_never() {
    for seen in [0, 7] {
        let mut history = History::default();
        history.invoke(0, 0, Call::Swap(7));
        let before = history.invoke(10, 0, Call::Read);
        history.answer(before, 20, Reply::Value(0));
        let after = history.invoke(1_000, 0, Call::Read);
        history.answer(after, 1_001, Reply::Value(seen));
        assert_eq!(check_history(&history), Ok(()));
    }
    // Once seen, it stays.
    let mut history = History::default();
    history.invoke(0, 0, Call::Swap(7));
    for (start, seen) in [(10, 7), (30, 0)] {
        let read = history.invoke(start, 0, Call::Read);
        history.answer(read, start + 5, Reply::Value(seen));
    }
    assert!(rejected(&history));
}
