//! The engine in this shard's own memory: nothing outlives the process, nothing leaves it.
//!
//! One instance per shard holds the streams of the channels that shard owns. Channels that are not numbered
//! cost nothing here but their subscription mark; positions of numbered ones live in a bounded table, and the
//! longest unused is forgotten first: its channel then begins a new life with a new epoch.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use super::{Answer, Ask, ChannelKey, EngineError, Keep, Stream};
use crate::core::history::History;
use crate::core::publication::{Epoch, Numbered};

/// Streams kept per shard.
const STREAMS_MAX: usize = 65_536;

/// Streams and subscriptions of one shard's channels.
#[derive(Debug)]
pub struct Memory {
    streams: HashMap<ChannelKey, Kept>,
    /// Use number → channel, oldest first; every stream appears once.
    by_use: BTreeMap<u64, ChannelKey>,
    uses: u64,
    subscribed: HashSet<ChannelKey>,
    epochs: Epochs,
}

#[derive(Debug)]
struct Kept {
    history: History,
    used: u64,
}

/// Source of epochs: short texts that do not repeat within a process nor, but for chance, across processes.
#[derive(Debug)]
struct Epochs {
    seed: u64,
    next: u64,
}

impl Epochs {
    fn next(&mut self) -> Epoch {
        self.next += 1;
        // SplitMix64: one step per epoch, all 64 bits differ from epoch to epoch.
        let mut bits = self.seed.wrapping_add(self.next.wrapping_mul(0x9E37_79B9_7F4A_7C15));
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        bits ^= bits >> 31;
        const LETTERS: &[u8; 32] = b"abcdefghijklmnopqrstuvwxyz234567";
        let text: String =
            (0..8).map(|place| char::from(LETTERS[(bits >> (place * 5)) as usize & 31])).collect();
        text.into()
    }
}

impl Memory {
    /// `seed`: random, so that epochs of two lives of the process differ.
    pub fn new(seed: u64) -> Self {
        Self {
            streams: HashMap::new(),
            by_use: BTreeMap::new(),
            uses: 0,
            subscribed: HashSet::new(),
            epochs: Epochs { seed, next: 0 },
        }
    }

    /// Carries out one ask at once and appends what there is to say.
    pub fn handle(&mut self, now_ms: u64, ask: Ask, answers: &mut Vec<Answer>) {
        match ask {
            Ask::Subscribe { id, channel } => {
                self.subscribed.insert(channel);
                answers.push(Answer::Subscribed { id, result: Ok(()) });
            }
            Ask::Unsubscribe { channel } => {
                self.subscribed.remove(&channel);
            }
            Ask::Publish { id, channel, publication, keep } => {
                let numbering = keep.map(|keep| {
                    let kept = self.stream(now_ms, &channel, keep);
                    kept.history.append(now_ms, keep.size as usize, Arc::clone(&publication));
                    kept.history.position()
                });
                if self.subscribed.contains(&channel) {
                    let (offset, epoch) = numbering.as_ref().map_or((0, Arc::from("")), |position| {
                        (position.offset, Arc::clone(&position.epoch))
                    });
                    answers.push(Answer::Delivery {
                        channel,
                        epoch,
                        numbered: Numbered { offset, publication },
                    });
                }
                answers.push(Answer::Published { id, result: Ok(numbering) });
            }
            Ask::History { id, channel, since, limit, keep } => {
                let kept = self.stream(now_ms, &channel, keep);
                let publications = match since {
                    None => Ok(Vec::new()),
                    Some(since) => {
                        kept.history.after(&since, limit as usize).map_err(|_| EngineError::Unrecoverable)
                    }
                };
                let top = kept.history.position();
                let result = publications.map(|publications| Stream { top, publications });
                answers.push(Answer::History { id, result });
            }
        }
    }

    /// Streams held.
    pub fn streams_count(&self) -> usize {
        self.streams.len()
    }

    /// Channels whose deliveries are wanted.
    pub fn subscribed_count(&self) -> usize {
        self.subscribed.len()
    }

    fn stream(&mut self, now_ms: u64, channel: &ChannelKey, keep: Keep) -> &mut Kept {
        if !self.streams.contains_key(channel) {
            if self.streams.len() >= STREAMS_MAX
                && let Some((_, oldest)) = self.by_use.pop_first()
            {
                self.streams.remove(&oldest);
            }
            let kept = Kept { history: History::new(self.epochs.next()), used: 0 };
            self.streams.insert(channel.clone(), kept);
        }
        self.uses += 1;
        let kept = self.streams.get_mut(channel).expect("inserted above if it was missing");
        self.by_use.remove(&kept.used);
        kept.used = self.uses;
        self.by_use.insert(self.uses, channel.clone());
        kept.history.trim(now_ms, u64::from(keep.ttl_s) * 1_000);
        kept
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::ids::AppIndex;
    use crate::core::publication::{Payload, Publication};
    use crate::engine::AskId;

    fn publish(memory: &mut Memory, name: &str, keep: Option<Keep>) -> Vec<Answer> {
        let publication = Publication {
            data: Payload::Json(b"1".as_slice().into()),
            event: None,
            publisher: None,
            tags: Box::default(),
            time_ms: 0,
            delta: false,
            exclude: None,
        };
        let channel = ChannelKey { app: AppIndex(0), name: name.into() };
        let mut answers = Vec::new();
        let ask = Ask::Publish { id: AskId(1), channel, publication: Arc::new(publication), keep };
        memory.handle(0, ask, &mut answers);
        answers
    }

    #[test]
    fn only_subscribed_channels_are_delivered() {
        let mut memory = Memory::new(7);
        assert_eq!(publish(&mut memory, "a", None), [Answer::Published { id: AskId(1), result: Ok(None) }]);
        let channel = ChannelKey { app: AppIndex(0), name: "a".into() };
        let mut answers = Vec::new();
        memory.handle(0, Ask::Subscribe { id: AskId(2), channel: channel.clone() }, &mut answers);
        assert_eq!(answers, [Answer::Subscribed { id: AskId(2), result: Ok(()) }]);
        assert!(matches!(
            publish(&mut memory, "a", None)[..],
            [Answer::Delivery { .. }, Answer::Published { .. }]
        ));
        memory.handle(0, Ask::Unsubscribe { channel }, &mut answers);
        assert_eq!(publish(&mut memory, "a", None).len(), 1);
        assert_eq!(memory.subscribed_count(), 0);
    }

    #[test]
    fn the_longest_unused_stream_is_forgotten_first() {
        let mut memory = Memory::new(7);
        let keep = Some(Keep { size: 1, ttl_s: 1 });
        for number in 0..=STREAMS_MAX {
            publish(&mut memory, &format!("c{}", number % STREAMS_MAX), keep);
        }
        assert_eq!(memory.streams_count(), STREAMS_MAX);
        publish(&mut memory, "new", keep);
        assert_eq!(memory.streams_count(), STREAMS_MAX);
        let offset = |answers: Vec<Answer>| match &answers[..] {
            [Answer::Published { result: Ok(Some(position)), .. }] => position.offset,
            other => panic!("{other:?}"),
        };
        assert_eq!(offset(publish(&mut memory, "c0", keep)), 3, "c0 was used twice and lately");
        assert_eq!(offset(publish(&mut memory, "c1", keep)), 1, "c1 was the oldest");
    }
}
