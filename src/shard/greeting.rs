//! From a right token to the answer to connect, with the subscriptions a client has from the start.
//!
//! The answer waits for the owners of those channels. What the channels bring meanwhile is held and follows it: a
//! client hears nothing before it knows that it is connected.

use std::sync::Arc;

use super::Shard;
use super::connection::Phase;
use super::hearing::Hearing;
use super::session::unix_s;
use super::special::{Origin, Plan};
use super::subscribe::Purpose;
use crate::auth::{Grant, Granted, Identity};
use crate::core::channel::check_name;
use crate::core::command::Subscribe;
use crate::core::disconnect::Disconnect;
use crate::core::error::ClientError;
use crate::core::event::{Event, Recovery, Subscription};
use crate::core::ids::Slot;
use crate::core::permission::{Claimant, may_subscribe};
use crate::core::publication::{Numbered, Payload, Position};
use crate::protocol::Heartbeat;

/// An answer to connect that waits for subscriptions.
#[derive(Debug)]
pub struct Greeting {
    tag: u32,
    /// Subscriptions that are not decided, and one for the connect itself while it begins them.
    remaining: usize,
    entries: Vec<Entry>,
    /// Messages that follow the answer.
    held: Vec<Vec<u8>>,
}

/// A subscription that is live.
#[derive(Debug)]
struct Entry {
    channel: u32,
    name: Arc<str>,
    expires_in_s: Option<u32>,
    recoverable: bool,
    positioned: bool,
    position: Option<Position>,
    recovery: Recovery,
    publications: Vec<Numbered>,
    data: Option<Payload>,
    fossil_delta: bool,
    deltas: Vec<Option<Box<[u8]>>>,
}

/// A channel the client is to be subscribed to.
type Wanted = (Box<str>, Option<Box<Plan>>);

/// Why a connect is not answered with a client's id.
enum Refusal {
    Error(ClientError),
    End(Disconnect),
}

impl Shard {
    /// The token is right: the connection becomes a client.
    ///
    /// `wishes`: subscriptions of an earlier connection, and channels the client would like to hear if it may.
    pub(super) fn admit_client(
        &mut self,
        slot: Slot,
        tag: u32,
        mut identity: Identity,
        wishes: &[Subscribe],
    ) {
        let wanted = match self.initial_subscriptions(slot, &mut identity, wishes) {
            Ok(wanted) => wanted,
            Err(Refusal::End(end)) => {
                self.note_refused_connect(slot, &identity.user, &format!("{end:?}"));
                return self.disconnect(slot, end);
            }
            Err(Refusal::Error(error)) => {
                self.note_refused_connect(slot, &identity.user, &error.to_string());
                self.connections.cold_mut(slot).is_refused = true;
                return self.refuse(slot, tag, None, error);
            }
        };
        let Identity { user, info, connection_expires_s, .. } = identity;
        tracing::debug!(
            connection = %self.name(slot),
            client = %self.shown_address(slot),
            "a client authenticated"
        );
        let cold = self.connections.cold_mut(slot);
        cold.client_address = None;
        cold.is_client = true;
        cold.user = user;
        cold.info = info;
        cold.expires_s = connection_expires_s.map_or(0, unix_s);
        if !cold.is_draining {
            cold.phase_at = 0;
        }
        self.counters.clients += 1;
        if self.users.insert(&mut self.connections, slot) {
            self.note_user(slot, true);
        }
        self.claim_user(slot);
        let Some(codec) = self.codec(slot) else { return };
        self.connections.hot_mut(slot).variant = codec.variant().index() as u8;
        let rules = self.rules(slot).map_or((0, 0), |rules| (rules.ping_interval_ms, rules.proof_ms));
        let (interval_ms, proof_ms) = rules;
        self.schedule_first_ping(slot, interval_ms);
        self.demand_proof(slot, proof_ms);
        if wanted.is_empty() {
            self.greet(slot, tag, &[]);
        } else {
            let greeting =
                Greeting { tag, remaining: wanted.len() + 1, entries: Vec::new(), held: Vec::new() };
            let waiting = self.waiting(slot);
            waiting.greeting = Some(Box::new(greeting));
            waiting.barriers += 1;
            for (name, plan) in wanted {
                self.begin_subscription(slot, Purpose::Greeting, &name, plan);
            }
            self.greet_when_complete(slot);
        }
        self.arm(slot);
    }

