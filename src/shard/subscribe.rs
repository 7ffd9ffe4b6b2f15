//! Subscriptions of this shard's clients: from the wish to the first publication, and back.

use super::Shard;
use super::connection::{NONE, Phase};
use super::deltas::chain;
use super::hearing::Hearing;
use super::letter::{Admission, Entrance, Letter, OperationId, Passage, Scene, SceneWish, Wants};
use super::special::Plan;
use crate::core::disconnect::Disconnect;
use crate::core::error::ClientError;
use crate::core::event::{Body, DropCause, Event, Recovery, Subscription};
use crate::core::ids::{ConnectionId, Slot};
use crate::core::publication::Publication;

/// A client waiting for its subscription to go live.
#[derive(Debug)]
pub struct Joining {
    pub connection: ConnectionId,
    pub purpose: Purpose,
    pub channel: u32,
    /// `None`: a subscription like any other.
    pub plan: Option<Box<Plan>>,
    /// A backend has ended it meanwhile: it ends as soon as it has begun.
    pub is_revoked: bool,
    /// What takes back the entrance that is part of the join.
    pub exit: Option<Passage>,
}

/// What the client is told once the subscription is live.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// It asked.
    Asked { tag: u32 },
    /// It is part of the answer to connect.
    Greeting,
    /// It signed in, and waits to be told that.
    SignedIn,
    /// A backend asked.
    Added { errand: OperationId },
}

/// What a subscription has come to, in a form that can be kept.
pub type Outcome = Result<Option<Box<Admission>>, ClientError>;

impl Shard {
    /// Begins a subscription whose permission was checked. It is answered at once where the channel is already
    /// heard here and its position does not matter, else when the owner's answer arrives; until then the
    /// connection's later commands wait.
    pub(super) fn begin_subscription(
        &mut self,
        slot: Slot,
        purpose: Purpose,
        name: &str,
        plan: Option<Box<Plan>>,
    ) {
        let app = self.connections.app(slot);
        let placement = self.channels.placement();
        let owner = placement.owner(placement.hash(app, name));
        let handle = self.channels.find_or_insert(app, name);
        let channel = self.channels.get_mut(handle);
        let needs_owner = plan.as_ref().is_some_and(|plan| plan.needs_owner());
        if channel.is_live && !needs_owner {
            self.go_live_for(slot, handle, purpose, plan, (None, None));
            self.note_added(purpose, Ok(()));
            return;
        }
        channel.joining += 1;
        let key = channel.key.clone();
        let (scene, exit) = match plan.as_deref() {
            Some(plan) if plan.users_max.is_some() || plan.latest => self.scene_wish(slot, plan),
            _ => (None, None),
        };
        let wants = plan.as_ref().map_or_else(Wants::default, |plan| Wants {
            recover: plan.recover.clone().map(Box::new),
            is_positioned: plan.positioned,
            scene,
        });
        let connection = self.connections.id(slot);
        let joining = Joining { connection, purpose, channel: handle, plan, is_revoked: false, exit };
        let operation = self.begin(super::Operation::Subscribe(joining));
        self.waiting(slot).barriers += 1;
        if owner == self.id {
            self.owner_join(owner, operation, &key, wants);
        } else {
            self.send(owner, Letter::Join { operation, channel: key, wants });
        }
    }

    /// What a subscriber wants to find, and what takes back that it entered.
    fn scene_wish(&self, slot: Slot, plan: &Plan) -> (Option<Box<SceneWish>>, Option<Passage>) {
        let entrance = plan.users_max.map(|users_max| {
            let passage = self.passage(slot, &plan.special, true);
            Entrance { passage, users_max }
        });
        let exit = entrance.as_ref().map(|entrance| Passage { enters: false, ..entrance.passage.clone() });
        (Some(Box::new(SceneWish { entrance, latest: plan.latest })), exit)
    }

