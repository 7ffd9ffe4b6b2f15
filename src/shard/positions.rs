//! Whether channels whose subscribers rely on missing nothing still stand where their streams do.
//!
//! A delivery that an engine lost shows when the next one comes, and in a quiet channel that may be never. So the owner
//! of a channel with positioned subscribers asks now and then where the stream stands. If that is further on, and the
//! deliveries have not come by the next time, what is missing is read from the history as after any other gap; if it is
//! another stream, its subscribers begin again.

use std::collections::BTreeMap;

use super::Shard;
use super::input::Effect;
use super::owner::{Asked, ask_id};
use crate::core::history::Range;
use crate::core::publication::Epoch;
use crate::core::sequence::Arrival;
use crate::engine::{Ask, ChannelKey, EngineError, Stream};

/// Channels asked about in one turn; the rest stay due for the next.
const CHECKS_PER_TURN_MAX: usize = 256;

/// When each watched channel is asked about next.
#[derive(Debug, Default)]
pub struct PositionChecks {
    /// By monotonic milliseconds and a number of its own.
    due: BTreeMap<CheckId, ChannelKey>,
    next: u64,
}

/// Names a check that is due.
type CheckId = (u64, u64);

/// What the owner of a watched channel remembers from one check to the next.
#[derive(Debug)]
pub struct Check {
    next: CheckId,
    /// The offset up to which publications must have been handed out by then.
    owed: u64,
}

impl PositionChecks {
    fn push(&mut self, due_ms: u64, key: ChannelKey) -> CheckId {
        self.next += 1;
        self.due.insert((due_ms, self.next), key);
        (due_ms, self.next)
    }

    pub fn remove(&mut self, check: &Check) {
        self.due.remove(&check.next);
    }

    pub fn next_due_ms(&self) -> Option<u64> {
        self.due.first_key_value().map(|((due_ms, _), _)| *due_ms)
    }

    pub fn is_empty(&self) -> bool {
        self.due.is_empty()
    }

    fn pop_due(&mut self, now_ms: u64) -> Option<ChannelKey> {
        let first = self.due.first_entry().filter(|first| first.key().0 <= now_ms)?;
        Some(first.remove())
    }
}

impl Shard {
    /// A live, numbered channel has a subscriber who relies on its position. O(log watched channels).
    pub(super) fn watch_position(&mut self, handle: u32) {
        let channel = self.channels.get(handle);
        if channel.owner.as_ref().is_some_and(|owner| owner.check.is_none() && owner.position().is_some()) {
            self.schedule_check(handle, 0);
        }
    }

    fn schedule_check(&mut self, handle: u32, owed: u64) {
        let channel = self.channels.get_mut(handle);
        let delay_ms = self.apps[usize::from(channel.key.app.0)].position_check_ms;
        let due_ms = self.now.monotonic_ms + u64::from(delay_ms);
        if let Some(owner) = &mut channel.owner {
            let next = self.position_checks.push(due_ms, channel.key.clone());
            owner.check = Some(Check { next, owed });
        }
    }

    /// Looks at the channels whose time has come.
    pub(super) fn check_positions(&mut self) {
        for _ in 0..CHECKS_PER_TURN_MAX {
            let Some(key) = self.position_checks.pop_due(self.now.monotonic_ms) else { return };
            if let Some(handle) = self.channels.find(key.app, &key.name) {
                self.check_position(handle, key);
            }
        }
    }

    fn check_position(&mut self, handle: u32, key: ChannelKey) {
        let Some(owner) = &self.channels.get(handle).owner else { return };
        let (Some(position), Some(check)) = (owner.position(), &owner.check) else { return };
        let is_behind = position.offset < check.owed;
        self.schedule_check(handle, 0);
        if is_behind {
            return self.after_arrival(handle, Arrival::Gap);
        }
        // Without a history by now: nothing is numbered any more, and nothing can be asked.
        let Some(Some(keep)) = self.keep(&key) else { return };
        let asked = Asked::Check { channel: key.clone(), epoch: position.epoch };
        let id = ask_id(self.asks.begin(asked));
        self.effects.push(Effect::Ask(Ask::History { id, channel: key, range: Range::TOP, keep }));
    }

    /// The engine's answer. `epoch`: of the stream when it was asked. The channel may be gone afterwards.
    pub(super) fn position_checked(
        &mut self,
        key: &ChannelKey,
        epoch: &Epoch,
        result: Result<Stream, EngineError>,
    ) {
        // An engine that cannot say is asked again the next time.
        let Ok(Stream { top, .. }) = result else { return };
        let Some(handle) = self.channels.find(key.app, &key.name) else { return };
        let Some(owner) = &mut self.channels.get_mut(handle).owner else { return };
        let followed = owner.position().filter(|position| position.epoch == *epoch);
        // Otherwise the channel has begun another life meanwhile.
        let (Some(position), Some(check)) = (followed, &mut owner.check) else { return };
        if top.epoch != position.epoch {
            self.after_arrival(handle, Arrival::Broken);
        } else {
            check.owed = top.offset;
        }
    }
}
