//! Groups: how fast they form, commit and answer, and what many of them cost.

mod calls;
mod changes;
mod many;
mod members;

use {
    crate::{
        nodes,
        report::{Figure, Goal, Outcome},
    },
    calls::{MANY, durable, execute, execute_many, one_by_one, read, waiting},
    core::time::Duration,
    tokio::runtime::Runtime,
};
pub(crate) use {
    changes::{LEADER, lead_until_killed},
    many::many_here,
};

pub(crate) const FIGURES: &[Figure] = &[
    Figure::new(
        "group-execute",
        "3 members, one execute after another, at the leader",
        "µs",
        Some("raw round trip"),
        Some(Goal::RatioAtMost(1.6)),
    ),
    Figure::new(
        "group-execute-task",
        "the same from a spawned task",
        "µs",
        Some("raw round trip"),
        None,
    ),
    Figure::new(
        "group-execute-follower",
        "3 members, one execute after another, at a follower",
        "µs",
        Some("raw round trip"),
        Some(Goal::RatioAtMost(3.0)),
    ),
    Figure::new(
        "group-64",
        "3 members, 64 waiting execute, at the leader",
        "commands/s",
        Some("150 k at raw 900 MB/s"),
        Some(Goal::RatioAtLeast(1.0)),
    ),
    Figure::new(
        "group-64-follower",
        "3 members, 64 waiting execute, at a follower",
        "commands/s",
        Some("90 k at raw 900 MB/s"),
        Some(Goal::RatioAtLeast(1.0)),
    ),
    Figure::new(
        "group-many",
        "3 members, execute_many by 1,000",
        "commands/s",
        Some("1.2 M at raw 900 MB/s"),
        Some(Goal::RatioAtLeast(1.0)),
    ),
    Figure::new(
        "group-five",
        "5 members, 64 waiting execute, at the leader",
        "commands/s",
        Some("90 k at raw 900 MB/s"),
        Some(Goal::RatioAtLeast(1.0)),
    ),
    Figure::new(
        "group-durable",
        "3 members durable, 64 waiting execute",
        "commands/s",
        Some("64 × fsyncs/s"),
        Some(Goal::RatioAtLeast(0.7)),
    ),
    Figure::new(
        "group-read",
        "strong query at a follower, one after another",
        "µs",
        Some("raw round trip"),
        Some(Goal::RatioAtMost(1.6)),
    ),
    Figure::new(
        "group-read-task",
        "the same from a spawned task",
        "µs",
        Some("raw round trip"),
        None,
    ),
    Figure::new(
        "group-read-64",
        "strong queries at a follower, 64 waiting",
        "queries/s",
        Some("200 k at raw 900 MB/s"),
        Some(Goal::RatioAtLeast(1.0)),
    ),
    Figure::new(
        "group-form",
        "3 fresh nodes that know each other: to online",
        "s",
        None,
        Some(Goal::AtMost(1.5)),
    ),
    Figure::new(
        "group-join",
        "joining an existing group: to online",
        "s",
        None,
        Some(Goal::AtMost(0.3)),
    ),
    Figure::new(
        "group-leave",
        "leader leaves: to the next commit",
        "s",
        None,
        Some(Goal::AtMost(0.3)),
    ),
    Figure::new(
        "group-killed",
        "leader process is killed: to the next commit",
        "s",
        None,
        Some(Goal::AtMost(1.5)),
    ),
    Figure::new(
        "group-late",
        "late joiner, 1,000,000 commands of 64 B to replay",
        "s",
        None,
        Some(Goal::AtMost(6.0)),
    ),
    Figure::new(
        "group-late-beside",
        "the same while others commit, 16 waiting at the leader",
        "s",
        None,
        Some(Goal::AtMost(6.0)),
    ),
    Figure::new(
        "group-late-others",
        "commits of the others meanwhile, 16 waiting at the leader",
        "commands/s",
        Some("before"),
        Some(Goal::RatioAtLeast(0.8)),
    ),
    Figure::new(
        "group-1000",
        "1,000 groups on 3 nodes: to online",
        "s",
        None,
        Some(Goal::AtMost(20.0)),
    ),
    Figure::new(
        "group-1000-idle",
        "1,000 groups on 3 nodes, idle: share of one core",
        "%",
        None,
        Some(Goal::AtMost(5.0)),
    ),
    Figure::new(
        "group-memory",
        "memory of one member of one of 1,000 idle groups",
        "KiB",
        None,
        Some(Goal::AtMost(50.0)),
    ),
];

/// Measures one figure once.
pub(crate) fn measure(runtime: &Runtime, name: &str, window: Duration) -> Outcome {
    match name {
        "group-execute" => runtime.block_on(one_by_one(window, true, execute)),
        "group-execute-task" => spawned(runtime, one_by_one(window, true, execute)),
        "group-execute-follower" => runtime.block_on(one_by_one(window, false, execute)),
        "group-read" => runtime.block_on(one_by_one(window, false, read)),
        "group-read-task" => spawned(runtime, one_by_one(window, false, read)),
        "group-64" => runtime.block_on(waiting((3, true, 1), 150e3, window, execute)),
        "group-64-follower" => runtime.block_on(waiting((3, false, 1), 90e3, window, execute)),
        "group-many" => runtime.block_on(waiting((3, true, MANY), 1.2e6, window, execute_many)),
        "group-five" => runtime.block_on(waiting((5, true, 1), 90e3, window, execute)),
        "group-durable" => runtime.block_on(durable(window)),
        "group-read-64" => runtime.block_on(waiting((3, false, 1), 200e3, window, read)),
        "group-form" => Outcome::alone(runtime.block_on(changes::forming())),
        "group-join" => Outcome::alone(runtime.block_on(changes::joining())),
        "group-leave" => Outcome::alone(runtime.block_on(changes::leaving())),
        "group-killed" => Outcome::alone(runtime.block_on(changes::killed())),
        "group-late-beside" => {
            let (took, _) = runtime.block_on(changes::late_beside_others(window));
            Outcome::alone(took)
        }
        "group-late-others" => runtime.block_on(changes::late_beside_others(window)).1,
        "group-late" => Outcome::alone(runtime.block_on(changes::late())),
        "group-1000" => Outcome::alone(nodes::memory_of("group-1000")),
        "group-1000-idle" => Outcome::alone(nodes::memory_of("group-1000-idle")),
        "group-memory" => Outcome::alone(nodes::memory_of("group-memory")),
        other => unreachable!("{other} is listed but not measured"),
    }
}

fn spawned(
    runtime: &Runtime,
    measurement: impl Future<Output = Outcome> + Send + 'static,
) -> Outcome {
    let task = runtime.spawn(measurement);
    runtime
        .block_on(task)
        .expect("the measurement does not panic")
}
