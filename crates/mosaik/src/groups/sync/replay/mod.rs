//! [`LogReplaySync`]: members keep their whole log, and whoever is behind replays it.
//!
//! Right for machines whose state is not smaller than their log, or that are short-lived. A
//! session asks every bonded member what it holds, fetches ranges from several of them at once,
//! and applies them in order. Members that are silent, lost, or answer with something else than
//! what was asked for are done without.
//!
//! Not promised: detection of a member that answers with well-formed commands that were never
//! committed. Members of a group trust each other with its contents.

mod config;
mod message;
mod plan;
mod provider;
mod session;
#[cfg(test)]
mod tests;

pub use {
    config::LogReplaySync, message::LogReplaySyncMessage, provider::LogReplayProvider,
    session::LogReplaySession,
};