    /// The owner's answer: the lane that brought it brings every later publication.
    pub(super) fn joined(&mut self, operation: OperationId, result: Outcome, scene: Option<Box<Scene>>) {
        let Some(super::Operation::Subscribe(joining)) = self.operations.end(operation) else { return };
        let Joining { connection, purpose, channel: handle, plan, is_revoked, exit } = joining;
        let is_owner = self.owns(handle);
        let channel = self.channels.get_mut(handle);
        channel.joining -= 1;
        if !is_owner && result.is_ok() {
            channel.is_live = true;
        }
        let slot = connection.slot;
        if !self.connections.is_open(connection) {
            if let Some(exit) = exit.filter(|_| result.is_ok()) {
                // Held open by a join of its own: what others are told may be what makes them too slow.
                self.channels.get_mut(handle).joining += 1;
                self.send_passage(handle, exit);
                self.channels.get_mut(handle).joining -= 1;
            }
            self.release_if_unheard(handle);
            self.note_added(purpose, Ok(()));
            return;
        }
        let waiting = self.waiting(slot);
        waiting.barriers = waiting.barriers.saturating_sub(1);
        let is_refused = |admission: &Admission| admission.recovery == Recovery::Unrecovered;
        let result = match result {
            Ok(Some(admission))
                if is_refused(&admission) && plan.as_ref().is_some_and(|plan| plan.refuse_unrecovered) =>
            {
                Err(ClientError::UnrecoverablePosition)
            }
            // It came to be subscribed meanwhile.
            Ok(_) if self.connections.cold(slot).subscriptions.contains(handle) => {
                Err(ClientError::AlreadySubscribed)
            }
            other => other,
        };
        match result {
            Ok(admission) => {
                self.go_live_for(slot, handle, purpose, plan, (admission, scene));
                if is_revoked && self.connections.cold(slot).subscriptions.contains(handle) {
                    self.drop_subscription(slot, handle, DropCause::Server);
                }
                self.note_added(purpose, Ok(()));
            }
            Err(error) => {
                let name = self.channels.get(handle).key.name.clone();
                match purpose {
                    Purpose::Asked { tag } => self.refuse_subscribe(slot, tag, &name, error),
                    Purpose::Greeting => self.greeting_refused(slot, &name, error),
                    // A backend was first.
                    Purpose::SignedIn if error == ClientError::AlreadySubscribed => self.signed_in(slot),
                    // It comes back and signs in anew.
                    Purpose::SignedIn => self.disconnect(slot, Disconnect::Overloaded),
                    // As good as what was asked for.
                    Purpose::Added { .. } if error == ClientError::AlreadySubscribed => {
                        self.note_added(purpose, Ok(()));
                    }
                    Purpose::Added { .. } => self.note_added(purpose, Err(error)),
                }
                self.release_if_unheard(handle);
            }
        }
        self.note_blocked(slot);
    }

    /// Tells the backend that asked, if one did, what came of it.
    fn note_added(&mut self, purpose: Purpose, result: Result<(), ClientError>) {
        if let Purpose::Added { errand } = purpose {
            self.errand_answered(errand, result);
        }
    }