    /// The token is right, but not what it asks for.
    fn note_refused_connect(&self, slot: Slot, user: &str, reason: &str) {
        tracing::info!(
            connection = %self.name(slot),
            client = %self.shown_address(slot),
            user,
            reason,
            "connect refused: its expire_at is past, or its channels are unknown, badly named, another user's or too many"
        );
    }

    fn initial_subscriptions(
        &self,
        slot: Slot,
        identity: &mut Identity,
        wishes: &[Subscribe],
    ) -> Result<Vec<Wanted>, Refusal> {
        let now_s = self.now.unix_s();
        if identity.connection_expires_s.is_some_and(|expires_s| expires_s <= now_s) {
            return Err(Refusal::Error(ClientError::Expired));
        }
        let app = &self.config.apps[usize::from(self.connections.cold(slot).app)];
        let rules = self.rules(slot).ok_or(Refusal::End(Disconnect::NotAvailable))?;
        let granted = std::mem::take(&mut identity.subscriptions).into_iter();
        let mut granted: Vec<(Box<str>, Grant, Origin)> =
            granted.map(|entry| (entry.channel, entry.grant, Origin::Token)).collect();
        if let Some(prefix) = rules.personal_channel.as_deref().filter(|_| !identity.user.is_empty()) {
            let personal: Box<str> = format!("{prefix}#{}", identity.user).into();
            if granted.iter().all(|(channel, ..)| *channel != personal) {
                granted.push((personal, Grant::default(), Origin::Server));
            }
        }
        let mut wanted: Vec<Wanted> = Vec::new();
        for (channel, grant, origin) in granted {
            let namespace = app.namespace(&channel).ok_or(Refusal::Error(ClientError::UnknownChannel))?;
            check_name(&channel, rules.channel_bytes_max)
                .map_err(|_| Refusal::Error(ClientError::BadRequest))?;
            let who = Claimant { user: &identity.user, proven: true };
            may_subscribe(&channel, namespace, who).map_err(Refusal::Error)?;
            let asked = wishes.iter().find(|wish| wish.channel == channel);
            if asked.is_some_and(|wish| !namespace.allows_hearing(wish)) {
                return Err(Refusal::Error(ClientError::NotAvailable));
            }
            let unasked = Subscribe { channel: channel.clone(), ..Subscribe::default() };
            let plan = Plan::new(namespace, asked.unwrap_or(&unasked), grant, None, origin);
            wanted.push((channel, plan));
        }
        for wish in wishes {
            let namespace = app.namespace(&wish.channel).ok_or(Refusal::End(Disconnect::BadRequest))?;
            let who = Claimant { user: &identity.user, proven: false };
            let is_new = wanted.iter().all(|(channel, _)| *channel != wish.channel);
            let is_right = check_name(&wish.channel, rules.channel_bytes_max).is_ok();
            let is_right = is_right && namespace.allows_hearing(wish);
            if is_new && is_right && may_subscribe(&wish.channel, namespace, who).is_ok() {
                let plan = Plan::new(namespace, wish, Grant::default(), None, Origin::Server);
                wanted.push((wish.channel.clone(), plan));
            }
        }
        if wanted.len() > rules.channels_max {
            return Err(Refusal::End(Disconnect::ChannelLimit));
        }
        Ok(wanted)
    }

    /// Whether a fresh token names other channels than those that the connection has: one that it is not subscribed
    /// to, or one less.
    pub(super) fn are_channels_others(&self, slot: Slot, granted: &[Granted]) -> bool {
        let is_named = |name: &str| granted.iter().any(|entry| *entry.channel == *name);
        let specials = self.connections.cold(slot).specials.iter().flat_map(|specials| specials.iter());
        granted.iter().any(|entry| !self.is_subscribed(slot, &entry.channel))
            || specials
                .filter(|special| special.origin == Origin::Token)
                .any(|special| !is_named(&self.channels.get(special.channel).key.name))
    }

    /// One of the subscriptions is live.
    pub(super) fn greeting_answered(&mut self, slot: Slot, handle: u32, told: Subscription<'_>) {
        let name = Arc::clone(&self.channels.get(handle).key.name);
        let entry = Entry {
            channel: handle,
            name,
            expires_in_s: told.expires_in_s,
            recoverable: told.recoverable,
            positioned: told.positioned,
            position: told.position.cloned(),
            recovery: told.recovery,
            publications: told.publications.to_vec(),
            data: told.data.cloned(),
            fossil_delta: told.fossil_delta,
            deltas: told.deltas.to_vec(),
        };
        if let Some(greeting) = &mut self.waiting(slot).greeting {
            greeting.entries.push(entry);
        }
    }

