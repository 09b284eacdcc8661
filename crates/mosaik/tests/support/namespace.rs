//! Network namespaces that a test makes for itself.
//!
//! They need no privilege where the kernel lets users make them. None has a name: they are held by
//! processes that end with their standard input, so a test that is killed leaves nothing behind.

use std::{
    io::{BufRead, BufReader, Write},
    process::{Child, ChildStdin, Command, Stdio},
};

/// A network namespace, and perhaps one of users that owns it, which live as long as a process.
#[derive(Debug)]
pub(crate) struct Namespace {
    holder: Child,
    /// What it waits for.
    _input: ChildStdin,
    users: bool,
}

impl Namespace {
    /// One in which this test may do everything: of a user namespace, or with the privileges
    /// that it has.
    pub(crate) fn hub() -> Result<Self, String> {
        let mut own = Command::new("unshare");
        own.args(["--user", "--map-root-user", "--net"]);
        Self::held_by(own, true).or_else(|first| {
            let mut privileged = Command::new("unshare");
            privileged.arg("--net");
            Self::held_by(privileged, false).map_err(|second| format!("{first}; {second}"))
        })
    }

    /// Another, with the same owner.
    pub(crate) fn inner(&self) -> Result<Self, String> {
        let mut command = self.enter();
        command.args(["unshare", "--net"]);
        Self::held_by(command, self.users)
    }

    /// A process that lives in it.
    pub(crate) fn id(&self) -> u32 {
        self.holder.id()
    }

    /// What `command` is put before runs in the new namespace.
    fn held_by(mut command: Command, users: bool) -> Result<Self, String> {
        let mut holder = command
            .args(["sh", "-c", "echo there; exec cat"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(|error| format!("{command:?}: {error}"))?;
        let input = holder.stdin.take().expect("it is piped");
        let output = holder.stdout.take().expect("it is piped");
        let mut line = String::new();
        let heard = BufReader::new(output).read_line(&mut line);
        if heard.is_ok() && line == "there\n" {
            return Ok(Self {
                holder,
                _input: input,
                users,
            });
        }
        drop(input);
        let output = holder
            .wait_with_output()
            .map_err(|error| error.to_string())?;
        let complaint = String::from_utf8_lossy(&output.stderr);
        Err(format!("{command:?}: {}", complaint.trim()))
    }

    /// The beginning of a command that runs in it.
    pub(crate) fn enter(&self) -> Command {
        let mut command = Command::new("nsenter");
        command.args(["--target", &self.holder.id().to_string(), "--net"]);
        if self.users {
            command.args(["--user", "--preserve-credentials"]);
        }
        command.arg("--");
        command
    }

    /// Runs a command in it to its end.
    pub(crate) fn run(&self, words: &[&str], input: &str) -> Result<(), String> {
        let mut command = self.enter();
        let mut child = command
            .args(words)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(|error| format!("{command:?}: {error}"))?;
        let mut pipe = child.stdin.take().expect("it is piped");
        let written = pipe.write_all(input.as_bytes());
        drop(pipe);
        let output = child
            .wait_with_output()
            .map_err(|error| error.to_string())?;
        if output.status.success() && written.is_ok() {
            return Ok(());
        }
        let complaint = String::from_utf8_lossy(&output.stderr);
        Err(format!("{command:?}: {}", complaint.trim()))
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        // A holder that has ended by itself needs no more.
        let _ = self.holder.kill();
        let _ = self.holder.wait();
    }
}
