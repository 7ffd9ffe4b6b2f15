//! The owner's side of a channel: one order for everybody, whatever the engine does to it.
//!
//! Invariant: a shard hears a channel from the moment its join is answered until its leave is handled, and
//! everything in between, once, in order.

use std::sync::Arc;

use super::Shard;
use super::input::Effect;
use super::letter::{
    Admission, Delivery, Entrance, Found, Letter, OperationId, Published, Recover, Scene, SceneWish, Wants,
};
use super::positions::Check;
use super::recovering::Recovering;
use super::subscribe::Outcome;
use crate::core::attendance::Attendance;
use crate::core::error::ClientError;
use crate::core::event::Recovery;
use crate::core::history::{Range, leaves_gap};
use crate::core::ids::ShardId;
use crate::core::publication::{Epoch, Numbered, Position, Publication, Terms};
use crate::core::sequence::{Arrival, Sequence};
use crate::engine::{Answer, Ask, AskId, ChannelKey, EngineError, Keep, Stream};

/// Failed attempts in a row to fill a gap before it counts as final.
const FILL_ATTEMPTS_MAX: u8 = 8;

/// Publications asked for at once to fill a gap.
const FILL_LIMIT: u32 = 1_024;

/// What the owner keeps of a channel beyond the mark that it is live. A channel heard only by local clients and
/// not numbered needs none of it; one heard on another shard does, so what few need is boxed.
#[derive(Debug, Default)]
pub struct Owner {
    /// Other shards with subscribers, and how many; in the order they joined.
    pub remote: Vec<(ShardId, u32)>,
    /// Only for numbered channels, once the engine has said where the stream stands.
    sequence: Option<Box<Sequence>>,
    /// Joins waiting for the engine.
    waiting: Vec<Waiting>,
    /// Joins of the live channel that wait for what their clients missed.
    pub recovering: Option<Box<Recovering>>,
    /// What the engine delivered before it said where the stream stands.
    early: Vec<(Arc<str>, Numbered)>,
    /// The question to the engine that decides what happens next.
    asked: Option<AskId>,
    /// Who is in the channel, where users are told of one another.
    pub attendance: Option<Box<Attendance>>,
    /// Monotonic milliseconds at which subscribers were last told how many they are; 0: never.
    pub counted_ms: u64,
    /// Attempts to fill a gap that the engine could not serve.
    failures: u8,
    /// Whether the channel is up to date is looked at now and then; `None`: nobody relies on that.
    pub check: Option<Check>,
}

/// A join that waits for the channel to go live.
type Waiting = (ShardId, OperationId, Wants);

impl Owner {
    /// Whether it holds nothing that a live channel needs.
    fn is_bare(&self) -> bool {
        self.remote.is_empty() && self.sequence.is_none() && self.attendance.is_none()
    }

    /// The place up to which publications were handed out; `None`: the channel is not numbered.
    pub fn position(&self) -> Option<Position> {
        self.sequence.as_deref().map(Sequence::position)
    }
}

/// Why the engine was asked.
#[derive(Debug)]
pub enum Asked {
    Publish {
        source: ShardId,
        operation: OperationId,
        /// When it came.
        subscribers: u32,
        /// What is remembered of it once it is taken.
        latest: Option<Box<(ChannelKey, Arc<Publication>)>>,
    },
    /// For somebody who looks something up.
    Lookup { source: ShardId, operation: OperationId },
    /// For a subscriber who missed something.
    Recover { channel: ChannelKey, source: ShardId, operation: OperationId, recover: Recover },
    /// Before the channel goes live.
    Subscribe { channel: ChannelKey },
    /// Where the stream stands as the channel goes live.
    Start { channel: ChannelKey },
    /// What is missing between two deliveries.
    Fill { channel: ChannelKey },
    /// Whether anything is missing without anybody having noticed. `epoch`: of the stream that is followed.
    Check { channel: ChannelKey, epoch: Epoch },
}

pub(super) fn ask_id(id: OperationId) -> AskId {
    AskId(u64::from(id.generation) << 32 | u64::from(id.index))
}

