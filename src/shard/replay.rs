//! Signed requests that may be carried out only once, where an app wants it so.
//!
//! A request may come to any shard and come again to another, so each signature belongs to one of them, as a channel
//! does, and that one remembers it. The request waits for its word, and those behind it on its connection wait with it:
//! they are carried out in the order they came in. Its body has been read by then, so that nobody can use up a signature
//! with a body that is not its own.
//!
//! Invariant: where `replay_cache` is off nothing is kept and nobody waits. What is turned off is forgotten.

use std::collections::HashMap;

use super::backend::ApiRequest;
use super::http::ApiStyle;
use super::letter::{Letter, OperationId};
use super::{Operation, Shard};
use crate::api::pusher::{Mark, Refusal, Taken, Unauthorized};
use crate::core::ids::{AppIndex, ShardId};

/// What was taken of the requests whose signatures belong to this shard.
pub type TakenHere = HashMap<AppIndex, Taken>;

impl Shard {
    /// What a request is known again by; `None`: it may come as often as it likes.
    pub(super) fn mark(&self, app: AppIndex, style: &ApiStyle) -> Option<Mark> {
        match style {
            ApiStyle::Pusher(target) if self.replay_cache(app) > 0 => Some(target.mark),
            ApiStyle::Pusher(_) | ApiStyle::Centrifugo { .. } => None,
        }
    }

    /// Carries out a request unless it was there before.
    pub(super) fn begin_once(&mut self, request: ApiRequest, mark: Mark) {
        let (app, connection) = (request.app, request.reply.connection);
        let owner = self.channels.placement().owner(mark.hash());
        if owner == self.id {
            let result = self.take(app, mark);
            return self.go_on(request, result);
        }
        self.waiting(connection.slot).barriers += 1;
        let operation = self.begin(Operation::Take(Box::new(request)));
        self.send(owner, Letter::Take { operation, app, mark: Box::new(mark) });
    }

    /// At the shard that the signature belongs to.
    pub(super) fn take_for(&mut self, source: ShardId, operation: OperationId, app: AppIndex, mark: Mark) {
        let result = self.take(app, mark);
        self.send(source, Letter::Taken { operation, result });
    }

    /// The word of that shard. A request whose connection has ended meanwhile is carried out all the same: it was taken.
    pub(super) fn take_answered(&mut self, operation: OperationId, result: Result<(), Unauthorized>) {
        let Some(Operation::Take(request)) = self.operations.end(operation) else { return };
        let connection = request.reply.connection;
        if !self.connections.is_open(connection) {
            return self.go_on(*request, result);
        }
        let is_held = result.is_ok() && self.spilled_letters > 0;
        let waiting = self.waiting(connection.slot);
        waiting.barriers = waiting.barriers.saturating_sub(1);
        if is_held {
            // Lanes are full: no publication is taken now.
            waiting.taken = Some(request);
        } else {
            self.go_on(*request, result);
        }
        self.note_blocked(connection.slot);
    }

    /// After a reload.
    pub(super) fn forget_taken(&mut self) {
        let mut taken = std::mem::take(&mut self.taken);
        taken.retain(|app, _| self.replay_cache(*app) > 0);
        self.taken = taken;
    }

    fn go_on(&mut self, request: ApiRequest, result: Result<(), Unauthorized>) {
        match result {
            Ok(()) => self.begin_request(request),
            Err(reason) => {
                let refused = self.refused(Refusal::Unauthorized(reason));
                if self.connections.is_open(request.reply.connection) {
                    self.refuse_request(&request.reply, refused);
                }
            }
        }
    }

    fn take(&mut self, app: AppIndex, mark: Mark) -> Result<(), Unauthorized> {
        // A reload may have turned it off at this shard already.
        let Some(options) = self.config.apps[usize::from(app.0)].pusher.as_ref() else { return Ok(()) };
        if options.replay_cache == 0 {
            return Ok(());
        }
        let share = options.replay_cache.div_ceil(usize::from(self.channels.placement().shards));
        let (now_s, window_s) = (self.now.unix_ms / 1_000, options.auth_timestamp_window_s);
        self.taken.entry(app).or_default().take(mark, now_s, window_s, share)
    }

    fn replay_cache(&self, app: AppIndex) -> usize {
        let options = self.config.apps[usize::from(app.0)].pusher.as_ref();
        options.map_or(0, |options| options.replay_cache)
    }
}
