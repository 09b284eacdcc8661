//! Processes that die, and what others make of it.

use {
    crate::tool::{Place, Tool, patience},
    std::{
        process::Stdio,
        sync::{
            Arc, Mutex,
            atomic::{AtomicBool, Ordering},
        },
        thread,
        time::{Duration, Instant},
    },
};

/// Two publishers, one with two subscribers and one with one; numbered lines flow all the time.
struct Five {
    /// The publishers of `first` and `second`.
    publishers: [Arc<Mutex<Tool>>; 2],
    /// Two subscribers of `first` and one of `second`.
    subscribers: [Tool; 3],
    stop: Arc<AtomicBool>,
    _place: Place,
}

const NETWORK: &str = "five";

impl Five {
    fn start() -> Self {
        let place = Place::new();
        let subscribe = |stream: &str| place.run(&["sub", "-n", NETWORK, stream]);
        let subscribers = [subscribe("first"), subscribe("first"), subscribe("second")];
        let stop = Arc::new(AtomicBool::new(false));
        let publish = |stream: &str, wait: &str| {
            let mut command = place.command(&["pub", "-n", NETWORK, stream, "--wait", wait]);
            let publisher = Tool::start(command.stdin(Stdio::piped()));
            feed(publisher, stop.clone())
        };
        let publishers = [publish("first", "2"), publish("second", "1")];
        let five = Self {
            publishers,
            subscribers,
            stop,
            _place: place,
        };
        for subscriber in &five.subscribers {
            subscriber.wait_lines(10);
        }
        // Everyone knows everyone.
        let ids = five.ids();
        five.each(|own, tool| {
            for id in ids.iter().filter(|id| *id != own) {
                let line = format!("peer {id} is there");
                tool.wait_said(&line, |said| said.contains(&line).then_some(()));
            }
        });
        five
    }

    fn ids(&self) -> Vec<String> {
        let mut ids = Vec::new();
        self.each(|id, _| ids.push(id.to_owned()));
        ids
    }

    fn each(&self, mut act: impl FnMut(&str, &Tool)) {
        for publisher in &self.publishers {
            let publisher = publisher.lock().expect("a publisher");
            act(&publisher.id(), &publisher);
        }
        for subscriber in &self.subscribers {
            act(&subscriber.id(), subscriber);
        }
    }

    /// Fails unless every process but the dead one says in time that it is gone.
    fn all_report(&self, dead: &str, since: Instant) {
        let limit = patience(3.0);
        let line = format!("peer {dead} is gone");
        self.each(|id, tool| {
            if id != dead {
                let left = limit.saturating_sub(since.elapsed());
                let said = tool.said_within(left, |said| said.contains(&line).then_some(()));
                assert!(said.is_some(), "{id} did not report it: {:#?}", tool.said());
            }
        });
    }

    /// Fails unless new lines reach the subscriber, and none is missing or doubled.
    fn still_streams(&self, subscriber: usize) {
        let subscriber = &self.subscribers[subscriber];
        let lines = subscriber.wait_lines(subscriber.lines().len() + 100);
        for pair in lines.windows(2) {
            let numbers = pair
                .iter()
                .map(|line| line.parse::<u64>().expect("a number"));
            let numbers: Vec<u64> = numbers.collect();
            assert_eq!(numbers[0] + 1, numbers[1], "lines are missing or doubled");
        }
    }
}

impl Drop for Five {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

/// Writes numbered lines until it is told to stop or the process has ended.
fn feed(mut publisher: Tool, stop: Arc<AtomicBool>) -> Arc<Mutex<Tool>> {
    let mut stdin = publisher.take_input();
    let publisher = Arc::new(Mutex::new(publisher));
    thread::spawn(move || {
        use std::io::Write;
        for number in 0u64.. {
            let written = writeln!(stdin, "{number}").and_then(|()| stdin.flush());
            if written.is_err() || stop.load(Ordering::Relaxed) {
                return;
            }
            thread::sleep(Duration::from_millis(2));
        }
    });
    publisher
}

#[test]
fn a_killed_subscriber_is_reported_and_the_others_go_on() {
    let mut five = Five::start();
    let dead = five.subscribers[0].id();
    five.subscribers[0].kill();
    let since = Instant::now();
    five.all_report(&dead, since);
    five.still_streams(1);
    five.still_streams(2);
}

#[test]
fn a_killed_publisher_is_reported_and_the_others_go_on() {
    let five = Five::start();
    let dead = five.publishers[0].lock().expect("a publisher").id();
    five.publishers[0].lock().expect("a publisher").kill();
    let since = Instant::now();
    five.all_report(&dead, since);
    five.still_streams(2);
}

#[test]
fn a_process_that_is_asked_to_end_says_good_bye() {
    let mut five = Five::start();
    let leaving = five.subscribers[0].id();
    five.subscribers[0].terminate();
    let since = Instant::now();
    five.subscribers[0].succeed(patience(10.0));
    five.all_report(&leaving, since);
    five.still_streams(1);
}
