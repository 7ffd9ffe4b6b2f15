//! What a channel's owner keeps of it, asked by clients and backends anywhere.
//!
//! A question travels in the lane that carries subscriptions and publications, so it sees whatever the same client
//! did before it.

use std::sync::Arc;

use super::letter::{Found, Letter, Lookup, OperationId};
use super::owner::{Asked, ask_id};
use super::waiting::Ticket;
use super::{Operation, Shard, input::Effect};
use crate::core::channel::check_name;
use crate::core::command::ReadHistory;
use crate::core::error::ClientError;
use crate::core::event::Event;
use crate::core::history::Range;
use crate::core::ids::{AppIndex, ConnectionId, ShardId, Slot};
use crate::core::namespace::Namespace;
use crate::core::permission::{Claimant, Readers, may_read};
use crate::engine::{Ask, ChannelKey};

/// Publications that one answer to a client has at most.
pub const CLIENT_LIMIT_MAX: u32 = 300;

/// A client's question whose answer is awaited.
#[derive(Debug)]
pub struct LookingUp {
    pub connection: ConnectionId,
    pub tag: u32,
    pub ticket: Ticket,
    pub channel: Box<str>,
}

impl Shard {
    /// A client wants to see what was published.
    pub(super) fn history(&mut self, slot: Slot, tag: u32, asked: ReadHistory) {
        let ReadHistory { channel, limit, since, reverse } = asked;
        let is_there = |namespace: &Namespace| namespace.is_numbered();
        if let Err(error) = self.check_read(slot, &channel, is_there, Readers::of_history) {
            self.refuse(slot, tag, Some(&channel), error);
            return;
        }
        let limit = limit.map_or(CLIENT_LIMIT_MAX, |limit| limit.min(CLIENT_LIMIT_MAX));
        self.look_up(slot, tag, channel, Lookup::History(Range { since, limit, reverse }));
    }

    /// A client wants to know who, or how many, are in a channel.
    pub(super) fn presence(&mut self, slot: Slot, tag: u32, channel: Box<str>, lookup: Lookup) {
        let is_there = |namespace: &Namespace| namespace.keeps_presence(&channel);
        match self.check_read(slot, &channel, is_there, Readers::of_presence) {
            Ok(()) => self.look_up(slot, tag, channel, lookup),
            Err(error) => self.refuse(slot, tag, Some(&channel), error),
        }
    }

    fn check_read(
        &self,
        slot: Slot,
        name: &str,
        is_there: impl Fn(&Namespace) -> bool,
        readers: impl Fn(&Namespace) -> Readers,
    ) -> Result<(), ClientError> {
        let cold = self.connections.cold(slot);
        let app = &self.config.apps[usize::from(cold.app)];
        let rules = self.rules(slot).ok_or(ClientError::NotAvailable)?;
        let namespace = app.namespace(name).ok_or(ClientError::UnknownChannel)?;
        check_name(name, rules.channel_bytes_max).map_err(|_| ClientError::BadRequest)?;
        if !is_there(namespace) {
            return Err(ClientError::NotAvailable);
        }
        let who = Claimant { user: &cold.user, proven: false };
        may_read(name, readers(namespace), who, self.is_subscribed(slot, name))
    }

    fn look_up(&mut self, slot: Slot, tag: u32, channel: Box<str>, lookup: Lookup) {
        let connection = self.connections.id(slot);
        let app = self.connections.app(slot);
        let ticket = self.waiting(slot).promise();
        let looking_up = LookingUp { connection, tag, ticket, channel: channel.clone() };
        let operation = self.begin(Operation::Lookup(looking_up));
        self.route_lookup(operation, app, &channel, lookup);
    }

    /// Sends a question on its way to the owner.
    pub(super) fn route_lookup(&mut self, operation: OperationId, app: AppIndex, name: &str, lookup: Lookup) {
        let (owner, channel) = self.owner_of(app, name);
        if owner == self.id {
            self.owner_lookup(owner, operation, channel, lookup);
        } else {
            self.send(owner, Letter::Lookup { operation, channel, lookup });
        }
    }

