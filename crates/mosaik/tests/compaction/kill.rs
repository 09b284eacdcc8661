//! A process that is killed while it cuts its log.
//!
//! The process is this test program, started with [`PLACE`] in its environment. It says what it
//! was acknowledged, and when its state is being saved.

use {
    super::{
        ledger::{Bookkeeper, Ledger, MANY, join_as, join_saving, on_disk},
        support::{
            groups::{Directory, late, quick},
            within,
        },
    },
    core::time::Duration,
    mosaik::{Digest, groups::ConsensusConfig},
    std::{
        io::{BufRead, BufReader, Write},
        path::Path,
        process::{Command, Stdio},
    },
};

/// Where a process keeps what it has; set in its environment only.
const PLACE: &str = "MOSAIK_TEST_LEDGER";
/// The processes.
const PROCESS: &str = "kill::process";
const PAIR: &str = "kill::pair";
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

/// What another process does until it is killed: one node of it has a log that is cut, the other
/// catches up with that and keeps what it gets on its disk.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pair() {
    let Ok(place) = std::env::var(PLACE) else {
        return;
    };
    let (network, place) = (Digest::from("ledger"), Path::new(&place));
    // The second never counts, so that the first needs nobody.
    let consensus = ConsensusConfig {
        max_voters: 1,
        ..quick()
    };
    let machine = |on_save| Bookkeeper {
        saves: true,
        filler: STATE,
        on_save,
        ..Bookkeeper::default()
    };
    let first = on_disk(network, &place.join("first"), None).await;
    let one = join_as(&first, machine(|| Ok(())), consensus.clone());
    within("online", one.group.when().online()).await;
    let begun = one.ledger().await.entries;
    one.enter(begun..2 * MANY).await;
    one.is_cut().await;
    say("begins");
    let second = on_disk(network, &place.join("second"), Some(&first)).await;
    let saves = || {
        say("saves");
        Ok(())
    };
    let consensus = ConsensusConfig {
        bootstrap_delay: late().bootstrap_delay,
        ..consensus
    };
    let two = join_as(&second, machine(saves), consensus);
    within("online", two.group.when().online()).await;
    assert_eq!(two.ledger().await, Ledger::of(0..2 * MANY));
    say(&format!("holds {}", 2 * MANY));
    core::future::pending::<()>().await;
}

/// Runs a process in `place` until `is_enough` says so of what it says; says how many entries
/// it was acknowledged, if it said so.
fn live(process: &str, place: &Path, mut is_enough: impl FnMut(&str) -> bool) -> Option<u64> {
    let program = std::env::current_exe().expect("this program");
    let mut child = Command::new(program)
        .args(["--exact", process, "--nocapture"])
        .env(PLACE, place)
        .stdout(Stdio::piped())
        .stderr(Stdio::inherit())
        .spawn()
        .expect("a process");
    let out = BufReader::new(child.stdout.take().expect("piped"));
    let (mut acknowledged, mut enough) = (None, false);
    for line in out.lines() {
        let line = line.expect("a line");
        let Some(said) = line.strip_prefix(MARK) else {
            continue;
        };
        if let Some(held) = said.strip_prefix("holds ") {
            acknowledged = Some(held.parse().expect("a number"));
        }
        enough = is_enough(said);
        if enough {
            break;
        }
    }
    child.kill().expect("killed");
    child.wait().expect("ended");
    assert!(enough, "it ended by itself");
    acknowledged
}

#[test]
fn a_member_that_is_killed_while_it_cuts_its_log_has_lost_nothing() {
    let directory = Directory::new();
    std::fs::create_dir_all(&directory.0).expect("a directory");
    let mut acknowledged = None;
    for life in 0..6u64 {
        // In the middle of saving, at its begin, or right after it.
        let (mut saving, mut after) = (false, 0);
        let held = live(PROCESS, &directory.0, |said| {
            saving |= said == "saves";
            after += u64::from(saving);
            after > life % 3
        });
        // A life that saves at once may end before it has entered anything.
        assert!(held >= acknowledged, "{held:?} after {acknowledged:?}");
        acknowledged = held;
    }
    let held = live(PROCESS, &directory.0, |_| true);
    assert!(held >= acknowledged, "{held:?} after {acknowledged:?}");
    assert!(held > Some(0), "nothing was ever entered");
}

#[test]
fn a_member_that_is_killed_while_it_catches_up_comes_to_the_same_state() {
    let directory = Directory::new();
    let second = directory.0.join("second");
    std::fs::create_dir_all(&directory.0).expect("a directory");
    for life in 0..4 {
        if second.exists() {
            std::fs::remove_dir_all(&second).expect("removed");
        }
        live(PAIR, &directory.0, |said| {
            let saves = said == "saves";
            if saves {
                // Any moment of it will do; another one each time.
                std::thread::sleep(Duration::from_millis(4 * life));
            }
            saves
        });
        let held = live(PAIR, &directory.0, |said| said.starts_with("holds"));
        assert_eq!(held, Some(2 * MANY), "after life {life}");
    }
}
