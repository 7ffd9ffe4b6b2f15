//! Holding back what may be taken back, and what comes too often.
//!
//! A reload of a page empties a channel for a moment, and a user leaves and comes back: an end is told only if it
//! lasts. Several clients that find one cache empty are one miss. The count of a large channel is told at intervals.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use crate::core::happening::{Happening, What};
use crate::core::ids::AppIndex;

/// How long an end must last, in milliseconds, and how long a miss stands for those after it.
const END_MS: u64 = 3_000;

/// From this many subscribers on, the count is told every [`COUNT_MS`] at most.
const COUNT_MIN: u32 = 100;
const COUNT_MS: u64 = 5_000;

/// What may wait at once; beyond, the oldest waits no longer.
const WAITING_MAX: usize = 65_536;

type Channel = (AppIndex, Arc<str>);

/// A channel, or a user in it.
type Place = (AppIndex, Arc<str>, Option<Box<str>>);

#[derive(Debug)]
enum Timer {
    End(Place),
    Miss(Channel),
    Count(Channel),
}

/// What happened, held back where it should be. Times in milliseconds of any clock that does not step back.
#[derive(Debug, Default)]
pub struct Debounce {
    /// By when they are due, and in the order they were set.
    timers: BTreeMap<(u64, u64), Timer>,
    serial: u64,
    /// Ends that wait, by the timer they wait for: another one of the same place is not theirs.
    ends: HashMap<Place, u64>,
    misses: HashSet<Channel>,
    /// Large channels whose count was told lately, and what it is by now if it changed since.
    counts: HashMap<Channel, Option<u32>>,
}

impl Debounce {
    /// Something happened. What is to be told now is appended to `ready`.
    pub fn take(&mut self, happening: Happening, now_ms: u64, ready: &mut Vec<Happening>) {
        let Happening { app, channel, what } = &happening;
        let key = (*app, Arc::clone(channel));
        match what {
            What::Occupied => self.begin((key.0, key.1, None), happening, ready),
            What::MemberAdded { user } => self.begin((key.0, key.1, Some(user.clone())), happening, ready),
            What::Vacated => self.end((key.0, key.1, None), now_ms),
            What::MemberRemoved { user } => self.end((key.0, key.1, Some(user.clone())), now_ms),
            What::CacheMiss => {
                if self.misses.insert(key.clone()) {
                    self.set(now_ms + END_MS, Timer::Miss(key));
                    ready.push(happening);
                }
            }
            What::SubscriptionCount { count } => match self.counts.get_mut(&key) {
                Some(later) if *count >= COUNT_MIN => *later = Some(*count),
                Some(later) => {
                    *later = None;
                    ready.push(happening);
                }
                None => {
                    if *count >= COUNT_MIN {
                        self.counts.insert(key.clone(), None);
                        self.set(now_ms + COUNT_MS, Timer::Count(key));
                    }
                    ready.push(happening);
                }
            },
            What::ClientEvent(_) => ready.push(happening),
        }
        while self.timers.len() > WAITING_MAX {
            if let Some(((_, serial), timer)) = self.timers.pop_first() {
                self.fire(serial, timer, now_ms, ready);
            }
        }
    }

    /// Time has passed. What is to be told by now is appended to `ready`.
    pub fn release(&mut self, now_ms: u64, ready: &mut Vec<Happening>) {
        while let Some(entry) = self.timers.first_entry()
            && entry.key().0 <= now_ms
        {
            let ((_, serial), timer) = entry.remove_entry();
            self.fire(serial, timer, now_ms, ready);
        }
    }

    /// Nothing is held back any longer.
    pub fn release_all(&mut self, ready: &mut Vec<Happening>) {
        for ((_, serial), timer) in std::mem::take(&mut self.timers) {
            self.fire(serial, timer, 0, ready);
        }
        self.timers.clear();
    }

    /// When [`Self::release`] has something to do; `None`: never.
    pub fn next_due_ms(&self) -> Option<u64> {
        self.timers.first_key_value().map(|((due_ms, _), _)| *due_ms)
    }

    /// What ended before and was not told has not ended.
    fn begin(&mut self, place: Place, happening: Happening, ready: &mut Vec<Happening>) {
        if self.ends.remove(&place).is_none() {
            ready.push(happening);
        }
    }

    fn end(&mut self, place: Place, now_ms: u64) {
        let serial = self.set(now_ms + END_MS, Timer::End(place.clone()));
        self.ends.insert(place, serial);
    }

    fn set(&mut self, due_ms: u64, timer: Timer) -> u64 {
        self.serial += 1;
        self.timers.insert((due_ms, self.serial), timer);
        self.serial
    }