    /// A question reached the owner.
    pub(super) fn owner_lookup(
        &mut self,
        source: ShardId,
        operation: OperationId,
        channel: ChannelKey,
        lookup: Lookup,
    ) {
        if lookup == Lookup::Subscribers {
            let subscribers = self.subscribers_count_of(&channel);
            self.answer_lookup(source, operation, Ok(Found::Subscribers(subscribers)));
            return;
        }
        if lookup == Lookup::Latest {
            let found = self.latest.find(self.now.monotonic_ms, &channel);
            let left_s = |ms: u64| u32::try_from(ms.div_ceil(1_000)).unwrap_or(u32::MAX);
            let found = found.map(|(publication, left_ms)| (Arc::clone(publication), left_s(left_ms)));
            self.answer_lookup(source, operation, Ok(Found::Latest(found)));
            return;
        }
        let keep = self.keep(&channel).flatten();
        let ask = |id| match (lookup, keep) {
            (Lookup::Presence, _) => Some(Ask::Presence { id, channel }),
            (Lookup::PresenceStats, _) => Some(Ask::PresenceStats { id, channel }),
            (Lookup::History(range), Some(keep)) => Some(Ask::History { id, channel, range, keep }),
            (Lookup::RemoveHistory, Some(_)) => Some(Ask::RemoveHistory { id, channel }),
            // A reload took the history, or the namespace, away.
            (Lookup::History(_) | Lookup::RemoveHistory, None)
            | (Lookup::Subscribers | Lookup::Latest, _) => None,
        };
        let asked = self.asks.begin(Asked::Lookup { source, operation });
        match ask(ask_id(asked)) {
            Some(ask) => self.effects.push(Effect::Ask(ask)),
            None => {
                self.asks.end(asked);
                self.answer_lookup(source, operation, Err(ClientError::NotAvailable));
            }
        }
    }

    pub(super) fn answer_lookup(
        &mut self,
        source: ShardId,
        operation: OperationId,
        result: Result<Found, ClientError>,
    ) {
        if source == self.id {
            self.looked_up(operation, result);
        } else {
            self.send(source, Letter::Found { operation, result });
        }
    }

    /// The owner's answer to a question that began here.
    pub(super) fn looked_up(&mut self, operation: OperationId, result: Result<Found, ClientError>) {
        match self.operations.end(operation) {
            Some(Operation::Lookup(looking_up)) => self.client_looked_up(&looking_up, result),
            Some(Operation::Backend(part)) => self.backend_looked_up(&part, result),
            Some(
                Operation::Subscribe(_)
                | Operation::Publish(_)
                | Operation::Resp(_)
                | Operation::Charge(_)
                | Operation::Take(_),
            )
            | None => {}
        }
    }

    fn client_looked_up(&mut self, looking_up: &LookingUp, result: Result<Found, ClientError>) {
        let LookingUp { connection, tag, ticket, ref channel } = *looking_up;
        if !self.connections.is_open(connection) {
            return;
        }
        let event = match &result {
            Ok(Found::History(stream)) => {
                Event::History { tag, channel, publications: &stream.publications, position: &stream.top }
            }
            Ok(Found::Presence(clients)) => Event::Presence { tag, channel, clients },
            Ok(Found::PresenceStats(stats)) => {
                Event::PresenceStats { tag, channel, clients_count: stats.clients, users_count: stats.users }
            }
            // Clients cannot ask for that.
            Ok(Found::HistoryRemoved | Found::Subscribers(_) | Found::Latest(_)) => {
                Event::Refused { tag, channel: Some(channel), error: ClientError::Internal, reason: None }
            }
            Err(error) => Event::Refused { tag, channel: Some(channel), error: *error, reason: None },
        };
        self.complete_with(connection.slot, ticket, &event);
    }
}