    /// One of the subscriptions came to nothing.
    pub(super) fn greeting_refused(&mut self, slot: Slot, name: &str, error: ClientError) {
        tracing::debug!(connection = %self.name(slot), channel = name, %error, "no server-side subscription");
        if error.is_temporary() {
            self.disconnect(slot, Disconnect::ServerError);
        } else {
            self.greet_when_complete(slot);
        }
    }

    /// One fewer to wait for; with the last one the answer leaves, and what was held follows it.
    pub(super) fn greet_when_complete(&mut self, slot: Slot) {
        if self.connections.hot(slot).phase != Phase::Open {
            return;
        }
        let waiting = self.waiting(slot);
        let Some(greeting) = &mut waiting.greeting else { return };
        greeting.remaining -= 1;
        if greeting.remaining > 0 {
            return;
        }
        let Some(greeting) = waiting.greeting.take() else { return };
        waiting.barriers = waiting.barriers.saturating_sub(1);
        for entry in &greeting.entries {
            let special = self.special(slot, entry.channel);
            let hearing = special.map_or(Hearing::Everything, |special| special.hearing.clone());
            self.channels.get_mut(entry.channel).settle(slot.0, &hearing, None);
        }
        let subscriptions: Vec<_> =
            greeting.entries.iter().map(|entry| (&*entry.name, entry.told())).collect();
        self.greet(slot, greeting.tag, &subscriptions);
        for message in &greeting.held {
            self.push_payload(slot, message);
        }
        self.note_blocked(slot);
    }

    /// Whether the answer to connect has not left.
    pub(super) fn awaits_greeting(&self, slot: Slot) -> bool {
        let waiting = self.connections.cold(slot).waiting.as_ref();
        waiting.is_some_and(|waiting| waiting.greeting.is_some())
    }

    /// A subscription ended before the client knew of it.
    pub(super) fn forget_greeting_entry(&mut self, slot: Slot, handle: u32) {
        let waiting = self.connections.cold_mut(slot).waiting.as_mut();
        if let Some(greeting) = waiting.and_then(|waiting| waiting.greeting.as_mut()) {
            greeting.entries.retain(|entry| entry.channel != handle);
        }
    }

    /// Keeps a message for after the answer to connect. `false`: that has left.
    pub(super) fn hold_message(&mut self, slot: Slot, message: &[u8]) -> bool {
        let waiting = self.connections.cold_mut(slot).waiting.as_mut();
        let Some(greeting) = waiting.and_then(|waiting| waiting.greeting.as_mut()) else { return false };
        greeting.held.push(message.to_vec());
        true
    }

    fn greet(&mut self, slot: Slot, tag: u32, subscriptions: &[(&str, Subscription<'_>)]) {
        let Some(codec) = self.codec(slot) else { return };
        let interval_ms = self.rules(slot).map_or(0, |rules| rules.ping_interval_ms);
        let expires_s = self.connections.cold(slot).expires_s;
        let now_s = self.now.unix_s();
        let event = Event::Connected {
            tag,
            client: self.client_id(slot),
            decimal: codec.has_decimal_ids().then(|| self.decimal_id(slot)),
            expires_in_s: (expires_s != 0).then(|| unix_s(u64::from(expires_s).saturating_sub(now_s))),
            ping_interval_s: match codec.heartbeat() {
                Heartbeat::Application | Heartbeat::Silence => interval_ms / 1_000,
                Heartbeat::Frame => 0,
            },
            data: None,
            subscriptions,
        };
        self.reply(slot, &event);
    }
}

impl Entry {
    fn told(&self) -> Subscription<'_> {
        Subscription {
            expires_in_s: self.expires_in_s,
            recoverable: self.recoverable,
            positioned: self.positioned,
            position: self.position.as_ref(),
            recovery: self.recovery,
            publications: &self.publications,
            users: None,
            data: self.data.as_ref(),
            fossil_delta: self.fossil_delta,
            deltas: &self.deltas,
        }
    }
}
