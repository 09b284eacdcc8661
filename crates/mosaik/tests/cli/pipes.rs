//! Input to output across processes.

use {
    crate::tool::{Place, Tool, assert_holds, create, noise, open, patience},
    std::{fs, process::Stdio},
};

/// Pipes a file through a publisher to three subscribers.
fn pipe(bytes: &[u8], options: &[&str]) {
    let place = Place::new();
    let input = place.file("input");
    fs::write(&input, bytes).expect("written");
    let outputs: Vec<_> = (0..3)
        .map(|index| place.file(&format!("output{index}")))
        .collect();
    let mut subscribers: Vec<Tool> = outputs
        .iter()
        .map(|output| {
            let mut command = place.command(&["sub", "-n", "pipe", "bytes", "--until-end"]);
            Tool::start(command.stdout(create(output)))
        })
        .collect();
    let mut command = place.command(&["pub", "-n", "pipe", "bytes", "--wait", "3"]);
    let mut publisher = Tool::start(command.args(options).stdin(open(&input)));
    publisher.succeed(patience(120.0));
    for (subscriber, output) in subscribers.iter_mut().zip(&outputs) {
        subscriber.succeed(patience(30.0));
        assert_holds(output, bytes);
    }
}

#[test]
fn a_large_file_reaches_three_subscribers_byte_for_byte() {
    pipe(&noise(100_000_000), &["--frames"]);
}

#[test]
fn lines_of_any_bytes_arrive_byte_for_byte() {
    // Noise has a line feed every 256 bytes on average, and ends without one.
    let mut bytes = noise(2_000_000);
    bytes.extend_from_slice(b"\n\n\r\nno end");
    pipe(&bytes, &[]);
}

#[test]
fn only_selected_lines_are_sent_and_a_count_ends_it() {
    let place = Place::new();
    let mut warm = place.run(&[
        "sub",
        "-n",
        "select",
        "readings",
        "--where",
        "celsius > 30 and site in ['oslo', 'rome']",
        "--count",
        "2",
    ]);
    let mut sampled = place.run(&[
        "sub",
        "-n",
        "select",
        "readings",
        "--until-end",
        "--where",
        "celsius >= 0 sample 1/2",
    ]);
    let mut command = place.command(&["pub", "-n", "select", "readings", "--wait", "2"]);
    let mut publisher = Tool::start(command.stdin(Stdio::piped()));
    let lines = [
        r#"{"site": "oslo", "celsius": 31}"#,
        r#"{"site": "oslo", "celsius": 3}"#,
        "not JSON",
        r#"{"site": "bern", "celsius": 35}"#,
        r#"{"site": "rome", "celsius": 30.5}"#,
        r#"{"site": "rome"}"#,
        r#"{"site": "rome", "celsius": 40}"#,
    ];
    assert!(publisher.write(&(lines.join("\n") + "\n")));
    warm.succeed(patience(30.0));
    assert_eq!(warm.wait_lines(2), [lines[0], lines[4]]);
    publisher.close_input();
    publisher.succeed(patience(30.0));
    sampled.succeed(patience(30.0));
    assert_eq!(sampled.wait_lines(3), [lines[0], lines[3], lines[6]]);
}

#[test]
fn late_subscribers_get_the_last_items() {
    let place = Place::new();
    let mut command = place.command(&[
        "pub",
        "-n",
        "late",
        "news",
        "--wait",
        "0",
        "--history",
        "10",
    ]);
    let mut publisher = Tool::start(command.stdin(Stdio::piped()));
    assert!(publisher.write("one\ntwo\nthree\nfour\n"));
    let early = place.run(&["sub", "-n", "late", "news", "--where", "last 4"]);
    early.wait_lines(4);
    let mut late = place.run(&[
        "sub",
        "-n",
        "late",
        "news",
        "--until-end",
        "--where",
        ". != 'three' last 2",
    ]);
    late.wait_lines(2);
    assert!(publisher.write("five\n"));
    publisher.close_input();
    publisher.succeed(patience(30.0));
    late.succeed(patience(30.0));
    assert_eq!(late.wait_lines(3), ["two", "four", "five"]);
}

#[test]
fn a_reader_that_leaves_ends_a_subscriber_well() {
    let place = Place::new();
    let mut command = place.command(&["pub", "-n", "head", "lines", "--wait", "1"]);
    let mut publisher = Tool::start(command.stdin(Stdio::piped()));
    let mut command = place.command(&["sub", "-n", "head", "lines"]);
    let (reader, writer) = std::io::pipe().expect("a pipe");
    let mut subscriber = Tool::start(command.stdout(writer));
    // The command holds the writing end for further processes.
    drop(command);
    drop(reader);
    while subscriber_runs(&mut subscriber) {
        publisher.write("a line that nobody reads\n");
    }
    subscriber.succeed(patience(30.0));
}

fn subscriber_runs(subscriber: &mut Tool) -> bool {
    std::thread::sleep(std::time::Duration::from_millis(20));
    subscriber.is_running()
}