pub(super) fn operation_id(id: AskId) -> OperationId {
    OperationId { index: id.0 as u32, generation: (id.0 >> 32) as u32 }
}

/// What a client is told about an engine's failure.
pub(super) fn client_error(error: EngineError) -> ClientError {
    match error {
        EngineError::Unavailable => ClientError::Internal,
        EngineError::Unrecoverable => ClientError::UnrecoverablePosition,
    }
}

impl Shard {
    /// Another shard, or this one, wants the channel's publications for a client.
    pub(super) fn owner_join(
        &mut self,
        source: ShardId,
        operation: OperationId,
        key: &ChannelKey,
        wants: Wants,
    ) {
        let handle = self.channels.find_or_insert(key.app, &key.name);
        if self.channels.get(handle).is_live {
            self.admit(source, operation, handle, wants);
            return;
        }
        let numbered = self.keep(key).flatten().is_some();
        let channel = self.channels.get_mut(handle);
        let owner = channel.owner.get_or_insert_default();
        owner.waiting.push((source, operation, wants));
        if owner.asked.is_none() {
            let key = channel.key.clone();
            let id = ask_id(self.asks.begin(Asked::Subscribe { channel: key.clone() }));
            owner.asked = Some(id);
            self.effects.push(Effect::Ask(Ask::Subscribe { id, channel: key, numbered }));
        }
    }

    /// The channel is live: the shard hears it from the answer on. Who asks for what it missed gets no scene: no
    /// dialect has both.
    fn admit(&mut self, source: ShardId, operation: OperationId, handle: u32, wants: Wants) {
        let position = self.channels.get(handle).owner.as_ref().and_then(|owner| owner.position());
        if wants.is_positioned {
            self.watch_position(handle);
        }
        if let Some(recover) = wants.recover.filter(|_| position.is_some())
            && self.begin_recovery(source, operation, handle, &recover)
        {
            return;
        }
        let scene = match wants.scene.map(|wish| self.find_scene(handle, *wish)).transpose() {
            Ok(scene) => scene.map(Box::new),
            Err(error) => {
                // Held open by a join of its own: the answer may be what makes the channel unused.
                self.channels.get_mut(handle).joining += 1;
                self.answer_join(source, operation, Err(error), None);
                self.channels.get_mut(handle).joining -= 1;
                self.forget_if_unused(handle);
                return;
            }
        };
        self.enlist(source, handle);
        let admission =
            position.map(|position| Admission { position, recovery: Recovery::NotAsked, missed: Vec::new() });
        self.answer_join(source, operation, Ok(admission.map(Box::new)), scene);
    }

    /// Lets a client in, and tells what it finds.
    fn find_scene(&mut self, handle: u32, wish: SceneWish) -> Result<Scene, ClientError> {
        let key = self.channels.get(handle).key.clone();
        let mut scene = Scene::default();
        if wish.latest {
            let found = self.latest.find(self.now.monotonic_ms, &key);
            let latest = found.map(|(publication, _)| Arc::clone(publication));
            if latest.is_none() {
                self.note_cache_miss(&key);
            }
            scene.latest = Some(latest);
        }
        if let Some(Entrance { passage, users_max }) = wish.entrance {
            let owner = self.channels.get_mut(handle).owner.get_or_insert_default();
            let attendance = owner.attendance.get_or_insert_default();
            let is_new = !attendance.contains(&passage.info.user);
            if is_new && attendance.users_count() >= users_max as usize {
                return Err(ClientError::LimitExceeded);
            }
            // Held open by a join of its own: what the others are told may be what makes them too slow.
            self.channels.get_mut(handle).joining += 1;
            self.owner_passage(&key, passage);
            let channel = self.channels.get_mut(handle);
            channel.joining -= 1;
            let attendance = channel.owner.as_ref().and_then(|owner| owner.attendance.as_ref());
            scene.users = attendance.map(|attendance| attendance.users().cloned().collect());
        }
        Ok(scene)
    }