    fn fire(&mut self, serial: u64, timer: Timer, now_ms: u64, ready: &mut Vec<Happening>) {
        match timer {
            Timer::End(place) => {
                if self.ends.get(&place) == Some(&serial) {
                    self.ends.remove(&place);
                    let (app, channel, user) = place;
                    let what = user.map_or(What::Vacated, |user| What::MemberRemoved { user });
                    ready.push(Happening { app, channel, what });
                }
            }
            Timer::Miss(key) => {
                self.misses.remove(&key);
            }
            Timer::Count(key) => match self.counts.get_mut(&key).and_then(Option::take) {
                Some(count) => {
                    let what = What::SubscriptionCount { count };
                    ready.push(Happening { app: key.0, channel: Arc::clone(&key.1), what });
                    self.set(now_ms + COUNT_MS, Timer::Count(key));
                }
                None => {
                    self.counts.remove(&key);
                }
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(channel: &str, what: What) -> Happening {
        Happening { app: AppIndex(0), channel: channel.into(), what }
    }

    fn count(count: u32) -> What {
        What::SubscriptionCount { count }
    }

    /// Steps of (time, what happens) and what is told, with the time at which it is.
    fn told(steps: &[(u64, Happening)], until_ms: u64) -> Vec<(u64, Happening)> {
        let (mut debounce, mut steps) = (Debounce::default(), steps.iter().peekable());
        let mut told = Vec::new();
        for now_ms in 0..=until_ms {
            let mut ready = Vec::new();
            if debounce.next_due_ms().is_some_and(|due_ms| due_ms <= now_ms) {
                debounce.release(now_ms, &mut ready);
            }
            while let Some((_, happening)) = steps.next_if(|(step_ms, _)| *step_ms == now_ms) {
                debounce.take(happening.clone(), now_ms, &mut ready);
            }
            told.extend(ready.into_iter().map(|happening| (now_ms, happening)));
        }
        assert_eq!(debounce.next_due_ms(), None, "something still waits");
        assert!(debounce.ends.is_empty() && debounce.misses.is_empty() && debounce.counts.is_empty());
        told
    }

    #[test]
    fn an_end_is_told_when_it_has_lasted() {
        let occupied = || at("a", What::Occupied);
        let vacated = || at("a", What::Vacated);
        let got = told(&[(0, occupied()), (10, vacated())], 4_000);
        assert_eq!(got, [(0, occupied()), (3_010, vacated())]);
        // Somebody came back in time, and again, and then stayed away.
        let steps =
            [(0, occupied()), (10, vacated()), (3_009, occupied()), (3_010, vacated()), (3_011, occupied())];
        assert_eq!(told(&steps, 9_000), [(0, occupied())]);
        let steps =
            [(0, occupied()), (10, vacated()), (3_009, occupied()), (3_010, vacated()), (6_011, occupied())];
        assert_eq!(told(&steps, 9_000), [(0, occupied()), (6_010, vacated()), (6_011, occupied())]);
        // Another channel's return is not this one's.
        let other = || at("b", What::Occupied);
        assert_eq!(told(&[(0, vacated()), (5, other())], 4_000), [(5, other()), (3_000, vacated())]);
    }

    #[test]
    fn a_user_is_not_another_and_not_the_channel() {
        let added = |user: &str| at("a", What::MemberAdded { user: user.into() });
        let removed = |user: &str| at("a", What::MemberRemoved { user: user.into() });
        let steps = [
            (0, removed("1")),
            (0, removed("2")),
            (0, at("a", What::Vacated)),
            (9, added("1")),
            (9, at("a", What::Occupied)),
        ];
        assert_eq!(told(&steps, 4_000), [(3_000, removed("2"))]);
    }

    #[test]
    fn misses_of_one_moment_are_one() {
        let miss = |channel: &str| at(channel, What::CacheMiss);
        let steps = [(0, miss("a")), (1, miss("a")), (2, miss("b")), (2_999, miss("a")), (3_000, miss("a"))];
        assert_eq!(told(&steps, 7_000), [(0, miss("a")), (2, miss("b")), (3_000, miss("a"))]);
    }

    #[test]
    fn counts_of_large_channels_are_told_at_intervals() {
        let c = |number| at("a", count(number));
        let steps = [
            (0, c(99)),
            (1, c(100)),
            (2, c(101)),
            (3, c(102)),
            (6_000, c(103)),
            (6_001, c(5)),
            (6_002, c(6)),
        ];
        let want = [(0, c(99)), (1, c(100)), (5_001, c(102)), (6_001, c(5)), (6_002, c(6))];
        assert_eq!(told(&steps, 20_000), want);
    }

    #[test]
    fn what_clients_send_is_never_held_back() {
        let sent = || {
            let event = crate::core::happening::ClientEvent {
                event: "client-a".into(),
                data: "1".into(),
                socket_id: "1.1".into(),
                user: None,
            };
            at("private-a", What::ClientEvent(Box::new(event)))
        };
        assert_eq!(told(&[(0, sent()), (0, sent())], 1), [(0, sent()), (0, sent())]);
    }

    #[test]
    fn too_many_ends_wait_no_longer() {
        let mut debounce = Debounce::default();
        let mut ready = Vec::new();
        let vacated = |number: usize| at(&number.to_string(), What::Vacated);
        for number in 0..WAITING_MAX + 2 {
            debounce.take(vacated(number), number as u64 / 100_000, &mut ready);
        }
        assert_eq!(ready, [vacated(0), vacated(1)]);
        ready.clear();
        debounce.release_all(&mut ready);
        assert_eq!((ready.len(), debounce.next_due_ms()), (WAITING_MAX, None));
    }
}