    /// Adds the subscriber and tells it: nothing of the channel can come before this reply.
    fn go_live_for(
        &mut self,
        slot: Slot,
        handle: u32,
        purpose: Purpose,
        plan: Option<Box<Plan>>,
        (mut admission, scene): (Option<Box<Admission>>, Option<Box<Scene>>),
    ) {
        // What comes before the answer to connect becomes part of it.
        let is_added = matches!(purpose, Purpose::Added { .. });
        let is_held = purpose == Purpose::Greeting || (is_added && self.awaits_greeting(slot));
        // Until it has been told that it is subscribed, whoever hears a part has no seat among its like.
        let has_seat = plan.as_ref().is_none_or(|plan| plan.special.hearing.is_everything());
        let channel = self.channels.get_mut(handle);
        if is_held || !has_seat {
            channel.few.get_or_insert_default().apart.insert(slot.0);
        } else {
            channel.subscribers.insert(slot.0);
        }
        if plan.as_ref().is_some_and(|plan| plan.special.hears_others) {
            channel.few.get_or_insert_default().listeners.insert(slot.0);
        }
        let is_first = channel.subscribers_count() == 1;
        let name = channel.key.name.clone();
        self.counters.subscriptions += 1;
        self.connections.cold_mut(slot).subscriptions.insert(handle);
        self.channels.note_count(handle);
        let (mut special, mut data, mut deltas) = (None, None, Vec::new());
        let mut told = Subscription::default();
        let is_unasked = plan.as_ref().is_some_and(|plan| plan.recovers_unasked);
        let mut has_entered = false;
        if let Some(plan) = plan {
            let Plan { recoverable, positioned, data: for_client, special: mut kept, users_max, .. } = *plan;
            has_entered = users_max.is_some();
            (told.recoverable, told.positioned) = (recoverable, positioned);
            let now_s = self.now.unix_s();
            told.expires_in_s = (kept.expires_s != 0)
                .then(|| u32::try_from(u64::from(kept.expires_s).saturating_sub(now_s)).unwrap_or(u32::MAX));
            kept.channel = handle;
            if let Some(admission) = &mut admission {
                kept.hearing.narrow(admission);
                if matches!(kept.hearing, Hearing::Deltas) {
                    deltas = chain(&admission.missed);
                }
            }
            told.fossil_delta = matches!(kept.hearing, Hearing::Deltas);
            (special, data) = (kept.is_needed().then_some(kept), for_client);
        }
        if let Some(special) = special.as_ref().filter(|_| has_entered) {
            // What it is told may be its end, and then it must be known that it leaves.
            self.keep_special(slot, special.clone());
        }
        told.users = scene.as_ref().and_then(|scene| scene.users.as_deref());
        told.data = data.as_ref();
        let is_told = told.positioned || told.recoverable;
        if let Some(admission) = admission.as_deref().filter(|_| is_told) {
            told.position = Some(&admission.position);
            told.recovery = admission.recovery;
            if admission.recovery == Recovery::Unrecovered && is_unasked {
                told.recovery = Recovery::NotAsked;
            }
            told.publications = &admission.missed;
            told.deltas = &deltas;
        }
        match purpose {
            Purpose::Asked { tag } => {
                self.reply(slot, &Event::Subscribed { tag, channel: &name, subscription: told });
            }
            _ if is_held => self.greeting_answered(slot, handle, told),
            Purpose::SignedIn => self.signed_in(slot),
            Purpose::Greeting | Purpose::Added { .. } => self.tell_added(slot, &name, told),
        }
        if is_first {
            self.report_counts();
        }
        let latest = scene.as_ref().and_then(|scene| scene.latest.as_ref());
        if let Some(latest) = latest.filter(|_| self.connections.hot(slot).phase == Phase::Open) {
            self.tell_latest(slot, &name, latest.as_deref());
        }
        if self.connections.hot(slot).phase != Phase::Open {
            // What it was told made its queue too long: the subscription has ended, and the channel may be gone.
            return;
        }
        if let Some(special) = special {
            let enters = (special.is_shown || special.is_announced) && !has_entered;
            if !has_entered {
                self.keep_special(slot, special.clone());
            }
            if !is_held {
                let sent = told.publications.last().map(|numbered| &numbered.publication);
                self.channels.get_mut(handle).settle(slot.0, &special.hearing, sent);
            }
            if enters {
                self.enter_channel(slot, handle, &special);
            }
        }
        if purpose == Purpose::Greeting {
            self.greet_when_complete(slot);
        }
    }

    /// The first thing that a subscriber is told of a channel that keeps its last publication.
    fn tell_latest(&mut self, slot: Slot, name: &str, latest: Option<&Publication>) {
        let body = Body::Plain;
        self.tell(
            slot,
            &match latest {
                Some(publication) => Event::Publication { channel: name, publication, offset: 0, body },
                None => Event::NothingLatest { channel: name },
            },
        );
    }

    /// Ends one subscription; nothing of the channel reaches the client afterwards. `false`: there was none.
    pub(super) fn end_subscription(&mut self, slot: Slot, handle: u32) -> bool {
        if !self.connections.cold_mut(slot).subscriptions.remove(handle) {
            return false;
        }
        let special = self.take_special(slot, handle);
        let hearing = special.as_ref().map_or(&Hearing::Everything, |special| &special.hearing);
        let removed = self.channels.get_mut(handle).unseat(slot.0, hearing);
        assert!(removed, "a client's subscription and its channel's subscriber come and go together");
        self.counters.subscriptions -= 1;
        self.channels.note_count(handle);
        self.forget_greeting_entry(slot, handle);
        if let Some(special) = special
            && (special.is_shown || special.is_announced)
        {
            // Held open by a join of its own: telling others may be what makes them too slow, and the channel unused.
            self.channels.get_mut(handle).joining += 1;
            self.exit_channel(slot, handle, &special);
            self.channels.get_mut(handle).joining -= 1;
        }
        self.release_if_unheard(handle);
        true
    }

