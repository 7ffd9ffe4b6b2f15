//! What waits for one receiver, and how often it is tried.

use std::collections::VecDeque;
use std::sync::Arc;

/// Requests to one webhook under way at once, where one request carries one event. Events of one channel share a
/// lane, so they arrive in their order; an event that is refused holds up no other lane.
pub const LANES: usize = 8;

/// Events that may wait in one lane of [`LANES`]: 10,000 per webhook.
pub const LANE_EVENTS_MAX: usize = 10_000 / LANES;

/// The lane of a channel, of `lanes`.
pub fn lane_of(channel: &str, lanes: usize) -> usize {
    // Nobody gains by filling one lane, so any hash will do. Source: FNV-1a, draft-eastlake-fnv.
    let hash = channel.bytes().fold(0xCBF2_9CE4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01B3)
    });
    (hash % lanes as u64) as usize
}

/// Events that wait, oldest first.
#[derive(Debug)]
pub struct Lane {
    events: VecDeque<Arc<[u8]>>,
    events_max: usize,
}

impl Lane {
    /// `events_max`: at least 1.
    pub fn new(events_max: usize) -> Self {
        Self { events: VecDeque::new(), events_max }
    }

    /// One more waits. `false`: the oldest one had to give way.
    pub fn push(&mut self, event: Arc<[u8]>) -> bool {
        let is_full = self.events.len() == self.events_max;
        if is_full {
            self.events.pop_front();
        }
        self.events.push_back(event);
        !is_full
    }

    /// The next ones, at most so many; empty: none waits.
    pub fn take(&mut self, events_max: usize) -> Vec<Arc<[u8]>> {
        let count = self.events.len().min(events_max);
        self.events.drain(..count).collect()
    }
}

/// The attempts to deliver one request: after a second, two, four, … up to a minute, for five minutes in all.
#[derive(Debug, Clone, Copy)]
pub struct Attempts {
    began_ms: u64,
    delay_ms: u64,
}

const DELAY_MIN_MS: u64 = 1_000;
const DELAY_MAX_MS: u64 = 60_000;
const LIFE_MS: u64 = 300_000;

impl Attempts {
    /// The first attempt is made now.
    pub fn begin(now_ms: u64) -> Self {
        Self { began_ms: now_ms, delay_ms: DELAY_MIN_MS }
    }

    /// An attempt failed: how long to rest before the next; `None`: it was the last.
    pub fn failed(&mut self, now_ms: u64) -> Option<u64> {
        let delay_ms = self.delay_ms;
        self.delay_ms = (delay_ms * 2).min(DELAY_MAX_MS);
        (now_ms.saturating_sub(self.began_ms) + delay_ms <= LIFE_MS).then_some(delay_ms)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn t8_20_the_oldest_gives_way() {
        let event = |number: u8| -> Arc<[u8]> { Arc::from([number].as_slice()) };
        let mut lane = Lane::new(2);
        assert_eq!([1, 2, 3].map(|number| lane.push(event(number))), [true, true, false]);
        assert_eq!(lane.take(1), [event(2)]);
        assert!(lane.push(event(4)));
        assert_eq!(lane.take(9), [event(3), event(4)]);
        assert!(lane.take(1).is_empty());
    }

    #[test]
    fn attempts_are_made_for_five_minutes() {
        let mut attempts = Attempts::begin(1_000);
        let mut now_ms = 1_000;
        let mut delays = Vec::new();
        while let Some(delay_ms) = attempts.failed(now_ms) {
            now_ms += delay_ms;
            delays.push(delay_ms / 1_000);
        }
        assert_eq!(delays, [1, 2, 4, 8, 16, 32, 60, 60, 60]);
        // Slow receivers use the same time up with fewer attempts.
        let mut slow = Attempts::begin(0);
        assert_eq!((slow.failed(298_000), slow.failed(299_500)), (Some(1_000), None));
    }

    #[test]
    fn channels_spread_over_lanes_and_stay_in_theirs() {
        let lanes: std::collections::BTreeSet<usize> =
            (0..100).map(|number| lane_of(&format!("channel-{number}"), LANES)).collect();
        assert_eq!(lanes.len(), LANES);
        assert_eq!(lane_of("a", LANES), lane_of("a", LANES));
        assert_eq!(lane_of("a", 1), 0);
    }
}
