//! Defaults of groups that programs rely on without setting them. Those of discovery and of streams
//! are with their builders.

use {
    mosaik::groups::{Config, LeadershipPreference, LogReplaySync, NoOp, StateMachine},
    std::{num::NonZero, time::Duration},
};

#[test]
fn a_handshake_takes_two_seconds_at_most() {
    let config = Config::builder().build().expect("the defaults work");
    assert_eq!(config.handshake_timeout, Duration::from_secs(2));
}

#[test]
fn replays_are_in_batches_of_two_thousand_for_25_seconds() {
    let said = LogReplaySync::<NoOp>::default()
        .with_batch_size(NonZero::new(2_000).expect("not zero"))
        .with_fetch_timeout(Duration::from_secs(25));
    let default = LogReplaySync::<NoOp>::default();
    // What it is set to cannot be asked for, only shown.
    assert_eq!(format!("{default:?}"), format!("{said:?}"));
    let other = LogReplaySync::<NoOp>::default().with_fetch_timeout(Duration::from_secs(5));
    assert_ne!(format!("{default:?}"), format!("{other:?}"));
}

#[test]
fn members_stand_for_election_unless_they_say_otherwise() {
    assert_eq!(
        LeadershipPreference::default(),
        LeadershipPreference::Normal
    );
    assert_eq!(
        LeadershipPreference::reluctant(),
        LeadershipPreference::Reluctant { factor: 3 }
    );
    fn preference(machine: &impl StateMachine) -> LeadershipPreference {
        machine.leadership_preference()
    }
    assert_eq!(preference(&NoOp), LeadershipPreference::Normal);
}
