//! WebSocket connections: received bytes to commands, events to frames.

use std::panic::{AssertUnwindSafe, catch_unwind};

use super::Shard;
use super::connection::{Phase, Transport};
use super::waiting::{Ticket, Waiting};
use crate::core::command::Request;
use crate::core::disconnect::Disconnect;
use crate::core::event::Event;
use crate::core::ids::Slot;
use crate::protocol::{Codec, Message};
use crate::wire::websocket::{Incoming, Limits, append_pong, frame_header};

/// Received bytes that may wait behind a held-back command before the peer feels back-pressure.
const HELD_BYTES_MAX: usize = 64 * 1024;

/// What to do about one incoming item, once its bytes are no longer borrowed.
enum Step {
    Requests(Result<(), Disconnect>),
    Pong(Vec<u8>),
    Ponged,
    PeerClosed,
    End(Disconnect),
}

impl Shard {
    /// Takes received bytes, or keeps them while commands are held back.
    pub(super) fn receive_websocket(&mut self, slot: Slot, bytes: &mut [u8]) {
        self.connections.cold_mut(slot).has_spoken = true;
        if !self.keep_for_later(slot, bytes) {
            self.read_frames(slot, bytes);
        }
    }

    /// Keeps received bytes behind what is held back already. `false`: nothing is.
    pub(super) fn keep_for_later(&mut self, slot: Slot, bytes: &[u8]) -> bool {
        let Some(waiting) = &mut self.connections.cold_mut(slot).waiting else { return false };
        if !waiting.is_blocked() && waiting.held.is_empty() && waiting.input.is_empty() {
            return false;
        }
        waiting.input.extend_from_slice(bytes);
        if waiting.input.len() > HELD_BYTES_MAX {
            self.pause_reading(slot);
        }
        true
    }

    /// Reads frames in place until the bytes are used up, a command holds back the rest, or the connection ends.
    pub(super) fn read_frames(&mut self, slot: Slot, bytes: &mut [u8]) {
        let limits = Limits {
            message_bytes_max: self
                .rules(slot)
                .map_or(self.config.limits.message_bytes_max, |rules| rules.message_bytes_max),
            fragments_max: self.config.limits.fragments_max,
        };
        let mut rest: &mut [u8] = bytes;
        let mut owed_pong = None;
        while self.connections.hot(slot).phase == Phase::Open {
            if self.is_blocked(slot) {
                let bytes = rest.to_vec();
                self.waiting(slot).input = bytes;
                break;
            }
            let Some(mut codec) = self.codec(slot) else { break };
            let mut assembler = std::mem::take(&mut self.connections.cold_mut(slot).assembler);
            let mut requests = std::mem::take(&mut self.requests);
            let step = match assembler.next(&mut rest, &limits) {
                Ok(None) => None,
                Ok(Some(incoming)) => Some(self.read_incoming(slot, &mut codec, incoming, &mut requests)),
                Err(violation) => {
                    let (code, reason) = (violation.close_code(), violation.reason());
                    Some(Step::End(Disconnect::Transport { code, reason }))
                }
            };
            let cold = self.connections.cold_mut(slot);
            cold.assembler = assembler;
            cold.transport = Transport::WebSocket(codec);
            let Some(step) = step else {
                self.requests = requests;
                break;
            };
            self.take_step(slot, step, &mut requests, &mut owed_pong);
            self.requests = requests;
        }
        if let Some(payload) = owed_pong {
            self.send_pong(slot, &payload);
        }
        match self.connections.hot(slot).phase {
            Phase::Open => self.watch_fragments(slot),
            // What the peer sent before it knew is read past like what it sends after: the next bytes may belong to a
            // frame that begins in these, and must not be taken for the start of one.
            Phase::Closing if !rest.is_empty() => self.receive_closing(slot, rest),
            _ => {}
        }
    }

