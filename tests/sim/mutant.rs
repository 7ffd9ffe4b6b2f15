//! Deliberate errors, put between the shards and at their edges: a checker that does not find them checks nothing.

use std::sync::Arc;

use polycast::core::event::Recovery;
use polycast::core::publication::{Numbered, Publication};
use polycast::shard::letter::{Admission, Delivery, Letter};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mutant {
    /// One publication is lost between two shards.
    DropDelivery,
    /// One publication travels twice between two shards.
    RepeatDelivery,
    /// A client gets a publication once more after its unsubscribe was answered.
    DeliverAfterUnsubscribe,
    /// The engine's delivery skips an offset.
    SkipOffset,
    /// An owner is not told that a shard has left.
    SwallowLeave,
    /// One publication is left out of what a client recovers.
    ForgetMissed,
    /// One publication is twice in what a client recovers.
    RepeatMissed,
    /// A client that could recover is told that it cannot.
    DenyRecovery,
    /// An owner is not told that a client has gone.
    SwallowExit,
    /// Those at one shard are not told that somebody came or went.
    SwallowPassed,
    /// A publication loses its tags between two shards.
    LoseTags,
    /// A client takes a difference to another text than it has.
    SpoilText,
    /// A reply to a Redis client overtakes the one before it.
    SwapReplies,
    /// A client of Pusher's gets a publication twice.
    HearTwice,
    /// Those at one shard are not told that a user has left.
    SwallowUserLeft,
    /// A client hears what is for the others only.
    TellEverybody,
}

/// Puts one mutant into a run, once, at the occasion the seed names.
#[derive(Debug)]
pub struct Saboteur {
    mutant: Option<Mutant>,
    occasions_left: u64,
    has_struck: bool,
}

impl Saboteur {
    /// `occasions_left`: occasions passed over before.
    pub fn new(mutant: Option<Mutant>, occasions_left: u64) -> Self {
        Self { mutant, occasions_left, has_struck: false }
    }

    /// An occasion for this mutant has come. `true`: strike.
    pub fn strikes(&mut self, mutant: Mutant) -> bool {
        if self.mutant != Some(mutant) || self.has_struck {
            return false;
        }
        if self.occasions_left > 0 {
            self.occasions_left -= 1;
            return false;
        }
        self.has_struck = true;
        true
    }

    /// Spoils a letter between two shards. `true`: it is lost.
    pub fn loses(&mut self, letter: &mut Letter) -> bool {
        match letter {
            Letter::Deliver(delivery) => {
                if !delivery.numbered.publication.tags.is_empty() && self.strikes(Mutant::LoseTags) {
                    let publication = &delivery.numbered.publication;
                    let publication = Publication { tags: Box::default(), ..(**publication).clone() };
                    let numbered = Numbered { publication: Arc::new(publication), ..delivery.numbered };
                    *delivery = Arc::new(Delivery { channel: delivery.channel.clone(), numbered });
                }
                if delivery.numbered.publication.exclude.is_some() && self.strikes(Mutant::TellEverybody) {
                    let publication =
                        Publication { exclude: None, ..(*delivery.numbered.publication).clone() };
                    let numbered = Numbered { publication: Arc::new(publication), ..delivery.numbered };
                    *delivery = Arc::new(Delivery { channel: delivery.channel.clone(), numbered });
                }
                self.strikes(Mutant::DropDelivery)
            }
            Letter::Leave { .. } => self.strikes(Mutant::SwallowLeave),
            Letter::Passage { passage, .. } => !passage.enters && self.strikes(Mutant::SwallowExit),
            Letter::Passed { passage, .. } => {
                let is_users_end = passage.is_users && !passage.enters;
                (is_users_end && self.strikes(Mutant::SwallowUserLeft)) || self.strikes(Mutant::SwallowPassed)
            }
            Letter::Joined { result: Ok(Some(admission)), .. } => {
                self.spoil(admission);
                false
            }
            _ => false,
        }
    }

    fn spoil(&mut self, Admission { recovery, missed, .. }: &mut Admission) {
        if missed.len() > 1 && self.strikes(Mutant::ForgetMissed) {
            missed.remove(missed.len() / 2);
        }
        if let Some(last) = missed.last().cloned()
            && self.strikes(Mutant::RepeatMissed)
        {
            missed.push(last);
        }
        if matches!(recovery, Recovery::Recovered { .. }) && self.strikes(Mutant::DenyRecovery) {
            *recovery = Recovery::Unrecovered;
            missed.clear();
        }
    }

    pub fn has_struck(&self) -> bool {
        self.has_struck
    }
}
