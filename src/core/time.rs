//! Time as the broker sees it: handed in with every input, never read here.

/// The two clocks at the start of a turn.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Now {
    /// Milliseconds since some fixed moment of this process; never goes back. Deadlines count in it.
    pub monotonic_ms: u64,
    /// Milliseconds since 1970-01-01 UTC; may jump either way. Token times are judged by it.
    pub unix_ms: u64,
}

impl Now {
    /// Whole seconds since 1970-01-01 UTC.
    pub fn unix_s(self) -> u64 {
        self.unix_ms / 1_000
    }
}
