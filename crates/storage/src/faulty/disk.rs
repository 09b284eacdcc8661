//! [`SimulatedDisk`]: a file in memory that behaves as badly as a real one may.

use {
    super::SplitMix,
    crate::disk::{Media, Medium},
    std::{
        collections::VecDeque,
        fmt, io, mem,
        sync::{Arc, Mutex, MutexGuard, PoisonError},
    },
};

/// The files of a store, whose writes are in doubt until they are synced.
///
/// At a power cut every unsynced write is torn into sectors, and each sector survives or not by
/// chance, whatever became of earlier and later ones. After a failed sync the writes it covered
/// can be read but are in truth lost, as it is on Linux.
pub struct SimulatedDisk(Mutex<State>);

/// Not what the files hold: nobody reads megabytes in a message.
impl fmt::Debug for SimulatedDisk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = self.state();
        let mut debug = f.debug_struct("SimulatedDisk");
        debug
            .field("used", &state.used())
            .field("powered", &state.powered);
        debug.finish_non_exhaustive()
    }
}

#[derive(Debug)]
struct State {
    files: [FileState; FILES],
    unsynced: VecDeque<(usize, Change)>,
    rng: SplitMix,
    capacity_bytes: u64,
    cut_after: Option<u64>,
    fail_sync: bool,
    fail_write: bool,
    powered: bool,
    syncs: u64,
}

#[derive(Debug, Default)]
struct FileState {
    /// What reads see.
    seen: Vec<u8>,
    /// What is on the platter.
    durable: Vec<u8>,
}

/// The tables, then the two files of the journal.
const FILES: usize = 3;

/// One of the files.
#[derive(Debug)]
struct SimulatedFile {
    disk: Arc<SimulatedDisk>,
    number: usize,
}

#[derive(Debug)]
enum Change {
    Write { offset: usize, data: Vec<u8> },
    Resize(usize),
}

impl SimulatedDisk {
    /// A disk with empty files.
    pub fn new(seed: u64) -> Self {
        Self(Mutex::new(State {
            files: Default::default(),
            unsynced: VecDeque::new(),
            rng: SplitMix::new(seed),
            capacity_bytes: u64::MAX,
            cut_after: None,
            fail_sync: false,
            fail_write: false,
            powered: true,
            syncs: 0,
        }))
    }

    /// A disk on which every file is durably what [`Self::image`] returned.
    pub fn with_image(seed: u64, image: &[Vec<u8>]) -> Self {
        let disk = Self::new(seed);
        for (file, content) in disk.state().files.iter_mut().zip(image) {
            *file = FileState {
                seen: content.clone(),
                durable: content.clone(),
            };
        }
        disk
    }

