//! What was published, what arrived, and whether anything was lost, repeated or out of order.

use std::collections::VecDeque;

use serde::Serialize;

use crate::latency::Latency;
use crate::sequence::{Sequence, Verdict};
use crate::timeline::Timeline;

/// Kept texts of what went wrong; the rest is only counted.
const PROBLEMS_MAX: usize = 5;

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Counts {
    pub published: u64,
    /// Publications every subscriber of their channel has heard.
    pub completed: u64,
    /// Answers to publish requests.
    pub answered: u64,
    /// Commands of clients that are answered on their own connection, and those answers.
    pub requested: u64,
    pub replied: u64,
    pub deliveries: u64,
    /// Completed receives that carried at least one delivery.
    pub receives: u64,
    pub subscribed: u64,
    /// Subscribers that ever were; never goes down.
    pub handshakes: u64,
    pub pings: u64,
    /// Publications skipped at some subscriber.
    pub lost: u64,
    pub gaps: u64,
    pub disorder: u64,
    /// Error replies, refused publishes, broken frames.
    pub refused: u64,
    /// Connections that ended without our asking.
    pub closed: u64,
    /// Stalled readers the server has let go.
    pub dropped: u64,
}

impl Counts {
    pub fn since(self, before: Counts) -> Counts {
        Counts {
            published: self.published - before.published,
            completed: self.completed - before.completed,
            answered: self.answered - before.answered,
            requested: self.requested - before.requested,
            replied: self.replied - before.replied,
            deliveries: self.deliveries - before.deliveries,
            receives: self.receives - before.receives,
            subscribed: self.subscribed - before.subscribed,
            handshakes: self.handshakes - before.handshakes,
            pings: self.pings - before.pings,
            lost: self.lost - before.lost,
            gaps: self.gaps - before.gaps,
            disorder: self.disorder - before.disorder,
            refused: self.refused - before.refused,
            closed: self.closed - before.closed,
            dropped: self.dropped - before.dropped,
        }
    }
}

#[derive(Debug, Default)]
struct Channel {
    subscribers: u32,
    published: u64,
    /// Deliveries outstanding of the publications from `published - outstanding.len()` on.
    outstanding: VecDeque<u32>,
}

impl Channel {
    /// Forgets the publications everybody has heard and returns how many they were.
    fn complete(&mut self) -> u64 {
        let before = self.outstanding.len();
        while self.outstanding.front() == Some(&0) {
            self.outstanding.pop_front();
        }
        (before - self.outstanding.len()) as u64
    }
}

#[derive(Default)]
pub struct Ledger {
    channels: Vec<Channel>,
    pub counts: Counts,
    /// From the intended time of a publication to each of its deliveries.
    pub latency: Latency,
    /// From the start of the TCP connect to the confirmed subscription.
    pub handshake: Latency,
    pub timeline: Timeline,
    problems: Vec<String>,
}

impl Ledger {
    pub fn new(channels: u32) -> Ledger {
        Ledger { channels: (0..channels).map(|_| Channel::default()).collect(), ..Ledger::default() }
    }

    /// Where the numbering of somebody who asks to join `channel` now may begin.
    pub fn asks_to_join(&self, channel: u32) -> Sequence {
        let channel = &self.channels[channel as usize];
        Sequence::may_hear_from(channel.published - channel.outstanding.len() as u64)
    }

    /// A subscription of `channel` was confirmed: what is published from now on must reach it.
    pub fn joined(&mut self, channel: u32, sequence: &mut Sequence) {
        let channel = &mut self.channels[channel as usize];
        channel.subscribers += 1;
        sequence.must_hear_from(channel.published);
    }

    /// A subscription of `channel` was given up: what is in flight need not reach it any more.
    pub fn left(&mut self, channel: u32, sequence: &Sequence) {
        let channel = &mut self.channels[channel as usize];
        channel.subscribers -= 1;
        let first = channel.published - channel.outstanding.len() as u64;
        let unheard = sequence.next().saturating_sub(first) as usize;
        for missing in channel.outstanding.iter_mut().skip(unheard) {
            *missing = missing.saturating_sub(1);
        }
        self.counts.completed += channel.complete();
    }

