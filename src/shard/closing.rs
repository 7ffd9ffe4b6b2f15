//! The end of a connection: what the client is told, what is let go, and in which order.
//!
//! A client's subscriptions and its place in the user index are gone the moment its end is decided; the socket
//! follows when the close frame is out and answered, or when the time for that is over. The slot itself is free
//! only after [`Input::Closed`](super::input::Input::Closed).

use super::Shard;
use super::connection::{NONE, Phase, Transport};
use super::input::Effect;
use super::letter::Notice;
use crate::core::disconnect::Disconnect;
use crate::core::event::Event;
use crate::core::ids::Slot;
use crate::wire::websocket::{Assembler, Incoming, Limits, append_close};

/// How long the peer may take to answer our close frame.
const CLOSE_ANSWER_MS: u64 = 5_000;

/// How long an HTTP peer may take to end a connection whose last answer it has.
const LINGER_MS: u64 = 1_000;

/// Bytes looked at after our close frame.
const CLOSING_BYTES_MAX: u32 = 64 * 1024;

impl Shard {
    /// Ends a connection for a reason that its client is told.
    pub(super) fn disconnect(&mut self, slot: Slot, disconnect: Disconnect) {
        if self.connections.hot(slot).phase != Phase::Open {
            return;
        }
        tracing::debug!(connection = %self.name(slot), reason = ?disconnect, "disconnect");
        let frame = self.codec(slot).and_then(|codec| match &disconnect {
            Disconnect::Transport { code, reason } => Some((*code, Box::from(*reason))),
            other => codec.close_frame(other).map(|frame| (frame.code, frame.reason)),
        });
        let mut held = self.let_go(slot);
        let is_slow = disconnect == Disconnect::Slow;
        if is_slow {
            tracing::info!(
                connection = %self.name(slot),
                "disconnected: it reads too slowly; the namespace's slow_consumer and the dialect's queue size decide"
            );
            // What the kernel does not hold is discarded, but for the rest of a frame that the peer has begun to
            // get: within it the close frame could not be read.
            self.connections.hot_mut(slot).outbox.keep_waiting(&mut self.chunks, std::iter::empty());
        }
        let Some((code, reason)) = frame else {
            self.close_when_sent(slot);
            return;
        };
        self.tell(slot, &Event::Ended { disconnect: &disconnect });
        let mut bytes = Vec::new();
        append_close(code, &reason, &mut bytes);
        self.push_bytes(slot, &[], &bytes);
        let wait_ms = if is_slow { u64::from(self.config.limits.write_timeout_ms) } else { CLOSE_ANSWER_MS };
        self.set_phase_deadline(slot, wait_ms);
        if !held.is_empty() {
            self.receive_closing(slot, &mut held);
        }
    }

    /// The peer's close frame came: it is answered in kind, and the connection ends.
    pub(super) fn peer_closed(&mut self, slot: Slot) {
        self.let_go(slot);
        let mut bytes = Vec::new();
        append_close(1000, "", &mut bytes);
        self.push_bytes(slot, &[], &bytes);
        self.connections.hot_mut(slot).deaf = true;
        self.close_when_sent(slot);
    }

    /// Closes as soon as everything queued has left; at the latest after the write timeout.
    pub(super) fn close_when_sent(&mut self, slot: Slot) {
        let hot = self.connections.hot_mut(slot);
        if hot.phase == Phase::Open {
            self.let_go(slot);
        }
        let hot = self.connections.hot_mut(slot);
        hot.deaf = true;
        if hot.outbox.is_empty() {
            self.finish_or_close(slot);
        } else {
            self.set_phase_deadline(slot, u64::from(self.config.limits.write_timeout_ms));
        }
    }

    /// Everything has left. What an HTTP peer still sends would turn our CLOSE into a reset, which could overtake
    /// the answer: it gets FIN, and a moment to end the connection itself.
    pub(super) fn finish_or_close(&mut self, slot: Slot) {
        if std::mem::take(&mut self.connections.cold_mut(slot).lingers) {
            self.effects.push(Effect::Finish { slot });
            self.set_phase_deadline(slot, LINGER_MS);
        } else {
            self.close(slot, false);
        }
    }

