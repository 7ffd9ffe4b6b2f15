//! Signed requests that were there before.
//!
//! A signature is right for as long as its timestamp is: who sees a request under way, or finds its path in the log of a
//! proxy, can send it again until then. So those that were taken are remembered until the clock refuses them by
//! itself, and refused when they come again.
//!
//! Memory is bounded, and only who knows the secret can fill it. When it is full the oldest is forgotten, by its
//! timestamp, and from then on whatever was signed no later is refused, known or not. Forgetting alone would let
//! requests be sent again just when many come; refusing what is new would silence a busy backend for up to twice the
//! window. So a memory that is too small costs those whose clocks are behind by more than it reaches back, and what was
//! taken once is never taken again.
//!
//! Libraries sign the second, not a number of the request: two that are alike in all and signed within one second
//! are the same request.

use std::collections::BTreeSet;

use super::Unauthorized;

/// What a signed request is known again by. The signature covers the timestamp, so one has always the other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Mark {
    /// Its `auth_timestamp`, Unix time in seconds.
    pub signed_s: u64,
    pub signature: [u8; 32],
}

impl Mark {
    /// Evenly spread over all numbers, as a signature is.
    pub fn hash(&self) -> u64 {
        self.signature.first_chunk().map_or(0, |bytes| u64::from_be_bytes(*bytes))
    }
}

/// Requests of one app that were taken, oldest first.
#[derive(Debug, Default)]
pub struct Taken {
    marks: BTreeSet<Mark>,
    /// Timestamp of the newest that was forgotten.
    forgotten_s: Option<u64>,
}

impl Taken {
    /// Remembers a request whose signature is right. `Err`: it may not be carried out. O(log `max`).
    ///
    /// `now_s`: Unix time in seconds. `window_s`: how far a timestamp may be off. `max`: requests that are remembered.
    pub fn take(&mut self, mark: Mark, now_s: u64, window_s: u32, max: usize) -> Result<(), Unauthorized> {
        let is_over = |signed_s: u64| signed_s.saturating_add(u64::from(window_s)) < now_s;
        // A clock that is set back, or a wider window, would make them right once more.
        while let Some(oldest) = self.marks.first().copied().filter(|oldest| is_over(oldest.signed_s)) {
            self.marks.pop_first();
            self.forgotten_s = Some(oldest.signed_s);
        }
        // Its head was in time; its body let it wait until nobody knows it any more.
        if is_over(mark.signed_s) {
            return Err(Unauthorized::Timestamp { window_s, now_s });
        }
        if self.forgotten_s.is_some_and(|forgotten_s| mark.signed_s <= forgotten_s) {
            return Err(Unauthorized::Forgotten);
        }
        if self.marks.contains(&mark) {
            return Err(Unauthorized::Again);
        }
        while self.marks.len() >= max.max(1)
            && let Some(oldest) = self.marks.first().copied()
        {
            if mark.signed_s <= oldest.signed_s {
                return Err(Unauthorized::Forgotten);
            }
            self.marks.pop_first();
            self.forgotten_s = Some(oldest.signed_s);
        }
        self.marks.insert(mark);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const WINDOW_S: u32 = 600;

    fn mark(signed_s: u64, number: u8) -> Mark {
        Mark { signed_s, signature: [number; 32] }
    }

    #[test]
    fn t4_02_a_request_is_taken_once_until_its_clock_refuses_it() {
        let mut taken = Taken::default();
        let mut take = |mark, now_s| taken.take(mark, now_s, WINDOW_S, 10);
        assert_eq!(take(mark(1_000, 1), 1_000), Ok(()));
        assert_eq!(take(mark(1_000, 2), 1_000), Ok(()), "another one of the same second");
        assert_eq!(take(mark(1_500, 3), 1_000), Ok(()), "by a clock that is ahead");
        for now_s in [1_000, 1_300, 1_600] {
            assert_eq!(take(mark(1_000, 1), now_s), Err(Unauthorized::Again), "{now_s}");
        }
        assert_eq!(take(mark(1_900, 4), 1_601), Ok(()));
        let late = Unauthorized::Timestamp { window_s: WINDOW_S, now_s: 1_601 };
        assert_eq!(take(mark(1_000, 1), 1_601), Err(late), "its body took long");
        // The clock refuses the first two now; the third is right until 2100.
        assert_eq!(take(mark(1_500, 3), 2_100), Err(Unauthorized::Again));
        assert_eq!(taken.marks.len(), 2);
    }

    #[test]
    fn a_full_memory_forgets_the_oldest_and_takes_nothing_as_old_as_that() {
        let mut taken = Taken::default();
        let mut take = |mark| taken.take(mark, 1_010, WINDOW_S, 3);
        for number in 0..3 {
            assert_eq!(take(mark(1_000 + u64::from(number), number)), Ok(()));
        }
        assert_eq!(take(mark(1_010, 9)), Ok(()));
        assert_eq!(take(mark(1_000, 0)), Err(Unauthorized::Forgotten), "it was taken");
        assert_eq!(take(mark(999, 8)), Err(Unauthorized::Forgotten), "nobody knows any more");
        assert_eq!(take(mark(1_001, 1)), Err(Unauthorized::Again));
        assert_eq!(take(mark(1_010, 10)), Ok(()), "who signs now is not held up");
    }

    #[test]
    fn one_as_old_as_what_it_would_push_out_is_refused() {
        let mut taken = Taken::default();
        assert_eq!(taken.take(mark(1_000, 1), 1_000, WINDOW_S, 1), Ok(()));
        assert_eq!(taken.take(mark(1_000, 2), 1_000, WINDOW_S, 1), Err(Unauthorized::Forgotten));
        assert_eq!(taken.take(mark(1_000, 1), 1_000, WINDOW_S, 1), Err(Unauthorized::Again));
        assert_eq!(taken.take(mark(1_001, 3), 1_001, WINDOW_S, 1), Ok(()));
    }

    #[test]
    fn a_clock_that_is_set_back_makes_nothing_right_again() {
        let mut taken = Taken::default();
        assert_eq!(taken.take(mark(1_000, 1), 1_000, WINDOW_S, 10), Ok(()));
        assert_eq!(taken.take(mark(1_700, 2), 1_700, WINDOW_S, 10), Ok(()));
        assert_eq!(taken.take(mark(1_000, 1), 1_100, WINDOW_S, 10), Err(Unauthorized::Forgotten));
        assert_eq!(taken.take(mark(1_100, 3), 1_100, WINDOW_S, 10), Ok(()));
    }

    proptest! {
        /// However many come, in whatever order, by clocks however wrong: none is taken twice, and memory is bounded.
        #[test]
        fn nothing_is_taken_twice(
            requests in proptest::collection::vec((0_u64..40, 0_u8..6, 0_u64..6), 0..300), max in 1_usize..20,
        ) {
            let (mut taken, mut seen, mut now_s) = (Taken::default(), Vec::new(), 1_000);
            for (off_s, number, later_s) in requests {
                // Clocks are set back, too.
                now_s = now_s + later_s - 2;
                let mark = mark(now_s - 20 + off_s, number);
                if mark.signed_s.abs_diff(now_s) <= 15 && taken.take(mark, now_s, 15, max).is_ok() {
                    prop_assert!(!seen.contains(&mark), "{mark:?}");
                    seen.push(mark);
                }
                prop_assert!(taken.marks.len() <= max);
            }
        }
    }
}
