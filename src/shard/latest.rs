//! The last publication of channels whose new subscribers are told of it, kept by their owner whether anybody
//! listens or not.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use super::Shard;
use super::owner::Asked;
use crate::core::channel::keeps_latest;
use crate::core::publication::Publication;
use crate::engine::ChannelKey;

/// What all of them together may hold; the longest unchanged go first.
const BYTES_MAX: usize = 64 * 1024 * 1024;

/// What one counts beside its data: names, tables, the publication itself.
const OVERHEAD_BYTES: usize = 256;

/// The last publications of the channels of one shard.
#[derive(Debug, Default)]
pub struct Latest {
    kept: HashMap<ChannelKey, Kept>,
    /// By when they were published.
    order: BTreeMap<u64, ChannelKey>,
    next: u64,
    bytes: usize,
}

#[derive(Debug)]
struct Kept {
    publication: Arc<Publication>,
    /// Monotonic.
    until_ms: u64,
    number: u64,
}

impl Kept {
    fn bytes(&self) -> usize {
        self.publication.data.len() + OVERHEAD_BYTES
    }
}

impl Latest {
    /// Remembers a publication in place of the one before it.
    pub fn note(&mut self, now_ms: u64, key: &ChannelKey, publication: &Arc<Publication>, ttl_ms: u64) {
        self.forget(key);
        let kept =
            Kept { publication: Arc::clone(publication), until_ms: now_ms + ttl_ms, number: self.next };
        self.bytes += kept.bytes();
        self.order.insert(self.next, key.clone());
        self.next += 1;
        self.kept.insert(key.clone(), kept);
        while let Some((_, oldest)) = self.order.first_key_value() {
            let is_over = self.kept.get(oldest).is_none_or(|kept| kept.until_ms <= now_ms);
            if !is_over && self.bytes <= BYTES_MAX {
                break;
            }
            let oldest = oldest.clone();
            self.forget(&oldest);
        }
    }

    /// The publication, and for how many milliseconds it will still be kept.
    pub fn find(&self, now_ms: u64, key: &ChannelKey) -> Option<(&Arc<Publication>, u64)> {
        let kept = self.kept.get(key).filter(|kept| kept.until_ms > now_ms)?;
        Some((&kept.publication, kept.until_ms - now_ms))
    }

    fn forget(&mut self, key: &ChannelKey) {
        if let Some(kept) = self.kept.remove(key) {
            self.bytes -= kept.bytes();
            self.order.remove(&kept.number);
        }
    }
}

impl Shard {
    /// How long the channel's last publication is kept; 0: it is not.
    pub(super) fn latest_ttl_ms(&self, key: &ChannelKey) -> u64 {
        let ttl_s = self.apps[usize::from(key.app.0)].latest_ttl_s;
        if ttl_s > 0 && keeps_latest(&key.name) { u64::from(ttl_s) * 1_000 } else { 0 }
    }

    /// At the owner: a publication took its place in the channel. What clients publish is not remembered.
    pub(super) fn note_latest(&mut self, key: &ChannelKey, publication: &Arc<Publication>) {
        let ttl_ms = self.latest_ttl_ms(key);
        if ttl_ms > 0 && publication.publisher.is_none() {
            self.latest.note(self.now.monotonic_ms, key, publication, ttl_ms);
        }
    }

    /// What is to be remembered of a publication that the engine is asked to take, in case it is delivered nowhere.
    pub(super) fn latest_to_be(
        &self,
        key: &ChannelKey,
        publication: &Arc<Publication>,
    ) -> Option<Box<(ChannelKey, Arc<Publication>)>> {
        (self.latest_ttl_ms(key) > 0).then(|| Box::new((key.clone(), Arc::clone(publication))))
    }

    /// The engine took it. Where the channel is live it comes, or has come, in the channel's own order.
    pub(super) fn note_taken(&mut self, asked: &Asked) {
        let Asked::Publish { latest: Some(latest), .. } = asked else { return };
        let (key, publication) = &**latest;
        let handle = self.channels.find(key.app, &key.name);
        if handle.is_none_or(|handle| !self.channels.get(handle).is_live) {
            self.note_latest(key, publication);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::ids::AppIndex;
    use crate::core::publication::Payload;

    fn key(name: &str) -> ChannelKey {
        ChannelKey { app: AppIndex(0), name: name.into() }
    }

    fn publication(bytes: usize) -> Arc<Publication> {
        Arc::new(Publication::plain(Payload::Json(vec![b'1'; bytes].into()), 0))
    }

    #[test]
    fn the_last_one_is_kept_for_its_time() {
        let mut latest = Latest::default();
        latest.note(0, &key("a"), &publication(1), 10);
        latest.note(5, &key("a"), &publication(2), 10);
        let length = |latest: &Latest, now_ms| {
            latest.find(now_ms, &key("a")).map(|(publication, left_ms)| (publication.data.len(), left_ms))
        };
        assert_eq!(length(&latest, 5), Some((2, 10)));
        assert_eq!(length(&latest, 14), Some((2, 1)));
        assert_eq!(length(&latest, 15), None);
        latest.note(16, &key("b"), &publication(1), 10);
        assert_eq!((latest.kept.len(), latest.order.len()), (1, 1), "what is over goes with the next one");
    }

    #[test]
    fn the_oldest_make_room() {
        let mut latest = Latest::default();
        let big = BYTES_MAX / 4;
        for name in ["a", "b", "c", "a", "d"] {
            latest.note(0, &key(name), &publication(big), 10);
        }
        let kept = ["a", "b", "c", "d"].map(|name| latest.find(0, &key(name)).is_some());
        assert_eq!(kept, [true, false, true, true]);
        assert!(latest.bytes <= BYTES_MAX);
    }
}
