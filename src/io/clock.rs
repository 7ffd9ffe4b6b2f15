//! The two clocks.

use std::time::{Instant, SystemTime, UNIX_EPOCH};

use crate::core::time::Now;

/// Reads both clocks; monotonic milliseconds count from the clock's making. Shared by all shards, so that their
/// times compare.
#[derive(Debug, Clone, Copy)]
pub struct Clock {
    origin: Instant,
}

impl Clock {
    pub fn start() -> Self {
        Self { origin: Instant::now() }
    }

    pub fn now(&self) -> Now {
        let unix = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Now {
            // From 1, so that 0 can mean «never».
            monotonic_ms: self.origin.elapsed().as_millis() as u64 + 1,
            unix_ms: unix.as_millis() as u64,
        }
    }
}