    /// A subscriber has all its subscriptions.
    pub fn subscribed(&mut self, handshake_ns: u64) {
        self.counts.subscribed += 1;
        self.counts.handshakes += 1;
        self.handshake.record(0, handshake_ns);
    }

    pub fn has_subscribers(&self, channel: u32) -> bool {
        self.channels[channel as usize].subscribers > 0
    }

    /// Registers one more publication and returns its sequence number in the channel.
    pub fn publish(&mut self, channel: u32) -> u64 {
        let channel = &mut self.channels[channel as usize];
        assert!(channel.subscribers > 0, "a publication nobody would hear");
        let sequence = channel.published;
        channel.published += 1;
        channel.outstanding.push_back(channel.subscribers);
        self.counts.published += 1;
        sequence
    }

    /// One subscriber of `channel` heard publication `heard`.
    pub fn delivered(
        &mut self,
        channel: u32,
        sequence: &mut Sequence,
        heard: u64,
        intended_ns: u64,
        now_ns: u64,
    ) {
        self.counts.deliveries += 1;
        self.latency.record(intended_ns, now_ns);
        match sequence.check(heard) {
            Verdict::InOrder => {}
            Verdict::Early => return,
            Verdict::Gap(lost) => {
                self.counts.gaps += 1;
                self.counts.lost = self.counts.lost.saturating_add(lost);
            }
            Verdict::Disorder => {
                self.counts.disorder += 1;
                return;
            }
        }
        let channel = &mut self.channels[channel as usize];
        let first = channel.published - channel.outstanding.len() as u64;
        let missing = heard.checked_sub(first).and_then(|index| channel.outstanding.get_mut(index as usize));
        let Some(missing) = missing else {
            return self.problem(format!("publication {heard} was heard that was not sent"));
        };
        *missing = missing.saturating_sub(1);
        self.counts.completed += channel.complete();
    }

    /// Publications that somebody has not heard yet, and requests without a reply.
    pub fn in_flight(&self) -> u64 {
        let Counts { published, completed, requested, replied, .. } = self.counts;
        published - completed + requested - replied
    }

    /// Nothing is outstanding: no delivery, no answer, no reply.
    pub fn quiet(&self) -> bool {
        self.in_flight() == 0 && self.counts.answered == self.counts.published
    }

    /// Notes the course of the run.
    pub fn tick(&mut self, now_ns: u64) {
        self.timeline.tick(now_ns, &self.counts);
    }

    pub fn resume(&mut self, now_ns: u64) {
        self.timeline.resume(now_ns, &self.counts);
    }

    pub fn pause(&mut self, now_ns: u64) {
        self.timeline.pause(now_ns, &self.counts);
    }

    /// One request of a client was answered.
    pub fn replied(&mut self, intended_ns: u64, now_ns: u64) {
        self.counts.replied += 1;
        self.latency.record(intended_ns, now_ns);
    }

    pub fn problem(&mut self, text: String) {
        self.counts.refused += 1;
        self.note(text);
    }

    pub fn closed(&mut self, text: String) {
        self.counts.closed += 1;
        self.note(text);
    }

    fn note(&mut self, text: String) {
        if self.problems.len() < PROBLEMS_MAX {
            self.problems.push(text);
        }
    }

