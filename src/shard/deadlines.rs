//! Time: pings, expiry, and everything that may not take for ever.
//!
//! Each connection has at most three deadlines and one place in the wheel, at the earliest of them.

use super::Shard;
use super::connection::{Listed, Phase, TICK_MS, Transport};
use crate::core::disconnect::Disconnect;
use crate::core::event::Event;
use crate::core::ids::Slot;
use crate::protocol::Heartbeat;
use crate::wire::websocket::append_ping;

/// Deadlines handled in one turn; the rest stay due for the next.
pub const DEADLINES_PER_TURN_MAX: usize = 1_024;

/// Expiries of one second are spread over this long, so that a million tokens with one `exp` do not fall due at
/// one moment. Always later, never earlier.
const EXPIRY_SPREAD_MS: u64 = 1_000;

/// A pong this much overdue at its judging tells more about this shard than about the peer.
const LATENESS_MS_MAX: u64 = 200;

impl Shard {
    /// Handles due deadlines, at most [`DEADLINES_PER_TURN_MAX`].
    pub(super) fn timers(&mut self, pending_receives: bool) {
        if let Some(due_ms) = self.wheel.next_due_ms() {
            let lag_ms = self.now.monotonic_ms.saturating_sub(due_ms);
            self.counters.timer_lag_ms = self.counters.timer_lag_ms.max(lag_ms);
        }
        let mut due = std::mem::take(&mut self.due);
        self.wheel.expire(self.now.monotonic_ms, DEADLINES_PER_TURN_MAX, &mut due);
        for slot in due.drain(..) {
            self.deadline(Slot(slot), pending_receives);
        }
        self.due = due;
        self.check_positions();
        self.tell_settled();
    }

    fn deadline(&mut self, slot: Slot, pending_receives: bool) {
        let phase = self.connections.hot(slot).phase;
        let cold = self.connections.cold(slot);
        let phase_is_due = self.is_due(cold.phase_at);
        match phase {
            Phase::Vacant | Phase::Closed => return,
            Phase::Closing => {
                if phase_is_due {
                    let is_stuck = !self.connections.hot(slot).outbox.is_empty();
                    self.close(slot, is_stuck);
                } else {
                    self.arm(slot);
                }
                return;
            }
            Phase::Open => {}
        }
        if phase_is_due {
            self.phase_is_over(slot);
        }
        self.check_expiry(slot);
        if self.connections.hot(slot).phase == Phase::Open
            && self.is_due(self.connections.cold(slot).heartbeat_at)
        {
            self.heartbeat(slot, pending_receives);
        }
        if self.connections.hot(slot).phase == Phase::Open {
            self.arm(slot);
        }
    }

    /// The time for what the connection was about is over.
    fn phase_is_over(&mut self, slot: Slot) {
        let cold = self.connections.cold_mut(slot);
        cold.phase_at = 0;
        match cold.transport {
            Transport::None => self.close(slot, false),
            Transport::Fresh(_) => self.close(slot, false),
            Transport::Http(_) | Transport::Resp(_) if cold.is_draining => self.close_after_answers(slot),
            Transport::Resp(_) => {
                tracing::debug!(connection = %self.name(slot), "no AUTH in time");
                self.close_after_answers(slot);
            }
            Transport::Http(_) => self.request_timed_out(slot),
            Transport::WebSocket(_) if cold.is_draining => self.disconnect(slot, Disconnect::Shutdown),
            Transport::WebSocket(_) if !cold.is_client || cold.must_prove => {
                self.disconnect(slot, Disconnect::Stale);
            }
            Transport::WebSocket(_) => {
                let reason = "a fragmented message was not finished in time";
                self.disconnect(slot, Disconnect::Transport { code: 1008, reason });
            }
        }
    }

    /// Judged by the wall clock as it stands: a clock that was set back postpones, it disconnects nobody.
    fn check_expiry(&mut self, slot: Slot) {
        let expires_ms = self.expires_unix_ms(slot);
        if self.connections.hot(slot).phase == Phase::Open
            && expires_ms.is_some_and(|ms| ms <= self.now.unix_ms)
        {
            self.counters.expired += 1;
            self.disconnect(slot, Disconnect::Expired);
        }
        if self.connections.hot(slot).phase == Phase::Open {
            self.expire_subscriptions(slot);
        }
    }

    /// When an unrefreshed connection is closed: the token's expiry plus the grace for a refresh.
    fn expires_unix_ms(&self, slot: Slot) -> Option<u64> {
        let expires_s = self.connections.cold(slot).expires_s;
        if expires_s == 0 {
            return None;
        }
        Some(self.end_unix_ms(slot, expires_s))
    }

