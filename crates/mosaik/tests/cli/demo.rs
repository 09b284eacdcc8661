//! The demo, the list of peers, the beacon, and arguments that make no sense.

use {
    crate::tool::{Place, patience},
    std::process::Stdio,
};

#[test]
fn the_demo_proves_that_everything_arrived_and_was_counted_though_the_leader_was_killed() {
    let place = Place::new();
    let args = ["demo", "--nodes", "5", "--seconds", "3", "--rate", "2000"];
    let mut demo = place.run(&args);
    demo.succeed(patience(60.0));
    let lines = demo.lines();
    let complete = lines
        .iter()
        .filter(|line| line.contains("all ") && line.ends_with("in order"));
    assert_eq!(complete.count(), 3, "{lines:#?}");
    let killed = lines.iter().filter(|line| line.contains("  killed after "));
    assert_eq!(killed.count(), 1, "{lines:#?}");
    let group = lines.iter().find(|line| line.starts_with("group  "));
    let group = group.expect("a line about the group");
    assert!(
        group.contains("took over after") && group.ends_with("no count lost"),
        "{group}"
    );
    assert!(
        lines.iter().any(|line| line.contains("20/20 acquainted")),
        "{lines:#?}"
    );
    let end = lines.last().expect("a last line");
    assert!(
        end.starts_with("5 nodes, 20 of 20 pairs knew each other"),
        "{end}"
    );
}

#[test]
fn peers_are_listed_with_what_they_offer() {
    let place = Place::new();
    let beacon = place.run(&[
        "beacon",
        "-n",
        "list",
        "-t",
        "harbour",
        "-s",
        "a lighthouse",
    ]);
    let lines = beacon.wait_lines(6);
    let id = lines
        .iter()
        .find_map(|line| line.strip_prefix("peer id  "))
        .expect("an id");
    let mut command = place.command(&["pub", "-n", "list", "news"]);
    let publisher = crate::tool::Tool::start(command.stdin(Stdio::piped()));
    let publisher_id = publisher.id();
    // The beacon knows the publisher before the list is asked for.
    beacon.wait_said("the publisher", |line| {
        line.contains(&publisher_id).then_some(())
    });
    let mut list = place.run(&["peers", "-n", "list", "--json", "--wait", "3"]);
    list.succeed(patience(30.0));
    let peers: Vec<serde_json::Value> = list
        .lines()
        .iter()
        .map(|line| serde_json::from_str(line).expect("JSON"))
        .collect();
    let find = |id: &str| peers.iter().find(|peer| peer["id"] == id);
    let beacon = find(id).expect("the beacon is listed");
    assert_eq!(beacon["tags"].as_array().map(Vec::len), Some(1));
    let publisher = find(&publisher_id).expect("the publisher is listed");
    assert_eq!(publisher["streams"].as_array().map(Vec::len), Some(1));
    assert_eq!(peers.len(), 2);
}

#[test]
fn a_peer_given_by_address_is_enough_without_a_rendezvous() {
    let place = Place::new();
    let isolated = ["--preset", "isolated", "-n", "given"];
    let beacon = place.run(&[&["beacon"][..], &isolated].concat());
    let join = beacon.wait_lines(7);
    let peer = join
        .iter()
        .find_map(|line| line.strip_prefix("join with --peer "))
        .expect("an address");
    let options = [&isolated[..], &["--peer", peer]].concat();
    let subscribe = ["sub", "greetings", "--count", "1"];
    let mut subscriber = place.run(&[&subscribe[..], &options].concat());
    let mut command = place.command(&[&["pub", "greetings"][..], &options].concat());
    let mut publisher = crate::tool::Tool::start(command.stdin(Stdio::piped()));
    assert!(publisher.write("hello\n"));
    publisher.close_input();
    publisher.succeed(patience(30.0));
    subscriber.succeed(patience(30.0));
    assert_eq!(subscriber.wait_lines(1), ["hello"]);
}

#[test]
fn wrong_arguments_are_told_apart_from_failures() {
    let place = Place::new();
    for args in [
        &["sub", "-n", "a"][..],
        &["sub", "-n", "a", "s", "--where", "n >"],
        &["pub", "-n", "a", "s", "--preset", "wan"],
        &["demo", "--nodes", "1"],
        &["frobnicate"],
    ] {
        let mut tool = place.run(args);
        assert_eq!(tool.wait(patience(10.0)).code(), Some(2), "{args:?}");
    }
}
