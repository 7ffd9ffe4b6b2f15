//! The engine in this shard's own memory: nothing outlives the process, nothing leaves it.
//!
//! One instance per shard holds the streams of the channels that shard owns. Channels that are not numbered
//! cost nothing here. All publications are delivered: the shard knows what it wants, and to look that up here too would
//! be a cache miss for each. Positions of numbered ones live in a bounded table, and the
//! longest unused is forgotten first: its channel then begins a new life with a new epoch.

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::sync::Arc;

use super::{Answer, Ask, ChannelKey, EngineError, Keep, PresenceStats, Stream};
use crate::core::history::History;
use crate::core::members::Members;
use crate::core::publication::{ClientInfo, Epoch, Numbered, Position, Publication, Terms};

/// Streams kept per shard.
const STREAMS_MAX: usize = 65_536;

/// How long a publication is known by its idempotency key, in milliseconds.
const KEY_LIFE_MS: u64 = 5 * 60 * 1_000;

/// Idempotency keys known at once, per shard; the oldest is forgotten first.
const KEYS_MAX: usize = 65_536;

/// Streams and subscriptions of one shard's channels.
#[derive(Debug)]
pub struct Memory {
    streams: HashMap<ChannelKey, Kept>,
    /// Use number → channel, oldest first; every stream appears once.
    by_use: BTreeMap<u64, ChannelKey>,
    uses: u64,
    /// The stream whose old publications are looked for next: one per use of another, so that memory of streams
    /// that nobody uses comes back.
    swept: u64,
    /// Numbered channels that somebody hears.
    subscribed: HashSet<ChannelKey>,
    /// Who is in channels with somebody in them.
    members: HashMap<ChannelKey, Members>,
    keys: Keys,
    epochs: Epochs,
    /// Of what is not numbered.
    no_epoch: Epoch,
}

#[derive(Debug)]
struct Kept {
    history: History,
    used: u64,
    used_ms: u64,
    ttl_ms: u64,
    version: u64,
    version_epoch: Box<str>,
}

/// A publication as its publisher names it.
type PublicationKey = (ChannelKey, Box<str>);

/// Where publications with an idempotency key have gone.
#[derive(Debug, Default)]
struct Keys {
    positions: HashMap<PublicationKey, Option<Position>>,
    /// Oldest first, with the moment it is forgotten.
    ends: VecDeque<(u64, PublicationKey)>,
}

impl Keys {
    fn find(&mut self, now_ms: u64, key: &PublicationKey) -> Option<Option<Position>> {
        while let Some((end_ms, _)) = self.ends.front()
            && (*end_ms <= now_ms || self.ends.len() >= KEYS_MAX)
            && let Some((_, key)) = self.ends.pop_front()
        {
            self.positions.remove(&key);
        }
        self.positions.get(key).cloned()
    }