    /// When what expires and is not refreshed comes to its end.
    pub(super) fn end_unix_ms(&self, slot: Slot, expires_s: u32) -> u64 {
        let grace_ms = self.rules(slot).map_or(0, |rules| rules.expiry_grace_ms);
        let spread_ms = u64::from(slot.0).wrapping_mul(0x9E37_79B9) % EXPIRY_SPREAD_MS;
        u64::from(expires_s) * 1_000 + u64::from(grace_ms) + spread_ms
    }

    fn heartbeat(&mut self, slot: Slot, pending_receives: bool) {
        let Some(codec) = self.codec(slot) else { return };
        let (interval_ms, timeout_ms) = match self.rules(slot) {
            Some(rules) => (rules.ping_interval_ms, rules.pong_timeout_ms),
            None => (0, 0),
        };
        let now_ms = self.now.monotonic_ms;
        let cold = self.connections.cold_mut(slot);
        if std::mem::take(&mut cold.has_spoken) && codec.heartbeat() == Heartbeat::Silence && interval_ms > 0
        {
            cold.awaits_pong = false;
            self.connections.cold_mut(slot).heartbeat_at = self.tick(now_ms + u64::from(interval_ms));
            return;
        }
        if self.connections.cold(slot).awaits_pong {
            let late_ms = now_ms.saturating_sub(self.tick_ms(self.connections.cold(slot).heartbeat_at));
            let hot = self.connections.hot(slot);
            if hot.listed == Listed::WithPing && !hot.outbox.is_in_flight() {
                // It was not even asked: others' sends came first.
                self.connections.cold_mut(slot).heartbeat_at = self.tick(now_ms + LATENESS_MS_MAX);
                return;
            }
            let cold = self.connections.cold_mut(slot);
            // Unless it is itself the one who is awaited.
            let is_held =
                cold.waiting.as_ref().is_some_and(|waiting| waiting.holds_anything() && !waiting.full);
            if is_held {
                // It has spoken since, and is not heard because an answer is awaited: perhaps it said pong.
                self.connections.cold_mut(slot).heartbeat_at = self.tick(now_ms + LATENESS_MS_MAX);
                return;
            }
            if pending_receives || (late_ms > LATENESS_MS_MAX && !cold.pong_extended) {
                // This shard ran late or has not read everything yet: the pong may lie in the socket.
                cold.pong_extended |= !pending_receives;
                self.connections.cold_mut(slot).heartbeat_at = self.tick(now_ms + late_ms.max(TICK_MS));
                return;
            }
            self.counters.no_pong += 1;
            self.disconnect(slot, Disconnect::NoPong);
            return;
        }
        if interval_ms == 0 {
            self.connections.cold_mut(slot).heartbeat_at = 0;
            return;
        }
        match codec.heartbeat() {
            Heartbeat::Application => {
                self.tell(slot, &Event::Ping);
            }
            Heartbeat::Frame | Heartbeat::Silence => {
                let mut frame = Vec::with_capacity(2);
                append_ping(&[], &mut frame);
                self.push_bytes(slot, &[], &frame);
            }
        }
        let heartbeat_at = self.tick(now_ms + u64::from(timeout_ms));
        let cold = self.connections.cold_mut(slot);
        (cold.awaits_pong, cold.pong_extended) = (true, false);
        cold.heartbeat_at = heartbeat_at;
        let hot = self.connections.hot_mut(slot);
        if hot.listed == Listed::Yes {
            hot.listed = Listed::WithPing;
        }
    }

    /// The ping is handed to the kernel, perhaps long after it was due: what waited before it went first.
    pub(super) fn ping_leaves(&mut self, slot: Slot) {
        let Some(timeout_ms) = self.rules(slot).map(|rules| u64::from(rules.pong_timeout_ms)) else { return };
        if self.connections.cold(slot).awaits_pong {
            // The wheel comes at the old moment, finds nothing due and goes by this one.
            self.connections.cold_mut(slot).heartbeat_at = self.tick(self.now.monotonic_ms + timeout_ms);
        }
    }

    /// The first ping comes at a random moment in the second half of the interval, so that the clients of one
    /// storm are not pinged in one wave for ever after.
    pub(super) fn schedule_first_ping(&mut self, slot: Slot, interval_ms: u32) {
        if interval_ms == 0 {
            return;
        }
        let half_ms = u64::from(interval_ms / 2);
        let delay_ms = half_ms + self.random_below(half_ms + 1);
        self.connections.cold_mut(slot).heartbeat_at = self.tick(self.now.monotonic_ms + delay_ms);
    }

