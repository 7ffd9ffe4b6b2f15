//! What backends do to connections of users: subscribe them, end their subscriptions, move their expiry, end them.
//!
//! Every shard sees to its own connections, and answers when all is done: what a backend publishes once it has its
//! answer is heard by those it subscribed.

use std::sync::Arc;

use super::connection::Phase;
use super::letter::{Findings, OperationId};
use super::session::unix_s;
use super::special::{Origin, Plan};
use super::subscribe::Purpose;
use super::{Operation, Shard};
use crate::api::call::{Errand, Whose};
use crate::auth::{AHEAD_S_MAX, Grant};
use crate::core::command::Subscribe;
use crate::core::disconnect::Disconnect;
use crate::core::error::ClientError;
use crate::core::event::{Body, DropCause, Event, Recovery, Subscription};
use crate::core::ids::{AppIndex, ShardId, Slot};
use crate::core::permission::{Claimant, may_subscribe};
use crate::core::publication::{Payload, Position};

/// An errand that waits for subscriptions to go live.
#[derive(Debug)]
pub struct Running {
    /// Who asked, and under which name.
    source: ShardId,
    operation: OperationId,
    /// Subscriptions that are not decided, and one for the errand itself while it begins them.
    remaining: usize,
    /// Why one of them came to nothing.
    failure: Option<ClientError>,
}

impl Shard {
    /// Carries out an errand on the connections here. Its answer goes to `source`, at once if it can.
    pub(super) fn run_errand(
        &mut self,
        source: ShardId,
        operation: OperationId,
        app: AppIndex,
        whose: &Whose,
        errand: &Errand,
    ) {
        let running = self.errands.begin(Running { source, operation, remaining: 1, failure: None });
        for slot in self.connections_meant(app, whose) {
            // What is done to one may be the end of another: it may hear a leave too many.
            if self.connections.hot(slot).phase == Phase::Open && self.connections.cold(slot).is_client {
                self.run_errand_on(slot, running, errand);
            }
        }
        self.errand_answered(running, Ok(()));
    }

    fn connections_meant(&self, app: AppIndex, whose: &Whose) -> Vec<Slot> {
        let Whose { user, client } = whose;
        let Some(client) = client else {
            return self.users.connections_of(&self.connections, app, user);
        };
        let address = self.seal.open(*client);
        let here = address.filter(|at| at.shard == self.id && self.connections.is_open(at.connection));
        let slot = here.map(|address| address.connection.slot);
        let is_meant = |slot: &Slot| {
            let cold = self.connections.cold(*slot);
            cold.app == app.0 && (user.is_empty() || cold.user == *user)
        };
        slot.filter(is_meant).into_iter().collect()
    }

    fn run_errand_on(&mut self, slot: Slot, running: OperationId, errand: &Errand) {
        match errand {
            Errand::Subscribe { channel, grant, expires_s, since } => {
                self.add_subscription(slot, running, channel, grant, *expires_s, since.as_ref());
            }
            Errand::Unsubscribe { channel } => self.drop_for_backend(slot, channel),
            Errand::Refresh { expires_s, info } => self.move_expiry(slot, *expires_s, info.as_ref()),
            Errand::Disconnect { whitelist, disconnect } => {
                if !whitelist.contains(&self.client_id(slot)) {
                    self.disconnect(slot, disconnect.clone());
                }
            }
        }
    }

    /// One fewer to wait for; with the last one the answer leaves.
    pub(super) fn errand_answered(&mut self, id: OperationId, result: Result<(), ClientError>) {
        let Some(running) = self.errands.get_mut(id) else { return };
        running.failure = running.failure.or(result.err());
        running.remaining -= 1;
        if running.remaining > 0 {
            return;
        }
        let Some(Running { source, operation, failure, .. }) = self.errands.end(id) else { return };
        let findings = failure.map_or(Findings::Done, Findings::Failed);
        self.answer_survey(source, operation, findings);
    }

