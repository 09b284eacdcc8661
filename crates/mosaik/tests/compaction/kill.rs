//! A process that is killed while it cuts its log.
//!
//! The process is this test program, started with [`PLACE`] in its environment. It says what it
//! was acknowledged, and when its state is being saved.

use {
    super::{
        ledger::{Ledger, join_saving, on_disk},
        support::{groups::Directory, within},
    },
    mosaik::Digest,
    std::{
        io::{BufRead, BufReader, Write},
        path::Path,
        process::{Command, Stdio},
    },
};

/// Where a process keeps what it has; set in its environment only.
const PLACE: &str = "MOSAIK_TEST_LEDGER";
/// What begins the lines that are meant for the test.
const MARK: &str = "@ ";
/// Bytes of the state: several chunks.
const STATE: usize = 3 << 20;

fn say(what: &str) {
    let mut out = std::io::stdout().lock();
    // In one piece, whatever else is written there; whoever listens may have gone.
    let _ = out.write_all(format!("\n{MARK}{what}\n").as_bytes());
    let _ = out.flush();
}

/// What a process does until it is killed: enters numbers in their order, and says which are in.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn process() {
    let Ok(place) = std::env::var(PLACE) else {
        return;
    };
    let node = on_disk(Digest::from("ledger"), Path::new(&place), None).await;
    let member = join_saving(&node, STATE, || {
        say("saves");
        Ok(())
    });
    within("online", member.group.when().online()).await;
    let before = member.ledger().await;
    assert_eq!(before, Ledger::of(0..before.entries), "what is restored");
    say(&format!("holds {}", before.entries));
    for value in before.entries.. {
        member.enter([value]).await;
        say(&format!("holds {}", value + 1));
    }
}

/// Runs the process in `place` until `is_enough` says so of what it says; says how many entries
/// it was acknowledged.
fn live(place: &Path, mut is_enough: impl FnMut(&str) -> bool) -> u64 {
    let program = std::env::current_exe().expect("this program");
    let mut child = Command::new(program)
        .args(["--exact", "kill::process", "--nocapture"])
        .env(PLACE, place)
        .stdout(Stdio::piped())
        .stderr(Stdio::inherit())
        .spawn()
        .expect("a process");
    let out = BufReader::new(child.stdout.take().expect("piped"));
    let mut acknowledged = None;
    for line in out.lines() {
        let line = line.expect("a line");
        let Some(said) = line.strip_prefix(MARK) else {
            continue;
        };
        if let Some(held) = said.strip_prefix("holds ") {
            acknowledged = Some(held.parse().expect("a number"));
        }
        if acknowledged.is_some() && is_enough(said) {
            break;
        }
    }
    // An end of its own is no end that the test wants: it shows in what was said.
    child.kill().expect("killed");
    child.wait().expect("ended");
    acknowledged.expect("it was there")
}

#[test]
fn a_member_that_is_killed_while_it_cuts_its_log_has_lost_nothing() {
    let directory = Directory::new();
    std::fs::create_dir_all(&directory.0).expect("a directory");
    let mut acknowledged = 0;
    for life in 0..6u64 {
        // In the middle of saving, at its begin, or right after it.
        let (mut saving, mut after) = (false, 0);
        let held = live(&directory.0, |said| {
            saving |= said == "saves";
            after += u64::from(saving);
            after > life % 3
        });
        assert!(held > acknowledged, "{held} after {acknowledged}");
        acknowledged = held;
    }
    let held = live(&directory.0, |_| true);
    assert!(held >= acknowledged, "{held} after {acknowledged}");
}
