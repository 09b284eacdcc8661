//! [`LogReplayProvider`]: answers members that replay the log.

use {
    super::{
        LogReplaySync, LogReplaySyncMessage,
        message::{RESPONSE_BYTES, RESPONSE_COMMANDS},
    },
    crate::{
        PeerId,
        groups::{
            index::IndexRange,
            log_store::Storage,
            machine::{Command, StateMachine},
            sync::{StateSyncProvider, SyncProviderContext},
        },
    },
    core::{fmt, marker::PhantomData},
    mosaik_primitives::{Encoded, time::UnixMillis},
};

/// Answers from the log, at once, and remembers nothing of who asked.
pub struct LogReplayProvider<M: StateMachine> {
    machine: PhantomData<fn() -> M>,
}

impl<M: StateMachine> LogReplayProvider<M> {
    pub(super) const fn new() -> Self {
        Self {
            machine: PhantomData,
        }
    }
}

impl<M: StateMachine> fmt::Debug for LogReplayProvider<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LogReplayProvider").finish_non_exhaustive()
    }
}

impl<M: StateMachine> StateSyncProvider for LogReplayProvider<M> {
    type Owner = LogReplaySync<M>;

    fn receive(
        &mut self,
        message: LogReplaySyncMessage<M::Command>,
        sender: PeerId,
        cx: &mut dyn SyncProviderContext<LogReplaySync<M>>,
    ) -> Result<(), LogReplaySyncMessage<M::Command>> {
        let answer = match message {
            LogReplaySyncMessage::AvailabilityRequest => {
                LogReplaySyncMessage::AvailabilityResponse(held(cx))
            }
            LogReplaySyncMessage::FetchEntriesRequest(range) => {
                let held = held(cx);
                entries(cx.log(), range, &held)
            }
            other => return Err(other),
        };
        if let Err(error) = cx.send_to(sender, answer) {
            // The other side asks someone else when no answer comes.
            tracing::warn!(%error, peer = %sender, "committed commands cannot be encoded");
        }
        Ok(())
    }
}

/// What is held of what is committed.
fn held<M: StateMachine>(cx: &dyn SyncProviderContext<LogReplaySync<M>>) -> IndexRange {
    let available = cx.log().available();
    *available.start()..=(*available.end()).min(cx.committed().index())
}

/// As many commands from the start of `range` on as are held and make a reasonable message.
fn entries<C: Command>(
    log: &dyn Storage<C>,
    range: IndexRange,
    held: &IndexRange,
) -> LogReplaySyncMessage<C> {
    let mut entries = Vec::new();
    let mut times: Vec<(UnixMillis, u32)> = Vec::new();
    let mut scratch = bytes::BytesMut::new();
    let mut bytes = 0;
    let first = *range.start();
    let mut next = first;
    while held.contains(&next) && range.contains(&next) && entries.len() < MAX_ENTRIES {
        let Some((command, term)) = log.get(next) else {
            break;
        };
        scratch.clear();
        if command.encode_into(&mut scratch).is_err() {
            break;
        }
        bytes += scratch.len();
        if bytes > RESPONSE_BYTES && !entries.is_empty() {
            break;
        }
        let time = log.time_at(next).unwrap_or_default();
        match times.last_mut() {
            Some((last, count)) if *last == time => *count += 1,
            _ => times.push((time, 1)),
        }
        entries.push((Encoded(command), term));
        next = next.next();
    }
    let range = if entries.is_empty() {
        range
    } else {
        first..=next.prev()
    };
    LogReplaySyncMessage::FetchEntriesResponse {
        range,
        entries,
        times,
    }
}

const MAX_ENTRIES: usize = RESPONSE_COMMANDS as usize;
