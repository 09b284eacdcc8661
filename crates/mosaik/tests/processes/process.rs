//! The test's side of a member's process, and of all of them.

use {
    super::{
        history::{History, Id, Note},
        member::{Identity, MARK, ROLE, Said, Told},
        router::{Router, Way},
    },
    core::time::Duration,
    std::{
        collections::BTreeSet,
        io::{BufRead, BufReader, Read, Write},
        path::PathBuf,
        process::{Child, ChildStdin, Command, ExitStatus, Stdio},
        sync::{
            Arc, Condvar, Mutex,
            atomic::{AtomicU32, Ordering},
        },
        thread::JoinHandle,
        time::Instant,
    },
};

/// Operations that show that a group is at work.
pub(crate) const SOME: usize = 100;

/// How long anything may take on a machine of usual load; `TIME_FACTOR` stretches it.
fn patience() -> Duration {
    let factor = std::env::var("TIME_FACTOR").ok();
    let factor = factor.and_then(|text| text.parse::<f64>().ok());
    Duration::from_mins(1).mul_f64(factor.unwrap_or(1.0).max(0.1))
}

/// What the processes of one test have said, and a bell for every line.
#[derive(Default)]
struct Heard {
    notes: Vec<Note>,
    /// How often each member's clients, of all its lives, were answered.
    answers: Vec<usize>,
    /// How often they were not.
    failures: Vec<usize>,
    /// How often damaged data was set aside.
    set_aside: u32,
    /// What no process may say.
    panics: Vec<String>,
    members: Vec<State>,
}

/// What is known of one member's present process.
#[derive(Clone, Debug, Default)]
pub(crate) struct State {
    pub(crate) online: bool,
    /// Whether it may find damage.
    damaged: bool,
    /// Whether it ever was online.
    worked: bool,
    pub(crate) votes: bool,
    pub(crate) leads: bool,
    /// Whether its log does not begin at the beginning.
    cut: bool,
    pub(crate) stopped: bool,
    /// What was shown so far of what the group holds.
    held: Vec<Id>,
    shown: bool,
    /// Its last lines that are not meant for the test.
    other: Vec<String>,
}

struct Process {
    child: Child,
    orders: ChildStdin,
    ears: [JoinHandle<()>; 2],
}

impl Process {
    /// Waits until it has ended and all that it said was heard.
    fn ended(mut self) -> ExitStatus {
        let status = self.child.wait().expect("it has ended");
        for ear in self.ears {
            ear.join().expect("it was heard");
        }
        status
    }

