//! Long answers: what a client missed, or the history it asked for, may be longer than its queue may be.
//!
//! Such an answer is nothing that the client is slow in taking; to end the connection for it would make it ask again, for
//! ever. So it does not count against the bound while it is on its way, and the next command that may be answered at
//! length waits until it has left: what waits for one connection is at most its bound and one answer.

use super::Shard;
use super::connection::Phase;
use crate::core::command::Command;
use crate::core::ids::Slot;

/// A shorter answer is a message like others, in bytes.
const LONG_BYTES_MIN: usize = 16 * 1_024;

/// The header of a frame at most, in bytes.
const HEADER_BYTES_MAX: u32 = 10;

/// The long answer on its way to a client, in bytes.
#[derive(Debug)]
pub struct LongAnswer {
    length: u32,
    /// What the kernel must take until all of the answer has left.
    until_end: u32,
}

impl Shard {
    /// Whether a command must wait because it may be answered at length, and the client has not taken what waits for it.
    pub(super) fn must_take_first(&mut self, slot: Slot, command: &Command) -> bool {
        let is_long =
            matches!(command, Command::Subscribe(_) | Command::History(_) | Command::Presence { .. });
        if !is_long || self.has_taken(slot) {
            return false;
        }
        self.waiting(slot).full = true;
        self.unread.insert(slot);
        true
    }

    /// No long answer is on its way, and half of the queue is free.
    fn has_taken(&self, slot: Slot) -> bool {
        let waiting = self.connections.cold(slot).waiting.as_ref();
        let is_answering = waiting.is_some_and(|waiting| waiting.answer.is_some());
        !is_answering && self.connections.hot(slot).outbox.queued_bytes() <= self.queue_bytes_max(slot) / 2
    }

    /// An answer so long, in bytes, is about to be put behind what waits for a client.
    pub(super) fn note_answer(&mut self, slot: Slot, bytes: usize) {
        if bytes < LONG_BYTES_MIN || self.connections.hot(slot).phase != Phase::Open {
            return;
        }
        let length = u32::try_from(bytes).unwrap_or(u32::MAX).saturating_add(HEADER_BYTES_MAX);
        let until_end = self.connections.hot(slot).outbox.queued_bytes().saturating_add(length);
        self.waiting(slot).answer = Some(LongAnswer { length, until_end });
        self.unread.insert(slot);
    }

    /// Bytes that wait for a client and count against its bound.
    pub(super) fn burden(&self, slot: Slot) -> u32 {
        let queued = self.connections.hot(slot).outbox.queued_bytes();
        let waiting = self.connections.cold(slot).waiting.as_ref();
        let answer = waiting.and_then(|waiting| waiting.answer.as_ref());
        queued.saturating_sub(answer.map_or(0, |answer| answer.length.min(answer.until_end)))
    }

    /// The kernel took so many bytes of what waits for a client that is behind: who waited for that goes on.
    pub(super) fn answer_leaves(&mut self, slot: Slot, bytes: u32) {
        if self.connections.hot(slot).phase != Phase::Open || self.codec(slot).is_none() {
            return;
        }
        // It takes what it is sent, however long that lasts.
        self.await_pong_anew(slot);
        let is_empty = self.connections.hot(slot).outbox.is_empty();
        let waiting = self.waiting(slot);
        if let Some(answer) = &mut waiting.answer {
            answer.until_end = answer.until_end.saturating_sub(bytes);
            if answer.until_end == 0 || is_empty {
                waiting.answer = None;
            }
        }
        if self.has_taken(slot) {
            self.unread.remove(&slot);
            self.waiting(slot).full = false;
            self.note_blocked(slot);
        }
    }
}