    /// The shard gets the channel's publications from here on.
    pub(super) fn enlist(&mut self, source: ShardId, handle: u32) {
        if source != self.id {
            let owner = self.channels.get_mut(handle).owner.get_or_insert_default();
            if !owner.remote.iter().any(|(shard, _)| *shard == source) {
                // Most channels have one, and there are very many of them.
                owner.remote.reserve_exact(1);
                owner.remote.push((source, 0));
            }
        }
        self.note_occupied(handle);
    }

    pub(super) fn answer_join(
        &mut self,
        source: ShardId,
        operation: OperationId,
        result: Outcome,
        scene: Option<Box<Scene>>,
    ) {
        if source == self.id {
            self.joined(operation, result, scene);
        } else {
            self.send(source, Letter::Joined { operation, result, scene });
        }
    }

    /// Nobody at that shard hears the channel any more.
    pub(super) fn owner_leave(&mut self, source: ShardId, key: &ChannelKey) {
        let Some(handle) = self.channels.find(key.app, &key.name) else { return };
        if let Some(owner) = &mut self.channels.get_mut(handle).owner {
            owner.remote.retain(|(shard, _)| *shard != source);
        }
        if !self.forget_if_unused(handle) {
            self.note_subscription_count(handle);
            self.count_changed(handle);
        }
    }

    pub(super) fn owner_count(&mut self, source: ShardId, key: &ChannelKey, subscribers: u32) {
        let Some(handle) = self.channels.find(key.app, &key.name) else { return };
        if let Some(owner) = &mut self.channels.get_mut(handle).owner
            && let Some(entry) = owner.remote.iter_mut().find(|(shard, _)| *shard == source)
        {
            entry.1 = subscribers;
        }
        self.note_subscription_count(handle);
        self.count_changed(handle);
    }

    /// Forgets an owned channel that nobody hears or is about to hear. `true`: it is gone.
    pub(super) fn forget_if_unused(&mut self, handle: u32) -> bool {
        let channel = self.channels.get(handle);
        let used_here = channel.joining > 0 || channel.is_heard();
        let used_elsewhere = channel
            .owner
            .as_ref()
            .is_some_and(|o| !o.remote.is_empty() || !o.waiting.is_empty() || o.recovering.is_some());
        if used_here || used_elsewhere {
            return false;
        }
        let was_live = channel.is_live;
        self.close_channel_log(handle);
        let channel = self.channels.remove(handle);
        if let Some(check) = channel.owner.as_ref().and_then(|owner| owner.check.as_ref()) {
            self.position_checks.remove(check);
        }
        if channel.is_occupied {
            self.note_vacated(&channel.key);
        }
        if was_live {
            self.effects.push(Effect::Ask(Ask::Unsubscribe { channel: channel.key }));
        }
        true
    }

    /// A publication reached its channel's owner.
    pub(super) fn owner_publish(
        &mut self,
        source: ShardId,
        operation: OperationId,
        channel: ChannelKey,
        publication: Arc<Publication>,
        terms: Option<Box<Terms>>,
    ) {
        let Some(keep) = self.keep(&channel) else {
            // The namespace went away between the publisher's check and here.
            self.answer_publish(source, operation, Err(ClientError::UnknownChannel));
            return;
        };
        let keep = keep.filter(|_| !terms.as_ref().is_some_and(|terms| terms.skip_history));
        let subscribers = self.subscribers_count_of(&channel);
        let latest = self.latest_to_be(&channel, &publication);
        let id = ask_id(self.asks.begin(Asked::Publish { source, operation, subscribers, latest }));
        self.effects.push(Effect::Ask(Ask::Publish { id, channel, publication, keep, terms }));
    }

    /// Subscribers on all shards of a channel that may have none.
    pub(super) fn subscribers_count_of(&self, key: &ChannelKey) -> u32 {
        self.channels.find(key.app, &key.name).map_or(0, |handle| self.subscribers_count(handle))
    }

    /// Subscribers on all shards. O(shards + groups here).
    pub(super) fn subscribers_count(&self, handle: u32) -> u32 {
        let channel = self.channels.get(handle);
        let here = u32::try_from(channel.subscribers_count()).unwrap_or(u32::MAX);
        let remote = channel.owner.iter().flat_map(|owner| &owner.remote);
        remote.fold(here, |sum, (_, count)| sum.saturating_add(*count))
    }