    /// What makes the run invalid, in words. Empty: everybody heard everything once and in order.
    pub fn faults(&self) -> Vec<String> {
        let counts = &self.counts;
        let undelivered: u64 =
            self.channels.iter().flat_map(|channel| &channel.outstanding).map(|&n| u64::from(n)).sum();
        let table = [
            (counts.lost, "publications lost at a subscriber"),
            (counts.gaps, "gaps"),
            (counts.disorder, "publications repeated or out of order"),
            (undelivered, "deliveries that never came"),
            (counts.published - counts.answered.min(counts.published), "publishes without an answer"),
            (counts.requested - counts.replied.min(counts.requested), "requests without a reply"),
            (counts.refused, "refusals"),
            (counts.closed, "connections lost"),
        ];
        let counted =
            table.iter().filter(|(count, _)| *count > 0).map(|(count, what)| format!("{count} {what}"));
        counted.chain(self.problems.iter().cloned()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ledger(subscribers: u32) -> Ledger {
        let mut ledger = Ledger::new(1);
        for _ in 0..subscribers {
            join(&mut ledger);
        }
        ledger
    }

    fn join(ledger: &mut Ledger) -> Sequence {
        let mut sequence = ledger.asks_to_join(0);
        ledger.joined(0, &mut sequence);
        ledger.subscribed(1);
        sequence
    }

    #[test]
    fn who_joins_later_is_not_missing_what_came_before() {
        let mut ledger = ledger(1);
        let mut early = Sequence::default();
        let first = ledger.publish(0);
        ledger.delivered(0, &mut early, first, 0, 0);
        let mut late = join(&mut ledger);
        let second = ledger.publish(0);
        ledger.delivered(0, &mut early, second, 0, 0);
        ledger.delivered(0, &mut late, second, 0, 0);
        ledger.counts.answered = 2;
        assert_eq!(ledger.faults(), Vec::<String>::new());
    }

    #[test]
    fn a_publication_is_complete_when_everybody_heard_it() {
        let mut ledger = ledger(2);
        let mut heard = [Sequence::default(); 2];
        assert_eq!([ledger.publish(0), ledger.publish(0)], [0, 1]);
        ledger.delivered(0, &mut heard[0], 0, 0, 5);
        ledger.delivered(0, &mut heard[0], 1, 0, 5);
        assert_eq!(ledger.in_flight(), 2);
        ledger.delivered(0, &mut heard[1], 0, 0, 5);
        assert_eq!(ledger.in_flight(), 1);
        ledger.delivered(0, &mut heard[1], 1, 0, 5);
        assert_eq!(ledger.in_flight(), 0);
        assert!(!ledger.quiet(), "answers are outstanding");
        ledger.counts.answered = 2;
        assert!(ledger.quiet());
        assert_eq!(ledger.faults(), Vec::<String>::new());
        assert_eq!(ledger.latency.quantiles().count, 4);
    }

    #[test]
    fn members_come_and_go_while_publications_are_on_their_way() {
        let mut ledger = ledger(1);
        let (mut stays, mut leaves) = (Sequence::default(), join(&mut ledger));
        assert_eq!([ledger.publish(0), ledger.publish(0)], [0, 1]);
        ledger.delivered(0, &mut leaves, 0, 0, 0);
        ledger.left(0, &leaves);
        let mut comes = ledger.asks_to_join(0);
        ledger.publish(0);
        ledger.joined(0, &mut comes);
        ledger.publish(0);
        // It was subscribed at the server before publication 1, and we learn of it after publication 2.
        (1..4).for_each(|heard| ledger.delivered(0, &mut comes, heard, 0, 0));
        assert_eq!(ledger.counts.completed, 0);
        (0..4).for_each(|heard| ledger.delivered(0, &mut stays, heard, 0, 0));
        assert_eq!((ledger.counts.completed, ledger.in_flight()), (4, 0));
        ledger.counts.answered = 4;
        assert_eq!(ledger.faults(), Vec::<String>::new());
        // The last one leaves with a publication on its way: nobody is left to hear it.
        ledger.publish(0);
        ledger.left(0, &comes);
        assert_eq!(ledger.in_flight(), 1);
        ledger.left(0, &stays);
        assert_eq!((ledger.in_flight(), ledger.has_subscribers(0)), (0, false));
    }

    #[test]
    fn every_fault_is_named() {
        let hears: [(&str, &[u64], &str); 5] = [
            ("nothing", &[], "3 deliveries that never came"),
            ("the middle is missing", &[0, 2], "1 publications lost at a subscriber"),
            ("twice", &[0, 0, 1, 2], "1 publications repeated or out of order"),
            ("swapped", &[1, 0, 2], "1 gaps"),
            ("never sent", &[0, 1, 2, 3], "publication 3 was heard that was not sent"),
        ];
        for (name, heard, want) in hears {
            let mut ledger = ledger(1);
            let mut sequence = Sequence::default();
            (0..3).for_each(|_| {
                ledger.publish(0);
            });
            ledger.counts.answered = 3;
            for &number in heard {
                ledger.delivered(0, &mut sequence, number, 0, 0);
            }
            assert!(ledger.faults().iter().any(|fault| fault == want), "{name}: {:?}", ledger.faults());
        }
    }
}