    /// The files, for [`DiskStore::open_media`](crate::DiskStore::open_media).
    pub fn media(self: &Arc<Self>) -> Media {
        let file = |number| -> Arc<dyn Medium> {
            Arc::new(SimulatedFile {
                disk: Arc::clone(self),
                number,
            })
        };
        Media {
            name: "disk".to_owned(),
            tables: file(0),
            journals: [file(1), file(2)],
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Power fails in place of the write, resize or sync that follows `operations` others.
    pub fn cut_power_after(&self, operations: u64) {
        self.state().cut_after = Some(operations);
    }

    /// Power fails now, if it has not yet, and comes back: what was not synced is torn. Whoever
    /// used the disk before must have let go of it.
    pub fn restore_power(&self) {
        let state = &mut *self.state();
        // Some cuts lose everything, some nothing, most something.
        let survive_permille = [0, 100, 500, 900, 1_000][state.rng.below(5) as usize];
        let sector_len = [64, 512, 4_096][state.rng.below(3) as usize];
        while let Some((file, change)) = state.unsynced.pop_front() {
            let durable = &mut state.files[file].durable;
            match change {
                Change::Resize(len) => {
                    if state.rng.chance(survive_permille) {
                        durable.resize(len, 0);
                    }
                }
                Change::Write { offset, data } => {
                    let mut done = 0;
                    while done < data.len() {
                        let len = sector_len - (offset + done) % sector_len;
                        let end = data.len().min(done + len);
                        if state.rng.chance(survive_permille) {
                            overlay(durable, offset + done, &data[done..end]);
                        }
                        done = end;
                    }
                }
            }
        }
        for file in &mut state.files {
            file.seen = file.durable.clone();
        }
        state.cut_after = None;
        state.fail_sync = false;
        state.fail_write = false;
        state.powered = true;
    }

    /// The next sync fails, and what it covered is lost although reads still show it.
    pub fn fail_next_sync(&self) {
        self.state().fail_sync = true;
    }

    /// The next write fails with an input/output error.
    pub fn fail_next_write(&self) {
        self.state().fail_write = true;
    }

    /// The files cannot grow beyond this many bytes together.
    pub fn set_capacity(&self, bytes: u64) {
        self.state().capacity_bytes = bytes;
    }

    /// Length of all files together.
    pub fn used(&self) -> u64 {
        self.state().used()
    }

    /// Everything that reads see, file by file.
    pub fn image(&self) -> Vec<Vec<u8>> {
        self.state()
            .files
            .iter()
            .map(|file| file.seen.clone())
            .collect()
    }

    /// Successful syncs so far.
    pub fn syncs(&self) -> u64 {
        self.state().syncs
    }
}

/// A write beyond the end is possible when the resize before it was lost.
fn overlay(image: &mut Vec<u8>, offset: usize, data: &[u8]) {
    let end = offset + data.len();
    if image.len() < end {
        image.resize(end, 0);
    }
    image[offset..end].copy_from_slice(data);
}

impl State {
    fn used(&self) -> u64 {
        self.files.iter().map(|file| file.seen.len() as u64).sum()
    }

    fn operate(&mut self) -> io::Result<()> {
        if let Some(left) = &mut self.cut_after {
            match left.checked_sub(1) {
                Some(fewer) => *left = fewer,
                None => self.powered = false,
            }
        }
        self.check_power()
    }

    fn check_power(&self) -> io::Result<()> {
        if self.powered {
            Ok(())
        } else {
            Err(io::Error::other("power is off"))
        }
    }
}

impl Medium for SimulatedFile {
    fn len(&self) -> io::Result<u64> {
        let state = self.disk.state();
        state.check_power()?;
        Ok(state.files[self.number].seen.len() as u64)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let state = self.disk.state();
        state.check_power()?;
        let offset = offset as usize;
        let data = state.files[self.number]
            .seen
            .get(offset..offset + out.len());
        out.copy_from_slice(data.ok_or(io::ErrorKind::UnexpectedEof)?);
        Ok(())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        let mut state = self.disk.state();
        state.operate()?;
        let before = state.files[self.number].seen.len() as u64;
        if len > before && state.used() - before + len > state.capacity_bytes {
            return Err(io::ErrorKind::StorageFull.into());
        }
        let len = len as usize;
        state.files[self.number].seen.resize(len, 0);
        state.unsynced.push_back((self.number, Change::Resize(len)));
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        let mut state = self.disk.state();
        state.operate()?;
        if mem::take(&mut state.fail_write) {
            return Err(io::Error::other("injected write error"));
        }
        let offset = offset as usize;
        overlay(&mut state.files[self.number].seen, offset, data);
        let change = Change::Write {
            offset,
            data: data.to_vec(),
        };
        state.unsynced.push_back((self.number, change));
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        let state = &mut *self.disk.state();
        state.operate()?;
        let unsynced = mem::take(&mut state.unsynced);
        let (ours, others) = unsynced
            .into_iter()
            .partition(|(file, _)| *file == self.number);
        state.unsynced = others;
        if mem::take(&mut state.fail_sync) {
            return Err(io::Error::other("injected fsync error"));
        }
        let ours: VecDeque<(usize, Change)> = ours;
        let durable = &mut state.files[self.number].durable;
        for (_, change) in ours {
            match change {
                Change::Write { offset, data } => overlay(durable, offset, &data),
                Change::Resize(len) => durable.resize(len, 0),
            }
        }
        state.syncs += 1;
        Ok(())
    }
}
