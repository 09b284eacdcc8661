//! Lanes: the sub-streams on which two nodes exchange what their common groups have to say.
//!
//! A lane goes in one direction and is opened by the side that writes it, so that two sides that
//! start at once have nothing to race about and never wait for each other's reading. One lane a
//! direction carries the messages of all groups; another, opened when needed, carries what
//! members fetch to catch up, so that it delays no commit.
//!
//! Not here: what frames mean, and who is admitted to a group.

mod frame;
mod reader;
mod serve;
mod writer;

#[cfg(fuzzing)]
pub(super) use reader::reparse;
pub(super) use {
    frame::{Facets, Frame, Hello, Probe},
    reader::{Read, Reader, ReaderError},
    serve::{Greeting, LaneKind, open, serve},
    writer::{Flushes, LaneSender},
};
