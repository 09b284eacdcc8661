//! [`Stats`]: counts of what passed.

use {
    core::{fmt, time::Duration},
    parking_lot::Mutex,
    std::{
        sync::atomic::{AtomicUsize, Ordering},
        time::Instant,
    },
};

/// Counts of what passed through a channel, a consumer or a producer since it was made.
#[derive(Debug)]
pub struct Stats {
    datums: AtomicUsize,
    bytes: AtomicUsize,
    missed: AtomicUsize,
    connected_at: Mutex<Option<Instant>>,
    network_label: [(&'static str, String); 2],
}

impl Stats {
    /// Counts that start at zero, with the labels of the metrics they belong to.
    pub const fn new(network_label: [(&'static str, String); 2]) -> Self {
        Self {
            datums: AtomicUsize::new(0),
            bytes: AtomicUsize::new(0),
            missed: AtomicUsize::new(0),
            connected_at: Mutex::new(None),
            network_label,
        }
    }

    /// Items that passed.
    pub fn datums(&self) -> usize {
        self.datums.load(Ordering::Relaxed)
    }

    /// Bytes of the items that passed, encoded, without frames.
    pub fn bytes(&self) -> usize {
        self.bytes.load(Ordering::Relaxed)
    }

    /// Items that were lost and announced as lost.
    pub fn missed(&self) -> usize {
        self.missed.load(Ordering::Relaxed)
    }

    /// How long there has been a connection; `None` while there is none.
    pub fn uptime(&self) -> Option<Duration> {
        self.connected_at.lock().map(|since| since.elapsed())
    }

    /// The labels of the metrics these counts belong to.
    pub const fn labels(&self) -> &[(&'static str, String); 2] {
        &self.network_label
    }

    pub(crate) fn add(&self, datums: usize, bytes: usize) {
        self.datums.fetch_add(datums, Ordering::Relaxed);
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    pub(crate) fn add_missed(&self, missed: usize) {
        self.missed.fetch_add(missed, Ordering::Relaxed);
    }

    pub(crate) fn set_connected(&self, connected: bool) {
        let mut since = self.connected_at.lock();
        *since = match (*since, connected) {
            (Some(since), true) => Some(since),
            (None, true) => Some(Instant::now()),
            (_, false) => None,
        };
    }
}

impl fmt::Display for Stats {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} items, {} bytes", self.datums(), self.bytes())?;
        match self.missed() {
            0 => Ok(()),
            missed => write!(f, ", {missed} missed"),
        }
    }
}
