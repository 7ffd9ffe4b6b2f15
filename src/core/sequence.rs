//! Puts the numbered publications of one channel back into order.
//!
//! An engine may deliver late, twice or out of order. What comes out is every publication after the starting
//! position exactly once and in order, or the statement that this is impossible.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::publication::{Epoch, Numbered, Position, Publication};

/// Publications held back while an earlier one is missing; more and the stream counts as broken.
const HELD_MAX: usize = 1_024;

/// What became of an arrival.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Arrival {
    /// In order, or a repetition: whatever is ready was handed out.
    Settled,
    /// Something before it is missing and should be read from history.
    Gap,
    /// Order cannot be restored: another epoch, or too much is missing.
    Broken,
}

/// The place of one channel's readers in its stream.
#[derive(Debug)]
pub struct Sequence {
    epoch: Epoch,
    last: u64,
    held: BTreeMap<u64, Arc<Publication>>,
}

impl Sequence {
    /// Starts behind `position`: the first publication handed out is the one after it.
    pub fn new(position: Position) -> Self {
        Self { epoch: position.epoch, last: position.offset, held: BTreeMap::new() }
    }

    /// Last position handed out.
    pub fn position(&self) -> Position {
        Position { offset: self.last, epoch: Arc::clone(&self.epoch) }
    }

    /// Takes one arrival and appends to `ready` what may now be handed out, in order.
    pub fn arrive(&mut self, epoch: &str, numbered: Numbered, ready: &mut Vec<Numbered>) -> Arrival {
        if *self.epoch != *epoch {
            return Arrival::Broken;
        }
        let Numbered { offset, publication } = numbered;
        if offset <= self.last {
            return Arrival::Settled;
        }
        if offset > self.last + 1 {
            if self.held.len() >= HELD_MAX {
                return Arrival::Broken;
            }
            self.held.insert(offset, publication);
            return Arrival::Gap;
        }
        self.last = offset;
        ready.push(Numbered { offset, publication });
        while let Some(publication) = self.held.remove(&(self.last + 1)) {
            self.last += 1;
            ready.push(Numbered { offset: self.last, publication });
        }
        self.held = self.held.split_off(&(self.last + 1));
        if self.held.is_empty() { Arrival::Settled } else { Arrival::Gap }
    }

    /// Publications waiting for an earlier one.
    pub fn held_count(&self) -> usize {
        self.held.len()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn any_arrival_order_comes_out_in_order(arrivals in proptest::collection::vec(1_u64..20, 0..80), start in 0_u64..5) {
            let mut sequence = Sequence::new(Position { offset: start, epoch: "e".into() });
            let mut ready = Vec::new();
            for offset in &arrivals {
                sequence.arrive("e", Numbered::sample(*offset), &mut ready);
            }
            let got: Vec<u64> = ready.iter().map(|n| n.offset).collect();
            let want: Vec<u64> = (start + 1..20).take_while(|offset| arrivals.contains(offset)).collect();
            prop_assert_eq!(got, want);
            prop_assert!(ready.iter().all(|n| n.publication.time_ms == n.offset));
        }
    }

    #[test]
    fn a_gap_is_named_and_another_epoch_breaks() {
        let mut sequence = Sequence::new(Position { offset: 3, epoch: "e".into() });
        let mut ready = Vec::new();
        assert_eq!(sequence.arrive("e", Numbered::sample(5), &mut ready), Arrival::Gap);
        assert_eq!(sequence.arrive("e", Numbered::sample(2), &mut ready), Arrival::Settled);
        assert_eq!(sequence.arrive("e", Numbered::sample(4), &mut ready), Arrival::Settled);
        assert_eq!(sequence.arrive("f", Numbered::sample(6), &mut ready), Arrival::Broken);
        assert_eq!(ready.len(), 2);
    }
}