    fn read_incoming(
        &mut self,
        slot: Slot,
        codec: &mut Codec,
        incoming: Incoming<'_>,
        requests: &mut Vec<Request>,
    ) -> Step {
        let message = match incoming {
            Incoming::Text(bytes) => Message::Text(bytes),
            Incoming::Binary(bytes) => Message::Binary(bytes),
            Incoming::Ping(payload) => return Step::Pong(payload.to_vec()),
            Incoming::Pong(_) => return Step::Ponged,
            Incoming::Close { .. } => return Step::PeerClosed,
        };
        let json = &mut self.json;
        // A panic in a codec is a bug, but it costs only the connection whose bytes provoked it: the codec works
        // on nothing else.
        match catch_unwind(AssertUnwindSafe(|| codec.decode(message, json, requests))) {
            Ok(outcome) => Step::Requests(outcome),
            Err(_) => {
                self.counters.panics += 1;
                tracing::error!(connection = %self.name(slot), "a codec panicked; its connection is closed");
                Step::End(Disconnect::ServerError)
            }
        }
    }

    fn take_step(
        &mut self,
        slot: Slot,
        step: Step,
        requests: &mut Vec<Request>,
        owed_pong: &mut Option<Vec<u8>>,
    ) {
        match step {
            Step::Requests(outcome) => {
                let mut queue = requests.drain(..);
                let was_refused = self.connections.cold(slot).is_refused;
                while let Some(request) = queue.next() {
                    if self.connections.hot(slot).phase != Phase::Open {
                        break;
                    }
                    // Sent along with a connect that was then refused. To end the connection for it would overtake
                    // what the client does about the refusal.
                    if !was_refused && self.connections.cold(slot).is_refused {
                        break;
                    }
                    if self.is_blocked(slot) {
                        let held = &mut self.waiting(slot).held;
                        held.push_back(request);
                        held.extend(queue.by_ref());
                        break;
                    }
                    self.execute(slot, request);
                }
                drop(queue);
                if let Err(disconnect) = outcome {
                    self.disconnect(slot, disconnect);
                }
            }
            // Of many pings in one batch only the latest is answered (RFC 6455 section 5.5.3).
            Step::Pong(payload) => {
                if self.count_ping(slot) {
                    *owed_pong = Some(payload);
                } else {
                    let reason = "too many pings";
                    self.disconnect(slot, Disconnect::Transport { code: 1008, reason });
                }
            }
            Step::Ponged => self.note_pong(slot),
            Step::PeerClosed => self.peer_closed(slot),
            Step::End(disconnect) => {
                if matches!(disconnect, Disconnect::Transport { .. }) {
                    self.counters.violations += 1;
                }
                self.disconnect(slot, disconnect);
            }
        }
    }

    fn send_pong(&mut self, slot: Slot, payload: &[u8]) {
        if self.connections.hot(slot).phase != Phase::Open {
            return;
        }
        let mut frame = Vec::with_capacity(payload.len() + 2);
        append_pong(payload, &mut frame);
        self.push_bytes(slot, &[], &frame);
    }

    /// The dialect of a WebSocket connection.
    pub(super) fn codec(&self, slot: Slot) -> Option<Codec> {
        match self.connections.cold(slot).transport {
            Transport::WebSocket(codec) => Some(codec),
            Transport::None | Transport::Fresh(_) | Transport::Http(_) | Transport::Resp(_) => None,
        }
    }

    /// Tells one client something at once. `false`: its dialect has no words for it.
    pub(super) fn tell(&mut self, slot: Slot, event: &Event<'_>) -> bool {
        let Some(codec) = self.codec(slot) else { return false };
        let mut payload = std::mem::take(&mut self.scratch);
        payload.clear();
        codec.encode(event, &mut payload);
        let is_told = !payload.is_empty();
        if is_told && !self.hold_message(slot, &payload) {
            self.push_message(slot, codec, &payload);
        }
        self.scratch = payload;
        is_told
    }

    /// One message for one client, as its dialect wrote it.
    pub(super) fn push_payload(&mut self, slot: Slot, payload: &[u8]) {
        if let Some(codec) = self.codec(slot) {
            self.push_message(slot, codec, payload);
        }
    }

    fn push_message(&mut self, slot: Slot, codec: Codec, payload: &[u8]) {
        let (header, length) = frame_header(codec.variant().is_text(), payload.len());
        self.push_bytes(slot, &header[..length], payload);
    }

