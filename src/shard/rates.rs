//! How often clients and users may ask, where that is bounded.
//!
//! A connection's buckets lie here; those of a user, whose connections may be anywhere, at the shard that the user
//! belongs to, as a channel belongs to its owner. A command waits for that shard's word, and later ones behind it.
//!
//! Invariant: where a bound is off nothing is kept and nobody waits.

use std::collections::HashMap;

use super::letter::{Letter, OperationId};
use super::{Operation, Shard};
use crate::core::command::{Command, Request, Subscribe};
use crate::core::error::ClientError;
use crate::core::ids::{AppIndex, ConnectionId, ShardId, Slot};
use crate::core::rates::{Buckets, Kind};

/// Between two looks for users whose buckets are full again.
const SWEEP_MS: u64 = 1_000;

/// Buckets of the connections here, by slot, and of the users that belong to this shard. Only of those who asked
/// for something since their buckets were full.
#[derive(Debug, Default)]
pub struct Charged {
    connections: HashMap<u32, Buckets>,
    users: HashMap<(AppIndex, Box<str>), Buckets>,
    swept_ms: u64,
}

impl Charged {
    pub fn forget_connection(&mut self, slot: Slot) {
        if !self.connections.is_empty() {
            self.connections.remove(&slot.0);
        }
    }

    pub fn is_empty(&self) -> bool {
        self.connections.is_empty()
    }
}

/// A command that waits for the word of its user's shard.
#[derive(Debug)]
pub struct Charging {
    connection: ConnectionId,
    request: Request,
}

impl Shard {
    /// Counts a client's command and carries it out, now or once its user's shard has said that it may.
    pub(super) fn charge(&mut self, slot: Slot, request: Request) {
        let kind = Kind::of(&request.command);
        let now_ms = self.now.monotonic_ms;
        let rates = &self.config.limits.connection_rates;
        if !rates.is_unlimited() {
            let fresh = || Buckets::full(now_ms, rates);
            let buckets = self.charged.connections.entry(slot.0).or_insert_with(fresh);
            if !buckets.take(kind, now_ms, rates) {
                return self.refuse_for_now(slot, &request);
            }
        }
        let user = &self.connections.cold(slot).user;
        if self.config.limits.user_rates.is_unlimited() || user.is_empty() {
            return self.perform(slot, request);
        }
        let (app, placement) = (self.connections.app(slot), self.channels.placement());
        let (owner, user) = (placement.owner(placement.hash(app, user)), user.clone());
        if owner == self.id {
            if self.charge_user(app, user, kind) {
                self.perform(slot, request);
            } else {
                self.refuse_for_now(slot, &request);
            }
            return;
        }
        let connection = self.connections.id(slot);
        self.waiting(slot).barriers += 1;
        let operation = self.begin(Operation::Charge(Charging { connection, request }));
        self.send(owner, Letter::Charge { operation, app, user, kind });
    }

    /// At the user's shard. `false`: too many requests.
    fn charge_user(&mut self, app: AppIndex, user: Box<str>, kind: Option<Kind>) -> bool {
        let rates = &self.config.limits.user_rates;
        let now_ms = self.now.monotonic_ms;
        let fresh = || Buckets::full(now_ms, rates);
        self.charged.users.entry((app, user)).or_insert_with(fresh).take(kind, now_ms, rates)
    }

    pub(super) fn charge_for(
        &mut self,
        source: ShardId,
        operation: OperationId,
        (app, user): (AppIndex, Box<str>),
        kind: Option<Kind>,
    ) {
        let granted = self.charge_user(app, user, kind);
        self.send(source, Letter::Charged { operation, granted });
    }

    /// The word of the user's shard.
    pub(super) fn charge_answered(&mut self, operation: OperationId, granted: bool) {
        let Some(Operation::Charge(Charging { connection, request })) = self.operations.end(operation) else {
            return;
        };
        if !self.connections.is_open(connection) {
            return;
        }
        let slot = connection.slot;
        let waiting = self.waiting(slot);
        waiting.barriers = waiting.barriers.saturating_sub(1);
        if granted && self.spilled_letters > 0 && matches!(request.command, Command::Publish(_)) {
            self.waiting(slot).granted = Some(Box::new(request));
            self.park(slot);
        } else if granted {
            self.perform(slot, request);
        } else {
            self.refuse_for_now(slot, &request);
        }
        self.note_blocked(slot);
    }

    fn refuse_for_now(&mut self, slot: Slot, request: &Request) {
        self.counters.too_many_requests += 1;
        let error = ClientError::TooManyRequests;
        match &request.command {
            Command::Subscribe(Subscribe { channel, .. }) | Command::Unsubscribe { channel } => {
                self.refuse_subscribe(slot, request.tag, channel, error);
            }
            other => self.refuse(slot, request.tag, other.channel(), error),
        }
    }

    /// Forgets users whose buckets are full again. O(users that are charged), once a second.
    pub(super) fn sweep_charged(&mut self) {
        let now_ms = self.now.monotonic_ms;
        let charged = &mut self.charged;
        if charged.users.is_empty() || now_ms < charged.swept_ms + SWEEP_MS {
            return;
        }
        charged.swept_ms = now_ms;
        let rates = &self.config.limits.user_rates;
        charged.users.retain(|_, buckets| !buckets.are_full(now_ms, rates));
    }
}
