//! The rendezvous directory: how the processes of one user on one machine find each other by
//! the network's name alone.
//!
//! ```text
//! <runtime directory>/mosaik/<network id>/<peer id>      one note a node, see [`note`]
//! ```
//!
//! The runtime directory is `MOSAIK_RUNTIME_DIR`, else `XDG_RUNTIME_DIR`, else a directory of
//! the user's own under the one for temporary files. Everything in it is owner-only; what
//! belongs to somebody else, or is a link, is refused (see [`directory`]). Notes are refreshed;
//! those of dead processes and those that were not refreshed are removed.
//!
//! Absent on purpose: file locks and change notifications. The directory is small, and a newcomer
//! looks often at first and seldom later: whoever was there before is met by the newcomer.

#[cfg(unix)]
mod directory;
#[cfg(unix)]
mod note;
#[cfg(unix)]
mod watch;

#[cfg(all(test, unix))]
pub(super) use directory::tests::Scratch;
#[cfg(all(fuzzing, unix))]
pub(super) use note::fuzz as fuzz_note;
#[cfg(unix)]
pub(super) use watch::{Rendezvous, start};

/// Where there are no owner-only directories, there is no rendezvous.
#[cfg(not(unix))]
pub(super) struct Rendezvous;

#[cfg(not(unix))]
pub(super) fn start(
    _: &crate::network::links::Links,
    _: &super::introduce::Introducer,
) -> Option<Rendezvous> {
    None
}

#[cfg(not(unix))]
impl Rendezvous {
    pub(super) async fn leave(&self) {}
}