    /// The end is decided: the client hears nothing more and is known to nobody. Returns the bytes that were held
    /// back: what comes next continues them.
    fn let_go(&mut self, slot: Slot) -> Vec<u8> {
        self.connections.hot_mut(slot).phase = Phase::Closing;
        self.end_all_subscriptions(slot);
        if self.connections.cold(slot).is_client {
            self.release_user(slot);
            self.charged.forget_connection(slot);
            self.end_watch(slot);
            if self.users.remove(&mut self.connections, slot) {
                self.note_user(slot, false);
            }
            self.counters.clients -= 1;
        }
        let cold = self.connections.cold_mut(slot);
        cold.is_client = false;
        cold.user = Box::default();
        cold.info = None;
        self.unread.remove(&slot);
        let held = cold.waiting.take().map(|waiting| waiting.input).unwrap_or_default();
        cold.lingers = cold.transport.answers_requests() && !cold.peer_ended;
        cold.expires_s = 0;
        cold.heartbeat_at = 0;
        cold.phase_at = 0;
        held
    }

    /// Bytes after our close frame: only the peer's own close frame matters.
    pub(super) fn receive_closing(&mut self, slot: Slot, bytes: &mut [u8]) {
        if self.connections.hot(slot).deaf {
            return;
        }
        let cold = self.connections.cold_mut(slot);
        let length = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
        cold.closing_bytes = cold.closing_bytes.saturating_add(length);
        let is_over = cold.closing_bytes > CLOSING_BYTES_MAX || {
            let limits = Limits { message_bytes_max: CLOSING_BYTES_MAX, fragments_max: u32::MAX };
            let mut rest: &mut [u8] = bytes;
            loop {
                match cold.assembler.next(&mut rest, &limits) {
                    Ok(None) => break false,
                    Ok(Some(Incoming::Close { .. })) | Err(_) => break true,
                    Ok(Some(_)) => {}
                }
            }
        };
        if is_over {
            self.close_when_sent(slot);
        }
    }

    /// The peer sends no more.
    pub(super) fn receive_ended(&mut self, slot: Slot) {
        match self.connections.hot(slot).phase {
            Phase::Vacant | Phase::Closed => {}
            // A half-closed client still reads the answers it asked for.
            Phase::Open if self.connections.cold(slot).transport.answers_requests() => {
                let cold = self.connections.cold_mut(slot);
                cold.peer_ended = true;
                // What it asked before is answered too, even if it is still to be read.
                if cold.waiting.as_ref().is_none_or(|waiting| waiting.input.is_empty()) {
                    self.close_after_answers(slot);
                }
            }
            Phase::Open => {
                self.let_go(slot);
                self.close(slot, false);
            }
            // The last answers are still on their way; what must happen behind them is decided already.
            Phase::Closing
                if self.connections.cold(slot).transport.answers_requests()
                    && !self.connections.hot(slot).outbox.is_empty() =>
            {
                self.connections.cold_mut(slot).lingers = false;
            }
            Phase::Closing => self.close(slot, false),
        }
    }

    /// Hands the socket over for closing. `abort`: the peer does not read, so a reset is all it gets.
    pub(super) fn close(&mut self, slot: Slot, abort: bool) {
        let hot = self.connections.hot_mut(slot);
        assert!(hot.phase != Phase::Vacant && hot.phase != Phase::Closed, "a connection is closed once");
        if hot.phase == Phase::Open {
            self.let_go(slot);
        }
        let hot = self.connections.hot_mut(slot);
        hot.phase = Phase::Closed;
        hot.outbox.discard_waiting(&mut self.chunks);
        let cold = self.connections.cold_mut(slot);
        cold.transport = Transport::None;
        cold.assembler = Assembler::default();
        self.wheel.disarm(slot.0);
        self.effects.push(Effect::Close { slot, abort });
    }

    /// Nothing in the kernel names the slot any more.
    pub(super) fn closed(&mut self, slot: Slot) {
        self.connections.hot_mut(slot).outbox.clear(&mut self.chunks);
        let cold = std::mem::take(self.connections.cold_mut(slot));
        if cold.address != NONE {
            self.addresses.release(cold.address);
        }
        self.connections.vacate(slot);
        self.counters.connections = u64::from(self.connections.count());
        self.note_drained();
    }

    /// The order to drain: every open connection gets its own moment within the spread, at an even pace, so that
    /// clients without jitter do not come back in one wave.
    pub(super) fn drain(&mut self, spread_ms: u64) {
        self.is_draining = true;
        let slots: Vec<Slot> = self.connections.open_slots().collect();
        let count = slots.len() as u64;
        for (place, slot) in (0..).zip(slots) {
            // Each at a random moment of its part of the time: other shards drain at the same pace.
            let part = spread_ms * place / count..spread_ms * (place + 1) / count;
            let delay_ms = part.start + self.random_below(part.end - part.start + 1);
            self.connections.cold_mut(slot).is_draining = true;
            self.set_phase_deadline(slot, delay_ms);
        }
        self.note_drained();
    }

    fn note_drained(&mut self) {
        if self.is_draining && self.connections.count() == 0 {
            self.effects.push(Effect::Notify(Notice::Drained));
        }
    }
}
