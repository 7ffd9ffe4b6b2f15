//! Recent publications of one channel and the positions in them.

use std::collections::VecDeque;
use std::sync::Arc;

use super::publication::{Epoch, Numbered, Position, Publication};

/// One life of a channel's stream: offsets count from 1 without a gap, even after older ones were trimmed.
#[derive(Debug)]
pub struct History {
    epoch: Epoch,
    top: u64,
    /// Contiguous, oldest first, with the monotonic millisecond each was appended at.
    kept: VecDeque<(u64, Arc<Publication>)>,
}

/// The stream is another one than the position speaks of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the stream's epoch has changed")]
pub struct EpochChanged;

/// Which publications are wanted.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Range {
    /// Only what came after this position, or before it if `reverse`; an empty epoch stands for the current one.
    pub since: Option<Position>,
    /// Publications at most; 0: none.
    pub limit: u32,
    /// Newest first.
    pub reverse: bool,
}

impl Range {
    /// No publications, only where the stream stands.
    pub const TOP: Self = Self { since: None, limit: 0, reverse: false };
}

impl History {
    /// An empty stream of a new life.
    pub fn new(epoch: Epoch) -> Self {
        Self { epoch, top: 0, kept: VecDeque::new() }
    }

    /// Appends one publication and returns its offset. Keeps at most `size` of them. Amortised O(1).
    pub fn append(&mut self, now_ms: u64, size: usize, publication: Arc<Publication>) -> u64 {
        self.top += 1;
        self.kept.push_back((now_ms, publication));
        while self.kept.len() > size {
            self.kept.pop_front();
        }
        self.top
    }

    /// Drops publications older than `ttl_ms`.
    pub fn trim(&mut self, now_ms: u64, ttl_ms: u64) {
        while self.kept.front().is_some_and(|(at, _)| now_ms.saturating_sub(*at) >= ttl_ms) {
            self.kept.pop_front();
        }
    }

    /// Where the stream stands.
    pub fn position(&self) -> Position {
        Position { offset: self.top, epoch: Arc::clone(&self.epoch) }
    }

    /// The publications of a range that are still kept: what was trimmed is left out, so whoever needs an unbroken
    /// piece looks at the first offset ([`continues`]). A position ahead of the stream has nothing after it.
    pub fn read(&self, range: &Range) -> Result<Vec<Numbered>, EpochChanged> {
        let first = self.top + 1 - self.kept.len() as u64;
        let (mut from, mut to) = (first, self.top + 1);
        if let Some(since) = &range.since {
            if !since.epoch.is_empty() && since.epoch != self.epoch {
                return Err(EpochChanged);
            }
            if range.reverse {
                to = since.offset.clamp(first, to);
            } else {
                from = since.offset.saturating_add(1).clamp(first, to);
            }
        }
        let limit = u64::from(range.limit);
        if range.reverse {
            from = from.max(to.saturating_sub(limit));
        } else {
            to = to.min(from.saturating_add(limit));
        }
        let place = |offset: u64| usize::try_from(offset - first).unwrap_or(usize::MAX);
        let kept = self.kept.range(place(from)..place(to)).zip(from..to);
        let mut publications: Vec<Numbered> = kept
            .map(|((_, publication), offset)| Numbered { offset, publication: Arc::clone(publication) })
            .collect();
        if range.reverse {
            publications.reverse();
        }
        Ok(publications)
    }

    /// Forgets all publications. Positions go on.
    pub fn clear(&mut self) {
        self.kept.clear();
    }

    /// Publications kept.
    pub fn len(&self) -> usize {
        self.kept.len()
    }

    pub fn is_empty(&self) -> bool {
        self.kept.is_empty()
    }
}

/// Whether what was read of a stream, oldest first, leaves out something after the offset. `top`: the stream's.
///
/// Publications at or before the offset leave nothing out: the reader got on by itself while history was read.
pub fn leaves_gap(offset: u64, publications: &[Numbered], top: u64) -> bool {
    let first = publications.first().map_or(top.saturating_add(1), |first| first.offset);
    first > offset.saturating_add(1)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::core::publication::Payload;

    fn publication(number: u64) -> Arc<Publication> {
        Arc::new(Publication::plain(Payload::Json(number.to_string().into_bytes().into()), number))
    }

    proptest! {
        #[test]
        fn agrees_with_a_plain_list(size in 1_usize..8, count in 0_u64..30, since in prop::option::of(0_u64..35),
                                    limit in 0_u32..9, ttl in 1_u64..40, reverse: bool, names_epoch: bool) {
            let mut history = History::new("e".into());
            for number in 1..=count {
                prop_assert_eq!(history.append(number, size, publication(number)), number);
            }
            history.trim(count, ttl);
            let mut want: Vec<u64> = (1..=count).rev().take(size).filter(|n| count - n < ttl).collect();
            want.retain(|n| since.is_none_or(|since| if reverse { *n < since } else { *n > since }));
            if !reverse {
                want.reverse();
            }
            want.truncate(limit as usize);
            let epoch = if names_epoch { "e" } else { "" };
            let since = since.map(|offset| Position { offset, epoch: epoch.into() });
            let got = history.read(&Range { since, limit, reverse }).expect("the epoch is right");
            let offsets: Vec<u64> = got.iter().map(|n| n.offset).collect();
            prop_assert_eq!(offsets, want);
            prop_assert!(got.iter().all(|n| n.publication.time_ms == n.offset));
        }
    }

    #[test]
    fn another_epoch_is_another_stream() {
        let history = History::new("e".into());
        let since = Some(Position { offset: 0, epoch: "f".into() });
        assert_eq!(history.read(&Range { since, limit: 1, reverse: false }), Err(EpochChanged));
    }

    #[test]
    fn a_cleared_history_goes_on_counting() {
        let mut history = History::new("e".into());
        history.append(0, 3, publication(1));
        history.clear();
        assert!(history.is_empty());
        assert_eq!(history.append(0, 3, publication(2)), 2);
        let all = history.read(&Range { limit: 9, ..Range::TOP }).expect("no position is named");
        // (offset, publications, top, want)
        let table: [(u64, &[Numbered], u64, bool); 6] = [
            (0, &all, 2, true),
            (1, &all, 2, false),
            (2, &all, 2, false),
            (7, &[], 7, false),
            (8, &[], 7, false),
            (6, &[], 7, true),
        ];
        for (offset, publications, top, want) in table {
            assert_eq!(leaves_gap(offset, publications, top), want, "{offset} of {top}");
        }
    }
}
