//! Deliberate errors, put between the shards and at their edges: a checker that does not find them checks nothing.

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

    pub fn has_struck(&self) -> bool {
        self.has_struck
    }
}