    /// Appends bytes for one connection only. A connection that lets too much of them wait is too slow.
    pub(super) fn push_bytes(&mut self, slot: Slot, header: &[u8], payload: &[u8]) {
        if self.connections.hot(slot).phase == Phase::Closed {
            return;
        }
        let frame = self.append_personal(self.codec(slot).is_some(), header, payload);
        let is_too_much = self.queue_frame(slot, frame);
        if is_too_much && self.connections.hot(slot).phase == Phase::Open {
            self.judge_slow_consumer(slot);
        }
    }

    /// What the connection needs while something is awaited; made when first needed.
    pub(super) fn waiting(&mut self, slot: Slot) -> &mut Waiting {
        let waiting = &mut self.connections.cold_mut(slot).waiting;
        waiting.get_or_insert_with(|| self.spare_waiting.take().unwrap_or_default())
    }

    /// Whether a reply is promised that has not left.
    pub(super) fn awaits_reply(&self, slot: Slot) -> bool {
        self.connections.cold(slot).waiting.as_ref().is_some_and(|waiting| waiting.awaits_reply())
    }

    pub(super) fn is_blocked(&self, slot: Slot) -> bool {
        self.connections.cold(slot).waiting.as_ref().is_some_and(|waiting| waiting.is_blocked())
    }

    /// Completes an awaited reply; it leaves once those before it have left.
    pub(super) fn complete_reply(&mut self, slot: Slot, ticket: Ticket, reply: &[u8]) {
        if self.waiting(slot).complete(ticket, reply) {
            self.push_reply(slot, reply);
            while let Some(reply) =
                self.connections.cold_mut(slot).waiting.as_mut().and_then(|w| w.next_ready())
            {
                self.push_reply(slot, &reply);
            }
        }
    }

    /// One answer for one client.
    pub(super) fn push_reply(&mut self, slot: Slot, reply: &[u8]) {
        match self.codec(slot) {
            Some(_) if reply.is_empty() => {}
            Some(codec) => {
                self.note_answer(slot, reply.len());
                self.push_message(slot, codec, reply);
            }
            None => self.push_bytes(slot, &[], reply),
        }
    }

    /// Something the connection waited for has happened: what was held back goes on once this input is handled.
    pub(super) fn note_blocked(&mut self, slot: Slot) {
        self.resumable.push(self.connections.id(slot));
    }

    /// Goes on with connections that waited.
    pub(super) fn resume_waiting(&mut self) {
        while let Some(connection) = self.resumable.pop() {
            if self.connections.is_open(connection) {
                self.resume(connection.slot);
            }
        }
    }

    fn resume(&mut self, slot: Slot) {
        while self.connections.hot(slot).phase == Phase::Open && !self.is_blocked(slot) {
            let Some(waiting) = &mut self.connections.cold_mut(slot).waiting else { return };
            if (waiting.granted.is_some() || waiting.taken.is_some()) && self.spilled_letters > 0 {
                // It waited for something else meanwhile, and lanes are full again.
                return self.park(slot);
            }
            if let Some(request) = waiting.granted.take() {
                self.perform(slot, *request);
                continue;
            }
            if let Some(request) = waiting.taken.take() {
                self.begin_request(*request);
                continue;
            }
            if let Some(request) = waiting.held.pop_front() {
                self.execute(slot, request);
                continue;
            }
            if !waiting.input.is_empty() {
                let mut input = std::mem::take(&mut waiting.input);
                match self.connections.cold(slot).transport {
                    Transport::WebSocket(_) => self.read_frames(slot, &mut input),
                    Transport::Http(_) => self.read_requests(slot, &mut input),
                    Transport::Resp(_) => self.resume_resp(slot, input),
                    Transport::None | Transport::Fresh(_) => {}
                }
                continue;
            }
            if std::mem::take(&mut waiting.paused) {
                self.resume_reading(slot);
            }
            self.spare_waiting = self.connections.cold_mut(slot).waiting.take_if(|waiting| waiting.is_idle());
            return;
        }
    }
}
