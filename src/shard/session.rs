//! Commands of one client, whatever it speaks, carried out in the order they came.

use std::sync::Arc;

use super::connection::Phase;
use super::letter::Lookup;
use super::settings::Rules;
use super::waiting::{Ticket, begins_to_hear};
use super::{Operation, Shard};
use crate::auth::{Identity, TokenError, log_id, verify_connection};
use crate::core::channel::check_name;
use crate::core::command::{Command, Connect, Publish, Request, Subscribe};
use crate::core::disconnect::Disconnect;
use crate::core::error::ClientError;
use crate::core::event::Event;
use crate::core::ids::{Address, ClientId, ConnectionId, DecimalId, Slot};
use crate::core::permission::{Claimant, may_publish};
use crate::core::publication::{Position, Publication};

/// A client's publication whose place in its channel is awaited.
#[derive(Debug)]
pub struct Publishing {
    pub connection: ConnectionId,
    pub tag: u32,
    pub ticket: Ticket,
    pub channel: Box<str>,
}

impl Shard {
    /// Carries out one command.
    pub(super) fn execute(&mut self, slot: Slot, request: Request) {
        if self.spilled_letters > 0 && matches!(request.command, Command::Publish(_)) {
            self.waiting(slot).held.push_front(request);
            self.park(slot);
            return;
        }
        if begins_to_hear(&request.command) && self.awaits_reply(slot) {
            self.waiting(slot).held.push_front(request);
            return;
        }
        if self.must_take_first(slot, &request.command) {
            self.waiting(slot).held.push_front(request);
            return;
        }
        let cold = self.connections.cold(slot);
        let is_possible = match request.command {
            Command::Connect(_) => !cold.is_client && !cold.is_refused,
            _ => cold.is_client,
        };
        if !is_possible {
            self.disconnect(slot, Disconnect::BadRequest);
            return;
        }
        let limits = &self.config.limits;
        let is_free = limits.connection_rates.is_unlimited() && limits.user_rates.is_unlimited();
        if is_free || matches!(request.command, Command::Connect(_) | Command::Pong) {
            self.perform(slot, request);
        } else {
            self.charge(slot, request);
        }
    }

    /// Carries out a command that may come now.
    pub(super) fn perform(&mut self, slot: Slot, request: Request) {
        let Request { tag, command } = request;
        if let Command::Subscribe(Subscribe { channel, .. }) | Command::Unsubscribe { channel } = &command
            && !self.count_subscribe(slot)
        {
            self.counters.too_many_requests += 1;
            self.refuse_subscribe(slot, tag, channel, ClientError::TooManyRequests);
            return;
        }
        match command {
            Command::Connect(connect) => self.connect(slot, tag, &connect),
            Command::Subscribe(subscribe) => self.subscribe(slot, tag, &subscribe),
            Command::Unsubscribe { channel } => self.unsubscribe(slot, tag, &channel),
            Command::Publish(publish) => self.publish(slot, tag, publish),
            Command::Refresh { token } => self.refresh(slot, tag, &token),
            Command::History(asked) => self.history(slot, tag, asked),
            Command::SignIn { token, about_user } => self.sign_in(slot, tag, &token, about_user),
            Command::Ping => self.reply(slot, &Event::Pong { tag }),
            Command::Pong => self.pong(slot),
            Command::Presence { channel } => self.presence(slot, tag, channel, Lookup::Presence),
            Command::PresenceStats { channel } => self.presence(slot, tag, channel, Lookup::PresenceStats),
            Command::RefreshSubscription { channel, token } => {
                self.refresh_subscription(slot, tag, &channel, &token);
            }
            Command::Refuse(error) => self.refuse(slot, tag, None, error),
        }
    }

    /// Other shards cannot keep up: the publisher waits, with everything that comes after.
    pub(super) fn park(&mut self, slot: Slot) {
        self.waiting(slot).parked = true;
        self.parked.push(self.connections.id(slot));
    }

    /// The rules of the connection's dialect in its app. `None`: it is not a client's, or a reload has switched
    /// the dialect off.
    pub(super) fn rules(&self, slot: Slot) -> Option<&Rules> {
        let dialect = self.codec(slot)?.dialect();
        self.apps[usize::from(self.connections.cold(slot).app)].rules(dialect)
    }