    fn answer_publish(
        &mut self,
        source: ShardId,
        operation: OperationId,
        result: Result<Published, ClientError>,
    ) {
        if source == self.id {
            self.published(operation, result);
        } else {
            self.send(source, Letter::Published { operation, result });
        }
    }

    /// How long the channel's publications are kept; `None`: its namespace is not configured.
    pub(super) fn keep(&self, channel: &ChannelKey) -> Option<Option<Keep>> {
        let namespace = self.config.apps[usize::from(channel.app.0)].namespace(&channel.name)?;
        let keep = Keep {
            size: namespace.history_size,
            ttl_s: namespace.history_ttl_s,
            meta_ttl_s: namespace.history_meta_ttl_s,
        };
        Some(namespace.is_numbered().then_some(keep))
    }

    /// The engine spoke.
    pub(super) fn engine_answered(&mut self, answer: Answer) {
        match answer {
            Answer::Published { id, result } => {
                let asked = self.asks.end(operation_id(id));
                if let (Ok(_), Some(asked)) = (&result, &asked) {
                    self.note_taken(asked);
                }
                if let Some(Asked::Publish { source, operation, subscribers, .. }) = asked {
                    let result = result.map(|position| Published { position, subscribers });
                    self.answer_publish(source, operation, result.map_err(|_| ClientError::Internal));
                }
            }
            Answer::Subscribed { id, result } => {
                if let Some(Asked::Subscribe { channel }) = self.asks.end(operation_id(id)) {
                    self.engine_subscribed(id, &channel, result);
                }
            }
            Answer::History { id, result } => match self.asks.end(operation_id(id)) {
                Some(Asked::Start { channel }) => self.stream_known(id, &channel, result),
                Some(Asked::Fill { channel }) => self.gap_filled(id, &channel, result),
                Some(Asked::Recover { channel, source, operation, recover }) => {
                    self.recovery_read(id, &channel, (source, operation), &recover, result);
                }
                Some(Asked::Check { channel, epoch }) => self.position_checked(&channel, &epoch, result),
                Some(Asked::Lookup { source, operation }) => {
                    self.answer_lookup(source, operation, result.map(Found::History).map_err(client_error));
                }
                _ => {}
            },
            Answer::HistoryRemoved { id, result } => {
                self.end_lookup(id, result.map(|()| Found::HistoryRemoved));
            }
            Answer::Presence { id, result } => self.end_lookup(id, result.map(Found::Presence)),
            Answer::PresenceStats { id, result } => self.end_lookup(id, result.map(Found::PresenceStats)),
            Answer::User { channel, user, enters } => self.note_member(&channel, user, enters),
            Answer::Delivery { channel, epoch, numbered } => self.delivered(&channel, epoch, numbered),
        }
    }

    fn end_lookup(&mut self, id: AskId, result: Result<Found, EngineError>) {
        if let Some(Asked::Lookup { source, operation }) = self.asks.end(operation_id(id)) {
            self.answer_lookup(source, operation, result.map_err(client_error));
        }
    }

    /// The channel whose present question has this number.
    fn asked_about(&mut self, id: AskId, key: &ChannelKey) -> Option<u32> {
        let handle = self.channels.find(key.app, &key.name)?;
        let owner = self.channels.get_mut(handle).owner.as_mut()?;
        if owner.asked != Some(id) {
            return None;
        }
        owner.asked = None;
        Some(handle)
    }

    fn engine_subscribed(&mut self, id: AskId, key: &ChannelKey, result: Result<(), EngineError>) {
        let Some(handle) = self.asked_about(id, key) else { return };
        match (result, self.keep(key)) {
            (Err(_), _) => self.refuse_joins(handle, ClientError::Internal),
            (Ok(()), None) => {
                // The namespace went away while the engine was asked.
                self.effects.push(Effect::Ask(Ask::Unsubscribe { channel: key.clone() }));
                self.refuse_joins(handle, ClientError::UnknownChannel);
            }
            (Ok(()), Some(None)) => self.go_live(handle),
            (Ok(()), Some(Some(keep))) => self.ask_history(handle, None, keep),
        }
    }

