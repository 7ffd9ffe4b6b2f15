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

/// Why a read cannot continue from the position asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Unrecoverable {
    #[error("the stream's epoch has changed")]
    Epoch,
    #[error("publications after the position are no longer kept")]
    Trimmed,
    #[error("the position lies ahead of the stream")]
    Ahead,
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

    /// Up to `limit` publications after `since`, oldest first. Errors: see [`Unrecoverable`].
    pub fn after(&self, since: &Position, limit: usize) -> Result<Vec<Numbered>, Unrecoverable> {
        if since.epoch != self.epoch {
            return Err(Unrecoverable::Epoch);
        }
        if since.offset > self.top {
            return Err(Unrecoverable::Ahead);
        }
        let missed = self.top - since.offset;
        let skipped = (self.kept.len() as u64).checked_sub(missed).ok_or(Unrecoverable::Trimmed)?;
        let first = since.offset + 1;
        let kept = self.kept.iter().skip(usize::try_from(skipped).unwrap_or(usize::MAX)).take(limit);
        Ok(kept
            .zip(first..)
            .map(|((_, publication), offset)| Numbered { offset, publication: Arc::clone(publication) })
            .collect())
    }

    /// Publications kept.
    pub fn len(&self) -> usize {
        self.kept.len()
    }

    pub fn is_empty(&self) -> bool {
        self.kept.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::core::publication::Payload;

    fn publication(number: u64) -> Arc<Publication> {
        Arc::new(Publication {
            data: Payload::Json(number.to_string().into_bytes().into()),
            event: None,
            publisher: None,
            tags: Box::default(),
            time_ms: number,
            delta: false,
            exclude: None,
        })
    }

    proptest! {
        #[test]
        fn agrees_with_a_plain_list(size in 1_usize..8, count in 0_u64..30, since in 0_u64..35, limit in 0_usize..9,
                                    ttl in 1_u64..40) {
            let mut history = History::new("e".into());
            for number in 1..=count {
                prop_assert_eq!(history.append(number, size, publication(number)), number);
            }
            history.trim(count, ttl);
            let kept: Vec<u64> = (1..=count).rev().take(size).filter(|n| count - n < ttl).collect();
            let got = history.after(&Position { offset: since, epoch: "e".into() }, limit);
            if since > count {
                prop_assert_eq!(got, Err(Unrecoverable::Ahead));
            } else if count - since > kept.len() as u64 {
                prop_assert_eq!(got, Err(Unrecoverable::Trimmed));
            } else {
                let offsets: Vec<u64> = got.unwrap().iter().map(|n| n.offset).collect();
                let want: Vec<u64> = (since + 1..=count).take(limit).collect();
                prop_assert_eq!(offsets, want);
            }
        }
    }

    #[test]
    fn another_epoch_is_another_stream() {
        let history = History::new("e".into());
        assert_eq!(history.after(&Position { offset: 0, epoch: "f".into() }, 1), Err(Unrecoverable::Epoch));
    }
}