    fn connect(&mut self, slot: Slot, tag: u32, connect: &Connect) {
        let token = &*connect.token;
        let Some(rules) = self.rules(slot) else {
            self.disconnect(slot, Disconnect::NotAvailable);
            return;
        };
        if token.is_empty() {
            if rules.allow_without_token {
                let anonymous = Identity::default();
                self.admit_client(slot, tag, anonymous, &connect.subscriptions);
            } else {
                self.counters.auth_no_token += 1;
                tracing::info!(
                    connection = %self.name(slot),
                    client = %self.shown_address(slot),
                    "refused: no token; client.allow_anonymous_connect_without_token would allow it"
                );
                self.disconnect(slot, Disconnect::BadRequest);
            }
            return;
        }
        match self.verify(slot, token) {
            Ok(identity) => self.admit_client(slot, tag, identity, &connect.subscriptions),
            Err(error) => {
                self.note_auth_failure(slot, &error, token);
                match error {
                    TokenError::Expired { .. } | TokenError::NotYetValid { .. } => {
                        self.connections.cold_mut(slot).is_refused = true;
                        self.refuse(slot, tag, None, ClientError::TokenExpired);
                    }
                    TokenError::NoUser => self.disconnect(slot, Disconnect::PermissionDenied),
                    _ => self.disconnect(slot, Disconnect::InvalidToken),
                }
            }
        }
    }

    fn verify(&mut self, slot: Slot, token: &str) -> Result<Identity, TokenError> {
        let app = &self.apps[usize::from(self.connections.cold(slot).app)];
        let rules = self.codec(slot).and_then(|codec| app.rules(codec.dialect()));
        match (&app.token_keys, rules) {
            (Some(keys), Some(rules)) => {
                verify_connection(token, keys, &rules.policy, &mut self.json, self.now.unix_s())
            }
            _ => Err(TokenError::BadSignature),
        }
    }

    pub(super) fn note_auth_failure(&mut self, slot: Slot, error: &TokenError, token: &str) {
        self.counters.count_auth_failure(error.class());
        tracing::info!(
            connection = %self.name(slot),
            client = %self.shown_address(slot),
            class = error.class(),
            reason = %error,
            token = %log_id(token),
            "authentication refused"
        );
    }

    /// Where the client comes from, as far as that is still known.
    pub(super) fn shown_address(&self, slot: Slot) -> String {
        let address = &self.connections.cold(slot).client_address;
        address.as_ref().map_or_else(|| "-".to_owned(), ToString::to_string)
    }

    /// The id by which others know the client.
    pub(super) fn client_id(&self, slot: Slot) -> ClientId {
        self.seal.seal(self.address(slot))
    }

    /// The same in digits.
    pub(super) fn decimal_id(&self, slot: Slot) -> DecimalId {
        self.seal.seal_decimal(self.address(slot))
    }

    fn address(&self, slot: Slot) -> Address {
        Address { shard: self.id, connection: self.connections.id(slot) }
    }

    fn refresh(&mut self, slot: Slot, tag: u32, token: &str) {
        if token.is_empty() {
            self.disconnect(slot, Disconnect::BadRequest);
            return;
        }
        let identity = match self.verify(slot, token) {
            Ok(identity) => identity,
            Err(error) => {
                self.note_auth_failure(slot, &error, token);
                let end = match error {
                    TokenError::Expired { .. } | TokenError::NotYetValid { .. } => Disconnect::Expired,
                    _ => Disconnect::InvalidToken,
                };
                self.disconnect(slot, end);
                return;
            }
        };
        let now_s = self.now.unix_s();
        if identity.user != self.connections.cold(slot).user {
            self.note_auth_failure(slot, &TokenError::ForAnother { claim: "sub" }, token);
            self.disconnect(slot, Disconnect::InvalidToken);
            return;
        }
        if identity.connection_expires_s.is_some_and(|expires_s| expires_s <= now_s) {
            self.disconnect(slot, Disconnect::Expired);
            return;
        }
        if self.are_channels_others(slot, &identity.subscriptions) {
            // It comes back and gets what its new token names.
            self.disconnect(slot, Disconnect::InsufficientState);
            return;
        }
        let cold = self.connections.cold_mut(slot);
        let is_info_new = cold.info != identity.info;
        cold.info = identity.info;
        cold.expires_s = identity.connection_expires_s.map_or(0, unix_s);
        self.arm(slot);
        if is_info_new {
            self.show_anew(slot, None);
        }
        let event = Event::Refreshed {
            tag,
            client: self.client_id(slot),
            expires_in_s: identity.connection_expires_s.map(|expires_s| unix_s(expires_s - now_s)),
        };
        self.reply(slot, &event);
    }