    /// The connection was not read for a while: its pong may lie behind much else that is still to come.
    pub(super) fn await_pong_anew(&mut self, slot: Slot) {
        let Some(timeout_ms) = self.rules(slot).map(|rules| u64::from(rules.pong_timeout_ms)) else { return };
        if self.connections.cold(slot).awaits_pong {
            self.connections.cold_mut(slot).heartbeat_at = self.tick(self.now.monotonic_ms + timeout_ms);
            self.arm(slot);
        }
    }

    /// A pong came, asked for or not.
    pub(super) fn note_pong(&mut self, slot: Slot) {
        if !self.connections.cold(slot).awaits_pong {
            return;
        }
        let (interval_ms, timeout_ms) = match self.rules(slot) {
            Some(rules) => (u64::from(rules.ping_interval_ms), u64::from(rules.pong_timeout_ms)),
            None => return,
        };
        let pinged_ms = self.tick_ms(self.connections.cold(slot).heartbeat_at).saturating_sub(timeout_ms);
        let next = self.tick((pinged_ms + interval_ms).max(self.now.monotonic_ms));
        let cold = self.connections.cold_mut(slot);
        cold.awaits_pong = false;
        cold.heartbeat_at = next;
        self.arm(slot);
    }

    /// Counts a WebSocket ping. `false`: too many within a second.
    pub(super) fn count_ping(&mut self, slot: Slot) -> bool {
        let second = (self.now.monotonic_ms / 1_000) as u8;
        let max = self.config.limits.pings_per_second_max;
        let cold = self.connections.cold_mut(slot);
        cold.count_within(second);
        cold.pings = cold.pings.saturating_add(1);
        max == 0 || u32::from(cold.pings) <= max
    }

    /// A fragmented message must be finished in time.
    pub(super) fn watch_fragments(&mut self, slot: Slot) {
        let cold = self.connections.cold(slot);
        if !cold.is_client || cold.is_draining || cold.must_prove {
            return;
        }
        let (is_open, is_watched) = (cold.assembler.fragmented_message_open(), cold.phase_at != 0);
        if is_open && !is_watched {
            self.set_phase_deadline(slot, u64::from(self.config.limits.fragment_timeout_ms));
        } else if !is_open && is_watched {
            self.connections.cold_mut(slot).phase_at = 0;
            self.arm(slot);
        }
    }

    /// A client without a user must prove within this time that somebody vouches for it. 0: it need not.
    pub(super) fn demand_proof(&mut self, slot: Slot, proof_ms: u32) {
        let cold = self.connections.cold_mut(slot);
        if proof_ms > 0 && cold.user.is_empty() && !cold.is_draining {
            cold.must_prove = true;
            self.set_phase_deadline(slot, u64::from(proof_ms));
        }
    }

    /// The client has proven something.
    pub(super) fn note_proof(&mut self, slot: Slot) {
        let cold = self.connections.cold_mut(slot);
        if std::mem::take(&mut cold.must_prove) && !cold.is_draining {
            cold.phase_at = 0;
            self.arm(slot);
        }
    }

    /// The present phase of the connection may last so long.
    pub(super) fn set_phase_deadline(&mut self, slot: Slot, delay_ms: u64) {
        self.connections.cold_mut(slot).phase_at = self.tick(self.now.monotonic_ms + delay_ms);
        self.arm(slot);
    }

    /// Puts the connection into the wheel at the earliest of its deadlines, or takes it out.
    pub(super) fn arm(&mut self, slot: Slot) {
        let cold = self.connections.cold(slot);
        let ticks = [cold.heartbeat_at, cold.phase_at];
        let expiry =
            self.expires_unix_ms(slot).into_iter().chain(self.subscriptions_expire_unix_ms(slot)).min();
        let expiry_ms =
            expiry.map(|unix_ms| self.now.monotonic_ms + unix_ms.saturating_sub(self.now.unix_ms));
        let earliest_ms =
            ticks.into_iter().filter(|tick| *tick != 0).map(|tick| self.tick_ms(tick)).chain(expiry_ms).min();
        match earliest_ms {
            Some(deadline_ms) => self.wheel.arm(slot.0, deadline_ms),
            None => self.wheel.disarm(slot.0),
        }
    }

    /// The first tick that is not before this moment.
    fn tick(&self, monotonic_ms: u64) -> u32 {
        let ticks = monotonic_ms.saturating_sub(self.started_ms).div_ceil(TICK_MS) + 1;
        u32::try_from(ticks).unwrap_or(u32::MAX)
    }

    fn tick_ms(&self, tick: u32) -> u64 {
        self.started_ms + u64::from(tick.saturating_sub(1)) * TICK_MS
    }

    fn is_due(&self, tick: u32) -> bool {
        tick != 0 && self.tick_ms(tick) <= self.now.monotonic_ms
    }
}
