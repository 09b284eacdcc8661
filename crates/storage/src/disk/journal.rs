//! The journal: two files of fixed size that take turns, where every commit becomes durable first.
//!
//! Writing in place within a file whose size does not change is the cheapest thing that an fsync can
//! make durable. A file is written again only when the tables hold durably all that it has.

use {
    super::{
        OpenError,
        database::corrupt,
        frame::{self, FrameBuilder, StoreId},
        medium::{Medium, is_full},
    },
    mosaik_protocol::store::{StoreError, WriteBatch},
    std::{io, sync::Arc},
};

#[derive(Debug)]
struct JournalFile {
    medium: Arc<dyn Medium>,
    name: String,
    len: u64,
    /// The last sequence number that it holds; 0 when it holds none that matters.
    last: u64,
}

impl JournalFile {
    fn error(&self, operation: &'static str, error: &io::Error) -> StoreError {
        let (file, kind) = (self.name.clone(), error.kind());
        // A full disk that shows at the fsync leaves unknown what was written.
        if is_full(kind) && operation != "fsync" {
            return StoreError::NoSpace { file };
        }
        StoreError::Io {
            file,
            operation,
            kind,
            detail: error.to_string(),
        }
    }

    fn read_all(&mut self, capacity: u64) -> Result<Vec<u8>, StoreError> {
        self.len = self
            .medium
            .len()
            .map_err(|error| self.error("read", &error))?;
        if self.len < capacity {
            let what = format!("{} bytes are left of at least {capacity}", self.len);
            return Err(corrupt(&self.name, format!("byte {}", self.len), what));
        }
        let mut content = vec![0; self.len as usize];
        let read = self.medium.read(0, &mut content);
        read.map_err(|error| self.error("read", &error))?;
        Ok(content)
    }

    fn write(&mut self, position: u64, frame: &[u8]) -> Result<(), StoreError> {
        let end = position + frame.len() as u64;
        if end > self.len {
            self.medium
                .set_len(end)
                .map_err(|error| self.error("resize", &error))?;
            self.len = end;
        }
        let written = self.medium.write(position, frame);
        written.map_err(|error| self.error("write", &error))?;
        self.medium
            .sync()
            .map_err(|error| self.error("fsync", &error))
    }
}

/// What the journal holds beyond the tables.
#[derive(Debug)]
pub(super) struct Replay {
    pub(super) sequence: u64,
    pub(super) batches: Vec<WriteBatch>,
}

#[derive(Debug)]
pub(super) struct Journal {
    id: StoreId,
    files: [JournalFile; 2],
    active: usize,
    position: u64,
    next: u64,
    capacity: u64,
}

impl Journal {
    /// Makes a journal of two empty files.
    pub(super) fn initialize(
        media: &[(Arc<dyn Medium>, String); 2],
        capacity: u64,
    ) -> Result<(), StoreError> {
        for (medium, name) in media {
            let (medium, name) = (Arc::clone(medium), name.clone());
            let mut file = JournalFile {
                medium,
                name,
                len: 0,
                last: 0,
            };
            // Zeros, not a hole: what is written later needs no more space.
            let zeros = vec![0; capacity as usize];
            file.write(0, &zeros)?;
        }
        Ok(())
    }

    /// Opens the journal of tables that hold everything up to `applied`, and returns what comes
    /// behind that.
    pub(super) fn open(
        media: [(Arc<dyn Medium>, String); 2],
        id: StoreId,
        capacity: u64,
        applied: u64,
    ) -> Result<(Self, Vec<Replay>), OpenError> {
        let mut files = media.map(|(medium, name)| JournalFile {
            medium,
            name,
            len: 0,
            last: 0,
        });
        let mut contents = Vec::new();
        for file in &mut files {
            contents.push(file.read_all(capacity)?);
        }
        let mut frames = Vec::new();
        for (number, content) in contents.iter().enumerate() {
            let found = frame::find_all(&id, content);
            frames.extend(
                found
                    .into_iter()
                    .map(|frame| (frame.sequence, number, frame)),
            );
        }
        frames.sort_by_key(|&(sequence, ..)| sequence);
        let last = frames.last().map_or(0, |&(sequence, ..)| sequence);
        // Where a frame would stand that follows what is known.
        let (mut active, mut position) = (0, 0);
        let mut next = applied + 1;
        let mut replay = Vec::new();
        for (sequence, number, frame) in frames {
            if sequence > next {
                let what = format!("commit {next} is damaged, yet commit {last} is there");
                let file = &files[active].name;
                return Err(corrupt(file, format!("byte {position}"), what).into());
            }
            let end = frame.end as u64;
            (active, position) = (number, end);
            files[number].last = sequence;
            if sequence == next {
                let batches = frame::decode_batches(frame.body).map_err(|what| {
                    corrupt(&files[number].name, format!("byte {}", frame.offset), what)
                })?;
                replay.push(Replay { sequence, batches });
                next += 1;
            }
        }
        Ok((
            Self {
                id,
                files,
                active,
                position,
                next,
                capacity,
            },
            replay,
        ))
    }

    /// The sequence number that the tables must hold durably before a frame of `len` bytes can be
    /// written; 0 when there is room.
    pub(super) fn must_be_applied(&self, len: u64) -> u64 {
        let fits = self.position == 0 || self.position + len <= self.capacity;
        if fits {
            0
        } else {
            self.files[1 - self.active].last
        }
    }

    /// The last sequence number of the file that is written next, which is better applied soon.
    pub(super) fn idle_file_last(&self) -> u64 {
        self.files[1 - self.active].last
    }

    /// Makes a frame durable and returns its sequence number. After [`StoreError::NoSpace`] the
    /// journal is as before; after any other error its file must not be used again.
    pub(super) fn append(&mut self, frame: &mut FrameBuilder) -> Result<u64, StoreError> {
        let sequence = self.next;
        let frame = frame.finish(&self.id, sequence);
        let len = frame.len() as u64;
        let fits = self.position == 0 || self.position + len <= self.capacity;
        let (number, position) = if fits {
            (self.active, self.position)
        } else {
            (1 - self.active, 0)
        };
        self.files[number].write(position, frame)?;
        self.files[number].last = sequence;
        (self.active, self.position) = (number, position + len);
        self.next += 1;
        Ok(sequence)
    }
}
