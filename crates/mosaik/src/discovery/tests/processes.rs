//! Processes of one machine: they find each other by the network's name, and a killed one is
//! missed. Each process is this test's own binary, started again to run one node.

use {
    super::seconds,
    crate::{
        Network,
        discovery::{Event, rendezvous::Scratch},
        network::Preset,
    },
    std::{
        io::{BufRead, BufReader, Write},
        process::{Child, Command, Stdio},
        sync::mpsc::{Receiver, channel},
        time::Instant,
    },
};

const NETWORK: &str = "MOSAIK_TEST_NODE";

/// A node in another process, and what it reports.
struct Process {
    child: Child,
    id: String,
    reports: Receiver<String>,
}

impl Process {
    fn start(network: &str, runtime_dir: &std::path::Path) -> Self {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args([
                "--exact",
                "discovery::tests::processes::node",
                "--nocapture",
            ])
            .env(NETWORK, network)
            .env("MOSAIK_RUNTIME_DIR", runtime_dir)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let output = BufReader::new(child.stdout.take().unwrap());
        let (sender, reports) = channel();
        std::thread::spawn(move || {
            for line in output.lines().map_while(Result::ok) {
                if let Some(at) = line.find("node: ")
                    && sender.send(line[at + 6..].to_owned()).is_err()
                {
                    return;
                }
            }
        });
        let mut process = Self {
            child,
            id: String::new(),
            reports,
        };
        let limit = Instant::now() + seconds(20.0);
        process.id = process.report("id ", limit);
        process
    }

    /// Waits for a report that begins so; returns the rest of it.
    fn report(&self, beginning: &str, limit: Instant) -> String {
        loop {
            let left = limit.saturating_duration_since(Instant::now());
            let report = self.reports.recv_timeout(left);
            let report = report.unwrap_or_else(|_| panic!("no report of `{beginning}` in time"));
            if let Some(rest) = report.strip_prefix(beginning) {
                return rest.to_owned();
            }
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// One node that reports what it sees until its standard input ends; nothing unless asked for.
#[test]
fn node() {
    let Ok(network) = std::env::var(NETWORK) else {
        return;
    };
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let report = |text: String| {
            let mut out = std::io::stdout().lock();
            writeln!(out, "node: {text}")
                .and_then(|()| out.flush())
                .unwrap();
        };
        let node = Network::builder(network.as_str())
            .with_preset(Preset::Local)
            .build()
            .await
            .unwrap();
        let mut events = node.discovery().events();
        report(format!("id {}", node.local().id()));
        for entry in node.discovery().catalog().peers() {
            report(format!("discovered {}", entry.id()));
        }
        let mut input = tokio::task::spawn_blocking(|| std::io::stdin().lines().count());
        loop {
            tokio::select! {
                _ = &mut input => break,
                event = events.recv() => match event.unwrap() {
                    Event::PeerDiscovered(entry) => report(format!("discovered {}", entry.id())),
                    Event::PeerDeparted(peer) => report(format!("departed {peer}")),
                    Event::PeerUpdated(_) => {}
                }
            }
        }
        node.close().await;
        report("closed".to_owned());
    });
}

#[test]
fn processes_find_each_other_by_name_and_miss_the_killed_one() {
    let scratch = Scratch::new();
    let network = crate::NetworkId::random().to_string();
    let mut processes: Vec<_> = (0..3)
        .map(|_| Process::start(&network, &scratch.0))
        .collect();
    let limit = Instant::now() + seconds(15.0);
    for process in &processes {
        let mut found = [
            process.report("discovered ", limit),
            process.report("discovered ", limit),
        ];
        found.sort();
        let others = processes.iter().filter(|other| other.id != process.id);
        let mut expected: Vec<_> = others.map(|other| other.id.clone()).collect();
        expected.sort();
        assert_eq!(found[..], expected[..]);
    }

    let mut victim = processes.pop().unwrap();
    victim.child.kill().unwrap();
    let killed = Instant::now();
    // A process that nobody waited for still has its number.
    victim.child.wait().unwrap();
    for process in &processes {
        let departed = process.report("departed ", killed + seconds(3.0));
        assert_eq!(departed, victim.id);
        println!("reported after {:?}", killed.elapsed());
    }

    // The note of the killed process does not lead a newcomer astray, and is removed.
    let newcomer = Process::start(&network, &scratch.0);
    let limit = Instant::now() + seconds(15.0);
    let found = [
        newcomer.report("discovered ", limit),
        newcomer.report("discovered ", limit),
    ];
    assert!(!found.contains(&victim.id));
    let notes = scratch.0.join("mosaik").join(&network);
    assert!(!notes.join(&victim.id).exists());

    // Those who close take their notes with them, and the last one the directory.
    for mut process in processes.into_iter().chain([newcomer]) {
        drop(process.child.stdin.take());
        process.report("closed", Instant::now() + seconds(10.0));
        assert!(!notes.join(&process.id).exists());
    }
    assert!(!notes.exists());
}