    /// Whether it ends by itself in time.
    fn ends(&mut self) -> bool {
        let deadline = Instant::now() + patience();
        while Instant::now() < deadline {
            if self.child.try_wait().expect("it is ours").is_some() {
                return true;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        false
    }
}

/// A group of processes, in a place of its own that is gone afterwards.
pub(crate) struct Cluster {
    place: PathBuf,
    durable: bool,
    cuts: bool,
    router: Option<Router>,
    lives: Vec<u64>,
    /// Whose data was damaged since it worked last.
    damaged: Vec<bool>,
    processes: Vec<Option<Process>>,
    heard: Arc<(Mutex<Heard>, Condvar)>,
}

impl Cluster {
    /// Starts so many members on loopback, and waits until each takes commands and counts.
    pub(crate) fn start(members: usize, durable: bool) -> Self {
        Self::begin(members, durable, false, None)
    }

    /// As [`start`](Self::start), with a router between the members; says so where there can be
    /// none.
    pub(crate) fn routed(members: usize, durable: bool) -> Option<Self> {
        Self::router(members).map(|router| Self::begin(members, durable, false, Some(router)))
    }

    /// Durable members of a group that cuts its logs, with a router between them where there can
    /// be one.
    pub(crate) fn cutting(members: usize) -> Self {
        Self::begin(members, true, true, Self::router(members))
    }

    /// A router between members; says so where there can be none.
    fn router(members: usize) -> Option<Router> {
        match Router::new(members) {
            Ok(router) => Some(router),
            Err(why) => {
                let what = "SKIPPED, network namespaces are not permitted here";
                // Not by a macro, whose words are kept back where a test passes.
                let said = writeln!(std::io::stderr(), "{what}: {why}");
                said.expect("somebody listens");
                None
            }
        }
    }

    fn begin(members: usize, durable: bool, cuts: bool, router: Option<Router>) -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("mosaik-processes-{}-{number}", std::process::id());
        let place = std::env::temp_dir().join(name);
        std::fs::create_dir_all(place.join("run")).expect("a directory");
        let heard = Heard {
            members: vec![State::default(); members],
            answers: vec![0; members],
            failures: vec![0; members],
            ..Heard::default()
        };
        let mut cluster = Self {
            place,
            durable,
            cuts,
            router,
            lives: vec![0; members],
            damaged: vec![false; members],
            processes: (0..members).map(|_| None).collect(),
            heard: Arc::new((Mutex::new(heard), Condvar::new())),
        };
        for member in 0..members {
            cluster.spawn(member);
        }
        for member in 0..members {
            cluster.wait_voter(member);
        }
        cluster
    }

    pub(crate) fn len(&self) -> usize {
        self.processes.len()
    }

    /// What is known of a member's present process.
    pub(crate) fn state(&self, member: usize) -> State {
        self.heard.0.lock().expect("not poisoned").members[member].clone()
    }

    /// Whether a member has a process, paused or not.
    pub(crate) fn lives(&self, member: usize) -> bool {
        self.processes[member].is_some()
    }

    /// From now on these ways between members are cut, and no others.
    pub(crate) fn cut(&mut self, ways: &BTreeSet<Way>) {
        let router = self.router.as_mut();
        router.expect("there is one").cut(ways);
    }

    /// Takes out a member's cable, or puts it in.
    pub(crate) fn plug(&self, member: usize, plugged: bool) {
        let router = self.router.as_ref();
        router.expect("there is one").plug(member, plugged);
    }

    /// Whether there is a router between the members.
    pub(crate) const fn is_routed(&self) -> bool {
        self.router.is_some()
    }

    /// Takes away what a member that does not live has kept.
    pub(crate) fn wipe(&self, member: usize) {
        assert!(!self.lives(member), "it would notice");
        let data = self.place.join(format!("data-{member}"));
        std::fs::remove_dir_all(data).expect("it kept something");
    }

    /// Changes one bit of the stored tables of a member that does not live, at each of these
    /// places, taken as numbers of a circle. Not of the journal: damage of its end is not told from
    /// a commit that was cut short.
    pub(crate) fn damage(&mut self, member: usize, places: &[u64]) {
        assert!(!self.lives(member), "it would not notice");
        let file = self.place.join(format!("data-{member}/groups.redb"));
        let mut bytes = std::fs::read(&file).expect("it kept something");
        for place in places {
            let at = (place % bytes.len() as u64) as usize;
            bytes[at] ^= 1 << (place >> 61);
        }
        std::fs::write(&file, bytes).expect("it can be written");
        self.damaged[member] = true;
        let mut heard = self.heard.0.lock().expect("not poisoned");
        heard.members[member].worked = false;
    }

    /// How often members have set damaged data aside.
    pub(crate) fn set_aside(&self) -> u32 {
        self.heard.0.lock().expect("not poisoned").set_aside
    }

    /// Starts a member's next life, with the data of the one before, if it keeps any.
    pub(crate) fn spawn(&mut self, member: usize) {
        assert!(self.processes[member].is_none(), "one life at a time");
        let data = self.place.join(format!("data-{member}"));
        // A life that came online has found what there was to find.
        self.damaged[member] &= !self.state(member).worked;
        let identity = Identity {
            network: self.place.to_string_lossy().into_owned(),
            number: member as u8 + 1,
            members: self.len() as u32,
            life: self.lives[member],
            data: self.durable.then_some(data),
            damaged: self.damaged[member],
            routed: self.is_routed(),
            cuts: self.cuts,
        };
        self.lives[member] += 1;
        self.heard.0.lock().expect("not poisoned").members[member] = State {
            damaged: identity.damaged,
            ..State::default()
        };
        let role = serde_json::to_string(&identity).expect("it encodes");
        let program = std::env::current_exe().expect("a path");
        let mut command = match &self.router {
            Some(router) => {
                let mut command = router.enter(member);
                command.arg(program);
                command
            }
            None => Command::new(program),
        };
        let mut child = command
            .args(["--exact", "member::member", "--nocapture"])
            .env(ROLE, role)
            .env("MOSAIK_RUNTIME_DIR", self.place.join("run"))
            .env_remove("MOSAIK_PRESET")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("a process starts");
        let stdout = child.stdout.take().expect("it is piped");
        let stderr = child.stderr.take().expect("it is piped");
        let ears = [self.listen(member, stdout), self.listen(member, stderr)];
        let orders = child.stdin.take().expect("it is piped");
        self.processes[member] = Some(Process {
            child,
            orders,
            ears,
        });
    }

    /// Takes down what a process says.
    fn listen(&self, member: usize, lines: impl Read + Send + 'static) -> JoinHandle<()> {
        let heard = Arc::clone(&self.heard);
        let life = self.lives[member];
        std::thread::Builder::new()
            .name(format!("member-{member}-{life}"))
            .spawn(move || {
                for line in BufReader::new(lines).lines().map_while(Result::ok) {
                    let mut guard = heard.0.lock().expect("not poisoned");
                    guard.take(member, line);
                    heard.1.notify_all();
                }
            })
            .expect("a thread starts")
    }

    /// Ends a member's process in the middle of whatever it does.
    pub(crate) fn kill(&mut self, member: usize) {
        let mut process = self.processes[member].take().expect("it lives");
        process.child.kill().expect("it is killed");
        process.ended();
    }

    /// Lets a member leave in good order.
    pub(crate) fn quit(&mut self, member: usize) {
        self.tell(member, Told::Quit);
        let process = self.processes[member].as_mut().expect("it lives");
        let ends = process.ends();
        assert!(ends, "member {member} does not end: {}", self.last_words());
        let process = self.processes[member].take().expect("it lives");
        let status = process.ended();
        assert!(
            status.success(),
            "member {member} ended badly: {}",
            self.last_words()
        );
    }

    /// Lets a member's process stand still, or go on.
    pub(crate) fn pause(&self, member: usize, paused: bool) {
        use rustix::process::{Pid, Signal, kill_process};
        let process = self.processes[member].as_ref().expect("it lives");
        let signal = if paused { Signal::STOP } else { Signal::CONT };
        let pid = Pid::from_child(&process.child);
        kill_process(pid, signal).expect("it is signalled");
    }

    /// Tells `from`, which leads, to hand leadership to `to`.
    pub(crate) fn hand_over(&mut self, from: usize, to: usize) {
        self.tell(from, Told::HandOver(to as u8 + 1));
    }

    /// Tells a member to go on without the majority.
    pub(crate) fn recover(&mut self, member: usize) {
        self.tell(member, Told::Recover);
    }

    /// Ends the load, and waits until it has ended.
    pub(crate) fn stop(&mut self) {
        for member in 0..self.len() {
            self.tell(member, Told::Stop);
        }
        for member in 0..self.len() {
            self.wait_stopped(member);
        }
    }

    /// Ends the load of one member, online or not yet.
    pub(crate) fn stop_member(&mut self, member: usize) {
        self.tell(member, Told::Stop);
        self.wait_stopped(member);
    }

    fn wait_stopped(&self, member: usize) {
        let what = format!("the clients of member {member} end");
        self.wait(&what, |heard| heard.members[member].stopped.then_some(()));
    }

    /// What a member holds when it has everything that was committed.
    pub(crate) fn held(&mut self, member: usize) -> Vec<Id> {
        self.tell(member, Told::Show);
        let what = format!("member {member} shows what it holds");
        self.wait(&what, |heard| {
            let state = &mut heard.members[member];
            let shown = std::mem::take(&mut state.shown);
            shown.then(|| std::mem::take(&mut state.held))
        })
    }

    fn tell(&mut self, member: usize, told: Told) {
        let process = self.processes[member].as_mut().expect("it lives");
        let line = serde_json::to_string(&told).expect("it encodes");
        writeln!(process.orders, "{line}").expect("it listens");
    }

    /// Waits until something holds of what was heard.
    fn wait<T>(&self, what: &str, mut look: impl FnMut(&mut Heard) -> Option<T>) -> T {
        let deadline = Instant::now() + patience();
        let mut heard = self.heard.0.lock().expect("not poisoned");
        loop {
            if let Some(found) = look(&mut heard) {
                return found;
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                drop(heard);
                panic!("not in time: {what}; {}", self.last_words());
            }
            heard = self
                .heard
                .1
                .wait_timeout(heard, left)
                .expect("not poisoned")
                .0;
        }
    }

    pub(crate) fn wait_voter(&self, member: usize) {
        let what = format!("member {member} is online and votes");
        self.wait(&what, |heard| {
            let state = &heard.members[member];
            (state.online && state.votes).then_some(())
        });
    }

    /// Waits until a member can be expected to take commands, or knows that it cannot.
    pub(crate) fn wait_online(&self, member: usize, online: bool) {
        let what = format!("member {member} is online: {online}");
        self.wait(&what, |heard| {
            (heard.members[member].online == online).then_some(())
        });
    }

    /// Waits until a member's log is cut.
    pub(crate) fn wait_cut(&self, member: usize) {
        let what = format!("the log of member {member} is cut");
        self.wait(&what, |heard| heard.members[member].cut.then_some(()));
    }

    /// Waits until this member leads.
    pub(crate) fn wait_leads(&self, member: usize) {
        let what = format!("member {member} leads");
        self.wait(&what, |heard| heard.members[member].leads.then_some(()));
    }

    /// Fails when a member comes online, or any member is answered, within some elections' time.
    pub(crate) fn stays_offline(&self, member: usize) {
        let answers = self.heard.0.lock().expect("not poisoned").answers.clone();
        std::thread::sleep(Duration::from_secs(4));
        let heard = self.heard.0.lock().expect("not poisoned");
        assert!(!heard.members[member].online, "it has no majority");
        assert_eq!(heard.answers, answers, "nobody has one");
    }

    /// Waits until an operation of a member's clients fails.
    pub(crate) fn wait_failure(&self, member: usize) {
        let before = self.heard.0.lock().expect("not poisoned").failures[member];
        self.wait(&format!("a client of member {member} fails"), |heard| {
            (heard.failures[member] > before).then_some(())
        });
    }

    /// Waits until so many more operations are answered.
    pub(crate) fn wait_progress(&self, operations: usize) {
        let all: Vec<_> = (0..self.len()).collect();
        self.wait_progress_of(&all, operations);
    }

    /// Waits until so many more operations of these members' clients are answered.
    pub(crate) fn wait_progress_of(&self, members: &[usize], operations: usize) {
        let sum = |answers: &[usize]| members.iter().map(|at| answers[*at]).sum::<usize>();
        let before = sum(&self.heard.0.lock().expect("not poisoned").answers);
        self.wait(&format!("members {members:?} go on"), |heard| {
            (sum(&heard.answers) >= before + operations).then_some(())
        });
    }

    /// Who leads: the first that says so, other than `not`.
    pub(crate) fn wait_leader(&self, not: Option<usize>) -> usize {
        let alive: Vec<_> = self.processes.iter().map(Option::is_some).collect();
        self.wait("there is a leader", |heard| {
            let members = heard.members.iter().zip(&alive).enumerate();
            let mut leaders = members
                .filter(|(member, (state, alive))| state.leads && **alive && Some(*member) != not);
            leaders.next().map(|(member, _)| member)
        })
    }

    /// Ends the load, and holds what the clients saw against what the members hold. Returns how
    /// many operations were asked and answered, and how many commands are held.
    pub(crate) fn conclude(mut self) -> [usize; 3] {
        self.stop();
        let held: Vec<_> = (0..self.len()).map(|member| self.held(member)).collect();
        for (member, ids) in held.iter().enumerate() {
            assert!(*ids == held[0], "members 0 and {member} differ");
        }
        for member in 0..self.len() {
            self.quit(member);
        }
        let heard = std::mem::take(&mut *self.heard.0.lock().expect("not poisoned"));
        let history = History::of(heard.notes);
        let counts = [history.asked(), history.told(), held[0].len()];
        let [asked, told, commands] = counts;
        println!("{asked} operations asked, {told} answered, {commands} commands held");
        history.check(&held[0]);
        assert!(
            heard.panics.is_empty(),
            "a member has panicked: {:#?}",
            heard.panics
        );
        counts
    }

    /// What the processes said last that nobody listened to.
    fn last_words(&self) -> String {
        let heard = self.heard.0.lock().expect("not poisoned");
        let members = heard.members.iter().enumerate();
        let words = members.map(|(member, state)| {
            let State {
                online,
                votes,
                leads,
                other,
                ..
            } = state;
            let other = other.join("\n    ");
            format!("member {member}: online {online}, votes {votes}, leads {leads}\n    {other}")
        });
        words.collect::<Vec<_>>().join("\n")
    }
}

impl Heard {
    fn take(&mut self, member: usize, line: String) {
        let state = &mut self.members[member];
        // The test runner's own words may stand before a line.
        let said = line.split_once(MARK).map(|(_, said)| said);
        match said.and_then(|said| serde_json::from_str(said).ok()) {
            Some(Said::Online(online)) => {
                state.online = online;
                state.worked |= online;
            }
            Some(Said::Votes(votes)) => state.votes = votes,
            Some(Said::Leads(leads)) => state.leads = leads,
            Some(Said::SetAside) => self.set_aside += 1,
            Some(Said::Cut) => state.cut = true,
            Some(Said::Failed) => self.failures[member] += 1,
            Some(Said::Stopped) => state.stopped = true,
            Some(Said::Held(held)) if held.is_empty() => state.shown = true,
            Some(Said::Held(held)) => state.held.extend(held),
            Some(Said::Noted(note)) => {
                self.answers[member] += usize::from(matches!(note, Note::Told { .. }));
                self.notes.push(note);
            }
            None => {
                // Damaged tables are partly found by a panic, which the store makes an error.
                let expected = state.damaged && line.contains("/redb-");
                if line.contains("panicked at") && !expected {
                    self.panics.push(format!("member {member}: {line}"));
                }
                state.other.push(line);
                let keep = state.other.len().saturating_sub(20);
                state.other.drain(..keep);
            }
        }
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        for process in self.processes.iter_mut().flatten() {
            // A process that has ended by itself needs no more.
            let _ = process.child.kill();
            let _ = process.child.wait();
        }
        // Leaving it behind is no failure of what is tested.
        let _ = std::fs::remove_dir_all(&self.place);
    }
}