    /// Ends all subscriptions of a connection.
    pub(super) fn end_all_subscriptions(&mut self, slot: Slot) {
        while let Some(handle) = self.connections.cold(slot).subscriptions.as_slice().last().copied() {
            self.end_subscription(slot, handle);
        }
    }

    /// Ends a subscription for a reason that its client is told. One that the client did not ask for, or whose end
    /// its dialect has no words for, takes the connection along.
    pub(super) fn drop_subscription(&mut self, slot: Slot, handle: u32, cause: DropCause) {
        let name = self.channels.get(handle).key.name.clone();
        let is_server_side = self.special(slot, handle).is_some_and(|special| special.is_server_side());
        let end = match cause {
            DropCause::InsufficientState => Some(Disconnect::InsufficientState),
            DropCause::Expired => Some(Disconnect::SubscriptionExpired),
            DropCause::StateInvalidated => Some(Disconnect::StateInvalidated),
            DropCause::Server => None,
        };
        self.end_subscription(slot, handle);
        let takes_along = end.is_some() && is_server_side;
        let is_told = !takes_along && self.tell(slot, &Event::Dropped { channel: &name, cause });
        if let Some(end) = end
            && !is_told
        {
            self.disconnect(slot, end);
        }
    }

    /// Lets go of a channel that nobody here hears or is about to hear.
    pub(super) fn release_if_unheard(&mut self, handle: u32) {
        if self.owns(handle) {
            self.forget_if_unused(handle);
            return;
        }
        let channel = self.channels.get(handle);
        if channel.joining > 0 || channel.is_heard() {
            return;
        }
        let was_live = channel.is_live;
        let placement = self.channels.placement();
        let owner = placement.owner(placement.hash(channel.key.app, &channel.key.name));
        self.close_channel_log(handle);
        let channel = self.channels.remove(handle);
        if was_live {
            self.send(owner, Letter::Leave { channel: channel.key });
        }
    }

    /// Publications of the channel are missing for good: its subscribers must begin again.
    pub(super) fn drop_subscribers(&mut self, handle: u32) {
        let channel = self.channels.get(handle);
        let subscribers = channel.all_subscribers();
        // Held by a join of its own, so that the handle lives through the loop.
        self.channels.get_mut(handle).joining += 1;
        for slot in subscribers.into_iter().map(Slot) {
            if self.connections.hot(slot).phase == Phase::Open {
                self.drop_subscription(slot, handle, DropCause::InsufficientState);
            }
        }
        self.channels.get_mut(handle).joining -= 1;
        self.release_if_unheard(handle);
    }

    /// Tells the owners what changed since they were last told.
    pub(super) fn report_counts(&mut self) {
        let mut changed = std::mem::take(&mut self.channels.counts_changed);
        for handle in changed.drain(..) {
            let Some(channel) = self.channels.try_get_mut(handle) else { continue };
            if !std::mem::take(&mut channel.count_changed) {
                continue;
            }
            let subscribers = u32::try_from(channel.subscribers_count()).unwrap_or(u32::MAX);
            let key = channel.key.clone();
            let placement = self.channels.placement();
            let owner = placement.owner(placement.hash(key.app, &key.name));
            if owner == self.id {
                self.note_subscription_count(handle);
                self.count_changed(handle);
            } else if subscribers > 0 {
                self.send(owner, Letter::Count { channel: key, subscribers });
            }
        }
        // Who was told how many they are may have been too slow, which changes how many they are.
        changed.append(&mut self.channels.counts_changed);
        self.channels.counts_changed = changed;
    }

    /// Whether this shard owns the channel.
    pub(super) fn owns(&self, handle: u32) -> bool {
        debug_assert_ne!(handle, NONE);
        let key = &self.channels.get(handle).key;
        let placement = self.channels.placement();
        placement.shards == 1 || placement.owner(placement.hash(key.app, &key.name)) == self.id
    }
}
