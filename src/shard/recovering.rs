//! Recovery at a channel's owner: what a new subscriber missed, in the lane that carries what it will hear.
//!
//! The engine is asked for what came after the client's position. What it delivers before it answers is held, so that
//! the answer leads to the very place at which the subscription goes live: nothing twice, and no gap that is not told.

use super::Shard;
use super::input::Effect;
use super::letter::{Admission, OperationId, Recover};
use super::owner::{Asked, ask_id, client_error};
use crate::core::error::ClientError;
use crate::core::event::Recovery;
use crate::core::history::Range;
use crate::core::ids::ShardId;
use crate::core::publication::{Numbered, Position};
use crate::core::recovery::{Mode, RECOVERED_MAX, Read, missed};
use crate::engine::{Ask, AskId, ChannelKey, EngineError, Stream};

/// Publications held while the engine is asked; with more the first of those who wait begin anew.
const RECENT_MAX: usize = 1_024;

/// The recoveries of one channel that wait for the engine; there is one at least.
#[derive(Debug, Default)]
pub struct Recovering {
    asks: Vec<AskId>,
    /// Handed out since the first of them was asked, in order.
    recent: Vec<Numbered>,
}

impl Recovering {
    /// A publication was handed out.
    pub fn note(&mut self, numbered: &Numbered) {
        if numbered.offset > 0 {
            if self.recent.len() >= RECENT_MAX {
                // A gap that every answer to come will find.
                self.recent.clear();
            }
            self.recent.push(numbered.clone());
        }
    }
}

impl Shard {
    /// Asks the engine what a subscriber of a live, numbered channel missed. `false`: there is nothing to ask for.
    pub(super) fn begin_recovery(
        &mut self,
        source: ShardId,
        operation: OperationId,
        handle: u32,
        recover: &Recover,
    ) -> bool {
        let key = self.channels.get(handle).key.clone();
        let Some(Some(keep)) = self.keep(&key) else { return false };
        let range = match recover.mode {
            Mode::Stream => {
                Range { since: Some(recover.since.clone()), limit: RECOVERED_MAX, reverse: false }
            }
            Mode::Cache => Range { since: None, limit: 1, reverse: true },
        };
        let recover = recover.clone();
        let asked = Asked::Recover { channel: key.clone(), source, operation, recover };
        let id = ask_id(self.asks.begin(asked));
        self.channels
            .get_mut(handle)
            .owner
            .get_or_insert_default()
            .recovering
            .get_or_insert_default()
            .asks
            .push(id);
        self.effects.push(Effect::Ask(Ask::History { id, channel: key, range, keep }));
        true
    }

    /// The engine's answer.
    pub(super) fn recovery_read(
        &mut self,
        id: AskId,
        key: &ChannelKey,
        (source, operation): (ShardId, OperationId),
        recover: &Recover,
        result: Result<Stream, EngineError>,
    ) {
        let Some((handle, live, recent)) = self.end_recovery(id, key) else {
            // The channel broke meanwhile: begin again.
            self.answer_join(source, operation, Err(ClientError::Internal), None);
            return;
        };
        let recovered = match &result {
            Ok(Stream { top, publications }) => {
                Ok(missed(recover.mode, &recover.since, &live, Read { top, publications, recent: &recent }))
            }
            Err(EngineError::Unrecoverable) => Ok(None),
            Err(error @ EngineError::Unavailable) => Err(client_error(*error)),
        };
        match recovered {
            Ok(recovered) => {
                let since_offset = recover.since.offset;
                let recovery = match recovered {
                    Some(_) => Recovery::Recovered { since_offset },
                    None => Recovery::Unrecovered,
                };
                let missed = recovered.unwrap_or_default();
                let admission = Admission { position: live, recovery, missed };
                self.enlist(source, handle);
                self.answer_join(source, operation, Ok(Some(Box::new(admission))), None);
            }
            Err(error) => {
                // Held open by a join of its own: the answer may be what makes the channel unused.
                self.channels.get_mut(handle).joining += 1;
                self.answer_join(source, operation, Err(error), None);
                self.channels.get_mut(handle).joining -= 1;
                self.forget_if_unused(handle);
            }
        }
    }

    /// Takes a recovery off the list. `None`: the channel has begun another life since it was asked.
    fn end_recovery(&mut self, id: AskId, key: &ChannelKey) -> Option<(u32, Position, Vec<Numbered>)> {
        let handle = self.channels.find(key.app, &key.name)?;
        let owner = self.channels.get_mut(handle).owner.as_mut()?;
        let live = owner.position();
        let recovering = owner.recovering.as_mut()?;
        let at = recovering.asks.iter().position(|ask| *ask == id)?;
        recovering.asks.swap_remove(at);
        let recent = if recovering.asks.is_empty() {
            owner.recovering.take().map(|recovering| recovering.recent)
        } else {
            Some(recovering.recent.clone())
        };
        Some((handle, live?, recent?))
    }
}
