//! How often commands may come: token buckets.

use super::command::Command;

/// Commands that are counted together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Subscribe and unsubscribe.
    Subscribe,
    Publish,
    /// Reads of what was published.
    History,
    /// Reads of who, or how many, are in a channel.
    Presence,
}

impl Kind {
    const COUNT: usize = 4;

    /// `None`: it counts only among all.
    pub fn of(command: &Command) -> Option<Self> {
        match command {
            Command::Subscribe(_) | Command::Unsubscribe { .. } => Some(Self::Subscribe),
            Command::Publish(_) => Some(Self::Publish),
            Command::History(_) => Some(Self::History),
            Command::Presence { .. } | Command::PresenceStats { .. } => Some(Self::Presence),
            Command::Connect(_)
            | Command::Refresh { .. }
            | Command::RefreshSubscription { .. }
            | Command::SignIn { .. }
            | Command::Ping
            | Command::Pong
            | Command::Refuse(_) => None,
        }
    }
}

/// Commands per second; 0: no bound.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Rates {
    pub all: u32,
    pub subscribe: u32,
    pub publish: u32,
    pub history: u32,
    pub presence: u32,
    /// What is not used is saved up for so long.
    pub burst_ms: u32,
}

/// What one command takes from a bucket: a rate per second fills it by itself per millisecond.
const COMMAND: u64 = 1_000;

impl Rates {
    /// Whether nothing is bounded.
    pub fn is_unlimited(&self) -> bool {
        self.table() == [0; Kind::COUNT + 1]
    }

    fn table(&self) -> [u32; Kind::COUNT + 1] {
        [self.subscribe, self.publish, self.history, self.presence, self.all]
    }

    /// What a bucket holds at most: room for one command at least.
    fn room(&self, rate: u32) -> u64 {
        (u64::from(rate) * u64::from(self.burst_ms)).max(COMMAND)
    }
}

/// The buckets of one client or user.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Buckets {
    /// In thousandths of a command.
    left: [u64; Kind::COUNT + 1],
    filled_ms: u64,
}

impl Buckets {
    pub fn full(now_ms: u64, rates: &Rates) -> Self {
        Self { left: rates.table().map(|rate| rates.room(rate)), filled_ms: now_ms }
    }

    /// Takes one command of a kind, which counts among all too. `false`: it comes too soon, and nothing is taken.
    pub fn take(&mut self, kind: Option<Kind>, now_ms: u64, rates: &Rates) -> bool {
        self.fill(now_ms, rates);
        let table = rates.table();
        let places = [kind.map(|kind| kind as usize), Some(Kind::COUNT)];
        let mut bounded = places.into_iter().flatten().filter(|place| table[*place] > 0);
        if bounded.clone().any(|place| self.left[place] < COMMAND) {
            return false;
        }
        bounded.by_ref().for_each(|place| self.left[place] -= COMMAND);
        true
    }

    /// Whether they are as good as new ones.
    pub fn are_full(&mut self, now_ms: u64, rates: &Rates) -> bool {
        self.fill(now_ms, rates);
        *self == Self::full(now_ms, rates)
    }

    fn fill(&mut self, now_ms: u64, rates: &Rates) {
        let passed_ms = now_ms.saturating_sub(self.filled_ms);
        for (left, rate) in self.left.iter_mut().zip(rates.table()) {
            *left = left.saturating_add(passed_ms.saturating_mul(rate.into())).min(rates.room(rate));
        }
        self.filled_ms = now_ms;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const RATES: Rates = Rates { all: 5, subscribe: 0, publish: 2, history: 0, presence: 0, burst_ms: 2_000 };

    fn taken(buckets: &mut Buckets, kind: Option<Kind>, now_ms: u64, rates: &Rates) -> usize {
        (0..100).take_while(|_| buckets.take(kind, now_ms, rates)).count()
    }

    #[test]
    fn what_is_not_used_is_saved_up_for_a_while() {
        let mut buckets = Buckets::full(0, &RATES);
        assert_eq!(taken(&mut buckets, Some(Kind::Publish), 0, &RATES), 4);
        assert_eq!(taken(&mut buckets, Some(Kind::Publish), 499, &RATES), 0);
        assert_eq!(taken(&mut buckets, Some(Kind::Publish), 500, &RATES), 1);
        assert_eq!(taken(&mut buckets, Some(Kind::Publish), 60_000, &RATES), 4);
    }

    #[test]
    fn every_command_counts_among_all() {
        let mut buckets = Buckets::full(0, &RATES);
        assert_eq!(taken(&mut buckets, Some(Kind::Publish), 0, &RATES), 4);
        // What was refused took nothing.
        assert_eq!(taken(&mut buckets, None, 0, &RATES), 6);
        assert_eq!(taken(&mut buckets, Some(Kind::History), 0, &RATES), 0);
        assert!(!buckets.are_full(1_999, &RATES));
        assert!(buckets.are_full(2_000, &RATES));
    }

    #[test]
    fn one_command_is_always_possible_at_some_time() {
        let rates = Rates { publish: 1, burst_ms: 1, ..Rates::default() };
        let mut buckets = Buckets::full(0, &rates);
        assert_eq!(taken(&mut buckets, Some(Kind::Publish), 0, &rates), 1);
        assert_eq!(taken(&mut buckets, Some(Kind::Publish), 999, &rates), 0);
        assert_eq!(taken(&mut buckets, Some(Kind::Publish), 1_000, &rates), 1);
        assert!(Rates { burst_ms: 7, ..Rates::default() }.is_unlimited());
    }

    proptest! {
        #[test]
        fn over_any_time_no_more_than_the_rate_and_a_burst(
            publish in 1..50_u32, burst_ms in 1_000..5_000_u32, pauses in prop::collection::vec(0..300_u64, 1..200),
        ) {
            let rates = Rates { publish, burst_ms, ..Rates::default() };
            let mut buckets = Buckets::full(0, &rates);
            let (mut now_ms, mut count) = (0, 0);
            for pause_ms in pauses {
                now_ms += pause_ms;
                count += u64::from(buckets.take(Some(Kind::Publish), now_ms, &rates));
            }
            prop_assert!(count * 1_000 <= u64::from(publish) * (now_ms + u64::from(burst_ms)));
        }
    }
}