    fn ask_history(&mut self, handle: u32, since: Option<Position>, keep: Keep) {
        let key = self.channels.get(handle).key.clone();
        let limit = if since.is_some() { FILL_LIMIT } else { 0 };
        let range = Range { since: since.clone(), limit, reverse: false };
        let asked = match since {
            Some(_) => Asked::Fill { channel: key.clone() },
            None => Asked::Start { channel: key.clone() },
        };
        let id = ask_id(self.asks.begin(asked));
        self.channels.get_mut(handle).owner.get_or_insert_default().asked = Some(id);
        self.effects.push(Effect::Ask(Ask::History { id, channel: key, range, keep }));
    }

    fn stream_known(&mut self, id: AskId, key: &ChannelKey, result: Result<Stream, EngineError>) {
        let Some(handle) = self.asked_about(id, key) else { return };
        let Ok(stream) = result else {
            self.effects.push(Effect::Ask(Ask::Unsubscribe { channel: key.clone() }));
            self.refuse_joins(handle, ClientError::Internal);
            return;
        };
        let owner = self.channels.get_mut(handle).owner.get_or_insert_default();
        owner.sequence = Some(Box::new(Sequence::new(stream.top)));
        let early = std::mem::take(&mut owner.early);
        self.go_live(handle);
        for (epoch, numbered) in early {
            self.delivered(key, epoch, numbered);
        }
    }

    fn go_live(&mut self, handle: u32) {
        let channel = self.channels.get_mut(handle);
        channel.is_live = true;
        let waiting =
            channel.owner.as_mut().map(|owner| std::mem::take(&mut owner.waiting)).unwrap_or_default();
        // Held open by a join of its own: an answer below may find its client gone and leave again.
        channel.joining += 1;
        for (source, operation, wants) in waiting {
            self.admit(source, operation, handle, wants);
        }
        let channel = self.channels.get_mut(handle);
        channel.joining -= 1;
        if channel.owner.as_ref().is_some_and(|owner| owner.is_bare()) {
            channel.owner = None;
        }
        self.forget_if_unused(handle);
    }

    fn refuse_joins(&mut self, handle: u32, error: ClientError) {
        let channel = self.channels.get_mut(handle);
        let waiting = channel.owner.take().map(|owner| owner.waiting).unwrap_or_default();
        channel.joining += 1;
        for (source, operation, _) in waiting {
            self.answer_join(source, operation, Err(error), None);
        }
        self.channels.get_mut(handle).joining -= 1;
        self.forget_if_unused(handle);
    }

    /// The engine delivered a publication of an owned channel.
    fn delivered(&mut self, key: &ChannelKey, epoch: Arc<str>, numbered: Numbered) {
        let Some(handle) = self.channels.find(key.app, &key.name) else { return };
        let channel = self.channels.get_mut(handle);
        if !channel.is_live {
            // Engines may deliver what nobody has asked for.
            if let Some(owner) = channel.owner.as_mut().filter(|owner| owner.asked.is_some())
                && numbered.offset > 0
            {
                owner.early.push((epoch, numbered));
            }
            return;
        }
        let sequence = channel.owner.as_mut().and_then(|owner| owner.sequence.as_mut());
        let Some(sequence) = sequence else {
            self.spread(handle, numbered);
            return;
        };
        if numbered.offset == 0 {
            // Published past the history: it has no place in the order.
            self.spread(handle, numbered);
            return;
        }
        let mut ready = std::mem::take(&mut self.ready);
        let arrival = sequence.arrive(&epoch, numbered, &mut ready);
        self.hand_out(handle, ready, arrival);
    }

