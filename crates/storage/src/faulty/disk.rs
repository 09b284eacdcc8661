//! [`SimulatedDisk`]: a file in memory that behaves as badly as a real one may.

use {
    super::SplitMix,
    crate::disk::Medium,
    std::{
        collections::VecDeque,
        io,
        sync::{Mutex, MutexGuard, PoisonError},
    },
};

/// A file whose writes are in doubt until they are synced.
///
/// At a power cut every unsynced write is torn into sectors, and each sector survives or not by
/// chance, whatever became of earlier and later ones. After a failed sync the writes it covered
/// can be read but are in truth lost, as it is on Linux.
#[derive(Debug)]
pub struct SimulatedDisk(Mutex<State>);

#[derive(Debug)]
struct State {
    /// What reads see.
    seen: Vec<u8>,
    /// What is on the platter.
    durable: Vec<u8>,
    unsynced: VecDeque<Change>,
    rng: SplitMix,
    capacity_bytes: u64,
    cut_after: Option<u64>,
    fail_sync: bool,
    fail_write: bool,
    powered: bool,
    syncs: u64,
}

#[derive(Debug)]
enum Change {
    Write { offset: usize, data: Vec<u8> },
    Resize(usize),
}

impl SimulatedDisk {
    /// An empty file.
    pub const fn new(seed: u64) -> Self {
        Self(Mutex::new(State {
            seen: Vec::new(),
            durable: Vec::new(),
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
        while let Some(change) = state.unsynced.pop_front() {
            match change {
                Change::Resize(len) => {
                    if state.rng.chance(survive_permille) {
                        state.durable.resize(len, 0);
                    }
                }
                Change::Write { offset, data } => {
                    let mut done = 0;
                    while done < data.len() {
                        let len = sector_len - (offset + done) % sector_len;
                        let end = data.len().min(done + len);
                        if state.rng.chance(survive_permille) {
                            overlay(&mut state.durable, offset + done, &data[done..end]);
                        }
                        done = end;
                    }
                }
            }
        }
        state.seen = state.durable.clone();
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

    /// The file cannot grow beyond this many bytes.
    pub fn set_capacity(&self, bytes: u64) {
        self.state().capacity_bytes = bytes;
    }

    /// Changes one bit of what is stored.
    pub fn flip_bit(&self, offset: u64, bit: u8) {
        let state = &mut *self.state();
        for image in [&mut state.seen, &mut state.durable] {
            if let Some(byte) = image.get_mut(offset as usize) {
                *byte ^= 1 << (bit % 8);
            }
        }
    }

    /// Cuts the stored file short.
    pub fn truncate(&self, len: u64) {
        let state = &mut *self.state();
        state.seen.truncate(len as usize);
        state.durable.truncate(len as usize);
    }

    /// Everything that reads see.
    pub fn image(&self) -> Vec<u8> {
        self.state().seen.clone()
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

impl Medium for SimulatedDisk {
    fn len(&self) -> io::Result<u64> {
        let state = self.state();
        state.check_power()?;
        Ok(state.seen.len() as u64)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let state = self.state();
        state.check_power()?;
        let offset = offset as usize;
        let data = state.seen.get(offset..offset + out.len());
        out.copy_from_slice(data.ok_or(io::ErrorKind::UnexpectedEof)?);
        Ok(())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        let mut state = self.state();
        state.operate()?;
        if len > state.capacity_bytes && len > state.seen.len() as u64 {
            return Err(io::ErrorKind::StorageFull.into());
        }
        let len = len as usize;
        state.seen.resize(len, 0);
        state.unsynced.push_back(Change::Resize(len));
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        let mut state = self.state();
        state.operate()?;
        if std::mem::take(&mut state.fail_write) {
            return Err(io::Error::other("injected write error"));
        }
        let offset = offset as usize;
        overlay(&mut state.seen, offset, data);
        state.unsynced.push_back(Change::Write {
            offset,
            data: data.to_vec(),
        });
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        let mut state = self.state();
        state.operate()?;
        let unsynced = std::mem::take(&mut state.unsynced);
        if std::mem::take(&mut state.fail_sync) {
            return Err(io::Error::other("injected fsync error"));
        }
        for change in unsynced {
            match change {
                Change::Write { offset, data } => overlay(&mut state.durable, offset, &data),
                Change::Resize(len) => state.durable.resize(len, 0),
            }
        }
        state.syncs += 1;
        Ok(())
    }
}