    fn insert(&mut self, now_ms: u64, key: PublicationKey, position: Option<Position>) {
        self.positions.insert(key.clone(), position);
        self.ends.push_back((now_ms + KEY_LIFE_MS, key));
    }
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
            swept: 0,
            subscribed: HashSet::new(),
            members: HashMap::new(),
            keys: Keys::default(),
            epochs: Epochs { seed, next: 0 },
            no_epoch: Epoch::from(""),
        }
    }

    /// Carries out one ask at once and appends what there is to say.
    pub fn handle(&mut self, now_ms: u64, ask: Ask, answers: &mut Vec<Answer>) {
        match ask {
            Ask::Subscribe { id, channel, numbered } => {
                if numbered {
                    self.subscribed.insert(channel);
                }
                answers.push(Answer::Subscribed { id, result: Ok(()) });
            }
            Ask::Unsubscribe { channel } => {
                self.subscribed.remove(&channel);
            }
            Ask::Publish { id, channel, publication, keep, terms } => {
                let result = self.publish(now_ms, channel, publication, (keep, terms), answers);
                answers.push(Answer::Published { id, result: Ok(result) });
            }
            Ask::History { id, channel, range, keep } => {
                let history = &self.stream(now_ms, &channel, keep).history;
                let publications = history.read(&range).map_err(|_| EngineError::Unrecoverable);
                let top = history.position();
                let result = publications.map(|publications| Stream { top, publications });
                answers.push(Answer::History { id, result });
            }
            Ask::RemoveHistory { id, channel } => {
                if let Some(kept) = self.streams.get_mut(&channel) {
                    kept.history.clear();
                }
                answers.push(Answer::HistoryRemoved { id, result: Ok(()) });
            }
            // What this process holds ends with it: nothing here outlives its time.
            Ask::Enter { channel, info, ttl_s: _ } => {
                let info = Arc::try_unwrap(info).unwrap_or_else(|info| (*info).clone());
                let user = info.user.clone();
                if self.members.entry(channel.clone()).or_default().enter(info) {
                    answers.push(Answer::User { channel, user, enters: true });
                }
            }
            Ask::Exit { channel, client } => {
                if let Some(members) = self.members.get_mut(&channel) {
                    let left = members.leave(client);
                    if members.is_empty() {
                        self.members.remove(&channel);
                    }
                    if let Some((ClientInfo { user, .. }, true)) = left {
                        answers.push(Answer::User { channel, user, enters: false });
                    }
                }
            }
            Ask::Presence { id, channel } => {
                let clients = self.members.get(&channel).map(|members| members.clients().to_vec());
                answers.push(Answer::Presence { id, result: Ok(clients.unwrap_or_default()) });
            }
            Ask::PresenceStats { id, channel } => {
                let count = |count: usize| u32::try_from(count).unwrap_or(u32::MAX);
                let members = self.members.get(&channel);
                let (clients, users) =
                    members.map_or((0, 0), |members| (members.clients().len(), members.users_count()));
                let result = Ok(PresenceStats { clients: count(clients), users: count(users) });
                answers.push(Answer::PresenceStats { id, result });
            }
        }
    }

    fn publish(
        &mut self,
        now_ms: u64,
        channel: ChannelKey,
        publication: Arc<Publication>,
        (keep, terms): (Option<Keep>, Option<Box<Terms>>),
        answers: &mut Vec<Answer>,
    ) -> Option<Position> {
        let Terms { idempotency_key, version, version_epoch, .. } =
            terms.map(|terms| *terms).unwrap_or_default();
        let key = idempotency_key.map(|key| (channel.clone(), key));
        if let Some(earlier) = key.as_ref().and_then(|key| self.keys.find(now_ms, key)) {
            return earlier;
        }
        let mut position = None;
        if let Some(keep) = keep {
            let kept = self.stream(now_ms, &channel, keep);
            let is_comparable = version_epoch.is_empty() || version_epoch == kept.version_epoch;
            if version > 0 && is_comparable && version <= kept.version {
                return Some(kept.history.position());
            }
            if version > 0 {
                (kept.version, kept.version_epoch) = (version, version_epoch);
            }
            kept.history.append(now_ms, keep.size as usize, Arc::clone(&publication));
            position = Some(kept.history.position());
        }
        if let Some(key) = key {
            self.keys.insert(now_ms, key, position.clone());
        }
        let (offset, epoch) =
            position.as_ref().map_or((0, &self.no_epoch), |position| (position.offset, &position.epoch));
        let epoch = Arc::clone(epoch);
        answers.push(Answer::Delivery { channel, epoch, numbered: Numbered { offset, publication } });
        position
    }

    /// Streams held.
    pub fn streams_count(&self) -> usize {
        self.streams.len()
    }

    /// Channels with somebody in them.
    pub fn peopled_count(&self) -> usize {
        self.members.len()
    }

    /// Numbered channels that somebody hears.
    pub fn subscribed_count(&self) -> usize {
        self.subscribed.len()
    }

    fn stream(&mut self, now_ms: u64, channel: &ChannelKey, keep: Keep) -> &mut Kept {
        self.sweep(now_ms);
        let meta_ttl_ms = u64::from(keep.meta_ttl_s) * 1_000;
        let is_over = |kept: &Kept| now_ms.saturating_sub(kept.used_ms) >= meta_ttl_ms;
        // A stream that somebody hears goes on, however quiet it is.
        if self.streams.get(channel).is_some_and(is_over) && !self.subscribed.contains(channel) {
            self.forget(channel);
        }
        if !self.streams.contains_key(channel) {
            if self.streams.len() >= STREAMS_MAX
                && let Some((_, oldest)) = self.by_use.pop_first()
            {
                self.streams.remove(&oldest);
            }
            let kept = Kept {
                history: History::new(self.epochs.next()),
                used: 0,
                used_ms: now_ms,
                ttl_ms: 0,
                version: 0,
                version_epoch: Box::default(),
            };
            self.streams.insert(channel.clone(), kept);
        }
        self.uses += 1;
        let kept = self.streams.get_mut(channel).expect("inserted above if it was missing");
        self.by_use.remove(&kept.used);
        (kept.used, kept.used_ms, kept.ttl_ms) = (self.uses, now_ms, u64::from(keep.ttl_s) * 1_000);
        self.by_use.insert(self.uses, channel.clone());
        kept.history.trim(now_ms, kept.ttl_ms);
        kept
    }

    fn forget(&mut self, channel: &ChannelKey) {
        if let Some(kept) = self.streams.remove(channel) {
            self.by_use.remove(&kept.used);
        }
    }

    /// Drops what is too old in one more stream, whoever is the next.
    fn sweep(&mut self, now_ms: u64) {
        let next = self.by_use.range(self.swept..).next().or_else(|| self.by_use.first_key_value());
        let Some((used, channel)) = next else { return };
        // The latest one is followed by the first: otherwise the streams in use would be all that is ever looked at.
        self.swept = if *used == self.uses { 0 } else { used + 1 };
        if let Some(kept) = self.streams.get_mut(channel) {
            kept.history.trim(now_ms, kept.ttl_ms);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::history::Range;
    use crate::core::ids::AppIndex;
    use crate::core::publication::Payload;
    use crate::engine::AskId;

    fn publish(memory: &mut Memory, name: &str, keep: Option<Keep>) -> Vec<Answer> {
        publish_on(memory, 0, name, keep, Terms::default())
    }

    fn publish_on(
        memory: &mut Memory,
        now_ms: u64,
        name: &str,
        keep: Option<Keep>,
        terms: Terms,
    ) -> Vec<Answer> {
        let publication = Publication::plain(Payload::Json(b"1".as_slice().into()), 0);
        let channel = ChannelKey { app: AppIndex(0), name: name.into() };
        let mut answers = Vec::new();
        let (publication, terms) = (Arc::new(publication), Some(Box::new(terms)));
        let ask = Ask::Publish { id: AskId(1), channel, publication, keep, terms };
        memory.handle(now_ms, ask, &mut answers);
        answers
    }

    fn position(answers: &[Answer]) -> Position {
        match answers {
            [.., Answer::Published { result: Ok(Some(position)), .. }] => position.clone(),
            other => panic!("{other:?}"),
        }
    }

    const KEEP: Option<Keep> = Some(Keep { size: 2, ttl_s: 10, meta_ttl_s: 100 });

    #[test]
    fn one_key_is_one_publication_for_five_minutes() {
        let mut memory = Memory::new(7);
        let channel = ChannelKey { app: AppIndex(0), name: "a".into() };
        memory.handle(0, Ask::Subscribe { id: AskId(2), channel, numbered: true }, &mut Vec::new());
        let terms = |key: &str| Terms { idempotency_key: Some(key.into()), ..Terms::default() };
        // (now_ms, channel, key, keep, offset, delivered)
        let table = [
            (0, "a", "k", KEEP, 1, true),
            (1, "a", "k", KEEP, 1, false),
            (2, "a", "l", KEEP, 2, true),
            (299_999, "a", "k", KEEP, 1, false),
            (300_000, "a", "k", KEEP, 3, true),
            (300_001, "b", "k", KEEP, 1, true),
        ];
        for (now_ms, name, key, keep, offset, is_delivered) in table {
            let answers = publish_on(&mut memory, now_ms, name, keep, terms(key));
            assert_eq!(position(&answers).offset, offset, "{now_ms} {key}");
            assert_eq!(answers.len() == 2, is_delivered, "{now_ms} {key}");
        }
        // Also where nothing is numbered.
        assert_eq!(publish_on(&mut memory, 300_002, "a", None, terms("m")).len(), 2);
        let again = publish_on(&mut memory, 300_003, "a", None, terms("m"));
        assert_eq!(again, [Answer::Published { id: AskId(1), result: Ok(None) }]);
    }

    #[test]
    fn only_a_newer_version_is_taken() {
        let mut memory = Memory::new(7);
        // (version, epoch, offset after it)
        let table = [
            (5, "", 1),
            (5, "", 1),
            (4, "", 1),
            (6, "", 2),
            (0, "", 3),
            (6, "e", 4),
            (6, "e", 4),
            (6, "", 4),
        ];
        for (version, epoch, offset) in table {
            let terms = Terms { version, version_epoch: epoch.into(), ..Terms::default() };
            let answers = publish_on(&mut memory, 0, "a", KEEP, terms);
            assert_eq!(position(&answers).offset, offset, "{version} {epoch:?}");
        }
    }

    #[test]
    fn an_unused_stream_begins_a_new_life() {
        let mut memory = Memory::new(7);
        let at =
            |memory: &mut Memory, now_ms| position(&publish_on(memory, now_ms, "a", KEEP, Terms::default()));
        let first = at(&mut memory, 0);
        let second = at(&mut memory, 99_999);
        assert_eq!((second.offset, &second.epoch), (2, &first.epoch));
        let third = at(&mut memory, 199_999);
        assert_eq!(third.offset, 1);
        assert_ne!(third.epoch, first.epoch);
    }

    #[test]
    fn memory_of_unused_streams_comes_back() {
        let mut memory = Memory::new(7);
        for name in ["a", "b", "c"] {
            publish(&mut memory, name, KEEP);
        }
        for _ in 0..5 {
            publish_on(&mut memory, 20_000, "d", KEEP, Terms::default());
        }
        let kept = memory.streams.iter().filter(|(_, kept)| !kept.history.is_empty());
        assert_eq!(kept.map(|(channel, _)| &*channel.name).collect::<Vec<_>>(), ["d"]);
    }

    #[test]
    fn a_removed_history_keeps_its_position() {
        let mut memory = Memory::new(7);
        publish(&mut memory, "a", KEEP);
        let channel = ChannelKey { app: AppIndex(0), name: "a".into() };
        let mut answers = Vec::new();
        memory.handle(0, Ask::RemoveHistory { id: AskId(2), channel: channel.clone() }, &mut answers);
        assert_eq!(answers, [Answer::HistoryRemoved { id: AskId(2), result: Ok(()) }]);
        let range = Range { limit: 9, ..Range::TOP };
        answers.clear();
        memory.handle(
            0,
            Ask::History { id: AskId(3), channel, range, keep: KEEP.expect("set") },
            &mut answers,
        );
        let [Answer::History { result: Ok(stream), .. }] = &answers[..] else { panic!("{answers:?}") };
        assert_eq!((stream.top.offset, stream.publications.len()), (1, 0));
    }

    #[test]
    fn a_stream_that_somebody_hears_goes_on() {
        let mut memory = Memory::new(7);
        let channel = ChannelKey { app: AppIndex(0), name: "a".into() };
        let mut answers = Vec::new();
        let ask = Ask::Subscribe { id: AskId(2), channel: channel.clone(), numbered: true };
        memory.handle(0, ask, &mut answers);
        assert_eq!(answers, [Answer::Subscribed { id: AskId(2), result: Ok(()) }]);
        let offset_at = |now_ms, memory: &mut Memory| {
            position(&publish_on(memory, now_ms, "a", KEEP, Terms::default())).offset
        };
        assert_eq!(offset_at(0, &mut memory), 1);
        assert_eq!(offset_at(100_000, &mut memory), 2, "heard");
        memory.handle(0, Ask::Unsubscribe { channel }, &mut answers);
        assert_eq!(memory.subscribed_count(), 0);
        assert_eq!(offset_at(200_000, &mut memory), 1, "nobody knows of it any more");
    }

    #[test]
    fn what_is_not_numbered_costs_nothing() {
        let mut memory = Memory::new(7);
        let channel = ChannelKey { app: AppIndex(0), name: "a".into() };
        let ask = Ask::Subscribe { id: AskId(2), channel: channel.clone(), numbered: false };
        memory.handle(0, ask, &mut Vec::new());
        assert!(matches!(
            publish(&mut memory, "a", None)[..],
            [Answer::Delivery { .. }, Answer::Published { .. }]
        ));
        assert_eq!((memory.subscribed_count(), memory.streams_count()), (0, 0));
        memory.handle(0, Ask::Unsubscribe { channel }, &mut Vec::new());
    }

    #[test]
    fn the_longest_unused_stream_is_forgotten_first() {
        let mut memory = Memory::new(7);
        let keep = Some(Keep { size: 1, ttl_s: 1, meta_ttl_s: 9 });
        for number in 0..=STREAMS_MAX {
            publish(&mut memory, &format!("c{}", number % STREAMS_MAX), keep);
        }
        assert_eq!(memory.streams_count(), STREAMS_MAX);
        publish(&mut memory, "new", keep);
        assert_eq!(memory.streams_count(), STREAMS_MAX);
        let offset = |answers: Vec<Answer>| match &answers[..] {
            [.., Answer::Published { result: Ok(Some(position)), .. }] => position.offset,
            other => panic!("{other:?}"),
        };
        assert_eq!(offset(publish(&mut memory, "c0", keep)), 3, "c0 was used twice and lately");
        assert_eq!(offset(publish(&mut memory, "c1", keep)), 1, "c1 was the oldest");
    }
}
