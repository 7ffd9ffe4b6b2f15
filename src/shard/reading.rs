//! How a connection is read: as it comes, in bulk, or not at all for now.
//!
//! Everybody begins with small buffers. A backend that sends more at once than one of them holds is read in bulk from
//! then on: what it pipelines comes in one receive, is handled in one turn, and reaches the subscribers in one batch. Who
//! sends one publication and awaits its answer stays with the small ones, which need not be asked for anew.

use super::Shard;
use super::input::{Effect, ReadMode, STREAM_BYTES};
use crate::core::ids::Slot;

impl Shard {
    /// A backend has sent so many bytes at once.
    pub(super) fn note_backend_sent(&mut self, slot: Slot, bytes: usize) {
        if bytes >= STREAM_BYTES {
            self.read_in_bulk(slot);
        }
    }

    /// Much is to come from a backend.
    pub(super) fn read_in_bulk(&mut self, slot: Slot) {
        let transport = &mut self.connections.cold_mut(slot).transport;
        if transport.reads_bulk().is_some_and(|reads_bulk| !std::mem::replace(reads_bulk, true)) {
            self.choose_buffers(slot);
        }
    }

    /// What was a backend's connection, perhaps, is a client's from now on.
    pub(super) fn read_as_it_comes(&mut self, slot: Slot) {
        let transport = &mut self.connections.cold_mut(slot).transport;
        if transport.reads_bulk().is_some_and(std::mem::take) {
            self.choose_buffers(slot);
        }
    }

    /// Enough is held back: the peer feels back-pressure from now on.
    pub(super) fn pause_reading(&mut self, slot: Slot) {
        if !std::mem::replace(&mut self.waiting(slot).paused, true) {
            self.effects.push(Effect::Read { slot, mode: ReadMode::Paused });
        }
    }

    /// What was held back is done.
    pub(super) fn resume_reading(&mut self, slot: Slot) {
        self.choose_buffers(slot);
        self.await_pong_anew(slot);
    }

    /// Unless reading is paused.
    fn choose_buffers(&mut self, slot: Slot) {
        let cold = self.connections.cold_mut(slot);
        if cold.waiting.as_ref().is_none_or(|waiting| !waiting.paused) {
            let reads_bulk = cold.transport.reads_bulk().is_some_and(|reads_bulk| *reads_bulk);
            let mode = if reads_bulk { ReadMode::Bulk } else { ReadMode::Stream };
            self.effects.push(Effect::Read { slot, mode });
        }
    }
}