    /// Counts a subscribe or unsubscribe command. `false`: too many within a second.
    fn count_subscribe(&mut self, slot: Slot) -> bool {
        let second = (self.now.monotonic_ms / 1_000) as u8;
        let max = self.config.limits.subscribes_per_second_max;
        let cold = self.connections.cold_mut(slot);
        cold.count_within(second);
        cold.subscribes = cold.subscribes.saturating_add(1);
        u32::from(cold.subscribes) <= max
    }

    fn unsubscribe(&mut self, slot: Slot, tag: u32, name: &str) {
        if name.is_empty() {
            self.disconnect(slot, Disconnect::BadRequest);
            return;
        }
        if let Some(handle) = self.channels.find(self.connections.app(slot), name) {
            self.end_subscription(slot, handle);
        }
        self.reply(slot, &Event::Unsubscribed { tag, channel: name });
    }

    fn publish(&mut self, slot: Slot, tag: u32, publish: Publish) {
        let checked = self.check_publish(slot, &publish).and_then(|()| self.count_publish(slot));
        let Publish { channel, data, as_text, event, to_others } = publish;
        if let Err(error) = checked {
            self.refuse(slot, tag, Some(&channel), error);
            return;
        }
        self.counters.publishes_client += 1;
        let known = self.channels.find(self.connections.app(slot), &channel);
        let special = known.and_then(|handle| self.special(slot, handle));
        let publisher = self.client_info(slot, special);
        let publication = Publication {
            data,
            as_text,
            event,
            publisher: Some(publisher),
            tags: Box::default(),
            time_ms: self.now.unix_ms,
            delta: false,
            exclude: to_others.then(|| self.address(slot)),
        };
        if to_others {
            self.note_client_event(slot, &channel, &publication);
        }
        let connection = self.connections.id(slot);
        let app = self.connections.app(slot);
        let ticket = self.waiting(slot).promise();
        let publishing = Publishing { connection, tag, ticket, channel: channel.clone() };
        let operation = self.begin(Operation::Publish(publishing));
        self.route_publication(operation, app, &channel, Arc::new(publication), None);
    }

    fn check_publish(&self, slot: Slot, publish: &Publish) -> Result<(), ClientError> {
        let Publish { channel: name, data, event, .. } = publish;
        let cold = self.connections.cold(slot);
        let app = &self.config.apps[usize::from(cold.app)];
        let rules = self.rules(slot).ok_or(ClientError::NotAvailable)?;
        let namespace = app.namespace(name).ok_or(ClientError::UnknownChannel)?;
        check_name(name, rules.channel_bytes_max).map_err(|_| ClientError::BadRequest)?;
        if !rules.may_publish || !self.codec(slot).is_some_and(|codec| codec.can_publish_to(name)) {
            return Err(ClientError::NotAvailable);
        }
        let event_bytes = event.as_ref().map_or(0, |event| event.len());
        if data.len() > rules.data_bytes_max || event_bytes > rules.event_bytes_max {
            return Err(ClientError::LimitExceeded);
        }
        let who = Claimant { user: &cold.user, proven: false };
        may_publish(name, namespace, who, self.is_subscribed(slot, name))
    }

    /// Counts a publication, where the dialect bounds them. Errors: `TooManyRequests`.
    fn count_publish(&mut self, slot: Slot) -> Result<(), ClientError> {
        let max = self.rules(slot).map_or(0, |rules| rules.publishes_per_second);
        if max == 0 {
            return Ok(());
        }
        let second = (self.now.monotonic_ms / 1_000) as u8;
        let cold = self.connections.cold_mut(slot);
        cold.count_within(second);
        cold.publishes = cold.publishes.saturating_add(1);
        if cold.publishes <= max { Ok(()) } else { Err(ClientError::TooManyRequests) }
    }