    /// Spreads what is ready, then sees to what is missing. The channel may be gone afterwards.
    fn hand_out(&mut self, handle: u32, mut ready: Vec<Numbered>, arrival: Arrival) {
        // Held open by a join of its own: a publication may be what makes the last subscriber too slow.
        self.channels.get_mut(handle).joining += 1;
        for numbered in ready.drain(..) {
            self.spread(handle, numbered);
        }
        self.ready = ready;
        self.channels.get_mut(handle).joining -= 1;
        if !self.forget_if_unused(handle) {
            self.after_arrival(handle, arrival);
        }
    }

    pub(super) fn after_arrival(&mut self, handle: u32, arrival: Arrival) {
        let Some(owner) = &self.channels.get(handle).owner else { return };
        match arrival {
            Arrival::Settled => {}
            Arrival::Gap if owner.asked.is_some() => {}
            Arrival::Gap => {
                let since = owner.sequence.as_deref().map(Sequence::position);
                match self.keep(&self.channels.get(handle).key) {
                    Some(Some(keep)) => self.ask_history(handle, since, keep),
                    _ => self.break_channel(handle),
                }
            }
            Arrival::Broken => self.break_channel(handle),
        }
    }

    fn gap_filled(&mut self, id: AskId, key: &ChannelKey, result: Result<Stream, EngineError>) {
        let Some(handle) = self.asked_about(id, key) else { return };
        let Some(owner) = &mut self.channels.get_mut(handle).owner else { return };
        let Some(sequence) = &mut owner.sequence else { return };
        let mut arrival = Arrival::Settled;
        let mut ready = std::mem::take(&mut self.ready);
        match result {
            Ok(stream) if leaves_gap(sequence.position().offset, &stream.publications, stream.top.offset) => {
                arrival = Arrival::Broken;
            }
            Ok(stream) => {
                owner.failures = 0;
                for numbered in stream.publications {
                    arrival = sequence.arrive(&stream.top.epoch, numbered, &mut ready);
                }
            }
            Err(EngineError::Unrecoverable) => arrival = Arrival::Broken,
            Err(EngineError::Unavailable) => owner.failures += 1,
        }
        if owner.failures >= FILL_ATTEMPTS_MAX {
            arrival = Arrival::Broken;
        } else if arrival == Arrival::Settled && sequence.held_count() > 0 {
            arrival = Arrival::Gap;
        }
        self.hand_out(handle, ready, arrival);
    }

    /// Publications are missing for good: everybody is told to begin again.
    fn break_channel(&mut self, handle: u32) {
        let channel = self.channels.get_mut(handle);
        let key = channel.key.clone();
        let owner = channel.owner.take().map(|owner| *owner).unwrap_or_default();
        if let Some(check) = &owner.check {
            self.position_checks.remove(check);
        }
        // Joins under way may keep it: for them it begins another life.
        channel.is_live = false;
        self.effects.push(Effect::Ask(Ask::Unsubscribe { channel: key.clone() }));
        tracing::warn!(channel = &*key.name, "publications are missing for good; subscribers begin again");
        for (target, _) in owner.remote {
            self.send(target, Letter::Broken { channel: key.clone() });
        }
        self.drop_subscribers(handle);
    }

    /// One publication in the channel's order, to every shard that hears it.
    fn spread(&mut self, handle: u32, numbered: Numbered) {
        if self.latest_ttl_ms(&self.channels.get(handle).key) > 0 {
            let key = self.channels.get(handle).key.clone();
            self.note_latest(&key, &numbered.publication);
        }
        if let Some(owner) = &mut self.channels.get_mut(handle).owner
            && let Some(recovering) = &mut owner.recovering
        {
            recovering.note(&numbered);
        }
        let channel = self.channels.get(handle);
        if let Some(owner) = &channel.owner
            && !owner.remote.is_empty()
        {
            let delivery = Arc::new(Delivery { channel: channel.key.clone(), numbered: numbered.clone() });
            for (target, _) in &owner.remote {
                self.counters.letters += 1;
                self.effects
                    .push(Effect::Send { target: *target, letter: Letter::Deliver(Arc::clone(&delivery)) });
            }
        }
        self.fan_out(handle, &numbered);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_channel_heard_elsewhere_costs_its_owner_stays_small() {
        assert_eq!(size_of::<Owner>(), 160);
    }
}
