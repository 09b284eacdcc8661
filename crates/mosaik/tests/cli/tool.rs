//! Runs the tool as a process and waits for what it says.

use std::{
    fs::{self, File},
    io::{BufRead, BufReader, Read, Write},
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::{Child, ChildStdin, Command, ExitStatus, Stdio},
    sync::{
        Arc, Condvar, Mutex,
        atomic::{AtomicU32, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

/// A duration, longer by the environment's `TIME_FACTOR`.
pub(crate) fn patience(seconds: f64) -> Duration {
    let factor = std::env::var("TIME_FACTOR")
        .ok()
        .and_then(|text| text.parse().ok());
    Duration::from_secs_f64(seconds * factor.unwrap_or(1.0))
}

/// A directory of its own, removed when dropped; processes of one test meet in it.
pub(crate) struct Place(PathBuf);

impl Place {
    pub(crate) fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let name = format!(
            "mosaik-cli-{}-{}",
            std::process::id(),
            NEXT.fetch_add(1, Ordering::Relaxed)
        );
        let path = std::env::temp_dir().join(name);
        fs::create_dir_all(path.join("run")).expect("a directory");
        fs::set_permissions(path.join("run"), fs::Permissions::from_mode(0o700))
            .expect("its owner's only");
        Self(path)
    }

    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    /// The tool with these arguments, in this place.
    pub(crate) fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_mosaik"));
        command
            .args(args)
            .env("MOSAIK_RUNTIME_DIR", self.0.join("run"))
            .env_remove("MOSAIK_PRESET")
            .env_remove("RUST_LOG");
        piped(&mut command);
        command
    }

    /// Runs the tool to its end.
    pub(crate) fn run(&self, args: &[&str]) -> Tool {
        Tool::start(&mut self.command(args))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        // What cannot be removed is left to the system's cleaning of temporary files.
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// With its output to be read, and no input.
pub(crate) fn piped(command: &mut Command) -> &mut Command {
    command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
}

/// What a process wrote so far.
#[derive(Default)]
struct Text {
    lines: Mutex<Vec<String>>,
    changed: Condvar,
}

impl Text {
    fn collect(from: impl Read + Send + 'static) -> Arc<Self> {
        let text = Arc::new(Self::default());
        let collected = text.clone();
        thread::spawn(move || {
            for line in BufReader::new(from).lines().map_while(Result::ok) {
                collected.lines.lock().expect("lines").push(line);
                collected.changed.notify_all();
            }
        });
        text
    }

    /// Waits until `find` finds something in the lines; panics when it does not in time.
    fn wait<T>(&self, patience: Duration, find: impl Fn(&[String]) -> Option<T>) -> Option<T> {
        let deadline = Instant::now() + patience;
        let mut lines = self.lines.lock().expect("lines");
        loop {
            if let Some(found) = find(&lines) {
                return Some(found);
            }
            let left = deadline.checked_duration_since(Instant::now())?;
            lines = self.changed.wait_timeout(lines, left).expect("lines").0;
        }
    }
}

/// A running process; killed when dropped.
pub(crate) struct Tool {
    child: Child,
    stdin: Option<ChildStdin>,
    out: Option<Arc<Text>>,
    err: Arc<Text>,
}

impl Tool {
    pub(crate) fn start(command: &mut Command) -> Self {
        let mut child = command.spawn().expect("the tool starts");
        let stdin = child.stdin.take();
        let out = child.stdout.take().map(Text::collect);
        let err = Text::collect(child.stderr.take().expect("standard error is piped"));
        Self {
            child,
            stdin,
            out,
            err,
        }
    }

    /// The id it says it publishes or subscribes with.
    pub(crate) fn id(&self) -> String {
        self.wait_said("its id", |line| {
            let id = line.split_once("ing as ")?.1;
            Some(id.to_owned())
        })
    }

    /// Waits for a line on standard error.
    pub(crate) fn wait_said<T>(&self, what: &str, find: impl Fn(&str) -> Option<T>) -> T {
        self.said_within(patience(30.0), find)
            .unwrap_or_else(|| panic!("waited for {what}; it said: {:#?}", self.said()))
    }

    pub(crate) fn said_within<T>(
        &self,
        patience: Duration,
        find: impl Fn(&str) -> Option<T>,
    ) -> Option<T> {
        self.err
            .wait(patience, |lines| lines.iter().find_map(|line| find(line)))
    }

    pub(crate) fn said(&self) -> Vec<String> {
        self.err.lines.lock().expect("lines").clone()
    }

    /// The lines on standard output.
    pub(crate) fn lines(&self) -> Vec<String> {
        self.output().lines.lock().expect("lines").clone()
    }

    /// Waits until standard output has so many lines.
    pub(crate) fn wait_lines(&self, count: usize) -> Vec<String> {
        self.output()
            .wait(patience(30.0), |lines| {
                (lines.len() >= count).then(|| lines.to_vec())
            })
            .unwrap_or_else(|| panic!("waited for {count} lines of {:#?}", self.lines()))
    }

    fn output(&self) -> &Text {
        self.out.as_ref().expect("standard output is piped")
    }

    /// Writes to standard input; `false` when the process does not read any more.
    pub(crate) fn write(&mut self, text: &str) -> bool {
        let stdin = self.stdin.as_mut().expect("standard input is piped");
        stdin
            .write_all(text.as_bytes())
            .and_then(|()| stdin.flush())
            .is_ok()
    }

    pub(crate) fn close_input(&mut self) {
        self.stdin = None;
    }

    pub(crate) fn take_input(&mut self) -> ChildStdin {
        self.stdin.take().expect("standard input is piped")
    }

    pub(crate) fn is_running(&mut self) -> bool {
        self.child.try_wait().expect("it is ours").is_none()
    }

    /// Ends the process without giving it a chance to say so.
    pub(crate) fn kill(&mut self) {
        self.child.kill().expect("it runs");
        self.child.wait().expect("it is ours");
    }

    /// Asks the process to end.
    pub(crate) fn terminate(&self) {
        let status = Command::new("kill")
            .args(["-TERM", &self.child.id().to_string()])
            .status()
            .expect("kill runs");
        assert!(status.success());
    }

    /// Waits for the process to end.
    pub(crate) fn wait(&mut self, limit: Duration) -> ExitStatus {
        let deadline = Instant::now() + limit;
        loop {
            if let Some(status) = self.child.try_wait().expect("it is ours") {
                return status;
            }
            assert!(
                Instant::now() < deadline,
                "it did not end; it said: {:#?}",
                self.said()
            );
            thread::sleep(Duration::from_millis(5));
        }
    }

    /// Waits for the process to end well.
    pub(crate) fn succeed(&mut self, limit: Duration) {
        let status = self.wait(limit);
        assert!(status.success(), "{status}; it said: {:#?}", self.said());
    }
}

impl Drop for Tool {
    fn drop(&mut self) {
        // Fails only when it has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Bytes without pattern, the same each time: every value occurs, line feeds too.
pub(crate) fn noise(len: usize) -> Vec<u8> {
    let mut state = 0x2545_f491_4f6c_dd1du64;
    let mut bytes = Vec::with_capacity(len + 8);
    while bytes.len() < len {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend_from_slice(&state.to_le_bytes());
    }
    bytes.truncate(len);
    bytes
}

/// Whether a file holds exactly these bytes; says where it does not.
pub(crate) fn assert_holds(path: &Path, expected: &[u8]) {
    let bytes = fs::read(path).expect("readable");
    let differs = bytes.iter().zip(expected).position(|(a, b)| a != b);
    assert_eq!(differs, None, "the first difference of {}", path.display());
    assert_eq!(
        bytes.len(),
        expected.len(),
        "the length of {}",
        path.display()
    );
}

pub(crate) fn create(path: &Path) -> File {
    File::create(path).expect("a file")
}

pub(crate) fn open(path: &Path) -> File {
    File::open(path).expect("a file")
}