    fn add_subscription(
        &mut self,
        slot: Slot,
        running: OperationId,
        channel: &str,
        grant: &Grant,
        expires_s: Option<u64>,
        since: Option<&Position>,
    ) {
        let cold = self.connections.cold(slot);
        let namespace = self.config.apps[usize::from(cold.app)].namespace(channel);
        let (Some(namespace), Some(rules)) = (namespace, self.rules(slot)) else { return };
        if self.is_subscribed(slot, channel) {
            return;
        }
        let who = Claimant { user: &cold.user, proven: true };
        if let Err(error) = may_subscribe(channel, namespace, who) {
            if let Some(running) = self.errands.get_mut(running) {
                running.failure = running.failure.or(Some(error));
            }
            return;
        }
        if cold.subscriptions.as_slice().len() >= rules.channels_max {
            return self.disconnect(slot, Disconnect::ChannelLimit);
        }
        let wish = Subscribe { since: since.cloned(), recoverable: since.is_some(), ..Subscribe::default() };
        let expires_s = expires_s.map(|expires_s| expires_s.min(self.now.unix_s() + AHEAD_S_MAX));
        let plan = Plan::new(namespace, &wish, grant.clone(), expires_s, Origin::Server);
        if let Some(running) = self.errands.get_mut(running) {
            running.remaining += 1;
        }
        self.begin_subscription(slot, Purpose::Added { errand: running }, channel, plan);
    }

    /// Tells a client of a subscription that it did not ask for, and what it missed.
    pub(super) fn tell_added(&mut self, slot: Slot, channel: &str, told: Subscription<'_>) {
        let began = match (told.recovery, told.position) {
            (Recovery::Recovered { since_offset }, Some(position)) => {
                Some(Position { offset: since_offset, epoch: Arc::clone(&position.epoch) })
            }
            _ => None,
        };
        // Clients count on from there, publication by publication.
        let position = began.as_ref().or(told.position);
        let subscription = Subscription { position, publications: &[], ..told };
        self.tell(slot, &Event::Added { channel, subscription });
        for numbered in told.publications {
            let (publication, offset) = (&*numbered.publication, numbered.offset);
            if self.connections.hot(slot).phase == Phase::Open {
                self.tell(slot, &Event::Publication { channel, publication, offset, body: Body::Plain });
            }
        }
    }

    /// `channel` empty: all of them.
    fn drop_for_backend(&mut self, slot: Slot, channel: &str) {
        let mut handles = self.connections.cold(slot).subscriptions.as_slice().to_vec();
        if !channel.is_empty() {
            let known = self.channels.find(self.connections.app(slot), channel);
            handles.retain(|handle| Some(*handle) == known);
        }
        self.revoke_joining(slot, channel);
        for handle in handles {
            // One before it may have made others too slow, and this client with them.
            if self.connections.cold(slot).subscriptions.contains(handle) {
                self.drop_subscription(slot, handle, DropCause::Server);
            }
        }
    }

    /// What is about to begin ends too: it was granted before the backend took it away.
    fn revoke_joining(&mut self, slot: Slot, channel: &str) {
        if self.connections.cold(slot).waiting.as_ref().is_none_or(|waiting| waiting.barriers == 0) {
            return;
        }
        let (connection, known) =
            (self.connections.id(slot), self.channels.find(self.connections.app(slot), channel));
        for operation in self.operations.iter_mut() {
            if let Operation::Subscribe(joining) = operation
                && joining.connection == connection
                && (channel.is_empty() || Some(joining.channel) == known)
            {
                joining.is_revoked = true;
            }
        }
    }

    fn move_expiry(&mut self, slot: Slot, expires_s: Option<u64>, info: Option<&Arc<Payload>>) {
        let now_s = self.now.unix_s();
        if expires_s.is_some_and(|expires_s| expires_s <= now_s) {
            return self.disconnect(slot, Disconnect::Expired);
        }
        let expires_s = expires_s.map(|expires_s| expires_s.min(now_s + AHEAD_S_MAX));
        let cold = self.connections.cold_mut(slot);
        cold.expires_s = expires_s.map_or(0, unix_s);
        let is_info_new = info.is_some() && cold.info.as_ref() != info;
        if is_info_new {
            cold.info = info.cloned();
        }
        self.arm(slot);
        if is_info_new {
            self.show_anew(slot, None);
        }
        let expires_in_s = expires_s.map(|expires_s| unix_s(expires_s - now_s));
        self.tell(slot, &Event::ExpiryMoved { expires_in_s });
    }
}
