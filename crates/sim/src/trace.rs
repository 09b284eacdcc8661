//! What happened in a run: always its hash, and its text when somebody reads it.
//!
//! The hash covers the same bytes as the text and more (whole messages, not their summaries), so
//! two runs with one hash did the same.

use crate::queue::Nanos;

/// The record of a run.
#[derive(Clone, Debug)]
pub struct Trace {
    hash: u64,
    events: u64,
    lines: Option<Vec<String>>,
    echo: bool,
}

impl Trace {
    /// A trace that keeps its hash only.
    pub fn hashed() -> Self {
        Self {
            hash: 0xcbf2_9ce4_8422_2325,
            events: 0,
            lines: None,
            echo: false,
        }
    }

    /// A trace that keeps its text as well.
    pub fn told() -> Self {
        Self {
            lines: Some(Vec::new()),
            ..Self::hashed()
        }
    }

    /// A trace that prints its text while it happens.
    pub fn printed() -> Self {
        Self {
            echo: true,
            ..Self::hashed()
        }
    }

    /// Mixes one number into the hash.
    pub fn mix(&mut self, word: u64) {
        self.hash = (self.hash ^ word)
            .wrapping_mul(0x9e37_79b9_7f4a_7c15)
            .rotate_left(29);
    }

    /// Mixes bytes into the hash.
    pub fn mix_bytes(&mut self, bytes: &[u8]) {
        self.mix(bytes.len() as u64);
        let mut chunks = bytes.chunks_exact(8);
        for chunk in &mut chunks {
            self.mix(u64::from_le_bytes(
                chunk.try_into().expect("chunks are 8 bytes"),
            ));
        }
        for byte in chunks.remainder() {
            self.mix(u64::from(*byte));
        }
    }

    /// Records an event. `key` must differ between events that differ; `text` is made only when
    /// somebody reads it.
    pub fn event(&mut self, at: Nanos, key: u64, text: impl FnOnce() -> String) {
        self.mix(at);
        self.mix(key);
        self.events += 1;
        if !self.is_read() {
            return;
        }
        let line = format!("{:>10.3} ms  {}", at as f64 / 1e6, text());
        if self.echo {
            println!("{line}");
        }
        if let Some(lines) = &mut self.lines {
            lines.push(line);
        }
    }

    /// Whether somebody reads the text.
    pub fn is_read(&self) -> bool {
        self.echo || self.lines.is_some()
    }

    /// The hash of everything recorded so far.
    pub fn hash(&self) -> u64 {
        self.hash
    }

    /// Number of events recorded.
    pub fn events(&self) -> u64 {
        self.events
    }

    /// The text, where it is kept.
    pub fn lines(&self) -> &[String] {
        self.lines.as_deref().unwrap_or_default()
    }
}