    /// The owner's answer to a client's publication.
    pub(super) fn client_published(
        &mut self,
        publishing: &Publishing,
        result: Result<Option<Position>, ClientError>,
    ) {
        let Publishing { connection, tag, ticket, ref channel } = *publishing;
        if !self.connections.is_open(connection) {
            return;
        }
        let slot = connection.slot;
        let event = match result {
            Ok(_) => Event::Published { tag, channel },
            Err(error) => Event::Refused { tag, channel: Some(channel), error, reason: None },
        };
        self.complete_with(slot, ticket, &event);
    }

    /// Completes an awaited reply with an event.
    pub(super) fn complete_with(&mut self, slot: Slot, ticket: Ticket, event: &Event<'_>) {
        if !matches!(event, Event::Refused { .. }) {
            self.connections.cold_mut(slot).errors = 0;
        }
        let mut reply = std::mem::take(&mut self.scratch);
        reply.clear();
        if let Some(codec) = self.codec(slot) {
            codec.encode(event, &mut reply);
        }
        self.complete_reply(slot, ticket, &reply);
        self.scratch = reply;
        self.note_blocked(slot);
    }

    /// Whether the client hears the channel.
    pub(super) fn is_subscribed(&self, slot: Slot, name: &str) -> bool {
        let known = self.channels.find(self.connections.app(slot), name);
        known.is_some_and(|handle| self.connections.cold(slot).subscriptions.contains(handle))
    }

    fn pong(&mut self, slot: Slot) {
        let cold = self.connections.cold_mut(slot);
        if !cold.awaits_pong {
            self.disconnect(slot, Disconnect::BadRequest);
            return;
        }
        self.note_pong(slot);
    }

    /// Answers with an error; too many in a row end the connection.
    pub(super) fn refuse(&mut self, slot: Slot, tag: u32, channel: Option<&str>, error: ClientError) {
        self.refuse_because(slot, tag, channel, error, None);
    }

    /// As [`Self::refuse`], with what a developer should know of it.
    pub(super) fn refuse_because(
        &mut self,
        slot: Slot,
        tag: u32,
        channel: Option<&str>,
        error: ClientError,
        reason: Option<&str>,
    ) {
        let errors_max = self.config.limits.errors_in_a_row_max;
        let cold = self.connections.cold_mut(slot);
        cold.errors = cold.errors.saturating_add(1);
        if errors_max > 0 && u32::from(cold.errors) >= errors_max {
            // What was only too much at once may come again later, where a dialect can say so.
            let may_return =
                error.is_temporary() && self.codec(slot).is_some_and(|codec| codec.ends_when_busy());
            let end = if may_return { Disconnect::TooManyRequests } else { Disconnect::TooManyErrors };
            self.disconnect(slot, end);
            return;
        }
        if error == ClientError::PermissionDenied {
            tracing::debug!(
                connection = %self.name(slot),
                channel = channel.unwrap_or(""),
                "refused: permission denied; the namespace's allow_…_for_… options decide"
            );
        }
        self.queue_reply(slot, &Event::Refused { tag, channel, error, reason });
    }

    /// Answers a command that was carried out.
    pub(super) fn reply(&mut self, slot: Slot, event: &Event<'_>) {
        if self.connections.hot(slot).phase == Phase::Open {
            self.connections.cold_mut(slot).errors = 0;
            self.queue_reply(slot, event);
        }
    }

    /// Puts a reply behind those that are still awaited.
    pub(super) fn queue_reply(&mut self, slot: Slot, event: &Event<'_>) {
        let Some(codec) = self.codec(slot) else { return };
        let mut reply = std::mem::take(&mut self.scratch);
        reply.clear();
        codec.encode(event, &mut reply);
        if self.awaits_reply(slot) {
            self.waiting(slot).queue(&reply);
        } else {
            self.push_reply(slot, &reply);
        }
        self.scratch = reply;
    }
}

/// Unix seconds of this century and the next fit 32 bits; later ones count as the last that does.
pub(super) fn unix_s(seconds: u64) -> u32 {
    u32::try_from(seconds).unwrap_or(u32::MAX)
}
